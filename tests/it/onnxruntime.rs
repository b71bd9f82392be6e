//! Coarse models in another program: onnxruntime computes what was certified. Needs Python 3 and the network, so it is run
//! apart: `cargo test --release --test it onnxruntime -- --ignored`.

use crate::support::{folder, root};
use scalecert::coarsen::{Cut, coarse};
use scalecert::graph::float;
use scalecert::onnx;
use scalecheck::claim::parse_ladder;
use scalecheck::exact::Exact;
use scalecheck::number::Rational;
use scalecheck::verify::Files;
use std::path::{Path, PathBuf};
use std::process::Command;

const SCRIPT: &str = "
import sys, numpy, onnx, onnxruntime
model, points = sys.argv[1:]
onnx.checker.check_model(onnx.load(model), full_check=True)
session = onnxruntime.InferenceSession(model)
batch = numpy.array([line.split() for line in open(points)], dtype=numpy.float32)
for row in session.run(None, {session.get_inputs()[0].name: batch})[0]:
    print(*row)
";

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// A Python with onnxruntime, kept between runs.
fn python() -> PathBuf {
    let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join("onnxruntime");
    let python = place.join("bin/python");
    if !python.exists() {
        run(Command::new("python3").args(["-m", "venv"]).arg(&place));
    }
    run(Command::new(&python).args(["-m", "pip", "install", "-q", "numpy", "onnx", "onnxruntime"]));
    python
}

#[test]
#[ignore = "needs Python 3 and the network"]
fn onnxruntime_agrees_with_the_exact_outputs_of_coarse_models() {
    let (python, folder) = (python(), folder());
    let script = folder.path().join("run.py");
    std::fs::write(&script, SCRIPT).expect("the script is written");
    let cases = [
        ("digits-mlp.onnx", "hidden1", "ladder = \"hidden1-pca.toml\"", 16),
        ("digits-mlp.onnx", "hidden1", "ladder = \"hidden1-clusters.toml\"", 2),
        ("digits-mlp.onnx", "hidden1.pre", "ladder = \"hidden1-clusters.toml\"", 1),
        ("reads-means.onnx", "input", "family = \"block-mean\"\nshape = [8, 8]", 2),
        ("digits-mlp-int8.onnx", "hidden1", "ladder = \"hidden1-pca.toml\"", 8),
    ];
    for (i, (model, site, scale, cutoff)) in cases.into_iter().enumerate() {
        let bytes = std::fs::read(root().join("models").join(model)).expect("the model exists");
        let network = scalecheck::onnx::read(&bytes).expect("it can be read");
        let place = root().join("specs/ladders/ladder.toml").display().to_string();
        let ladder = parse_ladder(&place, scale, &mut Files::default()).expect("a ladder");
        let small = coarse(&network, &[Cut { site, ladder: &ladder, cutoff }]).expect("it can be coarsened");
        let written = onnx::write(&small, "small").expect("it can be written");
        let path = folder.path().join(format!("{i}.onnx"));
        std::fs::write(&path, &written).expect("the model is written");
        let read = scalecheck::onnx::read(&written).expect("it can be read again");
        let sixteenths = |seed: usize| (0..64).map(move |j| (j * j * (seed + 3) + seed) % 17);
        let line = |seed: usize| sixteenths(seed).map(|k| (k as f64 / 16.0).to_string()).collect::<Vec<_>>().join(" ");
        let points = folder.path().join("points");
        std::fs::write(&points, (0..8).map(line).collect::<Vec<_>>().join("\n")).expect("the points are written");
        let shown = run(Command::new(&python).arg(&script).arg(&path).arg(&points));
        let found: Vec<Vec<f64>> =
            shown.lines().map(|line| line.split(' ').map(|x| x.parse().expect("a number")).collect()).collect();
        assert_eq!(found.len(), 8);
        for (seed, found) in found.iter().enumerate() {
            let x: Vec<Rational> = sixteenths(seed).map(|k| Rational::new(k.into(), 16.into())).collect();
            let exact = read.evaluate(&Exact::from_rationals(&x)).swap_remove(read.outputs()[0]).to_rationals();
            assert_eq!(found.len(), exact.len());
            for (found, exact) in found.iter().zip(&exact) {
                let exact = float(exact);
                assert!((found - exact).abs() <= 1e-4 * (1.0 + exact.abs()), "{model} {site}: {found} for {exact}");
            }
        }
    }
}
