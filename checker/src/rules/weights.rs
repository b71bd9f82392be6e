//! Rule 4.9, changed weights: what a perturbation of the parameters adds to an affine tensor.
//!
//! Premises: `e_i = Σ_j z_ij S_ij a_j` with `|z_ij| ≤ 1`, `S_ij ≥ 0`, and actual values `a_j = c_j + d_j`, d_j ∈ [p, q].
//! Conclusion: `Σ_i v_i e_i ≤ Σ_j w_j |a_j|` with `w_j ≥ Σ_i |v_i| S_ij`, and `|a_j| ≤ s·d_j + t` for any slope s with
//! `t = max(|c + p| − s·p, |c + q| − s·q)`. In particular `|e_i| ≤ Σ_j S_ij max|a_j|`.
//! Sound because each term is at most `|v_i| S_ij |a_j|`, also if weights share a variable z; and `|c + d| − s·d` is
//! convex in d, so its maximum is at an end. If a weight has a tail, S is rounded up first.
//!
//! Numbers: slopes are integers over `2^SLOPE_BITS`, from −1 to 1; offsets are rationals rounded up to 47 bits over one
//! power of two. Width: w is rounded up to 54 bits before it meets a slope (17 bits) or offsets (47 + 20 bits).

use crate::bounds::Bounds;
use crate::error::{Result, exponent};
use crate::exact::Exact;
use crate::number::{Rational, bit_length, scale_by_power_of_two};
use crate::problem::{Source, WeightPart};
use crate::rules::COEFFICIENT_BITS;
use crate::rules::case::Case;
use crate::rules::relu::SLOPE_BITS;
use num::bigint::BigInt;
use num::{Signed, ToPrimitive, Zero};

/// `|a_j| ≤ slope_j / 2^SLOPE_BITS · d_j + offset_j / 2^exp`.
pub struct Magnitudes {
    pub slope: Vec<i64>,
    pub offset: Vec<i64>,
    pub exp: i32,
}

/// The largest |c_j + d_j|, and its ends, of a tensor whose deviation has known bounds.
fn ends(bounds: &Bounds, centre: &Exact, j: usize) -> (Rational, Rational, Rational) {
    let at = |m: i64| scale_by_power_of_two(&Rational::from_integer(m.into()), -i64::from(bounds.exp()));
    (centre.get(j), at(bounds.lower()[j]), at(bounds.upper()[j]))
}

impl Magnitudes {
    /// Lines above `|a|`. The slope is the chord's, 1 or −1 if the sign of a is known.
    pub fn new(source: &Source, case: &Case<'_>) -> Result<Self> {
        let (mut slopes, mut offsets) = (Vec::new(), Vec::new());
        match source {
            Source::Clean(values) => {
                slopes = vec![0; values.len()];
                offsets = (0..values.len()).map(|j| values.get(j).abs()).collect();
            }
            Source::Tensor(t) => {
                let (bounds, centre) = (case.bounds(*t)?, &case.problem().tensors[*t].centre);
                let one = Rational::from_integer(BigInt::from(1_i64 << SLOPE_BITS));
                for j in 0..bounds.len() {
                    let (c, low, high) = ends(bounds, centre, j);
                    let (at_low, at_high, width) = ((&c + &low).abs(), (&c + &high).abs(), &high - &low);
                    let chord = if width.is_zero() { Rational::zero() } else { (&at_high - &at_low) / width };
                    let slope = (chord * &one).round().to_integer();
                    let s = Rational::new(slope.clone(), BigInt::from(1_i64 << SLOPE_BITS));
                    offsets.push((at_low - &s * low).max(at_high - s * high));
                    // A chord of |a| rises by at most the width, unless the element is void; then any slope serves.
                    slopes.push(slope.to_i64().unwrap_or(0).clamp(-1 << SLOPE_BITS, 1 << SLOPE_BITS));
                }
            }
        }
        let above = Bounds::from_rationals(&offsets, &offsets)?;
        Ok(Magnitudes { slope: slopes, offset: above.upper().to_vec(), exp: above.exp() })
    }
}

/// `[−M, M]` with M_j ≥ max|a_j|: what rule 4.1 multiplies with S.
pub fn range(source: &Source, case: &Case<'_>) -> Result<Bounds> {
    let largest: Vec<Rational> = match source {
        Source::Clean(values) => (0..values.len()).map(|j| values.get(j).abs()).collect(),
        Source::Tensor(t) => {
            let (bounds, centre) = (case.bounds(*t)?, &case.problem().tensors[*t].centre);
            let largest = |j| {
                let (c, low, high) = ends(bounds, centre, j);
                (&c + low).abs().max((c + high).abs())
            };
            (0..bounds.len()).map(largest).collect()
        }
    };
    let negative: Vec<Rational> = largest.iter().map(|m| -m).collect();
    Bounds::from_rationals(&negative, &largest)
}

/// `w_j ≥ Σ_i |v_i| S_ij` for coefficients v / 2^exp that the part's width allows: integers below 2^54, and their exponent.
pub fn column_sums(part: &WeightPart, v: &[i64], exp: i32) -> Result<(Vec<i64>, i32)> {
    let magnitudes: Vec<i64> = v.iter().map(|v| v.abs()).collect();
    let mut sums = vec![0_i128; part.above.inputs()];
    part.above.add_transposed(&magnitudes, &mut sums);
    let widest = sums.iter().map(|&m| bit_length(m)).max().unwrap_or(0);
    let shift = (widest + 1).saturating_sub(COEFFICIENT_BITS);
    let up = |m: i128| -((-m) >> shift) as i64;
    let exp = exp.checked_add(part.above.weights().exp()).and_then(|exp| exp.checked_sub_unsigned(shift));
    Ok((sums.into_iter().map(up).collect(), exponent(exp)?))
}
