//! What a long run has found so far, on disk: a run that was interrupted is gone on with by the same command.

use crate::bundle::replace;
use anyhow::{Context, Result};
use scalecheck::number::{Rational, parse_rational};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::path::{Path, PathBuf};

/// A file of lines of JSON: first what it is about, then a finding a line. It is this user's own, but the answers in it are
/// checked before they are written, as any others.
pub struct Journal<T> {
    path: PathBuf,
    found: HashMap<(String, usize), T>,
    /// What an earlier run left, until something is added to it.
    lines: Vec<String>,
    file: Option<File>,
}

/// A line of the journal.
#[derive(Serialize, Deserialize)]
struct Entry<T> {
    setting: String,
    row: usize,
    finding: T,
}

impl<T: Serialize + DeserializeOwned> Journal<T> {
    /// Takes up what an earlier run left at `path`, if it is about the same: else it is of no use. Of several findings about
    /// one row the last one counts.
    pub fn open(path: &Path, about: &str) -> Result<Self> {
        let mut journal = Journal {
            path: path.to_owned(),
            found: HashMap::new(),
            lines: vec![serde_json::to_string(about)?],
            file: None,
        };
        let Ok(file) = File::open(path) else { return Ok(journal) };
        let mut earlier = BufReader::new(file).lines().map_while(Result::ok);
        if earlier.next().as_ref() == journal.lines.first() {
            for line in earlier {
                // A run that was stopped may have left its last line unfinished.
                let Ok(entry) = serde_json::from_str::<Entry<T>>(&line) else { continue };
                journal.found.insert((entry.setting, entry.row), entry.finding);
                journal.lines.push(line);
            }
        }
        Ok(journal)
    }

    /// What an earlier run found and was not taken yet.
    pub fn left(&self) -> impl Iterator<Item = &T> {
        self.found.values()
    }

    /// What an earlier run found here.
    pub fn take(&mut self, setting: &str, row: usize) -> Option<T> {
        self.found.remove(&(setting.to_owned(), row))
    }

    /// Notes what was found here.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn note(&mut self, setting: &str, row: usize, finding: &T) -> Result<()> {
        let place = || format!("cannot write {}", self.path.display());
        let line = serde_json::to_string(&Entry { setting: setting.to_owned(), row, finding })? + "\n";
        let file = match &mut self.file {
            Some(file) => file,
            none => {
                let earlier = std::mem::take(&mut self.lines).join("\n") + "\n";
                replace(&self.path, earlier.as_bytes())?;
                none.insert(File::options().append(true).open(&self.path).with_context(place)?)
            }
        };
        file.write_all(line.as_bytes()).with_context(place)
    }
}

/// Removes a journal that is done with, if there is one.
pub fn remove(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != ErrorKind::NotFound => {
            Err(e).with_context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// Of a journal that no run of this program wrote.
pub const DAMAGED: &str = "a damaged journal (.partial); delete it";

/// An exact number of a journal: those of evaluated perturbations can be longer than a claim's may be.
pub fn number(text: &str) -> Result<Rational> {
    parse_rational(text).or_else(|| text.parse().ok()).context(DAMAGED)
}
