//! The listener of the runtime crate, as applications use it.

use std::time::Duration;

use tokio::net::TcpStream;

#[cfg(unix)]
use crate::adapter::TransportKind;
use crate::adapter::{CloseReason, Server, Socket};
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

/// The result of `bind` stops listening when it is told to, or dropped. The connections stay.
pub async fn s054_a_bound_listener_can_be_stopped() {
    let server = builder().build().unwrap();
    let listening = crate::adapter::bind_until_dropped(&server, "127.0.0.1:0").await.unwrap();
    let addr = *listening.addr();
    let (mut client, _) = WebSocket::open(addr).await;
    let socket = accept(&server).await;
    within(listening.stop()).await;
    let listening = crate::adapter::bind_until_dropped(&server, &addr.to_string()).await.unwrap();
    WebSocket::open(addr).await;
    accept(&server).await;
    drop(listening);
    within(async { while TcpStream::connect(addr).await.is_ok() {} }).await;
    socket.try_send("hello").unwrap();
    assert_eq!(client.next().await, Frame::text("4hello"));
}

/// Clients on polling make new connections for their last messages. Then the listener ends, and only then is it over.
pub async fn a_listener_ends_with_the_server() {
    let server = builder().build().unwrap();
    let (listener, addr) = crate::runtime::bind().await;
    let serving = tokio::spawn(crate::adapter::serve(server.clone(), listener));
    let client = Polling::open(addr).await;
    let socket = accept(&server).await;
    socket.try_send("one").unwrap();
    let (signal, signalled) = tokio::sync::oneshot::channel::<()>();
    let ending = tokio::spawn(server.shutdown_on(signalled));
    assert_eq!(client.get().await.brief(), (200, "4one"));
    socket.try_send("two").unwrap();
    signal.send(()).unwrap();
    assert_eq!(
        within(async {
            while socket.is_open() {
                tokio::task::yield_now().await;
            }
            client.get().await
        })
        .await
        .brief(),
        (200, "4two")
    );
    client.farewell().await;
    assert_eq!(within(socket.closed()).await, CloseReason::ForcedClose);
    within(ending).await.unwrap();
    within(serving).await.unwrap();
    crate::runtime::TcpListener::bind(addr).await.unwrap();
    // It cannot be served again.
    let (listener, addr) = crate::runtime::bind().await;
    within(crate::adapter::serve(server, listener)).await;
    assert!(TcpStream::connect(addr).await.is_err());
}

/// A listener that is not served in time loses no client.
#[cfg(target_os = "linux")]
pub async fn many_connections_wait_until_they_are_accepted() {
    struct Never;

    impl hyper::rt::Executor<crate::adapter::rt::Task> for Never {
        fn execute(&self, task: crate::adapter::rt::Task) {
            std::mem::forget(task);
        }
    }
    let runtime = crate::adapter::rt::Runtime::new(Never, hyper_util::rt::TokioTimer::new());
    let server = crate::adapter::Builder::new(runtime).build().unwrap();
    let listening = crate::adapter::bind_until_dropped(&server, "127.0.0.1:0").await.unwrap();
    let mut connections = Vec::new();
    for _ in 0..300 {
        connections.push(within(TcpStream::connect(listening.addr())).await.unwrap());
    }
}

#[cfg(unix)]
pub async fn t008_a_unix_socket_serves_both_transports() {
    let path = std::env::temp_dir().join(format!("engineio-serve-{}", std::process::id()));
    let _ = std::fs::remove_file(&path);
    let server = builder().build().unwrap();
    let serving = tokio::spawn(crate::adapter::serve_unix(server.clone(), path.clone()));
    within(async {
        while tokio::net::UnixStream::connect(&path).await.is_err() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    tokio::spawn(echo(server.clone()));
    for transport in [TransportKind::Polling, TransportKind::WebSocket] {
        let client = crate::adapter::client("http://localhost").unwrap().transports([transport]);
        let client = client.connector(crate::adapter::UnixConnector::new(&path)).build().unwrap();
        let mut socket = within(client.connect()).await.unwrap();
        socket.try_send("hello").unwrap();
        assert_eq!(within(socket.recv()).await, Some("hello".into()));
        let handles = server.sessions();
        assert!(handles.iter().all(|handle| handle.remote_addr().is_none()));
        socket.close();
        within(socket.closed()).await;
    }
    within(server.shutdown()).await;
    within(serving).await.unwrap().unwrap();
    std::fs::remove_file(&path).unwrap();
}
