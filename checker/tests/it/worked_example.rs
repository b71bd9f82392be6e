//! The worked example of `specs/worked-example`: its files, and every number of its README.

use crate::support::{code, int, q, worked_model};
use num::Zero;
use scalecheck::certificate::{
    self, Answer, Certificate, CloseText, NodeText, Proof, ProofText, RefineText, Side, SlopesText, SplitText,
    WitnessText,
};
use scalecheck::claim::Inputs;
use scalecheck::error::Code;
use scalecheck::number::{Rational, scale_by_power_of_two};
use scalecheck::problem::{Op, Problem};
use scalecheck::rules::back_substitution::Relaxation;
use scalecheck::rules::case::Case;
use scalecheck::rules::relu::Relu;
use scalecheck::rules::split;
use scalecheck::verify::{Config, Report, RowVerdict, Statement, Verdict, verify};
use std::path::PathBuf;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../specs/worked-example")
}

fn statement(claim: &str) -> Statement {
    Statement::load(&folder().join(claim), None).unwrap()
}

fn problem(claim: &str) -> Problem {
    let statement = statement(claim);
    assert!(matches!(&statement.claim().inputs, Inputs::Point(x) if x.iter().all(Zero::is_zero)));
    statement.problem(0, 0, &statement.clean(&[0]).next().unwrap().unwrap()).unwrap()
}

fn check(claim: &str, certificate: &str) -> Report {
    let bytes = std::fs::read(folder().join(certificate)).unwrap();
    verify(&statement(claim), &bytes, &Config::default()).unwrap()
}

fn established(report: &Report) -> Rational {
    match &report.settings[0].rows[..] {
        [(0, RowVerdict::Verified { established: Some(tolerance), .. })] => tolerance.clone(),
        rows => panic!("{rows:?}"),
    }
}

// ---- what the certificates say

fn refine(rows: &[usize], side: Option<Side>, multipliers: Vec<(usize, usize, i64, i32)>) -> RefineText {
    RefineText { tensor: 0, rows: Some(rows.to_vec()), side, slopes: None, multipliers, duals: vec![] }
}

/// One case: refine both pre-activations, close both cells with default slopes.
fn plain() -> ProofText {
    let close = Some(vec![CloseText::default(), CloseText::default()]);
    let refine = vec![refine(&[0, 1], None, vec![])];
    ProofText {
        slope_bits: 2,
        tensors: vec!["h.pre".into()],
        slopes: vec![],
        refine: vec![],
        nodes: vec![NodeText { refine, close, ..NodeText::default() }],
    }
}

/// Two cases: the first neuron inactive, with a lower slope 0 for the second one, and active.
fn with_split() -> ProofText {
    let mut proof = plain();
    proof.slopes = vec![vec![SlopesText { tensor: 0, lower: Some(vec![-1, 0]), upper: None }]];
    let parent = NodeText {
        refine: vec![refine(&[0, 1], None, vec![])],
        split: Some(SplitText { tensor: 0, element: 0, at: "0".into() }),
        ..NodeText::default()
    };
    let low = NodeText {
        refine: vec![refine(&[1], Some(Side::Upper), vec![(0, 0, -2, 0)])],
        close: Some(vec![CloseText { slopes: Some(0), ..CloseText::default() }, CloseText::default()]),
        ..NodeText::default()
    };
    let high = NodeText {
        refine: vec![refine(&[1], Some(Side::Lower), vec![(0, 0, 2, 0)])],
        close: Some(vec![CloseText::default(), CloseText::default()]),
        ..NodeText::default()
    };
    proof.nodes = vec![parent, low, high];
    proof
}

fn answers() -> [(&'static str, &'static str, Answer); 3] {
    let proof = |proof| Answer { proof: Some(proof), ..Answer::default() };
    let perturbation = vec![vec!["1".to_owned(), "-1".to_owned()]];
    let witness =
        Answer { witness: Some(WitnessText { perturbation: Some(perturbation), input: None }), ..Answer::default() };
    [
        ("claim.toml", "certificate.json", proof(plain())),
        ("claim-split.toml", "certificate-split.json", proof(with_split())),
        ("claim-refuted.toml", "certificate-refuted.json", witness),
    ]
}

fn expected(claim: &str, answer: Answer) -> Certificate {
    let mut certificate = statement(claim).header("worked by hand");
    certificate.answers.push(answer);
    certificate
}

#[test]
#[ignore = "writes the example's model and certificates; run it after changing one of them"]
fn write_the_files() {
    std::fs::write(folder().join("model.onnx"), worked_model().bytes()).unwrap();
    for (claim, file, answer) in answers() {
        let text = serde_json::to_string_pretty(&expected(claim, answer)).unwrap();
        std::fs::write(folder().join(file), text + "\n").unwrap();
    }
}

#[test]
fn the_files_are_the_ones_described_here() {
    assert_eq!(std::fs::read(folder().join("model.onnx")).unwrap(), worked_model().bytes());
    for (claim, file, answer) in answers() {
        let stored = certificate::parse(&std::fs::read(folder().join(file)).unwrap(), u64::MAX).unwrap();
        let value = |c: &Certificate| serde_json::to_value(c).unwrap();
        assert_eq!(value(&stored), value(&expected(claim, answer)), "{file}");
    }
}

// ---- verdicts

#[test]
fn the_plain_certificate_establishes_exactly_the_tolerance() {
    let report = check("claim.toml", "certificate.json");
    assert_eq!(report.verdict(), Verdict::Verified);
    assert_eq!(established(&report), int(2));
}

#[test]
fn the_split_certificate_establishes_exactly_the_true_worst_case() {
    let report = check("claim-split.toml", "certificate-split.json");
    assert_eq!(report.verdict(), Verdict::Verified);
    assert_eq!(established(&report), int(1));
}

#[test]
fn the_witness_refutes_a_smaller_tolerance() {
    let report = check("claim-refuted.toml", "certificate-refuted.json");
    assert_eq!(report.verdict(), Verdict::Refuted);
    let [(0, RowVerdict::Refuted { what, clean, perturbed })] = &report.settings[0].rows[..] else {
        panic!("{:?}", report.settings[0].rows)
    };
    assert_eq!(what, "coarse output 0 falls by more than 7/8");
    assert_eq!((clean, perturbed), (&vec![int(-1)], &vec![int(-2)]));
}

#[test]
fn the_certificate_of_one_claim_does_not_speak_about_another() {
    let bytes = std::fs::read(folder().join("certificate.json")).unwrap();
    let result = verify(&statement("claim-split.toml"), &bytes, &Config::default());
    assert_eq!(code(result.map(|_| ())), Code::ClaimMismatch);
}

// ---- the numbers of the README, in its order

fn bounds(case: &Case<'_>, t: usize) -> Vec<(Rational, Rational)> {
    let bounds = case.bounds(t).unwrap();
    let value = |&m: &i64| scale_by_power_of_two(&int(m), -i64::from(bounds.exp()));
    bounds.lower().iter().zip(bounds.upper()).map(|(l, u)| (value(l), value(u))).collect()
}

/// Slope and offset of the lines above and below each neuron.
fn lines(case: &Case<'_>, pre: usize) -> Vec<[(Rational, Rational); 2]> {
    let bounds = case.bounds(pre).unwrap();
    let relu = Relu::new(bounds, &case.problem().tensors[pre].centre);
    let (above, below) = (relu.upper_lines(None), relu.lower_lines(None));
    let line = |lines: &scalecheck::rules::relu::Lines, i: usize| {
        let value = |m: i64, exp: i64| scale_by_power_of_two(&int(m), -exp);
        (value(lines.slope[i], 16), value(lines.offset[i], bounds.exp().into()))
    };
    (0..bounds.len()).map(|i| [line(&above, i), line(&below, i)]).collect()
}

fn pair(a: &str, b: &str) -> (Rational, Rational) {
    (q(a), q(b))
}

#[test]
fn step_1_the_problem_is_the_one_of_the_readme() {
    let problem = problem("claim.toml");
    let pre = problem.find("h.pre").unwrap();
    assert_eq!(problem.tensors[pre].centre.to_rationals(), [int(0), int(1)]);
    assert_eq!(problem.clean, [int(-1)]);
    assert_eq!(
        (&problem.domain[0].lower[..], &problem.domain[0].upper[..]),
        (&[int(-1), int(-1)][..], &[int(1), int(1)][..])
    );
    assert_eq!(problem.domain[0].groups, [vec![0, 1]]);
    assert!(matches!(problem.tensors[problem.find("h").unwrap()].op, Op::Relu(from) if from == pre));
    let cells: Vec<_> = problem.cells.iter().map(|c| (c.rows[0].terms.clone(), c.rows[0].bound.clone())).collect();
    assert_eq!(cells, [(vec![(0, -1)], int(-2)), (vec![(0, 1)], int(-2))]);
    assert!(problem.cells.iter().all(|c| c.rows[0].strict));
}

#[test]
fn steps_2_to_5_bounds_lines_and_slacks_are_those_of_the_readme() {
    let problem = problem("claim.toml");
    let (pre, y) = (problem.find("h.pre").unwrap(), problem.find("y").unwrap());
    let mut case = Case::root(&problem).unwrap();
    case.ensure(pre).unwrap();
    assert_eq!(bounds(&case, pre), [pair("-3", "3"), pair("-2", "2")]);
    let refined = |row, sign| Relaxation::new(&case, pre, None).upper_bound(pre, &[(row, sign)], &[]).unwrap();
    assert_eq!([refined(0, 1), refined(0, -1), refined(1, 1), refined(1, -1)], [int(1), int(1), int(2), int(2)]);
    case.learn_upper(pre, 0, &int(1));
    case.learn_lower(pre, 0, &int(-1));
    case.ensure(y).unwrap();
    let expected = [[pair("1/2", "1/2"), pair("0", "0")], [pair("3/4", "1/2"), pair("1", "0")]];
    assert_eq!(lines(&case, pre), expected);
    let relaxation = Relaxation::new(&case, y, None);
    assert_eq!(relaxation.upper_bound(y, &[(0, 1)], &[]).unwrap(), int(2));
    assert_eq!(relaxation.upper_bound(y, &[(0, -1)], &[]).unwrap(), int(2));
}

#[test]
fn step_6_the_split_gives_the_numbers_of_the_readme() {
    let problem = problem("claim-split.toml");
    let (pre, y) = (problem.find("h.pre").unwrap(), problem.find("y").unwrap());
    let proof = Proof::new(&with_split(), &problem).unwrap();
    let mut root = Case::root(&problem).unwrap();
    root.ensure(pre).unwrap();
    root.learn_upper(pre, 0, &int(1));
    root.learn_lower(pre, 0, &int(-1));
    let (mut low, mut high) = split::split(root, pre, 0, &int(0));
    assert_eq!(bounds(&low, pre)[0], pair("-1", "0"));
    assert_eq!(bounds(&high, pre)[0], pair("0", "1"));

    let multipliers = |node: usize| &proof.nodes[node].refine[0].hints.multipliers;
    assert_eq!(Relaxation::new(&low, pre, None).upper_bound(pre, &[(1, 1)], multipliers(1)).unwrap(), int(0));
    low.learn_upper(pre, 1, &int(0));
    low.ensure(y).unwrap();
    assert_eq!(lines(&low, pre)[1][0], pair("1/2", "0"));
    let with_slopes = Relaxation::new(&low, y, Some(&proof.slopes[0]));
    assert_eq!(with_slopes.upper_bound(y, &[(0, 1)], &[]).unwrap(), int(1));
    assert_eq!(Relaxation::new(&low, y, None).upper_bound(y, &[(0, -1)], &[]).unwrap(), int(1));

    assert_eq!(Relaxation::new(&high, pre, None).upper_bound(pre, &[(1, -1)], multipliers(2)).unwrap(), int(0));
    high.learn_lower(pre, 1, &int(0));
    high.ensure(y).unwrap();
    assert_eq!(lines(&high, pre)[1], [pair("1", "0"), pair("1", "0")]);
    let relaxation = Relaxation::new(&high, y, None);
    assert_eq!(relaxation.upper_bound(y, &[(0, 1)], &[]).unwrap(), int(1));
    assert_eq!(relaxation.upper_bound(y, &[(0, -1)], &[]).unwrap(), int(1));
}
