//! Branch and bound on the phases of neurons, for one halfspace: the worst case first, children bounded by optimised
//! slopes and multipliers (β-CROWN, Wang et al. 2021), the neuron chosen by trying the most promising ones (FSB, De Palma
//! et al. 2021).

use super::tree::{Closing, Slopes, Split, Tree, quantise, restore};
use super::{Stop, margin};
use crate::relax::batch::{Beta, Case, Config, Engine, Matrix, Targets, optimise};
use rayon::prelude::*;
use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::sync::Arc;

/// Cases that one thread works on together.
const BATCH: usize = 24;
/// Neurons that are tried for a split.
const TRIED: usize = 8;

/// A case that is still open.
pub struct Open {
    /// The slack that is to fall below zero.
    slack: f64,
    node: usize,
    slopes: Arc<Slopes>,
    betas: Vec<Beta>,
}

impl PartialEq for Open {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}
impl Eq for Open {}
impl PartialOrd for Open {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Open {
    fn cmp(&self, other: &Self) -> Ordering {
        self.slack.total_cmp(&other.slack).then(other.node.cmp(&self.node))
    }
}

/// What became of a case that was split.
struct Divided {
    node: usize,
    /// Where the relaxed network attains its bound.
    point: Vec<Vec<f64>>,
    layer: usize,
    neuron: usize,
    /// The low and the high child: slack, slopes, multipliers.
    children: Vec<(f64, Arc<Slopes>, Vec<Beta>)>,
}

pub struct Search<'s, 'g> {
    pub engine: &'s Engine<'g>,
    pub root: &'s Case,
    /// The row that is shown negative.
    pub halfspace: usize,
    pub config: Config,
}

impl Search<'_, '_> {
    /// The case of these assumptions.
    fn case(&self, betas: &[Beta]) -> Case {
        let mut case = self.root.clone();
        for l in 0..self.engine.layers.len() {
            let mut here = betas.iter().filter(|b| b.layer == l).peekable();
            if here.peek().is_none() {
                continue;
            }
            let root = &self.root.ranges[l];
            let (mut low, mut high) = (root.low.clone(), root.high.clone());
            for beta in here {
                if beta.sign > 0.0 {
                    low[beta.neuron] = low[beta.neuron].max(0.0);
                } else {
                    high[beta.neuron] = high[beta.neuron].min(0.0);
                }
            }
            case.set(&self.engine.layers, l, low, high);
        }
        case
    }

    /// The halfspace in each of these cases.
    fn targets<'a>(&self, cases: &'a [&'a Case]) -> Targets<'a> {
        let columns: Vec<(usize, usize)> = (0..cases.len()).map(|case| (case, self.halfspace)).collect();
        self.engine.halfspaces(&columns, cases)
    }

    fn alphas(&self, targets: &Targets<'_>, slopes: &[&Slopes]) -> Vec<Matrix> {
        let layer = |l: usize| {
            let n = self.engine.layers[l].centre.len();
            let mut matrix = Matrix::zeros(n, slopes.len());
            for (k, slopes) in slopes.iter().enumerate() {
                let column = &mut matrix.as_mut_slice()[k * n..][..n];
                restore(slopes, targets.cases[targets.of[k]], l, column);
            }
            matrix
        };
        (0..self.engine.layers.len()).map(layer).collect()
    }

    fn bound_of(&self) -> f64 {
        self.engine.graph.halfspaces[self.halfspace].bound
    }

    /// The whole domain as the only case, with slopes that are optimised for longer.
    pub fn start(&self) -> (Tree, Vec<Open>) {
        let mut tree = Tree::new();
        let start = self.whole();
        if start.slack < -margin(self.bound_of()) {
            tree.nodes[0].close.push(self.closing(&start.slopes, &start.betas));
            return (tree, vec![]);
        }
        (tree, vec![start])
    }

    /// Opens leaves again that the exact rules do not close.
    pub fn reopen(&self, tree: &mut Tree, leaves: &[usize]) -> Vec<Open> {
        let open = |&node: &usize| {
            let closing = tree.nodes[node].close.first();
            let known = |layer: usize, neuron: usize| {
                let betas = closing.map_or(&[][..], |c| &c.betas);
                betas.iter().find(|b| (b.layer, b.neuron) == (layer, neuron)).map_or(0.0, |b| b.value)
            };
            let beta = |(split, high): (&Split, bool)| match *split {
                Split::Neuron(layer, neuron) => {
                    let sign = if high { 1.0 } else { -1.0 };
                    Some(Beta { layer, neuron, sign, value: known(layer, neuron), scale: 0.1 })
                }
                Split::Variable(..) => None,
            };
            let betas = tree.path(node).into_iter().filter_map(beta).collect();
            let slopes = closing.and_then(|c| c.slopes.clone()).unwrap_or_default();
            Open { slack: 0.0, node, slopes, betas }
        };
        let opened = leaves.iter().map(open).collect();
        leaves.iter().for_each(|&node| tree.nodes[node].close.clear());
        opened
    }

    /// Searches until all cases are closed, or it is to stop, or a case has no neuron left. True if all are closed.
    pub fn run(
        &self,
        tree: &mut Tree,
        open: Vec<Open>,
        stop: &Stop<'_>,
        harms: &(dyn Fn(&[Vec<f64>]) -> bool + Sync),
    ) -> bool {
        let mut heap = BinaryHeap::from(open);
        let threads = rayon::current_num_threads();
        while !heap.is_empty() {
            if stop.now() {
                return false;
            }
            let mut batch = Vec::new();
            while batch.len() < BATCH * threads
                && let Some(open) = heap.pop()
            {
                batch.push(open);
            }
            let size = batch.len().div_ceil(threads).max(1);
            let divided: Option<Vec<Divided>> = batch
                .par_chunks(size)
                .map(|part| self.divide(part))
                .reduce(|| Some(vec![]), |a, b| Some([a?, b?].into_iter().flatten().collect()));
            let Some(divided) = divided else { return false };
            for divided in divided {
                if harms(&divided.point) {
                    return false;
                }
                let (low, high) = tree.split(divided.node, Split::Neuron(divided.layer, divided.neuron));
                for (node, (slack, slopes, betas)) in [low, high].into_iter().zip(divided.children) {
                    if slack < -margin(self.bound_of()) {
                        tree.nodes[node].close.push(self.closing(&slopes, &betas));
                    } else {
                        heap.push(Open { slack, node, slopes, betas });
                    }
                }
            }
            stop.report(heap.len(), tree.nodes.len(), heap.peek().map_or(0.0, |open| open.slack));
        }
        true
    }

    fn closing(&self, slopes: &Arc<Slopes>, betas: &[Beta]) -> Closing {
        let used = betas.iter().filter(|b| b.value != 0.0).copied().collect();
        Closing { halfspace: self.halfspace, slopes: Some(Arc::clone(slopes)), betas: used }
    }

    fn whole(&self) -> Open {
        let cases = [self.root];
        let targets = self.targets(&cases);
        let alphas = self.engine.default_alphas(&targets);
        let config = Config { iterations: 5 * self.config.iterations, ..self.config };
        let enough = [-self.bound_of() - margin(self.bound_of())];
        let best = optimise(self.engine, &targets, alphas, vec![vec![]], &enough, &config);
        let slopes = Arc::new(quantise(self.engine, self.root, &best.alphas, 0, self.engine.layers.len()));
        Open { slack: best.bound[0] + self.bound_of(), node: 0, slopes, betas: vec![] }
    }

    /// Splits every case of a batch. `None` if a case has no neuron left.
    fn divide(&self, batch: &[Open]) -> Option<Vec<Divided>> {
        let engine = self.engine;
        let cases: Vec<Case> = batch.iter().map(|open| self.case(&open.betas)).collect();
        let refs: Vec<&Case> = cases.iter().collect();
        let targets = self.targets(&refs);
        let slopes: Vec<&Slopes> = batch.iter().map(|open| &*open.slopes).collect();
        let alphas = self.alphas(&targets, &slopes);
        let betas: Vec<Vec<Beta>> = batch.iter().map(|open| open.betas.clone()).collect();
        let (_, trace) = engine.bound(&targets, Some(&alphas), &betas);
        let primal = engine.primal(&targets, Some(&alphas), &trace);
        // Candidates: the neurons at which the relaxation gives away the most, at its own optimum and at worst.
        let mut candidates: Vec<Vec<(usize, usize, f64)>> = Vec::with_capacity(batch.len());
        for (k, case) in cases.iter().enumerate() {
            let (mut by_gap, mut by_worst) = (vec![], vec![]);
            for (l, range) in case.ranges.iter().enumerate() {
                let Some(gaps) = &primal.gaps[l] else { continue };
                let coefficients = trace.coefficients(engine, l);
                for &i in &range.unstable {
                    let i = i as usize;
                    let v = coefficients.map_or(0.0, |c| c[(i, k)]);
                    let worst = v.abs() * range.gap(i);
                    by_gap.push((gaps[(i, k)], l, i, v.abs()));
                    by_worst.push((worst, l, i, v.abs()));
                }
            }
            let mut chosen: Vec<(usize, usize, f64)> = Vec::new();
            for list in [&mut by_gap, &mut by_worst] {
                list.sort_unstable_by(|a, b| b.0.total_cmp(&a.0));
                for &(_, l, i, v) in list.iter().take(TRIED / 2) {
                    if !chosen.iter().any(|c| (c.0, c.1) == (l, i)) {
                        chosen.push((l, i, v));
                    }
                }
            }
            if chosen.is_empty() {
                return None;
            }
            candidates.push(chosen);
        }
        // Every candidate's two children, by one pass with the slopes of the parent.
        let mut trial_cases: Vec<Case> = Vec::new();
        let mut trial_of: Vec<(usize, usize)> = Vec::new();
        for (k, chosen) in candidates.iter().enumerate() {
            for (c, &(l, i, _)) in chosen.iter().enumerate() {
                for active in [false, true] {
                    trial_cases.push(cases[k].split(engine, l, i, active));
                    trial_of.push((k, c));
                }
            }
        }
        let trial_refs: Vec<&Case> = trial_cases.iter().collect();
        let trials = self.targets(&trial_refs);
        let trial_slopes: Vec<&Slopes> = trial_of.iter().map(|(k, _)| &*batch[*k].slopes).collect();
        let trial_alphas = self.alphas(&trials, &trial_slopes);
        let trial_betas: Vec<Vec<Beta>> = trial_of.iter().map(|(k, _)| batch[*k].betas.clone()).collect();
        let (tried, _) = engine.bound(&trials, Some(&trial_alphas), &trial_betas);
        let mut best: Vec<(f64, usize)> = vec![(f64::NEG_INFINITY, 0); batch.len()];
        for (pair, &(k, c)) in tried.chunks(2).zip(trial_of.iter().step_by(2)) {
            let gain = |bound: f64| {
                let slack = bound + self.bound_of();
                (batch[k].slack - slack.max(-0.1 * batch[k].slack.abs())).max(1e-6 * batch[k].slack.abs())
            };
            let score = gain(pair[0]).ln() + gain(pair[1]).ln();
            if score > best[k].0 {
                best[k] = (score, c);
            }
        }
        // The children of the chosen ones.
        let mut child_cases = Vec::new();
        let (mut child_betas, mut child_slopes) = (Vec::new(), Vec::new());
        for (k, open) in batch.iter().enumerate() {
            let (l, i, scale) = candidates[k][best[k].1];
            for active in [false, true] {
                child_cases.push(cases[k].split(engine, l, i, active));
                let mut betas = open.betas.clone();
                let sign = if active { 1.0 } else { -1.0 };
                betas.push(Beta { layer: l, neuron: i, sign, value: 0.0, scale: scale.max(1e-3) });
                child_betas.push(betas);
                child_slopes.push(&*open.slopes);
            }
        }
        let child_refs: Vec<&Case> = child_cases.iter().collect();
        let children = self.targets(&child_refs);
        let child_alphas = self.alphas(&children, &child_slopes);
        let enough = vec![-self.bound_of() - margin(self.bound_of()); child_cases.len()];
        let found = optimise(engine, &children, child_alphas, child_betas, &enough, &self.config);
        let mut divided = Vec::with_capacity(batch.len());
        for (k, open) in batch.iter().enumerate() {
            let (layer, neuron, _) = candidates[k][best[k].1];
            let child = |c: usize| {
                let slopes = quantise(engine, &child_cases[c], &found.alphas, c, engine.layers.len());
                (found.bound[c] + self.bound_of(), Arc::new(slopes), found.betas[c].clone())
            };
            divided.push(Divided {
                node: open.node,
                point: trace.point(k),
                layer,
                neuron,
                children: vec![child(2 * k), child(2 * k + 1)],
            });
        }
        Some(divided)
    }
}
