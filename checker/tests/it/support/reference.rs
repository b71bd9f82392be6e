//! Random networks together with a plain interpreter of them in rationals. The interpreter shares no code with the
//! checker: every step of a network is written twice, once as an ONNX node and once as a closure on rationals.

use super::onnx::{Data, Model, Value};
use super::tape::Tape;
use super::{int, ratio};
use num::{Signed, Zero};
use scalecheck::number::Rational;
use std::rc::Rc;

type Vector = Vec<Rational>;
/// From the values of all earlier tensors, and those of the step's own constants.
type Function = dyn Fn(&[Vector], &[Vector]) -> Vector;

#[derive(Clone)]
pub enum Step {
    Relu(usize),
    Map(Rc<Function>),
}

/// A stored constant that a perturbation of the weights may change: the matrix of a product, or what is added to every
/// element of a tensor.
#[derive(Clone)]
pub struct Constant {
    pub name: String,
    /// As stored; a matrix by rows of the product, whatever the order in the file.
    pub values: Vector,
    /// False if the tensor falls when the constant rises: a positive variable of the perturbation lets the tensor rise.
    pub rises: bool,
}

/// A network as ONNX and as steps. Tensor 0 is the input; step k computes tensor k + 1.
#[derive(Clone)]
pub struct Net {
    pub model: Model,
    pub names: Vec<String>,
    pub shapes: Vec<Vec<i64>>,
    pub steps: Vec<Step>,
    /// Of every tensor.
    pub constants: Vec<Vec<Constant>>,
    /// True if some constant is broadcast or a factor, which no perturbation may change.
    pub fixed: bool,
}

impl std::fmt::Debug for Net {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.names.iter().zip(&self.shapes)).finish()
    }
}

/// How large and how wild a random network may be.
#[derive(Clone, Copy)]
pub struct Size {
    pub inputs: usize,
    pub steps: usize,
    /// Most ReLU neurons.
    pub relus: usize,
    /// Subnormal, huge and non-dyadic numbers, or only small dyadic ones.
    pub wild: bool,
}

impl Net {
    pub fn len(&self, t: usize) -> usize {
        self.shapes[t].iter().product::<i64>() as usize
    }

    pub fn output(&self) -> usize {
        self.steps.len()
    }

    /// Number of ReLU neurons.
    pub fn relus(&self) -> usize {
        self.steps.iter().map(|s| if let Step::Relu(from) = s { self.len(*from) } else { 0 }).sum()
    }

    /// Changes of no constant, for [`Net::evaluate`].
    pub fn unchanged(&self) -> Vec<Vec<Vector>> {
        let zeros = |constant: &Constant| vec![Rational::zero(); constant.values.len()];
        self.constants.iter().map(|constants| constants.iter().map(zeros).collect()).collect()
    }

    /// Every tensor's value at `x`, with `delta[t]` added to tensor t, and `changes[t]` to the constants of tensor t. With
    /// `phases`, ReLU neuron k is the identity if `phases[k]` and zero otherwise.
    pub fn evaluate(
        &self,
        x: &[Rational],
        delta: &[Vector],
        changes: &[Vec<Vector>],
        phases: Option<&[bool]>,
    ) -> Vec<Vector> {
        let mut values: Vec<Vector> = Vec::new();
        let mut neuron = 0;
        for (t, added) in delta.iter().enumerate() {
            let mut value = match t.checked_sub(1).map(|k| &self.steps[k]) {
                None => x.to_vec(),
                Some(Step::Map(f)) => {
                    let changed = |(constant, change): (&Constant, &Vector)| {
                        constant.values.iter().zip(change).map(|(c, d)| c + d).collect::<Vector>()
                    };
                    f(&values, &self.constants[t].iter().zip(&changes[t]).map(changed).collect::<Vec<_>>())
                }
                Some(Step::Relu(from)) => {
                    let positive = |v: &Rational, k: usize| phases.map_or(v.is_positive(), |p| p[k]);
                    let relu = |(k, v): (usize, &Rational)| {
                        if positive(v, neuron + k) { v.clone() } else { Rational::zero() }
                    };
                    let value: Vector = values[*from].iter().enumerate().map(relu).collect();
                    neuron += value.len();
                    value
                }
            };
            assert_eq!(value.len(), self.len(t), "tensor {}", self.names[t]);
            value.iter_mut().zip(added).for_each(|(v, d)| *v += d);
            values.push(value);
        }
        values
    }

    fn push(&mut self, name: String, shape: Vec<i64>, step: Step) {
        self.names.push(name);
        self.shapes.push(shape);
        self.steps.push(step);
        self.constants.push(vec![]);
    }

    fn map(&mut self, name: String, shape: Vec<i64>, f: impl Fn(&[Vector]) -> Vector + 'static) {
        self.map_with(name, shape, vec![], move |v, _| f(v));
    }

    /// A step with constants that can be perturbed: name, values, and whether the tensor rises with them.
    fn map_with(
        &mut self,
        name: String,
        shape: Vec<i64>,
        constants: Vec<(String, Vector, bool)>,
        f: impl Fn(&[Vector], &[Vector]) -> Vector + 'static,
    ) {
        self.push(name, shape, Step::Map(Rc::new(f)));
        let constant = |(name, values, rises)| Constant { name, values, rises };
        *self.constants.last_mut().expect("a step was pushed") = constants.into_iter().map(constant).collect();
    }
}

/// Numbers as they are stored, and the data that stores them.
fn numbers(tape: &mut Tape, n: usize, wild: bool) -> (Vector, Data) {
    let kind = tape.below(4);
    let wide = kind >= 2;
    let mut number = || -> f64 {
        match tape.below(if wild { 8 } else { 4 }) {
            0..=2 => tape.around(8) as f64 / 4.0,
            3 => tape.around(8) as f64,
            4 => tape.around(1000) as f64 / 512.0,
            5 if wide && tape.one_in(4) => f64::from_bits(1 + tape.below(1 << 20) as u64),
            5 => f32::from_bits(1 + tape.below(1 << 20) as u32).into(),
            6 => tape.around(5) as f64 * 2_f64.powi(tape.around(40) as i32),
            _ if wide => tape.around(1 << 30) as f64 / 1e9,
            _ => (tape.around(1 << 30) as f32 / 1e9).into(),
        }
    };
    let stored: Vec<f64> = (0..n).map(|_| number()).collect();
    let exact = stored.iter().map(|&v| Rational::from_float(v).unwrap_or_default()).collect();
    let single = || stored.iter().map(|&v| v as f32).collect();
    let data = match kind {
        0 => Data::RawF32(single()),
        1 => Data::TypedF32(single()),
        2 => Data::RawF64(stored),
        _ => Data::TypedF64(stored),
    };
    (exact, data)
}

/// A random network. Every step uses the tensor before it, so that the output depends on all of them.
pub fn random_net(tape: &mut Tape, size: Size) -> Net {
    let inputs = 1 + (tape.below(2 * size.inputs) + 1).min(size.inputs - 1);
    let mut net = Net {
        model: Model::new(&[1, inputs as i64]),
        names: vec!["x".into()],
        shapes: vec![vec![1, inputs as i64]],
        steps: vec![],
        constants: vec![vec![]],
        fixed: false,
    };
    dense(tape, &mut net, size.wild);
    for _ in 0..1 + tape.below(size.steps) {
        step(tape, &mut net, size);
    }
    dense(tape, &mut net, size.wild);
    net.model = net.model.clone().output(&net.names[net.output()]);
    net
}

fn step(tape: &mut Tape, net: &mut Net, size: Size) {
    let last = net.output();
    let (name, from, n) = (format!("t{}", last + 1), net.names[last].clone(), net.len(last));
    let shape = net.shapes[last].clone();
    match tape.below(13) {
        0..=3 if net.relus() + n <= size.relus => {
            net.model = net.model.clone().node("Relu", &[&from], &name);
            net.push(name, shape, Step::Relu(last));
        }
        0..=4 => dense(tape, net, size.wild),
        5 => elementwise(tape, net, size.wild),
        6 => residual(tape, net),
        7 => {
            net.model = net.model.clone().node("Neg", &[&from], &name);
            net.map(name, shape, move |v| v[last].iter().map(|x| -x).collect());
        }
        8 => transposed(net),
        10 | 11 => image(tape, net, size.wild),
        12 if size.wild => bent(tape, net),
        12 => image(tape, net, false),
        _ => grown(tape, net),
    }
}

/// Brings the last tensor to the shape [1, n].
fn flat(net: &mut Net) {
    let last = net.output();
    if net.shapes[last].len() == 2 && net.shapes[last][0] == 1 {
        return;
    }
    let (name, from, n) = (format!("t{}", last + 1), net.names[last].clone(), net.len(last));
    let target = format!("{name}.shape");
    net.model = net.model.clone().i64(&target, &[1, -1]).node("Reshape", &[&from, &target], &name);
    net.map(name, vec![1, n as i64], move |v| v[last].clone());
}

/// A matrix product with a constant: Gemm, or MatMul on either side.
fn dense(tape: &mut Tape, net: &mut Net, wild: bool) {
    flat(net);
    let (n, rows) = (net.len(net.output()), 1 + (1 + tape.below(4)) % 4);
    let (weights, data) = numbers(tape, rows * n, wild);
    // The matrix by rows, which are stored as rows or as columns.
    let by_row = |stored_by_row: bool| -> Vector {
        let at = |r, c| if stored_by_row { r * n + c } else { c * rows + r };
        (0..rows * n).map(|i| weights[at(i / n, i % n)].clone()).collect()
    };
    let product = move |w: &Vector, x: &Vector| -> Vector {
        (0..rows).map(|r| (0..n).map(|c| &w[r * n + c] * &x[c]).sum()).collect()
    };
    let (r, k) = (rows as i64, n as i64);
    match tape.below(3) {
        0 => {
            let last = net.output();
            let (name, from) = (format!("t{}", last + 1), net.names[last].clone());
            let (bias, bias_data) = numbers(tape, rows, wild);
            let [alpha, beta] = [(); 2].map(|()| *tape.pick(&[(1, 1), (1, 2), (-3, 1)]));
            let by_rows = tape.one_in(2);
            let (w, b) = (format!("{name}.w"), format!("{name}.b"));
            let factor = |(top, bottom): (i64, i64)| Value::Float(top as f32 / bottom as f32);
            let attributes = [("alpha", factor(alpha)), ("beta", factor(beta)), ("transB", Value::Int(by_rows.into()))];
            let dims = if by_rows { [r, k] } else { [k, r] };
            net.model = net.model.clone().constant(&w, &dims, data).constant(&b, &[r], bias_data).node_with(
                "Gemm",
                &[&from, &w, &b],
                &name,
                &attributes,
            );
            let (alpha, beta) = (ratio(alpha.0, alpha.1), ratio(beta.0, beta.1));
            let constants = vec![(w, by_row(by_rows), true), (b, bias, beta.is_positive())];
            net.map_with(name, vec![1, r], constants, move |v, c| {
                product(&c[0], &v[last]).iter().zip(&c[1]).map(|(y, b)| &alpha * y + &beta * b).collect()
            });
        }
        1 => {
            let last = net.output();
            let (name, from) = (format!("t{}", last + 1), net.names[last].clone());
            let w = format!("{name}.w");
            net.model = net.model.clone().constant(&w, &[k, r], data).node("MatMul", &[&from, &w], &name);
            net.map_with(name, vec![1, r], vec![(w, by_row(false), true)], move |v, c| product(&c[0], &v[last]));
        }
        _ => {
            transposed(net);
            let last = net.output();
            let (name, from) = (format!("t{}", last + 1), net.names[last].clone());
            let w = format!("{name}.w");
            net.model = net.model.clone().constant(&w, &[r, k], data).node("MatMul", &[&w, &from], &name);
            net.map_with(name, vec![r, 1], vec![(w, by_row(true), true)], move |v, c| product(&c[0], &v[last]));
        }
    }
}

/// Add, Sub, Mul or Div with a constant that has the tensor's last axis or is a scalar.
fn elementwise(tape: &mut Tape, net: &mut Net, wild: bool) {
    let last = net.output();
    let (name, from) = (format!("t{}", last + 1), net.names[last].clone());
    let shape = net.shapes[last].clone();
    let width = shape.last().map_or(1, |&d| d as usize);
    let (len, dims) = if tape.one_in(2) { (1, vec![]) } else { (width, vec![width as i64]) };
    let (mut values, mut data) = numbers(tape, len, wild);
    let constant = format!("{name}.c");
    let (op, constant_first) = *tape.pick(&[
        ("Add", false),
        ("Add", true),
        ("Sub", false),
        ("Sub", true),
        ("Mul", false),
        ("Mul", true),
        ("Div", false),
    ]);
    if op == "Div" {
        let divisors: Vec<i64> =
            (0..len).map(|_| *tape.pick(if wild { &[3, -7, 10, 49] } else { &[2, 4, -2, 1] })).collect();
        values = divisors.iter().map(|&d| int(d)).collect();
        data = Data::RawF32(divisors.iter().map(|&d| d as f32).collect());
    }
    let operands = if constant_first { [constant.as_str(), &from] } else { [from.as_str(), &constant] };
    net.model = net.model.clone().constant(&constant, &dims, data).node(op, &operands, &name);
    // A constant that is broadcast is no parameter.
    let added = ["Add", "Sub"].contains(&op) && len == net.len(last);
    net.fixed |= !added;
    let constants = if added { vec![(constant, values.clone(), op == "Add" || constant_first)] } else { vec![] };
    net.map_with(name, shape, constants, move |v, constants| {
        let values = constants.first().unwrap_or(&values);
        let combine = |(i, x): (usize, &Rational)| {
            let c = &values[i % len];
            match (op, constant_first) {
                ("Add", _) => x + c,
                ("Sub", false) => x - c,
                ("Sub", true) => c - x,
                ("Mul", _) => x * c,
                _ => x / c,
            }
        };
        v[last].iter().enumerate().map(combine).collect()
    });
}

/// The sum or difference of the last tensor and an earlier one, which may be the same one.
fn residual(tape: &mut Tape, net: &mut Net) {
    let last = net.output();
    let same: Vec<usize> = (0..=last).filter(|&t| net.shapes[t] == net.shapes[last]).collect();
    let other = *tape.pick(&same);
    let minus = tape.one_in(2) && other != last;
    let name = format!("t{}", last + 1);
    let operands = [net.names[last].clone(), net.names[other].clone()];
    let op = if minus { "Sub" } else { "Add" };
    net.model = net.model.clone().node(op, &[&operands[0], &operands[1]], &name);
    net.map(name, net.shapes[last].clone(), move |v| {
        v[last].iter().zip(&v[other]).map(|(a, b)| if minus { a - b } else { a + b }).collect()
    });
}

/// Swaps the two axes.
fn transposed(net: &mut Net) {
    let last = net.output();
    let (name, from) = (format!("t{}", last + 1), net.names[last].clone());
    let [rows, cols] = net.shapes[last][..] else { unreachable!("all tensors have two axes") };
    net.model = net.model.clone().node("Transpose", &[&from], &name);
    net.map(name, vec![cols, rows], move |v| {
        let (rows, cols) = (rows as usize, cols as usize);
        (0..rows * cols).map(|i| v[last][i % rows * cols + i / rows].clone()).collect()
    });
}

/// Multiplies by a column of two numbers, so that a row is broadcast to two rows.
fn grown(tape: &mut Tape, net: &mut Net) {
    flat(net);
    let last = net.output();
    let (name, from, n) = (format!("t{}", last + 1), net.names[last].clone(), net.len(last));
    if n > 3 {
        return;
    }
    let factors = [1 + tape.below(4) as i64, tape.around(4)];
    let constant = format!("{name}.c");
    net.fixed = true;
    let values: Vec<f32> = factors.iter().map(|&f| f as f32 / 2.0).collect();
    net.model = net.model.clone().f32(&constant, &[2, 1], &values).node("Mul", &[&constant, &from], &name);
    net.map(name, vec![2, n as i64], move |v| (0..2 * n).map(|i| &v[last][i % n] * ratio(factors[i / n], 2)).collect());
}

/// Sees the last tensor as an image, slides windows over it, and brings the result back to a row. Pools have kinks that
/// are not neurons of the network, so they are only for wild networks.
fn image(tape: &mut Tape, net: &mut Net, wild: bool) {
    let (n, mut shapes) = (net.len(net.output()), vec![]);
    for channels in (1..=n).filter(|c| n.is_multiple_of(*c)) {
        let area = n / channels;
        shapes.extend((1..=area).filter(|h| area.is_multiple_of(*h)).map(|h| [channels, h, area / h]));
    }
    let [channels, height, width] = *tape.pick(&shapes);
    reshaped(net, vec![1, channels as i64, height as i64, width as i64]);
    let last = net.output();
    let (name, from) = (format!("t{}", last + 1), net.names[last].clone());
    let kernel = [height, width].map(|size| 1 + tape.below(size.min(3)));
    let stride = [1 + tape.below(2), 1 + tape.below(2)];
    let pad: [usize; 4] = [0, 1, 0, 1].map(|axis| tape.below(kernel[axis].min(2)));
    let out = [0, 1].map(|axis| ([height, width][axis] + pad[axis] + pad[axis + 2] - kernel[axis]) / stride[axis] + 1);
    let ints = |v: &[usize]| Value::Ints(v.iter().map(|&n| n as i64).collect());
    let mut attributes = vec![("kernel_shape", ints(&kernel)), ("strides", ints(&stride)), ("pads", ints(&pad))];
    // For each output pixel, its taps and the pixels that they meet.
    let meet = move |o: usize| -> Vec<(usize, usize)> {
        let (oy, ox) = (o / out[1], o % out[1]);
        let mut found = vec![];
        for k in 0..kernel[0] * kernel[1] {
            let (y, x) = (oy * stride[0] + k / kernel[1], ox * stride[1] + k % kernel[1]);
            if (pad[0]..pad[0] + height).contains(&y) && (pad[1]..pad[1] + width).contains(&x) {
                found.push((k, (y - pad[0]) * width + x - pad[1]));
            }
        }
        found
    };
    let (area, pixels, taps) = (height * width, out[0] * out[1], kernel[0] * kernel[1]);
    let shape = |channels: usize| vec![1, channels as i64, out[0] as i64, out[1] as i64];
    match if wild { tape.below(4) } else { 0 } {
        2 => {
            net.model = net.model.clone().node_with("MaxPool", &[&from], &name, &attributes);
            net.map(name, shape(channels), move |v| {
                let largest = |i: usize| {
                    let window = meet(i % pixels).into_iter().map(|(_, p)| &v[last][i / pixels * area + p]);
                    window.max().expect("pads are smaller than windows").clone()
                };
                (0..channels * pixels).map(largest).collect()
            });
        }
        3 => {
            let include = tape.one_in(2);
            attributes.push(("count_include_pad", Value::Int(include.into())));
            net.model = net.model.clone().node_with("AveragePool", &[&from], &name, &attributes);
            net.map(name, shape(channels), move |v| {
                let mean = |i: usize| {
                    let window = meet(i % pixels);
                    let count = if include { taps } else { window.len() };
                    let sum: Rational = window.iter().map(|(_, p)| &v[last][i / pixels * area + p]).sum();
                    sum / int(count as i64)
                };
                (0..channels * pixels).map(mean).collect()
            });
        }
        _ => {
            let groups = if tape.one_in(3) { channels } else { 1 };
            let (inner, outer) = (channels / groups, groups * (1 + tape.below(2)));
            let (w, b) = (format!("{name}.w"), format!("{name}.b"));
            let (values, data) = numbers(tape, outer * inner * taps, wild);
            let (bias, bias_data) = numbers(tape, outer, wild);
            attributes.push(("group", Value::Int(groups as i64)));
            let dims = [outer, inner, kernel[0], kernel[1]].map(|n| n as i64);
            net.model = net.model.clone().constant(&w, &dims, data).constant(&b, &[outer as i64], bias_data).node_with(
                "Conv",
                &[&from, &w, &b],
                &name,
                &attributes,
            );
            // A bias that is broadcast is no parameter.
            let mut constants = vec![(w, values, true)];
            if pixels == 1 {
                constants.push((b, bias.clone(), true));
            }
            net.fixed |= pixels != 1;
            net.map_with(name, shape(outer), constants, move |v, constants| {
                let bias = constants.get(1).unwrap_or(&bias);
                let value = |i: usize| {
                    let m = i / pixels;
                    let mut sum = bias[m].clone();
                    for c in 0..inner {
                        let plane = (m / (outer / groups) * inner + c) * area;
                        for (k, p) in meet(i % pixels) {
                            sum += &constants[0][(m * inner + c) * taps + k] * &v[last][plane + p];
                        }
                    }
                    sum
                };
                (0..outer * pixels).map(value).collect()
            });
        }
    }
    let n = net.len(net.output()) as i64;
    reshaped(net, vec![1, n]);
}

/// The last tensor in another shape.
fn reshaped(net: &mut Net, shape: Vec<i64>) {
    let last = net.output();
    let (name, from) = (format!("t{}", last + 1), net.names[last].clone());
    let constant = format!("{name}.s");
    net.model = net.model.clone().i64(&constant, &shape).node("Reshape", &[&from, &constant], &name);
    net.map(name, shape, move |v| v[last].clone());
}

/// An operator that bends without being a ReLU.
fn bent(tape: &mut Tape, net: &mut Net) {
    let last = net.output();
    let (name, from, shape) = (format!("t{}", last + 1), net.names[last].clone(), net.shapes[last].clone());
    if net.len(last) > 4 {
        return;
    }
    let model = net.model.clone();
    let same: Vec<usize> = (0..=last).filter(|&t| net.shapes[t] == shape).collect();
    let other = *tape.pick(&same);
    match tape.below(4) {
        0 => {
            let slope = *tape.pick(&[0.5_f32, -0.25, 2.0, 0.1]);
            net.model = model.node_with("LeakyRelu", &[&from], &name, &[("alpha", Value::Float(slope))]);
            let slope = Rational::from_float(slope).expect("finite");
            let leak = move |x: &Rational| if x.is_negative() { x * &slope } else { x.clone() };
            net.map(name, shape, move |v| v[last].iter().map(&leak).collect());
        }
        1 => {
            net.model = model.node("Abs", &[&from], &name);
            net.map(name, shape, move |v| v[last].iter().map(Signed::abs).collect());
        }
        2 => {
            let (low, high) = (tape.around(4), 5 + tape.below(4) as i64);
            let (l, h) = (format!("{name}.l"), format!("{name}.h"));
            net.model = model.f32(&l, &[], &[low as f32 / 4.0]).f32(&h, &[], &[high as f32 / 4.0]);
            net.model = net.model.clone().node("Clip", &[&from, &l, &h], &name);
            net.fixed = true;
            let cut = move |x: &Rational| x.clone().max(ratio(low, 4)).min(ratio(high, 4));
            net.map(name, shape, move |v| v[last].iter().map(cut).collect());
        }
        _ => {
            let largest = tape.one_in(2);
            net.model = model.node(if largest { "Max" } else { "Min" }, &[&from, &net.names[other]], &name);
            net.map(name, shape, move |v| {
                let pair = |(a, b): (&Rational, &Rational)| if (a > b) == largest { a.clone() } else { b.clone() };
                v[last].iter().zip(&v[other]).map(pair).collect()
            });
        }
    }
}
