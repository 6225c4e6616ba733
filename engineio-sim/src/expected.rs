//! What a machine must do, call by call: a second formulation of the rules.
//!
//! The oracle keeps one of these beside every machine, and gives it the same calls. It says what each call returns, which
//! outputs follow, when the machine must be called next, what it counts, and why it ends. So an end is explained by what
//! has reached the machine, at that time; and an end that is missing, or late, is found as well.
//!
//! It shares no code with the machines: it reads the wire with the second decoder, writes it with the second encoder,
//! copies everything, and prefers plain rules to fast ones. Where the rules come from is written beside them in
//! `engineio-proto`, and in `docs/conformance.md`.
//!
//! | module | subject |
//! |---|---|
//! | `session` | the server's side of a session |
//! | `client` | the client's side |
//! | `pulse` | heartbeats: when the next ping is due, and when a silent peer is gone |
//! | `incoming` | packets that were received: decoded as far as there is room |
//! | `outgoing` | messages to send: accepted, handed over, written |
//! | `said` | outputs that must follow, by kind |
//!
//! A new rule belongs to the module of its subject. Outputs of different kinds (answers, events, channels, requests) are
//! compared separately, because their order does not matter to anybody.

mod client;
mod incoming;
mod outgoing;
mod pulse;
mod said;
mod session;

use std::time::Duration;

use engineio_proto::wire::Frame;
use engineio_proto::{
    ChannelId, CloseReason, Instant, Machine, Message, Phase, SendError, Stats, TransportError, TransportKind,
};

pub(crate) use client::Client;
pub(crate) use session::{Options, Session};

/// What both sides have.
pub(crate) trait Expected {
    /// Messages are sent together.
    fn send(&mut self, now: Instant, messages: Vec<Message>) -> Result<(), SendError<Vec<Message>>>;
    /// The application takes a message.
    fn recv(&mut self, now: Instant) -> Option<Message>;
    /// A frame is pulled.
    fn pull(&mut self, now: Instant, channel: ChannelId) -> Option<Frame>;
    /// The application asks whether this many messages are written.
    fn poll_written(&mut self, messages: u64) -> bool;
    /// The application asks whether a message would be accepted.
    fn poll_ready(&mut self) -> bool;
    /// The application closes in order.
    fn close(&mut self, now: Instant);
    /// The application aborts.
    fn abort(&mut self, now: Instant);
    /// The application takes no more messages.
    fn discard(&mut self);
    /// A channel has written messages.
    fn channel_written(&mut self, now: Instant, channel: ChannelId, messages: u64);
    /// A connection takes bytes again.
    fn unblocked(&mut self, now: Instant);
    /// A timer is due.
    fn timeout(&mut self, now: Instant);

    /// What can be looked at.
    fn looks(&self) -> Looks;
}

/// What can be looked at between two calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Looks {
    phase: Phase,
    transport: TransportKind,
    upgraded: bool,
    channel: Option<ChannelId>,
    stats: Stats,
    reason: Option<CloseReason>,
    send_buffered: usize,
    receive_buffered: usize,
    reads: bool,
    wants_written: bool,
    due: Option<Instant>,
}

impl Looks {
    pub(crate) fn of(machine: &dyn Machine) -> Self {
        let channel = machine.current_channel();
        Self {
            phase: machine.phase(),
            transport: machine.transport(),
            upgraded: machine.upgraded(),
            channel,
            stats: machine.stats(),
            reason: machine.close_reason(),
            send_buffered: machine.send_buffered(),
            receive_buffered: machine.receive_buffered(),
            reads: channel.is_some_and(|channel| machine.wants_frames(channel)),
            wants_written: machine.wants_written(),
            due: machine.next_timeout(),
        }
    }

    /// Returns the first difference, for a violation.
    pub(crate) fn difference(&self, expected: &Self) -> Option<String> {
        macro_rules! compare {
            ($($field:ident: $name:literal,)*) => {
                $(if self.$field != expected.$field {
                    return Some(format!("{} {:?}, expected {:?}", $name, self.$field, expected.$field));
                })*
            };
        }
        compare! {
            reason: "has the close reason",
            phase: "has the phase",
            due: "is due at",
            transport: "has the transport",
            upgraded: "is upgraded:",
            channel: "has the channel",
            stats: "counts",
            send_buffered: "has this many bytes to send:",
            receive_buffered: "has received this many bytes:",
            reads: "reads from its channel:",
            wants_written: "wants reports at once:",
        }
        None
    }
}

/// The limits of a session, in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) send: usize,
    pub(crate) send_low: usize,
    pub(crate) receive: usize,
}

/// Returns the reason of an end. A session that was closing in order says whether everything was written.
fn true_reason(cause: CloseReason, closing: bool, is_written: bool) -> CloseReason {
    let lost = [
        CloseReason::TransportClose,
        CloseReason::TransportLost,
        CloseReason::ForcedClose,
        CloseReason::TransportError(TransportError::PollLost),
        CloseReason::TransportError(TransportError::PostLost),
    ];
    match cause {
        cause if !closing => cause,
        _ if is_written => CloseReason::ForcedClose,
        cause if lost.contains(&cause) => CloseReason::TransportLost,
        cause => cause,
    }
}

/// Returns a time as a machine knows it: at least a microsecond.
fn time(millis: u64) -> Duration {
    Duration::from_millis(millis).max(Duration::from_micros(1))
}
