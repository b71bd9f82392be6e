#!/usr/bin/env bash
# The pre-commit hook: runs the gate on every policy that it is given, with the checker that SCALECHECK names, or else with one
# that is built in the hook's own checkout, once.
set -euo pipefail
[ "$#" -gt 0 ] || { echo "no policy: give the hook its path, args: [release.toml]" >&2; exit 2; }
checker=${SCALECHECK:-$("$(dirname "${BASH_SOURCE[0]}")/build.sh")}
worst=0
for policy in "$@"; do
    code=0
    "$checker" gate "$policy" || code=$?
    [ "$code" -le "$worst" ] || worst=$code
done
exit "$worst"
