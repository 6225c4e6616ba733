//! Everything that can happen to a session, as letters. A sequence of letters is a run.

use engineio_proto::ChannelEnd;

/// A packet that a client sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Word {
    /// The next message: text and bytes in turn.
    Message,
    /// `3`
    Pong,
    /// `2probe`
    Probe,
    /// `5`
    Upgrade,
    /// `1`
    Close,
    /// Not a packet.
    Junk,
}

/// One thing that happens. The letters about requests mean the one of their kind that is under way or else the latest,
/// those about frames the latest channel, even when the session is over with them already: a driver may be late.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// A GET arrives.
    Get,
    /// The client left the GET that is held, or the latest of those whose answers are not written.
    GetLost,
    /// The same of the oldest of several answers that are not written.
    OldestLost,
    /// The oldest answer that is not written is written.
    AnswerWritten,
    /// The same of the latest one, when there are several.
    LatestWritten,
    /// The head of a POST arrives.
    Head,
    /// The head of a POST with binary content arrives.
    OctetHead,
    /// The body of the POST arrives.
    Body(&'static [Word]),
    /// The body of the POST is too large.
    BodyTooLarge,
    /// The client left the latest POST.
    PostLost,
    /// A second transport opens: as a probe, or as one too many.
    Open,
    /// A frame arrives on the session's channel.
    Frame(Word),
    /// A frame arrives on a channel that never was this session's.
    StrayFrame,
    /// The channel has written all that was pulled, and claims to have written more.
    ChannelWritten,
    /// The channel has written one more message, of several.
    MessageWritten,
    /// A connection that took no more takes more again.
    Unblocked,
    /// The channel is gone.
    Gone(ChannelEnd),
    /// The application sends: text and bytes in turn.
    Send,
    /// The application sends two messages that stay together.
    SendBoth,
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
    /// The next frame is pulled from the channel.
    Pull,
    /// Time passes, but not as long as the session wants to sleep; it is woken all the same.
    Wait,
    /// Time passes until the session wants to be woken.
    Tick,
    /// The host stands still until after that time, by more than timers are late. Then the session is woken.
    Late,
}

/// Everything that can happen. Not everything makes a difference everywhere: see `World::letters`.
pub const EVERYTHING: &[Op] = &[
    Op::Get,
    Op::GetLost,
    Op::OldestLost,
    Op::AnswerWritten,
    Op::LatestWritten,
    Op::Head,
    Op::OctetHead,
    Op::Body(&[Word::Message]),
    Op::Body(&[Word::Message, Word::Message]),
    Op::Body(&[Word::Message, Word::Junk, Word::Message]),
    Op::Body(&[Word::Pong]),
    Op::Body(&[Word::Close, Word::Message]),
    Op::BodyTooLarge,
    Op::PostLost,
    Op::Open,
    Op::Frame(Word::Probe),
    Op::Frame(Word::Upgrade),
    Op::Frame(Word::Message),
    Op::Frame(Word::Pong),
    Op::Frame(Word::Close),
    Op::Frame(Word::Junk),
    Op::StrayFrame,
    Op::ChannelWritten,
    Op::MessageWritten,
    Op::Unblocked,
    Op::Gone(ChannelEnd::Closed),
    Op::Gone(ChannelEnd::TooLarge),
    Op::Send,
    Op::SendBoth,
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
];
