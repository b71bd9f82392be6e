//! Rule 4.1, interval: bounds of an affine tensor from the bounds of its predecessors.
//!
//! Premises: `d = Σ_p W_p d_p`, and `d_p ∈ [l_p, u_p]`.
//! Conclusion: `d_i ∈ Σ_p Σ_j W_ij · [l_j, u_j]`, each product taken at the end that is worst for its sign.
//! Sound because a sum is at most the sum of the maxima of its terms. A weight with a tail lies in
//! `[m, m+1] · 2^-exp`, so it adds at most `2^-exp · max(|l_j|, |u_j|)` on either side.
//!
//! Width: weights have at most 59 bits, so sums have 48 + 59 + 20 bits less one, and the tails far fewer.

use crate::bounds::Bounds;
use crate::error::{Result, exponent};
use crate::linear::Linear;
use crate::number::{Rational, scale_by_power_of_two};
use num::bigint::BigInt;

/// Lower and upper sums of `W d`, in units of `2^-exp`.
struct Product {
    exp: i32,
    lower: Vec<i128>,
    upper: Vec<i128>,
}

/// `W d` for `d` within `bounds`.
fn product(linear: &Linear, bounds: &Bounds) -> Result<Product> {
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
    Ok(Product { exp: exponent(linear.weights().exp().checked_add(bounds.exp()))?, lower, upper })
}

/// Bounds of `Σ_p W_p d_p`, given each map with the bounds of its input.
pub fn affine<'a>(terms: impl Iterator<Item = Result<(&'a Linear, &'a Bounds)>>) -> Result<Bounds> {
    let parts: Vec<Product> = terms.map(|term| term.and_then(|(w, b)| product(w, b))).collect::<Result<_>>()?;
    if let [only] = &parts[..] {
        return Bounds::new(only.exp, &only.lower, &only.upper);
    }
    // Several predecessors have several exponents: add as rationals, once a tensor.
    let rational = |m: i128, exp: i32| scale_by_power_of_two(&Rational::from_integer(BigInt::from(m)), -i64::from(exp));
    let elements = 0..parts.first().map_or(0, |part| part.lower.len());
    let lower = elements.clone().map(|i| parts.iter().map(|p| rational(p.lower[i], p.exp)).sum()).collect::<Vec<_>>();
    let upper = elements.map(|i| parts.iter().map(|p| rational(p.upper[i], p.exp)).sum()).collect::<Vec<_>>();
    Bounds::from_rationals(&lower, &upper)
}
