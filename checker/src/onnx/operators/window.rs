//! Operators that slide a window over the spatial axes of an image.

use super::super::{MAX_ELEMENTS, MAX_TOTAL, shape};
use super::{Arguments, Builder, Constant, FACTORS, Node, Value, computed, fit, gather, unsupported, weights};
use crate::conv::{Axis, Conv};
use crate::error::{Code, Result, ensure, error};
use crate::linear::Linear;
use crate::network::{Op, Parameter, bias};
use crate::number::Rational;
use crate::weights::{Dyadic, Values, Weights};
use num::One;
use std::sync::Arc;

const EMPTY: &str = "a window of the pool holds no element";

/// How windows of `taps` slide over the one or two axes of an image; one axis is an image of height 1. Sizes that would
/// be rounded `up` are not supported.
fn window(args: &mut Arguments<'_>, sizes: &[usize], taps: &[usize], up: bool) -> Result<[Axis; 2]> {
    let rank = sizes.len();
    let known = (1..=2).contains(&rank);
    ensure(known, Code::OnnxUnsupported, format!("{rank} spatial axes are not supported; one and two are"))?;
    fit((taps.len() == rank).then_some(()))?;
    let auto = args.text("auto_pad")?.unwrap_or("NOTSET");
    let known = ["NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"].contains(&auto);
    ensure(known, Code::OnnxUnsupported, format!("`auto_pad` = `{auto}` is not supported"))?;
    let mut list = |name: &str, len: usize, default: usize| {
        let given = args.sizes(name)?.unwrap_or_else(|| vec![default; len]);
        fit(Some(given).filter(|given| given.len() == len))
    };
    let (strides, dilations) = (list("strides", rank, 1)?, list("dilations", rank, 1)?);
    // Stated pads beside another rule are left over, which is an error.
    let pads = if auto == "NOTSET" { list("pads", 2 * rank, 0)? } else { vec![0; 2 * rank] };
    // Pad, size of the result, and how much of the padded axis no window reaches.
    let slide = |i: usize| -> Option<(usize, usize, usize)> {
        let (size, stride) = (sizes[i], Some(strides[i]).filter(|&stride| stride > 0)?);
        let span = taps[i].checked_sub(1)?.checked_mul(dilations[i])?.checked_add(1)?;
        if auto.starts_with("SAME") {
            let output = size.div_ceil(stride);
            // Readers differ about which elements windows leave out if those are more than one.
            let reach = ((output - 1) * stride).checked_add(span)?;
            let pads = if size <= reach + 1 { reach.saturating_sub(size) } else { return None };
            return Some((if auto == "SAME_LOWER" { pads.div_ceil(2) } else { pads / 2 }, output, 0));
        }
        let room = size.checked_add(pads[i])?.checked_add(pads[rank + i])?.checked_sub(span)?;
        Some((pads[i], room / stride + 1, room % stride))
    };
    let axis = |i: usize| {
        let (pad, output, rest) = fit(slide(i))?;
        ensure(!up || rest == 0, Code::OnnxUnsupported, "`ceil_mode` is supported only where it changes nothing")?;
        fit(Axis::new(sizes[i], output, taps[i], strides[i], dilations[i], pad))
    };
    Ok([if rank == 2 { axis(0)? } else { Axis::POINT }, axis(rank - 1)?])
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
        let [y, x] = window(args, sizes, taps, false)?;
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

    /// The windows of a pool over a tensor of this shape, as a convolution of every channel by itself, and the shape of
    /// its result.
    fn pool(args: &mut Arguments<'_>, shape: &[usize]) -> Result<(Conv, Vec<usize>)> {
        let taps = fit(args.sizes("kernel_shape")?)?;
        let (sizes, up) = (fit(shape.get(2..))?, args.int("ceil_mode", 0)? != 0);
        let [y, x] = window(args, sizes, &taps, up)?;
        let shape = [&shape[..2], &[y.output(), x.output()][2 - sizes.len()..]].concat();
        let conv = Conv { batch: shape[0] * shape[1], groups: 1, inner: 1, outer: 1, y, x };
        let small = conv.weights().is_some_and(|n| n <= MAX_ELEMENTS);
        ensure(small, Code::LimitSize, format!("a window has more than {MAX_ELEMENTS} elements"))?;
        Ok((conv, shape::within_limit(shape)?))
    }

    /// The mean of every window: its sum, divided by how many elements it has.
    pub(super) fn average_pool(&mut self, out: &str, args: &mut Arguments<'_>) -> Result<Value> {
        let (node, shape) = computed(args.need(0)?)?;
        let (conv, shape) = Self::pool(args, &shape)?;
        let taps = conv.y.taps() * conv.x.taps();
        let ones = Weights::new(Values::Dyadic(vec![Dyadic::new(1, 0); taps]));
        let linear = fit(ones.and_then(|ones| Linear::conv(conv, ones)))?;
        let counts = if args.int("count_include_pad", 0)? != 0 {
            vec![taps]
        } else {
            let [rows, columns] = [&conv.y, &conv.x].map(Axis::counts);
            let image: Vec<usize> = rows.iter().flat_map(|y| columns.iter().map(move |x| y * x)).collect();
            image.repeat(conv.batch)
        };
        ensure(counts.iter().all(|&n| n > 0), Code::OnnxShape, EMPTY)?;
        let op = Op::Affine { terms: vec![(node, Arc::new(linear))], bias: None };
        let sum = self.push(&format!("{out}#sum"), shape, op, vec![])?;
        self.scaled(out, sum, counts.into_iter().map(|n| Rational::new(1.into(), n.into())).collect())
    }

    /// The largest element of every window: a tournament of its taps. Where a tap meets no input, another one of the same
    /// window takes part twice.
    pub(super) fn max_pool(&mut self, out: &str, args: &mut Arguments<'_>) -> Result<Value> {
        let (node, from) = computed(args.need(0)?)?;
        // The order of the second output, which is not supported.
        args.int("storage_order", 0)?;
        let (conv, shape) = Self::pool(args, &from)?;
        let taps = conv.y.taps() * conv.x.taps();
        let small = taps.checked_mul(shape.iter().product()).is_some_and(|n| n <= MAX_TOTAL / 16);
        ensure(small, Code::LimitSize, "the windows of a pool together are too large")?;
        let mut sources = vec![vec![None; shape.iter().product()]; taps];
        conv.for_each_entry(|output, input, tap| sources[tap][output] = Some(input));
        let any = |i: usize| sources.iter().find_map(|source| source[i]);
        let any: Option<Vec<usize>> = (0..shape.iter().product()).map(any).collect();
        let any = any.ok_or_else(|| error(Code::OnnxShape, EMPTY))?;
        let mut players = Vec::new();
        for (tap, source) in sources.iter().enumerate() {
            let index: Vec<usize> = source.iter().zip(&any).map(|(own, any)| own.unwrap_or(*any)).collect();
            let term = gather(node, &from, &index, Values::Rational(vec![Rational::one()]))?;
            let op = Op::Affine { terms: vec![term], bias: None };
            players.push(self.push(&format!("{out}#window{tap}"), shape.clone(), op, vec![])?);
        }
        self.tournament(out, players, true)
    }
}
