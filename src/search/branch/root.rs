//! What is known before any split: bounds of all pre-activations, by plain or optimised back-substitution.

use crate::graph::{Graph, Op};
use crate::relax::batch::{Case, Config, Engine, Layer, Matrix, Range, Targets, optimise};
use crate::relax::{Bounds, State, interval};
use crate::search::branch::tree::{Refinement, Slopes, quantise};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Targets of one batch.
const CHUNK: usize = 64;

/// The root case, and how its bounds were derived.
pub struct Root {
    pub case: Case,
    pub refinements: Vec<Refinement>,
    state: State,
}

/// A root as a journal keeps it: slopes that were optimised within a limit of time are not found again.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Saved {
    refinements: Vec<Refinement>,
    /// Lower and upper bounds of every tensor.
    bounds: Vec<(Vec<f64>, Vec<f64>)>,
}

/// Actual values of a layer from bounds of its deviation.
fn actual(layer: &Layer, bounds: &Bounds) -> (Vec<f64>, Vec<f64>) {
    let actual = |d: &[f64]| d.iter().zip(&layer.centre).map(|(d, c)| d + c).collect();
    (actual(&bounds.lower), actual(&bounds.upper))
}

/// True if intervals bound this tensor as well as back-substitution can: it is a map of variables that no group ties.
fn is_exact(graph: &Graph, t: usize) -> bool {
    let Op::Affine(terms) = &graph.tensors[t].op else { return false };
    let [(p, _)] = &terms[..] else { return false };
    matches!(graph.tensors[*p].op, Op::Variables(block) if graph.blocks[block].groups.is_empty())
}

/// How long to optimise slopes for.
pub struct Effort<'e> {
    pub config: &'e Config,
    pub go_on: &'e (dyn Fn() -> bool + Sync),
}

/// One bound of a row of a layer, with the slopes that give it; sign −1 for the negated row.
struct Found {
    row: usize,
    sign: f64,
    bound: f64,
    slopes: Option<Arc<Slopes>>,
}

impl Root {
    /// Bounds of all layers by back-substitution, in their order; with an effort, by slopes that are optimised for each
    /// bound, where a neuron is not stable without.
    pub fn new(engine: &Engine<'_>, effort: Option<&Effort<'_>>) -> Self {
        let graph = engine.graph;
        let mut root = Root::of(engine, interval::propagate(graph), vec![]);
        for (l, layer) in engine.layers.iter().enumerate() {
            let t = layer.tensor;
            root.update(engine, l);
            let rows: Vec<usize> = root.case.ranges[l].unstable.iter().map(|&i| i as usize).collect();
            if is_exact(graph, t) || rows.is_empty() {
                continue;
            }
            let (mut stated, mut open) = (vec![], vec![]);
            sort(layer, by_default(engine, &root.case, t, &rows), &mut stated, &mut open);
            let behind = root.case.ranges[..l].iter().any(|r| !r.unstable.is_empty());
            if let Some(effort) = effort.filter(|effort| behind && (effort.go_on)()) {
                let rows: Vec<usize> = open.drain(..).filter(|f| f.sign > 0.0).map(|f| f.row).collect();
                sort(layer, by_effort(engine, &root.case, l, &rows, effort), &mut stated, &mut open);
            }
            stated.extend(open);
            root.learn(graph, t, &stated);
            root.state_refinements(t, stated);
            root.update(engine, l);
        }
        root
    }

    /// The root of these bounds.
    fn of(engine: &Engine<'_>, state: State, refinements: Vec<Refinement>) -> Self {
        let range = |layer: &Layer| {
            let (low, high) = actual(layer, &state.bounds[layer.tensor]);
            Arc::new(Range::new(layer, low, high, None))
        };
        let ranges = engine.layers.iter().map(range).collect();
        Root { case: Case { ranges, domain: None }, refinements, state }
    }

    pub fn saved(&self) -> Saved {
        let bounds = self.state.bounds.iter().map(|bounds| (bounds.lower.clone(), bounds.upper.clone())).collect();
        Saved { refinements: self.refinements.clone(), bounds }
    }

    /// The root that an earlier run saved.
    pub fn restored(engine: &Engine<'_>, saved: &Saved) -> Self {
        let bounds = |(lower, upper): &(Vec<f64>, Vec<f64>)| Bounds { lower: lower.clone(), upper: upper.clone() };
        let state = State { bounds: saved.bounds.iter().map(bounds).collect() };
        let mut root = Root::of(engine, state, saved.refinements.clone());
        (0..engine.layers.len()).for_each(|l| root.update(engine, l));
        root
    }

    /// Brings what the case knows of a layer up to date with the bounds.
    fn update(&mut self, engine: &Engine<'_>, l: usize) {
        let layer = &engine.layers[l];
        let (low, high) = actual(layer, &self.state.bounds[layer.tensor]);
        self.case.set(&engine.layers, l, low, high);
    }

    fn learn(&mut self, graph: &Graph, t: usize, found: &[Found]) {
        for found in found {
            let bounds = &mut self.state.bounds[t];
            if found.sign > 0.0 {
                bounds.upper[found.row] = bounds.upper[found.row].min(found.bound);
            } else {
                bounds.lower[found.row] = bounds.lower[found.row].max(-found.bound);
            }
        }
        crate::relax::back_substitution::repropagate(graph, &mut self.state, t);
    }

    /// Bounds with default slopes share a refinement.
    fn state_refinements(&mut self, t: usize, stated: Vec<Found>) {
        let upper: BTreeSet<usize> = default(&stated, 1.0).collect();
        let lower: BTreeSet<usize> = default(&stated, -1.0).collect();
        for (side, rows) in [
            (None, upper.intersection(&lower).copied().collect::<Vec<_>>()),
            (Some(true), upper.difference(&lower).copied().collect()),
            (Some(false), lower.difference(&upper).copied().collect()),
        ] {
            if !rows.is_empty() {
                self.refinements.push(Refinement { tensor: t, rows, side, slopes: None });
            }
        }
        let own = stated.into_iter().filter(|f| f.slopes.is_some());
        self.refinements.extend(own.map(|f| Refinement {
            tensor: t,
            rows: vec![f.row],
            side: Some(f.sign > 0.0),
            slopes: f.slopes,
        }));
    }
}

/// Rows of bounds of this sign that default slopes give.
fn default(found: &[Found], sign: f64) -> impl Iterator<Item = usize> {
    found.iter().filter(move |f| f.slopes.is_none() && f.sign == sign).map(|f| f.row)
}

/// Of a row that turns out to be stable, the side that says so; both sides of any other row are `open`. Both sides of
/// each row are given, the upper ones first.
fn sort(layer: &Layer, found: Vec<Found>, stated: &mut Vec<Found>, open: &mut Vec<Found>) {
    let mut upper = found;
    let lower = upper.split_off(upper.len() / 2);
    for (upper, lower) in upper.into_iter().zip(lower) {
        let centre = layer.centre[upper.row];
        if layer.base.is_some() || !layer.changes.is_empty() {
            open.extend([upper, lower]);
        } else if lower.bound <= centre {
            stated.push(lower);
        } else if upper.bound <= -centre {
            stated.push(upper);
        } else {
            open.extend([upper, lower]);
        }
    }
}

fn by_default(engine: &Engine<'_>, case: &Case, t: usize, rows: &[usize]) -> Vec<Found> {
    let bound = |batch: &Vec<(usize, f64)>| {
        let cases = [case];
        let (bound, _) = engine.bound(&targets(engine, t, batch, &cases), None, &[]);
        let found = |(&(row, sign), bound)| Found { row, sign, bound, slopes: None };
        batch.iter().zip(bound).map(found).collect::<Vec<_>>()
    };
    batches(rows).par_iter().flat_map(bound).collect()
}

fn by_effort(engine: &Engine<'_>, case: &Case, l: usize, rows: &[usize], effort: &Effort<'_>) -> Vec<Found> {
    let layer = &engine.layers[l];
    let bound = |batch: &Vec<(usize, f64)>| {
        let cases = [case];
        let targets = targets(engine, layer.tensor, batch, &cases);
        let alphas = engine.default_alphas(&targets);
        // A neuron that is stable needs no better bound.
        let enough = |&(row, sign): &(usize, f64)| -sign * layer.centre[row];
        let enough: Vec<f64> = batch.iter().map(enough).collect();
        let none = vec![vec![]; targets.of.len()];
        let iterations = if (effort.go_on)() { effort.config.iterations } else { 0 };
        let best = optimise(engine, &targets, alphas, none, &enough, &Config { iterations, ..*effort.config });
        let found = |(k, &(row, sign)): (usize, &(usize, f64))| {
            let slopes = quantise(engine, case, &best.alphas, k, l);
            let slopes = slopes.iter().any(Option::is_some).then(|| Arc::new(slopes));
            Found { row, sign, bound: best.bound[k], slopes }
        };
        batch.iter().enumerate().map(found).collect::<Vec<_>>()
    };
    batches(rows).par_iter().flat_map(bound).collect()
}

/// (row, sign) of all targets: upper bounds of the rows, then of the negated rows.
fn sides(rows: &[usize]) -> Vec<(usize, f64)> {
    let side = |sign: f64| rows.iter().map(move |&row| (row, sign));
    side(1.0).chain(side(-1.0)).collect()
}

fn batches(rows: &[usize]) -> Vec<Vec<(usize, f64)>> {
    sides(rows).chunks(CHUNK).map(<[_]>::to_vec).collect()
}

/// Chosen rows of a tensor and negated ones, as targets in one case.
fn targets<'a>(engine: &Engine<'_>, t: usize, batch: &[(usize, f64)], cases: &'a [&'a Case]) -> Targets<'a> {
    let mut coefficients = Matrix::zeros(engine.graph.len(t), batch.len());
    for (k, &(row, sign)) in batch.iter().enumerate() {
        coefficients[(row, k)] = sign;
    }
    Targets { tensor: t, of: vec![0; batch.len()], coefficients, cases }
}
