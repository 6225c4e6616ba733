//! Regression tests.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::task::JoinHandle;

use super::raw::{Polling, UPGRADE, WebSocket, ask, within};
use crate::adapter::{CloseReason, Server, Socket, TransportError};

const BINARY: u8 = 0x82;

async fn listen(server: &Server) -> SocketAddr {
    crate::adapter::bind(server, "127.0.0.1:0").await.unwrap()
}

/// The loop that most applications start with.
fn echo(mut socket: Socket) -> JoinHandle<Option<CloseReason>> {
    tokio::spawn(async move {
        while let Some(message) = socket.recv().await {
            if socket.send(message).await.is_err() {
                break;
            }
        }
        socket.close_reason()
    })
}

/// Sends until neither side takes more: the application waits for room, and the client does not read.
async fn flood(client: &mut WebSocket) {
    loop {
        let one = client.frame(BINARY, vec![7; 100_000]);
        if tokio::time::timeout(Duration::from_millis(300), one).await.is_err() {
            return;
        }
    }
}

pub async fn an_echo_ends_when_its_client_floods_reads_nothing_and_leaves() {
    let server = crate::adapter::builder().build().unwrap();
    let addr = listen(&server).await;
    let (mut client, _) = WebSocket::open(addr).await;
    let echo = echo(within(server.accept()).await);
    flood(&mut client).await;
    client.connection.reset();
    let reason = within(echo).await.unwrap();
    assert_eq!(reason, Some(CloseReason::TransportClose), "known before every message was taken");
    assert!(server.is_empty());
    within(server.shutdown()).await;
}

pub async fn a_client_that_floods_and_reads_nothing_is_closed() {
    // The ping is due when nothing moves any more: even the ping cannot be handed over.
    let (interval, timeout) = (Duration::from_secs(3), Duration::from_millis(300));
    let server = crate::adapter::builder().ping_interval(interval).ping_timeout(timeout).build().unwrap();
    let addr = listen(&server).await;
    let (mut client, _) = WebSocket::open(addr).await;
    let echo = echo(within(server.accept()).await);
    flood(&mut client).await;
    let reason = within(echo).await.unwrap();
    assert_eq!(reason, Some(CloseReason::TransportError(TransportError::SlowConsumer)));
}

/// A WebSocket that is accepted while its session ends is closed, and its task ends.
pub fn a_websocket_whose_session_ends_while_it_opens_is_closed() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let server = crate::adapter::builder().build().unwrap();
        let addr = listen(&server).await;
        for _ in 0..200 {
            let session = Polling::open(addr).await;
            drop(within(server.accept()).await);
            let target = session.target.clone();
            let ended = tokio::spawn(async move { ask(addr, "POST", &target, "", "1").await });
            let target = session.target.replace("polling", "websocket");
            let upgraded = tokio::spawn(async move { ask(addr, "GET", &target, UPGRADE, "").await.status });
            within(ended).await.unwrap();
            assert!(matches!(within(upgraded).await.unwrap(), 101 | 400));
        }
        // Anything that was left over would be waited for.
        within(server.shutdown()).await;
    });
}
