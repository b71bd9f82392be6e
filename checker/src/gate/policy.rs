//! A policy: which models may be deployed, and what must be certified of them.

use crate::certificate::FORMAT;
use crate::claim::{self, Item};
use crate::error::{Code, Error, Result};
use crate::number::Rational;
use crate::verify::{folder, read};
use minisign_verify::{PublicKey, Signature};
use num::{One, Signed};
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

/// Largest policy, in bytes.
const MAX_POLICY: usize = 1 << 24;

/// A policy as written; paths are relative to its folder.
pub struct Policy {
    /// The file's name, for reports.
    pub name: String,
    pub models: Vec<Model>,
    pub requirements: Vec<Requirement>,
    /// Names and public keys.
    pub signers: Vec<(String, String)>,
    pub oldest_format: String,
}

/// A file that is to be deployed.
pub struct Model {
    /// The path as the policy gives it.
    pub name: String,
    pub path: PathBuf,
    pub sha256: String,
}

/// A claim that must be certified.
pub struct Requirement {
    pub claim_name: String,
    pub claim: PathBuf,
    /// SHA-256 of the claim, if the policy pins it.
    pub sha256: Option<String>,
    /// SHA-256 of the other files that the claim reads, in the order of the certificate's `data`, if the policy pins them.
    pub data: Option<Vec<String>>,
    pub certificate_name: String,
    pub certificate: PathBuf,
    /// Position of the model.
    pub model: usize,
    /// If that is what takes the place of the claim's model, such as a quantised copy: the SHA-256 of the claim's model.
    /// Without it any file could stand there, the very copy for one.
    pub original: Option<String>,
    /// The part of rows that must be certified.
    pub certified: Rational,
    /// Names of the signers of whom one must have signed the certificate.
    pub signers: Vec<String>,
}

impl Policy {
    pub fn parse(path: &Path, bytes: &[u8]) -> Result<Policy> {
        let name = path.display().to_string();
        if bytes.len() > MAX_POLICY {
            return Err(Error::new(Code::LimitSize, name, "the policy is larger than 16 MiB; make several of it"));
        }
        let not_text = |_| Error::new(Code::Io, name.clone(), "the file is not UTF-8 text");
        let text = std::str::from_utf8(bytes).map_err(not_text)?;
        claim::read_document(&name, "policy", text, |item| policy(item, &folder(path)))
    }
}

fn policy(item: &Item<'_>, folder: &Path) -> Result<Policy> {
    let [oldest, signers, models, requirements] = item.table(["oldest_format", "signer", "model", "require"])?;
    let signers = signers.optional(|item| item.list(signer))?.unwrap_or_default();
    if let Some((name, _)) = repeated(&signers, |(name, _)| name) {
        return item.error(Code::Policy, format!("the signer `{name}` is named twice"));
    }
    let models = models.list(|item| model(item, folder))?;
    if let Some(model) = repeated(&models, |model| &model.name) {
        return item.error(Code::Policy, format!("the model `{}` is named twice", model.name));
    }
    let position: HashMap<&str, usize> = models.iter().enumerate().map(|(m, model)| (&model.name[..], m)).collect();
    let read = requirements.list(|item| requirement(item, folder, &position, &signers))?;
    // One of the two was meant to be something else.
    if let Some(again) = repeated(&read, |r| (&r.claim_name, &r.certificate_name, r.model, &r.original)) {
        let message = format!("the claim `{}` is required twice with the same certificate and model", again.claim_name);
        return item.error(Code::Policy, message);
    }
    let asked: HashSet<usize> = read.iter().map(|r| r.model).collect();
    if let Some((_, bare)) = models.iter().enumerate().find(|(m, _)| !asked.contains(m)) {
        return item
            .error(Code::Policy, format!("nothing is required of the model `{}`; add a [[require]]", bare.name));
    }
    let oldest_format = oldest.optional(|item| item.choice(&[(FORMAT, FORMAT)]))?.unwrap_or(FORMAT).to_owned();
    Ok(Policy { name: item.document().to_owned(), models, requirements: read, signers, oldest_format })
}

/// The first entry with the key of an earlier one.
fn repeated<'t, T, K: Eq + std::hash::Hash>(entries: &'t [T], key: impl Fn(&'t T) -> K) -> Option<&'t T> {
    let mut seen = HashSet::new();
    entries.iter().find(|entry| !seen.insert(key(entry)))
}

fn signer(item: &Item<'_>) -> Result<(String, String)> {
    let [name, key] = item.table(["name", "key"])?;
    let text = key.text()?;
    key.ensure(PublicKey::from_base64(text).is_ok(), Code::Policy, "`key` must be a minisign public key in base64")?;
    Ok((name.text()?.to_owned(), text.to_owned()))
}

fn model(item: &Item<'_>, folder: &Path) -> Result<Model> {
    let [file, sha256] = item.table(["file", "sha256"])?;
    let name = file.text()?.to_owned();
    Ok(Model { path: folder.join(&name), name, sha256: hexadecimal(&sha256)? })
}

fn hexadecimal(item: &Item<'_>) -> Result<String> {
    let text = item.text()?;
    let is_digest = text.len() == 64 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    item.ensure(is_digest, Code::Policy, "a SHA-256 has 64 lower-case hexadecimal digits")?;
    Ok(text.to_owned())
}

fn requirement(
    item: &Item<'_>,
    folder: &Path,
    models: &HashMap<&str, usize>,
    signers: &[(String, String)],
) -> Result<Requirement> {
    let [claim, sha256, data, certificate, model, role, original, certified, accepted] =
        item.table(["claim", "sha256", "data", "certificate", "model", "role", "original", "certified", "signers"])?;
    let chosen = match (model.is_given(), models.len()) {
        (false, 1) => Some(0),
        (false, _) => return model.error(Code::Policy, "with several models, `model` says which one it is about"),
        (true, _) => models.get(model.text()?).copied(),
    };
    let Some(chosen) = chosen else {
        return model.error(Code::Policy, "no [[model]] has this `file`");
    };
    let part = certified.optional(Item::rational)?.unwrap_or_else(Rational::one);
    let sensible = part.is_positive() && part <= Rational::one();
    certified.ensure(sensible, Code::Policy, "`certified` must be a part of the rows: above 0 and at most 1")?;
    let all = || signers.iter().map(|(name, _)| name.clone()).collect();
    let accepted_names = accepted.optional(|item| item.list(|name| Ok(name.text()?.to_owned())))?.unwrap_or_else(all);
    if let Some(unknown) = accepted_names.iter().find(|name| !signers.iter().any(|(known, _)| known == *name)) {
        return accepted.error(Code::Policy, format!("no [[signer]] is named `{unknown}`"));
    }
    let replaces = role.optional(|item| item.choice(&[("model", false), ("replace", true)]))?.unwrap_or_default();
    let message =
        "`role = \"replace\"`, and nothing else, needs `original`: the SHA-256 of the model whose place it takes";
    (if original.is_given() { &original } else { &role }).ensure(
        original.is_given() == replaces,
        Code::Policy,
        message,
    )?;
    let (claim_name, certificate_name) = (claim.text()?.to_owned(), certificate.text()?.to_owned());
    Ok(Requirement {
        claim: folder.join(&claim_name),
        claim_name,
        sha256: sha256.optional(hexadecimal)?,
        data: data.optional(|item| item.list(hexadecimal))?,
        certificate: folder.join(&certificate_name),
        certificate_name,
        model: chosen,
        original: original.optional(hexadecimal)?,
        certified: part,
        signers: accepted_names,
    })
}

/// Where the signature of a file is: beside it, as minisign puts it.
pub fn signature_path(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".minisig");
    PathBuf::from(name)
}

/// True if the signature, in the format of minisign (Ed25519), is one of these bytes by this public key.
pub fn signed_by(key: &str, bytes: &[u8], signature: &[u8]) -> bool {
    let (Ok(key), Ok(text)) = (PublicKey::from_base64(key), std::str::from_utf8(signature)) else { return false };
    Signature::decode(text).is_ok_and(|signature| key.verify(bytes, &signature, false).is_ok())
}

/// An error unless the file beside a policy is a signature of it by this public key.
pub fn check_signature(path: &Path, bytes: &[u8], key: &str) -> Result<()> {
    let beside = signature_path(path);
    let advice = "sign it with `scalecert sign`, or name the key that signed it";
    let failed = |message: String| Error::new(Code::PolicySignature, beside.display().to_string(), message);
    let signature = read(&beside).map_err(|e| failed(format!("the policy is not signed: {}; {advice}", e.message)))?;
    if signed_by(key, bytes, &signature) {
        return Ok(());
    }
    Err(failed(format!("this is no signature of the policy by the key {key}; {advice}")))
}
