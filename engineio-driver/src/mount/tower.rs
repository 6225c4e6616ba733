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
use crate::body::ReplyBody;
use crate::server::Server;

/// Puts a server before another service: requests for its path go to the server, all others pass by.
///
/// ```
/// use axum::Router;
/// use axum::routing::get;
/// use engineio_driver::{EngineLayer, Server};
///
/// # fn main() {}
/// # fn app(server: Server) -> Router {
/// let app: Router = Router::new().route("/", get(|| async { "hello" })).fallback(|| async { "not here" });
/// let app = app.layer(EngineLayer::new(server));
/// # app
/// # }
/// ```
///
/// axum layers only what was routed: add the layer after the routes and a `fallback`.
#[derive(Clone, Debug)]
pub struct EngineLayer {
    server: Server,
}

impl EngineLayer {
    /// A layer for a server.
    pub const fn new(server: Server) -> Self {
        Self { server }
    }
}

impl<S> Layer<S> for EngineLayer {
    type Service = EngineService<S>;

    fn layer(&self, inner: S) -> EngineService<S> {
        EngineService { server: self.server.clone(), inner }
    }
}

/// A server, and what answers the requests that are not for it.
///
/// Put an extension [`RemoteAddr`](crate::RemoteAddr) into requests if sessions shall know where they come from.
#[derive(Clone, Debug)]
pub struct EngineService<S = NotFound> {
    server: Server,
    inner: S,
}

impl EngineService {
    /// A service that answers 404 to whatever is not for the server.
    pub const fn new(server: Server) -> Self {
        Self { server, inner: NotFound }
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
            Box::pin(async { Ok(answer.await.unwrap_or_else(|_aborted| aborted()).map(EngineBody::engine)) })
        } else {
            let answer = self.inner.call(request);
            Box::pin(async { answer.await.map(|response| response.map(EngineBody::other)) })
        }
    }
}

/// A service of this kind cannot drop its connection; it can only ask for it.
fn aborted() -> Response<ReplyBody> {
    let mut response = Response::new(ReplyBody::default());
    *response.status_mut() = StatusCode::BAD_REQUEST;
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

/// Answers 404 to everything.
#[derive(Clone, Copy, Debug, Default)]
pub struct NotFound;

impl<B> Service<Request<B>> for NotFound {
    type Response = Response<ReplyBody>;
    type Error = Infallible;
    type Future = std::future::Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<B>) -> Self::Future {
        std::future::ready(Ok(not_found()))
    }
}

pin_project! {
    /// The body of an answer: the server's, or that of the service behind it.
    #[derive(Debug)]
    pub struct EngineBody<R> {
        #[pin]
        body: Either<R>,
    }
}

pin_project! {
    #[project = EitherProjection]
    #[derive(Debug)]
    enum Either<R> {
        Engine { #[pin] body: ReplyBody },
        Other { #[pin] body: R },
    }
}

impl<R> EngineBody<R> {
    fn engine(body: ReplyBody) -> Self {
        Self { body: Either::Engine { body } }
    }

    fn other(body: R) -> Self {
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

/// What is there in one piece already is not copied.
fn to_bytes<D: Buf>(frame: Frame<D>) -> Frame<Bytes> {
    frame.map_data(|mut data| data.copy_to_bytes(data.remaining()))
}
