use super::*;
use crate::http::route::{Method, Request};
use crate::parts::event::{ChannelId, ExchangeId};
use crate::session::event::Input;
use crate::wire::frame::Frame;
use alloc::format;
use alloc::vec::Vec;

const START: Instant = Instant::from_millis(1000);

fn channel(n: u64) -> ChannelId {
    ChannelId(n)
}

fn server() -> Server {
    Server::new(Config::default()).unwrap()
}

fn admission(query: &str, upgrade: bool) -> Admission {
    let request = Request { method: Method::Get, query, origin: None, upgrade };
    Admission::begin(&request, &Config::default()).unwrap()
}

/// Opens a session on a channel with the same number, and pulls its open packet.
fn open(server: &mut Server, now: Instant, n: u64) -> SessionKey {
    let sid = Sid::new(&format!("session-{n}")).unwrap();
    let entry = Entry::Channel { channel: channel(n), head: None };
    let key = server.admit(now, admission("EIO=4&transport=websocket", true), entry, Some(sid)).unwrap();
    while server.session_mut(key).unwrap().next_frame(now, channel(n)).is_some() {}
    while server.poll_output().is_some() {}
    key
}

fn frame(server: &mut Server, now: Instant, key: SessionKey, n: u64, text: &'static str) {
    let frame = Frame::received(text.into());
    server.session_mut(key).unwrap().handle_input(now, Input::ChannelFrame { channel: channel(n), frame });
    server.check().unwrap();
}

#[test]
fn r95_a_heartbeat_does_not_touch_the_deadlines() {
    let mut server = server();
    let keys: Vec<_> = (0..100).map(|n| open(&mut server, START, n)).collect();
    let queued = |server: &Server| keys.iter().map(|&key| server.sessions.deadline(key)).collect::<Vec<_>>();
    let before = queued(&server);
    assert_eq!(before, [Some(Instant::from_millis(26_000)); 100]);
    for (n, &key) in (0..).zip(&keys) {
        for second in 1..20 {
            frame(&mut server, START + core::time::Duration::from_secs(second), key, n, "3");
        }
    }
    assert_eq!(queued(&server), before);
    // When the old deadlines are reached, the true ones replace them.
    server.handle_timeout(Instant::from_millis(26_000));
    assert_eq!(server.next_timeout(), Some(Instant::from_millis(45_000)));
    assert!(queued(&server).iter().all(Option::is_some));
    server.check().unwrap();
}

#[test]
fn an_earlier_deadline_replaces_a_later_one() {
    let mut server = server();
    let key = open(&mut server, START, 1);
    assert_eq!(server.next_timeout(), Some(Instant::from_millis(26_000)));
    server.session_mut(key).unwrap().send("a").unwrap();
    server.session_mut(key).unwrap().close(START);
    // The close timeout of thirty seconds is longer than the rest of the interval.
    assert_eq!(server.next_timeout(), Some(Instant::from_millis(26_000)));

    let entry = Entry::Exchange { exchange: ExchangeId(1), octet_stream: false };
    let sid = Sid::new("polling").unwrap();
    let key = server.admit(START, admission("EIO=4&transport=polling", false), entry, Some(sid)).unwrap();
    let probe = Input::ChannelOpened { channel: channel(2), base64: false };
    server.session_mut(key).unwrap().handle_input(START, probe);
    assert_eq!(server.next_timeout(), Some(Instant::from_millis(11_000)));
    server.check().unwrap();
}

#[test]
fn sessions_take_turns() {
    let mut server = server();
    let keys: Vec<_> = (0..3).map(|n| open(&mut server, START, n)).collect();
    for (n, &key) in (0..).zip(&keys) {
        for _ in 0..3 {
            frame(&mut server, START, key, n, "3");
        }
    }
    let order: Vec<_> = core::iter::from_fn(|| server.poll_output()).map(|(key, _)| key).collect();
    assert_eq!(order, [keys.clone(), keys.clone(), keys].concat());
}

#[test]
fn a_session_leaves_with_the_pull_behind_its_end() {
    let mut server = server();
    let key = open(&mut server, START, 1);
    server.session_mut(key).unwrap().abort(START);
    assert!(server.is_empty(), "unknown at once");
    let outputs = [
        Some((key, Output::ChannelClose { channel: channel(1) })),
        Some((key, Output::Event(crate::Event::Closed(crate::CloseReason::ForcedClose)))),
    ];
    assert_eq!(outputs, [server.poll_output(), server.poll_output()]);
    assert!(server.session(key).is_some(), "still there to be looked at");
    // An input comes too late, and is answered before the session leaves.
    let late = Input::ChannelOpened { channel: channel(2), base64: false };
    server.session_mut(key).unwrap().handle_input(START, late);
    server.check().unwrap();
    assert_eq!(server.poll_output(), Some((key, Output::ChannelClose { channel: channel(2) })));
    assert_eq!(server.poll_output(), None);
    assert!(server.session(key).is_none());
}

#[test]
fn a_server_whose_sessions_are_gone_keeps_nothing() {
    let mut server = server();
    let keys: Vec<_> = (0..1000).map(|n| open(&mut server, START, n)).collect();
    assert_eq!(server.sessions.held(), 1000);
    for key in keys {
        server.session_mut(key).unwrap().abort(START);
    }
    while server.poll_output().is_some() {}
    server.check().unwrap();
    assert_eq!((server.len(), server.next_timeout(), server.sessions.take_turn()), (0, None, None));
    assert_eq!((server.sessions.held(), server.finished), (0, None));
}

#[test]
fn a_session_whose_end_was_pulled_from_itself_leaves_too() {
    let mut server = Server::new(Config::default()).unwrap();
    let admission = admission("EIO=4&transport=websocket", true);
    let entry = Entry::Channel { channel: ChannelId(1), head: None };
    let key = server.admit(Instant::ZERO, admission, entry, Some(Sid::from_entropy([9; 15]))).unwrap();
    let mut session = server.session_mut(key).unwrap();
    session.abort(Instant::ZERO);
    while session.poll_output().is_some() {}
    drop(session);
    assert_eq!(server.poll_output(), None);
    assert_eq!(server.poll_output(), None);
    assert!(server.session(key).is_none());
    server.check().unwrap();
}

#[test]
fn a_finished_session_that_is_looked_at_leaves_beside_another() {
    let mut server = server();
    let (a, b) = (open(&mut server, START, 1), open(&mut server, START, 2));
    for key in [a, b] {
        server.session_mut(key).unwrap().handle_input(
            START,
            Input::ChannelClosed { channel: channel(if key == a { 1 } else { 2 }), end: crate::ChannelEnd::Closed },
        );
    }
    while let Some((key, output)) = server.poll_output() {
        if key == a && matches!(output, Output::Event(crate::Event::Closed(_))) {
            break;
        }
    }
    drop(server.session_mut(a));
    while server.poll_output().is_some() {}
    assert!(server.poll_output().is_none());
    assert!(server.session(a).is_none() && server.session(b).is_none());
    server.check().unwrap();
}

#[test]
fn every_law_can_fail() {
    type Break = fn(&mut Server, SessionKey);
    // The second of three sessions, none of which has outputs.
    let cases: &[(&str, Break)] = &[
        ("byte counts are exact, cursors in order", |s, key| s.sessions.value_mut(key).break_a_law()),
        ("a session is found by its id until it is closed", |s, key| s.sessions.forget(key)),
        ("a session is woken in time", |s, key| assert_eq!(s.sessions.schedule(key, None), None)),
        ("a session is woken in time", |s, key| {
            s.sessions.schedule(key, None);
            s.sessions.schedule(key, Some(Instant::from_millis(27_000)));
        }),
        ("a session may be evicted until it is confirmed", |s, key| s.sessions.set_evictable(key, Some(START))),
        ("outputs are announced", |s, key| s.sessions.value_mut(key).send("a").unwrap()),
    ];
    for &(law, break_it) in cases {
        let mut server = server();
        let keys: Vec<_> = (0..3).map(|n| open(&mut server, START, n)).collect();
        assert_eq!(server.check(), Ok(()));
        break_it(&mut server, keys[1]);
        assert_eq!(server.check(), Err(Violation(law)));
    }
}

#[test]
fn a_server_knows_how_many_it_has() {
    let mut server = server();
    assert_eq!((server.len(), server.is_empty()), (0, true));
    let key = open(&mut server, START, 1);
    assert_eq!((server.len(), server.is_empty(), format!("{key:?}")), (1, false, "#0.1".into()));
}
