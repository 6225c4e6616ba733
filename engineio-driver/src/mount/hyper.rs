//! The server as a hyper service.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::service::Service;

use crate::body::ReplyBody;
use crate::server::{Aborted, Handling, Server};

/// A hyper service that serves one connection.
///
/// Requests for the server are answered by it, and all others with 404. Serve the connection with
/// [`Server::serve_connection`], or with [`Server::http1`].
#[derive(Clone, Debug)]
pub struct HyperService {
    server: Server,
    remote_addr: Option<SocketAddr>,
}

impl HyperService {
    /// Creates a service for a connection from this address.
    pub const fn new(server: Server, remote_addr: Option<SocketAddr>) -> Self {
        Self { server, remote_addr }
    }
}

impl Service<Request<Incoming>> for HyperService {
    type Response = Response<ReplyBody>;
    type Error = Aborted;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Aborted>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        Box::pin(answer(&self.server, request, self.remote_addr))
    }
}

/// Answers a request that may be for the server. Inlined, because a request is large.
#[inline(always)]
pub(super) fn answer(server: &Server, request: Request<Incoming>, remote_addr: Option<SocketAddr>) -> Answer {
    if server.matches(&request) {
        return Answer(Some(server.handle_from(request, remote_addr)));
    }
    let (parts, body) = request.into_parts();
    server.discard(body, &parts.headers);
    Answer(None)
}

/// The answer of a server, or 404 if the request is not for the server.
pub(super) struct Answer(Option<Handling<Incoming>>);

impl Future for Answer {
    type Output = Result<Response<ReplyBody>, Aborted>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            Some(handling) => Pin::new(handling).poll(cx),
            None => Poll::Ready(Ok(not_found())),
        }
    }
}

/// Returns the answer to a request that is not for the server: 404.
pub fn not_found() -> Response<ReplyBody> {
    let mut response = Response::new(ReplyBody::from(Bytes::from_static(b"Not Found")));
    *response.status_mut() = StatusCode::NOT_FOUND;
    response
}
