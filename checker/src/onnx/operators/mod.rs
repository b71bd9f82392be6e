//! The ONNX operators that the checker knows, and how they become nodes of a [`Network`].

mod arithmetic;
mod moves;
mod reduce;
mod window;

use super::message::Content::{Constant, Node};
use super::message::{DEFAULT_DOMAINS, Value, attributes, tensor, unsupported};
use super::wire::Message;
use super::{MAX_TOTAL, shape};
use crate::error::{Code, Result, ensure, error};
use crate::linear::Linear;
use crate::network::{Network, Op, Parameter};
use crate::number::Rational;
use crate::weights::{Dyadic, Values, Weights};
use num::{One, ToPrimitive};
use std::collections::HashMap;
use std::sync::Arc;

const SUPPORTED: &str = "Abs, Add, AveragePool, BatchNormalization, Cast, Clip, Concat, Constant, Conv, \
                         DequantizeLinear, Div, Dropout, Flatten, Gather, Gemm, GlobalAveragePool, Identity, LeakyRelu, MatMul, Max, MaxPool, Min, Mul, \
                         Neg, Pad, ReduceMean, ReduceSum, Relu, Reshape, Slice, Split, Squeeze, Sub, Sum, Transpose, \
                         Unsqueeze";

/// What one ONNX node gives its operator. An operator takes out what it reads; anything left over was not understood
/// and is an error.
struct Arguments<'a> {
    operands: Vec<Option<Value>>,
    attributes: Vec<(&'a str, Message<'a>)>,
}

impl<'a> Arguments<'a> {
    fn operand(&mut self, i: usize) -> Option<Value> {
        self.operands.get_mut(i).and_then(Option::take)
    }

    fn need(&mut self, i: usize) -> Result<Value> {
        self.operand(i).ok_or_else(|| error(Code::OnnxFormat, format!("input {i} is missing")))
    }

    /// A constant operand read as a list of integers, such as a shape or axes.
    fn int_operand(&mut self, i: usize) -> Result<Option<Vec<i64>>> {
        let Some(value) = self.operand(i) else { return Ok(None) };
        let Constant(values) = value.content else {
            return unsupported("a shape computed at run time is not supported; export a fixed shape");
        };
        let as_int = |i| Some(values.get(i)).filter(Rational::is_integer)?.to_integer().to_i64();
        let ints: Option<_> = (0..values.len()).map(as_int).collect();
        ints.map(Some).ok_or_else(|| error(Code::OnnxShape, "a shape or axis is not an integer"))
    }

    /// What `read` finds in an attribute, if the node has it.
    fn attribute<T>(&mut self, name: &str, read: impl Fn(&Message<'a>) -> Result<Option<T>>) -> Result<Option<T>> {
        let Some(position) = self.attributes.iter().position(|(n, _)| *n == name) else { return Ok(None) };
        let value = read(&self.attributes.swap_remove(position).1)?;
        ensure(value.is_some(), Code::OnnxFormat, format!("attribute `{name}` has no value of its type"))?;
        Ok(value)
    }

    fn int(&mut self, name: &str, default: i64) -> Result<i64> {
        Ok(self.attribute(name, |a| a.int(3))?.unwrap_or(default))
    }

    fn text(&mut self, name: &str) -> Result<Option<&'a str>> {
        self.attribute(name, |a| a.has(4).then(|| a.text(4)).transpose())
    }

    fn ints(&mut self, name: &str) -> Result<Option<Vec<i64>>> {
        self.attribute(name, |a| a.ints(8).map(Some))
    }

    /// A list of sizes.
    fn sizes(&mut self, name: &str) -> Result<Option<Vec<usize>>> {
        let Some(ints) = self.ints(name)? else { return Ok(None) };
        let sizes: Option<_> = ints.iter().map(|&n| usize::try_from(n).ok()).collect();
        sizes.map(Some).ok_or_else(|| error(Code::OnnxShape, format!("`{name}` has a negative number")))
    }

    /// A constant operand that is one number, and its name.
    fn scalar(&mut self, i: usize) -> Result<Option<(Rational, Option<String>)>> {
        let Some(value) = self.operand(i) else { return Ok(None) };
        let Constant(values) = value.content else { return unsupported("a computed parameter is not supported") };
        fit((values.len() == 1).then(|| Some((values.get(0), Some(value.name)))))
    }

    /// The same from an attribute, which has no name.
    fn number(&mut self, name: &str) -> Result<Option<(Rational, Option<String>)>> {
        Ok(self.float(name)?.map(|number| (number.to_rational(), None)))
    }

    fn float(&mut self, name: &str) -> Result<Option<Dyadic>> {
        self.attribute(name, |a| a.float(2))?.map(finite).transpose()
    }

    /// A factor, 1 if absent.
    fn factor(&mut self, name: &str) -> Result<Rational> {
        Ok(self.float(name)?.map_or_else(Rational::one, Dyadic::to_rational))
    }

    /// The value of a `Constant` node: a tensor, or numbers in one of four attributes.
    fn constant(&mut self) -> Result<Value> {
        if let Some(bytes) = self.attribute("value", |a| Ok(a.bytes(5)?.pop()))? {
            return Ok(tensor(bytes)?.1);
        }
        let ints = self.ints("value_ints")?;
        let floats = self.attribute("value_floats", |a| a.words(7, 4).map(Some))?;
        let shape: Vec<usize> = ints.as_ref().map(Vec::len).or(floats.as_ref().map(Vec::len)).into_iter().collect();
        let ints = ints.into_iter().flatten().chain(self.attribute("value_int", |a| a.int(3))?);
        let floats = floats.into_iter().flatten().chain(self.attribute("value_float", |a| a.float(2))?);
        let values = ints.map(|i| Ok(Dyadic::new(i, 0))).chain(floats.map(finite)).collect::<Result<Vec<_>>>()?;
        let fits = shape::elements(&shape, MAX_TOTAL) == Some(values.len());
        // An attribute that is left over is one of another kind.
        let code = if self.attributes.is_empty() { Code::OnnxFormat } else { Code::OnnxUnsupported };
        ensure(fits, code, "only a constant given as one tensor, list or number is supported")?;
        Ok(Value::new(shape, Constant(Values::Dyadic(values))))
    }
}

fn fit<T>(value: Option<T>) -> Result<T> {
    value.ok_or_else(|| error(Code::OnnxShape, "the shapes or axes do not fit"))
}

/// A 32-bit float from its bits.
fn finite(bits: u64) -> Result<Dyadic> {
    Dyadic::from_ieee(bits, 8, 23).ok_or_else(|| error(Code::OnnxNotFinite, "an attribute is a NaN or an infinity"))
}

/// Builds the network node by node in the order of the file, which ONNX requires to be topological.
pub struct Builder {
    network: Network,
    values: HashMap<String, Value>,
    /// Elements of all values.
    total: usize,
    opset: i64,
}

impl Builder {
    pub fn new(input: &str, shape: Vec<usize>, opset: i64) -> Self {
        let network = Network::new(input, shape.clone());
        let values = HashMap::from([(input.to_owned(), Value::new(shape, Node(0)))]);
        Builder { network, values, total: 0, opset }
    }

    /// Binds a name, once.
    pub fn define(&mut self, name: &str, mut value: Value) -> Result<()> {
        if value.name.is_empty() {
            name.clone_into(&mut value.name);
        }
        if matches!(value.content, Constant(_)) {
            self.count(value.shape.iter().product())?;
        }
        let earlier = self.values.insert(name.to_owned(), value);
        ensure(earlier.is_none(), Code::OnnxFormat, format!("`{name}` is defined twice"))
    }

    fn count(&mut self, elements: usize) -> Result<()> {
        self.total += elements;
        let message = format!("the tensors together have more than {MAX_TOTAL} elements, activations counted 16 times");
        ensure(self.total <= MAX_TOTAL, Code::LimitSize, message)
    }

    /// The network, with the graph's outputs in order.
    pub fn finish(mut self, outputs: Vec<Message<'_>>) -> Result<Network> {
        let position = |info: &Message<'_>| match self.values.get(info.text(1)?).map(|value| &value.content) {
            Some(Node(node)) => Ok(*node),
            Some(Constant(_)) => unsupported(format!("output `{}` does not depend on the input", info.text(1)?)),
            None => Err(error(Code::OnnxFormat, format!("output `{}` is not computed", info.text(1)?))),
        };
        let outputs = outputs.iter().map(position).collect::<Result<Vec<_>>>()?;
        ensure(!outputs.is_empty(), Code::OnnxFormat, "the graph has no output")?;
        self.network.set_outputs(outputs);
        Ok(self.network)
    }

    /// Reads one ONNX node.
    pub fn node(&mut self, node: &Message<'_>) -> Result<()> {
        let (name, op, outputs) = (node.text(3)?, node.text(4)?, node.texts(2)?);
        let place = if name.is_empty() { outputs.first().copied().unwrap_or_default() } else { name };
        self.node_values(node, op, &outputs)
            .and_then(|values| outputs.iter().zip(values).try_for_each(|(out, value)| self.define(out, value)))
            .map_err(|e| e.within(&format!("node `{place}` ({op})")))
    }

    fn node_values(&mut self, node: &Message<'_>, op: &str, outputs: &[&str]) -> Result<Vec<Value>> {
        let domain = node.text(7)?;
        let known = DEFAULT_DOMAINS.contains(&domain);
        ensure(known, Code::OnnxUnsupported, format!("operator domain `{domain}` is not supported"))?;
        // The second output of Dropout is a mask that only training uses.
        let named = match op {
            "Dropout" => outputs.len() <= 2 && outputs.first().is_some_and(|out| !out.is_empty()),
            "Split" => !outputs.is_empty() && outputs.iter().all(|out| !out.is_empty()),
            _ => outputs.len() == 1 && !outputs[0].is_empty(),
        };
        ensure(named, Code::OnnxUnsupported, "exactly one output is supported, or all parts of a Split")?;
        let operand = |name: &str| match self.values.get(name) {
            None if name.is_empty() => Ok(None),
            None => Err(error(Code::OnnxFormat, format!("input `{name}` is not defined before this node"))),
            Some(value) => Ok(Some(value.clone())),
        };
        let operands: Vec<_> = node.texts(1)?.into_iter().map(operand).collect::<Result<_>>()?;
        let shapes: Vec<_> = operands.iter().flatten().map(|value| value.shape.clone()).collect();
        let mut args = Arguments { operands, attributes: attributes(node)? };
        let values = match op {
            "Split" => self.split(outputs, &mut args),
            _ => self.operator(op, &mut args, outputs[0]).map(|value| vec![value]),
        }
        .map_err(|e| e.within(&format!("inputs of shapes {shapes:?}")))?;
        if let Some((name, _)) = args.attributes.first() {
            return unsupported(format!("attribute `{name}` is not supported, or is given twice"));
        }
        match args.operands.iter().position(Option::is_some) {
            Some(i) => unsupported(format!("input {i} is not supported")),
            None => Ok(values),
        }
    }

    fn operator(&mut self, op: &str, args: &mut Arguments<'_>, out: &str) -> Result<Value> {
        let (one, minus_one) = (Rational::one(), -Rational::one());
        match op {
            "Constant" => args.constant(),
            "DequantizeLinear" => dequantized(args),
            "Add" => self.sum(out, vec![(args.need(0)?, one.clone()), (args.need(1)?, one)]),
            "Sub" => self.sum(out, vec![(args.need(0)?, one), (args.need(1)?, minus_one)]),
            "Sum" => {
                let operands = (0..args.operands.len()).map(|i| Ok((args.need(i)?, one.clone())));
                let operands = operands.collect::<Result<_>>()?;
                self.sum(out, operands)
            }
            "Neg" => self.sum(out, vec![(args.need(0)?, minus_one)]),
            "Mul" | "Div" => self.product(out, args.need(0)?, args.need(1)?, op == "Div"),
            "MatMul" => self.matmul(out, args.need(0)?, args.need(1)?),
            "Gemm" => self.gemm(out, args),
            "BatchNormalization" => self.normalisation(out, args),
            "Conv" => self.conv(out, args),
            "AveragePool" => self.average_pool(out, args),
            "MaxPool" => self.max_pool(out, args),
            "GlobalAveragePool" => self.global_average(out, args),
            "ReduceMean" | "ReduceSum" => self.reduce(out, args, op == "ReduceMean"),
            "Relu" => self.relu(out, args.need(0)?),
            "LeakyRelu" => self.leaky_relu(out, args),
            "Abs" => self.bent(out, args.need(0)?, minus_one, one.clone() + one),
            "Clip" => self.clip(out, args),
            "Max" | "Min" => self.extreme(out, args, op == "Max"),
            "Concat" => self.concat(out, args),
            "Pad" => self.pad(out, args),
            "Slice" => self.slice(out, args),
            "Gather" => self.gather(out, args),
            "Cast" => {
                // 1 is float32, 10 float16 and 11 float64; reals are not rounded.
                let kept = matches!(args.attribute("to", |a| a.int(3))?, Some(1 | 10 | 11));
                ensure(kept, Code::OnnxUnsupported, "only casts to float16, float32 and float64 are supported")?;
                match args.need(0)? {
                    Value { content: Node(node), shape, name } => {
                        self.scaled(out, Value { content: Node(node), shape, name }, vec![one])
                    }
                    constant => Ok(constant),
                }
            }
            "Identity" | "Dropout" | "Flatten" | "Reshape" | "Squeeze" | "Unsqueeze" | "Transpose" => {
                let x = args.need(0)?;
                let moves = fit(self.moves(op, args, &x.shape)?)?;
                self.moved(out, x, moves)
            }
            _ => unsupported(format!("operator {op} is not supported; supported are {SUPPORTED}")),
        }
    }

    fn push(&mut self, out: &str, shape: Vec<usize>, op: Op, parameters: Vec<Parameter>) -> Result<Value> {
        let shape = shape::within_limit(shape)?;
        // The exact values of an activation tensor are big integers, so its elements count more.
        self.count(16 * shape.iter().product::<usize>())?;
        let content = Node(self.network.push(out, shape.clone(), op, parameters)?);
        Ok(Value::new(shape, content))
    }
}

/// `(x − zero point) · scale` of a stored x, one scale for all of it or one for each position along an axis.
fn dequantized(args: &mut Arguments<'_>) -> Result<Value> {
    let (x, scale, zero) = (args.need(0)?, args.need(1)?, args.operand(2));
    let axis = args.int("axis", 1)?;
    let Constant(values) = &x.content else {
        return unsupported("only stored weights may be quantised: rounding of computed tensors is not a linear map");
    };
    let Constant(scales) = &scale.content else { return unsupported("a computed scale is not supported") };
    let zeros = match zero.as_ref().map(|zero| &zero.content) {
        None => None,
        Some(Constant(zeros)) => Some(fit((zeros.len() == scales.len()).then_some(zeros))?),
        Some(Node(_)) => return unsupported("a computed zero point is not supported"),
    };
    let inner: usize = if scales.len() == 1 {
        x.shape.iter().product()
    } else {
        let axis = fit(shape::normalise_axis(axis, x.shape.len()))?;
        fit((x.shape[axis] == scales.len()).then_some(()))?;
        x.shape[axis + 1..].iter().product()
    };
    let value = |i: usize| {
        let k = i / inner % scales.len();
        let centred = values.get(i) - zeros.map_or_else(Rational::default, |zeros| zeros.get(k));
        centred * scales.get(k)
    };
    let values = Values::Rational((0..values.len()).map(value).collect());
    Ok(Value::new(x.shape, Constant(values)))
}

const FACTORS: &str = "a product needs one factor that is computed and one that is constant";
const CONSTANTS: &str = "arithmetic on constants alone is not supported; fold constants on export";

/// Where a computed tensor is in the network, and its shape.
fn computed(x: Value) -> Result<(usize, Vec<usize>)> {
    match x.content {
        Node(node) => Ok((node, x.shape)),
        Constant(_) => unsupported(CONSTANTS),
    }
}

/// The use of a constant that no perturbation can change.
fn fixed(name: String) -> Parameter {
    Parameter { name, term: None, factor: Rational::one(), fixed: true }
}

fn weights(values: Values) -> Result<Weights> {
    Weights::new(values).ok_or_else(|| error(Code::LimitSize, "a constant is out of range"))
}

/// The term `y[i] = w[i] · x[index[i]]`, x of this shape; a single `w` is for all i.
fn gather(node: usize, x: &[usize], index: &[usize], w: Values) -> Result<(usize, Arc<Linear>)> {
    let index = index.iter().map(|&i| i as u32).collect();
    Ok((node, Arc::new(fit(Linear::gather(x.iter().product(), index, weights(w)?))?)))
}
