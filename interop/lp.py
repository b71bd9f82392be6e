"""Solves the triangle relaxation of a claim with a linear-programming solver and makes a certificate from its duals.

    python3 interop/lp.py CLAIM -o CERT

For every bound one LP over δ, the pre-activations a and the ReLU outputs e, all as deviations:

    maximise  rows · d   with   a = W e,   e ≤ s a + t (chord),   e ≥ −max(c, 0),   e ≥ a + c − max(c, 0),   l ≤ a ≤ u.

A back-substitution of the checker is a feasible point of the dual, so the dual that the solver finds is a choice of
slopes and multipliers. With η ≥ 0 on the chord and γ0, γ1 ≥ 0 on the two lines below, the coefficient of e is
η − γ0 − γ1. If it is negative, the line below with slope γ1 / (γ0 + γ1) takes it. Where a neuron has both, the part
that cancels, m = min(η, γ0 + γ1), is a multiple of the chord minus a line below, which is s (a − l) or (1 − s)(u − a);
it becomes a multiplier at a, and so do the duals of l ≤ a ≤ u.
"""

import numpy as np
from scipy import sparse
from scipy.optimize import linprog

from crown import arguments, emit, upper_line
from emitter import Proof

NEGLIGIBLE = 1e-7


class Relaxation:
    """The constraints of the triangle relaxation up to pre-activation len(bounds), for any objective there."""

    def __init__(self, problem, bounds):
        self.problem, self.bounds = problem, bounds
        sizes = [len(problem.x)] + [len(c) for c in problem.centres[:len(bounds)] for _ in "ae"]
        ends = np.cumsum([0, *sizes])
        self.count = ends[-1]
        self.blocks = [slice(a, b) for a, b in zip(ends, ends[1:])]
        self.equal, self.upper, self.right = self._rows()

    def _place(self, *parts):
        """A matrix over all variables from (block, matrix) pairs."""
        row = [sparse.csr_matrix((parts[0][1].shape[0], b.stop - b.start)) for b in self.blocks]
        for block, matrix in parts:
            row[block] = matrix
        return sparse.hstack(row, format="csr")

    def _rows(self):
        """Equalities A x = 0 and inequalities B x ≤ b, the latter in threes for each layer: chord, zero, identity."""
        equal, upper, right = [], [], []
        domain = self.problem.domain
        if domain.groups is not None:
            count, size = domain.groups.shape
            place = (np.repeat(np.arange(count), size), domain.groups.ravel())
            equal.append(self._place((0, sparse.csr_matrix((np.ones(count * size), place), (count, len(domain.lo))))))
        for t, bound in enumerate(self.bounds):
            a, e, centre = 2 * t + 1, 2 * t + 2, self.problem.centres[t]
            one = sparse.eye(len(centre))
            weight = sparse.csr_matrix(self.problem.network.layers[t].weight)
            equal.append(self._place((2 * t, weight), (a, -one)))
            slope, offset = upper_line(centre, *bound)
            clean = np.maximum(centre, 0)
            upper.append(self._place((e, one), (a, -sparse.diags(slope))))
            upper += [self._place((e, -one)), self._place((a, one), (e, -one))]
            right += [offset, clean, clean - centre]
        return _stack(equal), _stack(upper), np.concatenate(right) if right else None

    def _box(self):
        """The ends of every variable: of δ, of the pre-activations, and none for ReLU outputs."""
        ends = [np.column_stack([self.problem.domain.lo, self.problem.domain.hi])]
        for bound in self.bounds:
            ends += [np.column_stack(bound), np.tile([-np.inf, np.inf], (len(bound[0]), 1))]
        return np.concatenate(ends)

    def maximise(self, row):
        """The largest value of row · d, d the deviation of the next layer, with lower slopes and multipliers for it."""
        cost = np.zeros(self.count)
        cost[self.blocks[-1]] = -row @ self.problem.network.layers[len(self.bounds)].weight
        zero = None if self.equal is None else np.zeros(self.equal.shape[0])
        found = linprog(cost, self.upper, self.right, self.equal, zero, self._box(), method="highs")
        if found.status:
            raise RuntimeError(found.message)
        return -found.fun, *self._duals(found)

    def _duals(self, found):
        """Slopes {name: α} and multipliers [(name, element, β)] from the solver's marginals."""
        slopes, multipliers, start = {}, [], 0
        for t, bound in enumerate(self.bounds):
            size, name = len(bound[0]), self.problem.network.layers[t].name
            duals = np.maximum(-found.ineqlin.marginals[start:start + 3 * size].reshape(3, size), 0)
            start += 3 * size
            chord, below = duals[0], duals[1] + duals[2]
            some = below > NEGLIGIBLE
            slopes[name] = np.where(some, duals[2] / np.where(some, below, 1), np.nan)
            both = np.where(some, np.minimum(chord, below) / np.where(some, below, 1), 0)
            slope = upper_line(self.problem.centres[t], *bound)[0]
            beta = both * (slope * duals[1] - (1 - slope) * duals[2])
            block = self.blocks[2 * t + 1]
            beta += found.lower.marginals[block] + found.upper.marginals[block]
            multipliers += [(name, i, beta[i]) for i in np.flatnonzero(np.abs(beta) > NEGLIGIBLE)]
        return slopes, multipliers


def _stack(matrices):
    return sparse.vstack(matrices, format="csr") if matrices else None


def refine(proof, problem, t, bounds):
    """Bounds of pre-activation t: one LP, and one refinement with slopes of its own, for either side of each neuron."""
    relaxation, name = Relaxation(problem, bounds), problem.network.layers[t].name
    found = {"lower": [], "upper": []}
    for side, sign in (("lower", -1.0), ("upper", 1.0)):
        for i, row in enumerate(sign * np.eye(len(problem.centres[t]))):
            value, slopes, multipliers = relaxation.maximise(row)
            found[side].append(sign * value)
            if t:
                proof.refine(name, proof.slopes(slopes), [i], side, multipliers)
    if not t:
        proof.refine(name)
    return np.array(found["lower"]), np.array(found["upper"])


def prove(problem):
    """The proof of one row, and the bounds of its cells."""
    proof, bounds = Proof(), []
    for t in range(len(problem.centres) - 1):
        bounds.append(refine(proof, problem, t, bounds))
    relaxation, values = Relaxation(problem, bounds), []
    for cell in problem.cells:
        value, slopes, multipliers = relaxation.maximise(cell)
        values.append(value)
        proof.close(proof.slopes(slopes), multipliers)
    return proof, np.array(values)


if __name__ == "__main__":
    options = arguments("A certificate from the triangle relaxation's linear programs.").parse_args()
    emit(options.claim, options.out, prove, "interop lp")
