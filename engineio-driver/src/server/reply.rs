//! The only place where a server's answers are finished, so that additions to answers are made once.

use std::borrow::Cow;

use engineio_proto::http::{Reply, Response, needs_xss_header};
use engineio_proto::server::NotAdmitted;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, USER_AGENT};
use http::{HeaderValue, request};

use crate::body::{Delivery, ReplyBody};
use crate::websocket::accept;

/// The properties of a request on which its answer depends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Replies {
    /// The request is a WebSocket's handshake, and its rejection must have that form.
    upgrade: bool,
    /// The browser needs the header that turns its XSS filter off.
    xss: bool,
}

impl Replies {
    /// For a request that was not looked at.
    pub(crate) const NONE: Self = Self { upgrade: false, xss: false };

    pub(crate) fn new(parts: &request::Parts, upgrade: bool) -> Self {
        let agent = parts.headers.get(USER_AGENT);
        Self { upgrade, xss: agent.is_some_and(|agent| needs_xss_header(agent.as_bytes())) }
    }

    /// Finishes the answer of a session. `delivery` learns whether it is written.
    pub(crate) fn answer(self, response: Response, delivery: Option<Delivery>) -> http::Response<ReplyBody> {
        let is_content = response.is_content();
        self.finish(response.into_reply(), is_content, delivery)
    }

    /// Finishes the answer to a request that does not reach a session.
    pub(crate) fn refuse(self, refused: NotAdmitted) -> http::Response<ReplyBody> {
        self.finish(refused.into_reply(self.upgrade), false, None)
    }

    /// Finishes the 101 for a handshake whose head was checked.
    pub(crate) fn switch(self, parts: &request::Parts) -> http::Response<ReplyBody> {
        self.finish(accept::switch(parts), false, None)
    }

    /// Adds what every answer has.
    fn finish(self, mut reply: Reply, is_content: bool, delivery: Option<Delivery>) -> http::Response<ReplyBody> {
        if self.xss && is_content {
            reply.headers.push("x-xss-protection", "0");
        }
        let mut response = http::Response::new(ReplyBody::from(reply.body).with_delivery(delivery));
        *response.status_mut() =
            http::StatusCode::from_u16(reply.status).unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR);
        for (name, value) in reply.headers.into_pairs() {
            let value = match value {
                Cow::Borrowed(value) => Ok(constant(value)),
                Cow::Owned(value) => HeaderValue::try_from(value),
            };
            if let Ok(value) = value {
                response.headers_mut().append(header_name(name), value);
            }
        }
        response
    }
}

/// Returns the name of a header. Names that most answers have are constants, which need not be parsed.
fn header_name(name: &'static str) -> HeaderName {
    match name {
        "content-type" => CONTENT_TYPE,
        "cache-control" => CACHE_CONTROL,
        name => HeaderName::from_static(name),
    }
}

/// Returns a constant value. Those that most answers have need not be checked.
fn constant(value: &'static str) -> HeaderValue {
    static TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=UTF-8");
    static HTML: HeaderValue = HeaderValue::from_static("text/html");
    static NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
    match value {
        "text/plain; charset=UTF-8" => TEXT.clone(),
        "text/html" => HTML.clone(),
        "no-store" => NO_STORE.clone(),
        value => HeaderValue::from_static(value),
    }
}
