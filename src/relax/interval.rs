//! Interval propagation: rule 4.1 in floating point.

use super::{Bounds, State};
use crate::graph::{Graph, Op};
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
        Op::Relu(from) => {
            let moved = |(d, c): (&f64, &f64)| (c + d).max(0.0) - c.max(0.0);
            let centre = &graph.tensors[*from].centre;
            Bounds {
                lower: known[*from].lower.iter().zip(centre).map(moved).collect(),
                upper: known[*from].upper.iter().zip(centre).map(moved).collect(),
            }
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
