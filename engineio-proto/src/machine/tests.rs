use super::*;
use crate::parts::event::ExchangeId;
use crate::parts::sid::Sid;
use alloc::sync::Arc;
use alloc::vec;
use core::fmt::Debug;
use core::time::Duration;

const NOW: Instant = Instant::from_millis(1000);
const LATER: Instant = Instant::from_millis(2000);
const CHANNEL: ChannelId = ChannelId(1);

fn session() -> Session {
    Session::channel(NOW, Sid::from_entropy([1; 15]), Arc::default(), CHANNEL, false)
}

fn client() -> Client {
    let config = client::Config { transports: vec![TransportKind::WebSocket], ..client::Config::default() };
    let mut client = Client::new(NOW, Arc::new(config), 0).unwrap();
    client.handle_input(NOW, client::Input::ChannelOpened { channel: CHANNEL });
    let open = r#"0{"sid":"a","upgrades":[],"pingInterval":25000,"pingTimeout":20000}"#;
    client.handle_input(NOW, client::Input::ChannelFrame { channel: CHANNEL, frame: frame(open) });
    client
}

/// One message was pulled and is not reported as written.
fn sent<M: Machine>(mut machine: M) -> M {
    machine.send(NOW, "a".into()).unwrap();
    while machine.next_frame(NOW, CHANNEL).is_some() {}
    assert_eq!((machine.stats().messages_sent, machine.stats().messages_written), (1, 0));
    machine
}

fn frame(text: &str) -> Frame {
    Frame::received(text.into())
}

/// The trait does what the machine's own method does, and that is something.
fn same<M: Machine + Clone + PartialEq + Debug, R: PartialEq + Debug>(
    before: M,
    own: impl FnOnce(&mut M) -> R,
    through_trait: impl FnOnce(&mut dyn Machine) -> R,
) {
    let (mut expected, mut machine) = (before.clone(), before.clone());
    assert_eq!(own(&mut expected), through_trait(&mut machine));
    assert_eq!(expected, machine);
    assert_ne!(before, machine, "nothing happened");
}

#[test]
fn a_session_is_the_same_through_the_trait() {
    use server::Input;
    let both = || vec![Message::from("a"), Message::from("b")];
    let end = ChannelEnd::Closed;
    same(session(), |session| session.send("a"), |machine| machine.send(NOW, "a".into()));
    same(session(), |session| session.send_all(both()), |machine| machine.send_all(NOW, both()));
    same(
        session(),
        |session| session.handle_input(NOW, Input::ChannelFrame { channel: CHANNEL, frame: frame("4a") }),
        |machine| machine.channel_frame(NOW, CHANNEL, frame("4a")),
    );
    same(
        sent(session()),
        |session| session.handle_input(NOW, Input::ChannelWritten { channel: CHANNEL, messages: 1 }),
        |machine| machine.channel_written(NOW, CHANNEL, 1),
    );
    same(
        session(),
        |session| session.handle_input(NOW, Input::ChannelClosed { channel: CHANNEL, end }),
        |machine| machine.channel_closed(NOW, CHANNEL, end, None),
    );
    same(sent(session()), |session| session.handle_input(LATER, Input::Unblocked), |machine| machine.unblocked(LATER));
    assert_eq!(Machine::details(&session()), None);
}

#[test]
fn a_client_is_the_same_through_the_trait() {
    use client::Input;
    let both = || vec![Message::from("a"), Message::from("b")];
    let end = ChannelEnd::Closed;
    let details = Details::CloseFrame { code: 1001, reason: "away".into() };
    let closed = Input::ChannelClosed { channel: CHANNEL, end, details: Some(details.clone()) };
    same(client(), |client| client.send(NOW, "a"), |machine| machine.send(NOW, "a".into()));
    same(client(), |client| client.send_all(NOW, both()), |machine| machine.send_all(NOW, both()));
    same(
        client(),
        |client| client.handle_input(NOW, Input::ChannelFrame { channel: CHANNEL, frame: frame("4a") }),
        |machine| machine.channel_frame(NOW, CHANNEL, frame("4a")),
    );
    same(
        sent(client()),
        |client| client.handle_input(NOW, Input::ChannelWritten { channel: CHANNEL, messages: 1 }),
        |machine| machine.channel_written(NOW, CHANNEL, 1),
    );
    same(
        client(),
        |client| {
            client.handle_input(NOW, closed);
            client.details().cloned()
        },
        |machine| {
            machine.channel_closed(NOW, CHANNEL, end, Some(details));
            machine.details().cloned()
        },
    );
    same(sent(client()), |client| client.handle_input(LATER, Input::Unblocked), |machine| machine.unblocked(LATER));
}

fn upgraded_session() -> Session {
    use server::Input;
    let mut session = Session::polling(NOW, Sid::from_entropy([1; 15]), Arc::default());
    session.handle_input(NOW, Input::Poll { exchange: ExchangeId(1) });
    session.handle_input(NOW, Input::ChannelOpened { channel: CHANNEL, base64: false });
    session.handle_input(NOW, Input::ChannelFrame { channel: CHANNEL, frame: frame("2probe") });
    session.handle_input(NOW, Input::ChannelFrame { channel: CHANNEL, frame: frame("5") });
    session
}

fn upgraded_client() -> Client {
    use client::Input;
    let mut client = Client::new(NOW, Arc::default(), 0).unwrap();
    let open = r#"0{"sid":"a","upgrades":["websocket"],"pingInterval":25000,"pingTimeout":20000}"#;
    client.handle_input(NOW, Input::Answered { exchange: ExchangeId(1), status: 200, body: open.into() });
    let channel = client.current_channel().unwrap();
    client.handle_input(NOW, Input::ChannelOpened { channel });
    client.next_frame(NOW, channel).unwrap();
    client.handle_input(NOW, Input::ChannelFrame { channel, frame: frame("3probe") });
    let outputs = core::iter::from_fn(|| client.poll_output());
    let poll = outputs.filter_map(|output| match output {
        client::Output::Request { exchange, .. } => Some(exchange),
        _ => None,
    });
    let exchange = poll.last().unwrap();
    client.handle_input(NOW, Input::Answered { exchange, status: 200, body: "6".into() });
    client
}

/// So much that there is no room for more.
fn large() -> Message {
    Message::from(vec![0; 10_000_000])
}

/// A machine on a channel with everything that can be asked for, from its beginning to its end.
fn lives<M: Machine + Clone>(fresh: &M) -> [M; 7] {
    let change = |change: fn(&mut M)| {
        let mut machine = sent(fresh.clone());
        change(&mut machine);
        machine
    };
    [
        fresh.clone(),
        change(|_| ()),
        change(|machine| machine.send(NOW, large()).unwrap()),
        change(|machine| machine.channel_frame(NOW, CHANNEL, Frame::Binary(vec![0; 10_000_000].into()))),
        change(|machine| machine.channel_frame(NOW, CHANNEL, frame("4a"))),
        change(|machine| machine.close(NOW)),
        change(|machine| machine.abort(NOW)),
    ]
}

/// Every method that both machines have is the same through the trait.
macro_rules! alike {
    ($machine:ty, $lives:expr, $($method:ident($($argument:expr),*))*) => {
        for before in $lives {
            $({
                let (mut expected, mut machine) = (before.clone(), before.clone());
                let own = <$machine>::$method(&mut expected, $($argument),*);
                assert_eq!(<$machine as Machine>::$method(&mut machine, $($argument),*), own, stringify!($method));
                assert_eq!(machine, expected, stringify!($method));
            })*
        }
    };
    ($machine:ty, $lives:expr) => {
        alike! { $machine, $lives,
            phase() transport() upgraded() current_channel() stats() close_reason() send_buffered() receive_buffered()
            is_finished() poll_ready() poll_written(1) recv(LATER) close(LATER) abort(LATER) discard_incoming()
            next_frame(LATER, CHANNEL) wants_frames(CHANNEL) wants_written() next_timeout()
            handle_timeout(NOW + Duration::from_secs(46))
        }
    };
}

#[test]
fn what_both_sides_have_is_the_same_through_the_trait() {
    let finished = |mut session: Session| {
        session.abort(NOW);
        while session.poll_output().is_some() {}
        session
    };
    alike!(Session, lives(&session()).into_iter().chain([upgraded_session(), finished(session())]));
    let finished = |mut client: Client| {
        client.abort(NOW);
        while client.poll_output().is_some() {}
        client
    };
    alike!(Client, lives(&client()).into_iter().chain([upgraded_client(), finished(client())]));
    assert!(upgraded_session().upgraded() && upgraded_client().upgraded());
}

/// The time of a call counts, also where a session's own method takes none.
#[test]
fn a_client_that_slept_ends_when_it_sends_through_the_trait() {
    let mut client = client();
    let machine: &mut dyn Machine = &mut client;
    let late = NOW + Duration::from_secs(45);
    assert_eq!(machine.send(late, "a".into()), Err(SendError::Closed("a".into())));
    assert_eq!(machine.close_reason(), Some(CloseReason::PingTimeout));
}
