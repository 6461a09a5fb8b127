#!/usr/bin/env bash
# MSRVTT-QA by Vicuna-7B; run_qa.sh has the settings.
exec bash "$(dirname "$0")/run_qa.sh" msrvttqa VideoTGB_instructblipvicuna7b_ivinstruct "$@"
