//! From floating-point results to the text of a proof: rounding slopes, naming tensors, sharing slope sets.

use crate::graph::Graph;
use crate::relax::back_substitution::Normals;
use nalgebra::DVector;
use scalecheck::certificate::{CloseText, DualText, MultiplierText, NodeText, ProofText, RefineText, SlopesText};
use scalecheck::problem::Problem;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Slopes are written as integers over `2^SLOPE_BITS`.
pub const SLOPE_BITS: u32 = 8;
/// The slope 1 as it is written.
pub const ONE: f64 = (1_u32 << SLOPE_BITS) as f64;
/// Multipliers are written as integers over `2^MULTIPLIER_BITS`.
const MULTIPLIER_BITS: i32 = 24;
/// Multipliers of what a cutoff sees are written with this many bits: every one of them costs its place in the file.
const DUAL_BITS: i32 = 18;
const FINE_DUAL_BITS: i32 = 44;

/// The nearest slope that a certificate can state.
pub fn nearest(slope: f64) -> f64 {
    (slope * ONE).round() / ONE
}

/// Lower slopes that differ from the default: by pre-activation tensor, (element, slope).
pub type Slopes = BTreeMap<usize, Vec<(usize, f64)>>;

/// Collects the tables of one proof.
pub struct Builder<'p> {
    problem: &'p Problem,
    proof: ProofText,
    tensors: HashMap<usize, usize>,
    sets: HashMap<Vec<(usize, Vec<i64>)>, usize>,
    /// Sets by address, which the caller keeps alive.
    shared: HashMap<usize, Option<usize>>,
}

impl<'p> Builder<'p> {
    pub fn new(problem: &'p Problem) -> Self {
        let proof = ProofText { slope_bits: SLOPE_BITS, ..ProofText::default() };
        Builder { problem, proof, tensors: HashMap::new(), sets: HashMap::new(), shared: HashMap::new() }
    }

    /// Position of a tensor in the proof's list of names.
    pub fn tensor(&mut self, t: usize) -> usize {
        let list = &mut self.proof.tensors;
        *self.tensors.entry(t).or_insert_with(|| {
            list.push(self.problem.tensors[t].name.clone());
            list.len() - 1
        })
    }

    /// Position of a slope set; `None` if all slopes are the default.
    pub fn slopes(&mut self, slopes: &Slopes) -> Option<usize> {
        let mut set = Vec::new();
        for (&t, values) in slopes.iter().filter(|(_, v)| !v.is_empty()) {
            let mut list = vec![-1; self.problem.tensors[t].centre.len()];
            for &(i, slope) in values {
                list[i] = (slope.clamp(0.0, 1.0) * f64::from(1 << SLOPE_BITS)).round() as i64;
            }
            set.push((self.tensor(t), list));
        }
        if set.is_empty() {
            return None;
        }
        let sets = &mut self.proof.slopes;
        Some(*self.sets.entry(set).or_insert_with_key(|set| {
            let text = |(tensor, lower): &(usize, Vec<i64>)| SlopesText {
                tensor: *tensor,
                lower: Some(lower.clone()),
                upper: None,
            };
            sets.push(set.iter().map(text).collect());
            sets.len() - 1
        }))
    }

    /// Position of a slope set that several parts of a proof share.
    pub fn shared_slopes(
        &mut self,
        slopes: &Arc<Vec<Option<Vec<i16>>>>,
        tensor: impl Fn(usize) -> usize,
    ) -> Option<usize> {
        let key = Arc::as_ptr(slopes) as usize;
        if let Some(known) = self.shared.get(&key) {
            return *known;
        }
        let mut set = Vec::new();
        for (l, list) in slopes.iter().enumerate() {
            if let Some(list) = list {
                let lower = Some(list.iter().map(|&s| i64::from(s)).collect());
                set.push(SlopesText { tensor: self.tensor(tensor(l)), lower, upper: None });
            }
        }
        let position = (!set.is_empty()).then(|| {
            self.proof.slopes.push(set);
            self.proof.slopes.len() - 1
        });
        self.shared.insert(key, position);
        position
    }

    /// (tensor, element, β) as the certificate writes it.
    pub fn multipliers(&mut self, multipliers: &[(usize, usize, f64)]) -> Vec<MultiplierText> {
        let mut texts = Vec::new();
        for &(t, i, beta) in multipliers {
            let mantissa = (beta * f64::from(1 << MULTIPLIER_BITS)).round() as i64;
            if mantissa != 0 && mantissa.unsigned_abs() < 1 << 48 {
                let zeros = mantissa.trailing_zeros().min(MULTIPLIER_BITS as u32);
                texts.push((self.tensor(t), i, mantissa >> zeros, MULTIPLIER_BITS - zeros as i32));
            }
        }
        texts
    }

    /// The multipliers of tensors whose range is known, for one target.
    pub fn duals(&mut self, graph: &Graph, normals: &Normals, target: usize) -> Vec<DualText> {
        let mut texts = Vec::new();
        for (block, normal) in normals.blocks.iter().enumerate() {
            let Some(normal) = normal else { continue };
            let variables = &self.problem.domain[block];
            let Some(seen) = self.problem.find(&format!("{}.seen", variables.name)) else { continue };
            // Where nothing is hidden the bound is nearly zero, and all that is left is this rounding.
            let bits = if normal.nrows() >= variables.lower.len() { FINE_DUAL_BITS } else { DUAL_BITS };
            texts.extend(self.dual(seen, bits, -normal.column(target)));
        }
        if let (Some(ranged), Some(normal)) = (&graph.ranged, &normals.ranged) {
            texts.extend(self.dual(ranged.tensor, DUAL_BITS, normal.column(target).into_owned()));
        }
        texts
    }

    fn dual(&mut self, t: usize, bits: i32, beta: DVector<f64>) -> Option<DualText> {
        let largest = beta.amax();
        (largest > 0.0).then(|| {
            let exponent = (bits - largest.log2().ceil() as i32).clamp(-256, 256);
            let scale = 2_f64.powi(exponent);
            let mantissas = beta.iter().map(|beta| (beta * scale).round() as i64).collect();
            DualText { tensor: self.tensor(t), exponent, mantissas }
        })
    }

    /// Re-derives bounds of chosen elements, with default slopes.
    pub fn refine(&mut self, t: usize, rows: Vec<usize>) -> RefineText {
        let all = rows.len() == self.problem.tensors[t].centre.len();
        RefineText { tensor: self.tensor(t), rows: (!all).then_some(rows), ..RefineText::default() }
    }

    /// The proof with these nodes.
    pub fn finish(mut self, nodes: Vec<NodeText>) -> ProofText {
        self.proof.nodes = nodes;
        self.proof
    }

    /// A proof of one case.
    pub fn single(self, refine: Vec<RefineText>, close: Vec<CloseText>) -> ProofText {
        self.finish(vec![NodeText { refine, close: Some(close), ..NodeText::default() }])
    }
}
