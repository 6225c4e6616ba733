//! One session: what its transports and its application may do to it, and what it asks for.
//!
//! The decisions stand in the files of one subject each: `polling` (GET and POST), `channel` (frames, probe and
//! upgrade), `incoming` (packets, and how a slow application slows its client), `heartbeat`, `closing`. The states
//! and their transitions are data, in `state`.

mod channel;
mod check;
mod closing;
pub(crate) mod event;
mod heartbeat;
mod incoming;
mod polling;
pub(crate) mod state;

use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::config::{Config, Overflow};
use crate::parts::buffer::{Buffer, Room, pop_and_shrink};
use crate::parts::event::{ChannelId, CloseReason, Event, ExchangeId, TransportError};
use crate::parts::phase::Phase;
use crate::parts::send::SendError;
use crate::parts::stats::Stats;
use crate::parts::time::Instant;
use crate::parts::transport::TransportKind;
use crate::server::sid::Sid;
use crate::session::event::{Input, Output};
use crate::wire::frame::Frame;
use crate::wire::message::Message;
use crate::wire::payload::PayloadDecoder;

use channel::Probe;
use heartbeat::{Due, Heartbeat};
use state::{State, Trigger};

/// The server's side of one session.
///
/// Begin one with [`Session::polling`] or [`Session::channel`], tell it what arrives ([`Session::handle_input`]) and
/// what time it is ([`Session::next_timeout`], [`Session::handle_timeout`]), and do what [`Session::poll_output`] asks
/// for. The application's side is [`send`](Session::send), [`recv`](Session::recv) and [`close`](Session::close).
///
/// A `now` that is earlier than one given before counts as the latest. Calls without need change nothing.
///
/// [`Server`](crate::Server) keeps many of these; an embedder with an own map uses them directly:
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
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    config: Arc<Config>,
    sid: Sid,
    /// The latest time that was told.
    now: Instant,

    state: State,
    /// The application closed the session; this is how long it may take.
    closing: Option<Instant>,
    /// Why the session is over, and whether the application was told.
    closed: Option<(CloseReason, bool)>,

    /// The GET that is held.
    get: Option<ExchangeId>,
    /// The last GET that was answered with messages: if its answer is lost, so are they.
    answered: Option<ExchangeId>,
    post: Post,
    /// The channel that probes, or that the session is on.
    channel: Option<ChannelId>,
    probe: Probe,
    base64: bool,
    transport: TransportKind,
    upgraded: bool,

    heartbeat: Heartbeat,
    owed: Owed,
    /// Packets of a POST that wait for the application to take earlier messages.
    backlog: Option<PayloadDecoder>,
    /// Frames that wait for the same, or for the POST that was under way when the session was upgraded.
    held: VecDeque<Frame>,
    inbox: Buffer,
    outbox: Buffer,
    /// How many packets of the last announced flush are still to be pulled from the channel.
    batch: u32,
    /// When the last frame was pulled, if more were waiting behind it.
    pulled: Option<Instant>,

    outputs: VecDeque<Output>,
    told: Told,
    stats: Stats,
}

/// The place for a POST.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Post {
    Free,
    /// Its body is on the way.
    Receiving(ExchangeId),
    /// Its body is in the backlog; its answer waits until the last packet was handled.
    Held(ExchangeId),
}

/// What must be sent before any message. These are never in a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Owed {
    open: bool,
    initial: bool,
    /// How many probes were not answered yet.
    pongs: u32,
}

/// What the embedder was told last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Told {
    /// That there are frames to pull.
    ready: bool,
    /// That it should read from the channel.
    reading: bool,
    /// That there are messages to take.
    readable: bool,
    /// That a pong came, while what waits is being handled.
    heartbeat: bool,
    /// That there is no room; it waits to hear that there is.
    full: bool,
    /// Whether the application wants what arrives at all.
    wanted: bool,
}

/// An output queue that grew beyond this gives its memory back when it is empty.
const KEEP_OUTPUTS: usize = 8;

impl Session {
    /// A session that begins on polling. Its first input should be the GET of the handshake.
    pub fn polling(now: Instant, sid: Sid, config: Arc<Config>) -> Self {
        Self::new(now, sid, config, State::Polling)
    }

    /// A session that begins on a channel, which is, or is about to be, open. `base64`: the peer cannot take binary.
    pub fn channel(now: Instant, sid: Sid, config: Arc<Config>, channel: ChannelId, base64: bool) -> Self {
        let mut session = Self::new(now, sid, config, State::Channel);
        session.channel = Some(channel);
        session.transport = TransportKind::WebSocket;
        session.base64 = base64;
        session.tell_ready();
        session
    }

    fn new(now: Instant, sid: Sid, config: Arc<Config>, state: State) -> Self {
        Self {
            heartbeat: Heartbeat::new(now, &config),
            owed: Owed { open: true, initial: config.initial_message.is_some(), pongs: 0 },
            config,
            sid,
            now,
            state,
            closing: None,
            closed: None,
            get: None,
            answered: None,
            post: Post::Free,
            channel: None,
            probe: Probe::default(),
            base64: false,
            transport: TransportKind::Polling,
            upgraded: false,
            backlog: None,
            held: VecDeque::new(),
            inbox: Buffer::default(),
            outbox: Buffer::default(),
            batch: 0,
            pulled: None,
            outputs: VecDeque::new(),
            told: Told { ready: false, reading: true, readable: false, heartbeat: false, full: false, wanted: true },
            stats: Stats::default(),
        }
    }

    /// Tells the session what a transport did.
    pub fn handle_input(&mut self, now: Instant, input: Input) {
        self.advance(now);
        match input {
            Input::Poll { exchange } => self.poll(exchange),
            Input::PostHead { exchange, octet_stream } => self.post_head(exchange, octet_stream),
            Input::PostBody { exchange, body } => self.post_body(exchange, body),
            Input::ExchangeLost { exchange } => self.exchange_lost(exchange),
            Input::ChannelOpened { channel, base64 } => self.channel_opened(channel, base64),
            Input::ChannelFrame { channel, frame } => self.channel_frame(channel, frame),
            Input::ChannelClosed { channel, end } => self.channel_closed(channel, end),
        }
        self.debug_check();
    }

    /// When [`Session::handle_timeout`] should be called next.
    pub fn next_timeout(&self) -> Option<Instant> {
        let release = (self.state == State::Probed && self.get.is_some()).then_some(self.probe.release_at);
        let probe = self.state.is_probing().then_some(self.probe.deadline);
        [self.heartbeat.timeout(), self.closing, probe, release].into_iter().flatten().min()
    }

    /// Does what is due. Without effect when nothing is.
    pub fn handle_timeout(&mut self, now: Instant) {
        let now = self.advance(now);
        if self.closing.is_some_and(|deadline| deadline <= now) {
            self.finish(CloseReason::ForcedClose);
        }
        let reading_paused = self.reading_paused();
        match self.heartbeat.handle_timeout(now, &self.config, reading_paused, !self.outbox.is_empty()) {
            Due::Nothing => (),
            Due::Ping => self.flush(),
            Due::Dead { slow } => {
                // On a channel, or with a full buffer, the true reason is that it does not read. A client that does not
                // poll is silent like any other.
                let slow = slow && (self.state == State::Channel || self.told.full);
                self.finish(if slow {
                    CloseReason::TransportError(TransportError::SlowConsumer)
                } else {
                    CloseReason::PingTimeout
                });
            }
        }
        if self.state.is_probing() && self.probe.deadline <= now {
            self.fail_probe(true);
        }
        self.answer_poll();
        self.debug_check();
    }

    /// The next thing to do, in order. Pull until there is none.
    pub fn poll_output(&mut self) -> Option<Output> {
        pop_and_shrink(&mut self.outputs, KEEP_OUTPUTS)
    }

    /// Whether [`Session::poll_output`] has something.
    pub fn has_output(&self) -> bool {
        !self.outputs.is_empty()
    }

    /// Whether nothing is left to do: [`Event::Closed`] was pulled, and everything else.
    pub fn is_finished(&self) -> bool {
        matches!(self.closed, Some((_, true))) && self.outputs.is_empty()
    }

    /// Sends a message, or keeps it until the transport takes it.
    ///
    /// # Errors
    /// Gives the message back when there is no room, when the session is over, and when it is text with 0x1E while
    /// the session is on polling.
    pub fn send(&mut self, message: impl Into<Message>) -> Result<(), SendError> {
        let message = message.into();
        if let Err(refusal) = self.may_send(core::slice::from_ref(&message)) {
            return Err(refusal(message));
        }
        self.accept(message);
        self.flush();
        self.debug_check();
        Ok(())
    }

    /// Sends several messages that stay together: no other message comes between them, and none is taken without the
    /// others.
    ///
    /// # Errors
    /// Gives all of them back, for the reasons of [`Session::send`], and when they are too many for the limit.
    pub fn send_all(&mut self, messages: Vec<Message>) -> Result<(), SendError<Vec<Message>>> {
        if let Err(refusal) = self.may_send(&messages) {
            return Err(refusal(messages));
        }
        messages.into_iter().for_each(|message| self.accept(message));
        self.flush();
        self.debug_check();
        Ok(())
    }

    /// Whether these messages are taken, or why not.
    fn may_send<T>(&mut self, messages: &[Message]) -> Result<(), fn(T) -> SendError<T>> {
        if self.phase() != Phase::Open {
            return Err(SendError::Closed);
        }
        if self.state != State::Channel && messages.iter().any(Message::has_separator) {
            return Err(SendError::Separator);
        }
        match self.outbox.room_for(messages, self.config.send_limit) {
            Room::Enough => return Ok(()),
            Room::Never => return Err(SendError::TooLarge),
            Room::Later => (),
        }
        if self.config.overflow == Overflow::Close {
            self.finish(CloseReason::TransportError(TransportError::SlowConsumer));
            self.debug_check();
            return Err(SendError::Closed);
        }
        self.told.full = true;
        Err(SendError::Full)
    }

    fn accept(&mut self, message: Message) {
        self.stats.messages_accepted += 1;
        self.outbox.push(message);
    }

    /// Whether a message would be taken at the moment. When not, and only then, [`Event::Writable`] follows.
    pub fn poll_ready(&mut self) -> bool {
        let ready = self.phase() != Phase::Open || self.outbox.cost() < self.config.send_limit;
        self.told.full |= !ready;
        ready
    }

    /// Takes the next message that arrived. After [`Event::Readable`], take until there is none.
    pub fn recv(&mut self, now: Instant) -> Option<Message> {
        self.advance(now);
        let message = self.inbox.pop();
        if message.is_none() {
            self.told.readable = false;
        }
        self.pump();
        self.debug_check();
        message
    }

    /// The messages that were not handed to a transport. They stay after the end of the session.
    pub fn unsent(&self) -> impl Iterator<Item = &Message> {
        self.outbox.iter()
    }

    /// The id of the session.
    pub fn sid(&self) -> &Sid {
        &self.sid
    }

    /// Where its packets travel.
    pub fn state(&self) -> State {
        self.state
    }

    /// How far it is on its way.
    pub fn phase(&self) -> Phase {
        match (self.state, self.closing) {
            (State::Closed, _) => Phase::Closed,
            (_, Some(_)) => Phase::Closing,
            (_, None) => Phase::Open,
        }
    }

    /// The transport that it is on. After its end, the last one.
    pub fn transport(&self) -> TransportKind {
        self.transport
    }

    /// The channel that it is on, or that probes.
    pub fn current_channel(&self) -> Option<ChannelId> {
        self.channel
    }

    /// Whether it changed its transport.
    pub fn upgraded(&self) -> bool {
        self.upgraded
    }

    /// Why it is over, if it is.
    pub fn close_reason(&self) -> Option<CloseReason> {
        self.closed.map(|(reason, _)| reason)
    }

    /// What was counted so far.
    pub fn stats(&self) -> Stats {
        self.stats
    }

    /// Bytes (see [`Message::cost`]) that wait to be handed to a transport.
    pub fn send_buffered(&self) -> usize {
        self.outbox.cost()
    }

    /// Bytes (see [`Message::cost`]) that wait to be taken by the application.
    pub fn receive_buffered(&self) -> usize {
        self.inbox.cost()
    }

    /// Whether another frame of this channel may be given to the session. Frames that come all the same are kept, but
    /// then it is the embedder who lets memory grow.
    pub fn wants_frames(&self, channel: ChannelId) -> bool {
        self.channel == Some(channel) && self.told.reading
    }

    /// Clamps and keeps the time.
    fn advance(&mut self, now: Instant) -> Instant {
        self.now = self.now.max(now);
        self.now
    }

    /// Moves along the table of transitions; whether there was a row.
    fn shift(&mut self, trigger: Trigger) -> bool {
        let Some(next) = self.state.next(trigger) else { return false };
        #[cfg(feature = "tracing")]
        tracing::trace!(sid = ?self.sid, from = ?self.state, ?trigger, to = ?next);
        self.state = next;
        true
    }

    fn emit(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }

    /// Sends what there is by the transport that there is.
    fn flush(&mut self) {
        if self.state == State::Channel { self.tell_ready() } else { self.answer_poll() }
    }

    /// After messages left: the application may send again.
    fn tell_writable(&mut self) {
        if self.told.full && self.outbox.cost() <= self.config.send_low {
            self.told.full = false;
            self.emit(Event::Writable);
        }
    }
}

#[cfg(test)]
mod tests;
