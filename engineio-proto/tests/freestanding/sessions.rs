//! Whole sessions, from the handshake to the end, with nothing but the core: hands that are a page of code. Built by
//! `no_io.rs` without an operating system, and run by it with one.

use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;

use engineio_proto::client;
use engineio_proto::http::{Method, Request};
use engineio_proto::server::{Admission, Config, Entry, Input, Output, SessionKey};
use engineio_proto::wire::Frame;
use engineio_proto::{
    ChannelEnd, ChannelId, Client, CloseReason, Event, ExchangeId, Instant, Message, Server, Sid, TransportKind,
};

const CHANNEL: ChannelId = ChannelId(1);

/// A server's session: handshake and messages by polling, the upgrade, a heartbeat, the end. Gives the time of the end,
/// in milliseconds.
pub(crate) fn server() -> u64 {
    let mut now = Instant::from_millis(1);
    let mut server = Server::new(Config::default()).unwrap();

    let query = "EIO=4&transport=polling";
    let request = Request { method: Method::Get, query, origin: None, upgrade: false };
    let admission = Admission::begin(&request, server.config()).unwrap();
    let entry = Entry::Exchange { exchange: ExchangeId(1), octet_stream: false };
    let key = server.admit(now, admission, entry, Some(Sid::from_entropy([7; 15]))).unwrap();
    let answers = obey(&mut server).answers;
    assert!(matches!(&answers[..], [(1, body)] if body.starts_with("0{\"sid\":")));

    // A GET is held, a POST brings a message, and the answer to it leaves with the GET.
    assert!(tell(&mut server, key, now, Input::Poll { exchange: ExchangeId(2) }).answers.is_empty());
    tell(&mut server, key, now, Input::PostHead { exchange: ExchangeId(3), octet_stream: false });
    let body = Ok("4hello".into());
    let answers = tell(&mut server, key, now, Input::PostBody { exchange: ExchangeId(3), body }).answers;
    assert_eq!(answers, [(3, "ok".to_string())]);
    let mut session = server.session_mut(key).unwrap();
    assert_eq!(session.recv(now), Some(Message::from("hello")));
    session.send_all([Message::from("world"), Message::from(alloc::vec![1, 2, 3])].into()).unwrap();
    drop(session);
    assert_eq!(obey(&mut server).answers, [(2, "4world\u{1e}bAQID".to_string())]);

    let query = String::from("EIO=4&transport=websocket&sid=") + server.session(key).unwrap().sid();
    let request = Request { method: Method::Get, query: &query, origin: None, upgrade: true };
    let admission = Admission::begin(&request, server.config()).unwrap();
    assert_eq!(server.admit(now, admission, Entry::Channel { channel: CHANNEL, head: None }, None), Ok(key));
    tell(&mut server, key, now, frame_up("2probe"));
    assert_eq!(pull(&mut server, key, now), ["3probe"]);
    let events = tell(&mut server, key, now, frame_up("5")).events;
    assert_eq!(events, [Event::Upgraded(TransportKind::WebSocket)]);

    // It may turn out that nothing is due.
    while !server.session(key).unwrap().has_output() {
        now = server.next_timeout().unwrap();
        server.handle_timeout(now);
    }
    obey(&mut server);
    assert_eq!(pull(&mut server, key, now), ["2"]);
    assert!(tell(&mut server, key, now, frame_up("3")).events.ends_with(&[Event::Heartbeat]));

    server.session_mut(key).unwrap().send("bye").unwrap();
    server.session_mut(key).unwrap().close(now);
    assert_eq!(pull(&mut server, key, now), ["4bye"]);
    assert!(obey(&mut server).events.ends_with(&[Event::Closed(CloseReason::ForcedClose)]));
    assert_eq!((server.len(), server.next_timeout(), server.check()), (0, None, Ok(())));
    now.as_micros() / 1000
}

/// A client's session: the same from the other side.
pub(crate) fn client() -> u64 {
    let mut now = Instant::from_millis(1);
    let mut client = Client::new(now, Arc::new(client::Config::default()), 7).unwrap();

    let Some(client::Output::Request { exchange, .. }) = client.poll_output() else { panic!("no handshake") };
    let body = r#"0{"sid":"abc","upgrades":["websocket"],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000}"#;
    client.handle_input(now, client::Input::Answered { exchange, status: 200, body: body.into() });
    let outputs = drain(&mut client);
    let poll = outputs.iter().find_map(|output| match output {
        client::Output::Request { exchange, .. } => Some(*exchange),
        _ => None,
    });
    let opening = outputs.iter().find_map(|output| match output {
        client::Output::ChannelOpen { channel, .. } => Some(*channel),
        _ => None,
    });
    let (Some(poll), Some(channel)) = (poll, opening) else { panic!("no poll, or no probe") };

    client.send(now, "hello").unwrap();
    let outputs = drain(&mut client);
    let Some(client::Output::Request { exchange: post, request }) = outputs.last() else { panic!("no POST") };
    assert_eq!(request.body.clone().unwrap().into_bytes(), "4hello");
    client.handle_input(now, client::Input::Answered { exchange: *post, status: 200, body: "ok".into() });

    let say = |client: &mut Client, now, text: &str| {
        client.handle_input(now, client::Input::ChannelFrame { channel, frame: Frame::received(text.into()) });
    };
    client.handle_input(now, client::Input::ChannelOpened { channel });
    assert_eq!(client.next_frame(now, channel).map(text), Some("2probe".to_string()));
    say(&mut client, now, "3probe");
    client.handle_input(now, client::Input::Answered { exchange: poll, status: 200, body: "4world".into() });
    assert_eq!(client.next_frame(now, channel).map(text), Some("5".to_string()));
    assert_eq!(client.recv(now), Some(Message::from("world")));
    assert!(client.upgraded());

    now = Instant::from_millis(25_001);
    assert!(client.next_timeout().is_some_and(|at| at > now));
    client.handle_timeout(now);
    say(&mut client, now, "2");
    assert_eq!(client.next_frame(now, channel).map(text), Some("3".to_string()));

    let end = ChannelEnd::Closed;
    client.handle_input(now, client::Input::ChannelClosed { channel, end, details: None });
    let last = drain(&mut client).pop();
    assert_eq!(last, Some(client::Output::Event(Event::Closed(CloseReason::TransportClose))));
    assert_eq!((client.is_finished(), client.next_timeout(), client.check()), (true, None, Ok(())));
    now.as_micros() / 1000
}

/// What a server asked for.
#[derive(Default)]
struct Asked {
    answers: Vec<(u64, String)>,
    events: Vec<Event>,
}

fn tell(server: &mut Server, key: SessionKey, now: Instant, input: Input) -> Asked {
    server.session_mut(key).unwrap().handle_input(now, input);
    obey(server)
}

fn obey(server: &mut Server) -> Asked {
    let mut asked = Asked::default();
    while let Some((key, output)) = server.poll_output() {
        match output {
            Output::Respond { exchange, response } => {
                if let Some(mut session) = server.session_mut(key) {
                    session.handle_input(Instant::ZERO, Input::AnswerWritten { exchange });
                }
                let body = response.into_reply().body;
                asked.answers.push((exchange.0, String::from_utf8_lossy(&body).into()));
            }
            Output::Event(event) => asked.events.push(event),
            // Everything here is pulled at once, and read.
            Output::Abort { .. }
            | Output::ChannelReady { .. }
            | Output::ChannelRead { .. }
            | Output::ChannelClose { .. } => (),
        }
    }
    asked
}

fn frame_up(text: &str) -> Input {
    Input::ChannelFrame { channel: CHANNEL, frame: Frame::received(text.into()) }
}

fn pull(server: &mut Server, key: SessionKey, now: Instant) -> Vec<String> {
    let mut session = server.session_mut(key).unwrap();
    let frames = core::iter::from_fn(|| session.next_frame(now, CHANNEL)).map(text).collect();
    let messages = session.stats().messages_sent;
    session.handle_input(now, Input::ChannelWritten { channel: CHANNEL, messages });
    frames
}

fn text(frame: Frame) -> String {
    match frame {
        Frame::Text { head, data } => String::from(head) + &data,
        Frame::Binary(bytes) => String::from_utf8_lossy(&bytes).into(),
    }
}

fn drain(client: &mut Client) -> Vec<client::Output> {
    core::iter::from_fn(|| client.poll_output()).collect()
}
