#!/usr/bin/env bash
# A recipe on one or several machines of a Slurm cluster; a copy of it is yours to edit. From the repository:
#
#   sbatch train_scripts/slurm.sh "qwen25vl7b=lr5e-6_r32_a64_bs16_freeze_r16-r8-r4-r2=lr1e-4_r32_a32_bs16_sft60k"
#   sbatch --nodes=1 --gpus-per-node=4 --export=ALL,DATA_MODEL=qwen2vl7b train_scripts/slurm.sh ...
#
# The global batch stays what the name says, whatever the number of GPUs. A job that lost a machine is
# queued again; one whose time was up is to be submitted again. Both go on from the last checkpoint.
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
# shellcheck disable=SC2016 # each machine has its own SLURM_NODEID
srun --kill-on-bad-exit=1 bash -c 'NODE_RANK=$SLURM_NODEID exec bash train_scripts/run.sh "$1"' run "$1"
