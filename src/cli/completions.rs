//! `scalecert completions` and `scalecert man`: what a shell and `man` read.

use super::console::{Answer, Console};
use anyhow::{Context, Result};
use clap::CommandFactory;
use serde_json::json;
use std::path::PathBuf;

/// Print completions for a shell, for instance for `source <(scalecert completions bash)`.
#[derive(clap::Args)]
pub struct Completions {
    shell: clap_complete::Shell,
}

/// Write man pages, one for each command, into a folder.
#[derive(clap::Args)]
pub struct Man {
    folder: PathBuf,
}

pub fn completions(arguments: &Completions, console: &Console) -> Result<Answer> {
    let mut text = Vec::new();
    clap_complete::generate(arguments.shell, &mut super::Arguments::command(), "scalecert", &mut text);
    let text = String::from_utf8(text)?;
    console.say(text.trim_end());
    Answer::new(0, json!({ "shell": arguments.shell.to_string(), "completions": text }))
}

pub fn man(arguments: &Man, console: &Console) -> Result<Answer> {
    let folder = arguments.folder.display();
    let place = || format!("cannot write man pages into {folder}");
    std::fs::create_dir_all(&arguments.folder).with_context(place)?;
    clap_mangen::generate_to(super::Arguments::command(), &arguments.folder).with_context(place)?;
    console.say(format!("wrote man pages to {folder}"));
    Answer::new(0, json!({ "folder": folder.to_string() }))
}
