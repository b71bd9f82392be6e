//! The exact arithmetic against floating point, and how cost grows with a network. One run: quote the ratios, not the
//! times. The checker walks large trees with several threads; the prover uses all cores.
//!
//! An exact multiply–accumulate is a 64 × 64 → 128 bit product and a 128-bit sum; at most six times an f64 one is wanted.

#[path = "../checker/tests/it/support/onnx.rs"]
#[allow(dead_code)]
mod onnx;

use nalgebra::{DMatrix, DVector};
use onnx::{Model, Value};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use scalecert::bundle::{certificate, checked_bytes, prove_rows};
use scalecert::prove::Config;
use scalecheck::certificate::{Proof, parse};
use scalecheck::conv::{Axis, Conv};
use scalecheck::linear::{Linear, Pattern};
use scalecheck::problem::{Op, Problem};
use scalecheck::rules::back_substitution::Relaxation;
use scalecheck::rules::case::Case;
use scalecheck::rules::relu::SLOPE_BITS;
use scalecheck::rules::tree;
use scalecheck::verify::{Config as CheckConfig, Statement, Verdict, verify};
use scalecheck::weights::{Dyadic, Values, Weights};
use std::hint::black_box;
use std::path::Path;
use std::time::Instant;

fn main() {
    let mut random = SmallRng::seed_from_u64(1);
    println!("product with the transpose, ns a multiply–accumulate; ratios to exact");
    println!("{:<34} {:>6} {:>9} {:>13}", "", "exact", "f64 loop", "f64 nalgebra");
    for (rows, cols) in [(256, 256), (256, 784), (784, 256)] {
        dense(&mut random, rows, cols);
    }
    for (inner, outer, stride) in [(1, 16, 1), (16, 32, 1), (16, 32, 2), (64, 64, 1)] {
        convolution(&mut random, inner, outer, stride);
    }
    elimination(&mut random);
    println!("\nproperties that the root decides; ns a multiply–accumulate, as the checker counts them");
    println!(
        "{:>5} {:>5} {:>10} {:>9} {:>9} {:>13} {:>8} {:>8}",
        "width", "depth", "prove", "check", "ratio", "MACs", "prove", "check"
    );
    for width in [64, 128, 256, 512] {
        growth(&mut random, width, 3);
    }
    for depth in [2, 4, 6, 8] {
        growth(&mut random, 128, depth);
    }
}

/// Median seconds of each of several ways, which take turns so that the machine's moods meet them all.
fn medians<const N: usize>(turns: usize, mut ways: [&mut dyn FnMut(); N]) -> [f64; N] {
    let mut times = [(); N].map(|()| Vec::with_capacity(turns));
    for _ in 0..turns {
        for (way, times) in ways.iter_mut().zip(&mut times) {
            let start = Instant::now();
            way();
            times.push(start.elapsed().as_secs_f64());
        }
    }
    times.map(|mut times| {
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    })
}

/// Prints nanoseconds, and the ratios of the first to the others.
fn print(name: &str, macs: u64, seconds: &[f64]) {
    print!("{name:<34} {:>6.3}", seconds[0] / macs as f64 * 1e9);
    for other in &seconds[1..] {
        print!("   {:.3} {:>4.2}×", other / macs as f64 * 1e9, seconds[0] / other);
    }
    println!();
}

/// About normal weights of a layer with so many inputs, as a model stores them.
fn floats(random: &mut SmallRng, count: usize, inputs: usize) -> Vec<f32> {
    let scale = (6.0 / inputs as f32).sqrt();
    let mut one = || (0..4).map(|_| random.random_range(-0.5..0.5_f32)).sum::<f32>() * scale;
    (0..count).map(|_| one()).collect()
}

fn exact(values: &[f32]) -> Weights {
    let dyadic = values.iter().map(|v| Dyadic::from_ieee(v.to_bits().into(), 8, 23).expect("a finite weight"));
    Weights::new(Values::Dyadic(dyadic.collect())).expect("weights of any size fit")
}

/// Coefficients of 60 bits.
fn coefficients(random: &mut SmallRng, count: usize) -> Vec<i64> {
    (0..count).map(|_| random.random::<i64>() >> 3).collect()
}

/// Asserts that both ways computed the same.
fn compare(linear: &Linear, exact: &[i128], float: &[f64]) {
    let unit = (-f64::from(linear.weights().exp())).exp2();
    let largest = float.iter().fold(0.0, |a: f64, b| a.max(b.abs()));
    for (&a, b) in exact.iter().zip(float) {
        assert!((a as f64 * unit - b).abs() <= 1e-9 * largest, "both ways compute the same");
    }
}

/// `acc += Wᵀ v`, as the exact kernel does it.
fn transposed(w: &[f64], v: &[f64], acc: &mut [f64]) {
    for (&vr, row) in v.iter().zip(w.chunks_exact(acc.len())).filter(|(v, _)| **v != 0.0) {
        acc.iter_mut().zip(row).for_each(|(a, &weight)| *a += vr * weight);
    }
}

fn dense(random: &mut SmallRng, rows: usize, cols: usize) {
    let floats = floats(random, rows * cols, cols);
    let linear = Linear::dense(1, rows, cols, 1, exact(&floats)).expect("weights that fit");
    let v = coefficients(random, rows);
    let w: Vec<f64> = floats.iter().map(|&w| w.into()).collect();
    let float: Vec<f64> = v.iter().map(|&v| v as f64).collect();
    let (matrix, vector) = (DMatrix::from_column_slice(cols, rows, &w), DVector::from_column_slice(&float));
    let (mut sums, mut float_sums, mut product) = (vec![0_i128; cols], vec![0.0; cols], DVector::zeros(cols));
    let seconds = medians(
        2001,
        [
            &mut || {
                sums.fill(0);
                linear.add_transposed(black_box(&v), black_box(&mut sums));
            },
            &mut || {
                float_sums.fill(0.0);
                transposed(&w, black_box(&float), black_box(&mut float_sums));
            },
            &mut || product.gemv(1.0, &matrix, black_box(&vector), 0.0),
        ],
    );
    compare(&linear, &sums, &float_sums);
    compare(&linear, &sums, product.as_slice());
    print(&format!("dense {rows} × {cols}"), linear.entries(), &seconds);
}

fn convolution(random: &mut SmallRng, inner: usize, outer: usize, stride: usize) {
    let axis = Axis::new(16, 16 / stride, 3, stride, 1, 1).expect("a small axis");
    let conv = Conv { batch: 1, groups: 1, inner, outer, y: axis, x: axis };
    let floats = floats(random, conv.weights().expect("a small kernel"), inner * 9);
    let linear = Linear::conv(conv, exact(&floats)).expect("weights that fit");
    let v = coefficients(random, linear.outputs());
    let w: Vec<f64> = floats.iter().map(|&w| w.into()).collect();
    let float: Vec<f64> = v.iter().map(|&v| v as f64).collect();
    let (mut sums, mut float_sums) = (vec![0_i128; linear.inputs()], vec![0.0; linear.inputs()]);
    let seconds = medians(
        201,
        [
            &mut || {
                sums.fill(0);
                linear.add_transposed(black_box(&v), black_box(&mut sums));
            },
            &mut || {
                float_sums.fill(0.0);
                let (v, acc) = (black_box(&float), black_box(&mut float_sums));
                if inner < 3 { runs(&conv, &w, v, acc) } else { lanes(&conv, &w, v, acc) }
            },
        ],
    );
    compare(&linear, &sums, &float_sums);
    print(&format!("conv 3 × 3, {inner} → {outer}, stride {stride}"), linear.entries(), &seconds);
}

/// As the exact kernel does it for few channels.
fn runs(conv: &Conv, w: &[f64], v: &[f64], acc: &mut [f64]) {
    conv.for_each_run(|outputs, input, weight| {
        let met = acc[input..].iter_mut().step_by(conv.x.stride());
        met.zip(&v[outputs]).for_each(|(acc, v)| *acc += v * w[weight]);
    });
}

/// As the exact kernel does it for more channels, for one image and one group: four sums at a time.
fn lanes(conv: &Conv, w: &[f64], v: &[f64], acc: &mut [f64]) {
    const LANES: usize = 4;
    let meetings = |axis: &Axis| {
        let mut found = vec![Vec::new(); axis.input()];
        (0..axis.taps()).for_each(|k| axis.outputs(k).for_each(|o| found[axis.at(o, k)].push((k, o))));
        found
    };
    let (rows, columns) = (meetings(&conv.y), meetings(&conv.x));
    let (taps, pixels) = (conv.y.taps() * conv.x.taps(), conv.y.output() * conv.x.output());
    let area = conv.y.input() * conv.x.input();
    let mut blocked = vec![[0.0; LANES]; conv.inner.div_ceil(LANES) * taps * conv.outer];
    for (i, &w) in w.iter().enumerate() {
        let (m, c, k) = (i / taps / conv.inner, i / taps % conv.inner, i % taps);
        blocked[(c / LANES * taps + k) * conv.outer + m][c % LANES] = w;
    }
    let by_pixel: Vec<f64> = (0..pixels).flat_map(|p| v[p..].iter().step_by(pixels).copied()).collect();
    for (block, blocked) in blocked.chunks_exact(taps * conv.outer).enumerate() {
        for (iy, ys) in rows.iter().enumerate() {
            for (ix, xs) in columns.iter().enumerate() {
                let mut sums = [0.0; LANES];
                for (&(ky, oy), &(kx, ox)) in ys.iter().flat_map(|y| xs.iter().map(move |x| (y, x))) {
                    let (tap, pixel) = (ky * conv.x.taps() + kx, oy * conv.x.output() + ox);
                    let weights = blocked[tap * conv.outer..].iter();
                    for (v, weights) in by_pixel[pixel * conv.outer..][..conv.outer].iter().zip(weights) {
                        sums.iter_mut().zip(weights).for_each(|(sum, w)| *sum += v * w);
                    }
                }
                let channels = acc[block * LANES * area + iy * conv.x.input() + ix..].iter_mut().step_by(area);
                channels.zip(sums).for_each(|(acc, sum)| *acc += sum);
            }
        }
    }
}

/// A random ReLU network with these layers, and a property that holds with ease on a small box.
fn network(random: &mut SmallRng, folder: &Path, sizes: &[usize]) -> Statement {
    let (mut model, mut from) = (Model::new(&[1, sizes[0] as i64]), "x".to_owned());
    for (layer, pair) in sizes.windows(2).enumerate() {
        let [w, b, pre, post] = ["w", "b", "pre", "post"].map(|name| format!("{name}{layer}"));
        let (inputs, outputs) = (pair[0], pair[1]);
        model = model.f32(&w, &[outputs as i64, inputs as i64], &floats(random, inputs * outputs, inputs));
        model = model.f32(&b, &[outputs as i64], &floats(random, outputs, 60));
        model = model.node_with("Gemm", &[&from, &w, &b], &pre, &[("transB", Value::Int(1))]);
        from = pre;
        if layer + 2 < sizes.len() {
            model = model.node("Relu", &[&from], &post);
            from = post;
        }
    }
    let (file, property) = (folder.join("model.onnx"), folder.join("property.vnnlib"));
    std::fs::write(&file, model.output(&from).bytes()).expect("the model is written");
    let names = |letter: char, count: usize| (0..count).map(move |i| format!("(declare-const {letter}_{i} Real)\n"));
    let inputs = (0..sizes[0]).map(|i| {
        let x: f32 = random.random_range(0.0..1.0);
        format!("(assert (>= X_{i} {}))\n(assert (<= X_{i} {}))\n", x - 0.002, x + 0.002)
    });
    let lines = names('X', sizes[0]).chain(names('Y', sizes[sizes.len() - 1])).chain(inputs);
    std::fs::write(&property, lines.chain(["(assert (>= Y_0 1000))\n".to_owned()]).collect::<String>())
        .expect("the property is written");
    Statement::of_query(&file, &property).expect("both are valid")
}

fn problem(statement: &Statement) -> Problem {
    let clean = statement.clean(&[0]).next().expect("a region").expect("a region that is valid");
    statement.problem(0, 0, &clean).expect("a problem within all limits")
}

/// One whole back-substitution from the output to the input.
fn elimination(random: &mut SmallRng) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let problem = problem(&network(random, folder.path(), &[784, 256, 256, 256, 10]));
    let mut case = Case::root(&problem).expect("a domain");
    case.ensure(problem.output).expect("bounds of all tensors");
    let relaxation = Relaxation::new(&case, problem.output, None);
    let float = Float::new(&case);
    let terms = [(0, 1), (1, -1)];
    let (mut bound, mut float_bound) = (None, (0.0, 0));
    let seconds = medians(
        501,
        [
            &mut || bound = Some(relaxation.upper_bound(problem.output, black_box(&terms), &[]).expect("a bound")),
            &mut || float_bound = float.upper_bound(black_box(&terms)),
        ],
    );
    let exact = bound.map_or(0.0, |bound| scalecert::graph::float(&bound));
    assert!((exact - float_bound.0).abs() <= 1e-6 * exact.abs(), "{exact} and {} are the same", float_bound.0);
    print("a whole bound, 784-256-256-256-10", float_bound.1, &seconds);
}

/// The same elimination in f64.
struct Float<'p> {
    problem: &'p Problem,
    /// By tensor: weights of an affine map, slopes and offsets above and below of a ReLU, or bounds of variables.
    steps: Vec<[Vec<f64>; 4]>,
}

impl<'p> Float<'p> {
    fn new(case: &Case<'p>) -> Self {
        let scaled = |v: &[i64], exp: i32| v.iter().map(|&m| m as f64 * (-f64::from(exp)).exp2()).collect();
        let step = |(t, tensor): (usize, &scalecheck::problem::Tensor)| match &tensor.op {
            Op::Affine(terms) => {
                let [(_, linear)] = &terms[..] else { panic!("one predecessor") };
                assert!(matches!(linear.pattern(), Pattern::Dense { .. }), "fully connected");
                [scaled(linear.weights().mantissas(), linear.weights().exp()), vec![], vec![], vec![]]
            }
            Op::Relu(from) => {
                let (above, below) = case.default_lines(*from).expect("bounds");
                let exp = case.bounds(*from).expect("bounds").exp();
                let lines = [above, below].map(|l| [scaled(&l.slope, SLOPE_BITS as i32), scaled(&l.offset, exp)]);
                let [[a, b], [c, d]] = lines;
                [a, b, c, d]
            }
            _ => {
                let bounds = case.bounds(t).expect("bounds");
                [scaled(bounds.upper(), bounds.exp()), scaled(bounds.lower(), bounds.exp()), vec![], vec![]]
            }
        };
        let problem = case.problem();
        Float { problem, steps: problem.tensors.iter().enumerate().map(step).collect() }
    }

    /// The bound, and how many multiply–accumulates of affine maps it took.
    fn upper_bound(&self, terms: &[(usize, i64)]) -> (f64, u64) {
        let (mut t, mut constant, mut macs) = (self.problem.output, 0.0, 0);
        let mut v = vec![0.0; self.problem.tensors[t].centre.len()];
        terms.iter().for_each(|&(i, a)| v[i] += a as f64);
        loop {
            let [a, b, c, d] = &self.steps[t];
            match &self.problem.tensors[t].op {
                Op::Affine(terms) => {
                    let mut sums = vec![0.0; self.problem.tensors[terms[0].0].centre.len()];
                    macs += v.iter().filter(|&&v| v != 0.0).count() * sums.len();
                    transposed(a, &v, &mut sums);
                    (t, v) = (terms[0].0, sums);
                }
                Op::Relu(from) => {
                    for (i, v) in v.iter_mut().enumerate() {
                        let (slope, offset) = if *v >= 0.0 { (a[i], b[i]) } else { (c[i], d[i]) };
                        constant += *v * offset;
                        *v *= slope;
                    }
                    t = *from;
                }
                _ => {
                    constant += v.iter().enumerate().map(|(i, v)| v * if *v >= 0.0 { a[i] } else { b[i] }).sum::<f64>();
                    return (constant, macs as u64);
                }
            }
        }
    }
}

/// Proving and checking, from the files to the verdict. The checker counts every entry of the weights; those of neurons
/// that are off cost nothing, so a unit may be below that of a kernel.
fn growth(random: &mut SmallRng, width: usize, depth: usize) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let sizes = [&[64], &vec![width; depth][..], &[10]].concat();
    network(random, folder.path(), &sizes);
    let load = || {
        let file = |name| folder.path().join(name);
        Statement::of_query(&file("model.onnx"), &file("property.vnnlib")).expect("both are valid")
    };
    let (mut written, config) = (Vec::new(), CheckConfig::default());
    let mut prove = || {
        let statement = load();
        let outcomes = prove_rows(&statement, &Config::default(), &|_| (), || ()).expect("the prover is sound");
        let certificate = certificate(&statement, &outcomes).expect("an easy property");
        // The prover checks what it writes, so that belongs to proving.
        written = checked_bytes(&certificate, &statement).expect("the checker accepts the certificate");
    };
    let [proving] = medians(3, [&mut prove]);
    let mut check = || {
        let report = verify(&load(), &written, &config).expect("a certificate");
        assert_eq!(report.verdict(), Verdict::Verified);
    };
    let [checking] = medians(3, [&mut check]);
    let problem = problem(&load());
    let text = parse(&written, u64::MAX).expect("a certificate").answers.swap_remove(0).proof.expect("a proof");
    let proof = Proof::new(&text, &problem).expect("references that exist");
    let work = tree::walk(&problem, &proof, config.max_work).expect("a proof that is read").work;
    let (prove_unit, check_unit) = (proving / work as f64 * 1e9, checking / work as f64 * 1e9);
    let ratio = checking / proving;
    println!(
        "{width:>5} {depth:>5} {:>7.1} ms {:>6.1} ms {ratio:>8.3} {work:>13} {prove_unit:>8.3} {check_unit:>8.3}",
        proving * 1e3,
        checking * 1e3,
    );
}
