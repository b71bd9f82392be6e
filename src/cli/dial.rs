//! `scalecert dial CLAIM`: turn the dial through the rungs of a ladder and see which scales matter.

use super::console::{Answer, Console, number, status_cell};
use crate::bundle::replace;
use crate::graph::float;
use crate::ladder;
use crate::prove::{Choice, Config};
use crate::report::picture::{Curve, curves};
use crate::search::attack;
use crate::sweep::{Base, Explored, Point, Summary, explore, mean_ratio, status, tolerance};
use anyhow::{Context, Result, bail};
use comfy_table::Cell;
use num::{Signed, Zero};
use scalecheck::claim::{Scale, Site, parse_ladder};
use scalecheck::number::{Rational, approximate, parse_rational};
use scalecheck::verify::Files;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use toml_edit::{InlineTable, value};

/// Sweep the rungs of a claim's ladder, and amplitudes: per setting what is proven, what an attack reaches, and whether
/// the claim's tolerance holds. Writes CLAIM.dial.toml, which states all of it, and its certificate.
///
/// Exit codes: 0 the table is made and certified, 2 bad input.
#[derive(clap::Args)]
pub struct Arguments {
    /// The claim, a TOML file with a tolerance.
    claim: PathBuf,
    /// Rungs to visit; by default a chain from the ladder's finest to its coarsest.
    #[arg(long, value_delimiter = ',')]
    cutoffs: Vec<usize>,
    /// Amplitudes to visit, such as 1/64,1/32; by default the claim's.
    #[arg(long, value_delimiter = ',')]
    amplitudes: Vec<String>,
    /// What to stand beside the ladder: the plain box of the same amplitude, random subspaces of the same dimensions.
    #[arg(long, value_enum, value_delimiter = ',')]
    control: Vec<Control>,
    /// Another ladder of the same site to stand beside it, all of its rungs.
    #[arg(long)]
    control_ladder: Option<PathBuf>,
    /// Also attack the band between each two rungs, and report the gap: what the band does over what all finer detail
    /// can do.
    #[arg(long)]
    separation: bool,
    /// Models to show side by side, such as checkpoints of one training, instead of the claim's.
    #[arg(long, num_args = 1..)]
    models: Vec<PathBuf>,
    /// Where to write the certificate; gzipped if the name ends in `.gz`. Default: CLAIM.dial.cert.json.gz.
    #[arg(short, long)]
    output: Option<PathBuf>,
    /// Draw the curves into this SVG file.
    #[arg(long)]
    plot: Option<PathBuf>,
    /// How upper bounds are derived.
    #[arg(long, value_enum, default_value = "alpha")]
    method: Choice,
    /// Random starts of the attack for each output, beside the clean input.
    #[arg(long, default_value_t = attack::Config::default().starts)]
    starts: usize,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Control {
    Box,
    Random,
}

/// A setting as it stands in the table.
#[derive(Clone)]
struct Label {
    amplitude: Option<String>,
    scale: String,
    cutoff: Option<usize>,
    /// The finer rung, if this is a band.
    seen: Option<usize>,
}

pub fn run(arguments: &Arguments, console: &Console) -> Result<Answer> {
    let models: Vec<Option<&Path>> = match &arguments.models[..] {
        [] => vec![None],
        models => models.iter().map(|model| Some(model.as_path())).collect(),
    };
    if arguments.output.is_some() && models.len() > 1 {
        bail!("-o names one certificate; with several --models each gets its own beside the claim");
    }
    let mut dials = Vec::new();
    for model in models {
        dials.push(dial(arguments, model, console)?);
    }
    if let Some(path) = &arguments.plot {
        plot(path, &dials)?;
    }
    dials.iter().for_each(|dial| dial.print(console));
    if dials.len() > 1 {
        side_by_side(&dials, console);
    }
    Answer::new(0, json!({ "dials": dials.iter().map(Dial::json).collect::<Vec<Value>>() }))
}

/// One model's dial.
struct Dial {
    name: String,
    tolerance: Rational,
    labels: Vec<Label>,
    summaries: Vec<Summary>,
    rows: usize,
    claim: PathBuf,
    certificate: PathBuf,
    /// What the check may need, if that is more than usual.
    memory: Option<u64>,
}

fn dial(arguments: &Arguments, model: Option<&Path>, console: &Console) -> Result<Dial> {
    let base = Base::load(&arguments.claim, model)?;
    let tolerance = tolerance(&base)?;
    let (labels, points) = points(arguments, &base)?;
    let config = Config {
        method: arguments.method,
        attack: attack::Config { starts: arguments.starts, ..attack::Config::default() },
        ..Config::default()
    };
    let stem = model.and_then(Path::file_stem).map(|stem| stem.to_string_lossy().into_owned());
    let journal = base.beside(stem.as_deref(), "dial.partial");
    console.on_interrupt(&journal)?;
    let bar = |count| console.bar(count, "rows of settings");
    let explored: Explored = explore(&base, model, points, &config, &journal, bar)?;
    let claim = base.beside(stem.as_deref(), "dial.toml");
    let default = || base.beside(stem.as_deref(), "dial.cert.json.gz");
    let certificate = arguments.output.clone().unwrap_or_else(default);
    let line = console.line("checking")?;
    let memory = explored.write(&base, model, &claim, &certificate)?;
    line.finish_and_clear();
    let model = model.unwrap_or(&base.statement.claim().model).file_name().unwrap_or_default();
    Ok(Dial {
        name: model.to_string_lossy().into_owned(),
        tolerance,
        labels,
        summaries: explored.summaries(),
        rows: base.statement.claim().rows().len(),
        claim,
        certificate,
        memory,
    })
}

/// The settings of the dial, from the finest rung to the coarsest for every amplitude, controls after the ladder.
fn points(arguments: &Arguments, base: &Base) -> Result<(Vec<Label>, Vec<Point>)> {
    let setting = &base.statement.claim().settings[0];
    let scales = || {
        setting.perturb.iter().filter_map(|p| if let Site::Tensor { scale, .. } = &p.site { Some(scale) } else { None })
    };
    let scale = scales().next();
    let rungs = match (scale, &arguments.cutoffs[..]) {
        (None, []) => vec![],
        (None, _) => bail!("--cutoffs: the claim perturbs weights, which have no ladder"),
        (Some(scale), []) => scale.ladder.rungs(),
        (Some(scale), given) => {
            let mut given = given.to_vec();
            given.sort_unstable();
            // For modes the larger rung is the finer one.
            if scale.ladder.is_finer(2, 1) {
                given.reverse();
            }
            given.dedup();
            given
        }
    };
    for (scale, &rung) in scales().flat_map(|scale| rungs.iter().map(move |rung| (scale, rung))) {
        scale.ladder.check(rung).map_err(|message| anyhow::anyhow!("--cutoffs {rung}: {message}"))?;
    }
    let amplitudes: Vec<Option<&String>> = match &arguments.amplitudes[..] {
        [] => vec![None],
        given => given.iter().map(Some).collect(),
    };
    for text in &arguments.amplitudes {
        if parse_rational(text).is_none_or(|a| a.is_negative()) {
            bail!("--amplitudes {text}: an exact number such as 1/32 or 0.1 is needed");
        }
    }
    let (mut labels, mut points) = (Vec::new(), Vec::new());
    for amplitude in amplitudes {
        let mut add = |name: &str, cutoff: Option<usize>, seen: Option<usize>, new: Option<InlineTable>| {
            let mut table = toml_edit::Table::new();
            if let Some(new) = new {
                table["scale"] = value(new);
            } else if let Some(cutoff) = cutoff {
                table["cutoff"] = value(cutoff as i64);
            }
            if let Some(seen) = seen {
                table["seen"] = value(seen as i64);
            }
            if let Some(amplitude) = amplitude {
                table["amplitude"] = value(amplitude);
            }
            labels.push(Label { amplitude: amplitude.cloned(), scale: name.to_owned(), cutoff, seen });
            points.push(Point { table, attack_only: seen.is_some() });
        };
        if rungs.is_empty() {
            add("", None, None, None);
        }
        rungs.iter().for_each(|&rung| add("ladder", Some(rung), None, None));
        if arguments.separation {
            rungs.windows(2).for_each(|pair| add("ladder", Some(pair[1]), Some(pair[0]), None));
        }
        for control in &arguments.control {
            let scale = scale.with_context(|| "--control: the claim perturbs weights, which have no ladder")?;
            if *control == Control::Box {
                add("box", None, None, Some(InlineTable::from_iter([("family", "none")])));
                continue;
            }
            let elements = elements(base)?;
            let file = base.beside(None, "random.safetensors");
            ladder::write_matrix(&file, "modes", &ladder::random_modes(elements, elements, 1))?;
            let file = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
            for &rung in &rungs {
                let kept = elements - hidden(scale, rung, elements)?;
                let modes = InlineTable::from_iter([("file", file.as_str()), ("tensor", "modes")]);
                let mut new = InlineTable::from_iter([("family", "matrix")]);
                new.insert("modes", modes.into());
                new.insert("cutoff", (kept as i64).into());
                add("random", Some(kept), None, Some(new));
            }
        }
        if let Some(path) = &arguments.control_ladder {
            let text = format!("ladder = {:?}", std::path::absolute(path)?.display().to_string());
            let other = parse_ladder("--control-ladder", &text, &mut Files::default())?;
            for rung in other.rungs() {
                let mut new = InlineTable::from_iter([("ladder", base.relative(path)?)]);
                new.insert("cutoff", (rung as i64).into());
                let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
                add(&stem, Some(rung), None, Some(new));
            }
        }
    }
    Ok((labels, points))
}

/// Elements of the first perturbed tensor.
fn elements(base: &Base) -> Result<usize> {
    let network = base.statement.network();
    let name = base.statement.claim().settings[0].perturb.iter().find_map(|p| match &p.site {
        Site::Tensor { name, .. } => Some(name),
        Site::Weights { .. } => None,
    });
    let node = name.and_then(|name| if name == "input" { Some(0) } else { network.find(name) });
    Ok(network.nodes()[node.context("the claim's site is not a tensor of the model")?].elements())
}

/// Dimension of what a rung hides.
fn hidden(scale: &Scale, rung: usize, elements: usize) -> Result<usize> {
    let one = Rational::from_integer(1.into());
    let generator = scale.ladder.generator(rung, &[one], elements).map_err(anyhow::Error::msg)?;
    let Some(part) = generator.parts.first() else { return Ok(0) };
    let seen = generator.seen.as_ref().map_or(0, |seen| seen.outputs());
    let free = part.variables.upper.iter().filter(|a| !a.is_zero()).count();
    Ok(free.saturating_sub(part.variables.groups.len() + seen).min(elements))
}

impl Dial {
    fn print(&self, console: &Console) {
        let header = ["amplitude", "scale", "cutoff", "attacked", "certified", "mean ratio", "status", "gap"];
        let mut table = console.table(header);
        let shown = |x: &Rational| approximate(&rounded(x));
        for (i, (label, summary)) in self.labels.iter().zip(&self.summaries).enumerate() {
            if label.seen.is_some() {
                continue;
            }
            let gap = self.gap(i).map(|gap| gap.map_or_else(|| "∞".into(), |gap| format!("{:.3}", float(&gap))));
            let cells = [
                label.amplitude.clone().unwrap_or_else(|| "as claimed".into()),
                label.scale.clone(),
                label.cutoff.map_or_else(|| "–".to_owned(), |cutoff| cutoff.to_string()),
                shown(&summary.attacked),
                summary.proven.as_ref().map_or_else(String::new, shown),
                mean_ratio(summary).map_or_else(|| "–".into(), |ratio| format!("{:.3}", float(&ratio))),
            ];
            let ends = [status_cell(status(summary, &self.tolerance)), Cell::new(gap.unwrap_or_default())];
            table.add_row(cells.into_iter().map(Cell::new).chain(ends));
        }
        let (name, rows, tolerance) = (&self.name, self.rows, &self.tolerance);
        console
            .say(format!("{name}: the largest change of a coarse output, worst of {rows} rows; tolerance {tolerance}"));
        console.show(&table);
        console.say(
            "attacked ≤ truth ≤ certified; attacks are evaluated and proofs checked exactly, shown to six digits.",
        );
        console.say("mean ratio: certified over attacked, both summed over the rows.");
        if self.labels.iter().any(|label| label.seen.is_some()) {
            console.say(
                "gap: what the band just above the cutoff provably does, over what all finer detail can do at most;",
            );
            console.say("above 1 the scales are separated there, below 1 no separation is shown.");
        }
        self.safe().iter().for_each(|line| console.say(line));
        if self.labels.iter().any(|label| label.scale == "random") {
            console
                .say("random: subspaces of the dimensions that the ladder hides; their matrix lies beside the claim");
        }
        let (claim, certificate) = (self.claim.display(), self.certificate.display());
        console.say(format!("wrote {claim} and {certificate}"));
        console.check(&format!("{claim} {certificate}"), self.memory);
        console.say(format!("look at it: scalecert report {claim} {certificate} --tolerance {tolerance}"));
    }

    /// For the rung of setting `i`, the gap to the band above it, if that was attacked; without limit if nothing finer
    /// can do anything.
    fn gap(&self, i: usize) -> Option<Option<Rational>> {
        let own = &self.labels[i];
        let above = self.labels.iter().zip(&self.summaries).find(|(label, _)| {
            label.seen.is_some()
                && label.seen == own.cutoff
                && label.amplitude == own.amplitude
                && own.scale == label.scale
        });
        let (_, band) = above?;
        let below = self.summaries[i].proven.as_ref()?;
        Some((!below.is_zero()).then(|| &band.attacked / below))
    }

    /// Where it is safe to stop looking.
    fn safe(&self) -> Vec<String> {
        let ladder = || {
            let all = self.labels.iter().zip(&self.summaries);
            all.filter(|(label, _)| label.scale == "ladder" && label.seen.is_none())
        };
        let certified = |summary: &Summary| status(summary, &self.tolerance) == "certified";
        let mut lines = Vec::new();
        let mut amplitudes: Vec<&Option<String>> = self.labels.iter().map(|label| &label.amplitude).collect();
        amplitudes.dedup();
        for amplitude in &amplitudes {
            let at = amplitude.as_ref().map_or("the claimed amplitude".to_owned(), |a| format!("amplitude {a}"));
            let of = ladder().filter(|(label, _)| label.amplitude == **amplitude);
            let best = of.take_while(|(_, summary)| certified(summary)).last();
            lines.extend(best.map_or_else(
                || ladder().next().map(|_| format!("at {at}, no cutoff is certified within the tolerance")),
                |(label, _)| {
                    let cutoff = label.cutoff.unwrap_or_default();
                    Some(format!(
                        "at {at}, all detail below cutoff {cutoff} is safe to ignore (the coarsest one certified)"
                    ))
                },
            ));
        }
        if amplitudes.len() > 1 {
            let mut cutoffs: Vec<usize> = ladder().filter_map(|(label, _)| label.cutoff).collect();
            cutoffs.dedup();
            cutoffs.truncate(cutoffs.len() / amplitudes.len());
            for cutoff in cutoffs {
                let of = ladder().filter(|(label, summary)| label.cutoff == Some(cutoff) && certified(summary));
                let parsed = of.filter_map(|(label, _)| label.amplitude.as_ref().and_then(|a| parse_rational(a)));
                lines.push(parsed.max().map_or_else(
                    || format!("at cutoff {cutoff}, none of the amplitudes is certified"),
                    |largest| format!("at cutoff {cutoff}, the largest certified amplitude is {largest}"),
                ));
            }
        }
        lines
    }

    fn json(&self) -> Value {
        let rows = self.labels.iter().zip(&self.summaries).enumerate().map(|(i, (label, summary))| {
            json!({
                "amplitude": label.amplitude,
                "scale": label.scale,
                "cutoff": label.cutoff,
                "seen": label.seen,
                "attacked": number(&summary.attacked),
                "proven": summary.proven.as_ref().map(number),
                "mean_ratio": mean_ratio(summary).as_ref().map(float),
                "status": status(summary, &self.tolerance),
                "gap": self.gap(i).flatten().as_ref().map(float),
            })
        });
        json!({
            "model": self.name,
            "rows": self.rows,
            "tolerance": self.tolerance.to_string(),
            "claim": self.claim.display().to_string(),
            "certificate": self.certificate.display().to_string(),
            "settings": rows.collect::<Vec<_>>(),
        })
    }
}

/// To six digits, for tables.
fn rounded(x: &Rational) -> Rational {
    parse_rational(&crate::sweep::decimal(x, true)).unwrap_or_else(|| x.clone())
}

/// Several models on one ladder: what is certified, and whether it is within the tolerance.
fn side_by_side(dials: &[Dial], console: &Console) {
    let header = ["amplitude", "scale", "cutoff"].into_iter();
    let mut table = console.table(header.chain(dials.iter().map(|dial| &dial.name[..])));
    for (i, label) in dials[0].labels.iter().enumerate().filter(|(_, label)| label.seen.is_none()) {
        let cell = |dial: &Dial| {
            let summary = &dial.summaries[i];
            let proven = summary.proven.as_ref().map_or_else(String::new, |p| approximate(&rounded(p)));
            format!("{proven} {}", status(summary, &dial.tolerance))
        };
        let cells = [
            label.amplitude.clone().unwrap_or_else(|| "as claimed".into()),
            label.scale.clone(),
            label.cutoff.map_or_else(|| "–".to_owned(), |cutoff| cutoff.to_string()),
        ];
        table.add_row(cells.into_iter().chain(dials.iter().map(cell)));
    }
    console.say("side by side: certified change and status");
    console.show(&table);
}

/// Curves of what is certified and attacked against the rungs, for every model and amplitude.
fn plot(path: &Path, dials: &[Dial]) -> Result<()> {
    let mut all: Vec<Curve> = Vec::new();
    let mut rungs: Vec<String> = Vec::new();
    for dial in dials {
        let ladder = || {
            dial.labels.iter().zip(&dial.summaries).filter(|(label, _)| label.seen.is_none() && label.scale == "ladder")
        };
        let mut amplitudes: Vec<&Option<String>> = ladder().map(|(label, _)| &label.amplitude).collect();
        amplitudes.dedup();
        for amplitude in amplitudes {
            let of = || ladder().filter(|(label, _)| label.amplitude == *amplitude);
            let named = [(dials.len() > 1).then_some(&dial.name[..]), amplitude.as_deref()];
            all.push(Curve {
                name: named.into_iter().flatten().collect::<Vec<_>>().join(" "),
                certified: of().map(|(_, summary)| summary.proven.as_ref().map(float)).collect(),
                attacked: of().map(|(_, summary)| Some(float(&summary.attacked))).collect(),
            });
            rungs = of().filter_map(|(label, _)| label.cutoff).map(|cutoff| cutoff.to_string()).collect();
        }
    }
    replace(path, curves(&rungs, &all)?.as_bytes())
}
