#!/usr/bin/env python3
"""Confirms verdicts of another checker.

    python3 confirm.py FOLDER [--seed N] [--count N]

Every folder in FOLDER has a `claim.toml` with its files, a `certificate.json`, and in `verdict` an exit code and a verdict's
word. Says which of them this checker does not confirm, and ends with 1 if there are any; COUNT folders are drawn at random. What
is verified, and by this checker only with `--exact` or `--keen`, is a matter of rounding (see README.md) and counted apart.
"""

import argparse
import contextlib
import io
import os
import random
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import scalecheck  # noqa: E402


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=1000)
    options = parser.parse_args()
    names = sorted(os.listdir(options.folder))
    if not names:
        print(f"{options.folder}: there is nothing to confirm", file=sys.stderr)
        return 2
    if len(names) > options.count:
        names = random.Random(options.seed).sample(names, options.count)
    counts, differ, rounding = {}, 0, 0

    def run(*words):
        out = io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
            return scalecheck.main(list(words)), out.getvalue()

    for name in names:
        place = os.path.join(options.folder, name)
        with open(os.path.join(place, "verdict")) as file:
            code, word = file.read().split()
        files = os.path.join(place, "claim.toml"), os.path.join(place, "certificate.json")
        own, said = run(*files)
        counts[word] = counts.get(word, 0) + 1
        if own == int(code):
            continue
        is_rounding = word == "VERIFIED" and own == 1 and any(run(mode, *files)[0] == 0 for mode in ("--exact", "--keen"))
        rounding, differ = rounding + is_rounding, differ + (not is_rounding)
        print(f"{place}: {word} with exit code {code}, this checker ends with {own}: {said[:300]}", flush=True)
    print(f"{len(names)} verdicts: {dict(sorted(counts.items()))}, {rounding} differ by rounding, {differ} not confirmed")
    return 1 if differ or rounding > len(names) / 500 else 0


if __name__ == "__main__":
    sys.exit(main())
