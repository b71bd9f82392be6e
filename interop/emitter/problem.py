"""What a prover needs of a claim: for every row the domain of δ and the cells that must not be reached.

The checker derives all this by itself from the claim; a certificate restates none of it. Only claims with one
perturbation of the input are read, of family `none` or `block-mean`, with a tolerance or the winner.
"""

import csv
import math
import tomllib
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from .network import Network, read_network


@dataclass
class Domain:
    """lo ≤ δ ≤ hi, and δ sums to zero over every row of `groups` (None without a scale)."""

    lo: np.ndarray
    hi: np.ndarray
    groups: np.ndarray | None

    def argmax(self, v):
        """The δ that maximises each row of v · δ: in a group the largest coefficients take what the others can pay."""
        if self.groups is None:
            return np.where(v > 0, self.hi, self.lo)
        z = np.zeros_like(v)
        order = np.argsort(-v[:, self.groups], axis=-1)
        members = np.take_along_axis(np.broadcast_to(self.groups, order.shape), order, axis=-1)
        width = (self.hi - self.lo)[members]
        before = np.cumsum(width, axis=-1) - width
        budget = -self.lo[self.groups].sum(axis=-1, keepdims=True)
        paid = np.clip(budget - before, 0, width)
        np.put_along_axis(z, members.reshape(len(v), -1), (self.lo[members] + paid).reshape(len(v), -1), axis=1)
        return z

    def support(self, v):
        """The largest value of each row of v · δ."""
        return (v * self.argmax(v)).sum(axis=1)


@dataclass
class Problem:
    """One row of a claim. The cell k is `cells[k] · d ≥ limits[k]`, d the output's deviation from its clean value.

    `cells` are coprime integers, as the checker scales them; `scales[k]` is the factor u, which multipliers carry too.
    `box` has the exact ends of δ, for witnesses; everything else is floating point.
    """

    row: int
    network: Network
    x: np.ndarray
    centres: list
    domain: Domain
    box: list
    cells: np.ndarray
    limits: np.ndarray
    scales: np.ndarray
    tolerance: float | None


@dataclass
class Claim:
    path: Path
    model: Path
    data: list
    problems: list


def read_claim(path):
    """Reads a claim file and makes the problem of each of its rows."""
    path = Path(path)
    claim = tomllib.loads(path.read_text())
    if "setting" in claim or len(claim.get("perturb", [])) != 1 or "replace" in claim or "truncate" in claim:
        raise ValueError("only claims of one setting with one perturbation")
    inputs = claim["inputs"]
    model = path.parent / claim["model"]
    network = read_network(model)
    data = [path.parent / inputs["file"]] if "file" in inputs else []
    points = _csv(data[0], _row_numbers(inputs["rows"])) if data else {0: [Fraction(x) for x in inputs["point"]]}
    problems = [_problem(row, point, claim, network) for row, point in points.items()]
    return Claim(path, model, data, problems)


def _row_numbers(rows):
    """`"a..b"` is a, …, b − 1."""
    return range(*map(int, rows.split(".."))) if isinstance(rows, str) else rows


def _csv(path, rows):
    """The rows that are asked for, without the column `label`. Blank lines and the header are not counted."""
    with open(path, newline="") as file:
        lines = [line for line in csv.reader(file) if any(cell.strip() for cell in line)]
    header = [cell.strip() for cell in lines[0]] if lines[0][0].strip()[:1].isalpha() else []
    lines = lines[1:] if header else lines
    skip = header.index("label") if "label" in header else None
    return {r: [Fraction(cell.strip()) for i, cell in enumerate(lines[r]) if i != skip] for r in rows}


def _problem(row, point, claim, network):
    """One row: centres at its clean input, the domain of δ there, and the cells."""
    x = np.array([float(value) for value in point])
    centres = network.centres(x)
    cells, limits, scales = _cells(claim["output"], centres[-1])
    tolerance = claim["output"].get("tolerance")
    tolerance = None if tolerance is None else float(Fraction(tolerance))
    perturb = claim["perturb"][0]
    if perturb.get("site") not in ("input", network.input):
        raise ValueError("only perturbations of the input")
    box = _box(point, Fraction(perturb["amplitude"]), claim["inputs"].get("valid"))
    lo, hi = np.array([[float(end) for end in ends] for ends in box]).T
    domain = Domain(lo, hi, _groups(perturb["scale"]))
    return Problem(row, network, x, centres, domain, box, cells, limits, scales, tolerance)


def _box(point, amplitude, valid):
    """The ends of every δ_i: those of the amplitude, cut to the valid range of the perturbed input."""
    low, high = map(Fraction, valid) if valid else (-math.inf, math.inf)
    return [(max(-amplitude, low - x), min(amplitude, high - x)) for x in point]


def _groups(scale):
    """What sums to zero: nothing without a scale, else every block of the cutoff's side."""
    if scale.get("family") == "none":
        return None
    if scale.get("family") == "block-mean" and "seen" not in scale:
        return _blocks(scale["shape"], scale.get("spatial", min(2, len(scale["shape"]))), scale["cutoff"])
    raise ValueError("only the families none and block-mean")


def _blocks(shape, spatial, side):
    """The elements of every block, one block a row."""
    height, width = shape[-2:] if spatial == 2 else (1, shape[-1])
    rows = side if spatial == 2 else 1
    grid = np.arange(math.prod(shape)).reshape(-1, height // rows, rows, width // side, side)
    return grid.transpose(0, 1, 3, 2, 4).reshape(-1, rows * side)


def _cells(output, clean):
    """Cells in the problem's order: for a tolerance "rises" and "falls" of each coarse output, else each challenger."""
    coarse = _coarse(output.get("coarse", "identity"), len(clean))
    if "tolerance" in output:
        rows = [[sign * g for g in row] for row in coarse for sign in (1, -1)]
        limits = [Fraction(output["tolerance"])] * len(rows)
    elif output.get("decision") == "winner":
        values = [sum(float(g) * c for g, c in zip(row, clean)) for row in coarse]
        winner = int(np.argmax(values))
        others = [k for k in range(len(coarse)) if k != winner]
        rows = [[b - a for a, b in zip(coarse[winner], coarse[k])] for k in others]
        limits = [values[winner] - values[k] for k in others]
    else:
        raise ValueError("only tolerances and the winner")
    scales = [_scale(row) for row in rows]
    cells = np.array([[float(u * a) for a in row] for u, row in zip(scales, rows)])
    scales = np.array(scales, float)
    return cells, np.array(limits, float) * scales, scales


def _coarse(coarse, size):
    """The coarse map as rows of rationals."""
    if coarse == "identity":
        return [[Fraction(int(i == k)) for i in range(size)] for k in range(size)]
    if "groups" in coarse:
        mean = coarse["reduce"] == "mean"
        return [[Fraction(int(i in g), len(g) if mean else 1) for i in range(size)] for g in coarse["groups"]]
    raise ValueError("only the coarse maps identity and groups")


def _scale(row):
    """u, by which a halfspace gets coprime integer coefficients."""
    common = math.lcm(*(a.denominator for a in row))
    return Fraction(common, math.gcd(*(int(a * common) for a in row)))
