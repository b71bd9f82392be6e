//! Matrices from files: NumPy's `.npy` and `.safetensors`, every stored number taken as the exact rational it is.
//!
//! Sources: the NPY format, versions 1 to 3 (NEP 1); the safetensors format.

use crate::error::{Code, Result, ensure, error};
use crate::weights::{Dyadic, Values};
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};

/// Most elements of one array.
const MAX_ELEMENTS: usize = 1 << 24;

/// A row-major array.
#[derive(Clone, Debug)]
pub struct Array {
    pub shape: Vec<usize>,
    pub values: Values,
}

/// Reads a file by what its first bytes say it is; `tensor` chooses one of several in a safetensors file.
pub fn read(bytes: &[u8], tensor: Option<&str>) -> Result<Array> {
    match (bytes.strip_prefix(b"\x93NUMPY"), tensor) {
        (Some(rest), None) => npy(rest),
        (Some(_), Some(_)) => Err(error(Code::Data, "a .npy file holds one array; leave `tensor` out")),
        (None, _) => safetensors(bytes, tensor),
    }
}

/// After the magic bytes: version, length of the header, header, data.
fn npy(bytes: &[u8]) -> Result<Array> {
    let bad = |what: &str| error(Code::Data, format!("not a .npy file that is understood: {what}"));
    let (width, rest) = match bytes {
        [1, 0, rest @ ..] => (2, rest),
        [2 | 3, 0, rest @ ..] => (4, rest),
        _ => return Err(bad("the version is not 1, 2 or 3")),
    };
    let (length, rest) = rest.split_at_checked(width).ok_or_else(|| bad("it is cut off"))?;
    let length = length.iter().rev().fold(0_usize, |n, &b| n << 8 | usize::from(b));
    let (header, data) = rest.split_at_checked(length).ok_or_else(|| bad("it is cut off"))?;
    let header = std::str::from_utf8(header).map_err(|_| bad("the header is not text"))?;
    let apart = |w: &[char]| w[0].is_ascii_digit() && w[1].is_ascii_whitespace() && w[2].is_ascii_digit();
    ensure(
        !header.chars().collect::<Vec<_>>().windows(3).any(apart),
        Code::Data,
        "the .npy header has a broken number",
    )?;
    // The header is a Python dictionary of three keys in any order; without blanks it has few forms.
    let compact: String = header.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    let inside = compact.strip_prefix('{').and_then(|h| h.strip_suffix('}')).ok_or_else(|| bad("the header"))?;
    let (mut kind, mut c_order, mut shape) = (None, false, None);
    let mut rest = inside.trim_end_matches(',');
    while !rest.is_empty() {
        let (key, after) = rest.split_once(':').ok_or_else(|| bad("the header"))?;
        let end = if after.starts_with('(') { after.find(')').map(|i| i + 1) } else { after.find(',') };
        let (value, after) = after.split_at(end.unwrap_or(after.len()));
        rest = after.strip_prefix(',').unwrap_or(after);
        let again = match key {
            "'descr'" => kind.replace(value).is_some(),
            "'fortran_order'" => {
                ensure(
                    value == "False",
                    Code::Data,
                    "column-major order is not read; save numpy.ascontiguousarray(x)",
                )?;
                std::mem::replace(&mut c_order, true)
            }
            "'shape'" => shape.replace(value).is_some(),
            _ => true,
        };
        ensure(!again, Code::Data, "the .npy header has an unknown or repeated key")?;
    }
    let (Some(kind), true, Some(shape)) = (kind, c_order, shape) else { return Err(bad("a key is missing")) };
    let kind = match kind.trim_matches('\'') {
        "<f8" => "F64",
        "<f4" => "F32",
        "<f2" => "F16",
        "<i8" => "I64",
        "<i4" => "I32",
        "<i2" => "I16",
        "|i1" => "I8",
        other => return Err(bad(&format!("type `{other}`; little-endian floats and signed integers are read"))),
    };
    let sizes = shape.trim_matches(['(', ')']).split(',').filter(|size| !size.is_empty());
    let shape: Option<Vec<usize>> = sizes.map(|size| size.parse().ok()).collect();
    decode(kind, shape.ok_or_else(|| bad("the shape"))?, data)
}

/// One tensor of a safetensors file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    dtype: String,
    shape: Vec<usize>,
    data_offsets: (usize, usize),
}

/// The header: names with entries, in the order of the file. A map type would keep the last of two equal names.
struct Header(Vec<(String, Entry)>);

impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Header;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object of tensors")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Header, A::Error> {
                let mut entries = Vec::new();
                while let Some(name) = map.next_key::<String>()? {
                    if name == "__metadata__" {
                        map.next_value::<IgnoredAny>()?;
                    } else {
                        entries.push((name, map.next_value()?));
                    }
                }
                Ok(Header(entries))
            }
        }
        deserializer.deserialize_map(Object)
    }
}

fn safetensors(bytes: &[u8], wanted: Option<&str>) -> Result<Array> {
    let bad = |what: String| error(Code::Data, format!("neither a .npy nor a .safetensors file: {what}"));
    let (length, rest) = bytes.split_first_chunk::<8>().ok_or_else(|| bad("it is cut off".into()))?;
    let length = usize::try_from(u64::from_le_bytes(*length)).unwrap_or(usize::MAX);
    let (header, data) = rest.split_at_checked(length).ok_or_else(|| bad("it is cut off".into()))?;
    let Header(entries) = serde_json::from_slice(header).map_err(|e| bad(e.to_string()))?;
    let names: Vec<&str> = entries.iter().map(|(name, _)| name.as_str()).collect();
    let found: Vec<_> = entries.iter().filter(|(name, _)| wanted.is_none_or(|wanted| name == wanted)).collect();
    let [(_, entry)] = found[..] else {
        let message = format!("name one tensor with `tensor = \"…\"`; the file has {}", names.join(", "));
        return Err(error(Code::Data, message));
    };
    let (start, end) = entry.data_offsets;
    let data = data.get(start..end).ok_or_else(|| bad("a tensor lies outside of the file".into()))?;
    decode(&entry.dtype, entry.shape.clone(), data)
}

/// Little-endian numbers of a type of the safetensors format.
fn decode(kind: &str, shape: Vec<usize>, data: &[u8]) -> Result<Array> {
    type Decode = fn(u64) -> Option<Dyadic>;
    let (width, decode): (usize, Decode) = match kind {
        "F64" => (8, |bits| Dyadic::from_ieee(bits, 11, 52)),
        "F32" => (4, |bits| Dyadic::from_ieee(bits, 8, 23)),
        "F16" => (2, |bits| Dyadic::from_ieee(bits, 5, 10)),
        "I64" => (8, |bits| Some(Dyadic::new(bits.cast_signed(), 0))),
        "I32" => (4, |bits| Some(Dyadic::new(i64::from(bits as u32 as i32), 0))),
        "I16" => (2, |bits| Some(Dyadic::new(i64::from(bits as u16 as i16), 0))),
        "I8" => (1, |bits| Some(Dyadic::new(i64::from(bits as u8 as i8), 0))),
        other => return Err(error(Code::Data, format!("type {other} is not read; F16, F32, F64, I8 to I64 are"))),
    };
    let count = shape.iter().try_fold(1_usize, |n, &d| n.checked_mul(d)).filter(|&n| n <= MAX_ELEMENTS);
    let count = count.ok_or_else(|| error(Code::LimitSize, format!("more than {MAX_ELEMENTS} elements")))?;
    let fits = count > 0 && data.len() == count * width;
    ensure(fits, Code::Data, format!("shape {shape:?} does not fit {} bytes of data", data.len()))?;
    let word = |chunk: &[u8]| chunk.iter().rev().fold(0_u64, |word, &byte| word << 8 | u64::from(byte));
    let values: Option<_> = data.chunks_exact(width).map(|chunk| decode(word(chunk))).collect();
    let values = values.ok_or_else(|| error(Code::Data, "holds a NaN or an infinity"))?;
    Ok(Array { shape, values: Values::Dyadic(values) })
}
