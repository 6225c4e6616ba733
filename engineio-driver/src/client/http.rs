//! The HTTP requests of one session.
//!
//! Connections are kept between requests. A request that may have been sent is never sent again. Only a request that
//! hyper returns, because its connection was already closed, is sent on another connection.

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::Poll;
use std::time::{Duration, Instant as StdInstant, SystemTime};

use bytes::{Bytes, BytesMut};
use engineio_proto as proto;
use engineio_proto::RequestError;
use engineio_proto::client::Details;
use engineio_proto::server::BodyError;
use http::header::{CONNECTION, HOST, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, Response, Uri};
use http_body::Body as _;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::ext::on_informational;

use super::cookies::Jar;
use super::failure::{self, Received};
use super::redirect::{self, Place, Redirect};
use super::session::Opened;
use super::watched::Watched;
use crate::body::{self, ReadError};
use crate::net::Endpoint;
use crate::net::dial::Dialer;
use crate::runtime::Runtime;
use crate::session::{Cause, Cell, RequestHead, is_secret};

type Body = Full<Bytes>;

/// What the requests of all sessions of a client have in common.
#[derive(Clone, Debug)]
pub(super) struct HttpOptions {
    /// Headers of every request, including `Host`.
    pub(super) headers: HeaderMap,
    pub(super) cookies: bool,
    /// The limit for one request, from its start to the last byte of its answer.
    pub(super) request_timeout: Option<Duration>,
    /// How long a connection is kept without a request, if the server does not announce its own limit.
    pub(super) idle_timeout: Duration,
    /// The maximum size of one answer, in bytes.
    pub(super) max_body: usize,
    /// How many redirects of one request are followed.
    pub(super) max_redirects: usize,
}

/// The connections and cookies of one session.
pub(super) struct Http {
    runtime: Runtime,
    dialer: Arc<Dialer>,
    options: HttpOptions,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    jar: Jar,
    idle: Vec<Idle>,
}

/// A kept connection that has no request under way.
struct Idle {
    connection: Connection,
    until: StdInstant,
}

/// A connection to a server.
pub(super) struct Connection {
    endpoint: Endpoint,
    sender: SendRequest<Body>,
    pub(super) received: Arc<Received>,
}

/// A request without an answer.
pub(super) struct Unsent {
    /// The request, if no byte of it was sent.
    request: Option<Request<Body>>,
    pub(super) error: io::Error,
}

/// The answer to a request.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Bytes,
    /// What to look at if it is not the expected answer.
    pub(super) cause: Option<Cause>,
}

/// A request that failed.
pub(super) struct Failed {
    pub(super) error: RequestError,
    pub(super) cause: Option<Cause>,
}

impl Failed {
    fn because(error: RequestError, cause: io::Error) -> Self {
        Self { error, cause: Some(cause.into()) }
    }
}

impl From<RequestError> for Failed {
    fn from(error: RequestError) -> Self {
        Self { error, cause: None }
    }
}

/// One held GET and one POST: more connections to one server are never needed.
const MAX_IDLE: usize = 2;

/// The maximum size of the head of an answer, in bytes.
pub(super) const MAX_HEAD: usize = 64 * 1024;

/// The maximum number of headers of an answer. hyper allocates memory for all of them.
pub(super) const MAX_HEADERS: usize = 512;

/// The maximum number of interim answers to one request, such as 100 and 103.
pub(super) const MAX_INTERIM: usize = 100;

/// A limit for times that are effectively unlimited.
const LONGEST: Duration = Duration::from_secs(3600);

/// How long the body of a rejection may take.
const WORDS: Duration = Duration::from_secs(1);

/// The server may close a kept connection while a request is on its way, so connections are dropped earlier than that.
const MARGIN: Duration = Duration::from_secs(1);

impl Http {
    pub(super) fn new(runtime: &Runtime, dialer: Arc<Dialer>, options: HttpOptions) -> Self {
        Self { runtime: runtime.clone(), dialer, options, state: Mutex::default() }
    }

    pub(super) const fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// Returns the head of the first request, for the application.
    pub(super) fn head(&self, path: &str) -> RequestHead {
        let endpoint = &self.dialer.endpoint;
        let scheme = if endpoint.secure() { "https" } else { "http" };
        let mut request = Request::new(());
        let uri = Uri::builder().scheme(scheme).authority(endpoint.authority()).path_and_query(path).build();
        *request.uri_mut() = uri.unwrap_or_default();
        *request.headers_mut() = self.options.headers.clone();
        RequestHead::new(&request.into_parts().0, usize::MAX)
    }

    /// Returns the client's own server, with the target of a request.
    pub(super) fn place(&self, target: &str) -> Place {
        Place { endpoint: self.dialer.endpoint.clone(), target: target.to_owned() }
    }

    /// Sends a request of a session and reads its answer.
    pub(super) async fn exchange(
        &self,
        session: &Weak<Cell<Opened>>,
        request: proto::client::Request,
    ) -> Result<Answer, Failed> {
        let exchange = self.follow(session, request);
        match self.options.request_timeout {
            Some(timeout) => {
                let exchange = self.runtime.within(timeout, exchange).await;
                exchange.unwrap_or_else(|| Err(RequestError::Timeout.into()))
            }
            None => exchange.await,
        }
    }

    /// Sends a request, and again where the answer redirects it to.
    async fn follow(&self, session: &Weak<Cell<Opened>>, request: proto::client::Request) -> Result<Answer, Failed> {
        let method = if request.body.is_some() { Method::POST } else { Method::GET };
        let fixed = request.headers();
        let mut place = self.place(&request.target);
        let body = request.body.map(proto::wire::Payload::into_bytes).unwrap_or_default();
        let mut left = self.options.max_redirects;
        let mut cause = None;
        loop {
            let headers = fixed.iter();
            let headers =
                headers.map(|&(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
            let mut message = self.request(method.clone(), &place, headers).ok_or(RequestError::Unreachable)?;
            *message.body_mut() = Full::new(body.clone());
            let (connection, response) = self.send(session, &place, message).await?;
            let (parts, incoming) = response.into_parts();
            self.keep_cookies(&place, &parts.headers);
            let status = parts.status.as_u16();
            let next = redirect::next(&place, &method, status, &parts.headers, left);
            let body = if parts.status.is_success() {
                match body::read(pin!(incoming), self.options.max_body).await {
                    Ok(body) => body,
                    Err(ReadError::Body(BodyError::TooLarge)) => return Err(RequestError::TooLarge.into()),
                    Err(ReadError::Body(_)) => return Err(RequestError::Lost.into()),
                    Err(ReadError::Lost(error)) => {
                        return Err(Failed::because(RequestError::Lost, failure::lost(error, &connection.received)));
                    }
                }
            } else {
                first_words(&self.runtime, incoming).await
            };
            self.keep(connection, &parts.headers);
            match next {
                Redirect::None => return Ok(Answer { status, body, cause }),
                Redirect::Refused(hint) => return Ok(Answer { status, body, cause: Some(Cause::hint(hint)) }),
                Redirect::Follow(next) => place = next,
            }
            cause = Some(Cause::hint(format!("the server redirected to {place}")));
            left -= 1;
        }
    }

    /// Builds a request with all common headers. Returns `None` if the target is not valid.
    pub(super) fn request(
        &self,
        method: Method,
        place: &Place,
        headers: impl IntoIterator<Item = (HeaderName, HeaderValue)>,
    ) -> Option<Request<Body>> {
        let mut request = Request::new(Body::default());
        *request.method_mut() = method;
        *request.uri_mut() = Uri::try_from(&place.target).ok()?;
        request.headers_mut().extend(headers);
        // Headers of the application replace the defaults. There may be several with one name.
        for name in self.options.headers.keys() {
            request.headers_mut().remove(name);
        }
        // They are for the client's own server.
        let is_own = place.endpoint.is_same_server(&self.dialer.endpoint);
        for (name, value) in &self.options.headers {
            if is_own || (!is_secret(name) && *name != HOST) {
                request.headers_mut().append(name, value.clone());
            }
        }
        if !is_own {
            request.headers_mut().insert(HOST, HeaderValue::try_from(place.endpoint.authority()).ok()?);
        }
        if self.options.cookies {
            self.state().jar.add_to(request.headers_mut(), place, SystemTime::now());
        }
        debug_assert!(request.headers().contains_key(HOST));
        Some(request)
    }

    async fn send(
        &self,
        session: &Weak<Cell<Opened>>,
        place: &Place,
        mut request: Request<Body>,
    ) -> Result<(Connection, Response<Incoming>), Failed> {
        while let Some(mut connection) = self.take_idle(&place.endpoint) {
            if connection.sender.ready().await.is_err() {
                continue;
            }
            match connection.ask(request).await {
                Ok(response) => return Ok((connection, response)),
                // The server had already closed the connection, and the request was not sent.
                Err(Unsent { request: Some(unsent), .. }) => request = unsent,
                Err(Unsent { error, .. }) => return Err(Failed::because(RequestError::Lost, error)),
            }
        }
        let connection = self.connect(&place.endpoint, Weak::clone(session)).await;
        let mut connection = connection.map_err(|error| Failed::because(RequestError::Unreachable, error))?;
        match connection.ask(request).await {
            Ok(response) => Ok((connection, response)),
            Err(Unsent { error, .. }) => Err(Failed::because(RequestError::Lost, error)),
        }
    }

    /// Opens a new connection, for requests of a session or for a WebSocket.
    pub(super) async fn connect(&self, endpoint: &Endpoint, session: Weak<Cell<Opened>>) -> io::Result<Connection> {
        let io = self.dialer.dial(endpoint).await?;
        let received = Arc::new(Received::default());
        let io = Watched::new(io, session, Arc::clone(&received));
        let mut builder = http1::Builder::new();
        builder.max_buf_size(MAX_HEAD).max_headers(MAX_HEADERS);
        let (sender, connection) = builder.handshake(io).await.map_err(io::Error::other)?;
        // The requests of a connection learn how it ends.
        self.runtime.spawn(async { drop(connection.with_upgrades().await) });
        Ok(Connection { endpoint: endpoint.clone(), sender, received })
    }

    pub(super) fn keep_cookies(&self, place: &Place, headers: &HeaderMap) {
        if self.options.cookies {
            self.state().jar.store(headers, place, SystemTime::now());
        }
    }

    /// Drops kept connections: no more requests follow.
    pub(super) fn close_idle(&self) {
        self.state().idle.clear();
    }

    /// Takes the most recently used connection to a server that the server should not have closed yet.
    fn take_idle(&self, endpoint: &Endpoint) -> Option<Connection> {
        let now = self.runtime.now();
        let mut state = self.state();
        state.idle.retain(|idle| now < idle.until && !idle.connection.sender.is_closed());
        let index = state.idle.iter().rposition(|idle| idle.connection.endpoint.is_same_server(endpoint))?;
        Some(state.idle.remove(index).connection)
    }

    fn keep(&self, connection: Connection, headers: &HeaderMap) {
        let close = headers.get(CONNECTION).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"close"));
        let time = keep_alive(headers).map_or(self.options.idle_timeout, |time| time.saturating_sub(MARGIN));
        let time = time.min(LONGEST);
        let mut state = self.state();
        let same = |idle: &&Idle| idle.connection.endpoint.is_same_server(&connection.endpoint);
        if !close && !time.is_zero() && state.idle.iter().filter(same).count() < MAX_IDLE {
            // With redirects, there may be connections to other servers.
            if state.idle.len() == 2 * MAX_IDLE {
                state.idle.remove(0);
            }
            state.idle.push(Idle { connection, until: self.runtime.now() + time });
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Connection {
    /// Sends a request, and waits for the head of its answer.
    pub(super) async fn ask(&mut self, mut request: Request<Body>) -> Result<Response<Incoming>, Unsent> {
        self.received.begin();
        let received = Arc::clone(&self.received);
        on_informational(&mut request, move |_| received.count_interim());
        self.sender.try_send_request(request).await.map_err(|mut error| {
            let request = error.take_message();
            Unsent { request, error: failure::lost(error.into_error(), &self.received) }
        })
    }
}

/// Reads the beginning of a rejection's body, as far as it arrives in time.
pub(super) async fn first_words(runtime: &Runtime, mut body: Incoming) -> Bytes {
    let mut words = BytesMut::new();
    let mut sleep = runtime.sleep(WORDS);
    let mut next = async || {
        poll_fn(|cx| match Pin::new(&mut body).poll_frame(cx) {
            Poll::Pending => sleep.as_mut().poll(cx).map(|()| None),
            frame => frame,
        })
        .await
    };
    while words.len() < Details::MAX_BODY {
        let Some(Ok(frame)) = next().await else { break };
        if let Ok(data) = frame.into_data() {
            words.extend(data.into_iter().take(Details::MAX_BODY - words.len()));
        }
    }
    words.freeze()
}

/// Returns how long the server keeps the connection, if it announces that: `Keep-Alive: timeout=5`.
fn keep_alive(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get("keep-alive")?.to_str().ok()?;
    let mut pairs = value.split(',').filter_map(|part| part.split_once('='));
    let (_, timeout) = pairs.find(|(name, _)| name.trim().eq_ignore_ascii_case("timeout"))?;
    timeout.trim().parse().ok().map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_say_how_long_they_keep_a_connection() {
        let time = |value: &str| {
            let headers = [(HeaderName::from_static("keep-alive"), HeaderValue::from_str(value).unwrap())];
            keep_alive(&headers.into_iter().collect())
        };
        assert_eq!(time("timeout=5"), Some(Duration::from_secs(5)));
        assert_eq!(time("max=100, timeout=72"), Some(Duration::from_secs(72)));
        assert_eq!(time("Timeout = 7"), Some(Duration::from_secs(7)));
        assert_eq!((time("max=3"), time("timeout=x"), keep_alive(&HeaderMap::new())), (None, None, None));
    }
}
