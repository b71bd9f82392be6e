//! The protobuf wire format, as far as ONNX needs it. Borrowing, bounds-checked, no recursion.
//!
//! Source: the Protocol Buffers encoding guide. Groups are deprecated and rejected.

use crate::error::{Code, Error, Result};

/// One field of a message.
#[derive(Clone, Copy, Debug)]
pub struct Field<'a> {
    /// The message being read, for errors.
    message: &'static str,
    pub number: u64,
    value: Wire<'a>,
}

#[derive(Clone, Copy, Debug)]
enum Wire<'a> {
    Varint(u64),
    Fixed64([u8; 8]),
    Fixed32([u8; 4]),
    Bytes(&'a [u8]),
}

/// The fields of the message encoded in `bytes`, in order.
pub fn fields<'a>(message: &'static str, mut bytes: &'a [u8]) -> impl Iterator<Item = Result<Field<'a>>> {
    std::iter::from_fn(move || {
        if bytes.is_empty() {
            return None;
        }
        let field = next_field(message, &mut bytes).ok_or_else(|| {
            bytes = &[];
            Error::new(Code::OnnxFormat, message, "truncated or invalid protobuf; is this an ONNX file?")
        });
        Some(field)
    })
}

fn next_field<'a>(message: &'static str, bytes: &mut &'a [u8]) -> Option<Field<'a>> {
    let key = varint(bytes)?;
    let value = match key & 7 {
        0 => Wire::Varint(varint(bytes)?),
        1 => Wire::Fixed64(take(bytes, 8)?.try_into().ok()?),
        2 => {
            let len = usize::try_from(varint(bytes)?).ok()?;
            Wire::Bytes(take(bytes, len)?)
        }
        5 => Wire::Fixed32(take(bytes, 4)?.try_into().ok()?),
        _ => return None,
    };
    Some(Field { message, number: key >> 3, value })
}

fn take<'a>(bytes: &mut &'a [u8], len: usize) -> Option<&'a [u8]> {
    let (head, tail) = bytes.split_at_checked(len)?;
    *bytes = tail;
    Some(head)
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        if shift == 63 && byte > 1 {
            return None;
        }
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

impl<'a> Field<'a> {
    fn wrong_kind(&self) -> Error {
        let message = format!("field {} has an unexpected wire type", self.number);
        Error::new(Code::OnnxFormat, self.message, message)
    }

    /// The error for a field that this checker does not interpret and must not ignore.
    pub fn unsupported(&self, what: &str) -> Error {
        let message = format!("field {} ({what}) is not supported", self.number);
        Error::new(Code::OnnxUnsupported, self.message, message)
    }

    pub fn bytes(&self) -> Result<&'a [u8]> {
        if let Wire::Bytes(b) = self.value { Ok(b) } else { Err(self.wrong_kind()) }
    }

    pub fn text(&self) -> Result<String> {
        String::from_utf8(self.bytes()?.to_vec())
            .map_err(|_| Error::new(Code::OnnxFormat, self.message, "a name is not UTF-8"))
    }

    pub fn int(&self) -> Result<i64> {
        if let Wire::Varint(v) = self.value { Ok(v.cast_signed()) } else { Err(self.wrong_kind()) }
    }

    /// The bits of a 32-bit float field.
    pub fn float_bits(&self) -> Result<u32> {
        if let Wire::Fixed32(b) = self.value { Ok(u32::from_le_bytes(b)) } else { Err(self.wrong_kind()) }
    }

    /// Appends a repeated integer field, packed or not.
    pub fn ints(&self, into: &mut Vec<i64>) -> Result<()> {
        match self.value {
            Wire::Varint(v) => into.push(v.cast_signed()),
            Wire::Bytes(mut packed) => {
                while !packed.is_empty() {
                    into.push(varint(&mut packed).ok_or_else(|| self.wrong_kind())?.cast_signed());
                }
            }
            _ => return Err(self.wrong_kind()),
        }
        Ok(())
    }

    /// Appends a repeated fixed-width field of `width` 4 or 8 bytes, packed or not, as raw little-endian bytes.
    pub fn fixed(&self, width: usize, into: &mut Vec<u8>) -> Result<()> {
        match self.value {
            Wire::Fixed32(b) if width == 4 => into.extend(b),
            Wire::Fixed64(b) if width == 8 => into.extend(b),
            Wire::Bytes(packed) if packed.len() % width == 0 => into.extend(packed),
            _ => return Err(self.wrong_kind()),
        }
        Ok(())
    }
}

/// Sets a field that may occur once. A second occurrence, which readers merge differently, is an error.
pub fn set_once<T>(slot: &mut Option<T>, value: T, field: &Field<'_>) -> Result<()> {
    if slot.replace(value).is_some() {
        let message = format!("field {} occurs twice", field.number);
        return Err(Error::new(Code::OnnxFormat, field.message, message));
    }
    Ok(())
}
