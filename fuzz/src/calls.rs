//! Calls of a session, read from bytes.

use std::time::Duration;

use bytes::Bytes;
use engineio_proto::server::{BodyError, Input};
use engineio_proto::wire::Frame;
use engineio_proto::{ChannelEnd, ChannelId, ExchangeId, Instant, Message, SendError, Session, Text};

use crate::reader::Reader;

/// One call.
#[derive(Clone, Debug)]
pub(crate) enum Call {
    Input(Input),
    Send(Message),
    SendAll(Vec<Message>),
    Ready,
    Recv,
    Close,
    Abort,
    /// Another session needs its place.
    Evict,
    Discard,
    Pull(ChannelId),
    Wake,
    /// Everything that was pulled is reported as written, except for this many messages.
    Written(ChannelId, u8),
    /// Asks whether this many messages are written.
    Await(u64),
}

/// The result of a call.
#[derive(Debug, PartialEq)]
pub(crate) enum Answer {
    Nothing,
    Ready(bool),
    Sent(Result<(), SendError>),
    SentAll(Result<(), SendError<Vec<Message>>>),
    Received(Option<Message>),
    Pulled(Option<Frame>),
    Awaited(bool),
}

pub(crate) fn apply(session: &mut Session, now: Instant, call: &Call) -> Answer {
    match call {
        Call::Input(input) => session.handle_input(now, input.clone()),
        Call::Send(message) => return Answer::Sent(session.send(message.clone())),
        Call::SendAll(messages) => return Answer::SentAll(session.send_all(messages.clone())),
        Call::Ready => return Answer::Ready(session.poll_ready()),
        Call::Recv => return Answer::Received(session.recv(now)),
        Call::Close => session.close(now),
        Call::Abort => session.abort(now),
        Call::Evict => session.evict(now),
        Call::Discard => session.discard_incoming(),
        Call::Pull(channel) => return Answer::Pulled(session.next_frame(now, *channel)),
        Call::Wake => session.handle_timeout(now),
        &Call::Written(channel, behind) => {
            let messages = session.stats().messages_sent.saturating_sub(behind.into());
            session.handle_input(now, Input::ChannelWritten { channel, messages });
        }
        &Call::Await(messages) => return Answer::Awaited(session.poll_written(messages)),
    }
    Answer::Nothing
}

/// Returns whether a call has a time.
pub(crate) fn tells_time(call: &Call) -> bool {
    !matches!(call, Call::Send(_) | Call::SendAll(_) | Call::Ready | Call::Discard | Call::Await(_))
}

/// The next event.
#[derive(Debug)]
pub(crate) enum Step {
    Call(Call),
    /// Time passes.
    Pass(Duration),
    /// It becomes the time at which the session has asked to be woken, or a little later.
    Sleep(Duration),
}

/// The numbers that an embedder has given so far.
#[derive(Debug)]
pub(crate) struct Numbers {
    next: u64,
    /// All GETs.
    gets: Vec<ExchangeId>,
    post: ExchangeId,
    channel: ChannelId,
}

impl Numbers {
    pub(crate) const FIRST_CHANNEL: ChannelId = ChannelId(1);

    /// The GET that opens a session in a server.
    pub(crate) const FIRST_EXCHANGE: ExchangeId = ExchangeId(1);

    pub(crate) fn new() -> Self {
        Self { next: 2, gets: vec![Self::FIRST_EXCHANGE], post: ExchangeId(0), channel: Self::FIRST_CHANNEL }
    }

    /// Returns the last GET, or an earlier one.
    fn get(&self, before: u8) -> ExchangeId {
        self.gets.iter().rev().nth(before.into()).copied().unwrap_or(ExchangeId(0))
    }

    /// Returns a new number, as the core requires.
    fn fresh(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// The letters:
    ///
    /// * `g` a GET; `h` the head of a POST, `H` a binary one; `b` its body (length, bytes), `B` it is too large (0; 1 that
    ///   of the last GET);
    ///   `x` an exchange is lost (0 the last GET, 1 the last POST, else any number)
    /// * `v` an answer is written, `l` it is lost (0 that to the last GET, 1 that to the one before, ...); `V` what was pulled
    ///   is written (but for so many messages), `m` so many messages are written, whatever was pulled; `U` a connection takes
    ///   more again; `e` are so many messages written
    /// * `o` a channel opens, `O` without binary; `q` it ends (0 to 2), `Q` one that never was;
    ///   `f` a text frame (length, bytes), `F` a binary one, `p` a probe, `u` an upgrade, `k` a pong, `z` a stray one
    /// * `s` a text is sent (length, bytes), `S` bytes, `a` several; `r` one is taken, `y` is there room;
    ///   `c` close, `X` abort, `d` discard
    /// * `n` a frame is pulled; `t` and `T` time passes (milliseconds, tens of them), `w` a wakeup at this moment, `W` one
    ///   in time, or late (milliseconds)
    pub(crate) fn step(&mut self, reader: &mut Reader<'_>) -> Step {
        const LETTERS: &[u8] = b"ghHbBxoOqQfFpukzsSaryncXdtTwWvlVmUe";
        let text = |text: &'static str| Frame::received(Text::from_static(text));
        let channel = self.channel;
        let frame = |frame| Input::ChannelFrame { channel, frame };
        let input = match reader.letter(LETTERS) {
            b'g' => {
                let exchange = ExchangeId(self.fresh());
                self.gets.push(exchange);
                Input::Poll { exchange }
            }
            head @ (b'h' | b'H') => {
                self.post = ExchangeId(self.fresh());
                Input::PostHead { exchange: self.post, octet_stream: head == b'H' }
            }
            b'b' => Input::PostBody { exchange: self.post, body: Ok(data(reader)) },
            b'B' => {
                let exchange = if reader.below(2) == 0 { self.post } else { self.get(0) };
                Input::PostBody { exchange, body: Err(BodyError::TooLarge) }
            }
            b'x' => {
                let exchange = match reader.below(9) {
                    0 => self.get(0),
                    1 => self.post,
                    any => ExchangeId(any.into()),
                };
                Input::ExchangeLost { exchange }
            }
            b'v' => Input::AnswerWritten { exchange: self.get(reader.below(10)) },
            b'l' => Input::ExchangeLost { exchange: self.get(reader.below(10)) },
            b'V' => return Step::Call(Call::Written(channel, reader.below(10))),
            b'm' => Input::ChannelWritten { channel, messages: reader.below(255).into() },
            b'U' => Input::Unblocked,
            b'e' => return Step::Call(Call::Await(reader.below(255).into())),
            open @ (b'o' | b'O') => {
                let channel = ChannelId(self.fresh());
                // The session accepts no second one; it closes it, and the first one stays.
                self.channel = channel;
                Input::ChannelOpened { channel, base64: open == b'O' }
            }
            b'q' => {
                let end =
                    [ChannelEnd::Closed, ChannelEnd::Violation, ChannelEnd::TooLarge][usize::from(reader.below(3))];
                Input::ChannelClosed { channel, end }
            }
            b'Q' => Input::ChannelClosed { channel: ChannelId(0), end: ChannelEnd::Closed },
            b'f' => frame(Frame::received(Text::from_utf8_lossy(data(reader)))),
            b'F' => frame(Frame::Binary(data(reader))),
            b'p' => frame(text("2probe")),
            b'u' => frame(text("5")),
            b'k' => frame(text("3")),
            b'z' => Input::ChannelFrame { channel: ChannelId(0), frame: text("4stray") },
            b's' => return Step::Call(Call::Send(text_message(reader))),
            b'S' => return Step::Call(Call::Send(data(reader).into())),
            b'a' => {
                let count = reader.below(4);
                return Step::Call(Call::SendAll((0..count).map(|_| text_message(reader)).collect()));
            }
            b'r' => return Step::Call(Call::Recv),
            b'y' => return Step::Call(Call::Ready),
            b'n' => return Step::Call(Call::Pull(channel)),
            b'c' => return Step::Call(Call::Close),
            b'X' => return Step::Call(Call::Abort),
            b'd' => return Step::Call(Call::Discard),
            b't' => return Step::Pass(Duration::from_millis(reader.below(255).into())),
            b'T' => return Step::Pass(Duration::from_millis(10 * u64::from(reader.below(255)))),
            b'W' => return Step::Sleep(Duration::from_millis(reader.below(255).into())),
            _ => return Step::Call(Call::Wake),
        };
        Step::Call(Call::Input(input))
    }

    /// A channel that was not accepted leaves the numbers to the previous one.
    pub(crate) fn settle(&mut self, current: Option<ChannelId>) {
        if let Some(current) = current {
            self.channel = current;
        }
    }
}

/// A length and this many bytes.
pub(crate) fn data(reader: &mut Reader<'_>) -> Bytes {
    let len = usize::from(reader.below(255));
    Bytes::copy_from_slice(reader.bytes(len))
}

pub(crate) fn text_message(reader: &mut Reader<'_>) -> Message {
    Text::from_utf8_lossy(data(reader)).into()
}

impl Answer {
    /// The reader of steps does not need the results.
    pub(crate) fn ignore(self) {}
}
