//! Reconnecting.

use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket};

use super::script::{Script, open};
use crate::adapter::{
    ClientBuilder, CloseReason, Handle, ReconnectConfig, ReconnectEvent, Reconnecting, RequestError, SendError,
    TransportError, TransportKind,
};
use crate::raw::within;

const LOST: CloseReason = CloseReason::TransportError(TransportError::Poll(RequestError::Lost));
const UNREACHABLE: CloseReason = CloseReason::TransportError(TransportError::Poll(RequestError::Unreachable));

/// A very short delay.
fn quick() -> ReconnectConfig {
    let mut config = ReconnectConfig::default();
    (config.delay, config.max_delay) = (Duration::from_millis(1), Duration::from_millis(5));
    config
}

/// A delay that is longer than any test.
fn patient() -> ReconnectConfig {
    let mut config = ReconnectConfig::default();
    (config.delay, config.max_delay) = (Duration::from_secs(3600), Duration::from_secs(7200));
    config
}

fn start(builder: ClientBuilder, config: ReconnectConfig) -> Reconnecting {
    builder.transports([TransportKind::Polling]).build().unwrap().reconnecting(config).unwrap()
}

async fn next(sessions: &mut Reconnecting) -> ReconnectEvent {
    within(sessions.next()).await.unwrap()
}

async fn over(sessions: &mut Reconnecting) {
    assert!(within(sessions.next()).await.is_none());
    assert!(within(sessions.next()).await.is_none());
}

async fn opened(sessions: &mut Reconnecting, script: &mut Script, sid: &str) -> Handle {
    let answer = async { script.get().await.ok(open(sid, "")).await };
    let (event, ()) = within(async { tokio::join!(next(sessions), answer) }).await;
    let ReconnectEvent::Opened(handle) = event else { panic!("not opened, but {event:?}") };
    assert_eq!(handle.id().as_str(), sid);
    handle
}

async fn closed(sessions: &mut Reconnecting) -> (CloseReason, Option<Duration>) {
    match next(sessions).await {
        ReconnectEvent::Closed { reason, retry } => (reason, retry),
        event => panic!("not closed, but {event:?}"),
    }
}

async fn failed(sessions: &mut Reconnecting) -> (CloseReason, Option<Duration>) {
    match next(sessions).await {
        ReconnectEvent::Failed { error, retry } => (error.reason(), retry),
        event => panic!("not failed, but {event:?}"),
    }
}

pub async fn a_session_that_is_lost_is_followed_by_another() {
    let mut script = Script::start().await;
    let mut sessions = start(script.client(), quick());
    assert!(sessions.session().is_none());
    assert_eq!(sessions.send("early").await, Err(SendError::Closed("early".into())));
    let mut old: Option<Handle> = None;
    for number in 0..4 {
        let handle = opened(&mut sessions, &mut script, &format!("S{number}")).await;
        assert_eq!(sessions.session().map(Handle::id), Some(handle.id()));
        if let Some(old) = old.replace(handle) {
            assert_eq!(old.try_send("late"), Err(SendError::Closed("late".into())));
        }
        let get = script.get().await;
        assert_eq!(get.query("sid"), Some(&*format!("S{number}")));
        get.ok("4hi").await;
        assert!(matches!(next(&mut sessions).await, ReconnectEvent::Message(message) if message == "hi".into()));
        drop(script.get().await);
        let (reason, retry) = closed(&mut sessions).await;
        assert_eq!(reason, LOST);
        assert!(retry.is_some_and(|delay| delay <= Duration::from_millis(2)), "{retry:?}");
        assert!(sessions.session().is_none());
        assert_eq!(script.post().await.text(), "1");
    }
}

/// Undelivered messages are lost with their session, and received ones are not reported for another session.
pub async fn r59_nothing_goes_from_one_session_to_the_next() {
    let mut script = Script::start().await;
    let mut sessions = start(script.client(), quick());
    let first = opened(&mut sessions, &mut script, "S1").await;
    let get = script.get().await;
    sessions.send("posted").await.unwrap();
    let post = script.post().await;
    assert_eq!(post.text(), "4posted");
    sessions.send("buffered").await.unwrap();
    get.ok("4a\x1e4b\x1e1").await;
    // Messages that had arrived come before the end.
    for expected in ["a", "b"] {
        assert!(matches!(next(&mut sessions).await, ReconnectEvent::Message(message) if message == expected.into()));
    }
    assert_eq!(closed(&mut sessions).await.0, CloseReason::TransportClose);
    assert_eq!(within(first.flush()).await, Err(CloseReason::TransportClose));
    post.gone().await;
    let second = opened(&mut sessions, &mut script, "S2").await;
    let get = script.get().await;
    assert_eq!(get.query("sid"), Some("S2"));
    second.try_send("new").unwrap();
    let post = script.post().await;
    assert_eq!((post.query("sid"), post.text()), (Some("S2"), "4new"));
    assert_eq!((second.stats().messages_received, script.pending()), (0, 0));
    assert_ne!(first.id(), second.id());
}

/// An address without a listener, and a way to listen there.
async fn silent() -> (std::net::SocketAddr, impl Fn() -> TcpListener) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let addr = socket.local_addr().unwrap();
    // Bound and not listening: the port stays reserved, and connections are refused.
    let listen = move || {
        let again = TcpSocket::new_v4().unwrap();
        again.set_reuseaddr(true).unwrap();
        again.bind(addr).unwrap();
        let _ = &socket;
        again.listen(16).unwrap()
    };
    (addr, listen)
}

pub async fn it_tries_until_the_server_is_back() {
    let (addr, listen) = silent().await;
    let builder = crate::adapter::client(&format!("http://{addr}")).unwrap();
    let mut sessions = start(builder, quick());
    for number in 1..=3 {
        let (reason, retry) = failed(&mut sessions).await;
        assert_eq!((reason, retry.is_some(), sessions.attempts()), (UNREACHABLE, true, number));
    }
    let mut script = Script::listen(listen());
    opened(&mut sessions, &mut script, "S1").await;
    drop(script.get().await);
    assert_eq!(closed(&mut sessions).await.0, LOST);
    // A session that opened counts as a success.
    assert_eq!(sessions.attempts(), 1);
}

pub async fn it_gives_up() {
    let (addr, _listen) = silent().await;
    let builder = crate::adapter::client(&format!("http://{addr}")).unwrap();
    let mut config = quick();
    config.max_attempts = Some(2);
    let mut sessions = start(builder, config);
    for retry in [true, true, false] {
        let (reason, delay) = failed(&mut sessions).await;
        assert_eq!((reason, delay.is_some()), (UNREACHABLE, retry));
    }
    over(&mut sessions).await;
    // A rejection is a failure too.
    let mut script = Script::start().await;
    config.max_attempts = Some(0);
    let mut sessions = start(script.client(), config);
    let answer = async { script.get().await.answer(403, "", "no").await };
    let ((reason, retry), ()) = within(async { tokio::join!(failed(&mut sessions), answer) }).await;
    let refused = CloseReason::TransportError(TransportError::Poll(RequestError::Status(403)));
    assert_eq!((reason, retry), (refused, None));
    over(&mut sessions).await;
}

pub async fn closing_ends_it() {
    // By it, by a handle, and at once.
    for how in 0..3 {
        let mut script = Script::start().await;
        let mut sessions = start(script.client(), quick());
        let handle = opened(&mut sessions, &mut script, "S1").await;
        let get = script.get().await;
        match how {
            0 => sessions.close(),
            1 => handle.close(),
            _ => handle.abort(),
        }
        let post = script.post().await;
        assert_eq!(post.text(), "1");
        post.ok("ok").await;
        assert_eq!(closed(&mut sessions).await, (CloseReason::ForcedClose, None));
        over(&mut sessions).await;
        get.gone().await;
        script.stand(0).await;
        assert_eq!(script.pending(), 0);
    }
}

/// After the application's close no other session is opened, even if the close failed.
pub async fn closing_ends_it_also_when_something_is_lost() {
    for how in 0..3 {
        let mut script = Script::start().await;
        let mut sessions = start(script.client(), quick());
        let handle = opened(&mut sessions, &mut script, "S1").await;
        let get = script.get().await;
        handle.try_send("one").unwrap();
        let post = script.post().await;
        handle.try_send("two").unwrap();
        if how == 0 {
            sessions.close();
        } else {
            handle.close();
        }
        let expected = if how < 2 {
            drop(post);
            CloseReason::TransportError(TransportError::Post(RequestError::Lost))
        } else {
            get.ok("1").await;
            CloseReason::TransportLost
        };
        assert_eq!(closed(&mut sessions).await, (expected, None));
        over(&mut sessions).await;
    }
}

pub async fn closing_ends_it_before_a_session_is_open() {
    // While it connects.
    let mut script = Script::start().await;
    let mut sessions = start(script.client(), quick());
    tokio::select! {
        event = sessions.next() => panic!("{event:?}"),
        get = script.get() => {
            sessions.close();
            over(&mut sessions).await;
            // A session that opens all the same is not used.
            get.ok(open("S1", "")).await;
        }
    }
    let post = script.post().await;
    assert_eq!((post.query("sid"), post.text()), (Some("S1"), "1"));
    post.ok("ok").await;
    script.stand(0).await;
    // While it waits.
    let mut sessions = start(script.client(), patient());
    opened(&mut sessions, &mut script, "S2").await;
    script.get().await.ok("1").await;
    assert_eq!(closed(&mut sessions).await.0, CloseReason::TransportClose);
    sessions.close();
    over(&mut sessions).await;
    script.stand(0).await;
    assert_eq!(script.pending(), 0);
}

pub async fn it_can_be_told_to_try_now() {
    let mut script = Script::start().await;
    let mut sessions = start(script.client(), patient());
    // There is no delay to skip.
    sessions.retry_now();
    for number in 0..3 {
        opened(&mut sessions, &mut script, &format!("S{number}")).await;
        sessions.retry_now();
        script.get().await.ok("1").await;
        let (reason, retry) = closed(&mut sessions).await;
        assert_eq!(reason, CloseReason::TransportClose);
        assert!(retry.is_some_and(|delay| delay >= Duration::from_secs(1800)), "{retry:?}");
        sessions.retry_now();
        assert_eq!(sessions.attempts(), 0);
    }
}

pub async fn dropping_it_closes_the_session() {
    let mut script = Script::start().await;
    let mut sessions = start(script.client(), quick());
    let handle = opened(&mut sessions, &mut script, "S1").await;
    handle.try_send("one").unwrap();
    let post = script.post().await;
    handle.try_send("two").unwrap();
    drop(sessions);
    post.ok("ok").await;
    let post = script.post().await;
    assert_eq!(post.text(), "4two\x1e1");
    post.ok("ok").await;
    assert_eq!(within(handle.closed()).await, CloseReason::ForcedClose);
    script.cut_all().await;
    assert_eq!(script.pending(), 0);
}
