//! Regression tests.

use std::time::Duration;

use engineio_proto::{ChannelId, CloseReason, Event, RequestError, TransportError, client};

use crate::world::{NO_HANDSHAKE, World, open_packet};

const FORCED: Option<CloseReason> = Some(CloseReason::ForcedClose);

// The first packet was no handshake, and the messages behind it were delivered: of a session that never was.
#[test]
fn y032_nothing_is_delivered_of_a_session_that_never_opened() {
    let mut world = World::with(|_| ());
    world.answer_get("4a\x1e4b\x1e4c");
    assert_eq!((world.recv(), world.events()), (None, vec![Event::Closed(NO_HANDSHAKE)]));
    assert_eq!(world.client.stats().messages_received, 0);
    world.assert_over();
}

// The goodbye is taken before the poll arrives, which finds nobody: that is no failure of what the goodbye carries.
#[test]
fn r73_a_poll_that_is_refused_behind_the_goodbye_changes_nothing() {
    let failures: [fn(&mut World); 3] = [
        |world| world.answer_get_with(400, r#"{"code":1,"message":"Session ID unknown"}"#),
        |world| world.fail_get(RequestError::Lost),
        |world| world.answer_get("6"),
    ];
    for fail in failures {
        let mut world = World::with(|_| ());
        world.answer_get(&open_packet("", 1_000_000));
        world.send("a");
        world.send("b");
        world.close();
        world.answer_post();
        assert_eq!(world.post(), Some("4b\x1e1"));
        fail(&mut world);
        assert_eq!((world.closed(), world.post()), (None, Some("4b\x1e1")), "what it carries may still arrive");
        world.answer_post();
        assert_eq!(world.closed(), FORCED);
        world.assert_over();
    }
}

// Very many pings: one pong that is owed answers them all, and they are told as one. How often they were told hung on
// when the outputs were pulled.
#[test]
fn r91_many_pings_at_once_are_answered_once() {
    let mut world = World::polling();
    world.answer_get(&["2"; 1000].join("\x1e"));
    assert_eq!((world.post(), world.count(Event::Heartbeat)), (Some("3"), 1));
    let mut world = World::websocket();
    for _ in 0..1000 {
        world.frame("2");
    }
    assert_eq!((world.frames(), world.count(Event::Heartbeat)), (vec!["3".to_owned()], 1));
    assert_eq!(world.client.stats().heartbeats_received, 1000);
}

// The last POST carries an answer to a ping and no message: it was flushed, but never drained.
#[test]
fn r15_a_drain_follows_every_flush() {
    let mut world = World::polling();
    world.send("a");
    world.close();
    world.answer_get("2");
    world.answer_post();
    assert_eq!(world.post(), Some("3\x1e1"));
    world.events();
    world.answer_post();
    assert_eq!(world.events(), [Event::Drain, Event::Closed(CloseReason::ForcedClose)]);

    // The goodbye alone is no packet of the application's concern.
    let mut world = World::polling();
    world.events();
    world.close();
    world.answer_post();
    assert_eq!(world.events(), [Event::Closed(CloseReason::ForcedClose)]);
}

// A POST that was never answered counted as having left as soon as the session was over.
#[test]
fn what_was_posted_and_never_answered_has_not_left_for_certain() {
    for fail in [|world: &mut World| world.fail_post(RequestError::Lost), |world: &mut World| world.answer_get("1")] {
        let mut world = World::polling();
        world.send("a");
        assert_eq!((world.client.stats().messages_sent, world.client.stats().messages_written), (1, 0));
        fail(&mut world);
        assert!(world.client.close_reason().is_some());
        assert_eq!((world.client.stats().messages_sent, world.client.stats().messages_written), (1, 0));
    }
}

// One answer of 64 MiB of noops kept its reader busy for seconds, with the session's lock held, again and again.
#[test]
fn an_answer_of_many_packets_without_a_message_is_none() {
    let mut world = World::polling();
    world.answer_get(&["6"; 1000].join("\x1e"));
    assert_eq!(world.client.close_reason(), None);
    world.answer_get(&["6", "2"].repeat(501).join("\x1e"));
    let invalid = CloseReason::TransportError(TransportError::InvalidPacket);
    assert_eq!(world.client.close_reason(), Some(invalid));

    let mut world = World::polling();
    world.answer_get(&["4"; 5000].join("\x1e"));
    assert_eq!((world.client.close_reason(), world.recv_all().len()), (None, 5000), "messages are welcome");
}

// A server that answers every poll at once, with nothing, kept the client busy: as many requests as the network carries.
#[test]
fn a_server_that_answers_nothing_is_polled_more_slowly() {
    for nothing in ["6", "2", "3", "5", "6\x1e6"] {
        let mut world = World::polling();
        let start = world.now;
        for _ in 0..10 {
            assert_eq!(world.client.close_reason(), None);
            assert!(world.get().is_some(), "a server may release some polls in a row");
            if nothing == "2" && world.post().is_some() {
                world.answer_post();
            }
            world.answer_get(nothing);
        }
        assert_eq!((world.now, world.get()), (start, None), "{nothing}");
        assert_eq!(world.client.next_timeout(), Some(start + Duration::from_millis(100)));
        world.advance(99);
        assert_eq!(world.get(), None);
        world.advance(1);
        assert!(world.get().is_some());
        // Ten polls in a second.
        for tenths in 2..=11 {
            world.answer_get(nothing);
            assert_eq!(world.get(), None);
            world.advance(100);
            assert!(world.get().is_some());
            assert_eq!(world.now, start + Duration::from_millis(100 * tenths));
        }
        // An answer that took its time is followed by the next poll at once, as is a message.
        world.advance(100);
        world.answer_get(nothing);
        assert!(world.get().is_some());
        for _ in 0..10 {
            world.answer_get("4a");
            assert!(world.get().is_some(), "{nothing}");
        }
    }
}

// A ping that was answered at once, and noops that release polls, are far apart: none of them slows the next poll.
#[test]
fn slow_answers_without_messages_do_not_add_up() {
    let mut world = World::polling();
    for _ in 0..20 {
        world.advance(100);
        world.answer_get("6");
        assert!(world.get().is_some());
    }
    for _ in 0..9 {
        world.answer_get("6");
        assert!(world.get().is_some());
    }
}

// The client closes and changes its transport without waiting for its next poll.
#[test]
fn a_client_that_waits_before_its_next_poll_does_all_else() {
    let mut world = World::polling();
    for _ in 0..10 {
        world.answer_get("6");
    }
    world.send("a");
    assert_eq!((world.post(), world.get()), (Some("4a"), None));
    world.answer_post();
    world.close();
    assert_eq!(world.post(), Some("1"));
    world.answer_post();
    assert_eq!(world.closed(), Some(CloseReason::ForcedClose));

    // Law 6: a call without need changes nothing, also when the time has come.
    let mut world = World::polling();
    for _ in 0..10 {
        world.answer_get("6");
    }
    let due = world.client.next_timeout().unwrap();
    assert_eq!(world.client.recv(due), None);
    assert!(!world.client.has_output());
    world.client.handle_timeout(due);
    assert!(world.client.has_output());

    let mut world = World::probing();
    for _ in 0..10 {
        world.answer_get("6");
    }
    assert_eq!(world.get(), None);
    world.frame("3probe");
    assert_eq!(world.client.state(), client::State::Channel);
}

// Law 6: a pause that waits for the application, and not for a POST, has no timer for its next poll. A timer that was not
// due changed it. Found by the fuzz target of the client.
#[test]
fn a_pause_without_a_post_has_no_timer() {
    let mut world = World::probing_with(|config| config.receive_limit = 1);
    world.answer_get("4a\x1e4b");
    world.frame("3probe");
    assert_eq!((world.client.state(), world.get(), world.post()), (client::State::Pausing, None, None));
    let later = world.now + Duration::from_secs(5);
    assert_eq!(world.client.next_frame(later, ChannelId(99)), None);
    assert!(world.client.next_timeout().is_some_and(|next| next > later));
    let before = world.client.clone();
    world.client.handle_timeout(later);
    assert_eq!(world.client, before);
}

// The same from messages, once the application takes none.
#[test]
fn messages_of_an_answer_that_nobody_takes_are_skipped() {
    let mut world = World::polling();
    world.client.discard_incoming();
    world.answer_get(&(["4", "bAA"].repeat(250_000).join("\x1e") + "\x1e2"));
    assert_eq!(world.client.close_reason(), None);
    assert_eq!(world.post(), Some("3"), "the ping behind them is answered");
}

// Who leaves between the change of its transport and the word of it is on polling for its server, which does not take
// the end of the channel for the end of the session.
#[test]
fn a_client_that_leaves_before_it_told_of_the_change_says_so_by_polling() {
    for end in [World::abort, World::channel_closed] {
        let mut world = World::switched();
        end(&mut world);
        assert_eq!(world.post(), Some("1"));
    }
}

// A closed client took the report of any channel for that of its own.
#[test]
fn behind_the_end_only_the_last_channel_counts_as_written() {
    let mut world = World::websocket();
    let own = world.channel();
    world.client.send(world.now, "a").unwrap();
    assert!(world.client.next_frame(world.now, own).is_some());
    world.client.abort(world.now);
    for (channel, written) in [(ChannelId(99), 0), (own, 1)] {
        world.client.handle_input(world.now, client::Input::ChannelWritten { channel, messages: 1 });
        assert_eq!(world.client.stats().messages_written, written, "{channel:?}");
    }
}
