//! The listener of the runtime crate, as applications use it.

use std::time::Duration;

use crate::adapter::{Server, Socket};
use crate::host::{builder, echo};
use crate::raw::{Connection, Frame, POLLING, Polling, WebSocket, get, request, sid_of, within};

async fn bound(server: &Server) -> std::net::SocketAddr {
    crate::adapter::bind(server, "127.0.0.1:0").await.unwrap()
}

async fn accept(server: &Server) -> Socket {
    within(server.accept()).await
}

/// Covers: T-013
pub async fn t008_a_listener_serves_both_transports() {
    let server = builder().build().unwrap();
    let addr = bound(&server).await;
    tokio::spawn(echo(server));
    let session = Polling::open(addr).await;
    assert_eq!(session.post("4hello").await.brief(), (200, "ok"));
    assert_eq!(session.get().await.brief(), (200, "4hello"));
    let mut upgraded = WebSocket::upgrade(&session).await;
    let (mut direct, _) = WebSocket::open(addr).await;
    for client in [&mut upgraded, &mut direct] {
        client.send("4hello").await;
        assert_eq!(client.next().await, Frame::text("4hello"));
    }
    assert_eq!(get(addr, "/").await.brief(), (404, "Not Found"));
}

/// Covers: S-163
pub async fn s162_the_address_of_the_client() {
    let server = builder().build().unwrap();
    let addr = bound(&server).await;
    let mut connection = Connection::open(addr).await;
    connection.get(POLLING).await;
    assert_eq!(connection.response().await.status, 200);
    assert_eq!(accept(&server).await.remote_addr(), Some(connection.local_addr()));
    let (client, _) = WebSocket::open(addr).await;
    assert_eq!(accept(&server).await.remote_addr(), Some(client.connection.local_addr()));
}

/// One connection carries a whole session, and then another one.
pub async fn s061_a_lasting_connection_is_used_again() {
    let server = builder().build().unwrap();
    let addr = bound(&server).await;
    tokio::spawn(echo(server));
    let mut connection = Connection::open(addr).await;
    for _ in 0..2 {
        connection.get(POLLING).await;
        let target = format!("{POLLING}&sid={}", sid_of(connection.response().await.text()));
        // Two requests in one segment are answered in turn.
        let both = [request("POST", &target, "", b"4a\x1e4b"), request("GET", &target, "", b"")].concat();
        connection.write(both).await;
        assert_eq!(connection.response().await.brief(), (200, "ok"));
        let mut packets = connection.response().await.text().to_owned();
        if packets == "4a" {
            connection.get(&target).await;
            packets = format!("4a\x1e{}", connection.response().await.text());
        }
        assert_eq!(packets, "4a\x1e4b");
        connection.write(request("POST", &target, "", b"1")).await;
        assert_eq!(connection.response().await.brief(), (200, "ok"));
    }
}

pub async fn sec71_a_listener_does_not_wait_for_headers_for_ever() {
    let server = builder().header_timeout(Duration::from_millis(50)).build().unwrap();
    let addr = bound(&server).await;
    let mut connection = Connection::open(addr).await;
    connection.write("GET /engine.io/?EIO=4").await;
    assert!(!connection.rest().await.starts_with(b"HTTP/1.1 2"));
}

pub async fn s054_a_port_is_free_again() {
    let server = builder().build().unwrap();
    let (listener, addr) = crate::runtime::bind().await;
    let listening = tokio::spawn(crate::adapter::serve(server.clone(), listener));
    let (mut client, _) = WebSocket::open(addr).await;
    let first = accept(&server).await;
    listening.abort();
    assert!(listening.await.unwrap_err().is_cancelled());
    // The listener is gone, but its connections are not.
    let listener = crate::runtime::TcpListener::bind(addr).await.unwrap();
    tokio::spawn(crate::adapter::serve(server.clone(), listener));
    let (mut other, _) = WebSocket::open(addr).await;
    let second = accept(&server).await;
    for (client, socket) in [(&mut client, &first), (&mut other, &second)] {
        socket.try_send("hello").unwrap();
        assert_eq!(client.next().await, Frame::text("4hello"));
        socket.close();
        client.closed().await;
    }
}
