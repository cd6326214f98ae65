#!/bin/sh
# Start the ranks of one machine of a Slurm job step; srun runs this once a machine:
#
#   launcher: [srun, --nodes=4, --ntasks-per-node=1, --kill-on-bad-exit=1, sh, infra/slurm/node.sh]
#
# The words that follow are the command of a rank. Ranks a machine: PUNA_RANKS_PER_NODE, by default
# the GPUs that Slurm gave the machine, or one.
set -eu
if [ "$#" -eq 0 ] || [ -z "${SLURM_JOB_ID:-}" ] || [ -z "${SLURM_NNODES:-}" ]; then
    echo "node.sh: start this with srun, followed by the command of a rank" >&2
    exit 2
fi
# Every step of a job has a port of its own: two phases may train in one allocation.
port=$((20000 + (SLURM_JOB_ID * 7 + ${SLURM_STEP_ID:-0}) % 20000))
head=${PUNA_HEAD_NODE:-$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)}
ranks=${PUNA_RANKS_PER_NODE:-${SLURM_GPUS_ON_NODE:-1}}
exec "${PUNA_PYTHON:-$1}" -P -m torch.distributed.run \
    --nnodes="$SLURM_NNODES" --nproc-per-node="$ranks" --max-restarts=0 \
    --rdzv-backend=c10d --rdzv-endpoint="$head:$port" \
    --rdzv-id="$SLURM_JOB_ID.${SLURM_STEP_ID:-0}" --no-python "$@"
