//! The counters of a session.

/// The counters of one session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Messages that were received and decoded, whether or not the application has taken them.
    pub messages_received: u64,
    /// Bytes of data in the messages received.
    pub bytes_received: u64,
    /// Messages that `send` accepted.
    pub messages_accepted: u64,
    /// Messages that were handed over to a transport: put into an answer or a request, or pulled as a frame. Never more than
    /// `messages_accepted`.
    pub messages_sent: u64,
    /// Messages that are written. The embedder reports this for answers and frames; at a client, the answer to a POST
    /// shows it for the messages in that POST. Never more than `messages_sent`.
    pub messages_written: u64,
    /// Bytes of data in the messages handed over.
    pub bytes_sent: u64,
    /// Heartbeats handed over to a transport: pings at a server, pongs at a client.
    pub heartbeats_sent: u32,
    /// Heartbeats received: pongs at a server, pings at a client.
    pub heartbeats_received: u32,
}
