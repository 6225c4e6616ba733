use super::*;
use crate::parts::event::{ChannelEnd, Event};
use crate::parts::stats::Stats;
use crate::session::event::BodyError;
use crate::wire::frame::Frame;
use alloc::vec::Vec;

pub(super) const NOW: Instant = Instant::from_millis(1000);
pub(super) const CHANNEL: ChannelId = ChannelId(1);

fn sid() -> Sid {
    Sid::from_entropy([1; 15])
}

/// The laws are checked after every call and read every message, so the buffers are small.
fn config() -> Arc<Config> {
    let mut config = Config::default();
    (config.send_limit, config.send_low, config.receive_limit) = (10_000, 1_000, 10_000);
    Arc::new(config)
}

pub(super) fn polling() -> Session {
    let mut session = Session::polling(NOW, sid(), config());
    session.handle_input(NOW, Input::Poll { exchange: ExchangeId(1) });
    session
}

pub(super) fn on_channel() -> Session {
    Session::channel(NOW, sid(), config(), CHANNEL, false)
}

pub(super) fn drained(mut session: Session) -> Session {
    while session.next_frame(NOW, CHANNEL).is_some() {}
    session.handle_input(NOW, Input::AnswerWritten { exchange: ExchangeId(1) });
    while session.poll_output().is_some() {}
    session
}

fn frame(session: &mut Session, text: &'static str) {
    session.handle_input(NOW, Input::ChannelFrame { channel: CHANNEL, frame: Frame::received(text.into()) });
}

/// A session in every state and phase, with everything that can wait in it.
fn sessions() -> Vec<Session> {
    let mut all = alloc::vec![polling(), on_channel()];
    let mut held = polling();
    held.handle_input(NOW, Input::Poll { exchange: ExchangeId(2) });
    held.handle_input(NOW, Input::PostHead { exchange: ExchangeId(3), octet_stream: false });
    all.push(held.clone());
    held.handle_input(NOW, Input::ChannelOpened { channel: CHANNEL, base64: false });
    all.push(held.clone());
    frame(&mut held, "2probe");
    held.handle_input(NOW, Input::Poll { exchange: ExchangeId(4) });
    all.push(held.clone());
    frame(&mut held, "5");
    frame(&mut held, "4a");
    all.push(held);
    let mut slow = polling();
    slow.handle_input(NOW, Input::PostHead { exchange: ExchangeId(2), octet_stream: false });
    let body = alloc::format!("4{}\x1e4b", "a".repeat(10_000));
    slow.handle_input(NOW, Input::PostBody { exchange: ExchangeId(2), body: Ok(body.into()) });
    assert!(slow.flow.inbox.has_body());
    all.push(slow);
    let mut full = drained(on_channel());
    full.handle_timeout(NOW + core::time::Duration::from_secs(25));
    frame(&mut full, "4a");
    while full.send("b").is_ok() {}
    full.next_frame(NOW, CHANNEL);
    all.push(full.clone());
    full.close(NOW);
    all.push(full.clone());
    full.handle_input(NOW, Input::ChannelClosed { channel: CHANNEL, end: ChannelEnd::Closed });
    all.push(full);
    all
}

#[test]
fn calls_without_need_change_nothing() {
    for session in sessions().into_iter().map(drained) {
        let mut again = session.clone();
        again.handle_timeout(NOW);
        again.handle_timeout(Instant::ZERO);
        assert_eq!(again.next_frame(Instant::ZERO, CHANNEL), None);
        assert_eq!(again.next_frame(NOW, ChannelId(99)), None);
        assert_eq!(again.poll_output(), None);
        again.handle_input(NOW, Input::ExchangeLost { exchange: ExchangeId(99) });
        again.handle_input(NOW, Input::PostBody { exchange: ExchangeId(99), body: Err(BodyError::TooLarge) });
        again.handle_input(NOW, Input::ChannelFrame { channel: ChannelId(99), frame: Frame::received("1".into()) });
        again.handle_input(NOW, Input::ChannelClosed { channel: ChannelId(99), end: ChannelEnd::Violation });
        assert_eq!(again, session);
    }
}

#[test]
fn a_clock_that_goes_back_is_clamped() {
    let mut session = polling();
    let later = NOW + core::time::Duration::from_secs(10);
    session.handle_input(later, Input::PostHead { exchange: ExchangeId(2), octet_stream: false });
    session.handle_input(NOW, Input::PostBody { exchange: ExchangeId(2), body: Ok("3".into()) });
    assert_eq!(session.now, later);
    assert_eq!(session.next_timeout(), Some(later + core::time::Duration::from_secs(25)));
}

#[test]
fn a_session_that_was_busy_gives_its_memory_back() {
    let mut session = drained(on_channel());
    for _ in 0..100 {
        frame(&mut session, "3");
        frame(&mut session, "4a");
        session.send("b").unwrap();
    }
    let grown = session.flow.capacities();
    while session.recv(NOW).is_some() {}
    let session = drained(session);
    assert_eq!((session.flow.capacities(), grown > [0; 4]), ([0; 4], true));
}

#[test]
fn a_probe_leaves_nothing_to_the_next_one() {
    let mut fresh = drained(polling());
    fresh.stage = Stage::Polling(None);
    let mut session = fresh.clone();
    session.handle_input(NOW, Input::ChannelOpened { channel: CHANNEL, base64: true });
    for _ in 0..3 {
        frame(&mut session, "2probe");
    }
    assert!(session.next_frame(NOW, CHANNEL).is_some());
    session.handle_input(NOW, Input::ChannelClosed { channel: CHANNEL, end: ChannelEnd::Closed });
    assert_eq!(drained(session), fresh);
}

#[test]
fn an_idle_session_is_small() {
    let size = size_of::<Session>();
    assert!(size <= 544, "{size} bytes");
    let session = drained(on_channel());
    assert_eq!(session.flow.capacities(), [0; 4]);
}

#[test]
fn what_is_handed_over_is_announced_only_while_somebody_observes_it() {
    let outputs = |session: &mut Session| -> Vec<_> { core::iter::from_fn(|| session.poll_output()).collect() };
    let announced = |session: &mut Session| {
        for text in ["a", "b"] {
            session.send(text).unwrap();
        }
        while session.next_frame(NOW, CHANNEL).is_some() {}
        outputs(session)
    };
    let ready = Output::ChannelReady { channel: CHANNEL };
    let batch = [Output::Event(Event::Flush { packets: 2 }), Output::Event(Event::Drain)];
    let mut session = drained(on_channel());
    assert_eq!(announced(&mut session), [core::slice::from_ref(&ready), &batch].concat());
    session.observe_writes(false);
    assert_eq!(announced(&mut session), core::slice::from_ref(&ready));
    // It is observed again in the middle of a batch: what is left of it is one.
    for text in ["a", "b", "c"] {
        session.send(text).unwrap();
    }
    assert!(session.next_frame(NOW, CHANNEL).is_some());
    session.observe_writes(true);
    while session.next_frame(NOW, CHANNEL).is_some() {}
    assert_eq!(outputs(&mut session), [core::slice::from_ref(&ready), &batch].concat());

    let mut session = drained(polling());
    session.observe_writes(false);
    session.send("a").unwrap();
    session.handle_input(NOW, Input::Poll { exchange: ExchangeId(2) });
    assert!(matches!(outputs(&mut session)[..], [Output::Respond { .. }]));
}

#[test]
fn r77_messages_that_belong_together_stay_together() {
    let messages = |texts: &[&'static str]| texts.iter().map(|&text| Message::from_static(text)).collect::<Vec<_>>();
    let limit = config().send_limit;

    // One held poll takes all of them.
    let mut session = drained(polling());
    session.handle_input(NOW, Input::Poll { exchange: ExchangeId(2) });
    while session.poll_output().is_some() {}
    session.send_all(messages(&["a", "b", "c"])).unwrap();
    let answer = core::iter::from_fn(|| session.poll_output()).find_map(|output| match output {
        Output::Respond { response, .. } => Some(response.into_reply().body),
        _ => None,
    });
    assert_eq!(answer.unwrap(), "4a\u{1e}4b\u{1e}4c");

    // Without room for all, none is accepted, and an event follows when there is room.
    session.send(Message::from(alloc::vec![0; limit - 3 * Message::OVERHEAD])).unwrap();
    let refused = session.send_all(messages(&["a", "b", "c"]));
    assert_eq!(refused, Err(SendError::Full(messages(&["a", "b", "c"]))));
    assert_eq!(session.stats().messages_accepted, 4);

    // For messages that can never fit, no event follows.
    let large = alloc::vec![Message::from(alloc::vec![0; limit / 2]), Message::from(alloc::vec![0; limit / 2])];
    assert!(matches!(session.send_all(large), Err(SendError::TooLarge(_))));
    assert!(matches!(session.send_all(messages(&["a", "b\u{1e}"])), Err(SendError::Separator(_))));
    assert_eq!(session.send_all(Vec::new()), Ok(()));
}

#[test]
fn whoever_waits_to_send_hears_of_the_end_before_the_messages_are_taken() {
    let mut session = drained(on_channel());
    frame(&mut session, "4unread");
    while session.send("x".repeat(1000)).is_ok() {}
    session.handle_input(NOW, Input::ChannelClosed { channel: CHANNEL, end: ChannelEnd::Closed });
    let events = |session: &mut Session| {
        core::iter::from_fn(|| session.poll_output())
            .filter_map(|output| if let Output::Event(event) = output { Some(event) } else { None })
            .collect::<Vec<_>>()
    };
    assert_eq!(events(&mut session), [Event::Readable, Event::Ended(CloseReason::TransportClose)]);
    assert_eq!(session.recv(NOW), Some("unread".into()));
    assert_eq!(events(&mut session), [Event::Closed(CloseReason::TransportClose)]);
}

#[test]
fn a_client_that_floods_and_takes_nothing_is_found_out() {
    let config = config();
    let mut session = drained(on_channel());
    // An application that echoes: it takes no more messages while it waits for room.
    while session.send("x".repeat(1000)).is_ok() {}
    let mut now = NOW;
    for _ in 0..100 {
        for _ in 0..20 {
            if !session.wants_frames(CHANNEL) {
                break;
            }
            session.handle_input(
                now,
                Input::ChannelFrame { channel: CHANNEL, frame: Frame::Binary(alloc::vec![0; 100_000].into()) },
            );
        }
        let Some(next) = session.next_timeout() else { break };
        now = next;
        session.handle_timeout(now);
    }
    assert_eq!(session.close_reason(), Some(CloseReason::TransportError(TransportError::SlowConsumer)));
    assert!(now.saturating_since(NOW) <= config.ping_interval + 3 * config.ping_timeout);
}

#[test]
fn whoever_asks_for_room_hears_of_it() {
    let mut config = Config::default();
    (config.send_limit, config.send_low) = (2 * Message::from("a").cost(), 0);
    let new = || drained(Session::channel(NOW, sid(), Arc::new(config.clone()), CHANNEL, false));
    let writable = |session: &mut Session| {
        core::iter::from_fn(|| session.poll_output()).filter(|output| *output == Output::Event(Event::Writable)).count()
    };
    let mut session = new();
    session.send("a").unwrap();
    assert!(session.poll_ready(), "there is room");
    assert!(session.next_frame(NOW, CHANNEL).is_some());
    assert_eq!(writable(&mut session), 0, "nobody waits");
    session.send("a").unwrap();
    session.send("b").unwrap();
    assert_eq!((session.poll_ready(), session.send_buffered()), (false, 2 * Message::from("a").cost()));
    while session.next_frame(NOW, CHANNEL).is_some() {}
    assert_eq!(writable(&mut session), 1);
    // A session that accepts no more messages has no room to wait for.
    session.send("a").unwrap();
    session.send("b").unwrap();
    session.close(NOW);
    assert!(session.poll_ready());
}

/// Several messages may be refused where one would be accepted. An application that tries again after the event must
/// not get into a loop.
#[test]
fn a_batch_that_is_refused_below_the_low_mark_waits_for_messages_to_leave() {
    let cost = Message::from("a").cost();
    let mut config = Config::default();
    (config.send_limit, config.send_low) = (2 * cost, cost);
    let mut session = drained(Session::channel(NOW, sid(), Arc::new(config), CHANNEL, false));
    session.send("a").unwrap();
    while session.poll_output().is_some() {}
    let pair = || Vec::from([Message::from("b"), Message::from("c")]);
    assert!(matches!(session.send_all(pair()), Err(SendError::Full(_))));
    assert_eq!(session.poll_output(), None, "there is no more room than before");
    assert!(session.next_frame(NOW, CHANNEL).is_some());
    let writable = |session: &mut Session| {
        core::iter::from_fn(|| session.poll_output()).any(|output| output == Output::Event(Event::Writable))
    };
    assert!(writable(&mut session));
    assert_eq!(session.send_all(pair()), Ok(()));
}

#[test]
fn a_session_counts_what_passes() {
    let mut session = drained(on_channel());
    session.handle_timeout(NOW + core::time::Duration::from_secs(25));
    for text in ["ab", "cde"] {
        session.send(text).unwrap();
    }
    while session.next_frame(NOW, CHANNEL).is_some() {}
    for text in ["3", "4fghi", "4j"] {
        frame(&mut session, text);
    }
    let counts = Stats {
        messages_accepted: 2,
        messages_sent: 2,
        messages_written: 0,
        messages_received: 2,
        bytes_sent: 5,
        bytes_received: 5,
        heartbeats_sent: 1,
        heartbeats_received: 1,
    };
    assert_eq!(session.stats(), counts);
    let polled = |stats: Stats| Stats { messages_received: 0, bytes_received: 0, heartbeats_received: 0, ..stats };
    let mut session = drained(polling());
    session.handle_timeout(NOW + core::time::Duration::from_secs(25));
    for text in ["ab", "cde"] {
        session.send(text).unwrap();
    }
    session.handle_input(NOW, Input::Poll { exchange: ExchangeId(2) });
    assert_eq!(session.stats(), polled(counts));
}

#[test]
fn a_channel_is_known_while_it_is_there() {
    let mut session = drained(polling());
    assert_eq!((session.current_channel(), session.wants_frames(CHANNEL)), (None, false));
    session.handle_input(NOW, Input::ChannelOpened { channel: CHANNEL, base64: false });
    assert_eq!((session.current_channel(), session.wants_frames(CHANNEL)), (Some(CHANNEL), true));
    assert!(!session.wants_frames(ChannelId(99)));
}

#[test]
fn r118_a_pull_is_no_sign_of_life_and_neither_is_a_write() {
    let seconds = |seconds| NOW + core::time::Duration::from_secs(seconds);
    let mut session = drained(on_channel());
    session.handle_timeout(seconds(25));
    assert!(session.next_frame(seconds(25), CHANNEL).is_some(), "the ping");
    for text in ["a", "b", "c"] {
        session.send(text).unwrap();
    }
    // All of it may be in a buffer of the kernel.
    session.next_frame(seconds(30), CHANNEL);
    session.next_frame(seconds(31), CHANNEL);
    session.handle_input(seconds(32), Input::ChannelWritten { channel: CHANNEL, messages: 2 });
    session.next_frame(seconds(33), CHANNEL);
    assert_eq!(session.next_timeout(), Some(seconds(45)));
    // But a buffer that was full and has room again shows that the peer reads.
    session.handle_input(seconds(34), Input::Unblocked);
    assert_eq!(session.next_timeout(), Some(seconds(54)));
}

#[test]
fn a_client_that_takes_something_is_waited_for_while_the_application_is_slow() {
    for takes in [false, true] {
        let seconds = |seconds| NOW + core::time::Duration::from_secs(seconds);
        let mut session = drained(on_channel());
        let large = Frame::Binary(alloc::vec![0; 10_000].into());
        session.handle_input(NOW, Input::ChannelFrame { channel: CHANNEL, frame: large });
        session.send("a").unwrap();
        session.send("b").unwrap();
        session.handle_timeout(seconds(25));
        while session.next_frame(seconds(25), CHANNEL).is_some() {}
        session.handle_timeout(seconds(45));
        assert_eq!(session.next_timeout(), Some(seconds(65)), "put off once");
        if takes {
            session.handle_input(seconds(46), Input::ChannelWritten { channel: CHANNEL, messages: 1 });
        }
        session.handle_timeout(seconds(65));
        assert_eq!(session.next_timeout(), takes.then_some(seconds(85)));
        session.handle_timeout(seconds(85));
        let slow = CloseReason::TransportError(TransportError::SlowConsumer);
        assert_eq!(session.close_reason(), Some(slow), "it took nothing more");
    }
}

#[test]
fn no_messages_are_sent_to_a_full_buffer_and_nobody_waits_for_room() {
    let mut session = drained(on_channel());
    while session.send("b").is_ok() {}
    session.next_frame(NOW, CHANNEL);
    let before = session.clone();
    assert_eq!(session.send_all(Vec::new()), Ok(()));
    assert_eq!(session, before);
    let mut session = drained(on_channel());
    while session.poll_ready() {
        session.send("b").unwrap();
    }
    assert_eq!(session.send_all(Vec::new()), Ok(()));
}

#[test]
fn nobody_waits_to_hear_of_a_session_that_is_over() {
    let mut session = drained(on_channel());
    session.send("b").unwrap();
    session.next_frame(NOW, CHANNEL);
    assert!(!session.poll_written(1));
    session.abort(NOW);
    let mut session = drained(session);
    assert!(!session.poll_written(1));
    session.handle_input(NOW, Input::ChannelWritten { channel: CHANNEL, messages: 1 });
    assert_eq!((session.poll_written(1), session.poll_output()), (true, None));
}

#[test]
fn nobody_is_left_to_take_messages() {
    let mut session = drained(on_channel());
    frame(&mut session, "4a");
    session.discard_incoming();
    frame(&mut session, "4b");
    assert_eq!((session.receive_buffered(), session.recv(NOW)), (0, None));
}

#[test]
fn a_channel_that_takes_nothing_is_slow_and_a_poll_that_does_not_come_is_silence() {
    let end = |mut session: Session| {
        for _ in 0..2 {
            let at = session.next_timeout().unwrap();
            session.handle_timeout(at);
        }
        session.close_reason()
    };
    assert_eq!(end(drained(on_channel())), Some(CloseReason::TransportError(TransportError::SlowConsumer)));
    let mut session = drained(polling());
    session.stage = Stage::Polling(None);
    assert_eq!(end(session), Some(CloseReason::PingTimeout));
}

/// Nobody has validated these options. No time is so short that its timer fires again at once.
#[test]
fn a_session_without_time_to_confirm_does_not_spin() {
    let config = Config { confirm_timeout: core::time::Duration::ZERO, ..Config::default() };
    let mut session = Session::polling(NOW, sid(), Arc::new(config));
    session.handle_input(NOW, Input::Poll { exchange: ExchangeId(1) });
    session.handle_timeout(NOW);
    assert!(session.is_unconfirmed(), "the client cannot know the id yet");
    assert!(session.next_timeout() > Some(NOW));
    session.handle_input(NOW, Input::AnswerWritten { exchange: ExchangeId(1) });
    assert!(session.next_timeout() > Some(NOW));
}

#[test]
fn frames_are_announced_once() {
    let mut session = drained(on_channel());
    session.send("a").unwrap();
    session.send("b").unwrap();
    assert_eq!(session.poll_output(), Some(Output::ChannelReady { channel: CHANNEL }));
    assert_eq!(session.poll_output(), None);
}

/// A session whose application took none of these frames, and whose channel is gone.
fn lost_behind(frames: &[&'static str]) -> Session {
    let config = Config { receive_limit: 1, ..Config::default() };
    let mut session = drained(Session::channel(NOW, sid(), Arc::new(config), CHANNEL, false));
    frames.iter().for_each(|text| frame(&mut session, text));
    session.handle_input(NOW, Input::ChannelClosed { channel: CHANNEL, end: ChannelEnd::Closed });
    session
}

fn taken(session: &mut Session) -> Vec<Message> {
    core::iter::from_fn(|| session.recv(NOW)).collect()
}

#[test]
fn what_came_before_a_channel_closed_is_delivered() {
    let mut session = lost_behind(&["4a", "4b", "4c"]);
    assert_eq!(taken(&mut session), ["a".into(), "b".into(), "c".into()]);
}

#[test]
fn what_came_behind_a_broken_packet_counts_for_nothing_after_the_end_either() {
    let mut session = lost_behind(&["4a", "x", "4b"]);
    assert_eq!(taken(&mut session), ["a".into()]);
    assert_eq!(session.close_reason(), Some(CloseReason::TransportClose), "the first reason counts");
}

#[test]
fn there_is_no_heartbeat_after_the_end() {
    let mut session = lost_behind(&["4a", "3", "4b"]);
    assert_eq!(taken(&mut session), ["a".into(), "b".into()]);
    assert_eq!(session.stats().heartbeats_received, 0);
}

/// A closing session on polling, with a message that waits to be polled, that has received this body.
fn closing_behind(body: &'static str) -> Session {
    let mut session = drained(polling());
    session.send("a").unwrap();
    session.close(NOW);
    session.handle_input(NOW, Input::PostHead { exchange: ExchangeId(2), octet_stream: false });
    session.handle_input(NOW, Input::PostBody { exchange: ExchangeId(2), body: Ok(body.into()) });
    session
}

#[test]
fn a_broken_packet_does_not_end_a_session_that_is_closing() {
    let mut session = closing_behind("x");
    assert_eq!(session.phase(), Phase::Closing, "what was sent before is still handed over");
    session.handle_input(NOW, Input::Poll { exchange: ExchangeId(3) });
    session.handle_input(NOW, Input::AnswerWritten { exchange: ExchangeId(3) });
    session.handle_input(NOW, Input::Poll { exchange: ExchangeId(4) });
    assert_eq!((session.close_reason(), session.stats().messages_sent), (Some(CloseReason::ForcedClose), 1));
}

#[test]
fn a_ping_does_not_matter_to_a_session_that_is_closing() {
    let session = closing_behind("2\u{1e}3");
    assert_eq!((session.phase(), session.stats().heartbeats_received), (Phase::Closing, 1));
}

// A closed session took the report of any channel for that of its own.
#[test]
fn behind_the_end_only_the_last_channel_counts_as_written() {
    let mut session = drained(on_channel());
    session.send("a").unwrap();
    assert!(session.next_frame(NOW, CHANNEL).is_some());
    session.abort(NOW);
    for (channel, written) in [(ChannelId(99), 0), (CHANNEL, 1)] {
        session.handle_input(NOW, Input::ChannelWritten { channel, messages: 1 });
        assert_eq!(session.stats().messages_written, written, "{channel:?}");
    }
}

/// A call with an unknown channel still updates the time, and settles the session like any other call.
#[test]
fn a_pull_for_another_channel_releases_a_poll_that_is_due() {
    let mut session = polling();
    session.handle_input(NOW, Input::ChannelOpened { channel: CHANNEL, base64: false });
    frame(&mut session, "2probe");
    for exchange in [2, 3] {
        session.handle_input(NOW, Input::Poll { exchange: ExchangeId(exchange) });
    }
    let mut session = drained(session);
    assert_eq!(session.next_frame(NOW + core::time::Duration::from_millis(10), ChannelId(99)), None);
    let released = core::iter::from_fn(|| session.poll_output())
        .filter(|output| matches!(output, Output::Respond { exchange: ExchangeId(3), .. }));
    assert_eq!(released.count(), 1);
}
