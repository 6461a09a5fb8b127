#!/usr/bin/env bash
# MSRVTT-QA by Flan-T5-XL; run_qa.sh has the settings.
exec bash "$(dirname "$0")/run_qa.sh" msrvttqa VideoTGB_blip2flant5xl_ivinstruct "$@"
