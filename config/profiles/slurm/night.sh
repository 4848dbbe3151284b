#!/usr/bin/env bash
# A whole night as one job of Slurm, on the cores of one node: sbatch REPO/config/profiles/slurm/night.sh REPO NIGHT [TARGET]...
# For many short exposures, where a job for each product would cost more than the work. A site edits the next lines,
# or gives them to sbatch. A job that Slurm starts again, after its node went down, goes on where it was.
#SBATCH --nodes=1 --ntasks=1 --cpus-per-task=16 --mem=32G --time=12:00:00 --requeue --open-mode=append
set -euo pipefail
repository=${1:?usage: sbatch night.sh REPO NIGHT [TARGET]...} night=${2:?usage: sbatch night.sh REPO NIGHT [TARGET]...}
shift 2
PATH=$repository/.venv/bin:$PATH # where there is one
exec snakemake "$@" -s "$repository/Snakefile" -d "$night" --cores "${SLURM_CPUS_PER_TASK:-1}" \
    --resources mem_mb="${SLURM_MEM_PER_NODE:-32000}" --retries 1
