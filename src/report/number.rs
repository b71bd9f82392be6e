//! Numbers as people read them and as data: exact, or rounded in the direction that stays true.

use crate::sweep::decimal;
use num::bigint::BigInt;
use num::integer::Integer;
use num::{One, Signed, ToPrimitive};
use scalecheck::number::{Rational, parse_rational};
use serde_json::{Value, json};

/// Largest integer that every JSON reader takes exactly.
const MAX_SAFE: i64 = (1 << 53) - 1;

/// An upper bound in six digits: rounded up.
pub fn at_most(x: &Rational) -> String {
    decimal(x, true)
}

/// A lower bound in six digits: rounded down.
pub fn at_least(x: &Rational) -> String {
    decimal(x, false)
}

/// The nearest number of six digits, marked `≈` unless it is exact.
pub fn nearest(x: &Rational) -> String {
    let (above, below) = (decimal(x, true), decimal(x, false));
    if above == below {
        return above;
    }
    let distance = |text: &String| parse_rational(text).map(|y| (y - x).abs());
    if distance(&above) <= distance(&below) { format!("≈{above}") } else { format!("≈{below}") }
}

/// A list of exact numbers over one denominator: `{"over": "16", "n": [0, 3]}` is 0 and 3/16.
pub fn vector(values: &[Rational]) -> Value {
    let over = values.iter().fold(BigInt::one(), |l, x| l.lcm(x.denom()));
    let integer = |x: &Rational| {
        let n = x.numer() * (&over / x.denom());
        n.to_i64().filter(|n| n.abs() <= MAX_SAFE).map_or_else(|| Value::from(n.to_string()), Value::from)
    };
    json!({ "over": over.to_string(), "n": values.iter().map(integer).collect::<Vec<_>>() })
}
