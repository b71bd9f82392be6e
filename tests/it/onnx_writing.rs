//! Networks written as ONNX: what is read back computes the same, tensor by tensor and exactly.

use num::Signed;
use scalecert::onnx::write;
use scalecheck::conv::{Axis, Conv};
use scalecheck::exact::Exact;
use scalecheck::linear::Linear;
use scalecheck::network::{Network, Node, Op, Parameter};
use scalecheck::number::{Rational, parse_rational, scale_by_power_of_two};
use scalecheck::onnx::read;
use scalecheck::weights::{Values, Weights};
use std::path::PathBuf;
use std::sync::Arc;

fn models() -> Vec<(String, Network)> {
    let directory = std::fs::read_dir("models").expect("the models");
    let onnx = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "onnx");
    let paths: Vec<PathBuf> = directory.map(|entry| entry.expect("an entry").path()).filter(onnx).collect();
    assert!(paths.len() >= 10, "few models were found");
    let model = |path: PathBuf| {
        let bytes = std::fs::read(&path).expect("a file");
        (path.file_stem().expect("a name").to_string_lossy().into_owned(), read(&bytes).expect("a model"))
    };
    paths.into_iter().map(model).collect()
}

fn written(network: &Network) -> Network {
    let bytes = write(network, "test").expect("a network that can be written");
    read(&bytes).expect("a model that can be read")
}

/// The `k`-th of some points with elements of both signs.
fn point(len: usize, k: usize) -> Exact {
    let element = |i: usize| Rational::new((((i * 7 + k * 5 + i / 11) % 23) as i64 - 11).into(), 8.into());
    Exact::from_rationals(&(0..len).map(element).collect::<Vec<_>>())
}

/// Every tensor of the network has its name, shape and values in the other one too.
fn assert_same(network: &Network, other: &Network) {
    for k in 0..3 {
        let x = point(network.input().elements(), k);
        let (values, others) = (network.evaluate(&x), other.evaluate(&x));
        for (node, value) in network.nodes().iter().zip(&values) {
            let found = other.find(&node.name).unwrap_or_else(|| panic!("`{}` is lost", node.name));
            assert_eq!(other.nodes()[found].shape, node.shape, "shape of `{}`", node.name);
            assert_eq!(others[found].to_rationals(), value.to_rationals(), "`{}` at point {k}", node.name);
        }
    }
    let outputs = |network: &Network| -> Vec<String> {
        network.outputs().iter().map(|&output| network.nodes()[output].name.clone()).collect()
    };
    assert_eq!(outputs(network), outputs(other));
}

/// All weights and biases, node by node.
fn constants(network: &Network) -> Vec<Rational> {
    let of = |node: &Node| match &node.op {
        Op::Affine { terms, bias } => {
            let weights = terms.iter().map(|(_, linear)| linear.weights());
            let weights = weights.flat_map(|w| (0..w.mantissas().len()).map(|k| w.value(k)));
            weights.chain(bias.iter().flat_map(Exact::to_rationals)).collect()
        }
        _ => vec![],
    };
    network.nodes().iter().flat_map(of).collect()
}

/// Weights 1/4, 2/4 … with changing signs.
fn weights(count: usize) -> Weights {
    let weight = |k: usize| Rational::new((if k % 3 == 1 { -1 } else { 1 } * (k as i64 + 1)).into(), 4.into());
    Weights::new(Values::Rational((0..count).map(weight).collect())).expect("small weights")
}

fn dense(outer: usize, rows: usize, cols: usize, inner: usize) -> Linear {
    Linear::dense(outer, rows, cols, inner, weights(rows * cols)).expect("a matrix that fits")
}

fn gather(inputs: usize, index: &[u32], weights: Weights) -> Linear {
    Linear::gather(inputs, index.to_vec(), weights).expect("an index that fits")
}

fn identity(len: usize) -> Linear {
    Linear::identity(len).expect("a small map")
}

fn affine(terms: Vec<(usize, Linear)>, bias: Option<Exact>) -> Op {
    Op::Affine { terms: terms.into_iter().map(|(from, linear)| (from, Arc::new(linear))).collect(), bias }
}

fn push(network: &mut Network, name: &str, shape: &[usize], op: Op) -> usize {
    let node = network.push(name, shape.to_vec(), op, vec![]).expect("a new name");
    network.set_outputs(vec![node]);
    node
}

/// A network of one tensor `y` after its input `x`.
fn single(from: &[usize], to: &[usize], op: Op) -> Network {
    let mut network = Network::new("x", from.to_vec());
    push(&mut network, "y", to, op);
    network
}

/// The written network has these tensors and no others.
fn assert_nodes(network: &Network, names: &[&str]) {
    assert_eq!(network.nodes().iter().map(|node| node.name.as_str()).collect::<Vec<_>>(), names);
}

/// A tensor that one ONNX node can state is read back as one tensor.
fn assert_direct(network: &Network) {
    let other = written(network);
    assert_same(network, &other);
    assert!(network.is_like(&other), "{:?}", other.nodes());
}

fn assert_written(network: &Network) {
    assert_same(network, &written(network));
}

#[test]
fn models_are_read_back_as_they_were() {
    for (name, network) in models() {
        let other = written(&network);
        assert!(network.is_like(&other), "{name}");
        let parameters = |network: &Network| -> Vec<String> {
            network.nodes().iter().flat_map(|n| n.parameters.iter().map(|p| p.name.clone())).collect()
        };
        assert_eq!(parameters(&network), parameters(&other), "{name}");
        // Its weights have more bits than a float32.
        if name != "digits-mlp-int8" {
            assert!(constants(&network) == constants(&other), "{name}: other weights");
            assert_same(&network, &other);
        }
    }
}

#[test]
fn weights_of_more_bits_are_rounded() {
    let (_, network) = models().into_iter().find(|(name, _)| name == "digits-mlp-int8").expect("the model");
    let (exact, rounded) = (constants(&network), constants(&written(&network)));
    assert_ne!(exact, rounded);
    for (x, y) in exact.iter().zip(&rounded) {
        assert!((x - y).abs() <= scale_by_power_of_two(&x.abs(), -24), "{x} became {y}");
    }
}

#[test]
fn weights_become_the_nearest_singles() {
    let (high, tie) = (Rational::new(1.into(), (1 << 23).into()), Rational::new(1.into(), (1 << 24).into()));
    let one = Rational::from_integer(1.into());
    let little = scale_by_power_of_two(&one, -90);
    let cases = [
        (&one + &tie, one.clone()),
        // A float64 does not tell these from a tie.
        (&one + &tie + &little, &one + &high),
        (-&one - &tie - &little, -&one - &high),
        (&one + &high + &tie - &little, &one + &high),
        (Rational::new(1.into(), 3.into()), Rational::new(11_184_811.into(), (1 << 25).into())),
        // Subnormal ones are multiples of 2^-149.
        (scale_by_power_of_two(&(&one + &one + &high), -150), scale_by_power_of_two(&one, -149)),
        (scale_by_power_of_two(&(&one + &high), -150), scale_by_power_of_two(&one, -149)),
        (scale_by_power_of_two(&one, -150), &one - &one),
        (scale_by_power_of_two(&one, -300), &one - &one),
        (scale_by_power_of_two(&one, 127), scale_by_power_of_two(&one, 127)),
    ];
    for (exact, expected) in cases {
        let weights = Weights::new(Values::Rational(vec![exact.clone()])).expect("a weight");
        let linear = Linear::dense(1, 1, 1, 1, weights).expect("a matrix");
        let bias = Exact::from_rationals(std::slice::from_ref(&exact));
        let mut network = single(&[1, 1], &[1, 1], affine(vec![(0, linear)], None));
        push(&mut network, "z", &[1, 1], affine(vec![(0, identity(1))], Some(bias)));
        let found = constants(&written(&network));
        assert_eq!(found, [expected.clone(), one.clone(), expected], "{exact}");
    }
}

#[test]
fn a_number_that_no_single_is_near_is_an_error() {
    let large = parse_rational("4e38").expect("a number");
    let weights = Weights::new(Values::Rational(vec![large.clone()])).expect("a weight");
    let linear = Linear::dense(1, 1, 1, 1, weights).expect("a matrix");
    let bias = Exact::from_rationals(&[large]);
    for op in [affine(vec![(0, linear)], None), affine(vec![(0, identity(1))], Some(bias))] {
        let error = write(&single(&[1, 1], &[1, 1], op), "test").expect_err("too large");
        assert!(format!("{error:#}").contains("`y`"), "{error:#}");
    }
}

#[test]
fn a_matrix_product_on_either_side() {
    assert_direct(&single(&[1, 3], &[1, 2], affine(vec![(0, dense(1, 2, 3, 1))], None)));
    assert_direct(&single(&[3], &[2], affine(vec![(0, dense(1, 2, 3, 1))], None)));
    assert_direct(&single(&[2, 4, 3], &[2, 4, 5], affine(vec![(0, dense(8, 5, 3, 1))], None)));
    assert_direct(&single(&[2, 3, 4], &[2, 5, 4], affine(vec![(0, dense(2, 5, 3, 4))], None)));
    assert_direct(&single(&[2, 3, 1], &[2, 5, 1], affine(vec![(0, dense(2, 5, 3, 1))], None)));
}

#[test]
fn a_matrix_product_in_other_shapes() {
    assert_written(&single(&[2, 3, 2, 2], &[5, 8], affine(vec![(0, dense(2, 5, 3, 4))], None)));
    assert_written(&single(&[1, 2, 3], &[4], affine(vec![(0, dense(1, 4, 6, 1))], None)));
    assert_written(&single(&[1, 2, 3], &[], affine(vec![(0, dense(1, 1, 6, 1))], None)));
    assert_written(&single(&[], &[3], affine(vec![(0, dense(1, 3, 1, 1))], Some(point(3, 1)))));
}

#[test]
fn a_biased_matrix_product_is_a_gemm() {
    let network = single(&[1, 3], &[1, 2], affine(vec![(0, dense(1, 2, 3, 1))], Some(point(2, 1))));
    let other = written(&network);
    assert_same(&network, &other);
    assert_nodes(&other, &["x", "y#product", "y"]);
    assert_direct(&other);
    assert_written(&single(&[2, 3], &[2, 2], affine(vec![(0, dense(2, 2, 3, 1))], Some(point(4, 1)))));
}

#[test]
fn a_product_that_more_than_its_gemm_uses_is_kept() {
    let mut network = Network::new("x", vec![1, 3]);
    let product = push(&mut network, "y#product", &[1, 2], affine(vec![(0, dense(1, 2, 3, 1))], None));
    let sum = push(&mut network, "y", &[1, 2], affine(vec![(product, identity(2))], Some(point(2, 1))));
    assert_direct(&network);
    network.set_outputs(vec![product, sum]);
    assert_direct(&network);
    push(&mut network, "z", &[1, 2], Op::Relu(product));
    assert_direct(&network);
}

#[test]
fn a_product_long_before_its_bias_is_kept() {
    let mut network = Network::new("x", vec![1, 3]);
    let product = push(&mut network, "y#product", &[1, 2], affine(vec![(0, dense(1, 2, 3, 1))], None));
    push(&mut network, "z", &[1, 3], Op::Relu(0));
    push(&mut network, "y", &[1, 2], affine(vec![(product, identity(2))], Some(point(2, 1))));
    assert_direct(&network);
}

#[test]
fn what_only_looks_like_a_gemm_is_kept() {
    let product = || affine(vec![(0, dense(1, 2, 3, 1))], None);
    let biased = affine(vec![(0, dense(1, 2, 3, 1))], Some(point(2, 2)));
    let twice = gather(2, &[0, 1], Weights::constant(2));
    for (product, shape, sum) in
        [(biased, &[1, 2][..], identity(2)), (product(), &[2], identity(2)), (product(), &[1, 2], twice)]
    {
        let mut network = Network::new("x", vec![1, 3]);
        let product = push(&mut network, "y#product", &[1, 2], product);
        push(&mut network, "y", shape, affine(vec![(product, sum)], Some(point(2, 1))));
        assert_written(&network);
    }
}

#[test]
fn a_name_that_a_reader_would_make_is_not_taken_twice() {
    let mut network = Network::new("y#product", vec![1, 3]);
    push(&mut network, "y", &[1, 2], affine(vec![(0, dense(1, 2, 3, 1))], Some(point(2, 1))));
    assert_written(&network);
}

/// A convolution of 3 × 5 and 2 taps with groups, and with strides, pads and dilations that all differ.
fn uneven() -> Conv {
    let y = Axis::new(7, 4, 3, 2, 2, 3).expect("an axis");
    let x = Axis::new(9, 3, 2, 3, 4, 1).expect("an axis");
    Conv { batch: 2, groups: 2, inner: 3, outer: 2, y, x }
}

fn convolution(conv: Conv) -> Linear {
    Linear::conv(conv, weights(conv.weights().expect("a small kernel"))).expect("a kernel that fits")
}

/// A bias for every element: one for each channel, repeated.
fn channel_bias(conv: &Conv) -> Exact {
    let (channels, pixels) = (conv.groups * conv.outer, conv.y.output() * conv.x.output());
    let each = point(channels, 2).to_rationals();
    let all = (0..conv.batch * channels * pixels).map(|i| each[i / pixels % channels].clone());
    Exact::from_rationals(&all.collect::<Vec<_>>())
}

#[test]
fn a_convolution_keeps_its_groups_strides_pads_and_dilations() {
    let conv = uneven();
    assert_direct(&single(&[2, 6, 7, 9], &[2, 4, 4, 3], affine(vec![(0, convolution(conv))], None)));
    let bias = Some(channel_bias(&conv));
    assert_direct(&single(&[2, 6, 7, 9], &[2, 4, 4, 3], affine(vec![(0, convolution(conv))], bias)));
}

#[test]
fn a_convolution_over_one_axis() {
    let conv = Conv { y: Axis::POINT, ..uneven() };
    let bias = Some(channel_bias(&conv));
    assert_direct(&single(&[2, 6, 9], &[2, 4, 3], affine(vec![(0, convolution(conv))], bias)));
    assert_direct(&single(&[2, 6, 1, 9], &[2, 4, 1, 3], affine(vec![(0, convolution(conv))], None)));
    assert_written(&single(&[108], &[2, 12], affine(vec![(0, convolution(conv))], None)));
}

#[test]
fn a_convolution_with_a_bias_for_every_element() {
    let op = affine(vec![(0, convolution(uneven()))], Some(point(96, 1)));
    assert_written(&single(&[2, 6, 7, 9], &[2, 4, 4, 3], op));
}

#[test]
fn a_window_of_which_one_tap_meets_the_image() {
    let axis = Axis::new(2, 1, 3, 1, 5, 5).expect("an axis");
    let conv = Conv { batch: 1, groups: 1, inner: 1, outer: 1, y: axis, x: axis };
    assert_direct(&single(&[1, 1, 2, 2], &[1, 1, 1, 1], affine(vec![(0, convolution(conv))], None)));
}

#[test]
fn a_convolution_that_leaves_windows_out_is_an_error() {
    let axis = Axis::new(5, 1, 2, 1, 1, 0).expect("an axis");
    let conv = Conv { batch: 1, groups: 1, inner: 1, outer: 1, y: Axis::POINT, x: axis };
    assert!(write(&single(&[1, 1, 5], &[1, 1, 1], affine(vec![(0, convolution(conv))], None)), "test").is_err());
}

#[test]
fn elements_that_are_moved_and_scaled() {
    let index = [5, 0, 0, 3, 2, 1];
    let signs = [1, -1, 0, 1, -1, 1].map(|sign| Rational::from_integer(sign.into()));
    let signs = Weights::new(Values::Rational(signs.to_vec())).expect("signs");
    for weights in [Weights::constant(1), Weights::constant(-3), signs, weights(6)] {
        let moved = gather(6, &index, weights.clone());
        assert_written(&single(&[1, 2, 3], &[3, 2], affine(vec![(0, moved.clone())], None)));
        assert_direct(&single(&[6], &[3, 2], affine(vec![(0, gather(6, &index, Weights::constant(1)))], None)));
        assert_written(&single(&[6], &[6], affine(vec![(0, moved)], Some(point(6, 2)))));
        let kept = gather(6, &[0, 1, 2, 3, 4, 5], weights);
        assert_direct(&single(&[2, 3], &[2, 3], affine(vec![(0, kept.clone())], None)));
        assert_written(&single(&[2, 3], &[3, 2], affine(vec![(0, kept)], None)));
    }
    assert_written(&single(&[3], &[7], affine(vec![(0, gather(3, &[0, 2, 1, 0, 0, 2, 1], weights(7)))], None)));
}

#[test]
fn a_tensor_that_only_changes_its_shape() {
    for shape in [&[2, 3][..], &[3, 2], &[6], &[1, 6, 1]] {
        assert_direct(&single(&[2, 3], shape, affine(vec![(0, identity(6))], None)));
    }
    assert_direct(&single(&[1, 1], &[], affine(vec![(0, identity(1))], None)));
}

#[test]
fn a_tensor_that_no_other_one_changes() {
    assert_written(&single(&[2], &[3], affine(vec![], Some(point(3, 1)))));
    assert_written(&single(&[2], &[3], affine(vec![], None)));
}

#[test]
fn residual_sums() {
    let mut network = Network::new("x", vec![1, 4]);
    let hidden = push(&mut network, "hidden", &[1, 4], affine(vec![(0, dense(1, 4, 4, 1))], None));
    let positive = push(&mut network, "positive", &[1, 4], Op::Relu(hidden));
    push(&mut network, "sum", &[1, 4], affine(vec![(positive, identity(4)), (0, identity(4))], None));
    let minus = gather(4, &[0, 1, 2, 3], Weights::constant(-1));
    push(&mut network, "difference", &[1, 4], affine(vec![(positive, identity(4)), (0, minus)], None));
    push(&mut network, "twice", &[1, 4], affine(vec![(positive, identity(4)), (positive, identity(4))], None));
    let all = vec![(0, identity(4)), (hidden, identity(4)), (positive, identity(4))];
    push(&mut network, "all", &[1, 4], affine(all, Some(point(4, 1))));
    network.set_outputs(vec![3, 4, 5, 6]);
    assert_direct(&network);
}

#[test]
fn differences_of_moved_or_biased_tensors() {
    let minus = |index| gather(4, index, Weights::constant(-1));
    let (kept, turned) = (minus(&[0, 1, 2, 3]), minus(&[3, 2, 1, 0]));
    for (shape, second, bias) in
        [([2, 2], turned, None), ([1, 4], kept.clone(), None), ([2, 2], kept, Some(point(4, 1)))]
    {
        assert_written(&single(&[2, 2], &shape, affine(vec![(0, dense(1, 4, 4, 1)), (0, second)], bias)));
    }
}

#[test]
fn sums_of_different_maps() {
    let mut network = Network::new("x", vec![1, 1, 2, 3]);
    let flat = push(&mut network, "x/flat", &[6], affine(vec![(0, identity(6))], None));
    let axis = Axis::new(3, 3, 3, 1, 1, 1).expect("an axis");
    let conv = Conv { batch: 1, groups: 1, inner: 2, outer: 1, y: Axis::POINT, x: axis };
    let minus = gather(6, &[1, 2, 3], Weights::constant(-1));
    let terms = vec![(flat, dense(1, 3, 6, 1)), (0, convolution(conv)), (0, minus)];
    push(&mut network, "y", &[1, 3], affine(terms.clone(), Some(point(3, 1))));
    push(&mut network, "z", &[3], affine(terms[1..].to_vec(), None));
    network.set_outputs(vec![2, 3]);
    assert_written(&network);
}

#[test]
fn names_of_helpers_do_not_meet_those_of_the_network() {
    let mut network = Network::new("y/weight", vec![1, 2, 3]);
    push(&mut network, "y/shape", &[3, 2], affine(vec![(0, identity(6))], None));
    push(&mut network, "y/step", &[3, 2], Op::Relu(1));
    push(&mut network, "y", &[4], affine(vec![(0, dense(1, 4, 6, 1)), (2, dense(1, 4, 6, 1))], Some(point(4, 1))));
    push(&mut network, "y/term", &[4], Op::Relu(3));
    push(&mut network, "y/bias", &[4], Op::Relu(3));
    assert_written(&network);
}

#[test]
fn a_stored_name_stands_for_one_constant() {
    let mut network = Network::new("x", vec![1, 2]);
    let named = |name: &str, factor: i64| {
        vec![Parameter {
            name: name.into(),
            term: Some(0),
            factor: Rational::from_integer(factor.into()),
            fixed: false,
        }]
    };
    let product = |rows| affine(vec![(0, dense(1, rows, 2, 1))], None);
    let uses = [
        ("a", 2, named("w", 1)),
        ("b", 2, named("w", 1)),
        ("c", 3, named("w", 1)),
        ("d", 2, named("x", 1)),
        ("e", 2, named("v", 2)),
    ];
    for (name, rows, parameters) in uses {
        network.push(name, vec![1, rows], product(rows), parameters).expect("a new name");
    }
    network.set_outputs(vec![1, 2, 3, 4, 5]);
    let read = written(&network);
    assert_same(&network, &read);
    let names: Vec<&str> = read.nodes().iter().flat_map(|n| n.parameters.iter().map(|p| p.name.as_str())).collect();
    assert_eq!(names, ["w", "w", "c/weight", "d/weight", "e/weight"]);
}

#[test]
fn the_bias_of_the_channels_keeps_its_name() {
    let conv = uneven();
    let mut network = Network::new("x", vec![2, 6, 7, 9]);
    let parameter = Parameter { name: "b".into(), term: None, factor: Rational::from_integer(1.into()), fixed: true };
    let op = affine(vec![(0, convolution(conv))], Some(channel_bias(&conv)));
    network.push("y", vec![2, 4, 4, 3], op, vec![parameter]).expect("a new name");
    network.set_outputs(vec![1]);
    let read = written(&network);
    assert_same(&network, &read);
    assert!(read.nodes()[1].parameters.iter().any(|parameter| parameter.name == "b" && parameter.fixed));
}
