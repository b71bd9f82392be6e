//! Claims about every input of a region: perturbed, truncated, or given to another model. Both networks are evaluated by
//! an interpreter of this file, which knows nothing of deviations and copies.

use crate::support::onnx::{Data, Model, Value};
use crate::support::tape::{Tape, tape};
use crate::support::{self, default_proof, int, pre_activations, q, ratio, tensor_names};
use num::{Signed, Zero};
use proptest::prelude::*;
use proptest::test_runner::Config as Runner;
use scalecheck::certificate::{CloseText, Proof, SlopesText, SplitText, WitnessText};
use scalecheck::error::Code;
use scalecheck::number::Rational;
use scalecheck::problem::Problem;
use scalecheck::rules::{tree, witness};
use scalecheck::verify::{Statement, established_tolerance};
use serde_json::json;

type Vector = Vec<Rational>;

fn cases(cases: u32) -> Runner {
    Runner { cases, max_shrink_iters: 200, failure_persistence: None, ..Runner::default() }
}

/// Fully connected layers with ReLUs between them; the pre-activations are `p1`, `p2`, …, the output `y`.
#[derive(Clone, Debug)]
struct Net {
    layers: Vec<(Vec<Vec<f32>>, Vec<f32>)>,
    /// What is added to every layer besides; where it is nothing, there is a sum of one operand.
    shift: Option<f32>,
}

fn shift(tape: &mut Tape) -> Option<f32> {
    tape.one_in(2).then(|| tape.around(8) as f32 / 4.0)
}

/// What is done to the layers of a network on its way: (values after the given number of ReLUs) → values.
type Change<'a> = &'a dyn Fn(usize, Vector) -> Vector;

impl Net {
    fn random(tape: &mut Tape, sizes: &[usize]) -> Self {
        let weight = |tape: &mut Tape| tape.around(12) as f32 / 4.0;
        let layer = |pair: &[usize], tape: &mut Tape| {
            let rows = (0..pair[1]).map(|_| (0..pair[0]).map(|_| weight(tape)).collect()).collect();
            (rows, (0..pair[1]).map(|_| weight(tape)).collect())
        };
        let layers = sizes.windows(2).map(|pair| layer(pair, tape)).collect();
        Net { layers, shift: shift(tape) }
    }

    /// The same with some constants slightly different.
    fn near(&self, tape: &mut Tape) -> Self {
        let moved = |w: f32, tape: &mut Tape| w + if tape.one_in(2) { tape.around(8) as f32 / 64.0 } else { 0.0 };
        let layer = |(rows, bias): &(Vec<Vec<f32>>, Vec<f32>), tape: &mut Tape| {
            let rows = rows.iter().map(|row| row.iter().map(|w| moved(*w, tape)).collect()).collect();
            (rows, bias.iter().map(|w| moved(*w, tape)).collect())
        };
        // Only in some networks are the layers different.
        let layers =
            if tape.one_in(3) { self.layers.clone() } else { self.layers.iter().map(|l| layer(l, tape)).collect() };
        Net { layers, shift: shift(tape) }
    }

    fn bytes(&self) -> Vec<u8> {
        let last = self.layers.len();
        let mut model = Model::new(&[1, self.layers[0].0[0].len() as i64]);
        let mut from = "x".to_owned();
        for (k, (rows, bias)) in self.layers.iter().enumerate().map(|(k, layer)| (k + 1, layer)) {
            let (w, b, m) = (format!("w{k}"), format!("b{k}"), format!("m{k}"));
            let to = if k == last { "y".to_owned() } else { format!("p{k}") };
            let columns: Vec<f32> = (0..rows[0].len()).flat_map(|j| rows.iter().map(move |row| row[j])).collect();
            model =
                model.f32(&w, &[rows[0].len() as i64, rows.len() as i64], &columns).f32(&b, &[bias.len() as i64], bias);
            let (sum, name, len) = (format!("a{k}"), format!("s{k}"), bias.len());
            model = model.node("MatMul", &[&from, &w], &m).node("Add", &[&m, &b], &sum);
            model = match self.shift {
                Some(shift) => model.f32(&name, &[len as i64], &vec![shift; len]).node("Add", &[&sum, &name], &to),
                None => model.node("Sum", &[&sum], &to),
            };
            if k < last {
                from = format!("h{k}");
                model = model.node("Relu", &[&to], &from);
            }
        }
        model.output("y").bytes()
    }

    fn evaluate(&self, x: &[Rational], change: Change<'_>) -> Vector {
        let number = |w: &f32| Rational::from_float(*w).unwrap();
        let mut v = change(0, x.to_vec());
        for (k, (rows, bias)) in self.layers.iter().enumerate() {
            let row = |(row, b): (&Vec<f32>, &f32)| {
                row.iter().zip(&v).map(|(w, x)| number(w) * x).sum::<Rational>() + number(b)
            };
            let shift = self.shift.map_or_else(Rational::zero, |shift| number(&shift));
            v = rows.iter().zip(bias).map(|layer| row(layer) + &shift).collect();
            if k + 1 < self.layers.len() {
                v = change(k + 1, v.into_iter().map(|x| x.max(Rational::zero())).collect());
            }
        }
        v
    }
}

/// A region, what is done to the model, and the files that say so.
struct Study {
    statement: Statement,
    problem: Problem,
    net: Net,
    other: Net,
    lower: Vector,
    upper: Vector,
    valid: Option<(Rational, Rational)>,
    /// Site of the truncation to the mean, and of the perturbation with its amplitude: 0 for the input, 1 for `h1`.
    truncated: Option<usize>,
    perturbed: Option<(usize, Rational, bool)>,
    _folder: tempfile::TempDir,
}

fn text(x: &[Rational]) -> String {
    x.iter().map(|x| format!("\"{x}\"")).collect::<Vec<_>>().join(", ")
}

fn random_study(tape: &mut Tape) -> Study {
    let mut size = || 2 + tape.below(2);
    let (inputs, hidden, outputs) = (size(), size(), size());
    let net = Net::random(tape, &[inputs, hidden, hidden, outputs]);
    let kind = tape.below(3);
    let other = match kind {
        0 => net.clone(),
        1 => net.near(tape),
        _ => Net::random(tape, &[inputs, 2, outputs]),
    };
    let number = |tape: &mut Tape| ratio(tape.around(8), 4);
    let x: Vector = (0..inputs).map(|_| number(tape)).collect();
    let valid = tape.one_in(3).then(|| (int(-2), int(2)));
    let within = |x: Rational| valid.clone().map_or(x.clone(), |(low, high)| x.clamp(low, high));
    let (region, lower, upper): (String, Vector, Vector) = if tape.one_in(2) {
        let radius = tape.unit().abs();
        let ends = |sign: i64| x.iter().map(|x| within(x + &radius * int(sign))).collect();
        (format!("point = [{}]\nradius = \"{radius}\"", text(&x)), ends(-1), ends(1))
    } else {
        let upper: Vector = x.iter().map(|x| within(x + tape.unit().abs())).collect();
        (format!("box = {{ lower = [{}], upper = [{}] }}", text(&x), text(&upper)), x, upper)
    };
    let mut claim = format!("model = \"model.onnx\"\n{}", if kind > 0 { "replace = \"other.onnx\"\n" } else { "" });
    claim += &format!("[inputs]\n{region}\n");
    if let Some((low, high)) = &valid {
        claim += &format!("valid = [\"{low}\", \"{high}\"]\n");
    }
    let sites = ["input", "h1"];
    let len = |site: usize| [inputs, hidden][site];
    let truncated = (kind < 2 && tape.one_in(3)).then(|| tape.below(2));
    if let Some(site) = truncated {
        let n = len(site);
        let scale = format!("{{ family = \"block-mean\", shape = [{n}], spatial = 1, cutoff = {n} }}");
        claim += &format!("[[truncate]]\nsite = \"{}\"\nscale = {scale}\n", sites[site]);
    }
    let must = kind == 0 && truncated.is_none();
    let perturbed = (kind < 2 && (must || tape.one_in(2))).then(|| (tape.below(2), tape.unit().abs(), tape.one_in(2)));
    if let Some((site, amplitude, coarse)) = &perturbed {
        let n = len(*site);
        let scale = if *coarse {
            format!("{{ family = \"block-mean\", shape = [{n}], spatial = 1, cutoff = {n} }}")
        } else {
            "{ family = \"none\" }".to_owned()
        };
        claim += &format!("[[perturb]]\nsite = \"{}\"\nscale = {scale}\namplitude = \"{amplitude}\"\n", sites[*site]);
    }
    claim += "[output]\ntolerance = \"1\"\n";
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| std::fs::write(folder.path().join(name), bytes).unwrap();
    write("model.onnx", &net.bytes());
    write("other.onnx", &other.bytes());
    write("claim.toml", claim.as_bytes());
    let statement = Statement::load(&folder.path().join("claim.toml"), None).unwrap_or_else(|e| panic!("{e}\n{claim}"));
    let clean = statement.clean(&[0]).next().unwrap().unwrap();
    let problem = statement.problem(0, 0, &clean).unwrap_or_else(|e| panic!("{e}\n{claim}"));
    Study { statement, problem, net, other, lower, upper, valid, truncated, perturbed, _folder: folder }
}

impl Study {
    /// An input of the region and a perturbation that the claim allows there; none if the draw leaves the valid range.
    fn point(&self, tape: &mut Tape) -> Option<(Vector, Vector)> {
        let between = |(low, high): (&Rational, &Rational)| low + (high - low) * (tape.unit() + int(1)) / int(2);
        let x: Vector = self.lower.iter().zip(&self.upper).map(between).collect();
        let Some((site, amplitude, coarse)) = &self.perturbed else { return Some((x, vec![])) };
        let n = if *site == 0 { x.len() } else { self.net.layers[0].1.len() };
        let mut delta: Vector = (0..n).map(|_| amplitude * tape.unit()).collect();
        if *coarse {
            // The second takes back what the first adds.
            delta.iter_mut().skip(2).for_each(Rational::set_zero);
            delta[1] = -&delta[0];
        }
        let mut input = x.clone();
        if self.truncated == Some(0) {
            let mean = x.iter().sum::<Rational>() / int(x.len() as i64);
            input.fill(mean);
        }
        let stays = match (&self.valid, site) {
            (Some((low, high)), 0) => input.iter().zip(&delta).all(|(x, d)| x + d >= *low && x + d <= *high),
            _ => true,
        };
        stays.then_some((x, delta))
    }

    /// What is claimed of: the outputs of the changed network less those of the model.
    fn moved(&self, x: &[Rational], delta: &[Rational]) -> Vector {
        let change = |site: usize, mut v: Vector| {
            if self.truncated == Some(site) {
                let mean = v.iter().sum::<Rational>() / int(v.len() as i64);
                v.fill(mean);
            }
            if self.perturbed.as_ref().is_some_and(|p| p.0 == site) {
                v.iter_mut().zip(delta).for_each(|(v, d)| *v += d);
            }
            v
        };
        let before = self.net.evaluate(x, &|_, v| v);
        self.other.evaluate(x, &change).iter().zip(before).map(|(a, b)| a - b).collect()
    }

    /// The point as a witness that a certificate states.
    fn witness(&self, x: &[Rational], delta: &[Rational]) -> WitnessText {
        let text = |v: &[Rational]| v.iter().map(ToString::to_string).collect::<Vec<_>>();
        WitnessText { input: Some(text(x)), perturbation: self.perturbed.as_ref().map(|_| vec![text(delta)]) }
    }

    /// Refinements of everything and closings of all cells, with random slopes, in a case or on both sides of a split.
    fn proof(&self, tape: &mut Tape) -> scalecheck::certificate::ProofText {
        let network = self.statement.network();
        let mut proof = default_proof(network, &self.problem);
        let names = tensor_names(network, &self.problem);
        let position = |t: usize| names.iter().position(|n| self.problem.find(n) == Some(t));
        let layers: Vec<usize> = pre_activations(&self.problem).into_iter().filter_map(position).collect();
        if tape.one_in(2) {
            let slope = |tape: &mut Tape| tape.around(1 << 16).abs();
            for &tensor in &layers {
                let n = self.problem.tensors[self.problem.find(&names[tensor]).unwrap()].centre.len();
                let list = |tape: &mut Tape| Some((0..n).map(|_| slope(tape)).collect::<Vec<i64>>());
                let (lower, upper) = (list(tape), list(tape));
                proof.slopes.push(vec![SlopesText { tensor, lower, upper }]);
            }
            let count = proof.slopes.len();
            proof.nodes[0].refine.iter_mut().for_each(|refine| refine.slopes = Some(tape.below(count)));
            let entries = proof.nodes[0].close.iter_mut().flatten();
            entries.for_each(|entry: &mut CloseText| entry.slopes = Some(tape.below(count)));
        }
        if let (Some(&tensor), true) = (layers.first(), tape.one_in(2)) {
            let leaf = proof.nodes[0].clone();
            proof.nodes[0].close = None;
            proof.nodes[0].split = Some(SplitText { tensor, element: 0, at: ratio(tape.around(8), 4).to_string() });
            proof.nodes.extend([leaf.clone(), leaf]);
        }
        proof
    }
}

proptest! {
    #![proptest_config(cases(300))]

    /// No input and perturbation moves an output by more than any proof establishes, and the exact evaluation of the
    /// problem is that of both networks.
    #[test]
    fn no_point_exceeds_what_is_established(mut tape in tape(400)) {
        let study = random_study(&mut tape);
        let proof = study.proof(&mut tape);
        let proof = Proof::new(&proof, &study.problem).unwrap();
        let established = tree::walk(&study.problem, &proof, u64::MAX).unwrap();
        let property = &study.statement.claim().settings[0].property;
        let bound = |cell: usize| {
            let slack = established.slack[cell].as_ref()?;
            Some(int(1) + slack / &study.problem.cells[cell].unit)
        };
        let tolerance = established_tolerance(&study.problem, property, &established.slack);
        for _ in 0..12 {
            let Some((x, delta)) = study.point(&mut tape) else { continue };
            let moved = study.moved(&x, &delta);
            let point = witness::read(&study.witness(&x, &delta), &study.problem).unwrap();
            let change = &study.problem.tensors[study.problem.output];
            let own = witness::deviations(&study.problem, &point)[study.problem.output].plus(&change.centre);
            prop_assert_eq!(own.to_rationals(), moved.clone());
            for (k, moved) in moved.iter().enumerate() {
                for (cell, moved) in [(2 * k, moved.clone()), (2 * k + 1, -moved)] {
                    prop_assert!(bound(cell).is_none_or(|bound| moved <= bound));
                }
            }
            let largest = moved.iter().map(Signed::abs).max().unwrap();
            if established.slack.iter().all(Option::is_some) {
                prop_assert!(tolerance.as_ref().is_some_and(|tolerance| largest <= *tolerance));
            }
            // A witness says exactly what it does.
            let broken = witness::check(&study.problem, &point);
            prop_assert_eq!(broken.is_ok(), largest > int(1));
            if let Ok(broken) = broken {
                prop_assert_eq!(broken.clean, study.net.evaluate(&x, &|_, v| v));
            }
        }
    }
}

/// `y = h1 − 2 h2 + 1/4` with `h1 = max(x1 + x2, 0)` and `h2 = max(x1 − x2 + 1/2, 0)`, and `h1` times this.
fn net(first: f32) -> Net {
    let hidden = (vec![vec![1.0, 1.0], vec![1.0, -1.0]], vec![0.0, 0.5]);
    Net { layers: vec![hidden, (vec![vec![first, -2.0]], vec![0.25])], shift: None }
}

fn linear(row: &[f32]) -> Net {
    Net { layers: vec![(vec![row.to_vec()], vec![0.0])], shift: None }
}

/// The files of a claim about [`net`], with this text after the first line.
fn files(claim: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| std::fs::write(folder.path().join(name), bytes).unwrap();
    write("model.onnx", &net(1.0).bytes());
    write("other.onnx", &net(1.25).bytes());
    write("short.onnx", &linear(&[0.0, 3.0]).bytes());
    write("wide.onnx", &linear(&[0.0, 3.0, 1.0]).bytes());
    write("claim.toml", format!("model = \"model.onnx\"\n{claim}").as_bytes());
    folder
}

fn statement(folder: &tempfile::TempDir) -> Result<Statement, scalecheck::error::Error> {
    Statement::load(&folder.path().join("claim.toml"), None)
}

/// The error of a claim that cannot be read or is about something that is not there.
#[track_caller]
fn assert_refused(claim: &str, code: Code) {
    let folder = files(claim);
    let refused = statement(&folder).and_then(|statement| {
        let clean = statement.clean(&[0]).next().unwrap()?;
        statement.problem(0, 0, &clean).map(|_| ())
    });
    assert_eq!(refused.expect_err("the claim is accepted").code, code, "{claim}");
}

const PERTURB: &str = "[[perturb]]\nsite = \"input\"\nscale = { family = \"none\" }\namplitude = \"1/8\"\n";

#[test]
fn claims_that_do_not_fit_are_refused() {
    let output = "[output]\ntolerance = \"1\"\n";
    let with = |inputs: &str| format!("[inputs]\n{inputs}\n{PERTURB}{output}");
    assert_refused(&with("box = { lower = [0, 0], upper = [1] }"), Code::ClaimShape);
    assert_refused(&with("box = { lower = [0, 0], upper = [1, 1, 1] }"), Code::ClaimShape);
    assert_refused(&with("box = { lower = [0, 0, 0], upper = [1, 1, 1] }"), Code::ClaimShape);
    assert_refused(&with("box = { lower = [0, 2], upper = [1, 1] }"), Code::ClaimValue);
    assert_refused(&with("box = { lower = 0, upper = 1 }\nradius = 1"), Code::ClaimValue);
    assert_refused(&with("box = { lower = 0, upper = 1 }\npoint = [0, 0]"), Code::ClaimMissingKey);
    assert_refused(&with("box = \"valid\""), Code::ClaimMissingKey);
    assert_refused(&with("box = { lower = 0, upper = 2 }\nvalid = [0, 1]"), Code::ClaimClean);
    assert_refused(&with("point = [0, 0]\nradius = \"-1\""), Code::ClaimValue);
    let region = "[inputs]\nbox = { lower = 0, upper = 1 }\n";
    assert_refused(&format!("{region}{PERTURB}[output]\ndecision = \"winner\"\n"), Code::ClaimValue);
    assert_refused(&format!("{region}{output}"), Code::ClaimMissingKey);
    let weights = "[[perturb]]\nweights = \"all\"\nerror = \"absolute\"\namplitude = \"1/8\"\n";
    assert_refused(&format!("{region}{weights}{output}"), Code::ClaimValue);
    assert_refused(&format!("replace = \"none.onnx\"\n{region}{output}"), Code::Io);
    assert_refused(&format!("replace = \"wide.onnx\"\n{region}{output}"), Code::ClaimShape);
    assert_refused(&format!("replace = \"short.onnx\"\n{region}{PERTURB}{output}"), Code::ClaimTensor);
    let truncate = |site: &str, side: usize| {
        let scale = format!("{{ family = \"block-mean\", shape = [{side}], spatial = 1, cutoff = {side} }}");
        format!("[[truncate]]\nsite = \"{site}\"\nscale = {scale}\n")
    };
    assert_refused(&format!("{region}{}{output}", truncate("h7", 2)), Code::ClaimTensor);
    assert_refused(&format!("{region}{}{output}", truncate("h1", 3)), Code::ClaimShape);
    let wavelet = truncate("h1", 2).replace("\"block-mean\"", "\"wavelet\", filters = \"cdf-5-3\"");
    assert_refused(&format!("{region}{wavelet}{output}"), Code::ClaimValue);
    let setting = "[output]\n[[setting]]\ntolerance = 1\namplitude = 1\n";
    assert_refused(&format!("{region}{}{setting}", truncate("h1", 2)), Code::ClaimValue);
    assert_refused(&format!("{region}{}{}{output}", truncate("h1", 2), truncate("h1", 2)), Code::ClaimTensor);
    assert_refused(&format!("replace = \"short.onnx\"\n{region}{}{output}", truncate("h1", 2)), Code::ClaimTensor);
}

/// The verdict on an answer, or the error.
fn verdict(folder: &tempfile::TempDir, answer: serde_json::Value) -> Result<&'static str, Code> {
    let statement = statement(folder).unwrap();
    let mut certificate = serde_json::to_value(statement.header("tests")).unwrap();
    certificate["answers"] = json!([answer]);
    let report = scalecheck::verify::verify(&statement, certificate.to_string().as_bytes(), &Default::default());
    report.map(|report| report.verdict().word()).map_err(|e| e.code)
}

#[test]
fn witnesses_state_the_input_and_the_perturbation() {
    let claim = format!(
        "[inputs]\nbox = {{ lower = 0, upper = 1 }}\nvalid = [0, 1]\n{PERTURB}[output]\ntolerance = \"1/16\"\n"
    );
    let folder = files(&claim);
    let answer = |witness: serde_json::Value| json!({ "row": 0, "witness": witness });
    let (x, delta) = (["1", "0"], [["-1/8", "0"]]);
    assert_eq!(verdict(&folder, answer(json!({ "input": x, "perturbation": delta }))), Ok("REFUTED"));
    assert_eq!(verdict(&folder, answer(json!({ "input": x }))), Err(Code::CertificateFormat));
    assert_eq!(verdict(&folder, answer(json!({ "perturbation": delta }))), Err(Code::CertificateFormat));
    // Outside of the region, of the amplitude, and of the valid range: 1 + 1/8.
    assert_eq!(verdict(&folder, answer(json!({ "input": ["9/8", "0"], "perturbation": delta }))), Ok("REJECTED"));
    assert_eq!(verdict(&folder, answer(json!({ "input": x, "perturbation": [["-1/4", "0"]] }))), Ok("REJECTED"));
    assert_eq!(verdict(&folder, answer(json!({ "input": x, "perturbation": [["1/8", "0"]] }))), Ok("REJECTED"));
    assert_eq!(verdict(&folder, answer(json!({ "input": x, "perturbation": [["0", "0"]] }))), Ok("REJECTED"));
}

/// The answer that the plainest proof is.
fn proven(folder: &tempfile::TempDir) -> serde_json::Value {
    let statement = statement(folder).unwrap();
    let clean = statement.clean(&[0]).next().unwrap().unwrap();
    let problem = statement.problem(0, 0, &clean).unwrap();
    let proof = default_proof(statement.network(), &problem);
    json!({ "row": 0, "proof": serde_json::to_value(proof).unwrap() })
}

/// On [0, 1]² the outputs differ by h1/4, and h1 = x1 + x2 is at most 2.
#[test]
fn another_model_is_bound_by_its_bytes() {
    let claim = |tolerance: &str| {
        format!(
            "replace = \"other.onnx\"\n[inputs]\nbox = {{ lower = 0, upper = 1 }}\n[output]\ntolerance = \"{tolerance}\"\n"
        )
    };
    let folder = files(&claim("1/2"));
    let answer = proven(&folder);
    assert_eq!(verdict(&folder, answer.clone()), Ok("VERIFIED"));
    assert_eq!(verdict(&files(&claim("0.499")), answer), Ok("REJECTED"));
    let statement_before = statement(&folder).unwrap();
    let certificate = serde_json::to_string(&statement_before.header("tests")).unwrap();
    std::fs::write(folder.path().join("other.onnx"), net(1.0).bytes()).unwrap();
    let after = statement(&folder).unwrap();
    let error = scalecheck::verify::verify(&after, certificate.as_bytes(), &Default::default()).err().unwrap();
    assert_eq!(error.code, Code::DataMismatch);
}

/// A bias that only the other model has counts, also where the tensor is else the same as the one before it.
#[test]
fn a_bias_of_the_other_model_alone_counts() {
    let model =
        Model::new(&[1, 1]).f32("w", &[1, 1], &[2.0]).f32("one", &[1, 1], &[1.0]).node("MatMul", &["x", "w"], "t");
    let other =
        Model::new(&[1, 1]).f32("w", &[1, 1], &[2.25]).f32("b", &[1, 1], &[1000.0]).node("MatMul", &["x", "w"], "t");
    let plain = Model::new(&[1, 1]).f32("one", &[1, 1], &[1.0]).node("Mul", &["x", "one"], "y");
    let moved = Model::new(&[1, 1]).f32("b", &[1, 1], &[1000.0]).node("Add", &["x", "b"], "y");
    for (model, other, perturb) in
        [(model.node("Mul", &["t", "one"], "y"), other.node("Add", &["t", "b"], "y"), ""), (plain, moved, PERTURB)]
    {
        for (tolerance, verdict_word) in [("999", "REJECTED"), ("1000.25", "VERIFIED")] {
            let claim = format!("[inputs]\npoint = [0]\nradius = 1\n{perturb}[output]\ntolerance = \"{tolerance}\"\n");
            let folder = files(&format!("replace = \"other.onnx\"\n{claim}"));
            let write = |name: &str, model: &Model| {
                std::fs::write(folder.path().join(name), model.clone().output("y").bytes()).unwrap();
            };
            write("model.onnx", &model);
            write("other.onnx", &other);
            assert_eq!(verdict(&folder, proven(&folder)), Ok(verdict_word), "{tolerance}");
        }
    }
}

/// Two outputs that differ, and that the other model has the other way round: compared by name, not by place.
#[test]
fn a_name_is_the_same_output_in_both_models() {
    let twice = |first: &str, second: &str| {
        let model = Model::new(&[1, 1]).f32("v", &[], &[1.5]).f32("w", &[], &[2.0]);
        let model = model.node("Mul", &["x", "v"], first).node("Mul", &["x", "w"], second);
        model.output(first).output(second).bytes()
    };
    let output = "[output]\ntensor = \"a\"\ntolerance = \"1/100\"\n";
    let folder = files(&format!("replace = \"other.onnx\"\n[inputs]\npoint = [1]\nradius = 1\n{output}"));
    let write = |name: &str, bytes: Vec<u8>| std::fs::write(folder.path().join(name), bytes).unwrap();
    write("model.onnx", twice("a", "b"));
    for (other, word) in [(twice("a", "b"), "VERIFIED"), (twice("b", "a"), "REJECTED")] {
        write("other.onnx", other);
        assert_eq!(verdict(&folder, proven(&folder)), Ok(word));
    }
}

#[test]
fn stored_weights_may_be_quantised() {
    let quantised = |axis: i64, scale: &[f32], zero: &[i64]| {
        let bytes = [0_u8, 255, 3, 128];
        let model = Model::new(&[1, 2])
            .constant("q", &[2, 2], Data::RawI8(bytes.to_vec()))
            .f32("s", if scale.len() == 1 { &[] } else { &[2] }, scale)
            .constant(
                "z",
                if scale.len() == 1 { &[] } else { &[2] },
                Data::RawI8(zero.iter().map(|&z| z as u8).collect()),
            )
            .node_with("DequantizeLinear", &["q", "s", "z"], "w", &[("axis", support::onnx::Value::Int(axis))])
            .node("MatMul", &["x", "w"], "y");
        let network = support::read_model(&model.output("y").bytes());
        let column = |x: [i64; 2]| {
            let x = scalecheck::exact::Exact::from_rationals(&x.map(int));
            network.evaluate(&x)[network.outputs()[0]].to_rationals()
        };
        [column([1, 0]), column([0, 1])].concat()
    };
    // 0, −1, 3, −128 as int8.
    assert_eq!(quantised(0, &[0.5], &[1]), [q("-1/2"), int(-1), int(1), q("-129/2")]);
    assert_eq!(quantised(0, &[1.0, 2.0], &[0, 3]), [int(0), int(-1), int(0), int(-262)]);
    assert_eq!(quantised(1, &[1.0, 2.0], &[0, 3]), [int(0), int(-8), int(3), int(-262)]);
}

/// What is known in one half of a case says nothing of the other half: the lines of a change depend on two tensors, and were
/// once shared between the halves if they were not known before the split.
#[test]
fn the_halves_of_a_case_do_not_share_lines() {
    let model =
        Model::new(&[1, 1]).f32("w", &[1, 1], &[1.0]).node("MatMul", &["x", "w"], "p").node("Relu", &["p"], "y");
    let claim = "[inputs]\nbox = { lower = -1, upper = 1 }\n[[perturb]]\nsite = \"input\"\nscale = { family = \"none\" }\n\
                 amplitude = 1\n[output]\ntolerance = \"TOLERANCE\"\n";
    // The largest change is 1: from x = 0, say.
    for (tolerance, word) in [("1/1000", "REJECTED"), ("0.999", "REJECTED"), ("1", "VERIFIED")] {
        let folder = files(&claim.replace("TOLERANCE", tolerance));
        std::fs::write(folder.path().join("model.onnx"), model.clone().output("y").bytes()).unwrap();
        for refined in ["y#change", "p", "p#change"] {
            for at in ["-1", "0", "1"] {
                let proof = json!({
                    "slope_bits": 0,
                    "tensors": [refined, "p"],
                    "refine": [{ "tensor": 0, "rows": [] }],
                    "nodes": [
                        { "split": { "tensor": 1, "element": 0, "at": at } },
                        { "close": [{}, {}] },
                        { "close": [{}, {}] },
                    ],
                });
                assert_eq!(
                    verdict(&folder, json!({ "row": 0, "proof": proof })),
                    Ok(word),
                    "{tolerance} {refined} {at}"
                );
            }
        }
    }
}

/// What other biases bring about is the same at every input; so is what does not change at all. Both have a name, and both
/// depend on the input.
#[test]
fn a_change_that_is_the_same_at_every_input_has_a_name() {
    let model = |bias: f32| {
        let model = Model::new(&[1, 1]).f32("w", &[1, 1], &[2.0]).f32("b", &[1], &[bias]);
        model.node("Relu", &["x"], "h").node("Gemm", &["h", "w", "b"], "y").output("y").bytes()
    };
    let claim = "replace = \"other.onnx\"\n[inputs]\nbox = { lower = -1, upper = 1 }\n[output]\ntolerance = \"3\"\n";
    for (bias, expected) in [(0.0, "VERIFIED"), (3.0, "VERIFIED"), (-3.0, "VERIFIED"), (3.5, "REJECTED")] {
        let folder = files(claim);
        std::fs::write(folder.path().join("model.onnx"), model(0.0)).unwrap();
        std::fs::write(folder.path().join("other.onnx"), model(bias)).unwrap();
        let proof = json!({
            "slope_bits": 0,
            "tensors": ["y#change", "x"],
            "refine": [{ "tensor": 1, "rows": [] }, { "tensor": 0 }],
            "nodes": [{ "close": [{}, {}] }],
        });
        assert_eq!(verdict(&folder, json!({ "row": 0, "proof": proof })), Ok(expected), "{bias}");
    }
}

/// However it is written, the identity of a tensor is that tensor.
#[test]
fn a_product_with_the_identity_is_its_operand() {
    let model = || Model::new(&[1, 2]).f32("w", &[2, 2], &[3.0, 1.0, 0.0, 2.0]).node("MatMul", &["x", "w"], "p");
    let gemm = |m: Model, weights: &[f32]| m.f32("i", &[2, 2], weights).node("Gemm", &["p", "i"], "q");
    let (one, zero) = ([1.0, 0.0, 0.0, 1.0], [0.0, 0.0]);
    let conv = |weight: f32| {
        let model = model().i64("to", &[1, 1, 1, 2]).i64("back", &[1, 2]).f32("i", &[1, 1, 1, 1], &[weight]);
        model.node("Reshape", &["p", "to"], "r").node("Conv", &["r", "i"], "c").node("Reshape", &["c", "back"], "q")
    };
    // Taps of which only the one in the middle meets anything.
    let padded = |others: f32| {
        let mut taps = [others; 9];
        taps[4] = 1.0;
        let model = model().i64("to", &[2, 1, 1, 1]).i64("back", &[1, 2]).f32("i", &[1, 1, 3, 3], &taps);
        let pads = [("pads", Value::Ints(vec![1; 4]))];
        let model = model.node("Reshape", &["p", "to"], "r").node_with("Conv", &["r", "i"], "c", &pads);
        model.node("Reshape", &["c", "back"], "q")
    };
    let cases = [
        (padded(0.0), true),
        (padded(0.5), true),
        (padded(1e-40), true),
        (padded(1e30), true),
        (model().f32("i", &[2, 2], &one).node("MatMul", &["p", "i"], "q"), true),
        (model().f32("i", &[1, 1], &[1.0]).node("MatMul", &["i", "p"], "q"), true),
        (gemm(model(), &one), true),
        (model().f32("i", &[2, 2], &one).f32("b", &[2], &zero).node("Gemm", &["p", "i", "b"], "q"), true),
        (conv(1.0), true),
        (conv(0.5), false),
        (gemm(model(), &[0.0, 1.0, 1.0, 0.0]), false),
        (gemm(model(), &[1.0, 0.0, 0.0, 0.0]), false),
        (gemm(model(), &[1.0, 1.0, 0.0, 1.0]), false),
        (gemm(model(), &[1.0, 0.0, 0.0, 2.0]), false),
        (gemm(model(), &[0.5, 0.0, 0.0, 0.5]), false),
        (gemm(model(), &[1.0, 0.0, 0.0, 1e-30]), false),
    ];
    let claim = "[inputs]\npoint = [1, -1]\n[[perturb]]\nsite = \"input\"\nscale = { family = \"none\" }\n\
                 amplitude = 1\n[output]\ntolerance = 9\n";
    for (case, (model, same)) in cases.into_iter().enumerate() {
        let folder = files(claim);
        std::fs::write(folder.path().join("model.onnx"), model.node("Relu", &["q"], "y").output("y").bytes()).unwrap();
        let statement = statement(&folder).unwrap();
        let problem = statement.problem(0, 0, &statement.clean(&[0]).next().unwrap().unwrap()).unwrap();
        assert!(problem.find("q").is_some());
        assert_eq!(problem.find("p") == problem.find("q"), same, "case {case}");
    }
}

/// Of two models of different shapes, what no output depends on is no tensor of the problem.
#[test]
fn idle_tensors_of_two_copies_are_left_out() {
    let model = || Model::new(&[1, 1]).f32("w", &[1, 1], &[2.0]).node("MatMul", &["x", "w"], "p");
    let idle = model().node("Relu", &["p"], "i").node("MatMul", &["i", "w"], "j").node("Neg", &["p"], "y");
    let claim = "replace = \"other.onnx\"\n[inputs]\nbox = { lower = -1, upper = 1 }\n[output]\ntolerance = \"4\"\n";
    for (name, known) in [("p", true), ("replace:p", true), ("i", false), ("j", false), ("replace:y", true)] {
        let folder = files(claim);
        std::fs::write(folder.path().join("model.onnx"), idle.clone().output("y").bytes()).unwrap();
        std::fs::write(folder.path().join("other.onnx"), model().node("Identity", &["p"], "y").output("y").bytes())
            .unwrap();
        let statement = statement(&folder).unwrap();
        let problem = statement.problem(0, 0, &statement.clean(&[0]).next().unwrap().unwrap()).unwrap();
        assert_eq!(problem.find(name).is_some(), known, "{name}");
    }
}
