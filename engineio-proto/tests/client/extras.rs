//! Behaviours that python-engineio's client asserts beyond the others: Y-031 to Y-039.

use engineio_proto::client::{self, Details};
use engineio_proto::{CloseReason, Event, RequestError, TransportError, TransportKind, UpgradeError};

use crate::world::{INVALID, NO_HANDSHAKE, World, failed, open_packet};

/// Covers: Y-031
#[test]
fn y031_any_status_of_success_is_one_and_what_an_error_says_is_kept() {
    for status in [200, 201, 204, 299] {
        let mut world = World::with(|_| ());
        world.answer_get_with(status, open_packet("", 1_000_000));
        world.send("a");
        world.answer_post_with(status, "whatever");
        world.answer_get_with(status, "4b");
        assert_eq!((world.recv_all(), world.closed()), (vec!["b".to_owned()], None));
    }
    for body in [r#"{"foo":"bar"}"#, "not JSON", ""] {
        let mut world = World::with(|_| ());
        world.answer_get_with(404, body);
        assert_eq!(world.client.details(), Some(&Details::Answer { status: 404, body: body.into() }));
        let error = TransportError::Poll(RequestError::Status(404));
        assert_eq!(world.events(), [Event::Closed(CloseReason::TransportError(error))]);
    }
}

/// Covers: Y-032
#[test]
fn y032_the_first_packet_must_open_the_session() {
    let mut world = World::only(TransportKind::Polling);
    world.answer_get("4a");
    assert_eq!(world.events(), [Event::Closed(NO_HANDSHAKE)]);
    let mut world = World::only(TransportKind::WebSocket);
    world.opened();
    world.frame_bytes(b"0{}");
    assert_eq!(world.events(), [Event::Closed(NO_HANDSHAKE)]);
}

#[test]
fn y032_the_beginning_of_what_is_no_handshake_is_kept() {
    let other = r#"96:0{"sid":"abc","upgrades":["websocket"],"pingInterval":25000,"pingTimeout":5000}2:40"#;
    let long = "<html>".repeat(1000);
    for (body, kept, is_other) in [(other, other, true), (&long, &long[..Details::MAX_BODY], false), ("", "", false)] {
        let details = Details::Handshake { data: kept.to_owned().into() };
        assert_eq!(details.is_other_revision(), is_other);
        let mut world = World::only(TransportKind::Polling);
        world.answer_get(body);
        assert_eq!((world.closed(), world.client.details()), (Some(NO_HANDSHAKE), Some(&details)));
        let mut world = World::only(TransportKind::WebSocket);
        world.opened();
        world.frame(body);
        assert_eq!((world.closed(), world.client.details()), (Some(NO_HANDSHAKE), Some(&details)));
    }
    let mut world = World::only(TransportKind::WebSocket);
    world.opened();
    world.frame_bytes(b"\x00\xff");
    assert_eq!(world.client.details(), Some(&Details::Handshake { data: (&b"\x00\xff"[..]).into() }));
    // A session that has opened has none, and neither has one that tries the next transport.
    assert_eq!(World::polling().client.details(), None);
    assert_eq!(World::websocket().client.details(), None);
    let mut world = World::trying(TransportKind::Polling);
    world.answer_get("96:0{}");
    assert_eq!((world.closed(), world.client.details()), (None, None));
}

/// Covers: Y-033
#[test]
fn y033_packets_behind_the_open_packet_are_handled() {
    let mut world = World::with(|_| ());
    world.answer_get(&format!("{}\x1e4a\x1e2\x1e4b", open_packet("", 1_000_000)));
    assert_eq!(world.events()[..2], [Event::Opened, Event::Heartbeat]);
    assert_eq!(world.post(), Some("3"));
    assert_eq!(world.recv_all(), ["a", "b"]);

    // The session may end there, too.
    let mut world = World::with(|_| ());
    world.answer_get(&format!("{}\x1e4a\x1e1\x1e4b", open_packet(r#""websocket""#, 1_000_000)));
    assert_eq!(world.recv_all(), ["a"]);
    assert_eq!(world.closed(), Some(CloseReason::TransportClose));
    world.assert_over();
}

/// Covers: Y-035
#[test]
fn y035_an_upgrade_that_fails_leaves_the_client_on_polling() {
    let mut world = World::probing();
    world.frame("4no pong");
    assert_eq!(world.count(failed(UpgradeError::UnexpectedPacket)), 1);
    world.assert_polls_on();
}

/// Covers: Y-036
#[test]
fn y036_close_ends_noop_is_nothing_and_the_unknown_is_an_error() {
    for (packet, end) in [("1", Some(CloseReason::TransportClose)), ("6", None), ("7", Some(INVALID))] {
        let mut world = World::polling();
        world.answer_get(packet);
        assert_eq!(world.closed(), end, "{packet}");
        let mut world = World::websocket();
        world.frame(packet);
        assert_eq!(world.closed(), end, "{packet}");
    }
    // What only a client says is passed over, and so is a second beginning.
    for packet in ["3", "5", "0{}", &open_packet(r#""websocket""#, 1)] {
        let mut world = World::polling();
        world.events();
        world.answer_get(packet);
        assert_eq!((world.events(), world.client.state()), (vec![], client::State::Polling), "{packet}");
        assert_eq!(world.client.max_payload(), Some(1_000_000));
    }
}

/// Covers: Y-037
#[test]
fn y037_whatever_goes_wrong_ends_the_session_once() {
    let failures: [fn(&mut World); 4] = [
        |world| world.answer_get_with(500, ""),
        |world| world.answer_get("x"),
        |world| world.fail_get(RequestError::Timeout),
        |world| world.advance(45_000),
    ];
    for fail in failures {
        let mut world = World::polling();
        world.events();
        fail(&mut world);
        let [Event::Closed(_)] = world.events()[..] else { panic!("one end") };
        world.advance(1_000_000);
        assert_eq!(world.events(), []);
        world.assert_over();
    }
}

/// Covers: Y-038
#[test]
fn y038_a_post_carries_what_fits_and_one_that_fails_ends_the_session() {
    for (max_packets, posted) in [(16, 16), (100, 40)] {
        let mut world = World::with(|config| config.max_packets = max_packets);
        (10..50).for_each(|n| world.send(n.to_string()));
        world.answer_get(&open_packet("", 1_000_000));
        assert_eq!(world.post().map(|body| body.split('\x1e').count()), Some(posted));
        // The close packet counts too.
        world.close();
        world.answer_post();
        let rest = (40 - posted).min(16);
        let goodbye = usize::from(rest < 16);
        assert_eq!(world.post().map(|body| body.split('\x1e').count()), Some(rest + goodbye));
    }
    let mut world = World::with(|_| ());
    world.send("a");
    world.answer_get(&open_packet("", 1_000_000));
    world.answer_post_with(500, "");
    let error = TransportError::Post(RequestError::Status(500));
    assert_eq!(world.closed(), Some(CloseReason::TransportError(error)));
    world.assert_over();
}

/// Covers: Y-039
#[test]
fn y039_to_end_what_is_over_is_harmless() {
    let mut world = World::polling();
    world.answer_get("1");
    world.events();
    world.close();
    world.abort();
    assert_eq!(world.events(), []);

    // To end at once does not wait.
    let mut world = World::polling();
    world.send("a");
    world.abort();
    assert_eq!((world.closed(), world.unsent().len()), (Some(CloseReason::ForcedClose), 0), "it is in the POST");
    world.assert_over();
}
