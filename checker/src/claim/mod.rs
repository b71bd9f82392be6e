//! The claim: what a person states, read from TOML (`specs/claim-format.md`).

mod document;

use crate::error::{Code, Error, Result};
use crate::number::Rational;
use document::Item;
use std::path::PathBuf;

/// Most rows of one claim.
const MAX_ROWS: usize = 1 << 20;

/// A claim as written. Paths are relative to the claim's folder.
#[derive(Clone, Debug)]
pub struct Claim {
    pub model: PathBuf,
    pub inputs: Inputs,
    /// Range that perturbed inputs keep to, in every element.
    pub valid: Option<(Rational, Rational)>,
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
    /// Rows of a CSV file, counted from 0, in increasing order.
    Rows { file: PathBuf, rows: Vec<usize> },
}

/// A perturbation of one tensor below a scale.
#[derive(Clone, Debug)]
pub struct Perturb {
    /// `input`, or a tensor's name.
    pub site: String,
    pub family: Family,
    /// One amplitude for all elements, or for `haar` one a band, finest first.
    pub amplitude: Vec<Rational>,
    /// File and line, for errors that need the model.
    pub place: String,
}

/// The scale ladder, and the rung that the claim is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Family {
    /// No scale: every element is free within the amplitude.
    None,
    /// δ has mean zero on every block; |δ_i| ≤ amplitude.
    BlockMean(Grid),
    /// δ is a sum of Haar details finer than the block; the amplitude bounds each coefficient.
    Haar(Grid),
}

/// A tensor seen as channels of 1-D or 2-D grids, cut into blocks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grid {
    /// The tensor's shape; the last `spatial` axes are the grid, the ones before are channels.
    pub shape: Vec<usize>,
    pub spatial: usize,
    /// Side of a block; it divides every spatial axis.
    pub cutoff: usize,
}

/// The coarse map of the outputs.
#[derive(Clone, Debug)]
pub enum Coarse {
    Identity,
    /// Mean or sum over each group of output elements.
    Groups {
        groups: Vec<Vec<usize>>,
        mean: bool,
    },
    /// One row a coarse output.
    Matrix(Vec<Vec<Rational>>),
}

/// What is claimed of the coarse outputs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Property {
    /// None moves by more than this.
    Tolerance(Rational),
    /// The largest one stays strictly the largest.
    Winner,
}

/// Reads a claim; `name` stands in errors before the line number.
pub fn parse(name: &str, text: &str) -> Result<Claim> {
    document::read(name, text, claim)
}

fn claim(item: &Item<'_>) -> Result<Claim> {
    let [model, inputs, perturbs, output] = item.table(["model", "inputs", "perturb", "output"])?;
    let [point, file, rows, valid] = inputs.table(["point", "file", "rows", "valid"])?;
    let [tensor, coarse_map, tolerance, decision] = output.table(["tensor", "coarse", "tolerance", "decision"])?;
    let inputs = match (point.is_given(), file.is_given(), rows.is_given()) {
        (true, false, false) => Inputs::Point(point.list(Item::rational)?),
        (false, true, true) => Inputs::Rows { file: file.text()?.into(), rows: row_list(&rows)? },
        _ => return inputs.error(Code::ClaimMissingKey, "[inputs] needs either `point`, or `file` and `rows`"),
    };
    let property = match (tolerance.is_given(), decision.is_given()) {
        (true, false) => Property::Tolerance(tolerance.non_negative()?),
        (false, true) => decision.choice(&[("winner", Property::Winner)])?,
        _ => return output.error(Code::ClaimMissingKey, "[output] needs either `tolerance` or `decision`"),
    };
    Ok(Claim {
        model: model.text()?.into(),
        inputs,
        valid: valid.optional(range)?,
        perturb: perturbs.list(perturb)?,
        output: tensor.optional(Item::text)?.map(str::to_owned),
        coarse: coarse_map.optional(coarse)?.unwrap_or(Coarse::Identity),
        property,
    })
}

fn range(item: &Item<'_>) -> Result<(Rational, Rational)> {
    match &item.list(Item::rational)?[..] {
        [low, high] if low <= high => Ok((low.clone(), high.clone())),
        _ => item.error(Code::ClaimValue, "`valid` must be [lowest, highest], such as [\"0\", \"1\"]"),
    }
}

fn row_list(item: &Item<'_>) -> Result<Vec<usize>> {
    let Ok(text) = item.text() else { return distinct(item) };
    let ends = text.split_once("..").and_then(|(a, b)| Some((a.parse::<usize>().ok()?, b.parse().ok()?)));
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

fn perturb(item: &Item<'_>) -> Result<Perturb> {
    let [site, scale, amplitude] = item.table(["site", "scale", "amplitude"])?;
    let family = family(&scale)?;
    let bands = if let Family::Haar(grid) = &family { grid.cutoff.ilog2() as usize } else { 1 };
    let read = Item::non_negative;
    let values = if amplitude.is_array() { amplitude.list(read)? } else { vec![read(&amplitude)?] };
    let message = format!("{} amplitudes are given; give one, or one for each of the {bands} bands", values.len());
    amplitude.ensure(values.len() == 1 || values.len() == bands, Code::ClaimValue, message)?;
    Ok(Perturb { site: site.text()?.to_owned(), family, amplitude: values, place: amplitude.place() })
}

fn family(item: &Item<'_>) -> Result<Family> {
    let [name, shape, spatial, cutoff] = item.table(["family", "shape", "spatial", "cutoff"])?;
    match name.text()? {
        "none" => item.table(["family"]).map(|_| Family::None),
        "block-mean" => Ok(Family::BlockMean(grid(&shape, &spatial, &cutoff)?)),
        "haar" => {
            let grid = grid(&shape, &spatial, &cutoff)?;
            let message = format!("the `haar` cutoff {} must be a power of two", grid.cutoff);
            cutoff.ensure(grid.cutoff.is_power_of_two(), Code::ClaimShape, message)?;
            Ok(Family::Haar(grid))
        }
        _ => name.error(Code::ClaimValue, "`family` must be \"none\", \"block-mean\" or \"haar\""),
    }
}

fn grid(shape_item: &Item<'_>, spatial: &Item<'_>, cutoff_item: &Item<'_>) -> Result<Grid> {
    let (shape, cutoff) = (shape_item.list(Item::count)?, cutoff_item.count()?);
    let spatial = spatial.optional(Item::count)?.unwrap_or(shape.len().min(2));
    let message = "`spatial` must be 1 or 2, and at most the number of axes in `shape`";
    shape_item.ensure((1..=shape.len().min(2)).contains(&spatial), Code::ClaimShape, message)?;
    let axes = &shape[shape.len() - spatial..];
    let divides = |c: &usize| axes.iter().all(|&d| d > 0 && d.is_multiple_of(*c));
    let fits: Vec<String> = (1..=axes[0].min(1024)).filter(divides).take(32).map(|c| c.to_string()).collect();
    let fits = fits.join(", ");
    let message = format!("cutoff {cutoff} does not divide the axes {axes:?} of `shape`; block sizes that do: {fits}");
    cutoff_item.ensure(cutoff > 0 && divides(&cutoff), Code::ClaimShape, message)?;
    Ok(Grid { shape, spatial, cutoff })
}

fn coarse(item: &Item<'_>) -> Result<Coarse> {
    if item.text().is_ok() {
        return item.choice(&[("identity", Coarse::Identity)]);
    }
    let [groups, reduce, matrix] = item.table(["groups", "reduce", "matrix"])?;
    match (groups.is_given(), reduce.is_given(), matrix.is_given()) {
        (true, true, false) => {
            let mean = reduce.choice(&[("mean", true), ("sum", false)])?;
            Ok(Coarse::Groups { groups: groups.list(distinct)?, mean })
        }
        (false, false, true) => Ok(Coarse::Matrix(matrix.list(|row| row.list(Item::rational))?)),
        _ => item.error(Code::ClaimMissingKey, "`coarse` needs either `groups` with `reduce`, or `matrix`"),
    }
}

impl Claim {
    /// The rows that the claim is about, in increasing order.
    pub fn rows(&self) -> Vec<usize> {
        match &self.inputs {
            Inputs::Point(_) => vec![0],
            Inputs::Rows { rows, .. } => rows.clone(),
        }
    }
}

impl Perturb {
    pub fn error<T>(&self, code: Code, message: impl Into<String>) -> Result<T> {
        Err(Error::new(code, self.place.clone(), message))
    }
}
