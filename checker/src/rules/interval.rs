//! Rule 4.1, interval: bounds of an affine tensor from the bounds of its predecessors.
//!
//! Premises: `d = Σ_p W_p d_p`, and `d_p ∈ [l_p, u_p]`.
//! Conclusion: `d_i ∈ Σ_p Σ_j W_ij · [l_j, u_j]`, each product taken at the end that is worst for its sign.
//! Sound because a sum is at most the sum of the maxima of its terms. A weight with a tail lies in
//! `[m, m+1] · 2^-exp`, so it adds at most `2^-exp · max(|l_j|, |u_j|)` on either side.
//!
//! Width: 48 + 58 + 20 bits and one for the tail, 127 with the sign.

use crate::bounds::Bounds;
use crate::error::Result;
use crate::linear::Linear;
use crate::number::{Rational, scale_by_power_of_two};
use num::bigint::BigInt;

/// Lower and upper sums of `W d` for `d` within `bounds`, in units of `2^-exp`; returns `(exp, lower, upper)`.
fn product(linear: &Linear, bounds: &Bounds) -> (i32, Vec<i128>, Vec<i128>) {
    let w = linear.weights().mantissas();
    let tail = linear.weights().exact().is_some();
    let (mut lower, mut upper) = (vec![0_i128; linear.outputs()], vec![0_i128; linear.outputs()]);
    let (l, u) = (bounds.lower(), bounds.upper());
    linear.for_each_entry(|o, i, k| {
        let (a, b) = (i128::from(w[k]) * i128::from(l[i]), i128::from(w[k]) * i128::from(u[i]));
        let charge = if tail { i128::from(bounds.magnitude(i)) } else { 0 };
        lower[o] += a.min(b) - charge;
        upper[o] += a.max(b) + charge;
    });
    (linear.weights().exp() + bounds.exp(), lower, upper)
}

/// Bounds of `Σ_p W_p d_p`, given each map with the bounds of its input.
pub fn affine<'a>(terms: impl Iterator<Item = (&'a Linear, &'a Bounds)>) -> Result<Bounds> {
    let parts: Vec<_> = terms.map(|(linear, bounds)| product(linear, bounds)).collect();
    if let [(exp, lower, upper)] = &parts[..] {
        return Bounds::new(*exp, lower, upper);
    }
    // Several predecessors have several exponents: add as rationals, once a tensor.
    let rational = |m: i128, exp: i32| scale_by_power_of_two(&Rational::from_integer(BigInt::from(m)), -i64::from(exp));
    let len = parts.first().map_or(0, |(_, lower, _)| lower.len());
    let sum = |side: fn(&(i32, Vec<i128>, Vec<i128>)) -> &Vec<i128>| -> Vec<Rational> {
        (0..len).map(|i| parts.iter().map(|part| rational(side(part)[i], part.0)).sum()).collect()
    };
    Bounds::from_rationals(&sum(|p| &p.1), &sum(|p| &p.2))
}
