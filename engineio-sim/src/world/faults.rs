//! What a network, its proxies, strangers, and clocks do.

use bytes::Bytes;
use engineio_proto::wire::Frame;
use engineio_proto::{ChannelEnd, Instant, Text};

use super::apps::End;
use super::core::{Core, Outcome, Task};
use super::net::{Channel, Exchange, Opening, Piece, Pipe, Spoilt, Stage};
use super::nodes::ServerNode;
use crate::journal::Place;
use crate::op::{Intrusion, Line, Node, Op};
use crate::oracle::{Asked, Incidents, Law, broken};

impl Core {
    /// Whether the one whom an operation strikes exists.
    pub(crate) fn knows(&self, op: &Op) -> bool {
        let node = match *op {
            Op::Silence(client) | Op::Restore(client) | Op::Suspend(client, _) => Node::Client(client),
            Op::Shutdown(server) | Op::Crash(server) => Node::Server(server),
            Op::Late(node, _) | Op::Spurious(node) | Op::Backwards(node, _) | Op::Impulse(node, _) => node,
            _ => return true,
        };
        match node {
            Node::Client(client) => client < self.clients.len(),
            Node::Server(server) => server < self.servers.len(),
        }
    }

    /// What carries this line, and what happens next to it.
    pub(crate) fn carrier(&self, line: Line) -> Option<Task> {
        let client = line.client();
        let life = self.life_of(client)?;
        match line {
            Line::Get(_) | Line::Post(_) => {
                let is_post = matches!(line, Line::Post(_));
                let is_it = |exchange: &Exchange| {
                    let own = exchange.sender.is_some_and(|(owner, _)| owner == life);
                    own && exchange.body.is_some() == is_post && !exchange.dropped && exchange.stage != Stage::Done
                };
                self.exchanges.iter().position(is_it).map(Task::Exchange)
            }
            Line::Up(_) | Line::Down(_) => {
                let is_it = |channel: &Channel| channel.opener.is_some_and(|(owner, _)| owner == life) && !channel.torn;
                let index = self.channels.iter().rposition(is_it)?;
                let channel = &self.channels[index];
                let up = matches!(line, Line::Up(_));
                match channel.opening {
                    Opening::Asked(_) => up.then_some(Task::Opening(index)),
                    _ if up => Some(Task::Up(index)),
                    Opening::Accepted(_) | Opening::Refused(..) => Some(Task::Opening(index)),
                    Opening::Open => Some(Task::Down(index)),
                }
            }
        }
    }

    /// Whether something is on its way there and can arrive at once.
    pub(crate) fn arrives(&self, line: Line) -> Option<Task> {
        let client = line.client();
        let node = self.clients.get(client)?;
        let to_client_only = |task: &Task| match *task {
            Task::Exchange(index) => matches!(self.exchanges[index].stage, Stage::Answered { .. }),
            Task::Opening(index) => !matches!(self.channels[index].opening, Opening::Asked(_)),
            Task::Down(_) => true,
            _ => false,
        };
        let task = self.carrier(line).filter(|_| !node.silent)?;
        if node.asleep > self.now && to_client_only(&task) {
            return None;
        }
        let is_there = match task {
            Task::Exchange(index) => {
                self.exchanges[index].stage != Stage::Held
                    && (self.exchanges[index].stage != Stage::Body
                        || self.exchanges[index].spoilt != Some(Spoilt::Slow))
            }
            Task::Up(index) => self.channels[index].up.reads && !self.channels[index].up.pieces.is_empty(),
            Task::Down(index) => self.channels[index].down.reads && !self.channels[index].down.pieces.is_empty(),
            _ => true,
        };
        is_there.then_some(task)
    }

    /// The network does something to a client.
    fn blame(&mut self, what: &'static str, client: usize) {
        let whom = Place::Client(client).to_string();
        self.journal.note(self.now, Place::Network, what, 0, whom.as_bytes());
    }

    /// Whether a client waits for a channel to be opened.
    pub(crate) fn is_opening_channel(&self, client: usize) -> bool {
        match self.carrier(Line::Up(client)) {
            Some(Task::Opening(index) | Task::Up(index)) => {
                matches!(self.channels[index].opening, Opening::Asked(_))
            }
            _ => false,
        }
    }

    pub(crate) fn tear(&mut self, line: Line, client_after: u64, server_after: Option<u64>) -> Outcome {
        let Some(task) = self.carrier(line) else { return Ok(()) };
        let (client_at, server_at) = (self.later(client_after), server_after.map(|micros| self.later(micros)));
        self.incident(line.client(), Incidents::TORN);
        self.blame("tears a connection of", line.client());
        self.trouble(line.client(), server_at.unwrap_or(client_at).max(client_at));
        match task {
            Task::Exchange(index) => {
                let exchange = &mut self.exchanges[index];
                exchange.client_learns = Some(client_at);
                exchange.dropped = true;
                match exchange.stage {
                    Stage::Travelling => exchange.stage = Stage::Done,
                    Stage::Answered { .. } => {
                        exchange.stage = Stage::Done;
                        exchange.server_learns = server_at;
                    }
                    // A server that is never told would wait for the rest of a body for ever.
                    Stage::Body => exchange.server_learns = Some(server_at.unwrap_or(client_at)),
                    Stage::Held => exchange.server_learns = Some(server_at.unwrap_or(client_at)),
                    Stage::Done => (),
                }
                if exchange.stage == Stage::Body {
                    // The rest of it does not come.
                    exchange.stage = Stage::Held;
                }
            }
            Task::Opening(index) | Task::Up(index) | Task::Down(index) => {
                self.tear_channel(index, client_at, server_at);
            }
            _ => (),
        }
        Ok(())
    }

    fn tear_channel(&mut self, index: usize, client_at: Instant, server_at: Option<Instant>) {
        let channel = &mut self.channels[index];
        channel.torn = true;
        channel.up.cut(server_at.filter(|_| channel.server_open));
        channel.up.reads = true;
        channel.down.cut(None);
        channel.down.reads = true;
        match channel.opening {
            _ if !channel.client_open => (),
            Opening::Asked(_) | Opening::Accepted(_) => channel.opening = Opening::Refused(client_at, None),
            Opening::Refused(..) => (),
            Opening::Open => channel.down.cut(Some(client_at)),
        }
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
            Task::Up(index) => put_off(&mut self.channels[index].up, at),
            Task::Down(index) => put_off(&mut self.channels[index].down, at),
            _ => (),
        }
    }

    /// A proxy sends a request once more while the first one is with the server, and throws away what is answered. (Where
    /// the first one is not, the protocol cannot tell the two from two requests: its messages would be lost, or doubled.)
    pub(crate) fn repeat(&mut self, line: Line) {
        let Some(index) = self.with_server(line) else { return };
        self.incident(line.client(), Incidents::REPEATED);
        self.blame("repeats a request of", line.client());
        let copy = Exchange {
            sender: None,
            at_server: None,
            stage: Stage::Travelling,
            due: self.now,
            client_learns: None,
            server_learns: None,
            dropped: false,
            spoilt: None,
            carries: false,
            report: None,
            ..self.exchanges[index].clone()
        };
        self.exchanges.push(copy);
    }

    /// The request of a line, if the server has it and has not answered.
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

    /// Somebody else uses a session.
    pub(crate) fn intrude(&mut self, client: usize, what: Intrusion) {
        let Some(seat) = self.seat_of(client) else { return };
        let sid = self.sessions[seat].sid.clone();
        let server = self.sessions[seat].server;
        let at = self.arrival();
        self.blame("lets a stranger use the session of", client);
        let target = |transport: &str| format!("/engine.io/?EIO=4&transport={transport}&sid={sid}");
        // A GET that meets no other would take messages, and nobody could know.
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
            // It must not be noticed at all.
            Intrusion::PlainUpgrade => (),
            Intrusion::Junk => self.incident(client, Incidents::JUNK),
            _ => self.incident(client, Incidents::STRANGER),
        }
        self.exchanges.push(Exchange {
            client,
            sender: None,
            life: None,
            target: target(transport),
            body: body.map(Bytes::from),
            server,
            at_server: None,
            stage: Stage::Travelling,
            due,
            client_learns: None,
            server_learns: None,
            dropped: false,
            spoilt: None,
            carries: false,
            report: None,
        });
    }

    fn intrude_channel(&mut self, client: usize, server: usize, target: String, what: Intrusion) {
        let at = self.arrival();
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
                for life in 0..self.lives.len() {
                    if self.lives[life].server == server {
                        self.lives[life].incidents.add(Incidents::SILENT.and(Incidents::LATE));
                        self.trouble(self.lives[life].client, until);
                    }
                }
                let clock = &mut self.servers[server].clock;
                clock.late = clock.late.max(until);
            }
        }
    }

    pub(crate) fn set_back(&mut self, node: Node, micros: u64) {
        // A server wakes sessions when it likes, and so tells them the time; their twins cannot know.
        if matches!(node, Node::Server(_)) && self.settings.twins {
            return;
        }
        // What is heard at a wrong time is heard too early or too late.
        if micros > 1000 {
            self.delay_timers(node, 0);
        }
        match node {
            Node::Client(client) => self.clients[client].clock.back = micros,
            Node::Server(server) => self.servers[server].clock.back = micros,
        }
    }

    /// Law 6: calls without need change nothing.
    pub(crate) fn call_without_need(&mut self, node: Node) -> Outcome {
        let now = self.now;
        let stranger = engineio_proto::ChannelId(u64::MAX);
        match node {
            Node::Client(client) => {
                let Some(life) = self.life_of(client) else { return Ok(()) };
                let machine = &self.lives[life].machine;
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
                if machine.state() != engineio_proto::client::State::Closed {
                    self.client_timer(client)?;
                    self.client_timer(client)?;
                }
            }
            Node::Server(server) => {
                let seats: Vec<_> = self.servers[server].sessions.values().copied().collect();
                for seat in seats {
                    let Some(session) = self.session(seat) else { continue };
                    if session.next_timeout().is_some_and(|at| at <= now) {
                        continue;
                    }
                    let mut once = session.clone();
                    once.handle_timeout(now);
                    if (once.next_timeout(), once.state(), once.phase())
                        != (session.next_timeout(), session.state(), session.phase())
                    {
                        return broken(Law::Idle, format!("session {seat} was changed by an early call"));
                    }
                    let mut again = once.clone();
                    again.handle_timeout(now);
                    again.handle_timeout(Instant::ZERO);
                    let frame = again.next_frame(Instant::ZERO, stranger);
                    if once != again || frame.is_some() || again.has_output() != session.has_output() {
                        return broken(Law::Idle, format!("session {seat} was changed by calls without need"));
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
        let seats: Vec<_> = self.servers[server].sessions.values().copied().collect();
        seats.into_iter().try_for_each(|seat| self.close(End::Seat(seat), Asked::Abort))
    }

    /// A server dies, and another one takes its place.
    pub(crate) fn crash(&mut self, server: usize) -> Outcome {
        self.journal.note(self.now, Place::Server(server), "dies", 0, b"");
        let at = self.arrival();
        for life in self.lives.iter_mut().filter(|life| life.server == server) {
            life.incidents.add(Incidents::CRASH);
        }
        for seat in self.sessions.iter_mut().filter(|seat| seat.server == server) {
            seat.crashed = true;
            seat.app.readable = None;
        }
        for exchange in self.exchanges.iter_mut().filter(|exchange| exchange.server == server) {
            exchange.server_learns = None;
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
                self.tear_channel(index, at, None);
                if self.channels[index].opener.is_none() {
                    self.channels[index].client_open = false;
                }
            }
        }
        self.servers[server] = ServerNode::new(&self.settings)?;
        Ok(())
    }
}

fn put_off(pipe: &mut Pipe, at: Instant) {
    // What is behind cannot overtake.
    for (due, _) in &mut pipe.pieces {
        *due = (*due).max(at);
    }
}
