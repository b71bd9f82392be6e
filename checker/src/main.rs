//! `scalecheck`: the command line around [`scalecheck::verify`].

#![forbid(unsafe_code)]
#![deny(clippy::float_arithmetic, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use num::{Signed, Zero};
use scalecheck::certificate;
use scalecheck::error::{Class, Code, Error, Result};
use scalecheck::number::{Rational, approximate};
use scalecheck::show::{Kind, beginning};
use scalecheck::verify::{
    Config, Report, RowVerdict, Separation, SettingReport, Statement, Verdict, read, verify_with,
};
use scalecheck::vnnlib::counterexample::assess;
use serde_json::{Value, json};
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const HELP: &str = "\
scalecheck: exact, independent check of worst-case certificates for neural networks

Usage: scalecheck verify CLAIM CERTIFICATE [--model FILE] [LIMITS] [--json|--quiet]
       scalecheck verify --model FILE --property FILE CERTIFICATE [LIMITS] [--json|--quiet]
       scalecheck show CERTIFICATE [--max-memory N] [--json]
       scalecheck witness --model FILE --property FILE COUNTEREXAMPLE [--json|--quiet]
       scalecheck gate POLICY [--format line|table|json|junit|sarif] [--attest FILE] [--policy-signer KEY] [LIMITS]
                       [--json|--quiet]

  CLAIM          the claim, a TOML file; it names the model and the data
  CERTIFICATE    the certificate, JSON or gzipped JSON
  --model FILE   check this model file instead of the one that the claim names
  --property FILE  instead of a claim: what is unsafe, a VNN-LIB file; it needs --model
  --json         print one JSON object, also of an error
  --quiet        print nothing but errors; the exit code is the answer

  LIMITS
  --max-work N   most multiply-accumulates of one row's proof (default 17592186044416)
  --max-memory N most memory that a certificate may need, in bytes, estimated from its text (default 536870912)

  COUNTEREXAMPLE a file of pairs (X_0 0.5), as the verification competition has them; it is evaluated exactly

  POLICY         what may be deployed, a TOML file: models by SHA-256, and what must be certified of them
  --format F     how the gate answers (default table)
  --attest FILE  if the gate opens, write an in-toto statement there, ready to be signed
  --policy-signer KEY  the policy must be signed by this minisign public key, in POLICY.minisig

Exit codes:
  verify   0 VERIFIED, 10 REFUTED, 1 REJECTED, 2 malformed input or usage, 3 mismatch of digests,
           4 resource limit or internal fault
  show     0, 2 malformed input or usage, 4 resource limit
  witness  10 REFUTED, 1 HARMLESS, 2 malformed input or usage
  gate     0 OPEN, 1 CLOSED, 2 a policy or flag that cannot be understood, 4 resource limit or internal fault
";

fn main() -> ExitCode {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let [json, quiet] = ["--json", "--quiet"].map(|flag| {
        let given = arguments.len();
        arguments.retain(|argument| argument != flag);
        arguments.len() < given
    });
    // The checker is written not to panic; if it does all the same, there is no verdict and the exit code says so.
    let (text, code) = match std::panic::catch_unwind(|| run(arguments, json, quiet)) {
        Ok(Ok((_, code))) if quiet => (String::new(), code),
        Ok(Ok(outcome)) => outcome,
        Ok(Err(error)) => report_error(&error, json),
        Err(_) => ("FAULT\nscalecheck failed internally and reached no verdict; please report this\n".into(), 4),
    };
    let written = std::io::stdout().write_all(text.as_bytes());
    ExitCode::from(if written.is_ok() { code } else { 2 })
}

fn run(mut arguments: Vec<String>, json: bool, quiet: bool) -> Result<(String, u8)> {
    let only = |names: [&str; 2]| matches!(&arguments[..], [a] if names.contains(&a.as_str()));
    if only(["--help", "-h"]) {
        return Ok((HELP.to_owned(), 0));
    }
    if only(["--version", "-V"]) {
        return Ok((format!("scalecheck {}\n", env!("CARGO_PKG_VERSION")), 0));
    }
    #[cfg(feature = "gate")]
    if arguments.first().is_some_and(|command| command == "gate") {
        return gate(arguments.split_off(1), json, quiet);
    }
    let model = option(&mut arguments, "--model")?.map(PathBuf::from);
    let property = option(&mut arguments, "--property")?.map(PathBuf::from);
    let config = limits(&mut arguments)?;
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    if let (["show", file], None, None) = (&words[..], &model, &property) {
        return show(file, &config, json);
    }
    if let (["witness", file], Some(model), Some(property)) = (&words[..], &model, &property) {
        return counterexample(model, property, file, json);
    }
    if let Some(flag) = words.iter().find(|word| word.starts_with('-')) {
        return usage(format!("unknown flag `{flag}`"));
    }
    let (statement, certificate) = match (&words[..], &model, &property) {
        (["verify", claim, certificate], _, None) => (Statement::load(claim.as_ref(), model.as_deref())?, *certificate),
        (["verify", certificate], Some(model), Some(property)) => (Statement::of_query(model, property)?, *certificate),
        (["verify", ..], None, Some(_)) => return usage("--property needs the model that it is about, --model".into()),
        (["verify", ..], _, Some(_)) => {
            return usage(format!("verify with --property needs a certificate alone, not {} files", words.len() - 1));
        }
        (["verify", ..], _, None) => {
            return usage(format!("verify needs a claim and a certificate, not {} files", words.len() - 1));
        }
        (["show", ..], ..) => return usage("show needs one certificate, and neither --model nor --property".into()),
        (["witness", ..], ..) => return usage("witness needs --model, --property and one counterexample".into()),
        ([other, ..], ..) => return usage(format!("unknown command `{other}`")),
        ([], ..) => return usage("a command is needed: verify, show, witness or gate".into()),
    };
    let bytes = read(certificate.as_ref())?;
    tell(quiet, &format!("checking {certificate}"));
    let progress = |done: usize, all: usize| tell(quiet, &format!("checked {done} of {all} answers"));
    let folder = Path::new(certificate).parent().unwrap_or(Path::new(""));
    let report = verify_with(&statement, &bytes, folder, &config, progress).map_err(|e| e.within(certificate));
    tell(quiet, "");
    let report = report?;
    let text = if json { format!("{}\n", as_json(&report, certificate)) } else { as_text(&report) };
    Ok((text, report.verdict().exit_code()))
}

/// Puts what is going on in the place of the line that a terminal shows; nothing elsewhere.
fn tell(quiet: bool, what: &str) {
    if !quiet && std::io::stderr().is_terminal() {
        eprint!("\r\x1b[K{what}");
    }
}

/// `scalecheck show`: what is in a certificate, without a verdict.
fn show(file: &str, config: &Config, json: bool) -> Result<(String, u8)> {
    let certificate = certificate::parse(&read(file.as_ref())?, config.max_memory).map_err(|e| e.within(file))?;
    let answers = certificate.answers.iter().map(|answer| (answer.setting, answer.row, Kind::of(answer)));
    if json {
        let answer = |(setting, row, kind): (usize, usize, Kind)| {
            let mut object = match kind {
                Kind::Proof(shape) => json!({ "proof": {
                    "trees": shape.trees,
                    "cases": shape.cases,
                    "depth": shape.depth,
                    "refinements": shape.refinements,
                    "closes": shape.closes,
                    "slopes": shape.slopes,
                    "multipliers": shape.multipliers,
                    "splits": shape.splits,
                } }),
                Kind::Witness(values) => json!({ "witness": values }),
                Kind::Served(by) => json!({ "served_by": by }),
                Kind::Chain(steps) => json!({ "chain": steps }),
            };
            object["setting"] = setting.into();
            object["row"] = row.into();
            object
        };
        let object = json!({
            "format": certificate.format,
            "generator": certificate.generator,
            "claim": certificate.claim,
            "model": certificate.model,
            "data": certificate.data,
            "links": certificate.links,
            "answers": answers.map(answer).collect::<Vec<_>>(),
        });
        return Ok((format!("{object}\n"), 0));
    }
    let mut text = format!("{}, made by {:?}\n", certificate.format, beginning(&certificate.generator));
    text += &format!("about the model SHA-256 {}\nand the claim SHA-256 {}\n", certificate.model, certificate.claim);
    for data in &certificate.data {
        text += &format!("with the data SHA-256 {data}\n");
    }
    for link in &certificate.links {
        text += &format!("link: {:?}, {:?}\n", link.claim.file, link.certificate.file);
    }
    for (setting, row, kind) in answers {
        let what = match kind {
            Kind::Proof(shape) => {
                let splits =
                    shape.splits.iter().map(|(name, count)| format!(", {count} at {name:?}")).collect::<String>();
                format!(
                    "proof: {} trees, {} cases, depth {}; {} refinements, {} closed cells, {} slopes, {} multipliers; splits: {}{splits}",
                    shape.trees,
                    shape.cases,
                    shape.depth,
                    shape.refinements,
                    shape.closes,
                    shape.slopes,
                    shape.multipliers,
                    shape.splits.values().sum::<usize>(),
                )
            }
            Kind::Witness(values) => format!("witness of {values} values"),
            Kind::Served(by) => format!("served by the proof of setting {by}"),
            Kind::Chain(steps) => format!("chain of {steps} steps"),
        };
        text += &format!("setting {setting}, row {row}: {what}\n");
    }
    text += "nothing of this is checked; scalecheck verify does that\n";
    Ok((text, 0))
}

/// `scalecheck witness`.
fn counterexample(model: &Path, property: &Path, file: &str, json: bool) -> Result<(String, u8)> {
    let statement = Statement::of_query(model, property)?;
    let scalecheck::claim::Inputs::Regions(query) = &statement.claim().inputs else {
        return usage("a property is needed".into());
    };
    let bytes = read(file.as_ref())?;
    let text = std::str::from_utf8(&bytes).map_err(|_| Error::new(Code::Io, file, "the file is not UTF-8 text"))?;
    let found = assess(statement.network(), query, file, text)?;
    let code = if found.violates { Verdict::Refuted.exit_code() } else { Verdict::Rejected.exit_code() };
    let word = if found.violates { Verdict::Refuted.word() } else { "HARMLESS" };
    if json {
        let object = json!({
            "verdict": word,
            "region": found.region,
            "outside": found.outside.to_string(),
            "set": found.set,
            "margin": found.margin.to_string(),
            "outputs": found.outputs.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "misstated": found.misstated.as_ref().map(ToString::to_string),
            "model": statement.model(),
        });
        return Ok((format!("{object}\n"), code));
    }
    let place = match found.outside.is_zero() {
        true => "inside".to_owned(),
        false => format!("{} outside of", approximate(&found.outside)),
    };
    let set = found.set.map_or("which has no unsafe set".to_owned(), |set| {
        let verb = if found.margin.is_negative() { "is missed" } else { "holds" };
        format!("whose unsafe set {set} {verb} by {}", approximate(&found.margin.abs()))
    });
    let outputs = found.outputs.iter().map(approximate).collect::<Vec<_>>().join(", ");
    let mut text = format!("{word}\nthe input is {place} region {}, {set}\noutputs: {outputs}\n", found.region);
    if let Some(misstated) = &found.misstated {
        text += &format!("the outputs in the file differ from these by at most {}\n", approximate(misstated));
    }
    text += &format!("model SHA-256 {}\n", statement.model());
    Ok((text, code))
}

/// `scalecheck gate`.
#[cfg(feature = "gate")]
fn gate(mut arguments: Vec<String>, json: bool, quiet: bool) -> Result<(String, u8)> {
    use scalecheck::gate;
    let format = match option(&mut arguments, "--format")? {
        None if json => gate::Format::Json,
        None => gate::Format::Table,
        Some(name) => gate::Format::named(&name)
            .map_or_else(|| usage(format!("--format {name}: line, table, json, junit or sarif is needed")), Ok)?,
    };
    let attest = option(&mut arguments, "--attest")?.map(PathBuf::from);
    let signer = option(&mut arguments, "--policy-signer")?;
    let config = limits(&mut arguments)?;
    let [path] = &arguments[..] else {
        return usage(format!("gate needs a policy, not {} files or unknown flags", arguments.len()));
    };
    let policy = match gate::load(path.as_ref(), signer.as_deref()) {
        Ok(policy) => policy,
        // What reads a report gets one.
        Err(e) if matches!(format, gate::Format::Json | gate::Format::Junit | gate::Format::Sarif) => {
            let (policy, findings) = gate::refused(path.as_ref(), &e);
            return Ok((gate::write(&policy, &findings, format), report_error(&e, false).1));
        }
        Err(e) => return Err(e),
    };
    tell(quiet, &format!("checking {} requirements", policy.requirements.len()));
    let findings = gate::check(&policy, &config);
    tell(quiet, "");
    let open = findings.iter().all(|finding| finding.failure.is_none());
    if let (Some(file), true) = (attest, open) {
        put(&file, &format!("{:#}\n", gate::attestation(&policy, &findings)))?;
    }
    Ok((gate::write(&policy, &findings, format), u8::from(!open)))
}

/// Puts a file in place in one step.
#[cfg(feature = "gate")]
fn put(path: &Path, text: &str) -> Result<()> {
    let mut partial = path.as_os_str().to_owned();
    partial.push(".partial");
    let write = || {
        // What is left of an earlier run goes; a link that somebody put there is not followed.
        match std::fs::remove_file(&partial) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e),
            _ => std::fs::File::create_new(&partial)?.write_all(text.as_bytes())?,
        }
        std::fs::rename(&partial, path)
    };
    let written = write();
    written.map_err(|e| Error::new(Code::Io, path.display().to_string(), format!("cannot be written: {e}")))
}

fn usage<T>(message: String) -> Result<T> {
    Err(Error::new(Code::Usage, "", format!("{message}; see scalecheck --help")))
}

/// Takes the limits of a check out of the arguments.
fn limits(arguments: &mut Vec<String>) -> Result<Config> {
    let mut config = Config::default();
    for (name, limit) in [("--max-work", &mut config.max_work), ("--max-memory", &mut config.max_memory)] {
        if let Some(text) = option(arguments, name)? {
            *limit = text.parse().or_else(|_| usage(format!("{name}: `{text}` is not a number")))?;
        }
    }
    Ok(config)
}

/// Takes an option and its value out of the arguments.
fn option(arguments: &mut Vec<String>, name: &str) -> Result<Option<String>> {
    match arguments.iter().position(|a| a == name) {
        None => Ok(None),
        Some(i) if i + 1 == arguments.len() => usage(format!("{name} needs a value")),
        Some(i) => Ok(arguments.drain(i..i + 2).nth(1)),
    }
}

fn report_error(error: &Error, json: bool) -> (String, u8) {
    let (word, code) = match error.code.class() {
        Class::Rejected => ("REJECTED", Verdict::Rejected.exit_code()),
        Class::Malformed => ("MALFORMED", 2),
        Class::Mismatch => ("MISMATCH", 3),
        Class::Limit => ("LIMIT", 4),
    };
    let mut object = error_json(error);
    object["verdict"] = word.into();
    (if json { format!("{object}\n") } else { format!("{word}\n{error}\n") }, code)
}

fn error_json(error: &Error) -> Value {
    json!({ "code": error.code.as_str(), "place": error.place, "message": error.message })
}

fn word(verdict: &RowVerdict) -> &'static str {
    match verdict {
        RowVerdict::Verified { .. } | RowVerdict::Served { .. } => "VERIFIED",
        RowVerdict::Reached { .. } => "REACHED",
        RowVerdict::Refuted { .. } => "REFUTED",
        RowVerdict::Rejected(_) => "REJECTED",
        RowVerdict::Unanswered => "UNANSWERED",
    }
}

/// What was read, and its digest.
fn files(report: &Report) -> impl Iterator<Item = (&'static str, &String)> {
    ["model", "claim"].into_iter().chain(std::iter::repeat("data")).zip(&report.digests)
}

fn as_text(report: &Report) -> String {
    let mut text = format!("{}\n{}\n", report.verdict().word(), report.claim);
    for (file, digest) in files(report) {
        text += &format!("{file} SHA-256 {digest}\n");
    }
    for [claim, certificate] in &report.links {
        text += &format!("link: claim SHA-256 {claim}, certificate SHA-256 {certificate}\n");
    }
    for (i, setting) in report.settings.iter().enumerate() {
        if report.settings.len() > 1 {
            text += &format!("setting {i}: {}\n", setting.verdict.word());
        }
        text += &rows_as_text(setting);
    }
    for Separation { below, band, gap } in &report.separations {
        let separated = gap.as_ref().is_none_or(|gap| *gap > Rational::from_integer(1.into()));
        let words = if separated { "scales are separated" } else { "no separation of scales is shown" };
        let gap = gap.as_ref().map_or("unbounded".to_owned(), approximate);
        text += &format!("settings {below} and {band}: {words}; gap between the band and all that is finer: {gap}\n");
    }
    text
}

fn rows_as_text(setting: &SettingReport) -> String {
    let count = |wanted: &str| setting.rows.iter().filter(|(_, verdict)| word(verdict) == wanted).count();
    let counts = ["VERIFIED", "REACHED", "REFUTED", "REJECTED"].map(|wanted| (count(wanted), wanted.to_lowercase()));
    let shown = counts.iter().filter(|(n, wanted)| *n > 0 || wanted != "reached");
    let counts = shown.map(|(n, wanted)| format!("{n} {wanted}")).collect::<Vec<_>>().join(", ");
    let mut text = format!("rows: {counts}, {} without an answer\n", count("UNANSWERED"));
    let proven = setting.rows.iter().filter_map(|(row, verdict)| Some((verdict.established()?, row)));
    if let Some((tolerance, row)) = proven.max() {
        text += &format!("proven tolerance, worst verified row ({row}): {}\n", approximate(tolerance));
    }
    let list = |values: &[Rational]| values.iter().map(approximate).collect::<Vec<_>>().join(", ");
    let one_needed = setting.verdict == Verdict::Verified;
    for (row, verdict) in &setting.rows {
        text += &match verdict {
            RowVerdict::Verified { .. } => String::new(),
            RowVerdict::Served { by, .. } => format!("row {row}: by the proof of setting {by}\n"),
            RowVerdict::Reached { change } => format!("row {row}: reached: a change of {}\n", approximate(change)),
            RowVerdict::Refuted { what, clean, perturbed } => {
                let outputs = match (&clean[..], list(perturbed)) {
                    ([], perturbed) => format!("  outputs: {perturbed}\n"),
                    (_, perturbed) => format!(
                        "  coarse outputs, clean:     {}\n  coarse outputs, perturbed: {perturbed}\n",
                        list(clean)
                    ),
                };
                format!("row {row}: refuted: {what}\n{outputs}")
            }
            RowVerdict::Rejected(error) => format!("row {row}: rejected: {error}\n"),
            RowVerdict::Unanswered if one_needed => String::new(),
            RowVerdict::Unanswered => format!("row {row}: no answer\n"),
        }
    }
    text
}

fn as_json(report: &Report, certificate: &str) -> Value {
    let exact = |values: &[Rational]| values.iter().map(ToString::to_string).collect::<Vec<_>>();
    let row = |(row, verdict): &(usize, RowVerdict)| {
        let mut object = match verdict {
            RowVerdict::Verified { established, links } => {
                json!({ "proven_tolerance": established.as_ref().map(ToString::to_string), "links": links })
            }
            RowVerdict::Served { by, established } => {
                json!({ "served_by": by, "proven_tolerance": established.as_ref().map(ToString::to_string) })
            }
            RowVerdict::Reached { change } => json!({ "change": change.to_string() }),
            RowVerdict::Refuted { what, clean, perturbed } => {
                json!({ "what": what, "clean": exact(clean), "perturbed": exact(perturbed) })
            }
            RowVerdict::Rejected(error) => error_json(error),
            RowVerdict::Unanswered => json!({}),
        };
        object["row"] = (*row).into();
        object["verdict"] = word(verdict).into();
        object
    };
    let setting = |setting: &SettingReport| {
        let rows = setting.rows.iter().map(row).collect::<Vec<_>>();
        json!({ "verdict": setting.verdict.word(), "claim": setting.claim, "rows": rows })
    };
    json!({
        "verdict": report.verdict().word(),
        "claim": report.claim,
        "sha256": files(report).map(|(file, digest)| json!({ "file": file, "digest": digest })).collect::<Vec<_>>(),
        "certificate": certificate,
        "links": report.links.iter().map(|[claim, certificate]| json!({ "claim": claim, "certificate": certificate }))
            .collect::<Vec<_>>(),
        "separations": report.separations.iter().map(|s| json!({
            "below": s.below, "band": s.band, "gap": s.gap.as_ref().map(ToString::to_string),
        })).collect::<Vec<_>>(),
        "settings": report.settings.iter().map(setting).collect::<Vec<_>>(),
    })
}
