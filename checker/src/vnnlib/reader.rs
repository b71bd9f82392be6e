//! Commands, formulas and terms: assertions multiplied out to a disjunction of conjunctions.

use super::syntax::{Expression, Form, call, quoted};
use super::{Constraint, MAX_TOTAL};
use crate::error::{Code, Error, Result};
use crate::number::{Rational, parse_rational};
use crate::onnx::MAX_ELEMENTS;
use crate::problem::halfspace;
use num::bigint::BigInt;
use num::{One, Signed, Zero};
use std::collections::BTreeMap;

/// Most disjuncts after multiplying out.
const MAX_DISJUNCTS: usize = 1 << 12;
/// Longest numerator or denominator that arithmetic may lead to, in bits.
const MAX_BITS: u64 = 1 << 14;

/// What a sum has coefficients of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Variable {
    One,
    X(usize),
    Y(usize),
}

/// A linear function. None of its coefficients is zero.
type Sum = BTreeMap<Variable, Rational>;

/// `X_input ≤ value` if `upper`, else `≥`.
#[derive(Clone)]
pub struct Bound {
    pub input: usize,
    pub upper: bool,
    pub value: Rational,
    pub line: usize,
}

#[derive(Clone, Default)]
pub struct Conjunction {
    pub bounds: Vec<Bound>,
    pub rows: Vec<Constraint>,
}

impl Conjunction {
    fn extend(&mut self, other: &Conjunction) {
        self.bounds.extend_from_slice(&other.bounds);
        self.rows.extend_from_slice(&other.rows);
    }

    fn len(&self) -> usize {
        self.bounds.len() + self.rows.len()
    }
}

pub struct Reader<'a> {
    pub path: &'a str,
    /// Declared variables, with their lines.
    pub declared: BTreeMap<Variable, usize>,
    /// What holds in every disjunct.
    pub common: Conjunction,
    /// The disjuncts, beside what they have in common.
    pub rest: Vec<Conjunction>,
}

impl<'a> Reader<'a> {
    pub fn new(path: &'a str) -> Self {
        // No choice yet: one disjunct, in which nothing is said.
        let rest = vec![Conjunction::default()];
        Reader { path, declared: BTreeMap::new(), common: Conjunction::default(), rest }
    }

    pub fn fail<T>(&self, line: usize, code: Code, message: impl Into<String>) -> Result<T> {
        Err(Error::new(code, format!("{}:{line}", self.path), message))
    }

    pub fn command(&mut self, command: &Expression<'_>) -> Result<()> {
        let line = command.line;
        let real = |kind: &Expression<'_>| matches!(kind.form, Form::Atom("Real"));
        match call(command) {
            Some(("assert", [formula])) => {
                match &self.formula(formula)?[..] {
                    [only] => self.common.extend(only),
                    several => {
                        let rest = std::mem::take(&mut self.rest);
                        self.rest = self.both(line, rest, several)?;
                    }
                }
                Ok(())
            }
            Some(("declare-const", [name, kind])) if real(kind) => self.declare(name),
            Some(("declare-fun", [name, Expression { form: Form::List(none), .. }, kind]))
                if none.is_empty() && real(kind) =>
            {
                self.declare(name)
            }
            Some((head @ ("assert" | "declare-const" | "declare-fun"), _)) => {
                let message = format!(
                    "`{head}` is not of the form (assert …), (declare-const X_0 Real) or (declare-fun X_0 () Real)"
                );
                self.fail(line, Code::PropertySyntax, message)
            }
            Some((head, _)) => {
                let message =
                    format!("the command {} is not known; remove it, or write assertions without it", quoted(head));
                self.fail(line, Code::PropertyUnsupported, message)
            }
            None => self.fail(line, Code::PropertySyntax, "a command in parentheses is needed, such as (assert …)"),
        }
    }

    fn declare(&mut self, name: &Expression<'_>) -> Result<()> {
        let variable = if let Form::Atom(name) = name.form { variable(name) } else { None };
        let Some(variable) = variable else {
            let message = format!("a variable must be X_i or Y_i, i from 0 to {}", MAX_ELEMENTS - 1);
            return self.fail(name.line, Code::PropertyUnsupported, message);
        };
        match self.declared.insert(variable, name.line) {
            None => Ok(()),
            Some(line) => self.fail(name.line, Code::PropertyValue, format!("declared already in line {line}")),
        }
    }

    /// The disjunction that a formula is.
    fn formula(&self, formula: &Expression<'_>) -> Result<Vec<Conjunction>> {
        let line = formula.line;
        match call(formula) {
            Some(("and" | "or", [])) => self.fail(line, Code::PropertyUnsupported, "`and` and `or` need arguments"),
            Some(("and", parts)) => {
                let mut all = vec![Conjunction::default()];
                for part in parts {
                    all = self.both(line, all, &self.formula(part)?)?;
                }
                Ok(all)
            }
            Some(("or", parts)) => {
                let mut all = Vec::new();
                for part in parts {
                    all.extend(self.formula(part)?);
                    self.limit(line, all.len(), all.iter().map(Conjunction::len).sum())?;
                }
                Ok(all)
            }
            Some(("<=", [a, b])) => self.comparison(line, a, b, false),
            Some((">=", [a, b])) => self.comparison(line, b, a, false),
            Some(("<", [a, b])) => self.comparison(line, a, b, true),
            Some((">", [a, b])) => self.comparison(line, b, a, true),
            Some(("<=" | ">=" | "<" | ">", _)) => {
                self.fail(line, Code::PropertyUnsupported, "a comparison needs two sides")
            }
            other => {
                let what = other.map_or("this".to_owned(), |(head, _)| quoted(head));
                let message = format!("{what} is not understood here; known are and, or, <=, >=, < and >");
                self.fail(line, Code::PropertyUnsupported, message)
            }
        }
    }

    /// The conjunction of two disjunctions, multiplied out.
    fn both(&self, line: usize, mut some: Vec<Conjunction>, others: &[Conjunction]) -> Result<Vec<Conjunction>> {
        let size = |all: &[Conjunction]| all.iter().map(Conjunction::len).sum::<usize>();
        let part = |size: usize, times: usize| size.saturating_mul(times);
        let comparisons = part(size(&some), others.len()).saturating_add(part(size(others), some.len()));
        self.limit(line, part(some.len(), others.len()), comparisons)?;
        if let [only] = others {
            some.iter_mut().for_each(|conjunction| conjunction.extend(only));
            return Ok(some);
        }
        let joined = |one: &Conjunction, other: &Conjunction| {
            let mut joined = one.clone();
            joined.extend(other);
            joined
        };
        Ok(some.iter().flat_map(|one| others.iter().map(move |other| joined(one, other))).collect())
    }

    fn limit(&self, line: usize, disjuncts: usize, comparisons: usize) -> Result<()> {
        if disjuncts <= MAX_DISJUNCTS && comparisons <= MAX_TOTAL {
            return Ok(());
        }
        let message = format!(
            "multiplied out, the assertions are more than {MAX_DISJUNCTS} cases or {MAX_TOTAL} comparisons; \
             split the file"
        );
        self.fail(line, Code::LimitSize, message)
    }

    /// `a ≤ b`, or `a < b`.
    fn comparison(
        &self,
        line: usize,
        a: &Expression<'_>,
        b: &Expression<'_>,
        strict: bool,
    ) -> Result<Vec<Conjunction>> {
        let mut sum = self.sum(a)?;
        self.add(line, &mut sum, self.sum(b)?, -1)?;
        let bound = -sum.remove(&Variable::One).unwrap_or_else(Rational::zero);
        let mut found = Conjunction::default();
        let entries: Vec<(Variable, Rational)> = sum.into_iter().collect();
        match &entries[..] {
            [] => return self.fail(line, Code::PropertyUnsupported, "no variable is left in this comparison"),
            [(Variable::X(_), _)] if strict => {
                let message =
                    "a strict bound of an input is not supported; write <= or >=; the claim then says slightly more";
                return self.fail(line, Code::PropertyUnsupported, message);
            }
            [(Variable::X(input), a)] => {
                found.bounds.push(Bound { input: *input, upper: a.is_positive(), value: bound / a, line });
            }
            _ => {
                let output = |(v, a): (Variable, Rational)| if let Variable::Y(i) = v { Some((i, a)) } else { None };
                let Some(terms) = entries.into_iter().map(output).collect::<Option<Vec<_>>>() else {
                    let message = "an input can only be compared with a constant";
                    return self.fail(line, Code::PropertyUnsupported, message);
                };
                let place = format!("{}:{line}", self.path);
                halfspace(&terms, Rational::zero(), strict).map_err(|e| Error { place, ..e })?;
                found.rows.push(Constraint { terms, bound, strict });
            }
        }
        Ok(vec![found])
    }

    /// The linear function that a term is.
    fn sum(&self, term: &Expression<'_>) -> Result<Sum> {
        let line = term.line;
        match (call(term), &term.form) {
            (_, Form::Atom(atom)) => self.atom(line, atom),
            (Some(("-", [only])), _) => {
                let mut sum = Sum::new();
                self.add(line, &mut sum, self.sum(only)?, -1)?;
                Ok(sum)
            }
            (Some((head @ ("+" | "-"), [first, others @ ..])), _) => {
                let mut sum = self.sum(first)?;
                for other in others {
                    self.add(line, &mut sum, self.sum(other)?, if head == "+" { 1 } else { -1 })?;
                }
                Ok(sum)
            }
            (Some(("*", [first, others @ ..])), _) => {
                let mut product = self.sum(first)?;
                for other in others {
                    let other = self.sum(other)?;
                    product = match (constant(&product), constant(&other)) {
                        (_, Some(factor)) => self.scaled(line, product, &factor)?,
                        (Some(factor), None) => self.scaled(line, other, &factor)?,
                        (None, None) => {
                            let message = "a product of variables is not linear";
                            return self.fail(line, Code::PropertyUnsupported, message);
                        }
                    };
                }
                Ok(product)
            }
            (Some(("/", [top, bottom])), _) => match constant(&self.sum(bottom)?) {
                Some(divisor) if !divisor.is_zero() => self.scaled(line, self.sum(top)?, &divisor.recip()),
                _ => self.fail(line, Code::PropertyUnsupported, "a divisor must be a constant other than 0"),
            },
            (other, _) => {
                let what = other.map_or("this".to_owned(), |(head, _)| quoted(head));
                let message = format!("{what} is not understood as a linear term; known are +, -, * and /");
                self.fail(line, Code::PropertyUnsupported, message)
            }
        }
    }

    fn atom(&self, line: usize, atom: &str) -> Result<Sum> {
        let (variable, coefficient) = match (variable(atom), parse_rational(atom)) {
            (Some(variable), _) if self.declared.contains_key(&variable) => (variable, Rational::one()),
            (Some(_), _) => {
                let message = format!("{0} is not declared; write (declare-const {0} Real) before", atom);
                return self.fail(line, Code::PropertyValue, message);
            }
            (None, Some(value)) => (Variable::One, value),
            (None, None) => {
                let message = format!("{} is neither a number nor a variable X_i or Y_i", quoted(atom));
                return self.fail(line, Code::PropertySyntax, message);
            }
        };
        Ok(Sum::from_iter((!coefficient.is_zero()).then_some((variable, coefficient))))
    }

    /// Adds ± a sum to a sum.
    fn add(&self, line: usize, sum: &mut Sum, other: Sum, sign: i32) -> Result<()> {
        for (variable, value) in other {
            let total = sum.remove(&variable).unwrap_or_else(Rational::zero) + value * BigInt::from(sign);
            if !total.is_zero() {
                sum.insert(variable, self.short(line, total)?);
            }
        }
        Ok(())
    }

    fn scaled(&self, line: usize, sum: Sum, factor: &Rational) -> Result<Sum> {
        let scaled = |(variable, value): (Variable, Rational)| Ok((variable, self.short(line, value * factor)?));
        if factor.is_zero() { Ok(Sum::new()) } else { sum.into_iter().map(scaled).collect() }
    }

    fn short(&self, line: usize, value: Rational) -> Result<Rational> {
        if value.numer().bits().max(value.denom().bits()) <= MAX_BITS {
            return Ok(value);
        }
        self.fail(line, Code::LimitSize, format!("the arithmetic leads to numbers of more than {MAX_BITS} bits"))
    }
}

/// The value of a sum without variables.
fn constant(sum: &Sum) -> Option<Rational> {
    match sum.first_key_value() {
        None => Some(Rational::zero()),
        Some((Variable::One, value)) if sum.len() == 1 => Some(value.clone()),
        _ => None,
    }
}

/// `X_i` or `Y_i`, i without leading zeros.
fn variable(name: &str) -> Option<Variable> {
    let (kind, index) = name.split_once('_')?;
    let i: usize = index.parse().ok().filter(|i: &usize| *i < MAX_ELEMENTS && i.to_string() == index)?;
    match kind {
        "X" => Some(Variable::X(i)),
        "Y" => Some(Variable::Y(i)),
        _ => None,
    }
}
