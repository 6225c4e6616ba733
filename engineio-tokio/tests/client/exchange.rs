//! Messages both ways, by every transport.

use std::time::Duration;

use engineio_tokio::{CloseReason, Event, Message, Server, TransportKind};

async fn echo_server() -> (Server, String) {
    let server = engineio_tokio::builder().build().unwrap();
    let addr = engineio_tokio::bind(&server, "127.0.0.1:0").await.unwrap();
    let accepting = server.clone();
    tokio::spawn(async move {
        loop {
            let mut socket = accepting.accept().await;
            tokio::spawn(async move {
                while let Some(message) = socket.recv().await {
                    if socket.send(message).await.is_err() {
                        break;
                    }
                }
            });
        }
    });
    (server, format!("http://{addr}"))
}

#[tokio::test]
async fn every_transport_echoes() {
    let (server, url) = echo_server().await;
    for transports in [
        vec![TransportKind::Polling],
        vec![TransportKind::WebSocket],
        vec![TransportKind::Polling, TransportKind::WebSocket],
    ] {
        let client = engineio_tokio::client(&url).unwrap().transports(transports.clone()).build().unwrap();
        let mut socket = client.connect().await.unwrap();
        for n in 0..100 {
            let text = format!("{n}").repeat(n * 10);
            socket.send(text.clone()).await.unwrap();
            socket.send(text.into_bytes()).await.unwrap();
        }
        for n in 0..100 {
            let text = format!("{n}").repeat(n * 10);
            assert_eq!(socket.recv().await, Some(Message::from(text.clone())));
            assert_eq!(socket.recv().await, Some(Message::from(text.into_bytes())));
        }
        socket.flush().await.unwrap();
        let sid = socket.id().clone();
        let there = server.get(&sid).unwrap();
        socket.close();
        assert_eq!(socket.closed().await, CloseReason::ForcedClose);
        assert_eq!(there.closed().await, CloseReason::TransportClose);
        assert_eq!(socket.transport(), *transports.last().unwrap());
        assert_eq!(socket.recv().await, None);
    }
}

#[tokio::test]
async fn an_upgrade_is_observed() {
    let (_server, url) = echo_server().await;
    let mut events = engineio_tokio::client(&url).unwrap().build().unwrap().connect_observed().await.unwrap();
    let mut seen = Vec::new();
    while let Some(event) = events.next().await {
        if event == Event::Upgrade(TransportKind::WebSocket) {
            events.handle().close();
        }
        seen.push(event);
    }
    assert_eq!(
        seen,
        [
            Event::Upgrading(TransportKind::WebSocket),
            Event::Upgrade(TransportKind::WebSocket),
            Event::Close(CloseReason::ForcedClose)
        ]
    );
    let _ = Duration::ZERO;
}
