//! Every sequence of a small scope: everything that can happen to a client, in every order, up to some depth.
//!
//! Beside the client runs a [model](model): a second, plain telling of the rules. After every letter all laws that can
//! be tested from outside are, by the [judge](judge), and from every world that is reached the [ends](epilogue) are
//! played: all do their duty, the application closes, the server falls silent, with messages still leaving or without,
//! its link is full, or the host stands still. A failure shows the shortest way to it. See `explore.rs` for what keeps
//! the scope small.
//!
//! `cargo test --release -p engineio-proto --test explore_client -- --nocapture` prints what was explored.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, unreachable_pub)]

#[path = "explore_client/alphabet.rs"]
mod alphabet;
#[path = "explore_client/epilogue.rs"]
mod epilogue;
mod explore_common;
#[path = "explore_client/judge.rs"]
mod judge;
#[path = "explore_client/model.rs"]
mod model;
#[path = "explore_client/rules.rs"]
mod rules;
#[path = "explore_client/setting.rs"]
mod setting;
#[path = "explore_client/world.rs"]
mod world;

use std::collections::BTreeSet;

use alphabet::{Op, Word};
use engineio_proto::client;
use explore_common::search::Search;
use setting::{Kind, PERSISTENT, POLLING, REMEMBERING, USUAL, WEBSOCKET};
use world::World;

/// How deep to go: seconds in debug builds, half a minute in release builds.
const fn depth(debug: usize, release: usize) -> usize {
    if cfg!(debug_assertions) { debug } else { release }
}

/// A start: its name, who it is, and what has happened.
type Start = (&'static str, Kind, &'static [Op]);

fn world(&(_, kind, prelude): &Start) -> World {
    let mut world = World::new(kind);
    for &op in prelude {
        world.step(op);
    }
    world
}

fn explore(starts: &[Start], depth: usize) -> BTreeSet<client::Row> {
    let mut rows = BTreeSet::new();
    for start in starts {
        let mut search = Search::new(start.0, world(start));
        search.deepen(depth);
        rows.extend(&search.rows);
    }
    rows
}

const OPEN: Op = Op::Got(&[Word::Open]);
const NOOP: Op = Op::Got(&[Word::Noop]);
const ANSWER: Op = Op::Frame(Word::ProbeAnswer);
const PROBING: &[Op] = &[OPEN, Op::Opened, Op::Pull];
const ON_CHANNEL: &[Op] = &[Op::Opened, Op::Frame(Word::Open)];

#[test]
fn every_row_of_the_table_is_taken() {
    let starts: &[Start] = &[("opening by polling, then on a WebSocket", PERSISTENT, &[]), ("probing", USUAL, PROBING)];
    let rows: Vec<_> = explore(starts, depth(3, 6)).into_iter().collect();
    let mut all = client::TRANSITIONS.to_vec();
    all.sort();
    assert_eq!(rows, all);
}

#[test]
fn all_from_the_opening() {
    let starts: &[Start] = &[
        ("opening by polling", USUAL, &[]),
        ("opening on a WebSocket", WEBSOCKET, &[]),
        ("opening on a WebSocket, then by polling", REMEMBERING, &[]),
    ];
    explore(starts, depth(3, 6));
}

#[test]
fn all_from_polling() {
    explore(&[("polling", POLLING, &[OPEN])], depth(3, 6));
}

#[test]
fn all_from_an_upgrade() {
    let starts: &[Start] = &[
        ("pausing", USUAL, &[OPEN, Op::Opened, Op::Pull, Op::Send, ANSWER]),
        ("a channel is to be opened", USUAL, &[OPEN]),
    ];
    explore(starts, depth(3, 6));
}

#[test]
fn all_from_the_channel() {
    explore(&[("channel", WEBSOCKET, ON_CHANNEL)], depth(3, 6));
}

/// Worlds that are too far from the beginning to be reached by letters alone.
#[test]
fn all_from_far_away() {
    const TWO: Op = Op::Got(&[Word::Message, Word::Message]);
    let starts: &[Start] = &[
        ("sent while opening", USUAL, &[Op::Send, Op::SendLong, Op::Send]),
        ("closing while opening by polling", USUAL, &[Op::Send, Op::Send, Op::Close]),
        ("closing while opening on a WebSocket", WEBSOCKET, &[Op::Send, Op::Close]),
        ("polling, all is full", POLLING, &[OPEN, TWO, Op::Send, Op::Send, Op::Send, Op::Send, Op::Send]),
        ("closing on polling", POLLING, &[OPEN, Op::Send, Op::Send, Op::Send, Op::Send, Op::Close]),
        ("closing on polling, nothing was sent", POLLING, &[OPEN, Op::Close]),
        ("pausing for the GET", USUAL, &[OPEN, Op::Opened, Op::Pull, ANSWER]),
        ("pausing for the POST", USUAL, &[OPEN, Op::Opened, Op::Pull, Op::Send, ANSWER, NOOP]),
        ("pausing for the application", USUAL, &[OPEN, Op::Opened, Op::Pull, Op::Send, ANSWER, TWO]),
        ("closing in a pause", USUAL, &[OPEN, Op::Opened, Op::Pull, Op::Send, Op::Send, ANSWER, Op::Close]),
        ("upgraded", USUAL, &[OPEN, Op::Opened, Op::Pull, ANSWER, Op::Send, NOOP]),
        (
            "channel, all is full",
            WEBSOCKET,
            &[
                Op::Opened,
                Op::Frame(Word::Open),
                Op::Frame(Word::Message),
                Op::Frame(Word::Message),
                Op::Send,
                Op::Send,
                Op::Send,
                Op::Send,
            ],
        ),
        ("closing on the channel", WEBSOCKET, &[Op::Opened, Op::Frame(Word::Open), Op::Send, Op::Send, Op::Close]),
    ];
    explore(starts, depth(2, 5));
}

/// An embedder that drains late finds the same.
#[test]
fn all_without_draining() {
    let starts: &[Start] = &[
        ("opening, drained late", PERSISTENT, &[]),
        ("polling, drained late", POLLING, &[OPEN]),
        ("probing, drained late", USUAL, PROBING),
        ("channel, drained late", WEBSOCKET, ON_CHANNEL),
    ];
    for start in starts {
        Search::new(start.0, world(start).with_late_embedder()).deepen(depth(2, 5));
    }
}
