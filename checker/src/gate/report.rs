//! What the gate found, for people and for other programs.

use super::Finding;
use super::policy::Policy;
use crate::number::approximate;
use crate::verify::folder;
use serde_json::{Value, json};
use std::path::{Component, Path};

/// How findings are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Line,
    Table,
    Json,
    Junit,
    Sarif,
}

impl Format {
    /// The format of this name.
    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "line" => Format::Line,
            "table" => Format::Table,
            "json" => Format::Json,
            "junit" => Format::Junit,
            "sarif" => Format::Sarif,
            _ => return None,
        })
    }
}

/// The findings about a policy as text.
pub fn write(policy: &Policy, findings: &[Finding], format: Format) -> String {
    match format {
        Format::Line => line(policy, findings),
        Format::Table => table(findings) + &line(policy, findings),
        Format::Json => format!("{}\n", json_report(policy, findings)),
        Format::Junit => junit(policy, findings),
        Format::Sarif => format!("{:#}\n", sarif(policy, findings)),
    }
}

fn word(open: bool) -> &'static str {
    if open { "OPEN" } else { "CLOSED" }
}

fn line(policy: &Policy, findings: &[Finding]) -> String {
    let failed = findings.iter().filter(|finding| finding.failure.is_some()).count();
    let (all, models) = (findings.len(), policy.models.len());
    format!("{}: {} of {all} requirements hold, of {models} models\n", word(failed == 0), all - failed)
}

/// A line a requirement, and under it why it fails.
fn table(findings: &[Finding]) -> String {
    let mut text = String::new();
    let width = findings.iter().map(|finding| finding.claim.chars().count()).max().unwrap_or(0);
    for finding in findings {
        let state = if finding.failure.is_none() { "ok  " } else { "FAIL" };
        let rows = format!("{} of {} rows", finding.certified, finding.rows);
        let tolerance =
            finding.tolerance.as_ref().map_or_else(String::new, |t| format!(", tolerance {}", approximate(t)));
        let signer = finding.signer.as_ref().map_or_else(String::new, |name| format!(", signed by {name}"));
        text += &match &finding.failure {
            None => format!("{state} {:width$}  {rows}{tolerance}{signer}\n", finding.claim),
            Some(failure) => {
                format!("{state} {:width$}  {}\n     {}\n", finding.claim, failure.code, shown(&failure.message))
            }
        };
    }
    text
}

/// Text of files without what would steer a terminal.
fn shown(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn json_report(policy: &Policy, findings: &[Finding]) -> Value {
    let one = |finding: &Finding| {
        json!({
            "claim": finding.claim,
            "certificate": finding.certificate,
            "model": finding.model,
            "holds": finding.failure.is_none(),
            "certified_rows": finding.certified,
            "rows": finding.rows,
            "proven_tolerance": finding.tolerance.as_ref().map(ToString::to_string),
            "signer": finding.signer,
            "code": finding.failure.as_ref().map(|failure| &failure.code),
            "message": finding.failure.as_ref().map(|failure| &failure.message),
            "sha256": {
                "model": finding.model_digest,
                "original": finding.original_digest,
                "claim": finding.claim_digest,
                "certificate": finding.certificate_digest,
                "data": finding.data_digests,
            },
        })
    };
    let open = findings.iter().all(|finding| finding.failure.is_none());
    json!({
        "verdict": word(open),
        "policy": policy.name,
        "requirements": findings.iter().map(one).collect::<Vec<_>>(),
    })
}

/// JUnit's XML, which build servers show: a test case a requirement.
fn junit(policy: &Policy, findings: &[Finding]) -> String {
    let failed = findings.iter().filter(|finding| finding.failure.is_some()).count();
    let counts = format!("tests=\"{}\" failures=\"{failed}\"", findings.len());
    let name = escaped(&policy.name);
    let mut text = format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites {counts}>\n");
    text += &format!("  <testsuite name=\"{name}\" {counts}>\n");
    for finding in findings {
        let case = format!("<testcase classname=\"{}\" name=\"{}\"", escaped(&finding.model), escaped(&finding.claim));
        text += &match &finding.failure {
            None => format!("    {case}/>\n"),
            Some(failure) => format!(
                "    {case}><failure type=\"{}\" message=\"{}\"/></testcase>\n",
                escaped(&failure.code),
                escaped(&failure.message)
            ),
        };
    }
    text + "  </testsuite>\n</testsuites>\n"
}

/// Text as an XML attribute may have it: markup escaped, and a space for what XML has no way to say.
fn escaped(text: &str) -> String {
    let one = |c: char| match c {
        '&' => "&amp;".to_owned(),
        '<' => "&lt;".to_owned(),
        '>' => "&gt;".to_owned(),
        '"' => "&quot;".to_owned(),
        c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => " ".to_owned(),
        c => c.to_string(),
    };
    text.chars().map(one).collect()
}

/// A file that a policy names, as a URI relative to the folder that the gate runs in, or absolute if the policy's path is:
/// code hosts look files up from the root of the repository.
fn uri(policy: &Policy, name: &str) -> String {
    let mut parts: Vec<String> = Vec::new();
    let path = folder(Path::new(&policy.name)).join(name);
    for part in path.components() {
        match part {
            Component::ParentDir if parts.last().is_some_and(|last| !last.is_empty() && last != "..") => {
                parts.pop();
            }
            Component::ParentDir => parts.push("..".to_owned()),
            Component::RootDir => parts.push(String::new()),
            Component::CurDir => (),
            Component::Normal(part) => parts.push(part.to_string_lossy().bytes().map(percent).collect()),
            Component::Prefix(prefix) => parts.push(prefix.as_os_str().to_string_lossy().into_owned()),
        }
    }
    let scheme = if path.is_absolute() { "file://" } else { "" };
    format!("{scheme}{}", parts.join("/"))
}

/// A byte of a path as a URI may have it.
fn percent(byte: u8) -> String {
    if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
        char::from(byte).to_string()
    } else {
        format!("%{byte:02X}")
    }
}

/// SARIF 2.1.0, which code hosts show: a result a failure.
fn sarif(policy: &Policy, findings: &[Finding]) -> Value {
    let failures = || findings.iter().filter_map(|finding| Some((finding, finding.failure.as_ref()?)));
    let mut codes: Vec<&str> = failures().map(|(_, failure)| &failure.code[..]).collect();
    codes.sort_unstable();
    codes.dedup();
    let result = |(finding, failure): (&Finding, &super::Failure)| {
        json!({
            "ruleId": failure.code,
            "level": "error",
            "message": { "text": failure.message },
            "locations": [{ "physicalLocation": {
                "artifactLocation": { "uri": uri(policy, &finding.claim) },
                "region": { "startLine": 1 },
            } }],
        })
    };
    let rules: Vec<Value> = codes.iter().map(|code| json!({ "id": code })).collect();
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": { "name": "scalecheck", "version": env!("CARGO_PKG_VERSION"), "rules": rules } },
            "results": failures().map(result).collect::<Vec<_>>(),
        }],
    })
}
