//! The command line: runs, replays, shrinks and explores worlds, and shows the coverage.
//!
//! A program with its own applications has the same commands:
//!
//! ```no_run
//! use std::process::ExitCode;
//!
//! use engineio_sim::Simulation;
//!
//! fn main() -> ExitCode {
//!     engineio_sim::cli::main(&Simulation::with_applications(|_| (), |_| ()))
//! }
//! ```

mod many;

use std::fmt::Display;
use std::fs;
use std::io::{self, BufWriter, ErrorKind, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::explore::Scope;
use crate::simulation::{Failure, Simulation, is_caught};
use engineio_proto::app::Application;
use many::Limits;

/// Simulated worlds of Engine.IO: real servers and clients, virtual time, and network faults of every kind, from one
/// seed.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs the worlds of many seeds. The first broken law is shrunk and printed.
    Run {
        #[command(flatten)]
        many: Many,
        #[command(flatten)]
        shape: Shape,
    },
    /// Prints everything that happens in the world of a seed.
    Replay {
        /// The seed.
        seed: u64,
        /// As a sequence diagram.
        #[arg(long)]
        diagram: bool,
        /// Writes the diagram to a file, as SVG.
        #[arg(long, value_name = "FILE")]
        svg: Option<PathBuf>,
        #[command(flatten)]
        shape: Shape,
    },
    /// Prints the shortest world that breaks the same law as a seed, as a timeline and as a test.
    Shrink {
        /// The seed.
        seed: u64,
        #[command(flatten)]
        shape: Shape,
    },
    /// Runs everything that can happen between one client and one server.
    Explore {
        /// The number of operations.
        #[arg(long, default_value_t = 5)]
        depth: usize,
        /// The number of threads. Default: the number of processors.
        #[arg(long)]
        jobs: Option<usize>,
    },
    /// Shows which transitions of the machines, and which pairs of a state and an input, are reached by many seeds.
    Coverage {
        #[command(flatten)]
        many: Many,
        #[command(flatten)]
        shape: Shape,
    },
}

#[derive(Debug, Args)]
struct Many {
    /// The number of seeds. Default: 10,000, or with `--time` as many as there is time for.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    seeds: Option<u64>,
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Stops after this time, such as `30s`, `5m` or `2h`.
    #[arg(long, value_parser = duration)]
    time: Option<Duration>,
    /// The number of threads. Default: the number of processors.
    #[arg(long)]
    jobs: Option<usize>,
    /// No progress bar.
    #[arg(long)]
    quiet: bool,
    /// Prints only the seed and the law of a failure.
    #[arg(long)]
    no_shrink: bool,
}

/// Settings that are the same in all worlds, instead of drawn by the seed.
#[derive(Clone, Debug, Args)]
struct Shape {
    /// Operations in each world.
    #[arg(long)]
    steps: Option<usize>,
    /// Clients in each world.
    #[arg(long)]
    clients: Option<usize>,
    /// Servers in each world.
    #[arg(long)]
    servers: Option<usize>,
}

impl Shape {
    fn apply<S: Application + 'static, C: Application + 'static>(
        &self,
        simulation: &Simulation<S, C>,
    ) -> Simulation<S, C> {
        let Self { steps, clients, servers } = self.clone();
        simulation.clone().settings(move |settings| {
            settings.steps = steps.unwrap_or(settings.steps);
            settings.clients = clients.unwrap_or(settings.clients);
            settings.servers = servers.unwrap_or(settings.servers);
        })
    }
}

impl Display for Shape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let options = [("steps", self.steps), ("clients", self.clients), ("servers", self.servers)];
        options.into_iter().try_for_each(|(name, value)| match value {
            Some(value) => write!(f, " --{name} {value}"),
            None => Ok(()),
        })
    }
}

/// Runs the command in the arguments of the process.
pub fn main<S: Application + 'static, C: Application + 'static>(simulation: &Simulation<S, C>) -> ExitCode {
    // A panic in a world is a broken law, and is reported as one.
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if !is_caught() {
            hook(info);
        }
    }));
    let cli = Cli::parse();
    let mut out = BufWriter::new(io::stdout().lock());
    match perform(simulation, cli.command, &mut out).and_then(|code| out.flush().map(|()| code)) {
        Ok(code) => code,
        // The reader has closed the pipe.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(2)
        }
    }
}

fn perform<S: Application + 'static, C: Application + 'static>(
    simulation: &Simulation<S, C>,
    command: Command,
    out: &mut impl Write,
) -> io::Result<ExitCode> {
    Ok(match command {
        Command::Run { many, shape } => {
            let outcome = many::run(&shape.apply(simulation), &many.limits());
            write!(out, "{outcome}")?;
            match outcome.failure {
                None => ExitCode::SUCCESS,
                Some(failure) => fail(out, &shape.apply(simulation), failure, &shape, many.no_shrink)?,
            }
        }
        Command::Replay { seed, diagram, svg, shape } => {
            let simulation = shape.apply(simulation);
            let run = simulation.run_with_journal(seed);
            let journal = run.as_ref().map_or_else(|failure| &failure.journal, |report| &report.journal);
            if diagram {
                write!(out, "{}", crate::sequence_diagram(journal))?;
            } else {
                journal.iter().try_for_each(|entry| writeln!(out, "{entry}"))?;
            }
            if let Some(file) = svg {
                let written = fs::write(&file, crate::sequence_svg(journal));
                written.map_err(|error| io::Error::other(format!("{}: {error}", file.display())))?;
            }
            match run {
                Ok(report) => {
                    writeln!(out, "seed {seed}{shape}, engineio-sim {}", env!("CARGO_PKG_VERSION"))?;
                    writeln!(out, "journal hash {:016x}", report.hash)?;
                    ExitCode::SUCCESS
                }
                Err(failure) => {
                    writeln!(out, "seed {seed}{shape}, engineio-sim {}", env!("CARGO_PKG_VERSION"))?;
                    writeln!(out, "{}\n{}", failure.settings, failure.violation)?;
                    ExitCode::FAILURE
                }
            }
        }
        Command::Shrink { seed, shape } => {
            let simulation = shape.apply(simulation);
            match simulation.run(seed) {
                Ok(_) => {
                    writeln!(out, "the world of seed {seed} breaks no law")?;
                    ExitCode::SUCCESS
                }
                Err(failure) => fail(out, &simulation, failure, &shape, false)?,
            }
        }
        Command::Explore { depth, jobs } => match many::explore(simulation, Scope::new(depth), jobs) {
            Ok(ways) => {
                writeln!(out, "depth {depth}: {ways} ways, and no law was broken")?;
                ExitCode::SUCCESS
            }
            Err(failure) => {
                writeln!(out, "{}", simulation.shrink(failure))?;
                ExitCode::FAILURE
            }
        },
        Command::Coverage { many, shape } => {
            let outcome = many::run(&shape.apply(simulation), &many.limits());
            write!(out, "{}\n{outcome}", outcome.coverage)?;
            let rows = outcome.coverage.missing_rows();
            list(out, "transitions that were not taken", &rows)?;
            let situations = outcome.coverage.missing_situations();
            list(out, "situations that did not occur", &situations)?;
            let (explained, open): (Vec<_>, Vec<_>) =
                outcome.coverage.missing_pairs().into_iter().partition(|pair| why(pair).is_some());
            list(out, "pairs that did not occur, but could", &open)?;
            let explained: Vec<_> =
                explained.iter().map(|pair| format!("{pair}: {}", why(pair).unwrap_or_default())).collect();
            list(out, "pairs that cannot occur", &explained)?;
            if let Some(failure) = outcome.failure {
                return fail(out, &shape.apply(simulation), failure, &shape, many.no_shrink);
            }
            if rows.is_empty() && situations.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
    })
}

/// Why a pair of a state and an input cannot occur.
fn why(pair: &str) -> Option<&'static str> {
    crate::UNREACHED.iter().find(|(name, _)| *name == pair).map(|(_, why)| *why)
}

fn list(out: &mut impl Write, title: &str, lines: &[String]) -> io::Result<()> {
    writeln!(out, "{title}: {}", lines.len())?;
    lines.iter().try_for_each(|line| writeln!(out, "  {line}"))
}

fn fail<S: Application + 'static, C: Application + 'static>(
    out: &mut impl Write,
    simulation: &Simulation<S, C>,
    failure: Box<Failure>,
    shape: &Shape,
    as_it_is: bool,
) -> io::Result<ExitCode> {
    let (all, seed) = (failure.ops.len(), failure.seed.unwrap_or_default());
    writeln!(out, "first failing seed: {seed}\nlaw: {}", failure.violation)?;
    if !as_it_is {
        let small = simulation.shrink(failure);
        let program = std::env::args().next().unwrap_or_default();
        writeln!(out, "{} of {all} operations are enough:\n\n{small}", small.ops.len())?;
        writeln!(out, "again: {program} replay {seed}{shape}")?;
    }
    Ok(ExitCode::FAILURE)
}

impl Many {
    fn limits(&self) -> Limits {
        let otherwise = if self.time.is_some() { u64::MAX } else { 10_000 };
        Limits {
            first: self.seed,
            seeds: self.seeds.unwrap_or(otherwise),
            time: self.time,
            jobs: self.jobs,
            quiet: self.quiet,
        }
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = text.split_at(text.find(|character: char| !character.is_ascii_digit()).unwrap_or(text.len()));
    let seconds = match unit {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => return Err(format!("{unit:?} is no unit of time: s, m, h")),
    };
    let number: u64 = number.parse().map_err(|error| format!("{error}"))?;
    Ok(Duration::from_secs(number.saturating_mul(seconds)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_are_well_formed() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn durations() {
        assert_eq!(duration("30s"), Ok(Duration::from_secs(30)));
        assert_eq!(duration("2h"), Ok(Duration::from_secs(7200)));
        assert_eq!(duration("5"), Ok(Duration::from_secs(5)));
        assert!(duration("5x").is_err() && duration("").is_err());
    }
}
