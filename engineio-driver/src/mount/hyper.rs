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

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        if let Some(addr) = self.remote_addr {
            request.extensions_mut().insert(RemoteAddr(addr));
        }
        if self.server.matches(&request) {
            Box::pin(self.server.handle(request))
        } else {
            let (parts, body) = request.into_parts();
            self.server.discard(body, &parts.headers);
            Box::pin(async { Ok(not_found()) })
        }
    }
}

/// Returns the answer to a request that is not for the server: 404.
pub fn not_found() -> Response<ReplyBody> {
    let mut response = Response::new(ReplyBody::from(Bytes::from_static(b"Not Found")));
    *response.status_mut() = StatusCode::NOT_FOUND;
    response
}
