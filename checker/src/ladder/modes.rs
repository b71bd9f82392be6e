//! Modes: a matrix whose rows are ordered from the coarsest to the finest. A rung sees the first of them, so the coarse
//! map of a coarser rung is a part of the finer one's: nesting is structural.

use super::{MAX_LISTED, Row, span};
use crate::array::Array;
use crate::linear::Linear;
use crate::number::Rational;
use crate::weights::{Values, Weights};
use num::Zero;

/// Most products of an elimination, which has no other limit.
const MAX_ELIMINATION: usize = 1 << 24;

/// Modes of every channel of a tensor.
#[derive(Clone, Debug, PartialEq)]
pub struct Modes {
    /// How the modes came about, for people: `dct`, `pca` or `matrix`.
    pub family: &'static str,
    /// Channels, each with the same modes.
    outer: usize,
    rows: usize,
    cols: usize,
    values: Values,
    /// For a 2-D transform, the sides of the plane: rung f sees the modes with both frequencies below f.
    plane: Option<(usize, usize)>,
}

impl Modes {
    /// Modes over all elements of a tensor: rung m sees the first m rows.
    pub fn rows(family: &'static str, matrix: Array) -> Result<Self, String> {
        let [rows, cols] = matrix.shape[..] else { return Err("modes are a matrix: one row a mode".into()) };
        Ok(Modes { family, outer: 1, rows, cols, values: matrix.values, plane: None })
    }

    /// Products of the rows of two one-dimensional transforms, `vertical` of height × height and `horizontal` of width ×
    /// width. Rung f sees the products of rows below f.
    pub fn products(channels: usize, vertical: &Array, horizontal: &Array) -> Self {
        let (height, width) = (vertical.shape[0], horizontal.shape[0]);
        let mut pairs: Vec<(usize, usize)> = (0..height).flat_map(|u| (0..width).map(move |v| (u, v))).collect();
        pairs.sort_by_key(|&(u, v)| (u.max(v), u, v));
        let row = |(u, v): (usize, usize)| {
            let entry = move |i: usize| {
                vertical.values.get(u * height + i / width) * horizontal.values.get(v * width + i % width)
            };
            (0..height * width).map(entry)
        };
        let values = Values::Rational(pairs.into_iter().flat_map(row).collect());
        let n = height * width;
        Modes { family: "dct", outer: channels, rows: n, cols: n, values, plane: Some((height, width)) }
    }

    /// Number of rows that the rung sees.
    fn kept(&self, rung: usize) -> usize {
        self.plane.map_or(rung, |(height, width)| rung.min(height) * rung.min(width)).min(self.rows)
    }

    /// Largest rung.
    fn top(&self) -> usize {
        self.plane.map_or(self.rows, |(height, width)| height.max(width))
    }

    pub fn check(&self, rung: usize) -> Result<(), String> {
        let top = self.top();
        if rung <= top { Ok(()) } else { Err(format!("cutoff {rung} is beyond the {top} that the modes allow")) }
    }

    /// All rungs if there are few, else those that halve the number of modes.
    pub fn rungs(&self) -> Vec<usize> {
        let top = self.top();
        if self.plane.is_some() {
            return (0..=top.min(MAX_LISTED)).rev().collect();
        }
        let halves = std::iter::successors(Some(top), |&m| (m > 0).then_some(m / 2));
        halves.collect()
    }

    fn fits(&self, len: usize) -> Result<(), String> {
        let whole = self.outer.checked_mul(self.cols) == Some(len);
        let cols = self.cols;
        if whole {
            Ok(())
        } else {
            Err(format!("the modes have {cols} entries for {} channels, not {len}", self.outer))
        }
    }

    /// The coarse map of a rung over a tensor of `len` elements; `None` if the rung sees nothing.
    pub fn seen(&self, rung: usize, len: usize) -> Result<Option<Linear>, String> {
        self.fits(len)?;
        let kept = self.kept(rung);
        if kept == 0 {
            return Ok(None);
        }
        let index: Vec<usize> = (0..kept * self.cols).collect();
        let linear = Weights::new(self.values.select(&index))
            .and_then(|weights| Linear::dense(self.outer, kept, self.cols, 1, weights));
        linear.map(Some).ok_or_else(super::too_large)
    }

    /// True if every channel of `z` is a combination of the modes that the rung sees.
    pub fn sees_all(&self, rung: usize, z: &[Rational]) -> bool {
        let rows = self.first(self.kept(rung));
        let inside = |channel: &[Rational]| channel.iter().all(Zero::is_zero) || span::contains(&rows, channel);
        self.fits(z.len()).is_ok() && z.chunks(self.cols).all(inside)
    }

    /// Whether elimination over the modes of a rung is small enough to be done.
    pub fn is_decidable(&self, rung: usize) -> bool {
        let kept = self.kept(rung);
        kept.checked_mul(kept).and_then(|n| n.checked_mul(self.cols)).is_some_and(|n| n <= MAX_ELIMINATION)
    }

    fn first(&self, rows: usize) -> Vec<Vec<Rational>> {
        let row = |m: usize| (0..self.cols).map(|j| self.values.get(m * self.cols + j)).collect();
        (0..rows).map(row).collect()
    }

    /// The coordinates along the modes that rung `seen` sees and rung `hidden` does not, in every channel.
    pub fn band(&self, seen: Option<usize>, hidden: Option<usize>, len: usize) -> Result<Vec<Row>, String> {
        self.fits(len)?;
        if seen.is_none() && !(self.is_decidable(self.top()) && span::is_everything(&self.first(self.rows))) {
            return Err("the modes are not known to span all of the tensor: name the rung that is `seen`".into());
        }
        let (first, end) = (hidden.map_or(0, |k| self.kept(k)), seen.map_or(self.rows, |k| self.kept(k)));
        let row = |channel: usize, m: usize| {
            let entries = (0..self.cols).map(|j| (channel * self.cols + j, self.values.get(m * self.cols + j)));
            entries.filter(|(_, g)| !g.is_zero()).collect::<Row>()
        };
        Ok((0..self.outer).flat_map(|channel| (first..end).map(move |m| row(channel, m))).collect())
    }
}
