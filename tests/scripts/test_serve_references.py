import os
import re
import signal
import subprocess
import sys
from pathlib import Path

from click.testing import CliRunner
from reference_cache import N_MAPPING, list_bytes, make_cache

import serve_references
from drs.source import Server

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "serve_references.py"


def heed_interrupts():
    """A shell makes what it starts in the background deaf to interrupts, and so are the tests run that way."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_a_cache_is_served_until_interrupted_and_not_changed(tmp_path, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "localhost,127.0.0.1")
    cache = make_cache(tmp_path / "crds")
    before = list_bytes(cache)
    command = [sys.executable, str(SCRIPT), f"--cache={cache}", "--port=0"]
    options = {"stderr": subprocess.PIPE, "text": True, "preexec_fn": heed_interrupts}
    with subprocess.Popen(command, **options) as process:
        try:
            url = re.search(r"on (http://127.0.0.1:\d+)", process.stderr.readline())[1]
            assert len(Server(url).list_mappings("ligeriri_0001.pmap")) == N_MAPPING
            os.kill(process.pid, signal.SIGINT)
            log = process.stderr.read()
        finally:
            process.kill()
    assert "127.0.0.1 'POST /json/get_mapping_names/sync-00000001/ HTTP/1.1' 200" in log
    assert "ends" in log
    assert process.returncode == 0
    assert list_bytes(cache) == before


def test_a_folder_that_is_no_cache_is_refused(tmp_path):
    result = CliRunner().invoke(serve_references.main, [f"--cache={tmp_path}"])
    assert result.exit_code == 1
    assert "is not a CRDS cache" in result.output
