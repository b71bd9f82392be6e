//! What must hold on the digits model, with every answer checked exactly.

use crate::support::{blocks, digits_claim, folder, prove_and_verify, statement};
use num::Zero;
use scalecert::prove::{Choice, Config, Method, Outcome, Status};
use scalecheck::number::Rational;
use scalecheck::verify::{RowVerdict, Verdict};

fn ratio(a: i64, b: i64) -> Rational {
    Rational::new(a.into(), b.into())
}

/// The tightest proven reach of an outcome.
fn tightest(outcome: &Outcome) -> Rational {
    outcome.proven.iter().map(|(_, reach)| reach.clone()).min().expect("a method was tried")
}

/// The certified tolerance of row 7 at amplitude 1/32 under a scale.
fn certified_tolerance(scale: &str) -> Rational {
    let folder = folder();
    let claim = digits_claim("[7]", scale, "1/32", "tolerance = \"100\"");
    let (_, statement) = statement(&folder, &claim);
    let (outcomes, report) = prove_and_verify(&statement, &Config { method: Choice::All, ..Config::default() });
    assert_eq!(report.verdict(), Verdict::Verified);
    let RowVerdict::Verified { established: Some(established), .. } = &report.settings[0].rows[0].1 else {
        panic!("a verified tolerance claim establishes a tolerance")
    };
    assert_eq!(*established, tightest(&outcomes[0]), "the checker and the prover name the same tolerance");
    established.clone()
}

#[test]
fn certified_tolerance_grows_with_the_cutoff_and_stays_below_the_plain_box() {
    let ladder: Vec<Rational> = [1, 2, 4, 8].iter().map(|&cutoff| certified_tolerance(&blocks(cutoff))).collect();
    assert!(ladder[0].is_zero(), "nothing is finer than a single pixel");
    assert!(ladder.windows(2).all(|pair| pair[0] < pair[1]), "strictly growing: {ladder:?}");
    let free = certified_tolerance("{ family = \"none\" }");
    assert!(ladder.iter().all(|below| *below < free), "below the plain box");
}

#[test]
fn certified_tolerance_is_within_twelve_percent_of_the_attack() {
    let folder = folder();
    let claim = digits_claim("\"0..20\"", &blocks(2), "1/32", "tolerance = \"100\"");
    let (_, statement) = statement(&folder, &claim);
    let (outcomes, report) = prove_and_verify(&statement, &Config { method: Choice::Alpha, ..Config::default() });
    assert_eq!(report.verdict(), Verdict::Verified);
    let certified: Rational = outcomes.iter().map(tightest).sum();
    let attacked: Rational = outcomes.iter().map(|o| o.attacked.clone().expect("an attack was found").0).sum();
    assert!(attacked <= certified);
    assert!(certified <= attacked * ratio(112, 100));
}

fn decided(amplitude: &str) -> usize {
    let folder = folder();
    let (_, statement) =
        statement(&folder, &digits_claim("\"0..100\"", &blocks(2), amplitude, "decision = \"winner\""));
    let (outcomes, report) = prove_and_verify(&statement, &Config::default());
    for (outcome, (row, verdict)) in outcomes.iter().zip(&report.settings[0].rows) {
        let agrees = match outcome.status {
            Status::Certified => matches!(verdict, RowVerdict::Verified { .. }),
            Status::Refuted => matches!(verdict, RowVerdict::Refuted { .. }),
            Status::Unknown => matches!(verdict, RowVerdict::Unanswered),
        };
        assert!(agrees, "row {row}: {:?} but {verdict:?}", outcome.status);
    }
    outcomes.iter().filter(|o| o.status != Status::Unknown).count()
}

#[test]
fn at_least_95_of_100_decisions_at_one_64th() {
    assert!(decided("1/64") >= 95);
}

#[test]
fn at_least_88_of_100_decisions_at_one_32nd() {
    assert!(decided("1/32") >= 88);
}

#[test]
fn stronger_methods_are_tighter() {
    let folder = folder();
    let claim = digits_claim("[1]", &blocks(2), "1/32", "tolerance = \"100\"");
    let (_, statement) = statement(&folder, &claim);
    let (outcomes, _) = prove_and_verify(&statement, &Config { method: Choice::All, ..Config::default() });
    let methods: Vec<Method> = outcomes[0].proven.iter().map(|(m, _)| *m).collect();
    assert_eq!(methods, [Method::Interval, Method::Crown, Method::Alpha, Method::Lp]);
    let reach: Vec<&Rational> = outcomes[0].proven.iter().map(|(_, reach)| reach).collect();
    assert!(reach[1] < reach[0], "back-substitution is tighter than intervals");
    assert!(reach[2] < reach[1], "optimised slopes are tighter than default ones");
    // Slopes are rounded to 8 bits, so the LP may lose its last digits.
    assert!(*reach[3] <= reach[2] * ratio(10001, 10000), "the LP is as tight as optimised slopes");
}

#[test]
fn refutes_a_tolerance_that_an_attack_exceeds_and_the_witness_shows_it() {
    let folder = folder();
    let (_, statement) = statement(&folder, &digits_claim("[7]", &blocks(2), "1/32", "tolerance = \"1/10\""));
    let (outcomes, report) = prove_and_verify(&statement, &Config::default());
    assert_eq!(outcomes[0].status, Status::Refuted);
    assert_eq!(report.verdict(), Verdict::Refuted);
    let RowVerdict::Refuted { clean, perturbed, .. } = &report.settings[0].rows[0].1 else {
        panic!("the row is refuted")
    };
    let largest = clean.iter().zip(perturbed).map(|(c, p)| if c > p { c - p } else { p - c }).max();
    assert!(largest > Some(ratio(1, 10)));
}

#[test]
fn every_family_and_site_is_bracketed() {
    let haar = "{ family = \"haar\", shape = [8, 8], cutoff = 4 }";
    for scale in [haar, "{ family = \"none\" }", &blocks(4)] {
        for site in ["input", "hidden1.pre", "hidden1", "hidden2.pre"] {
            let shape = if site.starts_with("hidden2") { "[32]" } else { "[8, 8]" };
            let claim = digits_claim("[0]", scale, "1/64", "tolerance = \"100\"")
                .replace("[8, 8]", shape)
                .replace("site = \"input\"", &format!("site = \"{site}\""));
            let folder = folder();
            let (_, statement) = statement(&folder, &claim);
            let (outcomes, report) = prove_and_verify(&statement, &Config { method: Choice::All, ..Config::default() });
            assert_eq!(report.verdict(), Verdict::Verified);
            let attacked = outcomes[0].attacked.clone().expect("an attack was found").0;
            assert!(!attacked.is_zero(), "{scale} at {site} moves the output");
            assert!(attacked <= tightest(&outcomes[0]), "{scale} at {site}");
        }
    }
}
