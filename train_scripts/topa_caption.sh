#!/usr/bin/env bash
# Captions of MSR-VTT or VATEX by a pre-aligned model, with CIDEr and BLEU-4.
#
#   WORLD_SIZE=8 bash train_scripts/topa_caption.sh msrvtt
set -euo pipefail
data=${1:?a data set: msrvtt or vatex}
shift
# shellcheck source-path=SCRIPTDIR source=topa_settings.sh
source "$(dirname "${BASH_SOURCE[0]}")/topa_settings.sh"

case $data in
  vatex) how=(--split val --max_new_tokens 15) ;;
  *) how=(--split test --max_new_tokens 10 --question "What happens in the video" --begin "The video shows") ;;
esac
run prealignment.caption "$data" "${WORLD_SIZE:-1}" "${how[@]}" --checkpoint "${CHECKPOINT:-$EXP/$SIZE}" \
  --memory "$TEXTS" "${root[@]}" "$@"
