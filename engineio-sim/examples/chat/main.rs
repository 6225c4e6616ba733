//! A chat with rooms in a simulated world: it keeps its laws, and a bug in its server is found, shrunk, and printed as
//! a test.
//!
//! ```text
//! cargo run --release -p engineio-sim --example chat [WORLDS]
//! ```
//!
//! `rooms.rs` is the chat, as it would run on real sockets; `laws.rs` has its laws.

mod laws;
mod rooms;

use std::process::ExitCode;

use engineio_sim::{Law, Totals};

use crate::laws::simulation;
use crate::rooms::Bug;

fn main() -> ExitCode {
    // The number of worlds that must keep the laws, and in which a bug must be found.
    let seeds = std::env::args().nth(1).and_then(|count| count.parse().ok()).unwrap_or(500);
    let chat = simulation(None);
    let mut totals = Totals::default();
    for seed in 0..seeds {
        match chat.run(seed) {
            Ok(report) => totals.merge(&report.totals),
            Err(failure) => {
                println!("the chat does not keep its laws\n{}", chat.shrink(failure));
                return ExitCode::FAILURE;
            }
        }
    }
    println!(
        "{seeds} worlds, {} operations, {} sessions, {} messages, {} hours of their time: no law was broken",
        totals.steps,
        totals.attempts,
        totals.messages_received,
        totals.micros / 3_600_000_000
    );
    for bug in [Bug::ForgetsTheRefused, Bug::KeepsTheLost] {
        println!("\n=== a server that {} ===", describe(bug));
        let wrong = simulation(Some(bug));
        let Some((seed, failure)) = (0..seeds).find_map(|seed| wrong.run(seed).err().map(|failure| (seed, failure)))
        else {
            println!("was not found out in {seeds} worlds");
            return ExitCode::FAILURE;
        };
        let before = failure.ops.len();
        let small = wrong.shrink(failure);
        println!("found in world {} of {seeds}; {before} operations shrunk to {}\n", seed + 1, small.ops.len());
        println!("{small}");
        let is_cured = chat.replay(&small.settings, &small.ops, small.ending).is_ok();
        println!("the same with the healthy server: {}", if is_cured { "no law is broken" } else { "a law is broken" });
        if small.violation.law != Law::User || !is_cured {
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

fn describe(bug: Bug) -> &'static str {
    match bug {
        Bug::ForgetsTheRefused => "forgets what was refused because a buffer was full",
        Bug::KeepsTheLost => "keeps whoever lost its connection in its room",
    }
}
