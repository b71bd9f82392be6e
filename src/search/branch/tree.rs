//! The proof trees as the search builds them, and their text.

use crate::emit::{Builder, ONE, nearest};
use crate::relax::batch::{Alphas, Beta, Case, Engine};
use num::Zero;
use scalecheck::certificate::{CloseText, NodeText, RefineText, Side, SplitText};
use scalecheck::number::Rational;
use scalecheck::problem::Problem;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Lower slopes by layer, over 2^SLOPE_BITS; −1 for the default, and no list for a layer of defaults.
pub type Slopes = Vec<Option<Vec<i16>>>;

/// The slopes of one column of the layers before `end`.
pub fn quantise(engine: &Engine<'_>, case: &Case, alphas: &Alphas, column: usize, end: usize) -> Slopes {
    let layer = |l: usize| {
        if alphas[l].nrows() == 0 {
            // A layer that the target does not depend on.
            return None;
        }
        let (range, mut some) = (&case.ranges[l], false);
        let mut list = vec![-1_i16; engine.layers[l].centre.len()];
        for &i in &range.unstable {
            let i = i as usize;
            let alpha = nearest(alphas[l][(i, column)]);
            if alpha != range.default[i] {
                list[i] = (alpha * ONE) as i16;
                some = true;
            }
        }
        some.then_some(list)
    };
    (0..end).map(layer).collect()
}

/// The slopes as numbers, for a case.
pub fn restore(slopes: &Slopes, case: &Case, l: usize, column: &mut [f64]) {
    column.copy_from_slice(&case.ranges[l].default);
    if let Some(Some(list)) = slopes.get(l) {
        for &i in &case.ranges[l].unstable {
            if list[i as usize] >= 0 {
                column[i as usize] = f64::from(list[i as usize]) / ONE;
            }
        }
    }
}

/// Bounds of a tensor's elements that are derived again: of both sides, or the upper (`true`) or lower one.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Refinement {
    pub tensor: usize,
    pub rows: Vec<usize>,
    pub side: Option<bool>,
    pub slopes: Option<Arc<Slopes>>,
}

/// One row of a cell that is excluded.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Closing {
    pub halfspace: usize,
    pub slopes: Option<Arc<Slopes>>,
    pub betas: Vec<Beta>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Split {
    /// Neuron of a layer, at zero.
    Neuron(usize, usize),
    /// Element of a tensor of variables.
    Variable(usize, usize, #[serde(with = "as_text")] Rational),
}

/// Thresholds in a journal.
mod as_text {
    use crate::journal::number;
    use scalecheck::number::Rational;
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(x: &Rational, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(x)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Rational, D::Error> {
        number(&String::deserialize(from)?).map_err(serde::de::Error::custom)
    }
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Node {
    pub refine: Vec<Refinement>,
    pub close: Vec<Closing>,
    /// The split, and the positions of the low and the high child.
    pub split: Option<(Split, usize, usize)>,
    pub parent: Option<usize>,
}

/// Nodes by position; the first is the root.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Tree {
    pub nodes: Vec<Node>,
}

impl Tree {
    pub fn new() -> Self {
        Tree { nodes: vec![Node::default()] }
    }

    /// Splits a node; the positions of its children.
    pub fn split(&mut self, node: usize, split: Split) -> (usize, usize) {
        let low = self.nodes.len();
        for _ in 0..2 {
            self.nodes.push(Node { parent: Some(node), ..Node::default() });
        }
        self.nodes[node].split = Some((split, low, low + 1));
        (low, low + 1)
    }

    /// Positions of the nodes in preorder.
    pub fn preorder(&self) -> Vec<usize> {
        let (mut open, mut order) = (vec![0], Vec::with_capacity(self.nodes.len()));
        while let Some(at) = open.pop() {
            order.push(at);
            if let Some((_, low, high)) = &self.nodes[at].split {
                open.extend([*high, *low]);
            }
        }
        order
    }

    /// Leaves in which some of these cells, given by what their halfspaces exclude, are closed neither there nor above.
    pub fn open_leaves(&self, cells: &[usize], cell_of: impl Fn(usize) -> usize) -> Vec<usize> {
        let is_open = |&leaf: &usize| {
            let above = std::iter::successors(Some(leaf), |&at| self.nodes[at].parent);
            let closed: Vec<usize> =
                above.flat_map(|at| &self.nodes[at].close).map(|closing| cell_of(closing.halfspace)).collect();
            self.nodes[leaf].split.is_none() && !cells.iter().all(|cell| closed.contains(cell))
        };
        (0..self.nodes.len()).filter(is_open).collect()
    }

    /// The splits above a node, from the root down; true for the high side.
    pub fn path(&self, node: usize) -> Vec<(&Split, bool)> {
        let (mut path, mut at) = (Vec::new(), node);
        while let Some(parent) = self.nodes[at].parent {
            if let Some((split, _, high)) = &self.nodes[parent].split {
                path.push((split, *high == at));
            }
            at = parent;
        }
        path.reverse();
        path
    }

    /// The nodes in preorder, as text.
    pub fn text(&self, engine: &Engine<'_>, problem: &Problem, builder: &mut Builder<'_>) -> Vec<NodeText> {
        let mut texts = Vec::with_capacity(self.nodes.len());
        for at in self.preorder() {
            let node = &self.nodes[at];
            let refine = node.refine.iter().map(|r| refinement(r, engine, builder)).collect();
            let close: Vec<CloseText> =
                node.close.iter().map(|closing| close(closing, engine, problem, builder)).collect();
            let split = node.split.as_ref().map(|(split, ..)| match split {
                Split::Neuron(layer, neuron) => SplitText {
                    tensor: builder.tensor(engine.layers[*layer].tensor),
                    element: *neuron,
                    at: Rational::zero().to_string(),
                },
                Split::Variable(tensor, element, at) => {
                    SplitText { tensor: builder.tensor(*tensor), element: *element, at: at.to_string() }
                }
            });
            let close = (!close.is_empty()).then_some(close);
            texts.push(NodeText { refine, split, close, void: None });
        }
        texts
    }
}

pub fn refinement(r: &Refinement, engine: &Engine<'_>, builder: &mut Builder<'_>) -> RefineText {
    let slopes = r.slopes.as_ref().and_then(|s| slopes(s, engine, builder));
    let side = r.side.map(|upper| if upper { Side::Upper } else { Side::Lower });
    RefineText { side, slopes, ..builder.refine(r.tensor, r.rows.clone()) }
}

fn slopes(slopes: &Arc<Slopes>, engine: &Engine<'_>, builder: &mut Builder<'_>) -> Option<usize> {
    builder.shared_slopes(slopes, |l| engine.layers[l].tensor)
}

fn close(closing: &Closing, engine: &Engine<'_>, problem: &Problem, builder: &mut Builder<'_>) -> CloseText {
    let halfspace = &engine.graph.halfspaces[closing.halfspace];
    let rows = problem.cells[halfspace.cell].rows.len();
    let weights = (rows > 1).then(|| (0..rows).map(|row| i64::from(row == halfspace.row)).collect());
    let betas: Vec<_> =
        closing.betas.iter().map(|b| (engine.layers[b.layer].tensor, b.neuron, b.sign * b.value)).collect();
    CloseText {
        cell: Some(halfspace.cell),
        weights,
        slopes: closing.slopes.as_ref().and_then(|s| slopes(s, engine, builder)),
        multipliers: builder.multipliers(&betas),
        duals: vec![],
    }
}
