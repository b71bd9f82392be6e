//! The command line: one file a subcommand.

mod chain;
mod coarsen;
mod completions;
mod console;
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
    #[command(flatten)]
    console: console::Console,
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
    let Arguments { command, console } = Arguments::parse();
    let outcome = match command {
        Command::Init(arguments) => init::run(&arguments, &console),
        Command::Prove(arguments) => prove::run(&arguments, &console),
        Command::Dial(arguments) => dial::run(&arguments, &console),
        Command::Flow(arguments) => flow::run(&arguments, &console),
        Command::Chain(arguments) => chain::run(&arguments, &console),
        Command::Coarsen(arguments) => coarsen::run(&arguments, &console),
        Command::Report(arguments) => report::run(&arguments, &console),
        Command::Plot(arguments) => plot::run(&arguments, &console),
        Command::Ladder(arguments) => ladder::run(&arguments, &console),
        Command::Sign(arguments) => sign::run(&arguments, &console),
        Command::Inspect(arguments) => inspect::run(&arguments, &console),
        Command::Explain(arguments) => explain::run(&arguments, &console),
        Command::Instances(arguments) => instances::run(&arguments, &console),
        Command::Completions(arguments) => completions::completions(&arguments, &console),
        Command::Man(arguments) => completions::man(&arguments, &console),
    };
    ExitCode::from(console.answer(outcome))
}
