//! ONNX bytes → [`Network`], the trusted reading of the model.

mod message;
mod operators;
mod shape;
mod wire;

use crate::error::{Code, Result, ensure, error};
use crate::network::Network;
use message::{DEFAULT_DOMAINS, GRAPH, MODEL, NODE, OPERATOR_SET, VALUE_INFO};
use operators::Builder;
use std::collections::HashSet;
use wire::Message;

/// Oldest and newest version of the default operator set whose semantics the operators here follow.
const OPSETS: std::ops::RangeInclusive<i64> = 7..=25;

/// Most elements of one activation tensor. The widths of all integer sums in `rules/` are proved for it.
pub const MAX_ELEMENTS: usize = 1 << 20;

/// Most elements of all constants and, counted 16 times, activation tensors together.
const MAX_TOTAL: usize = 1 << 28;

/// Reads a model: one input, constant weights, the operators named in `specs/models.md`.
pub fn read(bytes: &[u8]) -> Result<Network> {
    let model = Message::read(&MODEL, bytes)?;
    let mut opsets = Vec::new();
    for set in model.messages(8, &OPERATOR_SET)? {
        if DEFAULT_DOMAINS.contains(&set.text(1)?) {
            opsets.push(set.int(2)?.unwrap_or(0));
        }
    }
    let (Some(graph), &[opset]) = (model.messages(7, &GRAPH)?.pop(), &opsets[..]) else {
        return Err(error(Code::OnnxFormat, "a graph and one default operator set are needed; is this an ONNX file?"));
    };
    let message = format!("operator set {opset} is not supported; {OPSETS:?} are");
    ensure(OPSETS.contains(&opset), Code::OnnxUnsupported, message)?;
    let constants: Vec<_> = graph.bytes(5)?.into_iter().map(message::tensor).collect::<Result<_>>()?;
    // Initializers may be listed among the inputs too.
    let initialized: HashSet<&str> = constants.iter().map(|(name, _)| *name).collect();
    let mut inputs = Vec::new();
    for info in graph.messages(11, &VALUE_INFO)? {
        if !initialized.contains(info.text(1)?) {
            inputs.push(info);
        }
    }
    let message = format!("the graph has {} inputs; exactly one is supported", inputs.len());
    let [input] = &inputs[..] else { return message::unsupported(message) };
    let name = input.text(1)?;
    // In ONNX the empty name stands for an operand that is left out.
    let nameless = name.is_empty() || initialized.contains("");
    ensure(!nameless, Code::OnnxFormat, "the input or an initializer has no name")?;
    let shape = input_shape(input).map_err(|e| e.within(&format!("input `{name}`")))?;
    let mut builder = Builder::new(name, shape, opset);
    for (name, constant) in constants {
        builder.define(name, constant)?;
    }
    for node in graph.messages(1, &NODE)? {
        builder.node(&node)?;
    }
    builder.finish(graph.messages(12, &VALUE_INFO)?)
}

/// A symbolic first dimension is the batch and becomes 1; any other must be stated.
fn input_shape(info: &Message<'_>) -> Result<Vec<usize>> {
    let dynamic = || error(Code::OnnxShape, "the shape is not fixed; export the model with a fixed input shape");
    let sizes = message::dimensions(info)?.ok_or_else(dynamic)?.into_iter().enumerate();
    let shape: Option<_> = sizes.map(|(axis, size)| size.or((axis == 0).then_some(1))).collect();
    shape.ok_or_else(dynamic).and_then(shape::within_limit)
}
