//! The claim: what a person states, read from TOML (`specs/claim-format.md`).

mod document;

use crate::error::{Code, Error, Result};
use crate::number::Rational;
use document::{Document, Item, Table};
use num::{Signed, Zero};
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
    let doc = Document { name, text };
    let root = doc.parse()?;
    let root = Table::new(&doc, "the claim", root.get_ref(), 0..0, &["model", "inputs", "perturb", "output"])?;
    let model = PathBuf::from(root.need("model")?.text()?);
    let inputs = root.need("inputs")?.table(&["file", "rows", "point", "valid"])?;
    let valid = inputs.get("valid").map(|v| valid_range(&v)).transpose()?;
    let output = root.need("output")?.table(&["tensor", "coarse", "tolerance", "decision"])?;
    Ok(Claim {
        model,
        inputs: clean_inputs(&inputs)?,
        valid,
        perturb: root.need("perturb")?.list(perturb)?,
        output: output.get("tensor").map(|t| t.text().map(str::to_owned)).transpose()?,
        coarse: coarse(&output)?,
        property: property(&output)?,
    })
}

fn valid_range(item: &Item<'_>) -> Result<(Rational, Rational)> {
    match &item.list(Item::rational)?[..] {
        [low, high] if low <= high => Ok((low.clone(), high.clone())),
        _ => item.error(Code::ClaimValue, "`valid` must be [lowest, highest], such as [\"0\", \"1\"]"),
    }
}

fn clean_inputs(table: &Table<'_>) -> Result<Inputs> {
    match (table.get("point"), table.get("file"), table.get("rows")) {
        (Some(point), None, None) => Ok(Inputs::Point(point.list(Item::rational)?)),
        (None, Some(file), Some(rows)) => Ok(Inputs::Rows { file: file.text()?.into(), rows: row_list(&rows)? }),
        _ => table.error(
            Code::ClaimMissingKey,
            "[inputs] needs either `point = [...]`, or `file = \"data.csv\"` and `rows = [0, 1]` or `rows = \"0..100\"`",
        ),
    }
}

fn row_list(item: &Item<'_>) -> Result<Vec<usize>> {
    let mut rows: Vec<usize> = if item.is_text() {
        let range = item.text()?.split_once("..").and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
        match range {
            Some((first, end)) if first < end && end - first <= MAX_ROWS => (first..end).collect(),
            _ => {
                return item.error(Code::ClaimValue, "`rows` must be a range such as \"0..100\" (the end is excluded)");
            }
        }
    } else {
        item.list(Item::count)?
    };
    rows.sort_unstable();
    if rows.windows(2).any(|w| w[0] == w[1]) {
        return item.error(Code::ClaimValue, "a row is named twice in `rows`");
    }
    Ok(rows)
}

fn perturb(item: &Item<'_>) -> Result<Perturb> {
    let table = item.table(&["site", "scale", "amplitude"])?;
    let scale = table.need("scale")?;
    let family = family(&scale)?;
    let amplitude_item = table.need("amplitude")?;
    let amplitude =
        if amplitude_item.is_array() { amplitude_item.list(Item::rational)? } else { vec![amplitude_item.rational()?] };
    if amplitude.iter().any(Signed::is_negative) {
        return amplitude_item.error(Code::ClaimValue, "an amplitude must not be negative");
    }
    let bands = match &family {
        Family::Haar(grid) => grid.cutoff.ilog2() as usize,
        _ => 1,
    };
    if amplitude.len() != 1 && amplitude.len() != bands {
        let message =
            format!("{} amplitudes are given; give one, or one for each of the {bands} bands", amplitude.len());
        return amplitude_item.error(Code::ClaimValue, message);
    }
    let place = match amplitude_item.error::<()>(Code::ClaimValue, "") {
        Err(e) => e.place,
        Ok(()) => String::new(),
    };
    Ok(Perturb { site: table.need("site")?.text()?.to_owned(), family, amplitude, place })
}

fn family(item: &Item<'_>) -> Result<Family> {
    let table = item.table(&["family", "shape", "spatial", "cutoff"])?;
    let name = table.need("family")?;
    match name.text()? {
        "none" => {
            let extra = ["shape", "spatial", "cutoff"].iter().find_map(|k| table.get(k));
            match extra {
                Some(extra) => {
                    extra.error(Code::ClaimUnknownKey, format!("family `none` has no `{}`; remove it", extra.key))
                }
                None => Ok(Family::None),
            }
        }
        "block-mean" => Ok(Family::BlockMean(grid(&table)?)),
        "haar" => {
            let grid = grid(&table)?;
            if !grid.cutoff.is_power_of_two() {
                let message = format!("the `haar` cutoff {} must be a power of two", grid.cutoff);
                return table.need("cutoff")?.error(Code::ClaimShape, message);
            }
            Ok(Family::Haar(grid))
        }
        other => name.error(
            Code::ClaimValue,
            format!("family `{other}` is not known; known are `none`, `block-mean` and `haar`"),
        ),
    }
}

fn grid(table: &Table<'_>) -> Result<Grid> {
    let shape_item = table.need("shape")?;
    let shape = shape_item.list(Item::count)?;
    let spatial = table.get("spatial").map(|s| s.count()).transpose()?.unwrap_or(shape.len().min(2));
    if !(1..=2).contains(&spatial) || spatial > shape.len() {
        return shape_item
            .error(Code::ClaimShape, "`spatial` must be 1 or 2, and at most the number of axes in `shape`");
    }
    let cutoff_item = table.need("cutoff")?;
    let cutoff = cutoff_item.count()?;
    let axes = &shape[shape.len() - spatial..];
    if cutoff == 0 || axes.iter().any(|&d| d == 0 || d % cutoff != 0) {
        let fits: Vec<String> =
            (1..=axes[0]).filter(|c| axes.iter().all(|d| d % c == 0)).take(32).map(|c| c.to_string()).collect();
        let message = format!(
            "cutoff {cutoff} does not divide the spatial axes {axes:?} of `shape`; block sizes that do: {}",
            fits.join(", ")
        );
        return cutoff_item.error(Code::ClaimShape, message);
    }
    Ok(Grid { shape, spatial, cutoff })
}

fn coarse(output: &Table<'_>) -> Result<Coarse> {
    let Some(item) = output.get("coarse") else {
        return Ok(Coarse::Identity);
    };
    if item.is_text() {
        return match item.text()? {
            "identity" => Ok(Coarse::Identity),
            _ => item.error(Code::ClaimValue, "`coarse` must be \"identity\", { groups = … } or { matrix = … }"),
        };
    }
    let table = item.table(&["groups", "reduce", "matrix"])?;
    match (table.get("groups"), table.get("matrix")) {
        (Some(groups), None) => {
            let reduce = table.need("reduce")?;
            let mean = match reduce.text()? {
                "mean" => true,
                "sum" => false,
                _ => return reduce.error(Code::ClaimValue, "`reduce` must be \"mean\" or \"sum\""),
            };
            let groups = groups.list(|group| {
                let members = group.list(Item::count)?;
                let mut sorted = members.clone();
                sorted.sort_unstable();
                if sorted.windows(2).any(|w| w[0] == w[1]) {
                    return group.error(Code::ClaimValue, "an output is named twice in one group");
                }
                Ok(members)
            })?;
            Ok(Coarse::Groups { groups, mean })
        }
        (None, Some(matrix)) if table.get("reduce").is_none() => {
            Ok(Coarse::Matrix(matrix.list(|row| row.list(Item::rational))?))
        }
        _ => item.error(Code::ClaimMissingKey, "`coarse` needs either `groups` with `reduce`, or `matrix`"),
    }
}

fn property(output: &Table<'_>) -> Result<Property> {
    match (output.get("tolerance"), output.get("decision")) {
        (Some(item), None) => {
            let tolerance = item.rational()?;
            if tolerance < Rational::zero() {
                return item.error(Code::ClaimValue, "a tolerance must not be negative");
            }
            Ok(Property::Tolerance(tolerance))
        }
        (None, Some(item)) => match item.text()? {
            "winner" => Ok(Property::Winner),
            _ => item.error(Code::ClaimValue, "`decision` must be \"winner\""),
        },
        _ => output
            .error(Code::ClaimMissingKey, "[output] needs either `tolerance = \"1/2\"` or `decision = \"winner\"`"),
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
