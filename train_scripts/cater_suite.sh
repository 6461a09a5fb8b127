#!/usr/bin/env bash
# The three comparisons on a data set that has its questions: lines, features, teachers, students, report.
#
#   D_MODEL=256 EPOCHS=2 bash train_scripts/cater_suite.sh msrvtt
#   WORLD_SIZE=8 TEACHERS="videollava flamingo chatunivl" bash train_scripts/cater_suite.sh tvqa
set -euo pipefail
data=${1:?a data set}
shift
# shellcheck source-path=SCRIPTDIR source=cater_settings.sh
source "$(dirname "${BASH_SOURCE[0]}")/cater_settings.sh"

prepare "$data"
run distillation.suite "$data" ${SEEDS:+--seeds "$SEEDS"} "${student[@]}" "${root[@]}" "$@"
