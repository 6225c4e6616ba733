//! What stays of a session, and how it ended.

use std::net::SocketAddr;
use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use engineio_proto::client::Details;
use engineio_proto::{Client, CloseReason, Sid, Stats, TransportKind, Transports};

use crate::hands::{Events, Observed};
use crate::head::RequestHead;
use crate::home::View;
use crate::socket::Event;

/// What stays the same for a session, and how it ended.
#[derive(Debug)]
pub(crate) struct Link {
    pub(super) sid: Sid,
    pub(super) remote_addr: Option<SocketAddr>,
    pub(super) head: RequestHead,
    pub(super) offer: Option<Offer>,
    /// The application has closed the session, whatever ended it then.
    pub(super) unwanted: AtomicBool,
    pub(super) end: OnceLock<Box<End>>,
}

/// What a server told its client when it opened the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Offer {
    /// The transport that the session began on.
    pub transport: TransportKind,
    /// The transports that it offers to upgrade to.
    pub upgrades: Transports,
    /// How often it pings.
    pub ping_interval: Duration,
    /// How long it waits for a pong.
    pub ping_timeout: Duration,
    /// Bytes of one request body or message that it takes, if it said so.
    pub max_payload: Option<usize>,
}

impl Offer {
    pub(crate) fn of(client: &Client) -> Option<Self> {
        Some(Self {
            transport: client.transport(),
            upgrades: client.upgrades()?,
            ping_interval: client.ping_interval()?,
            ping_timeout: client.ping_timeout()?,
            max_payload: client.max_payload(),
        })
    }
}

/// A session that is over.
#[derive(Debug)]
pub(crate) struct End {
    pub(crate) reason: CloseReason,
    pub(crate) details: Option<Details>,
    pub(crate) last: Snapshot,
    pub(crate) written: u64,
    /// What was not observed yet.
    events: Mutex<Option<Box<Events>>>,
}

impl End {
    pub(crate) fn new(
        reason: CloseReason,
        details: Option<Details>,
        last: Snapshot,
        written: u64,
        events: Option<Box<Events>>,
    ) -> Self {
        Self { reason, details, last, written, events: Mutex::new(events) }
    }

    /// The next thing that was not observed yet. Messages were all taken, or the session would not be over.
    pub(super) fn pop_event(&self) -> Option<Event> {
        let mut rest = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(observed) = rest.as_mut().and_then(|events| events.pop()) {
            if let Observed::Event(event) = observed {
                return Some(event);
            }
        }
        None
    }
}

/// What changes about a session, at one moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Snapshot {
    pub(super) transport: TransportKind,
    pub(super) upgraded: bool,
    pub(super) stats: Stats,
}

impl Snapshot {
    pub(crate) fn of(view: View<'_>) -> Self {
        Self { transport: view.transport(), upgraded: view.upgraded(), stats: view.stats() }
    }
}

impl Link {
    pub(crate) fn new(sid: Sid, remote_addr: Option<SocketAddr>, head: RequestHead, offer: Option<Offer>) -> Self {
        Self { sid, remote_addr, head, offer, unwanted: AtomicBool::new(false), end: OnceLock::new() }
    }

    pub(crate) fn set_closed(&self, end: End) {
        let _ = self.end.set(Box::new(end));
    }
}
