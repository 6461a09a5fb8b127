#!/usr/bin/env bash
# The whole path on a CPU in minutes, without downloads: toy stories with questions, a tiny random CLIP, made-up
# lines, toyvl as the teacher, one student. It checks the data flow; the student learns next to nothing.
#
#   bash train_scripts/cater_smoke.sh
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=cater_settings.sh
source "$(dirname "${BASH_SOURCE[0]}")/cater_settings.sh"
data=${DATA_ROOT:-$toolkit/data}/toycater tiny=${TMPDIR:-/tmp}/tiny-clip

if [[ ! -e $data/qa/train.jsonl ]]; then
  run toyworld --videos "${VIDEOS:-40}" --events 4 --qa 3 --out "$data"
  run distillation.splits toycater "${root[@]}"
fi
run inference.tiny.checkpoints clip "$tiny"
CLIP=$tiny CAPTIONER=dryrun TEACHERS=toyvl prepare toycater
run distillation.train toycater --prompt_variant event --distill_mode hybrid --teacher_name toyvl --lr 1e-3 \
  --epochs "${EPOCHS:-2}" ${D_MODEL:+--d_model "$D_MODEL"} --out "$toolkit/exp/cater/smoke" "${root[@]}"
run distillation.evaluate "$toolkit/exp/cater/smoke" --split test "${root[@]}" "$@"
