//! From a request to a session, new or existing. The core decides the steps and their order.

use std::sync::Arc;

use engineio_proto::http::{Rejection, Request};
use engineio_proto::server::{Admission, Entry, NotAdmitted, Opening};
use engineio_proto::{ChannelId, Instant, Sid, TransportKind};
use http::header::ORIGIN;
use http::{HeaderValue, request};
use http_body::Body;
use hyper::upgrade::OnUpgrade;

use super::backlog::Room;
use super::exchange::Waiting;
use super::reply::Replies;
use super::requests;
use super::session::Served;
use super::sessions;
use super::state::{Aborted, ConnectionError, Inner, RemoteAddr};
use crate::body::ReplyBody;
use crate::session::{AnySession, Attached, Cell, Link, Place, RequestHead};
use crate::socket::Socket;
use crate::websocket::{ChannelTask, accept};

pub(crate) type Result = std::result::Result<http::Response<ReplyBody>, Aborted>;

/// Answers a request for this server.
pub(crate) async fn handle<B>(server: Arc<Inner>, request: http::Request<B>) -> Result
where
    B: Body + Send + 'static,
    B::Data: Send,
{
    let (mut parts, body) = request.into_parts();
    accept::join_protocols(&mut parts.headers);
    let request = Request {
        method: accept::method(&parts),
        query: parts.uri.query().unwrap_or_default(),
        origin: parts.headers.get(ORIGIN).map(HeaderValue::as_bytes),
        upgrade: accept::asks_for_upgrade(&parts),
    };
    let replies = Replies::new(&parts, request.is_upgrade(&server.config));
    let admission = Admission::begin(&request, &server.config).map_err(NotAdmitted::from);
    // The body is borrowed: each future that it was moved into would reserve space for it.
    let mut body = Some(body);
    let answered = match admission {
        Ok(admission) => admit(&server, &mut parts, &mut body, admission, replies).await,
        Err(refused) => Err(refused),
    };
    if let Some(body) = body {
        server.discard_whole(body, &parts.headers);
    }
    answered.unwrap_or_else(|refused| {
        if let NotAdmitted::Rejected(rejection) = &refused {
            server.report(&ConnectionError { rejection, request: &parts });
        }
        Ok(replies.refuse(refused))
    })
}

/// Follows the steps of the admission to a session.
async fn admit<B>(
    server: &Arc<Inner>,
    parts: &mut request::Parts,
    body: &mut Option<B>,
    mut admission: Admission,
    replies: Replies,
) -> std::result::Result<Result, NotAdmitted>
where
    B: Body + Send + 'static,
    B::Data: Send,
{
    loop {
        admission = match admission {
            Admission::Session(request) => return requests::serve(server, parts, body, &request, replies).await,
            Admission::Ask(ask) => match server.allow(parts).await {
                Ok(()) => ask.allow()?,
                Err(refusal) => return Err(ask.refuse(refusal.into_message()).into()),
            },
            Admission::Head(ask) => ask.check(&accept::head(parts))?,
            Admission::Name(ask) => ask.give(server.generate_sid(parts).await)?,
            Admission::Open(opening) => {
                return Ok(match open(server, parts, opening)? {
                    Opened::Polling(waiting) => requests::deliver(waiting, replies).await,
                    Opened::Channel => Ok(replies.switch(parts)),
                });
            }
        }
    }
}

/// A session that was opened.
enum Opened {
    /// The answer to the GET is the open packet.
    Polling(Waiting),
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
    let cell = Arc::clone(&entry.cell);
    if is_channel {
        // Queues its deadline.
        cell.visit(|_| ());
        serve_channel(server, cell, Served::FIRST_CHANNEL, upgrade);
        room.fill(entry);
        return Ok(Opened::Channel);
    }
    // The server knows the session before the client knows its id. The application gets it after the open packet was
    // handed over.
    let waiting = Waiting::first(server, cell);
    room.fill(entry);
    Ok(Opened::Polling(waiting))
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
    session.run(Place::Channel, task);
}
