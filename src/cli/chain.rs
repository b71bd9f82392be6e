//! `scalecert chain CLAIM --link CLAIM CERTIFICATE …`: add up what other certificates establish.

use super::console::{Answer, Console, number};
use crate::{bundle, chain};
use anyhow::{Result, bail};
use scalecheck::number::approximate;
use scalecheck::verify::{RowVerdict, Statement, Verdict};
use serde_json::json;
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

pub fn run(arguments: &Arguments, console: &Console) -> Result<Answer> {
    let statement = Statement::load(&arguments.claim, None)?;
    let path = arguments.output.clone().unwrap_or_else(|| arguments.claim.with_extension("cert.json"));
    let (files, rest) = arguments.link.as_chunks();
    if !rest.is_empty() {
        bail!("--link needs a claim and a certificate");
    }
    let line = console.line("checking the links")?;
    let certificate = chain::compose(&statement, files, &path)?;
    let (bytes, report) = bundle::checked(&certificate, &statement, &path)?;
    line.finish_and_clear();
    console.say(&report.claim);
    let proven = report.verdict() == Verdict::Verified;
    let (mut tolerances, mut refused) = (Vec::new(), Vec::new());
    for (s, setting) in report.settings.iter().enumerate() {
        let all = setting.rows.iter().filter_map(|(row, verdict)| Some((verdict.established()?, row)));
        if let (Some((tolerance, row)), true) = (all.max(), proven) {
            console.say(format!("proven tolerance, worst row ({row}): {}", approximate(tolerance)));
            tolerances.push(json!({ "setting": s, "row": row, "tolerance": number(tolerance) }));
        }
        for (row, verdict) in &setting.rows {
            if let RowVerdict::Rejected(error) = verdict {
                console.say(format!("row {row}: {error}"));
                refused.push(json!({ "setting": s, "row": row, "message": error.to_string() }));
            }
        }
    }
    if proven {
        let memory = bundle::put(&path, &bytes)?;
        console.say(format!("wrote {}", path.display()));
        console.check(&format!("{} {}", arguments.claim.display(), path.display()), memory);
    } else {
        console.say("the links do not establish the claim, so no certificate was written");
    }
    let certificate = proven.then(|| path.display().to_string());
    let json = json!({
        "claim": arguments.claim.display().to_string(),
        "certificate": certificate,
        "proven": tolerances,
        "refused": refused,
    });
    Answer::new(if proven { 0 } else { 20 }, json)
}
