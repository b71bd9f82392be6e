//! The problem in floating point: what the untrusted search computes with. Shapes: a matrix holds one point or one
//! target a column; a tensor's elements are its rows.

use crate::relax::pair;
use crate::subspace::{Cut, Subspace, Support};
use nalgebra::{DMatrix, DMatrixView, DMatrixViewMut, DVector, DVectorView};
use num::{One, ToPrimitive, Zero};
use scalecheck::conv::{Axis, Conv};
use scalecheck::ladder::{Ladder, Variables};
use scalecheck::linear::{Linear, Pattern};
use scalecheck::number::Rational;
use scalecheck::problem::{self, Problem};
use scalecheck::weights::{Values, Weights};
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Range;
use std::sync::{Arc, Mutex};

/// A linear map in `f64`.
pub enum Map {
    /// `y[i] = weights[i] · x[index[i]]`.
    Gather { inputs: usize, index: Vec<usize>, weights: Vec<f64> },
    /// `y[o,r,i] = Σ_c w[r,c] x[o,c,i]`. The transpose is kept as well: products with it are many times as fast as
    /// transposed products.
    Dense { outer: usize, inner: usize, w: DMatrix<f64>, transposed: DMatrix<f64> },
    /// A convolution: for each group the matrix from patches of the input to output channels, and its transpose.
    Conv { conv: Conv, w: Vec<DMatrix<f64>>, back: Vec<DMatrix<f64>> },
}

impl Map {
    fn new(linear: &Linear) -> Map {
        let w = floats_of(linear);
        match linear.pattern() {
            Pattern::Gather(index) => Map::Gather {
                inputs: linear.inputs(),
                index: index.iter().map(|&i| i as usize).collect(),
                weights: if w.len() == 1 { vec![w[0]; index.len()] } else { w },
            },
            &Pattern::Dense { outer, rows, cols, inner } => {
                Map::dense(outer, inner, DMatrix::from_row_slice(rows, cols, &w))
            }
            Pattern::Conv(conv) => {
                let patch = conv.inner * conv.y.taps() * conv.x.taps();
                let matrix = |w: &[f64]| DMatrix::from_column_slice(patch, conv.outer, w);
                Map::conv(**conv, w.chunks_exact(conv.outer * patch).map(matrix).collect())
            }
        }
    }

    fn dense(outer: usize, inner: usize, w: DMatrix<f64>) -> Map {
        Map::Dense { outer, inner, transposed: w.transpose(), w }
    }

    fn conv(conv: Conv, w: Vec<DMatrix<f64>>) -> Map {
        let back = w.iter().map(DMatrix::transpose).collect();
        Map::Conv { conv, w, back }
    }

    /// The same with the magnitudes of the weights.
    fn abs(&self) -> Map {
        match self {
            Map::Gather { inputs, index, weights } => {
                let weights = weights.iter().map(|w| w.abs()).collect();
                Map::Gather { inputs: *inputs, index: index.clone(), weights }
            }
            Map::Dense { outer, inner, w, .. } => Map::dense(*outer, *inner, w.abs()),
            Map::Conv { conv, w, .. } => Map::conv(*conv, w.iter().map(DMatrix::abs).collect()),
        }
    }

    /// `W x` for every column.
    pub fn apply(&self, x: &DMatrix<f64>) -> DMatrix<f64> {
        match self {
            Map::Gather { index, weights, .. } => {
                DMatrix::from_fn(index.len(), x.ncols(), |i, k| weights[i] * x[(index[i], k)])
            }
            Map::Dense { outer: 1, inner: 1, w, .. } => w * x,
            Map::Dense { outer, inner, w, .. } => slices(x, *outer, *inner, w.ncols(), w.nrows(), |part| w * part),
            Map::Conv { conv, w, .. } => {
                let (pixels, mut patches) = (pixels(conv), patches(conv));
                let mut out = DMatrix::zeros(conv.outputs().unwrap_or(0), x.ncols());
                for (g, from, to) in images(conv, x.ncols()) {
                    let x = &x.as_slice()[from];
                    runs(conv, |run, inputs| {
                        patches.as_mut_slice()[run]
                            .iter_mut()
                            .zip(x[inputs.0..].iter().step_by(inputs.1))
                            .for_each(|(p, x)| *p = *x);
                    });
                    let mut y = DMatrixViewMut::from_slice(&mut out.as_mut_slice()[to], pixels, conv.outer);
                    y.gemm(1.0, &patches, &w[g], 0.0);
                }
                out
            }
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
            Map::Dense { outer: 1, inner: 1, transposed, .. } => transposed * v,
            Map::Dense { outer, inner, w, transposed } => {
                slices(v, *outer, *inner, w.nrows(), w.ncols(), |part| transposed * part)
            }
            Map::Conv { conv, back, .. } => {
                let (pixels, mut patches) = (pixels(conv), patches(conv));
                let mut out = DMatrix::zeros(conv.inputs().unwrap_or(0), v.ncols());
                for (g, to, from) in images(conv, v.ncols()) {
                    let v = DMatrixView::from_slice(&v.as_slice()[from], pixels, conv.outer);
                    patches.gemm(1.0, &v, &back[g], 0.0);
                    let x = &mut out.as_mut_slice()[to];
                    runs(conv, |run, inputs| {
                        x[inputs.0..]
                            .iter_mut()
                            .step_by(inputs.1)
                            .zip(&patches.as_slice()[run])
                            .for_each(|(x, p)| *x += *p);
                    });
                }
                out
            }
        }
    }

    /// Which inputs have an entry with a marked output.
    fn touched(&self, marked: &[bool]) -> Vec<bool> {
        let marks = DMatrix::from_fn(marked.len(), 1, |i, _| f64::from(u8::from(marked[i])));
        let counts = self.abs().transposed(&marks);
        counts.iter().map(|&count| count > 0.0).collect()
    }

    /// Interval image of a box given by centre and radius: `(W m, |W| r)`.
    pub fn interval(&self, middle: &DMatrix<f64>, radius: &DMatrix<f64>) -> (DMatrix<f64>, DMatrix<f64>) {
        (self.apply(middle), self.abs().apply(radius))
    }
}

/// Positions of an output channel.
fn pixels(conv: &Conv) -> usize {
    conv.y.output() * conv.x.output()
}

/// Zeros for what each position of the output sees of one group, a position a row.
fn patches(conv: &Conv) -> DMatrix<f64> {
    DMatrix::zeros(pixels(conv), conv.inner * conv.y.taps() * conv.x.taps())
}

/// For all columns, images and groups: the group, and where its inputs and outputs are.
fn images(conv: &Conv, columns: usize) -> impl Iterator<Item = (usize, Range<usize>, Range<usize>)> {
    let (inputs, outputs) = (conv.inner * conv.y.input() * conv.x.input(), conv.outer * pixels(conv));
    let groups = conv.groups;
    let part = move |i| (i % groups, i * inputs..(i + 1) * inputs, i * outputs..(i + 1) * outputs);
    (0..columns * conv.batch * conv.groups).map(part)
}

/// For every run of neighbouring patches: where it is in the matrix of patches, and where its inputs start and their step.
fn runs(conv: &Conv, mut f: impl FnMut(Range<usize>, (usize, usize))) {
    let (y, x): (&Axis, &Axis) = (&conv.y, &conv.x);
    for c in 0..conv.inner {
        for (ky, kx) in (0..y.taps()).flat_map(|ky| (0..x.taps()).map(move |kx| (ky, kx))) {
            let (tap, xs) = ((c * y.taps() + ky) * x.taps() + kx, x.outputs(kx));
            for oy in y.outputs(ky).filter(|_| !xs.is_empty()) {
                let row = tap * pixels(conv) + oy * x.output();
                let first = (c * y.input() + y.at(oy, ky)) * x.input() + x.at(xs.start, kx);
                f(row + xs.start..row + xs.end, (first, x.stride()));
            }
        }
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
    /// What a ReLU makes of a change of its input.
    ReluPair {
        base: usize,
        change: usize,
    },
    /// What changed weights add.
    Weights(Vec<WeightPart>),
}

/// `e = (S ∘ z) a`, z the variables of a block from `first` on, a actual values.
pub struct WeightPart {
    pub block: usize,
    pub first: usize,
    pub source: Source,
    spread: Arc<Linear>,
    weights: Vec<f64>,
    /// S as a map.
    pub map: Arc<Map>,
}

/// The actual values that changed weights act on.
pub enum Source {
    Tensor(usize),
    Clean(Vec<f64>),
}

impl WeightPart {
    /// Actual values, one point a column, given all deviations.
    fn actual(&self, graph: &Graph, values: &[DMatrix<f64>], columns: usize) -> DMatrix<f64> {
        match &self.source {
            Source::Clean(a) => DMatrix::from_fn(a.len(), columns, |i, _| a[i]),
            Source::Tensor(t) => {
                let centre = &graph.tensors[*t].centre;
                DMatrix::from_fn(centre.len(), columns, |i, k| centre[i] + values[*t][(i, k)])
            }
        }
    }

    fn apply(&self, graph: &Graph, values: &[DMatrix<f64>], z: &DMatrix<f64>) -> DMatrix<f64> {
        let a = self.actual(graph, values, z.ncols());
        let mut e = DMatrix::zeros(self.spread.outputs(), z.ncols());
        for c in 0..z.ncols() {
            self.spread.for_each_entry(|o, i, k| e[(o, c)] += self.weights[k] * z[(self.first + k, c)] * a[(i, c)]);
        }
        e
    }

    /// Gradient of `v · e`: it is added to that of the block, and returned for the source.
    pub fn gradient(
        &self,
        graph: &Graph,
        values: &[DMatrix<f64>],
        z: &DMatrix<f64>,
        v: &DMatrix<f64>,
        block: &mut DMatrix<f64>,
    ) -> DMatrix<f64> {
        let a = self.actual(graph, values, z.ncols());
        let mut source = DMatrix::zeros(self.spread.inputs(), z.ncols());
        for c in 0..z.ncols() {
            self.spread.for_each_entry(|o, i, k| {
                let s = self.weights[k] * v[(o, c)];
                block[(self.first + k, c)] += s * a[(i, c)];
                source[(i, c)] += s * z[(self.first + k, c)];
            });
        }
        source
    }
}

pub struct Tensor {
    pub op: Op,
    /// Value at the clean input.
    pub centre: Vec<f64>,
    /// Known range of the deviation.
    pub clip: Option<(Vec<f64>, Vec<f64>)>,
}

/// A block of variables: a box with zero-sum groups, or one cut with a subspace.
pub struct Block {
    pub lower: Vec<f64>,
    pub upper: Vec<f64>,
    pub groups: Vec<Vec<usize>>,
    pub ungrouped: Vec<usize>,
    pub subspace: Option<Arc<Subspace>>,
    /// Variables that move together or not at all.
    pub tied: Option<Tied>,
}

/// A block of which every variable is one of fewer variables, or zero: what a band between two rungs of groups is.
pub struct Tied {
    pub of: Vec<Option<usize>>,
    pub variables: Variables,
    /// Constraints `rows · w = 0` that are not sums of groups.
    pub rows: Vec<Vec<Rational>>,
    pub block: Box<Block>,
}

impl Tied {
    /// The band that a block must keep to, if it must, and if that is a matter of groups or of single variables.
    fn new(problem: &Problem, block: usize) -> Option<Self> {
        let band = problem.bands.iter().find(|band| band.blocks.contains(&block))?;
        let (all, n) = (&problem.domain[block], problem.domain[block].lower.len());
        let mut of = vec![None; n];
        let mut tie = |groups: &[Vec<u32>]| {
            for (w, group) in groups.iter().enumerate() {
                group.iter().for_each(|&j| of[j as usize] = Some(w));
            }
        };
        let generator = || band.ladder.generator(band.seen, &[Rational::one()], n).ok();
        match &*band.ladder {
            // A residual is finer than every rung.
            _ if block != band.blocks.start => {}
            Ladder::None | Ladder::Modes(_) => return None,
            Ladder::BlockMean(_) | Ladder::Groups(_) => tie(&generator()?.parts[0].variables.groups),
            Ladder::Dictionary(dictionary) => tie(&dictionary.levels.groups(band.seen, n).ok()?),
            Ladder::Haar(_) | Ladder::Wavelet(..) => {
                let unit = |j: usize| (0..n).map(|i| Rational::from_integer(u8::from(i == j).into())).collect();
                let coarse = (0..n).filter(|&j| band.ladder.sees_all(band.seen, &[unit(j)]));
                let single: Vec<Vec<u32>> = coarse.map(|j| vec![j as u32]).collect();
                tie(&single);
            }
        }
        let count = of.iter().flatten().max().map_or(0, |w| w + 1);
        let mut variables = Variables::boxed(&vec![Rational::zero(); count], vec![]);
        for w in 0..count {
            let members = || of.iter().enumerate().filter(|(_, o)| **o == Some(w)).map(|(j, _)| j);
            variables.lower[w] = members().map(|j| all.lower[j].clone()).max().unwrap_or_default();
            variables.upper[w] = members().map(|j| all.upper[j].clone()).min().unwrap_or_default();
        }
        let mut sizes = Vec::new();
        for group in &all.groups {
            let mut size = vec![0_usize; count];
            group.iter().filter_map(|&j| of[j as usize]).for_each(|w| size[w] += 1);
            sizes.push(size);
        }
        let equal = |size: &Vec<usize>| {
            let mut inside = size.iter().filter(|&&s| s > 0);
            inside.next().is_none_or(|first| inside.all(|s| s == first))
        };
        let mut rows: Vec<Vec<Rational>> = Vec::new();
        if sizes.iter().all(equal) {
            let members = |size: &Vec<usize>| (0_u32..).zip(size).filter(|(_, s)| **s > 0).map(|(w, _)| w).collect();
            variables.groups = sizes.iter().map(members).filter(|group: &Vec<u32>| !group.is_empty()).collect();
        } else {
            rows.extend(sizes.iter().map(|size| size.iter().map(|&s| Rational::from_integer(s.into())).collect()));
        }
        variables.tighten();
        let mut block = Block::new(&variables);
        if !rows.is_empty() {
            block.subspace = Subspace::hidden_from(&dense(&rows, count)?).map(Arc::new);
        }
        Some(Tied { of, variables, rows, block: Box::new(block) })
    }

    /// From values of the fewer variables to those of the block.
    pub fn spread<T: Clone>(&self, w: &[T], zero: &T) -> Vec<T> {
        self.of.iter().map(|of| of.map_or_else(|| zero.clone(), |of| w[of].clone())).collect()
    }

    /// From values of the block to those of the fewer variables.
    pub fn gather(&self, z: &[f64]) -> Vec<f64> {
        let mut w = vec![0.0; self.variables.lower.len()];
        self.of.iter().zip(z).for_each(|(of, z)| {
            if let Some(of) = of {
                w[*of] = *z;
            }
        });
        w
    }
}

/// A matrix as an exact map.
fn dense(rows: &[Vec<Rational>], columns: usize) -> Option<Linear> {
    let weights = Weights::new(Values::Rational(rows.iter().flatten().cloned().collect()))?;
    Linear::dense(1, rows.len(), columns, 1, weights)
}

/// One halfspace of a cell: the slack `bound + objective · d` is below zero outside of it.
pub struct Halfspace {
    pub cell: usize,
    pub row: usize,
    pub objective: Vec<(usize, f64)>,
    pub bound: f64,
}

impl Halfspace {
    /// The slack at the deviations of the output in column `k`.
    pub fn slack(&self, output: &DMatrix<f64>, k: usize) -> f64 {
        self.bound + self.objective.iter().map(|&(i, a)| a * output[(i, k)]).sum::<f64>()
    }
}

pub struct Graph {
    pub tensors: Vec<Tensor>,
    pub blocks: Vec<Block>,
    /// All rows of all cells. For a claim about a scale, a cell has one row, and this is the list of cells.
    pub halfspaces: Vec<Halfspace>,
    pub output: usize,
    /// Of a tensor that is a change of a ReLU's input, that input.
    pub bases: Vec<Option<usize>>,
    /// Tensors that hold what a cutoff sees.
    seen: Vec<usize>,
    /// A tensor that variables generate and whose range is known, which the support function can use.
    pub ranged: Option<Ranged>,
}

/// A tensor `d = U z` with d in a known range beside z in its box: (z, d) is a box cut with a subspace.
pub struct Ranged {
    pub tensor: usize,
    /// Blocks of variables, each with the position of its first one.
    blocks: Vec<(usize, usize)>,
    cut: Cut,
    lower: Vec<f64>,
    upper: Vec<f64>,
    variables: usize,
}

/// Maximisers of linear functions of a [`Ranged`] tensor, one a column.
pub struct RangedSupport {
    /// Upper bounds of the maxima.
    pub values: Vec<f64>,
    /// Variables, by block.
    pub points: Vec<(usize, DMatrix<f64>)>,
    /// What gives the bounds at the tensor.
    pub multipliers: DMatrix<f64>,
}

/// Most variables and elements for which the known range is used in bounds.
const MAX_RANGED: usize = 2048;

impl Ranged {
    fn new(graph: &Graph) -> Option<Self> {
        let tensor = graph.clipped().find(|t| graph.is_used(*t))?;
        let (Op::Affine(terms), Some((low, high))) = (&graph.tensors[tensor].op, &graph.tensors[tensor].clip) else {
            return None;
        };
        let (mut blocks, mut variables) = (Vec::new(), 0);
        let mut columns: Vec<DMatrix<f64>> = Vec::new();
        for (p, map) in terms {
            let Op::Variables(block) = graph.tensors[*p].op else { return None };
            let b = &graph.blocks[block];
            let n = b.lower.len();
            // A group of one variable fixes it to zero, as its box does.
            if b.subspace.is_some() || b.tied.is_some() || b.groups.iter().any(|g| g.len() > 1) || n > MAX_RANGED {
                return None;
            }
            let u = map.apply(&DMatrix::identity(n, n));
            match blocks.iter().position(|(known, _)| *known == block) {
                Some(k) => columns[k] += u,
                None => {
                    blocks.push((block, variables));
                    variables += n;
                    columns.push(u);
                }
            }
        }
        if variables + low.len() > MAX_RANGED {
            return None;
        }
        let mut u = DMatrix::zeros(low.len(), variables);
        for ((_, first), part) in blocks.iter().zip(&columns) {
            u.columns_mut(*first, part.ncols()).copy_from(part);
        }
        let ends = |side: fn(&Block) -> &Vec<f64>, range: &[f64]| {
            blocks.iter().flat_map(|(b, _)| side(&graph.blocks[*b])).chain(range).copied().collect()
        };
        let (lower, upper) = (ends(|b| &b.lower, low), ends(|b| &b.upper, high));
        Some(Ranged { tensor, cut: Cut::graph(&u)?, blocks, lower, upper, variables })
    }

    /// Replaces, in the blocks concerned, the points at which linear functions of the variables are largest in the boxes by
    /// points that keep to the range as well.
    pub fn vertices(&self, gradient: &[DMatrix<f64>], points: &mut [DMatrix<f64>], effort: usize) {
        let Some((block, _)) = self.blocks.first() else { return };
        let mut both = DMatrix::zeros(self.lower.len(), gradient[*block].ncols());
        for (block, first) in &self.blocks {
            both.rows_mut(*first, gradient[*block].nrows()).copy_from(&gradient[*block]);
        }
        let (found, ..) = self.cut.support(&both, &self.lower, &self.upper, effort, &mut None);
        for (block, first) in &self.blocks {
            points[*block].copy_from(&found.rows(*first, gradient[*block].nrows()));
        }
    }

    /// Maximises `v · d` for every column of `v`.
    pub fn support(&self, v: &DMatrix<f64>, effort: usize, warm: &mut Option<DMatrix<f64>>) -> RangedSupport {
        let mut both = DMatrix::zeros(self.lower.len(), v.ncols());
        both.rows_mut(self.variables, v.nrows()).copy_from(v);
        let (points, values, reduced) = self.cut.support(&both, &self.lower, &self.upper, effort, warm);
        let ends = self.blocks.iter().skip(1).map(|(_, first)| *first).chain([self.variables]);
        let parts = self
            .blocks
            .iter()
            .zip(ends)
            .map(|((block, first), end)| (*block, points.rows(*first, end - first).into_owned()));
        // What the range takes of v, the multiplier takes away.
        let multipliers = -reduced.rows(self.variables, v.nrows());
        RangedSupport { values, points: parts.collect(), multipliers }
    }
}

/// Maps that several problems of one model share, by the identity of the exact map.
#[derive(Default)]
pub struct Maps {
    known: Mutex<HashMap<usize, Known>>,
    /// What coarse maps do not see, by a hash of their weights.
    subspaces: Mutex<HashMap<u64, Option<Arc<Subspace>>>>,
}

/// An exact map and its image. Both are kept, so that an address is never reused for another map.
type Known = (Arc<Linear>, Arc<Map>);

impl Maps {
    fn subspace(&self, linear: &Linear) -> Option<Arc<Subspace>> {
        let mut hasher = DefaultHasher::new();
        (linear.inputs(), linear.outputs(), linear.weights().exp(), linear.weights().mantissas()).hash(&mut hasher);
        let mut known = self.subspaces.lock().unwrap_or_else(|e| e.into_inner());
        known.entry(hasher.finish()).or_insert_with(|| Subspace::hidden_from(linear).map(Arc::new)).clone()
    }

    fn get(&self, linear: &Arc<Linear>) -> Arc<Map> {
        let mut known = self.known.lock().unwrap_or_else(|e| e.into_inner());
        let key = Arc::as_ptr(linear) as usize;
        if Arc::strong_count(linear) == 1 {
            // Only this problem uses it.
            return Arc::new(Map::new(linear));
        }
        let (_, map) = known.entry(key).or_insert_with(|| (Arc::clone(linear), Arc::new(Map::new(linear))));
        Arc::clone(map)
    }
}

/// Nearest `f64` of an exact number.
pub fn float(x: &Rational) -> f64 {
    x.to_f64().unwrap_or(f64::NAN)
}

fn floats_of(linear: &Linear) -> Vec<f64> {
    let scale = 2_f64.powi(-linear.weights().exp());
    linear.weights().mantissas().iter().map(|&m| m as f64 * scale).collect()
}

pub fn floats(values: &[Rational]) -> Vec<f64> {
    values.iter().map(float).collect()
}

impl Graph {
    /// The problem; `banded` if its points must comply with the bands that it is about, which only attacks care for.
    pub fn new(problem: &Problem, maps: &Maps, banded: bool) -> Graph {
        let part = |part: &problem::WeightPart| WeightPart {
            block: part.block,
            first: part.first,
            source: match &part.source {
                problem::Source::Tensor(t) => Source::Tensor(*t),
                problem::Source::Clean(values) => Source::Clean(floats(&values.to_rationals())),
            },
            spread: Arc::clone(&part.above),
            weights: floats_of(&part.above),
            map: Arc::new(Map::new(&part.above)),
        };
        let tensors = problem.tensors.iter().map(|t| Tensor {
            op: match &t.op {
                problem::Op::Variables(block) => Op::Variables(*block),
                problem::Op::Relu(from) => Op::Relu(*from),
                problem::Op::ReluPair { base, change } => Op::ReluPair { base: *base, change: *change },
                problem::Op::Affine(terms) => Op::Affine(terms.iter().map(|(p, w)| (*p, maps.get(w))).collect()),
                problem::Op::Weights(parts) => Op::Weights(parts.iter().map(part).collect()),
            },
            centre: floats(&t.centre.to_rationals()),
            clip: t.clip.as_ref().map(|(low, high)| (floats(low), floats(high))),
        });
        let blocks = problem.domain.iter().enumerate().map(|(i, v)| {
            let cutoff = problem.find(&format!("{}.seen", v.name)).and_then(|t| match &problem.tensors[t].op {
                problem::Op::Affine(terms) => Some(&terms[0].1),
                _ => None,
            });
            let mut block = Block::new(v);
            block.tied = if banded { Tied::new(problem, i) } else { None };
            let band = problem.bands.iter().find(|band| banded && band.blocks.contains(&i));
            let finer = band.and_then(|band| match &*band.ladder {
                Ladder::Modes(modes) => modes.seen(band.seen, v.lower.len()).ok().flatten(),
                _ => None,
            });
            block.subspace = match finer {
                Some(finer) => Some(Arc::new(Subspace::of_modes(&finer, cutoff.map(|linear| &**linear)))),
                None => cutoff.and_then(|linear| maps.subspace(linear)),
            };
            block
        });
        let seen = problem.domain.iter().filter_map(|v| problem.find(&format!("{}.seen", v.name))).collect();
        let halfspaces = problem.cells.iter().enumerate().flat_map(|(cell, c)| {
            c.rows.iter().enumerate().map(move |(row, h)| Halfspace {
                cell,
                row,
                objective: h.terms.iter().map(|&(i, a)| (i, -(a as f64))).collect(),
                bound: float(&h.bound),
            })
        });
        let mut bases = vec![None; problem.tensors.len()];
        for tensor in &problem.tensors {
            if let problem::Op::ReluPair { base, change } = tensor.op {
                bases[change] = Some(base);
            }
        }
        let mut graph = Graph {
            bases,
            halfspaces: halfspaces.collect(),
            tensors: tensors.collect(),
            blocks: blocks.collect(),
            output: problem.output,
            seen,
            ranged: None,
        };
        graph.ranged = Ranged::new(&graph);
        graph
    }

    pub fn len(&self, t: usize) -> usize {
        self.tensors[t].centre.len()
    }

    /// The halfspaces' objectives, one a column.
    pub fn objectives(&self) -> DMatrix<f64> {
        let mut matrix = DMatrix::zeros(self.len(self.output), self.halfspaces.len());
        for (h, mut column) in self.halfspaces.iter().zip(matrix.column_iter_mut()) {
            h.objective.iter().for_each(|&(i, a)| column[i] = a);
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
                Op::Weights(parts) => sum(parts.iter().map(|p| p.apply(self, &values, &points[p.block]))),
                Op::ReluPair { base, change } => {
                    let (c, k) = (&self.tensors[*base].centre, &self.tensors[*change].centre);
                    DMatrix::from_fn(c.len(), values[*base].ncols(), |i, j| {
                        let (u, w) = (c[i] + values[*base][(i, j)], k[i] + values[*change][(i, j)]);
                        pair::change(u, w) - pair::change(c[i], k[i])
                    })
                }
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
        let is_clipped = |t: &usize| {
            let has_range = self.tensors[*t].clip.is_some() && !self.seen.contains(t);
            has_range && matches!(self.tensors[*t].op, Op::Affine(_))
        };
        (0..self.tensors.len()).filter(is_clipped)
    }

    /// Whether another tensor is computed from this one.
    fn is_used(&self, t: usize) -> bool {
        self.tensors.iter().any(|tensor| match &tensor.op {
            Op::Variables(_) => false,
            Op::Relu(from) => *from == t,
            Op::ReluPair { base, change } => *base == t || *change == t,
            Op::Affine(terms) => terms.iter().any(|(from, _)| *from == t),
            Op::Weights(parts) => parts.iter().any(|part| matches!(part.source, Source::Tensor(from) if from == t)),
        })
    }

    /// The variables, by block, that move marked elements of an affine tensor; whole groups of them.
    pub fn movers(&self, t: usize, marked: &[bool]) -> Vec<Vec<bool>> {
        let mut movers: Vec<Vec<bool>> = self.blocks.iter().map(|b| vec![false; b.lower.len()]).collect();
        let Op::Affine(terms) = &self.tensors[t].op else { return movers };
        for (p, map) in terms {
            let touched = map.touched(marked);
            let Op::Variables(block) = self.tensors[*p].op else {
                let earlier = self.movers(*p, &touched);
                movers.iter_mut().flatten().zip(earlier.into_iter().flatten()).for_each(|(m, e)| *m |= e);
                continue;
            };
            movers[block].iter_mut().zip(touched).for_each(|(m, t)| *m |= t);
            if self.blocks[block].subspace.is_some() && movers[block].contains(&true) {
                movers[block].fill(true);
            }
            for group in &self.blocks[block].groups {
                if group.iter().any(|&j| movers[block][j]) {
                    group.iter().for_each(|&j| movers[block][j] = true);
                }
            }
        }
        movers
    }

    /// Where linear functions of the variables are largest, one a column: nearly exact, and nearly in every known range.
    pub fn vertices(&self, gradient: &[DMatrix<f64>], effort: usize) -> Vec<DMatrix<f64>> {
        let vertex = |(block, g): (&Block, &DMatrix<f64>)| block.support(g, effort, &mut None).points;
        let mut points: Vec<DMatrix<f64>> = self.blocks.iter().zip(gradient).map(vertex).collect();
        if let Some(ranged) = &self.ranged {
            ranged.vertices(gradient, &mut points, effort);
        }
        points
    }

    /// Shrinks the variables that push a tensor out of its known range, in every column, until none does. What
    /// [`Graph::vertices`] nearly keeps to is left to be made exact in the end.
    pub fn keep_in_range(&self, points: &mut [DMatrix<f64>]) {
        if self.ranged.is_some() {
            return;
        }
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
    fn new(v: &Variables) -> Block {
        let groups: Vec<Vec<usize>> = v.groups.iter().map(|g| g.iter().map(|&j| j as usize).collect()).collect();
        let mut free = vec![true; v.lower.len()];
        groups.iter().flatten().for_each(|&j| free[j] = false);
        let ungrouped = (0..free.len()).filter(|&j| free[j]).collect();
        Block { lower: floats(&v.lower), upper: floats(&v.upper), groups, ungrouped, subspace: None, tied: None }
    }

    /// The points of the block at which `v · z` is largest, one a column, and those values from above; with a subspace
    /// also the coefficients along it that give them. `effort` is how many steps a subspace may take from `warm`.
    pub fn support(&self, v: &DMatrix<f64>, effort: usize, warm: &mut Option<DMatrix<f64>>) -> Support {
        if let Some(tied) = &self.tied {
            let mut inner = DMatrix::zeros(tied.variables.lower.len(), v.ncols());
            for (j, of) in tied.of.iter().enumerate() {
                if let Some(w) = of {
                    (0..v.ncols()).for_each(|k| inner[(*w, k)] += v[(j, k)]);
                }
            }
            let found = tied.block.support(&inner, effort, warm);
            let column = |z: DVectorView<'_, f64>| DVector::from_vec(tied.spread(z.as_slice(), &0.0));
            let columns: Vec<DVector<f64>> = found.points.column_iter().map(column).collect();
            return Support { points: DMatrix::from_columns(&columns), values: found.values, normal: None };
        }
        if let Some(subspace) = &self.subspace {
            return subspace.support(v, &self.lower, &self.upper, effort, warm);
        }
        let mut points = DMatrix::zeros(v.nrows(), v.ncols());
        let mut values = Vec::with_capacity(v.ncols());
        for (v, mut z) in v.column_iter().zip(points.column_iter_mut()) {
            self.maximiser(v.as_slice(), z.as_mut_slice());
            values.push(v.dot(&z));
        }
        Support { points, values, normal: None }
    }

    /// The point of the block at which `v · z` is largest, as precisely as can be.
    pub fn vertex(&self, v: &[f64]) -> Option<Vec<f64>> {
        if let Some(tied) = &self.tied {
            let mut inner = vec![0.0; tied.variables.lower.len()];
            tied.of.iter().zip(v).filter_map(|(of, v)| Some((*of.as_ref()?, v))).for_each(|(w, v)| inner[w] += v);
            return Some(tied.spread(&tied.block.vertex(&inner)?, &0.0));
        }
        if let Some(subspace) = &self.subspace {
            return subspace.vertex(v, &self.lower, &self.upper);
        }
        let mut z = vec![0.0; v.len()];
        self.maximiser(v, &mut z);
        Some(z)
    }

    /// The point of a block without a subspace at which `v · z` is largest: each variable at an end of its range, but for
    /// one in each group, which makes the group sum to zero.
    fn maximiser(&self, v: &[f64], z: &mut [f64]) {
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
}
