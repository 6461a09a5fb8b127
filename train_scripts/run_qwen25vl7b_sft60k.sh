#!/usr/bin/env bash
# For comparison: fine-tuning alone.
# shellcheck source-path=SCRIPTDIR
source "$(dirname "${BASH_SOURCE[0]}")/library.sh"
run_recipe "qwen25vl7b=lr1e-4_r32_a32_bs16_sft60k"
