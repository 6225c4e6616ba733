//! Attacks that the core must withstand: SEC-13 to SEC-79, where no other test covers them.

use std::time::Duration;

use engineio_proto::http::{Method, Rejection};
use engineio_proto::{CloseReason, Event, Message, Sid, TransportError, TransportKind};

use crate::common::{BAD_REQUEST, UNKNOWN_SID, World};

/// Covers: SEC-13
#[test]
fn sec13_ids_with_odd_names_are_unknown() {
    let mut world = World::polling();
    for sid in ["constructor", "__proto__", "toString", "hasOwnProperty", "%00", "../..", "%ff%fe", "'\"<>"] {
        let get = world.request(Method::Get, &format!("EIO=4&transport=polling&sid={sid}"));
        assert_eq!(world.answer_of(get), Some(UNKNOWN_SID), "{sid}");
    }
    let long = "x".repeat(1 << 20);
    let get = world.request(Method::Get, &format!("EIO=4&transport=polling&sid={long}"));
    assert_eq!(world.answer_of(get), Some(UNKNOWN_SID));
}

/// Covers: SEC-18
#[test]
fn sec18_requests_of_another_revision_are_refused() {
    let mut world = World::polling();
    world.send("a");
    for eio in ["", "EIO=3&", "EIO=5&", "EIO=04&", "EIO=4&EIO=3&"] {
        for method in [Method::Get, Method::Post] {
            let query = format!("{eio}transport=polling&sid={}", world.sid());
            let exchange = world.request(method, &query);
            assert_eq!(world.answer_of(exchange), Some(BAD_REQUEST), "{query}");
        }
    }
    let get = world.get();
    assert_eq!(world.answer_of(get), Some("200 4a"));
}

/// Covers: SEC-43
#[test]
fn sec43_surrogates_are_only_text() {
    let mut world = World::polling();
    // A lone surrogate as three bytes, which is not UTF-8, and as an escape, which is not interpreted.
    let post = world.post(&b"4\xed\xa0\x80\x1e4\\ud800"[..]);
    assert_eq!(world.answer_of(post), Some("200 ok"));
    assert_eq!(world.recv_all(), ["\u{fffd}\u{fffd}\u{fffd}", "\\ud800"]);
}

/// Covers: SEC-44, SEC-55
#[test]
fn sec44_very_many_packets_in_a_post_are_decoded_as_they_are_taken() {
    let mut world = World::polling_with(|config| config.receive_limit = 1_000);
    let body = vec!["4"; 500_000].join("\x1e");
    let post = world.post(body);
    // The body is one MB; as messages it would be twenty-four, if they were not decoded one by one.
    assert_eq!(world.answer_of(post), None);
    assert_eq!(world.session().receive_buffered(), 21 * Message::OVERHEAD);
    world.draining = false;
    let key = world.key();
    let now = world.now;
    let mut taken = 0;
    let mut session = world.server.session_mut(key).unwrap();
    while session.recv(now).is_some() {
        taken += 1;
    }
    drop(session);
    assert_eq!(taken, 500_000);
    world.drain();
    assert_eq!(world.answer_of(post), Some("200 ok"));
}

/// A body of a million bytes with 500,000 noops took 38 ms, in one call.
#[test]
fn sec44_packets_without_a_message_have_a_limit_in_a_post() {
    for packet in ["6", "3", "3a", "0", "5"] {
        let mut world = World::polling();
        let post = world.post(vec![packet; 1000].join("\x1e") + "\x1e4a");
        assert_eq!((world.answer_of(post), world.closed()), (Some("200 ok"), None), "{packet}");
        assert_eq!(world.recv_all(), ["a"]);
        let post = world.post("4b\x1e".to_owned() + &vec![packet; 1001].join("\x1e") + "\x1e4c");
        assert_eq!(world.answer_of(post), Some(BAD_REQUEST), "{packet}");
        assert_eq!(world.recv_all(), ["b"], "what came before counts");
        assert_eq!(world.closed(), Some(CloseReason::ParseError), "{packet}");
    }
}

/// Messages that nobody takes need no room, so nothing stops their decoding: the same took 37 ms. What stands between
/// them counts.
#[test]
fn sec44_messages_that_nobody_takes_are_skipped() {
    let messages = ["4", "bAA"].repeat(150_000).join("\x1e");
    let cases: [(String, CloseReason); 3] = [
        (format!("{messages}\x1e1"), CloseReason::TransportClose),
        (format!("{messages}\x1e2"), CloseReason::TransportError(TransportError::HeartbeatDirection)),
        (format!("{messages}\x1e"), CloseReason::ParseError),
    ];
    for (body, reason) in cases {
        let mut world = World::polling();
        let key = world.key();
        world.server.session_mut(key).unwrap().discard_incoming();
        let post = world.post(messages.clone());
        assert_eq!((world.answer_of(post), world.closed()), (Some("200 ok"), None));
        assert_eq!(world.session().stats().heartbeats_received, 0);
        let post = world.post(format!("{messages}\x1e3"));
        assert_eq!((world.answer_of(post), world.closed()), (Some("200 ok"), None));
        assert_eq!(world.session().stats().heartbeats_received, 1);
        world.post(body);
        assert_eq!(world.closed(), Some(reason));
    }
    // A session that is closing takes none either.
    let mut world = World::polling();
    for text in ["a", "b"] {
        world.send(text);
    }
    world.close();
    let post = world.post(format!("{messages}\x1e3"));
    assert_eq!((world.answer_of(post), world.closed()), (Some("200 ok"), None));
    assert_eq!(world.session().stats().heartbeats_received, 1);
}

/// Covers: SEC-45
#[test]
fn sec45_text_is_never_interpreted() {
    let digits = "9".repeat(10_000);
    let texts = [digits.as_str(), "0", "-0", "1e999", "null", "{\"a\":1}", " ", "\n", "\0", "b", "bAQ=="];
    let mut world = World::polling();
    world.post(texts.map(|text| format!("4{text}")).join("\x1e"));
    world.echo();
    let get = world.get();
    let expected = format!("200 {}", texts.map(|text| format!("4{text}")).join("\x1e"));
    assert_eq!(world.answer_of(get), Some(expected.as_str()));
}

/// Covers: SEC-70
#[test]
fn sec70_a_flood_of_handshakes_is_bounded() {
    let mut world = World::with(|config| config.max_sessions = 50);
    for n in 0..50 {
        if n % 2 == 0 {
            world.open_polling()
        } else {
            world.open_websocket()
        };
    }
    let refused = world.request(Method::Get, "EIO=4&transport=polling");
    assert_eq!(world.answer_of(refused), Some(r#"503 {"code":3,"message":"Bad request"}"#));
    assert_eq!(world.request_upgrade("EIO=4&transport=websocket"), Err("503 Bad request".into()));
    world.advance(44_999);
    assert_eq!(world.server.len(), 50);
    world.advance(1);
    assert_eq!(world.server.len(), 0);
    assert_eq!(world.server.next_timeout(), None);
    world.open_polling();
}

const UNCONFIRMED: CloseReason = CloseReason::TransportError(TransportError::Unconfirmed);

fn confirmed_within_10_s() -> World {
    World::with(|config| config.confirm_timeout = Duration::from_secs(10))
}

/// Covers: SEC-70
#[test]
fn sec70_a_session_of_which_no_request_follows_ends_soon() {
    let mut world = confirmed_within_10_s();
    world.open_polling();
    world.advance(9_999);
    assert_eq!(world.closed(), None);
    world.advance(1);
    assert_eq!(world.closed(), Some(UNCONFIRMED));
    let get = world.get();
    assert_eq!(world.answer_of(get), Some(UNKNOWN_SID));

    type Confirm = fn(&mut World);
    let confirms: [Confirm; 3] =
        [|world| _ = world.get(), |world| _ = world.post_head(), |world| _ = world.probe_open()];
    for confirm in confirms {
        let mut world = confirmed_within_10_s();
        world.open_polling();
        assert!(world.session().is_unconfirmed());
        world.advance(9_999);
        confirm(&mut world);
        assert!(!world.session().is_unconfirmed());
        world.advance(15_000);
        assert_eq!(world.closed(), None);
    }
}

/// Covers: SEC-70
#[test]
fn sec70_a_websocket_confirms_itself() {
    let mut world = confirmed_within_10_s();
    world.open_websocket();
    assert!(!world.session().is_unconfirmed());
    world.advance(44_999);
    assert_eq!(world.closed(), None);
}

/// A client cannot use the id before it has it.
///
/// Covers: SEC-70
#[test]
fn sec70_the_time_begins_when_the_answer_to_the_handshake_is_written() {
    let mut world = confirmed_within_10_s();
    world.writing = false;
    world.open_polling();
    world.advance(24_000);
    assert_eq!(world.closed(), None);
    world.write();
    world.advance(9_999);
    assert_eq!(world.closed(), None);
    world.advance(1);
    assert_eq!(world.closed(), Some(UNCONFIRMED));
}

/// An orderly close has its own time.
///
/// Covers: SEC-70
#[test]
fn sec70_a_session_that_is_closing_waits_for_its_first_poll() {
    let mut world = confirmed_within_10_s();
    world.open_polling();
    world.send("a");
    world.close();
    world.advance(29_999);
    let get = world.get();
    assert_eq!(world.answer_of(get), Some("200 4a"));
}

/// Covers: SEC-70
#[test]
fn sec70_a_full_server_ends_the_oldest_session_of_which_no_request_followed() {
    let mut world = World::with(|config| {
        config.confirm_timeout = Duration::from_secs(10);
        config.max_sessions = 4;
    });
    let websocket = world.open_websocket();
    let polling = world.open_polling();
    world.get();
    let first = world.open_polling();
    world.advance(1);
    let second = world.open_polling();
    // A client has a second for its next request.
    let refused = world.request(Method::Get, "EIO=4&transport=polling");
    assert_eq!(world.answer_of(refused), Some(r#"503 {"code":3,"message":"Bad request"}"#));
    world.advance(998);
    assert_eq!(world.request_upgrade("EIO=4&transport=websocket"), Err("503 Bad request".into()));
    world.advance(1);
    let third = world.open_websocket();
    assert_eq!(world.closed_of(first), Some(UNCONFIRMED));
    let refused = world.request(Method::Get, "EIO=4&transport=polling");
    assert_eq!(world.answer_of(refused), Some(r#"503 {"code":3,"message":"Bad request"}"#));
    world.advance(1);
    let fourth = world.open_polling();
    assert_eq!(world.closed_of(second), Some(UNCONFIRMED));
    assert_eq!(world.server.len(), 4);
    world.get();
    // All of these have shown more.
    world.advance(5_000);
    let refused = world.request(Method::Get, "EIO=4&transport=polling");
    assert_eq!(world.answer_of(refused), Some(r#"503 {"code":3,"message":"Bad request"}"#));
    assert_eq!([websocket, polling, third, fourth].map(|key| world.closed_of(key)), [None; 4]);
}

/// The embedder has not pulled the end of the session yet.
///
/// Covers: SEC-70
#[test]
fn sec70_a_place_is_free_at_once() {
    let mut world = World::with(|config| {
        config.confirm_timeout = Duration::from_secs(10);
        config.max_sessions = 1;
    });
    let first = world.open_polling();
    world.draining = false;
    for _ in 0..3 {
        world.advance(1_000);
        let sid = Sid::new(&world.now.as_micros().to_string()).unwrap();
        world.open_with_sid(sid).unwrap();
        assert_eq!(world.server.len(), 1);
    }
    world.drain();
    assert_eq!(world.closed_of(first), Some(UNCONFIRMED));
    assert_eq!(world.server.len(), 1);
}

/// Covers: SEC-71
#[test]
fn sec71_a_body_that_does_not_arrive_ends_the_session() {
    let mut world = World::polling_with(|config| config.body_timeout = Duration::from_secs(10));
    let get = world.get();
    let post = world.post_head();
    world.advance(9_999);
    assert_eq!((world.answer_of(post), world.closed()), (None, None));
    world.advance(1);
    assert_eq!(world.answer_of(post), Some("408"));
    assert_eq!(world.answer_of(get), Some("200 1"));
    assert_eq!(world.closed(), Some(CloseReason::TransportError(TransportError::PostTimeout)));

    // Before that, the end of the session ends the request.
    let mut world = World::polling();
    world.advance(20_000);
    let post = world.post_head();
    world.close();
    world.advance(29_999);
    world.abort();
    assert_eq!(world.closed(), Some(CloseReason::ForcedClose));
    assert_eq!(world.answer_of(post), Some("aborted"));
}

/// Covers: SEC-74
#[test]
fn sec74_repeated_probes_are_answered_and_nothing_more() {
    let mut world = World::polling();
    world.probe_open();
    for _ in 0..1_000 {
        world.frame("2probe");
    }
    assert_eq!(world.frames(), vec!["3probe"; 1_000]);
    // They release no more polls than one would.
    let mut noops = 0;
    let mut get = world.get();
    for _ in 0..1_000 {
        world.frame("2probe");
        if world.answer_of(get).is_some() {
            noops += 1;
            get = world.get();
        }
        world.advance(1);
    }
    assert_eq!(noops, 13, "0, 10, 30, 70 ms, and then every 100 ms");
    world.advance(9_000);
    assert_eq!(world.session().transport(), TransportKind::Polling);
    assert_eq!(world.count(Event::Upgraded(TransportKind::WebSocket)), 0);
}

/// Covers: SEC-53
#[test]
fn sec53_refusals_do_not_repeat_what_the_client_said() {
    let evil = "<script>alert(1)</script>";
    let mut world = World::polling();
    for query in
        [format!("transport={evil}"), format!("transport=polling&sid={evil}"), format!("EIO={evil}&transport=polling")]
    {
        let exchange = world.request(Method::Get, &query);
        assert!(!world.answer_of(exchange).unwrap().contains("script"));
        assert!(!world.request_upgrade(&query).unwrap_err().contains("script"));
    }
    assert_eq!(Rejection::UnknownTransport { transport: evil.into() }.message(), "Transport unknown");
}

/// The official client counts less for binary data than it posts. A burst of it was answered 413, and ended the session.
#[test]
fn sec1_a_body_that_the_official_client_counts_as_small_enough_is_accepted() {
    let binary = |digits: &str, count: usize| vec![format!("b{digits}"); count].join("\x1e");
    let thousand = format!("{}AA==", "AAAA".repeat(333));
    for (body, len, fits) in [
        (binary(&thousand, 749), 1_002_161, true),
        (binary(&thousand, 750), 1_003_499, true),
        (binary(&thousand, 751), 1_004_837, false),
        // The largest excess.
        (binary("AA==", 250_000), 1_499_999, true),
        (binary("AA==", 250_001), 1_500_005, false),
        // Text is counted exactly, and so is one byte too many.
        ("4".repeat(1_000_000), 1_000_000, true),
        ("4".repeat(1_000_001), 1_000_001, false),
        (binary(&"AAAA".repeat(250_000), 1), 1_000_001, true),
    ] {
        let mut world = World::polling_with(|config| config.receive_limit = usize::MAX);
        assert_eq!(body.len(), len);
        assert!(!fits || len <= world.server.config().max_body());
        let post = world.post_head();
        let body = world.server.config().checked_body(body.into());
        world.post_end(post, body);
        assert_eq!(world.answer_of(post), Some(if fits { "200 ok" } else { "413" }), "{len}");
        let reason = CloseReason::TransportError(TransportError::PayloadTooLarge);
        assert_eq!(world.closed(), (!fits).then_some(reason), "{len}");
    }
}
