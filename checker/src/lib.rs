//! `scalecheck`: an independent, exact checker of worst-case certificates for neural networks.
//!
//! What you trust when you trust a verdict is this crate, in the order data flows: `onnx` (bytes → network), `claim`,
//! `vnnlib` and `array` (text and matrices → claim), `ladder` and `problem` (network + claim → graph, domain, unsafe cells), `certificate` (bytes →
//! proof), `rules` (one file a rule), `chain` and `verify`. `gate` asks for many verdicts at once. There are no floats and no tolerances.

#![forbid(unsafe_code)]
#![deny(clippy::float_arithmetic, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

/// The version of this checker.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

pub mod array;
pub mod bounds;
pub mod certificate;
pub mod chain;
pub mod claim;
pub mod conv;
pub mod data;
pub mod describe;
pub mod error;
pub mod exact;
#[cfg(feature = "gate")]
pub mod gate;
pub mod ladder;
pub mod linear;
pub mod network;
pub mod number;
pub mod onnx;
pub mod problem;
pub mod rules;
pub mod show;
pub mod verify;
pub mod vnnlib;
pub mod weights;
