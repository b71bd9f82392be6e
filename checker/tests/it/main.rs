//! All tests of the checker, in one program: it compiles several times faster than one for every file.

mod arrays;
mod chains;
mod claims;
mod counterexamples;
mod exactness;
mod fusing;
mod ladders;
mod onnx_reading;
mod operators;
mod regions;
mod rejections;
mod rules;
mod show;
mod soundness;
mod support;
mod vnnlib;
mod worked_example;
