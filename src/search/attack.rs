//! Attack: perturbations of the domain that make a cell's slack large, found by iterated linearisation.
//!
//! A ReLU network is linear around a point; over box and groups a linear function is largest at a vertex that the
//! support function's maximiser names. Going there, or a part of the way, and linearising again climbs to a local
//! maximum in a few steps (Frank–Wolfe with exact steps of 1, 1/2 and 1/4). Starts: the clean input and random vertices.

use crate::graph::{Graph, Op, Pending};
use nalgebra::DMatrix;
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

/// The best point found for a cell.
pub struct Found {
    /// The cell's slack there, in floating point.
    pub slack: f64,
    /// Values of the variables, by block.
    pub point: Vec<Vec<f64>>,
}

/// The largest slack found for every cell.
pub fn attack(graph: &Graph, config: &Config) -> Vec<Found> {
    let cells = graph.cells.len();
    let columns = cells * (config.starts + 1);
    let objective = {
        let one = graph.objectives();
        DMatrix::from_fn(one.nrows(), columns, |i, k| one[(i, k % cells)])
    };
    let mut points = start(graph, columns, cells, config.seed);
    graph.keep_in_range(&mut points);
    let mut value = slacks(&objective, &graph.evaluate(&points)[graph.output]);
    for _ in 0..config.steps {
        let gradient = gradient(graph, &points, &objective);
        let vertices: Vec<DMatrix<f64>> = graph
            .blocks
            .iter()
            .zip(&gradient)
            .map(|(block, g)| {
                let mut z = DMatrix::zeros(g.nrows(), g.ncols());
                for (g, mut z) in g.column_iter().zip(z.column_iter_mut()) {
                    block.maximiser(g.as_slice(), z.as_mut_slice());
                }
                z
            })
            .collect();
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
            Found { slack: graph.cells[cell].bound + value[k], point }
        })
        .collect()
}

/// The clean input for the first start of every cell, random vertices for the others.
fn start(graph: &Graph, columns: usize, cells: usize, seed: u64) -> Vec<DMatrix<f64>> {
    let mut rng = SmallRng::seed_from_u64(seed);
    graph
        .blocks
        .iter()
        .map(|block| {
            let n = block.lower.len();
            let mut z = DMatrix::zeros(n, columns);
            let mut direction = vec![0.0; n];
            for k in cells..columns {
                direction.iter_mut().for_each(|d| *d = rng.random_range(-1.0..1.0));
                block.maximiser(&direction, z.column_mut(k).as_mut_slice());
            }
            z
        })
        .collect()
}

/// `objective · d` for every column.
fn slacks(objective: &DMatrix<f64>, output: &DMatrix<f64>) -> Vec<f64> {
    objective.column_iter().zip(output.column_iter()).map(|(a, d)| a.dot(&d)).collect()
}

/// Gradient of every column's objective in the variables, by block.
fn gradient(graph: &Graph, points: &[DMatrix<f64>], objective: &DMatrix<f64>) -> Vec<DMatrix<f64>> {
    let values = graph.evaluate(points);
    let mut pending = Pending::new(graph.output, objective.clone());
    let mut result: Vec<DMatrix<f64>> = points.iter().map(|z| DMatrix::zeros(z.nrows(), z.ncols())).collect();
    for t in (0..=graph.output).rev() {
        let Some(mut v) = pending.take(t) else { continue };
        match &graph.tensors[t].op {
            Op::Variables(block) => result[*block] += v,
            Op::Affine(terms) => terms.iter().for_each(|(p, map)| pending.add(*p, map.transposed(&v))),
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
