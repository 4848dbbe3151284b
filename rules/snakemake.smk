"""What Snakemake's own process is spared: a fifth of the time of `snakemake -n`, and most of that of a large run.

REQUIRED INPUTS: none
OUTPUTS: none
"""

import gc
import inspect
from functools import cache

# Snakemake asks what parameters each function of a rule has two or three times for each job.
inspect.signature = cache(inspect.signature)
gc.disable()  # until the run starts: jobs and their files stay, but would be looked through for garbage again and again


onstart:
    gc.freeze()
    gc.enable()
    # Snakemake's own limit costs one more look at all waiting jobs every second for each job that has finished.
    limit = getattr(workflow.scheduler, "job_rate_limiter", None)  # of no promised interface
    if limit and (limit.max_jobs, limit.timespan) == (100, 1):
        workflow.scheduler.job_rate_limiter = None
