//! The ONNX operators that the checker knows, and how they become nodes of a [`Network`].

mod window;

use super::message::Content::{Constant, Node};
use super::message::{DEFAULT_DOMAINS, Value, attributes, tensor, unsupported};
use super::wire::Message;
use super::{MAX_TOTAL, shape};
use crate::error::{Code, Result, ensure, error};
use crate::linear::Linear;
use crate::network::{Network, Op, Parameter, bias};
use crate::number::Rational;
use crate::weights::{Dyadic, Values, Weights};
use num::{One, ToPrimitive, Zero};
use std::collections::HashMap;
use std::sync::Arc;

const SUPPORTED: &str = "Add, Constant, Conv, Div, Dropout, Flatten, Gemm, Identity, MatMul, Mul, Neg, Relu, Reshape, \
                         Squeeze, Sub, Transpose, Unsqueeze";

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

    /// A factor, 1 if absent.
    fn factor(&mut self, name: &str) -> Result<Rational> {
        let bits = self.attribute(name, |a| a.float(2))?;
        bits.map_or(Ok(Rational::one()), |bits| Ok(finite(bits)?.to_rational()))
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
        // The exact values of an activation tensor are big integers, so its elements count more.
        let weight = if matches!(value.content, Node(_)) { 16 } else { 1 };
        self.total += weight * value.shape.iter().product::<usize>();
        let message = format!("the tensors together have more than {MAX_TOTAL} elements, activations counted 16 times");
        ensure(self.total <= MAX_TOTAL, Code::LimitSize, message)?;
        let earlier = self.values.insert(name.to_owned(), value);
        ensure(earlier.is_none(), Code::OnnxFormat, format!("`{name}` is defined twice"))
    }

    /// The network, with the graph's outputs in order.
    pub fn finish(mut self, outputs: Vec<Message<'_>>) -> Result<Network> {
        let position = |info: &Message<'_>| match self.values.get(info.text(1)?).map(|value| &value.content) {
            Some(Node(node)) => Ok(*node),
            Some(Constant(_)) => unsupported(format!("output `{}` does not depend on the input", info.text(1)?)),
            None => Err(error(Code::OnnxFormat, format!("output `{}` is not computed", info.text(1)?))),
        };
        self.network.set_outputs(outputs.iter().map(position).collect::<Result<_>>()?);
        Ok(self.network)
    }

    /// Reads one ONNX node.
    pub fn node(&mut self, node: &Message<'_>) -> Result<()> {
        let (name, op, outputs) = (node.text(3)?, node.text(4)?, node.texts(2)?);
        let out = outputs.first().copied().unwrap_or_default();
        let place = format!("node `{}` ({op})", if name.is_empty() { out } else { name });
        let value = self.value(node, op, out, outputs.len()).and_then(|value| self.define(out, value));
        value.map_err(|e| e.within(&place))
    }

    fn value(&mut self, node: &Message<'_>, op: &str, out: &str, outputs: usize) -> Result<Value> {
        let domain = node.text(7)?;
        let known = DEFAULT_DOMAINS.contains(&domain);
        ensure(known, Code::OnnxUnsupported, format!("operator domain `{domain}` is not supported"))?;
        // The second output of Dropout is a mask that only training uses.
        let one_output = !out.is_empty() && (outputs == 1 || op == "Dropout");
        ensure(one_output, Code::OnnxUnsupported, "exactly one output is supported")?;
        let operand = |name: &str| match self.values.get(name) {
            None if name.is_empty() => Ok(None),
            None => Err(error(Code::OnnxFormat, format!("input `{name}` is not defined before this node"))),
            Some(value) => Ok(Some(value.clone())),
        };
        let operands: Vec<_> = node.texts(1)?.into_iter().map(operand).collect::<Result<_>>()?;
        let shapes: Vec<_> = operands.iter().flatten().map(|value| value.shape.clone()).collect();
        let mut args = Arguments { operands, attributes: attributes(node)? };
        let value = self.operator(op, &mut args, out).map_err(|e| e.within(&format!("inputs of shapes {shapes:?}")))?;
        if let Some((name, _)) = args.attributes.first() {
            return unsupported(format!("attribute `{name}` is not supported, or is given twice"));
        }
        match args.operands.iter().position(Option::is_some) {
            Some(i) => unsupported(format!("input {i} is not supported")),
            None => Ok(value),
        }
    }

    fn operator(&mut self, op: &str, args: &mut Arguments<'_>, out: &str) -> Result<Value> {
        let (one, minus_one) = (Rational::one(), -Rational::one());
        match op {
            "Constant" => args.constant(),
            "Add" => self.sum(out, vec![(args.need(0)?, one.clone()), (args.need(1)?, one)]),
            "Sub" => self.sum(out, vec![(args.need(0)?, one), (args.need(1)?, minus_one)]),
            "Neg" => self.sum(out, vec![(args.need(0)?, minus_one)]),
            "Mul" | "Div" => self.product(out, args.need(0)?, args.need(1)?, op == "Div"),
            "MatMul" => self.matmul(out, args.need(0)?, args.need(1)?),
            "Gemm" => self.gemm(out, args),
            "Conv" => self.conv(out, args),
            "Relu" => match args.need(0)? {
                Value { shape, content: Node(x), .. } => self.push(out, shape, Op::Relu(x), vec![]),
                _ => unsupported(CONSTANTS),
            },
            "Identity" | "Dropout" | "Flatten" | "Reshape" | "Squeeze" | "Unsqueeze" | "Transpose" => {
                let x = args.need(0)?;
                let moves = fit(self.moves(op, args, &x.shape)?)?;
                self.moved(out, x, moves)
            }
            _ => unsupported(format!("operator {op} is not supported; supported are {SUPPORTED}")),
        }
    }

    /// The new shape, and where each element comes from, of an operator that only moves elements.
    fn moves(&self, op: &str, args: &mut Arguments<'_>, shape: &[usize]) -> Result<Option<(Vec<usize>, Vec<usize>)>> {
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
    fn axes(&self, axes: Vec<i64>) -> Result<Vec<i64>> {
        let known = self.opset >= 11 || axes.iter().all(|&axis| axis >= 0);
        ensure(known, Code::OnnxUnsupported, "a negative axis needs operator set 11 or later")?;
        Ok(axes)
    }

    /// The same for constants and tensors. A node that moves nothing is kept: its name can be a site.
    fn moved(&mut self, out: &str, x: Value, (shape, index): (Vec<usize>, Vec<usize>)) -> Result<Value> {
        match x.content {
            Constant(values) => Ok(Value { name: x.name, shape, content: Constant(values.select(&index)) }),
            Node(node) => {
                let term = gather(node, &x.shape, &index, Values::Rational(vec![Rational::one()]))?;
                self.push(out, shape, Op::Affine { terms: vec![term], bias: None }, vec![])
            }
        }
    }

    fn push(&mut self, out: &str, shape: Vec<usize>, op: Op, parameters: Vec<Parameter>) -> Result<Value> {
        let shape = shape::within_limit(shape)?;
        let content = Node(self.network.push(out, shape.clone(), op, parameters)?);
        Ok(Value::new(shape, content))
    }

    /// `Σ factor · operand`, broadcast to one shape. At most one of several operands is constant.
    fn sum(&mut self, out: &str, operands: Vec<(Value, Rational)>) -> Result<Value> {
        let shape = operands.iter().try_fold(vec![], |shape, (x, _)| common_shape(&shape, &x.shape))?;
        let (mut terms, mut offset, mut parameters) = (Vec::new(), None, Vec::new());
        for (x, factor) in operands {
            let index = shape::broadcast_index(&x.shape, &shape);
            match x.content {
                Node(node) => terms.push(gather(node, &x.shape, &index, Values::Rational(vec![factor]))?),
                Constant(values) => {
                    offset = Some(bias(&values.select(&index).map(|v| v * &factor)));
                    // A constant that is broadcast has fewer values than the output.
                    let fixed = values.len() != index.len();
                    parameters.push(Parameter { name: x.name, term: None, factor, fixed });
                }
            }
        }
        ensure(!terms.is_empty(), Code::OnnxUnsupported, CONSTANTS)?;
        self.push(out, shape, Op::Affine { terms, bias: offset }, parameters)
    }

    /// `a · b`, or `a / b`, broadcast to one shape.
    fn product(&mut self, out: &str, a: Value, b: Value, divide: bool) -> Result<Value> {
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
        let parameters = vec![Parameter { name: w.name, term: None, factor: Rational::one(), fixed: true }];
        self.push(out, shape, Op::Affine { terms: vec![term], bias: None }, parameters)
    }

    /// A matrix product with a constant on either side. Its matrix acts along one axis of the other operand: the last
    /// one if the constant is on the right, else the last but one.
    fn matmul(&mut self, out: &str, a: Value, b: Value) -> Result<Value> {
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
    fn gemm(&mut self, out: &str, args: &mut Arguments<'_>) -> Result<Value> {
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
}

const FACTORS: &str = "a product needs one factor that is computed and one that is constant";
const CONSTANTS: &str = "arithmetic on constants alone is not supported; fold constants on export";

fn common_shape(a: &[usize], b: &[usize]) -> Result<Vec<usize>> {
    fit(shape::broadcast(a, b)).and_then(shape::within_limit)
}

fn weights(values: Values) -> Result<Weights> {
    Weights::new(values).ok_or_else(|| error(Code::LimitSize, "a constant is out of range"))
}

/// The term `y[i] = w[i] · x[index[i]]`, x of this shape; a single `w` is for all i.
fn gather(node: usize, x: &[usize], index: &[usize], w: Values) -> Result<(usize, Arc<Linear>)> {
    let index = index.iter().map(|&i| i as u32).collect();
    Ok((node, Arc::new(fit(Linear::gather(x.iter().product(), index, weights(w)?))?)))
}
