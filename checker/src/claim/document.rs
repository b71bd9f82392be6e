//! A TOML document with line numbers: typed reading in which every key must be known.

use crate::error::{Code, Error, Result};
use crate::number::{Rational, parse_rational};
use std::ops::Range;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// The text of a claim and its name, for errors.
pub struct Document<'a> {
    pub name: &'a str,
    pub text: &'a str,
}

impl Document<'_> {
    pub fn error<T>(&self, code: Code, span: &Range<usize>, message: impl Into<String>) -> Result<T> {
        let before = self.text.as_bytes().get(..span.start).unwrap_or_default();
        let line = 1 + before.iter().filter(|&&b| b == b'\n').count();
        Err(Error::new(code, format!("{}:{line}", self.name), message))
    }

    pub fn parse(&self) -> Result<Spanned<DeTable<'_>>> {
        DeTable::parse(self.text).or_else(|e| {
            self.error(Code::ClaimSyntax, &e.span().unwrap_or(0..0), format!("not valid TOML: {}", e.message()))
        })
    }
}

/// A value and where it stands.
#[derive(Clone, Copy)]
pub struct Item<'a> {
    doc: &'a Document<'a>,
    pub key: &'a str,
    value: &'a Spanned<DeValue<'a>>,
}

/// A table all of whose keys are known.
pub struct Table<'a> {
    doc: &'a Document<'a>,
    table: &'a DeTable<'a>,
    span: Range<usize>,
    name: &'a str,
}

impl<'a> Table<'a> {
    /// A table in which a key outside `keys` is an error.
    pub fn new(
        doc: &'a Document<'a>,
        name: &'a str,
        table: &'a DeTable<'a>,
        span: Range<usize>,
        keys: &[&str],
    ) -> Result<Self> {
        for key in table.keys() {
            if !keys.contains(&key.get_ref().as_ref()) {
                let message = format!("unknown key `{}` in {name}; known keys are {}", key.get_ref(), keys.join(", "));
                return doc.error(Code::ClaimUnknownKey, &key.span(), message);
            }
        }
        Ok(Table { doc, table, span, name })
    }

    pub fn get(&self, key: &'a str) -> Option<Item<'a>> {
        self.table.get(key).map(|value| Item { doc: self.doc, key, value })
    }

    pub fn need(&self, key: &'a str) -> Result<Item<'a>> {
        match self.get(key) {
            Some(item) => Ok(item),
            None => self.error(Code::ClaimMissingKey, format!("`{key}` is missing in {}", self.name)),
        }
    }

    pub fn error<T>(&self, code: Code, message: impl Into<String>) -> Result<T> {
        self.doc.error(code, &self.span, message)
    }
}

impl<'a> Item<'a> {
    pub fn error<T>(&self, code: Code, message: impl Into<String>) -> Result<T> {
        self.doc.error(code, &self.value.span(), message)
    }

    fn expected<T>(&self, what: &str) -> Result<T> {
        self.error(Code::ClaimValue, format!("`{}` must be {what}", self.key))
    }

    pub fn is_text(&self) -> bool {
        matches!(self.value.get_ref(), DeValue::String(_))
    }

    pub fn text(&self) -> Result<&'a str> {
        if let DeValue::String(s) = self.value.get_ref() { Ok(s) } else { self.expected("a string in quotes") }
    }

    /// A non-negative integer.
    pub fn count(&self) -> Result<usize> {
        let DeValue::Integer(i) = self.value.get_ref() else {
            return self.expected("a whole number");
        };
        match usize::from_str_radix(i.as_str(), i.radix()) {
            Ok(n) if n <= 1 << 32 => Ok(n),
            _ => self.expected("a whole number from 0 to 4294967296"),
        }
    }

    /// An exact rational: a string such as "1/32" or "0.1", or an integer.
    pub fn rational(&self) -> Result<Rational> {
        let value = match self.value.get_ref() {
            DeValue::String(s) => parse_rational(s),
            DeValue::Integer(i) if i.radix() == 10 => parse_rational(i.as_str()),
            DeValue::Float(f) => {
                let message = format!("write `{0}` in quotes, \"{0}\": it is then read exactly", f.as_str());
                return self.error(Code::ClaimValue, message);
            }
            _ => None,
        };
        value.map_or_else(|| self.expected("an exact number such as \"1/32\", \"0.1\" or 3"), Ok)
    }

    pub fn is_array(&self) -> bool {
        matches!(self.value.get_ref(), DeValue::Array(_))
    }

    /// The elements of an array that is not empty.
    pub fn array(&self) -> Result<Vec<Item<'a>>> {
        match self.value.get_ref() {
            DeValue::Array(a) if !a.is_empty() => {
                Ok(a.iter().map(|value| Item { doc: self.doc, key: self.key, value }).collect())
            }
            _ => self.expected("an array with at least one element"),
        }
    }

    pub fn list<T>(&self, f: impl Fn(&Item<'a>) -> Result<T>) -> Result<Vec<T>> {
        self.array()?.iter().map(f).collect()
    }

    pub fn table(&self, keys: &[&str]) -> Result<Table<'a>> {
        match self.value.get_ref() {
            DeValue::Table(t) => Table::new(self.doc, self.key, t, self.value.span(), keys),
            _ => self.expected("a table"),
        }
    }
}
