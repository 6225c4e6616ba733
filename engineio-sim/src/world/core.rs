//! A world without its applications: machines, network, clock, oracle.

use std::collections::VecDeque;
use std::time::Duration;

use engineio_proto::{Instant, Message, Phase, Session};

use super::net::{Answer, Channel, Exchange, Opening, Stage, Way};
use super::nodes::{Attempt, Call, ClientNode, ServerNode, Slot};
use super::returning::Returning;
use crate::coverage::Coverage;
use crate::journal::{Journal, Place};
use crate::op::{Node, Op};
use crate::oracle::{Incidents, Law, Violation, broken, check_timers};
use crate::settings::GREETING;
use crate::{Settings, Totals};

pub(crate) type Outcome<T = ()> = Result<T, Violation>;

pub(crate) struct Core {
    pub(crate) settings: Settings,
    pub(crate) now: Instant,
    pub(crate) servers: Vec<ServerNode>,
    pub(crate) clients: Vec<ClientNode>,
    /// Every session that a client started, one after the other.
    pub(crate) attempts: Vec<Attempt>,
    /// Every session that a server opened.
    pub(crate) sessions: Vec<Slot>,
    pub(crate) exchanges: Vec<Exchange>,
    pub(crate) channels: Vec<Channel>,
    pub(crate) journal: Journal,
    pub(crate) coverage: Coverage,
    pub(crate) totals: Totals,
    /// The calls of applications that are due.
    pub(crate) calls: VecDeque<Call>,
    /// The last number that was given to anything at a server.
    pub(crate) number: u64,
    /// The largest size that a message has counted for, in bytes.
    pub(crate) largest: usize,
    /// When an application was last called for its timeout.
    pub(crate) alarmed_at: Instant,
    /// When the end began.
    pub(crate) ending_at: Instant,
}

/// An event that happens at its time without an operation.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Task {
    ClientTimer(usize),
    ServerTimer(usize),
    Exchange(usize),
    ClientLearns(usize),
    ServerLearns(usize),
    /// Another part of an answer is written.
    WriteAnswer(usize),
    ReportAnswer(usize),
    /// Another part of a body leaves.
    Upload(usize),
    Opening(usize),
    /// The next frame of a channel arrives.
    Frame(Way, usize),
    Pull(Way, usize),
    Write(Way, usize),
    Report(Way, usize),
    ObeyClient(usize),
    ObeyServer(usize),
    ReadClient(usize),
    ReadServer(usize),
    /// A client reconnects.
    Return(usize),
    Alarm(Node),
}

/// The maximum number of events at one time; a machine that causes more never comes to rest.
const MAX_TASKS: u32 = 200_000;

impl Core {
    pub(crate) fn new(settings: Settings, keep_journal: bool) -> Outcome<Self> {
        settings.check()?;
        let mut servers = Vec::new();
        for _ in 0..settings.servers.max(1) {
            servers.push(ServerNode::new(&settings)?);
        }
        let clients = (0..settings.clients.max(1)).map(|_| ClientNode::default());
        let foreign =
            (0..settings.foreign).map(|_| ClientNode { foreign: Some(Box::default()), ..ClientNode::default() });
        Ok(Self {
            now: Instant::ZERO,
            clients: clients.chain(foreign).collect(),
            servers,
            attempts: Vec::new(),
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

    /// Returns when data that is sent now arrives without an operation.
    pub(crate) fn arrival(&self) -> Instant {
        self.later(self.settings.latency)
    }

    /// Returns when a lazy embedder does its work.
    pub(crate) fn lag(&self) -> Instant {
        self.later(self.settings.latency / 4 + 50)
    }

    pub(crate) fn next_number(&mut self) -> u64 {
        self.number += 1;
        self.number
    }

    /// Returns the number of clients of this project. The foreign ones come behind them.
    pub(crate) fn own_clients(&self) -> usize {
        self.settings.clients.max(1)
    }

    /// Returns the index of a client that an operation names.
    pub(crate) fn place(&self, client: usize) -> usize {
        match client.checked_sub(Op::FIRST_FOREIGN) {
            Some(foreign) => foreign + self.own_clients(),
            None if client < self.own_clients() => client,
            None => usize::MAX,
        }
    }

    /// Returns how operations name a client.
    pub(crate) fn name_for_ops(&self, client: usize) -> usize {
        match client.checked_sub(self.own_clients()) {
            Some(foreign) => foreign + Op::FIRST_FOREIGN,
            None => client,
        }
    }

    /// Returns the session of a client that has not ended, or the last one.
    pub(crate) fn attempt_of(&self, client: usize) -> Option<usize> {
        self.clients.get(client)?.attempt
    }

    /// Returns its session at the server: the one that the client knows, or the last one that the server opened for it.
    pub(crate) fn slot_of(&self, client: usize) -> Option<usize> {
        if self.is_foreign(client) {
            return self.sessions.iter().rposition(|slot| self.attempts[slot.attempt].client == client);
        }
        let attempt = self.attempt_of(client)?;
        self.attempts[attempt].slot.or_else(|| self.sessions.iter().rposition(|slot| slot.attempt == attempt))
    }

    pub(crate) fn incident(&mut self, client: usize, incident: Incidents) {
        if let Some(attempt) = self.attempt_of(client) {
            self.attempts[attempt].incidents.add(incident);
            self.trouble(client, self.now);
        }
    }

    /// Records an incident for the earlier sessions of a client too, as far as their data is in transit.
    pub(crate) fn incident_for_all(&mut self, client: usize, incident: Incidents) {
        for attempt in self.attempts.iter_mut().filter(|attempt| attempt.client == client) {
            attempt.incidents.add(incident);
        }
        self.trouble(client, self.now);
    }

    /// Records that an incident of a client lasts until then.
    pub(crate) fn trouble(&mut self, client: usize, until: Instant) {
        for attempt in self.attempts.iter_mut().filter(|attempt| attempt.client == client) {
            attempt.troubled_until = attempt.troubled_until.max(until);
        }
    }

    /// Returns whether an incident that keeps a session from receiving lasts, or did so recently: a heartbeat detects
    /// it within an interval and a timeout, extended at most once.
    pub(crate) fn is_troubled(&self, attempt: usize) -> bool {
        let silence = 2 * (self.settings.ping_interval + self.settings.ping_timeout);
        let window = Duration::from_millis(silence + 1000) + Duration::from_micros(20 * self.settings.latency);
        let side = &self.attempts[attempt];
        let reads =
            side.app.reads && self.sessions.iter().filter(|slot| slot.attempt == attempt).all(|slot| slot.app.reads);
        let is_slow = |channel: &Channel| channel.is_of(attempt) && (channel.up.pace > 0 || channel.down.pace > 0);
        let lasts = !reads || self.clients[side.client].silent || self.channels.iter().any(is_slow);
        lasts || self.now <= side.troubled_until + window
    }

    /// Returns the machine of a server's session, while it exists.
    pub(crate) fn session(&self, slot: usize) -> Option<&Session> {
        let slot = self.sessions.get(slot).filter(|slot| !slot.crashed)?;
        self.servers[slot.server].machine.session(slot.key)
    }

    /// Returns whether nothing can reach or leave a client.
    fn is_cut_off(&self, client: usize) -> bool {
        self.clients[client].silent
    }

    /// Returns when data for a client arrives at the earliest.
    fn awake(&self, client: usize, due: Instant) -> Instant {
        due.max(self.clients[client].asleep)
    }

    /// Returns the next event without an operation, and its time.
    pub(crate) fn next_task(&self) -> Option<(Instant, Task)> {
        let mut next: Option<(Instant, Task)> = None;
        let now = self.now;
        let mut offer = |at: Instant, task: Task| {
            // What is overdue is due now, like immediate work of an embedder.
            let at = at.max(now);
            if next.is_none_or(|(earliest, _)| at < earliest) {
                next = Some((at, task));
            }
        };
        for (index, node) in self.clients.iter().enumerate() {
            if let Some(at) = node.alarm {
                offer(self.awake(index, at).max(node.clock.late), Task::Alarm(Node::Client(index)));
            }
            if let Some(at) = node.returning.as_deref().and_then(Returning::due) {
                offer(self.awake(index, at).max(node.clock.late), Task::Return(index));
            }
            let Some(attempt) = node.attempt.map(|attempt| &self.attempts[attempt]) else { continue };
            if let Some(at) = attempt.dirty {
                offer(self.awake(index, at), Task::ObeyClient(index));
            }
            if let Some(at) = attempt.app.readable.filter(|_| attempt.app.reads) {
                offer(self.awake(index, at), Task::ReadClient(index));
            }
            if let Some(at) = attempt.machine.next_timeout() {
                offer(self.awake(index, at).max(node.clock.late), Task::ClientTimer(index));
            }
        }
        for (index, node) in self.servers.iter().enumerate() {
            if let Some(at) = node.dirty {
                offer(at.max(node.asleep), Task::ObeyServer(index));
            }
            if let Some(at) = node.machine.next_timeout() {
                offer(at.max(node.clock.late).max(node.asleep), Task::ServerTimer(index));
            }
            if let Some(at) = node.alarm {
                offer(at.max(node.clock.late).max(node.asleep), Task::Alarm(Node::Server(index)));
            }
        }
        for (index, slot) in self.sessions.iter().enumerate() {
            if let Some(at) = slot.app.readable.filter(|_| slot.app.reads) {
                offer(at.max(self.servers[slot.server].asleep), Task::ReadServer(index));
            }
        }
        for (index, exchange) in self.exchanges.iter().enumerate() {
            let cut_off = exchange.sender.is_some() && self.is_cut_off(exchange.client);
            let there = self.servers[exchange.server].asleep;
            match exchange.stage {
                Stage::Travelling if !cut_off => offer(exchange.due.max(there), Task::Exchange(index)),
                Stage::Body if exchange.is_receiving() && !cut_off => match exchange.upload {
                    None => offer(exchange.due.max(there), Task::Exchange(index)),
                    Some(parts) => offer(self.awake(exchange.client, parts.at), Task::Upload(index)),
                },
                Stage::Answered { .. } if !cut_off && !exchange.is_stuck() => {
                    let to_client = exchange.sender.is_some();
                    let due = if to_client { self.awake(exchange.client, exchange.due) } else { exchange.due };
                    offer(due, Task::Exchange(index));
                }
                _ => (),
            }
            match exchange.answer {
                Answer::Idle => (),
                // The network takes the last part in any case.
                Answer::Writing(parts) if parts.left == 0 => offer(parts.at.max(there), Task::WriteAnswer(index)),
                Answer::Writing(parts) if !cut_off && !exchange.dropped => {
                    offer(self.awake(exchange.client, parts.at).max(there), Task::WriteAnswer(index));
                }
                Answer::Writing(_) => (),
                Answer::Written(at) => {
                    let from = exchange.at_server.map_or(at, |(_, slot)| self.sessions[slot].app.reports_from);
                    offer(at.max(from).max(there), Task::ReportAnswer(index));
                }
            }
            if let Some(at) = exchange.client_learns.filter(|_| !cut_off) {
                offer(self.awake(exchange.client, at), Task::ClientLearns(index));
            }
            let has_arrived = exchange.stage != Stage::Travelling && !cut_off;
            if let Some(at) = exchange.server_learns.filter(|_| has_arrived) {
                offer(at.max(there), Task::ServerLearns(index));
            }
        }
        for (index, channel) in self.channels.iter().enumerate() {
            let cut_off = channel.opener.is_some() && self.is_cut_off(channel.client);
            let awake = |due: Instant| if channel.opener.is_some() { self.awake(channel.client, due) } else { due };
            let there = self.servers[channel.server].asleep;
            match channel.opening {
                _ if cut_off => (),
                Opening::Asked(at) => offer(at.max(there), Task::Opening(index)),
                Opening::Accepted(at) | Opening::Refused(at, _) => offer(awake(at), Task::Opening(index)),
                Opening::Open => (),
            }
            let arrived = !matches!(channel.opening, Opening::Asked(_));
            if let Some(&(at, _)) = channel.up.pieces.front().filter(|_| arrived && channel.up.reads && !cut_off) {
                offer(at.max(channel.up.next_at).max(there), Task::Frame(Way::Up, index));
            }
            let open = channel.opening == Opening::Open;
            if let Some(&(at, _)) = channel.down.pieces.front().filter(|_| open && channel.down.reads && !cut_off) {
                offer(awake(at.max(channel.down.next_at)), Task::Frame(Way::Down, index));
            }
            for way in [Way::Up, Way::Down] {
                let pipe = channel.pipe(way);
                let awake = |at: Instant| if way == Way::Up { awake(at) } else { at.max(there) };
                if let Some(at) = pipe.ready.filter(|_| pipe.held.len() < self.settings.batch.max(1)) {
                    offer(awake(at), Task::Pull(way, index));
                }
                if pipe.is_writing() && (pipe.held.is_empty() || pipe.has_room(self.settings.window)) {
                    offer(awake(now), Task::Write(way, index));
                }
                if let Some(at) = pipe.report {
                    let from = self.writer(channel, way).map_or(at, |(end, _)| self.app_of(end).reports_from);
                    offer(awake(at.max(from)), Task::Report(way, index));
                }
            }
        }
        next
    }

    pub(crate) fn perform(&mut self, task: Task) -> Outcome {
        match task {
            Task::ClientTimer(client) => self.client_timer(client),
            Task::ServerTimer(server) => {
                let node = &mut self.servers[server];
                node.timers += 1;
                check_timers(server, node.timers, node.calls)?;
                self.server_timer(server)
            }
            Task::Exchange(index) => self.advance_exchange(index),
            Task::ClientLearns(index) => self.client_learns(index),
            Task::ServerLearns(index) => self.server_learns(index),
            Task::WriteAnswer(index) => self.write_answer(index),
            Task::ReportAnswer(index) => self.report_answer(index),
            Task::Upload(index) => self.upload(index),
            Task::Opening(index) => self.advance_opening(index),
            Task::Frame(Way::Up, index) => self.frame_up(index),
            Task::Frame(Way::Down, index) => self.frame_down(index),
            Task::Pull(way, index) => self.pull(way, index),
            Task::Write(way, index) => self.write(way, index),
            Task::Report(way, index) => self.report(way, index),
            Task::ObeyClient(client) => self.obey_client(client),
            Task::ObeyServer(server) => self.obey_server(server),
            Task::ReadClient(client) => {
                let Some(attempt) = self.attempt_of(client) else { return Ok(()) };
                while self.client_takes(attempt)? {}
                Ok(())
            }
            Task::ReadServer(slot) => {
                while self.server_takes(slot)? {}
                Ok(())
            }
            Task::Return(client) => self.returns(client),
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

    /// Lets time pass, with everything that is due. Stops early, at what is due then, if an application must be called.
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

    /// Returns whether the other side of this client's session has ended or is about to, or never knew of it.
    pub(crate) fn server_left(&self, attempt: usize) -> bool {
        let slots = self.sessions.iter().enumerate().filter(|(_, slot)| slot.attempt == attempt);
        let own = self.attempts[attempt].slot;
        let slots = slots.filter(|&(index, _)| own.is_none_or(|own| own == index));
        let mut left = false;
        for (index, slot) in slots {
            left |= slot.app.asked.is_some() || slot.crashed || slot.app.events.is_over();
            left |= self.session(index).is_none_or(|session| session.phase() != Phase::Open);
        }
        left
    }

    /// The same, seen from a server.
    pub(crate) fn client_left(&self, slot: usize) -> bool {
        let own = self.sessions[slot].attempt;
        let attempt = &self.attempts[own];
        // A client that has tried several transports uses one of their sessions.
        let others = self.sessions.iter().enumerate().any(|(index, other)| other.attempt == own && index != slot);
        let spurned = (others || attempt.retried) && attempt.slot != Some(slot);
        spurned || attempt.app.asked.is_some() || attempt.machine.phase() == Phase::Closed
    }
}
