//! What a certificate contains, in numbers. Nothing is checked here, and nothing that is checked depends on it.

use crate::certificate::{Answer, ProofText};
use std::collections::BTreeMap;

/// The kind of an answer, and how large it is.
#[derive(Debug, PartialEq, Eq)]
pub enum Kind {
    Proof(Shape),
    /// So many values of a perturbation or an input.
    Witness(usize),
    /// The proof of this setting serves here too.
    Served(usize),
    /// A chain of so many steps.
    Chain(usize),
}

/// The size of a proof.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Shape {
    pub trees: usize,
    /// Cases that are not split, and the most splits above one of them.
    pub cases: usize,
    pub depth: usize,
    /// Back-substitutions of a tensor, and of a cell.
    pub refinements: usize,
    pub closes: usize,
    /// Numbers in the slope sets.
    pub slopes: usize,
    /// Multipliers, those of whole tensors included.
    pub multipliers: usize,
    /// How many splits there are at each tensor, by its name.
    pub splits: BTreeMap<String, usize>,
}

/// The beginning of a text that may be anything, such as a certificate's `generator`.
pub fn beginning(text: &str) -> String {
    text.chars().take(100).collect()
}

impl Kind {
    /// Of an answer that was read, which has exactly one of these.
    pub fn of(answer: &Answer) -> Kind {
        if let Some(proof) = &answer.proof {
            return Kind::Proof(Shape::of(proof));
        }
        if let Some(witness) = &answer.witness {
            let perturbed = witness.perturbation.iter().flatten().map(Vec::len).sum::<usize>();
            return Kind::Witness(perturbed + witness.input.as_ref().map_or(0, Vec::len));
        }
        match answer.served_by {
            Some(by) => Kind::Served(by),
            None => Kind::Chain(answer.chain.as_ref().map_or(0, Vec::len)),
        }
    }
}

impl Shape {
    fn of(proof: &ProofText) -> Shape {
        let mut shape = Shape::default();
        let slopes = proof.slopes.iter().flatten().flat_map(|set| [&set.lower, &set.upper]).flatten();
        shape.slopes = slopes.map(Vec::len).sum();
        let refines = proof.nodes.iter().flat_map(|node| &node.refine).chain(&proof.refine);
        let closes = proof.nodes.iter().flat_map(|node| &node.close).flatten();
        let mantissas = |duals: &[crate::certificate::DualText]| duals.iter().map(|d| d.mantissas.len()).sum::<usize>();
        for refine in refines {
            shape.refinements += 1;
            shape.multipliers += refine.multipliers.len() + mantissas(&refine.duals);
        }
        for close in closes {
            shape.closes += 1;
            shape.multipliers += close.multipliers.len() + mantissas(&close.duals);
        }
        let mut splits: BTreeMap<usize, usize> = BTreeMap::new();
        // In preorder: the depths of the cases that are still to come, the next one last.
        let mut pending: Vec<usize> = Vec::new();
        for node in &proof.nodes {
            let depth = pending.pop().unwrap_or_else(|| {
                shape.trees += 1;
                0
            });
            if let Some(split) = &node.split {
                *splits.entry(split.tensor).or_default() += 1;
                pending.extend([depth + 1; 2]);
            } else {
                shape.cases += 1;
                shape.depth = shape.depth.max(depth);
            }
        }
        for (tensor, count) in splits {
            let name = proof.tensors.get(tensor).map_or("a tensor that is not listed", String::as_str);
            *shape.splits.entry(beginning(name)).or_default() += count;
        }
        shape
    }
}
