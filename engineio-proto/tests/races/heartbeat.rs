//! Races of the heartbeat.

use std::time::Duration;

use engineio_proto::{CloseReason, Event};

use crate::common::World;

// Pings are scheduled by the handshake, by pongs, by an upgrade; pongs come early, twice and unasked.
#[test]
fn r90_there_is_one_ping_timer() {
    let mut world = World::polling();
    world.post("3");
    world.post("3\x1e3");
    world.advance(10_000);
    world.upgrade();
    world.frame("3");
    world.frame("3");
    let mut pings = Vec::new();
    for second in 11..=100 {
        world.advance(1_000);
        for frame in world.frames() {
            assert_eq!(frame, "2");
            pings.push(second);
            world.frame("3");
        }
    }
    assert_eq!(pings, [35, 60, 85], "every 25 s behind the last pong");
    assert_eq!(world.closed(), None);
}

// Nobody looks at the clock for many intervals.
#[test]
fn r91_missed_intervals_make_one_ping() {
    let mut world = World::websocket();
    world.advance(24_999);
    assert_eq!(world.frames(), Vec::<String>::new(), "not at the handshake, not early");
    world.advance(1);
    assert_eq!(world.frames(), ["2"]);
    world.frame("3");
    world.oversleep(10 * 25_000);
    world.handle_timeout();
    world.handle_timeout();
    assert_eq!(world.frames(), ["2"], "no burst");
    world.advance(19_999);
    assert_eq!(world.frames(), Vec::<String>::new());
    assert_eq!(world.closed(), None, "a late clock is not held against the client");
    world.frame("3");
    assert_eq!(world.session().stats().heartbeats_sent, 2);
}

// A pong must restart the interval and stop the timeout, and nothing else.
#[test]
fn r92_a_pong_restarts_the_interval_and_stops_the_timeout() {
    let mut world = World::websocket();
    world.advance(25_000);
    assert_eq!(world.frames(), ["2"]);
    world.advance(19_000);
    world.frame("3");
    world.advance(24_999);
    assert_eq!(world.frames(), Vec::<String>::new());
    world.advance(1);
    assert_eq!(world.frames(), ["2"]);
    world.advance(19_999);
    assert_eq!(world.closed(), None);
    world.advance(1);
    assert_eq!(world.closed(), Some(CloseReason::PingTimeout));
}

// The pong is stuck behind large messages on a slow link.
#[test]
fn r93_another_packet_extends_the_wait_once_per_ping() {
    let mut world = World::websocket();
    world.advance(25_000);
    assert_eq!(world.frames(), ["2"]);
    world.advance(15_000);
    world.frame("4large");
    world.advance(15_000);
    world.frame("4large");
    world.advance(4_999);
    assert_eq!(world.closed(), None);
    world.frame("3");
    // The next ping has an extension of its own, and no more than one.
    world.advance(25_000);
    assert_eq!(world.frames(), ["2"]);
    world.advance(19_999);
    world.frame("4large");
    world.advance(19_999);
    world.frame("4large");
    assert_eq!(world.closed(), None);
    world.advance(1);
    assert_eq!(world.recv_all().len(), 4);
    assert_eq!(world.closed(), Some(CloseReason::PingTimeout));
}

// A pong comes before any ping.
#[test]
fn r94_an_unsolicited_pong_does_not_answer_a_later_ping() {
    let mut world = World::websocket();
    world.advance(10_000);
    world.frame("3");
    world.advance(24_999);
    assert_eq!(world.frames(), Vec::<String>::new(), "it postpones the ping");
    world.advance(1);
    assert_eq!(world.frames(), ["2"]);
    world.advance(20_000);
    assert_eq!(world.closed(), Some(CloseReason::PingTimeout));
}

// A client sends pongs without end.
#[test]
fn r97_a_flood_of_pongs_leaves_nothing_behind() {
    let mut world = World::polling();
    let body = vec!["3"; 10_000].join("\x1e");
    let post = world.post(body);
    assert_eq!(world.answer_of(post), Some("200 ok"));
    // They are counted one by one, and told once: events do not grow with what a client sends.
    assert_eq!((world.session().stats().heartbeats_received, world.count(Event::Heartbeat)), (10_000, 1));
    assert_eq!(world.session().receive_buffered(), 0);
    assert!(!world.session().has_output());
    world.advance(25_000);
    let (first, second) = (world.get(), world.get());
    assert_eq!(world.answer_of(first), Some("200 2"));
    assert_eq!(world.answer_of(second), None);
}

// The client's only POST was under way when the ping came, and its body takes long; the pong follows in the next one.
#[test]
fn r119_the_pong_behind_a_slow_body_has_the_time_that_the_body_took() {
    let timeout = 5_000;
    // The body is there just before the wait for the pong is over: as it was, and as it was put off for the body.
    for takes in [timeout - 250, 2 * timeout - 250] {
        for answers in [true, false] {
            let mut world = World::polling_with(|config| config.ping_timeout = Duration::from_millis(timeout));
            world.get();
            world.advance(25_000);
            world.advance(100);
            world.post("4a"); // another packet: the wait is put off once for it
            world.advance(100);
            let post = world.post_head();
            world.advance(takes);
            world.post_body(post, "4b");
            world.recv_all();
            world.advance(200);
            assert_eq!(world.closed(), None, "{takes}");
            if answers {
                world.post("3");
                assert_eq!(world.session().stats().heartbeats_received, 1);
                world.advance(24_999);
                assert_eq!(world.closed(), None);
            } else {
                world.advance(timeout);
                assert_eq!(
                    world.closed(),
                    Some(CloseReason::PingTimeout),
                    "{takes}: what it sent does not excuse for ever"
                );
            }
        }
    }
}
