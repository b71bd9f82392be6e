//! All rows of a claim: proving them on all cores, and writing one certificate that answers them.

use crate::graph::Maps;
use crate::journal::Journal;
use crate::prove::{Config, INTERRUPTED, Noted, Outcome, decide, prove};
use crate::search::branch::Progress;
use anyhow::{Context, Result, anyhow, bail};
use flate2::Compression;
use flate2::write::GzEncoder;
use rayon::prelude::*;
use scalecheck::certificate::{Certificate, memory};
use scalecheck::claim::{Inputs, Property};
use scalecheck::problem::Clean;
use scalecheck::verify::{Config as CheckConfig, Report, RowVerdict, Statement, verify_with};
use std::io::Write;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, PoisonError};

/// Works on every row of every setting of the claim; `done` is called after each, from any thread. In the order of
/// settings, then rows.
pub fn prove_rows(
    statement: &Statement,
    config: &Config,
    progress: &(dyn Fn(Progress) + Sync),
    done: impl Fn() + Sync,
) -> Result<Vec<Outcome>> {
    resume_rows(statement, config, None, progress, done)
}

/// The same, with what an interrupted run left in the journal; what is decided is noted there. After an interruption what
/// was not worked on is unknown.
pub fn resume_rows(
    statement: &Statement,
    config: &Config,
    journal: Option<&Mutex<Journal<Noted>>>,
    progress: &(dyn Fn(Progress) + Sync),
    done: impl Fn() + Sync,
) -> Result<Vec<Outcome>> {
    let (rows, settings) = (statement.claim().rows(), &statement.claim().settings);
    let maps = Maps::default();
    let clean: Vec<Clean> = statement.clean(&rows).collect::<Result<_, _>>()?;
    let all: Vec<(usize, usize)> = (0..settings.len()).flat_map(|s| (0..rows.len()).map(move |r| (s, r))).collect();
    let lock = || journal.map(|journal| journal.lock().unwrap_or_else(PoisonError::into_inner));
    let one = |&(setting, r): &(usize, usize)| -> Result<Outcome> {
        let name = setting.to_string();
        let mut noted = lock().and_then(|mut journal| journal.take(&name, rows[r]));
        let saved = noted.as_mut().and_then(Noted::unfinished);
        if let (Some(noted), None) = (noted, &saved) {
            done();
            return noted.outcome((setting, rows[r]), &settings[setting].property);
        }
        let saved = saved.as_deref();
        if INTERRUPTED.load(Ordering::Relaxed) {
            return Ok(Outcome::unknown(setting, rows[r]));
        }
        let problem = statement.problem(setting, rows[r], &clean[r])?;
        let outcome = if matches!(settings[setting].property, Property::Unsafe) {
            decide(rows[r], &problem, &maps, config, saved, progress)?
        } else {
            prove((setting, rows[r]), &problem, &settings[setting].property, &maps, config, saved, progress)
                .with_context(|| {
                    let row = rows[r];
                    format!(
                        "setting {setting}, row {row}: the checker refused the prover's own proof; please report this"
                    )
                })?
        };
        if let (Some(mut journal), Some(noted)) = (lock(), Noted::of(&outcome)) {
            journal.note(&name, rows[r], &noted)?;
        }
        done();
        Ok(outcome)
    };
    if let Inputs::Regions(_) = &statement.claim().inputs {
        // Each search uses all cores by itself.
        return all.iter().map(one).collect();
    }
    all.par_iter().map(one).collect()
}

/// The certificate that holds all answers found; `None` if there are none.
pub fn certificate(statement: &Statement, outcomes: &[Outcome]) -> Option<Certificate> {
    let mut certificate = statement.header(concat!("scalecert ", env!("CARGO_PKG_VERSION")));
    certificate.answers.extend(outcomes.iter().filter_map(|o| o.answer.clone()));
    (!certificate.answers.is_empty()).then_some(certificate)
}

/// The certificate as JSON.
fn text(certificate: &Certificate) -> Result<Vec<u8>> {
    let mut bytes = serde_json::to_vec(certificate)?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// The certificate as JSON, and what `scalecheck`'s own code says of it where it will be.
pub fn checked(certificate: &Certificate, statement: &Statement, at: &Path) -> Result<(Vec<u8>, Report)> {
    let bytes = text(certificate)?;
    let folder = at.parent().unwrap_or(Path::new(""));
    // How much memory a user wants to spend on it is not for the prover to say.
    let config = CheckConfig { max_memory: u64::MAX, ..CheckConfig::default() };
    let report = verify_with(statement, &bytes, folder, &config, |_, _| ())?;
    Ok((bytes, report))
}

/// The certificate as JSON, checked with `scalecheck`'s own code.
///
/// # Errors
/// If the checker rejects an answer: then the prover has a defect, and nothing may be written.
pub fn checked_bytes(certificate: &Certificate, statement: &Statement) -> Result<Vec<u8>> {
    let (bytes, report) = checked(certificate, statement, Path::new(""))?;
    for (row, verdict) in report.settings.iter().flat_map(|setting| &setting.rows) {
        if let RowVerdict::Rejected(error) = verdict {
            bail!("row {row}: the checker rejects what was to be written ({error}); please report this");
        }
    }
    Ok(bytes)
}

/// Checks the certificate and puts it in place as [`put`] does. `walked` says that this very run found all of its proofs.
pub fn write(path: &Path, certificate: &Certificate, statement: &Statement, walked: bool) -> Result<Option<u64>> {
    let proofs = certificate.answers.iter().any(|answer| answer.proof.is_some());
    if walked && proofs && matches!(statement.claim().inputs, Inputs::Regions(_)) {
        // The search has walked each of these proofs by the exact rules, which takes as long as all the rest. What is left
        // to check is the file around them: its form.
        let bytes = text(certificate)?;
        scalecheck::certificate::parse(&bytes, u64::MAX)?;
        return put(path, &bytes);
    }
    put(path, &checked_bytes(certificate, statement)?)
}

/// Puts a certificate that is checked in place in one step; gzipped if the name ends in `.gz`. What its check may need in
/// memory, if that is more than `scalecheck` allows by itself.
pub fn put(path: &Path, bytes: &[u8]) -> Result<Option<u64>> {
    if path.extension().is_some_and(|e| e == "gz") {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(bytes)?;
        replace(path, &encoder.finish()?)?;
    } else {
        replace(path, bytes)?;
    }
    Ok(Some(memory(bytes)).filter(|needed| *needed > CheckConfig::default().max_memory))
}

/// Puts a file in place in one step, so that none is ever half written.
pub fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let place = || format!("cannot write {}", path.display());
    let mut builder = tempfile::Builder::new();
    // The usual permissions of a new file, before the umask; temporary files are private by default.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let mut file = builder.tempfile_in(folder).with_context(place)?;
    file.write_all(bytes).with_context(place)?;
    file.persist(path).map_err(|e| anyhow!(e.error)).with_context(place)?;
    Ok(())
}
