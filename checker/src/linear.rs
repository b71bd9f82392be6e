//! Linear maps with structure: the `W` of an affine node, given by the entries that are not structurally zero.

use crate::conv::Conv;
use crate::exact::Exact;
use crate::number::{Rational, product};
use crate::weights::{Values, Weights};
use num::Zero;

/// Most places of a composed map, and multiply–accumulates that it takes.
const MAX_COMPOSED: usize = 1 << 22;
const MAX_COMPOSED_WORK: u64 = 1 << 30;

/// Where the entries of a linear map are. No row meets an input twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// `y[i] = w[i] · x[index[i]]`: scaling, permutation, broadcast.
    Gather(Vec<u32>),
    /// `y[o,r,i] = Σ_c w[r,c] · x[o,c,i]` over row-major tensors: a matrix product with a constant on either side.
    Dense { outer: usize, rows: usize, cols: usize, inner: usize },
    /// A convolution, of which every weight acts at all positions.
    Conv(Box<Conv>),
}

/// A linear map from `inputs` to `outputs` elements. Built by the constructors, which keep the parts consistent.
#[derive(Clone, Debug)]
pub struct Linear {
    inputs: usize,
    outputs: usize,
    pattern: Pattern,
    weights: Weights,
}

impl Linear {
    /// `y[i] = w[i] · x[index[i]]`, or `w[0]` for all `i` if there is one weight only. Every index is below `inputs`.
    pub fn gather(inputs: usize, index: Vec<u32>, weights: Weights) -> Option<Self> {
        let weights_fit = weights.mantissas().len() == 1 || weights.mantissas().len() == index.len();
        let fits = weights_fit && index.iter().all(|&i| (i as usize) < inputs);
        fits.then_some(Linear { inputs, outputs: index.len(), pattern: Pattern::Gather(index), weights })
    }

    pub fn identity(len: usize) -> Option<Self> {
        Self::gather(len, (0..u32::try_from(len).ok()?).collect(), Weights::constant(1))
    }

    /// The matrix `weights` (`rows` × `cols`, row-major) applied along one axis of a tensor `[outer, cols, inner]`.
    pub fn dense(outer: usize, rows: usize, cols: usize, inner: usize, weights: Weights) -> Option<Self> {
        let inputs = outer.checked_mul(cols)?.checked_mul(inner)?;
        let outputs = outer.checked_mul(rows)?.checked_mul(inner)?;
        let fits = rows.checked_mul(cols)? == weights.mantissas().len();
        fits.then_some(Linear { inputs, outputs, pattern: Pattern::Dense { outer, rows, cols, inner }, weights })
    }

    /// A convolution with weights `[group, output channel, input channel, tap y, tap x]`.
    pub fn conv(conv: Conv, weights: Weights) -> Option<Self> {
        let (inputs, outputs) = (conv.inputs()?, conv.outputs()?);
        let fits = conv.weights()? == weights.mantissas().len();
        fits.then_some(Linear { inputs, outputs, pattern: Pattern::Conv(Box::new(conv)), weights })
    }

    /// A gather with a weight of its own for every output.
    pub fn with_each(self, weights: Weights) -> Option<Self> {
        let Pattern::Gather(index) = self.pattern else { return None };
        Self::gather(self.inputs, index, weights)
    }

    /// The same pattern with other weights, as many as before.
    pub fn with_weights(&self, weights: Weights) -> Option<Self> {
        let fits = weights.mantissas().len() == self.weights.mantissas().len();
        fits.then(|| Linear { weights, ..self.clone() })
    }

    /// `other − self`, for maps of one pattern; `None` if they are equal.
    pub fn difference(&self, other: &Linear) -> Option<Option<Self>> {
        let count = |linear: &Linear| linear.weights.mantissas().len();
        let value = |linear: &Linear, k: usize| linear.weights.value(if count(linear) == 1 { 0 } else { k });
        let each = count(self).max(count(other));
        let values: Vec<Rational> = (0..each).map(|k| value(other, k) - value(self, k)).collect();
        if values.iter().all(Zero::is_zero) {
            return Some(None);
        }
        let weights = Weights::new(Values::Rational(values))?;
        Some(Some(Linear { weights, ..self.clone() }))
    }

    /// `self ∘ inner` as a matrix; `None` if they do not fit, or either is not a matrix or a gather, or it takes more than
    /// [`MAX_COMPOSED_WORK`] multiply–accumulates or either map or the result has more than [`MAX_COMPOSED`] places.
    pub fn compose(&self, inner: &Linear) -> Option<Self> {
        let is_matrix = |linear: &Linear| match linear.pattern {
            Pattern::Dense { outer, inner, .. } => outer == 1 && inner == 1,
            Pattern::Gather(_) => true,
            Pattern::Conv(_) => false,
        };
        let entries = self.outputs.checked_mul(inner.inputs).filter(|entries| *entries <= MAX_COMPOSED)?;
        let small = |linear: &Linear| linear.inputs.checked_mul(linear.outputs).is_some_and(|n| n <= MAX_COMPOSED);
        let work = self.entries().checked_mul(inner.inputs as u64).is_some_and(|work| work <= MAX_COMPOSED_WORK);
        let fits = self.inputs == inner.outputs && is_matrix(self) && is_matrix(inner) && small(inner) && work;
        fits.then_some(())?;
        // By columns: what this map makes of each column of the inner one.
        let mut columns = vec![vec![Rational::zero(); inner.outputs]; inner.inputs];
        inner.for_each_entry(|o, i, k| columns[i][o] += inner.weights.value(k));
        let mut values = vec![Rational::zero(); entries];
        for (i, column) in columns.iter().enumerate() {
            let image = Exact::from_rationals(column).apply(self);
            (0..self.outputs).for_each(|o| values[o * inner.inputs + i] = image.get(o));
        }
        Self::dense(1, self.outputs, inner.inputs, 1, Weights::new(Values::Rational(values))?)
    }

    pub fn inputs(&self) -> usize {
        self.inputs
    }

    pub fn outputs(&self) -> usize {
        self.outputs
    }

    pub fn weights(&self) -> &Weights {
        &self.weights
    }

    pub fn pattern(&self) -> &Pattern {
        &self.pattern
    }

    /// True for `y = x`, however the map is stored. Weights that meet no input count for nothing.
    pub fn is_identity(&self) -> bool {
        // Nearly every other map ends here.
        if self.inputs != self.outputs || !self.weights.has_one() {
            return false;
        }
        // No row meets an input twice, so as many ones as rows, all on the diagonal, are one in each row.
        let (mut ones, mut others) = (0, false);
        self.for_each_entry(|output, input, k| match self.weights.is_one(k) {
            true if output == input => ones += 1,
            one => others |= one || !self.weights.is_zero(k),
        });
        ones == self.outputs && !others
    }

    /// True for a map that only moves elements, flips signs and puts zeros.
    pub fn is_signed_gather(&self) -> bool {
        let unit = self.weights.exp() == 0 && self.weights.mantissas().iter().all(|m| m.abs() <= 1);
        matches!(self.pattern, Pattern::Gather(_)) && unit && self.weights.exact().is_none()
    }

    /// Number of entries: multiply–accumulates of one application.
    pub fn entries(&self) -> u64 {
        match &self.pattern {
            Pattern::Gather(_) => self.outputs as u64,
            Pattern::Dense { cols, .. } => self.outputs as u64 * *cols as u64,
            Pattern::Conv(conv) => conv.entries(),
        }
    }

    /// An upper bound on the entries in one column: terms of one sum in [`Linear::add_transposed`].
    pub fn column_terms(&self) -> usize {
        match &self.pattern {
            Pattern::Gather(_) => self.outputs,
            Pattern::Dense { rows, .. } => *rows,
            Pattern::Conv(conv) => conv.column_terms(),
        }
    }

    /// Calls `f(output, input, weight index)` once for every entry.
    #[inline]
    pub fn for_each_entry(&self, mut f: impl FnMut(usize, usize, usize)) {
        match &self.pattern {
            Pattern::Conv(conv) => conv.for_each_entry(f),
            Pattern::Gather(index) => {
                let shared = self.weights.mantissas().len() == 1;
                for (output, &input) in index.iter().enumerate() {
                    f(output, input as usize, if shared { 0 } else { output });
                }
            }
            &Pattern::Dense { outer, rows, cols, inner } => {
                for o in 0..outer {
                    for r in 0..rows {
                        for c in 0..cols {
                            for i in 0..inner {
                                f((o * rows + r) * inner + i, (o * cols + c) * inner + i, r * cols + c);
                            }
                        }
                    }
                }
            }
        }
    }

    /// `acc += Wᵀ v` in weight mantissas: the inner loop of back-substitution. The caller has proved that the sums
    /// fit: bits(v) + bits(weights) + ⌈log2 column_terms⌉ ≤ 126.
    pub fn add_transposed(&self, v: &[i64], acc: &mut [i128]) {
        let w = self.weights.mantissas();
        if let Pattern::Conv(conv) = &self.pattern {
            return conv.add_transposed(w, v, acc);
        }
        if let &Pattern::Dense { rows, cols, inner: 1, .. } = &self.pattern
            && rows > 0
            && cols > 0
        {
            for (v, acc) in v.chunks_exact(rows).zip(acc.chunks_exact_mut(cols)) {
                for (&vr, row) in v.iter().zip(w.chunks_exact(cols)).filter(|(v, _)| **v != 0) {
                    for (a, &weight) in acc.iter_mut().zip(row) {
                        *a = a.wrapping_add(product(vr, weight));
                    }
                }
            }
            return;
        }
        self.for_each_entry(|output, input, k| acc[input] += i128::from(v[output]) * i128::from(w[k]));
    }
}
