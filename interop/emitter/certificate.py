"""The certificate file: specs/certificate-format.md as Python objects.

A certificate has integers and strings only. What is a real number here (a slope, a multiplier) is rounded on the way
in; that never makes a certificate wrong, since every slope and every multiplier gives a valid bound.
"""

import gzip
import hashlib
import json
import math
from fractions import Fraction
from pathlib import Path

import numpy as np

DEFAULT = -1
MANTISSA_BITS = 40


class Proof:
    """A proof with one tree of one case: refinements, then one closing entry for every cell."""

    def __init__(self, slope_bits=16):
        self.slope_bits = slope_bits
        self.tensors, self.refinements, self.closes = [], [], []
        self._positions = {}

    def tensor(self, name):
        """The position of a tensor in the proof's list; everything else refers to tensors by it."""
        if name not in self.tensors:
            self.tensors.append(name)
        return self.tensors.index(name)

    def slopes(self, lower):
        """The position of a slope set, {pre-activation: α of every element}, NaN for the checker's default."""
        entry = [{"tensor": self.tensor(name), "lower": self._integers(alpha)} for name, alpha in lower.items()]
        return self._positions.setdefault(json.dumps(entry), len(self._positions))

    def _integers(self, alpha):
        """Slopes over 2^slope_bits, cut to [0, 1]: anything else would be rejected."""
        scaled = np.rint(np.clip(alpha, 0, 1) * 2**self.slope_bits)
        return [int(s) if math.isfinite(s) else DEFAULT for s in scaled]

    def refine(self, name, slopes=None, rows=None, side=None, multipliers=()):
        """Derives bounds of a tensor again. To be called in topological order: bounds do not flow on by themselves."""
        optional = {"rows": rows, "side": side, "slopes": slopes, "multipliers": self._multipliers(multipliers)}
        self.refinements.append({"tensor": self.tensor(name), **_without_empty(optional)})

    def close(self, slopes=None, multipliers=()):
        """Closes the next cell. Without any `cell` key there has to be one entry for every cell, in order."""
        self.closes.append(_without_empty({"slopes": slopes, "multipliers": self._multipliers(multipliers)}))

    def _multipliers(self, multipliers):
        """Each (tensor name, element, β) as [tensor, element, mantissa, exponent], β = mantissa / 2^exponent."""
        return [[self.tensor(name), int(element), *_dyadic(beta)] for name, element, beta in multipliers]

    def json(self):
        return {
            "slope_bits": self.slope_bits,
            "tensors": self.tensors,
            "slopes": [json.loads(entry) for entry in self._positions],
            "refine": self.refinements,
            "nodes": [{"close": self.closes}],
        }


def _without_empty(optional):
    """A key that is not needed is left out, never null."""
    return {key: value for key, value in optional.items() if value is not None and value != []}


def _dyadic(beta):
    """β rounded to an integer below 2^MANTISSA_BITS over a power of two."""
    exponent = MANTISSA_BITS - math.frexp(beta)[1]
    return round(math.ldexp(beta, exponent)), exponent


def witness(blocks):
    """A counterexample: exact values of the variables of every perturbation."""
    return {"perturbation": [[str(Fraction(value)) for value in block] for block in blocks]}


def bundle(claim, answers, generator):
    """The whole certificate. `answers` maps a row to {"proof": …} or {"witness": …}.

    The digests bind it to the bytes of the claim, of the model and of the data that the claim names."""
    return {
        "format": "scale-certificate/1",
        "generator": generator,
        "claim": _digest(claim.path),
        "model": _digest(claim.model),
        "data": [_digest(path) for path in claim.data],
        "answers": [{"row": row, **answer} for row, answer in answers.items()],
    }


def _digest(path):
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def write(path, certificate):
    """Writes JSON, gzipped if the name says so; NaN and infinities are errors."""
    text = json.dumps(certificate, separators=(",", ":"), allow_nan=False).encode()
    Path(path).write_bytes(gzip.compress(text) if str(path).endswith(".gz") else text)
