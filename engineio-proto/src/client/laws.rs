//! The laws that hold for a client between any two calls.

use super::Client;
use crate::client::state::State;
use crate::laws::Violation;
use crate::parts::phase::Phase;
use crate::parts::transport::TransportKind;

impl Client {
    /// Checks the laws that are visible from inside.
    ///
    /// # Errors
    /// Returns the first law that does not hold.
    pub fn check(&self) -> Result<(), Violation> {
        let state = self.state();
        let (closed, opening) = (state == State::Closed, state == State::Opening);
        let on_polling = self.transport == TransportKind::Polling;
        let outbox = &self.flow.outbox;
        let laws = [
            ("a request is under way by polling only", {
                (self.get.is_none() && self.post.is_none()) || state.is_polling() || (opening && on_polling)
            }),
            ("the transport is that of the state", closed || opening || on_polling == state.is_polling()),
            ("a client on polling polls, or has a reason not to", {
                let polls = matches!(state, State::Polling | State::Probing);
                let waits = self.flow.inbox.has_body() || self.pace.next().is_some();
                let waits = waits || self.post.is_some_and(|post| post.is_last);
                !polls || self.get.is_some() || waits
            }),
            ("a pausing client waits for something", {
                let waits = self.get.is_some() || self.flow.inbox.has_body() || self.post.is_some();
                state != State::Pausing || waits
            }),
            ("what can be posted is posted", {
                let posts = matches!(state, State::Polling | State::Probing);
                let some = !outbox.is_empty() || self.owes_pong || self.closing.is_some();
                !posts || !some || self.post.is_some() || self.holds_back()
            }),
            ("a client has a clock until it is closed", closed == self.next_timeout().is_none()),
            ("a closed client has a reason", closed == self.close_reason().is_some()),
            ("a client that is open knows its session", opening || closed || self.opened.is_some()),
            ("a client that opens on a channel has one", !opening || on_polling == self.current_channel().is_none()),
            ("frames are announced", !self.has_frames() || self.flow.are_frames_announced()),
            ("on a channel, it is announced whether to read", {
                let is_on_channel = state == State::Channel;
                !is_on_channel || self.flow.is_reading() == self.is_reading()
            }),
            ("what waits, waits for room", {
                let waits = self.flow.inbox.has_body() || self.flow.inbox.has_frames();
                !waits || !self.flow.inbox.has_room(self.config.receive_limit)
            }),
            ("a closing client on a channel has something to do", {
                let done = state == State::Channel && !self.has_frames() && outbox.is_written();
                self.phase() != Phase::Closing || !done
            }),
        ];
        let mut laws = laws.into_iter().chain(self.flow.laws(self.config.limits()));
        match laws.find(|(_, holds)| !holds) {
            Some((law, _)) => Err(Violation(law)),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::Stage;
    use crate::client::config::Config;
    use crate::client::event::Input;
    use crate::client::opening::Opening;
    use crate::client::post::Post;
    use crate::client::probe::Pause;
    use crate::parts::event::{CloseReason, ExchangeId};
    use crate::parts::time::Instant;
    use crate::parts::wait::Deadline;
    use crate::wire::codec::Codec;
    use crate::wire::frame::Frame;
    use alloc::sync::Arc;
    use alloc::vec;

    const NOW: Instant = Instant::from_millis(1000);
    const POST: Post = Post { exchange: ExchangeId(9), message: 0, is_flushed: false, is_last: false };
    const OPEN: &str = r#"0{"sid":"a","upgrades":["websocket"],"pingInterval":25000,"pingTimeout":20000}"#;

    /// Makes a valid client for a test to break.
    type Make = fn() -> Client;
    type Break = fn(&mut Client);

    fn opening_by(transport: TransportKind) -> Client {
        let config = Config { transports: vec![transport], ..Config::default() };
        let mut client = Client::new(NOW, Arc::new(config), 0).unwrap();
        while client.poll_output().is_some() {}
        client
    }

    fn opening() -> Client {
        opening_by(TransportKind::Polling)
    }

    fn dialling() -> Client {
        opening_by(TransportKind::WebSocket)
    }

    fn polling() -> Client {
        let mut client = opening();
        let exchange = client.get.unwrap();
        client.handle_input(NOW, Input::Answered { exchange, status: 200, body: OPEN.into() });
        while client.poll_output().is_some() {}
        client
    }

    /// On polling, and changing to a WebSocket.
    fn probing() -> Client {
        let mut client = Client::new(NOW, Arc::new(Config::default()), 0).unwrap();
        let exchange = client.get.unwrap();
        client.handle_input(NOW, Input::Answered { exchange, status: 200, body: OPEN.into() });
        while client.poll_output().is_some() {}
        client
    }

    fn channel() -> Client {
        let mut client = dialling();
        let channel = client.current_channel().unwrap();
        client.handle_input(NOW, Input::ChannelFrame { channel, frame: Frame::received(OPEN.into()) });
        while client.poll_output().is_some() {}
        client
    }

    fn closed() -> Client {
        let mut client = polling();
        client.abort(NOW);
        client
    }

    #[test]
    fn every_law_can_fail() {
        let cases: &[(&str, Make, Break)] = &[
            ("byte counts are exact, cursors in order", polling, |c| c.flow.inbox.miscount()),
            ("byte counts are exact, cursors in order", polling, |c| c.flow.outbox.miscount()),
            ("the send buffer is within its limit plus one message", opening, |c| {
                c.flow.accept(["a".into(), "b".into()]);
                Arc::make_mut(&mut c.config).send_limit = 1;
            }),
            ("the receive buffer is within its limit plus one message", opening, |c| {
                c.flow.inbox.push_unseen("a".into());
                c.flow.inbox.push_unseen("b".into());
                Arc::make_mut(&mut c.config).receive_limit = 1;
            }),
            ("a request is under way by polling only", channel, |c| c.get = Some(ExchangeId(9))),
            ("a request is under way by polling only", channel, |c| c.post = Some(POST)),
            ("a request is under way by polling only", dialling, |c| c.get = Some(ExchangeId(9))),
            ("a request is under way by polling only", closed, |c| c.get = Some(ExchangeId(9))),
            ("the transport is that of the state", polling, |c| c.transport = TransportKind::WebSocket),
            ("a client on polling polls, or has a reason not to", polling, |c| c.get = None),
            ("a client on polling polls, or has a reason not to", polling, |c| {
                c.get = None;
                c.post = Some(POST);
            }),
            ("a pausing client waits for something", probing, |c| {
                let Stage::Probing(probe) = c.stage else { panic!("it probes") };
                c.stage = Stage::Pausing(Pause::new(probe, NOW, core::time::Duration::ZERO));
                c.get = None;
            }),
            ("what can be posted is posted", polling, |c| c.flow.accept(["a".into()])),
            ("what can be posted is posted", polling, |c| c.owes_pong = true),
            ("what can be posted is posted", polling, |c| c.closing = Some(Deadline::new(NOW))),
            ("a client has a clock until it is closed", closed, |c| c.closing = Some(Deadline::new(NOW))),
            ("a client has a clock until it is closed", polling, |c| c.listener = None),
            ("a closed client has a reason", polling, |c| c.flow.finish(CloseReason::ForcedClose)),
            ("a client that is open knows its session", polling, |c| c.opened = None),
            ("a client that opens on a channel has one", dialling, |c| {
                c.stage = Stage::Opening(Opening::new(Deadline::new(NOW)));
            }),
            ("frames are announced", channel, |c| c.flow.accept(["a".into()])),
            ("messages are announced", polling, |c| c.flow.inbox.push_unseen("a".into())),
            ("what the application waits for is announced", polling, |c| {
                c.poll_written(1);
                c.flow.accept(["a".into()]);
                c.flow.hand_over();
                c.flow.outbox.set_written(1);
            }),
            ("on a channel, it is announced whether to read", channel, |c| {
                c.flow.announce_reading(c.current_channel().unwrap(), false);
            }),
            ("what waits, waits for room", polling, |c| {
                c.flow.inbox.push_body(Codec::V4.decode_payload("4a".into()));
            }),
            ("what waits, waits for room", polling, |c| c.flow.inbox.push_frame(Frame::received("4a".into()))),
            ("a closing client on a channel has something to do", channel, |c| c.closing = Some(Deadline::new(NOW))),
        ];
        for (index, &(law, make, break_it)) in cases.iter().enumerate() {
            let mut client = make();
            assert_eq!(client.check(), Ok(()), "{index}");
            break_it(&mut client);
            assert_eq!(client.check(), Err(Violation(law)), "{index}");
        }
    }

    /// Makes a client with these numbers of messages in its buffers, and breaks a law.
    fn broken(inbox: usize, outbox: usize) -> Client {
        let mut client = opening();
        (0..inbox).for_each(|_| client.flow.inbox.push_unseen("".into()));
        (0..outbox).for_each(|_| client.flow.accept(["".into()]));
        client.flow.outbox.miscount();
        client
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
