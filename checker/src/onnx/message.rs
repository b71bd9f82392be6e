//! The ONNX messages that the checker interprets. A field that could change the meaning and is not read is an error;
//! documentation and metadata are skipped.
//!
//! Source: `onnx.proto`, IR versions 3 to 13.

use super::wire::{Field, fields, set_once};
use super::{MAX_CONSTANT, shape};
use crate::error::{Code, Error, Result};
use crate::weights::{Dyadic, Values};

pub struct Model<'a> {
    pub graph: Graph<'a>,
    /// Version of the default operator set.
    pub opset: i64,
}

#[derive(Default)]
pub struct Graph<'a> {
    pub nodes: Vec<NodeProto<'a>>,
    pub initializers: Vec<(String, Constant)>,
    pub inputs: Vec<ValueInfo>,
    pub outputs: Vec<ValueInfo>,
}

#[derive(Default)]
pub struct NodeProto<'a> {
    pub name: String,
    pub op: String,
    pub domain: String,
    pub inputs: Vec<String>,
    pub outputs: Vec<String>,
    pub attributes: Vec<Attribute<'a>>,
}

#[derive(Default)]
pub struct Attribute<'a> {
    pub name: String,
    pub float_bits: Option<u32>,
    pub int: Option<i64>,
    pub ints: Vec<i64>,
    pub float_list: Vec<u8>,
    pub tensor: Option<&'a [u8]>,
    pub string: Option<&'a [u8]>,
}

pub struct ValueInfo {
    pub name: String,
    /// `None` for a dimension that is symbolic or unknown.
    pub shape: Option<Vec<Option<i64>>>,
}

/// A constant tensor with exact values.
#[derive(Clone)]
pub struct Constant {
    pub shape: Vec<usize>,
    pub values: Values,
}

pub fn model(bytes: &[u8]) -> Result<Model<'_>> {
    let (mut graph, mut opset) = (None, None);
    for field in fields("model", bytes) {
        let field = field?;
        match field.number {
            1..=6 | 14 => {}
            7 => set_once(&mut graph, field.bytes()?, &field)?,
            8 => {
                let (domain, version) = operator_set(field.bytes()?)?;
                if domain.is_empty() || domain == "ai.onnx" {
                    set_once(&mut opset, version, &field)?;
                }
            }
            _ => return Err(field.unsupported("training, local functions or an extension")),
        }
    }
    let missing = |what| Error::new(Code::OnnxFormat, "model", format!("there is no {what}; is this an ONNX file?"));
    Ok(Model {
        graph: graph_message(graph.ok_or_else(|| missing("graph"))?)?,
        opset: opset.ok_or_else(|| missing("default operator set"))?,
    })
}

fn operator_set(bytes: &[u8]) -> Result<(String, i64)> {
    let (mut domain, mut version) = (String::new(), 0);
    for field in fields("operator set", bytes) {
        let field = field?;
        match field.number {
            1 => domain = field.text()?,
            2 => version = field.int()?,
            _ => return Err(field.unsupported("unknown")),
        }
    }
    Ok((domain, version))
}

fn graph_message(bytes: &[u8]) -> Result<Graph<'_>> {
    let mut graph = Graph::default();
    for field in fields("graph", bytes) {
        let field = field?;
        match field.number {
            1 => graph.nodes.push(node(field.bytes()?)?),
            5 => {
                let (name, constant) = tensor(field.bytes()?)?;
                graph.initializers.push((name, constant));
            }
            11 => graph.inputs.push(value_info(field.bytes()?)?),
            12 => graph.outputs.push(value_info(field.bytes()?)?),
            2 | 10 | 13 | 16 => {}
            14 => return Err(field.unsupported("quantisation annotations")),
            15 => return Err(field.unsupported("sparse initializers")),
            _ => return Err(field.unsupported("unknown")),
        }
    }
    Ok(graph)
}

fn node(bytes: &[u8]) -> Result<NodeProto<'_>> {
    let mut node = NodeProto::default();
    for field in fields("node", bytes) {
        let field = field?;
        match field.number {
            1 => node.inputs.push(field.text()?),
            2 => node.outputs.push(field.text()?),
            3 => node.name = field.text()?,
            4 => node.op = field.text()?,
            5 => node.attributes.push(attribute(field.bytes()?)?),
            7 => node.domain = field.text()?,
            6 | 9 | 10 => {}
            _ => return Err(field.unsupported("overloads or unknown")),
        }
    }
    Ok(node)
}

fn attribute(bytes: &[u8]) -> Result<Attribute<'_>> {
    let mut a = Attribute::default();
    for field in fields("attribute", bytes) {
        let field = field?;
        match field.number {
            1 => a.name = field.text()?,
            2 => set_once(&mut a.float_bits, field.float_bits()?, &field)?,
            3 => set_once(&mut a.int, field.int()?, &field)?,
            4 => set_once(&mut a.string, field.bytes()?, &field)?,
            5 => set_once(&mut a.tensor, field.bytes()?, &field)?,
            7 => field.fixed(4, &mut a.float_list)?,
            8 => field.ints(&mut a.ints)?,
            13 | 20 => {}
            _ => return Err(field.unsupported("a subgraph, list of tensors or reference")),
        }
    }
    Ok(a)
}

fn value_info(bytes: &[u8]) -> Result<ValueInfo> {
    let mut info = ValueInfo { name: String::new(), shape: None };
    for field in fields("value info", bytes) {
        let field = field?;
        match field.number {
            1 => info.name = field.text()?,
            2 => info.shape = tensor_shape(&field)?,
            _ => {}
        }
    }
    Ok(info)
}

/// The shape inside TypeProto → tensor_type → shape.
fn tensor_shape(of: &Field<'_>) -> Result<Option<Vec<Option<i64>>>> {
    let mut shape = None;
    for field in fields("type", of.bytes()?) {
        let field = field?;
        match field.number {
            1 => {}
            6 => continue,
            _ => return Err(field.unsupported("a type that is not a tensor")),
        }
        for field in fields("tensor type", field.bytes()?) {
            let field = field?;
            if field.number == 2 {
                let dims = fields("shape", field.bytes()?).map(|d| dimension(&d?)).collect::<Result<_>>()?;
                set_once(&mut shape, dims, &field)?;
            }
        }
    }
    Ok(shape)
}

fn dimension(of: &Field<'_>) -> Result<Option<i64>> {
    let mut value = None;
    for field in fields("dimension", of.bytes()?) {
        let field = field?;
        if field.number == 1 {
            set_once(&mut value, field.int()?, &field)?;
        }
    }
    Ok(value.filter(|&v| v > 0))
}

/// Reads a TensorProto: its name and exact values.
pub fn tensor(bytes: &[u8]) -> Result<(String, Constant)> {
    let (mut name, mut dims, mut data_type, mut raw) = (String::new(), Vec::new(), None, None);
    let (mut floats, mut doubles, mut ints) = (Vec::new(), Vec::new(), Vec::new());
    for field in fields("tensor", bytes) {
        let field = field?;
        match field.number {
            1 => field.ints(&mut dims)?,
            2 => set_once(&mut data_type, field.int()?, &field)?,
            4 => field.fixed(4, &mut floats)?,
            5 | 7 => field.ints(&mut ints)?,
            8 => name = field.text()?,
            9 => set_once(&mut raw, field.bytes()?, &field)?,
            10 => field.fixed(8, &mut doubles)?,
            12 | 16 => {}
            13 => return Err(field.unsupported("external data: save the model as one file")),
            14 if field.int()? == 0 => {}
            14 => return Err(field.unsupported("external data: save the model as one file")),
            _ => return Err(field.unsupported("segments, strings or unsigned data")),
        }
    }
    let place = format!("tensor `{name}`");
    let fail = |code, message: String| Err(Error::new(code, place.clone(), message));
    let shape: Option<Vec<usize>> = dims.iter().map(|&d| usize::try_from(d).ok()).collect();
    let Some(shape) = shape else {
        return fail(Code::OnnxShape, format!("negative dimension in {dims:?}"));
    };
    let Some(count) = shape::elements(&shape, MAX_CONSTANT) else {
        return fail(Code::LimitSize, format!("shape {shape:?} is empty or has more than {MAX_CONSTANT} elements"));
    };
    let values = match (data_type.unwrap_or(0), raw) {
        (1, Some(raw)) => floats_from(raw, 4, 8, 23),
        (1, None) => floats_from(&floats, 4, 8, 23),
        (11, Some(raw)) => floats_from(raw, 8, 11, 52),
        (11, None) => floats_from(&doubles, 8, 11, 52),
        (10, Some(raw)) => floats_from(raw, 2, 5, 10),
        (10, None) => {
            let bits: Option<Vec<u16>> = ints.iter().map(|&i| u16::try_from(i).ok()).collect();
            bits.and_then(|b| floats_from(&b.iter().flat_map(|b| b.to_le_bytes()).collect::<Vec<_>>(), 2, 5, 10))
        }
        (6, Some(raw)) => ints_from(raw, 4),
        (7, Some(raw)) => ints_from(raw, 8),
        (6 | 7, None) => Some(ints.iter().map(|&i| Dyadic::new(i, 0)).collect()),
        (other, _) => {
            let message = format!("data type {other} is not supported; float32, float64, float16, int32 and int64 are");
            return fail(Code::OnnxUnsupported, message);
        }
    };
    let Some(values) = values else {
        return fail(Code::OnnxNotFinite, "holds a NaN or an infinity, or data cut in the middle of a value".into());
    };
    if values.len() != count {
        return fail(Code::OnnxShape, format!("shape {shape:?} needs {count} values, the data has {}", values.len()));
    }
    Ok((name, Constant { shape, values: Values::Dyadic(values) }))
}

fn floats_from(bytes: &[u8], width: usize, exponent_bits: u32, fraction_bits: u32) -> Option<Vec<Dyadic>> {
    if !bytes.len().is_multiple_of(width) {
        return None;
    }
    bytes.chunks_exact(width).map(|b| Dyadic::from_ieee(little_endian(b), exponent_bits, fraction_bits)).collect()
}

fn ints_from(bytes: &[u8], width: usize) -> Option<Vec<Dyadic>> {
    let sign_extend = |b: &[u8]| (little_endian(b) << (64 - 8 * width)).cast_signed() >> (64 - 8 * width);
    bytes
        .len()
        .is_multiple_of(width)
        .then(|| bytes.chunks_exact(width).map(|b| Dyadic::new(sign_extend(b), 0)).collect())
}

fn little_endian(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |acc, &b| (acc << 8) | u64::from(b))
}

/// A scalar float attribute as an exact value; `None` for NaN and infinities.
pub fn float_attribute(bits: u32) -> Option<Dyadic> {
    Dyadic::from_ieee(u64::from(bits), 8, 23)
}

/// A list-of-floats attribute as exact values.
pub fn float_list(bytes: &[u8]) -> Option<Vec<Dyadic>> {
    floats_from(bytes, 4, 8, 23)
}
