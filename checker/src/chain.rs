//! Rule 4.12, chains: the errors of successive models add up.
//!
//! Premises: models `f_0, …, f_n`, f_0 the claim's model and f_n the one that takes its place. For every i a claim with a
//! certificate of its own, which are bound by their SHA-256 and checked as any other: at every x of a region that contains
//! the claim's, `|G f_{i-1}(x) − G f_i(x)| ≤ τ_i` in every coordinate. Models are the same if their bytes are; G is the
//! claim's own coarse map of the tensor that the claim is about, which f_n has by the same name, and so it is with sites:
//! else a name could mean one tensor of f_n here and another there. (Of every other f_i a claim could not speak.) With
//! perturbations the last of these claims, and no other, has them: `|G f_{n-1}(x) − G f_n(x + δ)| ≤ τ_n` for at least the claim's δ.
//! Conclusion: `|G f_0(x) − G f_n(x + δ)| ≤ Σ τ_i` on the claim's region, by the triangle inequality.
//!
//! A chain that refers to itself would have to know its own SHA-256; the depth is limited all the same.

use crate::certificate::{LinkText, LinkedFileText, StepText};
use crate::claim::{Claim, Setting, Site};
use crate::error::{Code, Error, Result, ensure, error};
use crate::number::{Rational, approximate};
use crate::verify::{Config, RowVerdict, SettingReport, Statement, digest, folder, read, verify_in};
use crate::vnnlib::Region;
use num::Zero;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Deepest chain of chains.
const MAX_DEPTH: usize = 8;
/// Most links of one certificate.
const MAX_LINKS: usize = 256;
/// Most links of a chain and all chains that it refers to.
const MAX_ALL_LINKS: usize = 1024;
/// Most bytes of the models and data of all links.
const MAX_BYTES: u64 = 1 << 31;
/// Most steps of one chain.
const MAX_STEPS: usize = 64;

/// What a link's claim is about, and what its certificate established.
pub struct Linked {
    /// SHA-256 of the model and of the one in its place.
    model: String,
    replacement: Option<String>,
    truncates: bool,
    valid: Option<(Rational, Rational)>,
    settings: Vec<Setting>,
    /// Regions by row, and by setting the tolerance that is verified there.
    rows: HashMap<usize, (Region, Vec<Option<Rational>>)>,
}

/// The links that have been checked, each once.
#[derive(Default)]
pub struct Links {
    /// By the SHA-256 of claim and certificate.
    known: HashMap<[String; 2], Arc<Linked>>,
    depth: usize,
    bytes: u64,
}

impl Links {
    /// Checks the links of a certificate, whose files are named relative to `from`.
    pub fn check(&mut self, links: &[LinkText], from: &Path, config: &Config) -> Result<Vec<Arc<Linked>>> {
        let message = || format!("the certificate has {} links, at most {MAX_LINKS} are allowed", links.len());
        ensure(links.len() <= MAX_LINKS, Code::LimitSize, message())?;
        let one =
            |(i, link): (usize, &LinkText)| self.one(link, from, config).map_err(|e| e.within(&format!("links[{i}]")));
        links.iter().enumerate().map(one).collect()
    }

    fn one(&mut self, link: &LinkText, from: &Path, config: &Config) -> Result<Arc<Linked>> {
        let key = [link.claim.sha256.clone(), link.certificate.sha256.clone()];
        if let Some(known) = self.known.get(&key) {
            return Ok(Arc::clone(known));
        }
        ensure(self.depth < MAX_DEPTH, Code::LimitSize, format!("a chain of chains is deeper than {MAX_DEPTH}"))?;
        let all = format!("a chain refers to more than {MAX_ALL_LINKS} others");
        ensure(self.known.len() < MAX_ALL_LINKS, Code::LimitSize, all)?;
        let (claim_path, claim) = open(&link.claim, from)?;
        let (certificate_path, certificate) = open(&link.certificate, from)?;
        let statement = Statement::of(&claim_path, &claim, None)?;
        self.bytes += statement.bytes();
        ensure(self.bytes <= MAX_BYTES, Code::LimitSize, "the models and data of all links are larger than 2 GiB")?;
        let mut regions: Vec<(usize, Region)> = Vec::new();
        let note = |row: usize, region: Option<&Region>| regions.extend(region.map(|region| (row, region.clone())));
        self.depth += 1;
        let report = verify_in(&statement, &certificate, &folder(&certificate_path), config, self, note, |_, _| ())
            .map_err(|e| e.within(&certificate_path.display().to_string()))?;
        self.depth -= 1;
        // A file with a bad answer is not believed in part.
        let mut verdicts = report.settings.iter().flat_map(|setting| &setting.rows);
        let believed = !verdicts.any(|(_, verdict)| matches!(verdict, RowVerdict::Rejected(_)));
        let established = |row: usize| {
            let of = |setting: &SettingReport| {
                if !believed {
                    return None;
                }
                let found = setting.rows.binary_search_by_key(&row, |(row, _)| *row).ok();
                found.and_then(|position| setting.rows[position].1.established().cloned())
            };
            report.settings.iter().map(of).collect()
        };
        let linked = Arc::new(Linked {
            model: statement.model().to_owned(),
            replacement: statement.replacement().map(str::to_owned),
            truncates: !statement.claim().truncate.is_empty(),
            valid: statement.claim().valid.clone(),
            settings: statement.claim().settings.clone(),
            rows: regions.into_iter().map(|(row, region)| (row, (region, established(row)))).collect(),
        });
        self.known.insert(key, Arc::clone(&linked));
        Ok(linked)
    }
}

/// The bytes of a file that a link names, if they are the ones that it means.
fn open(file: &LinkedFileText, from: &Path) -> Result<(PathBuf, Vec<u8>)> {
    let path = from.join(&file.file);
    let bytes = read(&path)?;
    // A certificate of a stranger may name any file: its digest is not told.
    let message = || format!("the link means another file, one whose SHA-256 is {}", file.sha256);
    if digest(&bytes) == file.sha256 {
        Ok((path, bytes))
    } else {
        Err(Error::new(Code::LinkMismatch, path.display().to_string(), message()))
    }
}

/// The sum of the tolerances that the steps establish from the statement's model to the one in its place, for a setting at
/// a region.
pub fn sum(
    statement: &Statement,
    (setting, row, region): (&Setting, usize, Option<&Region>),
    steps: &[StepText],
    links: &[Arc<Linked>],
) -> Result<Rational> {
    let refuse = |step: usize, message: String| Err(Error::new(Code::ChainLink, format!("step {step}"), message));
    let (Some(last), Some(region), true) = (statement.replacement(), region, statement.claim().truncate.is_empty())
    else {
        return Err(error(Code::ChainLink, "a chain leads from the model to a `replace`, without `truncate`"));
    };
    // Without a last step nothing would speak of the perturbations.
    ensure(!steps.is_empty(), Code::ChainLink, "a chain has at least one step")?;
    let message = || format!("a chain of {} steps; at most {MAX_STEPS} are allowed", steps.len());
    ensure(steps.len() <= MAX_STEPS, Code::LimitSize, message())?;
    if let Some(name) = unknown(statement.claim(), setting) {
        return Err(error(Code::ChainLink, format!("a chain needs a `replace` with a tensor `{name}`")));
    }
    let bare = Setting { perturb: vec![], ..setting.clone() };
    let mut at = statement.model();
    let mut total = Rational::zero();
    for (i, step) in steps.iter().enumerate() {
        let Some(linked) = links.get(step.link) else {
            return refuse(i, format!("there is no link {}", step.link));
        };
        let (s, other_row) = (step.setting.unwrap_or(0), step.row.unwrap_or(row));
        let (Some(own), Some(next)) = (linked.settings.get(s), &linked.replacement) else {
            return refuse(i, format!("link {} has no `replace`, or no setting {s}", step.link));
        };
        if linked.model != at {
            return refuse(i, format!("it starts from the model {}, not from {at}", linked.model));
        }
        let is_last = i + 1 == steps.len();
        if !own.covers(if is_last { setting } else { &bare }) || linked.truncates {
            return refuse(i, "its outputs, perturbations or truncations are not those of this claim".to_owned());
        }
        let wider = |(low, high): &(Rational, Rational)| {
            statement.claim().valid.as_ref().is_some_and(|(a, b)| low <= a && b <= high)
        };
        if !own.perturb.is_empty() && !linked.valid.as_ref().is_none_or(wider) {
            return refuse(i, "its `valid` range leaves out perturbed inputs of this claim".to_owned());
        }
        let Some((wide, tolerances)) = linked.rows.get(&other_row) else {
            return refuse(i, format!("link {} has no region {other_row}", step.link));
        };
        let Some(Some(established)) = tolerances.get(s) else {
            return refuse(i, format!("link {} has no verified tolerance for its row {other_row}", step.link));
        };
        if !wide.contains(region) {
            return refuse(i, format!("row {other_row} of link {} does not contain this region", step.link));
        }
        total += established;
        at = next;
    }
    ensure(at == last, Code::ChainLink, format!("the chain ends at the model {at}, not at {last}"))?;
    let distance = setting.tolerance().ok_or_else(|| error(Code::ChainLink, "a chain establishes a tolerance"))?;
    let message = || format!("the links add up to {}, which is more than the tolerance", approximate(&total));
    ensure(total <= *distance, Code::ChainSum, message())?;
    Ok(total)
}

/// A tensor that a setting names and that the model in the place of the claim's has not.
fn unknown<'c>(claim: &Claim, setting: &'c Setting) -> Option<&'c str> {
    let known = |name: &str| claim.replace.as_ref().is_some_and(|other| other.network.find(name).is_some());
    let sites = setting.perturb.iter().filter_map(|perturb| match &perturb.site {
        Site::Tensor { name, .. } if name != "input" => Some(&name[..]),
        _ => None,
    });
    sites.chain(setting.output.as_deref()).find(|name| !known(name))
}
