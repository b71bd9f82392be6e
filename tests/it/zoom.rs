//! The zoom lens: ladders, the dial, the flow, and the model organisms, as a person meets them.

use crate::support::{blocks, digits_claim, folder, root, scalecert};
use scalecert::bundle::prove_rows;
use scalecert::prove::{Config, Status};
use scalecheck::error::Code;
use scalecheck::number::{Rational, parse_rational};
use scalecheck::verify::{Config as CheckConfig, Report, RowVerdict, Statement, Verdict, verify};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// What a run that succeeds prints as JSON.
fn json(arguments: &[&str]) -> Value {
    let output = scalecert(arguments);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

fn write(folder: &Path, name: &str, text: &str) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, text).expect("a writable folder");
    path
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// The verdict on a claim and certificate on disk.
fn check(claim: &Path, certificate: &Path) -> scalecheck::error::Result<Report> {
    let bytes = std::fs::read(certificate).expect("the certificate was written");
    verify(&Statement::load(claim, None)?, &bytes, &CheckConfig::default())
}

fn exact(number: &Value) -> Rational {
    parse_rational(number["exact"].as_str().expect("an exact number")).expect("a rational")
}

/// A claim on 20 rows at the first hidden layer.
fn hidden_claim(scale: &str, amplitude: &str) -> String {
    digits_claim("\"0..20\"", scale, amplitude, "tolerance = \"1\"")
        .replace("site = \"input\"", "site = \"hidden1\"")
        .replace("valid = [\"0\", \"1\"]\n", "")
}

fn dictionary(folder: &Path) -> String {
    let sae = root().join("models/digits-sae.safetensors");
    let ladder = format!(
        "family = \"dictionary\"\natoms = {{ file = {sae:?}, tensor = \"decoder\" }}\n\
         bounds = {{ file = {sae:?}, tensor = \"bounds\" }}\nnested = [96, 48, 24, 12, 0]\nresidual = \"1/100\"\n"
    );
    write(folder, "sae.toml", &ladder);
    "{ ladder = \"sae.toml\", cutoff = 2 }".to_owned()
}

/// How many rows of an example claim have each status: certified, refuted, unknown.
fn statuses(claim: &str) -> [usize; 3] {
    let claim = root().join("specs/claims").join(claim);
    let statement = Statement::load(&claim, None).expect("the claim is valid");
    let outcomes = prove_rows(&statement, &Config::default(), &|_| (), || ()).expect("the prover works on every row");
    [Status::Certified, Status::Refuted, Status::Unknown]
        .map(|status| outcomes.iter().filter(|outcome| outcome.status == status).count())
}

#[test]
fn a_network_that_reads_only_block_means_is_certified_with_tolerance_exactly_0() {
    assert_eq!(statuses("reads-means.toml"), [20, 0, 0]);
}

#[test]
fn a_planted_backdoor_is_refuted_at_every_row_and_never_certified() {
    assert_eq!(statuses("backdoor.toml"), [0, 20, 0]);
}

#[test]
fn leading_principal_components_mislead_where_block_means_do_not() {
    assert_eq!(statuses("misleading-pca.toml"), [0, 20, 0]);
    assert_eq!(statuses("misleading-means.toml"), [20, 0, 0]);
}

#[test]
fn a_dictionary_dial_is_certified_within_1_3_times_the_attack_at_every_level() {
    let folder = folder();
    let scale = dictionary(folder.path());
    let claim = write(folder.path(), "claim.toml", &hidden_claim(&scale, "1/8"));
    let dial = json(&["dial", text(&claim), "--json"]);
    let settings = dial["dials"][0]["settings"].as_array().expect("settings");
    assert_eq!(settings.len(), 6);
    for setting in settings {
        let ratio = setting["mean_ratio"].as_f64().expect("an attack moves something at every level");
        assert!((1.0..=1.3).contains(&ratio), "{setting}");
    }
    let report = check(&folder.path().join("claim.dial.toml"), &folder.path().join("claim.dial.cert.json.gz"));
    assert_eq!(report.expect("a readable certificate").verdict(), Verdict::Verified);
}

#[test]
fn a_dial_is_monotone_and_its_bundle_verifies_every_number_of_its_table() {
    let folder = folder();
    let claim = digits_claim("\"0..3\"", &blocks(2), "1/32", "tolerance = \"1\"");
    let claim = write(folder.path(), "claim.toml", &claim);
    let amplitudes = ["1/64", "1/32"];
    let arguments = ["dial", text(&claim), "--json", "--separation", "--control", "box,random"];
    let dial = json(&[&arguments[..], &["--amplitudes", &amplitudes.join(",")]].concat());
    let settings = dial["dials"][0]["settings"].as_array().expect("settings");
    for amplitude in amplitudes {
        let ladder = settings.iter().filter(|s| s["amplitude"] == amplitude && s["scale"] == "ladder");
        let (rungs, bands): (Vec<&Value>, Vec<&Value>) = ladder.partition(|s| s["seen"].is_null());
        assert_eq!((rungs.len(), bands.len()), (4, 3));
        let proven: Vec<Rational> = rungs.iter().map(|s| exact(&s["proven"])).collect();
        let attacked: Vec<Rational> = rungs.iter().map(|s| exact(&s["attacked"])).collect();
        assert!(proven.is_sorted() && attacked.is_sorted(), "{proven:?} {attacked:?}");
        assert_eq!(proven[0], Rational::default(), "nothing is finer than a pixel");
        let plain = settings.iter().find(|s| s["amplitude"] == amplitude && s["scale"] == "box").expect("the control");
        assert!(proven[3] <= exact(&plain["proven"]));
        for setting in rungs {
            assert!(exact(&setting["attacked"]) <= exact(&setting["proven"]));
        }
    }
    let report = check(&folder.path().join("claim.dial.toml"), &folder.path().join("claim.dial.cert.json.gz"));
    let report = report.expect("a readable certificate");
    assert_eq!(report.verdict(), Verdict::Verified);
    assert!(!report.separations.is_empty());
    assert!(!folder.path().join("claim.dial.partial").exists(), "nothing is left of the journal");
}

#[test]
fn an_interrupted_dial_goes_on_where_it_stopped() {
    let folder = folder();
    let claim = digits_claim("\"0..3\"", &blocks(2), "1/32", "tolerance = \"1\"");
    let claim = write(folder.path(), "claim.toml", &claim);
    let journal = folder.path().join("claim.dial.partial");
    let lines = || std::fs::read_to_string(&journal).expect("a journal").lines().count();
    // Everything is explored, and then the certificate cannot be written.
    let stopped = scalecert(&["dial", text(&claim), "-o", text(&folder.path().join("missing/c.json"))]);
    assert_eq!(stopped.status.code(), Some(2));
    assert_eq!(lines(), 1 + 4 * 3, "a header, and an entry for every setting and row");
    // A line that was cut off, as by a kill, is worked out again; so is one that is gone.
    let full = std::fs::read_to_string(&journal).expect("a journal");
    let cut: Vec<&str> = full.lines().take(9).collect();
    std::fs::write(&journal, cut.join("\n") + "\n{\"setting\": \"fal").expect("a writable folder");
    json(&["dial", text(&claim), "--json"]);
    let file = |ending: &str| folder.path().join(format!("claim.{ending}"));
    let report = check(&file("dial.toml"), &file("dial.cert.json.gz")).expect("a readable certificate");
    assert_eq!(report.verdict(), Verdict::Verified);
    assert!(!journal.exists(), "nothing is left of the journal");
    // What a journal says is taken over, but never believed: a bound that is too good is refused by the checker.
    let entry = |line: &str| {
        let mut entry: Value = serde_json::from_str(line).expect("an entry");
        entry["finding"]["proven"][0] = "0".into();
        entry.to_string()
    };
    let forged: Vec<String> = full.lines().enumerate().map(|(i, l)| if i == 0 { l.into() } else { entry(l) }).collect();
    std::fs::write(&journal, forged.join("\n")).expect("a writable folder");
    let refused = scalecert(&["dial", text(&claim)]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("the checker rejects"));
    assert!(!journal.exists(), "a journal that leads to a rejected certificate is not used again");
}

#[test]
fn a_ladder_file_with_one_bit_changed_is_another_claim() {
    let folder = folder();
    let data = root().join("models/digits-test.csv");
    let ladder = folder.path().join("pca.toml");
    let output = scalecert(&["ladder", "pca", "--data", text(&data), "-o", text(&ladder)]);
    assert_eq!(output.status.code(), Some(0));
    let scale = "{ ladder = \"pca.toml\", cutoff = 16 }";
    let claim = digits_claim("[7]", scale, "1/32", "tolerance = \"3\"");
    let claim = write(folder.path(), "claim.toml", &claim);
    assert_eq!(scalecert(&["prove", text(&claim)]).status.code(), Some(0));
    let certificate = folder.path().join("claim.cert.json");
    assert_eq!(check(&claim, &certificate).expect("a certificate").verdict(), Verdict::Verified);
    let matrix = folder.path().join("pca.safetensors");
    let mut bytes = std::fs::read(&matrix).expect("the matrix");
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    std::fs::write(&matrix, &bytes).expect("a writable folder");
    assert_eq!(check(&claim, &certificate).err().map(|e| e.code), Some(Code::DataMismatch));
}

#[test]
fn clusters_are_a_ladder_of_which_every_rung_is_certified() {
    let folder = folder();
    let (data, model) = (root().join("models/digits-test.csv"), root().join("models/digits-mlp.onnx"));
    let ladder = folder.path().join("clusters.toml");
    let made = ["ladder", "clusters", "--data", text(&data), "--model", text(&model), "--site", "hidden1"];
    assert_eq!(scalecert(&[&made[..], &["--rows", "0..100", "-o", text(&ladder)]].concat()).status.code(), Some(0));
    let claim = hidden_claim("{ ladder = \"clusters.toml\", cutoff = 1 }", "1/32").replace("\"0..20\"", "[3]");
    let claim = write(folder.path(), "claim.toml", &claim);
    let dial = json(&["dial", text(&claim), "--json"]);
    let settings = dial["dials"][0]["settings"].as_array().expect("settings");
    assert_eq!(settings.len(), 7, "64 neurons, halved six times");
    assert!(settings.iter().all(|s| exact(&s["attacked"]) <= exact(&s["proven"])));
}

#[test]
fn cosine_modes_keep_what_their_frequencies_see() {
    let folder = folder();
    let ladder = folder.path().join("dct.toml");
    assert_eq!(scalecert(&["ladder", "dct", "--shape", "8,8", "-o", text(&ladder)]).status.code(), Some(0));
    let claim = digits_claim("[7]", "{ ladder = \"dct.toml\", cutoff = 4 }", "1/32", "tolerance = \"3\"");
    let claim = write(folder.path(), "claim.toml", &claim);
    let dial = json(&["dial", text(&claim), "--json", "--cutoffs", "8,4,0"]);
    let proven: Vec<f64> = dial["dials"][0]["settings"]
        .as_array()
        .expect("settings")
        .iter()
        .map(|s| s["proven"]["approximate"].as_f64().expect("a number"))
        .collect();
    assert!(proven[0] < 1e-6, "all frequencies are kept: {proven:?}");
    assert!(proven[0] < proven[1] && proven[1] < proven[2], "{proven:?}");
}

#[test]
fn a_flow_is_certified_band_by_band() {
    let folder = folder();
    let claim = digits_claim("[7]", &blocks(2), "1/32", "tolerance = \"1\"");
    let claim = write(folder.path(), "claim.toml", &claim);
    let at =
        ["hidden1.pre={ family = \"block-mean\", shape = [64] }", "hidden2={ family = \"block-mean\", shape = [32] }"];
    let flow = json(&["flow", text(&claim), "--at", at[0], "--at", at[1], "--json"]);
    let bands = flow["bands"].as_array().expect("bands");
    assert_eq!(bands.len(), 7 + 6);
    for band in bands {
        assert!(exact(&band["lower_bound"]) <= exact(&band["upper_bound"]), "{band}");
    }
    let report = check(&folder.path().join("claim.flow.toml"), &folder.path().join("claim.flow.cert.json.gz"));
    assert_eq!(report.expect("a readable certificate").verdict(), Verdict::Verified);
}

#[test]
fn checkpoints_are_shown_side_by_side_each_with_a_bundle_of_its_own() {
    let folder = folder();
    let claim = digits_claim("[7]", &blocks(2), "1/32", "tolerance = \"1\"");
    let claim = write(folder.path(), "claim.toml", &claim);
    let models = ["digits-mlp-epoch-1", "digits-mlp-epoch-100"];
    let paths: Vec<PathBuf> = models.iter().map(|m| root().join(format!("models/{m}.onnx"))).collect();
    let output = scalecert(&["dial", text(&claim), "--cutoffs", "2,8", "--models", text(&paths[0]), text(&paths[1])]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8_lossy(&output.stdout).contains("side by side"));
    for model in models {
        let file = |ending: &str| folder.path().join(format!("claim.{model}.{ending}"));
        let report = check(&file("dial.toml"), &file("dial.cert.json.gz")).expect("a readable certificate");
        assert_eq!(report.verdict(), Verdict::Verified);
    }
}

#[test]
fn changed_weights_are_bracketed_and_a_witness_refutes() {
    let folder = folder();
    let perturb = "weights = \"all\"\nerror = \"relative\"\namplitude = \"1/1000\"";
    let claim = |tolerance: &str| {
        let text = digits_claim("[7]", &blocks(2), "1/32", &format!("tolerance = \"{tolerance}\""));
        let (start, end) = (text.find("site =").expect("a site"), text.find("[output]").expect("an output"));
        format!("{}{perturb}\n{}", &text[..start], &text[end..])
    };
    for (tolerance, code, verdict) in [("1", 0, Verdict::Verified), ("1/100", 10, Verdict::Refuted)] {
        let claim = write(folder.path(), "claim.toml", &claim(tolerance));
        let output = scalecert(&["prove", text(&claim)]);
        assert_eq!(output.status.code(), Some(code), "{}", String::from_utf8_lossy(&output.stderr));
        let report = check(&claim, &folder.path().join("claim.cert.json")).expect("a readable certificate");
        assert_eq!(report.verdict(), verdict);
    }
}

#[test]
fn a_separation_of_scales_is_one_claim_with_a_proof_and_a_witness() {
    let claim = root().join("specs/claims/digits-separation.toml");
    let report = check(&claim, &root().join("certificates/digits-separation.cert.json.gz")).expect("a certificate");
    assert_eq!(report.verdict(), Verdict::Verified);
    let [separation] = &report.separations[..] else { panic!("{:?}", report.separations) };
    assert!(separation.gap.as_ref().expect("a gap") > &Rational::from_integer(2.into()));
    // One row that reaches it is enough, also for the prover.
    let folder = folder();
    let again = folder.path().join("again.json");
    assert_eq!(scalecert(&["prove", text(&claim), "-o", text(&again)]).status.code(), Some(0));
    let reached = |v: &RowVerdict| matches!(v, RowVerdict::Reached { .. });
    assert!(report.settings[separation.band].rows.iter().any(|(_, v)| reached(v)));
}

#[test]
fn what_a_dial_cannot_do_is_an_error_that_says_so() {
    let folder = folder();
    let winner = digits_claim("[7]", &blocks(2), "1/32", "decision = \"winner\"");
    let winner = write(folder.path(), "winner.toml", &winner);
    let fine = digits_claim("[7]", &blocks(2), "1/32", "tolerance = \"1\"");
    let fine = write(folder.path(), "fine.toml", &fine);
    for (arguments, message) in [
        (vec!["dial", text(&winner)], "tolerance"),
        (vec!["dial", text(&fine), "--cutoffs", "3"], "block sizes that do: 1, 2, 4, 8"),
        (vec!["dial", text(&fine), "--amplitudes", "x"], "exact number"),
        (vec!["flow", text(&fine), "--at", "hidden1"], "NAME=LADDER"),
        (vec!["flow", text(&fine), "--at", "hidden1={ family = \"curvelet\" }"], "curvelet"),
    ] {
        let output = scalecert(&arguments);
        let shown = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{shown}");
        assert!(shown.contains(message), "{shown}");
    }
    let names: Vec<_> =
        std::fs::read_dir(folder.path()).expect("a folder").map(|f| f.expect("a file").file_name()).collect();
    assert_eq!(names.len(), 2, "nothing is left behind: {names:?}");
}
