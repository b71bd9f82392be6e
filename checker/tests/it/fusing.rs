//! Matrices that stand one after another in a replacing model are multiplied out: no function changes by it.

use crate::support::onnx::Model;
use crate::support::read_model;
use crate::support::tape::{Tape, tape};
use proptest::prelude::*;
use proptest::test_runner::Config as Runner;
use scalecheck::exact::Exact;
use scalecheck::network::Network;
use scalecheck::number::Rational;

/// A matrix of small numbers of which thirds and quarters are made, so that products need more bits.
fn values(tape: &mut Tape, count: usize) -> Vec<f32> {
    (0..count).map(|_| tape.around(12) as f32 / [1.0, 3.0, 4.0][tape.below(3)]).collect()
}

/// Two hidden layers whose matrices are products of up to three, with biases, products by numbers and copies on the way; named `a`, `b`, `y` where the network without these steps has names.
fn factored(tape: &mut Tape) -> Model {
    let mut model = Model::new(&[1, 3]);
    let (mut from, mut width) = ("x".to_owned(), 3);
    for (layer, target) in ["a", "b", "y"].into_iter().enumerate() {
        let last = if layer == 2 { 2 } else { 3 };
        let steps = tape.below(3);
        for step in 0..=steps {
            let out = if step == steps { last } else { 1 + tape.below(4) };
            let name = if step == steps { target.to_owned() } else { format!("{target}{step}") };
            let matrix = format!("{name}.w");
            model = model.f32(&matrix, &[width as i64, out as i64], &values(tape, width * out));
            if step < steps && tape.one_in(2) {
                let bias = format!("{name}.b");
                model = model.f32(&bias, &[out as i64], &values(tape, out));
                model = model.node("MatMul", &[&from, &matrix], &format!("{name}.p"));
                model = model.node("Add", &[&format!("{name}.p"), &bias], &name);
            } else if step < steps && tape.one_in(2) {
                let factors = format!("{name}.f");
                model = model.f32(&factors, &[out as i64], &values(tape, out));
                model = model.node("MatMul", &[&from, &matrix], &format!("{name}.p"));
                model = model.node("Mul", &[&format!("{name}.p"), &factors], &name);
            } else {
                model = model.node("MatMul", &[&from, &matrix], &name);
            }
            (from, width) = (name, out);
        }
        if layer < 2 {
            let relu = format!("{target}.relu");
            model = model.node("Relu", &[&from], &relu);
            from = relu;
        }
    }
    model.output("y")
}

/// The network of the same tensors without steps between them.
fn plain() -> Network {
    let mut model = Model::new(&[1, 3]);
    let mut from = "x";
    for (target, relu, out) in [("a", "a.relu", 3), ("b", "b.relu", 3), ("y", "", 2)] {
        let matrix = format!("{target}.w");
        model = model.f32(&matrix, &[3, out], &vec![1.0; 3 * out as usize]).node("MatMul", &[from, &matrix], target);
        if !relu.is_empty() {
            model = model.node("Relu", &[target], relu);
        }
        from = relu;
    }
    read_model(&model.output("y").bytes())
}

proptest! {
    #![proptest_config(Runner { cases: 400, failure_persistence: None, ..Runner::default() })]

    #[test]
    fn every_tensor_that_stays_has_the_same_value(mut tape in tape(400)) {
        let network = read_model(&factored(&mut tape).bytes());
        let model = plain();
        let Some(fused) = network.without_tensors_unknown_to(&model) else {
            // Nothing goes: every tensor has a name that the other network has.
            prop_assert!(network.nodes().iter().all(|node| model.find(&node.name).is_some()));
            return Ok(());
        };
        prop_assert!(fused.nodes().len() < network.nodes().len());
        prop_assert!(fused.nodes().iter().all(|node| network.find(&node.name).is_some()));
        prop_assert!(model.is_like(&fused));
        for _ in 0..4 {
            let x: Vec<Rational> = (0..3).map(|_| tape.unit()).collect();
            let x = Exact::from_rationals(&x);
            let (before, after) = (network.evaluate(&x), fused.evaluate(&x));
            for (node, value) in fused.nodes().iter().zip(after) {
                let old = network.find(&node.name).expect("it was there");
                prop_assert_eq!(value.to_rationals(), before[old].to_rationals(), "{}", &node.name);
            }
        }
    }
}

/// Small files that would make large matrices or many of them: they are compared as they are, and at once.
#[test]
fn what_would_grow_is_not_multiplied_out() {
    let wide = |middle: bool| {
        let model = Model::new(&[1, 65536]).f32("k", &[], &[1.0]).i64("axes", &[1]);
        let model = if middle { model.node("Mul", &["x", "k"], "u") } else { model };
        model.node("ReduceSum", &[if middle { "u" } else { "x" }, "axes"], "y").output("y")
    };
    let (plain, scaled) = (read_model(&wide(false).bytes()), read_model(&wide(true).bytes()));
    assert!(scaled.without_tensors_unknown_to(&plain).is_none());
    // Every sum of a tensor with itself doubles the terms: 2^40 of them.
    let sums = |steps: usize| {
        let mut model = Model::new(&[1, 1]).node("Add", &["x", "x"], "t0");
        for step in 0..steps {
            let (from, to) = (format!("t{step}"), format!("t{}", step + 1));
            model = model.node("Add", &[&from, &from], &to);
        }
        let last = format!("t{steps}");
        read_model(&model.node("Add", &[&last, "x"], "y").output("y").bytes())
    };
    let one = read_model(&Model::new(&[1, 1]).node("Add", &["x", "x"], "y").output("y").bytes());
    assert!(sums(40).without_tensors_unknown_to(&one).is_none());
    assert!(sums(2).without_tensors_unknown_to(&one).is_some());
}

/// A tensor that a ReLU or the outside uses stays, and so does one that the other network has a name for.
#[test]
fn what_others_use_stays() {
    let chain = |names: [&str; 2]| {
        let model = Model::new(&[1, 1]).f32("k", &[1, 1], &[2.0]).f32("l", &[1, 1], &[3.0]);
        model.node("MatMul", &["x", "k"], names[0]).node("MatMul", &[names[0], "l"], names[1])
    };
    let one =
        read_model(&Model::new(&[1, 1]).f32("k", &[1, 1], &[6.0]).node("MatMul", &["x", "k"], "y").output("y").bytes());
    let names = |model: Model| {
        let fused = read_model(&model.bytes()).without_tensors_unknown_to(&one)?;
        Some(fused.nodes().iter().map(|node| node.name.clone()).collect::<Vec<_>>())
    };
    assert_eq!(names(chain(["t", "y"]).output("y")), Some(vec!["x".to_owned(), "y".to_owned()]));
    assert_eq!(names(chain(["t", "y"]).output("y").output("t")), None);
    assert_eq!(names(chain(["y", "t"]).output("t")), None);
    assert_eq!(names(chain(["t", "y"]).node("Relu", &["t"], "r").output("y")), None);
}
