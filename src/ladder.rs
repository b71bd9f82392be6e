//! Ladders made by a program: transforms, and what data says. A ladder is a TOML file in the claim format, with its
//! matrix in a safetensors file beside it; whatever made it, the file is what a claim is about.

use crate::bundle::replace;
use crate::graph::{float, floats};
use anyhow::{Context, Result, bail};
use kodama::{Method, linkage};
use nalgebra::DMatrix;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use rayon::prelude::*;
use safetensors::tensor::{Dtype, TensorView, serialize};
use scalecheck::exact::Exact;
use scalecheck::network::Network;
use scalecheck::{data, onnx, verify};
use std::path::Path;
use toml_edit::{Array, DocumentMut, InlineTable, value};

/// Entries of stored matrices are multiples of `2^-MATRIX_BITS`: short enough to compute with, and far finer than data.
const MATRIX_BITS: i32 = 12;

/// A tensor's values on rows of a data file: one column a row.
pub fn activations(
    model: Option<&Path>,
    data: &Path,
    site: &str,
    rows: Option<(usize, usize)>,
) -> Result<DMatrix<f64>> {
    let name = data.display().to_string();
    let bytes = verify::read(data)?;
    let text = std::str::from_utf8(&bytes).with_context(|| format!("{name} is not text"))?;
    let table = data::Table::new(&name, text);
    let (first, end) = rows.unwrap_or((0, table.len()));
    if first >= end || end > table.len() {
        bail!("{name} has the rows 0 to {}, not {first}..{end}", table.len().saturating_sub(1));
    }
    let (network, node) = match model {
        None if site == "input" => (None, 0),
        None => bail!("a site other than the input needs --model"),
        Some(path) => {
            let name = path.display().to_string();
            let network = onnx::read(&verify::read(path)?).map_err(|e| e.within(&name))?;
            let node = if site == "input" { Some(0) } else { network.find(site) };
            let node =
                node.with_context(|| format!("{name} has no tensor `{site}`; `scalecert inspect` lists them"))?;
            (Some(network), node)
        }
    };
    let width = text.lines().rfind(|line| !line.trim().is_empty()).map_or(0, |line| line.split(',').count());
    let value = |row: usize| -> Result<Vec<f64>> {
        let len = network.as_ref().map(|network: &Network| network.input().elements());
        let x = match len {
            Some(len) => table.row(row, len)?,
            None => table.row(row, width).or_else(|_| table.row(row, width.saturating_sub(1)))?,
        };
        Ok(match &network {
            Some(network) if node > 0 => floats(&network.evaluate(&Exact::from_rationals(&x))[node].to_rationals()),
            _ => x.iter().map(float).collect(),
        })
    };
    let columns: Vec<Vec<f64>> = (first..end).into_par_iter().map(value).collect::<Result<_>>()?;
    Ok(DMatrix::from_iterator(columns[0].len(), columns.len(), columns.into_iter().flatten()))
}

/// The principal components of data, one a row, from the largest variance to the smallest, and the variances.
pub fn principal_components(x: &DMatrix<f64>) -> (DMatrix<f64>, Vec<f64>) {
    let mean = x.column_mean();
    let mut centred = x.clone();
    centred.column_iter_mut().for_each(|mut column| column -= &mean);
    let eigen = (&centred * centred.transpose() / x.ncols() as f64).symmetric_eigen();
    let mut order: Vec<usize> = (0..x.nrows()).collect();
    order.sort_by(|&a, &b| eigen.eigenvalues[b].total_cmp(&eigen.eigenvalues[a]));
    let rows: Vec<_> = order.iter().map(|&k| eigen.eigenvectors.column(k).transpose()).collect();
    (DMatrix::from_rows(&rows), order.iter().map(|&k| eigen.eigenvalues[k].max(0.0)).collect())
}

/// The orthonormal cosine transform (DCT-II) of one axis, one frequency a row.
pub fn cosine_transform(n: usize) -> DMatrix<f64> {
    DMatrix::from_fn(n, n, |u, i| {
        let scale = if u == 0 { 1.0 / n as f64 } else { 2.0 / n as f64 };
        scale.sqrt() * (std::f64::consts::PI * (i as f64 + 0.5) * u as f64 / n as f64).cos()
    })
}

/// Rows with random entries: a ladder that knows nothing, to compare with.
pub fn random_modes(rows: usize, columns: usize, seed: u64) -> DMatrix<f64> {
    let mut rng = SmallRng::seed_from_u64(seed);
    // A sum of uniform numbers has no preferred direction to speak of.
    DMatrix::from_fn(rows, columns, |_, _| (0..6).map(|_| rng.random_range(-1.0..1.0)).sum::<f64>() / 2.0)
}

/// Groups of neurons by average linkage of their correlations: for each count, the partition with that many groups.
pub fn clusters(x: &DMatrix<f64>, counts: &[usize]) -> Vec<Vec<Vec<usize>>> {
    let n = x.nrows();
    let mean = x.column_mean();
    let mut centred = x.clone();
    centred.column_iter_mut().for_each(|mut column| column -= &mean);
    let norms: Vec<f64> = centred.row_iter().map(|row| row.norm()).collect();
    let distance = |i: usize, j: usize| {
        // A neuron that never moves is correlated with nothing.
        let product = norms[i] * norms[j];
        if product > 0.0 { 1.0 - centred.row(i).dot(&centred.row(j)) / product } else { 1.0 }
    };
    let mut condensed: Vec<f64> =
        (0..n).flat_map(|i| (i + 1..n).map(move |j| (i, j))).map(|(i, j)| distance(i, j)).collect();
    let tree = linkage(&mut condensed, n, Method::Average);
    let mut groups: Vec<Option<Vec<usize>>> = (0..n).map(|i| Some(vec![i])).collect();
    let mut levels = Vec::new();
    let mut live = n;
    let level = |groups: &[Option<Vec<usize>>]| groups.iter().flatten().cloned().collect::<Vec<_>>();
    let mut counts = counts.iter().copied().peekable();
    while counts.next_if(|&count| count >= live).is_some() {
        levels.push(level(&groups));
    }
    for step in tree.steps() {
        let (a, b) = (groups[step.cluster1].take(), groups[step.cluster2].take());
        let mut union = [a, b].into_iter().flatten().flatten().collect::<Vec<_>>();
        union.sort_unstable();
        groups.push(Some(union));
        live -= 1;
        while counts.next_if(|&count| count == live).is_some() {
            levels.push(level(&groups));
        }
    }
    levels
}

/// Writes a matrix as float32, every entry rounded to a multiple of `2^-MATRIX_BITS`.
pub fn write_matrix(path: &Path, name: &str, matrix: &DMatrix<f64>) -> Result<()> {
    let unit = 2_f64.powi(-MATRIX_BITS);
    let row_major = matrix.transpose();
    let bytes: Vec<u8> = row_major.iter().flat_map(|x| (((x / unit).round() * unit) as f32).to_le_bytes()).collect();
    let view = TensorView::new(Dtype::F32, vec![matrix.nrows(), matrix.ncols()], &bytes)?;
    replace(path, &serialize([(name, view)], None)?)
}

/// A ladder file whose matrix is stored beside it.
pub fn write_modes(path: &Path, family: &str, key: &str, made: &str, matrix: &DMatrix<f64>) -> Result<DocumentMut> {
    let stored = path.with_extension("safetensors");
    write_matrix(&stored, key, matrix)?;
    let file = stored.file_name().context("a ladder needs a file name")?.to_string_lossy().into_owned();
    let mut document = DocumentMut::new();
    document["family"] = value(family);
    document["made"] = value(made);
    document[key] = value(InlineTable::from_iter([("file", file), ("tensor", key.to_owned())]));
    Ok(document)
}

/// A ladder file of nested groups.
pub fn groups(made: &str, levels: &[Vec<Vec<usize>>]) -> DocumentMut {
    let mut document = DocumentMut::new();
    document["family"] = value("groups");
    document["made"] = value(made);
    let group = |group: &Vec<usize>| group.iter().map(|&i| i as i64).collect::<Array>();
    let level = |level: &Vec<Vec<usize>>| level.iter().map(group).collect::<Array>();
    let mut list: Array = levels.iter().map(level).collect();
    list.iter_mut().for_each(|level| level.decor_mut().set_prefix("\n  "));
    list.set_trailing("\n");
    document["levels"] = value(list);
    document
}
