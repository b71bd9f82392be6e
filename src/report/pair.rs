//! Claims and certificates in any order become pairs: a certificate names its claim by SHA-256.

use anyhow::{Context, Result, bail};
use scalecheck::certificate;
use scalecheck::claim::Claim;
use scalecheck::verify::{Config, Report, Statement, digest, read, verify_with};
use std::path::{Path, PathBuf};

/// A claim, its certificate, and what the exact checker says of the two.
pub struct Pair {
    pub claim_file: PathBuf,
    pub certificate_file: PathBuf,
    /// SHA-256 of the certificate's bytes as they are on disk.
    pub certificate_digest: String,
    pub statement: Statement,
    pub certificate: certificate::Certificate,
    pub report: Report,
}

impl Pair {
    pub fn claim(&self) -> &Claim {
        self.statement.claim()
    }

    /// The claim's file name.
    pub fn name(&self) -> String {
        name(&self.claim_file)
    }
}

/// A file's name without its folder.
pub fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// A file whose bytes are read once, so that what is checked is what is shown.
struct Read<'a> {
    path: &'a Path,
    bytes: Vec<u8>,
    digest: String,
}

/// Reads the files, finds the claim of every certificate, and checks each pair.
///
/// # Errors
/// If a certificate's claim is not among the files, or a claim has no certificate there; and whatever the checker says of
/// a file that it cannot judge. A certificate that it rejects is no error: the report says so.
pub fn pairs(files: &[PathBuf]) -> Result<Vec<Pair>> {
    let mut claims: Vec<Read<'_>> = Vec::new();
    let mut certificates: Vec<Read<'_>> = Vec::new();
    for path in files {
        let bytes = read(path)?;
        let one = Read { path, digest: digest(&bytes), bytes };
        let kind = if is_certificate(&one.bytes) { &mut certificates } else { &mut claims };
        if !kind.iter().any(|other| other.digest == one.digest) {
            kind.push(one);
        }
    }
    let mut used = vec![false; claims.len()];
    let mut pairs = Vec::new();
    for Read { path, bytes, digest } in certificates {
        let place = path.display().to_string();
        let parsed = certificate::parse(&bytes, Config::default().max_memory).map_err(|e| e.within(&place))?;
        let Some(position) = claims.iter().position(|claim| claim.digest == parsed.claim) else {
            bail!("{place}: add the claim that it is about, the file with the SHA-256 {}", parsed.claim);
        };
        used[position] = true;
        let claim = &claims[position];
        let statement = Statement::of(claim.path, &claim.bytes, None)?;
        let folder = path.parent().unwrap_or(Path::new(""));
        let report = verify_with(&statement, &bytes, folder, &Config::default(), |_, _| ())
            .map_err(|e| e.within(&place))
            .with_context(|| format!("the claim {}", claim.path.display()))?;
        pairs.push(Pair {
            claim_file: claim.path.to_owned(),
            certificate_file: path.to_owned(),
            certificate_digest: digest,
            statement,
            certificate: parsed,
            report,
        });
    }
    if let Some(position) = used.iter().position(|used| !used) {
        let Read { path, bytes, digest } = &claims[position];
        // What is no claim either gets the error that says why.
        Statement::of(path, bytes, None)?;
        bail!("{}: add a certificate of this claim, one that names its SHA-256 {digest}", path.display());
    }
    Ok(pairs)
}

/// Certificates are JSON objects or gzipped ones; no TOML file begins like either.
fn is_certificate(bytes: &[u8]) -> bool {
    bytes.starts_with(&[0x1f, 0x8b]) || bytes.iter().find(|b| !b.is_ascii_whitespace()) == Some(&b'{')
}
