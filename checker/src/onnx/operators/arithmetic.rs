//! Sums, products, and what a ReLU and a sum together can say.

use super::super::shape;
use super::{
    Arguments, Builder, CONSTANTS, Constant, FACTORS, Node, Value, computed, fit, fixed, gather, unsupported, weights,
};
use crate::error::{Code, Result, ensure, error};
use crate::linear::Linear;
use crate::network::{Op, Parameter, bias};
use crate::number::{Rational, root};
use crate::weights::{Dyadic, Values};
use num::{One, Signed, Zero};
use std::sync::Arc;

/// Significant bits of the factor of a normalisation whose root is irrational.
const ROOT_BITS: u64 = 64;

fn common_shape(a: &[usize], b: &[usize]) -> Result<Vec<usize>> {
    fit(shape::broadcast(a, b)).and_then(shape::within_limit)
}

impl Builder {
    /// `Σ factor · operand`, broadcast to one shape. At most one of several operands is constant.
    pub(super) fn sum(&mut self, out: &str, operands: Vec<(Value, Rational)>) -> Result<Value> {
        self.sum_using(out, operands, vec![])
    }

    /// The same for a node that uses these parameters besides.
    fn sum_using(
        &mut self,
        out: &str,
        operands: Vec<(Value, Rational)>,
        mut parameters: Vec<Parameter>,
    ) -> Result<Value> {
        let shape = operands.iter().try_fold(vec![], |shape, (x, _)| common_shape(&shape, &x.shape))?;
        let (mut terms, mut offset) = (Vec::new(), None);
        for (x, factor) in operands {
            let index = shape::broadcast_index(&x.shape, &shape);
            match x.content {
                Node(node) => terms.push(gather(node, &x.shape, &index, Values::Rational(vec![factor]))?),
                Constant(_) if offset.is_some() => return unsupported(CONSTANTS),
                Constant(values) => {
                    offset = Some(bias(&values.select(&index).map(|v| v * &factor)));
                    // A constant that is broadcast has fewer values than the output.
                    let fixed = values.len() != index.len();
                    if !x.name.is_empty() {
                        parameters.push(Parameter { name: x.name, term: None, factor, fixed });
                    }
                }
            }
        }
        ensure(!terms.is_empty(), Code::OnnxUnsupported, CONSTANTS)?;
        self.push(out, shape, Op::Affine { terms, bias: offset }, parameters)
    }

    /// `a · b`, or `a / b`, broadcast to one shape.
    pub(super) fn product(&mut self, out: &str, a: Value, b: Value, divide: bool) -> Result<Value> {
        let shape = common_shape(&a.shape, &b.shape)?;
        let left = matches!(a.content, Constant(_));
        let (x, w) = if left { (b, a) } else { (a, b) };
        let (Node(node), Constant(values)) = (x.content, w.content) else { return unsupported(FACTORS) };
        let mut factors = values.select(&shape::broadcast_index(&w.shape, &shape));
        if divide {
            ensure(!left, Code::OnnxUnsupported, "division by a computed tensor is not supported")?;
            let zero = (0..factors.len()).any(|i| factors.get(i).is_zero());
            ensure(!zero, Code::OnnxNotFinite, "division by zero")?;
            factors = factors.map(Rational::recip);
        }
        let term = gather(node, &x.shape, &shape::broadcast_index(&x.shape, &shape), factors)?;
        let parameters = vec![fixed(w.name)];
        self.push(out, shape, Op::Affine { terms: vec![term], bias: None }, parameters)
    }

    /// A matrix product with a constant on either side. Its matrix acts along one axis of the other operand: the last
    /// one if the constant is on the right, else the last but one.
    pub(super) fn matmul(&mut self, out: &str, a: Value, b: Value) -> Result<Value> {
        let left = matches!(a.content, Constant(_));
        let (x, w) = if left { (b, a) } else { (a, b) };
        let (Node(node), Constant(values)) = (x.content, w.content) else { return unsupported(FACTORS) };
        let [lead @ .., height, width] = &w.shape[..] else { return fit(None) };
        // Leading ones of the constant broadcast, but they must not add an axis to the result.
        fit((lead.iter().all(|&d| d == 1) && w.shape.len() <= x.shape.len().max(2)).then_some(()))?;
        let (rows, cols, axis, matrix) = if left {
            (*height, *width, x.shape.len().max(2) - 2, values)
        } else {
            let (_, transposed) = fit(shape::transpose(&[*height, *width], None))?;
            (*width, *height, x.shape.len().max(1) - 1, values.select(&transposed))
        };
        fit((x.shape.get(axis) == Some(&cols)).then_some(()))?;
        let (outer, inner) = (x.shape[..axis].iter().product(), x.shape[axis + 1..].iter().product());
        let linear = fit(Linear::dense(outer, rows, cols, inner, weights(matrix)?))?;
        let mut shape = x.shape;
        shape[axis] = rows;
        let parameters = vec![Parameter { name: w.name, term: Some(0), factor: Rational::one(), fixed: false }];
        self.push(out, shape, Op::Affine { terms: vec![(node, Arc::new(linear))], bias: None }, parameters)
    }

    /// `alpha · A · B + beta · C`, as the steps that it consists of.
    pub(super) fn gemm(&mut self, out: &str, args: &mut Arguments<'_>) -> Result<Value> {
        let [a, b] = [(0, "transA"), (1, "transB")].map(|(i, flag)| {
            let x = args.need(i)?;
            let moves = fit(shape::transpose(&x.shape, Some(vec![1, 0])))?;
            if args.int(flag, 0)? == 0 { Ok(x) } else { self.moved(&format!("{out}#{flag}"), x, moves) }
        });
        let product = self.matmul(&format!("{out}#product"), a?, b?)?;
        let shape = product.shape.clone();
        let (alpha, beta) = (args.factor("alpha")?, args.factor("beta")?);
        let operands = [(product, alpha)].into_iter().chain(args.operand(2).map(|c| (c, beta))).collect();
        let sum = self.sum(out, operands)?;
        // C broadcasts to the product, not the other way round.
        fit((sum.shape == shape).then_some(sum))
    }

    pub(super) fn relu(&mut self, out: &str, x: Value) -> Result<Value> {
        let (node, shape) = computed(x)?;
        self.push(out, shape, Op::Relu(node), vec![])
    }

    /// Each element times its factor, or all times one.
    pub(super) fn scaled(&mut self, out: &str, x: Value, factors: Vec<Rational>) -> Result<Value> {
        let (node, shape) = computed(x)?;
        let index: Vec<usize> = (0..shape.iter().product()).collect();
        let term = gather(node, &shape, &index, Values::Rational(factors))?;
        self.push(out, shape, Op::Affine { terms: vec![term], bias: None }, vec![])
    }

    /// `a · x + b · max(x, 0)`.
    pub(super) fn bent(&mut self, out: &str, x: Value, a: Rational, b: Rational) -> Result<Value> {
        let positive = self.relu(&format!("{out}#relu"), x.clone())?;
        self.sum(out, vec![(x, a), (positive, b)])
    }

    pub(super) fn leaky_relu(&mut self, out: &str, args: &mut Arguments<'_>) -> Result<Value> {
        let (x, slope) = (args.need(0)?, args.float("alpha")?);
        // The nearest single to 0.01.
        let slope = slope.unwrap_or(Dyadic::new(0x0023_d70a | 0x0080_0000, -30)).to_rational();
        self.bent(out, x, slope.clone(), Rational::one() - slope)
    }

    /// `low + max(x − low, 0) − max(x − high, 0)`; either may be missing.
    pub(super) fn clip(&mut self, out: &str, args: &mut Arguments<'_>) -> Result<Value> {
        let x = args.need(0)?;
        let (low, high) = if self.opset < 11 {
            (args.number("min")?, args.number("max")?)
        } else {
            (args.scalar(1)?, args.scalar(2)?)
        };
        let ordered = low.as_ref().zip(high.as_ref()).is_none_or(|((low, _), (high, _))| low <= high);
        ensure(ordered, Code::OnnxUnsupported, "`min` is above `max`")?;
        let (one, minus_one) = (Rational::one(), -Rational::one());
        let start = low.as_ref().map_or_else(|| x.clone(), |(low, _)| constant(low.clone()));
        let (mut operands, mut parameters) = (vec![(start, one.clone())], Vec::new());
        for (end, name, sign) in [(low, "low", one.clone()), (high, "high", minus_one.clone())] {
            let Some((end, stored)) = end else { continue };
            parameters.extend(stored.map(fixed));
            let beyond = vec![(x.clone(), one.clone()), (constant(end), minus_one.clone())];
            let beyond = self.sum(&format!("{out}#{name}"), beyond)?;
            operands.push((self.relu(&format!("{out}#{name}.relu"), beyond)?, sign));
        }
        self.sum_using(out, operands, parameters)
    }

    /// The largest of all operands, or the smallest.
    pub(super) fn extreme(&mut self, out: &str, args: &mut Arguments<'_>, largest: bool) -> Result<Value> {
        let mut operands = (0..args.operands.len()).map(|i| args.need(i)).collect::<Result<Vec<_>>>()?;
        // Every constant meets a computed tensor.
        operands.sort_by_key(|x| matches!(x.content, Constant(_)));
        let computed = operands.iter().filter(|x| matches!(x.content, Node(_))).count();
        let constants = operands.split_off(computed);
        let mut best = match constants.is_empty() {
            true => return self.tournament(out, operands, largest),
            false => self.tournament(&format!("{out}#computed"), operands, largest)?,
        };
        let count = constants.len();
        for (i, constant) in constants.into_iter().enumerate() {
            let name = if i + 1 == count { out.to_owned() } else { format!("{out}#constant{i}") };
            best = self.larger(&name, best, constant, largest)?;
        }
        Ok(best)
    }

    /// The largest, or the smallest, of tensors: of pairs, then of pairs of those. One alone gets the name.
    pub(super) fn tournament(&mut self, out: &str, mut round: Vec<Value>, largest: bool) -> Result<Value> {
        if round.len() == 1 {
            return self.sum(out, round.into_iter().map(|only| (only, Rational::one())).collect());
        }
        let mut count = 0;
        while round.len() > 1 {
            let (last, mut next, mut players) = (round.len() == 2, Vec::new(), round.into_iter());
            while let Some(a) = players.next() {
                let Some(b) = players.next() else {
                    next.push(a);
                    break;
                };
                let name = if last { out.to_owned() } else { format!("{out}#pair{count}") };
                count += 1;
                next.push(self.larger(&name, a, b, largest)?);
            }
            round = next;
        }
        round.pop().ok_or_else(|| error(Code::OnnxUnsupported, CONSTANTS))
    }

    /// `max(a, b) = b + max(a − b, 0)`, or `min(a, b) = a − max(a − b, 0)`.
    fn larger(&mut self, out: &str, mut a: Value, mut b: Value, largest: bool) -> Result<Value> {
        // A constant is used twice, or with a sign: no perturbation changes it.
        let constants = [&mut a, &mut b].into_iter().filter(|x| matches!(x.content, Constant(_)));
        let parameters = constants.map(|x| fixed(std::mem::take(&mut x.name))).collect();
        let (one, minus_one) = (Rational::one(), -Rational::one());
        let operands = vec![(a.clone(), one.clone()), (b.clone(), minus_one.clone())];
        let difference = self.sum(&format!("{out}#difference"), operands)?;
        let positive = self.relu(&format!("{out}#relu"), difference)?;
        let (from, sign) = if largest { (b, one.clone()) } else { (a, minus_one) };
        self.sum_using(out, vec![(from, one), (positive, sign)], parameters)
    }

    /// `s (x − mean) + b` with `s = scale / √(variance + epsilon)` for each channel.
    pub(super) fn normalisation(&mut self, out: &str, args: &mut Arguments<'_>) -> Result<Value> {
        let (node, shape) = computed(args.need(0)?)?;
        let channels = *fit(shape.get(1))?;
        // The nearest single to 10^-5.
        let epsilon = args.float("epsilon")?.unwrap_or(Dyadic::new(0x0027_c5ac | 0x0080_0000, -40)).to_rational();
        // How fast training averages does not matter, but inference it must be; channels were once optional.
        let _ = args.float("momentum")?;
        let training = args.int("training_mode", 0)? != 0 || args.int("spatial", 1)? != 1;
        ensure(!training, Code::OnnxUnsupported, "only inference with one mean a channel is supported")?;
        let (mut constants, mut parameters) = (Vec::new(), Vec::new());
        for i in 1..5 {
            let Value { name, shape, content: Constant(values) } = args.need(i)? else { return unsupported(FACTORS) };
            fit((shape == [channels]).then_some(()))?;
            constants.push(values);
            parameters.push(fixed(name));
        }
        let channel = |c: usize| {
            let [scale, offset, mean, variance] = [0, 1, 2, 3].map(|i| constants[i].get(c));
            let square = variance + &epsilon;
            ensure(square.is_positive(), Code::OnnxNotFinite, "a variance plus `epsilon` is not positive")?;
            let size = root(&(&scale * &scale / square), ROOT_BITS);
            let factor = if scale.is_negative() { -size } else { size };
            let offset = offset - &factor * mean;
            Ok((factor, offset))
        };
        let (factors, offsets) = (0..channels).map(channel).collect::<Result<(Vec<_>, Vec<_>)>>()?;
        let column = [&[channels][..], &vec![1; shape.len() - 2]].concat();
        let of = shape::broadcast_index(&column, &shape);
        let index: Vec<usize> = (0..of.len()).collect();
        let term = gather(node, &shape, &index, Values::Rational(factors).select(&of))?;
        let bias = Some(bias(&Values::Rational(offsets).select(&of)));
        self.push(out, shape, Op::Affine { terms: vec![term], bias }, parameters)
    }
}

/// A constant without a name, that no file has stored.
fn constant(value: Rational) -> Value {
    Value::new(vec![], Constant(Values::Rational(vec![value])))
}
