"""claim-format.md: reads a claim file and everything that it names."""

import hashlib
import os
import re
import tomllib
from fractions import Fraction
from math import prod

import vnnlib
from arrays import read_array
from exact import Fault, ONE, ZERO, is_plain, parse_number
from ladders import Ladder, MODES, check_levels
from onnx_reader import Model
from problem import fit_copy, prepare

COUNT = 2 ** 32


def read_file(path):
    try:
        if not os.path.isfile(path):
            raise OSError("not a regular file")
        with open(path, "rb") as f:
            data = f.read(2 ** 32 + 1)
    except (OSError, ValueError) as error:
        raise Fault("io", f"{path}: {error}")
    if len(data) > 2 ** 32:
        raise Fault("limit-size", f"{path} is too large")
    return data


def digest(data):
    return hashlib.sha256(data).hexdigest()


def decode(data, path):
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        raise Fault("io", f"{path} is not UTF-8")


class TomlFloat:
    """Any TOML float: an error wherever a number is wanted."""


TOKEN = re.compile(r"""(?P<text>\"{3}(?:\\.|[^\\])*?\"{3,5}|'{3}.*?'{3,5}|"(?:\\.|[^"\\\n])*"|'[^'\n]*')"""
                   r"""|(?P<comment>\#[^\n]*)|(?P<line>\r?\n)|(?P<blank>[ \t]+)|(?P<word>[^\s"'#=,\[\]{}]+)|(?P<sign>.)""", re.DOTALL)
OTHER_BASE = re.compile(r"0(?:x[0-9A-Fa-f](?:_?[0-9A-Fa-f])*|o[0-7](?:_?[0-7])*|b[01](?:_?[01])*)\Z")
NO_SECONDS = re.compile(r"((?:[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt])?[0-9]{2}:[0-9]{2})(Z|z|[+-][0-9]{2}:[0-9]{2})?\Z")


def escapes(text):
    """A string of TOML 1.1 by the escapes of TOML 1.0."""
    if text[0] == "'":
        return text
    return re.sub(r"\\(?:(e)|x([0-9A-Fa-f]{2})|.)", lambda m: "\\u001b" if m[1] else "\\u00" + m[2] if m[2] else m[0], text, flags=re.DOTALL)


def toml_1_0(text):
    """TOML 1.1 written as TOML 1.0, which is all that tomllib reads: inline tables on several lines, with comments and a
    comma at the end, the escapes \\e and \\xHH, and times without seconds. Integers in other bases than 10 become floats:
    both are no numbers in a claim."""
    tokens = [(m.lastgroup, m[0]) for m in TOKEN.finditer(text)]
    if any(kind == "sign" and word in "\"'" for kind, word in tokens):
        return text     # a string without an end: no TOML of any version
    result, open_brackets, last, before = [], [], "", ""
    for k, (kind, word) in enumerate(tokens):
        inside = open_brackets[-1:] == ["{"]
        if kind in ("comment", "line"):
            fits = inside and not last.endswith(".") and not next_solid(tokens, k).startswith(".")
            plain = kind == "line" or not re.search(r"[\x00-\x08\x0a-\x1f\x7f]", word.rstrip("\r"))
            result.append(" " if fits and plain else word)
            continue
        if kind == "blank":
            result.append(word)
            continue
        if kind == "text":
            word = escapes(word)
        elif kind == "word" and last in ("=", "[", ","):
            if OTHER_BASE.match(word):
                word = "0.0"
            elif NO_SECONDS.match(word):
                word = NO_SECONDS.sub(r"\1:00\2", word)
        elif kind == "word" and re.match(r"[0-9]{4}-[0-9]{2}-[0-9]{2}\Z", last) and NO_SECONDS.match(word):
            word = NO_SECONDS.sub(r"\1:00\2", word)
        elif word in ("{", "["):
            open_brackets.append(word)
        elif word in ("}", "]"):
            if word == "}" and inside and last == "," and before not in ("{", ","):
                result[max(i for i, part in enumerate(result) if part == ",")] = " "
            if open_brackets:
                open_brackets.pop()
        result.append(word)
        before, last = last, word
    return "".join(result)


def next_solid(tokens, k):
    return next((word for kind, word in tokens[k + 1:] if kind not in ("comment", "line", "blank")), "")


def read_toml(data, path):
    text = decode(data, path).removeprefix("\ufeff")
    try:
        return tomllib.loads(toml_1_0(text), parse_float=lambda text: TomlFloat())
    except tomllib.TOMLDecodeError as error:
        raise Fault("claim-syntax", f"{path}: {error}")
    except RecursionError:
        raise Fault("claim-syntax", f"{path}: too deep")


def string(value):
    if type(value) is not str:
        raise Fault("claim-value", f"{value!r} is not a string")
    if not is_plain(value):
        raise Fault("claim-value", "a string with a backtick or an invisible character")
    return value


def number(value):
    """claim-format.md, Numbers."""
    if type(value) is int and len(str(value)) <= 4096:
        return Fraction(value)
    if type(value) is str:
        result = parse_number(value)
        if result is not None:
            return result
    raise Fault("claim-value", f"{value!r} is not an exact number")


def not_negative(value):
    result = number(value)
    if result < 0:
        raise Fault("claim-value", f"{value!r} is negative")
    return result


def distinct(value):
    """Counts in increasing order, each named once."""
    result = tuple(sorted(array(value, count)))
    if len(set(result)) != len(result):
        raise Fault("claim-value", "a number given twice")
    return result


def count(value):
    if type(value) is not int or not 0 <= value <= COUNT:
        raise Fault("claim-value", f"{value!r} is not a count")
    return value


def array(value, item):
    if type(value) is not list:
        raise Fault("claim-value", f"{value!r} is not an array")
    if not value:
        raise Fault("claim-value", "an empty array")
    return [item(v) for v in value]


def flag(value):
    if type(value) is not bool:
        raise Fault("claim-value", f"{value!r} is not true or false")
    return value


STATEMENTS = ("tolerance", "decision", "reaches")


class Table:
    """A table of which every key must be known: that is checked before any value is read."""

    def __init__(self, value, where, keys=None):
        if type(value) is not dict:
            raise Fault("claim-value", f"{where} is not a table")
        self.value, self.where = value, where
        if keys is not None:
            self.only(keys)

    def only(self, keys):
        for key in self.value:
            if key not in keys:
                raise Fault("claim-unknown-key", f"{self.where}: {key}")

    def __contains__(self, key):
        return key in self.value

    def get(self, key, reader, default=None):
        return reader(self.value[key]) if key in self.value else default

    def need(self, key, reader):
        if key not in self.value:
            raise Fault("claim-missing-key", f"{self.where}: {key}")
        return self.get(key, reader)


class Scale:
    """A ladder with a cutoff and `seen`; no cutoff for none."""

    def __init__(self, ladder, cutoff, seen):
        self.ladder, self.cutoff, self.seen = ladder, cutoff, seen


class Entry:
    """One [[perturb]] of one setting."""

    def __init__(self):
        self.site = self.scale = self.weights = self.error = None
        self.amplitudes = []


class Setting:
    """One statement: entries, tensor, coarse map, and kind tolerance, winner, reaches or property."""


class Region:
    """A row about a box of inputs; of one input if lower and upper are equal."""

    def __init__(self, lower, upper):
        self.lower, self.upper = lower, upper


FILTERS = {
    "cdf-5-3": (((1, 2, 1), 2, -1), ((-1, 2, 6, 2, -1), 8, -2)),
    "cdf-1-3": (((1, 1), 1, 0), ((-1, 1, 8, 8, 1, -1), 16, -2)),
    "orthogonal-4": (((44, 77, 21, -12), 65, 0), ((44, 77, 21, -12), 130, 0)),
}


class Claim:
    """A claim with its model, data and derived statements."""

    def __init__(self, path, model_path=None):
        self.path = path
        self.folder = os.path.dirname(path)
        self.data = read_file(path)
        self.digest = digest(self.data)
        self.files = []          # (path, digest) of `data`, in order
        self.rows, self.cut = {}, []
        self.seen_files = {}
        top = Table(read_toml(self.data, path), "the claim", ("model", "property", "replace", "truncate", "inputs", "perturb", "output", "setting"))
        self.replace = None
        self.truncates = []
        self.property = None
        if "property" in top:
            for key in ("inputs", "perturb", "replace", "truncate", "output", "setting"):
                if key in top:
                    raise Fault("claim-missing-key", "a table beside property")
            self.model_path = model_path or self.resolve(self.folder, top.need("model", string))
            top.get("model", string)
            self.property_file = self.resolve(self.folder, top.need("property", string))
            self.read_property()
            self.read_model()
            self.fit_property()
            return
        self.read_tables(top, model_path)

    @staticmethod
    def of_property(model_path, path):
        """--model and --property, without a claim file."""
        claim = Claim.__new__(Claim)
        claim.path, claim.folder = path, os.path.dirname(path)
        claim.files, claim.seen_files = [], {}
        claim.model_path, claim.property_file = model_path, path
        claim.replace, claim.truncates = None, []
        claim.read_property()
        claim.read_model()
        claim.digest = claim.files[0][1]
        claim.fit_property()
        return claim

    @staticmethod
    def resolve(folder, name):
        return os.path.join(folder, name)

    def read_model(self):
        self.model_data = read_file(self.model_path)
        self.model_digest = digest(self.model_data)
        self.model = Model(self.model_data)

    def read_property(self):
        self.property_data = read_file(self.property_file)
        self.files = [(self.property_file, digest(self.property_data))]
        self.property = vnnlib.read(decode(self.property_data, self.property_file), len(self.property_data))

    def fit_property(self):
        model = self.model
        if len(model.outputs) != 1:
            raise Fault("property-value", "a model of several outputs")
        size = model.tensors[0].size
        output = model.env[model.outputs[0]].tensor
        if self.property.inputs != size:
            raise Fault("property-value", "inputs are not as many as the model's")
        if self.property.outputs > model.tensors[output].size:
            raise Fault("property-value", "an output that the model does not have")
        setting = Setting()
        setting.kind, setting.entries, setting.output, setting.coarse = "property", [], output, None
        setting.tensor = None
        setting.needed = model.ancestors(output)
        self.settings = [setting]
        self.rows = {r: Region(list(region.lower), list(region.upper))
                     for r, region in enumerate(self.property.regions)}
        self.regions, self.valid, self.cut = False, None, []
        self.other, self.other_digest = None, None
        prepare(self)

    # ---- files ----

    def named_file(self, folder, name):
        """Reads a ladder or array file, and lists it in `data` once."""
        path = self.resolve(folder, name)
        if path not in self.seen_files:
            data = read_file(path)
            self.seen_files[path] = data
            self.files.append((path, digest(data)))
        return path, self.seen_files[path]

    def array_file(self, value, folder, transpose):
        """A string or a table that names an array of a file: (shape, values)."""
        tensor, turned = None, False
        if type(value) is str:
            name = string(value)
        else:
            table = Table(value, "a file", ("file", "tensor") + (("transpose",) if transpose else ()))
            tensor = table.get("tensor", string)
            turned = table.get("transpose", flag, False)
            name = table.need("file", string)
        _, data = self.named_file(folder, name)
        shape, values = read_array(data, tensor)
        return shape, values, turned

    def matrix(self, value, folder):
        if type(value) is list:
            rows = array(value, lambda row: tuple(array(row, number)))
            if any(len(row) != len(rows[0]) for row in rows):
                raise Fault("claim-shape", "rows of unequal length")
            return tuple(rows)
        shape, values, turned = self.array_file(value, folder, True)
        if len(shape) != 2:
            raise Fault("claim-shape", "a matrix needs two axes")
        h, w = shape
        rows = [tuple(values[i * w:(i + 1) * w]) for i in range(h)]
        return tuple(zip(*rows)) if turned else tuple(rows)

    def vector(self, value, folder):
        if type(value) is list:
            return tuple(array(value, number))
        shape, values, _ = self.array_file(value, folder, False)
        if len(shape) != 1:
            raise Fault("claim-shape", "a vector needs one axis")
        return tuple(values)

    # ---- ladders ----

    def ladder(self, value, others=()):
        """The ladder that a scale names, by its keys or by a file, and the table, which may have other keys besides."""
        table = Table(value, "scale")
        if "ladder" in table:
            table.only(("ladder",) + others)
            path, data = self.named_file(self.folder, table.need("ladder", string))
            inner = Table(read_toml(data, path), path)
            ladder = self.family(inner, os.path.dirname(path), ("made",))
            inner.get("made", string)
            if ladder.family == "none":
                raise Fault("claim-value", "the family none is no ladder")
            return ladder, table
        return self.family(table, self.folder, others), table

    KEYS = {
        "none": (), "block-mean": ("shape", "spatial"), "haar": ("shape", "spatial"), "wavelet": ("shape", "spatial", "filters"),
        "dct": ("shape", "spatial", "matrix"), "groups": ("levels", "shape"), "pca": ("modes",), "matrix": ("modes", "generator"),
        "dictionary": ("atoms", "levels", "nested", "bounds", "residual"),
    }

    def family(self, t, folder, others):
        family = t.need("family", string)
        if family not in self.KEYS:
            raise Fault("claim-value", f"the family {family}")
        t.only(("family",) + self.KEYS[family] + (() if family == "none" else others))
        keys = {}
        if family in ("block-mean", "haar", "wavelet", "dct"):
            shape = tuple(t.need("shape", lambda v: array(v, count)))
            spatial = t.get("spatial", count, min(2, len(shape)))
            if spatial not in (1, 2) or spatial > len(shape):
                raise Fault("claim-shape", "spatial")
            if 0 in shape:
                raise Fault("claim-value", "a zero in a shape")
            keys.update(shape=shape, spatial=spatial)
        if family == "none" or family == "block-mean" or family == "haar":
            return Ladder(family, **keys)
        if family == "wavelet":
            return Ladder(family, filters=t.need("filters", self.filters), **keys)
        if family == "dct":
            value = t.need("matrix", lambda v: v)
            if type(value) is dict and "vertical" in value:
                pair = Table(value, "matrix", ("vertical", "horizontal"))
                v = self.matrix(pair.need("vertical", lambda v: v), folder)
                matrix = self.matrix(pair.need("horizontal", lambda v: v), folder)
            else:
                matrix = self.matrix(value, folder)
                v = matrix if spatial == 2 else ((ONE,),)
            return Ladder("dct", matrix=matrix, vertical=v, **keys)
        if family == "groups":
            shape = t.get("shape", lambda v: tuple(array(v, count)))
            return Ladder("groups", shape=shape, levels=t.need("levels", self.levels))
        if family == "pca":
            return Ladder("pca", matrix=self.matrix(t.need("modes", lambda v: v), folder))
        if family == "matrix":
            if ("modes" in t) == ("generator" in t):
                raise Fault("claim-missing-key", "one of modes and generator")
            kind = "modes" if "modes" in t else "generator"
            return Ladder(kind, matrix=self.matrix(t.need(kind, lambda v: v), folder))
        if ("levels" in t) == ("nested" in t):
            raise Fault("claim-missing-key", "one of levels and nested")
        nested = None
        if "levels" in t:
            levels = t.need("levels", self.levels)
            check_levels(levels)
        else:
            nested = t.need("nested", lambda v: tuple(array(v, self.kept)))
            if any(b >= a for a, b in zip(nested, nested[1:])):
                raise Fault("ladder-nesting", "counts that do not fall")
            levels = None
        residual = t.need("residual", not_negative)
        bounds = t.get("bounds", lambda v: self.vector(v, folder))
        if bounds is not None and any(b < 0 for b in bounds):
            raise Fault("claim-value", "a negative bound")
        matrix = self.matrix(t.need("atoms", lambda v: v), folder)
        return Ladder("dictionary", matrix=matrix, levels=levels, nested=nested, bounds=bounds, residual=residual)

    @staticmethod
    def kept(value):
        if count(value) > 2 ** 20:
            raise Fault("claim-shape", "more atoms than are read")
        return value

    @staticmethod
    def levels(value):
        return tuple(array(value, lambda level: tuple(array(level, Claim.items))))

    @staticmethod
    def items(value):
        result = distinct(value)
        if result[-1] >= 2 ** 20:
            raise Fault("claim-shape", "an item that no tensor has")
        return result

    @staticmethod
    def filters(value):
        if type(value) is str:
            if value not in FILTERS:
                raise Fault("claim-value", f"the filters {value}")
            (low, a, s), (dual, b, t) = FILTERS[value]
            return tuple(Fraction(v, a) for v in low), tuple(Fraction(v, b) for v in dual), (s, t)
        table = Table(value, "filters", ("low", "dual", "start"))

        def start(v):
            result = number(v)
            if result.denominator != 1:
                raise Fault("claim-value", "the start of a filter")
            return result.numerator

        starts = tuple(table.need("start", lambda v: array(v, start)))
        if len(starts) != 2:
            raise Fault("claim-value", "two starts")
        low = tuple(table.need("low", lambda v: array(v, number)))
        dual = tuple(table.need("dual", lambda v: array(v, number)))
        if max(len(low), len(dual), abs(starts[0]), abs(starts[1])) > 64:
            raise Fault("ladder-nesting", "filters that are too long")
        return low, dual, starts

    def scale(self, value):
        ladder, t = self.ladder(value, ("cutoff", "seen"))
        if ladder.family == "none":
            return Scale(ladder, None, None)
        scale = Scale(ladder, t.need("cutoff", count), t.get("seen", count))
        self.rungs(scale)
        return scale

    # ---- tables ----

    def read_tables(self, top, model_path):
        inputs = Table(top.need("inputs", lambda v: v), "[inputs]", ("point", "file", "rows", "box", "radius", "valid"))
        output = Table(top.need("output", lambda v: v), "[output]", ("tensor", "coarse") + STATEMENTS)
        self.read_inputs(inputs)
        statement = self.statement(output)
        self.other = self.other_digest = None
        if "replace" in top:
            _, data = self.named_file(self.folder, top.need("replace", string))
            self.other_digest, self.other = digest(data), Model(data)
        self.truncates = top.get("truncate", lambda v: array(v, self.read_truncate), [])
        free = self.other is not None or self.truncates
        base = Setting()
        base.entries = (top.get if free else top.need)("perturb", lambda v: array(v, self.read_entry)) or []
        base.tensor = output.get("tensor", string)
        base.coarse = output.get("coarse", self.coarse, ("identity",))
        if (statement is None) != ("setting" in top):
            raise Fault("claim-missing-key", "a statement in [output] or settings")
        if statement is not None:
            base.kind, base.value = statement
            self.settings = [base]
        else:
            self.settings = top.need("setting", lambda v: array(v, lambda t: self.read_setting(t, base)))
        self.valid = inputs.get("valid", self.range)
        self.model_path = model_path or self.resolve(self.folder, top.need("model", string))
        top.need("model", string)
        self.regions = bool(self.radius is not None or self.box is not None or free)
        if self.regions and any(s.kind == "winner" for s in self.settings):
            raise Fault("claim-value", "a decision about regions")
        self.read_model()
        prepare(self)
        if self.csv_path is not None:
            data = read_file(self.csv_path)
            self.files.insert(0, (self.csv_path, digest(data)))
            self.csv = csv_rows(decode(data, self.csv_path))

    def read_truncate(self, value):
        t = Table(value, "[[truncate]]", ("site", "scale"))
        ladder, scale = self.ladder(t.need("scale", lambda v: v), ("cutoff",))
        cutoff = scale.need("cutoff", count)
        if ladder.family not in ("block-mean", "haar", "groups") + MODES:
            raise Fault("claim-value", "a truncation of this family")
        if not ladder.has_rung(cutoff):
            raise Fault("claim-shape", "no rung")
        return t.need("site", string), Scale(ladder, cutoff, None)

    def read_inputs(self, t):
        given = [k for k in ("point", "file", "rows", "box") if k in t]
        if given not in (["point"], ["file", "rows"], ["box"]):
            raise Fault("claim-missing-key", "one of point, file with rows, and box")
        self.point = t.get("point", lambda v: array(v, number))
        name = t.get("file", string)
        self.csv_path = None if name is None else self.resolve(self.folder, name)
        self.input_rows = t.get("rows", self.row_list)
        self.box = t.get("box", self.read_box)
        if self.box == "valid" and "valid" not in t:
            raise Fault("claim-missing-key", "box = valid without valid")
        if self.box is not None and "radius" in t:
            raise Fault("claim-value", "radius with box")
        self.radius = t.get("radius", not_negative)

    @staticmethod
    def range(value):
        valid = array(value, number)
        if len(valid) != 2 or valid[0] > valid[1]:
            raise Fault("claim-value", "valid")
        return valid

    @staticmethod
    def read_box(value):
        if type(value) is str and string(value) == "valid":
            return value
        if type(value) is str:
            raise Fault("claim-value", "box")
        t = Table(value, "box", ("lower", "upper"))
        side = lambda v: array(v, number) if type(v) is list else number(v)
        return t.need("lower", side), t.need("upper", side)

    @staticmethod
    def row_list(value):
        if type(value) is str:
            match = re.fullmatch(r"([0-9]+)\.\.([0-9]+)", value, re.ASCII)
            if not match:
                raise Fault("claim-value", "rows")
            a, b = int(match[1]), int(match[2])
            if not a < b <= COUNT or b - a > 2 ** 20:
                raise Fault("claim-value", "rows")
            return list(range(a, b))
        return list(distinct(value))

    @staticmethod
    def amplitudes(value):
        return array(value, not_negative) if type(value) is list else [not_negative(value)]

    @staticmethod
    def enough(entry):
        """As many amplitudes as the entry may have."""
        bands = 1
        if entry.site is not None and entry.scale.ladder.family in ("haar", "wavelet"):
            bands = entry.scale.cutoff.bit_length() - 1
        if len(entry.amplitudes) not in (1, bands):
            raise Fault("claim-value", "a wrong number of amplitudes")

    def read_entry(self, value):
        t = Table(value, "[[perturb]]", ("site", "weights", "scale", "error", "amplitude"))
        entry = Entry()
        if "weights" not in t and "error" not in t:
            entry.site = t.need("site", string)
            entry.scale = self.scale(t.need("scale", lambda v: v))
        elif "weights" in t and "site" not in t and "scale" not in t:
            entry.weights = t.need("weights", self.weight_names)
            entry.error = t.need("error", string)
            if entry.error not in ("absolute", "relative"):
                raise Fault("claim-value", "error")
        else:
            raise Fault("claim-missing-key", "either site and scale, or weights and error")
        entry.amplitudes = t.need("amplitude", self.amplitudes)
        self.enough(entry)
        return entry

    @staticmethod
    def weight_names(value):
        if type(value) is str:
            if value != "all":
                raise Fault("claim-value", "weights")
            return value
        names = array(value, string)
        if len(set(names)) != len(names):
            raise Fault("claim-value", "a parameter named twice")
        return names

    def coarse(self, value):
        if type(value) is str:
            if value != "identity":
                raise Fault("claim-value", "coarse")
            return ("identity",)
        t = Table(value, "coarse")
        if "scale" in t:
            t.only(("scale", "seen", "hidden"))
            ladder, _ = self.ladder(t.need("scale", lambda v: v))
            if ladder.family not in ("block-mean", "groups") + MODES:
                raise Fault("claim-value", "a coarse map of this family")
            seen, hidden = t.get("seen", count), t.get("hidden", count)
            if any(rung is not None and not ladder.has_rung(rung) for rung in (seen, hidden)):
                raise Fault("claim-shape", "no rung")
            if seen is None and hidden is None:
                raise Fault("claim-missing-key", "one of seen and hidden")
            if seen is not None and hidden is not None and not ladder.finer(seen, hidden):
                raise Fault("claim-shape", "seen is not finer than hidden")
            return "scale", ladder, seen, hidden
        t.only(("groups", "reduce", "matrix"))
        given = [k for k in ("groups", "reduce", "matrix") if k in t]
        if given == ["matrix"]:
            return "matrix", self.matrix(t.need("matrix", lambda v: v), self.folder)
        if given != ["groups", "reduce"]:
            raise Fault("claim-missing-key", "groups with reduce, matrix, or scale")
        reduce = t.need("reduce", string)
        if reduce not in ("mean", "sum"):
            raise Fault("claim-value", "reduce")
        return "groups", t.need("groups", lambda v: tuple(array(v, distinct))), reduce

    @staticmethod
    def statement(t):
        given = [k for k in STATEMENTS if k in t]
        if len(given) > 1:
            raise Fault("claim-missing-key", "several statements")
        if not given:
            return None
        if given[0] == "decision":
            if t.get("decision", string) != "winner":
                raise Fault("claim-value", "decision")
            return "winner", None
        return given[0], t.get(given[0], not_negative)

    def read_setting(self, value, base):
        t = Table(value, "[[setting]]", ("tensor", "coarse", "scale", "cutoff", "seen", "amplitude") + STATEMENTS)
        setting = Setting()
        statement = self.statement(t)
        if statement is None:
            raise Fault("claim-missing-key", "one of tolerance, decision and reaches")
        setting.kind, setting.value = statement
        setting.tensor = t.get("tensor", string, base.tensor)
        setting.coarse = t.get("coarse", self.coarse, base.coarse)
        scale = t.get("scale", self.scale)
        setting.entries = []
        sites = with_rungs = 0
        for old in base.entries:
            entry = Entry()
            entry.site, entry.scale, entry.weights, entry.error = old.site, old.scale, old.weights, old.error
            entry.amplitudes = old.amplitudes
            if entry.site is not None:
                sites += 1
                if scale is not None:
                    entry.scale = scale
                if entry.scale.ladder.family != "none":
                    with_rungs += 1
                    if "cutoff" in t:
                        entry.scale = Scale(entry.scale.ladder, t.get("cutoff", count), None)
                    if "seen" in t:
                        entry.scale = Scale(entry.scale.ladder, entry.scale.cutoff, t.get("seen", count))
                    self.rungs(entry.scale)
            if "amplitude" in t:
                entry.amplitudes = t.get("amplitude", self.amplitudes)
            self.enough(entry)
            setting.entries.append(entry)
        rungs = "cutoff" in t or "seen" in t
        if (scale is not None or rungs) and not sites:
            raise Fault("claim-value", "a scale in a setting when only weights are perturbed")
        if "amplitude" in t and not base.entries:
            raise Fault("claim-value", "an amplitude without perturbations")
        if rungs and not with_rungs:
            raise Fault("claim-value", "a cutoff in a setting without rungs")
        return setting

    # ---- against the model ----

    def tensor(self, name):
        model = self.model
        if name == "input":
            return 0
        if name not in model.names:
            raise Fault("claim-tensor", f"the model has no tensor {name}")
        return model.names[name]

    def fit(self, setting):
        """What a setting says of the model."""
        model = self.model
        if setting.tensor is not None:
            if setting.tensor not in model.names:
                raise Fault("claim-tensor", f"the model has no tensor {setting.tensor}")
            setting.output = model.names[setting.tensor]
        elif len(model.outputs) == 1:
            setting.output = model.env[model.outputs[0]].tensor
        else:
            raise Fault("claim-tensor", "several outputs and none named")
        setting.needed = needed = model.ancestors(setting.output)
        for tensor, _ in self.cut:
            if tensor not in needed:
                raise Fault("claim-tensor", "the output does not depend on what is truncated")
        for entry in setting.entries:
            if entry.weights is not None:
                if self.regions:
                    raise Fault("claim-value", "perturbed weights over regions")
                entry.parameters = self.parameters(entry, needed)
                continue
            entry.tensor = self.tensor(entry.site)
            if entry.tensor not in needed:
                raise Fault("claim-tensor", f"the output does not depend on {entry.site}")
            entry.delta = self.perturbation(entry.scale, model.tensors[entry.tensor].size, entry.amplitudes)
        if self.copy is not None:
            fit_copy(self, setting)
        setting.rows = self.coarse_rows(setting.coarse, model.tensors[setting.output].size)
        if setting.kind == "winner" and len(setting.rows) < 2:
            raise Fault("claim-clean", "a single coarse output has nothing to win against")

    def fit_truncates(self):
        self.cut = []
        for site, scale in self.truncates:
            if self.copy is not None:
                raise Fault("claim-tensor", "the other model has another shape: nothing may be truncated")
            tensor = self.tensor(site)
            if tensor in dict(self.cut):
                raise Fault("claim-tensor", "a tensor truncated twice")
            size = self.model.tensors[tensor].size
            if size > 2048:
                raise Fault("claim-shape", "a tensor of more than 2048 elements is truncated")
            scale.ladder.fit(size)
            self.cut.append((tensor, scale))

    def perturbation(self, scale, size, amplitudes):
        ladder = scale.ladder
        ladder.fit(size)
        return ladder.perturbation(size, scale.cutoff, scale.seen, amplitudes)

    @staticmethod
    def rungs(scale):
        """The ladder has the cutoff, and `seen` is a finer rung."""
        ladder = scale.ladder
        if not ladder.has_rung(scale.cutoff):
            raise Fault("claim-shape", f"the ladder has no rung {scale.cutoff}")
        if scale.seen is not None and not (ladder.has_rung(scale.seen) and ladder.finer(scale.seen, scale.cutoff)):
            raise Fault("claim-shape", f"seen = {scale.seen} is not a finer rung")

    def parameters(self, entry, needed):
        """claim-format.md, Weights: [(tensor, Parameter)] in the order in which nodes use them."""
        model, uses, fixed = self.model, [], []
        for i in sorted(needed):
            uses += [(i, p) for p in model.tensors[i].parameters]
            fixed += model.tensors[i].fixed
        if entry.weights == "all":
            if fixed:
                raise Fault("claim-tensor", f"{fixed[0]} is broadcast or a factor")
            names = {p.name for _, p in uses}
            if not names:
                raise Fault("claim-tensor", "no parameters")
        else:
            names = set(entry.weights)
        for name in names:
            used = sum(p.name == name for _, p in uses)
            if used == 0:
                raise Fault("claim-tensor", f"{name} is not a parameter")
            if used + fixed.count(name) > 1:
                raise Fault("claim-tensor", f"{name} is used more than once")
        return [(i, p) for i, p in uses if p.name in names]

    def coarse_rows(self, coarse, size):
        """The rows of G, each {element: Fraction}."""
        if coarse[0] == "identity":
            return [{i: ONE} for i in range(size)]
        if coarse[0] == "groups":
            if any(i >= size for g in coarse[1] for i in g):
                raise Fault("claim-shape", "an element that does not exist")
            return [{i: Fraction(1, len(g)) if coarse[2] == "mean" else ONE for i in g} for g in coarse[1]]
        if coarse[0] == "matrix":
            if len(coarse[1][0]) != size:
                raise Fault("claim-shape", "the coarse map does not fit the output")
            return [{i: v for i, v in enumerate(row) if v} for row in coarse[1]]
        _, ladder, seen, hidden = coarse
        ladder.fit(size)
        rows = ladder.coarse_rows(size, seen, hidden)
        if not rows:
            raise Fault("claim-shape", "nothing between its rungs")
        return rows

    # ---- rows ----

    def row_numbers(self):
        """The rows of the claim, in order."""
        if self.property is not None:
            return sorted(self.rows)
        return self.input_rows or [0]

    def read_row(self, row):
        """A clean input, as a region of one point if the claim is not about regions."""
        if self.property is not None:
            return
        size, valid = self.model.tensors[0].size, self.valid
        if self.box is not None:
            lower, upper = valid if self.box == "valid" else self.box
            lower, upper = [v if type(v) is list else [v] * size for v in (lower, upper)]
            if len(lower) != size or len(upper) != size:
                raise Fault("claim-shape", "box does not fit the input")
            if any(a > b for a, b in zip(lower, upper)):
                raise Fault("claim-value", "an empty box")
            if valid is not None and (min(lower) < valid[0] or max(upper) > valid[1]):
                raise Fault("claim-clean", "the box is outside of valid")
        else:
            x = self.point if self.point is not None else csv_numbers(self.csv, row, size)
            if len(x) != size:
                raise Fault("claim-shape", "point does not fit the input")
            if valid is not None and any(not valid[0] <= v <= valid[1] for v in x):
                raise Fault("claim-clean", f"row {row} is outside of valid")
            lower, upper = x, x
            if self.radius is not None:
                lower, upper = [v - self.radius for v in x], [v + self.radius for v in x]
                if valid is not None:
                    lower, upper = [max(v, valid[0]) for v in lower], [min(v, valid[1]) for v in upper]
        if self.other is not None and self.other.tensors[0].size != size:
            raise Fault("claim-shape", "the other model has an input of another size")
        self.fit_truncates()
        self.rows[row] = Region(lower, upper)


def csv_rows(text):
    """claim-format.md, CSV: the data rows, with the column that is left out."""
    lines = [line for line in text.split("\n") if line.strip()]
    if not lines:
        return [], None
    first = [c.strip() for c in lines[0].split(",")]
    name = lambda c: re.match(r"[A-Za-z_]", c) and c.lower() not in ("inf", "infinity", "nan")
    label = None
    if all(name(c) for c in first):
        lines = lines[1:]
        label = first.index("label") if "label" in first else None
    return lines, label


def csv_numbers(table, row, size):
    lines, label = table
    if row >= len(lines):
        raise Fault("data", f"there is no row {row}")
    cells = [c.strip() for c in lines[row].split(",")]
    if label is not None:
        if label >= len(cells):
            raise Fault("data", f"row {row} has too few cells")
        del cells[label]
    if len(cells) != size:
        raise Fault("data", f"row {row} has {len(cells)} cells")
    values = [parse_number(c) for c in cells]
    if None in values:
        raise Fault("data", f"row {row} has a cell that is not a number")
    return values
