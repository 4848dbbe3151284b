"""What a job asks for: memory and time from the size of its inputs, more at each attempt."""

import math
import os

from drs.schema import load_yaml

MB = 1e6  # bytes; also Snakemake's


class Needs:
    """The measured needs of rules.

    Parameters
    ----------
    path : path-like
        config/resources.yaml: `start_mb`, and in `rules` name -> {mb, mb_per_mb, minutes, seconds_per_mb}.
    """

    def __init__(self, path):
        document = load_yaml(path)
        self._start_mb, self._rules = document["start_mb"], document["rules"]

    def of(self, rule):
        """Return resource -> function(wildcards, input, attempt) of a rule: mem_mb (MB) and runtime (minutes).

        A function raises FileNotFoundError where an input is yet to be made: Snakemake then asks again later.
        """
        need = self._rules[rule]

        def mem_mb(wildcards, input, attempt):
            return attempt * math.ceil(self._start_mb + need["mb"] + need["mb_per_mb"] * measure_mb(input))

        def runtime(wildcards, input, attempt):
            return attempt * math.ceil(need["minutes"] + need["seconds_per_mb"] * measure_mb(input) / 60)

        return {"mem_mb": mem_mb, "runtime": runtime}


def measure_mb(paths):
    """Return the size of files together in MB."""
    return sum(os.stat(path).st_size for path in paths) / MB  # noqa: PTH116, a tenth of the time for 50 000 jobs
