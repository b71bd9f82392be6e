//! Rule 4.5, close: a cell `{A d ≤ b}` is unreachable in a case.
//!
//! Premises: weights w ≥ 0, and an upper bound B, by rule 4.2, of `w·(b − A d)` over the case.
//! Conclusion: if B < 0, no point of the case lies in the cell, for there `w·(b − A d) ≥ 0`. If a row with positive
//! weight is strict (`A d < b`), then `w·(b − A d) > 0` in the cell and B ≤ 0 suffices.
//!
//! Width: a coefficient has at most 48 + 16 bits, a row of one cell is summed in `i128` by rule 4.2.

use crate::certificate::Close;
use crate::error::{Code, Error, Result};
use crate::number::Rational;
use crate::problem::{Cell, Problem};
use crate::rules::back_substitution::Relaxation;
use num::bigint::BigInt;
use num::{Signed, ToPrimitive, Zero};

/// An upper bound of `w·(b − A d)`, divided by w if the cell has one row: the slack that must be negative.
pub fn slack(problem: &Problem, cell: &Cell, close: &Close, relaxation: &Relaxation<'_, '_>) -> Result<Rational> {
    let (mut terms, mut bound) = (Vec::new(), Rational::zero());
    for (row, &w) in cell.rows.iter().zip(&close.weights) {
        bound += &row.bound * BigInt::from(w);
        for &(element, coefficient) in &row.terms {
            let scaled = (i128::from(coefficient) * -i128::from(w)).to_i64();
            terms.push((element, scaled.ok_or_else(|| Error::new(Code::CellWeights, "close", "weights too large"))?));
        }
    }
    let slack = bound + relaxation.upper_bound(problem.output, &terms, &close.hints.multipliers)?;
    Ok(match close.weights[..] {
        [w] if w > 0 => slack / Rational::from_integer(w.into()),
        _ => slack,
    })
}

/// True if this slack shows the cell unreachable.
pub fn closes(cell: &Cell, close: &Close, slack: &Rational) -> bool {
    let strict = cell.rows.iter().zip(&close.weights).any(|(row, &w)| row.strict && w > 0);
    slack.is_negative() || (strict && slack.is_zero())
}
