#!/usr/bin/env bash
# For comparison: fine-tuning first, then DPO from easy to hard pairs.
exec bash "$(dirname "${BASH_SOURCE[0]}")/run.sh" "qwen25vl7b=lr1e-4_r32_a32_bs16_sft60k=lr5e-6_r32_a64_bs16_freeze_r16-r8-r4-r2"
