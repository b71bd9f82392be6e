//! `scalecert inspect MODEL`: the tensors that a claim can name.

use super::console::{Answer, Console};
use anyhow::Result;
use scalecheck::network::Op;
use scalecheck::onnx;
use scalecheck::verify::read;
use serde_json::{Value, json};
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
    let mut tensors: Vec<Value> = Vec::new();
    for (i, node) in network.nodes().iter().enumerate() {
        let (kind, entries, mut role) = match &node.op {
            Op::Input => ("input", 0, "input (site `input`)".to_owned()),
            Op::Relu(_) => ("relu", 0, "ReLU".to_owned()),
            Op::Affine { terms, .. } => {
                let entries: u64 = terms.iter().map(|(_, linear)| linear.entries()).sum();
                ("affine", entries, format!("affine, {entries} multiply–accumulates"))
            }
        };
        let output = network.outputs().contains(&i);
        if output {
            role += ", output";
        }
        table.add_row([node.name.clone(), format!("{:?}", node.shape), node.elements().to_string(), role]);
        tensors.push(json!({
            "name": node.name,
            "shape": node.shape,
            "elements": node.elements(),
            "kind": kind,
            "multiply_accumulates": entries,
            "output": output,
        }));
    }
    console.show(&table);
    Answer::new(0, json!({ "model": name, "tensors": tensors }))
}
