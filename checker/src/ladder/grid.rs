//! A tensor seen as channels of 1-D or 2-D grids: blocks and Haar details.

use super::{Generator, MAX_LISTED, Part, Variables};
use crate::linear::Linear;
use crate::number::Rational;
use crate::weights::{Dyadic, Values, Weights};
use num::Zero;

/// A tensor seen as channels of 1-D or 2-D grids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grid {
    /// The tensor's shape; the last `spatial` axes are the grid, the ones before are channels. None is zero.
    pub shape: Vec<usize>,
    pub spatial: usize,
}

impl Grid {
    /// Number of elements of the tensor, unless it is beyond all counting.
    pub fn elements(&self) -> Option<usize> {
        self.shape.iter().try_fold(1, |n: usize, &d| n.checked_mul(d))
    }

    fn axes(&self) -> &[usize] {
        &self.shape[self.shape.len() - self.spatial..]
    }

    fn divides(&self, side: usize) -> bool {
        side > 0 && self.axes().iter().all(|&d| d.is_multiple_of(side))
    }

    /// Whether blocks of this side fill the grid.
    pub fn check(&self, side: usize) -> Result<(), String> {
        if self.divides(side) {
            return Ok(());
        }
        let fits = (1..=self.axes()[0].min(1024)).filter(|&c| self.divides(c)).take(32);
        let fits = fits.map(|c| c.to_string()).collect::<Vec<_>>().join(", ");
        let axes = self.axes();
        Err(format!("cutoff {side} does not divide the axes {axes:?} of `shape`; block sizes that do: {fits}"))
    }

    /// Sides of which each divides the next, from 1; only powers of two if `dyadic`.
    pub fn chain(&self, dyadic: bool) -> Vec<usize> {
        let mut chain = vec![1];
        for side in 2..=self.axes()[0].min(MAX_LISTED) {
            let last = chain[chain.len() - 1];
            if self.divides(side) && side.is_multiple_of(last) && (side.is_power_of_two() || !dyadic) {
                chain.push(side);
            }
        }
        chain
    }

    /// Height and width of one channel; 1-D grids have height 1.
    pub fn plane(&self) -> (usize, usize) {
        let width = self.shape[self.shape.len() - 1];
        (if self.spatial == 2 { self.shape[self.shape.len() - 2] } else { 1 }, width)
    }

    /// Block number, row and column inside the block, of element `i`, for blocks of this side.
    fn locate(&self, i: usize, side: usize) -> (usize, usize, usize) {
        let (height, width) = self.plane();
        let (channel, row, col) = (i / (height * width), i / width % height, i % width);
        let rows = if self.spatial == 2 { side } else { 1 };
        let block = (channel * (height / rows) + row / rows) * (width / side) + col / side;
        (block, row % rows, col % side)
    }

    /// The elements of every block of this side.
    pub fn blocks(&self, side: usize) -> Vec<Vec<u32>> {
        let len: usize = self.shape.iter().product();
        let rows = if self.spatial == 2 { side } else { 1 };
        let mut blocks = vec![Vec::with_capacity(side * rows); len / (side * rows)];
        for i in 0..len {
            blocks[self.locate(i, side).0].push(i as u32);
        }
        blocks
    }

    /// Number of Haar details of all blocks up to this side; they come first among the variables.
    pub fn haar_details(&self, side: usize) -> usize {
        let len: usize = self.shape.iter().product();
        let block = if self.spatial == 2 { side * side } else { side };
        len - len / block.max(1)
    }

    /// Haar details with entries ±1. On a 2-D block of side s there are three: left − right, top − bottom, and their
    /// product; on a 1-D block one. Bands are ordered from the finest, s = 2, to s = cutoff. Each detail has mean zero
    /// on its block, so no block mean of side `cutoff` sees any of them. `None` if the grid is too large.
    pub fn haar(&self, cutoff: usize, amplitudes: &[Rational], len: usize) -> Option<Generator> {
        let (mut amplitude, mut plans) = (Vec::new(), Vec::new());
        let patterns: &[(bool, bool)] =
            if self.spatial == 1 { &[(false, true)] } else { &[(false, true), (true, false), (true, true)] };
        for band in 0..cutoff.ilog2() {
            let side = 2_usize << band;
            let a = amplitudes.get(band as usize).unwrap_or(&amplitudes[0]);
            let blocks = self.blocks(side).len();
            for &(vertical, horizontal) in patterns {
                let first = amplitude.len();
                let (mut index, mut sign) = (Vec::with_capacity(len), Vec::with_capacity(len));
                for i in 0..len {
                    let (block, row, col) = self.locate(i, side);
                    let flip = (vertical && row >= side / 2) != (horizontal && col >= side / 2);
                    index.push((first + block) as u32);
                    sign.push(Dyadic::new(if flip { -1 } else { 1 }, 0));
                }
                amplitude.extend(vec![a.clone(); blocks]);
                plans.push((index, sign));
            }
        }
        if plans.is_empty() {
            return Some(nothing(len));
        }
        let maps = plans.into_iter().map(|(index, sign)| {
            Weights::new(Values::Dyadic(sign)).and_then(|w| Linear::gather(amplitude.len(), index, w))
        });
        let part = Part { variables: Variables::boxed(&amplitude, vec![]), maps: maps.collect::<Option<_>>()? };
        Some(Generator { parts: vec![part], seen: None })
    }
}

/// The perturbations below the finest rung: δ = 0.
pub fn nothing(len: usize) -> Generator {
    Generator::direct(&vec![Rational::zero(); len], vec![], None)
}
