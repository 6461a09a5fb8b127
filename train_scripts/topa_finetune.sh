#!/usr/bin/env bash
# Fine-tuning on the labelled videos of a benchmark, from a pre-aligned model or, for comparison, from nothing.
#
#   NPROC_PER_NODE=4 bash train_scripts/topa_finetune.sh nextqa
#   SIZE=llama3_8b bash train_scripts/topa_finetune.sh star --labels 0.1
#   FROM=nothing bash train_scripts/topa_finetune.sh tvqa
set -euo pipefail
data=${1:?a data set: nextqa, star or tvqa}
shift
# shellcheck source-path=SCRIPTDIR source=topa_settings.sh
source "$(dirname "${BASH_SOURCE[0]}")/topa_settings.sh"

# The method's learning rates; batch of a step / rows of a GPU at once, and passes / those of warm-up.
batch=320/20 passes=5/1
case ${FROM:=pre-aligned}.$SIZE.$data in
  pre-aligned.llama2_13b.*) lr=7.5e-3 batch=384/8 ;;
  pre-aligned.*.tvqa) lr=6.25e-3 ;;
  pre-aligned.*) lr=1.25e-2 ;;
  nothing.llama2_13b.nextqa) lr=7.5e-3 batch=192/8 passes=10/4 ;;
  nothing.llama2_13b.*) lr=1.5e-2 batch=192/8 passes=10/2 ;;
  nothing.llama2_7b.nextqa | nothing.llama3_8b.tvqa) lr=1.25e-2 passes=10/2 ;;
  nothing.*) lr=2.5e-2 passes=10/2 ;;
  *) echo "FROM=$FROM: choose pre-aligned or nothing" >&2 && exit 2 ;;
esac
begin=(--init "${INIT:-$EXP/$SIZE}")
if [[ $FROM == nothing ]]; then begin=(--llm "$LLM"); fi

train "$data" "${begin[@]}" --out "$EXP/${SIZE}_${data}_$FROM" "${root[@]}" --split train \
  --effective_batch "${batch%/*}" --batch_size "${batch#*/}" --lr "$lr" \
  --epochs "${passes%/*}" --warmup_epochs "${passes#*/}" \
  --weight_decay 0.1 --max_grad_norm 1.0 --max_length 128 --choice_share 1 --caption_share 0 "$@"
