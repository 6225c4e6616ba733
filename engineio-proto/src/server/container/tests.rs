use super::*;
use crate::session::event::Input;
use crate::wire::frame::Frame;
use alloc::format;
use alloc::vec::Vec;

const START: Instant = Instant::from_millis(1000);
const HANDSHAKE: Handshake = Handshake { transport: TransportKind::WebSocket, protocol: 4, base64: false };

fn channel(n: u64) -> ChannelId {
    ChannelId(n)
}

fn server() -> Server {
    Server::new(Config::default()).unwrap()
}

/// Opens a session on a channel with the same number, and lets its open packet go.
fn open(server: &mut Server, now: Instant, n: u64) -> SessionKey {
    let sid = Sid::new(&format!("session-{n}")).unwrap();
    let key = server.open(now, sid, &HANDSHAKE, Some(channel(n))).unwrap();
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
    let before = server.deadlines.clone();
    assert_eq!(before.len(), 100);
    for (n, key) in (0..).zip(keys) {
        for second in 1..20 {
            frame(&mut server, START + core::time::Duration::from_secs(second), key, n, "3");
        }
    }
    assert_eq!(server.deadlines, before);
    // When the old deadlines are reached, the true ones take their place.
    server.handle_timeout(Instant::from_millis(26_000));
    assert_eq!(server.deadlines.len(), 100);
    assert_eq!(server.next_timeout(), Some(Instant::from_millis(45_000)));
    server.check().unwrap();
}

#[test]
fn an_earlier_deadline_replaces_a_later_one() {
    let mut server = server();
    let key = open(&mut server, START, 1);
    assert_eq!(server.next_timeout(), Some(Instant::from_millis(26_000)));
    server.session_mut(key).unwrap().send("a").unwrap();
    server.session_mut(key).unwrap().close(START);
    // Thirty seconds for the close are more than what is left of the interval.
    assert_eq!(server.next_timeout(), Some(Instant::from_millis(26_000)));

    let handshake = Handshake { transport: TransportKind::Polling, ..HANDSHAKE };
    let key = server.open(START, Sid::new("polling").unwrap(), &handshake, None).unwrap();
    let probe = Input::ChannelOpened { channel: channel(2), base64: false };
    server.session_mut(key).unwrap().handle_input(START, probe);
    assert_eq!(server.next_timeout(), Some(Instant::from_millis(11_000)));
    assert_eq!(server.deadlines.len(), 2);
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
fn a_key_is_never_used_for_another_session() {
    let mut server = server();
    let first = open(&mut server, START, 1);
    server.session_mut(first).unwrap().abort(START);
    while server.poll_output().is_some() {}
    let second = open(&mut server, START, 2);
    assert_eq!(first.index(), second.index());
    assert_ne!(first, second);
    assert!(server.session(first).is_none() && server.session_mut(first).is_none());
    assert!(server.session(second).is_some());
}

#[test]
fn a_session_leaves_with_the_pull_behind_its_end() {
    let mut server = server();
    let key = open(&mut server, START, 1);
    server.session_mut(key).unwrap().abort(START);
    assert!(server.index.is_empty(), "unknown at once");
    let outputs = [
        Some((key, Output::ChannelClose { channel: channel(1) })),
        Some((key, Output::Event(crate::Event::Closed(crate::CloseReason::ForcedClose)))),
    ];
    assert_eq!(outputs, [server.poll_output(), server.poll_output()]);
    assert!(server.session(key).is_some(), "still there to be looked at");
    // Something comes too late, and is answered before the session leaves.
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
    assert!(server.slots.capacity() >= 1000);
    for key in keys {
        server.session_mut(key).unwrap().abort(START);
    }
    while server.poll_output().is_some() {}
    server.check().unwrap();
    assert!(server.index.is_empty() && server.deadlines.is_empty() && server.ready.is_empty());
    assert_eq!((server.slots.capacity(), server.finished), (0, None));
}

#[test]
fn a_session_whose_end_was_pulled_from_itself_leaves_too() {
    let mut server = Server::new(Config::default()).unwrap();
    let handshake = Handshake { transport: TransportKind::WebSocket, protocol: 4, base64: false };
    let key = server.open(Instant::ZERO, Sid::from_entropy([9; 15]), &handshake, Some(ChannelId(1))).unwrap();
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
    type Break = fn(&mut Server);
    const LATER: core::time::Duration = core::time::Duration::from_secs(1);
    // The second of three slots, none of which has anything to say.
    let cases: &[(&str, Break)] = &[
        ("byte counts are exact, cursors in order", |s| s.slots[1].session.break_a_law()),
        ("a slot knows its key", |s| s.slots[1].key.index = 9),
        ("a session is found by its id until it is closed", |s| s.slots[1].is_indexed = false),
        ("a session is found by its id until it is closed", |s| {
            s.slots[1].is_indexed = false;
            s.index.remove("session-1");
        }),
        ("a session is woken in time", |s| s.slots[1].deadline = None),
        ("a session is woken in time", |s| *s.slots[1].deadline.as_mut().unwrap() += LATER),
        ("a deadline is queued", |s| s.deadlines.retain(|&(_, index)| index != 1)),
        ("outputs are announced", |s| s.slots[1].session.send("a").unwrap()),
        ("every deadline belongs to a session", |s| assert!(s.deadlines.insert((START, 9)))),
    ];
    for &(law, break_it) in cases {
        let mut server = server();
        for n in 0..3 {
            open(&mut server, START, n);
        }
        assert_eq!(server.check(), Ok(()));
        break_it(&mut server);
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
