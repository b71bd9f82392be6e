//! From a floating-point perturbation to an exact one inside the domain: the numbers of a witness.

use crate::graph::{Graph, float};
use num::Zero;
use scalecheck::ladder::Variables;
use scalecheck::number::Rational;
use scalecheck::problem::Problem;
use scalecheck::rules::witness::deviations;

/// A rational point of the domain near `point`. Ends of ranges are taken exactly, groups sum to zero exactly, and
/// variables that would push the perturbed input out of the valid range are set to zero.
pub fn exact_point(problem: &Problem, graph: &Graph, point: &[Vec<f64>]) -> Option<Vec<Vec<Rational>>> {
    let exact: Option<Vec<_>> = problem.domain.iter().zip(point).map(|(v, z)| block(v, z)).collect();
    let mut exact = exact?;
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
