"""Makes a certificate from lower slopes that another prover has found, such as the optimised α of auto_LiRPA.

    python3 interop/alpha.py CLAIM --slopes SLOPES.npz -o CERT

SLOPES.npz has arrays of α in [0, 1] under the names of pre-activation tensors (as in the ONNX model):

    "hidden1.pre"               for the cells, that is for bounds of the output
    "hidden1.pre|hidden2.pre"   for bounds of the pre-activation hidden2.pre. If it is not there, and "hidden1.pre" is
                                one shared list, that is taken; else CROWN's slopes

each behind "ROW|" if it is for one row of the claim only: "7|hidden1.pre". The shape of an array is

    (n,)        shared by everything that is bounded
    (m, n)      one list for each of the m things that are bounded: coarse outputs, challengers of a winner in order,
                or neurons of the bounded pre-activation
    (2, m, n)   the same, [0] for lower and [1] for upper bounds

These are the axes of auto_LiRPA's own arrays. After

    net = BoundedModule(model, x, bound_opts={"optimize_bound_args": {"iteration": 50}})
    net.compute_bounds(x=(BoundedTensor(x, PerturbationLpNorm(x_L=lo, x_U=hi)),), C=coarse, method="CROWN-Optimized")

every ReLU node `relu` in `net.relus` has a dictionary `relu.alpha` from the name of what was bounded to a tensor of
shape (2, m, batch, n): `relu.alpha[end][:, :, 0].detach().clamp(0, 1).numpy()` is the array for one input. Rename: the
pre-activation is the ONNX name of the ReLU's input, `end` that of what is bounded. A sparse α has m + 1 or fewer
entries, and intermediate bounds may be of unstable neurons only; spread those to full shape, NaN elsewhere. NaN leaves
a slope to the checker. For a winner C has the rows e_w − e_k, and [0] is used, since the margin is bounded below.

For the zero-sum perturbations of `block-mean` such a prover may take the plain box: its slopes are valid all the same,
only a little less apt, since the checker adds the zero sums by itself.
"""

import numpy as np

from crown import arguments, emit
from emitter import Proof

LOWER, UPPER = 0, 1


def find(arrays, row, relu, target=None):
    """α of one pre-activation for the bounds of a target (None: the cells), or None. A row's own array goes first."""
    wanted = [relu] if target is None else [f"{relu}|{target}", relu]
    for name in wanted:
        for key in (f"{row}|{name}", name):
            if key in arrays and (name == wanted[0] or arrays[key].ndim == 1):
                return arrays[key]
    return None


def slope_set(proof, found, side, item):
    """The position of the slope set for one side of one bounded thing, None if all is left to the checker."""
    chosen = {name: alpha[side, item] if alpha.ndim == 3 else alpha[item] if alpha.ndim == 2 else alpha
              for name, alpha in found.items() if alpha is not None}
    return proof.slopes(chosen) if chosen else None


def cell_sides(problem):
    """Side and number of what every cell is about: "rises" needs an upper bound, "falls" and a margin a lower one."""
    if problem.tolerance is None:
        return [(LOWER, k) for k in range(len(problem.cells))]
    return [(UPPER if k % 2 == 0 else LOWER, k // 2) for k in range(len(problem.cells))]


def refine(proof, target, size, found):
    """Refines a pre-activation, the elements that have one slope set together."""
    for side, word in ((LOWER, "lower"), (UPPER, "upper")):
        rows = {}
        for item in range(size):
            rows.setdefault(slope_set(proof, found, side, item), []).append(item)
        for slopes, items in rows.items():
            proof.refine(target, slopes, items, word)


def prove(problem, arrays):
    """The proof of one row. It needs no bounds: the checker computes them from the slopes."""
    proof = Proof()
    names = [layer.name for layer in problem.network.layers]
    for t, target in enumerate(names[:-1]):
        found = {relu: find(arrays, problem.row, relu, target) for relu in names[:t]}
        refine(proof, target, len(problem.centres[t]), found)
    found = {relu: find(arrays, problem.row, relu) for relu in names[:-1]}
    for side, item in cell_sides(problem):
        proof.close(slope_set(proof, found, side, item))
    return proof, None


if __name__ == "__main__":
    parser = arguments("A certificate from lower slopes of another prover.")
    parser.add_argument("--slopes", required=True, help="a .npz file of lower slopes, see the docstring")
    options = parser.parse_args()
    with np.load(options.slopes) as arrays:
        emit(options.claim, options.out, lambda problem: prove(problem, dict(arrays)), "interop alpha")
