"""Exact numbers, linear maps and errors: what the other modules share."""

import re
from fractions import Fraction
from math import gcd, lcm

ZERO = Fraction(0)
ONE = Fraction(1)

MALFORMED, MISMATCH, LIMIT, REJECTED = "MALFORMED", "MISMATCH", "LIMIT", "REJECTED"
EXIT = {"VERIFIED": 0, "REFUTED": 10, "REJECTED": 1, "MALFORMED": 2, "MISMATCH": 3, "LIMIT": 4}
REJECTED_CODES = {
    "proof-reference", "slope-range", "cell-weights", "cell-open", "not-void", "tree-truncated", "tree-trailing",
    "tree-node", "served-by", "chain-link", "chain-sum", "witness-outside", "witness-harmless",
}


class Fault(Exception):
    """An error with a code of the specification."""

    def __init__(self, code, message):
        super().__init__(message)
        self.code = code
        self.message = message

    @property
    def verdict(self):
        if self.code in REJECTED_CODES:
            return REJECTED
        if self.code.endswith("-mismatch"):
            return MISMATCH
        if self.code.startswith("limit-"):
            return LIMIT
        return MALFORMED


NUMBER = re.compile(r"([-+]?)(?:([0-9]+)/([0-9]+)|([0-9]+|[0-9]*\.[0-9]+)(?:[eE]([-+]?[0-9]+))?)\Z")


def parse_number(text):
    """claim-format.md, Numbers. Returns None if the text is not a number."""
    if len(text) > 4096:
        return None
    match = NUMBER.match(text)
    if not match or not text.isascii():
        return None
    sign, top, bottom, decimal, exponent = match.groups()
    if top is not None:
        if int(bottom) == 0:
            return None
        value = Fraction(int(top), int(bottom))
    else:
        whole, _, part = decimal.partition(".")
        value = Fraction(int((whole + part) or "0"), 10 ** len(part))
        if exponent is not None:
            power = int(exponent)
            if abs(power) > 4096:
                return None
            value = value * 10 ** power if power >= 0 else value / 10 ** -power
    return -value if sign == "-" else value


INVISIBLE = re.compile("[`\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\U000e0000-\U0010ffff]")


def is_plain(text):
    """claim-format.md: a string without backticks and invisible characters."""
    return not INVISIBLE.search(text)


def floor_to(value, bits):
    """The largest multiple of 2^-bits that is not above value."""
    return Fraction((value.numerator << bits) // value.denominator, 1 << bits)


def nearest16(value):
    """The nearest integer to value ≥ 0 times 2^16; up if two are equally near."""
    return ((value.numerator << 17) + value.denominator) // (2 * value.denominator)


def common(values):
    """Fractions as integers over one denominator."""
    den = 1
    for value in values:
        if den % value.denominator:
            den = lcm(den, value.denominator)
    return [value.numerator * (den // value.denominator) for value in values], den


class Vector:
    """Integers over one denominator."""

    __slots__ = ("items", "den")

    def __init__(self, items, den=1):
        self.items = items
        self.den = den

    @staticmethod
    def of(values):
        return Vector(*common(values))

    def fractions(self):
        return [Fraction(item, self.den) for item in self.items]

    def plus(self, other):
        if self.den == other.den:
            return Vector([a + b for a, b in zip(self.items, other.items)], self.den)
        den = lcm(self.den, other.den)
        f, g = den // self.den, den // other.den
        return Vector([a * f + b * g for a, b in zip(self.items, other.items)], den)

    def is_zero(self):
        return not any(self.items)


class Map:
    """A linear map: rows of (column, integer), over one denominator."""

    __slots__ = ("rows", "columns", "den", "_given", "_identity", "_transposed")

    def __init__(self, rows, columns, den=1, given=None):
        self.rows = rows
        self.columns = columns
        self.den = den
        self._given = rows if given is None else given
        self._identity = None
        self._transposed = None

    @staticmethod
    def of(rows, columns):
        """From rows of (column, Fraction); equal columns are added up."""
        merged = []
        for row in rows:
            seen = {}
            for column, value in row:
                seen[column] = seen[column] + value if column in seen else value
            merged.append([(c, v) for c, v in seen.items() if v])
        den = 1
        for row in merged:
            for _, value in row:
                if den % value.denominator:
                    den = lcm(den, value.denominator)
        return Map([[(c, v.numerator * (den // v.denominator)) for c, v in row] for row in merged], columns, den, rows)

    @staticmethod
    def identity(size):
        return Map([[(i, 1)] for i in range(size)], size)

    @staticmethod
    def select(places, columns):
        """Row i is element places[i]; zero if that is None."""
        return Map([[] if p is None else [(p, 1)] for p in places], columns)

    @staticmethod
    def dense(rows):
        return Map.of([list(enumerate(row)) for row in rows], len(rows[0]))

    @property
    def pattern(self):
        """Where the map has entries, be they zero: what an operation does whatever its constants are."""
        return [[entry[0] for entry in row] for row in self._given]

    def is_identity(self):
        if self._identity is None:
            self._identity = len(self.rows) == self.columns and all(
                len(row) == 1 and row[0] == (i, self.den) for i, row in enumerate(self.rows))
        return self._identity

    def is_zero(self):
        return not any(self.rows)

    def scaled(self, factor):
        factor = Fraction(factor)
        if not factor:
            return Map([[] for _ in self.rows], self.columns, 1, self._given)
        return Map([[(c, v * factor.numerator) for c, v in row] for row in self.rows], self.columns,
                   self.den * factor.denominator, self._given)

    def plus(self, other):
        den = lcm(self.den, other.den)
        f, g = den // self.den, den // other.den
        rows = []
        for a, b in zip(self.rows, other.rows):
            seen = {}
            for c, v in a:
                seen[c] = seen.get(c, 0) + v * f
            for c, v in b:
                seen[c] = seen.get(c, 0) + v * g
            rows.append([(c, v) for c, v in seen.items() if v])
        return Map(rows, self.columns, den)

    def minus(self, other):
        return self.plus(other.scaled(-1))

    def after(self, first):
        """self · first"""
        rows = []
        for row in self.rows:
            seen = {}
            for c, v in row:
                for d, w in first.rows[c]:
                    seen[d] = seen.get(d, 0) + v * w
            rows.append([(c, v) for c, v in seen.items() if v])
        return Map(rows, first.columns, self.den * first.den, [[(c,) for c in range(first.columns)]] * len(rows))

    def transposed(self):
        if self._transposed is None:
            rows = [[] for _ in range(self.columns)]
            for i, row in enumerate(self.rows):
                for c, v in row:
                    rows[c].append((i, v))
            self._transposed = Map(rows, len(self.rows), self.den)
        return self._transposed

    def apply(self, vector):
        items = vector.items
        return Vector([sum([v * items[c] for c, v in row]) for row in self.rows], vector.den * self.den)

    def pull(self, vector):
        """The transposed map, for few non-zero elements too."""
        items = vector.items
        result = [0] * self.columns
        for item, row in zip(items, self.rows):
            if item:
                for c, v in row:
                    result[c] += v * item
        return Vector(result, vector.den * self.den)


def coprime(coefficients):
    """certificate-format.md, close: the scale u that makes coefficients coprime integers, and these."""
    items, den = common(coefficients)
    divisor = 0
    for item in items:
        divisor = gcd(divisor, item)
    if divisor == 0:
        return ONE, items
    return Fraction(den, divisor), [item // divisor for item in items]


def reduce_vector(vector):
    """Cancels the powers of two that all share."""
    den = vector.den
    if den & 1:
        return vector
    bits = 0
    for item in vector.items:
        bits |= item if item >= 0 else -item
    if not bits:
        return Vector(vector.items, 1)
    shift = min((bits & -bits).bit_length(), (den & -den).bit_length()) - 1
    if not shift:
        return vector
    return Vector([item >> shift for item in vector.items], den >> shift)
