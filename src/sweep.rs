//! Many settings of one claim at once: the dial and the flow. Every setting is explored (attack below, proof above) at
//! every row; then a claim is written that states what was found, with a certificate that proves it.

use crate::bundle::{self, replace};
use crate::graph::Maps;
use crate::journal::{Journal, number, remove};
use crate::prove::{Config, prove};
use anyhow::{Context, Result, bail};
use num::bigint::BigInt;
use num::{Signed, Zero};
use rayon::prelude::*;
use scalecheck::certificate::{Answer, ProofText, WitnessText};
use scalecheck::claim::Property;
use scalecheck::number::Rational;
use scalecheck::problem::Clean;
use scalecheck::verify::{self, Statement};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use toml_edit::{ArrayOfTables, DocumentMut, Item, Table, value};

/// A claim file, of which settings are swept.
pub struct Base {
    pub path: PathBuf,
    document: DocumentMut,
    /// The claim as it is.
    pub statement: Statement,
}

impl Base {
    /// Reads a claim of one setting. `model` replaces the claim's model, also in the claim that is written.
    pub fn load(path: &Path, model: Option<&Path>) -> Result<Base> {
        let statement = Statement::load(path, model)?;
        if statement.claim().settings.len() != 1 {
            bail!("{}: a claim without [[setting]] tables is needed", path.display());
        }
        let text = String::from_utf8(verify::read(path)?)?;
        let mut document: DocumentMut = text.parse().with_context(|| path.display().to_string())?;
        if let Some(model) = model {
            document["model"] = value(relative(path, model)?);
        }
        Ok(Base { path: path.to_owned(), document, statement })
    }

    /// A path as the claim has to write it: from its own folder.
    pub fn relative(&self, path: &Path) -> Result<String> {
        relative(&self.path, path)
    }

    /// Where files about this claim go: beside it, with another ending; `name` tells several models apart.
    pub fn beside(&self, name: Option<&str>, ending: &str) -> PathBuf {
        let stem = self.path.file_stem().unwrap_or_default().to_string_lossy();
        let name = name.map_or(String::new(), |name| format!(".{name}"));
        self.path.with_file_name(format!("{stem}{name}.{ending}"))
    }

    /// The claim with these settings instead of its own property.
    fn with_settings(&self, settings: Vec<Table>) -> String {
        let mut document = self.document.clone();
        if let Some(output) = document.get_mut("output").and_then(Item::as_table_like_mut) {
            for key in ["tolerance", "decision", "reaches"] {
                output.remove(key);
            }
        }
        let mut all = ArrayOfTables::new();
        settings.into_iter().for_each(|table| all.push(table));
        document["setting"] = Item::ArrayOfTables(all);
        document.to_string()
    }
}

/// A path as a file has to name it: from its own folder.
pub fn relative(claim: &Path, path: &Path) -> Result<String> {
    let folder = claim.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let found = pathdiff::diff_paths(std::path::absolute(path)?, std::path::absolute(folder)?);
    Ok(found.unwrap_or_else(|| path.to_owned()).display().to_string())
}

/// One setting to explore: what it changes in the claim.
#[derive(Clone)]
pub struct Point {
    pub table: Table,
    /// Only attacked: what a band does is a lower bound.
    pub attack_only: bool,
}

/// What was found at one row of one setting; numbers are exact.
#[derive(Clone, Serialize, Deserialize)]
struct Finding {
    attacked: Option<(String, WitnessText)>,
    proven: Option<(String, ProofText)>,
}

/// What was found at one setting, over all rows.
pub struct Summary {
    /// The largest change that a witness shows; 0 if none was found.
    pub attacked: Rational,
    /// The largest change that the proofs allow; none for a setting that is only attacked.
    pub proven: Option<Rational>,
    /// Sums over the rows of both, for the mean ratio.
    pub sums: (Rational, Rational),
}

/// Explores all settings at all rows, with what an interrupted run left in the journal. `bar` is told of every one done.
pub struct Explored {
    statement: Statement,
    points: Vec<Point>,
    rows: Vec<usize>,
    /// By setting, then row.
    found: Vec<Vec<Found>>,
    journal: PathBuf,
}

/// A finding as numbers; the proof may be that of another setting.
struct Found {
    attacked: Rational,
    witness: Option<WitnessText>,
    proven: Option<Rational>,
    proof: Option<ProofText>,
    served_by: Option<usize>,
}

pub fn explore(
    base: &Base,
    model: Option<&Path>,
    points: Vec<Point>,
    config: &Config,
    journal: &Path,
    progress: impl Fn(usize) -> Result<indicatif::ProgressBar>,
) -> Result<Explored> {
    let tables = points.iter().map(|point| {
        let mut table = point.table.clone();
        table[if point.attack_only { "reaches" } else { "tolerance" }] = value(0);
        table
    });
    let text = base.with_settings(tables.collect());
    let statement = Statement::of(&base.path, text.as_bytes(), model)?;
    let rows = statement.claim().rows();
    let names: Vec<String> = points.iter().map(|point| format!("{} {}", point.attack_only, point.table)).collect();
    // What the journal is about: other files, or another way of working, and it is of no use.
    let header = statement.header(env!("CARGO_PKG_VERSION"));
    let about = format!("{:?}", (&header.model, &header.data, &header.generator, base.document.to_string(), config));
    let known = Mutex::new(Journal::open(journal, &about)?);
    let clean: Vec<Clean> = statement.clean(&rows).collect::<Result<_, _>>()?;
    let all: Vec<(usize, usize)> = (0..points.len()).flat_map(|s| (0..rows.len()).map(move |r| (s, r))).collect();
    let bar = progress(all.len())?;
    let maps = Maps::default();
    let one = |&(s, r): &(usize, usize)| -> Result<Found> {
        let lock = || known.lock().unwrap_or_else(|e| e.into_inner());
        let earlier: Option<Finding> = lock().take(&names[s], rows[r]);
        let finding = match earlier {
            Some(finding) => finding,
            None => {
                let setting = &statement.claim().settings[s];
                let problem = statement.problem(s, rows[r], &clean[r])?;
                let outcome = prove((s, rows[r]), &problem, &setting.property, &maps, config, None, &|_| {})
                    .context("the checker refused the prover's own proof; please report this")?;
                let proven = outcome.tightest(&setting.property).map(ToString::to_string).zip(outcome.proof.clone());
                let attacked = outcome.attacked.map(|(reach, witness)| (reach.to_string(), witness));
                let finding = Finding { attacked, proven };
                lock().note(&names[s], rows[r], &finding)?;
                finding
            }
        };
        bar.inc(1);
        let (attacked, witness) = finding.attacked.unzip();
        let (proven, proof) = finding.proven.unzip();
        Ok(Found {
            attacked: attacked.as_deref().map(number).transpose()?.unwrap_or_else(Rational::zero),
            witness,
            proven: proven.as_deref().map(number).transpose()?,
            proof,
            served_by: None,
        })
    };
    let mut flat = all.par_iter().map(one).collect::<Result<Vec<Found>>>()?.into_iter();
    bar.finish_and_clear();
    let found = points.iter().map(|_| flat.by_ref().take(rows.len()).collect()).collect();
    let mut explored = Explored { statement, points, rows, found, journal: journal.to_owned() };
    explored.inherit();
    Ok(explored)
}

impl Explored {
    /// What holds for more perturbations holds for fewer, and what fewer can do more can: so that a table is monotone,
    /// every row of a setting takes the best bound among the settings that cover it, and the strongest witness among
    /// those that it covers, if its variables are the same.
    fn inherit(&mut self) {
        let settings = &self.statement.claim().settings;
        let covers = |a: usize, b: usize| settings[a].covers(&settings[b]);
        for s in 0..self.points.len() {
            for r in 0..self.rows.len() {
                let better = |other: &usize| {
                    let (own, theirs) = (&self.found[s][r].proven, &self.found[*other][r].proven);
                    *other != s && own.is_some() && theirs.is_some() && theirs < own && covers(*other, s)
                };
                let best = (0..self.points.len()).filter(better).min_by_key(|&other| &self.found[other][r].proven);
                self.found[s][r].served_by = best;
            }
        }
        for s in 0..self.points.len() {
            for r in 0..self.rows.len() {
                if let Some(by) = self.found[s][r].served_by {
                    self.found[s][r].proven = self.found[by][r].proven.clone();
                }
            }
        }
        let sizes = |w: &Option<WitnessText>| {
            w.as_ref().map(|w| w.perturbation.iter().flatten().map(Vec::len).collect::<Vec<_>>())
        };
        let plain = |s: usize| !self.points[s].attack_only;
        let mut stronger = Vec::new();
        for s in (0..self.points.len()).filter(|&s| plain(s)) {
            for r in 0..self.rows.len() {
                let own = &self.found[s][r];
                let better = |other: &usize| {
                    let theirs = &self.found[*other][r];
                    let same = sizes(&own.witness) == sizes(&theirs.witness);
                    plain(*other) && theirs.attacked > own.attacked && same && covers(s, *other)
                };
                let best = (0..self.points.len()).filter(better).max_by_key(|&other| &self.found[other][r].attacked);
                stronger.extend(best.map(|best| (s, r, best)));
            }
        }
        for (s, r, best) in stronger {
            let (attacked, witness) = (self.found[best][r].attacked.clone(), self.found[best][r].witness.clone());
            (self.found[s][r].attacked, self.found[s][r].witness) = (attacked, witness);
        }
    }

    /// What was found at every setting.
    pub fn summaries(&self) -> Vec<Summary> {
        let summary = |found: &Vec<Found>| {
            let proven = || found.iter().filter_map(|f| f.proven.as_ref());
            Summary {
                attacked: found.iter().map(|f| f.attacked.clone()).max().unwrap_or_default(),
                proven: proven().max().cloned(),
                sums: (found.iter().map(|f| &f.attacked).sum(), proven().sum()),
            }
        };
        self.found.iter().map(summary).collect()
    }

    /// Writes the claim that states what was found, and its certificate. Every setting that was explored becomes one that
    /// states a tolerance for all rows, and one that states what is reached at some row. The journal is then done
    /// with. Answers as [`bundle::put`] does.
    pub fn write(&self, base: &Base, model: Option<&Path>, claim: &Path, certificate: &Path) -> Result<Option<u64>> {
        let (mut tables, mut answers, mut position) = (Vec::new(), Vec::new(), vec![None; self.points.len()]);
        for ((s, point), summary) in self.points.iter().enumerate().zip(self.summaries()) {
            if let Some(proven) = &summary.proven {
                position[s] = Some(tables.len());
                tables.push(stated(point, "tolerance", &decimal(proven, true)));
            }
            let strongest = self.found[s].iter().zip(&self.rows).max_by_key(|(found, _)| &found.attacked);
            if let Some((Found { attacked, witness: Some(witness), .. }, &row)) = strongest
                && attacked.is_positive()
            {
                answers.push(Answer {
                    setting: tables.len(),
                    row,
                    witness: Some(witness.clone()),
                    ..Answer::default()
                });
                tables.push(stated(point, "reaches", &decimal(attacked, false)));
            }
        }
        for (found, setting) in self.found.iter().zip(&position) {
            let Some(setting) = *setting else { continue };
            for (found, &row) in found.iter().zip(&self.rows) {
                let served_by = found.served_by.and_then(|by| position[by]);
                let proof = found.proof.clone().filter(|_| served_by.is_none());
                answers.push(Answer { setting, row, proof, served_by, ..Answer::default() });
            }
        }
        let text = base.with_settings(tables);
        let statement = Statement::of(claim, text.as_bytes(), model)?;
        let mut bundle = statement.header(concat!("scalecert ", env!("CARGO_PKG_VERSION")));
        bundle.answers = answers;
        // What the checker refuses must not come back from the journal.
        let bytes = bundle::checked_bytes(&bundle, &statement).inspect_err(|_| drop(remove(&self.journal)))?;
        let memory = bundle::put(certificate, &bytes)?;
        replace(claim, text.as_bytes())?;
        remove(&self.journal)?;
        Ok(memory)
    }
}

/// The setting of a point with a property.
fn stated(point: &Point, property: &str, number: &str) -> Table {
    let mut table = point.table.clone();
    table[property] = value(number);
    table
}

/// A number with six significant digits, rounded up or down.
pub fn decimal(x: &Rational, up: bool) -> String {
    if x.is_zero() {
        return "0".into();
    }
    let ten = BigInt::from(10);
    let (mut places, mut size) = (0_u32, x.abs());
    while size < Rational::from_integer(BigInt::from(100_000)) && places < 400 {
        size *= &ten;
        places += 1;
    }
    let scaled = x * ten.pow(places);
    let digits = if up { scaled.ceil() } else { scaled.floor() }.to_integer();
    let text = format!("{:0>width$}", digits.abs().to_string(), width = places as usize + 1);
    let (whole, fraction) = text.split_at(text.len() - places as usize);
    let fraction = fraction.trim_end_matches('0');
    let sign = if digits.is_negative() { "-" } else { "" };
    if fraction.is_empty() { format!("{sign}{whole}") } else { format!("{sign}{whole}.{fraction}") }
}

/// Whether a claimed tolerance holds at a setting.
pub fn status(summary: &Summary, tolerance: &Rational) -> &'static str {
    match &summary.proven {
        Some(proven) if proven <= tolerance => "certified",
        _ if summary.attacked > *tolerance => "refuted",
        _ => "unknown",
    }
}

/// The quotient of the sums over all rows; none if the attack moved nothing.
pub fn mean_ratio(summary: &Summary) -> Option<Rational> {
    let (attacked, proven) = &summary.sums;
    (attacked.is_positive() && summary.proven.is_some()).then(|| proven / attacked)
}

/// The tolerance of a claim that states one.
pub fn tolerance(base: &Base) -> Result<Rational> {
    match &base.statement.claim().settings[0].property {
        Property::Tolerance(tolerance) => Ok(tolerance.clone()),
        _ => bail!("{}: the claim must state a `tolerance`", base.path.display()),
    }
}
