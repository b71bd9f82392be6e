//! Branch and bound: properties that one relaxation does not decide, by splits of variables and of neurons.

use crate::onnx::{Model, Value};
use crate::support;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use scalecert::graph::{Graph, Maps};
use scalecert::prove::{Config, Status};
use scalecert::search::branch::{End, Progress, Saved, Stop, search};
use scalecheck::verify::{Statement, Verdict};
use std::sync::atomic::{AtomicBool, Ordering};

/// A network with `inputs` inputs, two layers of 24 ReLUs and two outputs, and the largest values of them that an
/// ascent in the box [−1, 1] finds.
struct Network {
    inputs: usize,
    bytes: Vec<u8>,
    reached: [f64; 2],
}

fn network(inputs: usize, seed: u64) -> Network {
    let mut random = SmallRng::seed_from_u64(seed);
    let mut weights =
        |count: usize| (0..count).map(|_| random.random_range(-16..=16) as f32 / 32.0).collect::<Vec<_>>();
    let sizes = [inputs, 24, 24, 2];
    let layers: Vec<(Vec<f32>, Vec<f32>)> = sizes.windows(2).map(|n| (weights(n[0] * n[1]), weights(n[1]))).collect();
    let mut model = Model::new(&[1, inputs as i64]);
    let mut from = "x".to_owned();
    for (l, ((w, b), size)) in layers.iter().zip(sizes.windows(2)).enumerate() {
        let (wn, bn, pre) = (format!("w{l}"), format!("b{l}"), format!("pre{l}"));
        model = model.f32(&wn, &[size[1] as i64, size[0] as i64], w).f32(&bn, &[size[1] as i64], b);
        model = model.node_with("Gemm", &[&from, &wn, &bn], &pre, &[("transB", Value::Int(1))]);
        from = pre;
        if l < 2 {
            model = model.node("Relu", &[&from], &format!("act{l}"));
            from = format!("act{l}");
        }
    }
    let outputs = |x: &[f64]| {
        let layer = |x: Vec<f64>, (l, (w, b)): (usize, &(Vec<f32>, Vec<f32>))| {
            let row =
                |(w, b): (&[f32], &f32)| f64::from(*b) + w.iter().zip(&x).map(|(w, x)| f64::from(*w) * x).sum::<f64>();
            w.chunks(x.len()).zip(b).map(row).map(|y| if l < 2 { y.max(0.0) } else { y }).collect()
        };
        layers.iter().enumerate().fold(x.to_vec(), layer)
    };
    let reached = [0, 1].map(|output| {
        // Coordinate ascent: the maximum of a piecewise linear function tends to lie in a corner.
        let climb = |_| {
            let mut x: Vec<f64> = (0..inputs).map(|_| random.random_range(-1.0..=1.0)).collect();
            for i in (0..inputs).cycle().take(4 * inputs) {
                let at = |v: f64| outputs(&[&x[..i], &[v], &x[i + 1..]].concat())[output];
                let values = (0..=16).map(|v| f64::from(v) / 8.0 - 1.0).map(|v| (v, at(v)));
                x[i] = values.max_by(|a, b| a.1.total_cmp(&b.1)).expect("17 values").0;
            }
            outputs(&x)[output]
        };
        (0..100).map(climb).fold(f64::NEG_INFINITY, f64::max)
    });
    Network { inputs, bytes: model.output(&from).bytes(), reached }
}

/// The network over the box with these unsafe sets.
fn statement(network: &Network, unsafe_sets: &str) -> Statement {
    let folder = support::folder();
    let (model, property) = (folder.path().join("m.onnx"), folder.path().join("p.vnnlib"));
    let declared = (0..network.inputs).map(|i| format!("(declare-const X_{i} Real)\n"));
    let boxes = (0..network.inputs).map(|i| format!("(assert (>= X_{i} -1.0))\n(assert (<= X_{i} 1.0))\n"));
    let outputs = (0..2).map(|i| format!("(declare-const Y_{i} Real)\n"));
    let text: String = declared.chain(outputs).chain(boxes).chain([format!("(assert {unsafe_sets})\n")]).collect();
    std::fs::write(&model, &network.bytes).expect("the model is written");
    std::fs::write(&property, text).expect("the property is written");
    Statement::of_query(&model, &property).expect("a model and a property")
}

/// What was decided of the network with these unsafe sets over the box, and the cases of the proof.
fn decide(network: &Network, unsafe_sets: &str) -> (Status, usize) {
    let (outcomes, report) = support::prove_and_verify(&statement(network, unsafe_sets), &Config::default());
    let expected = match outcomes[0].status {
        Status::Certified => Verdict::Verified,
        Status::Refuted => Verdict::Refuted,
        Status::Unknown => panic!("undecided: {unsafe_sets}"),
    };
    assert_eq!(report.verdict(), expected);
    let proof = outcomes[0].answer.as_ref().and_then(|answer| answer.proof.as_ref());
    (outcomes[0].status, proof.map_or(0, |proof| proof.nodes.len()))
}

/// One unsafe set, a disjunction and a conjunction, each out of reach by `near` and within it by `within`.
fn decides_near_the_truth(network: &Network, near: f64, within: f64) {
    let [a, b] = network.reached;
    let (over, under) = (|x: f64| x + near, |x: f64| x - within);
    for (sets, status) in [
        (format!("(>= Y_0 {})", over(a)), Status::Certified),
        (format!("(>= Y_0 {})", under(a)), Status::Refuted),
        (format!("(or (>= Y_0 {}) (>= Y_1 {}))", over(a), over(b)), Status::Certified),
        (format!("(or (>= Y_0 {}) (>= Y_1 {}))", over(a), under(b)), Status::Refuted),
        (format!("(and (>= Y_1 {}) (>= Y_0 {}))", under(b), over(a)), Status::Certified),
    ] {
        let (decided, cases) = decide(network, &sets);
        assert_eq!(decided, status, "{sets}");
        // One relaxation is not enough, so the test is about the search.
        assert!(status != Status::Certified || cases > 2, "{sets}: {cases} cases");
    }
}

#[test]
fn splits_of_variables_decide_properties_of_few_inputs() {
    for seed in 0..3 {
        decides_near_the_truth(&network(3, seed), 0.02, 1e-3);
    }
}

#[test]
fn splits_of_neurons_decide_properties_of_many_inputs() {
    decides_near_the_truth(&network(16, 7), 0.9, 0.1);
}

/// A search that is interrupted again and again comes to its end, from what a journal keeps of it, and most of its cases are
/// not looked at twice.
fn goes_on(network: &Network, near: f64) {
    let statement = statement(network, &format!("(>= Y_0 {})", network.reached[0] + near));
    let clean = statement.clean(&[0]).next().expect("a region").expect("a network that can be evaluated");
    let problem = statement.problem(0, 0, &clean).expect("a problem");
    let maps = Maps::default();
    let graph = Graph::new(&problem, &maps, false);
    let (mut saved, mut interruptions): (Option<Saved>, usize) = (None, 0);
    loop {
        let interrupted = AtomicBool::new(false);
        let before = saved.as_ref().map_or(0, Saved::cases);
        // Enough for a few steps, and no more; later ones get further.
        let progress = |p: Progress| {
            let enough = p.cases >= before + 8 && interruptions < 4;
            interrupted.fetch_or(enough, Ordering::Relaxed);
        };
        let stop = Stop { deadline: None, interrupted: &interrupted, progress: &progress };
        let end = search(&problem, &graph, saved.as_ref(), &stop, &|_| false).expect("the checker understands it");
        match end.expect("the search knows such problems") {
            End::Interrupted(left) => {
                assert!(left.cases() > before, "{} cases after {before}", left.cases());
                let text = serde_json::to_string(&left).expect("it can be written");
                saved = Some(serde_json::from_str(&text).expect("it can be read"));
                interruptions += 1;
            }
            End::Proven(proof, _) => {
                assert!(interruptions > 1, "it was interrupted {interruptions} times");
                assert!(proof.nodes.len() >= before, "{} cases of {before}", proof.nodes.len());
                break;
            }
            End::Reached(_) | End::Unknown => panic!("it can be proven"),
        }
    }
}

#[test]
fn searches_go_on_where_they_were_interrupted() {
    goes_on(&network(3, 0), 0.02);
    goes_on(&network(16, 7), 0.9);
}
