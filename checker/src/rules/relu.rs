//! Rule 4.2 for a ReLU: a line above it and a line below it, of any slope.
//!
//! Premises: `e = max(c + d, 0) − max(c, 0)` with the centre `c` exact, and `d ∈ [p, q]`.
//! Conclusion: `e ≤ s·d + t` with `t = max(E(p) − s·p, E(q) − s·q)`, and `e ≥ s·d + t` with
//! `t = min(E(p) − s·p, E(q) − s·q, E(−c) + s·c if p < −c < q)`, where `E(d) = max(c + d, 0) − max(c, 0)`.
//! Sound because `E(d) − s·d` is convex and piecewise linear in `d` with its only kink at `−c`: its maximum is at an
//! end, its minimum at an end or the kink. This holds for every `s`; a wrong slope loosens, it never lies.
//!
//! Numbers: with bounds in units of `2^-b`, `c` is bracketed by integers `c⁻ ≤ c·2^b ≤ c⁺`. `E(d)` is monotone in
//! `c` for each `d`, and `E(−c) + s·c = s·c − max(c, 0)` is concave in `c`, so evaluating both at `c⁻` and `c⁺` and
//! taking the worse covers every `c` between. A centre beyond ±2^60 units is cut to ±2^60: since |d| < 2^48, `E` and
//! the kink's absence are the same there. Offsets have fewer than 51 bits.

use crate::bounds::Bounds;
use crate::exact::Exact;
use std::sync::Arc;

/// Slopes are integers over `2^SLOPE_BITS`.
pub const SLOPE_BITS: u32 = 16;
const ONE: i64 = 1 << SLOPE_BITS;
const CENTRE_LIMIT: i64 = 1 << 60;

/// A ReLU tensor's view of its input: bounds of the deviation and the bracketed centre, in units of `2^-exp`.
pub struct Relu<'a> {
    bounds: &'a Bounds,
    centre: Arc<Vec<(i64, i64)>>,
}

/// `s·d + t` for every element: `slope / 2^SLOPE_BITS` and `offset / 2^exp`.
pub struct Lines {
    pub slope: Vec<i64>,
    pub offset: Vec<i64>,
    pub exp: i32,
}

/// Which way an unstable neuron's default lower slope falls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    Active,
    Inactive,
    Unstable,
}

/// `max(c + d, 0) − max(c, 0)`.
fn shifted_relu(c: i64, d: i64) -> i64 {
    (c + d).max(0) - c.max(0)
}

impl<'a> Relu<'a> {
    pub fn new(bounds: &'a Bounds, centre: &Exact) -> Self {
        Relu::at(bounds, Arc::new(Relu::bracket(bounds, centre)))
    }

    /// The same with a centre that is bracketed in units of these bounds already.
    pub fn at(bounds: &'a Bounds, centre: Arc<Vec<(i64, i64)>>) -> Self {
        Relu { bounds, centre }
    }

    /// The centre in units of the bounds.
    pub fn bracket(bounds: &Bounds, centre: &Exact) -> Vec<(i64, i64)> {
        (0..bounds.len()).map(|i| centre.bracket(i, bounds.exp(), CENTRE_LIMIT)).collect()
    }

    /// Range of the pre-activation `c + d` of element `i`, outward.
    pub fn range(&self, i: usize) -> (i64, i64) {
        (self.centre[i].0 + self.bounds.lower()[i], self.centre[i].1 + self.bounds.upper()[i])
    }

    /// Whether element `i` is always active, always inactive, or neither.
    pub fn phase(&self, i: usize) -> Phase {
        match self.range(i) {
            (low, _) if low >= 0 => Phase::Active,
            (_, high) if high <= 0 => Phase::Inactive,
            _ => Phase::Unstable,
        }
    }

    /// Bounds of the ReLU's own deviation: `E` is monotone in `d`.
    pub fn output_bounds(&self) -> (Vec<i128>, Vec<i128>) {
        let at = |d: i64, (a, b): (i64, i64)| (i128::from(shifted_relu(a, d)), i128::from(shifted_relu(b, d)));
        let lower = self.bounds.lower().iter().zip(self.centre.iter()).map(|(&d, &c)| at(d, c)).map(|(a, b)| a.min(b));
        let upper = self.bounds.upper().iter().zip(self.centre.iter()).map(|(&d, &c)| at(d, c)).map(|(a, b)| a.max(b));
        (lower.collect(), upper.collect())
    }

    /// The slope used for element `i`: 1 or 0 if it is stable, else `given`, else the field's default. Above, that
    /// is the chord; below, 1 if the active part is the larger one, else 0 (the adaptive choice of CROWN).
    fn slope(&self, i: usize, given: Option<i64>, above: bool) -> i64 {
        let (low, high) = self.range(i);
        match (self.phase(i), given) {
            (Phase::Active, _) => ONE,
            (Phase::Inactive, _) => 0,
            (Phase::Unstable, Some(slope)) => slope,
            // low < 0 < high: the quotient, rounded to nearest, is from 0 to ONE.
            (Phase::Unstable, None) if above => {
                let twice = (i128::from(high) << (SLOPE_BITS + 1)) / i128::from(high - low);
                ((twice + 1) / 2) as i64
            }
            (Phase::Unstable, None) => {
                if high > -low {
                    ONE
                } else {
                    0
                }
            }
        }
    }

    /// Lines above every element.
    pub fn upper_lines(&self, given: Option<&[Option<i64>]>) -> Lines {
        self.lines(given, true)
    }

    /// Lines below every element.
    pub fn lower_lines(&self, given: Option<&[Option<i64>]>) -> Lines {
        self.lines(given, false)
    }

    fn lines(&self, given: Option<&[Option<i64>]>, above: bool) -> Lines {
        let (mut slope, mut offset) = (Vec::with_capacity(self.centre.len()), Vec::with_capacity(self.centre.len()));
        for i in 0..self.centre.len() {
            let s = self.slope(i, given.and_then(|g| g.get(i).copied().flatten()), above);
            slope.push(s);
            offset.push(if above { self.offset_above(i, s) } else { self.offset_below(i, s) });
        }
        Lines { slope, offset, exp: self.bounds.exp() }
    }

    /// `(E(d) − s·d) · 2^SLOPE_BITS` at `d`, for the centre `c`.
    fn gap(c: i64, d: i64, s: i64) -> i128 {
        i128::from(shifted_relu(c, d)) * i128::from(ONE) - i128::from(s) * i128::from(d)
    }

    fn offset_above(&self, i: usize, s: i64) -> i64 {
        let (a, b) = self.centre[i];
        let ends = [self.bounds.lower()[i], self.bounds.upper()[i]];
        let worst = ends.into_iter().flat_map(|d| [Self::gap(a, d, s), Self::gap(b, d, s)]).max().unwrap_or(0);
        -((-worst) >> SLOPE_BITS) as i64
    }

    fn offset_below(&self, i: usize, s: i64) -> i64 {
        let (a, b) = self.centre[i];
        let (p, q) = (self.bounds.lower()[i], self.bounds.upper()[i]);
        let ends = [p, q].into_iter().flat_map(|d| [Self::gap(a, d, s), Self::gap(b, d, s)]);
        let kink_possible = p < -a && -b < q;
        let kink = |c: i64| i128::from(s) * i128::from(c) - i128::from(c.max(0)) * i128::from(ONE);
        let kinks = [a, b].into_iter().filter(|_| kink_possible).map(kink);
        (ends.chain(kinks).min().unwrap_or(0) >> SLOPE_BITS) as i64
    }
}
