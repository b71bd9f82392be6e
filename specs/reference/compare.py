#!/usr/bin/env python3
"""Compares the verdicts of two checkers on mutated certificates, claims, models and data.

    python3 compare.py CHECKER [--prover PROVER] [--seed N] [--count N] [--only NAME] [--keep DIR] [--listed]

CHECKER is the other checker's binary (`CHECKER verify CLAIM CERTIFICATE --json`). With PROVER, small claims of many kinds
are proven first; without it only those of specs/worked-example are mutated. Every difference in the verdict, the exit code or
the error code of an answer is kept in a folder of its own and printed; one that rounding explains is called `rounding`, see
`compared`. With --listed the certificates of certificates/README.md are compared as they are. What is proven with a timeout depends on the machine, everything else on the seed alone.
"""

import argparse
import hashlib
import json
import os
import random
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
import rules  # noqa: E402
import scalecheck  # noqa: E402


# ---- tiny models ----

def varint(n):
    n &= 2 ** 64 - 1
    out = b""
    while True:
        out += bytes([n & 127 | (128 if n > 127 else 0)])
        n >>= 7
        if not n:
            return out


def field(number, value):
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    if isinstance(value, float):
        return varint(number << 3 | 5) + struct.pack("<f", value)
    if isinstance(value, str):
        value = value.encode()
    return varint(number << 3 | 2) + varint(len(value)) + value


def tensor(name, shape, values, kind=1):
    data = b"".join(field(1, d) for d in shape) + field(2, kind) + field(8, name)
    if kind == 1:
        return data + field(9, b"".join(struct.pack("<f", v) for v in values))
    if kind == 7:
        return data + field(9, b"".join(struct.pack("<q", v) for v in values))
    if kind == 3:
        return data + field(9, struct.pack(f"{len(values)}b", *values))
    return data + field(9, b"".join(struct.pack("<e", v) for v in values))


def attribute(name, value):
    out = field(1, name)
    if isinstance(value, int):
        return out + field(3, value) + field(20, 2)
    if isinstance(value, float):
        return out + field(2, value) + field(20, 1)
    if isinstance(value, str):
        return out + field(4, value) + field(20, 3)
    return out + b"".join(field(8, v) for v in value) + field(20, 7)


class Builder:
    """A model, node by node."""

    def __init__(self, shape, rng, opset=13):
        self.rng, self.opset = rng, opset
        self.nodes, self.constants, self.count = [], [], 0
        dims = b"".join(field(1, field(1, d)) for d in shape)
        self.input = field(11, field(1, "x") + field(2, field(1, field(1, 1) + field(2, dims))))

    def constant(self, shape, values=None, kind=1, scale=1.0):
        size = 1
        for d in shape:
            size *= d
        if values is None:
            # few binary digits, and some longer ones
            values = [self.rng.choice([self.rng.randint(-16, 16) / 8, self.rng.uniform(-2, 2)]) * scale for _ in range(size)]
        name = f"c{len(self.constants)}"
        self.constants.append(field(5, tensor(name, shape, values, kind)))
        return name

    def node(self, op, inputs, name=None, outputs=None, **attributes):
        self.count += 1
        outs = outputs or [name or f"t{self.count}"]
        data = b"".join(field(1, i) for i in inputs) + b"".join(field(2, o) for o in outs) + field(4, op)
        data += b"".join(field(5, attribute(k, v)) for k, v in attributes.items())
        self.nodes.append(field(1, data))
        return outs[0]

    def bytes(self, *outputs):
        graph = b"".join(self.nodes) + field(2, "g") + b"".join(self.constants) + self.input
        for name in outputs:
            graph += field(12, field(1, name))
        return field(1, 8) + field(7, graph) + field(8, field(2, self.opset))


def mlp(rng, sizes, weight_bits=None):
    b = Builder([1, sizes[0]], rng)
    x = "x"
    for k, (n, m) in enumerate(zip(sizes, sizes[1:])):
        last = k == len(sizes) - 2
        x = b.node("Gemm", [x, b.constant([n, m]), b.constant([m])], name="y" if last else f"h{k}.pre")
        if not last:
            x = b.node("Relu", [x], name=f"h{k}")
    return b.bytes("y")


def mlp_pair(rng, sizes):
    """The same network twice, the second with weights that are a little different."""
    result = []
    state = rng.getstate()
    for noise in (0.0, 1 / 64):
        rng.setstate(state)
        b = Builder([1, sizes[0]], rng)
        x = "x"
        for k, (n, m) in enumerate(zip(sizes, sizes[1:])):
            last = k == len(sizes) - 2
            w = [rng.randint(-16, 16) / 8 for _ in range(n * m)]
            c = [rng.randint(-16, 16) / 8 for _ in range(m)]
            shift = [rng.choice([-1, 0, 1]) * noise for _ in range(n * m)]
            shift_c = [rng.choice([-1, 0, 0, 1]) * noise for _ in range(m)]
            x = b.node("Gemm", [x, b.constant([n, m], [p + q for p, q in zip(w, shift)]),
                                b.constant([m], [p + q for p, q in zip(c, shift_c)])], name="y" if last else f"h{k}.pre")
            if not last:
                x = b.node("Relu", [x], name=f"h{k}")
        result.append(b.bytes("y"))
    return result


def convolution(rng):
    b = Builder([1, 1, 4, 4], rng)
    x = b.node("Conv", ["x", b.constant([2, 1, 3, 3]), b.constant([2])], name="conv", pads=[1, 1, 1, 1])
    x = b.node("BatchNormalization", [x, b.constant([2]), b.constant([2]), b.constant([2]),
                                      b.constant([2], [rng.uniform(0.5, 2), 1.0])], name="norm")
    x = b.node("Relu", [x], name="r")
    pool = rng.choice(["MaxPool", "AveragePool"])
    x = b.node(pool, [x], name="pool", kernel_shape=[2, 2], strides=[2, 2])
    x = b.node("Flatten", [x], name="flat")
    x = b.node("Gemm", [x, b.constant([3, 8]), b.constant([3])], name="y", transB=1, alpha=0.5, beta=-2.0)
    return b.bytes("y")


def zoo(rng, size=4):
    """A chain of operators of all kinds."""
    b = Builder([1, size], rng)
    x, shape = "x", [1, size]
    for _ in range(rng.randint(2, 6)):
        n = shape[-1]
        ints = lambda values: b.constant([len(values)], values, 7)
        kind = rng.choice(["relu", "leaky", "abs", "clip", "max", "min", "add", "sub", "mul", "div", "matmul", "left", "gemm",
                           "concat", "slice", "gather", "pad", "transpose", "residual", "reduce", "mean", "split", "neg", "sum",
                           "maxmany", "identity", "dequantize", "reshape"])
        if kind == "relu":
            x = b.node("Relu", [x])
        elif kind == "leaky":
            x = b.node("LeakyRelu", [x], alpha=rng.choice([0.25, 0.1, 2.0, -0.5]))
        elif kind == "abs":
            x = b.node("Abs", [x])
        elif kind == "clip":
            low, high = b.constant([], [-1.0]), b.constant([], [rng.choice([1.0, 0.3])])
            x = b.node("Clip", rng.choice([[x, low, high], [x, low], [x, "", high]]))
        elif kind in ("max", "min"):
            other = rng.choice([b.constant([n]), b.node("Neg", [x])])
            x = b.node(kind.title(), rng.choice([[x, other], [other, x]]))
        elif kind == "maxmany":
            x = b.node("Max", [x, b.node("Neg", [x]), b.constant([n]), b.node("Mul", [x, b.constant([1])]), b.constant([1])][:rng.randint(3, 5)])
        elif kind in ("add", "sub"):
            c = b.constant(rng.choice([[n], [1], shape]))
            x = b.node(kind.title(), rng.choice([[x, c], [c, x]]))
        elif kind == "sum":
            x = b.node("Sum", [x, b.node("Relu", [x]), b.constant([n])][:rng.randint(1, 3)])
        elif kind == "mul":
            x = b.node("Mul", [x, b.constant(rng.choice([[n], [1]]))])
        elif kind == "div":
            x = b.node("Div", [x, b.constant([n], [rng.choice([2.0, 3.0, -1.5, 0.7]) for _ in range(n)])])
        elif kind == "matmul":
            m = rng.randint(2, 5)
            x, shape = b.node("MatMul", [x, b.constant([n, m])]), [1, m]
        elif kind == "left":
            x = b.node("MatMul", [b.constant([1, 1]), x])
        elif kind == "gemm":
            m = rng.randint(2, 5)
            x, shape = b.node("Gemm", [x, b.constant([m, n]), b.constant(rng.choice([[m], [1, m], [1]]))], transB=1,
                              alpha=rng.choice([1.0, -0.5]), beta=rng.choice([1.0, -2.0])), [1, m]
        elif kind == "concat":
            x = b.node("Concat", [x, rng.choice([b.constant([1, 2]), b.node("Relu", [x])])], axis=1)
            return finish(b, x, None, rng)
        elif kind == "slice" and n > 2:
            start, end, step = rng.choice([(0, n - 1, 1), (1, n, 1), (-1, -n - 1, -1), (0, n, 2)])
            x = b.node("Slice", [x, ints([start]), ints([end]), ints([1]), ints([step])])
            shape = [1, len(range(n)[start:end:step]) if step > 0 else n]
        elif kind == "gather":
            places = [rng.randint(-n, n - 1) for _ in range(rng.randint(2, 4))]
            x, shape = b.node("Gather", [x, ints(places)], axis=1), [1, len(places)]
        elif kind == "pad":
            x, shape = b.node("Pad", [x, ints([0, 1, 0, 0])] + ([b.constant([], [0.5])] if rng.random() < 0.5 else [])), [1, n + 1]
        elif kind == "transpose":
            x = b.node("Transpose", [b.node("Transpose", [x], perm=[1, 0])])
        elif kind == "residual":
            x = b.node("Add", [x, b.node("Relu", [b.node("MatMul", [x, b.constant([n, n])])])])
        elif kind == "reduce":
            s = b.node("ReduceSum", [x, ints([1])], keepdims=1)
            x = b.node("Add", [x, s])
        elif kind == "mean":
            s = b.node("ReduceMean", [x], axes=[1])
            x = b.node("Sub", [x, s])
        elif kind == "split" and n > 2:
            b.count += 1
            names = [f"s{b.count}a", f"s{b.count}b"]
            b.node("Split", [x, ints([1, n - 1])], outputs=names, axis=1)
            x, shape = names[1], [1, n - 1]
        elif kind == "neg":
            x = b.node("Neg", [x])
        elif kind == "identity":
            x = b.node("Identity", [x])
        elif kind == "reshape":
            x = b.node("Reshape", [b.node("Reshape", [x, ints([-1])]), ints([1, -1])])
        elif kind == "dequantize":
            q = b.constant([n, n], [rng.randint(-9, 9) for _ in range(n * n)], 3)
            w = b.node("DequantizeLinear", [q, b.constant([n], [0.25, 0.1, 0.5, 1.0, 0.3, 0.2, 0.7, 0.9][:n]) if n <= 8 else b.constant([], [0.1])], axis=1)
            x = b.node("MatMul", [x, w])
    return finish(b, x, shape, rng)


def finish(b, x, shape, rng):
    return b.bytes(b.node("Relu", [x], name="y") if rng.random() < 0.3 else b.node("Neg", [x], name="y"))


def scales(rng, n):
    """Scale tables for a site of n elements, n even."""
    half = n // 2
    modes = [[rng.randint(-3, 3) for _ in range(n)] for _ in range(half)]
    columns = [[rng.randint(-3, 3) for _ in range(3)] for _ in range(n)]
    eye = [[int(i == j) for j in range(n)] for i in range(n)]
    dct = [[rng.randint(-3, 3) for _ in range(n)] for _ in range(n)]
    return [
        '{ family = "none" }',
        f'{{ family = "block-mean", shape = [{n}], cutoff = 2 }}',
        f'{{ family = "block-mean", shape = [{n}], cutoff = {n} }}',
        f'{{ family = "haar", shape = [{n}], cutoff = 2 }}',
        f'{{ family = "wavelet", shape = [{n}], filters = "{rng.choice(["cdf-5-3", "cdf-1-3", "orthogonal-4"])}", cutoff = 2 }}',
        f'{{ family = "groups", levels = [[[0, 1], [{n - 1}]], [[0, 1]]], cutoff = {rng.randint(1, 2)} }}',
        f'{{ family = "pca", modes = {modes}, cutoff = {rng.randint(0, half)} }}',
        f'{{ family = "matrix", modes = {modes}, cutoff = 1 }}',
        f'{{ family = "matrix", generator = {columns}, cutoff = {rng.randint(1, 3)} }}',
        f'{{ family = "dct", shape = [{n}], matrix = {dct}, cutoff = {rng.randint(0, 2)} }}',
        f'{{ family = "dictionary", atoms = {columns}, nested = [2, 1], bounds = [1, "1/2", 2], residual = "1/64", cutoff = {rng.randint(0, 2)} }}',
        f'{{ family = "dictionary", atoms = {eye}, levels = [[[0, 1]]], residual = 0, cutoff = 1 }}',
    ]


def cases(rng):
    """(name, claim text, {file: bytes}) of small claims of many kinds."""
    result = []
    inputs = lambda n: "point = [" + ", ".join(f'"{rng.randint(-8, 8)}/8"' for _ in range(n)) + "]"
    output = lambda: rng.choice(['tolerance = "4"', 'tolerance = "1/2"', 'tolerance = "20"', 'decision = "winner"', 'reaches = "1/8"'])
    region_output = lambda: rng.choice(['tolerance = "4"', 'tolerance = "1/2"', 'tolerance = "20"', 'reaches = "1/8"'])
    amplitude = lambda: rng.choice(['"1/8"', '"1/32"', '1', '"0.3"'])

    def perturb(site, scale, more=""):
        return f'[[perturb]]\nsite = "{site}"\nscale = {scale}\namplitude = {amplitude()}\n{more}\n'

    def weights(names):
        return f'[[perturb]]\nweights = {names}\nerror = "{rng.choice(["absolute", "relative"])}"\namplitude = "1/{rng.choice([32, 100, 500])}"\n\n'

    for k, scale in enumerate(scales(rng, 4)):
        site = rng.choice(["input", "x", "h0", "h0.pre", "h0.pre#product"])
        valid = '\nvalid = ["-1", "1"]' if rng.random() < 0.5 else ""
        text = f'model = "m.onnx"\n[inputs]\n{inputs(4)}{valid}\n\n{perturb(site, scale)}[output]\n{output()}\n'
        result.append((f"family-{k}", text, {"m.onnx": mlp(rng, [4, 4, 4, 3])}))
    text = f'model = "m.onnx"\n[inputs]\n{inputs(4)}\n\n{perturb("input", scales(rng, 4)[rng.randrange(12)])}{perturb("h0", scales(rng, 4)[rng.randrange(12)])}[output]\n{output()}\n'
    result.append(("two-sites", text, {"m.onnx": mlp(rng, [4, 4, 3])}))
    text = f'model = "m.onnx"\n[inputs]\n{inputs(4)}\nvalid = [-2, 2]\n\n{perturb("input", scales(rng, 4)[1])}{perturb("input", scales(rng, 4)[6])}[output]\n{output()}\n'
    result.append(("one-site-twice", text, {"m.onnx": mlp(rng, [4, 4, 3])}))
    for k, names in enumerate(['"all"', '["c0"]', '["c3", "c0"]']):
        text = f'model = "m.onnx"\n[inputs]\n{inputs(4)}\n\n{weights(names)}[output]\n{output()}\n'
        result.append((f"weights-{k}", text, {"m.onnx": mlp(rng, [4, 3, 3])}))
    text = f'model = "m.onnx"\n[inputs]\n{inputs(4)}\n\n{perturb("h0", scales(rng, 4)[1])}{weights(chr(34) + "all" + chr(34))}[output]\n{output()}\n'
    result.append(("weights-site", text, {"m.onnx": mlp(rng, [4, 4, 3])}))
    for k in range(3):
        coarse = ["{ groups = [[0, 2], [1, 3]], reduce = \"mean\" }", '{ matrix = [[1, "-1/2", 0, 0], [0, 3, 6, 9]] }',
                  '{ scale = { family = "block-mean", shape = [4] }, seen = 1, hidden = 2 }'][k]
        text = f'model = "m.onnx"\n[inputs]\n{inputs(4)}\n\n{perturb("input", scales(rng, 4)[1])}[output]\ncoarse = {coarse}\n{output()}\n'
        result.append((f"coarse-{k}", text, {"m.onnx": mlp(rng, [4, 4, 4])}))
    text = (f'model = "m.onnx"\n[inputs]\n{inputs(4)}\n\n{perturb("input", scales(rng, 4)[1])}[output]\n\n'
            '[[setting]]\ntolerance = 20\n\n[[setting]]\ncutoff = 1\ntolerance = 0\n\n[[setting]]\ncutoff = 4\nseen = 2\nreaches = "1/64"\n\n'
            '[[setting]]\namplitude = "1/128"\ntolerance = 20\n\n[[setting]]\nscale = { family = "none" }\ntensor = "h0"\ntolerance = 3\n')
    result.append(("settings", text, {"m.onnx": mlp(rng, [4, 4, 3])}))
    rows = "label,a,b,c,d\n" + "".join(f"{k}," + ",".join(rng.choice(["0.25", "1/3", "-1", "5e-1"]) for _ in range(4)) + "\n" for k in range(4))
    text = f'model = "m.onnx"\n[inputs]\nfile = "in.csv"\nrows = "0..3"\n\n{perturb("input", scales(rng, 4)[1])}[output]\ntolerance = 6\n'
    result.append(("csv", text, {"m.onnx": mlp(rng, [4, 4, 3]), "in.csv": rows.encode()}))
    for k in range(2):
        text = f'model = "m.onnx"\n[inputs]\n{inputs(16)}\nvalid = [-1, 1]\n\n[[perturb]]\nsite = "{["input", "r"][k]}"\nscale = {{ family = "{["block-mean", "haar"][k]}", shape = [{["1", "2"][k]}, 4, 4], cutoff = 2 }}\namplitude = "1/16"\n\n[output]\n{output()}\n'
        result.append((f"conv-{k}", text, {"m.onnx": convolution(rng)}))
    text = f'model = "m.onnx"\n[inputs]\n{inputs(16)}\n\n{weights(rng.choice(["[" + chr(34) + "c0" + chr(34) + "]", "[" + chr(34) + "c6" + chr(34) + "]"]))}[output]\n{output()}\n'
    result.append(("conv-weights", text, {"m.onnx": convolution(rng)}))
    for k in range(8):
        text = f'model = "m.onnx"\n[inputs]\n{inputs(4)}\n\n{perturb("input", scales(rng, 4)[rng.choice([0, 1, 2])])}[output]\n{output()}\n'
        result.append((f"zoo-{k}", text, {"m.onnx": zoo(rng)}))
    for k in range(2):
        text = f'model = "m.onnx"\n[inputs]\n{inputs(4)}\n\n{weights(chr(34) + "all" + chr(34))}[output]\n{output()}\n'
        result.append((f"zoo-weights-{k}", text, {"m.onnx": zoo(rng)}))
    # regions
    box = 'box = { lower = -1, upper = ["1/2", 1, 1, "0.7"] }'
    where = lambda: rng.choice([box, inputs(4) + '\nradius = "1/8"', inputs(4) + '\nradius = "1/16"\nvalid = [-1, 1]', inputs(4)])
    for k in range(3):
        scale = scales(rng, 4)[rng.randrange(12)]
        text = f'model = "m.onnx"\n[inputs]\n{inputs(4)}\nradius = "1/8"{rng.choice(["", chr(10) + "valid = [-1, 1]"])}\n\n{perturb(rng.choice(["input", "h0"]), scale)}[output]\n{region_output()}\n'
        result.append((f"region-{k}", text, {"m.onnx": mlp(rng, [4, 4, 3])}))
    for k in range(3):
        a, b = mlp_pair(rng, [4, 4, 4, 3])
        more = perturb("input", scales(rng, 4)[rng.randrange(3)]) if k == 2 else ""
        text = f'model = "m.onnx"\nreplace = "n.onnx"\n[inputs]\n{where()}\n\n{more}[output]\n{region_output()}\n'
        result.append((f"replace-{k}", text, {"m.onnx": a, "n.onnx": b}))
    text = f'model = "m.onnx"\nreplace = "n.onnx"\n[inputs]\n{where()}\n\n[output]\n{region_output()}\n'
    result.append(("copies", text, {"m.onnx": mlp(rng, [4, 4, 3]), "n.onnx": mlp(rng, [4, 3, 3, 3])}))
    for k in range(4):
        scale = scales(rng, 4)[rng.choice([1, 2, 3, 5, 6, 7, 9])]
        more = perturb(rng.choice(["input", "h0"]), scales(rng, 4)[rng.randrange(3)]) if k == 3 else ""
        text = f'model = "m.onnx"\n[inputs]\n{where()}\n\n{more}[[truncate]]\nsite = "{rng.choice(["input", "h0", "h0.pre"])}"\nscale = {scale}\n\n[output]\n{region_output()}\n'
        result.append((f"truncate-{k}", text, {"m.onnx": mlp(rng, [4, 4, 3])}))
    # properties
    declare = "".join(f"(declare-const X_{i} Real)\n" for i in range(3)) + "".join(f"(declare-const Y_{i} Real)\n" for i in range(3))
    bounds = "".join(f"(assert (>= X_{i} {rng.randint(-8, 0)}/8))\n(assert (<= X_{i} 0.25))\n" for i in range(2))
    last = "(assert (or (and (>= X_2 0) (<= X_2 0.1)) (and (<= X_2 1) (>= X_2 (/ 1 2)))))\n"
    unsafe = rng.choice(["(assert (or (>= Y_0 Y_1) (and (> (* 2 Y_1) (- Y_2 3)) (<= Y_0 (- 50)))))\n", "(assert (<= Y_0 -100))\n",
                         "(assert (or (and (>= Y_0 40) (< Y_1 3)) (and (>= Y_2 30) (<= Y_1 (+ Y_0 1)))))\n"])
    text = 'model = "m.onnx"\nproperty = "p.vnnlib"\n'
    result.append(("property", text, {"m.onnx": mlp(rng, [3, 4, 3]), "p.vnnlib": (declare + bounds + last + unsafe).encode()}))
    return result


def chain_case(rng, prover, folder):
    """A chain of two links, with its files."""
    state = rng.getstate()
    files = {}
    for name in ("m.onnx", "n.onnx", "o.onnx"):
        rng.setstate(state)
        b = Builder([1, 3], rng)
        w = [rng.randint(-16, 16) / 8 for _ in range(18)]
        shift = random.Random(name)
        w = [v + shift.choice([-1, 0, 1]) / 64 for v in w]
        x = b.node("Relu", [b.node("MatMul", ["x", b.constant([3, 3], w[:9])], name="h.pre")], name="h")
        b.node("MatMul", [x, b.constant([3, 3], w[9:])], name="y")
        files[name] = b.bytes("y")
    more = '[[perturb]]\nsite = "input"\nscale = { family = "block-mean", shape = [3], cutoff = 3 }\namplitude = "1/16"\n\n'
    claim = lambda m, n, p: f'model = "{m}.onnx"\nreplace = "{n}.onnx"\n[inputs]\nbox = {{ lower = -1, upper = 1 }}\nvalid = [-2, 2]\n\n{p}[output]\ntolerance = 2\n'
    texts = {"l1.toml": claim("m", "n", ""), "l2.toml": claim("n", "o", more), "claim.toml": claim("m", "o", more)}
    for f, text in texts.items():
        files[f] = text.encode()
    for f, data in files.items():
        open(os.path.join(folder, f), "wb").write(data)
    at = lambda f: os.path.join(folder, f)
    for k in "12":
        subprocess.run([prover, "prove", at(f"l{k}.toml"), "-o", at(f"l{k}.json"), "--method", "crown"], capture_output=True)
        files[f"l{k}.json"] = open(at(f"l{k}.json"), "rb").read()
    run = [prover, "chain", at("claim.toml"), "--link", at("l1.toml"), at("l1.json"), "--link", at("l2.toml"), at("l2.json"), "-o", at("cert.json")]
    subprocess.run(run, capture_output=True)
    text = files.pop("claim.toml").decode()
    return "chain", text, files


# ---- mutations ----

INTERESTING = [0, 1, -1, 2, 3, 4, 5, 7, 8, 15, 16, 17, 20, 64, 128, 255, 256, 257, 65535, 65536, 2 ** 48 - 1, 2 ** 48, -2 ** 48, 2 ** 31, 2 ** 63, -2 ** 63 - 1]


def walk(value, path=()):
    yield path, value
    if isinstance(value, dict):
        for k in value:
            yield from walk(value[k], path + (k,))
    elif isinstance(value, list):
        for i, v in enumerate(value):
            yield from walk(v, path + (i,))


def at(value, path):
    for k in path:
        value = value[k]
    return value


def put(value, path, new):
    at(value, path[:-1])[path[-1]] = new


def mutate_number_text(rng, text):
    return rng.choice(["0", "1", "-1", "1/3", "-7/2", "0.5", "1e-2", "1e5000", "x", "", "1/0", "+2", ".5", "5.", " 1", "1_0", "-" + text, text + "0",
                       text + "/3", "2" + text])


def mutate_json(rng, top, names):
    """One mutation, in place."""
    places = [(p, v) for p, v in walk(top) if p and p[0] not in ("format", "generator", "claim", "model", "data") or p in (("answers",),)]
    if rng.random() < 0.03:
        places = [(p, v) for p, v in walk(top) if p]
    path, value = rng.choice(places)
    kind = rng.random()
    if isinstance(value, bool) or value is None:
        return
    if isinstance(value, int):
        new = rng.choice([value + 1, value - 1, -value, value * 2, rng.choice(INTERESTING), rng.randint(-3, 12), value ^ 1])
        if kind < 0.02:
            new = rng.choice([1.5, None, True, "1", [value]])
        put(top, path, new)
    elif isinstance(value, str):
        if path[0] in ("claim", "model", "data") or path[-1] == "sha256":
            k = rng.randrange(len(value))
            put(top, path, value[:k] + rng.choice("0123456789abcdef0123456789abcdefgA") + value[k + rng.choice([1, 1, 1, 1, 0]):])
        elif "tensors" in path:
            put(top, path, rng.choice(names + [value + "x", ""]))
        else:
            put(top, path, mutate_number_text(rng, value))
    elif isinstance(value, list):
        if value and kind < 0.35:
            del value[rng.randrange(len(value))]
        elif len(value) > 1 and kind < 0.7:
            i, j = rng.sample(range(len(value)), 2)
            value[i], value[j] = value[j], value[i]
        elif value and kind < 0.9:
            value.insert(rng.randrange(len(value) + 1), json.loads(json.dumps(rng.choice(value))))
        else:
            value.clear()
    elif isinstance(value, dict):
        if value and kind < 0.1:
            value[rng.choice(list(value))] = None
        elif value and kind < 0.5:
            del value[rng.choice(list(value))]
        else:
            key = path[-1]
            if "nodes" in path and isinstance(key, int) and len(path) and path[-2] == "nodes":
                extra = rng.choice([("void", {"tensor": 0, "element": 0}), ("split", {"tensor": rng.randrange(3), "element": rng.randrange(3), "at": rng.choice(["0", "1/2", "-1"])}),
                                    ("refine", [{"tensor": rng.randrange(4)}]), ("close", [{"cell": rng.randrange(3)}])])
            else:
                extra = rng.choice([("slopes", rng.randrange(2)), ("rows", [rng.randrange(4)]), ("side", rng.choice(["lower", "upper", "both"])),
                                    ("multipliers", [[rng.randrange(3), rng.randrange(3), rng.randint(-9, 9), rng.randint(-3, 3)]]),
                                    ("weights", [rng.choice([0, 1, 2, 65535, 65536])]), ("cell", rng.randrange(4)), ("setting", rng.randrange(4)),
                                    ("duals", [{"tensor": rng.randrange(3), "exponent": 2, "mantissas": [rng.randint(-3, 3) for _ in range(rng.choice([3, 4, 4, 4]))]}]),
                                    ("unknown", 1), (rng.choice(["rows", "cell", "slopes", "witness", "chain", "setting", "lower"]), None), ("served_by", rng.randrange(4)), ("row", rng.randrange(3))])
            value[extra[0]] = extra[1]


def mutate_text(rng, text):
    """One mutation of a claim, CSV or property."""
    kind = rng.random()
    lines = text.split("\n")
    if kind < 0.55:
        spots = list(re.finditer(r"-?[0-9]+(?:[./][0-9]+)?", text))
        if spots:
            m = rng.choice(spots)
            new = rng.choice(["0", "1", "2", "3", "4", "8", "-1", "1/2", "0.5", "100", str(rng.randint(0, 20)), m[0] + "1", "1/3"])
            return text[:m.start()] + new + text[m.end():]
    if kind < 0.65 and len(lines) > 2:
        del lines[rng.randrange(len(lines))]
        return "\n".join(lines)
    if kind < 0.7 and len(lines) > 2:
        lines.insert(rng.randrange(len(lines)), rng.choice(lines))
        return "\n".join(lines)
    if kind < 0.92:
        words = ["block-mean", "haar", "wavelet", "dct", "groups", "pca", "none", "matrix", "dictionary", "input", "x", "h0", "h0.pre", "h1",
                 "y", "cutoff", "seen", "hidden", "tolerance", "reaches", "decision", "winner", "mean", "sum", "absolute", "relative", "shape", "spatial",
                 "identity", "amplitude", "all", "c0", "c1", "scale", "site", "weights", "valid", "radius", "truncate", "perturb", "<=", ">=", "<", "and", "or"]
        spots = [m for m in re.finditer(r"[A-Za-z_][A-Za-z0-9_.-]*|[<>]=?", text)]
        if spots:
            m = rng.choice(spots)
            return text[:m.start()] + rng.choice(words) + text[m.end():]
    k = rng.randrange(len(text) or 1)
    return text[:k] + rng.choice(['"', "[", "]", "0", ",", "\n", "`", "\u200b", "é", "}", "=", "#", "(", ")", "x", "\r", ";"]) + text[k + rng.randint(0, 1):]


# ---- running ----

# Codes of answers that a bound which misses may get, itself or through another answer.
MISSED = {"cell-open", "tree-trailing", "not-void", "served-by", "chain-link", "chain-sum"}


def other(checker, claim, certificate):
    """(verdict, codes by (setting, row), or that of the error under None) of the other checker, and all that it says."""
    run = subprocess.run([checker, "verify", claim, certificate, "--json"], capture_output=True, text=True, timeout=120)
    try:
        found = json.loads(run.stdout or run.stderr)
    except ValueError:
        return f"exit code {run.returncode}", {}, run.stdout + run.stderr
    if "settings" not in found:
        return found["verdict"], {None: found["code"]}, found["message"]
    codes = {(s, row["row"]): row["code"] for s, setting in enumerate(found["settings"]) for row in setting["rows"] if "code" in row}
    if scalecheck.EXIT.get(found["verdict"]) != run.returncode:
        return f"{found['verdict']} with exit code {run.returncode}", codes, run.stdout
    return found["verdict"], codes, str({key: code for key, code in codes.items()})


def own(claim, certificate, mode=rules.GRID):
    """The same of this checker."""
    try:
        run = scalecheck.check(claim, certificate, mode=mode)
    except scalecheck.Fault as fault:
        return fault.verdict, {None: fault.code}, fault.message
    except Exception as error:
        return f"{type(error).__name__}: {error}", {}, ""
    return run.verdict_word, {key: fault.code for key, fault in run.faults.items()}, str(scalecheck.report(run))


def compared(checker, claim, certificate):
    """(kind, theirs, ours): kind is `same`, `rounding` or `differ`.

    `rounding` needs evidence: the other checker rejects answers that this one accepts, each for a bound that misses, and with
    bounds that are weaker by 2^-36 of their size this one rejects them with the same codes."""
    theirs, ours = other(checker, claim, certificate), own(claim, certificate)
    if theirs[:2] == ours[:2]:
        return "same", theirs, ours
    if theirs[0] == "REJECTED" and None not in theirs[1] and None not in ours[1]:
        odd = [key for key in {*theirs[1], *ours[1]} if theirs[1].get(key) != ours[1].get(key)]
        if odd and all(theirs[1].get(key) in MISSED for key in odd):
            loose = own(claim, certificate, rules.WEAKER)
            if loose[0] == "REJECTED" and all(loose[1].get(key) == theirs[1][key] for key in odd):
                return "rounding", theirs, ours
    return "differ", theirs, ours


def shown(outcome):
    verdict, codes, message = outcome
    return f"{verdict} {' '.join(sorted(set(codes.values())))} {message[:300]}"


def sha(data):
    return hashlib.sha256(data).hexdigest()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("checker")
    parser.add_argument("--prover")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--only", default="")
    parser.add_argument("--keep")
    parser.add_argument("--seconds", type=float, default=1e9)
    parser.add_argument("--listed", action="store_true")
    options = parser.parse_args()
    rng = random.Random(options.seed)
    folder = options.keep or tempfile.mkdtemp(prefix="scalecheck-")
    bases = []
    example = os.path.join(HERE, "..", "worked-example")
    for suffix in ("", "-split", "-refuted"):
        read = lambda n: open(os.path.join(example, n), "rb").read()
        bases.append((f"example{suffix}", read(f"claim{suffix}.toml").decode(), {"model.onnx": read("model.onnx")}, read(f"certificate{suffix}.json")))
    totals = {"proven": 0, "mutations": 0, "same": 0, "rounding": 0, "differ": 0}
    by_code = {}

    def note(name, claim, certificate, place):
        """Compares, and keeps what differs."""
        try:
            kind, theirs, ours = compared(options.checker, claim, certificate)
        except subprocess.TimeoutExpired:
            kind, theirs, ours = "differ", ("takes too long", {}, ""), ("", {}, "")
        totals[kind] += 1
        for code in sorted(set(theirs[1].values())) or [theirs[0]]:
            by_code[code] = by_code.get(code, 0) + 1
        if kind != "same":
            if place is not None:
                shutil.rmtree(place, ignore_errors=True)
                shutil.copytree(os.path.dirname(claim), place)
            print(f"{kind} {name} {place or claim}\n    other: {shown(theirs)}\n    own:   {shown(ours)}", flush=True)
        return kind

    start = time.time()
    if options.listed:
        home = os.path.join(HERE, "..", "..")
        for line in open(os.path.join(home, "certificates", "README.md")):
            pair = re.match(r"\| `([^`]+)` \| `([^`]+)` \| [A-Z]+ ", line)
            if pair:
                note(pair[1], os.path.join(home, "specs", "claims", pair[2]), os.path.join(home, "certificates", pair[1]), None)
        print(totals, dict(sorted(by_code.items())), f"{time.time() - start:.0f} s")
        return 1 if totals["differ"] else 0
    if options.prover:
        for name, text, files in cases(rng):
            work = os.path.join(folder, "base", name)
            shutil.rmtree(work, ignore_errors=True)
            os.makedirs(work)
            for f, data in files.items():
                open(os.path.join(work, f), "wb").write(data)
            claim, certificate = os.path.join(work, "claim.toml"), os.path.join(work, "cert.json")
            open(claim, "w").write(text)
            extra = ["--timeout", "1"] if rng.random() < 0.5 and "pca" not in text else ["--method", rng.choice(["interval", "crown", "alpha", "all"])]
            if "property" in name:
                extra = ["--timeout", "2"]
            subprocess.run([options.prover, "prove", claim, "-o", certificate] + extra, capture_output=True, text=True)
            if os.path.exists(certificate):
                totals["proven"] += 1
                bases.append((name, text, files, open(certificate, "rb").read()))
            else:
                # the claim is malformed, and the checkers agree about it
                empty = {"format": "scale-certificate/1", "generator": "", "claim": sha(text.encode()), "model": sha(files["m.onnx"]), "data": [], "answers": []}
                open(certificate, "w").write(json.dumps(empty))
            note(name, claim, certificate, None)
        work = os.path.join(folder, "base", "chain")
        shutil.rmtree(work, ignore_errors=True)
        os.makedirs(work)
        name, text, files = chain_case(rng, options.prover, work)
        claim, certificate = os.path.join(work, "claim.toml"), os.path.join(work, "cert.json")
        if os.path.exists(certificate):
            totals["proven"] += 1
            note(name, claim, certificate, None)
            bases += [(name, text, files, open(certificate, "rb").read())] * 3
    bases = [b for b in bases if options.only in b[0]]
    work = os.path.join(folder, "work")
    shutil.rmtree(work, ignore_errors=True)
    os.makedirs(work)
    for n in range(options.count):
        if time.time() - start > options.seconds:
            break
        name, text, files, certificate = rng.choice(bases)
        top = json.loads(certificate)
        files, claim_text = dict(files), text
        kind = rng.random()
        if kind < 0.6:
            names = ["input", "x", "h.pre", "h", "y", "h0", "h0.pre", "h0.pre#product", "h1.pre", "perturb[0]", "perturb[1]", "perturb[0].seen", "perturb[0].residual",
                     "y#change", "h0.pre#change", "h0#change", "input#change", "x#change", "x#perturbed", "h0.pre#weights", "h0.pre#product#weights", "replace:h0.pre"]
            for _ in range(rng.choice([1, 1, 1, 2, 3])):
                try:
                    mutate_json(rng, top, names)
                except (IndexError, KeyError, TypeError, ValueError):
                    pass
        elif kind < 0.9:
            for _ in range(rng.choice([1, 1, 2])):
                claim_text = mutate_text(rng, claim_text)
        else:
            f = rng.choice(list(files))
            if f.endswith(".json"):
                inner = json.loads(files[f])
                try:
                    mutate_json(rng, inner, ["x", "y", "h.pre", "y#change", "h.pre#change"])
                except (IndexError, KeyError, TypeError, ValueError):
                    pass
                files[f] = json.dumps(inner).encode()
            elif f.endswith(".onnx"):
                data = bytearray(files[f])
                for _ in range(rng.choice([1, 1, 2])):
                    data[rng.randrange(len(data))] = rng.randrange(256)
                files[f] = bytes(data)
            else:
                files[f] = mutate_text(rng, files[f].decode()).encode()
        if kind >= 0.6 and rng.random() < 0.95:
            model = "model.onnx" if "model.onnx" in files else "m.onnx"
            top["claim"], top["model"] = sha(claim_text.encode()), sha(files[model])
            top["data"] = [sha(files[f]) for f in ("in.csv", "n.onnx", "p.vnnlib") if f in files]
            if name == "chain":
                # the links' certificates speak about the links' claims and models as they are now
                top["data"] = [sha(files["o.onnx"])]
                for k, a, b in (("1", "m", "n"), ("2", "n", "o")):
                    inner = json.loads(files[f"l{k}.json"])
                    if rng.random() < 0.95:
                        inner["claim"], inner["model"] = sha(files[f"l{k}.toml"]), sha(files[f"{a}.onnx"])
                        inner["data"] = [sha(files[f"{b}.onnx"])]
                    files[f"l{k}.json"] = json.dumps(inner).encode()
                for link, k in zip(top.get("links", []), "12"):
                    link["claim"]["sha256"], link["certificate"]["sha256"] = sha(files[f"l{k}.toml"]), sha(files[f"l{k}.json"])
        for f, data in files.items():
            open(os.path.join(work, f), "wb").write(data)
        claim, path = os.path.join(work, "claim.toml"), os.path.join(work, "cert.json")
        open(claim, "w", newline="").write(claim_text)
        open(path, "w").write(json.dumps(top))
        totals["mutations"] += 1
        note(f"{n} {name}", claim, path, os.path.join(folder, f"differ-{options.seed}-{n}"))
    print(totals, dict(sorted(by_code.items())), f"{time.time() - start:.0f} s")
    return 1 if totals["differ"] else 0


if __name__ == "__main__":
    sys.exit(main())
