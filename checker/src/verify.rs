//! From files to a verdict. Only this module constructs a [`Verdict`].

use crate::certificate::{self, Answer, Certificate, Proof};
use crate::chain::{self, Links};
use crate::claim::{self, Claim, Inputs, Property};
use crate::data;
use crate::describe;
use crate::error::{Class, Code, Error, Result, ensure, error, is_plain};
use crate::network::Network;
use crate::number::Rational;
use crate::onnx;
use crate::problem::{Cell, Clean, Problem};
use crate::rules::{tree, witness};
use crate::vnnlib::{self, Region};
use num::{Signed, Zero};
use sha2::{Digest, Sha256};
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What limits a check; exceeding one is an error of class [`Class::Limit`].
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Most multiply–accumulates of one row's proof.
    pub max_work: u64,
    /// Most memory that a certificate may need, by what its text says before it is read, in bytes.
    pub max_memory: u64,
}

impl Default for Config {
    fn default() -> Self {
        Config { max_work: 1 << 44, max_memory: 1 << 29 }
    }
}

/// The files that a claim reads besides its model: each once, with its digest, in the order in which it names them.
#[derive(Default)]
pub struct Files(Vec<File>);

struct File {
    path: String,
    digest: String,
    bytes: Arc<Vec<u8>>,
}

impl Files {
    /// A file that an item names, relative to the document that names it: its path and its bytes.
    pub fn open(&mut self, item: &claim::Item<'_>) -> Result<(String, Arc<Vec<u8>>)> {
        let name = item.text()?;
        self.read(&folder(Path::new(item.document())).join(name))
            .or_else(|e| item.error(e.code, format!("{}: {}", e.place, e.message)))
    }

    fn read(&mut self, path: &Path) -> Result<(String, Arc<Vec<u8>>)> {
        let path = path.display().to_string();
        if let Some(file) = self.0.iter().find(|file| file.path == path) {
            return Ok((path, Arc::clone(&file.bytes)));
        }
        let bytes = Arc::new(read(Path::new(&path))?);
        self.0.push(File { path: path.clone(), digest: digest(&bytes), bytes: Arc::clone(&bytes) });
        Ok((path, bytes))
    }
}

/// The folder that a file is in.
pub(crate) fn folder(path: &Path) -> PathBuf {
    path.parent().map(PathBuf::from).unwrap_or_default()
}

/// The question: a claim, its model and its data, read from their own bytes.
pub struct Statement {
    claim: Claim,
    network: Network,
    data: Option<(String, String)>,
    claim_digest: String,
    model_digest: String,
    /// Of the file of clean inputs, then of every ladder, array and property file in the order in which they are named.
    data_digests: Vec<String>,
    /// Sizes of all files together.
    bytes: u64,
}

impl Statement {
    /// Reads a claim and the files that it names. `model` replaces the claim's path to the model.
    pub fn load(claim_path: &Path, model: Option<&Path>) -> Result<Statement> {
        let claim_bytes = read(claim_path)?;
        Self::of(claim_path, &claim_bytes, model)
    }

    /// The same for a claim that is not on disk yet; `claim_path` is where it will be.
    pub fn of(claim_path: &Path, claim_bytes: &[u8], model: Option<&Path>) -> Result<Statement> {
        let (claim, files) = Self::parse(claim_path, claim_bytes)?;
        let model_path = model.map_or_else(|| folder(claim_path).join(&claim.model), PathBuf::from);
        let model = read(&model_path)?;
        Self::assemble(claim, digest(claim_bytes), &folder(claim_path), (&model_path, &model), files)
    }

    /// The same about a model whose bytes were read before; its path is for errors.
    pub fn about(claim_path: &Path, claim_bytes: &[u8], model: (&Path, &[u8])) -> Result<Statement> {
        let (claim, files) = Self::parse(claim_path, claim_bytes)?;
        Self::assemble(claim, digest(claim_bytes), &folder(claim_path), model, files)
    }

    /// A claim, and the files that it names besides model and inputs.
    fn parse(claim_path: &Path, claim_bytes: &[u8]) -> Result<(Claim, Files)> {
        let name = claim_path.display().to_string();
        let mut files = Files::default();
        let claim = claim::parse(&name, text(claim_bytes, &name)?, &mut files)?;
        Ok((claim, files))
    }

    /// The statement that a VNN-LIB file makes about a model, without a claim file.
    pub fn of_query(model: &Path, property: &Path) -> Result<Statement> {
        let mut files = Files::default();
        let (path, bytes) = files.read(property)?;
        let name = property.file_name().map(|name| name.display().to_string()).filter(|name| is_plain(name));
        let query = vnnlib::parse(&path, &name.unwrap_or_else(|| "the property".to_owned()), text(&bytes, &path)?)?;
        let model_bytes = read(model)?;
        Self::assemble(
            Claim::of_query(model.into(), query),
            digest(&bytes),
            Path::new(""),
            (model, &model_bytes),
            files,
        )
    }

    /// Parses the model of a claim, and reads the clean inputs; `folder` is where their file is.
    fn assemble(
        mut claim: Claim,
        claim_digest: String,
        folder: &Path,
        (model_path, model_bytes): (&Path, &[u8]),
        files: Files,
    ) -> Result<Statement> {
        let network = onnx::read(model_bytes).map_err(|e| e.within(&model_path.display().to_string()))?;
        if let Some(other) = claim.replace.take() {
            claim.replace = Some(other.beside(&network));
        }
        let (mut data, mut data_digests) = (None, Vec::new());
        let mut size = model_bytes.len() as u64;
        if let Inputs::Rows { file, .. } = &claim.inputs {
            let path = folder.join(file).display().to_string();
            let bytes = read(Path::new(&path))?;
            size += bytes.len() as u64;
            data_digests.push(digest(&bytes));
            data = Some((path.clone(), text(&bytes, &path)?.to_owned()));
        }
        if let Inputs::Regions(query) = &claim.inputs {
            query.check(&network)?;
        }
        size += files.0.iter().map(|file| file.bytes.len() as u64).sum::<u64>();
        data_digests.extend(files.0.into_iter().map(|file| file.digest));
        let model_digest = digest(model_bytes);
        Ok(Statement { claim_digest, model_digest, claim, network, data, data_digests, bytes: size })
    }

    pub fn claim(&self) -> &Claim {
        &self.claim
    }

    /// SHA-256 of the model.
    pub fn model(&self) -> &str {
        &self.model_digest
    }

    /// SHA-256 of every other file that the claim reads, in the order of the certificate's `data`.
    pub fn data(&self) -> &[String] {
        &self.data_digests
    }

    /// Size of the model and all other files that the claim reads.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// SHA-256 of the model that takes its place.
    pub fn replacement(&self) -> Option<&str> {
        self.claim.replace.as_ref().map(|other| &other.digest[..])
    }

    pub fn network(&self) -> &Network {
        &self.network
    }

    /// A certificate's header for these files, with no answers yet.
    pub fn header(&self, generator: &str) -> Certificate {
        Certificate {
            format: certificate::FORMAT.to_owned(),
            generator: generator.to_owned(),
            claim: self.claim_digest.clone(),
            model: self.model_digest.clone(),
            data: self.data_digests.clone(),
            links: Vec::new(),
            answers: Vec::new(),
        }
    }

    /// The exact clean values of these rows of the claim, in order.
    pub fn clean(&self, rows: &[usize]) -> impl Iterator<Item = Result<Clean>> {
        let table = self.data.as_ref().map(|(name, text)| data::Table::new(name, text));
        rows.iter().map(move |&row| {
            let located = |e: Error| e.within(&format!("row {row}"));
            if let Inputs::Regions(query) = &self.claim.inputs {
                return Clean::of_region(&self.network, query, row).map_err(located);
            }
            let x = match (&self.claim.inputs, &table) {
                (Inputs::Rows { .. }, Some(table)) => table.row(row, self.network.input().elements())?,
                (Inputs::Point(x), _) => x.clone(),
                (Inputs::Box(ends), _) => {
                    return Clean::of_box(&self.network, &self.claim, ends.as_ref()).map_err(located);
                }
                _ => Vec::new(),
            };
            Clean::new(&self.network, &self.claim, &x).map_err(located)
        })
    }

    /// The problem of one setting at a clean input.
    pub fn problem(&self, setting: usize, row: usize, clean: &Clean) -> Result<Problem> {
        let problem = Problem::new(&self.network, &self.claim, &self.claim.settings[setting], clean);
        problem.map_err(|e| e.within(&self.place(setting, row)))
    }

    /// A row, and the setting if there are several.
    fn place(&self, setting: usize, row: usize) -> String {
        if self.claim.settings.len() > 1 { format!("setting {setting}, row {row}") } else { format!("row {row}") }
    }

    fn check_header(&self, certificate: &Certificate) -> Result<()> {
        let (code, what, theirs, yours) = if certificate.model != self.model_digest {
            (Code::ModelMismatch, "model", certificate.model.clone(), self.model_digest.clone())
        } else if certificate.data != self.data_digests {
            (Code::DataMismatch, "data", certificate.data.join(", "), self.data_digests.join(", "))
        } else if certificate.claim != self.claim_digest {
            (Code::ClaimMismatch, "claim", certificate.claim.clone(), self.claim_digest.clone())
        } else {
            return Ok(());
        };
        let advice = "have one made for this, or take what it was made for";
        Err(error(
            code,
            format!("the certificate is about another {what}; {advice}; SHA-256 there: {theirs}, here: {yours}"),
        ))
    }
}

/// What was found about one row.
#[derive(Clone, Debug)]
pub enum RowVerdict {
    /// The proof, or a chain of so many links, establishes the claim. For a tolerance, the smallest one that it establishes.
    Verified {
        established: Option<Rational>,
        links: usize,
    },
    /// The proof of another setting establishes the claim, its perturbations being among those of that setting.
    Served {
        by: usize,
        established: Option<Rational>,
    },
    /// The witness reaches what the claim says that some perturbation reaches: the largest change of a coarse output.
    Reached {
        change: Rational,
    },
    /// The witness breaks the claim: what happens, and the exact coarse outputs clean and perturbed. A region has no clean
    /// ones.
    Refuted {
        what: String,
        clean: Vec<Rational>,
        perturbed: Vec<Rational>,
    },
    Rejected(Error),
    /// The certificate has no answer to this row.
    Unanswered,
}

impl RowVerdict {
    /// The tolerance that a proof establishes.
    pub fn established(&self) -> Option<&Rational> {
        match self {
            RowVerdict::Verified { established, .. } | RowVerdict::Served { established, .. } => established.as_ref(),
            _ => None,
        }
    }
}

/// The answer to the whole claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Verified,
    Refuted,
    Rejected,
}

impl Verdict {
    /// The word that is printed first.
    pub fn word(self) -> &'static str {
        match self {
            Verdict::Verified => "VERIFIED",
            Verdict::Refuted => "REFUTED",
            Verdict::Rejected => "REJECTED",
        }
    }

    /// The exit code of `scalecheck`.
    pub fn exit_code(self) -> u8 {
        match self {
            Verdict::Verified => 0,
            Verdict::Refuted => 10,
            Verdict::Rejected => 1,
        }
    }
}

/// What was found about one setting of the claim.
#[derive(Debug)]
pub struct SettingReport {
    pub verdict: Verdict,
    /// The setting in plain words.
    pub claim: String,
    /// Every row of the claim, in order.
    pub rows: Vec<(usize, RowVerdict)>,
}

/// Two verified settings about one rung: all that is finer, and the band above it. The scales are separated there if the
/// band does more, that is if the gap is above 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Separation {
    pub below: usize,
    pub band: usize,
    /// What the band provably does, over the most that everything finer can do; `None` if the latter is nothing.
    pub gap: Option<Rational>,
}

/// A verdict and what it rests on.
pub struct Report {
    verdict: Verdict,
    pub settings: Vec<SettingReport>,
    pub separations: Vec<Separation>,
    /// The whole claim in plain words.
    pub claim: String,
    /// SHA-256 of the model, the claim, and each data file.
    pub digests: Vec<String>,
    /// The certificate's format.
    pub format: String,
    /// SHA-256 of the claim and the certificate of each link.
    pub links: Vec<[String; 2]>,
}

impl Report {
    pub fn verdict(&self) -> Verdict {
        self.verdict
    }
}

/// Checks certificate bytes against a statement. An error means that no verdict was reached.
pub fn verify(statement: &Statement, certificate: &[u8], config: &Config) -> Result<Report> {
    verify_with(statement, certificate, Path::new(""), config, |_, _| ())
}

/// The same of a certificate in the folder `from`; `progress` is told how many of how many answers are checked.
pub fn verify_with(
    statement: &Statement,
    certificate: &[u8],
    from: &Path,
    config: &Config,
    progress: impl Fn(usize, usize),
) -> Result<Report> {
    verify_in(statement, certificate, from, config, &mut Links::default(), |_, _| (), progress)
}

/// The same as a part of a chain, with the links that are known; `note` is told the region of every row.
pub(crate) fn verify_in(
    statement: &Statement,
    certificate: &[u8],
    from: &Path,
    config: &Config,
    links: &mut Links,
    mut note: impl FnMut(usize, Option<&Region>),
    progress: impl Fn(usize, usize),
) -> Result<Report> {
    let parse = || certificate::parse(certificate, config.max_memory);
    let mut certificate = parse()?;
    statement.check_header(&certificate)?;
    let named = std::mem::take(&mut certificate.links);
    let linked = if named.is_empty() {
        Vec::new()
    } else {
        // Not kept while the links are checked, each of which may have links: it is read again.
        drop(certificate);
        let linked = links.check(&named, from, config)?;
        certificate = parse()?;
        linked
    };
    let (rows, settings) = (statement.claim.rows(), &statement.claim.settings);
    let mut answers: Vec<Vec<Option<&Answer>>> = vec![vec![None; settings.len()]; rows.len()];
    for answer in &certificate.answers {
        let place = statement.place(answer.setting, answer.row);
        let (Ok(position), true) = (rows.binary_search(&answer.row), answer.setting < settings.len()) else {
            return Err(Error::new(Code::CertificateRow, place, "the claim does not ask about this"));
        };
        let again = answers[position][answer.setting].replace(answer).is_some();
        ensure(!again, Code::CertificateRow, format!("{place} is answered twice"))?;
    }
    let mut found: Vec<Vec<(usize, RowVerdict)>> = settings.iter().map(|_| Vec::new()).collect();
    let mut done = 0;
    for ((&row, answers), clean) in rows.iter().zip(answers).zip(statement.clean(&rows)) {
        let clean = clean?;
        note(row, clean.region());
        let mut verdicts = Vec::with_capacity(settings.len());
        for (s, answer) in answers.iter().enumerate() {
            // Deriving the problem finds what is wrong with the claim, answered or not.
            let problem = statement.problem(s, row, &clean)?;
            let checked = answer.map(|answer| -> Result<RowVerdict> {
                let verdict = check_answer(&problem, &settings[s].property, answer, config)?;
                let Some(steps) = &answer.chain else { return Ok(verdict) };
                let total = chain::sum(statement, (&settings[s], row, clean.region()), steps, &linked)?;
                Ok(RowVerdict::Verified { established: Some(total), links: steps.len() })
            });
            verdicts.push(match checked {
                None => RowVerdict::Unanswered,
                Some(Ok(verdict)) => verdict,
                Some(Err(e)) if e.code.class() == Class::Rejected => RowVerdict::Rejected(e),
                Some(Err(e)) => return Err(e.within(&statement.place(s, row))),
            });
            done += 1;
            progress(done, rows.len() * settings.len());
        }
        for (s, answer) in answers.iter().enumerate() {
            if let Some(by) = answer.and_then(|answer| answer.served_by) {
                verdicts[s] = serve(&statement.claim, &verdicts, s, by).unwrap_or_else(RowVerdict::Rejected);
            }
        }
        found.iter_mut().zip(verdicts).for_each(|(found, verdict)| found.push((row, verdict)));
    }
    let report = |(setting, rows): (&claim::Setting, Vec<(usize, RowVerdict)>)| SettingReport {
        verdict: setting_verdict(&setting.property, &rows),
        claim: describe::setting(&statement.claim, setting, false),
        rows,
    };
    let settings: Vec<SettingReport> = settings.iter().zip(found).map(report).collect();
    // A bad answer rejects the file; a confirmed witness refutes the claim; only all settings together verify it.
    let any = |wanted: fn(&RowVerdict) -> bool| settings.iter().flat_map(|s| &s.rows).any(|(_, v)| wanted(v));
    let verdict = if any(|v| matches!(v, RowVerdict::Rejected(_))) {
        Verdict::Rejected
    } else if settings.iter().any(|s| s.verdict == Verdict::Refuted) {
        Verdict::Refuted
    } else if !settings.is_empty() && settings.iter().all(|s| s.verdict == Verdict::Verified) {
        Verdict::Verified
    } else {
        Verdict::Rejected
    };
    Ok(Report {
        verdict,
        separations: if verdict == Verdict::Verified { separations(&statement.claim, &settings) } else { vec![] },
        settings,
        claim: describe::describe(&statement.claim),
        format: certificate.format,
        links: certificate.links.into_iter().map(|link| [link.claim.sha256, link.certificate.sha256]).collect(),
        digests: [&[statement.model_digest.clone(), statement.claim_digest.clone()][..], &statement.data_digests]
            .concat(),
    })
}

/// The pairs of verified settings of which one is about all that is finer than the other's band.
fn separations(claim: &Claim, reports: &[SettingReport]) -> Vec<Separation> {
    let verified = |i: &usize| reports[*i].verdict == Verdict::Verified;
    let mut found = Vec::new();
    for band in (0..reports.len()).filter(verified) {
        let changes = reports[band].rows.iter().filter_map(|(_, v)| match v {
            RowVerdict::Reached { change } => Some(change),
            _ => None,
        });
        let Some(change) = changes.max() else { continue };
        for below in (0..reports.len()).filter(verified) {
            let most = reports[below].rows.iter().filter_map(|(_, v)| v.established()).max();
            if let (Some(most), true) = (most, claim.settings[below].is_below(&claim.settings[band]))
                && !(change.is_zero() && most.is_zero())
            {
                let gap = (!most.is_zero()).then(|| change / most);
                found.push(Separation { below, band, gap });
            }
        }
    }
    found
}

/// What the rows of one setting come to: a witness for some row reaches, a proof for every row holds.
fn setting_verdict(property: &Property, rows: &[(usize, RowVerdict)]) -> Verdict {
    let any = |wanted: fn(&RowVerdict) -> bool| rows.iter().any(|(_, v)| wanted(v));
    let holds = |v: &RowVerdict| matches!(v, RowVerdict::Verified { .. } | RowVerdict::Served { .. });
    match property {
        _ if any(|v| matches!(v, RowVerdict::Rejected(_))) => Verdict::Rejected,
        Property::Reaches(_) if any(|v| matches!(v, RowVerdict::Reached { .. })) => Verdict::Verified,
        Property::Reaches(_) => Verdict::Rejected,
        _ if any(|v| matches!(v, RowVerdict::Refuted { .. })) => Verdict::Refuted,
        _ if !rows.is_empty() && rows.iter().all(|(_, v)| holds(v)) => Verdict::Verified,
        _ => Verdict::Rejected,
    }
}

/// The verdict on a setting at one row through the proof of another setting at that row.
///
/// Sound because a setting that covers another has all of its perturbations: what none of those does, none of these
/// does, so the tolerance that is established there holds here.
fn serve(claim: &Claim, verdicts: &[RowVerdict], setting: usize, by: usize) -> Result<RowVerdict> {
    let refuse = |message: String| Err(error(Code::ServedBy, message));
    let (Some(server), Some(served)) = (claim.settings.get(by), claim.settings.get(setting)) else {
        return refuse(format!("there is no setting {by}"));
    };
    let RowVerdict::Verified { established, .. } = &verdicts[by] else {
        return refuse(format!("setting {by} has no verified proof of its own for this row"));
    };
    if !server.covers(served) {
        return refuse(format!("the perturbations or outputs of setting {by} do not include those of this setting"));
    }
    let enough = match (&served.property, &server.property, established) {
        (Property::Tolerance(tolerance), Property::Tolerance(_), Some(established)) => established <= tolerance,
        (Property::Winner, Property::Winner, _) => true,
        _ => false,
    };
    if !enough {
        return refuse(format!("what setting {by} establishes is not what this setting claims"));
    }
    Ok(RowVerdict::Served { by, established: established.clone() })
}

/// Checks one answer against the problem of its row. One that another setting serves, or a chain, is left open.
pub fn check_answer(problem: &Problem, property: &Property, answer: &Answer, config: &Config) -> Result<RowVerdict> {
    match (&answer.proof, &answer.witness, answer.served_by, &answer.chain) {
        (Some(proof), None, None, None) if !matches!(property, Property::Reaches(_)) => {
            let proof = Proof::new(proof, problem)?;
            let established = tree::check(problem, &proof, config.max_work)?;
            let established = established_tolerance(problem, property, &established.slack);
            Ok(RowVerdict::Verified { established, links: 0 })
        }
        (None, Some(text), None, None) => {
            let point = witness::read(text, problem)?;
            let reached = witness::check(problem, &point)?;
            if let Property::Reaches(_) = property {
                let changes = reached.clean.iter().zip(&reached.coarse).map(|(c, p)| (p - c).abs());
                return Ok(RowVerdict::Reached { change: changes.max().unwrap_or_default() });
            }
            Ok(RowVerdict::Refuted {
                what: problem.cells[reached.cell].meaning.clone(),
                clean: if matches!(property, Property::Unsafe) { vec![] } else { reached.clean },
                perturbed: reached.coarse,
            })
        }
        (None, None, Some(_), None) | (None, None, None, Some(_)) => Ok(RowVerdict::Unanswered),
        _ => {
            let message = "an answer is exactly one of `proof`, `witness`, `served_by` and `chain`; \
                           `reaches` needs a `witness`";
            Err(Error::new(Code::CertificateFormat, format!("row {}", answer.row), message))
        }
    }
}

/// The smallest tolerance that slacks establish: the claim's tolerance plus the worst slack, in units of the output.
pub fn established_tolerance(problem: &Problem, property: &Property, slack: &[Option<Rational>]) -> Option<Rational> {
    let Property::Tolerance(tolerance) = property else {
        return None;
    };
    let established = |(cell, slack): (&Cell, &Option<Rational>)| {
        slack.as_ref().map_or_else(Rational::zero, |slack| (tolerance + slack / &cell.unit).max(Rational::zero()))
    };
    problem.cells.iter().zip(slack).map(established).max()
}

/// Largest file that is read.
const MAX_FILE: u64 = 1 << 32;

/// The bytes of a regular file. One that claims to be empty is, whatever it would say if it were asked, as some files do
/// that a system makes up.
pub fn read(path: &Path) -> Result<Vec<u8>> {
    let name = path.display().to_string();
    let failed = |e: std::io::Error| {
        let missing = "there is no such file; paths in a claim or a policy start from the folder that it is in";
        let message = if e.kind() == ErrorKind::NotFound { missing.to_owned() } else { e.to_string() };
        Error::new(Code::Io, name.clone(), message)
    };
    let regular = |about: std::fs::Metadata| {
        ensure(about.is_file(), Code::Io, "not a regular file").map_err(|e| e.within(&name))?;
        ensure(about.len() <= MAX_FILE, Code::LimitSize, "larger than 4 GiB").map_err(|e| e.within(&name))?;
        Ok(about.len())
    };
    // Asked before it is opened, since to open a pipe is to wait for a writer, and again of what was opened, since the name
    // may mean another file by then.
    regular(std::fs::metadata(path).map_err(failed)?)?;
    let file = std::fs::File::open(path).map_err(failed)?;
    let length = regular(file.metadata().map_err(failed)?)?;
    let mut bytes = Vec::new();
    file.take(length).read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}

fn text<'a>(bytes: &'a [u8], name: &str) -> Result<&'a str> {
    std::str::from_utf8(bytes).map_err(|_| Error::new(Code::Io, name, "the file is not UTF-8 text"))
}

/// SHA-256, in hexadecimal.
pub fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
}
