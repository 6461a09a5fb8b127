#!/usr/bin/env bash
# Scores of what run_qa.sh has written, and a judge's, where JUDGE names one:
#   JUDGE=gpt-4o-mini@https://api.openai.com/v1 bash train_scripts/grounding/eval_qa.sh msvdqa EXPERIMENT
set -euo pipefail
cd "$(dirname "$0")/../.."
split=${SPLIT:-test} python=${PYTHON:-${VENV:+$VENV/bin/}python}
about=(--dataset "$1" --split "$split" --predictions "${PREDICTIONS:-data/$1/qa/predictions/$split/$2.jsonl}")
"$python" evaluate_model.py qa "${about[@]}" --allow_missing
if [[ -z ${JUDGE:-} ]]; then exit; fi
exec "$python" evaluate_model.py judge "${about[@]}" --allow_missing --judge "$JUDGE" "${@:3}"
