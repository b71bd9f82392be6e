//! `scalecert coarsen CLAIM`: write the smaller model that a truncation defines, and certify it against the original.

use super::prove::{deadline, print_table};
use crate::coarsen::{Cut, coarse, work};
use crate::prove::{Choice, Config, Outcome, Status};
use crate::search::attack;
use crate::sweep::relative;
use crate::{bundle, onnx};
use anyhow::{Context, Result, bail};
use comfy_table::Table;
use comfy_table::presets::UTF8_HORIZONTAL_ONLY;
use scalecheck::claim::{Claim, Property};
use scalecheck::number::{approximate, parse_rational};
use scalecheck::verify::{Statement, read};
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

pub fn run(arguments: &Arguments) -> Result<u8> {
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
    if let Some(first) = candidates.first().filter(|first| first.work >= before) {
        println!(
            "the coarse model takes {} multiply–accumulates, the original {before}: it is not smaller",
            first.work
        );
    }
    let mut table = Table::new();
    table.load_style(UTF8_HORIZONTAL_ONLY);
    table.set_header(["cutoffs", "multiply–accumulates", "attacked", "certified", "status"]);
    let searches = arguments.tolerance.is_some();
    let mut last = None;
    for candidate in candidates {
        if searches && (candidate.work >= before || deadline.is_some_and(|deadline| Instant::now() > deadline)) {
            break;
        }
        let (statement, outcomes, model) = files.attempt(&candidate, &config)?;
        table.add_row(row(&candidate, &statement, &outcomes));
        let certified = outcomes.iter().all(|outcome| outcome.status == Status::Certified);
        last = Some((outcomes, candidate.work, model));
        if certified {
            break;
        }
    }
    let Some((outcomes, after, model)) = last else {
        println!("no coarse model is smaller than the original, which takes {before} multiply–accumulates");
        return Ok(20);
    };
    let any = |status: Status| outcomes.iter().any(|outcome| outcome.status == status);
    let certified = outcomes.iter().all(|outcome| outcome.status == Status::Certified);
    if searches {
        println!("{table}");
        if !certified {
            println!("no smaller coarse model was certified within the tolerance; nothing was written");
            return Ok(20);
        }
    }
    files.write(&model, &outcomes)?;
    println!("multiply–accumulates: {after} instead of {before}");
    Ok(match () {
        () if any(Status::Refuted) => 10,
        () if certified => 0,
        () => 20,
    })
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

fn row(candidate: &Candidate, statement: &Statement, outcomes: &[Outcome]) -> [String; 5] {
    let property = |o: &Outcome| statement.claim().settings[o.setting].property.clone();
    let attacked = outcomes.iter().filter_map(|o| o.attacked.as_ref().map(|(reach, _)| reach)).max();
    let proven = outcomes.iter().filter_map(|o| o.tightest(&property(o)).cloned()).max();
    let count = |status| outcomes.iter().filter(|o| o.status == status).count();
    let status = match (count(Status::Refuted), count(Status::Unknown)) {
        (0, 0) => "certified",
        (0, _) => "unknown",
        _ => "refuted",
    };
    let cutoffs = candidate.cutoffs.iter().map(|c| c.map_or_else(|| "–".to_owned(), |c| c.to_string()));
    [
        cutoffs.collect::<Vec<_>>().join(", "),
        candidate.work.to_string(),
        attacked.map_or_else(String::new, approximate),
        proven.as_ref().map_or_else(String::new, approximate),
        status.to_owned(),
    ]
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

    /// Writes model, claim and certificate.
    fn write(&self, model: &[u8], outcomes: &[Outcome]) -> Result<()> {
        let path = &self.arguments.output;
        bundle::replace(path, model)?;
        println!("wrote {}", path.display());
        let text = self.claim(path)?;
        bundle::replace(&self.claim, text.as_bytes())?;
        println!("wrote {}", self.claim.display());
        let statement = Statement::load(&self.claim, None)?;
        let target = self.arguments.certificate.clone().unwrap_or_else(|| self.claim.with_extension("cert.json"));
        let certificate = bundle::certificate(&statement, outcomes);
        if let Some(certificate) = &certificate {
            bundle::write(&target, certificate, &statement)?;
        }
        print_table(&statement, outcomes, certificate.is_some().then_some(&target), &self.claim, None);
        Ok(())
    }
}

/// Only tolerances say how far a coarse model is from the original.
fn ensure_tolerances(claim: &Claim) -> Result<()> {
    let all = claim.settings.iter().all(|setting| matches!(setting.property, Property::Tolerance(_)));
    if all { Ok(()) } else { bail!("the claim must state a `tolerance`") }
}
