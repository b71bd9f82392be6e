"""calculus.md, section 4: the rules, one function a rule. All numbers are exact but for the bounds of tensors, which are rounded as
section 5 says; nothing else of it is needed."""

from fractions import Fraction
from math import ceil, floor, lcm

from exact import Fault, ONE, Vector, ZERO, common, nearest16, reduce_vector

SIXTEEN = 1 << 16
# How a case computes: with the bounds of tensors on the grid of section 5, on which default slopes hang; with nothing rounded;
# or so with every bound weaker, or stronger, by a part of the numbers that it is made of.
GRID, EXACT, WEAKER, STRONGER = range(4)
SIGN = {GRID: 0, EXACT: 0, WEAKER: 1, STRONGER: -1}
# How much weaker a loose bound is, and how much stronger a keen one, in parts of the numbers that it is made of: well above what
# section 5 rounds.
LOOSE = Fraction(1, 1 << 36)


class Case:
    """What is known in a case: bounds of tensors, and the boxes of variables."""

    def __init__(self, problem, mode=GRID):
        self.problem, self.mode = problem, mode
        self.bounds = {}
        self.limits = {}
        self.boxes = {i: (n.low, n.high) for i, n in enumerate(problem.nodes) if n.kind == "vars"}
        self.box_limits = {i: box_limit(low, high) for i, (low, high) in self.boxes.items()}
        self.cache = {}

    def child(self):
        case = Case.__new__(Case)
        case.problem, case.mode = self.problem, self.mode
        case.bounds, case.boxes, case.cache = dict(self.bounds), dict(self.boxes), dict(self.cache)
        case.limits, case.box_limits = dict(self.limits), self.box_limits
        return case

    def need(self, index):
        """Derives the bounds of a tensor and of its ancestors that have none."""
        for i in sorted(self.problem.ancestors[index]) + [index]:
            if i not in self.bounds:
                self.bounds[i], self.limits[i] = interval(self, i)


def interval(case, index):
    """Rule 4.1."""
    node = case.problem.nodes[index]
    if node.kind == "vars":
        low, high = case.boxes[index]
    elif node.kind == "affine":
        total_low, total_high = Vector([0] * node.size), Vector([0] * node.size)
        for p, m in node.terms:
            items, den = common(list(case.bounds[p][0]) + list(case.bounds[p][1]))
            half = len(items) // 2
            l, u = items[:half], items[half:]
            lows, highs = [], []
            for row in m.rows:
                a = b = 0
                for c, v in row:
                    if v > 0:
                        a += v * l[c]
                        b += v * u[c]
                    else:
                        a += v * u[c]
                        b += v * l[c]
                # for a void element l > u: the smaller and the larger of both ends
                lows.append(a)
                highs.append(b)
            if any(x > y for x, y in zip(l, u)):
                lows, highs = void_affine(m, l, u)
            total_low = total_low.plus(Vector(lows, den * m.den))
            total_high = total_high.plus(Vector(highs, den * m.den))
        low, high = total_low.fractions(), total_high.fractions()
    elif node.kind == "relu":
        c = case.problem.nodes[node.pred].centre
        l, u = case.bounds[node.pred]
        low = [relu(a, d) for a, d in zip(c, l)]
        high = [relu(a, d) for a, d in zip(c, u)]
    elif node.kind == "change":
        low, high = change_interval(case, node)
    else:
        low, high = weights_interval(case, node)
    if case.mode == WEAKER and node.size:
        slack = LOOSE * max(max(abs(a), abs(b)) for a, b in zip(low, high))
        low, high = [a - slack for a in low], [b + slack for b in high]
    most = limit(low, high)
    if node.range is not None:
        low = [max(a, min(b, most)) for a, b in zip(low, node.range[0])]
        high = [min(a, max(b, -most)) for a, b in zip(high, node.range[1])]
    return outward(case, low, high, most), most


def outward(case, low, high, most):
    """Section 5, Bounds: rounded outward to the grid, if the case has one; `most` is 2^48 units."""
    if case.mode != GRID:
        return list(low), list(high)
    unit = most / (1 << 48)
    return [floor(a / unit) * unit for a in low], [ceil(b / unit) * unit for b in high]


def limit(low, high):
    """Section 5, Bounds: where bounds that are learned later are cut. Only those of an empty case are."""
    largest = max([max(abs(a), abs(b)) for a, b in zip(low, high)], default=ZERO)
    if not largest:
        return Fraction(4)
    power = Fraction(2) ** (largest.numerator.bit_length() - largest.denominator.bit_length())
    return 2 * power if power > largest else 4 * power if 2 * power > largest else 8 * power


def box_limit(low, high):
    """The same of the box of a block of variables, which is over an odd number besides."""
    odd = 1
    for value in [*low, *high]:
        odd = lcm(odd, value.denominator // (value.denominator & -value.denominator))
        if odd >= 1 << 47:
            odd = 1
            break
    return limit([odd * v for v in low], [odd * v for v in high]) / odd


def void_affine(m, l, u):
    lows, highs = [], []
    for row in m.rows:
        lows.append(sum(min(v * l[c], v * u[c]) for c, v in row))
        highs.append(sum(max(v * l[c], v * u[c]) for c, v in row))
    return lows, highs


def relu(c, d):
    """E_c(d)"""
    return max(c + d, ZERO) - max(c, ZERO)


def weights_interval(case, node):
    """Rule 4.9, interval: |e_i| ≤ Σ_j S_ij M_j."""
    total = list(node.constant)
    for p, centre, spread in node.uses:
        if p is None:
            largest = [abs(c) for c in centre]
        else:
            l, u = case.bounds[p]
            largest = [max(abs(c + a), abs(c + b)) for c, a, b in zip(centre, l, u)]
        total = [a + b for a, b in zip(total, spread.apply(Vector.of(largest)).fractions())]
    return [-v for v in total], total


def change_value(u, w):
    """E(u, w)"""
    return max(u + w, ZERO) - max(u, ZERO)


def largest_change(p, q, w):
    return change_value(q if w >= 0 else p, w)


def least_change(p, q, w):
    return change_value(p if w >= 0 else q, w)


def change_ranges(case, node):
    """For every element: centre k, the ranges of u and of w, and E(c, k)."""
    nodes = case.problem.nodes
    base, pred = nodes[node.base], nodes[node.pred]
    bl, bu = case.bounds[node.base]
    wl, wu = case.bounds[node.pred]
    for i in range(node.size):
        c, k = base.centre[i], pred.centre[i]
        yield k, c + bl[i], c + bu[i], k + wl[i], k + wu[i], change_value(c, k)


def change_interval(case, node):
    """Rule 4.11, interval."""
    low, high = [], []
    for _, p, q, r, s, at in change_ranges(case, node):
        low.append(least_change(p, q, r) - at)
        high.append(largest_change(p, q, s) - at)
    return low, high


def chord(rise, run):
    return min(max(nearest16(rise / run), 0), SIXTEEN) if run > 0 else 0


def change_lines(case, node, upper, lower):
    """Rule 4.11: for every element (slope, offset) above and below; slopes over 2^16."""
    result = []
    for i, (k, p, q, r, s, at) in enumerate(change_ranges(case, node)):
        if p >= 0 and p + r >= 0:
            above = below = SIXTEEN
        elif q <= 0 and q + s <= 0:
            above = below = 0
        else:
            above, below = upper[i], lower[i]
            if above < 0:
                above = chord(largest_change(p, q, s) - largest_change(p, q, r), s - r)
            if below < 0:
                below = chord(least_change(p, q, s) - least_change(p, q, r), s - r)
        slope = Fraction(above, SIXTEEN)
        points = [r, s] + ([ZERO] if r < 0 < s else [])
        top = max(largest_change(p, q, w) - slope * (w - k) for w in points) - at
        slope = Fraction(below, SIXTEEN)
        if -p >= 0 and r <= -p <= s:
            points.append(-p)
        if -q <= 0 and r <= -q <= s:
            points.append(-q)
        bottom = min(least_change(p, q, w) - slope * (w - k) for w in points) - at
        result.append((above, top, below, bottom))
    return result


def relu_lines(case, node, upper, lower):
    """Rule 4.2, ReLU: for every element (slope, offset) above and below; slopes over 2^16."""
    centre = case.problem.nodes[node.pred].centre
    lows, highs = case.bounds[node.pred]
    result = []
    for i in range(node.size):
        c, l, u = centre[i], lows[i], highs[i]
        low, high = c + l, c + u
        if low >= 0:        # also where both hold, of a void element
            above = below = SIXTEEN
        elif high <= 0:
            above = below = 0
        else:
            above, below = upper[i], lower[i]
            if above < 0:
                above = nearest16(high / (high - low))
            if below < 0:
                below = SIXTEEN if high > -low else 0
        clean = max(c, ZERO)
        at_low, at_high = max(low, ZERO) - clean, max(high, ZERO) - clean
        s = Fraction(above, SIXTEEN)
        top = max(at_low - s * l, at_high - s * u)
        s = Fraction(below, SIXTEEN)
        bottom = min(at_low - s * l, at_high - s * u)
        if l < -c < u:
            bottom = min(bottom, -clean + s * c)
        result.append((above, top, below, bottom))
    return result


def lines(case, index, slopes):
    """The lines of a ReLU or change, with offsets over one denominator; kept until the bounds change."""
    node = case.problem.nodes[index]
    key = (index, id(slopes))
    base = case.bounds[node.base] if node.kind == "change" else None
    found = case.cache.get(key)
    if found is not None and found[0] is case.bounds[node.pred] and found[1] is base:
        return found[2]
    upper, lower = slopes.get(node.pred, (None, None)) if slopes else (None, None)
    default = [-1] * node.size
    rule = change_lines if node.kind == "change" else relu_lines
    rows = rule(case, node, upper or default, lower or default)
    tops, den_top = common([row[1] for row in rows])
    bottoms, den_bottom = common([row[3] for row in rows])
    den = lcm(den_top, den_bottom)
    result = ([row[0] for row in rows], [v * (den // den_top) for v in tops],
              [row[2] for row in rows], [v * (den // den_bottom) for v in bottoms], den)
    case.cache[key] = (case.bounds[node.pred], base, result)
    return result


def weights_line(case, centre, p):
    """Rule 4.9: slopes over 2^16 and offsets of lines above |c + d|."""
    l, u = case.bounds[p]
    result = []
    for c, a, b in zip(centre, l, u):
        rise = (abs(c + b) - abs(c + a)) / (b - a) if b != a else ZERO
        s = nearest16(rise) if rise >= 0 else -nearest16(-rise)
        slope = Fraction(s, SIXTEEN)
        result.append((s, max(abs(c + a) - slope * a, abs(c + b) - slope * b)))
    return result


def back_substitution(case, start, function, slopes, multipliers):
    """Rule 4.2: a number that is at least Σ v·d everywhere in the case. `function` is a Vector at tensor `start`."""
    nodes = case.problem.nodes
    v = {start: function}
    r = slack = ZERO

    def add(p, vector):
        v[p] = v[p].plus(vector) if p in v else vector

    for i in range(start, -1, -1):
        if multipliers and i in multipliers:
            items = [ZERO] * nodes[i].size
            low, high = case.bounds[i]
            for element, beta in multipliers[i].items():
                items[element] = beta
                r -= beta * (low[element] if beta >= 0 else high[element])
            add(i, Vector.of(items))
        current = v.pop(i, None)
        if current is None or current.is_zero():
            continue
        current = reduce_vector(current)
        node = nodes[i]
        if SIGN[case.mode]:
            ends = case.bounds[i] if i in case.bounds else case.boxes[i]
            slack += sum((abs(a) * max(abs(l), abs(u)) for a, l, u in zip(current.items, *ends)), ZERO) / current.den
            slack += abs(r)
        if node.kind == "affine":
            for p, m in node.terms:
                add(p, m.pull(current))
        elif node.kind in ("relu", "change"):
            above, top, below, bottom, den = lines(case, i, slopes)
            offset, items = 0, []
            for k, value in enumerate(current.items):
                if value >= 0:
                    items.append(value * above[k])
                    offset += value * top[k]
                else:
                    items.append(value * below[k])
                    offset += value * bottom[k]
            r += Fraction(offset, den * current.den)
            add(node.pred, Vector(items, current.den * SIXTEEN))
        elif node.kind == "weights":
            size = Vector([abs(value) for value in current.items], current.den)
            r += sum((Fraction(a, size.den) * b for a, b in zip(size.items, node.constant) if a and b), ZERO)
            for p, centre, spread in node.uses:
                w = spread.pull(size)
                if p is None:
                    r += sum((Fraction(a, w.den) * abs(c) for a, c in zip(w.items, centre) if a), ZERO)
                    continue
                row = weights_line(case, centre, p)
                r += sum((Fraction(a, w.den) * t for a, (_, t) in zip(w.items, row) if a), ZERO)
                add(p, Vector([a * s for a, (s, _) in zip(w.items, row)], w.den * SIXTEEN))
        else:
            r += support(case, i, current)
    return r + SIGN[case.mode] * LOOSE * slack


def support(case, index, v):
    """Rule 4.2, variables: the support function of the box and the groups."""
    node = case.problem.nodes[index]
    box_low, box_high = case.boxes[index]
    key = ("box", index)
    found = case.cache.get(key)
    if found is None or found[0] is not box_low or found[1] is not box_high:
        items, den = common(list(box_low) + list(box_high))
        found = (box_low, box_high, items[:len(items) // 2], items[len(items) // 2:], den)
        case.cache[key] = found
    _, _, low, high, den = found
    items, total = v.items, 0
    grouped = set()
    for group in node.groups:
        grouped.update(group)
        order = sorted(group, key=lambda j: (items[j], j))
        slope, mu = -sum(high[j] for j in group), items[order[-1]]
        for j in order:
            slope += high[j] - low[j]
            if slope >= 0:
                mu = items[j]
                break
        for j in group:
            a = items[j] - mu
            total += a * (high[j] if a >= 0 else low[j])
    for j, a in enumerate(items):
        if a and j not in grouped:
            total += a * (high[j] if a >= 0 else low[j])
    return Fraction(total, den * v.den)


def unit(size, element, sign):
    items = [0] * size
    items[element] = sign
    return Vector(items)


def refine(case, refinements):
    """Rule 4.3: refinements of one tensor that follow each other, all derived before any bound is updated."""
    tensor = refinements[0].tensor
    case.need(tensor)
    low, high = case.bounds[tensor]
    low, high, most = list(low), list(high), case.limits[tensor]
    size = case.problem.nodes[tensor].size
    for item in refinements:
        ranges(case, item.multipliers)
    for item in refinements:
        if item.rows != []:
            known(case, item.multipliers, tensor)
        for i in item.rows if item.rows is not None else range(size):
            if item.side in (None, "upper"):
                bound = back_substitution(case, tensor, unit(size, i, 1), item.slopes, item.multipliers)
                high[i] = min(high[i], max(bound, -most))
            if item.side in (None, "lower"):
                bound = -back_substitution(case, tensor, unit(size, i, -1), item.slopes, item.multipliers)
                low[i] = max(low[i], min(bound, most))
    if tensor in case.boxes:
        # at the variables the box is what is known
        most, (least, largest) = case.box_limits[tensor], case.boxes[tensor]
        case.boxes[tensor] = ([max(a, min(b, most)) for a, b in zip(least, low)],
                              [min(a, max(b, -most)) for a, b in zip(largest, high)])
    # what was derived is on the old grid first, then all of it on a new one
    low, high = outward(case, low, high, case.limits[tensor])
    case.limits[tensor] = limit(low, high)
    case.bounds[tensor] = outward(case, low, high, case.limits[tensor])


def ranges(case, multipliers):
    """Bounds of a tensor of a known range are derived when a multiplier refers to it."""
    for i in sorted(multipliers):
        if case.problem.nodes[i].range is not None:
            case.need(i)


def known(case, multipliers, target):
    """The bounds of any other tensor must be known; a multiplier after the target is idle."""
    for i in multipliers:
        if i <= target and i not in case.bounds:
            raise Fault("proof-reference", "a multiplier at a tensor of which nothing is known")


def split(case, tensor, element, theta):
    """Rule 4.4: the low and the high child."""
    case.need(tensor)
    at = theta - case.problem.nodes[tensor].centre[element]
    children = []
    for side in (0, 1):
        child = case.child()
        low, high = cut(child.bounds[tensor], element, at, side, case.limits[tensor])
        child.bounds[tensor] = outward(case, low, high, case.limits[tensor])
        if tensor in child.boxes:
            child.boxes[tensor] = cut(child.boxes[tensor], element, at, side, case.box_limits[tensor])
        children.append(child)
    return children


def cut(bounds, element, at, side, most):
    low, high = list(bounds[0]), list(bounds[1])
    if side == 0:
        high[element] = min(high[element], max(at, -most))
    else:
        low[element] = max(low[element], min(at, most))
    return low, high


def prepare(case, entries):
    """What entries of close need to be known."""
    case.need(case.problem.output)
    for entry in entries:
        ranges(case, entry.multipliers)


def close(case, cell, entry):
    """Rule 4.5: the bound B, and whether it closes the cell."""
    problem = case.problem
    known(case, entry.multipliers, problem.output)
    size = problem.nodes[problem.output].size
    items, constant = [0] * size, ZERO
    strict = False
    for weight, (row, bound, is_strict) in zip(entry.weights, cell.halfspaces):
        constant += weight * bound
        strict = strict or (weight > 0 and is_strict)
        for i, a in row.items():
            items[i] -= weight * a
    b = constant + back_substitution(case, problem.output, Vector(items), entry.slopes, entry.multipliers)
    return b, b < 0 or (b == 0 and strict)


def void(case, tensor, element):
    """Rule 4.6."""
    if tensor not in case.bounds:
        return False
    low, high = case.bounds[tensor][0][element], case.bounds[tensor][1][element]
    return low > high + (LOOSE * max(abs(low), abs(high)) if case.mode == WEAKER else 0)
