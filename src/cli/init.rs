//! `scalecert init MODEL`: a first claim about a model, by a look at its shapes.

use super::console::{Answer, Console};
use crate::bundle::replace;
use crate::sweep::relative;
use anyhow::{Context, Result, bail};
use scalecheck::network::Network;
use scalecheck::onnx;
use scalecheck::verify::{Statement, read};
use serde_json::json;
use std::path::{Path, PathBuf};

/// Write a first claim about a model: detail below the smallest blocks of its input, and a tolerance to be made one's own. The
/// claim is one that `scalecert prove` reads as it is.
///
/// Exit codes: 0 the claim is written, 2 bad input.
#[derive(clap::Args)]
pub struct Arguments {
    /// The model, an ONNX file.
    model: PathBuf,
    /// Inputs to claim something about, a CSV file of one input a row; without it the claim is about every input from 0 to 1.
    #[arg(long)]
    inputs: Option<PathBuf>,
    /// Where to write the claim. Default: next to the model, `.toml`. A file that is there is not replaced.
    #[arg(short, long)]
    output: Option<PathBuf>,
}

pub fn run(arguments: &Arguments, console: &Console) -> Result<Answer> {
    let path = arguments.output.clone().unwrap_or_else(|| arguments.model.with_extension("toml"));
    if path.exists() {
        bail!("{} is there already; name another file with -o", path.display());
    }
    let name = arguments.model.display().to_string();
    let network = onnx::read(&read(&arguments.model)?).map_err(|e| e.within(&name))?;
    let text = claim(&network, &relative(&path, &arguments.model)?, inputs(&path, arguments.inputs.as_deref())?);
    // What is written can be read: by the checker's own code, with the files that it names.
    Statement::of(&path, text.as_bytes(), None).context("the claim that was to be written cannot be read")?;
    replace(&path, text.as_bytes())?;
    console.say(format!("wrote {}", path.display()));
    console.say(format!("read it and change it, then: scalecert prove {}", path.display()));
    Answer::new(0, json!({ "claim": path.display().to_string() }))
}

/// The lines about inputs.
fn inputs(claim: &Path, file: Option<&Path>) -> Result<String> {
    let Some(file) = file else {
        return Ok("# Every input there is, from 0 to 1; for inputs of your own: file = \"inputs.csv\" and rows = \"0..10\".\n\
                   box = { lower = \"0\", upper = \"1\" }\n"
            .to_owned());
    };
    let file = toml_edit::Value::from(relative(claim, file)?);
    Ok(format!("file = {}\nrows = [0] # one claim a row; several: \"0..10\"\n", file.to_string().trim()))
}

fn claim(network: &Network, model: &str, inputs: String) -> String {
    let shape: Vec<usize> = network.input().shape.iter().copied().skip_while(|&n| n == 1).collect();
    let scale = scale(&shape);
    let output = match network.outputs() {
        [_] => String::new(),
        all => {
            let names = all.iter().map(|&t| &network.nodes()[t].name);
            let names =
                names.map(|name| toml_edit::Value::from(name).to_string().trim().to_owned()).collect::<Vec<_>>();
            format!("tensor = {} # of {}\n", names[0], names.join(", "))
        }
    };
    format!(
        "# What is claimed of this model. All keys: specs/claim-format.md.\n\
         model = {}\n\n\
         [inputs]\n{inputs}\n\
         # What may be added: no more than the amplitude in any element, and nothing that is seen at the scale of the cutoff.\n\
         [[perturb]]\nsite = \"input\" # or a hidden tensor, see scalecert inspect\n{scale}amplitude = \"1/32\"\n\n\
         # No output moves by more than the tolerance; or, with rows of inputs: decision = \"winner\".\n\
         [output]\n{output}tolerance = \"1\"\n",
        toml_edit::Value::from(model).to_string().trim()
    )
}

/// Means over the smallest blocks of an input of this shape, leading ones left out.
fn scale(shape: &[usize]) -> String {
    let spatial = if shape.len() > 1 { 2 } else { 1 };
    let grid = &shape[shape.len().saturating_sub(spatial)..];
    // A prime number of elements has no smaller blocks than all of it.
    let side = (2..=grid.iter().copied().min().unwrap_or(0)).find(|side| grid.iter().all(|n| n % side == 0));
    match side {
        Some(side) => {
            format!("scale = {{ family = \"block-mean\", shape = {shape:?}, spatial = {spatial}, cutoff = {side} }}\n")
        }
        None => {
            "# No blocks divide this shape; other families: specs/claim-format.md.\nscale = { family = \"none\" }\n"
                .to_owned()
        }
    }
}
