//! Data that is written to connections, and data in transit.
//!
//! Every request and every answer travels independently and may overtake any other; the frames of a channel keep their
//! order in each direction. Everything takes the same time, unless an operation lets it arrive earlier or later.
//!
//! Between a machine and the network is its embedder. What a machine hands over is first *held*: the network takes it
//! when it has room. What the network took is *written*, and the embedder reports that, early or late. When a
//! connection breaks, held data is lost, and so is data in transit.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use engineio_proto::client::Details;
use engineio_proto::wire::Frame;
use engineio_proto::{ChannelEnd, ChannelId, ExchangeId, Instant};

/// An HTTP request, from its output at a client until nothing waits for it.
#[derive(Clone, Debug)]
pub(crate) struct Exchange {
    /// The client that it concerns.
    pub(crate) client: usize,
    /// The attempt of the client that sent it; `None` if a proxy or a stranger did.
    pub(crate) sender: Option<(usize, ExchangeId)>,
    /// The attempt whose session it opens, if it opens one.
    pub(crate) attempt: Option<usize>,
    /// It is one of a foreign client.
    pub(crate) foreign: bool,
    pub(crate) target: String,
    /// Its content type is that of revision 3.
    pub(crate) octet_stream: bool,
    /// The body of a POST.
    pub(crate) body: Option<Bytes>,
    pub(crate) server: usize,
    /// Its number at the server, and its session.
    pub(crate) at_server: Option<(ExchangeId, usize)>,
    pub(crate) stage: Stage,
    /// When the stage ends without an operation.
    pub(crate) due: Instant,
    /// When the head of a POST arrived.
    pub(crate) head_at: Instant,
    /// When the client detects that the connection is lost.
    pub(crate) client_learns: Option<Instant>,
    /// When the server detects that.
    pub(crate) server_learns: Option<Instant>,
    /// The client does not wait for it any more.
    pub(crate) dropped: bool,
    pub(crate) spoilt: Option<Spoilt>,
    /// The state of its answer, for the embedder of the server.
    pub(crate) answer: Answer,
    /// The answer has packets that must not be lost.
    pub(crate) carries: bool,
    /// Bodies leave in parts, with this many microseconds in between; at once if zero.
    pub(crate) pace: u64,
    /// The parts of its body that have not left.
    pub(crate) upload: Option<Parts>,
}

/// The stage of an exchange.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// The request is in transit.
    Travelling,
    /// Its head has arrived, and its body has not.
    Body,
    /// The server has it.
    Held,
    /// The answer is in transit, or is being written.
    Answered { status: u16, body: Bytes },
    /// Nothing more follows.
    Done,
}

/// The state of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// There is none, or it needs no report any more.
    Idle,
    /// It is being written.
    Writing(Parts),
    /// It is written, and is reported at this time.
    Written(Instant),
}

/// Data that leaves in parts, because the network does not take it at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Parts {
    /// The number of parts that wait for the network, before the last one.
    pub(crate) left: u32,
    /// When the next part leaves.
    pub(crate) at: Instant,
}

/// The number of parts of slow data, without the last one.
pub(crate) const PARTS: u32 = 4;

/// The fault of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spoilt {
    /// It never ends.
    Slow,
    Large,
}

impl Exchange {
    /// Creates a request that is about to leave.
    pub(crate) fn new(client: usize, server: usize, target: String, body: Option<Bytes>, due: Instant) -> Self {
        Self {
            client,
            sender: None,
            attempt: None,
            foreign: false,
            octet_stream: false,
            target,
            body,
            server,
            at_server: None,
            stage: Stage::Travelling,
            due,
            head_at: due,
            client_learns: None,
            server_learns: None,
            dropped: false,
            spoilt: None,
            answer: Answer::Idle,
            carries: false,
            pace: 0,
            upload: None,
        }
    }

    /// Returns whether it can be forgotten.
    pub(crate) fn is_over(&self) -> bool {
        let is_known = self.client_learns.is_none() && self.server_learns.is_none();
        self.stage == Stage::Done && self.answer == Answer::Idle && is_known
    }

    /// Returns whether its answer is not completely written.
    pub(crate) fn is_stuck(&self) -> bool {
        matches!(self.answer, Answer::Writing(parts) if parts.left > 0)
    }

    /// The connection is gone, and the answer with it. A server that knows that everything was written does not detect
    /// this.
    pub(crate) fn lose_answer(&mut self) {
        self.stage = Stage::Done;
        if self.carries && self.answer == Answer::Idle {
            self.server_learns = None;
        }
    }

    /// Returns whether a session has it and must answer it.
    pub(crate) fn is_open_at(&self, slot: usize) -> bool {
        let is_open = matches!(self.stage, Stage::Body | Stage::Held);
        is_open && self.at_server.is_some_and(|(_, own)| own == slot)
    }

    /// Returns whether its body is in transit and will be complete.
    pub(crate) fn is_receiving(&self) -> bool {
        self.stage == Stage::Body && self.spoilt != Some(Spoilt::Slow)
    }
}

/// A channel, from its output at a client until both sides know of its end.
#[derive(Clone, Debug)]
pub(crate) struct Channel {
    /// The client that it concerns.
    pub(crate) client: usize,
    /// The attempt of the client that opened it; `None` if a stranger did.
    pub(crate) opener: Option<(usize, ChannelId)>,
    /// A foreign client opened it.
    pub(crate) foreign: bool,
    /// The session that a foreign client opens with it.
    pub(crate) attempt: Option<usize>,
    pub(crate) target: String,
    pub(crate) server: usize,
    pub(crate) at_server: Option<(ChannelId, usize)>,
    pub(crate) opening: Opening,
    /// When a session got it.
    pub(crate) heard_at: Option<Instant>,
    /// The client has not closed its end, and was not told that the other end was closed.
    pub(crate) client_open: bool,
    pub(crate) server_open: bool,
    pub(crate) up: Pipe,
    pub(crate) down: Pipe,
    /// The connection is broken: data that is written to it is lost.
    pub(crate) torn: bool,
}

/// One direction of a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// To the server.
    Up,
    /// To the client.
    Down,
}

/// The state of opening a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Opening {
    /// The server will be told of it.
    Asked(Instant),
    /// The client will be told that it is open.
    Accepted(Instant),
    /// The client will be told that it is refused.
    Refused(Instant, Option<Details>),
    Open,
}

/// One direction of a channel.
#[derive(Clone, Debug)]
pub(crate) struct Pipe {
    /// Frames that were pulled and that the network did not take.
    pub(crate) held: VecDeque<Held>,
    /// Frames that the network took and that have not arrived.
    pub(crate) pieces: VecDeque<(Instant, Piece)>,
    /// The part of the network's room that lost data takes.
    pub(crate) sunk: usize,
    /// The writer has frames to pull; they are pulled at this time at the latest.
    pub(crate) ready: Option<Instant>,
    /// The writer wrote until the network took no more.
    pub(crate) blocked: bool,
    /// The writer closes the channel after what it holds.
    pub(crate) closing: bool,
    /// The number of messages that the writer knows to be written, if it has not reported that.
    pub(crate) written: Option<u64>,
    /// When it reports that.
    pub(crate) report: Option<Instant>,
    /// The network lets frames arrive with this many microseconds in between.
    pub(crate) pace: u64,
    /// No frame arrives before that.
    pub(crate) next_at: Instant,
    /// The reader reads.
    pub(crate) reads: bool,
    /// Frames were written.
    pub(crate) used: bool,
}

/// A frame that was pulled.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    pub(crate) frame: Frame,
    /// The number of messages of the session that were pulled with it.
    pub(crate) messages: u64,
}

#[derive(Clone, Debug)]
pub(crate) enum Piece {
    Frame(Frame),
    End(ChannelEnd),
}

impl Default for Pipe {
    fn default() -> Self {
        Self {
            held: VecDeque::new(),
            pieces: VecDeque::new(),
            sunk: 0,
            ready: None,
            blocked: false,
            closing: false,
            written: None,
            report: None,
            pace: 0,
            next_at: Instant::ZERO,
            reads: true,
            used: false,
        }
    }
}

impl Pipe {
    /// Data in transit is lost, except for the first pieces. The network does not take more because of that.
    pub(crate) fn sink(&mut self, arrives: usize) {
        let before = self.pieces.len();
        self.pieces.truncate(arrives);
        self.sunk += before - self.pieces.len();
    }

    /// The same, and held data is lost too.
    pub(crate) fn cut(&mut self, arrives: usize) {
        self.sink(arrives);
        self.held.clear();
        self.closing = false;
    }

    /// The end comes after data in transit, at this time or later.
    pub(crate) fn end(&mut self, at: Instant, end: ChannelEnd) {
        let at = self.pieces.back().map_or(at, |&(last, _)| last.max(at));
        self.pieces.push_back((at, Piece::End(end)));
    }

    /// Takes the next piece that arrives.
    pub(crate) fn next(&mut self, now: Instant) -> Option<Piece> {
        let (_, piece) = self.pieces.pop_front()?;
        self.next_at = now + Duration::from_micros(self.pace);
        Some(piece)
    }

    /// Returns whether the network takes another frame.
    pub(crate) fn has_room(&self, window: usize) -> bool {
        self.pieces.len() + self.sunk < window.max(1)
    }

    /// Returns whether the writer has something to write.
    pub(crate) fn is_writing(&self) -> bool {
        !self.held.is_empty() || self.closing
    }
}

impl Channel {
    pub(crate) fn pipe(&self, way: Way) -> &Pipe {
        match way {
            Way::Up => &self.up,
            Way::Down => &self.down,
        }
    }

    pub(crate) fn pipe_mut(&mut self, way: Way) -> &mut Pipe {
        match way {
            Way::Up => &mut self.up,
            Way::Down => &mut self.down,
        }
    }

    /// Returns whether there is a reader for what is written.
    pub(crate) fn has_reader(&self, way: Way) -> bool {
        let is_open = match way {
            Way::Up => self.server_open || matches!(self.opening, Opening::Asked(_)),
            Way::Down => self.client_open,
        };
        is_open && !self.torn
    }

    /// Returns whether this attempt of a client opened it.
    pub(crate) fn is_of(&self, attempt: usize) -> bool {
        self.opener.is_some_and(|(owner, _)| owner == attempt)
    }

    /// Returns whether it can be forgotten.
    pub(crate) fn is_over(&self) -> bool {
        let is_waiting =
            matches!(self.opening, Opening::Asked(_)) || (self.opener.is_some() && self.opening != Opening::Open);
        !self.client_open && !self.server_open && !is_waiting && self.up.pieces.is_empty()
    }
}

/// Returns a frame as it arrives: in one piece.
pub(crate) fn received(frame: Frame) -> Frame {
    match frame {
        Frame::Text { head, data } => Frame::received(format!("{head}{}", data.as_str()).into()),
        binary @ Frame::Binary(_) => binary,
    }
}

/// Returns the bytes of a frame.
pub(crate) fn bytes_of(frame: &Frame) -> Bytes {
    match frame {
        Frame::Text { head: "", data } => data.as_bytes().clone(),
        Frame::Text { head, data } => format!("{head}{}", data.as_str()).into(),
        Frame::Binary(bytes) => bytes.clone(),
    }
}
