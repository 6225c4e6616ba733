//! Complete runs of a client and a server of ours.

use engineio_proto::client;
use engineio_proto::server::Config;
use engineio_proto::{CloseReason, Event, Message, TransportKind};

use crate::pair::Pair;

/// The ways in which a client may be told to begin, and where it ends up.
fn transports() -> [Vec<TransportKind>; 3] {
    use TransportKind::{Polling, WebSocket};
    [vec![Polling, WebSocket], vec![Polling], vec![WebSocket]]
}

#[test]
fn a_life() {
    for transports in transports() {
        let mut config = client::Config::default();
        config.transports = transports.clone();
        let mut pair = Pair::new(config, Config::default());
        for n in 0..10_u8 {
            pair.client_send(format!("c{n}")).unwrap();
            pair.run();
            pair.server_send(vec![n]);
            pair.run();
        }
        let texts: Vec<_> = (0..10).map(|n| Message::from(format!("c{n}"))).collect();
        let bytes: Vec<_> = (0..10_u8).map(|n| Message::from(vec![n])).collect();
        assert_eq!((pair.server_received(), pair.client_received()), (texts, bytes));
        for _ in 0..20 {
            pair.tick();
        }
        assert_eq!(pair.client.close_reason(), None, "heartbeats keep it alive");
        assert_eq!(pair.client.transport(), *transports.last().unwrap());
        pair.client.close(pair.now);
        pair.run();
        assert_eq!(pair.client_events.last(), Some(&Event::Closed(CloseReason::ForcedClose)));
        assert_eq!(pair.server_events.last(), Some(&Event::Closed(CloseReason::TransportClose)));
    }
}

/// Law 12: whoever ends it, both know in the end.
#[test]
fn a_life_that_the_server_ends() {
    for transports in transports() {
        let mut config = client::Config::default();
        config.transports = transports.clone();
        let mut pair = Pair::new(config, Config::default());
        pair.server_send("last words");
        pair.run();
        pair.server_close();
        pair.run();
        assert_eq!(pair.client_received(), ["last words".into()]);
        pair.run();
        assert_eq!(pair.client_events.last(), Some(&Event::Closed(CloseReason::TransportClose)));
        assert_eq!(pair.server_events.last(), Some(&Event::Closed(CloseReason::ForcedClose)));
        assert!(pair.client.is_finished() && pair.server.is_empty());
    }
}

/// The upgrade is under way while both sides talk, with the answers of polls held back.
#[test]
fn an_upgrade_in_the_middle_of_talk() {
    for held in 0..6 {
        let mut pair = Pair::new(client::Config::default(), Config::default());
        for n in 0..20 {
            pair.hold = n == held;
            pair.client_send(format!("{n}")).unwrap();
            pair.run();
            pair.server_send(format!("{n}"));
            pair.run();
            if n % 4 == 3 {
                pair.release();
            }
        }
        pair.release();
        let expected: Vec<_> = (0..20).map(|n| Message::from(format!("{n}"))).collect();
        assert_eq!(pair.server_received(), expected);
        assert_eq!(pair.client_received(), expected);
        assert!(pair.client.upgraded());
    }
}
