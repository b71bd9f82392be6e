//! Rule 4.2, rounding: coefficients may be replaced by shorter ones at a price.
//!
//! Premises: `d_i ≤ u_i`. Conclusion: `Σ v_i d_i ≤ Σ v'_i d_i + Σ_i ρ_i·max(u_i, 0)` for any `v' ≤ v`, `ρ ≥ v − v'`.
//! Sound because `(v_i − v'_i)·d_i` is at most its charge for every `d_i` in the range. It is an inequality, not an
//! approximation. A tensor whose deviation is exactly zero is charged nothing.
//!
//! Here v' is v rounded down, and ρ what is cut off, rounded up to 40 bits.
//! Width: the sum of charges has at most 40 + 48 + 20 bits.

use crate::bounds::Bounds;
use crate::error::{Result, exponent};
use crate::number::{DyadicSum, product, widest};

/// Bits of what is cut off that are charged exactly.
const REST_BITS: u32 = 40;

/// `Σ_i mantissas[i] / 2^exp · d_i` over the elements of one tensor.
#[derive(Clone, Debug)]
pub struct Coefficients {
    pub mantissas: Vec<i128>,
    pub exp: i32,
}

/// The same with mantissas below `2^bits`, for the integer kernels.
#[derive(Clone, Debug)]
pub struct Short {
    pub mantissas: Vec<i64>,
    pub exp: i32,
}

impl Short {
    pub fn widened(&self) -> Coefficients {
        Coefficients { mantissas: self.mantissas.iter().map(|&m| m.into()).collect(), exp: self.exp }
    }
}

/// Rounds `v` to fewer than `bits` ≤ 62 bits and adds the charge to `constant`. Exact if `v` already fits.
pub fn round(v: &Coefficients, bits: u32, bounds: &Bounds, constant: &mut DyadicSum) -> Result<Short> {
    let widest = widest(&v.mantissas);
    if widest < bits {
        return Ok(Short { mantissas: v.mantissas.iter().map(|&m| m as i64).collect(), exp: v.exp });
    }
    // One bit is left: −2^(bits − 1) is as wide as a magnitude may be.
    let shift = widest - (bits - 1);
    let coarse = shift.saturating_sub(REST_BITS);
    let (mask, one) = ((1_i64 << shift.min(REST_BITS)) - 1, i64::from(coarse > 0));
    let (mut mantissas, mut charge) = (Vec::with_capacity(v.mantissas.len()), 0_i128);
    for (&m, &upper) in v.mantissas.iter().zip(bounds.upper()) {
        mantissas.push((m >> shift) as i64);
        let rest = ((m >> coarse) as i64 & mask) + one;
        charge = charge.wrapping_add(product(rest, upper.max(0)));
    }
    constant.add(charge, i64::from(v.exp) - i64::from(coarse) + i64::from(bounds.exp()));
    Ok(Short { mantissas, exp: exponent(v.exp.checked_sub_unsigned(shift))? })
}
