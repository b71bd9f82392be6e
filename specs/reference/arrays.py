"""claim-format.md, Matrices: .npy and .safetensors files, every number exact."""

import ast
import json
import struct
from fractions import Fraction
from math import prod

from exact import Fault

LIMIT = 2 ** 24


def numbers(raw, kind, size):
    if len(raw) % size:
        raise Fault("data", "an array of a wrong length")
    if kind == "f":
        code = {2: "e", 4: "f", 8: "d"}[size]
        values = struct.unpack(f"<{len(raw) // size}{code}", raw)
        if any(v != v or v in (float("inf"), float("-inf")) for v in values):
            raise Fault("data", "a NaN or an infinity")
        return [Fraction(v) for v in values]
    code = {1: "b", 2: "h", 4: "i", 8: "q"}[size]
    return [Fraction(v) for v in struct.unpack(f"<{len(raw) // size}{code}", raw)]


def read_array(data, tensor):
    """(shape, values) of the only or the named array of a file."""
    if data[:6] == b"\x93NUMPY":
        if tensor is not None:
            raise Fault("data", "a .npy file has no named tensors")
        return read_npy(data)
    return read_safetensors(data, tensor)


def read_npy(data):
    try:
        major = data[6]
        if major not in (1, 2, 3) or data[7] != 0:
            raise Fault("data", "a .npy version that is not read")
        if major == 1:
            length, start = struct.unpack("<H", data[8:10])[0], 10
        else:
            length, start = struct.unpack("<I", data[8:12])[0], 12
        header = ast.literal_eval(data[start:start + length].decode("utf-8" if major == 3 else "latin-1").strip())
        if set(header) != {"descr", "fortran_order", "shape"} or header["fortran_order"] is not False:
            raise Fault("data", "the header of a .npy file")
        kinds = {"<f2": ("f", 2), "<f4": ("f", 4), "<f8": ("f", 8), "|i1": ("i", 1), "<i2": ("i", 2),
                 "<i4": ("i", 4), "<i8": ("i", 8)}
        kind, size = kinds[header["descr"]]
        shape = header["shape"]
        body = data[start + length:]
        if not isinstance(shape, tuple) or any(type(d) is not int or d < 0 for d in shape):
            raise Fault("data", "the shape of a .npy file")
    except (IndexError, KeyError, ValueError, SyntaxError, struct.error, TypeError, UnicodeDecodeError):
        raise Fault("data", "a .npy file that cannot be read")
    return finish(shape, body, kind, size)


def finish(shape, body, kind, size):
    count = prod(shape)
    if count > LIMIT:
        raise Fault("limit-size", "an array is too large")
    if count < 1 or len(body) != count * size:
        raise Fault("data", "an array of a wrong length")
    return tuple(shape), numbers(body, kind, size)


def read_safetensors(data, tensor):
    def pairs(items):
        return items

    try:
        length = struct.unpack("<Q", data[:8])[0]
        if length > len(data) - 8:
            raise Fault("data", "the header of a .safetensors file")
        header = json.loads(data[8:8 + length].decode("utf-8"), object_pairs_hook=pairs)
    except (ValueError, struct.error, RecursionError):
        raise Fault("data", "a file of arrays that cannot be read")
    if not isinstance(header, list) or any(not isinstance(p, tuple) for p in header):
        raise Fault("data", "the header of a .safetensors file")
    entries = [(n, v) for n, v in header if n != "__metadata__"]
    if tensor is None:
        if len(entries) != 1:
            raise Fault("data", "which tensor of the .safetensors file")
        chosen = entries[0][1]
    else:
        found = [v for n, v in entries if n == tensor]
        if len(found) != 1:
            raise Fault("data", f"the .safetensors file has {len(found)} tensors of this name")
        chosen = found[0]
    try:
        info = dict(chosen)
        if len(chosen) != 3 or set(info) != {"dtype", "shape", "data_offsets"}:
            raise Fault("data", "the keys of a tensor")
        kinds = {"F16": ("f", 2), "F32": ("f", 4), "F64": ("f", 8), "I8": ("i", 1), "I16": ("i", 2), "I32": ("i", 4),
                 "I64": ("i", 8)}
        kind, size = kinds[info["dtype"]]
        begin, end = info["data_offsets"]
        shape = info["shape"]
        if any(type(v) is not int or v < 0 for v in [begin, end] + shape) or not begin <= end <= len(data) - 8 - length:
            raise Fault("data", "the place of a tensor")
    except (KeyError, ValueError, TypeError):
        raise Fault("data", "a tensor that cannot be read")
    return finish(shape, data[8 + length + begin:8 + length + end], kind, size)
