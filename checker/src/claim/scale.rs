//! Reading ladders: `scale` tables of a claim, and ladder files.

use super::document::{self, Item};
use crate::array::{self, Array};
use crate::error::{Code, Result};
use crate::ladder::Ladder;
use crate::ladder::dictionary::Dictionary;
use crate::ladder::grid::Grid;
use crate::ladder::groups::Partition;
use crate::ladder::modes::Modes;
use crate::ladder::wavelet::{Filter, Filters};
use crate::number::Rational;
use crate::verify::Files;
use crate::weights::Values;
use std::sync::Arc;

/// More items than any tensor or dictionary has.
const MAX_ITEMS: usize = 1 << 20;

/// The ladder that a `scale` table names, with the items of the other keys that it may have.
pub fn ladder<'a, const N: usize>(
    item: &Item<'a>,
    others: [&'static str; N],
    files: &mut Files,
) -> Result<(Arc<Ladder>, [Item<'a>; N])> {
    let file = item.key("ladder")?;
    if file.is_given() {
        let found = item.table_with(["ladder"], others)?.1;
        return Ok((Arc::new(from_file(&file, files)?), found));
    }
    let (ladder, found) = family(item, others, files)?;
    Ok((Arc::new(ladder), found))
}

/// A ladder file: the keys of a family, and `made`, which says how it was made.
fn from_file(file: &Item<'_>, files: &mut Files) -> Result<Ladder> {
    let (path, bytes) = files.open(file)?;
    let Ok(text) = std::str::from_utf8(&bytes) else {
        return file.error(Code::Io, format!("{path} is not UTF-8 text"));
    };
    document::read(&path, "ladder", text, |item| {
        let (ladder, [made]) = family(item, ["made"], files)?;
        made.optional(Item::text)?;
        item.ensure(ladder != Ladder::None, Code::ClaimValue, "the family `none` has no rungs, so it is no ladder")?;
        Ok(ladder)
    })
}

fn family<'a, const N: usize>(
    item: &Item<'a>,
    others: [&'static str; N],
    files: &mut Files,
) -> Result<(Ladder, [Item<'a>; N])> {
    let name = item.key("family")?;
    match name.text()? {
        "none" => {
            // There is no rung to cut off at.
            item.table(["family"])?;
            Ok((Ladder::None, item.table_with(["family"], others)?.1))
        }
        "block-mean" => {
            let ([_, shape, spatial], found) = item.table_with(["family", "shape", "spatial"], others)?;
            Ok((Ladder::BlockMean(grid(&shape, &spatial)?), found))
        }
        "haar" => {
            let ([_, shape, spatial], found) = item.table_with(["family", "shape", "spatial"], others)?;
            Ok((Ladder::Haar(grid(&shape, &spatial)?), found))
        }
        "wavelet" => {
            let keys = ["family", "shape", "spatial", "filters"];
            let ([_, shape, spatial, filters], found) = item.table_with(keys, others)?;
            Ok((Ladder::Wavelet(grid(&shape, &spatial)?, self::filters(&filters)?), found))
        }
        "groups" => {
            let ([_, levels, shape], found) = item.table_with(["family", "levels", "shape"], others)?;
            let shape = shape.optional(|shape| shape.list(Item::count))?;
            Ok((Ladder::Groups(nested(&levels, Partition::new(groups(&levels)?, shape))?), found))
        }
        "dct" => {
            let ([_, shape, spatial, matrix], found) =
                item.table_with(["family", "shape", "spatial", "matrix"], others)?;
            Ok((Ladder::Modes(dct(&grid(&shape, &spatial)?, &matrix, files)?), found))
        }
        "pca" => {
            let ([_, modes], found) = item.table_with(["family", "modes"], others)?;
            Ok((Ladder::Modes(shaped(&modes, Modes::rows("pca", matrix(&modes, files)?))?), found))
        }
        "matrix" => {
            let ([_, modes, generator], found) = item.table_with(["family", "modes", "generator"], others)?;
            match (modes.is_given(), generator.is_given()) {
                (true, false) => {
                    Ok((Ladder::Modes(shaped(&modes, Modes::rows("matrix", matrix(&modes, files)?))?), found))
                }
                (false, true) => {
                    let atoms = matrix(&generator, files)?;
                    // Rung k sees all but the last k columns.
                    let kept: Vec<usize> = (0..atoms.shape[1]).rev().collect();
                    let levels = nested(&generator, Partition::prefixes(kept))?;
                    Ok((Ladder::Dictionary(shaped(&generator, Dictionary::new(atoms, None, levels, None))?), found))
                }
                _ => item.error(Code::ClaimMissingKey, "the family `matrix` needs either `modes` or `generator`"),
            }
        }
        "dictionary" => {
            let keys = ["family", "atoms", "levels", "nested", "bounds", "residual"];
            let ([_, atoms, levels, prefixes, bounds, residual], found) = item.table_with(keys, others)?;
            let partition = match (levels.is_given(), prefixes.is_given()) {
                (true, false) => nested(&levels, Partition::new(groups(&levels)?, None))?,
                (false, true) => nested(&prefixes, Partition::prefixes(kept(&prefixes)?))?,
                _ => return item.error(Code::ClaimMissingKey, "a dictionary needs either `levels` or `nested`"),
            };
            let residual = residual.non_negative()?;
            let bounds = bounds.optional(|_| Ok(()))?.map(|()| vector(&bounds, files)).transpose()?;
            let dictionary = Dictionary::new(matrix(&atoms, files)?, bounds, partition, Some(residual));
            Ok((Ladder::Dictionary(shaped(&atoms, dictionary)?), found))
        }
        other => {
            let known = "none, block-mean, haar, wavelet, groups, dct, pca, matrix and dictionary";
            name.error(Code::ClaimValue, format!("`family` is `{other}`; known are {known}"))
        }
    }
}

/// An error of form or size of what an item describes.
fn shaped<T>(item: &Item<'_>, value: std::result::Result<T, String>) -> Result<T> {
    value.or_else(|message| item.error(Code::ClaimShape, message))
}

/// An error of nesting.
fn nested<T>(item: &Item<'_>, value: std::result::Result<T, String>) -> Result<T> {
    value.or_else(|message| item.error(Code::LadderNesting, message))
}

/// Channels of 1-D or 2-D planes.
pub fn grid(shape_item: &Item<'_>, spatial: &Item<'_>) -> Result<Grid> {
    let shape = shape_item.list(Item::count)?;
    let spatial = spatial.optional(Item::count)?.unwrap_or(shape.len().min(2));
    let message = "`spatial` must be 1 or 2, and at most the number of axes in `shape`";
    shape_item.ensure((1..=shape.len().min(2)).contains(&spatial), Code::ClaimShape, message)?;
    shape_item.ensure(shape.iter().all(|&d| d > 0), Code::ClaimValue, "`shape` has an axis of size 0")?;
    Ok(Grid { shape, spatial })
}

fn groups(item: &Item<'_>) -> Result<Vec<Vec<Vec<u32>>>> {
    item.list(|level| {
        level.list(|group| {
            let items = super::distinct(group)?;
            let last = items.last().copied().unwrap_or_default();
            group.ensure(last < MAX_ITEMS, Code::ClaimShape, format!("there is no item {last} in any tensor"))?;
            Ok(items.into_iter().map(|i| i as u32).collect())
        })
    })
}

/// Numbers of atoms.
fn kept(item: &Item<'_>) -> Result<Vec<usize>> {
    item.list(|number| {
        let kept = number.count()?;
        number.ensure(kept <= MAX_ITEMS, Code::ClaimShape, format!("{kept} are more atoms than are read"))?;
        Ok(kept)
    })
}

fn filters(item: &Item<'_>) -> Result<Filters> {
    if let Ok(name) = item.text() {
        let known = "`filters` must be cdf-5-3, cdf-1-3, orthogonal-4, or a table with `low` and `dual`";
        return Filters::named(name).map_or_else(|| item.error(Code::ClaimValue, known), Ok);
    }
    let [low, dual, start] = item.table(["low", "dual", "start"])?;
    let start = match &start.list(Item::rational)?[..] {
        [a, b] if a.is_integer() && b.is_integer() => [a, b].map(|x| i64::try_from(x.to_integer()).ok()),
        _ => [None, None],
    };
    let [Some(low_start), Some(dual_start)] = start else {
        return item.error(Code::ClaimValue, "`start` must be two whole numbers: where `low` and `dual` begin");
    };
    let low = Filter { start: low_start, taps: low.list(Item::rational)? };
    nested(item, Filters::new(low, Filter { start: dual_start, taps: dual.list(Item::rational)? }))
}

/// A matrix: written as an array of rows, or a file, or a table of a file with the tensor in it and its orientation.
pub fn matrix(item: &Item<'_>, files: &mut Files) -> Result<Array> {
    if item.is_array() {
        let rows = item.list(|row| row.list(Item::rational))?;
        let width = rows[0].len();
        let equal = rows.iter().all(|row| row.len() == width);
        item.ensure(equal, Code::ClaimShape, "the rows of a matrix must have one length")?;
        let shape = vec![rows.len(), width];
        return Ok(Array { shape, values: Values::Rational(rows.into_iter().flatten().collect()) });
    }
    let array = stored(item, true, files)?;
    let message = format!("the array has the shape {:?}; a matrix is needed", array.shape);
    item.ensure(array.shape.len() == 2, Code::ClaimShape, message)?;
    Ok(array)
}

/// A vector, in the same ways.
fn vector(item: &Item<'_>, files: &mut Files) -> Result<Vec<Rational>> {
    let values = if item.is_array() {
        item.list(Item::rational)?
    } else {
        let array = stored(item, false, files)?;
        item.ensure(array.shape.len() == 1, Code::ClaimShape, "the array must have one axis")?;
        (0..array.values.len()).map(|i| array.values.get(i)).collect()
    };
    let negative = values.iter().any(num::Signed::is_negative);
    item.ensure(!negative, Code::ClaimValue, "a bound is negative")?;
    Ok(values)
}

/// An array from a file; `matrix` if it may be transposed.
fn stored(item: &Item<'_>, matrix: bool, files: &mut Files) -> Result<Array> {
    let (file, tensor, transpose) = if item.text().is_ok() {
        (*item, None, false)
    } else {
        if !matrix {
            item.table(["file", "tensor"])?;
        }
        let [file, tensor, transpose] = item.table(["file", "tensor", "transpose"])?;
        (file, tensor.optional(Item::text)?, transpose.optional(Item::flag)?.unwrap_or(false))
    };
    let (path, bytes) = files.open(&file)?;
    let array = array::read(&bytes, tensor).map_err(|e| e.within(&path))?;
    match (&array.shape[..], transpose) {
        (_, false) => Ok(array),
        (&[rows, cols], true) => {
            let index: Vec<usize> = (0..rows * cols).map(|i| i % rows * cols + i / rows).collect();
            Ok(Array { shape: vec![cols, rows], values: array.values.select(&index) })
        }
        _ => item.error(Code::ClaimShape, "only a matrix can be transposed"),
    }
}

/// The products of a square matrix of modes for every axis: one for both, or a table of two.
fn dct(grid: &Grid, item: &Item<'_>, files: &mut Files) -> Result<Modes> {
    let (height, width) = grid.plane();
    let one = || Array { shape: vec![1, 1], values: Values::Rational(vec![Rational::from_integer(1.into())]) };
    let (vertical, horizontal) = if item.is_table_with("vertical") {
        let [vertical, horizontal] = item.table(["vertical", "horizontal"])?;
        (matrix(&vertical, files)?, matrix(&horizontal, files)?)
    } else {
        let matrix = matrix(item, files)?;
        (if grid.spatial == 1 { one() } else { matrix.clone() }, matrix)
    };
    let square = |array: &Array, n: usize| array.shape[..] == [n, n];
    let fits = square(&vertical, height) && square(&horizontal, width) && height * width <= 1 << 10;
    let message =
        format!("a plane of {height}×{width} needs square matrices of these sizes, and at most 1024 elements");
    item.ensure(fits, Code::ClaimShape, message)?;
    let channels = grid.shape[..grid.shape.len() - grid.spatial].iter().try_fold(1_usize, |n, &d| n.checked_mul(d));
    let Some(channels) = channels else { return item.error(Code::ClaimShape, "`shape` has too many elements") };
    Ok(Modes::products(channels, &vertical, &horizontal))
}
