//! `scalecert inspect MODEL`: the tensors that a claim can name.

use anyhow::{Context, Result};
use comfy_table::Table;
use comfy_table::presets::UTF8_HORIZONTAL_ONLY;
use scalecheck::network::Op;
use scalecheck::onnx;
use std::path::PathBuf;

/// Show the tensors of a model: shapes, and the sites that a claim can name.
#[derive(clap::Args)]
pub struct Arguments {
    /// The model, an ONNX file.
    model: PathBuf,
}

pub fn run(arguments: &Arguments) -> Result<u8> {
    let name = arguments.model.display().to_string();
    let bytes = std::fs::read(&arguments.model).with_context(|| name.clone())?;
    let network = onnx::read(&bytes).map_err(|e| e.within(&name))?;
    let mut table = Table::new();
    table.load_style(UTF8_HORIZONTAL_ONLY).set_header(["tensor", "shape", "elements", "computed as"]);
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
    println!("{table}");
    Ok(0)
}
