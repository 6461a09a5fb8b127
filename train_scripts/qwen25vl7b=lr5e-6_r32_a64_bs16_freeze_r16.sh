#!/usr/bin/env bash
# Trains what its name says, and what that starts from; a copy under another name is another recipe.
exec bash "$(dirname "${BASH_SOURCE[0]}")/run.sh" "$(basename "${BASH_SOURCE[0]}" .sh)"
