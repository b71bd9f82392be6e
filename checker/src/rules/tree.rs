//! The proof tree: cases in preorder, each refined, then split, closed or void.
//!
//! Coverage is structural: a split is followed by both of its children, and the walk ends only when no case is open.

use crate::certificate::{Close, End, Node, Proof, Refine, Side, SlopeSet};
use crate::error::{Code, Error, Result};
use crate::number::Rational;
use crate::problem::{Op, Problem, Tensor};
use crate::rules::back_substitution::Relaxation;
use crate::rules::case::Case;
use crate::rules::{close, split};

/// What walking a whole tree has established.
pub struct Established {
    /// For each cell the largest slack over all cases: negative, or zero for a strict cell, if every case closes it.
    /// `None` if every case is void.
    pub slack: Vec<Option<Rational>>,
    /// The first case that leaves a cell open.
    pub open: Option<Error>,
    /// Multiply–accumulates that it took.
    pub work: u64,
}

/// Walks the tree of `proof`. A cell left open is not an error here, so that a prover can ask how far a proof reaches;
/// [`check`] makes it one.
pub fn walk(problem: &Problem, proof: &Proof, max_work: u64) -> Result<Established> {
    let mut walk = Walk {
        problem,
        proof,
        max_work,
        result: Established { slack: vec![None; problem.cells.len()], open: None, work: 0 },
    };
    let mut open_cases = vec![Case::root(problem)?];
    for (i, node) in proof.nodes.iter().enumerate() {
        let place = format!("case {i}");
        let Some(case) = open_cases.pop() else {
            let message = "every case is closed already; nodes must not follow";
            return Err(Error::new(Code::TreeTrailing, place, message));
        };
        if let Some((low, high)) = walk.node(case, node, &place).map_err(|e| e.within(&place))? {
            open_cases.push(high);
            open_cases.push(low);
        }
    }
    if !open_cases.is_empty() {
        let message = format!("the proof ends with {} cases open", open_cases.len());
        return Err(Error::new(Code::TreeTruncated, "proof", message));
    }
    Ok(walk.result)
}

/// Verifies that `proof` closes every cell in every case.
pub fn check(problem: &Problem, proof: &Proof, max_work: u64) -> Result<Established> {
    let mut established = walk(problem, proof, max_work)?;
    established.open.take().map_or(Ok(established), Err)
}

struct Walk<'p> {
    problem: &'p Problem,
    proof: &'p Proof,
    max_work: u64,
    result: Established,
}

impl<'p> Walk<'p> {
    /// Works through one node; the children if it splits.
    fn node(&mut self, mut case: Case<'p>, node: &Node, place: &str) -> Result<Option<(Case<'p>, Case<'p>)>> {
        for refine in &node.refine {
            self.refine(&mut case, refine)?;
        }
        match &node.end {
            End::Split { tensor, element, at } => {
                case.ensure(*tensor)?;
                self.spend(*tensor, 0, 0)?;
                return Ok(Some(split::split(case, *tensor, *element, at)));
            }
            End::Close(entries) => self.close(&mut case, entries, place)?,
            End::Void { tensor, element } => {
                if !case.is_void(*tensor, *element) {
                    let name = &self.problem.tensors[*tensor].name;
                    let message = format!("element {element} of `{name}` still has values: the case is not void");
                    return Err(Error::new(Code::NotVoid, "", message));
                }
            }
        }
        Ok(None)
    }

    fn slopes(&self, set: Option<usize>) -> Option<&'p SlopeSet> {
        set.and_then(|i| self.proof.slopes.get(i))
    }

    /// Rule 4.3, refine: rule 4.2 for chosen elements of a tensor: lower bounds are upper bounds of the negated element.
    fn refine(&mut self, case: &mut Case<'p>, refine: &Refine) -> Result<()> {
        let t = refine.tensor;
        case.ensure(t)?;
        case.ensure_ranges(&refine.hints.multipliers)?;
        let sides = if refine.side.is_some() { 1 } else { 2 };
        let rows = refine.rows.clone().unwrap_or_else(|| (0..self.problem.tensors[t].centre.len()).collect());
        self.spend(t, sides * rows.len() as u64, refine.hints.multipliers.len())?;
        let relaxation = Relaxation::new(case, t, self.slopes(refine.hints.slopes))?;
        let bound = |row, sign| relaxation.upper_bound(t, &[(row, sign)], &refine.hints.multipliers);
        let mut found = Vec::with_capacity(rows.len());
        for row in rows {
            let lower = if refine.side != Some(Side::Upper) { Some(-bound(row, -1)?) } else { None };
            let upper = if refine.side != Some(Side::Lower) { Some(bound(row, 1)?) } else { None };
            found.push((row, lower, upper));
        }
        for (row, lower, upper) in found {
            lower.iter().for_each(|value| case.learn_lower(t, row, value));
            upper.iter().for_each(|value| case.learn_upper(t, row, value));
        }
        case.renormalise(t)
    }

    fn close(&mut self, case: &mut Case<'p>, entries: &[Close], place: &str) -> Result<()> {
        let problem = self.problem;
        case.ensure(problem.output)?;
        entries.iter().try_for_each(|entry| case.ensure_ranges(&entry.hints.multipliers))?;
        let multipliers = entries.iter().map(|entry| entry.hints.multipliers.len()).max().unwrap_or(0);
        self.spend(problem.output, entries.len() as u64, multipliers)?;
        let mut shared: Option<(Option<usize>, Relaxation<'_, '_>)> = None;
        for (i, (cell, entry)) in problem.cells.iter().zip(entries).enumerate() {
            if shared.as_ref().is_none_or(|(set, _)| *set != entry.hints.slopes) {
                shared =
                    Some((entry.hints.slopes, Relaxation::new(case, problem.output, self.slopes(entry.hints.slopes))?));
            }
            let Some((_, relaxation)) = &shared else {
                continue;
            };
            let slack = close::slack(problem, cell, entry, relaxation)?;
            if !close::closes(cell, entry, &slack) && self.result.open.is_none() {
                let message = format!(
                    "not excluded: {}; the bound misses by {}",
                    cell.meaning,
                    crate::number::approximate(&slack)
                );
                self.result.open = Some(Error::new(Code::CellOpen, place, message));
            }
            let worst = &mut self.result.slack[i];
            *worst = Some(worst.take().map_or_else(|| slack.clone(), |w| w.max(slack.clone())));
        }
        Ok(())
    }

    /// Accounts for preparing and doing `targets` eliminations from tensor `t` down, each with so many multipliers.
    fn spend(&mut self, t: usize, targets: u64, multipliers: usize) -> Result<()> {
        let cost = |tensor: &Tensor| match &tensor.op {
            Op::Affine(terms) => terms.iter().map(|(_, linear)| linear.entries()).sum(),
            Op::Variables(_) | Op::Relu(_) => tensor.centre.len() as u64,
            Op::Weights(parts) => parts.iter().map(|part| part.above.entries()).sum(),
        };
        let one: u64 = self.problem.tensors.iter().take(t + 1).map(cost).sum();
        let work = one.saturating_mul(targets.saturating_add(1)).saturating_mul(multipliers as u64 + 1);
        self.result.work = self.result.work.saturating_add(work);
        if self.result.work > self.max_work {
            let message = format!("needs more than {} multiply–accumulates; raise --max-work", self.max_work);
            return Err(Error::new(Code::LimitWork, "", message));
        }
        Ok(())
    }
}
