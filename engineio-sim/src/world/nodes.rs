//! The clients and servers of a world, and the two sides of their sessions.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::sync::Arc;

use engineio_proto::app::Peer;
use engineio_proto::client;
use engineio_proto::server::{Config, Output, SessionKey};
use engineio_proto::{Client, CloseReason, ExchangeId, Instant, Machine, Message, Server, Session, TransportError};

use super::core::Outcome;
use super::foreign::Foreign;
use super::returning::Returning;
use super::twin::Twin;
use crate::Settings;
use crate::expected::{self, Expected, Looks};
use crate::op::Node;
use crate::oracle::{Asked, Cost, Events, Flow, Incidents, Law, Written, broken};

/// A client, which opens one session after the other.
#[derive(Debug, Default)]
pub(crate) struct ClientNode {
    pub(crate) attempt: Option<usize>,
    /// Nothing reaches or leaves it.
    pub(crate) silent: bool,
    /// It sleeps until then.
    pub(crate) asleep: Instant,
    /// When its application wants to be called.
    pub(crate) alarm: Option<Instant>,
    pub(crate) clock: Clock,
    /// The number of its next polls that are answered without a message.
    pub(crate) storm: u32,
    /// It reconnects.
    pub(crate) returning: Option<Box<Returning>>,
    /// It is not a client of this project.
    pub(crate) foreign: Option<Box<Foreign>>,
}

#[derive(Debug)]
pub(crate) struct ServerNode {
    pub(crate) machine: Server,
    pub(crate) config: Arc<Config>,
    pub(crate) sessions: BTreeMap<SessionKey, usize>,
    /// How often its timers were called, and its sessions in any way.
    pub(crate) timers: u64,
    pub(crate) calls: u64,
    /// Outputs wait; they are carried out at this time at the latest.
    pub(crate) dirty: Option<Instant>,
    /// Its host stands still until then.
    pub(crate) asleep: Instant,
    /// When its application wants to be called.
    pub(crate) alarm: Option<Instant>,
    pub(crate) clock: Clock,
}

/// The faults of a machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Clock {
    /// No timer fires before that.
    pub(crate) late: Instant,
    /// At the next call, the clock has gone back by this many microseconds.
    pub(crate) back: u64,
}

impl Clock {
    /// Returns the time that a machine is told.
    pub(crate) fn tell(&mut self, now: Instant) -> Instant {
        let told = self.peek(now);
        self.back = 0;
        told
    }

    /// Returns the time that it would be told.
    pub(crate) fn peek(&self, now: Instant) -> Instant {
        Instant::from_micros(now.as_micros().saturating_sub(self.back))
    }
}

/// What both sides of a session have.
#[derive(Debug)]
pub(crate) struct App {
    /// The application reads what arrives.
    pub(crate) reads: bool,
    /// Messages can be taken; they are taken at this time at the latest.
    pub(crate) readable: Option<Instant>,
    /// The application discards messages.
    pub(crate) discards: bool,
    pub(crate) asked: Option<Asked>,
    /// When the application first closed or aborted.
    pub(crate) asked_at: Option<Instant>,
    /// When the application was told of the end.
    pub(crate) ended_at: Option<Instant>,
    /// The messages that it sends.
    pub(crate) sends: Flow,
    /// When it sent the last one.
    pub(crate) sent_at: Instant,
    pub(crate) events: Events,
    /// It was so slow that its machine stopped reading.
    pub(crate) crowded: bool,
    /// The number of messages that it made.
    pub(crate) made: u32,
    /// The number of messages that had left when one was refused because of a full buffer.
    pub(crate) full_at: Option<u64>,
    /// The state of its messages.
    pub(crate) written: Written,
    /// What its machine was asked to do, and what it said.
    pub(crate) cost: Cost,
    /// Its embedder reports nothing before that.
    pub(crate) reports_from: Instant,
    /// The next message on its channel is the initial message.
    pub(crate) greets: bool,
}

impl App {
    fn new(events: Events) -> Self {
        Self {
            reads: true,
            readable: None,
            discards: false,
            asked: None,
            asked_at: None,
            ended_at: None,
            sends: Flow::default(),
            sent_at: Instant::ZERO,
            events,
            crowded: false,
            made: 0,
            full_at: None,
            written: Written::default(),
            cost: Cost::default(),
            reports_from: Instant::ZERO,
            greets: false,
        }
    }
}

/// One session of a client.
#[derive(Debug)]
pub(crate) struct Attempt {
    pub(crate) client: usize,
    pub(crate) server: usize,
    pub(crate) machine: Client,
    pub(crate) twin: Option<Box<Twin<Client, client::Output>>>,
    /// What it must do.
    pub(crate) expected: expected::Client,
    /// Outputs wait; they are carried out at this time at the latest.
    pub(crate) dirty: Option<Instant>,
    /// It tried another transport.
    pub(crate) retried: bool,
    /// Its session at the server, once the client knows it.
    pub(crate) slot: Option<usize>,
    pub(crate) app: App,
    /// What happened to this session, on either side.
    pub(crate) incidents: Incidents,
    /// The time at which the last of it ended.
    pub(crate) troubled_until: Instant,
}

impl Attempt {
    pub(crate) fn is_over(&self) -> bool {
        self.app.events.closed.is_some()
    }

    /// Returns whether nothing ever went wrong with it. A client that aborts, or whose time to close is over, tells its
    /// server only as far as possible without waiting.
    pub(crate) fn is_quiet(&self) -> bool {
        let late = CloseReason::TransportError(TransportError::CloseTimeout);
        let hurries = self.app.asked == Some(Asked::Abort) || self.app.events.closed == Some(late);
        self.incidents.is_empty() && !hurries
    }
}

/// One session at a server.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) server: usize,
    pub(crate) key: SessionKey,
    pub(crate) sid: String,
    pub(crate) attempt: usize,
    pub(crate) twin: Option<Box<Twin<Session, Output>>>,
    /// What it must do.
    pub(crate) expected: expected::Session,
    pub(crate) app: App,
    /// The requests that it has answered or dropped.
    pub(crate) answered: BTreeSet<ExchangeId>,
    /// A ping was sent, and no pong has arrived since.
    pub(crate) pinged: bool,
    /// When it was opened, or when the last pong arrived.
    pub(crate) ponged_at: Instant,
    /// It had to make room for another session, and no longer counts.
    pub(crate) is_evicted: bool,
    /// It ended while the body of a POST was in transit.
    pub(crate) cut_short: bool,
    /// Its server was killed.
    pub(crate) crashed: bool,
}

impl Slot {
    pub(crate) fn is_over(&self) -> bool {
        self.crashed || self.app.events.closed.is_some()
    }
}

impl Attempt {
    /// Compares the client with what is expected of it, after a call.
    pub(crate) fn compare<R: PartialEq + Debug>(&self, result: &R, expected: &R) -> Outcome {
        let states = (self.machine.state(), self.expected.state());
        judge(&self.name(), (&self.machine, &self.expected), (result, expected), &states)
    }

    /// Compares an output with what is expected.
    pub(crate) fn see(&mut self, output: &client::Output) -> Outcome {
        self.app.cost.say();
        self.expected.see(output).or_else(|what| broken(Law::Expected, format!("{} {what}", self.name())))
    }

    /// Everything that is expected was seen.
    pub(crate) fn has_said_everything(&self) -> Outcome {
        self.app.cost.check(&self.name())?;
        has_said_everything(&self.name(), self.expected.missing())
    }

    fn name(&self) -> String {
        format!("client {}", self.client)
    }
}

impl Slot {
    /// Compares the session with what is expected of it, after a call.
    pub(crate) fn compare<R: PartialEq + Debug>(
        &self,
        slot: usize,
        session: &Session,
        result: &R,
        expected: &R,
    ) -> Outcome {
        let states = (session.state(), self.expected.state());
        judge(&format!("session {slot}"), (session, &self.expected), (result, expected), &states)
    }

    /// Compares an output with what is expected.
    pub(crate) fn see(&mut self, slot: usize, output: &Output) -> Outcome {
        self.app.cost.say();
        self.expected.see(output).or_else(|what| broken(Law::Expected, format!("session {slot} {what}")))
    }

    /// Everything that is expected was seen.
    pub(crate) fn has_said_everything(&self, slot: usize) -> Outcome {
        let name = format!("session {slot}");
        self.app.cost.check(&name)?;
        has_said_everything(&name, self.expected.missing())
    }
}

fn judge<R: PartialEq + Debug, S: PartialEq + Debug>(
    name: &str,
    (machine, model): (&dyn Machine, &dyn Expected),
    (result, expected): (&R, &R),
    (state, expected_state): &(S, S),
) -> Outcome {
    if result != expected {
        return broken(Law::Expected, format!("{name} returns {result:?}, expected {expected:?}"));
    }
    if state != expected_state {
        return broken(Law::Expected, format!("{name} is {state:?}, expected {expected_state:?}"));
    }
    match Looks::of(machine).difference(&model.looks()) {
        Some(what) => broken(Law::Expected, format!("{name} {what}")),
        None => Ok(()),
    }
}

fn has_said_everything(name: &str, missing: Option<String>) -> Outcome {
    match missing {
        Some(what) => broken(Law::Expected, format!("{name} does not say {what}")),
        None => Ok(()),
    }
}

/// A call of an application.
#[derive(Debug)]
pub(crate) enum Call {
    /// For one of its sessions.
    Of { node: Node, peer: Peer, what: What },
    /// For its timeout.
    Timeout(Node),
}

#[derive(Debug)]
pub(crate) enum What {
    Open,
    Message(Message),
    Writable,
    Close(CloseReason),
}

impl ServerNode {
    pub(crate) fn new(settings: &Settings) -> Outcome<Self> {
        let config = settings.server();
        let machine = match Server::new(config) {
            Ok(machine) => machine,
            Err(error) => return broken(Law::Settings, format!("the settings make no sense: {error}")),
        };
        let config = Arc::clone(machine.config());
        Ok(Self {
            machine,
            config,
            sessions: BTreeMap::new(),
            timers: 0,
            calls: 0,
            dirty: None,
            asleep: Instant::ZERO,
            alarm: None,
            clock: Clock::default(),
        })
    }
}

impl Attempt {
    pub(crate) fn new(client: usize, server: usize, machine: Client, expected: expected::Client, twin: bool) -> Self {
        let twin = twin.then(|| Box::new(Twin::new(machine.clone(), Client::poll_output)));
        Self {
            client,
            server,
            machine,
            twin,
            expected,
            dirty: None,
            retried: false,
            slot: None,
            app: App::new(Events::client()),
            incidents: Incidents::default(),
            troubled_until: Instant::ZERO,
        }
    }
}

impl Slot {
    pub(crate) fn new(
        server: usize,
        key: SessionKey,
        session: &Session,
        attempt: usize,
        expected: expected::Session,
        (ponged_at, twin): (Instant, bool),
    ) -> Self {
        let twin = twin.then(|| Box::new(Twin::new(session.clone(), Session::poll_output)));
        let sid = session.sid().as_str().to_owned();
        Self {
            server,
            key,
            sid,
            attempt,
            twin,
            expected,
            app: App::new(Events::server()),
            answered: BTreeSet::new(),
            pinged: false,
            ponged_at,
            is_evicted: false,
            cut_short: false,
            crashed: false,
        }
    }
}
