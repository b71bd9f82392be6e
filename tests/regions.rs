//! Claims about regions of the digits model, and about its quantised copies: how far the proofs are from the attacks.

mod support;

use scalecert::prove::{Choice, Config, Status};
use scalecheck::number::Rational;
use scalecheck::verify::Verdict;
use support::{folder, prove_and_verify, root, statement};

/// Sums over the rows of what is proven and of what the attack reaches.
fn sums(claim: &str) -> (Rational, Rational) {
    let folder = folder();
    let (_, statement) = statement(&folder, claim);
    let (outcomes, report) = prove_and_verify(&statement, &Config { method: Choice::Alpha, ..Config::default() });
    assert_eq!(report.verdict(), Verdict::Verified);
    assert!(outcomes.iter().all(|outcome| outcome.status == Status::Certified));
    let proven = outcomes.iter().map(|o| o.proven[0].1.clone()).sum();
    (proven, outcomes.iter().map(|o| o.attacked.clone().expect("an attack was found").0).sum())
}

fn assert_within(claim: &str, factor: (i64, i64)) {
    let (proven, attacked) = sums(claim);
    assert!(attacked <= proven);
    assert!(proven <= attacked * Rational::new(factor.0.into(), factor.1.into()));
}

fn models() -> String {
    root().join("models").display().to_string()
}

fn balls(radius: &str) -> String {
    let models = models();
    format!("[inputs]\nfile = \"{models}/digits-test.csv\"\nrows = \"0..10\"\nradius = \"{radius}\"\n")
}

#[test]
fn perturbations_of_all_inputs_near_a_row() {
    let perturb = "[[perturb]]\nsite = \"input\"\namplitude = \"1/64\"\n\
                   scale = { family = \"block-mean\", shape = [8, 8], cutoff = 2 }\n[output]\ntolerance = 100\n";
    let models = models();
    let claim = |radius: &str| format!("model = \"{models}/digits-mlp.onnx\"\n{}{perturb}", balls(radius));
    assert_within(&claim("1/64"), (3, 2));
    assert_within(&claim("1/16"), (23, 10));
}

#[test]
fn quantised_weights_on_all_inputs() {
    let models = models();
    let model = format!("model = \"{models}/digits-mlp.onnx\"\nreplace = \"{models}/digits-mlp-int8.onnx\"\n");
    let output = "[output]\ntolerance = 100\n";
    assert_within(&format!("{model}[inputs]\nbox = \"valid\"\nvalid = [0, 1]\n{output}"), (10, 1));
    assert_within(&format!("{model}{}{output}", balls("1/16")), (2, 1));
}
