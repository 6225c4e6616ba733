//! Every interleaving of a small scope: a client and a server, and a network between them.
//!
//! Whatever is on its way is delivered in any order that a network allows: requests and answers overtake each other,
//! the frames of a channel do not. One session is opened and upgraded, with messages both ways, a close from either
//! side, heartbeats, and one thing that goes wrong. What is on its way may be lost on every kind of link, before it is
//! written or after, and several answers may be under way. After every letter the laws are tested, and from every world
//! that is reached an [end](epilogue) is played, in which nothing more goes wrong: then both are open with empty buffers, or
//! both are closed, and no message was lost in silence. A failure shows the way to it.
//!
//! That something is written is reported at once in most scenes, and late in a few smaller ones: each report that may be
//! late doubles what can happen.
//!
//! `cargo test --release -p engineio-proto --test explore_pair -- --nocapture` prints what was explored.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, unreachable_pub)]

#[path = "explore_pair/epilogue.rs"]
mod epilogue;
mod explore_common;
#[path = "explore_pair/fingerprint.rs"]
mod fingerprint;
#[path = "explore_pair/network.rs"]
mod network;
#[path = "explore_pair/setting.rs"]
mod setting;
#[path = "explore_pair/world.rs"]
mod world;

use explore_common::search::Search;
use setting::{Closer, Fault, Impatient, QUIET, Scene};
use world::World;

/// Of two scopes the one that takes seconds in debug builds, or half a minute in release builds.
const fn scope<T: Copy>(debug: T, release: T) -> T {
    if cfg!(debug_assertions) { debug } else { release }
}

fn explore(name: &str, scene: Scene) {
    Search::new(name, World::new(scene)).exhaust(6);
}

/// The same with every end; in debug builds with one.
fn explore_ends(name: &str, scene: Scene) {
    let ends = [("the client", Closer::Client), ("the server", Closer::Server), ("nobody", Closer::Nobody)];
    for (end, closer) in &ends[..scope(1, ends.len())] {
        explore(&format!("{name}, {end} closes"), Scene { closer: *closer, ..scene });
    }
}

const MESSAGES: Scene = Scene { client_sends: 1, server_sends: 1, ..QUIET };
/// In debug builds there is no heartbeat, and only the client sends.
const ONE: Scene = Scene { server_sends: scope(0, 1), ticks: scope(0, 1), ..MESSAGES };

#[test]
fn an_upgrade() {
    explore("an upgrade", QUIET);
    explore("an upgrade, a message each way", MESSAGES);
    explore("an upgrade, messages, a heartbeat", Scene { server_sends: scope(0, 1), ticks: scope(1, 2), ..MESSAGES });
    let two = scope(1, 2);
    let two = Scene { client_sends: two, server_sends: two, ..QUIET };
    explore("an upgrade, two messages each way, a heartbeat", Scene { ticks: scope(0, 2), ..two });
}

#[test]
fn a_close() {
    let two = scope(1, 2);
    let scene = Scene { ticks: scope(0, 2), ..MESSAGES };
    explore("the client closes", Scene { closer: Closer::Client, client_sends: two, ..scene });
    explore("the server closes", Scene { closer: Closer::Server, server_sends: two, ..scene });
}

/// Frames are pulled late.
#[test]
fn a_slow_channel() {
    explore_ends("a slow channel", Scene { slow_channel: true, ..ONE });
}

/// That something is written is reported late.
#[test]
fn late_reports() {
    let scene = Scene { late_reports: true, ..MESSAGES };
    explore_ends("late reports", scene);
    // With a close it would take too long.
    explore("late reports, a heartbeat", Scene { ticks: 1, server_sends: scope(0, 1), ..scene });
}

/// Messages are taken late.
#[test]
fn slow_applications() {
    explore_ends("slow applications", Scene { slow_applications: true, ..ONE });
}

fn explore_faults(faults: &[&'static [Fault]]) {
    for faults in faults {
        explore_ends(&format!("{faults:?} is torn"), Scene { faults, ..ONE });
    }
}

#[test]
fn a_torn_request() {
    explore_faults(&[&[Fault::Request], &[Fault::Body]]);
}

#[test]
fn a_torn_answer() {
    explore_faults(&[&[Fault::Held], &[Fault::Answer]]);
}

#[test]
fn a_torn_channel() {
    explore_faults(&[&[Fault::Channel]]);
}

/// What is lost was not written.
#[test]
fn a_torn_answer_that_was_not_written() {
    let scene = Scene { faults: &[Fault::Answer], late_reports: true, ..MESSAGES };
    explore_ends("an answer is torn that was not written", scene);
    let scene = Scene { client_sends: 0, server_sends: scope(1, 2), closer: Closer::Server, ..scene };
    explore("one of several answers is torn that were not written, the server closes", scene);
}

#[test]
fn a_torn_channel_that_was_not_written() {
    let scene = Scene { faults: &[Fault::Channel], late_reports: true, ..MESSAGES };
    explore_ends("a channel is torn that was not written", scene);
}

/// Somebody gives up the upgrade.
#[test]
fn impatience() {
    let messages = scope(QUIET, MESSAGES);
    for impatient in [Impatient::Client, Impatient::Server] {
        explore_ends(&format!("impatient: {impatient:?}"), Scene { impatient, ticks: scope(1, 2), ..messages });
    }
}
