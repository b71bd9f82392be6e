//! The stored constants of a network, exactly, and in the integer form that the kernel computes with.

use crate::number::{Rational, bit_length, floor_scaled, scale_by_power_of_two};
use num::bigint::BigInt;
use num::{One, ToPrimitive, Zero};

/// `mantissa · 2^exponent`, the exact value of a stored float. The mantissa is odd, or the value is 0 · 2^0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dyadic {
    pub mantissa: i64,
    pub exponent: i32,
}

impl Dyadic {
    /// `mantissa · 2^exponent` in lowest terms.
    pub fn new(mantissa: i64, exponent: i32) -> Self {
        if mantissa == 0 {
            return Dyadic { mantissa: 0, exponent: 0 };
        }
        let zeros = mantissa.trailing_zeros();
        Dyadic { mantissa: mantissa >> zeros, exponent: exponent + zeros as i32 }
    }

    /// Decodes an IEEE 754 value from its bits: `exponent_bits` and `fraction_bits` of binary16, 32 or 64.
    /// `None` for NaN and infinities.
    pub fn from_ieee(bits: u64, exponent_bits: u32, fraction_bits: u32) -> Option<Self> {
        let fraction = (bits & ((1 << fraction_bits) - 1)) as i64;
        let exponent = ((bits >> fraction_bits) & ((1 << exponent_bits) - 1)) as i32;
        let negative = (bits >> (exponent_bits + fraction_bits)) & 1 == 1;
        let bias = (1 << (exponent_bits - 1)) - 1;
        if exponent == (1 << exponent_bits) - 1 {
            return None;
        }
        let (mantissa, power) = if exponent == 0 { (fraction, 1) } else { (fraction | (1 << fraction_bits), exponent) };
        let mantissa = if negative { -mantissa } else { mantissa };
        Some(Dyadic::new(mantissa, power - bias - fraction_bits as i32))
    }

    pub fn to_rational(self) -> Rational {
        scale_by_power_of_two(&Rational::from_integer(self.mantissa.into()), i64::from(self.exponent))
    }
}

/// Exact constants: stored floats stay dyadic, quotients and claim numbers are rationals.
#[derive(Clone, Debug)]
pub enum Values {
    Dyadic(Vec<Dyadic>),
    Rational(Vec<Rational>),
}

/// The same numbers, however they are stored.
impl PartialEq for Values {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Values::Dyadic(a), Values::Dyadic(b)) => a == b,
            (Values::Rational(a), Values::Rational(b)) => a == b,
            _ => self.len() == other.len() && (0..self.len()).all(|i| self.get(i) == other.get(i)),
        }
    }
}

impl Values {
    pub fn len(&self) -> usize {
        match self {
            Values::Dyadic(v) => v.len(),
            Values::Rational(v) => v.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The value at position `i`, which must be below [`Values::len`].
    pub fn get(&self, i: usize) -> Rational {
        match self {
            Values::Dyadic(v) => v[i].to_rational(),
            Values::Rational(v) => v[i].clone(),
        }
    }

    /// The same values in the order `index`, each below [`Values::len`].
    pub fn select(&self, index: &[usize]) -> Values {
        match self {
            Values::Dyadic(v) => Values::Dyadic(index.iter().map(|&i| v[i]).collect()),
            Values::Rational(v) => Values::Rational(index.iter().map(|&i| v[i].clone()).collect()),
        }
    }

    pub fn map(&self, f: impl Fn(&Rational) -> Rational) -> Values {
        Values::Rational((0..self.len()).map(|i| f(&self.get(i))).collect())
    }
}

/// Width of a weight mantissa in the kernel: its magnitude is at most 2^58, the end itself only for a rounded one.
pub const WEIGHT_BITS: u32 = 58;

/// Weights as integers over one power of two: weight `k` is `mantissas[k] / 2^exp` plus a tail in [0, 2^-exp).
///
/// The tail is zero, and the integers exact, whenever the values span at most [`WEIGHT_BITS`] binary places.
/// Otherwise (subnormals beside ordinary weights, thirds) the exact values are kept beside the integers: the
/// exact evaluation uses them, and the rules charge `2^-exp` for every weight that has a tail.
#[derive(Clone, Debug)]
pub struct Weights {
    exp: i32,
    mantissas: Vec<i64>,
    bits: u32,
    exact: Option<Values>,
}

impl Weights {
    /// `None` if a rational is outside the range of magnitudes that 32-bit exponents express.
    pub fn new(values: Values) -> Option<Self> {
        match values {
            Values::Dyadic(v) => Some(Self::from_dyadic(v)),
            Values::Rational(v) => match v.iter().map(rational_to_dyadic).collect() {
                Some(dyadic) => Some(Self::from_dyadic(dyadic)),
                None => Self::from_rational(v),
            },
        }
    }

    /// The single weight `w`, shared by every entry of a linear map.
    pub fn constant(w: i64) -> Self {
        Self::from_dyadic(vec![Dyadic::new(w, 0)])
    }

    fn from_dyadic(v: Vec<Dyadic>) -> Self {
        let nonzero = || v.iter().filter(|d| d.mantissa != 0);
        let finest = nonzero().map(|d| -d.exponent).max().unwrap_or(0);
        let top = nonzero().map(|d| bit_length(d.mantissa.into()) as i32 + d.exponent).max().unwrap_or(0);
        if finest + top <= WEIGHT_BITS as i32 {
            let mantissas = v.iter().map(|d| shift(d.mantissa, d.exponent + finest)).collect();
            return Self::assemble(finest, mantissas, None);
        }
        let exp = WEIGHT_BITS as i32 - top;
        let mantissas = v.iter().map(|d| shift(d.mantissa, d.exponent + exp)).collect();
        Self::assemble(exp, mantissas, Some(Values::Dyadic(v)))
    }

    fn from_rational(v: Vec<Rational>) -> Option<Self> {
        // |r| < 2^log2(r), so every mantissa below fits WEIGHT_BITS bits.
        let log2 = |r: &Rational| r.numer().bits() as i64 - r.denom().bits() as i64 + 1;
        let top = v.iter().filter(|r| !r.is_zero()).map(log2).max().unwrap_or(0);
        let exp = i32::try_from(i64::from(WEIGHT_BITS) - top).ok()?;
        let mantissas = v.iter().map(|r| floor_scaled(r, exp).to_i64()).collect::<Option<_>>()?;
        Some(Self::assemble(exp, mantissas, Some(Values::Rational(v))))
    }

    fn assemble(exp: i32, mantissas: Vec<i64>, exact: Option<Values>) -> Self {
        let bits = mantissas.iter().map(|&m| bit_length(m.into())).max().unwrap_or(0);
        Weights { exp, mantissas, bits, exact }
    }

    pub fn exp(&self) -> i32 {
        self.exp
    }

    pub fn mantissas(&self) -> &[i64] {
        &self.mantissas
    }

    /// The least b with every |mantissa| < 2^b; at most [`WEIGHT_BITS`] + 1.
    pub fn bits(&self) -> u32 {
        self.bits
    }

    /// The exact values, present only if some weight has a tail.
    pub fn exact(&self) -> Option<&Values> {
        self.exact.as_ref()
    }

    /// The exact value of weight `k`.
    pub fn value(&self, k: usize) -> Rational {
        match &self.exact {
            Some(exact) => exact.get(k),
            None => Dyadic::new(self.mantissas[k], -self.exp).to_rational(),
        }
    }

    /// Weights without tails, none of them smaller; these weights themselves if they have no tails.
    pub fn rounded_up(&self) -> Self {
        let Some(exact) = &self.exact else { return self.clone() };
        // Two places fewer leave room for the carry, so the result spans at most WEIGHT_BITS places.
        let up = |k: usize| if exact.get(k).is_zero() { 0 } else { (self.mantissas[k] >> 2) + 1 };
        Self::from_dyadic((0..self.mantissas.len()).map(|k| Dyadic::new(up(k), 2 - self.exp)).collect())
    }

    /// True if weight `k` is 1.
    pub fn is_one(&self, k: usize) -> bool {
        match u32::try_from(self.exp) {
            // The mantissa of 1 is the common power of two, unless that is above 1.
            Ok(exp) if 1_i64.checked_shl(exp) != Some(self.mantissas[k]) => false,
            _ => self.value(k).is_one(),
        }
    }

    /// True if weight `k` is 0.
    pub fn is_zero(&self, k: usize) -> bool {
        self.mantissas[k] == 0 && self.exact.as_ref().is_none_or(|exact| exact.get(k).is_zero())
    }

    /// True if some weight is 1.
    pub fn has_one(&self) -> bool {
        (0..self.mantissas.len()).any(|k| self.is_one(k))
    }
}

/// `m · 2^by`, rounded down. Callers choose `by` so that the result has at most [`WEIGHT_BITS`] bits.
fn shift(m: i64, by: i32) -> i64 {
    if m == 0 {
        0
    } else if by >= 0 {
        m << by
    } else {
        m >> by.unsigned_abs().min(63)
    }
}

fn rational_to_dyadic(r: &Rational) -> Option<Dyadic> {
    let zeros = r.denom().trailing_zeros().unwrap_or(0);
    (r.denom() == &(BigInt::from(1) << zeros)).then_some(())?;
    Some(Dyadic::new(r.numer().to_i64()?, -i32::try_from(zeros).ok()?))
}
