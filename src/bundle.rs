//! All rows of a claim: proving them on all cores, and writing one certificate that answers them.

use crate::graph::Maps;
use crate::prove::{Config, Outcome, prove};
use anyhow::{Context, Result, anyhow, bail};
use flate2::Compression;
use flate2::write::GzEncoder;
use rayon::prelude::*;
use scalecheck::certificate::Certificate;
use scalecheck::verify::{Config as CheckConfig, RowVerdict, Statement, verify};
use std::io::Write;
use std::path::Path;

/// Works on every row of the claim; `done` is called after each, from any thread.
pub fn prove_rows(statement: &Statement, config: &Config, done: impl Fn() + Sync) -> Result<Vec<Outcome>> {
    let rows = statement.claim().rows();
    let maps = Maps::default();
    let one = |&row: &usize| -> Result<Outcome> {
        let problem = statement.problems(&[row]).next().context("a row has a problem")??;
        let outcome = prove(row, &problem, &statement.claim().property, &maps, config)
            .with_context(|| format!("row {row}: the checker refused the prover's own proof; please report this"))?;
        done();
        Ok(outcome)
    };
    rows.par_iter().map(one).collect()
}

/// The certificate that holds all answers found; `None` if there are none.
pub fn certificate(statement: &Statement, outcomes: &[Outcome]) -> Option<Certificate> {
    let mut certificate = statement.header(concat!("scalecert ", env!("CARGO_PKG_VERSION")));
    certificate.answers.extend(outcomes.iter().filter_map(|o| o.answer.clone()));
    (!certificate.answers.is_empty()).then_some(certificate)
}

/// The certificate as JSON, checked with `scalecheck`'s own code.
///
/// # Errors
/// If the checker rejects an answer: then the prover has a defect, and nothing may be written.
pub fn checked_bytes(certificate: &Certificate, statement: &Statement) -> Result<Vec<u8>> {
    let mut bytes = serde_json::to_vec(certificate)?;
    bytes.push(b'\n');
    let report = verify(statement, &bytes, &CheckConfig::default())?;
    for (row, verdict) in &report.rows {
        if let RowVerdict::Rejected(error) = verdict {
            bail!("row {row}: the checker rejects what was to be written ({error}); please report this");
        }
    }
    Ok(bytes)
}

/// Checks the certificate and puts it in place in one step; gzipped if the name ends in `.gz`.
pub fn write(path: &Path, certificate: &Certificate, statement: &Statement) -> Result<()> {
    let mut bytes = checked_bytes(certificate, statement)?;
    if path.extension().is_some_and(|e| e == "gz") {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(&bytes)?;
        bytes = encoder.finish()?;
    }
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let place = || format!("cannot write {}", path.display());
    let mut builder = tempfile::Builder::new();
    // The usual permissions of a new file, before the umask; temporary files are private by default.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let mut file = builder.tempfile_in(folder).with_context(place)?;
    file.write_all(&bytes).with_context(place)?;
    file.persist(path).map_err(|e| anyhow!(e.error)).with_context(place)?;
    Ok(())
}
