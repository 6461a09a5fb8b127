#!/usr/bin/env bash
# Text-only pre-alignment of Llama-2 13B (TOPA): about two days on 4 A100 of 40 GB.
#
#   NPROC_PER_NODE=4 bash train_scripts/topa_llama2_13b.sh
#   LLM=~/llama2/13B bash train_scripts/topa_llama2_13b.sh
set -euo pipefail
SIZE=llama2_13b
# shellcheck source-path=SCRIPTDIR source=topa_settings.sh
source "$(dirname "${BASH_SOURCE[0]}")/topa_settings.sh"

train "$TEXTS" --llm "$LLM" --out "$EXP/$SIZE" "${root[@]}" \
  --effective_batch 128 --batch_size 8 --lr 4.0e-3 --epochs 20 --warmup_epochs 1 \
  --weight_decay 0.1 --max_grad_norm 1.0 --max_length 150 --frames 10 --variance 0 \
  --adapter prefix --prefix_length 50 --gate2 -3.5 --temporal_std 0.02 \
  --choice_share 0.5 --caption_share 0.25 "$@"
