//! The constant properties of a session, and how it ended.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use engineio_proto::client::Details;
use engineio_proto::{Client, CloseReason, Machine, Sid, Stats, TransportKind, Transports};
use http::Request;

use super::cause::Cause;
use super::head::{RemoteAddr, RequestHead};

/// The properties of a session that do not change after it opens.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) sid: Sid,
    pub(crate) remote_addr: Option<SocketAddr>,
    head: RequestHead,
    /// At a client. Boxed, because a server has many sessions.
    pub(crate) offer: Option<Box<Offer>>,
    /// The application has closed the session, whatever ended it.
    unwanted: AtomicBool,
    /// The application has closed the session such that received messages were dropped.
    dropped_messages: AtomicBool,
}

impl Link {
    pub(crate) const fn new(
        sid: Sid,
        remote_addr: Option<SocketAddr>,
        head: RequestHead,
        offer: Option<Box<Offer>>,
    ) -> Self {
        let (unwanted, dropped_messages) = (AtomicBool::new(false), AtomicBool::new(false));
        Self { sid, remote_addr, head, offer, unwanted, dropped_messages }
    }

    /// Returns the first request of the session.
    pub(crate) fn request(&self) -> Request<()> {
        let mut request = self.head.to_request();
        if let Some(addr) = self.remote_addr {
            request.extensions_mut().insert(RemoteAddr(addr));
        }
        request
    }

    pub(crate) fn set_unwanted(&self) {
        self.unwanted.store(true, Ordering::Relaxed);
    }

    pub(crate) fn set_dropped_messages(&self) {
        self.dropped_messages.store(true, Ordering::Relaxed);
    }

    pub(crate) fn has_dropped_messages(&self) -> bool {
        self.dropped_messages.load(Ordering::Relaxed)
    }

    pub(crate) fn is_unwanted(&self) -> bool {
        self.unwanted.load(Ordering::Relaxed)
    }
}

/// What a server announced to its client in the handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Offer {
    /// The transport of the handshake.
    pub transport: TransportKind,
    /// The transports that the server offers for an upgrade.
    pub upgrades: Transports,
    /// The server's ping interval.
    pub ping_interval: Duration,
    /// The server's ping timeout.
    pub ping_timeout: Duration,
    /// The maximum size of a request body or a message that the server accepts, in bytes, if it announced one.
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

/// How a session ended.
#[derive(Clone, Debug)]
pub(crate) struct End {
    pub(crate) reason: CloseReason,
    pub(crate) details: Option<Details>,
    /// At a client.
    pub(crate) cause: Option<Cause>,
    pub(crate) last: Snapshot,
}

impl End {
    pub(crate) fn of(machine: &dyn Machine, reason: CloseReason) -> Self {
        Self { reason, details: machine.details().cloned(), cause: None, last: Snapshot::of(machine) }
    }
}

/// The changing state of a session, at one moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Snapshot {
    pub(crate) transport: TransportKind,
    pub(crate) upgraded: bool,
    pub(crate) stats: Stats,
}

impl Default for Snapshot {
    fn default() -> Self {
        Self { transport: TransportKind::Polling, upgraded: false, stats: Stats::default() }
    }
}

impl Snapshot {
    pub(crate) fn of(machine: &dyn Machine) -> Self {
        Self { transport: machine.transport(), upgraded: machine.upgraded(), stats: machine.stats() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether or not it is kept among other extensions.
    #[test]
    fn the_first_request_has_the_address_of_the_client() {
        let addr = SocketAddr::from(([127, 0, 0, 1], 4000));
        for other in [None, Some(7_u8)] {
            let (mut parts, ()) = Request::new(()).into_parts();
            parts.extensions.insert(RemoteAddr(addr));
            if let Some(other) = other {
                parts.extensions.insert(other);
            }
            let head = RequestHead::new(&parts, usize::MAX);
            let request = Link::new(Sid::from_entropy([7; 15]), Some(addr), head, None).request();
            assert_eq!(request.extensions().get(), Some(&RemoteAddr(addr)));
            assert_eq!(request.extensions().get(), other.as_ref());
        }
    }
}
