//! Proving against checking on the digits model: the first 100 test rows, winner among the ten outputs, nothing finer
//! than 2×2 blocks, amplitude 1/32. One thread, one run: quote the ratios, not the times.

use scalecert::bundle::{certificate, checked_bytes};
use scalecert::graph::Maps;
use scalecert::prove::{Config, prove};
use scalecheck::problem::Problem;
use scalecheck::verify::{Config as CheckConfig, Statement, check_answer, verify};
use std::path::Path;
use std::time::{Duration, Instant};

fn problem_of(statement: &Statement, row: usize) -> Problem {
    let clean = statement.clean(&[row]).next().expect("one row").expect("the row is valid");
    statement.problem(0, row, &clean).expect("the row is valid")
}

fn main() {
    let claim = Path::new(env!("CARGO_MANIFEST_DIR")).join("specs/claims/digits-winner-32.toml");
    let statement = Statement::load(&claim, None).expect("the example claim is valid");
    let property = statement.claim().settings[0].property.clone();
    let maps = Maps::default();
    let (mut proving, mut checking, mut outcomes) = (Vec::new(), Vec::new(), Vec::new());
    for row in statement.claim().rows() {
        let start = Instant::now();
        let problem = problem_of(&statement, row);
        let outcome = prove((0, row), &problem, &property, &maps, &Config::default(), None, &|_| ())
            .expect("the prover is sound");
        proving.push(start.elapsed());
        if let Some(answer) = &outcome.answer {
            let start = Instant::now();
            let problem = problem_of(&statement, row);
            check_answer(&problem, &property, answer, &CheckConfig::default()).expect("the answer checks");
            checking.push(start.elapsed());
        }
        outcomes.push(outcome);
    }
    let bundle = certificate(&statement, &outcomes).expect("some row has an answer");
    let start = Instant::now();
    let bytes = checked_bytes(&bundle, &statement).expect("the checker accepts the bundle");
    // The prover checks what it writes, so that belongs to proving.
    proving.push(start.elapsed());
    let start = Instant::now();
    verify(&statement, &bytes, &CheckConfig::default()).expect("the bundle is a certificate");
    let whole = start.elapsed();
    let total = |times: &[Duration]| times.iter().sum::<Duration>().as_secs_f64();
    checking.sort_unstable();
    println!("rows proven: {}, answers checked: {}, bundle bytes: {}", outcomes.len(), checking.len(), bytes.len());
    println!("checking the bundle / proving all rows: {:.3}", whole.as_secs_f64() / total(&proving));
    println!("checking answers one by one / proving:  {:.3}", total(&checking) / total(&proving));
    println!("median check of one answer: {:.2} ms", checking[checking.len() / 2].as_secs_f64() * 1e3);
}
