//! Exact numbers, rounded to the nearest float32.

use num::{BigInt, ToPrimitive};
use scalecheck::exact::Exact;
use scalecheck::number::{Rational, floor_scaled};
use scalecheck::weights::{Dyadic, Values, Weights};

/// The float32 nearest to each weight; `None` if one of them is not finite.
pub fn of_weights(weights: &Weights) -> Option<Vec<f32>> {
    match weights.exact() {
        Some(Values::Rational(values)) => values.iter().map(nearest).collect(),
        Some(Values::Dyadic(values)) => values.iter().map(|&d| nearest_dyadic(d)).collect(),
        None => weights.mantissas().iter().map(|&m| nearest_dyadic(Dyadic::new(m, -weights.exp()))).collect(),
    }
}

/// The float32 nearest to each element; `None` if one of them is not finite.
pub fn of_exact(values: &Exact) -> Option<Vec<f32>> {
    (0..values.len()).map(|i| nearest(&values.get(i))).collect()
}

/// The same as [`nearest`] without big integers, wherever a float64 holds the number.
fn nearest_dyadic(d: Dyadic) -> Option<f32> {
    let held = d.mantissa.unsigned_abs() < 1 << 53 && d.exponent.unsigned_abs() < 900;
    if held { finite(d.mantissa, d.exponent) } else { nearest(&d.to_rational()) }
}

/// `mantissa · 2^exponent`, which is a float64, as the nearest float32.
fn finite(mantissa: i64, exponent: i32) -> Option<f32> {
    let power = f64::from_bits(((1023 + i64::from(exponent)) as u64) << 52);
    Some((mantissa as f64 * power) as f32).filter(|single| single.is_finite())
}

fn nearest(x: &Rational) -> Option<f32> {
    // |x| is between 2^(log2 - 1) and 2^(log2 + 1).
    let log2 = x.numer().bits() as i64 - x.denom().bits() as i64;
    if log2 < -200 {
        return Some(0.0);
    }
    let exponent = i32::try_from(log2).ok().filter(|&log2| log2 < 200)? - 40;
    let floor = floor_scaled(x, -exponent);
    let inexact = floor != -floor_scaled(&-x, -exponent);
    // Of the two neighbours of 41 bits the odd one: it is on the same side of every tie between singles as x.
    finite((floor | BigInt::from(u8::from(inexact))).to_i64()?, exponent)
}
