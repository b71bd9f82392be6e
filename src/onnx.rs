//! Networks → ONNX bytes: what `scalecheck` reads as the same tensors under the same names, and other programs run.

mod message;
mod single;

use anyhow::{Context, Result, ensure};
use message::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, ValueInfoProto, sizes,
};
use num::One;
use prost::Message;
use scalecheck::conv::{Axis, Conv};
use scalecheck::exact::Exact;
use scalecheck::linear::{Linear, Pattern};
use scalecheck::network::{Network, Node, Op};
use scalecheck::weights::Weights;
use std::collections::HashSet;
use std::sync::Arc;

const IR_VERSION: i64 = 8;
const OPSET: i64 = 13;

/// Largest dilation that is looked for where a convolution does not show it.
const MAX_DILATION: usize = 1 << 16;

/// The network as an ONNX model with float32 weights, each the nearest to the exact one.
///
/// Every tensor keeps its name and shape. If all are rows `[1, n]` and what is written does the same to every row, the batch
/// is left open; else it is what the network has.
pub fn write(network: &Network, name: &str) -> Result<Vec<u8>> {
    let mut writer = Writer::new(network);
    for (position, node) in network.nodes().iter().enumerate() {
        writer.node(position).with_context(|| format!("tensor `{}`", node.name))?;
    }
    Ok(writer.finish(name).encode_to_vec())
}

/// Operators that do the same to every row of a batch, as they are written for rows.
const BY_ROW: [&str; 9] = ["Add", "Gather", "Gemm", "Identity", "MatMul", "Mul", "Relu", "Sub", "Sum"];

fn is_row(node: &Node) -> bool {
    matches!(node.shape[..], [1, _])
}

/// One ONNX node of a chain: it takes the tensor that the chain has come to, and constants.
struct Step {
    operator: &'static str,
    constant: Option<String>,
    /// Whether the constant comes first.
    left: bool,
    bias: Option<String>,
    attributes: Vec<AttributeProto>,
}

impl Step {
    fn new(operator: &'static str, constant: Option<String>) -> Self {
        Step { operator, constant, left: false, bias: None, attributes: vec![] }
    }

    fn operands(self, tensor: String) -> Vec<String> {
        let mut operands: Vec<String> = [Some(tensor), self.constant].into_iter().flatten().collect();
        if self.left {
            operands.reverse();
        }
        operands.extend(self.bias);
        operands
    }
}

struct Writer<'n> {
    network: &'n Network,
    /// How often a tensor is used, as an operand or as an output of the network.
    uses: Vec<usize>,
    /// All names that are taken.
    names: HashSet<String>,
    nodes: Vec<NodeProto>,
    constants: Vec<TensorProto>,
}

impl<'n> Writer<'n> {
    fn new(network: &'n Network) -> Self {
        let mut uses = vec![0; network.nodes().len()];
        network.outputs().iter().for_each(|&output| uses[output] += 1);
        let mut names = HashSet::new();
        for node in network.nodes() {
            names.insert(node.name.clone());
            names.extend(node.parameters.iter().map(|parameter| parameter.name.clone()));
            match &node.op {
                Op::Input => {}
                Op::Affine { terms, .. } => terms.iter().for_each(|(from, _)| uses[*from] += 1),
                Op::Relu(from) => uses[*from] += 1,
            }
        }
        Writer { network, uses, names, nodes: vec![], constants: vec![] }
    }

    fn finish(self, name: &str) -> ModelProto {
        let by_row = |node: &NodeProto| node.op_type.as_ref().is_some_and(|operator| BY_ROW.contains(&&operator[..]));
        let open = self.network.nodes().iter().all(is_row) && self.nodes.iter().all(by_row);
        let info = |node: &Node| ValueInfoProto::new(&node.name, &node.shape, open.then_some("batch"));
        let graph = GraphProto {
            node: self.nodes,
            name: Some(name.into()),
            initializer: self.constants,
            input: vec![info(self.network.input())],
            output: self.network.outputs().iter().map(|&output| info(&self.network.nodes()[output])).collect(),
        };
        ModelProto {
            ir_version: Some(IR_VERSION),
            producer_name: Some("scalecert".into()),
            graph: Some(graph),
            opset_import: vec![OperatorSetIdProto { domain: Some(String::new()), version: Some(OPSET) }],
        }
    }

    fn node(&mut self, position: usize) -> Result<()> {
        let network = self.network;
        let node = &network.nodes()[position];
        ensure!(!node.name.is_empty(), "in ONNX a tensor needs a name");
        match &node.op {
            Op::Input => Ok(()),
            Op::Relu(from) => {
                self.emit("Relu", vec![network.nodes()[*from].name.clone()], &node.name, vec![]);
                Ok(())
            }
            // The next node's Gemm computes it.
            Op::Affine { .. } if self.product_of(position + 1) == Some(position) => Ok(()),
            Op::Affine { terms, bias } => self.affine(position, terms, bias.as_ref()),
        }
    }

    fn affine(&mut self, position: usize, terms: &[(usize, Arc<Linear>)], bias: Option<&Exact>) -> Result<()> {
        let network = self.network;
        let node = &network.nodes()[position];
        if let Some(product) = self.product_of(position) {
            return self.gemm(node, &network.nodes()[product], bias);
        }
        // A reader gives the product in a Gemm a name of its own.
        let gemm = bias.is_some() && matrix_product(network, node).is_some();
        if gemm && self.names.insert(product_name(node)) {
            return self.gemm(node, node, bias);
        }
        if terms.is_empty() {
            // Readers want a computed tensor in every sum.
            let nothing = nothing(network.input(), node).context("does not fit its shape")?;
            return self.sum(node, &[(0, Arc::new(nothing))], bias);
        }
        self.sum(node, terms, bias)
    }

    /// Position of the matrix product to which the node adds no more than a bias, as a reader splits a Gemm.
    fn product_of(&self, position: usize) -> Option<usize> {
        let node = self.network.nodes().get(position)?;
        let Op::Affine { terms, .. } = &node.op else { return None };
        let [(from, linear)] = &terms[..] else { return None };
        let product = &self.network.nodes()[*from];
        let split = product.name == product_name(node) && product.shape == node.shape && linear.is_identity();
        let alone = self.uses[*from] == 1 && from + 1 == position;
        let biased = matches!(product.op, Op::Affine { bias: Some(_), .. });
        (split && alone && !biased && matrix_product(self.network, product).is_some()).then_some(*from)
    }

    fn gemm(&mut self, node: &Node, product: &Node, bias: Option<&Exact>) -> Result<()> {
        let (from, linear, [rows, cols]) = matrix_product(self.network, product).context("not a matrix product")?;
        let matrix = self.parameter(product, Some(0), &[rows, cols], &weights(linear)?);
        let mut operands = vec![self.network.nodes()[from].name.clone(), matrix];
        if let Some(bias) = bias {
            let bias = biases(bias)?;
            let shape = if bias.len() == rows { &[rows] } else { &node.shape[..] };
            operands.push(self.parameter(node, None, shape, &bias));
        }
        self.emit("Gemm", operands, &node.name, vec![AttributeProto::int("transB", 1)]);
        Ok(())
    }

    /// `Σ W_p y_p + b`.
    fn sum(&mut self, node: &Node, terms: &[(usize, Arc<Linear>)], bias: Option<&Exact>) -> Result<()> {
        let bias = bias.map(biases).transpose()?;
        if let [(from, linear)] = terms {
            let channels = bias.as_ref().and_then(|bias| channel_bias(linear, bias));
            if bias.is_none() || channels.is_some() {
                let steps = self.steps(node, 0, *from, linear, channels.as_deref())?;
                self.chain(node, *from, steps, node.name.clone());
                return Ok(());
            }
        }
        let subtracts = matches!(terms, [_, (from, linear)] if bias.is_none() && self.is_negated(node, *from, linear));
        let mut operands = Vec::new();
        for (term, (from, linear)) in terms.iter().enumerate() {
            let plain = subtracts && term == 1;
            let steps = if plain { vec![] } else { self.steps(node, term, *from, linear, None)? };
            operands.push(self.part(node, *from, steps));
        }
        if let Some(bias) = bias {
            operands.push(self.parameter(node, None, &node.shape, &bias));
        }
        let operator = match operands.len() {
            _ if subtracts => "Sub",
            2 => "Add",
            _ => "Sum",
        };
        self.emit(operator, operands, &node.name, vec![]);
        Ok(())
    }

    /// True for `−y`, of the node's own shape.
    fn is_negated(&self, node: &Node, from: usize, linear: &Linear) -> bool {
        let weights = linear.weights();
        let minus_one = weights.exact().is_none() && weights.exp() == 0 && weights.mantissas().iter().all(|&m| m == -1);
        minus_one && keeps_order(linear) && self.network.nodes()[from].shape == node.shape
    }

    /// The name of what the steps make of a tensor: its own if there are none.
    fn part(&mut self, node: &Node, from: usize, steps: Vec<Step>) -> String {
        if steps.is_empty() {
            return self.network.nodes()[from].name.clone();
        }
        let name = self.fresh(node, "term");
        self.chain(node, from, steps, name.clone());
        name
    }

    /// Writes the steps one after the other, from a tensor of the network to the name `out`.
    fn chain(&mut self, node: &Node, from: usize, steps: Vec<Step>, out: String) {
        let mut tensor = self.network.nodes()[from].name.clone();
        let steps = if steps.is_empty() { vec![Step::new("Identity", None)] } else { steps };
        let last = steps.len() - 1;
        for (i, mut step) in steps.into_iter().enumerate() {
            let next = if i == last { out.clone() } else { self.fresh(node, "step") };
            let attributes = std::mem::take(&mut step.attributes);
            self.emit(step.operator, step.operands(tensor), &next, attributes);
            tensor = next;
        }
    }

    fn emit(&mut self, operator: &str, input: Vec<String>, output: &str, attribute: Vec<AttributeProto>) {
        self.nodes.push(NodeProto {
            input,
            output: vec![output.into()],
            name: Some(output.into()),
            op_type: Some(operator.into()),
            attribute,
        });
    }

    /// The steps of a linear map from a tensor of the network to one of the node's shape; a bias is one for each channel
    /// of a convolution.
    fn steps(
        &mut self,
        node: &Node,
        term: usize,
        from: usize,
        linear: &Linear,
        bias: Option<&[f32]>,
    ) -> Result<Vec<Step>> {
        let from = &self.network.nodes()[from].shape;
        match linear.pattern() {
            Pattern::Gather(index) => self.gather(node, term, from, linear, index),
            &Pattern::Dense { outer, rows, cols, inner } => {
                Ok(self.product(node, term, from, [outer, rows, cols, inner], &weights(linear)?))
            }
            Pattern::Conv(conv) => self.conv(node, term, from, conv, &weights(linear)?, bias),
        }
    }

    /// Elements are moved first, then scaled.
    fn gather(
        &mut self,
        node: &Node,
        term: usize,
        from: &[usize],
        linear: &Linear,
        index: &[u32],
    ) -> Result<Vec<Step>> {
        let mut steps = if keeps_order(linear) {
            self.reshape(node, from, &node.shape)
        } else if let ([1, _], true) = (from, is_row(node)) {
            let places: Vec<i64> = index.iter().map(|&place| place.into()).collect();
            let places = self.constant(node, "places", TensorProto::ints(&[places.len()], &places));
            vec![Step { attributes: vec![AttributeProto::int("axis", 1)], ..Step::new("Gather", Some(places)) }]
        } else {
            let mut steps = self.reshape(node, from, &[linear.inputs()]);
            let places: Vec<i64> = index.iter().map(|&place| place.into()).collect();
            let places = self.constant(node, "places", TensorProto::ints(&node.shape, &places));
            steps.push(Step::new("Gather", Some(places)));
            steps
        };
        if !(0..linear.weights().mantissas().len()).all(|k| linear.weights().is_one(k)) {
            let factors = weights(linear)?;
            let shape = if factors.len() == 1 { &[] } else { &node.shape[..] };
            let factors = self.parameter(node, Some(term), shape, &factors);
            steps.push(Step::new("Mul", Some(factors)));
        }
        Ok(steps)
    }

    /// A matrix along one axis: the last one, where it stands on the right, or the last but one.
    fn product(
        &mut self,
        node: &Node,
        term: usize,
        from: &[usize],
        [outer, rows, cols, inner]: [usize; 4],
        matrix: &[f32],
    ) -> Vec<Step> {
        let direct = |behind: &[usize]| {
            let lead = from.strip_suffix(&[&[cols], behind].concat()[..]);
            lead.is_some() && lead == node.shape.strip_suffix(&[&[rows], behind].concat()[..])
        };
        let right = inner == 1 && (direct(&[]) || !direct(&[1]));
        let behind = if right { &[][..] } else { &[inner] };
        let matrix = if right {
            let transposed: Vec<f32> = (0..rows * cols).map(|i| matrix[i % rows * cols + i / rows]).collect();
            self.parameter(node, Some(term), &[cols, rows], &transposed)
        } else {
            self.parameter(node, Some(term), &[rows, cols], matrix)
        };
        let product = Step { left: !right, ..Step::new("MatMul", Some(matrix)) };
        if direct(behind) {
            return vec![product];
        }
        let shape = |size: usize| [&[outer, size], behind].concat();
        self.amid_reshapes(node, from, &shape(cols), product, &shape(rows))
    }

    fn conv(
        &mut self,
        node: &Node,
        term: usize,
        from: &[usize],
        conv: &Conv,
        kernel: &[f32],
        bias: Option<&[f32]>,
    ) -> Result<Vec<Step>> {
        let flat = conv.y == Axis::POINT && from.len() == 3;
        let axes = if flat { vec![&conv.x] } else { vec![&conv.y, &conv.x] };
        let list = |f: fn(&Axis) -> usize| -> Vec<usize> { axes.iter().map(|axis| f(axis)).collect() };
        let slides = axes.iter().map(|axis| slide(axis)).collect::<Option<Vec<_>>>();
        let slides = slides.context("its convolution is one that ONNX cannot state")?;
        let [dilations, before, after] = [0, 1, 2].map(|k| slides.iter().map(|slide| slide[k]).collect::<Vec<_>>());
        let (inputs, outputs) = (conv.groups * conv.inner, conv.groups * conv.outer);
        let kernel = TensorProto::floats(&[&[outputs, conv.inner], &list(Axis::taps)[..]].concat(), kernel);
        let kernel = self.stored(node, Some(term), kernel);
        let step = Step {
            bias: bias.map(|bias| self.parameter(node, None, &[outputs], bias)),
            attributes: vec![
                AttributeProto::int("group", conv.groups),
                AttributeProto::ints("kernel_shape", &list(Axis::taps)),
                AttributeProto::ints("strides", &list(Axis::stride)),
                AttributeProto::ints("pads", &[before, after].concat()),
                AttributeProto::ints("dilations", &dilations),
            ],
            ..Step::new("Conv", Some(kernel))
        };
        let image = |channels: usize, sizes: Vec<usize>| [&[conv.batch, channels], &sizes[..]].concat();
        let (to, back) = (image(inputs, list(Axis::input)), image(outputs, list(Axis::output)));
        Ok(self.amid_reshapes(node, from, &to, step, &back))
    }

    /// A step from a tensor of shape `before` to one of shape `after`, in a chain from `from` to the node's shape.
    fn amid_reshapes(
        &mut self,
        node: &Node,
        from: &[usize],
        before: &[usize],
        step: Step,
        after: &[usize],
    ) -> Vec<Step> {
        let mut steps = self.reshape(node, from, before);
        steps.push(step);
        steps.extend(self.reshape(node, after, &node.shape));
        steps
    }

    /// No step if the shape stays the same.
    fn reshape(&mut self, node: &Node, from: &[usize], to: &[usize]) -> Vec<Step> {
        if from == to {
            return vec![];
        }
        if to.is_empty() {
            // The shape of a number is an empty constant, which not all readers take.
            return vec![Step::new("Squeeze", None)];
        }
        let shape = self.constant(node, "shape", TensorProto::ints(&[to.len()], &sizes(to)));
        vec![Step::new("Reshape", Some(shape))]
    }

    /// The matrix of a term, or the bias, of a node.
    fn parameter(&mut self, node: &Node, term: Option<usize>, shape: &[usize], values: &[f32]) -> String {
        self.stored(node, term, TensorProto::floats(shape, values))
    }

    /// The same under the name that it has in the network, if that stands for these values and no others.
    fn stored(&mut self, node: &Node, term: Option<usize>, tensor: TensorProto) -> String {
        let broadcast = tensor.dims.iter().product::<i64>() < node.elements() as i64;
        let known = node.parameters.iter().find(|p| p.term == term && p.factor.is_one() && (!p.fixed || broadcast));
        let what = if term.is_some() { "weight" } else { "bias" };
        let Some(parameter) = known.filter(|p| !p.name.is_empty() && self.network.find(&p.name).is_none()) else {
            return self.constant(node, what, tensor);
        };
        let named = TensorProto { name: Some(parameter.name.clone()), ..tensor };
        match self.constants.iter().find(|other| other.name == named.name) {
            None => self.constants.push(named),
            Some(same) if *same == named => {}
            Some(_) => return self.constant(node, what, named),
        }
        parameter.name.clone()
    }

    /// Stores a constant under a name of its own.
    fn constant(&mut self, node: &Node, what: &str, tensor: TensorProto) -> String {
        let name = self.fresh(node, what);
        self.constants.push(TensorProto { name: Some(name.clone()), ..tensor });
        name
    }

    /// A name that nothing else has.
    fn fresh(&mut self, node: &Node, what: &str) -> String {
        let mut name = format!("{}/{what}", node.name);
        let mut count = 1;
        while !self.names.insert(name.clone()) {
            count += 1;
            name = format!("{}/{what}{count}", node.name);
        }
        name
    }
}

/// What a reader calls the product in a Gemm.
fn product_name(node: &Node) -> String {
    format!("{}#product", node.name)
}

/// The operand, the map and the size of the matrix of a node that multiplies every row of a matrix by one, as Gemm does.
fn matrix_product<'n>(network: &'n Network, node: &'n Node) -> Option<(usize, &'n Linear, [usize; 2])> {
    let Op::Affine { terms, .. } = &node.op else { return None };
    let [(from, linear)] = &terms[..] else { return None };
    let &Pattern::Dense { outer, rows, cols, inner: 1 } = linear.pattern() else { return None };
    let fits = network.nodes()[*from].shape == [outer, cols] && node.shape == [outer, rows];
    fits.then_some((*from, &**linear, [rows, cols]))
}

/// The map to zeros.
fn nothing(input: &Node, node: &Node) -> Option<Linear> {
    Linear::gather(input.elements(), vec![0; node.elements()], Weights::constant(0))
}

/// True if the outputs are the inputs, in their order, each times a weight.
fn keeps_order(linear: &Linear) -> bool {
    let Pattern::Gather(index) = linear.pattern() else { return false };
    linear.inputs() == linear.outputs() && index.iter().enumerate().all(|(i, &place)| i == place as usize)
}

fn weights(linear: &Linear) -> Result<Vec<f32>> {
    single::of_weights(linear.weights()).context("a weight is too large for float32")
}

fn biases(bias: &Exact) -> Result<Vec<f32>> {
    single::of_exact(bias).context("a bias is too large for float32")
}

/// The bias of each channel of a convolution, if it is the same for all positions.
fn channel_bias(linear: &Linear, bias: &[f32]) -> Option<Vec<f32>> {
    let Pattern::Conv(conv) = linear.pattern() else { return None };
    let (pixels, channels) = (conv.y.output() * conv.x.output(), conv.groups * conv.outer);
    let of: Vec<f32> = bias.iter().step_by(pixels).take(channels).copied().collect();
    bias.iter().enumerate().all(|(i, b)| *b == of[i / pixels % channels]).then_some(of)
}

/// Dilation, and padding before and after, with which ONNX has an axis.
fn slide(axis: &Axis) -> Option<[usize; 3]> {
    let (input, output, taps, stride) = (axis.input(), axis.output(), axis.taps(), axis.stride());
    // The taps that meet an input, where their window starts without padding, and what they meet.
    let meeting = |k: usize| axis.outputs(k).next().map(|o| (k, o * stride, axis.at(o, k)));
    let met: Vec<_> = (0..taps).filter_map(meeting).collect();
    let &(tap, start, at) = met.first()?;
    let dilations = match met[..] {
        [_, .., (other, later, found)] => {
            let dilation = (found + start).checked_sub(at + later)? / (other - tap);
            dilation..=dilation
        }
        _ => 1..=MAX_DILATION,
    };
    let pads = |dilation: usize| {
        let before = (start + tap * dilation).checked_sub(at)?;
        (Axis::new(input, output, taps, stride, dilation, before)? == *axis).then_some((dilation, before))
    };
    let (dilation, before) = dilations.into_iter().find_map(pads)?;
    let reach = (output - 1) * stride + (taps - 1) * dilation + 1;
    let after = reach.saturating_sub(input + before);
    // ONNX has as many outputs as find room.
    let room = input + before + after - reach;
    (room < stride).then_some([dilation, before, after])
}
