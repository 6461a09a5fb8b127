#!/usr/bin/env bash
# The shards of a data set, one task of a Slurm array each, with the processes of one machine and without Ray; a copy of
# it is yours to edit. From the repository:
#
#   sbatch --array=0-255 train_scripts/slurm_shards.sh python preprocess.py huge 8
#   SHARDS_A_TASK=16 sbatch --array=0-15 train_scripts/slurm_shards.sh python generate_meta_data.py 8 --dataset huge
#
# SHARD_DIGITS is preprocess.py's --shard_digits (2: shards 00 to ff). A task that failed is submitted again by its number.
#
#SBATCH --job-name=temple-shards
#SBATCH --nodes=1
#SBATCH --ntasks=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=64
#SBATCH --mem=0
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=temple-shards-%A_%a.log

set -euo pipefail

# Slurm runs a copy of this file from a folder of its own.
cd "${SLURM_SUBMIT_DIR:?start it with sbatch, from the repository}"
# source .venv/bin/activate     # or: module load ..., conda activate ...

many=${SHARDS_A_TASK:-1} digits=${SHARD_DIGITS:-2}
first=$((${SLURM_ARRAY_TASK_ID:?start it with sbatch --array} * many))
printf -v shards '%0*x-%0*x' "$digits" "$first" "$digits" $((first + many - 1))
srun "$@" --shards "$shards"
