//! `scalecert instances FOLDER…`: the instances of a verification competition, each in processes of its own.

use super::console::{Answer, Console};
use crate::bundle::replace;
use anyhow::{Context, Result, bail, ensure};
use comfy_table::Table;
use scalecheck::certificate;
use serde_json::{Value, json};
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

/// Prove every instance of benchmark folders, check each certificate with `scalecheck`, and time both. After an interruption the
/// same command goes on from the file OUTPUT.partial.
///
/// Exit codes: 0 `scalecheck` confirmed every certified and every refuted instance, 1 it did not, 2 bad input.
#[derive(clap::Args)]
pub struct Arguments {
    /// Folders with a file `instances.csv` of lines `model,property,seconds`; paths are relative to the folder.
    #[arg(required = true, value_name = "FOLDER")]
    folders: Vec<PathBuf>,
    /// Where to write one row for every instance.
    #[arg(short, long, default_value = "results.csv")]
    output: PathBuf,
    /// Give up an instance after so many seconds, whatever its line says.
    #[arg(long, value_name = "SECONDS")]
    timeout: Option<f64>,
    /// Keep the certificates in this folder.
    #[arg(long, value_name = "DIR")]
    certificates: Option<PathBuf>,
    /// Only instances whose line contains this text.
    #[arg(long, value_name = "TEXT")]
    filter: Option<String>,
}

const HEADER: &str = "folder,onnx,vnnlib,verdict,prove_seconds,check_seconds,check_verdict,cases,certificate_bytes\n";

/// One line of an `instances.csv`.
struct Instance {
    folder: usize,
    /// Position in its file, from 1.
    line: usize,
    model: String,
    property: String,
    timeout: f64,
}

/// The certificate that an instance ended with, and what `scalecheck` said of it.
struct Checked {
    seconds: f64,
    verdict: &'static str,
    cases: usize,
    bytes: u64,
}

/// How an instance ended.
struct Ended {
    folder: usize,
    verdict: &'static str,
    seconds: f64,
    checked: Option<Checked>,
}

impl Ended {
    /// False if an answer was given that `scalecheck` did not confirm.
    fn holds(&self) -> bool {
        let confirmed = self.checked.as_ref().map_or("", |checked| checked.verdict);
        match self.verdict {
            "certified" => confirmed == "verified",
            "refuted" => confirmed == "refuted",
            _ => true,
        }
    }
}

pub fn run(arguments: &Arguments, console: &Console) -> Result<Answer> {
    let prover = std::env::current_exe().context("cannot find the path of this program")?;
    let checker = prover.with_file_name(format!("scalecheck{}", std::env::consts::EXE_SUFFIX));
    ensure!(checker.is_file(), "{} is missing; build or install scalecheck beside scalecert", checker.display());
    let mut instances = Vec::new();
    for (folder, path) in arguments.folders.iter().enumerate() {
        instances.extend(read(folder, path, arguments)?);
    }
    ensure!(!instances.is_empty(), "there are no instances, or none that --filter lets through");
    let temporary = tempfile::tempdir().context("cannot make a temporary folder")?;
    let certificates = arguments.certificates.as_deref().unwrap_or(temporary.path());
    // Rows are added one by one; if this run is interrupted, those that are done stay in this file.
    let partial = PathBuf::from(format!("{}.partial", arguments.output.display()));
    let place = || format!("cannot write {}", partial.display());
    let mut all = earlier(&partial, &instances, &arguments.folders);
    if !all.is_empty() {
        let (known, count, file) = (all.len(), instances.len(), partial.display());
        console.say(format!("{known} of {count} instances are known from {file}; without that file all are done anew"));
    }
    let known = instances.iter().zip(&all).map(|(i, ended)| row(&arguments.folders[i.folder], i, ended));
    let known: String = [HEADER.to_owned()].into_iter().chain(known).collect();
    replace(&partial, known.as_bytes())?;
    let mut rows = File::options().append(true).open(&partial).with_context(place)?;
    let bar = console.bar(instances.len(), "instances")?;
    bar.inc(all.len() as u64);
    for instance in &instances[all.len()..] {
        let name = format!("{} {}", instance.model, instance.property);
        bar.set_message(name.clone());
        let folder = &arguments.folders[instance.folder];
        let kept = certificates.join(certificate_name(&arguments.folders, instance));
        let ended =
            one(&prover, &checker, folder, instance, &kept, &|text| bar.suspend(|| eprintln!("{name}: {text}")))?;
        rows.write_all(row(folder, instance, &ended).as_bytes()).with_context(place)?;
        if !ended.holds() {
            let found = ended.checked.as_ref().map_or("no certificate", |checked| checked.verdict);
            let verdict = ended.verdict;
            bar.suspend(|| eprintln!("{name}: NOT CONFIRMED: scalecert says {verdict}, scalecheck: {found}"));
        }
        all.push(ended);
        bar.inc(1);
    }
    bar.finish_and_clear();
    let target = &arguments.output;
    fs::rename(&partial, target).with_context(|| format!("cannot write {}", target.display()))?;
    let of_folder = |folder: usize| all.iter().filter(|ended| ended.folder == folder).collect::<Vec<_>>();
    let sums: Vec<Sum> = (0..arguments.folders.len()).map(|folder| Sum::of(&of_folder(folder))).collect();
    console.show(&summary(&arguments.folders, &sums, console));
    console.say(format!("wrote {}", target.display()));
    let wrong = all.iter().filter(|ended| !ended.holds()).count();
    console.say(if wrong > 0 {
        format!("NOT CONFIRMED: scalecheck did not confirm {wrong} of the answers; this must never happen, report it")
    } else {
        "scalecheck confirmed every certified and every refuted instance".to_owned()
    });
    let folders: Vec<Value> = arguments.folders.iter().zip(&sums).map(|(folder, sum)| sum.json(folder)).collect();
    let json = json!({ "results": target.display().to_string(), "folders": folders, "not_confirmed": wrong });
    Answer::new(u8::from(wrong > 0), json)
}

/// What an interrupted run found of the first of these instances.
fn earlier(partial: &Path, instances: &[Instance], folders: &[PathBuf]) -> Vec<Ended> {
    let text = fs::read_to_string(partial).unwrap_or_default();
    let Some(rows) = text.strip_prefix(HEADER) else { return vec![] };
    // A run that was stopped may have left its last line unfinished.
    let whole = rows.split_inclusive('\n').filter_map(|row| row.strip_suffix('\n'));
    instances.iter().zip(whole).map_while(|(instance, row)| known(&folders[instance.folder], instance, row)).collect()
}

/// How an instance ended, from its row.
fn known(folder: &Path, instance: &Instance, row: &str) -> Option<Ended> {
    let rest = row.strip_prefix(&about(folder, instance))?;
    let &[verdict, seconds, check, check_verdict, cases, bytes] = &rest.split(',').collect::<Vec<_>>()[..] else {
        return None;
    };
    let checked = |verdict| {
        Some(Checked { seconds: check.parse().ok()?, verdict, cases: cases.parse().ok()?, bytes: bytes.parse().ok()? })
    };
    let one_of = |all: &[&'static str], word: &str| all.iter().copied().find(|known| *known == word);
    let checked = if check.is_empty() { None } else { Some(checked(one_of(&CHECKS, check_verdict)?)?) };
    Some(Ended {
        folder: instance.folder,
        verdict: one_of(&VERDICTS, verdict)?,
        seconds: seconds.parse().ok()?,
        checked,
    })
}

/// The instances of a folder that the filter lets through.
fn read(folder: usize, path: &Path, arguments: &Arguments) -> Result<Vec<Instance>> {
    let path = path.join("instances.csv");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut found = Vec::new();
    for (line, text) in (1..).zip(text.lines()).filter(|(_, text)| !text.trim().is_empty()) {
        let at = || format!("{}:{line}", path.display());
        let fields: Vec<&str> = text.split(',').map(str::trim).collect();
        let &[model, property, timeout] = &fields[..] else {
            bail!("{}: model,property,seconds is needed, not {} fields", at(), fields.len());
        };
        let own: f64 = timeout.parse().with_context(|| format!("{}: `{timeout}` is not a number", at()))?;
        let timeout = arguments.timeout.unwrap_or(own);
        if Duration::try_from_secs_f64(timeout).is_err() {
            bail!("{}: a timeout is a number of seconds that is not negative", at());
        }
        if arguments.filter.as_ref().is_none_or(|wanted| text.contains(wanted)) {
            let (model, property) = (model.to_owned(), property.to_owned());
            found.push(Instance { folder, line, model, property, timeout });
        }
    }
    Ok(found)
}

/// Where the certificate of an instance goes, in a folder named after that of the instance.
fn certificate_name(folders: &[PathBuf], instance: &Instance) -> PathBuf {
    let name = |folder: &PathBuf| {
        let folder = fs::canonicalize(folder).unwrap_or_else(|_| folder.clone());
        folder.file_name().unwrap_or_default().display().to_string()
    };
    let mut folder = name(&folders[instance.folder]);
    if folders[..instance.folder].iter().any(|earlier| name(earlier) == folder) {
        folder += &format!("-{}", instance.folder + 1);
    }
    let stem = |path: &str| Path::new(path).file_stem().unwrap_or_default().display().to_string();
    let file = format!("{:04}-{}-{}.cert.json.gz", instance.line, stem(&instance.model), stem(&instance.property));
    Path::new(&folder).join(file)
}

fn timed(command: &mut Command) -> Result<(Output, f64)> {
    let start = Instant::now();
    let output = command.output().with_context(|| format!("cannot start {}", command.get_program().display()))?;
    Ok((output, start.elapsed().as_secs_f64()))
}

/// Proves and checks one instance; `say` tells what went wrong with it.
fn one(
    prover: &Path,
    checker: &Path,
    folder: &Path,
    instance: &Instance,
    kept: &Path,
    say: &dyn Fn(&str),
) -> Result<Ended> {
    let parent = kept.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
    // One of an earlier run is no answer of this one.
    if kept.exists() {
        fs::remove_file(kept).with_context(|| format!("cannot replace {}", kept.display()))?;
    }
    let mut about = vec!["--model".into(), folder.join(&instance.model).into_os_string()];
    about.extend(["--property".into(), folder.join(&instance.property).into_os_string()]);
    let mut prove = Command::new(prover);
    prove.arg("prove").args(&about).arg("-o").arg(kept).args(["--timeout", &instance.timeout.to_string()]);
    let (output, seconds) = timed(&mut prove)?;
    let verdict = match output.status.code() {
        Some(0) => "certified",
        Some(10) => "refuted",
        Some(20) => "unknown",
        _ => "error",
    };
    if verdict == "error" {
        say(&format!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim()));
    }
    let checked = if kept.exists() { Some(check(checker, &about, kept, say)?) } else { None };
    Ok(Ended { folder: instance.folder, verdict, seconds, checked })
}

fn check(checker: &Path, about: &[std::ffi::OsString], kept: &Path, say: &dyn Fn(&str)) -> Result<Checked> {
    // These certificates are one's own: whatever they need is granted.
    let memory = u64::MAX.to_string();
    let (output, seconds) =
        timed(Command::new(checker).arg("verify").args(about).arg(kept).args(["--max-memory", &memory]))?;
    let of_code = [0, 10, 1, 2, 3, 4].iter().position(|code| output.status.code() == Some(*code));
    let verdict = CHECKS[of_code.unwrap_or(CHECKS.len() - 1)];
    let bytes = fs::read(kept).with_context(|| format!("cannot read {}", kept.display()))?;
    let proofs = |certificate: certificate::Certificate| certificate.answers.into_iter().filter_map(|a| a.proof);
    let cases = match certificate::parse(&bytes, u64::MAX) {
        Ok(certificate) => proofs(certificate).map(|proof| proof.nodes.len()).sum(),
        Err(error) => {
            say(&error.to_string());
            0
        }
    };
    Ok(Checked { seconds, verdict, cases, bytes: bytes.len() as u64 })
}

/// The beginning of an instance's row: what it is about.
fn about(folder: &Path, instance: &Instance) -> String {
    // No name of a line has a comma in it; that of a folder may.
    let folder = folder.display().to_string();
    let quoted = folder.contains([',', '"', '\n']).then(|| format!("\"{}\"", folder.replace('"', "\"\"")));
    format!("{},{},{},", quoted.unwrap_or(folder), instance.model, instance.property)
}

/// The row of an instance in the table of results.
fn row(folder: &Path, instance: &Instance, ended: &Ended) -> String {
    let checked = ended
        .checked
        .as_ref()
        .map_or(",,,".to_owned(), |c| format!("{:.6},{},{},{}", c.seconds, c.verdict, c.cases, c.bytes));
    format!("{}{},{:.6},{checked}\n", about(folder, instance), ended.verdict, ended.seconds)
}

/// What became of the instances of a folder.
struct Sum {
    /// Certified, refuted, unknown, error.
    counts: [usize; 4],
    proving: f64,
    checking: f64,
    /// Time of the checks over that of the prover, where instances were certified.
    ratio: Option<f64>,
    median_bytes: Option<u64>,
    largest_bytes: Option<u64>,
}

const VERDICTS: [&str; 4] = ["certified", "refuted", "unknown", "error"];
/// What `scalecheck` says, by its exit codes 0, 10, 1, 2, 3 and 4, and any other.
const CHECKS: [&str; 7] = ["verified", "refuted", "rejected", "malformed", "mismatch", "limit", "error"];

impl Sum {
    fn of(ended: &[&Ended]) -> Self {
        let certified: Vec<&Ended> = ended.iter().copied().filter(|ended| ended.verdict == "certified").collect();
        let proving = |of: &[&Ended]| of.iter().map(|ended| ended.seconds).sum::<f64>();
        let checking = |of: &[&Ended]| of.iter().filter_map(|e| e.checked.as_ref()).map(|c| c.seconds).sum::<f64>();
        let mut sizes: Vec<u64> = ended.iter().filter_map(|ended| Some(ended.checked.as_ref()?.bytes)).collect();
        sizes.sort_unstable();
        Sum {
            counts: VERDICTS.map(|verdict| ended.iter().filter(|ended| ended.verdict == verdict).count()),
            proving: proving(ended),
            checking: checking(ended),
            ratio: (!certified.is_empty()).then(|| checking(&certified) / proving(&certified)),
            median_bytes: sizes.get(sizes.len() / 2).copied(),
            largest_bytes: sizes.last().copied(),
        }
    }

    fn json(&self, folder: &Path) -> Value {
        let [certified, refuted, unknown, error] = self.counts;
        json!({
            "folder": folder.display().to_string(),
            "certified": certified,
            "refuted": refuted,
            "unknown": unknown,
            "error": error,
            "prove_seconds": self.proving,
            "check_seconds": self.checking,
            "check_over_prove": self.ratio,
            "median_bytes": self.median_bytes,
            "largest_bytes": self.largest_bytes,
        })
    }
}

fn summary(folders: &[PathBuf], sums: &[Sum], console: &Console) -> Table {
    let numbers = ["prove s", "check s", "check / prove", "median", "largest"];
    let mut table = console.table(["folder"].into_iter().chain(VERDICTS).chain(numbers));
    for (folder, sum) in folders.iter().zip(sums) {
        let size = |size: Option<u64>| size.map_or("–".to_owned(), |size| format!("{size} B"));
        let mut cells = vec![folder.display().to_string()];
        cells.extend(sum.counts.map(|count| count.to_string()));
        cells.extend([format!("{:.2}", sum.proving), format!("{:.2}", sum.checking)]);
        cells.push(sum.ratio.map_or("–".to_owned(), |ratio| format!("{ratio:.3}")));
        cells.extend([size(sum.median_bytes), size(sum.largest_bytes)]);
        table.add_row(cells);
    }
    table
}
