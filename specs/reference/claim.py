"""claim-format.md: reads a claim file and everything that it names."""

import hashlib
import os
import re
import tomllib
import unicodedata
from fractions import Fraction
from math import prod

import vnnlib
from arrays import read_array
from exact import Fault, ONE, ZERO, parse_number
from ladders import KERNELS, Ladder, MODES
from onnx_reader import Model

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


STRINGS = re.compile(r"""\"\"\"(?:\\.|[^\\])*?\"\"\"|'''.*?'''|"(?:\\.|[^"\\\n])*"|'[^'\n]*'|#[^\n]*""", re.DOTALL)


def read_toml(data, path):
    # tomllib does not tell in which base an integer is written
    if re.search(r"[=\[,]\s*0[xob]", STRINGS.sub('""', decode(data, path))):
        raise Fault("claim-value", f"{path}: an integer that is not in base 10")
    try:
        return tomllib.loads(decode(data, path), parse_float=lambda text: TomlFloat())
    except tomllib.TOMLDecodeError as error:
        raise Fault("claim-syntax", f"{path}: {error}")
    except RecursionError:
        raise Fault("claim-syntax", f"{path}: too deep")


def string(value):
    if type(value) is not str:
        raise Fault("claim-value", f"{value!r} is not a string")
    for c in value:
        if c == "`" or unicodedata.category(c) in ("Cc", "Cf", "Zl", "Zp"):
            raise Fault("claim-value", "a string with a backtick or an invisible character")
    return value


def number(value):
    """claim-format.md, Numbers."""
    if type(value) is int and abs(value) < 2 ** 63:
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


class Table:
    """A table of which every key must be read."""

    def __init__(self, value, where):
        if type(value) is not dict:
            raise Fault("claim-value", f"{where} is not a table")
        self.value, self.where, self.used = value, where, set()

    def __contains__(self, key):
        return key in self.value

    def get(self, key, reader, default=None):
        self.used.add(key)
        return reader(self.value[key]) if key in self.value else default

    def need(self, key, reader):
        if key not in self.value:
            raise Fault("claim-missing-key", f"{self.where}: {key}")
        return self.get(key, reader)

    def finish(self):
        for key in self.value:
            if key not in self.used:
                raise Fault("claim-unknown-key", f"{self.where}: {key}")


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
        self.seen_files = {}
        top = Table(read_toml(self.data, path), "the claim")
        self.model_path = model_path or self.resolve(self.folder, top.need("model", string))
        top.get("model", string)
        self.replace = None
        self.truncates = []
        self.property = None
        if "property" in top:
            self.property_file = self.resolve(self.folder, top.need("property", string))
            for key in ("inputs", "perturb", "replace", "truncate", "output", "setting"):
                if key in top:
                    raise Fault("claim-missing-key", "a table beside property")
            top.finish()
            self.property = True
            self.read_model()
            self.read_property()
            return
        self.read_tables(top)

    @staticmethod
    def of_property(model_path, path):
        """--model and --property, without a claim file."""
        claim = Claim.__new__(Claim)
        claim.path, claim.folder = path, os.path.dirname(path)
        claim.files, claim.seen_files = [], {}
        claim.model_path, claim.property_file = model_path, path
        claim.replace, claim.truncates = None, []
        claim.property = True
        claim.read_model()
        claim.read_property()
        claim.digest = claim.files[0][1]
        return claim

    @staticmethod
    def resolve(folder, name):
        return os.path.join(folder, name)

    def read_model(self):
        self.model_data = read_file(self.model_path)
        self.model_digest = digest(self.model_data)
        self.model = Model(self.model_data)
        self.other = Model(self.replace) if self.replace is not None else None

    def read_property(self):
        self.property_data = read_file(self.property_file)
        self.files = [(self.property_file, digest(self.property_data))]
        self.property = vnnlib.read(decode(self.property_data, self.property_file), len(self.property_data))

    def understand(self):
        """What is done after the digests are compared: the model and the data must fit the claim."""
        if self.property is not None:
            self.fit_property()
        else:
            self.fit()

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
        self.settings = [setting]
        self.rows = {r: Region(list(region.lower), list(region.upper))
                     for r, region in enumerate(self.property.regions)}
        self.regions, self.valid = False, None
        self.other, self.other_digest = None, None

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
            table = Table(value, "a file")
            name = table.need("file", string)
            tensor = table.get("tensor", string)
            if transpose:
                turned = table.get("transpose", flag, False)
            table.finish()
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

    def ladder(self, table):
        """The ladder that a scale names, by its keys or by a file."""
        if "ladder" in table:
            if "family" in table:
                raise Fault("claim-missing-key", "ladder beside family")
            path, data = self.named_file(self.folder, table.need("ladder", string))
            inner = Table(read_toml(data, path), path)
            inner.get("made", string)
            ladder = self.family(inner, os.path.dirname(path))
            inner.finish()
            return ladder
        return self.family(table, self.folder)

    def family(self, t, folder):
        family = t.need("family", string)
        keys = {}
        if family in ("block-mean", "haar", "wavelet", "dct"):
            shape = tuple(t.need("shape", lambda v: array(v, self.positive)))
            spatial = t.get("spatial", count, min(2, len(shape)))
            if spatial not in (1, 2) or spatial > len(shape):
                raise Fault("claim-shape", "spatial")
            keys.update(shape=shape, spatial=spatial)
        if family == "none" or family == "block-mean" or family == "haar":
            return Ladder(family, **keys)
        if family == "wavelet":
            return Ladder(family, filters=t.need("filters", self.filters), **keys)
        if family == "dct":
            value = t.need("matrix", lambda v: v)
            if type(value) is dict and ("vertical" in value or "horizontal" in value):
                pair = Table(value, "matrix")
                v = self.matrix(pair.need("vertical", lambda v: v), folder)
                matrix = self.matrix(pair.need("horizontal", lambda v: v), folder)
                pair.finish()
            else:
                matrix = self.matrix(value, folder)
                v = matrix if spatial == 2 else None
            return Ladder("dct", matrix=matrix, vertical=v, **keys)
        if family == "groups":
            shape = t.get("shape", lambda v: tuple(array(v, self.positive)))
            return Ladder("groups", shape=shape, levels=t.need("levels", self.levels))
        if family == "pca":
            return Ladder("pca", matrix=self.matrix(t.need("modes", lambda v: v), folder))
        if family == "matrix":
            if ("modes" in t) == ("generator" in t):
                raise Fault("claim-missing-key", "one of modes and generator")
            kind = "modes" if "modes" in t else "generator"
            return Ladder(kind, matrix=self.matrix(t.need(kind, lambda v: v), folder))
        if family == "dictionary":
            bounds = t.get("bounds", lambda v: self.vector(v, folder))
            if bounds is not None and any(b < 0 for b in bounds):
                raise Fault("claim-value", "a negative bound")
            matrix = self.matrix(t.need("atoms", lambda v: v), folder)
            if ("levels" in t) == ("nested" in t):
                raise Fault("claim-missing-key", "one of levels and nested")
            if "levels" in t:
                levels = t.need("levels", self.levels)
            else:
                nested = t.need("nested", lambda v: array(v, count))
                if any(b >= a for a, b in zip(nested, nested[1:])):
                    raise Fault("ladder-nesting", "counts that do not fall")
                if nested[0] > len(matrix[0]):
                    raise Fault("claim-shape", "more atoms than there are")
                levels = tuple(tuple((j,) for j in range(n)) for n in nested)
            residual = t.need("residual", not_negative)
            return Ladder("dictionary", matrix=matrix, levels=levels, bounds=bounds, residual=residual)
        raise Fault("claim-value", f"the family {family}")

    @staticmethod
    def positive(value):
        if count(value) < 1:
            raise Fault("claim-value", "a zero in a shape")
        return value

    @staticmethod
    def levels(value):
        return tuple(array(value, lambda level: tuple(array(level, lambda g: tuple(array(g, count))))))

    @staticmethod
    def filters(value):
        if type(value) is str:
            if value not in FILTERS:
                raise Fault("claim-value", f"the filters {value}")
            (low, a, s), (dual, b, t) = FILTERS[value]
            return tuple(Fraction(v, a) for v in low), tuple(Fraction(v, b) for v in dual), (s, t)
        table = Table(value, "filters")

        def start(v):
            if type(v) is not int or abs(v) > 64:
                raise Fault("claim-value", "the start of a filter")
            return v

        low = tuple(table.need("low", lambda v: array(v, number)))
        dual = tuple(table.need("dual", lambda v: array(v, number)))
        starts = tuple(table.need("start", lambda v: array(v, start)))
        table.finish()
        if len(starts) != 2:
            raise Fault("claim-value", "two starts")
        if len(low) > 64 or len(dual) > 64:
            raise Fault("ladder-nesting", "filters that are too long")
        return low, dual, starts

    def scale(self, value, rungs=True):
        """`rungs`: True for cutoff and seen, "cutoff" for a cutoff alone, None for neither."""
        t = Table(value, "scale")
        ladder = self.ladder(t)
        cutoff = seen = None
        if rungs and ladder.family != "none":
            cutoff = t.need("cutoff", count)
            if rungs is True:
                seen = t.get("seen", count)
        t.finish()
        return Scale(ladder, cutoff, seen)

    # ---- tables ----

    def read_tables(self, top):
        inputs = Table(top.need("inputs", lambda v: v), "[inputs]")
        self.read_inputs(inputs)
        replace = top.get("replace", string)
        if replace is not None:
            self.replace_path, data = self.named_file(self.folder, replace)
            self.other_digest = digest(data)
            self.replace = data
        else:
            self.other_digest = None
        for t in top.get("truncate", lambda v: array(v, lambda t: Table(t, "[[truncate]]")), []):
            site = t.need("site", string)
            scale = self.scale(t.need("scale", lambda v: v), "cutoff")
            t.finish()
            if scale.ladder.family not in ("block-mean", "haar", "groups") + MODES:
                raise Fault("claim-value", "a truncation of this family")
            self.truncates.append((site, scale))
        entries = []
        tables = top.get("perturb", lambda v: array(v, lambda t: Table(t, "[[perturb]]")), [])
        for t in tables:
            entries.append(self.read_entry(t))
        if not entries and replace is None and not self.truncates:
            raise Fault("claim-missing-key", "perturb")
        output = Table(top.need("output", lambda v: v), "[output]")
        base = Setting()
        base.entries = entries
        base.tensor = output.get("tensor", string)
        base.coarse = output.get("coarse", self.coarse, ("identity",))
        statement = self.statement(output)
        output.finish()
        settings = top.get("setting", lambda v: array(v, lambda t: Table(t, "[[setting]]")))
        top.finish()
        if settings is None:
            if statement is None:
                raise Fault("claim-missing-key", "one of tolerance, decision and reaches")
            base.kind, base.value = statement
            self.settings = [base]
        else:
            if statement is not None:
                raise Fault("claim-missing-key", "a statement in [output] beside settings")
            self.settings = [self.read_setting(t, base) for t in settings]
        for s in [base] + self.settings:
            for e in s.entries:
                if e.site is not None and e.scale.ladder.family != "none":
                    self.rungs(e.scale)
        self.regions = bool(self.radius is not None or self.box is not None or replace is not None or self.truncates)
        if self.regions:
            for s in self.settings:
                if s.kind == "winner":
                    raise Fault("claim-value", "a decision about regions")
                if any(e.weights is not None for e in s.entries):
                    raise Fault("claim-value", "perturbed weights over regions")
        self.read_model()

    def read_inputs(self, t):
        given = [k for k in ("point", "file", "box") if k in t]
        if len(given) != 1:
            raise Fault("claim-missing-key", "one of point, file and box")
        self.point = t.get("point", lambda v: array(v, number))
        self.input_rows, self.csv_data = None, None
        name = t.get("file", string)
        if name is not None:
            self.input_rows = t.need("rows", self.row_list)
            path = self.resolve(self.folder, name)
            data = read_file(path)
            self.files.append((path, digest(data)))
            self.csv_data, self.csv_path = data, path
        elif "rows" in t:
            raise Fault("claim-missing-key", "rows without file")
        self.radius = t.get("radius", not_negative)
        valid = t.get("valid", lambda v: array(v, number))
        if valid is not None and (len(valid) != 2 or valid[0] > valid[1]):
            raise Fault("claim-value", "valid")
        self.valid = valid
        self.box = t.get("box", self.read_box)
        if self.box is not None and self.radius is not None:
            raise Fault("claim-missing-key", "radius with box")
        if self.box == "valid" and valid is None:
            raise Fault("claim-missing-key", "box = valid without valid")
        t.finish()

    @staticmethod
    def read_box(value):
        if value == "valid":
            return value
        t = Table(value, "box")
        side = lambda v: array(v, number) if type(v) is list else number(v)
        box = t.need("lower", side), t.need("upper", side)
        t.finish()
        return box

    @staticmethod
    def row_list(value):
        if type(value) is str:
            match = re.fullmatch(r"([0-9]+)\.\.([0-9]+)", value, re.ASCII)
            if not match:
                raise Fault("claim-value", "rows")
            a, b = int(match[1]), int(match[2])
            if not a < b or b - a > 2 ** 20 or b > COUNT:
                raise Fault("claim-value", "rows")
            return list(range(a, b))
        rows = array(value, count)
        if len(set(rows)) != len(rows):
            raise Fault("claim-value", "a row named twice")
        return rows

    @staticmethod
    def amplitudes(value):
        return array(value, not_negative) if type(value) is list else [not_negative(value)]

    def read_entry(self, t):
        entry = Entry()
        if ("site" in t) == ("weights" in t):
            raise Fault("claim-missing-key", "one of site and weights")
        if "site" in t:
            entry.site = t.need("site", string)
            entry.scale = self.scale(t.need("scale", lambda v: v))
            if "error" in t:
                raise Fault("claim-missing-key", "error with a site")
        else:
            if "scale" in t:
                raise Fault("claim-missing-key", "scale with weights")
            entry.weights = t.need("weights", self.weight_names)
            entry.error = t.need("error", string)
            if entry.error not in ("absolute", "relative"):
                raise Fault("claim-value", "error")
        entry.amplitudes = t.need("amplitude", self.amplitudes)
        t.finish()
        return entry

    @staticmethod
    def weight_names(value):
        if type(value) is str:
            if value != "all":
                raise Fault("claim-value", "weights")
            return value
        return array(value, string)

    def coarse(self, value):
        if type(value) is str:
            if value != "identity":
                raise Fault("claim-value", "coarse")
            return ("identity",)
        t = Table(value, "coarse")
        given = [k for k in ("groups", "matrix", "scale") if k in t]
        if len(given) != 1:
            raise Fault("claim-missing-key", "one of groups, matrix and scale")
        if given[0] == "groups":
            groups = tuple(t.need("groups", lambda v: array(v, lambda g: tuple(array(g, count)))))
            reduce = t.need("reduce", string)
            if reduce not in ("mean", "sum"):
                raise Fault("claim-value", "reduce")
            if any(len(set(g)) != len(g) for g in groups):
                raise Fault("claim-value", "an element twice in a group")
            result = ("groups", groups, reduce)
        elif given[0] == "matrix":
            result = ("matrix", self.matrix(t.need("matrix", lambda v: v), self.folder))
        else:
            scale = self.scale(t.need("scale", lambda v: v), None)
            seen, hidden = t.get("seen", count), t.get("hidden", count)
            if scale.ladder.family not in ("block-mean", "groups") + MODES:
                raise Fault("claim-value", "a coarse map of this family")
            if seen is None and hidden is None:
                raise Fault("claim-missing-key", "one of seen and hidden")
            result = ("scale", scale.ladder, seen, hidden)
        t.finish()
        return result

    @staticmethod
    def statement(t):
        given = [k for k in ("tolerance", "decision", "reaches") if k in t]
        if len(given) > 1:
            raise Fault("claim-missing-key", "several statements")
        if not given:
            return None
        if given[0] == "decision":
            if t.get("decision", string) != "winner":
                raise Fault("claim-value", "decision")
            return "winner", None
        return given[0], t.get(given[0], not_negative)

    def read_setting(self, t, base):
        setting = Setting()
        setting.tensor = t.get("tensor", string, base.tensor)
        setting.coarse = t.get("coarse", self.coarse, base.coarse)
        statement = self.statement(t)
        if statement is None:
            raise Fault("claim-missing-key", "one of tolerance, decision and reaches")
        setting.kind, setting.value = statement
        scale = t.get("scale", self.scale)
        cutoff, seen = t.get("cutoff", count), t.get("seen", count)
        amplitudes = t.get("amplitude", self.amplitudes)
        t.finish()
        setting.entries = []
        sites = with_rungs = 0
        for old in base.entries:
            entry = Entry()
            entry.site, entry.scale, entry.weights, entry.error = old.site, old.scale, old.weights, old.error
            entry.amplitudes = old.amplitudes if amplitudes is None else amplitudes
            if entry.site is not None:
                sites += 1
                if scale is not None:
                    entry.scale = scale
                if entry.scale.ladder.family != "none":
                    with_rungs += 1
                    if cutoff is not None:
                        entry.scale = Scale(entry.scale.ladder, cutoff, None)
                    if seen is not None:
                        entry.scale = Scale(entry.scale.ladder, entry.scale.cutoff, seen)
            setting.entries.append(entry)
        if (scale is not None or cutoff is not None or seen is not None) and not sites:
            raise Fault("claim-value", "a scale in a setting when only weights are perturbed")
        if (cutoff is not None or seen is not None) and not with_rungs:
            raise Fault("claim-value", "a cutoff in a setting without rungs")
        if amplitudes is not None and not base.entries:
            raise Fault("claim-value", "an amplitude without perturbations")
        return setting

    # ---- against the model ----

    def tensor(self, name):
        model = self.model
        if name == "input":
            return 0
        if name not in model.names:
            raise Fault("claim-tensor", f"the model has no tensor {name}")
        return model.names[name]

    def fit(self):
        model = self.model
        size = model.tensors[0].size
        self.read_rows(size)
        if self.other is not None and self.other.tensors[0].size != size:
            raise Fault("claim-shape", "the other model has an input of another size")
        for setting in self.settings:
            if setting.tensor is not None:
                if setting.tensor in model.names:
                    setting.output = model.names[setting.tensor]
                else:
                    raise Fault("claim-tensor", f"the model has no tensor {setting.tensor}")
            elif len(model.outputs) == 1:
                setting.output = model.env[model.outputs[0]].tensor
            else:
                raise Fault("claim-tensor", "several outputs and none named")
            if setting.output in () or 0 not in model.ancestors(setting.output):
                raise Fault("claim-tensor", "the output does not depend on the input")
            needed = model.ancestors(setting.output)
            setting.needed = needed
            setting.rows = self.coarse_rows(setting.coarse, model.tensors[setting.output].size)
            if setting.kind == "winner" and len(setting.rows) < 2:
                raise Fault("claim-clean", "a single coarse output has nothing to win against")
            for entry in setting.entries:
                if entry.weights is not None:
                    if len(entry.amplitudes) != 1:
                        raise Fault("claim-value", "weights take one amplitude")
                    entry.parameters = self.parameters(entry, needed)
                    continue
                entry.tensor = self.tensor(entry.site)
                if entry.tensor not in needed:
                    raise Fault("claim-tensor", f"the output does not depend on {entry.site}")
                entry.delta = self.perturbation(entry.scale, model.tensors[entry.tensor].size, entry.amplitudes)
        seen = set()
        self.cut = []
        for site, scale in self.truncates:
            tensor = self.tensor(site)
            if tensor in seen:
                raise Fault("claim-value", "a tensor truncated twice")
            seen.add(tensor)
            size = model.tensors[tensor].size
            if size > 2048:
                raise Fault("claim-shape", "a tensor of more than 2048 elements is truncated")
            for setting in self.settings:
                if tensor not in setting.needed:
                    raise Fault("claim-tensor", f"the output does not depend on {site}")
            scale.ladder.fit(size)
            if not scale.ladder.has_rung(scale.cutoff):
                raise Fault("claim-shape", "no rung")
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
        for rung in (seen, hidden):
            if rung is not None and not ladder.has_rung(rung):
                raise Fault("claim-shape", f"the ladder has no rung {rung}")
        if seen is not None and hidden is not None and not ladder.finer(seen, hidden):
            raise Fault("claim-shape", "seen is not finer than hidden")
        rows = ladder.coarse_rows(size, seen, hidden)
        if not rows:
            raise Fault("claim-shape", "nothing between its rungs")
        return rows

    # ---- rows ----

    def read_rows(self, size):
        """The clean inputs, as regions of one point if the claim is not about regions."""
        points = {}
        if self.point is not None:
            if len(self.point) != size:
                raise Fault("claim-shape", "point does not fit the input")
            points[0] = self.point
        elif self.csv_data is not None:
            lines = csv_rows(decode(self.csv_data, self.csv_path))
            for row in self.input_rows:
                points[row] = csv_numbers(lines, row, size)
        self.rows = {}
        for row, x in points.items():
            if self.valid is not None and any(not self.valid[0] <= v <= self.valid[1] for v in x):
                raise Fault("claim-clean", f"row {row} is outside of valid")
            if self.radius is None:
                self.rows[row] = Region(x, x)
            else:
                lower, upper = [v - self.radius for v in x], [v + self.radius for v in x]
                if self.valid is not None:
                    lower = [max(v, self.valid[0]) for v in lower]
                    upper = [min(v, self.valid[1]) for v in upper]
                self.rows[row] = Region(lower, upper)
        if self.box is not None:
            lower, upper = self.valid if self.box == "valid" else self.box
            lower, upper = [v if type(v) is list else [v] * size for v in (lower, upper)]
            if len(lower) != size or len(upper) != size:
                raise Fault("claim-shape", "box does not fit the input")
            if any(a > b for a, b in zip(lower, upper)):
                raise Fault("claim-value", "an empty box")
            if self.valid is not None and (min(lower) < self.valid[0] or max(upper) > self.valid[1]):
                raise Fault("claim-clean", "the box is outside of valid")
            self.rows[0] = Region(lower, upper)


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
