//! Rule 4.2, rounding: coefficients may be replaced by shorter ones at a price.
//!
//! Premises: `d_i ∈ [l_i, u_i]`. Conclusion: `Σ v_i d_i ≤ Σ v'_i d_i + Σ_i charge_i`, where with `ρ = v_i − v'_i` the
//! charge is `ρ·max(u_i, 0)` for `ρ ≥ 0` and `|ρ|·max(−l_i, 0)` for `ρ < 0`.
//! Sound because `ρ·d_i` is at most its charge for every `d_i` in the range. It is an inequality, not an approximation.
//! A tensor whose deviation is exactly zero is charged nothing.
//!
//! Width: the rest ρ is rounded up to 40 bits, so the sum has at most 40 + 48 + 20 bits.

use crate::bounds::Bounds;
use crate::error::{Result, exponent};
use crate::number::{DyadicSum, bit_length};

const REST_BITS: u32 = 40;

/// `Σ_i mantissas[i] / 2^exp · d_i` over the elements of one tensor.
#[derive(Clone, Debug)]
pub struct Coefficients {
    pub mantissas: Vec<i128>,
    pub exp: i32,
}

/// The same with mantissas below `2^bits`, for the integer kernels.
pub struct Short {
    pub mantissas: Vec<i64>,
    pub exp: i32,
}

/// Rounds `v` to fewer than `bits` ≤ 62 bits and adds the charge to `constant`. Exact if `v` already fits.
pub fn round(v: &Coefficients, bits: u32, bounds: &Bounds, constant: &mut DyadicSum) -> Result<Short> {
    let widest = v.mantissas.iter().map(|&m| bit_length(m)).max().unwrap_or(0);
    if widest < bits {
        return Ok(Short { mantissas: v.mantissas.iter().map(|&m| m as i64).collect(), exp: v.exp });
    }
    // To nearest. One bit is left for the rounding up; |m| < 2^126, so nothing overflows.
    let shift = widest - (bits - 1);
    let mantissas: Vec<i64> = v.mantissas.iter().map(|&m| (((m >> (shift - 1)) + 1) >> 1) as i64).collect();
    let coarse = shift.saturating_sub(REST_BITS);
    let mut charge = 0_i128;
    for (i, (&m, &rounded)) in v.mantissas.iter().zip(&mantissas).enumerate() {
        let rest = m - (i128::from(rounded) << shift);
        let up = -((-rest.abs()) >> coarse);
        let reach = if rest >= 0 { bounds.upper()[i].max(0) } else { bounds.lower()[i].min(0).abs() };
        charge += up * i128::from(reach);
    }
    constant.add(charge, i64::from(v.exp) - i64::from(coarse) + i64::from(bounds.exp()));
    Ok(Short { mantissas, exp: exponent(v.exp.checked_sub_unsigned(shift))? })
}
