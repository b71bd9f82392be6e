//! Exact numbers at the edges: rationals written by people, dyadic sums in the kernel.

use num::bigint::BigInt;
use num::integer::Integer;
use num::{BigRational, One, Signed, ToPrimitive, Zero};

pub type Rational = BigRational;

/// Longest text and largest decimal exponent of a number in a claim or certificate.
const MAX_TEXT: usize = 4096;
const MAX_EXPONENT: u32 = 4096;

/// Reads `3`, `-1/32`, `0.125` or `1e-3` exactly; `None` for anything else.
pub fn parse_rational(text: &str) -> Option<Rational> {
    if text.len() > MAX_TEXT {
        return None;
    }
    match text.split_once('/') {
        Some((top, bottom)) => {
            let bottom = parse_integer(bottom, false)?;
            (!bottom.is_zero()).then_some(())?;
            Some(Rational::new(parse_integer(top, true)?, bottom))
        }
        None => parse_decimal(text),
    }
}

fn parse_integer(text: &str, signed: bool) -> Option<BigInt> {
    let digits = if signed { text.strip_prefix(['-', '+']).unwrap_or(text) } else { text };
    let all_digits = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    let magnitude: BigInt = all_digits.then(|| digits.parse().ok())??;
    Some(if signed && text.starts_with('-') { -magnitude } else { magnitude })
}

fn parse_decimal(text: &str) -> Option<Rational> {
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((m, e)) => (m, e.parse::<i32>().ok().filter(|e| e.unsigned_abs() <= MAX_EXPONENT)?),
        None => (text, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let fraction_is_digits = fraction.bytes().all(|b| b.is_ascii_digit());
    if mantissa.contains('.') && (fraction.is_empty() || !fraction_is_digits) {
        return None;
    }
    let digits = parse_integer(&format!("{whole}{fraction}"), true)?;
    let places = exponent.checked_sub(i32::try_from(fraction.len()).ok()?)?;
    let power = BigInt::from(10).pow(places.unsigned_abs());
    Some(if places >= 0 { Rational::from_integer(digits * power) } else { Rational::new(digits, power) })
}

/// `x · 2^shift` for a shift of either sign. Powers of two cancel by shifting, so no gcd is needed.
pub fn scale_by_power_of_two(x: &Rational, shift: i64) -> Rational {
    let (top, bottom) = if shift >= 0 { (x.numer(), x.denom()) } else { (x.denom(), x.numer()) };
    let by = shift.unsigned_abs();
    let cancelled = bottom.trailing_zeros().unwrap_or(by).min(by);
    let (top, bottom) = (top << (by - cancelled), bottom >> cancelled);
    match (x.is_zero(), shift >= 0) {
        (true, _) => Rational::zero(),
        (_, true) => Rational::new_raw(top, bottom),
        (_, false) => Rational::new_raw(bottom, top),
    }
}

/// ⌊x · 2^exp⌋.
pub fn floor_scaled(x: &Rational, exp: i32) -> BigInt {
    let by = exp.unsigned_abs();
    if exp >= 0 { (x.numer() << by).div_floor(x.denom()) } else { x.numer().div_floor(&(x.denom() << by)) }
}

/// A decimal rendering for people: about six digits, rounded to nearest, marked `≈` unless it is exact.
pub fn approximate(x: &Rational) -> String {
    if x.is_integer() {
        return x.to_integer().to_string();
    }
    let mut places: u32 = 6;
    let mut magnitude = x.abs();
    let (tenth, ten) = (Rational::new(1.into(), 10.into()), BigInt::from(10));
    while magnitude < tenth && places < 40 {
        magnitude *= &ten;
        places += 1;
    }
    let scaled = (x * ten.pow(places)).round().to_integer();
    let exact = Rational::new(scaled.clone(), ten.pow(places)) == *x;
    let digits = format!("{:0>width$}", scaled.abs().to_string(), width = places as usize + 1);
    let (whole, fraction) = digits.split_at(digits.len() - places as usize);
    let text = format!("{whole}.{fraction}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    format!("{}{}{text}", if exact { "" } else { "≈" }, if x.is_negative() { "-" } else { "" })
}

/// `a · b`, which 126 bits hold.
#[inline]
pub fn product(a: i64, b: i64) -> i128 {
    i128::from(a).wrapping_mul(i128::from(b))
}

/// A growing sum of dyadic numbers, `mantissa / 2^exp`: the constant term `r` of a back-substitution. What fits is
/// summed in 128 bits, `small / 2^small_exp`, and moved to the big mantissa when something does not. The sum is exact, or
/// one whose terms are rounded up.
#[derive(Clone, Debug, Default)]
pub struct DyadicSum {
    mantissa: BigInt,
    exp: i64,
    small: i128,
    small_exp: i64,
    /// Terms become multiples of `2^-grid`.
    grid: Option<i64>,
}

impl DyadicSum {
    /// A sum whose terms are rounded up to multiples of `2^-grid`.
    pub fn rounded_up(grid: i64) -> Self {
        DyadicSum { small_exp: grid, grid: Some(grid), ..DyadicSum::default() }
    }

    /// Adds `m / 2^exp`.
    pub fn add(&mut self, mut m: i128, mut exp: i64) {
        if m == 0 {
            return;
        }
        if let Some(grid) = self.grid.filter(|grid| exp > *grid) {
            (m, exp) = (ceil_shift(m, exp.abs_diff(grid)), grid);
        }
        let finer = self.small_exp.max(exp);
        let scaled = |m: i128, exp: i64| {
            let shift = finer.abs_diff(exp);
            // Two bits are left for the sign and the sum.
            (m == 0 || u64::from(bit_length(m)) + shift <= 125).then(|| if m == 0 { 0 } else { m << shift })
        };
        match (scaled(self.small, self.small_exp), scaled(m, exp)) {
            (Some(a), Some(b)) => (self.small, self.small_exp) = (a + b, finer),
            _ => {
                self.settle();
                (self.small, self.small_exp) = (m, exp);
            }
        }
    }

    /// Moves what is summed in 128 bits to the big mantissa.
    fn settle(&mut self) {
        let small = std::mem::take(&mut self.small);
        self.add_big(BigInt::from(small), self.small_exp);
    }

    /// Adds `m / 2^exp`.
    pub fn add_big(&mut self, mut m: BigInt, exp: i64) {
        if m.is_zero() {
            return;
        }
        if exp > self.exp {
            self.mantissa <<= exp.abs_diff(self.exp);
            self.exp = exp;
        } else {
            m <<= self.exp.abs_diff(exp);
        }
        self.mantissa += m;
    }

    /// ⌈self · 2^exp / odd⌉ for a positive `odd`, if 126 bits hold it and what it is computed from.
    pub fn small_ceil(&self, odd: &BigInt, exp: i64) -> Option<i128> {
        let by = self.small_exp.abs_diff(exp);
        let coarser = self.small_exp >= exp;
        let fits = self.mantissa.is_zero() && (coarser || u64::from(bit_length(self.small)) + by <= 126);
        // Rounding up twice is rounding up once.
        let top = fits.then(|| if coarser { ceil_shift(self.small, by) } else { self.small << by })?;
        Some(-(-top).div_euclid(odd.to_i64()?.into()))
    }

    /// ⌈self · 2^exp / odd⌉ for a positive `odd`.
    pub fn ceil(mut self, odd: &BigInt, exp: i64) -> BigInt {
        self.settle();
        let by = self.exp.abs_diff(exp);
        let (top, bottom) =
            if self.exp >= exp { (self.mantissa, odd << by) } else { (self.mantissa << by, odd.clone()) };
        -(-top).div_floor(&bottom)
    }

    /// `self + other / odd`, over a denominator that may have common factors with the numerator: finding them costs more
    /// than most sums.
    pub fn plus_quotient(mut self, mut other: DyadicSum, odd: &BigInt) -> Rational {
        self.settle();
        other.settle();
        let exp = self.exp.max(other.exp).max(0);
        let scaled = |sum: DyadicSum| sum.mantissa << exp.abs_diff(sum.exp);
        let numerator = if odd.is_one() { scaled(self) } else { scaled(self) * odd } + scaled(other);
        Rational::new_raw(numerator, odd << exp.unsigned_abs())
    }
}

/// ⌈m / 2^by⌉.
pub fn ceil_shift(m: i128, by: u64) -> i128 {
    if by > 127 {
        return i128::from(m > 0);
    }
    let floor = m >> by;
    floor + i128::from(floor << by != m)
}

/// `x`, cut to ±`limit`.
pub fn cut(x: &BigInt, limit: i128) -> i128 {
    x.to_i128().map_or(if x.is_negative() { -limit } else { limit }, |x| x.clamp(-limit, limit))
}

/// Bits needed for the magnitude of `x`: the least b with |x| < 2^b.
pub fn bit_length(x: i128) -> u32 {
    u128::BITS - x.unsigned_abs().leading_zeros()
}

/// The bit length of the widest of several numbers.
pub fn widest(values: &[i128]) -> u32 {
    // The bits of all magnitudes together are as long as the longest.
    u128::BITS - values.iter().fold(0, |bits, m| bits | m.unsigned_abs()).leading_zeros()
}

/// The square root of a number that is not negative: exact if it is rational, else the nearest number of `bits`
/// significant bits.
pub fn root(x: &Rational, bits: u64) -> Rational {
    let (p, q) = (x.numer().sqrt(), x.denom().sqrt());
    if &(&p * &p) == x.numer() && &(&q * &q) == x.denom() {
        return Rational::new(p, q);
    }
    // 2^(m-1) < x < 2^(m+1), so that √x · 2^shift is from 2^bits to below 2^(bits+2).
    let magnitude = x.numer().bits() as i64 - x.denom().bits() as i64;
    let mut shift = bits as i64 + 1 - magnitude.div_euclid(2);
    let mut scaled = floor_root(x, shift);
    let extra = scaled.bits() as i64 - bits as i64 - 1;
    shift -= extra;
    scaled >>= extra.max(0);
    // One bit more than asked for. The root is irrational, so it is not halfway between two neighbours.
    scale_by_power_of_two(&Rational::from_integer((scaled + 1) >> 1), 1 - shift)
}

/// `⌊√x · 2^shift⌋`.
fn floor_root(x: &Rational, shift: i64) -> BigInt {
    scale_by_power_of_two(x, 2 * shift).floor().to_integer().sqrt()
}
