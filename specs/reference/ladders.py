"""claim-format.md, Families: the ladders, the perturbations that a rung hides, truncations and coarse maps."""

from fractions import Fraction
from math import gcd, lcm, prod

from exact import Fault, Map, ONE, ZERO, common

MODES = ("dct", "pca", "modes")
KERNELS = ("none", "block-mean", "groups") + MODES
LARGEST = 2 ** 20


def rank(rows):
    """The rank of rows of Fractions, by elimination without fractions."""
    rows = [common(row)[0] for row in rows]
    result, column, previous = 0, 0, 1
    width = len(rows[0]) if rows else 0
    while column < width and result < len(rows):
        pivot = next((i for i in range(result, len(rows)) if rows[i][column]), None)
        if pivot is None:
            column += 1
            continue
        rows[result], rows[pivot] = rows[pivot], rows[result]
        top = rows[result]
        for i in range(result + 1, len(rows)):
            f = rows[i][column]
            rows[i] = [(a * top[column] - f * b) // previous for a, b in zip(rows[i], top)]
        previous = top[column]
        result += 1
        column += 1
    return result


def check_levels(levels):
    """Levels nest: no item is in two groups, and every group is a union of groups of the level before."""
    before = None
    for level in levels:
        owner = {}
        for g, group in enumerate(level):
            for item in group:
                if item in owner:
                    raise Fault("ladder-nesting", "an item in two groups")
                owner[item] = g
        if before is not None:
            for group in before:
                owners = {owner.get(item) for item in group}
                if len(owners) > 1:
                    raise Fault("ladder-nesting", "levels that are not nested")
            inside = {item for group in before for item in group}
            if any(item not in inside for item in owner):
                raise Fault("ladder-nesting", "an item that the finer level does not have")
        before = level


class Ladder:
    """A family with its keys; `family` is `modes` or `generator` for `matrix`."""

    def __init__(self, family, **keys):
        self.family = family
        self.shape = keys.get("shape")
        self.spatial = keys.get("spatial")
        self.levels = keys.get("levels")
        self.nested = keys.get("nested")
        self.matrix = keys.get("matrix")
        self.vertical = keys.get("vertical")
        self.filters = keys.get("filters")
        self.bounds = keys.get("bounds")
        self.residual = keys.get("residual")
        if self.levels is not None:
            check_levels(self.levels)
        if self.filters is not None:
            self.check_filters()
        if family == "dct":
            _, h, w = self.grid()
            square = lambda m, n: len(m) == n and len(m[0]) == n
            if h * w > 1024 or not square(self.matrix, w) or not square(self.vertical, h):
                raise Fault("claim-shape", "the matrices do not fit the plane")
        if family == "dictionary":
            p = len(self.matrix[0])
            if self.bounds is not None and len(self.bounds) != p:
                raise Fault("claim-shape", "bounds that do not fit")
            named = self.nested[:1] if self.levels is None else [i + 1 for level in self.levels for g in level for i in g]
            if max(named) > p:
                raise Fault("claim-shape", "an atom that does not exist")
            if self.levels is None:
                self.levels = tuple(tuple((j,) for j in range(n)) for n in self.nested)

    def key(self):
        """What two ladders have in common that are the same: claim-format.md, `scale`."""
        if self.family == "dct":
            return "dct", self.grid(), self.modes()
        levels = self.levels if self.nested is None else self.nested
        return (self.family, self.shape, self.spatial, levels, self.nested is None, self.matrix, self.filters, self.bounds,
                self.residual)

    # ---- forms ----

    def check_filters(self):
        """Biorthogonal: Σ_i dual_i low_{i−2m} is 1 for m = 0 and 0 for every other m."""
        low, dual, (s, t) = self.filters
        for m in range(-130, 131):
            total = ZERO
            for k, value in enumerate(dual):
                i = t + k - 2 * m - s
                if 0 <= i < len(low):
                    total += value * low[i]
            if total != (1 if m == 0 else 0):
                raise Fault("ladder-nesting", "filters that are not biorthogonal")

    def fit(self, size):
        """The ladder must fit a site of so many elements."""
        if self.shape is not None and prod(self.shape) != size:
            raise Fault("claim-shape", "the ladder does not fit the site")
        f = self.family
        if f in ("pca", "modes") and len(self.matrix[0]) != size:
            raise Fault("claim-shape", "the modes do not fit the site")
        if f in ("generator", "dictionary") and len(self.matrix) != size:
            raise Fault("claim-shape", "the columns do not fit the site")
        if f == "groups":
            items = self.shape[0] if self.shape else size
            if any(item >= items for level in self.levels for group in level for item in group):
                raise Fault("claim-shape", "an item that does not exist")

    def grid(self):
        """(channels, H, W)"""
        if self.spatial == 1:
            return prod(self.shape[:-1]), 1, self.shape[-1]
        return prod(self.shape[:-2]), self.shape[-2], self.shape[-1]

    # ---- rungs ----

    def has_rung(self, k):
        f = self.family
        if f in ("block-mean", "haar", "wavelet"):
            _, h, w = self.grid()
            axes = (w,) if self.spatial == 1 else (h, w)
            return k >= 1 and all(a % k == 0 for a in axes) and (f == "block-mean" or k & (k - 1) == 0)
        if f in ("groups", "dictionary"):
            return 0 <= k <= len(self.levels)
        if f == "generator":
            return 0 <= k <= len(self.matrix[0])
        if f in ("pca", "modes"):
            return 0 <= k <= len(self.matrix)
        if f == "dct":
            _, h, w = self.grid()
            return 0 <= k <= max(h, w)
        return False

    def finer(self, f, k):
        if self.family == "block-mean":
            return f != k and k % f == 0
        if self.family in MODES:
            return f > k
        return f < k

    # ---- means ----

    def blocks(self, side):
        """Blocks are numbered by channel, then by ⌊y/s⌋, then by ⌊x/s⌋."""
        channels, h, w = self.grid()
        tall = 1 if self.spatial == 1 else side
        return [[c * h * w + y * w + x for y in range(by, by + tall) for x in range(bx, bx + side)]
                for c in range(channels) for by in range(0, h, tall) for bx in range(0, w, side)]

    def groups(self, k, size):
        """The groups of elements of rung k."""
        if self.family == "block-mean" or self.family == "haar":
            return self.blocks(k)
        if k == 0:
            return [[i] for i in range(size)]
        items = self.shape[0] if self.shape else size
        q = size // items
        return [[j * q + p for j in group] for group in self.levels[k - 1] for p in range(q)]

    # ---- modes ----

    def mode_count(self, k):
        if self.family == "dct":
            _, h, w = self.grid()
            return min(k, h) * min(k, w)
        return k

    def modes(self):
        """All modes of one channel, the coarsest first, and the number of channels."""
        if self.family != "dct":
            return [list(row) for row in self.matrix], 1
        channels, h, w = self.grid()
        order = sorted((max(u, v), u, v) for u in range(h) for v in range(w))
        return [[self.vertical[u][y] * self.matrix[v][x] for y in range(h) for x in range(w)] for _, u, v in order], channels

    def kept_rows(self, k, size):
        """What rung k sees: one row for every channel and kept mode."""
        modes, channels = self.modes()
        width = len(modes[0])
        return [[(c * width + i, value) for i, value in enumerate(mode)]
                for c in range(channels) for mode in modes[:self.mode_count(k)]]

    # ---- generators ----

    def haar_details(self, cutoff):
        """(band, row-major details as {element: ±1}), in the order of the variables."""
        result, side = [], 2
        channels, h, w = self.grid()
        while side <= cutoff:
            half = side // 2
            kinds = [0] if self.spatial == 1 else [0, 1, 2]
            for kind in kinds:
                for block in self.blocks(side):
                    detail = {}
                    for i in block:
                        y, x = (i // w) % h % side, i % w % side
                        lr, tb = (1 if x < half else -1), (1 if y < half else -1)
                        detail[i] = Fraction((lr, tb, lr * tb)[kind])
                    result.append((side, detail))
            side *= 2
        return result

    def wavelet_details(self, cutoff):
        """Ordered by channel, then by band (finest first), then by kind, then by m, then by l."""
        low, dual, (s, t) = self.filters
        low_at = {s + k: v for k, v in enumerate(low) if v}
        dual_at = {t + k: v for k, v in enumerate(dual) if v}
        high_at = {1 - i: (v if (1 - i) % 2 == 0 else -v) for i, v in dual_at.items()}

        def synthesis(taps, c):
            n = 2 * len(c)
            out = [ZERO] * n
            for m, value in enumerate(c):
                if value:
                    for i, tap in taps.items():
                        out[(2 * m + i) % n] += tap * value
            return out

        def functions(length, j):
            """φ_m = L^j e_m and ψ_m = L^(j−1) G e_m"""
            count = length >> j
            phi, psi = [], []
            for m in range(count):
                e = [ONE if i == m else ZERO for i in range(count)]
                a, b = synthesis(low_at, e), synthesis(high_at, e)
                for _ in range(j - 1):
                    a, b = synthesis(low_at, a), synthesis(low_at, b)
                phi.append(a)
                psi.append(b)
            return phi, psi

        channels, h, w = self.grid()
        plane = []
        side, j = 2, 1
        while side <= cutoff:
            phi_x, psi_x = functions(w, j)
            if self.spatial == 1:
                plane += [(side, [(i, v) for i, v in enumerate(f) if v]) for f in psi_x]
            else:
                phi_y, psi_y = functions(h, j)
                for first, second in ((phi_y, psi_x), (psi_y, phi_x), (psi_y, psi_x)):
                    for f in first:
                        for g in second:
                            plane.append((side, [(y * w + x, a * b) for y, a in enumerate(f) if a
                                                 for x, b in enumerate(g) if b]))
            side, j = side * 2, j + 1
        if len(plane) * h * w > 2 ** 22:
            raise Fault("claim-shape", "details")
        return [(band, {c * h * w + i: v for i, v in detail}) for c in range(channels) for band, detail in plane]

    # ---- perturbations ----

    def perturbation(self, size, cutoff, seen, amplitudes):
        return Perturbation(self, size, cutoff, seen, amplitudes)

    def truncation(self, size, cutoff):
        """claim-format.md, Regions: the projection that a truncation is."""
        if self.family in ("block-mean", "haar", "groups"):
            rows = [[] for _ in range(size)]
            for group in self.groups(cutoff, size):
                for i in group:
                    rows[i] = [(j, Fraction(1, len(group))) for j in group]
            return Map.of(rows, size)
        if self.family in MODES:
            c = Map.of(self.kept_rows(cutoff, size), size)
            if not c.rows:
                return Map([[] for _ in range(size)], size)
            return c.transposed().after(c)
        raise Fault("claim-value", "a truncation of this family")

    def coarse_rows(self, size, seen, hidden):
        """claim-format.md, [output]: what rung seen sees and rung hidden does not; rows of {element: Fraction}."""
        if self.family in ("block-mean", "groups"):
            fine = [[i] for i in range(size)] if seen is None else self.groups(seen, size)
            owner = {}
            if hidden is not None:
                for group in self.groups(hidden, size):
                    for i in group:
                        owner[i] = group
            rows = []
            for group in fine:
                row = {i: Fraction(1, len(group)) for i in group}
                above = owner.get(group[0])
                for i in above or []:
                    row[i] = row.get(i, ZERO) - Fraction(1, len(above))
                row = {i: v for i, v in row.items() if v}
                if row:
                    rows.append(row)
            return rows
        if self.family not in MODES:
            raise Fault("claim-value", "a coarse map of this family")
        modes, channels = self.modes()
        width = len(modes[0])
        first = 0 if hidden is None else self.mode_count(hidden)
        if seen is None:
            last = len(modes)
            if last < width or rank(modes) < width:
                raise Fault("claim-shape", "the modes do not span the channel")
        else:
            last = self.mode_count(seen)
        return [{c * width + i: v for i, v in enumerate(mode) if v}
                for c in range(channels) for mode in modes[first:last]]


class Block:
    """Variables in a box, with disjoint groups that sum to zero. map is None if δ is the variables themselves."""

    def __init__(self, low, high, groups=(), map=None):
        self.low, self.high, self.groups, self.map = low, high, list(groups), map


class Perturbation:
    """The set Δ of a ladder at a cutoff: its blocks of variables, what the cutoff sees, and the band condition."""

    def __init__(self, ladder, size, cutoff, seen, amplitudes):
        self.ladder, self.size, self.cutoff, self.seen = ladder, size, cutoff, seen
        f = ladder.family
        a = amplitudes[0]
        self.sees = None
        bands = 0
        if f in ("haar", "wavelet"):
            bands = cutoff.bit_length() - 1
        box = lambda n, b: ([-b] * n, [b] * n)
        if f in KERNELS:
            groups = []
            if f in ("block-mean", "groups"):
                groups = ladder.groups(cutoff, size)
            elif f in MODES:
                rows = ladder.kept_rows(cutoff, size)
                if len(rows) > LARGEST:
                    raise Fault("limit-size", "modes")
                if rows:
                    self.sees = Map.of(rows, size)
            self.blocks = [Block(*box(size, a), groups)]
        elif f in ("haar", "wavelet"):
            if bands == 0:
                self.blocks = [Block([ZERO] * size, [ZERO] * size)]
                self.details = []
                return
            self.details = ladder.haar_details(cutoff) if f == "haar" else ladder.wavelet_details(cutoff)
            per = list(amplitudes) if len(amplitudes) == bands else [a] * bands
            high = [per[band.bit_length() - 2] for band, _ in self.details]
            rows = [[] for _ in range(size)]
            for j, (_, detail) in enumerate(self.details):
                for i, v in detail.items():
                    rows[i].append((j, v))
            self.blocks = [Block([-v for v in high], high, (), Map.of(rows, len(high)))]
        elif f == "generator":
            p = len(ladder.matrix[0])
            high = [a if j >= p - cutoff else ZERO for j in range(p)]
            self.blocks = [Block([-v for v in high], high, (), Map.dense(ladder.matrix))]
        else:
            p = len(ladder.matrix[0])
            bounds = ladder.bounds or [ONE] * p
            high = [a * b for b in bounds]
            groups = [[j] for j in range(p)] if cutoff == 0 else [list(g) for g in ladder.levels[cutoff - 1]]
            self.blocks = [Block([-v for v in high], high, groups, Map.dense(ladder.matrix)),
                           Block(*box(size, ladder.residual))]
        if any(len(b.low) > LARGEST for b in self.blocks):
            raise Fault("limit-size", "variables")

    def in_band(self, values):
        """claim-format.md, Bands: whether rung `seen` sees everything of the blocks' values."""
        ladder, seen = self.ladder, self.seen
        if seen is None:
            return True
        f = ladder.family

        def constant_on(groups, z):
            inside = set()
            for group in groups:
                inside.update(group)
                if any(z[i] != z[group[0]] for i in group):
                    return False
            return all(z[i] == 0 for i in range(len(z)) if i not in inside)

        z = values[0]
        if f in ("block-mean", "groups"):
            return constant_on(ladder.groups(seen, self.size), z)
        if f in MODES:
            modes, channels = ladder.modes()
            kept, width = modes[:ladder.mode_count(seen)], len(modes[0])
            own = rank(kept) if kept else 0
            for c in range(channels):
                part = z[c * width:(c + 1) * width]
                if any(part) and rank(kept + [part]) != own:
                    return False
            return True
        if f in ("haar", "wavelet"):
            return all(v == 0 or band > seen for v, (band, _) in zip(z, self.details))
        if f == "generator":
            return all(v == 0 for v in z[len(z) - seen:])
        groups = [[j] for j in range(len(z))] if seen == 0 else ladder.levels[seen - 1]
        return constant_on(groups, z) and not any(values[1])
