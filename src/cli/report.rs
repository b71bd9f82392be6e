//! `scalecert report FILES… -o report.html`: what was proven, as a page for people.

use super::prove::progress;
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

pub fn run(arguments: &Arguments) -> Result<u8> {
    let sections = sections(&arguments.shown)?;
    replace(&arguments.output, page(&sections)?.as_bytes())?;
    for section in &sections {
        println!("{:9} {}", section.pair.report.verdict().word(), section.pair.claim_file.display());
    }
    println!("wrote {}", arguments.output.display());
    Ok(0)
}

/// Reads, checks and measures what is to be shown.
pub fn sections(shown: &Shown) -> Result<Vec<Section>> {
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
    let pairs = pairs(&shown.files)?;
    let bar = progress(pairs.iter().map(count).sum())?;
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
