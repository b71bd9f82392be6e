//! `scalecert chain CLAIM --link CLAIM CERTIFICATE …`: add up what other certificates establish.

use crate::{bundle, chain};
use anyhow::{Result, bail};
use scalecheck::number::approximate;
use scalecheck::verify::{Statement, Verdict};
use std::path::PathBuf;

/// Certify a claim about a model in another's place by certificates that lead from one to the other, whose tolerances add up.
///
/// Exit codes: 0 the certificate is written, 20 the links do not establish the claim, 2 bad input.
#[derive(clap::Args)]
pub struct Arguments {
    /// The claim, a TOML file with `replace`.
    claim: PathBuf,
    /// A claim and its certificate, from the model or from where the link before it leads; at least one.
    #[arg(long, num_args = 2, value_names = ["CLAIM", "CERTIFICATE"], required = true)]
    link: Vec<PathBuf>,
    /// Where to write the certificate; gzipped if the name ends in `.gz`. Default: next to the claim, `.cert.json`.
    #[arg(short, long)]
    output: Option<PathBuf>,
}

pub fn run(arguments: &Arguments) -> Result<u8> {
    let statement = Statement::load(&arguments.claim, None)?;
    let path = arguments.output.clone().unwrap_or_else(|| arguments.claim.with_extension("cert.json"));
    let (files, rest) = arguments.link.as_chunks();
    if !rest.is_empty() {
        bail!("--link needs a claim and a certificate");
    }
    let certificate = chain::compose(&statement, files, &path)?;
    let (bytes, report) = bundle::checked(&certificate, &statement, &path)?;
    println!("{}", report.claim);
    if report.verdict() != Verdict::Verified {
        for (row, verdict) in report.settings.iter().flat_map(|setting| &setting.rows) {
            if let scalecheck::verify::RowVerdict::Rejected(error) = verdict {
                println!("row {row}: {error}");
            }
        }
        println!("the links do not establish the claim, so no certificate was written");
        return Ok(20);
    }
    bundle::put(&path, &bytes)?;
    for setting in &report.settings {
        let all = setting.rows.iter().filter_map(|(row, verdict)| Some((verdict.established()?, row)));
        if let Some((tolerance, row)) = all.max() {
            println!("proven tolerance, worst row ({row}): {}", approximate(tolerance));
        }
    }
    println!("wrote {}", path.display());
    println!("check it: scalecheck verify {} {}", arguments.claim.display(), path.display());
    Ok(0)
}
