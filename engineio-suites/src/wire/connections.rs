//! Connections of clients that leave, send too much, or take nothing.

use std::time::Duration;

use crate::adapter::{CloseReason, TransportError};
use crate::host::{Host, builder, reason};
use crate::raw::{Connection, POLLING, Polling, WEBSOCKET, WebSocket, get, request, within};

const POLL_LOST: CloseReason = CloseReason::TransportError(TransportError::PollLost);
const SHORT: Duration = Duration::from_millis(100);

/// A client that ends its side right behind its request gets an answer that is ready.
pub async fn r123_a_client_that_ends_its_side_gets_a_ready_answer() {
    let host = Host::start(builder()).await;
    let client = Polling::open(host.addr).await;
    let socket = host.accept().await;
    for _ in 0..60 {
        socket.try_send("hello").unwrap();
        for (method, target, body, status) in [
            ("GET", client.target.as_str(), "", 200),
            ("POST", &client.target, "4hello", 200),
            ("GET", "/engine.io/?EIO=4&transport=nope", "", 400),
            ("GET", "/other", "", 404),
        ] {
            let mut connection = Connection::open(host.addr).await;
            connection.write(request(method, target, "", body.as_bytes())).await;
            connection.finish().await;
            assert_eq!(connection.response().await.status, status, "{method} {target}");
            connection.ended().await;
        }
    }
    assert_eq!(socket.close_reason(), None);
    assert_eq!(socket.stats().messages_received, 60);
}

/// Neither bytes behind a held poll nor the body that it announces hide that its client leaves.
pub async fn r122_a_client_that_leaves_a_held_poll_is_noticed() {
    let host = Host::start(builder()).await;
    for (headers, behind) in [
        ("", ""),
        ("", "\r\n"),
        ("", "GET /other HTTP/1.1\r\nhost: localhost\r\n\r\n"),
        ("content-length: 10\r\n", ""),
        ("content-length: 10\r\n", "four"),
        ("transfer-encoding: chunked\r\n", "4\r\nfo"),
    ] {
        for abrupt in [false, true] {
            let client = Polling::open(host.addr).await;
            let socket = host.accept().await;
            let mut connection = Connection::open(host.addr).await;
            let head = format!("GET {} HTTP/1.1\r\nhost: localhost\r\n{headers}\r\n{behind}", client.target);
            connection.write(head).await;
            host.holds(1).await;
            connection.leave(abrupt);
            assert_eq!(reason(&socket).await, POLL_LOST, "{headers:?} {behind:?}");
            host.holds(0).await;
        }
    }
}

/// A client that sends its whole body before it reads can read why it was rejected.
pub async fn sec52_a_rejection_can_be_read_behind_a_large_body() {
    let host = Host::start(builder()).await;
    let (_websocket, sid) = WebSocket::open(host.addr).await;
    let body = vec![b'x'; 3_500_000];
    for (target, status) in [
        (format!("{POLLING}&sid=nope"), 400),
        (format!("{POLLING}&sid={sid}"), 400),
        (POLLING.into(), 400),
        (WEBSOCKET.into(), 400),
        ("/other".into(), 404),
    ] {
        let mut connection = Connection::open(host.addr).await;
        let request = request("POST", &target, "", &body);
        connection.write(&request[..1000]).await;
        // The buffers of a kernel could take all of it before the server closes.
        connection.readable().await;
        connection.write(&request[1000..]).await;
        assert_eq!(connection.response().await.status, status, "{target}");
    }
}

/// A client that takes nothing of its answer is given up.
pub async fn sec72_an_answer_has_a_deadline() {
    for builder in [builder().write_timeout(SHORT), builder().answer_timeout(SHORT)] {
        let host = Host::start(builder).await;
        let client = Polling::open(host.addr).await;
        let socket = host.accept().await;
        // More than the buffers of the kernel take.
        socket.try_send("x".repeat(30_000_000)).unwrap();
        let _connection = client.start_get().await;
        assert_eq!(reason(&socket).await, POLL_LOST);
    }
}

/// A client that always has bytes keeps neither its body going nor others from being served.
pub async fn sec71_a_body_that_goes_on_without_data_ends() {
    let host = Host::start(builder().body_timeout(SHORT)).await;
    let client = Polling::open(host.addr).await;
    let socket = host.accept().await;
    let mut connection = Connection::open(host.addr).await;
    let head = format!("POST {} HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n", client.target);
    connection.write(head).await;
    let flood = tokio::spawn(async move {
        while connection.try_write([b'0'; 100_000]).await.is_ok() {
            // The connection has no budget of its own in the executor.
            tokio::task::yield_now().await;
        }
    });
    assert_eq!(get(host.addr, "/other").await.status, 404);
    assert_eq!(reason(&socket).await, CloseReason::TransportError(TransportError::PostTimeout));
    within(flood).await.unwrap();
}

/// The time without a request is not the time for a head.
pub async fn sec71_an_idle_connection_ends() {
    let host = Host::start(builder().idle_timeout(SHORT)).await;
    let client = Polling::open(host.addr).await;
    let socket = host.accept().await;
    let mut held = client.start_get().await;
    host.holds(1).await;
    let mut connection = Connection::open(host.addr).await;
    connection.get("/other").await;
    assert_eq!(connection.response().await.status, 404);
    connection.ended().await;
    // A held poll is a request.
    socket.try_send("late").unwrap();
    assert_eq!(held.response().await.brief(), (200, "4late"));
    held.ended().await;
}

/// A silent client delays a shutdown only up to its deadline.
pub async fn a_shutdown_has_a_deadline() {
    let host = Host::start(builder().shutdown_timeout(SHORT)).await;
    let (mut websocket, _) = WebSocket::open(host.addr).await;
    let socket = host.accept().await;
    let client = Polling::open(host.addr).await;
    let waiting = host.accept().await;
    waiting.try_send("never taken").unwrap();
    let mut post = client.start_post("content-length: 10\r\n").await;
    within(host.server.shutdown()).await;
    assert_eq!(socket.close_reason(), Some(CloseReason::ForcedClose));
    assert_eq!(waiting.close_reason(), Some(CloseReason::ForcedClose));
    websocket.connection.rest().await;
    post.rest().await;
}

/// A WebSocket whose connection is full is no exception: neither its messages nor its close frame can be written.
pub async fn a_websocket_that_takes_nothing_delays_a_shutdown_up_to_its_deadline() {
    let host = Host::start(builder().shutdown_timeout(SHORT)).await;
    let (websocket, _) = WebSocket::open(host.addr).await;
    let socket = host.accept().await;
    // More than the buffers of the kernel take.
    socket.try_send("x".repeat(30_000_000)).unwrap();
    within(host.server.shutdown()).await;
    assert_eq!(socket.close_reason(), Some(CloseReason::ForcedClose));
    let mut connection = websocket.connection;
    connection.rest().await;
}

/// WebSockets count, and a connection that ends makes room.
pub async fn sec70_connections_have_a_limit() {
    let host = Host::start(builder().max_connections(2)).await;
    let (websocket, _) = WebSocket::open(host.addr).await;
    let mut connection = Connection::open(host.addr).await;
    connection.get("/other").await;
    assert_eq!(connection.response().await.status, 404);
    Connection::open(host.addr).await.ended().await;
    connection.get("/other").await;
    assert_eq!(connection.response().await.status, 404);
    websocket.connection.reset();
    within(async {
        loop {
            let mut other = Connection::open(host.addr).await;
            let sent = other.try_write(request("GET", "/other", "", b"")).await;
            if sent.is_ok() && other.try_response().await.is_some() {
                break;
            }
        }
    })
    .await;
}

/// A request that is too large is answered, although the client sends on.
pub async fn sec32_a_head_that_is_too_large_is_rejected() {
    let host = Host::start(builder()).await;
    let count = |headers: usize| (0..headers).map(|number| format!("x-{number}: y\r\n")).collect::<String>();
    for (headers, status) in [
        (format!("x-long: {}\r\n", "x".repeat(15_000)), 200),
        (format!("x-long: {}\r\n", "x".repeat(17_000)), 431),
        (format!("x-long: {}\r\n", "x".repeat(900_000)), 431),
        (count(98), 200),
        (count(101), 431),
    ] {
        let mut connection = Connection::open(host.addr).await;
        connection.write(request("GET", POLLING, &headers, b"")).await;
        assert_eq!(connection.response().await.status, status, "{} bytes", headers.len());
    }
}
