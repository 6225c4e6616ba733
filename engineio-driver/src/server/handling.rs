//! The answer to a request for the server, as a future.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use engineio_proto::http::Request;
use engineio_proto::server::{Admission, NotAdmitted};
use http::HeaderValue;
use http::header::{EXPECT, HeaderMap, ORIGIN};
use http_body::Body;

use super::admission::{Admitted, admit, report};
use super::exchange::Waiting;
use super::reply::Replies;
use super::requests::{self, Entered, Posting};
use super::state::{Aborted, Inner};
use crate::body::ReplyBody;
use crate::websocket::accept;

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
    /// The request was not looked at. The address is that of the client, if the request does not have it as an extension.
    Arrived(http::Request<B>, Option<SocketAddr>),
    /// A new session, for which the application may be asked. The body of the request is read after the answer.
    Asking(Asking, Option<B>),
    /// A GET waits for its answer.
    Polling(Waiting, Option<B>),
    /// A POST.
    Posting(Posting<B>),
    Done,
}

type Asking = Pin<Box<dyn Future<Output = std::result::Result<Admitted, NotAdmitted>> + Send>>;

/// A body is not pinned before it is boxed.
impl<B> Unpin for Handling<B> {}

impl<B> Handling<B> {
    pub(crate) const fn new(server: Arc<Inner>, request: http::Request<B>, remote: Option<SocketAddr>) -> Self {
        Self { server, replies: Replies::NONE, stage: Stage::Arrived(request, remote) }
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
        if let Stage::Arrived(..) = &this.stage {
            let Stage::Arrived(request, remote) = std::mem::replace(&mut this.stage, Stage::Done) else {
                return Poll::Pending;
            };
            if let Some(answer) = this.arrive(request, remote, cx) {
                return Poll::Ready(answer);
            }
        }
        if let Stage::Asking(asking, unread) = &mut this.stage {
            let admitted = ready!(asking.as_mut().poll(cx));
            let unread = unread.take();
            match admitted {
                Ok(Admitted::Polling(waiting)) => this.stage = Stage::Polling(waiting, unread),
                Ok(Admitted::Channel(switching)) => return Poll::Ready(this.finish(Ok(switching), unread)),
                Err(refused) => return Poll::Ready(this.finish(Ok(this.replies.refuse(refused)), unread)),
            }
        }
        match &mut this.stage {
            Stage::Polling(waiting, unread) => {
                let answer = ready!(Pin::new(&mut *waiting).poll(cx));
                let (answer, unread) = (requests::deliver(waiting, answer, this.replies), unread.take());
                Poll::Ready(this.finish(answer, unread))
            }
            Stage::Posting(posting) => {
                let answer = ready!(posting.poll(&this.server, this.replies, cx));
                this.stage = Stage::Done;
                Poll::Ready(answer)
            }
            Stage::Arrived(..) | Stage::Asking(..) | Stage::Done => Poll::Pending,
        }
    }
}

impl<B> Handling<B>
where
    B: Body + Send + 'static,
    B::Data: Send,
{
    /// Passes the request on. Returns the answer, if it is ready.
    fn arrive(
        &mut self,
        request: http::Request<B>,
        remote: Option<SocketAddr>,
        cx: &mut Context<'_>,
    ) -> Option<Result> {
        let server = &self.server;
        let (mut parts, body) = request.into_parts();
        let is_upgrade = accept::asks_for_upgrade(&parts);
        if is_upgrade {
            accept::join_protocols(&mut parts.headers);
        }
        let request = Request {
            method: accept::method(&parts),
            query: parts.uri.query().unwrap_or_default(),
            origin: parts.headers.get(ORIGIN).map(HeaderValue::as_bytes),
            upgrade: is_upgrade,
        };
        self.replies = Replies::new(&parts, request.is_upgrade(&server.config));
        let mut body = Some(body);
        let entered = match Admission::begin(&request, &server.config) {
            Ok(Admission::Session(request)) => {
                requests::enter(server, &mut parts, &mut body, &request, self.replies, cx)
            }
            Ok(admission) => {
                let unread = unread(body, &parts.headers);
                let asking = admit(Arc::clone(server), parts, remote, admission, self.replies);
                self.stage = Stage::Asking(Box::pin(asking), unread);
                return None;
            }
            Err(rejection) => Err(rejection.into()),
        };
        let entered = entered.inspect_err(|refused| report(server, refused, &mut parts, remote));
        let unread = unread(body, &parts.headers);
        match entered {
            Ok(Entered::Poll(waiting)) => self.stage = Stage::Polling(waiting, unread),
            Ok(Entered::Post(posting)) => self.stage = Stage::Posting(posting),
            Ok(Entered::Channel(switching)) => return Some(self.finish(Ok(switching), unread)),
            Ok(Entered::Aborted) => return Some(self.finish(Err(Aborted), unread)),
            Err(refused) => return Some(self.finish(Ok(self.replies.refuse(refused)), unread)),
        }
        None
    }

    /// The answer is ready: the rest of the body, if there is one, is read in another task.
    fn finish(&mut self, answer: Result, unread: Option<B>) -> Result {
        self.stage = Stage::Done;
        if let Some(body) = unread {
            self.server.discard(Box::pin(body), self.server.environment.runtime().now());
        }
        answer
    }
}

/// Returns a body that must be read after the answer. A client that waits for `100 Continue` sends nothing if it is not
/// asked for.
fn unread<B: Body>(body: Option<B>, headers: &HeaderMap) -> Option<B> {
    body.filter(|body| !body.is_end_stream() && !headers.contains_key(EXPECT))
}
