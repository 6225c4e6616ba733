//! One client: the inputs of its transports and its application, and its outputs.
//!
//! The counterpart of a [`Session`](crate::Session). Each decision is in the file of its subject: `opening` (the first
//! transport, the open packet), `request` (HTTP requests, their numbers and targets), `poll` (the loop of GETs), `post`
//! (the contents of a POST), `probe` (the upgrade: probe, pause, switch), `frames` (a channel), `incoming` (packets,
//! and how a slow application slows its server), `closing`. The states and their transitions are data, in `state`. The
//! plumbing of both sides is in `parts::flow`.
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
use crate::parts::sid::Sid;
use crate::parts::time::Instant;
use crate::parts::transport::{TransportKind, Transports};
use crate::parts::wait::{Deadline, Situation, earliest};
use crate::surface::{Step, surface};
use crate::wire::codec::Codec;
use crate::wire::handshake::Opened;
use crate::wire::message::Message;

pub use config::{Config, Stamps};
pub use event::{Details, Input, Output, Request};
pub use reconnect::{Reconnect, ReconnectConfig};
pub use state::{Row, State, TRANSITIONS, Trigger};

use frames::Line;
use opening::Opening;
use poll::Pace;
use post::Post;
use probe::{Pause, Probe};
use request::Numbers;

surface!(Client, Output);

/// The client's side of one session.
///
/// It outputs HTTP requests and channels to open, and takes their results as inputs. Create one with [`Client::new`];
/// carry out the outputs of [`Client::poll_output`]; report what happens with [`Client::handle_input`], and the time
/// with [`Client::next_timeout`] and [`Client::handle_timeout`]. The application uses [`send`](Client::send),
/// [`recv`](Client::recv) and [`close`](Client::close).
///
/// A `now` that is earlier than a previous one counts as the latest. Redundant calls change nothing. A client has one
/// session; for another session, create another client, see [`Reconnect`].
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
    /// The latest time of any call.
    now: Instant,
    numbers: Numbers,

    stage: Stage,
    /// The current transport, or the one that is being tried. After the end, the last one.
    transport: TransportKind,
    /// The transports that have not failed while opening.
    left: Transports,
    websocket_worked: bool,
    upgraded: bool,
    /// The open packet of the server.
    opened: Option<Box<Opened>>,
    /// The deadline of the orderly close, if the application has closed the session.
    closing: Option<Deadline>,
    details: Option<Box<Details>>,

    /// The wire form of the packets.
    codec: Codec,
    /// The GET that is under way.
    get: Option<ExchangeId>,
    post: Option<Post>,
    pace: Pace,
    /// A ping has not been answered yet.
    owes_pong: bool,
    /// Present while the session is open.
    listener: Option<Listener>,
    flow: Flow<Output>,
}

/// Where the packets of the client travel, with the data that exists only there.
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
    /// Creates a client, which starts to open a session at once. `entropy` should be random: it makes the URLs of the
    /// client's requests unique.
    ///
    /// # Errors
    /// Returns an error if the options are not valid.
    pub fn new(now: Instant, config: Arc<Config>, entropy: u64) -> Result<Self, ConfigError> {
        config.validate()?;
        let left: Transports = config.transports.iter().copied().collect();
        let transport = config.first_transport(left, config.websocket_worked).ok_or(ConfigError::NoTransport)?;
        let mut client = Self {
            now,
            numbers: Numbers::new(entropy),
            stage: Stage::Opening(Opening::new(Deadline::new(now))),
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
            pace: Pace::new(now),
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
            Input::ChannelFrame { channel, frame } => return self.channel_frames(now, channel, [frame]),
            Input::ChannelWritten { channel, messages } => return self.channel_written(now, channel, messages),
            Input::ChannelClosed { channel, end, details } => self.channel_closed(channel, end, details),
            Input::Unblocked => self.unblocked(),
        }
        self.settle();
    }

    // Time.

    /// Returns when [`Client::handle_timeout`] should be called next.
    pub fn next_timeout(&self) -> Option<Instant> {
        let stage = match &self.stage {
            Stage::Opening(opening) => Some(opening.deadline()),
            _ => self.upgrade_deadline(),
        };
        let mut next = self.listener.as_ref().map(Listener::deadline);
        for deadline in [self.closing.map(Deadline::at), stage, self.next_poll()].into_iter().flatten() {
            next = earliest(next, deadline);
        }
        next
    }

    /// Does what is due at `now`, if anything is.
    ///
    /// If `now` is more than 10 ms after a deadline for the server, the host stood still, and what the server sent meanwhile
    /// was not read yet. The deadline is then put off, once, by a quarter of its time, at most 5 s.
    pub fn handle_timeout(&mut self, now: Instant) {
        let now = self.advance(now);
        let time = self.config.close_timeout;
        if self.closing.as_mut().is_some_and(|deadline| deadline.is_over(now, time)) {
            self.leave(CloseReason::TransportError(TransportError::CloseTimeout));
        }
        self.watch_server();
        let time = self.config.open_timeout;
        let opening = if let Stage::Opening(opening) = &mut self.stage { Some(opening) } else { None };
        if opening.is_some_and(|opening| opening.is_over(now, time)) {
            self.fail_opening(CloseReason::TransportError(TransportError::OpenTimeout));
        }
        if self.is_upgrade_over() {
            self.fail_probe(UpgradeError::Timeout);
        }
        self.poll_timeout();
        self.settle();
    }

    /// Ends the session if the server has been silent for too long.
    fn watch_server(&mut self) {
        let situation =
            Situation { paused: self.reading_paused(), waiting: !self.flow.outbox.is_written(), receiving: false };
        if self.listener.as_mut().is_some_and(|listener| listener.is_over(self.now, situation)) {
            self.leave(CloseReason::PingTimeout);
        }
    }

    /// Returns whether the server may be gone: its deadline was met late, and nothing has arrived since. No message is handed
    /// over then.
    fn is_in_doubt(&self) -> bool {
        self.listener.as_ref().is_some_and(Listener::is_in_doubt)
    }

    // The application.

    /// Sends a message. It waits in the send buffer until the session is open and the transport takes it.
    ///
    /// If the server's deadline has passed, the session ends instead, and the message is returned. If it passed more than
    /// 10 ms ago, for example while a laptop slept, a packet of the server may wait to be read. The message is then kept
    /// until a packet arrives; if none does within a quarter of the server's time, at most 5 s, the session ends, and the
    /// message is [unsent](Client::unsent). A client that did not read, because its application took no messages, does not
    /// wait for that: it gives the server all its time again, and hands the message over.
    ///
    /// # Errors
    /// Returns the message if the buffer is full; if the session has ended; if it is text with 0x1E while the client
    /// may be on polling; or if it is larger than the server accepts. (The server's limit is not known before the
    /// session is open. A message that was accepted before and is too large ends the session.)
    pub fn send(&mut self, now: Instant, message: impl Into<Message>) -> Result<(), SendError> {
        let message = message.into();
        let accepted = match self.may_send(now, core::slice::from_ref(&message)) {
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
    /// empty list is accepted by every client that is opening or open.
    ///
    /// # Errors
    /// Returns all messages, for the reasons of [`Client::send`], or if together they exceed the limit.
    pub fn send_all(&mut self, now: Instant, messages: Vec<Message>) -> Result<(), SendError<Vec<Message>>> {
        let accepted = match self.may_send(now, &messages) {
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
        matches!(self.phase(), Phase::Opening | Phase::Open)
    }

    /// Returns whether these messages are accepted, or why not.
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

    /// Returns whether messages may have to travel by polling.
    fn may_poll(&self) -> bool {
        let later = self.state() == State::Opening
            && self.config.try_all_transports
            && self.left.contains(TransportKind::Polling);
        self.transport == TransportKind::Polling || later
    }

    /// Returns the largest packet that the server accepts, as far as is known.
    fn max_message(&self) -> usize {
        self.max_payload().unwrap_or(usize::MAX)
    }

    /// Returns the length of a message on the current transport.
    fn encoded_len(&self, message: &Message) -> usize {
        match self.transport {
            TransportKind::Polling => self.codec.message_len(message),
            TransportKind::WebSocket => self.codec.frame_len(message),
        }
    }

    // What can be looked at.

    /// Returns the id of the session, once it is open.
    pub fn sid(&self) -> Option<&Sid> {
        self.opened.as_ref().map(|opened| &opened.sid)
    }

    /// Returns the transports that the server offers for an upgrade, once the session is open.
    pub fn upgrades(&self) -> Option<Transports> {
        self.opened.as_ref().map(|opened| opened.upgrades)
    }

    /// Returns the server's ping interval, once the session is open.
    pub fn ping_interval(&self) -> Option<Duration> {
        self.opened.as_ref().map(|opened| opened.ping_interval)
    }

    /// Returns the server's ping timeout, once the session is open.
    pub fn ping_timeout(&self) -> Option<Duration> {
        self.opened.as_ref().map(|opened| opened.ping_timeout)
    }

    /// Returns the maximum size of a request body or a message that the server accepts, in bytes, if it announced one.
    pub fn max_payload(&self) -> Option<usize> {
        self.opened.as_ref().and_then(|opened| opened.max_payload)
    }

    /// Returns the options.
    pub fn config(&self) -> &Arc<Config> {
        &self.config
    }

    /// Returns where the packets travel.
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

    /// Returns the phase of the session.
    pub fn phase(&self) -> Phase {
        match (&self.stage, self.closing) {
            (Stage::Closed { .. }, _) => Phase::Closed,
            (_, Some(_)) => Phase::Closing,
            (Stage::Opening(_), None) => Phase::Opening,
            (_, None) => Phase::Open,
        }
    }

    /// Returns the channel of the session, or the one that it opens or probes.
    pub fn current_channel(&self) -> Option<ChannelId> {
        match &self.stage {
            Stage::Opening(opening) => opening.channel(),
            Stage::Probing(probe) => Some(probe.channel()),
            Stage::Pausing(pause) => Some(pause.channel()),
            Stage::Channel(line) => Some(line.channel()),
            Stage::Polling | Stage::Closed { .. } => None,
        }
    }

    /// Returns whether a WebSocket is known to work: a session was opened on one, or a probe was answered on one, and
    /// no failure followed. Pass this to [`Config::websocket_worked`] of the next client.
    pub fn websocket_worked(&self) -> bool {
        self.websocket_worked
    }

    /// Returns the server's rejection or close frame, if that ended the session, or its first data, if that was not a valid
    /// open packet.
    pub fn details(&self) -> Option<&Details> {
        self.details.as_deref()
    }

    /// Returns whether the heartbeat depends on what is written: while the application is too slow to read pings.
    fn heartbeat_wants_written(&self) -> bool {
        self.reading_paused()
    }

    // The machine.

    /// A client on polling asks for more after every step.
    #[allow(clippy::unused_self)] // A session has an answer.
    const fn is_resting(&self) -> bool {
        false
    }

    #[allow(clippy::unused_self)] // A session has an answer.
    const fn is_asked(&self) -> bool {
        false
    }

    /// Brings the client to its fixed point: the first step of `settle`.
    fn converge(&mut self) {
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
    }
}
