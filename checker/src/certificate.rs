//! The certificate file: JSON, optionally gzipped, integers and strings only (`specs/certificate-format.md`).
//!
//! Everything here is untrusted. The `…Text` types say what a certificate may contain; [`Proof`] is one resolved
//! against the problem that the checker derived, with every reference known to exist.

use crate::error::{Code, Error, Result, ensure, error};
use crate::number::{Rational, parse_rational};
use crate::problem::{Halfspace, Problem};
use crate::rules::relu::SLOPE_BITS;
use flate2::read::MultiGzDecoder;
use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::{HashMap, HashSet};
use std::io::Read;

/// The value of `format` that this checker reads.
pub const FORMAT: &str = "scale-certificate/1";

/// Most bits of the numerator and of the denominator of a threshold. Every case below a split computes with it.
const MAX_THRESHOLD: u64 = 1024;

/// Declares types of the certificate's text: JSON objects with these fields and no others. One marked `= default` may
/// be absent, but not `null`. serde by itself would also read an array, by the order of the fields.
macro_rules! text_types {
    ($($(#[$doc:meta])* $name:ident {$($(#[$field_doc:meta])* $field:ident: $type:ty $(= $default:ident)?),* $(,)?})*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
        #[serde(deny_unknown_fields, remote = "Self")]
        pub struct $name {$(
            $(#[$field_doc])*
            $(#[serde($default, skip_serializing_if = "is_default", deserialize_with = "Given::given")])?
            pub $field: $type,
        )*}

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
                $name::serialize(self, serializer)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
                struct Object;
                impl<'de> Visitor<'de> for Object {
                    type Value = $name;
                    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        f.write_str(concat!("an object, ", stringify!($name)))
                    }
                    fn visit_map<A: MapAccess<'de>>(self, map: A) -> std::result::Result<$name, A::Error> {
                        $name::deserialize(MapAccessDeserializer::new(map))
                    }
                }
                deserializer.deserialize_map(Object)
            }
        }
    )*};
}

/// Reads a value whose key is there. Of an `Option` serde would take `null` for a missing key.
trait Given<'de>: Sized {
    fn given<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error>;
}

impl<'de, T: Deserialize<'de>> Given<'de> for Option<T> {
    fn given<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        T::deserialize(deserializer).map(Some)
    }
}

impl<'de, T: Deserialize<'de>> Given<'de> for Vec<T> {
    fn given<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        Self::deserialize(deserializer)
    }
}

impl<'de> Given<'de> for usize {
    fn given<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        Self::deserialize(deserializer)
    }
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

text_types! {
    /// A bundle: one answer for each clean input that it speaks about.
    Certificate {
        format: String,
        /// Free text.
        generator: String,
        /// SHA-256 of the claim file, in hexadecimal.
        claim: String,
        /// SHA-256 of the model file.
        model: String,
        /// SHA-256 of every data file, in the order in which the claim names them.
        data: Vec<String>,
        /// Other claims with their certificates, which answers refer to by position in this list.
        links: Vec<LinkText> = default,
        answers: Vec<Answer>,
    }

    /// A claim and its certificate.
    LinkText { claim: LinkedFileText, certificate: LinkedFileText }

    /// A file, relative to the certificate's folder, and its SHA-256.
    LinkedFileText { file: String, sha256: String }

    /// The answer to one row of one setting: a proof, a witness, the setting whose proof for this row serves here too, or
    /// links from the claim's model to the one in its place.
    Answer {
        setting: usize = default,
        row: usize,
        proof: Option<ProofText> = default,
        witness: Option<WitnessText> = default,
        served_by: Option<usize> = default,
        chain: Option<Vec<StepText>> = default,
    }

    /// What a link establishes for one of its settings, the first if absent, and one of its rows, by default the answer's.
    StepText { link: usize, setting: Option<usize> = default, row: Option<usize> = default }

    /// What breaks or reaches the claim: a perturbation, or for a claim with a VNN-LIB file the input itself.
    WitnessText {
        /// For each block of variables, the value of each.
        perturbation: Option<Vec<Vec<String>>> = default,
        /// The value of each element of the model's input.
        input: Option<Vec<String>> = default,
    }

    /// Proof trees in preorder, one after another, with tables that their nodes refer to.
    ProofText {
        /// Slopes are integers over 2^slope_bits.
        slope_bits: u32,
        /// Names of the tensors that the proof refers to, by position in this list.
        tensors: Vec<String>,
        /// Slope sets that nodes refer to, by position in this list.
        slopes: Vec<Vec<SlopesText>> = default,
        /// What every tree starts with.
        refine: Vec<RefineText> = default,
        /// The trees: a split is followed by its low child and then by its high child.
        nodes: Vec<NodeText>,
    }

    /// Slopes for the ReLU that follows a pre-activation tensor: one integer a neuron, −1 for the default.
    SlopesText { tensor: usize, lower: Option<Vec<i64>> = default, upper: Option<Vec<i64>> = default }

    /// One node: refinements, then cells that are closed in the whole case, then a split if it goes on. A void case needs
    /// nothing else.
    NodeText {
        refine: Vec<RefineText> = default,
        split: Option<SplitText> = default,
        /// One entry a cell, in the problem's order, or entries that name their cells.
        close: Option<Vec<CloseText>> = default,
        void: Option<ElementText> = default,
    }

    /// Re-derive bounds of a tensor by back-substitution.
    RefineText {
        tensor: usize,
        /// Which elements; all of them if absent.
        rows: Option<Vec<usize>> = default,
        /// Which side; both if absent.
        side: Option<Side> = default,
        slopes: Option<usize> = default,
        multipliers: Vec<MultiplierText> = default,
        duals: Vec<DualText> = default,
    }

    /// Two cases: the element's actual value at most a rational threshold, and at least.
    SplitText { tensor: usize, element: usize, at: String }

    CloseText {
        /// The cell's position in the problem; that of the entry if no entry has it.
        cell: Option<usize> = default,
        /// One non-negative integer a row of the cell; may be absent if the cell has one row.
        weights: Option<Vec<i64>> = default,
        slopes: Option<usize> = default,
        multipliers: Vec<MultiplierText> = default,
        duals: Vec<DualText> = default,
    }

    ElementText { tensor: usize, element: usize }

    /// One multiplier, mantissa / 2^exponent, for every element of a tensor.
    DualText { tensor: usize, exponent: i32, mantissas: Vec<i64> }
}

/// `[tensor, element, mantissa, exponent]`: the multiplier β = mantissa / 2^exponent.
pub type MultiplierText = (usize, usize, i64, i32);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    Lower,
    Upper,
}

/// Longest name of a file that a link may give, in bytes.
const MAX_NAME: usize = 4096;

/// Reads certificate bytes.
pub fn parse(bytes: &[u8], max_memory: u64) -> Result<Certificate> {
    let malformed = |message: String| error(Code::CertificateFormat, message);
    let (packed, mut unpacked) = (bytes.starts_with(&[0x1f, 0x8b]), Vec::new());
    if packed {
        // Any byte counts two: what is longer exceeds the limit.
        let most = (max_memory / 2).saturating_add(1);
        let read = MultiGzDecoder::new(bytes).take(most).read_to_end(&mut unpacked);
        read.map_err(|e| malformed(format!("the gzip data is damaged: {e}")))?;
    }
    let json = if packed { &unpacked } else { bytes };
    let size = format!("a certificate may need at most {max_memory} bytes of memory; raise --max-memory");
    ensure(memory(json) <= max_memory, Code::LimitSize, size)?;
    let certificate: Certificate = serde_json::from_slice(json).map_err(|e| malformed(e.to_string()))?;
    if certificate.format != FORMAT {
        return Err(malformed(format!("format `{}` is not known; this checker reads `{FORMAT}`", certificate.format)));
    }
    let linked = certificate.links.iter().flat_map(|link| [&link.claim.sha256, &link.certificate.sha256]);
    for digest in [&certificate.claim, &certificate.model].into_iter().chain(&certificate.data).chain(linked) {
        let fits = digest.len() == 64 && digest.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        let message = || format!("`{digest}` is no SHA-256: 64 lower-case hexadecimal digits are needed");
        ensure(fits, Code::CertificateFormat, message())?;
    }
    for file in certificate.links.iter().flat_map(|link| [&link.claim.file, &link.certificate.file]) {
        let message = || format!("a link's file name is longer than {MAX_NAME} bytes");
        ensure(file.len() <= MAX_NAME, Code::LimitSize, message())?;
    }
    certificate.answers.iter().try_for_each(Answer::is_one)?;
    Ok(certificate)
}

/// What a certificate's text may need in memory, itself included, in bytes. Objects and lists may take many times the
/// room of their text, such as `{},` in a list of nodes; so what they may take at most is counted before any is read:
/// numbers by the commas between them, strings by their quotation marks, lists and objects by the brackets that open them.
pub fn memory(json: &[u8]) -> u64 {
    let cost = |byte: &u8| match byte {
        b',' => 24,
        b'"' => 40,
        b'[' => 48,
        b'{' => 384,
        _ => 2,
    };
    json.iter().map(cost).sum()
}

impl Answer {
    /// An error unless this is one answer.
    fn is_one(&self) -> Result<()> {
        let given = [self.proof.is_some(), self.witness.is_some(), self.served_by.is_some(), self.chain.is_some()];
        let message = "an answer is exactly one of `proof`, `witness`, `served_by` and `chain`";
        let one = given.into_iter().filter(|given| *given).count() == 1;
        ensure(one, Code::CertificateFormat, message).map_err(|e| e.within(&format!("row {}", self.row)))
    }
}

/// Slopes for one ReLU, over 2^[`SLOPE_BITS`]; an inner `None` asks for the default.
pub struct Slopes {
    pub lower: Option<Vec<Option<i64>>>,
    pub upper: Option<Vec<Option<i64>>>,
}

/// Slopes for the ReLUs that follow these tensors of the problem.
pub type SlopeSet = HashMap<usize, Slopes>;

/// β = mantissa / 2^exp at elements of one tensor of the problem.
pub struct Multipliers {
    pub tensor: usize,
    pub exp: i32,
    /// (element, mantissa).
    pub elements: Vec<(usize, i64)>,
}

/// What steers one back-substitution: a slope set, and multipliers.
pub struct Hints {
    pub slopes: Option<usize>,
    pub multipliers: Vec<Multipliers>,
}

pub struct Refine {
    pub tensor: usize,
    /// Which elements; all of them if `None`.
    pub rows: Option<Vec<usize>>,
    pub side: Option<Side>,
    pub hints: Hints,
}

pub struct Close {
    pub cell: usize,
    pub weights: Vec<i64>,
    pub hints: Hints,
}

/// What ends a node.
pub enum End {
    Split { tensor: usize, element: usize, at: Rational },
    Leaf,
    Void { tensor: usize, element: usize },
}

pub struct Node {
    pub refine: Vec<Refine>,
    pub close: Vec<Close>,
    pub end: End,
}

/// A proof whose tensors, elements, slope sets and cells all exist in the problem.
pub struct Proof {
    pub slopes: Vec<SlopeSet>,
    pub refine: Vec<Refine>,
    pub nodes: Vec<Node>,
}

impl Proof {
    /// Resolves the names and positions of a certificate's proof.
    pub fn new(text: &ProofText, problem: &Problem) -> Result<Self> {
        let message = format!("`slope_bits` is {}; at most {SLOPE_BITS} is supported", text.slope_bits);
        ensure(text.slope_bits <= SLOPE_BITS, Code::SlopeRange, message)?;
        let find = |name: &String| known(problem.find(name), || format!("the problem has no tensor `{name}`"));
        let tensors = text.tensors.iter().map(find).collect::<Result<_>>()?;
        let resolver = Resolver { text, problem, tensors };
        let at = |what, i| move |e: Error| e.within(&format!("{what} {i}"));
        let slopes = text.slopes.iter().enumerate().map(|(i, set)| resolver.set(set).map_err(at("slope set", i)));
        let refine = text.refine.iter().map(|refine| resolver.refine(refine));
        let nodes = text.nodes.iter().enumerate().map(|(i, node)| resolver.node(node).map_err(at("node", i)));
        Ok(Proof {
            slopes: slopes.collect::<Result<_>>()?,
            refine: refine.collect::<Result<_>>()?,
            nodes: nodes.collect::<Result<_>>()?,
        })
    }
}

/// What a reference stands for, if it exists.
fn known<T>(value: Option<T>, otherwise: impl FnOnce() -> String) -> Result<T> {
    value.ok_or_else(|| error(Code::ProofReference, otherwise()))
}

struct Resolver<'a> {
    text: &'a ProofText,
    problem: &'a Problem,
    tensors: Vec<usize>,
}

impl Resolver<'_> {
    /// A tensor's position in the problem, and its number of elements.
    fn tensor(&self, position: usize) -> Result<(usize, usize)> {
        let t = known(self.tensors.get(position), || format!("tensor {position} is not in the list `tensors`"))?;
        Ok((*t, self.problem.tensors[*t].centre.len()))
    }

    fn element(&self, position: usize, element: usize) -> Result<(usize, usize)> {
        let (t, len) = self.tensor(position)?;
        let name = &self.problem.tensors[t].name;
        known((element < len).then_some((t, element)), || format!("`{name}` has {len} elements, not element {element}"))
    }

    fn set(&self, set: &[SlopesText]) -> Result<SlopeSet> {
        let mut slopes = SlopeSet::new();
        for text in set {
            let (tensor, len) = self.tensor(text.tensor)?;
            let (lower, upper) = (self.slopes(&text.lower, len)?, self.slopes(&text.upper, len)?);
            let earlier = slopes.insert(tensor, Slopes { lower, upper });
            ensure(earlier.is_none(), Code::ProofReference, "a tensor is named twice")?;
        }
        Ok(slopes)
    }

    fn slopes(&self, slopes: &Option<Vec<i64>>, len: usize) -> Result<Option<Vec<Option<i64>>>> {
        let (Some(slopes), bits) = (slopes, self.text.slope_bits) else { return Ok(None) };
        let valid = slopes.len() == len && slopes.iter().all(|s| (-1..=1 << bits).contains(s));
        let message = format!("needs {len} slopes, each from 0 to 2^{bits}, or −1 for the default");
        ensure(valid, Code::SlopeRange, message)?;
        Ok(Some(slopes.iter().map(|&s| (s >= 0).then_some(s << (SLOPE_BITS - bits))).collect()))
    }

    fn hints(&self, slopes: Option<usize>, text: &[MultiplierText], duals: &[DualText]) -> Result<Hints> {
        let exists = slopes.is_none_or(|i| i < self.text.slopes.len());
        known(exists.then_some(()), || format!("there is no slope set {}", slopes.unwrap_or_default()))?;
        let fits = |mantissa: i64, exp: i32| {
            let fits = mantissa.unsigned_abs() < 1 << 48 && (-256..=256).contains(&exp);
            ensure(fits, Code::ProofReference, "a multiplier needs |mantissa| < 2^48 and |exponent| ≤ 256")
        };
        let single = |&(tensor, element, mantissa, exp): &MultiplierText| {
            let (tensor, element) = self.element(tensor, element)?;
            fits(mantissa, exp)?;
            Ok(Multipliers { tensor, exp, elements: vec![(element, mantissa)] })
        };
        let whole = |dual: &DualText| {
            let (tensor, len) = self.tensor(dual.tensor)?;
            let message = || format!("`{}` has {len} elements", self.problem.tensors[tensor].name);
            known((dual.mantissas.len() == len).then_some(()), message)?;
            dual.mantissas.iter().try_for_each(|&m| fits(m, dual.exponent))?;
            let elements = dual.mantissas.iter().copied().enumerate().filter(|(_, m)| *m != 0).collect();
            Ok(Multipliers { tensor, exp: dual.exponent, elements })
        };
        let multipliers = text.iter().map(single).chain(duals.iter().map(whole)).collect::<Result<_>>()?;
        Ok(Hints { slopes, multipliers })
    }

    fn node(&self, text: &NodeText) -> Result<Node> {
        let refine = text.refine.iter().map(|refine| self.refine(refine)).collect::<Result<_>>()?;
        let end = match (&text.split, &text.close, &text.void) {
            (Some(SplitText { tensor, element, at }), _, None) => {
                let (tensor, element) = self.element(*tensor, *element)?;
                let small = |at: &Rational| at.numer().bits().max(at.denom().bits()) <= MAX_THRESHOLD;
                let message = || format!("`{at}` is not a rational of at most {MAX_THRESHOLD} bits above and below");
                let at = known(parse_rational(at).filter(small), message)?;
                End::Split { tensor, element, at }
            }
            (None, Some(_), None) => End::Leaf,
            (None, None, Some(void)) => {
                let (tensor, element) = self.element(void.tensor, void.element)?;
                End::Void { tensor, element }
            }
            _ => return Err(error(Code::TreeNode, "a node has `split`, or `close`, or both, or `void`")),
        };
        let close = text.close.as_ref().map_or(Ok(vec![]), |close| self.close(close))?;
        Ok(Node { refine, close, end })
    }

    fn refine(&self, text: &RefineText) -> Result<Refine> {
        let (tensor, _) = self.tensor(text.tensor)?;
        let row = |&row: &usize| self.element(text.tensor, row).map(|_| row);
        let rows = text.rows.as_ref().map(|rows| rows.iter().map(row).collect()).transpose()?;
        let hints = self.hints(text.slopes, &text.multipliers, &text.duals)?;
        Ok(Refine { tensor, rows, side: text.side, hints })
    }

    fn close(&self, text: &[CloseText]) -> Result<Vec<Close>> {
        let (cells, entries) = (&self.problem.cells, text.len());
        let named = text.iter().any(|entry| entry.cell.is_some());
        let message = format!("`close` has {entries} entries without `cell`; the problem has {} cells", cells.len());
        ensure(named || entries == cells.len(), Code::ProofReference, message)?;
        let mut closed = HashSet::new();
        let resolve = |(position, entry): (usize, &CloseText)| {
            let cell = known(if named { entry.cell } else { Some(position) }, || "an entry names no cell".into())?;
            let message = || format!("there is no cell {cell}, or it is closed twice");
            known((cell < cells.len() && closed.insert(cell)).then_some(()), message)?;
            let rows = cells[cell].rows.len();
            let weights = entry.weights.clone().unwrap_or_else(|| vec![1]);
            let fits = |(&w, row): (&i64, &Halfspace)| {
                (0..1 << 16).contains(&w) && row.terms.iter().all(|(_, a)| a.checked_mul(w).is_some())
            };
            let valid = weights.len() == rows && weights.iter().zip(&cells[cell].rows).all(fits);
            let message = format!("cell {cell} needs {rows} weights, each from 0 to 65535, of products below 2^63");
            ensure(valid, Code::CellWeights, message)?;
            let hints = self.hints(entry.slopes, &entry.multipliers, &entry.duals)?;
            Ok(Close { cell, weights, hints })
        };
        text.iter().enumerate().map(resolve).collect()
    }
}
