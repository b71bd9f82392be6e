//! `scalecert inspect MODEL`: the tensors that a claim can name.

use super::console::{Answer, Console};
use anyhow::Result;
use scalecheck::network::{Node, Op};
use scalecheck::onnx;
use scalecheck::verify::read;
use serde_json::json;
use std::path::PathBuf;

/// Show the tensors of a model: shapes, and the sites that a claim can name.
#[derive(clap::Args)]
pub struct Arguments {
    /// The model, an ONNX file.
    model: PathBuf,
}

pub fn run(arguments: &Arguments, console: &Console) -> Result<Answer> {
    let name = arguments.model.display().to_string();
    let network = onnx::read(&read(&arguments.model)?).map_err(|e| e.within(&name))?;
    let mut table = console.table(["tensor", "shape", "elements", "computed as"]);
    for (i, node) in network.nodes().iter().enumerate() {
        let mut role = match &node.op {
            Op::Input => "input (site `input`)".to_owned(),
            Op::Relu(_) => "ReLU".to_owned(),
            Op::Affine { terms, .. } => {
                let entries: u64 = terms.iter().map(|(_, linear)| linear.entries()).sum();
                format!("affine, {entries} multiply–accumulates")
            }
        };
        if network.outputs().contains(&i) {
            role += ", output";
        }
        table.add_row([node.name.clone(), format!("{:?}", node.shape), node.elements().to_string(), role]);
    }
    console.show(&table);
    let tensor = |(i, node): (usize, &Node)| {
        let (kind, entries) = match &node.op {
            Op::Input => ("input", 0),
            Op::Relu(_) => ("relu", 0),
            Op::Affine { terms, .. } => ("affine", terms.iter().map(|(_, linear)| linear.entries()).sum::<u64>()),
        };
        json!({
            "name": node.name,
            "shape": node.shape,
            "elements": node.elements(),
            "kind": kind,
            "multiply_accumulates": entries,
            "output": network.outputs().contains(&i),
        })
    };
    let tensors: Vec<_> = network.nodes().iter().enumerate().map(tensor).collect();
    Answer::new(0, json!({ "model": name, "tensors": tensors }))
}
