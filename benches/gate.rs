//! The gate on a policy of 1,000 claims about the digits model: 250 test rows, each with four amplitudes and tolerances.
//! One run: quote the ratios, not the times. With the name of a folder that does not exist, policy, claims and certificates
//! are kept there: `cargo bench --bench gate -- FOLDER`.

use scalecert::bundle::{certificate, checked_bytes, prove_rows};
use scalecert::prove::Config;
use scalecheck::gate;
use scalecheck::verify::{Config as CheckConfig, Statement, Verdict, digest, verify};
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

const ROWS: usize = 250;
/// Amplitudes, and the tolerance that is claimed for each.
const BOUNDS: [(&str, &str); 4] = [("1/32", "4"), ("1/48", "3"), ("1/64", "5/2"), ("1/96", "2")];

/// Writes claims, certificates and the policy; the path of the policy.
fn make(folder: &Path) -> PathBuf {
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("models");
    for name in ["digits-mlp.onnx", "digits-test.csv"] {
        fs::copy(models.join(name), folder.join(name)).expect("a copy");
    }
    let model = digest(&fs::read(folder.join("digits-mlp.onnx")).expect("the model"));
    let mut policy = format!("[[model]]\nfile = \"digits-mlp.onnx\"\nsha256 = \"{model}\"\n");
    for row in 0..ROWS {
        for (i, (amplitude, tolerance)) in BOUNDS.iter().enumerate() {
            let claim = format!(
                "model = \"digits-mlp.onnx\"\n[inputs]\nfile = \"digits-test.csv\"\nrows = [{row}]\nvalid = [\"0\", \"1\"]\n\
                 [[perturb]]\nsite = \"input\"\nscale = {{ family = \"block-mean\", shape = [8, 8], cutoff = 2 }}\n\
                 amplitude = \"{amplitude}\"\n[output]\ncoarse = \"identity\"\ntolerance = \"{tolerance}\"\n"
            );
            let name = format!("{row}-{i}");
            let path = folder.join(format!("{name}.toml"));
            fs::write(&path, claim).expect("the claim is written");
            let statement = Statement::load(&path, None).expect("the claim is valid");
            let outcomes = prove_rows(&statement, &Config::default(), &|_| (), || ()).expect("the prover is sound");
            let certificate = certificate(&statement, &outcomes).expect("the row has an answer");
            let bytes = checked_bytes(&certificate, &statement).expect("the checker accepts it");
            fs::write(folder.join(format!("{name}.cert.json")), bytes).expect("the certificate is written");
            writeln!(policy, "[[require]]\nclaim = \"{name}.toml\"\ncertificate = \"{name}.cert.json\"")
                .expect("text grows");
        }
    }
    let path = folder.join("policy.toml");
    fs::write(&path, policy).expect("the policy is written");
    path
}

fn main() {
    let kept = std::env::args().skip(1).find(|argument| !argument.starts_with('-')).map(PathBuf::from);
    let temporary = tempfile::tempdir().expect("a temporary folder");
    if let Some(folder) = &kept {
        fs::create_dir(folder).expect("a new folder");
    }
    let folder = kept.as_deref().unwrap_or(temporary.path());
    let start = Instant::now();
    let path = make(folder);
    println!("{} claims proven in {:.1} s", ROWS * BOUNDS.len(), start.elapsed().as_secs_f64());

    let mut one_by_one: Vec<_> = (0..ROWS)
        .map(|row| {
            let start = Instant::now();
            let statement = Statement::load(&folder.join(format!("{row}-0.toml")), None).expect("the claim is valid");
            let bytes = fs::read(folder.join(format!("{row}-0.cert.json"))).expect("the certificate");
            let report = verify(&statement, &bytes, &CheckConfig::default()).expect("it is a certificate");
            assert_eq!(report.verdict(), Verdict::Verified, "row {row}");
            start.elapsed()
        })
        .collect();
    one_by_one.sort_unstable();
    let one = one_by_one[ROWS / 2].as_secs_f64();

    let start = Instant::now();
    let policy = gate::load(&path, None).expect("the policy is valid");
    let findings = gate::check(&policy, &CheckConfig::default());
    let all = start.elapsed().as_secs_f64();
    let failed = findings.iter().find_map(|finding| finding.failure.as_ref());
    assert!(failed.is_none(), "{failed:?}");
    println!("one claim with its certificate, read and verified: {:.2} ms (median)", one * 1e3);
    println!("the gate: {all:.2} s for {} claims", findings.len());
    println!("the gate / one claim: {:.0}, on {} processors", all / one, rayon::current_num_threads());
}
