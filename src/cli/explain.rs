//! `scalecert explain CLAIM CERTIFICATE`: what was claimed, and how the certificate goes about it.

use super::console::{Answer, Console};
use anyhow::{Result, bail};
use scalecheck::certificate;
use scalecheck::describe::describe;
use scalecheck::show::{Kind, Shape, beginning};
use scalecheck::verify::{Config, Statement, read};
use serde_json::json;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Say in words what a claim says and what a certificate for it contains. Nothing is checked; `scalecheck verify` does that.
///
/// Exit codes: 0, 2 bad input, also if the certificate is about other files.
#[derive(clap::Args)]
pub struct Arguments {
    /// The claim, a TOML file.
    claim: PathBuf,
    /// The certificate.
    certificate: PathBuf,
}

pub fn run(arguments: &Arguments, console: &Console) -> Result<Answer> {
    let statement = Statement::load(&arguments.claim, None)?;
    let name = arguments.certificate.display().to_string();
    let certificate = certificate::parse(&read(&arguments.certificate)?, Config::default().max_memory)
        .map_err(|e| e.within(&name))?;
    let header = statement.header("");
    for (what, found, wanted) in
        [("claim", &certificate.claim, &header.claim), ("model", &certificate.model, &header.model)]
    {
        if found != wanted {
            bail!(
                "{name}: this certificate is about another {what}: the SHA-256 of yours is {wanted}, it names {found}"
            );
        }
    }
    let words = describe(statement.claim());
    let words = words.trim_end_matches('.');
    console.say(format!("The claim:\n{words}.\n"));
    let kinds: Vec<Kind> = certificate.answers.iter().map(Kind::of).collect();
    let asked = statement.claim().rows().len() * statement.claim().settings.len();
    let generator = beginning(&certificate.generator);
    console
        .say(format!("{name}, made by {generator:?}; answers: {}, of {asked} that the claim asks for.", kinds.len()));
    let proofs: Vec<&Shape> =
        kinds.iter().filter_map(|k| if let Kind::Proof(shape) = k { Some(shape) } else { None }).collect();
    let count = |wanted: fn(&Kind) -> bool| kinds.iter().filter(|k| wanted(k)).count();
    let witnesses = count(|k| matches!(k, Kind::Witness(_)));
    let served = count(|k| matches!(k, Kind::Served(_)));
    let chains = count(|k| matches!(k, Kind::Chain(_)));
    let sum = |of: fn(&Shape) -> usize| proofs.iter().map(|shape| of(shape)).sum::<usize>();
    let (refinements, closes, slopes, multipliers) =
        (sum(|s| s.refinements), sum(|s| s.closes), sum(|s| s.slopes), sum(|s| s.multipliers));
    let split = proofs.iter().filter(|shape| !shape.splits.is_empty()).count();
    let deepest = proofs.iter().map(|shape| shape.depth).max().unwrap_or(0);
    let (cases, trees) = (sum(|s| s.cases), sum(|s| s.trees));
    let mut places: BTreeMap<&String, usize> = BTreeMap::new();
    for (name, count) in proofs.iter().flat_map(|shape| &shape.splits) {
        *places.entry(name).or_default() += count;
    }
    let mut places: Vec<(&String, usize)> = places.into_iter().collect();
    places.sort_by_key(|&(_, count)| std::cmp::Reverse(count));
    if !proofs.is_empty() {
        console.say(format!(
            "- proofs: {}. The network is bounded by linear functions, back from each tensor to what varies;\n  \
             {refinements} bounds of tensors, {closes} of outputs, {slopes} slopes, {multipliers} multipliers",
            proofs.len()
        ));
        if split > 0 {
            console.say(format!(
                "  by cases: {split}, with {cases} cases in trees: {trees}, at most {deepest} splits deep; split most often:"
            ));
            places.iter().take(5).for_each(|(name, count)| console.say(format!("    {name}: {count}")));
        }
    }
    let others = [
        (witnesses, "witnesses, each a perturbation or an input to be evaluated exactly"),
        (served, "answers that refer to the proof of another setting, which covers more"),
        (chains, "chains, that is what other certificates establish, added up"),
    ];
    for (count, what) in others.iter().filter(|(count, _)| *count > 0) {
        console.say(format!("- {what}: {count}"));
    }
    let claim = arguments.claim.display();
    console.say(format!("\nNothing of this is checked; this does: scalecheck verify {claim} {name}"));
    let splits: serde_json::Map<_, _> = places.into_iter().map(|(name, n)| (name.clone(), n.into())).collect();
    let proofs = json!({
        "count": proofs.len(),
        "refinements": refinements,
        "closes": closes,
        "slopes": slopes,
        "multipliers": multipliers,
        "by_cases": split,
        "cases": cases,
        "deepest": deepest,
        "splits": splits,
    });
    let json = json!({
        "claim": words,
        "certificate": name,
        "generator": generator,
        "asked": asked,
        "answers": kinds.len(),
        "proofs": proofs,
        "witnesses": witnesses,
        "served": served,
        "chains": chains,
    });
    Answer::new(0, json)
}
