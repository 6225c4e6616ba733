//! A server with another service behind it, on connections of the server. The pipes are small, so that nothing is hidden
//! by the buffers of a kernel.
#![cfg(feature = "tower")]
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

use std::convert::Infallible;
use std::future::pending;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{Method, StatusCode};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};
use bytes::Bytes;
use engineio_driver::mount::{EngineLayer, EngineService, RemoteAddr};
use engineio_driver::rt::Runtime;
use engineio_driver::{Builder, CloseReason, Server, TransportError};
use futures_core::Stream;
use http_body_util::BodyExt as _;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};

const TARGET: &str = "/engine.io/?EIO=4&transport=polling";
const UPGRADE: &str = "connection: Upgrade\r\nupgrade: websocket\r\n\
    sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-version: 13\r\n";
const HOUR: Duration = Duration::from_secs(3600);
const SECOND: Duration = Duration::from_secs(1);

fn builder() -> Builder {
    let runtime = Runtime::new(TokioExecutor::new(), TokioTimer::new());
    Builder::new(runtime)
        .ping_interval(HOUR)
        .ping_timeout(HOUR)
        .header_timeout(5 * SECOND)
        .idle_timeout(5 * SECOND)
        .write_timeout(10 * SECOND)
        .answer_timeout(20 * SECOND)
}

fn connect(server: &Server, app: &Router) -> DuplexStream {
    let (client, stream) = tokio::io::duplex(1000);
    let addr = "192.0.2.1:80".parse().unwrap();
    tokio::spawn(server.serve_connection_with(TokioIo::new(stream), Some(addr), app.clone()));
    client
}

fn head(method: &str, target: &str, headers: &str) -> String {
    format!("{method} {target} HTTP/1.1\r\nhost: x\r\n{headers}\r\n")
}

async fn ask(client: &mut DuplexStream, target: &str) {
    client.write_all(head("GET", target, "").as_bytes()).await.unwrap();
}

async fn line(client: &mut DuplexStream) -> String {
    let mut line = Vec::new();
    while !line.ends_with(b"\r\n") {
        line.push(client.read_u8().await.unwrap());
    }
    String::from_utf8(line).unwrap().trim_end().to_owned()
}

/// Reads the head of an answer. Returns the status and the length of the body.
async fn answer(client: &mut DuplexStream) -> (u16, usize) {
    let status = line(client).await[9..12].parse().unwrap();
    let mut len = 0;
    loop {
        let line = line(client).await;
        if let Some(length) = line.strip_prefix("content-length: ") {
            len = length.parse().unwrap();
        }
        if line.is_empty() {
            return (status, len);
        }
    }
}

async fn text(client: &mut DuplexStream) -> (u16, String) {
    let (status, len) = answer(client).await;
    let mut body = vec![0; len];
    client.read_exact(&mut body).await.unwrap();
    (status, String::from_utf8(body).unwrap())
}

/// A body that is sent from elsewhere.
struct Chunks(mpsc::Receiver<Bytes>);

impl Stream for Chunks {
    type Item = Result<Bytes, Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(cx).map(|chunk| chunk.map(Ok))
    }
}

/// A route whose answer consists of these chunks. Their sender notices when the answer is dropped.
fn streaming() -> (Router, mpsc::Sender<Bytes>) {
    let (sender, chunks) = mpsc::channel(1);
    let chunks = Arc::new(Mutex::new(Some(chunks)));
    let stream = async move || Body::from_stream(Chunks(chunks.lock().unwrap().take().unwrap()));
    let app = Router::new().route("/stream", get(stream));
    (app.route("/", get(|| async { "hello" })), sender)
}

async fn chunk(client: &mut DuplexStream) -> Vec<u8> {
    let len = usize::from_str_radix(&line(client).await, 16).unwrap();
    let mut chunk = vec![0; len + 2];
    client.read_exact(&mut chunk).await.unwrap();
    chunk.truncate(len);
    chunk
}

/// Neither the time of an answer nor that without a request ends a stream; after it, the connection is idle.
#[tokio::test(start_paused = true)]
async fn a_stream_of_another_service_lasts() {
    let server = builder().build().unwrap();
    let (app, chunks) = streaming();
    let mut client = connect(&server, &app);
    ask(&mut client, "/stream").await;
    assert_eq!(answer(&mut client).await.0, 200);
    for _ in 0..10 {
        sleep(100 * SECOND).await;
        chunks.send(Bytes::from_static(b"event")).await.unwrap();
        assert_eq!(chunk(&mut client).await, b"event");
    }
    drop(chunks);
    assert_eq!(chunk(&mut client).await, b"");
    ask(&mut client, "/").await;
    assert_eq!(text(&mut client).await, (200, "hello".into()));
    let idle = Instant::now();
    assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
    assert_eq!(idle.elapsed().as_secs(), 5);
}

/// A client that takes a large answer slowly gets it, and one that takes nothing is given up.
#[tokio::test(start_paused = true)]
async fn sec72_an_answer_of_another_service_may_take_any_time_but_must_move() {
    const LEN: usize = 100_000;
    let server = builder().build().unwrap();
    let app = Router::new().route("/", get(|| async { vec![b'x'; LEN] }));
    let mut client = connect(&server, &app);
    ask(&mut client, "/").await;
    assert_eq!(answer(&mut client).await, (200, LEN));
    for _ in 0..100 {
        sleep(9 * SECOND).await;
        client.read_exact(&mut [0; LEN / 100]).await.unwrap();
    }

    let (app, chunks) = streaming();
    let mut client = connect(&server, &app);
    ask(&mut client, "/stream").await;
    chunks.send(vec![b'x'; LEN].into()).await.unwrap();
    let began = Instant::now();
    chunks.closed().await;
    assert_eq!(began.elapsed().as_secs(), 10);
}

/// The end of the client's side stands behind its request.
#[tokio::test(start_paused = true)]
async fn r123_a_client_that_ends_its_side_gets_a_ready_answer_of_another_service() {
    let server = builder().build().unwrap();
    for len in [5, 100_000] {
        let app = Router::new().route("/", get(move || async move { vec![b'x'; len] }));
        let mut client = connect(&server, &app);
        ask(&mut client, "/").await;
        client.shutdown().await.unwrap();
        assert_eq!(text(&mut client).await, (200, "x".repeat(len)));
        assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_to_another_service_may_wait() {
    let server = builder().build().unwrap();
    let late = || async {
        sleep(HOUR).await;
        "late"
    };
    let app = Router::new().route("/", get(late));
    let mut client = connect(&server, &app);
    ask(&mut client, "/").await;
    assert_eq!(text(&mut client).await, (200, "late".into()));
}

/// Its service learns it, whether it waits or sends.
#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_another_service_is_noticed() {
    let server = builder().build().unwrap();
    let (sender, mut dropped) = mpsc::channel::<()>(1);
    let wait = async move || {
        let _sender = sender;
        pending::<()>().await;
    };
    let app = Router::new().route("/wait", get(wait));
    let mut client = connect(&server, &app);
    ask(&mut client, "/wait").await;
    drop(app);
    assert!(timeout(SECOND, dropped.recv()).await.is_err());
    drop(client);
    assert_eq!(timeout(SECOND, dropped.recv()).await, Ok(None));

    let (app, chunks) = streaming();
    let mut client = connect(&server, &app);
    ask(&mut client, "/stream").await;
    assert_eq!(answer(&mut client).await.0, 200);
    drop(client);
    timeout(SECOND, chunks.closed()).await.unwrap();
}

/// An upgrade or a tunnel of another service carries any bytes, at any time.
#[tokio::test(start_paused = true)]
async fn a_connection_that_another_service_takes_over_has_no_deadlines() {
    async fn echo(mut request: Request) -> Response {
        let status = if request.method() == Method::CONNECT { StatusCode::OK } else { StatusCode::SWITCHING_PROTOCOLS };
        let upgrade = hyper::upgrade::on(&mut request);
        tokio::spawn(async move {
            let (mut read, mut write) = tokio::io::split(TokioIo::new(upgrade.await.unwrap()));
            tokio::io::copy(&mut read, &mut write).await.unwrap();
        });
        (status, [("connection", "upgrade"), ("upgrade", "websocket")]).into_response()
    }
    let server = builder().build().unwrap();
    let app = Router::new().route("/", any(echo)).fallback(echo);
    for (method, target, headers, status) in [("GET", "/", UPGRADE, 101), ("CONNECT", "example.org:80", "", 200)] {
        let mut client = connect(&server, &app);
        client.write_all(head(method, target, headers).as_bytes()).await.unwrap();
        assert_eq!(answer(&mut client).await.0, status);
        for _ in 0..3 {
            sleep(HOUR).await;
            client.write_all(b"hello").await.unwrap();
            let mut word = [0; 5];
            client.read_exact(&mut word).await.unwrap();
            assert_eq!(&word, b"hello");
        }
    }
}

/// An answer of the server is followed to its last byte, and has its deadlines, beside those of another service.
#[tokio::test(start_paused = true)]
async fn r79_an_answer_that_is_written_in_part_is_lost_beside_another_service() {
    let app = Router::new().route("/", get(|| async { "hello" }));
    for leaves in [true, false] {
        let server = builder().build().unwrap();
        let mut client = connect(&server, &app);
        for _ in 0..2 {
            ask(&mut client, "/").await;
            assert_eq!(text(&mut client).await, (200, "hello".into()));
        }
        ask(&mut client, TARGET).await;
        assert_eq!(text(&mut client).await.0, 200);
        let socket = server.accept().await;
        assert_eq!(socket.remote_addr(), Some("192.0.2.1:80".parse().unwrap()));
        socket.try_send("x".repeat(10_000)).unwrap();
        ask(&mut client, &format!("{TARGET}&sid={}", socket.id())).await;
        client.read_exact(&mut [0; 10_000 - 1000]).await.unwrap();
        assert_eq!(socket.close_reason(), None);
        let began = Instant::now();
        if leaves {
            drop(client);
            assert_eq!(socket.closed().await, CloseReason::TransportError(TransportError::PollLost));
            assert_eq!(began.elapsed().as_secs(), 0);
        } else {
            assert_eq!(socket.closed().await, CloseReason::TransportError(TransportError::PollLost));
            assert_eq!(began.elapsed().as_secs(), 10);
        }
    }
}

/// If the server is mounted in the service, its answers pass through the layers, but they have their deadlines.
#[tokio::test(start_paused = true)]
async fn sec72_a_mounted_server_keeps_its_deadlines() {
    let server = builder().build().unwrap();
    let app = Router::new().route_service("/engine.io/", EngineService::new(server.clone()));
    let mut client = connect(&server, &app);
    ask(&mut client, TARGET).await;
    assert_eq!(text(&mut client).await.0, 200);
    let socket = server.accept().await;
    socket.try_send("x".repeat(100_000)).unwrap();
    ask(&mut client, &format!("{TARGET}&sid={}", socket.id())).await;
    let began = Instant::now();
    while socket.close_reason().is_none() && began.elapsed() < HOUR {
        sleep(9 * SECOND).await;
        let _ = client.read_exact(&mut [0; 100]).await;
    }
    assert_eq!(socket.close_reason(), Some(CloseReason::TransportError(TransportError::PollLost)));
    assert!(began.elapsed() < 40 * SECOND, "{:?}", began.elapsed());
}

/// Layers that check clients are not passed by, whatever serves the connections.
#[tokio::test(start_paused = true)]
async fn layers_apply_to_a_server_that_is_mounted_below_them() {
    async fn check(request: Request, next: Next) -> Response {
        assert!(request.extensions().get::<RemoteAddr>().is_some());
        match request.headers().get("authorization") {
            Some(_) => next.run(request).await,
            None => StatusCode::UNAUTHORIZED.into_response(),
        }
    }
    fn app() -> Router {
        Router::new().route("/", get(|| async {})).fallback(|| async { StatusCode::NOT_FOUND })
    }
    type Mounted = fn(Server) -> Router;
    let cases: [(Mounted, u16); 4] = [
        (|server| app().route_service("/engine.io/", EngineService::new(server)).layer(from_fn(check)), 401),
        (|server| app().layer(EngineLayer::new(server)).layer(from_fn(check)), 401),
        // A layer that is added later is outside of those before it.
        (|server| app().layer(from_fn(check)).layer(EngineLayer::new(server)), 200),
        // The server is beside the service.
        (|_| app().layer(from_fn(check)), 200),
    ];
    for (mounted, without) in cases {
        let server = builder().build().unwrap();
        let app = mounted(server.clone());
        for (headers, status) in [("", without), ("authorization: x\r\n", 200)] {
            let mut client = connect(&server, &app);
            client.write_all(head("GET", TARGET, headers).as_bytes()).await.unwrap();
            assert_eq!(answer(&mut client).await.0, status);
        }
    }
}

/// A service may answer before an upload is complete. Behind the answer, the connection does not know what a byte belongs
/// to: the rest has the deadline of a head, from its first byte.
#[tokio::test(start_paused = true)]
async fn the_rest_of_an_upload_behind_its_answer_has_the_deadline_of_a_head() {
    let (sender, mut read) = mpsc::channel(1);
    let upload = async move |mut body: Body| {
        tokio::spawn(async move {
            while let Some(frame) = body.frame().await {
                sender.send(frame.map(|frame| frame.into_data().unwrap()).ok()).await.unwrap();
            }
        });
        "accepted"
    };
    let server = builder().build().unwrap();
    let app = Router::new().route("/", post(upload));
    let mut client = connect(&server, &app);
    client.write_all(head("POST", "/", "content-length: 100\r\n").as_bytes()).await.unwrap();
    assert_eq!(text(&mut client).await, (200, "accepted".into()));
    for _ in 0..3 {
        client.write_all(b"x").await.unwrap();
        assert_eq!(read.recv().await.flatten().unwrap(), "x");
        sleep(2 * SECOND).await;
    }
    let _ = client.write_all(b"x").await;
    assert_eq!(read.recv().await, Some(None));
}
