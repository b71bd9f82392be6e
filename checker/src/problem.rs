//! The problem: graph, domain and unsafe cells, derived from the network and the claim by the checker itself.
//!
//! Every tensor is described by its *deviation* d from its exact value at the clean input, its *centre* c. Biases
//! and the reference output cancel: an affine node is `d' = Σ W d`, a ReLU is `d' = max(c+d, 0) − max(c, 0)`.

use crate::claim::{Claim, Coarse, End, Perturb, Property, Setting, Site, Truncate};
use crate::error::{Code, Error, Result, ensure, error};
use crate::exact::Exact;
use crate::ladder::{Generator, Ladder, Variables};
use crate::linear::Linear;
use crate::network::{self, Network, Parameter};
use crate::number::Rational;
use crate::onnx::MAX_ELEMENTS;
use crate::vnnlib::{self, Query, Region};
use crate::weights::{Values, Weights};
use num::bigint::BigInt;
use num::integer::Integer;
use num::{One, Signed, ToPrimitive, Zero};
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
    /// `d = E(c + d_base, k + d_change) − E(c, k)`, with `E(u, w) = max(u + w, 0) − max(u, 0)`, c and k the centres of
    /// the two tensors: what a ReLU makes of a change w of its input u.
    ReluPair { base: usize, change: usize },
    /// What changed weights add: the sum of the parts.
    Weights(Vec<WeightPart>),
}

/// `e = (S ∘ z) a`: every weight k changes by `S_k z_k`, the variables z of this block of the domain within ±1. `a` are
/// actual values, not deviations.
#[derive(Clone, Debug)]
pub struct WeightPart {
    pub block: usize,
    /// The variable of the first weight.
    pub first: usize,
    pub source: Source,
    /// S, not negative.
    pub spread: Arc<Linear>,
    /// S or slightly more, as weights without tails.
    pub above: Arc<Linear>,
}

/// The actual values that changed weights act on.
#[derive(Clone, Debug)]
pub enum Source {
    /// Centre plus deviation of this tensor.
    Tensor(usize),
    /// Values that nothing perturbed reaches.
    Clean(Exact),
}

/// One tensor of the problem.
#[derive(Clone, Debug)]
pub struct Tensor {
    pub name: String,
    pub op: Op,
    /// Exact value at the clean input.
    pub centre: Exact,
    /// Known range of the deviation: from the claim's valid range, or zero for what a cutoff sees.
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
    /// Factor that made the coefficients of a single row integers, and 1 for several rows; slacks are in this unit.
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
    /// Position of the output tensor, or of its change.
    pub output: usize,
    /// Position of the output tensor before the change, where inputs vary.
    pub base: Option<usize>,
    /// True if the first block of variables is the input.
    pub region: bool,
    /// Exact values of the coarse map of the output tensor's centre.
    pub clean: Vec<Rational>,
    /// One row a coarse output, over the output tensor.
    pub coarse: Vec<Vec<(usize, Rational)>>,
    /// Perturbations of which a rung sees everything. The rules do not use it; a witness must comply.
    pub bands: Vec<Band>,
    names: HashMap<String, usize>,
}

/// The blocks of one perturbation hold nothing finer than the rung.
#[derive(Clone, Debug)]
pub struct Band {
    pub ladder: Arc<Ladder>,
    pub seen: usize,
    pub blocks: std::ops::Range<usize>,
}

/// Exact values of all tensors of a network at a clean input.
pub struct Clean {
    values: Vec<Exact>,
    /// Of a network that takes the place of this one.
    changed: Option<Changed>,
    around: Around,
}

/// A network that takes the place of the first one, at the clean input.
struct Changed {
    /// Exact values of all its tensors.
    values: Vec<Exact>,
    /// True if its tensors are those of the first one with other constants.
    alike: bool,
    /// Truncated tensors, with their values before: the truncation, and the same less the identity.
    truncated: HashMap<usize, (Exact, [Arc<Linear>; 2])>,
}

/// What an input stands for.
enum Around {
    /// Itself.
    Point,
    /// A region of a VNN-LIB file that it is the centre of.
    Region(Arc<Query>, usize),
    /// A box that it is the centre of, for a claim about changes.
    Box(Region),
}

impl Clean {
    /// Evaluates the network at `x`, which the claim allows.
    pub fn new(network: &Network, claim: &Claim, x: &[Rational]) -> Result<Clean> {
        let elements = network.input().elements();
        let message = || format!("the clean input has {} values, the model's input has {elements}", x.len());
        ensure(x.len() == elements, Code::ClaimShape, message())?;
        if let Some((low, high)) = &claim.valid
            && let Some(i) = x.iter().position(|v| v < low || v > high)
        {
            let message = format!("element {i} of the clean input is {}, outside `valid` = [{low}, {high}]", x[i]);
            return Err(error(Code::ClaimClean, message + "; widen `valid` or scale the data"));
        }
        if claim.is_regional() {
            let radius = claim.radius.clone().unwrap_or_default();
            let valid = |x: Rational| match &claim.valid {
                Some((low, high)) => x.clamp(low.clone(), high.clone()),
                None => x,
            };
            let lower = x.iter().map(|x| valid(x - &radius)).collect();
            return Clean::around(network, claim, lower, x.iter().map(|x| valid(x + &radius)).collect());
        }
        let values = network.evaluate(&Exact::from_rationals(x));
        Ok(Clean { values, changed: None, around: Around::Point })
    }

    /// Evaluates the network at the centre of a box that the claim states, or of the valid range.
    pub(crate) fn of_box(network: &Network, claim: &Claim, ends: Option<&(End, End)>) -> Result<Clean> {
        let elements = network.input().elements();
        let valid = claim.valid.as_ref();
        let valid_ends = valid.map(|(low, high)| (End::All(low.clone()), End::All(high.clone())));
        let ends = ends.or(valid_ends.as_ref()).ok_or_else(|| error(Code::ClaimMissingKey, "no box is given"))?;
        let message = || format!("an end of the box has not {elements} elements, as the model's input");
        let spread = |end: &End| end.spread(elements).ok_or_else(|| error(Code::ClaimShape, message()));
        let (lower, upper) = (spread(&ends.0)?, spread(&ends.1)?);
        let empty = (0..elements).find(|&i| lower[i] > upper[i]);
        let message = || format!("element {} of `lower` is above that of `upper`", empty.unwrap_or_default());
        ensure(empty.is_none(), Code::ClaimValue, message())?;
        if let Some((low, high)) = valid
            && let Some(i) = (0..elements).find(|&i| lower[i] < *low || upper[i] > *high)
        {
            let message = format!("element {i} of the box leaves `valid` = [{low}, {high}]; widen `valid`");
            return Err(error(Code::ClaimClean, message));
        }
        Clean::around(network, claim, lower, upper)
    }

    fn around(network: &Network, claim: &Claim, lower: Vec<Rational>, upper: Vec<Rational>) -> Result<Clean> {
        let region = Region { lower, upper, cells: vec![] };
        let x = Exact::from_rationals(&region.centre());
        let values = network.evaluate(&x);
        let changed = match (&claim.replace, &claim.truncate[..]) {
            (None, []) => None,
            (other, truncate) => {
                Some(Changed::new(network, other.as_ref().map_or(network, |other| &other.network), truncate, &x)?)
            }
        };
        Ok(Clean { values, changed, around: Around::Box(region) })
    }

    /// Evaluates the network at the centre of a region of a query that fits it.
    pub(crate) fn of_region(network: &Network, query: &Arc<Query>, region: usize) -> Result<Clean> {
        query.check(network)?;
        let message = || format!("the property has no region {region}");
        let x = query.regions.get(region).ok_or_else(|| error(Code::Data, message()))?.centre();
        let values = network.evaluate(&Exact::from_rationals(&x));
        Ok(Clean { values, changed: None, around: Around::Region(Arc::clone(query), region) })
    }

    /// The box of inputs, if the claim is about one.
    pub fn region(&self) -> Option<&Region> {
        match &self.around {
            Around::Point => None,
            Around::Region(query, region) => Some(&query.regions[*region]),
            Around::Box(region) => Some(region),
        }
    }
}

impl Changed {
    fn new(network: &Network, other: &Network, truncate: &[Truncate], x: &Exact) -> Result<Self> {
        let alike = network.is_like(other);
        let located = |truncate: &Truncate, message: String| {
            Error::new(Code::ClaimTensor, truncate.place.clone(), format!("the site `{}`: {message}", truncate.site))
        };
        let sizes = (network.input().elements(), other.input().elements());
        let message = || format!("the input of the model has {} elements, that of `replace` {}", sizes.0, sizes.1);
        ensure(sizes.0 == sizes.1, Code::ClaimShape, message())?;
        let mut maps: HashMap<usize, [Arc<Linear>; 2]> = HashMap::new();
        for one in truncate {
            let node = if one.site == "input" { Some(0) } else { network.find(&one.site) };
            let node = node.filter(|_| alike).ok_or_else(|| {
                let message = if alike { "the model has no such tensor" } else { "`replace` has not the same tensors" };
                located(one, message.to_owned())
            })?;
            let elements = network.nodes()[node].elements();
            let map = one.ladder.truncation(one.cutoff, elements);
            let map = map.map_err(|message| Error { code: Code::ClaimShape, ..located(one, message) })?;
            if maps.insert(node, map.map(Arc::new)).is_some() {
                return Err(located(one, "it is truncated twice".to_owned()));
            }
        }
        let mut truncated = HashMap::new();
        let values = other.evaluate_with(x, |node, value| match maps.remove(&node) {
            Some(map) => {
                let after = value.apply(&map[0]);
                truncated.insert(node, (value, map));
                after
            }
            None => value,
        });
        Ok(Changed { values, alike, truncated })
    }
}

impl Problem {
    /// Position of the tensor that an ONNX name, or `perturb[i]`, stands for.
    pub fn find(&self, name: &str) -> Option<usize> {
        self.names.get(name).copied()
    }

    /// Multiply–accumulates of one pass over the tensors up to and including `t`.
    pub fn entries(&self, t: usize) -> u64 {
        let of = |tensor: &Tensor| match &tensor.op {
            Op::Affine(terms) => terms.iter().map(|(_, linear)| linear.entries()).sum(),
            Op::Weights(parts) => parts.iter().map(|part| part.above.entries()).sum(),
            Op::Variables(_) | Op::Relu(_) | Op::ReluPair { .. } => tensor.centre.len() as u64,
        };
        self.tensors.iter().take(t + 1).map(of).sum()
    }

    /// The problem of one setting of the claim at a clean input.
    pub fn new(network: &Network, claim: &Claim, setting: &Setting, clean: &Clean) -> Result<Problem> {
        let region = clean.region();
        let twin = matches!(clean.around, Around::Box(_));
        let builder = Builder {
            network,
            valid: claim.valid.as_ref(),
            setting,
            region,
            twin,
            centres: &clean.values,
            changed: clean.changed.as_ref(),
            other: claim.replace.as_ref().map(|other| &other.network),
        };
        let output = builder.output_node()?;
        if let Some(one) = claim.truncate.iter().find(|one| !builder.is_needed(&one.site, output)) {
            let message = format!("the output does not depend on the site `{}`", one.site);
            return Err(Error::new(Code::ClaimTensor, one.place.clone(), message));
        }
        let mut problem = builder.graph(output)?;
        problem.coarse = coarse_rows(&setting.coarse, network.nodes()[output].elements())?;
        let centre = &problem.tensors[problem.output].centre;
        problem.clean = problem.coarse.iter().map(|row| centre.combine(row)).collect();
        problem.cells = match &clean.around {
            Around::Region(query, region) => unsafe_cells(&query.regions[*region], &problem.clean)?,
            Around::Point | Around::Box(_) => cells(&setting.property, &problem.coarse, &problem.clean, twin)?,
        };
        Ok(problem)
    }
}

struct Builder<'a> {
    network: &'a Network,
    valid: Option<&'a (Rational, Rational)>,
    setting: &'a Setting,
    /// The box of inputs that the clean input is the centre of.
    region: Option<&'a Region>,
    /// True if the claim is about changes at every input of the region, and not about the outputs there.
    twin: bool,
    centres: &'a [Exact],
    changed: Option<&'a Changed>,
    /// The network that takes the place of the first one.
    other: Option<&'a Network>,
}

/// A perturbation and where it enters.
struct Entry<'a> {
    perturb: &'a Perturb,
    name: String,
    /// Its first block of variables.
    block: usize,
    place: Place,
}

enum Place {
    /// At this tensor of the network.
    Site(usize, Generator),
    /// At these parameters; true if their changes are relative to the stored values.
    Weights(Vec<Perturbed>, bool),
}

/// A perturbed parameter: tensor of the network, position in its list, first variable.
struct Perturbed {
    node: usize,
    parameter: usize,
    first: usize,
}

impl<'a> Builder<'a> {
    fn output_node(&self) -> Result<usize> {
        match (&self.setting.output, self.network.outputs()) {
            (Some(name), _) => self.network.find(name).ok_or_else(|| format!("the model has no tensor `{name}`")),
            (None, [only]) => Ok(*only),
            (None, several) => {
                Err(format!("the model has {} outputs; name one with `tensor = \"…\"` in [output]", several.len()))
            }
        }
        .map_err(|message| error(Code::ClaimTensor, message))
    }

    fn is_needed(&self, site: &str, output: usize) -> bool {
        let node = if site == "input" { Some(0) } else { self.network.find(site) };
        node.is_some_and(|node| Self::ancestors(self.network, output).get(node) == Some(&true))
    }

    /// Where the perturbations enter; their variables become the problem's domain, in the claim's order.
    fn entries(&self, needed: &[bool], problem: &mut Problem) -> Result<Vec<Entry<'a>>> {
        let mut entries = Vec::new();
        for (i, perturb) in self.setting.perturb.iter().enumerate() {
            let (name, block) = (format!("perturb[{i}]"), problem.domain.len());
            let place = match &perturb.site {
                Site::Tensor { name: site, scale } => {
                    let node = self.site(perturb, site, needed)?;
                    let len = self.network.nodes()[node].elements();
                    let generator = scale.ladder.generator(scale.cutoff, &perturb.amplitude, len);
                    let located =
                        |message: String| perturb.error(Code::ClaimShape, format!("the site `{site}`: {message}"));
                    let generator = generator.or_else(located)?;
                    // The widths of all sums rest on this, as they do for the tensors of a model.
                    let small = |n: usize| n <= MAX_ELEMENTS;
                    let variables = generator.parts.iter().all(|part| small(part.variables.lower.len()));
                    if !variables || !generator.seen.as_ref().is_none_or(|seen| small(seen.outputs())) {
                        let message = format!("the ladder has more than {MAX_ELEMENTS} variables or modes");
                        return perturb.error(Code::LimitSize, message);
                    }
                    for (part, suffix) in generator.parts.iter().zip(["", ".residual"]) {
                        problem.domain.push(Variables { name: format!("{name}{suffix}"), ..part.variables.clone() });
                    }
                    if let Some(seen) = scale.seen {
                        let blocks = block..problem.domain.len();
                        problem.bands.push(Band { ladder: Arc::clone(&scale.ladder), seen, blocks });
                    }
                    Place::Site(node, generator)
                }
                Site::Weights { .. } if self.twin => {
                    let message =
                        "perturbed weights are not supported over a region of inputs yet; state single inputs";
                    return perturb.error(Code::ClaimValue, message);
                }
                Site::Weights { names, relative } => {
                    let (found, count) = self.parameters(perturb, names.as_deref(), needed)?;
                    let ones = vec![Rational::one(); count];
                    problem.domain.push(Variables { name: name.clone(), ..Variables::boxed(&ones, vec![]) });
                    Place::Weights(found, *relative)
                }
            };
            entries.push(Entry { perturb, name, block, place });
        }
        Ok(entries)
    }

    /// Position of the network node that a perturbation enters at; the output depends on it.
    fn site(&self, perturb: &Perturb, name: &str, needed: &[bool]) -> Result<usize> {
        let site = if name == "input" { Some(0) } else { self.network.find(name) };
        let message = match site {
            Some(node) if needed[node] => return Ok(node),
            Some(_) => format!("the output does not depend on the site `{name}`"),
            None => format!("the model has no tensor `{name}`; `scalecert inspect` lists them"),
        };
        perturb.error(Code::ClaimTensor, message)
    }

    /// The parameters of these names, or all, that the output depends on, each with its first variable; and how many
    /// values they have.
    fn parameters(
        &self,
        perturb: &Perturb,
        names: Option<&[String]>,
        needed: &[bool],
    ) -> Result<(Vec<Perturbed>, usize)> {
        let (mut found, mut count, mut seen) = (Vec::new(), 0_usize, Vec::new());
        let needed_nodes = || self.network.nodes().iter().enumerate().filter(|(node, _)| needed[*node]);
        let fixed: Vec<&str> = needed_nodes()
            .flat_map(|(_, tensor)| &tensor.parameters)
            .filter_map(|parameter| parameter.fixed.then_some(parameter.name.as_str()))
            .collect();
        if let (None, Some(name)) = (names, fixed.first()) {
            let message =
                format!("`{name}` is broadcast or a factor, which cannot be perturbed; name the others in `weights`");
            return perturb.error(Code::ClaimTensor, message);
        }
        for (node, tensor) in needed_nodes() {
            for (k, parameter) in tensor.parameters.iter().enumerate().filter(|(_, parameter)| !parameter.fixed) {
                if names.is_some_and(|names| !names.contains(&parameter.name)) {
                    continue;
                }
                if seen.contains(&parameter.name.as_str()) || fixed.contains(&parameter.name.as_str()) {
                    let message = format!("`{}` is used twice; a shared parameter cannot be perturbed", parameter.name);
                    return perturb.error(Code::ClaimTensor, message);
                }
                seen.push(&parameter.name);
                found.push(Perturbed { node, parameter: k, first: count });
                count += self.values(node, parameter);
            }
        }
        let missing = names.and_then(|names| names.iter().find(|name| !seen.contains(&name.as_str())));
        match (missing, found.is_empty()) {
            (None, false) => Ok((found, count)),
            (Some(name), _) => {
                let message =
                    format!("the output depends on no matrix of a product and no added constant named `{name}`");
                perturb.error(Code::ClaimTensor, message)
            }
            (None, true) => perturb.error(Code::ClaimTensor, "the output depends on no stored matrix or bias"),
        }
    }

    /// Number of stored values of a parameter.
    fn values(&self, node: usize, parameter: &Parameter) -> usize {
        match (&self.network.nodes()[node].op, parameter.term) {
            (network::Op::Affine { terms, .. }, Some(term)) => terms[term].1.weights().mantissas().len(),
            _ => self.network.nodes()[node].elements(),
        }
    }

    fn graph(&self, output: usize) -> Result<Problem> {
        let needed = Self::ancestors(self.network, output);
        let fixed = self.region.is_some() && !needed[0];
        ensure(!fixed, Code::ClaimTensor, "the output does not depend on the input")?;
        let mut problem = Problem { region: self.region.is_some(), ..Problem::default() };
        // Of inputs that vary, positions of the deviations; `None` where the input does not reach.
        let mut base: Vec<Option<usize>> = vec![None; self.network.nodes().len()];
        base[0] = self.region.map(|region| self.around(&mut problem, region));
        let entries = self.entries(&needed, &mut problem)?;
        if let (Some(other), Some(Changed { alike: false, values, .. }), Some(input)) =
            (self.other, self.changed, base[0])
        {
            ensure(entries.is_empty(), Code::ClaimTensor, "perturbations need a `replace` with the same tensors")?;
            return self.two_copies(problem, output, input, other, values);
        }
        // Position of each network node's change; `None` where nothing perturbed reaches it. Without perturbations the
        // change is that of the input itself.
        let mut deviation: Vec<Option<usize>> = vec![None; self.network.nodes().len()];
        for (node, tensor) in self.network.nodes().iter().enumerate().filter(|(n, _)| needed[*n]) {
            let mut position = match &tensor.op {
                network::Op::Input => base[0].filter(|_| !self.twin),
                network::Op::Relu(from) => {
                    if let (true, Some(from)) = (self.twin, base[*from]) {
                        base[node] = Some(self.push_base(&mut problem, node, Op::Relu(from)));
                    }
                    let op = match (self.twin, base[*from], deviation[*from]) {
                        (_, _, None) => None,
                        (false, _, Some(change)) => Some(Op::Relu(change)),
                        (true, Some(base), Some(change)) => Some(Op::ReluPair { base, change }),
                        (true, None, Some(_)) => return Err(self.fixed(node)),
                    };
                    op.map(|op| self.push(&mut problem, node, op))
                }
                network::Op::Affine { terms: all, .. } => {
                    if self.twin {
                        let varying = all.iter().filter_map(|(p, w)| base[*p].map(|p| (p, Arc::clone(w)))).collect();
                        let centre = &self.centres[node];
                        base[node] =
                            affine(&mut problem, varying, centre, |problem, op| self.push_base(problem, node, op));
                    }
                    let moved = |(p, w): &Term| deviation[*p].map(|p| (p, Arc::clone(w)));
                    let others = self.other_terms(node).unwrap_or(all);
                    let mut terms: Vec<Term> = others.iter().filter_map(moved).collect();
                    for ((p, own), (_, other)) in
                        all.iter().zip(others).filter(|((_, own), (_, w))| !Arc::ptr_eq(own, w))
                    {
                        let difference = own.difference(other);
                        let difference =
                            difference.ok_or_else(|| error(Code::LimitSize, "a weight is out of range"))?;
                        terms.extend(base[*p].zip(difference).map(|(p, difference)| (p, Arc::new(difference))));
                    }
                    terms.extend(self.weights(&mut problem, node, all, &entries, &deviation)?);
                    let centre = match self.change_before(node) {
                        _ if !self.twin => self.centres[node].clone(),
                        change => change.unwrap_or_else(|| Exact::zeros(tensor.elements())),
                    };
                    affine(&mut problem, terms, &centre, |problem, op| self.push(problem, node, op))
                }
            };
            if position.is_none() && self.change_before(node).is_some_and(|k| !k.is_zero()) {
                position = Some(self.constant(&mut problem, node)?);
            }
            if let Some((_, maps)) = self.changed.and_then(|changed| changed.truncated.get(&node)) {
                let base = base[node].ok_or_else(|| self.fixed(node))?;
                let terms =
                    position.map(|p| (p, Arc::clone(&maps[0]))).into_iter().chain([(base, Arc::clone(&maps[1]))]);
                position = Some(self.push_after(&mut problem, node, Op::Affine(terms.collect())));
            }
            let entering = || entries.iter().filter(|e| matches!(e.place, Place::Site(site, _) if site == node));
            for entry in entering() {
                position = Some(self.perturb(&mut problem, node, position, entry, entering().count() == 1)?);
            }
            let perturbed = !self.twin || entering().count() > 0;
            if let (0, Some(site), Some(valid), true) = (node, position, self.valid, perturbed) {
                problem.tensors[site].clip = Some(self.clip(valid));
                if let (true, Some(base)) = (self.twin, base[0]) {
                    self.keep_valid(&mut problem, base, site, valid)?;
                }
            }
            deviation[node] = position;
            let both = [(self.name(node), position), (tensor.name.clone(), base[node].filter(|_| self.twin))];
            problem.names.extend(both.into_iter().filter_map(|(name, t)| Some((name, t?))));
        }
        problem.domain.iter_mut().for_each(Variables::tighten);
        problem.output = deviation[output].unwrap_or_default();
        if self.twin {
            problem.base = Some(base[output].ok_or_else(|| self.fixed(output))?);
            problem.output = match deviation[output] {
                Some(change) => change,
                None => {
                    problem.names.insert(self.name(output), problem.tensors.len());
                    self.constant(&mut problem, output)?
                }
            };
        }
        Ok(problem)
    }

    fn fixed(&self, node: usize) -> Error {
        let name = &self.network.nodes()[node].name;
        error(Code::ClaimTensor, format!("`{name}` does not depend on the input, which varies"))
    }

    /// The same affine map in the network that takes the place of this one.
    fn other_terms(&self, node: usize) -> Option<&'a Vec<Term>> {
        match &self.other?.nodes()[node].op {
            network::Op::Affine { terms, .. } => Some(terms),
            _ => None,
        }
    }

    /// Value of the change at the clean input: what the network that takes the place of this one has more. Before the
    /// tensor is truncated, if it is.
    fn change_before(&self, node: usize) -> Option<Exact> {
        let changed = self.changed?;
        let value = changed.truncated.get(&node).map_or(&changed.values[node], |(before, _)| before);
        Some(value.plus(&self.centres[node].negated()))
    }

    /// A change that is the same for all inputs: an affine tensor of the input, with the map 0.
    fn constant(&self, problem: &mut Problem, node: usize) -> Result<usize> {
        let (len, inputs) = (self.network.nodes()[node].elements(), self.network.input().elements());
        let nothing = Linear::gather(inputs, vec![0; len], Weights::constant(0));
        let nothing = nothing.ok_or_else(|| error(Code::LimitSize, "a tensor is too large"))?;
        Ok(self.push(problem, node, Op::Affine(vec![(0, Arc::new(nothing))])))
    }

    /// Two networks of different shapes at the same input: the tensors of both, and the difference of their outputs.
    fn two_copies(
        &self,
        mut problem: Problem,
        output: usize,
        input: usize,
        other: &Network,
        values: &[Exact],
    ) -> Result<Problem> {
        problem.names.insert(self.network.input().name.clone(), input);
        let mut ends = Vec::new();
        for (network, centres, prefix) in [(self.network, self.centres, ""), (other, values, "replace:")] {
            let end = if prefix.is_empty() { Ok(output) } else { other_output(self.setting, other) }?;
            let mut position: Vec<Option<usize>> = vec![None; network.nodes().len()];
            position[0] = Some(input);
            let needed = Self::ancestors(network, end);
            for (node, tensor) in network.nodes().iter().enumerate().skip(1).filter(|(node, _)| needed[*node]) {
                let name = format!("{prefix}{}", tensor.name);
                let push = |problem: &mut Problem, op| {
                    let centre = centres[node].clone();
                    problem.tensors.push(Tensor { name: name.clone(), op, centre, clip: None });
                    problem.tensors.len() - 1
                };
                position[node] = match &tensor.op {
                    network::Op::Input => None,
                    network::Op::Relu(from) => position[*from].map(|from| push(&mut problem, Op::Relu(from))),
                    network::Op::Affine { terms, .. } => {
                        let terms = terms.iter().filter_map(|(p, w)| Some((position[*p]?, Arc::clone(w))));
                        affine(&mut problem, terms.collect(), &centres[node], push)
                    }
                };
                problem.names.extend(position[node].map(|t| (name, t)));
            }
            ends.push((position[end].ok_or_else(|| self.fixed(output))?, &centres[end]));
        }
        let [(own, before), (new, after)] = ends[..] else { return Err(self.fixed(output)) };
        ensure(
            before.len() == after.len(),
            Code::ClaimShape,
            "the outputs of the model and of `replace` differ in size",
        )?;
        let signed = |sign: i64| Linear::identity(before.len())?.with_weights(Weights::constant(sign)).map(Arc::new);
        let too_large = || error(Code::LimitSize, "the output is too large");
        let terms = vec![(new, signed(1).ok_or_else(too_large)?), (own, signed(-1).ok_or_else(too_large)?)];
        let (name, centre) = (self.name(output), after.plus(&before.negated()));
        problem.names.insert(name.clone(), problem.tensors.len());
        problem.output = problem.tensors.len();
        problem.tensors.push(Tensor { name, op: Op::Affine(terms), centre, clip: None });
        problem.base = Some(own);
        Ok(problem)
    }

    /// The name of what the perturbations do to the tensor of `node`.
    fn name(&self, node: usize) -> String {
        let name = &self.network.nodes()[node].name;
        if self.twin { format!("{name}#change") } else { name.clone() }
    }

    /// Says exactly what the perturbed input keeps to: the bounds of its change alone hold for every input of the region.
    fn keep_valid(
        &self,
        problem: &mut Problem,
        base: usize,
        change: usize,
        (low, high): &(Rational, Rational),
    ) -> Result<()> {
        let len = self.network.input().elements();
        let identity = Linear::identity(len).ok_or_else(|| error(Code::LimitSize, "the input is too large"))?;
        let identity = Arc::new(identity);
        let centre = self.centres[0].plus(&problem.tensors[change].centre);
        let x = centre.to_rationals();
        let clip = Some((x.iter().map(|x| low - x).collect(), x.iter().map(|x| high - x).collect()));
        let op = Op::Affine(vec![(base, Arc::clone(&identity)), (change, identity)]);
        let name = format!("{}#perturbed", self.network.input().name);
        problem.names.insert(name.clone(), problem.tensors.len());
        problem.tensors.push(Tensor { name, op, centre, clip });
        Ok(())
    }

    /// Adds the input as variables: what differs from the centre of a region.
    fn around(&self, problem: &mut Problem, region: &Region) -> usize {
        let centre = self.centres[0].to_rationals();
        let from_centre = |ends: &[Rational]| ends.iter().zip(&centre).map(|(end, c)| end - c).collect();
        let (lower, upper) = (from_centre(&region.lower), from_centre(&region.upper));
        let name = self.network.input().name.clone();
        problem.domain.push(Variables { name, lower, upper, groups: vec![] });
        self.push_base(problem, 0, Op::Variables(problem.domain.len() - 1))
    }

    /// The tensors of a network that one of them depends on, and that one.
    fn ancestors(network: &Network, output: usize) -> Vec<bool> {
        let nodes = network.nodes();
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

    /// Appends what is done to the tensor of `node`, but for its truncation and perturbation.
    fn push(&self, problem: &mut Problem, node: usize, op: Op) -> usize {
        self.push_change(problem, node, op, self.change_before(node))
    }

    /// The same after its truncation.
    fn push_after(&self, problem: &mut Problem, node: usize, op: Op) -> usize {
        let after = self.changed.map(|changed| changed.values[node].plus(&self.centres[node].negated()));
        self.push_change(problem, node, op, after)
    }

    fn push_change(&self, problem: &mut Problem, node: usize, op: Op, centre: Option<Exact>) -> usize {
        if !self.twin {
            return self.push_base(problem, node, op);
        }
        let centre = centre.unwrap_or_else(|| Exact::zeros(self.network.nodes()[node].elements()));
        problem.tensors.push(Tensor { name: self.name(node), op, centre, clip: None });
        problem.tensors.len() - 1
    }

    /// Appends the deviation of the tensor of `node` from its value at the clean input.
    fn push_base(&self, problem: &mut Problem, node: usize, op: Op) -> usize {
        let (name, centre) = (self.network.nodes()[node].name.clone(), self.centres[node].clone());
        problem.tensors.push(Tensor { name, op, centre, clip: None });
        problem.tensors.len() - 1
    }

    /// What changed weights add to the tensor of `node`, if any of them is perturbed.
    fn weights(
        &self,
        problem: &mut Problem,
        node: usize,
        terms: &[Term],
        entries: &[Entry<'_>],
        deviation: &[Option<usize>],
    ) -> Result<Option<Term>> {
        let tensor = &self.network.nodes()[node];
        let mut parts = Vec::new();
        for entry in entries {
            let Place::Weights(found, relative) = &entry.place else { continue };
            for &Perturbed { parameter: k, first, .. } in found.iter().filter(|p| p.node == node) {
                let parameter = &tensor.parameters[k];
                let a = &entry.perturb.amplitude[0];
                let too_large = || Error::new(Code::LimitSize, entry.perturb.place.clone(), "a weight is out of range");
                let (source, pattern) = match parameter.term {
                    Some(term) => {
                        let (p, linear) = &terms[term];
                        let source =
                            deviation[*p].map_or_else(|| Source::Clean(self.centres[*p].clone()), Source::Tensor);
                        (source, Some(linear))
                    }
                    None => {
                        let ones = vec![Rational::one(); tensor.elements()];
                        (Source::Clean(Exact::from_rationals(&ones)), None)
                    }
                };
                // The stored value, times the factor with which it is used.
                let stored = |k: usize| match (pattern, &tensor.op) {
                    (Some(linear), _) => linear.weights().value(k),
                    (None, network::Op::Affine { bias: Some(bias), .. }) => bias.get(k),
                    _ => Rational::zero(),
                };
                let spread = |k: usize| if *relative { a * stored(k).abs() } else { a * parameter.factor.abs() };
                let values = (0..self.values(node, parameter)).map(spread).collect();
                let weights = Weights::new(Values::Rational(values)).ok_or_else(too_large)?;
                let linear = |weights: Weights| match pattern {
                    Some(linear) => linear.with_weights(weights),
                    None => Linear::identity(tensor.elements()).and_then(|identity| identity.with_each(weights)),
                };
                let up = Some(weights.rounded_up()).filter(|up| up.exact().is_none());
                let above = Arc::new(up.and_then(linear).ok_or_else(too_large)?);
                let spread = Arc::new(linear(weights).ok_or_else(too_large)?);
                parts.push(WeightPart { block: entry.block, first, source, spread, above });
            }
        }
        if parts.is_empty() {
            return Ok(None);
        }
        let (len, position) = (tensor.elements(), problem.tensors.len());
        let name = format!("{}#weights", tensor.name);
        problem.names.insert(name.clone(), position);
        problem.tensors.push(Tensor { name, op: Op::Weights(parts), centre: Exact::zeros(len), clip: None });
        let identity = Linear::identity(len).ok_or_else(|| error(Code::LimitSize, "a tensor is too large"))?;
        Ok(Some((position, Arc::new(identity))))
    }

    /// Adds a perturbation to the tensor of `node`, whose deviation so far is `position`.
    fn perturb(
        &self,
        problem: &mut Problem,
        node: usize,
        position: Option<usize>,
        entry: &Entry<'_>,
        alone: bool,
    ) -> Result<usize> {
        let Place::Site(_, generator) = &entry.place else { return Ok(position.unwrap_or_default()) };
        let len = self.network.nodes()[node].elements();
        let too_large = || Error::new(Code::LimitSize, entry.perturb.place.clone(), "the site is too large");
        let identity = Arc::new(Linear::identity(len).ok_or_else(too_large)?);
        let direct = position.is_none() && generator.parts.len() == 1 && generator.parts[0].maps.is_empty();
        let (site, z) = if direct {
            if let (true, 0, Some(valid)) = (alone, node, self.valid) {
                let (low, high) = self.clip(valid);
                let variables = &mut problem.domain[entry.block];
                variables.lower.iter_mut().zip(low).for_each(|(l, c)| *l = c.max(l.clone()));
                variables.upper.iter_mut().zip(high).for_each(|(u, c)| *u = c.min(u.clone()));
            }
            let site = self.push_after(problem, node, Op::Variables(entry.block));
            problem.names.insert(entry.name.clone(), site);
            (site, site)
        } else {
            let (first, mut terms) = (problem.tensors.len(), Vec::<Term>::new());
            for (block, part) in (entry.block..).zip(&generator.parts) {
                let (z, variables) = (problem.tensors.len(), &problem.domain[block]);
                let (name, centre) = (variables.name.clone(), Exact::zeros(variables.lower.len()));
                problem.names.insert(name.clone(), z);
                problem.tensors.push(Tensor { name, op: Op::Variables(block), centre, clip: None });
                terms.extend(part.maps.iter().map(|map| (z, Arc::new(map.clone()))));
                if part.maps.is_empty() {
                    terms.push((z, Arc::clone(&identity)));
                }
            }
            terms.extend(position.map(|earlier| (earlier, identity)));
            (self.push_after(problem, node, Op::Affine(terms)), first)
        };
        if let Some(seen) = &generator.seen {
            // What the cutoff sees is a tensor that is known to be zero: a multiplier there costs nothing.
            let (name, zero) = (format!("{}.seen", entry.name), vec![Rational::zero(); seen.outputs()]);
            problem.names.insert(name.clone(), problem.tensors.len());
            let (op, centre) = (Op::Affine(vec![(z, Arc::new(seen.clone()))]), Exact::zeros(seen.outputs()));
            problem.tensors.push(Tensor { name, op, centre, clip: Some((zero.clone(), zero)) });
        }
        Ok(site)
    }

    /// Range inside the claim's valid range of the perturbed input's deviation, or of the change's at any input of a region.
    fn clip(&self, (low, high): &(Rational, Rational)) -> (Vec<Rational>, Vec<Rational>) {
        let x = self.centres[0].to_rationals();
        let (lowest, highest) = self.region.map_or((&x, &x), |region| (&region.lower, &region.upper));
        // What a change is at the clean input is no deviation.
        let k = self.changed.map_or_else(|| self.centres[0].clone(), |changed| changed.values[0].clone());
        let k = k.plus(&self.centres[0].negated()).to_rationals();
        let within = |end: &Rational, x: &[Rational]| x.iter().zip(&k).map(|(x, k)| end - x - k).collect();
        (within(low, highest), within(high, lowest))
    }
}

/// Appends an affine tensor of this centre, or finds a simpler one with the same deviation: the identity of a tensor of the
/// same centre is that tensor, and the identity of an affine tensor of another centre has that tensor's terms.
fn affine(
    problem: &mut Problem,
    terms: Vec<Term>,
    centre: &Exact,
    push: impl FnOnce(&mut Problem, Op) -> usize,
) -> Option<usize> {
    let terms = match &terms[..] {
        [] => return None,
        [(from, linear)] if linear.is_identity() => match &problem.tensors[*from] {
            tensor if tensor.centre.plus(&centre.negated()).is_zero() => return Some(*from),
            Tensor { op: Op::Affine(earlier), .. } => earlier.clone(),
            _ => terms,
        },
        _ => terms,
    };
    Some(push(problem, Op::Affine(terms)))
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
        Coarse::Band { ladder, seen, hidden } => {
            let located = |message: String| Err(Error::new(Code::ClaimShape, "[output] coarse", message));
            ladder.band(*seen, *hidden, len).or_else(located)
        }
    }
}

/// The output of a network that takes the place of the model.
fn other_output(setting: &Setting, other: &Network) -> Result<usize> {
    match (&setting.output, other.outputs()) {
        (Some(name), _) => other.find(name).ok_or_else(|| format!("`replace` has no tensor `{name}`")),
        (None, [only]) => Ok(*only),
        (None, several) => {
            Err(format!("`replace` has {} outputs; name one with `tensor = \"…\"` in [output]", several.len()))
        }
    }
    .map_err(|message| error(Code::ClaimTensor, message))
}

/// The unsafe cells of a property. `clean` are the coarse outputs at the clean input, or where the tensor is a change the
/// coarse map of that.
fn cells(property: &Property, coarse: &[Vec<(usize, Rational)>], clean: &[Rational], twin: bool) -> Result<Vec<Cell>> {
    let mut cells = Vec::new();
    let mut single = |(row, unit), meaning| cells.push(Cell { rows: vec![row], unit, meaning });
    match property {
        Property::Tolerance(distance) | Property::Reaches(distance) => {
            let strict = matches!(property, Property::Tolerance(_));
            let words = if strict { "more than" } else { "at least" };
            for (k, row) in coarse.iter().enumerate() {
                for (sign, verb) in [(-1, "rises"), (1, "falls")] {
                    let signed: Vec<_> = row.iter().map(|(i, g)| (*i, g * BigInt::from(sign))).collect();
                    // Of a change the value at the clean input counts as well.
                    let moved = if twin { &clean[k] * BigInt::from(-sign) } else { Rational::zero() };
                    let row = halfspace(&signed, moved - distance, strict)?;
                    single(row, format!("coarse output {k} {verb} by {words} {distance}"));
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
        Property::Unsafe => return Err(error(Code::ClaimClean, "a property needs a region, not a clean input")),
    }
    Ok(cells)
}

/// The unsafe sets of a region, around the outputs `clean` of its centre.
fn unsafe_cells(region: &Region, clean: &[Rational]) -> Result<Vec<Cell>> {
    let cell = |constraints: &Vec<vnnlib::Constraint>| {
        let (mut rows, mut units) = (Vec::new(), Vec::new());
        for constraint in constraints {
            let centre: Rational = constraint.terms.iter().map(|(i, a)| a * &clean[*i]).sum();
            let (row, unit) = halfspace(&constraint.terms, &constraint.bound - centre, constraint.strict)?;
            rows.push(row);
            units.push(unit);
        }
        let unit = if let [unit] = &units[..] { unit.clone() } else { Rational::one() };
        Ok(Cell { rows, unit, meaning: vnnlib::in_words(constraints) })
    };
    region.cells.iter().map(cell).collect()
}

/// `Σ terms · d ≤ bound` with its coefficients scaled to coprime integers, and the positive factor that did it.
pub(crate) fn halfspace(terms: &[(usize, Rational)], bound: Rational, strict: bool) -> Result<(Halfspace, Rational)> {
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
            let message =
                format!("needs integers of more than {CELL_BITS} bits as coefficients; use simpler fractions");
            Err(Error::new(Code::LimitSize, "[output] coarse", message))
        }
    }
}
