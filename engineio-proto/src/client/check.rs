//! What must be true of a client between any two calls.

use super::{Client, Phase, State};
use crate::laws::Violation;
use crate::parts::transport::TransportKind;

impl Client {
    /// Tests the laws that can be seen from inside.
    ///
    /// # Errors
    /// The first law that does not hold.
    pub fn check(&self) -> Result<(), Violation> {
        let closed = self.state == State::Closed;
        let opening = self.state == State::Opening;
        let on_polling = self.transport == TransportKind::Polling;
        let laws = [
            ("byte counts are exact", self.inbox.is_exact() && self.outbox.is_exact()),
            ("the send buffer is within its limit plus one message", self.outbox.is_within(self.config.send_limit)),
            (
                "the receive buffer is within its limit plus one message",
                self.inbox.is_within(self.config.receive_limit),
            ),
            ("a request is under way by polling only", {
                (self.get.is_none() && self.post.is_none()) || self.state.is_polling() || (opening && on_polling)
            }),
            ("the transport is that of the state", { closed || opening || on_polling == self.state.is_polling() }),
            ("a client on polling polls, or has a reason not to", {
                let polls = matches!(self.state, State::Polling | State::Probing);
                !polls || self.get.is_some() || self.backlog.is_some() || self.post.is_some_and(|post| post.last)
            }),
            ("a pausing client waits for something", {
                let waits = self.get.is_some() || self.backlog.is_some() || self.post.is_some();
                self.state != State::Pausing || waits
            }),
            ("what can be posted is posted", {
                let posts = matches!(self.state, State::Polling | State::Probing);
                let some = !self.outbox.is_empty() || self.owed.pong || self.closing.is_some();
                !posts || !some || self.post.is_some()
            }),
            ("a closed client has no clock", !closed || self.next_timeout().is_none()),
            ("an open client has a clock", closed || self.next_timeout().is_some()),
            ("a closed client has a reason", closed == self.closed.is_some()),
            ("a client that is open knows its session", opening || closed || self.opened.is_some()),
            ("there is a channel where one is used", {
                let used = self.state.is_upgrading() || self.state == State::Channel || (opening && !on_polling);
                self.channel.is_some() == used
            }),
            ("frames are announced", !self.has_frames() || self.told.ready),
            ("messages are announced", self.inbox.is_empty() || self.told.readable),
            ("what waits, waits for a reason", {
                (self.backlog.is_none() && self.held.is_empty()) || !self.has_inbox_room()
            }),
            ("a closing client has something to do", {
                let done = self.state == State::Channel && !self.has_frames();
                self.phase() != Phase::Closing || !done
            }),
        ];
        match laws.iter().find(|(_, holds)| !holds) {
            Some((law, _)) => Err(Violation(law)),
            None => Ok(()),
        }
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
    use crate::client::Post;
    use crate::client::config::Config;
    use crate::client::event::Input;
    use crate::parts::event::{ChannelId, CloseReason, ExchangeId};
    use crate::parts::time::Instant;
    use crate::wire::frame::Frame;
    use crate::wire::payload::PayloadDecoder;
    use alloc::sync::Arc;
    use alloc::vec;

    const NOW: Instant = Instant::from_millis(1000);
    const POST: Post = Post { exchange: ExchangeId(9), messages: 0, flushed: false, last: false };
    const OPEN: &str = r#"0{"sid":"a","upgrades":["websocket"],"pingInterval":25000,"pingTimeout":20000}"#;

    /// A client in good health that is there to be broken.
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

    fn channel() -> Client {
        let mut client = dialling();
        let channel = client.channel.unwrap();
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
            ("byte counts are exact", polling, |c| c.inbox.miscount()),
            ("byte counts are exact", polling, |c| c.outbox.miscount()),
            ("the send buffer is within its limit plus one message", opening, |c| {
                c.outbox.push("a".into());
                c.outbox.push("b".into());
                Arc::make_mut(&mut c.config).send_limit = 1;
            }),
            ("the receive buffer is within its limit plus one message", opening, |c| {
                c.inbox.push("a".into());
                c.inbox.push("b".into());
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
            ("a pausing client waits for something", polling, |c| {
                c.state = State::Pausing;
                c.get = None;
            }),
            ("what can be posted is posted", polling, |c| c.outbox.push("a".into())),
            ("what can be posted is posted", polling, |c| c.owed.pong = true),
            ("what can be posted is posted", polling, |c| c.closing = Some(NOW)),
            ("a closed client has no clock", closed, |c| c.closing = Some(NOW)),
            ("an open client has a clock", polling, |c| c.expectation = None),
            ("a closed client has a reason", closed, |c| c.closed = None),
            ("a closed client has a reason", polling, |c| c.closed = Some((CloseReason::ForcedClose, true))),
            ("a client that is open knows its session", polling, |c| c.opened = None),
            ("there is a channel where one is used", polling, |c| c.channel = Some(ChannelId(9))),
            ("there is a channel where one is used", opening, |c| c.channel = Some(ChannelId(9))),
            ("there is a channel where one is used", channel, |c| c.channel = None),
            ("there is a channel where one is used", dialling, |c| c.channel = None),
            ("there is a channel where one is used", polling, |c| c.state = State::Probing),
            ("frames are announced", channel, |c| c.outbox.push("a".into())),
            ("messages are announced", polling, |c| c.inbox.push("a".into())),
            ("what waits, waits for a reason", polling, |c| c.backlog = Some(PayloadDecoder::new("4a".into()))),
            ("what waits, waits for a reason", polling, |c| c.held.push_back(Frame::received("4a".into()))),
            ("a closing client has something to do", channel, |c| c.closing = Some(NOW)),
        ];
        for (index, &(law, make, break_it)) in cases.iter().enumerate() {
            let mut client = make();
            assert_eq!(client.check(), Ok(()), "{index}");
            break_it(&mut client);
            assert_eq!(client.check(), Err(Violation(law)), "{index}");
        }
    }

    /// With so many messages in both buffers together.
    fn broken(inbox: usize, outbox: usize) -> Client {
        let mut client = opening();
        (0..inbox).for_each(|_| client.inbox.push("".into()));
        (0..outbox).for_each(|_| client.outbox.push("".into()));
        client.outbox.miscount();
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
