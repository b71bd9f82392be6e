//! What the certificate proves and what attacks reach, at every row of everything that the claim is about.

use super::pair::Pair;
use crate::graph::Maps;
use crate::prove::attacked;
use crate::search::attack;
use anyhow::Result;
use num::{Signed, Zero};
use rayon::prelude::*;
use scalecheck::certificate::WitnessText;
use scalecheck::claim::{Coarse, Property, Setting, Site};
use scalecheck::number::Rational;
use scalecheck::problem::{Clean, Problem};
use scalecheck::rules::witness;
use scalecheck::verify::RowVerdict;

/// Most rungs at which a claim about a single one is attacked.
const MAX_RUNGS: usize = 9;

/// Perturbations and the coarse outputs that are watched: settings of the claim that differ in their property alone.
pub struct Point {
    /// One of these settings, or for a rung that the claim does not name, a setting as it would be there.
    pub setting: Setting,
    /// The settings of the claim, by number.
    pub stated: Vec<usize>,
    /// By row of the claim, in order.
    pub found: Vec<Found>,
}

/// What is known about one row.
#[derive(Clone, Default)]
pub struct Found {
    /// The smallest tolerance that a verified proof establishes, of this setting or one that covers it.
    pub certified: Option<Rational>,
    /// The setting with that proof, of whatever property.
    pub by: Option<usize>,
    /// The strongest perturbation known.
    pub witness: Option<Witness>,
}

/// A perturbation that the exact rules of a witness confirm.
#[derive(Clone)]
pub struct Witness {
    /// The largest change of a coarse output; for a claim about the winner, what is left of its margin.
    pub reach: Rational,
    /// Values of all variables, by block.
    pub point: Vec<Vec<Rational>>,
    /// The coarse outputs without the perturbation, and with it.
    pub clean: Vec<Rational>,
    pub perturbed: Vec<Rational>,
    /// True if the certificate has it; else an attack found it for this report.
    pub certificate: bool,
}

impl Point {
    pub fn is_about_winner(&self) -> bool {
        self.setting.property == Property::Winner
    }

    /// The largest certified tolerance, if every row has one.
    pub fn certified(&self) -> Option<&Rational> {
        let all: Option<Vec<&Rational>> = self.found.iter().map(|found| found.certified.as_ref()).collect();
        all?.into_iter().max()
    }

    /// The strongest attack of all rows.
    pub fn attacked(&self) -> Option<&Rational> {
        let all = self.found.iter().filter_map(|found| Some(&found.witness.as_ref()?.reach));
        if self.is_about_winner() { all.min() } else { all.max() }
    }
}

/// How many findings a pair has.
pub fn count(pair: &Pair) -> usize {
    points(pair).len() * pair.claim().rows().len()
}

/// The points of a pair, those of the claim first. A property in VNN-LIB has no measure, and no points.
pub fn measure(pair: &Pair, config: &attack::Config, done: &(dyn Fn() + Sync)) -> Result<Vec<Point>> {
    let points = points(pair);
    let rows = pair.claim().rows();
    let clean: Vec<Clean> = pair.statement.clean(&rows).collect::<Result<_, _>>()?;
    let mut hiding = Vec::new();
    for point in points {
        if !point.stated.is_empty() || hides(&unlimited(pair, &point.setting, &clean[0])?) {
            hiding.push(point);
        }
    }
    let mut points = hiding;
    let (clean, maps) = (&clean[..], Maps::default());
    let flat: Vec<(usize, usize)> = (0..points.len()).flat_map(|p| (0..rows.len()).map(move |r| (p, r))).collect();
    let own = |&(p, r): &(usize, usize)| -> Result<Found> {
        let point = &points[p];
        let mut found = proven(pair, point, r);
        let problem = unlimited(pair, &point.setting, &clean[r])?;
        let mut witness: Option<Witness> = None;
        for text in certificate_witnesses(pair, point, rows[r]) {
            // One that the checker rejects has its place in the verdict.
            let Ok(values) = witness::read(text, &problem) else { continue };
            keep(&mut witness, assess(&problem, point.is_about_winner(), values, true), point.is_about_winner());
        }
        if witness.is_none() && is_attacked(pair, point) {
            let winner = point.is_about_winner().then(|| pair.setting(&point.setting, Property::Winner, &clean[r]));
            let winner = winner.transpose()?;
            let (target, property) = match &winner {
                Some(problem) => (problem, Property::Winner),
                None => (&problem, reaches_0()),
            };
            let values = attacked(target, &property, &maps, config);
            witness = values.and_then(|values| assess(&problem, point.is_about_winner(), values, false));
        }
        found.witness = witness;
        done();
        Ok(found)
    };
    let found = flat.par_iter().map(own).collect::<Result<Vec<Found>>>()?;
    let mut found = found.into_iter();
    for point in &mut points {
        point.found = found.by_ref().take(rows.len()).collect();
    }
    inherit(pair, &mut points, clean)?;
    Ok(points)
}

/// What fewer perturbations do, more can do: a point takes the strongest witness among those whose perturbations it has.
fn inherit(pair: &Pair, points: &mut [Point], clean: &[Clean]) -> Result<()> {
    let mut stronger = Vec::new();
    for (p, point) in points.iter().enumerate().filter(|(_, point)| is_attacked(pair, point)) {
        let winner = point.is_about_winner();
        let covered: Vec<&Point> =
            points.iter().filter(|q| q.is_about_winner() == winner && point.setting.covers(&q.setting)).collect();
        for (r, clean) in clean.iter().enumerate() {
            let theirs = covered.iter().filter_map(|q| q.found[r].witness.as_ref());
            let Some(best) = theirs.reduce(|a, b| if better(winner, b, a) { b } else { a }) else { continue };
            let own = point.found[r].witness.as_ref();
            if own.is_none_or(|own| better(winner, best, own)) {
                let problem = unlimited(pair, &point.setting, clean)?;
                stronger.push((p, r, assess(&problem, winner, best.point.clone(), best.certificate)));
            }
        }
    }
    for (p, r, witness) in stronger {
        let winner = points[p].is_about_winner();
        keep(&mut points[p].found[r].witness, witness, winner);
    }
    Ok(())
}

fn better(winner: bool, a: &Witness, b: &Witness) -> bool {
    if winner { a.reach < b.reach } else { a.reach > b.reach }
}

fn keep(best: &mut Option<Witness>, new: Option<Witness>, winner: bool) {
    if let Some(new) = new
        && best.as_ref().is_none_or(|best| better(winner, &new, best))
    {
        *best = Some(new);
    }
}

fn reaches_0() -> Property {
    Property::Reaches(Rational::zero())
}

impl Pair {
    /// The problem of a setting with another property.
    fn setting(&self, setting: &Setting, property: Property, clean: &Clean) -> Result<Problem> {
        let setting = Setting { property, ..setting.clone() };
        Ok(Problem::new(self.statement.network(), self.claim(), &setting, clean)?)
    }
}

/// True if some perturbation is not zero.
fn hides(problem: &Problem) -> bool {
    let perturbed = problem.domain.iter().skip(usize::from(problem.region));
    perturbed.into_iter().any(|v| v.lower.iter().chain(&v.upper).any(|end| !end.is_zero()))
}

/// The problem of a setting without a limit: every point of its domain reaches a change of at least 0, so that the rules of
/// a witness confirm what a point does, however little.
pub fn unlimited(pair: &Pair, setting: &Setting, clean: &Clean) -> Result<Problem> {
    pair.setting(setting, reaches_0(), clean)
}

/// What a point does, by the exact rules; `None` if it is not in the domain.
fn assess(problem: &Problem, winner: bool, point: Vec<Vec<Rational>>, certificate: bool) -> Option<Witness> {
    let fits = point.iter().map(Vec::len).eq(problem.domain.iter().map(|v| v.lower.len()));
    let reached = fits.then(|| witness::check(problem, &point).ok())??;
    let (clean, perturbed) = (reached.clean, reached.coarse);
    let reach = if winner {
        let first = (0..clean.len()).max_by_key(|&k| &clean[k])?;
        let other = (0..clean.len()).filter(|&k| k != first).map(|k| &perturbed[k]).max()?;
        &perturbed[first] - other
    } else {
        clean.iter().zip(&perturbed).map(|(c, p)| (p - c).abs()).max()?
    };
    Some(Witness { reach, point, clean, perturbed, certificate })
}

/// The tightest bound that the verified proofs of this row give for a point.
fn proven(pair: &Pair, point: &Point, r: usize) -> Found {
    let mut found = Found::default();
    for (s, (setting, report)) in pair.claim().settings.iter().zip(&pair.report.settings).enumerate() {
        let (verdict, winner) = (&report.rows[r].1, setting.property == Property::Winner);
        let holds = matches!(verdict, RowVerdict::Verified { .. } | RowVerdict::Served { .. });
        if !holds || winner != point.is_about_winner() || !(point.stated.contains(&s) || setting.covers(&point.setting))
        {
            continue;
        }
        let new = verdict.established();
        if found.by.is_none() || (new.is_some() && new < found.certified.as_ref()) {
            found = Found { certified: new.cloned(), by: Some(s), witness: None };
        }
    }
    found
}

/// The witnesses that the certificate has for one row of a point.
fn certificate_witnesses<'a>(pair: &'a Pair, point: &'a Point, row: usize) -> impl Iterator<Item = &'a WitnessText> {
    let answers = pair.certificate.answers.iter();
    answers.filter(move |a| a.row == row && point.stated.contains(&a.setting)).filter_map(|a| a.witness.as_ref())
}

/// True unless the claim says only that some row reaches something.
fn is_attacked(pair: &Pair, point: &Point) -> bool {
    let exists = |&s: &usize| matches!(pair.claim().settings[s].property, Property::Reaches(_));
    point.stated.is_empty() || !point.stated.iter().all(exists)
}

/// What the claim is about, without findings, and the other rungs of its ladder if it names only one.
fn points(pair: &Pair) -> Vec<Point> {
    let mut points: Vec<Point> = Vec::new();
    for (s, setting) in pair.claim().settings.iter().enumerate() {
        if setting.property == Property::Unsafe {
            continue;
        }
        let winner = setting.property == Property::Winner;
        let same = |p: &&mut Point| {
            let other = &p.setting;
            winner == p.is_about_winner()
                && other
                    .perturb
                    .iter()
                    .map(|p| (&p.site, &p.amplitude))
                    .eq(setting.perturb.iter().map(|p| (&p.site, &p.amplitude)))
                && (&other.output, &other.coarse) == (&setting.output, &setting.coarse)
        };
        match points.iter_mut().find(same) {
            Some(point) => point.stated.push(s),
            None => points.push(Point { setting: setting.clone(), stated: vec![s], found: vec![] }),
        }
    }
    let derived = other_rungs(&points);
    points.extend(derived);
    points
}

/// The claimed perturbations at the other rungs of the ladder, if the claim names a single one and is about an output.
fn other_rungs(points: &[Point]) -> Vec<Point> {
    let Some((first, ladder, cutoff)) = points.iter().find_map(|point| {
        let scales = point.setting.perturb.iter().filter_map(|p| match &p.site {
            Site::Tensor { scale, .. } if scale.seen.is_none() => Some(scale),
            _ => None,
        });
        let scale = scales.into_iter().next()?;
        Some((point, &scale.ladder, scale.cutoff))
    }) else {
        return vec![];
    };
    let watched = |point: &Point| !matches!(point.setting.coarse, Coarse::Band { .. });
    let single = |point: &Point| {
        point.setting.perturb.iter().all(|p| match &p.site {
            Site::Tensor { scale, .. } => scale.ladder == *ladder && (scale.cutoff == cutoff || scale.seen.is_some()),
            Site::Weights { .. } => true,
        })
    };
    if !points.iter().all(|point| watched(point) && single(point)) {
        return vec![];
    }
    let at = |rung: usize| {
        let mut setting = first.setting.clone();
        for perturb in &mut setting.perturb {
            if let Site::Tensor { scale, .. } = &mut perturb.site {
                scale.ladder.check(rung).ok()?;
                scale.cutoff = rung;
                let bands = scale.ladder.bands(rung);
                (perturb.amplitude.len() == 1 || perturb.amplitude.len() == bands).then_some(())?;
            }
        }
        Some(Point { setting, stated: vec![], found: vec![] })
    };
    let rungs: Vec<usize> = ladder.rungs().into_iter().filter(|&rung| rung != cutoff).collect();
    let step = rungs.len().div_ceil(MAX_RUNGS).max(1);
    rungs.into_iter().step_by(step).filter_map(at).collect()
}
