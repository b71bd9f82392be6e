//! A network as a graph of tensors with exact weights: what the ONNX reader produces and everything else starts from.

use crate::error::{Code, Error, Result};
use crate::exact::Exact;
use crate::linear::Linear;
use crate::number::Rational;
use crate::problem::Term;
use crate::weights::Values;
use std::collections::HashMap;
use std::sync::Arc;

/// Most places of all matrices that are multiplied out.
const MAX_FUSED: usize = 1 << 23;

/// How a tensor is computed from earlier ones.
#[derive(Clone, Debug)]
pub enum Op {
    /// The network's one input.
    Input,
    /// `y = Σ W_p y_p + b`; without a bias `b` is zero.
    Affine { terms: Vec<(usize, Arc<Linear>)>, bias: Option<Exact> },
    /// `y = max(x, 0)`.
    Relu(usize),
}

/// A stored constant that an affine tensor uses: what a perturbation of the weights changes.
#[derive(Clone, Debug)]
pub struct Parameter {
    /// Its ONNX name.
    pub name: String,
    /// The term of which it is the matrix; `None` if it is the bias.
    pub term: Option<usize>,
    /// The bias is this multiple of what is stored; 1 for a matrix.
    pub factor: Rational,
    /// Used in a way that no perturbation can change: as a factor, or broadcast.
    pub fixed: bool,
}

/// One tensor: flat, row-major, of the given shape.
#[derive(Clone, Debug)]
pub struct Node {
    pub name: String,
    pub shape: Vec<usize>,
    pub op: Op,
    pub parameters: Vec<Parameter>,
}

impl Node {
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }
}

/// Tensors in topological order; node 0 is the input.
#[derive(Clone, Debug)]
pub struct Network {
    nodes: Vec<Node>,
    by_name: HashMap<String, usize>,
    outputs: Vec<usize>,
}

impl Network {
    /// A network of an input alone.
    pub fn new(input: &str, shape: Vec<usize>) -> Self {
        let node = Node { name: input.into(), shape, op: Op::Input, parameters: vec![] };
        Network { nodes: vec![node], by_name: HashMap::from([(input.to_owned(), 0)]), outputs: vec![] }
    }

    /// Appends a tensor; its predecessors exist already. Returns its position.
    pub fn push(&mut self, name: &str, shape: Vec<usize>, op: Op, parameters: Vec<Parameter>) -> Result<usize> {
        let index = self.nodes.len();
        if self.by_name.insert(name.to_owned(), index).is_some() {
            let message = format!("two tensors are named `{name}`; names must be unique");
            return Err(Error::new(Code::OnnxFormat, "graph", message));
        }
        self.nodes.push(Node { name: name.into(), shape, op, parameters });
        Ok(index)
    }

    pub fn set_outputs(&mut self, outputs: Vec<usize>) {
        self.outputs = outputs;
    }

    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    pub fn input(&self) -> &Node {
        &self.nodes[0]
    }

    /// Positions of the graph's declared outputs.
    pub fn outputs(&self) -> &[usize] {
        &self.outputs
    }

    /// Position of the tensor of this name.
    pub fn find(&self, name: &str) -> Option<usize> {
        self.by_name.get(name).copied()
    }

    /// Every tensor's exact value at the input `x`, which has the input's length.
    pub fn evaluate(&self, x: &Exact) -> Vec<Exact> {
        self.evaluate_with(x, |_, value| value)
    }

    /// The same if every tensor, by its position, is replaced by what `change` makes of it.
    pub fn evaluate_with(&self, x: &Exact, mut change: impl FnMut(usize, Exact) -> Exact) -> Vec<Exact> {
        let mut values: Vec<Exact> = Vec::with_capacity(self.nodes.len());
        for (position, node) in self.nodes.iter().enumerate() {
            let value = match &node.op {
                Op::Input => x.clone(),
                Op::Affine { terms, bias } => affine(terms, bias.as_ref(), &values, node.elements()),
                Op::Relu(from) => values[*from].relu(),
            };
            values.push(change(position, value));
        }
        values
    }

    /// The same function with fewer tensors: an affine tensor that `other` has no name for, that is no output and that only
    /// affine tensors use is put into these. `None` if there is none, if then there are not as many tensors as `other` has, or
    /// if a map is not a matrix or they have more than [`MAX_FUSED`] places in all.
    ///
    /// Exact: `V (W x + b) + c = (V W) x + (V b + c)`.
    pub fn without_tensors_unknown_to(&self, other: &Network) -> Option<Network> {
        let mut stays = vec![false; self.nodes.len()];
        self.outputs.iter().for_each(|&t| stays[t] = true);
        for node in &self.nodes {
            if let Op::Relu(from) = node.op {
                stays[from] = true;
            }
        }
        let goes = |(t, node): (usize, &Node)| {
            matches!(node.op, Op::Affine { .. }) && other.find(&node.name).is_none() && !stays[t]
        };
        let goes: Vec<bool> = self.nodes.iter().enumerate().map(goes).collect();
        // As many tensors must be left as the other network has: else the two are not alike, and nothing is multiplied out.
        let stay = goes.iter().filter(|goes| !**goes).count();
        (goes.contains(&true) && stay == other.nodes.len()).then_some(())?;
        let mut room = MAX_FUSED;
        let mut fused = Network { nodes: vec![], by_name: HashMap::new(), outputs: vec![] };
        // What each tensor is in the new network: one of it, or a sum of maps of its tensors and a bias.
        let mut known: Vec<(Vec<Term>, Option<Exact>)> = Vec::with_capacity(self.nodes.len());
        for (t, node) in self.nodes.iter().enumerate() {
            let op = match &node.op {
                Op::Input => Op::Input,
                Op::Relu(from) => Op::Relu(known[*from].0.first()?.0),
                Op::Affine { terms, bias } => {
                    let (mut inner, mut sum) = (Vec::new(), bias.clone());
                    for (p, outer) in terms {
                        if !goes[*p] {
                            inner.push((known[*p].0.first()?.0, Arc::clone(outer)));
                            continue;
                        }
                        for (q, map) in &known[*p].0 {
                            // Each takes some work, however small.
                            let places = outer.outputs().checked_mul(map.inputs())?;
                            room = room.checked_sub(places.max(1 << 10))?;
                            inner.push((*q, Arc::new(outer.compose(map)?)));
                        }
                        let moved = known[*p].1.as_ref().map(|b| b.apply(outer));
                        sum = [sum, moved].into_iter().flatten().reduce(|a, b| a.plus(&b));
                    }
                    Op::Affine { terms: inner, bias: sum }
                }
            };
            known.push(match op {
                Op::Affine { terms, bias } if goes[t] => (terms, bias),
                op => {
                    let position = fused.push(&node.name, node.shape.clone(), op, vec![]).ok()?;
                    (vec![(position, Arc::new(Linear::identity(node.elements())?))], None)
                }
            });
        }
        fused.outputs = self.outputs.iter().map(|t| Some(known[*t].0.first()?.0)).collect::<Option<_>>()?;
        Some(fused)
    }

    /// True if both networks compute alike but for the values of their constants: tensor by tensor the same operation on
    /// the same earlier tensors, with the same shapes. A name that both have stands for the same tensor.
    pub fn is_like(&self, other: &Network) -> bool {
        let alike = |(a, b): (&Node, &Node)| match (&a.op, &b.op) {
            (Op::Input, Op::Input) => a.elements() == b.elements(),
            (Op::Relu(p), Op::Relu(q)) => p == q,
            (Op::Affine { terms, .. }, Op::Affine { terms: others, .. }) => {
                let same = |((p, v), (q, w)): (&Term, &Term)| {
                    p == q && v.inputs() == w.inputs() && v.outputs() == w.outputs() && v.pattern() == w.pattern()
                };
                a.elements() == b.elements() && terms.len() == others.len() && terms.iter().zip(others).all(same)
            }
            _ => false,
        };
        self.nodes.len() == other.nodes.len()
            && self.outputs == other.outputs
            && self.nodes.iter().zip(&other.nodes).all(alike)
            && self.by_name.iter().all(|(name, node)| other.find(name).is_none_or(|found| found == *node))
    }
}

/// `Σ W_p y_p + b` over exact values.
pub fn affine(terms: &[(usize, Arc<Linear>)], bias: Option<&Exact>, values: &[Exact], len: usize) -> Exact {
    let mut sum: Option<Exact> = bias.cloned();
    for (from, linear) in terms {
        let part = values[*from].apply(linear);
        sum = Some(sum.map_or_else(|| part.clone(), |s| s.plus(&part)));
    }
    sum.unwrap_or_else(|| Exact::zeros(len))
}

/// Exact constants as a bias vector.
pub fn bias(values: &Values) -> Exact {
    Exact::from_rationals(&(0..values.len()).map(|i| values.get(i)).collect::<Vec<_>>())
}
