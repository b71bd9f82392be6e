//! Rule 4.12: errors of successive models add up, and everything that does not lead from one to the next is refused.

use crate::support::onnx::Model;
use crate::support::tape::{Tape, tape};
use crate::support::{default_proof, q};
use num::Signed;
use proptest::prelude::*;
use proptest::test_runner::Config as Runner;
use scalecheck::certificate::{Answer, Certificate, LinkText, LinkedFileText, StepText};
use scalecheck::error::{Code, Error};
use scalecheck::exact::Exact;
use scalecheck::number::Rational;
use scalecheck::verify::{Config, Report, RowVerdict, Statement, Verdict, digest, verify_with};
use std::path::Path;

/// `y = k x` and, beside it, `z = max(k x, 0)`.
fn model(k: f32) -> Vec<u8> {
    let model = Model::new(&[1, 1]).f32("k", &[], &[k]).node("Mul", &["x", "k"], "y").node("Relu", &["y"], "z");
    model.output("y").output("z").bytes()
}

const UNIT: &str = "[inputs]\nbox = { lower = -1, upper = 1 }\n";
const OUTPUT: &str = "[output]\ntensor = \"y\"\n";
const PERTURB: &str = "[[perturb]]\nsite = \"input\"\nscale = { family = \"none\" }\namplitude = \"1/8\"\n";

struct Files(tempfile::TempDir);

impl Files {
    /// The models a, b, c: once, one and a half times, and two and a half times the input.
    fn new() -> Self {
        let files = Files(tempfile::tempdir().unwrap());
        for (name, k) in [("a.onnx", 1.0), ("b.onnx", 1.5), ("c.onnx", 2.5)] {
            files.write(name, &model(k));
        }
        files
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.path(name), bytes).unwrap();
    }

    /// A claim about two models.
    fn claim(&self, name: &str, [from, to]: [&str; 2], inputs: &str, output: &str, tolerance: &str) -> Statement {
        let text =
            format!("model = \"{from}.onnx\"\nreplace = \"{to}.onnx\"\n{inputs}{output}tolerance = \"{tolerance}\"\n");
        self.write(&format!("{name}.toml"), text.as_bytes());
        self.statement(name)
    }

    fn statement(&self, name: &str) -> Statement {
        Statement::load(&self.path(&format!("{name}.toml")), None).unwrap_or_else(|e| panic!("{e}"))
    }

    /// A claim with the plainest proof of it.
    fn link(&self, name: &str, models: [&str; 2], inputs: &str, output: &str, tolerance: &str) {
        let statement = self.claim(name, models, inputs, output, tolerance);
        let clean = statement.clean(&[0]).next().unwrap().unwrap();
        let problem = statement.problem(0, 0, &clean).unwrap();
        let proof = Some(default_proof(statement.network(), &problem));
        let mut certificate = statement.header("tests");
        certificate.answers.push(Answer { proof, ..Answer::default() });
        self.certificate(name, &certificate);
    }

    fn certificate(&self, name: &str, certificate: &Certificate) {
        self.write(&format!("{name}.json"), &serde_json::to_vec(certificate).unwrap());
    }

    fn linked(&self, file: String) -> LinkedFileText {
        LinkedFileText { sha256: digest(&std::fs::read(self.path(&file)).unwrap()), file }
    }

    /// A certificate of which every link is the next step.
    fn chain(&self, statement: &Statement, links: &[&str]) -> Certificate {
        let mut certificate = statement.header("tests");
        let link = |name: &&str| LinkText {
            claim: self.linked(format!("{name}.toml")),
            certificate: self.linked(format!("{name}.json")),
        };
        certificate.links = links.iter().map(link).collect();
        let steps = (0..links.len()).map(|link| StepText { link, ..StepText::default() }).collect();
        certificate.answers = vec![Answer { chain: Some(steps), ..Answer::default() }];
        certificate
    }

    fn check(&self, statement: &Statement, certificate: &Certificate) -> Result<Report, Error> {
        let bytes = serde_json::to_vec(certificate).unwrap();
        verify_with(statement, &bytes, self.0.path(), &Config::default(), |_, _| ())
    }

    /// Why the chain of these links for a claim about a and c is refused.
    #[track_caller]
    fn refused(&self, inputs: &str, output: &str, tolerance: &str, links: &[&str]) -> Code {
        let statement = self.claim("ac", ["a", "c"], inputs, output, tolerance);
        self.rejection(&statement, &self.chain(&statement, links))
    }

    #[track_caller]
    fn rejection(&self, statement: &Statement, certificate: &Certificate) -> Code {
        match self.check(statement, certificate) {
            Err(error) => error.code,
            Ok(report) => match &report.settings[0].rows[0].1 {
                RowVerdict::Rejected(error) => {
                    assert_eq!(report.verdict(), Verdict::Rejected);
                    error.code
                }
                verdict => panic!("{verdict:?}"),
            },
        }
    }
}

/// Links from a to b and from b to c on [−1, 1].
fn unit() -> Files {
    let files = Files::new();
    files.link("ab", ["a", "b"], UNIT, OUTPUT, "1/2");
    files.link("bc", ["b", "c"], UNIT, OUTPUT, "1");
    files
}

#[test]
fn tolerances_add_up() {
    let files = unit();
    let statement = files.claim("ac", ["a", "c"], UNIT, OUTPUT, "3/2");
    let report = files.check(&statement, &files.chain(&statement, &["ab", "bc"])).unwrap();
    assert_eq!(report.verdict(), Verdict::Verified);
    let verdict = &report.settings[0].rows[0].1;
    assert!(matches!(verdict, RowVerdict::Verified { links: 2, .. }));
    assert_eq!(verdict.established(), Some(&q("3/2")));
    assert_eq!(report.links.len(), 2);
    // On a smaller region the links hold all the more.
    let inner = files.claim("inner", ["a", "c"], "[inputs]\npoint = [\"1/2\"]\nradius = \"1/2\"\n", OUTPUT, "3/2");
    assert_eq!(files.check(&inner, &files.chain(&inner, &["ab", "bc"])).unwrap().verdict(), Verdict::Verified);
    // What a link's proof establishes counts, not what its claim asks for.
    files.link("ab", ["a", "b"], UNIT, OUTPUT, "100");
    assert_eq!(files.check(&inner, &files.chain(&inner, &["ab", "bc"])).unwrap().verdict(), Verdict::Verified);
}

#[test]
fn a_sum_above_the_tolerance_is_refused() {
    assert_eq!(unit().refused(UNIT, OUTPUT, "1.499", &["ab", "bc"]), Code::ChainSum);
}

#[test]
fn a_chain_has_every_link_in_its_order() {
    let files = unit();
    for links in [&["ab"][..], &["bc"], &["bc", "ab"], &["ab", "ab", "bc"], &[]] {
        assert_eq!(files.refused(UNIT, OUTPUT, "9", links), Code::ChainLink, "{links:?}");
    }
    let statement = files.claim("ac", ["a", "c"], UNIT, OUTPUT, "9");
    for step in [
        StepText { link: 2, ..StepText::default() },
        StepText { link: 1, setting: Some(1), row: None },
        StepText { link: 1, setting: None, row: Some(1) },
    ] {
        let mut certificate = files.chain(&statement, &["ab", "bc"]);
        certificate.answers[0].chain.as_mut().unwrap()[1] = step;
        assert_eq!(files.rejection(&statement, &certificate), Code::ChainLink);
    }
}

#[test]
fn the_region_of_every_link_contains_the_claims() {
    let files = unit();
    for inputs in ["box = { lower = -1, upper = \"1.001\" }", "box = { lower = -2, upper = 1 }", "point = [2]"] {
        assert_eq!(files.refused(&format!("[inputs]\n{inputs}\n"), OUTPUT, "9", &["ab", "bc"]), Code::ChainLink);
    }
}

#[test]
fn every_link_is_about_the_claims_output() {
    let files = unit();
    let other = "[output]\ntensor = \"z\"\n";
    assert_eq!(files.refused(UNIT, other, "9", &["ab", "bc"]), Code::ChainLink);
    let doubled = "[output]\ntensor = \"y\"\ncoarse = { matrix = [[2]] }\n";
    assert_eq!(files.refused(UNIT, doubled, "9", &["ab", "bc"]), Code::ChainLink);
}

#[test]
fn a_link_that_is_not_verified_establishes_nothing() {
    let files = unit();
    files.link("ab", ["a", "b"], UNIT, OUTPUT, "0.499");
    assert_eq!(files.refused(UNIT, OUTPUT, "9", &["ab", "bc"]), Code::ChainLink);
    let empty = files.statement("ab").header("tests");
    files.certificate("ab", &empty);
    assert_eq!(files.refused(UNIT, OUTPUT, "9", &["ab", "bc"]), Code::ChainLink);
    // A good answer beside a bad one is not believed.
    for (tolerance, good) in [("9", true), ("1/4", false)] {
        let second = format!("{OUTPUT}[[setting]]\ntolerance = 9\n[[setting]]\n");
        let link = files.claim("ab", ["a", "b"], UNIT, &second, tolerance);
        let clean = link.clean(&[0]).next().unwrap().unwrap();
        let answer = |setting: usize| {
            let proof = Some(default_proof(link.network(), &link.problem(setting, 0, &clean).unwrap()));
            Answer { setting, proof, ..Answer::default() }
        };
        let mut certificate = link.header("tests");
        certificate.answers = vec![answer(0), answer(1)];
        files.certificate("ab", &certificate);
        let statement = files.claim("ac", ["a", "c"], UNIT, OUTPUT, "9");
        let chain = files.chain(&statement, &["ab", "bc"]);
        match good {
            true => assert_eq!(files.check(&statement, &chain).unwrap().verdict(), Verdict::Verified),
            false => assert_eq!(files.rejection(&statement, &chain), Code::ChainLink),
        }
    }
}

#[test]
fn links_are_bound_to_their_bytes() {
    let files = unit();
    let statement = files.claim("ac", ["a", "c"], UNIT, OUTPUT, "9");
    let certificate = files.chain(&statement, &["ab", "bc"]);
    let changed = |name: &str, bytes: &[u8]| {
        let before = std::fs::read(files.path(name)).unwrap();
        files.write(name, bytes);
        let code = files.rejection(&statement, &certificate);
        files.write(name, &before);
        code
    };
    assert_eq!(changed("ab.json", b"{}"), Code::LinkMismatch);
    let claim = std::fs::read(files.path("bc.toml")).unwrap();
    assert_eq!(changed("bc.toml", &[&claim[..], b"\n"].concat()), Code::LinkMismatch);
    // The model in the middle is another one: either link finds that its certificate is not about it.
    assert_eq!(changed("b.onnx", &model(1.25)), Code::DataMismatch);
    std::fs::remove_file(files.path("bc.json")).unwrap();
    assert_eq!(files.rejection(&statement, &certificate), Code::Io);
}

#[test]
fn links_that_meet_in_different_models_are_refused() {
    let files = unit();
    files.write("d.onnx", &model(1.25));
    files.link("dc", ["d", "c"], UNIT, OUTPUT, "9");
    assert_eq!(files.refused(UNIT, OUTPUT, "99", &["ab", "dc"]), Code::ChainLink);
    files.link("bd", ["b", "d"], UNIT, OUTPUT, "9");
    assert_eq!(files.refused(UNIT, OUTPUT, "99", &["ab", "bd"]), Code::ChainLink);
}

#[test]
fn only_the_last_link_has_perturbations_and_at_least_the_claims() {
    let files = unit();
    let inputs = |amplitude: &str| format!("{UNIT}{}", PERTURB.replace("1/8", amplitude));
    files.link("bc", ["b", "c"], &inputs("1/8"), OUTPUT, "9");
    let statement = files.claim("ac", ["a", "c"], &inputs("1/16"), OUTPUT, "9");
    let report = files.check(&statement, &files.chain(&statement, &["ab", "bc"])).unwrap();
    assert_eq!(report.verdict(), Verdict::Verified);
    assert_eq!(files.refused(&inputs("1/4"), OUTPUT, "9", &["ab", "bc"]), Code::ChainLink);
    files.link("ab", ["a", "b"], &inputs("1/8"), OUTPUT, "9");
    assert_eq!(files.refused(&inputs("1/16"), OUTPUT, "99", &["ab", "bc"]), Code::ChainLink);
    files.link("bc", ["b", "c"], UNIT, OUTPUT, "9");
    assert_eq!(files.refused(UNIT, OUTPUT, "99", &["ab", "bc"]), Code::ChainLink);
}

/// A chain without links from a model to itself says nothing of what a perturbation does.
#[test]
fn a_chain_has_a_step() {
    let files = Files::new();
    for inputs in [UNIT.to_owned(), format!("{UNIT}{PERTURB}")] {
        let statement = files.claim("aa", ["a", "a"], &inputs, OUTPUT, "0");
        assert_eq!(files.rejection(&statement, &files.chain(&statement, &[])), Code::ChainLink);
    }
}

#[test]
fn a_chain_has_a_limit() {
    let files = Files::new();
    files.link("aa", ["a", "a"], UNIT, OUTPUT, "0");
    let statement = files.claim("all", ["a", "a"], UNIT, OUTPUT, "0");
    let mut certificate = files.chain(&statement, &["aa"]);
    let step = StepText::default();
    certificate.answers[0].chain = Some(vec![step.clone(); 64]);
    assert_eq!(files.check(&statement, &certificate).unwrap().verdict(), Verdict::Verified);
    certificate.answers[0].chain = Some(vec![step; 65]);
    assert_eq!(files.rejection(&statement, &certificate), Code::LimitSize);
}

/// What a system makes up for a reader, without end or with a wait, is taken for the empty file that it claims to be.
#[cfg(target_os = "linux")]
#[test]
fn files_that_a_system_makes_up_are_not_read() {
    let files = unit();
    let statement = files.claim("ac", ["a", "c"], UNIT, OUTPUT, "9");
    let mut certificate = files.chain(&statement, &["ab", "bc"]);
    certificate.links[0].claim.file = "/proc/self/pagemap".to_owned();
    assert_eq!(files.rejection(&statement, &certificate), Code::LinkMismatch);
}

/// A valid range of the last link that is narrower than the claim's leaves perturbed inputs out.
#[test]
fn the_valid_range_of_a_link_is_as_wide() {
    let files = unit();
    let inputs = |valid: &str| format!("[inputs]\nbox = {{ lower = -1, upper = 1 }}\n{valid}{PERTURB}");
    files.link("bc", ["b", "c"], &inputs("valid = [-1, 1]\n"), OUTPUT, "9");
    let statement = files.claim("ac", ["a", "c"], &inputs("valid = [-1, 1]\n"), OUTPUT, "99");
    let report = files.check(&statement, &files.chain(&statement, &["ab", "bc"])).unwrap();
    assert_eq!(report.verdict(), Verdict::Verified);
    for valid in ["valid = [-2, 1]\n", ""] {
        assert_eq!(files.refused(&inputs(valid), OUTPUT, "99", &["ab", "bc"]), Code::ChainLink);
    }
}

#[test]
fn nothing_is_truncated_on_the_way() {
    let files = unit();
    let scale = "{ family = \"block-mean\", shape = [1], spatial = 1, cutoff = 1 }";
    let inputs = format!("{UNIT}[[truncate]]\nsite = \"input\"\nscale = {scale}\n");
    assert_eq!(files.refused(&inputs, OUTPUT, "9", &["ab", "bc"]), Code::ChainLink);
    files.link("ab", ["a", "b"], &inputs, OUTPUT, "9");
    assert_eq!(files.refused(UNIT, OUTPUT, "99", &["ab", "bc"]), Code::ChainLink);
}

#[test]
fn an_answer_is_a_chain_or_something_else() {
    let files = unit();
    let statement = files.claim("ac", ["a", "c"], UNIT, OUTPUT, "9");
    let mut certificate = files.chain(&statement, &["ab", "bc"]);
    certificate.answers[0].served_by = Some(0);
    assert_eq!(files.rejection(&statement, &certificate), Code::CertificateFormat);
    // Nor beside a proof that holds by itself.
    let clean = statement.clean(&[0]).next().unwrap().unwrap();
    let proof = default_proof(statement.network(), &statement.problem(0, 0, &clean).unwrap());
    let chain = certificate.answers[0].chain.take();
    certificate.answers[0] = Answer { proof: Some(proof), ..Answer::default() };
    assert_eq!(files.check(&statement, &certificate).unwrap().verdict(), Verdict::Verified);
    certificate.answers[0].chain = chain;
    assert_eq!(files.rejection(&statement, &certificate), Code::CertificateFormat);
    // A claim about one model has nothing that a chain could lead to.
    let alone = format!("model = \"a.onnx\"\n{UNIT}{PERTURB}{OUTPUT}tolerance = \"9\"\n");
    files.write("alone.toml", alone.as_bytes());
    let statement = files.statement("alone");
    assert_eq!(files.rejection(&statement, &files.chain(&statement, &["ab", "bc"])), Code::ChainLink);
}

#[test]
fn chains_of_chains_hold_up_to_a_depth() {
    let files = unit();
    let statement = files.claim("ac0", ["a", "c"], UNIT, OUTPUT, "3/2");
    files.certificate("ac0", &files.chain(&statement, &["ab", "bc"]));
    let mut last = Ok(Verdict::Rejected);
    for depth in 1..10 {
        let name = format!("ac{depth}");
        let statement = files.claim(&name, ["a", "c"], UNIT, OUTPUT, "3/2");
        let certificate = files.chain(&statement, &[&format!("ac{}", depth - 1)]);
        last = files.check(&statement, &certificate).map(|report| report.verdict()).map_err(|e| e.code);
        assert_eq!(last, if depth < 8 { Ok(Verdict::Verified) } else { Err(Code::LimitSize) }, "{depth}");
        files.certificate(&name, &certificate);
    }
    assert!(last.is_err());
}

/// `P` and `Q` of a model without such names are told apart by their places, which the model in the middle has the other
/// way round: without a name of its own in the last model, a chain would end at another tensor than the claim.
#[test]
fn a_name_is_the_same_tensor_all_along() {
    let twice = |[first, second]: [&str; 2], [k, l]: [f32; 2]| {
        let model = Model::new(&[1, 1]).f32("k", &[], &[k]).f32("l", &[], &[l]);
        let model = model.node("Mul", &["x", "k"], first).node("Mul", &["x", "l"], second);
        model.output(first).output(second).bytes()
    };
    let files = Files::new();
    files.write("a.onnx", &twice(["T", "U"], [1.0, 1.0]));
    files.write("b.onnx", &twice(["S", "T"], [1.0, 1.0]));
    files.write("c.onnx", &twice(["P", "Q"], [9.0, 1.0]));
    let output = "[output]\ntensor = \"T\"\n";
    files.link("ab", ["a", "b"], UNIT, output, "4");
    files.link("bc", ["b", "c"], UNIT, output, "4");
    for (name, models) in [("ab", ["a", "b"]), ("bc", ["b", "c"])] {
        let statement = files.claim(name, models, UNIT, output, "4");
        let bytes = std::fs::read(files.path(&format!("{name}.json"))).unwrap();
        let report = verify_with(&statement, &bytes, Path::new(""), &Config::default(), |_, _| ()).unwrap();
        assert_eq!(report.verdict(), Verdict::Verified, "{name}");
    }
    // The truth is 8.
    assert_eq!(files.refused(UNIT, output, "8.1", &["ab", "bc"]), Code::ChainLink);
    assert_eq!(files.refused(UNIT, output, "7.9", &["ab", "bc"]), Code::ChainLink);
}

/// `y = Σ v_i max(w_i x + b_i, 0)` with four terms.
fn hidden(tape: &mut Tape) -> Vec<u8> {
    let mut values = |count: usize| (0..count).map(|_| tape.around(16) as f32 / 8.0).collect::<Vec<_>>();
    let model =
        Model::new(&[1, 1]).f32("w", &[1, 4], &values(4)).f32("b", &[4], &values(4)).f32("v", &[4, 1], &values(4));
    let model = model.node("MatMul", &["x", "w"], "p").node("Add", &["p", "b"], "h").node("Relu", &["h"], "r");
    model.node("MatMul", &["r", "v"], "y").output("y").bytes()
}

proptest! {
    #![proptest_config(Runner { cases: 60, failure_persistence: None, ..Runner::default() })]

    /// No input and perturbation moves the output further than a verified chain says, and what it says is the sum.
    #[test]
    fn no_point_exceeds_a_chain(mut tape in tape(120)) {
        let files = Files::new();
        let names = ["a", "b", "c"];
        let models: Vec<Vec<u8>> = names.iter().map(|_| hidden(&mut tape)).collect();
        names.iter().zip(&models).for_each(|(name, bytes)| files.write(&format!("{name}.onnx"), bytes));
        let (centre, radius) = (tape.unit(), tape.unit().abs());
        let inputs = format!("[inputs]\npoint = [\"{centre}\"]\nradius = \"{radius}\"\n");
        let perturbed = if tape.one_in(2) { format!("{inputs}{PERTURB}") } else { inputs.clone() };
        files.link("ab", ["a", "b"], &inputs, OUTPUT, "1000");
        files.link("bc", ["b", "c"], &perturbed, OUTPUT, "1000");
        let statement = files.claim("ac", ["a", "c"], &perturbed, OUTPUT, "2000");
        let report = files.check(&statement, &files.chain(&statement, &["ab", "bc"])).unwrap();
        let most = report.settings[0].rows[0].1.established().expect("the chain holds").clone();
        let read = |bytes: &[u8]| scalecheck::onnx::read(bytes).unwrap();
        let (first, last) = (read(&models[0]), read(&models[2]));
        let output = |network: &scalecheck::network::Network, x: &Rational| {
            network.evaluate(&Exact::from_rationals(std::slice::from_ref(x))).pop().unwrap().get(0)
        };
        for _ in 0..10 {
            let x = &centre + &radius * tape.unit();
            let delta = if perturbed == inputs { q("0") } else { tape.unit() / q("8") };
            let moved = output(&last, &(&x + delta)) - output(&first, &x);
            prop_assert!(moved.abs() <= most, "{x}: {moved} is more than {most}");
        }
        let below = files.claim("below", ["a", "c"], &perturbed, OUTPUT, "0");
        if most > q("0") {
            prop_assert_eq!(files.rejection(&below, &files.chain(&below, &["ab", "bc"])), Code::ChainSum);
        }
    }
}
