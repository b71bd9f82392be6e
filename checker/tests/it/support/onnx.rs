//! A writer of ONNX files, as far as the tests need one. It shares no code with the reader.
//!
//! Source: `onnx.proto` and the Protocol Buffers encoding guide. Field numbers stand at the calls.

/// A protobuf message under construction.
#[derive(Clone, Default)]
pub struct Message(pub Vec<u8>);

impl Message {
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push((value as u8 & 0x7f) | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    fn key(&mut self, field: u64, wire: u64) {
        self.varint(field << 3 | wire);
    }

    pub fn int(mut self, field: u64, value: i64) -> Self {
        self.key(field, 0);
        self.varint(value as u64);
        self
    }

    pub fn bytes(mut self, field: u64, value: &[u8]) -> Self {
        self.key(field, 2);
        self.varint(value.len() as u64);
        self.0.extend(value);
        self
    }

    pub fn text(self, field: u64, value: &str) -> Self {
        self.bytes(field, value.as_bytes())
    }

    pub fn message(self, field: u64, value: &Message) -> Self {
        self.bytes(field, &value.0)
    }

    pub fn float(mut self, field: u64, value: f32) -> Self {
        self.key(field, 5);
        self.0.extend(value.to_le_bytes());
        self
    }

    pub fn packed_ints(self, field: u64, values: &[i64]) -> Self {
        let mut packed = Message::default();
        values.iter().for_each(|&v| packed.varint(v as u64));
        self.bytes(field, &packed.0)
    }
}

/// Values of a constant and how they are stored.
#[derive(Clone)]
pub enum Data {
    RawF32(Vec<f32>),
    RawF64(Vec<f64>),
    /// Bits of binary16.
    RawF16(Vec<u16>),
    RawI64(Vec<i64>),
    RawI32(Vec<i32>),
    RawI8(Vec<u8>),
    TypedF32(Vec<f32>),
    TypedF64(Vec<f64>),
    TypedF16(Vec<u16>),
    TypedI64(Vec<i64>),
}

/// TensorProto.
pub fn tensor(name: &str, shape: &[i64], data: &Data) -> Message {
    let raw = |bytes: Vec<u8>, kind| Message::default().int(2, kind).bytes(9, &bytes);
    let body = match data {
        Data::RawF32(v) => raw(v.iter().flat_map(|x| x.to_le_bytes()).collect(), 1),
        Data::RawF64(v) => raw(v.iter().flat_map(|x| x.to_le_bytes()).collect(), 11),
        Data::RawF16(v) => raw(v.iter().flat_map(|x| x.to_le_bytes()).collect(), 10),
        Data::RawI64(v) => raw(v.iter().flat_map(|x| x.to_le_bytes()).collect(), 7),
        Data::RawI8(v) => raw(v.clone(), 3),
        Data::RawI32(v) => raw(v.iter().flat_map(|x| x.to_le_bytes()).collect(), 6),
        Data::TypedF32(v) => {
            Message::default().int(2, 1).bytes(4, &v.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<_>>())
        }
        Data::TypedF64(v) => {
            Message::default().int(2, 11).bytes(10, &v.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<_>>())
        }
        Data::TypedF16(v) => {
            Message::default().int(2, 10).packed_ints(5, &v.iter().map(|&x| x.into()).collect::<Vec<_>>())
        }
        Data::TypedI64(v) => Message::default().int(2, 7).packed_ints(7, v),
    };
    let mut message = shape.iter().fold(Message::default(), |m, &d| m.int(1, d));
    message.0.extend(body.0);
    message.text(8, name)
}

/// AttributeProto values.
#[derive(Clone)]
pub enum Value {
    Int(i64),
    Ints(Vec<i64>),
    Float(f32),
    Floats(Vec<f32>),
    Text(&'static str),
    Tensor(Vec<i64>, Data),
}

pub type Attribute = (&'static str, Value);

fn attribute((name, value): &Attribute) -> Message {
    let m = Message::default().text(1, name);
    match value {
        Value::Float(f) => m.float(2, *f).int(20, 1),
        Value::Int(i) => m.int(3, *i).int(20, 2),
        Value::Text(s) => m.text(4, s).int(20, 3),
        Value::Tensor(shape, data) => m.message(5, &tensor("", shape, data)).int(20, 4),
        Value::Floats(v) => v.iter().fold(m, |m, &f| m.float(7, f)).int(20, 6),
        Value::Ints(v) => v.iter().fold(m, |m, &i| m.int(8, i)).int(20, 7),
    }
}

/// A dimension of an input.
#[derive(Clone)]
pub enum Dim {
    Fixed(i64),
    Named(&'static str),
}

/// ValueInfoProto of a float tensor.
pub fn value_info(name: &str, dims: &[Dim]) -> Message {
    let shape = dims.iter().fold(Message::default(), |shape, dim| {
        let dim = match dim {
            Dim::Fixed(size) => Message::default().int(1, *size),
            Dim::Named(name) => Message::default().text(2, name),
        };
        shape.message(1, &dim)
    });
    let tensor_type = Message::default().int(1, 1).message(2, &shape);
    Message::default().text(1, name).message(2, &Message::default().message(1, &tensor_type))
}

/// A model under construction.
#[derive(Clone)]
pub struct Model {
    pub opset: i64,
    pub graph: Message,
}

impl Model {
    /// An empty graph of operator set 13, which has the Squeeze and Unsqueeze of today.
    pub fn empty() -> Self {
        Model { opset: 13, graph: Message::default().text(2, "graph") }
    }

    /// A graph with the input `x`.
    pub fn new(input: &[i64]) -> Self {
        let dims: Vec<Dim> = input.iter().map(|&d| Dim::Fixed(d)).collect();
        Self::empty().input("x", &dims)
    }

    pub fn opset(mut self, opset: i64) -> Self {
        self.opset = opset;
        self
    }

    pub fn input(mut self, name: &str, dims: &[Dim]) -> Self {
        self.graph = self.graph.message(11, &value_info(name, dims));
        self
    }

    pub fn output(mut self, name: &str) -> Self {
        self.graph = self.graph.message(12, &value_info(name, &[]));
        self
    }

    pub fn constant(mut self, name: &str, shape: &[i64], data: Data) -> Self {
        self.graph = self.graph.message(5, &tensor(name, shape, &data));
        self
    }

    /// A float32 constant.
    pub fn f32(self, name: &str, shape: &[i64], values: &[f32]) -> Self {
        self.constant(name, shape, Data::RawF32(values.to_vec()))
    }

    /// An int64 constant of rank 1.
    pub fn i64(self, name: &str, values: &[i64]) -> Self {
        self.constant(name, &[values.len() as i64], Data::RawI64(values.to_vec()))
    }

    pub fn node(self, op: &str, inputs: &[&str], output: &str) -> Self {
        self.node_with(op, inputs, output, &[])
    }

    pub fn node_with(mut self, op: &str, inputs: &[&str], output: &str, attributes: &[Attribute]) -> Self {
        let node = inputs.iter().fold(Message::default(), |m, i| m.text(1, i)).text(2, output).text(4, op);
        let node = attributes.iter().fold(node, |m, a| m.message(5, &attribute(a)));
        self.graph = self.graph.message(1, &node);
        self
    }

    /// A `Split`, the one operator with several outputs.
    pub fn split(mut self, inputs: &[&str], outputs: &[&str], attributes: &[Attribute]) -> Self {
        let node = inputs.iter().fold(Message::default(), |m, i| m.text(1, i));
        let node = outputs.iter().fold(node, |m, o| m.text(2, o)).text(4, "Split");
        let node = attributes.iter().fold(node, |m, a| m.message(5, &attribute(a)));
        self.graph = self.graph.message(1, &node);
        self
    }

    /// ModelProto.
    pub fn bytes(&self) -> Vec<u8> {
        let opset = Message::default().text(1, "").int(2, self.opset);
        Message::default().int(1, 8).text(2, "scalecheck tests").message(7, &self.graph).message(8, &opset).0
    }
}

/// A list of integers as the value of an attribute.
pub fn ints(values: &[i64]) -> Value {
    Value::Ints(values.to_vec())
}
