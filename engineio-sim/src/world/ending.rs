//! The end of a world: faults are healed, and the world must come to rest.

use std::time::Duration;

use engineio_proto::client;
use engineio_proto::{ChannelEnd, CloseReason, Instant, Phase, RequestError, TransportError, TransportKind};

use super::apps::End;
use super::core::{Core, Outcome};
use super::net::{Answer, Exchange, Opening, Parts, Piece, Spoilt, Stage};
use super::nodes::{App, Attempt, Slot};
use crate::oracle::{Asked, Incidents, Law, broken};

/// How a world ends after it has come to rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The clients close their sessions.
    Clients,
    /// The servers close their sessions.
    Servers,
    /// Both close them.
    Both,
    /// The network drops everything.
    Silence,
    /// The network drops everything, while the applications continue to send.
    Bursts,
}

impl Ending {
    /// All ways to end.
    pub const ALL: [Self; 5] = [Self::Clients, Self::Servers, Self::Both, Self::Silence, Self::Bursts];

    /// Returns whether it ends because nothing arrives.
    pub(crate) fn is_silent(self) -> bool {
        matches!(self, Self::Silence | Self::Bursts)
    }
}

impl Core {
    /// From now on there are no more faults, and every application reads.
    pub(crate) fn heal(&mut self) {
        let at = self.arrival();
        let now = self.now;
        // Foreign clients leave.
        (self.own_clients()..self.clients.len()).for_each(|client| self.foreign_vanishes(client));
        for attempt in self.attempts.iter_mut().filter(|attempt| !attempt.incidents.is_empty()) {
            attempt.troubled_until = now;
        }
        // A body that never ends is abandoned in time.
        let endless = self.exchanges.iter().filter(|exchange| exchange.spoilt == Some(Spoilt::Slow));
        for client in endless.map(|exchange| exchange.client).collect::<Vec<_>>() {
            self.trouble(client, self.later(1000 * self.settings.body_timeout));
        }
        for client in &mut self.clients {
            client.returning = None;
            client.storm = 0;
            client.silent = false;
            client.asleep = Instant::ZERO;
            client.clock.late = Instant::ZERO;
            client.clock.back = 0;
        }
        for server in &mut self.servers {
            server.asleep = Instant::ZERO;
            server.clock.late = Instant::ZERO;
            server.clock.back = 0;
        }
        let apps = self.attempts.iter_mut().map(|attempt| &mut attempt.app);
        for app in apps.chain(self.sessions.iter_mut().map(|slot| &mut slot.app)) {
            app.reads = true;
            app.reports_from = Instant::ZERO;
        }
        for exchange in &mut self.exchanges {
            if exchange.upload.take().is_some() {
                exchange.due = at;
            }
            if exchange.is_stuck() && exchange.dropped {
                // Its connection is gone, and the server had not detected that.
                exchange.server_learns.get_or_insert(at);
            } else if exchange.is_stuck() {
                exchange.answer = Answer::Writing(Parts { left: 0, at: now });
                exchange.due = at;
            }
            exchange.pace = 0;
            exchange.due = exchange.due.min(at);
            exchange.client_learns = exchange.client_learns.map(|learns| learns.min(at));
            exchange.server_learns = exchange.server_learns.map(|learns| learns.min(at));
        }
        for channel in &mut self.channels {
            if let Opening::Asked(due) | Opening::Accepted(due) | Opening::Refused(due, _) = &mut channel.opening {
                *due = (*due).min(at);
            }
            for pipe in [&mut channel.up, &mut channel.down] {
                (pipe.pace, pipe.next_at) = (0, Instant::ZERO);
            }
            for (due, _) in channel.up.pieces.iter_mut().chain(&mut channel.down.pieces) {
                *due = (*due).min(at);
            }
            if channel.opener.is_none() && channel.client_open {
                // Strangers leave.
                channel.client_open = false;
                channel.up.pieces.push_back((at, Piece::End(ChannelEnd::Lost)));
            }
        }
        self.journal.note(now, crate::journal::Place::Network, "heals", 0, b"");
    }

    /// Returns the maximum time in transit without faults, in microseconds.
    pub(crate) fn transit(&self) -> u64 {
        let missing = self.attempts.iter().map(|attempt| attempt.app.sends.missing());
        let missing: usize = missing.chain(self.sessions.iter().map(|slot| slot.app.sends.missing())).sum();
        // This many answers may wait for their reports; the next one waits for those.
        let reports = self.settings.report_time * (4 + missing as u64);
        2_000_000 + self.settings.latency * (100 + 8 * missing as u64) + reports
    }

    /// Returns what is not at rest in sessions that no fault has affected. These wait only for data in transit,
    /// whatever happens to others.
    pub(crate) fn dawdling(&self) -> Option<String> {
        self.unrest_of(Attempt::is_quiet)
    }

    /// Law 12: returns what is not at rest, if anything.
    pub(crate) fn unrest(&self) -> Option<String> {
        self.unrest_of(|_| true).or_else(|| self.unrest_between())
    }

    fn unrest_of(&self, concerned: impl Fn(&Attempt) -> bool) -> Option<String> {
        let attempts = self.clients.iter().filter_map(|node| node.attempt.map(|attempt| &self.attempts[attempt]));
        let unrest = attempts
            .filter(|attempt| concerned(attempt) && !attempt.is_over())
            .find_map(|attempt| self.unrest_of_pair(attempt));
        let is_alone = |(index, slot): &(usize, &Slot)| {
            let attempt = &self.attempts[slot.attempt];
            concerned(attempt) && !slot.is_over() && (attempt.is_over() || attempt.slot != Some(*index))
        };
        let alone = || self.sessions.iter().enumerate().find(is_alone);
        unrest.or_else(|| alone().map(|(index, _)| format!("session {index} is not over, and its client is gone")))
    }

    /// Both sides are open, on the same transport, with empty buffers, and everything has arrived.
    fn unrest_of_pair(&self, attempt: &Attempt) -> Option<String> {
        let (client, machine) = (attempt.client, &attempt.machine);
        if machine.phase() != Phase::Open || !matches!(machine.state(), client::State::Polling | client::State::Channel)
        {
            return Some(format!("client {client} is {:?}, {:?}", machine.phase(), machine.state()));
        }
        let slot = attempt.slot.filter(|&slot| !self.sessions[slot].is_over());
        let Some(slot) = slot else { return Some(format!("client {client} is open, and its session is not")) };
        let Some(session) = self.session(slot) else { return Some(format!("session {slot} is not there")) };
        if session.phase() != Phase::Open {
            return Some(format!("session {slot} is {:?}", session.phase()));
        }
        let transports = (machine.transport(), session.transport());
        if transports.0 != transports.1 {
            return Some(format!("client {client} is on {:?}, its session on {:?}", transports.0, transports.1));
        }
        let buffered = machine.send_buffered() + machine.receive_buffered();
        if buffered + session.send_buffered() + session.receive_buffered() > 0 {
            return Some(format!("messages of client {client} or its session wait in a buffer"));
        }
        let slot = &self.sessions[slot];
        let waits = |app: &App| app.events.full > 0 && !self.settings.lazy_outputs;
        if waits(&attempt.app) || waits(&slot.app) {
            return Some(format!("client {client} or its session waits to hear that there is room, and there is"));
        }
        // Of what was forged, some may have been taken for a message.
        let is_forged = attempt.incidents.any(Incidents::FOREIGN);
        let lacks = |from: &App, to: &App| !is_forged && from.sends.missing() > 0 && !to.discards;
        let missing = lacks(&attempt.app, &slot.app) || lacks(&slot.app, &attempt.app);
        missing.then(|| format!("messages of client {client} or its session are missing"))
    }

    /// Returns work that is under way between the two sides, or that is due.
    fn unrest_between(&self) -> Option<String> {
        let busy = |app: &App| app.readable.is_some();
        let attempts = self
            .attempts
            .iter()
            .filter(|attempt| !attempt.is_over())
            .any(|attempt| attempt.dirty.is_some() || busy(&attempt.app));
        if attempts || self.sessions.iter().any(|slot| !slot.is_over() && busy(&slot.app)) {
            return Some("an application or its embedder has something to do".into());
        }
        if self.servers.iter().any(|server| server.dirty.is_some()) {
            return Some("a server has something to do".into());
        }
        let waits = |exchange: &&Exchange| {
            exchange.stage != Stage::Held || exchange.body.is_some() || exchange.sender.is_none()
        };
        if let Some(exchange) = self.exchanges.iter().find(waits) {
            return Some(format!("a request to {} is under way: {:?}", exchange.target, exchange.stage));
        }
        let pieces = |channel: &super::net::Channel| channel.up.pieces.len() + channel.down.pieces.len();
        if self.channels.iter().any(|channel| pieces(channel) > 0 || channel.opener.is_none()) {
            return Some("something is on its way on a channel".into());
        }
        None
    }

    /// The laws for sessions that have ended, or are at rest.
    pub(crate) fn audit(&self) -> Outcome {
        for (index, slot) in self.sessions.iter().enumerate() {
            let attempt = &self.attempts[slot.attempt];
            if attempt.slot == Some(index) && attempt.incidents.is_empty() && !slot.crashed {
                self.audit_pair(attempt, index)?;
            }
        }
        for server in &self.servers {
            if server.machine.len() != server.sessions.len() {
                return broken(
                    Law::End,
                    format!("a server has {} sessions, not {}", server.machine.len(), server.sessions.len()),
                );
            }
        }
        Ok(())
    }

    /// No fault has affected this session.
    fn audit_pair(&self, attempt: &Attempt, index: usize) -> Outcome {
        let slot = &self.sessions[index];
        let limit = Duration::from_millis(self.settings.close_timeout);
        let in_time = |app: &App| match (app.asked_at, app.ended_at) {
            (Some(asked), Some(ended)) => ended.saturating_since(asked) < limit,
            _ => false,
        };
        let reasons = (attempt.app.events.closed, slot.app.events.closed);
        let expected = match (attempt.app.asked, slot.app.asked) {
            (Some(Asked::Close), None) if in_time(&attempt.app) => {
                if attempt.app.sends.missing() > 0 && !slot.app.discards {
                    return broken(
                        Law::Messages,
                        format!("client {} closed in order, and its messages are lost", attempt.client),
                    );
                }
                (Some(CloseReason::ForcedClose), Some(CloseReason::TransportClose))
            }
            (None, Some(Asked::Close)) if in_time(&slot.app) => {
                if slot.app.sends.missing() > 0 && !attempt.app.discards {
                    return broken(
                        Law::Messages,
                        format!("session {index} was closed in order, and its messages are lost"),
                    );
                }
                // A client with a POST under way, even for a pong, may detect the end in this way.
                let posting = CloseReason::TransportError(TransportError::Post(RequestError::Lost));
                let refused = CloseReason::TransportError(TransportError::Post(RequestError::Status(400)));
                let lost = attempt.app.events.closed.filter(|reason| [posting, refused].contains(reason));
                let reason = lost.unwrap_or(CloseReason::TransportClose);
                (Some(reason), Some(CloseReason::ForcedClose))
            }
            (None, None) => {
                let wants = attempt.machine.config().transports.len() > 1
                    && attempt.machine.config().transports[0] == TransportKind::Polling;
                if wants && self.settings.allow_upgrades && !attempt.machine.upgraded() {
                    return broken(Law::Probes, format!("client {} was not upgraded", attempt.client));
                }
                (None, None)
            }
            _ => return Ok(()),
        };
        if reasons == expected {
            return Ok(());
        }
        broken(
            Law::End,
            format!("client {} and session {index} ended with {reasons:?}, expected {expected:?}", attempt.client),
        )
    }

    /// Starts the end of the world. Returns the time within which the remaining sessions must end, in microseconds.
    pub(crate) fn begin_ending(&mut self, ending: Ending) -> Outcome<u64> {
        self.ending_at = self.now;
        let clients: Vec<_> = (0..self.clients.len()).filter_map(|client| self.attempt_of(client)).collect();
        let slots: Vec<_> = (0..self.sessions.len()).filter(|&slot| !self.sessions[slot].is_over()).collect();
        if matches!(ending, Ending::Clients | Ending::Both) {
            for attempt in clients {
                self.close(End::Attempt(attempt), Asked::Close)?;
            }
        }
        if matches!(ending, Ending::Servers | Ending::Both) {
            for slot in slots {
                self.close(End::Slot(slot), Asked::Close)?;
            }
        }
        if !ending.is_silent() {
            return Ok(self.settings.patience());
        }
        for client in 0..self.clients.len() {
            self.set_silent(client, true);
        }
        // Law 9: an interval and a timeout, and no longer. A machine that could not read for some time waits once more.
        let apps = self.attempts.iter().map(|attempt| &attempt.app).chain(self.sessions.iter().map(|slot| &slot.app));
        let times = if apps.filter(|app| !app.events.is_over()).any(|app| app.crowded) { 2 } else { 1 };
        let silence = 1000 * (self.settings.ping_interval + self.settings.ping_timeout);
        Ok(times * silence + 20 * self.settings.latency + self.settings.report_time + 100_000)
    }

    /// Every application with a session sends something.
    pub(crate) fn burst(&mut self) -> Outcome {
        let attempts = (0..self.attempts.len()).map(End::Attempt);
        let ends: Vec<_> = attempts.chain((0..self.sessions.len()).map(End::Slot)).collect();
        for end in ends {
            if self.machine(end).is_some_and(|machine| machine.phase() == Phase::Open) {
                let message = self.make(end, 1, false);
                drop(self.send(end, vec![message])?);
            }
        }
        Ok(())
    }

    /// All sessions must have ended by now.
    pub(crate) fn audit_ending(&self, ending: Ending) -> Outcome {
        let silent = ending.is_silent();
        let law = if silent { Law::Heartbeat } else { Law::Quiescence };
        // In silence an application may close when it receives nothing, and a client that takes no data meanwhile is
        // too slow. Closes that were requested before are no explanation.
        let has_left = |app: &App| silent && app.asked_at.is_some_and(|at| at >= self.ending_at);
        if let Some(attempt) = self.attempts.iter().find(|attempt| !attempt.is_over() && !has_left(&attempt.app)) {
            return broken(law, format!("client {} did not end", attempt.client));
        }
        if let Some(slot) = self.sessions.iter().position(|slot| !slot.is_over() && !has_left(&slot.app)) {
            return broken(law, format!("session {slot} did not end"));
        }
        let slow = CloseReason::TransportError(TransportError::SlowConsumer);
        let explains = |app: &App| match app.events.closed {
            Some(CloseReason::PingTimeout) => true,
            Some(reason) => has_left(app) || (reason == slow && app.sent_at > self.ending_at),
            None => has_left(app),
        };
        let apps = self.attempts.iter().map(|attempt| &attempt.app).chain(self.sessions.iter().map(|slot| &slot.app));
        for app in apps.filter(|app| silent && app.ended_at.is_some_and(|at| at > self.ending_at)) {
            if !explains(app) {
                return broken(law, format!("silence ended a session with {:?}", app.events.closed));
            }
        }
        Ok(())
    }

    pub(crate) fn is_emptied(&self) -> Outcome {
        for server in &self.servers {
            if !server.machine.is_empty() || server.machine.next_timeout().is_some() || !server.sessions.is_empty() {
                return broken(Law::End, "a server is not empty although all sessions are over");
            }
        }
        Ok(())
    }
}
