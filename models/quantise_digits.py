"""Makes digits-mlp-int8.onnx and digits-mlp-float16.onnx from digits-mlp.onnx: the same network as it might be deployed.

int8: every matrix as 8-bit integers and one scale (DequantizeLinear), biases as they are.
float16: every stored tensor in half precision, cast to float32 where it is used.
"""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

FOLDER = Path(__file__).parent


def int8(name, values):
    if values.ndim < 2:
        return [numpy_helper.from_array(values, name)], []
    scale = np.float32(np.abs(values).max() / 127)
    stored = np.clip(np.round(values / scale), -127, 127).astype(np.int8)
    names = [f"{name}.quantised", f"{name}.scale", f"{name}.zero"]
    parts = [stored, np.array(scale), np.array(0, np.int8)]
    node = helper.make_node("DequantizeLinear", names, [name])
    return [numpy_helper.from_array(a, n) for a, n in zip(parts, names)], [node]


def float16(name, values):
    half = f"{name}.half"
    node = helper.make_node("Cast", [half], [name], to=TensorProto.FLOAT)
    return [numpy_helper.from_array(values.astype(np.float16), half)], [node]


for kind, store in [("int8", int8), ("float16", float16)]:
    model = onnx.load(FOLDER / "digits-mlp.onnx")
    stored = [store(i.name, numpy_helper.to_array(i)) for i in model.graph.initializer]
    nodes = [node for _, nodes in stored for node in nodes] + list(model.graph.node)
    for field, new in [("initializer", [t for tensors, _ in stored for t in tensors]), ("node", nodes)]:
        del getattr(model.graph, field)[:]
        getattr(model.graph, field).extend(new)
    onnx.checker.check_model(model)
    onnx.save(model, FOLDER / f"digits-mlp-{kind}.onnx")
