#!/usr/bin/env bash
# Trains what its name says, and what that starts from; a copy under another name is another recipe.
# shellcheck source-path=SCRIPTDIR
source "$(dirname "${BASH_SOURCE[0]}")/library.sh"
run_recipe "$(basename "${BASH_SOURCE[0]}" .sh)"
