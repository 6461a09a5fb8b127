#!/usr/bin/env bash
# Train what a recipe's name says, or what is left of it:
#
#   bash train_scripts/run.sh "qwen25vl7b=lr5e-6_r32_a64_bs16_freeze_r16-r8-r4-r2=lr1e-4_r32_a32_bs16_sft60k"
#   DRY_RUN=1 bash train_scripts/run.sh ...     # print every swift command, run nothing
#
# It calls dpo.sh, simpo.sh, sft.sh and merge.sh of this folder, which hold swift's flags; settings.sh lists their settings.
# docs/training.md explains the rest.
set -euo pipefail

export CALLER_DIR=$PWD   # relative paths in the settings start there
cd "$(dirname "${BASH_SOURCE[0]}")/.."
if ! command -v swift >/dev/null; then
  PATH=$PWD/.venv/bin:$PATH
  echo "swift is not on PATH, so the repository's own runs: export PATH=$PWD/.venv/bin:\$PATH"
fi
# The Python that stands beside swift has what swift needs.
python=$(dirname "$(command -v swift || echo /)")/python
if [[ ! -x $python ]]; then python=python3; fi
exec "${PYTHON:-$python}" -m tools.training.chain "$@"
