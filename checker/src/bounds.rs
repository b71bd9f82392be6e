//! Lower and upper bounds of a tensor's deviation, as integers over one power of two, always rounded outward.

use crate::error::{Code, Error, Result, exponent};
use crate::number::{Rational, bit_length, ceil_shift, cut, floor_scaled};
use num::{ToPrimitive, Zero};

/// Every stored bound has |mantissa| < 2^48. The sums of the rules are proved to fit i128 with it.
pub const BOUND_BITS: u32 = 48;

/// Element `i` lies in `[lower[i], upper[i]] / 2^exp`. If lower > upper no point is left: the case is void.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bounds {
    exp: i32,
    lower: Vec<i64>,
    upper: Vec<i64>,
}

impl Bounds {
    /// Bounds given as mantissas over `2^exp`, brought to the width of [`BOUND_BITS`] by rounding outward.
    pub fn new(exp: i32, lower: &[i128], upper: &[i128]) -> Result<Self> {
        let bits = lower.iter().chain(upper).map(|&m| bit_length(m)).max().unwrap_or(0);
        if bits == 0 {
            return Ok(Bounds { exp: BOUND_BITS as i32 - 2, lower: vec![0; lower.len()], upper: vec![0; upper.len()] });
        }
        // One bit is left for rounding up.
        let shift = i64::from(bits) - i64::from(BOUND_BITS - 1);
        let (right, left) = (shift.max(0).unsigned_abs() as u32, shift.min(0).unsigned_abs() as u32);
        let narrow = |m: i128| i64::try_from(m).map_err(|_| too_wide());
        Ok(Bounds {
            exp: exponent(exp.checked_add(left as i32).and_then(|exp| exp.checked_sub(right as i32)))?,
            lower: lower.iter().map(|&m| narrow((m << left) >> right)).collect::<Result<_>>()?,
            upper: upper.iter().map(|&m| narrow(-((-m << left) >> right))).collect::<Result<_>>()?,
        })
    }

    /// Bounds given as rationals, rounded outward.
    pub fn from_rationals(lower: &[Rational], upper: &[Rational]) -> Result<Self> {
        let log2 = |r: &Rational| r.numer().bits() as i64 - r.denom().bits() as i64 + 1;
        let top = lower.iter().chain(upper).filter(|r| !r.is_zero()).map(log2).max().unwrap_or(0);
        let exp = i32::try_from(i64::from(BOUND_BITS) - 2 - top).map_err(|_| too_wide())?;
        let floor = |r: &Rational| floor_scaled(r, exp).to_i128().ok_or_else(too_wide);
        let ceil = |r: &Rational| (-floor_scaled(&-r, exp)).to_i128().ok_or_else(too_wide);
        let lower = lower.iter().map(floor).collect::<Result<Vec<_>>>()?;
        Self::new(exp, &lower, &upper.iter().map(ceil).collect::<Result<Vec<_>>>()?)
    }

    pub fn len(&self) -> usize {
        self.lower.len()
    }

    pub fn is_empty(&self) -> bool {
        self.lower.is_empty()
    }

    pub fn exp(&self) -> i32 {
        self.exp
    }

    pub fn lower(&self) -> &[i64] {
        &self.lower
    }

    pub fn upper(&self) -> &[i64] {
        &self.upper
    }

    /// max(|lower|, |upper|) of element `i`, in mantissas.
    pub fn magnitude(&self, i: usize) -> i64 {
        self.lower[i].abs().max(self.upper[i].abs())
    }

    /// True if element `i` has no value left.
    pub fn is_void(&self, i: usize) -> bool {
        self.lower[i] > self.upper[i]
    }

    /// Raises the lower bound of element `i` to `value`, rounded down, if that is tighter.
    pub fn raise_lower(&mut self, i: usize, value: &Rational) {
        self.raise_lower_to(i, cut(&floor_scaled(value, self.exp), LIMIT), 0);
    }

    /// Lowers the upper bound of element `i` to `value`, rounded up, if that is tighter.
    pub fn drop_upper(&mut self, i: usize, value: &Rational) {
        self.drop_upper_to(i, -cut(&floor_scaled(&-value, self.exp), LIMIT), 0);
    }

    /// Raises the lower bound of element `i` to `⌊m / 2^by⌋` mantissas, if that is tighter.
    pub fn raise_lower_to(&mut self, i: usize, m: i128, by: u32) {
        self.lower[i] = self.lower[i].max(clamp(m >> by));
    }

    /// Lowers the upper bound of element `i` to `⌈m / 2^by⌉` mantissas, if that is tighter.
    pub fn drop_upper_to(&mut self, i: usize, m: i128, by: u32) {
        self.upper[i] = self.upper[i].min(clamp(ceil_shift(m, by.into())));
    }

    /// The same bounds with the finest mantissas that fit.
    pub fn renormalised(&self) -> Result<Self> {
        let wide = |v: &[i64]| v.iter().map(|&m| i128::from(m)).collect::<Vec<_>>();
        Self::new(self.exp, &wide(&self.lower), &wide(&self.upper))
    }
}

/// The largest mantissa. Bounds only ever tighten, and old ones have fewer than [`BOUND_BITS`] bits, so a value beyond
/// them can be cut just outside: either it is looser than the old bound, or it makes the element void all the same.
const LIMIT: i128 = (1 << BOUND_BITS) - 1;

fn clamp(m: i128) -> i64 {
    m.clamp(-LIMIT, LIMIT) as i64
}

fn too_wide() -> Error {
    Error::new(Code::LimitSize, "bounds", "a bound is out of range")
}
