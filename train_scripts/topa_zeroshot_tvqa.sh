#!/usr/bin/env bash
exec bash "$(dirname "${BASH_SOURCE[0]}")/topa_zeroshot.sh" tvqa val "$@"
