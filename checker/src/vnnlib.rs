//! Properties in VNN-LIB: from text to boxes of inputs, each with its unsafe sets of outputs (`specs/claim-format.md`).
//!
//! The file is a conjunction of assertions over the inputs X_i and the outputs Y_i; a point that satisfies all of them is
//! unsafe. They are multiplied out to a disjunction of conjunctions. Inputs may only be bounded by constants, so every
//! disjunct is a box and a set of linear inequalities between outputs. What is not understood is an error, never a guess.

use crate::error::{Code, Error, Result, ensure, error};
use crate::network::Network;
use crate::number::{Rational, approximate, floor_scaled, parse_rational, scale_by_power_of_two};
use crate::onnx::MAX_ELEMENTS;
use crate::problem::halfspace;
use num::bigint::BigInt;
use num::{One, Signed, Zero};
use std::collections::{BTreeMap, HashMap};

/// Largest file, in bytes.
const MAX_BYTES: usize = 1 << 28;
/// Most parentheses that are open at once.
const MAX_DEPTH: usize = 64;
/// Most disjuncts after multiplying out.
const MAX_DISJUNCTS: usize = 1 << 12;
/// Most comparisons in all disjuncts together, and most inputs of all boxes together.
const MAX_TOTAL: usize = 1 << 22;
/// Longest numerator or denominator that arithmetic may lead to, in bits.
const MAX_BITS: u64 = 1 << 14;

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
    let mut reader = Reader { path, declared: BTreeMap::new(), common: Conjunction::default(), rest: vec![] };
    reader.rest.push(Conjunction::default());
    expressions(path, text, |command| reader.command(&command))?;
    reader.query(name)
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

/// An atom, or a list in parentheses; with its line.
struct Expression<'a> {
    line: usize,
    form: Form<'a>,
}

enum Form<'a> {
    Atom(&'a str),
    List(Vec<Expression<'a>>),
}

/// Calls `each` on every expression of the text.
fn expressions<'a>(path: &str, text: &'a str, mut each: impl FnMut(Expression<'a>) -> Result<()>) -> Result<()> {
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

/// What a sum has coefficients of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Variable {
    One,
    X(usize),
    Y(usize),
}

/// A linear function. None of its coefficients is zero.
type Sum = BTreeMap<Variable, Rational>;

/// `X_input ≤ value` if `upper`, else `≥`.
#[derive(Clone)]
struct Bound {
    input: usize,
    upper: bool,
    value: Rational,
    line: usize,
}

#[derive(Clone, Default)]
struct Conjunction {
    bounds: Vec<Bound>,
    rows: Vec<Constraint>,
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

struct Reader<'a> {
    path: &'a str,
    /// Declared variables, with their lines.
    declared: BTreeMap<Variable, usize>,
    /// What holds in every disjunct.
    common: Conjunction,
    /// The disjuncts, beside what they have in common.
    rest: Vec<Conjunction>,
}

/// Head and arguments of a list.
fn call<'e, 'a>(expression: &'e Expression<'a>) -> Option<(&'a str, &'e [Expression<'a>])> {
    match &expression.form {
        Form::List(list) => match &list[..] {
            [Expression { form: Form::Atom(head), .. }, arguments @ ..] => Some((head, arguments)),
            _ => None,
        },
        Form::Atom(_) => None,
    }
}

/// The beginning of a text from the file.
fn quoted(text: &str) -> String {
    let short: String = text.chars().take(40).map(|c| if c == '`' { '\'' } else { c }).collect();
    if short.len() < text.len() { format!("`{short}…`") } else { format!("`{short}`") }
}

impl<'a> Reader<'a> {
    fn fail<T>(&self, line: usize, code: Code, message: impl Into<String>) -> Result<T> {
        Err(Error::new(code, format!("{}:{line}", self.path), message))
    }

    fn command(&mut self, command: &Expression<'_>) -> Result<()> {
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

    /// Regions from the disjuncts: those with equal boxes are one.
    fn query(self, name: &str) -> Result<Query> {
        let last = |wanted: fn(Variable) -> Option<usize>| {
            let found = self.declared.iter().rev().find_map(|(v, line)| Some((wanted(*v)?, *line)));
            found.map_or((0, self.path.to_owned()), |(i, line)| (i + 1, format!("{}:{line}", self.path)))
        };
        let inputs = last(|v| if let Variable::X(i) = v { Some(i) } else { None });
        let outputs = last(|v| if let Variable::Y(i) = v { Some(i) } else { None });
        if let Some(missing) = (0..inputs.0).find(|&i| !self.declared.contains_key(&Variable::X(i))) {
            let message = format!("X_{} is declared but X_{missing} is not", inputs.0 - 1);
            return Err(Error::new(Code::PropertyValue, inputs.1, message));
        }
        let too_large = |what: &str| {
            let message = format!("{what} of all cases together are more than {MAX_TOTAL}; split the file");
            Err(error(Code::LimitSize, message).within(self.path))
        };
        let own: usize = self.rest.iter().map(|one| one.rows.len()).sum();
        if self.common.rows.len().saturating_mul(self.rest.len()).saturating_add(own) > MAX_TOTAL {
            return too_large("the output constraints");
        }
        let boxes = self.rest.iter().filter(|one| !one.bounds.is_empty()).count();
        if boxes.saturating_mul(inputs.0) > MAX_TOTAL {
            return too_large("the inputs");
        }
        let mut common = vec![[None; 2]; inputs.0];
        tighten(&mut common, &self.common.bounds);
        let mut regions: Vec<Region> = Vec::new();
        let mut known: HashMap<(Vec<Rational>, Vec<Rational>), usize> = HashMap::new();
        // The region of the common box; most disjuncts have no bounds of their own.
        let mut plain = None;
        for one in &self.rest {
            let region = match (plain, one.bounds.is_empty()) {
                (Some(region), true) => region,
                _ => {
                    let mut bounds = common.clone();
                    tighten(&mut bounds, &one.bounds);
                    let ends = self.ends(&bounds)?;
                    let next = regions.len();
                    let region = *known.entry(ends).or_insert_with_key(|(lower, upper)| {
                        regions.push(Region { lower: lower.clone(), upper: upper.clone(), cells: vec![] });
                        next
                    });
                    if one.bounds.is_empty() {
                        plain = Some(region);
                    }
                    region
                }
            };
            let cell: Vec<Constraint> = self.common.rows.iter().chain(&one.rows).cloned().collect();
            if cell.is_empty() {
                let line = one.bounds.first().or(self.common.bounds.first()).map_or(1, |bound| bound.line);
                let message = "a case has no output constraint, so that every input of its box is unsafe; \
                               state what outputs are unsafe";
                return self.fail(line, Code::PropertyUnsupported, message);
            }
            regions[region].cells.push(cell);
        }
        Ok(Query { name: name.to_owned(), regions, inputs, outputs })
    }

    /// Lower and upper ends of a box.
    fn ends(&self, bounds: &[[Option<&Bound>; 2]]) -> Result<(Vec<Rational>, Vec<Rational>)> {
        let (mut lower, mut upper) = (Vec::with_capacity(bounds.len()), Vec::with_capacity(bounds.len()));
        for (i, ends) in bounds.iter().enumerate() {
            let [Some(low), Some(high)] = ends else {
                let side = if ends[0].is_none() { "lower" } else { "upper" };
                let line = self.declared.get(&Variable::X(i)).copied().unwrap_or(1);
                let message = format!("X_{i} has no {side} bound in some case; assert one, such as (<= X_{i} 1)");
                return self.fail(line, Code::PropertyValue, message);
            };
            if low.value > high.value {
                let (low_line, high_line) = (low.line, high.line);
                let message = format!(
                    "no value of X_{i} is allowed: at least {} (line {low_line}) and at most {} (line {high_line})",
                    approximate(&low.value),
                    approximate(&high.value)
                );
                return self.fail(low_line.max(high_line), Code::PropertyValue, message);
            }
            lower.push(low.value.clone());
            upper.push(high.value.clone());
        }
        Ok((lower, upper))
    }
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
