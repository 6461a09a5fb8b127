#!/usr/bin/env bash
# Train what a recipe's name says, or what is left of it:
#   bash train_scripts/run.sh "qwen25vl7b=lr5e-6_r32_a64_bs16_freeze_r16-r8-r4-r2=lr1e-4_r32_a32_bs16_sft60k"
#   DRY_RUN=1 bash train_scripts/run.sh ...     # print every swift command, run nothing
# train_scripts/library.sh lists the settings; python -m tools.training.recipe --help explains the name.
# shellcheck source-path=SCRIPTDIR
source "$(dirname "${BASH_SOURCE[0]}")/library.sh"
run_recipe "$@"
