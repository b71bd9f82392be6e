//! Random perturbations: the text of a claim, and the set that it stands for. The set is written here from the meaning
//! of the families, not with the checker's `ladder`.

use super::reference::Net;
use super::tape::Tape;
use super::{int, ratio};
use num::{One, Signed, Zero};
use scalecheck::number::Rational;

type Vector = Vec<Rational>;
/// Channel, row and column of an element.
type Place = (usize, usize, usize);
/// What one variable adds to a tensor: (element, factor).
type Column = Vec<(usize, Rational)>;

#[derive(Clone, Debug)]
pub enum Family {
    /// δ = z.
    None,
    /// δ = z, and these groups of elements sum to zero.
    ZeroSum(Vec<Vec<usize>>),
    /// δ = z, orthogonal to these rows.
    Kernel(Vec<Vector>),
    /// One column a variable.
    Columns(Vec<Column>),
    /// One column an atom, groups of atoms whose coefficients sum to zero, and after the coefficients perhaps a residual
    /// that is a part of δ itself.
    Dictionary { atoms: Vec<Column>, groups: Vec<Vec<usize>>, residual: bool },
    /// Tensor, position among its constants, and what a variable of value 1 adds to each value.
    Weights(Vec<(usize, usize, Vector)>),
}

#[derive(Clone, Debug)]
pub struct Perturb {
    /// Tensor of the network, unless weights change.
    pub site: Option<usize>,
    pub family: Family,
    /// One a variable.
    pub amplitude: Vector,
}

impl Perturb {
    /// The variables, as the blocks of the problem's domain.
    pub fn blocks<'z>(&self, z: &'z [Rational]) -> Vec<&'z [Rational]> {
        match &self.family {
            Family::Dictionary { atoms, residual: true, .. } => {
                let (coefficients, residual) = z.split_at(atoms.len());
                vec![coefficients, residual]
            }
            _ => vec![z],
        }
    }

    /// Adds what the variables add to tensors and constants.
    pub fn add(&self, z: &[Rational], delta: &mut [Vector], changes: &mut [Vec<Vector>]) {
        let mut plain = |z: &[Rational]| {
            let site = self.site.expect("a site");
            delta[site].iter_mut().zip(z).for_each(|(d, z)| *d += z);
        };
        let (columns, rest) = match &self.family {
            Family::None | Family::ZeroSum(_) | Family::Kernel(_) => return plain(z),
            Family::Columns(columns) => (columns, &z[columns.len()..]),
            Family::Dictionary { atoms, .. } => (atoms, &z[atoms.len()..]),
            Family::Weights(found) => {
                let mut rest = z.iter();
                for (tensor, position, spread) in found {
                    for (value, s) in changes[*tensor][*position].iter_mut().zip(spread) {
                        *value += s * rest.next().expect("a variable for every value");
                    }
                }
                return;
            }
        };
        plain(rest);
        for (column, z) in columns.iter().zip(z) {
            column.iter().for_each(|(i, factor)| delta[self.site.expect("a site")][*i] += z * factor);
        }
    }

    /// Values of the variables, before the valid range; often on the boundary of what is allowed.
    pub fn sample(&self, tape: &mut Tape) -> Vector {
        let free = |tape: &mut Tape| -> Vector { self.amplitude.iter().map(|a| a * tape.unit()).collect() };
        match &self.family {
            Family::None | Family::Columns(_) | Family::Weights(_) => free(tape),
            Family::ZeroSum(groups) | Family::Dictionary { groups, .. } => {
                let mut z = free(tape);
                groups.iter().for_each(|group| self.balance(tape, group, &mut z));
                z
            }
            Family::Kernel(rows) => {
                let n = self.amplitude.len();
                let mut z = vec![Rational::zero(); n];
                for v in null_space(rows, n) {
                    let factor = int(tape.around(3));
                    z.iter_mut().zip(v).for_each(|(z, v)| *z += &factor * v);
                }
                // All amplitudes are equal.
                let largest = z.iter().map(Signed::abs).max().unwrap_or_else(Rational::zero);
                if !largest.is_zero() {
                    let factor = &self.amplitude[0] * tape.unit() / largest;
                    z.iter_mut().for_each(|z| *z *= &factor);
                }
                z
            }
        }
    }

    /// Values of a group that sum to zero: opposite ones in random pairs, and among the last three.
    fn balance(&self, tape: &mut Tape, group: &[usize], z: &mut [Rational]) {
        let mut left = group.to_vec();
        while left.len() >= 2 {
            let (i, j) = (left.swap_remove(tape.below(left.len())), left.swap_remove(tape.below(left.len())));
            let k = if left.len() == 1 { left.pop() } else { None };
            let bound = [Some(i), Some(j), k].into_iter().flatten().map(|i| &self.amplitude[i]).min();
            let value = bound.expect("two elements") * tape.unit();
            match k {
                Some(k) => {
                    (z[i], z[j], z[k]) = (&value / int(2), &value / int(2), -value);
                }
                None => (z[i], z[j]) = (value.clone(), -value),
            }
        }
        left.into_iter().for_each(|i| z[i] = Rational::zero());
    }
}

/// A basis of the vectors of length `n` that are orthogonal to all rows.
pub fn null_space(rows: &[Vector], n: usize) -> Vec<Vector> {
    let (mut rows, mut pivots): (Vec<Vector>, Vec<usize>) = (rows.to_vec(), vec![]);
    for column in 0..n {
        let done = pivots.len();
        let Some(pivot) = (done..rows.len()).find(|&r| !rows[r][column].is_zero()) else { continue };
        rows.swap(done, pivot);
        let inverse = rows[done][column].recip();
        rows[done].iter_mut().for_each(|v| *v *= &inverse);
        let top = rows[done].clone();
        for (r, row) in rows.iter_mut().enumerate().filter(|(r, _)| *r != done) {
            let factor = row[column].clone();
            assert!(r >= done || top[..column].iter().all(Zero::is_zero));
            row.iter_mut().zip(&top).for_each(|(v, t)| *v -= &factor * t);
        }
        pivots.push(column);
    }
    let basis = |free: usize| {
        let mut v = vec![Rational::zero(); n];
        v[free] = Rational::one();
        pivots.iter().zip(&rows).for_each(|(&pivot, row)| v[pivot] = -row[free].clone());
        v
    };
    (0..n).filter(|i| !pivots.contains(i)).map(basis).collect()
}

/// A grid, as text and as places.
struct Grid {
    text: String,
    height: usize,
    width: usize,
    spatial: usize,
    places: Vec<Place>,
}

impl Grid {
    fn random(tape: &mut Tape, len: usize) -> Self {
        let mut plans = vec![(vec![len], 1)];
        if len.is_multiple_of(2) {
            plans.extend([(vec![2, len / 2], 1), (vec![len / 2, 2], 2)]);
        }
        let (shape, spatial) = tape.pick(&plans).clone();
        let (height, width) = if spatial == 2 { (shape[0], shape[1]) } else { (1, shape[shape.len() - 1]) };
        let places = (0..len).map(|i| (i / (height * width), i / width % height, i % width)).collect();
        Grid { text: format!("shape = {shape:?}, spatial = {spatial}"), height, width, spatial, places }
    }

    fn channels(&self) -> usize {
        self.places.len() / (self.height * self.width)
    }

    /// Sides of the blocks that fill the grid.
    fn sides(&self) -> Vec<usize> {
        let fits =
            |side: &usize| self.width.is_multiple_of(*side) && (self.spatial == 1 || self.height.is_multiple_of(*side));
        (1..=self.width).filter(fits).collect()
    }

    /// The elements of each block of this side, in row-major order of blocks.
    fn blocks(&self, side: usize) -> Vec<Vec<usize>> {
        let key =
            |&(channel, row, col): &Place| (channel, if self.spatial == 2 { row / side } else { row }, col / side);
        let mut keys: Vec<_> = self.places.iter().map(key).collect();
        keys.sort_unstable();
        keys.dedup();
        keys.iter().map(|k| (0..self.places.len()).filter(|&i| key(&self.places[i]) == *k).collect()).collect()
    }

    /// The elements of each channel, row by row.
    fn planes(&self) -> Vec<Vec<usize>> {
        let plane = self.height * self.width;
        (0..self.channels()).map(|channel| (channel * plane..(channel + 1) * plane).collect()).collect()
    }
}

fn largest_mostly(tape: &mut Tape, of: &[usize]) -> usize {
    if tape.one_in(3) { *tape.pick(of) } else { of.iter().copied().max().unwrap_or(1) }
}

pub fn amplitude(tape: &mut Tape) -> Rational {
    tape.pick(&[ratio(1, 32), ratio(1, 2), ratio(1, 3), int(1), ratio(5, 7), int(3), int(2), int(0)]).clone()
}

pub fn list(v: &[Rational]) -> String {
    v.iter().map(|r| format!("\"{r}\"")).collect::<Vec<_>>().join(", ")
}

fn matrix(rows: &[Vector]) -> String {
    format!("[{}]", rows.iter().map(|row| format!("[{}]", list(row))).collect::<Vec<_>>().join(", "))
}

/// Small numbers.
fn small(tape: &mut Tape, rows: usize, cols: usize, denominator: i64) -> Vec<Vector> {
    (0..rows).map(|_| (0..cols).map(|_| ratio(tape.around(3), denominator)).collect()).collect()
}

/// A perturbation and the table that states it.
pub fn random_perturb(tape: &mut Tape, net: &Net, site: usize, only_blocks: bool) -> (Perturb, String) {
    if !only_blocks && tape.one_in(5) {
        return weights(tape, net);
    }
    let len = net.len(site);
    let site_name = if site == 0 && tape.one_in(2) { "input" } else { &net.names[site] };
    let one = amplitude(tape);
    let mut given = vec![one.clone()];
    let same = |family: Family| (family, vec![one.clone(); len]);
    let ((family, amplitude), scale) = match tape.below(if only_blocks { 3 } else { 9 }) {
        0 => (same(Family::None), "family = \"none\"".to_owned()),
        1 => {
            let grid = Grid::random(tape, len);
            let side = largest_mostly(tape, &grid.sides());
            let scale = format!("family = \"block-mean\", {}, cutoff = {side}", grid.text);
            (same(Family::ZeroSum(grid.blocks(side))), scale)
        }
        2 | 8 => {
            let grid = Grid::random(tape, len);
            let sides: Vec<usize> = grid.sides().into_iter().filter(|s| s.is_power_of_two()).collect();
            let cutoff = largest_mostly(tape, &sides);
            let bands = cutoff.ilog2() as usize;
            if bands > 1 && tape.one_in(2) {
                given = (0..bands).map(|_| self::amplitude(tape)).collect();
            }
            let each: Vector = (0..bands).map(|b| given.get(b).unwrap_or(&one).clone()).collect();
            let (family, (details, amplitude)) = if only_blocks || tape.one_in(3) {
                ("family = \"haar\"".to_owned(), haar(&grid, &each))
            } else {
                let (name, low, dual) = tape.pick(&WAVELETS);
                (format!("family = \"wavelet\", filters = \"{name}\""), wavelet(&grid, &each, low, dual))
            };
            let scale = format!("{family}, {}, cutoff = {cutoff}", grid.text);
            if details.is_empty() {
                // No detail is finer than one element: the checker has one variable an element, all zero.
                ((Family::None, vec![Rational::zero(); len]), scale)
            } else {
                ((Family::Columns(details), amplitude), scale)
            }
        }
        3 => {
            let (items, shape) = if len.is_multiple_of(2) && tape.one_in(2) {
                (len / 2, format!(", shape = [{}, 2]", len / 2))
            } else if tape.one_in(3) {
                (len, format!(", shape = [{len}, 1]"))
            } else {
                (len, String::new())
            };
            let (text, groups) = levels(tape, items);
            let (cutoff, groups) = choose_level(tape, &groups);
            let inner = len / items;
            let copies = |group: &Vec<usize>| {
                let group = group.clone();
                (0..inner).map(move |p| group.iter().map(|i| i * inner + p).collect())
            };
            let scale = format!("family = \"groups\", levels = {text}{shape}, cutoff = {cutoff}");
            (same(Family::ZeroSum(groups.iter().flat_map(copies).collect())), scale)
        }
        4 => {
            let count = 1 + tape.below(len + 1);
            let denominator = *tape.pick(&[1, 1, 1, 3]);
            let modes = small(tape, count, len, denominator);
            let cutoff = tape.below(modes.len() + 1);
            let family = tape.pick(&["matrix", "pca"]);
            let scale = format!("family = \"{family}\", modes = {}, cutoff = {cutoff}", matrix(&modes));
            (same(Family::Kernel(modes[..cutoff].to_vec())), scale)
        }
        5 => {
            let grid = Grid::random(tape, len);
            let (height, width) = (grid.height, grid.width);
            let horizontal = small(tape, width, width, 2);
            let (vertical, text) = if grid.spatial == 1 {
                (vec![vec![Rational::one()]], matrix(&horizontal))
            } else if height == width && tape.one_in(2) {
                (horizontal.clone(), matrix(&horizontal))
            } else {
                let vertical = small(tape, height, height, 1);
                let text = format!("{{ vertical = {}, horizontal = {} }}", matrix(&vertical), matrix(&horizontal));
                (vertical, text)
            };
            let cutoff = tape.below(height.max(width) + 1);
            let mut rows = Vec::new();
            for plane in grid.planes() {
                for y in vertical.iter().take(cutoff) {
                    for x in horizontal.iter().take(cutoff) {
                        let mut row = vec![Rational::zero(); len];
                        plane.iter().enumerate().for_each(|(p, &i)| row[i] = &y[p / width] * &x[p % width]);
                        rows.push(row);
                    }
                }
            }
            let scale = format!("family = \"dct\", {}, matrix = {text}, cutoff = {cutoff}", grid.text);
            (same(Family::Kernel(rows)), scale)
        }
        kind => {
            let count = 1 + tape.below(4);
            let denominator = *tape.pick(&[1, 2, 3]);
            let atoms = small(tape, len, count, denominator);
            let column = |a: usize| atoms.iter().enumerate().map(|(i, row)| (i, row[a].clone())).collect();
            let columns: Vec<Column> = (0..count).map(column).collect();
            if kind == 6 {
                // Rung k sees the coefficients of all but the last k columns.
                let cutoff = tape.below(count + 1);
                let groups = (0..count - cutoff).map(|a| vec![a]).collect();
                let scale = format!("family = \"matrix\", generator = {}, cutoff = {cutoff}", matrix(&atoms));
                ((Family::Dictionary { atoms: columns, groups, residual: false }, vec![one.clone(); count]), scale)
            } else {
                dictionary(tape, &one, &atoms, columns)
            }
        }
    };
    let given = if given.len() == 1 { list(&given) } else { format!("[{}]", list(&given)) };
    let text = format!("[[perturb]]\nsite = \"{site_name}\"\nscale = {{ {scale} }}\namplitude = {given}\n");
    (Perturb { site: Some(site), family, amplitude }, text)
}

fn dictionary(tape: &mut Tape, one: &Rational, atoms: &[Vector], columns: Vec<Column>) -> ((Family, Vector), String) {
    let count = columns.len();
    let mut amplitude = vec![one.clone(); count];
    let mut extra = String::new();
    if tape.one_in(2) {
        let bounds: Vector = (0..count).map(|_| self::amplitude(tape)).collect();
        amplitude.iter_mut().zip(&bounds).for_each(|(a, b)| *a *= b);
        extra = format!(", bounds = [{}]", list(&bounds));
    }
    let (keys, cutoff, groups) = if tape.one_in(2) {
        // The first atoms are seen one by one.
        let mut kept: Vec<usize> = (0..=count).rev().filter(|_| tape.one_in(2)).collect();
        if kept.is_empty() {
            kept.push(count - 1);
        }
        let alone = |m: &usize| (0..*m).map(|a| vec![a]).collect();
        let (cutoff, groups) = choose_level(tape, &[count].iter().chain(&kept).map(alone).collect::<Vec<_>>());
        (format!("nested = {kept:?}"), cutoff, groups)
    } else {
        let (text, groups) = levels(tape, count);
        let (cutoff, groups) = choose_level(tape, &groups);
        (format!("levels = {text}"), cutoff, groups)
    };
    let residual = tape.pick(&[int(0), ratio(1, 16), ratio(1, 3), int(1)]).clone();
    let scale = format!(
        "family = \"dictionary\", atoms = {}, {keys}{extra}, residual = \"{residual}\", cutoff = {cutoff}",
        matrix(atoms)
    );
    amplitude.extend(vec![residual; atoms.len()]);
    ((Family::Dictionary { atoms: columns, groups, residual: true }, amplitude), scale)
}

/// Nested groups of items, as text, and with every item by itself first.
fn levels(tape: &mut Tape, items: usize) -> (String, Vec<Vec<Vec<usize>>>) {
    let mut found: Vec<Vec<Vec<usize>>> = vec![(0..items).map(|i| vec![i]).collect()];
    for _ in 0..1 + tape.below(2) {
        // Each group of the level before goes to one of the new ones, or to none.
        let finer = found.last().expect("a level");
        let mut groups: Vec<Vec<usize>> = vec![vec![]; finer.len()];
        for group in finer {
            if let Some(home) = groups.get_mut(tape.below(finer.len() + 1)) {
                home.extend(group);
            }
        }
        groups.retain(|group| !group.is_empty());
        if groups.is_empty() {
            groups.push(finer[0].clone());
        }
        found.push(groups);
    }
    (format!("{:?}", &found[1..]), found)
}

fn choose_level(tape: &mut Tape, levels: &[Vec<Vec<usize>>]) -> (usize, Vec<Vec<usize>>) {
    let cutoff = largest_mostly(tape, &(0..levels.len()).collect::<Vec<_>>());
    (cutoff, levels[cutoff].clone())
}

/// Haar details and their amplitudes, one a band.
fn haar(grid: &Grid, each: &[Rational]) -> (Vec<Column>, Vector) {
    let (mut details, mut amplitude) = (Vec::new(), Vec::new());
    for (band, a) in each.iter().enumerate() {
        let side = 2 << band;
        // Left − right; on planes also top − bottom, and the product of the two.
        let kinds: &[(bool, bool)] =
            if grid.spatial == 2 { &[(true, false), (false, true), (true, true)] } else { &[(true, false)] };
        for &(by_col, by_row) in kinds {
            for block in grid.blocks(side) {
                let sign = |&i: &usize| {
                    let (_, row, col) = grid.places[i];
                    let second_half = |p: usize| p % side >= side / 2;
                    let flips = usize::from(by_col && second_half(col)) + usize::from(by_row && second_half(row));
                    (i, int(if flips == 1 { -1 } else { 1 }))
                };
                details.push(block.iter().map(sign).collect());
                amplitude.push(a.clone());
            }
        }
    }
    (details, amplitude)
}

/// Where a filter starts, its common denominator, and its taps.
pub type Filter = (i64, i64, &'static [i64]);

/// Name, low filter of the synthesis, low filter of the analysis.
pub const WAVELETS: [(&str, Filter, Filter); 3] = [
    ("cdf-5-3", (-1, 2, &[1, 2, 1]), (-2, 8, &[-1, 2, 6, 2, -1])),
    ("cdf-1-3", (0, 1, &[1, 1]), (-2, 16, &[-1, 1, 8, 8, 1, -1])),
    ("orthogonal-4", (0, 65, &[44, 77, 21, -12]), (0, 130, &[44, 77, 21, -12])),
];

/// The entries of a filter, by position.
fn taps(&(start, denominator, taps): &Filter) -> Vec<(i64, Rational)> {
    (start..).zip(taps).map(|(k, &t)| (k, ratio(t, denominator))).collect()
}

/// One step of a synthesis: coefficient m adds tap k at 2m + k, around a circle.
fn synthesised(coarse: &[Rational], taps: &[(i64, Rational)]) -> Vector {
    let n = 2 * coarse.len();
    let mut fine = vec![Rational::zero(); n];
    for (m, c) in coarse.iter().enumerate() {
        for (k, tap) in taps {
            fine[(2 * m as i64 + k).rem_euclid(n as i64) as usize] += c * tap;
        }
    }
    fine
}

/// One step of an analysis: coefficient m is the sum of tap k times the value at 2m + k, around a circle.
pub fn analysed(fine: &[Rational], dual: &Filter) -> Vector {
    let at = |i: i64| &fine[i.rem_euclid(fine.len() as i64) as usize];
    (0..fine.len() as i64 / 2).map(|m| taps(dual).iter().map(|(k, tap)| tap * at(2 * m + k)).sum()).collect()
}

/// The functions of one axis of `n` elements: `band` steps of low synthesis, or one high one and then low ones.
fn functions(n: usize, band: usize, first: &[(i64, Rational)], low: &[(i64, Rational)]) -> Vec<Vector> {
    let count = n >> band;
    let function = |m: usize| {
        let mut v: Vector = (0..count).map(|i| int((i == m).into())).collect();
        v = synthesised(&v, first);
        while v.len() < n {
            v = synthesised(&v, low);
        }
        v
    };
    (0..count).map(function).collect()
}

/// Wavelet details of every channel and their amplitudes, one a band.
fn wavelet(grid: &Grid, each: &[Rational], low: &Filter, dual: &Filter) -> (Vec<Column>, Vector) {
    let low = taps(low);
    // high[k] = (−1)^k dual[1 − k].
    let high: Vec<(i64, Rational)> =
        taps(dual).into_iter().map(|(k, tap)| (1 - k, if k % 2 == 0 { -tap } else { tap })).collect();
    let (mut details, mut amplitude) = (Vec::new(), Vec::new());
    for plane in grid.planes() {
        for (band, a) in each.iter().enumerate() {
            let [low_x, high_x] = [&low, &high].map(|first| functions(grid.width, band + 1, first, &low));
            let kinds = if grid.spatial == 1 {
                vec![(vec![vec![Rational::one()]], high_x)]
            } else {
                let [low_y, high_y] = [&low, &high].map(|first| functions(grid.height, band + 1, first, &low));
                vec![(low_y, high_x.clone()), (high_y.clone(), low_x), (high_y, high_x)]
            };
            for (ys, xs) in kinds {
                for (y, x) in ys.iter().flat_map(|y| xs.iter().map(move |x| (y, x))) {
                    let entry = |(p, &i): (usize, &usize)| (i, &y[p / grid.width] * &x[p % grid.width]);
                    details.push(plane.iter().enumerate().map(entry).collect());
                    amplitude.push(a.clone());
                }
            }
        }
    }
    (details, amplitude)
}

/// Changes of stored constants: of all, which all must be such as can change, or of some by name.
fn weights(tape: &mut Tape, net: &Net) -> (Perturb, String) {
    let all: Vec<(usize, usize)> =
        (0..net.constants.len()).flat_map(|t| (0..net.constants[t].len()).map(move |k| (t, k))).collect();
    let mut chosen = all.clone();
    let mut which = "\"all\"".to_owned();
    if tape.one_in(2) || net.fixed {
        chosen.retain(|_| tape.one_in(2));
        if chosen.is_empty() {
            chosen.push(all[0]);
        }
        let names: Vec<&str> = chosen.iter().rev().map(|&(t, k)| net.constants[t][k].name.as_str()).collect();
        which = format!("{names:?}");
    }
    let (relative, a) = (tape.one_in(2), amplitude(tape));
    let spread = |&(t, k): &(usize, usize)| {
        let constant = &net.constants[t][k];
        let sign = int(if constant.rises { 1 } else { -1 });
        let size = |v: &Rational| if relative { &a * v.abs() } else { a.clone() };
        (t, k, constant.values.iter().map(|v| size(v) * &sign).collect::<Vector>())
    };
    let found: Vec<(usize, usize, Vector)> = chosen.iter().map(spread).collect();
    let error = if relative { "relative" } else { "absolute" };
    let text = format!("[[perturb]]\nweights = {which}\nerror = \"{error}\"\namplitude = \"{a}\"\n");
    let count = found.iter().map(|(_, _, spread)| spread.len()).sum();
    (Perturb { site: None, family: Family::Weights(found), amplitude: vec![Rational::one(); count] }, text)
}
