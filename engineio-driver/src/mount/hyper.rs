//! The server as a hyper service.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::service::Service;

use crate::body::ReplyBody;
use crate::server::{Aborted, RemoteAddr, Server};

/// Serves one connection: requests for the server go to it, all others are not found. [`Server::http1`] is what to serve
/// it with.
#[derive(Clone, Debug)]
pub struct HyperService {
    server: Server,
    remote_addr: Option<SocketAddr>,
    /// It serves a connection of [`Server::http1`].
    exact: bool,
}

impl HyperService {
    /// A service for a connection from this address.
    pub const fn new(server: Server, remote_addr: Option<SocketAddr>) -> Self {
        Self { server, remote_addr, exact: false }
    }

    /// For a connection of [`Server::http1`], of which an answer knows by itself when it is written.
    pub(crate) const fn exact(server: Server, remote_addr: Option<SocketAddr>) -> Self {
        Self { server, remote_addr, exact: true }
    }
}

impl Service<Request<Incoming>> for HyperService {
    type Response = Response<ReplyBody>;
    type Error = Aborted;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Aborted>> + Send>>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        if let Some(addr) = self.remote_addr {
            request.extensions_mut().insert(RemoteAddr(addr));
        }
        if self.server.matches(&request) {
            Box::pin(self.server.answer(request, self.exact))
        } else {
            Box::pin(async { Ok(not_found()) })
        }
    }
}

/// The answer to a request that is not for the server.
pub fn not_found() -> Response<ReplyBody> {
    let mut response = Response::new(ReplyBody::from(Bytes::from_static(b"Not Found")));
    *response.status_mut() = StatusCode::NOT_FOUND;
    response
}
