//! Clean inputs from CSV: exact decimals, one input a row.

use crate::error::{Code, Error, Result, is_plain};
use crate::number::{Rational, parse_rational};

/// The rows of a CSV file, as text, with the columns that hold the input.
pub struct Table<'a> {
    name: &'a str,
    /// Data rows, with their line numbers.
    rows: Vec<(usize, &'a str)>,
    /// Position of the column named `label`, which is not an input.
    label: Option<usize>,
}

impl<'a> Table<'a> {
    /// Reads the lines. A first line in which every cell is a name is a header; a column that it names `label` is left
    /// out. Anything else, such as a quoted or misspelt number, is data, and an error if its row is used.
    pub fn new(name: &'a str, text: &'a str) -> Self {
        let mut rows: Vec<(usize, &str)> =
            (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty()).collect();
        let cells = |line: &str| line.split(',').map(|c| c.trim().to_owned()).collect::<Vec<_>>();
        let first = rows.first().map(|(_, line)| cells(line)).unwrap_or_default();
        let is_name = |cell: &String| {
            let not_a_number = !["inf", "infinity", "nan"].contains(&cell.to_ascii_lowercase().as_str());
            cell.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') && not_a_number && is_plain(cell)
        };
        let has_header = !first.is_empty() && first.iter().all(is_name);
        if has_header {
            rows.remove(0);
        }
        let label = has_header.then(|| first.iter().position(|c| c == "label")).flatten();
        Table { name, rows, label }
    }

    /// Number of data rows.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Row `row` (from 0) as a vector of `len` exact numbers.
    pub fn row(&self, row: usize, len: usize) -> Result<Vec<Rational>> {
        let Some((number, line)) = self.rows.get(row) else {
            let message = format!("there is no row {row}; the file has {} rows, counted from 0", self.rows.len());
            return Err(Error::new(Code::Data, self.name, message));
        };
        let fail = |message: String| Err(Error::new(Code::Data, format!("{}:{number}", self.name), message));
        let cells = line.split(',').enumerate().filter(|(i, _)| Some(*i) != self.label).map(|(_, c)| c.trim());
        let mut values = Vec::with_capacity(len);
        for cell in cells {
            match parse_rational(cell) {
                Some(value) => values.push(value),
                None => return fail(format!("`{cell}` is not a number")),
            }
        }
        if values.len() != len {
            return fail(format!("{} values; the model's input has {len}", values.len()));
        }
        Ok(values)
    }
}
