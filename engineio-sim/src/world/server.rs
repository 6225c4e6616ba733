//! The hands of a server: what its sessions ask for is done. What arrives for them is in `arrivals`.

use std::fmt::Debug;
use std::time::Duration;

use engineio_proto::app::Peer;
use engineio_proto::http::Response;
use engineio_proto::server::{Input, Output};
use engineio_proto::wire::{Frame, PacketKind};
use engineio_proto::{ChannelEnd, ChannelId, CloseReason, Event, ExchangeId, Instant, Session};

use super::apps::End;
use super::core::{Core, Outcome};
use super::net::{Exchange, Piece, Stage, received};
use super::nodes::{Call, Seat, What};
use crate::coverage::Kind;
use crate::journal::Place;
use crate::op::Node;
use crate::oracle::{Incidents, Law, Scene, broken, check_body, check_frame, explains_server};

impl Core {
    /// Calls a session, if it is still there, and looks at its server afterwards.
    pub(crate) fn call_session<R: PartialEq + Debug>(
        &mut self,
        seat: usize,
        kind: Kind,
        call: impl Fn(&mut Session, Instant) -> R,
    ) -> Outcome<Option<R>> {
        let lazy = if self.settings.lazy_outputs { self.lag() } else { self.now };
        let side = &mut self.sessions[seat];
        if side.crashed {
            return Ok(None);
        }
        let server = &mut self.servers[side.server];
        let now = server.clock.tell(self.now);
        let Some(mut session) = server.machine.session_mut(side.key) else { return Ok(None) };
        let before = session.state();
        let result = call(&mut session, now);
        let after = session.state();
        let received = session.receive_buffered();
        drop(session);
        if received > self.settings.receive_limit + self.largest {
            return broken(Law::Bytes, format!("session {seat} holds {received} bytes that arrived"));
        }
        side.app.crowded |= received >= self.settings.receive_limit;
        if let Some(twin) = &mut side.twin {
            twin.call(&result, |machine| call(machine, now))?;
        }
        self.coverage.session(before, kind, after);
        let index = side.server;
        self.look_at(index, lazy)?;
        Ok(Some(result))
    }

    /// What must be true of a server between any two calls.
    pub(super) fn look_at(&mut self, server: usize, lazy: Instant) -> Outcome {
        let node = &mut self.servers[server];
        node.dirty.get_or_insert(lazy);
        match node.machine.check() {
            Ok(()) => Ok(()),
            Err(violation) => broken(Law::Check, format!("server {server}: {violation}")),
        }
    }

    pub(crate) fn server_timer(&mut self, server: usize) -> Outcome {
        let lazy = if self.settings.lazy_outputs { self.lag() } else { self.now };
        let now = self.now;
        let mut before = Vec::new();
        for (index, seat) in
            self.sessions.iter_mut().enumerate().filter(|(_, seat)| seat.server == server && !seat.crashed)
        {
            if let Some(session) = self.servers[server].machine.session(seat.key) {
                before.push((index, session.state(), session.next_timeout().is_some_and(|at| at <= now)));
                if let Some(twin) = &mut seat.twin {
                    twin.call(&(), |machine| machine.handle_timeout(now))?;
                }
            }
        }
        self.servers[server].clock.back = 0;
        self.servers[server].machine.handle_timeout(now);
        for (seat, state, due) in before {
            if let Some(after) = self.session(seat).map(Session::state).filter(|_| due) {
                self.coverage.session(state, Kind::Timeout, after);
            }
        }
        self.look_at(server, lazy)?;
        match self.servers[server].machine.next_timeout() {
            Some(next) if next <= now => {
                broken(Law::Timers, format!("server {server}: {next:?} is due at {now:?} still"))
            }
            _ => Ok(()),
        }
    }

    /// Does what the sessions of a server ask for.
    pub(crate) fn obey_server(&mut self, server: usize) -> Outcome {
        self.servers[server].dirty = None;
        while let Some((key, output)) = self.servers[server].machine.poll_output() {
            let Some(&seat) = self.servers[server].sessions.get(&key) else {
                return broken(Law::End, format!("server {server} has outputs of a session that has left"));
            };
            if let Some(twin) = &mut self.sessions[seat].twin {
                twin.expect(output.clone());
            }
            self.obey_output(server, seat, output)?;
        }
        self.count_held(server)?;
        // Whoever has told its end is gone by now.
        let node = &self.servers[server];
        let sessions = &mut self.sessions;
        let gone: Vec<_> = node
            .sessions
            .iter()
            .filter(|(key, _)| node.machine.session(**key).is_none())
            .map(|(k, s)| (*k, *s))
            .collect();
        for (key, seat) in gone {
            self.servers[server].sessions.remove(&key);
            if sessions[seat].app.events.closed.is_none() {
                return broken(Law::End, format!("session {seat} has left without a word"));
            }
            if let Some(twin) = &mut sessions[seat].twin {
                twin.compare()?;
            }
            let is_own = |channel: &super::net::Channel| channel.at_server.is_some_and(|(_, own)| own == seat);
            if self.channels.iter().any(|channel| is_own(channel) && channel.server_open) {
                return broken(Law::End, format!("session {seat} has left, and its channel is open"));
            }
            if self.exchanges.iter().any(|exchange| exchange.is_open_at(seat)) {
                return broken(
                    Law::Exchanges,
                    format!("session {seat} has left, and a request of it was not answered"),
                );
            }
        }
        let told = |seat: &Seat| seat.server == server && !seat.crashed && seat.app.events.closed.is_some();
        let left = self.servers[server].sessions.values().any(|&seat| told(&self.sessions[seat]));
        if left { broken(Law::End, format!("server {server} keeps a session that is over")) } else { Ok(()) }
    }

    /// Law 1: at most one GET and one POST.
    fn count_held(&self, server: usize) -> Outcome {
        for &seat in self.servers[server].sessions.values() {
            for is_post in [false, true] {
                let held = |exchange: &&Exchange| exchange.is_open_at(seat) && exchange.body.is_some() == is_post;
                if self.exchanges.iter().filter(held).count() > 1 {
                    return broken(Law::Exchanges, format!("session {seat} holds two requests of a kind"));
                }
            }
        }
        Ok(())
    }

    fn obey_output(&mut self, server: usize, seat: usize, output: Output) -> Outcome {
        let at = self.arrival();
        if let Output::Respond { exchange, .. } | Output::Abort { exchange } = output {
            // Once, however late it is carried out.
            if !self.sessions[seat].answered.insert(exchange) {
                return broken(Law::Exchanges, format!("session {seat} answers {exchange:?} twice"));
            }
        }
        match output {
            Output::Respond { exchange, response } => match self.held(seat, exchange) {
                Some(index) => self.respond(index, response),
                None => self.stale(format!("session {seat} answers {exchange:?}, which does not wait for it")),
            },
            Output::Abort { exchange } => {
                let Some(index) = self.held(seat, exchange) else {
                    return self.stale(format!("session {seat} drops {exchange:?}, which does not wait for it"));
                };
                let held = &mut self.exchanges[index];
                held.stage = Stage::Done;
                held.server_learns = None;
                if held.sender.is_some() && !held.dropped {
                    held.client_learns = Some(at);
                }
                Ok(())
            }
            Output::ChannelReady { channel } => {
                let lazy = if self.settings.lazy_writes { self.lag() } else { self.now };
                match self.channel_at(server, channel) {
                    Some(own) => own.down.ready = Some(lazy),
                    None => return self.stale(format!("session {seat} has frames for a channel that is gone")),
                }
                Ok(())
            }
            Output::ChannelRead { channel, enabled } => {
                if let Some(own) = self.channel_at(server, channel) {
                    own.up.reads = enabled;
                }
                Ok(())
            }
            Output::ChannelClose { channel } => {
                self.journal.note(self.now, Place::Server(server), "closes the channel", channel.0, b"");
                if let Some(own) = self.channel_at(server, channel) {
                    own.server_open = false;
                    own.down.ready = None;
                    own.up.pieces.clear();
                    own.up.reads = true;
                    if !own.torn && own.client_open {
                        own.down.pieces.push_back((at, Piece::End(ChannelEnd::Closed)));
                    }
                }
                Ok(())
            }
            Output::Event(event) => self.server_hears(server, seat, event),
        }
    }

    /// The request that a session holds under this number.
    fn held(&self, seat: usize, exchange: ExchangeId) -> Option<usize> {
        self.exchanges.iter().position(|other| other.at_server == Some((exchange, seat)) && other.is_open_at(seat))
    }

    /// A machine asks for something that has no meaning any more. That may be where its outputs are carried out late.
    pub(crate) fn stale(&self, what: String) -> Outcome {
        if self.settings.lazy_outputs { Ok(()) } else { broken(Law::Exchanges, what) }
    }

    /// The answer of a server, on its way from now on.
    pub(super) fn respond(&mut self, index: usize, response: Response) -> Outcome {
        let at = self.arrival();
        let limit = self.settings.max_payload;
        let is_payload = matches!(response, Response::Payload(_));
        let (mut carries, mut pings) = (false, false);
        let body = match &response {
            Response::Payload(payload) => {
                let has = |kind| payload.packets().iter().any(|packet| packet.kind() == kind);
                let idle = |kind| matches!(kind, PacketKind::Noop | PacketKind::Close);
                carries = payload.packets().iter().any(|packet| !idle(packet.kind()));
                pings = has(PacketKind::Ping);
                let body = payload.clone().into_bytes();
                check_body(payload, &body, limit, true)?;
                Some((200, body))
            }
            _ => None,
        };
        let (status, body) = body.unwrap_or_else(|| {
            let reply = response.into_reply();
            (reply.status, reply.body)
        });
        let exchange = &mut self.exchanges[index];
        let number = exchange.at_server.map_or(0, |(id, _)| id.0);
        exchange.due = at;
        exchange.carries = carries;
        exchange.report = is_payload.then_some(self.now);
        let lost = exchange.dropped || exchange.client_learns.is_some();
        exchange.stage = if lost { Stage::Done } else { Stage::Answered { status, body: body.clone() } };
        self.journal.note(self.now, Place::Server(exchange.server), "answers", number, &body);
        let seat = exchange.at_server.map(|(_, seat)| seat);
        seat.filter(|_| pings).map_or(Ok(()), |seat| self.pings(seat))
    }

    /// Law 9: a ping leaves only when the one before was answered.
    fn pings(&mut self, seat: usize) -> Outcome {
        let again = std::mem::replace(&mut self.sessions[seat].pinged, true);
        // Not later than an interval after the last pong, where nobody held it up.
        let seat_of = &self.sessions[seat];
        let life = &self.lives[seat_of.life];
        let waits = Duration::from_micros(4 * self.settings.latency + 10_000);
        let limit = Duration::from_millis(self.settings.ping_interval) + waits;
        let held_up = !life.is_quiet() || life.app.crowded || seat_of.app.crowded;
        if !held_up && self.now > seat_of.ponged_at + limit {
            return broken(
                Law::Heartbeat,
                format!("session {seat} pings {:?} after {:?}", self.now, seat_of.ponged_at),
            );
        }
        // The pong of a stranger may have answered one before it was carried out that it be sent.
        let is_alone = !self.lives[self.sessions[seat].life].incidents.any(Incidents::STRANGER);
        if again && is_alone {
            return broken(Law::Heartbeat, format!("session {seat} sends a ping, and the one before was not answered"));
        }
        Ok(())
    }

    /// A pong arrives.
    pub(super) fn ponged(&mut self, seat: usize) {
        let now = self.now;
        let seat = &mut self.sessions[seat];
        (seat.pinged, seat.ponged_at) = (false, now);
    }

    /// A channel whose end at the server is open.
    fn channel_at(&mut self, server: usize, channel: ChannelId) -> Option<&mut super::net::Channel> {
        let is_it = |other: &&mut super::net::Channel| {
            other.at_server.is_some_and(|(id, _)| id == channel) && other.server_open
        };
        self.channels.iter_mut().filter(|other| other.server == server).find(is_it)
    }

    fn server_hears(&mut self, server: usize, seat: usize, event: Event) -> Outcome {
        self.hear(Place::Server(server), event);
        let lazy = if self.settings.lazy_reads { self.lag() } else { self.now };
        let now = self.now;
        let app = &mut self.sessions[seat].app;
        app.events.hear(event)?;
        if app.events.is_over() {
            app.ended_at.get_or_insert(now);
            self.has_ended_in_time(End::Seat(seat))?;
        }
        let call = |what| Call::Of { node: Node::Server(server), peer: Peer(seat as u64), what };
        match event {
            Event::Readable => {
                self.sessions[seat].app.readable.get_or_insert(lazy);
            }
            Event::Writable => {
                if !self.settings.lazy_outputs {
                    self.sessions[seat].app.events.full = 0;
                }
                self.calls.push_back(call(What::Writable));
            }
            Event::Ended(reason) => self.explain_session(seat, reason)?,
            Event::Closed(reason) => {
                self.explain_session(seat, reason)?;
                self.calls.push_back(call(What::Close(reason)));
            }
            _ => (),
        }
        Ok(())
    }

    /// Law 3: something happened that explains the end.
    fn explain_session(&self, seat: usize, reason: CloseReason) -> Outcome {
        let (app, incidents) = (&self.sessions[seat].app, self.lives[self.sessions[seat].life].incidents);
        let other_left = self.client_left(seat);
        let is_troubled = self.is_troubled(self.sessions[seat].life);
        let closing = app.asked_at.map(|at| self.now.saturating_since(at));
        // Its clock may be back by a little.
        let limit = Duration::from_millis(self.settings.close_timeout.saturating_sub(1));
        let is_over_time = closing.is_some_and(|time| time >= limit);
        let scene = Scene { incidents, is_troubled, asked: app.asked, is_over_time, other_left };
        if explains_server(reason, scene) {
            return Ok(());
        }
        broken(Law::End, format!("session {seat} ended with {reason} ({reason:?}), which nothing explains"))
    }

    /// The application of a server takes a message of a session, if there is one.
    pub(crate) fn server_takes(&mut self, seat: usize) -> Outcome<bool> {
        let server = self.sessions[seat].server;
        let again = if self.settings.lazy_reads { self.lag() } else { self.now };
        let message = self.call_session(seat, Kind::Recv, |session, now| session.recv(now))?.flatten();
        let side = &mut self.sessions[seat];
        side.app.readable = message.is_some().then_some(again);
        let Some(message) = message else { return Ok(false) };
        let life = side.life;
        self.received(Place::Server(server), &message);
        if self.lives[life].seat.is_some_and(|own| own != seat) {
            return broken(Law::Messages, format!("session {seat} received {message:?} of another session"));
        }
        self.lives[life].app.sends.receive(&message)?;
        let what = What::Message(message);
        self.calls.push_back(Call::Of { node: Node::Server(server), peer: Peer(seat as u64), what });
        Ok(true)
    }

    /// A server writes the next frame to a channel.
    pub(crate) fn pull_down(&mut self, index: usize) -> Outcome {
        let at = self.arrival();
        let again = if self.settings.lazy_writes { self.lag() } else { self.now };
        let channel = &mut self.channels[index];
        let first = !std::mem::replace(&mut channel.down.used, true);
        channel.down.ready = Some(again);
        let Some((number, seat)) = channel.at_server else { return Ok(()) };
        let frame = self.call_session(seat, Kind::Pull, |session, now| session.next_frame(now, number))?.flatten();
        let channel = &mut self.channels[index];
        let Some(frame) = frame else {
            channel.down.ready = None;
            return Ok(());
        };
        check_frame(&frame, true, first)?;
        if matches!(&frame, Frame::Text { head: "2", .. }) {
            self.pings(seat)?;
        }
        self.call_session(seat, Kind::Written, |session, now| {
            let messages = session.stats().messages_sent;
            session.handle_input(now, Input::ChannelWritten { channel: number, messages });
        })?;
        let channel = &mut self.channels[index];
        if !channel.torn && channel.client_open {
            channel.down.pieces.push_back((at, Piece::Frame(received(frame))));
        }
        Ok(())
    }
}

impl Exchange {
    /// Whether a session has it and owes an answer.
    pub(crate) fn is_open_at(&self, seat: usize) -> bool {
        let is_open = matches!(self.stage, Stage::Body | Stage::Held);
        is_open && self.at_server.is_some_and(|(_, own)| own == seat)
    }
}
