//! Races of closing, at the client: R-09, R-42 to R-64, R-112 and R-114.

use core::time::Duration;

use engineio_proto::client;
use engineio_proto::{
    ChannelEnd, CloseReason, Event, Phase, RequestError, SendError, TransportError, TransportKind, UpgradeError,
};

use crate::world::{INVALID, LOST, UPGRADED, World, failed, open_packet};

const FORCED: Option<CloseReason> = Some(CloseReason::ForcedClose);

type State = (&'static str, fn() -> World);

/// Every state of a session that is open.
const STATES: [State; 8] = [
    ("polling", World::polling),
    ("opening a probe", World::offered),
    ("probing", World::probing),
    ("pausing", World::pausing),
    ("switched", World::switched),
    ("upgraded", World::upgraded),
    ("on a WebSocket", World::websocket),
    ("posting", || {
        let mut world = World::polling();
        world.send("posted");
        world
    }),
];

/// Answers and takes whatever the client wants, as a server that is well.
fn finish(world: &mut World) -> Vec<String> {
    let mut seen = Vec::new();
    for _ in 0..20 {
        if let Some(body) = world.post() {
            seen.extend(body.split('\x1e').map(str::to_owned));
            world.answer_post();
        }
        if world.channel_asked().is_some() {
            seen.extend(world.frames());
        }
        if world.get().is_some() {
            world.answer_get("6");
        }
    }
    seen
}

// The application sends, and closes in the middle of an upgrade: everything must arrive.
#[test]
fn r09_what_was_sent_before_a_close_is_delivered_in_every_state() {
    for (state, reach) in STATES {
        let mut world = reach();
        for text in ["a", "b", "c"] {
            world.send(text);
        }
        world.close();
        assert_eq!((world.closed(), world.client.phase()), (None, Phase::Closing), "{state}");
        let seen: Vec<_> = finish(&mut world).into_iter().filter(|packet| packet.starts_with('4')).collect();
        let seen: Vec<_> = seen.iter().filter(|packet| *packet != "4posted").collect();
        assert_eq!(seen, ["4a", "4b", "4c"], "{state}");
        assert_eq!((world.closed(), world.unsent().len()), (FORCED, 0), "{state}");
        world.assert_over();
    }
}

// The client's goodbye and the poll that is still held: the poll is given up, whatever it would be answered.
#[test]
fn r42_the_poll_of_a_client_that_closes_is_given_up() {
    let mut world = World::polling();
    let get = world.get().unwrap();
    world.close();
    assert_eq!(world.post(), Some("1"));
    assert!(!world.is_cancelled(get), "it may bring messages until the server has taken the goodbye");
    world.answer_get("4late\x1e6");
    assert_eq!(world.get(), None, "it is not begun again");
    world.answer_post();
    assert_eq!(world.closed(), None);
    assert_eq!(world.recv_all(), ["late"]);
    assert_eq!(world.closed(), FORCED);

    let mut world = World::polling();
    let get = world.get().unwrap();
    world.close();
    world.answer_post();
    assert!(world.is_cancelled(get));
    assert_eq!(world.closed(), FORCED);
    world.assert_over();
}

// Whatever ends a session closes its transport, and the first cause is what is told.
#[test]
fn r43_every_end_closes_the_transport_and_tells_the_first_cause() {
    type Cause = (fn(&mut World), CloseReason);
    let post_lost = CloseReason::TransportError(TransportError::Post(RequestError::Lost));
    let anywhere: [Cause; 2] =
        [(World::abort, CloseReason::ForcedClose), (|world| world.advance(45_000), CloseReason::PingTimeout)];
    let by_polling: [Cause; 5] = [
        (|world| world.answer_get("1"), CloseReason::TransportClose),
        (|world| world.answer_get("x"), INVALID),
        (|world| world.answer_get(""), INVALID),
        (|world| world.fail_get(RequestError::Lost), LOST),
        (
            |world| world.answer_get_with(500, "no"),
            CloseReason::TransportError(TransportError::Poll(RequestError::Status(500))),
        ),
    ];
    let on_channel: [Cause; 4] = [
        (|world| world.frame("1"), CloseReason::TransportClose),
        (|world| world.frame("x"), INVALID),
        (|world| world.frame(""), INVALID),
        (World::channel_closed, CloseReason::TransportClose),
    ];
    for (state, reach) in STATES {
        let polls = reach().client.state().is_polling();
        let more: &[Cause] = if polls { &by_polling } else { &on_channel };
        for (cause, reason) in anywhere.iter().chain(more) {
            let mut world = reach();
            let (get, posting) = (world.get(), world.post().is_some());
            let answered = matches!(*reason, CloseReason::TransportClose | INVALID);
            cause(&mut world);
            assert_eq!(world.closed(), Some(*reason), "{state}");
            if let Some(get) = get.filter(|_| *reason == CloseReason::ForcedClose) {
                assert!(world.is_cancelled(get), "{state}");
            }
            // A second cause is none.
            world.events();
            if let Some(get) = get.filter(|_| !answered) {
                world.answer(get, 200, "4late".into());
            }
            if world.channel_asked().is_some() {
                world.channel_closed();
            }
            world.abort();
            world.advance(100_000);
            assert_eq!((world.events(), world.recv()), (vec![], None), "{state}");
            world.assert_over();
            assert!(!posting || world.posts.len() == 1, "never two POSTs: {state}");
        }
    }
    let mut world = STATES[7].1();
    world.fail_post(RequestError::Lost);
    assert_eq!(world.closed(), Some(post_lost));
    world.assert_over();
}

// Several messages, then a close: only the first leaves.
#[test]
fn r44_everything_leaves_before_the_close() {
    let mut world = World::websocket();
    for text in ["a", "b", "c"] {
        world.send(text);
    }
    world.close();
    let channel = world.channel();
    for expected in ["4a", "4b"] {
        assert_eq!(world.pull().as_deref(), Some(expected));
        assert!(world.is_open(channel));
    }
    assert_eq!(world.pull().as_deref(), Some("4c"));
    assert!(!world.is_open(channel));
    assert_eq!(world.closed(), FORCED);

    let mut world = World::polling();
    for text in ["a", "b", "c"] {
        world.send(text);
    }
    world.close();
    world.answer_post();
    assert_eq!(world.post(), Some("4b\x1e4c\x1e1"));
    assert_eq!(world.closed(), None, "they are not there yet");
    world.answer_post();
    assert_eq!(world.closed(), FORCED);
}

// The close packet counts for the limit too, and waits for a POST of its own when there is no room for it.
#[test]
fn r44_the_close_packet_keeps_within_the_limit() {
    for (len, posts) in [(7, vec!["4aaaaaaa\x1e1"]), (8, vec!["4aaaaaaaa", "1"]), (9, vec!["4aaaaaaaaa", "1"])] {
        let mut world = World::limited(10);
        world.send("x");
        world.send("a".repeat(len));
        world.close();
        finish(&mut world);
        assert_eq!(world.posts[1..], posts);
        assert_eq!(world.closed(), FORCED);
    }
}

// Close while the handshake is on its way: no POST without an id (which would be a second handshake), and no session
// that the server keeps until its heartbeat ends.
#[test]
fn r47_a_close_while_opening_posts_nothing_without_an_id() {
    let mut world = World::with(|_| ());
    world.close();
    // The world asserts that no POST leaves before there is an id.
    assert_eq!((world.closed(), world.post()), (None, None));
    world.answer_get_with(500, "");
    assert_eq!((world.closed(), world.post()), (FORCED, None));
    world.assert_over();

    // The server does not answer at all.
    let mut world = World::with(|_| ());
    let get = world.get().unwrap();
    world.close();
    world.advance(19_999);
    assert_eq!(world.closed(), None);
    world.advance(1);
    assert_eq!(world.closed(), FORCED);
    assert!(world.is_cancelled(get));
    assert_eq!(world.count(Event::Opened), 0);
    world.assert_over();

    // An abort does not wait.
    let mut world = World::with(|_| ());
    let get = world.get().unwrap();
    world.abort();
    assert_eq!(world.closed(), FORCED);
    assert!(world.is_cancelled(get));
    world.answer(get, 200, open_packet("", 100).into());
    world.assert_over();

    // Another transport is not tried for a goodbye.
    let mut world = World::trying(TransportKind::Polling);
    world.close();
    world.fail_get(RequestError::Unreachable);
    assert_eq!((world.closed(), world.channel_asked()), (FORCED, None));
}

#[test]
fn r48_a_client_that_gave_up_tells_the_server_when_it_opens() {
    let mut world = World::with(|_| ());
    world.close();
    world.answer_get(&open_packet(r#""websocket""#, 1_000_000));
    assert_eq!(world.post(), Some("1"));
    assert!(world.post_target().contains("&sid=abc"));
    assert_eq!((world.get(), world.channel_asked()), (None, None), "no poll, no probe");
    world.answer_post();
    assert_eq!(world.events(), [Event::Closed(CloseReason::ForcedClose)], "it was never open for the application");
    world.assert_over();

    // With something to deliver.
    let mut world = World::with(|_| ());
    world.send("a");
    world.close();
    world.answer_get(&open_packet("", 1_000_000));
    assert_eq!(world.post(), Some("4a\x1e1"));

    // On a WebSocket, to close it says everything.
    for opened in [false, true] {
        let mut world = World::only(TransportKind::WebSocket);
        if opened {
            world.opened();
        }
        world.close();
        assert_eq!(world.events(), [Event::Closed(CloseReason::ForcedClose)]);
        world.assert_over();
    }
    let mut world = World::only(TransportKind::WebSocket);
    world.send("a");
    world.close();
    world.opened();
    assert_eq!(world.closed(), None);
    world.frame(&open_packet("", 1_000_000));
    assert_eq!(world.frames(), ["4a"]);
    assert_eq!(world.closed(), FORCED);
    world.assert_over();
}

// A client that is over goes on polling, for ever.
#[test]
fn r49_an_end_stops_the_loop_of_polls() {
    for reach in [World::polling, World::offered, World::probing, World::pausing] {
        let mut world = reach();
        let get = world.get().unwrap();
        world.abort();
        assert!(world.is_cancelled(get));
        // The answer comes all the same.
        world.answer(get, 200, "6".into());
        assert_eq!(world.get(), None);
        world.assert_over();
    }
}

// The server falls silent: the transport is closed, and the server is told as far as that goes.
#[test]
fn r50_a_ping_timeout_closes_the_transport() {
    let mut world = World::polling();
    let get = world.get().unwrap();
    world.advance(45_000);
    assert_eq!(world.closed(), Some(CloseReason::PingTimeout));
    assert!(world.is_cancelled(get));
    assert_eq!(world.post(), Some("1"));
    world.assert_over();

    for mut world in [World::websocket(), World::upgraded()] {
        world.advance(45_000);
        assert_eq!(world.closed(), Some(CloseReason::PingTimeout));
        world.assert_over();
    }
}

// Close twice, send behind the end.
#[test]
fn r51_closing_is_done_once() {
    for (state, reach) in STATES {
        let mut world = reach();
        world.close();
        world.close();
        assert!(matches!(world.try_send("late"), Err(SendError::Closed(_))), "{state}");
        finish(&mut world);
        assert_eq!(world.closed(), FORCED, "{state}");
        world.events();
        world.close();
        world.abort();
        assert!(matches!(world.try_send("late"), Err(SendError::Closed(_))));
        assert_eq!(world.events(), []);
        world.assert_over();
    }
}

// An abort ends a close that takes its time, with the same reason.
#[test]
fn r51_an_abort_ends_a_close() {
    let mut world = World::pausing();
    world.send("a");
    world.close();
    world.abort();
    assert_eq!(world.closed(), FORCED);
    assert_eq!(world.unsent().len(), 1);
    world.assert_over();
}

// The application closes the session in the moment in which it opens: nothing is left of a probe or a timer.
#[test]
fn r52_a_session_that_is_closed_when_it_opens() {
    let mut world = World::offered();
    let channel = world.channel();
    world.close();
    assert!(!world.is_open(channel), "an answer to the probe was not promised yet");
    assert_eq!(world.post(), Some("1"));
    world.answer_post();
    let events = [Event::Opened, failed(UpgradeError::SessionClosed), Event::Closed(CloseReason::ForcedClose)];
    assert_eq!(world.events(), events);
    world.assert_over();
}

// The session ends while polling is pausing: the server is told.
#[test]
fn r53_an_end_while_pausing_is_told_to_the_server() {
    let mut world = World::pausing();
    world.abort();
    assert_eq!(world.post(), Some("1"));
    world.assert_over();

    let mut world = World::probing_with(|config| config.upgrade_timeout = Duration::from_secs(100));
    world.frame("3probe");
    world.advance(45_000);
    assert_eq!((world.closed(), world.post()), (Some(CloseReason::PingTimeout), Some("1")));
    world.assert_over();

    // The switch that a close waits for fails.
    let mut world = World::pausing();
    world.close();
    assert_eq!(world.post(), None);
    world.channel_closed();
    assert_eq!(world.post(), Some("1"));
    world.answer_post();
    assert_eq!(world.closed(), FORCED);

    // The time for the close is over first.
    let mut world = World::probing_with(|config| config.close_timeout = Duration::from_secs(1));
    world.frame("3probe");
    world.close();
    world.advance(1_000);
    assert_eq!((world.closed(), world.post()), (FORCED, Some("1")));
    world.assert_over();
}

// A goodbye while another POST is under way would be an overlap.
#[test]
fn r54_there_are_never_two_posts() {
    // The world asserts it after every word.
    let ends: [fn(&mut World); 4] = [
        World::abort,
        |world| world.fail_get(RequestError::Lost),
        |world| world.answer_get("x"),
        |world| world.advance(45_000),
    ];
    for end in ends {
        for pausing in [false, true] {
            let mut world = World::probing_with(|config| config.upgrade_timeout = Duration::from_secs(100));
            world.send("a");
            if pausing {
                world.frame("3probe");
            }
            end(&mut world);
            assert_eq!((world.post(), world.posts.len()), (None, 1), "its loss tells the server enough");
            world.assert_over();
        }
    }
}

// A close waits for a peer that does nothing.
#[test]
fn r57_a_close_takes_a_bounded_time() {
    for (state, reach) in STATES {
        let mut world = reach();
        world.send("a");
        world.close();
        world.advance(29_999);
        assert_eq!(world.client.phase(), Phase::Closing, "{state}");
        world.advance(1);
        let lost = CloseReason::TransportError(TransportError::CloseTimeout);
        assert_eq!(world.closed(), Some(lost), "{state}: a message was not delivered");
        world.assert_over();
    }
    // What could not be handed over can still be read.
    let mut world = World::websocket();
    world.send("a");
    world.close();
    world.advance(30_000);
    assert_eq!(world.unsent().len(), 1);
}

// One half of the client dies, and the other one lives on.
#[test]
fn r58_if_one_half_dies_the_other_goes_with_it() {
    let mut world = World::polling();
    world.send("a");
    let get = world.get().unwrap();
    world.fail_post(RequestError::Lost);
    assert!(world.is_cancelled(get));
    assert_eq!(world.closed(), Some(CloseReason::TransportError(TransportError::Post(RequestError::Lost))));

    let mut world = World::polling();
    world.send("a");
    world.fail_get(RequestError::Lost);
    assert_eq!((world.post(), world.closed()), (None, Some(LOST)));
    world.assert_over();
}

// What one connection could not send leaves with the next one.
#[test]
fn r59_another_client_knows_nothing_of_this_one() {
    let mut world = World::websocket();
    world.send("a");
    world.channel_closed();
    assert_eq!(world.unsent().len(), 1);
    let config = world.client.config().clone();
    let mut next = World::with(|same| *same = (*config).clone());
    next.opened();
    next.frame(&open_packet("", 1_000_000));
    assert_eq!((next.frames(), next.unsent().len()), (vec![], 0));
}

// The connection of a WebSocket dies, and that of a poll.
#[test]
fn r61_a_lost_websocket_is_a_close_and_a_lost_poll_is_an_error() {
    let mut world = World::websocket();
    world.channel_closed();
    assert_eq!(world.closed().map(CloseReason::as_str), Some("transport close"));
    let mut world = World::polling();
    world.fail_get(RequestError::Lost);
    assert_eq!(world.closed().map(CloseReason::as_str), Some("transport error"));
}

// The server closes, and there are more packets behind that.
#[test]
fn r112_what_follows_the_end_is_dropped() {
    for (end, reason) in [("1", CloseReason::TransportClose), ("x", INVALID), ("", INVALID)] {
        let mut world = World::polling();
        world.answer_get(&format!("4a\x1e{end}\x1e4b\x1e2\x1e1"));
        assert_eq!(world.recv_all(), ["a"]);
        assert_eq!(world.events()[1..], [Event::Readable, Event::Ended(reason), Event::Closed(reason)]);
        world.assert_over();

        let mut world = World::websocket();
        for text in ["4a", end, "4b", "2"] {
            world.frame(text);
        }
        assert_eq!(world.recv_all(), ["a"]);
        assert_eq!(world.closed(), Some(reason));
        world.assert_over();

        // The application is slow, and the frames wait.
        let mut world = World::websocket_with(|config| config.receive_limit = 1);
        for text in ["4a", end, "4b", "2"] {
            world.frame(text);
        }
        assert_eq!(world.recv_all(), ["a"]);
        assert_eq!(world.closed(), Some(reason));
        world.assert_over();
    }

    // The session ended for another reason, while packets waited for a slow application: what would have been the end
    // is the end all the same.
    for end in ["1", "x"] {
        let mut world = World::polling_with(|config| config.receive_limit = 1);
        world.send("lost");
        world.answer_get(&format!("4a\x1e4b\x1e{end}\x1e4c"));
        world.fail_post(RequestError::Lost);
        assert_eq!(world.recv_all(), ["a", "b"]);
        let reason = CloseReason::TransportError(TransportError::Post(RequestError::Lost));
        assert_eq!(world.closed(), Some(reason));
    }
}

// The application ends the session at once when it has taken the first message of several.
#[test]
fn r112_an_abort_between_two_messages_drops_the_second() {
    for receive_limit in [1, 1 << 20] {
        let mut world = World::polling_with(|config| config.receive_limit = receive_limit);
        world.answer_get("4a\x1e4b\x1e4c");
        assert_eq!(world.recv().as_deref(), Some("a"));
        world.abort();
        assert_eq!((world.recv(), world.closed()), (None, FORCED));
    }
}

// A close takes its time, and the server pings meanwhile: without an answer it would cut the rest off.
#[test]
fn r114_pings_are_answered_while_closing() {
    let mut world = World::polling();
    world.send("a");
    world.close();
    world.answer_get("2");
    world.answer_post();
    assert_eq!(world.post(), Some("3\x1e1"));
    world.answer_post();
    assert_eq!(world.closed(), FORCED);

    let mut world = World::websocket();
    world.send("a");
    world.send("b");
    world.close();
    assert_eq!(world.pull().as_deref(), Some("4a"));
    world.frame("2");
    assert_eq!(world.frames(), ["3", "4b"]);
    assert_eq!(world.closed(), FORCED);

    let mut world = World::pausing();
    world.send("a");
    world.close();
    world.answer_get("2");
    assert_eq!(world.frames(), ["5", "3", "4a"]);
    assert_eq!((world.count(UPGRADED), world.closed()), (1, FORCED));
}

// A close that fails on its way: who asked for the end gets it, unless messages are lost with it.
#[test]
fn r53_a_close_that_fails_tells_whether_messages_were_lost() {
    let post_lost = Some(CloseReason::TransportError(TransportError::Post(RequestError::Lost)));
    for (message, reason) in [(None, FORCED), (Some("a"), post_lost)] {
        let mut world = World::polling();
        if let Some(message) = message {
            world.send(message);
        }
        world.close();
        world.fail_post(RequestError::Lost);
        assert_eq!(world.closed(), reason);
        world.assert_over();
    }
    let mut world = World::websocket();
    world.send("a");
    world.close();
    world.channel_closed();
    assert_eq!(world.closed(), Some(CloseReason::TransportLost));

    let mut world = World::switched();
    world.close();
    world.channel_closed();
    assert_eq!((world.closed(), world.client.state()), (FORCED, client::State::Closed));
}

// The application closes, and the channel goes away before the last frames are written.
#[test]
fn a_close_whose_last_frame_is_lost_says_so() {
    for written in [0, 1, 2] {
        for mut world in [World::websocket(), World::upgraded()] {
            world.writing = false;
            world.send("a");
            if written == 1 {
                assert_eq!(world.frames(), ["4a"]);
                world.write();
            }
            world.send("b");
            world.close();
            world.frames();
            assert_eq!((world.closed(), world.client.phase()), (None, Phase::Closing), "it is not written");
            if written == 2 {
                world.write();
                world.frames();
                assert_eq!(world.client.close_reason(), FORCED);
            } else {
                world.channel_ended(ChannelEnd::Lost, None);
                assert_eq!(world.closed(), Some(CloseReason::TransportLost));
                world.assert_over();
            }
            assert_eq!(world.unsent().len(), 0);
        }
    }
}

// The application closes, and the server leaves before it has taken everything.
#[test]
fn a_server_that_leaves_while_the_client_closes_loses_what_it_did_not_take() {
    for sent in [false, true] {
        let reason = Some(if sent { CloseReason::TransportLost } else { CloseReason::ForcedClose });
        let mut world = World::polling();
        if sent {
            world.send("a");
        }
        world.close();
        world.answer_get("1");
        assert_eq!(world.closed(), reason, "by polling");
        world.assert_over();

        // On a channel a client with nothing to say is closed at once.
        let leaves: [fn(&mut World); 2] = [|world| world.frame("1"), World::channel_closed];
        for leave in leaves {
            let mut world = World::switched();
            if sent {
                world.send("a");
            }
            world.close();
            assert_eq!(world.closed(), None, "`5` has not left");
            leave(&mut world);
            assert_eq!((world.closed(), world.unsent().len()), (reason, usize::from(sent)), "on a channel");
        }
    }
}

// The answer to the last POST is lost: nobody knows whether it arrived.
#[test]
fn a_close_whose_last_post_is_lost_says_so() {
    let mut world = World::polling();
    world.send("a");
    world.close();
    world.answer_post();
    assert_eq!(world.post(), Some("1"));
    world.fail_post(RequestError::Lost);
    assert_eq!(world.closed(), FORCED, "everything that was sent is written");

    let mut world = World::polling();
    world.send("a");
    world.send("b");
    world.close();
    world.answer_post();
    assert_eq!(world.post(), Some("4b\x1e1"));
    world.fail_post(RequestError::Lost);
    assert_eq!(world.closed(), Some(CloseReason::TransportError(TransportError::Post(RequestError::Lost))));
}
