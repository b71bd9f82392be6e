//! Operators on images and sequences: values computed by hand, and against plain implementations.

use crate::support::onnx::ints;
use crate::support::onnx::{Attribute, Model, Value};
use crate::support::tape::{Tape, tape};
use crate::support::{self, assert_error, q, read_model, vector};
use proptest::prelude::*;
use proptest::test_runner::Config as Runner;
use scalecheck::conv::{Axis, Conv};
use scalecheck::error::Code;
use scalecheck::exact::Exact;
use scalecheck::linear::Linear;
use scalecheck::network::Network;
use scalecheck::number::Rational;
use scalecheck::weights::{Dyadic, Values, Weights};

/// The shape and the values of a model that ends in the tensor `y`.
#[track_caller]
fn run(model: Model, x: &[&str]) -> (Vec<usize>, Vec<Rational>) {
    let network: Network = read_model(&model.output("y").bytes());
    assert_eq!(network.input().elements(), x.len());
    let y = network.outputs()[0];
    (network.nodes()[y].shape.clone(), network.evaluate(&Exact::from_rationals(&vector(x)))[y].to_rationals())
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

/// A kernel with a subnormal beside ordinary numbers: its weights do not fit one grid, and every output is exact still.
#[test]
fn conv_is_exact_if_its_weights_span_many_binary_orders() {
    let tiny = f32::from_bits(3);
    let model = Model::new(&[1, 1, 3]).f32("w", &[1, 1, 2], &[tiny, 3.0]).node("Conv", &["x", "w"], "y");
    let tail = Rational::new(3.into(), num::BigInt::from(1) << 149);
    let (_, y) = run(model, &["1", "1/3", "5"]);
    assert_eq!(y, [q("1") + &tail, q("15") + tail * q("1/3")]);
}

// ---- pools

fn pool(op: &str, x: &[i64], attributes: &[Attribute]) -> Model {
    Model::new(x).node_with(op, &["x"], "y", attributes)
}

#[test]
fn max_pool_takes_the_largest_element_of_a_window() {
    let x = ["-1", "-2", "-3", "-4", "5", "-6", "-7", "-8", "-9"];
    let two = ("kernel_shape", ints(&[2, 2]));
    let plain = pool("MaxPool", &[1, 1, 3, 3], std::slice::from_ref(&two));
    assert_eq!(run(plain, &x), (vec![1, 1, 2, 2], vector(&["5"; 4])));
    // Pads take no part, although every element beside them is negative.
    let padded = pool("MaxPool", &[1, 1, 3, 3], &[two.clone(), ("pads", ints(&[1; 4])), ("strides", ints(&[3, 3]))]);
    assert_eq!(run(padded, &x), (vec![1, 1, 2, 2], vector(&["-1", "-3", "-7", "-9"])));
    let dilated = pool("MaxPool", &[1, 1, 3, 3], &[two, ("dilations", ints(&[2, 2]))]);
    assert_eq!(run(dilated, &x), (vec![1, 1, 1, 1], vector(&["-1"])));
    let sequences = pool("MaxPool", &[1, 2, 3], &[("kernel_shape", ints(&[3]))]);
    assert_eq!(run(sequences, &x[..6]), (vec![1, 2, 1], vector(&["-1", "5"])));
    let one = pool("MaxPool", &[1, 1, 3], &[("kernel_shape", ints(&[1])), ("strides", ints(&[2]))]);
    assert_eq!(run(one, &x[..3]), (vec![1, 1, 2], vector(&["-1", "-3"])));
}

#[test]
fn average_pool_counts_pads_if_it_is_told_to() {
    let x = ["1", "2", "6"];
    let attributes =
        |include| [("kernel_shape", ints(&[3])), ("pads", ints(&[1, 1])), ("count_include_pad", Value::Int(include))];
    assert_eq!(run(pool("AveragePool", &[1, 1, 3], &attributes(0)), &x).1, vector(&["3/2", "3", "4"]));
    assert_eq!(run(pool("AveragePool", &[1, 1, 3], &attributes(1)), &x).1, vector(&["1", "3", "8/3"]));
    let image = pool("AveragePool", &[1, 2, 2, 2], &[("kernel_shape", ints(&[2, 1]))]);
    let x = ["1", "2", "3", "5", "0", "10", "20", "0"];
    assert_eq!(run(image, &x), (vec![1, 2, 1, 2], vector(&["2", "7/2", "10", "5"])));
    let global = Model::new(&[1, 2, 2, 2]).node("GlobalAveragePool", &["x"], "y");
    assert_eq!(run(global, &x), (vec![1, 2, 1, 1], vector(&["11/4", "15/2"])));
}

#[test]
fn rejects_pools_that_are_not_understood() {
    let three = |a: &[Attribute]| [&[("kernel_shape", ints(&[2]))], a].concat();
    for op in ["MaxPool", "AveragePool"] {
        assert_error(pool(op, &[1, 1, 3], &[]), Code::OnnxShape);
        let up = three(&[("ceil_mode", Value::Int(1)), ("strides", ints(&[2]))]);
        assert_error(pool(op, &[1, 1, 3], &up), Code::OnnxUnsupported);
        let fits = three(&[("ceil_mode", Value::Int(1)), ("strides", ints(&[2]))]);
        assert_eq!(run(pool(op, &[1, 1, 2], &fits), &["1", "1"]).1, vector(&["1"]));
        let outside = three(&[("pads", ints(&[2, 0]))]);
        assert!(assert_error(pool(op, &[1, 1, 3], &outside), Code::OnnxShape).message.contains("no element"));
        let huge = [("kernel_shape", ints(&[1 << 40])), ("pads", ints(&[1 << 40, 1 << 40]))];
        assert_error(pool(op, &[1, 1, 3], &huge), Code::LimitSize);
        assert_error(pool(op, &[1, 1], &[("kernel_shape", ints(&[]))]), Code::OnnxUnsupported);
    }
    assert_error(Model::new(&[1, 2]).node("GlobalAveragePool", &["x"], "y"), Code::OnnxShape);
    // A stride larger than the window leaves two elements out, and readers differ about which.
    let gaps = [("kernel_shape", ints(&[1])), ("strides", ints(&[3])), ("auto_pad", Value::Text("SAME_UPPER"))];
    assert_error(pool("AveragePool", &[1, 1, 3], &gaps), Code::OnnxShape);
    let shortcut = [("kernel_shape", ints(&[1])), ("strides", ints(&[2])), ("auto_pad", Value::Text("SAME_UPPER"))];
    assert_eq!(run(pool("AveragePool", &[1, 1, 4], &shortcut), &["1", "2", "3", "4"]).1, vector(&["1", "3"]));
}

// ---- normalisation

fn normalised(variance: f32, attributes: &[Attribute]) -> Model {
    Model::new(&[1, 2])
        .f32("scale", &[2], &[3.0, -0.5])
        .f32("b", &[2], &[1.0, 2.0])
        .f32("mean", &[2], &[0.0, 4.0])
        .f32("variance", &[2], &[variance; 2])
        .node_with("BatchNormalization", &["x", "scale", "b", "mean", "variance"], "y", attributes)
}

#[test]
fn batch_normalization_is_exact_where_its_root_is_rational() {
    let zero = ("epsilon", Value::Float(0.0));
    let y = run(normalised(2.25, std::slice::from_ref(&zero)), &["1", "1/7"]).1;
    // 3 / 1.5 · 1 + 1, and −0.5 / 1.5 · (1/7 − 4) + 2.
    assert_eq!(y, vector(&["3", "23/7"]));
    let half = ("epsilon", Value::Float(0.25));
    assert_eq!(run(normalised(2.0, &[half, ("momentum", Value::Float(0.5))]), &["1", "1/7"]).1, y);
    assert_error(normalised(0.0, std::slice::from_ref(&zero)), Code::OnnxNotFinite);
    assert_error(normalised(-1.0, &[]), Code::OnnxNotFinite);
}

/// The factor is within half a unit of its 64th bit: its square and those of its neighbours say so.
#[test]
fn the_factor_of_a_normalisation_is_the_nearest_of_64_bits() {
    for variance in [2.0_f32, 0.1, 7.0, 3e-30, 5e30] {
        let y = run(normalised(variance, &[]), &["1", "5"]).1;
        for (y, offset, scale) in [(&y[0], "1", "3"), (&y[1], "2", "-1/2")] {
            let factor = y - q(offset);
            let epsilon = Rational::from_float(1e-5_f32).unwrap();
            let square = q(scale) * q(scale) / (Rational::from_float(variance).unwrap() + epsilon);
            assert_eq!(num::Signed::is_negative(&factor), scale.starts_with('-'));
            let (top, zeros) = (factor.numer().magnitude(), factor.numer().trailing_zeros().unwrap_or(0));
            assert!(top.bits() - zeros <= 64, "{factor}");
            assert!(factor.denom().bits() - 1 == factor.denom().trailing_zeros().unwrap_or(0), "{factor}");
            let half = num::Signed::abs(&factor) / Rational::from_integer(num::BigInt::from(1) << 64);
            let size = num::Signed::abs(&factor);
            let (low, high) = (&size - &half, &size + &half);
            assert!(&low * &low < square && square < &high * &high, "{factor}");
        }
    }
}

#[test]
fn rejects_normalisation_in_training_and_of_other_shapes() {
    assert_error(normalised(1.0, &[("training_mode", Value::Int(1))]), Code::OnnxUnsupported);
    assert_error(normalised(1.0, &[("spatial", Value::Int(0))]), Code::OnnxUnsupported);
    assert_error(normalised(1.0, &[("epsilon", Value::Float(f32::NAN))]), Code::OnnxNotFinite);
    let short = Model::new(&[1, 2]).f32("c", &[1], &[1.0]);
    assert_error(short.node("BatchNormalization", &["x", "c", "c", "c", "c"], "y"), Code::OnnxShape);
    let computed = Model::new(&[2, 2]).f32("c", &[2], &[1.0; 2]);
    assert_error(computed.node("BatchNormalization", &["x", "c", "x", "c", "c"], "y"), Code::OnnxUnsupported);
}

// ---- reductions

#[test]
fn reductions_take_axes_as_attribute_or_as_operand() {
    let x = ["1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12"];
    let attribute = |op, opset, axes: &[i64], keep| {
        let attributes = [("axes", ints(axes)), ("keepdims", Value::Int(keep))];
        Model::new(&[2, 3, 2]).opset(opset).node_with(op, &["x"], "y", &attributes)
    };
    let operand = |op, axes: &[i64], keep| {
        let model = Model::new(&[2, 3, 2]).opset(18).i64("a", axes);
        model.node_with(op, &["x", "a"], "y", &[("keepdims", Value::Int(keep))])
    };
    for (axes, shape, sums) in [
        (&[1][..], vec![2, 1, 2], vec!["9", "12", "27", "30"]),
        (&[-1, 1], vec![2, 1, 1], vec!["21", "57"]),
        (&[2, 0], vec![1, 3, 1], vec!["18", "26", "34"]),
        (&[0, 1, 2], vec![1, 1, 1], vec!["78"]),
    ] {
        let count = Rational::from_integer((12 / sums.len()).into());
        let means: Vec<Rational> = vector(&sums).into_iter().map(|sum| sum / &count).collect();
        assert_eq!(run(attribute("ReduceSum", 11, axes, 1), &x), (shape.clone(), vector(&sums)));
        assert_eq!(run(operand("ReduceSum", axes, 1), &x), (shape.clone(), vector(&sums)));
        assert_eq!(run(attribute("ReduceMean", 13, axes, 1), &x), (shape.clone(), means.clone()));
        assert_eq!(run(operand("ReduceMean", axes, 1), &x), (shape.clone(), means));
        let dropped: Vec<usize> =
            (0..3).filter(|a| !axes.contains(a) && !axes.contains(&(a - 3))).map(|a| shape[a as usize]).collect();
        assert_eq!(run(operand("ReduceSum", axes, 0), &x).0, dropped);
    }
    let all = Model::new(&[2, 3, 2]).node("ReduceSum", &["x"], "y");
    assert_eq!(run(all, &x), (vec![1, 1, 1], vector(&["78"])));
    let none = [("noop_with_empty_axes", Value::Int(1))];
    let nothing = Model::new(&[2]).node_with("ReduceSum", &["x"], "y", &none);
    assert_eq!(run(nothing, &["1", "2"]), (vec![2], vector(&["1", "2"])));
    assert_error(attribute("ReduceSum", 13, &[1], 1), Code::OnnxUnsupported);
    assert_error(attribute("ReduceMean", 18, &[1], 1), Code::OnnxUnsupported);
    assert_error(attribute("ReduceMean", 9, &[-1], 1), Code::OnnxUnsupported);
    assert_error(operand("ReduceMean", &[3], 1), Code::OnnxShape);
}

// ---- parts of tensors

#[test]
fn concat_puts_parts_one_after_the_other() {
    let model = |axis| {
        Model::new(&[2, 2]).f32("c", &[2, 2], &[10.0, 20.0, 30.0, 40.0]).node("Neg", &["x"], "n").node_with(
            "Concat",
            &["x", "c", "n"],
            "y",
            &[("axis", Value::Int(axis))],
        )
    };
    let x = ["1", "2", "3", "4"];
    let rows = vector(&["1", "2", "3", "4", "10", "20", "30", "40", "-1", "-2", "-3", "-4"]);
    assert_eq!(run(model(0), &x), (vec![6, 2], rows));
    let columns = vector(&["1", "2", "10", "20", "-1", "-2", "3", "4", "30", "40", "-3", "-4"]);
    assert_eq!(run(model(-1), &x), (vec![2, 6], columns));
    assert_error(model(2), Code::OnnxShape);
    assert_error(Model::new(&[2, 2]).node("Concat", &["x", "x"], "y"), Code::OnnxShape);
    let other = Model::new(&[2, 2]).f32("c", &[1, 3], &[0.0; 3]);
    assert_error(other.node_with("Concat", &["x", "c"], "y", &[("axis", Value::Int(0))]), Code::OnnxShape);
    let constants = Model::new(&[2]).f32("c", &[2], &[0.0; 2]);
    let constants = constants.node_with("Concat", &["c", "c"], "d", &[("axis", Value::Int(0))]);
    assert_error(constants.node("Add", &["x", "d"], "y"), Code::OnnxUnsupported);
}

#[test]
fn pad_surrounds_a_tensor_with_a_constant() {
    let x = ["1", "2", "3", "4"];
    let before = Model::new(&[2, 2]).opset(9);
    let attributes = [("pads", ints(&[1, 0, 0, 1])), ("value", Value::Float(0.5)), ("mode", Value::Text("constant"))];
    let expected = vector(&["1/2", "1/2", "1/2", "1", "2", "1/2", "3", "4", "1/2"]);
    assert_eq!(run(before.node_with("Pad", &["x"], "y", &attributes), &x), (vec![3, 3], expected.clone()));
    let since = |pads: &[i64]| Model::new(&[2, 2]).i64("p", pads).f32("v", &[], &[0.5]);
    assert_eq!(run(since(&[1, 0, 0, 1]).node("Pad", &["x", "p", "v"], "y"), &x), (vec![3, 3], expected));
    let axes = since(&[0, 1]).opset(18).i64("a", &[-1]).node("Pad", &["x", "p", "", "a"], "y");
    assert_eq!(run(axes, &x), (vec![2, 3], vector(&["1", "2", "0", "3", "4", "0"])));
    assert_error(since(&[1, 0, 0, -1]).node("Pad", &["x", "p"], "y"), Code::OnnxUnsupported);
    assert_error(since(&[1, 0]).node("Pad", &["x", "p"], "y"), Code::OnnxShape);
    assert_error(since(&[1 << 40, 0, 0, 0]).node("Pad", &["x", "p"], "y"), Code::LimitSize);
    let twice = since(&[0; 4]).opset(18).i64("a", &[1, -1]).node("Pad", &["x", "p", "", "a"], "y");
    assert_error(twice, Code::OnnxShape);
    let reflect = since(&[0; 4]).node_with("Pad", &["x", "p"], "y", &[("mode", Value::Text("reflect"))]);
    assert_error(reflect, Code::OnnxUnsupported);
}

#[test]
fn slice_steps_in_either_direction() {
    let x = ["0", "1", "2", "3", "4"];
    let slice = |start, end, step| {
        let model = Model::new(&[1, 5]).i64("s", &[start]).i64("e", &[end]).i64("a", &[-1]).i64("t", &[step]);
        model.node("Slice", &["x", "s", "e", "a", "t"], "y")
    };
    for (start, end, step, expected) in [
        (1, 3, 1, &["1", "2"][..]),
        (-2, i64::MAX, 1, &["3", "4"]),
        (-9, 9, 2, &["0", "2", "4"]),
        (9, -9, -2, &["4", "2", "0"]),
        (-1, i64::MIN, -1, &["4", "3", "2", "1", "0"]),
        (3, 0, -1, &["3", "2", "1"]),
    ] {
        assert_eq!(run(slice(start, end, step), &x).1, vector(expected), "{start} {end} {step}");
    }
    for (start, end, step) in [(3, 3, 1), (3, 1, 1), (1, 3, -1), (0, 5, 0), (9, 9, 1)] {
        assert_error(slice(start, end, step), Code::OnnxShape);
    }
    let before = [("starts", ints(&[0, 1])), ("ends", ints(&[1, 3]))];
    let before = Model::new(&[1, 5]).opset(9).node_with("Slice", &["x"], "y", &before);
    assert_eq!(run(before, &x), (vec![1, 2], vector(&["1", "2"])));
    let twice = Model::new(&[1, 5]).i64("s", &[0, 0]).i64("e", &[1, 1]).i64("a", &[1, -1]);
    assert_error(twice.node("Slice", &["x", "s", "e", "a"], "y"), Code::OnnxShape);
}

#[test]
fn split_has_several_outputs() {
    let x = ["0", "1", "2", "3", "4", "5"];
    let both = |model: Model| model.node("Sub", &["a", "b"], "y");
    let even = Model::new(&[2, 3]).split(&["x"], &["a", "b"], &[]);
    assert_eq!(run(both(even), &x), (vec![1, 3], vector(&["-3", "-3", "-3"])));
    let sizes = |model: Model| model.split(&["x", "n"], &["a", "b"], &[("axis", Value::Int(-1))]);
    let network = read_model(&sizes(Model::new(&[2, 3]).i64("n", &[1, 2])).output("a").output("b").bytes());
    let values = network.evaluate(&Exact::from_rationals(&vector(&x)));
    let [a, b] = network.outputs() else { panic!("two outputs") };
    assert_eq!(values[*a].to_rationals(), vector(&["0", "3"]));
    assert_eq!(values[*b].to_rationals(), vector(&["1", "2", "4", "5"]));
    let attribute = [("axis", Value::Int(1)), ("split", ints(&[1, 2]))];
    let before = Model::new(&[2, 3]).opset(11).split(&["x"], &["a", "b"], &attribute);
    assert_eq!(read_model(&before.output("b").bytes()).nodes()[2].shape, [2, 2]);
    let parts = |n| [("axis", Value::Int(1)), ("num_outputs", Value::Int(n))];
    let uneven = Model::new(&[2, 3]).opset(18).split(&["x"], &["a", "b"], &parts(2));
    assert_eq!(read_model(&uneven.output("b").bytes()).nodes()[2].shape, [2, 1]);
    let wrong = |model: Model| assert_error(both(model), Code::OnnxShape);
    wrong(Model::new(&[2, 3]).opset(18).split(&["x"], &["a", "b"], &parts(3)));
    wrong(Model::new(&[2, 3]).split(&["x"], &["a", "b"], &[("axis", Value::Int(1))]));
    wrong(sizes(Model::new(&[2, 3]).i64("n", &[1, 1])));
    wrong(sizes(Model::new(&[2, 3]).i64("n", &[0, 3])));
    wrong(sizes(Model::new(&[2, 3]).i64("n", &[1, 1, 1])));
    let unnamed = Model::new(&[2, 3]).split(&["x"], &["a", ""], &[]);
    assert_error(unnamed.node("Relu", &["a"], "y"), Code::OnnxUnsupported);
}

#[test]
fn gather_takes_elements_at_constant_places() {
    let x = ["0", "1", "2", "3", "4", "5"];
    let gather = |model: Model, axis| model.node_with("Gather", &["x", "i"], "y", &[("axis", Value::Int(axis))]);
    let list = gather(Model::new(&[2, 3]).i64("i", &[2, -3, 2]), 1);
    assert_eq!(run(list, &x), (vec![2, 3], vector(&["2", "0", "2", "5", "3", "5"])));
    let scalar = Model::new(&[2, 3]).constant("i", &[], support::onnx::Data::RawI64(vec![1]));
    assert_eq!(run(gather(scalar, 0), &x), (vec![3], vector(&["3", "4", "5"])));
    let matrix = Model::new(&[2, 3]).constant("i", &[2, 1], support::onnx::Data::RawI64(vec![1, 0]));
    assert_eq!(run(gather(matrix, -1), &x), (vec![2, 2, 1], vector(&["1", "0", "4", "3"])));
    assert_error(gather(Model::new(&[2, 3]).i64("i", &[3]), 1), Code::OnnxShape);
    assert_error(gather(Model::new(&[2, 3]).i64("i", &[-4]), 1), Code::OnnxShape);
    assert_error(gather(Model::new(&[2, 3]).f32("i", &[1], &[0.5]), 1), Code::OnnxShape);
    let stored = |places: &[i64]| {
        let model = Model::new(&[2]).f32("c", &[3], &[1.0, 2.0, 3.0]).i64("i", places);
        model.node("Gather", &["c", "i"], "d").node("Add", &["x", "d"], "y")
    };
    assert_eq!(run(stored(&[2, 0]), &["0", "0"]).1, vector(&["3", "1"]));
    // Perturbed, the two copies of one number would move by themselves.
    assert_error(stored(&[1, 1]), Code::OnnxUnsupported);
}

// ---- what bends

#[test]
fn leaky_relu_and_abs() {
    let x = ["-3", "0", "1/3"];
    let leaky = Model::new(&[3]).node_with("LeakyRelu", &["x"], "y", &[("alpha", Value::Float(0.25))]);
    assert_eq!(run(leaky, &x).1, vector(&["-3/4", "0", "1/3"]));
    let default = run(Model::new(&[3]).node("LeakyRelu", &["x"], "y"), &x).1;
    assert_eq!(default[0], Rational::from_float(0.01_f32).unwrap() * q("-3"));
    assert_eq!(run(Model::new(&[3]).node("Abs", &["x"], "y"), &x).1, vector(&["3", "0", "1/3"]));
}

#[test]
fn clip_takes_its_ends_as_attributes_or_as_operands() {
    let x = ["-3", "1/3", "7"];
    let before = |attributes: &[Attribute]| Model::new(&[3]).opset(10).node_with("Clip", &["x"], "y", attributes);
    let (low, high) = (("min", Value::Float(-0.5)), ("max", Value::Float(6.0)));
    assert_eq!(run(before(&[low.clone(), high.clone()]), &x).1, vector(&["-1/2", "1/3", "6"]));
    assert_eq!(run(before(&[low]), &x).1, vector(&["-1/2", "1/3", "7"]));
    assert_eq!(run(before(&[high]), &x).1, vector(&["-3", "1/3", "6"]));
    assert_eq!(run(before(&[]), &x).1, vector(&x));
    let since = || Model::new(&[3]).f32("l", &[], &[-0.5]).f32("h", &[], &[6.0]);
    assert_eq!(run(since().node("Clip", &["x", "l", "h"], "y"), &x).1, vector(&["-1/2", "1/3", "6"]));
    assert_eq!(run(since().node("Clip", &["x", "", "h"], "y"), &x).1, vector(&["-3", "1/3", "6"]));
    assert_eq!(run(since().node("Clip", &["x", "l"], "y"), &x).1, vector(&["-1/2", "1/3", "7"]));
    assert_error(since().node("Clip", &["x", "h", "l"], "y"), Code::OnnxUnsupported);
    assert_error(since().node("Clip", &["x", "x"], "y"), Code::OnnxUnsupported);
    assert_error(since().f32("w", &[2], &[1.0; 2]).node("Clip", &["x", "w"], "y"), Code::OnnxShape);
}

#[test]
fn max_and_min_take_any_number_of_operands() {
    let model = |op, operands: &[&str]| {
        let model = Model::new(&[3]).f32("c", &[1], &[0.5]).f32("d", &[3], &[-4.0, 0.0, 9.0]);
        model.node("Neg", &["x"], "n").node(op, operands, "y")
    };
    let x = ["-3", "1/3", "7"];
    assert_eq!(run(model("Max", &["x", "n"]), &x).1, vector(&["3", "1/3", "7"]));
    assert_eq!(run(model("Min", &["x", "n"]), &x).1, vector(&["-3", "-1/3", "-7"]));
    assert_eq!(run(model("Max", &["c", "x"]), &x).1, vector(&["1/2", "1/2", "7"]));
    assert_eq!(run(model("Min", &["c", "d", "x"]), &x).1, vector(&["-4", "0", "1/2"]));
    assert_eq!(run(model("Max", &["x", "d", "n", "c"]), &x).1, vector(&["3", "1/2", "9"]));
    assert_eq!(run(model("Max", &["x"]), &x).1, vector(&x));
    assert_error(model("Max", &["c", "d"]), Code::OnnxUnsupported);
    assert_error(model("Min", &[]), Code::OnnxUnsupported);
}

#[test]
fn sum_and_cast() {
    let sum = Model::new(&[1, 2]).f32("c", &[2, 1], &[1.0, 2.0]).node("Sum", &["x", "c", "x"], "y");
    assert_eq!(run(sum, &["1/3", "5"]), (vec![2, 2], vector(&["5/3", "11", "8/3", "12"])));
    let constants = Model::new(&[1]).f32("c", &[1], &[1.0]).f32("d", &[1], &[2.0]);
    assert_error(constants.node("Sum", &["x", "c", "d"], "y"), Code::OnnxUnsupported);
    let cast = |to| Model::new(&[1]).node_with("Cast", &["x"], "y", &[("to", Value::Int(to))]);
    assert_eq!(run(cast(1), &["1/3"]).1, vector(&["1/3"]));
    assert_eq!(run(cast(10), &["1/3"]).1, vector(&["1/3"]));
    assert_eq!(run(cast(11), &["1/3"]).1, vector(&["1/3"]));
    let stored = Model::new(&[1]).f32("c", &[1], &[1.5]).node_with("Cast", &["c"], "d", &[("to", Value::Int(1))]);
    assert_eq!(run(stored.node("Add", &["x", "d"], "y"), &["1/3"]).1, vector(&["11/6"]));
    assert_error(cast(7), Code::OnnxUnsupported);
}

// ---- whole networks

/// Two branches of convolutions that meet in a sum, and a pool over them: against numbers computed by hand.
#[test]
fn a_residual_block_of_convolutions() {
    let model = Model::new(&[1, 1, 2, 2])
        .f32("w1", &[2, 1, 1, 1], &[1.0, -1.0])
        .f32("w2", &[2, 2, 1, 1], &[1.0, 1.0, 0.0, 2.0])
        .i64("s", &[1, -1])
        .node("Conv", &["x", "w1"], "a")
        .node("Relu", &["a"], "r")
        .node("Conv", &["r", "w2"], "b")
        .node("Add", &["a", "b"], "c")
        .node_with("MaxPool", &["c"], "p", &[("kernel_shape", ints(&[2, 2]))])
        .node("Reshape", &["p", "s"], "y");
    // a = (x, −x), r = (x⁺, x⁻), b = (x⁺ + x⁻, 2 x⁻), c = (2 x⁺, −x + 2 x⁻).
    assert_eq!(run(model, &["1", "-3", "2", "1/2"]), (vec![1, 2], vector(&["4", "9"])));
}

/// What an operator adds beside its result is bounded too: it counts, and its names are taken.
#[test]
fn tensors_that_an_operator_adds_have_names() {
    let model = || Model::new(&[1, 1, 3]).node_with("MaxPool", &["x"], "y", &[("kernel_shape", ints(&[3]))]);
    let network = read_model(&model().output("y").bytes());
    let names = ["y#window0", "y#window2", "y#pair0", "y#pair0#relu", "y#difference", "y#relu"];
    assert!(names.iter().all(|name| network.find(name).is_some()));
    assert_error(model().node("Relu", &["x"], "y#window1"), Code::OnnxFormat);
    let large = Model::new(&[1, 1, 1 << 20]);
    let large = large.node_with("MaxPool", &["x"], "y", &[("kernel_shape", ints(&[64])), ("pads", ints(&[63, 0]))]);
    assert_error(large, Code::LimitSize);
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
