//! Properties in VNN-LIB: what is read and what is refused, that it is read exactly, and that verdicts about it are true.

use crate::support::onnx::Model;
use crate::support::reference::{Size, random_net};
use crate::support::tape::{Tape, tape};
use crate::support::{Files, code, default_proof, q, ratio};
use num::{One, Zero};
use proptest::prelude::*;
use proptest::test_runner::Config as Runner;
use scalecheck::certificate::{Answer, CloseText, ProofText, WitnessText};
use scalecheck::claim::Inputs;
use scalecheck::describe::describe;
use scalecheck::error::{Code, Error, Result};
use scalecheck::number::Rational;
use scalecheck::verify::{Config, RowVerdict, Statement, Verdict, verify};
use scalecheck::vnnlib::{self, Query, Region, in_words};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::{Command, Output};

/// Declares these numbers of inputs and outputs.
fn declared(inputs: usize, outputs: usize) -> String {
    let names = (0..inputs).map(|i| format!("X_{i}")).chain((0..outputs).map(|i| format!("Y_{i}")));
    names.map(|name| format!("(declare-const {name} Real)\n")).collect()
}

/// Two inputs from −1 to 1, two outputs, and these assertions.
fn property(assertions: &str) -> String {
    let bounds = "(assert (<= X_0 1))(assert (>= X_0 -1))(assert (<= X_1 1))(assert (>= X_1 -1))\n";
    format!("{}{bounds}{assertions}", declared(2, 2))
}

fn parse(text: &str) -> Result<Query> {
    vnnlib::parse("p.vnnlib", "p.vnnlib", text)
}

fn parsed(text: &str) -> Query {
    parse(text).unwrap_or_else(|e| panic!("{e}\n{text}"))
}

/// The one region of a property.
fn region(text: &str) -> Region {
    let mut regions = parsed(text).regions;
    assert_eq!(regions.len(), 1, "{text}");
    regions.remove(0)
}

/// All unsafe sets of the one region of these assertions, in words.
fn cells(assertions: &str) -> Vec<String> {
    region(&property(assertions)).cells.iter().map(|cell| in_words(cell)).collect()
}

fn refused(text: &str) -> Error {
    parse(text).map(|_| ()).expect_err(text)
}

fn texts(values: &[Rational]) -> Vec<String> {
    values.iter().map(ToString::to_string).collect()
}

// ---- what is read

#[test]
fn reads_what_the_competition_writes() {
    let text = "; ACAS Xu\n(declare-const X_0 Real)\n(declare-const X_1 Real)\r\n\n(declare-const Y_0 Real)\n\
                (declare-const Y_1 Real)\n(declare-const Y_2 Real)\n; (assert nonsense\n\
                (assert (<= X_0 0.679857769))(assert (>= X_0 6e-1))\n(assert\n  (<= X_1 0.5)\t)(assert (>= X_1 -0.5))\n\
                (assert (or\n  (and (<= Y_2 Y_0) (<= Y_2 Y_1)) ; first\n  (and (>= Y_1 3.25E+1))\n))";
    let region = region(text);
    assert_eq!(texts(&region.lower), ["3/5", "-1/2"]);
    assert_eq!(texts(&region.upper), ["679857769/1000000000", "1/2"]);
    let cells: Vec<String> = region.cells.iter().map(|cell| in_words(cell)).collect();
    assert_eq!(cells, ["Y_2 ≤ Y_0 and Y_2 ≤ Y_1", "Y_1 ≥ 32.5"]);
}

#[test]
fn a_comment_ends_with_its_line_whatever_ends_that() {
    assert_eq!(cells("; one\r(assert (<= Y_0 1)); two\r\n(assert (<= Y_1 1)) ; three"), ["Y_0 ≤ 1 and Y_1 ≤ 1"]);
}

#[test]
fn reads_linear_terms_exactly() {
    let cell = |text: &str| {
        let cell = region(&property(text)).cells.remove(0).remove(0);
        (cell.terms.iter().map(|(i, a)| (*i, a.to_string())).collect::<Vec<_>>(), cell.bound.to_string(), cell.strict)
    };
    let one = |i: usize, a: &str| vec![(i, a.to_owned())];
    let two = |a: &str, b: &str| vec![(0, a.to_owned()), (1, b.to_owned())];
    let at_most = |terms: Vec<(usize, String)>, bound: &str| (terms, bound.to_owned(), false);
    let below = |terms: Vec<(usize, String)>, bound: &str| (terms, bound.to_owned(), true);
    assert_eq!(cell("(assert (<= Y_0 0.1))"), at_most(one(0, "1"), "1/10"));
    assert_eq!(cell("(assert (<= 0.1 Y_0))"), at_most(one(0, "-1"), "-1/10"));
    assert_eq!(cell("(assert (>= Y_1 1e-3))"), at_most(one(1, "-1"), "-1/1000"));
    assert_eq!(cell("(assert (< Y_0 Y_1))"), below(two("1", "-1"), "0"));
    assert_eq!(cell("(assert (> Y_0 Y_1))"), below(two("-1", "1"), "0"));
    assert_eq!(cell("(assert (<= (+ Y_0 (* 2 Y_1) 3) (- 5 Y_0)))"), at_most(two("2", "2"), "2"));
    assert_eq!(cell("(assert (<= (- Y_0 Y_1 1 1) 0))"), at_most(two("1", "-1"), "2"));
    assert_eq!(cell("(assert (<= (- Y_0) (- (+ 1 2))))"), at_most(one(0, "-1"), "-3"));
    assert_eq!(cell("(assert (<= (* Y_0 0.5 (- 3)) 1/3))"), at_most(one(0, "-3/2"), "1/3"));
    assert_eq!(cell("(assert (<= (/ (+ Y_0 Y_1 1) (/ 3 2)) 0))"), at_most(two("2/3", "2/3"), "-2/3"));
    assert_eq!(cell("(assert (<= (+ Y_0 Y_1 (* 0 Y_0)) (+ Y_1 (+ 1))))"), at_most(one(0, "1"), "1"));
    assert_eq!(cell("(assert (<= Y_0 0.30000000000000004))").1, "7500000000000001/25000000000000000");
}

#[test]
fn says_unsafe_sets_in_words() {
    assert_eq!(cells("(assert (<= (* 3 Y_0) (+ Y_1 2)))"), ["3·Y_0 ≤ Y_1 + 2"]);
    assert_eq!(cells("(assert (< (+ Y_0 Y_1 2) 0))"), ["Y_0 + Y_1 + 2 < 0"]);
    assert_eq!(cells("(assert (>= Y_0 0))"), ["Y_0 ≥ 0"]);
    assert_eq!(cells("(assert (> Y_0 (/ 1 3)))"), ["Y_0 > ≈0.333333"]);
    let many = "(<= Y_0 1)".repeat(6);
    assert_eq!(cells(&format!("(assert (and {many}))"))[0].matches("Y_0 ≤ 1").count(), 4);
    assert!(cells(&format!("(assert (and {many}))"))[0].ends_with(" and … (2 more)"));
}

#[test]
fn bounds_of_inputs_may_be_written_in_any_linear_way() {
    let text = declared(2, 1)
        + "(assert (and (<= 0.25 X_0) (>= 3 (* 2 X_0))))(assert (<= (- X_1) 1))(assert (<= (/ X_1 2) (- 1 0.5)))\
           (assert (<= X_0 7))(assert (<= Y_0 0))";
    let region = region(&text);
    assert_eq!((texts(&region.lower), texts(&region.upper)), (texts(&[q("1/4"), q("-1")]), texts(&[q("3/2"), q("1")])));
}

#[test]
fn multiplies_out_and_groups_equal_boxes() {
    // Two choices of a box, and two of outputs, one of which is stated with a box of its own.
    let text = property(
        "(assert (or (<= X_0 0) (and (>= X_0 0) (<= X_1 0.5))))\n\
         (assert (or (<= Y_0 1) (and (<= Y_1 2) (or (<= Y_0 3) (<= X_0 0)))))(assert (<= Y_1 9))",
    );
    let query = parsed(&text);
    let found: Vec<(Vec<String>, Vec<String>)> = query
        .regions
        .iter()
        .map(|r| {
            let ends = r.lower.iter().zip(&r.upper).map(|(l, u)| format!("{l}..{u}"));
            (ends.collect(), r.cells.iter().map(|cell| in_words(cell)).collect())
        })
        .collect();
    let owned = |texts: &[&str]| texts.iter().map(ToString::to_string).collect::<Vec<_>>();
    let first = ["Y_1 ≤ 9 and Y_0 ≤ 1", "Y_1 ≤ 9 and Y_1 ≤ 2 and Y_0 ≤ 3", "Y_1 ≤ 9 and Y_1 ≤ 2"];
    assert_eq!(
        found,
        [
            (owned(&["-1..0", "-1..1"]), owned(&first)),
            (owned(&["0..1", "-1..1/2"]), owned(&first[..2])),
            (owned(&["0..0", "-1..1/2"]), owned(&first[2..])),
        ]
    );
}

#[test]
fn a_box_that_is_stated_twice_is_one_region() {
    let text = property(
        "(assert (or (and (<= X_0 0.5) (<= Y_0 1)) (and (<= X_0 1/2) (<= X_1 1) (<= Y_0 2)) (<= Y_0 3) \
         (and (<= X_0 1) (<= Y_0 4))))",
    );
    assert_eq!(parsed(&text).regions.iter().map(|r| r.cells.len()).collect::<Vec<_>>(), [2, 2]);
}

#[test]
fn the_centre_is_short_and_well_inside() {
    let cases = [
        (("0", "1"), "1/2"),
        (("0.1", "0.1"), "1/10"),
        (("-0.328422877", "0.679857769"), "1/4"),
        (("0", "0.029999999329447746"), "1/64"),
        (("1000", "1010"), "1006"),
        (("1", "1.000000001"), "2147483649/2147483648"),
        (("0", "3e20"), "147573952589676412928"),
    ];
    for ((low, high), expected) in cases {
        let text = declared(1, 1) + &format!("(assert (and (>= X_0 {low}) (<= X_0 {high}) (<= Y_0 0)))");
        assert_eq!(texts(&region(&text).centre()), [expected], "{low} to {high}");
    }
}

// ---- what is refused

#[test]
fn refuses_what_it_does_not_understand() {
    use Code::{LimitSize, PropertySyntax as Syntax, PropertyUnsupported as Unsupported, PropertyValue as Value};
    let cases: &[(&str, Code)] = &[
        ("(assert (<= Y_0 1)", Syntax),
        ("(assert (<= Y_0 1)))", Syntax),
        ("assert", Syntax),
        ("()", Syntax),
        ("((assert) (<= Y_0 1))", Syntax),
        ("(assert)", Syntax),
        ("(assert (<= Y_0 1) (<= Y_1 1))", Syntax),
        ("(declare-const X_2)", Syntax),
        ("(declare-const X_2 Int)", Syntax),
        ("(declare-const X_2 Real Real)", Syntax),
        ("(declare-fun X_2 (Real) Real)", Syntax),
        ("(declare-fun X_2 Real)", Syntax),
        ("(assert (<= Y_0 1.))", Syntax),
        ("(assert (<= Y_0 0x10))", Syntax),
        ("(assert (<= Y_0 1e9999))", Syntax),
        ("(assert (<= Y_0 nan))", Syntax),
        ("(assert (<= Y_0 infinity))", Syntax),
        ("(assert (<= Y_0 1/0))", Syntax),
        ("(assert (<= Z_0 1))", Syntax),
        ("(assert (<= y_0 1))", Syntax),
        ("(assert (<= Y_00 1))", Syntax),
        ("(assert (<= Y_-1 1))", Syntax),
        ("(assert (<= Y_0_1 1))", Syntax),
        ("(assert (<= Y_9999999999999999999999 1))", Syntax),
        ("(assert (<= Y_2 1))", Value),
        ("(assert (<= X_2 1))", Value),
        ("(declare-const Y_0 Real)", Value),
        ("(declare-const X_3 Real)(assert (and (<= 0 X_3) (<= X_3 1) (<= Y_0 0)))", Value),
        ("(declare-const X_2 Real)(assert (and (<= 0 X_2) (<= Y_0 0)))", Value),
        ("(declare-const X_2 Real)(assert (and (>= 0 X_2) (<= Y_0 0)))", Value),
        ("(declare-const X_2 Real)(assert (>= 0 X_2))(assert (or (<= Y_0 0) (>= X_2 0)))", Value),
        ("(assert (>= X_0 1.0001))(assert (<= Y_0 0))", Value),
        ("(assert (or (<= Y_0 0) (and (>= X_0 0.5) (<= X_0 0.25) (<= Y_0 1))))", Value),
        ("(set-logic QF_LRA)", Unsupported),
        ("(check-sat)", Unsupported),
        ("(define-fun f () Real 1)", Unsupported),
        ("(declare-const input Real)", Unsupported),
        ("(declare-const Y_1048576 Real)", Unsupported),
        ("(declare-const (X_3) Real)", Unsupported),
        ("(declare-const |X_3| Real)", Unsupported),
        ("(set-info \"(assert\")", Unsupported),
        ("(assert Y_0)", Unsupported),
        ("(assert true)", Unsupported),
        ("(assert (and))", Unsupported),
        ("(assert (or))", Unsupported),
        ("(assert (or (<= Y_0 1) (and)))", Unsupported),
        ("(assert (not (<= Y_0 1)))", Unsupported),
        ("(assert (=> (<= X_0 0) (<= Y_0 1)))", Unsupported),
        ("(assert (= Y_0 1))", Unsupported),
        ("(assert (<= Y_0))", Unsupported),
        ("(assert (<= 0 Y_0 1))", Unsupported),
        ("(assert (<= 0 1))", Unsupported),
        ("(assert (<= Y_0 Y_0))", Unsupported),
        ("(assert (<= Y_0 (and Y_1)))", Unsupported),
        ("(assert (<= Y_0 (+)))", Unsupported),
        ("(assert (<= Y_0 (-)))", Unsupported),
        ("(assert (<= Y_0 (*)))", Unsupported),
        ("(assert (<= Y_0 ()))", Unsupported),
        ("(assert (<= Y_0 (/ 1 0)))", Unsupported),
        ("(assert (<= Y_0 (/ 1 (- 1 1))))", Unsupported),
        ("(assert (<= Y_0 (/ 1 Y_1)))", Unsupported),
        ("(assert (<= (* Y_0 Y_1) 1))", Unsupported),
        ("(assert (<= (* Y_0 Y_0) 1))", Unsupported),
        ("(assert (<= X_0 Y_0))", Unsupported),
        ("(assert (<= X_0 X_1))", Unsupported),
        ("(assert (<= (+ X_0 X_1) 1))", Unsupported),
        ("(assert (< X_0 1))", Unsupported),
        ("(assert (> X_0 0))", Unsupported),
        // The whole box is unsafe.
        ("", Unsupported),
        ("(assert (or (<= Y_0 1) (<= X_0 0)))", Unsupported),
        // 2^49 and more cannot be brought to one scale with 1.
        ("(assert (<= (+ Y_0 (* 1e15 Y_1)) 1))", LimitSize),
        ("(assert (<= (+ Y_0 (* 1e-15 Y_1)) 1))", LimitSize),
    ];
    for (assertions, expected) in cases {
        let error = refused(&property(assertions));
        assert_eq!(error.code, *expected, "{assertions}: {error}");
        assert!(error.place.starts_with("p.vnnlib:"), "{assertions}: {error}");
    }
    assert_eq!(refused("").code, Unsupported);
}

#[test]
fn errors_name_the_line() {
    let line = |assertions: &str| refused(&property(&format!("\n; comment\n{assertions}"))).place;
    // Four declarations and the bounds come first.
    assert_eq!(line("(assert (<= Y_0\n  Y_7))"), "p.vnnlib:9");
    assert_eq!(line("(assert (and (<= Y_0 1)\n(= Y_0 Y_1)))"), "p.vnnlib:9");
    assert_eq!(line("(check-sat)"), "p.vnnlib:8");
    assert_eq!(line("\n)"), "p.vnnlib:9");
    assert_eq!(line("(assert\n\n\n"), "p.vnnlib:8");
    assert_eq!(line("\n(declare-const X_2 Real)(assert (<= Y_0 0))"), "p.vnnlib:9");
    assert_eq!(line("(assert (<= Y_0 0))(assert\n(>= X_1 2))"), "p.vnnlib:9");
}

#[test]
fn nesting_and_size_are_limited() {
    let nested = |n: usize| format!("(assert (<= {}Y_0{} 1))", "(+ ".repeat(n), ")".repeat(n));
    assert_eq!(cells(&nested(62)), ["Y_0 ≤ 1"]);
    assert_eq!(refused(&property(&nested(63))).code, Code::LimitSize);
    assert_eq!(refused(&"(".repeat(1 << 20)).code, Code::LimitSize);
    // 2^12 disjuncts, and 2^13.
    let choice = "(assert (or (<= Y_0 0) (<= Y_1 0)))";
    assert_eq!(cells(&choice.repeat(12)).len(), 1 << 12);
    assert_eq!(refused(&property(&choice.repeat(13))).code, Code::LimitSize);
    assert_eq!(refused(&property(&format!("(assert (or {}))", "(<= Y_0 0)".repeat(4097)))).code, Code::LimitSize);
    assert_eq!(refused(&property(&format!("(assert (and {choice}))"))).code, Code::PropertyUnsupported);
    // Few choices of many comparisons each.
    let many = format!("(and {})", "(<= Y_0 0)".repeat(1100));
    let choices = format!("(assert (or {many} {many}))").repeat(11);
    assert_eq!(refused(&property(&choices)).code, Code::LimitSize);
    // Numbers that arithmetic makes long.
    let huge = format!("(assert (<= Y_0 (* {})))", "1e4096 ".repeat(2));
    assert_eq!(refused(&property(&huge)).code, Code::LimitSize);
    let fractions: Vec<String> = (0..4).map(|i| format!("1/1{:0>2000}", 2 * i + 1)).collect();
    assert_eq!(refused(&property(&format!("(assert (<= Y_0 (+ {})))", fractions.join(" ")))).code, Code::LimitSize);
    assert_eq!(region(&property("(assert (<= Y_0 (* 1e4096 1e-4096 7)))")).cells[0][0].bound, q("7"));
}

// ---- verdicts

/// y = max(x, 0), of two inputs and two outputs.
fn rectifier() -> Model {
    Model::new(&[1, 2]).node("Relu", &["x"], "y").output("y")
}

/// A model and a property in a folder of their own.
struct Case {
    files: Files,
}

impl Case {
    fn new(model: &Model, property: &str) -> Case {
        let files = Files { folder: tempfile::tempdir().expect("a temporary folder") };
        files.write("model.onnx", &model.bytes());
        files.write("p.vnnlib", property.as_bytes());
        files.write("claim.toml", b"model = \"model.onnx\"\nproperty = \"p.vnnlib\"\n");
        Case { files }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.files.folder.path().join(name)
    }

    fn statement(&self) -> Result<Statement> {
        Statement::of_query(&self.path("model.onnx"), &self.path("p.vnnlib"))
    }

    fn check(&self, answers: Vec<Answer>) -> Result<(Verdict, Vec<RowVerdict>)> {
        check(&self.statement()?, answers)
    }
}

fn check(statement: &Statement, answers: Vec<Answer>) -> Result<(Verdict, Vec<RowVerdict>)> {
    let mut certificate = statement.header("test");
    certificate.answers = answers;
    let bytes = serde_json::to_vec(&certificate).expect("JSON");
    let mut report = verify(statement, &bytes, &Config::default())?;
    let rows = report.settings.remove(0).rows.into_iter().map(|(_, verdict)| verdict).collect();
    Ok((report.verdict(), rows))
}

/// The plainest proof of a region.
fn proof_of(statement: &Statement, row: usize) -> ProofText {
    let clean = statement.clean(&[row]).next().expect("one row").expect("the property fits");
    let problem = statement.problem(0, row, &clean).expect("there is a problem");
    default_proof(statement.network(), &problem)
}

fn proofs(statement: &Statement) -> Vec<Answer> {
    let rows = statement.claim().rows();
    rows.iter().map(|&row| Answer { row, proof: Some(proof_of(statement, row)), ..Answer::default() }).collect()
}

fn witness(row: usize, input: &[&str]) -> Answer {
    let input = Some(input.iter().map(ToString::to_string).collect());
    Answer { row, witness: Some(WitnessText { input, perturbation: None }), ..Answer::default() }
}

/// The verdict on the plainest proofs of these assertions about the rectifier.
fn proven(assertions: &str) -> Verdict {
    let case = Case::new(&rectifier(), &property(assertions));
    case.check(proofs(&case.statement().unwrap())).unwrap().0
}

#[test]
fn a_proof_of_every_region_verifies() {
    assert_eq!(proven("(assert (>= Y_0 1.5))"), Verdict::Verified);
    assert_eq!(proven("(assert (or (>= Y_0 1.5) (<= Y_1 -0.25)))"), Verdict::Verified);
    assert_eq!(proven("(assert (or (>= Y_0 1.5) (<= Y_1 0.25)))"), Verdict::Rejected);
    let two = property("(assert (or (and (<= X_0 0) (>= Y_0 0.5)) (and (>= X_0 0) (<= Y_0 -0.5))))");
    let case = Case::new(&rectifier(), &two);
    let statement = case.statement().unwrap();
    let answers = proofs(&statement);
    assert_eq!(case.check(answers.clone()).unwrap().0, Verdict::Verified);
    let (verdict, rows) = case.check(answers[1..].to_vec()).unwrap();
    assert_eq!(verdict, Verdict::Rejected);
    assert!(matches!(&rows[..], [RowVerdict::Unanswered, RowVerdict::Verified { established: None, .. }]), "{rows:?}");
    // A proof of one region is no proof of another.
    let swapped = vec![Answer { row: 1, ..answers[0].clone() }, Answer { row: 0, ..answers[1].clone() }];
    assert_eq!(case.check(swapped).unwrap().0, Verdict::Verified, "these two are proved alike");
    let repeated = vec![answers[0].clone(), answers[0].clone()];
    assert_eq!(code(case.check(repeated)), Code::CertificateRow);
    assert_eq!(code(case.check(vec![Answer { row: 2, ..answers[0].clone() }])), Code::CertificateRow);
    assert_eq!(code(case.check(vec![Answer { setting: 1, ..answers[0].clone() }])), Code::CertificateRow);
    let served = vec![answers[0].clone(), Answer { row: 1, served_by: Some(0), ..Answer::default() }];
    assert_eq!(case.check(served).unwrap().0, Verdict::Rejected);
}

#[test]
fn a_set_that_is_touched_is_reached_unless_it_is_open() {
    for (closed, open) in [(">= Y_0 1", "> Y_0 1"), ("<= Y_0 0", "< Y_0 0"), (">= (+ Y_0 Y_1) 2", "> (+ Y_0 Y_1) 2")] {
        assert_eq!(proven(&format!("(assert ({closed}))")), Verdict::Rejected, "{closed}");
        assert_eq!(proven(&format!("(assert ({open}))")), Verdict::Verified, "{open}");
    }
    // Of several rows it is enough that one that is used is strict.
    assert_eq!(proven("(assert (and (>= Y_0 1) (>= Y_1 1)))"), Verdict::Rejected);
    assert_eq!(proven("(assert (and (>= Y_0 1) (> Y_1 1)))"), Verdict::Verified);
    let case = Case::new(&rectifier(), &property("(assert (and (>= Y_0 1) (> Y_1 1)))"));
    let statement = case.statement().unwrap();
    let with = |weights: Option<Vec<i64>>| {
        let mut proof = proof_of(&statement, 0);
        proof.nodes[0].close = Some(vec![CloseText { weights, ..CloseText::default() }]);
        case.check(vec![Answer { proof: Some(proof), ..Answer::default() }]).unwrap()
    };
    assert_eq!(with(Some(vec![0, 1])).0, Verdict::Verified);
    assert_eq!(with(Some(vec![1, 0])).0, Verdict::Rejected);
    assert_eq!(with(Some(vec![0, 0])).0, Verdict::Rejected);
    for weights in [None, Some(vec![1]), Some(vec![1, 1, 1]), Some(vec![2, -1])] {
        let (_, rows) = with(weights);
        assert!(matches!(&rows[..], [RowVerdict::Rejected(e)] if e.code == Code::CellWeights), "{rows:?}");
    }
}

#[test]
fn several_rows_are_excluded_by_their_combination() {
    // Neither row alone is out of reach; together they are: the first wants Y_0 − Y_1 ≥ 1/2, the second ≤ −1/2.
    assert_eq!(proven("(assert (and (>= (- Y_0 Y_1) 0.5) (<= (- Y_0 Y_1) -0.5)))"), Verdict::Verified);
    assert_eq!(proven("(assert (and (>= (- Y_0 Y_1) 0.5) (<= (- Y_0 Y_1) 0.5)))"), Verdict::Rejected);
    assert_eq!(proven("(assert (and (> (- Y_0 Y_1) 0.5) (<= (- Y_0 Y_1) 0.5)))"), Verdict::Verified);
}

#[test]
fn a_witness_is_the_input_itself() {
    let case = Case::new(&rectifier(), &property("(assert (>= Y_0 0.7))(assert (<= Y_1 0.1))"));
    let outcome = |input: &[&str]| case.check(vec![witness(0, input)]).unwrap();
    let (verdict, rows) = outcome(&["0.7", "1/10"]);
    assert_eq!(verdict, Verdict::Refuted);
    let [RowVerdict::Refuted { what, clean, perturbed }] = &rows[..] else { panic!("{rows:?}") };
    assert_eq!(what, "Y_0 ≥ 0.7 and Y_1 ≤ 0.1");
    assert_eq!((&clean[..], texts(perturbed)), (&[][..], vec!["7/10".to_owned(), "1/10".to_owned()]));
    assert_eq!(outcome(&["1", "-1"]).0, Verdict::Refuted);
    let rejected = |input: &[&str], expected: Code| {
        let (verdict, rows) = outcome(input);
        assert_eq!(verdict, Verdict::Rejected);
        assert!(matches!(&rows[..], [RowVerdict::Rejected(e)] if e.code == expected), "{input:?}: {rows:?}");
    };
    rejected(&["0.69999999999999", "0"], Code::WitnessHarmless);
    rejected(&["0.7", "0.1000000001"], Code::WitnessHarmless);
    rejected(&["1.0000000000001", "0"], Code::WitnessOutside);
    rejected(&["1", "-1.01"], Code::WitnessOutside);
    rejected(&["1"], Code::WitnessOutside);
    rejected(&["1", "0", "0"], Code::WitnessOutside);
    rejected(&[], Code::WitnessOutside);
    rejected(&["1", "x"], Code::WitnessOutside);
}

#[test]
fn a_strict_unsafe_set_is_not_reached_at_its_edge() {
    let case = Case::new(&rectifier(), &property("(assert (> Y_0 0.7))"));
    assert_eq!(case.check(vec![witness(0, &["0.7", "0"])]).unwrap().0, Verdict::Rejected);
    assert_eq!(case.check(vec![witness(0, &["0.70000000001", "0"])]).unwrap().0, Verdict::Refuted);
}

#[test]
fn a_witness_of_one_region_refutes_and_stays_in_it() {
    let text = property("(assert (or (and (<= X_0 0) (<= Y_0 0)) (and (>= X_0 0.5) (>= Y_0 2))))");
    let case = Case::new(&rectifier(), &text);
    let (verdict, rows) = case.check(vec![witness(0, &["-0.3", "0"])]).unwrap();
    assert_eq!(verdict, Verdict::Refuted);
    assert!(matches!(&rows[..], [RowVerdict::Refuted { .. }, RowVerdict::Unanswered]));
    // What is in one region is not in the other.
    let (verdict, rows) = case.check(vec![witness(1, &["-0.3", "0"])]).unwrap();
    assert_eq!(verdict, Verdict::Rejected);
    assert!(matches!(&rows[..], [_, RowVerdict::Rejected(e)] if e.code == Code::WitnessOutside), "{rows:?}");
}

#[test]
fn each_kind_of_claim_has_its_kind_of_witness() {
    let case = Case::new(&rectifier(), &property("(assert (>= Y_0 0.7))"));
    let statement = case.statement().unwrap();
    let perturbation = Some(vec![vec!["1".to_owned(), "0".to_owned()]]);
    let input = Some(vec!["1".to_owned(), "0".to_owned()]);
    let kinds = |statement: &Statement, good: usize| {
        for (i, (perturbation, input)) in
            [(perturbation.clone(), None), (None, input.clone()), (perturbation.clone(), input.clone()), (None, None)]
                .into_iter()
                .enumerate()
        {
            let answer = Answer { witness: Some(WitnessText { perturbation, input }), ..Answer::default() };
            let outcome = check(statement, vec![answer]);
            if i == good {
                assert_eq!(outcome.unwrap().0, Verdict::Refuted);
            } else {
                assert_eq!(code(outcome), Code::CertificateFormat, "{i}");
            }
        }
    };
    kinds(&statement, 1);
    case.files.write(
        "claim.toml",
        b"model = \"model.onnx\"\n[inputs]\npoint = [0, 0]\n[[perturb]]\nsite = \"input\"\n\
          scale = { family = \"none\" }\namplitude = 1\n[output]\ntolerance = \"1/2\"\n",
    );
    kinds(&case.files.statement().unwrap(), 0);
}

#[test]
fn a_box_may_be_a_point() {
    let text = declared(2, 2)
        + "(assert (and (<= X_0 0.1) (>= X_0 0.1) (<= X_1 1/3) (>= X_1 1/3)))(assert (> Y_0 0.1))(assert (>= Y_1 1/3))";
    let case = Case::new(&rectifier(), &text);
    assert_eq!(case.check(proofs(&case.statement().unwrap())).unwrap().0, Verdict::Verified);
    let closed = Case::new(&rectifier(), &text.replace("(> Y_0", "(>= Y_0"));
    assert_eq!(closed.check(proofs(&closed.statement().unwrap())).unwrap().0, Verdict::Rejected);
    assert_eq!(closed.check(vec![witness(0, &["1/10", "1/3"])]).unwrap().0, Verdict::Refuted);
    assert_eq!(closed.check(vec![witness(0, &["1/10", "0.3333333333"])]).unwrap().0, Verdict::Rejected);
}

#[test]
fn the_property_must_fit_the_model() {
    let fits = |inputs: usize, outputs: usize| {
        let bounds: String = (0..inputs).map(|i| format!("(assert (and (<= X_{i} 1) (>= X_{i} 0)))")).collect();
        let unsafe_set = format!("(assert (<= Y_{} 0))", outputs - 1);
        Case::new(&rectifier(), &(declared(inputs, outputs) + &bounds + &unsafe_set)).statement().map(|_| ())
    };
    assert!(fits(2, 2).is_ok());
    assert!(fits(2, 1).is_ok(), "an output that nothing is said of");
    for (inputs, outputs) in [(1, 2), (3, 2), (2, 3)] {
        let error = fits(inputs, outputs).unwrap_err();
        assert_eq!(error.code, Code::PropertyValue);
        assert!(error.place.contains("p.vnnlib:"), "{error}");
    }
    let two_outputs = rectifier().node("Neg", &["y"], "z").output("z");
    assert_eq!(code(Case::new(&two_outputs, &property("(assert (<= Y_0 0))")).statement()), Code::PropertyValue);
    let constant = Model::new(&[1, 2]).f32("c", &[1, 2], &[1.0, 2.0]).node("Relu", &["c"], "y").output("y");
    let case = Case::new(&constant, &property("(assert (<= Y_0 0))"));
    let outcome = case.statement().and_then(|statement| check(&statement, vec![]));
    assert!(matches!(outcome, Err(e) if [Code::ClaimTensor, Code::OnnxUnsupported].contains(&e.code)));
}

// ---- claims and certificates

#[test]
fn a_claim_may_name_a_property() {
    let case = Case::new(&rectifier(), &property("(assert (>= Y_0 1.5))"));
    let (direct, claim) = (case.statement().unwrap(), case.files.statement().unwrap());
    let (of_query, of_claim) = (direct.header("t"), claim.header("t"));
    assert_eq!(of_query.data, std::slice::from_ref(&of_query.claim));
    assert_eq!(of_claim.data, of_query.data);
    assert_ne!(of_claim.claim, of_query.claim);
    assert!(matches!(&claim.claim().inputs, Inputs::Regions(query) if query.name == "p.vnnlib"));
    assert_eq!(check(&claim, proofs(&claim)).unwrap().0, Verdict::Verified);
    assert_eq!(describe(claim.claim()), describe(direct.claim()));
    assert!(describe(claim.claim()).starts_with("`p.vnnlib` states 1 region of inputs"));
    // A certificate is about one of the two.
    let bytes = serde_json::to_vec(&of_query).unwrap();
    assert_eq!(code(verify(&claim, &bytes, &Config::default())), Code::ClaimMismatch);
}

#[test]
fn a_claim_with_a_property_states_nothing_else() {
    let case = Case::new(&rectifier(), &property("(assert (>= Y_0 1.5))"));
    let with = |text: &str| {
        case.files.write("claim.toml", text.as_bytes());
        code(case.files.statement())
    };
    let head = "model = \"model.onnx\"\nproperty = \"p.vnnlib\"\n";
    for more in ["[inputs]\npoint = [0, 0]\n", "[output]\ntolerance = 1\n", "[[setting]]\n", "[[perturb]]\n"] {
        assert_eq!(with(&format!("{head}{more}")), Code::ClaimMissingKey, "{more}");
    }
    assert_eq!(with(&format!("{head}valid = [0, 1]\n")), Code::ClaimUnknownKey);
    assert_eq!(with("property = \"p.vnnlib\"\n"), Code::ClaimMissingKey);
    assert_eq!(with("model = \"model.onnx\"\nproperty = \"other.vnnlib\"\n"), Code::Io);
    assert_eq!(with("model = \"model.onnx\"\nproperty = 3\n"), Code::ClaimValue);
    case.files.write("p.vnnlib", b"(assert (<= Y_0 1))\xff");
    assert_eq!(with(head), Code::Io);
    assert_eq!(code(case.statement()), Code::Io);
    case.files.write("p.vnnlib", b"(assert (<= Y_0 1))");
    assert_eq!(with(head), Code::PropertyValue);
}

#[test]
fn a_certificate_is_about_these_files() {
    let case = Case::new(&rectifier(), &property("(assert (>= Y_0 1.5))"));
    let statement = case.statement().unwrap();
    let mut certificate = statement.header("t");
    certificate.answers = proofs(&statement);
    let check = |certificate| verify(&statement, &serde_json::to_vec(certificate).unwrap(), &Config::default());
    assert_eq!(check(&certificate).unwrap().verdict(), Verdict::Verified);
    let mut other = certificate.clone();
    other.data = vec![];
    assert_eq!(code(check(&other)), Code::DataMismatch);
    let mut other = certificate.clone();
    other.claim = "0".repeat(64);
    assert_eq!(code(check(&other)), Code::ClaimMismatch);
    let mut other = certificate.clone();
    other.model = "0".repeat(64);
    assert_eq!(code(check(&other)), Code::ModelMismatch);
    // One more space in the property, which means the same.
    case.files.write("p.vnnlib", (property("(assert (>= Y_0 1.5))") + " ").as_bytes());
    let changed = case.statement().unwrap();
    let bytes = serde_json::to_vec(&certificate).unwrap();
    assert_eq!(code(verify(&changed, &bytes, &Config::default())), Code::DataMismatch);
}

fn scalecheck(case: &Case, arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_scalecheck"));
    let Output { status, stdout, .. } =
        command.current_dir(case.files.folder.path()).args(arguments).output().expect("scalecheck runs");
    (status.code(), String::from_utf8(stdout).expect("UTF-8"))
}

#[test]
fn the_command_line_takes_a_property_instead_of_a_claim() {
    let case = Case::new(&rectifier(), &property("(assert (>= Y_0 0.5))"));
    let write = |statement: &Statement, name: &str, answer: Answer| {
        let mut certificate = statement.header("t");
        certificate.answers = vec![answer];
        case.files.write(name, &serde_json::to_vec(&certificate).unwrap());
    };
    let statement = case.statement().unwrap();
    write(&statement, "refuted.json", witness(0, &["1", "0"]));
    write(&statement, "open.json", proofs(&statement).remove(0));
    write(&case.files.statement().unwrap(), "claim.json", witness(0, &["1", "0"]));
    let run = |arguments: &str| scalecheck(&case, &arguments.split(' ').collect::<Vec<_>>());
    let (status, text) = run("verify --model model.onnx --property p.vnnlib refuted.json");
    assert_eq!(status, Some(10), "{text}");
    assert!(text.starts_with("REFUTED\n`p.vnnlib` states 1 region of inputs"), "{text}");
    assert!(text.contains("row 0: refuted: Y_0 ≥ 0.5\n  outputs: 1, 0\n"), "{text}");
    assert_eq!(run("verify refuted.json --property p.vnnlib --model model.onnx").0, Some(10));
    assert_eq!(run("verify claim.toml claim.json").0, Some(10));
    assert_eq!(run("verify --model model.onnx --property p.vnnlib open.json").0, Some(1));
    assert_eq!(run("verify --model model.onnx --property p.vnnlib claim.json").0, Some(3));
    let (status, text) = run("verify --json --model model.onnx --property p.vnnlib refuted.json");
    assert_eq!(status, Some(10));
    let report: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(report["settings"][0]["rows"][0]["perturbed"], json!(["1", "0"]));
    assert_eq!(report["settings"][0]["rows"][0]["clean"], json!([]));
    for usage in [
        "verify --property p.vnnlib refuted.json",
        "verify --model model.onnx --property p.vnnlib",
        "verify --model model.onnx --property p.vnnlib claim.toml refuted.json",
        "verify --model model.onnx refuted.json --property",
    ] {
        let (status, text) = run(usage);
        assert_eq!(status, Some(2), "{usage}: {text}");
        assert!(text.contains("[usage]"), "{usage}: {text}");
    }
    assert_eq!(run("verify --model model.onnx --property none.vnnlib refuted.json").0, Some(2));
    assert!(scalecheck(&case, &["--help"]).1.contains("--property"));
}

// ---- random properties

type Vector = Vec<Rational>;

/// A property as the test understands it, to be written down and to be evaluated.
enum Term {
    Number(Rational),
    Y(usize),
    Call(&'static str, Vec<Term>),
}

enum Formula {
    And(Vec<Formula>),
    Or(Vec<Formula>),
    Bound(&'static str, usize, Rational),
    Compare(&'static str, Term, Term),
}

fn number(x: &Rational) -> String {
    if x.is_integer() { x.to_string() } else { format!("(/ {} {})", x.numer(), x.denom()) }
}

fn holds(relation: &str, a: &Rational, b: &Rational) -> bool {
    match relation {
        "<=" => a <= b,
        ">=" => a >= b,
        "<" => a < b,
        _ => a > b,
    }
}

impl Term {
    fn text(&self) -> String {
        match self {
            Term::Number(x) => number(x),
            Term::Y(i) => format!("Y_{i}"),
            Term::Call(head, terms) => {
                let terms: Vec<String> = terms.iter().map(Term::text).collect();
                format!("({head} {})", terms.join(" "))
            }
        }
    }

    fn value(&self, y: &[Rational]) -> Rational {
        let values = |terms: &[Term]| terms.iter().map(|t| t.value(y)).collect::<Vector>();
        match self {
            Term::Number(x) => x.clone(),
            Term::Y(i) => y[*i].clone(),
            Term::Call("+", terms) => values(terms).iter().sum(),
            Term::Call("*", terms) => values(terms).iter().product(),
            Term::Call(_, terms) => match &values(terms)[..] {
                [only] => -only,
                [first, rest @ ..] => first - rest.iter().sum::<Rational>(),
                [] => Rational::zero(),
            },
        }
    }
}

impl Formula {
    fn text(&self) -> String {
        let join = |parts: &[Formula]| parts.iter().map(Formula::text).collect::<Vec<_>>().join("\n ");
        match self {
            Formula::And(parts) => format!("(and {})", join(parts)),
            Formula::Or(parts) => format!("(or {})", join(parts)),
            Formula::Bound(relation, i, value) => format!("({relation} X_{i} {})", number(value)),
            Formula::Compare(relation, a, b) => format!("({relation} {} {})", a.text(), b.text()),
        }
    }

    fn is_true(&self, x: &[Rational], y: &[Rational]) -> bool {
        match self {
            Formula::And(parts) => parts.iter().all(|part| part.is_true(x, y)),
            Formula::Or(parts) => parts.iter().any(|part| part.is_true(x, y)),
            Formula::Bound(relation, i, value) => holds(relation, &x[*i], value),
            Formula::Compare(relation, a, b) => holds(relation, &a.value(y), &b.value(y)),
        }
    }
}

/// A linear term of these outputs.
fn term(tape: &mut Tape, outputs: usize, depth: usize) -> Term {
    let inner = |tape: &mut Tape| term(tape, outputs, depth - 1);
    match if depth == 0 { 0 } else { tape.below(5) } {
        0 | 1 => Term::Y(tape.below(outputs)),
        2 => Term::Call("+", vec![inner(tape), inner(tape), Term::Number(ratio(tape.around(4), 4))]),
        3 => Term::Call("-", (0..1 + tape.below(3)).map(|_| inner(tape)).collect()),
        _ => Term::Call("*", vec![Term::Number(ratio(tape.around(6), 2 + tape.below(2) as i64)), inner(tape)]),
    }
}

/// A comparison that a known output nearly meets, exactly meets, or misses.
fn compare(tape: &mut Tape, known: &[Rational]) -> Formula {
    let relation = *tape.pick(&["<=", ">=", "<", ">"]);
    let (a, b) = (term(tape, known.len(), 2), term(tape, known.len(), 1));
    let gap = a.value(known) - b.value(known) + ratio(tape.around(6), *tape.pick(&[1, 1, 3]));
    Formula::Compare(relation, a, Term::Call("+", vec![b, Term::Number(gap)]))
}

fn outputs_formula(tape: &mut Tape, known: &[Rational], depth: usize) -> Formula {
    let parts = |tape: &mut Tape| (0..1 + tape.below(3)).map(|_| outputs_formula(tape, known, depth - 1)).collect();
    match if depth == 0 { 0 } else { tape.below(3) } {
        0 => compare(tape, known),
        1 => Formula::And(parts(tape)),
        _ => Formula::Or(parts(tape)),
    }
}

/// What became of random properties: how many were verified, and how many points broke one.
struct Tried {
    verified: bool,
    broken: usize,
}

const SIZE: Size = Size { inputs: 3, steps: 6, relus: 8, wild: false };

fn try_random(tape: &mut Tape) -> Option<Tried> {
    let net = random_net(tape, SIZE);
    let none: Vec<Vector> = net.names.iter().map(|_| vec![]).collect();
    let output = |x: &Vector| net.evaluate(x, &none, &net.unchanged(), None).swap_remove(net.output());
    let sides: Vec<(Rational, Rational)> = (0..net.len(0))
        .map(|_| (tape.unit(), ratio(tape.below(5) as i64, 4)))
        .map(|(low, width)| (low.clone(), low + width))
        .collect();
    let point = |tape: &mut Tape| -> Vector {
        let at = |(low, high): &(Rational, Rational), tape: &mut Tape| {
            low + (high - low) * (tape.unit() + Rational::one()) / ratio(2, 1)
        };
        sides.iter().map(|side| at(side, tape)).collect()
    };
    let mut points: Vec<Vector> = (0..8).map(|_| point(tape)).collect();
    let known = output(&points[0]);
    // The box, a choice of parts of it, and what is unsafe: at least one comparison in each case.
    let bounds = sides
        .iter()
        .enumerate()
        .flat_map(|(i, (low, high))| [Formula::Bound(">=", i, low.clone()), Formula::Bound("<=", i, high.clone())]);
    let mut all: Vec<Formula> = bounds.collect();
    if tape.one_in(2) {
        let i = tape.below(sides.len());
        let middle = points[1][i].clone();
        let part = |tape: &mut Tape, relation| {
            let bound = Formula::Bound(relation, i, middle.clone());
            if tape.one_in(2) { bound } else { Formula::And(vec![bound, outputs_formula(tape, &known, 1)]) }
        };
        let parts = vec![part(tape, "<="), part(tape, ">="), outputs_formula(tape, &known, 1)];
        all.push(Formula::Or(parts));
    }
    all.push(outputs_formula(tape, &known, 2));
    if tape.one_in(3) {
        all.push(compare(tape, &known));
    }
    let asserted: String = all.iter().map(|formula| format!("(assert {})\n", formula.text())).collect();
    let text = declared(sides.len(), known.len()) + &asserted;
    let case = Case::new(&net.model, &text);
    let statement = match case.statement() {
        Ok(statement) => statement,
        // The variables of a comparison may cancel, and its coefficients may be too far apart.
        Err(e) if [Code::PropertyUnsupported, Code::LimitSize].contains(&e.code) => return None,
        Err(e) => panic!("{e}\n{text}"),
    };
    let Inputs::Regions(query) = &statement.claim().inputs else { panic!("regions") };
    // The centres and ends of regions are where mistakes would show.
    for region in &query.regions {
        points.extend([region.centre(), region.lower.clone(), region.upper.clone()]);
    }
    let truth: Vec<bool> = points.iter().map(|x| all.iter().all(|formula| formula.is_true(x, &output(x)))).collect();
    let mut answers = proofs(&statement);
    for close in answers.iter_mut().filter_map(|a| a.proof.as_mut()?.nodes[0].close.as_mut()).flatten() {
        close.weights.iter_mut().flatten().for_each(|w| *w = tape.below(3) as i64);
    }
    let verified = check(&statement, answers).unwrap().0 == Verdict::Verified;
    let broken = truth.iter().filter(|broken| **broken).count();
    assert!(!verified || broken == 0, "verified, but a point breaks it:\n{text}");
    for (x, broken) in points.iter().zip(truth) {
        let texts = texts(x);
        let input: Vec<&str> = texts.iter().map(String::as_str).collect();
        let refutes = (0..query.regions.len()).filter(|&row| {
            let outcome = check(&statement, vec![witness(row, &input)]).unwrap();
            assert_ne!(outcome.0, Verdict::Verified);
            outcome.0 == Verdict::Refuted
        });
        assert_eq!(refutes.count() > 0, broken, "{input:?}\n{text}");
    }
    Some(Tried { verified, broken })
}

proptest! {
    #![proptest_config(Runner { cases: 192, max_shrink_iters: 200, failure_persistence: None, ..Runner::default() })]

    /// A point breaks a property exactly if its text says so, and no proof verifies a property that a point breaks.
    #[test]
    fn verdicts_on_random_properties_are_true(mut tape in tape(500)) {
        try_random(&mut tape);
    }

    /// Whatever the bytes are, reading ends with a query or an error that names the file.
    #[test]
    fn any_text_is_read_or_refused(words in prop::collection::vec(0..24_usize, 0..60)) {
        const WORDS: [&str; 24] = [
            "(", "(", "(", ")", ")", ")", "assert", "(assert (", "or", "and", "<=", ">", "+", "-", "*", "/", "X_0", "Y_0", "Y_1",
            "0.5", "-3", "; x\n", "\n", "ß|\"",
        ];
        let text: Vec<&str> = words.into_iter().map(|i| WORDS[i]).collect();
        match parse(&property(&text.join(" "))) {
            Ok(query) => prop_assert!(query.regions.iter().all(|r| !r.cells.is_empty())),
            Err(e) => prop_assert!(e.place.starts_with("p.vnnlib"), "{}", e),
        }
    }
}

#[test]
fn the_random_properties_are_not_trivial() {
    use proptest::strategy::ValueTree;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let (mut tried, mut verified, mut broken) = (0, 0, 0);
    for _ in 0..150 {
        let mut tape = tape(500).new_tree(&mut runner).unwrap().current();
        if let Some(found) = try_random(&mut tape) {
            tried += 1;
            verified += usize::from(found.verified);
            broken += usize::from(found.broken > 0);
        }
    }
    assert!(tried > 75 && verified > tried / 16 && broken > tried / 8, "{verified} and {broken} of {tried}");
}
