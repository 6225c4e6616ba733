//! Everything that can happen to a client, as letters. A sequence of letters is a run.

use engineio_proto::ChannelEnd;

/// A packet that a server sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Word {
    /// A valid open packet that offers a WebSocket.
    Open,
    /// An open packet that makes no sense.
    BadOpen,
    /// The next message: text and bytes in turn.
    Message,
    /// `2`
    Ping,
    /// `3probe`
    ProbeAnswer,
    /// `6`
    Noop,
    /// `1`
    Close,
    /// Not a packet.
    Junk,
}

/// One thing that happens. The letters about requests mean the one of their kind that is under way or else the latest,
/// those about frames the latest channel, even when the client is over with them already: a driver may be late.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// The GET is answered with these packets.
    Got(&'static [Word]),
    /// The GET is answered with more than the client takes.
    GotTooMuch,
    /// The GET is refused.
    GetRefused,
    /// The connection of the GET is lost.
    GetLost,
    /// The POST is answered as it should be.
    Posted,
    /// The POST is answered with this status.
    PostRefused(u16),
    /// The connection of the POST is lost.
    PostLost,
    /// The channel that was asked for is open.
    Opened,
    /// A frame arrives on the channel.
    Frame(Word),
    /// A frame arrives on a channel that the client never asked for.
    StrayFrame,
    /// The channel has written all that was pulled, and claims to have written more.
    ChannelWritten,
    /// The channel has written one more message, of several.
    MessageWritten,
    /// A connection that took no more takes more again.
    Unblocked,
    /// The channel is gone, or could not be opened.
    Gone(ChannelEnd),
    /// The application sends: text and bytes in turn.
    Send,
    /// The application sends two messages that stay together.
    SendBoth,
    /// The application sends text that is longer than what the server takes.
    SendLong,
    /// The machine sleeps until something is due, and the application sends before any timer is looked at.
    SendLate,
    /// The application waits until all that it sent is written.
    Await,
    /// The application waits until one more message is written, of several.
    AwaitNext,
    /// The application takes a message.
    Recv,
    /// The application closes in order.
    Close,
    /// The application closes at once.
    Abort,
    /// The application wants no more messages.
    Discard,
    /// The next frame is pulled for the channel.
    Pull,
    /// Time passes, but not as long as the client wants to sleep; it is woken all the same.
    Wait,
    /// Time passes until the client wants to be woken.
    Tick,
    /// The host stands still until after that time, by more than timers are late. Then the client is woken.
    Late,
    /// The same, and the application sends before any timer is looked at.
    LateSend,
}

/// Everything that can happen once the session is open. Not everything makes a difference everywhere: see
/// `World::letters`.
pub const EVERYTHING: &[Op] = &[
    Op::Got(&[Word::Noop]),
    Op::Got(&[Word::Message]),
    Op::Got(&[Word::Message, Word::Message]),
    Op::Got(&[Word::Message, Word::Ping]),
    Op::Got(&[Word::Ping]),
    Op::Got(&[Word::Close, Word::Message]),
    Op::Got(&[Word::Message, Word::Junk, Word::Message]),
    Op::Got(&[]),
    Op::Got(&[Word::Open]),
    Op::GotTooMuch,
    Op::GetRefused,
    Op::GetLost,
    Op::Posted,
    Op::PostRefused(400),
    Op::PostRefused(413),
    Op::PostLost,
    Op::Opened,
    Op::Frame(Word::ProbeAnswer),
    Op::Frame(Word::Message),
    Op::Frame(Word::Ping),
    Op::Frame(Word::Noop),
    Op::Frame(Word::Close),
    Op::Frame(Word::Junk),
    Op::StrayFrame,
    Op::ChannelWritten,
    Op::MessageWritten,
    Op::Unblocked,
    Op::Gone(ChannelEnd::Closed),
    Op::Gone(ChannelEnd::Lost),
    Op::Gone(ChannelEnd::Unopened),
    Op::Gone(ChannelEnd::TooLarge),
    Op::Send,
    Op::SendBoth,
    Op::SendLate,
    Op::Await,
    Op::AwaitNext,
    Op::Recv,
    Op::Close,
    Op::Abort,
    Op::Discard,
    Op::Pull,
    Op::Wait,
    Op::Tick,
    Op::Late,
    Op::LateSend,
];

/// What can happen only before, or makes a difference only there.
pub const BEFORE: &[Op] = &[
    Op::Got(&[Word::Open, Word::Message, Word::Ping]),
    Op::Got(&[Word::Open, Word::Ping, Word::Close]),
    Op::Got(&[Word::Open, Word::Junk]),
    Op::Got(&[Word::Message, Word::Open]),
    Op::Got(&[Word::BadOpen]),
    Op::Frame(Word::Open),
    Op::Frame(Word::BadOpen),
    Op::SendLong,
];
