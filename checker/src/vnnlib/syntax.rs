//! Words and parentheses.

use crate::error::{Code, Error, Result};

/// Most parentheses that are open at once.
const MAX_DEPTH: usize = 64;

/// An atom, or a list in parentheses; with its line.
pub struct Expression<'a> {
    pub line: usize,
    pub form: Form<'a>,
}

pub enum Form<'a> {
    Atom(&'a str),
    List(Vec<Expression<'a>>),
}

/// Calls `each` on every expression of the text.
pub fn expressions<'a>(path: &str, text: &'a str, mut each: impl FnMut(Expression<'a>) -> Result<()>) -> Result<()> {
    let fail = |line: usize, code, message: &str| Err(Error::new(code, format!("{path}:{line}"), message));
    let mut open: Vec<(usize, Vec<Expression<'a>>)> = Vec::new();
    let (mut line, mut rest) = (1, text);
    while let Some(first) = rest.chars().next() {
        let ends = |c: char| c.is_ascii_whitespace() || "();\"|".contains(c);
        let length = match first {
            ';' => rest.find(['\n', '\r']).unwrap_or(rest.len()),
            '"' | '|' => {
                return fail(line, Code::PropertyUnsupported, "quoted text is not read; write names without quotes");
            }
            _ => rest.find(ends).unwrap_or(rest.len()).max(first.len_utf8()),
        };
        let (token, after) = rest.split_at(length);
        rest = after;
        let complete = match first {
            '\n' => {
                line += 1;
                continue;
            }
            ';' => continue,
            c if c.is_ascii_whitespace() => continue,
            '(' if open.len() == MAX_DEPTH => {
                let message = format!("more than {MAX_DEPTH} parentheses are open; nest less");
                return fail(line, Code::LimitSize, &message);
            }
            '(' => {
                open.push((line, vec![]));
                continue;
            }
            ')' => match open.pop() {
                Some((line, list)) => Expression { line, form: Form::List(list) },
                None => return fail(line, Code::PropertySyntax, "this `)` closes nothing"),
            },
            _ => Expression { line, form: Form::Atom(token) },
        };
        match open.last_mut() {
            Some((_, list)) => list.push(complete),
            None => each(complete)?,
        }
    }
    match open.first() {
        Some((line, _)) => fail(*line, Code::PropertySyntax, "this `(` is not closed"),
        None => Ok(()),
    }
}

/// Head and arguments of a list.
pub fn call<'e, 'a>(expression: &'e Expression<'a>) -> Option<(&'a str, &'e [Expression<'a>])> {
    match &expression.form {
        Form::List(list) => match &list[..] {
            [Expression { form: Form::Atom(head), .. }, arguments @ ..] => Some((head, arguments)),
            _ => None,
        },
        Form::Atom(_) => None,
    }
}

/// The beginning of a text from the file.
pub fn quoted(text: &str) -> String {
    let short: String = text.chars().take(40).map(|c| if c == '`' { '\'' } else { c }).collect();
    if short.len() < text.len() { format!("`{short}…`") } else { format!("`{short}`") }
}
