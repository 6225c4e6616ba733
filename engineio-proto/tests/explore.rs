//! Every sequence of a small scope: whatever can happen to a session, in every order, up to some depth.
//!
//! Beside the session runs a [model](model): a second, plain telling of the rules. After every letter all laws that
//! can be tested from outside are, by the [judge](judge), and from every world that is reached three
//! [ends](epilogue) are played: all do their duty, the application closes, the client falls silent. A failure shows the
//! shortest way to it.
//!
//! `cargo test --release -p engineio-proto --test explore -- --nocapture` prints what was explored.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, unreachable_pub)]

#[path = "explore/alphabet.rs"]
mod alphabet;
#[path = "explore/epilogue.rs"]
mod epilogue;
#[path = "explore/judge.rs"]
mod judge;
#[path = "explore/model.rs"]
mod model;
#[path = "explore/search.rs"]
mod search;
#[path = "explore/wire.rs"]
mod wire;
#[path = "explore/world.rs"]
mod world;

use alphabet::{EVERYTHING, Op, Word};
use engineio_proto::{ChannelEnd, State, TRANSITIONS};
use search::Search;

/// How deep to go: seconds in debug builds, a minute in release builds.
fn depth(debug: usize, release: usize) -> usize {
    if cfg!(debug_assertions) { debug } else { release }
}

const PROBED: &[Op] = &[Op::Get, Op::Get, Op::Open, Op::Frame(Word::Probe)];

#[test]
fn all_from_polling() {
    let mut search = Search::new("polling", State::Polling, &[Op::Get]);
    search.to_depth(depth(4, std::env::var("D").map_or(6, |d| d.parse().unwrap())));
    let rows: Vec<_> = search.rows.iter().copied().collect();
    let mut all = TRANSITIONS.to_vec();
    all.sort();
    assert_eq!(rows, all, "every row of the table is taken");
}

#[test]
fn all_from_channel() {
    Search::new("channel", State::Channel, &[Op::Pull, Op::Pull])
        .to_depth(depth(4, std::env::var("D").map_or(6, |d| d.parse().unwrap())));
}

#[test]
fn all_from_the_middle_of_a_probe() {
    Search::new("probed", State::Polling, PROBED)
        .to_depth(depth(4, std::env::var("D").map_or(6, |d| d.parse().unwrap())));
}
