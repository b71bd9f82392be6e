//! `scalecert` as a person meets it: exit codes, messages, files.

use crate::support::{self, blocks, digits_claim, folder};
use scalecheck::verify::{Config, Statement, Verdict, verify};
use std::path::Path;
use std::process::{Command, Output};

fn scalecert(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_scalecert")).args(arguments).output().expect("scalecert runs")
}

/// Writes the claim and proves it; the answer, and whether a certificate was written next to it.
fn prove(folder: &Path, claim: &str, more: &[&str]) -> (Output, bool) {
    let path = folder.join("claim.toml");
    std::fs::write(&path, claim).expect("the claim is written");
    let output = scalecert(&[&["prove", path.to_str().expect("UTF-8")], more].concat());
    (output, folder.join("claim.cert.json").exists())
}

fn verdict(folder: &Path, certificate: &str) -> Verdict {
    let statement = Statement::load(&folder.join("claim.toml"), None).expect("the claim is valid");
    let bytes = std::fs::read(folder.join(certificate)).expect("the certificate was written");
    verify(&statement, &bytes, &Config::default()).expect("it is a certificate").verdict()
}

#[test]
fn certified_exits_0_and_writes_a_certificate_that_verifies() {
    let folder = folder();
    let claim = digits_claim("[7]", &blocks(2), "1/32", "tolerance = \"2\"");
    let (output, written) = prove(folder.path(), &claim, &[]);
    assert_eq!(output.status.code(), Some(0));
    assert!(written);
    assert_eq!(verdict(folder.path(), "claim.cert.json"), Verdict::Verified);
}

#[test]
fn refuted_exits_10_and_writes_a_witness() {
    let folder = folder();
    let claim = digits_claim("[7]", &blocks(2), "1/32", "tolerance = \"1/10\"");
    let (output, written) = prove(folder.path(), &claim, &[]);
    assert_eq!(output.status.code(), Some(10));
    assert!(written);
    assert_eq!(verdict(folder.path(), "claim.cert.json"), Verdict::Refuted);
}

#[test]
fn unknown_exits_20_and_writes_nothing() {
    let folder = folder();
    // Intervals alone cannot show this, and no attack can break it.
    let claim = digits_claim("[7]", &blocks(2), "1/32", "tolerance = \"3\"");
    let (output, written) = prove(folder.path(), &claim, &["--method", "interval"]);
    assert_eq!(output.status.code(), Some(20));
    assert!(!written);
}

#[test]
fn gzip_is_chosen_by_the_name_and_verifies() {
    let folder = folder();
    let target = folder.path().join("c.json.gz");
    let claim = digits_claim("[7]", &blocks(2), "1/32", "tolerance = \"2\"");
    let (output, _) = prove(folder.path(), &claim, &["-o", target.to_str().expect("UTF-8")]);
    assert_eq!(output.status.code(), Some(0));
    assert!(std::fs::read(&target).expect("the certificate was written").starts_with(&[0x1f, 0x8b]));
    assert_eq!(verdict(folder.path(), "c.json.gz"), Verdict::Verified);
}

#[test]
fn json_names_status_attack_and_proof_with_exact_numbers() {
    let folder = folder();
    let claim = digits_claim("[7]", &blocks(2), "1/32", "tolerance = \"2\"");
    let (output, _) = prove(folder.path(), &claim, &["--json", "--method", "all"]);
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).expect("one JSON object");
    let row = &json["rows"][0];
    assert_eq!(row["row"], 7);
    assert_eq!(row["status"], "certified");
    let attacked = row["attacked"]["approximate"].as_f64().expect("a number");
    for method in ["interval", "crown", "alpha", "lp"] {
        assert!(row["proven"][method]["exact"].is_string());
        assert!(row["proven"][method]["approximate"].as_f64().expect("a number") >= attacked);
    }
}

#[test]
fn bad_input_exits_2_with_place_and_fix_and_leaves_no_file() {
    let folder = folder();
    for (claim, place, fix) in [
        (
            digits_claim("[7]", &blocks(3), "1/32", "tolerance = \"2\""),
            "claim.toml:8",
            "block sizes that do: 1, 2, 4, 8",
        ),
        (digits_claim("[7]", &blocks(2), "1/32", "tolerance = 0.5"), "claim.toml:11", "in quotes"),
        (digits_claim("[7]", &blocks(2), "1/32", "tolerances = \"1\""), "claim.toml:11", "tolerance"),
        (digits_claim("[450]", &blocks(2), "1/32", "tolerance = \"1\""), "digits-test.csv", "450 rows"),
    ] {
        let (output, written) = prove(folder.path(), &claim, &[]);
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{message}");
        assert!(message.contains(place), "{message}");
        assert!(message.contains(fix), "{message}");
        assert!(!written);
    }
}

#[test]
fn a_failed_write_keeps_the_old_certificate() {
    let folder = folder();
    let claim = digits_claim("[7]", &blocks(2), "1/32", "tolerance = \"2\"");
    let target = folder.path().join("missing").join("c.json");
    let (output, _) = prove(folder.path(), &claim, &["-o", target.to_str().expect("UTF-8")]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("cannot write"));
    let left: Vec<_> =
        std::fs::read_dir(folder.path()).expect("the folder").map(|f| f.expect("an entry").file_name()).collect();
    assert_eq!(left, ["claim.toml"]);
}

#[test]
fn inspect_lists_the_sites() {
    let model = support::root().join("models/digits-mlp.onnx");
    let output = scalecert(&["inspect", model.to_str().expect("UTF-8")]);
    assert_eq!(output.status.code(), Some(0));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    for site in ["input", "hidden1.pre", "hidden1", "hidden2.pre", "hidden2", "logits"] {
        assert!(text.contains(site), "{text}");
    }
}

#[test]
fn numbers_beyond_floating_point_are_no_fault() {
    let folder = folder();
    let mode =
        |last: &str| vec!["\"1\"".to_owned(); 63].into_iter().chain([last.to_owned()]).collect::<Vec<_>>().join(", ");
    let modes = format!("[[{}], [{}]]", mode("\"1e400\""), mode("\"0\""));
    let scale = format!("{{ family = \"matrix\", modes = {modes}, cutoff = 2 }}");
    let (output, _) =
        prove(folder.path(), &digits_claim("[7]", &scale, "1/32", "tolerance = \"5\""), &["--method", "crown"]);
    assert!([Some(0), Some(20)].contains(&output.status.code()), "{}", String::from_utf8_lossy(&output.stderr));
}
