//! A TOML document with line numbers: typed reading in which every key must be known.

use crate::error::{Code, Error, Result, is_plain};
use crate::number::{Rational, parse_rational};
use num::Signed;
use toml::de::{DeTable, DeValue};

/// A key of the document, with its value if it is given.
#[derive(Clone, Copy)]
pub struct Item<'a> {
    /// Name and text of the document, for errors.
    name: &'a str,
    text: &'a str,
    /// Where the value stands; if it is missing, the table that it is missing in.
    start: usize,
    key: &'a str,
    value: Option<&'a DeValue<'a>>,
}

/// Reads a document by a function that gets all of it as one table; `kind` is what errors call that.
pub fn read<T>(name: &str, kind: &str, text: &str, read: impl FnOnce(&Item<'_>) -> Result<T>) -> Result<T> {
    let item = |start, value| Item { name, text, start, key: kind, value };
    match DeTable::parse(text) {
        Ok(table) => read(&item(0, Some(&DeValue::Table(table.into_inner())))),
        Err(e) => {
            let start = e.span().map_or(0, |span| span.start);
            item(start, None).error(Code::ClaimSyntax, format!("not valid TOML: {}", e.message()))
        }
    }
}

impl<'a> Item<'a> {
    /// File and line.
    pub fn place(&self) -> String {
        let before = self.text.as_bytes().iter().take(self.start);
        format!("{}:{}", self.name, 1 + before.filter(|&&byte| byte == b'\n').count())
    }

    pub fn error<T>(&self, code: Code, message: impl Into<String>) -> Result<T> {
        Err(Error::new(code, self.place(), message))
    }

    pub fn ensure(&self, holds: bool, code: Code, message: impl Into<String>) -> Result<()> {
        if holds { Ok(()) } else { self.error(code, message) }
    }

    /// What was read from the value, or the error that it must be `what`.
    fn demand<T>(&self, read: Option<T>, what: &str) -> Result<T> {
        match (read, self.value) {
            (Some(read), _) => Ok(read),
            (None, None) => self.error(Code::ClaimMissingKey, format!("`{}` is missing; it must be {what}", self.key)),
            (None, Some(_)) => self.error(Code::ClaimValue, format!("`{}` must be {what}", self.key)),
        }
    }

    pub fn is_given(&self) -> bool {
        self.value.is_some()
    }

    /// What `read` makes of the value, if it is given.
    pub fn optional<T>(&self, read: impl Fn(&Self) -> Result<T>) -> Result<Option<T>> {
        self.value.map(|_| read(self)).transpose()
    }

    pub fn text(&self) -> Result<&'a str> {
        let text = if let Some(DeValue::String(text)) = self.value { Some(text.as_ref()) } else { None };
        self.demand(text.filter(|text| is_plain(text)), "a string in quotes, without backticks or invisible characters")
    }

    /// What the text stands for among these choices.
    pub fn choice<T: Clone>(&self, choices: &[(&str, T)]) -> Result<T> {
        let text = self.text()?;
        let names: Vec<String> = choices.iter().map(|(name, _)| format!("\"{name}\"")).collect();
        let chosen = choices.iter().find(|(name, _)| *name == text).map(|(_, value)| value.clone());
        self.demand(chosen, &names.join(" or "))
    }

    /// A number from 0 to 2^32, in base 10.
    pub fn count(&self) -> Result<usize> {
        let digits =
            if let Some(DeValue::Integer(i)) = self.value { Some(i).filter(|i| i.radix() == 10) } else { None };
        let count = digits.and_then(|i| i.as_str().parse().ok()).filter(|&n| n <= 1 << 32);
        self.demand(count, "a whole number from 0 to 4294967296")
    }

    pub fn rational(&self) -> Result<Rational> {
        let value = match self.value {
            Some(DeValue::String(s)) => parse_rational(s),
            Some(DeValue::Integer(i)) if i.radix() == 10 => parse_rational(i.as_str()),
            Some(DeValue::Float(f)) => {
                let message = format!("write `{0}` in quotes, \"{0}\": it is then read exactly", f.as_str());
                return self.error(Code::ClaimValue, message);
            }
            _ => None,
        };
        self.demand(value, "an exact number such as \"1/32\", \"0.1\" or 3")
    }

    pub fn non_negative(&self) -> Result<Rational> {
        let value = self.rational()?;
        self.demand(Some(value).filter(|value| !value.is_negative()), "at least 0")
    }

    pub fn flag(&self) -> Result<bool> {
        let value = if let Some(DeValue::Boolean(value)) = self.value { Some(*value) } else { None };
        self.demand(value, "true or false")
    }

    /// Name of the document.
    pub fn document(&self) -> &'a str {
        self.name
    }

    /// True for a table that has this key.
    pub fn is_table_with(&self, key: &str) -> bool {
        matches!(self.value, Some(DeValue::Table(table)) if table.contains_key(key))
    }

    pub fn is_array(&self) -> bool {
        matches!(self.value, Some(DeValue::Array(_)))
    }

    /// The elements of an array that is not empty.
    pub fn list<T>(&self, read: impl Fn(&Self) -> Result<T>) -> Result<Vec<T>> {
        let array = if let Some(DeValue::Array(array)) = self.value { Some(array) } else { None };
        let array = self.demand(array.filter(|array| !array.is_empty()), "an array with at least one element")?;
        array.iter().map(|v| read(&Item { start: v.span().start, value: Some(v.get_ref()), ..*self })).collect()
    }

    fn entries(&self) -> Result<&'a DeTable<'a>> {
        let table = if let Some(DeValue::Table(table)) = self.value { Some(table) } else { None };
        self.demand(table, "a table")
    }

    /// The item of one key of a table, which may have others.
    pub fn key(&self, key: &'static str) -> Result<Item<'a>> {
        Ok(match self.entries()?.get(key) {
            Some(value) => Item { start: value.span().start, key, value: Some(value.get_ref()), ..*self },
            None => Item { key, value: None, ..*self },
        })
    }

    /// The items of a table that may have these keys.
    pub fn table<const N: usize>(&self, keys: [&'static str; N]) -> Result<[Item<'a>; N]> {
        Ok(self.table_with(keys, [])?.0)
    }

    /// The items of a table that may have these keys and those.
    pub fn table_with<const N: usize, const M: usize>(
        &self,
        these: [&'static str; N],
        those: [&'static str; M],
    ) -> Result<([Item<'a>; N], [Item<'a>; M])> {
        let known = [&these[..], &those].concat();
        if let Some(key) = self.entries()?.keys().find(|key| !known.contains(&key.get_ref().as_ref())) {
            let message = format!("unknown key `{}` in `{}`; known are {}", key.get_ref(), self.key, known.join(", "));
            return Item { start: key.span().start, ..*self }.error(Code::ClaimUnknownKey, message);
        }
        let item = |key| match self.key(key) {
            Ok(item) => item,
            Err(_) => Item { key, value: None, ..*self },
        };
        Ok((these.map(item), those.map(item)))
    }
}
