"""Plain CROWN in numpy: makes a certificate for a claim about a fully connected network.

    python3 interop/crown.py CLAIM -o CERT

Pre-activations are refined layer by layer, then every cell is closed by one back-substitution with CROWN's adaptive
lower slopes: 1 if the range of a neuron reaches further above zero than below, else 0. All is in deviations from clean
values, as in the checker, so biases do not occur. The checker computes all bounds again; only slopes are handed over.
"""

import argparse

import numpy as np

from emitter import Proof, bundle, read_claim, write


def adaptive(centre, lower, upper):
    """CROWN's lower slopes."""
    return (centre + upper > -(centre + lower)).astype(float)


def upper_line(centre, lower, upper):
    """Slope and offset of the line above each ReLU on [lower, upper]: the chord; for stable neurons the ReLU itself."""
    low, high = centre + lower, centre + upper
    crosses = (low < 0) & (high > 0)
    slope = np.where(crosses, high / np.where(crosses, high - low, 1), (low >= 0).astype(float))
    offset = np.maximum(low, 0) - np.maximum(centre, 0) - slope * lower
    return slope, offset


def lower_slopes(alpha, centre, lower, upper):
    """The slopes that the checker uses: those of stable neurons are 1 or 0, whatever is given."""
    return np.where(centre + lower >= 0, 1.0, np.where(centre + upper <= 0, 0.0, alpha))


def back_substitute(problem, rows, bounds, alphas):
    """Upper bounds of `rows · d`, d the deviation of layer len(bounds), and the steps that led to them.

    bounds[t] and alphas[t] belong to the pre-activation t; alphas may have one row for each row of `rows`. A step has
    the coefficients of the ReLU's output and the lines that were used."""
    steps, v, constant = [], rows, np.zeros(len(rows))
    for t in reversed(range(len(bounds))):
        v = v @ problem.network.layers[t + 1].weight
        centre = problem.centres[t]
        slope_above, offset_above = upper_line(centre, *bounds[t])
        slope_below = lower_slopes(alphas[t], centre, *bounds[t])
        slope = np.where(v >= 0, slope_above, slope_below)
        offset = np.where(v >= 0, offset_above, slope_below * centre - np.maximum(centre, 0))
        steps.insert(0, (v, slope, offset))
        constant = constant + (v * offset).sum(axis=1)
        v = v * slope
    v = v @ problem.network.layers[0].weight
    return constant + problem.domain.support(v), steps, v


def interval(problem, bounds):
    """Bounds of layer len(bounds) by the interval rule. The checker starts from them, and so they are intersected."""
    if not bounds:
        low, high = problem.domain.lo, problem.domain.hi
    else:
        centre = problem.centres[len(bounds) - 1]
        low, high = (np.maximum(centre + end, 0) - np.maximum(centre, 0) for end in bounds[-1])
    weight = problem.network.layers[len(bounds)].weight
    positive, negative = np.maximum(weight, 0), np.minimum(weight, 0)
    return positive @ low + negative @ high, positive @ high + negative @ low


def pre_activation_bounds(problem):
    """Bounds of every pre-activation, layer by layer, and its adaptive slopes."""
    bounds, alphas = [], []
    for centre in problem.centres[:-1]:
        identity = np.eye(len(centre))
        low, high = interval(problem, bounds)
        lower = np.maximum(low, -back_substitute(problem, -identity, bounds, alphas)[0])
        upper = np.minimum(high, back_substitute(problem, identity, bounds, alphas)[0])
        bounds.append((lower, upper))
        alphas.append(adaptive(centre, lower, upper))
    return bounds, alphas


def prove(problem):
    """The proof of one row, and the bounds of its cells."""
    bounds, alphas = pre_activation_bounds(problem)
    names = [layer.name for layer in problem.network.layers]
    proof = Proof()
    for t in range(len(bounds)):
        proof.refine(names[t], proof.slopes(dict(zip(names[:t], alphas))) if t else None)
    slopes = proof.slopes(dict(zip(names, alphas))) if bounds else None
    for _ in problem.cells:
        proof.close(slopes)
    return proof, back_substitute(problem, problem.cells, bounds, alphas)[0]


def report(problem, bound):
    """What came out, in floating point; the checker's own numbers are the ones that count."""
    if bound is None:
        return f"row {problem.row}: left to the checker"
    if problem.tolerance is None:
        return f"row {problem.row}: smallest margin {min((problem.limits - bound) / problem.scales):.6g}"
    return f"row {problem.row}: tolerance {max(bound / problem.scales):.6g} of {problem.tolerance:g}"


def emit(path, out, prove, generator):
    """Proves every row of a claim and writes the certificate. Rows whose bounds do not suffice are written as well:
    the checker has the last word."""
    claim = read_claim(path)
    answers = {}
    for problem in claim.problems:
        proof, bound = prove(problem)
        answers[problem.row] = {"proof": proof.json()}
        print(report(problem, bound))
    write(out, bundle(claim, answers, generator))


def arguments(description):
    """The command line that all emitters share."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("claim", help="the claim, a TOML file")
    parser.add_argument("-o", "--out", required=True, help="the certificate to write; gzipped if it ends in .gz")
    return parser


if __name__ == "__main__":
    options = arguments("A certificate by plain CROWN.").parse_args()
    emit(options.claim, options.out, prove, "interop crown")
