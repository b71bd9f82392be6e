//! Coarse models: a truncation `P = U C` put into the matrices beside it, so that the network has less to compute.
//!
//! Of a truncated input or ReLU h, layers after it read the coarse `C h` by `V U` instead of `V`. Of a truncated affine
//! tensor `W x + b`, it becomes `U (C W) x + P b`.

use anyhow::{Context, Result, bail};
use num::{One, Zero};
use scalecheck::exact::Exact;
use scalecheck::ladder::Ladder;
use scalecheck::linear::Linear;
use scalecheck::network::{Network, Node, Op};
use scalecheck::number::Rational;
use scalecheck::weights::{Values, Weights};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A tensor, and the rung of a ladder that it is truncated to.
pub struct Cut<'a> {
    /// `input`, or a tensor's name.
    pub site: &'a str,
    pub ladder: &'a Ladder,
    pub cutoff: usize,
}

/// The factors of a truncation: C from the tensor to what the rung sees, and U back.
struct Factors {
    down: Arc<Linear>,
    up: Arc<Linear>,
}

impl Factors {
    fn new(cut: &Cut<'_>, len: usize) -> Result<Self> {
        let located = |message: String| anyhow::anyhow!("the site `{}`: {message}", cut.site);
        if let Ladder::Modes(modes) = cut.ladder {
            let seen = modes.seen(cut.cutoff, len).map_err(located)?.context("the cutoff keeps no mode")?;
            let (rank, mut down) = (seen.outputs(), vec![Rational::zero(); seen.outputs() * len]);
            seen.for_each_entry(|o, i, k| down[o * len + i] += seen.weights().value(k));
            let up = (0..len * rank).map(|k| down[k % rank * len + k / rank].clone()).collect();
            return Ok(Factors { down: dense(rank, len, down)?, up: dense(len, rank, up)? });
        }
        // Elements of one group have the same row of means; an element without a group has none.
        let [projection, _] = cut.ladder.truncation(cut.cutoff, len).map_err(located)?;
        let mut rows = vec![BTreeMap::new(); len];
        projection.for_each_entry(|o, i, k| {
            let value = projection.weights().value(k);
            if !value.is_zero() {
                rows[o].insert(i, value);
            }
        });
        let mut groups: Vec<&BTreeMap<usize, Rational>> = rows.iter().filter(|row| !row.is_empty()).collect();
        groups.sort_unstable_by_key(|row| row.keys().next().copied());
        groups.dedup();
        let rank = groups.len();
        let (mut down, mut of) = (vec![Rational::zero(); rank * len], vec![None; len]);
        for (g, row) in groups.into_iter().enumerate() {
            for (i, value) in row {
                down[g * len + i] = value.clone();
                of[*i] = u32::try_from(g).ok();
            }
        }
        let up = match of.iter().copied().collect::<Option<Vec<u32>>>() {
            // Every element is a copy of its group's mean.
            Some(index) => {
                Arc::new(Linear::gather(rank, index, Weights::constant(1)).context("a tensor is too large")?)
            }
            None => {
                let one = |k: usize| {
                    if of[k / rank] == u32::try_from(k % rank).ok() { Rational::one() } else { Rational::zero() }
                };
                dense(len, rank, (0..len * rank).map(one).collect())?
            }
        };
        Ok(Factors { down: dense(rank, len, down)?, up })
    }
}

fn dense(rows: usize, cols: usize, values: Vec<Rational>) -> Result<Arc<Linear>> {
    let weights = Weights::new(Values::Rational(values)).context("a weight is out of range")?;
    Ok(Arc::new(Linear::dense(1, rows, cols, 1, weights).context("a matrix is too large")?))
}

/// Multiply–accumulates of one evaluation.
pub fn work(network: &Network) -> u64 {
    let of = |node: &Node| match &node.op {
        Op::Affine { terms, .. } => terms.iter().filter(|(_, w)| !w.is_signed_gather()).map(|(_, w)| w.entries()).sum(),
        _ => 0,
    };
    network.nodes().iter().map(of).sum()
}

/// What stands for a tensor of the original in the coarse network.
struct Stand {
    position: usize,
    /// Layers after it read this, by a map up to the tensor.
    coarse: Option<(usize, Arc<Linear>)>,
}

/// The network with these truncations put into its matrices.
pub fn coarse(network: &Network, cuts: &[Cut<'_>]) -> Result<Network> {
    let mut cut: Vec<Option<Factors>> = network.nodes().iter().map(|_| None).collect();
    for one in cuts {
        let site = if one.site == "input" { Some(0) } else { network.find(one.site) };
        let site = site.with_context(|| format!("the model has no tensor `{}`", one.site))?;
        let own = Factors::new(one, network.nodes()[site].elements())?;
        if cut[site].replace(own).is_some() {
            bail!("the site `{}` is truncated twice", one.site);
        }
    }
    // Of an affine tensor that is a product and a bias the product is cut.
    let products: Vec<Option<usize>> = (0..network.nodes().len()).map(|t| product(network, t)).collect();
    let mut coarse = Network::new(&network.input().name, network.input().shape.clone());
    let mut stands: Vec<Stand> = Vec::with_capacity(network.nodes().len());
    for (t, node) in network.nodes().iter().enumerate() {
        let after = (t + 1..products.len()).find(|&later| products[later] == Some(t));
        let here = cut[t].as_ref().filter(|_| products[t].is_none());
        let factors = here.or_else(|| after.and_then(|later| cut[later].as_ref()));
        let name = free_name(network, &node.name);
        let stand = match (&node.op, factors) {
            (Op::Input, factors) => keep_or_cut(&mut coarse, 0, node, factors, &name)?,
            (Op::Relu(from), factors) => {
                if stands[*from].coarse.is_some() {
                    bail!("`{}` is not a product with a matrix: a truncation cannot be put into it", node.name);
                }
                let relu = Op::Relu(stands[*from].position);
                let position = coarse.push(&node.name, node.shape.clone(), relu, vec![])?;
                keep_or_cut(&mut coarse, position, node, factors, &name)?
            }
            (Op::Affine { terms, bias }, factors) => {
                let mut inner = Vec::new();
                for (p, w) in terms {
                    let (from, w) = match &stands[*p].coarse {
                        Some((from, up)) => (*from, compose(w, up, &node.name)?),
                        None => (stands[*p].position, Arc::clone(w)),
                    };
                    let down = |f: &Factors| compose(&f.down, &w, &node.name);
                    inner.push((from, factors.map_or_else(|| Ok(Arc::clone(&w)), down)?));
                }
                let mut bias = bias.clone();
                if let (Some(f), Some(_)) = (&cut[t], products[t]) {
                    bias = bias.map(|b| b.apply(&f.down).apply(&f.up));
                }
                let Some(f) = factors else {
                    let op = Op::Affine { terms: inner, bias };
                    let position = coarse.push(&node.name, node.shape.clone(), op, vec![])?;
                    stands.push(Stand { position, coarse: None });
                    continue;
                };
                let seen: Option<Exact> = bias.map(|b| b.apply(&f.down));
                let op = Op::Affine { terms: inner, bias: seen };
                let below = coarse.push(&name, vec![1, f.down.outputs()], op, vec![])?;
                let up = Op::Affine { terms: vec![(below, Arc::clone(&f.up))], bias: None };
                Stand { position: coarse.push(&node.name, node.shape.clone(), up, vec![])?, coarse: None }
            }
        };
        stands.push(stand);
    }
    if let Some(output) = network.outputs().iter().find(|t| stands[**t].coarse.is_some()) {
        bail!("`{}` is an output: truncate it in the claim's `coarse` instead", network.nodes()[*output].name);
    }
    coarse.set_outputs(network.outputs().iter().map(|t| stands[*t].position).collect());
    Ok(coarse)
}

/// The product that an affine tensor adds its bias to, if nothing else uses that.
fn product(network: &Network, t: usize) -> Option<usize> {
    let uses = |node: &Node, p: usize| match &node.op {
        Op::Affine { terms, .. } => terms.iter().any(|(from, _)| *from == p),
        Op::Relu(from) => *from == p,
        Op::Input => false,
    };
    let Op::Affine { terms, .. } = &network.nodes()[t].op else { return None };
    let [(p, identity)] = &terms[..] else { return None };
    let is_product = matches!(&network.nodes()[*p].op, Op::Affine { bias: None, .. }) && identity.is_identity();
    let users = network.nodes().iter().filter(|node| uses(node, *p)).count();
    (is_product && users == 1 && !network.outputs().contains(p)).then_some(*p)
}

/// A name that the network has not.
fn free_name(network: &Network, name: &str) -> String {
    let mut name = format!("{}.coarse", name.trim_end_matches("#product"));
    while network.find(&name).is_some() {
        name += ".coarse";
    }
    name
}

/// An input or a ReLU, of which later layers read the coarse part if it is cut.
fn keep_or_cut(
    coarse: &mut Network,
    position: usize,
    node: &Node,
    factors: Option<&Factors>,
    name: &str,
) -> Result<Stand> {
    let Some(f) = factors else { return Ok(Stand { position, coarse: None }) };
    let op = Op::Affine { terms: vec![(position, Arc::clone(&f.down))], bias: None };
    let batch = node.shape.first().copied().filter(|_| node.shape.len() > 1).unwrap_or(1);
    let below = coarse.push(name, vec![batch, f.down.outputs()], op, vec![])?;
    Ok(Stand { position, coarse: Some((below, Arc::clone(&f.up))) })
}

fn compose(outer: &Linear, inner: &Linear, name: &str) -> Result<Arc<Linear>> {
    let composed = outer.compose(inner);
    let message =
        || format!("`{name}` is not a product with a matrix, or a large one: a truncation cannot be put into it");
    Ok(Arc::new(composed.with_context(message)?))
}
