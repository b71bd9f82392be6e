//! From disjuncts to regions: those with equal boxes are one.

use super::reader::{Bound, Reader, Variable};
use super::{Constraint, MAX_TOTAL, Query, Region};
use crate::error::{Code, Error, Result, error};
use crate::number::{Rational, approximate};
use std::collections::HashMap;

/// Lower and upper ends of a box.
type Ends = (Vec<Rational>, Vec<Rational>);

/// What all commands together say.
pub fn query(reader: &Reader<'_>, name: &str) -> Result<Query> {
    let last = |wanted: fn(Variable) -> Option<usize>| {
        let found = reader.declared.iter().rev().find_map(|(v, line)| Some((wanted(*v)?, *line)));
        found.map_or((0, reader.path.to_owned()), |(i, line)| (i + 1, format!("{}:{line}", reader.path)))
    };
    let inputs = last(|v| if let Variable::X(i) = v { Some(i) } else { None });
    let outputs = last(|v| if let Variable::Y(i) = v { Some(i) } else { None });
    if let Some(missing) = (0..inputs.0).find(|&i| !reader.declared.contains_key(&Variable::X(i))) {
        let message = format!("X_{} is declared but X_{missing} is not", inputs.0 - 1);
        return Err(Error::new(Code::PropertyValue, inputs.1, message));
    }
    limit(reader, inputs.0)?;
    let mut common = vec![[None; 2]; inputs.0];
    tighten(&mut common, &reader.common.bounds);
    let (mut regions, mut known): (Vec<Region>, HashMap<Ends, usize>) = (vec![], HashMap::new());
    // The region of the common box: most disjuncts have no bounds of their own.
    let mut plain = None;
    for one in &reader.rest {
        let region = match plain {
            Some(region) if one.bounds.is_empty() => region,
            _ => {
                let mut bounds = common.clone();
                tighten(&mut bounds, &one.bounds);
                let next = regions.len();
                *known.entry(ends(reader, &bounds)?).or_insert_with_key(|(lower, upper)| {
                    regions.push(Region { lower: lower.clone(), upper: upper.clone(), cells: vec![] });
                    next
                })
            }
        };
        if one.bounds.is_empty() {
            plain = Some(region);
        }
        let cell: Vec<Constraint> = reader.common.rows.iter().chain(&one.rows).cloned().collect();
        if cell.is_empty() {
            let line = one.bounds.first().or(reader.common.bounds.first()).map_or(1, |bound| bound.line);
            let message = "a case has no output constraint, so that every input of its box is unsafe; \
                           state what outputs are unsafe";
            return reader.fail(line, Code::PropertyUnsupported, message);
        }
        regions[region].cells.push(cell);
    }
    Ok(Query { name: name.to_owned(), regions, inputs, outputs })
}

/// An error if the regions would be too large.
fn limit(reader: &Reader<'_>, inputs: usize) -> Result<()> {
    let own: usize = reader.rest.iter().map(|one| one.rows.len()).sum();
    let rows = reader.common.rows.len().saturating_mul(reader.rest.len()).saturating_add(own);
    let boxes = reader.rest.iter().filter(|one| !one.bounds.is_empty()).count();
    for (count, what) in [(rows, "output constraints"), (boxes.saturating_mul(inputs), "bounded inputs")] {
        if count > MAX_TOTAL {
            let message = format!("all cases together have more than {MAX_TOTAL} {what}; split the file");
            return Err(error(Code::LimitSize, message).within(reader.path));
        }
    }
    Ok(())
}

/// The ends of a box, each of which must be stated.
fn ends(reader: &Reader<'_>, bounds: &[[Option<&Bound>; 2]]) -> Result<Ends> {
    let (mut lower, mut upper) = (Vec::with_capacity(bounds.len()), Vec::with_capacity(bounds.len()));
    for (i, ends) in bounds.iter().enumerate() {
        let [Some(low), Some(high)] = ends else {
            let (side, relation) = if ends[0].is_none() { ("lower", ">=") } else { ("upper", "<=") };
            let line = reader.declared.get(&Variable::X(i)).copied().unwrap_or(1);
            let message = format!("X_{i} has no {side} bound in some case; assert one, such as ({relation} X_{i} 1)");
            return reader.fail(line, Code::PropertyValue, message);
        };
        if low.value > high.value {
            let (low_line, high_line) = (low.line, high.line);
            let message = format!(
                "no value of X_{i} is allowed: at least {} (line {low_line}) and at most {} (line {high_line})",
                approximate(&low.value),
                approximate(&high.value)
            );
            return reader.fail(low_line.max(high_line), Code::PropertyValue, message);
        }
        lower.push(low.value.clone());
        upper.push(high.value.clone());
    }
    Ok((lower, upper))
}

/// Intersects a box with bounds.
fn tighten<'b>(ends: &mut [[Option<&'b Bound>; 2]], bounds: &'b [Bound]) {
    for bound in bounds {
        let end = &mut ends[bound.input][usize::from(bound.upper)];
        let tighter = |old: &Bound| if bound.upper { bound.value < old.value } else { bound.value > old.value };
        if end.is_none_or(tighter) {
            *end = Some(bound);
        }
    }
}
