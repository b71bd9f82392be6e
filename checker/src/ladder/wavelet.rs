//! Wavelets with rational filters, orthogonal or biorthogonal, on periodic grids.
//!
//! One step of the analysis takes `c'[m] = Σ_k dual[k] · c[2m + k]`; the coarse map of rung 2^j is j steps along every
//! spatial axis, so every rung is a function of the one before. The synthesis has the low filter `low` and the high
//! filter `high[k] = (−1)^k · dual[1 − k]`; the details of band j are one high step after j − 1 low ones.
//!
//! Details are invisible: `Σ_k dual[k] high[k − 2m] = Σ_k (−1)^k dual[k] dual[1 + 2m − k]` changes sign under
//! `k → 1 + 2m − k`, so it is zero for every filter. That analysis undoes low synthesis, `Σ_k dual[k] low[k − 2m] =
//! [m = 0]`, is a premise that [`Filters::new`] checks. Both survive wrapping around a grid of even length. Together:
//! j steps of analysis are zero on every band up to j.

use super::grid::{Grid, nothing};
use super::{Generator, Part, Variables};
use crate::linear::Linear;
use crate::number::Rational;
use crate::weights::{Values, Weights};
use num::{One, Zero};
use std::collections::BTreeMap;

/// A finite filter: its entries, the first at this position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    pub start: i64,
    pub taps: Vec<Rational>,
}

/// Most entries of the matrix of details of one channel.
const MAX_ENTRIES: usize = 1 << 22;
/// Longest filter, and farthest start.
const MAX_TAPS: usize = 64;

impl Filter {
    fn entries(&self) -> impl Iterator<Item = (i64, &Rational)> {
        (self.start..).zip(&self.taps)
    }
}

/// The filters of a wavelet; analysis undoes synthesis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filters {
    low: Filter,
    dual: Filter,
}

impl Filters {
    /// Filters by name: `cdf-5-3` (LeGall, of JPEG 2000), `cdf-1-3`, and `orthogonal-4`, a rational wavelet of four taps
    /// near that of Daubechies.
    pub fn named(name: &str) -> Option<Self> {
        let filter = |start, denominator: i64, taps: &[i64]| Filter {
            start,
            taps: taps.iter().map(|&t| Rational::new(t.into(), denominator.into())).collect(),
        };
        let (low, dual) = match name {
            "cdf-5-3" => (filter(-1, 2, &[1, 2, 1]), filter(-2, 8, &[-1, 2, 6, 2, -1])),
            "cdf-1-3" => (filter(0, 1, &[1, 1]), filter(-2, 16, &[-1, 1, 8, 8, 1, -1])),
            // (1 − c + s, 1 + c + s, 1 + c − s, 1 − c − s) / 2 is orthogonal if c² + s² = 1; here c = 33/65, s = 56/65.
            "orthogonal-4" => (filter(0, 65, &[44, 77, 21, -12]), filter(0, 130, &[44, 77, 21, -12])),
            _ => return None,
        };
        Filters::new(low, dual).ok()
    }

    /// An error if analysis with `dual` does not undo synthesis with `low`.
    pub fn new(low: Filter, dual: Filter) -> Result<Self, String> {
        let sizes = [&low, &dual].map(|f| f.taps.len().max(f.start.unsigned_abs() as usize));
        if sizes.iter().any(|&size| size > MAX_TAPS) {
            return Err(format!("filters have at most {MAX_TAPS} taps and start at most so far from 0"));
        }
        let reach = MAX_TAPS as i64 * 2;
        for m in -reach..=reach {
            let product = |(k, d): (i64, &Rational)| {
                low.entries().filter(|(l, _)| *l == k - 2 * m).map(|(_, l)| l * d).sum::<Rational>()
            };
            let sum: Rational = dual.entries().map(product).sum();
            let wanted = if m == 0 { Rational::one() } else { Rational::zero() };
            if sum != wanted {
                let message = "the filters are not biorthogonal: with Σ_k dual[k]·low[k − 2m]";
                return Err(format!("{message} it is {sum} for m = {m}, and must be {wanted}"));
            }
        }
        Ok(Filters { low, dual })
    }

    fn high(&self) -> Filter {
        let sign = |k: i64, tap: &Rational| if k % 2 == 0 { tap.clone() } else { -tap };
        let end = self.dual.start + self.dual.taps.len() as i64;
        let taps = self.dual.taps.iter().rev().zip(2 - end..).map(|(tap, k)| sign(k, tap)).collect();
        Filter { start: 2 - end, taps }
    }

    /// The functions of one axis of length `n`, periodic: those that j low steps synthesise, and those that one high step
    /// and then j − 1 low ones do. Each has n / 2^j members.
    fn functions(&self, n: usize, j: u32) -> [Vec<Vec<Rational>>; 2] {
        let step = |c: &BTreeMap<usize, Rational>, filter: &Filter, fine: usize| {
            let mut out: BTreeMap<usize, Rational> = BTreeMap::new();
            for (m, value) in c {
                for (k, tap) in filter.entries() {
                    let at = (2 * *m as i64 + k).rem_euclid(fine as i64) as usize;
                    *out.entry(at).or_insert_with(Rational::zero) += value * tap;
                }
            }
            out
        };
        let synthesise = |first: &Filter, m: usize| {
            let mut c = BTreeMap::from([(m, Rational::one())]);
            for level in (1..=j).rev() {
                c = step(&c, if level == j { first } else { &self.low }, n >> (level - 1));
            }
            let mut dense = vec![Rational::zero(); n];
            c.into_iter().for_each(|(i, value)| dense[i] = value);
            dense
        };
        let high = self.high();
        [&self.low, &high].map(|first| (0..n >> j).map(|m| synthesise(first, m)).collect())
    }

    /// The details of all bands up to the cutoff. Every channel has the same; in a channel they are ordered by band from
    /// the finest, then by kind, then by position. `None` if there are too many.
    pub fn generator(&self, grid: &Grid, cutoff: usize, amplitudes: &[Rational], len: usize) -> Option<Generator> {
        let (height, width) = grid.plane();
        let plane = height * width;
        let block = if grid.spatial == 2 { cutoff.checked_mul(cutoff)? } else { cutoff };
        if (plane - plane / block).checked_mul(plane)? > MAX_ENTRIES {
            return None;
        }
        let (mut columns, mut amplitude): (Vec<Vec<Rational>>, Vec<Rational>) = (vec![], vec![]);
        for band in 0..cutoff.ilog2() {
            let [low_x, high_x] = self.functions(width, band + 1);
            let kinds = if grid.spatial == 1 {
                vec![(vec![vec![Rational::one()]], high_x)]
            } else {
                let [low_y, high_y] = self.functions(height, band + 1);
                vec![(low_y, high_x.clone()), (high_y.clone(), low_x), (high_y, high_x)]
            };
            for (ys, xs) in kinds {
                for (y, x) in ys.iter().flat_map(|y| xs.iter().map(move |x| (y, x))) {
                    columns.push(y.iter().flat_map(|a| x.iter().map(move |b| a * b)).collect());
                    amplitude.push(amplitudes.get(band as usize).unwrap_or(&amplitudes[0]).clone());
                }
            }
        }
        if columns.is_empty() {
            return Some(nothing(len));
        }
        let matrix = (0..plane).flat_map(|i| columns.iter().map(move |column| column[i].clone())).collect();
        let weights = Weights::new(Values::Rational(matrix))?;
        let map = Linear::dense(len / plane, plane, columns.len(), 1, weights)?;
        let amplitude = vec![amplitude; len / plane].concat();
        let variables = Variables::boxed(&amplitude, vec![]);
        Some(Generator { parts: vec![Part { variables, maps: vec![map] }], seen: None })
    }
}

/// True if, in every channel, the coefficients of all bands up to the rung are zero.
pub fn is_coarse(grid: &Grid, rung: usize, z: &[Rational]) -> bool {
    let (height, width) = grid.plane();
    let plane = height * width;
    let block = if grid.spatial == 2 { rung * rung } else { rung };
    let channels: usize = grid.shape.iter().product::<usize>() / plane;
    let details = z.len() / channels;
    z.chunks(details.max(1)).all(|channel| channel[..(plane - plane / block).min(details)].iter().all(Zero::is_zero))
}
