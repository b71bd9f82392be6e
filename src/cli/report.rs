//! `scalecert report FILES… -o report.html`: what was proven, as a page for people.

use super::console::{Answer, Console, status};
use crate::bundle::replace;
use crate::report::dial::dial;
use crate::report::flow::flow;
use crate::report::measure::{count, measure};
use crate::report::page::{Section, page};
use crate::report::pair::pairs;
use crate::report::shape::Shape;
use crate::search::attack;
use anyhow::{Context, Result, bail};
use num::Signed;
use scalecheck::number::parse_rational;
use serde_json::{Value, json};
use std::path::PathBuf;

/// Make one HTML file, which needs no network, of what claims and their certificates prove: the exact checker runs on them
/// anew, and rows without a witness are attacked anew.
///
/// Exit codes: 0 the report is written, whatever it says; 2 bad input.
#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    pub shown: Shown,
    /// Where to write the page.
    #[arg(short, long, default_value = "report.html")]
    output: PathBuf,
}

/// What is shown, and how.
#[derive(clap::Args)]
pub struct Shown {
    /// Claims and certificates, in any order; each certificate needs its claim and each claim a certificate.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Above what a change of a coarse output matters, such as 1/2; by default what the claim states, or about half of the
    /// largest certified change.
    #[arg(long)]
    tolerance: Option<String>,
    /// Draw perturbed tensors in this shape, such as 8,8.
    #[arg(long, value_delimiter = ',')]
    shape: Vec<usize>,
    /// Random starts of the attack for each output, beside the clean input.
    #[arg(long, default_value_t = attack::Config::default().starts)]
    starts: usize,
}

pub fn run(arguments: &Arguments, console: &Console) -> Result<Answer> {
    let sections = sections(&arguments.shown, console)?;
    replace(&arguments.output, page(&sections)?.as_bytes())?;
    let mut claims: Vec<Value> = Vec::new();
    for section in &sections {
        let (verdict, claim) = (section.pair.report.verdict().word(), section.pair.claim_file.display());
        console.say(format!("{}{:width$} {claim}", status(verdict), "", width = 9_usize.saturating_sub(verdict.len())));
        claims.push(json!({ "claim": claim.to_string(), "verdict": verdict }));
    }
    console.say(format!("wrote {}", arguments.output.display()));
    Answer::new(0, json!({ "report": arguments.output.display().to_string(), "claims": claims }))
}

/// Reads, checks and measures what is to be shown.
pub fn sections(shown: &Shown, console: &Console) -> Result<Vec<Section>> {
    let tolerance = shown.tolerance.as_ref().map(|text| {
        let number = parse_rational(text).filter(|t| !t.is_negative());
        number.with_context(|| format!("--tolerance {text}: an exact number such as 1/2 or 0.1 is needed"))
    });
    let tolerance = tolerance.transpose()?;
    let shape = match &shown.shape[..] {
        [] => None,
        given if given.contains(&0) => bail!("--shape: an axis has no elements"),
        [count] => Some(Shape::Series(*count)),
        given => {
            Some(Shape::stated(given).context("--shape: two axes of more than one element are needed at the end")?)
        }
    };
    let config = attack::Config { starts: shown.starts, ..attack::Config::default() };
    let line = console.line("checking")?;
    let pairs = pairs(&shown.files)?;
    line.finish_and_clear();
    let bar = console.bar(pairs.iter().map(count).sum(), "rows")?;
    let mut sections = Vec::new();
    for pair in pairs {
        let points = measure(&pair, &config, &|| bar.inc(1))?;
        let dial = dial(&pair, &points, tolerance.as_ref(), shape)?;
        let layers = flow(&points);
        sections.push(Section { pair, points, dial, layers });
    }
    bar.finish_and_clear();
    Ok(sections)
}
