//! Interval propagation: rule 4.1 in floating point.

use super::pair::Pair;
use super::{Bounds, State};
use crate::graph::{Graph, Op, Source};
use nalgebra::DMatrix;

/// Interval bounds of tensor `t` from those of its predecessors.
pub fn tensor(graph: &Graph, t: usize, known: &[Bounds]) -> Bounds {
    let tensor = &graph.tensors[t];
    let mut bounds = match &tensor.op {
        Op::Variables(block) => {
            let block = &graph.blocks[*block];
            Bounds { lower: block.lower.clone(), upper: block.upper.clone() }
        }
        Op::Affine(terms) => {
            let (mut middle, mut radius) = (DMatrix::zeros(graph.len(t), 1), DMatrix::zeros(graph.len(t), 1));
            for (p, map) in terms {
                let b = &known[*p];
                let m = DMatrix::from_fn(b.lower.len(), 1, |i, _| (b.lower[i] + b.upper[i]) / 2.0);
                let r = DMatrix::from_fn(b.lower.len(), 1, |i, _| (b.upper[i] - b.lower[i]) / 2.0);
                let (dm, dr) = map.interval(&m, &r);
                middle += dm;
                radius += dr;
            }
            Bounds {
                lower: (&middle - &radius).iter().copied().collect(),
                upper: (middle + radius).iter().copied().collect(),
            }
        }
        Op::Weights(parts) => {
            let mut reach = DMatrix::zeros(graph.len(t), 1);
            for part in parts {
                let largest = match &part.source {
                    Source::Clean(values) => DMatrix::from_fn(values.len(), 1, |i, _| values[i].abs()),
                    Source::Tensor(p) => {
                        let (centre, b) = (&graph.tensors[*p].centre, &known[*p]);
                        let largest = |i: usize| (centre[i] + b.lower[i]).abs().max((centre[i] + b.upper[i]).abs());
                        DMatrix::from_fn(centre.len(), 1, |i, _| largest(i))
                    }
                };
                reach += part.map.apply(&largest);
            }
            let upper: Vec<f64> = reach.iter().copied().collect();
            Bounds { lower: upper.iter().map(|u| -u).collect(), upper }
        }
        Op::Relu(from) => {
            let moved = |(d, c): (&f64, &f64)| (c + d).max(0.0) - c.max(0.0);
            let centre = &graph.tensors[*from].centre;
            Bounds {
                lower: known[*from].lower.iter().zip(centre).map(moved).collect(),
                upper: known[*from].upper.iter().zip(centre).map(moved).collect(),
            }
        }
        Op::ReluPair { base, change } => {
            let state = |i: usize| {
                let range = |t: usize| {
                    let c = graph.tensors[t].centre[i];
                    (c + known[t].lower[i], c + known[t].upper[i])
                };
                Pair::at(range(*base), graph.tensors[*base].centre[i], range(*change), graph.tensors[*change].centre[i])
            };
            let (lower, upper) = (0..graph.len(t)).map(|i| state(i).bounds()).unzip();
            Bounds { lower, upper }
        }
    };
    if let Some((low, high)) = &tensor.clip {
        bounds.lower.iter_mut().zip(low).for_each(|(b, c)| *b = b.max(*c));
        bounds.upper.iter_mut().zip(high).for_each(|(b, c)| *b = b.min(*c));
    }
    bounds
}

/// Interval bounds of all tensors.
pub fn propagate(graph: &Graph) -> State {
    let mut state = State { bounds: Vec::with_capacity(graph.tensors.len()) };
    for t in 0..graph.tensors.len() {
        let bounds = tensor(graph, t, &state.bounds);
        state.bounds.push(bounds);
    }
    state
}
