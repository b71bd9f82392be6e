//! `scalecert`: finds worst-case certificates and witnesses for neural networks, in floating point and untrusted.
//! What it writes is only ever as good as what `scalecheck` confirms; it asks `scalecheck` before it writes.

#![forbid(unsafe_code)]

pub mod bundle;
pub mod chain;
pub mod cli;
pub mod coarsen;
pub mod emit;
pub mod graph;
pub mod journal;
pub mod ladder;
pub mod onnx;
pub mod prove;
pub mod relax;
pub mod report;
pub mod search;
pub mod subspace;
pub mod sweep;
