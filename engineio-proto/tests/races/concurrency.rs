//! Races of polls, POSTs and the application.

use engineio_proto::http::Method;
use engineio_proto::{CloseReason, Event, Message, SendError, Sid, TransportError};

use crate::common::{BAD_REQUEST, UNKNOWN_SID, World};

// A proxy repeats a GET whose first instance is still held, however long ago that came.
#[test]
fn r70_a_repeated_poll_ends_the_session() {
    for pause in [0, 1, 24_000] {
        let mut world = World::polling();
        let first = world.get();
        world.advance(pause);
        let second = world.get();
        assert_eq!(world.answer_of(first), Some("200 1"));
        assert_eq!(world.answer_of(second), Some("400"));
        assert_eq!(world.closed(), Some(CloseReason::TransportError(TransportError::PollOverlap)));
        world.assert_empty();
    }
}

// A second POST while one is on the way, or waits for a slow application.
#[test]
fn r71_an_overlapping_post_is_answered() {
    let mut world = World::polling();
    let get = world.get();
    let first = world.post_head();
    let second = world.post_head();
    assert_eq!(world.answer_of(second), Some("400"));
    assert_eq!(world.answer_of(first), Some("aborted"));
    assert_eq!(world.answer_of(get), Some("200 1"));
    assert_eq!(world.closed(), Some(CloseReason::TransportError(TransportError::PostOverlap)));
    world.assert_empty();

    // The first was received whole: it is taken, and its messages arrive.
    let mut world = World::polling_with(|config| config.receive_limit = 1);
    let first = world.post("4a\x1e4b");
    assert_eq!(world.answer_of(first), None);
    let second = world.post("4c");
    assert_eq!(world.answer_of(second), Some("400"));
    assert_eq!(world.answer_of(first), Some("200 ok"));
    assert_eq!(world.recv_all(), ["a", "b"]);
    assert_eq!(world.closed(), Some(CloseReason::TransportError(TransportError::PostOverlap)));
}

// Three GETs at the same instant.
#[test]
fn r72_of_three_polls_one_is_told_the_end() {
    let mut world = World::polling();
    let (first, second, third) = (world.get(), world.get(), world.get());
    assert_eq!(world.answer_of(first), Some("200 1"));
    assert_eq!(world.answer_of(second), Some("400"));
    assert_eq!(world.answer_of(third), Some(UNKNOWN_SID));

    // Also when nobody pulls an output in between.
    let mut world = World::polling();
    world.draining = false;
    let (first, second, third) = (world.get(), world.get(), world.get());
    world.drain();
    assert_eq!(world.answer_of(first), Some("200 1"));
    assert_eq!(world.answer_of(second), Some("400"));
    assert_eq!(world.answer_of(third), Some(UNKNOWN_SID));
}

// The client closes by POST and polls in the same turn, in either order.
#[test]
fn r73_a_poll_and_the_clients_close_in_the_same_turn() {
    let mut world = World::polling();
    let get = world.get();
    world.post("1");
    assert_eq!(world.answer_of(get), Some("200 6"));

    let mut world = World::polling();
    world.post("1");
    let get = world.get();
    assert_eq!(world.answer_of(get), Some(UNKNOWN_SID));
}

// A GET arrives and the application sends in the same turn, in either order.
#[test]
fn r74_a_poll_and_a_send_in_the_same_turn_meet() {
    let mut world = World::polling();
    world.draining = false;
    let get = world.get();
    world.send("a");
    world.drain();
    assert_eq!(world.answer_of(get), Some("200 4a"));

    let mut world = World::polling();
    world.draining = false;
    world.send("a");
    let get = world.get();
    world.drain();
    assert_eq!(world.answer_of(get), Some("200 4a"));
    assert_eq!(world.session().send_buffered(), 0);
}

// Several packets come while a GET is held, and while none is.
#[test]
fn r75_a_batch_is_encoded_as_one_payload() {
    let mut world = World::polling();
    let get = world.get();
    world.draining = false;
    world.send("a");
    world.send(vec![1, 2, 3, 4]);
    world.send("b");
    world.drain();
    assert_eq!(world.answer_of(get), Some("200 4a"), "the first goes at once");
    world.draining = true;
    let get = world.get();
    assert_eq!(world.answer_of(get), Some("200 bAQIDBA==\x1e4b"));

    // The limit counts for the whole batch.
    let mut world = World::polling_with(|config| config.max_payload = 7);
    for text in ["a", "b", "c", "d"] {
        world.send(text);
    }
    let (first, second) = (world.get(), world.get());
    assert_eq!(world.answer_of(first), Some("200 4a\x1e4b"));
    assert_eq!(world.answer_of(second), Some("200 4c\x1e4d"));
}

// A packet does not fit into what is left of a payload.
#[test]
fn r76_a_packet_that_does_not_fit_is_first_in_the_next_poll() {
    let mut world = World::polling_with(|config| config.max_payload = 10);
    for text in ["aaaa", "bbbb", "ccc"] {
        world.send(text);
    }
    world.send(vec![0; 30]);
    world.send("d");
    let answers: Vec<_> = (0..4).map(|_| world.get()).collect();
    let answers: Vec<_> = answers.into_iter().map(|get| world.answer_of(get).unwrap().to_owned()).collect();
    assert_eq!(answers, ["200 4aaaa", "200 4bbbb\x1e4ccc", &format!("200 b{}", "A".repeat(40)), "200 4d"]);
}

// Many frames arrive before anybody looks.
#[test]
fn r78_everything_that_arrived_is_handled_at_once() {
    let mut world = World::websocket();
    for n in 0..100 {
        world.frame(&format!("4{n}"));
    }
    assert_eq!(world.count(Event::Readable), 1, "told once until all was taken");
    assert_eq!(world.recv_all(), (0..100).map(|n| n.to_string()).collect::<Vec<_>>());
    world.frame("4x");
    assert_eq!(world.count(Event::Readable), 2);
}

// The answer of a poll cannot be written.
#[test]
fn r79_an_answer_that_was_not_written_ends_the_session() {
    let mut world = World::polling();
    world.writing = false;
    world.send("a");
    let get = world.get();
    assert_eq!(world.answer_of(get), Some("200 4a"));
    world.lost(get);
    assert_eq!(world.closed(), Some(CloseReason::TransportError(TransportError::PollLost)));

    // Even behind an upgrade: what was in it is missing.
    let mut world = World::polling();
    world.writing = false;
    world.send("a");
    world.probe();
    let get = world.get();
    let channel = world.channel;
    world.frame("5");
    world.lost(get);
    assert_eq!(world.closed(), Some(CloseReason::TransportError(TransportError::PollLost)));
    assert!(!world.is_open(channel));

    // A second answer is given while the first one is being written: it says nothing of the first.
    let mut world = World::polling();
    world.writing = false;
    world.send("a");
    let first = world.get();
    world.send("b");
    let second = world.get();
    assert_eq!(world.answer_of(second), Some("200 4b"));
    world.write_answer(second);
    assert_eq!(world.session().stats().messages_written, 0);
    world.lost(first);
    assert_eq!(world.closed(), Some(CloseReason::TransportError(TransportError::PollLost)));
}

// Several answers are under way at once; the last one carries only a ping.
#[test]
fn r116_every_answer_under_way_is_written_or_lost() {
    for lost in 0..3 {
        let mut world = World::polling();
        world.writing = false;
        world.send("a");
        let first = world.get();
        world.send("b");
        let second = world.get();
        let third = world.get();
        world.advance(25_000);
        assert_eq!(world.answer_of(third), Some("200 2"));
        let mut answers = vec![first, second, third];
        let gone = answers.remove(lost);
        for answer in answers {
            world.write_answer(answer);
            assert_eq!(world.closed(), None);
        }
        let expected = [0, 1, 2][lost];
        assert_eq!(world.session().stats().messages_written, expected, "what was written before the hole");
        world.lost(gone);
        assert_eq!(world.closed(), Some(CloseReason::TransportError(TransportError::PollLost)), "{lost}");
    }
}

// Answers that are never reported do not grow a queue.
#[test]
fn r116_a_poll_waits_while_too_many_answers_are_under_way() {
    let mut world = World::polling();
    world.writing = false;
    let mut answers = Vec::new();
    for n in 0..20 {
        world.send(format!("{n}"));
        let get = world.get();
        if world.answer_of(get).is_none() {
            assert_eq!(answers.len(), 8);
            world.write_answer(answers[1]);
            assert_eq!(world.answer_of(get), None, "the one before it is under way");
            world.write_answer(answers[0]);
            assert_eq!(world.answer_of(get), Some("200 48"));
            return;
        }
        answers.push(get);
    }
    panic!("every poll was answered");
}

// The same while the client changes its transport: it waits for its poll, and must not wait for ever. Nor must the clock of
// the session stand still.
#[test]
fn r116_a_poll_that_waits_behind_many_answers_is_released_by_a_probe() {
    let mut world = World::polling();
    world.writing = false;
    for _ in 0..8 {
        world.send("a");
        world.get();
    }
    world.send("b");
    let get = world.get();
    assert_eq!(world.answer_of(get), None);
    world.probe();
    assert_eq!(world.answer_of(get), Some("200 6"));
    let get = world.get();
    assert_eq!(world.answer_of(get), None, "not as fast as the first one");
    world.advance(10);
    assert_eq!(world.answer_of(get), Some("200 6"));
    world.frame("5");
    assert_eq!(world.frames(), ["4b"]);
    assert_eq!(world.closed(), None);
}

// The client's next request is faster than the answer to its handshake.
#[test]
fn r108_a_session_is_known_before_its_handshake_is_answered() {
    let mut world = World::with(|_| ());
    world.draining = false;
    world.open_polling();
    let post = world.post("4a");
    let get = world.get();
    world.drain();
    assert_eq!(world.answer_of(post), Some("200 ok"));
    assert_eq!(world.answer_of(get), None);
    assert_eq!(world.recv().as_deref(), Some("a"));
}

// A session ends, another takes its id, and only then the end of the first is told.
#[test]
fn r109_the_end_of_a_session_leaves_a_newer_one_alone() {
    let sid = Sid::new("mine").unwrap();
    let mut world = World::with(|_| ());
    world.draining = false;
    let old = world.open_with_sid(sid.clone()).unwrap();
    assert!(world.open_with_sid(sid.clone()).is_err(), "taken");
    world.focus(old);
    world.abort();
    let new = world.open_with_sid(sid.clone()).unwrap();
    assert_ne!(old, new);
    world.drain();
    assert_eq!(world.closed_of(old), Some(CloseReason::ForcedClose));
    assert_eq!(world.closed_of(new), None);
    assert_eq!(world.server.find(&sid), Some(new));
    assert!(world.server.session(old).is_none());
}

// A plain request names the WebSocket of a session that is on one.
#[test]
fn r115_a_plain_request_for_a_websocket_session_is_refused() {
    for mut world in [World::websocket(), World::upgraded()] {
        for transport in ["websocket", "polling"] {
            for method in [Method::Get, Method::Post, Method::Other] {
                let query = world.query(transport);
                let exchange = world.request(method, &query);
                assert_eq!(world.answer_of(exchange), Some(BAD_REQUEST), "{method:?} {transport}");
            }
        }
        world.send("a");
        assert_eq!(world.frames(), ["4a"]);
        world.abort();
        assert_eq!(world.closed(), Some(CloseReason::ForcedClose));
    }
}

// The buffer is full, which is no reason to lose or reorder anything.
#[test]
fn r76_a_message_given_back_is_not_lost() {
    let mut world = World::polling_with(|config| {
        config.send_limit = 2 * (1 + Message::OVERHEAD);
        config.send_low = 0;
    });
    world.send("a");
    world.send("b");
    assert_eq!(world.try_send("c"), Err(SendError::Full("c".into())));
    assert_eq!(world.count(Event::Writable), 0);
    let get = world.get();
    assert_eq!(world.answer_of(get), Some("200 4a\x1e4b"));
    assert_eq!(world.count(Event::Writable), 1);
    world.send("c");
    let get = world.get();
    assert_eq!(world.answer_of(get), Some("200 4c"));

    // There is room again at the low mark, not at the first byte.
    let mut world = World::websocket_with(|config| {
        config.send_limit = 4 * (1 + Message::OVERHEAD);
        config.send_low = 2 * (1 + Message::OVERHEAD);
    });
    for text in ["a", "b", "c", "d"] {
        world.send(text);
    }
    assert_eq!(world.try_send("e"), Err(SendError::Full("e".into())));
    assert_eq!(world.pull().as_deref(), Some("4a"));
    assert_eq!(world.count(Event::Writable), 0);
    assert_eq!(world.pull().as_deref(), Some("4b"));
    assert_eq!(world.count(Event::Writable), 1);
    world.send("e");
    assert_eq!(world.frames(), ["4c", "4d", "4e"]);
    assert_eq!(world.count(Event::Writable), 1);
}
