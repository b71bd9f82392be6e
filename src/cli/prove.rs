//! `scalecert prove CLAIM`: certify or refute, and write the certificate.

use super::console::{self, Answer, Console, number, status_cell};
use crate::bundle;
use crate::journal::{self, Journal};
use crate::prove::{Choice, Config, INTERRUPTED, Method, Noted, Outcome, Status};
use crate::relax::slopes;
use crate::search::attack;
use crate::search::branch::Progress;
use anyhow::{Result, bail};
use comfy_table::Cell;
use scalecheck::claim::Property;
use scalecheck::number::approximate;
use scalecheck::verify::{Config as CheckConfig, Statement};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Certify or refute a claim; writes a certificate that `scalecheck` verifies. Ctrl-C ends the search with what is known by
/// then; the same command goes on with the rows that are left.
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
}

pub fn run(arguments: &Arguments, console: &Console) -> Result<Answer> {
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
    let path = arguments.output.clone().unwrap_or_else(|| about.with_extension("cert.json"));
    let partial = PathBuf::from(format!("{}.partial", path.display()));
    let all = statement.claim().rows().len() * statement.claim().settings.len();
    let journal = Journal::<Noted>::open(&partial, &described(&statement, &config))?;
    let known = journal.left().filter(|noted| noted.cases().is_none()).count();
    if known > 0 {
        console.say(format!("{known} of {all} rows are known from {}", partial.display()));
    }
    for cases in journal.left().filter_map(Noted::cases) {
        console.say(format!("a search of {cases} cases goes on from {}", partial.display()));
    }
    let resumed = journal.left().next().is_some();
    // The first interruption ends the search with what is known; a second one ends the program.
    let interrupt = || {
        if INTERRUPTED.swap(true, Ordering::Relaxed) {
            std::process::exit(console::INTERRUPTED);
        }
        eprintln!("\ninterrupted; ending with what is known");
    };
    ctrlc::set_handler(interrupt)?;
    let bar = console.bar(all, "rows")?;
    let line = if all > 1 { bar.clone() } else { console.line("attacking, then bounding")? };
    let told = |p: Progress| {
        line.set_message(format!("{} cases, {} open, worst bound {:.4}", p.cases, p.open, p.worst));
    };
    let journal = Mutex::new(journal);
    let outcomes = bundle::resume_rows(&statement, &config, Some(&journal), &told, || bar.inc(1))?;
    bar.finish_and_clear();
    line.finish_and_clear();
    let checking = console.line("checking")?;
    let path = match bundle::certificate(&statement, &outcomes) {
        Some(certificate) => Some((path.as_path(), bundle::write(&path, &certificate, &statement, !resumed)?)),
        None => None,
    };
    checking.finish_and_clear();
    let interrupted = INTERRUPTED.load(Ordering::Relaxed);
    if !interrupted {
        journal::remove(&partial)?;
    }
    let model = arguments.model.as_deref().filter(|_| arguments.property.is_some());
    print_table(&statement, &outcomes, path, about, model, console);
    let unknown = outcomes.iter().any(|outcome| outcome.status == Status::Unknown);
    if interrupted && partial.exists() {
        console.say(format!("interrupted: the same command goes on from {}", partial.display()));
    } else if interrupted {
        console.say("interrupted before anything was known");
    } else if unknown && arguments.method == Choice::Auto && arguments.timeout.is_none() {
        console.say("--timeout SECONDS splits what is unknown into cases");
    }
    let mut json = as_json(&statement, &outcomes, path.map(|(path, _)| path));
    json["interrupted"] = interrupted.into();
    Answer::new(exit_code(&statement, &outcomes), json)
}

/// What a journal is about: other files, or another way of working, and it is of no use. More time finds the same.
fn described(statement: &Statement, config: &Config) -> String {
    let header = statement.header(env!("CARGO_PKG_VERSION"));
    let config = Config { deadline: None, ..*config };
    format!("{:?}", (&header.claim, &header.model, &header.data, &header.generator, config))
}

/// 0 if every setting is certified, 10 if one is refuted, 20 if one is unknown.
fn exit_code(statement: &Statement, outcomes: &[Outcome]) -> u8 {
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
    match () {
        () if statuses.contains(&Status::Refuted) => 10,
        () if statuses.contains(&Status::Unknown) => 20,
        () => 0,
    }
}

/// When a work that has so many seconds is to end.
pub fn deadline(started: Instant, seconds: Option<f64>) -> Result<Option<Instant>> {
    match seconds.map(Duration::try_from_secs_f64) {
        Some(Ok(time)) => Ok(started.checked_add(time)),
        Some(Err(_)) => bail!("--timeout needs a number of seconds that is not negative"),
        None => Ok(None),
    }
}

/// What the numbers of this claim measure.
fn measure(property: &Property) -> &'static str {
    match property {
        Property::Tolerance(_) | Property::Reaches(_) => "largest deviation of a coarse output",
        Property::Winner => "smallest margin of the winner",
        Property::Unsafe => "smallest distance from an unsafe set",
    }
}

/// Prints what is claimed and what was found; `written` is the certificate, and what its check may need if more than usual.
pub fn print_table(
    statement: &Statement,
    outcomes: &[Outcome],
    written: Option<(&Path, Option<u64>)>,
    claim: &Path,
    model: Option<&Path>,
    console: &Console,
) {
    let settings = &statement.claim().settings;
    let methods: Vec<Method> = {
        let mut all: Vec<Method> = outcomes.iter().flat_map(|o| o.proven.iter().map(|(m, _)| *m)).collect();
        all.sort_unstable();
        all.dedup();
        all
    };
    let several = settings.len() > 1;
    // A property has no measure: it is decided or not.
    let measured = settings.iter().any(|s| s.property != Property::Unsafe);
    let proven: Vec<String> = methods.iter().map(|m| format!("proven, {}", name(*m))).collect();
    let header = several.then_some("setting").into_iter().chain(["row"]).chain(measured.then_some("attacked"));
    let mut table = console.table(header.chain(proven.iter().map(String::as_str)).chain(["status"]));
    for outcome in outcomes {
        let proven = |method: &Method| {
            let found = outcome.proven.iter().find(|(m, _)| m == method);
            found.map_or_else(String::new, |(_, reach)| approximate(reach))
        };
        let cells = several.then(|| outcome.setting.to_string()).into_iter().chain([outcome.row.to_string()]);
        let attacked = outcome.attacked.as_ref().map_or_else(String::new, |(reach, _)| approximate(reach));
        let cells = cells.chain(measured.then_some(attacked)).chain(methods.iter().map(proven));
        table.add_row(cells.map(Cell::new).chain([status_cell(&word(outcome.status))]));
    }
    console.say(format!("{}.\n", scalecheck::describe::describe(statement.claim()).trim_end_matches('.')));
    console.show(&table);
    let mut shown: Vec<&str> = Vec::new();
    for property in settings.iter().map(|s| &s.property).filter(|p| **p != Property::Unsafe) {
        if !shown.contains(&measure(property)) {
            shown.push(measure(property));
            let side = match property {
                Property::Tolerance(_) | Property::Reaches(_) => "attacked ≤ truth ≤ proven",
                Property::Winner | Property::Unsafe => "proven ≤ truth ≤ attacked",
            };
            let measure = measure(property);
            console.say(format!("{side}: the {measure}; attacks are evaluated and proofs checked exactly."));
        }
    }
    for method in [Method::Interval, Method::Crown, Method::Alpha, Method::Lp, Method::Branch] {
        let mut rows: Vec<usize> = outcomes.iter().filter(|o| o.skipped.contains(&method)).map(|o| o.row).collect();
        rows.sort_unstable();
        rows.dedup();
        if !rows.is_empty() {
            let method = name(method);
            console.say(format!(
                "{method} was left out, being too large, not applicable or given up, for the rows {rows:?}"
            ));
        }
    }
    let count = |status| {
        let count = outcomes.iter().filter(|o| o.status == status).count();
        format!("{count} {}", console::status(&word(status)))
    };
    let counts = [Status::Certified, Status::Refuted, Status::Unknown].map(count);
    console.say(counts.join(", "));
    let Some((path, memory)) = written else {
        console.say("no answer was found, so no certificate was written");
        return;
    };
    let (path, claim) = (path.display(), claim.display());
    console.say(format!("wrote {path}"));
    let about = match model {
        // Without a claim file, model and property are what was asked.
        Some(model) => format!("--model {} --property {claim}", model.display()),
        None => claim.to_string(),
    };
    console.check(&format!("{about} {path}"), memory);
}

fn word(status: Status) -> String {
    format!("{status:?}").to_lowercase()
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

/// What was found, row by row.
pub fn as_json(statement: &Statement, outcomes: &[Outcome], path: Option<&Path>) -> Value {
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
