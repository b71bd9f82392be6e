//! Relaxations of a network's layers, in floating point: they find the numbers of a certificate, never a verdict.

pub mod back_substitution;
pub mod batch;
pub mod interval;
pub mod lp;
pub mod pair;
pub mod slopes;

use crate::graph::{Graph, Op};
use pair::Pair;
use scalecheck::rules::relu::Phase;

/// `slope · d + offset`.
#[derive(Clone, Copy)]
pub struct Line {
    pub slope: f64,
    pub offset: f64,
}

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

    /// Whether element `i` of the pre-activation tensor `t`, or the ReLU that it is a change for, is stable.
    pub fn phase(&self, graph: &Graph, t: usize, i: usize) -> Phase {
        if let Some(base) = graph.bases[t] {
            return Pair::new(graph, self, base, t, i).phase();
        }
        match self.range(graph, t, i) {
            (low, _) if low >= 0.0 => Phase::Active,
            (_, high) if high <= 0.0 => Phase::Inactive,
            _ => Phase::Unstable,
        }
    }

    /// The lower slope that the checker gives an unstable neuron by default: 1 if its active part is the larger one, or of
    /// a change the chord's.
    pub fn default_slope(&self, graph: &Graph, t: usize, i: usize) -> f64 {
        if let Some(base) = graph.bases[t] {
            return Pair::new(graph, self, base, t, i).default_slope(false);
        }
        let (low, high) = self.range(graph, t, i);
        if high > -low { 1.0 } else { 0.0 }
    }

    /// Elements of `t` that are unstable.
    pub fn unstable(&self, graph: &Graph, t: usize) -> Vec<usize> {
        (0..graph.len(t)).filter(|&i| self.phase(graph, t, i) == Phase::Unstable).collect()
    }
}

/// Tensors that feed a ReLU, and their changes, in topological order, each once.
pub fn pre_activations(graph: &Graph) -> Vec<usize> {
    let of = |op: &Op| match *op {
        Op::Relu(from) => vec![from],
        Op::ReluPair { base, change } => vec![base, change],
        _ => vec![],
    };
    let mut from: Vec<usize> = graph.tensors.iter().flat_map(|t| of(&t.op)).collect();
    from.sort_unstable();
    from.dedup();
    from
}
