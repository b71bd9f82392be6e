//! Index arithmetic of the operators that move elements without changing them. `None` means that shapes do not fit.

use super::MAX_ELEMENTS;
use crate::error::{Code, Result, ensure};

/// Most axes of a tensor.
const MAX_RANK: usize = 64;

/// Number of elements, or `None` if it is zero or exceeds `limit`, or if there are more than 64 axes.
pub fn elements(shape: &[usize], limit: usize) -> Option<usize> {
    let axes = (shape.len() <= MAX_RANK).then_some(shape)?;
    axes.iter().try_fold(1_usize, |n, &d| n.checked_mul(d)).filter(|n| (1..=limit).contains(n))
}

/// A shape that an activation tensor may have.
pub fn within_limit(shape: Vec<usize>) -> Result<Vec<usize>> {
    let message = format!("a tensor of shape {shape:?} has more than {MAX_ELEMENTS} elements or {MAX_RANK} axes");
    ensure(elements(&shape, MAX_ELEMENTS).is_some(), Code::LimitSize, message)?;
    Ok(shape)
}

/// Row-major strides.
fn strides(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis] * shape[axis];
    }
    strides
}

/// For every element of a tensor of shape `out`, `Σ_axis coordinate · stride`.
fn walk(out: &[usize], strides: &[usize]) -> Vec<usize> {
    let mut index = vec![0];
    for (&size, &stride) in out.iter().zip(strides).filter(|(size, _)| **size != 1) {
        index = index.iter().flat_map(|&base| (0..size).map(move |c| base + c * stride)).collect();
    }
    index
}

/// The same tensor with leading axes of size 1.
fn padded(shape: &[usize], rank: usize) -> Vec<usize> {
    [&vec![1; rank - shape.len()], shape].concat()
}

/// The shape that two tensors broadcast to (ONNX multidirectional broadcasting).
pub fn broadcast(a: &[usize], b: &[usize]) -> Option<Vec<usize>> {
    let rank = a.len().max(b.len());
    let common = |(x, y)| if x == y || y == 1 { Some(x) } else { Some(y).filter(|_| x == 1) };
    padded(a, rank).into_iter().zip(padded(b, rank)).map(common).collect()
}

/// Where each element of `out` comes from in a tensor of shape `from` that broadcasts to it.
pub fn broadcast_index(from: &[usize], out: &[usize]) -> Vec<usize> {
    let from = padded(from, out.len());
    let along = strides(&from).into_iter().zip(from).map(|(stride, size)| if size == 1 { 0 } else { stride });
    walk(out, &along.collect::<Vec<_>>())
}

/// Shape and source index of a transposition; without `perm` the axes are reversed.
pub fn transpose(shape: &[usize], perm: Option<Vec<i64>>) -> Option<(Vec<usize>, Vec<usize>)> {
    let (rank, own) = (shape.len(), strides(shape));
    let perm = perm.unwrap_or_else(|| (0..rank as i64).rev().collect());
    let axes: Vec<usize> = perm.iter().map(|&axis| normalise_axis(axis, rank)).collect::<Option<_>>()?;
    let each_once = axes.len() == rank && marked(&perm, rank)?.into_iter().all(|named| named);
    each_once.then_some(())?;
    let (out, along): (Vec<usize>, Vec<usize>) = axes.iter().map(|&axis| (shape[axis], own[axis])).unzip();
    let index = walk(&out, &along);
    Some((out, index))
}

/// For every element, where it is along an axis.
pub fn coordinates(shape: &[usize], axis: usize) -> Vec<usize> {
    walk(shape, &(0..shape.len()).map(|other| usize::from(other == axis)).collect::<Vec<_>>())
}

/// Shape and source index of the elements at these places along each axis.
pub fn select(shape: &[usize], kept: &[Vec<usize>]) -> (Vec<usize>, Vec<usize>) {
    let mut index = vec![0];
    for (places, stride) in kept.iter().zip(strides(shape)) {
        index = index.iter().flat_map(|&base| places.iter().map(move |place| base + place * stride)).collect();
    }
    (kept.iter().map(Vec::len).collect(), index)
}

/// Places from `start` to before `end` in steps, on an axis of this size; numbers beyond its ends mean its ends.
pub fn steps(size: usize, start: i64, end: i64, step: i64) -> Option<Vec<usize>> {
    let size = i64::try_from(size).ok()?;
    let from_front = |at: i64| if at < 0 { at.saturating_add(size) } else { at };
    let (low, high) = if step > 0 { (0, size) } else { (-1, size - 1) };
    let start = from_front(start).clamp(low.max(0), high);
    let end = from_front(end).clamp(low, high);
    let count = end.checked_sub(start)?.checked_add(step - step.signum())?.checked_div(step)?;
    (0..count).map(|i| usize::try_from(start + i * step).ok()).collect::<Option<Vec<_>>>().filter(|p| !p.is_empty())
}

/// Two axes: those before `axis`, which may be the rank, and the others.
pub fn flatten(shape: &[usize], axis: i64) -> Option<Vec<usize>> {
    let at_end = usize::try_from(axis) == Ok(shape.len());
    let (head, tail) = shape.split_at(if at_end { shape.len() } else { normalise_axis(axis, shape.len())? });
    Some(vec![head.iter().product(), tail.iter().product()])
}

/// A 0 copies the input's axis if `copy_zero`; one −1 takes what is left.
pub fn reshape(shape: &[usize], target: &[i64], copy_zero: bool) -> Option<Vec<usize>> {
    let inferred = target.iter().position(|&dim| dim == -1);
    let size = |(axis, &dim): (usize, &i64)| match dim {
        -1 if Some(axis) == inferred => Some(1),
        0 if copy_zero => shape.get(axis).copied(),
        _ => usize::try_from(dim).ok(),
    };
    let mut new: Vec<usize> = target.iter().enumerate().map(size).collect::<Option<_>>()?;
    if let Some(axis) = inferred {
        new[axis] = shape.iter().product::<usize>() / elements(&new, usize::MAX)?;
    }
    Some(new)
}

/// Drops the axes named, or all axes of size 1. The caller compares the numbers of elements.
pub fn squeeze(shape: &[usize], axes: Option<Vec<i64>>) -> Option<Vec<usize>> {
    let all_ones = || Some(shape.iter().map(|&size| size == 1).collect());
    let dropped = axes.map_or_else(all_ones, |axes| marked(&axes, shape.len()))?;
    Some(shape.iter().zip(dropped).filter(|(_, dropped)| !dropped).map(|(&size, _)| size).collect())
}

/// Inserts axes of size 1 at the places that they have in the result.
pub fn unsqueeze(shape: &[usize], axes: Option<Vec<i64>>) -> Option<Vec<usize>> {
    let (axes, mut old) = (axes?, shape.iter().copied());
    marked(&axes, shape.len() + axes.len())?.into_iter().map(|new| if new { Some(1) } else { old.next() }).collect()
}

/// Which axes are named.
pub fn marked(axes: &[i64], rank: usize) -> Option<Vec<bool>> {
    let mut marks = vec![false; rank];
    for &axis in axes {
        marks[normalise_axis(axis, rank)?] = true;
    }
    Some(marks)
}

/// `axis` counted from the front, for a tensor of this rank; ONNX counts negative axes from the back.
pub fn normalise_axis(axis: i64, rank: usize) -> Option<usize> {
    let from_front = if axis < 0 { axis.checked_add(i64::try_from(rank).ok()?)? } else { axis };
    usize::try_from(from_front).ok().filter(|&a| a < rank)
}
