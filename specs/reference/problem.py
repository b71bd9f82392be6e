"""calculus.md, section 3: from a claim, a setting and a row to a problem: a graph of deviations, a domain, unsafe cells.

Also the exact evaluation of the networks themselves, which witnesses are checked by (rule 4.8): it does not use the
problem.
"""

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

def canonical(model):
    """For every tensor the one that it is the identity of."""
    result = []
    for i, t in enumerate(model.tensors):
        own = i
        if t.kind == "affine" and t.bias is None and len(t.terms) == 1 and t.terms[0][1].is_identity():
            own = result[t.terms[0][0]]
        result.append(own)
    return result


def with_fewer_tensors(model, names):
    """claim-format.md, Regions: affine tensors of a name that `names` lacks are put into the affine tensors that use them."""
    import copy
    other = copy.copy(model)
    tensors = [copy.copy(t) for t in model.tensors]
    outputs = {model.env[o].tensor for o in model.outputs}
    gone = set()
    for i, t in enumerate(tensors):
        if t.kind != "affine" or t.name in names or i in outputs:
            continue
        users = [u for u in tensors if i in u.preds()]
        if not users or any(u.kind != "affine" for u in users):
            continue
        gone.add(i)
        for u in users:
            merged, bias = {}, u.bias
            for p, m in u.terms:
                parts = [(p, m)]
                if p == i:
                    parts = [(q, m.after(n)) for q, n in t.terms]
                    if t.bias is not None:
                        extra = m.apply(Vector.of(t.bias)).fractions()
                        bias = [a + b for a, b in zip(bias or [ZERO] * u.size, extra)]
                for q, n in parts:
                    merged[q] = merged[q].plus(n) if q in merged else n
            u.terms = list(merged.items())
            u.bias = bias if bias is not None and any(bias) else None
    place, kept = {}, []
    for i, t in enumerate(tensors):
        if i not in gone:
            place[i] = len(kept)
            kept.append(t)
    for t in kept:
        t.terms = [(place[p], m) for p, m in t.terms]
        t.pred = place[t.pred] if t.pred is not None else None
    other.tensors = kept
    other.names = {t.name: i for i, t in enumerate(kept)}
    other.place = place
    return other


def aligned(model, other):
    """The operations of `other` on the tensors of `model`, or None if they have another shape."""
    a, b = canonical(model), canonical(other)
    first = [i for i, c in enumerate(a) if c == i]
    second = [i for i, c in enumerate(b) if c == i]
    if len(first) != len(second):
        return None
    to_model = dict(zip(second, first))
    for i, j in zip(first, second):
        s, t = model.tensors[i], other.tensors[j]
        if s.kind != t.kind or s.shape != t.shape:
            return None
        if {a[p] for p in s.preds()} != {to_model[b[p]] for p in t.preds()}:
            return None
    for name, j in other.names.items():
        if name in model.names and a[model.names[name]] != to_model[b[j]]:
            return None
    ops = []
    back = dict(zip(first, second))
    for i, t in enumerate(model.tensors):
        if a[i] != i:
            ops.append(Op("affine", [(a[i], Map.identity(t.size))]))
            continue
        u = other.tensors[back[i]]
        merged = {}
        for p, m in u.terms:
            q = to_model[b[p]]
            merged[q] = merged[q].plus(m) if q in merged else m
        ops.append(Op(u.kind, merged.items(), u.bias, None if u.pred is None else to_model[b[u.pred]]))
    return ops


def prepare(claim):
    """Finds out how the other model fits the first. Sets claim.pair: None, or the operations, or two copies."""
    claim.ops = operations(claim.model)
    claim.changed_ops, claim.copy = claim.ops, None
    if claim.other is None:
        return
    ops = aligned(claim.model, claim.other)
    if ops is None:
        ops = aligned(claim.model, with_fewer_tensors(claim.other, set(claim.model.names)))
    if ops is not None:
        claim.changed_ops = ops
        return
    if claim.truncates or any(s.entries for s in claim.settings):
        raise Fault("claim-shape", "the other model has another shape: it may not be perturbed or truncated")
    claim.copy = operations(claim.other)
    for s in claim.settings:
        own = claim.model.tensors[s.output]
        if own.name in claim.other.names:
            s.copy_output = claim.other.names[own.name]
        elif len(claim.other.outputs) == 1:
            s.copy_output = claim.other.env[claim.other.outputs[0]].tensor
        else:
            raise Fault("claim-tensor", "the other model has no such output")
        if claim.other.tensors[s.copy_output].size != own.size:
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
        self.input_block = None      # the input's deviation, if `valid` bounds it
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

    def affine(self, terms, centre, name=None, range=None):
        """An affine tensor; the identity of another with the same centre is that other tensor."""
        size = len(centre)
        merged = {}
        for p, m in terms:
            merged[p] = merged[p].plus(m) if p in merged else m
        terms = [(p, m) for p, m in merged.items() if not m.is_zero()]
        if range is None and len(terms) == 1 and terms[0][1].is_identity():
            pred = self.nodes[terms[0][0]]
            if pred.centre == centre:
                return self.name(terms[0][0], name) if name else terms[0][0]
            if pred.kind == "affine" and pred.range is None:
                terms = pred.terms
        return self.add(Node("affine", size, centre, terms=terms, range=range), name)

    def find_ancestors(self):
        self.ancestors = []
        for node in self.nodes:
            own = set()
            for p in node.preds():
                own.add(p)
                own |= self.ancestors[p]
            self.ancestors.append(own)

    def blocks(self, e, entry, box=None):
        """The variables of entry e: (node, map) for each of its blocks."""
        result = []
        for k, block in enumerate(entry.delta.blocks):
            low, high = block.low, block.high
            if box is not None and k == 0 and block.map is None:
                low, high = [max(a, b) for a, b in zip(low, box[0])], [min(a, b) for a, b in zip(high, box[1])]
            low, high = cut_box(low, high, block.groups)
            zeros = [ZERO] * len(low)
            node = Node("vars", len(low), zeros, low=low, high=high, groups=block.groups)
            index = self.add(node, f"perturb[{e}]" + (".residual" if k else ""))
            result.append((index, block.map or Map.identity(len(low))))
        return result

    def sees(self, e, entry, block):
        """What a cutoff sees: C z, known to be zero."""
        if entry.delta.sees is not None:
            rows = len(entry.delta.sees.rows)
            zeros = [ZERO] * rows
            node = Node("affine", rows, zeros, terms=[(block, entry.delta.sees)], range=(zeros, zeros))
            self.add(node, f"perturb[{e}].seen")

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
            current = None       # the node of the deviation so far
            terms = []           # the terms of an affine deviation so far
            if t.kind == "relu" and t.pred in place:
                current = self.add(Node("relu", t.size, c, pred=place[t.pred]))
            elif t.kind == "affine":
                terms = [(place[p], m) for p, m in t.terms if p in place]
                changed = self.weights(i, t, values, place)
                if changed is not None:
                    terms.append((changed, Map.identity(t.size)))
            clip = None
            if i == 0 and claim.valid is not None and sites:
                clip = [claim.valid[0] - v for v in c], [claim.valid[1] - v for v in c]
            for n, (e, entry) in enumerate(sites):
                alone = current is None and not terms and len(sites) == 1
                blocks = self.blocks(e, entry, clip if alone and len(entry.delta.blocks) == 1 else None)
                if current is not None:
                    terms, current = [(current, Map.identity(t.size))], None
                if not terms and len(blocks) == 1 and entry.delta.blocks[0].map is None:
                    current = blocks[0][0]
                else:
                    terms = terms + blocks
                if n == len(sites) - 1:
                    if current is not None and not terms:
                        place[i] = self.name(current, t.name)
                        # the clean value of the site, which thresholds of splits are about
                        self.nodes[current].centre = c
                    else:
                        place[i] = self.affine(terms, c, t.name, clip)
                self.sees(e, entry, blocks[0][0])
            if not sites:
                if current is not None:
                    place[i] = self.name(current, t.name)
                elif terms:
                    place[i] = self.affine(terms, c, t.name)
            if clip is not None:
                self.input_block = place[i]
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
                return self.name(start, name)
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
        self.output = self.affine([(there[s.copy_output], eye), (place[s.output], eye.scaled(-1))], c, name)
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
            current, terms, exists = None, [], False
            if t.kind == "relu":
                p = f[i].pred
                if p in w:
                    current = self.add(Node("change", t.size, before, base=place[p], pred=w[p]))
                    exists = True
            elif t.kind == "affine":
                own = dict(f[i].terms)
                for p, v in g[i].terms:
                    if p in w:
                        terms.append((w[p], v))
                        exists = True
                for p, v in own.items():
                    difference = dict(g[i].terms)[p].minus(v) if g is not f else None
                    if difference is not None and not difference.is_zero():
                        terms.append((place[p], difference))
                        exists = True
                exists = exists or any(before)
            if i in projections:
                exists = True
                shrink = projections[i].minus(eye)
                inner = []
                if current is None and (terms or any(before)):
                    current = self.affine(terms, before)
                if current is not None:
                    inner = [(current, projections[i])]
                terms, current = inner + [(base, shrink)], None
            clip = None
            if i == 0 and claim.valid is not None and sites:
                clip = ([claim.valid[0] - b - k for b, k in zip(region.upper, after)],
                        [claim.valid[1] - a - k for a, k in zip(region.lower, after)])
            final = None
            for n, (e, entry) in enumerate(sites):
                alone = not exists and len(sites) == 1
                exists_before, exists = exists, True
                blocks = self.blocks(e, entry, clip if alone and len(entry.delta.blocks) == 1 else None)
                if current is not None:
                    terms, current = [(current, eye)], None
                if not exists_before and len(blocks) == 1 and entry.delta.blocks[0].map is None:
                    current = blocks[0][0]
                else:
                    terms = terms + blocks
                if n == len(sites) - 1:
                    if current is not None and not terms:
                        final = self.name(current, name)
                    else:
                        final = self.affine(terms, after, name, clip)
                self.sees(e, entry, blocks[0][0])
            if not sites and exists:
                final = self.name(current, name) if current is not None and not terms else self.affine(terms, after, name)
            if final is None:
                continue
            w[i] = final
            if clip is not None:
                self.input_block = final
                actual = [a + k for a, k in zip(values[i], after)]
                known = [claim.valid[0] - v for v in actual], [claim.valid[1] - v for v in actual]
                node = Node("affine", t.size, actual, terms=[(base, eye), (final, eye)], range=known)
                self.add(node, t.name + "#perturbed")
        size = model.tensors[s.output].size
        if s.output not in w:
            w[s.output] = self.affine([], [ZERO] * size, model.tensors[s.output].name + "#change")
        self.output = w[s.output]
        self.cells_of_region([b - a for a, b in zip(values[s.output], changed[s.output])])

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
