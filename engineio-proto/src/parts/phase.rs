//! The phases of a session.

/// The phase of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// A client waits for the server to open the session. Messages that it sends wait too.
    Opening,
    /// Messages can be sent and received.
    Open,
    /// The application closed the session; messages that were sent before are still written.
    Closing,
    /// The session has ended.
    Closed,
}
