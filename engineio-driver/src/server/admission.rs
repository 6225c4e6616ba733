//! From a request to a new session. The core decides the steps and their order.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::Poll;

use engineio_proto::http::Rejection;
use engineio_proto::server::{Admission, Entry, NotAdmitted, Opening};
use engineio_proto::{ChannelId, Instant, Sid, TransportKind};
use http::request;
use hyper::upgrade::OnUpgrade;

use super::backlog::Room;
use super::exchange::Waiting;
use super::reply::Replies;
use super::session::Served;
use super::sessions;
use super::state::{Inner, RemoteAddr};
use crate::body::ReplyBody;
use crate::session::{AnySession, Attached, Cell, Link, PartKind, RequestHead};
use crate::socket::Socket;
use crate::websocket::{ChannelTask, accept};

/// A session that was opened, with the answer to its first request.
pub(super) enum Admitted {
    Polling(Waiting),
    Channel(http::Response<ReplyBody>),
}

/// Reports a rejection to the application.
pub(super) fn report(server: &Inner, refused: &NotAdmitted, parts: &mut request::Parts, remote: Option<SocketAddr>) {
    if let NotAdmitted::Rejected(rejection) = refused {
        server.report(rejection, parts, remote);
    }
}

/// Follows the steps of the admission to a new session.
pub(super) async fn admit(
    server: Arc<Inner>,
    mut parts: request::Parts,
    remote: Option<SocketAddr>,
    admission: Admission,
    replies: Replies,
) -> Result<Admitted, NotAdmitted> {
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
) -> Result<Admitted, NotAdmitted> {
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
fn open(server: &Arc<Inner>, parts: &mut request::Parts, opening: Opening) -> Result<Opened, NotAdmitted> {
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
fn room(server: &Arc<Inner>, sid: &Sid, now: Instant) -> Result<Room, Rejection> {
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
