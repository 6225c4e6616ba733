//! The server as a tower service, for axum and other routers.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use http::header::{CONNECTION, HeaderValue};
use http::{Request, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use super::hyper::not_found;
use super::mixed::OfSession;
use crate::body::ReplyBody;
use crate::server::Server;

/// A tower layer that puts a server in front of another service.
///
/// Requests for the server's path are answered by the server; all others go to the inner service.
///
/// [`Server::serve_with`] serves an application and a server on the same port without this. Prefer an [`EngineService`] in
/// a router: the layers of the router apply to it. To a server in a layer, only those layers apply that are added later:
///
/// ```
/// use axum::Router;
/// use axum::extract::Request;
/// use axum::middleware::{Next, from_fn};
/// use axum::response::Response;
/// use axum::routing::get;
/// use engineio_driver::Server;
/// use engineio_driver::mount::EngineLayer;
///
/// async fn log(request: Request, next: Next) -> Response {
///     println!("{}", request.uri());
///     next.run(request).await
/// }
///
/// # fn app(server: Server) -> Router {
/// Router::new()
///     .route("/", get(|| async { "hello" }))
///     .fallback(|| async { "not here" })
///     .layer(EngineLayer::new(server))
///     .layer(from_fn(log)) // added later: it gets the requests for the server too
/// # }
/// ```
///
/// axum applies a layer only to routes that exist: add the layer after the routes, and add a `fallback`.
///
/// # What is up to the host
///
/// [`Server::serve_with`] does all of this. If something else serves the connections, such as `axum::serve`, that must do
/// it:
///
/// * **`TCP_NODELAY`.** Without this option, messages on a WebSocket can be delayed until an acknowledgement arrives, 40 ms
///   on Linux; and so can answers to polls of more than 16 KiB, whose last 4 KiB are written after the rest. `axum::serve`
///   does not set it by itself; the example below does.
/// * **Deadlines and limits.** The options of [`Builder`](crate::Builder) about connections do not hold: `header_timeout`,
///   `idle_timeout`, `write_timeout`, `answer_timeout`, `max_connections`, `max_headers`, and `max_header_size` for what is
///   received. `axum::serve` has no deadlines: a client that takes nothing of an answer keeps its connection for ever.
/// * **Lost answers.** An answer to a poll that is lost before it was written ends its session. A layer knows less about
///   this than [`Server::serve_with`]; see [when an answer counts as
///   written](Server#when-an-answer-counts-as-written). Layers around this one should pass the data of an answer on as it
///   arrives.
/// * **The address of the client.** Add a [`RemoteAddr`](crate::mount::RemoteAddr) as an extension to the requests.
/// * **Upgrades.** WebSockets need HTTP/1.1, and a host that supports upgrades. A request that cannot be upgraded is rejected
///   with a text that says so. Over HTTP/2 there are no WebSockets; `axum::serve` announces them (RFC 8441), and the server
///   rejects them.
/// * **The end.** Shut the server down first, and let the host listen meanwhile, with [`Server::shutdown_on`].
///
/// ```
/// use axum::serve::ListenerExt as _;
/// use engineio_driver::Server;
/// use engineio_driver::mount::EngineService;
///
/// # async fn serve(server: Server, signal: impl Future<Output = ()> + Send + 'static) -> std::io::Result<()> {
/// let app = axum::Router::new().route_service("/engine.io/", EngineService::new(server.clone()));
/// let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
/// let listener = listener.tap_io(|connection| {
///     let _ = connection.set_nodelay(true);
/// });
/// axum::serve(listener, app).with_graceful_shutdown(server.shutdown_on(signal)).await
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct EngineLayer {
    server: Server,
}

impl EngineLayer {
    /// Creates a layer for a server.
    pub fn new(server: Server) -> Self {
        server.mount();
        Self { server }
    }
}

impl<S> Layer<S> for EngineLayer {
    type Service = EngineService<S>;

    fn layer(&self, inner: S) -> EngineService<S> {
        EngineService { server: self.server.clone(), inner }
    }
}

/// A tower service that passes requests for the server to the server, and all others to another service.
///
/// Mount it at the server's path in a router. The layers of the router that are added after it apply to it, for example
/// one that checks who the client is:
///
/// ```
/// use axum::Router;
/// use axum::extract::Request;
/// use axum::http::StatusCode;
/// use axum::middleware::{Next, from_fn};
/// use axum::response::Response;
/// use axum::routing::get;
/// use engineio_driver::Server;
/// use engineio_driver::mount::{EngineService, Listener};
///
/// async fn check(request: Request, next: Next) -> Result<Response, StatusCode> {
///     if request.headers().contains_key("authorization") {
///         Ok(next.run(request).await)
///     } else {
///         Err(StatusCode::UNAUTHORIZED)
///     }
/// }
///
/// # async fn serve(server: Server, listener: impl Listener) {
/// let app = Router::new()
///     .route("/", get(|| async { "hello" }))
///     .route_service("/engine.io/", EngineService::new(server.clone()))
///     .layer(from_fn(check));
/// server.serve_with(listener, app).await;
/// # }
/// ```
///
/// [`EngineLayer`] lists what is up to the host if something else than [`Server::serve_with`] serves the connections.
#[derive(Clone, Debug)]
pub struct EngineService<S = NotFound> {
    server: Server,
    inner: S,
}

impl EngineService {
    /// Creates a service that answers 404 to requests that are not for the server.
    pub fn new(server: Server) -> Self {
        server.mount();
        Self { inner: NotFound { server: Some(server.clone()) }, server }
    }
}

impl<S, B, R> Service<Request<B>> for EngineService<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    S::Future: Send + 'static,
    B: Body + Send + 'static,
    B::Data: Send,
{
    type Response = Response<EngineBody<R>>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        if self.server.matches(&request) {
            let answer = self.server.handle(request);
            Box::pin(async {
                let mut response = answer.await.unwrap_or_else(|_aborted| aborted());
                OfSession::mark(&mut response);
                Ok(response.map(EngineBody::engine))
            })
        } else {
            let answer = self.inner.call(request);
            Box::pin(async { answer.await.map(|response| response.map(EngineBody::other)) })
        }
    }
}

/// A tower service cannot drop its connection; it can only ask for that.
fn aborted() -> Response<ReplyBody> {
    let mut response = Response::new(ReplyBody::default());
    *response.status_mut() = StatusCode::BAD_REQUEST;
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

/// A service that answers 404 to every request.
#[derive(Clone, Debug, Default)]
pub struct NotFound {
    /// The server that reads the rest of a request, so that its client can read the answer.
    server: Option<Server>,
}

impl<B> Service<Request<B>> for NotFound
where
    B: Body + Send + 'static,
    B::Data: Send,
{
    type Response = Response<ReplyBody>;
    type Error = Infallible;
    type Future = std::future::Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        if let Some(server) = &self.server {
            let (parts, body) = request.into_parts();
            server.discard(body, &parts.headers);
        }
        std::future::ready(Ok(not_found()))
    }
}

pin_project! {
    /// The body of an answer: a [`ReplyBody`] of the server, or the body of the inner service.
    #[derive(Debug)]
    pub struct EngineBody<R> {
        #[pin]
        pub(super) body: Either<R>,
    }
}

pin_project! {
    #[project = EitherProjection]
    #[derive(Debug)]
    pub(super) enum Either<R> {
        Engine { #[pin] body: ReplyBody },
        Other { #[pin] body: R },
    }
}

impl<R> EngineBody<R> {
    pub(super) fn engine(body: ReplyBody) -> Self {
        Self { body: Either::Engine { body } }
    }

    pub(super) fn other(body: R) -> Self {
        Self { body: Either::Other { body } }
    }
}

impl<R: Body> Body for EngineBody<R> {
    type Data = Bytes;
    type Error = R::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, R::Error>>> {
        match self.project().body.project() {
            EitherProjection::Engine { body } => {
                body.poll_frame(cx).map(|frame| frame.map(|frame| frame.map(to_bytes).map_err(|never| match never {})))
            }
            EitherProjection::Other { body } => body.poll_frame(cx).map(|frame| frame.map(|frame| frame.map(to_bytes))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.body {
            Either::Engine { body } => body.is_end_stream(),
            Either::Other { body } => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.body {
            Either::Engine { body } => body.size_hint(),
            Either::Other { body } => body.size_hint(),
        }
    }
}

/// Data in one piece is not copied. hyper does not tell whether the bytes of the last piece are written: they count as
/// written here.
fn to_bytes<D: Buf>(frame: Frame<D>) -> Frame<Bytes> {
    frame.map_data(|mut data| data.copy_to_bytes(data.remaining()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::Waker;

    use engineio_proto::{CloseReason, TransportError};
    use http_body_util::{BodyExt as _, Empty};
    use hyper::server::conn::http1;
    use hyper::service::service_fn;
    use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use crate::rt::Runtime;
    use crate::{Builder, Socket};

    const TARGET: &str = "/engine.io/?EIO=4&transport=polling";

    type Answer = Response<EngineBody<ReplyBody>>;

    fn server() -> Server {
        Builder::new(Runtime::new(TokioExecutor::new(), TokioTimer::new())).build().unwrap()
    }

    async fn get(server: &Server, target: &str) -> Answer {
        let request = Request::get(target).body(Empty::<Bytes>::new()).unwrap();
        EngineService::new(server.clone()).call(request).await.unwrap()
    }

    async fn open(server: &Server) -> (Socket, String) {
        get(server, TARGET).await.collect().await.unwrap();
        let socket = server.accept().await;
        let target = format!("{TARGET}&sid={}", socket.id().as_str());
        (socket, target)
    }

    /// Takes the next piece as hyper does.
    fn take(body: &mut EngineBody<ReplyBody>) -> Poll<Bytes> {
        body.size_hint();
        body.is_end_stream();
        let frame = Pin::new(body).poll_frame(&mut Context::from_waker(Waker::noop()));
        frame.map(|frame| frame.unwrap().unwrap().into_data().unwrap())
    }

    async fn ended(socket: &Socket, server: &Server, target: &str) {
        assert_eq!(socket.close_reason(), Some(CloseReason::TransportError(TransportError::PollLost)));
        assert_eq!(get(server, target).await.status(), StatusCode::BAD_REQUEST);
    }

    /// The layer that writes the pieces takes them, and then loses its connection.
    #[tokio::test]
    async fn r79_an_answer_whose_pieces_are_dropped_ends_the_session() {
        const PIECES: usize = 55;
        for taken in 0..=PIECES {
            for body_first in [false, true] {
                let server = server();
                let (socket, target) = open(&server).await;
                socket.try_send("x".repeat(900_000)).unwrap();
                let mut body = get(&server, &target).await.into_body();
                let pieces: Vec<_> = (0..taken).map(|_| take(&mut body)).collect();
                assert!(pieces.iter().all(Poll::is_ready));
                if taken == PIECES {
                    assert!(take(&mut body).is_pending());
                }
                assert_eq!(socket.close_reason(), None);
                if body_first {
                    drop(body);
                } else {
                    drop(pieces);
                    if taken == PIECES {
                        // They could have been written: a layer whose connection broke does not poll again.
                        assert!(take(&mut body).is_pending());
                    }
                    drop(body);
                }
                ended(&socket, &server, &target).await;
            }
        }
    }

    #[tokio::test]
    async fn an_answer_whose_pieces_were_written_is_written() {
        let server = server();
        let (socket, target) = open(&server).await;
        for _ in 0..2 {
            let text = "x".repeat(900_000);
            socket.try_send(text.as_str()).unwrap();
            let mut body = get(&server, &target).await.into_body();
            let mut written = Vec::new();
            while !body.is_end_stream() {
                if let Poll::Ready(piece) = take(&mut body) {
                    written.extend_from_slice(&piece);
                }
            }
            assert!(written == format!("4{text}").as_bytes());
        }
        assert_eq!(socket.close_reason(), None);
    }

    /// Both when hyper keeps data until it is written, and when it copies data.
    #[tokio::test(start_paused = true)]
    async fn r79_an_answer_that_is_written_in_part_over_http1_ends_the_session() {
        for writev in [true, false] {
            let server = server();
            let (mut client, io) = tokio::io::duplex(1024);
            let service = EngineService::new(server.clone());
            let service = service_fn(move |request| service.clone().call(request));
            tokio::spawn(http1::Builder::new().writev(writev).serve_connection(TokioIo::new(io), service));
            let (socket, target) = open(&server).await;
            socket.try_send("x".repeat(900_000)).unwrap();
            client.write_all(format!("GET {target} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes()).await.unwrap();
            client.read_exact(&mut [0; 1000]).await.unwrap();
            assert_eq!(socket.close_reason(), None);
            drop(client);
            assert_eq!(socket.closed().await, CloseReason::TransportError(TransportError::PollLost), "{writev}");
            ended(&socket, &server, &target).await;
        }
    }

    /// If hyper keeps data until it is written, any loss is detected except that of the last 4 KiB.
    #[tokio::test(start_paused = true)]
    async fn r79_an_answer_that_is_written_up_to_its_end_ends_the_session() {
        const LEN: usize = 20_000;
        let server = server();
        let (mut client, io) = tokio::io::duplex(1024);
        let service = EngineService::new(server.clone());
        let service = service_fn(move |request| service.clone().call(request));
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(io), service));
        let (socket, target) = open(&server).await;
        socket.try_send("x".repeat(LEN - 1)).unwrap();
        client.write_all(format!("GET {target} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes()).await.unwrap();
        // What remains is the last piece, and what the pipe holds; the head of the answer makes up the difference.
        client.read_exact(&mut vec![0; LEN - 4096 - 1024]).await.unwrap();
        assert_eq!(socket.close_reason(), None);
        drop(client);
        assert_eq!(socket.closed().await, CloseReason::TransportError(TransportError::PollLost));
    }

    #[tokio::test]
    async fn r79_a_small_answer_that_nobody_takes_ends_the_session() {
        let server = server();
        let (socket, target) = open(&server).await;
        socket.try_send("a").unwrap();
        assert_eq!(get(&server, &target).await.collect().await.unwrap().to_bytes(), "4a");
        assert_eq!(socket.close_reason(), None);
        socket.try_send("b").unwrap();
        drop(get(&server, &target).await);
        ended(&socket, &server, &target).await;
    }
}
