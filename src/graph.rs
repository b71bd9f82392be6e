//! The problem in floating point: what the untrusted search computes with. Shapes: a matrix holds one point or one
//! target a column; a tensor's elements are its rows.

use nalgebra::DMatrix;
use num::ToPrimitive;
use scalecheck::linear::{Linear, Pattern};
use scalecheck::number::Rational;
use scalecheck::problem::{self, Problem};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};

/// A linear map in `f64`.
pub enum Map {
    /// `y[i] = weights[i] · x[index[i]]`.
    Gather { inputs: usize, index: Vec<usize>, weights: Vec<f64> },
    /// `y[o,r,i] = Σ_c w[r,c] x[o,c,i]`.
    Dense { outer: usize, inner: usize, w: DMatrix<f64> },
}

impl Map {
    fn new(linear: &Linear) -> Map {
        let weights = linear.weights();
        let scale = 2_f64.powi(-weights.exp());
        let w: Vec<f64> = weights.mantissas().iter().map(|&m| m as f64 * scale).collect();
        match linear.pattern() {
            Pattern::Gather(index) => Map::Gather {
                inputs: linear.inputs(),
                index: index.iter().map(|&i| i as usize).collect(),
                weights: if w.len() == 1 { vec![w[0]; index.len()] } else { w },
            },
            &Pattern::Dense { outer, rows, cols, inner } => {
                Map::Dense { outer, inner, w: DMatrix::from_row_slice(rows, cols, &w) }
            }
        }
    }

    /// `W x` for every column.
    pub fn apply(&self, x: &DMatrix<f64>) -> DMatrix<f64> {
        match self {
            Map::Gather { index, weights, .. } => {
                DMatrix::from_fn(index.len(), x.ncols(), |i, k| weights[i] * x[(index[i], k)])
            }
            Map::Dense { outer: 1, inner: 1, w } => w * x,
            Map::Dense { outer, inner, w } => slices(x, *outer, *inner, w.ncols(), w.nrows(), |part| w * part),
        }
    }

    /// `Wᵀ v` for every column.
    pub fn transposed(&self, v: &DMatrix<f64>) -> DMatrix<f64> {
        match self {
            Map::Gather { inputs, index, weights } => {
                let mut x = DMatrix::zeros(*inputs, v.ncols());
                for k in 0..v.ncols() {
                    for (i, &from) in index.iter().enumerate() {
                        x[(from, k)] += weights[i] * v[(i, k)];
                    }
                }
                x
            }
            Map::Dense { outer: 1, inner: 1, w } => w.tr_mul(v),
            Map::Dense { outer, inner, w } => slices(v, *outer, *inner, w.nrows(), w.ncols(), |part| w.tr_mul(&part)),
        }
    }

    /// Which inputs have an entry with a marked output.
    fn touched(&self, marked: &[bool]) -> Vec<bool> {
        let marks = DMatrix::from_fn(marked.len(), 1, |i, _| f64::from(u8::from(marked[i])));
        let counts = match self {
            Map::Gather { inputs, index, weights } => {
                let weights = weights.iter().map(|w| w.abs()).collect();
                Map::Gather { inputs: *inputs, index: index.clone(), weights }.transposed(&marks)
            }
            Map::Dense { outer, inner, w } => {
                Map::Dense { outer: *outer, inner: *inner, w: w.abs() }.transposed(&marks)
            }
        };
        counts.iter().map(|&count| count > 0.0).collect()
    }

    /// Interval image of a box given by centre and radius: `(W m, |W| r)`.
    pub fn interval(&self, middle: &DMatrix<f64>, radius: &DMatrix<f64>) -> (DMatrix<f64>, DMatrix<f64>) {
        let spread = match self {
            Map::Gather { index, weights, .. } => {
                DMatrix::from_fn(index.len(), 1, |i, _| weights[i].abs() * radius[(index[i], 0)])
            }
            Map::Dense { outer, inner, w } => {
                let w = w.abs();
                slices(radius, *outer, *inner, w.ncols(), w.nrows(), |part| &w * part)
            }
        };
        (self.apply(middle), spread)
    }
}

/// Applies `f` to every slice `[:, axis, :]` of columns seen as tensors `[outer, from, inner]`.
fn slices(
    x: &DMatrix<f64>,
    outer: usize,
    inner: usize,
    from: usize,
    to: usize,
    f: impl Fn(DMatrix<f64>) -> DMatrix<f64>,
) -> DMatrix<f64> {
    let mut out = DMatrix::zeros(outer * to * inner, x.ncols());
    for o in 0..outer {
        for i in 0..inner {
            let part = DMatrix::from_fn(from, x.ncols(), |c, k| x[((o * from + c) * inner + i, k)]);
            let image = f(part);
            for k in 0..x.ncols() {
                for r in 0..to {
                    out[((o * to + r) * inner + i, k)] = image[(r, k)];
                }
            }
        }
    }
    out
}

/// How a tensor's deviation follows from earlier ones.
pub enum Op {
    Variables(usize),
    Affine(Vec<(usize, Arc<Map>)>),
    Relu(usize),
}

pub struct Tensor {
    pub op: Op,
    /// Value at the clean input.
    pub centre: Vec<f64>,
    /// Known range of the deviation.
    pub clip: Option<(Vec<f64>, Vec<f64>)>,
}

/// A block of variables: a box with zero-sum groups.
pub struct Block {
    pub lower: Vec<f64>,
    pub upper: Vec<f64>,
    pub groups: Vec<Vec<usize>>,
    pub ungrouped: Vec<usize>,
}

/// The slack `bound + objective · d` of a one-row cell, to be shown negative.
pub struct Cell {
    pub objective: Vec<(usize, f64)>,
    pub bound: f64,
}

pub struct Graph {
    pub tensors: Vec<Tensor>,
    pub blocks: Vec<Block>,
    pub cells: Vec<Cell>,
    pub output: usize,
}

/// Maps that several problems of one model share, by the identity of the exact map.
#[derive(Default)]
pub struct Maps(Mutex<HashMap<usize, Known>>);

/// An exact map and its image. Both are kept, so that an address is never reused for another map.
type Known = (Arc<Linear>, Arc<Map>);

impl Maps {
    fn get(&self, linear: &Arc<Linear>) -> Arc<Map> {
        let mut known = self.0.lock().unwrap_or_else(|e| e.into_inner());
        let key = Arc::as_ptr(linear) as usize;
        let (_, map) = known.entry(key).or_insert_with(|| (Arc::clone(linear), Arc::new(Map::new(linear))));
        Arc::clone(map)
    }
}

/// Nearest `f64` of an exact number.
pub fn float(x: &Rational) -> f64 {
    x.to_f64().unwrap_or(f64::NAN)
}

fn floats(values: &[Rational]) -> Vec<f64> {
    values.iter().map(float).collect()
}

impl Graph {
    pub fn new(problem: &Problem, maps: &Maps) -> Graph {
        let tensors = problem.tensors.iter().map(|t| Tensor {
            op: match &t.op {
                problem::Op::Variables(block) => Op::Variables(*block),
                problem::Op::Relu(from) => Op::Relu(*from),
                problem::Op::Affine(terms) => Op::Affine(terms.iter().map(|(p, w)| (*p, maps.get(w))).collect()),
            },
            centre: floats(&t.centre.to_rationals()),
            clip: t.clip.as_ref().map(|(low, high)| (floats(low), floats(high))),
        });
        let blocks = problem.domain.iter().map(|v| {
            let groups: Vec<Vec<usize>> = v.groups.iter().map(|g| g.iter().map(|&j| j as usize).collect()).collect();
            let mut free = vec![true; v.lower.len()];
            groups.iter().flatten().for_each(|&j| free[j] = false);
            let ungrouped = (0..free.len()).filter(|&j| free[j]).collect();
            Block { lower: floats(&v.lower), upper: floats(&v.upper), groups, ungrouped }
        });
        let cells = problem.cells.iter().map(|cell| {
            let row = &cell.rows[0];
            Cell { objective: row.terms.iter().map(|&(i, a)| (i, -(a as f64))).collect(), bound: float(&row.bound) }
        });
        Graph { tensors: tensors.collect(), blocks: blocks.collect(), cells: cells.collect(), output: problem.output }
    }

    pub fn len(&self, t: usize) -> usize {
        self.tensors[t].centre.len()
    }

    /// The cells' objectives, one a column.
    pub fn objectives(&self) -> DMatrix<f64> {
        let mut matrix = DMatrix::zeros(self.len(self.output), self.cells.len());
        for (k, cell) in self.cells.iter().enumerate() {
            cell.objective.iter().for_each(|&(i, a)| matrix[(i, k)] = a);
        }
        matrix
    }

    /// Every tensor's deviation at points of the domain, one a column.
    pub fn evaluate(&self, points: &[DMatrix<f64>]) -> Vec<DMatrix<f64>> {
        let mut values: Vec<DMatrix<f64>> = Vec::with_capacity(self.tensors.len());
        for tensor in &self.tensors {
            let value = match &tensor.op {
                Op::Variables(block) => points[*block].clone(),
                Op::Affine(terms) => sum(terms.iter().map(|(p, map)| map.apply(&values[*p]))),
                Op::Relu(from) => {
                    let centre = &self.tensors[*from].centre;
                    let mut value = values[*from].clone();
                    for mut column in value.column_iter_mut() {
                        for (d, c) in column.iter_mut().zip(centre) {
                            *d = (c + *d).max(0.0) - c.max(0.0);
                        }
                    }
                    value
                }
            };
            values.push(value);
        }
        values
    }
}

impl Graph {
    /// Tensors whose deviation has a known range that their variables' boxes do not imply.
    pub fn clipped(&self) -> impl Iterator<Item = usize> {
        let is_clipped = |t: &usize| self.tensors[*t].clip.is_some() && matches!(self.tensors[*t].op, Op::Affine(_));
        (0..self.tensors.len()).filter(is_clipped)
    }

    /// The variables, by block, that move marked elements of an affine tensor; whole groups of them.
    pub fn movers(&self, t: usize, marked: &[bool]) -> Vec<Vec<bool>> {
        let mut movers: Vec<Vec<bool>> = self.blocks.iter().map(|b| vec![false; b.lower.len()]).collect();
        let Op::Affine(terms) = &self.tensors[t].op else { return movers };
        for (p, map) in terms {
            let Op::Variables(block) = self.tensors[*p].op else { continue };
            let touched = map.touched(marked);
            movers[block].iter_mut().zip(touched).for_each(|(m, t)| *m |= t);
            for group in &self.blocks[block].groups {
                if group.iter().any(|&j| movers[block][j]) {
                    group.iter().for_each(|&j| movers[block][j] = true);
                }
            }
        }
        movers
    }

    /// Shrinks the variables that push a tensor out of its known range, in every column, until none does.
    pub fn keep_in_range(&self, points: &mut [DMatrix<f64>]) {
        const ROUNDS: usize = 10;
        if self.clipped().next().is_none() {
            return;
        }
        for round in 0..4 * ROUNDS {
            let values = self.evaluate(points);
            let mut moved = false;
            for t in self.clipped() {
                let Some((low, high)) = &self.tensors[t].clip else { continue };
                for k in 0..values[t].ncols() {
                    let outside = |(i, d): (usize, &f64)| *d < low[i] || *d > high[i];
                    let marked: Vec<bool> = values[t].column(k).iter().enumerate().map(outside).collect();
                    if marked.iter().any(|&m| m) {
                        moved = true;
                        let factor = if round < ROUNDS { 0.75 } else { 0.0 };
                        for (z, movers) in points.iter_mut().zip(self.movers(t, &marked)) {
                            z.column_mut(k).iter_mut().zip(movers).filter(|(_, m)| *m).for_each(|(z, _)| *z *= factor);
                        }
                    }
                }
            }
            if !moved {
                return;
            }
        }
    }
}

/// Coefficients that wait at tensors during a backward pass.
pub struct Pending(Vec<Option<DMatrix<f64>>>);

impl Pending {
    /// Coefficients at one tensor only.
    pub fn new(t: usize, coefficients: DMatrix<f64>) -> Self {
        let mut pending = vec![None; t + 1];
        pending[t] = Some(coefficients);
        Pending(pending)
    }

    pub fn take(&mut self, t: usize) -> Option<DMatrix<f64>> {
        self.0[t].take()
    }

    pub fn add(&mut self, t: usize, part: DMatrix<f64>) {
        self.0[t] = Some(match self.0[t].take() {
            Some(earlier) => earlier + part,
            None => part,
        });
    }
}

/// The sum of at least one matrix.
pub fn sum(parts: impl Iterator<Item = DMatrix<f64>>) -> DMatrix<f64> {
    parts.reduce(|a, b| a + b).unwrap_or_default()
}

impl Block {
    /// The point of the block at which `v · z` is largest: each variable at an end of its range, but for one in each
    /// group, which makes the group sum to zero.
    pub fn maximiser(&self, v: &[f64], z: &mut [f64]) {
        for &j in &self.ungrouped {
            z[j] = if v[j] > 0.0 { self.upper[j] } else { self.lower[j] };
        }
        let mut order = Vec::new();
        for group in &self.groups {
            order.clear();
            order.extend_from_slice(group);
            order.sort_unstable_by(|&a, &b| v[b].total_cmp(&v[a]));
            // Start with all at their lower ends and raise the most valuable first, until the sum is zero.
            let mut missing: f64 = -group.iter().map(|&j| self.lower[j]).sum::<f64>();
            for &j in &order {
                let room = self.upper[j] - self.lower[j];
                z[j] = if missing >= room { self.upper[j] } else { self.lower[j] + missing.max(0.0) };
                missing -= room;
            }
        }
    }

    /// The largest value of `v · z`.
    pub fn support(&self, v: &[f64], scratch: &mut [f64]) -> f64 {
        self.maximiser(v, scratch);
        v.iter().zip(scratch.iter()).map(|(v, z)| v * z).sum()
    }
}
