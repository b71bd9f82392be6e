#!/usr/bin/env bash
# The GitHub Action's work (action.yml): runs `scalecheck gate`, leaves the report, and fails if the gate is shut.
#
# POLICY   the policy file
# FORMAT   of the report: sarif, json, junit, table or line
# REPORT   where the report goes; it is written when the gate is shut as well
# ATTEST   where an in-toto statement goes if the gate opens; none if empty
# SIGNER   minisign public key that must have signed the policy; none if empty
# CHECKER  a scalecheck to run; if empty, one is built from this checkout
#
# Outputs, in the file that GITHUB_OUTPUT names: verdict (OPEN, CLOSED or ERROR), report and attestation (empty if there is
# none). Exit code: that of the gate.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
report=${REPORT:?a file for the report is needed} attest=${ATTEST:-} checker=${CHECKER:-}
output=${GITHUB_OUTPUT:-/dev/null}

# What an earlier run left says nothing about this one.
rm -f -- "$report" ${attest:+"$attest"}
[ -n "$checker" ] || checker=$("$here/build.sh")
arguments=(gate "${POLICY:?a policy is needed}" --format "${FORMAT:-sarif}")
[ -z "$attest" ] || arguments+=(--attest "$attest")
[ -z "${SIGNER:-}" ] || arguments+=(--policy-signer "$SIGNER")

code=0
"$checker" "${arguments[@]}" >"$report.partial" || code=$?
# Files may say anything; what they say is not a command to the runner.
token=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
echo "::stop-commands::$token"
cat -- "$report.partial"
echo "::$token::"
case $code in
    0) verdict=OPEN ;;
    1) verdict=CLOSED ;;
    *) verdict=ERROR ;;
esac
mv -- "$report.partial" "$report"
[ -n "$attest" ] && [ -f "$attest" ] || attest=
printf '%s\n' "verdict=$verdict" "report=$report" "attestation=$attest" >>"$output"
[ "$code" -eq 0 ] || echo "::error::scalecheck gate: $verdict, exit code $code"
exit "$code"
