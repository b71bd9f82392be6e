//! Truncation: the linear map that keeps of a tensor what a rung sees, and drops what it hides.

use super::{Ladder, too_large};
use crate::linear::Linear;
use crate::number::Rational;
use crate::weights::{Values, Weights};
use num::{One, Zero};

/// Most entries of the map's matrix.
const MAX_ENTRIES: usize = 1 << 22;

impl Ladder {
    /// The truncation to `rung` of a tensor of `len` elements, and the same less the identity.
    ///
    /// For means over blocks or groups every element becomes the mean of its group, or 0 if it is in none: the orthogonal
    /// projection. For modes it is `Cᵀ C` with the stored rows C of every channel, which is the projection as far as they
    /// are orthonormal.
    pub fn truncation(&self, rung: usize, len: usize) -> Result<[Linear; 2], String> {
        if len.checked_mul(len).is_none_or(|entries| entries > MAX_ENTRIES) {
            return Err(format!("{len} elements are too many to be truncated"));
        }
        let mut matrix = vec![Rational::zero(); len * len];
        match self {
            Ladder::BlockMean(grid) | Ladder::Haar(grid) if grid.elements() == Some(len) => {
                means(&grid.blocks(rung), len, &mut matrix);
            }
            Ladder::Groups(partition) => means(&partition.groups(rung, len)?, len, &mut matrix),
            Ladder::Modes(modes) => {
                if let Some(seen) = modes.seen(rung, len)? {
                    let mut rows = vec![vec![]; seen.outputs()];
                    seen.for_each_entry(|o, i, k| rows[o].push((i, seen.weights().value(k))));
                    for row in rows {
                        for (i, a) in row.iter().filter(|(_, a)| !a.is_zero()) {
                            row.iter().for_each(|(j, b)| matrix[i * len + j] += a * b);
                        }
                    }
                }
            }
            Ladder::BlockMean(grid) | Ladder::Haar(grid) => {
                return Err(format!("`shape` {:?} does not fit its {len} elements", grid.shape));
            }
            _ => return Err("truncation needs the family block-mean, haar, groups, dct, pca or matrix".into()),
        }
        let dense = |matrix: Vec<Rational>| {
            let weights = Weights::new(Values::Rational(matrix))?;
            Linear::dense(1, len, len, 1, weights)
        };
        let less =
            (0..len * len).map(|k| if k % (len + 1) == 0 { &matrix[k] - Rational::one() } else { matrix[k].clone() });
        let less = dense(less.collect());
        Ok([dense(matrix).ok_or_else(too_large)?, less.ok_or_else(too_large)?])
    }
}

fn means(groups: &[Vec<u32>], len: usize, matrix: &mut [Rational]) {
    for group in groups {
        let weight = Rational::new(1.into(), group.len().into());
        for &i in group {
            group.iter().for_each(|&j| matrix[i as usize * len + j as usize] = weight.clone());
        }
    }
}
