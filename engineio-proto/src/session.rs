//! One session: the inputs of its transports and its application, and its outputs.
//!
//! Each decision is in the file of its subject: `poll` and `post` (HTTP), `probe` (an upgrade), `frames` (what leaves
//! on a channel), `incoming` (packets, and how a slow application slows its client), `closing`. The states and their
//! transitions are data, in `state`. The plumbing of both sides is in `parts::flow`.
//!
//! Every call ends with `settle`, which brings the session to its fixed point: it decodes what has room,
//! answers the poll that can be answered, ends the session if it is due, and announces what has changed. So no other
//! function needs to know what follows from a change.

mod closing;
pub(crate) mod event;
mod frames;
mod incoming;
mod laws;
mod poll;
mod post;
mod probe;
pub(crate) mod state;

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::config::{Config, Overflow};
use crate::parts::buffer::Room;
use crate::parts::event::{ChannelId, CloseReason, ExchangeId, TransportError};
use crate::parts::flow::Flow;
use crate::parts::heartbeat::pinger::{Due, Pinger};
use crate::parts::phase::Phase;
use crate::parts::send::SendError;
use crate::parts::sid::Sid;
use crate::parts::time::Instant;
use crate::parts::transport::TransportKind;
use crate::parts::wait::{Deadline, Situation, at_least, earliest};
use crate::session::event::{Input, Output};
use crate::surface::{Step, surface};
use crate::wire::codec::Codec;
use crate::wire::message::Message;

use frames::Line;
use post::Post;
use probe::Probe;
use state::{State, Trigger};

surface!(Session, Output);

/// The server's side of one session.
///
/// Create one with [`Session::polling`] or [`Session::channel`]; report what arrives with [`Session::handle_input`],
/// and the time with [`Session::next_timeout`] and [`Session::handle_timeout`]; carry out the outputs of
/// [`Session::poll_output`]. The application uses [`send`](Session::send), [`recv`](Session::recv) and
/// [`close`](Session::close).
///
/// A `now` that is earlier than a previous one counts as the latest. Redundant calls change nothing.
///
/// [`Server`](crate::Server) keeps many sessions; an embedder with its own map uses them directly:
///
/// ```
/// use std::sync::Arc;
/// use engineio_proto::server::{Config, Input, Output};
/// use engineio_proto::wire::Frame;
/// use engineio_proto::{ChannelId, Instant, SendError, Session, Sid};
///
/// let now = Instant::ZERO;
/// let sid = Sid::from_entropy([1; 15]);
/// let mut session = Session::channel(now, sid, Arc::new(Config::default()), ChannelId(1), false);
///
/// assert_eq!(session.poll_output(), Some(Output::ChannelReady { channel: ChannelId(1) }));
/// assert!(session.next_frame(now, ChannelId(1)).is_some()); // the open packet
///
/// let frame = Frame::received("4hello".into());
/// session.handle_input(now, Input::ChannelFrame { channel: ChannelId(1), frame });
/// let message = session.recv(now).unwrap();
/// session.send(message)?;
/// assert_eq!(session.next_frame(now, ChannelId(1)), Some(Frame::Text { head: "4", data: "hello".into() }));
/// # Ok::<(), SendError>(())
/// ```
// In this order, a message on a channel touches less memory: nothing between the fields that it needs belongs to polling.
#[derive(Clone, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Session {
    stage: Stage,
    /// The deadline of the orderly close, if the application has closed the session.
    closing: Option<Deadline>,
    pinger: Pinger,

    config: Arc<Config>,
    /// The latest time of any call.
    now: Instant,
    /// The wire form of the packets.
    codec: Codec,
    greeting: Greeting,
    /// The transport of the session. After the end, the last one.
    transport: TransportKind,
    upgraded: bool,
    post: Post,
    flow: Flow<Output>,

    /// The GET that is held.
    get: Option<ExchangeId>,
    sid: Sid,
}

/// Where the packets of the session travel, with the data that exists only there.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Stage {
    /// With the deadline for the first request that names the session, until it comes.
    Polling(Option<Deadline>),
    Probing(Box<Probe>),
    Probed(Box<Probe>),
    Channel(Line),
    Closed {
        /// The channel that the session was on, if it was on one.
        last: Option<ChannelId>,
    },
}

/// What must be sent before any message. It is never queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Greeting {
    /// The open packet.
    open: bool,
    /// The initial message of the configuration.
    initial: bool,
}

impl Greeting {
    /// Nothing more must be sent.
    const SENT: Self = Self { open: false, initial: false };
}

impl Session {
    /// Creates a session that starts on polling. Its first input should be the GET of the handshake.
    pub fn polling(now: Instant, sid: Sid, config: Arc<Config>) -> Self {
        let unconfirmed = Deadline::new(now + at_least(config.confirm_timeout));
        Self::new(now, sid, config, Stage::Polling(Some(unconfirmed)), TransportKind::Polling)
    }

    /// Creates a session that starts on a channel, which is open or will be. `base64`: the peer cannot receive binary
    /// data.
    pub fn channel(now: Instant, sid: Sid, config: Arc<Config>, channel: ChannelId, base64: bool) -> Self {
        let stage = Stage::Channel(Line::new(channel, Codec::V4.with_base64(base64)));
        let mut session = Self::new(now, sid, config, stage, TransportKind::WebSocket);
        session.settle();
        session
    }

    fn new(now: Instant, sid: Sid, config: Arc<Config>, stage: Stage, transport: TransportKind) -> Self {
        Self {
            stage,
            closing: None,
            pinger: Pinger::new(now, config.times()),
            greeting: Greeting { open: true, initial: config.initial_message.is_some() },
            config,
            now,
            codec: Codec::V4,
            transport,
            upgraded: false,
            post: Post::Free,
            flow: Flow::new(),
            get: None,
            sid,
        }
    }

    // The transports.

    /// Reports what a transport did.
    pub fn handle_input(&mut self, now: Instant, input: Input) {
        self.advance(now);
        let names_it = match input {
            // The GET of the handshake does not.
            Input::Poll { .. } => !self.greeting.open,
            Input::PostHead { .. } | Input::ChannelOpened { .. } => true,
            _ => false,
        };
        if let (true, Stage::Polling(unconfirmed)) = (names_it, &mut self.stage) {
            *unconfirmed = None;
        }
        match input {
            Input::Poll { exchange } => self.poll(exchange),
            Input::PostHead { exchange, octet_stream } => {
                self.post_head(exchange, octet_stream);
                return self.settle_after(Step::Announced);
            }
            Input::PostBody { exchange, body } => self.post_body(exchange, body),
            Input::AnswerWritten { exchange } => {
                self.answer_written(exchange);
                return self.settle_after(Step::Written);
            }
            Input::ExchangeLost { exchange } => self.exchange_lost(exchange),
            Input::ChannelOpened { channel, base64 } => self.channel_opened(channel, base64),
            Input::ChannelFrame { channel, frame } => return self.channel_frames(now, channel, [frame]),
            Input::ChannelWritten { channel, messages } => return self.channel_written(now, channel, messages),
            Input::ChannelClosed { channel, end } => self.channel_closed(channel, end),
            Input::Unblocked => self.unblocked(),
        }
        self.settle();
    }

    // Time.

    /// Returns whether [`send`](Session::send), [`recv`](Session::recv), [`next_frame`](Session::next_frame) and
    /// [`channel_written`](Session::channel_written) depend on the time. If not, an embedder need not read its clock for
    /// them: any `now` will do.
    ///
    /// They do not while messages stream through a channel, nor on polling while no GET is held: nothing waits to be
    /// decoded, and no ping waits to be handed over. Unless one of these calls then leaves an output, neither the phase nor
    /// the deadline has changed.
    #[inline]
    pub fn needs_time(&self) -> bool {
        let rests = self.is_resting() && !self.is_asked();
        !(rests || self.is_streaming()) || self.owes_ping()
    }

    /// Returns when [`Session::handle_timeout`] should be called next.
    pub fn next_timeout(&self) -> Option<Instant> {
        let mut next = self.pinger.timeout();
        if let Some(closing) = self.closing {
            next = earliest(next, closing.at());
        }
        if let Some(deadline) = self.post.deadline() {
            next = earliest(next, deadline);
        }
        match &self.stage {
            Stage::Channel(_) | Stage::Closed { .. } | Stage::Polling(None) => next,
            // A session that is closing has another deadline.
            Stage::Polling(Some(_)) if self.closing.is_some() => next,
            Stage::Polling(Some(unconfirmed)) => earliest(next, unconfirmed.at()),
            Stage::Probed(probe) if self.get.is_some() => earliest(next, probe.deadline().min(probe.release_at())),
            Stage::Probing(probe) | Stage::Probed(probe) => earliest(next, probe.deadline()),
        }
    }

    /// Does what is due at `now`, if anything is.
    ///
    /// If `now` is more than 10 ms after a deadline for the client, the host stood still, and what the client sent meanwhile
    /// was not read yet. The deadline is then put off, once, by a quarter of its time, at most 5 s.
    pub fn handle_timeout(&mut self, now: Instant) {
        let now = self.advance(now);
        let time = self.config.close_timeout;
        if self.closing.as_mut().is_some_and(|deadline| deadline.is_over(now, time)) {
            self.finish(CloseReason::TransportError(TransportError::CloseTimeout));
        }
        self.post_timeout();
        self.heartbeat_timeout();
        let time = self.config.upgrade_timeout;
        if self.probe_mut().is_some_and(|probe| probe.is_over(now, time)) {
            self.fail_probe(true);
        }
        self.confirm_timeout();
        self.settle();
    }

    /// Ends a session on polling whose client has shown nothing but its handshake. A client that has not received the
    /// answer to the handshake yet cannot know the id.
    fn confirm_timeout(&mut self) {
        let (now, time) = (self.now, self.config.confirm_timeout);
        let Stage::Polling(Some(deadline)) = &mut self.stage else { return };
        if self.closing.is_some() || !deadline.is_over(now, time) {
            return;
        }
        if self.flow.outbox.has_answers() {
            *deadline = Deadline::new(now + at_least(time));
        } else {
            self.finish(CloseReason::TransportError(TransportError::Unconfirmed));
        }
    }

    /// Returns whether the client has shown nothing but its handshake: the session is on polling, and no further request
    /// has named it. See [`Config::confirm_timeout`](crate::server::Config::confirm_timeout).
    pub fn is_unconfirmed(&self) -> bool {
        self.unconfirmed().is_some()
    }

    const fn unconfirmed(&self) -> Option<Deadline> {
        match self.stage {
            Stage::Polling(deadline) => deadline,
            _ => None,
        }
    }

    /// Ends a session because the server is full and another client needs its place. The session should be
    /// [unconfirmed](Session::is_unconfirmed).
    pub fn evict(&mut self, now: Instant) {
        self.advance(now);
        self.finish(CloseReason::TransportError(TransportError::Unconfirmed));
        self.settle();
    }

    fn heartbeat_timeout(&mut self) {
        let situation = Situation {
            paused: self.reading_paused(),
            waiting: !self.flow.outbox.is_written(),
            receiving: matches!(self.post, Post::Receiving { .. }),
        };
        if let Due::Dead { slow } = self.pinger.handle_timeout(self.now, self.config.times(), situation) {
            // On a channel, or with a full buffer, the true reason is that the client does not read. A client that does
            // not poll is silent like any other.
            let slow = slow && (self.state() == State::Channel || self.flow.outbox.is_full());
            self.finish(if slow {
                CloseReason::TransportError(TransportError::SlowConsumer)
            } else {
                CloseReason::PingTimeout
            });
        }
    }

    /// Whether a ping is to be handed over. A closing session sends none.
    fn owes_ping(&self) -> bool {
        self.closing.is_none() && self.pinger.owes_ping()
    }

    /// Hands the ping over, if one is owed.
    fn take_ping(&mut self) -> bool {
        let taken = self.owes_ping() && self.pinger.take_ping(self.now, self.config.times());
        if taken {
            self.flow.count_heartbeat_sent();
        }
        taken
    }

    // The application.

    /// Sends a message. It waits in the send buffer until the transport takes it.
    ///
    /// # Errors
    /// Returns the message if the buffer is full; if the session has ended; or if it is text with 0x1E while the
    /// session is on polling.
    pub fn send(&mut self, message: impl Into<Message>) -> Result<(), SendError> {
        let message = message.into();
        let accepted = match self.may_send(core::slice::from_ref(&message)) {
            Ok(()) => {
                self.flow.outbox.accept(message);
                Ok(())
            }
            Err(refusal) => Err(refusal(message)),
        };
        self.settle_after(Step::Accepted);
        accepted
    }

    /// Sends several messages together: no other message comes between them, and either all are accepted or none. An
    /// empty list is accepted by every session that is open.
    ///
    /// # Errors
    /// Returns all messages, for the reasons of [`Session::send`], or if together they exceed the limit.
    pub fn send_all(&mut self, messages: Vec<Message>) -> Result<(), SendError<Vec<Message>>> {
        let accepted = match self.may_send(&messages) {
            Ok(()) => {
                self.flow.accept(messages);
                Ok(())
            }
            Err(refusal) => Err(refusal(messages)),
        };
        self.settle_after(Step::Accepted);
        accepted
    }

    /// Returns whether messages are accepted at all.
    fn accepts_messages(&self) -> bool {
        self.phase() == Phase::Open
    }

    /// Returns whether these messages are accepted, or why not.
    fn may_send<T>(&mut self, messages: &[Message]) -> Result<(), fn(T) -> SendError<T>> {
        if !self.accepts_messages() {
            return Err(SendError::Closed);
        }
        if self.state() != State::Channel && !messages.iter().all(|message| self.codec.fits_payload(message)) {
            return Err(SendError::Separator);
        }
        match self.flow.room_for(messages, self.config.limits()) {
            Room::Enough => Ok(()),
            Room::Never => Err(SendError::TooLarge),
            Room::Later if self.config.overflow == Overflow::Close => {
                self.finish(CloseReason::TransportError(TransportError::SlowConsumer));
                Err(SendError::Closed)
            }
            Room::Later => Err(SendError::Full),
        }
    }

    // What can be looked at.

    /// Returns the id of the session.
    pub fn sid(&self) -> &Sid {
        &self.sid
    }

    /// Returns where the packets travel.
    pub fn state(&self) -> State {
        match self.stage {
            Stage::Polling(_) => State::Polling,
            Stage::Probing(_) => State::Probing,
            Stage::Probed(_) => State::Probed,
            Stage::Channel(_) => State::Channel,
            Stage::Closed { .. } => State::Closed,
        }
    }

    /// Returns the phase of the session.
    pub fn phase(&self) -> Phase {
        match (&self.stage, self.closing) {
            (Stage::Closed { .. }, _) => Phase::Closed,
            (_, Some(_)) => Phase::Closing,
            (_, None) => Phase::Open,
        }
    }

    /// Returns the channel of the session, or the one that probes.
    pub fn current_channel(&self) -> Option<ChannelId> {
        match &self.stage {
            Stage::Probing(probe) | Stage::Probed(probe) => Some(probe.channel()),
            Stage::Channel(line) => Some(line.channel()),
            Stage::Polling(_) | Stage::Closed { .. } => None,
        }
    }

    /// Returns whether the heartbeat depends on what is written: while a ping is owed or not answered.
    fn heartbeat_wants_written(&self) -> bool {
        self.pinger.is_pinged()
    }

    // The machine.

    /// Returns whether the session is on polling and open, nothing waits to be decoded, and the application waits for
    /// nothing that has come.
    #[inline]
    fn is_resting(&self) -> bool {
        let waits = || self.flow.inbox.has_undecoded() || self.flow.outbox.is_due();
        matches!(self.stage, Stage::Polling(_)) && self.closing.is_none() && !waits()
    }

    /// Returns whether a GET waits for something to send.
    #[inline]
    const fn is_asked(&self) -> bool {
        self.get.is_some()
    }

    /// Brings the session to its fixed point: the first step of `settle`.
    fn converge(&mut self) {
        loop {
            self.pump();
            self.answer_poll();
            if !self.conclude() {
                break;
            }
        }
        if self.reading_paused() {
            self.pinger.pause();
        }
    }
}

#[cfg(test)]
mod tests;
