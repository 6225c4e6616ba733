//! Bugs that servers of this protocol have had in the field, each as a scenario that must not happen here.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use engineio_proto::http::Method;
use engineio_proto::server::{Config, Overflow, State};
use engineio_proto::{CloseReason, Event, Message, Phase, SendError, TransportError, TransportKind};

use common::{BAD_REQUEST, UNKNOWN_SID, World};

const SLOW_CONSUMER: CloseReason = CloseReason::TransportError(TransportError::SlowConsumer);

#[test]
fn a_message_held_back_by_max_payload_arrives_in_order_behind_an_upgrade() {
    let mut world = World::polling_with(|config| config.max_payload = 10);
    for text in ["aaaa", "bbbb", "cccc"] {
        world.send(text);
    }
    let get = world.get();
    assert_eq!(world.answer_of(get), Some("200 4aaaa"), "two packets would be eleven bytes");
    world.probe();
    world.frame("5");
    world.send("dddd");
    assert_eq!(world.frames(), ["4bbbb", "4cccc", "4dddd"]);
}

#[test]
fn an_unknown_or_malformed_sid_is_never_a_new_session() {
    let mut world = World::with(|_| ());
    let unknown = "A".repeat(20);
    for sid in [unknown.as_str(), "x", "0", "%00", "a%20b", "é", "\"", "..", &"y".repeat(10_000)] {
        for method in [Method::Get, Method::Post, Method::Other] {
            let exchange = world.request(method, &format!("EIO=4&transport=polling&sid={sid}"));
            assert_eq!(world.answer_of(exchange), Some(UNKNOWN_SID), "{sid}");
        }
        assert_eq!(
            world.request_upgrade(&format!("EIO=4&transport=websocket&sid={sid}")),
            Err("400 Session ID unknown".into()),
        );
    }
    world.assert_empty();
}

#[test]
fn overlapping_posts_get_one_400_and_end_the_session() {
    let mut world = World::polling();
    let posts = [world.post_head(), world.post_head(), world.post_head()];
    world.post_body(posts[0], "4a");
    let answers = posts.map(|post| world.answer_of(post).unwrap());
    assert_eq!(answers, ["aborted", "400", UNKNOWN_SID]);
    assert_eq!(world.recv(), None);
    assert_eq!(world.closed(), Some(CloseReason::TransportError(TransportError::PostOverlap)));
}

#[test]
fn two_pongs_in_one_payload_lose_nothing() {
    let mut world = World::polling();
    let get = world.get();
    world.advance(25_000);
    assert_eq!(world.answer_of(get), Some("200 2"));
    let post = world.post("4a\x1e3\x1e3\x1e4b\x1e3\x1e4c");
    assert_eq!(world.answer_of(post), Some("200 ok"));
    assert_eq!(world.recv_all(), ["a", "b", "c"]);
    assert_eq!((world.session().stats().heartbeats_received, world.count(Event::Heartbeat)), (3, 1));
    let get = world.get();
    world.advance(25_000);
    assert_eq!(world.answer_of(get), Some("200 2"));
}

/// Fills the send buffer.
fn fill(world: &mut World) -> usize {
    (0..).take_while(|n| world.try_send(format!("{n:01000}")).is_ok()).count()
}

#[test]
fn a_full_websocket_that_takes_something_is_no_heartbeat_timeout() {
    let mut world = World::websocket();
    // The client takes a frame every 15 s, so the pong to a ping that stands behind others in its socket is late.
    for _ in 0..40 {
        fill(&mut world);
        world.advance(15_000);
        world.unblocked();
        world.pull().unwrap();
        assert_eq!(world.closed(), None);
    }
    assert_eq!(world.session().stats().heartbeats_sent, 1, "one is outstanding for all this time");
    world.frame("3");
    world.advance(25_000);
    assert_eq!(world.pull().as_deref(), Some("2"), "a ping overtakes what is buffered");
    // It takes nothing more: now it is gone.
    world.advance(20_000);
    assert_eq!(world.closed(), Some(CloseReason::PingTimeout));
}

#[test]
fn a_full_buffer_on_polling_is_no_heartbeat_timeout() {
    let mut world = World::polling_with(|config| config.max_payload = 2_000);
    let mut pongs = 0;
    for _ in 0..60 {
        fill(&mut world);
        world.advance(15_000);
        let get = world.get();
        let answer = world.answer_of(get).unwrap().to_owned();
        if answer.starts_with("200 2") {
            assert!(answer.starts_with("200 2\x1e4"), "the ping does not wait behind messages, and they follow it");
            world.post("3");
            pongs += 1;
        }
        assert_eq!(world.closed(), None);
    }
    assert_eq!(pongs, 30);
}

#[test]
fn a_slow_application_is_no_heartbeat_timeout() {
    // The client's POST is withheld, so that it cannot post its pong.
    let mut world = World::polling_with(|config| config.receive_limit = 1);
    let get = world.get();
    world.advance(24_000);
    let post = world.post("4a\x1e4b\x1e4c");
    world.advance(1_000);
    assert_eq!(world.answer_of(get), Some("200 2"));
    world.advance(600_000);
    assert_eq!((world.closed(), world.answer_of(post)), (None, None));
    assert_eq!(world.recv_all(), ["a", "b", "c"]);
    assert_eq!(world.answer_of(post), Some("200 ok"));
    world.post("3");
    assert_eq!(world.count(Event::Heartbeat), 1);
    world.advance(45_000);
    assert_eq!(world.closed(), Some(CloseReason::PingTimeout));

    // The client's channel is not read.
    let mut world = World::websocket_with(|config| config.receive_limit = 1);
    world.frame("4a");
    assert!(!world.is_reading(world.channel));
    world.advance(25_000);
    assert_eq!(world.frames(), ["2"]);
    world.advance(600_000);
    assert_eq!(world.closed(), None);
    assert_eq!(world.recv_all(), ["a"]);
    assert!(world.is_reading(world.channel));
    world.frame("3");
    world.advance(25_000);
    assert_eq!(world.frames(), ["2"]);
    world.advance(20_000);
    assert_eq!(world.closed(), Some(CloseReason::PingTimeout));
}

#[test]
fn an_application_that_was_slow_for_a_while_costs_its_client_nothing() {
    // The POST that was withheld delays the client's pong beyond the time that it had left.
    let mut world = World::polling_with(|config| config.receive_limit = 1);
    world.get();
    world.advance(25_000);
    world.post("4a"); // This much is the usual extension.
    assert_eq!(world.recv_all(), ["a"]);
    world.post("4b\x1e4c");
    world.advance(19_999);
    assert_eq!(world.recv_all(), ["b", "c"]);
    world.advance(5_000);
    world.post("3");
    assert_eq!((world.closed(), world.count(Event::Heartbeat)), (None, 1));

    // The pong was on the way when the channel was not read.
    let mut world = World::websocket_with(|config| config.receive_limit = 1);
    world.advance(25_000);
    assert_eq!(world.frames(), ["2"]);
    world.frame("6"); // The usual extension.
    world.advance(1_000);
    world.frame("4a");
    world.advance(18_999);
    assert_eq!(world.recv_all(), ["a"]);
    world.advance(5_000);
    world.frame("3");
    assert_eq!((world.closed(), world.count(Event::Heartbeat)), (None, 1));

    // A client that is silent all the same is found out.
    world.advance(45_000);
    assert!(world.closed().is_some());
}

#[test]
fn the_first_ping_comes_after_the_interval() {
    let mut world = World::polling();
    let get = world.get();
    world.advance(24_999);
    assert_eq!(world.answer_of(get), None);
    world.advance(1);
    assert_eq!(world.answer_of(get), Some("200 2"));

    for mut world in [World::websocket(), World::upgraded()] {
        world.advance(24_999);
        assert_eq!(world.frames(), Vec::<String>::new());
        world.advance(1);
        assert_eq!(world.frames(), ["2"]);
    }
}

#[test]
fn a_ping_of_the_client_is_an_error() {
    let reason = CloseReason::TransportError(TransportError::HeartbeatDirection);
    let mut world = World::polling();
    let post = world.post("4a\x1e2");
    assert_eq!(world.answer_of(post), Some(BAD_REQUEST));
    assert_eq!(world.recv_all(), ["a"]);
    assert_eq!(world.closed(), Some(reason));

    let mut world = World::websocket();
    world.frame("2");
    assert_eq!(world.frames(), Vec::<String>::new(), "no pong");
    assert_eq!(world.closed(), Some(reason));
}

#[test]
fn error_codes_are_json_numbers() {
    let mut world = World::with(|_| ());
    for (method, query, code) in [
        (Method::Get, "EIO=4&transport=x", 0),
        (Method::Get, "EIO=4&transport=polling&sid=x", 1),
        (Method::Post, "EIO=4&transport=polling", 2),
        (Method::Get, "EIO=4&transport=websocket", 3),
        (Method::Get, "EIO=3&transport=polling", 5),
    ] {
        let exchange = world.request(method, query);
        let answer = world.answer_of(exchange).unwrap();
        assert!(answer.starts_with(&format!(r#"400 {{"code":{code},"message":""#)), "{answer}");
    }
}

#[test]
fn an_abandoned_probe_leaves_polling_alive() {
    let abandon: [fn(&mut World); 3] =
        [World::channel_closed, |world| world.advance(10_000), |world| world.frame("4not a probe")];
    for abandon in abandon {
        for probed in [false, true] {
            let mut world = World::polling();
            let heartbeat = world.session().next_timeout();
            let channel = if probed { world.probe() } else { world.probe_open() };
            world.send("a");
            abandon(&mut world);
            assert!(!world.is_open(channel));
            assert_eq!(world.session().state(), State::Polling);
            assert_eq!(world.session().next_timeout(), heartbeat);
            let get = world.get();
            assert_eq!(world.answer_of(get), Some("200 4a"));
            let post = world.post("4b");
            assert_eq!(world.answer_of(post), Some("200 ok"));
            assert_eq!(world.recv_all(), ["b"]);
        }
    }
}

/// Sends 10,000 messages as fast as they are taken, while `take` lets the client take some and returns them.
fn send_ten_thousand(world: &mut World, mut take: impl FnMut(&mut World) -> Vec<String>) {
    let limit = world.server.config().send_limit;
    let mut next = (0..10_000).map(|n| Message::from(format!("{n:0200}")));
    let (mut waiting, mut full, mut received) = (None, 0, Vec::new());
    while received.len() < 10_000 {
        // The application sends until it is told to wait, and again when it is told that there is room.
        if waiting.is_none() || world.count(Event::Writable) == full {
            while let Some(message) = waiting.take().or_else(|| next.next()) {
                match world.try_send(message) {
                    Ok(()) => (),
                    Err(SendError::Full(message)) => {
                        waiting = Some(message);
                        full += 1;
                        break;
                    }
                    Err(error) => panic!("{error}"),
                }
            }
        }
        assert!(world.session().send_buffered() < limit + 200 + Message::OVERHEAD);
        received.extend(take(world));
        assert_eq!(world.closed(), None);
    }
    assert!(full > 0, "the messages did not fit at once");
    let expected: Vec<_> = (0..10_000).map(|n| format!("4{n:0200}")).collect();
    assert!(received == expected, "all, once, in order");
}

/// The laws are checked after every word and look at every message, so there should not be very many at once.
fn small_buffer(config: &mut Config) {
    (config.send_limit, config.send_low) = (100_000, 25_000);
}

#[test]
fn ten_thousand_messages_on_connect_do_not_kill_a_client_on_polling() {
    let mut world = World::polling_with(small_buffer);
    send_ten_thousand(&mut world, |world| {
        world.advance(10_000);
        let get = world.get();
        let payload = world.answer_of(get).unwrap().strip_prefix("200 ").unwrap().to_owned();
        assert!(payload.len() <= 1_000_000);
        let (pings, messages): (Vec<_>, Vec<_>) =
            payload.split('\x1e').map(String::from).partition(|packet| packet == "2");
        if !pings.is_empty() {
            world.post("3");
        }
        messages
    });
}

#[test]
fn ten_thousand_messages_on_connect_do_not_kill_a_client_on_a_websocket() {
    let mut world = World::websocket_with(small_buffer);
    send_ten_thousand(&mut world, |world| {
        world.advance(10_000);
        // A socket that takes a hundred frames every ten seconds, and a client that answers pings.
        let mut messages = Vec::new();
        for _ in 0..100 {
            match world.pull() {
                Some(frame) if frame == "2" => world.frame("3"),
                Some(frame) => messages.push(frame),
                None => break,
            }
        }
        messages
    });
}

#[test]
fn a_client_that_never_reads_costs_its_byte_budget_and_is_found_out() {
    for mut world in [World::polling(), World::websocket()] {
        let limit = world.server.config().send_limit;
        let messages = fill(&mut world);
        let cost = 1_000 + Message::OVERHEAD;
        assert_eq!(messages, limit.div_ceil(cost), "the budget, and the message that reaches it");
        assert_eq!(world.session().send_buffered(), messages * cost);
        world.advance(44_999);
        assert_eq!(fill(&mut world), 0);
        assert_eq!(world.closed(), None);
        world.advance(1);
        assert_eq!(world.closed(), Some(SLOW_CONSUMER), "and not that it is dead");
        world.assert_empty();
        world.assert_no_connections();
    }
}

#[test]
fn a_client_that_never_reads_is_closed_at_once_where_that_is_asked_for() {
    let close = |config: &mut Config| config.overflow = Overflow::Close;
    for mut world in [World::polling_with(close), World::websocket_with(close)] {
        world.draining = false;
        fill(&mut world);
        assert_eq!(world.session().phase(), Phase::Closed);
        assert_eq!(world.try_send("more"), Err(SendError::Closed("more".into())));
        world.drain();
        assert_eq!(world.closed(), Some(SLOW_CONSUMER));
        world.assert_empty();
        world.assert_no_connections();
    }
}

#[test]
fn messages_that_never_fit_are_refused_and_end_nothing() {
    for overflow in [Overflow::Refuse, Overflow::Close] {
        let change = |config: &mut Config| {
            (config.send_limit, config.send_low) = (100, 50);
            config.overflow = overflow;
        };
        for mut world in [World::polling_with(change), World::websocket_with(change)] {
            let both = || ["x".repeat(50), "y".repeat(50)].map(Message::from).to_vec();
            assert_eq!(world.try_send_all(both()), Err(SendError::TooLarge(both())), "{overflow:?}");
            assert_eq!((world.session().phase(), world.session().send_buffered()), (Phase::Open, 0), "{overflow:?}");
            // Nobody waits for room: there never will be enough.
            world.send("a");
            if world.session().state() == State::Polling {
                world.get();
            } else {
                assert_eq!(world.frames(), ["4a"]);
            }
            assert_eq!((world.count(Event::Writable), world.closed()), (0, None), "{overflow:?}");
        }
    }
}

#[test]
fn one_message_is_taken_however_large() {
    for overflow in [Overflow::Refuse, Overflow::Close] {
        let mut world = World::websocket_with(|config| {
            config.send_limit = 100;
            config.send_low = 50;
            config.overflow = overflow;
        });
        world.send("x".repeat(1_000));
        assert_eq!(world.closed(), None);
        assert_eq!(world.frames()[0].len(), 1_001);
    }
}

#[test]
fn a_post_to_a_slow_application_is_withheld_and_nothing_is_lost() {
    let mut world = World::polling_with(|config| config.receive_limit = 100);
    let texts: Vec<_> = (0..100).map(|n| format!("{n:02}")).collect();
    let post = world.post(texts.iter().map(|text| format!("4{text}")).collect::<Vec<_>>().join("\x1e"));
    assert_eq!(world.answer_of(post), None);
    assert_eq!(world.session().receive_buffered(), 2 * (2 + Message::OVERHEAD), "as many as there is room for");
    let mut received = Vec::new();
    while let Some(text) = world.recv() {
        // Polls go on meanwhile.
        world.send(text.as_str());
        let get = world.get();
        assert_eq!(world.answer_of(get), Some(format!("200 4{text}").as_str()));
        received.push(text);
        // The `ok` comes when there is room again behind the last one.
        let room = received.len() > 98;
        assert_eq!(world.answer_of(post), room.then_some("200 ok"));
        world.advance(100);
    }
    assert_eq!(received, texts);

    // The session ends meanwhile: what was received whole is still delivered, and then the end is told.
    let mut world = World::polling_with(|config| config.receive_limit = 100);
    let post = world.post("4a\x1e4b\x1e4c\x1e4d");
    assert_eq!(world.answer_of(post), None);
    world.lost(post);
    assert_eq!(world.session().phase(), Phase::Closed);
    assert_eq!(world.closed(), None);
    assert_eq!(world.recv_all(), ["a", "b", "c", "d"]);
    assert_eq!(world.closed(), Some(CloseReason::TransportError(TransportError::PostLost)));
}

#[test]
fn there_are_no_more_sessions_than_allowed() {
    let mut world = World::with(|config| config.max_sessions = 2);
    world.open_polling();
    world.open_websocket();
    let refused = world.request(Method::Get, "EIO=4&transport=polling");
    assert_eq!(world.answer_of(refused), Some(r#"503 {"code":3,"message":"Bad request"}"#));
    assert_eq!(world.request_upgrade("EIO=4&transport=websocket"), Err("503 Bad request".into()));
    assert_eq!(world.server.len(), 2);
    // An upgrade is no new session, and one that ended makes room.
    world.abort();
    world.open_polling();
    world.upgrade();
    assert_eq!(world.session().transport(), TransportKind::WebSocket);
}
