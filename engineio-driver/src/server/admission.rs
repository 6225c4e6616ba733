//! From a request to a session, new or existing. The core decides the steps and their order.

use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use engineio_proto::http::{Rejection, Request};
use engineio_proto::server::{Admission, Entry, NotAdmitted, Opening};
use engineio_proto::{ChannelId, Instant, Sid, TransportKind};
use http::header::{EXPECT, HeaderMap, ORIGIN};
use http::{HeaderValue, request};
use http_body::Body;
use hyper::upgrade::OnUpgrade;

use super::backlog::Room;
use super::exchange::Waiting;
use super::reply::Replies;
use super::requests::{self, Entered, Posting};
use super::session::Served;
use super::sessions;
use super::state::{Aborted, Inner, RemoteAddr};
use crate::body::ReplyBody;
use crate::session::{AnySession, Attached, Cell, Link, PartKind, RequestHead};
use crate::socket::Socket;
use crate::websocket::{ChannelTask, accept};

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

/// A session that was opened, with the answer to its first request.
enum Admitted {
    Polling(Waiting),
    Channel(http::Response<ReplyBody>),
}

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

/// Reports a rejection to the application.
fn report(server: &Inner, refused: &NotAdmitted, parts: &mut request::Parts, remote: Option<SocketAddr>) {
    if let NotAdmitted::Rejected(rejection) = refused {
        server.report(rejection, parts, remote);
    }
}

/// Follows the steps of the admission to a new session.
async fn admit(
    server: Arc<Inner>,
    mut parts: request::Parts,
    remote: Option<SocketAddr>,
    admission: Admission,
    replies: Replies,
) -> std::result::Result<Admitted, NotAdmitted> {
    if let Some(addr) = remote {
        parts.extensions.insert(RemoteAddr(addr));
    }
    let admitted = follow(&server, &mut parts, admission, replies).await;
    admitted.inspect_err(|refused| report(&server, refused, &mut parts, None))
}

async fn follow(
    server: &Arc<Inner>,
    parts: &mut request::Parts,
    mut admission: Admission,
    replies: Replies,
) -> std::result::Result<Admitted, NotAdmitted> {
    loop {
        admission = match admission {
            // The request of an existing session has no steps.
            Admission::Session(_) => return Err(Rejection::UnknownSid.into()),
            Admission::Ask(ask) => match server.allow(parts).await {
                Ok(()) => ask.allow()?,
                Err(refusal) => return Err(ask.refuse(refusal.into_message()).into()),
            },
            Admission::Head(ask) => ask.check(&accept::head(parts))?,
            Admission::Name(ask) => ask.give(server.generate_sid(parts).await)?,
            Admission::Open(opening) => {
                return match open(server, parts, opening)? {
                    Opened::Polling(entry, room) => {
                        // The server knows the session before the client knows its id. The application gets it after
                        // the open packet was handed over.
                        let cell = &entry.cell;
                        let waiting = poll_fn(|cx| Poll::Ready(Waiting::first(Arc::clone(cell), cx))).await;
                        room.fill(entry);
                        Ok(Admitted::Polling(waiting))
                    }
                    Opened::Channel => Ok(Admitted::Channel(replies.switch(parts))),
                };
            }
        }
    }
}

/// A session that was opened.
enum Opened {
    /// The answer to the GET is the open packet. The session has a place in the backlog.
    Polling(sessions::Entry, Room),
    /// The task of the WebSocket waits for the 101.
    Channel,
}

/// Opens a session, if neither the sessions nor the backlog are full. If the sessions are full, one that has shown nothing
/// but its handshake makes room.
fn open(server: &Arc<Inner>, parts: &mut request::Parts, opening: Opening) -> std::result::Result<Opened, NotAdmitted> {
    let sid = opening.sid().clone();
    let now = server.environment.clock.now();
    let room = room(server, &sid, now)?;
    let is_channel = opening.handshake().transport == TransportKind::WebSocket;
    // The head of a WebSocket's handshake was already checked.
    let first = if is_channel {
        Entry::Channel { channel: Served::FIRST_CHANNEL, head: None }
    } else {
        Entry::Exchange { exchange: Served::FIRST_EXCHANGE, octet_stream: false }
    };
    let environment = &server.environment;
    let session = opening.begin(now, Arc::clone(&server.config), first)?;
    let evictable = session.is_unconfirmed().then(|| now + server.config.evict_after());
    let mut session = Some(session);
    // It is no part of the first request that the application sees.
    let upgrade = parts.extensions.remove::<OnUpgrade>();
    let remote = parts.extensions.get::<RemoteAddr>().map(|addr| addr.0);
    let link = Arc::new(Link::new(sid.clone(), remote, RequestHead::new(parts, server.options.max_header_size), None));
    let (entry, evicted) = server.sessions.insert(sid, now, evictable, &mut |key| {
        let mut attached = Attached::new(server.observes());
        let mut side = Served::new(session.take(), key, Arc::downgrade(server));
        // From now on, others can visit the session, and carry its outputs out.
        if is_channel {
            attached.open_channel(Served::FIRST_CHANNEL);
        } else {
            side.open_exchange(Served::FIRST_EXCHANGE);
        }
        let cell = Arc::new(Cell::new(Arc::clone(environment), side, attached));
        sessions::Entry { cell, link: Arc::clone(&link) }
    })?;
    if let Some(evicted) = evicted {
        evicted.cell.evict();
    }
    server.start_timer();
    if is_channel {
        let cell = Arc::clone(&entry.cell);
        // Queues its deadline.
        cell.visit(|_| ());
        serve_channel(server, cell, Served::FIRST_CHANNEL, upgrade);
        room.fill(entry);
        return Ok(Opened::Channel);
    }
    Ok(Opened::Polling(entry, room))
}

/// Finds room for a session. A session that has ended and was not accepted gives its place up.
fn room(server: &Arc<Inner>, sid: &Sid, now: Instant) -> std::result::Result<Room, Rejection> {
    loop {
        let room = match server.sessions.check(sid, now) {
            Ok(()) => server.backlog.reserve().ok_or(Rejection::Full),
            Err(rejection) => Err(rejection),
        };
        match room {
            Err(Rejection::Full) => {
                let closed = server.sessions.closed();
                let ended = closed.and_then(|closed| server.backlog.take_ended(closed)).ok_or(Rejection::Full)?;
                drop(Socket::new(sessions::handle(server, ended)));
            }
            room => return room,
        }
    }
}

/// Starts the task of a WebSocket that a client opened.
pub(crate) fn serve_channel(
    server: &Arc<Inner>,
    cell: Arc<Cell<Served>>,
    channel: ChannelId,
    upgrade: Option<OnUpgrade>,
) {
    let mut request = http::Request::new(());
    if let Some(upgrade) = upgrade {
        request.extensions_mut().insert(upgrade);
    }
    let session = AnySession::new(cell, Some(Arc::clone(server) as _));
    let task = ChannelTask::accept(session.clone(), channel, hyper::upgrade::on(request));
    session.run(PartKind::Channel, task);
}
