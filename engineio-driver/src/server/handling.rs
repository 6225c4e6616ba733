//! The answer to a request for the server, as a future.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use engineio_proto::http::{Request, is_octet_stream};
use engineio_proto::server::{Admission, NotAdmitted};
use http::header::{CONTENT_TYPE, EXPECT, HeaderMap, ORIGIN, UPGRADE, USER_AGENT};
use http::{HeaderValue, request};
use http_body::Body;

use super::admission::{Admitted, admit, report};
use super::exchange::Waiting;
use super::reply::Replies;
use super::requests::{self, Entered, Posting};
use super::state::{Aborted, Inner};
use crate::body::ReplyBody;
use crate::websocket::accept;

/// The map of a request with room for more headers is not used for the answer: a connection would keep its memory.
const MAX_SPARE: usize = 32;

pub(crate) type Result = std::result::Result<http::Response<ReplyBody>, Aborted>;

/// The answer to a request for this server.
///
/// A future with a small, known size: hyper stores one in each connection. While a request waits for its answer, its head
/// is already dropped, because it would keep hyper's read buffer allocated.
pub(crate) struct Handling<B> {
    stage: Stage<B>,
    replies: Replies,
    /// Dropped last, because the timer of the server drives the session.
    server: Arc<Inner>,
}

enum Stage<B> {
    /// The request was not looked at.
    Arrived(Arrived<B>),
    /// A new session, for which the application may be asked. The body of the request is read after the answer.
    Asking(Asking, Option<B>),
    /// A GET waits for its answer.
    Polling(Waiting, Option<B>),
    /// A POST.
    Posting(Posting<B>),
    Done,
}

/// A request. It is large, so it stays where it is until it is known what it asks for.
struct Arrived<B> {
    parts: request::Parts,
    body: Option<B>,
    /// The address of the client, if the request does not have it as an extension.
    remote: Option<SocketAddr>,
}

type Asking = Pin<Box<dyn Future<Output = std::result::Result<Admitted, NotAdmitted>> + Send>>;

/// A body is not pinned before it is boxed.
impl<B> Unpin for Handling<B> {}

impl<B> Handling<B> {
    pub(crate) fn new(server: Arc<Inner>, request: http::Request<B>, remote: Option<SocketAddr>) -> Self {
        let (parts, body) = request.into_parts();
        Self { server, replies: Replies::NONE, stage: Stage::Arrived(Arrived { parts, body: Some(body), remote }) }
    }
}

impl<B> Future for Handling<B>
where
    B: Body + Send + 'static,
    B::Data: Send,
{
    type Output = Result;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result> {
        let this = &mut *self;
        let mut spare = HeaderMap::new();
        if let Stage::Arrived(_) = &this.stage {
            if let Some(answer) = this.arrive(&mut spare, cx) {
                return Poll::Ready(answer);
            }
        }
        if let Stage::Asking(asking, unread) = &mut this.stage {
            let admitted = ready!(asking.as_mut().poll(cx));
            let unread = unread.take();
            match admitted {
                Ok(Admitted::Polling(waiting)) => this.stage = Stage::Polling(waiting, unread),
                Ok(Admitted::Channel(switching)) => {
                    this.finish(unread);
                    return Poll::Ready(Ok(switching));
                }
                Err(refused) => {
                    this.finish(unread);
                    return Poll::Ready(Ok(this.replies.refuse(refused)));
                }
            }
        }
        match &mut this.stage {
            Stage::Polling(waiting, unread) => {
                let answer = ready!(Pin::new(&mut *waiting).poll(cx));
                let (answer, unread) = (requests::deliver(waiting, answer, this.replies, spare), unread.take());
                this.finish(unread);
                Poll::Ready(answer)
            }
            Stage::Posting(posting) => {
                let answer = ready!(posting.poll(&this.server, this.replies, spare, cx));
                this.stage = Stage::Done;
                Poll::Ready(answer)
            }
            Stage::Arrived(_) | Stage::Asking(..) | Stage::Done => Poll::Pending,
        }
    }
}

impl<B> Handling<B>
where
    B: Body + Send + 'static,
    B::Data: Send,
{
    /// Passes the request on. Returns the answer, if it is ready. If the request is for a session, `spare` is the map of its
    /// headers, emptied.
    fn arrive(&mut self, spare: &mut HeaderMap, cx: &mut Context<'_>) -> Option<Result> {
        let Self { server, stage, replies } = self;
        let Stage::Arrived(Arrived { parts, body, remote }) = stage else { return None };
        let fields = Fields::of(&parts.headers);
        let is_upgrade = accept::asks_for_upgrade(parts, fields.upgrade);
        let request = Request {
            method: accept::method(parts),
            query: parts.uri.query().unwrap_or_default(),
            origin: fields.origin.map(HeaderValue::as_bytes),
            upgrade: is_upgrade,
        };
        *replies = Replies::new(fields.agent, request.is_upgrade(&server.config));
        let content = fields.content;
        let admission = Admission::begin(&request, &server.config);
        if is_upgrade {
            accept::join_protocols(&mut parts.headers);
        }
        let entered = match admission {
            Ok(Admission::Session(request)) => requests::enter(server, parts, body, content, &request, *replies, cx),
            Ok(admission) => return self.ask(admission, content),
            Err(rejection) => Err(rejection.into()),
        };
        let entered = entered.inspect_err(|refused| report(server, refused, parts, *remote));
        let unread = content.unread(body.take());
        if parts.headers.capacity() <= MAX_SPARE {
            // hyper uses the map of an answer for the next request.
            *spare = std::mem::take(&mut parts.headers);
            spare.clear();
        }
        let answer = match entered {
            Ok(Entered::Poll(waiting)) => {
                *stage = Stage::Polling(waiting, unread);
                return None;
            }
            Ok(Entered::Post(posting)) => {
                *stage = Stage::Posting(posting);
                return None;
            }
            Ok(Entered::Channel(switching)) => Ok(switching),
            Ok(Entered::Aborted) => Err(Aborted),
            Err(refused) => Ok(replies.refuse(refused)),
        };
        self.finish(unread);
        Some(answer)
    }

    /// Begins the steps to a new session.
    fn ask(&mut self, admission: Admission, content: Content) -> Option<Result> {
        if let Stage::Arrived(arrived) = std::mem::replace(&mut self.stage, Stage::Done) {
            let Arrived { parts, body, remote } = arrived;
            let asking = admit(Arc::clone(&self.server), parts, remote, admission, self.replies);
            self.stage = Stage::Asking(Box::pin(asking), content.unread(body));
        }
        None
    }

    /// The answer is ready: the rest of the body, if there is one, is read in another task.
    fn finish(&mut self, unread: Option<B>) {
        self.stage = Stage::Done;
        if let Some(body) = unread {
            self.server.discard(Box::pin(body), None);
        }
    }
}

/// The header fields on which the way of a request depends, found in one pass.
#[derive(Default)]
struct Fields<'a> {
    origin: Option<&'a HeaderValue>,
    agent: Option<&'a HeaderValue>,
    /// There is the field `Upgrade`.
    upgrade: bool,
    content: Content,
}

/// What the header of a request says of its body.
#[derive(Clone, Copy, Default)]
pub(super) struct Content {
    /// It is binary, which a POST must not be.
    pub(super) octet_stream: bool,
    /// The client waits for `100 Continue`. It sends nothing if it is not asked for.
    pub(super) is_awaited: bool,
}

impl<'a> Fields<'a> {
    fn of(headers: &'a HeaderMap) -> Self {
        let mut fields = Self::default();
        let mut has_type = false;
        for (name, value) in headers {
            match *name {
                // The first of several counts.
                ORIGIN => fields.origin = fields.origin.or(Some(value)),
                USER_AGENT => fields.agent = fields.agent.or(Some(value)),
                CONTENT_TYPE if !has_type => {
                    has_type = true;
                    fields.content.octet_stream = is_octet_stream(value.as_bytes());
                }
                EXPECT => fields.content.is_awaited = true,
                UPGRADE => fields.upgrade = true,
                _ => (),
            }
        }
        fields
    }
}

impl Content {
    /// Returns a body that must be read after the answer.
    fn unread<B: Body>(self, body: Option<B>) -> Option<B> {
        body.filter(|body| !body.is_end_stream() && !self.is_awaited)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http_body_util::{BodyExt as _, Full};
    use hyper_util::rt::{TokioExecutor, TokioTimer};

    use super::*;
    use crate::rt::Runtime;
    use crate::{Builder, Server};

    async fn ask(server: &Server, method: &str, sid: &str, headers: usize) -> (Vec<String>, Bytes) {
        let target = format!("/engine.io/?EIO=4&transport=polling{sid}");
        let mut request = http::Request::builder().method(method).uri(target).header("user-agent", ";MSIE");
        for number in 0..headers {
            request = request.header(format!("x-{number}"), "of the request");
        }
        let answer = server.handle(request.body(Full::new(Bytes::from_static(b"4a"))).unwrap()).await.unwrap();
        let headers = answer.headers().iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()));
        (headers.collect(), answer.into_body().collect().await.unwrap().to_bytes())
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_in_the_header_map_of_its_request_has_only_its_own_headers() {
        let server = Builder::new(Runtime::new(TokioExecutor::new(), TokioTimer::new())).build().unwrap();
        ask(&server, "GET", "", 0).await;
        let socket = server.accept().await;
        let sid = format!("&sid={}", socket.id().as_str());
        let own =
            |content: &str| [content, "cache-control: no-store", "x-xss-protection: 0"].map(String::from).to_vec();
        for headers in [0, 5, 90] {
            let (accepted, body) = ask(&server, "POST", &sid, headers).await;
            assert_eq!((accepted, &body[..]), (own("content-type: text/html"), &b"ok"[..]));
            socket.try_send("b").unwrap();
            let (payload, body) = ask(&server, "GET", &sid, headers).await;
            assert_eq!((payload, &body[..]), (own("content-type: text/plain; charset=UTF-8"), &b"4b"[..]));
        }
    }

    #[test]
    fn the_first_of_several_fields_counts() {
        let mut headers = HeaderMap::new();
        for (name, values) in [("origin", ["a", "b"]), ("content-type", ["text/plain", "application/octet-stream"])] {
            for value in values {
                headers.append(name, HeaderValue::from_static(value));
            }
        }
        let fields = Fields::of(&headers);
        assert_eq!(fields.origin.map(HeaderValue::as_bytes), Some(&b"a"[..]));
        assert!(!fields.content.octet_stream && !fields.content.is_awaited && !fields.upgrade);
    }
}
