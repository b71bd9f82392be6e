//! Rule 4.2, input: the support function of the domain, the exact maximum of a linear function over box and groups.
//!
//! Premises: `z_j ∈ [lo_j, hi_j]`, and `Σ_{j∈B} z_j = 0` for disjoint groups B.
//! Conclusion: `Σ v_j z_j ≤ Σ_{j ungrouped} max(v_j lo_j, v_j hi_j) + Σ_B Σ_{j∈B} max((v_j−μ_B) lo_j, (v_j−μ_B) hi_j)`
//! for any μ_B. Sound because `Σ_{j∈B} μ z_j = 0`. The best μ is a weighted median of the v_j, found by sorting; a
//! wrong one would only loosen the bound.
//!
//! Wide coefficients are cut into chunks of 54 bits, `v = Σ chunk·2^s`, each maximised by itself: a maximum of a sum is
//! at most the sum of the maxima. Coefficients equal within a group stay equal in each chunk and cost exactly zero.
//! Width: 55 + 48 + 20 bits.

use crate::bounds::{BOUND_BITS, Bounds};
use crate::error::Result;
use crate::ladder::Variables;
use crate::number::{DyadicSum, Rational, bit_length};
use crate::rules::COEFFICIENT_BITS;
use crate::rules::round::Coefficients;
use num::One;
use num::bigint::BigInt;
use num::integer::Integer;

/// A box with zero-sum groups: `odd · z_j` lies within `scaled`, element j.
#[derive(Clone, Debug)]
pub struct Domain {
    scaled: Bounds,
    odd: BigInt,
    groups: Vec<Vec<u32>>,
    ungrouped: Vec<u32>,
}

impl Domain {
    /// The domain of a block of variables: exact over a common denominator if it fits, else rounded outward.
    pub fn new(variables: &Variables) -> Result<Self> {
        let all = || variables.lower.iter().chain(&variables.upper);
        let odd_part = |r: &Rational| r.denom() >> r.denom().trailing_zeros().unwrap_or(0);
        let fits = |common: &BigInt| common.bits() < u64::from(BOUND_BITS);
        let common = all().try_fold(BigInt::one(), |l, r| Some(l.lcm(&odd_part(r))).filter(fits));
        let odd = common.unwrap_or_else(BigInt::one);
        let scale =
            |v: &[Rational]| v.iter().map(|r| if odd.is_one() { r.clone() } else { r * &odd }).collect::<Vec<_>>();
        let scaled = Bounds::from_rationals(&scale(&variables.lower), &scale(&variables.upper))?;
        let mut grouped = vec![false; variables.lower.len()];
        for &j in variables.groups.iter().flatten() {
            grouped[j as usize] = true;
        }
        let ungrouped = (0_u32..).zip(grouped).filter(|(_, grouped)| !grouped).map(|(j, _)| j).collect();
        Ok(Domain { scaled, odd, groups: variables.groups.clone(), ungrouped })
    }

    /// Raises the lower end of variable `j` to `value`, rounded down, if that is tighter.
    pub fn raise_lower(&mut self, j: usize, value: &Rational) {
        self.scaled.raise_lower(j, &(value * &self.odd));
    }

    /// Lowers the upper end of variable `j` to `value`, rounded up, if that is tighter.
    pub fn drop_upper(&mut self, j: usize, value: &Rational) {
        self.scaled.drop_upper(j, &(value * &self.odd));
    }

    /// An upper bound of `Σ v_j z_j` over the domain, as a dyadic sum, added to the empty sum `total`, and an odd divisor
    /// of it. Exact if `v` fits one chunk, the box is exact and so is the sum.
    pub fn support(&self, v: &Coefficients, mut total: DyadicSum) -> (DyadicSum, &BigInt) {
        let mut rest = v.mantissas.clone();
        loop {
            let widest = rest.iter().map(|&m| bit_length(m)).max().unwrap_or(0);
            let shift = widest.saturating_sub(COEFFICIENT_BITS);
            let chunk: Vec<i64> = rest.iter().map(|&m| (m >> shift) as i64).collect();
            let exp = i64::from(v.exp) - i64::from(shift) + i64::from(self.scaled.exp());
            total.add(self.support_of_chunk(&chunk), exp);
            if shift == 0 {
                return (total, &self.odd);
            }
            for (r, &c) in rest.iter_mut().zip(&chunk) {
                *r -= i128::from(c) << shift;
            }
        }
    }

    fn support_of_chunk(&self, v: &[i64]) -> i128 {
        let (lower, upper) = (self.scaled.lower(), self.scaled.upper());
        let term = |j: u32, mu: i64| {
            let j = j as usize;
            let v = i128::from(v[j]) - i128::from(mu);
            v * i128::from(if v >= 0 { upper[j] } else { lower[j] })
        };
        let free: i128 = self.ungrouped.iter().map(|&j| term(j, 0)).sum();
        let grouped = self.groups.iter().map(|group| {
            let mu = self.weighted_median(v, group);
            group.iter().map(|&j| term(j, mu)).sum::<i128>()
        });
        free + grouped.sum::<i128>()
    }

    /// The minimiser μ of `Σ_j max((v_j−μ) lo_j, (v_j−μ) hi_j)`: its slope is −Σ hi_j below every v_j and grows by
    /// hi_j − lo_j when μ passes v_j, so the minimum is where the slope stops being negative.
    fn weighted_median(&self, v: &[i64], group: &[u32]) -> i64 {
        let mut order: Vec<usize> = group.iter().map(|&j| j as usize).collect();
        order.sort_unstable_by_key(|&j| (v[j], j));
        let mut slope: i128 = -order.iter().map(|&j| i128::from(self.scaled.upper()[j])).sum::<i128>();
        for &j in &order {
            slope += i128::from(self.scaled.upper()[j]) - i128::from(self.scaled.lower()[j]);
            if slope >= 0 {
                return v[j];
            }
        }
        order.last().map_or(0, |&j| v[j])
    }
}
