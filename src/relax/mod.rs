//! Relaxations of a network's layers, in floating point: they find the numbers of a certificate, never a verdict.

pub mod back_substitution;
pub mod batch;
pub mod interval;
pub mod lp;
pub mod slopes;

use crate::graph::{Graph, Op};
use scalecheck::rules::relu::Phase;

/// Bounds of one tensor's deviation.
#[derive(Clone, Debug)]
pub struct Bounds {
    pub lower: Vec<f64>,
    pub upper: Vec<f64>,
}

/// Known bounds of the tensors of a graph.
#[derive(Clone)]
pub struct State {
    pub bounds: Vec<Bounds>,
}

impl State {
    /// Range of the pre-activation `c + d` of element `i` of tensor `t`.
    pub fn range(&self, graph: &Graph, t: usize, i: usize) -> (f64, f64) {
        let c = graph.tensors[t].centre[i];
        (c + self.bounds[t].lower[i], c + self.bounds[t].upper[i])
    }

    /// Whether element `i` of the pre-activation tensor `t` is stable.
    pub fn phase(&self, graph: &Graph, t: usize, i: usize) -> Phase {
        match self.range(graph, t, i) {
            (low, _) if low >= 0.0 => Phase::Active,
            (_, high) if high <= 0.0 => Phase::Inactive,
            _ => Phase::Unstable,
        }
    }

    /// The lower slope that the checker gives an unstable neuron by default: 1 if its active part is the larger one.
    pub fn default_slope(&self, graph: &Graph, t: usize, i: usize) -> f64 {
        let (low, high) = self.range(graph, t, i);
        if high > -low { 1.0 } else { 0.0 }
    }

    /// Elements of `t` that are unstable.
    pub fn unstable(&self, graph: &Graph, t: usize) -> Vec<usize> {
        (0..graph.len(t)).filter(|&i| self.phase(graph, t, i) == Phase::Unstable).collect()
    }
}

/// Tensors that feed a ReLU, in topological order, each once.
pub fn pre_activations(graph: &Graph) -> Vec<usize> {
    let mut from: Vec<usize> =
        graph.tensors.iter().filter_map(|t| if let Op::Relu(from) = t.op { Some(from) } else { None }).collect();
    from.sort_unstable();
    from.dedup();
    from
}
