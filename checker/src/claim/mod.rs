//! The claim: what a person states, read from TOML (`specs/claim-format.md`).

mod document;
mod scale;

use crate::error::{Code, Error, Result};
use crate::ladder::Ladder;
use crate::network::Network;
use crate::number::Rational;
use crate::onnx;
use crate::verify::{Files, digest};
use crate::vnnlib::{self, Query};
pub use document::{Item, read as read_document};
use std::cell::RefCell;
use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;

/// Most rows of one claim.
const MAX_ROWS: usize = 1 << 20;

/// A claim as written. Paths are relative to the claim's folder.
#[derive(Clone, Debug)]
pub struct Claim {
    pub model: PathBuf,
    /// A model that takes the place of the first one: what changes is what is claimed of.
    pub replace: Option<Arc<Replacement>>,
    /// Tensors of which only a coarse part is kept.
    pub truncate: Vec<Truncate>,
    pub inputs: Inputs,
    /// Not only a clean input, but every input that differs from it by at most this in every element.
    pub radius: Option<Rational>,
    /// Range that perturbed inputs keep to, in every element.
    pub valid: Option<(Rational, Rational)>,
    /// What is claimed, one or more statements; the claim is true if all of them are.
    pub settings: Vec<Setting>,
}

/// One statement: perturbations, and what they do to a coarse output.
#[derive(Clone, Debug)]
pub struct Setting {
    pub perturb: Vec<Perturb>,
    /// Name of the output tensor; the model's only output if `None`.
    pub output: Option<String>,
    pub coarse: Coarse,
    pub property: Property,
}

/// The clean inputs.
#[derive(Clone, Debug)]
pub enum Inputs {
    /// One input, written in the claim. Its row number is 0.
    Point(Vec<Rational>),
    /// All inputs between two ends, or of the valid range. Row 0.
    Box(Option<(End, End)>),
    /// Rows of a CSV file, counted from 0, in increasing order.
    Rows { file: PathBuf, rows: Vec<usize> },
    /// The boxes of a VNN-LIB file: row r is all inputs of region r.
    Regions(Arc<Query>),
}

/// One end of a box.
#[derive(Clone, Debug)]
pub enum End {
    /// The same for all elements.
    All(Rational),
    Each(Vec<Rational>),
}

impl End {
    /// For every element of an input of so many; `None` if there are others.
    pub fn spread(&self, elements: usize) -> Option<Vec<Rational>> {
        match self {
            End::All(x) => Some(vec![x.clone(); elements]),
            End::Each(x) => (x.len() == elements).then(|| x.clone()),
        }
    }
}

/// A perturbation below a scale.
#[derive(Clone, Debug)]
pub struct Perturb {
    pub site: Site,
    /// One amplitude for all variables, or for wavelets one a band, finest first.
    pub amplitude: Vec<Rational>,
    /// File and line, for errors that need the model.
    pub place: String,
}

/// A model, and the name of its file.
#[derive(Debug)]
pub struct Replacement {
    pub name: String,
    /// SHA-256 of the file.
    pub digest: String,
    pub network: Network,
}

impl Replacement {
    /// The same model, as much like another as it can be written: with matrices multiplied out that stand one after another
    /// only here, such as the two factors of a low-rank matrix.
    pub fn beside(self: Arc<Self>, network: &Network) -> Arc<Self> {
        let fused =
            if network.is_like(&self.network) { None } else { self.network.without_tensors_unknown_to(network) };
        match fused.filter(|fused| network.is_like(fused)) {
            Some(network) => Arc::new(Replacement { name: self.name.clone(), digest: self.digest.clone(), network }),
            None => self,
        }
    }
}

/// A tensor that is truncated to what a rung of a ladder sees.
#[derive(Clone, Debug)]
pub struct Truncate {
    /// `input`, or a tensor's name.
    pub site: String,
    pub ladder: Arc<Ladder>,
    pub cutoff: usize,
    /// File and line, for errors that need the model.
    pub place: String,
}

/// Where a perturbation enters, and on which scale.
#[derive(Clone, Debug, PartialEq)]
pub enum Site {
    /// `input`, or a tensor's name.
    Tensor { name: String, scale: Scale },
    /// Stored matrices and biases, by name, or all of them. The amplitude bounds every change, or its size relative to
    /// the stored value.
    Weights { names: Option<Vec<String>>, relative: bool },
}

/// A ladder, and the rung that the claim is about.
#[derive(Clone, Debug, PartialEq)]
pub struct Scale {
    pub ladder: Arc<Ladder>,
    /// What this rung sees stays as it is. No meaning for a ladder without rungs.
    pub cutoff: usize,
    /// Only perturbations of which this finer rung sees everything: the band between the two.
    pub seen: Option<usize>,
}

/// The coarse map of the outputs.
#[derive(Clone, Debug, PartialEq)]
pub enum Coarse {
    Identity,
    /// Mean or sum over each group of output elements.
    Groups {
        groups: Vec<Vec<usize>>,
        mean: bool,
    },
    /// One row a coarse output.
    Matrix(Vec<Vec<Rational>>),
    /// What a ladder's rung `seen` sees of the output and its rung `hidden` does not.
    Band {
        ladder: Arc<Ladder>,
        seen: Option<usize>,
        hidden: Option<usize>,
    },
}

/// What is claimed of the coarse outputs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Property {
    /// For every row and perturbation, none moves by more than this.
    Tolerance(Rational),
    /// For every row and perturbation, the largest one stays strictly the largest.
    Winner,
    /// For some row and perturbation, one moves by at least this.
    Reaches(Rational),
    /// For every region of a VNN-LIB file and input of it, the output is in none of the region's unsafe sets.
    Unsafe,
}

/// Reads a claim; `name` stands in errors before the line number, and its folder is where other files are.
pub fn parse(name: &str, text: &str, files: &mut Files) -> Result<Claim> {
    document::read(name, "claim", text, |item| claim(item, files))
}

/// Reads a ladder alone: the keys of a `scale` table without a cutoff.
pub fn parse_ladder(name: &str, text: &str, files: &mut Files) -> Result<Arc<Ladder>> {
    document::read(name, "claim", text, |item| Ok(scale::ladder(item, [], files)?.0))
}

fn claim(item: &Item<'_>, files: &mut Files) -> Result<Claim> {
    let [model, property_file, replace, truncates, inputs, perturbs, output, settings] =
        item.table(["model", "property", "replace", "truncate", "inputs", "perturb", "output", "setting"])?;
    if property_file.is_given() {
        let other = [replace, truncates, inputs, perturbs, output, settings].into_iter().find(Item::is_given);
        return other.map_or_else(
            || Ok(Claim::of_query(model.text()?.into(), query(&property_file, files)?)),
            |other| {
                let message = "a claim with `property` has no other tables, and no `replace`: \
                               the file states the inputs and what is unsafe";
                other.error(Code::ClaimMissingKey, message)
            },
        );
    }
    let [point, file, rows, stated_box, radius, valid] =
        inputs.table(["point", "file", "rows", "box", "radius", "valid"])?;
    let keys = ["tensor", "coarse", "tolerance", "decision", "reaches"];
    let stated = output.table(keys)?;
    let [tensor, coarse_map, ..] = stated;
    let stated_inputs = match (point.is_given(), file.is_given(), rows.is_given(), stated_box.is_given()) {
        (true, false, false, false) => Inputs::Point(point.list(Item::rational)?),
        (false, true, true, false) => Inputs::Rows { file: file.text()?.into(), rows: row_list(&rows)? },
        (false, false, false, true) => Inputs::Box(input_box(&stated_box, &valid)?),
        _ => {
            return inputs.error(Code::ClaimMissingKey, "[inputs] needs one of `point`, `file` with `rows`, and `box`");
        }
    };
    let ball = !stated_box.is_given();
    radius.ensure(
        ball || !radius.is_given(),
        Code::ClaimValue,
        "a `radius` is around a `point` or `rows`, not a `box`",
    )?;
    let radius = radius.optional(Item::non_negative)?;
    let own = property(&stated)?;
    let files = RefCell::new(files);
    let replace = replace.optional(|item| replacement(item, *files.borrow_mut()))?.map(Arc::new);
    let truncate = truncates.optional(|item| item.list(|item| truncate(item, *files.borrow_mut())))?;
    let others = replace.is_some() || truncate.is_some();
    let perturb = |item: &Item<'_>| item.list(|item| perturb(item, *files.borrow_mut()));
    let base = Setting {
        perturb: if others { perturbs.optional(perturb)?.unwrap_or_default() } else { perturb(&perturbs)? },
        output: tensor.optional(Item::text)?.map(str::to_owned),
        coarse: coarse_map.optional(|item| coarse(item, *files.borrow_mut()))?.unwrap_or(Coarse::Identity),
        property: own.clone().unwrap_or(Property::Winner),
    };
    let settings = match (own, settings.is_given()) {
        (Some(_), false) => vec![base],
        (None, true) => settings.list(|item| setting(item, &base, *files.borrow_mut()))?,
        (None, false) => {
            let message =
                "[output] needs one of `tolerance`, `decision` and `reaches`, or the claim [[setting]] tables";
            return output.error(Code::ClaimMissingKey, message);
        }
        (Some(_), true) => {
            let message = "either [output] or every [[setting]] states a property, not both";
            return output.error(Code::ClaimMissingKey, message);
        }
    };
    let valid = valid.optional(range)?;
    let truncate = truncate.unwrap_or_default();
    let model = model.text()?.into();
    let claim = Claim { model, replace, truncate, inputs: stated_inputs, radius, valid, settings };
    if claim.is_regional() && claim.settings.iter().any(|setting| setting.property == Property::Winner) {
        let message = "over a region, or of another model, state a `tolerance`; that one output wins in a region is a \
                       property in VNN-LIB";
        return inputs.error(Code::ClaimValue, message);
    }
    Ok(claim)
}

/// The ends of a box, `None` for the valid range.
fn input_box(item: &Item<'_>, valid: &Item<'_>) -> Result<Option<(End, End)>> {
    if item.text().is_ok() {
        item.choice(&[("valid", ())])?;
        item.ensure(valid.is_given(), Code::ClaimMissingKey, "`box = \"valid\"` needs `valid`")?;
        return Ok(None);
    }
    let [lower, upper] = item.table(["lower", "upper"])?;
    let end = |item: &Item<'_>| {
        Ok(if item.is_array() { End::Each(item.list(Item::rational)?) } else { End::All(item.rational()?) })
    };
    Ok(Some((end(&lower)?, end(&upper)?)))
}

/// What the VNN-LIB file says that an item names.
fn query(item: &Item<'_>, files: &mut Files) -> Result<Query> {
    let (path, bytes) = files.open(item)?;
    match std::str::from_utf8(&bytes) {
        Ok(text) => vnnlib::parse(&path, item.text()?, text),
        Err(_) => item.error(Code::Io, format!("{path} is not UTF-8 text")),
    }
}

/// The property that a table states: at most one.
fn property([.., tolerance, decision, reaches]: &[Item<'_>; 5]) -> Result<Option<Property>> {
    match (tolerance.is_given(), decision.is_given(), reaches.is_given()) {
        (false, false, false) => Ok(None),
        (true, false, false) => Ok(Some(Property::Tolerance(tolerance.non_negative()?))),
        (false, true, false) => decision.choice(&[("winner", Property::Winner)]).map(Some),
        (false, false, true) => Ok(Some(Property::Reaches(reaches.non_negative()?))),
        _ => {
            let message = "give only one of `tolerance`, `decision` and `reaches`";
            let given = [tolerance, decision, reaches].into_iter().find(|item| item.is_given());
            given.unwrap_or(tolerance).error(Code::ClaimMissingKey, message)
        }
    }
}

/// A statement that differs from the base in what it names.
fn setting(item: &Item<'_>, base: &Setting, files: &mut Files) -> Result<Setting> {
    let keys = ["tensor", "coarse", "tolerance", "decision", "reaches"];
    let (stated, [new_scale, cutoff, seen, amplitude]) =
        item.table_with(keys, ["scale", "cutoff", "seen", "amplitude"])?;
    let [tensor, coarse_map, ..] = stated;
    let Some(property) = property(&stated)? else {
        return item.error(Code::ClaimMissingKey, "a setting needs one of `tolerance`, `decision` and `reaches`");
    };
    let mut setting = Setting { property, ..base.clone() };
    if tensor.is_given() {
        setting.output = Some(tensor.text()?.to_owned());
    }
    if coarse_map.is_given() {
        setting.coarse = coarse(&coarse_map, files)?;
    }
    let replaced = if new_scale.is_given() { Some(scale(&new_scale, files)?) } else { None };
    let (mut scaled, mut laddered) = (false, false);
    for perturb in &mut setting.perturb {
        if let Site::Tensor { scale, .. } = &mut perturb.site {
            scaled = true;
            if let Some(replaced) = &replaced {
                *scale = replaced.clone();
            }
            if *scale.ladder != Ladder::None {
                laddered = true;
                if cutoff.is_given() {
                    (scale.cutoff, scale.seen) = (cutoff.count()?, None);
                }
                if seen.is_given() {
                    scale.seen = Some(seen.count()?);
                }
                scale.check(if cutoff.is_given() { &cutoff } else { &seen })?;
            }
        }
        if amplitude.is_given() {
            perturb.amplitude = amplitudes(&amplitude, &perturb.site)?;
        } else {
            enough(item, &perturb.amplitude, &perturb.site)?;
        }
    }
    let scales = new_scale.is_given() || cutoff.is_given() || seen.is_given();
    item.ensure(scaled || !scales, Code::ClaimValue, "perturbed weights have no scale to set")?;
    let perturbed = !setting.perturb.is_empty();
    item.ensure(
        perturbed || !amplitude.is_given(),
        Code::ClaimValue,
        "nothing is perturbed, so there is no amplitude",
    )?;
    let rungs = cutoff.is_given() || seen.is_given();
    item.ensure(laddered || !rungs, Code::ClaimValue, "the family `none` has no cutoff to set")?;
    Ok(setting)
}

fn range(item: &Item<'_>) -> Result<(Rational, Rational)> {
    match &item.list(Item::rational)?[..] {
        [low, high] if low <= high => Ok((low.clone(), high.clone())),
        _ => item.error(Code::ClaimValue, "`valid` must be [lowest, highest], such as [\"0\", \"1\"]"),
    }
}

fn row_list(item: &Item<'_>) -> Result<Vec<usize>> {
    let Ok(text) = item.text() else { return distinct(item) };
    let count = |text: &str| {
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse::<usize>().ok().filter(|&n| digits && n <= 1 << 32)
    };
    let ends = text.split_once("..").and_then(|(a, b)| Some((count(a)?, count(b)?)));
    match ends {
        Some((first, end)) if first < end && end - first <= MAX_ROWS => Ok((first..end).collect()),
        _ => item.error(Code::ClaimValue, "`rows` must be a range such as \"0..100\" (the end is excluded)"),
    }
}

/// Numbers in increasing order, each named once.
fn distinct(item: &Item<'_>) -> Result<Vec<usize>> {
    let mut numbers = item.list(Item::count)?;
    numbers.sort_unstable();
    item.ensure(numbers.windows(2).all(|w| w[0] != w[1]), Code::ClaimValue, "a number is given twice")?;
    Ok(numbers)
}

fn perturb(item: &Item<'_>, files: &mut Files) -> Result<Perturb> {
    let [site, weights, scale_item, kind, amplitude] =
        item.table(["site", "weights", "scale", "error", "amplitude"])?;
    let site = match (weights.is_given(), site.is_given() || scale_item.is_given(), kind.is_given()) {
        (false, _, false) => Site::Tensor { name: site.text()?.to_owned(), scale: scale(&scale_item, files)? },
        (true, false, _) => {
            let names = if weights.is_array() {
                let names = weights.list(|name| Ok(name.text()?.to_owned()))?;
                let distinct = names.iter().collect::<HashSet<_>>().len() == names.len();
                weights.ensure(distinct, Code::ClaimValue, "a parameter is named twice")?;
                Some(names)
            } else {
                weights.choice(&[("all", None)])?
            };
            Site::Weights { names, relative: kind.choice(&[("absolute", false), ("relative", true)])? }
        }
        _ => {
            let message = "a perturbation has either `site` and `scale`, or `weights` and `error`";
            return item.error(Code::ClaimMissingKey, message);
        }
    };
    Ok(Perturb { amplitude: amplitudes(&amplitude, &site)?, site, place: amplitude.place() })
}

fn truncate(item: &Item<'_>, files: &mut Files) -> Result<Truncate> {
    let [site, scale] = item.table(["site", "scale"])?;
    let (ladder, [cutoff]) = scale::ladder(&scale, ["cutoff"], files)?;
    let rung = cutoff.count()?;
    let linear = keeps_elements(&ladder) || matches!(*ladder, Ladder::Haar(_));
    let message = "truncation needs the family block-mean, haar, groups, dct, pca or matrix with `modes`";
    scale.ensure(linear, Code::ClaimValue, message)?;
    ladder.check(rung).or_else(|message| cutoff.error(Code::ClaimShape, message))?;
    Ok(Truncate { site: site.text()?.to_owned(), ladder, cutoff: rung, place: site.place() })
}

/// The model in the file that an item names.
fn replacement(item: &Item<'_>, files: &mut Files) -> Result<Replacement> {
    let (path, bytes) = files.open(item)?;
    let network = onnx::read(&bytes).map_err(|e| e.within(&path))?;
    Ok(Replacement { name: item.text()?.to_owned(), digest: digest(&bytes), network })
}

fn amplitudes(item: &Item<'_>, site: &Site) -> Result<Vec<Rational>> {
    let read = Item::non_negative;
    let values = if item.is_array() { item.list(read)? } else { vec![read(item)?] };
    enough(item, &values, site)?;
    Ok(values)
}

/// An error unless there are as many amplitudes as the site's scale allows.
fn enough(item: &Item<'_>, values: &[Rational], site: &Site) -> Result<()> {
    let bands = if let Site::Tensor { scale, .. } = site { scale.ladder.bands(scale.cutoff) } else { 1 };
    let message = format!("{} amplitudes are given; give one, or one for each of the {bands} bands", values.len());
    item.ensure(values.len() == 1 || values.len() == bands, Code::ClaimValue, message)
}

fn scale(item: &Item<'_>, files: &mut Files) -> Result<Scale> {
    let (ladder, [cutoff, seen]) = scale::ladder(item, ["cutoff", "seen"], files)?;
    let none = *ladder == Ladder::None;
    let scale = Scale { ladder, cutoff: if none { 0 } else { cutoff.count()? }, seen: seen.optional(Item::count)? };
    scale.check(&cutoff)?;
    Ok(scale)
}

impl Scale {
    /// An error unless the ladder has the rungs.
    fn check(&self, item: &Item<'_>) -> Result<()> {
        let rungs = [Some(self.cutoff), self.seen];
        for rung in rungs.into_iter().flatten() {
            self.ladder.check(rung).or_else(|message| item.error(Code::ClaimShape, message))?;
        }
        let finer = self.seen.is_none_or(|seen| {
            *self.ladder != Ladder::None && seen != self.cutoff && self.ladder.is_finer(seen, self.cutoff)
        });
        item.ensure(finer, Code::ClaimShape, "`seen` must be a finer rung than `cutoff`")?;
        let decidable = match (&*self.ladder, self.seen) {
            (Ladder::Modes(modes), Some(seen)) => modes.is_decidable(seen),
            _ => true,
        };
        item.ensure(decidable, Code::ClaimShape, "the rung `seen` has too many modes to decide exactly what it sees")
    }
}

/// True for ladders whose rungs see linear maps of the elements themselves.
fn keeps_elements(ladder: &Ladder) -> bool {
    ladder.is_kernel() && *ladder != Ladder::None
}

fn coarse(item: &Item<'_>, files: &mut Files) -> Result<Coarse> {
    if item.text().is_ok() {
        return item.choice(&[("identity", Coarse::Identity)]);
    }
    if item.is_table_with("scale") {
        let [scale, seen, hidden] = item.table(["scale", "seen", "hidden"])?;
        let (ladder, []) = scale::ladder(&scale, [], files)?;
        let message = "a coarse output needs the family block-mean, groups, dct, pca or matrix with `modes`";
        scale.ensure(keeps_elements(&ladder), Code::ClaimValue, message)?;
        let (seen, hidden) = (seen.optional(Item::count)?, hidden.optional(Item::count)?);
        for rung in [seen, hidden].into_iter().flatten() {
            ladder.check(rung).or_else(|message| item.error(Code::ClaimShape, message))?;
        }
        let ordered = match (seen, hidden) {
            (None, None) => return item.error(Code::ClaimMissingKey, "`coarse` by scale needs `seen` or `hidden`"),
            (Some(seen), Some(hidden)) => seen != hidden && ladder.is_finer(seen, hidden),
            _ => true,
        };
        item.ensure(ordered, Code::ClaimShape, "`seen` must be a finer rung than `hidden`")?;
        return Ok(Coarse::Band { ladder, seen, hidden });
    }
    let [groups, reduce, matrix] = item.table(["groups", "reduce", "matrix"])?;
    match (groups.is_given(), reduce.is_given(), matrix.is_given()) {
        (true, true, false) => {
            let mean = reduce.choice(&[("mean", true), ("sum", false)])?;
            Ok(Coarse::Groups { groups: groups.list(distinct)?, mean })
        }
        (false, false, true) => {
            let array = scale::matrix(&matrix, files)?;
            let entry = |k: usize, i: usize| array.values.get(k * array.shape[1] + i);
            let rows = 0..array.shape[0];
            Ok(Coarse::Matrix(rows.map(|k| (0..array.shape[1]).map(|i| entry(k, i)).collect()).collect()))
        }
        _ => item.error(Code::ClaimMissingKey, "`coarse` needs either `groups` with `reduce`, or `matrix`, or `scale`"),
    }
}

impl Claim {
    /// The claim that a VNN-LIB file makes about a model.
    pub fn of_query(model: PathBuf, query: Query) -> Claim {
        let setting = Setting { perturb: vec![], output: None, coarse: Coarse::Identity, property: Property::Unsafe };
        let inputs = Inputs::Regions(Arc::new(query));
        let (replace, truncate) = (None, vec![]);
        Claim { model, replace, truncate, inputs, radius: None, valid: None, settings: vec![setting] }
    }

    /// True if the claim is about a change at every input of a box, be it a single one, and not around one input.
    pub fn is_regional(&self) -> bool {
        self.radius.is_some()
            || matches!(self.inputs, Inputs::Box(_))
            || self.replace.is_some()
            || !self.truncate.is_empty()
    }

    /// The rows that the claim is about, in increasing order.
    pub fn rows(&self) -> Vec<usize> {
        match &self.inputs {
            Inputs::Point(_) | Inputs::Box(_) => vec![0],
            Inputs::Rows { rows, .. } => rows.clone(),
            Inputs::Regions(query) => (0..query.regions.len()).collect(),
        }
    }
}

impl Setting {
    /// The tolerance, if that is what is claimed.
    pub fn tolerance(&self) -> Option<&Rational> {
        if let Property::Tolerance(tolerance) = &self.property { Some(tolerance) } else { None }
    }

    /// True if every perturbation of `other` is one of this setting's, and both speak about the same coarse outputs, so
    /// that what no perturbation of this setting does, none of the other does.
    pub fn covers(&self, other: &Setting) -> bool {
        let same_output = self.output == other.output && self.coarse == other.coarse;
        let each = || self.perturb.iter().zip(&other.perturb);
        same_output && self.perturb.len() == other.perturb.len() && each().all(|(all, some)| all.covers(some))
    }

    /// True if this setting is about everything finer than the band that `band` is about, with the same amplitude and
    /// the same coarse outputs: together they separate the scales.
    pub fn is_below(&self, band: &Setting) -> bool {
        let below = |(all, band): (&Perturb, &Perturb)| match (&all.site, &band.site) {
            (Site::Tensor { name, scale }, Site::Tensor { name: other, scale: band }) => {
                name == other && scale.ladder == band.ladder && scale.seen.is_none() && band.seen == Some(scale.cutoff)
            }
            _ => false,
        };
        let each = || self.perturb.iter().zip(&band.perturb);
        let same = self.output == band.output && self.coarse == band.coarse && self.perturb.len() == band.perturb.len();
        same && each().all(|(a, b)| a.amplitude == b.amplitude) && each().all(below)
    }
}

impl Perturb {
    /// True if this set contains the other: the same site and ladder with a coarser cutoff, or no scale at all around
    /// perturbations that are stated by their elements; and an amplitude as large.
    fn covers(&self, other: &Perturb) -> bool {
        let larger = match (&self.amplitude[..], &other.amplitude[..]) {
            ([a], [b]) => a >= b,
            (a, b) => a == b,
        };
        let wider = match (&self.site, &other.site) {
            (Site::Tensor { name, scale }, Site::Tensor { name: other_name, scale: other }) => {
                let all = *scale.ladder == Ladder::None && other.ladder.is_kernel();
                // The set of a band is contained in that of its cutoff; a band contains only itself.
                let band = scale.seen.is_none() || scale == other;
                let coarser = scale.ladder == other.ladder && scale.ladder.is_finer(other.cutoff, scale.cutoff);
                name == other_name && (all || (coarser && band))
            }
            (all, some) => all == some,
        };
        larger && wider
    }

    pub fn error<T>(&self, code: Code, message: impl Into<String>) -> Result<T> {
        Err(Error::new(code, self.place.clone(), message))
    }
}
