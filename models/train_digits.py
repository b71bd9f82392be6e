"""Train the small example network on scikit-learn's handwritten digits.

What it makes, next to this file:

  digits-mlp.onnx   a 64-64-32-10 ReLU classifier, float32 weights
  digits-test.csv   the held-out test images: label, then 64 pixels, one a row

How to run it (Python 3.11 or later; no arguments, a minute at most on a CPU):

  python -m pip install -r requirements.txt
  python train_digits.py

The images are 8x8, with grey levels 0..16 divided by 16, in row-major order.
Nothing is downloaded: the data set comes with scikit-learn.  Every random
choice is drawn from SEED; a rerun with the same package versions on the same
kind of processor gives the same two files.

How it is trained: Adam on the cross-entropy of images with random noise added,
and weight decay; no verifier's bound takes part in it.
"""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

HERE = Path(__file__).resolve().parent
SEED = 20240
SIZES = (64, 64, 32, 10)
TEST_SHARE = 0.25
EPOCHS = 300
BATCH = 64
RATE = 2e-3
NOISE = 0.06  # standard deviation of the training noise, per pixel
DECAY = 2e-4  # weight of the squared weights in the loss


def split_data():
    """The stratified training and test sets, pixels in [0, 1]."""
    digits = load_digits()
    return train_test_split(
        digits.data / 16,
        digits.target,
        test_size=TEST_SHARE,
        random_state=SEED,
        stratify=digits.target,
    )


def initial_parameters(rng, sizes):
    """He-initialised weights (outputs x inputs) and zero biases."""
    return [
        (
            jnp.asarray(rng.normal(0, np.sqrt(2 / n), (m, n)), jnp.float32),
            jnp.zeros(m, jnp.float32),
        )
        for n, m in zip(sizes, sizes[1:])
    ]


def forward(params, x):
    """The logits."""
    *hidden, (weight, bias) = params
    for w, b in hidden:
        x = jax.nn.relu(x @ w.T + b)
    return x @ weight.T + bias


def loss(params, x, labels):
    """Mean cross-entropy plus weight decay."""
    scores = jax.nn.log_softmax(forward(params, x))
    entropy = -jnp.take_along_axis(scores, labels[:, None], 1).mean()
    decay = sum((w**2).sum() for w, _ in params)
    return entropy + DECAY * decay


def adam(params, grads, mean, square, step, rate):
    """One step of Adam with the usual constants."""
    mean = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, mean, grads)
    square = jax.tree.map(lambda s, g: 0.999 * s + 0.001 * g * g, square, grads)
    scale1, scale2 = 1 - 0.9**step, 1 - 0.999**step
    params = jax.tree.map(
        lambda p, m, s: p - rate * (m / scale1) / (jnp.sqrt(s / scale2) + 1e-8),
        params,
        mean,
        square,
    )
    return params, mean, square


@jax.jit
def adam_step(params, mean, square, step, rate, x, labels):
    """One step of Adam on the classifier's loss."""
    grads = jax.grad(loss)(params, x, labels)
    return adam(params, grads, mean, square, step, rate)


def falling_rate(step, steps):
    """The learning rate, which falls to zero on a cosine."""
    return RATE * 0.5 * (1 + np.cos(np.pi * step / steps))


def noisy_pixels(rng, x):
    """Images with normal noise added, kept within [0, 1]."""
    return np.clip(x + rng.normal(0, NOISE, x.shape), 0, 1)


def arrays(params):
    """The parameters as numpy arrays."""
    return [(np.asarray(w), np.asarray(b)) for w, b in params]


def train(x, labels, sizes=SIZES, disturb=noisy_pixels, after_epoch=None):
    """The trained parameters.

    disturb(rng, rows) makes the noisy rows that a step sees; after_epoch, if
    given, is called with the number of epochs done and the parameters so far.
    """
    rng = np.random.default_rng(SEED)
    params = initial_parameters(rng, sizes)
    mean = jax.tree.map(jnp.zeros_like, params)
    square = jax.tree.map(jnp.zeros_like, params)
    batches = len(x) // BATCH
    step, steps = 0, EPOCHS * batches
    for epoch in range(EPOCHS):
        order = rng.permutation(len(x))
        for batch in order[: batches * BATCH].reshape(batches, BATCH):
            rate = falling_rate(step, steps)
            step += 1
            noisy = jnp.asarray(disturb(rng, x[batch]), jnp.float32)
            params, mean, square = adam_step(
                params, mean, square, float(step), rate, noisy, labels[batch]
            )
        if after_epoch:
            after_epoch(epoch + 1, arrays(params))
    return arrays(params)


def export_onnx(params, path, producer="train_digits.py", output="logits"):
    """Write the network as Gemm and Relu nodes, named after the file."""
    names = [*(f"hidden{i + 1}" for i in range(len(params) - 1)), output]
    outputs, inputs = len(params[-1][0]), params[0][0].shape[1]
    nodes, tensors, source = [], [], "input"
    for name, (weight, bias) in zip(names, params):
        tensors.append(numpy_helper.from_array(weight, f"{name}.weight"))
        tensors.append(numpy_helper.from_array(bias, f"{name}.bias"))
        target = name if name == output else f"{name}.pre"
        read = [source, f"{name}.weight", f"{name}.bias"]
        nodes.append(helper.make_node("Gemm", read, [target], f"{name}.gemm", transB=1))
        if name != output:
            nodes.append(helper.make_node("Relu", [target], [name], f"{name}.relu"))
        source = name
    graph = helper.make_graph(
        nodes,
        path.stem,
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", inputs])],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, ["batch", outputs])],
        tensors,
    )
    opset = helper.make_opsetid("", 13)
    model = helper.make_model(graph, opset_imports=[opset], producer_name=producer)
    model.ir_version = 7
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)


def write_csv(x, labels, path):
    """Write the test set; each pixel is k/16, so four decimals are exact."""
    lines = [",".join(["label", *(f"p{i}" for i in range(64))])]
    for label, row in zip(labels, x):
        lines.append(",".join([str(label), *(f"{value:g}" for value in row)]))
    path.write_text("\n".join(lines) + "\n")


def main():
    x_train, x_test, y_train, y_test = split_data()
    params = train(x_train, y_train)
    export_onnx(params, HERE / "digits-mlp.onnx")
    write_csv(x_test, y_test, HERE / "digits-test.csv")
    for name, x, labels in (("training", x_train, y_train), ("test", x_test, y_test)):
        logits = np.asarray(forward(params, jnp.asarray(x, jnp.float32)))
        right = int((logits.argmax(1) == labels).sum())
        print(f"{name} accuracy: {right}/{len(x)} = {right / len(x):.2%}")


if __name__ == "__main__":
    main()
