//! Helpers for the tests: a small writer of ONNX files, the example network, and files on disk.

#![allow(dead_code)] // Every test file uses a part of this module.

pub mod case_study;
pub mod families;
pub mod onnx;
pub mod optimum;
pub mod reference;
pub mod tape;

use num::bigint::BigInt;
use scalecheck::certificate::{CloseText, NodeText, ProofText, RefineText};
use scalecheck::claim::{self, Claim};
use scalecheck::error::{Code, Error};
use scalecheck::network::Network;
use scalecheck::number::{Rational, parse_rational};
use scalecheck::problem::{Clean, Op, Problem, Source};

/// A rational from its text.
pub fn q(text: &str) -> Rational {
    parse_rational(text).unwrap_or_else(|| panic!("`{text}` is not a rational"))
}

pub fn vector(texts: &[&str]) -> Vec<Rational> {
    texts.iter().map(|t| q(t)).collect()
}

pub fn int(value: i64) -> Rational {
    Rational::from_integer(BigInt::from(value))
}

pub fn ratio(top: i64, bottom: i64) -> Rational {
    Rational::new(top.into(), bottom.into())
}

/// The code of an error; a panic if there is none.
pub fn code<T>(result: Result<T, scalecheck::error::Error>) -> Code {
    match result {
        Ok(_) => panic!("an error was expected"),
        Err(e) => e.code,
    }
}

pub fn parse_claim(text: &str) -> Claim {
    claim::parse("claim.toml", text, &mut Default::default()).unwrap_or_else(|e| panic!("{e}\n{text}"))
}

/// The problem of a claim's first setting at a clean input.
pub fn problem(network: &Network, claim: &Claim, x: &[Rational]) -> scalecheck::error::Result<Problem> {
    Problem::new(network, claim, &claim.settings[0], &Clean::new(network, claim, x)?)
}

pub fn read_model(bytes: &[u8]) -> Network {
    scalecheck::onnx::read(bytes).unwrap_or_else(|e| panic!("{e}"))
}

/// The error of a model that ends in the tensor `y` and cannot be read, with this code.
#[track_caller]
pub fn assert_error(model: onnx::Model, code: Code) -> Error {
    let error =
        scalecheck::onnx::read(&model.output("y").bytes()).err().unwrap_or_else(|| panic!("the model was read"));
    assert_eq!(error.code, code, "{error}");
    error
}

/// Names by which a proof can refer to the tensors of a problem, each tensor once.
pub fn tensor_names(network: &Network, problem: &Problem) -> Vec<String> {
    let nodes = network.nodes().iter().map(|n| n.name.clone());
    let variables = problem.domain.iter().flat_map(|v| [v.name.clone(), format!("{}.seen", v.name)]);
    let weights = network.nodes().iter().map(|n| format!("{}#weights", n.name));
    let (mut names, mut seen) = (Vec::new(), Vec::new());
    let changes = network.nodes().iter().map(|n| format!("{}#change", n.name));
    for name in nodes.chain(variables).chain(weights).chain(changes) {
        if let Some(t) = problem.find(&name).filter(|t| !seen.contains(t)) {
            seen.push(t);
            names.push(name);
        }
    }
    names
}

/// Positions of the tensors that a ReLU follows, in order.
pub fn pre_activations(problem: &Problem) -> Vec<usize> {
    let of = |op: &Op| match *op {
        Op::Relu(from) => vec![from],
        Op::ReluPair { base, change } => vec![base, change],
        _ => vec![],
    };
    let mut found: Vec<usize> = problem.tensors.iter().flat_map(|t| of(&t.op)).collect();
    found.sort_unstable();
    found.dedup();
    found
}

/// True for `t` itself and every tensor that tensor `t` depends on.
pub fn ancestors(problem: &Problem, t: usize) -> Vec<bool> {
    let mut needed = vec![false; problem.tensors.len()];
    needed[t] = true;
    for k in (0..=t).rev() {
        match &problem.tensors[k].op {
            Op::Relu(from) if needed[k] => needed[*from] = true,
            Op::ReluPair { base, change } if needed[k] => {
                [*base, *change].into_iter().for_each(|from| needed[from] = true)
            }
            Op::Affine(terms) if needed[k] => terms.iter().for_each(|(from, _)| needed[*from] = true),
            Op::Weights(parts) if needed[k] => parts.iter().for_each(|part| {
                if let Source::Tensor(from) = part.source {
                    needed[from] = true;
                }
            }),
            _ => {}
        }
    }
    needed
}

/// The plainest proof: refine every pre-activation in order, then close every cell, all with default slopes and all rows
/// of a cell alike.
pub fn default_proof(network: &Network, problem: &Problem) -> ProofText {
    let names = tensor_names(network, problem);
    let position = |t: usize| names.iter().position(|n| problem.find(n) == Some(t));
    let refine = pre_activations(problem)
        .into_iter()
        .filter_map(position)
        .map(|tensor| RefineText { tensor, ..RefineText::default() })
        .collect();
    // A cell of several rows needs weights.
    let weights = |rows: usize| (rows > 1).then(|| vec![1; rows]);
    let close = problem.cells.iter().map(|c| CloseText { weights: weights(c.rows.len()), ..CloseText::default() });
    let close = Some(close.collect());
    ProofText {
        slope_bits: 16,
        tensors: names,
        slopes: vec![],
        refine: vec![],
        nodes: vec![NodeText { refine, close, ..NodeText::default() }],
    }
}

/// The network of `specs/worked-example`: two inputs, two ReLUs, one output.
pub fn worked_model() -> onnx::Model {
    use onnx::Value;
    onnx::Model::new(&[1, 2])
        .f32("w1", &[2, 2], &[2.0, 1.0, 1.0, -1.0])
        .f32("b1", &[2], &[0.0, 1.0])
        .f32("w2", &[1, 2], &[1.0, -1.0])
        .node_with("Gemm", &["x", "w1", "b1"], "h.pre", &[("transB", Value::Int(1))])
        .node("Relu", &["h.pre"], "h")
        .node_with("Gemm", &["h", "w2"], "y", &[("transB", Value::Int(1))])
        .output("y")
}

/// A claim, its model and its data in a folder of their own.
pub struct Files {
    pub folder: tempfile::TempDir,
}

impl Files {
    /// Writes the model of the worked example beside the claim.
    pub fn new(claim: &str) -> Self {
        let files = Files { folder: tempfile::tempdir().expect("a temporary folder") };
        files.write("model.onnx", &worked_model().bytes());
        files.write("claim.toml", claim.as_bytes());
        files
    }

    pub fn write(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.folder.path().join(name), bytes).expect("a writable folder");
    }

    pub fn statement(&self) -> scalecheck::error::Result<scalecheck::verify::Statement> {
        scalecheck::verify::Statement::load(&self.folder.path().join("claim.toml"), None)
    }
}
