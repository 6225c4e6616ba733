//! Races of the heartbeat.

use std::time::Duration;

use engineio_proto::{CloseReason, Event, TransportError, TransportKind};

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
    // A body may have as many. They are counted one by one, and told once: events do not grow with what a client sends.
    let body = vec!["3"; 1000].join("\x1e");
    for bodies in 1..=10 {
        let post = world.post(body.clone());
        assert_eq!(world.answer_of(post), Some("200 ok"));
        assert_eq!(
            (world.session().stats().heartbeats_received, world.count(Event::Heartbeat)),
            (bodies * 1000, bodies as usize)
        );
    }
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
            assert_eq!(world.recv_all(), ["a", "b"]);
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

// The host stood still while the body was under way, for longer than a body may take. What the body took is counted in full.
#[test]
fn r119_the_pong_behind_a_body_outlives_a_host_that_stood_still() {
    for (looks, answers) in [(false, true), (true, true), (false, false)] {
        let mut world = World::polling();
        world.get();
        world.advance(25_000);
        world.post("4a"); // another packet: the wait is put off once for it
        world.advance(1_000);
        let post = world.post_head();
        if looks {
            world.advance(19_000); // the wait is put off for the body
        }
        world.oversleep(60_000);
        world.post_body(post, "4b");
        assert_eq!(world.recv_all(), ["a", "b"]);
        world.recv_all();
        world.advance(18_999);
        assert_eq!(world.closed(), None, "19 seconds are left, as at the head of the body");
        if answers {
            world.post("3");
            assert_eq!(world.session().stats().heartbeats_received, 1);
        } else {
            world.advance(1);
            assert_eq!(world.closed(), Some(CloseReason::PingTimeout));
        }
    }
}

// The client is silent, and the application sends all the time. That the kernel takes frames, or that the client polls, is no
// sign of life.
#[test]
fn r118_a_silent_client_is_closed_although_the_application_sends() {
    for mut world in [World::websocket(), World::upgraded()] {
        for second in 1..=45 {
            assert_eq!(world.closed(), None, "{second}");
            for _ in 0..3 {
                world.send("burst");
            }
            // Pulled and reported as written.
            let pings = world.frames().iter().filter(|frame| *frame == "2").count();
            assert_eq!(pings, usize::from(second == 26));
            world.advance(1_000);
        }
        assert_eq!(world.closed(), Some(CloseReason::PingTimeout));
    }

    let mut world = World::polling();
    for second in 1..=45 {
        assert_eq!(world.closed(), None, "{second}");
        let get = world.get();
        world.send("burst");
        assert!(world.answer_of(get).is_some());
        world.advance(1_000);
    }
    assert_eq!(world.closed(), Some(CloseReason::PingTimeout));
}

// The link of the client is full, so that its pong takes long. It reads: the connection takes more from time to time.
#[test]
fn r118_a_client_whose_link_is_full_is_alive() {
    for (mut world, polls) in [(World::websocket(), false), (World::upgraded(), false), (World::polling(), true)] {
        world.writing = false;
        world.advance(25_000);
        if polls {
            let get = world.get();
            assert_eq!(world.answer_of(get), Some("200 2"));
        } else {
            world.send("large");
            assert_eq!(world.frames(), ["2", "4large"]);
        }
        for _ in 0..10 {
            world.advance(19_999);
            world.unblocked();
        }
        world.advance(19_999);
        assert_eq!(world.closed(), None);
        world.advance(1);
        assert_eq!(world.closed(), Some(CloseReason::PingTimeout));
    }
}

// The upload of the client is slow, and its pong is in the body.
#[test]
fn r119_a_pong_in_a_slow_upload_is_waited_for() {
    let mut world = World::polling();
    let get = world.get();
    world.advance(25_000);
    assert_eq!(world.answer_of(get), Some("200 2"));
    world.advance(1_000);
    let post = world.post_head();
    world.advance(29_999);
    assert_eq!(world.closed(), None, "55.999 s, where a silent client is closed after 45");
    world.post_body(post, "4large\x1e3");
    assert_eq!(world.answer_of(post), Some("200 ok"));
    // The next ping is due when it should be.
    world.advance(24_999);
    let get = world.get();
    assert_eq!(world.answer_of(get), None);
    world.advance(1);
    assert_eq!(world.answer_of(get), Some("200 2"));
}

// The same, and the client has changed its transport meanwhile: its pong is a frame that waits for the body.
#[test]
fn r119_a_pong_behind_a_slow_upload_is_waited_for() {
    let mut world = World::polling();
    world.advance(24_000);
    let post = world.post_head();
    world.upgrade();
    world.advance(1_000);
    assert_eq!(world.frames(), ["2"]);
    world.frame("3");
    assert!(!world.is_reading(world.channel));
    world.advance(28_999);
    assert_eq!(world.closed(), None, "53.999 s, where a silent client is closed after 45");
    world.post_body(post, "4large");
    assert_eq!(world.recv_all(), ["large"]);
    world.advance(24_999);
    assert_eq!(world.frames(), Vec::<String>::new());
    world.advance(1);
    assert_eq!(world.frames(), ["2"]);
}

// A body that does not come excuses for no longer than it may take.
#[test]
fn r119_a_silent_client_with_a_stalled_upload_is_closed_at_the_deadline_of_the_body() {
    for upgrades in [false, true] {
        let mut world = World::polling();
        world.advance(24_000);
        let post = world.post_head();
        if upgrades {
            world.upgrade();
            world.frame("4behind");
        }
        let get = (!upgrades).then(|| world.get());
        world.advance(29_999);
        assert_eq!((world.closed(), world.answer_of(post)), (None, None));
        assert_eq!(get.map(|get| world.answer_of(get)), get.map(|_| Some("200 2")));
        world.advance(1);
        assert_eq!(world.answer_of(post), Some("408"));
        assert_eq!(world.closed(), Some(CloseReason::TransportError(TransportError::PostTimeout)));
        assert_eq!(world.recv(), None, "what is behind the body would pass over a hole");
        world.assert_empty();
    }

    // The body comes in time, and no pong in it.
    let mut world = World::polling();
    world.get();
    world.advance(24_000);
    let post = world.post_head();
    world.advance(29_999);
    world.post_body(post, "4a");
    world.advance(19_999);
    assert_eq!(world.recv_all(), ["a"]);
    assert_eq!(world.closed(), None);
    world.advance(1);
    assert_eq!(world.closed(), Some(CloseReason::PingTimeout));
}

// A ping that is due before or behind the close waits. Only a message or a poll may follow.
#[test]
fn a_closing_session_sends_no_ping() {
    for close_at in [24_000, 26_000] {
        let mut world = World::polling();
        world.send("a");
        world.advance(close_at);
        world.close();
        world.advance(26_000 - close_at);
        let get = world.get();
        assert_eq!(world.answer_of(get), Some("200 4a"));
        let get = world.get();
        assert_eq!(world.answer_of(get), Some("200 6\u{1e}1"));
        assert_eq!(world.closed(), Some(CloseReason::ForcedClose));
    }

    let mut world = World::websocket();
    world.send("a");
    world.advance(26_000);
    world.close();
    assert_eq!(world.frames(), ["4a"]);
}

/// The host stands still for some time, and then sees the clock before it reads.
fn stand_still(world: &mut World, millis: u64) {
    world.oversleep(millis);
    world.handle_timeout();
}

// The pong waits in the socket of a host that stood still.
#[test]
fn r120_a_host_that_stood_still_reads_before_it_gives_a_client_up() {
    for upgraded in [false, true] {
        let mut world = if upgraded { World::upgraded() } else { World::polling() };
        for _ in 0..3 {
            let get = (!upgraded).then(|| world.get());
            world.advance(25_000);
            if let Some(get) = get {
                assert_eq!(world.answer_of(get), Some("200 2"));
            } else {
                assert_eq!(world.frames(), ["2"]);
            }
            stand_still(&mut world, 3_600_000);
            assert_eq!(world.closed(), None);
            if upgraded {
                world.frame("3");
            } else {
                world.post("3");
            }
        }
        // It does not wait longer for a client that is gone.
        world.advance(25_000);
        if upgraded {
            assert_eq!(world.frames(), ["2"]);
        }
        stand_still(&mut world, 30_000);
        world.advance(4_999);
        assert_eq!(world.closed(), None);
        world.advance(1);
        assert_eq!(world.closed(), Some(CloseReason::PingTimeout));
    }
}

// A timer that is a little late is no host that stood still. One that stands still again waits no longer.
#[test]
fn r120_a_deadline_is_put_off_only_if_it_is_late_and_only_once() {
    let pinged = || {
        let mut world = World::websocket();
        world.advance(25_000);
        assert_eq!(world.frames(), ["2"]);
        world
    };
    let mut world = pinged();
    stand_still(&mut world, 20_010);
    assert_eq!(world.closed(), Some(CloseReason::PingTimeout));
    let mut world = pinged();
    stand_still(&mut world, 20_011);
    assert_eq!(world.closed(), None);
    stand_still(&mut world, 20_011);
    assert_eq!(world.closed(), Some(CloseReason::PingTimeout));
}

// Everything else that a client must do in time may wait in a socket as well.
#[test]
fn r120_no_other_deadline_ends_what_waits_in_a_socket() {
    // The rest of a body, and a pong behind it.
    let mut world = World::polling();
    world.get();
    let post = world.post_head();
    stand_still(&mut world, 100_000);
    assert_eq!((world.closed(), world.answer_of(post)), (None, None));
    world.post_body(post, "4a");
    assert_eq!(world.recv_all(), ["a"]);
    world.advance(19_999);
    assert_eq!(world.closed(), None);
    world.post("3");
    world.advance(44_999);
    assert_eq!(world.closed(), None);

    // The poll that takes the last messages of a session that is closing.
    let mut world = World::polling();
    world.send("a");
    world.close();
    stand_still(&mut world, 40_000);
    let get = world.get();
    assert_eq!(world.answer_of(get), Some("200 4a"));
    world.get();
    assert_eq!(world.closed(), Some(CloseReason::ForcedClose));

    // The end of an upgrade.
    let mut world = World::polling();
    world.probe();
    stand_still(&mut world, 20_000);
    world.frame("5");
    assert_eq!(world.count(Event::Upgraded(TransportKind::WebSocket)), 1);

    // The first poll.
    let mut world = World::polling_with(|config| config.confirm_timeout = Duration::from_secs(10));
    stand_still(&mut world, 20_000);
    world.get();
    world.advance(24_000);
    assert_eq!(world.closed(), None);
}

// The time that a body takes does not count against the pong behind it. How long that was is not known if the host stood
// still meanwhile.
#[test]
fn r120_the_pong_behind_a_body_has_all_its_time_after_a_standstill() {
    let mut world = World::polling_with(|config| config.body_timeout = Duration::from_secs(10));
    let get = world.get();
    world.advance(25_000);
    assert_eq!(world.answer_of(get), Some("200 2"));
    // What counts once for each ping.
    world.post("4a");
    world.advance(1_000);
    let post = world.post_head();
    stand_still(&mut world, 11_000);
    world.advance(1_000);
    world.post_body(post, "4b");
    assert_eq!(world.recv_all(), ["a", "b"]);
    world.advance(19_999);
    assert_eq!(world.closed(), None);
    world.advance(1);
    assert_eq!(world.closed(), Some(CloseReason::PingTimeout));
}

// Those that nobody keeps end at last: each of them once more.
#[test]
fn r120_what_does_not_come_ends_after_it_was_put_off() {
    type Begin = fn(&mut World);
    let cases: [(Begin, u64, CloseReason); 3] = [
        (|world| _ = world.post_head(), 5_000, CloseReason::TransportError(TransportError::PostTimeout)),
        (
            |world| {
                world.send("a");
                world.close();
            },
            5_000,
            CloseReason::TransportError(TransportError::CloseTimeout),
        ),
        (|_| (), 2_500, CloseReason::TransportError(TransportError::Unconfirmed)),
    ];
    for (begin, after, reason) in cases {
        let mut world = World::polling_with(|config| {
            config.confirm_timeout = Duration::from_secs(10);
            config.ping_interval = Duration::from_secs(1000);
        });
        begin(&mut world);
        stand_still(&mut world, 60_000);
        world.advance(after - 1);
        assert_eq!(world.closed(), None);
        world.advance(1);
        assert_eq!(world.closed(), Some(reason));
    }
}
