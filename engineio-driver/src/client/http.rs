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

use super::cookies::Jar;
use super::session::Opened;
use super::watched::Watched;
use crate::body::{self, ReadError};
use crate::net::connect::{BoxIo, Io};
use crate::net::dial::Dialer;
use crate::runtime::Runtime;
use crate::session::{Cell, RequestHead};

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
    /// The error of the last attempt to connect.
    error: Option<io::Error>,
}

/// A kept connection that has no request under way.
struct Idle {
    sender: SendRequest<Body>,
    until: StdInstant,
}

/// One held GET and one POST: more connections are never needed.
const MAX_IDLE: usize = 2;

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

    /// Stores why a connection failed.
    pub(super) fn keep_error(&self, error: io::Error) {
        self.state().error = Some(error);
    }

    /// Takes the error of the last attempt to connect, if it failed.
    pub(super) fn take_error(&self) -> Option<io::Error> {
        self.state().error.take()
    }

    /// Sends a request of a session and reads its answer. Returns status and body.
    pub(super) async fn exchange(
        &self,
        session: &Weak<Cell<Opened>>,
        request: proto::client::Request,
    ) -> Result<(u16, Bytes), RequestError> {
        let proto::client::Request { target, body } = &request;
        let method = if body.is_some() { Method::POST } else { Method::GET };
        let headers = request.headers().iter();
        let headers = headers.map(|&(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        let mut message = self.request(method, target, headers).ok_or(RequestError::Unreachable)?;
        if let Some(payload) = request.body {
            *message.body_mut() = Full::new(payload.into_bytes());
        }
        let exchange = self.send(session, message);
        match self.options.request_timeout {
            Some(timeout) => self.runtime.within(timeout, exchange).await.unwrap_or(Err(RequestError::Timeout)),
            None => exchange.await,
        }
    }

    /// Builds a request with all common headers. Returns `None` if the target is not valid.
    pub(super) fn request(
        &self,
        method: Method,
        target: &str,
        headers: impl IntoIterator<Item = (HeaderName, HeaderValue)>,
    ) -> Option<Request<Body>> {
        let mut request = Request::new(Body::default());
        *request.method_mut() = method;
        *request.uri_mut() = Uri::try_from(target).ok()?;
        request.headers_mut().extend(headers);
        // Headers of the application replace the defaults. There may be several with one name.
        for name in self.options.headers.keys() {
            request.headers_mut().remove(name);
        }
        for (name, value) in &self.options.headers {
            request.headers_mut().append(name, value.clone());
        }
        if self.options.cookies {
            self.state().jar.add_to(request.headers_mut(), SystemTime::now());
        }
        debug_assert!(request.headers().contains_key(HOST));
        Some(request)
    }

    async fn send(
        &self,
        session: &Weak<Cell<Opened>>,
        mut request: Request<Body>,
    ) -> Result<(u16, Bytes), RequestError> {
        while let Some(mut sender) = self.take_idle() {
            if sender.ready().await.is_err() {
                continue;
            }
            match sender.try_send_request(request).await {
                Ok(response) => return self.receive(sender, response).await,
                // The server had already closed the connection, and the request was not sent.
                Err(mut error) => request = error.take_message().ok_or(RequestError::Lost)?,
            }
        }
        let mut sender = self.connect(|io| Watched::new(io, Weak::clone(session))).await.map_err(|error| {
            self.keep_error(error);
            RequestError::Unreachable
        })?;
        match sender.send_request(request).await {
            Ok(response) => self.receive(sender, response).await,
            Err(_) => Err(RequestError::Lost),
        }
    }

    /// Opens a new connection for requests.
    pub(super) async fn connect<T: Io + 'static>(
        &self,
        wrap: impl FnOnce(BoxIo) -> T,
    ) -> io::Result<SendRequest<Body>> {
        let io = self.dialer.dial().await?;
        self.state().error = None;
        let (sender, connection) = http1::handshake(wrap(io)).await.map_err(io::Error::other)?;
        // The requests of a connection learn how it ends.
        self.runtime.spawn(async { drop(connection.with_upgrades().await) });
        Ok(sender)
    }

    async fn receive(
        &self,
        sender: SendRequest<Body>,
        response: Response<Incoming>,
    ) -> Result<(u16, Bytes), RequestError> {
        let (parts, body) = response.into_parts();
        self.keep_cookies(&parts.headers);
        let body = if parts.status.is_success() {
            match body::read(pin!(body), self.options.max_body).await {
                Ok(body) => body,
                Err(ReadError::Body(BodyError::TooLarge)) => return Err(RequestError::TooLarge),
                Err(_) => return Err(RequestError::Lost),
            }
        } else {
            first_words(&self.runtime, body).await
        };
        self.keep(sender, &parts.headers);
        Ok((parts.status.as_u16(), body))
    }

    pub(super) fn keep_cookies(&self, headers: &HeaderMap) {
        if self.options.cookies {
            self.state().jar.store(headers, SystemTime::now());
        }
    }

    /// Drops kept connections: no more requests follow.
    pub(super) fn close_idle(&self) {
        self.state().idle.clear();
    }

    /// Takes the most recently used connection that the server should not have closed yet.
    fn take_idle(&self) -> Option<SendRequest<Body>> {
        let now = self.runtime.now();
        let mut state = self.state();
        state.idle.retain(|idle| now < idle.until && !idle.sender.is_closed());
        state.idle.pop().map(|idle| idle.sender)
    }

    fn keep(&self, sender: SendRequest<Body>, headers: &HeaderMap) {
        let close = headers.get(CONNECTION).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"close"));
        let time = keep_alive(headers).map_or(self.options.idle_timeout, |time| time.saturating_sub(MARGIN));
        let time = time.min(LONGEST);
        let mut state = self.state();
        if !close && !time.is_zero() && state.idle.len() < MAX_IDLE {
            state.idle.push(Idle { sender, until: self.runtime.now() + time });
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
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
