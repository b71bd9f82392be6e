//! `scalecert ladder KIND`: makes ladder files, from transforms or from data.

use super::console::{Answer, Console};
use crate::bundle::replace;
use crate::ladder;
use anyhow::{Result, bail};
use clap::Subcommand;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// Make a ladder file that claims can name: `scale = { ladder = "FILE", cutoff = … }`.
#[derive(clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    kind: Kind,
}

#[derive(Subcommand)]
enum Kind {
    /// Cosine modes of the last axes of a shape; the rounded matrix is what claims are then about.
    Dct {
        /// The tensor's shape, such as 8,8 or 3,32,32.
        #[arg(long, value_delimiter = ',', required = true)]
        shape: Vec<usize>,
        /// How many of the last axes are transformed, 1 or 2.
        #[arg(long)]
        spatial: Option<usize>,
        /// Where to write the ladder; its matrix is written beside it.
        #[arg(short, long)]
        output: PathBuf,
    },
    /// Principal components of a tensor on the rows of a data file, from the largest variance to the smallest.
    Pca {
        #[command(flatten)]
        data: Data,
        #[arg(short, long)]
        output: PathBuf,
    },
    /// Nested groups of neurons that are correlated on the rows of a data file (average linkage).
    Clusters {
        #[command(flatten)]
        data: Data,
        /// Numbers of groups, falling, one a level; by default halves of the number of neurons.
        #[arg(long, value_delimiter = ',')]
        groups: Vec<usize>,
        #[arg(short, long)]
        output: PathBuf,
    },
    /// Random modes, which know nothing of network or data: something to compare with.
    Random {
        /// Elements of the tensor.
        #[arg(long)]
        elements: usize,
        #[arg(long, default_value_t = 1)]
        seed: u64,
        #[arg(short, long)]
        output: PathBuf,
    },
}

/// Where data comes from.
#[derive(clap::Args)]
struct Data {
    /// A CSV file as claims use it: one input a line.
    #[arg(long)]
    data: PathBuf,
    /// Rows a..b of the file; all of them if absent.
    #[arg(long)]
    rows: Option<String>,
    /// The model, if the site is not its input.
    #[arg(long)]
    model: Option<PathBuf>,
    /// The tensor.
    #[arg(long, default_value = "input")]
    site: String,
}

impl Data {
    fn load(&self) -> Result<nalgebra::DMatrix<f64>> {
        let rows = self.rows.as_ref().map(|text| {
            let ends = text.split_once("..").and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
            ends.ok_or_else(|| anyhow::anyhow!("--rows {text}: a range such as 0..100 is needed"))
        });
        ladder::activations(self.model.as_deref(), &self.data, &self.site, rows.transpose()?)
    }

    /// How it came about, for the ladder file.
    fn describe(&self, what: &str, x: &nalgebra::DMatrix<f64>) -> String {
        let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let of = self.model.as_ref().map_or(String::new(), |model| format!(" of {}", name(model)));
        let version = env!("CARGO_PKG_VERSION");
        let (site, rows, data) = (&self.site, x.ncols(), name(&self.data));
        format!("scalecert {version} ladder {what} of tensor {site}{of} on {rows} rows of {data}")
    }
}

pub fn run(arguments: &Arguments, console: &Console) -> Result<Answer> {
    let mut variances: Vec<Value> = Vec::new();
    let line = console.line("making the ladder")?;
    let (path, document) = match &arguments.kind {
        Kind::Dct { shape, spatial, output } => (output, dct(shape, *spatial, output)?),
        Kind::Pca { data, output } => {
            let x = data.load()?;
            let (modes, variance) = ladder::principal_components(&x);
            let total: f64 = variance.iter().sum();
            let mut sum = 0.0;
            for (k, v) in variance.iter().enumerate() {
                sum += v;
                if (k + 1).is_power_of_two() {
                    let share = sum / total;
                    let of = k + 1;
                    line.suspend(|| {
                        console.say(format!(
                            "the first {of} components have {:.2} % of the variance (estimated)",
                            100.0 * share
                        ));
                    });
                    variances.push(json!({ "components": of, "variance_estimated": share }));
                }
            }
            let made = data.describe("pca: principal components", &x);
            (output, ladder::write_modes(output, "pca", "modes", &made, &modes)?)
        }
        Kind::Clusters { data, groups, output } => {
            let x = data.load()?;
            let n = x.nrows();
            let halves = || std::iter::successors(Some(n / 2), |&m| (m > 1).then_some(m / 2)).filter(|&m| m > 0);
            let counts: Vec<usize> = if groups.is_empty() { halves().collect() } else { groups.clone() };
            if counts.windows(2).any(|pair| pair[0] <= pair[1]) || counts.iter().any(|&m| m == 0 || m > n) {
                bail!("--groups {counts:?}: falling numbers from {n} to 1 are needed");
            }
            let made = data.describe("clusters: correlated neurons", &x);
            (output, ladder::groups(&made, &ladder::clusters(&x, &counts)))
        }
        Kind::Random { elements, seed, output } => {
            let made = format!("scalecert {} ladder random, seed {seed}", env!("CARGO_PKG_VERSION"));
            let modes = ladder::random_modes(*elements, *elements, *seed);
            (output, ladder::write_modes(output, "matrix", "modes", &made, &modes)?)
        }
    };
    replace(path, document.to_string().as_bytes())?;
    line.finish_and_clear();
    console.say(format!("wrote {}", path.display()));
    let mut json = json!({ "ladder": path.display().to_string() });
    if !variances.is_empty() {
        json["variance"] = variances.into();
    }
    Answer::new(0, json)
}

fn dct(shape: &[usize], spatial: Option<usize>, output: &Path) -> Result<toml_edit::DocumentMut> {
    let spatial = spatial.unwrap_or(shape.len().min(2));
    if !(1..=2).contains(&spatial) || spatial > shape.len() {
        bail!("--spatial must be 1 or 2, and at most the number of axes in --shape");
    }
    let axes = &shape[shape.len() - spatial..];
    if axes.iter().any(|&n| n != axes[0]) {
        bail!("the transformed axes {axes:?} differ; write a `dct` ladder with `vertical` and `horizontal` by hand");
    }
    let made = format!("scalecert {} ladder dct: DCT-II of {} points", env!("CARGO_PKG_VERSION"), axes[0]);
    let mut document = ladder::write_modes(output, "dct", "matrix", &made, &ladder::cosine_transform(axes[0]))?;
    document["shape"] = toml_edit::value(shape.iter().map(|&n| n as i64).collect::<toml_edit::Array>());
    document["spatial"] = toml_edit::value(spatial as i64);
    Ok(document)
}
