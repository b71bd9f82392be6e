//! Rule 4.2, back-substitution: an upper bound of a linear function of tensors, exactly a feasible LP dual.
//!
//! To bound `Σ v·d + r` from above, tensors are eliminated in reverse topological order:
//! - affine `d = Σ_p W_p d_p`: `v_p += W_pᵀ v`, v rounded once for all p. Equality, so nothing is lost. A weight with
//!   a tail τ ∈ [0, 2^-e) adds `|v_i| · 2^-e · max|d_j|`, charged for every j whether or not its entry has one;
//! - ReLU: an element with `v_i ≥ 0` is replaced by its upper line, one with `v_i < 0` by its lower line (`relu.rs`), and
//!   so is what a ReLU makes of a change (`relu_pair.rs`);
//! - what changed weights add: by its column sums and lines above `|a|` (`weights.rs`);
//! - a multiplier β at element i: `v_i d_i = (v_i + β) d_i − β d_i`, and `−β d_i ≤ −β l_i` for β ≥ 0, `≤ −β u_i`
//!   for β < 0. This is how a case's assumption, or any known bound, enters (β ≥ 0 is the dual of `d_i ≥ l_i`). At what a
//!   cutoff sees, a tensor known to be zero, it costs nothing: the dual of `C δ = 0`;
//! - rounding (`round.rs`); at the variables the support function of the domain (`support.rs`).
//!
//! Every step replaces the function by one that is nowhere smaller on the case, so the result is an upper bound,
//! whatever slopes and multipliers the certificate names.
//!
//! Widths: 46 + 17 bits after a line; 46 + 51 + 20 bits for the sum of offsets; an affine step takes v if it has at most
//! `126 − bits(W) − ⌈log2 terms⌉` bits, else v is rounded to as many and at most 54, so that `Wᵀ v` fits.

use crate::bounds::Bounds;
use crate::certificate::{Multipliers, SlopeSet};
use crate::error::{Code, Error, Result, exponent};
use crate::linear::Linear;
use crate::number::{DyadicSum, Rational, cut, product, widest};
use crate::problem::{Op, Source, WeightPart};
use crate::rules::COEFFICIENT_BITS;
use crate::rules::case::Case;
use crate::rules::relu::{Lines, SLOPE_BITS};
use crate::rules::round::{Coefficients, Short, round};
use crate::rules::weights::{Magnitudes, column_sums};
use num::One;
use num::bigint::BigInt;
use std::cell::OnceCell;
use std::sync::Arc;

/// Width of a coefficient that is to be multiplied with a slope: the product has 63 bits.
const SLOPED_BITS: u32 = 46;

/// By how many bits terms of the constant are finer than the bound, where that is rounded.
const FINER: i64 = 40;

/// What many targets of one case share, for one choice of slopes.
pub struct Relaxation<'c, 'p> {
    case: &'c Case<'p>,
    slopes: Option<&'c SlopeSet>,
    /// By tensor, of those that a target has met.
    steps: Vec<OnceCell<Step>>,
    one: BigInt,
}

/// How a tensor is eliminated.
enum Step {
    /// By the support function of the domain.
    Variables,
    /// For each predecessor whose weights have tails, `Σ_j max|d_j|` over it.
    Affine(Vec<Option<i128>>),
    /// By the lines above and below every element.
    Relu { above: Arc<Lines>, below: Arc<Lines> },
    /// By lines above the magnitudes that each part of the changed weights acts on.
    Weights(Vec<Magnitudes>),
}

/// A linear function of tensors while it is being eliminated.
struct Elimination {
    pending: Vec<Option<Pending>>,
    constant: DyadicSum,
    /// Memory to use again.
    spare: Vec<Vec<i128>>,
}

/// Coefficients that wait at a tensor.
enum Pending {
    Wide(Coefficients),
    /// What a ReLU passes on, already short enough for most affine maps.
    Short(Short),
}

impl Pending {
    fn widened(self) -> Coefficients {
        match self {
            Pending::Wide(v) => v,
            Pending::Short(v) => v.widened(),
        }
    }
}

impl<'c, 'p> Relaxation<'c, 'p> {
    /// Prepares the elimination of tensors up to and including `top`. The case knows bounds of `top`.
    pub fn new(case: &'c Case<'p>, top: usize, slopes: Option<&'c SlopeSet>) -> Self {
        let steps = std::iter::repeat_with(OnceCell::new).take(top + 1).collect();
        Relaxation { case, slopes, steps, one: BigInt::one() }
    }

    /// How tensor `t` is eliminated, found when it is first met.
    fn step(&self, t: usize) -> Result<&Step> {
        if let Some(step) = self.steps[t].get() {
            return Ok(step);
        }
        let step = self.new_step(t)?;
        Ok(self.steps[t].get_or_init(|| step))
    }

    fn new_step(&self, t: usize) -> Result<Step> {
        let case = self.case;
        let given = |from: &usize| self.slopes.and_then(|s| s.get(from));
        Ok(match &case.problem().tensors[t].op {
            Op::Variables(_) => Step::Variables,
            Op::Affine(terms) => {
                let reach = |(p, linear): &(usize, Arc<Linear>)| Ok(tail_reach(linear, case.bounds(*p)?));
                Step::Affine(terms.iter().map(reach).collect::<Result<_>>()?)
            }
            Op::Weights(parts) => {
                Step::Weights(parts.iter().map(|p| Magnitudes::new(&p.source, case)).collect::<Result<_>>()?)
            }
            Op::ReluPair { base, change } => {
                let given = given(change);
                let pair = case.relu_pair(*base, *change)?;
                Step::Relu {
                    above: Arc::new(pair.upper_lines(given.and_then(|g| g.upper.as_deref()))?),
                    below: Arc::new(pair.lower_lines(given.and_then(|g| g.lower.as_deref()))?),
                }
            }
            Op::Relu(from) => {
                let (above, below) = case.default_lines(*from)?;
                let relu = case.relu(*from)?;
                let (upper, lower) = given(from).map_or((None, None), |g| (g.upper.as_deref(), g.lower.as_deref()));
                Step::Relu {
                    above: upper.map_or_else(|| Arc::clone(above), |s| Arc::new(relu.upper_lines(Some(s)))),
                    below: lower.map_or_else(|| Arc::clone(below), |s| Arc::new(relu.lower_lines(Some(s)))),
                }
            }
        })
    }

    /// An upper bound of `Σ coefficient · d_element` over the elements of tensor `target`.
    pub fn upper_bound(&self, target: usize, terms: &[(usize, i64)], multipliers: &[Multipliers]) -> Result<Rational> {
        let (constant, mut quotients) =
            self.eliminate(target, terms, multipliers, [DyadicSum::default(), DyadicSum::default()])?;
        let (first, odd) = quotients.pop().unwrap_or((DyadicSum::default(), &self.one));
        let bound = constant.plus_quotient(first, odd);
        let others = quotients.into_iter().map(|(sum, odd)| DyadicSum::default().plus_quotient(sum, odd));
        Ok(others.fold(bound, |bound, other| bound + other))
    }

    /// The same in units of `2^-exp`, rounded up. Cut at 126 bits: the caller's own bounds are narrower.
    pub fn rounded_bound(
        &self,
        target: usize,
        terms: &[(usize, i64)],
        multipliers: &[Multipliers],
        exp: i32,
    ) -> Result<i128> {
        let sums = [FINER, 0].map(|finer| DyadicSum::rounded_up(i64::from(exp) + finer));
        let (constant, quotients) = self.eliminate(target, terms, multipliers, sums)?;
        let parts: Vec<(DyadicSum, &BigInt)> = std::iter::once((constant, &self.one)).chain(quotients).collect();
        let limit = 1_i128 << 126;
        let small = |sum: i128, (part, odd): &(DyadicSum, &BigInt)| sum.checked_add(part.small_ceil(odd, exp.into())?);
        if let Some(sum) = parts.iter().try_fold(0, small) {
            return Ok(sum.clamp(-limit, limit));
        }
        let sum: BigInt = parts.into_iter().map(|(part, odd)| part.ceil(odd, exp.into())).sum();
        Ok(cut(&sum, limit))
    }

    /// Eliminates all tensors down to the variables: the constant and the support functions of the blocks of variables, each
    /// of these a sum to be divided by an odd number. Both begin with the sums given, which are empty.
    fn eliminate(
        &self,
        target: usize,
        terms: &[(usize, i64)],
        multipliers: &[Multipliers],
        [constant, support]: [DyadicSum; 2],
    ) -> Result<(DyadicSum, Vec<(DyadicSum, &BigInt)>)> {
        let mut mantissas = vec![0_i128; self.case.bounds(target)?.len()];
        for &(i, coefficient) in terms {
            mantissas[i] += i128::from(coefficient);
        }
        let pending = std::iter::repeat_with(|| None).take(target + 1).collect();
        let mut state = Elimination { pending, constant, spare: vec![] };
        state.pending[target] = Some(Pending::Wide(Coefficients { mantissas, exp: 0 }));
        let mut quotients: Vec<(DyadicSum, &BigInt)> = Vec::new();
        for t in (0..=target).rev() {
            for m in multipliers.iter().filter(|m| m.tensor == t) {
                self.multiply(&mut state, m)?;
            }
            let Some(v) = state.pending[t].take() else { continue };
            match (&self.case.problem().tensors[t].op, self.step(t)?) {
                (Op::Variables(block), Step::Variables) => {
                    quotients.push(self.case.domain(*block).support(&v.widened(), support.clone()));
                }
                (Op::Affine(terms), Step::Affine(reach)) => self.affine(&mut state, t, v, terms, reach)?,
                (Op::Weights(parts), Step::Weights(magnitudes)) => {
                    self.weights(&mut state, t, &v.widened(), parts, magnitudes)?;
                }
                (Op::Relu(from) | Op::ReluPair { change: from, .. }, Step::Relu { above, below }) => {
                    let wide = v.widened();
                    let mut v = round(&wide, SLOPED_BITS, self.case.bounds(t)?, &mut state.constant)?;
                    state.spare.push(wide.mantissas);
                    let (mut over, mut under) = (0_i128, 0_i128);
                    for (i, v) in v.mantissas.iter_mut().enumerate() {
                        let (line, offset) = if *v >= 0 { (above, &mut over) } else { (below, &mut under) };
                        // 46 + 51 + 20 bits, and 46 + 17.
                        *offset = offset.wrapping_add(product(*v, line.offset[i]));
                        *v = v.wrapping_mul(line.slope[i]);
                    }
                    for (offset, line) in [(over, above), (under, below)] {
                        state.constant.add(offset, i64::from(v.exp) + i64::from(line.exp));
                    }
                    let exp = exponent(v.exp.checked_add(SLOPE_BITS as i32))?;
                    self.pass(&mut state, *from, Pending::Short(Short { mantissas: v.mantissas, exp }))?;
                }
                _ => {
                    let message = "a tensor that the target does not depend on is met";
                    return Err(Error::new(Code::ProofReference, self.case.problem().tensors[t].name.clone(), message));
                }
            }
        }
        Ok((state.constant, quotients))
    }

    fn affine(
        &self,
        state: &mut Elimination,
        t: usize,
        v: Pending,
        terms: &[(usize, Arc<Linear>)],
        reach: &[Option<i128>],
    ) -> Result<()> {
        let width = terms.iter().map(|(_, linear)| room(linear)).fold(u32::MAX, u32::min);
        let v = match v {
            Pending::Short(v) if bits(&v.mantissas) <= width => return self.mapped(state, &v, terms, reach),
            v => v.widened(),
        };
        let widest = widest(&v.mantissas);
        if terms.iter().all(|(_, linear)| linear.is_signed_gather() && widest + log2_terms(linear) <= 126) {
            // Moving elements needs no rounding, so what is exactly zero below a scale stays exactly zero.
            for (p, linear) in terms {
                let (signs, mut acc) = (linear.weights().mantissas(), vec![0_i128; linear.inputs()]);
                linear.for_each_entry(|o, i, k| acc[i] += v.mantissas[o] * i128::from(signs[k]));
                self.add(state, *p, Coefficients { mantissas: acc, exp: v.exp })?;
            }
            return Ok(());
        }
        let v = round(&v, width.min(COEFFICIENT_BITS), self.case.bounds(t)?, &mut state.constant)?;
        self.mapped(state, &v, terms, reach)
    }

    /// Adds `Wᵀ v` at every predecessor, for coefficients that the weights leave room for.
    fn mapped(
        &self,
        state: &mut Elimination,
        v: &Short,
        terms: &[(usize, Arc<Linear>)],
        reach: &[Option<i128>],
    ) -> Result<()> {
        for ((p, linear), reach) in terms.iter().zip(reach) {
            if let Some(reach) = reach {
                let exp = i64::from(v.exp) + i64::from(linear.weights().exp()) + i64::from(self.case.bounds(*p)?.exp());
                let sum: i128 = v.mantissas.iter().map(|&v| i128::from(v.unsigned_abs())).sum();
                match sum.checked_mul(*reach) {
                    Some(charge) => state.constant.add(charge, exp),
                    None => state.constant.add_big(BigInt::from(sum) * reach, exp),
                }
            }
            let mut acc = state.spare.pop().unwrap_or_default();
            acc.clear();
            acc.resize(linear.inputs(), 0);
            linear.add_transposed(&v.mantissas, &mut acc);
            let exp = exponent(v.exp.checked_add(linear.weights().exp()))?;
            self.add(state, *p, Coefficients { mantissas: acc, exp })?;
        }
        Ok(())
    }

    fn weights(
        &self,
        state: &mut Elimination,
        t: usize,
        v: &Coefficients,
        parts: &[WeightPart],
        magnitudes: &[Magnitudes],
    ) -> Result<()> {
        let width = parts.iter().map(|part| room(&part.above)).fold(COEFFICIENT_BITS, u32::min);
        let v = round(v, width, self.case.bounds(t)?, &mut state.constant)?;
        for (part, magnitudes) in parts.iter().zip(magnitudes) {
            let (w, exp) = column_sums(part, &v.mantissas, v.exp)?;
            let offset = w.iter().zip(&magnitudes.offset).map(|(&w, &t)| product(w, t)).sum::<i128>();
            state.constant.add(offset, i64::from(exp) + i64::from(magnitudes.exp));
            if let Source::Tensor(p) = part.source {
                let sloped = w.iter().zip(&magnitudes.slope).map(|(&w, &s)| i128::from(w) * i128::from(s));
                let exp = exponent(exp.checked_add(SLOPE_BITS as i32))?;
                self.add(state, p, Coefficients { mantissas: sloped.collect(), exp })?;
            }
        }
        Ok(())
    }

    fn add(&self, state: &mut Elimination, t: usize, v: Coefficients) -> Result<()> {
        self.pass(state, t, Pending::Wide(v))
    }

    /// Adds coefficients to those that wait at tensor `t`, over a common exponent.
    fn pass(&self, state: &mut Elimination, t: usize, v: Pending) -> Result<()> {
        let earlier = state.pending[t].take().map(Pending::widened);
        let Some(earlier) = earlier.filter(|c| c.mantissas.iter().any(|&m| m != 0)) else {
            state.pending[t] = Some(v);
            return Ok(());
        };
        let v = v.widened();
        let bounds = self.case.bounds(t)?;
        let a = round(&v, COEFFICIENT_BITS, bounds, &mut state.constant)?;
        let b = round(&earlier, COEFFICIENT_BITS, bounds, &mut state.constant)?;
        let (fine, coarse) = if a.exp >= b.exp { (a, b) } else { (b, a) };
        let gap = fine.exp.abs_diff(coarse.exp);
        if gap > 64 {
            // The finer coefficients are below 2^-10 of a unit of the coarser ones: charge them whole.
            for (i, &m) in fine.mantissas.iter().enumerate() {
                let reach = if m >= 0 { bounds.upper()[i].max(0) } else { bounds.lower()[i].min(0) };
                state.constant.add(i128::from(m) * i128::from(reach), i64::from(fine.exp) + i64::from(bounds.exp()));
            }
            let mantissas = coarse.mantissas.iter().map(|&m| m.into()).collect();
            state.pending[t] = Some(Pending::Wide(Coefficients { mantissas, exp: coarse.exp }));
            return Ok(());
        }
        let sum = |(&f, &c): (&i64, &i64)| i128::from(f) + (i128::from(c) << gap);
        let mantissas = fine.mantissas.iter().zip(&coarse.mantissas).map(sum).collect();
        state.pending[t] = Some(Pending::Wide(Coefficients { mantissas, exp: fine.exp }));
        Ok(())
    }

    fn multiply(&self, state: &mut Elimination, m: &Multipliers) -> Result<()> {
        let bounds = self.case.bounds(m.tensor)?;
        let (mut mantissas, mut cost) = (vec![0_i128; bounds.len()], 0_i128);
        for &(i, beta) in &m.elements {
            mantissas[i] += i128::from(beta);
            let end = if beta >= 0 { bounds.lower()[i] } else { bounds.upper()[i] };
            cost -= i128::from(beta) * i128::from(end);
        }
        state.constant.add(cost, i64::from(m.exp) + i64::from(bounds.exp()));
        self.add(state, m.tensor, Coefficients { mantissas, exp: m.exp })
    }
}

fn log2_terms(linear: &Linear) -> u32 {
    usize::BITS - linear.column_terms().leading_zeros()
}

/// Bit length of the widest coefficient.
fn bits(v: &[i64]) -> u32 {
    u64::BITS - v.iter().fold(0, |bits, m| bits | m.unsigned_abs()).leading_zeros()
}

/// How wide coefficients may be for `Wᵀ v` to fit.
fn room(linear: &Linear) -> u32 {
    (126 - linear.weights().bits()).saturating_sub(log2_terms(linear))
}

/// `Σ_j max|d_j|`, if the weights have tails: no row meets an input twice, so a row's tails add at most this many
/// `2^-exp` to it.
fn tail_reach(linear: &Linear, bounds: &Bounds) -> Option<i128> {
    linear.weights().exact()?;
    Some((0..bounds.len()).map(|i| i128::from(bounds.magnitude(i))).sum())
}
