//! The heartbeat, at the client.

use engineio_proto::{CloseReason, Event, Message, SendError};

use crate::world::World;

const TIMEOUT: Option<CloseReason> = Some(CloseReason::PingTimeout);

fn both() -> [World; 2] {
    [World::polling(), World::websocket()]
}

/// The server pings, and the answer leaves.
fn ping(world: &mut World) {
    if world.get().is_some() {
        world.answer_get("2");
        assert_eq!(world.post(), Some("3"));
        world.answer_post();
    } else {
        world.frame("2");
        assert_eq!(world.frames(), ["3"]);
    }
}

/// A ping arrives, and its answer may wait.
fn hear_ping(world: &mut World) {
    if world.get().is_some() {
        world.answer_get("2");
    } else {
        world.frame("2");
    }
}

/// The packets that leave.
fn sent(world: &mut World) -> Vec<String> {
    if world.get().is_none() {
        return world.frames();
    }
    let body = world.post().map(str::to_owned);
    if body.is_some() {
        world.answer_post();
    }
    body.iter().flat_map(|body| body.split('\x1e')).map(str::to_owned).collect()
}

// The client waits for the interval only, or for the timeout only.
#[test]
fn r98_the_server_has_interval_and_timeout_from_the_last_ping() {
    for mut world in both() {
        world.advance(44_999);
        assert_eq!(world.closed(), None);
        world.advance(1);
        assert_eq!(world.closed(), TIMEOUT);
        world.assert_over();
    }
    for mut world in both() {
        for _ in 0..3 {
            world.advance(44_999);
            ping(&mut world);
        }
        assert_eq!(world.count(Event::Heartbeat), 3);
        assert_eq!(world.client.stats().heartbeats_received, 3);
        assert_eq!(world.client.stats().heartbeats_sent, 3);
        world.advance(44_999);
        assert_eq!(world.closed(), None);
        world.advance(1);
        assert_eq!(world.closed(), TIMEOUT);
        world.assert_over();
    }
}

// A ping is stuck behind much data on a slow link; but data alone is no heartbeat.
#[test]
fn r93_another_packet_extends_the_wait_once_per_ping() {
    for mut world in both() {
        let data = |world: &mut World| {
            if world.get().is_some() {
                world.answer_get("4a");
            } else {
                world.frame("4a");
            }
            assert_eq!(world.recv().as_deref(), Some("a"));
        };
        for _ in 0..2 {
            ping(&mut world);
            world.advance(20_000);
            data(&mut world);
            world.advance(44_999);
            assert_eq!(world.closed(), None);
        }
        data(&mut world);
        world.advance(1);
        assert_eq!(world.closed(), TIMEOUT, "once is enough");
    }
}

// A laptop slept, no timer went off, and the application sends into a dead connection.
#[test]
fn r96_a_message_for_a_server_whose_time_is_over_comes_back() {
    for mut world in both() {
        world.oversleep(44_999);
        world.send("in time");
        world.oversleep(1);
        let Err(SendError::Closed(message)) = world.try_send("too late") else { panic!("it is over") };
        assert_eq!(message, "too late".into());
        assert_eq!(world.closed(), TIMEOUT);
        world.assert_over();
    }
    for mut world in both() {
        world.oversleep(45_010);
        assert!(world.client.send_all(world.now, vec!["a".into()]).is_err());
        assert_eq!(world.client.close_reason(), TIMEOUT);
    }
}

// The laptop slept for longer: a ping may wait in a socket. The message waits too, so that it is not lost.
#[test]
fn r96_r120_a_message_after_a_long_sleep_waits_for_a_sign_of_life() {
    for mut world in both() {
        world.oversleep(1_000_000);
        world.send("a");
        assert_eq!((sent(&mut world), world.client.close_reason()), (Vec::<String>::new(), None));
        world.advance(4_999);
        assert_eq!((sent(&mut world), world.closed()), (Vec::<String>::new(), None));
        world.advance(1);
        assert_eq!(world.closed(), TIMEOUT, "nothing came");
        assert!(world.client.unsent().eq([&Message::from("a")]), "it was not handed over");
    }
    for mut world in both() {
        world.oversleep(1_000_000);
        world.send("a");
        hear_ping(&mut world);
        assert_eq!(sent(&mut world), ["3", "4a"]);
        world.advance(44_999);
        assert_eq!(world.closed(), None);
        world.advance(1);
        assert_eq!(world.closed(), TIMEOUT);
    }
}

// The host stood still while pings waited in its sockets.
#[test]
fn r120_a_host_that_stood_still_reads_before_it_gives_the_server_up() {
    for mut world in both() {
        world.oversleep(60_000);
        world.handle_timeout();
        assert_eq!(world.closed(), None);
        ping(&mut world);
        world.advance(44_999);
        assert_eq!(world.closed(), None);
        world.advance(1);
        assert_eq!(world.closed(), TIMEOUT);
    }
    // Once, also if the host stands still again.
    for mut world in both() {
        world.oversleep(60_000);
        world.handle_timeout();
        world.oversleep(60_000);
        world.handle_timeout();
        assert_eq!(world.closed(), TIMEOUT);
    }
}

// While the application is slow the client does not read, so it cannot see a ping: the server is not dead for that. A
// server that meanwhile takes nothing of what waits for it is.
#[test]
fn r93_a_slow_application_is_not_the_servers_fault() {
    let mut world = World::websocket_with(|config| config.receive_limit = 1);
    world.frame("4a");
    world.advance(400_000);
    assert_eq!(world.client.close_reason(), None);
    assert_eq!(world.recv_all(), ["a"]);
    world.advance(90_000);
    assert_eq!(world.closed(), TIMEOUT);

    let mut world = World::websocket_with(|config| config.receive_limit = 1);
    world.frame("4a");
    world.send("nobody takes this");
    world.advance(90_000);
    assert_eq!(world.client.close_reason(), TIMEOUT);
}

// Slow, but it takes something from time to time.
#[test]
fn r93_a_server_that_takes_something_meanwhile_is_not_dead() {
    let mut world = World::websocket_with(|config| config.receive_limit = 1);
    world.frame("4a");
    for text in ["a", "b", "c"] {
        world.send(text);
    }
    for _ in 0..2 {
        world.advance(45_000);
        assert_eq!(world.client.close_reason(), None);
        assert!(world.pull().is_some());
    }
    world.advance(90_000);
    assert_eq!(world.client.close_reason(), TIMEOUT);
}

// The application was slow for a while only: a ping of that time may be behind what it did not take.
#[test]
fn r93_the_wait_is_put_off_once_for_a_pause_that_is_over() {
    let mut world = World::websocket_with(|config| config.receive_limit = 1);
    world.frame("4a");
    world.advance(20_000);
    assert_eq!(world.recv_all(), ["a"]);
    world.advance(69_999);
    assert_eq!(world.closed(), None);
    world.advance(1);
    assert_eq!(world.closed(), TIMEOUT);
}

// A message in a POST that is not answered waits for the server. A pong there is worth nothing to the application.
#[test]
fn r93_what_a_post_carries_waits_to_be_taken() {
    let stalled = |post: &str, answer: &str| {
        let mut world = World::polling_with(|config| config.receive_limit = 1);
        if post == "4x" {
            world.send("x");
        }
        world.answer_get(answer);
        assert_eq!(world.post(), Some(post));
        world.advance(90_000);
        world.client.close_reason()
    };
    assert_eq!(stalled("4x", "4a\x1e4b"), TIMEOUT);
    assert_eq!(stalled("3", "2\x1e4a\x1e4b"), None);
}

// A message may wait, but not the answer to a ping.
#[test]
fn r93_a_pong_goes_before_messages() {
    let mut world = World::polling();
    world.send("a");
    world.send("b");
    world.answer_get("2");
    world.answer_post();
    assert_eq!(world.post(), Some("3\x1e4b"));

    let mut world = World::websocket();
    world.send("a");
    world.send("b");
    assert_eq!(world.pull().as_deref(), Some("4a"));
    world.frame("2");
    assert_eq!(world.frames(), ["3", "4b"]);
}

// A ping with data is answered without, like any other: the data `probe` belongs to a probe.
#[test]
fn r98_a_ping_is_a_ping_whatever_it_carries() {
    for mut world in both() {
        if world.get().is_some() {
            world.answer_get("2probe");
            assert_eq!(world.post(), Some("3"));
        } else {
            world.frame("2probe");
            assert_eq!(world.frames(), ["3"]);
        }
        assert_eq!(world.count(Event::Heartbeat), 1);
    }
}

// The server is silent, and the application sends all the time. That the kernel takes frames is no sign of life.
#[test]
fn r118_a_silent_server_is_given_up_although_the_application_sends() {
    let mut world = World::websocket();
    for second in 1..=45 {
        assert_eq!(world.closed(), None, "{second}");
        world.send("burst");
        assert_eq!(world.frames(), ["4burst"], "pulled, and reported as written");
        world.advance(1_000);
    }
    assert_eq!(world.closed(), TIMEOUT);
}

// The link is full, so that a ping takes long. The server reads: the connection takes more from time to time.
#[test]
fn r118_a_server_whose_link_is_full_is_alive() {
    let mut world = World::websocket();
    world.writing = false;
    world.send("large");
    assert_eq!(world.frames(), ["4large"]);
    for _ in 0..10 {
        world.advance(44_999);
        world.unblocked();
    }
    world.advance(44_999);
    assert_eq!(world.closed(), None);
    world.advance(1);
    assert_eq!(world.closed(), TIMEOUT);
}
