"""Looks for counterexamples and writes them as witnesses: the other kind of answer in a certificate.

    python3 interop/attack.py CLAIM -o CERT

It maximises every cell's function along its gradient, from one vertex of the domain to the next. Rows that no
perturbation was found to break are left without an answer.
"""

from fractions import Fraction

import numpy as np

from crown import arguments
from emitter import bundle, read_claim, witness, write

STEPS = 10


def gradient(problem, cell, z):
    """The derivative of cell · d at δ = z, and its value there."""
    values = problem.network.centres(problem.x + z)
    v = cell
    for layer, value in zip(reversed(problem.network.layers[1:]), reversed(values[:-1])):
        v = (v @ layer.weight) * (value > 0)
    return v @ problem.network.layers[0].weight, cell @ (values[-1] - problem.centres[-1])


def strongest(problem, cell):
    """The largest value of cell · d that was met, and where."""
    best, kept, z = 0.0, np.zeros_like(problem.x), np.zeros_like(problem.x)
    for _ in range(STEPS):
        v, value = gradient(problem, cell, z)
        if value > best:
            best, kept = value, z
        z = problem.domain.argmax(v[None])[0]
    return best, kept


def exact(problem, z):
    """A rational perturbation next to z that is inside the box and sums to zero over every group, exactly."""
    values = [min(max(Fraction(v), lo), hi) for v, (lo, hi) in zip(z, problem.box)]
    for group in [] if problem.domain.groups is None else problem.domain.groups:
        excess = sum(values[i] for i in group)
        for i in group:
            lo, hi = problem.box[i]
            moved = min(max(values[i] - excess, lo), hi)
            excess -= values[i] - moved
            values[i] = moved
    return values


def attack(problem):
    """By how much the strongest attack moves a cell's function, over its limit where that is least far, and its δ."""
    found = [strongest(problem, cell) for cell in problem.cells]
    worst = int(np.argmax([(value - limit) / u for (value, _), limit, u in zip(found, problem.limits, problem.scales)]))
    value, z = found[worst]
    return value / problem.scales[worst], value > problem.limits[worst], z


if __name__ == "__main__":
    options = arguments("Counterexamples as witnesses.").parse_args()
    claim = read_claim(options.claim)
    answers = {}
    for problem in claim.problems:
        value, breaks, z = attack(problem)
        print(f"row {problem.row}: moved by {value:.6g}{', breaks the claim' if breaks else ''}")
        if breaks:
            answers[problem.row] = {"witness": witness([exact(problem, z)])}
    write(options.out, bundle(claim, answers, "interop attack"))
