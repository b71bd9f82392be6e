//! The errors that a newcomer meets first, word for word: each says where, what, and what to do about it.

use crate::onnx::Model;
use crate::support::{blocks, digits_claim, folder, root};
use std::path::Path;
use std::process::Command;

/// What a program says and its exit code, run in a folder.
fn says(program: &str, folder: &Path, arguments: &[&str]) -> (String, Option<i32>) {
    let output = Command::new(program).args(arguments).current_dir(folder).output().expect("the program runs");
    let text = [output.stdout, output.stderr].concat();
    (String::from_utf8(text).expect("UTF-8"), output.status.code())
}

fn prove(folder: &Path, claim: &str) -> (String, Option<i32>) {
    std::fs::write(folder.join("claim.toml"), claim).expect("the claim is written");
    says(env!("CARGO_BIN_EXE_scalecert"), folder, &["prove", "claim.toml"])
}

#[track_caller]
fn assert_says(found: (String, Option<i32>), text: &str, code: i32) {
    assert_eq!((found.0.trim_end(), found.1), (text, Some(code)));
}

const MISSING: &str = "there is no such file; paths in a claim or a policy start from the folder that it is in [io]";

#[test]
fn no_such_claim() {
    let folder = folder();
    let found = says(env!("CARGO_BIN_EXE_scalecert"), folder.path(), &["prove", "nowhere.toml"]);
    assert_says(found, &format!("error: nowhere.toml: {MISSING}"), 2);
}

#[test]
fn no_such_model() {
    let folder = folder();
    let claim = "model = \"models/nowhere.onnx\"\n[inputs]\npoint = [0]\n[[perturb]]\nsite = \"input\"\n\
                 scale = { family = \"none\" }\namplitude = 1\n[output]\ntolerance = 1\n";
    assert_says(prove(folder.path(), claim), &format!("error: models/nowhere.onnx: {MISSING}"), 2);
}

#[test]
fn an_operator_that_is_not_supported() {
    let folder = folder();
    let model = Model::new(&[1, 2]).node("Relu", &["x"], "h").node("Softmax", &["h"], "y").output("y");
    std::fs::write(folder.path().join("m.onnx"), model.bytes()).expect("the model is written");
    let (text, code) = says(env!("CARGO_BIN_EXE_scalecert"), folder.path(), &["inspect", "m.onnx"]);
    let start = "error: m.onnx: node `y` (Softmax): inputs of shapes [[1, 2]]: operator Softmax is not supported; supported are ";
    assert!(text.starts_with(start) && text.contains("Relu") && text.contains("[onnx-unsupported]"), "{text}");
    assert_eq!(code, Some(2));
}

#[test]
fn a_block_size_that_does_not_divide() {
    let folder = folder();
    let found = prove(folder.path(), &digits_claim("[7]", &blocks(3), "1/32", "tolerance = \"1\""));
    let text = "error: claim.toml:8: cutoff 3 does not divide the axes [8, 8] of `shape`; block sizes that do: 1, 2, 4, 8 \
                [claim-shape]";
    assert_says(found, text, 2);
}

#[test]
fn a_scale_that_does_not_fit_the_model() {
    let folder = folder();
    let claim = digits_claim("[7]", &blocks(2), "1/32", "tolerance = \"1\"").replace("[8, 8]", "[4, 4]");
    let text =
        "error: row 7: claim.toml:9: the site `input`: `shape` [4, 4] does not fit its 64 elements [claim-shape]";
    assert_says(prove(folder.path(), &claim), text, 2);
}

#[test]
fn a_key_that_is_misspelt() {
    let folder = folder();
    let claim = digits_claim("[7]", &blocks(2), "1/32", "tolerence = \"1\"");
    let (text, code) = prove(folder.path(), &claim);
    assert!(
        text.contains("claim.toml:11: ")
            && text.contains("tolerence")
            && text.contains("known are tensor, coarse, tolerance,"),
        "{text}"
    );
    assert_eq!(code, Some(2));
}

#[test]
fn a_decimal_without_quotes() {
    let folder = folder();
    let (text, code) = prove(folder.path(), &digits_claim("[7]", &blocks(2), "1/32", "tolerance = 0.5"));
    assert!(text.contains("claim.toml:11: ") && text.contains("quotes"), "{text}");
    assert_eq!(code, Some(2));
}

#[test]
fn a_certificate_of_another_claim() {
    let [claim, certificate] = ["specs/claims/digits-groups.toml", "certificates/digits-box.cert.json"];
    let statement = scalecheck::verify::Statement::load(&root().join(claim), None).expect("the claim is valid");
    let bytes = std::fs::read(root().join(certificate)).expect("the certificate is there");
    let error = scalecheck::verify::verify(&statement, &bytes, &Default::default()).err().expect("a mismatch");
    let text = error.to_string();
    let text: Vec<&str> = text.trim_end().split("; SHA-256 there: ").collect();
    let start = "the certificate is about another claim; have one made for this, or take what it was made for";
    assert_eq!(text[0], start);
    assert!(text[1].contains(", here: ") && text[1].ends_with("[claim-mismatch]"), "{text:?}");
}

#[test]
fn init_writes_a_claim_that_can_be_proven_and_replaces_none() {
    let folder = folder();
    std::fs::copy(root().join("models/pendulum.onnx"), folder.path().join("pendulum.onnx"))
        .expect("the model is there");
    let run = |arguments: &[&str]| says(env!("CARGO_BIN_EXE_scalecert"), folder.path(), arguments);
    let written = "wrote pendulum.toml\nread it and change it, then: scalecert prove pendulum.toml";
    assert_says(run(&["init", "pendulum.onnx"]), written, 0);
    let (text, code) = run(&["prove", "pendulum.toml"]);
    assert!(code == Some(0) || code == Some(10) || code == Some(20), "{text}");
    let again = "error: pendulum.toml is there already; name another file with -o";
    assert_says(run(&["init", "pendulum.onnx"]), again, 2);
}

#[test]
fn init_names_inputs_from_a_file() {
    let folder = folder();
    let models = root().join("models");
    let (model, data) = (models.join("digits-mlp.onnx"), models.join("digits-test.csv"));
    let arguments =
        ["init", model.to_str().expect("UTF-8"), "--inputs", data.to_str().expect("UTF-8"), "-o", "claim.toml"];
    let (text, code) = says(env!("CARGO_BIN_EXE_scalecert"), folder.path(), &arguments);
    assert_eq!(code, Some(0), "{text}");
    let claim = std::fs::read_to_string(folder.path().join("claim.toml")).expect("the claim is written");
    assert!(claim.contains("rows = [0]") && claim.contains("block-mean"), "{claim}");
    let (text, code) = says(env!("CARGO_BIN_EXE_scalecert"), folder.path(), &["prove", "claim.toml"]);
    // At that amplitude the model does not keep to a tolerance of 1, and there is a witness.
    assert_eq!(code, Some(10), "{text}");
}

#[test]
fn explain_says_what_a_certificate_is_about() {
    let arguments = ["explain", "specs/claims/pendulum-noise.toml", "certificates/pendulum-noise.cert.json.gz"];
    let (text, code) = says(env!("CARGO_BIN_EXE_scalecert"), root(), &arguments);
    assert_eq!(code, Some(0), "{text}");
    for part in ["by at most 1/4", "proofs: 1", "by cases: 1", "Nothing of this is checked"] {
        assert!(text.contains(part), "`{part}` is missing: {text}");
    }
    let arguments = ["explain", "specs/claims/pendulum-noise.toml", "certificates/pendulum-half.cert.json.gz"];
    let (text, code) = says(env!("CARGO_BIN_EXE_scalecert"), root(), &arguments);
    assert!(text.contains("this certificate is about another claim"), "{text}");
    assert_eq!(code, Some(2));
}

#[test]
fn shells_and_man_get_every_command() {
    let folder = folder();
    let run = |arguments: &[&str]| says(env!("CARGO_BIN_EXE_scalecert"), folder.path(), arguments);
    for shell in ["bash", "zsh", "fish"] {
        let (text, code) = run(&["completions", shell]);
        assert!(code == Some(0) && text.contains("coarsen") && text.contains("explain"), "{shell}");
    }
    assert_says(run(&["man", "pages"]), "wrote man pages to pages", 0);
    for page in ["scalecert.1", "scalecert-prove.1", "scalecert-dial.1"] {
        let text = std::fs::read_to_string(folder.path().join("pages").join(page)).expect("the page is there");
        assert!(text.contains(".SH"), "{page}");
    }
}
