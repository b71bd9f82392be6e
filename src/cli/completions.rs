//! `scalecert completions` and `scalecert man`: what a shell and `man` read.

use anyhow::Result;
use clap::CommandFactory;
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

pub fn completions(arguments: &Completions) -> Result<u8> {
    let mut text = Vec::new();
    clap_complete::generate(arguments.shell, &mut super::Arguments::command(), "scalecert", &mut text);
    print!("{}", String::from_utf8(text)?);
    Ok(0)
}

pub fn man(arguments: &Man) -> Result<u8> {
    std::fs::create_dir_all(&arguments.folder)?;
    clap_mangen::generate_to(super::Arguments::command(), &arguments.folder)?;
    println!("wrote man pages to {}", arguments.folder.display());
    Ok(0)
}
