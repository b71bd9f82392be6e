//! The gate: whether the files that are about to be deployed have what a policy asks for. Nothing is remembered: every
//! certificate is checked anew, against the bytes that are there.

mod attest;
mod policy;
mod report;

pub use attest::statement as attestation;
pub use policy::{Policy, signed_by};
pub use report::{Format, write};

use crate::claim::Property;
use crate::error::{Class, Error};
use crate::number::Rational;
use crate::verify::{Config, Report, RowVerdict, SettingReport, Statement, digest, folder, read, verify_with};
use policy::{Model, Requirement};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What became of one requirement.
pub struct Finding {
    /// Name of the claim file, as the policy gives it.
    pub claim: String,
    pub certificate: String,
    /// SHA-256 of both as they were read; empty for what was not.
    pub claim_digest: String,
    pub certificate_digest: String,
    /// SHA-256 of the other files that the claim reads.
    pub data_digests: Vec<String>,
    pub model: String,
    /// SHA-256 of the model as it was read; empty if it was not.
    pub model_digest: String,
    /// SHA-256 of the model whose place it takes, if it does.
    pub original_digest: Option<String>,
    /// The claim in words, once it was read.
    pub words: String,
    /// Rows that are certified, of all rows, in the setting where they are fewest.
    pub certified: usize,
    pub rows: usize,
    /// The largest tolerance that the proofs establish.
    pub tolerance: Option<Rational>,
    /// Who signed the certificate, if the policy asks.
    pub signer: Option<String>,
    /// Why the gate stays closed.
    pub failure: Option<Failure>,
}

/// Why a requirement is not met: a stable code, and in words what to do.
#[derive(Clone, Debug)]
pub struct Failure {
    pub code: String,
    pub message: String,
}

impl Failure {
    fn new(code: &str, message: impl Into<String>) -> Self {
        Failure { code: code.to_owned(), message: message.into() }
    }
}

/// Checks every model and every requirement of a policy, on all processors.
pub fn check(policy: &Policy, config: &Config) -> Vec<Finding> {
    let next = AtomicUsize::new(0);
    let found: Mutex<Vec<(usize, Finding)>> = Mutex::new(Vec::new());
    let models: Vec<Deployed> = policy.models.iter().map(Deployed::read).collect();
    let work = || {
        loop {
            let position = next.fetch_add(1, Ordering::Relaxed);
            let Some(requirement) = policy.requirements.get(position) else { break };
            let finding = finding(policy, &models, requirement, config);
            found.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push((position, finding));
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        // One that cannot be started leaves its work to the others, and to this one.
        for _ in 1..threads {
            let _ = std::thread::Builder::new().spawn_scoped(scope, work);
        }
        work();
    });
    let mut found = found.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    found.sort_by_key(|(position, _)| *position);
    found.into_iter().map(|(_, finding)| finding).collect()
}

/// A model as it was read, once for all that is required of it: what is checked is what was compared with the policy.
struct Deployed {
    /// SHA-256 of what was read; empty if nothing was.
    digest: String,
    /// The bytes, if they are those that the policy names.
    bytes: Result<Vec<u8>, Failure>,
}

impl Deployed {
    fn read(model: &Model) -> Self {
        let bytes = match read(&model.path) {
            Ok(bytes) => bytes,
            Err(e) => {
                let failure = Failure::new("model-missing", format!("{e}; put the model there"));
                return Deployed { digest: String::new(), bytes: Err(failure) };
            }
        };
        let digest = digest(&bytes);
        if digest == model.sha256 {
            return Deployed { digest, bytes: Ok(bytes) };
        }
        let message = format!(
            "{} has the SHA-256 {digest}, the policy asks for {}; deploy that file, or have the new one certified and name \
             it in the policy",
            model.name, model.sha256
        );
        Deployed { digest, bytes: Err(Failure::new("model-stale", message)) }
    }
}

impl Finding {
    /// Nothing is known yet of a claim and its certificate.
    fn new(claim: &str, certificate: &str, model: &str) -> Self {
        Finding {
            claim: claim.to_owned(),
            certificate: certificate.to_owned(),
            claim_digest: String::new(),
            certificate_digest: String::new(),
            data_digests: vec![],
            model: model.to_owned(),
            model_digest: String::new(),
            original_digest: None,
            words: String::new(),
            certified: 0,
            rows: 0,
            tolerance: None,
            signer: None,
            failure: None,
        }
    }
}

/// What there is to report if the policy itself could not be read: one finding, in the place of a claim's the policy's file.
pub fn refused(path: &Path, e: &Error) -> (Policy, [Finding; 1]) {
    let name = path.display().to_string();
    let policy = Policy { name, models: vec![], requirements: vec![], signers: vec![], oldest_format: String::new() };
    let mut finding = Finding::new(&path.file_name().unwrap_or_default().display().to_string(), "", "");
    finding.failure = Some(Failure::new(e.code.as_str(), e.to_string()));
    (policy, [finding])
}

fn finding(policy: &Policy, models: &[Deployed], requirement: &Requirement, config: &Config) -> Finding {
    let model = &policy.models[requirement.model];
    let mut finding = Finding::new(&requirement.claim_name, &requirement.certificate_name, &model.name);
    finding.model_digest.clone_from(&models[requirement.model].digest);
    finding.failure = match &models[requirement.model].bytes {
        Ok(bytes) => met(policy, (model, bytes), requirement, config, &mut finding).err(),
        Err(failure) => Some(failure.clone()),
    };
    finding
}

/// Whether one requirement is met; what is found on the way is noted.
fn met(
    policy: &Policy,
    (model, model_bytes): (&Model, &[u8]),
    requirement: &Requirement,
    config: &Config,
    finding: &mut Finding,
) -> Result<(), Failure> {
    let missing = |code: &str, advice: &str, e: Error| Failure::new(code, format!("{e}; {advice}"));
    let claim = read(&requirement.claim)
        .map_err(|e| missing("claim-missing", "put the claim there, or take it out of the policy", e))?;
    finding.claim_digest = digest(&claim);
    if let Some(pinned) = requirement.sha256.as_ref().filter(|pinned| **pinned != finding.claim_digest) {
        let message = format!(
            "{} has the SHA-256 {}, the policy asks for {pinned}; restore the claim, or review the new one and name its digest",
            finding.claim, finding.claim_digest
        );
        return Err(Failure::new("claim-tampered", message));
    }
    let bytes = read(&requirement.certificate).map_err(|e| {
        missing("certificate-missing", &format!("make one: scalecert prove {}", requirement.claim.display()), e)
    })?;
    finding.certificate_digest = digest(&bytes);
    if !requirement.signers.is_empty() {
        finding.signer = Some(signer(policy, requirement, &bytes)?);
    }
    let statement = match &requirement.original {
        Some(_) => Statement::of(&requirement.claim, &claim, None),
        None => Statement::about(&requirement.claim, &claim, (&model.path, model_bytes)),
    };
    let statement = statement.map_err(not_checked)?;
    let replaces = requirement.original.is_some();
    let about = if replaces { statement.replacement() } else { Some(statement.model()) };
    if about != Some(&model.sha256) {
        let role = if replaces { "the `replace` of the claim" } else { "the model, as it is now," };
        let message = format!(
            "{role} has the SHA-256 {}, the policy asks for {} of {}; have that one certified",
            about.unwrap_or("of no file"),
            model.sha256,
            model.name
        );
        return Err(Failure::new("model-other", message));
    }
    if let Some(original) = requirement.original.as_ref().filter(|original| *original != statement.model()) {
        let message = format!(
            "the claim compares it with a model of the SHA-256 {}, the policy asks for {original}; restore that model, or review \
             the other one and name its digest",
            statement.model()
        );
        return Err(Failure::new("original-other", message));
    }
    finding.original_digest.clone_from(&requirement.original);
    if replaces && !statement.claim().truncate.is_empty() {
        let message = "the claim is about that model with tensors truncated, which is another one; have the model certified as it is";
        return Err(Failure::new("model-other", message.to_owned()));
    }
    finding.data_digests = statement.data().to_vec();
    if let Some(pinned) = requirement.data.as_ref().filter(|pinned| **pinned != finding.data_digests) {
        let message = format!(
            "the data of {} have the SHA-256 {:?}, the policy asks for {pinned:?}; restore the files, or review the new ones and \
             name their digests",
            finding.claim, finding.data_digests
        );
        return Err(Failure::new("data-tampered", message));
    }
    let from = folder(&requirement.certificate);
    let report = verify_with(&statement, &bytes, &from, config, |_, _| ()).map_err(not_checked)?;
    if age(&report.format) < age(&policy.oldest_format) {
        let message = format!(
            "{} has the format {}, the policy asks for {} or a later one; have it made again",
            finding.certificate, report.format, policy.oldest_format
        );
        return Err(Failure::new("format-expired", message));
    }
    finding.words.clone_from(&report.claim);
    finding.tolerance =
        report.settings.iter().flat_map(|s| &s.rows).filter_map(|(_, v)| v.established().cloned()).max();
    enough(&statement, &report, requirement, finding)
}

/// The number at the end of a format's name.
fn age(format: &str) -> Option<u32> {
    format.rsplit('/').next().and_then(|number| number.parse().ok())
}

/// Why a claim or its certificate could not be checked.
fn not_checked(e: Error) -> Failure {
    let advice = match e.code.class() {
        Class::Mismatch => "the certificate is about other files; have it made again for these",
        Class::Limit => "raise the limit that it names, or have a smaller certificate made",
        Class::Malformed | Class::Rejected => "restore the file, or have the certificate made again",
    };
    Failure::new(e.code.as_str(), format!("{e}; {advice}"))
}

/// Enough rows of every setting are certified, and no answer is rejected.
fn enough(
    statement: &Statement,
    report: &Report,
    requirement: &Requirement,
    finding: &mut Finding,
) -> Result<(), Failure> {
    let rejected = report.settings.iter().flat_map(|s| &s.rows).find_map(|(row, verdict)| match verdict {
        RowVerdict::Rejected(e) => {
            Some(format!("row {row} of {}: {e}; have the certificate made again", finding.certificate))
        }
        _ => None,
    });
    if let Some(message) = rejected {
        return Err(Failure::new("answer-rejected", message));
    }
    let count = |(setting, property): (&SettingReport, &Property)| {
        let certified = setting.rows.iter().filter(|(_, verdict)| match verdict {
            RowVerdict::Verified { .. } | RowVerdict::Served { .. } => true,
            RowVerdict::Reached { .. } => matches!(property, Property::Reaches(_)),
            RowVerdict::Refuted { .. } | RowVerdict::Rejected(_) | RowVerdict::Unanswered => false,
        });
        // One row that reaches it is all that `reaches` claims.
        match (certified.count(), property) {
            (1.., Property::Reaches(_)) => (setting.rows.len(), setting.rows.len()),
            (count, _) => (count, setting.rows.len()),
        }
    };
    let properties = statement.claim().settings.iter().map(|setting| &setting.property);
    let counts = report.settings.iter().zip(properties).map(count);
    (finding.certified, finding.rows) = counts.min().unwrap_or((0, 0));
    let share = |n: usize| Rational::from_integer(n.into());
    if finding.rows == 0 || share(finding.certified) < &requirement.certified * share(finding.rows) {
        let message = format!(
            "{} of {} rows are certified, the policy asks for {} of them; prove more rows, or ask for fewer",
            finding.certified, finding.rows, requirement.certified
        );
        return Err(Failure::new("rows-missing", message));
    }
    Ok(())
}

/// The name of a signer that the requirement accepts and who signed these bytes.
fn signer(policy: &Policy, requirement: &Requirement, bytes: &[u8]) -> Result<String, Failure> {
    let path = policy::signature_path(&requirement.certificate);
    let advice = format!("have it signed: scalecert sign {} --key KEY", requirement.certificate.display());
    let unsigned = |e: Error| Failure::new("certificate-unsigned", format!("{e}; {advice}"));
    let signature = read(&path).map_err(unsigned)?;
    let accepted = policy.signers.iter().filter(|(name, _)| requirement.signers.contains(name));
    let found = accepted.clone().find(|(_, key)| signed_by(key, bytes, &signature));
    found.map(|(name, _)| name.clone()).ok_or_else(|| {
        let names: Vec<&str> = accepted.map(|(name, _)| &name[..]).collect();
        let message =
            format!("{} is no signature of this certificate by {}; {advice}", path.display(), names.join(" or "));
        Failure::new("signer-unknown", message)
    })
}

/// Reads a policy and the signature that it needs: by `signer`, a public key, if that is given.
pub fn load(path: &Path, signer: Option<&str>) -> crate::error::Result<Policy> {
    let bytes = read(path)?;
    if let Some(key) = signer {
        policy::check_signature(path, &bytes, key)?;
    }
    Policy::parse(path, &bytes)
}
