//! Messages both ways between our client and our server, on every transport.

use crate::adapter::{Builder, ClientBuilder, CloseReason, Event, Message, Server, Socket, TransportKind};

const POLLING: &[TransportKind] = &[TransportKind::Polling];
const WEBSOCKET: &[TransportKind] = &[TransportKind::WebSocket];
const UPGRADE: &[TransportKind] = &[TransportKind::Polling, TransportKind::WebSocket];

/// A server that echoes everything, and its address.
async fn echo_server(options: impl FnOnce(Builder) -> Builder) -> (Server, String) {
    let server = options(crate::adapter::builder()).build().unwrap();
    let addr = crate::adapter::bind(&server, "127.0.0.1:0").await.unwrap();
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

async fn connect(url: &str, options: impl FnOnce(ClientBuilder) -> ClientBuilder) -> Socket {
    options(crate::adapter::client(url).unwrap()).build().unwrap().connect().await.unwrap()
}

/// All are sent, then all come back, in order.
async fn bounce(socket: &mut Socket, messages: &[Message]) {
    for message in messages {
        socket.send(message.clone()).await.unwrap();
    }
    for message in messages {
        assert_eq!(socket.recv().await.as_ref(), Some(message));
    }
}

fn bytes(len: usize) -> Message {
    (0..len).map(|n| n.to_le_bytes()[0]).collect::<Vec<_>>().into()
}

const CYRILLIC: &str = "пойду спать всем спокойной ночи";
const ODD: &str = "😀 \u{10ffff} \u{e000}\u{f8ff} \u{feff} \u{2028}\u{2029} \u{0}\u{7f}";

pub async fn every_transport_echoes() {
    let (server, url) = echo_server(|options| options).await;
    for transports in [POLLING, WEBSOCKET, UPGRADE] {
        let mut socket = connect(&url, |options| options.transports(transports.iter().copied())).await;
        let texts = (0..100).map(|n: usize| n.to_string().repeat(n * 10));
        let messages: Vec<Message> =
            texts.flat_map(|text| [Message::from(text.clone()), text.into_bytes().into()]).collect();
        bounce(&mut socket, &messages).await;
        socket.flush().await.unwrap();
        let there = server.get(socket.id()).unwrap();
        socket.close();
        assert_eq!(socket.closed().await, CloseReason::ForcedClose);
        assert_eq!(there.closed().await, CloseReason::TransportClose);
        assert_eq!(Some(&socket.transport()), transports.last());
        assert_eq!(socket.recv().await, None);
    }
}

pub async fn an_upgrade_is_observed() {
    let (_server, url) = echo_server(|options| options).await;
    let mut events = crate::adapter::client(&url).unwrap().build().unwrap().connect_observed().await.unwrap();
    let mut seen = Vec::new();
    while let Some(event) = events.next().await {
        if event == Event::Upgraded(TransportKind::WebSocket) {
            events.handle().close();
        }
        seen.push(event);
    }
    let (upgrading, upgraded) = (Event::Upgrading(TransportKind::WebSocket), Event::Upgraded(TransportKind::WebSocket));
    assert_eq!(seen, [upgrading, upgraded, Event::Close(CloseReason::ForcedClose)]);
}

pub async fn c045_c046_a_greeting() {
    let (_server, url) = echo_server(|options| options.initial_message("hi")).await;
    for transports in [POLLING, WEBSOCKET] {
        let mut socket = connect(&url, |options| options.transports(transports.iter().copied())).await;
        assert_eq!(socket.recv().await, Some("hi".into()));
        assert_eq!(Some(&socket.transport()), transports.first());
    }
}

pub async fn c047_c048_text_beyond_ascii() {
    let (_server, url) = echo_server(|options| options).await;
    for transports in [POLLING, WEBSOCKET, UPGRADE] {
        let mut socket = connect(&url, |options| options.transports(transports.iter().copied())).await;
        bounce(&mut socket, &[CYRILLIC.into(), ODD.into(), "".into(), "cash money €€€".into()]).await;
    }
}

pub async fn c063_c064_bytes_then_text_by_polling() {
    let (_server, url) = echo_server(|options| options).await;
    let mut socket = connect(&url, |options| options.transports(POLLING.iter().copied())).await;
    bounce(&mut socket, &[bytes(5)]).await;
    bounce(&mut socket, &[bytes(5), "cash money €€€".into(), bytes(0), "".into(), bytes(100_000)]).await;
}

pub async fn c065_c069_bytes_as_base64() {
    let (_server, url) = echo_server(|options| options).await;
    for transports in [POLLING, WEBSOCKET, UPGRADE] {
        let mut socket = connect(&url, |options| options.transports(transports.iter().copied()).base64(true)).await;
        bounce(&mut socket, &[bytes(5), "text".into(), bytes(1000)]).await;
    }
}

pub async fn c050_c066_what_is_grouped_below_the_limit_comes_back() {
    let (server, url) = echo_server(|options| options.max_payload(100)).await;
    let mut socket = connect(&url, |options| options.transports(POLLING.iter().copied())).await;
    let texts: Vec<Message> = [99, 30, 30, 35]
        .map(|len| "a".repeat(len))
        .into_iter()
        .chain(["€".repeat(33), "b".repeat(99)])
        .map(Message::from)
        .collect();
    bounce(&mut socket, &texts).await;
    bounce(&mut socket, &[bytes(72), bytes(20), "a".repeat(20).into(), bytes(20), bytes(72)]).await;
    assert!(socket.is_open() && server.len() == 1);
}

pub async fn c067_c068_bytes_then_text_behind_an_upgrade() {
    let (_server, url) = echo_server(|options| options).await;
    for (transports, upgraded) in [(UPGRADE, true), (WEBSOCKET, false)] {
        let mut events = crate::adapter::client(&url)
            .unwrap()
            .transports(transports.iter().copied())
            .build()
            .unwrap()
            .connect_observed()
            .await
            .unwrap();
        while upgraded && !events.handle().is_upgraded() {
            assert!(events.next().await.is_some());
        }
        let messages = [bytes(5), Message::from("cash money €€€"), bytes(70_000)];
        for message in &messages {
            events.handle().send(message.clone()).await.unwrap();
        }
        let mut back = Vec::new();
        while back.len() < messages.len() {
            if let Event::Message(message) = events.next().await.unwrap() {
                back.push(message);
            }
        }
        assert_eq!(back, messages);
    }
}
