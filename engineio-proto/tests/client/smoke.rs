use crate::pair::Pair;
use engineio_proto::{ClientConfig, CloseReason, Config, Event, Message, TransportKind};

#[test]
fn a_life() {
    for transports in [
        vec![TransportKind::Polling, TransportKind::WebSocket],
        vec![TransportKind::Polling],
        vec![TransportKind::WebSocket],
    ] {
        let mut config = ClientConfig::default();
        config.transports = transports.clone();
        let mut pair = Pair::new(config, Config::default());
        for n in 0..10 {
            pair.client.send(pair.now, format!("c{n}")).unwrap();
            pair.run();
            let key = pair.key.unwrap();
            pair.server.session_mut(key).unwrap().send(Message::from(vec![n as u8])).unwrap();
            pair.run();
        }
        assert_eq!(pair.server_received().len(), 10, "{:?}", pair.client);
        assert_eq!(pair.client_received().len(), 10);
        for _ in 0..20 {
            pair.tick();
        }
        assert_eq!(pair.client.close_reason(), None);
        assert_eq!(pair.client.transport(), *transports.last().unwrap());
        pair.client.close(pair.now);
        pair.run();
        println!("{:?}\n{:?}", pair.client_events, pair.server_events);
        assert_eq!(pair.client_events.last(), Some(&Event::Closed(CloseReason::ForcedClose)));
        assert_eq!(pair.server_events.last(), Some(&Event::Closed(CloseReason::TransportClose)));
    }
}
