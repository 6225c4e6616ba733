//! The embedder of a server: it carries out the outputs of its sessions. What arrives is in `arrivals`.

use std::fmt::Debug;
use std::time::Duration;

use engineio_proto::app::Peer;
use engineio_proto::http::Response;
use engineio_proto::server::{Input, Output};
use engineio_proto::{ChannelId, CloseReason, Event, ExchangeId, Instant, Session};

use super::apps::End;
use super::core::{Core, Outcome};
use super::net::{Exchange, Stage, Way};
use super::nodes::{Call, Slot, What};
use super::writing::recv;
use crate::coverage::Kind;
use crate::expected::{self, Expected};
use crate::journal::Place;
use crate::op::Node;
use crate::oracle::{Incidents, Law, Scene, broken, check_body, check_headers, explains_server};

impl Core {
    /// Calls a session, if it still exists, and checks its server afterwards.
    pub(crate) fn call_session<R: PartialEq + Debug>(
        &mut self,
        slot: usize,
        kind: Kind,
        call: impl Fn(&mut Session, Instant) -> R,
        expect: impl FnOnce(&mut expected::Session, Instant) -> R,
    ) -> Outcome<Option<R>> {
        let lazy = if self.settings.lazy_outputs { self.lag() } else { self.now };
        let side = &mut self.sessions[slot];
        if side.crashed {
            return Ok(None);
        }
        let server = &mut self.servers[side.server];
        let now = server.clock.tell(self.now);
        let Some(mut session) = server.machine.session_mut(side.key) else { return Ok(None) };
        let (before, phase, pending) = (session.state(), session.phase(), session.has_output());
        let result = call(&mut session, now);
        side.app.cost.call();
        server.calls += 1;
        let expected = expect(&mut side.expected, now);
        side.compare(slot, &session, &result, &expected)?;
        let after = session.state();
        let received = session.receive_buffered();
        drop(session);
        if received > self.settings.receive_limit + self.largest {
            return broken(Law::Bytes, format!("session {slot} holds {received} bytes that arrived"));
        }
        side.app.crowded |= received >= self.settings.receive_limit;
        if let Some(twin) = &mut side.twin {
            twin.call(&result, |machine| call(machine, now))?;
        }
        self.coverage.session(before, kind, after);
        let index = side.server;
        self.look_at(index, lazy)?;
        self.watch(End::Slot(slot), phase, pending)?;
        Ok(Some(result))
    }

    /// Something happens to a session.
    pub(crate) fn tell_session(&mut self, slot: usize, kind: Kind, input: Input) -> Outcome {
        match &input {
            Input::PostBody { body: Ok(body), .. } => self.sessions[slot].app.cost.take(body.len()),
            Input::ChannelFrame { frame, .. } => self.sessions[slot].app.cost.take(frame.len()),
            _ => (),
        }
        let expect = |expected: &mut expected::Session, now| expected.input(now, &input);
        self.call_session(slot, kind, |session, now| session.handle_input(now, input.clone()), expect).map(drop)
    }

    /// The laws of a server between any two calls.
    pub(super) fn look_at(&mut self, server: usize, lazy: Instant) -> Outcome {
        let node = &mut self.servers[server];
        node.dirty.get_or_insert(lazy);
        match node.machine.check() {
            Ok(()) => Ok(()),
            Err(violation) => broken(Law::Check, format!("server {server}: {violation}")),
        }
    }

    /// A session is called for its timers, whether one is due or not.
    pub(crate) fn session_timer(&mut self, slot: usize) -> Outcome {
        let expect = |expected: &mut expected::Session, now| expected.timeout(now);
        self.call_session(slot, Kind::Timeout, |session, now| session.handle_timeout(now), expect).map(drop)
    }

    pub(crate) fn server_timer(&mut self, server: usize) -> Outcome {
        let lazy = if self.settings.lazy_outputs { self.lag() } else { self.now };
        let now = self.now;
        let mut before = Vec::new();
        for (index, slot) in
            self.sessions.iter_mut().enumerate().filter(|(_, slot)| slot.server == server && !slot.crashed)
        {
            if let Some(session) = self.servers[server].machine.session(slot.key) {
                let is_due = session.next_timeout().is_some_and(|at| at <= now);
                before.push((index, session.state(), session.phase(), session.has_output(), is_due));
                if let Some(twin) = &mut slot.twin {
                    twin.call(&(), |machine| machine.handle_timeout(now))?;
                }
            }
        }
        let node = &mut self.servers[server];
        node.calls += before.iter().filter(|(.., is_due)| *is_due).count() as u64;
        node.clock.back = 0;
        node.machine.handle_timeout(now);
        self.look_at(server, lazy)?;
        for &(slot, ..) in &before {
            let side = &mut self.sessions[slot];
            side.expected.timeout(now);
            if let Some(session) = self.servers[server].machine.session(side.key) {
                side.compare(slot, session, &(), &())?;
            }
        }
        for (slot, state, phase, pending, is_due) in before {
            if let Some(after) = self.session(slot).map(Session::state).filter(|_| is_due) {
                self.coverage.session(state, Kind::Timeout, after);
                self.watch(End::Slot(slot), phase, pending)?;
            }
        }
        match self.servers[server].machine.next_timeout() {
            Some(next) if next <= now => {
                broken(Law::Timers, format!("server {server}: {next:?} is due at {now:?} still"))
            }
            _ => Ok(()),
        }
    }

    /// Carries out the outputs of a server's sessions.
    pub(crate) fn obey_server(&mut self, server: usize) -> Outcome {
        self.servers[server].dirty = None;
        while let Some((key, output)) = self.servers[server].machine.poll_output() {
            let Some(&slot) = self.servers[server].sessions.get(&key) else {
                return broken(Law::End, format!("server {server} has outputs of a session that has left"));
            };
            if let Some(twin) = &mut self.sessions[slot].twin {
                twin.expect(output.clone());
            }
            self.sessions[slot].see(slot, &output)?;
            self.obey_output(server, slot, output)?;
        }
        self.count_held(server)?;
        for slot in self.servers[server].sessions.values().copied().collect::<Vec<_>>() {
            self.compare(End::Slot(slot))?;
            self.sessions[slot].has_said_everything(slot)?;
        }
        // A session that has announced its end is gone by now.
        let node = &self.servers[server];
        let sessions = &mut self.sessions;
        let gone: Vec<_> = node
            .sessions
            .iter()
            .filter(|(key, _)| node.machine.session(**key).is_none())
            .map(|(k, s)| (*k, *s))
            .collect();
        for (key, slot) in gone {
            self.servers[server].sessions.remove(&key);
            if sessions[slot].app.events.closed.is_none() {
                return broken(Law::End, format!("session {slot} has left without a word"));
            }
            if let Some(twin) = &mut sessions[slot].twin {
                twin.compare()?;
            }
            let is_own = |channel: &super::net::Channel| channel.at_server.is_some_and(|(_, own)| own == slot);
            if self.channels.iter().any(|channel| is_own(channel) && channel.server_open) {
                return broken(Law::End, format!("session {slot} has left, and its channel is open"));
            }
            if self.exchanges.iter().any(|exchange| exchange.is_open_at(slot)) {
                return broken(
                    Law::Exchanges,
                    format!("session {slot} has left, and a request of it was not answered"),
                );
            }
        }
        let told = |slot: &Slot| slot.server == server && !slot.crashed && slot.app.events.closed.is_some();
        let left = self.servers[server].sessions.values().any(|&slot| told(&self.sessions[slot]));
        if left { broken(Law::End, format!("server {server} keeps a session that is over")) } else { Ok(()) }
    }

    /// Law 1: at most one GET and one POST.
    fn count_held(&self, server: usize) -> Outcome {
        for &slot in self.servers[server].sessions.values() {
            for is_post in [false, true] {
                let held = |exchange: &&Exchange| exchange.is_open_at(slot) && exchange.body.is_some() == is_post;
                if self.exchanges.iter().filter(held).count() > 1 {
                    return broken(Law::Exchanges, format!("session {slot} holds two requests of a kind"));
                }
            }
        }
        Ok(())
    }

    fn obey_output(&mut self, server: usize, slot: usize, output: Output) -> Outcome {
        let at = self.arrival();
        if let Output::Respond { exchange, .. } | Output::Abort { exchange } = output {
            // Only once, however late it is carried out.
            if !self.sessions[slot].answered.insert(exchange) {
                return broken(Law::Exchanges, format!("session {slot} answers {exchange:?} twice"));
            }
        }
        if let Output::Respond { exchange, response: Response::Payload(payload) } = &output {
            self.answer_leaves(slot, *exchange, payload)?;
        }
        match output {
            Output::Respond { exchange, response } => match self.held(slot, exchange) {
                Some(index) => self.respond(index, response),
                None => self.stale(format!("session {slot} answers {exchange:?}, which does not wait for it")),
            },
            Output::Abort { exchange } => {
                let Some(index) = self.held(slot, exchange) else {
                    return self.stale(format!("session {slot} drops {exchange:?}, which does not wait for it"));
                };
                let held = &mut self.exchanges[index];
                self.sessions[slot].cut_short |= held.stage == Stage::Body;
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
                    Some(own) => self.channels[own].down.ready = Some(lazy),
                    None => return self.stale(format!("session {slot} has frames for a channel that is gone")),
                }
                Ok(())
            }
            Output::ChannelRead { channel, enabled } => {
                if let Some(own) = self.channel_at(server, channel) {
                    self.channels[own].up.reads = enabled;
                }
                Ok(())
            }
            Output::ChannelClose { channel } => {
                self.journal.note(self.now, Place::Server(server), "closes the channel", channel.0, b"");
                let Some(index) = self.channel_at(server, channel) else { return Ok(()) };
                let own = &mut self.channels[index];
                own.server_open = false;
                own.up.sink(0);
                own.up.reads = true;
                self.finish_channel(Way::Down, index)
            }
            Output::Event(event) => self.server_hears(server, slot, event),
        }
    }

    /// Returns the request that a session holds under this number.
    fn held(&self, slot: usize, exchange: ExchangeId) -> Option<usize> {
        self.exchanges.iter().position(|other| other.at_server == Some((exchange, slot)) && other.is_open_at(slot))
    }

    /// Handles an output that has no meaning any more. This is allowed if outputs are carried out late.
    pub(crate) fn stale(&self, what: String) -> Outcome {
        if self.settings.lazy_outputs { Ok(()) } else { broken(Law::Exchanges, what) }
    }

    /// Sends the answer of a server.
    pub(super) fn respond(&mut self, index: usize, response: Response) -> Outcome {
        let at = self.arrival();
        let limit = self.settings.max_payload;
        let payload = match &response {
            Response::Payload(payload) => Some(payload.clone()),
            _ => None,
        };
        let reply = response.into_reply();
        check_headers(&reply)?;
        let exchange = &mut self.exchanges[index];
        let number = exchange.at_server.map_or(0, |(id, _)| id.0);
        exchange.due = at;
        exchange.upload = None;
        let lost = exchange.dropped || exchange.client_learns.is_some();
        let (status, body) = (reply.status, reply.body.clone());
        exchange.stage = if lost { Stage::Done } else { Stage::Answered { status, body } };
        self.journal.note(self.now, Place::Server(exchange.server), "answers", number, &reply.body);
        match payload {
            Some(payload) => {
                check_body(&payload, &reply.body, limit, true)?;
                self.begin_answer(index, &payload)
            }
            None => Ok(()),
        }
    }

    /// Law 9: a ping is sent only after the previous one was answered.
    pub(crate) fn pings(&mut self, slot: usize) -> Outcome {
        let again = std::mem::replace(&mut self.sessions[slot].pinged, true);
        // At most an interval after the last pong, unless something delayed it.
        let slot_of = &self.sessions[slot];
        let attempt = &self.attempts[slot_of.attempt];
        let waits = Duration::from_micros(4 * self.settings.latency + self.settings.report_time + 10_000);
        let limit = Duration::from_millis(self.settings.ping_interval) + waits;
        let held_up = !attempt.is_quiet() || attempt.app.crowded || slot_of.app.crowded;
        if !held_up && self.now > slot_of.ponged_at + limit {
            return broken(
                Law::Heartbeat,
                format!("session {slot} pings {:?} after {:?}", self.now, slot_of.ponged_at),
            );
        }
        // The pong of a stranger may have answered a ping before that was sent.
        let is_alone =
            !self.attempts[self.sessions[slot].attempt].incidents.any(Incidents::STRANGER.and(Incidents::FOREIGN));
        if again && is_alone {
            return broken(Law::Heartbeat, format!("session {slot} sends a ping, and the one before was not answered"));
        }
        Ok(())
    }

    /// A pong arrives.
    pub(super) fn ponged(&mut self, slot: usize) {
        let now = self.now;
        let slot = &mut self.sessions[slot];
        (slot.pinged, slot.ponged_at) = (false, now);
    }

    /// Returns a channel that is open at the server.
    fn channel_at(&self, server: usize, channel: ChannelId) -> Option<usize> {
        self.channels.iter().position(|other| {
            other.server == server && other.server_open && other.at_server.is_some_and(|(id, _)| id == channel)
        })
    }

    fn server_hears(&mut self, server: usize, slot: usize, event: Event) -> Outcome {
        self.hear(Place::Server(server), event);
        let lazy = if self.settings.lazy_reads { self.lag() } else { self.now };
        let now = self.now;
        let app = &mut self.sessions[slot].app;
        app.events.hear(event)?;
        if app.events.is_over() {
            app.ended_at.get_or_insert(now);
            app.written.stop_waiting();
            self.has_ended_in_time(End::Slot(slot))?;
        }
        let call = |what| Call::Of { node: Node::Server(server), peer: Peer(slot as u64), what };
        match event {
            Event::Readable => {
                self.sessions[slot].app.readable.get_or_insert(lazy);
            }
            Event::Writable => {
                self.hear_writable(End::Slot(slot))?;
                self.calls.push_back(call(What::Writable));
            }
            Event::Written => self.hear_written(End::Slot(slot))?,
            Event::Ended(reason) => self.explain_session(slot, reason)?,
            Event::Closed(reason) => {
                self.explain_session(slot, reason)?;
                self.calls.push_back(call(What::Close(reason)));
            }
            _ => (),
        }
        Ok(())
    }

    /// Law 3: an event explains the end.
    fn explain_session(&self, slot: usize, reason: CloseReason) -> Outcome {
        // Whatever a foreign client does, the end is the expected one.
        if self.attempts[self.sessions[slot].attempt].incidents.any(Incidents::FOREIGN) {
            return Ok(());
        }
        let (app, incidents) = (&self.sessions[slot].app, self.attempts[self.sessions[slot].attempt].incidents);
        let other_left = self.client_left(slot);
        let is_troubled = self.is_troubled(self.sessions[slot].attempt);
        let closing = app.asked_at.map(|at| self.now.saturating_since(at));
        // Its clock may have gone back a little.
        let limit = Duration::from_millis(self.settings.close_timeout.saturating_sub(1));
        let is_over_time = closing.is_some_and(|time| time >= limit);
        let scene = Scene { incidents, is_troubled, asked: app.asked, is_over_time, other_left };
        if self.sessions[slot].cut_short && reason == CloseReason::PingTimeout {
            return broken(Law::Heartbeat, format!("session {slot} calls a client silent of which it receives a body"));
        }
        if explains_server(reason, scene) {
            return Ok(());
        }
        broken(Law::End, format!("session {slot} ended with {reason} ({reason:?}), which nothing explains"))
    }

    /// The application of a server takes a message of a session, if there is one.
    pub(crate) fn server_takes(&mut self, slot: usize) -> Outcome<bool> {
        let server = self.sessions[slot].server;
        let again = if self.settings.lazy_reads { self.lag() } else { self.now };
        let expect = |expected: &mut expected::Session, now| expected.recv(now);
        let message = self.call_session(slot, Kind::Recv, |session, now| recv(session, now), expect)?.flatten();
        let side = &mut self.sessions[slot];
        side.app.readable = message.is_some().then_some(again);
        let Some(message) = message else { return Ok(false) };
        let attempt = side.attempt;
        self.received(Place::Server(server), &message);
        if self.attempts[attempt].slot.is_some_and(|own| own != slot) {
            return broken(Law::Messages, format!("session {slot} received {message:?} of another session"));
        }
        if !self.attempts[attempt].incidents.any(Incidents::FOREIGN) {
            self.attempts[attempt].app.sends.receive(&message)?;
        }
        let what = What::Message(message);
        self.calls.push_back(Call::Of { node: Node::Server(server), peer: Peer(slot as u64), what });
        Ok(true)
    }
}
