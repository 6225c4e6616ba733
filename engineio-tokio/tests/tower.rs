//! The service and the layer, in axum.
#![cfg(feature = "tower")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::net::SocketAddr;

use axum::Router;
use axum::extract::{ConnectInfo, Request};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::{any_service, get};
use engineio_tokio::{CloseReason, EngineLayer, EngineService, Mount, RemoteAddr, Server, Socket, TransportError};
use http::StatusCode;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use engineio_suites::raw::{
    self, Connection, Frame, POLLING, Polling, TEXT, UPGRADE, WEBSOCKET, WebSocket, ask, frame, request, within,
};

async fn listen(app: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });
    addr
}

/// An application with a server before it.
async fn layered() -> (SocketAddr, Server) {
    let server = engineio_tokio::builder().build().unwrap();
    let app = Router::new()
        .route("/", get(|| async { "hello" }).post(|body: String| async move { format!("got {body}") }))
        .fallback(|| async { (StatusCode::NOT_FOUND, "not here") })
        .layer(EngineLayer::new(server.clone()));
    (listen(app).await, server)
}

async fn accept(server: &Server) -> Socket {
    within(server.accept()).await
}

/// Both transports, and the way from one to the other.
async fn talk(addr: SocketAddr, server: &Server) {
    let client = Polling::open(addr).await;
    let mut socket = accept(server).await;
    assert_eq!(client.post("4hello\x1ebAQIDBA==").await.brief(), (200, "ok"));
    assert_eq!(within(socket.recv()).await, Some("hello".into()));
    assert_eq!(within(socket.recv()).await, Some(vec![1, 2, 3, 4].into()));
    let mut held = client.start_get().await;
    socket.try_send("hi").unwrap();
    assert_eq!(held.response().await.brief(), (200, "4hi"));
    let mut upgraded = WebSocket::upgrade(&client).await;

    // Frames right behind the handshake of the other.
    let mut connection = Connection::open(addr).await;
    connection.write([request("GET", WEBSOCKET, UPGRADE, b""), frame(TEXT, "4first")].concat()).await;
    let mut direct = WebSocket::accepted(connection).await;
    assert!(matches!(direct.next().await, Frame::Text(open) if open.starts_with("0{")));
    let mut second = accept(server).await;
    assert_eq!(within(second.recv()).await, Some("first".into()));

    for (client, socket) in [(&mut upgraded, &mut socket), (&mut direct, &mut second)] {
        client.send("4to server").await;
        assert_eq!(within(socket.recv()).await, Some("to server".into()));
        socket.try_send("to client").unwrap();
        assert_eq!(client.next().await, Frame::text("4to client"));
        socket.close();
        client.closed().await;
    }
    assert!(server.is_empty());
}

#[tokio::test]
async fn s168_a_layer_serves_both_transports() {
    let (addr, server) = layered().await;
    talk(addr, &server).await;
}

#[tokio::test]
async fn s168_a_service_serves_both_transports() {
    let server = engineio_tokio::builder().build().unwrap();
    let app = Router::new().route("/engine.io/", any_service(EngineService::new(server.clone())));
    let addr = listen(app).await;
    talk(addr, &server).await;
    assert_eq!(raw::get(addr, "/").await.brief(), (404, ""));
    assert_eq!(raw::get(addr, "/engine.iofoo").await.brief(), (404, ""));
}

/// The service itself knows its path, wherever it is mounted.
#[tokio::test]
async fn s167_a_service_answers_404_to_other_paths() {
    let server = engineio_tokio::builder().mount(Mount::new("/live")).build().unwrap();
    let app = Router::new().fallback_service(EngineService::new(server.clone()));
    let addr = listen(app).await;
    for target in ["/", "/engine.io/?EIO=4&transport=polling", "/lives/?EIO=4&transport=polling"] {
        assert_eq!(raw::get(addr, target).await.brief(), (404, "Not Found"), "{target}");
    }
    assert_eq!(raw::get(addr, "/live/?EIO=4&transport=polling").await.status, 200);
    assert_eq!(server.len(), 1);
}

/// Covers: S-171
#[tokio::test]
async fn s174_other_routes_are_untouched() {
    let (addr, server) = layered().await;
    assert_eq!(raw::get(addr, "/").await.brief(), (200, "hello"));
    assert_eq!(
        ask(addr, "POST", "/", "", "x".repeat(5000)).await.brief(),
        (200, format!("got {}", "x".repeat(5000)).as_str())
    );
    assert_eq!(ask(addr, "PUT", "/", "", "").await.status, 405);
    for path in ["/other", "/engine.io", "/engine.iofoo/", "/engine.io/sub/"] {
        assert_eq!(
            raw::get(addr, &format!("{path}?EIO=4&transport=polling")).await.brief(),
            (404, "not here"),
            "{path}"
        );
        assert_eq!(ask(addr, "GET", path, UPGRADE, "").await.brief(), (404, "not here"), "{path}");
    }
    // One connection for the router and the server behind it.
    let mut connection = Connection::open(addr).await;
    for _ in 0..2 {
        connection.get("/").await;
        assert_eq!(connection.response().await.brief(), (200, "hello"));
        connection.get(POLLING).await;
        assert_eq!(connection.response().await.status, 200);
    }
    assert_eq!(server.len(), 2);
}

/// The answers are the same as without a router around them.
#[tokio::test]
async fn s169_refusals_pass_through() {
    let (addr, server) = layered().await;
    let response = raw::get(addr, "/engine.io/?EIO=4&transport=x").await;
    let body = r#"{"code":0,"message":"Transport unknown"}"#;
    let head = format!("400\ncontent-length: {}\ncontent-type: application/json\n", body.len());
    assert_eq!(response.transcript(), format!("{head}\n{body}"));
    let mut connection = Connection::open(addr).await;
    connection.write(request("GET", &format!("{WEBSOCKET}&sid=x"), UPGRADE, b"")).await;
    let head = "400\nconnection: close\ncontent-length: 18\ncontent-type: text/html\n";
    assert_eq!(connection.response().await.transcript(), format!("{head}\nSession ID unknown"));
    connection.ended().await;
    assert!(server.is_empty());
}

/// The WebSocket of another route is its own.
#[tokio::test]
async fn s173_another_upgrade_is_left_alone() {
    async fn reverse(mut request: Request) -> Response {
        let upgrade = hyper::upgrade::on(&mut request);
        tokio::spawn(async move {
            let mut io = TokioIo::new(upgrade.await.unwrap());
            let mut word = [0; 5];
            io.read_exact(&mut word).await.unwrap();
            word.reverse();
            io.write_all(&word).await.unwrap();
        });
        let headers = [("connection", "upgrade"), ("upgrade", "websocket"), ("sec-websocket-accept", raw::ACCEPT)];
        (StatusCode::SWITCHING_PROTOCOLS, headers).into_response()
    }
    let server = engineio_tokio::builder().build().unwrap();
    let app = Router::new().route("/other", get(reverse)).layer(EngineLayer::new(server.clone()));
    let addr = listen(app).await;
    let mut other = WebSocket::at(addr, "/other").await.connection;
    let (mut ours, _) = WebSocket::open(addr).await;
    other.write("hello").await;
    assert_eq!(other.rest().await, b"olleh");
    accept(&server).await.try_send("hello").unwrap();
    assert_eq!(ours.next().await, Frame::text("4hello"));
}

/// Two servers in one application do not know each other's sessions.
#[tokio::test]
async fn s137_two_servers_under_two_paths() {
    let (first, second) = (engineio_tokio::builder().build().unwrap(), engineio_tokio::builder());
    let second = second.mount(Mount::new("/second")).build().unwrap();
    let app = Router::new().layer(EngineLayer::new(first.clone())).layer(EngineLayer::new(second.clone()));
    let addr = listen(app).await;
    let client = Polling::open(addr).await;
    let of_second = |target: &str| target.replace("/engine.io/", "/second/");
    assert_eq!(raw::get(addr, &of_second(POLLING)).await.status, 200);
    assert_eq!((first.len(), second.len()), (1, 1));
    assert_eq!(raw::get(addr, &of_second(&client.target)).await.status, 400);

    let mut probe = WebSocket::probe(&client).await;
    probe.send("2probe").await;
    assert_eq!(probe.next().await, Frame::text("3probe"));
    let target = of_second(&format!("{WEBSOCKET}&sid={}", client.sid));
    assert_eq!(ask(addr, "GET", &target, UPGRADE, "").await.brief(), (400, "Session ID unknown"));
    probe.send("5").await;
    accept(&first).await.try_send("still here").unwrap();
    assert_eq!(probe.next().await, Frame::text("4still here"));
}

#[tokio::test]
async fn who_leaves_is_noticed() {
    let (addr, server) = layered().await;
    let client = Polling::open(addr).await;
    let socket = accept(&server).await;
    drop(client.start_get().await);
    assert_eq!(within(socket.closed()).await, CloseReason::TransportError(TransportError::PollLost));

    // A POST whose session ends has its connection closed.
    let client = Polling::open(addr).await;
    let socket = accept(&server).await;
    let mut post = client.start_post("content-length: 100\r\n").await;
    socket.abort();
    let response = post.response().await;
    assert_eq!((response.brief(), response.header("connection")), ((400, ""), Some("close")));
    post.ended().await;
}

/// Whoever knows where a request comes from can say so.
#[tokio::test]
async fn s162_the_address_of_the_client() {
    async fn tell(ConnectInfo(addr): ConnectInfo<SocketAddr>, mut request: Request, next: Next) -> Response {
        request.extensions_mut().insert(RemoteAddr(addr));
        next.run(request).await
    }
    let server = engineio_tokio::builder().build().unwrap();
    let app = Router::new().layer(EngineLayer::new(server.clone())).layer(from_fn(tell));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let app = app.into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(async move { axum::serve(listener, app).await });
    let mut connection = Connection::open(addr).await;
    connection.get(POLLING).await;
    assert_eq!(connection.response().await.status, 200);
    assert_eq!(accept(&server).await.remote_addr(), Some(connection.local_addr()));
    let (client, _) = WebSocket::open(addr).await;
    assert_eq!(accept(&server).await.remote_addr(), Some(client.connection.local_addr()));
}
