//! Properties of arbitrary data and of long random runs.
//!
//! The seeds are fixed, so that a run tells the same every time; `PROPTEST_RNG_SEED` and `PROPTEST_CASES` ask for
//! other or longer ones. Operations are shrunk, not seeds; what is found is kept in `properties.proptest-regressions`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, unreachable_pub)]

#[path = "properties/cases.rs"]
mod cases;
#[path = "properties/chaos.rs"]
mod chaos;
#[path = "explore_common/wire.rs"]
mod wire;

use bytes::Bytes;
use cases::{SEED, cases};
use chaos::{Beside, Crowd, Lone, ops};
use engineio_proto::http::{Method, Request, Route};
use engineio_proto::server::{Admission, Config, Entry, Input, Output};
use engineio_proto::wire::{Codec, Frame, Packet, PacketError, PacketKind, Payload, SEPARATOR};
use engineio_proto::{ChannelEnd, ChannelId, Event, ExchangeId, Instant, Message, Phase, Server, Sid, Text};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{RngSeed, TestRunner};
use wire::Heard;

fn kind() -> impl Strategy<Value = PacketKind> {
    (b'0'..=b'6').prop_map(|digit| PacketKind::from_byte(digit).unwrap())
}

/// Any packet that can travel, in a payload too.
fn packet() -> impl Strategy<Value = Packet> {
    prop_oneof![
        (kind(), "[^\u{1e}]*").prop_map(|(kind, data)| Packet::Text { kind, data: data.into() }),
        vec(any::<u8>(), 0..100).prop_map(|bytes| Packet::Binary(bytes.into())),
    ]
}

/// Text that looks a little like packets.
fn almost_packets() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        4 => "[0-6][a-z]{0,3}".prop_map(String::into_bytes),
        4 => "b[A-Za-z0-9+/_-]{0,9}={0,3}".prop_map(String::into_bytes),
        2 => "b([A-Za-z0-9]{0,3}[ \\t\\r\\n]?){0,4}={0,2}\\r?\\n?".prop_map(String::into_bytes),
        1 => vec(any::<u8>(), 0..9),
    ];
    vec(piece, 0..6).prop_map(|pieces| pieces.join(&SEPARATOR))
}

fn heard(packet: &Packet) -> Heard {
    match packet {
        Packet::Text { kind, data } => Heard::new(kind.as_str().as_bytes()[0], data.as_bytes().to_vec()),
        Packet::Binary(bytes) => Heard::new(b'b', bytes.to_vec()),
    }
}

/// One piece of a body as the documentation of the decoder tells it: text is repaired, base64 is lenient about its
/// padding, its alphabet, white space and the bits that do not count.
fn lenient(piece: &[u8]) -> Option<Heard> {
    let Some((b'b', text)) = piece.split_first() else {
        return wire::packet(String::from_utf8_lossy(piece).as_bytes());
    };
    let text: Vec<u8> = text.iter().copied().filter(|byte| !b"\r\n \t".contains(byte)).collect();
    let digits = text.strip_suffix(b"==").or(text.strip_suffix(b"=")).unwrap_or(&text);
    let url_safe = digits.iter().any(|digit| b"-_".contains(digit));
    let standard = digits.iter().any(|digit| b"+/".contains(digit));
    let padding = text.len() - digits.len();
    if url_safe && standard
        || digits.len() % 4 == 1
        || padding > 0 && digits.len() % 4 + padding > 4
        || padding > 0 && digits.len() % 4 == 0
    {
        return None;
    }
    let mut full: Vec<u8> = digits
        .iter()
        .map(|digit| match digit {
            b'-' => b'+',
            b'_' => b'/',
            digit => *digit,
        })
        .collect();
    // Bits that do not count are cut off by filling the group up.
    let len = full.len() * 3 / 4;
    full.resize(full.len().next_multiple_of(4), b'A');
    let mut data = wire::base64_decode(&full)?;
    data.truncate(len);
    Some(Heard::new(b'b', data))
}

proptest! {
    #![proptest_config(cases(256))]

    #[test]
    fn packets_round_trip(packet in packet()) {
        let mut text = Vec::new();
        Codec::V4.encode_text(&packet, &mut text);
        prop_assert_eq!(text.len(), Codec::V4.text_len(&packet));
        prop_assert_eq!(wire::packet(&text), Some(heard(&packet)));
        prop_assert_eq!(Codec::V4.decode_text(Text::try_from(Bytes::from(text)).unwrap()), Ok(packet));
    }

    #[test]
    fn payloads_round_trip(packets in vec(packet(), 1..8)) {
        let payload = Payload::from_packets(Codec::V4, packets.clone());
        let len = payload.encoded_len();
        let body = payload.into_bytes();
        prop_assert_eq!(body.len(), len);
        prop_assert_eq!(wire::payload(&body), Some(packets.iter().map(heard).collect()));
        prop_assert_eq!(Codec::V4.decode_payload(body).collect::<Result<Vec<_>, _>>(), Ok(packets));
    }

    #[test]
    fn frames_round_trip(packet in packet(), base64: bool) {
        let frame = Codec::V4.with_base64(base64).encode_frame(packet.clone());
        let (len, heard_in_it) = match &frame {
            Frame::Binary(bytes) => (bytes.len(), Some(Heard::new(b'b', bytes.to_vec()))),
            Frame::Text { head, data } => {
                let text = [head, data.as_str()].concat();
                (text.len(), wire::packet(text.as_bytes()))
            }
        };
        prop_assert_eq!((frame.len(), frame.is_empty()), (len, len == 0));
        prop_assert_eq!(heard_in_it, Some(heard(&packet)));
        prop_assert!(!(base64 && matches!(frame, Frame::Binary(_))));
        if let Frame::Text { head, data } = &frame {
            // What we send is what a peer that is like us receives.
            let received = Frame::received([head, data.as_str()].concat().as_str().into());
            prop_assert_eq!(Codec::V4.decode_frame(received), Ok(packet.clone()));
        }
        prop_assert_eq!(Codec::V4.decode_frame(frame), Ok(packet));
    }

    #[test]
    fn any_body_is_read_up_to_the_first_piece_that_is_no_packet(
        body in prop_oneof![almost_packets(), vec(any::<u8>(), 0..200)],
    ) {
        let mut decoder = Codec::V4.decode_payload(body.clone().into());
        for piece in body.split(|&byte| byte == SEPARATOR) {
            let packet = decoder.next().expect("a packet or an error for every piece");
            prop_assert_eq!(packet.as_ref().ok().map(heard), lenient(piece), "{:?}", piece);
            if packet.is_err() {
                break;
            }
        }
        prop_assert_eq!(decoder.next(), None);
        prop_assert_eq!(decoder.next(), None);
    }

    #[test]
    fn any_frame_is_read(head in prop_oneof![Just(""), Just("4"), Just("b"), Just("9"), Just("2pro")], data: String) {
        let whole = [head, &data].concat();
        let alone = Codec::V4.decode_text(whole.as_str().into());
        prop_assert_eq!(alone == Err(PacketError::Empty), whole.is_empty());
        prop_assert_eq!(Codec::V4.decode_frame(Frame::Text { head, data: data.as_str().into() }), alone);
        let bytes = Bytes::from(data);
        prop_assert_eq!(Codec::V4.decode_frame(Frame::Binary(bytes.clone())), Ok(Packet::Binary(bytes)));
    }

    #[test]
    fn any_request_is_sorted(
        query in prop_oneof![
            ".*",
            "(EIO=[34]?|transport=(polling|websocket|x)|sid=[a-z%+]{0,4}|b64=[01]?|t=.)(&(EIO=4|transport=polling|sid=)){0,3}",
        ],
        origin in proptest::option::of(vec(any::<u8>(), 0..9)),
        method in prop_oneof![Just(Method::Get), Just(Method::Post), Just(Method::Other)],
        upgrade: bool,
    ) {
        let request = Request { method, query: &query, origin: origin.as_deref(), upgrade };
        match Route::parse(&request, &Config::default()) {
            Ok(Route::Handshake(_)) => prop_assert_eq!(method, Method::Get),
            Ok(Route::Session(request)) => prop_assert!(!request.sid.is_empty()),
            Err(rejection) => {
                prop_assert!(rejection.status() >= 400);
                let json = String::from_utf8(rejection.to_json().to_vec()).unwrap();
                let code = format!(r#"{{"code":{},"message":""#, rejection.code() as u8);
                prop_assert!(json.starts_with(&code) && !json.bytes().any(|byte| byte < b' '), "{}", json);
            }
        }
    }

    #[test]
    fn any_session_id_is_checked(text in ".{0,140}", entropy: [u8; 15], shards in 0_usize..9) {
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
        let valid = (1..=Sid::MAX_LEN).contains(&text.len()) && text.bytes().all(legal);
        prop_assert_eq!(Sid::new(&text).is_ok(), valid);
        let sid = Sid::from_entropy(entropy);
        prop_assert!(Sid::new(&sid).is_ok_and(|same| same == sid));
        prop_assert!(Sid::shard(&text, shards) < shards.max(1));
    }

    #[test]
    fn buffers_count_exactly(messages in vec(vec(any::<u8>(), 0..60), 1..20), limit in 1_usize..400) {
        let mut lone = Lone::with(|config| config.send_limit = limit);
        let mut expected = std::collections::VecDeque::new();
        for message in messages {
            let message = Message::from(message);
            let cost: usize = expected.iter().map(Message::cost).sum();
            let taken = cost < limit;
            prop_assert_eq!(lone.session.send(message.clone()).is_ok(), taken);
            expected.extend(taken.then_some(message));
            prop_assert_eq!(lone.session.send_buffered(), expected.iter().map(Message::cost).sum::<usize>());
            prop_assert!(lone.session.unsent().eq(&expected));
        }
    }

    /// Law 11: as much as fits goes into one answer, and nothing more; a message above the limit goes alone.
    #[test]
    fn payloads_are_filled_up_to_the_limit(messages in vec(vec(any::<u8>(), 0..9), 1..12), limit in 1_usize..40) {
        let mut lone = Lone::with(|config| config.max_payload = limit);
        lone.get();
        let mut expected: Vec<_> = messages.into_iter().map(|bytes| Packet::Binary(bytes.into())).collect();
        for packet in &expected {
            let Packet::Binary(bytes) = packet else { unreachable!() };
            lone.session.send(bytes.clone()).unwrap();
        }
        while !expected.is_empty() {
            let body = lone.get().expect("an answer, for there are messages");
            let packets = wire::payload(&body).unwrap();
            let rest = expected.split_off(packets.len());
            prop_assert_eq!(&packets, &expected.iter().map(heard).collect::<Vec<_>>());
            prop_assert!(body.len() <= limit || packets.len() == 1, "{} of {}", body.len(), limit);
            prop_assert!(rest.first().is_none_or(|next| body.len() + 1 + Codec::V4.text_len(next) > limit));
            expected = rest;
        }
    }
}

proptest! {
    #![proptest_config(cases(16))]

    /// Laws 3, 4, 5 and 13, for many sessions in one container, a network that does anything and a misusing embedder.
    #[test]
    fn a_server_survives_chaos(ops in vec((0..chaos::SESSIONS, ops()), 1..600)) {
        let mut crowd = Crowd::new();
        for (who, op) in &ops {
            crowd.play(*who, op);
        }
        crowd.end();
    }

    /// Law 7: drained after every call or at the end, the outputs are the same.
    #[test]
    fn draining_late_changes_nothing(on_channel: bool, ops in vec(ops(), 1..400)) {
        let mut early = Lone::new(on_channel);
        let mut late = Lone::new(on_channel);
        let mut outputs = early.drain();
        for op in &ops {
            prop_assert_eq!(early.play(op), late.play(op));
            outputs.extend(early.drain());
        }
        prop_assert_eq!(late.drain(), outputs);
        prop_assert!(late.session == early.session);
    }

    /// An embedder that does not observe writes misses the events of writes, and nothing else.
    #[test]
    fn observing_writes_changes_nothing_else(on_channel: bool, ops in vec(ops(), 1..400)) {
        let mut observed = Lone::new(on_channel);
        let mut unobserved = Lone::new(on_channel);
        prop_assert_eq!(observed.drain(), unobserved.drain());
        unobserved.session.observe_writes(false);
        let is_write = |output: &Output| matches!(output, Output::Event(Event::Flush { .. } | Event::Drain));
        for op in &ops {
            prop_assert_eq!(observed.play(op), unobserved.play(op));
            let mut outputs = observed.drain();
            outputs.retain(|output| !is_write(output));
            prop_assert_eq!(outputs, unobserved.drain());
        }
    }

    /// The same in a container, which is drained at any time, or at the end: each of its sessions does what it does alone.
    #[test]
    fn a_session_beside_others_is_as_it_is_alone(
        ops in vec((0..chaos::SESSIONS - 1, ops(), 0_usize..9), 1..400),
        late: bool,
    ) {
        let mut beside = Beside::new();
        for (who, op, pulls) in &ops {
            beside.play(*who, op);
            beside.pull(if late { 0 } else { *pulls });
        }
        beside.pull(usize::MAX);
        beside.compare();
    }

    /// Law 6: calls without need change nothing.
    #[test]
    fn calls_without_need_change_nothing(on_channel: bool, ops in vec(ops(), 1..300)) {
        let mut lone = Lone::new(on_channel);
        for op in &ops {
            lone.play(op);
            lone.drain();
            let (now, session) = (lone.now, &mut lone.session);
            let (exchange, channel) = (ExchangeId(u64::MAX), ChannelId(u64::MAX));
            // Of the time it may not know yet.
            session.next_frame(now, channel);
            // And once that there is nothing means: tell me when there is.
            let empty = session.receive_buffered() == 0;
            if empty {
                session.recv(now);
            }
            let before = session.clone();
            if session.next_timeout().is_none_or(|next| next > now) {
                session.handle_timeout(now);
            }
            prop_assert_eq!((session.poll_output(), session.next_frame(now, channel)), (None, None));
            for input in [
                Input::PostBody { exchange, body: Ok("4a".into()) },
                Input::ExchangeLost { exchange },
                Input::ChannelFrame { channel, frame: Frame::received("2probe".into()) },
                Input::ChannelClosed { channel, end: ChannelEnd::Closed },
            ] {
                session.handle_input(now, input);
            }
            if session.phase() != Phase::Open {
                session.close(now);
            }
            // An abort also drops what could not be sent.
            if session.is_finished() && session.unsent().next().is_none() {
                session.abort(now);
            }
            if empty {
                prop_assert_eq!(session.recv(now), None);
            }
            prop_assert!(lone.session == before, "{:#?}\nis not\n{:#?}", lone.session, before);
        }
    }

    /// Law 6: a time that goes backwards counts as the latest.
    #[test]
    fn time_is_clamped(on_channel: bool, ops in vec((ops(), 0_u64..50_000), 1..400)) {
        let mut straight = Lone::new(on_channel);
        let mut jumping = Lone::new(on_channel);
        for (op, back) in &ops {
            straight.now = straight.time(op);
            // Most calls tell the time, but not all.
            let now = straight.now;
            straight.session.handle_timeout(now);
            jumping.session.handle_timeout(now);
            let past = Instant::from_micros(now.as_micros().saturating_sub(*back));
            prop_assert_eq!(straight.play_at(now, op), jumping.play_at(past, op));
            prop_assert!(straight.session == jumping.session);
        }
        prop_assert_eq!(straight.drain(), jumping.drain());
    }

    /// Law 5: what was due is done, or moved into the future.
    #[test]
    fn what_is_due_is_done(on_channel: bool, ops in vec((ops(), 0_u64..60_000), 1..400)) {
        let mut lone = Lone::new(on_channel);
        for (op, late) in &ops {
            lone.play(op);
            let Some(next) = lone.session.next_timeout() else { continue };
            lone.now = lone.now.max(Instant::from_micros(next.as_micros().saturating_add(*late)));
            lone.session.handle_timeout(lone.now);
            let next = lone.session.next_timeout();
            prop_assert!(next.is_none_or(|next| next > lone.now), "{:?} at {:?}", next, lone.now);
        }
    }
}

/// The strategies can make what the rules tell apart; a property about nothing would hold too.
#[test]
fn the_chaos_reaches_what_it_should() {
    let config = ProptestConfig { rng_seed: RngSeed::Fixed(SEED), ..ProptestConfig::default() };
    let mut runner = TestRunner::new(config);
    let ops = vec(ops(), 60);
    let mut reached = std::collections::BTreeSet::new();
    for round in 0..150 {
        let mut lone = Lone::new(round % 2 == 0);
        for op in ops.new_tree(&mut runner).unwrap().current() {
            lone.play(&op);
            reached.insert(format!("{:?}", lone.session.state()));
            reached.insert(format!("{:?}", lone.session.phase()));
            reached.extend(lone.session.close_reason().map(|reason| reason.to_string()));
        }
    }
    let expected = [
        "Channel",
        "Closed",
        "Closing",
        "Open",
        "Polling",
        "Probed",
        "Probing",
        "forced close",
        "parse error",
        "ping timeout",
        "transport close",
        "transport error: poll connection closed prematurely",
    ];
    for name in expected {
        assert!(reached.contains(name), "{name} was not reached: {reached:?}");
    }
}

/// The clock stands still at its last moment, where no deadline lies in the future any more.
#[test]
fn the_end_of_time_ends() {
    let mut server = Server::new(Config::default()).unwrap();
    let request = Request { method: Method::Get, query: "EIO=4&transport=websocket", origin: None, upgrade: true };
    let admission = Admission::begin(&request, server.config()).unwrap();
    let end = Instant::from_micros(u64::MAX);
    let channel = ChannelId(1);
    for (now, entropy) in [(Instant::ZERO, 1), (end, 2)] {
        let key = {
            let entry = Entry::Channel { channel, head: None };
            server.admit(now, admission.clone(), entry, Some(Sid::from_entropy([entropy; 15]))).unwrap()
        };
        let mut session = server.session_mut(key).unwrap();
        // An application that is too slow: its client is not given up.
        let data = vec![0; 1 << 20];
        session.handle_input(now, Input::ChannelFrame { channel, frame: Frame::Binary(data.into()) });
    }
    for _ in 0..9 {
        server.handle_timeout(end);
        server.check().unwrap();
        let keys: Vec<_> = server.keys().collect();
        for key in keys {
            while server.session_mut(key).unwrap().next_frame(end, channel).is_some() {}
        }
    }
    assert_eq!((server.len(), server.next_timeout()), (2, Some(end)));
}
