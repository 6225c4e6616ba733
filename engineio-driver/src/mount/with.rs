//! Serving a server together with another service, such as an application of axum.

use std::error::Error;
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::Pin;

use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper::service::Service as HyperService;
use tower_service::Service;

use super::serve::Listener;
use super::tower::EngineBody;
use crate::net::connect::Io;
use crate::server::{RemoteAddr, Server};

type BoxError = Box<dyn Error + Send + Sync>;

impl Server {
    /// Serves the connections of a listener, with another service for the requests that are not for this server.
    ///
    /// The service is any tower service for HTTP requests, such as an axum `Router`:
    ///
    /// ```
    /// use axum::Router;
    /// use axum::routing::get;
    /// use engineio_driver::Server;
    /// use engineio_driver::mount::Listener;
    ///
    /// # async fn serve(server: Server, listener: impl Listener, signal: impl Future + Send + 'static) {
    /// let app = Router::new().route("/", get(|| async { "hello" }));
    /// tokio::spawn(server.shutdown_on(signal));
    /// server.serve_with(listener, app).await;
    /// # }
    /// ```
    ///
    /// Returns when [`Server::shutdown`] is complete, as [`Server::serve`] does.
    ///
    /// # Which service answers
    ///
    /// This server answers the requests for its path, and layers of the service do not apply to them. If they should apply,
    /// for example because they check who the client is, mount the server in the service, as an
    /// [`EngineService`](crate::mount::EngineService) or an [`EngineLayer`](crate::mount::EngineLayer). Then the service
    /// gets all requests, on every listener of this server. So no layer is passed by because of this function.
    ///
    /// # Connections
    ///
    /// They are served over HTTP/1, and all options of [`Builder`](crate::Builder) about connections hold for them,
    /// whichever service answers, with these differences for the other service:
    ///
    /// * An answer may take any time, as long as the client takes bytes:
    ///   [`Builder::write_timeout`](crate::Builder::write_timeout) holds,
    ///   [`Builder::answer_timeout`](crate::Builder::answer_timeout) does not. So it can be a stream without an end.
    /// * How long a request waits for its answer, and how long its body takes, is up to the service. If the client leaves,
    ///   or ends its side of the connection, the future of the service is dropped, and so is a body that is not complete.
    /// * If the service answers before the body of the request is complete, the rest of the body has
    ///   [`Builder::header_timeout`](crate::Builder::header_timeout), from its first byte after the answer.
    /// * A connection that the service upgrades, such as a WebSocket of axum, has no deadlines, and a shutdown does not wait
    ///   for it. It counts as one of [`Builder::max_connections`](crate::Builder::max_connections).
    ///
    /// The requests have the address of the client as an extension: [`RemoteAddr`](crate::mount::RemoteAddr), whose
    /// documentation shows how handlers of axum get it.
    pub async fn serve_with(&self, listener: impl Listener, service: impl HttpService) {
        self.serve_each(listener, |io, addr| self.serve_connection_with(io, addr, service.clone())).await;
    }

    /// Serves one connection, as [`Server::serve_with`] serves those of a listener, for code that accepts connections
    /// itself. `remote_addr` is the address of the client, if it has one.
    ///
    /// [`Server::shutdown`] waits for the connection. A connection above the maximum number is dropped at once.
    pub fn serve_connection_with<I: Io + 'static, S: HttpService>(
        &self,
        io: I,
        remote_addr: Option<SocketAddr>,
        service: S,
    ) -> impl Future<Output = ()> + Send + use<I, S> {
        self.carry(io, With { server: self.clone(), remote_addr, service })
    }
}

/// A tower service that answers HTTP requests, such as an axum `Router`. Every suitable service has this trait.
pub trait HttpService:
    Service<Request<Incoming>, Response = Response<Self::Body>, Error: Into<BoxError>, Future: Send>
    + Clone
    + Send
    + 'static
{
    /// The body of its answers.
    type Body: Body<Data: Send, Error: Into<BoxError>> + Send + 'static;
}

impl<S, B> HttpService for S
where
    S: Service<Request<Incoming>, Response = Response<B>, Error: Into<BoxError>, Future: Send> + Clone + Send + 'static,
    B: Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
{
    type Body = B;
}

/// The service of a connection: the server, and another service.
struct With<S> {
    server: Server,
    remote_addr: Option<SocketAddr>,
    service: S,
}

impl<S: HttpService> HyperService<Request<Incoming>> for With<S> {
    type Response = Response<EngineBody<S::Body>>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        if self.server.matches(&request) && !self.server.is_mounted() {
            let answer = self.server.handle_from(request, self.remote_addr);
            return Box::pin(async { Ok(answer.await?.map(EngineBody::engine)) });
        }
        if let Some(addr) = self.remote_addr {
            request.extensions_mut().insert(RemoteAddr(addr));
        }
        let mut service = self.service.clone();
        Box::pin(async move {
            poll_fn(|cx| service.poll_ready(cx)).await.map_err(Into::into)?;
            let response = service.call(request).await.map_err(Into::into)?;
            Ok(response.map(EngineBody::other))
        })
    }
}
