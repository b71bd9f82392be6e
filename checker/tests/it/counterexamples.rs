//! `scalecheck witness`: counterexample files of the verification competition, by what they really do.

use crate::support::onnx::Model;
use crate::support::{code, q, read_model};
use scalecheck::error::{Code, Error};
use scalecheck::vnnlib::counterexample::{Assessment, assess};

/// `Y_0 = max(X_0, 0) + 1/2 X_1` and `Y_1 = X_1`.
fn network() -> scalecheck::network::Network {
    let model = Model::new(&[1, 2]).f32("w", &[2, 2], &[1.0, 0.0, 0.0, 1.0]).node("MatMul", &["x", "w"], "h");
    let model = model.f32("v", &[2, 2], &[1.0, 0.0, 0.5, 1.0]).node("Relu", &["h"], "r");
    read_model(&model.node("MatMul", &["r", "v"], "y").output("y").bytes())
}

/// On [0, 1]²: unsafe if Y_0 ≥ 5/4, or if Y_0 < Y_1; on [2, 3]²: if Y_0 ≥ 4 and Y_1 ≥ 3.
const PROPERTY: &str = "
(declare-const X_0 Real) (declare-const X_1 Real) (declare-const Y_0 Real) (declare-const Y_1 Real)
(assert (or
  (and (>= X_0 0) (<= X_0 1) (>= X_1 0) (<= X_1 1) (>= Y_0 1.25))
  (and (>= X_0 0) (<= X_0 1) (>= X_1 0) (<= X_1 1) (< Y_0 Y_1))
  (and (>= X_0 2) (<= X_0 3) (>= X_1 2) (<= X_1 3) (>= Y_0 4) (>= Y_1 3))))
";

fn found(file: &str) -> Result<Assessment, Error> {
    let query = scalecheck::vnnlib::parse("p.vnnlib", "p.vnnlib", PROPERTY).unwrap_or_else(|e| panic!("{e}"));
    assess(&network(), &query, "ce.txt", file)
}

/// Whether it violates, by how much, and how far outside it is.
#[track_caller]
fn assert_is(file: &str, violates: bool, margin: &str, outside: &str) {
    let found = found(file).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!((found.violates, found.margin, found.outside), (violates, q(margin), q(outside)), "{file}");
}

#[test]
fn a_counterexample_violates_by_an_exact_margin() {
    assert_is("sat\n((X_0 1.0)\n(X_1 1.0)\n(Y_0 1.5)\n(Y_1 1.0))\n", true, "1/4", "0");
    // Equality is enough, and a third row of the file that says otherwise is not asked.
    assert_is("((X_0 1) (X_1 0.5) (Y_0 -7))", true, "0", "0");
    assert_is("(X_0 3e0)\n(X_1 3)", true, "0", "0");
}

#[test]
fn a_point_next_to_an_unsafe_set_or_outside_is_harmless() {
    assert_is("((X_0 0.9999) (X_1 0.5))", false, "-1/10000", "0");
    assert_is("((X_0 1.000001) (X_1 1))", false, "250001/1000000", "1/1000000");
    // The tightest inequality of the second region's set: Y_1 is 3 less 1/8.
    assert_is("((X_0 3) (X_1 2.875))", false, "-1/8", "0");
}

/// 1/2 = Y_0 < Y_1 = 1/2 is false, though the margin is zero.
#[test]
fn a_strict_inequality_is_not_met_by_equality() {
    assert_is("((X_0 0.25) (X_1 0.5))", false, "0", "0");
    assert_is("((X_0 0.25) (X_1 0.5001))", true, "1/20000", "0");
}

#[test]
fn what_the_file_says_of_the_outputs_is_compared() {
    let file = found("((X_0 1) (X_1 1) (Y_0 1.5) (Y_1 0.75))").unwrap();
    assert_eq!(file.misstated, Some(q("1/4")));
    assert_eq!(file.outputs, [q("3/2"), q("1")]);
    assert_eq!(found("((X_0 1) (X_1 1))").unwrap().misstated, None);
}

#[test]
fn files_that_are_no_counterexamples_are_refused() {
    for file in
        ["", "unsat", "((X_0 1))", "((X_0 1) (X_0 1))", "((X_0 1) (X_1 1) (X_2 1))", "((X_0 one) (X_1 1))", "((Z_0 1))"]
    {
        assert_eq!(code(found(file)), Code::Data, "{file}");
    }
    assert_eq!(code(found("((X_0 1) (X_1 1)")), Code::PropertySyntax);
}
