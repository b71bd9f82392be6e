//! ONNX bytes → [`Network`](crate::network::Network), the trusted reading of the model.

mod message;
mod operators;
mod shape;
mod wire;

use crate::error::{Code, Error, Result};
use crate::network::Network;
use message::ValueInfo;
use operators::{Builder, Value};

/// Oldest and newest version of the default operator set whose semantics the operators here follow.
const OPSETS: std::ops::RangeInclusive<i64> = 7..=25;

/// Most elements of one activation tensor. The widths of all integer sums in `rules/` are proved for it.
pub const MAX_ELEMENTS: usize = 1 << 20;

/// Most elements of one constant tensor.
const MAX_CONSTANT: usize = 1 << 28;

/// Reads a model: one input, constant weights, the operators named in `specs/models.md`.
pub fn read(bytes: &[u8]) -> Result<Network> {
    let model = message::model(bytes)?;
    if !OPSETS.contains(&model.opset) {
        let message = format!("operator set {} is not supported; {OPSETS:?} are", model.opset);
        return Err(Error::new(Code::OnnxUnsupported, "model", message));
    }
    let graph = model.graph;
    let is_initializer = |name: &str| graph.initializers.iter().any(|(n, _)| n == name);
    let inputs: Vec<&ValueInfo> = graph.inputs.iter().filter(|i| !is_initializer(&i.name)).collect();
    let [input] = inputs[..] else {
        let names: Vec<_> = inputs.iter().map(|i| i.name.as_str()).collect();
        let message = format!("the graph has the inputs {names:?}; exactly one is supported");
        return Err(Error::new(Code::OnnxUnsupported, "graph", message));
    };
    let mut builder = Builder::new(&input.name, input_shape(input)?, model.opset)?;
    for (name, constant) in graph.initializers {
        builder.define(&name, Value::Constant(constant))?;
    }
    for node in &graph.nodes {
        builder.node(node)?;
    }
    builder.finish(graph.outputs.iter().map(|o| o.name.as_str()))
}

/// A symbolic first dimension is the batch and becomes 1; any other must be stated.
fn input_shape(input: &ValueInfo) -> Result<Vec<usize>> {
    let place = format!("input `{}`", input.name);
    let fail = |message: &str| Err(Error::new(Code::OnnxShape, place.clone(), message));
    let Some(dims) = &input.shape else {
        return fail("has no shape; export the model with a fixed input shape");
    };
    let mut shape = Vec::with_capacity(dims.len());
    for (axis, dim) in dims.iter().enumerate() {
        match (axis, dim.map(usize::try_from)) {
            (_, Some(Ok(size))) => shape.push(size),
            (0, None) => shape.push(1),
            _ => {
                return fail("has a dynamic dimension after the first; export the model with a fixed input shape");
            }
        }
    }
    Ok(shape)
}
