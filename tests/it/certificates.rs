//! The certificates in the repository still say what their page says.

use crate::support::root;
use scalecheck::verify::{Config, Statement, verify_with};
use std::collections::BTreeSet;

/// The table of `certificates/README.md`: certificate, claim, verdict.
fn table() -> Vec<[String; 3]> {
    let text = std::fs::read_to_string(root().join("certificates/README.md")).expect("the page exists");
    let rows = text.lines().filter(|line| line.starts_with("| `"));
    rows.map(|line| {
        let cells: Vec<String> = line.split('|').map(|c| c.trim().trim_matches('`').to_owned()).collect();
        [cells[1].clone(), cells[2].clone(), cells[3].clone()]
    })
    .collect()
}

#[test]
fn every_certificate_has_the_verdict_that_its_page_states() {
    let table = table();
    assert!(table.len() >= 5);
    for [certificate, claim, verdict] in &table {
        let statement = Statement::load(&root().join("specs/claims").join(claim), None).expect("the claim is valid");
        let folder = root().join("certificates");
        let bytes = std::fs::read(folder.join(certificate)).expect("the certificate exists");
        let report = verify_with(&statement, &bytes, &folder, &Config::default(), |_, _| ());
        let report = report.expect("it is a certificate");
        assert_eq!(report.verdict().word(), verdict, "{certificate}");
    }
}

#[test]
fn every_example_claim_has_a_certificate_and_every_certificate_a_line() {
    let names = |folder: &str, wanted: &str| -> BTreeSet<String> {
        let entries = std::fs::read_dir(root().join(folder)).expect("the folder exists");
        let names = entries.map(|e| e.expect("an entry").file_name().to_string_lossy().into_owned());
        names.filter(|name| name.contains(wanted)).collect()
    };
    let column = |i: usize| -> BTreeSet<String> { table().into_iter().map(|row| row[i].clone()).collect() };
    assert_eq!(column(0), names("certificates", ".cert.json"));
    assert_eq!(column(1), names("specs/claims", ".toml"));
}
