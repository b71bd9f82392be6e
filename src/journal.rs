//! What a long run has found so far, on disk: a run that was interrupted is gone on with by the same command.

use crate::bundle::replace;
use anyhow::{Context, Result};
use scalecheck::number::{Rational, parse_rational};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

/// A file of lines of JSON: first what it is about, then a finding a line. It is this user's own,
/// but the answers in it are checked before they are written, as any others.
pub struct Journal<T> {
    path: PathBuf,
    found: HashMap<(String, usize), T>,
    file: File,
}

/// A line of the journal.
#[derive(Serialize, Deserialize)]
struct Entry<T> {
    setting: String,
    row: usize,
    finding: T,
}

impl<T: Serialize + DeserializeOwned> Journal<T> {
    /// Takes up what an earlier run left at `path`, if it is about the same: else it is of no use.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn open(path: &Path, about: &str) -> Result<Self> {
        let mut lines = vec![serde_json::to_string(about)?];
        let mut found = HashMap::new();
        if let Ok(file) = File::open(path) {
            let mut earlier = BufReader::new(file).lines().map_while(Result::ok);
            if earlier.next().is_some_and(|line| line == lines[0]) {
                for line in earlier {
                    // A run that was stopped may have left its last line unfinished.
                    let Ok(entry) = serde_json::from_str::<Entry<T>>(&line) else { continue };
                    found.insert((entry.setting, entry.row), entry.finding);
                    lines.push(line);
                }
            }
        }
        replace(path, (lines.join("\n") + "\n").as_bytes())?;
        let file = File::options().append(true).open(path);
        let file = file.with_context(|| format!("cannot use {}", path.display()))?;
        Ok(Journal { path: path.to_owned(), found, file })
    }

    /// Number of findings that an earlier run left and that were not taken yet.
    pub fn left(&self) -> usize {
        self.found.len()
    }

    /// What an earlier run found here.
    pub fn take(&mut self, setting: &str, row: usize) -> Option<T> {
        self.found.remove(&(setting.to_owned(), row))
    }

    /// Notes what was found here.
    pub fn note(&mut self, setting: &str, row: usize, finding: &T) -> Result<()> {
        let line = serde_json::to_string(&Entry { setting: setting.to_owned(), row, finding })? + "\n";
        let written = self.file.write_all(line.as_bytes());
        written.with_context(|| format!("cannot write {}", self.path.display()))
    }
}

/// An exact number of a journal: those of evaluated perturbations can be longer than a claim's may be.
pub fn number(text: &str) -> Result<Rational> {
    parse_rational(text).or_else(|| text.parse().ok()).context("a damaged journal (.partial); delete it")
}
