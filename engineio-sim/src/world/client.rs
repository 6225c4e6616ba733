//! The embedder of a client: it carries out the outputs of the machine, and reports the results.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use engineio_proto::app::Peer;
use engineio_proto::client;
use engineio_proto::wire::{Frame, Packet, PacketKind};
use engineio_proto::{
    ChannelEnd, ChannelId, Client, CloseReason, Event, ExchangeId, Instant, Message, Phase, RequestError,
};

use super::apps::End;
use super::core::{Core, Outcome};
use super::net::{Channel, Exchange, Opening, Piece, Pipe, Stage, Way, bytes_of};
use super::nodes::{Attempt, Call, What};
use super::writing::recv;
use crate::coverage::Kind;
use crate::expected::{self, Expected};
use crate::journal::Place;
use crate::op::Node;
use crate::oracle::{Incidents, Law, Scene, broken, check_body, explains_client, explains_upgrade_failure};
use crate::settings::Start;

impl Core {
    /// A client starts a session, if it has none, because an operation says so.
    pub(crate) fn start(&mut self, client: usize, server: usize, start: Start) -> Outcome {
        let before = self.attempts.len();
        self.connect(client, server, start)?;
        if self.attempts.len() > before { self.will_return(client, server, start) } else { Ok(()) }
    }

    /// A client starts a session, if it has none.
    pub(crate) fn connect(&mut self, client: usize, server: usize, start: Start) -> Outcome {
        let is_free = self.attempt_of(client).is_none_or(|attempt| self.attempts[attempt].is_over());
        if !is_free || client >= self.own_clients() || server >= self.servers.len() {
            return Ok(());
        }
        let config = Arc::new(self.settings.client(start));
        let entropy = self.attempts.len() as u64 * 1000;
        let expected = expected::Client::new(self.now, &config);
        let machine = match Client::new(self.now, config, entropy) {
            Ok(machine) => machine,
            Err(error) => return broken(Law::Settings, format!("the settings make no sense: {error}")),
        };
        let mut attempt = Attempt::new(client, server, machine, expected, self.settings.twins);
        attempt.dirty = Some(self.now);
        let node = &self.clients[client];
        let late = node.clock.late.max(node.asleep).max(self.servers[server].clock.late);
        if node.silent || late > self.now {
            attempt.incidents.add(Incidents::SILENT.and(Incidents::LATE));
            attempt.troubled_until = late.max(self.now);
        }
        let asleep = self.servers[server].asleep;
        if asleep > self.now {
            attempt.incidents.add(Incidents::SERVER_STOOD.and(Incidents::LATE));
            attempt.troubled_until = attempt.troubled_until.max(asleep);
        }
        self.clients[client].storm = 0;
        self.clients[client].attempt = Some(self.attempts.len());
        self.attempts.push(attempt);
        self.totals.attempts += 1;
        Ok(())
    }

    /// Starts a session of a foreign client. Its machine stays idle: nothing carries out its outputs.
    pub(crate) fn foreign_attempt(&mut self, client: usize) -> Option<usize> {
        let config = Arc::new(self.settings.client(Start::Polling));
        let expected = expected::Client::new(self.now, &config);
        let machine = Client::new(self.now, config, 0).ok()?;
        let mut attempt = Attempt::new(client, client % self.servers.len(), machine, expected, false);
        attempt.incidents.add(Incidents::FOREIGN);
        let node = &self.servers[attempt.server];
        if node.clock.late.max(node.asleep) > self.now {
            attempt.incidents.add(Incidents::LATE);
        }
        attempt.app.events.closed = Some(CloseReason::ForcedClose);
        self.attempts.push(attempt);
        Some(self.attempts.len() - 1)
    }

    /// Calls the machine of a client, and checks it afterwards.
    pub(crate) fn call_client<R: PartialEq + Debug>(
        &mut self,
        attempt: usize,
        kind: Kind,
        call: impl Fn(&mut Client, Instant) -> R,
        expect: impl FnOnce(&mut expected::Client, Instant) -> R,
    ) -> Outcome<R> {
        let lazy = if self.settings.lazy_outputs { self.lag() } else { self.now };
        let side = &mut self.attempts[attempt];
        let now = self.clients[side.client].clock.tell(self.now);
        let (before, transport) = (side.machine.state(), side.machine.transport());
        let (phase, pending) = (side.machine.phase(), side.machine.has_output());
        let result = call(&mut side.machine, now);
        if let Some(twin) = &mut side.twin {
            twin.call(&result, |machine| call(machine, now))?;
        }
        if let Err(violation) = side.machine.check() {
            return broken(Law::Check, format!("client {}: {violation}", side.client));
        }
        if side.slot.is_none() {
            let sid = side.machine.sid().map(|sid| sid.as_str());
            side.slot = sid.and_then(|sid| self.sessions.iter().position(|slot| slot.sid == sid));
        }
        let received = side.machine.receive_buffered();
        if received > self.settings.receive_limit + self.largest {
            return broken(Law::Bytes, format!("client {} holds {received} bytes that arrived", side.client));
        }
        side.app.crowded |= received >= self.settings.receive_limit;
        side.app.cost.call();
        let expected = expect(&mut side.expected, now);
        side.compare(&result, &expected)?;
        let after = side.machine.state();
        let retried = before == client::State::Opening && after == before && transport != side.machine.transport();
        side.retried |= retried;
        self.coverage.client(before, kind, after, retried);
        if side.machine.has_output() && side.dirty.is_none() {
            side.dirty = Some(lazy);
        }
        self.watch(End::Attempt(attempt), phase, pending)?;
        Ok(result)
    }

    /// Something happens to a client.
    fn tell_client(&mut self, attempt: usize, kind: Kind, input: client::Input) -> Outcome {
        match &input {
            client::Input::Answered { body, .. } => self.attempts[attempt].app.cost.take(body.len()),
            client::Input::ChannelFrame { frame, .. } => self.attempts[attempt].app.cost.take(frame.len()),
            _ => (),
        }
        let expect = |expected: &mut expected::Client, now| expected.input(now, &input);
        self.call_client(attempt, kind, |machine, now| machine.handle_input(now, input.clone()), expect)
    }

    pub(crate) fn client_timer(&mut self, client: usize) -> Outcome {
        let Some(attempt) = self.attempt_of(client) else { return Ok(()) };
        let now = self.now;
        self.clients[client].clock.back = 0;
        let expect = |expected: &mut expected::Client, now| expected.timeout(now);
        self.call_client(attempt, Kind::Timeout, |machine, now| machine.handle_timeout(now), expect)?;
        match self.attempts[attempt].machine.next_timeout() {
            Some(next) if next <= now => {
                broken(Law::Timers, format!("client {client}: {next:?} is due at {now:?} still"))
            }
            _ => Ok(()),
        }
    }

    /// Carries out the outputs of a client.
    pub(crate) fn obey_client(&mut self, client: usize) -> Outcome {
        let Some(attempt) = self.attempt_of(client) else { return Ok(()) };
        self.attempts[attempt].dirty = None;
        while let Some(output) = self.attempts[attempt].machine.poll_output() {
            if let Some(twin) = &mut self.attempts[attempt].twin {
                twin.expect(output.clone());
            }
            self.attempts[attempt].see(&output)?;
            self.obey_client_output(client, attempt, output)?;
        }
        self.compare(End::Attempt(attempt))?;
        self.attempts[attempt].has_said_everything()?;
        if self.attempts[attempt].is_over() {
            // Its close packet may be in transit, and nothing else.
            let polls = |exchange: &Exchange| {
                let own = exchange.sender.is_some_and(|(owner, _)| owner == attempt);
                own && exchange.body.is_none() && !exchange.dropped && exchange.stage != Stage::Done
            };
            if self.exchanges.iter().any(polls) || self.channels.iter().any(|own| own.is_of(attempt) && own.client_open)
            {
                return broken(Law::Exchanges, format!("client {client} is over, and still has a poll or a channel"));
            }
            if let Some(twin) = &mut self.attempts[attempt].twin {
                twin.compare()?;
            }
            if !self.attempts[attempt].machine.is_finished() {
                return broken(Law::End, format!("client {client} is over, and not finished"));
            }
        }
        Ok(())
    }

    fn obey_client_output(&mut self, client: usize, attempt: usize, output: client::Output) -> Outcome {
        let place = Place::Client(client);
        let at = self.arrival();
        match output {
            client::Output::Request { exchange, request } => {
                let limit = self.attempts[attempt].machine.max_payload().unwrap_or(usize::MAX);
                let body = match request.body {
                    Some(payload) => {
                        let body = payload.clone().into_bytes();
                        check_body(&payload, &body, limit, false)?;
                        let is_message = |packet: &&Packet| packet.kind() == PacketKind::Message;
                        let messages = payload.packets().iter().filter(is_message).count();
                        if messages > 0 {
                            self.attempts[attempt].app.written.leave_by_http(exchange, messages as u64);
                        }
                        Some(body)
                    }
                    None => None,
                };
                let what = if body.is_some() { "asks to POST" } else { "asks to GET" };
                self.journal.note(self.now, place, what, exchange.0, body.as_deref().unwrap_or_default());
                let is_post = body.is_some();
                let same = |other: &&Exchange| {
                    let waits = !other.dropped || other.client_learns.is_some();
                    other.sender.is_some_and(|(owner, _)| owner == attempt) && other.body.is_some() == is_post && waits
                };
                if self.exchanges.iter().filter(same).count() > 0 {
                    return broken(Law::Exchanges, format!("client {client} has two requests of a kind under way"));
                }
                let server = self.attempts[attempt].server;
                self.exchanges.push(Exchange {
                    sender: Some((attempt, exchange)),
                    attempt: Some(attempt),
                    ..Exchange::new(client, server, request.target, body, at)
                });
                if !is_post {
                    self.answer_in_a_storm(client)?;
                }
            }
            client::Output::Cancel { exchange } => {
                self.journal.note(self.now, place, "cancels", exchange.0, b"");
                let own = self.exchanges.iter_mut().find(|other| other.sender == Some((attempt, exchange)));
                let Some(own) = own else {
                    return self.stale(format!("client {client} cancels {exchange:?}, which is not under way"));
                };
                own.dropped = true;
                own.client_learns = None;
                own.server_learns = Some(at);
                match own.stage {
                    Stage::Travelling | Stage::Body | Stage::Held => (),
                    Stage::Answered { .. } | Stage::Done => own.lose_answer(),
                }
            }
            client::Output::ChannelOpen { channel, target } => {
                self.journal.note(self.now, place, "asks for a channel", channel.0, b"");
                self.channels.push(Channel {
                    client,
                    opener: Some((attempt, channel)),
                    foreign: false,
                    attempt: None,
                    target,
                    server: self.attempts[attempt].server,
                    at_server: None,
                    opening: Opening::Asked(at),
                    heard_at: None,
                    client_open: true,
                    server_open: false,
                    up: Pipe::default(),
                    down: Pipe::default(),
                    torn: false,
                });
            }
            client::Output::ChannelReady { channel } => {
                let lazy = if self.settings.lazy_writes { self.lag() } else { self.now };
                match self.channel_of(attempt, channel) {
                    Some(own) => self.channels[own].up.ready = Some(lazy),
                    None => {
                        return self.stale(format!("client {client} has frames for {channel:?}, which is not open"));
                    }
                }
            }
            client::Output::ChannelRead { channel, enabled } => {
                if let Some(own) = self.channel_of(attempt, channel) {
                    self.channels[own].down.reads = enabled;
                }
            }
            client::Output::ChannelClose { channel } => {
                self.journal.note(self.now, place, "closes the channel", channel.0, b"");
                if let Some(index) = self.channel_of(attempt, channel) {
                    let own = &mut self.channels[index];
                    own.client_open = false;
                    own.down.sink(0);
                    self.finish_channel(Way::Up, index)?;
                    let own = &mut self.channels[index];
                    if own.opening != Opening::Open && !matches!(own.opening, Opening::Asked(_)) {
                        own.opening = Opening::Open;
                    }
                }
            }
            client::Output::Event(event) => self.client_hears(client, attempt, event)?,
        }
        Ok(())
    }

    /// Returns a channel that is open at the client.
    fn channel_of(&self, attempt: usize, channel: ChannelId) -> Option<usize> {
        self.channels.iter().position(|other| other.opener == Some((attempt, channel)) && other.client_open)
    }

    fn client_hears(&mut self, client: usize, attempt: usize, event: Event) -> Outcome {
        self.hear(Place::Client(client), event);
        let lazy = if self.settings.lazy_reads { self.lag() } else { self.now };
        let now = self.now;
        let app = &mut self.attempts[attempt].app;
        app.events.hear(event)?;
        if app.events.is_over() {
            app.ended_at.get_or_insert(now);
            app.written.stop_waiting();
            self.has_ended_in_time(End::Attempt(attempt))?;
        }
        let call = |what| Call::Of { node: Node::Client(client), peer: Peer(attempt as u64), what };
        match event {
            Event::Opened => {
                if self.attempts[attempt].slot.is_none_or(|slot| self.sessions[slot].attempt != attempt) {
                    return broken(Law::End, format!("client {client} opened a session that is not its own"));
                }
                self.totals.opened += 1;
                self.has_opened(client);
                self.calls.push_back(call(What::Open));
            }
            Event::Readable => {
                self.attempts[attempt].app.readable.get_or_insert(lazy);
            }
            Event::Writable => {
                self.hear_writable(End::Attempt(attempt))?;
                self.calls.push_back(call(What::Writable));
            }
            Event::Written => self.hear_written(End::Attempt(attempt))?,
            Event::Upgraded(_) => self.totals.upgrades += 1,
            Event::UpgradeFailed(error) => {
                self.totals.failed_upgrades += 1;
                let scene = self.client_scene(attempt);
                if !scene.incidents.any(Incidents::FOREIGN) && !explains_upgrade_failure(error, scene) {
                    return broken(
                        Law::Probes,
                        format!("the upgrade of client {client} failed, which nothing explains: {error}"),
                    );
                }
            }
            Event::Ended(reason) => self.explain_client(client, attempt, reason)?,
            Event::Closed(reason) => {
                self.explain_client(client, attempt, reason)?;
                if self.attempts[attempt].app.events.closed != self.attempts[attempt].machine.close_reason() {
                    return broken(Law::End, format!("client {client} closed with {reason}, and says something else"));
                }
                self.has_lost(client)?;
                // An application is not told of an attempt that opened no session.
                if self.attempts[attempt].app.events.has_opened() {
                    self.calls.push_back(call(What::Close(reason)));
                }
            }
            _ => (),
        }
        Ok(())
    }

    /// Law 3: an event explains the end.
    fn explain_client(&self, client: usize, attempt: usize, reason: CloseReason) -> Outcome {
        let scene = self.client_scene(attempt);
        if scene.incidents.any(Incidents::FOREIGN) || explains_client(reason, scene) {
            return Ok(());
        }
        broken(Law::End, format!("client {client} ended with {reason} ({reason:?}), which nothing explains"))
    }

    fn client_scene(&self, attempt: usize) -> Scene {
        let Attempt { incidents, app, machine, .. } = &self.attempts[attempt];
        let closing = app.asked_at.map(|at| self.now.saturating_since(at));
        // Its clock may have gone back a little.
        let slack = Duration::from_millis(1);
        let is_over_time = closing.is_some_and(|time| time + slack >= machine.config().close_timeout);
        let is_troubled = self.is_troubled(attempt);
        Scene {
            incidents: *incidents,
            is_troubled,
            asked: app.asked,
            is_over_time,
            other_left: self.server_left(attempt),
        }
    }

    /// The application of a client takes a message, if it reads and there is one.
    pub(crate) fn client_takes(&mut self, attempt: usize) -> Outcome<bool> {
        let client = self.attempts[attempt].client;
        let expect = |expected: &mut expected::Client, now| expected.recv(now);
        let message = self.call_client(attempt, Kind::Recv, |machine, now| recv(machine, now), expect)?;
        let again = if self.settings.lazy_reads { self.lag() } else { self.now };
        let app = &mut self.attempts[attempt].app;
        app.readable = message.is_some().then_some(again);
        let Some(message) = message else { return Ok(false) };
        self.received(Place::Client(client), &message);
        // Messages that arrive before the client knows its session belong to the session that it will know.
        let Some(slot) = self.attempts[attempt].slot else {
            return broken(Law::Messages, format!("client {client} received {message:?} before it was open"));
        };
        if !self.attempts[attempt].incidents.any(Incidents::FOREIGN) {
            self.sessions[slot].app.sends.receive(&message)?;
        }
        let what = What::Message(message);
        self.calls.push_back(Call::Of { node: Node::Client(client), peer: Peer(attempt as u64), what });
        Ok(true)
    }

    /// An answer arrives at a client.
    pub(crate) fn answer_arrives(&mut self, index: usize, status: u16, body: bytes::Bytes) -> Outcome {
        let exchange = &self.exchanges[index];
        let (server, client) = (exchange.server, exchange.client);
        if exchange.foreign {
            return self.foreign_hears_answer(index, status, &body);
        }
        let Some((attempt, id)) = exchange.sender else { return Ok(()) };
        let what = match status {
            200 => "200",
            408 => "408",
            413 => "413",
            503 => "503",
            _ => "400",
        };
        let ends = (Place::Server(server), Place::Client(client));
        self.journal.arrow(self.now, ends, what, id.0, &body);
        let kind = if status == 200 { Kind::Answered } else { Kind::Refused };
        // The messages of a POST are written when it was answered.
        if status == 200 && self.attempts[attempt].machine.phase() != Phase::Closed {
            self.attempts[attempt].app.written.exchange_written(id);
        }
        self.tell_client(attempt, kind, client::Input::Answered { exchange: id, status, body })
    }

    pub(crate) fn client_learns(&mut self, index: usize) -> Outcome {
        let exchange = &mut self.exchanges[index];
        exchange.client_learns = None;
        exchange.dropped = true;
        let client = exchange.client;
        let Some((attempt, id)) = exchange.sender else { return Ok(()) };
        self.journal.note(self.now, Place::Client(client), "hears of a lost connection", id.0, b"");
        self.exchange_failed(attempt, id)
    }

    fn exchange_failed(&mut self, attempt: usize, exchange: ExchangeId) -> Outcome {
        self.tell_client(attempt, Kind::Failed, client::Input::Failed { exchange, error: RequestError::Lost })
    }

    /// A client gets the result of opening its channel.
    pub(crate) fn client_hears_of_channel(&mut self, index: usize) -> Outcome {
        let channel = &mut self.channels[index];
        let opening = std::mem::replace(&mut channel.opening, Opening::Open);
        let (client, server) = (channel.client, channel.server);
        let Some((attempt, id)) = channel.opener.filter(|_| channel.client_open) else { return Ok(()) };
        let ends = (Place::Server(server), Place::Client(client));
        if let Opening::Refused(_, details) = opening {
            channel.client_open = false;
            self.journal.arrow(self.now, ends, "refuses the channel", id.0, b"");
            return self.client_channel_ends(attempt, id, ChannelEnd::Unopened, details);
        }
        self.journal.arrow(self.now, ends, "101", id.0, b"");
        self.tell_client(attempt, Kind::ChannelOpened, client::Input::ChannelOpened { channel: id })
    }

    fn client_channel_ends(
        &mut self,
        attempt: usize,
        channel: ChannelId,
        end: ChannelEnd,
        details: Option<client::Details>,
    ) -> Outcome {
        self.tell_client(attempt, Kind::ChannelClosed, client::Input::ChannelClosed { channel, end, details })
    }

    /// The next frame of a channel arrives at the client.
    pub(crate) fn frame_down(&mut self, index: usize) -> Outcome {
        if self.channels[index].client_open {
            self.report(Way::Up, index)?;
        }
        let channel = &mut self.channels[index];
        let Some(piece) = channel.down.next(self.now) else { return Ok(()) };
        if channel.foreign {
            return if channel.client_open { self.foreign_hears_piece(index, piece) } else { Ok(()) };
        }
        let (client, server) = (channel.client, channel.server);
        let Some((attempt, id)) = channel.opener.filter(|_| channel.client_open) else {
            // A stranger does not answer; an operation makes it leave.
            if matches!(piece, Piece::End(_)) {
                channel.client_open = false;
            }
            return Ok(());
        };
        let ends = (Place::Server(server), Place::Client(client));
        match piece {
            Piece::Frame(frame) => {
                self.journal.arrow(self.now, ends, "frame", id.0, &bytes_of(&frame));
                let kind = match &frame {
                    Frame::Text { data, .. } if *data == *"3probe" => Kind::Probe,
                    _ => Kind::Frame,
                };
                self.tell_client(attempt, kind, client::Input::ChannelFrame { channel: id, frame })
            }
            Piece::End(end) => {
                channel.client_open = false;
                channel.up.ready = None;
                let what = if end == ChannelEnd::Closed { "closes the channel" } else { "the channel is lost" };
                self.journal.arrow(self.now, ends, what, id.0, b"");
                self.client_channel_ends(attempt, id, end, None)
            }
        }
    }

    pub(crate) fn greeting(&self) -> Option<Message> {
        self.settings.initial_message()
    }
}
