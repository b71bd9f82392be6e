//! The command line: one file a subcommand.

mod chain;
mod coarsen;
mod completions;
mod dial;
mod explain;
mod flow;
mod init;
mod inspect;
mod instances;
mod ladder;
mod plot;
mod prove;
mod report;
mod sign;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Exit code for input that cannot be read or understood.
const BAD_INPUT: u8 = 2;

/// Worst-case guarantees for neural networks at a scale you choose, as files that anyone can re-check.
#[derive(Parser)]
#[command(name = "scalecert", version, after_help = "Check what it writes with `scalecheck verify CLAIM CERTIFICATE`.")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Init(init::Arguments),
    Prove(prove::Arguments),
    Dial(dial::Arguments),
    Flow(flow::Arguments),
    Chain(chain::Arguments),
    Coarsen(coarsen::Arguments),
    Report(report::Arguments),
    Plot(plot::Arguments),
    Ladder(ladder::Arguments),
    Sign(sign::Arguments),
    Inspect(inspect::Arguments),
    Explain(explain::Arguments),
    Instances(instances::Arguments),
    Completions(completions::Completions),
    Man(completions::Man),
}

/// Runs the program; returns its exit code.
pub fn run() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Init(arguments) => init::run(&arguments),
        Command::Prove(arguments) => prove::run(&arguments),
        Command::Dial(arguments) => dial::run(&arguments),
        Command::Flow(arguments) => flow::run(&arguments),
        Command::Chain(arguments) => chain::run(&arguments),
        Command::Coarsen(arguments) => coarsen::run(&arguments),
        Command::Report(arguments) => report::run(&arguments),
        Command::Plot(arguments) => plot::run(&arguments),
        Command::Ladder(arguments) => ladder::run(&arguments),
        Command::Sign(arguments) => sign::run(&arguments),
        Command::Inspect(arguments) => inspect::run(&arguments),
        Command::Explain(arguments) => explain::run(&arguments),
        Command::Instances(arguments) => instances::run(&arguments),
        Command::Completions(arguments) => completions::completions(&arguments),
        Command::Man(arguments) => completions::man(&arguments),
    };
    match outcome {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(BAD_INPUT)
        }
    }
}
