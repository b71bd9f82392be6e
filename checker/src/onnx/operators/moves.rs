//! Operators that move elements without changing them.

use super::super::shape;
use super::{Arguments, Builder, CONSTANTS, Constant, Node, Value, computed, fit, fixed, gather, unsupported};
use crate::error::{Code, Result, ensure};
use crate::network::{Op, bias};
use crate::number::Rational;
use crate::weights::{Dyadic, Values};
use num::{One, Zero};

/// Zeros and ones as weights: an element that is moved, or one that comes from elsewhere.
fn flags(present: &[bool]) -> Values {
    Values::Dyadic(present.iter().map(|&p| Dyadic::new(p.into(), 0)).collect())
}

impl Builder {
    /// The new shape, and where each element comes from, of an operator that only moves elements.
    pub(super) fn moves(
        &self,
        op: &str,
        args: &mut Arguments<'_>,
        shape: &[usize],
    ) -> Result<Option<(Vec<usize>, Vec<usize>)>> {
        let new = match op {
            "Transpose" => return Ok(shape::transpose(shape, args.ints("perm")?)),
            "Flatten" => shape::flatten(shape, self.axes(vec![args.int("axis", 1)?])?[0]),
            "Reshape" => {
                let copy_zero = args.int("allowzero", 0)? == 0;
                args.int_operand(1)?.and_then(|target| shape::reshape(shape, &target, copy_zero))
            }
            "Squeeze" | "Unsqueeze" => {
                let axes = if self.opset < 13 { args.ints("axes")? } else { args.int_operand(1)? };
                let axes = axes.map(|axes| self.axes(axes)).transpose()?;
                if op == "Squeeze" { shape::squeeze(shape, axes) } else { shape::unsqueeze(shape, axes) }
            }
            "Dropout" => {
                // It changes nothing at inference: its ratio and seed matter in training.
                let _ = (args.factor("ratio")?, args.int("seed", 0)?, args.operand(1));
                Some(shape.to_vec())
            }
            _ => Some(shape.to_vec()),
        };
        let count = shape.iter().product();
        Ok(new.filter(|new| shape::elements(new, count) == Some(count)).map(|new| (new, (0..count).collect())))
    }

    /// Axes counted from the end came with operator set 11; readers differ about them in earlier ones.
    pub(super) fn axes(&self, axes: Vec<i64>) -> Result<Vec<i64>> {
        let known = self.opset >= 11 || axes.iter().all(|&axis| axis >= 0);
        ensure(known, Code::OnnxUnsupported, "a negative axis needs operator set 11 or later")?;
        Ok(axes)
    }

    /// The same for constants and tensors. A node that moves nothing is kept: its name can be a site.
    pub(super) fn moved(&mut self, out: &str, x: Value, (shape, index): (Vec<usize>, Vec<usize>)) -> Result<Value> {
        match x.content {
            Constant(values) => Ok(Value { name: x.name, shape, content: Constant(values.select(&index)) }),
            Node(node) => {
                let term = gather(node, &x.shape, &index, Values::Rational(vec![Rational::one()]))?;
                self.push(out, shape, Op::Affine { terms: vec![term], bias: None }, vec![])
            }
        }
    }

    /// Parts of tensors along an axis, one after the other. Constants among them move the centre only.
    pub(super) fn concat(&mut self, out: &str, args: &mut Arguments<'_>) -> Result<Value> {
        let parts = (0..args.operands.len()).map(|i| args.need(i)).collect::<Result<Vec<_>>>()?;
        let first = fit(parts.first())?.shape.clone();
        let axis = fit(args.attribute("axis", |a| a.int(3))?)?;
        let axis = fit(shape::normalise_axis(self.axes(vec![axis])?[0], first.len()))?;
        let mut size = 0_usize;
        for part in &parts {
            let mut same = part.shape.clone();
            *fit(same.get_mut(axis))? = first[axis];
            fit((same == first).then_some(()))?;
            size = fit(size.checked_add(part.shape[axis]))?;
        }
        let mut shape = first;
        shape[axis] = size;
        let shape = shape::within_limit(shape)?;
        let places = shape::coordinates(&shape, axis);
        let (mut terms, mut parameters, mut start) = (Vec::new(), Vec::new(), 0);
        let mut offset = vec![Rational::zero(); places.len()];
        for part in parts {
            let end = start + part.shape[axis];
            let present: Vec<bool> = places.iter().map(|c| (start..end).contains(c)).collect();
            // The present ones are in the part's own order.
            let mut own = 0..;
            let index: Vec<usize> = present.iter().map(|&p| if p { own.next() } else { None }.unwrap_or(0)).collect();
            match part.content {
                Node(node) => terms.push(gather(node, &part.shape, &index, flags(&present))?),
                Constant(values) => {
                    let placed = offset.iter_mut().zip(&index).zip(&present).filter(|(_, p)| **p);
                    placed.for_each(|((offset, &i), _)| *offset = values.get(i));
                    parameters.push(fixed(part.name));
                }
            }
            start = end;
        }
        ensure(!terms.is_empty(), Code::OnnxUnsupported, CONSTANTS)?;
        let bias = (!parameters.is_empty()).then(|| bias(&Values::Rational(offset)));
        self.push(out, shape, Op::Affine { terms, bias }, parameters)
    }

    /// A tensor amid a constant.
    pub(super) fn pad(&mut self, out: &str, args: &mut Arguments<'_>) -> Result<Value> {
        let (node, from) = computed(args.need(0)?)?;
        let mode = args.text("mode")?.unwrap_or("constant");
        ensure(mode == "constant", Code::OnnxUnsupported, format!("`mode` = `{mode}` is not supported"))?;
        let (pads, value, axes) = if self.opset < 11 {
            (args.ints("pads")?, args.number("value")?, None)
        } else {
            (args.int_operand(1)?, args.scalar(2)?, args.int_operand(3)?)
        };
        let rank = from.len();
        let axes = axes.unwrap_or_else(|| (0..rank as i64).collect());
        let pads: Option<Vec<usize>> = fit(pads)?.into_iter().map(|p| usize::try_from(p).ok()).collect();
        let Some(pads) = pads else { return unsupported("negative pads are not supported") };
        let each_once = fit(shape::marked(&axes, rank))?.into_iter().filter(|m| *m).count() == axes.len();
        fit((each_once && pads.len() == 2 * axes.len()).then_some(()))?;
        let (mut shape, mut before) = (from.clone(), vec![0; rank]);
        for (i, &axis) in axes.iter().enumerate() {
            let axis = fit(shape::normalise_axis(axis, rank))?;
            before[axis] = pads[i];
            shape[axis] = fit(pads[i].checked_add(pads[axes.len() + i]).and_then(|p| shape[axis].checked_add(p)))?;
        }
        let shape = shape::within_limit(shape)?;
        let mut present = vec![true; shape.iter().product()];
        for axis in 0..rank {
            let inside = before[axis]..before[axis] + from[axis];
            let places = shape::coordinates(&shape, axis);
            present.iter_mut().zip(places).for_each(|(present, place)| *present &= inside.contains(&place));
        }
        let mut own = 0..;
        let index: Vec<usize> = present.iter().map(|&p| if p { own.next() } else { None }.unwrap_or(0)).collect();
        let term = gather(node, &from, &index, flags(&present))?;
        let around = |value: Rational| {
            let values = present.iter().map(|&p| if p { Rational::zero() } else { value.clone() });
            bias(&Values::Rational(values.collect()))
        };
        let (value, name) = value.unwrap_or((Rational::zero(), None));
        let bias = (!value.is_zero()).then(|| around(value));
        self.push(out, shape, Op::Affine { terms: vec![term], bias }, name.into_iter().map(fixed).collect())
    }

    pub(super) fn slice(&mut self, out: &str, args: &mut Arguments<'_>) -> Result<Value> {
        let x = args.need(0)?;
        let (starts, ends, axes, steps) = if self.opset < 10 {
            (args.ints("starts")?, args.ints("ends")?, args.ints("axes")?, None)
        } else {
            (args.int_operand(1)?, args.int_operand(2)?, args.int_operand(3)?, args.int_operand(4)?)
        };
        let (starts, ends) = (fit(starts)?, fit(ends)?);
        let axes = self.axes(axes.unwrap_or_else(|| (0..starts.len() as i64).collect()))?;
        let steps = steps.unwrap_or_else(|| vec![1; starts.len()]);
        fit([&ends, &axes, &steps].iter().all(|list| list.len() == starts.len()).then_some(()))?;
        let mut kept: Vec<Option<Vec<usize>>> = vec![None; x.shape.len()];
        for (i, &axis) in axes.iter().enumerate() {
            let axis = fit(shape::normalise_axis(axis, x.shape.len()))?;
            let places = fit(shape::steps(x.shape[axis], starts[i], ends[i], steps[i]))?;
            fit(kept[axis].replace(places).is_none().then_some(()))?;
        }
        let kept = kept.into_iter().zip(&x.shape).map(|(kept, &size)| kept.unwrap_or_else(|| (0..size).collect()));
        let moves = shape::select(&x.shape, &kept.collect::<Vec<_>>());
        self.moved(out, x, moves)
    }

    /// Parts along an axis, one an output.
    pub(super) fn split(&mut self, outputs: &[&str], args: &mut Arguments<'_>) -> Result<Vec<Value>> {
        let x = args.need(0)?;
        let axis = fit(shape::normalise_axis(self.axes(vec![args.int("axis", 0)?])?[0], x.shape.len()))?;
        let (size, count) = (x.shape[axis], outputs.len());
        let stated = if self.opset < 13 { args.ints("split")? } else { args.int_operand(1)? };
        let parts = args.attribute("num_outputs", |a| a.int(3))?;
        fit(parts.is_none_or(|parts| usize::try_from(parts) == Ok(count) && stated.is_none()).then_some(()))?;
        let sizes: Vec<usize> = match stated {
            Some(stated) => fit(stated.into_iter().map(|n| usize::try_from(n).ok()).collect())?,
            // Only with a stated number of parts may the last one be smaller.
            None => {
                fit((parts.is_some() || size.is_multiple_of(count)).then_some(()))?;
                let each = size.div_ceil(count);
                (0..count).map(|i| size.saturating_sub(i * each).min(each)).collect()
            }
        };
        let total = sizes.iter().try_fold(0_usize, |sum, &n| sum.checked_add(n));
        fit((sizes.len() == count && total == Some(size) && sizes.iter().all(|&n| n > 0)).then_some(()))?;
        let (mut values, mut start) = (Vec::new(), 0);
        for (out, n) in outputs.iter().zip(sizes) {
            let mut kept: Vec<Vec<usize>> = x.shape.iter().map(|&size| (0..size).collect()).collect();
            kept[axis] = (start..start + n).collect();
            values.push(self.moved(out, x.clone(), shape::select(&x.shape, &kept))?);
            start += n;
        }
        Ok(values)
    }

    /// Elements at constant places along an axis.
    pub(super) fn gather(&mut self, out: &str, args: &mut Arguments<'_>) -> Result<Value> {
        let (x, axis) = (args.need(0)?, args.int("axis", 0)?);
        let places_shape = args.operands.get(1).and_then(Option::as_ref).map(|places| places.shape.clone());
        let (places_shape, places) = (fit(places_shape)?, self.axes(fit(args.int_operand(1)?)?)?);
        let axis = fit(shape::normalise_axis(self.axes(vec![axis])?[0], x.shape.len()))?;
        let size = x.shape[axis];
        let places: Vec<usize> = fit(places.iter().map(|&place| shape::normalise_axis(place, size)).collect())?;
        let mut once = vec![true; size];
        let twice = places.iter().any(|&place| !std::mem::take(&mut once[place]));
        // The copies of one stored number would be taken for several.
        let copies = twice && matches!(x.content, Constant(_));
        ensure(!copies, Code::OnnxUnsupported, "an element of a constant is gathered twice")?;
        let shape = [&x.shape[..axis], &places_shape, &x.shape[axis + 1..]].concat();
        fit(shape::elements(&shape, usize::MAX))?;
        let shape = shape::within_limit(shape)?;
        let mut kept: Vec<Vec<usize>> = x.shape.iter().map(|&size| (0..size).collect()).collect();
        kept[axis] = places;
        let (_, index) = shape::select(&x.shape, &kept);
        self.moved(out, x, (shape, index))
    }
}
