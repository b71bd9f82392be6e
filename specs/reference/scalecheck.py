#!/usr/bin/env python3
"""A second checker of certificates, written from the text of the specification alone.

    python3 scalecheck.py [--exact | --loose | --keen] CLAIM CERTIFICATE [--model FILE]
    python3 scalecheck.py --model FILE --property FILE CERTIFICATE

The first line is the verdict: VERIFIED, REFUTED, REJECTED, MALFORMED, MISMATCH or LIMIT; for an error its message and
code follow. Exit codes are 0, 10, 1, 2, 3 and 4. It needs Python 3.11 and nothing else.

It computes with fractions. Of what calculus.md, section 5, rounds it rounds the bounds of tensors, since default slopes hang on
them, and nothing else. So it may accept what misses by rounding alone, and now and then its bounds are weaker by a hair: the rest
of a rounded coefficient is charged to what is known of that tensor, which may be less than what the exact one costs further back.
With --exact nothing is rounded. With --loose every bound is weaker besides by 2^-36 of the numbers that it is made of: what is
accepted even then does not depend on rounding. With --keen every bound is stronger by as much: what is accepted then alone hangs
on rounding, and that verdict proves nothing. Limits on work are not counted. It is slow.
"""

import sys

if sys.version_info < (3, 11):
    sys.exit("Python 3.11 is needed")
sys.set_int_max_str_digits(0)

from certificate import Check
from claim import Claim
from exact import EXIT, Fault
import rules

MODES = {"--exact": rules.EXACT, "--loose": rules.WEAKER, "--keen": rules.STRONGER}
USAGE = "scalecheck.py [--exact | --loose | --keen] CLAIM CERTIFICATE [--model FILE]"


def check(claim_path, certificate, model=None, property_path=None, mode=rules.GRID):
    """A check that has been run, with its `verdict_word`. Errors that leave no verdict are raised as Fault."""
    claim = Claim.of_property(model, property_path) if property_path is not None else Claim(claim_path, model)
    run = Check(claim, certificate, mode)
    run.verdict_word = run.run()
    return run


def report(run):
    """What there is to say besides the verdict."""
    lines = [f"setting {setting}, row {row}: {fault.message} [{fault.code}]" for (setting, row), fault in run.faults.items()]
    if run.verdict_word == "REJECTED" and not run.faults:
        lines.append("some row has no answer")
    tolerances = [r.tolerance for r in run.results.values() if r.tolerance is not None]
    if tolerances and len(run.claim.settings) == 1:
        lines.append(f"proven tolerance: {float(max(tolerances)):.6g}")
    if run.verdict_word == "VERIFIED":
        for below, band, gap in run.separations():
            lines.append(f"separation of settings {below} and {band}: gap {'∞' if gap is None else f'{float(gap):.4g}'}")
    return lines


def main(arguments):
    plain, options, mode = [], {}, rules.GRID
    rest = list(arguments)
    try:
        while rest:
            word = rest.pop(0)
            if word in ("--model", "--property"):
                if word in options or not rest:
                    raise Fault("usage", f"{word} is not understood")
                options[word] = rest.pop(0)
            elif word in MODES:
                mode = MODES[word]
            elif word.startswith("-"):
                raise Fault("usage", f"{word} is not understood")
            else:
                plain.append(word)
        if "--property" in options:
            if len(plain) != 1 or "--model" not in options:
                raise Fault("usage", "--property needs --model and a certificate")
            run = check(None, plain[0], options["--model"], options["--property"], mode)
        else:
            if len(plain) != 2:
                raise Fault("usage", USAGE)
            run = check(plain[0], plain[1], options.get("--model"), mode=mode)
        verdict, lines = run.verdict_word, report(run)
    except Fault as fault:
        verdict, lines = fault.verdict, [f"{fault.message} [{fault.code}]"]
    print(verdict)
    for line in lines:
        print(line)
    return EXIT[verdict]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
