//! `scalecert instances`: a tiny benchmark folder about the digits model.

use crate::support::{root, scalecheck};
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

/// What is unsafe about the second test digit, a 0, if every pixel is off by at most `radius`: another digit is as large.
fn property(radius: f64) -> String {
    let data = fs::read_to_string(root().join("models/digits-test.csv")).expect("the test digits");
    let pixels = data.lines().nth(2).expect("a digit").split(',').skip(1);
    let pixels: Vec<f64> = pixels.map(|p| p.parse().expect("a pixel")).collect();
    let declared = (0..64).map(|i| format!("(declare-const X_{i} Real)\n"));
    let outputs = (0..10).map(|i| format!("(declare-const Y_{i} Real)\n"));
    let sides =
        |(i, p): (usize, &f64)| format!("(assert (>= X_{i} {}))\n(assert (<= X_{i} {}))\n", p - radius, p + radius);
    let larger: String = (1..10).map(|i| format!(" (>= Y_{i} Y_0)")).collect();
    let boxes = pixels.iter().enumerate().map(sides);
    declared.chain(outputs).chain(boxes).chain([format!("(assert (or{larger}))\n")]).collect()
}

/// A folder with an instance that holds, one that does not, and one whose model is missing.
fn benchmark() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let at = |name: &str| folder.path().join(name);
    fs::create_dir(at("set")).expect("a folder");
    let model = root().join("models/digits-mlp.onnx");
    fs::copy(model, at("set/digits.onnx")).expect("the model is copied");
    fs::write(at("set/small.vnnlib"), property(1.0 / 64.0)).expect("a property");
    fs::write(at("set/large.vnnlib"), property(1.0)).expect("a property");
    let lines = "digits.onnx,small.vnnlib,60\r\ndigits.onnx,large.vnnlib,60.5\n\nnone.onnx,small.vnnlib,60\n";
    fs::write(at("set/instances.csv"), lines).expect("the instances");
    folder
}

fn instances(program: &Path, folder: &Path, more: &[&str]) -> Output {
    let command = Command::new(program).args(["instances", "set"]).args(more).current_dir(folder).output();
    command.expect("scalecert runs")
}

fn scalecert() -> &'static Path {
    // `instances` looks for the checker beside it.
    scalecheck();
    Path::new(env!("CARGO_BIN_EXE_scalecert"))
}

/// Text of an output, for messages of failed tests too.
fn text(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr[..]].concat()).into_owned()
}

#[test]
fn every_instance_has_a_row_and_the_checkers_verdict() {
    let folder = benchmark();
    let output = instances(scalecert(), folder.path(), &["-o", "all.csv", "--certificates", "kept"]);
    let said = text(&output);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains("none.onnx small.vnnlib: ") && said.contains("wrote all.csv"), "{said}");
    let rows = fs::read_to_string(folder.path().join("all.csv")).expect("the results");
    let rows: Vec<Vec<&str>> = rows.lines().map(|row| row.split(',').collect()).collect();
    let [header, certified, refuted, missing] = &rows[..] else { panic!("{rows:?}") };
    assert_eq!(header[6..], ["check_verdict", "cases", "certificate_bytes"]);
    assert_eq!(certified[..4], ["set", "digits.onnx", "small.vnnlib", "certified"]);
    assert_eq!((certified[6], certified[7]), ("verified", "1"));
    assert_eq!((refuted[3], refuted[6], refuted[7]), ("refuted", "refuted", "0"));
    assert_eq!((missing[3], &missing[5..]), ("error", &["", "", "", ""][..]));
    for (row, name) in [(certified, "0001-digits-small"), (refuted, "0002-digits-large")] {
        let kept = folder.path().join(format!("kept/set/{name}.cert.json.gz"));
        let bytes = fs::read(kept).expect("a certificate that was kept");
        assert_eq!(row[8], bytes.len().to_string());
        assert!(row[4..6].iter().all(|seconds| seconds.parse::<f64>().expect("a time") > 0.0), "{row:?}");
    }
    assert!(!folder.path().join("all.csv.partial").exists());
}

#[test]
fn an_interrupted_run_is_gone_on_with() {
    let folder = benchmark();
    let at = |name: &str| folder.path().join(name);
    assert_eq!(instances(scalecert(), folder.path(), &["-o", "all.csv"]).status.code(), Some(0));
    let all = fs::read_to_string(at("all.csv")).expect("the results");
    let rows: Vec<&str> = all.lines().collect();
    // The first row as nobody would find it again, and a line that was not finished.
    let mut first: Vec<&str> = rows[1].split(',').collect();
    first[4] = "123.000000";
    let left = format!("{}\n{}\n{}", rows[0], first.join(","), &rows[2][..rows[2].len() - 3]);
    fs::write(at("again.csv.partial"), left).expect("a partial file");
    let output = instances(scalecert(), folder.path(), &["-o", "again.csv"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert!(text(&output).contains("1 of 3 instances are known from again.csv.partial"), "{}", text(&output));
    let again = fs::read_to_string(at("again.csv")).expect("the results");
    let again: Vec<&str> = again.lines().collect();
    assert_eq!((again.len(), again[1]), (4, &first.join(",")[..]));
    assert!(again[2].starts_with("set,digits.onnx,large.vnnlib,refuted,"), "{}", again[2]);
    // What is about other instances is of no use.
    fs::write(at("other.csv.partial"), format!("{}\n{}\n", rows[0], rows[2])).expect("a partial file");
    let output = instances(scalecert(), folder.path(), &["-o", "other.csv"]);
    assert!(!text(&output).contains("are known"), "{}", text(&output));
}

#[test]
fn the_filter_and_the_timeout_are_heeded() {
    let folder = benchmark();
    let output = instances(scalecert(), folder.path(), &["--filter", "large", "--timeout", "30"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    let rows = fs::read_to_string(folder.path().join("results.csv")).expect("the results");
    assert_eq!(rows.lines().count(), 2, "{rows}");
    for (more, message) in [
        (["--filter", "nothing"], "no instances"),
        (["--timeout", "nan"], "instances.csv:1"),
        (["-o", "missing/results.csv"], "cannot write"),
    ] {
        let output = instances(scalecert(), folder.path(), &more);
        assert_eq!(output.status.code(), Some(2), "{}", text(&output));
        assert!(text(&output).contains(message), "{}", text(&output));
    }
}

#[test]
fn a_line_that_is_not_understood_is_bad_input() {
    let folder = benchmark();
    for (lines, message) in [("digits.onnx,small.vnnlib\n", "instances.csv:1"), ("a,b,soon\n", "`soon`")] {
        fs::write(folder.path().join("set/instances.csv"), lines).expect("the instances");
        let output = instances(scalecert(), folder.path(), &[]);
        assert_eq!(output.status.code(), Some(2), "{}", text(&output));
        assert!(text(&output).contains(message), "{}", text(&output));
    }
}

/// Without a checker beside it there is nothing to run; with one that confirms nothing, the exit code says so.
#[cfg(unix)]
#[test]
fn an_answer_that_is_not_confirmed_exits_1() {
    let folder = benchmark();
    let program = folder.path().join("scalecert");
    // By another process: a file that this one has open for writing, even for a moment, might not start.
    assert!(Command::new("cp").args([scalecert(), &program]).status().expect("cp runs").success());
    let output = instances(&program, folder.path(), &[]);
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
    assert!(text(&output).contains("scalecheck"), "{}", text(&output));
    let deny = std::os::unix::fs::symlink("/bin/sh", folder.path().join("scalecheck"));
    deny.expect("a link to a program that knows no certificates");
    let output = instances(&program, folder.path(), &["--filter", "digits.onnx"]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    assert!(text(&output).contains("did not confirm 2 of the answers"), "{}", text(&output));
}
