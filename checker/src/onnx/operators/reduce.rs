//! Sums and means over axes.

use super::super::shape;
use super::{Arguments, Builder, Value, computed, fit, gather, weights};
use crate::error::Result;
use crate::linear::Linear;
use crate::network::Op;
use crate::number::Rational;
use crate::weights::{Dyadic, Values};
use num::One;
use std::sync::Arc;

impl Builder {
    /// `ReduceSum` or `ReduceMean`. Their axes became an operand in operator sets 13 and 18.
    pub(super) fn reduce(&mut self, out: &str, args: &mut Arguments<'_>, mean: bool) -> Result<Value> {
        let x = args.need(0)?;
        let axes = if self.opset < if mean { 18 } else { 13 } { args.ints("axes")? } else { args.int_operand(1)? };
        let axes = axes.filter(|axes| !axes.is_empty()).map(|axes| self.axes(axes)).transpose()?;
        let keep = args.int("keepdims", 1)? != 0;
        let nothing = args.int("noop_with_empty_axes", 0)? != 0 && axes.is_none();
        let reduced = match axes {
            Some(axes) => fit(shape::marked(&axes, x.shape.len()))?,
            None => vec![!nothing; x.shape.len()],
        };
        self.total(out, x, &reduced, keep, mean)
    }

    /// The mean over all axes of an image.
    pub(super) fn global_average(&mut self, out: &str, args: &mut Arguments<'_>) -> Result<Value> {
        let x = args.need(0)?;
        fit((x.shape.len() > 2).then_some(()))?;
        let reduced: Vec<bool> = (0..x.shape.len()).map(|axis| axis >= 2).collect();
        self.total(out, x, &reduced, true, true)
    }

    /// The sum, or the mean, over the marked axes.
    fn total(&mut self, out: &str, x: Value, reduced: &[bool], keep: bool, mean: bool) -> Result<Value> {
        let (mut node, mut from) = computed(x)?;
        let shape: Vec<usize> = from
            .iter()
            .zip(reduced)
            .filter_map(|(&size, &reduced)| if reduced { keep.then_some(1) } else { Some(size) })
            .collect();
        // The marked axes must be neighbours: if they are not, they are moved to the end first.
        let marked = || reduced.iter().enumerate().filter(|(_, reduced)| **reduced).map(|(axis, _)| axis);
        let (mut first, count) = (marked().next().unwrap_or(0), marked().count());
        if marked().next_back().is_some_and(|last| last - first + 1 != count) {
            let order = (0..from.len()).filter(|&axis| !reduced[axis]).chain(marked()).map(|axis| axis as i64);
            let (moved, index) = fit(shape::transpose(&from, Some(order.collect())))?;
            let term = gather(node, &from, &index, Values::Rational(vec![Rational::one()]))?;
            let op = Op::Affine { terms: vec![term], bias: None };
            (node, from) = computed(self.push(&format!("{out}#moved"), moved, op, vec![])?)?;
            first = from.len() - count;
        }
        let [outer, terms, inner] = [&from[..first], &from[first..first + count], &from[first + count..]]
            .map(|axes| axes.iter().product::<usize>());
        let ones = weights(Values::Dyadic(vec![Dyadic::new(1, 0); terms]))?;
        let linear = fit(Linear::dense(outer, 1, terms, inner, ones))?;
        let op = Op::Affine { terms: vec![(node, Arc::new(linear))], bias: None };
        if !mean {
            return self.push(out, shape, op, vec![]);
        }
        let sum = self.push(&format!("{out}#sum"), shape, op, vec![])?;
        self.scaled(out, sum, vec![Rational::new(1.into(), terms.into())])
    }
}
