//! From a floating-point perturbation to an exact one inside the domain: the numbers of a witness.

use crate::graph::float;
use num::{Signed, Zero};
use scalecheck::ladder::Variables;
use scalecheck::number::Rational;
use scalecheck::problem::Problem;
use scalecheck::rules::witness::deviations;

/// A rational point of the domain near `point`. Ends of ranges are taken exactly, groups sum to zero exactly, and if
/// the perturbed input would leave the valid range, the whole perturbation shrinks until it does not.
pub fn exact_point(problem: &Problem, point: &[Vec<f64>]) -> Option<Vec<Vec<Rational>>> {
    let exact: Option<Vec<_>> = problem.domain.iter().zip(point).map(|(v, z)| block(v, z)).collect();
    let mut exact = exact?;
    for _ in 0..60 {
        if within_clip(problem, &exact) {
            return Some(exact);
        }
        let shrink = Rational::new(15.into(), 16.into());
        exact.iter_mut().flatten().for_each(|z| *z *= &shrink);
    }
    None
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

fn within_clip(problem: &Problem, point: &[Vec<Rational>]) -> bool {
    if problem.tensors.iter().all(|t| t.clip.is_none()) {
        return true;
    }
    problem.tensors.iter().zip(deviations(problem, point)).all(|(tensor, d)| match &tensor.clip {
        None => true,
        Some((low, high)) => d
            .to_rationals()
            .iter()
            .zip(low.iter().zip(high))
            .all(|(d, (low, high))| !(d - low).is_negative() && !(high - d).is_negative()),
    })
}
