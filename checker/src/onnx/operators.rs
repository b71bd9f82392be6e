//! The ONNX operators that the checker knows, one method each, and how they become nodes of a [`Network`].

use super::message::{Attribute, Constant, NodeProto, float_attribute, float_list, tensor};
use super::{MAX_CONSTANT, MAX_ELEMENTS, shape};
use crate::error::{Code, Error, Result};
use crate::linear::Linear;
use crate::network::{Network, Op, bias};
use crate::number::Rational;
use crate::weights::{Dyadic, Values, Weights};
use num::{One, ToPrimitive, Zero};
use std::collections::HashMap;
use std::sync::Arc;

/// Most bits of a rational that arithmetic on constants may produce.
const MAX_RATIONAL_BITS: u64 = 1 << 14;

const SUPPORTED: &str = "Add, Constant, Div, Dropout, Flatten, Gemm, Identity, MatMul, Mul, Neg, Relu, Reshape, \
                         Squeeze, Sub, Transpose, Unsqueeze";

/// What a name in the graph stands for.
#[derive(Clone)]
pub enum Value {
    Constant(Constant),
    /// A node of the network and the shape it is seen with.
    Tensor {
        node: usize,
        shape: Vec<usize>,
    },
}

impl Value {
    fn shape(&self) -> &[usize] {
        match self {
            Value::Constant(c) => &c.shape,
            Value::Tensor { shape, .. } => shape,
        }
    }
}

/// Builds the network node by node in the order of the file, which ONNX requires to be topological.
pub struct Builder {
    network: Network,
    values: HashMap<String, Value>,
    opset: i64,
    /// Names of the steps inside one ONNX node: `out`, then `out#1`, …
    fresh: usize,
}

/// One ONNX node while it is being read.
struct Reader<'a> {
    node: &'a NodeProto<'a>,
    place: String,
}

impl Reader<'_> {
    fn fail<T>(&self, code: Code, message: impl Into<String>) -> Result<T> {
        Err(Error::new(code, self.place.clone(), message))
    }

    fn attribute(&self, name: &str) -> Option<&Attribute<'_>> {
        self.node.attributes.iter().find(|a| a.name == name)
    }

    /// Every attribute must be one that the operator's method reads, and may occur once.
    fn allow(&self, names: &[&str]) -> Result<()> {
        for (i, a) in self.node.attributes.iter().enumerate() {
            if !names.contains(&a.name.as_str()) {
                let message = format!("attribute `{}` is not supported; {names:?} are", a.name);
                return self.fail(Code::OnnxUnsupported, message);
            }
            if self.node.attributes.iter().take(i).any(|b| b.name == a.name) {
                return self.fail(Code::OnnxFormat, format!("attribute `{}` occurs twice", a.name));
            }
        }
        Ok(())
    }

    fn int(&self, name: &str, default: i64) -> Result<i64> {
        match self.attribute(name) {
            None => Ok(default),
            Some(a) => a.int.map_or_else(|| self.fail(Code::OnnxFormat, format!("`{name}` is not an integer")), Ok),
        }
    }

    fn float(&self, name: &str) -> Result<Rational> {
        match self.attribute(name) {
            None => Ok(Rational::one()),
            Some(a) => match a.float_bits.and_then(float_attribute) {
                Some(value) => Ok(value.to_rational()),
                None => self.fail(Code::OnnxNotFinite, format!("`{name}` is not a finite float")),
            },
        }
    }

    fn ints(&self, name: &str) -> Option<&[i64]> {
        self.attribute(name).map(|a| a.ints.as_slice())
    }
}

impl Builder {
    pub fn new(input: &str, shape: Vec<usize>, opset: i64) -> Result<Self> {
        if shape::elements(&shape, MAX_ELEMENTS).is_none() {
            let message = format!("shape {shape:?} has more than {MAX_ELEMENTS} elements");
            return Err(Error::new(Code::LimitSize, format!("input `{input}`"), message));
        }
        let value = Value::Tensor { node: 0, shape: shape.clone() };
        let values = HashMap::from([(input.to_owned(), value)]);
        Ok(Builder { network: Network::new(input, shape), values, opset, fresh: 0 })
    }

    /// Binds a name, once.
    pub fn define(&mut self, name: &str, value: Value) -> Result<()> {
        if self.values.insert(name.to_owned(), value).is_some() {
            let message = format!("`{name}` is defined twice");
            return Err(Error::new(Code::OnnxFormat, "graph", message));
        }
        Ok(())
    }

    /// The network, with the graph's outputs in order.
    pub fn finish<'a>(mut self, outputs: impl Iterator<Item = &'a str>) -> Result<Network> {
        let mut positions = Vec::new();
        for name in outputs {
            match self.values.get(name) {
                Some(Value::Tensor { node, .. }) => positions.push(*node),
                Some(Value::Constant(_)) => {
                    let message = format!("output `{name}` does not depend on the input");
                    return Err(Error::new(Code::OnnxUnsupported, "graph", message));
                }
                None => {
                    return Err(Error::new(Code::OnnxFormat, "graph", format!("output `{name}` is not computed")));
                }
            }
        }
        self.network.set_outputs(positions);
        Ok(self.network)
    }

    /// Reads one ONNX node.
    pub fn node(&mut self, node: &NodeProto<'_>) -> Result<()> {
        let output = node.outputs.first().cloned().unwrap_or_default();
        let name = if node.name.is_empty() { &output } else { &node.name };
        let r = Reader { node, place: format!("node `{name}` ({})", node.op) };
        if !(node.domain.is_empty() || node.domain == "ai.onnx") {
            return r.fail(Code::OnnxUnsupported, format!("operator domain `{}` is not supported", node.domain));
        }
        if output.is_empty() || (node.outputs.len() > 1 && node.op != "Dropout") {
            return r.fail(Code::OnnxUnsupported, "exactly one output is supported");
        }
        self.fresh = 0;
        let value = self.operator(&r, &output)?;
        self.define(&output, value).map_err(|e| e.within(&r.place))
    }

    fn operator(&mut self, r: &Reader<'_>, out: &str) -> Result<Value> {
        match r.node.op.as_str() {
            "Gemm" => self.gemm(r, out),
            "MatMul" => {
                r.allow(&[])?;
                let [a, b] = self.operands(r)?;
                self.matmul(r, out, a, b)
            }
            "Add" | "Sub" => {
                r.allow(&[])?;
                let [a, b] = self.operands(r)?;
                self.sum(r, out, a, b, r.node.op == "Sub")
            }
            "Mul" | "Div" => {
                r.allow(&[])?;
                let [a, b] = self.operands(r)?;
                self.product(r, out, a, b, r.node.op == "Div")
            }
            "Neg" => {
                r.allow(&[])?;
                let [a] = self.operands(r)?;
                self.negate(r, out, a)
            }
            "Relu" => {
                r.allow(&[])?;
                let [a] = self.operands(r)?;
                match a {
                    Value::Tensor { node, shape } => self.push(r, out, shape, Op::Relu(node)),
                    Value::Constant(_) => r.fail(Code::OnnxUnsupported, "a constant input is not supported"),
                }
            }
            "Identity" => {
                r.allow(&[])?;
                let [a] = self.operands(r)?;
                let shape = a.shape().to_vec();
                self.reshaped(r, out, a, shape)
            }
            "Dropout" => self.dropout(r, out),
            "Constant" => self.constant(r),
            "Flatten" => {
                r.allow(&["axis"])?;
                let [a] = self.operands(r)?;
                let (rank, axis) = (a.shape().len(), r.int("axis", 1)?);
                let axis = match shape::normalise_axis(axis, rank) {
                    Some(axis) => axis,
                    None if usize::try_from(axis) == Ok(rank) => rank,
                    None => {
                        return r.fail(Code::OnnxShape, format!("axis {axis} is outside rank {rank}"));
                    }
                };
                let (head, tail) = a.shape().split_at(axis);
                let shape = vec![head.iter().product(), tail.iter().product()];
                self.reshaped(r, out, a, shape)
            }
            "Reshape" => self.reshape(r, out),
            "Squeeze" => self.squeeze(r, out),
            "Unsqueeze" => self.unsqueeze(r, out),
            "Transpose" => {
                r.allow(&["perm"])?;
                let [a] = self.operands(r)?;
                let rank = a.shape().len();
                let perm: Option<Vec<usize>> = match r.ints("perm") {
                    None => Some((0..rank).rev().collect()),
                    Some(p) => p.iter().map(|&x| usize::try_from(x).ok()).collect(),
                };
                let is_permutation = |p: &Vec<usize>| p.len() == rank && (0..rank).all(|axis| p.contains(&axis));
                match perm.filter(is_permutation) {
                    Some(perm) => self.transpose(r, out, a, &perm),
                    None => r.fail(Code::OnnxShape, format!("`perm` is not a permutation of {rank} axes")),
                }
            }
            other => {
                r.fail(Code::OnnxUnsupported, format!("operator {other} is not supported; supported are {SUPPORTED}"))
            }
        }
    }

    // ---- operands and nodes

    fn operand(&self, r: &Reader<'_>, i: usize) -> Result<Option<Value>> {
        match r.node.inputs.get(i).filter(|name| !name.is_empty()) {
            None => Ok(None),
            Some(name) => match self.values.get(name) {
                Some(value) => Ok(Some(value.clone())),
                None => r.fail(Code::OnnxFormat, format!("input `{name}` is not defined before this node")),
            },
        }
    }

    /// Exactly N operands.
    fn operands<const N: usize>(&self, r: &Reader<'_>) -> Result<[Value; N]> {
        let mut values = Vec::with_capacity(N);
        for i in 0..N.max(r.node.inputs.len()) {
            values.extend(self.operand(r, i)?);
        }
        let count = values.len();
        values.try_into().or_else(|_| r.fail(Code::OnnxFormat, format!("{count} inputs are given, {N} are needed")))
    }

    /// A constant operand read as a list of integers, such as a shape or axes.
    fn int_operand(&self, r: &Reader<'_>, i: usize) -> Result<Option<Vec<i64>>> {
        let Some(value) = self.operand(r, i)? else {
            return Ok(None);
        };
        let Value::Constant(c) = value else {
            return r.fail(Code::OnnxShape, "a shape computed at run time is not supported; export a fixed shape");
        };
        let as_int = |i| Some(c.values.get(i)).filter(Rational::is_integer).and_then(|v| v.to_integer().to_i64());
        match (0..c.values.len()).map(as_int).collect() {
            Some(ints) => Ok(Some(ints)),
            None => r.fail(Code::OnnxShape, "a shape or axis is not an integer"),
        }
    }

    fn push(&mut self, r: &Reader<'_>, out: &str, shape: Vec<usize>, op: Op) -> Result<Value> {
        if shape::elements(&shape, MAX_ELEMENTS).is_none() {
            let message = format!("the result of shape {shape:?} has more than {MAX_ELEMENTS} elements");
            return r.fail(Code::LimitSize, message);
        }
        let node = self.network.push(out, shape.clone(), op).map_err(|e| e.within(&r.place))?;
        Ok(Value::Tensor { node, shape })
    }

    /// The name of an inner step of a node that needs several.
    fn step(&mut self, out: &str) -> String {
        self.fresh += 1;
        format!("{out}#{}", self.fresh)
    }

    fn weights(&self, r: &Reader<'_>, values: Values) -> Result<Weights> {
        Weights::new(values).map_or_else(|| r.fail(Code::LimitSize, "a constant is out of range"), Ok)
    }

    fn linear(&self, r: &Reader<'_>, linear: Option<Linear>) -> Result<Arc<Linear>> {
        linear.map_or_else(|| r.fail(Code::OnnxShape, "the shapes do not fit"), |l| Ok(Arc::new(l)))
    }

    /// `y[i] = w[i] · x[index[i]]` (+ bias) of a tensor of `inputs` elements.
    fn gather(&self, r: &Reader<'_>, inputs: usize, index: &[usize], weights: Weights) -> Result<Arc<Linear>> {
        let index: Option<Vec<u32>> = index.iter().map(|&i| u32::try_from(i).ok()).collect();
        self.linear(r, index.and_then(|index| Linear::gather(inputs, index, weights)))
    }

    // ---- operators

    fn gemm(&mut self, r: &Reader<'_>, out: &str) -> Result<Value> {
        r.allow(&["alpha", "beta", "transA", "transB"])?;
        let (Some(mut a), Some(mut b)) = (self.operand(r, 0)?, self.operand(r, 1)?) else {
            return r.fail(Code::OnnxFormat, "inputs A and B are needed");
        };
        let c = self.operand(r, 2)?;
        for (value, flag) in [(&mut a, "transA"), (&mut b, "transB")] {
            if value.shape().len() != 2 {
                let message = format!("A and B need rank 2, not the shape {:?}", value.shape());
                return r.fail(Code::OnnxShape, message);
            }
            if r.int(flag, 0)? != 0 {
                let step = self.step(out);
                *value = self.transpose(r, &step, value.clone(), &[1, 0])?;
            }
        }
        let (alpha, beta) = (r.float("alpha")?, r.float("beta")?);
        let inner = if alpha.is_one() && c.is_none() { out.to_owned() } else { self.step(out) };
        let product = self.matmul(r, &inner, a, b)?;
        let scaled = if alpha.is_one() {
            product
        } else {
            let name = if c.is_none() { out.to_owned() } else { self.step(out) };
            self.scaled(r, &name, product, alpha)?
        };
        let Some(mut c) = c else { return Ok(scaled) };
        if shape::broadcast_shape(c.shape(), scaled.shape()).as_deref() != Some(scaled.shape()) {
            return r.fail(Code::OnnxShape, format!("C of shape {:?} does not broadcast to the product", c.shape()));
        }
        if !beta.is_one() {
            let name = self.step(out);
            c = self.scaled(r, &name, c, beta)?;
        }
        self.sum(r, out, scaled, c, false)
    }

    /// `factor · value`.
    fn scaled(&mut self, r: &Reader<'_>, out: &str, value: Value, factor: Rational) -> Result<Value> {
        let factor = Value::Constant(Constant { shape: vec![], values: Values::Rational(vec![factor]) });
        self.product(r, out, value, factor, false)
    }

    fn matmul(&mut self, r: &Reader<'_>, out: &str, a: Value, b: Value) -> Result<Value> {
        match (a, b) {
            (Value::Tensor { node, shape: s }, Value::Constant(w)) => {
                let (Some((&k, lead)), Some((&cols, w_lead))) = (s.split_last(), w.shape.split_last()) else {
                    return r.fail(Code::OnnxShape, "a scalar operand");
                };
                if w_lead.last() != Some(&k) || w_lead.iter().rev().skip(1).any(|&d| d != 1) || w_lead.len() > s.len() {
                    return r.fail(Code::OnnxShape, format!("{s:?} times a constant of shape {:?}", w.shape));
                }
                // The map needs one row of weights an output, so the constant is stored transposed.
                let (_, index) = shape::transpose(&[k, cols], &[1, 0]);
                let weights = self.weights(r, w.values.select(&index))?;
                let outer = lead.iter().product();
                let linear = self.linear(r, Linear::dense(outer, cols, k, 1, weights))?;
                let shape = lead.iter().copied().chain([cols]).collect();
                self.push(r, out, shape, Op::Affine { terms: vec![(node, linear)], bias: None })
            }
            (Value::Constant(w), Value::Tensor { node, shape: s }) => {
                let [w_lead @ .., rows, k] = &w.shape[..] else {
                    return r.fail(Code::OnnxShape, format!("a constant left operand of shape {:?}", w.shape));
                };
                let (lead, inner) = match &s[..] {
                    [lead @ .., n, inner] if n == k => (lead, Some(*inner)),
                    [n] if n == k => (&[][..], None),
                    _ => {
                        return r.fail(Code::OnnxShape, format!("a constant of shape {:?} times {s:?}", w.shape));
                    }
                };
                if w_lead.iter().any(|&d| d != 1) || w_lead.len() > lead.len() {
                    return r.fail(Code::OnnxShape, format!("a constant of shape {:?} times {s:?}", w.shape));
                }
                let (rows, k) = (*rows, *k);
                let shape = lead.iter().copied().chain([rows]).chain(inner).collect();
                let weights = self.weights(r, w.values)?;
                let linear = Linear::dense(lead.iter().product(), rows, k, inner.unwrap_or(1), weights);
                let linear = self.linear(r, linear)?;
                self.push(r, out, shape, Op::Affine { terms: vec![(node, linear)], bias: None })
            }
            (Value::Constant(_), Value::Constant(_)) => {
                r.fail(Code::OnnxUnsupported, "a product of two constants is not supported; fold constants on export")
            }
            _ => r.fail(Code::OnnxUnsupported, "a product of two computed tensors is not supported"),
        }
    }

    /// `a + b`, or `a − b` if `minus`.
    fn sum(&mut self, r: &Reader<'_>, out: &str, a: Value, b: Value, minus: bool) -> Result<Value> {
        let shape = self.common_shape(r, &a, &b)?;
        if let (Value::Constant(a), Value::Constant(b)) = (&a, &b) {
            return self.fold(r, a, b, shape, |x, y| Some(if minus { x - y } else { x + y }));
        }
        let (mut terms, mut offset) = (Vec::new(), None);
        for (value, sign) in [(a, 1), (b, if minus { -1 } else { 1 })] {
            let index = shape::broadcast_index(value.shape(), &shape);
            match value {
                Value::Tensor { node, shape: s } => {
                    let inputs = s.iter().product();
                    terms.push((node, self.gather(r, inputs, &index, Weights::constant(sign))?));
                }
                Value::Constant(c) => {
                    let values = c.values.select(&index);
                    offset = Some(bias(&if sign < 0 { values.negated() } else { values }));
                }
            }
        }
        self.push(r, out, shape, Op::Affine { terms, bias: offset })
    }

    /// `a · b`, or `a / b` if `divide`; at most one operand is computed, and a divisor is constant.
    fn product(&mut self, r: &Reader<'_>, out: &str, a: Value, b: Value, divide: bool) -> Result<Value> {
        let shape = self.common_shape(r, &a, &b)?;
        let (node, from, constant) =
            match (a, b) {
                (Value::Tensor { node, shape }, Value::Constant(c)) => (node, shape, c),
                (Value::Constant(c), Value::Tensor { node, shape }) if !divide => (node, shape, c),
                (Value::Constant(a), Value::Constant(b)) => {
                    return self.fold(r, &a, &b, shape, |x, y| {
                        if divide { (!y.is_zero()).then(|| x / y) } else { Some(x * y) }
                    });
                }
                _ if divide => {
                    return r.fail(Code::OnnxUnsupported, "division by a computed tensor is not supported");
                }
                _ => {
                    return r.fail(Code::OnnxUnsupported, "a product of two computed tensors is not supported");
                }
            };
        let mut values = constant.values.select(&shape::broadcast_index(&constant.shape, &shape));
        if divide {
            if (0..values.len()).any(|i| values.get(i).is_zero()) {
                return r.fail(Code::OnnxNotFinite, "division by zero");
            }
            values = values.map(Rational::recip);
        }
        let index = shape::broadcast_index(&from, &shape);
        let weights = self.weights(r, values)?;
        let linear = self.gather(r, from.iter().product(), &index, weights)?;
        self.push(r, out, shape, Op::Affine { terms: vec![(node, linear)], bias: None })
    }

    fn negate(&mut self, r: &Reader<'_>, out: &str, a: Value) -> Result<Value> {
        match a {
            Value::Constant(c) => Ok(Value::Constant(Constant { values: c.values.negated(), ..c })),
            Value::Tensor { node, shape } => {
                let index: Vec<usize> = (0..shape.iter().product()).collect();
                let linear = self.gather(r, index.len(), &index, Weights::constant(-1))?;
                self.push(r, out, shape, Op::Affine { terms: vec![(node, linear)], bias: None })
            }
        }
    }

    fn common_shape(&self, r: &Reader<'_>, a: &Value, b: &Value) -> Result<Vec<usize>> {
        let Some(shape) = shape::broadcast_shape(a.shape(), b.shape()) else {
            let message = format!("shapes {:?} and {:?} do not broadcast", a.shape(), b.shape());
            return r.fail(Code::OnnxShape, message);
        };
        if shape::elements(&shape, MAX_ELEMENTS).is_none() {
            return r.fail(Code::LimitSize, format!("the result of shape {shape:?} is too large"));
        }
        Ok(shape)
    }

    /// Exact arithmetic on two constants.
    fn fold(
        &self,
        r: &Reader<'_>,
        a: &Constant,
        b: &Constant,
        shape: Vec<usize>,
        f: impl Fn(Rational, Rational) -> Option<Rational>,
    ) -> Result<Value> {
        let (i, j) = (shape::broadcast_index(&a.shape, &shape), shape::broadcast_index(&b.shape, &shape));
        let small = |x: &Rational| x.numer().bits().max(x.denom().bits()) <= MAX_RATIONAL_BITS;
        let values = i.iter().zip(&j).map(|(&i, &j)| f(a.values.get(i), b.values.get(j)).filter(small)).collect();
        match values {
            Some(values) => Ok(Value::Constant(Constant { shape, values: Values::Rational(values) })),
            None => r.fail(Code::OnnxNotFinite, "division by zero, or a constant out of range"),
        }
    }

    fn dropout(&mut self, r: &Reader<'_>, out: &str) -> Result<Value> {
        r.allow(&["ratio", "seed"])?;
        let Some(a) = self.operand(r, 0)? else {
            return r.fail(Code::OnnxFormat, "an input is needed");
        };
        if self.operand(r, 2)?.is_some() {
            return r.fail(Code::OnnxUnsupported, "`training_mode` is not supported; export the model for inference");
        }
        let shape = a.shape().to_vec();
        self.reshaped(r, out, a, shape)
    }

    fn constant(&mut self, r: &Reader<'_>) -> Result<Value> {
        let [a] = &r.node.attributes[..] else {
            return r.fail(Code::OnnxFormat, "exactly one attribute holds the value");
        };
        let not_finite = || Error::new(Code::OnnxNotFinite, r.place.clone(), "a value is missing or not finite");
        let constant = |shape: Vec<usize>, v| Constant { shape, values: Values::Dyadic(v) };
        let value = match a.name.as_str() {
            "value" => tensor(a.tensor.ok_or_else(not_finite)?).map_err(|e| e.within(&r.place))?.1,
            "value_float" => constant(vec![], vec![a.float_bits.and_then(float_attribute).ok_or_else(not_finite)?]),
            "value_int" => constant(vec![], vec![Dyadic::new(a.int.ok_or_else(not_finite)?, 0)]),
            "value_ints" => constant(vec![a.ints.len()], a.ints.iter().map(|&i| Dyadic::new(i, 0)).collect()),
            "value_floats" => {
                let v = float_list(&a.float_list).ok_or_else(not_finite)?;
                constant(vec![v.len()], v)
            }
            other => {
                return r.fail(Code::OnnxUnsupported, format!("a constant given as `{other}` is not supported"));
            }
        };
        if shape::elements(&value.shape, MAX_CONSTANT).is_none() {
            return r.fail(Code::LimitSize, "the constant is empty or too large");
        }
        Ok(Value::Constant(value))
    }

    fn reshape(&mut self, r: &Reader<'_>, out: &str) -> Result<Value> {
        r.allow(&["allowzero"])?;
        let (Some(a), Some(target)) = (self.operand(r, 0)?, self.int_operand(r, 1)?) else {
            return r.fail(Code::OnnxFormat, "a tensor and a constant shape are needed");
        };
        let copy_zero = r.int("allowzero", 0)? == 0;
        let total: usize = a.shape().iter().product();
        let mut shape = Vec::with_capacity(target.len());
        let mut inferred = None;
        for (axis, &dim) in target.iter().enumerate() {
            shape.push(match (dim, usize::try_from(dim)) {
                (-1, _) if inferred.replace(axis).is_none() => 1,
                (0, _) if copy_zero => a.shape().get(axis).copied().unwrap_or(0),
                (_, Ok(dim)) => dim,
                _ => return r.fail(Code::OnnxShape, format!("cannot reshape to {target:?}")),
            });
        }
        if let Some(slot) = inferred {
            let known = shape::elements(&shape, MAX_CONSTANT).filter(|&n| n > 0 && total.is_multiple_of(n));
            shape[slot] = known.map_or(0, |n| total / n);
        }
        self.reshaped(r, out, a, shape)
    }

    /// Axes from the attribute (operator sets before 13) or the second input.
    fn axes(&self, r: &Reader<'_>) -> Result<Option<Vec<i64>>> {
        r.allow(if self.opset < 13 { &["axes"] } else { &[] })?;
        Ok(match r.ints("axes") {
            Some(axes) => Some(axes.to_vec()),
            None => self.int_operand(r, 1)?,
        })
    }

    fn squeeze(&mut self, r: &Reader<'_>, out: &str) -> Result<Value> {
        let Some(a) = self.operand(r, 0)? else {
            return r.fail(Code::OnnxFormat, "an input is needed");
        };
        let rank = a.shape().len();
        let drop: Option<Vec<usize>> = match self.axes(r)? {
            None => Some((0..rank).filter(|&axis| a.shape()[axis] == 1).collect()),
            Some(axes) => axes.iter().map(|&axis| shape::normalise_axis(axis, rank)).collect(),
        };
        match drop.filter(|drop| drop.iter().all(|&axis| a.shape()[axis] == 1)) {
            Some(drop) => {
                let shape = (0..rank).filter(|axis| !drop.contains(axis)).map(|axis| a.shape()[axis]).collect();
                self.reshaped(r, out, a, shape)
            }
            None => r.fail(Code::OnnxShape, format!("cannot squeeze the shape {:?}", a.shape())),
        }
    }

    fn unsqueeze(&mut self, r: &Reader<'_>, out: &str) -> Result<Value> {
        let (Some(a), Some(axes)) = (self.operand(r, 0)?, self.axes(r)?) else {
            return r.fail(Code::OnnxFormat, "a tensor and constant axes are needed");
        };
        let rank = a.shape().len() + axes.len();
        let new: Option<Vec<usize>> = axes.iter().map(|&axis| shape::normalise_axis(axis, rank)).collect();
        let distinct = |new: &Vec<usize>| (1..new.len()).all(|i| !new[i..].contains(&new[i - 1]));
        let Some(new) = new.filter(distinct) else {
            return r.fail(Code::OnnxShape, format!("axes {axes:?} do not fit the shape {:?}", a.shape()));
        };
        let mut old = a.shape().iter();
        let shape = (0..rank).map(|axis| if new.contains(&axis) { 1 } else { old.next().copied().unwrap_or(1) });
        let shape = shape.collect();
        self.reshaped(r, out, a, shape)
    }

    /// The same elements in the same order under another shape: an identity node, so that its name can be a site.
    fn reshaped(&mut self, r: &Reader<'_>, out: &str, a: Value, shape: Vec<usize>) -> Result<Value> {
        let total: usize = a.shape().iter().product();
        if shape::elements(&shape, MAX_CONSTANT) != Some(total) {
            return r.fail(Code::OnnxShape, format!("cannot turn the shape {:?} into {shape:?}", a.shape()));
        }
        match a {
            Value::Constant(c) => Ok(Value::Constant(Constant { shape, ..c })),
            Value::Tensor { node, .. } => {
                let linear = self.linear(r, Linear::identity(total))?;
                self.push(r, out, shape, Op::Affine { terms: vec![(node, linear)], bias: None })
            }
        }
    }

    fn transpose(&mut self, r: &Reader<'_>, out: &str, a: Value, perm: &[usize]) -> Result<Value> {
        let (shape, index) = shape::transpose(a.shape(), perm);
        match a {
            Value::Constant(c) => Ok(Value::Constant(Constant { shape, values: c.values.select(&index) })),
            Value::Tensor { node, .. } => {
                let linear = self.gather(r, index.len(), &index, Weights::constant(1))?;
                self.push(r, out, shape, Op::Affine { terms: vec![(node, linear)], bias: None })
            }
        }
    }
}
