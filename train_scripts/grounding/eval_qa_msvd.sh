#!/usr/bin/env bash
# Scores of an experiment's answers to MSVD-QA, by default Flan-T5-XL's; eval_qa.sh has the settings.
exec bash "$(dirname "$0")/eval_qa.sh" msvdqa "${1:-VideoTGB_blip2flant5xl_ivinstruct}" "${@:2}"
