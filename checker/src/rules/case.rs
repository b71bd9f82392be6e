//! A case of the proof tree: what is known in it. The root case knows the domain; children inherit and add.

use crate::bounds::Bounds;
use crate::certificate::Multipliers;
use crate::error::{Code, Error, Result};
use crate::number::Rational;
use crate::problem::{Op, Problem, Source};
use crate::rules::relu::Relu;
use crate::rules::support::Domain;
use crate::rules::{interval, weights};
use std::sync::Arc;

/// Bounds of every tensor that has been asked about, and the domain of every block of variables. Cheap to clone.
#[derive(Clone)]
pub struct Case<'p> {
    problem: &'p Problem,
    bounds: Vec<Option<Arc<Bounds>>>,
    domain: Vec<Arc<Domain>>,
}

impl<'p> Case<'p> {
    /// The root case: the whole domain.
    pub fn root(problem: &'p Problem) -> Result<Self> {
        let domain = problem.domain.iter().map(|v| Domain::new(v).map(Arc::new)).collect::<Result<_>>()?;
        Ok(Case { problem, bounds: vec![None; problem.tensors.len()], domain })
    }

    pub fn problem(&self) -> &'p Problem {
        self.problem
    }

    pub fn domain(&self, block: usize) -> &Domain {
        &self.domain[block]
    }

    /// Known bounds of tensor `t`; [`Case::ensure`] has been called for it or a tensor that depends on it.
    pub fn bounds(&self, t: usize) -> Result<&Bounds> {
        self.bounds[t].as_deref().ok_or_else(|| {
            let message = "nothing is known yet of this tensor; refine it, or refer to one that the target depends on";
            Error::new(Code::ProofReference, self.problem.tensors[t].name.clone(), message)
        })
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
            if self.bounds[k].is_none() {
                self.bounds[k] = Some(Arc::new(self.derive(k)?));
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
                let (lower, upper) = Relu::new(input, &self.problem.tensors[*from].centre).output_bounds();
                Bounds::new(input.exp(), &lower, &upper)?
            }
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

    fn learn(&mut self, t: usize, on_bounds: impl FnOnce(&mut Bounds), on_domain: impl FnOnce(&mut Domain)) {
        if let Some(bounds) = &mut self.bounds[t] {
            on_bounds(Arc::make_mut(bounds));
        }
        if let Op::Variables(block) = self.problem.tensors[t].op {
            on_domain(Arc::make_mut(&mut self.domain[block]));
        }
    }

    /// Scales the bounds of `t` to the finest mantissas that fit, after many of them have tightened.
    pub fn renormalise(&mut self, t: usize) -> Result<()> {
        if let Some(bounds) = &mut self.bounds[t] {
            *bounds = Arc::new(bounds.renormalised()?);
        }
        Ok(())
    }

    /// True if element `i` of tensor `t` has no value left.
    pub fn is_void(&self, t: usize, i: usize) -> bool {
        self.bounds[t].as_ref().is_some_and(|b| b.is_void(i))
    }
}
