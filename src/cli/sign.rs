//! `scalecert sign`: Ed25519 signatures over certificates and policies, in the format of minisign.

use super::console::{Answer, Console};
use crate::bundle::replace;
use anyhow::{Context, Result, bail};
use minisign::{KeyPair, SecretKey, SecretKeyBox};
use scalecheck::verify::read;
use serde_json::json;
use std::io::{Cursor, Write};
use std::path::{Path, PathBuf};

/// Environment variable of the password of a secret key.
const PASSWORD: &str = "SCALECERT_KEY_PASSWORD";

/// Sign certificates or policies: FILE.minisig is written beside each, as `minisign` does and `scalecheck gate` asks for. A key
/// may be encrypted with a password, which is read from the environment variable SCALECERT_KEY_PASSWORD.
///
/// Exit codes: 0 all are signed, 2 bad input.
#[derive(clap::Args)]
pub struct Arguments {
    /// Certificates or policies.
    #[arg(required_unless_present = "new_key")]
    files: Vec<PathBuf>,
    /// The secret key, a file that `minisign` or --new-key made.
    #[arg(long, required_unless_present = "new_key")]
    key: Option<PathBuf>,
    /// Make a new key: the secret one in this file, the public one beside it with `.pub`.
    #[arg(long, value_name = "KEY", conflicts_with_all = ["files", "key"])]
    new_key: Option<PathBuf>,
}

pub fn run(arguments: &Arguments, console: &Console) -> Result<Answer> {
    let password = std::env::var(PASSWORD).ok().filter(|password| !password.is_empty());
    if let Some(path) = &arguments.new_key {
        return new_key(path, password, console);
    }
    let path = arguments.key.as_deref().context("--key is needed")?;
    let key = secret_key(path, password)?;
    let mut signatures = Vec::new();
    for file in &arguments.files {
        let bytes = read(file)?;
        let about = format!("file:{}", file.file_name().unwrap_or_default().to_string_lossy());
        let signature =
            minisign::sign(None, &key, Cursor::new(bytes), Some(&about), Some("signature by scalecert sign"))?;
        let mut beside = file.clone().into_os_string();
        beside.push(".minisig");
        replace(Path::new(&beside), signature.into_string().as_bytes())?;
        console.say(format!("wrote {}", beside.display()));
        signatures.push(beside.display().to_string());
    }
    Answer::new(0, json!({ "signatures": signatures }))
}

fn secret_key(path: &Path, password: Option<String>) -> Result<SecretKey> {
    let place = || path.display().to_string();
    let text = String::from_utf8(read(path)?).with_context(place)?;
    let parsed = |text: &str| SecretKeyBox::from_string(text).with_context(place);
    if let Ok(key) = parsed(&text)?.into_unencrypted_secret_key() {
        return Ok(key);
    }
    if password.is_none() {
        bail!("{}: this is no secret key without a password; put the password into {PASSWORD}", place());
    }
    parsed(&text)?.into_secret_key(password).with_context(place)
}

fn new_key(path: &Path, password: Option<String>, console: &Console) -> Result<Answer> {
    let mut public = path.as_os_str().to_owned();
    public.push(".pub");
    let public = PathBuf::from(public);
    let encrypted = password.is_some();
    let pair = match password {
        Some(password) => KeyPair::generate_encrypted_keypair(Some(password))?,
        None => KeyPair::generate_unencrypted_keypair()?,
    };
    let secret = pair.sk.to_box(Some("secret key of scalecert sign"))?.into_string();
    create(path, &secret, true)?;
    create(&public, &pair.pk.to_box()?.into_string(), false)?;
    console.say(format!("wrote {} and {}", path.display(), public.display()));
    console.say(format!("public key, for a policy: {}", pair.pk.to_base64()));
    if !encrypted {
        console.say(format!("the secret key is not encrypted; with a password in {PASSWORD} it would be"));
    }
    let (secret, public) = (path.display().to_string(), public.display().to_string());
    let key = pair.pk.to_base64();
    Answer::new(
        0,
        json!({ "secret_key": secret, "encrypted": encrypted, "public_key_file": public, "public_key": key }),
    )
}

/// Writes a file that must not exist yet, for its owner alone if it is secret.
fn create(path: &Path, text: &str, secret: bool) -> Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, if secret { 0o600 } else { 0o644 });
    let mut file = options.open(path).with_context(|| format!("cannot make {}", path.display()))?;
    file.write_all(text.as_bytes()).with_context(|| path.display().to_string())
}
