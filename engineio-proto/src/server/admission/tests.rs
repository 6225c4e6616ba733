use super::*;
use crate::http::route::Method;
use crate::http::websocket::HttpVersion;
use crate::session::event::Output;
use crate::{Event, Server};

const NOW: Instant = Instant::ZERO;
const HEAD: WebSocketHead<'static> = WebSocketHead {
    method: Method::Get,
    key: Some(b"dGhlIHNhbXBsZSBub25jZQ=="),
    version: Some(b"13"),
    protocols: None,
    has_body: false,
    http: HttpVersion::Http11,
    can_switch: true,
};
const GET: Entry<'static> = Entry::Exchange { exchange: ExchangeId(1), octet_stream: false };
const CHANNEL: Entry<'static> = Entry::Channel { channel: ChannelId(1), head: Some(HEAD) };

fn request(query: &str, upgrade: bool) -> Request<'_> {
    Request { method: Method::Get, query, origin: None, upgrade }
}

fn begin(query: &str, upgrade: bool) -> Admission {
    Admission::begin(&request(query, upgrade), &Config::default()).unwrap()
}

fn ask(query: &str, upgrade: bool) -> Ask {
    let Admission::Ask(ask) = begin(query, upgrade) else { panic!("it is no handshake") };
    ask
}

fn opening(query: &str, upgrade: bool, sid: &str) -> Opening {
    let name = match ask(query, upgrade).allow().unwrap() {
        Admission::Head(ask) => ask.check(&HEAD).unwrap(),
        other => other,
    };
    let Admission::Name(name) = name else { panic!("no id is asked for") };
    let Ok(Admission::Open(opening)) = name.give(Sid::new(sid).ok()) else { panic!("it cannot be opened") };
    opening
}

const POLLING: &str = "EIO=4&transport=polling";
const WEBSOCKET: &str = "EIO=4&transport=websocket";

/// No session exists for a client that cannot reach it.
#[test]
fn m056_a_connection_that_cannot_be_upgraded_opens_no_session_and_probes_none() {
    let head = WebSocketHead { http: HttpVersion::Http10, key: None, ..HEAD };
    let rejected = NotAdmitted::Rejected(Rejection::CannotUpgrade { http: HttpVersion::Http10 });
    let mut server = Server::new(Config::default()).unwrap();
    let channel = Entry::Channel { channel: ChannelId(1), head: Some(head) };
    let sid = Sid::new("a").ok();
    assert_eq!(server.admit(NOW, begin(WEBSOCKET, true), channel, sid.clone()), Err(rejected.clone()));
    assert!(server.is_empty());
    let key = server.admit(NOW, begin(POLLING, false), GET, sid).unwrap();
    let probe = begin("EIO=4&transport=websocket&sid=a", true);
    assert_eq!(server.admit(NOW, probe.clone(), channel, None), Err(rejected));
    // Another channel can still probe it.
    assert_eq!(server.admit(NOW, probe, CHANNEL, None), Ok(key));
}

/// Each request also fails all later checks, which shows that the first check is made first.
#[test]
fn a_handshake_is_checked_in_the_order_of_the_table() {
    let broken = WebSocketHead { key: None, ..HEAD };
    assert_eq!(
        Admission::begin(&request("EIO=3&transport=x", true), &Config::default()),
        Err(Rejection::UnknownTransport { transport: "x".into() })
    );
    let old = ask("EIO=3&transport=websocket", true);
    assert_eq!((old.handshake().protocol, old.clone().refuse(None)), (3, Rejection::Forbidden { message: None }));
    let Ok(Admission::Head(head)) = old.allow() else { panic!("no head is asked for") };
    assert_eq!(head.clone().check(&broken), Err(NotAdmitted::Head(HeadError::Key)));
    let unsupported = Rejection::UnsupportedProtocol { protocol: 3 };
    assert_eq!(head.check(&HEAD), Err(NotAdmitted::Rejected(unsupported.clone())));
    assert_eq!(ask("EIO=3&transport=polling", false).allow(), Err(unsupported));

    let Ok(Admission::Name(name)) = ask(POLLING, false).allow() else { panic!("no id is asked for") };
    assert_eq!(name.give(None), Err(Rejection::NoSid));

    let config = Config { max_sessions: 1, ..Config::default() };
    let mut server = Server::new(config).unwrap();
    server.open(NOW, opening(POLLING, false, "a"), GET).unwrap();
    assert_eq!(server.open(NOW, opening(POLLING, false, "a"), GET), Err(Rejection::NoSid));
    assert_eq!(server.open(NOW, opening(POLLING, false, "b"), GET), Err(Rejection::Full));
}

#[test]
fn a_session_begins_with_its_first_input() {
    let mut server = Server::new(Config::default()).unwrap();
    let key = server.open(NOW, opening(POLLING, false, "a"), GET).unwrap();
    let Some((of, Output::Respond { exchange: ExchangeId(1), response })) = server.poll_output() else {
        panic!("no answer");
    };
    assert_eq!(of, key);
    assert!(response.into_reply().body.starts_with(b"0{"));
    let key = server.open(NOW, opening(WEBSOCKET, true, "b"), CHANNEL).unwrap();
    assert_eq!(server.poll_output(), Some((key, Output::ChannelReady { channel: ChannelId(1) })));
    // An entry of the wrong kind opens nothing.
    for (query, upgrade, entry) in [(POLLING, false, CHANNEL), (WEBSOCKET, true, GET)] {
        let transport = if upgrade { TransportKind::WebSocket } else { TransportKind::Polling };
        let opening = opening(query, upgrade, "c");
        assert_eq!(opening.handshake().transport, transport);
        assert_eq!(server.open(NOW, opening, entry), Err(Rejection::WrongHandshake { transport }));
    }
    assert_eq!(server.len(), 2);
    server.check().unwrap();
}

fn session_request(query: &str, method: Method, upgrade: bool) -> SessionRequest {
    let request = Request { method, ..request(query, upgrade) };
    match Admission::begin(&request, &Config::default()) {
        Ok(Admission::Session(request)) => request,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_request_and_its_first_input_are_one_call() {
    let mut server = Server::new(Config::default()).unwrap();
    let key = server.open(NOW, opening(POLLING, false, "a"), GET).unwrap();
    while server.poll_output().is_some() {}
    let own = "EIO=4&transport=polling&sid=a";
    let exchange = ExchangeId(2);
    let entry = Entry::Exchange { exchange, octet_stream: true };
    let post = session_request(own, Method::Post, false);
    let refused = server.clone().enter(NOW, &post, entry);
    assert_eq!(refused, Ok(key));
    let unknown = session_request("EIO=4&transport=polling&sid=b", Method::Get, false);
    assert_eq!(server.enter(NOW, &unknown, GET), Err(Rejection::UnknownSid.into()));
    assert_eq!(server.enter(NOW, &session_request(own, Method::Other, false), GET), Err(NotAdmitted::Method));
    assert_eq!(NotAdmitted::Method.into_reply(false).status, 500);

    // The session is checked before the head of the WebSocket.
    let upgrade = session_request("EIO=4&transport=websocket&sid=a", Method::Get, true);
    let broken = Entry::Channel { channel: ChannelId(1), head: Some(WebSocketHead { version: None, ..HEAD }) };
    let stranger = session_request("EIO=4&transport=websocket&sid=b", Method::Get, true);
    assert_eq!(server.enter(NOW, &stranger, broken), Err(Rejection::UnknownSid.into()));
    assert_eq!(server.enter(NOW, &upgrade, broken), Err(HeadError::Version.into()));
    let wrong = Rejection::WrongHandshake { transport: TransportKind::WebSocket };
    assert_eq!(server.enter(NOW, &upgrade, GET), Err(wrong.into()));
    assert_eq!(server.session(key).unwrap().current_channel(), None);
    assert_eq!(server.enter(NOW, &upgrade, CHANNEL), Ok(key));
    assert_eq!(server.session(key).unwrap().current_channel(), Some(ChannelId(1)));

    // If sessions have their own locks, one may end after it was looked up.
    let mut session = server.session(key).unwrap().clone();
    session.abort(NOW);
    let get = session_request(own, Method::Get, false);
    let late = get.enter(&mut session, &Config::default(), NOW, GET);
    assert_eq!(late, Err(NotAdmitted::Rejected(Rejection::UnknownSid)));
    while let Some(output) = session.poll_output() {
        assert!(!matches!(output, Output::Respond { .. }), "{output:?}");
        if let Output::Event(event) = output {
            assert!(matches!(event, Event::Ended(_) | Event::Closed(_)), "{event:?}");
        }
    }
    server.check().unwrap();
}
