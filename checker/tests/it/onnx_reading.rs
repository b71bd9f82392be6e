//! Reading models: every operator against values computed by hand, and every error by its code.

use crate::support::onnx::ints;
use crate::support::onnx::{Attribute, Data, Dim, Message, Model, Value, tensor, value_info};
use crate::support::{self, assert_error, q, read_model, vector};
use proptest::prelude::*;
use proptest::test_runner::Config as Runner;
use scalecheck::error::Code;
use scalecheck::exact::Exact;
use scalecheck::network::Network;
use scalecheck::number::Rational;
use scalecheck::onnx::read;

/// The output of a model that ends in the tensor `y`.
#[track_caller]
fn run(model: Model, x: &[&str]) -> Vec<Rational> {
    let network = read_model(&model.output("y").bytes());
    evaluate(&network, x)
}

fn evaluate(network: &Network, x: &[&str]) -> Vec<Rational> {
    assert_eq!(network.input().elements(), x.len());
    network.evaluate(&Exact::from_rationals(&vector(x)))[network.outputs()[0]].to_rationals()
}

fn output_shape(model: Model) -> Vec<usize> {
    let network = read_model(&model.output("y").bytes());
    network.nodes()[network.outputs()[0]].shape.clone()
}

// ---- matrix products

#[test]
fn gemm_multiplies_and_adds() {
    let model =
        Model::new(&[1, 2]).f32("w", &[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]).f32("b", &[3], &[0.5, 0.0, -1.0]);
    let y = run(model.node("Gemm", &["x", "w", "b"], "y"), &["1", "1/3"]);
    assert_eq!(y, vector(&["17/6", "11/3", "4"]));
}

#[test]
fn gemm_applies_alpha_beta_and_transposes() {
    let model =
        Model::new(&[2, 1]).f32("w", &[3, 2], &[1.0, 4.0, 2.0, 5.0, 3.0, 6.0]).f32("c", &[1, 3], &[1.0, 2.0, 4.0]);
    let attributes: [Attribute; 4] = [
        ("alpha", Value::Float(0.5)),
        ("beta", Value::Float(-2.0)),
        ("transA", Value::Int(1)),
        ("transB", Value::Int(1)),
    ];
    let y = run(model.node_with("Gemm", &["x", "w", "c"], "y", &attributes), &["2", "1/3"]);
    // x·W = (2 + 4/3, 4 + 5/3, 6 + 2), halved, minus (2, 4, 8).
    assert_eq!(y, vector(&["-1/3", "-7/6", "-4"]));
}

#[test]
fn gemm_takes_constants_on_the_left_and_no_third_operand() {
    let w = [1.0, 2.0, 3.0, 4.0];
    let left = |a: Attribute| Model::new(&[2, 2]).f32("w", &[2, 2], &w).node_with("Gemm", &["w", "x"], "y", &[a]);
    assert_eq!(run(left(("transA", Value::Int(0))), &["1", "0", "1", "1"]), vector(&["3", "2", "7", "4"]));
    assert_eq!(run(left(("transA", Value::Int(1))), &["1", "0", "1", "1"]), vector(&["4", "3", "6", "4"]));
    assert_eq!(run(left(("alpha", Value::Float(3.0))), &["1", "0", "1", "1"]), vector(&["9", "6", "21", "12"]));
}

#[test]
fn gemm_broadcasts_its_third_operand_and_takes_a_computed_one() {
    let model = || Model::new(&[2, 2]).f32("w", &[2, 2], &[1.0, 0.0, 0.0, 1.0]);
    let scalar = model().f32("c", &[], &[5.0]).node("Gemm", &["x", "w", "c"], "y");
    assert_eq!(run(scalar, &["1", "2", "3", "4"]), vector(&["6", "7", "8", "9"]));
    let column = model().f32("c", &[2, 1], &[10.0, 20.0]).node("Gemm", &["x", "w", "c"], "y");
    assert_eq!(run(column, &["1", "2", "3", "4"]), vector(&["11", "12", "23", "24"]));
    let computed = model().node_with("Gemm", &["x", "w", "x"], "y", &[("beta", Value::Float(2.0))]);
    assert_eq!(run(computed, &["1", "2", "3", "4"]), vector(&["3", "6", "9", "12"]));
    let wide = model().f32("c", &[3, 2, 2], &[0.0; 12]).node("Gemm", &["x", "w", "c"], "y");
    assert_error(wide, Code::OnnxShape);
}

#[test]
fn matmul_takes_a_constant_on_either_side() {
    let right = Model::new(&[2, 2]).f32("w", &[2, 1], &[1.0, 2.0]).node("MatMul", &["x", "w"], "y");
    assert_eq!(run(right.clone(), &["1", "2", "3", "4"]), vector(&["5", "11"]));
    assert_eq!(output_shape(right), [2, 1]);
    let left = Model::new(&[2, 2]).f32("w", &[1, 2], &[1.0, 2.0]).node("MatMul", &["w", "x"], "y");
    assert_eq!(run(left.clone(), &["1", "2", "3", "4"]), vector(&["7", "10"]));
    assert_eq!(output_shape(left), [1, 2]);
}

#[test]
fn matmul_works_on_every_matrix_of_a_batch() {
    let x = ["1", "2", "3", "4", "5", "6", "7", "8"];
    let right = Model::new(&[2, 2, 2]).f32("w", &[2, 1], &[1.0, 10.0]).node("MatMul", &["x", "w"], "y");
    assert_eq!(run(right.clone(), &x), vector(&["21", "43", "65", "87"]));
    assert_eq!(output_shape(right), [2, 2, 1]);
    let left = Model::new(&[2, 2, 2]).f32("w", &[1, 1, 2], &[1.0, 10.0]).node("MatMul", &["w", "x"], "y");
    assert_eq!(run(left.clone(), &x), vector(&["31", "42", "75", "86"]));
    assert_eq!(output_shape(left), [2, 1, 2]);
}

#[test]
fn matmul_of_a_vector_drops_its_axis() {
    let right = Model::new(&[2]).f32("w", &[2, 2], &[1.0, 2.0, 3.0, 4.0]).node("MatMul", &["x", "w"], "y");
    assert_eq!(output_shape(right.clone()), [2]);
    assert_eq!(run(right, &["1", "10"]), vector(&["31", "42"]));
    let left = Model::new(&[2]).f32("w", &[2, 2], &[1.0, 2.0, 3.0, 4.0]).node("MatMul", &["w", "x"], "y");
    assert_eq!(output_shape(left.clone()), [2]);
    assert_eq!(run(left, &["1", "10"]), vector(&["21", "43"]));
}

/// `[2, 3]` times `[1, 3, 4]` has the shape `[1, 2, 4]`, and a Flatten after it is one row of eight.
#[test]
fn rejects_matmul_in_which_the_constant_adds_an_axis() {
    let model = Model::new(&[2, 3]).f32("w", &[1, 3, 4], &[1.0; 12]).node("MatMul", &["x", "w"], "p");
    assert_error(model.node("Flatten", &["p"], "y"), Code::OnnxShape);
    let model = Model::new(&[3, 2]).f32("w", &[1, 4, 3], &[1.0; 12]).node("MatMul", &["w", "x"], "y");
    assert_error(model, Code::OnnxShape);
}

#[test]
fn rejects_products_whose_shapes_do_not_fit() {
    let model = |w: &[i64]| Model::new(&[1, 2]).f32("w", w, &vec![1.0; w.iter().product::<i64>() as usize]);
    assert_error(model(&[3, 2]).node("MatMul", &["x", "w"], "y"), Code::OnnxShape);
    assert_error(model(&[2, 3]).node("MatMul", &["w", "x"], "y"), Code::OnnxShape);
    assert_error(model(&[3, 2]).node("Gemm", &["x", "w"], "y"), Code::OnnxShape);
    assert_error(model(&[1, 2, 2]).node("Gemm", &["x", "w"], "y"), Code::OnnxShape);
    assert_error(model(&[2, 2, 2]).node("MatMul", &["x", "w"], "y"), Code::OnnxShape);
}

#[test]
fn rejects_products_of_two_computed_tensors() {
    for op in ["MatMul", "Mul", "Div"] {
        let model = Model::new(&[2, 2]).node("Relu", &["x"], "r").node(op, &["x", "r"], "y");
        assert_error(model, Code::OnnxUnsupported);
    }
}

// ---- element by element

#[test]
fn add_sub_mul_div_broadcast_in_both_directions() {
    let model = |op, operands: [&str; 2]| Model::new(&[1, 2]).f32("c", &[2, 1], &[2.0, -4.0]).node(op, &operands, "y");
    let x = ["1", "1/3"];
    assert_eq!(run(model("Add", ["x", "c"]), &x), vector(&["3", "7/3", "-3", "-11/3"]));
    assert_eq!(run(model("Sub", ["x", "c"]), &x), vector(&["-1", "-5/3", "5", "13/3"]));
    assert_eq!(run(model("Sub", ["c", "x"]), &x), vector(&["1", "5/3", "-5", "-13/3"]));
    assert_eq!(run(model("Mul", ["x", "c"]), &x), vector(&["2", "2/3", "-4", "-4/3"]));
    assert_eq!(run(model("Mul", ["c", "x"]), &x), vector(&["2", "2/3", "-4", "-4/3"]));
    assert_eq!(run(model("Div", ["x", "c"]), &x), vector(&["1/2", "1/6", "-1/4", "-1/12"]));
    assert_eq!(output_shape(model("Add", ["x", "c"])), [2, 2]);
}

#[test]
fn add_and_sub_combine_computed_tensors() {
    let two = |op| Model::new(&[2]).node("Relu", &["x"], "r").node(op, &["x", "r"], "y");
    assert_eq!(run(two("Add"), &["3", "-2"]), vector(&["6", "-2"]));
    assert_eq!(run(two("Sub"), &["3", "-2"]), vector(&["0", "-2"]));
    let same = Model::new(&[2]).node("Add", &["x", "x"], "y");
    assert_eq!(run(same, &["3", "-2"]), vector(&["6", "-4"]));
    let outer = Model::new(&[1, 2]).node("Transpose", &["x"], "t").node("Sub", &["x", "t"], "y");
    assert_eq!(run(outer, &["3", "5"]), vector(&["0", "2", "-2", "0"]));
}

#[test]
fn div_by_a_number_that_is_no_power_of_two_is_exact() {
    let model = Model::new(&[2]).f32("c", &[2], &[3.0, 49.0]).node("Div", &["x", "c"], "y");
    assert_eq!(run(model, &["1", "-2/5"]), vector(&["1/3", "-2/245"]));
}

#[test]
fn rejects_arithmetic_on_constants_alone() {
    for op in ["Add", "Sub", "Mul", "Div", "MatMul", "Gemm"] {
        let model = Model::new(&[2, 2]).f32("c", &[2, 2], &[1.0, 2.0, 3.0, 4.0]).node(op, &["c", "c"], "d");
        assert_error(model.node("Add", &["x", "d"], "y"), Code::OnnxUnsupported);
    }
    for op in ["Neg", "Relu"] {
        let model = Model::new(&[2]).f32("c", &[2], &[1.0, 2.0]).node(op, &["c"], "d");
        assert_error(model.node("Add", &["x", "d"], "y"), Code::OnnxUnsupported);
    }
}

#[test]
fn constants_can_be_moved_and_reshaped() {
    let model = Model::new(&[2, 3])
        .f32("c", &[3, 2], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
        .i64("s", &[1, 6])
        .node("Transpose", &["c"], "t")
        .node("Add", &["x", "t"], "a")
        .node("Reshape", &["c", "s"], "r")
        .node("Flatten", &["a"], "f")
        .node("Reshape", &["f", "s"], "g")
        .node("Add", &["g", "r"], "y");
    assert_eq!(run(model, &["0"; 6]), vector(&["2", "5", "8", "6", "9", "12"]));
}

#[test]
fn rejects_division_by_zero_and_by_a_computed_tensor() {
    let model = || Model::new(&[2]).f32("c", &[2], &[1.0, 0.0]);
    assert_error(model().node("Div", &["x", "c"], "y"), Code::OnnxNotFinite);
    assert_error(model().node("Div", &["c", "x"], "y"), Code::OnnxUnsupported);
}

#[test]
fn rejects_shapes_that_do_not_broadcast() {
    for op in ["Add", "Sub", "Mul", "Div"] {
        let model = Model::new(&[1, 2]).f32("c", &[3], &[1.0; 3]).node(op, &["x", "c"], "y");
        assert_error(model, Code::OnnxShape);
    }
}

#[test]
fn neg_and_relu() {
    assert_eq!(run(Model::new(&[3]).node("Neg", &["x"], "y"), &["1/3", "-2", "0"]), vector(&["-1/3", "2", "0"]));
    assert_eq!(run(Model::new(&[3]).node("Relu", &["x"], "y"), &["1/3", "-2", "0"]), vector(&["1/3", "0", "0"]));
}

// ---- shapes

#[test]
fn flatten_groups_axes_around_the_axis() {
    let flat = |axis| Model::new(&[2, 3, 4]).node_with("Flatten", &["x"], "y", &[("axis", Value::Int(axis))]);
    for (axis, shape) in [(0, [1, 24]), (1, [2, 12]), (2, [6, 4]), (3, [24, 1]), (-1, [6, 4]), (-3, [1, 24])] {
        assert_eq!(output_shape(flat(axis)), shape, "axis {axis}");
    }
    assert_eq!(output_shape(Model::new(&[2, 3, 4]).node("Flatten", &["x"], "y")), [2, 12]);
    assert_error(flat(4), Code::OnnxShape);
    assert_error(flat(-4), Code::OnnxShape);
}

#[test]
fn reshape_infers_one_axis_and_copies_zeros() {
    let reshape = |to: &[i64]| Model::new(&[2, 3, 4]).i64("s", to).node("Reshape", &["x", "s"], "y");
    for (to, shape) in [
        (&[-1][..], &[24][..]),
        (&[6, -1], &[6, 4]),
        (&[0, -1], &[2, 12]),
        (&[0, 0, 0], &[2, 3, 4]),
        (&[4, 0, 2], &[4, 3, 2]),
        (&[1, 24, 1], &[1, 24, 1]),
    ] {
        assert_eq!(output_shape(reshape(to)), shape, "{to:?}");
    }
    for to in [&[-1, -1][..], &[5, -1], &[25], &[-2, -12], &[0, 0, 0, 0], &[1, 24, -1, -1]] {
        assert_error(reshape(to), Code::OnnxShape);
    }
    let allow_zero = [("allowzero", Value::Int(1))];
    let model = Model::new(&[2, 3]).i64("s", &[0, -1]).node_with("Reshape", &["x", "s"], "y", &allow_zero);
    assert_error(model, Code::OnnxShape);
}

#[test]
fn reshape_keeps_the_order_of_elements_and_transpose_moves_them() {
    let x = ["1", "2", "3", "4", "5", "6"];
    let reshape = Model::new(&[2, 3]).i64("s", &[3, 2]).node("Reshape", &["x", "s"], "y");
    assert_eq!(run(reshape, &x), vector(&x));
    let transpose = Model::new(&[2, 3]).node("Transpose", &["x"], "y");
    assert_eq!(run(transpose.clone(), &x), vector(&["1", "4", "2", "5", "3", "6"]));
    assert_eq!(output_shape(transpose), [3, 2]);
    let perm = |perm: &[i64]| Model::new(&[1, 2, 3]).node_with("Transpose", &["x"], "y", &[("perm", ints(perm))]);
    assert_eq!(run(perm(&[2, 0, 1]), &x), vector(&["1", "4", "2", "5", "3", "6"]));
    assert_eq!(output_shape(perm(&[2, 0, 1])), [3, 1, 2]);
    assert_eq!(run(perm(&[0, 1, 2]), &x), vector(&x));
    for bad in [&[0, 1][..], &[0, 1, 1], &[0, 1, 3], &[0, 1, -4], &[0, 1, 2, 2]] {
        assert_error(perm(bad), Code::OnnxShape);
    }
}

#[test]
fn squeeze_and_unsqueeze_take_axes_as_attribute_or_as_operand() {
    let before_13 = |op: &str, shape: &[i64], axes: &[i64]| {
        Model::new(shape).opset(11).node_with(op, &["x"], "y", &[("axes", ints(axes))])
    };
    let since_13 = |op: &str, shape: &[i64], axes: &[i64]| Model::new(shape).i64("a", axes).node(op, &["x", "a"], "y");
    for axes in [&[0, 2][..], &[-4, 2], &[0, -2]] {
        assert_eq!(output_shape(before_13("Squeeze", &[1, 2, 1, 3], axes)), [2, 3]);
        assert_eq!(output_shape(since_13("Squeeze", &[1, 2, 1, 3], axes)), [2, 3]);
    }
    for axes in [&[0, 2][..], &[-4, -2]] {
        assert_eq!(output_shape(before_13("Unsqueeze", &[2, 3], axes)), [1, 2, 1, 3]);
        assert_eq!(output_shape(since_13("Unsqueeze", &[2, 3], axes)), [1, 2, 1, 3]);
    }
    assert_eq!(output_shape(Model::new(&[1, 2, 1]).node("Squeeze", &["x"], "y")), [2]);
    assert_error(since_13("Squeeze", &[1, 2], &[1]), Code::OnnxShape);
    assert_error(since_13("Squeeze", &[1, 2], &[2]), Code::OnnxShape);
    assert_error(since_13("Unsqueeze", &[2], &[0, 0]), Code::OnnxShape);
    assert_error(since_13("Unsqueeze", &[2], &[3]), Code::OnnxShape);
    assert_error(before_13("Squeeze", &[1, 2], &[0]).opset(13), Code::OnnxUnsupported);
    assert_error(Model::new(&[2]).node("Unsqueeze", &["x"], "y"), Code::OnnxShape);
}

#[test]
fn identity_and_dropout_for_inference_change_nothing() {
    assert_eq!(run(Model::new(&[2]).node("Identity", &["x"], "y"), &["1/3", "-2"]), vector(&["1/3", "-2"]));
    let dropout = Model::new(&[2]).f32("r", &[], &[0.5]).node("Dropout", &["x", "r"], "y");
    assert_eq!(run(dropout, &["1/3", "-2"]), vector(&["1/3", "-2"]));
    let old = Model::new(&[2]).opset(10).node_with("Dropout", &["x"], "y", &[("ratio", Value::Float(0.5))]);
    assert_eq!(run(old, &["1/3", "-2"]), vector(&["1/3", "-2"]));
}

#[test]
fn rejects_dropout_with_a_training_mode() {
    let model = Model::new(&[2]).f32("r", &[], &[0.5]).constant("t", &[], Data::RawI64(vec![1]));
    assert_error(model.node("Dropout", &["x", "r", "t"], "y"), Code::OnnxUnsupported);
}

// ---- constants

#[test]
fn constants_of_every_kind_are_exact() {
    let sum = |data: Data| Model::new(&[2]).constant("c", &[2], data).node("Add", &["x", "c"], "y");
    // binary16: 1.5 is 0x3e00, the least subnormal 2^-24 is 0x0001.
    let tiny = ["3/2", "1/16777216"];
    assert_eq!(run(sum(Data::RawF16(vec![0x3e00, 1])), &["0", "0"]), vector(&tiny));
    assert_eq!(run(sum(Data::TypedF16(vec![0x3e00, 1])), &["0", "0"]), vector(&tiny));
    let values = vec![0.1_f32, -f32::MIN_POSITIVE];
    let exact: Vec<Rational> = values.iter().map(|&v| Rational::from_float(v).unwrap()).collect();
    assert_eq!(exact[0], q("13421773/134217728"));
    assert_eq!(run(sum(Data::RawF32(values.clone())), &["0", "0"]), exact);
    assert_eq!(run(sum(Data::TypedF32(values)), &["0", "0"]), exact);
    let values = vec![0.1_f64, f64::from_bits(1)];
    let exact: Vec<Rational> = values.iter().map(|&v| Rational::from_float(v).unwrap()).collect();
    assert_eq!(exact[0], q("3602879701896397/36028797018963968"));
    assert_eq!(exact[1].denom().bits(), 1075);
    assert_eq!(run(sum(Data::RawF64(values.clone())), &["0", "0"]), exact);
    assert_eq!(run(sum(Data::TypedF64(values)), &["0", "0"]), exact);
    let wide = ["9223372036854775807", "-9223372036854775808"];
    assert_eq!(run(sum(Data::RawI64(vec![i64::MAX, i64::MIN])), &["0", "0"]), vector(&wide));
    assert_eq!(run(sum(Data::TypedI64(vec![i64::MAX, i64::MIN])), &["0", "0"]), vector(&wide));
    assert_eq!(run(sum(Data::RawI32(vec![7, -7])), &["0", "0"]), vector(&["7", "-7"]));
}

#[test]
fn negative_zero_and_the_widest_exponents_are_read_exactly() {
    let model = |data| Model::new(&[1]).constant("w", &[1, 3], data).i64("s", &[1, 1]);
    let run_it = |data| run(model(data).node("Reshape", &["x", "s"], "r").node("MatMul", &["r", "w"], "y"), &["1/3"]);
    let values = [f64::MAX, -0.0, f64::from_bits(1)];
    let third = |v: f64| Rational::from_float(v).unwrap() / Rational::from_integer(3.into());
    assert_eq!(run_it(Data::RawF64(values.to_vec())), values.map(third));
    let values = [f32::MAX, -0.0, f32::from_bits(1)];
    assert_eq!(run_it(Data::RawF32(values.to_vec())), values.map(|v| third(v.into())));
}

#[test]
fn constant_nodes_of_every_form() {
    let with =
        |a: Attribute, x: &[i64]| Model::new(x).node_with("Constant", &[], "c", &[a]).node("Add", &["x", "c"], "y");
    let tensor = Value::Tensor(vec![2], Data::RawF32(vec![1.5, -2.0]));
    assert_eq!(run(with(("value", tensor), &[2]), &["0", "0"]), vector(&["3/2", "-2"]));
    assert_eq!(run(with(("value_float", Value::Float(0.25)), &[2]), &["0", "1"]), vector(&["1/4", "5/4"]));
    assert_eq!(run(with(("value_floats", Value::Floats(vec![0.25, 4.0])), &[2]), &["0", "1"]), vector(&["1/4", "5"]));
    assert_eq!(run(with(("value_int", Value::Int(-3)), &[2]), &["0", "1"]), vector(&["-3", "-2"]));
    assert_eq!(run(with(("value_ints", ints(&[-3, 3])), &[2]), &["0", "1"]), vector(&["-3", "4"]));
    assert_error(with(("value_string", Value::Text("a")), &[2]), Code::OnnxUnsupported);
    assert_error(with(("value_float", Value::Float(f32::NAN)), &[2]), Code::OnnxNotFinite);
    assert_error(Model::new(&[2]).node("Constant", &[], "c").node("Add", &["x", "c"], "y"), Code::OnnxFormat);
}

#[test]
fn rejects_nan_and_infinity_everywhere() {
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        for data in [
            Data::RawF32(vec![bad]),
            Data::TypedF32(vec![bad]),
            Data::RawF64(vec![bad.into()]),
            Data::TypedF64(vec![bad.into()]),
        ] {
            assert_error(Model::new(&[1]).constant("c", &[1], data).node("Add", &["x", "c"], "y"), Code::OnnxNotFinite);
        }
        let w = Model::new(&[1, 1]).f32("w", &[1, 1], &[1.0]);
        assert_error(w.node_with("Gemm", &["x", "w"], "y", &[("alpha", Value::Float(bad))]), Code::OnnxNotFinite);
    }
    for data in [Data::RawF16(vec![0x7c00]), Data::TypedF16(vec![0x7e00])] {
        assert_error(Model::new(&[1]).constant("c", &[1], data).node("Add", &["x", "c"], "y"), Code::OnnxNotFinite);
    }
}

#[test]
fn rejects_data_of_the_wrong_size() {
    for shape in [&[1][..], &[3], &[2, 2]] {
        let model = Model::new(&[2]).constant("c", shape, Data::RawF32(vec![1.0, 2.0]));
        assert_error(model.node("Add", &["x", "c"], "y"), Code::OnnxShape);
    }
    let model = |shape: &[i64]| Model::new(&[2]).constant("c", shape, Data::RawF32(vec![]));
    assert_error(model(&[0]), Code::LimitSize);
    assert_error(model(&[1 << 40, 1 << 40]), Code::LimitSize);
    assert_error(model(&[-1]), Code::OnnxShape);
}

// ---- names, inputs and attributes

#[test]
fn unknown_operator_is_named_with_its_node_and_what_is_supported() {
    let error = assert_error(Model::new(&[2]).node("Softmax", &["x"], "y"), Code::OnnxUnsupported);
    assert!(error.place.contains("`y`") && error.message.contains("Softmax"), "{error}");
    assert!(error.message.contains("Gemm") && error.message.contains("Relu"), "{error}");
}

#[test]
fn rejects_unknown_attributes() {
    for op in ["Relu", "Add", "MatMul", "Identity", "Flatten", "Transpose"] {
        let model = Model::new(&[1, 1]).f32("c", &[1, 1], &[1.0]);
        let operands: &[&str] = if ["Add", "MatMul"].contains(&op) { &["x", "c"] } else { &["x"] };
        assert_error(model.node_with(op, operands, "y", &[("broadcast", Value::Int(1))]), Code::OnnxUnsupported);
    }
}

#[test]
fn rejects_attribute_given_twice_or_of_the_wrong_type() {
    let flatten = |attributes: &[Attribute]| Model::new(&[2]).node_with("Flatten", &["x"], "y", attributes);
    assert_error(flatten(&[("axis", Value::Int(0)), ("axis", Value::Int(1))]), Code::OnnxUnsupported);
    assert_error(flatten(&[("axis", Value::Float(1.0))]), Code::OnnxFormat);
}

#[test]
fn a_symbolic_batch_is_one_and_other_dynamic_dimensions_are_rejected() {
    let model = |dims: &[Dim]| Model::empty().input("x", dims).node("Relu", &["x"], "y");
    let network = read_model(&model(&[Dim::Named("batch"), Dim::Fixed(3)]).output("y").bytes());
    assert_eq!(network.input().shape, [1, 3]);
    assert_error(model(&[Dim::Fixed(1), Dim::Named("n")]), Code::OnnxShape);
    assert_error(model(&[Dim::Named("batch"), Dim::Named("n")]), Code::OnnxShape);
    assert_error(model(&[Dim::Fixed(1), Dim::Fixed(0)]), Code::OnnxShape);
    let mut untyped = Model::empty();
    untyped.graph = untyped.graph.message(11, &Message::default().text(1, "x"));
    assert_error(untyped.node("Relu", &["x"], "y"), Code::OnnxShape);
}

#[test]
fn rejects_any_number_of_inputs_but_one() {
    assert_error(Model::empty(), Code::OnnxUnsupported);
    let two = Model::new(&[2]).input("z", &[Dim::Fixed(2)]).node("Add", &["x", "z"], "y");
    assert_error(two, Code::OnnxUnsupported);
    // An initializer that is listed among the inputs, as old exporters do, is a constant.
    let listed =
        Model::new(&[2]).input("c", &[Dim::Fixed(2)]).f32("c", &[2], &[1.0, 2.0]).node("Add", &["x", "c"], "y");
    assert_eq!(run(listed, &["0", "0"]), vector(&["1", "2"]));
}

#[test]
fn rejects_names_that_are_defined_twice_or_not_at_all() {
    let x = || Model::new(&[2]);
    assert_error(x().node("Relu", &["x"], "y").node("Neg", &["x"], "y"), Code::OnnxFormat);
    assert_error(x().node("Relu", &["x"], "x"), Code::OnnxFormat);
    assert_error(x().f32("c", &[1], &[1.0]).f32("c", &[1], &[1.0]).node("Add", &["x", "c"], "y"), Code::OnnxFormat);
    assert_error(x().f32("y", &[2], &[1.0, 1.0]).node("Add", &["x", "y"], "y"), Code::OnnxFormat);
    assert_error(x().node("Relu", &["z"], "y"), Code::OnnxFormat);
    assert_error(x().node("Relu", &["y"], "y"), Code::OnnxFormat);
    assert_error(x().node("Relu", &["r"], "y").node("Relu", &["x"], "r"), Code::OnnxFormat);
    assert_error(x().node("Relu", &["x"], "z"), Code::OnnxFormat);
    assert_error(x().node("Relu", &["x"], ""), Code::OnnxUnsupported);
}

#[test]
fn rejects_missing_operands() {
    let x = || Model::new(&[1, 1]).f32("c", &[1, 1], &[1.0]);
    for (op, operands) in [
        ("Relu", &[][..]),
        ("Add", &["x"]),
        ("Add", &["", "x"]),
        ("Neg", &[""]),
        ("MatMul", &["x"]),
        ("Gemm", &["x"]),
        ("Dropout", &[]),
    ] {
        assert_error(x().node(op, operands, "y"), Code::OnnxFormat);
    }
    assert_error(x().node("Reshape", &["x"], "y"), Code::OnnxShape);
}

#[test]
fn rejects_operands_that_the_operator_does_not_have() {
    let x = || Model::new(&[1, 1]).f32("c", &[1, 1], &[1.0]);
    for (op, operands) in [
        ("Relu", &["x", "x"][..]),
        ("Sub", &["x", "c", "c"]),
        ("Transpose", &["x", "c"]),
        ("MatMul", &["x", "c", "c"]),
        ("Gemm", &["x", "c", "c", "c"]),
        ("Flatten", &["x", "c"]),
    ] {
        assert_error(x().node(op, operands, "y"), Code::OnnxUnsupported);
    }
}

#[test]
fn rejects_operators_of_another_domain() {
    let mut model = Model::new(&[2]);
    let node = Message::default().text(1, "x").text(2, "y").text(4, "Relu").text(7, "com.example");
    model.graph = model.graph.message(1, &node);
    let error = assert_error(model, Code::OnnxUnsupported);
    assert!(error.message.contains("com.example"), "{error}");
}

#[test]
fn rejects_operator_sets_outside_the_supported_range() {
    for opset in [-1, 0, 6, 26, i64::MAX] {
        assert_error(Model::new(&[2]).opset(opset).node("Relu", &["x"], "y"), Code::OnnxUnsupported);
    }
    for opset in [7, 25] {
        assert_eq!(run(Model::new(&[1]).opset(opset).node("Relu", &["x"], "y"), &["2"]), vector(&["2"]));
    }
}

#[test]
fn rejects_output_that_does_not_depend_on_the_input() {
    assert_error(Model::new(&[2]).f32("y", &[1], &[1.0]), Code::OnnxUnsupported);
}

// ---- protobuf

fn graph_with_tensor(tensor: Message) -> Model {
    let mut model = Model::new(&[1]);
    model.graph = model.graph.message(5, &tensor);
    model.node("Add", &["x", "c"], "y")
}

#[test]
fn rejects_external_data() {
    let entry = Message::default().text(1, "location").text(2, "weights.bin");
    let tensor = |m: Message| {
        graph_with_tensor(Message(tensor("c", &[1], &Data::RawF32(vec![1.0])).0.into_iter().chain(m.0).collect()))
    };
    let error = assert_error(tensor(Message::default().message(13, &entry)), Code::OnnxUnsupported);
    assert!(error.message.contains("external"), "{error}");
    assert_error(tensor(Message::default().int(14, 1)), Code::OnnxUnsupported);
    assert_eq!(run(tensor(Message::default().int(14, 0)), &["1"]), vector(&["2"]));
}

#[test]
fn rejects_singular_fields_that_occur_twice() {
    let doubled = |data: Data, extra: Message| {
        graph_with_tensor(Message(tensor("c", &[1], &data).0.into_iter().chain(extra.0).collect()))
    };
    assert_error(doubled(Data::RawF32(vec![1.0]), Message::default().int(2, 1)), Code::OnnxFormat);
    assert_error(doubled(Data::RawF32(vec![1.0]), Message::default().bytes(9, &2_f32.to_le_bytes())), Code::OnnxFormat);

    let one = Model::new(&[1]).node("Relu", &["x"], "y").output("y");
    let two_graphs = Message(one.bytes()).message(7, &one.graph).0;
    assert_eq!(support::code(read(&two_graphs)), Code::OnnxFormat);
    let opset = Message::default().int(2, 13);
    assert_eq!(support::code(read(&Message(one.bytes()).message(8, &opset).0)), Code::OnnxFormat);
    let value = Message::default().text(1, "axis").int(3, 0).int(3, 1).int(20, 2);
    let node = Message::default().text(1, "x").text(2, "y").text(4, "Flatten").message(5, &value);
    let mut model = Model::new(&[1]);
    model.graph = model.graph.message(1, &node);
    assert_error(model, Code::OnnxFormat);
}

/// Readers differ about which of two places holds the data.
#[test]
fn rejects_data_in_two_places_or_in_the_place_of_another_type() {
    let raw = tensor("c", &[1], &Data::RawF32(vec![1.0]));
    let both = raw.bytes(4, &2_f32.to_le_bytes());
    assert_error(graph_with_tensor(both), Code::OnnxFormat);
    let misplaced = Message::default().int(1, 1).int(2, 1).packed_ints(7, &[1]).text(8, "c");
    assert_error(graph_with_tensor(misplaced), Code::OnnxFormat);
}

/// Readers differ about them: some cut them to the type.
#[test]
fn rejects_integers_that_their_type_does_not_hold() {
    let stored = |kind: i64, value: i64| {
        graph_with_tensor(Message::default().int(1, 1).int(2, kind).packed_ints(5, &[value]).text(8, "c"))
    };
    for (kind, good, bad) in [
        (2, [0, 255], [-1, 256]),
        (3, [-128, 127], [-129, 128]),
        (6, [i32::MIN.into(), i32::MAX.into()], [i64::from(i32::MIN) - 1, 1 << 31]),
        (10, [0, 0x8000], [-1, 1 << 16]),
    ] {
        good.into_iter().for_each(|value| assert_eq!(run(stored(kind, value), &["0"]).len(), 1));
        bad.into_iter().for_each(|value| drop(assert_error(stored(kind, value), Code::OnnxFormat)));
    }
}

#[test]
fn rejects_a_graph_without_outputs_and_more_outputs_of_a_node_than_it_has() {
    let none = Model::new(&[1]).node("Relu", &["x"], "y");
    assert_eq!(support::code(read(&none.bytes())), Code::OnnxFormat);
    let dropout = |outputs: &[&str]| {
        let node =
            outputs.iter().fold(Message::default().text(1, "x").text(4, "Dropout"), |node, out| node.text(2, out));
        let mut model = Model::new(&[1]);
        model.graph = model.graph.message(1, &node);
        model.output("y")
    };
    assert!(read(&dropout(&["y", "mask"]).bytes()).is_ok());
    assert_eq!(support::code(read(&dropout(&["y", "mask", "more"]).bytes())), Code::OnnxUnsupported);
}

#[test]
fn rejects_an_attribute_of_no_stated_type_with_two_values() {
    let value = Message::default().text(1, "axis").int(3, 0).int(8, 1);
    let node = Message::default().text(1, "x").text(2, "y").text(4, "Flatten").message(5, &value);
    let mut model = Model::new(&[1]);
    model.graph = model.graph.message(1, &node);
    assert_error(model, Code::OnnxFormat);
}

#[test]
fn rejects_attribute_whose_value_is_not_of_its_stated_type() {
    let attribute = Message::default().text(1, "axis").int(3, 0).int(8, 1).int(20, 7);
    let node = Message::default().text(1, "x").text(2, "y").text(4, "Flatten").message(5, &attribute);
    let mut model = Model::new(&[1]);
    model.graph = model.graph.message(1, &node);
    assert_error(model, Code::OnnxFormat);
}

#[test]
fn rejects_fields_that_could_change_the_meaning() {
    let base = || Model::new(&[1]).node("Relu", &["x"], "y").output("y");
    let mut sparse = base();
    sparse.graph = sparse.graph.message(15, &Message::default());
    assert_eq!(support::code(read(&sparse.bytes())), Code::OnnxUnsupported);
    let functions = Message(base().bytes()).message(25, &Message::default()).0;
    assert_eq!(support::code(read(&functions)), Code::OnnxUnsupported);
}

#[test]
fn accepts_packed_and_unpacked_repeated_fields() {
    let packed = Message::default().packed_ints(1, &[2]).int(2, 7).packed_ints(7, &[3, 4]).text(8, "c");
    let unpacked = Message::default().int(1, 2).int(2, 7).int(7, 3).int(7, 4).text(8, "c");
    for c in [packed, unpacked] {
        assert_eq!(run(graph_with_tensor(c), &["1"]), vector(&["4", "5"]));
    }
}

#[test]
fn rejects_bytes_that_are_no_model() {
    for bytes in [&b""[..], b"not a model", &[0xff; 64], &[0x0a]] {
        assert_eq!(support::code(read(bytes)), Code::OnnxFormat);
    }
    // A zip archive starts with what looks like a field that no model has.
    assert_eq!(support::code(read(b"PK\x03\x04")), Code::OnnxUnsupported);
    let no_opset = Message::default().message(7, &Model::new(&[1]).graph).0;
    assert_eq!(support::code(read(&no_opset)), Code::OnnxFormat);
    // A value info alone is a readable message of another kind.
    assert!(read(&value_info("x", &[]).0).is_err());
}

fn digits() -> Vec<u8> {
    std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/../models/digits-mlp.onnx")).unwrap()
}

/// A model with an operator of every kind.
fn many_operators() -> Vec<u8> {
    Model::new(&[1, 2])
        .f32("w", &[2, 2], &[1.0, 2.0, 3.0, 4.0])
        .f32("b", &[2], &[1.0, -1.0])
        .i64("s", &[2, -1])
        .node_with("Gemm", &["x", "w", "b"], "a", &[("alpha", Value::Float(0.5)), ("transB", Value::Int(1))])
        .node("Relu", &["a"], "r")
        .node("Reshape", &["r", "s"], "t")
        .node_with("Transpose", &["t"], "u", &[("perm", ints(&[1, 0]))])
        .node_with("Constant", &[], "c", &[("value_floats", Value::Floats(vec![1.0, 3.0]))])
        .node("Div", &["u", "c"], "y")
        .output("y")
        .bytes()
}

#[test]
fn truncated_models_are_errors_at_every_length() {
    let bytes = many_operators();
    let network = read_model(&bytes);
    assert_eq!(evaluate(&network, &["1", "1"]), vector(&["5/2", "5/6"]));
    // The operator set comes last, so that no shorter file is complete.
    for length in 0..bytes.len() {
        assert!(read(&bytes[..length]).is_err(), "the first {length} bytes were read");
    }
    let digits = digits();
    for length in (0..digits.len()).step_by(digits.len() / 150) {
        assert!(read(&digits[..length]).is_err(), "the first {length} bytes were read");
    }
}

proptest! {
    #![proptest_config(Runner { cases: 512, failure_persistence: None, ..Runner::default() })]

    #[test]
    fn mutated_models_never_panic(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)) {
        let mut bytes = many_operators();
        for (index, value) in changes {
            let position = index.index(bytes.len());
            bytes[position] = value;
        }
        if let Ok(network) = read(&bytes) {
            network.evaluate(&Exact::zeros(network.input().elements()));
        }
    }

    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = read(&bytes);
    }
}

proptest! {
    #![proptest_config(Runner { cases: 48, failure_persistence: None, ..Runner::default() })]

    /// Structure is near the ends of the file and between the weights: mutate there as well as anywhere.
    #[test]
    fn the_mutated_digits_model_never_panics(
        changes in prop::collection::vec((any::<prop::sample::Index>(), 0..3_usize, any::<u8>()), 1..4),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let mut bytes = digits();
        for (index, place, value) in changes {
            let near = bytes.len().min(400);
            let position = match place {
                0 => index.index(near),
                1 => bytes.len() - 1 - index.index(near),
                _ => index.index(bytes.len()),
            };
            bytes[position] = value;
        }
        bytes.truncate(cut.map_or(bytes.len(), |c| c.index(bytes.len())));
        let _ = read(&bytes);
    }
}

// ---- what readers take in different ways

#[test]
fn rejects_a_dimension_with_both_a_size_and_a_name_or_a_size_of_zero() {
    for dim in [
        Message::default().text(2, "N").int(1, 3),
        Message::default().int(1, 3).text(2, "N"),
        Message::default().int(1, 0),
        Message::default().int(1, -1),
    ] {
        let tensor = Message::default().int(1, 1).message(2, &Message::default().message(1, &dim));
        let info = Message::default().text(1, "x").message(2, &Message::default().message(1, &tensor));
        let mut model = Model::empty();
        model.graph = model.graph.message(11, &info);
        assert_error(model.node("Relu", &["x"], "y"), Code::OnnxShape);
    }
}

#[test]
fn rejects_an_initializer_or_input_without_a_name() {
    let named_nothing = Model::new(&[1, 2]).f32("w", &[2, 1], &[1.0, 1.0]).f32("", &[1], &[-3.0]);
    assert_error(named_nothing.node("Gemm", &["x", "w", ""], "y"), Code::OnnxFormat);
    assert_error(Model::empty().input("", &[Dim::Fixed(1)]).f32("w", &[1], &[1.0]), Code::OnnxFormat);
}

#[test]
fn rejects_an_attribute_type_that_does_not_exist() {
    for kind in [i64::MAX, i64::MIN, 99] {
        let attribute = Message::default().text(1, "axis").int(3, 1).int(20, kind);
        let node = Message::default().text(1, "x").text(2, "y").text(4, "Flatten").message(5, &attribute);
        let mut model = Model::new(&[1, 2]);
        model.graph = model.graph.message(1, &node);
        assert_error(model, Code::OnnxFormat);
    }
}

#[test]
fn rejects_negative_axes_before_operator_set_11() {
    for op in ["Squeeze", "Unsqueeze"] {
        let model = Model::new(&[2, 1]).opset(10).node_with(op, &["x"], "y", &[("axes", ints(&[-1]))]);
        assert_error(model, Code::OnnxUnsupported);
    }
    let flatten = Model::new(&[2, 1]).opset(10).node_with("Flatten", &["x"], "y", &[("axis", Value::Int(-1))]);
    assert_error(flatten, Code::OnnxUnsupported);
}

#[test]
fn rejects_names_that_would_not_print_as_they_are() {
    for name in ["y\nVERIFIED", "y\u{1b}[2J", "y`", "y\u{202e}"] {
        let code = support::code(read(&Model::new(&[1]).node("Relu", &["x"], name).output(name).bytes()));
        assert_eq!(code, Code::OnnxFormat);
    }
}

#[test]
fn rejects_shapes_of_very_many_axes() {
    let axes: Vec<i64> = (0..70).collect();
    let code =
        support::code(read(&Model::new(&[1]).i64("a", &axes).node("Unsqueeze", &["x", "a"], "y").output("y").bytes()));
    assert!(matches!(code, Code::OnnxShape | Code::LimitSize), "{code:?}");
}

#[test]
fn rejects_activations_that_together_are_too_large() {
    let mut model = Model::new(&[1 << 20]);
    let names: Vec<String> = (0..20).map(|i| format!("r{i}")).collect();
    for (i, name) in names.iter().enumerate() {
        model = model.node("Relu", &[if i == 0 { "x" } else { &names[i - 1] }], name);
    }
    assert_error(model.node("Relu", &["x"], "y"), Code::LimitSize);
}
