//! The client against our own server.

use std::time::Duration;

use futures_util::future::join_all;

use crate::adapter::{
    Builder, Client, CloseReason, Event, Message, RequestError, Server, Socket, TransportError, TransportKind,
};
use crate::raw::within;
use crate::runtime::Mortal;

const POLLING: &[TransportKind] = &[TransportKind::Polling];
const WEBSOCKET: &[TransportKind] = &[TransportKind::WebSocket];
const BOTH: &[TransportKind] = &[TransportKind::Polling, TransportKind::WebSocket];

async fn start(builder: Builder) -> (Server, String) {
    let server = builder.build().unwrap();
    let addr = crate::adapter::bind(&server, "127.0.0.1:0").await.unwrap();
    (server, format!("http://{addr}"))
}

/// A server that echoes everything.
async fn echo(builder: Builder) -> (Server, String) {
    let (server, url) = start(builder).await;
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
    (server, url)
}

fn client(url: &str, transports: &[TransportKind]) -> Client {
    crate::adapter::client(url).unwrap().transports(transports.iter().copied()).build().unwrap()
}

async fn connect(url: &str, transports: &[TransportKind]) -> Socket {
    within(client(url, transports).connect()).await.unwrap()
}

async fn echoes(socket: &mut Socket, messages: Vec<Message>) {
    for message in &messages {
        socket.send(message.clone()).await.unwrap();
    }
    for message in messages {
        assert_eq!(within(socket.recv()).await, Some(message));
    }
}

/// Waits until the server has no session any more.
async fn empty(server: &Server) {
    within(async {
        while let Some(session) = server.sessions().first() {
            session.closed().await;
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// Messages and heartbeats, for many sessions at once, while they change their transport.
pub async fn many_clients() {
    const CLIENTS: usize = 30;
    const MESSAGES: usize = 100;
    let builder = crate::adapter::builder().ping_interval(Duration::from_millis(20));
    let (server, url) = echo(builder).await;
    join_all((0..CLIENTS).map(|number| {
        let url = url.clone();
        async move {
            let transports = [POLLING, WEBSOCKET, BOTH][number % 3];
            let mut events = within(client(&url, transports).connect_observed()).await.unwrap();
            let handle = events.handle().clone();
            let sending = tokio::spawn(async move {
                for message in 0..MESSAGES {
                    handle.send(format!("{number}:{message}")).await.unwrap();
                    if message % 10 == 0 {
                        handle.flush().await.unwrap();
                    }
                }
            });
            let (mut received, mut heartbeats) = (0, 0);
            // Long enough for heartbeats in every session.
            while received < MESSAGES || heartbeats < 2 {
                match within(events.next()).await.unwrap() {
                    Event::Message(message) => {
                        assert_eq!(message, format!("{number}:{received}").into());
                        received += 1;
                    }
                    Event::Heartbeat => heartbeats += 1,
                    Event::Close(reason) => panic!("{reason}"),
                    _ => (),
                }
            }
            within(sending).await.unwrap();
            events.handle().close();
            assert_eq!(within(events.handle().closed()).await, CloseReason::ForcedClose);
        }
    }))
    .await;
    empty(&server).await;
}

/// Messages that were sent before `close` arrive, whatever the state in which it was called.
///
pub async fn r44_close_loses_nothing() {
    const MESSAGES: usize = 300;
    let (server, url) = start(crate::adapter::builder()).await;
    for transports in [POLLING, WEBSOCKET, BOTH] {
        // The upgrade is at another point each time.
        for turns in 0..20 {
            let socket = connect(&url, transports).await;
            let mut there = within(server.accept()).await;
            let handle = socket.handle();
            for number in 0..MESSAGES {
                socket.try_send(format!("{number}")).unwrap();
                if number == MESSAGES / 2 {
                    for _ in 0..turns * 2 {
                        tokio::task::yield_now().await;
                    }
                }
            }
            if turns % 2 == 0 {
                socket.close();
                assert_eq!(within(socket.closed()).await, CloseReason::ForcedClose);
            }
            drop(socket);
            for number in 0..MESSAGES {
                assert_eq!(within(there.recv()).await, Some(format!("{number}").into()), "{transports:?} {turns}");
            }
            assert_eq!(within(there.recv()).await, None);
            assert_eq!(there.close_reason(), Some(CloseReason::TransportClose));
            assert_eq!(within(handle.closed()).await, CloseReason::ForcedClose);
        }
    }
    empty(&server).await;
}

///
pub async fn the_server_closes_in_order() {
    const MESSAGES: usize = 300;
    let (server, url) = start(crate::adapter::builder()).await;
    for transports in [POLLING, WEBSOCKET, BOTH] {
        for _ in 0..10 {
            let mut socket = connect(&url, transports).await;
            let there = within(server.accept()).await;
            for number in 0..MESSAGES {
                there.try_send(format!("{number}")).unwrap();
            }
            there.close();
            for number in 0..MESSAGES {
                assert_eq!(within(socket.recv()).await, Some(format!("{number}").into()));
            }
            assert_eq!(within(socket.recv()).await, None);
            assert_eq!(socket.close_reason(), Some(CloseReason::TransportClose));
            assert_eq!(within(there.closed()).await, CloseReason::ForcedClose);
        }
    }
    empty(&server).await;
}

/// The server ended the session, or does not know it any more: on polling it depends on whether the poll had arrived.
fn is_gone(reason: CloseReason) -> bool {
    let unknown = CloseReason::TransportError(TransportError::Poll(RequestError::Status(400)));
    reason == CloseReason::TransportClose || reason == unknown
}

pub async fn the_server_closes_all() {
    let (server, url) = echo(crate::adapter::builder()).await;
    let mut sockets = Vec::new();
    for transports in [POLLING, WEBSOCKET, BOTH] {
        for _ in 0..5 {
            let mut socket = connect(&url, transports).await;
            echoes(&mut socket, vec!["there?".into()]).await;
            sockets.push(socket);
        }
    }
    server.abort_all();
    for mut socket in sockets {
        let reason = within(socket.closed()).await;
        assert!(is_gone(reason), "{reason}");
        assert_eq!(within(socket.recv()).await, None);
    }
    assert!(server.is_empty());
    echoes(&mut connect(&url, BOTH).await, vec!["still there?".into()]).await;
}

/// Covers: SEC-15
pub async fn the_server_shuts_down() {
    let (server, url) = echo(crate::adapter::builder()).await;
    let mut sockets = Vec::new();
    for transports in [POLLING, WEBSOCKET, BOTH] {
        for _ in 0..5 {
            let mut socket = connect(&url, transports).await;
            echoes(&mut socket, vec!["there?".into()]).await;
            sockets.push(socket);
        }
    }
    within(server.shutdown()).await;
    for socket in sockets {
        assert_eq!(within(socket.closed()).await, CloseReason::TransportClose);
    }
    assert!(server.is_empty());
    // No session is admitted.
    let error = within(client(&url, POLLING).connect()).await.unwrap_err();
    assert!(matches!(error.reason(), CloseReason::TransportError(TransportError::Poll(_))), "{error}");
}

/// The process is gone, with all its connections.
pub async fn the_server_is_killed() {
    for transports in [POLLING, WEBSOCKET, BOTH] {
        let runtime = Mortal::new();
        let (_server, url) = echo(Builder::new(runtime.runtime())).await;
        let mut socket = connect(&url, transports).await;
        echoes(&mut socket, vec!["there?".into()]).await;
        runtime.end();
        let reason = within(socket.closed()).await;
        if socket.transport() == TransportKind::Polling {
            let CloseReason::TransportError(TransportError::Poll(error)) = reason else { panic!("{reason}") };
            // It died during a poll, or between two.
            assert!(matches!(error, RequestError::Lost | RequestError::Unreachable), "{error}");
        } else {
            assert_eq!(reason, CloseReason::TransportLost);
        }
        assert_eq!(within(socket.recv()).await, None);
    }
}

pub async fn the_server_aborts_a_session() {
    let (server, url) = start(crate::adapter::builder()).await;
    for transports in [POLLING, WEBSOCKET] {
        let mut socket = connect(&url, transports).await;
        let there = within(server.accept()).await;
        there.abort();
        let reason = within(socket.closed()).await;
        assert!(is_gone(reason), "{reason}");
        assert_eq!(within(socket.recv()).await, None);
    }
    empty(&server).await;
}

/// A client that gives up while it connects leaves no session, whatever its state.
/// Covers: SEC-64
pub async fn r48_whoever_gives_up_leaves_no_session() {
    let (server, url) = start(crate::adapter::builder()).await;
    let accepting = server.clone();
    // It closes nothing by itself.
    let (kept, mut sockets) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        loop {
            let _ = kept.send(accepting.accept().await);
        }
    });
    for transports in [POLLING, WEBSOCKET, BOTH] {
        for turns in 0..30 {
            let client = client(&url, transports);
            let connecting = tokio::spawn(async move { client.connect().await.map(drop) });
            for _ in 0..turns {
                tokio::task::yield_now().await;
            }
            connecting.abort();
            let _ = within(connecting).await;
        }
    }
    // A session that is admitted now came after all those that were given up.
    let last = connect(&url, POLLING).await;
    loop {
        let socket = within(sockets.recv()).await.unwrap();
        if socket.id() == last.id() {
            break;
        }
        assert_eq!(within(socket.closed()).await, CloseReason::TransportClose);
    }
    last.close();
    within(last.closed()).await;
    while let Ok(socket) = sockets.try_recv() {
        within(socket.closed()).await;
    }
}

/// A flood is slowed down by the side that does not read, in both directions at once.
pub async fn floods_both_ways() {
    const SIZE: usize = 16 * 1024;
    const MESSAGES: usize = 500;
    let builder = crate::adapter::builder().receive_buffer(4 * SIZE).send_buffer(4 * SIZE, SIZE);
    let (server, url) = start(builder).await;
    for transports in [POLLING, WEBSOCKET, BOTH] {
        let builder = crate::adapter::client(&url).unwrap().transports(transports.iter().copied());
        let client = builder.receive_buffer(4 * SIZE).send_buffer(4 * SIZE, SIZE).build().unwrap();
        let here = within(client.connect()).await.unwrap();
        let there = within(server.accept()).await;
        let mut sides = Vec::new();
        for mut socket in [here, there] {
            let sender = socket.handle();
            let sending = tokio::spawn(async move {
                for number in 0..MESSAGES {
                    sender.send(vec![number as u8; SIZE]).await.unwrap();
                }
                sender.flush().await.unwrap();
            });
            let receiving = tokio::spawn(async move {
                for number in 0..MESSAGES {
                    assert_eq!(socket.recv().await, Some(vec![number as u8; SIZE].into()));
                    assert!(socket.receive_buffered() <= 5 * (SIZE + Message::OVERHEAD));
                }
                socket
            });
            sides.push((sending, receiving));
        }
        let mut sockets = Vec::new();
        for (sending, receiving) in sides {
            within(sending).await.unwrap();
            sockets.push(within(receiving).await.unwrap());
        }
    }
    empty(&server).await;
}
