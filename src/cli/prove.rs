//! `scalecert prove CLAIM`: certify or refute, and write the certificate.

use crate::bundle;
use crate::graph::float;
use crate::prove::{Choice, Config, INTERRUPTED, Method, Outcome, Status};
use crate::relax::slopes;
use crate::search::attack;
use crate::search::branch::Progress;
use anyhow::{Result, bail};
use comfy_table::Table;
use comfy_table::presets::UTF8_HORIZONTAL_ONLY;
use indicatif::{ProgressBar, ProgressStyle};
use scalecheck::claim::Property;
use scalecheck::number::{Rational, approximate};
use scalecheck::verify::{Config as CheckConfig, Statement};
use serde_json::{Value, json};
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Certify or refute a claim; writes a certificate that `scalecheck` verifies.
///
/// Exit codes: 0 every row certified (some row, for `reaches`), 10 some row refuted, 20 some row unknown, 2 bad input.
#[derive(clap::Args)]
pub struct Arguments {
    /// The claim, a TOML file. Or, without one, a model and a property.
    #[arg(required_unless_present = "property", conflicts_with = "property")]
    claim: Option<PathBuf>,
    /// Where to write the certificate; gzipped if the name ends in `.gz`. Default: next to the claim, `.cert.json`.
    #[arg(short, long)]
    output: Option<PathBuf>,
    /// Use this model file instead of the one that the claim names.
    #[arg(long)]
    model: Option<PathBuf>,
    /// A VNN-LIB file that states what is unsafe about the model.
    #[arg(long, requires = "model")]
    property: Option<PathBuf>,
    /// Give up after so many seconds, with what is known by then; until then, split what is unknown into cases.
    #[arg(long, value_name = "SECONDS")]
    timeout: Option<f64>,
    /// How upper bounds are derived; `all` shows what each method reaches.
    #[arg(long, value_enum, default_value = "auto")]
    method: Choice,
    /// Random starts of the attack for each output, beside the clean input.
    #[arg(long, default_value_t = attack::Config::default().starts)]
    starts: usize,
    /// Seed of the attack's random starts.
    #[arg(long, default_value_t = attack::Config::default().seed)]
    seed: u64,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

pub fn run(arguments: &Arguments) -> Result<u8> {
    let started = Instant::now();
    let (statement, about) = match (&arguments.claim, &arguments.model, &arguments.property) {
        (Some(claim), model, None) => (Statement::load(claim, model.as_deref())?, claim),
        (None, Some(model), Some(property)) => (Statement::of_query(model, property)?, property),
        _ => bail!("give either a claim, or --model and --property"),
    };
    let config = Config {
        deadline: deadline(started, arguments.timeout)?,
        method: arguments.method,
        attack: attack::Config { starts: arguments.starts, seed: arguments.seed, ..attack::Config::default() },
        slopes: slopes::Config::default(),
        check: CheckConfig::default(),
    };
    let bar = progress(statement.claim().rows().len() * statement.claim().settings.len())?;
    // The first interruption ends the search with what is known; a second one ends the program.
    let interrupted = || {
        if INTERRUPTED.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
    };
    ctrlc::set_handler(interrupted)?;
    let search = search_line();
    let told = |p: Progress| {
        search.set_message(format!("{} cases, {} open, worst bound {:.4}", p.cases, p.open, p.worst));
    };
    let outcomes = bundle::prove_rows(&statement, &config, &told, || bar.inc(1))?;
    bar.finish_and_clear();
    search.finish_and_clear();
    let path = arguments.output.clone().unwrap_or_else(|| about.with_extension("cert.json"));
    let path = match bundle::certificate(&statement, &outcomes) {
        Some(certificate) => {
            bundle::write(&path, &certificate, &statement)?;
            Some(path.as_path())
        }
        None => None,
    };
    if arguments.json {
        println!("{}", as_json(&statement, &outcomes, path));
    } else {
        print_table(
            &statement,
            &outcomes,
            path,
            about,
            arguments.model.as_deref().filter(|_| arguments.property.is_some()),
        );
        let unknown = outcomes.iter().any(|outcome| outcome.status == Status::Unknown);
        if unknown && arguments.method == Choice::Auto && arguments.timeout.is_none() {
            println!("--timeout SECONDS splits what is unknown into cases");
        }
    }
    let statuses = statement.claim().settings.iter().enumerate().map(|(i, setting)| {
        let of: Vec<Status> = outcomes.iter().filter(|o| o.setting == i).map(|o| o.status).collect();
        match setting.property {
            // One row that reaches it is enough.
            Property::Reaches(_) if of.contains(&Status::Certified) => Status::Certified,
            _ if of.contains(&Status::Refuted) => Status::Refuted,
            _ if of.contains(&Status::Unknown) => Status::Unknown,
            _ => Status::Certified,
        }
    });
    let statuses: Vec<Status> = statuses.collect();
    Ok(match () {
        () if statuses.contains(&Status::Refuted) => 10,
        () if statuses.contains(&Status::Unknown) => 20,
        () => 0,
    })
}

/// When a work that has so many seconds is to end.
pub fn deadline(started: Instant, seconds: Option<f64>) -> Result<Option<Instant>> {
    match seconds.map(Duration::try_from_secs_f64) {
        Some(Ok(time)) => Ok(started.checked_add(time)),
        Some(Err(_)) => bail!("--timeout needs a number of seconds that is not negative"),
        None => Ok(None),
    }
}

/// A line on the terminal that says how far branch and bound is; hidden elsewhere.
fn search_line() -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let line = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{elapsed} {msg}") {
        line.set_style(style);
    }
    line
}

/// A bar on the terminal that counts rows; hidden elsewhere, and for a single row.
pub fn progress(rows: usize) -> Result<ProgressBar> {
    if rows < 2 || !std::io::stderr().is_terminal() {
        return Ok(ProgressBar::hidden());
    }
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} rows, {eta} left")?;
    let bar = ProgressBar::new(rows as u64).with_style(style);
    bar.enable_steady_tick(Duration::from_millis(200));
    Ok(bar)
}

/// What the numbers of this claim measure.
fn measure(property: &Property) -> &'static str {
    match property {
        Property::Tolerance(_) | Property::Reaches(_) => "largest deviation of a coarse output",
        Property::Winner => "smallest margin of the winner",
        Property::Unsafe => "smallest distance from an unsafe set",
    }
}

/// Prints what is claimed and what was found.
pub fn print_table(
    statement: &Statement,
    outcomes: &[Outcome],
    path: Option<&Path>,
    claim: &Path,
    model: Option<&Path>,
) {
    let settings = &statement.claim().settings;
    let methods: Vec<Method> = {
        let mut all: Vec<Method> = outcomes.iter().flat_map(|o| o.proven.iter().map(|(m, _)| *m)).collect();
        all.sort_unstable();
        all.dedup();
        all
    };
    let mut table = Table::new();
    table.load_style(UTF8_HORIZONTAL_ONLY);
    let several = settings.len() > 1;
    // A property has no measure: it is decided or not.
    let measured = settings.iter().any(|s| s.property != Property::Unsafe);
    let attack = measured.then(|| "attacked".to_owned());
    let header = several.then(|| "setting".to_owned()).into_iter().chain(["row".to_owned()]).chain(attack);
    let header = header.chain(methods.iter().map(|m| format!("proven, {}", name(*m)))).chain(["status".to_owned()]);
    table.set_header(header);
    for outcome in outcomes {
        let proven = |method: &Method| {
            let found = outcome.proven.iter().find(|(m, _)| m == method);
            found.map_or_else(String::new, |(_, reach)| approximate(reach))
        };
        let cells = several.then(|| outcome.setting.to_string()).into_iter().chain([outcome.row.to_string()]);
        let attacked = outcome.attacked.as_ref().map_or_else(String::new, |(reach, _)| approximate(reach));
        let cells = cells.chain(measured.then_some(attacked)).chain(methods.iter().map(proven));
        table.add_row(cells.chain([format!("{:?}", outcome.status).to_lowercase()]));
    }
    println!("{}.\n", scalecheck::describe::describe(statement.claim()).trim_end_matches('.'));
    println!("{table}");
    let mut shown: Vec<&str> = Vec::new();
    for property in settings.iter().map(|s| &s.property).filter(|p| **p != Property::Unsafe) {
        if !shown.contains(&measure(property)) {
            shown.push(measure(property));
            let side = match property {
                Property::Tolerance(_) | Property::Reaches(_) => "attacked ≤ truth ≤ proven",
                Property::Winner | Property::Unsafe => "proven ≤ truth ≤ attacked",
            };
            println!("{side}: the {}; attacks are evaluated and proofs checked exactly.", measure(property));
        }
    }
    for method in [Method::Interval, Method::Crown, Method::Alpha, Method::Lp, Method::Branch] {
        let mut rows: Vec<usize> = outcomes.iter().filter(|o| o.skipped.contains(&method)).map(|o| o.row).collect();
        rows.sort_unstable();
        rows.dedup();
        if !rows.is_empty() {
            println!(
                "{} was left out, being too large, not applicable or given up, for the rows {rows:?}",
                name(method)
            );
        }
    }
    let count = |status| outcomes.iter().filter(|o| o.status == status).count();
    println!(
        "{} certified, {} refuted, {} unknown",
        count(Status::Certified),
        count(Status::Refuted),
        count(Status::Unknown)
    );
    match path {
        Some(path) => {
            println!("wrote {}", path.display());
            match model {
                // Without a claim file, model and property are what was asked.
                Some(model) => println!(
                    "check it: scalecheck verify --model {} --property {} {}",
                    model.display(),
                    claim.display(),
                    path.display()
                ),
                None => println!("check it: scalecheck verify {} {}", claim.display(), path.display()),
            }
        }
        None => println!("no answer was found, so no certificate was written"),
    }
}

fn name(method: Method) -> &'static str {
    match method {
        Method::Interval => "interval",
        Method::Crown => "crown",
        Method::Alpha => "alpha",
        Method::Lp => "lp",
        Method::Branch => "branch",
    }
}

fn as_json(statement: &Statement, outcomes: &[Outcome], path: Option<&Path>) -> Value {
    let number = |x: &Rational| json!({ "exact": x.to_string(), "approximate": float(x) });
    let rows: Vec<Value> = outcomes
        .iter()
        .map(|o| {
            let proven: serde_json::Map<String, Value> =
                o.proven.iter().map(|(m, reach)| (name(*m).to_owned(), number(reach))).collect();
            json!({
                "setting": o.setting,
                "row": o.row,
                "status": o.status,
                "attacked": o.attacked.as_ref().map(|(reach, _)| number(reach)),
                "proven": proven,
                "skipped": o.skipped,
            })
        })
        .collect();
    json!({
        "claim": scalecheck::describe::describe(statement.claim()),
        "measure": statement.claim().settings.iter().map(|s| measure(&s.property)).collect::<Vec<_>>(),
        "certificate": path.map(|p| p.display().to_string()),
        "rows": rows,
    })
}
