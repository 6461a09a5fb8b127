#!/usr/bin/env bash
# Any command on one or several machines of a Slurm cluster; a copy of it is yours to edit. From the repository:
#
#   sbatch train_scripts/slurm.sh bash train_scripts/run.sh "qwen25vl7b=lr5e-6_r32_a64_bs16_freeze_r16-r8-r4-r2"
#   sbatch train_scripts/slurm.sh "qwen25vl7b=lr5e-6_r32_a64_bs16_freeze_r16-r8-r4-r2"     # the same
#   sbatch --nodes=1 --gpus-per-node=4 train_scripts/slurm.sh python generate_meta_data.py 4 --dataset mine
#
# Each machine runs the command once, with NODE_RANK and, if there are several, NNODES, MASTER_ADDR and MASTER_PORT.
# A job that lost a machine is queued again; submit a job whose time was up again. Both go on where they stopped.
#
#SBATCH --job-name=temple
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=64
#SBATCH --mem=0
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=temple-%j.log

set -euo pipefail

# Slurm runs a copy of this file from a folder of its own.
cd "${SLURM_SUBMIT_DIR:?start it with sbatch, from the repository}"
# source .venv/bin/activate     # or: module load ..., conda activate ...

if ((SLURM_NNODES > 1)); then
  MASTER_ADDR=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
  export MASTER_ADDR NNODES=$SLURM_NNODES
  export MASTER_PORT=$((20000 + SLURM_JOB_ID % 10000))
fi
if (($# == 1)); then set -- bash train_scripts/run.sh "$1"; fi   # a recipe's name
# shellcheck disable=SC2016 # each machine has its own SLURM_NODEID
srun --kill-on-bad-exit=1 bash -c 'NODE_RANK=$SLURM_NODEID exec "$@"' run "$@"
