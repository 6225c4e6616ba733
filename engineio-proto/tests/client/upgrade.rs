//! Races of the upgrade, at the client: R-02 to R-24.

use std::time::Duration;

use engineio_proto::client;
use engineio_proto::server::Config;
use engineio_proto::wire::Frame;
use engineio_proto::{ChannelEnd, ChannelId, CloseReason, Event, Message, RequestError, TransportKind, UpgradeError};

use crate::pair::Pair;
use crate::world::{LOST, UPGRADED, UPGRADING, World, failed, open_packet};

// The server's noop arrives before `3probe`: the client is not pausing yet and polls again, perhaps several times.
#[test]
fn r02_polls_between_noop_and_pong_do_not_stall_the_upgrade() {
    for noops_before_the_pong in 0..4 {
        let mut world = World::probing();
        for _ in 0..noops_before_the_pong {
            world.answer_get("6");
            assert!(world.get().is_some(), "a probe is no reason not to poll");
        }
        world.frame("3probe");
        assert_eq!((world.count(UPGRADING), world.count(UPGRADED)), (1, 0));
        assert_eq!(world.client.state(), client::State::Pausing);
        assert_eq!(world.frames(), [""; 0], "the last poll is not answered yet");
        world.answer_get("6");
        assert_eq!(world.get(), None);
        assert_eq!(world.count(UPGRADED), 1);
        assert_eq!(world.frames(), ["5"]);
    }
}

// Data that takes the last poll, and what comes on the WebSocket behind it, arrive in this order.
#[test]
fn r02_the_last_poll_is_handled_to_its_end_before_the_switch() {
    let mut world = World::pausing();
    world.answer_get("4a\x1e4b");
    assert_eq!(world.frames(), ["5"]);
    world.frame("4c");
    assert_eq!(world.recv_all(), ["a", "b", "c"]);

    // The application is slow: the rest of the last answer waits, and so does the switch.
    let mut world = World::probing_with(|config| config.receive_limit = 1);
    world.frame("3probe");
    world.answer_get("4a\x1e4b");
    assert_eq!((world.client.state(), world.get()), (client::State::Pausing, None));
    assert_eq!(world.recv().as_deref(), Some("a"));
    assert_eq!(world.client.state(), client::State::Pausing);
    assert_eq!(world.recv().as_deref(), Some("b"));
    assert_eq!(world.client.state(), client::State::Channel);
    assert_eq!(world.frames(), ["5"]);
}

// The application floods: a switch that waits until everything was posted never comes.
#[test]
fn r07_a_flood_of_messages_does_not_hold_the_switch_up() {
    let mut world = World::probing();
    for n in 0..50 {
        world.send(format!("{n}"));
    }
    assert_eq!(world.post(), Some("40"));
    world.frame("3probe");
    world.answer_get("6");
    assert_eq!(world.count(UPGRADED), 0, "what was posted must be taken first");
    world.answer_post();
    assert_eq!((world.post(), world.count(UPGRADED)), (None, 1));
    let expected: Vec<_> = (1..50).map(|n| format!("4{n}")).collect();
    assert_eq!(world.pull().as_deref(), Some("5"));
    assert_eq!(world.frames(), expected);
    assert_eq!(world.posts, ["40"]);
}

// The answer to a POST is withheld: polls make the room that the server's application waits for.
#[test]
fn a_pause_polls_while_the_answer_to_a_post_is_withheld() {
    let mut world = World::probing();
    world.send("a");
    world.frame("3probe");
    world.answer_get("6");
    world.advance(999);
    assert_eq!(world.get(), None, "most POSTs are answered soon, and a poll would hold up the switch");
    world.advance(1);
    for _ in 0..3 {
        assert!(world.get().is_some());
        world.answer_get("4b");
    }
    world.answer_post();
    assert_eq!((world.client.state(), world.count(UPGRADED)), (client::State::Pausing, 0));
    world.answer_get("6");
    assert_eq!((world.get(), world.count(UPGRADED)), (None, 1));
    assert_eq!(world.recv_all(), ["b"; 3]);

    // A pause that waits for nothing but a GET, or for the application, does not poll.
    for limit in [1, 1000] {
        let mut world = World::probing_with(|config| config.receive_limit = limit);
        world.send("a");
        world.frame("3probe");
        if limit == 1 {
            world.answer_get("4b\x1e4c");
        } else {
            world.answer_post();
        }
        let polled = world.get().is_some();
        world.advance(2000);
        assert_eq!(world.get().is_some(), polled);
    }
}

// Law 6: only the timer begins such a poll, not any call that comes later.
#[test]
fn a_pause_polls_when_it_is_woken() {
    let mut world = World::probing();
    world.send("a");
    world.frame("3probe");
    world.answer_get("6");
    let (late, channel) = (world.now + Duration::from_millis(1500), ChannelId(u64::MAX));
    assert_eq!(world.client.next_frame(late, channel), None);
    world.client.handle_input(late, client::Input::ChannelOpened { channel });
    assert_eq!(world.client.poll_output(), None);
    world.advance(1500);
    assert!(world.get().is_some());
}

// The same with a server whose application echoes, has room for one message in each direction, and waits for that.
#[test]
fn an_upgrade_does_not_stall_when_both_buffers_of_the_server_are_full() {
    let mut config = Config::default();
    (config.receive_limit, config.send_limit, config.send_low) = (1, 1, 0);
    let mut pair = Pair::waiting(client::Config::default(), config);
    let messages = ["a", "b", "c", "d"];
    for message in messages {
        pair.client_send(message).unwrap();
    }
    pair.hold_polls_behind_the_handshake();
    assert_eq!((pair.client.state(), pair.posts.len()), (client::State::Pausing, 1));
    pair.release();
    let (start, mut echo, mut received) = (pair.now, None, Vec::new());
    while !pair.client_events.contains(&UPGRADED) {
        while let Some(message) = echo.take().or_else(|| pair.server_receive()) {
            if !pair.server_send(message.clone()) {
                echo = Some(message);
                break;
            }
            pair.run();
        }
        received.extend(pair.client_received());
        assert!(pair.tick() && pair.now < start + Duration::from_secs(5), "{:#?}", pair.client);
    }
    received.extend(pair.client_received());
    assert_eq!(received, messages.map(Message::from));
}

// The drain of the upgrade packet, or the answer to the last POST, is counted for messages that it did not carry.
#[test]
fn r11_a_switch_counts_for_no_message() {
    let mut world = World::probing();
    world.send("a");
    world.send("b");
    world.frame("3probe");
    world.send("c");
    world.answer_get("6");
    world.events();
    world.answer_post();
    assert_eq!(world.events(), [Event::Drain, UPGRADED]);
    assert_eq!(world.unsent().len(), 2);
    assert_eq!(world.pull().as_deref(), Some("5"));
    assert_eq!(world.events(), []);
    assert_eq!(world.unsent().len(), 2);
    assert_eq!(world.frames(), ["4b", "4c"]);
    assert_eq!(world.events(), [Event::Flush { packets: 2 }, Event::Drain]);
    let stats = world.client.stats();
    assert_eq!((stats.messages_accepted, stats.messages_sent, world.client.send_buffered()), (3, 3, 0));

    // An answer to that POST that comes once more is nobody's.
    world.send("d");
    assert_eq!((world.unsent().len(), world.frames()), (1, vec!["4d".to_owned()]));
}

type Step = (&'static str, fn() -> World);

/// Every step of an upgrade before the switch. Nothing waits in the send buffer.
const STEPS: [Step; 6] = [
    ("opening", World::offered),
    ("opened, and the probe waits", || {
        let mut world = World::offered();
        world.opened();
        world
    }),
    ("probing", World::probing),
    ("pausing for a GET", World::pausing),
    ("pausing for both", || {
        let mut world = World::probing();
        world.send("a");
        world.frame("3probe");
        world
    }),
    ("pausing for a POST", || {
        let mut world = World::probing();
        world.send("a");
        world.frame("3probe");
        world.answer_get("6");
        world
    }),
];

// The WebSocket fails, before or after it answered the probe: the client must go on polling, and sending.
#[test]
fn r12_a_probe_that_fails_in_any_step_leaves_polling_working() {
    type Failure = (&'static str, UpgradeError, fn(&mut World));
    let failures: [Failure; 6] = [
        ("closed", UpgradeError::TransportClosed, World::channel_closed),
        ("not opened", UpgradeError::TransportClosed, |world| world.channel_ended(ChannelEnd::Unopened, None)),
        ("violation", UpgradeError::TransportClosed, |world| world.channel_ended(ChannelEnd::Violation, None)),
        ("too large", UpgradeError::TransportClosed, |world| world.channel_ended(ChannelEnd::TooLarge, None)),
        ("silence", UpgradeError::Timeout, |world| world.advance(10_000)),
        ("junk", UpgradeError::UnexpectedPacket, |world| world.frame("4junk")),
    ];
    for (step, reach) in STEPS {
        for (failure, error, fail) in failures {
            let mut world = reach();
            fail(&mut world);
            assert_eq!(world.count(failed(error)), 1, "{failure} while {step}");
            assert_eq!(world.client.state(), client::State::Polling, "{failure} while {step}");
            world.assert_polls_on();
            world.events();
            world.advance(30_000);
            assert_eq!(world.events(), [], "it is not tried again, nor told again: {failure} while {step}");
        }
    }
}

// As above, with messages that waited for the switch.
#[test]
fn r12_what_waited_for_a_switch_that_fails_is_posted() {
    for (step, reach) in STEPS {
        let mut world = reach();
        for text in ["b", "c", "d"] {
            world.send(text);
        }
        world.channel_closed();
        while world.post().is_some() {
            world.answer_post();
        }
        let posted: Vec<_> = world.posts.iter().flat_map(|body| body.split('\x1e')).collect();
        assert_eq!(posted.strip_prefix(&["4a"]).unwrap_or(&posted), ["4b", "4c", "4d"], "{step}");
        world.assert_polls_on();
    }
}

// Pausing, with an answer that waits for a slow application: there is no GET, and one must not be begun too early.
#[test]
fn r12_a_switch_that_fails_while_the_application_is_slow() {
    let mut world = World::probing_with(|config| config.receive_limit = 1);
    world.frame("3probe");
    world.answer_get("4a\x1e4b");
    world.channel_closed();
    assert_eq!((world.client.state(), world.get()), (client::State::Polling, None));
    assert_eq!(world.recv_all(), ["a", "b"]);
    world.assert_polls_on();
}

// Behind the switch there is no way back: the session ends, and nothing is silently lost.
#[test]
fn r12_behind_the_switch_there_is_no_way_back() {
    let mut world = World::switched();
    world.send("a");
    world.channel_closed();
    assert_eq!(world.closed(), Some(CloseReason::TransportClose));
    assert_eq!(world.unsent().len(), 1);
    world.assert_over();
}

// Messages that waited for the switch sit until the next one is sent, because the flush came too early.
#[test]
fn r13_what_waited_for_the_switch_leaves_with_it() {
    let mut world = World::pausing();
    world.send("a");
    world.send("b");
    assert_eq!(world.post(), None);
    assert_eq!(world.frames(), [""; 0]);
    world.answer_get("6");
    assert_eq!(world.frames(), ["5", "4a", "4b"]);
}

// Anything but `3probe` comes first: the probe is closed once, with one error, and is no zombie.
#[test]
fn r14_a_wrong_first_packet_ends_the_probe_once() {
    let text = |text: &str| Frame::received(text.into());
    let binary = Frame::Binary(b"3probe"[..].into());
    let wrong = ["", "x", "3", "3probe ", "3Probe", "2probe", "4a", "5", "1", "0{}", "b###"].map(text);
    for frame in wrong.into_iter().chain([binary]) {
        let mut world = World::probing();
        let channel = world.channel();
        world.frame_on(channel, frame.clone());
        assert_eq!(world.count(failed(UpgradeError::UnexpectedPacket)), 1, "{frame:?}");
        assert!(!world.is_open(channel));
        // What comes later is nobody's.
        world.events();
        world.frame("3probe");
        world.channel_closed();
        world.advance(10_000);
        assert_eq!(world.events(), []);
        world.assert_polls_on();
    }
}

// A noop that was meant for a poll slips onto the WebSocket, as of some servers: it is no wrong packet.
#[test]
fn r14_a_noop_on_the_probe_is_passed_over() {
    let mut world = World::probing();
    world.frame("6");
    world.frame("3probe");
    world.frame("6");
    world.answer_get("6");
    assert_eq!(world.frames(), ["5"]);
}

// The answer to the probe comes twice, or before the question.
#[test]
fn r14_a_probe_is_answered_once() {
    let mut world = World::pausing();
    world.frame("3probe");
    assert_eq!(world.count(failed(UpgradeError::UnexpectedPacket)), 1);
    world.assert_polls_on();

    let mut world = World::offered();
    world.opened();
    world.frame("3probe");
    assert_eq!(world.count(failed(UpgradeError::UnexpectedPacket)), 1);
    world.assert_polls_on();
}

// A switch restarts the timer, or forgets it: a healthy session is closed too early, or a dead one never.
#[test]
fn r16_the_deadline_of_the_next_ping_survives_the_switch() {
    let mut world = World::probing();
    world.answer_get("2");
    assert_eq!(world.post(), Some("3"));
    world.answer_post();
    world.advance(1_000);
    world.answer_get("4a"); // which extends the wait, once
    world.advance(1_000);
    world.frame("3probe");
    world.answer_get("6");
    assert_eq!(world.frames(), ["5"]);
    world.advance(43_999);
    assert_eq!(world.closed(), None);
    world.advance(1);
    assert_eq!(world.closed(), None, "the application did not take the message");
    assert_eq!(world.client.close_reason(), Some(CloseReason::PingTimeout));
    assert_eq!(world.recv_all(), ["a"]);
    assert_eq!(world.closed(), Some(CloseReason::PingTimeout));
}

// A ping comes with the last poll: it is answered on the WebSocket, in good time.
#[test]
fn r19_a_ping_during_the_switch_is_answered_behind_it() {
    let mut world = World::pausing();
    world.send("a");
    world.answer_get("2\x1e4b");
    assert_eq!(world.post(), None);
    assert_eq!(world.frames(), ["5", "3", "4a"]);
    assert_eq!(world.count(Event::Heartbeat), 1);

    // And by polling if the switch fails.
    let mut world = World::probing();
    world.send("a");
    world.frame("3probe");
    world.answer_get("2");
    world.channel_closed();
    world.answer_post();
    assert_eq!(world.post(), Some("3"));
}

// Timers or channels are left behind by a probe that fails.
#[test]
fn r22_a_failed_probe_leaves_nothing_behind() {
    for (step, reach) in STEPS {
        let mut world = reach();
        world.channel_closed();
        if world.post().is_some() {
            world.answer_post();
        }
        let mut without = World::offered();
        if step.ends_with("POST") || step.ends_with("both") {
            without.send("a");
            without.answer_post();
        }
        without.channel_closed();
        assert_eq!(world.client.next_timeout(), without.client.next_timeout(), "{step}");
        assert_eq!(world.client.current_channel(), None);
        world.abort();
        world.assert_over();
    }
}

// A packet of a probe that is over arrives, or of a channel of nobody: nothing is paused by it.
#[test]
fn r23_late_packets_of_a_dead_probe_are_ignored() {
    let late = |world: &mut World| {
        world.events();
        world.opened();
        for text in ["3probe", "4late", "1", "x"] {
            world.frame(text);
        }
        world.channel_closed();
        assert_eq!((world.events(), world.frames(), world.recv()), (vec![], vec![], None));
    };
    let mut world = World::probing();
    world.advance(10_000);
    late(&mut world);
    world.assert_polls_on();

    let mut world = World::probing();
    world.abort();
    late(&mut world);
    world.assert_over();

    // A client that is on a WebSocket cannot pause: an answer to a probe is a pong, and says nothing.
    for mut world in [World::websocket(), World::upgraded()] {
        world.events();
        world.frame("3probe");
        world.opened();
        assert_eq!((world.events(), world.frames()), (vec![], vec![]));
        assert_eq!(world.client.state(), client::State::Channel);
    }
}

// Two probes at once, and both are answered: here there is one, whatever the server offers.
#[test]
fn r24_there_is_one_probe() {
    let mut world = World::with(|_| ());
    world.answer_get(&open_packet(r#""webtransport","websocket","websocket""#, 1_000_000));
    let channel = world.channel();
    // The world asserts that no second one is asked for while this one is open.
    world.answer_get(&open_packet(r#""websocket""#, 1_000_000));
    world.probe();
    world.frame("3probe");
    world.answer_get("6");
    assert_eq!((world.channel(), world.frames()), (channel, vec!["5".to_owned()]));
    assert_eq!((world.count(UPGRADING), world.count(UPGRADED), world.count(Event::Opened)), (1, 1, 1));
}

// A request by polling fails during the upgrade: the session has a hole, and must not go on.
#[test]
fn r30_a_poll_that_is_lost_during_the_upgrade_ends_the_session() {
    for reach in [World::offered, World::probing, World::pausing] {
        let mut world = reach();
        world.fail_get(RequestError::Lost);
        assert_eq!(world.count(failed(UpgradeError::SessionClosed)), 1);
        assert_eq!(world.closed(), Some(LOST));
        assert_eq!(world.post(), Some("1"), "the server is told");
        world.assert_over();
    }
    // The server ends the session with the last poll: the switch is off.
    let mut world = World::pausing();
    world.answer_get("4a\x1e1\x1e4b");
    assert_eq!(world.recv_all(), ["a"]);
    assert_eq!(world.closed(), Some(CloseReason::TransportClose));
    assert_eq!((world.count(UPGRADED), world.client.transport()), (0, TransportKind::Polling));
    world.assert_over();
}
