//! Events for the application, and close reasons.

use core::fmt;

use crate::parts::transport::TransportKind;

/// The number of an exchange: an HTTP request and its answer. The embedder of a server numbers incoming requests; a
/// [`Client`](crate::Client) numbers its own. Numbers are not reused within a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ExchangeId(pub u64);

/// The number of a message channel, such as a WebSocket. The embedder of a server numbers incoming channels; a
/// [`Client`](crate::Client) numbers its own. Numbers are not reused within a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChannelId(pub u64);

/// How a channel ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ChannelEnd {
    /// The peer closed it with a close frame, whatever its status code.
    Closed,
    /// The connection ended without a close frame.
    Lost,
    /// The channel could not be opened. Only for clients.
    Unopened,
    /// The peer violated the protocol of the channel.
    Violation,
    /// The peer sent a message larger than `max_payload`.
    TooLarge,
}

/// An event for the application, of a server's session or of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The server has opened the session. Only for clients.
    Opened,
    /// Messages have arrived. Take them with [`Session::recv`](crate::Session::recv) or
    /// [`Client::recv`](crate::Client::recv) until it returns `None`. The event is not repeated before that.
    Readable,
    /// There is room for messages again, after one was refused or `poll_ready` returned `false`.
    Writable,
    /// The awaited messages are written; see [`Session::poll_written`](crate::Session::poll_written).
    Written,
    /// Packets are handed to the transport.
    Flush {
        /// Their number.
        packets: usize,
    },
    /// The transport has been handed all packets of the last [`Event::Flush`]; by polling, a client's POST was answered.
    Drain,
    /// A probe was answered. The session is about to change to this transport.
    Upgrading(TransportKind),
    /// The session has changed to this transport.
    Upgraded(TransportKind),
    /// The session stays on polling. Only for clients.
    UpgradeFailed(UpgradeError),
    /// A heartbeat arrived: a pong at a server, a ping at a client. Heartbeats that are handled together are one event.
    Heartbeat,
    /// The session has ended, and messages that arrived before can still be taken. [`Event::Closed`] follows once they
    /// were taken. [`Event::Writable`] and [`Event::Written`] do not follow.
    Ended(CloseReason),
    /// The session has ended, and all messages were taken. This is the last event. It comes exactly once.
    Closed(CloseReason),
}

/// Why a client did not change its transport.
///
/// Unless the session was closed, it continues on polling.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum UpgradeError {
    /// The WebSocket could not be opened, or it closed before the change.
    #[error("probe error: the transport closed")]
    TransportClosed,
    /// A packet arrived on the WebSocket that is not the answer to the probe.
    #[error("probe error: unexpected packet")]
    UnexpectedPacket,
    /// The upgrade took longer than [`client::Config::upgrade_timeout`](crate::client::Config::upgrade_timeout).
    #[error("probe error: timeout")]
    Timeout,
    /// The session was closed during the upgrade.
    #[error("probe error: socket closed")]
    SessionClosed,
}

/// Why a session ended.
///
/// The reason is the one seen from this side.
/// The reference implementation has five reasons, see [`CloseReason::as_str`]. The variants distinguish more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CloseReason {
    /// The peer closed the session. At a server, also: the channel ended without a close frame. `transport close`
    TransportClose,
    /// The transport was lost while the session was closing in order, and some messages were not written. At a client,
    /// also: the channel ended without a close frame. `transport close`
    TransportLost,
    /// The transport failed. `transport error`
    TransportError(TransportError),
    /// The client sent data that is not a packet. Only at a server. `parse error`
    ParseError,
    /// At a server, the client did not answer a ping in time. At a client, the server did not send a ping in time.
    /// `ping timeout`
    PingTimeout,
    /// The application closed the session, and all messages were written; or it aborted the session. `forced close`
    ForcedClose,
}

/// Why a request of a client failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// The server answered with this status, which is not 2xx.
    #[error("the answer has status {0}, expected 2xx")]
    Status(u16),
    /// No connection to the server could be made. No byte of the request was sent.
    #[error("the server cannot be reached")]
    Unreachable,
    /// The connection was lost before the answer was complete. The request may have arrived.
    #[error("the connection was lost before the answer was complete")]
    Lost,
    /// The answer did not arrive in time.
    #[error("the answer did not arrive in time")]
    Timeout,
    /// The answer is larger than [`client::Config::max_payload`](crate::client::Config::max_payload).
    #[error("the answer is larger than max_payload")]
    TooLarge,
}

/// How a transport failed.
///
/// Failures that the reference implementation has, too, have its texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum TransportError {
    /// A GET lost its connection before its answer was completely written.
    #[error("poll connection closed prematurely")]
    PollLost,
    /// A POST lost its connection before its body was complete, or before it was answered.
    #[error("data request connection closed prematurely")]
    PostLost,
    /// The client sent a GET while another one was held.
    #[error("overlap from client")]
    PollOverlap,
    /// The client sent a POST while another one was under way.
    #[error("data request overlap from client")]
    PostOverlap,
    /// The client sent a POST with binary content, which revision 4 does not have.
    #[error("invalid content")]
    InvalidContent,
    /// The body of a POST is larger than [`server::Config::max_payload`](crate::server::Config::max_payload). Its messages
    /// are lost.
    #[error("payload too large")]
    PayloadTooLarge,
    /// The body of a POST took longer than [`server::Config::body_timeout`](crate::server::Config::body_timeout).
    #[error("data request timed out")]
    PostTimeout,
    /// The client showed nothing but its handshake: on polling, no further request came within
    /// [`server::Config::confirm_timeout`](crate::server::Config::confirm_timeout), or before the server was full and
    /// needed the place. Only at a server.
    #[error("no request followed the handshake")]
    Unconfirmed,
    /// The client sent a ping. In revision 4, only the server sends pings.
    #[error("invalid heartbeat direction")]
    HeartbeatDirection,
    /// The peer violated the WebSocket protocol.
    #[error("websocket protocol violation")]
    Violation,
    /// The peer sent a WebSocket message larger than `max_payload`.
    #[error("message too large")]
    MessageTooLarge,
    /// The client does not read what is sent to it, or reads too slowly.
    #[error("client reads too slowly")]
    SlowConsumer,
    /// A poll failed. Only at a client.
    #[error("poll error: {0}")]
    Poll(RequestError),
    /// A POST failed. Its messages may have arrived. Only at a client.
    #[error("post error: {0}")]
    Post(RequestError),
    /// The WebSocket could not be opened. Only at a client.
    #[error("websocket error")]
    Unopened,
    /// The session did not open within [`client::Config::open_timeout`](crate::client::Config::open_timeout). Only at a
    /// client.
    #[error("the session did not open in time")]
    OpenTimeout,
    /// The orderly close took longer than `close_timeout`, and messages were not written.
    #[error("the session did not close in time")]
    CloseTimeout,
    /// The first packet of the server is not a valid open packet. Only at a client.
    #[error("server error: invalid handshake")]
    InvalidHandshake,
    /// The server sent data that is not a packet. Only at a client.
    #[error("server error: invalid packet")]
    InvalidPacket,
}

impl CloseReason {
    /// Returns the name of the reason in the reference implementation.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TransportClose | Self::TransportLost => "transport close",
            Self::TransportError(_) => "transport error",
            Self::ParseError => "parse error",
            Self::PingTimeout => "ping timeout",
            Self::ForcedClose => "forced close",
        }
    }
}

impl core::error::Error for CloseReason {}

/// The name of the reason in the reference implementation, followed by details, if there are any.
impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TransportError(error) => write!(f, "{}: {error}", self.as_str()),
            Self::TransportLost => write!(f, "{}: the connection was lost", self.as_str()),
            _ => f.write_str(self.as_str()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn reasons_have_the_names_of_the_reference() {
        let reason = CloseReason::TransportError(TransportError::PollOverlap);
        assert_eq!(reason.as_str(), "transport error");
        assert_eq!(reason.to_string(), "transport error: overlap from client");
        assert_eq!(CloseReason::ForcedClose.to_string(), "forced close");
        let lost = CloseReason::TransportLost;
        assert_eq!(
            (lost.as_str(), &*lost.to_string()),
            ("transport close", "transport close: the connection was lost")
        );
    }
}
