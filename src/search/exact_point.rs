//! From a floating-point perturbation to an exact one inside the domain: the numbers of a witness.

use crate::graph::{Graph, float, floats};
use crate::subspace::{ExactForm, ITERATIONS, PRECISION};
use nalgebra::{DMatrix, DVector};
use num::bigint::BigInt;
use num::integer::Integer;
use num::{One, Signed, Zero};
use scalecheck::ladder::Variables;
use scalecheck::number::Rational;
use scalecheck::problem::{Op, Problem};
use scalecheck::rules::witness::deviations;
use std::collections::BTreeMap;

/// A rational point of the domain near `point`. Ends of ranges are taken exactly, groups sum to zero exactly, and
/// subspaces are kept to exactly; variables that would push the perturbed input out of the valid range are set to zero.
pub fn exact_point(problem: &Problem, graph: &Graph, point: &[Vec<f64>]) -> Option<Vec<Vec<Rational>>> {
    let blocks = problem.domain.iter().zip(&graph.blocks).zip(point);
    let exact = blocks.map(|((v, b), z)| match b.subspace.as_ref().map(|s| &s.exact) {
        _ if b.tied.is_some() => b.tied.as_ref().and_then(|tied| {
            let w = tied.gather(z);
            let w =
                if tied.rows.is_empty() { block(&tied.variables, &w) } else { kernel(&tied.variables, &tied.rows, &w) };
            w.map(|w| tied.spread(&w, &Rational::zero()))
        }),
        None => block(v, z),
        Some(ExactForm::Kernel(rows)) => kernel(v, rows, z),
        Some(ExactForm::Image { columns, constraints }) => image(v, columns, constraints, z),
    });
    let mut exact = exact.collect::<Option<Vec<_>>>()?;
    for t in graph.clipped() {
        if let Some(fitted) = fit(problem, t, &exact) {
            exact = fitted;
        }
    }
    loop {
        let mut outside = None;
        if graph.clipped().next().is_some() {
            let values = deviations(problem, &exact);
            outside = graph.clipped().find_map(|t| Some((t, outside_range(problem, t, &values[t].to_rationals())?)));
        }
        let Some((t, marked)) = outside else { return Some(exact) };
        let mut shrunk = false;
        for (z, movers) in exact.iter_mut().zip(graph.movers(t, &marked)) {
            for z in z.iter_mut().zip(movers).filter(|(z, mover)| *mover && !z.is_zero()).map(|(z, _)| z) {
                z.set_zero();
                shrunk = true;
            }
        }
        if !shrunk {
            return None;
        }
    }
}

/// Brings the deviation of tensor `t`, which variables generate, into its known range: where the range ends at zero and
/// the point is there but for rounding, exactly; then by shrinking all of the point. `None` if that leaves nothing.
fn fit(problem: &Problem, t: usize, z: &[Vec<Rational>]) -> Option<Vec<Vec<Rational>>> {
    let (low, high) = problem.tensors[t].clip.as_ref()?;
    let Op::Affine(terms) = &problem.tensors[t].op else { return None };
    let first: Vec<usize> = z.iter().scan(0, |sum, z| Some(std::mem::replace(sum, *sum + z.len()))).collect();
    let mut all: Vec<Rational> = z.iter().flatten().cloned().collect();
    let mut map = vec![BTreeMap::<usize, Rational>::new(); low.len()];
    for (p, linear) in terms {
        let Op::Variables(block) = problem.tensors[*p].op else { return None };
        linear.for_each_entry(|o, i, k| *map[o].entry(first[block] + i).or_default() += linear.weights().value(k));
    }
    let at =
        |all: &[Rational], row: &BTreeMap<usize, Rational>| row.iter().map(|(j, w)| &all[*j] * w).sum::<Rational>();
    // Rounding to 20 binary places moves a sum of many variables by more than one unit.
    let tiny = Rational::new(1.into(), (1 << 15).into());
    let pinned = (0..low.len()).filter(|&i| (low[i].is_zero() || high[i].is_zero()) && at(&all, &map[i]).abs() < tiny);
    let dense = |row: &BTreeMap<usize, Rational>| {
        (0..all.len()).map(|j| row.get(&j).cloned().unwrap_or_default()).collect::<Vec<_>>()
    };
    let mut rows: Vec<Vec<Rational>> = pinned.map(|i| dense(&map[i])).collect();
    for (variables, first) in problem.domain.iter().zip(&first) {
        let member = |j: &u32| (first + *j as usize, Rational::one());
        rows.extend(variables.groups.iter().map(|group| dense(&group.iter().map(member).collect())));
    }
    let ends: Vec<(&Rational, &Rational)> = problem.domain.iter().flat_map(|v| v.lower.iter().zip(&v.upper)).collect();
    let room: Vec<f64> = all.iter().zip(&ends).map(|(z, (l, h))| float(&(z - *l).min(*h - z))).collect();
    let mut order: Vec<usize> = (0..all.len()).collect();
    order.sort_by(|&a, &b| room[b].total_cmp(&room[a]));
    solve(&rows, &order, &mut all);
    let mut factor = Rational::one();
    let values: Vec<Rational> = map.iter().map(|row| at(&all, row)).collect();
    let limits = low.iter().zip(high).chain(ends.iter().copied());
    for (value, (low, high)) in values.iter().chain(&all).zip(limits) {
        if value > high {
            factor = factor.min(high / value);
        } else if value < low {
            factor = factor.min(low / value);
        }
    }
    factor.is_positive().then(|| {
        let mut rest = all.into_iter().map(|z| z * &factor);
        z.iter().map(|z| rest.by_ref().take(z.len()).collect()).collect()
    })
}

/// Elements of tensor `t` that leave its known range; `None` if none does.
fn outside_range(problem: &Problem, t: usize, values: &[Rational]) -> Option<Vec<bool>> {
    let (low, high) = problem.tensors[t].clip.as_ref()?;
    let marked: Vec<bool> = values.iter().zip(low.iter().zip(high)).map(|(d, (l, h))| d < l || d > h).collect();
    marked.contains(&true).then_some(marked)
}

fn block(variables: &Variables, point: &[f64]) -> Option<Vec<Rational>> {
    let mut z: Vec<Rational> = Vec::with_capacity(point.len());
    for ((&value, low), high) in point.iter().zip(&variables.lower).zip(&variables.upper) {
        z.push(if value >= float(high) {
            high.clone()
        } else if value <= float(low) {
            low.clone()
        } else {
            // 20 binary places are plenty between the ends, and keep witnesses short.
            Rational::from_float((value * 1_048_576.0).round() / 1_048_576.0)?.clamp(low.clone(), high.clone())
        });
    }
    for group in &variables.groups {
        let mut excess: Rational = group.iter().map(|&j| &z[j as usize]).sum();
        // Elements between their ends take up the excess first.
        let mut order: Vec<usize> = group.iter().map(|&j| j as usize).collect();
        order.sort_by_key(|&j| z[j] == variables.lower[j] || z[j] == variables.upper[j]);
        for j in order {
            let moved = (&z[j] - &excess).clamp(variables.lower[j].clone(), variables.upper[j].clone());
            excess -= &z[j] - &moved;
            z[j] = moved;
        }
        if !excess.is_zero() {
            return None;
        }
    }
    Some(z)
}

/// Nearest number with 20 binary places below the largest magnitude of a vector.
fn dyadic(value: f64, largest: f64) -> Option<Rational> {
    let unit = 2_f64.powi(largest.log2().ceil() as i32 - 20);
    Rational::from_float((value / unit).round() * unit)
}

/// A point of the box with `rows · z = 0`: what is at an end of its range stays there, as far as the rows allow it.
fn kernel(variables: &Variables, rows: &[Vec<Rational>], point: &[f64]) -> Option<Vec<Rational>> {
    let largest = point.iter().fold(0.0_f64, |m, z| m.max(z.abs()));
    if largest == 0.0 {
        return Some(vec![Rational::zero(); point.len()]);
    }
    let near = |(z, (low, high)): (&f64, (&Rational, &Rational))| {
        let slack = 1e-6 * largest;
        match *z {
            z if z >= float(high) - slack => Some(high.clone()),
            z if z <= float(low) + slack => Some(low.clone()),
            z => dyadic(z, largest),
        }
    };
    let ends = || variables.lower.iter().zip(&variables.upper);
    let mut z: Vec<Rational> = point.iter().zip(ends()).map(near).collect::<Option<_>>()?;
    // Variables far from their ends are solved for first: they have room for what is missing.
    let mut order: Vec<usize> = (0..z.len()).collect();
    let room: Vec<f64> = z.iter().zip(ends()).map(|(z, (l, h))| float(&(z - l).min(h - z))).collect();
    order.sort_by(|&a, &b| room[b].total_cmp(&room[a]));
    solve(rows, &order, &mut z);
    Some(into_box(z, variables))
}

/// A point `Σ w_c · columns_c` of the box with `constraints · w = 0`, near the given one.
fn image(
    variables: &Variables,
    columns: &[Vec<Rational>],
    constraints: &[Vec<Rational>],
    point: &[f64],
) -> Option<Vec<Rational>> {
    let n = point.len();
    if columns.is_empty() || point.iter().all(|z| *z == 0.0) {
        return Some(vec![Rational::zero(); n]);
    }
    let t = DMatrix::from_iterator(n, columns.len(), columns.iter().flat_map(|column| floats(column)));
    if !t.iter().all(|x| x.is_finite()) {
        return None;
    }
    let w = t.try_svd(true, true, PRECISION, ITERATIONS)?.solve(&DVector::from_column_slice(point), 1e-9).ok()?;
    let largest = w.amax();
    let mut w: Vec<Rational> = w.iter().map(|&w| dyadic(w, largest)).collect::<Option<_>>()?;
    let order: Vec<usize> = (0..w.len()).collect();
    solve(constraints, &order, &mut w);
    let z = (0..n).map(|i| columns.iter().zip(&w).map(|(column, w)| &column[i] * w).sum()).collect();
    Some(into_box(z, variables))
}

/// Shrinks a point towards zero until it lies in the box, which contains zero.
fn into_box(z: Vec<Rational>, variables: &Variables) -> Vec<Rational> {
    let mut factor = Rational::one();
    for (z, (low, high)) in z.iter().zip(variables.lower.iter().zip(&variables.upper)) {
        if z > high {
            factor = factor.min(high / z);
        } else if z < low {
            factor = factor.min(low / z);
        }
    }
    if factor.is_one() { z } else { z.into_iter().map(|z| z * &factor).collect() }
}

/// Changes as few entries of `z` as needed for `rows · z = 0`, those first in `order`: fraction-free Gauss–Jordan
/// elimination (Bareiss 1968), one variable a row.
fn solve(rows: &[Vec<Rational>], order: &[usize], z: &mut [Rational]) {
    let mut m: Vec<Vec<BigInt>> = rows
        .iter()
        .map(|row| {
            let common = row.iter().fold(BigInt::one(), |l, r| l.lcm(r.denom()));
            order.iter().map(|&j| row[j].numer() * (&common / row[j].denom())).collect()
        })
        .collect();
    let (mut pivots, mut previous) = (Vec::new(), BigInt::one());
    for c in 0..order.len() {
        let r = pivots.len();
        let Some(found) = (r..m.len()).find(|&k| !m[k][c].is_zero()) else { continue };
        m.swap(r, found);
        let top = m[r].clone();
        for row in m.iter_mut().enumerate().filter(|(k, _)| *k != r).map(|(_, row)| row) {
            let factor = row[c].clone();
            for (x, t) in row.iter_mut().zip(&top) {
                *x = (&*x * &top[c] - &factor * t) / &previous;
            }
        }
        previous = top[c].clone();
        pivots.push(c);
    }
    for (row, &c) in m.iter().zip(&pivots) {
        let free = (0..order.len()).filter(|i| !pivots.contains(i) && !row[*i].is_zero());
        let sum: Rational = free.map(|i| &z[order[i]] * &row[i]).sum();
        z[order[c]] = -sum / &row[c];
    }
}
