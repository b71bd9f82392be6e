//! The problem: graph, domain and unsafe cells, derived from the network and the claim by the checker itself.
//!
//! Every tensor is described by its *deviation* d from its exact value at the clean input, its *centre* c. Biases
//! and the reference output cancel: an affine node is `d' = Σ W d`, a ReLU is `d' = max(c+d, 0) − max(c, 0)`.

use crate::claim::{Claim, Coarse, Property};
use crate::error::{Code, Error, Result};
use crate::exact::Exact;
use crate::ladder::{Generator, Variables, generator};
use crate::linear::Linear;
use crate::network::{self, Network};
use crate::number::Rational;
use num::bigint::BigInt;
use num::integer::Integer;
use num::{One, ToPrimitive, Zero};
use std::collections::HashMap;
use std::sync::Arc;

/// Widest integer coefficient of a halfspace, in bits.
pub const CELL_BITS: u32 = 48;

/// How the deviation of a tensor follows from earlier ones.
#[derive(Clone, Debug)]
pub enum Op {
    /// The variables of this block of the domain.
    Variables(usize),
    /// `d = Σ W_p d_p`.
    Affine(Vec<(usize, Arc<Linear>)>),
    /// `d = max(c + d_p, 0) − max(c, 0)`, c the centre of tensor p.
    Relu(usize),
}

/// One tensor of the problem.
#[derive(Clone, Debug)]
pub struct Tensor {
    pub name: String,
    pub op: Op,
    /// Exact value at the clean input.
    pub centre: Exact,
    /// Known range of the deviation, from the claim's valid range.
    pub clip: Option<(Vec<Rational>, Vec<Rational>)>,
}

/// `Σ terms · d ≤ bound`, or `<` if strict, over elements of the output tensor.
#[derive(Clone, Debug)]
pub struct Halfspace {
    /// (element, coefficient); every |coefficient| < 2^[`CELL_BITS`].
    pub terms: Vec<(usize, i64)>,
    pub bound: Rational,
    pub strict: bool,
}

/// An unsafe cell: a conjunction. The claim holds iff no point of the domain reaches any cell.
#[derive(Clone, Debug)]
pub struct Cell {
    pub rows: Vec<Halfspace>,
    /// Factor that made the coefficients of a single row integers; slacks are in this unit.
    pub unit: Rational,
    /// What reaching the cell would mean, for people.
    pub meaning: String,
}

/// A claim about one clean input, as mathematics.
#[derive(Clone, Debug)]
pub struct Problem {
    /// In topological order.
    pub tensors: Vec<Tensor>,
    pub domain: Vec<Variables>,
    pub cells: Vec<Cell>,
    /// Position of the output tensor.
    pub output: usize,
    /// Exact clean values of the coarse outputs.
    pub clean: Vec<Rational>,
    /// One row a coarse output, over the output tensor.
    pub coarse: Vec<Vec<(usize, Rational)>>,
    names: HashMap<String, usize>,
}

impl Problem {
    /// Position of the tensor that an ONNX name, or `perturb[i]`, stands for.
    pub fn find(&self, name: &str) -> Option<usize> {
        self.names.get(name).copied()
    }

    /// The problem of the claim at the clean input `x`.
    pub fn new(network: &Network, claim: &Claim, x: &[Rational]) -> Result<Problem> {
        let builder = Builder::new(network, claim, x)?;
        let output = builder.output_node()?;
        builder.check_clean_input(x)?;
        let mut problem = builder.graph(output)?;
        problem.coarse = coarse_rows(&claim.coarse, network.nodes()[output].elements())?;
        let centre = &problem.tensors[problem.output].centre;
        problem.clean = problem.coarse.iter().map(|row| centre.combine(row)).collect();
        problem.cells = cells(&claim.property, &problem.coarse, &problem.clean)?;
        Ok(problem)
    }
}

struct Builder<'a> {
    network: &'a Network,
    claim: &'a Claim,
    centres: Vec<Exact>,
}

impl<'a> Builder<'a> {
    fn new(network: &'a Network, claim: &'a Claim, x: &[Rational]) -> Result<Self> {
        let expected = network.input().elements();
        if x.len() != expected {
            let message = format!("the clean input has {} values, the model's input has {expected}", x.len());
            return Err(Error::new(Code::ClaimShape, "[inputs]", message));
        }
        Ok(Builder { network, claim, centres: network.evaluate(&Exact::from_rationals(x)) })
    }

    fn output_node(&self) -> Result<usize> {
        let fail = |message: String| Err(Error::new(Code::ClaimTensor, "[output]", message));
        match (&self.claim.output, self.network.outputs()) {
            (Some(name), _) => {
                self.network.find(name).map_or_else(|| fail(format!("the model has no tensor `{name}`")), Ok)
            }
            (None, [only]) => Ok(*only),
            (None, several) => {
                fail(format!("the model has {} outputs; name one with `tensor = \"…\"` in [output]", several.len()))
            }
        }
    }

    fn check_clean_input(&self, x: &[Rational]) -> Result<()> {
        let Some((low, high)) = &self.claim.valid else {
            return Ok(());
        };
        match x.iter().position(|v| v < low || v > high) {
            None => Ok(()),
            Some(i) => {
                let message = format!(
                    "element {i} of the clean input is {}, outside `valid` = [{low}, {high}]: the domain would not \
                     contain the clean input; widen `valid` or scale the data",
                    x[i]
                );
                Err(Error::new(Code::ClaimClean, "[inputs]", message))
            }
        }
    }

    /// Position of the network node that a perturbation enters at.
    fn site(&self, index: usize) -> Result<usize> {
        let perturb = &self.claim.perturb[index];
        if perturb.site == "input" {
            return Ok(0);
        }
        match self.network.find(&perturb.site) {
            Some(node) => Ok(node),
            None => perturb.error(
                Code::ClaimTensor,
                format!("the model has no tensor `{}` to perturb; `scalecert inspect` lists them", perturb.site),
            ),
        }
    }

    fn graph(&self, output: usize) -> Result<Problem> {
        let sites = (0..self.claim.perturb.len()).map(|i| self.site(i)).collect::<Result<Vec<_>>>()?;
        let needed = self.ancestors(output);
        for (perturb, &site) in self.claim.perturb.iter().zip(&sites) {
            if !needed[site] {
                let message = format!("the output does not depend on the site `{}`", perturb.site);
                return perturb.error(Code::ClaimTensor, message);
            }
        }
        let mut problem = Problem {
            tensors: vec![],
            domain: vec![],
            cells: vec![],
            output: 0,
            clean: vec![],
            coarse: vec![],
            names: HashMap::new(),
        };
        // Position of each network node's deviation; `None` where nothing perturbed reaches it.
        let mut deviation: Vec<Option<usize>> = vec![None; self.network.nodes().len()];
        for (node, tensor) in self.network.nodes().iter().enumerate().filter(|(n, _)| needed[*n]) {
            let mut position = match &tensor.op {
                network::Op::Input => None,
                network::Op::Relu(from) => {
                    deviation[*from].map(|from| self.push(&mut problem, node, &tensor.name, Op::Relu(from)))
                }
                network::Op::Affine { terms, bias } => {
                    let terms: Vec<_> =
                        terms.iter().filter_map(|(p, w)| deviation[*p].map(|p| (p, Arc::clone(w)))).collect();
                    self.affine(&mut problem, node, terms, bias.is_some())
                }
            };
            let entering: Vec<usize> = (0..sites.len()).filter(|&i| sites[i] == node).collect();
            for &i in &entering {
                position = Some(self.perturb(&mut problem, node, position, i, entering.len() == 1)?);
            }
            if let (0, Some(site), Some(valid)) = (node, position, &self.claim.valid) {
                problem.tensors[site].clip = Some(self.clip(valid));
            }
            deviation[node] = position;
            problem.names.extend(position.map(|t| (tensor.name.clone(), t)));
        }
        problem.output = deviation[output].unwrap_or_default();
        Ok(problem)
    }

    fn ancestors(&self, output: usize) -> Vec<bool> {
        let nodes = self.network.nodes();
        let mut needed = vec![false; nodes.len()];
        needed[output] = true;
        for node in (0..=output).rev() {
            match &nodes[node].op {
                network::Op::Relu(from) if needed[node] => needed[*from] = true,
                network::Op::Affine { terms, .. } if needed[node] => terms.iter().for_each(|(p, _)| needed[*p] = true),
                _ => {}
            }
        }
        needed
    }

    fn push(&self, problem: &mut Problem, node: usize, name: &str, op: Op) -> usize {
        problem.tensors.push(Tensor { name: name.into(), op, centre: self.centres[node].clone(), clip: None });
        problem.tensors.len() - 1
    }

    /// Appends an affine tensor, or finds a simpler one with the same deviation: the identity of a tensor is that
    /// tensor, and the identity of an affine tensor plus a bias has that tensor's terms and a centre of its own.
    fn affine(
        &self,
        problem: &mut Problem,
        node: usize,
        terms: Vec<(usize, Arc<Linear>)>,
        biased: bool,
    ) -> Option<usize> {
        let identity_of = match &terms[..] {
            [] => return None,
            [(from, linear)] if linear.is_identity() => Some(*from),
            _ => None,
        };
        // Where a second, unperturbed term was dropped the centre differs too, so compare with the whole node.
        let network::Op::Affine { terms: all, .. } = &self.network.nodes()[node].op else {
            return None;
        };
        let terms = match identity_of {
            Some(from) if !biased && all.len() == 1 => return Some(from),
            Some(from) => match &problem.tensors[from].op {
                Op::Affine(earlier) => earlier.clone(),
                _ => terms,
            },
            None => terms,
        };
        Some(self.push(problem, node, &self.network.nodes()[node].name, Op::Affine(terms)))
    }

    /// Adds perturbation `index` to the tensor of `node`, whose deviation so far is `position`.
    fn perturb(
        &self,
        problem: &mut Problem,
        node: usize,
        position: Option<usize>,
        index: usize,
        alone: bool,
    ) -> Result<usize> {
        let perturb = &self.claim.perturb[index];
        let (len, name) = (self.network.nodes()[node].elements(), &self.network.nodes()[node].name);
        let Generator { mut variables, maps } = generator(perturb, index, len)?;
        let variables_name = variables.name.clone();
        let clip = self.claim.valid.as_ref().filter(|_| alone && node == 0).map(|valid| self.clip(valid));
        let block = problem.domain.len();
        let site = if maps.is_empty() && position.is_none() {
            if let Some((low, high)) = &clip {
                variables.lower.iter_mut().zip(low).for_each(|(l, c)| *l = c.max(l).clone());
                variables.upper.iter_mut().zip(high).for_each(|(u, c)| *u = c.min(u).clone());
            }
            let site = self.push(problem, node, name, Op::Variables(block));
            problem.names.insert(variables_name, site);
            site
        } else {
            let z = problem.tensors.len();
            let centre = Exact::zeros(variables.lower.len());
            problem.tensors.push(Tensor { name: variables_name.clone(), op: Op::Variables(block), centre, clip: None });
            problem.names.insert(variables_name, z);
            let identity = || Linear::identity(len).map(Arc::new);
            let too_large = || Error::new(Code::LimitSize, perturb.place.clone(), "the site is too large");
            let mut terms: Vec<_> = maps.into_iter().map(|map| (z, Arc::new(map))).collect();
            if terms.is_empty() {
                terms.push((z, identity().ok_or_else(too_large)?));
            }
            if let Some(earlier) = position {
                terms.push((earlier, identity().ok_or_else(too_large)?));
            }
            self.push(problem, node, name, Op::Affine(terms))
        };
        variables.tighten();
        problem.domain.push(variables);
        Ok(site)
    }

    /// Range of the input's deviation inside the claim's valid range.
    fn clip(&self, (low, high): &(Rational, Rational)) -> (Vec<Rational>, Vec<Rational>) {
        let x = self.centres[0].to_rationals();
        (x.iter().map(|x| low - x).collect(), x.iter().map(|x| high - x).collect())
    }
}

/// The rows of the coarse map, over an output tensor of `len` elements.
fn coarse_rows(coarse: &Coarse, len: usize) -> Result<Vec<Vec<(usize, Rational)>>> {
    let fail = |code, message: String| Err(Error::new(code, "[output] coarse", message));
    match coarse {
        Coarse::Identity => Ok((0..len).map(|i| vec![(i, Rational::one())]).collect()),
        Coarse::Groups { groups, mean } => groups
            .iter()
            .map(|group| {
                if let Some(i) = group.iter().find(|&&i| i >= len) {
                    return fail(Code::ClaimShape, format!("output {i} is named; the outputs are 0 to {}", len - 1));
                }
                let weight = if *mean { Rational::new(1.into(), group.len().into()) } else { Rational::one() };
                Ok(group.iter().map(|&i| (i, weight.clone())).collect())
            })
            .collect(),
        Coarse::Matrix(rows) => rows
            .iter()
            .map(|row| {
                if row.len() != len {
                    let message = format!("a row has {} entries, the output has {len}", row.len());
                    return fail(Code::ClaimShape, message);
                }
                Ok(row.iter().enumerate().filter(|(_, g)| !g.is_zero()).map(|(i, g)| (i, g.clone())).collect())
            })
            .collect(),
    }
}

/// The unsafe cells of a property.
fn cells(property: &Property, coarse: &[Vec<(usize, Rational)>], clean: &[Rational]) -> Result<Vec<Cell>> {
    let mut cells = Vec::new();
    let mut single = |(row, unit), meaning| cells.push(Cell { rows: vec![row], unit, meaning });
    match property {
        Property::Tolerance(tolerance) => {
            for (k, row) in coarse.iter().enumerate() {
                for (sign, verb) in [(-1, "rises"), (1, "falls")] {
                    let signed: Vec<_> = row.iter().map(|(i, g)| (*i, g * BigInt::from(sign))).collect();
                    let row = halfspace(&signed, -tolerance, true)?;
                    single(row, format!("coarse output {k} {verb} by more than {tolerance}"));
                }
            }
        }
        Property::Winner => {
            let winner = (0..clean.len()).max_by_key(|&k| &clean[k]).unwrap_or_default();
            for k in (0..clean.len()).filter(|&k| k != winner) {
                if clean[k] == clean[winner] {
                    let message = format!("coarse outputs {k} and {winner} tie on the clean input; there is no winner");
                    return Err(Error::new(Code::ClaimClean, "[output] decision", message));
                }
                // Reached if y_winner ≤ y_k, that is d_winner − d_k ≤ c_k − c_winner.
                let mut terms: HashMap<usize, Rational> = coarse[winner].iter().cloned().collect();
                for (i, g) in &coarse[k] {
                    *terms.entry(*i).or_insert_with(Rational::zero) -= g;
                }
                let mut terms: Vec<_> = terms.into_iter().collect();
                terms.sort_unstable_by_key(|(i, _)| *i);
                let row = halfspace(&terms, &clean[k] - &clean[winner], false)?;
                single(row, format!("coarse output {k} reaches the winner, coarse output {winner}"));
            }
        }
    }
    Ok(cells)
}

/// `Σ terms · d ≤ bound` with its coefficients scaled to coprime integers, and the positive factor that did it.
fn halfspace(terms: &[(usize, Rational)], bound: Rational, strict: bool) -> Result<(Halfspace, Rational)> {
    let denominator = terms.iter().fold(BigInt::one(), |l, (_, g)| l.lcm(g.denom()));
    let scaled: Vec<(usize, BigInt)> =
        terms.iter().map(|(i, g)| (*i, g.numer() * (&denominator / g.denom()))).filter(|(_, g)| !g.is_zero()).collect();
    let divisor = scaled.iter().fold(BigInt::zero(), |d, (_, g)| d.gcd(g)).max(BigInt::one());
    let fits = |g: &BigInt| (g / &divisor).to_i64().filter(|g| g.unsigned_abs() < 1 << CELL_BITS);
    let terms: Option<Vec<_>> = scaled.iter().map(|(i, g)| Some((*i, fits(g)?))).collect();
    match terms {
        Some(terms) => {
            let unit = Rational::new(denominator, divisor);
            Ok((Halfspace { terms, bound: bound * &unit, strict }, unit))
        }
        None => {
            let message = format!("the coarse map needs integers of more than {CELL_BITS} bits; use simpler fractions");
            Err(Error::new(Code::LimitSize, "[output] coarse", message))
        }
    }
}
