//! `scalecert` as a person meets it: exit codes, messages, files.

use crate::support::{self, blocks, digits_claim, folder, scalecert};
use scalecheck::verify::{Config, Statement, Verdict, verify};
use std::path::Path;
use std::process::{Command, Output};

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

/// A folder with copies of what the commands below read, as a user would have them.
fn desk() -> tempfile::TempDir {
    let folder = folder();
    for (from, to) in [("models/digits-mlp.onnx", "m.onnx"), ("models/digits-test.csv", "d.csv")] {
        std::fs::copy(support::root().join(from), folder.path().join(to)).expect("a copy");
    }
    let claim = |rows: &str| {
        format!(
            "model = \"m.onnx\"\n[inputs]\nfile = \"d.csv\"\nrows = {rows}\n[[perturb]]\nsite = \"input\"\nscale = {}\n\
             amplitude = \"1/64\"\n[output]\ntolerance = \"2\"\n",
            blocks(2)
        )
    };
    let put = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).expect("a writable folder");
    put("c.toml", &claim("[7]"));
    put("many.toml", &claim("\"0..300\""));
    let region = "[inputs]\nbox = { lower = 0, upper = 1 }\n[output]\ntolerance = \"1000\"\n";
    put("same.toml", &format!("model = \"m.onnx\"\nreplace = \"m.onnx\"\n{region}"));
    put(
        "cut.toml",
        &format!(
            "model = \"m.onnx\"\n[[truncate]]\nsite = \"hidden2.pre\"\nscale = {{ family = \"block-mean\", shape = [32], \
         cutoff = 2 }}\n{region}"
        ),
    );
    folder
}

fn at(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_scalecert")).args(arguments).current_dir(folder).output().expect("scalecert runs")
}

/// Every command, in an order in which each finds what it needs, with a key of its JSON answer.
const COMMANDS: [(&[&str], &str); 17] = [
    (&["inspect", "m.onnx"], "tensors"),
    (&["init", "m.onnx", "-o", "init.toml"], "claim"),
    (&["prove", "c.toml"], "rows"),
    (&["explain", "c.toml", "c.cert.json"], "proofs"),
    (&["dial", "c.toml"], "dials"),
    (&["flow", "c.toml", "--at", "hidden1={ family = \"block-mean\", shape = [64] }"], "bands"),
    (&["report", "c.toml", "c.cert.json", "-o", "r.html"], "claims"),
    (&["plot", "c.dial.toml", "c.dial.cert.json.gz", "-o", "plots"], "pictures"),
    (&["prove", "same.toml", "--method", "crown"], "rows"),
    (&["chain", "same.toml", "--link", "same.toml", "same.cert.json", "-o", "chain.json"], "proven"),
    (&["coarsen", "cut.toml", "-o", "coarse.onnx"], "tried"),
    (&["ladder", "pca", "--data", "d.csv", "--rows", "0..40", "-o", "pca.toml"], "variance"),
    (&["ladder", "dct", "--shape", "8,8", "-o", "dct.toml"], "ladder"),
    (&["sign", "--new-key", "key"], "public_key"),
    (&["sign", "--key", "key", "c.cert.json"], "signatures"),
    (&["completions", "bash"], "completions"),
    (&["man", "man"], "folder"),
];

/// `--json` prints one object and nothing else, of an error too; `--quiet` prints nothing; the exit code is the same.
#[test]
fn every_command_answers_as_text_as_json_or_with_its_exit_code_alone() {
    let [text, json, quiet] = [desk(), desk(), desk()];
    for (command, key) in COMMANDS {
        let said = at(text.path(), command);
        let message = String::from_utf8_lossy(&said.stderr).into_owned();
        assert!([Some(0), Some(10), Some(20)].contains(&said.status.code()), "{command:?}: {message}");
        assert!(!said.stdout.is_empty() && said.stderr.is_empty(), "{command:?}: {message}");

        let object = at(json.path(), &[command, &["--json"]].concat());
        let value: serde_json::Value = serde_json::from_slice(&object.stdout).expect("one JSON object");
        assert!(value.get(key).is_some(), "{command:?} has no `{key}`");
        assert!(object.stderr.is_empty(), "{command:?}");

        let nothing = at(quiet.path(), &[&["--quiet"], command].concat());
        assert!(nothing.stdout.is_empty() && nothing.stderr.is_empty(), "{command:?}");
        assert_eq!([object.status.code(), nothing.status.code()], [said.status.code(); 2], "{command:?}");
    }
    // All of them wrote the same files.
    let names = |folder: &Path| {
        let all = std::fs::read_dir(folder).expect("the folder").map(|f| f.expect("an entry").file_name());
        all.collect::<std::collections::BTreeSet<_>>()
    };
    assert_eq!(names(text.path()), names(json.path()));
    assert_eq!(names(text.path()), names(quiet.path()));

    let wrong = at(json.path(), &["prove", "none.toml", "--json"]);
    let value: serde_json::Value = serde_json::from_slice(&wrong.stdout).expect("one JSON object");
    assert!(value["error"].as_str().is_some_and(|error| error.contains("none.toml")), "{value}");
    assert_eq!((wrong.status.code(), wrong.stderr.is_empty()), (Some(2), true));
    let wrong = at(quiet.path(), &["prove", "none.toml", "--quiet"]);
    assert_eq!((wrong.status.code(), wrong.stdout.is_empty(), wrong.stderr.is_empty()), (Some(2), true, false));
    let both = at(quiet.path(), &["prove", "c.toml", "--quiet", "--json"]);
    assert_eq!(both.status.code(), Some(2));
}

/// What a command prints on a terminal of so many columns.
#[cfg(target_os = "linux")]
fn on_terminal(folder: &Path, columns: u32, command: &str, environment: &[(&str, &str)]) -> String {
    let program = env!("CARGO_BIN_EXE_scalecert");
    let script = format!("stty cols {columns} rows 40; '{program}' {command}");
    let output = Command::new("script")
        .args(["-qec", &script, "/dev/null"])
        .env_remove("NO_COLOR")
        .env("TERM", "xterm")
        .envs(environment.iter().copied())
        .current_dir(folder)
        .output()
        .expect("`script`, of util-linux, gives a terminal");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
#[cfg(target_os = "linux")]
fn tables_fit_the_window_and_colours_honour_no_color() {
    let folder = desk();
    for columns in [40, 60, 200] {
        // Progress is cleared away; what stays is plain.
        let said = on_terminal(folder.path(), columns, "prove c.toml --method all 2>/dev/null", &[("NO_COLOR", "1")]);
        assert!(!said.contains('\x1b'), "{said:?}");
        let rules: Vec<&str> = said.lines().filter(|line| line.starts_with(['─', '═'])).map(str::trim_end).collect();
        assert_eq!(rules.len(), 3, "{said}");
        assert!(rules.iter().all(|rule| rule.chars().count() <= columns as usize), "{columns}: {said}");
    }
    let said = on_terminal(folder.path(), 200, "prove c.toml 2>/dev/null", &[]);
    assert!(said.contains("\x1b[38;5;10m") || said.contains("\x1b[32m"), "{said:?}");
    let wrong = on_terminal(folder.path(), 200, "prove none.toml", &[]);
    assert!(wrong.contains("\x1b[31m"), "{wrong:?}");
    let plain = on_terminal(folder.path(), 200, "prove none.toml", &[("NO_COLOR", "1")]);
    assert!(!plain.contains('\x1b'), "{plain:?}");
    // Progress is shown on a terminal, and nowhere else, nor where quiet is asked for.
    assert!(on_terminal(folder.path(), 80, "prove many.toml --method crown >/dev/null", &[]).contains("/300 rows"));
    assert_eq!(on_terminal(folder.path(), 80, "prove many.toml --method crown --quiet", &[]), "");
}

/// Ctrl-C ends with what is known, and the same command goes on with the rest.
#[test]
#[cfg(unix)]
fn an_interrupted_proof_is_gone_on_with() {
    let folder = desk();
    let partial = folder.path().join("many.cert.json.partial");
    let lines = || std::fs::read_to_string(&partial).map_or(0, |text| text.lines().count());
    let command = ["prove", "many.toml", "--method", "lp", "--json"];
    let mut first = Command::new(env!("CARGO_BIN_EXE_scalecert"));
    let first = first.args(command).current_dir(folder.path()).stdout(std::process::Stdio::piped());
    let first = first.stderr(std::process::Stdio::null()).spawn().expect("scalecert runs");
    // A header, and some rows.
    while lines() < 4 {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let sent = Command::new("kill").args(["-INT", &first.id().to_string()]).status().expect("a signal is sent");
    assert!(sent.success());
    let first = first.wait_with_output().expect("it ends");
    let value: serde_json::Value = serde_json::from_slice(&first.stdout).expect("one JSON object");
    let decided = |value: &serde_json::Value| {
        let rows = value["rows"].as_array().expect("rows").clone();
        rows.iter().filter(|row| row["status"] != "unknown").count()
    };
    let known = decided(&value);
    assert_eq!((first.status.code(), &value["interrupted"]), (Some(20), &true.into()));
    assert!((3..300).contains(&known), "{known} rows");
    assert_eq!(lines(), known + 1, "what is known is kept");
    let statement = Statement::load(&folder.path().join("many.toml"), None).expect("the claim is valid");
    let check = || {
        let bytes = std::fs::read(folder.path().join("many.cert.json")).expect("the certificate was written");
        verify(&statement, &bytes, &Config::default()).expect("it is a certificate")
    };
    let answered = |report: &scalecheck::verify::Report| {
        let rows = &report.settings[0].rows;
        rows.iter().filter(|(_, verdict)| verdict.established().is_some()).count()
    };
    assert_eq!(answered(&check()), known);

    // Other ways of working have nothing of it; the same one goes on.
    let second = at(folder.path(), &command[..4]);
    let said = String::from_utf8_lossy(&second.stdout).into_owned();
    assert!(said.contains(&format!("{known} of 300 rows are known from many.cert.json.partial")), "{said}");
    assert!(!partial.exists());
    assert!(answered(&check()) > known);
}

/// The same within a single row, which is searched by cases.
#[test]
#[cfg(unix)]
fn an_interrupted_search_is_gone_on_with() {
    let folder = folder();
    let root = support::root();
    std::fs::copy(root.join("models/pendulum.onnx"), folder.path().join("pendulum.onnx")).expect("a copy");
    let claim = std::fs::read_to_string(root.join("specs/claims/pendulum-noise.toml")).expect("the claim");
    std::fs::write(folder.path().join("claim.toml"), claim.replace("../../models/", "")).expect("the claim is written");
    let command = ["prove", "claim.toml", "--timeout", "600"];
    let (partial, certificate) = (folder.path().join("claim.cert.json.partial"), folder.path().join("claim.cert.json"));
    // A fast machine may be done with it before it is interrupted.
    for wait in [1000, 500, 250, 125] {
        let mut first = Command::new(env!("CARGO_BIN_EXE_scalecert"));
        let first = first.args(command).current_dir(folder.path()).stdout(std::process::Stdio::null());
        let mut first = first.stderr(std::process::Stdio::null()).spawn().expect("scalecert runs");
        std::thread::sleep(std::time::Duration::from_millis(wait));
        let sent = Command::new("kill").args(["-INT", &first.id().to_string()]).status().expect("a signal is sent");
        let code = first.wait().expect("it ends").code();
        if sent.success() && code == Some(20) {
            break;
        }
        std::fs::remove_file(&certificate).expect("it was certified");
    }
    assert!(partial.exists() && !certificate.exists());
    let second = at(folder.path(), &command);
    let said = String::from_utf8_lossy(&second.stdout).into_owned();
    assert_eq!(second.status.code(), Some(0), "{said}");
    assert!(said.contains("cases goes on from claim.cert.json.partial"), "{said}");
    assert!(!partial.exists());
    assert_eq!(verdict(folder.path(), "claim.cert.json"), Verdict::Verified);
}

/// A certificate that `scalecheck` would not read by itself is written all the same, with what to allow it.
#[test]
fn what_a_large_certificate_needs_is_said() {
    let folder = folder();
    let put = |bytes: &[u8]| scalecert::bundle::put(&folder.path().join("c.json"), bytes).expect("it is written");
    assert_eq!(put(&[b'{'; 1000]), None);
    assert_eq!(put(&vec![b'{'; 2_000_000]), Some(2_000_000 * 384));
}
