//! Clients of other projects: what they send, and what they make of what arrives.
//!
//! They read and write the wire with the second decoder and encoder, and know nothing of the machines of this project.
//! What the server must make of them is in `expected` and, for requests that reach no session, in `knocks`.

use bytes::Bytes;
use engineio_proto::wire::Frame;
use engineio_proto::{ChannelEnd, Message};

use super::core::{Core, Outcome};
use super::net::{Channel, Exchange, Opening, Parts, Piece, Pipe, Stage};
use crate::Chooser;
use crate::decoder::{Decoded, decode_frame, decode_payload};
use crate::encoder::{self, Base64};
use crate::foreign::{Deed, Habit, Load};
use crate::journal::Place;
use crate::oracle::{Law, broken};

/// The state of a foreign client.
#[derive(Debug)]
pub(crate) struct Foreign {
    habit: Habit,
    /// Its session, once the open packet has arrived.
    sid: Option<String>,
    /// Its session's number among all that clients have started.
    attempt: Option<usize>,
    /// It sends on its channel, and does not poll.
    on_channel: bool,
    /// `3probe` has arrived, and `5` was not sent.
    switches: bool,
    /// A ping waits for its POST.
    owes_pong: bool,
    /// It changed its transport while it was polling, so that frames may overtake an answer; or it gave up an answer.
    misses_some: bool,
    made: u32,
}

impl Default for Foreign {
    fn default() -> Self {
        Self {
            habit: Habit::Dead,
            sid: None,
            attempt: None,
            on_channel: false,
            switches: false,
            owes_pong: false,
            misses_some: false,
            made: 0,
        }
    }
}

impl Core {
    fn foreign(&mut self, client: usize) -> Option<&mut Foreign> {
        self.clients.get_mut(client)?.foreign.as_deref_mut()
    }

    /// Returns whether this client is not one of this project.
    pub(crate) fn is_foreign(&self, client: usize) -> bool {
        self.clients.get(client).is_some_and(|node| node.foreign.is_some())
    }

    /// Draws what a foreign client does next. One without a session opens one.
    pub(crate) fn draw_deed(&self, client: usize, chooser: &mut impl Chooser) -> Deed {
        let has_session = self.clients[client].foreign.as_deref().is_some_and(|foreign| foreign.attempt.is_some());
        let deeds = Deed::all();
        let weight = |deed: Deed| match deed {
            Deed::Open(_) | Deed::OpenChannel { .. } if has_session => 1,
            _ => 8,
        };
        let weights = deeds.iter().map(|&(deed, likely)| likely * weight(deed) * u64::from(has_session || opens(deed)));
        chooser.weighted(weights).map_or(Deed::Poll, |index| deeds[index].0)
    }

    /// A foreign client does something.
    pub(crate) fn act(&mut self, client: usize, deed: Deed) -> Outcome {
        let Some(foreign) = self.foreign(client) else { return Ok(()) };
        let sid = foreign.sid.clone();
        match (deed, sid) {
            (Deed::Open(habit), _) => self.foreign_opens(client, habit, None),
            (Deed::OpenChannel { habit, base64 }, _) => self.foreign_opens(client, habit, Some(base64)),
            (Deed::Knock(knock), _) => return self.knock(client, knock),
            (_, None) => (),
            (Deed::Poll, Some(_)) => self.foreign_gets(client, 0),
            (Deed::PollSlowly, Some(_)) => self.foreign_gets(client, 500 * self.settings.ping_timeout),
            (Deed::Post(load), Some(_)) => self.foreign_posts(client, load, 0),
            (Deed::PostSlowly(load), Some(_)) => {
                let pace = (1000 * self.settings.body_timeout).min(600 * self.settings.ping_timeout) / 6;
                self.foreign_posts(client, load, pace);
            }
            (Deed::PostBinary, Some(sid)) => {
                let target = format!("/engine.io/?EIO=4&transport=polling&sid={sid}");
                let mut exchange = self.foreign_exchange(client, target, Some(Bytes::from_static(b"4a")));
                exchange.octet_stream = true;
                self.exchanges.push(exchange);
            }
            (Deed::Channel { base64 }, Some(sid)) => {
                let flag = if base64 { "&b64=1" } else { "" };
                let target = format!("/engine.io/?EIO=4&transport=websocket&sid={sid}{flag}");
                self.foreign_channel(client, target, None);
            }
            (Deed::Frame(load), Some(_)) => {
                // As plain as the browser's WebSocket, or in base64.
                let form = load.form();
                if let Some(packet) = self.load(client, load).into_iter().next() {
                    let frame = match (load, packet) {
                        (Load::Junk, _) => Frame::received("junk".into()),
                        (Load::Empty, _) => Frame::received("".into()),
                        (_, packet) => encoder::frame(&packet, form == Base64::Plain, form),
                    };
                    self.foreign_sends(client, frame);
                }
            }
            (Deed::Leave { closes }, Some(_)) => self.foreign_leaves(client, closes),
            (Deed::DropPoll, Some(_)) => self.foreign_drops(client, false),
            (Deed::DropPost, Some(_)) => self.foreign_drops(client, true),
        }
        Ok(())
    }

    /// A foreign client opens a session, by polling or on a channel. What it was doing is lost.
    fn foreign_opens(&mut self, client: usize, habit: Habit, channel: Option<bool>) {
        self.foreign_vanishes(client);
        let attempt = self.foreign_attempt(client);
        let Some(foreign) = self.foreign(client) else { return };
        *foreign = Foreign { habit, attempt, on_channel: channel.is_some(), made: foreign.made, ..Foreign::default() };
        match channel {
            None => {
                let target = "/engine.io/?EIO=4&transport=polling&t=abc".to_owned();
                let exchange = Exchange { attempt, ..self.foreign_exchange(client, target, None) };
                self.exchanges.push(exchange);
            }
            Some(base64) => {
                let flag = if base64 { "&b64=true" } else { "" };
                self.foreign_channel(client, format!("/engine.io/?EIO=4&transport=websocket{flag}"), attempt);
            }
        }
    }

    fn foreign_exchange(&self, client: usize, target: String, body: Option<Bytes>) -> Exchange {
        let server = client % self.servers.len();
        Exchange { foreign: true, ..Exchange::new(client, server, target, body, self.arrival()) }
    }

    fn foreign_gets(&mut self, client: usize, pace: u64) {
        let Some(sid) = self.foreign(client).and_then(|foreign| foreign.sid.clone()) else { return };
        // Frames may overtake an answer that is read slowly.
        let may_be_overtaken = pace > 0 && self.foreign_channel_of(client).is_some();
        if let Some(foreign) = self.foreign(client) {
            foreign.misses_some |= may_be_overtaken;
        }
        let target = format!("/engine.io/?EIO=4&transport=polling&t=abc&sid={sid}");
        let exchange = Exchange { pace, ..self.foreign_exchange(client, target, None) };
        self.exchanges.push(exchange);
    }

    fn foreign_posts(&mut self, client: usize, load: Load, pace: u64) {
        let Some(sid) = self.foreign(client).and_then(|foreign| foreign.sid.clone()) else { return };
        let packets = self.load(client, load);
        let mut body = encoder::body(&packets, load.form());
        load.spoil(&mut body);
        // The parameters of a query have no order.
        let target = format!("/engine.io/?sid={sid}&transport=polling&EIO=4");
        let exchange = Exchange { pace, ..self.foreign_exchange(client, target, Some(body.into())) };
        self.exchanges.push(exchange);
    }

    fn foreign_channel(&mut self, client: usize, target: String, attempt: Option<usize>) {
        let at = self.arrival();
        self.channels.push(Channel {
            client,
            opener: None,
            foreign: true,
            attempt,
            target,
            server: client % self.servers.len(),
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

    /// Sends a frame on the last channel.
    fn foreign_sends(&mut self, client: usize, frame: Frame) {
        let at = self.arrival();
        let polls = self.foreign_has(client, false);
        if let Some(foreign) = self.foreign(client) {
            foreign.misses_some |= polls && frame == Frame::received("5".into());
        }
        if let Some(index) = self.foreign_channel_of(client) {
            let pipe = &mut self.channels[index].up;
            let at = pipe.pieces.back().map_or(at, |&(last, _)| last.max(at));
            pipe.pieces.push_back((at, Piece::Frame(frame)));
        }
    }

    fn foreign_channel_of(&self, client: usize) -> Option<usize> {
        self.channels.iter().rposition(|channel| channel.foreign && channel.client == client && channel.client_open)
    }

    fn foreign_leaves(&mut self, client: usize, closes: bool) {
        let at = self.arrival();
        if let Some(index) = self.foreign_channel_of(client) {
            let channel = &mut self.channels[index];
            channel.client_open = false;
            channel.down.sink(0);
            channel.down.reads = true;
            channel.up.end(at, if closes { ChannelEnd::Closed } else { ChannelEnd::Lost });
        }
    }

    fn foreign_drops(&mut self, client: usize, is_post: bool) {
        let at = self.arrival();
        let is_it = |exchange: &&mut Exchange| {
            exchange.foreign
                && exchange.client == client
                && exchange.body.is_some() == is_post
                && !exchange.dropped
                && exchange.stage != Stage::Done
        };
        let Some(exchange) = self.exchanges.iter_mut().find(is_it) else { return };
        drop_exchange(exchange, at);
        // The server may answer it all the same, or have answered.
        if let Some(foreign) = self.foreign(client) {
            foreign.misses_some |= !is_post;
        }
    }

    /// Every connection of a foreign client ends.
    pub(crate) fn foreign_vanishes(&mut self, client: usize) {
        let at = self.arrival();
        for exchange in self.exchanges.iter_mut().filter(|exchange| exchange.foreign && exchange.client == client) {
            drop_exchange(exchange, at);
        }
        while self.foreign_channel_of(client).is_some() {
            self.foreign_leaves(client, false);
        }
        if let Some(foreign) = self.foreign(client) {
            *foreign = Foreign { made: foreign.made, ..Foreign::default() };
        }
    }

    fn load(&mut self, client: usize, load: Load) -> Vec<Decoded> {
        let Some(foreign) = self.foreign(client) else { return Vec::new() };
        foreign.made += 1;
        let made = foreign.made;
        let packets = self.packets_of(made, load);
        self.note_size(&packets);
        packets
    }

    /// Messages of this size may be received.
    pub(crate) fn note_size(&mut self, packets: &[Decoded]) {
        let len = |packet: &Decoded| match packet {
            Decoded::Text(_, data) => data.len(),
            Decoded::Binary(bytes) => bytes.len(),
        };
        let largest = packets.iter().map(len).max().unwrap_or(0) + Message::OVERHEAD;
        self.largest = self.largest.max(largest);
    }

    /// Returns the packets of a load. `made`: a number that makes its messages different from others.
    pub(crate) fn packets_of(&self, made: u32, load: Load) -> Vec<Decoded> {
        let limit = self.settings.max_payload;
        let text = |size: usize| {
            let mut text = made.to_string();
            while text.len() < size {
                text.push(char::from(b'a' + (text.len() % 26) as u8));
            }
            Decoded::Text('4', text)
        };
        let binary =
            |size: usize| Decoded::Binary((0..size).map(|index| (index as u8) ^ (made as u8) ^ 0xfa).collect());
        let bare = |kind: char| Decoded::Text(kind, String::new());
        // What takes this much in base64, with line ends.
        let fitting = |size: usize| (limit.saturating_sub(8) * 2 / 3).min(size);
        match load {
            Load::Text | Load::JunkBehind => vec![text(3)],
            Load::Binary => vec![binary(fitting(4))],
            Load::Lines | Load::Url | Load::Bare => vec![binary(fitting(100 + made as usize % 3))],
            Load::Several => vec![text(1), binary(2), text(5)],
            Load::Batch | Load::Overfull => {
                // Of one byte, the most that base64 may exceed the limit; of two, less than an embedder reads.
                let bytes = vec![made as u8; 1 + usize::from(load == Load::Overfull)];
                let counted = encoder::counted_by_javascript(&Message::from(bytes.clone()));
                // As `_getWritablePackets` counts: one byte before the first packet, and two before every other one.
                let count = (limit + 1) / (counted + 2) + usize::from(load == Load::Overfull);
                vec![Decoded::Binary(bytes); count]
            }
            Load::Large => vec![text(2 * limit)],
            Load::Many => vec![text(1); limit.min(200) / 8],
            Load::Pong => vec![bare('3')],
            Load::LatePong => vec![text(1), bare('3')],
            Load::Noop => vec![bare('6')],
            Load::Noops => vec![bare('6'); limit.div_ceil(2)],
            Load::Probe => vec![Decoded::Text('2', "probe".into())],
            Load::ProbeAnswer => vec![Decoded::Text('3', "probe".into())],
            Load::OddProbe => vec![Decoded::Text('2', "prob".into())],
            Load::Upgrade => vec![bare('5')],
            Load::Close => vec![bare('1')],
            Load::BehindClose => vec![text(1), bare('1'), text(2)],
            Load::Ping => vec![bare('2')],
            Load::Open => vec![Decoded::Text('0', "{}".into())],
            Load::Empty | Load::Junk => vec![bare('6')],
        }
    }

    // What arrives.

    /// An answer arrives at a foreign client.
    pub(crate) fn foreign_hears_answer(&mut self, index: usize, status: u16, body: &Bytes) -> Outcome {
        let exchange = &self.exchanges[index];
        let (client, server, is_poll) = (exchange.client, exchange.server, exchange.body.is_none());
        let is_handshake = exchange.attempt.is_some();
        let slot = exchange.at_server.map(|(_, slot)| slot);
        self.journal.arrow(self.now, (Place::Server(server), Place::Client(client)), "answer", 0, body);
        let Some(foreign) = self.clients[client].foreign.as_deref_mut() else { return Ok(()) };
        let is_own = slot.is_some_and(|slot| Some(self.sessions[slot].attempt) == foreign.attempt);
        if status != 200 || !is_own {
            if is_own && !foreign.on_channel {
                (foreign.sid, foreign.attempt) = (None, None);
            }
            return Ok(());
        }
        if is_poll {
            let (packets, is_complete) = decode_payload(body);
            if !is_complete {
                return broken(Law::Wire, format!("a foreign client cannot read {:?}", String::from_utf8_lossy(body)));
            }
            for packet in packets {
                self.foreign_hears(client, packet)?;
            }
        } else if &**body != b"ok" {
            return broken(Law::Wire, format!("a POST is answered with {body:?}"));
        }
        let Some(foreign) = self.clients[client].foreign.as_deref_mut() else { return Ok(()) };
        if foreign.on_channel || foreign.sid.is_none() {
            return Ok(());
        }
        let (habit, switches) = (foreign.habit, foreign.switches);
        if !is_poll && std::mem::take(&mut foreign.owes_pong) {
            self.foreign_posts(client, Load::Pong, 0);
        }
        let gets = self.foreign_has(client, false);
        if is_poll && habit.polls() && !switches && !gets {
            self.foreign_gets(client, 0);
        }
        if is_handshake && habit.upgrades() && self.settings.allow_upgrades {
            return self.act(client, Deed::Channel { base64: false });
        }
        self.foreign_switches(client);
        Ok(())
    }

    /// Returns whether an answer comes behind another one. A foreign client sends all its GETs on one connection, where
    /// answers keep the order of their requests.
    pub(crate) fn is_behind_another(&self, index: usize) -> bool {
        let exchange = &self.exchanges[index];
        let is_before = |other: &Exchange| {
            other.foreign && other.client == exchange.client && other.body.is_none() && !other.dropped
        };
        let is_answered = |other: &Exchange| matches!(other.stage, Stage::Answered { .. });
        let is_poll = exchange.foreign && exchange.body.is_none();
        is_poll && self.exchanges[..index].iter().any(|other| is_before(other) && is_answered(other))
    }

    /// A frame arrives at a foreign client, or the end of its channel.
    pub(crate) fn foreign_hears_piece(&mut self, index: usize, piece: Piece) -> Outcome {
        let channel = &mut self.channels[index];
        let client = channel.client;
        let Piece::Frame(frame) = piece else {
            channel.client_open = false;
            if let Some(foreign) = self.foreign(client) {
                if foreign.on_channel {
                    (foreign.sid, foreign.attempt) = (None, None);
                }
                foreign.switches = false;
            }
            return Ok(());
        };
        let slot = channel.at_server.map(|(_, slot)| slot);
        let owner = self.clients[client].foreign.as_deref().and_then(|foreign| foreign.attempt);
        if slot.is_none_or(|slot| Some(self.sessions[slot].attempt) != owner) {
            return Ok(());
        }
        match decode_frame(&frame) {
            Some(Decoded::Text('3', data)) if data == "probe" => {
                if let Some(foreign) = self.foreign(client) {
                    foreign.switches = foreign.habit.upgrades() && !foreign.on_channel;
                }
                self.foreign_switches(client);
                Ok(())
            }
            Some(packet) => self.foreign_hears(client, packet),
            None => broken(Law::Wire, format!("a foreign client cannot read {frame:?}")),
        }
    }

    /// A packet arrives.
    fn foreign_hears(&mut self, client: usize, packet: Decoded) -> Outcome {
        let Some(foreign) = self.clients[client].foreign.as_deref_mut() else { return Ok(()) };
        let Some(slot) = foreign.attempt.and_then(|attempt| self.attempts[attempt].slot) else {
            return broken(Law::End, format!("foreign client {client} hears {packet:?} of no session"));
        };
        match packet {
            Decoded::Text('0', json) => {
                foreign.sid = json.split('"').nth(3).map(ToOwned::to_owned);
                if foreign.sid.as_deref() != Some(&*self.sessions[slot].sid) {
                    return broken(Law::Wire, format!("the open packet of session {slot} is {json}"));
                }
            }
            Decoded::Text('1', _) => (foreign.sid, foreign.attempt) = (None, None),
            Decoded::Text('2', _) if foreign.habit.answers() => {
                if foreign.on_channel {
                    self.foreign_sends(client, Frame::received("3".into()));
                } else if self.foreign_has(client, true) {
                    if let Some(foreign) = self.foreign(client) {
                        foreign.owes_pong = true;
                    }
                } else {
                    self.foreign_posts(client, Load::Pong, 0);
                }
            }
            Decoded::Text('4', _) | Decoded::Binary(_) if foreign.misses_some => (),
            Decoded::Text('4', text) => self.sessions[slot].app.sends.receive(&Message::from(text))?,
            Decoded::Binary(bytes) => self.sessions[slot].app.sends.receive(&Message::from(bytes))?,
            Decoded::Text(..) => (),
        }
        Ok(())
    }

    /// Changes the transport, if it is time.
    fn foreign_switches(&mut self, client: usize) {
        let under_way = self.foreign_has(client, false) || self.foreign_has(client, true);
        let Some(foreign) = self.foreign(client) else { return };
        if foreign.switches && !(foreign.habit.pauses() && under_way) {
            (foreign.switches, foreign.on_channel) = (false, true);
            self.foreign_sends(client, Frame::received("5".into()));
        }
    }

    /// Returns whether a request of a foreign client is under way.
    fn foreign_has(&self, client: usize, is_post: bool) -> bool {
        self.exchanges.iter().any(|exchange| {
            let is_own = exchange.foreign && exchange.client == client && !exchange.dropped;
            is_own && exchange.body.is_some() == is_post && exchange.stage != Stage::Done
        })
    }
}

fn opens(deed: Deed) -> bool {
    matches!(deed, Deed::Open(_) | Deed::OpenChannel { .. } | Deed::Knock(_))
}

/// The client gives up a request. The server learns of it.
fn drop_exchange(exchange: &mut Exchange, at: engineio_proto::Instant) {
    if exchange.dropped {
        return;
    }
    exchange.dropped = true;
    match exchange.stage {
        Stage::Travelling => exchange.stage = Stage::Done,
        Stage::Done => (),
        Stage::Body => {
            exchange.spoilt = Some(super::net::Spoilt::Slow);
            exchange.server_learns = Some(at);
        }
        Stage::Held => exchange.server_learns = Some(at),
        Stage::Answered { .. } => {
            exchange.server_learns = Some(at);
            exchange.lose_answer();
        }
    }
    if let super::net::Answer::Writing(Parts { .. }) = exchange.answer {
        exchange.server_learns = Some(at);
    }
}
