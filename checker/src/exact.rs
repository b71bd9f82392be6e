//! Exact evaluation: tensors of rationals over one denominator, as big integers.

use crate::linear::Linear;
use crate::number::{Rational, bit_length, cut, scale_by_power_of_two};
use crate::weights::Values;
use num::bigint::BigInt;
use num::integer::Integer;
use num::{One, Signed, ToPrimitive, Zero};
use std::cmp::Ordering;
use std::sync::OnceLock;

/// A vector of exact numbers `num[i] / (odd · 2^exp)`; `odd` is positive and odd.
#[derive(Clone, Debug)]
pub struct Exact {
    num: Vec<BigInt>,
    odd: BigInt,
    exp: u64,
    /// `⌊x_i · 2^FINE⌋`, and whether something is left, where it fits; found when it is first asked for.
    fine: OnceLock<Vec<Option<(i128, bool)>>>,
}

/// The least common multiple of positive numbers. A gcd of long numbers takes far longer than a division, and mostly one divides the other.
pub fn common(a: BigInt, b: &BigInt) -> BigInt {
    if (&a % b).is_zero() {
        a
    } else if (b % &a).is_zero() {
        b.clone()
    } else {
        a.lcm(b)
    }
}

/// Brackets up to this exponent follow from `fine`.
const FINE: i32 = 80;

impl Exact {
    fn new(num: Vec<BigInt>, odd: BigInt, exp: u64) -> Self {
        Exact { num, odd, exp, fine: OnceLock::new() }
    }

    pub fn zeros(len: usize) -> Self {
        Exact::new(vec![BigInt::zero(); len], BigInt::one(), 0)
    }

    pub fn from_rationals(values: &[Rational]) -> Self {
        let parts: Vec<(BigInt, u64)> = values
            .iter()
            .map(|r| {
                let exp = r.denom().trailing_zeros().unwrap_or(0);
                (r.denom() >> exp, exp)
            })
            .collect();
        let odd = parts.iter().fold(BigInt::one(), |l, (o, _)| common(l, o));
        let exp = parts.iter().map(|(_, e)| *e).max().unwrap_or(0);
        let numerator = |(r, (o, e)): (&Rational, &(BigInt, u64))| (r.numer() * (&odd / o)) << (exp - e);
        let num = values.iter().zip(&parts).map(numerator).collect();
        Exact::new(num, odd, exp)
    }

    pub fn len(&self) -> usize {
        self.num.len()
    }

    pub fn is_zero(&self) -> bool {
        self.num.iter().all(Zero::is_zero)
    }

    pub fn is_empty(&self) -> bool {
        self.num.is_empty()
    }

    pub fn get(&self, i: usize) -> Rational {
        self.value(self.num[i].clone(), &BigInt::one())
    }

    /// `num / (divisor · odd · 2^exp)`; a gcd is taken only if something other than a power of two can cancel.
    fn value(&self, num: BigInt, divisor: &BigInt) -> Rational {
        let odd = &self.odd * divisor;
        let value = if odd.is_one() { Rational::from_integer(num) } else { Rational::new(num, odd) };
        scale_by_power_of_two(&value, -(self.exp as i64))
    }

    pub fn to_rationals(&self) -> Vec<Rational> {
        (0..self.len()).map(|i| self.get(i)).collect()
    }

    /// Element-wise sum of two vectors of one length.
    pub fn plus(&self, other: &Exact) -> Exact {
        let odd = common(self.odd.clone(), &other.odd);
        let exp = self.exp.max(other.exp);
        let (f, g) = (&odd / &self.odd, &odd / &other.odd);
        let scaled = |x: &BigInt, f: &BigInt, e: u64| {
            if f.is_one() { x << (exp - e) } else { (x * f) << (exp - e) }
        };
        let num =
            self.num.iter().zip(&other.num).map(|(a, b)| scaled(a, &f, self.exp) + scaled(b, &g, other.exp)).collect();
        Exact::new(num, odd, exp)
    }

    /// Element-wise max(x, 0).
    pub fn relu(&self) -> Exact {
        let num = self.num.iter().map(|x| if x.is_negative() { BigInt::zero() } else { x.clone() }).collect();
        Exact::new(num, self.odd.clone(), self.exp)
    }

    pub fn negated(&self) -> Exact {
        Exact::new(self.num.iter().map(|x| -x).collect(), self.odd.clone(), self.exp)
    }

    /// `W x`, exact, with other weights in the pattern of `linear`: one for each of its own.
    pub fn apply_rational(&self, linear: &Linear, weights: &[Rational]) -> Exact {
        let factors = Exact::from_rationals(weights);
        let mut num = vec![BigInt::zero(); linear.outputs()];
        linear.for_each_entry(|o, i, k| num[o] += &self.num[i] * &factors.num[k]);
        Exact::new(num, &self.odd * &factors.odd, self.exp + factors.exp)
    }

    /// `W x`, exact.
    pub fn apply(&self, linear: &Linear) -> Exact {
        let weights = linear.weights();
        let (grid, w) = (i64::from(weights.exp()), weights.mantissas());
        let tails = match weights.exact() {
            Some(Values::Rational(exact)) => return self.apply_rational(linear, exact),
            Some(Values::Dyadic(exact)) => exact.as_slice(),
            None => &[],
        };
        // Weights on the grid of 2^-exp first; then, on a finer grid, the few that are not.
        let on_grid = |k: usize| tails.get(k).is_none_or(|d| i64::from(d.exponent) + grid >= 0);
        let small: Option<Vec<i32>> = self.num.iter().map(ToPrimitive::to_i32).collect();
        let mut num = vec![BigInt::zero(); linear.outputs()];
        if let Some(x) = small {
            // 32 + 58 bits and at most 2^31 terms fit the sum.
            let mut acc = vec![0_i128; linear.outputs()];
            linear.for_each_entry(|o, i, k| {
                if on_grid(k) {
                    acc[o] += i128::from(x[i]) * i128::from(w[k]);
                }
            });
            num = acc.into_iter().map(BigInt::from).collect();
        } else {
            linear.for_each_entry(|o, i, k| {
                if w[k] != 0 && on_grid(k) && !self.num[i].is_zero() {
                    num[o] += &self.num[i] * w[k];
                }
            });
        }
        let finest = tails.iter().map(|d| -i64::from(d.exponent)).fold(grid, i64::max).max(0);
        num.iter_mut().for_each(|n| *n <<= finest.abs_diff(grid));
        if !tails.is_empty() {
            linear.for_each_entry(|o, i, k| {
                if !on_grid(k) && !self.num[i].is_zero() {
                    num[o] += (&self.num[i] * tails[k].mantissa) << finest.abs_diff(-i64::from(tails[k].exponent));
                }
            });
        }
        Exact::new(num, self.odd.clone(), self.exp + finest.unsigned_abs())
    }

    /// `Σ factor · x_i`, exact.
    pub fn combine(&self, terms: &[(usize, Rational)]) -> Rational {
        let scale = terms.iter().fold(BigInt::one(), |l, (_, g)| l.lcm(g.denom()));
        let sum: BigInt = terms.iter().map(|(i, g)| &self.num[*i] * g.numer() * (&scale / g.denom())).sum();
        self.value(sum, &scale)
    }

    /// How `Σ factor · x_i` compares with a number: without a gcd, which of long denominators takes long.
    pub fn compare(&self, terms: &[(usize, i64)], with: &Rational) -> Ordering {
        let sum: BigInt = terms.iter().map(|&(i, factor)| &self.num[i] * factor).sum();
        (sum * with.denom()).cmp(&((with.numer() * &self.odd) << self.exp))
    }

    /// Bits of the odd part of the common denominator.
    pub fn odd_bits(&self) -> u64 {
        self.odd.bits()
    }

    /// ⌊x_i · 2^exp⌋ and ⌈x_i · 2^exp⌉, both clamped to ±`limit`.
    pub fn bracket(&self, i: usize, exp: i32, limit: i64) -> (i64, i64) {
        let fine = self.fine.get_or_init(|| (0..self.len()).map(|i| self.fine(i)).collect());
        let (low, rest) = match (FINE.checked_sub(exp), fine[i]) {
            // A floor of a floor is the floor.
            (Some(by @ 0..=126), Some((floor, rest))) => (floor >> by, rest || floor >> by << by != floor),
            _ => {
                let (floor, rest) = self.floor(i, exp);
                (cut(&floor, i64::MAX.into()), rest)
            }
        };
        let clamp = |x: i128| x.clamp((-limit).into(), limit.into()) as i64;
        (clamp(low), clamp(low + i128::from(rest)))
    }

    fn fine(&self, i: usize) -> Option<(i128, bool)> {
        let (floor, rest) = self.floor(i, FINE);
        Some((floor.to_i128().filter(|m| bit_length(*m) <= 126)?, rest))
    }

    /// ⌊x_i · 2^exp⌋, and whether something is left.
    fn floor(&self, i: usize, exp: i32) -> (BigInt, bool) {
        let shift = i64::from(exp) - self.exp as i64;
        let (top, bottom) = if shift >= 0 {
            (&self.num[i] << shift.unsigned_abs(), self.odd.clone())
        } else {
            (self.num[i].clone(), &self.odd << shift.unsigned_abs())
        };
        let (floor, rest) = top.div_mod_floor(&bottom);
        (floor, !rest.is_zero())
    }
}
