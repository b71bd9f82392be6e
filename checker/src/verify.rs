//! From files to a verdict. Only this module constructs a [`Verdict`].

use crate::certificate::{self, Answer, Certificate, Proof};
use crate::claim::{self, Claim, Inputs, Property};
use crate::data;
use crate::describe::describe;
use crate::error::{Class, Code, Error, Result, ensure, error};
use crate::network::Network;
use crate::number::Rational;
use crate::onnx;
use crate::problem::{Cell, Problem};
use crate::rules::{tree, witness};
use num::Zero;
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};

/// What limits a check; exceeding one is an error of class [`Class::Limit`].
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Most multiply–accumulates of one row's proof.
    pub max_work: u64,
}

impl Default for Config {
    fn default() -> Self {
        Config { max_work: 1 << 44 }
    }
}

/// The question: a claim, its model and its data, read from their own bytes.
pub struct Statement {
    claim: Claim,
    network: Network,
    data: Option<(String, String)>,
    claim_digest: String,
    model_digest: String,
    data_digests: Vec<String>,
}

impl Statement {
    /// Reads a claim and the files that it names. `model` replaces the claim's path to the model.
    pub fn load(claim_path: &Path, model: Option<&Path>) -> Result<Statement> {
        let claim_bytes = read(claim_path)?;
        let name = claim_path.display().to_string();
        let text = text(&claim_bytes, &name)?;
        let claim = claim::parse(&name, text)?;
        let folder = claim_path.parent().map(PathBuf::from).unwrap_or_default();
        let model_path = model.map_or_else(|| folder.join(&claim.model), PathBuf::from);
        let model_bytes = read(&model_path)?;
        let network = onnx::read(&model_bytes).map_err(|e| e.within(&model_path.display().to_string()))?;
        let (mut data, mut data_digests) = (None, Vec::new());
        if let Inputs::Rows { file, .. } = &claim.inputs {
            let path = folder.join(file).display().to_string();
            let bytes = read(Path::new(&path))?;
            data_digests.push(digest(&bytes));
            data = Some((path.clone(), self::text(&bytes, &path)?.to_owned()));
        }
        Ok(Statement {
            claim_digest: digest(&claim_bytes),
            model_digest: digest(&model_bytes),
            claim,
            network,
            data,
            data_digests,
        })
    }

    pub fn claim(&self) -> &Claim {
        &self.claim
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
            answers: Vec::new(),
        }
    }

    /// The problems of these rows of the claim, in order.
    pub fn problems(&self, rows: &[usize]) -> impl Iterator<Item = Result<Problem>> {
        let table = self.data.as_ref().map(|(name, text)| data::Table::new(name, text));
        rows.iter().map(move |&row| {
            let x = match (&self.claim.inputs, &table) {
                (Inputs::Rows { .. }, Some(table)) => table.row(row, self.network.input().elements())?,
                (Inputs::Point(x), _) => x.clone(),
                (Inputs::Rows { .. }, None) => Vec::new(),
            };
            Problem::new(&self.network, &self.claim, &x).map_err(|e| e.within(&format!("row {row}")))
        })
    }

    fn check_header(&self, certificate: &Certificate) -> Result<()> {
        let (code, what) = if certificate.model != self.model_digest {
            (Code::ModelMismatch, format!("model {} to {}", certificate.model, self.model_digest))
        } else if certificate.data != self.data_digests {
            (Code::DataMismatch, format!("data {:?} to {:?}", certificate.data, self.data_digests))
        } else if certificate.claim != self.claim_digest {
            (Code::ClaimMismatch, format!("claim {} to {}", certificate.claim, self.claim_digest))
        } else {
            return Ok(());
        };
        Err(error(code, format!("the certificate is about other files; SHA-256 differs: {what}")))
    }
}

/// What was found about one row.
#[derive(Clone, Debug)]
pub enum RowVerdict {
    /// The proof establishes the claim. For a tolerance, the smallest one that it establishes.
    Verified {
        established: Option<Rational>,
    },
    /// The witness breaks the claim: what happens, and the exact coarse outputs clean and perturbed.
    Refuted {
        what: String,
        clean: Vec<Rational>,
        perturbed: Vec<Rational>,
    },
    Rejected(Error),
    /// The certificate has no answer to this row.
    Unanswered,
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

/// A verdict and what it rests on.
pub struct Report {
    verdict: Verdict,
    /// Every row of the claim, in order.
    pub rows: Vec<(usize, RowVerdict)>,
    /// The claim in plain words.
    pub claim: String,
    /// SHA-256 of the model, the claim, and each data file.
    pub digests: Vec<String>,
}

impl Report {
    pub fn verdict(&self) -> Verdict {
        self.verdict
    }
}

/// Checks certificate bytes against a statement. An error means that no verdict was reached.
pub fn verify(statement: &Statement, certificate: &[u8], config: &Config) -> Result<Report> {
    let certificate = certificate::parse(certificate)?;
    statement.check_header(&certificate)?;
    let rows = statement.claim.rows();
    let mut answers: Vec<Option<&Answer>> = vec![None; rows.len()];
    for answer in &certificate.answers {
        let place = format!("row {}", answer.row);
        let Ok(position) = rows.binary_search(&answer.row) else {
            return Err(Error::new(Code::CertificateRow, place, "the claim does not ask about this row"));
        };
        let again = answers[position].replace(answer).is_some();
        ensure(!again, Code::CertificateRow, format!("{place} is answered twice"))?;
    }
    let mut verdicts = Vec::with_capacity(rows.len());
    for ((&row, answer), problem) in rows.iter().zip(answers).zip(statement.problems(&rows)) {
        let problem = problem?;
        let verdict = match answer {
            None => RowVerdict::Unanswered,
            Some(answer) => match check_answer(&problem, &statement.claim.property, answer, config) {
                Ok(verdict) => verdict,
                Err(e) if e.code.class() == Class::Rejected => RowVerdict::Rejected(e),
                Err(e) => return Err(e.within(&format!("row {row}"))),
            },
        };
        verdicts.push((row, verdict));
    }
    // A bad answer rejects the file; a confirmed witness refutes the claim for all rows together; only a proof for
    // every row verifies it.
    let any = |wanted: fn(&RowVerdict) -> bool| verdicts.iter().any(|(_, v)| wanted(v));
    let verdict = if any(|v| matches!(v, RowVerdict::Rejected(_))) {
        Verdict::Rejected
    } else if any(|v| matches!(v, RowVerdict::Refuted { .. })) {
        Verdict::Refuted
    } else if !verdicts.is_empty() && verdicts.iter().all(|(_, v)| matches!(v, RowVerdict::Verified { .. })) {
        Verdict::Verified
    } else {
        Verdict::Rejected
    };
    Ok(Report {
        verdict,
        rows: verdicts,
        claim: describe(&statement.claim),
        digests: [&[statement.model_digest.clone(), statement.claim_digest.clone()][..], &statement.data_digests]
            .concat(),
    })
}

/// Checks one answer against the problem of its row.
pub fn check_answer(problem: &Problem, property: &Property, answer: &Answer, config: &Config) -> Result<RowVerdict> {
    match (&answer.proof, &answer.witness) {
        (Some(proof), None) => {
            let proof = Proof::new(proof, problem)?;
            let established = tree::check(problem, &proof, config.max_work)?;
            Ok(RowVerdict::Verified { established: established_tolerance(problem, property, &established.slack) })
        }
        (None, Some(text)) => {
            let point = witness::parse(&text.perturbation, problem)?;
            let broken = witness::check(problem, &point)?;
            Ok(RowVerdict::Refuted {
                what: problem.cells[broken.cell].meaning.clone(),
                clean: problem.clean.clone(),
                perturbed: broken.coarse,
            })
        }
        _ => {
            let message = "an answer is either a `proof` or a `witness`";
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

/// The bytes of a regular file.
pub fn read(path: &Path) -> Result<Vec<u8>> {
    let name = path.display().to_string();
    let failed = |e: std::io::Error| Error::new(Code::Io, name.clone(), e.to_string());
    let about = std::fs::metadata(path).map_err(failed)?;
    ensure(about.is_file(), Code::Io, "not a regular file").map_err(|e| e.within(&name))?;
    ensure(about.len() <= MAX_FILE, Code::LimitSize, "larger than 4 GiB").map_err(|e| e.within(&name))?;
    std::fs::read(path).map_err(failed)
}

fn text<'a>(bytes: &'a [u8], name: &str) -> Result<&'a str> {
    std::str::from_utf8(bytes).map_err(|_| Error::new(Code::Io, name, "the file is not UTF-8 text"))
}

fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
}
