//! From a request to a session: the steps of a handshake, and their order.
//!
//! The table of checks is in the module of [`http::Route`](crate::http::Route) and in `docs/conformance.md`. A new
//! session is admitted in steps, because some answers come from outside: whether the application agrees, the head of a
//! WebSocket handshake, the session id. A request for an existing session is admitted in one call, which also is its
//! first input.

use alloc::string::String;
use alloc::sync::Arc;

use crate::config::Config;
use crate::http::rejection::Rejection;
use crate::http::response::{Reply, Response};
use crate::http::route::{Handshake, Operation, PROTOCOL, Request, Route, SessionRequest};
use crate::http::websocket::{HeadError, WebSocketHead};
use crate::parts::event::{ChannelId, ExchangeId};
use crate::parts::sid::Sid;
use crate::parts::time::Instant;
use crate::parts::transport::TransportKind;
use crate::session::Session;
use crate::session::event::Input;

/// The next step for a request. Each step names what the embedder must bring, and returns the next step.
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
    /// A new session: ask the application whether it agrees.
    Ask(Ask),
    /// A session that starts on a WebSocket: bring the head of its handshake.
    Head(AskHead),
    /// Bring an id for the session.
    Name(AskName),
    /// The session can be opened, with [`Server::open`](crate::Server::open), or with [`Opening::begin`] and a
    /// registry.
    Open(Opening),
    /// The request is for an existing session: pass it to [`Server::enter`](crate::Server::enter), or to
    /// [`SessionRequest::enter`] with the session that it names.
    Session(SessionRequest),
}

/// A step: ask the application whether it agrees to a new session.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "a handshake that is not answered opens no session"]
pub struct Ask(Handshake);

/// A step: bring the head of a WebSocket handshake.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "a handshake that is not answered opens no session"]
pub struct AskHead(Handshake);

/// A step: bring a session id.
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

/// How a request reaches a session: the number that the embedder gives to its exchange or channel, and the parts of its
/// head that count.
#[derive(Clone, Copy, Debug)]
pub enum Entry<'a> {
    /// A GET, a POST, or a request whose method no transport supports.
    Exchange {
        /// Its number.
        exchange: ExchangeId,
        /// For a POST, the result of [`is_octet_stream`](crate::http::is_octet_stream) for its `Content-Type`.
        octet_stream: bool,
    },
    /// The handshake of a WebSocket.
    Channel {
        /// Its number.
        channel: ChannelId,
        /// The head of the handshake, to be checked. `None` if it was already checked, for example by a WebSocket
        /// library.
        head: Option<WebSocketHead<'a>>,
    },
}

/// Why a request reaches no session.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAdmitted {
    /// The request is rejected with an error code.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// The head of the WebSocket handshake is not valid.
    #[error(transparent)]
    Head(#[from] HeadError),
    /// No transport supports the method.
    #[error("unsupported method: expected GET or POST")]
    Method,
}

impl NotAdmitted {
    /// Returns the answer. `upgrade`: the result of [`Request::is_upgrade`] for the request.
    pub fn into_reply(self, upgrade: bool) -> Reply {
        match self {
            Self::Rejected(rejection) => rejection.into_reply(upgrade),
            Self::Head(error) => error.into_reply(),
            Self::Method => Response::Unsupported.into_reply(),
        }
    }
}

impl Admission {
    /// Returns the first step for a request.
    ///
    /// # Errors
    /// Returns an error if the request can be rejected without a session; see [`Route::parse`].
    pub fn begin(request: &Request<'_>, config: &Config) -> Result<Self, Rejection> {
        Ok(match Route::parse(request, config)? {
            Route::Handshake(handshake) => Self::Ask(Ask(handshake)),
            Route::Session(request) => Self::Session(request),
        })
    }

    /// Checks the revision, before a session id is generated.
    fn checked(handshake: Handshake) -> Result<Self, Rejection> {
        match handshake.protocol {
            PROTOCOL => Ok(Self::Name(AskName(handshake))),
            protocol => Err(Rejection::UnsupportedProtocol { protocol }),
        }
    }
}

impl Ask {
    /// Returns what the request asks for.
    pub const fn handshake(&self) -> &Handshake {
        &self.0
    }

    /// The application agrees.
    ///
    /// # Errors
    /// Returns an error if the client's revision is not supported. For a WebSocket, its head is checked before that.
    pub fn allow(self) -> Result<Admission, Rejection> {
        match self.0.transport {
            TransportKind::Polling => Admission::checked(self.0),
            TransportKind::WebSocket => Ok(Admission::Head(AskHead(self.0))),
        }
    }

    /// The application refuses. The client gets the message, or `Forbidden`.
    pub fn refuse(self, message: Option<String>) -> Rejection {
        Rejection::Forbidden { message }
    }
}

impl AskHead {
    /// Checks the head of the WebSocket handshake.
    ///
    /// # Errors
    /// Returns an error if the connection cannot be upgraded, if the head is not valid, or if the client's revision is not supported.
    pub fn check(self, head: &WebSocketHead<'_>) -> Result<Admission, NotAdmitted> {
        head.upgradable()?;
        head.check()?;
        Ok(self.checked()?)
    }

    /// Continues with a head that was already checked.
    ///
    /// # Errors
    /// Returns an error if the client's revision is not supported.
    pub fn checked(self) -> Result<Admission, Rejection> {
        Admission::checked(self.0)
    }
}

impl AskName {
    /// Sets the id of the session.
    ///
    /// # Errors
    /// Returns an error if `sid` is `None`.
    pub fn give(self, sid: Option<Sid>) -> Result<Admission, Rejection> {
        let sid = sid.ok_or(Rejection::NoSid)?;
        Ok(Admission::Open(Opening { handshake: self.0, sid }))
    }
}

impl Opening {
    /// Returns the id of the session.
    pub const fn sid(&self) -> &Sid {
        &self.sid
    }

    /// Returns what the request asks for.
    pub const fn handshake(&self) -> &Handshake {
        &self.handshake
    }

    /// Creates the session, with its first input. A [`Registry`](crate::server::Registry) decides whether the id is
    /// free and whether there is room.
    ///
    /// # Errors
    /// Returns an error if the transports of the handshake and the entry differ.
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
    /// Passes the request to a session as its first input, if the request is valid for it.
    ///
    /// `session` is the one that [`SessionRequest::sid`] names, with the options `config`. If it has ended, the request
    /// is answered as one for an unknown session.
    ///
    /// # Errors
    /// The same as [`Server::enter`](crate::Server::enter). The session is then unchanged.
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
                    head.upgradable()?;
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

    /// Checks whether the request is valid for a session: checks 4 to 6, and those of an upgrade.
    ///
    /// # Errors
    /// Returns the first check that fails.
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
