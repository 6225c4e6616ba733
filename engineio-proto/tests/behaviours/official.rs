//! The official protocol suite, T-001 to T-024, for the core.

use engineio_proto::{CloseReason, TransportError, TransportKind};

use crate::common::{BAD_REQUEST, UNKNOWN_SID, World};

/// Covers: T-006, M-008, SEC-11
#[test]
fn t006_a_websocket_of_another_revision_is_refused_before_it_opens() {
    let mut world = World::with(|_| ());
    for query in ["transport=websocket", "EIO=abc&transport=websocket", "EIO=3&transport=websocket"] {
        assert_eq!(world.request_upgrade(query), Err("400 Unsupported protocol version".into()), "{query}");
    }
    world.assert_empty();
}

/// Covers: T-008
#[test]
fn t008_one_text_by_polling() {
    let mut world = World::polling();
    let post = world.post("4hello");
    assert_eq!(world.answer_of(post), Some("200 ok"));
    world.echo();
    let get = world.get();
    assert_eq!(world.answer_of(get), Some("200 4hello"));
}

/// Covers: T-009
#[test]
fn t009_three_texts_by_polling() {
    let mut world = World::polling();
    world.post("4test1\x1e4test2\x1e4test3");
    world.echo();
    let get = world.get();
    assert_eq!(world.answer_of(get), Some("200 4test1\x1e4test2\x1e4test3"));
}

/// Covers: T-010
#[test]
fn t010_text_and_binary_by_polling() {
    let mut world = World::polling();
    world.post("4hello\x1ebAQIDBA==");
    world.echo();
    let get = world.get();
    assert_eq!(world.answer_of(get), Some("200 4hello\x1ebAQIDBA=="));
}

/// Covers: T-011
#[test]
fn t011_an_invalid_packet_by_polling() {
    let mut world = World::polling();
    let post = world.post("abc");
    assert_eq!(world.answer_of(post), Some(BAD_REQUEST));
    assert_eq!(world.closed(), Some(CloseReason::ParseError));
    let get = world.get();
    assert_eq!(world.answer_of(get), Some(UNKNOWN_SID));
}

/// Covers: T-013, T-014
#[test]
fn t013_text_and_binary_by_websocket() {
    let mut world = World::websocket();
    world.frame("4hello");
    world.frame_bytes(b"\x01\x02\x03\x04");
    world.echo();
    assert_eq!(world.frames(), ["4hello", "<01 02 03 04>"]);
}

/// Covers: T-016
#[test]
fn t016_three_heartbeats_by_polling() {
    let mut world = World::polling();
    for _ in 0..3 {
        let get = world.get();
        world.advance(24_999);
        assert_eq!(world.answer_of(get), None);
        world.advance(1);
        assert_eq!(world.answer_of(get), Some("200 2"));
        let post = world.post("3");
        assert_eq!(world.answer_of(post), Some("200 ok"));
    }
}

/// Covers: T-017
#[test]
fn t017_a_silent_client_is_closed_on_polling() {
    let mut world = World::polling();
    world.advance(44_999);
    assert_eq!(world.closed(), None);
    world.advance(1);
    assert_eq!(world.closed(), Some(CloseReason::PingTimeout));
    let get = world.get();
    assert_eq!(world.answer_of(get), Some(UNKNOWN_SID));
}

/// Covers: T-018
#[test]
fn t018_three_heartbeats_by_websocket() {
    let mut world = World::websocket();
    for _ in 0..3 {
        world.advance(24_999);
        assert_eq!(world.frames(), Vec::<String>::new());
        world.advance(1);
        assert_eq!(world.frames(), ["2"]);
        world.frame("3");
    }
}

/// Covers: T-019
#[test]
fn t019_a_silent_client_is_closed_on_a_websocket() {
    let mut world = World::websocket();
    world.advance(25_000);
    assert_eq!(world.frames(), ["2"]);
    world.advance(19_999);
    assert!(world.is_open(world.channel));
    world.advance(1);
    assert!(!world.is_open(world.channel));
    assert_eq!(world.closed(), Some(CloseReason::PingTimeout));
}

/// Covers: T-020
#[test]
fn t020_the_client_closes_by_polling() {
    let mut world = World::polling();
    let get = world.get();
    world.post("1");
    assert_eq!(world.answer_of(get), Some("200 6"));
    let get = world.get();
    assert_eq!(world.answer_of(get), Some(UNKNOWN_SID));
}

/// Covers: T-021, M-018
#[test]
fn t021_the_client_closes_by_a_packet_on_a_websocket() {
    let mut world = World::websocket();
    world.frame("4a");
    world.frame("1");
    assert!(!world.is_open(world.channel));
    world.frame("4b");
    assert_eq!(world.recv_all(), ["a"]);
    assert_eq!(world.closed(), Some(CloseReason::TransportClose));
}

/// Covers: T-022
#[test]
fn t022_upgrade() {
    let mut world = World::polling();
    world.probe_open();
    world.frame("2probe");
    assert_eq!(world.frames(), ["3probe"]);
    let get = world.get();
    assert_eq!(world.answer_of(get), Some("200 6"));
    world.frame("5");
    world.frame("4hello");
    world.echo();
    assert_eq!(world.frames(), ["4hello"]);
}

/// Covers: T-023
#[test]
fn t023_polls_behind_an_upgrade_are_refused() {
    let mut world = World::polling();
    world.probe_open();
    world.frame("2probe");
    world.frame("5");
    let get = world.get();
    assert_eq!(world.answer_of(get), Some(BAD_REQUEST));
    let post = world.post("4x");
    assert_eq!(world.answer_of(post), Some(BAD_REQUEST));
    world.frame("4hello");
    world.echo();
    assert_eq!(world.frames(), ["3probe", "4hello"]);
    assert_eq!(world.session().transport(), TransportKind::WebSocket);
}

/// Covers: T-015
#[test]
fn t015_an_invalid_packet_by_websocket() {
    for text in ["abc", "", "2"] {
        let mut world = World::websocket();
        world.frame(text);
        assert!(!world.is_open(world.channel));
        let reason = match text {
            "2" => CloseReason::TransportError(TransportError::HeartbeatDirection),
            _ => CloseReason::ParseError,
        };
        assert_eq!(world.closed(), Some(reason));
    }
}
