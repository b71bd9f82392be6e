//! The gate: open if everything holds, and closed in every other case, with a message that says what to do.

mod support;

use minisign::KeyPair;
use scalecheck::gate::{self, Finding, Format};
use scalecheck::verify::{Config, digest};
use serde_json::Value;
use std::io::Cursor;
use std::path::PathBuf;
use support::{folder, root};

/// A folder with a policy about copies of the digits model, a claim of 100 rows and its certificate.
struct Release {
    folder: tempfile::TempDir,
    sha256: String,
    /// Keys of the requirement beside claim and certificate, and other tables.
    more: String,
    tables: String,
}

impl Release {
    fn new() -> Self {
        let folder = folder();
        let copy = |from: &str, to: &str| std::fs::copy(root().join(from), folder.path().join(to)).expect("a copy");
        copy("models/digits-mlp.onnx", "model.onnx");
        copy("models/digits-test.csv", "digits-test.csv");
        copy("specs/claims/digits-winner-64.toml", "claim.toml");
        let claim = std::fs::read_to_string(folder.path().join("claim.toml")).expect("the claim");
        let claim = claim.replace("../../models/digits-mlp.onnx", "model.onnx").replace("../../models/", "");
        std::fs::write(folder.path().join("claim.toml"), claim).expect("the claim is written");
        let bytes = std::fs::read(root().join("certificates/digits-winner-64.cert.json")).expect("the certificate");
        let mut certificate: Value = serde_json::from_slice(&bytes).expect("JSON");
        let text = std::fs::read(folder.path().join("claim.toml")).expect("the claim");
        certificate["claim"] = digest(&text).into();
        std::fs::write(folder.path().join("c.json"), certificate.to_string()).expect("the certificate is written");
        let sha256 = digest(&std::fs::read(folder.path().join("model.onnx")).expect("the model"));
        Release { folder, sha256, more: "certified = \"0.97\"".to_owned(), tables: String::new() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).expect("a file is written");
    }

    fn text(&self) -> String {
        format!(
            "{}[[model]]\nfile = \"model.onnx\"\nsha256 = \"{}\"\n[[require]]\nclaim = \"claim.toml\"\n\
             certificate = \"c.json\"\n{}\n",
            self.tables, self.sha256, self.more
        )
    }

    fn policy(&self) -> gate::Policy {
        self.write("policy.toml", &self.text());
        gate::load(&self.path("policy.toml"), None).unwrap_or_else(|e| panic!("{e}"))
    }

    fn finding(&self) -> Finding {
        gate::check(&self.policy(), &Config::default()).pop().expect("one requirement")
    }

    /// The gate is closed, for this reason, and says what to do.
    #[track_caller]
    fn closed(&self, code: &str, advice: &str) {
        let failure = self.finding().failure.expect("the gate is open");
        assert_eq!(failure.code, code, "{}", failure.message);
        assert!(failure.message.contains(advice), "{}", failure.message);
    }

    /// Signs a file with a new key; the public key.
    fn signed(&self, name: &str) -> String {
        let pair = KeyPair::generate_unencrypted_keypair().expect("a key");
        let bytes = std::fs::read(self.path(name)).expect("the file");
        let signature = minisign::sign(None, &pair.sk, Cursor::new(bytes), None, None).expect("a signature");
        self.write(&format!("{name}.minisig"), &signature.into_string());
        pair.pk.to_base64()
    }
}

#[test]
fn open_if_enough_rows_are_certified_of_exactly_this_model() {
    let release = Release::new();
    let finding = release.finding();
    assert!(finding.failure.is_none(), "{:?}", finding.failure);
    assert_eq!((finding.certified, finding.rows), (97, 100));
}

#[test]
fn too_few_rows() {
    let mut release = Release::new();
    release.more = "certified = \"0.971\"".to_owned();
    release.closed("rows-missing", "prove more rows");
    release.more = String::new();
    release.closed("rows-missing", "97 of 100 rows");
}

#[test]
fn a_missing_certificate() {
    let release = Release::new();
    std::fs::remove_file(release.path("c.json")).expect("it was there");
    release.closed("certificate-missing", "scalecert prove");
}

#[test]
fn another_model_than_the_policy_names() {
    let release = Release::new();
    std::fs::copy(root().join("models/digits-mlp-epoch-10.onnx"), release.path("model.onnx")).expect("a copy");
    release.closed("model-stale", "deploy that file");
    std::fs::remove_file(release.path("model.onnx")).expect("it was there");
    release.closed("model-missing", "put the model there");
}

#[test]
fn a_certificate_about_another_model() {
    let mut release = Release::new();
    std::fs::copy(root().join("models/digits-mlp-epoch-10.onnx"), release.path("model.onnx")).expect("a copy");
    release.sha256 = digest(&std::fs::read(release.path("model.onnx")).expect("the model"));
    release.closed("model-mismatch", "have it made again for these");
}

#[test]
fn a_tampered_claim() {
    let mut release = Release::new();
    let claim = std::fs::read_to_string(release.path("claim.toml")).expect("the claim");
    release.more += &format!("\nsha256 = \"{}\"", digest(claim.as_bytes()));
    assert!(release.finding().failure.is_none());
    release.write("claim.toml", &claim.replace("1/64", "1/65"));
    release.closed("claim-tampered", "restore the claim");
    // Without a digest in the policy the certificate's own tells.
    release.more = "certified = \"0.97\"".to_owned();
    release.closed("claim-mismatch", "have it made again");
    std::fs::remove_file(release.path("claim.toml")).expect("it was there");
    release.closed("claim-missing", "put the claim there");
}

/// A pinned claim may still read other rows than were meant, with a certificate for these.
#[test]
fn tampered_data() {
    let mut release = Release::new();
    let data = std::fs::read(release.path("digits-test.csv")).expect("the rows");
    release.more += &format!("\ndata = [\"{}\"]", digest(&data));
    assert!(release.finding().failure.is_none());
    let text = std::fs::read_to_string(release.path("c.json")).expect("the certificate");
    let changed = [&data[..], b"\n"].concat();
    std::fs::write(release.path("digits-test.csv"), &changed).expect("the rows are written");
    release.write("c.json", &text.replace(&digest(&data), &digest(&changed)));
    release.closed("data-tampered", "review the new ones");
    release.more = "certified = \"0.97\"".to_owned();
    assert!(release.finding().failure.is_none());
}

#[test]
fn an_answer_that_does_not_hold() {
    let release = Release::new();
    let text = std::fs::read_to_string(release.path("c.json")).expect("the certificate");
    let mut certificate: Value = serde_json::from_str(&text).expect("JSON");
    let answers = certificate["answers"].as_array_mut().expect("answers");
    let refuted = answers.iter_mut().find(|answer| answer["witness"].is_object()).expect("a witness");
    let witness = &mut refuted["witness"]["perturbation"][0];
    let zeros = witness.as_array().expect("values").iter().map(|_| "0".into()).collect::<Vec<Value>>();
    *witness = zeros.into();
    release.write("c.json", &certificate.to_string());
    release.closed("answer-rejected", "witness-harmless");
    release.write("c.json", "{}");
    release.closed("certificate-format", "restore the file");
}

#[test]
fn unsigned_or_signed_by_another() {
    let mut release = Release::new();
    let key = release.signed("c.json");
    let signer = |name: &str, key: &str| format!("[[signer]]\nname = \"{name}\"\nkey = \"{key}\"\n");
    release.tables = signer("alice", &key);
    assert_eq!(release.finding().signer.as_deref(), Some("alice"));
    // Signed, but not by who is asked for.
    let other = KeyPair::generate_unencrypted_keypair().expect("a key").pk.to_base64();
    release.tables = signer("alice", &key) + &signer("bob", &other);
    release.more += "\nsigners = [\"bob\"]";
    release.closed("signer-unknown", "by bob");
    release.more = release.more.replace("bob", "alice");
    assert!(release.finding().failure.is_none());
    // The certificate is another one than was signed.
    let text = std::fs::read_to_string(release.path("c.json")).expect("the certificate");
    release.write("c.json", &(text + " "));
    release.closed("signer-unknown", "scalecert sign");
    std::fs::remove_file(release.path("c.json.minisig")).expect("it was there");
    release.closed("certificate-unsigned", "scalecert sign");
}

#[test]
fn an_unsigned_policy() {
    let release = Release::new();
    release.policy();
    let path = release.path("policy.toml");
    let other = KeyPair::generate_unencrypted_keypair().expect("a key").pk.to_base64();
    let refused = |key: &str| gate::load(&path, Some(key)).err().map(|e| e.code.as_str());
    assert_eq!(refused(&other), Some("policy-signature"));
    let key = release.signed("policy.toml");
    assert_eq!(refused(&key), None);
    assert_eq!(refused(&other), Some("policy-signature"));
    release.write("policy.toml", &(release.text() + "\n"));
    assert_eq!(refused(&key), Some("policy-signature"));
}

#[test]
fn an_expired_format() {
    let release = Release::new();
    let mut policy = release.policy();
    policy.oldest_format = "scale-certificate/2".to_owned();
    let failure = gate::check(&policy, &Config::default()).pop().and_then(|finding| finding.failure);
    let failure = failure.expect("the gate is open");
    assert_eq!(failure.code, "format-expired");
    assert!(failure.message.contains("have it made again"));
}

#[test]
fn a_quantised_copy_is_what_takes_the_models_place() {
    let policy = gate::load(&root().join("specs/policies/release.toml"), None).expect("a policy");
    let findings = gate::check(&policy, &Config::default());
    assert!(findings.iter().all(|finding| finding.failure.is_none()));
    let text = std::fs::read_to_string(root().join("specs/policies/release.toml")).expect("the policy");
    let wrong = root().join("specs/policies/wrong.toml");
    // Not a file: only its folder counts.
    let swapped = text.replace("role = \"replace\"", "role = \"model\"");
    let policy = gate::Policy::parse(&wrong, swapped.as_bytes()).expect("a policy");
    let failed: Vec<_> = gate::check(&policy, &Config::default()).into_iter().filter_map(|f| f.failure).collect();
    assert_eq!(failed.len(), 1);
    assert_eq!(failed[0].code, "model-mismatch");
    let other = text.replace("claim = \"../claims/digits-int8.toml\"", "claim = \"../claims/digits-float16.toml\"");
    let policy = gate::Policy::parse(&wrong, other.as_bytes()).expect("a policy");
    let failed: Vec<_> = gate::check(&policy, &Config::default()).into_iter().filter_map(|f| f.failure).collect();
    assert_eq!(failed.len(), 1);
    assert_eq!(failed[0].code, "model-other");
}

#[test]
fn policies_that_ask_for_nothing_are_refused() {
    let release = Release::new();
    let text = release.text();
    let refused = |text: &str, words: &str| {
        let error = gate::Policy::parse(&release.path("policy.toml"), text.as_bytes()).err().expect("it is refused");
        assert!(error.to_string().contains(words), "{error}");
    };
    refused("", "`model` is missing");
    refused(text.split("[[require]]").next().unwrap_or_default(), "`require` is missing");
    refused(&text.replace("[[require]]", "[[model]]\nfile = \"b\"\nsha256 = \"0\"\n[[require]]"), "64 lower-case");
    let second =
        format!("[[model]]\nfile = \"b.onnx\"\nsha256 = \"{}\"\n[[require]]\nmodel = \"model.onnx\"", "0".repeat(64));
    refused(&text.replace("[[require]]", &second), "nothing is required of the model `b.onnx`");
    refused(&text.replace("[[require]]", "[[require]]\nmodel = \"c.onnx\""), "no [[model]] has this");
    refused(&text.replace("0.97", "0"), "above 0 and at most 1");
    refused(&text.replace("0.97", "1.01"), "above 0 and at most 1");
    refused(&text.replace("certified", "certify"), "unknown key `certify`");
    refused(&(text.clone() + "signers = [\"eve\"]\n"), "no [[signer]] is named `eve`");
    refused(&format!("[[signer]]\nname = \"a\"\nkey = \"b\"\n{text}"), "minisign public key");
}

#[test]
fn reports_say_the_same_in_every_format() {
    let mut release = Release::new();
    let text = |release: &Release, format| {
        let policy = release.policy();
        gate::write(&policy, &gate::check(&policy, &Config::default()), format)
    };
    let json = |release: &Release, format| serde_json::from_str::<Value>(&text(release, format)).expect("JSON");
    assert_eq!(text(&release, Format::Line), "OPEN: 1 of 1 requirements hold, of 1 models\n");
    assert_eq!(json(&release, Format::Json)["verdict"], "OPEN");
    assert!(text(&release, Format::Junit).contains("failures=\"0\""));
    assert_eq!(json(&release, Format::Sarif)["runs"][0]["results"], serde_json::json!([]));
    release.more = String::new();
    assert!(text(&release, Format::Table).starts_with("FAIL claim.toml  rows-missing\n"));
    assert_eq!(json(&release, Format::Json)["requirements"][0]["code"], "rows-missing");
    assert!(text(&release, Format::Junit).contains("<failure type=\"rows-missing\" message=\"97 of 100"));
    assert_eq!(json(&release, Format::Sarif)["runs"][0]["results"][0]["ruleId"], "rows-missing");
    // Markup in a name is text in XML.
    release.more = "certified = \"0.97\"\nsha256 = \"".to_owned() + &"0".repeat(64) + "\"";
    let named = release.text().replace("claim.toml", "<a&\\\"b>.toml");
    let policy = gate::Policy::parse(&release.path("policy.toml"), named.as_bytes()).expect("a policy");
    let junit = gate::write(&policy, &gate::check(&policy, &Config::default()), Format::Junit);
    assert!(junit.contains("name=\"&lt;a&amp;&quot;b&gt;.toml\""), "{junit}");
}

#[test]
fn an_attestation_names_models_and_claims_by_digest() {
    let release = Release::new();
    let policy = release.policy();
    let statement = gate::attestation(&policy, &gate::check(&policy, &Config::default()));
    assert_eq!(statement["_type"], "https://in-toto.io/Statement/v1");
    assert_eq!(statement["subject"][0]["digest"]["sha256"], release.sha256);
    let claim = &statement["predicate"]["claims"][0];
    assert_eq!(claim["claim"]["digest"]["sha256"], digest(&std::fs::read(release.path("claim.toml")).expect("it")));
    assert_eq!(claim["data"][0]["sha256"], digest(&std::fs::read(release.path("digits-test.csv")).expect("it")));
    assert_eq!((&claim["certifiedRows"], &claim["rows"]), (&97.into(), &100.into()));
}

#[test]
fn scalecert_signs_what_the_gate_accepts() {
    let release = Release::new();
    release.policy();
    let run = |arguments: &[&str], password: &str| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_scalecert"));
        let command = command.current_dir(release.folder.path()).env("SCALECERT_KEY_PASSWORD", password);
        command.arg("sign").args(arguments).output().expect("scalecert runs")
    };
    let made = run(&["--new-key", "key"], "");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let shown = String::from_utf8(made.stdout).expect("UTF-8");
    let public = shown.lines().find_map(|line| line.strip_prefix("public key, for a policy: ")).expect("a public key");
    assert!(run(&["policy.toml", "c.json", "--key", "key"], "").status.success());
    assert!(gate::load(&release.path("policy.toml"), Some(public)).is_ok());
    let signature = std::fs::read(release.path("c.json.minisig")).expect("a signature");
    assert!(gate::signed_by(public, &std::fs::read(release.path("c.json")).expect("the certificate"), &signature));
    assert!(!gate::signed_by(public, b"something else", &signature));
    // A key is never written over, and one with a password needs it.
    assert_eq!(run(&["--new-key", "key"], "").status.code(), Some(2));
    assert!(run(&["--new-key", "locked"], "secret").status.success());
    assert_eq!(run(&["c.json", "--key", "locked"], "").status.code(), Some(2));
    assert_eq!(run(&["c.json", "--key", "locked"], "wrong").status.code(), Some(2));
    assert!(run(&["c.json", "--key", "locked"], "secret").status.success());
}
