"""models.md: reads an ONNX file as a list of tensors, each the input, an affine function of earlier ones, or a ReLU."""

import struct
from fractions import Fraction
from itertools import product as cartesian
from math import isqrt, prod

from exact import Fault, Map, is_plain

FLOATS = {1, 10, 11}


# ---- protobuf ----

def fields(data):
    """The fields of a message as (number, wire type, value)."""
    at, end = 0, len(data)

    def varint():
        nonlocal at
        value = shift = 0
        while True:
            if at >= end or shift > 63:
                raise Fault("onnx-format", "a damaged varint")
            byte = data[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value & (2 ** 64 - 1)

    while at < end:
        key = varint()
        number, wire = key >> 3, key & 7
        if wire == 0:
            value = varint()
        else:
            size = {1: 8, 5: 4}.get(wire)
            if wire == 2:
                size = varint()
            if size is None:
                raise Fault("onnx-format", f"wire type {wire}")
            if at + size > end:
                raise Fault("onnx-format", "the file ends inside of a field")
            value = data[at:at + size]
            at += size
        yield number, wire, value


def signed(value):
    return value - 2 ** 64 if value >= 2 ** 63 else value


def message(data, spec, what):
    """Reads by a spec {number: (name, type, repeated)}; type None is skipped, "no" is not supported."""
    return typed(known_fields(data, spec, what), spec, what)


def known_fields(data, spec, what):
    """The fields of a message, all of which must be known."""
    found = []
    for number, wire, value in fields(data):
        if number not in spec or spec[number][1] == "no":
            raise Fault("onnx-unsupported", f"{what} has the field {number}")
        _, kind, repeated = spec[number]
        if kind is None:
            continue
        if not repeated and any(number == other for other, _, _ in found):
            raise Fault("onnx-format", f"{what}: field {number} occurs twice")
        found.append((number, wire, value))
    return found


def typed(found, spec, what):
    """What the fields hold, which must be of the types of the spec."""
    result = {name: [] for name, kind, repeated in spec.values() if repeated}
    for number, wire, value in found:
        name, kind, repeated = spec[number]
        if kind in ("int", "float", "double"):
            size = {"int": 0, "float": 5, "double": 1}[kind]
            code = {"float": "<f", "double": "<d"}.get(kind)
            if wire == 2 and repeated:
                if kind == "int":
                    raw = bytes(value)
                    values = []
                    for _, _, v in fields(b"".join(b"\x08" + piece for piece in varints(raw))):
                        values.append(signed(v))
                else:
                    step = 4 if kind == "float" else 8
                    if len(value) % step:
                        raise Fault("onnx-format", f"{what}: {name} of a wrong length")
                    values = [value[i:i + step] for i in range(0, len(value), step)]
            elif wire == size:
                values = [signed(value) if kind == "int" else value]
            else:
                raise Fault("onnx-format", f"{what}: {name} has wire type {wire}")
        else:
            if wire != 2:
                raise Fault("onnx-format", f"{what}: {name} has wire type {wire}")
            values = [bytes(value)]
            if kind == "string":
                try:
                    values = [plain(values[0].decode("utf-8"))]
                except UnicodeDecodeError:
                    raise Fault("onnx-format", f"{what}: {name} is not UTF-8")
        if repeated:
            result[name] += values
        else:
            result[name] = values[0]
    return result


def varints(raw):
    start = 0
    for i, byte in enumerate(raw):
        if byte < 128:
            yield raw[start:i + 1]
            start = i + 1
    if start != len(raw):
        raise Fault("onnx-format", "a damaged varint")


MODEL = {1: ("ir", None, False), 2: ("producer", None, False), 3: ("version", None, False), 4: ("domain", None, False),
         5: ("model version", None, False), 6: ("doc", None, False), 7: ("graph", "bytes", False),
         8: ("opsets", "bytes", True), 14: ("metadata", None, True), 20: ("training information", "no", True),
         25: ("local functions", "no", True)}
OPSET = {1: ("domain", "string", False), 2: ("version", "int", False)}
GRAPH = {1: ("nodes", "bytes", True), 2: ("name", None, False), 5: ("initializers", "bytes", True),
         10: ("doc", None, False), 11: ("inputs", "bytes", True), 12: ("outputs", "bytes", True),
         13: ("value_info", None, True), 14: ("quantisation annotations", "no", True),
         15: ("sparse tensors", "no", True), 16: ("metadata", None, True)}
NODE = {1: ("inputs", "string", True), 2: ("outputs", "string", True), 3: ("name", "string", False),
        4: ("op", "string", False), 5: ("attributes", "bytes", True), 6: ("doc", None, False),
        7: ("domain", "string", False), 8: ("overload", "no", False), 9: ("metadata", None, True)}
ATTRIBUTE = {1: ("name", "string", False), 2: ("f", "float", False), 3: ("i", "int", False), 4: ("s", "bytes", False),
             5: ("t", "bytes", False), 6: ("subgraph", "no", False), 7: ("floats", "float", True),
             8: ("ints", "int", True), 9: ("strings", "bytes", True), 10: ("tensors", "bytes", True),
             11: ("subgraphs", "no", True), 13: ("doc", None, False), 14: ("type proto", "no", False),
             15: ("type protos", "no", True), 20: ("type", "int", False), 21: ("ref", "no", False),
             22: ("sparse tensor", "no", False), 23: ("sparse tensors", "no", True)}
TENSOR = {1: ("dims", "int", True), 2: ("type", "int", False), 3: ("segment", "no", False),
          4: ("float_data", "float", True), 5: ("int32_data", "int", True), 6: ("string_data", "no", True),
          7: ("int64_data", "int", True), 8: ("name", "string", False), 9: ("raw", "bytes", False),
          10: ("double_data", "double", True), 11: ("uint64_data", "no", True), 12: ("doc", None, False),
          13: ("external data", "no", True), 14: ("location", "int", False), 16: ("metadata", None, True)}
VALUE = {1: ("name", "string", False), 2: ("type", "bytes", False), 3: ("doc", None, False), 4: ("metadata", None, True)}
TYPE = {1: ("tensor", "bytes", False), 4: ("sequence", "no", False), 5: ("map", "no", False),
        6: ("denotation", None, False), 8: ("sparse", "no", False), 9: ("optional", "no", False)}
TENSOR_TYPE = {1: ("elem", "int", False), 2: ("shape", "bytes", False)}
SHAPE = {1: ("dims", "bytes", True)}
DIM = {1: ("size", "int", False), 2: ("param", "string", False), 3: ("denotation", None, False)}


def plain(name):
    """A text without what cannot be printed."""
    if not is_plain(name):
        raise Fault("onnx-format", "a name with an invisible character")
    return name


def float_value(raw):
    """The exact rational that little-endian float bits encode."""
    code = {2: "<e", 4: "<f", 8: "<d"}[len(raw)]
    value = struct.unpack(code, raw)[0]
    if value != value or value in (float("inf"), float("-inf")):
        raise Fault("onnx-not-finite", "a NaN or an infinity among the constants")
    return Fraction(value)


class Const:
    """A stored constant; `name` is that under which it was first defined."""

    def __init__(self, name, shape, values, kind):
        self.name, self.shape, self.values, self.kind = name, tuple(shape), values, kind

    def moved(self, shape, places):
        return Const(self.name, shape, [self.values[p] for p in places], self.kind)


def read_tensor(data, name=None):
    """models.md, Constants."""
    t = message(data, TENSOR, "a tensor")
    if t.get("location", 0) != 0:
        raise Fault("onnx-unsupported", "external data")
    kind, dims = t.get("type", 0), t["dims"]
    if any(d < 0 for d in dims):
        raise Fault("onnx-shape", "a negative dimension")
    count = prod(dims)
    if not 1 <= count <= 2 ** 28 or len(dims) > 64:
        raise Fault("limit-size", "a constant is empty or too large")
    types = {1: (4, "float_data"), 11: (8, "double_data"), 10: (2, "int32_data"), 6: (4, "int32_data"),
             3: (1, "int32_data"), 2: (1, "int32_data"), 7: (8, "int64_data")}
    if kind not in types:
        raise Fault("onnx-unsupported", f"data type {kind}")
    size, field = types[kind]
    for other in ("float_data", "int32_data", "int64_data", "double_data"):
        if other != field and t[other]:
            raise Fault("onnx-format", f"{other} does not belong to the type")
    raw = t.get("raw")
    if raw is not None and t[field]:
        raise Fault("onnx-format", "data in two fields")
    if raw is not None:
        if len(raw) % size:
            raise Fault("onnx-format", "raw_data of a wrong length")
        if len(raw) != count * size:
            raise Fault("onnx-shape", "the number of values is not that of the shape")
        pieces = [raw[i:i + size] for i in range(0, len(raw), size)]
        if kind in FLOATS:
            values = [float_value(p) for p in pieces]
        else:
            values = [Fraction(int.from_bytes(p, "little", signed=kind != 2)) for p in pieces]
    else:
        values = t[field]
        low, high = {6: (-2 ** 31, 2 ** 31), 3: (-128, 128), 2: (0, 256), 10: (0, 2 ** 16)}.get(kind, (-2 ** 63, 2 ** 63))
        if kind not in (1, 11) and any(not low <= v < high for v in values):
            raise Fault("onnx-format", "an integer out of range")
        if len(values) != count:
            raise Fault("onnx-shape", "the number of values is not that of the shape")
        if kind in (1, 11):
            values = [float_value(v) for v in values]
        elif kind == 10:
            values = [float_value(v.to_bytes(2, "little")) for v in values]
        else:
            values = [Fraction(v) for v in values]
    return Const(name if name is not None else t.get("name", ""), dims, values, kind)


# ---- the graph ----

class Parameter:
    """One use of a stored constant that can be perturbed: variables (stored value, factor, positions)."""

    def __init__(self, name, term, variables):
        self.name, self.term, self.variables = name, term, variables


class Tensor:
    """A computed tensor: kind input, affine (terms and bias) or relu (of `pred`)."""

    def __init__(self, name, shape, kind, terms=(), bias=None, pred=None):
        self.name, self.shape, self.kind, self.pred = name, tuple(shape), kind, pred
        self.size = prod(shape)
        self.terms = list(terms)
        self.bias = bias if bias is not None and any(bias) else None
        self.parameters = []
        self.fixed = []

    def preds(self):
        return [p for p, _ in self.terms] if self.kind == "affine" else [self.pred] if self.kind == "relu" else []


class Value:
    """A computed operand: the position of its tensor and its shape."""

    def __init__(self, tensor, shape):
        self.tensor, self.shape = tensor, tuple(shape)


def printable(name):
    if not name:
        raise Fault("onnx-format", "an empty name")
    return plain(name)


def strides(shape):
    result, step = [], 1
    for d in reversed(shape):
        result.append(step)
        step *= d
    return result[::-1]


def broadcast_shape(a, b):
    rank = max(len(a), len(b))
    a, b = (1,) * (rank - len(a)) + tuple(a), (1,) * (rank - len(b)) + tuple(b)
    result = []
    for x, y in zip(a, b):
        if x != y and 1 not in (x, y):
            raise Fault("onnx-shape", f"shapes {a} and {b} do not broadcast")
        result.append(y if x == 1 else x)
    return sized(result)


def sized(shape):
    """A shape that is not too large to work with."""
    shape = tuple(shape)
    if prod(shape) > 2 ** 20 or len(shape) > 64:
        raise Fault("limit-size", "a tensor is too large")
    return shape


def broadcast_places(shape, target):
    if len(shape) > len(target):
        raise Fault("onnx-shape", "does not broadcast")
    shape = (1,) * (len(target) - len(shape)) + tuple(shape)
    for s, t in zip(shape, target):
        if s not in (1, t):
            raise Fault("onnx-shape", "does not broadcast")
    steps = [0 if s == 1 else step for s, step in zip(shape, strides(shape))]
    return places_of([range(t) for t in target], steps)


def places_of(ranges, steps, base=0):
    """The flat places of a row-major walk."""
    places = [base]
    for r, step in zip(ranges, steps):
        offsets = [i * step for i in r]
        places = [p + o for p in places for o in offsets]
    return places


class Model:
    """models.md."""

    def __init__(self, data):
        self.tensors, self.env = [], {}
        model = message(data, MODEL, "the model")
        sets = [message(raw, OPSET, "an operator set") for raw in model["opsets"]]
        sets = [entry.get("version", 0) for entry in sets if entry.get("domain", "") in ("", "ai.onnx")]
        graph = message(model["graph"], GRAPH, "the graph") if "graph" in model else None
        if graph is None or len(sets) != 1:
            raise Fault("onnx-format", "a graph and one default operator set are needed")
        self.opset = sets[0]
        if not 7 <= self.opset <= 25:
            raise Fault("onnx-unsupported", f"operator set {self.opset}")
        constants = []
        for raw in graph["initializers"]:
            constants.append(read_tensor(raw))
        names = {const.name for const in constants}
        inputs = [message(raw, VALUE, "an input") for raw in graph["inputs"]]
        inputs = [info for info in inputs if info.get("name", "") not in names]
        if len(inputs) != 1:
            raise Fault("onnx-unsupported", f"{len(inputs)} inputs")
        if "" in names:
            raise Fault("onnx-format", "an initializer without a name")
        self.read_input(inputs[0])
        for const in constants:
            self.define(const.name, const)
        for found in [known_fields(raw, NODE, "a node") for raw in graph["nodes"]]:
            self.node(typed(found, NODE, "a node"))
        self.outputs = []
        for raw in graph["outputs"]:
            name = message(raw, VALUE, "an output").get("name", "")
            value = self.env.get(name)
            if value is None:
                raise Fault("onnx-format", f"the output {name} is not defined")
            if not isinstance(value, Value) or 0 not in self.ancestors(value.tensor):
                raise Fault("onnx-unsupported", f"the output {name} does not depend on the input")
            self.outputs.append(name)
        if not self.outputs:
            raise Fault("onnx-format", "no output")
        self.names = {t.name: i for i, t in enumerate(self.tensors)}

    def read_input(self, info):
        name = printable(info.get("name", ""))
        kind = message(info["type"], TYPE, "a type").get("tensor") if "type" in info else None
        if kind is None:
            raise Fault("onnx-shape", "the input has no type")
        tensor = message(kind, TENSOR_TYPE, "a type")
        if tensor.get("elem", 1) not in FLOATS:
            raise Fault("onnx-unsupported", "an input that is not of a float type")
        if "shape" not in tensor:
            raise Fault("onnx-shape", "the input has no shape")
        shape = []
        for i, raw in enumerate(message(tensor["shape"], SHAPE, "a shape")["dims"]):
            dim = message(raw, DIM, "a dimension")
            if "size" in dim and "param" in dim:
                raise Fault("onnx-shape", "a dimension with a size and a name")
            if "size" in dim:
                if dim["size"] <= 0:
                    raise Fault("onnx-shape", "a dimension that is not positive")
                shape.append(dim["size"])
            elif i == 0:
                shape.append(1)
            else:
                raise Fault("onnx-shape", "an open dimension")
        shape = sized(shape)
        self.input = name
        self.add(Tensor(name, shape, "input"))

    def ancestors(self, tensor):
        seen, stack = set(), [tensor]
        while stack:
            i = stack.pop()
            if i not in seen:
                seen.add(i)
                stack += self.tensors[i].preds()
        return seen

    def define(self, name, value):
        printable(name)
        if name in self.env:
            raise Fault("onnx-format", f"{name} is defined twice")
        self.env[name] = value

    def add(self, tensor):
        if tensor.size > 2 ** 20:
            raise Fault("limit-size", f"{tensor.name} is too large")
        if tensor.size < 1:
            raise Fault("limit-size", f"{tensor.name} is empty")
        value = Value(len(self.tensors), tensor.shape)
        self.define(tensor.name, value)
        self.tensors.append(tensor)
        return value

    def affine(self, name, shape, terms, bias=None):
        """Terms (Value, Map); one of every operand, also if two are the same tensor."""
        return self.add(Tensor(name, shape, "affine", [(value.tensor, m) for value, m in terms], bias))

    def relu(self, name, value):
        return self.add(Tensor(name, value.shape, "relu", pred=value.tensor))

    def note(self, value, parameter=None, fixed=None):
        if parameter:
            self.tensors[value.tensor].parameters.append(parameter)
        if fixed:
            self.tensors[value.tensor].fixed.append(fixed)

    def move(self, name, operand, shape, places):
        """An operator that only moves elements."""
        if isinstance(operand, Const):
            self.define(name, operand.moved(shape, places))
        else:
            self.affine(name, shape, [(operand, Map.select(places, prod(operand.shape)))])

    # ---- nodes ----

    def node(self, raw):
        op = raw.get("op", "")
        if raw.get("domain", "") not in ("", "ai.onnx"):
            raise Fault("onnx-unsupported", f"an operator of the domain {raw['domain']}")
        outputs = list(raw["outputs"])
        if op == "Dropout":
            fits = 1 <= len(outputs) <= 2 and outputs[0]
        else:
            fits = all(outputs) and (len(outputs) == 1 or op == "Split" and outputs)
        if not fits:
            raise Fault("onnx-unsupported", f"{op} with {len(outputs)} outputs")
        operands = []
        for name in raw["inputs"]:
            if name == "":
                operands.append(None)
            elif name not in self.env:
                raise Fault("onnx-format", f"{name} is not defined")
            else:
                operands.append(self.env[name])
        while operands and operands[-1] is None:
            operands.pop()
        self.attributes, twice = {}, False
        for data in raw["attributes"]:
            a = message(data, ATTRIBUTE, "an attribute")
            name = a.get("name", "")
            kinds = {1: "f", 2: "i", 3: "s", 4: "t", 6: "floats", 7: "ints", 8: "strings", 9: "tensors"}
            present = [k for k in kinds.values() if (a[k] if k.endswith("s") and k != "s" else k in a)]
            if "type" in a:
                fits = all(kinds.get(a["type"]) == k for k in present)
            else:
                fits = len(present) <= 1
            if not fits:
                raise Fault("onnx-format", f"the attribute {name} has a value that is not of its type")
            twice = twice or name in self.attributes
            kind = kinds.get(a.get("type", 0)) or (present[0] if present else None)
            self.attributes.setdefault(name, (kind, a.get(kind) if kind else None))
        method = getattr(self, "op_" + op, None)
        if method is None:
            raise Fault("onnx-unsupported", f"the operator {op}")
        self.op, self.out, self.outs = op, outputs[0], outputs
        method(operands)
        if twice:
            raise Fault("onnx-unsupported", "an attribute is given twice")
        if self.attributes:
            raise Fault("onnx-unsupported", f"{op} with the attribute {sorted(self.attributes)[0]}")

    def attribute(self, name, kind, default=None):
        if name not in self.attributes:
            return default
        found, value = self.attributes.pop(name)
        if found != kind or value is None:
            raise Fault("onnx-format", f"the attribute {name} has no value of the kind {kind}")
        if kind == "f":
            return float_value(value)
        return [float_value(v) for v in value] if kind == "floats" else value

    def arity(self, operands, low, high=None):
        high = low if high is None else high
        if not low <= len(operands) <= high or any(o is None for o in operands[:low]):
            raise Fault("onnx-format", f"{self.op} with {len(operands)} operands")

    def computed(self, operand):
        if not isinstance(operand, Value):
            raise Fault("onnx-unsupported", f"{self.op} of constants alone")
        return operand

    def constant(self, operand):
        if not isinstance(operand, Const):
            raise Fault("onnx-unsupported", f"{self.op} with a computed operand")
        return operand

    def integers(self, operand):
        const = self.constant(operand)
        if const.kind not in (6, 7) or len(const.shape) > 1:
            raise Fault("onnx-format", f"{self.op}: not a list of integers")
        return [int(v) for v in const.values]

    def axis(self, axis, rank, old=False):
        if old and axis < 0 and self.opset < 11:
            raise Fault("onnx-unsupported", "a negative axis before operator set 11")
        if not -rank <= axis < rank:
            raise Fault("onnx-shape", f"axis {axis}")
        return axis % rank

    def added(self, operands, signs):
        """Add, Sub, Sum."""
        values = [(o, s) for o, s in zip(operands, signs) if isinstance(o, Value)]
        consts = [(o, s) for o, s in zip(operands, signs) if isinstance(o, Const)]
        if not values or len(consts) > 1:
            raise Fault("onnx-unsupported", f"{self.op} of constants alone")
        shape = operands[0].shape
        for o in operands[1:]:
            shape = broadcast_shape(shape, o.shape)
        terms = [(o, Map.select(broadcast_places(o.shape, shape), prod(o.shape)).scaled(s)) for o, s in values]
        bias = None
        if consts:
            const, sign = consts[0]
            bias = [sign * v for v in const.moved(shape, broadcast_places(const.shape, shape)).values]
        result = self.affine(self.out, shape, terms, bias)
        if consts:
            self.note_bias(result, const, bias, sign)

    def note_bias(self, result, const, effective, factor):
        """An added constant is a parameter if it has as many elements as the result."""
        size = prod(result.shape)
        if len(const.values) == size:
            stored = [v / factor for v in effective] if factor else const.values
            self.note(result, Parameter(const.name, None, [(w, factor, [i]) for i, w in enumerate(stored)]))
        else:
            self.note(result, fixed=const.name)

    def op_Add(self, o):
        self.arity(o, 2)
        self.added(o, [1, 1])

    def op_Sub(self, o):
        self.arity(o, 2)
        self.added(o, [1, -1])

    def op_Sum(self, o):
        self.arity(o, len(o) or 1)
        if any(x is None for x in o):
            raise Fault("onnx-format", "a missing operand")
        self.added(o, [1] * len(o))

    def op_Neg(self, o):
        self.arity(o, 1)
        x = self.computed(o[0])
        self.affine(self.out, x.shape, [(x, Map.identity(prod(x.shape)).scaled(-1))])

    def factor(self, x, const, values):
        shape = broadcast_shape(x.shape, const.shape)
        sources, factors = broadcast_places(x.shape, shape), broadcast_places(const.shape, shape)
        m = Map.of([[(p, values[q])] for p, q in zip(sources, factors)], prod(x.shape))
        self.note(self.affine(self.out, shape, [(x, m)]), fixed=const.name)

    def op_Mul(self, o):
        self.arity(o, 2)
        x, const = (o[0], o[1]) if isinstance(o[0], Value) else (o[1], o[0])
        if isinstance(const, Value):
            raise Fault("onnx-unsupported", "a product of computed tensors")
        self.factor(self.computed(x), const, const.values)

    def op_Div(self, o):
        self.arity(o, 2)
        const = self.constant(o[1])
        x = self.computed(o[0])
        if any(not v for v in const.values):
            raise Fault("onnx-not-finite", "division by zero")
        self.factor(x, const, [1 / v for v in const.values])

    def op_MatMul(self, o):
        self.arity(o, 2)
        a, b = o
        if isinstance(a, Value) and isinstance(b, Value):
            raise Fault("onnx-unsupported", "a product of computed tensors")
        x, const, left = (a, b, False) if isinstance(a, Value) else (b, a, True)
        self.computed(x)
        self.matrix_product(self.out, x, const, left)

    def matrix_product(self, name, x, const, left):
        """x · M, or M · x if left. Records the parameter."""
        if len(const.shape) < 2 or any(d != 1 for d in const.shape[:-2]) or len(x.shape) < 1:
            raise Fault("onnx-unsupported", "a matrix of another rank")
        if len(const.shape) > max(2, len(x.shape)):
            raise Fault("onnx-unsupported", "a matrix that adds an axis")
        rows, columns = const.shape[-2:]
        flat = len(x.shape) == 1
        xshape = ((x.shape[0], 1) if left else (1, x.shape[0])) if flat else x.shape
        lead = xshape[:-2]
        n, m = xshape[-2:]
        if (columns != n) if left else (m != rows):
            raise Fault("onnx-shape", "the matrices do not fit")
        out_shape = lead + ((rows, m) if left else (n, columns))
        result_rows, variables = [], {}
        values = const.values
        for lead_at in range(prod(lead)):
            base = lead_at * n * m
            for i in range(out_shape[-2]):
                for j in range(out_shape[-1]):
                    at = len(result_rows)
                    row = []
                    for k in range(columns if left else rows):
                        w = values[i * columns + k] if left else values[k * columns + j]
                        source = base + (k * m + j if left else i * m + k)
                        row.append((source, w))
                        variables.setdefault((i if left else j, k), (w, 1, []))[2].append((at, source))
                    result_rows.append(row)
        shape = out_shape
        if flat:
            shape = out_shape[:-1] if left else out_shape[:-2] + out_shape[-1:]
        result = self.affine(name, shape, [(x, Map.of(result_rows, prod(x.shape)))])
        order = [variables[key] for key in sorted(variables)]
        self.note(result, Parameter(const.name, x.tensor, order))
        return result

    def op_Gemm(self, o):
        self.arity(o, 2, 3)
        alpha, beta = self.attribute("alpha", "f", Fraction(1)), self.attribute("beta", "f", Fraction(1))
        operands = []
        for name, operand in zip("AB", o):
            flag = self.attribute("trans" + name, "i", 0)
            if len(operand.shape) != 2:
                raise Fault("onnx-shape", "Gemm of another rank")
            if flag not in (0, 1):
                raise Fault("onnx-format", "Gemm with trans")
            if flag:
                h, w = operand.shape
                places = [i * w + j for j in range(w) for i in range(h)]
                if isinstance(operand, Const):
                    operand = operand.moved((w, h), places)
                else:
                    step = self.out + "#trans" + name
                    self.move(step, operand, (w, h), places)
                    operand = self.env[step]
            operands.append(operand)
        a, b = operands
        if isinstance(a, Const) and isinstance(b, Const):
            raise Fault("onnx-unsupported", "Gemm of constants alone")
        if isinstance(a, Value) and isinstance(b, Value):
            raise Fault("onnx-unsupported", "a product of computed tensors")
        result = self.matrix_product(self.out + "#product", *((a, b, False) if isinstance(a, Value) else (b, a, True)))
        size = prod(result.shape)
        terms, bias, c = [(result, Map.identity(size).scaled(alpha))], None, o[2] if len(o) > 2 else None
        if c is not None:
            places = broadcast_places(c.shape, result.shape)
            if isinstance(c, Const):
                bias = [beta * v for v in c.moved(result.shape, places).values]
            else:
                terms.append((c, Map.select(places, prod(c.shape)).scaled(beta)))
        y = self.affine(self.out, result.shape, terms, bias)
        if isinstance(c, Const):
            self.note_bias(y, c.moved(result.shape, places) if len(c.values) == size else c, bias, beta)

    def op_Relu(self, o):
        self.arity(o, 1)
        self.relu(self.out, self.computed(o[0]))

    def op_LeakyRelu(self, o):
        self.arity(o, 1)
        alpha = self.attribute("alpha", "f", float_value(struct.pack("<f", 0.01)))
        self.bent(self.computed(o[0]), alpha, 1 - alpha)

    def op_Abs(self, o):
        self.arity(o, 1)
        self.bent(self.computed(o[0]), Fraction(-1), Fraction(2))

    def bent(self, x, slope, more):
        eye = Map.identity(prod(x.shape))
        r = self.relu(self.out + "#relu", x)
        self.affine(self.out, x.shape, [(x, eye.scaled(slope)), (r, eye.scaled(more))])

    def op_Clip(self, o):
        if self.opset < 11:
            self.arity(o, 1)
            bounds = [self.attribute("min", "f"), self.attribute("max", "f")]
            names = [None, None]
        else:
            self.arity(o, 1, 3)
            bounds, names = [], []
            for operand in (o + [None, None])[1:3]:
                if operand is None:
                    bounds.append(None)
                    names.append(None)
                    continue
                const = self.constant(operand)
                if len(const.values) != 1:
                    raise Fault("onnx-shape", "a bound of several numbers")
                bounds.append(const.values[0])
                names.append(const.name)
        x = self.computed(o[0])
        low, high = bounds
        if low is not None and high is not None and low > high:
            raise Fault("onnx-unsupported", "min above max")
        size, shape, eye = prod(x.shape), x.shape, Map.identity(prod(x.shape))
        if low is None and high is None:
            return self.affine(self.out, shape, [(x, eye)])
        terms, bias = [], Fraction(0)
        if low is not None:
            shifted = self.affine(self.out + "#low", shape, [(x, eye)], [-low] * size)
            terms.append((self.relu(self.out + "#low.relu", shifted), eye))
            bias = low
        if high is not None:
            shifted = self.affine(self.out + "#high", shape, [(x, eye)], [-high] * size)
            terms.append((self.relu(self.out + "#high.relu", shifted), eye.scaled(-1)))
            if low is None:
                terms.append((x, eye))
        y = self.affine(self.out, shape, terms, [bias] * size)
        for name in names:
            if name is not None:
                self.note(y, fixed=name)

    def pair(self, name, a, b, largest, shape):
        """Max or Min of a and b, one of them computed; returns the result."""
        terms, bias = [], None
        if isinstance(a, Const):
            a, b = b, a
        size = prod(shape)
        pa = Map.select(broadcast_places(a.shape, shape), prod(a.shape))
        const = isinstance(b, Const)
        pb = broadcast_places(b.shape, shape)
        if const:
            values = b.moved(shape, pb).values
            difference = self.affine(name + "#difference", shape, [(a, pa)], [-v for v in values])
        else:
            mb = Map.select(pb, prod(b.shape))
            difference = self.affine(name + "#difference", shape, [(a, pa), (b, mb.scaled(-1))])
        r = self.relu(name + "#relu", difference)
        eye = Map.identity(size)
        if largest:
            y = self.affine(name, shape, [(r, eye)] + ([] if const else [(b, mb)]), values if const else None)
        else:
            y = self.affine(name, shape, [(a, pa), (r, eye.scaled(-1))])
        if const:
            self.note(y, fixed=b.name)
        return y

    def largest(self, name, operands, largest):
        values = [o for o in operands if isinstance(o, Value)]
        consts = [o for o in operands if isinstance(o, Const)]
        if not values:
            raise Fault("onnx-unsupported", f"{self.op} of constants alone")
        shape = operands[0].shape
        for o in operands[1:]:
            shape = broadcast_shape(shape, o.shape)
        if len(operands) == 1:
            return self.affine(name, shape, [(values[0], Map.identity(prod(shape)))])
        if len(operands) == 2:
            return self.pair(name, operands[0], operands[1], largest, shape)

        def joined(base, final, items):
            count = 0
            while len(items) > 1:
                following = []
                for k in range(0, len(items) - 1, 2):
                    last = len(items) == 2
                    step = final if last else f"{base}#pair{count}"
                    count += 1
                    a, b = items[k:k + 2]
                    following.append(self.pair(step, a, b, largest, broadcast_shape(a.shape, b.shape)))
                if len(items) % 2:
                    following.append(items[-1])
                items = following
            return items[0]

        if not consts:
            return joined(name, name, values)
        current = values[0] if len(values) == 1 else joined(name + "#computed", name + "#computed", values)
        for k, const in enumerate(consts):
            step = name if k == len(consts) - 1 else f"{name}#constant{k}"
            current = self.pair(step, current, const, largest, broadcast_shape(current.shape, const.shape))
        return current

    def op_Max(self, o):
        self.arity(o, max(1, len(o)))
        self.largest(self.out, o, True)

    def op_Min(self, o):
        self.arity(o, max(1, len(o)))
        self.largest(self.out, o, False)

    # ---- windows ----

    def windows(self, spatial, kernel, dilations):
        """models.md, attributes of windows: for each axis the number of windows, and start = window·stride − pad."""
        axes = len(spatial)
        steps = self.attribute("strides", "ints", [1] * axes)
        auto = self.attribute("auto_pad", "s", b"NOTSET")
        given = self.attribute("pads", "ints")
        pads = given if given is not None else [0] * (2 * axes)
        ceil = self.attribute("ceil_mode", "i", 0) if "Pool" in self.op else 0
        if len(steps) != axes or len(pads) != 2 * axes or len(dilations) != axes or len(kernel) != axes:
            raise Fault("onnx-shape", "windows of other axes")
        if any(v < 1 for v in steps + dilations + kernel) or any(v < 0 for v in pads) or ceil not in (0, 1):
            raise Fault("onnx-shape", "windows")
        if auto not in (b"NOTSET", b"VALID", b"SAME_UPPER", b"SAME_LOWER"):
            raise Fault("onnx-unsupported", "auto_pad")
        if auto != b"NOTSET" and given is not None:
            raise Fault("onnx-unsupported", "auto_pad with pads")
        result = []
        for a in range(axes):
            extent = (kernel[a] - 1) * dilations[a] + 1
            begin, end = pads[a], pads[a + axes]
            if auto in (b"SAME_UPPER", b"SAME_LOWER"):
                count = -(-spatial[a] // steps[a])
                total = (count - 1) * steps[a] + extent - spatial[a]
                if total < -1:
                    raise Fault("onnx-unsupported", "SAME windows that do not reach elements")
                total = max(total, 0)
                begin = total // 2 if auto == b"SAME_UPPER" else total - total // 2
                end = total - begin
            room = spatial[a] + begin + end - extent
            if room < 0:
                raise Fault("onnx-shape", "a window larger than the tensor")
            count = room // steps[a] + 1
            if ceil and room % steps[a]:
                raise Fault("onnx-unsupported", "ceil_mode")
            result.append((count, steps[a], begin))
        return result

    def taps(self, shape, kernel, dilations, layout):
        """For every window, for every tap, the place in one channel or None."""
        spatial = shape[2:]
        step = strides(spatial)
        result = []
        for window in cartesian(*[range(c) for c, _, _ in layout]):
            taps = []
            for tap in cartesian(*[range(k) for k in kernel]):
                place, inside = 0, True
                for a in range(len(spatial)):
                    at = window[a] * layout[a][1] - layout[a][2] + tap[a] * dilations[a]
                    inside = inside and 0 <= at < spatial[a]
                    place += at * step[a]
                taps.append(place if inside else None)
            result.append(taps)
        return result

    def op_Conv(self, o):
        self.arity(o, 2, 3)
        x, kernel = self.computed(o[0]), self.constant(o[1])
        bias = self.constant(o[2]) if len(o) > 2 else None
        if len(x.shape) not in (3, 4) or len(kernel.shape) != len(x.shape):
            raise Fault("onnx-unsupported", "a convolution of other axes")
        size = list(kernel.shape[2:])
        if self.attribute("kernel_shape", "ints", size) != size:
            raise Fault("onnx-shape", "kernel_shape")
        group = self.attribute("group", "i", 1)
        dilations = self.attribute("dilations", "ints", [1] * len(size))
        layout = self.windows(x.shape[2:], size, dilations)
        batch, channels = x.shape[:2]
        outs, per = kernel.shape[:2]
        if group < 1 or channels != per * group or outs % group:
            raise Fault("onnx-shape", "channels and groups")
        taps = self.taps(x.shape, size, dilations, layout)
        plane, volume = prod(x.shape[2:]), prod(size)
        rows, variables = [], [(w, 1, []) for w in kernel.values]
        for n in range(batch):
            for c in range(outs):
                first = (c // (outs // group)) * per
                for window in taps:
                    row = []
                    for k in range(per):
                        base = (n * channels + first + k) * plane
                        for t, place in enumerate(window):
                            if place is not None:
                                index = (c * per + k) * volume + t
                                row.append((base + place, kernel.values[index]))
                                variables[index][2].append((len(rows), base + place))
                    rows.append(row)
        shape = (batch, outs) + tuple(c for c, _, _ in layout)
        values = None
        if bias is not None:
            if bias.shape != (outs,):
                raise Fault("onnx-shape", "a bias of another shape")
            values = [bias.values[c] for _ in range(batch) for c in range(outs) for _ in taps]
        y = self.affine(self.out, shape, [(x, Map.of(rows, prod(x.shape)))], values)
        self.note(y, Parameter(kernel.name, x.tensor, variables))
        if bias is not None:
            self.note_bias(y, bias, values, 1)

    def pool(self, x):
        if len(x.shape) not in (3, 4):
            raise Fault("onnx-unsupported", "a pool of other axes")
        kernel = self.attribute("kernel_shape", "ints")
        if kernel is None or len(kernel) != len(x.shape) - 2:
            raise Fault("onnx-shape", "kernel_shape")
        dilations = self.attribute("dilations", "ints", [1] * len(kernel))
        layout = self.windows(x.shape[2:], kernel, dilations)
        taps = self.taps(x.shape, kernel, dilations, layout)
        if any(all(p is None for p in window) for window in taps):
            raise Fault("onnx-unsupported", "a window that lies in pads")
        return taps, x.shape[:2] + tuple(c for c, _, _ in layout), prod(x.shape[2:]), prod(kernel)

    def op_AveragePool(self, o):
        self.arity(o, 1)
        x = self.computed(o[0])
        include = self.attribute("count_include_pad", "i", 0)
        taps, shape, plane, volume = self.pool(x)
        rows, divisors = [], []
        for c in range(x.shape[0] * x.shape[1]):
            for window in taps:
                inside = [p for p in window if p is not None]
                rows.append([(c * plane + p, Fraction(1)) for p in inside])
                divisors.append(Fraction(1, volume if include else len(inside)))
        self.mean(x, shape, rows, divisors)

    def mean(self, x, shape, rows, divisors):
        total = self.affine(self.out + "#sum", shape, [(x, Map.of(rows, prod(x.shape)))])
        self.affine(self.out, shape, [(total, Map.of([[(i, d)] for i, d in enumerate(divisors)], len(divisors)))])

    def op_GlobalAveragePool(self, o):
        self.arity(o, 1)
        x = self.computed(o[0])
        if len(x.shape) < 3:
            raise Fault("onnx-unsupported", "a pool of other axes")
        plane, count = prod(x.shape[2:]), x.shape[0] * x.shape[1]
        rows = [[(c * plane + p, Fraction(1)) for p in range(plane)] for c in range(count)]
        self.mean(x, x.shape[:2] + (1,) * (len(x.shape) - 2), rows, [Fraction(1, plane)] * count)

    def op_MaxPool(self, o):
        self.arity(o, 1)
        x = self.computed(o[0])
        self.attribute("storage_order", "i", 0)
        taps, shape, plane, volume = self.pool(x)
        parts = []
        for t in range(volume):
            places = []
            for c in range(x.shape[0] * x.shape[1]):
                for window in taps:
                    own = window[t]
                    if own is None:
                        own = next(p for p in window if p is not None)
                    places.append(c * plane + own)
            parts.append(self.affine(f"{self.out}#window{t}", shape, [(x, Map.select(places, prod(x.shape)))]))
        self.largest(self.out, parts, True)

    def reduce(self, o, mean, since):
        self.arity(o, 1, 2 if self.opset >= since else 1)
        x = self.computed(o[0])
        rank = len(x.shape)
        keep = self.attribute("keepdims", "i", 1)
        if self.opset >= since:
            axes = self.integers(o[1]) if len(o) > 1 else None
            noop = self.attribute("noop_with_empty_axes", "i", 0)
        else:
            axes, noop = self.attribute("axes", "ints"), 0
        if not axes:
            if noop:
                return self.affine(self.out, x.shape, [(x, Map.identity(prod(x.shape)))])
            axes = list(range(rank))
        axes = [self.axis(a, rank) for a in axes]
        if len(set(axes)) != len(axes):
            raise Fault("onnx-shape", "an axis twice")
        others = [a for a in range(rank) if a not in axes]
        axes.sort()
        neighbours = all(b == a + 1 for a, b in zip(axes, axes[1:]))
        step = strides(x.shape)
        shape = tuple((1 if a in axes else d) for a, d in enumerate(x.shape) if keep or a not in axes)
        if not neighbours:
            perm = others + axes
            places = places_of([range(x.shape[a]) for a in perm], [step[a] for a in perm])
            x = self.affine(self.out + "#moved", tuple(x.shape[a] for a in perm),
                            [(x, Map.select(places, prod(x.shape)))])
            step = strides(x.shape)
            others, axes = list(range(len(others))), list(range(len(others), rank))
        bases = places_of([range(x.shape[a]) for a in others], [step[a] for a in others])
        offsets = places_of([range(x.shape[a]) for a in axes], [step[a] for a in axes])
        rows = [[(b + p, Fraction(1)) for p in offsets] for b in bases]
        if mean:
            self.mean(x, shape, rows, [Fraction(1, len(offsets))] * len(bases))
        else:
            self.affine(self.out, shape, [(x, Map.of(rows, prod(x.shape)))])

    def op_ReduceSum(self, o):
        self.reduce(o, False, 13)

    def op_ReduceMean(self, o):
        self.reduce(o, True, 18)

    def op_BatchNormalization(self, o):
        self.arity(o, 5)
        x = self.computed(o[0])
        scale, shift, mean, var = [self.constant(c) for c in o[1:]]
        epsilon = self.attribute("epsilon", "f", float_value(struct.pack("<f", 1e-5)))
        self.attribute("momentum", "f")
        if self.attribute("spatial", "i", 1) != 1 or self.attribute("training_mode", "i", 0) != 0:
            raise Fault("onnx-unsupported", "a normalisation in training")
        if len(x.shape) < 2 or any(c.shape != (x.shape[1],) for c in (scale, shift, mean, var)):
            raise Fault("onnx-shape", "channels")
        factors = []
        for s, v in zip(scale.values, var.values):
            total = v + epsilon
            if total <= 0:
                raise Fault("onnx-not-finite", "var + epsilon is not positive")
            factors.append(over_root(s, total))
        channels, plane = x.shape[1], prod(x.shape[2:])
        at = [(i // plane) % channels for i in range(prod(x.shape))]
        m = Map.of([[(i, factors[c])] for i, c in enumerate(at)], len(at))
        y = self.affine(self.out, x.shape, [(x, m)],
                        [shift.values[c] - factors[c] * mean.values[c] for c in at])
        for const in (scale, shift, mean, var):
            self.note(y, fixed=const.name)

    # ---- moves ----

    def op_Identity(self, o):
        self.arity(o, 1)
        self.move(self.out, o[0], o[0].shape, range(prod(o[0].shape)))

    def op_Cast(self, o):
        self.arity(o, 1)
        if self.attribute("to", "i", 0) not in FLOATS:
            raise Fault("onnx-unsupported", "a cast to another type")
        self.attribute("saturate", "i")
        if isinstance(o[0], Const):
            o[0] = Const(o[0].name, o[0].shape, o[0].values, 1)
        self.move(self.out, o[0], o[0].shape, range(prod(o[0].shape)))

    def op_DequantizeLinear(self, o):
        self.arity(o, 2, 3)
        x, scale = self.constant(o[0]), self.constant(o[1])
        zero = self.constant(o[2]) if len(o) > 2 else None
        axis = self.attribute("axis", "i", 1)
        if scale.kind not in FLOATS or x.kind not in (2, 3, 6) or (zero and (zero.kind != x.kind or zero.shape != scale.shape)):
            raise Fault("onnx-format", "operands of other types")
        if len(scale.values) == 1 and len(scale.shape) <= 1:
            at = [0] * len(x.values)
        else:
            axis = self.axis(axis, len(x.shape))
            if scale.shape != (x.shape[axis],):
                raise Fault("onnx-shape", "scales along an axis")
            step = strides(x.shape)[axis]
            at = [(i // step) % x.shape[axis] for i in range(len(x.values))]
        values = [(v - (zero.values[k] if zero else 0)) * scale.values[k] for v, k in zip(x.values, at)]
        self.define(self.out, Const(self.out, x.shape, values, 1))

    def op_Dropout(self, o):
        self.arity(o, 1, 2)
        self.attribute("ratio", "f")
        self.attribute("seed", "i")
        self.op_Identity(o[:1])

    def reshaped(self, operand, shape):
        if prod(shape) != prod(operand.shape):
            raise Fault("onnx-shape", f"{self.op} to another number of elements")
        self.move(self.out, operand, shape, range(prod(operand.shape)))

    def op_Flatten(self, o):
        self.arity(o, 1)
        axis, rank = self.attribute("axis", "i", 1), len(o[0].shape)
        if axis < 0 and self.opset < 11 or not -rank <= axis <= rank:
            raise Fault("onnx-shape", "axis")
        axis = axis + rank if axis < 0 else axis
        self.reshaped(o[0], (prod(o[0].shape[:axis]), prod(o[0].shape[axis:])))

    def op_Reshape(self, o):
        self.arity(o, 2)
        allow, shape, size = self.attribute("allowzero", "i", 0), self.integers(o[1]), prod(o[0].shape)
        result = []
        for i, d in enumerate(shape):
            if d == 0 and not allow:
                if i >= len(o[0].shape):
                    raise Fault("onnx-shape", "no dimension to copy")
                d = o[0].shape[i]
            result.append(d)
        if result.count(-1) > 1 or any(d < -1 for d in result):
            raise Fault("onnx-shape", "dimensions")
        if -1 in result:
            rest = prod(d for d in result if d != -1)
            if rest == 0 or size % rest:
                raise Fault("onnx-shape", "dimensions")
            result[result.index(-1)] = size // rest
        self.reshaped(o[0], tuple(result))

    def axes_operand(self, o, needed):
        if self.opset < 13:
            self.arity(o, 1)
            axes = self.attribute("axes", "ints")
        else:
            self.arity(o, 1, 2)
            axes = self.integers(o[1]) if len(o) > 1 else None
        if axes is None and needed:
            raise Fault("onnx-format", "no axes")
        return axes

    def op_Squeeze(self, o):
        axes = self.axes_operand(o, False)
        shape = o[0].shape
        if axes is None:
            axes = [i for i, d in enumerate(shape) if d == 1]
        axes = [self.axis(a, len(shape), True) for a in axes]
        if any(shape[a] != 1 for a in axes) or len(set(axes)) != len(axes):
            raise Fault("onnx-shape", "axes")
        self.reshaped(o[0], tuple(d for i, d in enumerate(shape) if i not in axes))

    def op_Unsqueeze(self, o):
        axes = self.axes_operand(o, True)
        rank = len(o[0].shape) + len(axes)
        axes = [self.axis(a, rank, True) for a in axes]
        if len(set(axes)) != len(axes):
            raise Fault("onnx-shape", "axes")
        rest = iter(o[0].shape)
        self.reshaped(o[0], tuple(1 if i in axes else next(rest) for i in range(rank)))

    def op_Transpose(self, o):
        self.arity(o, 1)
        rank = len(o[0].shape)
        perm = self.attribute("perm", "ints", list(range(rank))[::-1])
        if sorted(perm) != list(range(rank)):
            raise Fault("onnx-shape", "perm")
        step = strides(o[0].shape)
        shape = tuple(o[0].shape[a] for a in perm)
        self.move(self.out, o[0], shape, places_of([range(d) for d in shape], [step[a] for a in perm]))

    def op_Concat(self, o):
        self.arity(o, max(1, len(o)))
        axis = self.attribute("axis", "i")
        if axis is None:
            raise Fault("onnx-format", "no axis")
        axis = self.axis(axis, len(o[0].shape))
        for x in o:
            if len(x.shape) != len(o[0].shape) or x.shape[:axis] != o[0].shape[:axis] or x.shape[axis + 1:] != o[0].shape[axis + 1:]:
                raise Fault("onnx-shape", "parts")
        if not any(isinstance(x, Value) for x in o):
            if len(o) == 1:
                return self.move(self.out, o[0], o[0].shape, range(prod(o[0].shape)))
            raise Fault("onnx-unsupported", "Concat of constants alone")
        shape = o[0].shape[:axis] + (sum(x.shape[axis] for x in o),) + o[0].shape[axis + 1:]
        order = []
        for outer in range(prod(shape[:axis])):
            for k, x in enumerate(o):
                chunk = prod(x.shape[axis:])
                order += [(k, outer * chunk + i) for i in range(chunk)]
        terms = [(x, Map.select([p if j == k else None for j, p in order], prod(x.shape)))
                 for k, x in enumerate(o) if isinstance(x, Value)]
        bias = [o[j].values[p] if isinstance(o[j], Const) else Fraction(0) for j, p in order]
        y = self.affine(self.out, shape, terms, bias)
        for x in o:
            if isinstance(x, Const):
                self.note(y, fixed=x.name)

    def op_Split(self, o):
        count = len(self.outs)
        axis = self.attribute("axis", "i", 0)
        axis = self.axis(axis, len(o[0].shape))
        total = o[0].shape[axis]
        if self.opset < 13:
            self.arity(o, 1)
            sizes = self.attribute("split", "ints")
        else:
            self.arity(o, 1, 2)
            sizes = self.integers(o[1]) if len(o) > 1 else None
        number = self.attribute("num_outputs", "i")
        if number is not None and (number != count or sizes is not None or self.opset < 18):
            raise Fault("onnx-format", "num_outputs")
        if sizes is None:
            part = -(-total // count)
            if total % count and number is None:
                raise Fault("onnx-shape", "parts of unequal size")
            sizes = [part] * (count - 1) + [total - part * (count - 1)]
        if len(sizes) != count or sum(sizes) != total or any(s < 1 for s in sizes):
            raise Fault("onnx-shape", "parts")
        step, start = strides(o[0].shape), 0
        for name, size in zip(self.outs, sizes):
            shape = o[0].shape[:axis] + (size,) + o[0].shape[axis + 1:]
            ranges = [range(d) for d in shape]
            ranges[axis] = range(start, start + size)
            self.move(name, o[0], shape, places_of(ranges, step))
            start += size

    def op_Slice(self, o):
        rank = len(o[0].shape)
        if self.opset < 10:
            self.arity(o, 1)
            starts, ends, axes = [self.attribute(n, "ints") for n in ("starts", "ends", "axes")]
            jumps = None
        else:
            self.arity(o, 3, 5)
            lists = [None if x is None else self.integers(x) for x in (o + [None, None])[1:5]]
            starts, ends, axes, jumps = lists
        if starts is None or ends is None:
            raise Fault("onnx-format", "no starts")
        axes = list(range(len(starts))) if axes is None else axes
        jumps = [1] * len(starts) if jumps is None else jumps
        if not len(starts) == len(ends) == len(axes) == len(jumps) or len(starts) > rank:
            raise Fault("onnx-shape", "lists of unequal length")
        ranges = [range(d) for d in o[0].shape]
        axes = [self.axis(a, rank) for a in axes]
        if len(set(axes)) != len(axes) or 0 in jumps:
            raise Fault("onnx-shape", "axes")
        for s, e, a, j in zip(starts, ends, axes, jumps):
            d = o[0].shape[a]
            s, e = (v + d if v < 0 else v for v in (s, e))
            if j > 0:
                s, e = max(0, min(s, d)), max(0, min(e, d))
            else:
                s, e = max(-1, min(s, d - 1)), max(-1, min(e, d - 1))
            ranges[a] = range(s, e, j)
        shape = tuple(len(r) for r in ranges)
        if prod(shape) == 0:
            raise Fault("onnx-shape", "an empty result")
        self.move(self.out, o[0], shape, places_of(ranges, strides(o[0].shape)))

    def op_Gather(self, o):
        self.arity(o, 2)
        axis = self.axis(self.attribute("axis", "i", 0), len(o[0].shape))
        indices = self.constant(o[1])
        if indices.kind not in (6, 7):
            raise Fault("onnx-format", "places that are no integers")
        d = o[0].shape[axis]
        places = []
        for v in indices.values:
            if not -d <= v < d:
                raise Fault("onnx-shape", "a place outside")
            places.append(int(v) % d)
        if isinstance(o[0], Const) and len(set(places)) != len(places):
            raise Fault("onnx-unsupported", "a constant gathered twice at one place")
        ranges = [range(x) for x in o[0].shape]
        ranges[axis] = places
        shape = o[0].shape[:axis] + indices.shape + o[0].shape[axis + 1:]
        self.move(self.out, o[0], shape, places_of(ranges, strides(o[0].shape)))

    def op_Pad(self, o):
        if self.attribute("mode", "s", b"constant") != b"constant":
            raise Fault("onnx-unsupported", "mode")
        name, value = None, Fraction(0)
        x = self.computed(o[0]) if o else None
        rank = len(x.shape)
        axes = list(range(rank))
        if self.opset < 11:
            self.arity(o, 1)
            pads, value = self.attribute("pads", "ints"), self.attribute("value", "f", Fraction(0))
        else:
            self.arity(o, 2, 4)
            pads = self.integers(o[1])
            if len(o) > 2 and o[2] is not None:
                const = self.constant(o[2])
                if len(const.values) != 1:
                    raise Fault("onnx-shape", "the constant")
                name, value = const.name, const.values[0]
            if len(o) > 3:
                axes = [self.axis(a, rank) for a in self.integers(o[3])]
        if pads is None or len(pads) != 2 * len(axes) or len(set(axes)) != len(axes):
            raise Fault("onnx-shape", "pads")
        if any(p < 0 for p in pads):
            raise Fault("onnx-unsupported", "negative pads")
        before, after = [0] * rank, [0] * rank
        for k, a in enumerate(axes):
            before[a], after[a] = pads[k], pads[k + len(axes)]
        shape = sized(d + b + e for d, b, e in zip(x.shape, before, after))
        step, places = strides(x.shape), []
        for at in cartesian(*[range(d) for d in shape]):
            inside = all(0 <= i - b < d for i, b, d in zip(at, before, x.shape))
            places.append(sum((i - b) * s for i, b, s in zip(at, before, step)) if inside else None)
        y = self.affine(self.out, shape, [(x, Map.select(places, prod(x.shape)))],
                        [value if p is None else Fraction(0) for p in places])
        if name is not None:
            self.note(y, fixed=name)

    def op_Constant(self, o):
        self.arity(o, 0)
        if len(self.attributes) != 1:
            raise Fault("onnx-unsupported", "a constant of several values")
        name = next(iter(self.attributes))
        if name == "value":
            const = read_tensor(self.attribute("value", "t"), self.out)
        elif name == "value_float":
            const = Const(self.out, (), [self.attribute(name, "f")], 1)
        elif name == "value_floats":
            values = self.attribute(name, "floats")
            const = Const(self.out, (len(values),), values, 1)
        elif name == "value_int":
            const = Const(self.out, (), [Fraction(self.attribute(name, "i"))], 7)
        elif name == "value_ints":
            values = [Fraction(v) for v in self.attribute(name, "ints")]
            const = Const(self.out, (len(values),), values, 7)
        else:
            raise Fault("onnx-unsupported", f"the attribute {name}")
        self.define(self.out, const)


def over_root(scale, total):
    """scale / √total if rational, else the nearest number of 64 significant bits."""
    if not scale:
        return Fraction(0)
    square = scale * scale / total
    a, b = isqrt(square.numerator), isqrt(square.denominator)
    sign = 1 if scale > 0 else -1
    if a * a == square.numerator and b * b == square.denominator:
        return sign * Fraction(a, b)
    # the integer part of √square · 2^k is to have 64 bits
    k = 64 - (square.numerator.bit_length() - square.denominator.bit_length()) // 2
    while True:
        scaled = square * Fraction(4) ** k
        root = isqrt(scaled.numerator // scaled.denominator)
        if root.bit_length() == 64:
            break
        k += 64 - root.bit_length()
    if scaled > Fraction(2 * root + 1, 2) ** 2:
        root += 1
    return sign * root / Fraction(2) ** k
