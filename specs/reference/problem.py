"""calculus.md, section 3: from a claim, a setting and a row to a problem: a graph of deviations, a domain, unsafe cells.

Also the exact evaluation of the networks themselves, which witnesses are checked by (rule 4.8): it does not use the
problem.
"""

import copy
from fractions import Fraction

from exact import Fault, Map, ONE, Vector, ZERO, coprime, floor_to


class Op:
    """One tensor of a network, as far as evaluation is concerned."""

    def __init__(self, kind, terms=(), bias=None, pred=None):
        self.kind, self.terms, self.bias, self.pred = kind, list(terms), bias, pred


def operations(model):
    return [Op(t.kind, t.terms, t.bias, t.pred) for t in model.tensors]


def evaluate(ops, x, needed, change=None):
    """Exact values of the needed tensors; `change(i, value, values)` may replace what is computed. Section 2."""
    values = {}
    for i in sorted(needed):
        op = ops[i]
        if op.kind == "input":
            value = Vector.of(x)
        elif op.kind == "relu":
            v = values[op.pred]
            value = Vector([max(e, 0) for e in v.items], v.den)
        else:
            value = None
            for p, m in op.terms:
                part = m.apply(values[p])
                value = part if value is None else value.plus(part)
            if op.bias is not None:
                bias = Vector.of(op.bias)
                value = bias if value is None else value.plus(bias)
        if change is not None:
            value = change(i, value, values)
        values[i] = value
    return values


# ---- another model in the place of the first ----

def with_fewer_tensors(model, names):
    """claim-format.md, Regions: affine tensors of a name that `names` lacks are put into the affine tensors that use them."""
    outputs = {model.env[o].tensor for o in model.outputs}
    used = {t.pred for t in model.tensors if t.kind == "relu"}
    gone = {i for i, t in enumerate(model.tensors)
            if t.kind == "affine" and t.name not in names and i not in outputs and i not in used}
    parts = {}      # of tensors that go: their terms, over tensors that stay, and their bias
    tensors, place = [], {}
    for i, t in enumerate(model.tensors):
        terms, bias = [], t.bias
        for p, m in t.terms:
            if p not in gone:
                terms.append((place[p], m))
                continue
            inner, moved = parts[p]
            terms += [(q, m.after(n)) for q, n in inner]
            if moved is not None:
                extra = m.apply(Vector.of(moved)).fractions()
                bias = [a + b for a, b in zip(bias or [ZERO] * t.size, extra)]
        if i in gone:
            parts[i] = terms, bias
            continue
        place[i] = len(tensors)
        other = copy.copy(t)
        other.terms, other.bias, other.pred = terms, bias, None if t.pred is None else place[t.pred]
        tensors.append(other)
    result = copy.copy(model)
    result.tensors = tensors
    result.names = {t.name: i for i, t in enumerate(tensors)}
    result.env = {o: Output(place[model.env[o].tensor]) for o in model.outputs}
    return result


class Output:
    def __init__(self, tensor):
        self.tensor = tensor


def alike(model, other):
    """Whether both models compute alike but for the values of their constants."""
    if len(model.tensors) != len(other.tensors):
        return False
    if [model.env[o].tensor for o in model.outputs] != [other.env[o].tensor for o in other.outputs]:
        return False
    for s, t in zip(model.tensors, other.tensors):
        if s.kind != t.kind or s.size != t.size or s.pred != t.pred or [p for p, _ in s.terms] != [p for p, _ in t.terms]:
            return False
        if any(m.pattern != n.pattern for (_, m), (_, n) in zip(s.terms, t.terms)):
            return False
    return all(model.names.get(name, i) == i for name, i in other.names.items())


def prepare(claim):
    """Finds out how the other model fits the first. Sets claim.pair: None, or the operations, or two copies."""
    claim.ops = operations(claim.model)
    claim.changed_ops, claim.copy = claim.ops, None
    if claim.other is None:
        return
    for other in (claim.other, with_fewer_tensors(claim.other, set(claim.model.names))):
        if alike(claim.model, other):
            claim.changed_ops = operations(other)
            return
    claim.copy = operations(claim.other)


def fit_copy(claim, setting):
    """The output of another model of another shape."""
    if setting.entries:
        raise Fault("claim-tensor", "the other model has another shape: nothing may be perturbed")
    own = claim.model.tensors[setting.output]
    if setting.tensor is not None:
        if setting.tensor not in claim.other.names:
            raise Fault("claim-tensor", "the other model has no such output")
        setting.copy_output = claim.other.names[setting.tensor]
    elif len(claim.other.outputs) == 1:
        setting.copy_output = claim.other.env[claim.other.outputs[0]].tensor
    else:
        raise Fault("claim-tensor", "the other model has several outputs")
    if claim.other.tensors[setting.copy_output].size != own.size:
        raise Fault("claim-shape", "the other output has another size")


# ---- problems ----

class Node:
    """A tensor of a problem. kind: vars, affine, relu, change, weights."""

    def __init__(self, kind, size, centre, **rest):
        self.kind, self.size, self.centre = kind, size, centre
        self.terms = rest.get("terms", [])
        self.low, self.high, self.groups = rest.get("low"), rest.get("high"), rest.get("groups", [])
        self.range = rest.get("range")      # a known range (low, high) of the deviation
        self.pred, self.base = rest.get("pred"), rest.get("base")
        self.uses, self.constant = rest.get("uses", []), rest.get("constant")

    def preds(self):
        if self.kind == "affine":
            return [p for p, _ in self.terms]
        if self.kind == "relu":
            return [self.pred]
        if self.kind == "change":
            return [self.base, self.pred]
        if self.kind == "weights":
            return [p for p, _, _ in self.uses if p is not None]
        return []


class Cell:
    """Halfspaces (coefficients {element: int}, bound, strict) and the scale u of the first."""

    def __init__(self, halfspaces):
        self.halfspaces = []
        for row, bound, strict in halfspaces:
            keys = list(row)
            scale, items = coprime([row[k] for k in keys])
            if any(abs(v) >= 2 ** 48 for v in items):
                raise Fault("limit-size", "the coefficients of a cell")
            self.halfspaces.append(({k: v for k, v in zip(keys, items) if v}, bound * scale, strict))
            self.scale = scale


def point_of(lower, upper):
    """certificate-format.md, Tensors: the point of a box that the checker chooses."""
    result = []
    for a, b in zip(lower, upper):
        w = b - a
        if w == 0:
            result.append(a)
            continue
        # the least k with 2^-k ≤ w/4
        k = (4 * w.denominator).bit_length() - w.numerator.bit_length() - 2
        while Fraction(2) ** -k > w / 4:
            k += 1
        middle = (a + b) / 2
        step = Fraction(2) ** -k
        result.append(floor_to(middle / step + Fraction(1, 2), 0) * step)
    return result


def cut_box(low, high, groups):
    """Section 3, Domain: in a group, every box is cut to what the others allow."""
    low, high = list(low), list(high)
    for group in groups:
        lows, highs = sum(low[i] for i in group), sum(high[i] for i in group)
        cut = [(max(low[i], high[i] - highs), min(high[i], low[i] - lows)) for i in group]
        for i, (a, b) in zip(group, cut):
            low[i], high[i] = a, b
    return low, high


def dot(row, values):
    return sum((v * values[i] for i, v in row.items()), ZERO)


class Problem:
    def __init__(self, claim, setting, row):
        self.claim, self.setting, self.row = claim, setting, row
        self.nodes, self.names = [], {}
        region = claim.rows[row]
        self.region = region
        if setting.kind == "property":
            self.build_property(region)
        elif not claim.regions:
            self.build_point(region.lower)
        elif claim.copy is not None:
            self.build_copies(region)
        else:
            self.build_region(region)
        self.find_ancestors()

    def add(self, node, *names):
        self.nodes.append(node)
        for name in names:
            if name:
                self.names[name] = len(self.nodes) - 1
        return len(self.nodes) - 1

    def name(self, index, *names):
        for name in names:
            self.names[name] = index
        return index

    def affine(self, terms, centre, name=None):
        """An affine tensor; the identity of another with the same centre is that other tensor."""
        if len(terms) == 1 and terms[0][1].is_identity():
            pred = self.nodes[terms[0][0]]
            if pred.centre == centre:
                return self.name(terms[0][0], name) if name else terms[0][0]
            if pred.kind == "affine":
                terms = pred.terms
        return self.add(Node("affine", len(centre), centre, terms=terms), name)

    def find_ancestors(self):
        self.ancestors = []
        for node in self.nodes:
            own = set()
            for p in node.preds():
                own.add(p)
                own |= self.ancestors[p]
            self.ancestors.append(own)

    def blocks(self, e, entry, centre, box=None):
        """The variables of entry e: (node, map) for each of its blocks. `centre` if the first is the site itself."""
        result = []
        for k, block in enumerate(entry.delta.blocks):
            low, high = block.low, block.high
            if box is not None:
                low, high = [max(a, b) for a, b in zip(low, box[0])], [min(a, b) for a, b in zip(high, box[1])]
            low, high = cut_box(low, high, block.groups)
            node = Node("vars", len(low), centre or [ZERO] * len(low), low=low, high=high, groups=block.groups)
            index = self.add(node, f"perturb[{e}]" + (".residual" if k else ""))
            result.append((index, block.map or Map.identity(len(low))))
        return result

    def perturb(self, e, entry, position, centre, box):
        """Adds what entry e adds to a site, whose deviation or change so far is `position`, or None."""
        delta = entry.delta
        if position is None and len(delta.blocks) == 1 and delta.blocks[0].map is None:
            blocks = self.blocks(e, entry, centre, box)
            site = blocks[0][0]
        else:
            blocks = self.blocks(e, entry, None)
            terms = blocks + ([] if position is None else [(position, Map.identity(len(centre)))])
            site = self.add(Node("affine", len(centre), centre, terms=terms))
        if delta.sees is not None:
            # what the cutoff sees is known to be zero
            zeros = [ZERO] * len(delta.sees.rows)
            node = Node("affine", len(zeros), zeros, terms=[(blocks[0][0], delta.sees)], range=(zeros, zeros))
            self.add(node, f"perturb[{e}].seen")
        return site

    # ---- one input ----

    def build_point(self, x):
        claim, setting, model = self.claim, self.setting, self.claim.model
        needed = setting.needed
        values = {i: v.fractions() for i, v in evaluate(claim.ops, x, needed).items()}
        self.clean = values[setting.output]
        place = {}
        for i in sorted(needed):
            t, c = model.tensors[i], values[i]
            sites = [(e, entry) for e, entry in enumerate(setting.entries) if entry.site is not None and entry.tensor == i]
            position = None
            if t.kind == "relu" and t.pred in place:
                position = self.add(Node("relu", t.size, c, pred=place[t.pred]))
            elif t.kind == "affine":
                terms = [(place[p], m) for p, m in t.terms if p in place]
                changed = self.weights(i, t, values, place)
                if changed is not None:
                    terms.append((changed, Map.identity(t.size)))
                if terms:
                    position = self.affine(terms, c)
            clip = None
            if i == 0 and claim.valid is not None and sites:
                clip = [claim.valid[0] - v for v in c], [claim.valid[1] - v for v in c]
            for e, entry in sites:
                position = self.perturb(e, entry, position, c, clip if len(sites) == 1 else None)
            if position is not None:
                place[i] = self.name(position, t.name)
            if clip is not None:
                self.nodes[position].range = clip
        self.output = place[setting.output]
        self.cells_of_point()

    def weights(self, i, t, values, place):
        """Section 3, Weights: what changed parameters add to tensor i, or None."""
        uses, constant, found = [], [ZERO] * t.size, False
        for entry in self.setting.entries:
            if entry.weights is None:
                continue
            a = entry.amplitudes[0]
            for tensor, p in entry.parameters:
                if tensor != i:
                    continue
                found = True
                rows = [[] for _ in range(t.size)]
                for w, factor, positions in p.variables:
                    s = abs(Fraction(factor)) * (a if entry.error == "absolute" else a * abs(w))
                    for at in positions:
                        if p.term is None:
                            constant[at] += s
                        else:
                            rows[at[0]].append((at[1], s))
                if p.term is not None:
                    spread = Map.of(rows, len(values[p.term]))
                    uses.append((place.get(p.term), values[p.term], spread))
        if not found:
            return None
        return self.add(Node("weights", t.size, [ZERO] * t.size, uses=uses, constant=constant), t.name + "#weights")

    def cells_of_point(self):
        rows, s = self.setting.rows, self.setting
        coarse = [dot(row, self.clean) for row in rows]
        negative = [{i: -v for i, v in row.items()} for row in rows]
        self.cells = []
        if s.kind in ("tolerance", "reaches"):
            for row, minus in zip(rows, negative):
                self.cells.append(Cell([(minus, -s.value, s.kind == "tolerance")]))
                self.cells.append(Cell([(row, -s.value, s.kind == "tolerance")]))
        else:
            w = winner(coarse)
            for k, row in enumerate(rows):
                if k != w:
                    keys = set(row) | set(rows[w])
                    difference = {i: rows[w].get(i, ZERO) - row.get(i, ZERO) for i in sorted(keys)}
                    self.cells.append(Cell([(difference, coarse[k] - coarse[w], False)]))

    # ---- regions ----

    def base(self, ops, model, x, lower, upper, needed, prefix="", start=None):
        """A copy of a network on x, by deviations from its values at the chosen point."""
        values = {i: v.fractions() for i, v in evaluate(ops, x, needed).items()}
        place = {}
        for i in sorted(needed):
            place[i] = self.base_tensor(ops, model, i, values, place, lower, upper, prefix, start)
        return values, place

    def base_tensor(self, ops, model, i, values, place, lower, upper, prefix="", start=None):
        op, c, name = ops[i], values[i], prefix + model.tensors[i].name
        if op.kind == "input":
            if start is not None:
                return start if prefix else self.name(start, name)
            node = Node("vars", len(c), c, low=[a - v for a, v in zip(lower, c)], high=[b - v for b, v in zip(upper, c)])
            return self.add(node, name)
        if op.kind == "relu":
            return self.add(Node("relu", len(c), c, pred=place[op.pred]), name)
        return self.affine([(place[p], m) for p, m in op.terms], c, name)

    def build_property(self, region):
        claim, s = self.claim, self.setting
        x = point_of(region.lower, region.upper)
        needed = claim.model.ancestors(s.output)
        values, place = self.base(claim.ops, claim.model, x, region.lower, region.upper, needed)
        self.output = place[s.output]
        c = values[s.output]
        self.cells = [Cell([(a, b - dot(a, c), strict) for a, b, strict in unsafe])
                      for unsafe in claim.property.regions[self.row].sets]

    def build_copies(self, region):
        claim, s = self.claim, self.setting
        x = point_of(region.lower, region.upper)
        values, place = self.base(claim.ops, claim.model, x, region.lower, region.upper, s.needed)
        needed = claim.other.ancestors(s.copy_output)
        other, there = self.base(claim.copy, claim.other, x, region.lower, region.upper, needed, "replace:", place[0])
        c = [b - a for a, b in zip(values[s.output], other[s.copy_output])]
        eye = Map.identity(len(c))
        name = claim.model.tensors[s.output].name + "#change"
        terms = [(there[s.copy_output], eye), (place[s.output], eye.scaled(-1))]
        self.output = self.add(Node("affine", len(c), c, terms=terms), name)
        self.cells_of_region(c)

    def build_region(self, region):
        """Section 3, Regions: a base copy, and a change for every tensor that changes."""
        claim, s, model = self.claim, self.setting, self.claim.model
        x = point_of(region.lower, region.upper)
        f, g = claim.ops, claim.changed_ops
        cut = dict(claim.cut)
        projections = {i: scale.ladder.truncation(model.tensors[i].size, scale.cutoff) for i, scale in cut.items()}
        needed = s.needed
        untruncated = {}

        def change(i, value, values):
            untruncated[i] = value.fractions()
            return projections[i].apply(value) if i in projections else value

        values = {i: v.fractions() for i, v in evaluate(f, x, needed).items()}
        changed = {i: v.fractions() for i, v in evaluate(g, x, needed, change).items()}
        place, w = {}, {}
        for i in sorted(needed):
            t = model.tensors[i]
            base = place[i] = self.base_tensor(f, model, i, values, place, region.lower, region.upper)
            eye = Map.identity(t.size)
            before = [b - a for a, b in zip(values[i], untruncated[i])]
            after = [b - a for a, b in zip(values[i], changed[i])]
            sites = [(e, entry) for e, entry in enumerate(s.entries) if entry.tensor == i]
            name = t.name + "#change"
            position = None
            if t.kind == "relu":
                p = f[i].pred
                if p in w:
                    position = self.add(Node("change", t.size, before, base=place[p], pred=w[p]))
            elif t.kind == "affine":
                terms = [(w[p], v) for p, v in g[i].terms if p in w]
                if g is not f:
                    differences = [(place[p], v.minus(u)) for (p, u), (_, v) in zip(f[i].terms, g[i].terms)]
                    terms += [(p, m) for p, m in differences if not m.is_zero()]
                if terms:
                    position = self.affine(terms, before)
            if position is None and any(before):
                position = self.same_change(t.size, before, place[0])
            if i in projections:
                terms = [] if position is None else [(position, projections[i])]
                position = self.add(Node("affine", t.size, after, terms=terms + [(base, projections[i].minus(eye))]))
            clip = None
            if i == 0 and claim.valid is not None and sites:
                clip = ([claim.valid[0] - b - k for b, k in zip(region.upper, after)],
                        [claim.valid[1] - a - k for a, k in zip(region.lower, after)])
            for e, entry in sites:
                position = self.perturb(e, entry, position, after, clip if len(sites) == 1 else None)
            if position is None:
                continue
            w[i] = self.name(position, name)
            if clip is not None:
                self.nodes[position].range = clip
                actual = [a + k for a, k in zip(values[i], after)]
                known = [claim.valid[0] - v for v in actual], [claim.valid[1] - v for v in actual]
                node = Node("affine", t.size, actual, terms=[(base, eye), (position, eye)], range=known)
                self.add(node, t.name + "#perturbed")
        size = model.tensors[s.output].size
        if s.output not in w:
            w[s.output] = self.name(self.same_change(size, [ZERO] * size, place[0]), model.tensors[s.output].name + "#change")
        self.output = w[s.output]
        self.cells_of_region([b - a for a, b in zip(values[s.output], changed[s.output])])

    def same_change(self, size, value, start):
        """A change that is the same at every input: an affine tensor of the input, with the map 0."""
        nothing = Map.select([None] * size, self.nodes[start].size)
        return self.add(Node("affine", size, value, terms=[(start, nothing)]))

    def cells_of_region(self, c):
        """certificate-format.md: G_k c + G_k d > τ and < −τ."""
        s = self.setting
        self.cells = []
        for row in s.rows:
            g, minus = dot(row, c), {i: -v for i, v in row.items()}
            self.cells.append(Cell([(minus, g - s.value, s.kind == "tolerance")]))
            self.cells.append(Cell([(row, -s.value - g, s.kind == "tolerance")]))


def winner(coarse):
    best = max(coarse)
    if coarse.count(best) > 1:
        raise Fault("claim-clean", "two coarse outputs tie for the winner")
    return coarse.index(best)
