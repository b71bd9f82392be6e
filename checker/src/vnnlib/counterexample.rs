//! Counterexample files of the verification competition: what they really do, by exact evaluation.
//!
//! Such a file is the word `sat` and a list of pairs `(X_i value)` and `(Y_i value)`. Only the inputs count: the outputs
//! are computed anew from the model's own bytes.

use super::syntax::{Expression, Form, call, expressions, quoted};
use super::{Constraint, Query};
use crate::error::{Code, Error, Result, ensure};
use crate::exact::Exact;
use crate::network::Network;
use crate::number::{Rational, parse_rational};
use num::{Signed, Zero};

/// What an input does, compared with a property.
pub struct Assessment {
    /// The region that contains the input, or of which it is outside by the least.
    pub region: usize,
    /// How far outside, in the element where that is most: zero if it is inside.
    pub outside: Rational,
    /// The unsafe set of the region that is reached, or missed by the least; `None` if the region has none.
    pub set: Option<usize>,
    /// By how much the set's tightest inequality holds; negative if the set is missed.
    pub margin: Rational,
    /// True if the input is inside and the set is reached: equality is not enough for a strict inequality.
    pub violates: bool,
    /// Exact outputs.
    pub outputs: Vec<Rational>,
    /// The largest difference between these and the outputs that the file states.
    pub misstated: Option<Rational>,
}

/// Reads a file about a network of which the query speaks, and evaluates it exactly; `path` stands in errors.
pub fn assess(network: &Network, query: &Query, path: &str, text: &str) -> Result<Assessment> {
    query.check(network)?;
    let (inputs, stated) = values(path, text, network.input().elements())?;
    let output = network.outputs().first().copied().unwrap_or_default();
    let outputs = network.evaluate(&Exact::from_rationals(&inputs)).swap_remove(output).to_rationals();
    let differences = stated.iter().filter_map(|(i, y)| Some((outputs.get(*i)? - y).abs()));
    let misstated = differences.max();
    let of_region = |(region, about): (usize, &super::Region)| {
        let ends = about.lower.iter().zip(&about.upper).zip(&inputs);
        let outside = ends.map(|((low, high), x)| (low - x).max(x - high)).max().unwrap_or_default();
        let outside = outside.max(Rational::zero());
        let sets = about.cells.iter().enumerate().map(|(set, rows)| (slack(rows, &outputs), set));
        // Of equal margins one that is reached, where equality is enough, comes first.
        let best = sets.max_by(|((a, reached_a), _), ((b, reached_b), _)| a.cmp(b).then(reached_a.cmp(reached_b)));
        let (margin, reached, set) = match best {
            Some(((margin, reached), set)) => (margin, reached, Some(set)),
            None => (Rational::zero(), false, None),
        };
        (region, outside, set, margin, reached)
    };
    let best = query.regions.iter().enumerate().map(of_region).max_by(|a, b| {
        // Inside before outside, reached before missed.
        b.1.cmp(&a.1).then(a.4.cmp(&b.4)).then(a.3.cmp(&b.3))
    });
    let Some((region, outside, set, margin, reached)) = best else {
        return Err(Error::new(Code::PropertyValue, path, "the property has no region"));
    };
    let violates = reached && outside.is_zero();
    Ok(Assessment { region, outside, set, margin, violates, outputs, misstated })
}

/// By how much the tightest inequality holds, and whether all of them do.
fn slack(rows: &[Constraint], outputs: &[Rational]) -> (Rational, bool) {
    let left = |row: &Constraint| {
        let sum: Rational = row.terms.iter().map(|(i, a)| a * &outputs[*i]).sum();
        &row.bound - sum
    };
    let reached = rows.iter().all(|row| if row.strict { left(row).is_positive() } else { !left(row).is_negative() });
    (rows.iter().map(left).min().unwrap_or_default(), reached)
}

/// Outputs as a file states them: which one, and its value.
type Stated = Vec<(usize, Rational)>;

/// A value for each input, and the outputs that are stated.
fn values(path: &str, text: &str, elements: usize) -> Result<(Vec<Rational>, Stated)> {
    let (mut inputs, mut outputs) = (vec![None; elements], Vec::new());
    let fail = |line: usize, message: String| Err(Error::new(Code::Data, format!("{path}:{line}"), message));
    expressions(path, text, |expression| {
        let pairs = match &expression.form {
            Form::Atom("sat" | "violated") => return Ok(()),
            Form::Atom(word) => return fail(expression.line, format!("{} is no counterexample", quoted(word))),
            Form::List(pairs) => pairs,
        };
        // Some tools leave the outer parentheses out.
        let pairs = if call(&expression).is_some() { std::slice::from_ref(&expression) } else { &pairs[..] };
        for pair in pairs {
            let Some((name, value)) = pair_of(pair) else {
                return fail(pair.line, "a pair such as (X_0 0.5) is needed".to_owned());
            };
            let index = |prefix: &str| name.strip_prefix(prefix).and_then(|index| index.parse::<usize>().ok());
            match (index("X_"), index("Y_")) {
                (Some(i), _) => match inputs.get_mut(i) {
                    Some(input @ None) => *input = Some(value),
                    Some(_) => return fail(pair.line, format!("X_{i} is given twice")),
                    None => return fail(pair.line, format!("X_{i} is given; the model has {elements} inputs")),
                },
                (None, Some(i)) => outputs.push((i, value)),
                (None, None) => return fail(pair.line, format!("{} is neither X_i nor Y_i", quoted(name))),
            }
        }
        Ok(())
    })?;
    let missing = inputs.iter().position(Option::is_none);
    let message = || format!("X_{} is not given", missing.unwrap_or_default());
    ensure(missing.is_none(), Code::Data, message()).map_err(|e| e.within(path))?;
    Ok((inputs.into_iter().flatten().collect(), outputs))
}

fn pair_of<'a>(pair: &Expression<'a>) -> Option<(&'a str, Rational)> {
    let (name, [Expression { form: Form::Atom(value), .. }]) = call(pair)? else { return None };
    Some((name, parse_rational(value)?))
}
