//! Everything of a world but the applications: machines, network, clock, oracle.

use std::collections::VecDeque;
use std::time::Duration;

use engineio_proto::{Instant, Message, Phase, Session};

use super::net::{Channel, Exchange, Opening, Spoilt, Stage};
use super::nodes::{Call, ClientNode, Life, Seat, ServerNode};
use crate::coverage::Coverage;
use crate::journal::{Journal, Place};
use crate::op::Node;
use crate::oracle::{Incidents, Law, Violation, broken};
use crate::settings::GREETING;
use crate::{Settings, Totals};

pub(crate) type Outcome<T = ()> = Result<T, Violation>;

pub(crate) struct Core {
    pub(crate) settings: Settings,
    pub(crate) now: Instant,
    pub(crate) servers: Vec<ServerNode>,
    pub(crate) clients: Vec<ClientNode>,
    /// Every session that a client began, one after the other.
    pub(crate) lives: Vec<Life>,
    /// Every session that a server opened.
    pub(crate) sessions: Vec<Seat>,
    pub(crate) exchanges: Vec<Exchange>,
    pub(crate) channels: Vec<Channel>,
    pub(crate) journal: Journal,
    pub(crate) coverage: Coverage,
    pub(crate) totals: Totals,
    /// What applications are to be told.
    pub(crate) calls: VecDeque<Call>,
    /// The last number that was given to anything at a server.
    pub(crate) number: u64,
    /// What the largest message counts that was ever sent, in bytes.
    pub(crate) largest: usize,
    /// When an application was called last because its time had come.
    pub(crate) alarmed_at: Instant,
    /// When the end began.
    pub(crate) ending_at: Instant,
}

/// Something that happens by itself when its time has come.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Task {
    ClientTimer(usize),
    ServerTimer(usize),
    Exchange(usize),
    ClientLearns(usize),
    ServerLearns(usize),
    Report(usize),
    Opening(usize),
    Up(usize),
    Down(usize),
    PullUp(usize),
    PullDown(usize),
    ObeyClient(usize),
    ObeyServer(usize),
    ReadClient(usize),
    ReadServer(usize),
    Alarm(Node),
}

/// At any one time no more than this may happen; a machine that asks for more never comes to rest.
const MAX_TASKS: u32 = 200_000;

impl Core {
    pub(crate) fn new(settings: Settings, keep_journal: bool) -> Outcome<Self> {
        settings.check()?;
        let mut servers = Vec::new();
        for _ in 0..settings.servers.max(1) {
            servers.push(ServerNode::new(&settings)?);
        }
        Ok(Self {
            now: Instant::ZERO,
            clients: (0..settings.clients.max(1)).map(|_| ClientNode::default()).collect(),
            servers,
            lives: Vec::new(),
            sessions: Vec::new(),
            exchanges: Vec::new(),
            channels: Vec::new(),
            journal: Journal::new(keep_journal),
            coverage: Coverage::default(),
            totals: Totals::default(),
            calls: VecDeque::new(),
            number: 0,
            largest: Message::from(GREETING).cost(),
            alarmed_at: Instant::ZERO,
            ending_at: Instant::ZERO,
            settings,
        })
    }

    pub(crate) fn later(&self, micros: u64) -> Instant {
        self.now + Duration::from_micros(micros)
    }

    /// When something that is sent now arrives by itself.
    pub(crate) fn arrival(&self) -> Instant {
        self.later(self.settings.latency)
    }

    /// When hands that are lazy do what they have to.
    pub(crate) fn lag(&self) -> Instant {
        self.later(self.settings.latency / 4 + 50)
    }

    pub(crate) fn next_number(&mut self) -> u64 {
        self.number += 1;
        self.number
    }

    /// The session of a client that is not over, or was the last one.
    pub(crate) fn life_of(&self, client: usize) -> Option<usize> {
        self.clients.get(client)?.life
    }

    /// Its session at the server: that which the client knows, or the last one that the server opened for it.
    pub(crate) fn seat_of(&self, client: usize) -> Option<usize> {
        let life = self.life_of(client)?;
        self.lives[life].seat.or_else(|| self.sessions.iter().rposition(|seat| seat.life == life))
    }

    pub(crate) fn incident(&mut self, client: usize, incident: Incidents) {
        if let Some(life) = self.life_of(client) {
            self.lives[life].incidents.add(incident);
            self.trouble(client, self.now);
        }
    }

    /// Something that concerns the earlier sessions of a client too, as far as anything of them is on its way.
    pub(crate) fn incident_for_all(&mut self, client: usize, incident: Incidents) {
        for life in self.lives.iter_mut().filter(|life| life.client == client) {
            life.incidents.add(incident);
        }
        self.trouble(client, self.now);
    }

    /// Something that happened to a client lasts until then.
    pub(crate) fn trouble(&mut self, client: usize, until: Instant) {
        for life in self.lives.iter_mut().filter(|life| life.client == client) {
            life.troubled_until = life.troubled_until.max(until);
        }
    }

    /// Whether something that keeps a session from hearing lasts, or did so not long ago: what a heartbeat notices, it
    /// notices within an interval and a timeout, and it is put off at most once.
    pub(crate) fn is_troubled(&self, life: usize) -> bool {
        let silence = 2 * (self.settings.ping_interval + self.settings.ping_timeout);
        let window = Duration::from_millis(silence + 1000) + Duration::from_micros(20 * self.settings.latency);
        let side = &self.lives[life];
        let reads = side.app.reads && self.sessions.iter().filter(|seat| seat.life == life).all(|seat| seat.app.reads);
        !reads || self.clients[side.client].silent || self.now <= side.troubled_until + window
    }

    /// The machine of a session at a server, while there is one.
    pub(crate) fn session(&self, seat: usize) -> Option<&Session> {
        let seat = self.sessions.get(seat).filter(|seat| !seat.crashed)?;
        self.servers[seat.server].machine.session(seat.key)
    }

    /// Whether nothing can reach a client, or leave it.
    fn is_cut_off(&self, client: usize) -> bool {
        self.clients[client].silent
    }

    /// When something for a client arrives at the earliest.
    fn awake(&self, client: usize, due: Instant) -> Instant {
        due.max(self.clients[client].asleep)
    }

    /// What happens next by itself, and when.
    pub(crate) fn next_task(&self) -> Option<(Instant, Task)> {
        let mut next: Option<(Instant, Task)> = None;
        let now = self.now;
        let mut offer = |at: Instant, task: Task| {
            // What is overdue is due now, like what hands do at once.
            let at = at.max(now);
            if next.is_none_or(|(earliest, _)| at < earliest) {
                next = Some((at, task));
            }
        };
        for (index, node) in self.clients.iter().enumerate() {
            if let Some(at) = node.alarm {
                offer(self.awake(index, at).max(node.clock.late), Task::Alarm(Node::Client(index)));
            }
            let Some(life) = node.life.map(|life| &self.lives[life]) else { continue };
            if let Some(at) = life.dirty {
                offer(self.awake(index, at), Task::ObeyClient(index));
            }
            if let Some(at) = life.app.readable.filter(|_| life.app.reads) {
                offer(self.awake(index, at), Task::ReadClient(index));
            }
            if let Some(at) = life.machine.next_timeout() {
                offer(self.awake(index, at).max(node.clock.late), Task::ClientTimer(index));
            }
        }
        for (index, node) in self.servers.iter().enumerate() {
            if let Some(at) = node.dirty {
                offer(at, Task::ObeyServer(index));
            }
            if let Some(at) = node.machine.next_timeout() {
                offer(at.max(node.clock.late), Task::ServerTimer(index));
            }
            if let Some(at) = node.alarm {
                offer(at.max(node.clock.late), Task::Alarm(Node::Server(index)));
            }
        }
        for (index, seat) in self.sessions.iter().enumerate() {
            if let Some(at) = seat.app.readable.filter(|_| seat.app.reads) {
                offer(at, Task::ReadServer(index));
            }
        }
        for (index, exchange) in self.exchanges.iter().enumerate() {
            let cut_off = exchange.sender.is_some() && self.is_cut_off(exchange.client);
            match exchange.stage {
                Stage::Body if exchange.spoilt == Some(Spoilt::Slow) => (),
                Stage::Travelling | Stage::Body if !cut_off => offer(exchange.due, Task::Exchange(index)),
                Stage::Answered { .. } if !cut_off => {
                    let to_client = exchange.sender.is_some();
                    let due = if to_client { self.awake(exchange.client, exchange.due) } else { exchange.due };
                    offer(due, Task::Exchange(index));
                }
                _ => (),
            }
            if let Some(at) = exchange.report {
                offer(at, Task::Report(index));
            }
            if let Some(at) = exchange.client_learns.filter(|_| !cut_off) {
                offer(self.awake(exchange.client, at), Task::ClientLearns(index));
            }
            let has_arrived = exchange.stage != Stage::Travelling && !cut_off;
            if let Some(at) = exchange.server_learns.filter(|_| has_arrived) {
                offer(at, Task::ServerLearns(index));
            }
        }
        for (index, channel) in self.channels.iter().enumerate() {
            let cut_off = channel.opener.is_some() && self.is_cut_off(channel.client);
            let awake = |due: Instant| if channel.opener.is_some() { self.awake(channel.client, due) } else { due };
            match channel.opening {
                _ if cut_off => (),
                Opening::Asked(at) => offer(at, Task::Opening(index)),
                Opening::Accepted(at) | Opening::Refused(at, _) => offer(awake(at), Task::Opening(index)),
                Opening::Open => (),
            }
            let arrived = !matches!(channel.opening, Opening::Asked(_));
            if let Some(&(at, _)) = channel.up.pieces.front().filter(|_| arrived && channel.up.reads && !cut_off) {
                offer(at, Task::Up(index));
            }
            let open = channel.opening == Opening::Open;
            if let Some(&(at, _)) = channel.down.pieces.front().filter(|_| open && channel.down.reads && !cut_off) {
                offer(awake(at), Task::Down(index));
            }
            let has_room = |len: usize| channel.torn || len < self.settings.window.max(1);
            if let Some(at) = channel.up.ready.filter(|_| has_room(channel.up.len())) {
                offer(awake(at), Task::PullUp(index));
            }
            if let Some(at) = channel.down.ready.filter(|_| has_room(channel.down.len())) {
                offer(at, Task::PullDown(index));
            }
        }
        next
    }

    pub(crate) fn perform(&mut self, task: Task) -> Outcome {
        match task {
            Task::ClientTimer(client) => self.client_timer(client),
            Task::ServerTimer(server) => self.server_timer(server),
            Task::Exchange(index) => self.advance_exchange(index),
            Task::ClientLearns(index) => self.client_learns(index),
            Task::ServerLearns(index) => self.server_learns(index),
            Task::Report(index) => self.report(index),
            Task::Opening(index) => self.advance_opening(index),
            Task::Up(index) => self.frame_up(index),
            Task::Down(index) => self.frame_down(index),
            Task::PullUp(index) => self.pull_up(index),
            Task::PullDown(index) => self.pull_down(index),
            Task::ObeyClient(client) => self.obey_client(client),
            Task::ObeyServer(server) => self.obey_server(server),
            Task::ReadClient(client) => {
                let Some(life) = self.life_of(client) else { return Ok(()) };
                while self.client_takes(life)? {}
                Ok(())
            }
            Task::ReadServer(seat) => {
                while self.server_takes(seat)? {}
                Ok(())
            }
            Task::Alarm(node) => {
                let place = match node {
                    Node::Client(client) => Place::Client(client),
                    Node::Server(server) => Place::Server(server),
                };
                self.journal.note(self.now, place, "timeout", 0, b"");
                self.alarmed_at = self.now;
                self.calls.push_back(Call::Timeout(node));
                Ok(())
            }
        }
    }

    /// Lets so much time pass, with all that is due meanwhile. Stops early, at what is due then, if an application is to
    /// be told something.
    pub(crate) fn advance(&mut self, until: Instant) -> Outcome<bool> {
        self.forget();
        let mut tasks = 0;
        while tasks < MAX_TASKS {
            tasks += 1;
            let next = self.next_task().filter(|&(at, _)| at <= until);
            let Some((at, task)) = next else {
                self.now = self.now.max(until);
                return Ok(true);
            };
            if at > self.now {
                (self.now, tasks) = (at, 0);
            }
            self.perform(task)?;
            self.forget();
            if !self.calls.is_empty() {
                return Ok(false);
            }
        }
        broken(Law::Timers, format!("the world does not come to rest at {:?}", self.now))
    }

    fn forget(&mut self) {
        self.exchanges.retain(|exchange| !exchange.is_over());
        self.channels.retain(|channel| !channel.is_over());
    }

    /// Whether the other side of this client's session has ended or is about to, or never knew of it.
    pub(crate) fn server_left(&self, life: usize) -> bool {
        let seats = self.sessions.iter().enumerate().filter(|(_, seat)| seat.life == life);
        let own = self.lives[life].seat;
        let seats = seats.filter(|&(index, _)| own.is_none_or(|own| own == index));
        let mut left = false;
        for (index, seat) in seats {
            left |= seat.app.asked.is_some() || seat.crashed || seat.app.events.is_over();
            left |= self.session(index).is_none_or(|session| session.phase() != Phase::Open);
        }
        left
    }

    /// The same, seen from a server.
    pub(crate) fn client_left(&self, seat: usize) -> bool {
        let own = self.sessions[seat].life;
        let life = &self.lives[own];
        // A client that tried several transports wants one of their sessions.
        let others = self.sessions.iter().enumerate().any(|(index, other)| other.life == own && index != seat);
        let spurned = (others || life.retried) && life.seat != Some(seat);
        spurned || life.app.asked.is_some() || life.machine.phase() == Phase::Closed
    }
}
