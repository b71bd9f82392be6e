//! Optimised slopes (α-CROWN, Xu et al. 2021): projected gradient descent on the lower slopes of unstable neurons,
//! for every target its own.

use super::back_substitution::{Alphas, Normals, Warm, slope_gradient, upper_bounds};
use super::{State, pre_activations};
use crate::graph::Graph;
use nalgebra::DMatrix;

/// How long and how far slopes are optimised.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    pub iterations: usize,
    /// First step of the normalised gradient; it shrinks geometrically.
    pub step: f64,
    pub decay: f64,
}

impl Default for Config {
    fn default() -> Self {
        Config { iterations: 24, step: 0.4, decay: 0.88 }
    }
}

/// The best bounds found for the targets, and the slopes and multipliers that give them.
pub fn optimise(
    graph: &Graph,
    state: &State,
    target: usize,
    coefficients: &DMatrix<f64>,
    config: &Config,
) -> (Vec<f64>, Alphas, Normals) {
    let targets = coefficients.ncols();
    let default = |t: usize| DMatrix::from_fn(graph.len(t), targets, |i, _| state.default_slope(graph, t, i));
    let mut alphas: Alphas = pre_activations(graph)
        .into_iter()
        .filter(|&t| t < target && !state.unstable(graph, t).is_empty())
        .map(|t| (t, default(t)))
        .collect();
    let mut warm = Warm::few(graph);
    let (mut best, mut trace) = upper_bounds(graph, state, target, coefficients, Some(&alphas), &mut warm);
    let mut best_alphas = alphas.clone();
    // Adam's second moment, by which steps are alike in all layers.
    let mut moments: Alphas = alphas.iter().map(|(&t, a)| (t, DMatrix::zeros(a.nrows(), a.ncols()))).collect();
    let mut step = config.step;
    for _ in 0..config.iterations {
        let gradient = slope_gradient(graph, state, target, &alphas, &trace);
        for (t, alpha) in &mut alphas {
            let (Some(g), Some(m)) = (gradient.get(t), moments.get_mut(t)) else { continue };
            for ((a, g), m) in alpha.iter_mut().zip(g.iter()).zip(m.iter_mut()) {
                *m = 0.7 * *m + 0.3 * g * g;
                if *g != 0.0 {
                    *a = (*a - step * g / (m.sqrt() + 1e-12)).clamp(0.0, 1.0);
                }
            }
        }
        step *= config.decay;
        let (bound, fresh) = upper_bounds(graph, state, target, coefficients, Some(&alphas), &mut warm);
        trace = fresh;
        for k in 0..targets {
            if bound[k] < best[k] {
                best[k] = bound[k];
                for (t, alpha) in &alphas {
                    if let Some(keep) = best_alphas.get_mut(t) {
                        keep.set_column(k, &alpha.column(k));
                    }
                }
            }
        }
    }
    if trace.normals.is_empty() {
        return (best, best_alphas, trace.normals);
    }
    warm.finish();
    let (best, trace) = upper_bounds(graph, state, target, coefficients, Some(&best_alphas), &mut warm);
    (best, best_alphas, trace.normals)
}
