//! Races of polls and POSTs, of opening, and of the notion of what is sent, at the client: R-45, R-70 to R-79, R-100 to
//! R-104.

use engineio_proto::client::Details;
use engineio_proto::{ChannelEnd, CloseReason, Event, RequestError, SendError, TransportError, TransportKind};

use crate::world::{LOST, World, open_packet};

const POLL: fn(RequestError) -> CloseReason = |error| CloseReason::TransportError(TransportError::Poll(error));
const POST: fn(RequestError) -> CloseReason = |error| CloseReason::TransportError(TransportError::Post(error));

// The server took packets from its queue for an answer that does not arrive: the session must not go on with a hole.
#[test]
fn r45_a_lost_answer_ends_the_session() {
    for error in [RequestError::Lost, RequestError::Timeout, RequestError::TooLarge, RequestError::Unreachable] {
        let mut world = World::polling();
        world.fail_get(error);
        assert_eq!(world.closed(), Some(POLL(error)));
        assert_eq!((world.get(), world.post()), (None, Some("1")), "not asked again; the server is told");
        world.assert_over();
    }
    // The server knows already when it says no.
    for status in [100, 199, 300, 302, 400, 404, 413, 500, 503, 999] {
        let mut world = World::polling();
        world.answer_get_with(status, "no");
        assert_eq!(world.closed(), Some(POLL(RequestError::Status(status))));
        assert_eq!((world.get(), world.post()), (None, None));
        world.assert_over();
    }
}

// Whether a POST without an answer arrived is not known: to send it again might double its messages.
#[test]
fn r79_a_post_without_an_answer_is_never_repeated() {
    for error in [RequestError::Lost, RequestError::Timeout, RequestError::TooLarge, RequestError::Unreachable] {
        let mut world = World::polling();
        world.send("a");
        world.send("b");
        world.fail_post(error);
        assert_eq!(world.closed(), Some(POST(error)));
        assert_eq!(world.posts, ["4a"]);
        assert_eq!(world.unsent().len(), 1, "what did not leave can be read");
        world.assert_over();
    }
}

// An answer above our own limit is not decoded.
#[test]
fn r79_an_answer_above_the_limit_ends_the_session() {
    let mut world = World::polling_with(|config| config.max_payload = 200);
    world.answer_get(&format!("4{}", "a".repeat(199)));
    assert_eq!(world.recv_all(), ["a".repeat(199)]);
    world.answer_get(&format!("4{}", "a".repeat(200)));
    assert_eq!((world.closed(), world.recv()), (Some(POLL(RequestError::TooLarge)), None));
}

// A poll that takes packets which do not fit: nothing is decoded before there is room, and nothing is asked for.
#[test]
fn r76_a_slow_application_slows_the_server() {
    let mut world = World::polling_with(|config| config.receive_limit = 1);
    world.answer_get("4a\x1e4b\x1e4c");
    assert_eq!((world.get(), world.client.receive_buffered()), (None, 49));
    assert_eq!(world.recv().as_deref(), Some("a"));
    assert_eq!((world.get(), world.client.receive_buffered()), (None, 49));
    assert_eq!(world.recv_all(), ["b", "c"]);
    assert!(world.get().is_some());

    // On a WebSocket it stops to read; what came all the same is kept, in order.
    let mut world = World::websocket_with(|config| config.receive_limit = 1);
    let channel = world.channel();
    for text in ["4a", "4b", "4c"] {
        world.frame(text);
        assert!(!world.is_reading() && !world.client.wants_frames(channel));
    }
    assert_eq!(world.recv_all(), ["a", "b", "c"]);
    assert!(world.is_reading() && world.client.wants_frames(channel));
}

// A frame was "written" when a timer said so, and timers are throttled in the background.
#[test]
fn r100_what_was_pulled_is_sent_without_a_timer() {
    let mut world = World::websocket();
    world.send("a");
    world.send("b");
    let timeout = world.client.next_timeout();
    world.events();
    assert_eq!(world.frames(), ["4a", "4b"]);
    assert_eq!(world.events(), [Event::Flush { packets: 2 }, Event::Drain]);
    assert_eq!(world.client.next_timeout(), timeout);
}

// The transport was closed without a word, and the application sends.
#[test]
fn r101_a_message_behind_the_end_comes_back() {
    let mut world = World::websocket();
    world.channel_closed();
    let Err(SendError::Closed(message)) = world.try_send("a") else { panic!("it is closed") };
    assert_eq!(message, "a".into());
    assert!(world.client.send_all(world.now, vec!["a".into()]).is_err());
    assert!(world.client.poll_ready(), "whoever waits for room learns that there is no session");
    world.assert_over();
}

// The answer to the goodbye, or to any other request, comes when the session is over.
#[test]
fn r102_answers_behind_the_end_are_ignored() {
    let mut world = World::polling();
    world.fail_get(RequestError::Lost);
    assert_eq!(world.post(), Some("1"));
    world.events();
    world.answer_post();
    assert_eq!(world.events(), []);
    world.assert_over();

    let mut world = World::polling();
    world.abort();
    world.events();
    world.fail_post(RequestError::Lost);
    assert_eq!(world.events(), []);
    world.assert_over();
}

// The first transport fails, although the other one would work.
#[test]
fn r103_the_other_transport_is_tried_where_that_is_asked_for() {
    type Failure = fn(&mut World);
    let by_polling: [Failure; 6] = [
        |world| world.fail_get(RequestError::Unreachable),
        |world| world.answer_get_with(404, ""),
        |world| world.answer_get("4a\x1e4b"),
        |world| world.answer_get("<html>"),
        |world| world.answer_get(""),
        |world| world.advance(20_000),
    ];
    for fail in by_polling {
        let mut world = World::trying(TransportKind::Polling);
        world.send("waits");
        let get = world.get().unwrap();
        fail(&mut world);
        assert_eq!(world.events(), [], "nobody is told");
        assert_eq!(world.client.transport(), TransportKind::WebSocket);
        // A late answer to the first attempt is nobody's.
        world.answer(get, 200, open_packet("", 100).into());
        world.opened();
        world.frame(&open_packet("", 1_000_000));
        assert_eq!(world.events(), [Event::Opened]);
        assert_eq!((world.frames(), world.recv()), (vec!["4waits".to_owned()], None));
        assert_eq!(world.client.details(), None);
    }
    let by_websocket: [Failure; 4] = [
        |world| world.channel_ended(ChannelEnd::Unopened, None),
        World::channel_closed,
        |world| {
            world.opened();
            world.frame("4a");
        },
        |world| {
            world.opened();
            world.advance(20_000);
        },
    ];
    for fail in by_websocket {
        let mut world = World::trying(TransportKind::WebSocket);
        world.send("waits");
        fail(&mut world);
        assert_eq!((world.events(), world.client.transport()), (vec![], TransportKind::Polling));
        world.answer_get(&open_packet(r#""websocket""#, 1_000_000));
        assert_eq!(world.events()[0], Event::Opened);
        assert_eq!(world.post(), Some("4waits"));
        let channel = world.channel();
        assert!(!world.is_open(channel), "what failed is not upgraded to");
    }
}

// When all have failed, the last failure is the reason.
#[test]
fn r103_when_all_transports_failed_it_is_over() {
    let mut world = World::trying(TransportKind::Polling);
    world.answer_get_with(404, "not here");
    let details = Details::Answer { status: 502, body: "nor here".into() };
    world.channel_ended(ChannelEnd::Unopened, Some(details.clone()));
    assert_eq!(world.events(), [Event::Closed(CloseReason::TransportError(TransportError::Unopened))]);
    assert_eq!(world.client.details(), Some(&details));
    world.assert_over();
}

// Messages are added while a batch is on its way: they belong to the next one.
#[test]
fn r104_a_batch_is_what_there_was_when_it_left() {
    let mut world = World::polling();
    world.events();
    world.send("a");
    world.send("b");
    world.send("c");
    assert_eq!(world.events(), [Event::Flush { packets: 1 }]);
    world.answer_post();
    assert_eq!(world.events(), [Event::Drain, Event::Flush { packets: 2 }]);
    world.send("d");
    world.answer_post();
    assert_eq!(world.events(), [Event::Drain, Event::Flush { packets: 1 }]);
    assert_eq!(world.posts, ["4a", "4b\x1e4c", "4d"]);

    let mut world = World::websocket();
    world.events();
    world.send("a");
    world.send("b");
    assert_eq!(world.pull().as_deref(), Some("4a"));
    world.send("c");
    assert_eq!(world.pull().as_deref(), Some("4b"));
    assert_eq!(world.events(), [Event::Flush { packets: 2 }, Event::Drain]);
    assert_eq!(world.frames(), ["4c"]);
    assert_eq!(world.events(), [Event::Flush { packets: 1 }, Event::Drain]);

    // A pong joins the batch, and is not counted: all that was counted must have left.
    for text in ["d", "e"] {
        world.send(text);
    }
    assert_eq!(world.pull().as_deref(), Some("4d"));
    world.frame("2");
    assert_eq!(world.pull().as_deref(), Some("3"));
    assert_eq!(world.events(), [Event::Flush { packets: 2 }, Event::Heartbeat]);
    assert_eq!(world.pull().as_deref(), Some("4e"));
    assert_eq!(world.events(), [Event::Drain]);
}

// Messages that belong together are sent while others are.
#[test]
fn r77_messages_that_belong_together_stay_together() {
    let mut world = World::polling();
    world.send("a");
    world.client.send_all(world.now, vec!["b".into(), vec![1].into()]).unwrap();
    world.send("c");
    world.answer_post();
    assert_eq!(world.post(), Some("4b\x1ebAQ==\x1e4c"));

    let mut world = World::polling_with(|config| {
        config.send_limit = 150;
        config.send_low = 0;
    });
    world.send("a");
    world.send("b");
    let several = || vec!["c".into(), "d".into(), "e".into()];
    assert!(matches!(world.client.send_all(world.now, several()), Err(SendError::Full(back)) if back.len() == 3));
    assert_eq!(world.client.send_buffered(), 49, "none is taken without the others");
    let too_many = vec!["x".into(); 4];
    assert!(matches!(world.client.send_all(world.now, too_many), Err(SendError::TooLarge(_))));
    world.events();
    world.answer_post();
    assert_eq!(world.events(), [Event::Drain, Event::Flush { packets: 1 }, Event::Writable]);
    assert!(world.client.send_all(world.now, several()).is_ok());
}

// The failure of a poll that takes long is told with what the server said.
#[test]
fn r43_what_the_server_said_is_kept() {
    let mut world = World::polling();
    world.answer_get_with(400, r#"{"code":1,"message":"Session ID unknown"}"#);
    let body = r#"{"code":1,"message":"Session ID unknown"}"#.into();
    assert_eq!(world.client.details(), Some(&Details::Answer { status: 400, body }));

    // As far as it is short, and not what it did not say.
    let mut world = World::polling();
    world.answer_get_with(500, vec![b'x'; 100_000]);
    let Some(Details::Answer { body, .. }) = world.client.details() else { panic!("an answer") };
    assert_eq!(body.len(), Details::MAX_BODY);
    let mut world = World::polling();
    world.fail_get(RequestError::Lost);
    assert_eq!((world.closed(), world.client.details()), (Some(LOST), None));
}
