//! Rule 4.4, split: two cases, one with an element at most a threshold and one with it at least.
//!
//! Premises: none. Conclusion: every point of the case lies in the low child (value ≤ θ) or in the high child (≥ θ).
//! Sound because every real number is on one side; both children keep all that the parent knows. The threshold
//! speaks about the element's actual value `c + d`, so the children learn `d ≤ θ − c` or `d ≥ θ − c`, rounded outward.

use crate::number::Rational;
use crate::rules::case::Case;

/// The low and the high child. The case knows bounds of the tensor.
pub fn split<'p>(case: Case<'p>, tensor: usize, element: usize, at: &Rational) -> (Case<'p>, Case<'p>) {
    let deviation = at - case.problem().tensors[tensor].centre.get(element);
    let (mut low, mut high) = (case.clone(), case);
    low.learn_upper(tensor, element, &deviation);
    high.learn_lower(tensor, element, &deviation);
    (low, high)
}
