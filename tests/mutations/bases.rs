//! What is mutated: small claims of many kinds with their files and certificates, made anew from a seed by the prover and
//! by random proofs, and the examples of the repository.

use crate::support::case_study::{Plan, random_proof, random_study};
use crate::support::onnx::{Data, Model, Value};
use crate::support::reference::Size;
use crate::support::tape::Tape;
use crate::support::worked_model;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use scalecert::bundle::{certificate, prove_rows};
use scalecert::prove::{Choice, Config, Outcome};
use scalecheck::certificate::{Answer, Certificate, LinkText, LinkedFileText, StepText};
use scalecheck::error::{Code, Error};
use scalecheck::number::{Rational, parse_rational};
use scalecheck::verify::{self, Statement, digest};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

pub const CLAIM: &str = "claim.toml";
pub const CERTIFICATE: &str = "certificate.json";

/// A claim with all of its files in one folder.
pub struct Base {
    pub name: String,
    pub files: BTreeMap<String, Vec<u8>>,
    /// Claims and their certificates, those that others refer to first.
    pub pairs: Vec<[&'static str; 2]>,
    /// True if some perturbation breaks the claim: nothing may verify it.
    pub is_false: bool,
}

/// Base cases of a seed; with the repository's own, if asked for.
pub fn make(seed: u64, examples: bool) -> Vec<Base> {
    let mut random = SmallRng::seed_from_u64(seed);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut bases = Vec::new();
    for k in 0..16 {
        let tape = Tape::of((0..400).map(|_| random.random()).collect());
        bases.extend(study(&format!("study-{k}"), tape, &mut random, folder.path()));
    }
    for (name, text, files) in written(&mut random) {
        bases.extend(proven(&name, &text, files, &mut random, folder.path()));
    }
    bases.extend(touching(folder.path()));
    bases.push(chain(&mut random, folder.path()));
    if examples {
        bases.extend(of_the_repository());
    }
    bases
}

type Files = BTreeMap<String, Vec<u8>>;

fn lay(folder: &Path, files: &Files) {
    for entry in std::fs::read_dir(folder).expect("the folder is there").flatten() {
        std::fs::remove_file(entry.path()).expect("a file of an earlier case");
    }
    for (name, bytes) in files {
        std::fs::write(folder.join(name), bytes).expect("a writable folder");
    }
}

fn load(folder: &Path, files: &Files, claim: &str) -> Result<Statement, Error> {
    lay(folder, files);
    Statement::load(&folder.join(claim), None)
}

/// The outcomes of a quick run of the prover.
fn outcomes(statement: &Statement, method: Choice) -> Vec<Outcome> {
    let deadline = Some(Instant::now() + Duration::from_millis(300));
    let config = Config { deadline, method, ..Config::default() };
    match prove_rows(statement, &config, &|_| (), || ()) {
        Ok(outcomes) => outcomes,
        // A random network may have no winner.
        Err(e) if e.downcast_ref::<Error>().is_some_and(|e| e.code == Code::ClaimClean) => vec![],
        Err(e) => panic!("the prover fails: {e:#}"),
    }
}

fn some_method(random: &mut SmallRng) -> Choice {
    [Choice::Interval, Choice::Crown, Choice::Alpha, Choice::All, Choice::Lp, Choice::Branch][random.random_range(0..6)]
}

/// A random network and claim: what the prover says of it with a tolerance that it can prove, the same certificate for a
/// tolerance that is too small, and a proof at random.
fn study(name: &str, mut tape: Tape, random: &mut SmallRng, folder: &Path) -> Vec<Base> {
    let plan = Plan {
        net: Size { inputs: 3, steps: 5, relus: 6, wild: random.random_bool(0.3) },
        perturbs: 2,
        input_only: random.random_bool(0.3),
        only_blocks: false,
    };
    let study = random_study(&mut tape, plan);
    let mut files = Files::from([("model.onnx".to_owned(), study.net.model.bytes())]);
    let mut bases = Vec::new();
    if let Some((text, tolerance)) = study.text.split_once("tolerance = ") {
        // As wide as to be verified whatever the proof says.
        let wide = format!("{text}tolerance = \"1e30\"\n");
        files.insert(CLAIM.into(), wide.into_bytes());
        let statement = load(folder, &files, CLAIM).expect("the study's claim is valid");
        let proof = random_proof(&mut tape, &study);
        let answer = Answer { proof: Some(proof), ..Answer::default() };
        bases.push(base(format!("{name}-random"), &files, &statement, vec![answer]));
        assert!(!tolerance.is_empty());
    }
    bases.extend(proven(name, &study.text, files, random, folder));
    bases
}

fn base(name: String, files: &Files, statement: &Statement, answers: Vec<Answer>) -> Base {
    let certificate = Certificate { answers, ..statement.header("mutations") };
    let mut files = files.clone();
    files.insert(CERTIFICATE.into(), serde_json::to_vec(&certificate).expect("a certificate can be written"));
    Base { name, files, pairs: vec![[CLAIM, CERTIFICATE]], is_false: false }
}

/// What the prover answers to a claim; for one of a tolerance, also to the tolerance that it proves, and that answer once
/// more for a tolerance that is too small.
fn proven(name: &str, text: &str, mut files: Files, random: &mut SmallRng, folder: &Path) -> Vec<Base> {
    files.insert(CLAIM.into(), text.as_bytes().to_vec());
    let statement = load(folder, &files, CLAIM).unwrap_or_else(|e| panic!("{name}: {e}\n{text}"));
    let method = some_method(random);
    let found = outcomes(&statement, method);
    let answers = |found: &[Outcome]| found.iter().filter_map(|o| o.answer.clone()).collect::<Vec<_>>();
    let mut bases = vec![base(name.to_owned(), &files, &statement, answers(&found))];
    let Some((head, old)) = text.rsplit_once("tolerance = \"").filter(|_| found.len() == 1) else { return bases };
    let rest = old.split_once('"').map_or("", |(_, rest)| rest);
    let with = |tolerance: &Rational| format!("{head}tolerance = \"{tolerance}\"{rest}").into_bytes();
    if let Some(tolerance) = found[0].tightest(&statement.claim().settings[0].property) {
        files.insert(CLAIM.into(), with(tolerance));
        let statement = load(folder, &files, CLAIM).expect("the claim is valid with another tolerance");
        let found = outcomes(&statement, method);
        let certified = answers(&found);
        bases.push(base(format!("{name}-certified"), &files, &statement, certified.clone()));
        if let Some((reached, _)) = &found[0].attacked
            && *reached > Rational::from_integer(0.into())
        {
            let almost = reached * parse_rational("999999/1000000").expect("a rational");
            files.insert(CLAIM.into(), with(&almost));
            let statement = load(folder, &files, CLAIM).expect("the claim is valid with another tolerance");
            let mut hopeless = base(format!("{name}-false"), &files, &statement, certified);
            hopeless.is_false = true;
            bases.push(hopeless);
        }
    }
    bases
}

/// Fully connected layers with ReLUs between them; `noise` moves the weights a little.
fn layers(random: &mut SmallRng, sizes: &[usize], noise: f32) -> Vec<u8> {
    let mut model = Model::new(&[1, sizes[0] as i64]);
    let mut from = "x".to_owned();
    for (k, pair) in sizes.windows(2).enumerate() {
        let mut numbers = |count: usize| {
            let number = |random: &mut SmallRng| random.random_range(-12..=12) as f32 / 8.0;
            (0..count).map(|_| number(random) + noise * random.random_range(-2..=2) as f32).collect::<Vec<_>>()
        };
        let (w, b, last) = (format!("w{k}"), format!("b{k}"), k + 2 == sizes.len());
        model = model.f32(&w, &[pair[1] as i64, pair[0] as i64], &numbers(pair[0] * pair[1]));
        model = model.f32(&b, &[pair[1] as i64], &numbers(pair[1]));
        let to = if last { "y".to_owned() } else { format!("h{k}.pre") };
        model = model.node_with("Gemm", &[&from, &w, &b], &to, &[("transB", Value::Int(1))]);
        if !last {
            from = format!("h{k}");
            model = model.node("Relu", &[&to], &from);
        }
    }
    model.output("y").bytes()
}

/// Two models that differ a little.
fn pair(random: &mut SmallRng, sizes: &[usize]) -> [Vec<u8>; 2] {
    let seed = random.random();
    [0.0, 1.0 / 64.0].map(|noise| layers(&mut SmallRng::seed_from_u64(seed), sizes, noise))
}

fn convolution(random: &mut SmallRng) -> Vec<u8> {
    let mut numbers = |count: usize| (0..count).map(|_| random.random_range(-8..=8) as f32 / 8.0).collect::<Vec<_>>();
    Model::new(&[1, 1, 4, 4])
        .f32("k", &[2, 1, 3, 3], &numbers(18))
        .f32("c", &[2], &numbers(2))
        .f32("w", &[3, 8], &numbers(24))
        .f32("b", &[3], &numbers(3))
        .node_with("Conv", &["x", "k", "c"], "h.pre", &[("pads", Value::Ints(vec![1; 4]))])
        .node("Relu", &["h.pre"], "h")
        .node_with(
            "MaxPool",
            &["h"],
            "p",
            &[("kernel_shape", Value::Ints(vec![2, 2])), ("strides", Value::Ints(vec![2, 2]))],
        )
        .node("Flatten", &["p"], "flat")
        .node_with("Gemm", &["flat", "w", "b"], "y", &[("transB", Value::Int(1))])
        .output("y")
        .bytes()
}

/// Names, claims and files that are written out by hand, with random numbers in them.
fn written(random: &mut SmallRng) -> Vec<(String, String, Files)> {
    let mut all = Vec::new();
    let mut add = |name: &str, text: String, files: Vec<(&str, Vec<u8>)>| {
        let files = files.into_iter().map(|(name, bytes)| (name.to_owned(), bytes)).collect();
        all.push((name.to_owned(), format!("model = \"model.onnx\"\n{text}"), files));
    };
    let sizes = [4, 4, 4, 3];
    let halves = |random: &mut SmallRng| random.random_range(1..=4);
    let block = "{ family = \"block-mean\", shape = [4], cutoff = 2 }";
    let perturb = |site: &str, scale: &str, amplitude: &str| {
        format!("[[perturb]]\nsite = \"{site}\"\nscale = {scale}\namplitude = \"{amplitude}\"\n")
    };

    let model = layers(random, &sizes, 0.0);
    let data = "0,0.5,1,0.25\n1,0,0.125,-1\n0.5,0.5,0.5,0.5\n".to_owned().into_bytes();
    let text = format!(
        "[inputs]\nfile = \"in.csv\"\nrows = [0, 2]\nvalid = [\"-2\", 2]\n{}[output]\ntolerance = \"{}\"\n",
        perturb("input", block, "1/16"),
        halves(random)
    );
    add("rows", text, vec![("model.onnx", model.clone()), ("in.csv", data.clone())]);
    let text = format!(
        "[inputs]\nfile = \"in.csv\"\nrows = \"0..3\"\n{}[output]\ndecision = \"winner\"\n",
        perturb("h0", "{ family = \"none\" }", "1/64")
    );
    add("winner", text, vec![("model.onnx", model.clone()), ("in.csv", data)]);
    let text = format!(
        "[inputs]\npoint = [0, \"1/2\", 1, \"0.25\"]\n{}[output]\n[[setting]]\ntolerance = 20\n[[setting]]\ncutoff = 4\nseen = 2\nreaches = \"1/64\"\n[[setting]]\namplitude = \"1/128\"\ntolerance = 20\n",
        perturb("input", block, "1/8")
    );
    add("settings", text, vec![("model.onnx", model.clone())]);
    let text = "[inputs]\npoint = [0, 1, 0, \"1/3\"]\n[[perturb]]\nweights = \"all\"\nerror = \"relative\"\namplitude = \"1/100\"\n[output]\ntolerance = \"1\"\n".to_owned();
    add("weights", text, vec![("model.onnx", model.clone())]);
    let text = format!(
        "[inputs]\nbox = {{ lower = 0, upper = 1 }}\n{}[output]\ntolerance = \"1\"\n",
        perturb("input", block, "1/8")
    );
    add("region", text, vec![("model.onnx", model.clone())]);
    let text = format!(
        "[inputs]\npoint = [0, \"1/2\", 1, \"0.25\"]\nradius = \"1/16\"\n[[truncate]]\nsite = \"h0\"\nscale = {block}\n[output]\ntolerance = \"2\"\n"
    );
    add("truncated", text, vec![("model.onnx", model)]);
    let [model, other] = pair(random, &sizes);
    let text = format!(
        "replace = \"other.onnx\"\n[inputs]\nbox = {{ lower = -1, upper = 1 }}\n{}[output]\ntolerance = \"3\"\n",
        if random.random() { perturb("input", block, "1/32") } else { String::new() }
    );
    add("replaced", text, vec![("model.onnx", model.clone()), ("other.onnx", other)]);
    let text = "replace = \"other.onnx\"\n[inputs]\nbox = { lower = -1, upper = 1 }\n[output]\ntolerance = \"30\"\n"
        .to_owned();
    add("two-copies", text, vec![("model.onnx", model.clone()), ("other.onnx", layers(random, &[4, 3, 3], 0.0))]);
    let text = format!(
        "[inputs]\npoint = [{}]\n{}[output]\ntolerance = \"4\"\n",
        ["0"; 16].join(","),
        perturb("input", "{ family = \"haar\", shape = [4, 4], cutoff = 2 }", "1/16")
    );
    add("convolution", text, vec![("model.onnx", convolution(random))]);
    let unsafe_set = [
        format!("(assert (>= Y_0 {}.0))", halves(random)),
        "(assert (or (and (>= Y_0 Y_1) (<= Y_2 -3.0)) (and (>= Y_1 2.5))))".to_owned(),
    ];
    for (k, output) in unsafe_set.iter().enumerate() {
        let mut property = String::new();
        (0..4).for_each(|i| property += &format!("(declare-const X_{i} Real)\n"));
        (0..3).for_each(|i| property += &format!("(declare-const Y_{i} Real)\n"));
        (0..4).for_each(|i| property += &format!("(assert (<= X_{i} 0.5))\n(assert (>= X_{i} -0.25))\n"));
        property += output;
        add(
            &format!("property-{k}"),
            "property = \"p.vnnlib\"\n".to_owned(),
            vec![("model.onnx", model.clone()), ("p.vnnlib", property.into_bytes())],
        );
    }
    all
}

/// Claims that are false by a hair: an unsafe set that the network's output just touches, and a tolerance that is just
/// below what is reached. The proofs are those of claims that are true by as little.
fn touching(folder: &Path) -> Vec<Base> {
    let mut bases = Vec::new();
    // The output is relu(2x + y) − relu(x − y + 1): where x is 1, at most 2, which it is where y is 1.
    let property = |threshold: &str| {
        let declared = "(declare-const X_0 Real)(declare-const X_1 Real)(declare-const Y_0 Real)\n";
        let domain = "(assert (<= X_0 1.0))(assert (>= X_0 1.0))(assert (<= X_1 1.0))(assert (>= X_1 0.0))\n";
        format!("{declared}{domain}(assert (>= Y_0 {threshold}))\n").into_bytes()
    };
    let claim = |threshold: &str| {
        let model = ("model.onnx".to_owned(), worked_model().bytes());
        let text = (CLAIM.to_owned(), b"model = \"model.onnx\"\nproperty = \"p.vnnlib\"\n".to_vec());
        Files::from([model, text, ("p.vnnlib".to_owned(), property(threshold))])
    };
    let above = claim("2.0000001");
    let statement = load(folder, &above, CLAIM).expect("the claim is valid");
    let answers: Vec<Answer> = outcomes(&statement, Choice::Branch).into_iter().filter_map(|o| o.answer).collect();
    bases.push(base("just-safe".to_owned(), &above, &statement, answers.clone()));
    let at = claim("2");
    let statement = load(folder, &at, CLAIM).expect("the claim is valid");
    bases.push(Base { is_false: true, ..base("touching".to_owned(), &at, &statement, answers) });
    bases
}

/// Three models of `y = k x`, and the errors between them added up.
fn chain(random: &mut SmallRng, folder: &Path) -> Base {
    let factors = [1.0, 1.5, 2.5].map(|k: f32| k + random.random_range(0..4) as f32 / 8.0);
    let mut files = Files::new();
    for (name, k) in ["model.onnx", "b.onnx", "c.onnx"].into_iter().zip(factors) {
        let model = Model::new(&[1, 1]).constant("k", &[], Data::RawF32(vec![k])).node("Mul", &["x", "k"], "y");
        files.insert(name.into(), model.node("Relu", &["y"], "z").output("y").output("z").bytes());
    }
    let text = |from: &str, to: &str| {
        format!(
            "model = \"{from}.onnx\"\nreplace = \"{to}.onnx\"\n[inputs]\nbox = {{ lower = -1, upper = 1 }}\n[output]\ntensor = \"y\"\ntolerance = \"4\"\n"
        )
    };
    for (name, from, to) in [("1.toml", "model", "b"), ("2.toml", "b", "c"), (CLAIM, "model", "c")] {
        files.insert(name.into(), text(from, to).into_bytes());
    }
    let mut links = Vec::new();
    for [claim, proof] in [["1.toml", "1.json"], ["2.toml", "2.json"]] {
        let statement = load(folder, &files, claim).expect("the link's claim is valid");
        let made = certificate(&statement, &outcomes(&statement, Choice::Crown)).expect("the link is proven");
        files.insert(proof.into(), serde_json::to_vec(&made).expect("a certificate can be written"));
        let [claim, certificate] =
            [claim, proof].map(|file| LinkedFileText { file: file.into(), sha256: digest(&files[file]) });
        links.push(LinkText { claim, certificate });
    }
    let statement = load(folder, &files, CLAIM).expect("the chain's claim is valid");
    let steps = [0, 1].map(|link| StepText { link, ..StepText::default() }).to_vec();
    let answers = vec![Answer { chain: Some(steps), ..Answer::default() }];
    let certificate = Certificate { links, answers, ..statement.header("mutations") };
    files.insert(CERTIFICATE.into(), serde_json::to_vec(&certificate).expect("a certificate can be written"));
    let pairs = vec![["1.toml", "1.json"], ["2.toml", "2.json"], [CLAIM, CERTIFICATE]];
    Base { name: "chain".into(), files, pairs, is_false: false }
}

/// The worked example, and claims about the digits model that are checked fast.
fn of_the_repository() -> Vec<Base> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |name: &str| verify::read(&root.join(name)).unwrap_or_else(|e| panic!("{e}"));
    let mut bases = Vec::new();
    for part in ["", "-split", "-refuted"] {
        let files = Files::from([
            (CLAIM.to_owned(), read(&format!("specs/worked-example/claim{part}.toml"))),
            (CERTIFICATE.to_owned(), read(&format!("specs/worked-example/certificate{part}.json"))),
            ("model.onnx".to_owned(), read("specs/worked-example/model.onnx")),
        ]);
        bases.push(Base { name: format!("worked{part}"), files, pairs: vec![[CLAIM, CERTIFICATE]], is_false: false });
    }
    for name in ["digits-groups", "digits-box", "digits-hidden", "digits-property"] {
        let claim = String::from_utf8(read(&format!("specs/claims/{name}.toml"))).expect("a claim is text");
        let claim = claim.replace("../../models/", "");
        let certificate = read(&format!("certificates/{name}.cert.json"));
        let mut files = Files::from([
            (CLAIM.to_owned(), claim.into_bytes()),
            (CERTIFICATE.to_owned(), certificate),
            ("digits-mlp.onnx".to_owned(), read("models/digits-mlp.onnx")),
        ]);
        match name {
            "digits-property" => {
                files.insert("digits-property.vnnlib".into(), read("specs/claims/digits-property.vnnlib"))
            }
            _ => files.insert("digits-test.csv".into(), read("models/digits-test.csv")),
        };
        bases.push(Base { name: name.into(), files, pairs: vec![[CLAIM, CERTIFICATE]], is_false: false });
    }
    bases
}
