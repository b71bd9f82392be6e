//! Proving one claim at one clean input: attack, then methods of growing strength until the claim is decided.

use crate::emit::{Builder, Slopes};
use crate::graph::{Graph, Maps, float};
use crate::journal::{DAMAGED, number};
use crate::relax::back_substitution::{Improved, Warm};
use crate::relax::{State, back_substitution, lp, pre_activations, slopes};
use crate::search::attack::{self, attack};
use crate::search::branch;
use crate::search::exact_point::exact_point;
use anyhow::Context;
use num::{Signed, Zero};
use scalecheck::certificate::{Answer, CloseText, Proof, ProofText, RefineText, Side, WitnessText};
use scalecheck::claim::Property;
use scalecheck::error::Error;
use scalecheck::number::Rational;
use scalecheck::problem::Problem;
use scalecheck::rules::{tree, witness};
use scalecheck::verify::Config as CheckConfig;
use serde::{Deserialize, Serialize};
use std::sync::atomic::AtomicBool;
use std::time::Instant;

/// A way to derive upper bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// Interval propagation alone.
    Interval,
    /// Back-substitution with default slopes (CROWN, DeepPoly).
    Crown,
    /// Back-substitution with optimised slopes (α-CROWN).
    Alpha,
    /// The LP (triangle) relaxation; its duals become slopes and multipliers.
    Lp,
    /// Cases, by branch and bound.
    Branch,
}

/// Which methods are tried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Choice {
    /// In order of cost, until one decides the claim; branch and bound only if the time is limited.
    #[default]
    Auto,
    /// Every method, and the tightest answer is kept.
    All,
    Interval,
    Crown,
    Alpha,
    Lp,
    Branch,
}

impl Choice {
    fn methods(self) -> &'static [Method] {
        match self {
            Choice::Auto => &[Method::Crown, Method::Alpha, Method::Lp],
            Choice::All => &[Method::Interval, Method::Crown, Method::Alpha, Method::Lp],
            Choice::Interval => &[Method::Interval],
            Choice::Crown | Choice::Branch => &[Method::Crown],
            Choice::Alpha => &[Method::Alpha],
            Choice::Lp => &[Method::Lp],
        }
    }
}

/// How a claim is worked on.
#[derive(Clone, Copy, Debug, Default)]
pub struct Config {
    /// When to give up.
    pub deadline: Option<Instant>,
    pub method: Choice,
    pub attack: attack::Config,
    pub slopes: slopes::Config,
    pub check: CheckConfig,
}

/// The three statuses of a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    Certified,
    Refuted,
    Unknown,
}

/// What was found about one row of one setting. Every number is exact: attacked ones are evaluated, proven ones are
/// checked.
pub struct Outcome {
    pub setting: usize,
    pub row: usize,
    pub status: Status,
    pub answer: Option<Answer>,
    /// The largest slack that an exactly evaluated perturbation reaches, as [`Reach`], with that perturbation.
    pub attacked: Option<(Reach, WitnessText)>,
    /// What each method that was tried establishes.
    pub proven: Vec<(Method, Reach)>,
    /// The proof that establishes the most, whether it is enough or not.
    pub proof: Option<ProofText>,
    /// Methods that do not apply: an LP that is too large, or that the solver gives up.
    pub skipped: Vec<Method>,
    /// What an interrupted search by cases leaves.
    pub unfinished: Option<Box<branch::Saved>>,
}

/// How far a claim is from breaking, in units of the coarse output: for a tolerance claim the deviation, for a winner
/// claim the margin that is left (negative if the winner changes).
pub type Reach = Rational;

impl Outcome {
    /// Nothing is known yet.
    pub fn unknown(setting: usize, row: usize) -> Self {
        Outcome {
            setting,
            row,
            status: Status::Unknown,
            answer: None,
            attacked: None,
            proven: vec![],
            proof: None,
            skipped: vec![],
            unfinished: None,
        }
    }

    /// The tightest proven reach.
    pub fn tightest(&self, property: &Property) -> Option<&Reach> {
        let mut all = self.proven.iter().map(|(_, reach)| reach);
        let first = all.next()?;
        Some(all.fold(first, |best, reach| if worse(property, best, reach) { reach } else { best }))
    }
}

/// An outcome as a journal keeps it: without a proof that is not enough, and with numbers as texts.
#[derive(Serialize, Deserialize)]
pub struct Noted {
    answer: Option<Answer>,
    attacked: Option<(String, WitnessText)>,
    proven: Vec<(Method, String)>,
    skipped: Vec<Method>,
    unfinished: Option<Box<branch::Saved>>,
}

impl Noted {
    /// A note, if there is something to note: an answer, or what a search was interrupted in.
    pub fn of(outcome: &Outcome) -> Option<Self> {
        let worth = outcome.answer.is_some() || outcome.unfinished.is_some();
        worth.then(|| Noted {
            answer: outcome.answer.clone(),
            attacked: outcome.attacked.as_ref().map(|(reach, witness)| (reach.to_string(), witness.clone())),
            proven: outcome.proven.iter().map(|(method, reach)| (*method, reach.to_string())).collect(),
            skipped: outcome.skipped.clone(),
            unfinished: outcome.unfinished.clone(),
        })
    }

    /// Number of cases of a search that was interrupted, if that is what was noted.
    pub fn cases(&self) -> Option<usize> {
        self.unfinished.as_ref().map(|saved| saved.cases())
    }

    /// What a search was interrupted in, if that is what was noted.
    pub fn unfinished(&mut self) -> Option<Box<branch::Saved>> {
        self.unfinished.take()
    }

    /// The outcome of this row of this setting. Nothing is checked here, but what the answer is decides the status: so the
    /// checker, which is asked before anything is written, confirms both.
    pub fn outcome(self, (setting, row): (usize, usize), property: &Property) -> anyhow::Result<Outcome> {
        let answer = self.answer.context(DAMAGED)?;
        let refutes = answer.witness.is_some() && !matches!(property, Property::Reaches(_));
        let attacked = self.attacked.map(|(reach, witness)| anyhow::Ok((number(&reach)?, witness)));
        let proven = self.proven.iter().map(|(method, reach)| anyhow::Ok((*method, number(reach)?)));
        Ok(Outcome {
            setting,
            row,
            status: if refutes { Status::Refuted } else { Status::Certified },
            answer: Some(Answer { setting, row, ..answer }),
            attacked: attacked.transpose()?,
            proven: proven.collect::<anyhow::Result<_>>()?,
            proof: None,
            skipped: self.skipped,
            unfinished: None,
        })
    }
}

/// One method's proof and the slack that the exact rules find for each cell.
struct Attempt {
    proof: ProofText,
    slack: Vec<Option<Rational>>,
    closed: bool,
}

/// Works on one row of one setting; cases go on from where an earlier search was interrupted, if `saved` is given. An error
/// means that the checker refuses what was written, a defect of the prover.
pub fn prove(
    (setting, row): (usize, usize),
    problem: &Problem,
    property: &Property,
    maps: &Maps,
    config: &Config,
    saved: Option<&branch::Saved>,
    progress: &(dyn Fn(branch::Progress) + Sync),
) -> Result<Outcome, Error> {
    let graph = Graph::new(problem, maps, false);
    let (state, improved) = back_substitution::crown(&graph);
    let mut outcome = Outcome::unknown(setting, row);
    let reaches = matches!(property, Property::Reaches(_));
    let answer = Answer { setting, row, ..Answer::default() };
    if let Some((reach, point)) = strongest(problem, property, &graph, maps, &state, &config.attack) {
        let decides = match property {
            Property::Tolerance(tolerance) => reach > *tolerance,
            Property::Reaches(distance) => reach >= *distance,
            Property::Winner | Property::Unsafe => !reach.is_positive(),
        };
        let text = witness_text(problem, &point);
        if decides && witness::check(problem, &point).is_ok() {
            outcome.answer = Some(Answer { witness: Some(text.clone()), ..answer.clone() });
            outcome.status = if reaches { Status::Certified } else { Status::Refuted };
        }
        outcome.attacked = Some((reach, text));
    }
    if reaches {
        return Ok(outcome);
    }
    let refuted = outcome.status == Status::Refuted;
    let mut best: Option<Attempt> = None;
    for &method in config.method.methods() {
        let Some(proof) = attempt(method, problem, &graph, &state, &improved, &config.slopes) else {
            outcome.skipped.push(method);
            continue;
        };
        let walked = tree::walk(problem, &Proof::new(&proof, problem)?, config.check.max_work)?;
        let attempt = Attempt { proof, slack: walked.slack, closed: walked.open.is_none() };
        let reach = proven_reach(problem, property, &attempt.slack);
        let better = outcome.proven.iter().all(|(_, earlier)| worse(property, earlier, &reach));
        outcome.proven.push((method, reach));
        let closed = attempt.closed;
        if better || best.is_none() {
            best = Some(attempt);
        }
        if (closed || refuted) && config.method == Choice::Auto {
            break;
        }
    }
    if let Some(best) = best {
        outcome.proof = Some(best.proof.clone());
        if best.closed && !refuted {
            outcome.status = Status::Certified;
            outcome.answer = Some(Answer { proof: Some(best.proof), ..answer });
        }
    }
    let branches = config.method == Choice::Branch || (config.method == Choice::Auto && config.deadline.is_some());
    if outcome.status == Status::Unknown && branches {
        by_cases(problem, property, &graph, config, saved, progress, &mut outcome)?;
    }
    Ok(outcome)
}

/// Set when the search is to end with what is known so far.
pub static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Works on one region of a VNN-LIB property by branch and bound. An error is a defect of the prover.
pub fn decide(
    row: usize,
    problem: &Problem,
    maps: &Maps,
    config: &Config,
    saved: Option<&branch::Saved>,
    progress: &(dyn Fn(branch::Progress) + Sync),
) -> Result<Outcome, Error> {
    let graph = Graph::new(problem, maps, false);
    let mut outcome = Outcome::unknown(0, row);
    by_cases(problem, &Property::Unsafe, &graph, config, saved, progress, &mut outcome)?;
    Ok(outcome)
}

/// Branch and bound on what is still unknown.
fn by_cases(
    problem: &Problem,
    property: &Property,
    graph: &Graph,
    config: &Config,
    saved: Option<&branch::Saved>,
    progress: &(dyn Fn(branch::Progress) + Sync),
    outcome: &mut Outcome,
) -> Result<(), Error> {
    let stop = branch::Stop { deadline: config.deadline, interrupted: &INTERRUPTED, progress };
    let exact = |point: &[Vec<f64>]| exact_point(problem, graph, point);
    let confirm = |point: &[Vec<f64>]| exact(point).is_some_and(|point| witness::check(problem, &point).is_ok());
    let answer = Answer { setting: outcome.setting, row: outcome.row, ..Answer::default() };
    match branch::search(problem, graph, saved, &stop, &confirm)? {
        Some(branch::End::Reached(point)) => {
            if let Some(point) = exact(&point) {
                let text = witness_text(problem, &point);
                outcome.answer = Some(Answer { witness: Some(text.clone()), ..answer });
                outcome.status = Status::Refuted;
                if *property != Property::Unsafe {
                    outcome.attacked = Some((attacked_reach(problem, property, &point), text));
                }
            }
        }
        Some(branch::End::Proven(proof, slack)) => {
            outcome.status = Status::Certified;
            if *property != Property::Unsafe {
                outcome.proven.push((Method::Branch, proven_reach(problem, property, &slack)));
                outcome.proof = Some((*proof).clone());
            }
            outcome.answer = Some(Answer { proof: Some(*proof), ..answer });
        }
        Some(branch::End::Interrupted(saved)) => outcome.unfinished = Some(saved),
        Some(branch::End::Unknown) => {}
        None => outcome.skipped.push(Method::Branch),
    }
    Ok(())
}

/// A point of the domain as a certificate writes it: the input, where that varies, and the perturbations.
fn witness_text(problem: &Problem, point: &[Vec<Rational>]) -> WitnessText {
    let text = |block: &Vec<Rational>| block.iter().map(ToString::to_string).collect();
    let (input, perturbations) = point.split_at(usize::from(problem.region));
    let input = input.iter().zip(&problem.tensors).map(|(deviation, tensor)| {
        let centre = tensor.centre.to_rationals();
        deviation.iter().zip(centre).map(|(d, c)| (d + c).to_string()).collect()
    });
    let perturbation: Vec<_> = perturbations.iter().map(text).collect();
    WitnessText { input: input.last(), perturbation: (!perturbation.is_empty()).then_some(perturbation) }
}

/// The point of the domain that the attack finds most harmful, made exact: values of all variables, by block.
pub fn attacked(
    problem: &Problem,
    property: &Property,
    maps: &Maps,
    config: &attack::Config,
) -> Option<Vec<Vec<Rational>>> {
    let graph = Graph::new(problem, maps, false);
    let (state, _) = back_substitution::crown(&graph);
    strongest(problem, property, &graph, maps, &state, config).map(|(_, point)| point)
}

/// The point of the domain that the attack finds most harmful, made exact, with what it reaches.
fn strongest(
    problem: &Problem,
    property: &Property,
    graph: &Graph,
    maps: &Maps,
    state: &State,
    config: &attack::Config,
) -> Option<(Reach, Vec<Vec<Rational>>)> {
    // The rules do not use that a perturbation keeps to a band; a witness must.
    let banded = (!problem.bands.is_empty()).then(|| Graph::new(problem, maps, true));
    let graph = banded.as_ref().unwrap_or(graph);
    let mut found: Vec<_> = attack(graph, state, config).into_iter().zip(&problem.cells).enumerate().collect();
    found.sort_by(|(_, (a, p)), (_, (b, q))| (b.slack / float(&q.unit)).total_cmp(&(a.slack / float(&p.unit))));
    found.iter().find_map(|(cell, (found, _))| {
        let candidates = [attack::polished(graph, *cell, &found.point), Some(found.point.clone())];
        let exact = candidates.into_iter().flatten().filter_map(|point| exact_point(problem, graph, &point));
        let reached = exact.map(|point| (attacked_reach(problem, property, &point), point));
        reached.reduce(|a, b| if worse(property, &b.0, &a.0) { b } else { a })
    })
}

/// True if reach `a` is worse for the claim than `b`.
fn worse(property: &Property, a: &Reach, b: &Reach) -> bool {
    match property {
        Property::Tolerance(_) | Property::Reaches(_) => a > b,
        Property::Winner | Property::Unsafe => a < b,
    }
}

/// What a slack means in units of the coarse output.
fn reach(property: &Property, slack_in_units: Rational) -> Reach {
    match property {
        Property::Tolerance(distance) | Property::Reaches(distance) => distance + slack_in_units,
        Property::Winner | Property::Unsafe => -slack_in_units,
    }
}

fn proven_reach(problem: &Problem, property: &Property, slack: &[Option<Rational>]) -> Reach {
    let worst = problem.cells.iter().zip(slack).filter_map(|(cell, slack)| Some(slack.as_ref()? / &cell.unit)).max();
    let reach = reach(property, worst.unwrap_or_else(Rational::zero));
    if matches!(property, Property::Tolerance(_)) && reach.is_negative() { Rational::zero() } else { reach }
}

/// The reach of a point of the domain, evaluated exactly.
fn attacked_reach(problem: &Problem, property: &Property, point: &[Vec<Rational>]) -> Reach {
    let output = witness::deviations(problem, point).swap_remove(problem.output).to_rationals();
    let slack = problem.cells.iter().map(|cell| {
        let row = &cell.rows[0];
        let moved: Rational = row.terms.iter().map(|&(i, a)| &output[i] * Rational::from_integer(a.into())).sum();
        (&row.bound - moved) / &cell.unit
    });
    reach(property, slack.max().unwrap_or_else(Rational::zero))
}

/// The proof that a method finds; `None` if the method does not apply.
fn attempt(
    method: Method,
    problem: &Problem,
    graph: &Graph,
    state: &State,
    improved: &[Improved],
    config: &slopes::Config,
) -> Option<ProofText> {
    let mut builder = Builder::new(problem);
    if method == Method::Interval {
        // A multiplier that cancels a coefficient at the output leaves the output's interval bound.
        let close = graph.halfspaces.iter().map(|cell| {
            let cancel: Vec<_> = cell.objective.iter().map(|&(i, a)| (graph.output, i, -a)).collect();
            CloseText { multipliers: builder.multipliers(&cancel), ..CloseText::default() }
        });
        let close = close.collect();
        return Some(builder.single(vec![], close));
    }
    let mut refine: Vec<RefineText> =
        improved.iter().flat_map(|improved| refinements(&mut builder, graph, improved)).collect();
    let mut close = vec![CloseText::default(); graph.halfspaces.len()];
    match method {
        Method::Interval | Method::Branch => {}
        Method::Crown => {
            let mut warm = Warm::many(graph);
            let (_, trace) =
                back_substitution::upper_bounds(graph, state, graph.output, &graph.objectives(), None, &mut warm);
            for (k, close) in close.iter_mut().enumerate() {
                close.duals = builder.duals(graph, &trace.normals, k);
            }
        }
        Method::Alpha => {
            let state = optimise_intermediate(graph, state, config, &mut builder, &mut refine);
            let (_, alphas, normals) = slopes::optimise(graph, &state, graph.output, &graph.objectives(), config);
            for (k, close) in close.iter_mut().enumerate() {
                close.slopes = builder.slopes(&column(graph, &state, &alphas, k));
                close.duals = builder.duals(graph, &normals, k);
            }
        }
        Method::Lp => {
            let state = optimise_intermediate(graph, state, config, &mut builder, &mut refine);
            let relaxation = lp::Relaxation::new(graph, &state)?;
            for (cell, close) in graph.halfspaces.iter().zip(&mut close) {
                let dual = relaxation.solve(&cell.objective)?;
                close.slopes = builder.slopes(&dual.by_tensor());
                close.multipliers = builder.multipliers(&dual.multipliers);
            }
        }
    }
    Some(builder.single(refine, close))
}

/// The text of what plain back-substitution improved: one refinement, or one a side and element if each has multipliers
/// of its own.
fn refinements(builder: &mut Builder<'_>, graph: &Graph, improved: &Improved) -> Vec<RefineText> {
    let (t, rows) = (improved.tensor, &improved.rows);
    if rows.is_empty() {
        return vec![];
    }
    if improved.normals.is_empty() {
        return vec![builder.refine(t, rows.clone())];
    }
    let mut texts = Vec::new();
    for (k, &row) in rows.iter().enumerate() {
        for (side, target) in [(Side::Upper, k), (Side::Lower, rows.len() + k)] {
            let duals = builder.duals(graph, &improved.normals, target);
            texts.push(RefineText { side: Some(side), duals, ..builder.refine(t, vec![row]) });
        }
    }
    texts
}

/// Improves the bounds of unstable pre-activations that lie behind unstable neurons, each with slopes of its own.
fn optimise_intermediate(
    graph: &Graph,
    state: &State,
    config: &slopes::Config,
    builder: &mut Builder<'_>,
    refine: &mut Vec<RefineText>,
) -> State {
    let mut state = state.clone();
    let mut unstable_before = false;
    for t in pre_activations(graph) {
        let rows = state.unstable(graph, t);
        if unstable_before && !rows.is_empty() {
            let n = rows.len();
            let both = back_substitution::both_sides(graph, t, &rows);
            let (bound, alphas, normals) = slopes::optimise(graph, &state, t, &both, config);
            for (k, &row) in rows.iter().enumerate() {
                for (side, target) in [(Side::Upper, k), (Side::Lower, n + k)] {
                    let set = builder.slopes(&column(graph, &state, &alphas, target));
                    let duals = builder.duals(graph, &normals, target);
                    if set.is_some() || !duals.is_empty() {
                        let text = builder.refine(t, vec![row]);
                        refine.push(RefineText { side: Some(side), slopes: set, duals, ..text });
                    }
                }
                back_substitution::tighten(&mut state, t, row, -bound[n + k], bound[k]);
            }
            back_substitution::repropagate(graph, &mut state, t);
        }
        unstable_before |= !rows.is_empty();
    }
    state
}

/// One target's slopes at unstable neurons, without those that are the default.
fn column(graph: &Graph, state: &State, alphas: &back_substitution::Alphas, k: usize) -> Slopes {
    let mut slopes = Slopes::new();
    for (&t, alpha) in alphas {
        let chosen = state
            .unstable(graph, t)
            .into_iter()
            .filter_map(|i| (alpha[(i, k)] != state.default_slope(graph, t, i)).then_some((i, alpha[(i, k)])));
        slopes.insert(t, chosen.collect());
    }
    slopes
}
