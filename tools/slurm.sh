#!/bin/bash
# One training run on many machines under Slurm, in slices that fit the queue.
#
#   RUN=runs/paper sbatch tools/slurm.sh sr --preset paper
#
# RUN is the run folder, on a file system that all machines see; what follows the script goes to
# `python -m cnf train`, but for --start, which is START: what the first slice starts from. The same
# line again goes on where the last slice ended, with as many machines as it is given then. Several
# slices, one after the other:
#
#   for slice in 1 2 3; do RUN=runs/paper sbatch -d singleton tools/slurm.sh sr --preset paper; done
#
# Submit from the repository. Options of sbatch before the script's name replace those below, for
# example `sbatch --nodes 4`. Without GPUs, PROCESSES says how many processes a machine runs.
# training.batch_size must divide by all processes (times training.accumulate).

#SBATCH --job-name=cnf
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=16
#SBATCH --time=04:00:00
#SBATCH --open-mode=append

set -euo pipefail
: "${RUN:?set RUN to the run folder}"
minutes=${MINUTES:-230} # of a slice: a checkpoint, then the end, before --time is over

if [ -e "$RUN/last.pt" ]; then folder=(--resume "$RUN"); else folder=(--out "$RUN" ${START:+--start "$START"}); fi
head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
srun .venv/bin/torchrun \
    --nnodes "$SLURM_NNODES" \
    --nproc-per-node "${PROCESSES:-${SLURM_GPUS_ON_NODE:-1}}" \
    --rdzv-backend c10d \
    --rdzv-id "$SLURM_JOB_ID" \
    --rdzv-endpoint "$head:$((20000 + SLURM_JOB_ID % 10000))" \
    -m cnf train "$@" "${folder[@]}" --max-minutes "$minutes"
