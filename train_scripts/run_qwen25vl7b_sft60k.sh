#!/usr/bin/env bash
# For comparison: fine-tuning alone.
exec bash "$(dirname "${BASH_SOURCE[0]}")/run.sh" "qwen25vl7b=lr1e-4_r32_a32_bs16_sft60k"
