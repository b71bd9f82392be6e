//! Claims about regions of the digits model, and about its quantised copies: how far the proofs are from the attacks.

use crate::support::{blocks, digits_claim, folder, prove_and_verify, root, statement};
use scalecert::prove::{Choice, Config, Method, Status};
use scalecheck::number::Rational;
use scalecheck::verify::Verdict;

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

/// What branch and bound decides of a claim, and how many nodes its proof has.
fn by_cases(claim: &str) -> (Status, usize) {
    let folder = folder();
    let (_, statement) = statement(&folder, claim);
    let (outcomes, report) = prove_and_verify(&statement, &Config { method: Choice::Branch, ..Config::default() });
    let expected = if outcomes[0].status == Status::Certified { Verdict::Verified } else { Verdict::Refuted };
    assert_eq!(report.verdict(), expected);
    let proof = outcomes[0].answer.as_ref().and_then(|answer| answer.proof.as_ref());
    (outcomes[0].status, proof.map_or(0, |proof| proof.nodes.len()))
}

/// The truth lies between 0.22 and 0.24; relaxing once gives 0.66.
#[test]
fn cases_decide_what_wrong_sensors_do_to_a_controller() {
    let claim = |tolerance: &str| {
        format!(
            "model = \"{}/pendulum.onnx\"\n[inputs]\nbox = {{ lower = -1, upper = 1 }}\n[[perturb]]\nsite = \"input\"\n\
             scale = {{ family = \"none\" }}\namplitude = \"1/64\"\n[output]\ntolerance = \"{tolerance}\"\n",
            models()
        )
    };
    let (status, nodes) = by_cases(&claim("0.3"));
    assert!(status == Status::Certified && nodes > 2, "{status:?} by {nodes} nodes");
    assert_eq!(by_cases(&claim("0.22")).0, Status::Refuted);
}

/// Two networks of different shape: the truth lies between 0.13 and 0.15, and relaxing once gives 15.
#[test]
fn cases_decide_how_far_a_smaller_controller_is() {
    let claim = |tolerance: &str| {
        format!(
            "model = \"{0}/pendulum.onnx\"\nreplace = \"{0}/pendulum-half.onnx\"\n\
             [inputs]\nbox = {{ lower = -1, upper = 1 }}\n[output]\ntolerance = \"{tolerance}\"\n",
            models()
        )
    };
    let (status, nodes) = by_cases(&claim("0.15"));
    assert!(status == Status::Certified && nodes > 2, "{status:?} by {nodes} nodes");
    assert_eq!(by_cases(&claim("0.13")).0, Status::Refuted);
}

/// Neurons are split under a perturbation of one input: the proof reaches what the attack does.
#[test]
fn cases_of_neurons_decide_a_claim_about_a_scale() {
    let output =
        "coarse = { groups = [[0, 6, 8], [1, 7], [2, 3, 5], [4, 9]], reduce = \"mean\" }\ntolerance = \"0.838\"";
    let (status, nodes) = by_cases(&digits_claim("[7]", &blocks(2), "1/32", output));
    assert!(status == Status::Certified && nodes > 2, "{status:?} by {nodes} nodes");
}

/// A region of many variables is not split: undecided, and the methods that do not apply are named.
#[test]
fn regions_of_many_variables_stay_as_they_are() {
    let folder = folder();
    let perturb = "[[perturb]]\nsite = \"input\"\namplitude = \"1/64\"\n\
                   scale = { family = \"none\" }\n[output]\ntolerance = \"1.9\"\n";
    let claim =
        format!("model = \"{}/digits-mlp.onnx\"\n{}{perturb}", models(), balls("1/64").replace("0..10", "1..2"));
    let (_, statement) = statement(&folder, &claim);
    let config = Config { method: Choice::Branch, ..Config::default() };
    let outcomes = scalecert::bundle::prove_rows(&statement, &config, &|_| (), || ()).expect("the prover works");
    assert_eq!(outcomes[0].status, Status::Unknown);
    assert_eq!(outcomes[0].skipped, [Method::Branch]);
}
