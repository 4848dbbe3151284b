"""The observatory `ligeriri` (Liger at Keck, IRIS at TMT) for the stock `crds` package.

`register()` makes crds know the observatory; `session(cache)` does so on one cache, read-only and without
network, and leaves the environment as it was; it serves any other observatory of crds by its name. `run()` is
the command `lcrds`, for example `lcrds certify ./ligeriri_iris_flat_0002.rmap`. This module imports crds only when
one of them is called.
"""

import logging
import os
import runpy
import sys
from contextlib import contextmanager
from pathlib import Path

OBSERVATORY = "ligeriri"
SERVERLESS = "https://crds-serverless-mode.stsci.edu"
PROGRAMS = {
    "bestrefs": "crds.bestrefs",
    "certify": "crds.certify",
    "checksum": "crds.refactoring.checksum",
    "diff": "crds.diff",
    "list": "crds.list",
    "matches": "crds.matches",
    "newcontext": "crds.refactoring.newcontext",
    "refactor": "crds.refactoring.refactor",
    "refactor2": "crds.refactoring.refactor2",
    "sync": "crds.sync",
    "uses": "crds.uses",
}


def register():
    """Make the stock crds package serve the observatory; return the crds package. Repeated calls do nothing."""
    import crds
    from crds.core import constants, utils

    here = str(Path(__file__).resolve().parent)
    if here not in crds.__path__:
        crds.__path__.append(here)
    if OBSERVATORY not in constants.ALL_OBSERVATORIES:
        constants.ALL_OBSERVATORIES.append(OBSERVATORY)
        utils.clear_function_caches()
    if crds.ALL_OBSERVATORIES is not constants.ALL_OBSERVATORIES:
        raise ImportError(f"crds {crds.__version__} keeps several lists of observatories: the add-on must change")
    return crds


@contextmanager
def session(cache, observatory=OBSERVATORY):
    """Use crds on the cache at `cache`, which is of `observatory`: yields the crds package.

    Nothing is written to the cache and nothing is fetched; log lines of crds go to the caller's logging. At the end
    the environment is as before (crds writes some 30 CRDS_* variables). What an earlier session
    remembered of its cache is forgotten.
    """
    before = dict(os.environ)
    logger = logging.getLogger("CRDS")
    try:
        for name in [name for name in os.environ if name.startswith("CRDS_")]:
            del os.environ[name]
        os.environ.update(
            CRDS_PATH=str(Path(cache).resolve()),
            CRDS_OBSERVATORY=observatory,
            CRDS_SERVER_URL=SERVERLESS,
            CRDS_READONLY_CACHE="1",
            CRDS_EXPLICIT_GARBAGE_COLLECTION="False",  # collecting after every call takes half of a delivery
        )
        crds = register()
        from crds.client import api
        from crds.core import config, log, utils

        for item in vars(config).values():
            if isinstance(item, config.ConfigItem):
                item.get()  # writes its default to the environment, without which crds later fails
        api.set_crds_server(SERVERLESS)
        log.remove_console_handler()
        logger.propagate = True
        utils.clear_function_caches()
        yield crds
    finally:
        for name in [name for name in os.environ if name not in before]:
            del os.environ[name]
        os.environ.update(before)


def run(arguments=None):
    """Run a program of crds, named by the first argument, as its own command line would."""
    name, *rest = (sys.argv[1:] if arguments is None else arguments) or ["--help"]
    if name not in PROGRAMS:
        raise SystemExit(f"usage: lcrds PROGRAM [OPTION]...   programs: {', '.join(PROGRAMS)}")
    for variable, value in {"CRDS_OBSERVATORY": OBSERVATORY, "CRDS_SERVER_URL": SERVERLESS}.items():
        if os.environ.get(variable, "None") == "None":  # what a parent process that imported crds hands on
            os.environ[variable] = value
    register()
    sys.argv = [f"lcrds {name}", *rest]
    runpy.run_module(PROGRAMS[name], run_name="__main__", alter_sys=True)
