//! Which vectors are combinations of given ones, decided exactly by fraction-free elimination (Bareiss 1968).

use crate::number::Rational;
use num::bigint::BigInt;
use num::integer::Integer;
use num::{One, Zero};

/// True if `v` is a linear combination of `rows`.
pub fn contains(rows: &[Vec<Rational>], v: &[Rational]) -> bool {
    let with: Vec<Vec<BigInt>> = rows.iter().map(|row| integers(row)).chain([integers(v)]).collect();
    let without = &with[..rows.len()];
    rank(without.to_vec()) == rank(with.clone())
}

/// True if every vector of their length is a linear combination of `rows`.
pub fn is_everything(rows: &[Vec<Rational>]) -> bool {
    rank(rows.iter().map(|row| integers(row)).collect()) == rows.first().map_or(0, Vec::len)
}

/// A multiple of the vector with integer entries.
fn integers(v: &[Rational]) -> Vec<BigInt> {
    let common = v.iter().fold(BigInt::one(), |l, r| l.lcm(r.denom()));
    v.iter().map(|r| r.numer() * (&common / r.denom())).collect()
}

fn rank(mut m: Vec<Vec<BigInt>>) -> usize {
    let columns = m.first().map_or(0, Vec::len);
    let (mut rank, mut previous) = (0, BigInt::one());
    for c in 0..columns {
        let Some(p) = (rank..m.len()).find(|&r| !m[r][c].is_zero()) else { continue };
        m.swap(rank, p);
        let (done, rest) = m.split_at_mut(rank + 1);
        let top = &done[rank];
        for row in rest {
            let factor = row[c].clone();
            for (x, t) in row.iter_mut().zip(top).skip(c) {
                // The division is exact: every entry is a minor of the matrix.
                *x = (&*x * &top[c] - &factor * t) / &previous;
            }
        }
        previous = m[rank][c].clone();
        rank += 1;
    }
    rank
}
