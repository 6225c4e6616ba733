//! From a request to its answer.

use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use engineio_proto::http::{
    Handshake, Method, Operation, Rejection, Reply, Request, Response, Route, SessionRequest, is_octet_stream,
    needs_xss_header,
};
use engineio_proto::server::{Input, SessionKey};
use engineio_proto::{ChannelId, TransportKind};
use http::header::{CONTENT_TYPE, HeaderName, ORIGIN, USER_AGENT};
use http::{HeaderValue, request};
use http_body::Body;
use hyper::upgrade::OnUpgrade;

use crate::body::{self, ReadError, ReplyBody};
use crate::channel::ChannelTask;
use crate::exchange::Waiting;
use crate::head::RequestHead;
use crate::home::Home;
use crate::server::{Accepted, ConnectionError, Inner};
use crate::shard::Answer;
use crate::socket::Link;
use crate::tasks::Guard;
use crate::upgrade;

/// The request was ended without an answer: its connection should be dropped.
///
/// It happens to a POST whose session ended while its body was on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the session ended while its request was on the way")]
pub struct Aborted;

type Result = std::result::Result<http::Response<ReplyBody>, Aborted>;

/// Where the connection of a request comes from, as an extension of requests for those who mount the server
/// themselves: put it there, and [`Handle::remote_addr`](crate::Handle::remote_addr) knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RemoteAddr(pub SocketAddr);

/// Answers one request that is for this server.
pub(crate) async fn handle<B>(inner: Arc<Inner>, request: http::Request<B>) -> Result
where
    B: Body + Send + 'static,
    B::Data: Send,
{
    let (mut parts, body) = request.into_parts();
    let request = Request {
        method: match parts.method {
            http::Method::GET => Method::Get,
            http::Method::POST => Method::Post,
            _ => Method::Other,
        },
        query: parts.uri.query().unwrap_or_default(),
        origin: parts.headers.get(ORIGIN).map(HeaderValue::as_bytes),
        upgrade: upgrade::is_upgrade(&parts.headers),
    };
    let (routed, is_upgrade) = (Route::parse(&request, inner.config()), request.is_upgrade(inner.config()));
    let xss = parts.headers.get(USER_AGENT).is_some_and(|agent| needs_xss_header(agent.as_bytes()));
    let answered = match routed {
        Ok(Route::Session(request)) => serve(&inner, &mut parts, body, &request, xss).await,
        Ok(Route::Handshake(handshake)) => open(&inner, &mut parts, &handshake, xss).await,
        Err(rejection) => Err(rejection),
    };
    answered.unwrap_or_else(|rejection| {
        inner.report(&ConnectionError { rejection: &rejection, request: &parts });
        Ok(to_response(rejection.into_reply(is_upgrade)))
    })
}

/// A request for a session that should exist.
async fn serve<B>(
    inner: &Arc<Inner>,
    parts: &mut request::Parts,
    body: B,
    request: &SessionRequest,
    xss: bool,
) -> std::result::Result<Result, Rejection>
where
    B: Body + Send + 'static,
    B::Data: Send,
{
    let shard = inner.shard_of(&request.sid);
    let key = inner.look(shard, |core| core.server.admit(request))?;
    Ok(match request.operation {
        Operation::Poll => poll(inner, shard, key, xss).await,
        Operation::Post => post(inner, shard, key, parts, body, xss).await,
        Operation::Upgrade => {
            let accepted = upgrade::accept(parts);
            if accepted.is_ok() {
                let channel = inner.with(shard, |core, now| {
                    let channel = core.open_channel();
                    if let Some(mut session) = core.server.session_mut(key) {
                        session.handle_input(now, Input::ChannelOpened { channel, base64: request.base64 });
                    }
                    channel
                });
                let upgrade = hyper::upgrade::on(as_request(parts));
                inner.runtime().spawn(serve_channel(inner, shard, key, channel, upgrade));
            }
            Ok(accepted.unwrap_or_else(|refusal| *refusal))
        }
        Operation::Unsupported => Ok(to_response(Response::Unsupported.into_reply())),
    })
}

/// A request for a new session.
async fn open(
    inner: &Arc<Inner>,
    parts: &mut request::Parts,
    handshake: &Handshake,
    xss: bool,
) -> std::result::Result<Result, Rejection> {
    inner.allow(parts).await?;
    let accepted = match handshake.transport {
        TransportKind::WebSocket => match upgrade::accept(parts) {
            Ok(response) => Some((response, hyper::upgrade::on(as_request(parts)))),
            Err(refusal) => return Ok(Ok(*refusal)),
        },
        _ => None,
    };
    handshake.check()?;
    let sid = inner.generate_sid(parts).await.ok_or(Rejection::NoSid)?;
    let remote = parts.extensions.get::<RemoteAddr>().map(|addr| addr.0);
    let place = inner.reserve().ok_or(Rejection::Full)?;
    let shard = inner.shard_of(&sid);
    let head = RequestHead::new(parts);
    let (key, channel, link) = inner.with(shard, |core, now| {
        let channel = accepted.is_some().then(|| core.open_channel());
        let opened = core.server.open(now, sid.clone(), handshake, channel);
        let key = opened.inspect_err(|_| {
            channel.and_then(|channel| core.close_channel(channel));
        })?;
        let link = Arc::new(Link::new(sid, remote, head, None));
        core.attach(key, Arc::clone(&link), inner.observes());
        if inner.is_draining() {
            // It came in the very moment in which the others were closed.
            if let Some(mut session) = core.server.session_mut(key) {
                session.close(now);
            }
        }
        Ok((key, channel, link))
    })?;
    place.keep();
    inner.start_timer(shard);
    let answer = match (accepted, channel) {
        (Some((response, upgrade)), Some(channel)) => {
            inner.runtime().spawn(serve_channel(inner, shard, key, channel, upgrade));
            inner.push_accepted(Accepted { shard, key, link });
            Ok(response)
        }
        _ => {
            // The session is known to its server before its client knows its id, and to the application after the
            // open packet is on its way.
            let waiting = Waiting::open(inner, shard, key, |exchange| Input::Poll { exchange });
            inner.push_accepted(Accepted { shard, key, link });
            deliver(waiting, xss).await
        }
    };
    Ok(answer)
}

async fn poll(inner: &Arc<Inner>, shard: usize, key: SessionKey, xss: bool) -> Result {
    deliver(Waiting::open(inner, shard, key, |exchange| Input::Poll { exchange }), xss).await
}

/// Waits for the answer to a GET; if that answer then gets lost, the session learns it.
async fn deliver(mut waiting: Waiting, xss: bool) -> Result {
    let answer = poll_fn(|cx| std::pin::Pin::new(&mut waiting).poll(cx)).await;
    let delivery = match &answer {
        Answer::Response(Response::Payload(_)) => Some(waiting.delivery()),
        _ => None,
    };
    drop(waiting);
    to_result(answer, xss).map(|response| {
        let (parts, body) = response.into_parts();
        http::Response::from_parts(parts, body.with_delivery(delivery))
    })
}

async fn post<B>(
    inner: &Arc<Inner>,
    shard: usize,
    key: SessionKey,
    parts: &request::Parts,
    body: B,
    xss: bool,
) -> Result
where
    B: Body + Send + 'static,
    B::Data: Send,
{
    let octet_stream = parts.headers.get(CONTENT_TYPE).is_some_and(|value| is_octet_stream(value.as_bytes()));
    let mut waiting = Waiting::open(inner, shard, key, |exchange| Input::PostHead { exchange, octet_stream });
    let limit = inner.config().max_payload;
    let mut body = Box::pin(body);
    let read = {
        let mut read = pin!(body::read(body.as_mut(), limit, Some(inner.runtime().sleep(inner.body_timeout()))));
        // The answer may come before the body: an overlap, or the end of the session.
        poll_fn(|cx| match std::pin::Pin::new(&mut waiting).poll(cx) {
            Poll::Ready(answer) => Poll::Ready(Err(answer)),
            Poll::Pending => read.as_mut().poll(cx).map(Ok),
        })
        .await
    };
    let answer = match read {
        Err(answer) => answer,
        Ok(read) => {
            let body = match read {
                Ok(body) => Ok(body),
                Err(ReadError::Body(error)) => Err(error),
                Err(ReadError::Lost) => return Err(Aborted),
            };
            waiting.input(|exchange| Input::PostBody { exchange, body });
            waiting.await
        }
    };
    if matches!(answer, Answer::Response(_)) && !body.is_end_stream() {
        // A client that still sends would not read the answer if its connection broke.
        inner.runtime().spawn(body::discard(body, limit, inner.runtime().sleep(inner.body_timeout())));
    }
    to_result(answer, xss)
}

fn to_result(answer: Answer, xss: bool) -> Result {
    let Answer::Response(response) = answer else { return Err(Aborted) };
    let packets = matches!(response, Response::Payload(_) | Response::Accepted);
    let mut response = to_response(response.into_reply());
    if xss && packets {
        response.headers_mut().insert("x-xss-protection", HeaderValue::from_static("0"));
    }
    Ok(response)
}

fn to_response(reply: Reply) -> http::Response<ReplyBody> {
    let mut response = http::Response::new(ReplyBody::from(reply.body));
    *response.status_mut() =
        http::StatusCode::from_u16(reply.status).unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR);
    for &(name, value) in reply.headers {
        response.headers_mut().insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    response
}

/// The task of a WebSocket that a client opened.
fn serve_channel(
    inner: &Arc<Inner>,
    shard: usize,
    key: SessionKey,
    channel: ChannelId,
    upgrade: OnUpgrade,
) -> ChannelTask {
    let home = Home::Server { inner: Arc::clone(inner), shard, key };
    ChannelTask::accept(home, channel, upgrade, Guard::new(&inner.tasks))
}

/// The upgrade alone; the other extensions belong to the application.
fn as_request(parts: &mut request::Parts) -> http::Request<()> {
    let mut request = http::Request::new(());
    if let Some(upgrade) = parts.extensions.remove::<OnUpgrade>() {
        request.extensions_mut().insert(upgrade);
    }
    request
}
