//! The certificate file: JSON, optionally gzipped, integers and strings only (`specs/certificate-format.md`).
//!
//! Everything here is untrusted. The types say what a certificate may contain; [`Proof`] is one resolved against the
//! problem that the checker derived, with every reference known to exist.

use crate::error::{Code, Error, Result};
use crate::number::{Rational, parse_rational};
use crate::problem::Problem;
use crate::rules::relu::SLOPE_BITS;
use flate2::read::MultiGzDecoder;
use serde::{Deserialize, Serialize};
use std::io::Read;

/// The value of `format` that this checker reads.
pub const FORMAT: &str = "scale-certificate/1";

/// Largest certificate, after decompression.
const MAX_BYTES: u64 = 1 << 30;

/// A bundle: one answer for each clean input that it speaks about.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Certificate {
    pub format: String,
    /// Free text.
    pub generator: String,
    /// SHA-256 of the claim file, in hexadecimal.
    pub claim: String,
    /// SHA-256 of the model file.
    pub model: String,
    /// SHA-256 of every data file, in the order in which the claim names them.
    pub data: Vec<String>,
    pub answers: Vec<Answer>,
}

/// The answer to one row: a proof or a witness.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Answer {
    pub row: usize,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof: Option<ProofText>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub witness: Option<WitnessText>,
}

/// A perturbation that breaks the claim: for each `[[perturb]]`, the value of each of its variables.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WitnessText {
    pub perturbation: Vec<Vec<String>>,
}

/// A proof tree in preorder, with tables that its nodes refer to.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProofText {
    /// Slopes are integers over 2^slope_bits.
    pub slope_bits: u32,
    /// Names of the tensors that the proof refers to, by position in this list.
    pub tensors: Vec<String>,
    /// Slope sets that nodes refer to, by position in this list.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub slopes: Vec<Vec<SlopesText>>,
    /// The tree: a split is followed by its low child and then by its high child.
    pub nodes: Vec<NodeText>,
}

/// Slopes for the ReLU that follows a pre-activation tensor: one integer a neuron, −1 for the default.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SlopesText {
    pub tensor: usize,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lower: Option<Vec<i64>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upper: Option<Vec<i64>>,
}

/// One node: refinements, then exactly one of split, close and void.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeText {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refine: Vec<RefineText>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub split: Option<SplitText>,
    /// One entry a cell, in the problem's order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub close: Option<Vec<CloseText>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub void: Option<ElementText>,
}

/// Re-derive bounds of a tensor by back-substitution.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RefineText {
    pub tensor: usize,
    /// Which elements; all of them if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<Vec<usize>>,
    /// Which side; both if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub side: Option<Side>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slopes: Option<usize>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub multipliers: Vec<MultiplierText>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    Lower,
    Upper,
}

/// `[tensor, element, mantissa, exponent]`: the multiplier β = mantissa / 2^exponent.
pub type MultiplierText = (usize, usize, i64, i32);

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SplitText {
    pub tensor: usize,
    pub element: usize,
    /// Threshold on the element's actual value, a rational.
    pub at: String,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CloseText {
    /// One non-negative integer a row of the cell; may be absent if the cell has one row.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weights: Option<Vec<i64>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slopes: Option<usize>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub multipliers: Vec<MultiplierText>,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ElementText {
    pub tensor: usize,
    pub element: usize,
}

/// Reads certificate bytes.
pub fn parse(bytes: &[u8]) -> Result<Certificate> {
    let malformed = |message: String| Error::new(Code::CertificateFormat, "", message);
    let unpacked;
    let bytes = if bytes.starts_with(&[0x1f, 0x8b]) {
        let mut buffer = Vec::new();
        let read = MultiGzDecoder::new(bytes).take(MAX_BYTES + 1).read_to_end(&mut buffer);
        read.map_err(|e| malformed(format!("the gzip data is damaged: {e}")))?;
        unpacked = buffer;
        &unpacked[..]
    } else {
        bytes
    };
    if bytes.len() as u64 > MAX_BYTES {
        let message = format!("a certificate may have at most {MAX_BYTES} bytes");
        return Err(Error::new(Code::LimitSize, "", message));
    }
    let certificate: Certificate = serde_json::from_slice(bytes).map_err(|e| malformed(e.to_string()))?;
    if certificate.format != FORMAT {
        return Err(malformed(format!("format `{}` is not known; this checker reads `{FORMAT}`", certificate.format)));
    }
    Ok(certificate)
}

/// Slopes for one ReLU: `None` asks for the default.
pub struct Slopes {
    tensor: usize,
    lower: Option<Vec<Option<i64>>>,
    upper: Option<Vec<Option<i64>>>,
}

impl Slopes {
    pub fn lower(&self) -> Option<&[Option<i64>]> {
        self.lower.as_deref()
    }

    pub fn upper(&self) -> Option<&[Option<i64>]> {
        self.upper.as_deref()
    }
}

/// Slopes for several ReLUs, over 2^[`SLOPE_BITS`].
pub struct SlopeSet(Vec<Slopes>);

impl SlopeSet {
    /// The slopes for the ReLU that follows tensor `t` of the problem.
    pub fn of(&self, t: usize) -> Option<&Slopes> {
        self.0.iter().find(|s| s.tensor == t)
    }
}

/// β = mantissa / 2^exp at one element of one tensor of the problem.
pub struct Multiplier {
    pub tensor: usize,
    pub element: usize,
    pub mantissa: i64,
    pub exp: i32,
}

pub struct Refine {
    pub tensor: usize,
    pub rows: Vec<usize>,
    pub side: Option<Side>,
    pub slopes: Option<usize>,
    pub multipliers: Vec<Multiplier>,
}

pub struct Close {
    pub weights: Vec<i64>,
    pub slopes: Option<usize>,
    pub multipliers: Vec<Multiplier>,
}

/// What ends a node.
pub enum End {
    Split { tensor: usize, element: usize, at: Rational },
    Close(Vec<Close>),
    Void { tensor: usize, element: usize },
}

pub struct Node {
    pub refine: Vec<Refine>,
    pub end: End,
}

/// A proof whose tensors, elements, slope sets and cells all exist in the problem.
pub struct Proof {
    pub slopes: Vec<SlopeSet>,
    pub nodes: Vec<Node>,
}

impl Proof {
    /// Resolves the names and positions of a certificate's proof.
    pub fn new(text: &ProofText, problem: &Problem) -> Result<Self> {
        if text.slope_bits > SLOPE_BITS {
            let message = format!("`slope_bits` is {}; at most {SLOPE_BITS} is supported", text.slope_bits);
            return Err(Error::new(Code::SlopeRange, "proof", message));
        }
        let tensors = text.tensors.iter().map(|name| match problem.find(name) {
            Some(t) => Ok(t),
            None => reference("proof", format!("the problem has no tensor `{name}`")),
        });
        let resolver = Resolver { problem, tensors: tensors.collect::<Result<_>>()?, sets: text.slopes.len() };
        let slopes = text.slopes.iter().enumerate().map(|(i, set)| {
            let place = format!("slope set {i}");
            let set = set.iter().map(|s| resolver.slopes(s, text.slope_bits, &place)).collect::<Result<Vec<_>>>()?;
            match (1..set.len()).any(|i| set[..i].iter().any(|s| s.tensor == set[i].tensor)) {
                true => reference(&place, "a tensor is named twice".into()),
                false => Ok(SlopeSet(set)),
            }
        });
        let slopes = slopes.collect::<Result<_>>()?;
        let nodes = text.nodes.iter().enumerate().map(|(i, node)| resolver.node(node, &format!("node {i}")));
        Ok(Proof { slopes, nodes: nodes.collect::<Result<_>>()? })
    }
}

fn reference<T>(place: &str, message: String) -> Result<T> {
    Err(Error::new(Code::ProofReference, place, message))
}

struct Resolver<'p> {
    problem: &'p Problem,
    tensors: Vec<usize>,
    /// Number of slope sets.
    sets: usize,
}

impl Resolver<'_> {
    fn tensor(&self, position: usize, place: &str) -> Result<usize> {
        match self.tensors.get(position) {
            Some(&t) => Ok(t),
            None => reference(place, format!("tensor {position} is not in the list `tensors`")),
        }
    }

    fn element(&self, tensor: usize, element: usize, place: &str) -> Result<(usize, usize)> {
        let t = self.tensor(tensor, place)?;
        let len = self.problem.tensors[t].centre.len();
        if element < len {
            return Ok((t, element));
        }
        reference(
            place,
            format!("`{}` has {len} elements, there is no element {element}", self.problem.tensors[t].name),
        )
    }

    fn set(&self, slopes: Option<usize>, place: &str) -> Result<Option<usize>> {
        match slopes {
            Some(i) if i >= self.sets => reference(place, format!("there is no slope set {i}")),
            valid => Ok(valid),
        }
    }

    fn slopes(&self, text: &SlopesText, bits: u32, place: &str) -> Result<Slopes> {
        let tensor = self.tensor(text.tensor, place)?;
        let len = self.problem.tensors[tensor].centre.len();
        let list = |slopes: &Option<Vec<i64>>| {
            let Some(slopes) = slopes else {
                return Ok(None);
            };
            let valid = slopes.len() == len && slopes.iter().all(|s| (-1..=1 << bits).contains(s));
            if !valid {
                let message = format!("needs {len} slopes, each from 0 to 2^{bits}, or −1 for the default");
                return Err(Error::new(Code::SlopeRange, place, message));
            }
            Ok(Some(slopes.iter().map(|&s| (s >= 0).then_some(s << (SLOPE_BITS - bits))).collect()))
        };
        Ok(Slopes { tensor, lower: list(&text.lower)?, upper: list(&text.upper)? })
    }

    fn multipliers(&self, text: &[MultiplierText], place: &str) -> Result<Vec<Multiplier>> {
        let resolve = |&(tensor, element, mantissa, exp): &MultiplierText| {
            let (tensor, element) = self.element(tensor, element, place)?;
            if mantissa.unsigned_abs() >= 1 << 48 || !(-256..=256).contains(&exp) {
                return reference(place, "a multiplier needs |mantissa| < 2^48 and |exponent| ≤ 256".into());
            }
            Ok(Multiplier { tensor, element, mantissa, exp })
        };
        text.iter().map(resolve).collect()
    }

    fn node(&self, text: &NodeText, place: &str) -> Result<Node> {
        let refine = text.refine.iter().map(|r| self.refine(r, place)).collect::<Result<_>>()?;
        let end = match (&text.split, &text.close, &text.void) {
            (Some(split), None, None) => {
                let (tensor, element) = self.element(split.tensor, split.element, place)?;
                match parse_rational(&split.at) {
                    Some(at) => End::Split { tensor, element, at },
                    None => return reference(place, format!("`{}` is not a rational", split.at)),
                }
            }
            (None, Some(close), None) => End::Close(self.close(close, place)?),
            (None, None, Some(void)) => {
                let (tensor, element) = self.element(void.tensor, void.element, place)?;
                End::Void { tensor, element }
            }
            _ => {
                let message = "exactly one of `split`, `close` and `void` ends a node";
                return Err(Error::new(Code::TreeNode, place, message));
            }
        };
        Ok(Node { refine, end })
    }

    fn refine(&self, text: &RefineText, place: &str) -> Result<Refine> {
        let tensor = self.tensor(text.tensor, place)?;
        let len = self.problem.tensors[tensor].centre.len();
        let rows = match &text.rows {
            None => (0..len).collect(),
            Some(rows) => {
                rows.iter().map(|&row| self.element(text.tensor, row, place).map(|_| row)).collect::<Result<_>>()?
            }
        };
        Ok(Refine {
            tensor,
            rows,
            side: text.side,
            slopes: self.set(text.slopes, place)?,
            multipliers: self.multipliers(&text.multipliers, place)?,
        })
    }

    fn close(&self, text: &[CloseText], place: &str) -> Result<Vec<Close>> {
        let cells = &self.problem.cells;
        if text.len() != cells.len() {
            return reference(
                place,
                format!("`close` has {} entries; the problem has {} cells", text.len(), cells.len()),
            );
        }
        let resolve = |(cell, entry): (usize, &CloseText)| {
            let rows = cells[cell].rows.len();
            let weights = entry.weights.clone().unwrap_or_else(|| vec![1; if rows == 1 { 1 } else { 0 }]);
            let valid = weights.len() == rows && weights.iter().all(|w| (0..1 << 16).contains(w));
            if !valid {
                let message = format!("cell {cell} needs {rows} weights, each from 0 to 65535");
                return Err(Error::new(Code::CellWeights, place, message));
            }
            Ok(Close {
                weights,
                slopes: self.set(entry.slopes, place)?,
                multipliers: self.multipliers(&entry.multipliers, place)?,
            })
        };
        text.iter().enumerate().map(resolve).collect()
    }
}
