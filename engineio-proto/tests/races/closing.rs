//! Races of closing.

use core::time::Duration;

use engineio_proto::http::{Operation, Rejection, SessionRequest};
use engineio_proto::server::{BodyError, Entry, State};
use engineio_proto::{ChannelEnd, CloseReason, Event, ExchangeId, Phase, SendError, TransportError, TransportKind};

use crate::common::{BAD_REQUEST, UNKNOWN_SID, World};

// The server answers a poll, the client vanishes, and the application closes: the close waits for a GET for ever.
#[test]
fn r40_a_close_that_waits_for_a_vanished_client_ends() {
    let mut world = World::polling();
    world.get();
    world.send("a");
    world.close();
    world.advance(29_999);
    assert_eq!(world.closed(), None);
    world.advance(1);
    assert_eq!(world.closed(), Some(CloseReason::ForcedClose));
    world.assert_empty();

    // The heartbeat goes on meanwhile, and may be faster.
    let mut world = World::polling_with(|config| {
        config.ping_interval = Duration::from_millis(5);
        config.ping_timeout = Duration::from_millis(5);
    });
    world.get();
    world.send("a");
    world.close();
    world.advance(9);
    assert_eq!(world.closed(), None);
    world.advance(1);
    assert_eq!(world.closed(), Some(CloseReason::ForcedClose), "what was sent is written");
    world.assert_empty();

    // If it is not written, the messages are lost.
    let mut world = World::polling();
    world.writing = false;
    world.get();
    world.send("a");
    world.close();
    world.advance(29_999);
    assert_eq!(world.closed(), None);
    world.advance(1);
    assert_eq!(world.closed(), Some(CloseReason::TransportError(TransportError::CloseTimeout)));
    world.assert_empty();
}

// The application closes the session in the moment in which it begins.
#[test]
fn r41_a_session_that_is_closed_at_once_is_freed() {
    let mut world = World::polling();
    world.close();
    let get = world.get();
    assert_eq!(world.answer_of(get), Some("200 6\x1e1"));
    assert_eq!(world.closed(), Some(CloseReason::ForcedClose));
    world.assert_empty();

    // The client does not ask again.
    let mut world = World::polling();
    world.close();
    world.advance(30_000);
    assert_eq!(world.closed(), Some(CloseReason::ForcedClose));
    world.assert_empty();

    // A WebSocket still gets its open packet.
    let mut world = World::with(|_| ());
    world.open_websocket();
    world.close();
    assert!(world.frames()[0].starts_with("0{"));
    assert_eq!(world.closed(), Some(CloseReason::ForcedClose));
    world.assert_empty();
    world.assert_no_connections();
}

// The client closes by POST while its GET is held.
#[test]
fn r42_the_held_poll_of_a_client_that_closes_is_answered() {
    let mut world = World::polling();
    let get = world.get();
    let post = world.post("1");
    assert_eq!(world.answer_of(get), Some("200 6"));
    assert_eq!(world.answer_of(post), Some("200 ok"));
    assert_eq!(world.closed(), Some(CloseReason::TransportClose));
    world.assert_empty();
}

// A ping timeout, a parse error and a transport error, on each transport.
#[test]
fn r43_every_end_closes_the_transport_and_tells_the_first_cause() {
    type Cause = fn(&mut World);
    let on_websocket: [(Cause, CloseReason); 4] = [
        (|world| world.advance(45_000), CloseReason::PingTimeout),
        (|world| world.frame("abc"), CloseReason::ParseError),
        (|world| world.frame(""), CloseReason::ParseError),
        (|world| world.frame("2"), CloseReason::TransportError(TransportError::HeartbeatDirection)),
    ];
    for (cause, reason) in on_websocket {
        for mut world in [World::websocket(), World::upgraded()] {
            let channel = world.channel;
            world.frames();
            world.advance(25_000);
            assert_eq!(world.frames(), ["2"]);
            cause(&mut world);
            assert!(!world.is_open(channel));
            // The channel goes away, which is no second cause.
            world.channel_closed();
            assert_eq!(world.closed(), Some(reason));
            world.assert_empty();
        }
    }
    let on_polling: [(Cause, CloseReason); 4] = [
        (|world| world.advance(20_000), CloseReason::PingTimeout),
        (|world| _ = world.post("abc"), CloseReason::ParseError),
        (|world| _ = world.post("2"), CloseReason::TransportError(TransportError::HeartbeatDirection)),
        (|world| _ = world.post_octets(), CloseReason::TransportError(TransportError::InvalidContent)),
    ];
    for (cause, reason) in on_polling {
        let mut world = World::polling();
        world.get();
        world.advance(25_000);
        let get = world.get();
        cause(&mut world);
        assert_eq!(world.answer_of(get), Some("200 1"));
        world.lost(get);
        assert_eq!(world.closed(), Some(reason));
        world.assert_empty();
        world.assert_no_connections();
    }
}

// Several messages and a close; the socket takes one frame at a time.
#[test]
fn r44_everything_queued_is_handed_over_before_a_close() {
    let mut world = World::websocket();
    for text in ["a", "b", "c"] {
        world.send(text);
    }
    world.close();
    for text in ["4a", "4b", "4c"] {
        assert!(world.is_open(world.channel));
        assert_eq!(world.closed(), None);
        assert_eq!(world.pull().as_deref(), Some(text));
        world.advance(1_000);
    }
    assert_eq!(world.closed(), Some(CloseReason::ForcedClose));
    world.assert_no_connections();
}

// The client leaves when its GET has already taken packets, or before.
#[test]
fn r45_packets_of_a_lost_poll_are_not_silently_lost() {
    // Before: nothing was taken, and nothing is gone.
    let mut world = World::polling();
    let get = world.get();
    world.draining = false;
    world.lost(get);
    assert_eq!(world.session().close_reason(), Some(CloseReason::TransportError(TransportError::PollLost)));
    assert_eq!(world.try_send("a"), Err(SendError::Closed("a".into())));

    // Behind: the session does not go on with a hole.
    let mut world = World::polling();
    world.writing = false;
    let get = world.get();
    world.send("a");
    assert_eq!(world.answer_of(get), Some("200 4a"));
    world.lost(get);
    assert_eq!(world.closed(), Some(CloseReason::TransportError(TransportError::PollLost)));
    world.assert_empty();

    // An answer that carried nothing takes nothing with it.
    let mut world = World::polling();
    let get = world.get();
    world.probe();
    assert_eq!(world.answer_of(get), Some("200 6"));
    world.lost(get);
    assert_eq!(world.closed(), None);
}

// The server shuts down while sessions have undelivered packets, close, probe or hold requests.
#[test]
fn r46_a_shutdown_is_immediate() {
    type Step = fn(&mut World);
    let states: [Step; 9] = [
        |world| world.send("a"),
        |world| world.close(),
        |world| {
            world.send("a");
            world.close();
        },
        |world| _ = world.get(),
        |world| _ = world.post_head(),
        |world| _ = world.probe_open(),
        |world| {
            world.get();
            world.probe();
            world.close();
        },
        |world| {
            world.upgrade();
            world.send("a");
        },
        |world| {
            world.upgrade();
            world.send("a");
            world.close();
        },
    ];
    let mut world = World::with(|_| ());
    let mut keys = Vec::new();
    for reach in states {
        keys.push(world.open_polling());
        reach(&mut world);
        // On a WebSocket from the start too, where that has the words.
        keys.push(world.open_websocket());
    }
    for &key in &keys {
        world.focus(key);
        world.abort();
    }
    for key in keys {
        assert_eq!(world.closed_of(key), Some(CloseReason::ForcedClose));
    }
    world.assert_empty();
    world.assert_no_connections();
}

// The application closes twice, and sends and closes behind the end.
#[test]
fn r51_closing_is_done_once() {
    for mut world in [World::polling(), World::websocket(), World::upgraded()] {
        let transport = world.session().transport();
        world.draining = false;
        world.close();
        world.close();
        assert_eq!(world.try_send("a"), Err(SendError::Closed("a".into())));
        world.abort();
        world.abort();
        world.close();
        assert_eq!(world.try_send("b"), Err(SendError::Closed("b".into())));
        assert_eq!(world.session().phase(), Phase::Closed);
        assert_eq!(world.session().transport(), transport);
        world.drain();
        assert_eq!(world.count(Event::Closed(CloseReason::ForcedClose)), 1);
        world.assert_empty();
    }

    // The session ended by itself, and its end waits for the application to take what arrived before.
    let mut world = World::polling_with(|config| config.receive_limit = 1);
    world.post("4a\x1e4b");
    let get = world.get();
    world.lost(get);
    assert_eq!(world.closed(), None);
    world.abort();
    assert_eq!(world.recv(), None);
    assert_eq!(world.closed(), Some(CloseReason::TransportError(TransportError::PollLost)));
    world.assert_empty();
}

// The end of a session is reached in several ways at once.
#[test]
fn r55_a_session_is_removed_once() {
    let mut world = World::polling();
    let channel = world.probe_open();
    let (get, post) = (world.get(), world.post_head());
    world.draining = false;
    world.post_body(post, "1");
    world.lost(get);
    world.lost(post);
    world.channel_closed();
    world.abort();
    world.oversleep(100_000);
    world.handle_timeout();
    world.drain();
    assert_eq!(world.events(), [Event::Closed(CloseReason::TransportClose)]);
    assert!(!world.is_open(channel));
    world.assert_empty();
}

// A GET arrives when the session is closed and its end was not told yet.
#[test]
fn r56_a_request_for_a_dead_session_is_answered() {
    let mut world = World::polling();
    world.draining = false;
    world.abort();
    let get = world.get();
    assert_eq!(world.answer_of(get), Some(UNKNOWN_SID));
    let request = SessionRequest {
        sid: world.sid().to_string(),
        operation: Operation::Post,
        transport: TransportKind::Polling,
        protocol: 4,
        base64: false,
    };
    let entry = Entry::Exchange { exchange: ExchangeId(99), octet_stream: false };
    assert_eq!(world.server.enter(world.now, &request, entry), Err(Rejection::UnknownSid.into()));
    world.drain();
    world.assert_no_connections();

    // It was admitted while the session lived, and comes behind its end.
    let mut world = World::polling();
    world.draining = false;
    world.abort();
    let (get, post) = (world.late_get(), world.late_post());
    world.drain();
    assert_eq!(world.answer_of(get), Some(UNKNOWN_SID));
    assert_eq!(world.answer_of(post), Some(UNKNOWN_SID));
    world.assert_empty();
}

// The client takes nothing any more, and the application closes.
#[test]
fn r57_a_close_does_not_wait_for_the_peer() {
    for mut world in [World::polling(), World::websocket()] {
        world.send("a");
        world.close();
        world.advance(29_999);
        assert_eq!(world.closed(), None);
        world.advance(1);
        assert_eq!(world.closed(), Some(CloseReason::TransportError(TransportError::CloseTimeout)));
        world.assert_empty();
        world.assert_no_connections();
    }
}

// Very many sessions end at the same instant.
#[test]
fn r60_sessions_that_end_together_all_end() {
    let mut world = World::with(|_| ());
    let keys: Vec<_> =
        (0..200).map(|n| if n % 2 == 0 { world.open_polling() } else { world.open_websocket() }).collect();
    world.oversleep(25_000);
    world.handle_timeout();
    world.oversleep(20_000);
    world.handle_timeout();
    for (n, key) in keys.into_iter().enumerate() {
        let reason = if n % 2 == 0 {
            CloseReason::PingTimeout
        } else {
            // It did not even take its open packet.
            CloseReason::TransportError(TransportError::SlowConsumer)
        };
        assert_eq!(world.closed_of(key), Some(reason));
    }
    world.assert_empty();
    world.assert_no_connections();
}

// A page is closed in the browser.
#[test]
fn r61_a_lost_websocket_is_a_close_and_a_lost_poll_is_an_error() {
    let mut world = World::websocket();
    world.channel_closed();
    assert_eq!(world.closed(), Some(CloseReason::TransportClose));

    let mut world = World::websocket();
    world.channel_ended(ChannelEnd::Violation);
    assert_eq!(world.closed(), Some(CloseReason::TransportError(TransportError::Violation)));

    let mut world = World::polling();
    let get = world.get();
    world.lost(get);
    assert_eq!(world.closed(), Some(CloseReason::TransportError(TransportError::PollLost)));
}

// The application closes while a POST is on the way.
#[test]
fn r62_a_close_during_a_post_is_a_forced_close() {
    // A GET is there, so that the session ends at once.
    let mut world = World::polling();
    let get = world.get();
    let post = world.post_head();
    world.close();
    assert_eq!(world.answer_of(get), Some("200 1"));
    assert_eq!(world.answer_of(post), Some("aborted"));
    assert_eq!(world.closed(), Some(CloseReason::ForcedClose));
    world.post_body(post, "4late");
    assert_eq!(world.recv(), None);

    // The close waits for a GET, and the client leaves in the middle of its POST.
    let mut world = World::polling();
    let post = world.post_head();
    world.close();
    world.lost(post);
    assert_eq!(world.closed(), Some(CloseReason::ForcedClose));
    world.assert_empty();
}

// The application closes the session when it has taken the first message of several.
#[test]
fn r63_a_close_between_two_messages_drops_the_second() {
    let mut world = World::polling();
    let post = world.post("4a\x1e4b\x1e4c");
    assert_eq!(world.recv().as_deref(), Some("a"));
    world.close();
    assert_eq!(world.recv(), None);
    assert_eq!(world.answer_of(post), Some("200 ok"));

    // The rest is still undecoded, because the application is slow.
    let mut world = World::polling_with(|config| config.receive_limit = 1);
    let post = world.post("4a\x1e4b\x1e4c");
    assert_eq!(world.answer_of(post), None);
    assert_eq!(world.recv().as_deref(), Some("a"));
    world.close();
    assert_eq!(world.answer_of(post), Some("200 ok"));
    assert_eq!(world.recv(), None);
    assert_eq!(world.session().state(), State::Polling);

    // The same on a WebSocket.
    let mut world = World::websocket_with(|config| config.receive_limit = 1);
    for text in ["4a", "4b", "4c"] {
        world.frame(text);
    }
    assert_eq!(world.recv().as_deref(), Some("a"));
    world.close();
    assert_eq!(world.recv(), None);
    assert_eq!(world.closed(), Some(CloseReason::ForcedClose));
}

// A packet of a POST ends the session, and there are more behind it.
#[test]
fn r112_what_follows_the_end_in_a_payload_is_dropped() {
    for (end, reason, answer) in [
        ("1", CloseReason::TransportClose, "200 ok"),
        ("2", CloseReason::TransportError(TransportError::HeartbeatDirection), BAD_REQUEST),
        ("x", CloseReason::ParseError, BAD_REQUEST),
    ] {
        let mut world = World::polling();
        world.draining = false;
        let post = world.post(format!("4a\x1e{end}\x1e4b\x1e3\x1e1"));
        assert_eq!(world.recv_all(), ["a"]);
        world.drain();
        assert_eq!(world.answer_of(post), Some(answer));
        assert_eq!(world.events(), [Event::Readable, Event::Ended(reason), Event::Closed(reason)]);
    }

    // The session ended for another reason while the payload waited for a slow application: what would have been the
    // end is the end all the same.
    for end in ["1", "2", "x"] {
        let mut world = World::polling_with(|config| config.receive_limit = 1);
        let get = world.get();
        world.post(format!("4a\x1e4b\x1e{end}\x1e4c"));
        world.lost(get);
        assert_eq!(world.recv_all(), ["a", "b"]);
        assert_eq!(world.closed(), Some(CloseReason::TransportError(TransportError::PollLost)));
    }
}

// The application closes, and the last answer is lost on its way: the client never heard of what was in it.
#[test]
fn a_close_whose_last_answer_is_lost_says_so() {
    for written in [false, true] {
        let mut world = World::polling();
        world.writing = false;
        let get = world.get();
        world.send("a");
        world.close();
        assert_eq!(world.answer_of(get), Some("200 4a"));
        // The next poll is faster than the report.
        let next = world.get();
        assert_eq!((world.answer_of(next), world.session().phase()), (None, Phase::Closing));
        if written {
            world.write_answer(get);
        }
        world.lost(get);
        let reason = if written { CloseReason::ForcedClose } else { CloseReason::TransportLost };
        assert_eq!(world.answer_of(next), Some("200 1"));
        assert_eq!(world.closed(), Some(reason));
        world.assert_empty();
    }
}

// The same on a channel: the last frames were pulled, and the channel goes away before they are written.
#[test]
fn a_close_whose_last_frame_is_lost_says_so() {
    for written in [0, 1, 2] {
        for mut world in [World::websocket(), World::upgraded()] {
            world.writing = false;
            let channel = world.channel;
            world.send("a");
            if written == 1 {
                assert_eq!(world.frames(), ["4a"]);
                world.write();
            }
            world.send("b");
            world.close();
            world.frames();
            assert_eq!((world.closed(), world.is_open(channel)), (None, true), "it is not written");
            assert_eq!(world.session().stats().messages_written, u64::from(written == 1));
            if written == 2 {
                world.write();
            } else {
                world.channel_closed();
            }
            let reason = if written == 2 { CloseReason::ForcedClose } else { CloseReason::TransportLost };
            assert_eq!(world.closed(), Some(reason));
            world.assert_empty();
        }
    }
}

// The application closes, and the client leaves before it has taken everything, in every way that it has.
#[test]
fn a_client_that_leaves_while_the_session_closes_loses_what_it_did_not_take() {
    type Leave = fn(&mut World);
    let by_polling: [Leave; 2] = [
        |world| _ = world.post("1"),
        |world| {
            let post = world.post_head();
            world.lost(post);
        },
    ];
    let on_channel: [Leave; 2] = [|world| world.frame("1"), World::channel_closed];
    let ends = |begin: fn() -> World, leaves: [Leave; 2]| {
        for leave in leaves {
            for sent in [false, true] {
                let mut world = begin();
                if sent {
                    world.send("a");
                }
                world.close();
                assert_eq!(world.session().phase(), Phase::Closing);
                world.draining = false;
                leave(&mut world);
                assert_eq!(world.session().unsent().count(), usize::from(sent));
                world.drain();
                let reason = if sent { CloseReason::TransportLost } else { CloseReason::ForcedClose };
                assert_eq!(world.closed(), Some(reason));
                world.assert_empty();
            }
        }
    };
    ends(World::polling, by_polling);
    let not_opened = || {
        let mut world = World::with(|_| ());
        world.open_websocket();
        world
    };
    ends(not_opened, on_channel);
}

// A close that takes too long, or whose client falls silent, tells that, unless nothing is lost.
#[test]
fn a_close_that_takes_too_long_says_so() {
    for written in [false, true] {
        for mut world in [World::polling(), World::websocket()] {
            world.writing = false;
            world.send("a");
            world.close();
            if world.session().state() == State::Polling {
                world.get();
            } else {
                world.frames();
            }
            if written {
                world.write();
            }
            world.advance(30_000);
            let late = CloseReason::TransportError(TransportError::CloseTimeout);
            assert_eq!(world.closed(), Some(if written { CloseReason::ForcedClose } else { late }));
            world.assert_empty();
        }
    }
}

// An abort is what was asked for, whatever becomes of messages.
#[test]
fn an_abort_says_what_was_not_sent() {
    for mut world in [World::polling(), World::websocket()] {
        world.draining = false;
        world.send("a");
        world.send("b");
        world.close();
        world.abort();
        assert!(world.session().unsent().cloned().eq(["a".into(), "b".into()]));
        world.drain();
        assert_eq!(world.closed(), Some(CloseReason::ForcedClose));
    }
}

// The body of a POST is too large, and the client has changed its transport meanwhile: what it sent there would pass over
// the hole.
#[test]
fn a_body_that_is_too_large_ends_the_session_behind_an_upgrade_too() {
    for upgrades in [false, true] {
        let mut world = World::polling();
        let post = world.post_head();
        let mut get = None;
        if upgrades {
            world.upgrade();
            world.frame("4behind");
        } else {
            get = Some(world.get());
        }
        world.post_end(post, Err(BodyError::TooLarge));
        assert_eq!(world.answer_of(post), Some("413"));
        assert_eq!(get.map(|get| world.answer_of(get)), get.map(|_| Some("200 1")));
        assert_eq!(world.recv(), None);
        assert_eq!(world.closed(), Some(CloseReason::TransportError(TransportError::PayloadTooLarge)));
        world.assert_empty();
        world.assert_no_connections();
    }
}
