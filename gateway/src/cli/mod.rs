//! The command line: one file per subcommand. Data goes to standard output, everything for people to standard error.
//!
//! Exit codes: 0 done, 1 failed, 2 usage or configuration.

mod demo;
mod ingest;
mod kpi;
mod output;
mod process;
mod serve;
mod simulate;
mod source;
mod steps;
mod worker;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use portolan_catalog::embedded;

/// Federated SQL gateway and semantic layer over a port's data.
#[derive(Debug, Parser)]
#[command(name = "portolan", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Simulate the Port of Dakar and serve it, with everything embedded
    Demo(demo::DemoArgs),
    /// Land the feeds of a configured port and keep what is made of them
    Ingest(ingest::IngestArgs),
    /// Write a simulated port into a folder, or into the stores of a configured port
    Simulate(simulate::SimulateArgs),
    /// Answer SQL about a configured port
    Serve(serve::ServeArgs),
    /// Do parts of the statements of a gateway on this machine
    Worker(worker::WorkerArgs),
    /// Contact the sources of a configured port and say how they do
    Source(source::SourceArgs),
    /// Work with KPI definitions
    Kpi(kpi::KpiArgs),
}

/// Parses the command line, runs it, and says how the process ends.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    // The child of an embedded server has a contract of its own with its parent, and no business with clap.
    if arguments.get(1).is_some_and(|first| first == embedded::SUBCOMMAND) {
        let served = embedded::ServeArgs::parse(arguments.into_iter().skip(2))
            .and_then(|arguments| embedded::serve_embedded(&arguments));
        return match served {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => output::failed(&error.into()),
        };
    }
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            let usage = error.use_stderr();
            // A closed pipe while printing help is no failure.
            let _ = error.print();
            return if usage { ExitCode::from(2) } else { ExitCode::SUCCESS };
        }
    };
    output::start_logging();
    let ended = match cli.command {
        Command::Demo(arguments) => demo::run(arguments),
        Command::Ingest(arguments) => ingest::run(&arguments),
        Command::Simulate(arguments) => simulate::run(&arguments),
        Command::Serve(arguments) => serve::run(&arguments),
        Command::Worker(arguments) => worker::run(&arguments),
        Command::Source(arguments) => source::run(&arguments),
        Command::Kpi(arguments) => kpi::run(&arguments),
    };
    ended.unwrap_or_else(|error| output::failed(&error))
}
