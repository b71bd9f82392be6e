#!/usr/bin/env bash
# The pre-commit hook: builds the checker once in the hook's own checkout, then runs the gate on every policy that it is given.
set -euo pipefail
checker=$("$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)/build.sh")
[ "$#" -gt 0 ] || { echo "no policy: give the hook its path, args: [release.toml]" >&2; exit 2; }
worst=0
for policy in "$@"; do
    code=0
    "$checker" gate "$policy" || code=$?
    [ "$code" -le "$worst" ] || worst=$code
done
exit "$worst"
