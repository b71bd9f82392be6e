//! `scalecheck`: the command line around [`scalecheck::verify`].

#![forbid(unsafe_code)]

use scalecheck::error::{Class, Code, Error, Result};
use scalecheck::number::{Rational, approximate};
use scalecheck::verify::{Config, Report, RowVerdict, Statement, Verdict, verify};
use serde_json::{Value, json};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const HELP: &str = "\
scalecheck: exact, independent check of worst-case certificates for neural networks

Usage: scalecheck verify CLAIM CERTIFICATE [--model FILE] [--max-work N] [--json]

  CLAIM          the claim, a TOML file; it names the model and the data
  CERTIFICATE    the certificate, JSON or gzipped JSON
  --model FILE   check this model file instead of the one that the claim names
  --max-work N   most multiply-accumulates of one row's proof (default 17592186044416)
  --json         print one JSON object

Exit codes: 0 VERIFIED, 10 REFUTED, 1 REJECTED, 2 malformed input or usage,
            3 mismatch of digests, 4 resource limit or internal fault.
";

struct Arguments {
    claim: PathBuf,
    certificate: PathBuf,
    model: Option<PathBuf>,
    config: Config,
    json: bool,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let json = arguments.iter().any(|a| a == "--json");
    // The checker is written not to panic; if it does all the same, there is no verdict and the exit code says so.
    let outcome = std::panic::catch_unwind(|| run(&arguments));
    let (text, code) = match outcome {
        Ok(Ok((text, code))) => (text, code),
        Ok(Err(error)) => report_error(&error, json),
        Err(_) => ("FAULT\nscalecheck failed internally and reached no verdict; please report this\n".into(), 4),
    };
    match std::io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::from(code),
        Err(_) => ExitCode::from(2),
    }
}

fn run(arguments: &[String]) -> Result<(String, u8)> {
    if arguments.iter().any(|a| a == "--help" || a == "-h") {
        return Ok((HELP.to_owned(), 0));
    }
    if arguments.iter().any(|a| a == "--version" || a == "-V") {
        return Ok((format!("scalecheck {}\n", env!("CARGO_PKG_VERSION")), 0));
    }
    let a = parse(arguments)?;
    let statement = Statement::load(&a.claim, a.model.as_deref())?;
    let name = a.certificate.display().to_string();
    let bytes = std::fs::read(&a.certificate).map_err(|e| Error::new(Code::Io, name.clone(), e.to_string()))?;
    let report = verify(&statement, &bytes, &a.config).map_err(|e| e.within(&name))?;
    let text = if a.json { format!("{}\n", as_json(&report, &a.certificate)) } else { as_text(&report) };
    Ok((text, report.verdict().exit_code()))
}

fn parse(arguments: &[String]) -> Result<Arguments> {
    let usage = |message: String| Error::new(Code::Usage, "", format!("{message}; see scalecheck --help"));
    let (mut files, mut model, mut config, mut json) = (Vec::new(), None, Config::default(), false);
    let mut rest = arguments.iter();
    match rest.next().map(String::as_str) {
        Some("verify") => {}
        Some(other) => return Err(usage(format!("unknown command `{other}`"))),
        None => return Err(usage("a command is needed: verify".into())),
    }
    while let Some(argument) = rest.next() {
        let mut value = || rest.next().ok_or_else(|| usage(format!("{argument} needs a value")));
        match argument.as_str() {
            "--json" => json = true,
            "--model" => model = Some(PathBuf::from(value()?)),
            "--max-work" => {
                let text = value()?;
                config.max_work = text.parse().map_err(|_| usage(format!("`{text}` is not a number")))?;
            }
            flag if flag.starts_with('-') => return Err(usage(format!("unknown flag `{flag}`"))),
            file => files.push(PathBuf::from(file)),
        }
    }
    match <[PathBuf; 2]>::try_from(files) {
        Ok([claim, certificate]) => Ok(Arguments { claim, certificate, model, config, json }),
        Err(files) => Err(usage(format!("a claim and a certificate are needed, {} files are given", files.len()))),
    }
}

fn report_error(error: &Error, json: bool) -> (String, u8) {
    let (word, code) = match error.code.class() {
        Class::Rejected => ("REJECTED", Verdict::Rejected.exit_code()),
        Class::Malformed => ("MALFORMED", 2),
        Class::Mismatch => ("MISMATCH", 3),
        Class::Limit => ("LIMIT", 4),
    };
    let text = if json {
        let object = json!({
            "verdict": word, "code": error.code.as_str(), "place": error.place, "message": error.message,
        });
        format!("{object}\n")
    } else {
        format!("{word}\n{error}\n")
    };
    (text, code)
}

fn as_text(report: &Report) -> String {
    let mut text = format!("{}\n{}\n", report.verdict().word(), report.claim);
    text += &format!("model SHA-256 {}\n", report.model_digest);
    let count = |wanted: fn(&RowVerdict) -> bool| report.rows.iter().filter(|(_, v)| wanted(v)).count();
    text += &format!(
        "rows: {} verified, {} refuted, {} rejected, {} without an answer\n",
        count(|v| matches!(v, RowVerdict::Verified { .. })),
        count(|v| matches!(v, RowVerdict::Refuted { .. })),
        count(|v| matches!(v, RowVerdict::Rejected(_))),
        count(|v| matches!(v, RowVerdict::Unanswered)),
    );
    let worst = report.rows.iter().filter_map(|(row, v)| match v {
        RowVerdict::Verified { established: Some(t) } => Some((t, row)),
        _ => None,
    });
    if let Some((tolerance, row)) = worst.max() {
        text += &format!("proven tolerance, worst verified row ({row}): {}\n", approximate(tolerance));
    }
    for (row, verdict) in &report.rows {
        match verdict {
            RowVerdict::Verified { .. } => {}
            RowVerdict::Refuted { what, clean, perturbed } => {
                text += &format!("row {row}: refuted: {what}\n");
                text += &format!("  coarse outputs, clean:     {}\n", list(clean));
                text += &format!("  coarse outputs, perturbed: {}\n", list(perturbed));
            }
            RowVerdict::Rejected(error) => text += &format!("row {row}: rejected: {error}\n"),
            RowVerdict::Unanswered => text += &format!("row {row}: no answer\n"),
        }
    }
    text
}

fn list(values: &[Rational]) -> String {
    values.iter().map(approximate).collect::<Vec<_>>().join(", ")
}

fn as_json(report: &Report, certificate: &Path) -> Value {
    let exact = |values: &[Rational]| values.iter().map(ToString::to_string).collect::<Vec<_>>();
    let rows: Vec<Value> = report
        .rows
        .iter()
        .map(|(row, verdict)| match verdict {
            RowVerdict::Verified { established } => json!({
                "row": row, "verdict": "VERIFIED", "proven_tolerance": established.as_ref().map(ToString::to_string),
            }),
            RowVerdict::Refuted { what, clean, perturbed } => json!({
                "row": row, "verdict": "REFUTED", "what": what, "clean": exact(clean), "perturbed": exact(perturbed),
            }),
            RowVerdict::Rejected(e) => json!({
                "row": row, "verdict": "REJECTED", "code": e.code.as_str(), "place": e.place, "message": e.message,
            }),
            RowVerdict::Unanswered => json!({ "row": row, "verdict": "UNANSWERED" }),
        })
        .collect();
    json!({
        "verdict": report.verdict().word(),
        "claim": report.claim,
        "model_sha256": report.model_digest,
        "certificate": certificate.display().to_string(),
        "rows": rows,
    })
}
