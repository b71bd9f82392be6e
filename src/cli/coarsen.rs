//! `scalecert coarsen CLAIM`: write the smaller model that a truncation defines, and certify it against the original.

use super::console::{Answer, Console, number, status_cell};
use super::prove::{as_json, deadline, print_table};
use crate::coarsen::{Cut, coarse, work};
use crate::prove::{Choice, Config, Outcome, Status};
use crate::search::attack;
use crate::sweep::relative;
use crate::{bundle, onnx};
use anyhow::{Context, Result, bail};
use comfy_table::Cell;
use scalecheck::claim::{Claim, Property};
use scalecheck::number::{Rational, approximate, parse_rational};
use scalecheck::verify::{Statement, read};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::Instant;
use toml_edit::{DocumentMut, value};

/// Write the smaller ONNX model that a claim's `[[truncate]]` tables define, a claim that it takes the original's place, and
/// a certificate of that. With --tolerance, the smallest of all rungs of the tables' ladders that is certified within it.
///
/// Exit codes: 0 certified, 10 refuted, 20 unknown (or no coarse model was found), 2 bad input.
#[derive(clap::Args)]
pub struct Arguments {
    /// The claim, a TOML file with `[[truncate]]`.
    claim: PathBuf,
    /// Where to write the model. The claim is written beside the original claim, and the certificate beside that.
    #[arg(short, long)]
    output: PathBuf,
    /// Search for the smallest model within this tolerance, a rational number such as 1/2 or 0.5.
    #[arg(long)]
    tolerance: Option<String>,
    /// Where to write the certificate; gzipped if the name ends in `.gz`. Default: next to the new claim.
    #[arg(long)]
    certificate: Option<PathBuf>,
    /// Give up after so many seconds; until then cases are tried where relaxing once is not enough.
    #[arg(long, value_name = "SECONDS")]
    timeout: Option<f64>,
    /// How upper bounds are derived.
    #[arg(long, value_enum, default_value = "auto")]
    method: Choice,
}

/// Most coarse models that a search considers.
const MAX_CANDIDATES: usize = 1 << 12;

/// A coarse model: a rung for every table, or none of it where the tensor is kept.
struct Candidate {
    cutoffs: Vec<Option<usize>>,
    network: scalecheck::network::Network,
    work: u64,
}

/// The files of a coarse model.
struct Files<'a> {
    arguments: &'a Arguments,
    document: DocumentMut,
    claim: PathBuf,
}

pub fn run(arguments: &Arguments, console: &Console) -> Result<Answer> {
    let started = Instant::now();
    let original = Statement::load(&arguments.claim, None)?;
    let claim = original.claim();
    if claim.truncate.is_empty() || claim.replace.is_some() {
        bail!("{}: a claim with [[truncate]] and without `replace` is needed", arguments.claim.display());
    }
    ensure_tolerances(claim)?;
    let deadline = deadline(started, arguments.timeout)?;
    let config = Config { deadline, method: arguments.method, attack: attack::Config::default(), ..Config::default() };
    let text = String::from_utf8(read(&arguments.claim)?)?;
    let document: DocumentMut = text.parse().with_context(|| arguments.claim.display().to_string())?;
    let name = arguments.output.file_stem().unwrap_or_default().to_string_lossy();
    let files = Files { arguments, document, claim: arguments.claim.with_file_name(format!("{name}.toml")) };
    if same(&files.claim, &arguments.claim) {
        bail!("the new claim would take the place of {}; give the model another name", arguments.claim.display());
    }
    let before = work(original.network());
    let candidates = candidates(&original, arguments.tolerance.is_some())?;
    let searches = arguments.tolerance.is_some();
    if let Some(first) = candidates.first().filter(|first| !searches && first.work >= before) {
        let work = first.work;
        console.say(format!(
            "the coarse model takes {work} multiply–accumulates, the original {before}: it is not smaller"
        ));
    }
    let mut table = console.table(["cutoffs", "multiply–accumulates", "attacked", "certified", "status"]);
    let mut tried: Vec<Value> = Vec::new();
    let mut last = None;
    let smaller = |candidate: &Candidate| !searches || candidate.work < before;
    let bar = console.bar(candidates.iter().filter(|candidate| smaller(candidate)).count(), "coarse models")?;
    let line = console.line(if searches { "trying coarse models" } else { "attacking, then bounding" })?;
    for candidate in candidates.into_iter().take_while(smaller) {
        if searches && deadline.is_some_and(|deadline| Instant::now() > deadline) {
            break;
        }
        let (statement, outcomes, model) = files.attempt(&candidate, &config)?;
        let result = Tried::of(&candidate, &statement, &outcomes);
        table.add_row(result.cells());
        tried.push(result.json());
        last = Some((outcomes, candidate.work, model));
        bar.inc(1);
        if result.status == "certified" {
            break;
        }
    }
    bar.finish_and_clear();
    line.finish_and_clear();
    let mut json = json!({ "tried": tried, "multiply_accumulates": { "before": before } });
    let Some((outcomes, after, model)) = last else {
        console.say(format!("no coarse model is smaller than the original, which takes {before} multiply–accumulates"));
        return Answer::new(20, json);
    };
    let any = |status: Status| outcomes.iter().any(|outcome| outcome.status == status);
    let certified = outcomes.iter().all(|outcome| outcome.status == Status::Certified);
    if searches {
        console.show(&table);
        if !certified {
            console.say("no smaller coarse model was certified within the tolerance; nothing was written");
            return Answer::new(20, json);
        }
    }
    let written = files.write(&model, &outcomes, console)?;
    console.say(format!("multiply–accumulates: {after} instead of {before}"));
    json["multiply_accumulates"]["after"] = after.into();
    json["model"] = arguments.output.display().to_string().into();
    json["replaces"] = files.claim.display().to_string().into();
    json["proof"] = written;
    let code = match () {
        () if any(Status::Refuted) => 10,
        () if certified => 0,
        () => 20,
    };
    Answer::new(code, json)
}

fn same(a: &Path, b: &Path) -> bool {
    std::path::absolute(a).ok() == std::path::absolute(b).ok()
}

/// The coarse model of the claim, or of all combinations of rungs the smaller ones first.
fn candidates(original: &Statement, all: bool) -> Result<Vec<Candidate>> {
    let truncate = &original.claim().truncate;
    let mut combinations: Vec<Vec<Option<usize>>> = vec![vec![]];
    for one in truncate {
        let rungs: Vec<Option<usize>> = match all {
            // A rung that keeps no mode leaves nothing of the tensor.
            true => one.ladder.rungs().into_iter().filter(|rung| *rung > 0).map(Some).chain([None]).collect(),
            false => vec![Some(one.cutoff)],
        };
        if combinations.len() * rungs.len() > MAX_CANDIDATES {
            bail!("the ladders have more than {MAX_CANDIDATES} combinations of rungs; truncate fewer tensors at once");
        }
        let longer = |c: &Vec<Option<usize>>| rungs.iter().map(|r| [&c[..], &[*r]].concat()).collect::<Vec<_>>();
        combinations = combinations.iter().flat_map(longer).collect();
    }
    let mut candidates = Vec::new();
    for cutoffs in combinations {
        let cuts: Vec<Cut<'_>> = truncate
            .iter()
            .zip(&cutoffs)
            .filter_map(|(one, cutoff)| Some(Cut { site: &one.site, ladder: &one.ladder, cutoff: (*cutoff)? }))
            .collect();
        let network = coarse(original.network(), &cuts)?;
        candidates.push(Candidate { cutoffs, work: work(&network), network });
    }
    candidates.sort_by_key(|candidate| candidate.work);
    Ok(candidates)
}

/// What was found about a coarse model, over all rows.
struct Tried {
    cutoffs: Vec<Option<usize>>,
    work: u64,
    attacked: Option<Rational>,
    proven: Option<Rational>,
    status: &'static str,
}

impl Tried {
    fn of(candidate: &Candidate, statement: &Statement, outcomes: &[Outcome]) -> Self {
        let property = |o: &Outcome| statement.claim().settings[o.setting].property.clone();
        let count = |status| outcomes.iter().filter(|o| o.status == status).count();
        Tried {
            cutoffs: candidate.cutoffs.clone(),
            work: candidate.work,
            attacked: outcomes.iter().filter_map(|o| o.attacked.as_ref().map(|(reach, _)| reach)).max().cloned(),
            proven: outcomes.iter().filter_map(|o| o.tightest(&property(o)).cloned()).max(),
            status: match (count(Status::Refuted), count(Status::Unknown)) {
                (0, 0) => "certified",
                (0, _) => "unknown",
                _ => "refuted",
            },
        }
    }

    fn cells(&self) -> [Cell; 5] {
        let cutoffs = self.cutoffs.iter().map(|c| c.map_or_else(|| "–".to_owned(), |c| c.to_string()));
        let shown = |x: &Option<Rational>| Cell::new(x.as_ref().map_or_else(String::new, approximate));
        let cutoffs = cutoffs.collect::<Vec<_>>().join(", ");
        let (attacked, proven) = (shown(&self.attacked), shown(&self.proven));
        [Cell::new(cutoffs), Cell::new(self.work), attacked, proven, status_cell(self.status)]
    }

    fn json(&self) -> Value {
        json!({
            "cutoffs": self.cutoffs,
            "multiply_accumulates": self.work,
            "attacked": self.attacked.as_ref().map(number),
            "proven": self.proven.as_ref().map(number),
            "status": self.status,
        })
    }
}

impl Files<'_> {
    /// The claim that a model in this file takes the original's place.
    fn claim(&self, model: &Path) -> Result<String> {
        let mut document = self.document.clone();
        document.remove("truncate");
        document["replace"] = value(relative(&self.claim, model)?);
        if let Some(tolerance) = &self.arguments.tolerance {
            let tolerance =
                parse_rational(tolerance).with_context(|| format!("--tolerance {tolerance}: not a number"))?;
            document["output"]["tolerance"] = value(tolerance.to_string());
        }
        Ok(document.to_string())
    }

    /// Works on the claim about a coarse model; the model's bytes come back as well.
    fn attempt(&self, candidate: &Candidate, config: &Config) -> Result<(Statement, Vec<Outcome>, Vec<u8>)> {
        let name = self.arguments.output.file_stem().unwrap_or_default().to_string_lossy();
        let model = onnx::write(&candidate.network, &name)?;
        let folder = self.claim.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let file = tempfile::Builder::new().suffix(".onnx").tempfile_in(folder);
        let file = file.with_context(|| format!("cannot write beside {}", self.claim.display()))?;
        std::fs::write(file.path(), &model)?;
        let statement = Statement::of(&self.claim, self.claim(file.path())?.as_bytes(), None)?;
        let outcomes = bundle::prove_rows(&statement, config, &|_| (), || ())?;
        Ok((statement, outcomes, model))
    }

    /// Writes model, claim and certificate; what was found, row by row.
    fn write(&self, model: &[u8], outcomes: &[Outcome], console: &Console) -> Result<Value> {
        let path = &self.arguments.output;
        bundle::replace(path, model)?;
        console.say(format!("wrote {}", path.display()));
        let text = self.claim(path)?;
        bundle::replace(&self.claim, text.as_bytes())?;
        console.say(format!("wrote {}", self.claim.display()));
        let statement = Statement::load(&self.claim, None)?;
        let target = self.arguments.certificate.clone().unwrap_or_else(|| self.claim.with_extension("cert.json"));
        let written = match bundle::certificate(&statement, outcomes) {
            Some(certificate) => Some((target.as_path(), bundle::write(&target, &certificate, &statement, true)?)),
            None => None,
        };
        print_table(&statement, outcomes, written, &self.claim, None, console);
        Ok(as_json(&statement, outcomes, written.map(|(path, _)| path)))
    }
}

/// Only tolerances say how far a coarse model is from the original.
fn ensure_tolerances(claim: &Claim) -> Result<()> {
    let all = claim.settings.iter().all(|setting| matches!(setting.property, Property::Tolerance(_)));
    if all { Ok(()) } else { bail!("the claim must state a `tolerance`") }
}
