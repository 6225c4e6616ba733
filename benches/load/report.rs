//! What is printed: the conditions, and a Markdown table for each kind of row.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::rows::{Row, Table, Work};
use crate::targets::Target;
use crate::{Options, Sample, Samples};

/// Machine, kernel, compilers, and the versions of what is measured.
pub(crate) fn conditions(options: &Options) -> String {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model =
        cpu.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ")).map_or("?", |(_, model)| model);
    let processors = std::thread::available_parallelism().map_or(0, usize::from);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.lock");
    let locked = |names: &[&str], lock: &Path| {
        let versions: Vec<_> = names.iter().map(|name| format!("{name} {}", locked(name, lock))).collect();
        versions.join(", ")
    };
    let node = options.peers.join("node/node_modules");
    let module = |name: &str| {
        let package = fs::read(node.join(name).join("package.json")).ok();
        let package = package.and_then(|text| serde_json::from_slice::<serde_json::Value>(&text).ok());
        let version = package.and_then(|package| Some(package["version"].as_str()?.to_owned()));
        format!("{name} {}", version.unwrap_or_else(|| "not installed".into()))
    };
    let modules: Vec<_> = ["engine.io", "ws", "engine.io-client"].map(module).into();
    [
        format!("* machine: {model}, {processors} processors; Linux {}", kernel.trim()),
        format!("* {}; Node.js {}", said("rustc", "--version"), said("node", "--version")),
        format!(
            "* {}",
            locked(
                &["tokio", "smol", "hyper", "tungstenite", "tokio-tungstenite", "async-tungstenite", "smol-hyper"],
                &workspace
            )
        ),
        format!(
            "* engineioxide, in a workspace of its own: {}",
            locked(&["engineioxide", "tokio", "hyper", "tungstenite"], &options.peers.join("engineioxide/Cargo.lock"))
        ),
        format!("* {}", modules.join(", ")),
        format!(
            "* {} rounds of {} ms for each server{}",
            options.rounds(),
            options.round().as_millis(),
            if options.unpinned { ", unpinned" } else { ", server on processor 0, load generator on processor 1" }
        ),
        String::new(),
    ]
    .join("\n")
}

fn said(program: &str, flag: &str) -> String {
    let output = Command::new(program).arg(flag).output().map(|output| output.stdout).unwrap_or_default();
    let text = String::from_utf8_lossy(&output).trim().to_owned();
    if text.is_empty() { format!("{program} not found") } else { text }
}

/// The version of a package in a lock file; of several, all.
fn locked(name: &str, lock: &Path) -> String {
    let lock = fs::read_to_string(lock).unwrap_or_default();
    let start = format!("name = \"{name}\"\nversion = \"");
    let versions: Vec<_> =
        lock.match_indices(&start).filter_map(|(at, _)| lock[at + start.len()..].split('"').next()).collect();
    if versions.is_empty() { "?".into() } else { versions.join(" and ") }
}

/// All tables.
pub(crate) fn tables(targets: &[Target], rows: &[Row], results: &[Samples]) -> String {
    let mut text = String::new();
    for (table, title) in [
        (Table::Cpu, "CPU time per operation, in µs"),
        (Table::Memory, "Resident memory per session, in bytes"),
        (Table::Growth, "Growth: the same load on more sessions, CPU time per message in µs"),
        (Table::Workers, "Worker threads, unpinned: CPU time per message in µs, and messages per second"),
        (Table::Upgrade, "Upgrade with the official client: median time in ms"),
    ] {
        let rows: Vec<_> =
            rows.iter().zip(results).filter(|(row, samples)| row.table == table && !samples.is_empty()).collect();
        if rows.is_empty() {
            continue;
        }
        let columns: Vec<_> = targets
            .iter()
            .copied()
            .filter(|target| rows.iter().any(|(_, samples)| samples.contains_key(target)))
            .collect();
        let mut lines = Vec::new();
        for (row, samples) in &rows {
            let cell = |target: Target| samples.get(&target).map_or_else(none, |samples| cell(row, samples));
            lines.push((row.title.clone(), columns.iter().map(|target| cell(*target)).collect(), ratios(row, samples)));
            if let Work::Idle(_) = row.work {
                let cells = columns.iter().map(|target| tenth(samples, *target)).collect();
                lines.push(("the same, with a tenth of the sessions".into(), cells, NO_RATIOS.map(str::to_owned)));
            }
        }
        lines.extend(growth(table, &rows, &columns));
        text.push_str(&format!("\n### {title}\n\n{}", markdown(&columns, &lines)));
    }
    text
}

/// A line of a table: its title, the cells of the servers, and the cells of [`RATIOS`].
type Line = (String, Vec<String>, [String; 5]);

/// Columns of [`RATIOS`] in which nothing stands are left out.
fn markdown(columns: &[Target], lines: &[Line]) -> String {
    let used: Vec<_> = (0..RATIOS.len()).filter(|column| lines.iter().any(|line| line.2[*column] != NONE)).collect();
    let heads = columns.iter().map(|target| target.title()).chain(used.iter().map(|column| RATIOS[*column]));
    let mut text = format!("| workload | {} |\n", heads.collect::<Vec<_>>().join(" | "));
    text.push_str(&format!("|---|{}\n", "---:|".repeat(columns.len() + used.len())));
    for (title, cells, ratios) in lines {
        let cells = cells.iter().chain(used.iter().map(|column| &ratios[*column]));
        let cells: Vec<_> = cells.map(String::as_str).collect();
        text.push_str(&format!("| {title} | {} |\n", cells.join(" | ")));
    }
    text
}

/// The columns after those of the servers.
const RATIOS: [&str; 5] = ["tokio ÷ bare", "tokio ÷ engineioxide", "goal, tokio", "smol ÷ bare smol", "goal, smol"];

const NO_RATIOS: [&str; 5] = [NONE; 5];

/// A cell without a value.
const NONE: &str = "–";

fn none() -> String {
    NONE.into()
}

fn cell(row: &Row, samples: &[Sample]) -> String {
    let cost = median(samples.iter().map(|sample| sample.cost));
    match row.work {
        Work::Workers { .. } => {
            let rate = median(samples.iter().map(|sample| sample.rate));
            format!("{}; {}", figure(cost), thousands(rate))
        }
        Work::Idle(_) => thousands(cost),
        _ => figure(cost),
    }
}

fn tenth(samples: &Samples, target: Target) -> String {
    samples.get(&target).map_or_else(none, |samples| thousands(median(samples.iter().map(|sample| sample.tenth))))
}

/// The cells of [`RATIOS`].
fn ratios(row: &Row, samples: &Samples) -> [String; 5] {
    let shown = |ratio: Option<f64>| ratio.map_or_else(none, |ratio| format!("{ratio:.2}"));
    let goal = |goal: Option<(f64, Target)>, ours: Target| {
        let Some((factor, other)) = goal else { return none() };
        let name = if other == Target::BareSmol { "bare smol" } else { other.title() };
        match ratio(samples, ours, other) {
            None => none(),
            Some(ratio) if ratio <= factor => format!("≤ {factor} × {name}: met"),
            Some(ratio) => format!("≤ {factor} × {name}: {ratio:.2}"),
        }
    };
    [
        shown(ratio(samples, Target::Tokio, Target::Bare)),
        shown(ratio(samples, Target::Tokio, Target::Engineioxide)),
        goal(row.goal, Target::Tokio),
        shown(ratio(samples, Target::Smol, Target::BareSmol)),
        goal(row.smol_goal.map(|factor| (factor, Target::BareSmol)), Target::Smol),
    ]
}

/// The median of the ratios of each round. Servers follow each other in a round, so that both had the same conditions.
fn ratio(samples: &Samples, of: Target, to: Target) -> Option<f64> {
    let (of, to) = (samples.get(&of)?, samples.get(&to)?);
    Some(median(of.iter().zip(to).map(|(of, to)| of.cost / to.cost)))
}

/// What the largest size of a server costs, by what the smallest does.
fn growth(table: Table, rows: &[(&Row, &Samples)], columns: &[Target]) -> Option<Line> {
    let goal = match table {
        Table::Growth => "≤ 1.3",
        Table::Workers => "≤ 1.1",
        _ => return None,
    };
    let [(_, first), .., (_, last)] = rows else { return None };
    let cell = |target: &Target| match (first.get(target), last.get(target)) {
        (Some(first), Some(last)) => {
            format!("{:.2}", median(last.iter().zip(first).map(|(last, first)| last.cost / first.cost)))
        }
        _ => none(),
    };
    let must = [NONE, NONE, goal, NONE, goal].map(str::to_owned);
    Some(("CPU time, last line ÷ first".into(), columns.iter().map(cell).collect(), must))
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<_> = values.collect();
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        len if len % 2 == 1 => values[len / 2],
        len => (values[len / 2 - 1] + values[len / 2]) / 2.0,
    }
}

/// Three digits that count.
fn figure(value: f64) -> String {
    let decimals = match value {
        ..10.0 => {
            if value < 1.0 {
                3
            } else {
                2
            }
        }
        ..100.0 => 1,
        _ => 0,
    };
    format!("{value:.decimals$}")
}

fn thousands(value: f64) -> String {
    let digits = format!("{value:.0}");
    let (sign, digits) = digits.strip_prefix('-').map_or(("", digits.as_str()), |digits| ("-", digits));
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    format!("{sign}{text}")
}
