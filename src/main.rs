//! `scalecert`: the command line.

#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    scalecert::cli::run()
}
