#!/usr/bin/env bash
# Merge the LoRA weights of a checkpoint into the model that they were trained on. By hand:
#
#   BASE=qwen25vl7b CHECKPOINT=exp/r16/v0-.../checkpoint-100 OUTPUT_DIR=exp/r16/merged bash train_scripts/merge.sh
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=settings.sh
source "$(dirname "${BASH_SOURCE[0]}")/settings.sh"

swift export --model "$MODEL" --adapters "${CHECKPOINT:?a checkpoint}" \
  ${PLUGIN:+--external_plugins "$PLUGIN"} \
  --merge_lora true --output_dir "${OUTPUT_DIR:?a folder for the merged model}"
