//! The WebSocket codec gives the same result for a stream of bytes however it is split, the same as a strict reading of
//! RFC 6455 written by hand, and the same as tungstenite, as far as that has come. What the codec writes is well-formed,
//! and has the meaning of its input.
//!
//! tungstenite checks most rules when a frame is complete, and text when a fragment is. The codec checks a rule with the
//! first byte that shows it. So it may have ended a channel that is still open for tungstenite; and where a frame breaks
//! several rules, it may name another one. In both cases the messages before are the same. The codec is stricter in one
//! point: a control frame whose length is in a longer form than it needs ends the channel with its second byte.

use std::io;

use engineio_driver::fuzz::Codec;
use engineio_proto::client::Details;
use engineio_proto::wire::Frame;
use engineio_proto::{ChannelEnd, Text};
use tungstenite::protocol::WebSocketConfig;
use tungstenite::{Error, Message, WebSocket};

use crate::reader::Reader;

const LIMITS: [usize; 6] = [1, 10, 125, 126, 300, 70_000];

/// `data` is a role (`S` a server, `C` a client), the number of a limit, the size of pieces, and what arrives. With the
/// role in lower case, what arrives is a list of frames, each a first byte, a length and this many bytes, so that masks
/// and long headers need not be guessed.
pub fn websocket(data: &[u8]) {
    let mut reader = Reader(data);
    let letter = reader.letter(b"SCsc");
    let limit = LIMITS[usize::from(reader.below(LIMITS.len() as u8))];
    let size = usize::from(reader.below(255));
    let role = if letter.eq_ignore_ascii_case(&b's') { Role::Server } else { Role::Client };
    let stream = if letter.is_ascii_lowercase() { frames(&mut reader, role) } else { reader.0.to_vec() };

    let whole = receive(role, limit, [stream.as_slice()], usize::MAX);
    // In single bytes, unless there are very many.
    let tiny = stream.len() / 200 + 1;
    let size = size.max(tiny);
    assert_eq!(receive(role, limit, stream.chunks(tiny), usize::MAX), whole, "in tiny pieces");
    assert_eq!(receive(role, limit, stream.chunks(size), usize::MAX), whole, "in pieces");
    assert_eq!(receive(role, limit, stream.chunks(size), 1), whole, "in pieces, and one message for each");
    let meaning = meaning(&stream, role, limit);
    judge(&whole, &meaning);
    compare(&whole, &tungstenite(&stream, role, limit), meaning.ends_with_long_control);

    let goodbye = close(role, limit, [stream.as_slice()]);
    assert_eq!(close(role, limit, stream.chunks(tiny)), goodbye, "in tiny pieces, behind a close frame");
    assert_eq!(close(role, limit, stream.chunks(size)), goodbye, "in pieces, behind a close frame");

    send(&whole.messages);
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Role {
    Server,
    Client,
}

impl Role {
    fn codec(self, limit: usize) -> Codec {
        match self {
            Self::Server => Codec::server(limit),
            Self::Client => Codec::client(limit),
        }
    }

    const fn peer(self) -> Self {
        match self {
            Self::Server => Self::Client,
            Self::Client => Self::Server,
        }
    }

    /// A client masks what it sends.
    fn masks(self) -> bool {
        self == Self::Client
    }
}

const CONTINUATION: u8 = 0;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// Frames as the peer of this role would write them.
fn frames(reader: &mut Reader<'_>, role: Role) -> Vec<u8> {
    let mut stream = Vec::new();
    while !reader.is_empty() && stream.len() < 70_000 {
        let first = reader.byte();
        // One byte can stand for many, so that all forms of a length occur.
        let (len, times) = match reader.byte() {
            digit @ b'0'..=b'9' => (usize::from(digit - b'0'), 1),
            254 => (1, 200),
            255 => (1, 66_000),
            len => (usize::from(len), 1),
        };
        let payload = reader.bytes(len).repeat(times);
        write_frame(first, &payload, role.peer().masks(), &mut stream);
    }
    stream
}

fn write_frame(first: u8, payload: &[u8], mask: bool, stream: &mut Vec<u8>) {
    let bit = if mask { 0x80 } else { 0 };
    stream.push(first);
    match payload.len() {
        len @ 0..=125 => stream.push(bit | len as u8),
        len @ 126..=0xffff => {
            stream.push(bit | 126);
            stream.extend((len as u16).to_be_bytes());
        }
        len => {
            stream.push(bit | 127);
            stream.extend((len as u64).to_be_bytes());
        }
    }
    const MASK: [u8; 4] = [0x12, 0x34, 0x56, 0x78];
    if mask {
        stream.extend(MASK);
        stream.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    } else {
        stream.extend(payload);
    }
}

/// The result of the codec for a stream.
#[derive(Debug, PartialEq)]
struct Outcome {
    messages: Vec<Frame>,
    end: Option<ChannelEnd>,
    said: Option<Details>,
    /// First byte and payload of each written frame.
    written: Vec<(u8, Vec<u8>)>,
}

fn receive<'a>(role: Role, limit: usize, pieces: impl IntoIterator<Item = &'a [u8]>, pulls: usize) -> Outcome {
    let (mut codec, mut output) = (role.codec(limit), Vec::new());
    let (mut messages, mut end) = (Vec::new(), None);
    let mut pull = |codec: &mut Codec, output: &mut Vec<u8>, most: usize| {
        for _ in 0..most {
            match codec.next(output) {
                Some(Ok(frame)) => {
                    assert_eq!(end, None, "a message behind the end");
                    messages.push(frame);
                }
                Some(Err(how)) => {
                    assert_eq!(end.replace(how), None, "it ends once");
                    assert!(codec.is_over());
                }
                None => {
                    assert!(!codec.has_input());
                    break;
                }
            }
        }
    };
    for piece in pieces {
        codec.receive(piece);
        pull(&mut codec, &mut output, pulls);
    }
    pull(&mut codec, &mut output, usize::MAX);
    let said = codec.close_frame();
    // Whatever happened, there is at most one close frame, and it is the last frame.
    codec.close(&mut output);
    let mut written = read_strictly(&output, role.masks());
    let closes = written.iter().filter(|(first, _)| first & 0x0f == CLOSE).count();
    assert!(closes == 1 && written.last().is_some_and(|(first, _)| *first == 0x80 | CLOSE), "{written:?}");
    if end.is_none() {
        assert_eq!(written.pop(), Some((0x80 | CLOSE, Vec::new())));
    }
    Outcome { messages, end, said, written }
}

/// We close first: returns whether the peer's close frame is detected, and what is written.
fn close<'a>(role: Role, limit: usize, pieces: impl IntoIterator<Item = &'a [u8]>) -> (bool, bool) {
    let (mut codec, mut output) = (role.codec(limit), Vec::new());
    codec.close(&mut output);
    let mut seen = false;
    for piece in pieces {
        let now = codec.receive_goodbye(piece, &mut output);
        assert!(!(seen && now), "it is seen once");
        seen |= now;
    }
    assert_eq!(read_strictly(&output, role.masks()), [(0x80 | CLOSE, Vec::new())], "nothing follows our own");
    (seen, codec.is_over())
}

/// What was received can be sent, by either side, and arrives.
fn send(messages: &[Frame]) {
    for role in [Role::Server, Role::Client] {
        let (mut codec, mut output) = (role.codec(1), Vec::new());
        for message in messages {
            codec.send(message.clone(), &mut output);
        }
        let expected: Vec<_> = messages.iter().map(|message| (0x80 | opcode(message), bytes(message))).collect();
        assert_eq!(read_strictly(&output, role.masks()), expected);
        let outcome = receive(role.peer(), usize::MAX, [output.as_slice()], usize::MAX);
        assert_eq!((outcome.messages.as_slice(), outcome.end), (messages, None));
        assert_eq!(outcome.written, []);
    }
}

fn opcode(frame: &Frame) -> u8 {
    match frame {
        Frame::Text { .. } => TEXT,
        Frame::Binary(_) => BINARY,
    }
}

fn bytes(frame: &Frame) -> Vec<u8> {
    match frame {
        Frame::Text { head, data } => [head, data.as_str()].concat().into_bytes(),
        Frame::Binary(bytes) => bytes.to_vec(),
    }
}

/// A frame in a stream: its first byte, whether it was masked, and its payload.
struct Raw<'a> {
    first: u8,
    masked: bool,
    is_minimal: bool,
    /// `None` while it is not complete.
    payload: Option<Vec<u8>>,
    /// What has arrived of a payload that is not complete.
    begun: Vec<u8>,
    rest: &'a [u8],
}

/// Returns the next frame, as soon as its header is complete.
fn read_frame(stream: &[u8]) -> Option<Raw<'_>> {
    let [first, second, rest @ ..] = stream else { return None };
    let (len, is_minimal, rest) = match second & 0x7f {
        126 => {
            let (len, rest) = rest.split_first_chunk::<2>()?;
            let len = u64::from(u16::from_be_bytes(*len));
            (len, len > 125, rest)
        }
        127 => {
            let (len, rest) = rest.split_first_chunk::<8>()?;
            let len = u64::from_be_bytes(*len);
            (len, len > 0xffff, rest)
        }
        len => (u64::from(len), true, rest),
    };
    let masked = second & 0x80 != 0;
    let (mask, rest) = if masked {
        let (mask, rest) = rest.split_first_chunk::<4>()?;
        (*mask, rest)
    } else {
        ([0; 4], rest)
    };
    let unmask = |bytes: &[u8]| bytes.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask).collect();
    let (payload, begun, rest) = match usize::try_from(len).ok().and_then(|len| rest.split_at_checked(len)) {
        Some((payload, rest)) => (Some(unmask(payload)), Vec::new(), rest),
        None => (None, unmask(rest), &[][..]),
    };
    Some(Raw { first: *first, masked, is_minimal, payload, begun, rest })
}

/// Parses our output: complete frames only, masked according to the role, in the shortest form.
fn read_strictly(mut stream: &[u8], masked: bool) -> Vec<(u8, Vec<u8>)> {
    let mut frames = Vec::new();
    while !stream.is_empty() {
        let raw = read_frame(stream).expect("a whole header");
        assert!(raw.masked == masked && raw.is_minimal);
        frames.push((raw.first, raw.payload.expect("a whole frame")));
        stream = raw.rest;
    }
    frames
}

/// The meaning of a stream.
struct Meaning {
    messages: Vec<(u8, Vec<u8>)>,
    end: End,
    /// It ends with a control frame whose length is in a longer form. tungstenite goes on.
    ends_with_long_control: bool,
    /// The expected output, except for the close frame that reports an error.
    written: Vec<(u8, Vec<u8>)>,
}

#[derive(Debug, PartialEq)]
enum End {
    /// More may follow.
    Open,
    /// The peer has closed, with these bytes.
    Closed(Vec<u8>),
    /// A rule is broken.
    Broken,
}

fn meaning(mut stream: &[u8], role: Role, limit: usize) -> Meaning {
    let mut meaning =
        Meaning { messages: Vec::new(), end: End::Open, ends_with_long_control: false, written: Vec::new() };
    // The message whose fragments have arrived.
    let mut under_way: Option<(u8, Vec<u8>)> = None;
    loop {
        // The beginning of a header is enough if it shows that a rule is broken.
        let have = under_way.as_ref().map(|(_, bytes)| bytes.len() as u64);
        if breaks_a_rule(stream, have, role, limit) {
            meaning.end = End::Broken;
            meaning.ends_with_long_control =
                matches!(stream, [first, second, ..] if first & 0x0f >= CLOSE && second & 0x7f > 125);
            break;
        }
        let Some(raw) = read_frame(stream) else { break };
        let (opcode, last) = (raw.first & 0x0f, raw.first & 0x80 != 0);
        let Some(payload) = raw.payload else {
            // What has arrived of text is text.
            let (kind, mut bytes) = under_way.unwrap_or((opcode, Vec::new()));
            bytes.extend(raw.begun);
            if opcode < CLOSE && kind == TEXT && !is_text(&bytes, false) {
                meaning.end = End::Broken;
            }
            break;
        };
        stream = raw.rest;
        match opcode {
            PING => meaning.written.push((0x80 | PONG, payload)),
            PONG => (),
            CLOSE => {
                meaning.end = if is_goodbye(&payload) { End::Closed(payload) } else { End::Broken };
                break;
            }
            _ => {
                let (opcode, bytes) = under_way.get_or_insert((opcode, Vec::new()));
                bytes.extend(payload);
                if *opcode == TEXT && !is_text(bytes, last) {
                    meaning.end = End::Broken;
                    break;
                }
                if last {
                    meaning.messages.extend(under_way.take());
                }
            }
        }
    }
    meaning
}

/// Returns whether a header, or what has arrived of it, breaks a rule. `have`: the length of the message whose fragments
/// have arrived.
fn breaks_a_rule(stream: &[u8], have: Option<u64>, role: Role, limit: usize) -> bool {
    let Some((first, rest)) = stream.split_first() else { return false };
    let opcode = first & 0x0f;
    let order = match opcode {
        CONTINUATION => have.is_some(),
        TEXT | BINARY => have.is_none(),
        CLOSE | PING | PONG => first & 0x80 != 0,
        _ => false,
    };
    if !order || first & 0x70 != 0 {
        return true;
    }
    let Some((second, rest)) = rest.split_first() else { return false };
    if (second & 0x80 != 0) != role.peer().masks() || (opcode >= 8 && second & 0x7f > 125) {
        return true;
    }
    let len = match second & 0x7f {
        126 => rest.first_chunk().map(|len| u64::from(u16::from_be_bytes(*len))),
        127 => rest.first_chunk().map(|len| u64::from_be_bytes(*len)),
        len => Some(u64::from(len)),
    };
    opcode < 8 && len.is_some_and(|len| have.unwrap_or(0).saturating_add(len) > limit as u64)
}

/// Returns whether it is UTF-8, or, while more follows, the beginning of it.
fn is_text(bytes: &[u8], whole: bool) -> bool {
    match std::str::from_utf8(bytes) {
        Ok(_) => true,
        Err(error) => !whole && error.error_len().is_none(),
    }
}

/// Returns whether it is the payload of a close frame: RFC 6455, sections 5.5.1 and 7.4.
fn is_goodbye(payload: &[u8]) -> bool {
    let Some((code, reason)) = payload.split_first_chunk::<2>() else { return payload.is_empty() };
    let known = matches!(u16::from_be_bytes(*code), 1000..=1003 | 1007..=1014 | 3000..=4999);
    known && std::str::from_utf8(reason).is_ok()
}

fn judge(outcome: &Outcome, meaning: &Meaning) {
    let messages: Vec<_> = outcome.messages.iter().map(|message| (opcode(message), bytes(message))).collect();
    assert_eq!(messages, meaning.messages);
    let mut written = outcome.written.clone();
    match &meaning.end {
        End::Open => assert_eq!(outcome.end, None),
        End::Closed(payload) => {
            assert_eq!(outcome.end, Some(ChannelEnd::Closed));
            assert_eq!(written.pop(), Some((0x80 | CLOSE, payload.clone())), "it is answered in kind");
            let said = payload.split_first_chunk::<2>().map(|(code, reason)| {
                let reason = Text::from_utf8_lossy(reason.to_vec().into()).to_string();
                Details::CloseFrame { code: u16::from_be_bytes(*code), reason }
            });
            assert_eq!(outcome.said, said);
        }
        End::Broken => {
            assert!(matches!(outcome.end, Some(ChannelEnd::Violation | ChannelEnd::TooLarge)), "{:?}", outcome.end);
            let (first, payload) = written.pop().expect("the peer is told");
            let code = payload.first_chunk::<2>().map(|code| u16::from_be_bytes(*code));
            assert!(first == 0x80 | CLOSE && matches!(code, Some(1002 | 1007 | 1009)), "{payload:?}");
            assert_eq!(code == Some(1009), outcome.end == Some(ChannelEnd::TooLarge));
        }
    }
    assert_eq!(written, meaning.written, "every ping is answered, and nothing else");
}

/// The result of tungstenite for a stream.
struct Theirs {
    messages: Vec<(u8, Vec<u8>)>,
    end: End,
}

fn tungstenite(stream: &[u8], role: Role, limit: usize) -> Theirs {
    let config = WebSocketConfig::default().max_message_size(Some(limit)).max_frame_size(Some(limit.max(125)));
    let role = match role {
        Role::Server => tungstenite::protocol::Role::Server,
        Role::Client => tungstenite::protocol::Role::Client,
    };
    let mut socket = WebSocket::from_raw_socket(Pipe(stream), role, Some(config));
    let mut messages = Vec::new();
    let end = loop {
        match socket.read() {
            Ok(Message::Text(text)) => messages.push((TEXT, text.as_bytes().to_vec())),
            Ok(Message::Binary(bytes)) => messages.push((BINARY, bytes.to_vec())),
            Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_)) => (),
            Ok(Message::Close(None)) => break End::Closed(Vec::new()),
            Ok(Message::Close(Some(close))) => {
                // It replaces what a peer must not send.
                let code = u16::from(close.code);
                break if code == 1002 && close.reason.as_str() == "Protocol violation" {
                    End::Broken
                } else {
                    End::Closed([&code.to_be_bytes(), close.reason.as_bytes()].concat())
                };
            }
            Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => break End::Open,
            Err(_) => break End::Broken,
        }
    };
    Theirs { messages, end }
}

/// A connection in memory, whose output nobody reads.
struct Pipe<'a>(&'a [u8]);

impl io::Read for Pipe<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.0.is_empty() { Err(io::ErrorKind::WouldBlock.into()) } else { self.0.read(buf) }
    }
}

impl io::Write for Pipe<'_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn compare(ours: &Outcome, theirs: &Theirs, is_stricter: bool) {
    let messages: Vec<_> = ours.messages.iter().map(|message| (opcode(message), bytes(message))).collect();
    if is_stricter {
        assert!(theirs.messages.starts_with(&messages));
        return;
    }
    assert_eq!(messages, theirs.messages);
    let is_broken = matches!(ours.end, Some(ChannelEnd::Violation | ChannelEnd::TooLarge));
    match &theirs.end {
        End::Open => assert!(ours.end.is_none() || is_broken, "{:?}", ours.end),
        // A close frame with the words that tungstenite puts in the place of others is one that it may have replaced. It
        // does not know 1014, a status that was registered later.
        End::Broken => assert!(is_broken || matches!(&ours.said, Some(Details::CloseFrame { code: 1002 | 1014, .. }))),
        End::Closed(payload) => {
            assert_eq!(ours.end, Some(ChannelEnd::Closed));
            assert_eq!(ours.written.last(), Some(&(0x80 | CLOSE, payload.clone())));
        }
    }
}
