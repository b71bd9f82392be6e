"""claim-format.md, Properties in VNN-LIB."""

import re
from fractions import Fraction

from exact import Fault, parse_number


class PropertyRegion:
    """A box and its unsafe sets, each a list of (coefficients {i: Fraction}, bound, strict): Σ a_i Y_i ≤ or < bound."""

    def __init__(self, lower, upper):
        self.lower, self.upper, self.sets = lower, upper, []


class Property:
    def __init__(self):
        self.inputs = 0
        self.outputs = 0
        self.regions = []


def parse(text):
    """Nested lists of words."""
    stack, top = [], []
    for token in re.findall(r";[^\n\r]*|[()]|[^\s();]+", text):
        if token[0] == ";":
            continue
        if token == "(":
            stack.append(top)
            top = []
            if len(stack) > 64:
                raise Fault("limit-size", "parentheses")
        elif token == ")":
            if not stack:
                raise Fault("property-syntax", "a parenthesis without its partner")
            stack[-1].append(top)
            top = stack.pop()
        else:
            top.append(token)
    if stack:
        raise Fault("property-syntax", "a parenthesis without its partner")
    return top


VARIABLE = re.compile(r"([XY])_(0|[1-9][0-9]*)\Z")


def variable(word):
    match = VARIABLE.match(word)
    if not match:
        return None
    if len(match[2]) > 7 or int(match[2]) >= 2 ** 20:
        raise Fault("property-unsupported", "an index that is too large")
    return match[1], int(match[2])


def small(value):
    if max(value.numerator.bit_length(), value.denominator.bit_length()) > 2 ** 14:
        raise Fault("limit-size", "a number in a term")
    return value


class Reader:
    def __init__(self):
        self.declared = set()

    def term(self, t):
        """A linear term as {variable: Fraction}, the constant under None."""
        if type(t) is str:
            name = variable(t)
            if name is not None:
                if name not in self.declared:
                    raise Fault("property-value", f"{t} is not declared")
                return {name: Fraction(1)}
            value = parse_number(t)
            if value is None:
                raise Fault("property-syntax", f"the word {t}")
            return {None: value}
        if not t or type(t[0]) is not str:
            raise Fault("property-unsupported", "a term")
        op, parts = t[0], [self.term(p) for p in t[1:]]
        if op == "+" and parts:
            result = {}
            for p in parts:
                result = plus(result, p, 1)
            return result
        if op == "-" and len(parts) == 1:
            return plus({}, parts[0], -1)
        if op == "-" and parts:
            result = parts[0]
            for p in parts[1:]:
                result = plus(result, p, -1)
            return result
        if op == "*" and parts:
            result = {None: Fraction(1)}
            for p in parts:
                if constant(p):
                    factor, other = p.get(None, Fraction(0)), result
                elif constant(result):
                    factor, other = result.get(None, Fraction(0)), p
                else:
                    raise Fault("property-unsupported", "a product of variables")
                result = {k: small(v * factor) for k, v in other.items()}
            return result
        if op == "/" and len(parts) == 2:
            if not constant(parts[1]) or not parts[1].get(None):
                raise Fault("property-unsupported", "a divisor")
            return {k: small(v / parts[1][None]) for k, v in parts[0].items()}
        raise Fault("property-unsupported", f"the term {op}")

    def formula(self, f):
        """Multiplied out: a list of cases, each a list of comparisons."""
        if type(f) is not list or not f or type(f[0]) is not str:
            raise Fault("property-unsupported", "a formula")
        op = f[0]
        if op in ("and", "or"):
            if len(f) < 2:
                raise Fault("property-unsupported", f"{op} without parts")
            cases = [self.formula(p) for p in f[1:]]
            if op == "or":
                return limited([c for part in cases for c in part])
            result = [[]]
            for part in cases:
                result = limited([a + b for a in result for b in part])
            return result
        if op in ("<=", ">=", "<", ">"):
            if len(f) != 3:
                raise Fault("property-unsupported", "a comparison of other than two terms")
            a, b = self.term(f[1]), self.term(f[2])
            difference = plus(a, b, -1) if op[0] == "<" else plus(b, a, -1)
            return [[self.comparison(difference, len(op) == 1)]]
        raise Fault("property-unsupported", f"the formula {op}")

    def comparison(self, difference, strict):
        """difference ≤ 0, or < 0."""
        bound = -difference.get(None, Fraction(0))
        terms = {k: v for k, v in difference.items() if k is not None and v}
        kinds = {k[0] for k in terms}
        if kinds == {"Y"}:
            return "Y", {k[1]: v for k, v in terms.items()}, bound, strict
        if kinds == {"X"} and len(terms) == 1 and not strict:
            (_, i), a = next(iter(terms.items()))
            return "X", i, a, bound
        raise Fault("property-unsupported", "a comparison")


def plus(a, b, sign):
    result = dict(a)
    for k, v in b.items():
        result[k] = small(result.get(k, Fraction(0)) + sign * v)
    return result


def constant(term):
    return all(k is None or not v for k, v in term.items())


def limited(cases):
    if len(cases) > 2 ** 12 or sum(len(c) for c in cases) > 2 ** 22:
        raise Fault("limit-size", "cases")
    return cases


def read(text, size):
    if size > 2 ** 28:
        raise Fault("limit-size", "the file")
    reader, fixed, choices = Reader(), [], [[]]
    for command in parse(text):
        if type(command) is not list or not command or type(command[0]) is not str:
            raise Fault("property-syntax", "a command")
        if command[0] in ("declare-const", "declare-fun"):
            expected = 3 if command[0] == "declare-const" else 4
            if len(command) != expected or command[-1] != "Real" or (expected == 4 and command[2] != []):
                raise Fault("property-syntax", "a declaration")
            name = variable(command[1]) if type(command[1]) is str else None
            if name is None:
                raise Fault("property-unsupported", "a variable of another name")
            if name in reader.declared:
                raise Fault("property-value", "a variable is declared twice")
            reader.declared.add(name)
        elif command[0] == "assert":
            if len(command) != 2:
                raise Fault("property-syntax", "an assertion")
            cases = reader.formula(command[1])
            if len(cases) == 1:
                fixed += cases[0]
            else:
                choices = limited([a + b for a in choices for b in cases])
        else:
            raise Fault("property-unsupported", f"the command {command[0]}")
    result = Property()
    inputs = sorted(i for kind, i in reader.declared if kind == "X")
    outputs = [i for kind, i in reader.declared if kind == "Y"]
    if inputs != list(range(len(inputs))) or not inputs:
        raise Fault("property-value", "inputs have a gap")
    result.inputs, result.outputs = len(inputs), max(outputs, default=-1) + 1
    regions = {}
    for choice in choices:
        lower, upper = [None] * len(inputs), [None] * len(inputs)
        unsafe = []
        for comparison in fixed + choice:
            if comparison[0] == "Y":
                unsafe.append(comparison[1:])
                continue
            _, i, a, bound = comparison
            value = bound / a
            if a > 0:
                upper[i] = value if upper[i] is None else min(upper[i], value)
            else:
                lower[i] = value if lower[i] is None else max(lower[i], value)
        if None in lower or None in upper:
            raise Fault("property-value", "an input without a bound")
        if any(a > b for a, b in zip(lower, upper)):
            raise Fault("property-value", "an empty box")
        if not unsafe:
            raise Fault("property-unsupported", "a case in which every output is unsafe")
        key = (tuple(lower), tuple(upper))
        if key not in regions:
            regions[key] = PropertyRegion(key[0], key[1])
        regions[key].sets.append(unsafe)
    result.regions = list(regions.values())
    return result
