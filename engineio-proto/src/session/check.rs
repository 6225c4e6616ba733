//! What must be true of a session between any two calls.

use super::{Post, Session, State};
use crate::laws::Violation;
use crate::parts::phase::Phase;

impl Session {
    /// Tests the laws that can be seen from inside.
    ///
    /// # Errors
    /// The first law that does not hold.
    pub fn check(&self) -> Result<(), Violation> {
        let closed = self.state == State::Closed;
        let laws = [
            ("byte counts are exact", self.inbox.is_exact() && self.outbox.is_exact()),
            ("the send buffer is within its limit plus one message", self.outbox.is_within(self.config.send_limit)),
            (
                "the receive buffer is within its limit plus one message",
                self.inbox.is_within(self.config.receive_limit),
            ),
            (
                "a held poll has nothing to say",
                self.get.is_none() || (self.outbox.is_empty() && !self.owed.open && !self.heartbeat.owes_ping()),
            ),
            ("a closing session holds no poll", self.phase() == Phase::Open || self.get.is_none()),
            ("a closed session holds no POST", !closed || self.post == Post::Free),
            ("a closed session has no clock", !closed || self.next_timeout().is_none()),
            ("an open session has a clock", closed || self.next_timeout().is_some()),
            ("a closed session has a reason", closed == self.closed.is_some()),
            (
                "there is a channel where one is used",
                self.channel.is_some() == matches!(self.state, State::Probing | State::Probed | State::Channel),
            ),
            ("frames are announced", !self.has_frames() || self.told.ready),
            ("messages are announced", self.inbox.is_empty() || self.told.readable),
            ("a POST waits for its packets", matches!(self.post, Post::Held(_)) <= self.backlog.is_some()),
            ("what waits, waits for a reason", closed || self.backlog.is_none() || !self.has_inbox_room()),
        ];
        match laws.iter().find(|(_, holds)| !holds) {
            Some((law, _)) => Err(Violation(law)),
            None => Ok(()),
        }
    }

    #[cfg(test)]
    pub(crate) fn break_a_law(&mut self) {
        self.inbox.miscount();
    }

    /// In debug builds every call ends with a check, unless long queues would make that slow.
    pub(super) fn debug_check(&self) {
        #[cfg(debug_assertions)]
        if self.inbox.len().saturating_add(self.outbox.len()) <= 256 {
            let result = self.check();
            debug_assert!(result.is_ok(), "{result:?} in {self:#?}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parts::event::{CloseReason, ExchangeId};
    use crate::session::Heartbeat;
    use crate::session::event::Input;
    use crate::session::tests::{CHANNEL, NOW, drained, on_channel, polling};
    use crate::wire::payload::PayloadDecoder;
    use alloc::sync::Arc;

    /// A session in good health that is there to be broken.
    type Make = fn() -> Session;
    type Break = fn(&mut Session);

    fn idle() -> Session {
        drained(polling())
    }

    fn held() -> Session {
        let mut session = idle();
        session.handle_input(NOW, Input::Poll { exchange: ExchangeId(2) });
        session
    }

    fn channel() -> Session {
        drained(on_channel())
    }

    fn closed() -> Session {
        let mut session = channel();
        session.abort(NOW);
        session
    }

    #[test]
    fn every_law_can_fail() {
        let cases: &[(&str, Make, Break)] = &[
            ("byte counts are exact", idle, |s| s.inbox.miscount()),
            ("byte counts are exact", idle, |s| s.outbox.miscount()),
            ("the send buffer is within its limit plus one message", idle, |s| {
                s.outbox.push("a".into());
                s.outbox.push("b".into());
                Arc::make_mut(&mut s.config).send_limit = 1;
            }),
            ("the receive buffer is within its limit plus one message", idle, |s| {
                s.inbox.push("a".into());
                s.inbox.push("b".into());
                Arc::make_mut(&mut s.config).receive_limit = 1;
            }),
            ("a held poll has nothing to say", held, |s| s.outbox.push("a".into())),
            ("a held poll has nothing to say", held, |s| s.owed.open = true),
            ("a held poll has nothing to say", held, |s| {
                let now = s.next_timeout().unwrap();
                s.heartbeat.handle_timeout(now, &s.config, false, false);
            }),
            ("a closing session holds no poll", held, |s| s.closing = Some(NOW)),
            ("a closing session holds no poll", closed, |s| s.get = Some(ExchangeId(2))),
            ("a closed session holds no POST", closed, |s| s.post = Post::Receiving(ExchangeId(2))),
            ("a closed session has no clock", closed, |s| s.closing = Some(NOW)),
            ("an open session has a clock", idle, |s| s.heartbeat = Heartbeat::Off),
            ("a closed session has a reason", closed, |s| s.closed = None),
            ("a closed session has a reason", idle, |s| s.closed = Some((CloseReason::ForcedClose, true))),
            ("there is a channel where one is used", idle, |s| s.channel = Some(CHANNEL)),
            ("there is a channel where one is used", channel, |s| s.channel = None),
            ("there is a channel where one is used", idle, |s| s.state = State::Probing),
            ("there is a channel where one is used", idle, |s| s.state = State::Probed),
            ("frames are announced", channel, |s| s.outbox.push("a".into())),
            ("messages are announced", idle, |s| s.inbox.push("a".into())),
            ("a POST waits for its packets", idle, |s| s.post = Post::Held(ExchangeId(2))),
            ("what waits, waits for a reason", idle, |s| s.backlog = Some(PayloadDecoder::new("4a".into()))),
        ];
        for (index, &(law, make, break_it)) in cases.iter().enumerate() {
            let mut session = make();
            assert_eq!(session.check(), Ok(()), "{index}");
            break_it(&mut session);
            assert_eq!(session.check(), Err(Violation(law)), "{index}");
        }
    }

    /// With so many messages in both buffers together.
    fn broken(inbox: usize, outbox: usize) -> Session {
        let mut session = idle();
        (0..inbox).for_each(|_| session.inbox.push("".into()));
        (0..outbox).for_each(|_| session.outbox.push("".into()));
        session.outbox.miscount();
        session
    }

    #[test]
    #[should_panic(expected = "byte counts are exact")]
    fn every_call_looks_at_the_laws() {
        broken(128, 128).debug_check();
    }

    #[test]
    fn long_queues_are_not_looked_at_with_every_call() {
        broken(128, 129).debug_check();
    }
}
