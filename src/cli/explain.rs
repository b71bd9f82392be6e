//! `scalecert explain CLAIM CERTIFICATE`: what was claimed, and how the certificate goes about it.

use anyhow::{Result, bail};
use scalecheck::certificate;
use scalecheck::describe::describe;
use scalecheck::show::{Kind, Shape, beginning};
use scalecheck::verify::{Config, Statement, read};
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

pub fn run(arguments: &Arguments) -> Result<u8> {
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
    println!("The claim:\n{}.\n", describe(statement.claim()).trim_end_matches('.'));
    let kinds: Vec<Kind> = certificate.answers.iter().map(Kind::of).collect();
    let asked = statement.claim().rows().len() * statement.claim().settings.len();
    println!(
        "{name}, made by {:?}; answers: {}, of {asked} that the claim asks for.",
        beginning(&certificate.generator),
        kinds.len()
    );
    let proofs: Vec<&Shape> =
        kinds.iter().filter_map(|k| if let Kind::Proof(shape) = k { Some(shape) } else { None }).collect();
    let count = |wanted: fn(&Kind) -> bool| kinds.iter().filter(|k| wanted(k)).count();
    let others = [
        (
            count(|k| matches!(k, Kind::Witness(_))),
            "witnesses, each a perturbation or an input to be evaluated exactly",
        ),
        (
            count(|k| matches!(k, Kind::Served(_))),
            "answers that refer to the proof of another setting, which covers more",
        ),
        (count(|k| matches!(k, Kind::Chain(_))), "chains, that is what other certificates establish, added up"),
    ];
    if !proofs.is_empty() {
        let sum = |of: fn(&Shape) -> usize| proofs.iter().map(|shape| of(shape)).sum::<usize>();
        println!(
            "- proofs: {}. The network is bounded by linear functions, back from each tensor to what varies;",
            proofs.len()
        );
        println!(
            "  {} bounds of tensors, {} of outputs, {} slopes, {} multipliers",
            sum(|s| s.refinements),
            sum(|s| s.closes),
            sum(|s| s.slopes),
            sum(|s| s.multipliers)
        );
        let split = proofs.iter().filter(|shape| !shape.splits.is_empty()).count();
        if split > 0 {
            let deepest = proofs.iter().map(|shape| shape.depth).max().unwrap_or(0);
            println!(
                "  by cases: {split}, with {} cases in trees: {}, at most {deepest} splits deep; split most often:",
                sum(|s| s.cases),
                sum(|s| s.trees)
            );
            let mut counts: BTreeMap<&String, usize> = BTreeMap::new();
            for (name, count) in proofs.iter().flat_map(|shape| &shape.splits) {
                *counts.entry(name).or_default() += count;
            }
            let mut places: Vec<(&String, usize)> = counts.into_iter().collect();
            places.sort_by_key(|&(_, count)| std::cmp::Reverse(count));
            places.iter().take(5).for_each(|(name, count)| println!("    {name}: {count}"));
        }
    }
    for (count, what) in others.iter().filter(|(count, _)| *count > 0) {
        println!("- {what}: {count}");
    }
    println!("\nNothing of this is checked; this does: scalecheck verify {} {name}", arguments.claim.display());
    Ok(0)
}
