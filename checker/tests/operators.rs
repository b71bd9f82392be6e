//! Operators on images and sequences: values computed by hand, and against plain implementations.

mod support;

use proptest::prelude::*;
use proptest::test_runner::Config as Runner;
use scalecheck::conv::{Axis, Conv};
use scalecheck::error::{Code, Error};
use scalecheck::exact::Exact;
use scalecheck::linear::Linear;
use scalecheck::network::Network;
use scalecheck::number::Rational;
use scalecheck::onnx::read;
use scalecheck::weights::{Dyadic, Values, Weights};
use support::onnx::{Attribute, Model, Value};
use support::tape::{Tape, tape};
use support::{q, read_model};

fn vector(texts: &[&str]) -> Vec<Rational> {
    texts.iter().map(|t| q(t)).collect()
}

/// The shape and the values of a model that ends in the tensor `y`.
#[track_caller]
fn run(model: Model, x: &[&str]) -> (Vec<usize>, Vec<Rational>) {
    let network: Network = read_model(&model.output("y").bytes());
    assert_eq!(network.input().elements(), x.len());
    let y = network.outputs()[0];
    (network.nodes()[y].shape.clone(), network.evaluate(&Exact::from_rationals(&vector(x)))[y].to_rationals())
}

#[track_caller]
fn assert_error(model: Model, code: Code) -> Error {
    let error = read(&model.output("y").bytes()).err().unwrap_or_else(|| panic!("the model was read"));
    assert_eq!(error.code, code, "{error}");
    error
}

fn ints(values: &[i64]) -> Value {
    Value::Ints(values.to_vec())
}

// ---- convolutions

/// The numbers 1 to 9 as an image, and a kernel that tells its taps apart.
fn image_conv(attributes: &[Attribute]) -> Model {
    Model::new(&[1, 1, 3, 3]).f32("w", &[1, 1, 2, 2], &[1.0, 10.0, 100.0, 1000.0]).node_with(
        "Conv",
        &["x", "w"],
        "y",
        attributes,
    )
}

const IMAGE: [&str; 9] = ["1", "2", "3", "4", "5", "6", "7", "8", "9"];

#[test]
fn conv_slides_its_kernel_over_an_image() {
    assert_eq!(run(image_conv(&[]), &IMAGE), (vec![1, 1, 2, 2], vector(&["5421", "6532", "8754", "9865"])));
    let strided = image_conv(&[("strides", ints(&[2, 2])), ("pads", ints(&[1, 1, 0, 0]))]);
    assert_eq!(run(strided, &IMAGE), (vec![1, 1, 2, 2], vector(&["1000", "3200", "7040", "9865"])));
    let dilated = image_conv(&[("dilations", ints(&[2, 1]))]);
    assert_eq!(run(dilated, &IMAGE), (vec![1, 1, 1, 2], vector(&["8721", "9832"])));
}

#[test]
fn conv_pads_as_auto_pad_says() {
    let auto = |rule| image_conv(&[("auto_pad", Value::Text(rule)), ("strides", ints(&[2, 2]))]);
    assert_eq!(run(auto("VALID"), &IMAGE), (vec![1, 1, 1, 1], vector(&["5421"])));
    assert_eq!(run(auto("NOTSET"), &IMAGE), (vec![1, 1, 1, 1], vector(&["5421"])));
    let upper = vector(&["5421", "603", "87", "9"]);
    assert_eq!(run(auto("SAME_UPPER"), &IMAGE), (vec![1, 1, 2, 2], upper));
    let lower = vector(&["1000", "3200", "7040", "9865"]);
    assert_eq!(run(auto("SAME_LOWER"), &IMAGE), (vec![1, 1, 2, 2], lower));
    assert_error(auto("SAME"), Code::OnnxUnsupported);
    let both = image_conv(&[("auto_pad", Value::Text("VALID")), ("pads", ints(&[0; 4]))]);
    assert_error(both, Code::OnnxUnsupported);
}

#[test]
fn conv_works_on_sequences_groups_and_batches() {
    // Two sequences of two channels, each channel a group with two outputs.
    let model = Model::new(&[2, 2, 3])
        .f32("w", &[4, 1, 2], &[1.0, -1.0, 1.0, 1.0, 2.0, 0.0, 0.0, 3.0])
        .f32("b", &[4], &[0.0, 100.0, 200.0, 300.0])
        .node_with("Conv", &["x", "w", "b"], "y", &[("group", Value::Int(2))]);
    let x = ["1", "2", "4", "1/3", "5", "6", "0", "0", "1", "7", "0", "0"];
    let y = vector(&[
        "-1", "-2", "103", "106", "602/3", "210", "315", "318", "0", "-1", "100", "101", "214", "200", "300", "300",
    ]);
    assert_eq!(run(model, &x), (vec![2, 4, 2], y));
}

#[test]
fn rejects_convolutions_that_do_not_fit() {
    for bad in [
        ("kernel_shape", ints(&[3, 3])),
        ("strides", ints(&[0, 1])),
        ("strides", ints(&[1])),
        ("strides", ints(&[-1, 1])),
        ("dilations", ints(&[1, 3])),
        ("pads", ints(&[1, 1])),
        ("pads", ints(&[-1, 0, 0, 0])),
        ("group", Value::Int(0)),
        ("group", Value::Int(2)),
    ] {
        assert_error(image_conv(&[bad]), Code::OnnxShape);
    }
    assert_error(image_conv(&[("pads", ints(&[0, 0, 1 << 40, 0]))]), Code::LimitSize);
    assert_error(image_conv(&[("pads", ints(&[i64::MAX; 4]))]), Code::OnnxShape);
    assert_error(image_conv(&[("output_padding", ints(&[0, 0]))]), Code::OnnxUnsupported);
    let wide = |x: &[i64], w: &[i64]| {
        let len = w.iter().product::<i64>() as usize;
        Model::new(x).f32("w", w, &vec![1.0; len]).node("Conv", &["x", "w"], "y")
    };
    assert_error(wide(&[1, 1, 3, 3], &[1, 1, 4, 1]), Code::OnnxShape);
    assert_error(wide(&[1, 2, 3, 3], &[1, 1, 1, 1]), Code::OnnxShape);
    assert_error(wide(&[1, 1, 3, 3], &[1, 1, 2]), Code::OnnxShape);
    assert_error(wide(&[1, 1], &[1, 1]), Code::OnnxUnsupported);
    assert_error(wide(&[1, 1, 2, 2, 2], &[1, 1, 1, 1, 1]), Code::OnnxUnsupported);
    let computed = Model::new(&[1, 1, 2]).f32("c", &[1, 1, 2], &[1.0; 2]).node("Conv", &["c", "x"], "y");
    assert_error(computed, Code::OnnxUnsupported);
    let bias = Model::new(&[1, 1, 2]).f32("w", &[1, 1, 1], &[1.0]).f32("b", &[2], &[1.0; 2]);
    assert_error(bias.node("Conv", &["x", "w", "b"], "y"), Code::OnnxShape);
}

fn random_axis(tape: &mut Tape) -> Axis {
    loop {
        let (input, taps, stride) = (1 + tape.below(6), 1 + tape.below(4), 1 + tape.below(3));
        let (dilation, pad) = (1 + tape.below(3), tape.below(4));
        let room = (input + pad + tape.below(3)).checked_sub((taps - 1) * dilation + 1);
        let Some(room) = room else { continue };
        return Axis::new(input, room / stride + 1, taps, stride, dilation, pad).unwrap();
    }
}

proptest! {
    #![proptest_config(Runner { cases: 256, failure_persistence: None, ..Runner::default() })]

    /// The kernel, the list of entries and their counts belong to the same matrix.
    #[test]
    fn the_transposed_convolution_is_that_of_the_entries(mut tape in tape(400)) {
        let (y, x) = (random_axis(&mut tape), random_axis(&mut tape));
        let [batch, groups, inner, outer] = [2, 2, 6, 3].map(|n| 1 + tape.below(n));
        let conv = Conv { batch, groups, inner, outer, y, x };
        let weights = (0..conv.weights().unwrap()).map(|_| Dyadic::new(tape.around(9), 0)).collect();
        let linear = Linear::conv(conv, Weights::new(Values::Dyadic(weights)).unwrap()).unwrap();
        let v: Vec<i64> = (0..linear.outputs()).map(|_| tape.around(3)).collect();
        let (mut sums, mut terms) = (vec![7_i128; linear.inputs()], vec![0; linear.inputs()]);
        let mut seen = std::collections::HashSet::new();
        linear.for_each_entry(|o, i, k| {
            sums[i] += i128::from(v[o] * linear.weights().mantissas()[k]);
            terms[i] += 1;
            assert!(seen.insert((o, i)), "an entry twice");
        });
        let mut found = vec![7_i128; linear.inputs()];
        linear.add_transposed(&v, &mut found);
        prop_assert_eq!(found, sums);
        prop_assert_eq!(seen.len() as u64, linear.entries());
        prop_assert!(terms.into_iter().max().unwrap() <= linear.column_terms());
    }
}
