//! Runs of many worlds, on all processors.

use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use indicatif::{HumanCount, ProgressBar, ProgressStyle};

use crate::coverage::Coverage;
use crate::explore::Scope;
use crate::simulation::{Failure, Simulation};
use crate::world::{Class, Totals};
use engineio_proto::app::Application;

/// The range of worlds, and the time limit.
#[derive(Debug)]
pub(super) struct Limits {
    pub(super) first: u64,
    pub(super) seeds: u64,
    pub(super) time: Option<Duration>,
    pub(super) jobs: Option<usize>,
    pub(super) quiet: bool,
}

/// The result of many worlds.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) seeds: u64,
    pub(super) totals: Totals,
    pub(super) coverage: Coverage,
    /// A hash of all journals.
    pub(super) hash: u64,
    pub(super) took: Duration,
    /// That of the lowest failing seed.
    pub(super) failure: Option<Box<Failure>>,
}

/// The number of seeds that are taken at once.
const BLOCK: u64 = 64;

fn workers(jobs: Option<usize>) -> usize {
    jobs.or_else(|| thread::available_parallelism().ok().map(usize::from)).unwrap_or(1).max(1)
}

/// Runs the worlds of many seeds. If one fails, all lower seeds were run as well.
pub(super) fn run<S: Application + 'static, C: Application + 'static>(
    simulation: &Simulation<S, C>,
    limits: &Limits,
) -> Outcome {
    let begun = Instant::now();
    let next = AtomicU64::new(0);
    let failed = AtomicU64::new(u64::MAX);
    let outcome = Mutex::new(Outcome::default());
    let bar = bar(limits.quiet, limits.seeds);
    let work = || {
        loop {
            let block = next.fetch_add(BLOCK, Ordering::Relaxed);
            let end = block.saturating_add(BLOCK).min(limits.seeds);
            let is_late = limits.time.is_some_and(|time| begun.elapsed() >= time);
            if block >= limits.seeds || is_late || block > failed.load(Ordering::Relaxed) {
                return;
            }
            let mut part = Outcome::default();
            for offset in block..end {
                let seed = limits.first.wrapping_add(offset);
                match simulation.run(seed) {
                    Ok(report) => {
                        part.seeds += 1;
                        part.totals.merge(&report.totals);
                        part.coverage.merge(&report.coverage);
                        // Independent of the order.
                        part.hash = part.hash.wrapping_add(report.hash.rotate_left((seed % 64) as u32));
                    }
                    Err(failure) => {
                        failed.fetch_min(offset, Ordering::Relaxed);
                        part.failure = Some(failure);
                        break;
                    }
                }
            }
            if let Ok(mut all) = outcome.lock() {
                all.merge(part, limits.first);
                bar.set_position(all.seeds);
                bar.set_message(all.totals_in_short());
            }
        }
    };
    thread::scope(|scope| (0..workers(limits.jobs)).for_each(|_| drop(scope.spawn(work))));
    bar.finish_and_clear();
    let mut outcome = outcome.into_inner().unwrap_or_default();
    outcome.took = begun.elapsed();
    outcome
}

/// Explores a scope, and returns the number of sequences.
pub(super) fn explore<S: Application + 'static, C: Application + 'static>(
    simulation: &Simulation<S, C>,
    scope: Scope,
    jobs: Option<usize>,
) -> Result<u64, Box<Failure>> {
    let parts = workers(jobs) as u64;
    let spinner = ProgressBar::new_spinner();
    let played: Vec<_> = (0..parts).map(|_| AtomicU64::new(0)).collect();
    let tell = |part: u64, ways: u64| {
        if let Some(own) = played.get(part as usize) {
            own.store(ways, Ordering::Relaxed);
        }
        let all: u64 = played.iter().map(|ways| ways.load(Ordering::Relaxed)).sum();
        spinner.set_message(format!("{} ways", HumanCount(all)));
    };
    let results: Vec<_> = thread::scope(|threads| {
        let explorers: Vec<_> = (0..parts)
            .map(|part| threads.spawn(move || simulation.explore(scope, (part, parts), |ways| tell(part, ways))))
            .collect();
        let joined = explorers.into_iter().map(|explorer| explorer.join());
        joined.map(|result| result.unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
    });
    spinner.finish_and_clear();
    results.into_iter().sum()
}

fn bar(quiet: bool, seeds: u64) -> ProgressBar {
    if quiet {
        return ProgressBar::hidden();
    }
    if seeds == u64::MAX {
        let style = ProgressStyle::with_template("{spinner} {human_pos} seeds, {per_sec:.0}, {elapsed}: {msg}");
        return ProgressBar::new_spinner().with_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
    }
    let template = "{bar:30} {human_pos}/{human_len} seeds, {per_sec:.0}, {eta} left: {msg}";
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(seeds).with_style(style)
}

impl Default for Outcome {
    fn default() -> Self {
        Self {
            seeds: 0,
            totals: Totals::default(),
            coverage: Coverage::default(),
            hash: 0,
            took: Duration::ZERO,
            failure: None,
        }
    }
}

impl Outcome {
    fn merge(&mut self, other: Self, first: u64) {
        self.seeds += other.seeds;
        self.totals.merge(&other.totals);
        self.coverage.merge(&other.coverage);
        self.hash = self.hash.wrapping_add(other.hash);
        let offset = |failure: &Option<Box<Failure>>| {
            failure.as_ref().and_then(|failure| failure.seed).map_or(u64::MAX, |seed| seed.wrapping_sub(first))
        };
        if offset(&other.failure) < offset(&self.failure) {
            self.failure = other.failure;
        }
    }

    fn hours(&self) -> f64 {
        self.totals.micros as f64 / 3.6e9
    }

    fn totals_in_short(&self) -> String {
        let Totals { steps, sessions, upgrades, .. } = self.totals;
        let faults: u64 =
            Class::ALL.iter().filter(|class| class.is_fault()).map(|&class| self.totals.classes[class as usize]).sum();
        let [steps, sessions, upgrades, faults] = [steps, sessions, upgrades, faults].map(HumanCount);
        format!(
            "{:.0} virtual hours, {steps} steps, {sessions} sessions, {upgrades} upgrades, {faults} faults",
            self.hours()
        )
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rate = self.seeds as f64 / self.took.as_secs_f64().max(1e-9);
        let seeds = HumanCount(self.seeds);
        writeln!(f, "{seeds} seeds without a violation in {:.1} s ({rate:.0}/s)", self.took.as_secs_f64())?;
        writeln!(f, "{}", self.totals_in_short())?;
        let totals = &self.totals;
        let [sent, received] = [totals.messages_sent, totals.messages_received].map(HumanCount);
        writeln!(f, "{sent} messages sent, {received} received")?;
        write!(f, "operations:")?;
        for class in Class::ALL {
            write!(f, " {class:?} {}", HumanCount(totals.classes[class as usize]))?;
        }
        writeln!(f, "\njournal hash {:016x}", self.hash)
    }
}
