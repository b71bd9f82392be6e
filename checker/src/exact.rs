//! Exact evaluation: tensors of rationals over one denominator, as big integers.

use crate::linear::Linear;
use crate::number::{Rational, bit_length, scale_by_power_of_two};
use crate::weights::{Dyadic, Values};
use num::bigint::BigInt;
use num::integer::Integer;
use num::{One, Signed, ToPrimitive, Zero};

/// A vector of exact numbers `num[i] / (odd · 2^exp)`; `odd` is positive and odd.
#[derive(Clone, Debug)]
pub struct Exact {
    num: Vec<BigInt>,
    odd: BigInt,
    exp: u64,
}

impl Exact {
    pub fn zeros(len: usize) -> Self {
        Exact { num: vec![BigInt::zero(); len], odd: BigInt::one(), exp: 0 }
    }

    pub fn from_rationals(values: &[Rational]) -> Self {
        let parts: Vec<(BigInt, u64)> = values
            .iter()
            .map(|r| {
                let exp = r.denom().trailing_zeros().unwrap_or(0);
                (r.denom() >> exp, exp)
            })
            .collect();
        let odd = parts.iter().fold(BigInt::one(), |l, (o, _)| if o.is_one() { l } else { l.lcm(o) });
        let exp = parts.iter().map(|(_, e)| *e).max().unwrap_or(0);
        let numerator = |(r, (o, e)): (&Rational, &(BigInt, u64))| (r.numer() * (&odd / o)) << (exp - e);
        let num = values.iter().zip(&parts).map(numerator).collect();
        Exact { num, odd, exp }
    }

    pub fn len(&self) -> usize {
        self.num.len()
    }

    pub fn is_empty(&self) -> bool {
        self.num.is_empty()
    }

    pub fn get(&self, i: usize) -> Rational {
        let num = self.num[i].clone();
        let value = if self.odd.is_one() { Rational::from_integer(num) } else { Rational::new(num, self.odd.clone()) };
        scale_by_power_of_two(&value, -(self.exp as i64))
    }

    pub fn to_rationals(&self) -> Vec<Rational> {
        (0..self.len()).map(|i| self.get(i)).collect()
    }

    /// Element-wise sum of two vectors of one length.
    pub fn plus(&self, other: &Exact) -> Exact {
        let odd = self.odd.lcm(&other.odd);
        let exp = self.exp.max(other.exp);
        let (f, g) = (&odd / &self.odd, &odd / &other.odd);
        let scaled = |x: &BigInt, f: &BigInt, e: u64| {
            if f.is_one() { x << (exp - e) } else { (x * f) << (exp - e) }
        };
        let num =
            self.num.iter().zip(&other.num).map(|(a, b)| scaled(a, &f, self.exp) + scaled(b, &g, other.exp)).collect();
        Exact { num, odd, exp }
    }

    /// Element-wise max(x, 0).
    pub fn relu(&self) -> Exact {
        let num = self.num.iter().map(|x| if x.is_negative() { BigInt::zero() } else { x.clone() }).collect();
        Exact { num, ..self.clone_scale() }
    }

    pub fn negated(&self) -> Exact {
        Exact { num: self.num.iter().map(|x| -x).collect(), ..self.clone_scale() }
    }

    fn clone_scale(&self) -> Exact {
        Exact { num: Vec::new(), odd: self.odd.clone(), exp: self.exp }
    }

    /// `W x`, exact.
    pub fn apply(&self, linear: &Linear) -> Exact {
        let weights = linear.weights();
        match weights.exact() {
            Some(Values::Dyadic(exact)) => return self.apply_dyadic(linear, exact),
            Some(Values::Rational(exact)) => {
                let factors = Exact::from_rationals(exact);
                let mut num = vec![BigInt::zero(); linear.outputs()];
                linear.for_each_entry(|o, i, k| num[o] += &self.num[i] * &factors.num[k]);
                return Exact { num, odd: &self.odd * &factors.odd, exp: self.exp + factors.exp };
            }
            None => {}
        }
        let w = weights.mantissas();
        let mut num = vec![BigInt::zero(); linear.outputs()];
        match self.small() {
            Some(x) => {
                let mut acc = vec![0_i128; linear.outputs()];
                linear.for_each_entry(|o, i, k| acc[o] += i128::from(x[i]) * i128::from(w[k]));
                num = acc.into_iter().map(BigInt::from).collect();
            }
            None => linear.for_each_entry(|o, i, k| {
                if w[k] != 0 && !self.num[i].is_zero() {
                    num[o] += &self.num[i] * w[k];
                }
            }),
        }
        let exp = i64::from(weights.exp());
        if exp >= 0 {
            return Exact { num, odd: self.odd.clone(), exp: self.exp + exp.unsigned_abs() };
        }
        let num = num.into_iter().map(|x| x << exp.unsigned_abs()).collect();
        Exact { num, ..self.clone_scale() }
    }

    /// `W x` for weights too far apart for one 64-bit grid: each product is shifted to the finest weight's grid.
    fn apply_dyadic(&self, linear: &Linear, exact: &[Dyadic]) -> Exact {
        let finest = exact.iter().map(|d| d.exponent).min().unwrap_or(0).min(0);
        let shift = |d: &Dyadic| if d.mantissa == 0 { 0 } else { d.exponent.abs_diff(finest) };
        let width = exact.iter().map(|d| bit_length(d.mantissa.into()) + shift(d)).max().unwrap_or(0);
        let exp = self.exp + u64::from(finest.unsigned_abs());
        if let Some(x) = self.small().filter(|_| width <= 64) {
            let mut acc = vec![0_i128; linear.outputs()];
            linear.for_each_entry(|o, i, k| {
                acc[o] += i128::from(x[i]) * (i128::from(exact[k].mantissa) << shift(&exact[k]));
            });
            return Exact { num: acc.into_iter().map(BigInt::from).collect(), odd: self.odd.clone(), exp };
        }
        let mut num = vec![BigInt::zero(); linear.outputs()];
        linear.for_each_entry(|o, i, k| {
            if exact[k].mantissa != 0 && !self.num[i].is_zero() {
                num[o] += (&self.num[i] * exact[k].mantissa) << shift(&exact[k]);
            }
        });
        Exact { num, odd: self.odd.clone(), exp }
    }

    /// The numerators, if all fit 32 bits: then 64-bit weights and 2^31 terms fit an `i128` sum.
    fn small(&self) -> Option<Vec<i32>> {
        self.num.iter().map(ToPrimitive::to_i32).collect()
    }

    /// ⌊x_i · 2^exp⌋ and ⌈x_i · 2^exp⌉, both clamped to ±`limit`.
    pub fn bracket(&self, i: usize, exp: i32, limit: i64) -> (i64, i64) {
        let shift = i64::from(exp) - self.exp as i64;
        let (top, bottom) = if shift >= 0 {
            (&self.num[i] << shift.unsigned_abs(), self.odd.clone())
        } else {
            (self.num[i].clone(), &self.odd << shift.unsigned_abs())
        };
        let (floor, rest) = top.div_mod_floor(&bottom);
        let clamp = |x: &BigInt| {
            let beyond = if x.is_negative() { -limit } else { limit };
            x.to_i64().map_or(beyond, |x| x.clamp(-limit, limit))
        };
        let low = clamp(&floor);
        let high = if rest.is_zero() { low } else { clamp(&(floor + 1)) };
        (low, high)
    }
}
