#!/usr/bin/env bash
# ActivityNet-QA by Flan-T5-XL; run_qa.sh has the settings.
exec bash "$(dirname "$0")/run_qa.sh" activitynetqa VideoTGB_blip2flant5xl_ivinstruct "$@"
