//! Back-substitution of many targets at once, each in a case of its own: what branch and bound spends its time on.
//!
//! A column is one target: coefficients over a tensor, the case whose lines are used, lower slopes α of its own, and
//! multipliers β of the case's assumptions (α,β-CROWN, Wang et al. 2021). All lines are of deviations, as in the checker:
//! `e ≤ s·d + t` above, `e ≥ α·d + α·c − max(c, 0)` below, c the centre.

use crate::emit::nearest;
use crate::graph::{Graph, Op, Pending, sum};
use crate::relax::Line;
use crate::relax::pair::{self, Pair};
use nalgebra::DMatrix;
use scalecheck::rules::relu::Phase;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

pub type Matrix = DMatrix<f64>;

/// A tensor that feeds ReLUs, or is a change of one.
pub struct Layer {
    pub tensor: usize,
    pub centre: Vec<f64>,
    /// What the ReLU makes of the centre.
    clean: Vec<f64>,
    /// Of a change, the layer that it is a change of.
    pub base: Option<usize>,
    /// Layers that are changes of this one.
    pub changes: Vec<usize>,
}

/// What a case knows of a layer: ranges of the actual values, and the lines above that follow from them.
pub struct Range {
    pub low: Vec<f64>,
    pub high: Vec<f64>,
    slope: Vec<f64>,
    offset: Vec<f64>,
    /// Lower slopes: of stable neurons the only one, of others what the checker takes by default.
    pub default: Vec<f64>,
    pub unstable: Vec<u32>,
    /// Of a change, what else its lines depend on; else nothing.
    pairs: Vec<Pair>,
}

impl Range {
    /// Of a change, `base` is the layer that it is a change of, with what the case knows of that.
    pub fn new(layer: &Layer, low: Vec<f64>, high: Vec<f64>, base: Option<(&Layer, &Range)>) -> Self {
        let n = low.len();
        let (slope, offset, default) = (vec![0.0; n], vec![0.0; n], vec![0.0; n]);
        let mut range = Range { low, high, slope, offset, default, unstable: vec![], pairs: vec![] };
        if let Some((base, known)) = base {
            range.add_pairs(layer, base, known);
            return range;
        }
        for i in 0..n {
            let (c, clean) = (layer.centre[i], layer.clean[i]);
            let (low, high) = (range.low[i], range.high[i]);
            let (slope, offset, default) = if low >= 0.0 {
                (1.0, c - clean, 1.0)
            } else if high <= 0.0 {
                (0.0, -clean, 0.0)
            } else {
                range.unstable.push(i as u32);
                let slope = high / (high - low);
                (slope, slope * (c - low) - clean, if high > -low { 1.0 } else { 0.0 })
            };
            (range.slope[i], range.offset[i], range.default[i]) = (slope, offset, default);
        }
        range
    }

    fn add_pairs(&mut self, layer: &Layer, base: &Layer, known: &Range) {
        for i in 0..self.low.len() {
            let (u, w) = ((known.low[i], known.high[i]), (self.low[i], self.high[i]));
            let pair = Pair::at(u, base.centre[i], w, layer.centre[i]);
            let (line, _) = pair.line(true, None);
            (self.slope[i], self.offset[i], self.default[i]) = (line.slope, line.offset, pair.default_slope(false));
            if pair.phase() == Phase::Unstable {
                self.unstable.push(i as u32);
            }
            self.pairs.push(pair);
        }
    }

    pub fn is_unstable(&self, i: usize) -> bool {
        match self.pairs.get(i) {
            Some(pair) => pair.phase() == Phase::Unstable,
            None => self.low[i] < 0.0 && self.high[i] > 0.0,
        }
    }

    /// Widest gap between ReLU `i` and the line above it, or of a change between the lines above and below.
    pub fn gap(&self, i: usize) -> f64 {
        if let Some(pair) = self.pairs.get(i) {
            return pair.gap();
        }
        let (low, high) = (self.low[i], self.high[i]);
        if self.is_unstable(i) { -low * high / (high - low) } else { 0.0 }
    }
}

/// A box of the variables, by block, if the case has cut it.
pub type Domain = Vec<(Vec<f64>, Vec<f64>)>;

/// What is known in a case.
#[derive(Clone)]
pub struct Case {
    pub ranges: Vec<Arc<Range>>,
    pub domain: Option<Arc<Domain>>,
}

impl Case {
    /// The case in which neuron `i` of layer `l` is active, or inactive.
    pub fn split(&self, engine: &Engine<'_>, l: usize, i: usize, active: bool) -> Case {
        let mut case = self.clone();
        let (mut low, mut high) = (self.ranges[l].low.clone(), self.ranges[l].high.clone());
        if active {
            low[i] = low[i].max(0.0);
        } else {
            high[i] = high[i].min(0.0);
        }
        case.set(&engine.layers, l, low, high);
        case
    }

    /// Replaces what the case knows of a layer, and with it the lines of changes of that layer.
    pub fn set(&mut self, layers: &[Layer], l: usize, low: Vec<f64>, high: Vec<f64>) {
        let base = layers[l].base.map(|base| (&layers[base], &*self.ranges[base]));
        self.ranges[l] = Arc::new(Range::new(&layers[l], low, high, base));
        for &change in &layers[l].changes {
            let own = &self.ranges[change];
            let base = Some((&layers[l], &*self.ranges[l]));
            self.ranges[change] = Arc::new(Range::new(&layers[change], own.low.clone(), own.high.clone(), base));
        }
    }
}

/// The multiplier of an assumption: neuron `i` of a layer is active (+1) or inactive (−1).
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Beta {
    pub layer: usize,
    pub neuron: usize,
    pub sign: f64,
    pub value: f64,
    /// How large it may be expected to be.
    pub scale: f64,
}

/// Lower slopes, by layer, one column a target.
pub type Alphas = Vec<Matrix>;

/// Targets and the cases that they are bounded in.
pub struct Targets<'a> {
    pub tensor: usize,
    pub coefficients: Matrix,
    pub cases: &'a [&'a Case],
    /// Case of each column.
    pub of: Vec<usize>,
}

/// What a pass met on its way down.
pub struct Trace {
    /// Coefficients at ReLU tensors.
    at: Vec<Option<Matrix>>,
    /// Coefficients at variables, by block.
    pub variables: Vec<Option<Matrix>>,
    /// Where the bounds are attained, by block.
    maximiser: Vec<Option<Matrix>>,
}

/// What the relaxed network does at the maximiser.
pub struct Primal {
    /// Derivatives of the bounds in the lower slopes, by layer.
    pub slopes: Vec<Option<Matrix>>,
    /// Actual values of layers.
    pub actual: Vec<Option<Matrix>>,
    /// Coefficient times the gap between line and ReLU, by layer; zero for changes.
    pub gaps: Vec<Option<Matrix>>,
}

pub struct Engine<'g> {
    pub graph: &'g Graph,
    pub layers: Vec<Layer>,
    /// Layer that a tensor is, if it is one.
    layer_of: Vec<Option<usize>>,
}

impl Trace {
    /// Where the bound of column `k` is attained, by block.
    pub fn point(&self, k: usize) -> Vec<Vec<f64>> {
        let of = |m: &Option<Matrix>| m.as_ref().map_or(vec![], |m| m.column(k).iter().copied().collect());
        self.maximiser.iter().map(of).collect()
    }

    /// Coefficients at the first ReLU of a layer, or at what it makes of the change that the layer is.
    pub fn coefficients(&self, engine: &Engine<'_>, layer: usize) -> Option<&Matrix> {
        let of = |(t, at): (usize, &Option<Matrix>)| match engine.graph.tensors[t].op {
            Op::Relu(from) | Op::ReluPair { change: from, .. } if from == engine.layers[layer].tensor => {
                at.is_some().then_some(t)
            }
            _ => None,
        };
        self.at.iter().enumerate().find_map(of).and_then(|t| self.at[t].as_ref())
    }
}

impl<'g> Engine<'g> {
    /// Halfspaces as targets, each in a case: (case, halfspace) of every column.
    pub fn halfspaces<'a>(&self, columns: &[(usize, usize)], cases: &'a [&'a Case]) -> Targets<'a> {
        let graph = self.graph;
        let mut coefficients = Matrix::zeros(graph.len(graph.output), columns.len());
        for ((_, h), mut column) in columns.iter().zip(coefficients.column_iter_mut()) {
            graph.halfspaces[*h].objective.iter().for_each(|&(i, a)| column[i] += a);
        }
        let of = columns.iter().map(|(case, _)| *case).collect();
        Targets { tensor: graph.output, coefficients, cases, of }
    }

    /// `None` if the graph has something that the batched passes do not know: changed weights, variables that keep to a
    /// subspace, or a change of several tensors. A known range of a tensor is not used.
    pub fn new(graph: &'g Graph) -> Option<Self> {
        let plain = graph.blocks.iter().all(|b| b.subspace.is_none() && b.tied.is_none());
        let known = graph.tensors.iter().all(|t| match t.op {
            Op::Weights(_) => false,
            Op::Relu(from) => graph.bases[from].is_none(),
            Op::ReluPair { base, change } => graph.bases[change] == Some(base) && graph.bases[base].is_none(),
            Op::Variables(_) | Op::Affine(_) => true,
        });
        (plain && known).then_some(())?;
        let (mut layers, mut layer_of): (Vec<Layer>, _) = (Vec::new(), vec![None; graph.tensors.len()]);
        let mut tensors = super::pre_activations(graph);
        // A change after what it is a change of: its lines depend on that.
        tensors.sort_by_key(|&t| (t.max(graph.bases[t].unwrap_or(0)), graph.bases[t].is_some()));
        for tensor in tensors {
            layer_of[tensor] = Some(layers.len());
            let centre = graph.tensors[tensor].centre.clone();
            layers.push(Layer { tensor, centre, clean: vec![], base: None, changes: vec![] });
        }
        for l in 0..layers.len() {
            let base = graph.bases[layers[l].tensor].and_then(|base| layer_of[base]);
            if let Some(base) = base {
                layers[base].changes.push(l);
            }
            let clean = |(i, &c): (usize, &f64)| base.map_or(c.max(0.0), |b| pair::change(layers[b].centre[i], c));
            layers[l].clean = layers[l].centre.iter().enumerate().map(clean).collect();
            layers[l].base = base;
        }
        Some(Engine { graph, layers, layer_of })
    }

    /// Whether the graph compares two networks, or a network at two inputs.
    pub fn has_changes(&self) -> bool {
        self.layers.iter().any(|layer| layer.base.is_some())
    }

    /// Upper bounds of all targets. `alphas` replaces the default slopes; `betas` has a list a column, or is empty.
    pub fn bound(&self, targets: &Targets<'_>, alphas: Option<&Alphas>, betas: &[Vec<Beta>]) -> (Vec<f64>, Trace) {
        let (graph, columns) = (self.graph, targets.coefficients.ncols());
        let mut pending = Pending::new(targets.tensor, targets.coefficients.clone());
        let mut bound = vec![0.0; columns];
        let mut trace = Trace {
            at: (0..=targets.tensor).map(|_| None).collect(),
            variables: graph.blocks.iter().map(|_| None).collect(),
            maximiser: graph.blocks.iter().map(|_| None).collect(),
        };
        for t in (0..=targets.tensor).rev() {
            let Some(mut v) = pending.take(t) else { continue };
            if let (Some(layer), false) = (self.layer_of[t], betas.is_empty()) {
                for (k, betas) in betas.iter().enumerate() {
                    for beta in betas.iter().filter(|b| b.layer == layer) {
                        v[(beta.neuron, k)] += beta.sign * beta.value;
                        bound[k] += beta.sign * beta.value * self.layers[layer].centre[beta.neuron];
                    }
                }
            }
            match &graph.tensors[t].op {
                Op::Variables(block) => {
                    let (values, points) = self.support(*block, &v, targets);
                    bound.iter_mut().zip(values).for_each(|(bound, value)| *bound += value);
                    trace.maximiser[*block] = Some(points);
                    trace.variables[*block] = Some(v);
                }
                Op::Affine(terms) => terms.iter().for_each(|(p, map)| pending.add(*p, map.transposed(&v))),
                Op::Weights(_) => {}
                Op::Relu(from) | Op::ReluPair { change: from, .. } => {
                    let Some(layer) = self.layer_of[*from] else { continue };
                    let mut down = Matrix::zeros(v.nrows(), columns);
                    let (centre, clean) = (&self.layers[layer].centre, &self.layers[layer].clean);
                    for (k, bound) in bound.iter_mut().enumerate() {
                        let range = &targets.cases[targets.of[k]].ranges[layer];
                        let alpha = alphas.map_or(&range.default[..], |a| a[layer].column(k).data.into_slice());
                        let n = v.nrows();
                        let (v, down) = (&v.as_slice()[k * n..][..n], &mut down.as_mut_slice()[k * n..][..n]);
                        let (slope, offset) = (&range.slope[..n], &range.offset[..n]);
                        let (alpha, centre, clean) = (&alpha[..n], &centre[..n], &clean[..n]);
                        let mut constant = 0.0;
                        if !range.pairs.is_empty() {
                            for i in 0..n {
                                let own = (v[i] < 0.0).then(|| range.pairs[i].line(false, Some(alpha[i])).0);
                                let line = own.unwrap_or(Line { slope: slope[i], offset: offset[i] });
                                constant += v[i] * line.offset;
                                down[i] = v[i] * line.slope;
                            }
                            *bound += constant;
                            continue;
                        }
                        // By index, the loop is vectorised.
                        #[allow(clippy::needless_range_loop)]
                        for i in 0..n {
                            let above = v[i] >= 0.0;
                            let s = if above { slope[i] } else { alpha[i] };
                            let t = if above { offset[i] } else { alpha[i] * centre[i] - clean[i] };
                            constant += v[i] * t;
                            down[i] = v[i] * s;
                        }
                        *bound += constant;
                    }
                    trace.at[t] = Some(v);
                    pending.add(*from, down);
                }
            }
        }
        // Variables that the targets do not depend on but through ranges: the middle of the case.
        for (block, maximiser) in trace.maximiser.iter_mut().enumerate().filter(|(_, m)| m.is_none()) {
            let n = graph.blocks[block].lower.len();
            let middle = |i: usize, k: usize| {
                let domain = targets.cases[targets.of[k]].domain.as_ref();
                domain.map_or(0.0, |d| f64::midpoint(d[block].0[i], d[block].1[i]))
            };
            *maximiser = Some(Matrix::from_fn(n, columns, middle));
        }
        (bound, trace)
    }

    fn support(&self, block: usize, v: &Matrix, targets: &Targets<'_>) -> (Vec<f64>, Matrix) {
        let own = &self.graph.blocks[block];
        if !own.groups.is_empty() {
            let support = own.support(v, 0, &mut None);
            return (support.values, support.points);
        }
        let mut points = Matrix::zeros(v.nrows(), v.ncols());
        let mut values = vec![0.0; v.ncols()];
        for (k, value) in values.iter_mut().enumerate() {
            let domain = targets.cases[targets.of[k]].domain.as_ref();
            let (lower, upper) = domain.map_or((&own.lower, &own.upper), |d| (&d[block].0, &d[block].1));
            let (v, mut z) = (v.column(k), points.column_mut(k));
            for i in 0..v.len() {
                let end = if v[i] >= 0.0 { upper[i] } else { lower[i] };
                z[i] = end;
                *value += v[i] * end;
            }
        }
        (values, points)
    }

    /// Runs the relaxed network forward from the maximiser, by the lines that the pass took. By the envelope theorem the
    /// derivative of a bound in a slope or a multiplier is what stands beside it there.
    pub fn primal(&self, targets: &Targets<'_>, alphas: Option<&Alphas>, trace: &Trace) -> Primal {
        let columns = targets.coefficients.ncols();
        let mut values: Vec<Option<Matrix>> = Vec::with_capacity(targets.tensor + 1);
        let none = || self.layers.iter().map(|_| None).collect::<Vec<Option<Matrix>>>();
        let mut primal = Primal { slopes: none(), actual: none(), gaps: none() };
        for t in 0..=targets.tensor {
            let value = match &self.graph.tensors[t].op {
                Op::Variables(block) => trace.maximiser[*block].clone(),
                Op::Affine(terms) if t != targets.tensor || self.layer_of[t].is_some() => {
                    let parts: Option<Vec<_>> =
                        terms.iter().map(|(p, map)| values[*p].as_ref().map(|x| map.apply(x))).collect();
                    parts.map(|parts| sum(parts.into_iter()))
                }
                Op::Affine(_) | Op::Weights(_) => None,
                Op::Relu(from) | Op::ReluPair { change: from, .. } => {
                    match (&trace.at[t], &values[*from], self.layer_of[*from]) {
                        (Some(v), Some(d), Some(layer)) => {
                            let (centre, clean) = (&self.layers[layer].centre, &self.layers[layer].clean);
                            let n = v.nrows();
                            let (mut e, mut slopes, mut gaps) =
                                (Matrix::zeros(n, columns), Matrix::zeros(n, columns), Matrix::zeros(n, columns));
                            for k in 0..columns {
                                let range = &targets.cases[targets.of[k]].ranges[layer];
                                for i in 0..n {
                                    let (v, d) = (v[(i, k)], d[(i, k)]);
                                    let actual = d + centre[i];
                                    let below = v < 0.0;
                                    if let (Some(pair), true) = (range.pairs.get(i), below) {
                                        let alpha = alphas.map_or(range.default[i], |a| a[layer][(i, k)]);
                                        let (line, touches) = pair.line(false, Some(alpha));
                                        e[(i, k)] = line.slope * d + line.offset;
                                        if pair.phase() == Phase::Unstable {
                                            slopes[(i, k)] = v * (d - touches);
                                        }
                                        continue;
                                    }
                                    let value = if below {
                                        let alpha = alphas.map_or(range.default[i], |a| a[layer][(i, k)]);
                                        alpha * actual - clean[i]
                                    } else {
                                        range.slope[i] * d + range.offset[i]
                                    };
                                    e[(i, k)] = value;
                                    if range.pairs.is_empty() && range.is_unstable(i) {
                                        if below {
                                            slopes[(i, k)] = v * actual;
                                        }
                                        gaps[(i, k)] = v * (value - (actual.max(0.0) - clean[i]));
                                    }
                                }
                            }
                            let mut actual = d.clone();
                            for mut column in actual.column_iter_mut() {
                                column.iter_mut().zip(centre).for_each(|(d, c)| *d += c);
                            }
                            primal.slopes[layer] = Some(match primal.slopes[layer].take() {
                                Some(earlier) => earlier + slopes,
                                None => slopes,
                            });
                            primal.gaps[layer] = Some(gaps);
                            primal.actual[layer] = Some(actual);
                            Some(e)
                        }
                        _ => None,
                    }
                }
            };
            values.push(value);
        }
        primal
    }

    /// Default slopes for every column.
    pub fn default_alphas(&self, targets: &Targets<'_>) -> Alphas {
        self.alphas(targets, |range| &range.default)
    }

    /// The slopes of the lines above, for every column: no neuron is forgotten because its default slope is 0.
    pub fn chords(&self, targets: &Targets<'_>) -> Alphas {
        self.alphas(targets, |range| &range.slope)
    }

    fn alphas(&self, targets: &Targets<'_>, of: impl Fn(&Range) -> &[f64]) -> Alphas {
        let layer = |l: usize| {
            // Of layers that the targets do not depend on, no slopes.
            let n = if self.layers[l].tensor < targets.tensor { self.layers[l].centre.len() } else { 0 };
            let mut alpha = Matrix::zeros(n, targets.of.len());
            for (k, &case) in targets.of.iter().enumerate() {
                alpha.column_mut(k).copy_from_slice(&of(&targets.cases[case].ranges[l])[..n]);
            }
            alpha
        };
        (0..self.layers.len()).map(layer).collect()
    }
}

/// How slopes and multipliers are optimised.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    pub iterations: usize,
    pub slope_step: f64,
    pub multiplier_step: f64,
    pub decay: f64,
}

/// The best bounds found, with what gives them.
pub struct Optimised {
    pub bound: Vec<f64>,
    pub alphas: Alphas,
    pub betas: Vec<Vec<Beta>>,
}

/// Adam on slopes and multipliers of all columns. A column whose bound falls below `enough` is left as it is.
pub fn optimise(
    engine: &Engine<'_>,
    targets: &Targets<'_>,
    mut alphas: Alphas,
    mut betas: Vec<Vec<Beta>>,
    enough: &[f64],
    config: &Config,
) -> Optimised {
    let columns = targets.of.len();
    let mut best = Optimised { bound: vec![f64::INFINITY; columns], alphas: alphas.clone(), betas: betas.clone() };
    // The columns that are still worked on; the first of them are in `live`.
    let mut live: Vec<usize> = (0..columns).collect();
    let mut current = Targets {
        tensor: targets.tensor,
        coefficients: targets.coefficients.clone(),
        cases: targets.cases,
        of: targets.of.clone(),
    };
    let shape = |a: &Matrix| Matrix::zeros(a.nrows(), a.ncols());
    let (mut first, mut second): (Alphas, Alphas) =
        (alphas.iter().map(shape).collect(), alphas.iter().map(shape).collect());
    let mut beta_moments: Vec<Vec<(f64, f64)>> = betas.iter().map(|b| vec![(0.0, 0.0); b.len()]).collect();
    let mut rate = 1.0;
    for iteration in 0..=config.iterations {
        // Bounds are those of slopes that a certificate can state.
        let stated: Alphas = alphas.iter().map(|a| a.map(nearest)).collect();
        let (bound, trace) = engine.bound(&current, Some(&stated), &betas);
        for (k, &column) in live.iter().enumerate() {
            if bound[k] < best.bound[column] {
                best.bound[column] = bound[k];
                for (keep, alpha) in best.alphas.iter_mut().zip(&stated) {
                    keep.column_mut(column).copy_from(&alpha.column(k));
                }
                best.betas[column].clone_from(&betas[k]);
            }
        }
        if iteration == config.iterations {
            break;
        }
        let primal = engine.primal(&current, Some(&stated), &trace);
        let power = iteration as i32 + 1;
        let (debias1, debias2) = (1.0 - 0.9_f64.powi(power), 1.0 - 0.99_f64.powi(power));
        let step = |m: &mut f64, s: &mut f64, g: f64| {
            *m = 0.9 * *m + 0.1 * g;
            *s = 0.99 * *s + 0.01 * g * g;
            (*m / debias1) / ((*s / debias2).sqrt() + 1e-12)
        };
        for (l, gradient) in primal.slopes.iter().enumerate() {
            let Some(gradient) = gradient else { continue };
            for k in 0..live.len() {
                let range = &current.cases[current.of[k]].ranges[l];
                let n = gradient.nrows();
                let g = &gradient.as_slice()[k * n..][..n];
                let a = &mut alphas[l].as_mut_slice()[k * n..][..n];
                let (m, s) = (&mut first[l].as_mut_slice()[k * n..][..n], &mut second[l].as_mut_slice()[k * n..][..n]);
                for &i in &range.unstable {
                    let i = i as usize;
                    if g[i] != 0.0 || m[i] != 0.0 {
                        a[i] = (a[i] - config.slope_step * rate * step(&mut m[i], &mut s[i], g[i])).clamp(0.0, 1.0);
                    }
                }
            }
        }
        for (k, betas) in betas.iter_mut().enumerate() {
            for (beta, (m, s)) in betas.iter_mut().zip(&mut beta_moments[k]) {
                let Some(actual) = &primal.actual[beta.layer] else { continue };
                let g = beta.sign * actual[(beta.neuron, k)];
                beta.value = (beta.value - config.multiplier_step * beta.scale * rate * step(m, s, g)).max(0.0);
            }
        }
        rate *= config.decay;
        // Columns that are low enough leave.
        let stays: Vec<usize> = (0..live.len()).filter(|&k| best.bound[live[k]] >= enough[live[k]]).collect();
        if stays.is_empty() {
            break;
        }
        if stays.len() * 5 <= live.len() * 4 {
            let select = |m: &Matrix| m.select_columns(&stays);
            alphas = alphas.iter().map(select).collect();
            first = first.iter().map(select).collect();
            second = second.iter().map(select).collect();
            current.coefficients = select(&current.coefficients);
            current.of = stays.iter().map(|&k| current.of[k]).collect();
            betas = stays.iter().map(|&k| std::mem::take(&mut betas[k])).collect();
            beta_moments = stays.iter().map(|&k| std::mem::take(&mut beta_moments[k])).collect();
            live = stays.iter().map(|&k| live[k]).collect();
        }
    }
    best
}
