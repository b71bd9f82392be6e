//! Coarse models: exactly what a truncation makes of a network, smaller, and certified.

use crate::support::{folder, root};
use num::Zero;
use scalecert::coarsen::{Cut, coarse, work};
use scalecert::onnx;
use scalecheck::claim::parse_ladder;
use scalecheck::conv::{Axis, Conv};
use scalecheck::exact::Exact;
use scalecheck::ladder::Ladder;
use scalecheck::linear::Linear;
use scalecheck::network::{Network, Op};
use scalecheck::number::Rational;
use scalecheck::verify::{Config, Files, Statement, Verdict, verify};
use scalecheck::weights::Weights;
use std::process::{Command, Output};
use std::sync::Arc;

fn digits() -> Network {
    let bytes = std::fs::read(root().join("models/digits-mlp.onnx")).expect("the model exists");
    scalecheck::onnx::read(&bytes).expect("it can be read")
}

fn ladder(text: &str) -> Arc<Ladder> {
    let place = root().join("specs/ladders/ladder.toml");
    parse_ladder(&place.display().to_string(), text, &mut Files::default()).expect("a ladder")
}

fn file(name: &str) -> Arc<Ladder> {
    ladder(&format!("ladder = \"{name}\"\n"))
}

fn point(seed: usize) -> Exact {
    let value = |i: usize| Rational::new(((i * i * (seed + 3) + seed) % 17).into(), 16.into());
    Exact::from_rationals(&(0..64).map(value).collect::<Vec<_>>())
}

/// The outputs at some points, with tensors truncated on the way.
fn truncated(network: &Network, cuts: &[Cut<'_>], x: &Exact) -> Vec<Rational> {
    let find = |site: &str| if site == "input" { Some(0) } else { network.find(site) };
    let values = network.evaluate_with(x, |node, value| {
        let here = cuts.iter().find(|cut| find(cut.site) == Some(node));
        here.map_or(value.clone(), |cut| {
            value.apply(&cut.ladder.truncation(cut.cutoff, value.len()).expect("a truncation")[0])
        })
    });
    values[network.outputs()[0]].to_rationals()
}

#[track_caller]
fn assert_truncates(cuts: &[Cut<'_>]) -> Network {
    let network = digits();
    let small = coarse(&network, cuts).expect("it can be coarsened");
    let mut moved = false;
    for seed in 0..3 {
        let x = point(seed);
        let outputs = small.evaluate(&x)[small.outputs()[0]].to_rationals();
        assert_eq!(outputs, truncated(&network, cuts, &x));
        moved |= outputs != network.evaluate(&x)[network.outputs()[0]].to_rationals();
    }
    assert!(moved, "nothing was truncated");
    small
}

#[test]
fn a_coarse_model_is_the_truncated_network_exactly() {
    let (clusters, modes) = (file("hidden1-clusters.toml"), file("hidden1-pca.toml"));
    let blocks = ladder("family = \"block-mean\"\nshape = [8, 8]\n");
    let partial = ladder("family = \"groups\"\nlevels = [[[0, 1, 2], [5, 9]]]\n");
    let cut = |site, ladder, cutoff| Cut { site, ladder, cutoff };
    let whole = work(&digits());
    for (site, ladder, cutoff, smaller) in [
        ("input", &blocks, 2, true),
        ("hidden1.pre", &clusters, 2, true),
        ("hidden1", &clusters, 2, true),
        ("hidden1", &clusters, 1, false),
        ("hidden1", &modes, 8, true),
        ("logits", &partial, 1, true),
        ("hidden2", &partial, 1, true),
    ] {
        let small = assert_truncates(&[cut(site, ladder, cutoff)]);
        assert_eq!(work(&small) < whole, smaller, "{site} {cutoff}");
    }
    assert_truncates(&[cut("input", &blocks, 2), cut("hidden1.pre", &clusters, 1), cut("hidden1", &modes, 16)]);
}

/// The matrices that stand one after another in a coarse model are multiplied out before it is compared.
#[test]
fn a_coarse_model_is_compared_layer_by_layer() {
    let (network, modes) = (digits(), file("hidden1-pca.toml"));
    let small = coarse(&network, &[Cut { site: "hidden1", ladder: &modes, cutoff: 8 }]).expect("it can be coarsened");
    let read = scalecheck::onnx::read(&onnx::write(&small, "small").expect("it can be written")).expect("and read");
    assert!(!network.is_like(&read));
    let fused = read.without_tensors_unknown_to(&network).expect("it has other tensors");
    assert!(network.is_like(&fused));
    let x = point(1);
    assert_eq!(
        fused.evaluate(&x)[fused.outputs()[0]].to_rationals(),
        read.evaluate(&x)[read.outputs()[0]].to_rationals()
    );
    assert!(network.without_tensors_unknown_to(&network).is_none());
}

#[test]
fn what_has_no_matrix_to_go_into_is_refused() {
    let network = digits();
    let clusters = file("hidden1-clusters.toml");
    let refused = |network: &Network, site: &str, ladder: &Ladder| {
        let cut = Cut { site, ladder, cutoff: 1 };
        coarse(network, &[cut]).err().unwrap_or_else(|| panic!("{site} was coarsened")).to_string()
    };
    assert!(refused(&network, "h9", &clusters).contains("no tensor `h9`"));
    assert!(refused(&network, "hidden2", &clusters).contains("hidden2"));
    let cut = || Cut { site: "hidden1", ladder: &clusters, cutoff: 1 };
    assert!(coarse(&network, &[cut(), cut()]).expect_err("twice").to_string().contains("twice"));
    // A ReLU of a truncated input, an output that is a ReLU, and a convolution.
    let mut relus = Network::new("x", vec![1, 64]);
    let first = relus.push("a", vec![1, 64], Op::Relu(0), vec![]).expect("a new name");
    relus.set_outputs(vec![first]);
    assert!(refused(&relus, "input", &clusters).contains("`a` is not a product"));
    assert!(refused(&relus, "a", &clusters).contains("`a` is an output"));
    let axis = |input, taps| Axis::new(input, input, taps, 1, 1, 0).expect("an axis");
    let conv = Conv { batch: 1, groups: 1, outer: 1, inner: 1, y: axis(8, 1), x: axis(8, 1) };
    let linear = Linear::conv(conv, Weights::constant(2)).expect("a convolution");
    let mut convolution = Network::new("x", vec![1, 1, 8, 8]);
    let op = Op::Affine { terms: vec![(0, Arc::new(linear))], bias: None };
    let y = convolution.push("y", vec![1, 1, 8, 8], op, vec![]).expect("a new name");
    convolution.set_outputs(vec![y]);
    assert!(refused(&convolution, "input", &clusters).contains("`y` is not a product"));
    assert!(!work(&convolution).is_zero());
}

fn coarsen(folder: &tempfile::TempDir, claim: &str, more: &[&str]) -> Output {
    let path = folder.path().join("claim.toml");
    std::fs::write(&path, claim).expect("the claim is written");
    let model = folder.path().join("small.onnx");
    let arguments = ["coarsen", path.to_str().expect("UTF-8"), "-o", model.to_str().expect("UTF-8")];
    let command = Command::new(env!("CARGO_BIN_EXE_scalecert")).args(arguments).args(more).output();
    command.expect("scalecert runs")
}

fn claim(model: &str, site: &str, scale: &str, tolerance: &str) -> String {
    let root = root().display();
    format!(
        "model = \"{root}/models/{model}\"\n[inputs]\nfile = \"{root}/models/digits-test.csv\"\nrows = [0, 1]\n\
         radius = \"1/64\"\n[[truncate]]\nsite = \"{site}\"\nscale = {scale}\n[output]\n{tolerance}\n"
    )
}

fn written(folder: &tempfile::TempDir) -> (Statement, Verdict) {
    let statement = Statement::load(&folder.path().join("small.toml"), None).expect("a claim was written");
    let bytes = std::fs::read(folder.path().join("small.cert.json")).expect("a certificate was written");
    let verdict = verify(&statement, &bytes, &Config::default()).expect("it is a certificate").verdict();
    (statement, verdict)
}

const BLOCKS: &str = "{ family = \"block-mean\", shape = [8, 8], cutoff = 2 }";

/// A network that reads only block means loses nothing but rounding if it is given these alone.
#[test]
fn a_model_with_its_claim_and_certificate_is_written() {
    let folder = folder();
    let output = coarsen(&folder, &claim("reads-means.onnx", "input", BLOCKS, "tolerance = \"1/10000\""), &[]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let (statement, verdict) = written(&folder);
    assert_eq!(verdict, Verdict::Verified);
    assert!(statement.claim().truncate.is_empty());
    assert_eq!(statement.claim().replace.as_ref().expect("a replacing model").name, "small.onnx");
}

#[test]
fn the_search_ends_at_the_smallest_model_within_the_tolerance() {
    let folder = folder();
    let scale = format!("{{ ladder = \"{}\", cutoff = 1 }}", root().join("specs/ladders/hidden1-pca.toml").display());
    let claim = claim("digits-mlp.onnx", "hidden1", &scale, "tolerance = \"9\"");
    let output = coarsen(&folder, &claim, &["--tolerance", "3"]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let (statement, verdict) = written(&folder);
    assert_eq!(verdict, Verdict::Verified);
    assert_eq!(statement.claim().settings[0].tolerance(), Some(&Rational::from_integer(3.into())));
    let shown = String::from_utf8(output.stdout).expect("UTF-8");
    let row = |cutoff: &str| shown.lines().find(|line| line.starts_with(&format!(" {cutoff} "))).expect("a row");
    assert!(["1", "2", "4", "8"].iter().all(|cutoff| row(cutoff).contains("refuted")), "{shown}");
    assert!(row("16").contains("certified") && !shown.contains("\n 32 "), "{shown}");
    let none = coarsen(&folder, &claim, &["--tolerance", "1/1000"]);
    assert_eq!(none.status.code(), Some(20));
    assert!(String::from_utf8_lossy(&none.stdout).contains("nothing was written"));
}

#[test]
fn claims_that_define_no_coarse_model_are_refused() {
    let folder = folder();
    let good = claim("digits-mlp.onnx", "input", BLOCKS, "tolerance = 9");
    let refused = |claim: &str, more: &[&str], words: &str| {
        let output = coarsen(&folder, claim, more);
        let shown = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{shown}");
        assert!(shown.contains(words), "{shown}");
        assert!(!folder.path().join("small.onnx").exists());
    };
    let whole = good.replace("[[truncate]]", "[[perturb]]").replace("[output]", "amplitude = 1\n[output]");
    refused(&whole, &[], "[[truncate]]");
    refused(&good.replace("tolerance", "reaches"), &[], "tolerance");
    refused(&good.replace("\"input\"", "\"h9\""), &[], "h9");
    refused(&good, &["--tolerance", "little"], "little");
}
