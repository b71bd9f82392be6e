//! Branch and bound on the variables, for few of them: every case bounds all its unstable neurons anew, and the variable
//! that moves the bound most is halved.

use super::tree::{Closing, Refinement, Split, Tree};
use super::{Stop, margin};
use crate::relax::batch::{Case, Engine, Matrix, Range, Targets};
use num::FromPrimitive;
use rayon::prelude::*;
use scalecheck::number::Rational;
use scalecheck::problem::Problem;
use std::sync::Arc;

/// Cases that one thread works on together.
const BATCH: usize = 16;

/// A case whose children are to be looked at.
struct Open {
    case: Case,
    node: usize,
    /// Cells that no case above has closed.
    cells: Vec<usize>,
    /// Where to halve: block, element.
    split: (usize, usize),
    slack: f64,
}

/// What was found about one case.
struct Looked {
    refine: Vec<Refinement>,
    close: Vec<Closing>,
    open: Option<(Case, Vec<usize>, (usize, usize), f64)>,
    points: Vec<Vec<Vec<f64>>>,
}

pub struct Search<'s, 'g> {
    pub engine: &'s Engine<'g>,
    pub problem: &'s Problem,
    pub root: &'s Case,
    /// Tensor of each block of variables.
    pub tensors: Vec<usize>,
}

pub enum End {
    Proven(Tree),
    Open,
}

impl Search<'_, '_> {
    /// Searches until all cases are closed or it is to stop; `harms` is given points that may reach an unsafe cell.
    pub fn run(&self, cells: Vec<usize>, stop: &Stop<'_>, harms: &(dyn Fn(&[Vec<f64>]) -> bool + Sync)) -> End {
        let mut tree = Tree::new();
        let mut stack: Vec<Open> = Vec::new();
        let mut root = self.root.clone();
        let blocks = &self.engine.graph.blocks;
        root.domain = Some(Arc::new(blocks.iter().map(|b| (b.lower.clone(), b.upper.clone())).collect()));
        let looked = self.look(&[(root, cells)]).swap_remove(0);
        self.settle(&mut tree, &mut stack, 0, looked);
        let threads = rayon::current_num_threads();
        while !stack.is_empty() {
            if stop.now() {
                return End::Open;
            }
            // Depth first within a window keeps memory small; the worst of the window first.
            let mut batch = stack.split_off(stack.len().saturating_sub(BATCH * threads / 2));
            let mut cases = Vec::with_capacity(2 * batch.len());
            let mut nodes = Vec::with_capacity(2 * batch.len());
            for open in &mut batch {
                let (block, element) = open.split;
                let (low, high, at) = self.halve(&open.case, block, element);
                let split = Split::Variable(self.tensors[block], element, at);
                let (a, b) = tree.split(open.node, split);
                let cells = std::mem::take(&mut open.cells);
                cases.push((low, cells.clone()));
                cases.push((high, cells));
                nodes.extend([a, b]);
            }
            let size = cases.len().div_ceil(threads).max(1);
            let looked: Vec<Looked> = cases.par_chunks(size).flat_map_iter(|part| self.look(part)).collect();
            for (node, looked) in nodes.into_iter().zip(looked) {
                if looked.points.iter().any(|p| harms(p)) {
                    return End::Open;
                }
                self.settle(&mut tree, &mut stack, node, looked);
            }
            stop.report(stack.len(), tree.nodes.len(), stack.last().map_or(0.0, |open| open.slack));
        }
        End::Proven(tree)
    }

    fn settle(&self, tree: &mut Tree, stack: &mut Vec<Open>, node: usize, looked: Looked) {
        tree.nodes[node].refine = looked.refine;
        tree.nodes[node].close = looked.close;
        if let Some((case, cells, split, slack)) = looked.open {
            stack.push(Open { case, node, cells, split, slack });
        }
    }

    /// The two halves of a case, and the actual value at which it is split, which is exact.
    fn halve(&self, case: &Case, block: usize, element: usize) -> (Case, Case, Rational) {
        let domain = case.domain.clone().unwrap_or_default();
        let (lower, upper) = (domain[block].0[element], domain[block].1[element]);
        // The centre of the problem is short, and so is a middle of few bits.
        let width = upper - lower;
        let unit = 2_f64.powi(width.log2().floor() as i32 - 6);
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

    /// Bounds all cases of a batch: layer by layer their unstable neurons, then what is open of their cells.
    fn look(&self, batch: &[(Case, Vec<usize>)]) -> Vec<Looked> {
        let (engine, graph) = (self.engine, self.engine.graph);
        let mut cases: Vec<Case> = batch.iter().map(|(case, _)| case.clone()).collect();
        let mut refine: Vec<Vec<Refinement>> = vec![vec![]; batch.len()];
        for (l, layer) in engine.layers.iter().enumerate() {
            let n = layer.centre.len();
            let rows: Vec<Vec<u32>> = cases.iter().map(|case| case.ranges[l].unstable.clone()).collect();
            let columns = 2 * rows.iter().map(Vec::len).sum::<usize>();
            if columns == 0 {
                continue;
            }
            let (mut coefficients, mut of, mut k) = (Matrix::zeros(n, columns), Vec::with_capacity(columns), 0);
            for (case, rows) in rows.iter().enumerate() {
                for &i in rows {
                    coefficients[(i as usize, k)] = 1.0;
                    coefficients[(i as usize, k + 1)] = -1.0;
                    of.extend([case, case]);
                    k += 2;
                }
            }
            let refs: Vec<&Case> = cases.iter().collect();
            let (bound, _) = engine.bound(&Targets { tensor: layer.tensor, coefficients, cases: &refs, of }, None, &[]);
            let mut found = bound.chunks(2);
            for (case, rows) in rows.iter().enumerate() {
                if rows.is_empty() {
                    continue;
                }
                let range = &cases[case].ranges[l];
                let (mut low, mut high) = (range.low.clone(), range.high.clone());
                for &i in rows {
                    let (Some(both), i) = (found.next(), i as usize) else { break };
                    high[i] = high[i].min(both[0] + layer.centre[i]);
                    low[i] = low[i].max(layer.centre[i] - both[1]);
                }
                cases[case].ranges[l] = Arc::new(Range::new(layer, low, high));
                let rows = rows.iter().map(|&i| i as usize).collect();
                refine[case].push(Refinement { tensor: layer.tensor, rows, side: None, slopes: None });
            }
        }
        // The rows of the cells.
        let mut columns: Vec<(usize, usize)> = Vec::new();
        for (case, (_, cells)) in batch.iter().enumerate() {
            let rows = graph.halfspaces.iter().enumerate().filter(|(_, h)| cells.contains(&h.cell));
            columns.extend(rows.map(|(h, _)| (case, h)));
        }
        let mut coefficients = Matrix::zeros(graph.len(graph.output), columns.len());
        for (k, (_, h)) in columns.iter().enumerate() {
            graph.halfspaces[*h].objective.iter().for_each(|&(i, a)| coefficients[(i, k)] += a);
        }
        let refs: Vec<&Case> = cases.iter().collect();
        let of = columns.iter().map(|(case, _)| *case).collect();
        let targets = Targets { tensor: graph.output, coefficients, cases: &refs, of };
        let (bound, trace) = engine.bound(&targets, None, &[]);
        let mut looked = Vec::with_capacity(batch.len());
        for (case, (_, cells)) in batch.iter().enumerate() {
            let (mut close, mut still, mut worst) = (vec![], vec![], (f64::NEG_INFINITY, 0));
            let mut points = vec![];
            for &cell in cells {
                let of_cell = |k: &usize| columns[*k].0 == case && graph.halfspaces[columns[*k].1].cell == cell;
                let slack = |k: usize| bound[k] + graph.halfspaces[columns[k].1].bound;
                let Some(k) = (0..columns.len()).filter(of_cell).min_by(|&a, &b| slack(a).total_cmp(&slack(b))) else {
                    continue;
                };
                if slack(k) < -margin(graph.halfspaces[columns[k].1].bound) {
                    close.push(Closing { halfspace: columns[k].1, slopes: None, betas: vec![] });
                } else {
                    still.push(cell);
                    if slack(k) > worst.0 {
                        worst = (slack(k), k);
                    }
                    let at = trace.maximiser.iter();
                    points.push(
                        at.map(|m| m.as_ref().map_or(vec![], |m| m.column(k).iter().copied().collect())).collect(),
                    );
                }
            }
            let open = (!still.is_empty()).then(|| {
                let split = self.choose(&cases[case], &trace.variables, worst.1);
                (cases[case].clone(), still, split, worst.0)
            });
            looked.push(Looked { refine: std::mem::take(&mut refine[case]), close, open, points });
        }
        looked
    }

    /// The variable whose range moves the bound most.
    fn choose(&self, case: &Case, coefficients: &[Option<Matrix>], k: usize) -> (usize, usize) {
        let mut best = (f64::NEG_INFINITY, (0, 0));
        let Some(domain) = &case.domain else { return best.1 };
        for (block, (lower, upper)) in domain.iter().enumerate() {
            let own = &self.engine.graph.blocks[block];
            for j in 0..lower.len() {
                let width = upper[j] - lower[j];
                let v = coefficients[block].as_ref().map_or(0.0, |c| c[(j, k)].abs());
                let whole = own.upper[j] - own.lower[j];
                let score = match std::env::var("SB").as_deref() {
                    Ok("1") => width / whole.max(1e-300),
                    Ok("2") => width,
                    Ok("3") => (v * width).max(1e-6) * (width / whole.max(1e-300)),
                    Ok("4") => (v * width).max(1e-6) * (width / whole.max(1e-300)).sqrt(),
                    _ => v * width + 1e-6 * width / whole.max(1e-300),
                };
                if width > 0.0 && score > best.0 {
                    best = (score, (block, j));
                }
            }
        }
        best.1
    }
}
