#!/usr/bin/env bash
# Builds the static checker of this checkout and prints where it is; what cargo says goes to standard error.
#
# Where the C library has no static form, it is built with musl's instead, whose allocator makes checks slower; on systems
# other than Linux it is built as they build programs.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
target=$(rustc --print host-tuple)
command=(cargo build --locked --profile dist -p scalecheck --target)
if [[ $target != *-linux-* ]]; then
    "${command[@]}" "$target" >&2
elif ! RUSTFLAGS="-C target-feature=+crt-static" "${command[@]}" "$target" >&2; then
    target=${target%%-*}-unknown-linux-musl
    echo "no static build with this system's C library; trying $target, in which checks are slower" >&2
    rustup target add "$target" >&2
    "${command[@]}" "$target" >&2
fi
folder=$(cargo metadata --no-deps --format-version 1 | grep -o '"target_directory":"[^"]*"' | cut -d '"' -f 4)
echo "$folder/$target/dist/scalecheck"
