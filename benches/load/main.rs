//! The load generator: measures CPU time and memory of servers side by side. `benches/run` builds all servers and starts
//! this program; `--help` lists the options, and `docs/performance.md` says what is measured and how.
//!
//! A row is one workload. Its servers run at the same time, each with its own sessions, and are put under load in turn, one
//! short round each, until all rounds are done. The server has processor 0 and the load generator has processor 1.

mod client;
mod http;
mod report;
mod rows;
mod server;
mod targets;
mod websocket;
mod work;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use rows::{Row, Table};
use targets::Target;
use work::Entry;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// What applies to every row.
#[derive(Clone, Debug, Parser)]
#[command(about = "Measures CPU time and memory of Engine.IO servers side by side, and prints Markdown tables")]
struct Options {
    /// The rows, by name or by the beginning of names, separated by commas; all by default. `--list` prints the names.
    #[arg(long, value_delimiter = ',')]
    rows: Vec<String>,
    /// The servers, separated by commas. `--list` prints the names.
    #[arg(long, value_delimiter = ',')]
    targets: Vec<String>,
    /// The number of rounds; the result is their median. Default: 9; 5 with `--quick`.
    #[arg(long)]
    rounds: Option<usize>,
    /// How long a round of one server takes, in milliseconds. Default: 400; 150 with `--quick`.
    #[arg(long)]
    millis: Option<u64>,
    /// Idle sessions. Default: 10,000.
    #[arg(long, default_value_t = 10_000)]
    idle: usize,
    /// Short rounds.
    #[arg(long)]
    quick: bool,
    /// Proves in seconds that all rows work: few sessions, very short rounds, and only the servers of the workspace. The
    /// figures mean nothing.
    #[arg(long)]
    smoke: bool,
    /// Do not pin servers and load generator to processors of their own.
    #[arg(long)]
    unpinned: bool,
    /// Print the names of rows and servers.
    #[arg(long)]
    list: bool,
    /// The folder of the servers that are not in this workspace; `benches/run` sets it.
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/peers"), hide = true)]
    peers: PathBuf,
}

impl Options {
    fn rounds(&self) -> usize {
        self.rounds.unwrap_or(if self.smoke {
            1
        } else if self.quick {
            5
        } else {
            9
        })
    }

    fn round(&self) -> Duration {
        Duration::from_millis(self.millis.unwrap_or(if self.smoke {
            20
        } else if self.quick {
            150
        } else {
            400
        }))
    }

    /// Fewer sessions where only the function is tested.
    fn sessions(&self, sessions: usize) -> usize {
        if self.smoke { sessions.min(20) } else { sessions }
    }

    fn rows(&self) -> Result<Vec<Row>> {
        let all = rows::all();
        if self.rows.is_empty() {
            // The official client is not in this workspace.
            return Ok(all.into_iter().filter(|row| !(self.smoke && row.table == Table::Upgrade)).collect());
        }
        let mut chosen = vec![false; all.len()];
        for name in &self.rows {
            let whole = all.iter().any(|row| row.name == *name);
            let named = |row: &Row| if whole { row.name == *name } else { row.name.starts_with(name.as_str()) };
            if !all.iter().any(named) {
                return Err(format!("unknown row {name:?}; --list prints the names").into());
            }
            chosen.iter_mut().zip(&all).for_each(|(chosen, row)| *chosen |= named(row));
        }
        Ok(all.into_iter().zip(chosen).filter_map(|(row, chosen)| chosen.then_some(row)).collect())
    }

    fn targets(&self) -> Result<Vec<Target>> {
        if self.targets.is_empty() {
            let wanted = |target: &Target| if self.smoke { target.is_in_workspace() } else { target.is_default() };
            return Ok(Target::ALL.into_iter().filter(wanted).collect());
        }
        let named = |name: &String| {
            let target = Target::ALL.into_iter().find(|target| target.name() == name);
            target.ok_or_else(|| format!("unknown server {name:?}; --list prints the names").into())
        };
        self.targets.iter().map(named).collect()
    }
}

fn main() -> ExitCode {
    let options = Options::parse();
    if options.list {
        println!("rows:");
        rows::all().iter().for_each(|row| println!("  {:28} {}", row.name, row.title));
        println!("servers:");
        Target::ALL.iter().for_each(|target| println!("  {:28} {}", target.name(), target.title()));
        return ExitCode::SUCCESS;
    }
    match run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<()> {
    allow_files();
    let (rows, targets) = (options.rows()?, options.targets()?);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    println!("{}", report::conditions(options));
    let mut results: Vec<Samples> = vec![Samples::new(); rows.len()];
    for turn in turns(&rows, &targets) {
        let entries: Vec<Entry<'_>> =
            turn.iter().map(|(row, target)| Entry { row: &rows[*row], target: *target }).collect();
        eprint!("{} ", label(&entries));
        let local = tokio::task::LocalSet::new();
        let measured =
            runtime.block_on(local.run_until(work::in_turn(options, &entries))).inspect_err(|_| eprintln!())?;
        for ((row, target), samples) in turn.iter().zip(measured) {
            results[*row].insert(*target, samples);
        }
        eprintln!();
    }
    println!("{}", report::tables(&targets, &rows, &results));
    Ok(())
}

/// Names what the entries have in common, for people who wait.
fn label(entries: &[Entry<'_>]) -> String {
    match entries {
        [first, ..] if first.row.table.is_growth() => format!("{}, {}", first.row.name, first.target.name()),
        [first, ..] => first.row.name.clone(),
        [] => String::new(),
    }
}

/// Returns what is measured in turn: the servers of a row. But of how a server grows, its own other sizes say more than
/// other servers do, and not all servers can have that many connections at a time.
fn turns(rows: &[Row], targets: &[Target]) -> Vec<Vec<(usize, Target)>> {
    let of_row = |row: usize| targets.iter().map(|target| (row, *target)).collect();
    let of_target = |table: Table, target: Target| {
        let rows = (0..rows.len()).filter(|row| rows[*row].table == table);
        rows.map(|row| (row, target)).collect::<Vec<_>>()
    };
    let mut turns: Vec<Vec<_>> = (0..rows.len()).filter(|row| !rows[*row].table.is_growth()).map(of_row).collect();
    for table in [Table::Growth, Table::Workers] {
        turns.extend(targets.iter().map(|target| of_target(table, *target)));
    }
    for turn in &mut turns {
        turn.retain(|(row, target)| target.can(&rows[*row].work));
    }
    turns.retain(|turn| !turn.is_empty());
    turns
}

/// Raises the limit of open files as far as the system allows. Servers inherit it.
fn allow_files() {
    let limit = getrlimit(Resource::Nofile);
    // If this fails, the rows with many sessions do, and say so.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}

/// What was measured of each server: one sample for each round.
type Samples = BTreeMap<Target, Vec<Sample>>;

/// What was measured in one round.
#[derive(Clone, Copy, Debug)]
struct Sample {
    /// In the unit of the row, for one operation or session.
    cost: f64,
    /// Operations in a second; 0 where that means nothing.
    rate: f64,
    /// Of idle sessions, the cost when there was a tenth of them; 0 elsewhere.
    tenth: f64,
}
