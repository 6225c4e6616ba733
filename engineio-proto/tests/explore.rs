//! Every sequence of a small scope: everything that can happen to a session, in every order, up to some depth.
//!
//! Beside the session runs a [model](model): a second, plain telling of the rules. After every letter all laws that
//! can be tested from outside are, by the [judge](judge), and from every world that is reached the [ends](epilogue) are
//! played: all do their duty, the application closes, the client falls silent, with messages still leaving or without,
//! its link is full, or the host stands still. A failure shows the shortest way to it.
//!
//! Three things keep this within a minute. A report of what was written is a letter only where it makes a difference
//! (`World::letters`); everywhere else a test of law 6 makes it, once for each world. Exchanges have the lowest number
//! that is free (`Numbers`), and what is only counted does not tell worlds apart (`explore_common::fingerprint`).
//!
//! `cargo test --release -p engineio-proto --test explore -- --nocapture` prints what was explored.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, unreachable_pub)]

#[path = "explore/alphabet.rs"]
mod alphabet;
#[path = "explore/epilogue.rs"]
mod epilogue;
mod explore_common;
#[path = "explore/judge.rs"]
mod judge;
#[path = "explore/model.rs"]
mod model;
#[path = "explore/rules.rs"]
mod rules;
#[path = "explore/setting.rs"]
mod setting;
#[path = "explore/world.rs"]
mod world;

use alphabet::{Op, Word};
use engineio_proto::ChannelEnd;
use engineio_proto::server::{State, TRANSITIONS};
use explore_common::search::Search;
use world::World;

/// How deep to go: seconds in debug builds, a minute in release builds.
const fn depth(debug: usize, release: usize) -> usize {
    if cfg!(debug_assertions) { debug } else { release }
}

fn world(state: State, prelude: &[Op]) -> World {
    let mut world = World::new(state);
    for &op in prelude {
        world.step(op);
    }
    world
}

const OPENED: &[Op] = &[Op::Get, Op::AnswerWritten];
const ON_CHANNEL: &[Op] = &[Op::Pull, Op::Pull];
const PROBED: &[Op] = &[Op::Get, Op::AnswerWritten, Op::Get, Op::Open, Op::Frame(Word::Probe)];
/// An answer with a message.
const ANSWERED: &[Op] = &[Op::Get, Op::Send];
const MESSAGE: Op = Op::Frame(Word::Message);
const TWO: Op = Op::Body(&[Word::Message, Word::Message]);

#[test]
fn all_from_polling() {
    let mut search = Search::new("polling", world(State::Polling, OPENED));
    search.deepen(depth(4, 7));
    let rows: Vec<_> = search.rows.iter().copied().collect();
    let mut all = TRANSITIONS.to_vec();
    all.sort();
    assert_eq!(rows, all, "every row of the table is taken");
}

#[test]
fn all_from_channel() {
    Search::new("channel", world(State::Channel, ON_CHANNEL)).deepen(depth(4, 7));
}

#[test]
fn all_from_the_middle_of_a_probe() {
    Search::new("probed", world(State::Polling, PROBED)).deepen(depth(4, 6));
}

/// Worlds that are too far from the beginning to be reached by letters alone.
#[test]
fn all_from_far_away() {
    const SWITCH: &[Op] = &[Op::Open, Op::Frame(Word::Probe), Op::Frame(Word::Upgrade)];
    const FILL: &[Op] = &[Op::Send, Op::Send, Op::Send];
    let eight = [ANSWERED; 8].concat();
    const PINGED: &[Op] = &[Op::Tick, Op::Pull];
    let starts: &[(&str, State, &[&[Op]])] = &[
        ("polling, not opened", State::Polling, &[]),
        ("channel, not opened", State::Channel, &[]),
        ("polling, a ping is outstanding", State::Polling, &[OPENED, &[Op::Get, Op::Tick]]),
        ("polling, a ping is owed", State::Polling, &[OPENED, &[Op::Tick]]),
        (
            "polling, a ping is outstanding, a POST is on its way",
            State::Polling,
            &[OPENED, &[Op::Get, Op::Wait, Op::Head, Op::Tick]],
        ),
        ("channel, a ping is outstanding", State::Channel, &[&[Op::Pull], PINGED]),
        ("polling, all is full", State::Polling, &[OPENED, &[Op::Head, TWO], FILL]),
        ("channel, all is full", State::Channel, &[&[Op::Pull, MESSAGE, MESSAGE], FILL]),
        ("upgraded, a POST is under way", State::Polling, &[OPENED, &[Op::Head], SWITCH]),
        ("closing in a probe", State::Polling, &[OPENED, &[Op::Open, Op::Frame(Word::Probe), Op::Send, Op::Close]]),
        ("two answers are under way", State::Polling, &[OPENED, ANSWERED, ANSWERED]),
        ("closing, two answers are under way", State::Polling, &[OPENED, ANSWERED, ANSWERED, &[Op::Close]]),
        ("upgraded, two answers are under way", State::Polling, &[OPENED, ANSWERED, ANSWERED, SWITCH]),
        ("eight answers are under way", State::Polling, &[OPENED, &eight]),
        (
            "closing on a channel, two messages are not written",
            State::Channel,
            &[ON_CHANNEL, &[Op::Send, Op::Send, Op::Pull, Op::Pull, Op::Close]],
        ),
    ];
    for &(name, state, prelude) in starts {
        Search::new(name, world(state, &prelude.concat())).deepen(depth(3, 5));
    }
}

/// A ping and its end.
const TIME: &[Op] = &[Op::Tick, Op::Tick];
/// What leaves is written: an answer, and then all frames.
const WRITES: &[Op] = &[Op::AnswerWritten, Op::ChannelWritten];

/// One upgrade, a poll, a POST, a message each way, a pong, one end, and something more, in every order that keeps the
/// order within each. So many frames are pulled. Time and writes are not explored together, which would take minutes.
fn all_orders(ends: &[(&'static str, &'static [Op])], pulls: usize, more: &'static [Op]) {
    const POLL: &[Op] = &[Op::Get];
    const POST: &[Op] = &[Op::Head, Op::Body(&[Word::Message])];
    const UPGRADE: &[Op] =
        &[Op::Open, Op::Frame(Word::Probe), Op::Frame(Word::Upgrade), Op::Frame(Word::Message), Op::Frame(Word::Pong)];
    const SEND: &[Op] = &[Op::Send];
    const RECV: &[Op] = &[Op::Recv, Op::Recv];
    const PULL: &[Op] = &[Op::Pull, Op::Pull, Op::Pull];
    // In debug builds there are fewer letters.
    let (recv, more, pull) = (&RECV[..depth(1, 2)], &more[..depth(0, more.len())], &PULL[..depth(1, pulls)]);
    for &(name, end) in &ends[..depth(1, ends.len())] {
        Search::new(name, world(State::Polling, OPENED)).shuffle(&[POLL, POST, UPGRADE, SEND, recv, more, pull, end]);
    }
}

#[test]
fn all_orders_of_an_upgrade_and_an_end() {
    const CLOSE: (&str, &[Op]) = ("an upgrade, and the application closes", &[Op::Close]);
    const ENDS: &[(&str, &[Op])] = &[
        CLOSE,
        ("an upgrade, and the client closes", &[Op::Frame(Word::Close)]),
        ("an upgrade, and the channel breaks", &[Op::Gone(ChannelEnd::Closed)]),
    ];
    all_orders(&[CLOSE], 3, WRITES);
    all_orders(ENDS, 3, TIME);
}

#[test]
fn all_orders_of_an_upgrade_and_a_disturbance() {
    const DISTURBANCES: &[(&str, &[Op])] = &[
        ("an upgrade, and another one", &[Op::Open, Op::Frame(Word::Probe)]),
        ("an upgrade, and the poll is lost", &[Op::GetLost]),
        ("an upgrade, and the POST is lost", &[Op::PostLost]),
        ("an upgrade, and the application aborts", &[Op::Abort]),
    ];
    const LOSS: (&str, &[Op]) = ("an upgrade, and an answer is lost", &[Op::OldestLost]);
    all_orders(&[LOSS], 3, WRITES);
    all_orders(DISTURBANCES, 2, TIME);
}

/// An embedder that drains late finds the same.
#[test]
fn all_without_draining() {
    for (name, state, prelude) in [
        ("polling", State::Polling, OPENED),
        ("channel", State::Channel, ON_CHANNEL),
        ("probed", State::Polling, PROBED),
    ] {
        Search::new(name, world(state, prelude).with_late_embedder()).deepen(depth(3, 5));
    }
}
