//! The state that a client reports, and the limits of what it accepts and sends.

use std::time::Duration;

use engineio_proto::client;
use engineio_proto::{Event, Message, SendError, TransportKind, Transports, UpgradeError};

use crate::world::{World, failed};

/// A server that takes one message at a time lets everything behind it wait.
fn tight() -> World {
    World::polling_with(|config| (config.send_limit, config.send_low) = (2 * Message::from("a").cost(), 0))
}

#[test]
fn whoever_asks_for_room_hears_of_it() {
    let mut world = tight();
    world.send("a");
    world.send("b");
    assert!(world.client.poll_ready(), "there is room");
    world.answer_post();
    assert_eq!(world.count(Event::Writable), 0, "nobody waits");
    world.send("c");
    world.send("d");
    assert!(!world.client.poll_ready());
    world.answer_post();
    assert_eq!(world.count(Event::Writable), 1);
    // Who would wait for the room of a session that takes nothing more, would wait for ever.
    world.send("e");
    world.send("f");
    world.close();
    assert!(world.client.poll_ready());
}

#[test]
fn before_the_session_is_open_there_is_room_up_to_the_limit() {
    let mut world = World::with(|config| (config.send_limit, config.send_low) = (2 * Message::from("a").cost(), 0));
    world.send("a");
    assert!(world.client.poll_ready());
    world.send("b");
    assert!(!world.client.poll_ready());
}

#[test]
fn outputs_are_there_until_they_are_pulled() {
    let mut world = World::polling();
    assert!(!world.client.has_output());
    world.client.send(world.now, "a").unwrap();
    assert!(world.client.has_output());
    while world.client.poll_output().is_some() {}
    assert!(!world.client.has_output());
}

#[test]
fn what_the_server_said_is_known_when_it_is_open() {
    let world = World::with(|_| ());
    let said = |world: &World| (world.client.upgrades(), world.client.ping_interval(), world.client.ping_timeout());
    assert_eq!((said(&world), world.client.max_payload()), ((None, None, None), None));
    let world = World::offered();
    let upgrades = Transports::from_iter([TransportKind::WebSocket]);
    assert_eq!(said(&world), (Some(upgrades), Some(Duration::from_secs(25)), Some(Duration::from_secs(20))));
    assert_eq!(world.client.max_payload(), Some(1_000_000));
}

#[test]
fn a_channel_is_known_while_it_is_there() {
    assert_eq!(World::polling().client.current_channel(), None);
    let world = World::websocket();
    assert_eq!(world.client.current_channel(), Some(world.channel()));
}

#[test]
fn a_client_counts_what_passes() {
    let mut world = World::websocket();
    for text in ["2", "4fghi", "4j"] {
        world.frame(text);
    }
    for text in ["ab", "cde"] {
        world.send(text);
    }
    assert_eq!(world.frames(), ["3", "4ab", "4cde"]);
    let stats = world.client.stats();
    assert_eq!((stats.messages_accepted, stats.messages_sent, stats.messages_received), (2, 2, 2));
    assert_eq!((stats.bytes_sent, stats.bytes_received), (5, 5));
    assert_eq!((stats.heartbeats_sent, stats.heartbeats_received), (1, 1));
}

#[test]
fn the_messages_of_a_post_are_written_when_it_was_answered() {
    let mut world = World::polling();
    for text in ["a", "b", "c"] {
        world.send(text);
    }
    assert_eq!((world.post(), world.client.stats().messages_written), (Some("4a"), 0));
    world.answer_post();
    assert_eq!((world.post(), world.client.stats().messages_written), (Some("4b\x1e4c"), 1));
    world.answer_post();
    assert_eq!(world.client.stats().messages_written, 3);
}

#[test]
fn a_separator_is_refused_where_the_client_may_poll_only() {
    let separated = "a\x1eb";
    let mut world = World::only(TransportKind::WebSocket);
    assert_eq!(world.try_send(separated), Ok(()), "there is no other transport to try");
    let mut world = World::with(|config| config.transports.reverse());
    assert_eq!(world.try_send(separated), Ok(()), "no other transport is tried");
    let mut world = World::trying(TransportKind::WebSocket);
    assert_eq!(world.try_send(separated), Err(SendError::Separator(separated.into())));
    let mut world = World::websocket_with(|config| config.try_all_transports = true);
    assert_eq!(world.try_send(separated), Ok(()), "it is on a WebSocket for good");
}

#[test]
fn separators_count_towards_the_limit_of_a_post() {
    let mut world = World::limited("4a\x1e4b\x1e4c".len() - 1);
    for text in ["", "a", "b", "c"] {
        world.send(text);
    }
    world.answer_post();
    assert_eq!(world.post(), Some("4a\x1e4b"));
}

#[test]
fn the_close_packet_counts_towards_the_packets_of_a_post() {
    let mut world = World::polling_with(|config| config.max_packets = 2);
    for text in ["a", "b", "c"] {
        world.send(text);
    }
    world.close();
    world.answer_post();
    assert_eq!(world.post(), Some("4b\x1e4c"));
    world.answer_post();
    assert_eq!(world.post(), Some("1"));
}

#[test]
fn nobody_is_left_to_take_messages() {
    let mut world = World::polling();
    world.answer_get("4a");
    world.client.discard_incoming();
    world.answer_get("4b");
    assert_eq!((world.client.receive_buffered(), world.recv()), (0, None));
}

#[test]
fn frames_are_announced_once() {
    let mut world = World::websocket();
    while world.pull().is_some() {}
    for text in ["a", "b"] {
        world.client.send(world.now, text).unwrap();
    }
    let outputs: Vec<_> = std::iter::from_fn(|| world.client.poll_output()).collect();
    assert_eq!(outputs, [client::Output::ChannelReady { channel: world.channel() }]);
}

#[test]
fn a_client_that_is_closed_does_not_wait_for_its_application_to_change_its_transport() {
    let mut world = World::probing_with(|config| config.receive_limit = 1);
    world.frame("3probe");
    world.answer_get("4a\x1e4b\x1e4c");
    world.send("d");
    assert_eq!((world.client.state(), world.post()), (client::State::Pausing, None));
    world.close();
    assert_eq!(world.count(failed(UpgradeError::SessionClosed)), 1);
    assert_eq!(world.post(), Some("4d\x1e1"), "it goes by polling");
}

#[test]
fn there_is_no_heartbeat_after_the_end() {
    let mut world = World::websocket_with(|config| config.receive_limit = 1);
    for text in ["4a", "2", "4b"] {
        world.frame(text);
    }
    world.channel_closed();
    assert_eq!(world.recv_all(), ["a", "b"]);
    assert_eq!((world.count(Event::Heartbeat), world.client.stats().heartbeats_received), (0, 0));
}
