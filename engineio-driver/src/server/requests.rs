//! Requests of an existing session.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::Bytes;
use engineio_proto::ChannelId;
use engineio_proto::http::{Operation, Rejection, Response, SessionRequest};
use engineio_proto::server::{BodyError, Config, Entry, Input, NotAdmitted};
use http::{HeaderMap, request};
use http_body::Body;

use super::admission::serve_channel;
use super::exchange::Waiting;
use super::handling::{Content, Result};
use super::reply::Replies;
use super::session::{Answer, Served};
use super::state::{Aborted, Inner};
use crate::body::{self, ReadError, Receive};
use crate::session::Cell;
use crate::websocket::accept;

/// A request that was admitted.
pub(crate) enum Entered<B> {
    /// A GET waits for its answer.
    Poll(Waiting),
    /// A POST, whose body comes next.
    Post(Posting<B>),
    /// A WebSocket: this is the 101, for which a task waits.
    Channel(http::Response<body::ReplyBody>),
    /// The request must end without an answer.
    Aborted,
}

/// Passes a request to its existing session.
///
/// # Errors
/// Returns an error if there is no such session, or if the request is not valid for it.
pub(crate) fn enter<B>(
    server: &Arc<Inner>,
    parts: &mut request::Parts,
    body: &mut Option<B>,
    content: Content,
    request: &SessionRequest,
    replies: Replies,
    cx: &mut Context<'_>,
) -> std::result::Result<Entered<B>, NotAdmitted>
where
    B: Body + Send + 'static,
    B::Data: Send,
{
    let cell = server.sessions.find_cell(&request.sid).ok_or(Rejection::UnknownSid)?;
    match request.operation {
        Operation::Upgrade => upgrade(server, cell, parts, request, replies).map(Entered::Channel),
        Operation::Post => {
            let Some(body) = body.take() else { return Ok(Entered::Aborted) };
            let mut body = Box::pin(body);
            let mut receive = Receive::new(server.config.max_body());
            // Most bodies arrive with their heads; both are then one visit to the session. A client that waits for `100
            // Continue` gets that only if the head is valid.
            let read = if content.is_awaited { Poll::Pending } else { receive.poll(body.as_mut(), cx) };
            let is_pending = read.is_pending();
            let read = match read {
                Poll::Ready(read) => received(&server.config, read),
                Poll::Pending => None,
            };
            let is_lost = read.is_none() && !is_pending;
            match Waiting::enter(&server.config, cell, request, content.octet_stream, read, cx) {
                Ok(_) if is_lost => Ok(Entered::Aborted),
                Ok(waiting) => Ok(Entered::Post(Posting::new(server, waiting, body, receive))),
                Err(refused) => {
                    if !content.is_awaited {
                        server.discard(body, None);
                    }
                    Err(refused)
                }
            }
        }
        Operation::Poll | Operation::Unsupported => {
            Waiting::enter(&server.config, cell, request, false, None, cx).map(Entered::Poll)
        }
    }
}

/// Returns what a session learns of a body; `None` if it is lost.
fn received<E>(
    config: &Config,
    read: std::result::Result<Bytes, ReadError<E>>,
) -> Option<std::result::Result<Bytes, BodyError>> {
    match read {
        Ok(body) => Some(config.checked_body(body)),
        Err(ReadError::Body(error)) => Some(Err(error)),
        Err(ReadError::Lost(_)) => None,
    }
}

/// Opens a second transport for the session.
fn upgrade(
    server: &Arc<Inner>,
    cell: Arc<Cell<Served>>,
    parts: &mut request::Parts,
    request: &SessionRequest,
    replies: Replies,
) -> std::result::Result<http::Response<body::ReplyBody>, NotAdmitted> {
    let channel = cell.visit(|visit| {
        let now = visit.now();
        let channel = ChannelId(visit.side.next_number());
        let Some(session) = visit.side.session_mut() else { return Err(Rejection::UnknownSid.into()) };
        request.enter(session, &server.config, now, Entry::Channel { channel, head: Some(accept::head(parts)) })?;
        visit.attached.open_channel(channel);
        Ok::<_, NotAdmitted>(channel)
    })?;
    let response = replies.switch(parts);
    serve_channel(server, cell, channel, parts.extensions.remove());
    Ok(response)
}

/// Returns the answer to a GET, with its headers in an empty map. If it is lost later, the session learns it.
pub(crate) fn deliver(waiting: &Waiting, answer: Answer, replies: Replies, headers: HeaderMap) -> Result {
    let Answer::Response(response) = answer else { return Err(Aborted) };
    let delivery = matches!(response, Response::Payload(_)).then(|| waiting.delivery());
    Ok(replies.answer(response, delivery, headers))
}

/// A POST: its body is read, then it waits for its answer.
pub(crate) struct Posting<B> {
    waiting: Waiting,
    /// `None` once the answer is ready.
    body: Option<Pin<Box<B>>>,
    receive: Receive,
    /// When the request arrived, if its body did not arrive with it.
    since: Option<Instant>,
}

impl<B> Posting<B>
where
    B: Body + Send + 'static,
    B::Data: Send,
{
    fn new(server: &Inner, waiting: Waiting, body: Pin<Box<B>>, receive: Receive) -> Self {
        let since = (!receive.is_done()).then(|| server.environment.runtime().now());
        Self { waiting, body: Some(body), receive, since }
    }

    /// The headers of the answer are put into `headers`, an empty map.
    pub(crate) fn poll(
        &mut self,
        server: &Inner,
        replies: Replies,
        headers: HeaderMap,
        cx: &mut Context<'_>,
    ) -> Poll<Result> {
        let Self { waiting, body, receive, since } = self;
        if let (false, Some(body)) = (waiting.is_answered() || receive.is_done(), &mut *body) {
            if let Poll::Ready(read) = receive.poll(body.as_mut(), cx) {
                let Some(body) = received(&server.config, read) else { return Poll::Ready(Err(Aborted)) };
                waiting.input(|exchange| Input::PostBody { exchange, body });
            }
        }
        // The answer may come before the body: because of an overlap, a body that takes too long, or the end of the
        // session.
        let answer = ready!(Pin::new(waiting).poll(cx));
        let Answer::Response(response) = answer else { return Poll::Ready(Err(Aborted)) };
        if let Some(body) = body.take() {
            server.discard(body, *since);
        }
        Poll::Ready(Ok(replies.answer(response, None, headers)))
    }
}
