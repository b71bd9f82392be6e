//! The protobuf wire format, as far as ONNX needs it. Borrowing, bounds-checked, no recursion.
//!
//! A message is read against a [`Schema`] of the fields that it may have. A field that is not listed, and a singular
//! field that occurs twice (which readers merge differently), are errors: nothing that could change the meaning is
//! passed over.
//!
//! Source: the Protocol Buffers encoding guide. Groups are deprecated and rejected.

use crate::error::{Code, Error, Result, is_plain};

const VARINT: u64 = 0;
const FIXED64: u64 = 1;
const BYTES: u64 = 2;
const FIXED32: u64 = 5;

/// The fields that a message may have, by number: those that may occur once, repeated ones, and documentation and
/// metadata, which are skipped. The last text says what the others are for.
pub struct Schema(pub &'static str, pub Numbers, pub Numbers, pub Numbers, pub &'static str);

type Numbers = &'static [u64];

/// The fields of one message that are not skipped, in order: number, wire type and the bytes of the value.
pub struct Message<'a> {
    name: &'static str,
    fields: Vec<(u64, u64, &'a [u8])>,
}

impl<'a> Message<'a> {
    pub fn read(Schema(name, once, repeated, skipped, others): &Schema, mut bytes: &'a [u8]) -> Result<Self> {
        let mut message = Message { name, fields: Vec::new() };
        while !bytes.is_empty() {
            let Some(field @ (number, ..)) = next_field(&mut bytes) else {
                return message.fail(Code::OnnxFormat, "truncated or invalid protobuf; is this an ONNX file?".into());
            };
            if once.contains(&number) && message.has(number) {
                return message.fail(Code::OnnxFormat, format!("field {number} occurs twice"));
            }
            if once.contains(&number) || repeated.contains(&number) {
                message.fields.push(field);
            } else if !skipped.contains(&number) {
                return message.fail(Code::OnnxUnsupported, format!("field {number} is not supported ({others})"));
            }
        }
        Ok(message)
    }

    fn fail<T>(&self, code: Code, message: String) -> Result<T> {
        Err(Error::new(code, self.name, message))
    }

    fn demand<T>(&self, value: Option<T>, number: u64) -> Result<T> {
        value.map_or_else(|| self.fail(Code::OnnxFormat, format!("field {number} is not of the expected type")), Ok)
    }

    pub fn has(&self, number: u64) -> bool {
        self.fields.iter().any(|field| field.0 == number)
    }

    /// The bytes of every occurrence of a field, which must have one of these wire types.
    fn all(&self, number: u64, types: &[u64]) -> Result<Vec<&'a [u8]>> {
        let found = self.fields.iter().filter(|field| field.0 == number);
        self.demand(found.map(|(_, kind, bytes)| types.contains(kind).then_some(*bytes)).collect(), number)
    }

    pub fn bytes(&self, number: u64) -> Result<Vec<&'a [u8]>> {
        self.all(number, &[BYTES])
    }

    pub fn messages(&self, number: u64, schema: &Schema) -> Result<Vec<Message<'a>>> {
        self.bytes(number)?.into_iter().map(|bytes| Message::read(schema, bytes)).collect()
    }

    pub fn texts(&self, number: u64) -> Result<Vec<&'a str>> {
        self.demand(
            self.bytes(number)?
                .into_iter()
                .map(|bytes| str::from_utf8(bytes).ok().filter(|text| is_plain(text)))
                .collect(),
            number,
        )
    }

    /// A singular text; empty if it is absent.
    pub fn text(&self, number: u64) -> Result<&'a str> {
        Ok(self.texts(number)?.pop().unwrap_or_default())
    }

    /// The numbers that `read` finds one after the other in every occurrence of a field.
    fn numbers(&self, field: u64, types: &[u64], read: impl Fn(&mut &[u8]) -> Option<u64>) -> Result<Vec<u64>> {
        let mut numbers = Vec::new();
        for mut packed in self.all(field, types)? {
            while !packed.is_empty() {
                numbers.push(self.demand(read(&mut packed), field)?);
            }
        }
        Ok(numbers)
    }

    /// A repeated integer field, packed or not.
    pub fn ints(&self, number: u64) -> Result<Vec<i64>> {
        Ok(self.numbers(number, &[VARINT, BYTES], varint)?.into_iter().map(u64::cast_signed).collect())
    }

    pub fn int(&self, number: u64) -> Result<Option<i64>> {
        Ok(self.numbers(number, &[VARINT], varint)?.pop().map(u64::cast_signed))
    }

    /// The bits of a repeated field of words of `width` bytes, packed or not.
    pub fn words(&self, number: u64, width: usize) -> Result<Vec<u64>> {
        let unpacked = if width == 4 { FIXED32 } else { FIXED64 };
        self.numbers(number, &[unpacked, BYTES], |bytes| word(bytes, width))
    }

    /// The bits of a singular 32-bit float.
    pub fn float(&self, number: u64) -> Result<Option<u64>> {
        Ok(self.numbers(number, &[FIXED32], |bytes| word(bytes, 4))?.pop())
    }
}

fn next_field<'a>(bytes: &mut &'a [u8]) -> Option<(u64, u64, &'a [u8])> {
    let key = varint(bytes)?;
    let len = match key & 7 {
        VARINT => bytes.iter().position(|byte| byte & 0x80 == 0)? + 1,
        FIXED64 => 8,
        FIXED32 => 4,
        BYTES => usize::try_from(varint(bytes)?).ok()?,
        _ => return None,
    };
    Some((key >> 3, key & 7, bytes.split_off(..len)?))
}

/// A little-endian word of `width` bytes.
fn word(bytes: &mut &[u8], width: usize) -> Option<u64> {
    Some(bytes.split_off(..width)?.iter().rev().fold(0, |word, &byte| (word << 8) | u64::from(byte)))
}

/// Seven bits a byte, the lowest first; the top bit says whether more follow.
fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let &byte = bytes.split_off_first()?;
        let part = u64::from(byte & 0x7f);
        (part << shift >> shift == part).then_some(())?;
        value |= part << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}
