//! Back-substitution of many targets at once (CROWN, Zhang et al. 2018; DeepPoly, Singh et al. 2019).
//!
//! A target is a column of coefficients over one tensor; the pass bounds all of them from above.

use super::pair::Pair;
use super::{Line, State, interval, pre_activations};
use crate::graph::{Graph, Op, Pending, Source, sum};
use nalgebra::DMatrix;
use scalecheck::rules::relu::Phase;
use std::collections::HashMap;

/// Lower slopes of unstable neurons, for each pre-activation tensor one column a target.
pub type Alphas = HashMap<usize, DMatrix<f64>>;

/// What a pass met on its way down, for the gradient.
pub struct Trace {
    /// Coefficients at each tensor that is not affine.
    coefficients: HashMap<usize, DMatrix<f64>>,
    /// Maximising variables, by block.
    maximiser: Vec<DMatrix<f64>>,
    /// For blocks cut with a cutoff's subspace, the multipliers of what the cutoff sees, one column a target.
    pub normals: Normals,
}

/// Multipliers of tensors whose range is known, one column a target.
#[derive(Clone, Default)]
pub struct Normals {
    /// Of what cutoffs see, by block.
    pub blocks: Vec<Option<DMatrix<f64>>>,
    /// Of a tensor in the valid range.
    pub ranged: Option<DMatrix<f64>>,
}

impl Normals {
    pub fn is_empty(&self) -> bool {
        self.ranged.is_none() && self.blocks.iter().all(Option::is_none)
    }
}

/// How much work the support functions of subspaces may be, and where they start.
pub struct Warm {
    effort: usize,
    states: Vec<Option<DMatrix<f64>>>,
    ranged: Option<DMatrix<f64>>,
}

impl Warm {
    /// Steps while slopes are being optimised, from where the last pass ended.
    const FEW: usize = 12;
    /// Steps of a pass that stands for itself.
    const MANY: usize = 250;

    pub fn few(graph: &Graph) -> Self {
        Warm { effort: Self::FEW, states: vec![None; graph.blocks.len()], ranged: None }
    }

    pub fn many(graph: &Graph) -> Self {
        Warm { effort: Self::MANY, ..Self::few(graph) }
    }

    /// From here on as much work as for a pass that stands for itself.
    pub fn finish(&mut self) {
        self.effort = Self::MANY;
    }
}

/// The line above or below element `i` of tensor `t`, what a ReLU makes of a tensor or of its change; and the deviation
/// of that at which a line below touches.
fn line(graph: &Graph, state: &State, t: usize, i: usize, above: bool, alpha: Option<f64>) -> (Line, f64) {
    let from = match graph.tensors[t].op {
        Op::ReluPair { base, change } => return Pair::new(graph, state, base, change, i).line(above, alpha),
        Op::Relu(from) => from,
        _ => t,
    };
    let c = graph.tensors[from].centre[i];
    let (low, high) = state.range(graph, from, i);
    let clean = c.max(0.0);
    let line = match state.phase(graph, from, i) {
        Phase::Active => Line { slope: 1.0, offset: c - clean },
        Phase::Inactive => Line { slope: 0.0, offset: -clean },
        Phase::Unstable if above => {
            let slope = high / (high - low);
            Line { slope, offset: slope * (c - low) - clean }
        }
        Phase::Unstable => {
            let slope = alpha.unwrap_or_else(|| state.default_slope(graph, from, i));
            Line { slope, offset: slope * c - clean }
        }
    };
    (line, -c)
}

/// Lines above |c + d|, as the checker chooses them.
fn magnitudes(graph: &Graph, state: &State, source: &Source) -> Vec<Line> {
    match source {
        Source::Clean(values) => values.iter().map(|a| Line { slope: 0.0, offset: a.abs() }).collect(),
        Source::Tensor(t) => {
            let line = |i: usize| {
                let (c, (low, high)) = (graph.tensors[*t].centre[i], state.range(graph, *t, i));
                let slope = if high > low { (high.abs() - low.abs()) / (high - low) } else { 0.0 };
                Line { slope, offset: low.abs() - slope * (low - c) }
            };
            (0..graph.len(*t)).map(line).collect()
        }
    }
}

/// Upper bounds of the targets (columns of `coefficients`, over tensor `target`).
pub fn upper_bounds(
    graph: &Graph,
    state: &State,
    target: usize,
    coefficients: &DMatrix<f64>,
    alphas: Option<&Alphas>,
    warm: &mut Warm,
) -> (Vec<f64>, Trace) {
    let targets = coefficients.ncols();
    let mut pending = Pending::new(target, coefficients.clone());
    let mut bound = vec![0.0; targets];
    let maximiser = graph.blocks.iter().map(|b| DMatrix::zeros(b.lower.len(), targets)).collect();
    let mut trace = Trace {
        coefficients: HashMap::new(),
        maximiser,
        normals: Normals { blocks: vec![None; graph.blocks.len()], ranged: None },
    };
    for t in (0..=target).rev() {
        let Some(mut v) = pending.take(t) else { continue };
        match &graph.tensors[t].op {
            Op::Variables(block) => {
                let support = graph.blocks[*block].support(&v, warm.effort, &mut warm.states[*block]);
                bound.iter_mut().zip(support.values).for_each(|(bound, value)| *bound += value);
                trace.maximiser[*block] = support.points;
                trace.normals.blocks[*block] = support.normal;
            }
            Op::Affine(_) if graph.ranged.as_ref().is_some_and(|ranged| ranged.tensor == t) => {
                let Some(ranged) = &graph.ranged else { continue };
                let support = ranged.support(&v, warm.effort, &mut warm.ranged);
                bound.iter_mut().zip(support.values).for_each(|(bound, value)| *bound += value);
                support.points.into_iter().for_each(|(block, points)| trace.maximiser[block] = points);
                trace.normals.ranged = Some(support.multipliers);
            }
            Op::Affine(terms) => terms.iter().for_each(|(p, map)| pending.add(*p, map.transposed(&v))),
            Op::Weights(parts) => {
                for part in parts {
                    let w = part.map.transposed(&v.abs());
                    let lines = magnitudes(graph, state, &part.source);
                    for (k, bound) in bound.iter_mut().enumerate() {
                        *bound += lines.iter().enumerate().map(|(j, line)| w[(j, k)] * line.offset).sum::<f64>();
                    }
                    if let Source::Tensor(p) = part.source {
                        pending.add(p, DMatrix::from_fn(w.nrows(), w.ncols(), |j, k| w[(j, k)] * lines[j].slope));
                    }
                }
                trace.coefficients.insert(t, v);
            }
            Op::Relu(from) | Op::ReluPair { change: from, .. } => {
                trace.coefficients.insert(t, v.clone());
                let alpha = alphas.and_then(|a| a.get(from));
                for i in 0..v.nrows() {
                    let (above, _) = line(graph, state, t, i, true, None);
                    let (default, _) = line(graph, state, t, i, false, None);
                    for k in 0..targets {
                        let line = if v[(i, k)] >= 0.0 {
                            above
                        } else {
                            alpha.map_or(default, |a| line(graph, state, t, i, false, Some(a[(i, k)])).0)
                        };
                        bound[k] += v[(i, k)] * line.offset;
                        v[(i, k)] *= line.slope;
                    }
                }
                pending.add(*from, v);
            }
        }
    }
    (bound, trace)
}

/// Gradient of every target's bound in its own lower slopes.
///
/// The bound is the value of the relaxed network at its maximiser, so the derivative in the slope of a neuron that the
/// pass met with coefficient v < 0 is `v · (d + c)`, d the neuron's deviation in the relaxed network.
pub fn slope_gradient(graph: &Graph, state: &State, target: usize, alphas: &Alphas, trace: &Trace) -> Alphas {
    let mut values: Vec<Option<DMatrix<f64>>> = Vec::with_capacity(target + 1);
    let mut gradient = Alphas::new();
    for t in 0..=target {
        let value = match &graph.tensors[t].op {
            Op::Variables(block) => Some(trace.maximiser[*block].clone()),
            Op::Affine(terms) => {
                let parts: Option<Vec<_>> =
                    terms.iter().map(|(p, map)| values[*p].as_ref().map(|x| map.apply(x))).collect();
                parts.map(|parts| sum(parts.into_iter()))
            }
            Op::Weights(parts) => trace.coefficients.get(&t).map(|v| {
                // The signs of v make every part as large as its lines allow.
                let mut e = DMatrix::zeros(v.nrows(), v.ncols());
                for part in parts {
                    let lines = magnitudes(graph, state, &part.source);
                    let size = |j: usize, k: usize| match part.source {
                        Source::Tensor(p) => {
                            values[p].as_ref().map_or(0.0, |d| lines[j].slope * d[(j, k)]) + lines[j].offset
                        }
                        Source::Clean(_) => lines[j].offset,
                    };
                    e += part.map.apply(&DMatrix::from_fn(lines.len(), v.ncols(), size));
                }
                e.component_mul(&v.map(|v| if v < 0.0 { -1.0 } else { 1.0 }))
            }),
            Op::Relu(from) | Op::ReluPair { change: from, .. } => match (trace.coefficients.get(&t), &values[*from]) {
                (Some(v), Some(d)) => {
                    let alpha = alphas.get(from);
                    let slope = gradient.entry(*from).or_insert_with(|| DMatrix::zeros(v.nrows(), v.ncols()));
                    let mut e = DMatrix::zeros(v.nrows(), v.ncols());
                    for i in 0..v.nrows() {
                        let unstable = state.phase(graph, *from, i) == Phase::Unstable;
                        for k in 0..v.ncols() {
                            let above = v[(i, k)] >= 0.0;
                            let (line, touches) = line(graph, state, t, i, above, alpha.map(|a| a[(i, k)]));
                            e[(i, k)] = line.slope * d[(i, k)] + line.offset;
                            if unstable && !above {
                                slope[(i, k)] += v[(i, k)] * (d[(i, k)] - touches);
                            }
                        }
                    }
                    Some(e)
                }
                _ => None,
            },
        };
        values.push(value);
    }
    gradient
}

/// Interval bounds, improved by back-substitution with default slopes at every pre-activation, in order; and which
/// elements were improved: those that intervals leave unstable, for the bounds of the others change no line.
pub fn crown(graph: &Graph) -> (State, Vec<Improved>) {
    let mut state = interval::propagate(graph);
    let mut improved = Vec::new();
    for tensor in pre_activations(graph) {
        let rows = state.unstable(graph, tensor);
        let normals = refine(graph, &mut state, tensor, &rows);
        improved.push(Improved { tensor, rows, normals });
    }
    (state, improved)
}

/// Elements of a tensor whose bounds were improved, with the multipliers of [`both_sides`].
pub struct Improved {
    pub tensor: usize,
    pub rows: Vec<usize>,
    pub normals: Normals,
}

/// Targets that bound chosen elements of `t`: first each element, for its upper bound, then each negated.
pub fn both_sides(graph: &Graph, t: usize, rows: &[usize]) -> DMatrix<f64> {
    let mut both = DMatrix::zeros(graph.len(t), 2 * rows.len());
    for (k, &row) in rows.iter().enumerate() {
        both[(row, k)] = 1.0;
        both[(row, rows.len() + k)] = -1.0;
    }
    both
}

/// Improves the bounds of chosen elements of `t`, and by intervals those of everything after it.
pub fn refine(graph: &Graph, state: &mut State, t: usize, rows: &[usize]) -> Normals {
    let mut warm = Warm::many(graph);
    let (bound, trace) = upper_bounds(graph, state, t, &both_sides(graph, t, rows), None, &mut warm);
    for (k, &row) in rows.iter().enumerate() {
        tighten(state, t, row, -bound[rows.len() + k], bound[k]);
    }
    repropagate(graph, state, t);
    trace.normals
}

/// Intersects the bounds of one element.
pub fn tighten(state: &mut State, t: usize, row: usize, lower: f64, upper: f64) {
    let bounds = &mut state.bounds[t];
    bounds.lower[row] = bounds.lower[row].max(lower);
    bounds.upper[row] = bounds.upper[row].min(upper);
}

/// Intersects the bounds of every tensor after `t` with what intervals now say.
pub fn repropagate(graph: &Graph, state: &mut State, t: usize) {
    for later in t + 1..graph.tensors.len() {
        let fresh = interval::tensor(graph, later, &state.bounds);
        for i in 0..fresh.lower.len() {
            tighten(state, later, i, fresh.lower[i], fresh.upper[i]);
        }
    }
}
