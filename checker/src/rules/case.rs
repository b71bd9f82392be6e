//! A case of the proof tree: what is known in it. The root case knows the domain; children inherit and add.

use crate::bounds::Bounds;
use crate::certificate::Multipliers;
use crate::error::{Code, Error, Result};
use crate::number::{Rational, scale_by_power_of_two};
use crate::problem::{Op, Problem, Source};
use crate::rules::relu::{Lines, Relu};
use crate::rules::relu_pair::ReluPair;
use crate::rules::support::Domain;
use crate::rules::{interval, weights};
use std::sync::{Arc, OnceLock};

/// Bounds of every tensor that has been asked about, and the domain of every block of variables. Cheap to clone.
#[derive(Clone)]
pub struct Case<'p> {
    problem: &'p Problem,
    known: Vec<Option<Arc<Known>>>,
    domain: Vec<Arc<Domain>>,
}

/// By how many bits a bound that is derived again is finer than the mantissas that it is rounded to.
pub const GUARD: u32 = 8;

/// What is known of one tensor, and what follows for a ReLU of it, found when it is first asked for. Cases share it, so
/// nothing may be kept here that depends on another tensor.
#[derive(Clone)]
struct Known {
    bounds: Bounds,
    /// The centre, bracketed in units of the bounds.
    centre: OnceLock<Arc<Vec<(i64, i64)>>>,
    /// The default lines above and below.
    lines: OnceLock<BothLines>,
}

type BothLines = (Arc<Lines>, Arc<Lines>);

impl Known {
    fn new(bounds: Bounds) -> Self {
        Known { bounds, centre: OnceLock::new(), lines: OnceLock::new() }
    }
}

impl<'p> Case<'p> {
    /// The root case: the whole domain.
    pub fn root(problem: &'p Problem) -> Result<Self> {
        let domain = problem.domain.iter().map(|v| Domain::new(v).map(Arc::new)).collect::<Result<_>>()?;
        Ok(Case { problem, known: vec![None; problem.tensors.len()], domain })
    }

    pub fn problem(&self) -> &'p Problem {
        self.problem
    }

    pub fn domain(&self, block: usize) -> &Domain {
        &self.domain[block]
    }

    /// Known bounds of tensor `t`; [`Case::ensure`] has been called for it or a tensor that depends on it.
    pub fn bounds(&self, t: usize) -> Result<&Bounds> {
        self.known(t).map(|known| &known.bounds)
    }

    fn known(&self, t: usize) -> Result<&Known> {
        self.known[t].as_deref().ok_or_else(|| {
            let message = "nothing is known yet of this tensor; refine it, or refer to one that the target depends on";
            Error::new(Code::ProofReference, self.problem.tensors[t].name.clone(), message)
        })
    }

    /// The view that a ReLU of tensor `t`, of which bounds are known, has of it.
    pub fn relu(&self, t: usize) -> Result<Relu<'_>> {
        let known = self.known(t)?;
        let centre = || Arc::new(Relu::bracket(&known.bounds, &self.problem.tensors[t].centre));
        Ok(Relu::at(&known.bounds, Arc::clone(known.centre.get_or_init(centre))))
    }

    /// What is known of a ReLU's input, tensor `base`, and of a change of it, tensor `change`.
    pub fn relu_pair(&self, base: usize, change: usize) -> Result<ReluPair> {
        let centre = |t: usize| &self.problem.tensors[t].centre;
        ReluPair::new(self.bounds(base)?, centre(base), self.bounds(change)?, centre(change))
    }

    /// The default lines above and below a ReLU of tensor `t`.
    pub fn default_lines(&self, t: usize) -> Result<&BothLines> {
        let (known, relu) = (self.known(t)?, self.relu(t)?);
        let lines = || (Arc::new(relu.upper_lines(None)), Arc::new(relu.lower_lines(None)));
        Ok(known.lines.get_or_init(lines))
    }

    /// Derives bounds, by rule 4.1, of `t` and of all tensors it depends on that have none yet.
    pub fn ensure(&mut self, t: usize) -> Result<()> {
        let mut needed = vec![false; t + 1];
        needed[t] = true;
        for k in (0..=t).rev() {
            if needed[k] {
                match &self.problem.tensors[k].op {
                    Op::Variables(_) => {}
                    Op::Relu(from) => needed[*from] = true,
                    Op::ReluPair { base, change } => [*base, *change].into_iter().for_each(|from| needed[from] = true),
                    Op::Affine(terms) => terms.iter().for_each(|(from, _)| needed[*from] = true),
                    Op::Weights(parts) => parts.iter().for_each(|part| {
                        if let Source::Tensor(from) = part.source {
                            needed[from] = true;
                        }
                    }),
                }
            }
        }
        for k in (0..=t).filter(|&k| needed[k]) {
            if self.known[k].is_none() {
                self.known[k] = Some(Arc::new(Known::new(self.derive(k)?)));
            }
        }
        Ok(())
    }

    /// Derives the bounds that multipliers at tensors of a known range need: on what a cutoff sees no other tensor depends.
    pub fn ensure_ranges(&mut self, multipliers: &[Multipliers]) -> Result<()> {
        let ranged = multipliers.iter().map(|m| m.tensor).filter(|&t| self.problem.tensors[t].clip.is_some());
        let ranged: Vec<usize> = ranged.collect();
        ranged.into_iter().try_for_each(|t| self.ensure(t))
    }

    /// Rule 4.1 for a tensor whose predecessors have bounds.
    fn derive(&self, t: usize) -> Result<Bounds> {
        let tensor = &self.problem.tensors[t];
        let mut bounds = match &tensor.op {
            Op::Variables(block) => {
                let variables = &self.problem.domain[*block];
                Bounds::from_rationals(&variables.lower, &variables.upper)?
            }
            Op::Affine(terms) => interval::affine(terms.iter().map(|(p, linear)| Ok((&**linear, self.bounds(*p)?))))?,
            Op::Weights(parts) => {
                let ranges: Vec<Bounds> =
                    parts.iter().map(|p| weights::range(&p.source, self)).collect::<Result<_>>()?;
                interval::affine(parts.iter().zip(&ranges).map(|(part, range)| Ok((&*part.above, range))))?
            }
            Op::Relu(from) => {
                let input = self.bounds(*from)?;
                let (lower, upper) = self.relu(*from)?.output_bounds();
                Bounds::new(input.exp(), &lower, &upper)?
            }
            Op::ReluPair { base, change } => self.relu_pair(*base, *change)?.output_bounds()?,
        };
        if let Some((low, high)) = &tensor.clip {
            for i in 0..bounds.len() {
                bounds.raise_lower(i, &low[i]);
                bounds.drop_upper(i, &high[i]);
            }
        }
        Ok(bounds)
    }

    /// Learns `d_i ≥ value` about tensor `t`.
    pub fn learn_lower(&mut self, t: usize, i: usize, value: &Rational) {
        self.learn(t, |bounds| bounds.raise_lower(i, value), |domain| domain.raise_lower(i, value));
    }

    /// Learns `d_i ≤ value` about tensor `t`.
    pub fn learn_upper(&mut self, t: usize, i: usize, value: &Rational) {
        self.learn(t, |bounds| bounds.drop_upper(i, value), |domain| domain.drop_upper(i, value));
    }

    /// Learns `lower ≤ d_i ≤ upper`, either of which may be missing, in units of `2^-GUARD` mantissas of the bounds of
    /// tensor `t`.
    pub fn learn_rounded(&mut self, t: usize, i: usize, lower: Option<i128>, upper: Option<i128>) -> Result<()> {
        let exp = self.bounds(t)?.exp();
        let value = |m: i128| {
            let value = Rational::from_integer(m.into());
            scale_by_power_of_two(&value, -(i64::from(exp) + i64::from(GUARD)))
        };
        if let Some(m) = lower {
            let on_domain = |domain: &mut Domain| domain.raise_lower(i, &value(m));
            self.learn(t, |bounds| bounds.raise_lower_to(i, m, GUARD), on_domain);
        }
        if let Some(m) = upper {
            let on_domain = |domain: &mut Domain| domain.drop_upper(i, &value(m));
            self.learn(t, |bounds| bounds.drop_upper_to(i, m, GUARD), on_domain);
        }
        Ok(())
    }

    fn learn(&mut self, t: usize, on_bounds: impl FnOnce(&mut Bounds), on_domain: impl FnOnce(&mut Domain)) {
        if let Some(known) = &mut self.known[t] {
            let known = Arc::make_mut(known);
            on_bounds(&mut known.bounds);
            known.lines = OnceLock::new();
        }
        if let Op::Variables(block) = self.problem.tensors[t].op {
            on_domain(Arc::make_mut(&mut self.domain[block]));
        }
    }

    /// Scales the bounds of `t` to the finest mantissas that fit, after many of them have tightened.
    pub fn renormalise(&mut self, t: usize) -> Result<()> {
        if let Some(known) = &mut self.known[t] {
            *known = Arc::new(Known::new(known.bounds.renormalised()?));
        }
        Ok(())
    }

    /// True if element `i` of tensor `t` has no value left.
    pub fn is_void(&self, t: usize, i: usize) -> bool {
        self.known[t].as_ref().is_some_and(|known| known.bounds.is_void(i))
    }
}
