//! What an application is told, and why sessions end.

use core::fmt;

use crate::parts::transport::TransportKind;

/// An HTTP request that waits for its answer, by number: a server's embedder gives them, a client gives them itself.
/// Numbers are not used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ExchangeId(pub u64);

/// A message channel (a WebSocket), by number: a server's embedder gives them, a client gives them itself. Numbers are
/// not used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChannelId(pub u64);

/// How a channel ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ChannelEnd {
    /// The peer closed it, in whatever way.
    Closed,
    /// The connection was lost, without a word of the peer.
    Lost,
    /// It could not be opened. Only a client hears this.
    Unopened,
    /// The peer broke the rules of the channel.
    Violation,
    /// The peer sent a message above the limit.
    TooLarge,
}

/// What the application is told, of a server's session or of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// Of a client: the server has opened the session.
    Opened,
    /// There are messages; take them with [`Session::recv`](crate::Session::recv), or
    /// [`Client::recv`](crate::Client::recv), until there are none.
    Readable,
    /// After a message was refused as too much: there is room again.
    Writable,
    /// The messages that were waited for are written: see [`Session::poll_written`](crate::Session::poll_written).
    Written,
    /// Packets are handed to the transport.
    Flush {
        /// How many.
        packets: usize,
    },
    /// The transport took the packets of the last [`Event::Flush`].
    Drain,
    /// A probe was answered: the client is about to change to this transport.
    Upgrading(TransportKind),
    /// The session changed to this transport.
    Upgraded(TransportKind),
    /// Of a client: the session stays on polling.
    UpgradeFailed(UpgradeError),
    /// A pong arrived; at a client, a ping. Many that arrive together are told once.
    Heartbeat,
    /// The session is over, but messages that arrived before are still there to be taken; [`Event::Closed`] follows when
    /// they were. Whoever waits to send need not wait any longer.
    Ended(CloseReason),
    /// The session is over. The last event, exactly once, after all messages were taken.
    Closed(CloseReason),
}

/// Why a client did not change its transport. The session goes on by polling.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum UpgradeError {
    /// The other transport could not be opened, or closed before the change.
    #[error("probe error: the transport closed")]
    TransportClosed,
    /// The first packet on it was not the answer to the probe.
    #[error("probe error: unexpected packet")]
    UnexpectedPacket,
    /// It took longer than [`client::Config::upgrade_timeout`](crate::client::Config::upgrade_timeout).
    #[error("probe error: timeout")]
    Timeout,
    /// The session was closed meanwhile.
    #[error("probe error: socket closed")]
    SessionClosed,
}

/// Why a session ended, as its own side sees it.
///
/// The reference knows five reasons ([`CloseReason::as_str`]); the variants say what lies behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CloseReason {
    /// The other side closed the session. `transport close`
    ///
    /// At a server this is also said of a client whose channel went away without a word.
    TransportClose,
    /// At a client: the channel went away, and nobody had closed it. On both sides: the transport went away while the
    /// session was closing in order, and messages were not written. `transport close`
    TransportLost,
    /// Something went wrong with the transport. `transport error`
    TransportError(TransportError),
    /// The client sent something that is not a packet. `parse error`
    ParseError,
    /// The client did not answer a ping; at a client, the server did not send one in time. `ping timeout`
    PingTimeout,
    /// The application closed the session. `forced close`
    ForcedClose,
}

/// Why a request of a client has no answer that helps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// It was answered with this status.
    #[error("the answer has status {0}")]
    Status(u16),
    /// There is no connection to the server. The request did not leave.
    #[error("the server cannot be reached")]
    Unreachable,
    /// The connection was lost. The request may have arrived.
    #[error("the connection was lost")]
    Lost,
    /// The answer did not arrive in time.
    #[error("the answer did not arrive in time")]
    Timeout,
    /// The answer is larger than [`client::Config::max_payload`](crate::client::Config::max_payload).
    #[error("the answer is larger than the limit")]
    TooLarge,
}

/// What went wrong with a transport.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum TransportError {
    /// The client left while its GET was held.
    #[error("poll connection closed prematurely")]
    PollLost,
    /// The client left before its POST was complete, or answered.
    #[error("data request connection closed prematurely")]
    PostLost,
    /// The client sent a GET while one was held.
    #[error("overlap from client")]
    PollOverlap,
    /// The client sent a POST while one was under way.
    #[error("data request overlap from client")]
    PostOverlap,
    /// The client posted binary, which revision 4 does not have.
    #[error("invalid content")]
    InvalidContent,
    /// The body of a POST was above the limit. Its messages are lost.
    #[error("payload too large")]
    PayloadTooLarge,
    /// The body of a POST did not arrive in time.
    #[error("data request timed out")]
    PostTimeout,
    /// The client sent a ping, which is for the server to send.
    #[error("invalid heartbeat direction")]
    HeartbeatDirection,
    /// The other side broke the rules of the WebSocket protocol.
    #[error("websocket protocol violation")]
    Violation,
    /// A WebSocket message above the limit was sent to us.
    #[error("message too large")]
    MessageTooLarge,
    /// The client takes what is sent to it too slowly, or not at all.
    #[error("client reads too slowly")]
    SlowConsumer,
    /// At a client: a poll failed.
    #[error("poll error: {0}")]
    Poll(RequestError),
    /// At a client: a POST failed. Whether its messages arrived is not known.
    #[error("post error: {0}")]
    Post(RequestError),
    /// At a client: the WebSocket could not be opened.
    #[error("websocket error")]
    Unopened,
    /// At a client: the session did not open within [`client::Config::open_timeout`](crate::client::Config::open_timeout).
    #[error("the session did not open in time")]
    OpenTimeout,
    /// Closing the session in order took longer than its `close_timeout`, and messages were not written.
    #[error("the session did not close in time")]
    CloseTimeout,
    /// At a client: the server did not begin with a valid open packet.
    #[error("server error: invalid handshake")]
    InvalidHandshake,
    /// At a client: the server sent something that is not a packet.
    #[error("server error: invalid packet")]
    InvalidPacket,
}

impl CloseReason {
    /// The reference's name of the reason.
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

/// The reference's name, and the details where there are any.
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
