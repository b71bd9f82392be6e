//! Convolutions in the search: the same maps as the checker's, and certificates of a network that has them.

use crate::onnx::{Model, Value};
use crate::support;
use nalgebra::DMatrix;
use num::One;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use scalecert::graph::{Graph, Maps, Op, float};
use scalecert::prove::{Config, Status};
use scalecheck::conv::{Axis, Conv};
use scalecheck::exact::Exact;
use scalecheck::ladder::Variables;
use scalecheck::linear::Linear;
use scalecheck::number::Rational;
use scalecheck::problem::{self, Problem, Tensor};
use scalecheck::weights::{Dyadic, Values, Weights};
use std::sync::Arc;

/// A convolution of any shape with small integers as weights.
fn random_linear(random: &mut SmallRng) -> Linear {
    let mut axis = || loop {
        let [input, taps, stride, dilation, pad, after]: [usize; 6] =
            [6, 4, 3, 3, 4, 3].map(|n| random.random_range(0..n));
        let room = (input + 1 + pad + after).checked_sub(taps * (dilation + 1) + 1);
        let Some(room) = room else { continue };
        let output = room / (stride + 1) + 1;
        return Axis::new(input + 1, output, taps + 1, stride + 1, dilation + 1, pad).expect("a small axis");
    };
    let (y, x) = (axis(), axis());
    let [batch, groups, inner, outer] = [2, 3, 4, 3].map(|n| random.random_range(1..=n));
    let conv = Conv { batch, groups, inner, outer, y, x };
    let count = conv.weights().expect("a small kernel");
    let weights = (0..count).map(|_| Dyadic::new(random.random_range(-9..=9), 0)).collect();
    Linear::conv(conv, Weights::new(Values::Dyadic(weights)).expect("small weights")).expect("weights that fit")
}

/// A problem whose output is `W z`.
fn problem(linear: Linear) -> Problem {
    let mut problem = Problem::default();
    let tensor = |op, len| Tensor { name: String::new(), op, centre: Exact::zeros(len), clip: None };
    let (inputs, outputs) = (linear.inputs(), linear.outputs());
    problem.domain.push(Variables::boxed(&vec![Rational::one(); inputs], vec![]));
    problem.tensors.push(tensor(problem::Op::Variables(0), inputs));
    problem.tensors.push(tensor(problem::Op::Affine(vec![(0, Arc::new(linear))]), outputs));
    problem.output = 1;
    problem
}

#[test]
fn a_convolution_in_the_search_is_that_of_the_checker() {
    let mut random = SmallRng::seed_from_u64(1);
    for _ in 0..200 {
        let linear = random_linear(&mut random);
        let mut dense = DMatrix::<f64>::zeros(linear.outputs(), linear.inputs());
        linear.for_each_entry(|o, i, k| dense[(o, i)] = float(&linear.weights().value(k)));
        let graph = Graph::new(&problem(linear), &Maps::default(), false);
        let Op::Affine(terms) = &graph.tensors[1].op else { panic!("not affine") };
        let map = &terms[0].1;
        let mut matrix = |rows, columns| DMatrix::from_fn(rows, columns, |_, _| f64::from(random.random_range(-9..=9)));
        let (x, v) = (matrix(dense.ncols(), 3), matrix(dense.nrows(), 2));
        // Small integers, so nothing is rounded.
        assert_eq!(map.apply(&x), &dense * &x);
        assert_eq!(map.transposed(&v), dense.transpose() * &v);
        let (middle, radius) = (x.columns(0, 1).into_owned(), x.columns(1, 1).abs());
        assert_eq!(map.interval(&middle, &radius), (&dense * &middle, dense.abs() * &radius));
    }
}

/// A residual network with a normalisation and a pool: certified with a loose tolerance, refuted with a tight one.
#[test]
fn a_residual_network_with_pools_is_proved_and_refuted() {
    let mut random = SmallRng::seed_from_u64(2);
    let mut weights = |count: usize| (0..count).map(|_| random.random_range(-8..=8) as f32 / 16.0).collect::<Vec<_>>();
    let pads = ("pads", Value::Ints(vec![1; 4]));
    let model = Model::new(&[1, 1, 6, 6])
        .f32("w1", &[4, 1, 3, 3], &weights(36))
        .f32("b1", &[4], &weights(4))
        .f32("w2", &[4, 4, 3, 3], &weights(144))
        .f32("scale", &[4], &[0.5, 1.0, -0.75, 0.25])
        .f32("mean", &[4], &weights(4))
        .f32("variance", &[4], &[0.5, 1.0, 2.0, 3.0])
        .f32("w3", &[2, 36], &weights(72))
        .node_with("Conv", &["x", "w1", "b1"], "a", std::slice::from_ref(&pads))
        .node("Relu", &["a"], "r")
        .node_with("Conv", &["r", "w2"], "b", &[pads])
        .node("BatchNormalization", &["b", "scale", "mean", "mean", "variance"], "n")
        .node("Add", &["n", "r"], "s")
        .node_with(
            "MaxPool",
            &["s"],
            "p",
            &[("kernel_shape", Value::Ints(vec![2, 2])), ("strides", Value::Ints(vec![2, 2]))],
        )
        .node("Flatten", &["p"], "f")
        .node_with("Gemm", &["f", "w3"], "y", &[("transB", Value::Int(1))])
        .output("y");
    let folder = support::folder();
    std::fs::write(folder.path().join("model.onnx"), model.bytes()).expect("the model is written");
    let point: Vec<String> = (0..36).map(|i| format!("\"{}/8\"", i * 5 % 9)).collect();
    let claim = |tolerance: &str| {
        format!(
            "model = \"model.onnx\"\n[inputs]\npoint = [{}]\n[[perturb]]\nsite = \"input\"\n\
             scale = {{ family = \"block-mean\", shape = [6, 6], cutoff = 2 }}\namplitude = \"1/64\"\n\
             [output]\ntolerance = \"{tolerance}\"\n",
            point.join(", ")
        )
    };
    let (_, statement) = support::statement(&folder, &claim("1"));
    let (outcomes, _) = support::prove_and_verify(&statement, &Config::default());
    assert!(matches!(outcomes[0].status, Status::Certified));
    let (_, statement) = support::statement(&folder, &claim("1/4096"));
    let (outcomes, _) = support::prove_and_verify(&statement, &Config::default());
    assert!(matches!(outcomes[0].status, Status::Refuted));
}
