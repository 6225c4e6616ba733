//! Races of the upgrade: R-01 to R-30, R-110, R-111 and R-113.

use engineio_proto::server::State;
use engineio_proto::wire::Frame;
use engineio_proto::{ChannelEnd, CloseReason, Event, Instant, TransportError, TransportKind};

use crate::common::World;

const UPGRADED: Event = Event::Upgraded(TransportKind::WebSocket);

// A GET is held, nobody sends anything, and the client waits for that GET before it goes on with the upgrade.
#[test]
fn r01_held_poll_is_released_when_the_probe_is_answered() {
    let mut world = World::polling();
    let get = world.get();
    world.probe_open();
    assert_eq!(world.answer_of(get), None);
    world.frame("2probe");
    assert_eq!(world.frames(), ["3probe"]);
    assert_eq!(world.answer_of(get), Some("200 6"));
}

// The noop arrives before `3probe`: the client polls again, and that GET must be released as well.
#[test]
fn r02_every_poll_during_the_probe_is_released() {
    for pong_first in [true, false] {
        let mut world = World::polling();
        let mut get = world.get();
        world.probe_open();
        world.frame("2probe");
        if pong_first {
            assert_eq!(world.frames(), ["3probe"]);
        }
        let start = world.now;
        let mut released = Vec::new();
        while released.len() < 8 {
            if world.answer_of(get).is_some() {
                assert_eq!(world.answer_of(get), Some("200 6"));
                released.push((world.now - start).as_millis());
                get = world.get();
            } else {
                world.advance(1);
            }
        }
        // Quickly at first, and then every 100 ms.
        assert_eq!(released, [0, 10, 30, 70, 150, 250, 350, 450]);
        if !pong_first {
            assert_eq!(world.frames(), ["3probe"]);
        }
        world.frame("5");
        assert_eq!(world.count(UPGRADED), 1);
    }
}

// A probe fails, and the client tries another one.
#[test]
fn r02_the_polls_of_a_second_probe_are_released_as_fast_as_those_of_the_first() {
    let mut world = World::polling();
    for _ in 0..3 {
        let mut get = world.get();
        world.probe();
        let start = world.now;
        let mut released = Vec::new();
        while released.len() < 6 {
            if world.answer_of(get).is_some() {
                released.push((world.now - start).as_millis());
                get = world.get();
            } else {
                world.advance(1);
            }
        }
        assert_eq!(released, [0, 10, 30, 70, 150, 250]);
        world.channel_closed();
        world.send("a");
        assert_eq!(world.answer_of(get), Some("200 4a"));
    }
}

// A slow network: the client does not see `3probe` for long and keeps polling, or does not poll at all.
#[test]
fn r03_noops_are_at_most_one_per_tick_and_never_saved_up() {
    let mut world = World::polling();
    world.probe();
    let mut noops = 0;
    let mut get = world.get();
    for _ in 0..5_000 {
        if world.answer_of(get).is_some() {
            noops += 1;
            get = world.get();
        }
        world.advance(1);
    }
    assert_eq!(noops, 53, "0, 10, 30, 70 ms, and then every 100 ms");

    let mut world = World::polling();
    world.probe();
    world.advance(5_000);
    let first = world.get();
    assert_eq!(world.answer_of(first), Some("200 6"), "what was due for long is not counted up");
    let second = world.get();
    assert_eq!(world.answer_of(second), None);
}

// A noop is due, no GET comes, and the upgrade completes.
#[test]
fn r04_no_noop_leaves_on_the_websocket() {
    let mut world = World::polling();
    let get = world.get();
    world.probe();
    assert_eq!(world.answer_of(get), Some("200 6"));
    world.advance(300);
    world.frame("5");
    world.send("a");
    assert_eq!(world.frames(), ["4a"]);
}

// The client switches between the end of one GET and the next: there is no GET at all.
#[test]
fn r06_switching_without_a_held_poll_is_normal() {
    let mut world = World::polling();
    world.upgrade();
    assert_eq!(world.session().transport(), TransportKind::WebSocket);
    world.send("a");
    assert_eq!(world.frames(), ["4a"]);
}

// The application sends without end while the client upgrades.
#[test]
fn r07_the_switch_does_not_wait_for_an_empty_buffer() {
    let mut world = World::polling();
    let mut sent = 0;
    let mut got = Vec::new();
    let mut flood = |world: &mut World| {
        for _ in 0..10 {
            world.send(format!("{sent}"));
            sent += 1;
        }
    };
    flood(&mut world);
    world.probe();
    for _ in 0..3 {
        let get = world.get();
        got.extend(world.answer_of(get).unwrap()["200 ".len()..].split('\x1e').map(String::from));
        flood(&mut world);
    }
    world.frame("5");
    assert_eq!(world.session().state(), State::Channel);
    flood(&mut world);
    got.extend(world.frames());
    let expected: Vec<_> = (0..50).map(|n| format!("4{n}")).collect();
    assert_eq!(got, expected);
}

// A proxy has eaten the Upgrade header: the upgrade arrives as a plain GET that names the WebSocket.
#[test]
fn r08_a_stripped_upgrade_takes_no_packets() {
    let mut world = World::polling();
    world.send("a");
    let query = world.query("websocket");
    let stripped = world.request(engineio_proto::http::Method::Get, &query);
    assert_eq!(world.answer_of(stripped), Some(r#"400 {"code":3,"message":"Bad request"}"#));
    let get = world.get();
    assert_eq!(world.answer_of(get), Some("200 4a"));
}

// One side sends, and closes in the middle of the upgrade.
#[test]
fn r09_what_was_sent_before_a_close_during_the_upgrade_arrives() {
    // The client: it completes the upgrade, sends what it had, and closes.
    let mut world = World::polling();
    world.probe();
    world.frame("5");
    world.frame("4a");
    world.frame("4b");
    world.channel_closed();
    assert_eq!(world.recv_all(), ["a", "b"]);
    assert_eq!(world.closed(), Some(CloseReason::TransportClose));

    // The server, and the client completes the upgrade.
    let mut world = World::polling();
    world.probe();
    world.send("a");
    world.send("b");
    world.close();
    world.frame("5");
    assert_eq!(world.frames(), ["4a", "4b"]);
    assert_eq!(world.closed(), Some(CloseReason::ForcedClose));

    // The server, and the client gives the upgrade up.
    let mut world = World::polling();
    let channel = world.probe();
    world.send("a");
    world.close();
    world.channel_closed();
    let get = world.get();
    assert_eq!(world.answer_of(get), Some("200 4a"));
    let get = world.get();
    assert_eq!(world.answer_of(get), Some("200 6\x1e1"));
    assert_eq!(world.closed(), Some(CloseReason::ForcedClose));
    assert!(!world.is_open(channel));
}

// The application closes behind the probe, no GET is there to be told, and then `5` arrives.
#[test]
fn r10_a_close_behind_the_probe_ends_with_the_switch() {
    let mut world = World::polling();
    let channel = world.probe();
    world.close();
    assert_eq!(world.closed(), None);
    world.frame("5");
    assert_eq!(
        world.events(),
        [Event::Upgrading(TransportKind::WebSocket), UPGRADED, Event::Closed(CloseReason::ForcedClose)]
    );
    assert!(!world.is_open(channel));
    world.assert_empty();
}

// Messages are sent while a GET is there and while none is, around the switch.
#[test]
fn r15_a_flush_and_a_drain_for_every_batch_that_really_left() {
    let handover = |world: &World| {
        let events = world.events();
        events.into_iter().filter(|event| matches!(event, Event::Flush { .. } | Event::Drain)).collect::<Vec<_>>()
    };
    let mut world = World::polling();
    world.probe();
    world.send("a");
    world.send("b");
    assert_eq!(handover(&world), [], "no GET, nothing left");
    world.get();
    assert_eq!(handover(&world), [Event::Flush { packets: 2 }, Event::Drain]);
    world.send("c");
    world.frame("5");
    assert_eq!(handover(&world).len(), 2, "nothing was pulled yet");
    assert_eq!(world.frames(), ["4c"]);
    assert_eq!(handover(&world)[2..], [Event::Flush { packets: 1 }, Event::Drain]);
}

// The upgrade happens in the middle of a heartbeat interval, and takes longer than the ping timeout.
#[test]
fn r16_the_switch_does_not_restart_the_interval() {
    let mut world = World::polling_with(|config| config.ping_timeout = core::time::Duration::from_secs(5));
    world.advance(12_000);
    world.probe();
    world.advance(8_000);
    world.frame("5");
    world.advance(4_999);
    assert_eq!(world.frames(), Vec::<String>::new());
    world.advance(1);
    assert_eq!(world.frames(), ["2"], "25 s after the handshake");
    world.frame("3");
    world.advance(20_000);
    assert_eq!(world.closed(), None);
}

// A ping is outstanding when the session switches, and its pong never comes.
#[test]
fn r17_the_deadline_of_a_ping_survives_the_switch() {
    let mut world = World::polling();
    let get = world.get();
    world.advance(25_000);
    assert_eq!(world.answer_of(get), Some("200 2"));
    world.advance(5_000);
    world.upgrade();
    world.advance(14_999);
    assert_eq!(world.closed(), None);
    world.advance(1);
    assert_eq!(world.closed(), Some(CloseReason::PingTimeout));
    world.assert_no_connections();
}

// A ping is due while a channel probes.
#[test]
fn r19_the_heartbeat_goes_on_during_a_probe() {
    // It goes to a held GET; the pong comes by POST.
    let mut world = World::polling();
    world.advance(24_995);
    world.probe();
    world.get();
    let get = world.get();
    world.advance(5);
    assert_eq!(world.answer_of(get), Some("200 2"));
    world.post("3");
    assert_eq!(world.count(Event::Heartbeat), 1);

    // The pong comes on the new transport.
    let mut world = World::polling();
    world.advance(24_995);
    world.probe();
    world.get();
    let get = world.get();
    world.advance(5);
    assert_eq!(world.answer_of(get), Some("200 2"));
    world.frame("5");
    world.frame("3");
    world.advance(20_000);
    assert_eq!(world.closed(), None);

    // Without a GET it waits, and leaves on the new transport first.
    let mut world = World::polling();
    world.advance(24_995);
    world.probe();
    world.send("a");
    world.advance(5);
    world.frame("5");
    assert_eq!(world.frames(), ["2", "4a"]);

    // A probe that never ends ends by its own bound, and the heartbeat by its own.
    let mut world = World::polling();
    world.advance(20_000);
    let channel = world.probe();
    world.advance(9_999);
    assert!(world.is_open(channel));
    world.advance(1);
    assert!(!world.is_open(channel));
    world.advance(14_999);
    assert_eq!(world.closed(), None);
    world.advance(1);
    assert_eq!(world.closed(), Some(CloseReason::PingTimeout));
}

// The client switches while its POST is still on the way.
#[test]
fn r20_a_post_under_way_comes_before_what_follows_the_switch() {
    let mut world = World::polling();
    world.probe();
    let post = world.post_head();
    world.frame("5");
    assert!(!world.is_reading(world.channel));
    world.frame("4c");
    assert_eq!(world.recv(), None);
    world.post_body(post, "4a\x1e4b");
    assert_eq!(world.answer_of(post), Some("200 ok"));
    assert!(world.is_reading(world.channel));
    world.frame("4d");
    assert_eq!(world.recv_all(), ["a", "b", "c", "d"]);

    // The POST is lost: behind it would be a hole, so nothing behind it is delivered.
    let mut world = World::polling();
    world.probe();
    let post = world.post_head();
    world.frame("5");
    world.frame("4c");
    world.lost(post);
    assert_eq!(world.recv(), None);
    assert_eq!(world.closed(), Some(CloseReason::TransportError(TransportError::PostLost)));
    world.assert_empty();

    // It does not arrive in time: the same hole.
    let mut world = World::polling();
    world.probe();
    let post = world.post_head();
    world.frame("5");
    world.frame("4c");
    world.advance(30_000);
    assert_eq!(world.answer_of(post), Some("408"));
    assert_eq!(world.recv(), None);
    assert_eq!(world.closed(), Some(CloseReason::TransportError(TransportError::PostTimeout)));

    // The POST never ends, and nothing more comes: that is a silent client.
    let mut world = World::polling();
    world.probe();
    world.post_head();
    world.frame("5");
    world.frame("4c");
    world.advance(25_000);
    assert_eq!(world.frames(), ["2"]);
    world.advance(20_000);
    assert_eq!(world.recv(), None);
    assert_eq!(world.closed(), Some(CloseReason::TransportError(TransportError::PostTimeout)));
    world.assert_no_connections();
}

// A proxy accepts the upgrade but relays nothing: the channel stays open and silent for ever.
#[test]
fn r21_a_silent_probe_is_dropped_in_time_and_nothing_else_is() {
    let mut world = World::polling();
    let channel = world.probe_open();
    world.advance(9_999);
    assert!(world.is_open(channel));
    world.advance(1);
    assert!(!world.is_open(channel));
    assert_eq!(world.session().state(), State::Polling);
    world.send("a");
    let get = world.get();
    assert_eq!(world.answer_of(get), Some("200 4a"));
    world.upgrade();
    assert_eq!(world.count(UPGRADED), 1);
}

// A probe fails in each of its states, in each way.
#[test]
fn r22_a_failed_probe_leaves_nothing_behind() {
    type Failure = fn(&mut World);
    let failures: [Failure; 6] = [
        |world| world.channel_closed(),
        |world| world.channel_ended(ChannelEnd::Violation),
        |world| world.channel_ended(ChannelEnd::TooLarge),
        |world| world.frame("4a"),
        |world| world.frame_bytes(b"\x01"),
        |world| world.advance(10_000),
    ];
    let states: [Failure; 3] = [
        |world| _ = world.probe_open(),
        |world| _ = world.probe(),
        // The answer of the probe was not pulled yet.
        |world| {
            world.probe_open();
            world.frame("2probe");
        },
    ];
    for reach in states {
        for fail in failures {
            let mut world = World::polling();
            let heartbeat = world.server.next_timeout();
            for _ in 0..2 {
                reach(&mut world);
                let channel = world.channel;
                assert_ne!(world.server.next_timeout(), heartbeat);
                fail(&mut world);
                assert!(!world.is_open(channel));
                assert_eq!(world.frames_of(channel), Vec::<String>::new());
                assert_eq!(world.session().state(), State::Polling);
                assert_eq!(world.session().next_timeout(), heartbeat, "no clock of the probe ticks on");
            }
            let get = world.get();
            assert_eq!(world.answer_of(get), None, "a GET is not released any more");
            world.send("a");
            assert_eq!(world.answer_of(get), Some("200 4a"));
        }
    }
}

// Two channels probe in the same turn, and both say `5`.
#[test]
fn r24_of_two_probes_the_first_wins() {
    let mut world = World::polling();
    world.draining = false;
    let first = world.probe_open();
    let second = world.probe_open();
    for text in ["2probe", "5"] {
        for channel in [first, second] {
            world.frame_on(channel, Frame::received(text.into()));
        }
    }
    world.drain();
    assert!(world.is_open(first) && !world.is_open(second));
    assert_eq!(world.frames_of(first), ["3probe"]);
    assert_eq!(world.count(UPGRADED), 1);
}

// A second WebSocket with the same sid, at every moment.
#[test]
fn r25_a_second_websocket_never_disturbs_the_first() {
    type Step = fn(&mut World);
    // Before the first one has probed, between its probe and `5`, and behind `5`.
    let moments: [(Step, &[&str]); 3] = [
        (|world| _ = world.probe_open(), &["2probe", "5", "4good"]),
        (|world| _ = world.probe(), &["5", "4good"]),
        (|world| _ = world.upgrade(), &["4good"]),
    ];
    for (reach, rest) in moments {
        let mut world = World::polling();
        reach(&mut world);
        let first = world.channel;
        let second = world.probe_open();
        assert!(!world.is_open(second), "closed at once");
        for text in ["2probe", "5", "4evil"] {
            world.frame(text);
        }
        assert_eq!(world.recv(), None);
        world.channel_closed();
        world.channel = first;
        for text in rest {
            world.frame(text);
        }
        assert!(world.is_open(first));
        assert_eq!(world.recv_all(), ["good"]);
        assert_eq!(world.count(UPGRADED), 1);
    }

    // A session that began on a WebSocket.
    let mut world = World::websocket();
    let first = world.channel;
    let second = world.probe_open();
    assert!(!world.is_open(second));
    for text in ["2probe", "5", "4evil"] {
        world.frame(text);
    }
    assert_eq!(world.recv(), None);
    world.send("a");
    assert_eq!(world.frames_of(first), ["4a"]);
}

// The probe names another protocol revision than the session.
#[test]
fn r26_a_probe_of_another_revision_is_refused() {
    let mut world = World::polling();
    for eio in ["EIO=3&", "EIO=5&", ""] {
        let query = format!("{eio}transport=websocket&sid={}", world.sid());
        assert_eq!(world.request_upgrade(&query), Err("400 Bad request".into()));
    }
    assert_eq!(world.session().state(), State::Polling);
}

// A whole upgrade.
#[test]
fn r27_an_upgrade_is_no_new_session() {
    let mut world = World::polling();
    let key = world.key();
    world.upgrade();
    assert_eq!(world.server.keys().collect::<Vec<_>>(), [key]);
    assert_eq!(world.events(), [Event::Upgrading(TransportKind::WebSocket), UPGRADED]);
}

// `5` and the first messages arrive at once, before anybody could act on `5`.
#[test]
fn r28_messages_right_behind_the_switch_arrive_in_order() {
    let mut world = World::polling();
    world.probe();
    world.post("4a");
    world.draining = false;
    world.frame("5");
    world.frame("4b");
    world.frame_bytes(b"\x01\x02");
    world.frame("4c");
    world.drain();
    assert_eq!(world.recv_all(), ["a", "b", "<01 02>", "c"]);
}

// `5` follows `2probe` without waiting for `3probe`.
#[test]
fn r29_probe_and_switch_may_be_pipelined() {
    let mut world = World::polling();
    world.send("a");
    world.probe_open();
    world.frame("2probe");
    world.frame("5");
    assert_eq!(world.frames(), ["3probe", "4a"]);
    assert_eq!(world.session().state(), State::Channel);
}

// The client drops its held GET while it upgrades.
#[test]
fn r30_a_poll_lost_during_the_probe_ends_the_session() {
    let mut world = World::polling();
    let channel = world.probe();
    world.get();
    let get = world.get();
    assert_eq!(world.answer_of(get), None);
    world.lost(get);
    assert_eq!(world.closed(), Some(CloseReason::TransportError(TransportError::PollLost)));
    assert!(!world.is_open(channel));
    world.assert_empty();
}

// `5` arrives while the session is closing and has messages left.
#[test]
fn r110_a_closing_session_completes_the_upgrade_first() {
    let mut world = World::polling();
    let channel = world.probe();
    world.send("a");
    world.close();
    world.frame("5");
    assert_eq!(world.count(UPGRADED), 1);
    assert!(world.is_open(channel));
    assert_eq!(world.frames(), ["4a"]);
    assert!(!world.is_open(channel));
    assert_eq!(world.closed(), Some(CloseReason::ForcedClose));
}

// A close waits for a GET when an upgrade takes the session away from polling.
#[test]
fn r111_the_limit_of_a_close_ends_with_the_session() {
    let mut world = World::polling();
    world.probe();
    world.close();
    world.frame("5");
    assert_eq!(world.closed(), Some(CloseReason::ForcedClose));
    assert_eq!(world.server.next_timeout(), None::<Instant>);
    world.advance(60_000);
    assert_eq!(world.events().len(), 3);
}

// A WebSocket opens for a session that ended a moment ago.
#[test]
fn r113_a_probe_of_a_dead_session_is_closed_at_once() {
    // Its end was told: it is unknown.
    let mut world = World::polling();
    let query = world.query("websocket");
    world.post("1");
    assert_eq!(world.closed(), Some(CloseReason::TransportClose));
    assert_eq!(world.request_upgrade(&query), Err("400 Session ID unknown".into()));

    // It was admitted while the session lived, and opened after the end, before anybody was told of it.
    let mut world = World::polling();
    world.draining = false;
    world.post("1");
    let channel = world.late_probe();
    world.drain();
    assert!(!world.is_open(channel));
    world.assert_empty();
}
