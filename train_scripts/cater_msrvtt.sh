#!/usr/bin/env bash
# MSRVTT-QA from its published files to the three comparisons: questions with options, lines, features, teachers,
# students, report.
#
#   WORLD_SIZE=8 bash train_scripts/cater_msrvtt.sh ~/MSRVTT-QA            # train_qa.json, val_qa.json, test_qa.json, video/
#   LIMIT=2000 CAPTIONER=gpt-4o-mini@https://api.openai.com/v1 bash train_scripts/cater_msrvtt.sh ~/MSRVTT-QA
set -euo pipefail
published=${1:?the folder of MSRVTT-QA}
shift
# shellcheck source-path=SCRIPTDIR source=cater_settings.sh
source "$(dirname "${BASH_SOURCE[0]}")/cater_settings.sh"

for split in train val test; do
  run qa.read msrvttqa --file "$published/${split}_qa.json" --pool "$published/train_qa.json" --choices 5 \
    --video_dir "$published/video" --dataset msrvtt --split "$split" ${LIMIT:+--limit "$LIMIT"} "${root[@]}"
done
prepare msrvtt
run distillation.suite msrvtt ${SEEDS:+--seeds "$SEEDS"} "${student[@]}" "${root[@]}" "$@"
