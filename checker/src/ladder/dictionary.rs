//! Dictionaries of features: δ is a combination of atoms, such as a sparse autoencoder's decoder directions, plus what
//! no atom explains, the residual. Atoms are in nested groups; a rung sees the mean coefficient of each of its groups.

use super::groups::Partition;
use super::{Generator, Part, Variables};
use crate::array::Array;
use crate::linear::Linear;
use crate::number::Rational;
use crate::weights::{Values, Weights};

/// Atoms of a tensor.
#[derive(Clone, Debug, PartialEq)]
pub struct Dictionary {
    /// True for the `generator` of the family `matrix`, which has no residual.
    pub plain: bool,
    elements: usize,
    atoms: usize,
    /// One column an atom.
    values: Values,
    /// Bound of each atom's coefficient, in units of the claim's amplitude.
    bounds: Option<Vec<Rational>>,
    pub levels: Partition,
    /// Bound of every element of what no atom explains; it does not grow with the amplitude.
    pub residual: Option<Rational>,
}

impl Dictionary {
    /// A matrix with one column an atom. `bounds` has one entry an atom.
    pub fn new(
        matrix: Array,
        bounds: Option<Vec<Rational>>,
        levels: Partition,
        residual: Option<Rational>,
    ) -> Result<Self, String> {
        let [elements, atoms] = matrix.shape[..] else { return Err("atoms are a matrix: one column an atom".into()) };
        if bounds.as_ref().is_some_and(|bounds| bounds.len() != atoms) {
            return Err(format!("`bounds` must have one entry for each of the {atoms} atoms"));
        }
        levels.groups(0, atoms)?;
        Ok(Dictionary { plain: residual.is_none(), elements, atoms, values: matrix.values, bounds, levels, residual })
    }

    pub fn atoms(&self) -> usize {
        self.atoms
    }

    /// Part 0 has the coefficients, part 1 the residual.
    pub fn generator(&self, cutoff: usize, amplitude: &Rational, len: usize) -> Result<Generator, String> {
        if self.elements != len {
            return Err(format!("the atoms have {} entries, not {len}", self.elements));
        }
        let bound = |a: usize| self.bounds.as_ref().map_or_else(|| amplitude.clone(), |bounds| amplitude * &bounds[a]);
        let bounds: Vec<Rational> = (0..self.atoms).map(bound).collect();
        let map = Weights::new(self.values.clone()).and_then(|w| Linear::dense(1, len, self.atoms, 1, w));
        let variables = Variables::boxed(&bounds, self.levels.groups(cutoff, self.atoms)?);
        let mut parts = vec![Part { variables, maps: vec![map.ok_or_else(super::too_large)?] }];
        if let Some(residual) = &self.residual {
            parts.push(Part { variables: Variables::boxed(&vec![residual.clone(); len], vec![]), maps: vec![] });
        }
        Ok(Generator { parts, seen: None })
    }
}
