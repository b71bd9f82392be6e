//! All tests of the prover and of the commands, in one program: it compiles several times faster than one for every file.

mod book;
mod branch_and_bound;
mod certificates;
mod coarsen;
mod command_line;
mod convolution;
#[cfg(unix)]
mod deploy;
mod digits;
mod first_errors;
mod gate;
mod instances;
#[path = "../../checker/tests/it/support/onnx.rs"]
#[allow(dead_code)]
mod onnx;
mod onnx_writing;
mod onnxruntime;
mod regions;
mod report;
mod support;
mod zoom;
