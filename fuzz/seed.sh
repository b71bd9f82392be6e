#!/usr/bin/env bash
# Fills corpus/ with the repository's own files, for the fuzzer to start from.
set -euo pipefail
cd "$(dirname "$0")"
for target in onnx claim property certificate check; do mkdir -p "corpus/$target"; done
cp ../models/*.onnx ../specs/worked-example/model.onnx corpus/onnx/
cp ../specs/claims/*.toml corpus/claim/
cp ../specs/claims/*.vnnlib corpus/property/
find ../certificates -name '*.cert.json*' -size -30k -exec cp {} corpus/certificate/ \;
for part in "" -split -refuted; do
    example=../specs/worked-example
    { cat "$example/claim$part.toml"; echo ---; cat "$example/certificate$part.json"; } >"corpus/check/worked$part"
done
