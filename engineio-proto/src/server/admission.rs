//! From a request to a session: what is asked in which order.
//!
//! The table of checks is in [`http::Route`](crate::http::Route)'s module and in `docs/conformance.md`. A new session is
//! admitted in steps, because some answers come from outside: whether the application agrees, what the head of a WebSocket
//! handshake says, which id the session gets. A request for an existing session is admitted in one call, which is its
//! first input too.

use alloc::string::String;
use alloc::sync::Arc;

use crate::config::Config;
use crate::http::rejection::Rejection;
use crate::http::response::{Reply, Response};
use crate::http::route::{Handshake, Operation, PROTOCOL, Request, Route, SessionRequest};
use crate::http::websocket::{HeadError, WebSocketHead};
use crate::parts::event::{ChannelId, ExchangeId};
use crate::parts::time::Instant;
use crate::parts::transport::TransportKind;
use crate::server::sid::Sid;
use crate::session::Session;
use crate::session::event::Input;

/// What a request needs next. Each step names what the embedder brings, and brings the next one.
///
/// ```
/// use engineio_proto::http::{Method, Request};
/// use engineio_proto::server::{Config, Entry, Admission};
/// use engineio_proto::{ExchangeId, Instant, Server, Sid};
///
/// let mut server = Server::new(Config::default())?;
/// let query = "EIO=4&transport=polling";
/// let request = Request { method: Method::Get, query, origin: None, upgrade: false };
///
/// let mut admission = Admission::begin(&request, server.config())?;
/// let opening = loop {
///     admission = match admission {
///         Admission::Ask(ask) => ask.allow()?, // or `ask.refuse`
///         Admission::Head(_) => unreachable!("it is no WebSocket"),
///         Admission::Name(name) => name.give(Some(Sid::from_entropy([7; 15])))?, // yours: 15 random bytes
///         Admission::Open(opening) => break opening,
///         Admission::Session(_) => unreachable!("it names no session"),
///     }
/// };
/// let entry = Entry::Exchange { exchange: ExchangeId(1), octet_stream: false };
/// server.open(Instant::ZERO, opening, entry)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admission {
    /// A new session is wanted: ask the application whether it agrees.
    Ask(Ask),
    /// It is to begin on a WebSocket: bring the head of its handshake.
    Head(AskHead),
    /// Bring an id for the session.
    Name(AskName),
    /// The session can be opened: with [`Server::open`](crate::Server::open), or with [`Opening::begin`] and a registry.
    Open(Opening),
    /// The request belongs to a session: give it to [`Server::enter`](crate::Server::enter), or to
    /// [`SessionRequest::enter`] with the session that it names.
    Session(SessionRequest),
}

/// The application is asked whether it agrees to a new session.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "a handshake that is not answered opens no session"]
pub struct Ask(Handshake);

/// A WebSocket's handshake is needed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "a handshake that is not answered opens no session"]
pub struct AskHead(Handshake);

/// An id is needed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "a handshake that is not answered opens no session"]
pub struct AskName(Handshake);

/// A handshake that may open a session.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "a handshake that is not answered opens no session"]
pub struct Opening {
    handshake: Handshake,
    sid: Sid,
}

/// How a request reaches a session: the number that the embedder gives to its exchange or channel, and what of its head
/// counts.
#[derive(Clone, Copy, Debug)]
pub enum Entry<'a> {
    /// A GET, a POST, or a request of a method that no transport knows.
    Exchange {
        /// Its number.
        exchange: ExchangeId,
        /// Of a POST, what [`is_octet_stream`](crate::http::is_octet_stream) says of its `Content-Type`.
        octet_stream: bool,
    },
    /// The handshake of a WebSocket.
    Channel {
        /// Its number.
        channel: ChannelId,
        /// Its head, to be checked. `None` if something else has checked it, such as a WebSocket library.
        head: Option<WebSocketHead<'a>>,
    },
}

/// Why a request reaches no session.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAdmitted {
    /// It is refused with a code.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// The head of its WebSocket handshake is broken.
    #[error(transparent)]
    Head(#[from] HeadError),
    /// No transport knows its method.
    #[error("no transport knows this method")]
    Method,
}

impl NotAdmitted {
    /// The answer. `upgrade`: what [`Request::is_upgrade`] says of the request.
    pub fn into_reply(self, upgrade: bool) -> Reply {
        match self {
            Self::Rejected(rejection) => rejection.into_reply(upgrade),
            Self::Head(error) => error.into_reply(),
            Self::Method => Response::Unsupported.into_reply(),
        }
    }
}

impl Admission {
    /// The first step for a request.
    ///
    /// # Errors
    /// When the request alone says that it cannot be served: see [`Route::parse`].
    pub fn begin(request: &Request<'_>, config: &Config) -> Result<Self, Rejection> {
        Ok(match Route::parse(request, config)? {
            Route::Handshake(handshake) => Self::Ask(Ask(handshake)),
            Route::Session(request) => Self::Session(request),
        })
    }

    /// The check of the revision, which comes before an id is made.
    fn checked(handshake: Handshake) -> Result<Self, Rejection> {
        match handshake.protocol {
            PROTOCOL => Ok(Self::Name(AskName(handshake))),
            protocol => Err(Rejection::UnsupportedProtocol { protocol }),
        }
    }
}

impl Ask {
    /// What the request asks for.
    pub const fn handshake(&self) -> &Handshake {
        &self.0
    }

    /// The application agrees.
    ///
    /// # Errors
    /// When the client's revision is not served. Of a WebSocket, its head is checked before that.
    pub fn allow(self) -> Result<Admission, Rejection> {
        match self.0.transport {
            TransportKind::Polling => Admission::checked(self.0),
            TransportKind::WebSocket => Ok(Admission::Head(AskHead(self.0))),
        }
    }

    /// The application does not agree. The client reads the message, or `Forbidden`.
    pub fn refuse(self, message: Option<String>) -> Rejection {
        Rejection::Forbidden { message }
    }
}

impl AskHead {
    /// The head of the WebSocket's handshake.
    ///
    /// # Errors
    /// When it is broken, or the client's revision is not served.
    pub fn check(self, head: &WebSocketHead<'_>) -> Result<Admission, NotAdmitted> {
        head.check()?;
        Ok(self.checked()?)
    }

    /// Something else has checked the head.
    ///
    /// # Errors
    /// When the client's revision is not served.
    pub fn checked(self) -> Result<Admission, Rejection> {
        Admission::checked(self.0)
    }
}

impl AskName {
    /// The id of the session.
    ///
    /// # Errors
    /// When none could be made.
    pub fn give(self, sid: Option<Sid>) -> Result<Admission, Rejection> {
        let sid = sid.ok_or(Rejection::NoSid)?;
        Ok(Admission::Open(Opening { handshake: self.0, sid }))
    }
}

impl Opening {
    /// The id of the session.
    pub const fn sid(&self) -> &Sid {
        &self.sid
    }

    /// What the request asks for.
    pub const fn handshake(&self) -> &Handshake {
        &self.handshake
    }

    /// Begins the session, with its first input. Whether the id is free and whether there is room is for a
    /// [`Registry`](crate::server::Registry) to say.
    ///
    /// # Errors
    /// When the transport of the handshake is not that of the entry.
    pub fn begin(self, now: Instant, config: Arc<Config>, entry: Entry<'_>) -> Result<Session, Rejection> {
        let Self { handshake: Handshake { transport, base64, .. }, sid } = self;
        match (transport, entry) {
            (TransportKind::Polling, Entry::Exchange { exchange, .. }) => {
                let mut session = Session::polling(now, sid, config);
                session.handle_input(now, Input::Poll { exchange });
                Ok(session)
            }
            (TransportKind::WebSocket, Entry::Channel { channel, .. }) => {
                Ok(Session::channel(now, sid, config, channel, base64))
            }
            _ => Err(Rejection::WrongHandshake { transport }),
        }
    }
}

impl SessionRequest {
    /// Gives the request to a session as its first input, if the two fit together. `session` is the one, with these options, that
    /// [`SessionRequest::sid`] names; if it has ended by now, the request is answered as one for an unknown session.
    ///
    /// # Errors
    /// As [`Server::enter`](crate::Server::enter), after which the session is as before.
    pub fn enter(
        &self,
        session: &mut Session,
        config: &Config,
        now: Instant,
        entry: Entry<'_>,
    ) -> Result<(), NotAdmitted> {
        self.fits(session, config)?;
        let input = match (self.operation, entry) {
            (Operation::Poll, Entry::Exchange { exchange, .. }) => Input::Poll { exchange },
            (Operation::Post, Entry::Exchange { exchange, octet_stream }) => Input::PostHead { exchange, octet_stream },
            (Operation::Upgrade, Entry::Channel { channel, head }) => {
                if let Some(head) = head {
                    head.check()?;
                }
                Input::ChannelOpened { channel, base64: self.base64 }
            }
            (Operation::Unsupported, _) => return Err(NotAdmitted::Method),
            _ => return Err(Rejection::WrongHandshake { transport: self.transport }.into()),
        };
        session.handle_input(now, input);
        Ok(())
    }

    /// Whether the request and a session fit together: checks 4 to 6, and those of an upgrade.
    ///
    /// # Errors
    /// The first check that fails.
    pub fn fits(&self, session: &Session, config: &Config) -> Result<(), Rejection> {
        if session.close_reason().is_some() {
            return Err(Rejection::UnknownSid);
        }
        let (requested, current) = (self.transport, session.transport());
        let is_upgrade = self.operation == Operation::Upgrade;
        if !is_upgrade && requested != current {
            return Err(Rejection::TransportMismatch { requested, current });
        }
        if self.protocol != PROTOCOL {
            return Err(Rejection::ProtocolMismatch { requested: self.protocol, current: PROTOCOL });
        }
        if !is_upgrade && current != TransportKind::Polling {
            return Err(Rejection::NotPolling);
        }
        if is_upgrade && !config.upgrades(TransportKind::Polling).contains(requested) {
            return Err(Rejection::NoUpgrade);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
