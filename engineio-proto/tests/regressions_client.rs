//! Every bug of the client that was ever found, by name.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::Arc;

use engineio_proto::{
    ChannelId, Client, ClientConfig, ClientInput, ClientOutput, CloseReason, Event, ExchangeId, Frame, Instant,
    Message, TransportError, TransportKind,
};

const NOW: Instant = Instant::from_millis(1000);
const OPEN: &str = r#"0{"sid":"S","upgrades":[],"pingInterval":25000,"pingTimeout":20000,"maxPayload":100}"#;

fn client(change: impl FnOnce(&mut ClientConfig)) -> Client {
    let mut config = ClientConfig::default();
    change(&mut config);
    Client::new(NOW, Arc::new(config), 0).unwrap()
}

fn drain(client: &mut Client) -> Vec<ClientOutput> {
    std::iter::from_fn(|| client.poll_output()).collect()
}

fn events(client: &mut Client) -> Vec<Event> {
    let event = |output| if let ClientOutput::Event(event) = output { Some(event) } else { None };
    drain(client).into_iter().filter_map(event).collect()
}

/// The number of the last request, and its body if it is a POST. Whatever else came out is dropped.
fn request(client: &mut Client) -> (ExchangeId, Option<String>) {
    let requests = drain(client).into_iter().filter_map(|output| match output {
        ClientOutput::Request { exchange, request } => Some((exchange, request.body)),
        _ => None,
    });
    let (exchange, body) = requests.last().unwrap();
    (exchange, body.map(|body| String::from_utf8(body.into_bytes().to_vec()).unwrap()))
}

fn answer(client: &mut Client, exchange: ExchangeId, body: &'static str) {
    client.handle_input(NOW, ClientInput::Answered { exchange, status: 200, body: body.into() });
}

fn on_polling() -> (Client, ExchangeId) {
    let mut client = client(|_| ());
    let (handshake, _) = request(&mut client);
    answer(&mut client, handshake, OPEN);
    let (poll, _) = request(&mut client);
    (client, poll)
}

/// A first answer that did not open the session failed it, but the messages behind the wrong packet were delivered.
#[test]
fn a_session_that_was_not_opened_delivers_nothing() {
    let mut client = client(|_| ());
    let (handshake, _) = request(&mut client);
    answer(&mut client, handshake, "6\u{1e}4a\u{1e}4b");
    assert_eq!(client.recv(NOW), None);
    let reason = CloseReason::TransportError(TransportError::InvalidHandshake);
    assert_eq!(events(&mut client).last(), Some(&Event::Closed(reason)));
}

/// The POST of a closing client that carried no message, but a pong, told of its Flush and not of its Drain.
#[test]
fn a_last_post_with_a_pong_is_drained() {
    let (mut client, poll) = on_polling();
    client.send(NOW, "a").unwrap();
    let (first, _) = request(&mut client);
    client.close(NOW);
    answer(&mut client, poll, "2");
    answer(&mut client, first, "ok");
    let (last, body) = request(&mut client);
    assert_eq!(body.as_deref(), Some("3\u{1e}1"));
    answer(&mut client, last, "ok");
    assert_eq!(events(&mut client), [Event::Drain, Event::Closed(CloseReason::ForcedClose)]);
}

/// Two pings were told as one if the first was still among the outputs, and as two if those had been drained.
#[test]
fn pings_are_told_alike_whenever_outputs_are_drained() {
    let pinged = |drains: bool| {
        let mut client = client(|config| config.transports = vec![TransportKind::WebSocket]);
        let channel = ChannelId(1);
        let mut told = 0;
        for text in [OPEN, "2", "2", "2"] {
            client.handle_input(NOW, ClientInput::ChannelFrame { channel, frame: Frame::received(text.into()) });
            if drains {
                told += events(&mut client).iter().filter(|event| **event == Event::Heartbeat).count();
            }
        }
        told + events(&mut client).iter().filter(|event| **event == Event::Heartbeat).count()
    };
    assert_eq!((pinged(true), pinged(false)), (3, 3));
}

/// Very many pings in one answer are still told once: events must not grow with what a server sends.
#[test]
fn pings_of_one_answer_are_told_once() {
    let (mut client, poll) = on_polling();
    answer(&mut client, poll, "2\u{1e}4a\u{1e}2\u{1e}2");
    let told = events(&mut client);
    assert_eq!(told.iter().filter(|event| **event == Event::Heartbeat).count(), 1, "{told:?}");
    assert_eq!(client.recv(NOW), Some(Message::from("a")));
}

/// The POST that carried the last messages and the close packet could overtake a poll, which the server then refused,
/// because the session was over. The client took that for an error, and dropped the POST whose answer was on its way.
#[test]
fn a_poll_that_the_last_post_has_overtaken_fails_nothing() {
    let (mut client, poll) = on_polling();
    client.send(NOW, "a").unwrap();
    let (first, _) = request(&mut client);
    client.send(NOW, "b").unwrap();
    client.close(NOW);
    answer(&mut client, first, "ok");
    let (last, body) = request(&mut client);
    assert_eq!(body.as_deref(), Some("4b\u{1e}1"));
    client.handle_input(NOW, ClientInput::Answered { exchange: poll, status: 400, body: "{}".into() });
    assert_eq!(drain(&mut client), []);
    answer(&mut client, last, "ok");
    assert_eq!(events(&mut client), [Event::Drain, Event::Closed(CloseReason::ForcedClose)]);
}
