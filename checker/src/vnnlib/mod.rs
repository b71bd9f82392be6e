//! Properties in VNN-LIB: from text to boxes of inputs, each with its unsafe sets of outputs (`specs/claim-format.md`).
//!
//! The file is a conjunction of assertions over the inputs X_i and the outputs Y_i; a point that satisfies all of them is
//! unsafe. They are multiplied out to a disjunction of conjunctions. Inputs may only be bounded by constants, so every
//! disjunct is a box and a set of linear inequalities between outputs. What is not understood is an error, never a guess.

pub mod counterexample;
mod reader;
mod regions;
mod syntax;

use crate::error::{Code, Error, Result, ensure};
use crate::network::Network;
use crate::number::{Rational, approximate, floor_scaled, scale_by_power_of_two};
use num::bigint::BigInt;
use num::{One, Signed, Zero};

/// Largest file, in bytes.
const MAX_BYTES: usize = 1 << 28;
/// Most comparisons in all disjuncts together, and most inputs of all boxes together.
const MAX_TOTAL: usize = 1 << 22;

/// What a file says: it holds for a network if no input of any region reaches an unsafe set of that region.
#[derive(Clone, Debug)]
pub struct Query {
    /// The file's name, for people.
    pub name: String,
    pub regions: Vec<Region>,
    /// Number of declared inputs, and where the last is declared.
    inputs: (usize, String),
    /// One more than the largest index of an output, and where it is declared.
    outputs: (usize, String),
}

/// A box of inputs, and its unsafe sets: each is a conjunction.
#[derive(Clone, Debug)]
pub struct Region {
    pub lower: Vec<Rational>,
    pub upper: Vec<Rational>,
    pub cells: Vec<Vec<Constraint>>,
}

/// `Σ coefficient · Y_i ≤ bound`, or `<` if strict. At least one coefficient; none is zero.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Constraint {
    /// (output, coefficient), by increasing output.
    pub terms: Vec<(usize, Rational)>,
    pub bound: Rational,
    pub strict: bool,
}

/// Reads a file; `path` stands in errors before the line number.
pub fn parse(path: &str, name: &str, text: &str) -> Result<Query> {
    let size = format!("a property may have at most {MAX_BYTES} bytes");
    ensure(text.len() <= MAX_BYTES, Code::LimitSize, size).map_err(|e| e.within(path))?;
    let mut reader = reader::Reader::new(path);
    syntax::expressions(path, text, |command| reader.command(&command))?;
    regions::query(&reader, name)
}

impl Query {
    /// An error unless the file's variables are those of the network.
    pub fn check(&self, network: &Network) -> Result<()> {
        let wrong = |place: &str, message: String| Err(Error::new(Code::PropertyValue, place, message));
        let elements = network.input().elements();
        let [output] = network.outputs() else {
            let message =
                format!("the model has {} outputs; a property needs a model with one", network.outputs().len());
            return wrong(&self.outputs.1, message);
        };
        let reached = network.nodes()[*output].elements();
        if self.inputs.0 != elements {
            let message = format!("{} inputs X_i are declared; the model's input has {elements}", self.inputs.0);
            return wrong(&self.inputs.1, message);
        }
        if self.outputs.0 > reached {
            let message = format!("Y_{} is declared; the model has {reached} outputs, from Y_0", self.outputs.0 - 1);
            return wrong(&self.outputs.1, message);
        }
        Ok(())
    }
}

impl Region {
    /// A point of the box with short numbers. In every element, w being its width: the value itself if w = 0, else the
    /// midpoint rounded to a multiple of 2^-k, the least k with 2^-k ≤ w/4, and up if two are equally near.
    pub fn centre(&self) -> Vec<Rational> {
        self.lower.iter().zip(&self.upper).map(|(low, high)| centre(low, high)).collect()
    }

    /// True if every point of the other box is one of this.
    pub fn contains(&self, other: &Region) -> bool {
        let sorted = |(low, high): (&[Rational], &[Rational])| {
            low.len() == high.len() && low.iter().zip(high).all(|(low, high)| low <= high)
        };
        sorted((&self.lower, &other.lower)) && sorted((&other.upper, &self.upper))
    }
}

fn centre(low: &Rational, high: &Rational) -> Rational {
    let width = high - low;
    if !width.is_positive() {
        return low.clone();
    }
    // 2^k ≥ 4/w = a/b; the lengths of a and b leave two candidates.
    let (a, b) = (width.denom() << 2_u8, width.numer());
    let estimate = a.bits() as i64 - b.bits() as i64;
    let enough = scale_by_power_of_two(&width, estimate) >= Rational::from_integer(4.into());
    let k = if enough { estimate } else { estimate + 1 };
    let (two, half) = (BigInt::from(2), Rational::new(1.into(), 2.into()));
    let midpoint = (low + high) / two;
    let nearest = floor_scaled(&(scale_by_power_of_two(&midpoint, k) + half), 0);
    scale_by_power_of_two(&Rational::from_integer(nearest), -k)
}

/// What an unsafe set says, in a short line: numbers rounded for people, and only the first few parts.
pub fn in_words(cell: &[Constraint]) -> String {
    shortened(cell.iter().map(Constraint::in_words), " and ", " and … ")
}

/// The first parts, joined.
fn shortened(parts: impl ExactSizeIterator<Item = String>, between: &str, rest: &str) -> String {
    const SHOWN: usize = 4;
    let more = parts.len().saturating_sub(SHOWN);
    let end = if more > 0 { format!("{rest}({more} more)") } else { String::new() };
    parts.take(SHOWN).collect::<Vec<_>>().join(between) + &end
}

impl Constraint {
    /// Both sides with positive coefficients; outputs on the left if there are any.
    fn in_words(&self) -> String {
        let side = |sign: bool| {
            let term = |(i, a): &(usize, Rational)| {
                let factor = if a.abs().is_one() { String::new() } else { format!("{}·", approximate(&a.abs())) };
                format!("{factor}Y_{i}")
            };
            let terms: Vec<String> = self.terms.iter().filter(|(_, a)| a.is_positive() == sign).map(term).collect();
            let outputs = !terms.is_empty();
            let constant = self.bound.is_negative() == sign && !self.bound.is_zero();
            let constant = constant.then(|| approximate(&self.bound.abs()));
            let parts: Vec<String> = terms.into_iter().chain(constant).collect();
            (if parts.is_empty() { "0".to_owned() } else { shortened(parts.into_iter(), " + ", " + … ") }, outputs)
        };
        let ((left, outputs), (right, _)) = (side(true), side(false));
        match (outputs, self.strict) {
            (true, false) => format!("{left} ≤ {right}"),
            (true, true) => format!("{left} < {right}"),
            (false, false) => format!("{right} ≥ {left}"),
            (false, true) => format!("{right} > {left}"),
        }
    }
}
