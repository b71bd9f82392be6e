//! What is known before any split: bounds of all pre-activations, by plain or optimised back-substitution.

use crate::graph::{Graph, Op};
use crate::relax::batch::{Case, Config, Engine, Matrix, Range, Targets, optimise};
use crate::relax::{Bounds, State, interval};
use crate::search::branch::tree::{Refinement, Slopes, quantise};
use rayon::prelude::*;
use std::sync::Arc;

/// Targets of one batch.
const CHUNK: usize = 64;

/// The root case, and how its bounds were derived.
pub struct Root {
    pub case: Case,
    pub refinements: Vec<Refinement>,
    state: State,
}

/// Actual values of a layer from bounds of its deviation.
fn range(engine: &Engine<'_>, layer: usize, bounds: &Bounds) -> Range {
    let layer = &engine.layers[layer];
    let actual = |d: &[f64]| d.iter().zip(&layer.centre).map(|(d, c)| d + c).collect();
    Range::new(layer, actual(&bounds.lower), actual(&bounds.upper))
}

/// True if intervals bound this tensor as well as back-substitution can: it is a map of variables that no group ties.
fn is_exact(graph: &Graph, t: usize) -> bool {
    let Op::Affine(terms) = &graph.tensors[t].op else { return false };
    let [(p, _)] = &terms[..] else { return false };
    matches!(graph.tensors[*p].op, Op::Variables(block) if graph.blocks[block].groups.is_empty())
}

impl Root {
    /// Bounds by back-substitution with default slopes.
    pub fn new(engine: &Engine<'_>) -> Self {
        let graph = engine.graph;
        let state = interval::propagate(graph);
        let mut root = Root { case: Case { ranges: vec![], domain: None }, refinements: vec![], state };
        for (l, layer) in engine.layers.iter().enumerate() {
            let t = layer.tensor;
            let mut now = range(engine, l, &root.state.bounds[t]);
            if !is_exact(graph, t) && !now.unstable.is_empty() {
                let rows: Vec<usize> = now.unstable.iter().map(|&i| i as usize).collect();
                let cases = [&root.case];
                let bound = |batch: &Vec<(usize, f64)>| engine.bound(&targets(engine, t, batch, &cases), None, &[]).0;
                let found: Vec<f64> = batches(&rows).par_iter().flat_map(bound).collect();
                root.learn(graph, t, &rows, &found);
                root.refinements.push(Refinement { tensor: t, rows, side: None, slopes: None });
                now = range(engine, l, &root.state.bounds[t]);
            }
            root.case.ranges.push(Arc::new(now));
        }
        root
    }

    /// Bounds of unstable neurons behind unstable neurons by optimised slopes, for each bound its own.
    pub fn optimise(&mut self, engine: &Engine<'_>, config: &Config, go_on: impl Fn() -> bool + Sync) {
        let graph = engine.graph;
        for (l, layer) in engine.layers.iter().enumerate().skip(1) {
            let t = layer.tensor;
            self.case.ranges[l] = Arc::new(range(engine, l, &self.state.bounds[t]));
            let rows: Vec<usize> = self.case.ranges[l].unstable.iter().map(|&i| i as usize).collect();
            let behind = self.case.ranges[..l].iter().any(|r| !r.unstable.is_empty());
            if rows.is_empty() || !behind || is_exact(graph, t) || !go_on() {
                continue;
            }
            let case = self.case.clone();
            let chosen: Vec<(f64, Slopes)> = batches(&rows)
                .par_iter()
                .flat_map(|batch| {
                    let cases = [&case];
                    let targets = targets(engine, t, batch, &cases);
                    let alphas = engine.default_alphas(&targets);
                    // A neuron that is stable needs no better bound.
                    let enough: Vec<f64> = batch
                        .iter()
                        .map(|&(row, sign)| if sign > 0.0 { -layer.centre[row] } else { layer.centre[row] })
                        .collect();
                    let none = vec![vec![]; targets.of.len()];
                    let config = Config { iterations: if go_on() { config.iterations } else { 0 }, ..*config };
                    let best = optimise(engine, &targets, alphas, none, &enough, &config);
                    let columns = 0..targets.of.len();
                    let slopes = |k| quantise(engine, &case, &best.alphas, k, l);
                    columns.map(|k| (best.bound[k], slopes(k))).collect::<Vec<_>>()
                })
                .collect();
            let found: Vec<f64> = chosen.iter().map(|(bound, _)| *bound).collect();
            self.learn(graph, t, &rows, &found);
            for (&(row, sign), (_, slopes)) in sides(&rows).iter().zip(&chosen) {
                self.refinements.push(Refinement {
                    tensor: t,
                    rows: vec![row],
                    side: Some(sign > 0.0),
                    slopes: Some(Arc::new(slopes.clone())),
                });
            }
            self.case.ranges[l] = Arc::new(range(engine, l, &self.state.bounds[t]));
        }
    }

    /// Takes upper bounds of every row and of every negated row.
    fn learn(&mut self, graph: &Graph, t: usize, rows: &[usize], found: &[f64]) {
        for (&(row, sign), &bound) in sides(rows).iter().zip(found) {
            let bounds = &mut self.state.bounds[t];
            if sign > 0.0 {
                bounds.upper[row] = bounds.upper[row].min(bound);
            } else {
                bounds.lower[row] = bounds.lower[row].max(-bound);
            }
        }
        crate::relax::back_substitution::repropagate(graph, &mut self.state, t);
    }
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
