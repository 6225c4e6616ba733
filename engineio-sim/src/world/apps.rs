//! Applications and their sessions.

use std::fmt::Debug;

use engineio_proto::app::Peer;
use engineio_proto::client;
use engineio_proto::{Event, Instant, Machine, Message, Phase, SendError};

use super::core::{Core, Outcome};
use super::nodes::{App, What};
use crate::coverage::Kind;
use crate::expected::{self, Expected};
use crate::journal::Place;
use crate::op::{Node, Side};
use crate::oracle::{Asked, Incidents, Law, broken};

/// One end of a session: an attempt of a client, or a slot of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Attempt(usize),
    Slot(usize),
}

impl Core {
    pub(crate) fn end_of(&self, side: Side) -> Option<End> {
        match side {
            Side::Client(client) => self.attempt_of(client).map(End::Attempt),
            Side::Server(client) => self.slot_of(client).map(End::Slot),
        }
    }

    pub(crate) fn end_of_peer(&self, node: Node, peer: Peer) -> Option<End> {
        let index = usize::try_from(peer.0).ok()?;
        match node {
            Node::Client(client) => {
                self.attempts.get(index).filter(|attempt| attempt.client == client).map(|_| End::Attempt(index))
            }
            Node::Server(server) => {
                self.sessions.get(index).filter(|slot| slot.server == server).map(|_| End::Slot(index))
            }
        }
    }

    pub(crate) fn app(&mut self, end: End) -> &mut App {
        match end {
            End::Attempt(attempt) => &mut self.attempts[attempt].app,
            End::Slot(slot) => &mut self.sessions[slot].app,
        }
    }

    pub(crate) fn app_of(&self, end: End) -> &App {
        match end {
            End::Attempt(attempt) => &self.attempts[attempt].app,
            End::Slot(slot) => &self.sessions[slot].app,
        }
    }

    /// Returns the machine of an end, while it exists.
    pub(crate) fn machine(&self, end: End) -> Option<&dyn Machine> {
        match end {
            End::Attempt(attempt) => Some(&self.attempts[attempt].machine),
            End::Slot(slot) => self.session(slot).map(|session| session as _),
        }
    }

    /// Calls the machine of an end, if it exists.
    pub(crate) fn call<R: PartialEq + Debug>(
        &mut self,
        end: End,
        kind: Kind,
        call: impl Fn(&mut dyn Machine, Instant) -> R,
        expect: impl FnOnce(&mut dyn Expected, Instant) -> R,
    ) -> Outcome<Option<R>> {
        match end {
            End::Attempt(attempt) => {
                let expect = |expected: &mut expected::Client, now| expect(expected, now);
                self.call_client(attempt, kind, |machine, now| call(machine, now), expect).map(Some)
            }
            End::Slot(slot) => {
                let expect = |expected: &mut expected::Session, now| expect(expected, now);
                self.call_session(slot, kind, |machine, now| call(machine, now), expect)
            }
        }
    }

    /// Returns whether a machine has outputs that were not carried out yet.
    pub(crate) fn has_output(&self, end: End) -> bool {
        match end {
            End::Attempt(attempt) => self.attempts[attempt].machine.has_output(),
            End::Slot(slot) => self.session(slot).is_some_and(|session| session.has_output()),
        }
    }

    /// Returns the name of an end, for violations.
    pub(crate) fn name_of(&self, end: End) -> String {
        match end {
            End::Attempt(attempt) => format!("client {}", self.attempts[attempt].client),
            End::Slot(slot) => format!("session {slot}"),
        }
    }

    /// Returns whether an application may be called with this for a session. After an abort only the end is reported;
    /// and a session that accepts no more messages has no room.
    pub(crate) fn is_wanted(&self, node: Node, peer: Peer, what: &What) -> bool {
        let Some(end) = self.end_of_peer(node, peer) else { return true };
        let app = self.app_of(end);
        match what {
            What::Open | What::Close(_) => true,
            What::Message(_) => !app.discards,
            What::Writable => self.phase_of(end) == Some(Phase::Open),
        }
    }

    /// Sets when the application of a node wants to be called.
    pub(crate) fn set_alarm(&mut self, node: Node, alarm: Option<Instant>) {
        let place = match node {
            Node::Client(client) => self.clients.get_mut(client).map(|node| &mut node.alarm),
            Node::Server(server) => self.servers.get_mut(server).map(|node| &mut node.alarm),
        };
        if let Some(place) = place {
            *place = alarm;
        }
    }

    pub(crate) fn attempt_behind(&self, end: End) -> usize {
        match end {
            End::Attempt(attempt) => attempt,
            End::Slot(slot) => self.sessions[slot].attempt,
        }
    }

    pub(crate) fn place_of(&self, end: End) -> Place {
        match end {
            End::Attempt(attempt) => Place::Client(self.attempts[attempt].client),
            End::Slot(slot) => Place::Server(self.sessions[slot].server),
        }
    }

    /// Sends messages of an application, together if there are several.
    pub(crate) fn send(&mut self, end: End, messages: Vec<Message>) -> Outcome<Result<(), SendError<Vec<Message>>>> {
        let limit = self.settings.max_payload;
        if messages.iter().any(|message| message.len() * 4 / 3 + 5 > limit) {
            let attempt = self.attempt_behind(end);
            self.attempts[attempt].incidents.add(Incidents::LARGE);
        }
        let told = match end {
            End::Attempt(attempt) => Some((attempt, self.clients[self.attempts[attempt].client].clock.peek(self.now))),
            End::Slot(_) => None,
        };
        let was_pending = self.has_output(end);
        let expect = |expected: &mut dyn Expected, now| expected.send(now, messages.clone());
        let sent = self.call(end, Kind::Send, |machine, now| machine.send_all(now, messages.clone()), expect)?;
        let sent = sent.unwrap_or_else(|| Err(SendError::Closed(messages.clone())));
        if let Some((attempt, told)) = told {
            self.is_in_time(attempt, told, sent.is_ok())?;
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
            Err(SendError::Full(_)) => self.waits_for_room(end, was_pending),
            Err(SendError::Closed(_)) if self.settings.close_when_full => {
                let attempt = self.attempt_behind(end);
                self.attempts[attempt].incidents.add(Incidents::OVERFLOW);
            }
            Err(_) => (),
        }
        self.weigh(end)?;
        self.compare(end)?;
        if let End::Slot(slot) = end {
            self.note_held_poll(slot);
        }
        Ok(sent)
    }

    /// Law 9: a client whose server is over its deadline accepts no more messages.
    fn is_in_time(&self, attempt: usize, told: Instant, sent: bool) -> Outcome {
        let machine = &self.attempts[attempt].machine;
        let is_open = matches!(machine.state(), client::State::Polling | client::State::Channel)
            && machine.phase() == Phase::Open;
        if sent && is_open && machine.next_timeout().is_some_and(|at| at <= told) {
            return broken(Law::Heartbeat, "a client sends, although the time of its server is over");
        }
        Ok(())
    }

    /// A requested end comes in time.
    pub(crate) fn has_ended_in_time(&self, end: End) -> Outcome {
        let (app, attempt) = (self.app_of(end), self.attempt_behind(end));
        let (Some(asked), Some(ended)) = (app.asked_at, app.ended_at) else { return Ok(()) };
        let took = ended.saturating_since(asked).as_micros();
        let limit = u128::from(self.settings.close_timeout * 1000 + self.settings.latency + 1000);
        let is_late = took > limit && !self.attempts[attempt].incidents.any(Incidents::LATE);
        if is_late { broken(Law::Timers, format!("{} took {took} µs to close", self.name_of(end))) } else { Ok(()) }
    }

    /// Law 4: a buffer holds at most its limit and one message.
    fn weigh(&self, end: End) -> Outcome {
        let Some(buffered) = self.machine(end).map(Machine::send_buffered) else { return Ok(()) };
        let costs: Vec<_> = match end {
            End::Attempt(attempt) => self.attempts[attempt].machine.unsent().map(Message::cost).collect(),
            End::Slot(slot) => {
                self.session(slot).into_iter().flat_map(|session| session.unsent().map(Message::cost)).collect()
            }
        };
        let (exact, largest) = (costs.iter().sum::<usize>(), costs.last().copied().unwrap_or(0));
        if buffered != exact {
            return broken(Law::Bytes, format!("{} counts {buffered} bytes, and holds {exact}", self.name_of(end)));
        }
        // Messages that are sent together count as one.
        let limit = self.settings.send_limit + largest.max(TOGETHER);
        if buffered > limit {
            broken(Law::Bytes, format!("{} holds {buffered} bytes, above {limit}", self.name_of(end)))
        } else {
            Ok(())
        }
    }

    /// Makes a message of this size, or a little larger. It differs from all others of this application, unless it is
    /// empty.
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

    /// The application asks whether a message would be accepted. If not, it waits for room.
    pub(crate) fn ask_whether_ready(&mut self, end: End) -> Outcome {
        let was_pending = self.has_output(end);
        let expect = |expected: &mut dyn Expected, _| expected.poll_ready();
        let is_ready = self.call(end, Kind::Send, |machine, _| machine.poll_ready(), expect)?;
        if is_ready == Some(false) {
            self.waits_for_room(end, was_pending);
        }
        Ok(())
    }

    /// A message was refused, or would be.
    fn waits_for_room(&mut self, end: End, was_pending: bool) {
        let left = self.machine(end).map_or(0, |machine| machine.stats().messages_sent);
        let app = self.app(end);
        app.events.full += 1;
        // If room may have been announced and not handled, this refusal is not what the next announcement answers.
        if !was_pending {
            app.full_at.get_or_insert(left);
        }
    }

    fn phase_of(&self, end: End) -> Option<Phase> {
        self.machine(end).map(Machine::phase)
    }

    pub(crate) fn close(&mut self, end: End, how: Asked) -> Outcome {
        let place = self.place_of(end);
        let what = if how == Asked::Close { "closes the session" } else { "aborts the session" };
        self.journal.note(self.now, place, what, 0, b"");
        let now = self.now;
        // A session that has ended, announced or not, can no longer be closed.
        let is_over = self.phase_of(end).is_none_or(|phase| phase == Phase::Closed);
        let app = self.app(end);
        if !is_over {
            app.asked_at.get_or_insert(now);
            // An abort after a close gives up the guarantees of the close.
            app.asked = Some(if app.asked == Some(Asked::Abort) { Asked::Abort } else { how });
        }
        app.discards |= how == Asked::Abort;
        match how {
            Asked::Close => self.call(end, Kind::Close, |machine, now| machine.close(now), |it, now| it.close(now))?,
            Asked::Abort => self.call(end, Kind::Abort, |machine, now| machine.abort(now), |it, now| it.abort(now))?,
        };
        match self.phase_of(end) {
            None | Some(Phase::Closed) => Ok(()),
            Some(Phase::Closing) if how == Asked::Close => Ok(()),
            Some(phase) => broken(Law::End, format!("{} {what}, and is {phase:?}", self.name_of(end))),
        }
    }

    pub(crate) fn discard(&mut self, end: End) -> Outcome {
        self.app(end).discards = true;
        // To discard has no time of its own: without the first call, what it leads to would happen at the time of an
        // earlier call.
        let discard = |machine: &mut dyn Machine, now| {
            machine.handle_timeout(now);
            machine.discard_incoming();
        };
        let expect = |expected: &mut dyn Expected, now| {
            expected.timeout(now);
            expected.discard();
        };
        self.call(end, Kind::Discard, discard, expect).map(drop)
    }

    /// After a refusal, the event for room comes, and only after something has left: otherwise the message would be
    /// refused again.
    pub(crate) fn hear_writable(&mut self, end: End) -> Outcome {
        let left = self.machine(end).map_or(u64::MAX, |machine| machine.stats().messages_sent);
        let prompt = !self.settings.lazy_outputs;
        let app = self.app(end);
        if prompt {
            app.events.full = 0;
        }
        match app.full_at.take() {
            Some(before) if left <= before => {
                broken(Law::End, format!("{} hears that there is room, and nothing has left", self.name_of(end)))
            }
            _ => Ok(()),
        }
    }

    pub(crate) fn take(&mut self, end: End) -> Outcome {
        match end {
            End::Attempt(attempt) if self.attempts[attempt].app.readable.is_some() => {
                self.client_takes(attempt).map(drop)
            }
            End::Slot(slot) if self.sessions[slot].app.readable.is_some() => self.server_takes(slot).map(drop),
            _ => Ok(()),
        }
    }

    pub(crate) fn set_reading(&mut self, end: End, reads: bool) {
        if !reads {
            let attempt = self.attempt_behind(end);
            self.attempts[attempt].incidents.add(Incidents::SLOW);
        }
        let client = self.attempts[self.attempt_behind(end)].client;
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

/// The maximum size that messages sent together count for.
const TOGETHER: usize = 4 * (Message::OVERHEAD + 8);

fn bytes(message: &Message) -> &[u8] {
    match message {
        Message::Text(text) => text.as_bytes(),
        Message::Binary(bytes) => bytes,
    }
}
