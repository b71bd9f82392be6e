//! `scalecert plot FILES… -o FOLDER`: the pictures of a report as SVG files.

use super::console::{Answer, Console};
use super::report::{Shown, sections};
use crate::bundle::replace;
use crate::report::page::Section;
use crate::report::picture::{brackets, curves, heat_map, of_dial};
use anyhow::{Context, Result, bail};
use serde_json::json;
use std::path::PathBuf;

/// Write the pictures of a report as SVG files: brackets and curves of a dial, the heat map of a flow.
///
/// Exit codes: 0 the pictures are written, 2 bad input.
#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    shown: Shown,
    /// A folder, which is made if it is not there; or a file that ends in `.svg`, for the first picture alone.
    #[arg(short, long, default_value = "plots")]
    output: PathBuf,
}

pub fn run(arguments: &Arguments, console: &Console) -> Result<Answer> {
    let mut pictures: Vec<(String, String)> = Vec::new();
    for section in &sections(&arguments.shown, console)? {
        pictures.extend(of_section(section)?);
    }
    let folder = &arguments.output;
    if folder.extension().is_some_and(|e| e == "svg") {
        let Some((_, picture)) = pictures.into_iter().next() else { bail!("these claims have nothing to draw") };
        replace(folder, picture.as_bytes())?;
        console.say(format!("wrote {}", folder.display()));
        return Answer::new(0, json!({ "pictures": [folder.display().to_string()] }));
    }
    if pictures.is_empty() {
        bail!("these claims have nothing to draw");
    }
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
    let mut written = Vec::new();
    for (name, picture) in pictures {
        let path = folder.join(name);
        replace(&path, picture.as_bytes())?;
        console.say(format!("wrote {}", path.display()));
        written.push(path.display().to_string());
    }
    Answer::new(0, json!({ "pictures": written }))
}

/// File names and pictures: of a dial at every amplitude, or of a flow.
fn of_section(section: &Section) -> Result<Vec<(String, String)>> {
    let stem = section.pair.claim_file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    if !section.layers.is_empty() {
        return Ok(vec![(format!("{stem}.flow.svg"), heat_map(&section.layers)?)]);
    }
    let Some(dial) = section.dial.as_ref().filter(|dial| !dial.winner) else { return Ok(vec![]) };
    let mut pictures = Vec::new();
    if dial.levels.len() > 1 {
        let labels: Vec<String> = dial.levels.iter().map(|level| level.label.clone()).collect();
        pictures.push((format!("{stem}.curves.svg"), curves(&labels, &of_dial(dial))?));
    }
    for (a, amplitude) in dial.amplitudes.iter().enumerate() {
        let safe: String = amplitude.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
        let name = if safe.is_empty() { format!("{stem}.brackets.svg") } else { format!("{stem}.brackets.{safe}.svg") };
        pictures.push((name, brackets(dial, a)?));
    }
    Ok(pictures)
}
