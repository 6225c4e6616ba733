//! The phases of a session.

/// How far a session is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// A client waits for the server to open the session. Messages that it sends wait too.
    Opening,
    /// Messages go both ways.
    Open,
    /// The application closed the session; what it sent before is still handed over.
    Closing,
    /// The session is over.
    Closed,
}
