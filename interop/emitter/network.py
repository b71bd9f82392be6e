"""A reader of fully connected ONNX models: affine layers with a ReLU between them.

It is for the emitter only. The checker reads the model's bytes by itself, so an error here cannot make a certificate
wrong, only useless.
"""

from dataclasses import dataclass

import numpy as np
import onnx
from onnx import numpy_helper

SAME = ("Identity", "Flatten", "Reshape")


@dataclass
class Layer:
    """y = W x + b. The name is that of y: the tensor that a ReLU or the output reads."""

    name: str
    weight: np.ndarray
    bias: np.ndarray


@dataclass
class Network:
    """Layers with a ReLU after each but the last."""

    input: str
    layers: list

    def centres(self, x):
        """The clean value of every layer's output, from which deviations count."""
        values = []
        for layer in self.layers:
            values.append(layer.weight @ x + layer.bias)
            x = np.maximum(values[-1], 0)
        return values


def read_network(path):
    """The layers of a chain of Gemm, MatMul, Add and Relu nodes. Affine nodes in a row become one layer."""
    graph = onnx.load(str(path)).graph
    constants = {t.name: numpy_helper.to_array(t).astype(float) for t in graph.initializer}
    name = current = next(i.name for i in graph.input if i.name not in constants)
    layers, fresh = [], True
    for node in graph.node:
        if node.input[0] != current or node.op_type not in (*SAME, "Relu", "Gemm", "MatMul", "Add"):
            raise ValueError(f"{node.op_type} {node.output[0]}: not a chain of fully connected layers")
        current = node.output[0]
        if node.op_type == "Relu":
            fresh = True
        elif node.op_type == "Add":
            layers[-1] = Layer(current, layers[-1].weight, layers[-1].bias + constants[node.input[1]].ravel())
        elif node.op_type not in SAME:
            layer = _matrix_layer(node, constants)
            layers = layers + [layer] if fresh else layers[:-1] + [_compose(layer, layers[-1])]
            fresh = False
    return Network(name, layers)


def _matrix_layer(node, constants):
    """The affine map of a Gemm or MatMul whose first operand is computed."""
    options = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    if options.get("transA", 0):
        raise ValueError(f"Gemm {node.output[0]}: a transposed input is not a fully connected layer")
    weight = constants[node.input[1]] * options.get("alpha", 1.0)
    weight = weight if options.get("transB", 0) else weight.T
    bias = np.zeros(len(weight))
    if len(node.input) > 2:
        bias = bias + constants[node.input[2]].ravel() * options.get("beta", 1.0)
    return Layer(node.output[0], weight, bias)


def _compose(after, before):
    return Layer(after.name, after.weight @ before.weight, after.weight @ before.bias + after.bias)
