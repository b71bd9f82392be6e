//! Projected gradient ascent to a point that reaches an unsafe cell (Madry et al. 2018), many starts at once.

use crate::graph::{Block, Graph, Op, Pending};
use nalgebra::DMatrix;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

/// How a search for a point goes.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Starts a cell and round.
    pub starts: usize,
    pub steps: usize,
    /// First step, as a part of every variable's range.
    pub size: f64,
    pub seed: u64,
}

/// Points by block of variables.
pub type Point = Vec<Vec<f64>>;

/// A cell and a point that reaches it in floating point, or the best slack of any cell and its point.
pub struct Found {
    pub slack: f64,
    pub point: Point,
}

/// Smallest slack of the rows of a cell at a point, and that row: the cell is reached where it is not negative.
fn worst(graph: &Graph, output: &DMatrix<f64>, cell: usize, k: usize) -> (f64, usize) {
    let rows = graph.halfspaces.iter().enumerate().filter(|(_, h)| h.cell == cell);
    rows.map(|(position, h)| (h.slack(output, k), position))
        .min_by(|a, b| a.0.total_cmp(&b.0))
        .unwrap_or((f64::NEG_INFINITY, 0))
}

/// Slope of an inactive neuron in a gradient that is to lead out of regions in which the network is constant.
const LEAK: f64 = 0.3;
/// Part of the steps that some starts take with such gradients.
const LEAKY: f64 = 0.6;

/// The gradient of `Σ seed · output` in the variables, at points whose tensors have these values; of column k with slope
/// `leak(k)` of inactive neurons.
fn gradient(
    graph: &Graph,
    values: &[DMatrix<f64>],
    seed: DMatrix<f64>,
    leak: impl Fn(usize) -> f64,
) -> Vec<DMatrix<f64>> {
    let columns = seed.ncols();
    let mut pending = Pending::new(graph.output, seed);
    let mut found: Vec<DMatrix<f64>> = graph.blocks.iter().map(|b| DMatrix::zeros(b.lower.len(), columns)).collect();
    for t in (0..=graph.output).rev() {
        let Some(mut v) = pending.take(t) else { continue };
        match &graph.tensors[t].op {
            Op::Variables(block) => found[*block] += v,
            Op::Affine(terms) => terms.iter().for_each(|(p, map)| pending.add(*p, map.transposed(&v))),
            Op::Relu(from) => {
                let centre = &graph.tensors[*from].centre;
                for (k, (mut v, d)) in v.column_iter_mut().zip(values[*from].column_iter()).enumerate() {
                    let leak = leak(k);
                    for i in 0..v.len() {
                        if centre[i] + d[i] <= 0.0 {
                            v[i] *= leak;
                        }
                    }
                }
                pending.add(*from, v);
            }
            Op::ReluPair { base, change } => {
                let mut both = (v.clone(), v.clone());
                for (k, v) in v.column_iter().enumerate() {
                    let leak = leak(k);
                    for i in 0..v.len() {
                        let slope = |x: f64| if x <= 0.0 { leak } else { 1.0 };
                        let u = graph.tensors[*base].centre[i] + values[*base][(i, k)];
                        let after = slope(u + graph.tensors[*change].centre[i] + values[*change][(i, k)]);
                        both.0[(i, k)] = v[i] * (after - slope(u));
                        both.1[(i, k)] = v[i] * after;
                    }
                }
                pending.add(*base, both.0);
                pending.add(*change, both.1);
            }
            Op::Weights(_) => {}
        }
    }
    found
}

/// The best point of one round of starts for these cells. Only for boxes without groups.
pub fn ascend(graph: &Graph, cells: &[usize], from: &[Point], config: &Config) -> Option<Found> {
    let mut random = SmallRng::seed_from_u64(config.seed);
    let starts = config.starts.max(from.len());
    let columns = cells.len() * starts;
    let cell_of: Vec<usize> = (0..columns).map(|k| cells[k / starts]).collect();
    let mut points: Vec<DMatrix<f64>> = Vec::new();
    for (b, block) in graph.blocks.iter().enumerate() {
        let n = block.lower.len();
        let mut p = DMatrix::zeros(n, columns);
        for k in 0..columns {
            let given = from.get(k % starts);
            // Corners and inner points alike.
            let corner = random.random_bool(0.5);
            for i in 0..n {
                let (low, high) = (block.lower[i], block.upper[i]);
                let u: f64 = random.random();
                let u = if corner { u.round() } else { u };
                p[(i, k)] = given.map_or(low + (high - low) * u, |g| g[b][i].clamp(low, high));
            }
        }
        points.push(p);
    }
    let mut best: Option<Found> = None;
    for step in 0..config.steps {
        let values = graph.evaluate(&points);
        let output = &values[graph.output];
        let mut seed = DMatrix::zeros(output.nrows(), columns);
        for k in 0..columns {
            let (slack, row) = worst(graph, output, cell_of[k], k);
            // All rows that are missed pull, so that they are met together; for every other start the worst alone.
            for (position, h) in graph.halfspaces.iter().enumerate().filter(|(_, h)| h.cell == cell_of[k]) {
                if position == row || (k % 2 == 1 && h.slack(output, k) < 0.0) {
                    h.objective.iter().for_each(|&(i, a)| seed[(i, k)] += a);
                }
            }
            if best.as_ref().is_none_or(|b| slack > b.slack) {
                let point = points.iter().map(|p| p.column(k).iter().copied().collect()).collect();
                best = Some(Found { slack, point });
            }
        }
        if best.as_ref().is_some_and(|b| b.slack > 1e-9) {
            break;
        }
        let early = (step as f64) < LEAKY * config.steps as f64;
        let leak = |k: usize| if early && k % 4 >= 2 { LEAK } else { 0.0 };
        let g = gradient(graph, &values, seed, leak);
        let size = config.size * ((1.0 - step as f64 / config.steps as f64).powi(2) + 0.004);
        for ((p, g), block) in points.iter_mut().zip(&g).zip(&graph.blocks) {
            for (mut p, g) in p.column_iter_mut().zip(g.column_iter()) {
                for i in 0..p.len() {
                    let (low, high) = (block.lower[i], block.upper[i]);
                    if g[i] != 0.0 {
                        p[i] = (p[i] + size * (high - low) * g[i].signum()).clamp(low, high);
                    }
                }
            }
        }
    }
    best
}

/// Of many random points, those with the largest slacks of any of these cells, `best` of them a cell. Only for boxes
/// without groups, and worth it for few variables.
pub fn sample(graph: &Graph, cells: &[usize], points: usize, best: usize, seed: u64) -> Vec<Point> {
    const BATCH: usize = 1000;
    let mut random = SmallRng::seed_from_u64(seed);
    let mut kept: Vec<Vec<(f64, Point)>> = vec![vec![]; cells.len()];
    for _ in 0..points.div_ceil(BATCH) {
        let uniform = |b: &Block, random: &mut SmallRng| {
            DMatrix::from_fn(b.lower.len(), BATCH, |i, _| {
                b.lower[i] + (b.upper[i] - b.lower[i]) * random.random::<f64>()
            })
        };
        let batch: Vec<DMatrix<f64>> = graph.blocks.iter().map(|b| uniform(b, &mut random)).collect();
        let output = graph.evaluate(&batch).swap_remove(graph.output);
        for (kept, &cell) in kept.iter_mut().zip(cells) {
            let point = |k: usize| batch.iter().map(|p| p.column(k).iter().copied().collect()).collect();
            let least = if kept.len() < best { f64::NEG_INFINITY } else { kept[kept.len() - 1].0 };
            let slack = |k: usize| worst(graph, &output, cell, k).0;
            kept.extend((0..BATCH).map(|k| (slack(k), k)).filter(|(s, _)| *s > least).map(|(s, k)| (s, point(k))));
            kept.sort_by(|a, b| b.0.total_cmp(&a.0));
            kept.truncate(best);
        }
    }
    kept.into_iter().flatten().map(|(_, point)| point).collect()
}
