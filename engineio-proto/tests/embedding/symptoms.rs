//! The symptoms that the guide names: each is caused by leaving out the duty, and disappears when the duty is done.

use engineio_proto::http::{Method, Request};
use engineio_proto::server::{Config, Input, SessionKey};
use engineio_proto::wire::Frame;
use engineio_proto::{
    ChannelEnd, ChannelId, CloseReason, Event, ExchangeId, Instant, SendError, TransportError,
};

use crate::{Admitted, Embedder, embedder};

const NOW: Instant = Instant::ZERO;
const PATH: &str = "/engine.io/";

/// A server with one session.
struct World {
    embedder: Embedder,
    key: SessionKey,
    now: Instant,
    query: String,
}

impl World {
    /// A session on polling, whose open packet was delivered.
    fn polling() -> Self {
        let mut world = Self::new(Config::default(), "EIO=4&transport=polling", false);
        let (&handshake, _) = world.embedder.exchanges.first_key_value().unwrap();
        world.embedder.written(NOW, handshake);
        let session = world.embedder.server.session(world.key).unwrap();
        world.query = format!("EIO=4&transport=polling&sid={}", session.sid());
        world
    }

    /// A session on a WebSocket, whose open packet was delivered.
    fn websocket() -> (Self, ChannelId) {
        Self::websocket_with(Config::default())
    }

    fn websocket_with(config: Config) -> (Self, ChannelId) {
        let mut world = Self::new(config, "EIO=4&transport=websocket", true);
        let (&channel, _) = world.embedder.channels.first_key_value().unwrap();
        assert!(world.embedder.frame_written(NOW, channel).is_some());
        (world, channel)
    }

    fn new(config: Config, query: &str, upgrade: bool) -> Self {
        let mut embedder = embedder(config);
        let request = Request { method: Method::Get, query, origin: None, upgrade };
        assert!(embedder.admit(NOW, PATH, &request, false, [7; 15]).is_ok());
        let key = embedder.server.keys().next().unwrap();
        Self { embedder, key, now: NOW, query: String::new() }
    }

    fn request(&mut self, method: Method) -> ExchangeId {
        let request = Request { method, query: &self.query, origin: None, upgrade: false };
        match self.embedder.admit(self.now, PATH, &request, false, [7; 15]) {
            Ok(Admitted::Poll(exchange) | Admitted::Post(exchange)) => exchange,
            _ => panic!("the request is not admitted"),
        }
    }

    fn poll(&mut self) -> ExchangeId {
        self.request(Method::Get)
    }

    fn has_answer(&self, exchange: ExchangeId) -> bool {
        self.embedder.exchanges[&exchange].answer.is_some()
    }

    fn send(&mut self, message: &str) -> Result<(), SendError> {
        let sent = self.embedder.server.session_mut(self.key).unwrap().send(message);
        self.embedder.obey(self.now);
        sent
    }

    fn close(&mut self) {
        self.embedder.server.session_mut(self.key).unwrap().close(self.now);
        self.embedder.obey(self.now);
    }

    /// Lets time pass, and does nothing but look at the timer.
    fn pass(&mut self, millis: u64) {
        let end = self.now + std::time::Duration::from_millis(millis);
        while let Some(wait) = self.embedder.tick(self.now).filter(|&wait| self.now + wait <= end) {
            self.now += wait;
        }
        self.now = end;
    }
}

#[test]
fn a_post_whose_head_comes_with_its_body_is_not_seen_to_overlap() {
    let mut world = World::polling();
    let first = world.request(Method::Post);
    world.request(Method::Post);
    assert!(world.has_answer(first), "the session ends");
    let overlap = CloseReason::TransportError(TransportError::PostOverlap);
    assert_eq!(world.embedder.ends, [overlap]);

    // The heads come late: the second POST overtakes the first one.
    let mut world = World::polling();
    for body in ["4second", "4first"] {
        let post = world.request(Method::Post);
        world.embedder.body(NOW, post, Ok(body.into()));
    }
    let poll = world.poll();
    assert_eq!(world.embedder.reply(poll), "4second\u{1e}4first");
}

#[test]
fn without_reports_of_written_answers_the_ninth_poll_hangs() {
    for reports in [true, false] {
        let mut world = World::polling();
        for number in 1..=9 {
            world.send("a").unwrap();
            let poll = world.poll();
            assert_eq!(world.has_answer(poll), reports || number < 9, "poll {number}");
            if reports {
                world.embedder.written(NOW, poll);
            }
        }
        assert_eq!(world.embedder.flush(world.key), reports);
        world.close();
        if reports {
            world.poll();
            assert_eq!(world.embedder.ends, [CloseReason::ForcedClose]);
        } else {
            world.pass(30_000);
            assert_eq!(
                world.embedder.ends,
                [CloseReason::TransportError(TransportError::CloseTimeout)]
            );
        }
    }
}

#[test]
fn a_lost_answer_that_is_reported_as_written_is_a_gap() {
    for reports in [true, false] {
        let mut world = World::polling();
        world.send("lost").unwrap();
        let poll = world.poll();
        if reports {
            world.embedder.lost(NOW, poll);
            assert_eq!(
                world.embedder.ends,
                [CloseReason::TransportError(TransportError::PollLost)]
            );
        } else {
            world.embedder.written(NOW, poll);
            world.send("next").unwrap();
            let poll = world.poll();
            assert_eq!(
                world.embedder.reply(poll),
                "4next",
                "the session goes on without the first message"
            );
            assert!(world.embedder.ends.is_empty());
        }
    }
}

#[test]
fn without_a_report_the_session_of_a_client_that_left_stays() {
    let mut world = World::polling();
    let poll = world.poll();
    world.pass(44_999);
    assert!(world.embedder.ends.is_empty());
    world.pass(1);
    assert_eq!(world.embedder.ends, [CloseReason::PingTimeout]);

    let mut world_with_report = World::polling();
    let held = world_with_report.poll();
    assert_eq!(held, poll);
    world_with_report.embedder.lost(NOW, held);
    assert_eq!(
        world_with_report.embedder.ends,
        [CloseReason::TransportError(TransportError::PollLost)]
    );

    // The same for a channel.
    let (mut world, channel) = World::websocket();
    world.pass(25_000);
    world.embedder.channel_ended(world.now, channel, ChannelEnd::Lost);
    assert_eq!(world.embedder.ends, [CloseReason::TransportClose]);
    let (mut world, _) = World::websocket();
    world.pass(25_000);
    assert!(world.embedder.ends.is_empty());
    world.pass(20_000);
    assert_eq!(world.embedder.ends.len(), 1);
}

#[test]
fn without_pulling_there_is_silence_under_load() {
    let (mut world, channel) = World::websocket();
    let (mut sent, mut taken) = (0, 0);
    // The embedder pulls with `ChannelReady` only, and not when something was written.
    while world.send(&"x".repeat(10_000)).is_ok() {
        sent += 1;
    }
    while world.embedder.channels.get_mut(&channel).unwrap().unwritten.pop_front().is_some() {
        taken += 1;
    }
    world.embedder.obey(NOW);
    assert!(
        taken < sent && world.embedder.channels[&channel].unwritten.is_empty(),
        "{taken} of {sent}"
    );
    assert!(matches!(world.send("one more"), Err(SendError::Full(_))));
    // It goes on with the next pull.
    world.embedder.pull(NOW, channel);
    assert!(!world.embedder.channels[&channel].unwritten.is_empty());
}

#[test]
fn without_reports_of_written_frames_flush_and_close_never_finish() {
    for reports in [true, false] {
        let (mut world, channel) = World::websocket();
        world.send("a").unwrap();
        if reports {
            assert!(world.embedder.frame_written(NOW, channel).is_some());
        } else {
            assert!(
                world.embedder.channels.get_mut(&channel).unwrap().unwritten.pop_front().is_some()
            );
        }
        let session = world.embedder.server.session(world.key).unwrap();
        assert_eq!(session.stats().messages_written, u64::from(reports));
        assert_eq!(world.embedder.flush(world.key), reports);
        world.close();
        if reports {
            assert_eq!(world.embedder.ends, [CloseReason::ForcedClose]);
        } else {
            assert!(world.embedder.server.session(world.key).unwrap().wants_written());
            world.pass(29_999);
            assert!(world.embedder.ends.is_empty());
            world.pass(1);
            assert_eq!(
                world.embedder.ends,
                [CloseReason::TransportError(TransportError::CloseTimeout)]
            );
        }
    }
}

#[test]
fn without_unblocked_a_slow_but_live_client_is_closed() {
    for reports in [true, false] {
        let (mut world, channel) = World::websocket();
        world.send("a").unwrap();
        world.pass(25_000);
        // The ping waits in the connection behind what the client reads slowly: for a minute it takes some bytes now and then.
        while world.embedder.frame_written(world.now, channel).is_some() {}
        for _ in 0..6 {
            world.pass(10_000);
            if reports {
                world.embedder.unblocked(world.now, world.key);
            }
        }
        if reports {
            let pong = Frame::received("3".into());
            world.embedder.frame(world.now, channel, pong);
            assert!(world.embedder.ends.is_empty());
        } else {
            assert_eq!(world.embedder.ends, [CloseReason::PingTimeout]);
        }
    }
}

#[test]
fn unblocked_for_every_write_keeps_a_dead_client() {
    let (mut world, channel) = World::websocket();
    for _ in 0..60 {
        world.send("a").unwrap();
        while world.embedder.frame_written(world.now, channel).is_some() {}
        world.embedder.unblocked(world.now, world.key);
        world.pass(10_000);
    }
    assert!(world.embedder.ends.is_empty(), "ten minutes without a pong");
}

#[test]
fn frames_that_come_although_reading_is_disabled_fill_the_memory() {
    let mut config = Config::default();
    config.receive_limit = 1000;
    let (mut world, channel) = World::websocket_with(config);
    let mut session = world.embedder.server.session_mut(world.key).unwrap();
    for number in 0..1000 {
        let frame = Frame::received(format!("4{number}").into());
        session.handle_input(NOW, Input::ChannelFrame { channel, frame });
    }
    assert!(!session.wants_frames(channel));
    // All of them are there.
    let taken = std::iter::from_fn(|| session.recv(NOW)).count();
    assert_eq!(taken, 1000);
}

#[test]
fn without_a_timer_there_are_no_pings() {
    let (mut world, channel) = World::websocket();
    world.embedder.pull(Instant::from_millis(100_000), channel);
    assert!(world.embedder.channels[&channel].unwritten.is_empty());
    world.embedder.tick(Instant::from_millis(100_000));
    assert_eq!(
        world.embedder.channels[&channel].unwritten[0].0,
        Frame::Text { head: "2", data: "".into() }
    );
}

#[test]
fn without_taking_messages_closed_never_comes() {
    let (mut world, channel) = World::websocket();
    let mut session = world.embedder.server.session_mut(world.key).unwrap();
    session.handle_input(NOW, Input::ChannelFrame { channel, frame: Frame::received("4a".into()) });
    session.handle_input(NOW, Input::ChannelClosed { channel, end: ChannelEnd::Closed });
    let mut events = std::iter::from_fn(|| session.poll_output());
    let ended = Event::Ended(CloseReason::TransportClose);
    assert!(events.any(|output| output == engineio_proto::server::Output::Event(ended)));
    drop(session);
    assert_eq!(world.embedder.server.next_timeout(), None, "nothing else will end it");
    assert!(world.embedder.server.session(world.key).is_some() && world.embedder.ends.is_empty());
    world.embedder.server.session_mut(world.key).unwrap().discard_incoming();
    world.embedder.obey(NOW);
    assert_eq!(world.embedder.ends, [CloseReason::TransportClose]);
}
