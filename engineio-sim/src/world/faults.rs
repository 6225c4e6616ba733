//! Faults of networks, proxies, strangers, and clocks.

use std::time::Duration;

use bytes::Bytes;
use engineio_proto::server::State;
use engineio_proto::wire::Frame;
use engineio_proto::{ChannelEnd, Instant, Machine, Message, Session, Text};

use super::apps::End;
use super::core::{Core, Outcome, Task};
use super::net::{Answer, Channel, Exchange, Opening, Piece, Pipe, Spoilt, Stage, Way};
use super::nodes::ServerNode;
use crate::journal::Place;
use crate::op::{Intrusion, Line, Node, Op, Side};
use crate::oracle::{Asked, Incidents, Law, broken};

impl Core {
    /// Returns whether the subject of an operation exists.
    pub(crate) fn knows(&self, op: &Op) -> bool {
        let node = match *op {
            Op::Silence(client) | Op::Restore(client) | Op::Suspend(client, _) => Node::Client(client),
            Op::Foreign(client, _) => Node::Client(client),
            Op::Shutdown(server) | Op::Crash(server) => Node::Server(server),
            Op::Late(node, _)
            | Op::Stand(node, _)
            | Op::Spurious(node)
            | Op::Backwards(node, _)
            | Op::Impulse(node, _) => node,
            _ => return true,
        };
        match node {
            Node::Client(client) => client < self.clients.len(),
            Node::Server(server) => server < self.servers.len(),
        }
    }

    /// Returns the data on this line, and its next event.
    pub(crate) fn carrier(&self, line: Line) -> Option<Task> {
        let client = line.client();
        let attempt = self.attempt_of(client)?;
        match line {
            Line::Get(_) | Line::Post(_) => {
                let is_post = matches!(line, Line::Post(_));
                let is_it = |exchange: &Exchange| {
                    let own = exchange.sender.is_some_and(|(owner, _)| owner == attempt);
                    own && exchange.body.is_some() == is_post && !exchange.dropped && exchange.stage != Stage::Done
                };
                self.exchanges.iter().position(is_it).map(Task::Exchange)
            }
            Line::Up(_) | Line::Down(_) => {
                let is_it =
                    |channel: &Channel| channel.opener.is_some_and(|(owner, _)| owner == attempt) && !channel.torn;
                let index = self.channels.iter().rposition(is_it)?;
                let channel = &self.channels[index];
                let up = matches!(line, Line::Up(_));
                match channel.opening {
                    Opening::Asked(_) => up.then_some(Task::Opening(index)),
                    _ if up => Some(Task::Frame(Way::Up, index)),
                    Opening::Accepted(_) | Opening::Refused(..) => Some(Task::Opening(index)),
                    Opening::Open => Some(Task::Frame(Way::Down, index)),
                }
            }
        }
    }

    /// Returns whether data is in transit on this line that can arrive at once.
    pub(crate) fn arrives(&self, line: Line) -> Option<Task> {
        let client = line.client();
        let node = self.clients.get(client)?;
        let to_client_only = |task: &Task| match *task {
            Task::Exchange(index) => matches!(self.exchanges[index].stage, Stage::Answered { .. }),
            Task::Opening(index) => !matches!(self.channels[index].opening, Opening::Asked(_)),
            Task::Frame(way, _) => way == Way::Down,
            _ => false,
        };
        let task = self.carrier(line).filter(|_| !node.silent)?;
        if node.asleep > self.now && to_client_only(&task) {
            return None;
        }
        let is_there = match task {
            Task::Exchange(index) => {
                let exchange = &self.exchanges[index];
                exchange.stage != Stage::Held && (exchange.stage != Stage::Body || exchange.is_receiving())
            }
            Task::Frame(way, index) => {
                let pipe = self.channels[index].pipe(way);
                pipe.reads && !pipe.pieces.is_empty()
            }
            _ => true,
        };
        is_there.then_some(task)
    }

    /// Records a fault of the network at a client.
    pub(crate) fn blame(&mut self, what: &'static str, client: usize) {
        let whom = Place::Client(client).to_string();
        self.journal.note(self.now, Place::Network, what, 0, whom.as_bytes());
    }

    /// Returns whether a client waits for a channel to be opened.
    pub(crate) fn is_opening_channel(&self, client: usize) -> bool {
        match self.carrier(Line::Up(client)) {
            Some(Task::Opening(index) | Task::Frame(_, index)) => {
                matches!(self.channels[index].opening, Opening::Asked(_))
            }
            _ => false,
        }
    }

    /// A connection breaks. On a channel, this many frames in transit still arrive.
    pub(crate) fn tear(&mut self, line: Line, arrives: usize, client_after: u64, server_after: Option<u64>) {
        let Some(task) = self.carrier(line) else { return };
        let (client_at, server_at) = (self.later(client_after), server_after.map(|micros| self.later(micros)));
        self.incident(line.client(), Incidents::TORN);
        self.blame("tears a connection of", line.client());
        self.trouble(line.client(), server_at.unwrap_or(client_at).max(client_at));
        match task {
            Task::Exchange(index) => self.tear_exchange(index, client_at, server_at),
            Task::Opening(index) | Task::Frame(_, index) => {
                self.tear_channel(index, arrives, client_at, server_at);
            }
            _ => (),
        }
    }

    fn tear_exchange(&mut self, index: usize, client_at: Instant, server_at: Option<Instant>) {
        let exchange = &mut self.exchanges[index];
        if !exchange.dropped {
            exchange.client_learns = Some(client_at).filter(|_| exchange.sender.is_some());
            exchange.dropped = true;
        }
        exchange.server_learns = server_at;
        match exchange.stage {
            Stage::Travelling => {
                exchange.stage = Stage::Done;
                exchange.server_learns = None;
            }
            // The rest of it does not arrive, whether the server detects why or not.
            Stage::Body => exchange.spoilt = Some(Spoilt::Slow),
            Stage::Held => (),
            Stage::Answered { .. } | Stage::Done => exchange.lose_answer(),
        }
    }

    /// A server detects that a connection broke before the server knew that the answer was written, which may have
    /// arrived: of the answers that it has not reported, oldest first, the one with this index.
    pub(crate) fn lose(&mut self, client: usize, which: usize) {
        let answers = self.slot_of(client).map(|slot| self.unreported(slot)).unwrap_or_default();
        let Some(&index) = answers.get(which) else { return };
        self.incident_for_all(client, Incidents::TORN);
        self.blame("breaks the connection of an answer to", client);
        self.tear_exchange(index, self.arrival(), Some(self.now));
    }

    fn tear_channel(&mut self, index: usize, arrives: usize, client_at: Instant, server_at: Option<Instant>) {
        let channel = &mut self.channels[index];
        channel.torn = true;
        channel.up.cut(arrives);
        if let Some(at) = server_at.filter(|_| channel.server_open) {
            channel.up.end(at, ChannelEnd::Lost);
        }
        channel.up.reads = true;
        channel.down.cut(arrives);
        channel.down.reads = true;
        match channel.opening {
            _ if !channel.client_open => (),
            Opening::Asked(_) | Opening::Accepted(_) => channel.opening = Opening::Refused(client_at, None),
            Opening::Refused(..) => (),
            Opening::Open => channel.down.end(client_at, ChannelEnd::Lost),
        }
    }

    /// An embedder reports late what it has written.
    pub(crate) fn withhold(&mut self, side: Side, micros: u64) {
        let Some(end) = self.end_of(side) else { return };
        let until = self.later(micros);
        let attempt = self.attempt_behind(end);
        self.attempts[attempt].incidents.add(Incidents::UNREPORTED);
        self.trouble(side.client(), until);
        let app = self.app(end);
        app.reports_from = app.reports_from.max(until);
    }

    pub(crate) fn delay(&mut self, line: Line, micros: u64) {
        let Some(task) = self.carrier(line) else { return };
        self.incident(line.client(), Incidents::SILENT);
        self.blame("holds up something of", line.client());
        let at = self.later(micros);
        self.trouble(line.client(), at);
        match task {
            Task::Exchange(index) => self.exchanges[index].due = at,
            Task::Opening(index) => match &mut self.channels[index].opening {
                Opening::Asked(due) | Opening::Accepted(due) | Opening::Refused(due, _) => *due = at,
                Opening::Open => (),
            },
            Task::Frame(way, index) => put_off(self.channels[index].pipe_mut(way), at),
            _ => (),
        }
    }

    /// A proxy repeats a request while the first one is at the server, and drops the answer. (If the first one is not,
    /// the protocol cannot distinguish the two from two requests: messages would be lost or repeated.)
    pub(crate) fn repeat(&mut self, line: Line) {
        let Some(index) = self.with_server(line) else { return };
        self.incident(line.client(), Incidents::REPEATED);
        self.blame("repeats a request of", line.client());
        let Exchange { client, server, attempt, target, body, .. } = self.exchanges[index].clone();
        self.exchanges.push(Exchange { attempt, ..Exchange::new(client, server, target, body, self.now) });
    }

    /// Returns the request of a line, if the server has it and has not answered.
    pub(crate) fn with_server(&self, line: Line) -> Option<usize> {
        match self.carrier(line) {
            Some(Task::Exchange(index)) => {
                let exchange = &self.exchanges[index];
                let is_there = matches!(exchange.stage, Stage::Body | Stage::Held) && exchange.at_server.is_some();
                // An answer may be about to leave.
                let is_there = is_there && self.servers[exchange.server].dirty.is_none();
                is_there.then_some(index)
            }
            _ => None,
        }
    }

    pub(crate) fn spoil(&mut self, client: usize, how: Spoilt) {
        let Some(Task::Exchange(index)) = self.carrier(Line::Post(client)) else { return };
        if !matches!(self.exchanges[index].stage, Stage::Travelling | Stage::Body) {
            return;
        }
        self.incident(client, if how == Spoilt::Slow { Incidents::SLOW_BODY } else { Incidents::LARGE });
        self.exchanges[index].spoilt = Some(how);
        self.trouble(client, self.later(1000 * self.settings.body_timeout));
        self.blame(if how == Spoilt::Slow { "makes a body late of" } else { "makes a body too large of" }, client);
    }

    pub(crate) fn refuse(&mut self, client: usize) {
        let at = self.arrival();
        let Some(Task::Opening(index)) = self.carrier(Line::Up(client)) else { return };
        self.incident(client, Incidents::REFUSED);
        self.blame("refuses the channel of", client);
        if self.channels[index].client_open {
            self.channels[index].opening = Opening::Refused(at, None);
        }
    }

    pub(crate) fn set_silent(&mut self, client: usize, silent: bool) {
        self.clients[client].silent = silent;
        self.incident_for_all(client, Incidents::SILENT);
        self.blame(if silent { "silences" } else { "restores" }, client);
    }

    /// A stranger uses a session.
    pub(crate) fn intrude(&mut self, client: usize, what: Intrusion) {
        let Some(slot) = self.slot_of(client) else { return };
        let sid = self.sessions[slot].sid.clone();
        let server = self.sessions[slot].server;
        let at = self.arrival();
        self.blame("lets a stranger use the session of", client);
        let target = |transport: &str| format!("/engine.io/?EIO=4&transport={transport}&sid={sid}");
        if what == Intrusion::Overtake && !self.can_overtake(client) {
            return;
        }
        // A GET that does not overlap with another would take messages, without notice.
        if what == Intrusion::Get && self.with_server(Line::Get(client)).is_none() {
            return;
        }
        let due = if what == Intrusion::Get { self.now } else { at };
        let (body, transport) = match what {
            Intrusion::Get => (None, "polling"),
            Intrusion::Post => (Some("3"), "polling"),
            Intrusion::Junk => (Some("junk"), "polling"),
            Intrusion::PlainUpgrade => (None, "websocket"),
            _ => return self.intrude_channel(client, server, target("websocket"), what),
        };
        match what {
            // It must have no effect.
            Intrusion::PlainUpgrade => (),
            Intrusion::Junk => self.incident(client, Incidents::JUNK),
            _ => self.incident(client, Incidents::STRANGER),
        }
        self.exchanges.push(Exchange::new(client, server, target(transport), body.map(Bytes::from), due));
    }

    /// Returns whether the body of a POST is in transit to a session that a stranger could take over.
    pub(crate) fn can_overtake(&self, client: usize) -> bool {
        let Some(Task::Exchange(index)) = self.carrier(Line::Post(client)) else { return false };
        let exchange = &self.exchanges[index];
        let state = exchange.at_server.and_then(|(_, slot)| self.session(slot)).map(Session::state);
        exchange.stage == Stage::Body && state == Some(State::Polling) && self.settings.allow_upgrades
    }

    fn intrude_channel(&mut self, client: usize, server: usize, target: String, what: Intrusion) {
        let at = if what == Intrusion::Overtake { self.now } else { self.arrival() };
        let frame = |text: &'static str| Piece::Frame(Frame::received(Text::from_static(text)));
        let mut pieces = Vec::new();
        if matches!(what, Intrusion::Probe | Intrusion::ProbeAndLeave) {
            pieces.push(frame("2probe"));
        }
        if what == Intrusion::ProbeTwice {
            pieces.extend([frame("2probe"), frame("2probe")]);
        }
        if what == Intrusion::Hijack {
            self.incident(client, Incidents::STRANGER);
            pieces.push(frame("5"));
        }
        if what == Intrusion::Overtake {
            self.incident(client, Incidents::STRANGER);
            self.largest = self.largest.max(Message::from_static(OVERTAKEN).cost());
            pieces.extend([frame("5"), frame(OVERTAKEN)]);
        }
        if what == Intrusion::Babble {
            pieces.push(frame("4babble"));
        }
        if matches!(what, Intrusion::Leave | Intrusion::ProbeAndLeave) {
            pieces.push(Piece::End(ChannelEnd::Closed));
        }
        let up = Pipe { pieces: pieces.into_iter().map(|piece| (at, piece)).collect(), ..Pipe::default() };
        self.channels.push(Channel {
            client,
            opener: None,
            foreign: false,
            attempt: None,
            target,
            server,
            at_server: None,
            opening: Opening::Asked(at),
            heard_at: None,
            client_open: !matches!(what, Intrusion::Leave | Intrusion::ProbeAndLeave),
            server_open: false,
            up,
            down: Pipe::default(),
            torn: false,
        });
    }

    pub(crate) fn suspend(&mut self, client: usize, micros: u64) {
        self.incident_for_all(client, Incidents::SILENT.and(Incidents::LATE));
        let until = self.later(micros);
        self.clients[client].asleep = until;
        self.trouble(client, until);
        self.journal.note(self.now, Place::Client(client), "sleeps", 0, b"");
    }

    pub(crate) fn delay_timers(&mut self, node: Node, micros: u64) {
        let until = self.later(micros);
        match node {
            Node::Client(client) => {
                self.incident_for_all(client, Incidents::SILENT.and(Incidents::LATE));
                let clock = &mut self.clients[client].clock;
                clock.late = clock.late.max(until);
                self.trouble(client, until);
            }
            Node::Server(server) => {
                for attempt in 0..self.attempts.len() {
                    if self.attempts[attempt].server == server {
                        self.attempts[attempt].incidents.add(Incidents::SILENT.and(Incidents::LATE));
                        self.trouble(self.attempts[attempt].client, until);
                    }
                }
                let clock = &mut self.servers[server].clock;
                clock.late = clock.late.max(until);
            }
        }
    }

    /// A host stands still. Returns until when: a little longer, if that is so soon after a deadline that the deadline
    /// counts as met in time.
    pub(crate) fn stand_still(&mut self, node: Node, micros: u64) -> Instant {
        const IN_TIME: Duration = Duration::from_micros(10_001);
        let mut until = self.later(micros);
        // A session has a few deadlines, and shows the first one only.
        for _ in 0..8 {
            if self.would_end(node, until) {
                until += IN_TIME;
            }
        }
        match node {
            Node::Client(client) => {
                self.incident_for_all(client, Incidents::CLIENT_STOOD.and(Incidents::LATE));
                if self.has_pong_to_send(client) {
                    // The server gets it late, and sends the next ping as much later.
                    self.incident_for_all(client, Incidents::SLOW_UP);
                }
                self.clients[client].asleep = self.clients[client].asleep.max(until);
                self.trouble(client, until);
                self.journal.note(self.now, Place::Client(client), "stands still", 0, b"");
            }
            Node::Server(server) => {
                for attempt in 0..self.attempts.len() {
                    if self.attempts[attempt].server == server {
                        self.attempts[attempt].incidents.add(Incidents::SERVER_STOOD.and(Incidents::LATE));
                        self.trouble(self.attempts[attempt].client, until);
                    }
                }
                self.servers[server].asleep = until;
                self.journal.note(self.now, Place::Server(server), "stands still", 0, b"");
            }
        }
        until
    }

    fn has_pong_to_send(&self, client: usize) -> bool {
        let waits =
            |channel: &Channel| channel.client == client && (channel.up.ready.is_some() || !channel.up.held.is_empty());
        self.attempt_of(client).is_some_and(|attempt| {
            let attempt = &self.attempts[attempt];
            attempt.expected.owes_pong() || attempt.dirty.is_some() || self.channels.iter().any(waits)
        })
    }

    /// Returns whether a session ends, or an upgrade fails, if the next call is at this time.
    fn would_end(&self, node: Node, at: Instant) -> bool {
        match node {
            Node::Client(client) => self.attempt_of(client).is_some_and(|attempt| {
                let before = &self.attempts[attempt].machine;
                let mut after = before.clone();
                after.handle_timeout(at);
                (after.state(), after.transport()) != (before.state(), before.transport())
            }),
            Node::Server(server) => self.servers[server].sessions.values().any(|&slot| {
                self.session(slot).is_some_and(|before| {
                    let mut after = before.clone();
                    after.handle_timeout(at);
                    after.state() != before.state()
                })
            }),
        }
    }

    pub(crate) fn set_back(&mut self, node: Node, micros: u64) -> Outcome {
        // A server wakes sessions when it likes, and thus tells them the time. Neither their twins nor the oracle can
        // know, so every session is told now.
        if let Node::Server(server) = node {
            let slots = self.servers[server].sessions.values().copied();
            let has_timers = |slot: &usize| self.session(*slot).is_some_and(|session| session.state() != State::Closed);
            let slots: Vec<_> = slots.filter(has_timers).collect();
            slots.into_iter().try_for_each(|slot| self.session_timer(slot))?;
        }
        // With a wrong clock, data is received too early or too late.
        if micros > 1000 {
            self.delay_timers(node, 0);
        }
        match node {
            Node::Client(client) => self.clients[client].clock.back = micros,
            Node::Server(server) => self.servers[server].clock.back = micros,
        }
        Ok(())
    }

    /// Law 6: redundant calls change nothing.
    pub(crate) fn call_without_need(&mut self, node: Node) -> Outcome {
        let now = self.now;
        let stranger = engineio_proto::ChannelId(u64::MAX);
        match node {
            Node::Client(client) => {
                let Some(attempt) = self.attempt_of(client) else { return Ok(()) };
                let machine = &self.attempts[attempt].machine;
                if machine.next_timeout().is_some_and(|at| at <= now) {
                    return Ok(());
                }
                let mut once = machine.clone();
                once.handle_timeout(now);
                if (once.next_timeout(), once.state(), once.phase())
                    != (machine.next_timeout(), machine.state(), machine.phase())
                {
                    return broken(Law::Idle, format!("client {client} was changed by an early call"));
                }
                let mut again = once.clone();
                again.handle_timeout(now);
                again.handle_timeout(Instant::ZERO);
                let frame = again.next_frame(Instant::ZERO, stranger);
                if once != again || frame.is_some() || again.has_output() != machine.has_output() {
                    return broken(Law::Idle, format!("client {client} was changed by calls without need"));
                }
                if believes_too_much(&mut once, now) {
                    return broken(Law::Written, format!("client {client} counts as written what was not handed over"));
                }
                if machine.state() != engineio_proto::client::State::Closed {
                    self.client_timer(client)?;
                    self.client_timer(client)?;
                }
            }
            Node::Server(server) => {
                let slots: Vec<_> = self.servers[server].sessions.values().copied().collect();
                for slot in slots {
                    let Some(session) = self.session(slot) else { continue };
                    if session.next_timeout().is_some_and(|at| at <= now) {
                        continue;
                    }
                    let mut once = session.clone();
                    once.handle_timeout(now);
                    if (once.next_timeout(), once.state(), once.phase())
                        != (session.next_timeout(), session.state(), session.phase())
                    {
                        return broken(Law::Idle, format!("session {slot} was changed by an early call"));
                    }
                    let mut again = once.clone();
                    again.handle_timeout(now);
                    again.handle_timeout(Instant::ZERO);
                    let frame = again.next_frame(Instant::ZERO, stranger);
                    if once != again || frame.is_some() || again.has_output() != session.has_output() {
                        return broken(Law::Idle, format!("session {slot} was changed by calls without need"));
                    }
                    if believes_too_much(&mut once, now) {
                        let what = format!("session {slot} counts as written what was not handed over");
                        return broken(Law::Written, what);
                    }
                }
                if self.servers[server].machine.next_timeout().is_none_or(|at| at > now) {
                    self.server_timer(server)?;
                    self.server_timer(server)?;
                }
            }
        }
        Ok(())
    }

    pub(crate) fn shut_down(&mut self, server: usize) -> Outcome {
        let slots: Vec<_> = self.servers[server].sessions.values().copied().collect();
        slots.into_iter().try_for_each(|slot| self.close(End::Slot(slot), Asked::Abort))
    }

    /// A server is killed, and another one replaces it.
    pub(crate) fn crash(&mut self, server: usize) -> Outcome {
        self.journal.note(self.now, Place::Server(server), "dies", 0, b"");
        let at = self.arrival();
        for attempt in self.attempts.iter_mut().filter(|attempt| attempt.server == server) {
            attempt.incidents.add(Incidents::CRASH);
        }
        for slot in self.sessions.iter_mut().filter(|slot| slot.server == server) {
            slot.crashed = true;
            slot.app.readable = None;
        }
        for exchange in self.exchanges.iter_mut().filter(|exchange| exchange.server == server) {
            exchange.server_learns = None;
            exchange.answer = Answer::Idle;
            if !matches!(exchange.stage, Stage::Travelling) {
                exchange.stage = Stage::Done;
                if exchange.sender.is_some() && !exchange.dropped {
                    exchange.client_learns = Some(at);
                    exchange.dropped = true;
                }
            }
        }
        for index in 0..self.channels.len() {
            if self.channels[index].server == server && !matches!(self.channels[index].opening, Opening::Asked(_)) {
                self.channels[index].server_open = false;
                self.tear_channel(index, 0, at, None);
                if self.channels[index].opener.is_none() {
                    self.channels[index].client_open = false;
                }
            }
        }
        self.servers[server] = ServerNode::new(&self.settings)?;
        Ok(())
    }
}

/// Returns whether a report of more than there is has an effect.
fn believes_too_much(machine: &mut dyn Machine, now: Instant) -> bool {
    if let Some(channel) = machine.current_channel() {
        machine.channel_written(now, channel, u64::MAX);
    }
    let stats = machine.stats();
    stats.messages_written > stats.messages_sent
}

/// The message of a stranger who overtakes a POST.
pub(crate) const OVERTAKEN: &str = "4overtaken";

fn put_off(pipe: &mut Pipe, at: Instant) {
    // What comes after it cannot overtake it.
    for (due, _) in &mut pipe.pieces {
        *due = (*due).max(at);
    }
}
