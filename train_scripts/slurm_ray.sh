#!/usr/bin/env bash
# A script with --ray on all machines of a Slurm job, as one Ray cluster; a copy of it is yours to edit. From the repository:
#
#   sbatch --nodes=4 --gpus-per-node=8 train_scripts/slurm_ray.sh python generate_meta_data.py 32 --dataset mine --model qwen2vl7b --ray auto
#
# The command runs on the first machine, and starts as soon as that one is ready; the others join as they come. A job
# that lost the first machine, or Ray on it, is queued again; one that lost another goes on. docs/cluster.md
#
#SBATCH --job-name=temple-ray
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=64
#SBATCH --mem=0
#SBATCH --time=24:00:00
# Alone on its machines: when Ray ends, it ends all of this user's Ray on a machine.
#SBATCH --exclusive
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=temple-ray-%j.log

set -euo pipefail

# Slurm runs a copy of this file from a folder of its own.
cd "${SLURM_SUBMIT_DIR:?start it with sbatch, from the repository}"
# source .venv/bin/activate     # or: module load ..., conda activate ...; with requirements-ray.txt installed

# Who has the token runs code as you: it lies in your home. Ray stops waiting for a slow first machine after 30 s else.
export RAY_USAGE_STATS_ENABLED=0 RAY_AUTH_MODE=token RAY_SYMMETRIC_RUN_CLUSTER_WAIT_TIMEOUT=600
export RAY_AUTH_TOKEN_PATH=${RAY_AUTH_TOKEN_PATH:-$HOME/.ray/auth_token}
[[ -s $RAY_AUTH_TOKEN_PATH ]] || RAY_AUTH_MODE=disabled ray get-auth-token --generate >/dev/null

read -r head < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
RAY_ADDRESS_OF_JOB="$head:$((20000 + SLURM_JOB_ID % 10000))"
ENDED=$PWD/.ray-$SLURM_JOB_ID    # how the command ended: Ray's own exit code is 0 where Ray did not start
export RAY_ADDRESS_OF_JOB ENDED
rm -f "$ENDED"
# A short --temp-dir on a disk of the machine: the names of Ray's sockets have 107 bytes at most.
# shellcheck disable=SC2016 # what the first machine runs
srun --kill-on-bad-exit=0 ray symmetric-run --address "$RAY_ADDRESS_OF_JOB" --temp-dir "/tmp/ray-$SLURM_JOB_ID" \
  --object-store-memory=1000000000 --include-dashboard=false --disable-usage-stats -- bash -c '
    "$@" && code=0 || code=$?
    if ((code == 2)) && ! ray health-check --address "$RAY_ADDRESS_OF_JOB" >/dev/null 2>&1; then code=lost; fi
    echo "$code" >"$ENDED"' run "$@" || true

code=$(cat "$ENDED" 2>/dev/null || echo lost)
rm -f "$ENDED"
if [[ $code == lost ]]; then
  echo "the Ray cluster of this job is lost, or was never there" >&2
  if ((${SLURM_RESTART_COUNT:-0} < 5)); then scontrol requeue "$SLURM_JOB_ID"; fi
  exit 1
fi
exit "$code"
