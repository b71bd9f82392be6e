//! The ONNX messages that the checker reads, and the constants among them. Documentation and metadata are skipped; a
//! field that is not listed here is an error.
//!
//! Source: `onnx.proto`, IR versions 3 to 13.

use super::wire::{Message, Schema};
use super::{MAX_TOTAL, shape};
use crate::error::{Code, Result, ensure, error};
use crate::weights::{Dyadic, Values};

/// 7 graph; 8 operator sets.
pub const MODEL: Schema = Schema("model", &[7], &[8], &[1, 2, 3, 4, 5, 6, 14], "training or local functions");
/// 1 domain, 2 version.
pub const OPERATOR_SET: Schema = Schema("operator set", &[1, 2], &[], &[], "unknown");
/// 1 nodes, 5 initializers, 11 inputs, 12 outputs. The shapes of inner tensors (13) are not needed.
pub const GRAPH: Schema = Schema("graph", &[], &[1, 5, 11, 12], &[2, 10, 13, 16], "quantisation or sparse tensors");
/// 3 name, 4 operator, 7 domain; 1 inputs, 2 outputs, 5 attributes.
pub const NODE: Schema = Schema("node", &[3, 4, 7], &[1, 2, 5], &[6, 9], "an overload");
/// 1 name, 2 float, 3 integer, 4 string, 5 tensor, 20 type; 7 floats, 8 integers.
const ATTRIBUTE: Schema = Schema("attribute", &[1, 2, 3, 4, 5, 20], &[7, 8], &[13], "a graph, list or reference");
/// 1 name, 2 type.
pub const VALUE_INFO: Schema = Schema("value info", &[1, 2], &[], &[3, 4], "unknown");
/// 1 tensor type.
const TYPE: Schema = Schema("type", &[1], &[], &[6], "not a tensor");
/// 1 element type, 2 shape.
const TENSOR_TYPE: Schema = Schema("tensor type", &[1, 2], &[], &[], "unknown");
/// 1 dimensions.
const SHAPE: Schema = Schema("shape", &[], &[1], &[], "unknown");
/// 1 size, 2 symbolic name.
const DIMENSION: Schema = Schema("dimension", &[1, 2], &[], &[3], "unknown");
/// 2 data type, 8 name, 9 raw data, 14 data location; 1 shape, 4 floats, 5 and 7 integers, 10 doubles.
const TENSOR: Schema =
    Schema("tensor", &[2, 8, 9, 14], &[1, 4, 5, 7, 10], &[12, 16], "external, segmented, string or unsigned data");

/// The operators that the ONNX standard defines.
pub const DEFAULT_DOMAINS: [&str; 2] = ["", "ai.onnx"];

/// What a name in the graph stands for.
#[derive(Clone)]
pub struct Value {
    /// The name under which it was first defined: a stored constant keeps it when its elements are moved, so that all of
    /// its uses are known to be of one constant. Empty before it is defined.
    pub name: String,
    pub shape: Vec<usize>,
    pub content: Content,
}

impl Value {
    pub fn new(shape: Vec<usize>, content: Content) -> Self {
        Value { name: String::new(), shape, content }
    }
}

#[derive(Clone)]
pub enum Content {
    Constant(Values),
    /// A node of the network.
    Node(usize),
}

/// The error for something that the checker does not know how to read exactly.
pub fn unsupported<T>(message: impl Into<String>) -> Result<T> {
    Err(error(Code::OnnxUnsupported, message))
}

/// A node's attributes: names, and the messages that hold the values.
pub fn attributes<'a>(node: &Message<'a>) -> Result<Vec<(&'a str, Message<'a>)>> {
    let attribute = |a: Message<'a>| {
        let name = a.text(1)?;
        // The field that holds a value of type t has the number t + 1. Readers differ about values in other fields.
        let others = |t: i64| [2, 3, 4, 5, 7, 8].into_iter().filter(move |field| *field != t.saturating_add(1));
        let present = |fields: &mut dyn Iterator<Item = i64>| fields.filter(|f| a.has(f.cast_unsigned())).count();
        let stray = match a.int(20)? {
            Some(t) => present(&mut others(t)) > 0,
            None => present(&mut others(-1)) > 1,
        };
        ensure(!stray, Code::OnnxFormat, format!("attribute `{name}` has a value that is not of its type"))?;
        Ok((name, a))
    };
    node.messages(5, &ATTRIBUTE)?.into_iter().map(attribute).collect()
}

/// The sizes of the axes in a ValueInfoProto; `None` for one that is symbolic, or if the rank is not stated.
pub fn dimensions(info: &Message<'_>) -> Result<Option<Vec<Option<usize>>>> {
    let mut tensors = Vec::new();
    for m in info.messages(2, &TYPE)? {
        tensors.extend(m.messages(1, &TENSOR_TYPE)?);
    }
    let Some(tensor) = tensors.pop() else { return Ok(None) };
    // Integers wrap and divide differently. All operators keep the type, so a float input makes all of it float.
    let float = matches!(tensor.int(1)?, None | Some(1 | 10 | 11));
    ensure(float, Code::OnnxUnsupported, "only float32, float64 and float16 tensors are supported as input")?;
    let Some(shape) = tensor.messages(2, &SHAPE)?.pop() else { return Ok(None) };
    let size = |d: &Message<'_>| {
        // The two are alternatives of which readers take the last; here, one that is stated must be positive.
        let (size, named) = (d.int(1)?, !d.texts(2)?.is_empty());
        let known = size.and_then(|size| usize::try_from(size).ok()).filter(|&size| size > 0);
        let valid = size.is_none() || (known.is_some() && !named);
        ensure(valid, Code::OnnxShape, "a dimension is not positive, or has both a size and a name")?;
        Ok(known)
    };
    shape.messages(1, &DIMENSION)?.iter().map(size).collect::<Result<_>>().map(Some)
}

/// Reads a TensorProto: its name and exact values.
pub fn tensor(bytes: &[u8]) -> Result<(&str, Value)> {
    let m = Message::read(&TENSOR, bytes)?;
    let name = m.text(8)?;
    let value = constant(&m).map_err(|e| e.within(&format!("tensor `{name}`")))?;
    Ok((name, value))
}

fn constant(m: &Message<'_>) -> Result<Value> {
    let external = m.int(14)?.is_some_and(|location| location != 0);
    ensure(!external, Code::OnnxUnsupported, "external data is not supported: save the model as one file")?;
    let dims = m.ints(1)?;
    let shape: Option<Vec<usize>> = dims.iter().map(|&d| usize::try_from(d).ok()).collect();
    let shape = shape.ok_or_else(|| error(Code::OnnxShape, format!("negative dimension in {dims:?}")))?;
    let too_large = || error(Code::LimitSize, format!("shape {dims:?} is empty or has more than {MAX_TOTAL} elements"));
    let count = shape::elements(&shape, MAX_TOTAL).ok_or_else(too_large)?;
    // Where the values are if they are not raw, the width of raw ones, and what the bits mean.
    type Decode = fn(u64) -> Option<Dyadic>;
    let (field, width, decode): (u64, usize, Decode) = match m.int(2)?.unwrap_or(0) {
        1 => (4, 4, |bits| Dyadic::from_ieee(bits, 8, 23)),
        2 => (5, 1, |bits| Some(Dyadic::new(i64::from(bits as u8), 0))),
        3 => (5, 1, |bits| Some(Dyadic::new(i64::from(bits as i8), 0))),
        6 => (5, 4, |bits| Some(Dyadic::new(i64::from(bits as i32), 0))),
        7 => (7, 8, |bits| Some(Dyadic::new(bits.cast_signed(), 0))),
        10 => (5, 2, |bits| Dyadic::from_ieee(bits, 5, 10)),
        11 => (10, 8, |bits| Dyadic::from_ieee(bits, 11, 52)),
        other => {
            return unsupported(format!(
                "data type {other} is not supported; float16, 32, 64, int8, 32, 64 and uint8 are"
            ));
        }
    };
    let raw = m.has(9);
    let stray = [4, 5, 7, 10].iter().any(|&other| m.has(other) && (raw || other != field));
    ensure(!stray, Code::OnnxFormat, "holds data in a field that does not belong to its type")?;
    let bits = match field {
        _ if raw => m.words(9, width)?,
        4 | 10 => m.words(field, width)?,
        _ => m.ints(field)?.into_iter().map(i64::cast_unsigned).collect(),
    };
    // Readers differ about integers that are too wide for their type: some cut them.
    let range = match (field, width) {
        _ if raw || field != 5 => i64::MIN..=i64::MAX,
        (_, 1) if m.int(2)? == Some(2) => 0..=0xff,
        (_, 1) => -0x80..=0x7f,
        (_, 2) => 0..=0xffff,
        _ => i32::MIN.into()..=i32::MAX.into(),
    };
    let fits = bits.iter().all(|bits| range.contains(&bits.cast_signed()));
    ensure(fits, Code::OnnxFormat, "holds an integer that its type does not")?;
    let found = bits.len();
    ensure(found == count, Code::OnnxShape, format!("shape {dims:?} needs {count} values, it has {found}"))?;
    let values: Option<_> = bits.into_iter().map(decode).collect();
    let values = values.ok_or_else(|| error(Code::OnnxNotFinite, "holds a NaN or an infinity"))?;
    Ok(Value::new(shape, Content::Constant(Values::Dyadic(values))))
}
