//! What arrives at a server: requests and their bodies, channels and their frames, and the loss of connections.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use engineio_proto::app::Peer;
use engineio_proto::client::Details;
use engineio_proto::http::{Method, Operation, Rejection, Request, Response};
use engineio_proto::server::{Admission, BodyError, Entry, Input, NotAdmitted, SessionKey, State};
use engineio_proto::wire::Frame;
use engineio_proto::{ChannelEnd, ChannelId, ExchangeId, Instant, Message, Phase, Session, Sid, TransportKind};

use super::core::{Core, Outcome};
use super::faults::OVERTAKEN;
use super::net::{Answer, Exchange, Opening, PARTS, Parts, Piece, Spoilt, Stage, Way, bytes_of};
use super::nodes::{Call, Slot, What};
use crate::coverage::{Kind, Situation};
use crate::decoder::{Decoded, decode_payload};
use crate::journal::Place;
use crate::op::Node;
use crate::oracle::{Incidents, Law, broken};
use crate::{encoder, expected};

impl Core {
    /// Carries out the next step of an exchange.
    pub(crate) fn advance_exchange(&mut self, index: usize) -> Outcome {
        match self.exchanges[index].stage.clone() {
            Stage::Travelling => self.request_arrives(index),
            Stage::Body => {
                // The rest of it has left by now.
                while self.exchanges[index].upload.is_some() {
                    self.upload(index)?;
                }
                self.body_arrives(index)
            }
            Stage::Answered { .. } if self.is_behind_another(index) => {
                self.exchanges[index].due = self.later(self.settings.latency + 10_000);
                Ok(())
            }
            Stage::Answered { status, body } => {
                // What arrives was written, whenever the server reports it.
                while matches!(self.exchanges[index].answer, Answer::Writing(_)) {
                    self.write_answer(index)?;
                }
                let exchange = &mut self.exchanges[index];
                exchange.stage = Stage::Done;
                exchange.dropped = true;
                exchange.server_learns = None;
                self.answer_arrives(index, status, body)
            }
            Stage::Held | Stage::Done => Ok(()),
        }
    }

    fn request_arrives(&mut self, index: usize) -> Outcome {
        let at = self.arrival();
        let exchange = &mut self.exchanges[index];
        let (client, server, attempt) = (exchange.client, exchange.server, exchange.attempt);
        let target = exchange.target.clone();
        let (is_post, octet_stream) = (exchange.body.is_some(), exchange.octet_stream);
        if let Some(learns) = &mut exchange.server_learns {
            *learns = (*learns).max(at);
        }
        exchange.due = at;
        let number = ExchangeId(self.next_number());
        let ends = (Place::Client(client), Place::Server(server));
        let what = if is_post { "POST" } else { "GET" };
        self.journal.arrow(self.now, ends, what, number.0, b"");
        let method = if is_post { Method::Post } else { Method::Get };
        let query = target.split_once('?').map_or("", |(_, query)| query);
        let request = Request { method, query, origin: None, upgrade: false };
        let admission = Admission::begin(&request, &self.servers[server].config);
        let entry = Entry::Exchange { exchange: number, octet_stream };
        match self.admit(server, attempt, admission, entry)? {
            Ok((slot, Operation::Poll)) => {
                self.exchanges[index].at_server = Some((number, slot));
                self.exchanges[index].stage = Stage::Held;
                self.note_held_poll(slot);
            }
            Ok((slot, Operation::Post)) => {
                let now = self.now;
                let exchange = &mut self.exchanges[index];
                exchange.at_server = Some((number, slot));
                exchange.stage = Stage::Body;
                exchange.head_at = now;
                if exchange.pace > 0 {
                    let at = now + Duration::from_micros(exchange.pace);
                    exchange.upload = Some(Parts { left: PARTS, at });
                }
            }
            Err(NotAdmitted::Rejected(rejection)) => {
                self.exchanges[index].stage = Stage::Held;
                self.respond(index, Response::Rejected(rejection))?;
            }
            Ok(_) | Err(_) => return broken(Law::Wire, format!("{target} was taken for something else")),
        }
        Ok(())
    }

    /// Passes a request to the session that it opens or names.
    fn admit(
        &mut self,
        server: usize,
        attempt: Option<usize>,
        admission: Result<Admission, Rejection>,
        entry: Entry<'_>,
    ) -> Outcome<Result<(usize, Operation), NotAdmitted>> {
        let request = match admission {
            Ok(Admission::Session(request)) => request,
            Ok(admission) => {
                let Some(attempt) = attempt else { return broken(Law::Wire, "a stranger opened a session") };
                let entropy = u128::from(self.next_number()) << 64 | 0x5eed;
                let [_, bytes @ ..] = entropy.to_le_bytes();
                let is_full = self.is_full(server);
                let now = self.servers[server].clock.tell(self.now);
                let base64 = matches!(&admission, Admission::Ask(ask) if ask.handshake().base64);
                let makes_room = if is_full { self.session_to_evict(server, now) } else { None };
                let opened = self.servers[server].machine.admit(now, admission, entry, Some(Sid::from_entropy(bytes)));
                if opened.is_ok() && is_full && makes_room.is_none() {
                    return broken(Law::Admission, "a server that is full opens a session");
                }
                if let Some(slot) = makes_room {
                    self.evict(slot, now)?;
                }
                return Ok(match opened {
                    Ok(key) => Ok((self.slot(server, attempt, key, (now, base64, entry))?, Operation::Poll)),
                    Err(refused) => {
                        let upgrade = matches!(entry, Entry::Channel { .. });
                        let status = refused.clone().into_reply(upgrade).status;
                        if !is_full || makes_room.is_some() || status != 503 {
                            let what = format!("a handshake is answered with {status}; the server is full: {is_full}");
                            return broken(Law::Admission, what);
                        }
                        self.attempts[attempt].incidents.add(Incidents::FULL);
                        Err(refused)
                    }
                });
            }
            Err(rejection) => return Ok(Err(rejection.into())),
        };
        let node = &self.servers[server];
        let Some(key) = node.machine.find(&request.sid) else { return Ok(Err(Rejection::UnknownSid.into())) };
        let slot = match node.sessions.get(&key) {
            Some(&slot) if self.sessions[slot].sid == request.sid => slot,
            _ => return broken(Law::End, format!("server {server} found another session than {:?}", request.sid)),
        };
        let kind = match request.operation {
            Operation::Poll | Operation::Unsupported => Kind::Poll,
            Operation::Post => Kind::PostHead,
            Operation::Upgrade => Kind::ChannelOpened,
        };
        let config = Arc::clone(node.machine.config());
        if let Some(Err(rejection)) = node.machine.session(key).map(|session| request.fits(session, &config)) {
            return Ok(Err(rejection.into()));
        }
        let enter = |session: &mut Session, now| request.enter(session, &config, now, entry);
        let entered = self.call_session(slot, kind, enter, |expected, now| {
            match entry {
                Entry::Exchange { exchange, .. } if request.operation == Operation::Poll => {
                    expected.input(now, &Input::Poll { exchange });
                }
                Entry::Exchange { exchange, octet_stream } => {
                    expected.input(now, &Input::PostHead { exchange, octet_stream });
                }
                Entry::Channel { channel, .. } => {
                    expected.input(now, &Input::ChannelOpened { channel, base64: request.base64 });
                }
            }
            Ok(())
        })?;
        Ok(match entered {
            Some(Ok(())) => Ok((slot, request.operation)),
            Some(Err(refused)) => Err(refused),
            None => Err(Rejection::UnknownSid.into()),
        })
    }

    fn is_full(&self, server: usize) -> bool {
        let counts = |slot: &&usize| !self.sessions[**slot].is_evicted;
        self.servers[server].sessions.values().filter(counts).count() >= self.settings.max_sessions
    }

    /// Returns the session that makes room for another one: the oldest of those whose clients have shown nothing but their
    /// handshake for some time.
    fn session_to_evict(&self, server: usize, now: Instant) -> Option<usize> {
        let sessions = self.servers[server].sessions.iter();
        let may_go =
            sessions.filter_map(|(&key, &slot)| Some((self.sessions[slot].expected.evictable_from()?, key, slot)));
        may_go.filter(|&(from, ..)| from <= now).min().map(|(.., slot)| slot)
    }

    /// A session had to make room.
    fn evict(&mut self, slot: usize, now: Instant) -> Outcome {
        let side = &mut self.sessions[slot];
        self.attempts[side.attempt].incidents.add(Incidents::FULL);
        side.is_evicted = true;
        side.expected.evict(now);
        if let Some(twin) = &mut side.twin {
            twin.call(&(), |session| session.evict(now))?;
        }
        match self.servers[side.server].machine.session(side.key) {
            Some(session) => side.compare(slot, session, &(), &()),
            None => broken(Law::End, format!("session {slot} has left without a word")),
        }
    }

    /// Registers a session that was opened.
    fn slot(
        &mut self,
        server: usize,
        attempt: usize,
        key: SessionKey,
        (now, base64, entry): (Instant, bool, Entry<'_>),
    ) -> Outcome<usize> {
        let lazy = if self.settings.lazy_outputs { self.lag() } else { self.now };
        let Some(session) = self.servers[server].machine.session(key) else {
            return broken(Law::End, "a session that was opened is not there");
        };
        let (options, sid) = (expected::Options::new(&self.settings), session.sid().as_str());
        let expected = match entry {
            Entry::Exchange { exchange, .. } => expected::Session::polling(now, options, sid, exchange),
            Entry::Channel { channel, .. } => expected::Session::channel(now, options, sid, channel, base64),
        };
        let mut side = Slot::new(server, key, session, attempt, expected, (self.now, self.settings.twins));
        side.compare(self.sessions.len(), session, &(), &())?;
        if let Some(greeting) = self.greeting() {
            side.app.sends.send(greeting);
            // On polling, it comes with the open packet.
            side.app.greets = session.transport() == TransportKind::WebSocket;
        }
        let slot = self.sessions.len();
        if self.is_foreign(self.attempts[attempt].client) {
            self.attempts[attempt].slot = Some(slot);
        }
        self.sessions.push(side);
        self.servers[server].sessions.insert(key, slot);
        self.totals.sessions += 1;
        self.journal.note(self.now, Place::Server(server), "opens session", slot as u64 + 1, b"");
        self.calls.push_back(Call::Of { node: Node::Server(server), peer: Peer(slot as u64), what: What::Open });
        self.look_at(server, lazy)?;
        Ok(slot)
    }

    fn body_arrives(&mut self, index: usize) -> Outcome {
        let exchange = &mut self.exchanges[index];
        let Some((number, slot)) = exchange.at_server else { return Ok(()) };
        // The rest of it may never arrive.
        if !exchange.is_receiving() {
            return Ok(());
        }
        exchange.stage = Stage::Held;
        exchange.upload = None;
        let (client, server) = (exchange.client, exchange.server);
        let body = match (exchange.spoilt, exchange.body.clone().unwrap_or_default()) {
            (Some(Spoilt::Large), _) => Err(BodyError::TooLarge),
            (_, body) => self.read_body(server, body)?,
        };
        let (kind, bytes) = match &body {
            Ok(bytes) => (Kind::PostBody, bytes.clone()),
            Err(_) => (Kind::NoBody, Bytes::new()),
        };
        let ends = (Place::Client(client), Place::Server(server));
        self.journal.arrow(self.now, ends, "body", number.0, &bytes);
        if decode_payload(&bytes).0.contains(&Decoded::Text('3', String::new())) {
            self.ponged(slot);
        }
        let is_refused = body.is_err();
        self.tell_session(slot, kind, Input::PostBody { exchange: number, body })?;
        let goes_on = self.session(slot).is_some_and(|session| session.phase() != Phase::Closed);
        if is_refused && goes_on {
            return broken(Law::Messages, format!("session {slot} goes on, although a body was refused"));
        }
        Ok(())
    }

    /// The embedder of a server reads a body, within the limits of the configuration.
    fn read_body(&self, server: usize, body: Bytes) -> Outcome<Result<Bytes, BodyError>> {
        let (config, limit) = (&self.servers[server].config, self.settings.max_payload);
        let is_accepted = encoder::counted_len(&body) <= limit;
        let read =
            if body.len() > config.max_body() { Err(BodyError::TooLarge) } else { config.checked_body(body.clone()) };
        if read.is_ok() != is_accepted || read.as_ref().is_ok_and(|read| *read != body) {
            let what = format!("a body of {} bytes gives {read:?}, with a limit of {limit}", body.len());
            return broken(Law::Admission, what);
        }
        Ok(read)
    }

    /// Law 9: a body extends the deadline for as long as the body may take, and no longer.
    pub(crate) fn bodies_in_time(&self) -> Outcome {
        let limit =
            Duration::from_millis(self.settings.body_timeout) + Duration::from_micros(self.settings.latency + 1000);
        let is_late = |exchange: &&Exchange| exchange.stage == Stage::Body && exchange.head_at + limit < self.now;
        for exchange in self.exchanges.iter().filter(is_late) {
            let Some((_, slot)) = exchange.at_server else { continue };
            let is_excused = self.attempts[self.sessions[slot].attempt].incidents.any(Incidents::LATE);
            if !is_excused && self.session(slot).is_some_and(|session| session.phase() != Phase::Closed) {
                let what = format!("session {slot} waits for a body since {:?}", exchange.head_at);
                return broken(Law::Heartbeat, what);
            }
        }
        Ok(())
    }

    /// A server detects that the peer of an exchange is gone.
    pub(crate) fn server_learns(&mut self, index: usize) -> Outcome {
        let exchange = &mut self.exchanges[index];
        exchange.server_learns = None;
        let was_open = matches!(exchange.stage, Stage::Held | Stage::Body);
        exchange.answer = Answer::Idle;
        if was_open {
            exchange.stage = Stage::Done;
        }
        let Some((number, slot)) = exchange.at_server else { return Ok(()) };
        let written = &self.sessions[slot].app.written;
        let carried = written.is_under_way(number);
        let overtaken = carried && written.is_overtaken(number);
        let without_messages = carried && written.is_without_messages(number);
        self.coverage.situation_if(Situation::LostBehindWritten, overtaken);
        self.coverage.situation_if(Situation::LostWithoutMessages, without_messages);
        self.coverage.situation_if(Situation::LostWithMessages, carried && !without_messages);
        self.journal.note(self.now, Place::Server(exchange.server), "hears of a lost connection", number.0, b"");
        self.tell_session(slot, Kind::ExchangeLost, Input::ExchangeLost { exchange: number })?;
        let goes_on = self.session(slot).is_some_and(|session| session.phase() != Phase::Closed);
        if carried && goes_on {
            return broken(Law::Messages, format!("session {slot} goes on, although an answer was lost"));
        }
        Ok(())
    }

    /// A server gets the request for a channel, or a client its result.
    pub(crate) fn advance_opening(&mut self, index: usize) -> Outcome {
        if !matches!(self.channels[index].opening, Opening::Asked(_)) {
            return self.client_hears_of_channel(index);
        }
        let at = self.arrival();
        let channel = &self.channels[index];
        let (client, server) = (channel.client, channel.server);
        let attempt = channel.opener.map(|(attempt, _)| attempt).or(channel.attempt);
        let target = channel.target.clone();
        let number = ChannelId(self.next_number());
        let ends = (Place::Client(client), Place::Server(server));
        self.journal.arrow(self.now, ends, "asks for a channel", number.0, b"");
        let query = target.split_once('?').map_or("", |(_, query)| query);
        let request = Request { method: Method::Get, query, origin: None, upgrade: true };
        let admission = Admission::begin(&request, &self.servers[server].config);
        match self.admit(server, attempt, admission, Entry::Channel { channel: number, head: None })? {
            Ok((slot, _)) => {
                // The second one is refused.
                let is_other = |other: &super::net::Channel| {
                    other.opener.is_none() && other.server_open && other.at_server.is_some_and(|(_, own)| own == slot)
                };
                if let Some(attempt) = attempt.filter(|_| self.channels.iter().any(is_other)) {
                    self.attempts[attempt].incidents.add(Incidents::OTHER_CHANNEL);
                }
                let channel = &mut self.channels[index];
                channel.at_server = Some((number, slot));
                channel.server_open = true;
                channel.heard_at = Some(self.now);
                channel.opening = Opening::Accepted(at);
                if channel.opener.is_none() || !channel.client_open {
                    channel.opening = Opening::Open;
                }
            }
            Err(refused) => {
                let reply = refused.into_reply(true);
                let channel = &mut self.channels[index];
                channel.up.pieces.clear();
                channel.opening = match channel.client_open && channel.opener.is_some() {
                    true => Opening::Refused(at, Some(Details::answer(reply.status, &reply.body))),
                    false => Opening::Open,
                };
                if channel.opener.is_none() {
                    channel.client_open = false;
                }
            }
        }
        Ok(())
    }

    /// Law 8: a session probes no longer than an upgrade may take.
    pub(crate) fn probes_in_time(&self) -> Outcome {
        let limit =
            Duration::from_millis(self.settings.upgrade_timeout) + Duration::from_micros(self.settings.latency + 1000);
        for channel in &self.channels {
            let (Some((number, slot)), Some(heard_at)) = (channel.at_server, channel.heard_at) else { continue };
            let is_late = heard_at + limit < self.now
                && !self.attempts[self.sessions[slot].attempt].incidents.any(Incidents::LATE);
            let probes = |session: &Session| session.state().is_probing() && session.current_channel() == Some(number);
            if is_late && self.session(slot).is_some_and(probes) {
                return broken(Law::Probes, format!("session {slot} probes since {heard_at:?}"));
            }
        }
        Ok(())
    }

    /// The next frame of a channel arrives at the server.
    pub(crate) fn frame_up(&mut self, index: usize) -> Outcome {
        if self.channels[index].server_open {
            self.report(Way::Down, index)?;
        }
        let channel = &mut self.channels[index];
        let Some(mut piece) = channel.up.next(self.now) else { return Ok(()) };
        let (client, server) = (channel.client, channel.server);
        let Some((number, slot)) = channel.at_server.filter(|_| channel.server_open) else { return Ok(()) };
        let ends = (Place::Client(client), Place::Server(server));
        if matches!(&piece, Piece::Frame(frame) if frame.len() > self.settings.max_payload) {
            piece = Piece::End(ChannelEnd::TooLarge);
            channel.up.sink(0);
            if channel.client_open {
                channel.up.cut(0);
                let at = self.arrival();
                self.channels[index].down.cut(0);
                self.channels[index].down.end(at, ChannelEnd::Lost);
                self.channels[index].torn = true;
            }
        }
        match piece {
            Piece::Frame(frame) => {
                self.journal.arrow(self.now, ends, "frame", number.0, &bytes_of(&frame));
                let kind = match &frame {
                    Frame::Text { data, .. } if *data == *"2probe" => Kind::Probe,
                    Frame::Text { data, .. } if *data == *"5" => Kind::Upgrade,
                    _ => Kind::Frame,
                };
                if frame == Frame::received("3".into()) {
                    self.ponged(slot);
                }
                let is_on = self.session(slot).is_some_and(|session| {
                    session.current_channel() == Some(number) && session.state() == State::Channel
                });
                let is_stranger = self.channels[index].opener.is_none();
                let attempt = &mut self.attempts[self.sessions[slot].attempt];
                if is_on && is_stranger && frame == Frame::received(OVERTAKEN.into()) {
                    // It comes after the posted messages, and none of the client's own follows.
                    attempt.app.sends.divert(attempt.app.written.handed_over(), Message::from(&OVERTAKEN[1..]));
                }
                let is_behind =
                    is_on && self.exchanges.iter().any(|other| other.stage == Stage::Body && other.is_open_at(slot));
                self.coverage.situation_if(Situation::FrameBehindBody, is_behind);
                self.tell_session(slot, kind, Input::ChannelFrame { channel: number, frame })?;
            }
            Piece::End(end) => {
                let channel = &mut self.channels[index];
                channel.server_open = false;
                channel.down.ready = None;
                let what = if end == ChannelEnd::Closed { "closes the channel" } else { "the channel is lost" };
                self.journal.arrow(self.now, ends, what, number.0, b"");
                self.tell_session(slot, Kind::ChannelClosed, Input::ChannelClosed { channel: number, end })?;
            }
        }
        Ok(())
    }
}
