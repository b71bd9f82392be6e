//! Branch and bound on the variables, for few of them: every case bounds all its unstable neurons anew, and the variable
//! that moves the bound most is halved.

use super::descent::Point;
use super::tree::{Closing, Refinement, Slopes, Split, Tree, quantise};
use super::{Stop, margin};
use crate::graph::float;
use crate::relax::batch::{Case, Config, Engine, Matrix, Range, Targets, Trace, optimise};
use num::FromPrimitive;
use rayon::prelude::*;
use scalecheck::number::Rational;
use scalecheck::problem::Problem;
use std::sync::Arc;

/// Part of what a layer's relaxations cost that is worth bounding anew.
const WORTH: f64 = 0.995;
/// By which part of a neuron's range the exact rules may raise its upper line: chords are rounded to 16 bits.
const CAUTION: f64 = 1.0 / 131_072.0;
/// Cases after which an attack from the points that the relaxation names is tried, at first.
const FIRST_CLIMB: usize = 4096;
/// Points of such an attack.
const CLIMBERS: usize = 128;
/// Cases that one thread works on together.
const BATCH: usize = 16;

/// A node whose children are to be looked at.
pub struct Open {
    node: usize,
    left: StillOpen,
}

/// What was found about one case.
struct Looked {
    refine: Vec<Refinement>,
    close: Vec<Closing>,
    open: Option<StillOpen>,
    /// Where the relaxed network attains the bounds of open cells.
    points: Vec<Point>,
}

/// What is left of a case that is not closed.
struct StillOpen {
    case: Case,
    /// Cells that no case above has closed.
    cells: Vec<usize>,
    /// Where to halve: block, element.
    split: (usize, usize),
    slack: f64,
}

pub struct Search<'s, 'g> {
    pub engine: &'s Engine<'g>,
    pub problem: &'s Problem,
    pub root: &'s Case,
    /// For the slopes of cells that are still open.
    pub config: Config,
    /// Tensor of each block of variables.
    pub tensors: Vec<usize>,
}

impl Search<'_, '_> {
    /// The whole domain as the only case.
    pub fn start(&self, cells: &[usize]) -> (Tree, Vec<Open>) {
        let (mut tree, mut stack) = (Tree::new(), Vec::new());
        let looked = self.look(&[(self.whole(), cells.to_vec())]).swap_remove(0);
        self.settle(&mut tree, &mut stack, 0, looked);
        (tree, stack)
    }

    fn whole(&self) -> Case {
        let blocks = &self.engine.graph.blocks;
        let domain = blocks.iter().map(|b| (b.lower.clone(), b.upper.clone())).collect();
        Case { domain: Some(Arc::new(domain)), ..self.root.clone() }
    }

    /// Opens leaves again that the exact rules do not close.
    pub fn reopen(&self, tree: &mut Tree, leaves: &[usize], cells: &[usize]) -> Vec<Open> {
        let open = |&node: &usize| {
            let mut case = self.whole();
            let mut domain = case.domain.as_deref().cloned().unwrap_or_default();
            for (split, high) in tree.path(node) {
                let Split::Variable(t, element, at) = split else { continue };
                let Some(block) = self.tensors.iter().position(|own| own == t) else { continue };
                let at = float(&(at - self.problem.tensors[*t].centre.get(*element)));
                let (lower, upper) = &mut domain[block];
                if high {
                    lower[*element] = at;
                } else {
                    upper[*element] = at;
                }
            }
            case.domain = Some(Arc::new(domain));
            let none: Vec<Vec<f64>> = self.engine.graph.blocks.iter().map(|b| vec![1.0; b.lower.len()]).collect();
            let split = self.choose(&case, &vec![None; none.len()], 0, &none);
            Open { node, left: StillOpen { case, cells: cells.to_vec(), split, slack: 0.0 } }
        };
        let stack = leaves.iter().map(open).collect();
        leaves.iter().for_each(|&node| tree.nodes[node].close.clear());
        stack
    }

    /// Searches until all cases are closed, or it is to stop, or `harms` finds that a point reaches an unsafe cell, or
    /// `climb` that one near these does. True if all are closed.
    pub fn run(
        &self,
        tree: &mut Tree,
        mut stack: Vec<Open>,
        stop: &Stop<'_>,
        harms: &(dyn Fn(&[Vec<f64>]) -> bool + Sync),
        climb: &dyn Fn(&[Point], u64) -> bool,
    ) -> bool {
        let mut near: Vec<Point> = Vec::new();
        let (mut next_climb, mut round) = (FIRST_CLIMB, 0);
        let threads = rayon::current_num_threads();
        while !stack.is_empty() {
            if stop.now() {
                return false;
            }
            // Depth first within a window keeps memory small; the worst of the window first.
            let batch = stack.split_off(stack.len().saturating_sub(BATCH * threads / 2));
            let mut cases = Vec::with_capacity(2 * batch.len());
            let mut nodes = Vec::with_capacity(2 * batch.len());
            for Open { node, left: StillOpen { case, cells, split: (block, element), .. } } in batch {
                let (low, high, at) = self.halve(&case, block, element);
                let split = Split::Variable(self.tensors[block], element, at);
                let (a, b) = tree.split(node, split);
                cases.push((low, cells.clone()));
                cases.push((high, cells));
                nodes.extend([a, b]);
            }
            let size = cases.len().div_ceil(threads).max(1);
            let looked: Vec<Looked> = cases.par_chunks(size).flat_map_iter(|part| self.look(part)).collect();
            for (node, looked) in nodes.into_iter().zip(looked) {
                if looked.points.iter().any(|p| harms(p)) {
                    return false;
                }
                near.extend(looked.points.iter().cloned());
                self.settle(tree, &mut stack, node, looked);
            }
            near.drain(..near.len().saturating_sub(CLIMBERS));
            // Now and then, and ever less often, from the points that the relaxation names.
            if tree.nodes.len() > next_climb {
                next_climb += next_climb / 2;
                round += 1;
                if climb(&near, round) {
                    return false;
                }
            }
            stop.report(stack.len(), tree.nodes.len(), stack.last().map_or(0.0, |open| open.left.slack));
        }
        true
    }

    fn settle(&self, tree: &mut Tree, stack: &mut Vec<Open>, node: usize, looked: Looked) {
        tree.nodes[node].refine = looked.refine;
        tree.nodes[node].close = looked.close;
        stack.extend(looked.open.map(|left| Open { node, left }));
    }

    /// The two halves of a case, and the actual value at which it is split, which is exact.
    fn halve(&self, case: &Case, block: usize, element: usize) -> (Case, Case, Rational) {
        let domain = case.domain.clone().unwrap_or_default();
        let (lower, upper) = (domain[block].0[element], domain[block].1[element]);
        // The centre of the problem is short, and so is a middle of few bits.
        let width = upper - lower;
        let unit = 2_f64.powi((width.log2().floor() as i32).saturating_sub(6));
        let middle = ((lower + upper) / 2.0 / unit).round() * unit;
        let centre = self.problem.tensors[self.tensors[block]].centre.get(element);
        let at = centre + Rational::from_f64(middle).unwrap_or_default();
        let child = |low: bool| {
            let mut domain = (*domain).clone();
            if low {
                domain[block].1[element] = middle;
            } else {
                domain[block].0[element] = middle;
            }
            Case { domain: Some(Arc::new(domain)), ranges: case.ranges.clone() }
        };
        (child(true), child(false), at)
    }

    /// The rows of open cells, as targets: (case, halfspace) of every column.
    fn rows(&self, batch: &[(Case, Vec<usize>)], open: impl Fn(usize) -> bool) -> Vec<(usize, usize)> {
        let halfspaces = &self.engine.graph.halfspaces;
        let of_case = |case: usize| {
            let cells = &batch[case].1;
            let wanted = move |h: &usize| cells.contains(&halfspaces[*h].cell);
            (0..halfspaces.len()).filter(wanted).map(move |h| (case, h))
        };
        (0..batch.len()).filter(|&case| open(case)).flat_map(of_case).collect()
    }

    /// The column of every open cell whose row has the smallest slack: (case, cell) → column.
    fn best(&self, columns: &[(usize, usize)], bound: &[f64]) -> Vec<(usize, usize, usize)> {
        let halfspaces = &self.engine.graph.halfspaces;
        let slack = |k: usize| bound[k] + halfspaces[columns[k].1].bound;
        let mut best: Vec<(usize, usize, usize)> = Vec::new();
        for (k, (case, h)) in columns.iter().enumerate() {
            let cell = halfspaces[*h].cell;
            match best.last_mut() {
                Some(last) if (last.0, last.1) == (*case, cell) => {
                    if slack(k) < slack(last.2) {
                        last.2 = k;
                    }
                }
                _ => best.push((*case, cell, k)),
            }
        }
        best
    }

    /// Bounds of the columns, raised by what rounding may change in the exact rules.
    fn cautious(&self, columns: &[(usize, usize)], cases: &[&Case], bound: &[f64], trace: &Trace) -> Vec<f64> {
        let mut raised = bound.to_vec();
        for l in 0..self.engine.layers.len() {
            let Some(v) = trace.coefficients(self.engine, l) else { continue };
            for (k, (case, _)) in columns.iter().enumerate() {
                let range = &cases[*case].ranges[l];
                let rounding = |&i: &u32| {
                    let (low, high) = (range.low[i as usize], range.high[i as usize]);
                    v[(i as usize, k)].abs() * (high - low)
                };
                raised[k] += CAUTION * range.unstable.iter().map(rounding).sum::<f64>();
            }
        }
        raised
    }

    fn closes(&self, halfspace: usize, bound: f64) -> bool {
        let h = &self.engine.graph.halfspaces[halfspace];
        bound + h.bound < -margin(h.bound)
    }

    /// The rows of every case and layer whose relaxation costs an open cell the most, worth bounding anew.
    fn worthwhile(&self, cases: &[Case], best: &[(usize, usize, usize)], trace: &Trace) -> Vec<Vec<Vec<(u32, f64)>>> {
        let engine = self.engine;
        let mut chosen = vec![vec![vec![]; engine.layers.len()]; cases.len()];
        for (case, chosen) in chosen.iter_mut().enumerate() {
            for (l, chosen) in chosen.iter_mut().enumerate() {
                let (Some(v), range) = (trace.coefficients(engine, l), &cases[case].ranges[l]) else { continue };
                let score = |&i: &u32| {
                    let (low, high) = (range.low[i as usize], range.high[i as usize]);
                    let of_case = best.iter().filter(|b| b.0 == case);
                    let v: f64 = of_case.map(|b| v[(i as usize, b.2)].abs()).sum();
                    (v * -low * high / (high - low), i)
                };
                let mut scored: Vec<(f64, u32)> = range.unstable.iter().map(score).collect();
                scored.sort_unstable_by(|a, b| b.0.total_cmp(&a.0));
                let total: f64 = scored.iter().map(|s| s.0).sum();
                let mut sum = 0.0;
                for (score, i) in scored {
                    if sum > WORTH * total || score <= 0.0 {
                        break;
                    }
                    sum += score;
                    let (low, high) = (range.low[i as usize], range.high[i as usize]);
                    chosen.push((i, score / (high - low)));
                }
            }
            chosen.iter_mut().for_each(|rows| rows.sort_unstable_by_key(|(i, _)| *i));
        }
        chosen
    }

    /// Bounds all cases of a batch: what is open of their cells as they are, else after bounding neurons anew.
    fn look(&self, batch: &[(Case, Vec<usize>)]) -> Vec<Looked> {
        let (engine, graph) = (self.engine, self.engine.graph);
        let mut cases: Vec<Case> = batch.iter().map(|(case, _)| case.clone()).collect();
        let mut close: Vec<Vec<Closing>> = vec![vec![]; batch.len()];
        let mut refine: Vec<Vec<Refinement>> = vec![vec![]; batch.len()];
        let columns = self.rows(batch, |_| true);
        let chosen = {
            let refs: Vec<&Case> = cases.iter().collect();
            let (bound, trace) = engine.bound(&engine.halfspaces(&columns, &refs), None, &[]);
            let bound = self.cautious(&columns, &refs, &bound, &trace);
            let mut best = self.best(&columns, &bound);
            // Tighter bounds may change default slopes, so a case is either closed as it is or looked at as a whole.
            for (case, close) in close.iter_mut().enumerate() {
                let mine: Vec<usize> = best.iter().filter(|b| b.0 == case).map(|b| b.2).collect();
                if mine.iter().all(|&k| self.closes(columns[k].1, bound[k])) {
                    let closing = |&k: &usize| Closing { halfspace: columns[k].1, slopes: None, betas: vec![] };
                    *close = mine.iter().map(closing).collect();
                    best.retain(|b| b.0 != case);
                }
            }
            self.worthwhile(&cases, &best, &trace)
        };
        // How much of what relaxations cost moves with each variable.
        let zeros: Vec<Vec<f64>> = graph.blocks.iter().map(|b| vec![0.0; b.lower.len()]).collect();
        let mut influence = vec![zeros; batch.len()];
        for (l, layer) in engine.layers.iter().enumerate() {
            let n = layer.centre.len();
            let rows: Vec<&Vec<(u32, f64)>> = chosen.iter().map(|layers| &layers[l]).collect();
            let columns = 2 * rows.iter().map(|rows| rows.len()).sum::<usize>();
            if columns == 0 {
                continue;
            }
            let (mut coefficients, mut of, mut k) = (Matrix::zeros(n, columns), Vec::with_capacity(columns), 0);
            for (case, rows) in rows.iter().enumerate() {
                for &(i, _) in *rows {
                    coefficients[(i as usize, k)] = 1.0;
                    coefficients[(i as usize, k + 1)] = -1.0;
                    of.extend([case, case]);
                    k += 2;
                }
            }
            let refs: Vec<&Case> = cases.iter().collect();
            let targets = Targets { tensor: layer.tensor, coefficients, cases: &refs, of };
            let (bound, trace) = engine.bound(&targets, None, &[]);
            let mut weights = rows.iter().enumerate().flat_map(|(case, rows)| rows.iter().map(move |r| (case, r.1)));
            for k in (0..bound.len()).step_by(2) {
                let Some((case, weight)) = weights.next() else { break };
                for (influence, v) in influence[case].iter_mut().zip(&trace.variables) {
                    let Some(v) = v else { continue };
                    for (j, influence) in influence.iter_mut().enumerate() {
                        *influence += weight * (v[(j, k)].abs() + v[(j, k + 1)].abs()) / 2.0;
                    }
                }
            }
            let mut found = bound.chunks(2);
            for (case, rows) in rows.iter().enumerate() {
                if rows.is_empty() {
                    continue;
                }
                let range = &cases[case].ranges[l];
                let (mut low, mut high) = (range.low.clone(), range.high.clone());
                for &(i, _) in *rows {
                    let (Some(both), i) = (found.next(), i as usize) else { break };
                    high[i] = high[i].min(both[0] + layer.centre[i]);
                    low[i] = low[i].max(layer.centre[i] - both[1]);
                }
                cases[case].ranges[l] = Arc::new(Range::new(layer, low, high));
                let rows = rows.iter().map(|(i, _)| *i as usize).collect();
                refine[case].push(Refinement { tensor: layer.tensor, rows, side: None, slopes: None });
            }
        }
        // The rows of the cells that are still open, with slopes that are optimised a little.
        let columns = self.rows(batch, |case| close[case].is_empty());
        let refs: Vec<&Case> = cases.iter().collect();
        let targets = engine.halfspaces(&columns, &refs);
        let (raw, trace) = engine.bound(&targets, None, &[]);
        let mut bound = self.cautious(&columns, &refs, &raw, &trace);
        let best = self.best(&columns, &bound);
        // The best row of each cell that is not closed as it is.
        let hard: Vec<usize> = best.iter().map(|b| b.2).filter(|&k| !self.closes(columns[k].1, bound[k])).collect();
        let mut slopes: Vec<Option<Arc<Slopes>>> = vec![None; columns.len()];
        if !hard.is_empty() {
            let picked: Vec<(usize, usize)> = hard.iter().map(|&k| columns[k]).collect();
            let targets = engine.halfspaces(&picked, &refs);
            let alphas = engine.default_alphas(&targets);
            let enough: Vec<f64> =
                picked.iter().map(|(_, h)| -graph.halfspaces[*h].bound - margin(graph.halfspaces[*h].bound)).collect();
            let found = optimise(engine, &targets, alphas, vec![vec![]; picked.len()], &enough, &self.config);
            for (position, &k) in hard.iter().enumerate() {
                bound[k] = bound[k].min(found.bound[position] + bound[k] - raw[k]);
                if self.closes(columns[k].1, bound[k]) {
                    let case = &cases[columns[k].0];
                    slopes[k] = Some(Arc::new(quantise(engine, case, &found.alphas, position, engine.layers.len())));
                }
            }
        }
        let mut looked = Vec::with_capacity(batch.len());
        for case in 0..batch.len() {
            let (mut still, mut worst, mut points) = (vec![], (f64::NEG_INFINITY, 0), vec![]);
            for &(_, cell, k) in best.iter().filter(|b| b.0 == case) {
                let slack = bound[k] + graph.halfspaces[columns[k].1].bound;
                if self.closes(columns[k].1, bound[k]) {
                    close[case].push(Closing { halfspace: columns[k].1, slopes: slopes[k].clone(), betas: vec![] });
                    continue;
                }
                still.push(cell);
                if slack > worst.0 {
                    worst = (slack, k);
                }
                points.push(trace.point(k));
            }
            let open = (!still.is_empty()).then(|| {
                let split = self.choose(&cases[case], &trace.variables, worst.1, &influence[case]);
                StillOpen { case: cases[case].clone(), cells: still, split, slack: worst.0 }
            });
            let refine = std::mem::take(&mut refine[case]);
            looked.push(Looked { refine, close: std::mem::take(&mut close[case]), open, points });
        }
        looked
    }

    /// The variable whose range moves the bound, or what the relaxation gives away, most. What a relaxation gives away
    /// grows with the range of its neuron, and that by the neuron's own coefficients.
    fn choose(&self, case: &Case, coefficients: &[Option<Matrix>], k: usize, influence: &[Vec<f64>]) -> (usize, usize) {
        let mut best = (f64::NEG_INFINITY, (0, 0));
        let Some(domain) = &case.domain else { return best.1 };
        for (block, (lower, upper)) in domain.iter().enumerate() {
            let own = &self.engine.graph.blocks[block];
            for j in 0..lower.len() {
                let width = upper[j] - lower[j];
                let v = coefficients[block].as_ref().map_or(0.0, |c| c[(j, k)].abs());
                let whole = own.upper[j] - own.lower[j];
                let score = (v / 4.0 + influence[block][j]) * width + 1e-9 * width / whole.max(1e-300);
                if width > 0.0 && score > best.0 {
                    best = (score, (block, j));
                }
            }
        }
        best.1
    }
}
