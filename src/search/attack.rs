//! Attack: perturbations of the domain that make a cell's slack large, found by iterated linearisation.
//!
//! A ReLU network is linear around a point; over box and groups a linear function is largest at a vertex that the
//! support function's maximiser names. Going there, or a part of the way, and linearising again climbs to a local
//! maximum in a few steps (Frank–Wolfe with exact steps of 1, 1/2 and 1/4). Starts: the clean input, random
//! vertices, and the strongest patterns of single neurons that are inactive on the clean input.

use crate::graph::{Block, Graph, Op, Pending, Source};
use crate::relax::{State, pre_activations};
use good_lp::{Expression, ProblemVariables, Solution, SolverModel, Variable, constraint, variable};
use nalgebra::{DMatrix, DVector};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

/// How hard to attack.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Random starts for each cell, beside the clean input.
    pub starts: usize,
    pub steps: usize,
    pub seed: u64,
}

impl Default for Config {
    fn default() -> Self {
        Config { starts: 12, steps: 12, seed: 1 }
    }
}

/// Most numbers of all points that are worked on at once.
const MAX_ENTRIES: usize = 1 << 24;
/// Most inactive neurons of one tensor that are tried.
const MAX_SWITCHED: usize = 256;
/// Steps of a subspace's support function; a worse vertex is still a step uphill.
const SUPPORT_EFFORT: usize = 60;

/// The best point found for a cell.
pub struct Found {
    /// The cell's slack there, in floating point.
    pub slack: f64,
    /// Values of the variables, by block.
    pub point: Vec<Vec<f64>>,
}

/// The largest slack found for every cell. `state` has bounds of all tensors: neurons that are unstable in it are what
/// the attack tries to switch.
pub fn attack(graph: &Graph, state: &State, config: &Config) -> Vec<Found> {
    let cells = graph.halfspaces.len();
    let size: usize = graph.blocks.iter().map(|block| block.lower.len()).sum();
    // Support functions of subspaces cost more, and what they find is polished in the end.
    let divisor = if graph.blocks.iter().any(|block| block.subspace.is_some()) { 3 } else { 1 };
    let starts = (config.starts / divisor).min(MAX_ENTRIES / (cells * size).max(1));
    let switched = switched(graph, state, cells);
    let columns = cells * (starts + 1 + usize::from(switched.is_some()));
    let objective = {
        let one = graph.objectives();
        DMatrix::from_fn(one.nrows(), columns, |i, k| one[(i, k % cells)])
    };
    let mut points = start(graph, cells * (starts + 1), cells, config.seed);
    if let Some(switched) = switched {
        for (z, more) in points.iter_mut().zip(switched) {
            let first = z.ncols();
            *z = std::mem::replace(z, DMatrix::zeros(0, 0)).resize_horizontally(columns, 0.0);
            z.columns_mut(first, cells).copy_from(&more);
        }
    }
    graph.keep_in_range(&mut points);
    let mut value = slacks(&objective, &graph.evaluate(&points)[graph.output]);
    for _ in 0..config.steps {
        let gradient = gradient(graph, &points, graph.output, &objective);
        let vertices = graph.vertices(&gradient, SUPPORT_EFFORT);
        let mut moved = false;
        let base = points.clone();
        let mut done = vec![false; columns];
        for part in [1.0, 0.5, 0.25] {
            let mut trial: Vec<DMatrix<f64>> = base.iter().zip(&vertices).map(|(z, v)| z + (v - z) * part).collect();
            graph.keep_in_range(&mut trial);
            let reached = slacks(&objective, &graph.evaluate(&trial)[graph.output]);
            for k in 0..columns {
                if !done[k] && reached[k] > value[k] + 1e-12 {
                    (value[k], done[k], moved) = (reached[k], true, true);
                    points.iter_mut().zip(&trial).for_each(|(z, t)| z.set_column(k, &t.column(k)));
                }
            }
        }
        if !moved {
            break;
        }
    }
    let best =
        |cell: usize| (cell..columns).step_by(cells).max_by(|&a, &b| value[a].total_cmp(&value[b])).unwrap_or(cell);
    (0..cells)
        .map(|cell| {
            let k = best(cell);
            let point = points.iter().map(|z| z.column(k).iter().copied().collect()).collect();
            Found { slack: graph.halfspaces[cell].bound + value[k], point }
        })
        .collect()
}

/// A precise maximiser of the linear function that the graph is, to first order, around a point, for one cell: what a
/// subspace's own support function finds is not good enough to be made exact, and shrinking a point into the valid range
/// may lose all of it. `None` if there is neither.
pub fn polished(graph: &Graph, cell: usize, point: &[Vec<f64>]) -> Option<Vec<Vec<f64>>> {
    let has_subspace = |b: &Block| b.subspace.is_some() || b.tied.as_ref().is_some_and(|t| t.block.subspace.is_some());
    let clipped = graph.clipped().next();
    if clipped.is_none() && !graph.blocks.iter().any(has_subspace) {
        return None;
    }
    let objective = graph.objectives().column(cell).into_owned();
    let columns: Vec<DMatrix<f64>> = point.iter().map(|z| DMatrix::from_column_slice(z.len(), 1, z)).collect();
    let gradient =
        gradient(graph, &columns, graph.output, &DMatrix::from_column_slice(objective.len(), 1, objective.as_slice()));
    if let Some(t) = clipped.filter(|_| graph.blocks.iter().all(|b| b.subspace.is_none() && b.tied.is_none())) {
        return in_range(graph, t, &gradient);
    }
    let vertex = |(block, g): (&Block, &DMatrix<f64>)| block.vertex(g.as_slice());
    graph.blocks.iter().zip(&gradient).map(vertex).collect()
}

/// Maximises a linear function of all variables, with the deviation of tensor `t`, which variables generate, in its known
/// range: a linear program.
fn in_range(graph: &Graph, t: usize, gradient: &[DMatrix<f64>]) -> Option<Vec<Vec<f64>>> {
    let (Op::Affine(terms), Some((low, high))) = (&graph.tensors[t].op, &graph.tensors[t].clip) else { return None };
    let mut problem = ProblemVariables::new();
    let mut add = |block: &Block| -> Vec<Variable> {
        block.lower.iter().zip(&block.upper).map(|(&l, &h)| problem.add(variable().min(l).max(h))).collect()
    };
    let z: Vec<Vec<Variable>> = graph.blocks.iter().map(&mut add).collect();
    let mut deviation = vec![Expression::default(); low.len()];
    for (p, map) in terms {
        let Op::Variables(block) = graph.tensors[*p].op else { return None };
        let n = z[block].len();
        let dense = map.apply(&DMatrix::identity(n, n));
        for (i, d) in deviation.iter_mut().enumerate() {
            (0..n).filter(|&j| dense[(i, j)] != 0.0).for_each(|j| d.add_mul(dense[(i, j)], z[block][j]));
        }
    }
    let goal: Expression = z.iter().zip(gradient).flat_map(|(z, g)| z.iter().zip(g.iter())).map(|(&z, &g)| g * z).sum();
    let mut model = problem.maximise(goal).using(good_lp::solvers::clarabel::clarabel);
    for (d, (&l, &h)) in deviation.into_iter().zip(low.iter().zip(high)) {
        model.add_constraint(constraint!(d.clone() >= l));
        model.add_constraint(constraint!(d <= h));
    }
    for (block, z) in graph.blocks.iter().zip(&z) {
        for group in &block.groups {
            let total: Expression = group.iter().map(|&j| z[j]).sum();
            model.add_constraint(constraint!(total == 0.0));
        }
    }
    let solution = model.solve().ok()?;
    Some(z.iter().map(|z| z.iter().map(|&z| solution.value(z)).collect()).collect())
}

/// For every cell the best of the points that, to first order, raise one inactive neuron the most: a neuron that sleeps
/// on clean inputs, such as a backdoor's, has no gradient to follow. `None` if there is no such neuron.
fn switched(graph: &Graph, state: &State, cells: usize) -> Option<Vec<DMatrix<f64>>> {
    let size: usize = graph.blocks.iter().map(|block| block.lower.len()).sum();
    let room = (MAX_ENTRIES / size.max(1)).min(MAX_SWITCHED);
    let objectives = graph.objectives();
    let mut best: Vec<(f64, Option<Vec<DVector<f64>>>)> = vec![(0.0, None); cells];
    for t in pre_activations(graph) {
        let asleep = state.unstable(graph, t).into_iter().filter(|&i| graph.tensors[t].centre[i] < 0.0);
        let asleep: Vec<usize> = asleep.take(room).collect();
        if asleep.is_empty() {
            continue;
        }
        let target = DMatrix::from_fn(graph.len(t), asleep.len(), |i, k| f64::from(u8::from(i == asleep[k])));
        let clean: Vec<_> = graph.blocks.iter().map(|b| DMatrix::zeros(b.lower.len(), asleep.len())).collect();
        let up = gradient(graph, &clean, t, &target);
        let mut points = graph.vertices(&up, SUPPORT_EFFORT);
        graph.keep_in_range(&mut points);
        let reached = objectives.transpose() * &graph.evaluate(&points)[graph.output];
        for (cell, best) in best.iter_mut().enumerate() {
            for k in 0..asleep.len() {
                if reached[(cell, k)] > best.0 {
                    *best = (reached[(cell, k)], Some(points.iter().map(|z| z.column(k).into_owned()).collect()));
                }
            }
        }
    }
    best.iter().any(|(_, point)| point.is_some()).then(|| {
        let one = |(b, block): (usize, &Block)| {
            let n = block.lower.len();
            let columns: Vec<DVector<f64>> =
                best.iter().map(|(_, p)| p.as_ref().map_or_else(|| DVector::zeros(n), |p| p[b].clone())).collect();
            DMatrix::from_columns(&columns)
        };
        graph.blocks.iter().enumerate().map(one).collect()
    })
}

/// The clean input for the first start of every cell, random vertices for the others.
fn start(graph: &Graph, columns: usize, cells: usize, seed: u64) -> Vec<DMatrix<f64>> {
    let mut rng = SmallRng::seed_from_u64(seed);
    let directions: Vec<DMatrix<f64>> = graph
        .blocks
        .iter()
        .map(|block| {
            let direction = |_, k| if k < cells { 0.0 } else { rng.random_range(-1.0..1.0) };
            DMatrix::from_fn(block.lower.len(), columns, direction)
        })
        .collect();
    let mut points = graph.vertices(&directions, SUPPORT_EFFORT);
    points.iter_mut().for_each(|z| z.columns_mut(0, cells).fill(0.0));
    points
}

/// `objective · d` for every column.
fn slacks(objective: &DMatrix<f64>, output: &DMatrix<f64>) -> Vec<f64> {
    objective.column_iter().zip(output.column_iter()).map(|(a, d)| a.dot(&d)).collect()
}

/// Gradient of every column's objective, over tensor `target`, in the variables, by block.
fn gradient(graph: &Graph, points: &[DMatrix<f64>], target: usize, objective: &DMatrix<f64>) -> Vec<DMatrix<f64>> {
    let values = graph.evaluate(points);
    let mut pending = Pending::new(target, objective.clone());
    let mut result: Vec<DMatrix<f64>> = points.iter().map(|z| DMatrix::zeros(z.nrows(), z.ncols())).collect();
    for t in (0..=target).rev() {
        let Some(mut v) = pending.take(t) else { continue };
        match &graph.tensors[t].op {
            Op::Variables(block) => result[*block] += v,
            Op::Affine(terms) => terms.iter().for_each(|(p, map)| pending.add(*p, map.transposed(&v))),
            Op::Weights(parts) => {
                for part in parts {
                    let (z, block) = (&points[part.block], &mut result[part.block]);
                    let source = part.gradient(graph, &values, z, &v, block);
                    if let Source::Tensor(p) = part.source {
                        pending.add(p, source);
                    }
                }
            }
            Op::ReluPair { base, change } => {
                let (c, w) = (&graph.tensors[*base].centre, &graph.tensors[*change].centre);
                let mut before = v.clone();
                for k in 0..v.ncols() {
                    for i in 0..v.nrows() {
                        let u = c[i] + values[*base][(i, k)];
                        let (was, is) = (u > 0.0, u + w[i] + values[*change][(i, k)] > 0.0);
                        before[(i, k)] *= f64::from(u8::from(is)) - f64::from(u8::from(was));
                        v[(i, k)] *= f64::from(u8::from(is));
                    }
                }
                pending.add(*change, v);
                pending.add(*base, before);
            }
            Op::Relu(from) => {
                let centre = &graph.tensors[*from].centre;
                for k in 0..v.ncols() {
                    for i in 0..v.nrows() {
                        if centre[i] + values[*from][(i, k)] <= 0.0 {
                            v[(i, k)] = 0.0;
                        }
                    }
                }
                pending.add(*from, v);
            }
        }
    }
    result
}
