//! The service and the layer, in axum.
#![cfg(feature = "tower")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::future::poll_fn;
use std::io;
use std::net::{Shutdown, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request};
use axum::middleware::{Next, from_fn, map_request, map_response};
use axum::response::{IntoResponse, Response};
use axum::routing::{any_service, get};
use bytes::Bytes;
use engineio_tokio::mount::{EngineLayer, EngineService, RemoteAddr};
use engineio_tokio::{CloseReason, Mount, Server, Socket, TransportError};
use http::StatusCode;
use http::header::CONTENT_LENGTH;
use http_body::Body as _;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinHandle;

use engineio_suites::raw::{
    self, Connection, Frame, POLLING, Polling, TEXT, UPGRADE, WEBSOCKET, WebSocket, ask, frame, request, within,
};

const HOUR: Duration = Duration::from_secs(3600);

async fn listen(app: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });
    addr
}

/// An application with a server in front of it.
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

/// Both transports, and the upgrade.
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

    // Frames right after the handshake of the other side.
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

/// The service checks its path itself, wherever it is mounted.
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

/// The answers are the same as without a router.
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

/// The WebSocket of another route is left alone.
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

/// Two servers in one application have separate sessions.
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

    // If a session ends during a POST, the connection of the POST is closed.
    let client = Polling::open(addr).await;
    let socket = accept(&server).await;
    let mut post = client.start_post("content-length: 100\r\n").await;
    socket.abort();
    let response = post.response().await;
    assert_eq!((response.brief(), response.header("connection")), ((400, ""), Some("close")));
    post.ended().await;
}

/// A middleware can set the address of a request.
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

/// A message that does not fit into the buffers between [`narrow_listen`] and [`narrow_connect`].
const LARGE: usize = 900_000;

/// The layers between the server and hyper.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Layers {
    None,
    /// Frames are passed on unchanged.
    Boxed,
    /// The data of each frame is copied, as for compression.
    Copying,
    /// The body becomes a stream of data, without a known length or end; the head still has the length.
    Streaming,
}

impl Layers {
    const ALL: [Self; 4] = [Self::None, Self::Boxed, Self::Copying, Self::Streaming];

    fn apply(self, mut response: Response) -> Response {
        if let Some(length) = response.body().size_hint().exact() {
            response.headers_mut().insert(CONTENT_LENGTH, length.into());
        }
        response.map(|body| match self {
            Self::None => body,
            Self::Boxed => Body::new(body.map_frame(|frame| frame.map_data(|data| data)).boxed_unsync()),
            Self::Copying => Body::new(body.map_frame(|frame| frame.map_data(|data| Bytes::copy_from_slice(&data)))),
            Self::Streaming => Body::from_stream(body.into_data_stream()),
        })
    }
}

/// Listens with small send buffers, so that the kernel does not take a large answer at once.
async fn narrow_listen(layers: Layers) -> (SocketAddr, Server) {
    let server = engineio_tokio::builder().build().unwrap();
    let app = Router::new()
        .layer(EngineLayer::new(server.clone()))
        .layer(map_response(move |response| async move { layers.apply(response) }));
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_send_buffer_size(16 * 1024).unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(16).unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });
    (addr, server)
}

/// Connects with a small receive buffer.
async fn narrow_connect(addr: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(16 * 1024).unwrap();
    within(socket.connect(addr)).await.unwrap()
}

/// The session ended because an answer was lost, and does not continue.
async fn ended_with_the_answer(layers: Layers, client: &Polling, socket: &Socket) {
    let reason = tokio::time::timeout(raw::DEADLINE, socket.closed()).await;
    assert_eq!(reason, Ok(CloseReason::TransportError(TransportError::PollLost)), "{layers:?}");
    assert_eq!(client.get().await.brief().0, 400, "{layers:?}");
}

#[tokio::test]
async fn r79_an_answer_that_is_lost_on_its_way_ends_the_session() {
    for layers in Layers::ALL {
        let (addr, server) = narrow_listen(layers).await;
        let client = Polling::open(addr).await;
        let socket = accept(&server).await;
        socket.try_send("x".repeat(LARGE)).unwrap();
        let mut get = narrow_connect(addr).await;
        get.write_all(&request("GET", &client.target, "", b"")).await.unwrap();
        let mut some = [0; 1000];
        within(get.read_exact(&mut some)).await.unwrap();
        assert!(some.starts_with(b"HTTP/1.1 200 OK\r\n"));
        assert_eq!(socket.close_reason(), None, "{layers:?}");
        get.set_zero_linger().unwrap();
        drop(get);
        ended_with_the_answer(layers, &client, &socket).await;
    }
}

/// A connection that reads this many bytes, and then no more.
struct Sated {
    stream: TcpStream,
    left: usize,
}

impl AsyncRead for Sated {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.left == 0 {
            return Poll::Pending;
        }
        let len = this.left.min(buf.remaining());
        let mut part = ReadBuf::new(buf.initialize_unfilled_to(len));
        ready!(Pin::new(&mut this.stream).poll_read(cx, &mut part))?;
        let len = part.filled().len();
        buf.advance(len);
        this.left -= len;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Sated {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// A client that uses HTTP/2 with this window and reads this many bytes, and a function that breaks its connection.
async fn connect_http2(
    addr: SocketAddr,
    window: u32,
    left: usize,
) -> (http2::SendRequest<Empty<Bytes>>, std::net::TcpStream) {
    let stream = narrow_connect(addr).await.into_std().unwrap();
    let breaker = stream.try_clone().unwrap();
    let io = TokioIo::new(Sated { stream: TcpStream::from_std(stream).unwrap(), left });
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder.initial_stream_window_size(window).initial_connection_window_size(window);
    let (client, connection) = within(builder.handshake(io)).await.unwrap();
    tokio::spawn(connection);
    (client, breaker)
}

fn get_http2(addr: SocketAddr, target: &str) -> http::Request<Empty<Bytes>> {
    http::Request::get(format!("http://{addr}{target}")).body(Empty::new()).unwrap()
}

/// The client reads one frame, and then cancels the request, or its connection breaks. The answer waits for the window,
/// or for the socket.
#[tokio::test]
async fn r79_an_answer_that_is_lost_on_its_way_over_http2_ends_the_session() {
    for layers in Layers::ALL {
        for breaks in [false, true] {
            for window in [65_535, 2 << 20] {
                let (addr, server) = narrow_listen(layers).await;
                let client = Polling::open(addr).await;
                let socket = accept(&server).await;
                // hyper buffers up to 400 KiB of a stream. A smaller loss is detected only if data is dropped when it
                // is written.
                let known = window > 65_535 && matches!(layers, Layers::None | Layers::Boxed);
                socket.try_send("x".repeat(if known { 300_000 } else { LARGE })).unwrap();
                let (mut get, breaker) = connect_http2(addr, window, 20_000).await;
                let mut response = within(get.send_request(get_http2(addr, &client.target))).await.unwrap();
                assert_eq!(response.status(), 200);
                let some = within(response.frame()).await.unwrap().unwrap().into_data().unwrap();
                assert!(some.starts_with(b"4x"), "{} bytes", some.len());
                assert_eq!(socket.close_reason(), None, "{layers:?}");
                if breaks {
                    breaker.shutdown(Shutdown::Both).unwrap();
                } else {
                    drop(response);
                }
                ended_with_the_answer(layers, &client, &socket).await;
            }
        }
    }
}

/// Content and length are the same however the answer is sent, and a session whose answer was read continues.
#[tokio::test]
async fn a_large_answer_arrives_whole() {
    let text = "0123456789".repeat(LARGE / 10);
    for layers in Layers::ALL {
        let (addr, server) = narrow_listen(layers).await;
        let client = Polling::open(addr).await;
        let socket = accept(&server).await;
        let (mut get, _breaker) = connect_http2(addr, 65_535, usize::MAX).await;
        for len in [0, 16_383, 16_384, 20_000, 32_767, 32_768, 65_536, LARGE] {
            let text = &text[..len];
            let length = (len + 1).to_string();
            socket.try_send(text).unwrap();
            let response = client.get().await;
            assert_eq!(response.header("content-length"), Some(length.as_str()), "{layers:?}");
            assert!(response.brief() == (200, &format!("4{text}")), "{layers:?}, {len}");

            socket.try_send(text).unwrap();
            let response = within(get.send_request(get_http2(addr, &client.target))).await.unwrap();
            assert_eq!(response.headers()[CONTENT_LENGTH], length.as_str(), "{layers:?}");
            let body = within(response.collect()).await.unwrap().to_bytes();
            assert!(body == format!("4{text}"), "{layers:?}, {len}");
        }
        assert_eq!(socket.close_reason(), None, "{layers:?}");
    }
}

/// A layer that collects the whole answer before it passes it on gets all of it.
#[tokio::test]
async fn a_layer_that_collects_an_answer_gets_all_of_it() {
    async fn collect(response: Response) -> Response {
        let (parts, body) = response.into_parts();
        let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        Response::from_parts(parts, Body::from(body))
    }
    let server = engineio_tokio::builder().build().unwrap();
    let addr = listen(Router::new().layer(EngineLayer::new(server.clone())).layer(map_response(collect))).await;
    let client = Polling::open(addr).await;
    let socket = accept(&server).await;
    for len in [10, LARGE] {
        let text = "x".repeat(len);
        socket.try_send(text.as_str()).unwrap();
        assert!(client.get().await.brief() == (200, &format!("4{text}")));
    }
    assert_eq!(socket.close_reason(), None);
}

/// A client that sends its whole body before it reads can read why it was rejected.
#[tokio::test]
async fn sec52_a_rejection_can_be_read_behind_a_large_body() {
    let (addr, server) = layered().await;
    let (_websocket, sid) = WebSocket::open(addr).await;
    let alone = listen(Router::new().fallback_service(EngineService::new(server))).await;
    let body = vec![b'x'; 3_500_000];
    for (addr, target, status) in [
        (addr, format!("{POLLING}&sid=nope"), 400),
        (addr, format!("{POLLING}&sid={sid}"), 400),
        (addr, POLLING.into(), 400),
        (addr, WEBSOCKET.into(), 400),
        (alone, "/other".into(), 404),
    ] {
        let mut connection = Connection::open(addr).await;
        let request = request("POST", &target, "", &body);
        connection.write(&request[..1000]).await;
        // The buffers of a kernel could take all of it before the server closes.
        connection.readable().await;
        connection.write(&request[1000..]).await;
        assert_eq!(connection.response().await.status, status, "{target}");
    }
}

/// Serves an application on connections of the server.
async fn serve_with(server: &Server, app: Router) -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    (addr, tokio::spawn(engineio_tokio::serve_with(server.clone(), listener, app)))
}

#[tokio::test]
async fn s168_an_application_on_connections_of_the_server() {
    let server = engineio_tokio::builder().build().unwrap();
    let app =
        Router::new().route("/", get(|| async { "hello" })).fallback(|| async { (StatusCode::NOT_FOUND, "lost") });
    let (addr, _serving) = serve_with(&server, app).await;
    talk(addr, &server).await;
    assert_eq!(raw::get(addr, "/").await.brief(), (200, "hello"));
    assert_eq!(raw::get(addr, "/engine.iofoo").await.brief(), (404, "lost"));
    // The same application, in which the server is mounted.
    let server = engineio_tokio::builder().build().unwrap();
    let app = Router::new().route_service("/engine.io/", EngineService::new(server.clone()));
    let (addr, _serving) = serve_with(&server, app).await;
    talk(addr, &server).await;
}

/// `ConnectInfo` of axum, from the address that the server knows.
#[tokio::test]
async fn s162_the_address_of_the_client_for_handlers() {
    async fn connect_info(mut request: Request) -> Request {
        if let Some(&RemoteAddr(addr)) = request.extensions().get() {
            request.extensions_mut().insert(ConnectInfo(addr));
        }
        request
    }
    async fn show(ConnectInfo(addr): ConnectInfo<SocketAddr>) -> String {
        addr.to_string()
    }
    let server = engineio_tokio::builder().build().unwrap();
    let app = Router::new().route("/", get(show)).layer(map_request(connect_info));
    let (addr, _serving) = serve_with(&server, app).await;
    let mut connection = Connection::open(addr).await;
    connection.get("/").await;
    assert_eq!(connection.response().await.brief(), (200, connection.local_addr().to_string().as_str()));
}

/// Layers of an application apply to a server that is mounted below them, and the order is that of axum.
#[tokio::test]
async fn layers_apply_to_what_is_mounted_below_them() {
    async fn check(request: Request, next: Next) -> Response {
        match request.headers().get("authorization") {
            Some(_) => next.run(request).await,
            None => StatusCode::UNAUTHORIZED.into_response(),
        }
    }
    let server = || engineio_tokio::builder().build().unwrap();
    let app = || Router::new().route("/", get(|| async { "hello" })).fallback(|| async { StatusCode::NOT_FOUND });
    let route = |server| app().route_service("/engine.io/", EngineService::new(server));
    for (app, without) in [
        (route(server()).layer(from_fn(check)), 401),
        (app().layer(EngineLayer::new(server())).layer(from_fn(check)), 401),
        (app().layer(from_fn(check)).layer(EngineLayer::new(server())), 200),
    ] {
        let addr = listen(app).await;
        for (headers, status) in [("", without), ("authorization: x\r\n", 200)] {
            assert_eq!(ask(addr, "GET", POLLING, headers, "").await.status, status);
        }
        assert_eq!(raw::get(addr, "/").await.status, 401);
    }
}

/// The server shuts down first: meanwhile, axum goes on to listen, so clients on polling get their last messages. A held
/// poll does not keep axum waiting until the next ping.
#[tokio::test]
async fn axum_is_shut_down_behind_its_sessions() {
    let server = engineio_tokio::builder().shutdown_timeout(HOUR).ping_interval(HOUR).build().unwrap();
    let app = Router::new().route_service("/engine.io/", EngineService::new(server.clone()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let (signal, signalled) = tokio::sync::oneshot::channel::<()>();
    let shutdown = server.shutdown_on(signalled);
    let serving = tokio::spawn(async move { axum::serve(listener, app).with_graceful_shutdown(shutdown).await });
    let holding = Polling::open(addr).await;
    let first = accept(&server).await;
    let mut held = holding.start_get().await;
    let behind = Polling::open(addr).await;
    let second = accept(&server).await;
    second.try_send("bye").unwrap();
    let (mut websocket, _) = WebSocket::open(addr).await;
    let third = accept(&server).await;
    signal.send(()).unwrap();
    assert_eq!(held.response().await.brief(), (200, "1"));
    websocket.closed().await;
    assert_eq!(behind.get().await.brief(), (200, "4bye"));
    behind.farewell().await;
    for socket in [first, second, third] {
        assert_eq!(within(socket.closed()).await, CloseReason::ForcedClose);
    }
    within(serving).await.unwrap().unwrap();
    held.ended().await;
}

/// A layer may lose what an upgrade needs. No session opens that its client could not reach.
#[tokio::test]
async fn m056_a_layer_that_removes_the_upgrade() {
    async fn strip(mut request: Request) -> Request {
        request.extensions_mut().clear();
        request
    }
    let server = engineio_tokio::builder().build().unwrap();
    let app = Router::new().fallback_service(EngineService::new(server.clone())).layer(map_request(strip));
    let addr = listen(app).await;
    let client = Polling::open(addr).await;
    let socket = accept(&server).await;
    for target in [WEBSOCKET.to_owned(), format!("{WEBSOCKET}&sid={}", client.sid)] {
        let response = ask(addr, "GET", &target, UPGRADE, "").await;
        assert_eq!((response.status, response.header("connection")), (400, Some("close")));
        assert!(response.text().contains("in front of this server does not support upgrades"), "{response:?}");
    }
    assert_eq!(server.len(), 1);
    assert_eq!(socket.close_reason(), None);
}

/// axum announces WebSockets over HTTP/2 (RFC 8441). The server has none, and says so.
#[tokio::test]
async fn a_websocket_over_http2_is_refused() {
    let (addr, server) = layered().await;
    let client = Polling::open(addr).await;
    let socket = accept(&server).await;
    let (mut http2, _breaker) = connect_http2(addr, 65_535, usize::MAX).await;
    // The settings of axum have arrived with its first answer.
    assert_eq!(within(http2.send_request(get_http2(addr, "/"))).await.unwrap().status(), 200);
    for target in [WEBSOCKET.to_owned(), format!("{WEBSOCKET}&sid={}", client.sid)] {
        let mut request = get_http2(addr, &target);
        *request.method_mut() = http::Method::CONNECT;
        request.extensions_mut().insert(hyper::ext::Protocol::from_static("websocket"));
        let response = within(http2.send_request(request)).await.unwrap();
        assert_eq!(response.status(), 400, "{target}");
        let body = within(response.collect()).await.unwrap().to_bytes();
        assert_eq!(body, "Bad request: HTTP/2 has no upgrades. Use HTTP/1.1 for WebSockets");
    }
    assert_eq!((server.len(), socket.close_reason()), (1, None));
}

/// The client resets the stream of a poll that waits: its connection stays, but the poll is lost.
#[tokio::test]
async fn r122_a_held_poll_that_is_reset_over_http2_is_lost() {
    let (held, mut is_held) = tokio::sync::watch::channel(false);
    let watch = move |request: Request, next: Next| {
        let held = held.clone();
        async move {
            let mut answer = Box::pin(next.run(request));
            poll_fn(|cx| {
                let polled = answer.as_mut().poll(cx);
                held.send_replace(polled.is_pending());
                polled
            })
            .await
        }
    };
    let server = engineio_tokio::builder().build().unwrap();
    let app = Router::new().route("/", get(|| async {})).fallback_service(EngineService::new(server.clone()));
    let addr = listen(app.layer(from_fn(watch))).await;
    let client = Polling::open(addr).await;
    let socket = accept(&server).await;
    let (mut http2, _breaker) = connect_http2(addr, 65_535, usize::MAX).await;
    let mut other = http2.clone();
    let mut poll = Box::pin(http2.send_request(get_http2(addr, &client.target)));
    tokio::select! {
        answer = &mut poll => panic!("{answer:?}"),
        held = within(is_held.wait_for(|held| *held)) => drop(held.unwrap()),
    }
    drop(poll);
    assert_eq!(within(socket.closed()).await, CloseReason::TransportError(TransportError::PollLost));
    assert_eq!(within(other.send_request(get_http2(addr, "/"))).await.unwrap().status(), 200);
}
