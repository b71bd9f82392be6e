//! The gate: open if everything holds, and closed in every other case, with a message that says what to do.

use crate::support::{self, folder, root};
use minisign::KeyPair;
use scalecheck::gate::{self, Finding, Format};
use scalecheck::verify::{Config, digest};
use serde_json::Value;
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, Ordering};

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
    let original = "original = \"575cdce62cb737b9282264705d589c4aa9db75d747ca8776e817b101f36f60d6\"\n";
    assert!(text.contains(original));
    let swapped = text.replace("role = \"replace\"", "role = \"model\"").replace(original, "");
    let policy = gate::Policy::parse(&wrong, swapped.as_bytes()).expect("a policy");
    let failed: Vec<_> = gate::check(&policy, &Config::default()).into_iter().filter_map(|f| f.failure).collect();
    assert_eq!(failed.len(), 1);
    assert_eq!(failed[0].code, "model-mismatch");
    let other = text.replace("claim = \"../claims/digits-int8.toml\"", "claim = \"../claims/digits-float16.toml\"");
    let policy = gate::Policy::parse(&wrong, other.as_bytes()).expect("a policy");
    let failed: Vec<_> = gate::check(&policy, &Config::default()).into_iter().filter_map(|f| f.failure).collect();
    assert_eq!(failed.len(), 1);
    assert_eq!(failed[0].code, "model-other");
    let pinned = text.replace(original, &original.replace('5', "6"));
    let policy = gate::Policy::parse(&wrong, pinned.as_bytes()).expect("a policy");
    let failed: Vec<_> = gate::check(&policy, &Config::default()).into_iter().filter_map(|f| f.failure).collect();
    assert_eq!(failed.len(), 1);
    assert_eq!(failed[0].code, "original-other");
    assert!(failed[0].message.contains("restore that model"), "{}", failed[0].message);
    for text in [text.replace(original, ""), text.replace("role = \"replace\"\n", "")] {
        let e = gate::Policy::parse(&wrong, text.as_bytes()).err().expect("the policy is refused");
        assert!(e.message.contains("needs `original`"), "{e}");
    }
}

/// A copy of the quantised model in the place of the original would be near to itself.
#[test]
fn a_copy_that_is_compared_with_itself_stays_out() {
    let folder = support::folder();
    let copy = |from: &str, to: &str| std::fs::copy(root().join(from), folder.path().join(to)).expect("a copy");
    copy("models/digits-mlp-int8.onnx", "original.onnx");
    copy("models/digits-mlp-int8.onnx", "copy.onnx");
    let claim = "model = \"original.onnx\"\nreplace = \"copy.onnx\"\n[inputs]\nbox = { lower = 0, upper = 1 }\n\
                 [output]\ntolerance = 3\n";
    std::fs::write(folder.path().join("claim.toml"), claim).expect("the claim is written");
    let statement = scalecheck::verify::Statement::load(&folder.path().join("claim.toml"), None).expect("a claim");
    let (outcomes, _) = support::prove_and_verify(&statement, &scalecert::prove::Config::default());
    let certificate = scalecert::bundle::certificate(&statement, &outcomes).expect("nothing changes");
    scalecert::bundle::write(&folder.path().join("c.json"), &certificate, &statement, true).expect("it is written");
    let of = |path: &str| digest(&std::fs::read(root().join(path)).expect("a model"));
    let (original, copy) = (of("models/digits-mlp.onnx"), of("models/digits-mlp-int8.onnx"));
    let policy = |original: &str| {
        format!(
            "[[model]]\nfile = \"copy.onnx\"\nsha256 = \"{copy}\"\n[[require]]\nclaim = \"claim.toml\"\n\
             certificate = \"c.json\"\nrole = \"replace\"\noriginal = \"{original}\"\n"
        )
    };
    let failure = |original: &str| {
        let policy = gate::Policy::parse(&folder.path().join("policy.toml"), policy(original).as_bytes());
        gate::check(&policy.expect("a policy"), &Config::default()).remove(0).failure
    };
    assert_eq!(failure(&original).expect("the gate is shut").code, "original-other");
    // What somebody asks for by its digest is his own affair.
    assert!(failure(&copy).is_none());
}

#[test]
fn a_claim_about_a_truncated_copy_says_nothing_of_the_copy_itself() {
    let folder = support::folder();
    let models = root().join("models");
    let claim = format!(
        "model = \"{0}/digits-mlp.onnx\"\nreplace = \"{0}/digits-mlp-int8.onnx\"\n[inputs]\nbox = {{ lower = 0, upper = 1 }}\n\
         [[truncate]]\nsite = \"input\"\nscale = {1}\n[output]\ntolerance = 3\n",
        models.display(),
        support::blocks(2)
    );
    std::fs::write(folder.path().join("claim.toml"), claim).expect("the claim is written");
    std::fs::write(folder.path().join("c.json"), "{}").expect("a certificate is written");
    let copy = models.join("digits-mlp-int8.onnx");
    let bytes = std::fs::read(&copy).expect("the copy is there");
    let policy = format!(
        "[[model]]\nfile = \"{}\"\nsha256 = \"{}\"\n[[require]]\nclaim = \"claim.toml\"\ncertificate = \"c.json\"\n\
         role = \"replace\"\noriginal = \"{}\"\n",
        copy.display(),
        digest(&bytes),
        digest(&std::fs::read(models.join("digits-mlp.onnx")).expect("the original is there"))
    );
    let policy = gate::Policy::parse(&folder.path().join("policy.toml"), policy.as_bytes()).expect("a policy");
    let failure = gate::check(&policy, &Config::default()).remove(0).failure.expect("the gate is shut");
    assert_eq!(failure.code, "model-other");
    assert!(failure.message.contains("truncated"), "{}", failure.message);
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

/// `scalecheck gate` on the policy in this folder.
fn scalecheck(folder: &Path, arguments: &[&str], output: Option<std::fs::File>) -> Output {
    let mut command = Command::new(support::scalecheck());
    command.current_dir(folder).args(["gate", "policy.toml"]).args(arguments);
    if let Some(file) = output {
        command.stdout(file);
    }
    command.output().expect("scalecheck runs")
}

#[test]
#[cfg(unix)]
fn reached_through_links() {
    let release = Release::new();
    release.write("policy.toml", &release.text());
    // As in a ConfigMap: the names in a folder are links. Paths are relative to the link's folder, not to what it means.
    std::fs::create_dir(release.path("data")).expect("a folder");
    for name in ["policy.toml", "c.json", "model.onnx"] {
        let hidden = release.path("data").join(name);
        std::fs::rename(release.path(name), &hidden).expect("it is moved");
        std::os::unix::fs::symlink(&hidden, release.path(name)).expect("a link");
    }
    let check = || {
        let policy = gate::load(&release.path("policy.toml"), None).expect("a policy");
        gate::check(&policy, &Config::default()).pop().expect("one requirement")
    };
    let finding = check();
    assert!(finding.failure.is_none(), "{:?}", finding.failure);
    let bytes = std::fs::read(release.path("data/c.json")).expect("the certificate");
    assert_eq!(finding.certificate_digest, digest(&bytes));
    // A link means what it means now.
    std::fs::remove_file(release.path("c.json")).expect("it was there");
    std::os::unix::fs::symlink(release.path("nowhere"), release.path("c.json")).expect("a link");
    assert_eq!(check().failure.expect("the gate is open").code, "certificate-missing");
}

/// The verdict and the digest in the report are about the same bytes, whenever a file is replaced.
#[test]
fn a_file_that_is_swapped_meanwhile() {
    let release = Release::new();
    let policy = release.policy();
    for name in ["c.json", "model.onnx", "claim.toml"] {
        let good = std::fs::read(release.path(name)).expect("the file");
        let bad = [&good[..], b"x"].concat();
        let (stop, path) = (AtomicBool::new(false), release.path(name));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for bytes in [&bad, &good].into_iter().cycle() {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    release.write("next", "");
                    std::fs::write(release.path("next"), bytes).expect("it is written");
                    std::fs::rename(release.path("next"), &path).expect("it is replaced");
                }
            });
            // At least 30 times, and until both were met.
            let mut met = [0, 0];
            while met.iter().sum::<u32>() < 30 || met.contains(&0) {
                let finding = gate::check(&policy, &Config::default()).pop().expect("one requirement");
                let of = |name| match name {
                    "c.json" => finding.certificate_digest.clone(),
                    "model.onnx" => finding.model_digest.clone(),
                    _ => finding.claim_digest.clone(),
                };
                let is_good = of(name) == digest(&good);
                assert!(is_good || of(name) == digest(&bad), "{name}: {}", of(name));
                assert_eq!(finding.failure.is_none(), is_good, "{name}: {:?}", finding.failure);
                met[usize::from(is_good)] += 1;
            }
            stop.store(true, Ordering::Relaxed);
        });
        std::fs::write(release.path(name), &good).expect("it is written");
    }
}

#[test]
fn a_signature_of_another_file() {
    let mut release = Release::new();
    let key = release.signed("claim.toml");
    std::fs::rename(release.path("claim.toml.minisig"), release.path("c.json.minisig")).expect("it is moved");
    release.tables = format!("[[signer]]\nname = \"alice\"\nkey = \"{key}\"\n");
    release.closed("signer-unknown", "have it signed");
}

#[test]
fn a_signature_that_is_cut_or_changed_anywhere() {
    let mut release = Release::new();
    let key = release.signed("c.json");
    release.tables = format!("[[signer]]\nname = \"alice\"\nkey = \"{key}\"\n");
    assert!(release.finding().failure.is_none());
    let certificate = std::fs::read(release.path("c.json")).expect("the certificate");
    let signature = std::fs::read(release.path("c.json.minisig")).expect("a signature");
    let text = String::from_utf8(signature.clone()).expect("text").trim_end().to_owned();
    for cut in 0..text.len() {
        assert!(!gate::signed_by(&key, &certificate, &signature[..cut]), "{cut} of {} bytes", text.len());
    }
    // The first line is a comment that nobody signs.
    let first = text.find('\n').expect("lines") + 1;
    for i in (first..text.len()).filter(|&i| text.as_bytes()[i] != b'\n') {
        let mut changed = signature.clone();
        changed[i] ^= 1;
        assert!(!gate::signed_by(&key, &certificate, &changed), "byte {i}");
    }
    release.write("c.json.minisig", &text[..text.len() / 2]);
    release.closed("signer-unknown", "have it signed");
}

/// A certificate may name files as links. Those that are not what it says are not read, and their digest is not told.
#[test]
fn a_link_to_a_file_that_is_none_of_its_business() {
    let mut release = Release::new();
    release.write("secret", "1234");
    let claim = root().join("specs/claims/digits-chain.toml");
    let text = std::fs::read_to_string(root().join("certificates/digits-chain.cert.json")).expect("the certificate");
    let mut certificate: Value = serde_json::from_str(&text).expect("JSON");
    let secrets = [release.path("secret").display().to_string(), "sub/../secret".to_owned()];
    std::fs::create_dir(release.path("sub")).expect("a folder");
    for secret in secrets {
        certificate["links"][0]["claim"]["file"] = secret.into();
        release.write("c.json", &certificate.to_string());
        release.more = String::new();
        let text = release.text().replace("\"claim.toml\"", &format!("'{}'", claim.display()));
        let policy = gate::Policy::parse(&release.path("policy.toml"), text.as_bytes()).expect("a policy");
        let finding = gate::check(&policy, &Config::default()).pop().expect("one requirement");
        let failure = finding.failure.expect("the gate is open");
        assert_eq!(failure.code, "link-mismatch", "{}", failure.message);
        assert!(!failure.message.contains(&digest(b"1234")), "{}", failure.message);
    }
}

/// To open a pipe would be to wait, and a device may never end.
#[test]
#[cfg(unix)]
fn folders_pipes_and_devices_in_the_place_of_files() {
    let mut release = Release::new();
    let key = release.signed("c.json");
    release.tables = format!("[[signer]]\nname = \"alice\"\nkey = \"{key}\"\n");
    assert!(release.finding().failure.is_none());
    let places = [
        ("model.onnx", "model-missing"),
        ("claim.toml", "claim-missing"),
        ("digits-test.csv", "io"),
        ("c.json", "certificate-missing"),
        ("c.json.minisig", "certificate-unsigned"),
    ];
    for (name, code) in places {
        let path = release.path(name);
        let kept = std::fs::read(&path).expect("the file");
        std::fs::remove_file(&path).expect("it was there");
        std::fs::create_dir(&path).expect("a folder");
        release.closed(code, "not a regular file");
        std::fs::remove_dir(&path).expect("it is there");
        assert!(Command::new("mkfifo").arg(&path).status().expect("mkfifo runs").success());
        release.closed(code, "not a regular file");
        std::fs::remove_file(&path).expect("it is there");
        std::os::unix::fs::symlink("/dev/zero", &path).expect("a link");
        release.closed(code, "not a regular file");
        std::fs::remove_file(&path).expect("it is there");
        std::fs::write(&path, kept).expect("it is written");
    }
}

#[test]
fn entries_that_a_policy_has_twice() {
    let release = Release::new();
    let refused = |text: &str, words: &str| {
        let error = gate::Policy::parse(&release.path("policy.toml"), text.as_bytes()).err().expect("it is refused");
        assert!(error.to_string().contains(words), "{error}");
    };
    let text = release.text();
    let (model, require) = text.split_at(text.find("[[require]]").expect("a requirement"));
    refused(&format!("{text}{require}"), "required twice with the same certificate");
    refused(&format!("{model}{text}"), "the model `model.onnx` is named twice");
    let key = KeyPair::generate_unencrypted_keypair().expect("a key").pk.to_base64();
    let signer = format!("[[signer]]\nname = \"alice\"\nkey = \"{key}\"\n");
    refused(&format!("{signer}{signer}{text}"), "the signer `alice` is named twice");
    refused(&text.replace("certified", "certificate = \"d.json\"\ncertified"), "not valid TOML");
    // Two names of one file are two models; each needs its own claims, and both must be the bytes that are named.
    refused(
        &text.replace("[[require]]", &format!("{}[[require]]", model.replace("model.onnx", "./model.onnx"))),
        "with several models",
    );
    // The same claim with another certificate is another requirement.
    let second = require.replace("c.json", "d.json");
    assert!(gate::Policy::parse(&release.path("p"), format!("{text}{second}").as_bytes()).is_ok());
}

/// Nothing is not everything: a list that is empty asks for nothing, and is refused.
#[test]
fn lists_that_are_empty() {
    let release = Release::new();
    let refused = |text: &str| gate::Policy::parse(&release.path("policy.toml"), text.as_bytes()).is_err();
    assert!(refused("model = []\nrequire = []\n"));
    assert!(refused(&(release.text() + "signers = []\n")));
    assert!(refused(&(release.text() + "data = []\n")));
    assert!(refused(&format!("signer = []\n{}", release.text())));
}

#[test]
fn policies_of_any_size() {
    let release = Release::new();
    let text = release.text();
    let (model, require) = text.split_at(text.find("[[require]]").expect("a requirement"));
    let mut many = model.to_owned();
    for i in 0..50_000 {
        many += &require.replace("c.json", &format!("{i}.json"));
    }
    let start = std::time::Instant::now();
    let policy = gate::Policy::parse(&release.path("policy.toml"), many.as_bytes()).expect("a policy");
    assert_eq!(policy.requirements.len(), 50_000);
    assert!(start.elapsed().as_secs() < 20, "{:?}", start.elapsed());
    let error = |bytes: &[u8]| gate::Policy::parse(&release.path("policy.toml"), bytes).err().expect("it is refused");
    let long = text.clone() + &"#".repeat(1 << 24);
    assert_eq!(error(long.as_bytes()).code.as_str(), "limit-size");
    // Nor does depth overflow the stack.
    assert_eq!(error(format!("model = {}", "[".repeat(1 << 20)).as_bytes()).code.as_str(), "claim-syntax");
    assert_eq!(error(format!("a{} = 1", ".a".repeat(1 << 16)).as_bytes()).code.as_str(), "claim-syntax");
}

#[test]
fn a_policy_that_is_not_text() {
    let release = Release::new();
    let bytes = [release.text().as_bytes(), b"# \xff\n"].concat();
    std::fs::write(release.path("policy.toml"), bytes).expect("it is written");
    let error = gate::load(&release.path("policy.toml"), None).err().expect("it is refused");
    assert!(error.to_string().contains("policy.toml: the file is not UTF-8 text [io]"), "{error}");
    // Programs get a report in their format all the same.
    let found = scalecheck(release.folder.path(), &["--format", "sarif"], None);
    assert_eq!(found.status.code(), Some(2));
    let report: Value = serde_json::from_slice(&found.stdout).expect("JSON");
    let result = &report["runs"][0]["results"][0];
    assert_eq!(result["ruleId"], "io");
    assert_eq!(result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"], "policy.toml");
}

#[test]
fn a_place_in_sarif_is_where_the_repository_has_the_file() {
    let mut release = Release::new();
    release.more = String::new();
    let text = release.text().replace("claim.toml", "../a b/./claim.toml");
    let uri = |path: &str| {
        let policy = gate::Policy::parse(Path::new(path), text.as_bytes()).expect("a policy");
        let report = gate::write(&policy, &gate::check(&policy, &Config::default()), Format::Sarif);
        let report: Value = serde_json::from_str(&report).expect("JSON");
        let place = &report["runs"][0]["results"][0]["locations"][0]["physicalLocation"]["artifactLocation"]["uri"];
        place.as_str().expect("a URI").to_owned()
    };
    assert_eq!(uri("specs/policies/policy.toml"), "specs/a%20b/claim.toml");
    assert_eq!(uri("policy.toml"), "../a%20b/claim.toml");
    #[cfg(unix)]
    assert_eq!(uri("/specs/policies/policy.toml"), "file:///specs/a%20b/claim.toml");
}

#[test]
#[cfg(unix)]
fn an_attestation_follows_no_link_that_lies_in_wait() {
    let release = Release::new();
    release.policy();
    release.write("precious", "kept");
    std::os::unix::fs::symlink(release.path("precious"), release.path("a.json.partial")).expect("a link");
    let found = scalecheck(release.folder.path(), &["--attest", "a.json"], None);
    assert_eq!(found.status.code(), Some(0));
    assert_eq!(std::fs::read_to_string(release.path("precious")).expect("it is there"), "kept");
    let text = std::fs::read(release.path("a.json")).expect("the statement");
    assert_eq!(serde_json::from_slice::<Value>(&text).expect("JSON")["_type"], "https://in-toto.io/Statement/v1");
    // None is written if the gate is shut.
    std::fs::remove_file(release.path("a.json")).expect("it was there");
    std::fs::remove_file(release.path("c.json")).expect("it was there");
    assert_eq!(scalecheck(release.folder.path(), &["--attest", "a.json"], None).status.code(), Some(1));
    assert!(!release.path("a.json").exists());
}

#[test]
#[cfg(target_os = "linux")]
fn an_answer_that_nobody_can_read_does_not_open_the_gate() {
    let release = Release::new();
    release.policy();
    let full = std::fs::File::create("/dev/full").expect("a device that is full");
    assert_eq!(scalecheck(release.folder.path(), &[], Some(full)).status.code(), Some(2));
}
