//! What can go wrong, each with a stable code, a place and a way out.

use std::fmt;

/// How an [`Error`] is reported to the outside: the exit code of `scalecheck`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// The proof does not establish the claim (exit 1).
    Rejected,
    /// A file or flag cannot be read as what it should be (exit 2).
    Malformed,
    /// A digest differs: the certificate speaks about other files (exit 3).
    Mismatch,
    /// A documented limit would be exceeded (exit 4).
    Limit,
}

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $text:literal : $class:ident,)*) => {
        /// The stable name of an error. Tests and scripts match on it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Code { $($(#[$doc])* $name,)* }
        impl Code {
            /// The code as it is printed, for example `slope-range`.
            pub fn as_str(self) -> &'static str { match self { $(Code::$name => $text,)* } }
            /// The class that decides the exit code.
            pub fn class(self) -> Class { match self { $(Code::$name => Class::$class,)* } }
        }
    };
}

codes! {
    /// A file cannot be read from disk.
    Io = "io": Malformed,
    /// The command line is not understood.
    Usage = "usage": Malformed,
    /// The ONNX bytes are not a readable protobuf message of the expected kind.
    OnnxFormat = "onnx-format": Malformed,
    /// An operator, attribute or data type that the checker does not know.
    OnnxUnsupported = "onnx-unsupported": Malformed,
    /// Shapes that do not fit or are not known.
    OnnxShape = "onnx-shape": Malformed,
    /// A NaN or an infinity among the weights.
    OnnxNotFinite = "onnx-not-finite": Malformed,
    /// The claim is not readable TOML.
    ClaimSyntax = "claim-syntax": Malformed,
    /// A key that the claim format does not know.
    ClaimUnknownKey = "claim-unknown-key": Malformed,
    /// A key that is missing.
    ClaimMissingKey = "claim-missing-key": Malformed,
    /// A value of the wrong kind or outside its range.
    ClaimValue = "claim-value": Malformed,
    /// A shape or block size that does not fit the tensor.
    ClaimShape = "claim-shape": Malformed,
    /// Levels of a ladder that are not nested, or filters that are not biorthogonal.
    LadderNesting = "ladder-nesting": Malformed,
    /// A tensor name that the model does not have.
    ClaimTensor = "claim-tensor": Malformed,
    /// The clean input is not in the domain, or has no winner: a tie, or a single output.
    ClaimClean = "claim-clean": Malformed,
    /// A property file that is not VNN-LIB: a parenthesis, a word or a command that cannot be read.
    PropertySyntax = "property-syntax": Malformed,
    /// VNN-LIB that is not supported.
    PropertyUnsupported = "property-unsupported": Malformed,
    /// Variables or bounds of a property file that do not fit each other or the model.
    PropertyValue = "property-value": Malformed,
    /// A data file that cannot be read as numbers.
    Data = "data": Malformed,
    /// The certificate is not JSON of the documented form.
    CertificateFormat = "certificate-format": Malformed,
    /// An answer to a row that the claim does not ask about, or two answers to one row.
    CertificateRow = "certificate-row": Malformed,
    /// The model's digest differs.
    ModelMismatch = "model-mismatch": Mismatch,
    /// The claim's digest differs.
    ClaimMismatch = "claim-mismatch": Mismatch,
    /// A data file's digest differs.
    DataMismatch = "data-mismatch": Mismatch,
    /// A file that a link means has another digest.
    LinkMismatch = "link-mismatch": Mismatch,
    /// A policy that contradicts itself or names what it does not have.
    Policy = "policy": Malformed,
    /// A policy without a signature by the key that it needs.
    PolicySignature = "policy-signature": Rejected,
    /// A file, tensor or number is larger than the documented limit.
    LimitSize = "limit-size": Limit,
    /// The check would need more multiply–accumulates than allowed.
    LimitWork = "limit-work": Limit,
    /// A tensor, element, cell or slope set that does not exist.
    ProofReference = "proof-reference": Rejected,
    /// A slope below 0 or above 1, or a slope list of the wrong length.
    SlopeRange = "slope-range": Rejected,
    /// A negative cell weight or weights of the wrong number.
    CellWeights = "cell-weights": Rejected,
    /// No tree excludes some cell: a bound is too weak, or a case says nothing of it.
    CellOpen = "cell-open": Rejected,
    /// A case declared void in which no contradiction is known.
    NotVoid = "not-void": Rejected,
    /// The nodes end inside a proof tree, or there are none.
    TreeTruncated = "tree-truncated": Rejected,
    /// A proof tree excludes no cell that earlier ones leave.
    TreeTrailing = "tree-trailing": Rejected,
    /// A node that has none of split, close and void, or void beside another.
    TreeNode = "tree-node": Rejected,
    /// An answer by another setting that does not answer this one.
    ServedBy = "served-by": Rejected,
    /// A step of a chain that does not lead on from the one before it, or has no verified tolerance for the region.
    ChainLink = "chain-link": Rejected,
    /// Links that add up to more than the tolerance.
    ChainSum = "chain-sum": Rejected,
    /// A witness that is not a point of the domain.
    WitnessOutside = "witness-outside": Rejected,
    /// A witness that does not break the claim.
    WitnessHarmless = "witness-harmless": Rejected,
}

/// An error: what, where, and in words what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    pub code: Code,
    /// File and line, ONNX node, case or row.
    pub place: String,
    pub message: String,
}

/// Most characters of a message, and of a place.
const MAX_MESSAGE: usize = 2000;

/// The beginning of a text. Many a message repeats what a file says, which may be the whole of it, and so may a place.
fn cut(mut text: String) -> String {
    if let Some((end, _)) = text.char_indices().nth(MAX_MESSAGE) {
        text.truncate(end);
        text.push('…');
    }
    text
}

impl Error {
    pub fn new(code: Code, place: impl Into<String>, message: impl Into<String>) -> Self {
        Error { code, place: cut(place.into()), message: cut(message.into()) }
    }

    /// The same error with an outer place in front, such as the file it was found in.
    pub fn within(mut self, outer: &str) -> Self {
        self.place = cut(if self.place.is_empty() { outer.into() } else { format!("{outer}: {}", self.place) });
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = if self.place.is_empty() { String::new() } else { format!("{}: ", self.place) };
        // Files may say anything; what they say must not steer the reader's terminal.
        let shown = |c: char| if is_invisible(c) { c.escape_unicode().to_string() } else { c.to_string() };
        let text: String = format!("{place}{}", self.message).chars().map(shown).collect();
        write!(f, "{text} [{}]", self.code.as_str())
    }
}

impl std::error::Error for Error {}

pub type Result<T> = std::result::Result<T, Error>;

/// The result of checked arithmetic on binary exponents.
pub fn exponent(sum: Option<i32>) -> Result<i32> {
    sum.ok_or_else(|| error(Code::LimitSize, "a binary exponent is out of range"))
}

/// True for characters that are not seen, or change how others are seen: controls, line ends, bidirectional marks.
fn is_invisible(c: char) -> bool {
    let formats = [0x61c..=0x61c, 0x200b..=0x200f, 0x2028..=0x202e, 0x2060..=0x206f, 0xfeff..=0xfeff, 0xfff9..=0xfffb];
    c.is_control() || formats.iter().any(|range| range.contains(&u32::from(c))) || u32::from(c) >= 0xe0000
}

/// True for text that can be quoted between backticks in a sentence without changing it.
pub fn is_plain(text: &str) -> bool {
    !text.chars().any(|c| is_invisible(c) || c == '`')
}

/// An error that gets its place from the caller, by [`Error::within`].
pub fn error(code: Code, message: impl Into<String>) -> Error {
    Error::new(code, "", message)
}

/// An error unless `holds`.
pub fn ensure(holds: bool, code: Code, message: impl Into<String>) -> Result<()> {
    if holds { Ok(()) } else { Err(error(code, message)) }
}
