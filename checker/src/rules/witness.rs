//! Refutation: a point of the domain that reaches an unsafe cell, evaluated exactly.
//!
//! Premises: rational values of all variables. Conclusion: the claim is false, if every variable lies in its box, every
//! group sums to exactly zero, perturbed inputs keep to the valid range, what a cutoff sees is exactly zero, a band holds
//! nothing finer than its finer rung, and the exact deviation of the output satisfies all rows of some cell. There is
//! nothing to bound: the network is evaluated on the point. For a region of a VNN-LIB file a witness is written as the
//! input itself; the variables are what it differs by from the region's centre.

use crate::certificate::WitnessText;
use crate::error::{Code, Error, Result};
use crate::exact::{self, Exact};
use crate::ladder::Variables;
use crate::network::affine;
use crate::number::{Rational, parse_rational};
use crate::problem::{Cell, Op, Problem, Source, WeightPart};
use num::bigint::BigInt;
use num::{One, Zero};
use std::cmp::Ordering;

/// Largest size of a block of values over one denominator, in bits.
const MAX_WITNESS_BITS: u64 = 1 << 30;
/// Most work for the odd part of that denominator, in squared bits.
const MAX_DENOMINATOR_WORK: u64 = 1 << 34;

/// Most work for the coarse outputs in lowest terms, in squared bits.
const MAX_REDUCTION_WORK: u64 = 1 << 34;

/// A witness that broke the claim.
pub struct Broken {
    /// The cell that is reached.
    pub cell: usize,
    /// Exact coarse outputs without the perturbation.
    pub clean: Vec<Rational>,
    /// Exact coarse outputs at the witness.
    pub coarse: Vec<Rational>,
}

/// Reads a witness: the perturbation, the input where that is not fixed, or both.
pub fn read(text: &WitnessText, problem: &Problem) -> Result<Vec<Vec<Rational>>> {
    let perturbed = problem.domain.len() > usize::from(problem.region);
    let blocks: Vec<Vec<String>> = match (&text.input, &text.perturbation) {
        (Some(input), perturbation) if problem.region && perturbation.is_some() == perturbed => {
            std::iter::once(input).chain(perturbation.iter().flatten()).cloned().collect()
        }
        (None, Some(perturbation)) if !problem.region => perturbation.clone(),
        _ => {
            let wanted = match (problem.region, perturbed) {
                (true, true) => "`input` and `perturbation`",
                (true, false) => "`input` alone",
                _ => "`perturbation` alone",
            };
            return Err(Error::new(
                Code::CertificateFormat,
                "witness",
                format!("a witness of this claim has {wanted}"),
            ));
        }
    };
    let mut blocks = parse(&blocks, problem)?;
    if let (true, Some(tensor)) = (problem.region, problem.tensors.first()) {
        from_input(&mut blocks[0], &tensor.centre.to_rationals(), &problem.domain[0])?;
    }
    Ok(blocks)
}

/// Makes an input its difference from the centre of its region, whose box contains it.
fn from_input(input: &mut [Rational], centre: &[Rational], variables: &Variables) -> Result<()> {
    for (j, (x, c)) in input.iter_mut().zip(centre).enumerate() {
        let (low, high) = (c + &variables.lower[j], c + &variables.upper[j]);
        if *x < low || *x > high {
            let message = format!("element {j} of the input is {x}, outside [{low}, {high}]");
            return Err(Error::new(Code::WitnessOutside, "witness", message));
        }
        *x -= c;
    }
    Ok(())
}

/// Reads the values of all variables: one list for each block of variables.
pub fn parse(text: &[Vec<String>], problem: &Problem) -> Result<Vec<Vec<Rational>>> {
    let error = |message: String| Error::new(Code::WitnessOutside, "witness", message);
    let sizes = || problem.domain.iter().map(|v| v.lower.len());
    if !text.iter().map(Vec::len).eq(sizes()) {
        return Err(error(format!(
            "needs lists of {:?} values, one list a block of variables",
            sizes().collect::<Vec<_>>()
        )));
    }
    let number = |t: &String| parse_rational(t).ok_or_else(|| error(format!("`{t}` is not a rational")));
    let blocks: Vec<Vec<Rational>> = text.iter().map(|b| b.iter().map(number).collect()).collect::<Result<_>>()?;
    for block in &blocks {
        // The evaluation brings all values of a block over one denominator; a gcd takes its bits squared.
        let (mut common, mut work) = (BigInt::one(), 0_u64);
        for z in block {
            let odd = z.denom() >> z.denom().trailing_zeros().unwrap_or(0);
            if odd.is_one() {
                continue;
            }
            work = work.saturating_add(common.bits().saturating_mul(common.bits()));
            let size = common.bits().saturating_mul(block.len() as u64);
            if work > MAX_DENOMINATOR_WORK || size > MAX_WITNESS_BITS {
                let message = "the values of the witness have no common denominator of reasonable size";
                return Err(Error::new(Code::LimitWork, "witness", message));
            }
            common = exact::common(common, &odd);
        }
    }
    Ok(blocks)
}

/// Confirms that the point is in the domain and breaks the claim.
pub fn check(problem: &Problem, point: &[Vec<Rational>]) -> Result<Broken> {
    let outside = |message: String| Err(Error::new(Code::WitnessOutside, "witness", message));
    for (variables, values) in problem.domain.iter().zip(point) {
        for (j, z) in values.iter().enumerate() {
            if *z < variables.lower[j] || *z > variables.upper[j] {
                let (low, high) = (&variables.lower[j], &variables.upper[j]);
                return outside(format!("{}: variable {j} is {z}, outside [{low}, {high}]", variables.name));
            }
        }
        for group in &variables.groups {
            let sum: Rational = group.iter().map(|&j| &values[j as usize]).sum();
            if !sum.is_zero() {
                return outside(format!("{}: a group of variables sums to {sum}, not 0", variables.name));
            }
        }
    }
    let deviation = deviations(problem, point);
    for (tensor, d) in problem.tensors.iter().zip(&deviation) {
        let Some((low, high)) = &tensor.clip else {
            continue;
        };
        for i in 0..d.len() {
            let is = |order: Ordering, end: &Rational| d.compare(&[(i, 1)], end) == order;
            if is(Ordering::Less, &low[i]) || is(Ordering::Greater, &high[i]) {
                return outside(format!("element {i} of `{}` leaves the range [{}, {}]", tensor.name, low[i], high[i]));
            }
        }
    }
    for band in &problem.bands {
        if !band.ladder.sees_all(band.seen, &point[band.blocks.clone()]) {
            let name = &problem.domain[band.blocks.start].name;
            return outside(format!("{name}: the rung {} does not see all of it", band.seen));
        }
    }
    let output = &deviation[problem.output];
    let Some(cell) = problem.cells.iter().position(|cell| reaches(cell, output)) else {
        return Err(Error::new(Code::WitnessHarmless, "witness", "the point does not break the claim"));
    };
    let at = |t: usize| deviation[t].plus(&problem.tensors[t].centre);
    let all = |values: &Exact| problem.coarse.iter().map(|row| values.combine(row)).collect::<Vec<_>>();
    let (before, after) = match problem.base {
        Some(base) => (Some(at(base)), at(base).plus(&at(problem.output))),
        None => (None, at(problem.output)),
    };
    // Each coarse output is told in lowest terms.
    let work = after.odd_bits().saturating_mul(after.odd_bits()).saturating_mul(problem.coarse.len() as u64);
    if work > MAX_REDUCTION_WORK {
        let message = "the coarse outputs at the witness have no denominators of reasonable size";
        return Err(Error::new(Code::LimitWork, "witness", message));
    }
    let clean = before.map_or_else(|| problem.clean.clone(), |before| all(&before));
    Ok(Broken { cell, clean, coarse: all(&after) })
}

fn reaches(cell: &Cell, output: &Exact) -> bool {
    cell.rows.iter().all(|row| match output.compare(&row.terms, &row.bound) {
        Ordering::Less => true,
        Ordering::Equal => !row.strict,
        Ordering::Greater => false,
    })
}

/// Every tensor's exact deviation at a point of the domain.
pub fn deviations(problem: &Problem, point: &[Vec<Rational>]) -> Vec<Exact> {
    let mut values: Vec<Exact> = Vec::with_capacity(problem.tensors.len());
    for tensor in &problem.tensors {
        values.push(match &tensor.op {
            Op::Variables(block) => Exact::from_rationals(&point[*block]),
            Op::Affine(terms) => affine(terms, None, &values, tensor.centre.len()),
            Op::Weights(parts) => {
                let added = parts.iter().map(|part| changed(problem, part, &values, &point[part.block]));
                added.reduce(|sum, part| sum.plus(&part)).unwrap_or_else(|| Exact::zeros(tensor.centre.len()))
            }
            Op::Relu(from) => {
                let centre = &problem.tensors[*from].centre;
                values[*from].plus(centre).relu().plus(&centre.relu().negated())
            }
            Op::ReluPair { base, change } => {
                let (c, k) = (&problem.tensors[*base].centre, &problem.tensors[*change].centre);
                let changed = |u: &Exact, w: &Exact| u.plus(w).relu().plus(&u.relu().negated());
                let moved = changed(&values[*base].plus(c), &values[*change].plus(k));
                moved.plus(&changed(c, k).negated())
            }
        });
    }
    values
}

/// `(S ∘ z) a` of changed weights z, exactly.
fn changed(problem: &Problem, part: &WeightPart, values: &[Exact], z: &[Rational]) -> Exact {
    let actual = match &part.source {
        Source::Clean(actual) => actual.clone(),
        Source::Tensor(t) => values[*t].plus(&problem.tensors[*t].centre),
    };
    let spread = part.spread.weights();
    let count = spread.mantissas().len();
    let changes = z[part.first..part.first + count].iter().enumerate().map(|(k, z)| spread.value(k) * z);
    actual.apply_rational(&part.spread, &changes.collect::<Vec<_>>())
}
