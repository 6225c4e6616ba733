//! What applications do with their sessions.

use std::fmt::Debug;

use engineio_proto::app::Peer;
use engineio_proto::client;
use engineio_proto::{Event, Instant, Machine, Message, Phase, SendError};

use super::core::{Core, Outcome};
use super::nodes::{App, What};
use crate::coverage::Kind;
use crate::journal::Place;
use crate::op::{Node, Side};
use crate::oracle::{Asked, Incidents, Law, broken};

/// One end of a session: a life of a client, or a seat at a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Life(usize),
    Seat(usize),
}

impl Core {
    pub(crate) fn end_of(&self, side: Side) -> Option<End> {
        match side {
            Side::Client(client) => self.life_of(client).map(End::Life),
            Side::Server(client) => self.seat_of(client).map(End::Seat),
        }
    }

    pub(crate) fn end_of_peer(&self, node: Node, peer: Peer) -> Option<End> {
        let index = usize::try_from(peer.0).ok()?;
        match node {
            Node::Client(client) => {
                self.lives.get(index).filter(|life| life.client == client).map(|_| End::Life(index))
            }
            Node::Server(server) => {
                self.sessions.get(index).filter(|seat| seat.server == server).map(|_| End::Seat(index))
            }
        }
    }

    pub(crate) fn app(&mut self, end: End) -> &mut App {
        match end {
            End::Life(life) => &mut self.lives[life].app,
            End::Seat(seat) => &mut self.sessions[seat].app,
        }
    }

    pub(crate) fn app_of(&self, end: End) -> &App {
        match end {
            End::Life(life) => &self.lives[life].app,
            End::Seat(seat) => &self.sessions[seat].app,
        }
    }

    /// The machine of an end, while there is one.
    pub(crate) fn machine(&self, end: End) -> Option<&dyn Machine> {
        match end {
            End::Life(life) => Some(&self.lives[life].machine),
            End::Seat(seat) => self.session(seat).map(|session| session as _),
        }
    }

    /// Calls the machine of an end, if there is one.
    pub(crate) fn call<R: PartialEq + Debug>(
        &mut self,
        end: End,
        kind: Kind,
        call: impl Fn(&mut dyn Machine, Instant) -> R,
    ) -> Outcome<Option<R>> {
        match end {
            End::Life(life) => self.call_client(life, kind, |machine, now| call(machine, now)).map(Some),
            End::Seat(seat) => self.call_session(seat, kind, |machine, now| call(machine, now)),
        }
    }

    /// Whether a machine asked for something that was not done yet.
    pub(crate) fn has_output(&self, end: End) -> bool {
        match end {
            End::Life(life) => self.lives[life].machine.has_output(),
            End::Seat(seat) => self.session(seat).is_some_and(|session| session.has_output()),
        }
    }

    /// What an end is called where it breaks a law.
    pub(crate) fn name_of(&self, end: End) -> String {
        match end {
            End::Life(life) => format!("client {}", self.lives[life].client),
            End::Seat(seat) => format!("session {seat}"),
        }
    }

    /// Whether an application can be told this of a session. Of one that it has given up, it hears of the end alone; and
    /// where nothing is taken any more, there is no room.
    pub(crate) fn is_wanted(&self, node: Node, peer: Peer, what: &What) -> bool {
        let Some(end) = self.end_of_peer(node, peer) else { return true };
        let app = self.app_of(end);
        match what {
            What::Open | What::Close(_) => true,
            What::Message(_) => !app.discards,
            What::Writable => self.phase_of(end) == Some(Phase::Open),
        }
    }

    /// When the application of a node wants to be called.
    pub(crate) fn set_alarm(&mut self, node: Node, alarm: Option<Instant>) {
        let place = match node {
            Node::Client(client) => self.clients.get_mut(client).map(|node| &mut node.alarm),
            Node::Server(server) => self.servers.get_mut(server).map(|node| &mut node.alarm),
        };
        if let Some(place) = place {
            *place = alarm;
        }
    }

    pub(crate) fn life_behind(&self, end: End) -> usize {
        match end {
            End::Life(life) => life,
            End::Seat(seat) => self.sessions[seat].life,
        }
    }

    pub(crate) fn place_of(&self, end: End) -> Place {
        match end {
            End::Life(life) => Place::Client(self.lives[life].client),
            End::Seat(seat) => Place::Server(self.sessions[seat].server),
        }
    }

    /// Sends messages of an application, together if there are several.
    pub(crate) fn send(&mut self, end: End, messages: Vec<Message>) -> Outcome<Result<(), SendError<Vec<Message>>>> {
        let limit = self.settings.max_payload;
        if messages.iter().any(|message| message.len() * 4 / 3 + 5 > limit) {
            let life = self.life_behind(end);
            self.lives[life].incidents.add(Incidents::LARGE);
        }
        let told = match end {
            End::Life(life) => Some((life, self.clients[self.lives[life].client].clock.peek(self.now))),
            End::Seat(_) => None,
        };
        let sent = self.call(end, Kind::Send, |machine, now| machine.send_all(now, messages.clone()))?;
        let sent = sent.unwrap_or_else(|| Err(SendError::Closed(messages.clone())));
        if let Some((life, told)) = told {
            self.is_in_time(life, told, sent.is_ok())?;
        }
        let place = self.place_of(end);
        match &sent {
            Ok(()) => {
                self.app(end).written.accept(messages.len() as u64);
                for message in messages {
                    self.journal.note(self.now, place, "sends", 0, bytes(&message));
                    self.totals.messages_sent += 1;
                    self.largest = self.largest.max(message.cost());
                    self.app(end).sends.send(message);
                    self.app(end).sent_at = self.now;
                }
            }
            Err(SendError::Full(_)) => self.app(end).events.full += 1,
            Err(SendError::Closed(_)) if self.settings.close_when_full => {
                let life = self.life_behind(end);
                self.lives[life].incidents.add(Incidents::OVERFLOW);
            }
            Err(_) => (),
        }
        self.weigh(end)?;
        self.compare(end)?;
        Ok(sent)
    }

    /// Law 9: a client whose server is over time takes nothing more.
    fn is_in_time(&self, life: usize, told: Instant, sent: bool) -> Outcome {
        let machine = &self.lives[life].machine;
        let is_open = matches!(machine.state(), client::State::Polling | client::State::Channel)
            && machine.phase() == Phase::Open;
        if sent && is_open && machine.next_timeout().is_some_and(|at| at <= told) {
            return broken(Law::Heartbeat, "a client sends, although the time of its server is over");
        }
        Ok(())
    }

    /// An end that was asked for comes in time.
    pub(crate) fn has_ended_in_time(&self, end: End) -> Outcome {
        let (app, life) = (self.app_of(end), self.life_behind(end));
        let (Some(asked), Some(ended)) = (app.asked_at, app.ended_at) else { return Ok(()) };
        let took = ended.saturating_since(asked).as_micros();
        let limit = u128::from(self.settings.close_timeout * 1000 + self.settings.latency + 1000);
        let is_late = took > limit && !self.lives[life].incidents.any(Incidents::LATE);
        if is_late { broken(Law::Timers, format!("{end:?} took {took} µs to close")) } else { Ok(()) }
    }

    /// Law 4: a buffer holds no more than its limit and one message.
    fn weigh(&self, end: End) -> Outcome {
        let Some(buffered) = self.machine(end).map(Machine::send_buffered) else { return Ok(()) };
        let costs: Vec<_> = match end {
            End::Life(life) => self.lives[life].machine.unsent().map(Message::cost).collect(),
            End::Seat(seat) => {
                self.session(seat).into_iter().flat_map(|session| session.unsent().map(Message::cost)).collect()
            }
        };
        let (exact, largest) = (costs.iter().sum::<usize>(), costs.last().copied().unwrap_or(0));
        if buffered != exact {
            return broken(Law::Bytes, format!("{end:?} counts {buffered} bytes, and holds {exact}"));
        }
        // Messages that stay together count as one.
        let limit = self.settings.send_limit + largest.max(TOGETHER);
        if buffered > limit {
            broken(Law::Bytes, format!("{end:?} holds {buffered} bytes, above {limit}"))
        } else {
            Ok(())
        }
    }

    /// A message of so many bytes, or somewhat more: no other one of this application is like it, unless it is empty.
    pub(crate) fn make(&mut self, end: End, size: usize, binary: bool) -> Message {
        let size = size.min(4 * self.settings.max_payload + 4);
        let app = self.app(end);
        app.made += 1;
        let mut text = if size == 0 { String::new() } else { app.made.to_string() };
        while text.len() < size {
            text.push(char::from(b'a' + (text.len() % 26) as u8));
        }
        if binary { Message::from(text.into_bytes()) } else { Message::from(text) }
    }

    fn phase_of(&self, end: End) -> Option<Phase> {
        self.machine(end).map(Machine::phase)
    }

    pub(crate) fn close(&mut self, end: End, how: Asked) -> Outcome {
        let place = self.place_of(end);
        let what = if how == Asked::Close { "closes the session" } else { "aborts the session" };
        self.journal.note(self.now, place, what, 0, b"");
        let now = self.now;
        // What is over already, told or not, cannot be asked for any more.
        let is_over = self.phase_of(end).is_none_or(|phase| phase == Phase::Closed);
        let app = self.app(end);
        if !is_over {
            app.asked_at.get_or_insert(now);
            // Who aborts what it has closed gives up what it was promised.
            app.asked = Some(if app.asked == Some(Asked::Abort) { Asked::Abort } else { how });
        }
        app.discards |= how == Asked::Abort;
        match how {
            Asked::Close => self.call(end, Kind::Close, |machine, now| machine.close(now))?,
            Asked::Abort => self.call(end, Kind::Abort, |machine, now| machine.abort(now))?,
        };
        match self.phase_of(end) {
            None | Some(Phase::Closed) => Ok(()),
            Some(Phase::Closing) if how == Asked::Close => Ok(()),
            Some(phase) => broken(Law::End, format!("{end:?} {what}, and is {phase:?}")),
        }
    }

    pub(crate) fn discard(&mut self, end: End) -> Outcome {
        self.app(end).discards = true;
        self.call(end, Kind::Discard, |machine, _| machine.discard_incoming()).map(drop)
    }

    pub(crate) fn take(&mut self, end: End) -> Outcome {
        match end {
            End::Life(life) if self.lives[life].app.readable.is_some() => self.client_takes(life).map(drop),
            End::Seat(seat) if self.sessions[seat].app.readable.is_some() => self.server_takes(seat).map(drop),
            _ => Ok(()),
        }
    }

    pub(crate) fn set_reading(&mut self, end: End, reads: bool) {
        if !reads {
            let life = self.life_behind(end);
            self.lives[life].incidents.add(Incidents::SLOW);
        }
        let client = self.lives[self.life_behind(end)].client;
        self.trouble(client, self.now);
        self.app(end).reads = reads;
    }

    pub(crate) fn hear(&mut self, place: Place, event: Event) {
        let what = match event {
            Event::Opened => "opened",
            Event::Readable => "readable",
            Event::Writable => "writable",
            Event::Written => "written",
            Event::Flush { .. } => "flush",
            Event::Drain => "drain",
            Event::Upgrading(_) => "upgrading",
            Event::Upgraded(_) => "upgraded",
            Event::UpgradeFailed(error) => {
                let error = error.to_string();
                return self.journal.note(self.now, place, "upgrade failed:", 0, error.as_bytes());
            }
            Event::Heartbeat => "heartbeat",
            Event::Ended(reason) => {
                let reason = reason.to_string();
                return self.journal.note(self.now, place, "ended:", 0, reason.as_bytes());
            }
            Event::Closed(reason) => {
                let reason = reason.to_string();
                return self.journal.note(self.now, place, "closed:", 0, reason.as_bytes());
            }
            _ => "event",
        };
        self.journal.note(self.now, place, what, 0, b"");
    }

    pub(crate) fn received(&mut self, place: Place, message: &Message) {
        self.totals.messages_received += 1;
        self.journal.note(self.now, place, "receives", 0, bytes(message));
    }
}

/// What messages that are sent together may count at most.
const TOGETHER: usize = 4 * (Message::OVERHEAD + 8);

fn bytes(message: &Message) -> &[u8] {
    match message {
        Message::Text(text) => text.as_bytes(),
        Message::Binary(bytes) => bytes,
    }
}
