//! Operators that slide a window over the spatial axes of an image.

use super::super::shape;
use super::{Arguments, Builder, Constant, FACTORS, Node, Value, fit, unsupported, weights};
use crate::conv::{Axis, Conv};
use crate::error::{Code, Result, ensure};
use crate::linear::Linear;
use crate::network::{Op, Parameter, bias};
use crate::number::Rational;
use num::One;
use std::sync::Arc;

/// How windows of `taps` slide over the one or two axes of an image; one axis is an image of height 1.
fn window(args: &mut Arguments<'_>, sizes: &[usize], taps: &[usize]) -> Result<[Axis; 2]> {
    let rank = sizes.len();
    let known = (1..=2).contains(&rank);
    ensure(known, Code::OnnxUnsupported, format!("{rank} spatial axes are not supported; one and two are"))?;
    let auto = args.text("auto_pad")?.unwrap_or("NOTSET");
    let mut list = |name: &str, len: usize, default: usize| {
        let given = args.sizes(name)?.unwrap_or_else(|| vec![default; len]);
        fit(Some(given).filter(|given| given.len() == len))
    };
    let (strides, dilations) = (list("strides", rank, 1)?, list("dilations", rank, 1)?);
    // Stated pads beside another rule are left over, which is an error.
    let pads = if auto == "NOTSET" { list("pads", 2 * rank, 0)? } else { vec![0; 2 * rank] };
    let axis = |i: usize| -> Option<Axis> {
        let (size, taps, stride, dilation) = (sizes[i], *taps.get(i)?, strides[i].max(1), dilations[i]);
        let span = taps.checked_sub(1)?.checked_mul(dilation)?.checked_add(1)?;
        let (pad, output) = if auto.starts_with("SAME") {
            let output = size.div_ceil(stride);
            let pads = ((output - 1) * stride).checked_add(span)?.saturating_sub(size);
            (if auto == "SAME_LOWER" { pads.div_ceil(2) } else { pads / 2 }, output)
        } else {
            let room = size.checked_add(pads[i])?.checked_add(pads[rank + i])?.checked_sub(span)?;
            (pads[i], room / stride + 1)
        };
        Axis::new(size, output, taps, strides[i], dilation, pad)
    };
    let known = ["NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"].contains(&auto);
    ensure(known, Code::OnnxUnsupported, format!("`auto_pad` = `{auto}` is not supported"))?;
    fit((taps.len() == rank).then_some(()))?;
    let y = if rank == 2 { axis(0) } else { Some(Axis::POINT) };
    Ok([fit(y)?, fit(axis(rank - 1))?])
}

impl Builder {
    /// A convolution over one or two spatial axes.
    pub(super) fn conv(&mut self, out: &str, args: &mut Arguments<'_>) -> Result<Value> {
        let (x, w, b) = (args.need(0)?, args.need(1)?, args.operand(2));
        let (Node(node), Constant(values)) = (x.content, w.content) else { return unsupported(FACTORS) };
        let (&[batch, channels, ref sizes @ ..], &[outer, inner, ref taps @ ..]) = (&x.shape[..], &w.shape[..]) else {
            return fit(None);
        };
        let stated = args.sizes("kernel_shape")?.is_none_or(|stated| stated == taps);
        ensure(stated, Code::OnnxShape, "`kernel_shape` is not the shape of the kernel")?;
        let [y, x] = window(args, sizes, taps)?;
        let groups = fit(usize::try_from(args.int("group", 1)?).ok())?;
        // Inner channels are those of one group, outer ones those of all.
        fit((inner.checked_mul(groups) == Some(channels) && outer.is_multiple_of(groups)).then_some(()))?;
        let shape = [&[batch, outer], &[y.output(), x.output()][2 - sizes.len()..]].concat();
        let shape = shape::within_limit(shape)?;
        let conv = Conv { batch, groups, inner, outer: outer / groups, y, x };
        let linear = fit(Linear::conv(conv, weights(values)?))?;
        let mut parameters = vec![Parameter { name: w.name, term: Some(0), factor: Rational::one(), fixed: false }];
        let mut offset = None;
        if let Some(b) = b {
            let Constant(values) = b.content else { return unsupported("a computed bias is not supported") };
            fit((b.shape == [outer]).then_some(()))?;
            let column = [&[outer][..], &vec![1; sizes.len()]].concat();
            let values = values.select(&shape::broadcast_index(&column, &shape));
            // One that is broadcast has fewer values than the output.
            let fixed = values.len() != outer;
            parameters.push(Parameter { name: b.name, term: None, factor: Rational::one(), fixed });
            offset = Some(bias(&values));
        }
        self.push(out, shape, Op::Affine { terms: vec![(node, Arc::new(linear))], bias: offset }, parameters)
    }
}
