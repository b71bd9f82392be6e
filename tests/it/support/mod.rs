//! Claims about the digits model, written where a test wants them.

use scalecert::bundle::{certificate, checked_bytes, prove_rows};
use scalecert::prove::{Config, Outcome};
use scalecheck::verify::{Config as CheckConfig, Report, Statement, verify};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The repository's root.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Runs `scalecert`.
pub fn scalecert(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_scalecert")).args(arguments).output().expect("scalecert runs")
}

/// The checker's own program, which lies beside the prover's.
pub fn scalecheck() -> PathBuf {
    let path = Path::new(env!("CARGO_BIN_EXE_scalecert")).with_file_name("scalecheck");
    let path = path.with_extension(std::env::consts::EXE_EXTENSION);
    assert!(path.is_file(), "test the workspace: cargo test --workspace builds {}", path.display());
    path
}

/// A folder of its own for one test, removed with it.
pub fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

/// Text of a claim about rows of the digits model's test set.
pub fn digits_claim(rows: &str, scale: &str, amplitude: &str, output: &str) -> String {
    let models = root().join("models");
    format!(
        "model = \"{0}/digits-mlp.onnx\"\n\
         [inputs]\nfile = \"{0}/digits-test.csv\"\nrows = {rows}\nvalid = [\"0\", \"1\"]\n\
         [[perturb]]\nsite = \"input\"\nscale = {scale}\namplitude = \"{amplitude}\"\n\
         [output]\n{output}\n",
        models.display()
    )
}

/// The block-mean family on the digits model's input.
pub fn blocks(cutoff: usize) -> String {
    format!("{{ family = \"block-mean\", shape = [8, 8], cutoff = {cutoff} }}")
}

/// Writes a claim and reads it back with everything that it names.
pub fn statement(folder: &tempfile::TempDir, claim: &str) -> (PathBuf, Statement) {
    let path = folder.path().join("claim.toml");
    std::fs::write(&path, claim).expect("the claim is written");
    let statement = Statement::load(&path, None).expect("the claim is valid");
    (path, statement)
}

/// Proves every row, and checks the bytes of the certificate that results.
pub fn prove_and_verify(statement: &Statement, config: &Config) -> (Vec<Outcome>, Report) {
    let outcomes = prove_rows(statement, config, &|_| (), || ()).expect("the prover works on every row");
    let certificate = certificate(statement, &outcomes).expect("some row has an answer");
    let bytes = checked_bytes(&certificate, statement).expect("the checker accepts what the prover found");
    let report = verify(statement, &bytes, &CheckConfig::default()).expect("the bytes are a certificate");
    (outcomes, report)
}
