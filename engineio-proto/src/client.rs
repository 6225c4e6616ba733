//! One client: what its transports and its application may do to it, and what it asks for.
//!
//! The mirror image of a [`Session`](crate::Session). The decisions stand in the files of one subject each: `opening`
//! (the first transport, the open packet), `polling` (the loop of GETs, and what a POST carries), `channel` (frames;
//! the probe, the pause and the switch), `incoming` (packets, and how a slow application slows its server),
//! `heartbeat`, `closing`.
//! The states and their transitions are data, in `state`.

mod channel;
mod check;
mod closing;
pub(crate) mod config;
pub(crate) mod event;
mod heartbeat;
mod incoming;
mod opening;
mod polling;
pub(crate) mod reconnect;
pub(crate) mod state;

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use crate::parts::buffer::{Buffer, Room, pop_and_shrink};
use crate::parts::config::ConfigError;
use crate::parts::event::{ChannelId, CloseReason, Event, ExchangeId, TransportError, UpgradeError};
use crate::parts::phase::Phase;
use crate::parts::send::SendError;
use crate::parts::stats::Stats;
use crate::parts::time::Instant;
use crate::parts::transport::{TransportKind, Transports};
use crate::server::sid::Sid;
use crate::wire::frame::Frame;
use crate::wire::handshake::Opened;
use crate::wire::message::Message;
use crate::wire::payload::PayloadDecoder;

pub use config::{Config, Stamps};
pub use event::{Details, Input, Output, Request};
use heartbeat::Expectation;
pub use reconnect::{Reconnect, ReconnectConfig};
pub use state::{Row, State, TRANSITIONS, Trigger};

/// The client's side of one session.
///
/// It asks for HTTP requests and for channels, and is told what becomes of them. Begin one with [`Client::new`], do
/// what [`Client::poll_output`] asks for, tell what happens ([`Client::handle_input`]) and what time it is
/// ([`Client::next_timeout`], [`Client::handle_timeout`]). The application's side is [`send`](Client::send),
/// [`recv`](Client::recv) and [`close`](Client::close).
///
/// A `now` that is earlier than one given before counts as the latest. Calls without need change nothing. A client is
/// for one session; whoever wants another one makes another client, see [`Reconnect`].
///
/// ```
/// use std::sync::Arc;
/// use engineio_proto::client::{Config, Input, Output};
/// use engineio_proto::{Client, Event, Instant, Message};
///
/// let now = Instant::ZERO; // yours: any monotonic clock
/// let entropy = 7; // yours: any random number
/// let mut client = Client::new(now, Arc::new(Config::default()), entropy)?;
///
/// // The handshake. The embedder sends the request and gives the answer.
/// let Some(Output::Request { exchange, request }) = client.poll_output() else { unreachable!() };
/// assert!(request.target.starts_with("/engine.io/?EIO=4&transport=polling&t="));
/// let body = r#"0{"sid":"abc","upgrades":[],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}"#;
/// client.handle_input(now, Input::Answered { exchange, status: 200, body: body.into() });
/// assert_eq!(client.poll_output(), Some(Output::Event(Event::Opened)));
///
/// // It polls from now on.
/// let Some(Output::Request { exchange: poll, request }) = client.poll_output() else { unreachable!() };
/// assert!(request.body.is_none());
///
/// // A message leaves with a POST.
/// client.send(now, "hello")?;
/// let outputs: Vec<_> = std::iter::from_fn(|| client.poll_output()).collect();
/// let Some(Output::Request { request, .. }) = outputs.last() else { unreachable!() };
/// assert_eq!(request.body.clone().unwrap().into_bytes(), "4hello");
///
/// // And one arrives.
/// client.handle_input(now, Input::Answered { exchange: poll, status: 200, body: "4world".into() });
/// assert_eq!(client.recv(now), Some(Message::from("world")));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    config: Arc<Config>,
    /// The latest time that was told.
    now: Instant,
    /// What the next stamp is made of.
    stamp: u64,
    /// The last number that was given to a request or a channel.
    number: u64,

    state: State,
    /// The transport that it is on, or tries.
    transport: TransportKind,
    /// The transports that did not fail while opening.
    left: Transports,
    websocket_worked: bool,
    upgraded: bool,
    /// What the server said when it opened the session.
    opened: Option<Box<Opened>>,

    /// When the session must be open, if it is not.
    opening: Instant,
    /// When the next ping must have come, if the session is open.
    expectation: Option<Expectation>,
    /// When the upgrade must be done. Counts only while there is one.
    upgrade_by: Instant,
    /// The application closed the session; this is how long it may take.
    closing: Option<Instant>,
    /// Why the session is over, and whether the application was told.
    closed: Option<(CloseReason, bool)>,
    details: Option<Box<Details>>,

    /// The GET that is under way.
    get: Option<ExchangeId>,
    post: Option<Post>,
    /// How many messages were in a POST that was never answered.
    unanswered: usize,
    /// The channel that the client is on, or that it opens or probes.
    channel: Option<ChannelId>,
    owed: Owed,
    /// Packets of an answer that wait for the application to take earlier messages.
    backlog: Option<PayloadDecoder>,
    /// How many packets of that answer were no messages.
    idle_packets: u32,
    /// Frames that wait for the same.
    held: VecDeque<Frame>,
    inbox: Buffer,
    outbox: Buffer,
    /// How many packets of the last announced flush are still to be pulled from the channel.
    batch: usize,

    outputs: VecDeque<Output>,
    told: Told,
    stats: Stats,
}

/// The POST that is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Post {
    exchange: ExchangeId,
    /// How many messages it carries.
    messages: usize,
    /// It carries more than the close packet: that it was flushed was told.
    flushed: bool,
    /// It carries the close packet; after it there is nothing.
    last: bool,
}

/// What must be sent before any message. These are never in a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Owed {
    /// On the channel that is being probed.
    probe: bool,
    /// On the channel that was changed to.
    upgrade: bool,
    /// The answer to a ping.
    pong: bool,
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
    /// That there is no room; it waits to hear that there is.
    full: bool,
    /// Whether the application wants what arrives at all.
    wanted: bool,
}

/// An output queue that grew beyond this gives its memory back when it is empty.
const KEEP_OUTPUTS: usize = 8;

impl Client {
    /// A client that begins at once to open a session. `entropy` should be random; it makes the URLs of its requests
    /// unlike those of others.
    ///
    /// # Errors
    /// When the options do not make sense.
    pub fn new(now: Instant, config: Arc<Config>, entropy: u64) -> Result<Self, ConfigError> {
        config.validate()?;
        let left: Transports = config.transports.iter().copied().collect();
        let transport = config.first_transport(left, config.websocket_worked).ok_or(ConfigError::NoTransport)?;
        let mut client = Self {
            now,
            stamp: entropy,
            number: 0,
            state: State::Opening,
            transport,
            left,
            websocket_worked: config.websocket_worked,
            upgraded: false,
            opened: None,
            opening: now,
            expectation: None,
            upgrade_by: now,
            closing: None,
            closed: None,
            details: None,
            get: None,
            post: None,
            unanswered: 0,
            channel: None,
            owed: Owed { probe: false, upgrade: false, pong: false },
            backlog: None,
            idle_packets: 0,
            held: VecDeque::new(),
            inbox: Buffer::default(),
            outbox: Buffer::default(),
            batch: 0,
            outputs: VecDeque::new(),
            told: Told { ready: false, reading: true, readable: false, full: false, wanted: true },
            stats: Stats::default(),
            config,
        };
        client.open();
        client.debug_check();
        Ok(client)
    }

    /// Tells the client what a transport did.
    pub fn handle_input(&mut self, now: Instant, input: Input) {
        self.advance(now);
        match input {
            Input::Answered { exchange, status, body } => self.answered(exchange, status, body),
            Input::Failed { exchange, error } => self.exchange_failed(exchange, error, None),
            Input::ChannelOpened { channel } => self.channel_opened(channel),
            Input::ChannelFrame { channel, frame } => self.channel_frame(channel, frame),
            Input::ChannelClosed { channel, end, details } => self.channel_closed(channel, end, details),
        }
        self.debug_check();
    }

    /// When [`Client::handle_timeout`] should be called next.
    pub fn next_timeout(&self) -> Option<Instant> {
        let opening = (self.state == State::Opening).then_some(self.opening);
        let upgrade = self.state.is_upgrading().then_some(self.upgrade_by);
        let heartbeat = self.expectation.as_ref().map(Expectation::deadline);
        [opening, upgrade, heartbeat, self.closing].into_iter().flatten().min()
    }

    /// Does what is due. Without effect when nothing is.
    pub fn handle_timeout(&mut self, now: Instant) {
        let now = self.advance(now);
        if self.closing.is_some_and(|deadline| deadline <= now) {
            // Whoever asked for the end gets it, unless messages are lost with it.
            let reason = self.reason_for(CloseReason::TransportError(TransportError::CloseTimeout), 0);
            self.leave(reason);
        }
        self.watch_server();
        if self.state == State::Opening && self.opening <= now {
            self.fail_opening(CloseReason::TransportError(TransportError::OpenTimeout));
        }
        if self.state.is_upgrading() && self.upgrade_by <= now {
            self.fail_probe(UpgradeError::Timeout);
        }
        self.debug_check();
    }

    /// The next thing to do, in order. Pull until there is none.
    pub fn poll_output(&mut self) -> Option<Output> {
        pop_and_shrink(&mut self.outputs, KEEP_OUTPUTS)
    }

    /// Whether [`Client::poll_output`] has something.
    pub fn has_output(&self) -> bool {
        !self.outputs.is_empty()
    }

    /// Whether nothing is left to do: [`Event::Closed`] was pulled, and everything else.
    pub fn is_finished(&self) -> bool {
        matches!(self.closed, Some((_, true))) && self.outputs.is_empty()
    }

    /// Sends a message, or keeps it until the session is open and the transport takes it.
    ///
    /// If the server's time is over already, as after the sleep of a laptop, the session ends instead, and the message
    /// comes back.
    ///
    /// # Errors
    /// Gives the message back when there is no room, when the session is over, when it is text with 0x1E while the
    /// client may be on polling, and when it is larger than what the server takes. (How much that is, is not known
    /// before the session is open. A message that was taken before and is too large then ends the session.)
    pub fn send(&mut self, now: Instant, message: impl Into<Message>) -> Result<(), SendError> {
        let message = message.into();
        if let Err(refusal) = self.may_send(now, core::slice::from_ref(&message)) {
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
    /// Gives all of them back, for the reasons of [`Client::send`], and when they are too many for the limit.
    pub fn send_all(&mut self, now: Instant, messages: Vec<Message>) -> Result<(), SendError<Vec<Message>>> {
        if let Err(refusal) = self.may_send(now, &messages) {
            return Err(refusal(messages));
        }
        messages.into_iter().for_each(|message| self.accept(message));
        self.flush();
        self.debug_check();
        Ok(())
    }

    /// Whether these messages are taken, or why not.
    fn may_send<T>(&mut self, now: Instant, messages: &[Message]) -> Result<(), fn(T) -> SendError<T>> {
        self.advance(now);
        self.watch_server();
        self.debug_check();
        if !matches!(self.phase(), Phase::Opening | Phase::Open) {
            return Err(SendError::Closed);
        }
        if self.may_poll() && messages.iter().any(Message::has_separator) {
            return Err(SendError::Separator);
        }
        let limit = self.max_message();
        if messages.iter().any(|message| self.encoded_len(message) > limit) {
            return Err(SendError::Oversized);
        }
        match self.outbox.room_for(messages, self.config.send_limit) {
            Room::Enough => Ok(()),
            Room::Never => Err(SendError::TooLarge),
            Room::Later => {
                self.told.full = true;
                Err(SendError::Full)
            }
        }
    }

    /// Whether messages may come to travel by polling.
    fn may_poll(&self) -> bool {
        let later = self.state == State::Opening
            && self.config.try_all_transports
            && self.left.contains(TransportKind::Polling);
        self.transport == TransportKind::Polling || later
    }

    /// The longest packet that the server takes, as far as is known.
    fn max_message(&self) -> usize {
        self.opened.as_ref().and_then(|opened| opened.max_payload).unwrap_or(usize::MAX)
    }

    /// The length of a message on the current transport.
    fn encoded_len(&self, message: &Message) -> usize {
        match message {
            Message::Binary(bytes) if self.transport != TransportKind::Polling && !self.config.base64 => bytes.len(),
            message => message.payload_len(),
        }
    }

    fn accept(&mut self, message: Message) {
        self.stats.messages_accepted += 1;
        self.outbox.push(message);
    }

    /// Whether a message would be taken at the moment. When not, and only then, [`Event::Writable`] follows.
    pub fn poll_ready(&mut self) -> bool {
        let ready =
            !matches!(self.phase(), Phase::Opening | Phase::Open) || self.outbox.cost() < self.config.send_limit;
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

    /// The messages that were not handed to a transport. They stay after the end of the session. What a POST carries
    /// that was not answered is not among them: it may have arrived.
    pub fn unsent(&self) -> impl Iterator<Item = &Message> {
        self.outbox.iter()
    }

    /// The id of the session, once it is open.
    pub fn sid(&self) -> Option<&Sid> {
        self.opened.as_ref().map(|opened| &opened.sid)
    }

    /// The transports that the server offered to upgrade to, once the session is open.
    pub fn upgrades(&self) -> Option<Transports> {
        self.opened.as_ref().map(|opened| opened.upgrades)
    }

    /// How often the server pings, once the session is open.
    pub fn ping_interval(&self) -> Option<Duration> {
        self.opened.as_ref().map(|opened| opened.ping_interval)
    }

    /// How long a ping may take, once the session is open.
    pub fn ping_timeout(&self) -> Option<Duration> {
        self.opened.as_ref().map(|opened| opened.ping_timeout)
    }

    /// Bytes of one request body or message that the server takes, if it said so.
    pub fn max_payload(&self) -> Option<usize> {
        self.opened.as_ref().and_then(|opened| opened.max_payload)
    }

    /// The options.
    pub fn config(&self) -> &Arc<Config> {
        &self.config
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
            (State::Opening, None) => Phase::Opening,
            (_, None) => Phase::Open,
        }
    }

    /// The transport that it is on, or with which it tries to open the session. After its end, the last one.
    pub fn transport(&self) -> TransportKind {
        self.transport
    }

    /// The channel that it is on, or that it opens or probes.
    pub fn current_channel(&self) -> Option<ChannelId> {
        self.channel
    }

    /// Whether it changed its transport.
    pub fn upgraded(&self) -> bool {
        self.upgraded
    }

    /// Whether a WebSocket is known to work: a session was opened on one, or a probe was answered on one, and nothing
    /// went wrong since. For [`Config::websocket_worked`] of the next client.
    pub fn websocket_worked(&self) -> bool {
        self.websocket_worked
    }

    /// Why it is over, if it is.
    pub fn close_reason(&self) -> Option<CloseReason> {
        self.closed.map(|(reason, _)| reason)
    }

    /// What the server said when it refused or ended something, if that ended the session.
    pub fn details(&self) -> Option<&Details> {
        self.details.as_deref()
    }

    /// What was counted so far.
    pub fn stats(&self) -> Stats {
        self.stats
    }

    /// How many messages have left for certain, while it is on polling: handed over, and not in a POST without an answer.
    /// What has left on a channel is known to whoever writes to it.
    pub fn messages_posted(&self) -> u64 {
        let under_way = self.post.map_or(self.unanswered, |post| post.messages);
        self.stats.messages_sent.saturating_sub(under_way as u64)
    }

    /// Bytes (see [`Message::cost`]) that wait to be handed to a transport.
    pub fn send_buffered(&self) -> usize {
        self.outbox.cost()
    }

    /// Bytes (see [`Message::cost`]) that wait to be taken by the application.
    pub fn receive_buffered(&self) -> usize {
        self.inbox.cost()
    }

    /// Whether another frame of this channel may be given to the client. Frames that come all the same are kept, but
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
        tracing::trace!(sid = ?self.sid(), from = ?self.state, ?trigger, to = ?next);
        self.state = next;
        true
    }

    fn emit(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }

    /// A number that was not given before.
    fn next_number(&mut self) -> u64 {
        self.number += 1;
        self.number
    }

    /// Sends what there is by the transport that there is.
    fn flush(&mut self) {
        match self.state {
            State::Channel => self.tell_ready(),
            State::Polling | State::Probing => self.post(),
            State::Opening | State::Pausing | State::Closed => (),
        }
    }

    /// Takes the next message out of the send buffer, for good.
    fn take_message(&mut self) -> Option<Message> {
        let message = self.outbox.pop()?;
        self.stats.messages_sent += 1;
        self.stats.bytes_sent += message.len() as u64;
        Some(message)
    }

    /// After messages left: the application may send again.
    fn tell_writable(&mut self) {
        if self.told.full && self.outbox.cost() <= self.config.send_low {
            self.told.full = false;
            self.emit(Event::Writable);
        }
    }
}
