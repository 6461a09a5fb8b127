#!/usr/bin/env bash
# Answers to the questions of a data set by a trained answerer, with flags of grounding.answer at the end:
#   WORLD_SIZE=8 SAMPLER=exp/TG bash train_scripts/grounding/run_qa.sh msvdqa VideoTGB_blip2flant5xl_ivinstruct
set -euo pipefail
cd "$(dirname "$0")/../.."
python=${PYTHON:-${VENV:+$VENV/bin/}python}
workers=${WORLD_SIZE:-1} sampler=${SAMPLER:-exp/VideoTGB_TG_blip2flant5xl_videoinstruct}
"$python" -m grounding.flow "$1" "$workers" --extractor "${EXTRACTOR:-dis}"
exec "$python" -m grounding.answer "$1" "$workers" --split "${SPLIT:-test}" --name "$2" \
  --checkpoint "${CHECKPOINT:-exp/$2}" --sampler "$sampler" "${@:3}"
