#!/usr/bin/env bash
# Scores of an experiment's answers to MSRVTT-QA, by default Flan-T5-XL's; eval_qa.sh has the settings.
exec bash "$(dirname "$0")/eval_qa.sh" msrvttqa "${1:-VideoTGB_blip2flant5xl_ivinstruct}" "${@:2}"
