//! One client: what its transports and its application may do to it, and what it asks for.
//!
//! The mirror image of a [`Session`](crate::Session). The decisions stand in the files of one subject each: `opening`
//! (the first transport, the open packet), `request` (what leaves by HTTP, and its numbers and targets), `poll` (the loop of
//! GETs), `post` (what a POST carries), `probe` (the upgrade: probe, pause, switch), `frames` (a channel), `incoming`
//! (packets, and how a slow application slows its server), `closing`. The states and their transitions are data, in
//! `state`. The plumbing is that of both sides: `parts::flow`.
//!
//! Every call ends with `settle`, which brings the client to its fixed point, as in a session.

mod closing;
pub(crate) mod config;
pub(crate) mod event;
mod frames;
mod incoming;
mod laws;
mod opening;
mod poll;
mod post;
mod probe;
pub(crate) mod reconnect;
mod request;
pub(crate) mod state;

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use crate::parts::buffer::Room;
use crate::parts::config::ConfigError;
use crate::parts::event::{ChannelId, CloseReason, ExchangeId, TransportError, UpgradeError};
use crate::parts::flow::Flow;
use crate::parts::heartbeat::listener::Listener;
use crate::parts::phase::Phase;
use crate::parts::send::SendError;
use crate::parts::time::Instant;
use crate::parts::transport::{TransportKind, Transports};
use crate::parts::wait::Situation;
use crate::server::sid::Sid;
use crate::surface::surface;
use crate::wire::codec::Codec;
use crate::wire::handshake::Opened;
use crate::wire::message::Message;

pub use config::{Config, Stamps};
pub use event::{Details, Input, Output, Request};
pub use reconnect::{Reconnect, ReconnectConfig};
pub use state::{Row, State, TRANSITIONS, Trigger};

use frames::Line;
use opening::Opening;
use post::Post;
use probe::{Pause, Probe};
use request::Numbers;

surface!(Client, Output);

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
    /// The latest time that a call brought.
    now: Instant,
    numbers: Numbers,

    stage: Stage,
    /// The transport that it is on, or tries. After its end, the last one.
    transport: TransportKind,
    /// The transports that did not fail while opening.
    left: Transports,
    websocket_worked: bool,
    upgraded: bool,
    /// What the server said when it opened the session.
    opened: Option<Box<Opened>>,
    /// The application closed the session; the deadline of the orderly end.
    closing: Option<Instant>,
    details: Option<Box<Details>>,

    /// The wire form of its packets.
    codec: Codec,
    /// The GET that is under way.
    get: Option<ExchangeId>,
    post: Option<Post>,
    /// A ping is to be answered.
    owes_pong: bool,
    /// While the session is open.
    listener: Option<Listener>,
    flow: Flow<Output>,
}

/// Where the packets of the client travel, with the data that exist only there.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Stage {
    Opening(Opening),
    Polling,
    Probing(Probe),
    Pausing(Pause),
    Channel(Line),
    Closed {
        /// The channel that the session was on, if it was on one.
        last: Option<ChannelId>,
    },
}

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
            numbers: Numbers::new(entropy),
            stage: Stage::Opening(Opening::new(now)),
            transport,
            left,
            websocket_worked: config.websocket_worked,
            upgraded: false,
            opened: None,
            closing: None,
            details: None,
            codec: Codec::V4.with_base64(config.base64),
            get: None,
            post: None,
            owes_pong: false,
            listener: None,
            flow: Flow::new(),
            config,
        };
        client.open();
        client.settle();
        Ok(client)
    }

    // The transports.

    /// Reports what a transport did.
    pub fn handle_input(&mut self, now: Instant, input: Input) {
        self.advance(now);
        match input {
            Input::Answered { exchange, status, body } => self.answered(exchange, status, body),
            Input::Failed { exchange, error } => self.exchange_failed(exchange, error, None),
            Input::ChannelOpened { channel } => self.channel_opened(channel),
            Input::ChannelFrame { channel, frame } => self.channel_frame(channel, frame),
            Input::ChannelWritten { channel, messages } => self.channel_written(channel, messages),
            Input::ChannelClosed { channel, end, details } => self.channel_closed(channel, end, details),
            Input::Unblocked => self.unblocked(),
        }
        self.settle();
    }

    // Time.

    /// When [`Client::handle_timeout`] should be called next.
    pub fn next_timeout(&self) -> Option<Instant> {
        let stage = match &self.stage {
            Stage::Opening(opening) => Some(opening.deadline()),
            _ => self.probe().map(Probe::deadline),
        };
        let heartbeat = self.listener.as_ref().map(Listener::deadline);
        [stage, heartbeat, self.closing, self.next_stalled_poll()].into_iter().flatten().min()
    }

    /// Does what is due. Without effect when nothing is.
    pub fn handle_timeout(&mut self, now: Instant) {
        let now = self.advance(now);
        if self.closing.is_some_and(|deadline| deadline <= now) {
            self.leave(CloseReason::TransportError(TransportError::CloseTimeout));
        }
        self.watch_server();
        if matches!(&self.stage, Stage::Opening(opening) if opening.deadline() <= now) {
            self.fail_opening(CloseReason::TransportError(TransportError::OpenTimeout));
        }
        if self.probe().is_some_and(|probe| probe.deadline() <= now) {
            self.fail_probe(UpgradeError::Timeout);
        }
        self.settle();
    }

    /// Ends the session if the server's time is over.
    fn watch_server(&mut self) {
        let situation =
            Situation { paused: self.reading_paused(), waiting: !self.flow.outbox.is_written(), receiving: false };
        if self.listener.as_mut().is_some_and(|listener| listener.is_over(self.now, situation)) {
            self.leave(CloseReason::PingTimeout);
        }
    }

    // The application.

    /// Sends a message, or keeps it until the session is open and the transport takes it.
    ///
    /// If the server's time is over already, as after the sleep of a laptop, the session ends instead, and the message
    /// comes back.
    ///
    /// # Errors
    /// Gives the message back when there is no room, when the session is over, when it is text with 0x1E while the
    /// client may be on polling, and when it is larger than what the server takes. (How much that is, is not known
    /// before the session is open. A message that was accepted before and is too large then ends the session.)
    pub fn send(&mut self, now: Instant, message: impl Into<Message>) -> Result<(), SendError> {
        let message = message.into();
        let accepted = match self.may_send(now, core::slice::from_ref(&message)) {
            Ok(()) => {
                self.flow.outbox.accept(message);
                Ok(())
            }
            Err(refusal) => Err(refusal(message)),
        };
        self.settle();
        accepted
    }

    /// Sends several messages that stay together: no other message comes between them, and none is accepted without the
    /// others. No messages at all are accepted by every client that is open or opening.
    ///
    /// # Errors
    /// Gives all of them back, for the reasons of [`Client::send`], and when they count for more than the limit.
    pub fn send_all(&mut self, now: Instant, messages: Vec<Message>) -> Result<(), SendError<Vec<Message>>> {
        let accepted = match self.may_send(now, &messages) {
            Ok(()) => {
                self.flow.accept(messages);
                Ok(())
            }
            Err(refusal) => Err(refusal(messages)),
        };
        self.settle();
        accepted
    }

    /// Whether messages are accepted at all.
    fn accepts_messages(&self) -> bool {
        matches!(self.phase(), Phase::Opening | Phase::Open)
    }

    /// Whether these messages are accepted, or why not.
    fn may_send<T>(&mut self, now: Instant, messages: &[Message]) -> Result<(), fn(T) -> SendError<T>> {
        self.advance(now);
        self.watch_server();
        if !self.accepts_messages() {
            return Err(SendError::Closed);
        }
        if self.may_poll() && !messages.iter().all(|message| self.codec.fits_payload(message)) {
            return Err(SendError::Separator);
        }
        let limit = self.max_message();
        if messages.iter().any(|message| self.encoded_len(message) > limit) {
            return Err(SendError::Oversized);
        }
        match self.flow.room_for(messages, self.config.limits()) {
            Room::Enough => Ok(()),
            Room::Never => Err(SendError::TooLarge),
            Room::Later => Err(SendError::Full),
        }
    }

    /// Whether messages may come to travel by polling.
    fn may_poll(&self) -> bool {
        let later = self.state() == State::Opening
            && self.config.try_all_transports
            && self.left.contains(TransportKind::Polling);
        self.transport == TransportKind::Polling || later
    }

    /// The longest packet that the server takes, as far as is known.
    fn max_message(&self) -> usize {
        self.max_payload().unwrap_or(usize::MAX)
    }

    /// The length of a message on the current transport.
    fn encoded_len(&self, message: &Message) -> usize {
        match self.transport {
            TransportKind::Polling => self.codec.message_len(message),
            TransportKind::WebSocket => self.codec.frame_len(message),
        }
    }

    // What can be looked at.

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
        match self.stage {
            Stage::Opening(_) => State::Opening,
            Stage::Polling => State::Polling,
            Stage::Probing(_) => State::Probing,
            Stage::Pausing(_) => State::Pausing,
            Stage::Channel(_) => State::Channel,
            Stage::Closed { .. } => State::Closed,
        }
    }

    /// How far it is on its way.
    pub fn phase(&self) -> Phase {
        match (&self.stage, self.closing) {
            (Stage::Closed { .. }, _) => Phase::Closed,
            (_, Some(_)) => Phase::Closing,
            (Stage::Opening(_), None) => Phase::Opening,
            (_, None) => Phase::Open,
        }
    }

    /// The channel that it is on, or that it opens or probes.
    pub fn current_channel(&self) -> Option<ChannelId> {
        match &self.stage {
            Stage::Opening(opening) => opening.channel(),
            Stage::Probing(_) | Stage::Pausing(_) => self.probe().map(Probe::channel),
            Stage::Channel(line) => Some(line.channel()),
            Stage::Polling | Stage::Closed { .. } => None,
        }
    }

    /// Whether a WebSocket is known to work: a session was opened on one, or a probe was answered on one, and nothing
    /// went wrong since. For [`Config::websocket_worked`] of the next client.
    pub fn websocket_worked(&self) -> bool {
        self.websocket_worked
    }

    /// What the server said when it refused or ended something, if that ended the session.
    pub fn details(&self) -> Option<&Details> {
        self.details.as_deref()
    }

    /// Whether frames that were pulled should be reported as written as soon as they are. If not, the report may wait for
    /// the next input of the channel.
    pub fn wants_written(&self) -> bool {
        let outbox = &self.flow.outbox;
        let urgent = outbox.is_awaited() || self.closing.is_some() || self.reading_paused();
        self.state() == State::Channel && urgent && outbox.written() < outbox.handed_over()
    }

    // The machine.

    /// Brings the client to its fixed point, and announces what has become true. Every call ends here.
    fn settle(&mut self) {
        loop {
            self.pump();
            self.give_up_switch();
            self.try_switch();
            self.post();
            self.poll();
            if !self.conclude() {
                break;
            }
        }
        if self.reading_paused() {
            if let Some(listener) = &mut self.listener {
                listener.pause();
            }
        }
        self.announce();
    }
}
