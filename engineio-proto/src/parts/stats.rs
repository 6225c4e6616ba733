//! What a session counts.

/// Totals of one session since it began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Messages received and put up for the application.
    pub messages_received: u64,
    /// Bytes of data in them.
    pub bytes_received: u64,
    /// Messages taken from the application.
    pub messages_accepted: u64,
    /// Messages handed to a transport.
    pub messages_sent: u64,
    /// Messages that the embedder reported as written: by a server's session to the connection, by a client also those
    /// in POSTs that were answered.
    pub messages_written: u64,
    /// Bytes of data in them.
    pub bytes_sent: u64,
    /// Heartbeats handed to a transport: of a server pings, of a client pongs.
    pub heartbeats_sent: u32,
    /// Heartbeats received: by a server pongs, by a client pings.
    pub heartbeats_received: u32,
}
