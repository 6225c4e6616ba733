//! Requests of an existing session.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;

use engineio_proto::ChannelId;
use engineio_proto::http::{Operation, Rejection, Response, SessionRequest, is_octet_stream};
use engineio_proto::server::{Entry, Input, NotAdmitted};
use http::header::CONTENT_TYPE;
use http::request;
use http_body::Body;

use super::admission::{Result, serve_channel};
use super::exchange::Waiting;
use super::reply::Replies;
use super::session::{Answer, Served};
use super::state::{Aborted, Inner};
use crate::body::{self, ReadError};
use crate::session::Cell;
use crate::websocket::accept;

/// Serves a request for an existing session.
pub(crate) async fn serve<B>(
    server: &Arc<Inner>,
    parts: &mut request::Parts,
    body: &mut Option<B>,
    request: &SessionRequest,
    replies: Replies,
) -> std::result::Result<Result, NotAdmitted>
where
    B: Body + Send + 'static,
    B::Data: Send,
{
    let cell = server.sessions.find(&request.sid).ok_or(Rejection::UnknownSid)?.cell;
    match request.operation {
        Operation::Upgrade => upgrade(server, cell, parts, request, replies).map(Ok),
        Operation::Post => {
            let octet_stream = parts.headers.get(CONTENT_TYPE).is_some_and(|value| is_octet_stream(value.as_bytes()));
            let waiting = Waiting::enter(server, cell, request, octet_stream)?;
            let Some(body) = body.take().map(Box::pin) else { return Ok(Err(Aborted)) };
            Ok(post(server, waiting, body, replies).await)
        }
        Operation::Poll | Operation::Unsupported => {
            let waiting = Waiting::enter(server, cell, request, false)?;
            Ok(deliver(waiting, replies).await)
        }
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

/// Waits for the answer to a GET. If that answer is lost later, the session learns it.
pub(crate) async fn deliver(mut waiting: Waiting, replies: Replies) -> Result {
    let answer = poll_fn(|cx| Pin::new(&mut waiting).poll(cx)).await;
    let Answer::Response(response) = answer else { return Err(Aborted) };
    let delivery = matches!(response, Response::Payload(_)).then(|| waiting.delivery());
    drop(waiting);
    Ok(replies.answer(response, delivery))
}

async fn post<B>(server: &Arc<Inner>, mut waiting: Waiting, mut body: Pin<Box<B>>, replies: Replies) -> Result
where
    B: Body + Send + 'static,
    B::Data: Send,
{
    let since = server.environment.runtime().now();
    let limit = server.config.max_body();
    let read = {
        let mut read = pin!(body::read(body.as_mut(), limit));
        // The answer may come before the body: because of an overlap, a body that takes too long, or the end of the
        // session.
        poll_fn(|cx| match Pin::new(&mut waiting).poll(cx) {
            Poll::Ready(answer) => Poll::Ready(Err(answer)),
            Poll::Pending => read.as_mut().poll(cx).map(|read| Ok(read.map_err(ReadError::drop_error))),
        })
        .await
    };
    let answer = match read {
        Err(answer) => answer,
        Ok(read) => {
            let body = match read {
                Ok(body) => server.config.checked_body(body),
                Err(ReadError::Body(error)) => Err(error),
                Err(ReadError::Lost(_)) => return Err(Aborted),
            };
            waiting.input(|exchange| Input::PostBody { exchange, body });
            waiting.await
        }
    };
    let Answer::Response(response) = answer else { return Err(Aborted) };
    server.discard(body, since);
    Ok(replies.answer(response, None))
}
