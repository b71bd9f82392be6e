"""certificate-format.md: reads certificates and checks their answers."""

import gzip
import json
import os
import re
import zlib
from fractions import Fraction

import rules
from claim import Claim, digest, read_file
from exact import Fault, ONE, Vector, ZERO, parse_number
from ladders import KERNELS
from problem import Problem, dot, evaluate, winner

LARGEST = 2 ** 29
# What a byte of the text counts in memory; any other counts two.
COUNTS = {b"{": 384, b"[": 48, b",": 24, b'"': 40}


# ---- the form ----

def malformed(message):
    return Fault("certificate-format", message)


def unpack(data):
    if data[:2] == b"\x1f\x8b":
        result, rest = b"", data
        try:
            while rest:
                inflate = zlib.decompressobj(31)
                result += inflate.decompress(rest, LARGEST // 2 + 1 - len(result))
                if len(result) > LARGEST // 2 or inflate.unconsumed_tail:
                    raise Fault("limit-size", "the certificate is too large")
                if not inflate.eof:
                    raise malformed("damaged gzip")
                rest = inflate.unused_data
        except zlib.error:
            raise malformed("damaged gzip")
        data = result
    if 2 * len(data) + sum((count - 2) * data.count(byte) for byte, count in COUNTS.items()) > LARGEST:
        raise Fault("limit-size", "the certificate is too large")
    return data


def parse_json(data):
    def number(text):
        raise malformed(f"the number {text}")

    def whole(text):
        return number(text) if text == "-0" else int(text)

    def pairs(items):
        result = dict(items)
        if len(result) != len(items):
            raise malformed("a key that occurs twice")
        return result

    try:
        return json.loads(data.decode("utf-8"), parse_int=whole, parse_float=number, parse_constant=number,
                          object_pairs_hook=pairs)
    except (ValueError, RecursionError) as error:
        raise malformed(str(error))


def record(value, needed, optional=()):
    if type(value) is not dict:
        raise malformed("not an object")
    for key in needed:
        if key not in value:
            raise malformed(f"no key {key}")
    for key in value:
        if key not in needed and key not in optional:
            raise malformed(f"the key {key}")
    return value


def text(value):
    if type(value) is not str or any("\ud800" <= c <= "\udfff" for c in value):
        raise malformed("not a string")
    return value


def integer(value, low=-2 ** 63, high=2 ** 63):
    if type(value) is not int or not low <= value < high:
        raise malformed("not an integer, or one that is far out of range")
    return value


def position(value):
    return integer(value, 0, 2 ** 64)


def exponent(value):
    return integer(value, -2 ** 31, 2 ** 31)


def items(value, reader):
    if type(value) is not list:
        raise malformed("not an array")
    return [reader(v) for v in value]


def digits(value):
    if not re.fullmatch("[0-9a-f]{64}", text(value)):
        raise malformed("not a SHA-256")
    return value


def form(data):
    """Reads the whole form before anything is checked."""
    top = record(parse_json(unpack(data)), ("format", "generator", "claim", "model", "data", "answers"), ("links",))
    if top["format"] != "scale-certificate/1":
        raise malformed("an unknown format")
    text(top["generator"])
    digits(top["claim"])
    digits(top["model"])
    items(top["data"], digits)
    for link in items(top.get("links", []), lambda v: record(v, ("claim", "certificate"))):
        for side in link.values():
            record(side, ("file", "sha256"))
            text(side["file"])
            digits(side["sha256"])
            if len(side["file"].encode("utf-8")) > 4096:
                raise Fault("limit-size", "the name of a link's file")
    items(top["answers"], answer_form)
    return top


def answer_form(a):
    record(a, ("row",), ("setting", "proof", "witness", "served_by", "chain"))
    position(a["row"])
    position(a.get("setting", 0))
    for kind in ("proof", "witness", "served_by", "chain"):
        if kind in a:
            part_form(kind, a[kind])
    if sum(kind in a for kind in ("proof", "witness", "served_by", "chain")) != 1:
        raise malformed("an answer that is not one of proof, witness, served_by and chain")


def part_form(kind, value):
    if kind == "served_by":
        position(value)
    elif kind == "chain":
        for step in items(value, lambda v: record(v, ("link",), ("setting", "row"))):
            for v in step.values():
                position(v)
    elif kind == "witness":
        record(value, (), ("perturbation", "input"))
        items(value.get("perturbation", []), lambda b: items(b, text))
        items(value.get("input", []), text)
    else:
        record(value, ("slope_bits", "tensors", "nodes"), ("slopes", "refine"))
        integer(value["slope_bits"], 0, 2 ** 32)
        items(value["tensors"], text)
        items(value.get("slopes", []), lambda s: items(s, slope_form))
        items(value.get("refine", []), refine_form)
        items(value["nodes"], node_form)


def slope_form(s):
    record(s, ("tensor",), ("lower", "upper"))
    position(s["tensor"])
    items(s.get("lower", []), integer)
    items(s.get("upper", []), integer)


def extra_form(v):
    if "slopes" in v:
        position(v["slopes"])
    for m in items(v.get("multipliers", []), lambda m: items(m, lambda i: integer(i, high=2 ** 64))):
        if len(m) != 4:
            raise malformed("a multiplier of other than four integers")
        position(m[0])
        position(m[1])
        integer(m[2])
        exponent(m[3])
    for d in items(v.get("duals", []), lambda d: record(d, ("tensor", "exponent", "mantissas"))):
        position(d["tensor"])
        exponent(d["exponent"])
        items(d["mantissas"], integer)


def refine_form(r):
    record(r, ("tensor",), ("rows", "side", "slopes", "multipliers", "duals"))
    position(r["tensor"])
    items(r.get("rows", []), position)
    if r.get("side", "lower") not in ("lower", "upper"):
        raise malformed("side")
    extra_form(r)


def node_form(n):
    record(n, (), ("refine", "close", "split", "void"))
    items(n.get("refine", []), refine_form)
    for c in items(n.get("close", []), lambda c: record(c, (), ("cell", "weights", "slopes", "multipliers", "duals"))):
        if "cell" in c:
            position(c["cell"])
        items(c.get("weights", []), integer)
        extra_form(c)
    if "split" in n:
        record(n["split"], ("tensor", "element", "at"))
        position(n["split"]["tensor"])
        position(n["split"]["element"])
        text(n["split"]["at"])
    if "void" in n:
        record(n["void"], ("tensor", "element"))
        position(n["void"]["tensor"])
        position(n["void"]["element"])


# ---- proofs ----

class Item:
    """A refinement or an entry of close, with its references resolved."""


class Proof:
    """All references are resolved before the tree is walked."""

    def __init__(self, value, problem, mode):
        self.problem, self.mode = problem, mode
        bits = value["slope_bits"]
        if bits > 16:
            raise Fault("slope-range", "slope_bits above 16")
        self.tensors = []
        for name in value["tensors"]:
            if name not in problem.names:
                raise Fault("proof-reference", f"the problem has no tensor {name}")
            self.tensors.append(problem.names[name])
        self.slopes = []
        for slope_set in value.get("slopes", []):
            result = {}
            for s in slope_set:
                tensor = self.tensor(s["tensor"])
                size = problem.nodes[tensor].size
                lists = []
                for key in ("upper", "lower"):
                    if key not in s:
                        lists.append(None)
                        continue
                    if len(s[key]) != size:
                        raise Fault("slope-range", "a list of a wrong length")
                    if any(not -1 <= v <= 1 << bits for v in s[key]):
                        raise Fault("slope-range", "a slope outside of its range")
                    lists.append([v if v < 0 else v << (16 - bits) for v in s[key]])
                if tensor in result:
                    raise Fault("proof-reference", "a tensor twice in a slope set")
                result[tensor] = tuple(lists)
            self.slopes.append(result)
        self.refine = [self.refinement(r) for r in value.get("refine", [])]
        self.nodes = [self.node(n) for n in value["nodes"]]

    def tensor(self, index):
        if index >= len(self.tensors):
            raise Fault("proof-reference", "a tensor that does not exist")
        return self.tensors[index]

    def element(self, tensor, element):
        if element >= self.problem.nodes[tensor].size:
            raise Fault("proof-reference", "an element that does not exist")
        return element

    def extra(self, item, v):
        item.slopes = None
        if "slopes" in v:
            if v["slopes"] >= len(self.slopes):
                raise Fault("proof-reference", "a slope set that does not exist")
            item.slopes = self.slopes[v["slopes"]]
        item.multipliers = {}

        def add(tensor, element, mantissa, exponent):
            if abs(mantissa) >= 2 ** 48 or abs(exponent) > 256:
                raise Fault("proof-reference", "a multiplier outside of its limits")
            beta = mantissa / Fraction(2) ** exponent
            at = item.multipliers.setdefault(tensor, {})
            at[element] = at.get(element, ZERO) + beta

        for t, e, m, x in v.get("multipliers", []):
            tensor = self.tensor(t)
            add(tensor, self.element(tensor, e), m, x)
        for d in v.get("duals", []):
            tensor = self.tensor(d["tensor"])
            if len(d["mantissas"]) != self.problem.nodes[tensor].size:
                raise Fault("proof-reference", "a dual without one mantissa an element")
            for e, m in enumerate(d["mantissas"]):
                add(tensor, e, m, d["exponent"])
        return item

    def refinement(self, r):
        item = Item()
        item.tensor = self.tensor(r["tensor"])
        item.rows = None
        if "rows" in r:
            item.rows = [self.element(item.tensor, e) for e in r["rows"]]
        item.side = r.get("side")
        return self.extra(item, r)

    def node(self, n):
        node = Item()
        node.refine = [self.refinement(r) for r in n.get("refine", [])]
        if not ("split" in n or "close" in n or "void" in n) or ("void" in n and ("split" in n or "close" in n)):
            raise Fault("tree-node", "a node has none of split, close and void, or void beside another")
        node.split = node.void = None
        if "split" in n:
            tensor = self.tensor(n["split"]["tensor"])
            element, theta = self.element(tensor, n["split"]["element"]), parse_number(n["split"]["at"])
            if theta is None or max(abs(theta.numerator), theta.denominator) >= 2 ** 1024:
                raise Fault("proof-reference", "a threshold that is not readable")
            node.split = tensor, element, theta
        if "void" in n:
            tensor = self.tensor(n["void"]["tensor"])
            node.void = tensor, self.element(tensor, n["void"]["element"])
        node.close = []
        entries, cells = n.get("close", []), self.problem.cells
        named = any("cell" in c for c in entries)
        if "close" in n and not named and len(entries) != len(cells):
            raise Fault("proof-reference", "not one entry a cell")
        for k, c in enumerate(entries):
            entry = Item()
            if named and "cell" not in c:
                raise Fault("proof-reference", "only some entries name a cell")
            entry.cell = c.get("cell", k)
            if entry.cell >= len(cells) or any(e.cell == entry.cell for e in node.close):
                raise Fault("proof-reference", "a cell named twice, or that does not exist")
            halfspaces = cells[entry.cell].halfspaces
            entry.weights = c.get("weights", [1])
            if len(entry.weights) != len(halfspaces) or any(not 0 <= w <= 65535 for w in entry.weights):
                raise Fault("cell-weights", "weights")
            if any(abs(w * a) >= 2 ** 63 for w, (row, _, _) in zip(entry.weights, halfspaces) for a in row.values()):
                raise Fault("cell-weights", "a product outside of 64 bits")
            node.close.append(self.extra(entry, c))
        return node

    def complete(self):
        """Every split has two children, and there is a tree."""
        open_cases = 0
        for node in self.nodes:
            open_cases = max(open_cases, 1) + (1 if node.split is not None else -1)
        if open_cases or not self.nodes:
            raise Fault("tree-truncated", "there are no nodes, or they end inside of a tree")
        pending = []
        for node in self.nodes:
            depth = pending.pop() if pending else 0
            if depth > 1024:
                raise Fault("limit-size", "a tree is deeper than 1024 splits")
            if node.split is not None:
                pending += [depth + 1, depth + 1]

    def check(self):
        """Rule 4.7. Returns the tolerance that the proof establishes (None unless a tolerance is claimed)."""
        problem = self.problem
        self.complete()
        root = rules.Case(problem, self.mode)
        self.refine_all(root, self.refine)
        at, excluded, worst = 0, set(), {}
        while at < len(self.nodes):
            first = at == 0
            at, closed = self.tree(root, at)
            fresh = set(closed) - excluded
            if not first and not fresh:
                raise Fault("tree-trailing", "a tree excludes no cell that earlier trees leave")
            for cell in fresh:
                worst[cell] = closed[cell]
            excluded |= fresh
        if len(excluded) < len(problem.cells):
            raise Fault("cell-open", f"no tree excludes cell {min(set(range(len(problem.cells))) - excluded)}")
        if problem.setting.kind != "tolerance":
            return None
        result = ZERO
        for cell, slack in worst.items():
            if slack is not None:
                result = max(result, problem.setting.value + slack / problem.cells[cell].scale)
        return result

    def tree(self, root, at):
        """Walks one tree. Returns where the next begins, and the excluded cells with their worst slacks."""
        problem = self.problem
        excluded = {cell: None for cell in range(len(problem.cells))}
        stack = [(root.child(), {})]
        while stack:
            case, closed = stack.pop()
            node = self.nodes[at]
            at += 1
            self.refine_all(case, node.refine)
            if node.void is not None:
                if not rules.void(case, *node.void):
                    raise Fault("not-void", "no contradiction is known")
                continue
            closed = dict(closed)
            if node.close:
                rules.prepare(case, node.close)
            for entry in node.close:
                bound, closes = rules.close(case, problem.cells[entry.cell], entry)
                if closes:
                    single = len(entry.weights) == 1 and entry.weights[0] > 0
                    slack = bound / entry.weights[0] if single else bound
                    closed[entry.cell] = min(slack, closed.get(entry.cell, slack))
            if node.split is not None:
                low, high = rules.split(case, *node.split)
                stack.append((high, closed))
                stack.append((low, closed))
                continue
            for cell in list(excluded):
                if cell not in closed:
                    del excluded[cell]
                elif excluded[cell] is None or closed[cell] > excluded[cell]:
                    excluded[cell] = closed[cell]
        return at, excluded

    def refine_all(self, case, refinements):
        start = 0
        for i in range(1, len(refinements) + 1):
            if i == len(refinements) or refinements[i].tensor != refinements[start].tensor:
                rules.refine(case, refinements[start:i])
                start = i


# ---- witnesses ----

def witness(claim, setting, row, value):
    """Rule 4.8. Returns the largest change of a coarse output, for `reaches`."""
    region = claim.rows[row]
    about_input = claim.regions or setting.kind == "property"
    if ("perturbation" in value) != bool(setting.entries) or ("input" in value) != about_input:
        raise malformed("a witness of the wrong kind")

    def numbers(texts):
        result = [parse_number(t) for t in texts]
        if None in result:
            raise Fault("witness-outside", "a value that is not a number")
        return result

    outside = lambda message: Fault("witness-outside", message)
    if about_input:
        x = numbers(value["input"])
        if len(x) != len(region.lower) or any(not a <= v <= b for a, v, b in zip(region.lower, x, region.upper)):
            raise outside("the input is not in the region")
    else:
        x = region.lower
    given = [numbers(block) for block in value.get("perturbation", [])]
    deltas, weights = {}, []
    for entry in setting.entries:
        if entry.weights is not None:
            if not given:
                raise outside("too few blocks")
            z = given.pop(0)
            count = sum(len(p.variables) for _, p in entry.parameters)
            if len(z) != count or any(abs(v) > 1 for v in z):
                raise outside("a variable outside of its box")
            weights.append((entry, z))
            continue
        delta, blocks = entry.delta, []
        for block in delta.blocks:
            if not given:
                raise outside("too few blocks")
            z = given.pop(0)
            if len(z) != len(block.low) or any(not a <= v <= b for a, v, b in zip(block.low, z, block.high)):
                raise outside("a variable outside of its box")
            if any(sum(z[i] for i in group) != 0 for group in block.groups):
                raise outside("a group does not sum to zero")
            blocks.append(z)
        if delta.sees is not None and any(delta.sees.apply(Vector.of(blocks[0])).items):
            raise outside("the cutoff sees something")
        if not delta.in_band(blocks):
            raise outside("something finer than seen")
        total = [ZERO] * delta.size
        for block, z in zip(delta.blocks, blocks):
            part = z if block.map is None else block.map.apply(Vector.of(z)).fractions()
            total = [a + b for a, b in zip(total, part)]
        old = deltas.get(entry.tensor)
        deltas[entry.tensor] = total if old is None else [a + b for a, b in zip(old, total)]
    if given:
        raise outside("too many blocks")
    projections = {i: scale.ladder.truncation(claim.model.tensors[i].size, scale.cutoff) for i, scale in getattr(claim, "cut", [])}
    perturbed_input = []

    def change(i, v, values):
        for entry, z in weights:
            at = 0
            extra = {}
            for tensor, p in entry.parameters:
                if tensor != i:
                    at += len(p.variables)
                    continue
                a = entry.amplitudes[0]
                source = None if p.term is None else values[p.term]
                for w, factor, positions in p.variables:
                    s = z[at] * abs(Fraction(factor)) * (a if entry.error == "absolute" else a * abs(w))
                    at += 1
                    if s:
                        for place in positions:
                            if p.term is None:
                                extra[place] = extra.get(place, ZERO) + s
                            else:
                                extra[place[0]] = extra.get(place[0], ZERO) + s * Fraction(source.items[place[1]], source.den)
            if extra:
                v = v.plus(Vector.of([extra.get(k, ZERO) for k in range(len(v.items))]))
        if i in projections:
            v = projections[i].apply(v)
        if i in deltas:
            v = v.plus(Vector.of(deltas[i]))
            if i == 0:
                perturbed_input.extend(v.fractions())
        return v

    needed = claim.model.ancestors(setting.output)
    clean = evaluate(claim.ops, x, needed)[setting.output].fractions()
    if setting.kind == "property":
        for unsafe in claim.property.regions[row].sets:
            if all(dot(a, clean) < b or (dot(a, clean) == b and not strict) for a, b, strict in unsafe):
                return None
        raise Fault("witness-harmless", "the output is not unsafe")
    if claim.copy is not None:
        output = evaluate(claim.copy, x, claim.other.ancestors(setting.copy_output))[setting.copy_output].fractions()
    else:
        output = evaluate(claim.changed_ops, x, needed, change)[setting.output].fractions()
    if claim.valid is not None and any(not claim.valid[0] <= v <= claim.valid[1] for v in perturbed_input):
        raise outside("the perturbed input is not valid")
    before = [dot(g, clean) for g in setting.rows]
    after = [dot(g, output) for g in setting.rows]
    moved = max(abs(b - a) for a, b in zip(before, after))
    if setting.kind == "winner":
        w = winner(before)
        broken = any(after[j] >= after[w] for j in range(len(after)) if j != w)
    else:
        broken = moved > setting.value if setting.kind == "tolerance" else moved >= setting.value
    if not broken:
        raise Fault("witness-harmless", "the point does not break the claim")
    return moved


# ---- answers ----

def coarse_key(coarse):
    return tuple(c.key() if hasattr(c, "key") else c for c in coarse)


def covers(s, t):
    """certificate-format.md, Answers: whether entry s covers entry t."""
    one = len(s.amplitudes) == 1 and len(t.amplitudes) == 1 and s.amplitudes[0] >= t.amplitudes[0]
    if not one and s.amplitudes != t.amplitudes:
        return False
    if s.weights is not None or t.weights is not None:
        return s.weights == t.weights and s.error == t.error
    if s.site != t.site:
        return False
    a, b = s.scale, t.scale
    if a.ladder.family == "none" and b.ladder.family in KERNELS:
        return True
    if a.ladder.key() != b.ladder.key():
        return False
    if a.cutoff == b.cutoff and a.seen == b.seen:
        return True
    return a.seen is None and (a.cutoff == b.cutoff or a.ladder.finer(b.cutoff, a.cutoff))


def same_output(s, t):
    return s.tensor == t.tensor and coarse_key(s.coarse) == coarse_key(t.coarse)


class Result:
    def __init__(self, verdict, tolerance=None, change=None, fault=None):
        self.verdict, self.tolerance, self.change, self.fault = verdict, tolerance, change, fault


class Check:
    """A claim with its certificate."""

    def __init__(self, claim, path, mode=rules.GRID, above=None, data=None):
        self.claim, self.mode = claim, mode
        self.depth = above.depth + 1 if above else 0
        self.known = above.known if above else {}     # checks of links, by the SHA-256 of claim and certificate
        self.folder = os.path.dirname(path)
        self.top = form(read_file(path) if data is None else data)

    def run(self):
        """certificate-format.md, Order of errors."""
        self.digests()
        self.read_links()
        claim, answers = self.claim, {}
        for a in self.top["answers"]:
            key = a.get("setting", 0), a["row"]
            if key[0] >= len(claim.settings) or key[1] not in set(claim.row_numbers()) or key in answers:
                raise Fault("certificate-row", f"setting {key[0]}, row {key[1]}")
            answers[key] = a
        self.results = {}
        for row in claim.row_numbers():
            claim.read_row(row)
            for number, setting in enumerate(claim.settings):
                if setting.kind != "property":
                    claim.fit(setting)
                problem = Problem(claim, setting, row)
                a = answers.get((number, row))
                if a is not None and "served_by" not in a:
                    self.settle((number, row), lambda: self.answer(setting, row, a, problem))
            for number, setting in enumerate(claim.settings):
                a = answers.get((number, row))
                if a is not None and "served_by" in a:
                    self.settle((number, row), lambda: self.served(setting, row, a["served_by"], answers))
        return self.verdict()

    def settle(self, key, check):
        """One answer; an error of another class than rejected ends the check."""
        try:
            self.results[key] = check()
        except Fault as fault:
            if fault.verdict != "REJECTED":
                raise
            self.results[key] = Result("REJECTED", fault=fault)

    def digests(self):
        claim, top = self.claim, self.top
        if top["model"] != claim.model_digest:
            raise Fault("model-mismatch", "the model has another SHA-256")
        if top["data"] != [d for _, d in claim.files]:
            raise Fault("data-mismatch", "the data have other SHA-256")
        if top["claim"] != claim.digest:
            raise Fault("claim-mismatch", "the claim has another SHA-256")

    def read_links(self):
        self.links = []
        if len(self.top.get("links", [])) > 256:
            raise Fault("limit-size", "more than 256 links")
        for link in self.top.get("links", []):
            key = link["claim"]["sha256"], link["certificate"]["sha256"]
            if key in self.known:
                self.links.append(self.known[key])
                continue
            if self.depth >= 8 or len(self.known) >= 1024:
                raise Fault("limit-size", "chains of chains are too deep, or refer to too many others")
            paths, contents = [], []
            for side in ("claim", "certificate"):
                path = os.path.join(self.folder, link[side]["file"])
                content = read_file(path)
                if digest(content) != link[side]["sha256"]:
                    raise Fault("link-mismatch", f"{path} has another SHA-256")
                paths.append(path)
                contents.append(content)
            check = Check(Claim(paths[0]), paths[1], self.mode, self, contents[1])
            check.run()
            self.known[key] = check
            self.links.append(check)

    def answer(self, setting, row, a, problem):
        if "proof" in a:
            if setting.kind == "reaches":
                raise malformed("a proof of a setting with reaches")
            return Result("VERIFIED", Proof(a["proof"], problem, self.mode).check())
        if "witness" in a:
            moved = witness(self.claim, setting, row, a["witness"])
            return Result("REACHED" if setting.kind == "reaches" else "REFUTED", change=moved)
        return Result("VERIFIED", self.chain(setting, row, a["chain"]))

    def served(self, t, row, number, answers):
        """Rule 4.10."""
        a = answers.get((number, row))
        fail = lambda why: Fault("served-by", why)
        if number >= len(self.claim.settings) or a is None or not ("proof" in a or "chain" in a):
            raise fail("the other setting has no proof of its own")
        result = self.results[number, row]
        if result.verdict != "VERIFIED":
            raise fail("the other proof is not correct")
        s = self.claim.settings[number]
        if not same_output(s, t) or len(s.entries) != len(t.entries):
            raise fail("another output, or other perturbations")
        if not all(covers(x, y) for x, y in zip(s.entries, t.entries)):
            raise fail("the other setting does not cover this one")
        if s.kind != t.kind or s.kind not in ("tolerance", "winner"):
            raise fail("another kind of statement")
        if s.kind == "tolerance" and result.tolerance > t.value:
            raise fail("the other proof establishes less")
        return Result("VERIFIED", result.tolerance)

    def chain(self, t, row, steps):
        """Rule 4.12."""
        claim = self.claim
        fail = lambda why: Fault("chain-link", why)
        if claim.other is None or claim.truncates or not steps:
            raise fail("this claim has no chain")
        if len(steps) > 64:
            raise Fault("limit-size", "a chain of more than 64 steps")
        if t.kind != "tolerance":
            raise fail("this setting has no tolerance")
        model, total = claim.model_digest, ZERO
        region = claim.rows[row]
        for k, step in enumerate(steps):
            last = k == len(steps) - 1
            if step["link"] >= len(self.links):
                raise fail("no such link")
            link = self.links[step["link"]]
            other = link.claim
            key = step.get("setting", 0), step.get("row", row)
            if key[0] >= len(other.settings):
                raise fail("no such setting")
            s = other.settings[key[0]]
            if other.other is None or other.truncates or other.model_digest != model:
                raise fail("the models do not follow each other")
            model = other.other_digest
            if not same_output(s, t):
                raise fail("another output")
            if last:
                if len(s.entries) != len(t.entries) or not all(covers(x, y) for x, y in zip(s.entries, t.entries)):
                    raise fail("the perturbations are not covered")
                if t.entries and other.valid is not None:
                    if claim.valid is None or claim.valid[0] < other.valid[0] or claim.valid[1] > other.valid[1]:
                        raise fail("the valid range is not covered")
            elif s.entries:
                raise fail("perturbations before the last link")
            for c, setting in ((claim, t), (other, s)):
                for name in [setting.tensor] + [e.site for e in setting.entries]:
                    if name is not None and name != "input" and name not in c.other.names:
                        raise fail("a name that the other model has not")
            result = link.results.get(key)
            if result is None or result.verdict != "VERIFIED" or s.kind != "tolerance" or link.faults:
                raise fail("no verified tolerance")
            inner = other.rows[key[1]]
            if len(inner.lower) != len(region.lower) or any(
                    a > b for a, b in zip(inner.lower, region.lower)) or any(
                    a < b for a, b in zip(inner.upper, region.upper)):
                raise fail("the region is not covered")
            total += result.tolerance
        if model != claim.other_digest:
            raise fail("the chain does not end at the other model")
        if total > t.value:
            raise Fault("chain-sum", "the steps add up to more than the tolerance")
        return total

    def verdict(self):
        """certificate-format.md, Verdicts."""
        claim = self.claim
        self.faults = {key: r.fault for key, r in self.results.items() if r.fault}
        if self.faults:
            return "REJECTED"
        verdicts = []
        for number, setting in enumerate(claim.settings):
            rows = [self.results[number, r].verdict if (number, r) in self.results else "UNANSWERED" for r in claim.rows]
            if setting.kind == "reaches":
                verdicts.append("VERIFIED" if "REACHED" in rows else "REJECTED")
            elif "REFUTED" in rows:
                verdicts.append("REFUTED")
            else:
                verdicts.append("VERIFIED" if set(rows) == {"VERIFIED"} else "REJECTED")
        if "REFUTED" in verdicts:
            return "REFUTED"
        return "VERIFIED" if set(verdicts) == {"VERIFIED"} else "REJECTED"

    def separations(self):
        """certificate-format.md, Separations: (below, band, gap)."""
        found = []
        for i, s in enumerate(self.claim.settings):
            for j, t in enumerate(self.claim.settings):
                if s.kind != "tolerance" or t.kind != "reaches" or not same_output(s, t) or len(s.entries) != len(t.entries):
                    continue
                if not all(a.site is not None and a.site == b.site and a.scale.ladder.key() == b.scale.ladder.key()
                           and a.amplitudes == b.amplitudes and a.scale.seen is None
                           and a.scale.ladder.family != "none" and b.scale.seen == a.scale.cutoff
                           for a, b in zip(s.entries, t.entries)):
                    continue
                if not s.entries:
                    continue
                below = max(r.tolerance for (n, _), r in self.results.items() if n == i)
                band = max(r.change for (n, _), r in self.results.items() if n == j and r.change is not None)
                if below or band:
                    found.append((i, j, band / below if below else None))
        return found
