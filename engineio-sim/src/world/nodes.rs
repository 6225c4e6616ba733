//! The clients and servers of a world, and the two sides of their sessions.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use engineio_proto::app::Peer;
use engineio_proto::client;
use engineio_proto::server::{Config, Output, SessionKey};
use engineio_proto::{Client, CloseReason, ExchangeId, Instant, Message, Server, Session, TransportError};

use super::core::Outcome;
use super::twin::Twin;
use crate::Settings;
use crate::op::Node;
use crate::oracle::{Asked, Events, Flow, Incidents, Law, Written, broken};

/// A client, which begins one session after the other.
#[derive(Debug, Default)]
pub(crate) struct ClientNode {
    pub(crate) attempt: Option<usize>,
    /// Nothing comes through.
    pub(crate) silent: bool,
    /// It sleeps until then.
    pub(crate) asleep: Instant,
    /// When its application wants to be called.
    pub(crate) alarm: Option<Instant>,
    pub(crate) clock: Clock,
}

#[derive(Debug)]
pub(crate) struct ServerNode {
    pub(crate) machine: Server,
    pub(crate) config: Arc<Config>,
    pub(crate) sessions: BTreeMap<SessionKey, usize>,
    /// Outputs wait; when they are carried out at the latest.
    pub(crate) dirty: Option<Instant>,
    /// When its application wants to be called.
    pub(crate) alarm: Option<Instant>,
    pub(crate) clock: Clock,
}

/// What is wrong with the clock of a machine.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Clock {
    /// No timer comes before that.
    pub(crate) late: Instant,
    /// At the next call it is back by so many microseconds.
    pub(crate) back: u64,
}

impl Clock {
    /// What a machine is told.
    pub(crate) fn tell(&mut self, now: Instant) -> Instant {
        let told = self.peek(now);
        self.back = 0;
        told
    }

    /// What it would be told.
    pub(crate) fn peek(&self, now: Instant) -> Instant {
        Instant::from_micros(now.as_micros().saturating_sub(self.back))
    }
}

/// What both sides of a session have.
#[derive(Debug)]
pub(crate) struct App {
    /// It reads what arrives.
    pub(crate) reads: bool,
    /// There are messages to take; when that is done at the latest.
    pub(crate) readable: Option<Instant>,
    /// It does not want any.
    pub(crate) discards: bool,
    pub(crate) asked: Option<Asked>,
    /// When it asked first.
    pub(crate) asked_at: Option<Instant>,
    /// When it heard of the end.
    pub(crate) ended_at: Option<Instant>,
    /// Messages that it sends.
    pub(crate) sends: Flow,
    /// When it sent the last one.
    pub(crate) sent_at: Instant,
    pub(crate) events: Events,
    /// It was so slow that its machine stopped to read.
    pub(crate) crowded: bool,
    /// How many messages it made up.
    pub(crate) made: u32,
    /// How many messages had left when one was refused as too much.
    pub(crate) full_at: Option<u64>,
    /// How far its messages got.
    pub(crate) written: Written,
    /// Its embedder reports nothing before that.
    pub(crate) reports_from: Instant,
    /// The next message on its channel is the greeting.
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
    /// Outputs wait; when they are carried out at the latest.
    pub(crate) dirty: Option<Instant>,
    /// It began anew on another transport.
    pub(crate) retried: bool,
    /// Its session at the server, once the client knows.
    pub(crate) slot: Option<usize>,
    pub(crate) app: App,
    /// What happened to this session, on either side.
    pub(crate) incidents: Incidents,
    /// Until when the last of it lasted.
    pub(crate) troubled_until: Instant,
}

impl Attempt {
    pub(crate) fn is_over(&self) -> bool {
        self.app.events.closed.is_some()
    }

    /// Whether nothing ever went wrong with it. A client that aborts, or has no more time to close, tells its server only as
    /// far as it can at once.
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
    pub(crate) app: App,
    /// The requests that it has answered or dropped.
    pub(crate) answered: BTreeSet<ExchangeId>,
    /// A ping was sent, and no pong has come since.
    pub(crate) pinged: bool,
    /// When it was opened, or the last pong came.
    pub(crate) ponged_at: Instant,
    /// It ended while the body of a POST was on its way.
    pub(crate) cut_short: bool,
    /// Its server died.
    pub(crate) crashed: bool,
}

impl Slot {
    pub(crate) fn is_over(&self) -> bool {
        self.crashed || self.app.events.closed.is_some()
    }
}

/// Something to tell an application.
#[derive(Debug)]
pub(crate) enum Call {
    /// Of one of its sessions.
    Of { node: Node, peer: Peer, what: What },
    /// That its time has come.
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
        Ok(Self { machine, config, sessions: BTreeMap::new(), dirty: None, alarm: None, clock: Clock::default() })
    }
}

impl Attempt {
    pub(crate) fn new(client: usize, server: usize, machine: Client, twin: bool) -> Self {
        let twin = twin.then(|| Box::new(Twin::new(machine.clone(), Client::poll_output)));
        Self {
            client,
            server,
            machine,
            twin,
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
            app: App::new(Events::server()),
            answered: BTreeSet::new(),
            pinged: false,
            ponged_at,
            cut_short: false,
            crashed: false,
        }
    }
}
