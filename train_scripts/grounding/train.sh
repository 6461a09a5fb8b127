#!/usr/bin/env bash
# An experiment on the GPUs of this machine, or of all machines of a Slurm job:
#
#   bash train_scripts/grounding/train.sh VideoTGB_SF_blip2flant5xl_videoinstruct data.nframe=4
#   sbatch --nodes=2 --gpus-per-node=4 train_scripts/slurm.sh bash train_scripts/grounding/train.sh EXPERIMENT
set -euo pipefail
cd "$(dirname "$0")/../.."
# torchrun is this module of the Python that it is installed in.
exec "${PYTHON:-${VENV:+$VENV/bin/}python}" -m torch.distributed.run \
  --nproc_per_node "${NPROC_PER_NODE:-gpu}" --nnodes "${NNODES:-1}" --node_rank "${NODE_RANK:-0}" \
  --master_addr "${MASTER_ADDR:-localhost}" --master_port "${MASTER_PORT:-29500}" \
  -m grounding.train "experiment=$1" "${@:2}"
