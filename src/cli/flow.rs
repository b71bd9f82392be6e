//! `scalecert flow CLAIM`: follow a perturbation through the unchanged network, and see at each tensor how much of it is
//! visible in which band.

use super::console::{Answer, Console, number};
use crate::prove::{Choice, Config};
use crate::sweep::{Base, Point, explore};
use anyhow::{Context, Result, bail};
use scalecheck::claim::parse_ladder;
use scalecheck::ladder::Ladder;
use scalecheck::number::{Rational, approximate, parse_rational};
use scalecheck::verify::Files;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use toml_edit::{DocumentMut, InlineTable, value};

/// Bound how much of a claim's perturbation is visible at hidden tensors, in the coarse part and in each finer band.
/// Writes CLAIM.flow.toml, which states every bound, and its certificate.
///
/// Exit codes: 0 the table is made and certified, 2 bad input.
#[derive(clap::Args)]
pub struct Arguments {
    /// The claim, a TOML file; its output and property are not used.
    claim: PathBuf,
    /// A tensor with its coarse basis: NAME=LADDER, a ladder file or an inline table such as
    /// 'hidden1={ family = "block-mean", shape = [8, 8] }'. Families block-mean, groups, dct, pca and matrix.
    #[arg(long, required = true)]
    at: Vec<String>,
    /// Where to write the certificate; gzipped if the name ends in `.gz`. Default: CLAIM.flow.cert.json.gz.
    #[arg(short, long)]
    output: Option<PathBuf>,
    /// How upper bounds are derived.
    #[arg(long, value_enum, default_value = "alpha")]
    method: Choice,
}

/// A part of a tensor: what rung `seen` sees of it and rung `hidden` does not.
struct Band {
    tensor: String,
    seen: Option<usize>,
    hidden: Option<usize>,
}

impl Band {
    fn name(&self) -> String {
        match (self.seen, self.hidden) {
            (Some(seen), Some(hidden)) => format!("between {seen} and {hidden}"),
            (Some(seen), None) => format!("coarse: seen at {seen}"),
            (None, hidden) => format!("fine: hidden at {}", hidden.unwrap_or_default()),
        }
    }
}

pub fn run(arguments: &Arguments, console: &Console) -> Result<Answer> {
    let base = Base::load(&arguments.claim, None)?;
    let (mut bands, mut points) = (Vec::new(), Vec::new());
    for at in &arguments.at {
        let (tensor, ladder) = at.split_once('=').with_context(|| format!("--at {at}: NAME=LADDER is needed"))?;
        let (tensor, scale) = (tensor.trim(), scale(ladder.trim(), &base)?);
        // As the checker will read it from the claim's folder.
        let keys: String = scale.iter().map(|(key, value)| format!("{key} = {value}\n")).collect();
        let name = base.path.display().to_string();
        let ladder = parse_ladder(&name, &keys, &mut Files::default()).with_context(|| format!("--at {at}"))?;
        let rungs = ladder.rungs();
        let Some(&coarsest) = rungs.last() else { bail!("--at {at}: the ladder has no rungs") };
        // From the coarse part, unless that is nothing, down to what even the second finest rung does not see.
        let mut parts = vec![(Some(coarsest), None)];
        parts.retain(|_| !(matches!(*ladder, Ladder::Modes(_)) && coarsest == 0));
        parts.extend(rungs.windows(2).rev().map(|pair| (Some(pair[0]), Some(pair[1]))));
        for (seen, hidden) in parts {
            let mut coarse = InlineTable::new();
            coarse.insert("scale", scale.clone().into());
            let rungs = [("seen", seen), ("hidden", hidden)].into_iter();
            rungs.filter_map(|(key, rung)| Some((key, rung?))).for_each(|(key, rung)| {
                coarse.insert(key, (rung as i64).into());
            });
            let mut table = toml_edit::Table::new();
            table["tensor"] = value(tensor);
            table["coarse"] = value(coarse);
            points.push(Point { table, attack_only: false });
            bands.push(Band { tensor: tensor.to_owned(), seen, hidden });
        }
    }
    let config = Config { method: arguments.method, ..Config::default() };
    let journal = base.beside(None, "flow.partial");
    console.on_interrupt(&journal)?;
    let explored = explore(&base, None, points, &config, &journal, |count| console.bar(count, "bounds"))?;
    let claim = base.beside(None, "flow.toml");
    let certificate = arguments.output.clone().unwrap_or_else(|| base.beside(None, "flow.cert.json.gz"));
    let line = console.line("checking")?;
    let memory = explored.write(&base, None, &claim, &certificate)?;
    line.finish_and_clear();
    let summaries = explored.summaries();
    let mut table = console.table(["tensor", "band", "at least (attacked)", "at most (certified)"]);
    let shown =
        |x: &Rational, up| parse_rational(&crate::sweep::decimal(x, up)).map_or_else(String::new, |x| approximate(&x));
    for (band, summary) in bands.iter().zip(&summaries) {
        let proven = summary.proven.as_ref().map_or_else(String::new, |p| shown(p, true));
        table.add_row([band.tensor.clone(), band.name(), shown(&summary.attacked, false), proven]);
    }
    console.show(&table);
    let rows = base.statement.claim().rows().len();
    console.say(format!("the largest change of any coordinate of the band, worst of {rows} rows;"));
    console.say("both are bounds: the truth lies between. Attacks are evaluated and proofs checked exactly.");
    console.say(format!("wrote {} and {}", claim.display(), certificate.display()));
    console.check(&format!("{} {}", claim.display(), certificate.display()), memory);
    let bands = bands.iter().zip(&summaries).map(|(band, s)| {
        json!({
            "tensor": band.tensor,
            "seen": band.seen,
            "hidden": band.hidden,
            "upper_bound": s.proven.as_ref().map(number),
            "lower_bound": number(&s.attacked),
        })
    });
    let json = json!({
        "claim": claim.display().to_string(),
        "certificate": certificate.display().to_string(),
        "bands": bands.collect::<Vec<Value>>(),
    });
    Answer::new(0, json)
}

/// The `scale` table of a ladder that is a file, whose path becomes relative to the claim, or is written out.
fn scale(ladder: &str, base: &Base) -> Result<InlineTable> {
    if ladder.starts_with('{') {
        let document: DocumentMut = format!("scale = {ladder}").parse().with_context(|| ladder.to_owned())?;
        return document["scale"].as_inline_table().cloned().with_context(|| ladder.to_owned());
    }
    Ok(InlineTable::from_iter([("ladder", base.relative(Path::new(ladder))?)]))
}
