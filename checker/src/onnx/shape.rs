//! Index arithmetic of the operators that move elements without changing them.

/// Number of elements, or `None` if it is zero or exceeds `limit`.
pub fn elements(shape: &[usize], limit: usize) -> Option<usize> {
    shape.iter().try_fold(1_usize, |n, &d| n.checked_mul(d)).filter(|n| (1..=limit).contains(n))
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
    for (&size, &stride) in out.iter().zip(strides) {
        index = index.iter().flat_map(|&base| (0..size).map(move |c| base + c * stride)).collect();
    }
    index
}

/// The shape that two tensors broadcast to (ONNX multidirectional broadcasting).
pub fn broadcast_shape(a: &[usize], b: &[usize]) -> Option<Vec<usize>> {
    let rank = a.len().max(b.len());
    let dim = |s: &[usize], axis: usize| (axis + s.len()).checked_sub(rank).map_or(1, |i| s[i]);
    (0..rank)
        .map(|axis| match (dim(a, axis), dim(b, axis)) {
            (x, y) if x == y => Some(x),
            (1, y) => Some(y),
            (x, 1) => Some(x),
            _ => None,
        })
        .collect()
}

/// Where each element of `out` comes from in a tensor of shape `from` that broadcasts to it.
pub fn broadcast_index(from: &[usize], out: &[usize]) -> Vec<usize> {
    let own = strides(from);
    let lead = out.len() - from.len();
    let strides: Vec<usize> =
        (0..out.len()).map(|axis| if axis < lead || from[axis - lead] == 1 { 0 } else { own[axis - lead] }).collect();
    walk(out, &strides)
}

/// Shape and source index of a transposition; `perm` is a permutation of the axes.
pub fn transpose(shape: &[usize], perm: &[usize]) -> (Vec<usize>, Vec<usize>) {
    let own = strides(shape);
    let out: Vec<usize> = perm.iter().map(|&axis| shape[axis]).collect();
    let strides: Vec<usize> = perm.iter().map(|&axis| own[axis]).collect();
    let index = walk(&out, &strides);
    (out, index)
}

/// `axis` counted from the front, for a tensor of this rank; ONNX counts negative axes from the back.
pub fn normalise_axis(axis: i64, rank: usize) -> Option<usize> {
    let from_front = if axis < 0 { axis.checked_add(i64::try_from(rank).ok()?)? } else { axis };
    usize::try_from(from_front).ok().filter(|&a| a < rank)
}
