//! Branch and bound on the variables, for few of them: every case bounds all its unstable neurons anew, and the variable
//! that moves the bound most is halved.

use super::anew::Row;
use super::descent::Point;
use super::tree::{Closing, Refinement, Slopes, Split, Tree, quantise};
use super::{Stop, margin};
use crate::graph::float;
use crate::relax::batch::{Case, Config, Engine, Matrix, Trace, optimise};
use num::FromPrimitive;
use rayon::prelude::*;
use scalecheck::number::Rational;
use scalecheck::problem::Problem;
use std::sync::Arc;

/// Levels of a tree at which bounds are stated for all cases below.
const STATED: usize = 6;
/// By which part of a neuron's range the exact rules may raise its upper line: chords are rounded to 16 bits.
const CAUTION: f64 = 1.0 / 131_072.0;
/// Cases after which an attack from the points that the relaxation names is tried, at first.
const FIRST_CLIMB: usize = 1024;
/// Points of such an attack.
const CLIMBERS: usize = 128;
/// Cases that one thread works on together.
const BATCH: usize = 16;

/// A node whose children are to be looked at.
pub struct Open {
    node: usize,
    left: StillOpen,
}

/// A case, its cells that no case above has closed, and the splits above it.
pub struct Looking {
    case: Case,
    cells: Vec<usize>,
    depth: usize,
}

/// What was found about one case.
#[derive(Default)]
struct Looked {
    refine: Vec<Refinement>,
    close: Vec<Closing>,
    open: Option<StillOpen>,
    /// Where the relaxed network attains the bounds of open cells.
    points: Vec<Point>,
}

/// What is left of a case that is not closed.
struct StillOpen {
    open: Looking,
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
        let whole = Looking { case: self.whole(), cells: cells.to_vec(), depth: 0 };
        let looked = self.look(vec![whole]).swap_remove(0);
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
            let open = Looking { case, cells: cells.to_vec(), depth: tree.path(node).len() };
            Open { node, left: StillOpen { open, split, slack: 0.0 } }
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
            for Open { node, left: StillOpen { open, split: (block, element), .. } } in batch {
                let (low, high, at) = self.halve(&open.case, block, element);
                let split = Split::Variable(self.tensors[block], element, at);
                let (a, b) = tree.split(node, split);
                let half = |case: Case| Looking { case, cells: open.cells.clone(), depth: open.depth + 1 };
                cases.extend([half(low), half(high)]);
                nodes.extend([a, b]);
            }
            let size = cases.len().div_ceil(threads).max(1);
            let looked: Vec<Looked> =
                cases.into_par_iter().chunks(size).flat_map_iter(|part| self.look(part)).collect();
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
                next_climb *= 2;
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
    fn rows(&self, batch: &[Looking]) -> Vec<(usize, usize)> {
        let halfspaces = &self.engine.graph.halfspaces;
        let of_case = |(case, looking): (usize, &Looking)| {
            let wanted = |&(_, h): &(usize, usize)| looking.cells.contains(&halfspaces[h].cell);
            (0..halfspaces.len()).map(move |h| (case, h)).filter(wanted).collect::<Vec<_>>()
        };
        batch.iter().enumerate().flat_map(of_case).collect()
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
    pub fn cautious(&self, columns: &[(usize, usize)], cases: &[&Case], bound: &[f64], trace: &Trace) -> Vec<f64> {
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

    pub fn closes(&self, halfspace: usize, bound: f64) -> bool {
        let h = &self.engine.graph.halfspaces[halfspace];
        bound + h.bound < -margin(h.bound)
    }

    /// Looks at all cases of a batch: what closes as it is, else with unstable neurons bounded anew.
    fn look(&self, batch: Vec<Looking>) -> Vec<Looked> {
        let columns = self.rows(&batch);
        let refs: Vec<&Case> = batch.iter().map(|looking| &looking.case).collect();
        let targets = self.engine.halfspaces(&columns, &refs);
        let (bound, trace) = self.engine.bound(&targets, None, &[]);
        let bound = self.cautious(&columns, &refs, &bound, &trace);
        let best = self.best(&columns, &bound);
        // Tighter bounds may change default slopes, so a case is either closed as it is or looked at as a whole.
        let closed = |case: usize| -> Option<Vec<Closing>> {
            let of_case = best.iter().filter(|b| b.0 == case);
            of_case.map(|b| self.closing(columns[b.2].1, bound[b.2], None)).collect()
        };
        let closed: Vec<_> = (0..batch.len()).map(closed).collect();
        // A default slope of 0 would hide what lies behind it.
        let (_, trace) = self.engine.bound(&targets, Some(&self.engine.chords(&targets)), &[]);
        let rows = self.unstable(&refs, &best, &trace);
        let (mut left, mut chosen) = (vec![], vec![]);
        for ((looking, rows), closed) in batch.into_iter().zip(rows).zip(&closed) {
            if closed.is_none() {
                left.push(looking);
                chosen.push(rows);
            }
        }
        let mut again = self.look_again(left, &chosen).into_iter();
        let looked = |close: Option<Vec<Closing>>| match close {
            Some(close) => Looked { close, ..Looked::default() },
            None => again.next().unwrap_or_default(),
        };
        closed.into_iter().map(looked).collect()
    }

    /// Looks at cases with these neurons bounded anew.
    fn look_again(&self, batch: Vec<Looking>, chosen: &[Vec<Vec<Row>>]) -> Vec<Looked> {
        let (engine, graph) = (self.engine, self.engine.graph);
        let mut cases: Vec<Case> = batch.iter().map(|looking| looking.case.clone()).collect();
        let (mut refine, influence) = self.anew(&mut cases, chosen);
        let columns = self.rows(&batch);
        let refs: Vec<&Case> = cases.iter().collect();
        let (raw, trace) = engine.bound(&engine.halfspaces(&columns, &refs), None, &[]);
        let mut bound = self.cautious(&columns, &refs, &raw, &trace);
        let best = self.best(&columns, &bound);
        let mut slopes: Vec<Option<Arc<Slopes>>> = vec![None; columns.len()];
        // The best row of each cell that is not closed as it is.
        let hard = |b: &&(usize, usize, usize)| !self.closes(columns[b.2].1, bound[b.2]);
        let hard: Vec<usize> = best.iter().filter(hard).map(|b| b.2).collect();
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
        let inherited: Vec<&Case> = batch.iter().map(|looking| &looking.case).collect();
        let with_defaults = |case: usize| -> Vec<usize> {
            let of_case = best.iter().filter(|b| b.0 == case).map(|b| b.2);
            let closes = |k: &usize| slopes[*k].is_none() && self.closes(columns[*k].1, bound[*k]);
            if of_case.clone().all(|k| closes(&k)) { of_case.collect() } else { vec![] }
        };
        let closed: Vec<Vec<usize>> = (0..batch.len()).map(with_defaults).collect();
        self.trim(&inherited, &cases, &columns, &closed, &trace, &mut refine);
        let look = |(case, looking): (usize, Looking)| {
            let refine = std::mem::take(&mut refine[case]);
            let (mut left, mut close, mut worst, mut points) = (vec![], vec![], (f64::NEG_INFINITY, 0), vec![]);
            for &(_, cell, k) in best.iter().filter(|b| b.0 == case) {
                if let Some(closing) = self.closing(columns[k].1, bound[k], slopes[k].clone()) {
                    close.push(closing);
                    continue;
                }
                left.push(cell);
                points.push(trace.point(k));
                let slack = bound[k] + graph.halfspaces[columns[k].1].bound;
                if slack > worst.0 {
                    worst = (slack, k);
                }
            }
            if left.is_empty() {
                return Looked { refine, close, ..Looked::default() };
            }
            let split = self.choose(&cases[case], &trace.variables, worst.1, &influence[case]);
            // What was bounded anew here is bounded anew below as well; it is stated where cells are closed by it, and
            // now and then for all that comes below.
            let stated = !close.is_empty() || looking.depth.is_multiple_of(STATED);
            let (refine, case) = if stated { (refine, cases[case].clone()) } else { (vec![], looking.case) };
            let open = Looking { case, cells: left, depth: looking.depth };
            Looked { refine, close, open: Some(StillOpen { open, split, slack: worst.0 }), points }
        };
        batch.into_iter().enumerate().map(look).collect()
    }

    /// The closing of a halfspace's cell, if this bound excludes it.
    fn closing(&self, halfspace: usize, bound: f64, slopes: Option<Arc<Slopes>>) -> Option<Closing> {
        self.closes(halfspace, bound).then(|| Closing { halfspace, slopes, betas: vec![] })
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
