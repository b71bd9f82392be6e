//! The problem: graph, domain and unsafe cells, derived from the network and the claim by the checker itself.
//!
//! Every tensor is described by its *deviation* d from its exact value at the clean input, its *centre* c. Biases
//! and the reference output cancel: an affine node is `d' = Σ W d`, a ReLU is `d' = max(c+d, 0) − max(c, 0)`.

use crate::claim::{Claim, Coarse, Perturb, Property};
use crate::error::{Code, Error, Result, ensure, error};
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

/// One summand of an affine tensor: the predecessor and its map.
pub type Term = (usize, Arc<Linear>);

/// How the deviation of a tensor follows from earlier ones.
#[derive(Clone, Debug)]
pub enum Op {
    /// The variables of this block of the domain.
    Variables(usize),
    /// `d = Σ W_p d_p`.
    Affine(Vec<Term>),
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
#[derive(Clone, Debug, Default)]
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
        let elements = network.input().elements();
        let message = || format!("the clean input has {} values, the model's input has {elements}", x.len());
        ensure(x.len() == elements, Code::ClaimShape, message())?;
        if let Some((low, high)) = &claim.valid
            && let Some(i) = x.iter().position(|v| v < low || v > high)
        {
            let message = format!("element {i} of the clean input is {}, outside `valid` = [{low}, {high}]", x[i]);
            return Err(error(Code::ClaimClean, message + "; widen `valid` or scale the data"));
        }
        let builder = Builder { network, claim, centres: network.evaluate(&Exact::from_rationals(x)) };
        let output = builder.output_node()?;
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
    fn output_node(&self) -> Result<usize> {
        match (&self.claim.output, self.network.outputs()) {
            (Some(name), _) => self.network.find(name).ok_or_else(|| format!("the model has no tensor `{name}`")),
            (None, [only]) => Ok(*only),
            (None, several) => {
                Err(format!("the model has {} outputs; name one with `tensor = \"…\"` in [output]", several.len()))
            }
        }
        .map_err(|message| error(Code::ClaimTensor, message))
    }

    /// Position of the network node that a perturbation enters at; the output depends on it.
    fn site(&self, perturb: &Perturb, needed: &[bool]) -> Result<usize> {
        let site = if perturb.site == "input" { Some(0) } else { self.network.find(&perturb.site) };
        let message = match site {
            Some(node) if needed[node] => return Ok(node),
            Some(_) => format!("the output does not depend on the site `{}`", perturb.site),
            None => format!("the model has no tensor `{}`; `scalecert inspect` lists them", perturb.site),
        };
        perturb.error(Code::ClaimTensor, message)
    }

    fn graph(&self, output: usize) -> Result<Problem> {
        let needed = self.ancestors(output);
        let sites = self.claim.perturb.iter().map(|p| self.site(p, &needed)).collect::<Result<Vec<_>>>()?;
        // Blocks of variables stand in the claim's order, whatever the order of their sites in the graph.
        let mut problem = Problem { domain: vec![Variables::default(); sites.len()], ..Problem::default() };
        // Position of each network node's deviation; `None` where nothing perturbed reaches it.
        let mut deviation: Vec<Option<usize>> = vec![None; self.network.nodes().len()];
        for (node, tensor) in self.network.nodes().iter().enumerate().filter(|(n, _)| needed[*n]) {
            let mut position = match &tensor.op {
                network::Op::Input => None,
                network::Op::Relu(from) => deviation[*from].map(|from| self.push(&mut problem, node, Op::Relu(from))),
                network::Op::Affine { terms: all, bias } => {
                    let moved = |(p, w): &Term| deviation[*p].map(|p| (p, Arc::clone(w)));
                    // A bias, or a term that nothing perturbed reaches, moves the centre.
                    let same_centre = bias.is_none() && all.len() == 1;
                    self.affine(&mut problem, node, all.iter().filter_map(moved).collect(), same_centre)
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

    fn push(&self, problem: &mut Problem, node: usize, op: Op) -> usize {
        let (name, centre) = (self.network.nodes()[node].name.clone(), self.centres[node].clone());
        problem.tensors.push(Tensor { name, op, centre, clip: None });
        problem.tensors.len() - 1
    }

    /// Appends an affine tensor, or finds a simpler one with the same deviation: the identity of a tensor is that
    /// tensor, and the identity of an affine tensor with another centre has that tensor's terms.
    fn affine(&self, problem: &mut Problem, node: usize, terms: Vec<Term>, same_centre: bool) -> Option<usize> {
        let terms = match &terms[..] {
            [] => return None,
            [(from, linear)] if linear.is_identity() => match &problem.tensors[*from].op {
                _ if same_centre => return Some(*from),
                Op::Affine(earlier) => earlier.clone(),
                _ => terms,
            },
            _ => terms,
        };
        Some(self.push(problem, node, Op::Affine(terms)))
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
        let len = self.network.nodes()[node].elements();
        let Generator { mut variables, maps } = generator(perturb, index, len)?;
        let site = if maps.is_empty() && position.is_none() {
            if let (true, 0, Some(valid)) = (alone, node, &self.claim.valid) {
                let (low, high) = self.clip(valid);
                variables.lower.iter_mut().zip(low).for_each(|(l, c)| *l = c.max(l.clone()));
                variables.upper.iter_mut().zip(high).for_each(|(u, c)| *u = c.min(u.clone()));
            }
            let site = self.push(problem, node, Op::Variables(index));
            problem.names.insert(variables.name.clone(), site);
            site
        } else {
            let (z, name, op) = (problem.tensors.len(), variables.name.clone(), Op::Variables(index));
            problem.names.insert(name.clone(), z);
            problem.tensors.push(Tensor { name, op, centre: Exact::zeros(variables.lower.len()), clip: None });
            let too_large = || Error::new(Code::LimitSize, perturb.place.clone(), "the site is too large");
            let identity = Arc::new(Linear::identity(len).ok_or_else(too_large)?);
            let mut terms: Vec<Term> = maps.into_iter().map(|map| (z, Arc::new(map))).collect();
            if terms.is_empty() {
                terms.push((z, Arc::clone(&identity)));
            }
            terms.extend(position.map(|earlier| (earlier, identity)));
            self.push(problem, node, Op::Affine(terms))
        };
        variables.tighten();
        problem.domain[index] = variables;
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
    match coarse {
        Coarse::Identity => Ok((0..len).map(|i| vec![(i, Rational::one())]).collect()),
        Coarse::Groups { groups, mean } => {
            let row = |group: &Vec<usize>| {
                let message = || format!("an output of the group {group:?} does not exist: they are 0 to {}", len - 1);
                ensure(group.iter().all(|&i| i < len), Code::ClaimShape, message())?;
                let weight = if *mean { Rational::new(1.into(), group.len().into()) } else { Rational::one() };
                Ok(group.iter().map(|&i| (i, weight.clone())).collect())
            };
            groups.iter().map(row).collect()
        }
        Coarse::Matrix(rows) => {
            let row = |row: &Vec<Rational>| {
                let message = || format!("a row of the matrix has {} entries, the output has {len}", row.len());
                ensure(row.len() == len, Code::ClaimShape, message())?;
                Ok(row.iter().cloned().enumerate().filter(|(_, g)| !g.is_zero()).collect())
            };
            rows.iter().map(row).collect()
        }
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
            ensure(clean.len() > 1, Code::ClaimClean, "a winner needs at least two coarse outputs to win among")?;
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
