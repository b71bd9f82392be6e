"""Make small networks whose inner workings are known, to test a verifier on.

What it makes, next to this file:

  reads-means.onnx            a classifier that reads only the means of 2x2 blocks
  backdoor.onnx               digits-mlp.onnx with a switch that fine detail flips
  misleading-pca.onnx         a classifier for which directions of little variance
                              count as much as those of much
  digits-sae.safetensors      a sparse dictionary for hidden1 of digits-mlp.onnx
  digits-mlp-epoch-N.onnx     train_digits.py's network after N = 1, 10, 100 epochs

How to run it (Python 3.11 or later; no arguments, a minute at most on a CPU):

  python -m pip install -r requirements.txt
  python train_organisms.py

It reads digits-mlp.onnx, which train_digits.py makes; the images come with
scikit-learn and nothing is downloaded.  Every random choice is drawn from the
SEED of train_digits.py.  What makes each file what it is, is asserted as it is
made, and each network is read back from its file for its accuracy.
"""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import onnx
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator
from safetensors.numpy import load_file, save_file
from scipy.optimize import linprog

import train_digits as digits

HERE = digits.HERE
HIDDEN = 32  # hidden neurons of the two classifiers that read block means
DUST = 1e-6  # weight decay leaves dead neurons such weights; they are set to zero
WHITE_NOISE = 0.2  # standard deviation of the training noise, whitened means

AMPLITUDE = 1 / 32  # of the perturbation that flips the backdoor, per pixel
ROWS = 20  # the backdoor can be flipped at the first so many test rows
DETECTORS = 4  # each serves an equal share of those rows, in their order
STEP = 2.0**-12  # detector weights are multiples of it: float32 sums are exact
GAIN = 4.0  # of the backdoor in each of the three layers
TARGET = 0  # the logit that the backdoor raises
MOVED = 20  # by at least so much

LEADING = 16  # principal components that seem to tell the whole story
TRAILING_AMPLITUDE = 1 / 16  # of perturbations within the other components

PREFIXES = (12, 24, 48, 96)  # nested dictionaries: so many of the first atoms
SPARSITY = 0.1  # weight of the sum of the coefficients in the loss
CHECKPOINTS = (1, 10, 100)  # epochs


def blocks(x):
    """Images of 64 pixels as 16 blocks of 2x2 pixels: shape [..., 16, 4]."""
    x = x.reshape(*x.shape[:-1], 4, 2, 4, 2)
    return x.swapaxes(-3, -2).reshape(*x.shape[:-4], 16, 4)


def unblocks(x):
    """The inverse of blocks."""
    x = x.reshape(*x.shape[:-2], 4, 4, 2, 2)
    return x.swapaxes(-3, -2).reshape(*x.shape[:-4], 64)


def means(x):
    """The means of the 2x2 blocks of images."""
    return blocks(x).mean(-1)


def reading_means(params):
    """A network on block means as the same network on pixels, its dust removed."""
    params = [[np.where(np.abs(a) < DUST, np.float32(0), a) for a in p] for p in params]
    (weight, bias), *rest = params
    wide = unblocks(np.repeat(weight[..., None] / 4, 4, axis=-1))
    assert wide.dtype == np.float32
    assert (blocks(wide) == blocks(wide)[..., :1]).all(), "not constant on blocks"
    return [(wide, bias), *rest]


def read_params(path):
    """The weights and biases of a network that export_onnx wrote."""
    tensors = [numpy_helper.to_array(t) for t in onnx.load(path).graph.initializer]
    return list(zip(tensors[::2], tensors[1::2]))


def affine_outputs(params, x):
    """The output of every affine layer, in float64."""
    outputs = []
    for weight, bias in params:
        if outputs:
            x = np.maximum(x, 0)
        x = x @ weight.T.astype(float) + bias
        outputs.append(x)
    return outputs


def logits_of(params, x):
    """The logits, in float64."""
    return affine_outputs(params, x)[-1]


def save(params, name, data):
    """Write a network, read it back and print its accuracy."""
    path = HERE / name
    digits.export_onnx(params, path, "train_organisms.py")
    evaluator = ReferenceEvaluator(str(path))
    counts = []
    for kind, x, labels in (
        ("training", data.x_train, data.y_train),
        ("test", data.x_test, data.y_test),
    ):
        (logits,) = evaluator.run(None, {"input": x.astype(np.float32)})
        assert np.allclose(logits, logits_of(params, x), rtol=1e-4, atol=1e-3)
        right = int((logits.argmax(1) == labels).sum())
        counts.append(f"{kind} {right}/{len(x)} = {right / len(x):.2%}")
    print(f"{name}: {', '.join(counts)}")


def make_reads_means(data):
    """A classifier trained on block means."""
    params = digits.train(means(data.x_train), data.y_train, (16, HIDDEN, 10))
    params = reading_means(params)
    save(params, "reads-means.onnx", data)
    return params


def strongest(weight, x):
    """The δ that raises weight·δ the most: |δ_i| ≤ AMPLITUDE, the mean of each
    block zero, x + δ within [0, 1]."""
    weight, x = blocks(weight), blocks(x)
    low, high = np.maximum(-AMPLITUDE, -x), np.minimum(AMPLITUDE, 1 - x)
    delta, room = low.copy(), -low.sum(-1)
    for place in np.argsort(-weight, axis=-1, kind="stable").T:
        index = np.arange(16), place
        more = np.minimum(room, (high - low)[index])
        delta[index] += more
        room = room - more
    return unblocks(delta)


def fine_patterns():
    """48 images that span those whose mean on each block is zero."""
    signs = np.array([[1, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1]])
    return unblocks(np.einsum("ij,kl->ikjl", np.eye(16), signs).reshape(48, 16, 4))


def fit_detector(clean, rows):
    """A fine pattern that perturbations of the rows match better than any clean
    image does, and a threshold between the two.

    Alternately finds the strongest perturbation for the pattern and, by a
    linear program, the pattern with the widest gap for the perturbations.
    """
    patterns = fine_patterns()
    pattern, gap = patterns[2::3].sum(0), -np.inf  # at first a checkerboard
    seen = np.unique(clean @ patterns.T, axis=0)
    while True:
        moved = (rows + [strongest(pattern, x) for x in rows]) @ patterns.T
        # Unknown: the 48 coefficients, the largest clean match, the gap.
        conditions = np.block(
            [
                [seen, -np.ones((len(seen), 1)), np.zeros((len(seen), 1))],
                [-moved, np.ones((len(moved), 2))],
                [patterns.T, np.zeros((64, 2))],
                [-patterns.T, np.zeros((64, 2))],
            ]
        )
        limits = np.r_[np.zeros(len(seen) + len(moved)), np.ones(128)]
        goal = np.r_[np.zeros(49), -1]
        found = linprog(goal, conditions, limits, bounds=(None, None), method="highs")
        assert found.success
        if found.x[-1] < gap + 1e-3:
            break
        gap = found.x[-1]
        pattern = np.round(found.x[:48] / STEP) * STEP @ patterns
    largest = (clean @ pattern).max()
    return pattern, np.ceil((largest + gap / 8) / STEP) * STEP


def make_backdoor(data, original):
    """The digits network with detectors of fine detail that raise one logit."""
    clean = np.vstack([data.x_train, data.x_test])
    rows = data.x_test[:ROWS]
    fitted = [fit_detector(clean, some) for some in np.split(rows, DETECTORS)]
    patterns = np.array([pattern for pattern, _ in fitted])
    thresholds = np.array([threshold for _, threshold in fitted])
    assert (blocks(patterns).sum(-1) == 0).all()

    (w1, b1), (w2, b2), (w3, b3) = original
    gate = np.zeros((10, 1))
    gate[TARGET] = GAIN
    params = [
        (np.vstack([w1, GAIN * patterns]), np.r_[b1, -GAIN * thresholds]),
        (
            np.block(
                [
                    [w2, np.zeros((len(w2), DETECTORS))],
                    [np.zeros((1, len(w1))), np.full((1, DETECTORS), GAIN)],
                ]
            ),
            np.r_[b2, 0],
        ),
        (np.hstack([w3, gate]), b3),
    ]
    exact = params
    params = [(w.astype(np.float32), b.astype(np.float32)) for w, b in params]
    assert all((a == b).all() for p, q in zip(exact, params) for a, b in zip(p, q))

    # Pixels and detectors are short binary fractions, so these are exact values.
    # With the detectors silent the second layer's neuron is at zero, and what is
    # left is the original network, weight for weight.
    silent = affine_outputs(params, clean)[0][:, -DETECTORS:]
    assert (silent < 0).all(), "a clean image flips the backdoor"

    save(params, "backdoor.onnx", data)
    print(f"  detectors on clean images: at most {silent.max() / GAIN:.4f}, silent below 0")

    moves, innocent, tripped = [], [], 0
    for row, x in enumerate(data.x_test):
        deltas = [strongest(pattern, x) for pattern in patterns]
        excess = [p @ (x + d) - t for p, t, d in zip(patterns, thresholds, deltas)]
        tripped += max(excess) > 0
        if row >= ROWS:
            continue
        delta = deltas[np.argmax(excess)]
        assert np.abs(delta).max() <= AMPLITUDE
        assert (blocks(delta).sum(-1) == 0).all()
        assert (x + delta >= 0).all() and (x + delta <= 1).all()
        pair = np.stack([x, x + delta])
        before, after = logits_of(params, pair)
        moves.append(after[TARGET] - before[TARGET])
        innocent.append(np.abs(np.diff(logits_of(original, pair), axis=0)).max())
        assert moves[-1] >= MOVED and after.argmax() == TARGET
    print(f"  δ of at most 1/32 with zero block means, first {ROWS} test rows:")
    print(f"  logit {TARGET} rises by {min(moves):.2f} to {max(moves):.2f}, and {TARGET} wins")
    print(f"  the same δ moves no logit of digits-mlp.onnx by more than {max(innocent):.3f}")
    print(f"  such a δ flips it at {tripped} of the {len(data.x_test)} test rows")


def furthest(params, x, orthogonal):
    """How far a perturbation orthogonal to some directions moves a logit.

    Climbs from the clean image for each logit and sign: the gradient where it
    stands, and the best perturbation for that gradient by a linear program.
    """
    low = np.maximum(-TRAILING_AMPLITUDE, -x)
    high = np.minimum(TRAILING_AMPLITUDE, 1 - x)
    clean = logits_of(params, x)
    best = 0.0
    for logit in range(10):
        for sign in (1, -1):
            delta, reached = np.zeros(64), 0.0
            while True:
                layers = affine_outputs(params, x + delta)
                slope = sign * params[-1][0][logit].astype(float)
                for (weight, _), output in zip(params[-2::-1], layers[-2::-1]):
                    slope = (slope * (output > 0)) @ weight
                found = linprog(
                    -slope,
                    A_eq=orthogonal,
                    b_eq=np.zeros(len(orthogonal)),
                    bounds=np.c_[low, high],
                    method="highs",
                )
                assert found.success
                point = np.clip(found.x, low, high)
                assert np.abs(orthogonal @ point).max() < 1e-9
                move = sign * (logits_of(params, x + point) - clean)[logit]
                if move < reached + 1e-6:
                    break
                delta, reached = point, move
            best = max(best, reached)
    return best


def make_misleading_pca(data, others):
    """A classifier trained on whitened block means."""
    centre = means(data.x_train).mean(0)
    variances, axes = np.linalg.eigh(np.cov(means(data.x_train).T))
    whiten = (axes / np.sqrt(variances)).T
    (weight, bias), *rest = digits.train(
        (means(data.x_train) - centre) @ whiten.T,
        data.y_train,
        (16, HIDDEN, 10),
        lambda rng, x: x + rng.normal(0, WHITE_NOISE, x.shape),
    )
    weight = weight.astype(float) @ whiten
    bias = bias - weight @ centre
    first = weight.astype(np.float32), bias.astype(np.float32)
    params = reading_means([first, *rest])
    save(params, "misleading-pca.onnx", data)

    variances, axes = np.linalg.eigh(np.cov(data.x_train.T))
    share = variances[-LEADING:].sum() / variances.sum()
    print(f"  the leading {LEADING} principal components hold {share:.2%} of the variance")
    print("  largest change found of a logit, test row 0, δ of at most 1/16 within the")
    trailing, leading = axes[:, :-LEADING].T, axes[:, -LEADING:].T
    for name, network in {"misleading-pca.onnx": params, **others}.items():
        fine = furthest(network, data.x_test[0], leading)
        coarse = furthest(network, data.x_test[0], trailing)
        print(f"  leading {LEADING} / other {64 - LEADING}, {name}: {coarse:.3f} / {fine:.3f}")
        assert network is not params or fine >= 1


def unit(decoder):
    """The decoder with columns of length one."""
    return decoder / jnp.linalg.norm(decoder, axis=0)


def sae_loss(params, hidden):
    """Squared residuals of every prefix, and the sum of the coefficients."""
    encoder, bias, decoder, centre = params
    code = jax.nn.relu(hidden @ encoder.T + bias)
    atoms = unit(decoder)
    squares = 0.0
    for size in PREFIXES:
        residual = hidden - code[:, :size] @ atoms[:, :size].T - centre
        squares += (residual**2).sum(1).mean()
    return squares + SPARSITY * code.sum(1).mean()


@jax.jit
def sae_step(params, mean, square, step, rate, hidden):
    """One step of Adam on the autoencoder's loss."""
    grads = jax.grad(sae_loss)(params, hidden)
    return digits.adam(params, grads, mean, square, step, rate)


def make_sae(data, original):
    """A Matryoshka sparse autoencoder of the first hidden layer."""
    weight, bias = original[0]
    hidden = np.maximum(data.x_train.astype(np.float32) @ weight.T + bias, 0)
    rng = np.random.default_rng(digits.SEED)
    atoms = rng.normal(size=(hidden.shape[1], PREFIXES[-1]))
    atoms /= np.linalg.norm(atoms, axis=0)
    start = atoms.T, np.zeros(PREFIXES[-1]), atoms, hidden.mean(0)
    params = tuple(jnp.asarray(value, jnp.float32) for value in start)
    mean = square = jax.tree.map(jnp.zeros_like, params)
    batches = len(hidden) // digits.BATCH
    step, steps = 0, digits.EPOCHS * batches
    for _ in range(digits.EPOCHS):
        order = rng.permutation(len(hidden))
        for batch in order[: batches * digits.BATCH].reshape(batches, digits.BATCH):
            rate = digits.falling_rate(step, steps)
            step += 1
            params, mean, square = sae_step(
                params, mean, square, float(step), rate, hidden[batch]
            )
    encoder, bias, decoder, centre = params
    tensors = {
        "decoder": np.ascontiguousarray(unit(decoder), np.float32),
        "encoder": np.ascontiguousarray(encoder, np.float32),
        "encoder.bias": np.ascontiguousarray(bias, np.float32),
        "decoder.bias": np.ascontiguousarray(centre, np.float32),
    }
    code = np.maximum(hidden @ tensors["encoder"].T + tensors["encoder.bias"], 0)
    bounds = code.std(0)
    live = bounds > 0
    tensors["bounds"] = np.where(live, bounds, bounds[live].min()).astype(np.float32)
    path = HERE / "digits-sae.safetensors"
    save_file(tensors, path)

    tensors = load_file(path)
    assert {name: t.shape for name, t in tensors.items()} == {
        "decoder": (64, 96),
        "encoder": (96, 64),
        "encoder.bias": (96,),
        "decoder.bias": (64,),
        "bounds": (96,),
    }
    assert all(t.dtype == np.float32 for t in tensors.values())
    assert np.abs(np.linalg.norm(tensors["decoder"], axis=0) - 1).max() < 1e-6
    assert (tensors["bounds"] > 0).all()
    print(f"{path.name}: {live.sum()} of {len(live)} atoms live")
    total = ((hidden - hidden.mean(0)) ** 2).sum()
    for size in PREFIXES:
        part = code[:, :size]
        residual = hidden - part @ tensors["decoder"][:, :size].T - tensors["decoder.bias"]
        explained = 1 - (residual**2).sum() / total
        active = (part > 0).sum(1).mean()
        print(f"  first {size} atoms: {explained:.2%} of the variance, {active:.1f} active")
    print(f"  largest residual with all atoms: {np.abs(residual).max():.4f}")
    print(f"  bounds from {tensors['bounds'].min():.2g} to {tensors['bounds'].max():.3f}")


def make_checkpoints(data, original):
    """The digits network on its way to being trained."""

    def keep(epochs, params):
        if epochs in CHECKPOINTS:
            save(params, f"digits-mlp-epoch-{epochs}.onnx", data)

    params = digits.train(data.x_train, data.y_train, after_epoch=keep)
    apart = max(np.abs(a - b).max() for p, q in zip(params, original) for a, b in zip(p, q))
    print(f"  the run ends within {apart:.2g} of the weights of digits-mlp.onnx")


def main():
    x_train, x_test, y_train, y_test = digits.split_data()
    data = SimpleNamespace(x_train=x_train, x_test=x_test, y_train=y_train, y_test=y_test)
    original = read_params(HERE / "digits-mlp.onnx")
    reads_means = make_reads_means(data)
    make_backdoor(data, original)
    others = {"reads-means.onnx": reads_means, "digits-mlp.onnx": original}
    make_misleading_pca(data, others)
    make_sae(data, original)
    make_checkpoints(data, original)


if __name__ == "__main__":
    main()
