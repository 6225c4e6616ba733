//! The behaviours of a server: S-001 to S-149, as far as the core decides them.

use core::time::Duration;

use bytes::Bytes;
use engineio_proto::http::{Method, Rejection, Request, Response, Route};
use engineio_proto::server::{BodyError, Output, State};
use engineio_proto::{
    ChannelEnd, CloseReason, Event, Message, SendError, Sid, TransportError, TransportKind, Transports,
};

use crate::common::{BAD_METHOD, BAD_REQUEST, UNKNOWN_SID, UNKNOWN_TRANSPORT, UNSUPPORTED_VERSION, World};

const WEBSOCKET: TransportKind = TransportKind::WebSocket;

/// Covers: S-001, S-002, S-003, S-004, S-011, T-003, T-007
#[test]
fn s001_unknown_transports_are_refused() {
    let mut world = World::with(|_| ());
    for query in [
        "",
        "EIO=4",
        "EIO=4&transport=",
        "EIO=4&transport=abc",
        "EIO=4&transport=constructor",
        "EIO=4&transport=__proto__",
        "EIO=4&transport=webtransport",
        "EIO=4&transport=abc&sid=nope",
    ] {
        for method in [Method::Get, Method::Post, Method::Other] {
            let exchange = world.request(method, query);
            assert_eq!(world.answer_of(exchange), Some(UNKNOWN_TRANSPORT), "{query}");
        }
        assert_eq!(world.request_upgrade(query), Err("400 Transport unknown".into()), "{query}");
    }
    let request = Request { method: Method::Get, query: "transport=tobi", origin: None, upgrade: false };
    let rejection = Route::parse(&request, world.server.config()).unwrap_err();
    assert_eq!(rejection, Rejection::UnknownTransport { transport: "tobi".into() });
    world.assert_empty();
}

/// Covers: S-005
#[test]
fn s005_unknown_sids_are_refused() {
    let mut world = World::polling();
    for method in [Method::Get, Method::Post, Method::Other] {
        let exchange = world.request(method, "EIO=4&transport=polling&sid=tobi");
        assert_eq!(world.answer_of(exchange), Some(UNKNOWN_SID));
    }
    assert_eq!(world.request_upgrade("EIO=4&transport=websocket&sid=tobi"), Err("400 Session ID unknown".into()));
    assert_eq!(world.server.len(), 1);
}

/// Covers: S-006, S-007
#[test]
fn s006_the_application_may_refuse_with_its_own_words() {
    let refusal = |message: Option<&str>| Rejection::Forbidden { message: message.map(Into::into) };
    let reply = Response::Rejected(refusal(Some("Thou shall not pass"))).into_reply();
    assert_eq!((reply.status, &reply.body[..]), (403, &br#"{"code":4,"message":"Thou shall not pass"}"#[..]));
    let reply = Response::Rejected(refusal(None)).into_reply();
    assert_eq!((reply.status, &reply.body[..]), (403, &br#"{"code":4,"message":"Forbidden"}"#[..]));
    let reply = refusal(None).into_reply(true);
    assert_eq!((reply.status, &reply.body[..]), (400, &b"Forbidden"[..]));
    let reply = refusal(Some("Thou shall not pass")).into_reply(true);
    assert_eq!((reply.status, &reply.body[..]), (400, &b"Thou shall not pass"[..]));
}

/// Covers: S-010, T-024
#[test]
fn s010_a_further_websocket_is_closed_and_the_session_survives() {
    let mut world = World::upgraded();
    let first = world.channel;
    let second = world.probe_open();
    assert!(!world.is_open(second));
    world.channel = first;
    world.frame("4hello");
    world.echo();
    assert_eq!(world.frames(), ["4hello"]);
}

/// Covers: S-023, S-030
#[test]
fn s023_sessions_are_counted_and_found() {
    let mut world = World::with(|_| ());
    assert!(world.server.is_empty());
    let polling = world.open_polling();
    let websocket = world.open_websocket();
    assert_eq!(world.server.len(), 2);
    assert_eq!(world.server.find(&world.sid()), Some(websocket));
    assert_eq!(world.server.keys().collect::<Vec<_>>(), [polling, websocket]);
    world.focus(polling);
    world.abort();
    assert_eq!(world.server.keys().collect::<Vec<_>>(), [websocket]);
}

/// Covers: S-024
#[test]
fn s024_an_id_of_the_applications_own_making() {
    let mut world = World::with(|_| ());
    let sid = Sid::new("custom-id_1.~").unwrap();
    let key = world.open_with_sid(sid.clone()).unwrap();
    assert_eq!(world.server.find(&sid), Some(key));
    world.send("a");
    let get = world.get();
    assert_eq!(world.answer_of(get), Some("200 4a"));
}

/// Covers: S-028, S-029, S-036, S-166, T-001
#[test]
fn s028_the_handshake_on_polling() {
    let mut world = World::with(|_| ());
    let exchange = world.request(Method::Get, "EIO=4&transport=polling");
    let expected = format!("200 {}", world.open_packet(r#""websocket""#));
    assert_eq!(world.answer_of(exchange), Some(expected.as_str()));
    assert_eq!(world.sid().len(), 20);

    let mut world = World::with(|config| {
        config.ping_interval = Duration::from_millis(300);
        config.ping_timeout = Duration::from_millis(123);
        config.max_payload = 5;
    });
    let exchange = world.request(Method::Get, "EIO=4&transport=polling");
    let expected = format!(
        r#"200 0{{"sid":"{}","upgrades":["websocket"],"pingInterval":300,"pingTimeout":123,"maxPayload":5}}"#,
        world.sid(),
    );
    assert_eq!(world.answer_of(exchange), Some(expected.as_str()));
}

/// Covers: S-031, S-032
#[test]
fn s031_a_session_is_on_the_transport_that_it_was_opened_with() {
    assert_eq!(World::polling().session().transport(), TransportKind::Polling);
    assert_eq!(World::websocket().session().transport(), WEBSOCKET);
    assert!(!World::websocket().session().upgraded());
}

/// Covers: S-033, T-005
#[test]
fn s033_the_handshake_on_a_websocket_offers_no_upgrades() {
    let mut world = World::with(|_| ());
    world.open_websocket();
    assert_eq!(world.frames(), [world.open_packet("")]);
}

/// Covers: S-034, S-035
#[test]
fn s034_only_enabled_transports_are_offered() {
    let mut world = World::with(|config| config.transports = Transports::NONE.with(TransportKind::Polling));
    let exchange = world.request(Method::Get, "EIO=4&transport=polling");
    let expected = format!("200 {}", world.open_packet(""));
    assert_eq!(world.answer_of(exchange), Some(expected.as_str()));
    // What is not enabled is unknown.
    assert_eq!(world.request_upgrade(&world.query("websocket")), Err("400 Transport unknown".into()));
}

/// Covers: S-040
#[test]
fn s040_a_websocket_is_not_opened_by_a_plain_request() {
    let mut world = World::with(|_| ());
    let exchange = world.request(Method::Get, "EIO=4&transport=websocket");
    assert_eq!(world.answer_of(exchange), Some(BAD_REQUEST));
}

/// Covers: S-041
#[test]
fn s041_an_illegal_origin_is_refused() {
    let world = World::with(|_| ());
    let query = "EIO=4&transport=polling";
    let request = Request { method: Method::Get, query, origin: Some(b"http://a\x01b"), upgrade: false };
    let rejection = Route::parse(&request, world.server.config()).unwrap_err();
    let reply = Response::Rejected(rejection).into_reply();
    assert_eq!((reply.status, &reply.body[..]), (400, &br#"{"code":3,"message":"Bad request"}"#[..]));
}

/// Covers: S-042, M-003, T-004
#[test]
fn s042_a_session_is_opened_by_get_only() {
    let mut world = World::with(|_| ());
    // OPTIONS, HEAD, PUT and whatever else there is are all other methods.
    for method in [Method::Post, Method::Other] {
        let exchange = world.request(method, "EIO=4&transport=polling");
        assert_eq!(world.answer_of(exchange), Some(BAD_METHOD));
    }
    world.assert_empty();
}

/// Covers: S-043, T-002
#[test]
fn s043_other_revisions_are_refused() {
    let mut world = World::with(|_| ());
    for query in
        ["transport=polling", "EIO=abc&transport=polling", "EIO=3&transport=polling", "EIO=5&transport=polling"]
    {
        let exchange = world.request(Method::Get, query);
        assert_eq!(world.answer_of(exchange), Some(UNSUPPORTED_VERSION), "{query}");
    }
    world.assert_empty();
}

/// Covers: S-044
#[test]
fn s044_an_initial_message_follows_the_open_packet() {
    let mut world = World::with(|config| config.initial_message = Some("hi".into()));
    let exchange = world.request(Method::Get, "EIO=4&transport=polling");
    let expected = format!("200 {}\x1e4hi", world.open_packet(r#""websocket""#));
    assert_eq!(world.answer_of(exchange), Some(expected.as_str()));

    let mut world = World::with(|config| config.initial_message = Some(vec![1, 2].into()));
    world.open_websocket();
    world.send("a");
    assert_eq!(world.frames(), [world.open_packet(""), "<01 02>".into(), "4a".into()]);
}

/// Covers: S-046
#[test]
fn s046_what_was_not_sent_can_be_read_when_the_end_is_told() {
    let mut world = World::polling();
    world.send("a");
    world.send("b");
    world.draining = false;
    let post = world.post("1");
    let key = world.key();
    while !matches!(world.server.poll_output(), Some((_, Output::Event(Event::Closed(CloseReason::TransportClose))))) {}
    let unsent: Vec<_> = world.server.session(key).unwrap().unsent().cloned().collect();
    assert_eq!(unsent, [Message::from("a"), Message::from("b")]);
    assert_eq!(world.server.poll_output(), None);
    assert!(world.server.session(key).is_none());
    assert_eq!(world.answer_of(post), None, "pulled above, past the world");
}

/// Covers: S-048, S-051
#[test]
fn s048_a_client_that_never_answers_times_out() {
    let quick = |config: &mut engineio_proto::server::Config| {
        config.ping_interval = Duration::from_millis(5);
        config.ping_timeout = Duration::from_millis(5);
    };
    for mut world in [World::polling_with(quick), World::websocket_with(quick)] {
        world.advance(5);
        if world.session().transport() == WEBSOCKET {
            assert_eq!(world.frames(), ["2"]);
        }
        world.advance(4);
        assert_eq!(world.closed(), None);
        world.advance(1);
        assert_eq!(world.closed(), Some(CloseReason::PingTimeout));
        world.assert_empty();
    }
}

/// Covers: S-052, S-053, E-005
#[test]
fn s052_the_server_closes() {
    let mut world = World::polling();
    let get = world.get();
    world.close();
    assert_eq!(world.answer_of(get), Some("200 1"));
    assert_eq!(world.closed(), Some(CloseReason::ForcedClose));
    world.assert_empty();

    let mut world = World::websocket();
    world.close();
    assert!(!world.is_open(world.channel));
    assert_eq!(world.closed(), Some(CloseReason::ForcedClose));
    world.assert_empty();
}

/// Covers: S-055, S-056
#[test]
fn s055_the_client_closes() {
    let mut world = World::polling();
    let post = world.post("1");
    assert_eq!(world.answer_of(post), Some("200 ok"));
    assert_eq!(world.closed(), Some(CloseReason::TransportClose));
    let get = world.get();
    assert_eq!(world.answer_of(get), Some(UNKNOWN_SID));

    let mut world = World::websocket();
    world.channel_closed();
    assert_eq!(world.closed(), Some(CloseReason::TransportClose));
    world.assert_empty();
}

/// Covers: S-058
#[test]
fn s058_a_client_may_close_while_its_probe_opens() {
    let mut world = World::polling();
    let channel = world.probe_open();
    world.post("1");
    assert_eq!(world.closed(), Some(CloseReason::TransportClose));
    assert!(!world.is_open(channel));
    assert_eq!(world.frames(), Vec::<String>::new());
    world.frame("2probe");
    world.channel_closed();
    world.assert_empty();
}

/// Covers: S-059
#[test]
fn s059_an_upgrade_without_a_transport_is_refused() {
    let mut world = World::polling();
    let query = format!("EIO=4&sid={}", world.sid());
    assert_eq!(world.request_upgrade(&query), Err("400 Transport unknown".into()));
    assert_eq!(world.session().state(), State::Polling);
}

/// Covers: S-060
#[test]
fn s060_the_connection_of_a_held_poll_dies() {
    let mut world = World::polling();
    let get = world.get();
    world.lost(get);
    let reason = world.closed().unwrap();
    assert_eq!(reason, CloseReason::TransportError(TransportError::PollLost));
    assert_eq!(reason.to_string(), "transport error: poll connection closed prematurely");
    world.assert_empty();
}

/// Covers: S-068, SEC-5
#[test]
fn s068_binary_posts_are_refused() {
    let mut world = World::with(|_| ());
    for _ in 0..100 {
        world.open_polling();
        let get = world.get();
        let post = world.post_octets();
        assert_eq!(world.answer_of(post), Some("400"));
        assert_eq!(world.answer_of(get), Some("200 1"));
        assert_eq!(world.closed(), Some(CloseReason::TransportError(TransportError::InvalidContent)));
        world.assert_empty();
    }
    world.assert_no_connections();
}

/// Covers: S-077
#[test]
fn s077_the_end_of_a_session_closes_its_probe() {
    let ends: [fn(&mut World); 6] = [
        |world| {
            // The ping that waits, the first noop, and a GET that is held.
            let answers = [world.get(), world.get(), world.get()].map(|get| world.answer_of(get).map(String::from));
            assert_eq!(answers, [Some("200 2".into()), Some("200 6".into()), None]);
            world.close();
        },
        World::abort,
        |world| world.advance(5_000),
        |world| _ = world.post("x"),
        |world| _ = world.post("1"),
        |world| _ = world.post_octets(),
    ];
    for end in ends {
        let mut world = World::polling();
        world.advance(40_000);
        let channel = world.probe();
        end(&mut world);
        assert!(world.closed().is_some());
        assert!(!world.is_open(channel));
        world.assert_empty();
        world.assert_no_connections();
    }
}

/// Covers: S-079
#[test]
fn s079_an_upgraded_session_keeps_its_heartbeat() {
    let mut world = World::polling_with(|config| {
        config.ping_interval = Duration::from_millis(200);
        config.ping_timeout = Duration::from_millis(20);
    });
    world.upgrade();
    let mut pings = 0;
    for _ in 0..500 {
        world.advance(1);
        for frame in world.frames() {
            assert_eq!(frame, "2");
            pings += 1;
            world.frame("3");
        }
    }
    assert_eq!(pings, 2);
    assert_eq!(world.closed(), None);
}

/// Covers: S-081, S-082
#[test]
fn s081_a_hard_close_drops_what_was_not_sent() {
    for graceful in [false, true] {
        let mut world = World::polling();
        world.send("a");
        if graceful {
            world.close();
        }
        world.abort();
        assert_eq!(world.closed(), Some(CloseReason::ForcedClose));
        let get = world.get();
        assert_eq!(world.answer_of(get), Some(UNKNOWN_SID));

        let mut world = World::websocket();
        world.send("a");
        if graceful {
            world.close();
        }
        world.abort();
        assert_eq!(world.frames(), Vec::<String>::new());
        assert_eq!(world.closed(), Some(CloseReason::ForcedClose));
    }
}

/// Covers: S-083
#[test]
fn s083_a_graceful_close_sends_first() {
    let mut world = World::polling();
    world.send("a");
    world.close();
    let get = world.get();
    assert_eq!(world.answer_of(get), Some("200 4a"));
    assert_eq!(world.closed(), None);

    let mut world = World::websocket();
    world.send("a");
    world.close();
    assert_eq!(world.frames(), ["4a"]);
    assert_eq!(world.closed(), Some(CloseReason::ForcedClose));
}

/// Covers: S-087, S-088
#[test]
fn s088_messages_with_pauses_arrive_in_order_by_polling() {
    let mut world = World::polling();
    let mut get = world.get();
    for text in ["a", "b", "c"] {
        world.advance(50);
        world.send(text);
        if text == "c" {
            world.close();
        }
        assert_eq!(world.answer_of(get), Some(format!("200 4{text}").as_str()));
        get = world.get();
    }
    assert_eq!(world.answer_of(get), Some("200 6\x1e1"));
    assert_eq!(world.closed(), Some(CloseReason::ForcedClose));
}

/// Covers: S-089, M-020
#[test]
fn s089_a_body_above_the_limit_is_refused_and_the_session_ends() {
    let mut world = World::polling();
    let get = world.get();
    let post = world.post_head();
    world.post_end(post, Err(BodyError::TooLarge));
    assert_eq!(world.answer_of(post), Some("413"));
    assert_eq!(world.answer_of(get), Some("200 1"));
    let reason = CloseReason::TransportError(TransportError::PayloadTooLarge);
    assert_eq!(world.closed(), Some(reason));
    assert_eq!(reason.to_string(), "transport error: payload too large");
    world.assert_empty();
}

/// Covers: S-090
#[test]
fn s090_a_frame_above_the_limit_ends_the_session() {
    let mut world = World::websocket();
    world.channel_ended(ChannelEnd::TooLarge);
    assert_eq!(world.recv(), None);
    assert_eq!(world.closed(), Some(CloseReason::TransportError(TransportError::MessageTooLarge)));
}

/// Covers: S-092, S-093
#[test]
fn s093_messages_with_pauses_arrive_in_order_by_websocket() {
    let mut world = World::websocket();
    for text in ["a", "b", "c"] {
        world.advance(50);
        world.send(text);
        if text == "c" {
            world.close();
        }
        assert_eq!(world.frames(), [format!("4{text}")]);
    }
    assert_eq!(world.closed(), Some(CloseReason::ForcedClose));
    assert!(!world.is_open(world.channel));
}

/// Covers: S-095, S-096, S-097, S-098, S-099
#[test]
fn s095_binary_arrives_as_it_is() {
    let bytes: Vec<u8> = (0..=4).chain([0x7f, 0x80, 0xff]).collect();
    let mut world = World::websocket();
    world.send(bytes.clone());
    assert_eq!(world.frames(), ["<00 01 02 03 04 7f 80 ff>"]);
    world.frame_bytes(b"\x00\xff");
    assert_eq!(world.recv_all(), ["<00 ff>"]);

    let mut world = World::polling();
    world.send(bytes);
    let get = world.get();
    assert_eq!(world.answer_of(get), Some("200 bAAECAwR/gP8="));
    world.post("bAAECAwR/gP8=");
    assert_eq!(world.recv_all(), ["<00 01 02 03 04 7f 80 ff>"]);

    // A client that cannot take binary gets base64 on a WebSocket as well, the initial message included.
    let mut world = World::with(|config| config.initial_message = Some(vec![0, 0xff].into()));
    world.request_upgrade("EIO=4&transport=websocket&b64=1").unwrap();
    world.send(vec![1, 2, 3, 4]);
    assert_eq!(world.frames()[1..], ["bAP8=", "bAQIDBA=="]);
}

/// Covers: S-104
#[test]
fn s104_flush_then_drain() {
    let mut world = World::polling();
    world.get();
    world.send("a");
    assert_eq!(world.events(), [Event::Flush { packets: 1 }, Event::Drain]);
    assert_eq!(world.session().send_buffered(), 0);

    let mut world = World::websocket();
    world.send("a");
    world.send("b");
    assert_eq!(world.events(), []);
    world.pull();
    assert_eq!(world.events(), [Event::Flush { packets: 2 }]);
    // What is sent now belongs to the next batch.
    world.send("c");
    world.pull();
    assert_eq!(world.events(), [Event::Flush { packets: 2 }, Event::Drain]);
    assert_eq!(world.frames(), ["4c"]);
    assert_eq!(world.events()[2..], [Event::Flush { packets: 1 }, Event::Drain]);

    // A ping that is due in the middle joins the batch, and is not counted: all that was counted must have left.
    let mut world = World::websocket();
    for text in ["a", "b", "c"] {
        world.send(text);
    }
    assert_eq!(world.pull().as_deref(), Some("4a"));
    world.advance(25_000);
    for frame in ["2", "4b"] {
        assert_eq!(world.pull().as_deref(), Some(frame));
        assert_eq!(world.events(), [Event::Flush { packets: 3 }], "{frame}");
    }
    assert_eq!(world.pull().as_deref(), Some("4c"));
    assert_eq!(world.events(), [Event::Flush { packets: 3 }, Event::Drain]);
}

/// Covers: S-105
#[test]
fn s105_many_large_messages_do_not_starve_the_heartbeat() {
    let mut world = World::websocket_with(|config| {
        config.ping_interval = Duration::from_millis(200);
        config.ping_timeout = Duration::from_millis(100);
    });
    let text = "a".repeat(64 * 1024);
    let (mut sent, mut received, mut pings) = (0, 0, 0);
    while received < 100 {
        while sent < 100 && world.try_send(text.as_str()).is_ok() {
            sent += 1;
        }
        // The client takes one frame every 30 ms.
        world.advance(30);
        match world.pull().as_deref() {
            Some("2") => {
                pings += 1;
                world.frame("3");
            }
            Some(frame) => {
                assert_eq!(frame.len(), 1 + text.len());
                received += 1;
            }
            None => panic!("nothing to take behind {received} messages"),
        }
        assert_eq!(world.closed(), None);
    }
    assert_eq!(sent, 100);
    assert_eq!(pings, 16, "every 200 ms: one frame of seven");
}

/// Covers: S-106
#[test]
fn s106_text_beyond_ascii_arrives_both_ways() {
    let texts = ["石室詩士施氏", "嗜獅", "誓食十獅"];
    let mut world = World::polling();
    world.post(texts.map(|text| format!("4{text}")).join("\x1e"));
    assert_eq!(world.recv_all(), texts);
    for text in texts {
        world.send(text);
    }
    let get = world.get();
    assert_eq!(world.answer_of(get), Some("200 4石室詩士施氏\x1e4嗜獅\x1e4誓食十獅"));

    let mut world = World::websocket();
    for text in texts {
        world.frame(&format!("4{text}"));
    }
    world.echo();
    assert_eq!(world.frames(), texts.map(|text| format!("4{text}")));
}

/// Covers: S-118, S-120, S-124, S-125
#[test]
fn s118_only_what_left_is_drained() {
    let mut world = World::polling();
    world.send("a");
    assert_eq!(world.events(), []);
    assert_eq!(world.session().unsent().count(), 1);
    let get = world.get();
    world.send("b");
    assert_eq!(world.answer_of(get), Some("200 4a"));
    assert_eq!(world.events(), [Event::Flush { packets: 1 }, Event::Drain]);
    assert_eq!(world.session().stats().messages_sent, 1);
    world.abort();
    assert_eq!(world.events()[2..], [Event::Closed(CloseReason::ForcedClose)]);

    let mut world = World::websocket();
    world.send("a");
    world.send("b");
    world.pull();
    world.abort();
    assert_eq!(world.events(), [Event::Flush { packets: 2 }, Event::Closed(CloseReason::ForcedClose)]);
}

/// Covers: S-119
#[test]
fn s119_what_is_sent_when_the_upgrade_begins_arrives() {
    let mut world = World::polling();
    world.probe_open();
    world.frame("2probe");
    assert_eq!(world.count(Event::Upgrading(WEBSOCKET)), 1);
    world.send("a");
    world.frame("5");
    assert_eq!(world.frames(), ["3probe", "4a"]);
    assert_eq!(world.count(Event::Drain), 1);
}

/// Covers: S-121
#[test]
fn s121_each_message_arrives_once_around_an_upgrade() {
    let mut world = World::polling();
    let get = world.get();
    world.send("a");
    assert_eq!(world.answer_of(get), Some("200 4a"));
    world.probe();
    world.send("b");
    world.frame("5");
    world.send("c");
    assert_eq!(world.frames(), ["4b", "4c"]);
    let get = world.get();
    assert_eq!(world.answer_of(get), Some(BAD_REQUEST));
}

/// Covers: S-122, S-123
#[test]
fn s122_a_batch_says_how_many_packets_it_has() {
    let mut world = World::polling();
    for text in ["a", "b", "c"] {
        world.send(text);
    }
    let get = world.get();
    assert_eq!(world.answer_of(get), Some("200 4a\x1e4b\x1e4c"));
    assert_eq!(world.events(), [Event::Flush { packets: 3 }, Event::Drain]);

    let mut world = World::websocket();
    for text in ["a", "b", "c"] {
        world.send(text);
    }
    assert_eq!(world.frames(), ["4a", "4b", "4c"]);
    assert_eq!(world.events(), [Event::Flush { packets: 3 }, Event::Drain]);
}

/// Covers: S-128, S-129
#[test]
fn s129_messages_and_pongs_are_told() {
    let mut world = World::polling();
    world.post("4a\x1e3");
    assert_eq!(world.events(), [Event::Heartbeat, Event::Readable]);
    let stats = world.session().stats();
    assert_eq!((stats.messages_received, stats.bytes_received, stats.heartbeats_received), (1, 1, 1));
}

/// Covers: S-132
#[test]
fn s132_an_upgrade_loses_duplicates_and_reorders_nothing() {
    // The upgrade begins, is answered and completes at every distance from the first message.
    for (probe_at, switch_after) in [(0, 1), (1, 7), (13, 2), (20, 20), (49, 0)] {
        let mut world = World::polling();
        let expected: Vec<String> = (0..50).map(|n| n.to_string()).collect();
        let (mut to_client, mut to_server) = (Vec::new(), Vec::new());
        let mut get = Some(world.get());
        for n in 0..50 {
            world.advance(2);
            if n == probe_at {
                world.probe();
            }
            let switched = n >= probe_at + switch_after;
            if n == probe_at + switch_after {
                world.frame("5");
            }
            world.send(n.to_string());
            if switched {
                world.frame(&format!("4{n}"));
            } else {
                world.post(format!("4{n}"));
            }
            to_server.extend(world.recv_all());
            if let Some(answer) = get.and_then(|get| world.answer_of(get)) {
                let packets = answer.strip_prefix("200 ").unwrap().split('\x1e').filter(|&packet| packet != "6");
                to_client.extend(packets.map(|packet| packet[1..].to_owned()));
                get = if switched { None } else { Some(world.get()) };
            }
            if switched {
                to_client.extend(world.frames().into_iter().map(|frame| frame[1..].to_owned()));
            }
        }
        assert_eq!(to_client, expected, "{probe_at} {switch_after}");
        assert_eq!(to_server, expected, "{probe_at} {switch_after}");
        assert_eq!(world.session().transport(), WEBSOCKET);
    }
}

/// Covers: S-135
#[test]
fn s135_the_transport_is_the_new_one_when_the_upgrade_is_told() {
    let mut world = World::polling();
    world.probe();
    assert_eq!(world.session().transport(), TransportKind::Polling);
    assert!(!world.session().upgraded());
    world.draining = false;
    world.frame("5");
    let told = world.server.poll_output();
    assert_eq!(told, Some((world.key(), Output::Event(Event::Upgraded(WEBSOCKET)))));
    assert_eq!(world.session().transport(), WEBSOCKET);
    assert!(world.session().upgraded());
}

/// Covers: S-138
#[test]
fn s138_the_client_closes_after_the_upgrade() {
    let mut world = World::upgraded();
    world.channel_closed();
    assert_eq!(world.closed(), Some(CloseReason::TransportClose));
    assert_eq!(world.closed().unwrap().as_str(), "transport close");
    world.assert_empty();
}

/// Text that contains the separator has no form on polling; it is given back instead of split.
#[test]
fn text_with_a_separator_is_given_back_on_polling() {
    let mut world = World::polling();
    assert_eq!(world.try_send("a\x1eb"), Err(SendError::Separator("a\x1eb".into())));
    world.send(Bytes::from_static(b"a\x1eb"));
    let get = world.get();
    assert_eq!(world.answer_of(get), Some("200 bYR5i"));
    // Until the change, messages may still leave by polling.
    world.probe_open();
    assert_eq!(world.try_send("a\x1eb"), Err(SendError::Separator("a\x1eb".into())));
    world.frame("2probe");
    assert_eq!(world.try_send("a\x1eb"), Err(SendError::Separator("a\x1eb".into())));
    assert_eq!(world.frames(), ["3probe"]);
    world.frame("5");
    world.send("a\x1eb");
    assert_eq!(world.frames(), ["4a\x1eb"]);
}
