//! Scale ladders: from a family and its cutoff to variables, their box and zero-sum groups, and a generator δ = U z.
//!
//! - `none`: z = δ in a box.
//! - `block-mean`: z = δ in a box, with Σ δ = 0 over every block: the kernel of the map to block means.
//! - `haar`: z are the coefficients of the Haar details of sides cutoff, cutoff/2, …, 2; every detail has mean zero on
//!   its block, so all of them together span the same kernel.

use crate::claim::{Family, Grid, Perturb};
use crate::error::{Code, Result};
use crate::linear::Linear;
use crate::number::Rational;
use crate::weights::{Dyadic, Values, Weights};

/// The variables of one perturbation.
#[derive(Clone, Debug, Default)]
pub struct Variables {
    /// `perturb[i]`, by which a certificate names them.
    pub name: String,
    pub lower: Vec<Rational>,
    pub upper: Vec<Rational>,
    /// Disjoint groups of variables that sum to zero.
    pub groups: Vec<Vec<u32>>,
}

impl Variables {
    /// Cuts every box to what its group allows: `Σ z = 0` with the others at their ends bounds each one. The set of
    /// points stays the same; a block of which nothing can move is then known to be zero.
    pub fn tighten(&mut self) {
        for group in &self.groups {
            let sum = |side: &[Rational]| group.iter().map(|&j| &side[j as usize]).sum::<Rational>();
            let (lowest, highest) = (sum(&self.lower), sum(&self.upper));
            for &j in group {
                let j = j as usize;
                let (least, most) = (&self.upper[j] - &highest, &self.lower[j] - &lowest);
                self.lower[j] = least.max(self.lower[j].clone());
                self.upper[j] = most.min(self.upper[j].clone());
            }
        }
    }
}

/// Variables, and the maps whose sum is δ = U z; no maps if δ = z.
pub struct Generator {
    pub variables: Variables,
    pub maps: Vec<Linear>,
}

/// The generator of a perturbation of a tensor of `len` elements.
pub fn generator(perturb: &Perturb, index: usize, len: usize) -> Result<Generator> {
    let name = format!("perturb[{index}]");
    let (Family::BlockMean(grid) | Family::Haar(grid)) = &perturb.family else {
        return Ok(Generator {
            variables: boxed(name, &vec![perturb.amplitude[0].clone(); len], vec![]),
            maps: vec![],
        });
    };
    if grid.shape.iter().try_fold(1_usize, |n, &d| n.checked_mul(d)) != Some(len) {
        let message =
            format!("`shape` {:?} does not fit the site `{}`, which has {len} elements", grid.shape, perturb.site);
        return perturb.error(Code::ClaimShape, message);
    }
    if let Family::BlockMean(_) = perturb.family {
        let groups = grid.blocks(grid.cutoff);
        return Ok(Generator {
            variables: boxed(name, &vec![perturb.amplitude[0].clone(); len], groups),
            maps: vec![],
        });
    }
    haar(perturb, name, grid, len)
}

fn boxed(name: String, amplitude: &[Rational], groups: Vec<Vec<u32>>) -> Variables {
    Variables { name, lower: amplitude.iter().map(|a| -a).collect(), upper: amplitude.to_vec(), groups }
}

/// Haar details with entries ±1. On a 2-D block of side s there are three: left − right, top − bottom, and their
/// product; on a 1-D block one. Bands are ordered from the finest, s = 2, to s = cutoff.
fn haar(perturb: &Perturb, name: String, grid: &Grid, len: usize) -> Result<Generator> {
    let (mut amplitude, mut plans) = (Vec::new(), Vec::new());
    let patterns: &[(bool, bool)] =
        if grid.spatial == 1 { &[(false, true)] } else { &[(false, true), (true, false), (true, true)] };
    for band in 0..grid.cutoff.ilog2() {
        let side = 2_usize << band;
        let a = perturb.amplitude.get(band as usize).unwrap_or(&perturb.amplitude[0]);
        let blocks = grid.blocks(side).len();
        for &(vertical, horizontal) in patterns {
            let first = amplitude.len();
            let (mut index, mut sign) = (Vec::with_capacity(len), Vec::with_capacity(len));
            for i in 0..len {
                let (block, row, col) = grid.locate(i, side);
                let flip = (vertical && row >= side / 2) != (horizontal && col >= side / 2);
                index.push((first + block) as u32);
                sign.push(Dyadic::new(if flip { -1 } else { 1 }, 0));
            }
            amplitude.extend(vec![a.clone(); blocks]);
            plans.push((index, sign));
        }
    }
    if plans.is_empty() {
        // Cutoff 1: no detail is finer than a single element, so δ = 0.
        let zero = vec![Rational::from_integer(0.into()); len];
        return Ok(Generator { variables: boxed(name, &zero, vec![]), maps: vec![] });
    }
    let maps = plans.into_iter().map(|(index, sign)| {
        Weights::new(Values::Dyadic(sign)).and_then(|w| Linear::gather(amplitude.len(), index, w))
    });
    match maps.collect() {
        Some(maps) => Ok(Generator { variables: boxed(name, &amplitude, vec![]), maps }),
        None => perturb.error(Code::LimitSize, "the ladder is too large"),
    }
}

impl Grid {
    /// Height and width of one channel; 1-D grids have height 1.
    fn plane(&self) -> (usize, usize) {
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
    fn blocks(&self, side: usize) -> Vec<Vec<u32>> {
        let len: usize = self.shape.iter().product();
        let rows = if self.spatial == 2 { side } else { 1 };
        let mut blocks = vec![Vec::with_capacity(side * rows); len / (side * rows)];
        for i in 0..len {
            blocks[self.locate(i, side).0].push(i as u32);
        }
        blocks
    }
}
