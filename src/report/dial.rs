//! The dial: levels of a ladder × amplitudes × rows, with what a level sees, ignores and can do.

use super::measure::{Found, Point};
use super::pair::Pair;
use super::shape::Shape;
use anyhow::Result;
use num::Zero;
use scalecheck::claim::{Perturb, Scale, Site};
use scalecheck::exact::Exact;
use scalecheck::ladder::Ladder;
use scalecheck::linear::Linear;
use scalecheck::number::Rational;
use std::cmp::Ordering;

/// Most elements of a tensor that is drawn.
pub const MAX_DRAWN: usize = 4096;

/// A dial, of the first ladder that a claim names; a claim without one has a single level.
pub struct Dial {
    /// True if numbers are margins of a winner that must stay positive, not changes.
    pub winner: bool,
    /// The perturbed tensor and how it is drawn; `None` if weights are perturbed or it is too large.
    pub site: Option<(String, Shape)>,
    /// From the finest to the coarsest; what stands beside the ladder comes last.
    pub levels: Vec<Level>,
    /// As the claim writes them, in increasing order.
    pub amplitudes: Vec<String>,
    pub rows: Vec<Row>,
    /// By level, amplitude and row; `None` where the claim says nothing and nothing was tried.
    pub cells: Vec<Vec<Option<Vec<Cell>>>>,
    /// Positions of the points that are on the dial.
    pub points: Vec<usize>,
    /// What counts as a change that matters, at first; `None` for a winner.
    pub tolerance: Option<Rational>,
    /// Where that comes from.
    pub tolerance_from: &'static str,
    /// Where the dial stands at first: level, amplitude, row.
    pub start: [usize; 3],
}

/// A rung, in a few words.
pub struct Level {
    pub label: String,
    /// What this level does not see.
    pub hidden: String,
}

/// What all levels have in common at one row.
pub struct Row {
    pub row: usize,
    /// The clean tensor; empty for a region, where every witness has its own, and where nothing is drawn.
    pub tensor: Vec<Rational>,
    /// The tensor as each level sees it, under the same conditions, or where the ladder has no such picture.
    pub seen: Vec<Vec<Rational>>,
    /// Clean coarse outputs; empty for a region.
    pub clean: Vec<Rational>,
}

/// One row at one level and amplitude.
pub struct Cell {
    pub found: Found,
    /// What the witness adds to the tensor.
    pub delta: Vec<Rational>,
    /// For a region: the tensor at the witness's input, and what the level sees of it.
    pub tensor: Vec<Rational>,
    pub seen: Vec<Rational>,
}

/// The three statuses, in words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    Safe,
    Relevant,
    Unknown,
}

impl Status {
    pub fn word(self) -> &'static str {
        match self {
            Status::Safe => "safe to ignore",
            Status::Relevant => "relevant",
            Status::Unknown => "unknown",
        }
    }

    /// A mark beside the word, so that colour is not all that tells them apart.
    pub fn mark(self) -> &'static str {
        match self {
            Status::Safe => "✓",
            Status::Relevant => "✗",
            Status::Unknown => "?",
        }
    }
}

/// The status of what was found, for a tolerance, or for a winner without one.
pub fn status(found: &Found, tolerance: Option<&Rational>) -> Status {
    let reach = found.witness.as_ref().map(|witness| &witness.reach);
    let (safe, relevant) = match tolerance {
        Some(t) => (found.certified.as_ref().is_some_and(|c| c <= t), reach.is_some_and(|reach| reach > t)),
        None => (found.by.is_some(), reach.is_some_and(|reach| *reach <= Rational::zero())),
    };
    match (safe, relevant) {
        (_, true) => Status::Relevant,
        (true, false) => Status::Safe,
        (false, false) => Status::Unknown,
    }
}

/// The one scale of a setting that the dial turns: that of its first perturbed tensor.
fn first_scale(perturb: &[Perturb]) -> Option<(usize, &str, &Scale)> {
    perturb.iter().enumerate().find_map(|(i, p)| match &p.site {
        Site::Tensor { name, scale } => Some((i, &name[..], scale)),
        Site::Weights { .. } => None,
    })
}

fn amplitudes(point: &Point) -> Vec<Vec<Rational>> {
    point.setting.perturb.iter().map(|p| p.amplitude.clone()).collect()
}

fn is_band(point: &Point) -> bool {
    let seen = |p: &Perturb| matches!(&p.site, Site::Tensor { scale, .. } if scale.seen.is_some());
    point.setting.perturb.iter().any(seen)
}

/// Makes the dial of a pair; `None` if nothing was measured.
pub fn dial(pair: &Pair, points: &[Point], tolerance: Option<&Rational>, shape: Option<Shape>) -> Result<Option<Dial>> {
    let on = |point: &&Point| !is_band(point);
    let ladder_of = |point: &Point| first_scale(&point.setting.perturb).map(|(_, _, scale)| scale.ladder.clone());
    let laddered = |point: &&Point| ladder_of(point).is_some_and(|ladder| *ladder != Ladder::None);
    let Some(first) = points.iter().filter(on).find(laddered).or_else(|| points.iter().find(on)) else {
        return Ok(None);
    };
    let ladder = ladder_of(first);
    let belongs = |point: &Point| {
        let sites = |p: &Point| {
            p.setting
                .perturb
                .iter()
                .map(|p| match &p.site {
                    Site::Tensor { name, .. } => name.clone(),
                    Site::Weights { .. } => String::new(),
                })
                .collect::<Vec<_>>()
        };
        let own = ladder_of(point);
        !is_band(point)
            && point.is_about_winner() == first.is_about_winner()
            && (&point.setting.output, &point.setting.coarse) == (&first.setting.output, &first.setting.coarse)
            && sites(point) == sites(first)
            && (own == ladder || own.is_some_and(|own| *own == Ladder::None))
    };
    let chosen: Vec<usize> = (0..points.len()).filter(|&p| belongs(&points[p])).collect();
    // Levels are scales; a box stands behind the coarsest rung.
    let mut levels: Vec<Option<&Scale>> = Vec::new();
    let mut sizes: Vec<Vec<Vec<Rational>>> = Vec::new();
    for &p in &chosen {
        let scale = first_scale(&points[p].setting.perturb).map(|(_, _, scale)| scale);
        if !levels.contains(&scale) {
            levels.push(scale);
        }
        if !sizes.contains(&amplitudes(&points[p])) {
            sizes.push(amplitudes(&points[p]));
        }
    }
    levels.sort_by(|a, b| match (a, b) {
        (Some(a), Some(b)) => match (&*a.ladder, &*b.ladder) {
            (Ladder::None, Ladder::None) => Ordering::Equal,
            (Ladder::None, _) => Ordering::Greater,
            (_, Ladder::None) => Ordering::Less,
            // Finer first: modes count downwards.
            (Ladder::Modes(_), _) => b.cutoff.cmp(&a.cutoff),
            _ => a.cutoff.cmp(&b.cutoff),
        },
        _ => Ordering::Equal,
    });
    sizes.sort();
    let claim = pair.claim();
    let site = first_scale(&first.setting.perturb).map(|(_, name, _)| name.to_owned());
    // Without a perturbed tensor a region still has an input to show.
    let site = site.or_else(|| (claim.is_regional() && first.setting.perturb.is_empty()).then(|| "input".to_owned()));
    let drawn = site.map(|name| {
        let own = Shape::of(claim, pair.statement.network(), &name);
        let shape = shape.filter(|shape| shape.elements() == own.elements()).unwrap_or(own);
        (name, shape)
    });
    let drawn = drawn.filter(|(_, shape)| shape.elements() <= MAX_DRAWN);
    let truncations: Vec<Option<Linear>> = levels
        .iter()
        .map(|scale| {
            let (scale, (_, shape)) = ((*scale)?, drawn.as_ref()?);
            scale.ladder.truncation(scale.cutoff, shape.elements()).ok().map(|[map, _]| map)
        })
        .collect();
    let blind = |level: usize| levels[level].is_some_and(|scale| *scale.ladder == Ladder::None);
    let laddered = (0..levels.len()).any(|level| levels[level].is_some() && !blind(level));
    let see = |tensor: &[Rational], level: usize| match &truncations[level] {
        Some(map) if !tensor.is_empty() => Exact::from_rationals(tensor).apply(map).to_rationals(),
        // Beside a ladder, no scale at all is a level that sees nothing.
        None if laddered && blind(level) => vec![Rational::zero(); tensor.len()],
        _ => vec![],
    };
    let (mut rows, mut centres) = (Vec::new(), Vec::new());
    for clean in clean(pair, first, drawn.as_ref().map(|(name, _)| &name[..]))? {
        let seen = (0..levels.len()).map(|level| see(&clean.tensor, level)).collect();
        rows.push(Row { row: clean.row, seen, tensor: clean.tensor, clean: clean.outputs });
        centres.push(clean.centre);
    }
    let cell = |level: usize, size: &Vec<Vec<Rational>>| {
        let p = *chosen.iter().find(|&&p| {
            first_scale(&points[p].setting.perturb).map(|(_, _, scale)| scale) == levels[level]
                && amplitudes(&points[p]) == *size
        })?;
        let one = |(found, centre): (&Found, &Vec<Rational>)| {
            let (delta, tensor) = picture(pair, &points[p], found, drawn.as_ref(), centre);
            Cell { found: found.clone(), delta, seen: see(&tensor, level), tensor }
        };
        Some(points[p].found.iter().zip(&centres).map(one).collect::<Vec<Cell>>())
    };
    let cells: Vec<Vec<Option<Vec<Cell>>>> =
        (0..levels.len()).map(|level| sizes.iter().map(|size| cell(level, size)).collect()).collect();
    let winner = first.is_about_winner();
    let (tolerance, tolerance_from) = default_tolerance(first, &cells, tolerance);
    let tolerance = tolerance.filter(|_| !winner);
    let start = start(&cells, tolerance.as_ref());
    let shown = |size: &Vec<Vec<Rational>>| {
        let mut texts: Vec<String> =
            size.iter().map(|a| a.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")).collect();
        texts.dedup();
        texts.join(" · ")
    };
    Ok(Some(Dial {
        winner,
        site: drawn,
        levels: levels.iter().map(|scale| level(*scale)).collect(),
        amplitudes: sizes.iter().map(shown).collect(),
        rows,
        cells,
        points: chosen,
        tolerance,
        tolerance_from,
        start,
    }))
}

/// One row without perturbations.
struct Clean {
    row: usize,
    /// The drawn tensor and the coarse outputs; empty for a region.
    tensor: Vec<Rational>,
    outputs: Vec<Rational>,
    /// The centre of a region.
    centre: Vec<Rational>,
}

fn clean(pair: &Pair, point: &Point, site: Option<&str>) -> Result<Vec<Clean>> {
    let rows = pair.claim().rows();
    let mut all = Vec::new();
    for (&row, clean) in rows.iter().zip(pair.statement.clean(&rows)) {
        let problem = super::measure::unlimited(pair, &point.setting, &clean?)?;
        let value = |t: usize| problem.tensors[t].centre.to_rationals();
        all.push(if problem.region {
            Clean { row, tensor: vec![], outputs: vec![], centre: value(0) }
        } else {
            let name = site.map(|site| if site == "input" { &pair.statement.network().input().name } else { site });
            let tensor = name.and_then(|name| problem.find(name)).map(value).unwrap_or_default();
            Clean { row, tensor, outputs: problem.clean.clone(), centre: vec![] }
        });
    }
    Ok(all)
}

/// What a witness adds to the drawn tensor, and for a region with this centre that tensor at the witness's input.
fn picture(
    pair: &Pair,
    point: &Point,
    found: &Found,
    drawn: Option<&(String, Shape)>,
    centre: &[Rational],
) -> (Vec<Rational>, Vec<Rational>) {
    let (Some(witness), Some((name, shape))) = (&found.witness, drawn) else { return (vec![], vec![]) };
    let network = pair.statement.network();
    let find = |site: &str| if site == "input" { Some(0) } else { network.find(site) };
    let (mut blocks, mut tensor) = (witness.point.iter(), vec![]);
    if let (false, Some(node)) = (centre.is_empty(), find(name)) {
        let input: Vec<Rational> = blocks.next().into_iter().flatten().zip(centre).map(|(d, c)| d + c).collect();
        tensor = network.evaluate(&Exact::from_rationals(&input))[node].to_rationals();
    }
    for perturb in &point.setting.perturb {
        let Site::Tensor { name: site, scale } = &perturb.site else {
            blocks.next();
            continue;
        };
        let len = find(site).map_or(0, |node| network.nodes()[node].elements());
        let Ok(generator) = scale.ladder.generator(scale.cutoff, &perturb.amplitude, len) else { break };
        let mut sum = Exact::zeros(len);
        for (part, z) in generator.parts.iter().zip(blocks.by_ref()) {
            let z = Exact::from_rationals(z);
            let maps = part.maps.iter().map(|map| z.apply(map));
            sum = if part.maps.is_empty() { sum.plus(&z) } else { maps.fold(sum, |sum, part| sum.plus(&part)) };
        }
        if site == name && len == shape.elements() {
            return (sum.to_rationals(), tensor);
        }
    }
    (vec![], tensor)
}

/// What is asked for, what the claim states, or about half of what is certified.
fn default_tolerance(
    first: &Point,
    cells: &[Vec<Option<Vec<Cell>>>],
    given: Option<&Rational>,
) -> (Option<Rational>, &'static str) {
    if let Some(given) = given {
        return (Some(given.clone()), "as asked for");
    }
    let single = cells
        .iter()
        .flatten()
        .flatten()
        .flatten()
        .all(|cell| cell.found.by.is_none_or(|by| first.stated.contains(&by)));
    if let (true, Some(tolerance)) = (single, first.setting.tolerance()) {
        return (Some(tolerance.clone()), "as claimed");
    }
    let all = cells.iter().flatten().flatten().flatten();
    let largest = all.filter_map(|cell| cell.found.certified.as_ref()).max().cloned().unwrap_or_default();
    let half = largest / Rational::from_integer(2.into());
    (Some(one_digit(&half)), "about half of the largest certified change")
}

/// The number with one significant digit, rounded up.
fn one_digit(x: &Rational) -> Rational {
    let ten = Rational::from_integer(10.into());
    let (mut unit, one) = (Rational::from_integer(1.into()), Rational::from_integer(1.into()));
    if x.is_zero() {
        return Rational::zero();
    }
    while x / &unit >= ten {
        unit *= &ten;
    }
    while x / &unit < one {
        unit /= &ten;
    }
    (x / &unit).ceil() * unit
}

/// The largest amplitude, the coarsest level that is safe there or the finest, and the row with the strongest attack.
fn start(cells: &[Vec<Option<Vec<Cell>>>], tolerance: Option<&Rational>) -> [usize; 3] {
    let amplitude = cells.first().map_or(0, |row| row.len().saturating_sub(1));
    let safe = |level: &usize| {
        let found = cells[*level][amplitude].iter().flatten();
        cells[*level][amplitude].is_some()
            && found.into_iter().all(|cell| status(&cell.found, tolerance) == Status::Safe)
    };
    let known = |level: &usize| cells[*level][amplitude].is_some();
    let level = (0..cells.len()).rev().find(safe).or_else(|| (0..cells.len()).find(known)).unwrap_or(0);
    let reach = |cell: &Cell| cell.found.witness.as_ref().map(|witness| witness.reach.clone());
    let all = cells[level][amplitude].iter().flatten().enumerate();
    let ranked = all.filter_map(|(r, cell)| Some((reach(cell)?, r)));
    let row = if tolerance.is_some() { ranked.max_by(|a, b| a.0.cmp(&b.0).then(b.1.cmp(&a.1))) } else { ranked.min() };
    [level, amplitude, row.map_or(0, |(_, r)| r)]
}

fn level(scale: Option<&Scale>) -> Level {
    let Some(scale) = scale else {
        return Level { label: "as claimed".into(), hidden: "what the claim allows".into() };
    };
    let k = scale.cutoff;
    let (label, hidden) = match &*scale.ladder {
        Ladder::None => ("no scale".into(), "any change, fine or coarse".into()),
        Ladder::BlockMean(grid) | Ladder::Haar(grid) | Ladder::Wavelet(grid, _) => {
            let block = vec![k.to_string(); grid.spatial].join("×");
            let hidden = match (k, grid.spatial) {
                (1, _) => "no detail is hidden".into(),
                (_, 1) => format!("detail finer than blocks of {k}"),
                _ => format!("detail finer than {block} blocks"),
            };
            (block, hidden)
        }
        Ladder::Groups(_) => (format!("level {k}"), format!("what the group means of level {k} do not see")),
        Ladder::Modes(modes) => {
            (format!("{k} modes"), format!("what the first {k} modes ({}) do not see", modes.family))
        }
        Ladder::Dictionary(_) => (format!("level {k}"), format!("features finer than level {k}")),
    };
    Level { label, hidden }
}

/// The worst of all rows at one level and amplitude.
pub struct Worst {
    /// None unless every row has a bound.
    pub certified: Option<Rational>,
    pub attacked: Option<Rational>,
    /// Rows that are safe to ignore, relevant, and unknown.
    pub counts: [usize; 3],
}

impl Worst {
    /// One row that is relevant is enough; safe is what every row says.
    pub fn status(&self) -> Status {
        match self.counts {
            [_, 0, 0] => Status::Safe,
            [_, 0, _] => Status::Unknown,
            _ => Status::Relevant,
        }
    }
}

impl Dial {
    pub fn worst(&self, level: usize, amplitude: usize) -> Option<Worst> {
        let cells = self.cells[level][amplitude].as_ref()?;
        let certified: Option<Vec<&Rational>> = cells.iter().map(|cell| cell.found.certified.as_ref()).collect();
        let attacked = cells.iter().filter_map(|cell| Some(&cell.found.witness.as_ref()?.reach));
        let count =
            |wanted: Status| cells.iter().filter(|cell| status(&cell.found, self.tolerance.as_ref()) == wanted).count();
        Some(Worst {
            certified: certified.and_then(|all| all.into_iter().max().cloned()),
            attacked: if self.winner { attacked.min() } else { attacked.max() }.cloned(),
            counts: [Status::Safe, Status::Relevant, Status::Unknown].map(count),
        })
    }

    /// The largest certified or attacked number.
    pub fn largest(&self) -> Rational {
        let found = self.cells.iter().flatten().flatten().flatten().map(|cell| &cell.found);
        let numbers = found.flat_map(|found| {
            let attacked = found.witness.as_ref().map(|witness| &witness.reach);
            [found.certified.as_ref(), attacked].into_iter().flatten()
        });
        numbers.max().cloned().unwrap_or_default()
    }

    /// The cell where the dial stands at first.
    pub fn first(&self) -> Option<&Cell> {
        let [level, amplitude, row] = self.start;
        self.cells.get(level)?.get(amplitude)?.as_ref()?.get(row)
    }
}
