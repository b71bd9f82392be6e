//! Scale ladders: from a family and its cutoff to variables, their box, zero-sum groups and generator δ = U z.
//!
//! A ladder has rungs; every rung has a coarse map, each a function of the one on the finer rung before. A perturbation
//! below a cutoff is one that the cutoff's coarse map does not see. Two kinds of ladder state that set differently:
//! - *kernels* (`none`, `block-mean`, `groups`, `dct`, `pca`, `matrix` with modes): z = δ in a box, and C δ = 0;
//! - *generators* (`haar`, `wavelet`, `dictionary`, `matrix` with a generator): δ = U z, z in a box, C U = 0.

pub mod dictionary;
pub mod grid;
pub mod groups;
pub mod modes;
pub mod span;
mod truncation;
pub mod wavelet;

use crate::linear::Linear;
use crate::number::Rational;
use dictionary::Dictionary;
use grid::Grid;
use groups::Partition;
use modes::Modes;
use num::Zero;
use wavelet::Filters;

/// A ladder of one tensor.
#[derive(Clone, Debug, PartialEq)]
pub enum Ladder {
    /// No scale: every element is free.
    None,
    /// Rung k sees the mean over every block of side k.
    BlockMean(Grid),
    /// The same, with a bound for every Haar detail instead of every element.
    Haar(Grid),
    /// Rung k sees what is left after log2 k steps of a wavelet analysis.
    Wavelet(Grid, Filters),
    /// Rung k sees the means over the groups of level k.
    Groups(Partition),
    /// Rung k sees the first modes: the fewer, the coarser.
    Modes(Modes),
    /// δ is a combination of atoms; rung k sees the means of the coefficients over the groups of level k.
    Dictionary(Dictionary),
}

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
    /// Variables within ± these amplitudes.
    pub fn boxed(amplitude: &[Rational], groups: Vec<Vec<u32>>) -> Self {
        let lower = amplitude.iter().map(|a| -a).collect();
        Variables { name: String::new(), lower, upper: amplitude.to_vec(), groups }
    }

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

/// Variables, and the maps whose sum is their part of δ; no maps if that part is z itself.
#[derive(Clone, Debug)]
pub struct Part {
    pub variables: Variables,
    pub maps: Vec<Linear>,
}

/// The perturbations of a tensor: δ is the sum of the parts.
#[derive(Clone, Debug)]
pub struct Generator {
    pub parts: Vec<Part>,
    /// The coarse map of the cutoff, if it is not stated by groups: it is zero on the variables of the first part.
    pub seen: Option<Linear>,
}

impl Generator {
    /// δ = z.
    fn direct(amplitude: &[Rational], groups: Vec<Vec<u32>>, seen: Option<Linear>) -> Self {
        Generator { parts: vec![Part { variables: Variables::boxed(amplitude, groups), maps: vec![] }], seen }
    }
}

/// The most coarse maps of a ladder that are listed.
const MAX_LISTED: usize = 1 << 12;

impl Ladder {
    /// Whether the ladder has this rung; if not, what is wrong with it.
    pub fn check(&self, rung: usize) -> Result<(), String> {
        match self {
            Ladder::None => Ok(()),
            Ladder::BlockMean(grid) => grid.check(rung),
            Ladder::Haar(grid) | Ladder::Wavelet(grid, _) => {
                grid.check(rung)?;
                let fits = rung.is_power_of_two();
                if fits { Ok(()) } else { Err(format!("the cutoff {rung} of wavelets must be a power of two")) }
            }
            Ladder::Groups(partition) => partition.check(rung),
            Ladder::Modes(modes) => modes.check(rung),
            Ladder::Dictionary(dictionary) => dictionary.levels.check(rung),
        }
    }

    /// A chain of rungs, from the finest, below which nothing is hidden, to the coarsest.
    pub fn rungs(&self) -> Vec<usize> {
        match self {
            Ladder::None => vec![],
            Ladder::BlockMean(grid) => grid.chain(false),
            Ladder::Haar(grid) | Ladder::Wavelet(grid, _) => grid.chain(true),
            Ladder::Groups(partition) => partition.rungs(),
            Ladder::Modes(modes) => modes.rungs(),
            Ladder::Dictionary(dictionary) => dictionary.levels.rungs(),
        }
    }

    /// True if rung `fine` hides nothing that rung `coarse` does not hide.
    pub fn is_finer(&self, fine: usize, coarse: usize) -> bool {
        match self {
            Ladder::None => true,
            Ladder::BlockMean(_) => fine > 0 && coarse.is_multiple_of(fine),
            Ladder::Modes(_) => fine >= coarse,
            Ladder::Haar(_) | Ladder::Wavelet(..) | Ladder::Groups(_) | Ladder::Dictionary(_) => fine <= coarse,
        }
    }

    /// True if the variables are the elements of δ, so that its plain box with the same amplitude contains the set.
    pub fn is_kernel(&self) -> bool {
        matches!(self, Ladder::None | Ladder::BlockMean(_) | Ladder::Groups(_) | Ladder::Modes(_))
    }

    /// How many amplitudes the perturbations below this cutoff may have, besides a single one.
    pub fn bands(&self, cutoff: usize) -> usize {
        match self {
            Ladder::Haar(_) | Ladder::Wavelet(..) => cutoff.max(1).ilog2() as usize,
            _ => 1,
        }
    }

    /// The perturbations below `cutoff`, which the ladder has, of a tensor of `len` elements.
    pub fn generator(&self, cutoff: usize, amplitude: &[Rational], len: usize) -> Result<Generator, String> {
        let fits = |grid: &Grid| {
            if grid.elements() == Some(len) {
                Ok(())
            } else {
                Err(format!("`shape` {:?} does not fit its {len} elements", grid.shape))
            }
        };
        let every = || vec![amplitude[0].clone(); len];
        match self {
            Ladder::None => Ok(Generator::direct(&every(), vec![], None)),
            Ladder::BlockMean(grid) => {
                fits(grid)?;
                Ok(Generator::direct(&every(), grid.blocks(cutoff), None))
            }
            Ladder::Haar(grid) => {
                fits(grid)?;
                grid.haar(cutoff, amplitude, len).ok_or_else(too_large)
            }
            Ladder::Wavelet(grid, filters) => {
                fits(grid)?;
                filters.generator(grid, cutoff, amplitude, len).ok_or_else(too_large)
            }
            Ladder::Groups(partition) => {
                let groups = partition.groups(cutoff, len)?;
                Ok(Generator::direct(&every(), groups, None))
            }
            Ladder::Modes(modes) => {
                let seen = modes.seen(cutoff, len)?;
                Ok(Generator::direct(&every(), vec![], seen))
            }
            Ladder::Dictionary(dictionary) => dictionary.generator(cutoff, &amplitude[0], len),
        }
    }

    /// True if the point `z` of the variables, one list a part, has nothing that is finer than `rung`: what the rung
    /// sees is all there is of it. For kernels that is orthogonality to everything the rung hides; for generators, that
    /// the coefficients of hidden details are zero.
    pub fn sees_all(&self, rung: usize, z: &[Vec<Rational>]) -> bool {
        let Some(first) = z.first() else { return false };
        let zero = |v: &[Rational]| v.iter().all(Zero::is_zero);
        match self {
            Ladder::None => false,
            Ladder::BlockMean(grid) => groups::is_constant(&grid.blocks(rung), first),
            Ladder::Haar(grid) => zero(&first[..grid.haar_details(rung).min(first.len())]),
            Ladder::Wavelet(grid, _) => wavelet::is_coarse(grid, rung, first),
            Ladder::Groups(partition) => partition.sees_all(rung, first),
            Ladder::Modes(modes) => modes.sees_all(rung, first),
            Ladder::Dictionary(d) => d.levels.sees_all(rung, first) && z[1..].iter().all(|rest| zero(rest)),
        }
    }

    /// The coarse map of what rung `seen` sees and rung `hidden` does not: one row an output, over a tensor of `len`
    /// elements. Without `hidden`, all that `seen` sees; without `seen`, all that `hidden` does not.
    pub fn band(&self, seen: Option<usize>, hidden: Option<usize>, len: usize) -> Result<Vec<Row>, String> {
        let rows = match self {
            Ladder::BlockMean(grid) if grid.elements() == Some(len) => {
                groups::band(seen.map(|k| grid.blocks(k)), hidden.map(|k| grid.blocks(k)), len)
            }
            Ladder::Groups(partition) => {
                let groups = |rung: Option<usize>| rung.map(|k| partition.groups(k, len)).transpose();
                groups::band(groups(seen)?, groups(hidden)?, len)
            }
            Ladder::Modes(modes) => modes.band(seen, hidden, len)?,
            Ladder::BlockMean(grid) => {
                return Err(format!("`shape` {:?} does not fit the output's {len} elements", grid.shape));
            }
            _ => return Err("a coarse output needs the family block-mean, groups, dct, pca or matrix".into()),
        };
        if rows.is_empty() { Err("there is nothing between the two rungs".into()) } else { Ok(rows) }
    }
}

/// One coarse output: (element, factor).
pub type Row = Vec<(usize, Rational)>;

fn too_large() -> String {
    "the ladder is too large".into()
}
