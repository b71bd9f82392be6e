//! How commands speak: text or one JSON object on the standard output, errors and progress on the standard error. Colours,
//! tables that fit the window and progress are for terminals alone; colours honour NO_COLOR, CLICOLOR and CLICOLOR_FORCE.

use crate::graph::float;
use anyhow::Result;
use comfy_table::presets::UTF8_HORIZONTAL_ONLY;
use comfy_table::{Cell, Color, ContentArrangement, LineStyle, Table, TableStyle};
use indicatif::{ProgressBar, ProgressStyle};
use scalecheck::number::Rational;
use serde_json::{Value, json};
use std::cell::Cell as Mutable;
use std::io::{IsTerminal, Write};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Exit code of a command that was interrupted and did not end in order.
pub const INTERRUPTED: i32 = 130;

/// Lines around the table and under its header; rows stand close.
const LINES: TableStyle = UTF8_HORIZONTAL_ONLY.row_separator(LineStyle::none());

/// What every command takes.
#[derive(clap::Args)]
pub struct Console {
    /// Print one JSON object instead of text, also of an error.
    #[arg(long, global = true)]
    json: bool,
    /// Print nothing but errors; the exit code is the answer.
    #[arg(short, long, global = true, conflicts_with = "json")]
    quiet: bool,
    /// True once somebody who read the output has gone away.
    #[arg(skip)]
    closed: Mutable<bool>,
}

/// How a command ended.
pub struct Answer {
    pub code: u8,
    /// What it found, for `--json`.
    pub json: Value,
}

impl Answer {
    pub fn new(code: u8, json: Value) -> Result<Answer> {
        Ok(Answer { code, json })
    }
}

impl Console {
    /// A line of text.
    pub fn say(&self, line: impl AsRef<str>) {
        if !self.json && !self.quiet {
            self.put(line.as_ref());
        }
    }

    fn put(&self, line: &str) {
        if !self.closed.get() {
            self.closed.set(writeln!(std::io::stdout(), "{line}").is_err());
        }
    }

    /// Prints what a command answers; its exit code, or 2 if what was printed could not be read.
    pub fn answer(&self, outcome: Result<Answer>) -> u8 {
        let code = match outcome {
            Ok(answer) => {
                if self.json {
                    self.put(&answer.json.to_string());
                }
                answer.code
            }
            Err(error) => {
                if self.json {
                    self.put(&json!({ "error": format!("{error:#}") }).to_string());
                } else {
                    eprintln!("{} {error:#}", console::style("error:").for_stderr().red().bold());
                }
                super::BAD_INPUT
            }
        };
        if self.closed.get() { super::BAD_INPUT } else { code }
    }

    /// Says how to check a certificate: the command, and what it needs besides.
    pub fn check(&self, command: &str, memory: Option<u64>) {
        let more = memory.map_or_else(String::new, |memory| format!(" --max-memory {memory}"));
        self.say(format!("check it: scalecheck verify {command}{more}"));
    }

    /// Shows a table.
    pub fn show(&self, table: &Table) {
        self.say(table.trim_fmt());
    }

    /// A table that is as wide as the window at most.
    pub fn table<'a>(&self, header: impl IntoIterator<Item = &'a str>) -> Table {
        let mut table = Table::new();
        table.load_style(LINES).set_content_arrangement(ContentArrangement::Dynamic);
        table.set_header(header);
        // Whether there are colours is decided in one place, for text and tables.
        if console::colors_enabled() {
            table.enforce_styling();
        }
        table
    }

    /// A bar that counts `of` things, if there are several.
    pub fn bar(&self, count: usize, of: &str) -> Result<ProgressBar> {
        if count < 2 || self.is_still() {
            return Ok(ProgressBar::hidden());
        }
        let style =
            ProgressStyle::with_template(&format!("{{bar:40}} {{pos}}/{{len}} {of}, {{eta}} left {{wide_msg}}"))?;
        let bar = ProgressBar::new(count as u64).with_style(style);
        bar.enable_steady_tick(Duration::from_millis(200));
        Ok(bar)
    }

    /// A line that says what is being done, and for how long, where no count is known.
    pub fn line(&self, what: &str) -> Result<ProgressBar> {
        if self.is_still() {
            return Ok(ProgressBar::hidden());
        }
        let line = ProgressBar::new_spinner().with_style(ProgressStyle::with_template("{elapsed} {wide_msg}")?);
        line.set_message(what.to_owned());
        line.enable_steady_tick(Duration::from_millis(200));
        Ok(line)
    }

    /// Says what to do about an interruption, which ends the program at once: what is known is in this file.
    pub fn on_interrupt(&self, journal: &Path) -> Result<()> {
        static JOURNAL: Mutex<Option<String>> = Mutex::new(None);
        let lock = || JOURNAL.lock().unwrap_or_else(PoisonError::into_inner);
        // There is one handler for all journals, one after another.
        let earlier = lock().replace(journal.display().to_string());
        if earlier.is_none() {
            ctrlc::set_handler(move || {
                let journal = lock().clone().unwrap_or_default();
                eprintln!("\ninterrupted; what is known is in {journal}, and the same command goes on from there");
                std::process::exit(INTERRUPTED);
            })?;
        }
        Ok(())
    }

    /// True if nobody would see anything move.
    fn is_still(&self) -> bool {
        self.quiet || !std::io::stderr().is_terminal()
    }
}

/// An exact number in JSON, with a float for those who need no more.
pub fn number(x: &Rational) -> Value {
    json!({ "exact": x.to_string(), "approximate": float(x) })
}

/// What a verdict or status looks like.
fn colour(word: &str) -> Option<Color> {
    match word.to_ascii_lowercase().as_str() {
        "certified" | "verified" => Some(Color::Green),
        "refuted" | "rejected" => Some(Color::Red),
        "unknown" => Some(Color::Yellow),
        _ => None,
    }
}

/// A cell of a table with a verdict or status.
pub fn status_cell(word: &str) -> Cell {
    let cell = Cell::new(word);
    match colour(word).filter(|_| console::colors_enabled()) {
        Some(colour) => cell.fg(colour),
        None => cell,
    }
}

/// A verdict or status in a line of text.
pub fn status(word: &str) -> String {
    let styled = console::style(word);
    let styled = match colour(word) {
        Some(Color::Green) => styled.green(),
        Some(Color::Red) => styled.red(),
        Some(_) => styled.yellow(),
        None => styled,
    };
    styled.to_string()
}
