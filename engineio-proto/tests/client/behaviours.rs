//! The behaviour of the reference's client, by row of its list: C-001 to C-062, and the rows of S and M about a client.

use core::time::Duration;

use engineio_proto::client::{self, Details, Stamps};
use engineio_proto::server::Config;
use engineio_proto::{
    ChannelEnd, CloseReason, Event, Message, PROTOCOL, Phase, RequestError, SendError, TransportError, TransportKind,
    UpgradeError,
};

use crate::pair::Pair;
use crate::world::{NO_HANDSHAKE, UPGRADED, UPGRADING, World, failed, open_packet};

const FORCED: Option<CloseReason> = Some(CloseReason::ForcedClose);
const TOO_LARGE: CloseReason = CloseReason::TransportError(TransportError::Post(RequestError::Status(413)));

#[test]
fn c001_the_protocol_is_four() {
    assert_eq!(PROTOCOL, 4);
    let world = World::only(TransportKind::Polling);
    assert!(world.get_target().contains("EIO=4"));
    let world = World::only(TransportKind::WebSocket);
    assert!(world.channel_target().contains("EIO=4"));
}

/// Covers: C-032, C-035, C-037, C-038
#[test]
fn c032_every_request_says_who_asks_and_for_what() {
    let mut world = World::with(|config| {
        config.path = "/chat/".into();
        config.query = "token=abc".into();
        config.base64 = true;
    });
    assert!(world.get_target().starts_with("/chat/?token=abc&EIO=4&transport=polling&t="));
    assert!(world.get_target().ends_with("&b64=1"));
    world.answer_get(&open_packet(r#""websocket""#, 1_000_000));
    assert!(world.get_target().starts_with("/chat/?token=abc&EIO=4&transport=polling&sid=abc&t="));
    assert_eq!(world.channel_target(), "/chat/?token=abc&EIO=4&transport=websocket&sid=abc&b64=1");
    world.send("a");
    assert!(world.post_target().starts_with("/chat/?token=abc&EIO=4&transport=polling&sid=abc&t="));

    // Stamps: by default where a cache might be, and there no two are alike, which the world asserts.
    let stamp = |target: &str| target.split_once("&t=").map(|(_, stamp)| stamp.to_owned());
    let world = World::only(TransportKind::Polling);
    let letters = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    assert!(stamp(world.get_target()).is_some_and(|stamp| stamp.len() == 8 && stamp.bytes().all(letters)));
    let world = World::only(TransportKind::WebSocket);
    assert_eq!(stamp(world.channel_target()), None);
    let world = World::with(|config| {
        config.transports.reverse();
        config.stamps = Stamps::Always;
    });
    assert!(stamp(world.channel_target()).is_some());
}

/// Covers: C-019
#[test]
fn c019_offers_are_filtered_by_the_clients_own_transports() {
    let offer = |upgrades: &str, change: fn(&mut client::Config)| {
        let mut world = World::with(change);
        world.answer_get(&open_packet(upgrades, 1_000_000));
        world.channel_asked().is_some()
    };
    assert!(offer(r#""websocket""#, |_| ()));
    assert!(offer(r#""webtransport","websocket""#, |_| ()));
    assert!(!offer(r#""webtransport""#, |_| ()));
    assert!(!offer("", |_| ()));
    assert!(!offer(r#""websocket""#, |config| config.transports = vec![TransportKind::Polling]));
    assert!(!offer(r#""websocket""#, |config| config.upgrade = false));

    // On a WebSocket there is nothing better to change to.
    let mut world = World::only(TransportKind::WebSocket);
    world.opened();
    world.frame(&open_packet(r#""websocket","polling""#, 1_000_000));
    assert_eq!(world.client.state(), client::State::Channel);
}

/// Covers: C-020
#[test]
fn c020_the_callers_options_are_left_alone() {
    let mut before = None;
    let mut world = World::with(|config| {
        config.try_all_transports = true;
        config.query = "a=1".into();
        before = Some(config.clone());
    });
    world.fail_get(RequestError::Lost);
    world.opened();
    world.frame(&open_packet("", 1_000_000));
    world.close();
    assert_eq!(Some(&**world.client.config()), before.as_ref());
}

/// Covers: C-022
#[test]
fn c022_a_refused_websocket_falls_back_to_polling() {
    let mut config = client::Config::default();
    config.transports.reverse();
    config.try_all_transports = true;
    let mut server = Config::default();
    server.transports = [TransportKind::Polling].into_iter().collect();
    let mut pair = Pair::new(config, server);
    assert_eq!(pair.client_events, [Event::Opened]);
    assert_eq!(pair.client.transport(), TransportKind::Polling);
    pair.server_send("a");
    pair.run();
    assert_eq!(pair.client_received(), ["a".into()]);
}

/// Covers: C-023
#[test]
fn c023_refused_polling_falls_back_to_a_websocket() {
    let mut config = client::Config::default();
    config.try_all_transports = true;
    let mut server = Config::default();
    server.transports = [TransportKind::WebSocket].into_iter().collect();
    let mut pair = Pair::new(config, server);
    assert_eq!(pair.client_events, [Event::Opened]);
    assert_eq!(pair.client.transport(), TransportKind::WebSocket);
    pair.server_send("a");
    pair.run();
    assert_eq!(pair.client_received(), ["a".into()]);
}

/// Covers: C-024, M-057, S-069, S-070
#[test]
fn c024_otherwise_the_first_failure_is_final() {
    let poll = |error| CloseReason::TransportError(TransportError::Poll(error));
    let mut world = World::with(|_| ());
    world.fail_get(RequestError::Unreachable);
    assert_eq!(world.events(), [Event::Closed(poll(RequestError::Unreachable))]);
    world.assert_over();

    let mut world = World::with(|config| config.transports.reverse());
    world.channel_ended(ChannelEnd::Unopened, None);
    assert_eq!(world.events(), [Event::Closed(CloseReason::TransportError(TransportError::Unopened))]);
    world.assert_over();

    let open_timeout = CloseReason::TransportError(TransportError::OpenTimeout);
    for transport in [TransportKind::Polling, TransportKind::WebSocket] {
        let mut world = World::only(transport);
        world.advance(20_000);
        assert_eq!(world.events(), [Event::Closed(open_timeout)]);
        world.assert_over();
    }
}

/// Covers: C-029, C-030
#[test]
fn c029_a_client_may_begin_where_an_earlier_one_ended() {
    let next = |worked: bool| World::with(|config| config.websocket_worked = worked);
    let begins_on = |world: &World| world.client.transport();

    let world = World::polling();
    assert!(!world.client.websocket_worked());
    assert_eq!(begins_on(&next(false)), TransportKind::Polling);

    let world = World::upgraded();
    assert!(world.client.websocket_worked());
    let mut world = next(true);
    assert_eq!(begins_on(&world), TransportKind::WebSocket);
    world.opened();
    world.frame(&open_packet("", 1_000_000));
    assert_eq!((world.client.state(), world.client.upgraded()), (client::State::Channel, false));
    assert!(world.client.websocket_worked());

    // Only where it may.
    let world = World::with(|config| {
        config.transports = vec![TransportKind::Polling];
        config.websocket_worked = true;
    });
    assert_eq!(begins_on(&world), TransportKind::Polling);
}

/// When the next client may begin on a WebSocket.
#[test]
fn c029_a_websocket_works_from_the_answered_probe_until_something_goes_wrong() {
    let worked = |world: &World| world.client.websocket_worked();
    let mut world = World::probing();
    assert!(!worked(&world));
    world.frame("3probe");
    assert!(worked(&world));
    world.channel_closed();
    assert!(!worked(&world), "what was promised was not kept");

    let mut world = World::websocket();
    assert!(worked(&world));
    world.channel_closed();
    assert!(worked(&world), "an end is no failure");
    let mut world = World::upgraded();
    world.close();
    assert!(worked(&world));
    let mut world = World::websocket();
    world.frame("x");
    assert!(!worked(&world));
    let mut world = World::with(|config| config.websocket_worked = true);
    world.channel_ended(ChannelEnd::Unopened, None);
    assert!(!worked(&world));

    // One that begins there and fails may try the other transport, where that is allowed.
    let mut world = World::with(|config| {
        config.websocket_worked = true;
        config.try_all_transports = true;
    });
    world.channel_ended(ChannelEnd::Unopened, None);
    assert_eq!(world.client.transport(), TransportKind::Polling);
    world.answer_get(&open_packet(r#""websocket""#, 1_000_000));
    assert_eq!(world.client.state(), client::State::Polling);
    assert!(!worked(&world));
}

/// Covers: C-049, C-054
#[test]
fn c049_a_message_behind_a_close_creates_nothing() {
    let mut world = World::pausing();
    world.close();
    assert!(matches!(world.try_send("late"), Err(SendError::Closed(message)) if message == "late".into()));
    world.answer_get("6");
    assert_eq!(world.frames(), ["5"]);
    assert_eq!(world.closed(), FORCED);
    assert!(world.try_send("later").is_err());
    assert_eq!((world.unsent().len(), world.client.stats().messages_accepted), (0, 0));
}

/// Covers: C-050, C-066
#[test]
fn c050_messages_are_grouped_below_the_servers_limit() {
    let euros = "€".repeat(33);
    let texts = ["a".repeat(99), "b".repeat(30), "c".repeat(30), "d".repeat(35), euros.clone(), "f".repeat(99)];
    let expected = [
        format!("4{}", texts[0]),
        format!("4{}\x1e4{}\x1e4{}", texts[1], texts[2], texts[3]),
        format!("4{euros}"),
        format!("4{}", texts[5]),
    ];
    assert_eq!(expected.each_ref().map(String::len), [100, 100, 100, 100]);
    let sent: Vec<_> = texts.into_iter().map(Message::from).collect();
    let posts = posts_of(100, sent);
    assert_eq!(posts, expected);

    // Bytes count as they travel, as base64.
    let bytes = |len: usize| Message::from(vec![0; len]);
    let sent = vec![bytes(72), bytes(20), Message::from("a".repeat(20)), Message::from("b".repeat(20)), bytes(72)];
    let posts = posts_of(100, sent);
    assert_eq!(posts.iter().map(String::len).collect::<Vec<_>>(), [97, 29 + 1 + 21 + 1 + 21, 97]);

    // The reference reckons 1.33 bytes for each, which makes 95 of these two; but they are 99.
    assert_eq!(posts_of(96, vec![bytes(34), bytes(34)]).iter().map(String::len).collect::<Vec<_>>(), [49, 49]);

    // Two of eight characters are 19 bytes with their separator; a third would make it 29.
    let eights: Vec<_> = (0..6).map(|n| Message::from(n.to_string().repeat(8))).collect();
    assert_eq!(posts_of(20, eights).iter().map(String::len).collect::<Vec<_>>(), [19, 19, 19]);
}

/// The bodies in which messages leave that waited for the session to open, all of which the server must echo.
fn posts_of(limit: usize, messages: Vec<Message>) -> Vec<String> {
    let mut config = client::Config::default();
    config.transports = vec![TransportKind::Polling];
    let mut server = Config::default();
    server.max_payload = limit;
    let mut pair = Pair::waiting(config, server);
    for message in &messages {
        pair.client_send(message.clone()).unwrap();
    }
    pair.run();
    let received = pair.server_received();
    assert_eq!(received, messages);
    for message in received {
        pair.server_send(message);
    }
    pair.run();
    assert_eq!(pair.client_received(), messages);
    assert!(pair.posts.iter().all(|body| body.len() <= limit));
    pair.posts
}

/// Exact sizes: what fits to the byte goes together, and one byte more does not.
#[test]
fn c050_sizes_are_exact() {
    for len in 0..40 {
        let message = Message::from(vec![0; len]);
        let size = 1 + len.div_ceil(3) * 4;
        let together = posts_of(2 * size + 1, vec![message.clone(), message.clone()]);
        assert_eq!(together.len(), 1, "{len} bytes");
        if size > 1 {
            let apart = posts_of(2 * size, vec![message.clone(), message]);
            assert_eq!(apart.len(), 2, "{len} bytes");
        }
    }
}

/// Covers: C-051, C-058
#[test]
fn c051_a_message_above_the_limit_that_was_taken_before_goes_alone_and_ends_the_session() {
    let mut world = World::with(|_| ());
    world.max_payload = 10;
    world.send("a");
    world.send("b".repeat(100));
    world.send("c");
    world.answer_get(&open_packet("", 10));
    assert_eq!(world.post(), Some("4a"));
    world.answer_post();
    assert_eq!(world.post(), Some(&*format!("4{}", "b".repeat(100))));
    world.answer_post_with(413, "");
    assert_eq!(world.closed(), Some(TOO_LARGE));
    assert_eq!(TOO_LARGE.as_str(), "transport error");
    assert_eq!(world.client.details(), Some(&Details::Answer { status: 413, body: "".into() }));
    assert_eq!((world.post(), world.unsent().len()), (Some("1"), 1), "a 413 alone does not end it at the server");
    world.assert_over();

    // The same with a server of ours.
    let mut server = Config::default();
    server.max_payload = 10;
    let mut pair = Pair::waiting(client::Config::default(), server);
    pair.client_send("b".repeat(100)).unwrap();
    pair.run();
    assert_eq!(pair.client_events.last(), Some(&Event::Closed(TOO_LARGE)));
    assert!(pair.server.is_empty());
}

/// Once the limit is known, such a message comes back instead, and the session lives.
#[test]
fn c051_a_message_that_the_server_would_not_take_comes_back() {
    let mut world = World::limited(10);
    world.send("a".repeat(9));
    assert!(matches!(world.try_send("a".repeat(10)), Err(SendError::Oversized(_))));
    // As base64, 6 bytes are 8, and 7 are 12.
    world.send(vec![0; 6]);
    assert!(matches!(world.try_send(vec![0; 7]), Err(SendError::Oversized(_))));
    assert!(matches!(
        world.client.send_all(world.now, vec!["a".into(), "b".repeat(10).into()]),
        Err(SendError::Oversized(back)) if back.len() == 2
    ));
    assert_eq!((world.closed(), world.client.stats().messages_accepted), (None, 2));

    // On a WebSocket bytes are as long as they are, unless they travel as base64 too.
    for (base64, fits) in [(false, 10), (true, 6)] {
        let mut world = World::with(|config| {
            config.transports.reverse();
            config.base64 = base64;
        });
        world.opened();
        world.frame(&open_packet("", 10));
        world.send(vec![0; fits]);
        assert!(matches!(world.try_send(vec![0; fits + 1]), Err(SendError::Oversized(_))));
        world.send("a".repeat(9));
        assert!(matches!(world.try_send("a".repeat(10)), Err(SendError::Oversized(_))));
    }

    // A server that names no limit, or 0, has none.
    for limit in ["", r#","maxPayload":0"#, r#","maxPayload":null"#, r#","maxPayload":"none""#] {
        let mut world = World::with(|_| ());
        world.answer_get(&format!(r#"0{{"sid":"abc","upgrades":[],"pingInterval":1,"pingTimeout":1{limit}}}"#));
        assert_eq!(world.client.max_payload(), None);
        world.send("a".repeat(1000));
    }
}

/// Text with the character that separates packets has no form on polling.
#[test]
fn c050_text_with_a_separator_is_refused_where_it_may_come_to_travel_by_polling() {
    let refuses = |world: &mut World| matches!(world.try_send("a\x1e4b"), Err(SendError::Separator(_)));
    for reach in [World::polling, World::offered, World::probing, World::pausing] {
        assert!(refuses(&mut reach()));
    }
    assert!(refuses(&mut World::with(|_| ())));
    assert!(refuses(&mut World::trying(TransportKind::WebSocket)));
    for mut world in [World::websocket(), World::upgraded()] {
        world.send("a\x1e4b");
        assert_eq!(world.frames(), ["4a\x1e4b"]);
    }
    assert!(!refuses(&mut World::only(TransportKind::WebSocket)));
}

/// Covers: C-052
#[test]
fn c052_a_close_while_upgrading_waits_for_the_upgrade() {
    let mut world = World::pausing();
    world.close();
    assert_eq!((world.closed(), world.client.phase()), (None, Phase::Closing));
    world.answer_get("6");
    assert_eq!(world.frames(), ["5"]);
    assert_eq!(world.events(), [Event::Opened, UPGRADING, UPGRADED, Event::Closed(CloseReason::ForcedClose)]);
    world.assert_over();
}

/// Covers: C-053
#[test]
fn c053_a_close_while_upgrading_that_fails_follows_its_error() {
    let mut world = World::pausing();
    world.close();
    world.channel_closed();
    world.answer_post();
    let error = failed(UpgradeError::TransportClosed);
    assert_eq!(world.events(), [Event::Opened, UPGRADING, error, Event::Closed(CloseReason::ForcedClose)]);
    world.assert_over();
}

/// Covers: C-055
#[test]
fn c055_what_was_sent_before_a_close_while_upgrading_has_left_at_its_end() {
    let mut world = World::pausing();
    world.send("a");
    world.close();
    assert_eq!((world.closed(), world.unsent().len()), (None, 1));
    world.answer_get("6");
    assert_eq!(world.frames(), ["5", "4a"]);
    assert_eq!((world.closed(), world.unsent().len()), (FORCED, 0));
}

/// Covers: C-059
#[test]
fn c059_an_oversized_message_on_a_websocket() {
    let mut world = World::websocket();
    let details = Details::CloseFrame { code: 1009, reason: String::new() };
    world.channel_ended(ChannelEnd::Closed, Some(details.clone()));
    assert_eq!(world.closed(), Some(CloseReason::TransportClose));
    assert_eq!(world.client.details(), Some(&details));

    // The server sends what is too large for us, or breaks the rules.
    for (end, error) in
        [(ChannelEnd::TooLarge, TransportError::MessageTooLarge), (ChannelEnd::Violation, TransportError::Violation)]
    {
        let mut world = World::websocket();
        world.channel_ended(end, None);
        assert_eq!(world.closed(), Some(CloseReason::TransportError(error)));
        world.assert_over();
    }
}

/// Covers: C-060
#[test]
fn c060_an_id_that_the_server_does_not_know_by_polling() {
    let body = r#"{"code":1,"message":"Session ID unknown"}"#;
    let mut world = World::with(|config| config.query = "sid=unknown".into());
    world.answer_get_with(400, body);
    let error = TransportError::Poll(RequestError::Status(400));
    assert_eq!(world.closed(), Some(CloseReason::TransportError(error)));
    assert_eq!(world.client.details(), Some(&Details::Answer { status: 400, body: body.into() }));
}

/// Covers: C-061
#[test]
fn c061_an_id_that_the_server_does_not_know_on_a_websocket() {
    let mut world = World::only(TransportKind::WebSocket);
    let details = Details::Answer { status: 400, body: "Session ID unknown".into() };
    world.channel_ended(ChannelEnd::Unopened, Some(details.clone()));
    assert_eq!(world.closed(), Some(CloseReason::TransportError(TransportError::Unopened)));
    assert_eq!(TransportError::Unopened.to_string(), "websocket error");
    assert_eq!(world.client.details(), Some(&details));
}

/// Covers: C-062
#[test]
fn c062_a_throttled_timer() {
    // Before it is open there is no heartbeat to wait for.
    let mut world = World::with(|config| config.open_timeout = Duration::from_secs(1_000));
    world.oversleep(900_000);
    world.send("a");
    world.answer_get(&open_packet("", 1_000_000));
    world.send("b");
    assert_eq!(world.closed(), None);
    // The deadline passed, and no timer went off.
    world.oversleep(45_000);
    for _ in 0..3 {
        assert!(matches!(world.try_send("c"), Err(SendError::Closed(_))));
    }
    world.handle_timeout();
    assert_eq!(world.count(Event::Closed(CloseReason::PingTimeout)), 1);
}

/// Covers: C-065, C-069
#[test]
fn c065_base64_where_it_is_asked_for() {
    let mut world = World::polling_with(|config| config.base64 = true);
    world.send(vec![1, 2, 3]);
    assert_eq!(world.post(), Some("bAQID"));
    world.answer_get("bAQID");
    assert_eq!(world.recv_all(), ["<01 02 03>"]);

    let mut world = World::websocket_with(|config| config.base64 = true);
    assert!(world.channel_target().ends_with("&b64=1"));
    world.send(vec![1, 2, 3]);
    assert_eq!(world.frames(), ["bAQID"]);
    world.frame("bAQID");
    world.frame_bytes(&[1, 2, 3]);
    assert_eq!(world.recv_all(), ["<01 02 03>", "<01 02 03>"]);

    // And not elsewhere.
    let mut world = World::websocket();
    world.send(vec![1, 2, 3]);
    assert_eq!(world.frames(), ["<01 02 03>"]);
}

/// Covers: S-047
#[test]
fn s047_unsent_messages_can_be_read_when_the_end_is_told() {
    let mut world = World::websocket();
    world.send("a");
    world.send("b");
    assert_eq!(world.pull().as_deref(), Some("4a"));
    world.channel_closed();
    assert!(world.client.unsent().eq(&[Message::from("b")]));
    assert_eq!(world.client.send_buffered(), Message::from("b").cost());
}

/// Covers: S-057
#[test]
fn s057_a_client_that_closes_within_a_payload() {
    // In order: what arrived can still be taken, but nothing is sent back.
    let mut world = World::polling();
    world.answer_get("4a\x1e4b");
    assert_eq!(world.recv().as_deref(), Some("a"));
    world.close();
    assert!(world.try_send("answer").is_err());
    assert_eq!(world.recv().as_deref(), Some("b"));
    // At once: nothing can.
    let mut world = World::polling();
    world.answer_get("4a\x1e4b");
    assert_eq!(world.recv().as_deref(), Some("a"));
    world.abort();
    assert_eq!(world.recv(), None);
}

/// Covers: S-064
#[test]
fn s064_a_server_that_closes_behind_a_heartbeat_is_noticed_at_once() {
    let mut world = World::polling();
    world.advance(25_000);
    world.answer_get("2");
    world.answer_post();
    world.answer_get("1");
    assert_eq!(world.closed(), Some(CloseReason::TransportClose));
    let mut world = World::websocket();
    world.advance(25_000);
    world.frame("2");
    world.channel_closed();
    assert_eq!(world.closed(), Some(CloseReason::TransportClose));
}

/// Covers: S-062, S-063, S-065
#[test]
fn s065_a_clients_timeout_counts_from_the_last_ping() {
    let open = r#"0{"sid":"abc","upgrades":[],"pingInterval":300,"pingTimeout":100}"#;
    let mut world = World::with(|_| ());
    world.answer_get(open);
    world.advance(150);
    world.answer_get("2");
    for (passed, over) in [(150, false), (200, false), (49, false), (1, true)] {
        world.advance(passed);
        assert_eq!(world.closed().is_some(), over);
    }
    assert_eq!(world.client.ping_interval(), Some(Duration::from_millis(300)));
    assert_eq!(world.client.ping_timeout(), Some(Duration::from_millis(100)));
}

/// Covers: S-112, S-113
#[test]
fn s112_the_send_buffer_shrinks_by_what_was_handed_over() {
    let mut world = World::with(|_| ());
    world.send("a");
    world.send("b");
    assert_eq!(world.unsent().len(), 2);
    world.answer_get(&open_packet("", 3));
    assert_eq!((world.post(), world.unsent().len()), (Some("4a"), 1));
    world.answer_post();
    assert_eq!((world.post(), world.unsent().len()), (Some("4b"), 0));
    world.answer_post();
    assert_eq!(world.count(Event::Drain), 2);

    let mut world = World::websocket();
    world.send("a");
    world.send("b");
    for left in [1, 0] {
        assert_eq!(world.count(Event::Drain), 0);
        assert!(world.pull().is_some());
        assert_eq!(world.unsent().len(), left);
    }
    assert_eq!(world.count(Event::Drain), 1);
}

/// Covers: S-114, S-115
#[test]
fn s114_a_client_in_lock_step_with_its_echoes() {
    for transport in [TransportKind::Polling, TransportKind::WebSocket] {
        let mut config = client::Config::default();
        config.transports = vec![transport];
        let mut pair = Pair::new(config, Config::default());
        for n in 0..20 {
            let message = Message::from(format!("{n}"));
            pair.client_send(message.clone()).unwrap();
            pair.run();
            assert_eq!(pair.server_received(), vec![message.clone()]);
            pair.server_send(message.clone());
            pair.run();
            assert_eq!(pair.client_received(), [message]);
        }
    }
}

/// Covers: S-133, S-134
#[test]
fn s133_what_is_sent_while_upgrading_waits_and_arrives() {
    let mut pair = Pair::waiting(client::Config::default(), Config::default());
    pair.hold_polls_behind_the_handshake();
    assert_eq!(pair.client.state(), client::State::Pausing);
    pair.client_send("a").unwrap();
    pair.run();
    assert_eq!(pair.client.unsent().count(), 1);
    pair.release();
    assert_eq!((pair.client.unsent().count(), pair.server_received()), (0, vec!["a".into()]));
    let told = |event| pair.client_events.iter().filter(|&&told| told == event).count();
    assert_eq!((told(UPGRADING), told(UPGRADED)), (1, 1));
}

/// Covers: M-051
#[test]
fn m051_a_failed_probe_is_no_zombie_and_freezes_nothing() {
    for reach in [World::probing, World::pausing] {
        let mut world = reach();
        let channel = world.channel();
        world.frame("4wrong");
        assert!(!world.is_open(channel));
        world.assert_polls_on();
    }
}

/// Covers: M-052, S-071, S-072
#[test]
fn m052_a_client_that_closes_while_it_opens_leaves_no_session() {
    for transport in [TransportKind::Polling, TransportKind::WebSocket] {
        let mut config = client::Config::default();
        config.transports = vec![transport];
        let mut pair = Pair::waiting(config, Config::default());
        pair.client.close(pair.now);
        pair.run();
        assert_eq!(pair.client_events, [Event::Closed(CloseReason::ForcedClose)], "it was never open");
        assert!(pair.client.is_finished() && pair.server.is_empty());
    }
}

/// Covers: M-058
#[test]
fn m058_a_client_that_is_closing_still_delivers() {
    let mut world = World::polling();
    world.send("a");
    world.close();
    world.answer_get("4b");
    assert!(world.get().is_some(), "there may be more until the goodbye leaves");
    assert_eq!(world.recv_all(), ["b"]);
    world.answer_post();
    assert_eq!(world.post(), Some("1"));
    world.answer_get("4c\x1e6");
    assert_eq!(world.recv_all(), ["c"]);
    world.answer_post();
    assert_eq!(world.closed(), FORCED);
}

/// A handshake must be the first packet, and a valid one.
#[test]
fn c024_what_is_no_handshake_opens_nothing() {
    let broken = ["1", "2", "4a", "6", "0", "0{}", "0null", r#"0{"sid":""}"#, "x", "", "<html>", "b0000"];
    for text in broken {
        let mut world = World::with(|_| ());
        world.answer_get(text);
        assert_eq!(world.events(), [Event::Closed(NO_HANDSHAKE)], "{text}");
        assert_eq!((world.recv(), world.client.sid()), (None, None));
        world.assert_over();

        let mut world = World::only(TransportKind::WebSocket);
        world.opened();
        world.frame(text);
        assert_eq!(world.events(), [Event::Closed(NO_HANDSHAKE)], "{text}");
        world.assert_over();
    }
}
