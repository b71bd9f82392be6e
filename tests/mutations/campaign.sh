#!/usr/bin/env bash
# The long campaign: MUTATIONS mutations (by default a million), of which the reference checker confirms up to CONFIRM that
# were not rejected. With WORKERS=1 the peak of memory is that of one check. It needs Python 3.11 besides. A failing mutation is
# printed with its seed and number.
set -euo pipefail
cd "$(dirname "$0")/../.."
seed=${SEED:-$RANDOM$RANDOM}
keep=$(mktemp -d)
trap 'rm -rf "$keep"' EXIT
MUTATIONS=${MUTATIONS:-1000000} SEED=$seed KEEP=$keep cargo test --release --test mutations -- --nocapture
python3 specs/reference/confirm.py "$keep" --seed "$seed" --count "${CONFIRM:-5000}"
