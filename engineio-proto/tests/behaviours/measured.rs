//! Behaviours that no upstream suite asserts: M-001 to M-055, as far as the core decides them.

use core::time::Duration;

use engineio_proto::http::{Method, Rejection, Request};
use engineio_proto::server::Admission;
use engineio_proto::server::State;
use engineio_proto::wire::Frame;
use engineio_proto::{CloseReason, Event, Phase, SendError, Sid, TransportError, TransportKind};

use crate::common::{BAD_REQUEST, UNKNOWN_SID, World};

const NOTHING: [&str; 0] = [];

/// Covers: M-004
#[test]
fn m004_other_methods_leave_the_session_alone() {
    let mut world = World::polling();
    let get = world.get();
    let query = world.query("polling");
    let put = world.request(Method::Other, &query);
    assert_eq!(world.answer_of(put), Some("500"));
    assert_eq!(world.answer_of(get), None);
    world.send("a");
    assert_eq!(world.answer_of(get), Some("200 4a"));
}

/// Covers: M-005
#[test]
fn m005_the_application_is_asked_before_the_revision_is() {
    let world = World::with(|_| ());
    let request = Request { method: Method::Get, query: "EIO=3&transport=polling", origin: None, upgrade: false };
    let Ok(Admission::Ask(ask)) = Admission::begin(&request, world.server.config()) else {
        panic!("routing does not refuse it, so that the embedder can ask first");
    };
    assert_eq!(ask.clone().refuse(None), Rejection::Forbidden { message: None });
    assert_eq!(ask.allow(), Err(Rejection::UnsupportedProtocol { protocol: 3 }));
}

/// Covers: M-006
#[test]
fn m006_refused_upgrades_are_400_with_bare_text() {
    let polling = TransportKind::Polling;
    for (rejection, text) in [
        (Rejection::UnknownTransport { transport: "x".into() }, "Transport unknown"),
        (Rejection::UnknownSid, "Session ID unknown"),
        (Rejection::HandshakeMethod, "Bad handshake method"),
        (Rejection::InvalidOrigin, "Bad request"),
        (Rejection::ProtocolMismatch { requested: 3, current: 4 }, "Bad request"),
        (Rejection::NoUpgrade, "Bad request"),
        (Rejection::WrongHandshake { transport: polling }, "Bad request"),
        (Rejection::NoSid, "Bad request"),
        (Rejection::Forbidden { message: None }, "Forbidden"),
        (Rejection::UnsupportedProtocol { protocol: 3 }, "Unsupported protocol version"),
    ] {
        let reply = rejection.into_reply(true);
        assert_eq!((reply.status, &reply.body[..]), (400, text.as_bytes()));
        assert!(reply.headers.iter().eq([("content-type", "text/html"), ("connection", "close")]));
    }
}

/// Covers: M-007
#[test]
fn m007_an_upgrade_to_polling_is_refused() {
    let mut world = World::polling();
    assert_eq!(world.request_upgrade(&world.query("polling")), Err("400 Bad request".into()));
    assert_eq!(world.request_upgrade("EIO=4&transport=polling"), Err("400 Bad request".into()));
    assert_eq!(world.session().state(), State::Polling);
    assert_eq!(world.server.len(), 1);
}

/// Covers: M-010, M-011
#[test]
fn m010_empty_pieces_are_parse_errors_behind_what_is_valid() {
    for (body, delivered) in
        [("4a\x1e", &["a"][..]), ("4a\x1e\x1e4b", &["a"]), ("\x1e4a", &[]), ("", &[]), ("4a\x1e4b\x1ex", &["a", "b"])]
    {
        let mut world = World::polling();
        let post = world.post(body);
        assert_eq!(world.answer_of(post), Some(BAD_REQUEST), "{body:?}");
        assert_eq!(world.recv_all(), delivered, "{body:?}");
        assert_eq!(world.closed(), Some(CloseReason::ParseError), "{body:?}");
    }
}

/// Covers: M-012
#[test]
fn m012_empty_messages_are_messages() {
    let mut world = World::polling();
    world.post("4\x1eb");
    assert_eq!(world.recv_all(), ["", "<>"]);
    world.send("");
    world.send(Vec::new());
    let get = world.get();
    assert_eq!(world.answer_of(get), Some("200 4\x1eb"));
    world.upgrade();
    world.frame("4");
    world.frame("b");
    world.frame_bytes(b"");
    world.echo();
    assert_eq!(world.frames(), ["4", "<>", "<>"]);
}

/// Covers: M-014
#[test]
fn m014_open_upgrade_and_noop_are_ignored() {
    let mut world = World::polling();
    let post = world.post("0{}\x1e5\x1e6\x1e0\x1e5x\x1e6x\x1e4a");
    assert_eq!(world.answer_of(post), Some("200 ok"));
    assert_eq!(world.recv_all(), ["a"]);
    assert_eq!(world.session().state(), State::Polling);

    for mut world in [World::websocket(), World::upgraded()] {
        let upgraded = world.count(Event::Upgraded(TransportKind::WebSocket));
        for text in ["0{}", "5", "6", "0", "4a"] {
            world.frame(text);
        }
        assert_eq!(world.recv_all(), ["a"]);
        assert_eq!(world.count(Event::Upgraded(TransportKind::WebSocket)), upgraded);
        assert_eq!(world.frames(), NOTHING);
    }
}

/// Covers: M-015
#[test]
fn m015_any_pong_is_a_pong() {
    for pong in ["3", "3probe", "3x"] {
        let mut world = World::websocket();
        world.advance(25_000);
        assert_eq!(world.frames(), ["2"]);
        world.frame(pong);
        assert_eq!(world.count(Event::Heartbeat), 1);
        world.advance(24_999);
        assert_eq!(world.closed(), None);
    }
}

/// Covers: M-016
#[test]
fn m016_a_ping_of_the_client_ends_the_session() {
    let reason = CloseReason::TransportError(TransportError::HeartbeatDirection);
    for ping in ["2", "2probe"] {
        let mut world = World::polling();
        let get = world.get();
        let post = world.post(ping);
        assert_eq!(world.answer_of(post), Some(BAD_REQUEST));
        assert_eq!(world.answer_of(get), Some("200 1"));
        assert_eq!(world.closed(), Some(reason));

        for mut world in [World::websocket(), World::upgraded()] {
            world.frame(ping);
            assert!(!world.is_open(world.channel));
            assert_eq!(world.frames(), NOTHING);
            assert_eq!(world.closed(), Some(reason));
        }
    }
    assert_eq!(reason.to_string(), "transport error: invalid heartbeat direction");
}

/// Covers: M-017
#[test]
fn m017_a_close_in_the_middle_of_a_post() {
    let mut world = World::polling();
    let get = world.get();
    let post = world.post("4a\x1e1\x1e4b");
    assert_eq!(world.answer_of(post), Some("200 ok"));
    assert_eq!(world.answer_of(get), Some("200 6"));
    assert_eq!(world.recv_all(), ["a"]);
    assert_eq!(world.closed(), Some(CloseReason::TransportClose));
}

/// Covers: M-022
#[test]
fn m022_broken_utf8_in_a_post_is_replaced() {
    let mut world = World::polling();
    let post = world.post(&b"4\xffa\x1e4b"[..]);
    assert_eq!(world.answer_of(post), Some("200 ok"));
    assert_eq!(world.recv_all(), ["\u{fffd}a", "b"]);
}

/// Covers: M-025
#[test]
fn m025_data_during_a_probe_takes_a_held_poll_or_waits() {
    let mut world = World::polling();
    world.probe();
    world.get(); // Released at once.
    let get = world.get();
    world.send("a");
    assert_eq!(world.answer_of(get), Some("200 4a"));
    world.send("b");
    assert_eq!(world.frames(), NOTHING);
    world.frame("5");
    assert_eq!(world.frames(), ["4b"]);
}

/// Covers: M-026
#[test]
fn m026_an_upgrade_without_a_probe() {
    let mut world = World::polling();
    world.send("a");
    world.probe_open();
    world.frame("5");
    assert_eq!(world.frames(), ["4a"]);
    assert_eq!(world.events()[..1], [Event::Upgraded(TransportKind::WebSocket)]);
}

/// Covers: M-027
#[test]
fn m027_anything_unexpected_closes_the_probe_and_nothing_else() {
    let texts = ["4a", "2", "2x", "2probe2", "3", "3probe", "6", "1", "0", "", "x", "bAA=="];
    let texts = texts.map(|text| Frame::received(text.into()));
    for frame in texts.into_iter().chain([Frame::Binary(bytes::Bytes::from_static(b"\x04a"))]) {
        for probed in [false, true] {
            let mut world = World::polling();
            world.send("a");
            let channel = if probed { world.probe() } else { world.probe_open() };
            world.frame_on(channel, frame.clone());
            assert!(!world.is_open(channel), "{frame:?}");
            assert_eq!(world.recv(), None);
            let get = world.get();
            assert_eq!(world.answer_of(get), Some("200 4a"));
            world.upgrade();
            assert_eq!(world.session().state(), State::Channel);
        }
    }
}

/// Covers: M-028
#[test]
fn m028_the_bound_of_an_upgrade_counts_from_its_opening() {
    let mut world = World::polling();
    let channel = world.probe_open();
    world.advance(5_000);
    world.frame("2probe");
    world.advance(4_999);
    assert!(world.is_open(channel));
    world.advance(1);
    assert!(!world.is_open(channel));
}

/// Covers: M-029
#[test]
fn m029_a_poll_held_at_the_switch_gets_a_noop() {
    let mut world = World::polling();
    let get = world.get();
    world.probe_open();
    world.frame("5");
    assert_eq!(world.answer_of(get), Some("200 6"));
}

/// Covers: M-032, SEC-24
#[test]
fn m032_upgrades_that_are_not_allowed_are_refused() {
    let mut world = World::with(|config| config.allow_upgrades = false);
    let exchange = world.request(Method::Get, "EIO=4&transport=polling");
    let expected = format!("200 {}", world.open_packet(""));
    assert_eq!(world.answer_of(exchange), Some(expected.as_str()));
    assert_eq!(world.request_upgrade(&world.query("websocket")), Err("400 Bad request".into()));
    // Whoever opens one all the same finds the session of the same mind.
    let channel = world.late_probe();
    assert!(!world.is_open(channel));
    world.frame("5");
    assert_eq!(world.session().state(), State::Polling);
}

/// Covers: M-034
#[test]
fn m034_a_close_without_a_poll_is_told_to_the_next_one() {
    let mut world = World::polling();
    world.close();
    assert_eq!(world.session().phase(), Phase::Closing);
    world.advance(29_000);
    let get = world.get();
    assert_eq!(world.answer_of(get), Some("200 6\x1e1"));
    assert_eq!(world.closed(), Some(CloseReason::ForcedClose));
    let get = world.get();
    assert_eq!(world.answer_of(get), Some(UNKNOWN_SID));
}

/// Covers: M-035
#[test]
fn m035_a_close_behind_messages_lets_them_go_first() {
    let mut world = World::polling();
    world.send("a");
    world.send("b");
    world.close();
    let get = world.get();
    assert_eq!(world.answer_of(get), Some("200 4a\x1e4b"));
    assert_eq!(world.closed(), None);
    let get = world.get();
    assert_eq!(world.answer_of(get), Some("200 6\x1e1"));
    assert_eq!(world.closed(), Some(CloseReason::ForcedClose));

    // The send took the GET that was there.
    let mut world = World::polling();
    let get = world.get();
    world.send("a");
    world.close();
    assert_eq!(world.answer_of(get), Some("200 4a"));
    let get = world.get();
    assert_eq!(world.answer_of(get), Some("200 6\x1e1"));
}

/// Covers: M-036
#[test]
fn m036_while_a_session_is_closing() {
    // Messages are ignored, and not refused; nothing can be sent any more.
    let mut world = World::polling();
    world.close();
    let post = world.post("4a\x1e4b");
    assert_eq!(world.answer_of(post), Some("200 ok"));
    assert_eq!(world.recv(), None);
    assert_eq!(world.try_send("c"), Err(SendError::Closed("c".into())));
    // The client's close ends it at once.
    let post = world.post("1");
    assert_eq!(world.answer_of(post), Some("200 ok"));
    assert_eq!(world.closed(), Some(CloseReason::ForcedClose), "nothing was lost");

    // The heartbeat may end it.
    let mut world = World::polling_with(|config| config.ping_interval = Duration::from_secs(5));
    world.close();
    world.advance(24_999);
    assert_eq!(world.closed(), None);
    world.advance(1);
    assert_eq!(world.closed(), Some(CloseReason::ForcedClose), "nothing was lost");

    // A client that is alive keeps it up to the limit.
    let mut world = World::polling_with(|config| config.ping_interval = Duration::from_secs(5));
    world.close();
    world.advance(15_000);
    world.post("3");
    world.advance(14_999);
    assert_eq!(world.closed(), None);
    world.advance(1);
    assert_eq!(world.closed(), Some(CloseReason::ForcedClose));
}

/// Covers: M-038
#[test]
fn m038_a_hard_close_tells_whoever_is_there() {
    let mut world = World::polling();
    let get = world.get();
    world.abort();
    assert_eq!(world.answer_of(get), Some("200 1"));
    assert_eq!(world.closed(), Some(CloseReason::ForcedClose));

    let mut world = World::polling();
    world.abort();
    assert_eq!(world.events(), [Event::Closed(CloseReason::ForcedClose)]);
    world.assert_empty();
}

/// Covers: M-039
#[test]
fn m039_no_close_packet_precedes_the_end_of_a_websocket() {
    let mut world = World::websocket();
    world.send("a");
    world.close();
    assert_eq!(world.frames(), ["4a"]);
    assert!(!world.is_open(world.channel));

    for end in [World::abort, |world: &mut World| world.frame("x"), |world: &mut World| world.advance(45_000)] {
        let mut world = World::websocket();
        world.draining = false;
        end(&mut world);
        assert_eq!(world.frames(), NOTHING);
        world.drain();
        assert!(!world.is_open(world.channel));
    }
}

/// Covers: M-049, SEC-79
#[test]
fn m049_an_id_that_is_taken_is_refused() {
    let mut world = World::with(|_| ());
    let sid = Sid::new("mine").unwrap();
    let key = world.open_with_sid(sid.clone()).unwrap();
    let refused = world.open_with_sid(sid.clone()).unwrap_err();
    assert_eq!(refused, Rejection::NoSid);
    assert_eq!((refused.status(), &refused.to_json()[..]), (400, &br#"{"code":3,"message":"Bad request"}"#[..]));
    assert_eq!(world.server.len(), 1);
    assert_eq!(world.server.find(&sid), Some(key));
    // Also while it is only closing.
    world.close();
    assert!(world.open_with_sid(sid.clone()).is_err());
    world.abort();
    assert!(world.open_with_sid(sid).is_ok());
}
