//! The laws that hold for a session between any two calls.

use super::post::Post;
use super::{Session, Stage};
use crate::laws::Violation;
use crate::parts::phase::Phase;

impl Session {
    /// Checks the laws that are visible from inside.
    ///
    /// # Errors
    /// Returns the first law that does not hold.
    pub fn check(&self) -> Result<(), Violation> {
        let closed = matches!(self.stage, Stage::Closed { .. });
        let outbox = &self.flow.outbox;
        let laws = [
            ("a held poll has nothing to say, or too many answers are under way", {
                let idle = outbox.is_empty() && !self.owes_ping();
                self.get.is_none() || (!self.greeting.open && (idle || !outbox.may_answer()))
            }),
            ("a closing session holds a poll only until everything is written", {
                self.phase() == Phase::Open || self.get.is_none() || !outbox.is_written()
            }),
            ("a closing session on a channel has something to do", {
                let done = matches!(self.stage, Stage::Channel(_)) && !self.has_frames() && outbox.is_written();
                self.phase() != Phase::Closing || !done
            }),
            ("a closed session holds no exchange", !closed || (self.get.is_none() && self.post == Post::Free)),
            ("a session has a clock until it is closed", closed == self.next_timeout().is_none()),
            ("an unconfirmed session has had one request", !self.is_unconfirmed() || self.post == Post::Free),
            ("a closed session has a reason", closed == self.close_reason().is_some()),
            ("frames are announced", !self.has_frames() || self.flow.are_frames_announced()),
            ("a POST waits for its packets", matches!(self.post, Post::Held(_)) <= self.flow.inbox.has_body()),
            ("a body waits for room", closed || !self.flow.inbox.has_body() || !self.has_room()),
            ("frames wait for a body or for room", {
                let receiving = matches!(self.post, Post::Receiving { .. });
                closed || !self.flow.inbox.has_frames() || receiving || !self.has_room()
            }),
            ("on a channel, it is announced whether to read", {
                let is_on_channel = matches!(self.stage, Stage::Channel(_));
                !is_on_channel || self.flow.is_reading() == self.is_reading()
            }),
        ];
        let mut laws = laws.into_iter().chain(self.flow.laws(self.config.limits()));
        match laws.find(|(_, holds)| !holds) {
            Some((law, _)) => Err(Violation(law)),
            None => Ok(()),
        }
    }

    fn has_room(&self) -> bool {
        self.flow.inbox.has_room(self.config.receive_limit)
    }

    #[cfg(test)]
    pub(crate) fn break_a_law(&mut self) {
        self.flow.inbox.miscount();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parts::event::{CloseReason, ExchangeId};
    use crate::parts::heartbeat::pinger::Pinger;
    use crate::parts::wait::{Deadline, Situation};
    use crate::session::event::Input;
    use crate::session::tests::{NOW, drained, on_channel, polling};
    use crate::wire::codec::Codec;
    use crate::wire::frame::Frame;
    use alloc::sync::Arc;

    /// Makes a valid session for a test to break.
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
            ("byte counts are exact, cursors in order", idle, |s| s.flow.inbox.miscount()),
            ("byte counts are exact, cursors in order", idle, |s| s.flow.outbox.miscount()),
            ("the send buffer is within its limit plus one message", idle, |s| {
                s.flow.accept(["a".into(), "b".into()]);
                Arc::make_mut(&mut s.config).send_limit = 1;
            }),
            ("the receive buffer is within its limit plus one message", idle, |s| {
                s.flow.inbox.push_unseen("a".into());
                s.flow.inbox.push_unseen("b".into());
                Arc::make_mut(&mut s.config).receive_limit = 1;
            }),
            ("a held poll has nothing to say, or too many answers are under way", held, |s| {
                s.flow.accept(["a".into()]);
            }),
            ("a held poll has nothing to say, or too many answers are under way", held, |s| s.greeting.open = true),
            ("a held poll has nothing to say, or too many answers are under way", held, |s| {
                let (now, times) = (s.next_timeout().unwrap(), s.config.times());
                let situation = Situation { paused: false, waiting: false, receiving: false };
                s.pinger.handle_timeout(now, times, situation);
            }),
            ("a closing session holds a poll only until everything is written", held, |s| {
                s.closing = Some(Deadline::new(NOW));
            }),
            ("a closing session holds a poll only until everything is written", closed, |s| {
                s.get = Some(ExchangeId(2));
            }),
            ("a closing session on a channel has something to do", channel, |s| s.closing = Some(Deadline::new(NOW))),
            ("a closed session holds no exchange", closed, |s| {
                s.post = Post::Receiving { exchange: ExchangeId(2), deadline: Deadline::new(NOW) };
            }),
            ("a session has a clock until it is closed", closed, |s| s.closing = Some(Deadline::new(NOW))),
            ("a session has a clock until it is closed", channel, |s| s.pinger = Pinger::Off),
            ("an unconfirmed session has had one request", idle, |s| {
                s.post = Post::Receiving { exchange: ExchangeId(2), deadline: Deadline::new(NOW) };
            }),
            ("a closed session has a reason", idle, |s| s.flow.finish(CloseReason::ForcedClose)),
            ("frames are announced", channel, |s| s.flow.accept(["a".into()])),
            ("messages are announced", idle, |s| s.flow.inbox.push_unseen("a".into())),
            ("what the application waits for is announced", idle, |s| {
                s.poll_written(1);
                s.flow.accept(["a".into()]);
                s.flow.hand_over();
                s.flow.outbox.set_written(1);
            }),
            ("on a channel, it is announced whether to read", channel, |s| {
                s.flow.announce_reading(s.current_channel().unwrap(), false);
            }),
            ("a POST waits for its packets", held, |s| s.post = Post::Held(ExchangeId(2))),
            ("a body waits for room", idle, |s| s.flow.inbox.push_body(Codec::V4.decode_payload("4a".into()))),
            ("frames wait for a body or for room", channel, |s| s.flow.inbox.push_frame(Frame::received("4a".into()))),
        ];
        for (index, &(law, make, break_it)) in cases.iter().enumerate() {
            let mut session = make();
            assert_eq!(session.check(), Ok(()), "{index}");
            break_it(&mut session);
            assert_eq!(session.check(), Err(Violation(law)), "{index}");
        }
    }

    /// Makes a session with these numbers of messages in its buffers, and breaks a law.
    fn broken(inbox: usize, outbox: usize) -> Session {
        let mut session = idle();
        (0..inbox).for_each(|_| session.flow.inbox.push_unseen("".into()));
        (0..outbox).for_each(|_| session.flow.accept(["".into()]));
        session.flow.outbox.miscount();
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
