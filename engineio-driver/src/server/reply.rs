//! The only place where a server's answers are finished, so that additions to answers are made once.

use std::borrow::Cow;
use std::sync::LazyLock;

use engineio_proto::http::{Headers, Reply, Response, needs_xss_header};
use engineio_proto::server::NotAdmitted;
use engineio_proto::wire::{Codec, Payload};
use http::header::{HeaderMap, HeaderName, X_XSS_PROTECTION};
use http::{HeaderValue, StatusCode, request};

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

    pub(crate) fn new(agent: Option<&HeaderValue>, upgrade: bool) -> Self {
        Self { upgrade, xss: agent.is_some_and(|agent| needs_xss_header(agent.as_bytes())) }
    }

    /// Finishes the answer of a session. `delivery` learns whether it is written; `headers` is an empty map, whose memory
    /// is used.
    pub(crate) fn answer(
        self,
        response: Response,
        delivery: Option<Delivery>,
        mut headers: HeaderMap,
    ) -> http::Response<ReplyBody> {
        // Nearly all answers have the headers of one of these.
        static PAYLOAD: LazyLock<Vec<Pair>> = LazyLock::new(|| {
            let payload = Payload::from_packets(Codec::V4, []);
            pairs(Response::Payload(payload).into_reply().headers).collect()
        });
        static ACCEPTED: LazyLock<Vec<Pair>> =
            LazyLock::new(|| pairs(Response::Accepted.into_reply().headers).collect());
        let prepared = match response {
            Response::Payload(_) => Some(&PAYLOAD),
            Response::Accepted => Some(&ACCEPTED),
            _ => None,
        };
        let adds_xss = self.xss && response.is_content();
        let reply = response.into_reply();
        match prepared {
            Some(prepared) => append(&mut headers, prepared.iter().cloned()),
            None => append(&mut headers, pairs(reply.headers)),
        }
        if adds_xss {
            headers.append(X_XSS_PROTECTION, HeaderValue::from_static("0"));
        }
        finish(reply.status, headers, ReplyBody::from(reply.body).with_delivery(delivery))
    }

    /// Finishes the answer to a request that does not reach a session.
    pub(crate) fn refuse(self, refused: NotAdmitted) -> http::Response<ReplyBody> {
        other(refused.into_reply(self.upgrade))
    }

    /// Finishes the 101 for a handshake whose head was checked.
    pub(crate) fn switch(self, parts: &request::Parts) -> http::Response<ReplyBody> {
        other(accept::switch(parts))
    }
}

/// Finishes an answer that is no answer of a session.
fn other(reply: Reply) -> http::Response<ReplyBody> {
    let mut headers = HeaderMap::new();
    append(&mut headers, pairs(reply.headers));
    finish(reply.status, headers, ReplyBody::from(reply.body))
}

fn finish(status: u16, headers: HeaderMap, body: ReplyBody) -> http::Response<ReplyBody> {
    let mut response = http::Response::new(body);
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    *response.headers_mut() = headers;
    response
}

fn append(headers: &mut HeaderMap, pairs: impl Iterator<Item = Pair>) {
    for (name, value) in pairs {
        headers.append(name, value);
    }
}

type Pair = (HeaderName, HeaderValue);

/// Returns the headers of an answer of the core.
fn pairs(headers: Headers) -> impl Iterator<Item = Pair> {
    headers.into_pairs().filter_map(|(name, value)| {
        let value = match value {
            Cow::Borrowed(value) => HeaderValue::from_static(value),
            Cow::Owned(value) => HeaderValue::try_from(value).ok()?,
        };
        Some((HeaderName::from_static(name), value))
    })
}
