//! The rules of the model: opening, time, packets, their consequences, the end.
//!
//! What follows from something is not written where that happens, but once, in `Model::follow`.

use engineio_proto::client;
use engineio_proto::{CloseReason, Phase, TransportError, TransportKind, UpgradeError};

use crate::alphabet::Word;
use crate::explore_common::by::{self, More};
use crate::model::{Item, Model};
use crate::setting::{CLOSE_TIMEOUT, OPEN_TIMEOUT, PATIENCE, UPGRADE_TIMEOUT};

impl Model {
    /// Time passed and the client was woken.
    pub fn tick(&mut self) {
        let now = self.now;
        if self.closing.as_mut().is_some_and(|by| by.has_passed(now, CLOSE_TIMEOUT)) {
            self.leave(CloseReason::TransportError(TransportError::CloseTimeout));
        }
        self.look_at_the_server();
        if self.state == client::State::Opening && self.open_by.has_passed(now, OPEN_TIMEOUT) {
            self.fail_opening(CloseReason::TransportError(TransportError::OpenTimeout));
        }
        if self.is_upgrading() && self.upgrade_by.has_passed(now, UPGRADE_TIMEOUT) {
            self.fail_probe(UpgradeError::Timeout);
        }
        self.stalled_at = self.stalled_at.filter(|at| *at > self.now);
    }

    /// A server whose time is over is gone, unless it could not be heard because the application was slow. That does
    /// not excuse it if it takes nothing either.
    pub fn look_at_the_server(&mut self) {
        let Some(at) = self.patience.filter(|at| *at <= self.now) else { return };
        let waits = !self.is_written();
        if self.excused && !(self.stalled && waits) {
            self.excused = false;
            self.stalled = waits;
            self.patience = Some(self.now + PATIENCE);
            self.more.end();
        } else if by::is_late(at, self.now) && self.more == More::Unused {
            self.patience = Some(self.now + by::more(PATIENCE));
            self.extended = false;
            self.more = More::Running;
        } else {
            self.leave(CloseReason::PingTimeout);
        }
    }

    /// What follows from what happened: what waits is handled as far as there is room, the transport is changed when nothing
    /// is under way, what can leave by polling leaves, and a session that is closing ends when everything is written.
    pub fn follow(&mut self) {
        self.pump();
        let closing = self.closing.is_some();
        if closing && self.state == client::State::Pausing && !self.waiting.is_empty() {
            // It does not wait for its application to take messages before it changes.
            self.fail_probe(UpgradeError::SessionClosed);
        }
        self.switch();
        self.flush();
        self.poll();
        let done = match self.state {
            client::State::Opening => self.transport == TransportKind::WebSocket && self.queue.is_empty(),
            client::State::Channel => !self.has_frames() && self.is_written(),
            _ => false,
        };
        if closing && done {
            self.end(CloseReason::ForcedClose);
            self.pump();
        }
    }

    fn pump(&mut self) {
        while self.has_inbox_room() {
            let Some(item) = self.waiting.pop_front() else { break };
            self.handle(item);
        }
    }

    fn switch(&mut self) {
        let idle = self.get.is_none() && self.post.is_none() && self.waiting.is_empty();
        if self.state == client::State::Pausing && idle {
            self.shift(client::Trigger::Paused, client::State::Channel);
            self.transport = TransportKind::WebSocket;
            self.upgraded = true;
            self.due.upgraded = true;
            self.owes_upgrade = true;
        }
    }

    fn handle(&mut self, item: Item) {
        if !self.known && self.reason.is_none() {
            return self.handle_first(item);
        }
        let over = self.reason.is_some();
        match item {
            Item::AnswerEnd => return,
            Item::Other(Word::Ping) if !over => {
                self.patience = Some(self.now + PATIENCE);
                self.more = More::Unused;
                self.extended = false;
                self.excused = false;
                self.stalled = false;
            }
            Item::Other(Word::Junk) => (),
            Item::Message(_) | Item::Other(_) => {
                if !over && !self.extended {
                    self.extended = true;
                    self.patience = Some(self.now + PATIENCE);
                    self.more.end();
                }
            }
        }
        match item {
            Item::Message(said) => self.unread.extend(self.wanted.then_some(said)),
            Item::Other(Word::Ping) if !over => {
                // Told once, and answered once, until the answer has left.
                self.due.heartbeat |= !self.owes_pong;
                self.owes_pong = true;
            }
            Item::Other(Word::Close) => {
                self.waiting.clear();
                self.end(CloseReason::TransportClose);
            }
            Item::Other(Word::Junk) => {
                self.waiting.clear();
                self.leave(CloseReason::TransportError(TransportError::InvalidPacket));
            }
            _ => (),
        }
    }

    /// The first packet of the server must open the session.
    fn handle_first(&mut self, item: Item) {
        if item != Item::Other(Word::Open) {
            return self.fail_opening(CloseReason::TransportError(TransportError::InvalidHandshake));
        }
        self.known = true;
        self.patience = Some(self.now + PATIENCE);
        self.extended = false;
        if self.transport == TransportKind::Polling {
            self.shift(client::Trigger::OpenedByPolling, client::State::Polling);
            self.worked = false;
        } else {
            self.shift(client::Trigger::OpenedOnChannel, client::State::Channel);
            self.worked = true;
        }
        if self.closing.is_none() {
            self.due.opened = true;
            let allowed = self.kind.upgrade && self.left.contains(&TransportKind::WebSocket);
            if allowed && self.state == client::State::Polling {
                self.start_probe();
            }
        }
    }

    /// The transport failed before the session was open: the next one is tried if that is wanted.
    pub fn fail_opening(&mut self, reason: CloseReason) {
        self.worked = false;
        self.waiting.clear();
        self.left.retain(|&kind| kind != self.transport);
        let next = self.left.first().copied().filter(|_| self.kind.all && self.phase() == Phase::Opening);
        let Some(next) = next else { return self.end(reason) };
        self.shift(client::Trigger::Retried, client::State::Opening);
        self.details = None;
        self.due.cancels.extend(self.get.take());
        self.due.closes.extend(self.channel.take().map(|channel| channel.id));
        self.transport = next;
        self.open();
    }

    /// The session goes on by polling.
    pub fn fail_probe(&mut self, error: UpgradeError) {
        self.shift(client::Trigger::ProbeFailed, client::State::Polling);
        self.worked = false;
        self.drop_probe(error);
    }

    fn drop_probe(&mut self, error: UpgradeError) {
        self.due.closes.extend(self.channel.take().map(|channel| channel.id));
        self.due.upgrade_failed = Some(error);
        self.ready = false;
    }

    /// The true reason of an end: if the application asked for one in order, and all that it sent is written, it gets what
    /// it asked for. If not, what went wrong; where the server just left, messages are lost.
    fn true_reason(&self, cause: CloseReason) -> CloseReason {
        match cause {
            _ if self.closing.is_none() => cause,
            _ if self.is_written() => CloseReason::ForcedClose,
            CloseReason::TransportClose => CloseReason::TransportLost,
            _ => cause,
        }
    }

    /// The end, of which the server should hear, if it can.
    pub fn leave(&mut self, cause: CloseReason) {
        // A server that was not told of the change waits on polling.
        self.due.farewell |= (self.on_polling() || self.owes_upgrade) && self.post.is_none();
        self.end(cause);
    }

    /// The end.
    pub fn end(&mut self, cause: CloseReason) {
        if self.reason.is_some() {
            return;
        }
        let reason = self.true_reason(cause);
        self.due.cancels.extend(self.get.take());
        self.due.cancels.extend(self.post.take().map(|post| post.id));
        if self.is_upgrading() {
            self.drop_probe(UpgradeError::SessionClosed);
        }
        self.due.closes.extend(self.channel.take().map(|channel| channel.id));
        self.shift(client::Trigger::Ended, client::State::Closed);
        self.reason = Some(reason);
        self.worked &= !matches!(reason, CloseReason::TransportError(_));
        self.closing = None;
        self.patience = None;
        self.more = More::Unused;
        self.owes_upgrade = false;
        self.owes_pong = false;
        // Nobody needs to wait any more.
        self.full = None;
        self.awaited = None;
    }
}
