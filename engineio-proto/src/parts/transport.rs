//! The transports of the protocol.

use core::fmt;

/// A transport: a way to carry packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum TransportKind {
    /// HTTP long-polling.
    Polling,
    /// A WebSocket.
    WebSocket,
}

impl TransportKind {
    const ALL: [Self; 2] = [Self::Polling, Self::WebSocket];

    /// The name of the transport in queries and in the open packet.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Polling => "polling",
            Self::WebSocket => "websocket",
        }
    }

    /// The transport with this name. Names are case-sensitive.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    const fn bit(self) -> u8 {
        1 << self as u8
    }
}

impl fmt::Display for TransportKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A set of transports.
///
/// ```
/// use engineio_proto::{TransportKind, Transports};
///
/// let transports = Transports::from_iter([TransportKind::WebSocket]);
/// assert!(!transports.contains(TransportKind::Polling));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Transports(u8);

impl Transports {
    /// All transports.
    pub const ALL: Self = Self::NONE.with(TransportKind::Polling).with(TransportKind::WebSocket);
    /// The empty set.
    pub const NONE: Self = Self(0);

    /// Whether a transport is in the set.
    pub const fn contains(self, kind: TransportKind) -> bool {
        self.0 & kind.bit() != 0
    }

    /// Whether the set is empty.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The set with one more transport.
    #[must_use]
    pub const fn with(self, kind: TransportKind) -> Self {
        Self(self.0 | kind.bit())
    }

    /// The set without a transport.
    #[must_use]
    pub const fn without(self, kind: TransportKind) -> Self {
        Self(self.0 & !kind.bit())
    }

    /// The transports of the set, in the order in which they are offered: polling first.
    pub fn iter(self) -> impl Iterator<Item = TransportKind> {
        TransportKind::ALL.into_iter().filter(move |&kind| self.contains(kind))
    }
}

impl FromIterator<TransportKind> for Transports {
    fn from_iter<T: IntoIterator<Item = TransportKind>>(kinds: T) -> Self {
        kinds.into_iter().fold(Self::NONE, Self::with)
    }
}

impl fmt::Debug for Transports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;

    #[test]
    fn names_round_trip() {
        for kind in TransportKind::ALL {
            assert_eq!(TransportKind::from_name(kind.name()), Some(kind));
        }
        for name in ["", "__proto__", "constructor", "Polling", "webtransport"] {
            assert_eq!(TransportKind::from_name(name), None);
        }
    }

    #[test]
    fn sets() {
        let both = Transports::NONE.with(TransportKind::WebSocket).with(TransportKind::Polling);
        assert_eq!(both, Transports::ALL);
        assert_eq!(format!("{both:?}"), "{Polling, WebSocket}");
        assert!(both.without(TransportKind::Polling).without(TransportKind::WebSocket).is_empty());
    }
}
