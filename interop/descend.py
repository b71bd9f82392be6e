"""Optimises lower slopes by a few projected gradient steps in numpy and writes them as alpha.py reads them.

    python3 interop/descend.py CLAIM -o SLOPES.npz [--steps N]

It stands in for a prover such as auto_LiRPA. For fixed bounds of pre-activations, a back-substitution bounds a row
v · d by the value that a chain of lines takes at the worst δ. So its derivative by a lower slope is the coefficient of
that ReLU's output times the value of its input in the chain.
"""

import numpy as np

from alpha import cell_sides
from crown import adaptive, arguments, back_substitute, interval
from emitter import read_claim


def gradient(problem, bounds, steps, v):
    """Derivatives of every row's bound by the lower slopes: 0 where the line above is used or the neuron is stable."""
    d = problem.domain.argmax(v) @ problem.network.layers[0].weight.T
    result = []
    for t, (coefficient, slope, offset) in enumerate(steps):
        lower, upper = bounds[t]
        crosses = (problem.centres[t] + lower < 0) & (problem.centres[t] + upper > 0)
        result.append(np.minimum(coefficient, 0) * crosses * (problem.centres[t] + d))
        d = (slope * d + offset) @ problem.network.layers[t + 1].weight.T
    return result


def optimise(problem, rows, bounds, count):
    """The smallest bounds that were met for `rows · d`, and the slopes of each row that gave them."""
    alphas = [np.tile(adaptive(c, *b), (len(rows), 1)) for c, b in zip(problem.centres, bounds)]
    best, kept = np.full(len(rows), np.inf), [a.copy() for a in alphas]
    for step in range(count + 1):
        bound, steps, v = back_substitute(problem, rows, bounds, alphas)
        better = bound < best
        best = np.minimum(best, bound)
        for t, slopes in enumerate(gradient(problem, bounds, steps, v)):
            kept[t][better] = alphas[t][better]
            largest = np.maximum(np.abs(slopes).max(axis=1, keepdims=True), 1e-12)
            alphas[t] = np.clip(alphas[t] - 0.5 * 0.93**step * slopes / largest, 0, 1)
    return best, kept


def slopes_of(problem, count):
    """The arrays of one row of the claim, by the names that alpha.py knows, and the bounds of its cells."""
    names = [layer.name for layer in problem.network.layers]
    arrays, bounds = {}, []
    for t, centre in enumerate(problem.centres[:-1]):
        size = len(centre)
        best, alphas = optimise(problem, np.vstack([-np.eye(size), np.eye(size)]), bounds, count)
        low, high = interval(problem, bounds)
        bounds.append((np.maximum(low, -best[:size]), np.minimum(high, best[size:])))
        for relu, alpha in zip(names, alphas):
            arrays[f"{problem.row}|{relu}|{names[t]}"] = alpha.reshape(2, size, -1)
    best, alphas = optimise(problem, problem.cells, bounds, count)
    for relu, alpha in zip(names, alphas):
        arrays[f"{problem.row}|{relu}"] = by_side(problem, alpha)
    return arrays, best


def by_side(problem, alpha):
    """One list for every cell as [side, number of the coarse output or challenger]."""
    sides, items = np.array(cell_sides(problem)).T
    result = np.full((2, items.max() + 1, alpha.shape[1]), np.nan)
    result[sides, items] = alpha
    return result


if __name__ == "__main__":
    parser = arguments("Lower slopes by projected gradient steps.")
    parser.add_argument("--steps", type=int, default=40)
    options = parser.parse_args()
    found = {}
    for problem in read_claim(options.claim).problems:
        arrays, _ = slopes_of(problem, options.steps)
        found |= arrays
    np.savez(options.out, **found)
