//! Rule 4.2, back-substitution: an upper bound of a linear function of tensors, exactly a feasible LP dual.
//!
//! To bound `Σ v·d + r` from above, tensors are eliminated in reverse topological order:
//! - affine `d = Σ_p W_p d_p`: `v_p += W_pᵀ v`, v rounded once for all p. Equality, so nothing is lost. A weight with a tail τ ∈ [0, 2^-e) adds
//!   `|v_i| · 2^-e · max|d_j|` for each such entry;
//! - ReLU: an element with `v_i ≥ 0` is replaced by its upper line, one with `v_i < 0` by its lower line (`relu.rs`);
//! - a multiplier β at element i: `v_i d_i = (v_i + β) d_i − β d_i`, and `−β d_i ≤ −β l_i` for β ≥ 0, `≤ −β u_i`
//!   for β < 0. This is how a case's assumption, or any known bound, enters (β ≥ 0 is the dual of `d_i ≥ l_i`);
//! - rounding (`round.rs`); at the variables the support function of the domain (`support.rs`).
//!
//! Every step replaces the function by one that is nowhere smaller on the case, so the result is an upper bound,
//! whatever slopes and multipliers the certificate names.
//!
//! Widths: 54 + 17 bits after a line; 54 + 51 + 20 bits for the sum of offsets; before an affine step v is rounded to
//! `126 − bits(W) − ⌈log2 terms⌉` bits, at most 54, so that `Wᵀ v` fits.

use crate::bounds::Bounds;
use crate::certificate::{Multiplier, SlopeSet};
use crate::error::{Code, Error, Result};
use crate::linear::Linear;
use crate::number::{DyadicSum, Rational, bit_length};
use crate::problem::Op;
use crate::rules::COEFFICIENT_BITS;
use crate::rules::case::Case;
use crate::rules::relu::{Lines, Relu, SLOPE_BITS};
use crate::rules::round::{Coefficients, Short, round};
use num::bigint::BigInt;
use num::{One, Zero};
use std::sync::Arc;

/// What many targets of one case share: the lines of every ReLU for one choice of slopes.
pub struct Relaxation<'c, 'p> {
    case: &'c Case<'p>,
    /// Above and below, for each ReLU tensor that may be met.
    lines: Vec<Option<(Lines, Lines)>>,
}

/// A linear function of tensors while it is being eliminated.
struct Elimination {
    pending: Vec<Option<Coefficients>>,
    constant: DyadicSum,
}

impl<'c, 'p> Relaxation<'c, 'p> {
    /// Prepares the elimination of tensors up to and including `top`. The case knows bounds of `top`.
    pub fn new(case: &'c Case<'p>, top: usize, slopes: Option<&SlopeSet>) -> Self {
        let mut lines = Vec::with_capacity(top + 1);
        for t in 0..=top {
            let tensor = &case.problem().tensors[t];
            let relu = match tensor.op {
                Op::Relu(from) => case.bounds(from).map(|b| (from, Relu::new(b, &case.problem().tensors[from].centre))),
                _ => None,
            };
            lines.push(relu.map(|(from, relu)| {
                let given = slopes.and_then(|s| s.get(&from));
                (
                    relu.upper_lines(given.and_then(|g| g.upper.as_deref())),
                    relu.lower_lines(given.and_then(|g| g.lower.as_deref())),
                )
            }));
        }
        Relaxation { case, lines }
    }

    /// An upper bound of `Σ coefficient · d_element` over the elements of tensor `target`.
    pub fn upper_bound(&self, target: usize, terms: &[(usize, i64)], multipliers: &[Multiplier]) -> Result<Rational> {
        let mut mantissas = vec![0_i128; self.bounds(target)?.len()];
        for &(i, coefficient) in terms {
            mantissas[i] += i128::from(coefficient);
        }
        let mut state = Elimination { pending: vec![None; target + 1], constant: DyadicSum::default() };
        state.pending[target] = Some(Coefficients { mantissas, exp: 0 });
        let mut total = Rational::zero();
        for t in (0..=target).rev() {
            for m in multipliers.iter().filter(|m| m.tensor == t) {
                self.multiply(&mut state, m)?;
            }
            let Some(v) = state.pending[t].take() else {
                continue;
            };
            match &self.case.problem().tensors[t].op {
                Op::Variables(block) => match self.case.domain(*block).support(&v) {
                    (sum, odd) if odd.is_one() => state.constant.add_sum(&sum),
                    (sum, odd) => total += sum.to_rational() / odd,
                },
                Op::Affine(terms) => self.affine(&mut state, t, &v, terms)?,
                Op::Relu(from) => {
                    let v = round(&v, COEFFICIENT_BITS, self.bounds(t)?, &mut state.constant);
                    let Some((above, below)) = &self.lines[t] else {
                        return Err(out_of_range());
                    };
                    let (mut offset, mut mantissas) = (0_i128, Vec::with_capacity(v.mantissas.len()));
                    for (i, &vi) in v.mantissas.iter().enumerate() {
                        let line = if vi >= 0 { above } else { below };
                        mantissas.push(i128::from(vi) * i128::from(line.slope[i]));
                        offset += i128::from(vi) * i128::from(line.offset[i]);
                    }
                    let exp = v.exp.checked_add(SLOPE_BITS as i32).ok_or_else(out_of_range)?;
                    state.constant.add(offset, i64::from(v.exp) + i64::from(self.bounds(*from)?.exp()));
                    self.add(&mut state, *from, Coefficients { mantissas, exp })?;
                }
            }
        }
        let constant = state.constant.to_rational();
        Ok(if total.is_zero() { constant } else { total + constant })
    }

    fn bounds(&self, t: usize) -> Result<&Arc<Bounds>> {
        self.case.bounds(t).ok_or_else(out_of_range)
    }

    fn affine(
        &self,
        state: &mut Elimination,
        t: usize,
        v: &Coefficients,
        terms: &[(usize, Arc<Linear>)],
    ) -> Result<()> {
        let widest = v.mantissas.iter().map(|&m| bit_length(m)).max().unwrap_or(0);
        let log2_terms = |linear: &Linear| usize::BITS - linear.column_terms().leading_zeros();
        if terms.iter().all(|(_, linear)| linear.is_signed_gather() && widest + log2_terms(linear) <= 126) {
            // Moving elements needs no rounding, so what is exactly zero below a scale stays exactly zero.
            for (p, linear) in terms {
                let (signs, mut acc) = (linear.weights().mantissas(), vec![0_i128; linear.inputs()]);
                linear.for_each_entry(|o, i, k| acc[i] += v.mantissas[o] * i128::from(signs[k]));
                self.add(state, *p, Coefficients { mantissas: acc, exp: v.exp })?;
            }
            return Ok(());
        }
        let room = |linear: &Linear| (126 - linear.weights().bits()).saturating_sub(log2_terms(linear));
        let width = terms.iter().map(|(_, linear)| room(linear)).fold(COEFFICIENT_BITS, u32::min);
        let v = round(v, width, self.bounds(t)?, &mut state.constant);
        for (p, linear) in terms {
            self.charge_tails(linear, &v, self.bounds(*p)?, &mut state.constant);
            let mut acc = vec![0_i128; linear.inputs()];
            linear.add_transposed(&v.mantissas, &mut acc);
            let exp = v.exp.checked_add(linear.weights().exp()).ok_or_else(out_of_range)?;
            self.add(state, *p, Coefficients { mantissas: acc, exp })?;
        }
        Ok(())
    }

    /// Adds coefficients to those that wait at tensor `t`, over a common exponent.
    fn add(&self, state: &mut Elimination, t: usize, v: Coefficients) -> Result<()> {
        let Some(earlier) = state.pending[t].take().filter(|c| c.mantissas.iter().any(|&m| m != 0)) else {
            state.pending[t] = Some(v);
            return Ok(());
        };
        let bounds = self.bounds(t)?;
        let a = round(&v, COEFFICIENT_BITS, bounds, &mut state.constant);
        let b = round(&earlier, COEFFICIENT_BITS, bounds, &mut state.constant);
        let (fine, coarse) = if a.exp >= b.exp { (a, b) } else { (b, a) };
        let gap = fine.exp.abs_diff(coarse.exp);
        if gap > 64 {
            // The finer coefficients are below 2^-10 of a unit of the coarser ones: charge them whole.
            for (i, &m) in fine.mantissas.iter().enumerate() {
                let reach = if m >= 0 { bounds.upper()[i].max(0) } else { bounds.lower()[i].min(0) };
                state.constant.add(i128::from(m) * i128::from(reach), i64::from(fine.exp) + i64::from(bounds.exp()));
            }
            let mantissas = coarse.mantissas.iter().map(|&m| m.into()).collect();
            state.pending[t] = Some(Coefficients { mantissas, exp: coarse.exp });
            return Ok(());
        }
        let sum = |(&f, &c): (&i64, &i64)| i128::from(f) + (i128::from(c) << gap);
        let mantissas = fine.mantissas.iter().zip(&coarse.mantissas).map(sum).collect();
        state.pending[t] = Some(Coefficients { mantissas, exp: fine.exp });
        Ok(())
    }

    fn multiply(&self, state: &mut Elimination, m: &Multiplier) -> Result<()> {
        let bounds = self.bounds(m.tensor)?;
        let mut mantissas = vec![0_i128; bounds.len()];
        mantissas[m.element] = i128::from(m.mantissa);
        let end = if m.mantissa >= 0 { bounds.lower()[m.element] } else { bounds.upper()[m.element] };
        let cost = -i128::from(m.mantissa) * i128::from(end);
        state.constant.add(cost, i64::from(m.exp) + i64::from(bounds.exp()));
        self.add(state, m.tensor, Coefficients { mantissas, exp: m.exp })
    }

    fn charge_tails(&self, linear: &Linear, v: &Short, bounds: &Bounds, constant: &mut DyadicSum) {
        if linear.weights().exact().is_none() {
            return;
        }
        let mut charge = BigInt::from(0);
        let mut reach = vec![0_i128; linear.outputs()];
        linear.for_each_entry(|o, i, _| reach[o] += i128::from(bounds.magnitude(i)));
        for (&v, reach) in v.mantissas.iter().zip(reach) {
            charge += BigInt::from(v.unsigned_abs()) * reach;
        }
        constant.add(charge, i64::from(v.exp) + i64::from(linear.weights().exp()) + i64::from(bounds.exp()));
    }
}

fn out_of_range() -> Error {
    Error::new(Code::LimitSize, "back-substitution", "a number is out of range")
}
