//! Rule 4.11, what a ReLU makes of a change of its input: a line above it and a line below it, of any slope.
//!
//! Premises: an input `u = c + b` with the centre `c` exact and `b ∈ [p, q]`, a change `w = k + d` of it with the centre
//! `k` exact and `d ∈ [r, s]`, and `e = E(u, w) − E(c, k)` where `E(u, w) = max(u + w, 0) − max(u, 0)`.
//! Conclusion: `e ≤ λ·d + t` with `t = max(E(u, w) − λ·d) − E(c, k)` over the ranges of u and d, and `e ≥ λ·d + t` with the
//! minimum in place of the maximum. Both are attained among few points, so they are found exactly:
//! - for w ≥ 0, E does not fall as u grows, and for w ≤ 0 it does not rise: so u is at an end of its range;
//! - with u at that end, `E(u, w) − λ·d` is convex and piecewise linear in w on either side of 0, with its only kink
//!   at `w = −u`: so its maximum is at an end of a side, and its minimum at an end or the kink. The ends are those of the
//!   range of w, and 0 if that lies inside.
//!
//! Sound for every λ: a wrong slope loosens, it never lies.
//!
//! Numbers: all in units of `2^-b`. u, k and `E(c, k)` are bracketed by integers; a range that is wider only makes a
//! maximum larger. E is monotone in each of c and k, so E(c, k) lies between its values at the corners of the brackets. The
//! unit is that of the bounds of d, or so much coarser that |k| < 2^57. Then |w| < 2^58, and E(u, w) is w for every u ≥ 2^58 and
//! 0 for every u ≤ −2^58. c and the ends of b are cut to ±2^60. An end of u = c + b to which one of them was cut on the
//! outward side is ±2^60 itself, beyond which E does not change. Else a cut has moved the end outward only: a c above 2^60 was
//! lowered, and it is the lower end of u that it counts in. The offsets of all elements
//! are rounded outward to fewer than 51 bits over one power of two.

use crate::bounds::Bounds;
use crate::error::{Result, exponent};
use crate::exact::Exact;
use crate::number::{bit_length, ceil_shift};
use crate::rules::relu::{Lines, SLOPE_BITS};

const ONE: i64 = 1 << SLOPE_BITS;
/// Where centres and inputs are cut.
const LIMIT: i64 = 1 << 60;
/// The unit is made coarser by a multiple of so many bits.
const STEP: i32 = 8;
/// Width of the centre of a change.
const CENTRE_BITS: u32 = 57;
/// Width of an offset.
const OFFSET_BITS: u32 = 50;

/// What is known of the inputs of a ReLU and of their changes, in units of `2^-exp`.
pub struct ReluPair {
    exp: i32,
    elements: Vec<Element>,
}

struct Element {
    /// Ranges of the input u, of the change's deviation d, and of its centre k.
    u: (i64, i64),
    d: (i64, i64),
    k: (i64, i64),
    /// Range of E(c, k).
    centre: (i64, i64),
}

/// `max(u + w, 0) − max(u, 0)`.
fn change(u: i64, w: i64) -> i64 {
    (u + w).max(0) - u.max(0)
}

/// `m / 2^by`, rounded down and up, and cut at ±[`LIMIT`].
fn scaled((low, high): (i64, i64), by: i64) -> (i64, i64) {
    let limit = i128::from(LIMIT);
    let at = |m: i128| match by {
        // More would be cut all the same.
        ..0 => m << by.unsigned_abs().min(62),
        _ => m >> by.min(127),
    };
    let up = |m: i128| -at(-m);
    let cut = |m: i128| m.clamp(-limit, limit) as i64;
    (cut(at(low.into())), cut(up(high.into())))
}

impl ReluPair {
    /// `base` bounds the deviation b, `c` is its centre; `moved` bounds the deviation d of the change, `k` is its centre.
    pub fn new(base: &Bounds, c: &Exact, moved: &Bounds, k: &Exact) -> Result<Self> {
        let fits = |exp: i32| {
            (0..moved.len()).all(|i| {
                let (low, high) = k.bracket(i, exp, LIMIT);
                low.unsigned_abs().max(high.unsigned_abs()) < 1 << CENTRE_BITS
            })
        };
        let unit = |steps: i32| exponent(steps.checked_mul(STEP).and_then(|by| moved.exp().checked_sub(by)));
        // The fewest steps that are enough, between a number of them that is not and one that is.
        let (mut few, mut enough) = (0, 0);
        while !fits(unit(enough)?) {
            (few, enough) = (enough + 1, exponent(enough.checked_mul(2))?.max(1));
        }
        while few < enough {
            let middle = i32::midpoint(few, enough);
            if fits(unit(middle)?) {
                enough = middle;
            } else {
                few = middle + 1;
            }
        }
        let exp = unit(enough)?;
        let (coarser, from_base) = (i64::from(moved.exp()) - i64::from(exp), i64::from(base.exp()) - i64::from(exp));
        let element = |i: usize| {
            let (c, k) = (c.bracket(i, exp, LIMIT), k.bracket(i, exp, LIMIT));
            let b = scaled((base.lower()[i], base.upper()[i]), from_base);
            let u = (
                if c.0 <= -LIMIT || b.0 <= -LIMIT { -LIMIT } else { c.0 + b.0 },
                if c.1 >= LIMIT || b.1 >= LIMIT { LIMIT } else { c.1 + b.1 },
            );
            let corners = [(c.0, k.0), (c.0, k.1), (c.1, k.0), (c.1, k.1)].map(|(c, k)| change(c, k));
            Element {
                u,
                d: scaled((moved.lower()[i], moved.upper()[i]), coarser),
                k,
                centre: (corners.into_iter().fold(i64::MAX, i64::min), corners.into_iter().fold(i64::MIN, i64::max)),
            }
        };
        Ok(ReluPair { exp, elements: (0..moved.len()).map(element).collect() })
    }

    /// Bounds of e: E does not fall as w grows.
    pub fn output_bounds(&self) -> Result<Bounds> {
        let low = |x: &Element| i128::from(x.lowest(x.w().0) - x.centre.1);
        let high = |x: &Element| i128::from(x.highest(x.w().1) - x.centre.0);
        let lower: Vec<i128> = self.elements.iter().map(low).collect();
        let upper: Vec<i128> = self.elements.iter().map(high).collect();
        Bounds::new(self.exp, &lower, &upper)
    }

    /// Lines above every element.
    pub fn upper_lines(&self, given: Option<&[Option<i64>]>) -> Result<Lines> {
        self.lines(given, true)
    }

    /// Lines below every element.
    pub fn lower_lines(&self, given: Option<&[Option<i64>]>) -> Result<Lines> {
        self.lines(given, false)
    }

    fn lines(&self, given: Option<&[Option<i64>]>, above: bool) -> Result<Lines> {
        let (mut slope, mut offsets) = (Vec::with_capacity(self.elements.len()), Vec::new());
        for (i, x) in self.elements.iter().enumerate() {
            let s = x.slope(given.and_then(|g| g.get(i).copied().flatten()), above);
            slope.push(s);
            // Over 2^(exp + SLOPE_BITS), rounded up; below, the negated offset.
            offsets.push(if above { x.offset_above(s) } else { -x.offset_below(s) });
        }
        let widest = offsets.iter().map(|&t| bit_length(t)).max().unwrap_or(0);
        let by = (widest + 1).saturating_sub(OFFSET_BITS).max(SLOPE_BITS);
        let sign = if above { 1 } else { -1 };
        let offset = offsets.into_iter().map(|t| sign * ceil_shift(t, by.into()) as i64).collect();
        let exp = exponent(self.exp.checked_add(SLOPE_BITS as i32).and_then(|exp| exp.checked_sub_unsigned(by)))?;
        Ok(Lines { slope, offset, exp })
    }
}

impl Element {
    /// Range of the change w = k + d.
    fn w(&self) -> (i64, i64) {
        (self.k.0 + self.d.0, self.k.1 + self.d.1)
    }

    /// The largest and the least E(u, w) over the range of u.
    fn highest(&self, w: i64) -> i64 {
        change(if w >= 0 { self.u.1 } else { self.u.0 }, w)
    }

    fn lowest(&self, w: i64) -> i64 {
        change(if w >= 0 { self.u.0 } else { self.u.1 }, w)
    }

    /// The slope: 1 or 0 if the ReLU is active, or inactive, before and after the change; else `given`; else the chord's.
    fn slope(&self, given: Option<i64>, above: bool) -> i64 {
        let ((low, high), (first, last)) = (self.u, self.w());
        if low >= 0 && low + first >= 0 {
            return ONE;
        }
        if high <= 0 && high + last <= 0 {
            return 0;
        }
        given.unwrap_or_else(|| {
            let at = |w| if above { self.highest(w) } else { self.lowest(w) };
            let (rise, run) = (i128::from(at(last)) - i128::from(at(first)), i128::from(last) - i128::from(first));
            // A change of E is between 0 and that of w, unless the element is void; then any slope serves.
            let twice = if run > 0 { (rise << (SLOPE_BITS + 1)) / run } else { 0 };
            ((twice + 1) / 2).clamp(0, ONE.into()) as i64
        })
    }

    /// `E(u, w) − λ·d` at the change w, over 2^SLOPE_BITS; k is anywhere in its range, so d is one of two numbers.
    fn gaps(&self, e: i64, w: i64, s: i64) -> [i128; 2] {
        [self.k.0, self.k.1].map(|k| i128::from(e) * i128::from(ONE) - i128::from(s) * (i128::from(w) - i128::from(k)))
    }

    /// 0, if the change may be nothing, and the ends of its range.
    fn ends(&self) -> impl Iterator<Item = i64> {
        let (first, last) = self.w();
        [first, last].into_iter().chain((first < 0 && 0 < last).then_some(0))
    }

    fn offset_above(&self, s: i64) -> i128 {
        let worst = self.ends().flat_map(|w| self.gaps(self.highest(w), w, s)).max().unwrap_or(0);
        worst - i128::from(self.centre.0) * i128::from(ONE)
    }

    fn offset_below(&self, s: i64) -> i128 {
        let (first, last) = self.w();
        // With u at its lower end for changes above 0, and at its upper end for those below.
        let kinks = [(-self.u.0, first.max(0), last), (-self.u.1, first, last.min(0))];
        let kinks = kinks.into_iter().filter(|(w, low, high)| low < w && w < high).map(|(w, ..)| w);
        let worst = self.ends().chain(kinks).flat_map(|w| self.gaps(self.lowest(w), w, s)).min().unwrap_or(0);
        worst - i128::from(self.centre.1) * i128::from(ONE)
    }
}
