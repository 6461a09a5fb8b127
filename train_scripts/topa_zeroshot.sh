#!/usr/bin/env bash
# A pre-aligned model on a benchmark that it has not seen: projected, shifted, raw and blind, in one table.
#
#   bash train_scripts/topa_zeroshot.sh egoschema val
#   CHECKPOINT=exp/topa/released_7b bash train_scripts/topa_zeroshot.sh nextqa val --permute 2
set -euo pipefail
data=${1:?a data set} split=${2:?one of its splits}
shift 2
# shellcheck source-path=SCRIPTDIR source=topa_settings.sh
source "$(dirname "${BASH_SOURCE[0]}")/topa_settings.sh"

run prealignment.answer "$data" --split "$split" --checkpoint "${CHECKPOINT:-$EXP/$SIZE}" --memory "$TEXTS" \
  "${root[@]}" "$@"
