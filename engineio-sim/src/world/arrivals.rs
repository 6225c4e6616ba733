//! What arrives at a server: requests and their bodies, channels and their frames, and word of connections that are lost.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use engineio_proto::app::Peer;
use engineio_proto::client::Details;
use engineio_proto::http::{Method, Operation, Rejection, Request, Response};
use engineio_proto::server::{Admission, BodyError, Entry, Input, NotAdmitted, SessionKey};
use engineio_proto::wire::Frame;
use engineio_proto::{ChannelEnd, ChannelId, ExchangeId, Phase, Session, Sid};

use super::core::{Core, Outcome};
use super::net::{Opening, Piece, Spoilt, Stage, bytes_of};
use super::nodes::{Call, Seat, What};
use crate::coverage::Kind;
use crate::decoder::{Decoded, decode_payload};
use crate::journal::Place;
use crate::op::Node;
use crate::oracle::{Incidents, Law, broken};

impl Core {
    /// What is next of an exchange happens.
    pub(crate) fn advance_exchange(&mut self, index: usize) -> Outcome {
        match self.exchanges[index].stage.clone() {
            Stage::Travelling => self.request_arrives(index),
            Stage::Body => self.body_arrives(index),
            Stage::Answered { status, body } => {
                self.exchanges[index].stage = Stage::Done;
                self.exchanges[index].dropped = true;
                // It was taken: nothing is left to be lost.
                self.exchanges[index].server_learns = None;
                self.answer_arrives(index, status, body)
            }
            Stage::Held | Stage::Done => Ok(()),
        }
    }

    fn request_arrives(&mut self, index: usize) -> Outcome {
        let at = self.arrival();
        let exchange = &mut self.exchanges[index];
        let (client, server, life) = (exchange.client, exchange.server, exchange.life);
        let target = exchange.target.clone();
        let is_post = exchange.body.is_some();
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
        let entry = Entry::Exchange { exchange: number, octet_stream: false };
        match self.admit(server, life, admission, entry)? {
            Ok((seat, Operation::Poll)) => {
                self.exchanges[index].at_server = Some((number, seat));
                self.exchanges[index].stage = Stage::Held;
            }
            Ok((seat, Operation::Post)) => {
                self.exchanges[index].at_server = Some((number, seat));
                self.exchanges[index].stage = Stage::Body;
            }
            Err(NotAdmitted::Rejected(rejection)) => {
                self.exchanges[index].stage = Stage::Held;
                self.respond(index, Response::Rejected(rejection))?;
            }
            Ok(_) | Err(_) => return broken(Law::Wire, format!("{target} was taken for something else")),
        }
        Ok(())
    }

    /// Gives a request to the session that it is for, which it opens or names.
    fn admit(
        &mut self,
        server: usize,
        life: Option<usize>,
        admission: Result<Admission, Rejection>,
        entry: Entry<'_>,
    ) -> Outcome<Result<(usize, Operation), NotAdmitted>> {
        let request = match admission {
            Ok(Admission::Session(request)) => request,
            Ok(admission) => {
                let Some(life) = life else { return broken(Law::Wire, "a stranger opened a session") };
                let entropy = u128::from(self.next_number()) << 64 | 0x5eed;
                let [_, bytes @ ..] = entropy.to_le_bytes();
                let node = &mut self.servers[server];
                let now = node.clock.tell(self.now);
                let opened = node.machine.admit(now, admission, entry, Some(Sid::from_entropy(bytes)));
                return Ok(match opened {
                    Ok(key) => Ok((self.seat(server, life, key)?, Operation::Poll)),
                    Err(refused) => {
                        self.lives[life].incidents.add(Incidents::FULL);
                        Err(refused)
                    }
                });
            }
            Err(rejection) => return Ok(Err(rejection.into())),
        };
        let node = &self.servers[server];
        let Some(key) = node.machine.find(&request.sid) else { return Ok(Err(Rejection::UnknownSid.into())) };
        let seat = match node.sessions.get(&key) {
            Some(&seat) if self.sessions[seat].sid == request.sid => seat,
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
        let entered = self.call_session(seat, kind, |session, now| request.enter(session, &config, now, entry))?;
        Ok(match entered {
            Some(Ok(())) => Ok((seat, request.operation)),
            Some(Err(refused)) => Err(refused),
            None => Err(Rejection::UnknownSid.into()),
        })
    }

    /// A session was opened.
    fn seat(&mut self, server: usize, life: usize, key: SessionKey) -> Outcome<usize> {
        let lazy = if self.settings.lazy_outputs { self.lag() } else { self.now };
        let Some(session) = self.servers[server].machine.session(key) else {
            return broken(Law::End, "a session that was opened is not there");
        };
        let mut side = Seat::new(server, key, session, life, (self.now, self.settings.twins));
        if let Some(greeting) = self.greeting() {
            side.app.sends.send(greeting);
        }
        let seat = self.sessions.len();
        self.sessions.push(side);
        self.servers[server].sessions.insert(key, seat);
        self.totals.sessions += 1;
        self.journal.note(self.now, Place::Server(server), "opens session", seat as u64 + 1, b"");
        self.calls.push_back(Call::Of { node: Node::Server(server), peer: Peer(seat as u64), what: What::Open });
        self.look_at(server, lazy)?;
        Ok(seat)
    }

    fn body_arrives(&mut self, index: usize) -> Outcome {
        let exchange = &mut self.exchanges[index];
        let Some((number, seat)) = exchange.at_server else { return Ok(()) };
        if exchange.spoilt != Some(Spoilt::Slow) {
            exchange.stage = Stage::Held;
        }
        let (client, server) = (exchange.client, exchange.server);
        let limit = self.settings.max_payload;
        let body = match (exchange.spoilt, exchange.body.clone().unwrap_or_default()) {
            // The rest of it never comes; the session does not wait for ever.
            (Some(Spoilt::Slow), _) => return Ok(()),
            (Some(Spoilt::Large), _) => Err(BodyError::TooLarge),
            (None, body) if body.len() > limit => Err(BodyError::TooLarge),
            (None, body) => Ok(body),
        };
        let (kind, bytes) = match &body {
            Ok(bytes) => (Kind::PostBody, bytes.clone()),
            Err(_) => (Kind::NoBody, Bytes::new()),
        };
        let ends = (Place::Client(client), Place::Server(server));
        self.journal.arrow(self.now, ends, "body", number.0, &bytes);
        if decode_payload(&bytes).0.contains(&Decoded::Text('3', String::new())) {
            self.ponged(seat);
        }
        self.call_session(seat, kind, |session, now| {
            session.handle_input(now, Input::PostBody { exchange: number, body: body.clone() });
        })?;
        Ok(())
    }

    /// A server hears that an answer was written.
    pub(crate) fn report(&mut self, index: usize) -> Outcome {
        let exchange = &mut self.exchanges[index];
        exchange.report = None;
        exchange.server_learns = None;
        // What was written is not lost from here on.
        exchange.carries = false;
        let Some((number, seat)) = exchange.at_server else { return Ok(()) };
        self.call_session(seat, Kind::Written, |session, now| {
            session.handle_input(now, Input::AnswerWritten { exchange: number });
        })?;
        Ok(())
    }

    /// A server learns that the peer of an exchange is gone.
    pub(crate) fn server_learns(&mut self, index: usize) -> Outcome {
        let exchange = &mut self.exchanges[index];
        exchange.server_learns = None;
        exchange.report = None;
        let was_open = matches!(exchange.stage, Stage::Held | Stage::Body);
        let carried = exchange.carries;
        if was_open {
            exchange.stage = Stage::Done;
        }
        let Some((number, seat)) = exchange.at_server else { return Ok(()) };
        self.journal.note(self.now, Place::Server(exchange.server), "hears of a lost connection", number.0, b"");
        self.call_session(seat, Kind::ExchangeLost, |session, now| {
            session.handle_input(now, Input::ExchangeLost { exchange: number });
        })?;
        let lives_on = self.session(seat).is_some_and(|session| session.phase() != Phase::Closed);
        let doubled = self.lives[self.sessions[seat].life].incidents.any(Incidents::REPEATED.and(Incidents::STRANGER));
        if carried && lives_on && !doubled {
            return broken(Law::Messages, format!("session {seat} goes on, although an answer with messages was lost"));
        }
        Ok(())
    }

    /// A server hears that a channel is wanted, or a client how that went.
    pub(crate) fn advance_opening(&mut self, index: usize) -> Outcome {
        if !matches!(self.channels[index].opening, Opening::Asked(_)) {
            return self.client_hears_of_channel(index);
        }
        let at = self.arrival();
        let channel = &self.channels[index];
        let (client, server, life) = (channel.client, channel.server, channel.opener.map(|(life, _)| life));
        let target = channel.target.clone();
        let number = ChannelId(self.next_number());
        let ends = (Place::Client(client), Place::Server(server));
        self.journal.arrow(self.now, ends, "asks for a channel", number.0, b"");
        let query = target.split_once('?').map_or("", |(_, query)| query);
        let request = Request { method: Method::Get, query, origin: None, upgrade: true };
        let admission = Admission::begin(&request, &self.servers[server].config);
        match self.admit(server, life, admission, Entry::Channel { channel: number, head: None })? {
            Ok((seat, _)) => {
                // Whoever comes second is sent away.
                let is_other = |other: &super::net::Channel| {
                    other.opener.is_none() && other.server_open && other.at_server.is_some_and(|(_, own)| own == seat)
                };
                if let Some(life) = life.filter(|_| self.channels.iter().any(is_other)) {
                    self.lives[life].incidents.add(Incidents::OTHER_CHANNEL);
                }
                let channel = &mut self.channels[index];
                channel.at_server = Some((number, seat));
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
            let (Some((number, seat)), Some(heard_at)) = (channel.at_server, channel.heard_at) else { continue };
            let is_late =
                heard_at + limit < self.now && !self.lives[self.sessions[seat].life].incidents.any(Incidents::LATE);
            let probes = |session: &Session| session.state().is_probing() && session.current_channel() == Some(number);
            if is_late && self.session(seat).is_some_and(probes) {
                return broken(Law::Probes, format!("session {seat} probes since {heard_at:?}"));
            }
        }
        Ok(())
    }

    /// The next piece of a channel arrives at the server.
    pub(crate) fn frame_up(&mut self, index: usize) -> Outcome {
        let channel = &mut self.channels[index];
        let Some((_, mut piece)) = channel.up.pieces.pop_front() else { return Ok(()) };
        let (client, server) = (channel.client, channel.server);
        let Some((number, seat)) = channel.at_server.filter(|_| channel.server_open) else { return Ok(()) };
        let ends = (Place::Client(client), Place::Server(server));
        if matches!(&piece, Piece::Frame(frame) if frame.len() > self.settings.max_payload) {
            piece = Piece::End(ChannelEnd::TooLarge);
            channel.up.pieces.clear();
            if channel.client_open {
                let at = self.arrival();
                self.channels[index].down.cut(Some(at));
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
                    self.ponged(seat);
                }
                self.call_session(seat, kind, |session, now| {
                    session.handle_input(now, Input::ChannelFrame { channel: number, frame: frame.clone() });
                })?;
            }
            Piece::End(end) => {
                let channel = &mut self.channels[index];
                channel.server_open = false;
                channel.down.ready = None;
                let what = if end == ChannelEnd::Closed { "closes the channel" } else { "the channel is lost" };
                self.journal.arrow(self.now, ends, what, number.0, b"");
                self.call_session(seat, Kind::ChannelClosed, |session, now| {
                    session.handle_input(now, Input::ChannelClosed { channel: number, end });
                })?;
            }
        }
        Ok(())
    }
}
