"""Make the library importable from any working directory; a slow machine is no fault of a test."""

import gc
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

REPO = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPO / "scripts"))
sys.path.insert(0, str(REPO / "tests"))

settings.register_profile("any-machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any-machine")


def pytest_collection_finish():
    """Collect garbage: scripts leave that until they run."""
    gc.enable()


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """Return a finished night that nobody changes: tests that do take a copy."""
    from finished_night import make_finished_night

    return make_finished_night(tmp_path_factory.mktemp("finished") / "night")
