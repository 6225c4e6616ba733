//! What is written to connections, and what is on its way.
//!
//! Every request and every answer travels on its own and may overtake any other; the frames of a channel keep their
//! order in each direction. Everything takes the same time, unless an operation lets it arrive earlier or later.
//!
//! Between a machine and the network is its embedder. What a machine hands over is first *held*: the network takes it
//! when it has room. What the network took is *written*, and the embedder reports that, soon or late. What is held when
//! a connection is torn is lost, as is what is on its way.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use engineio_proto::client::Details;
use engineio_proto::wire::Frame;
use engineio_proto::{ChannelEnd, ChannelId, ExchangeId, Instant};

/// A request by HTTP, from the moment when a client asks for it until nobody waits for anything.
#[derive(Clone, Debug)]
pub(crate) struct Exchange {
    /// The client that it concerns.
    pub(crate) client: usize,
    /// The attempt of the client that sent it; nobody, if a proxy or a stranger did.
    pub(crate) sender: Option<(usize, ExchangeId)>,
    /// The attempt whose session it opens, if it opens one.
    pub(crate) attempt: Option<usize>,
    pub(crate) target: String,
    /// The body of a POST.
    pub(crate) body: Option<Bytes>,
    pub(crate) server: usize,
    /// Its number at the server, and the session that it was given to.
    pub(crate) at_server: Option<(ExchangeId, usize)>,
    pub(crate) stage: Stage,
    /// When the stage comes to its end by itself.
    pub(crate) due: Instant,
    /// When the head of a POST arrived.
    pub(crate) head_at: Instant,
    /// When the client learns that the connection is lost.
    pub(crate) client_learns: Option<Instant>,
    /// When the server does.
    pub(crate) server_learns: Option<Instant>,
    /// The client does not wait for it any more.
    pub(crate) dropped: bool,
    pub(crate) spoilt: Option<Spoilt>,
    /// How far its answer is, for the embedder of the server.
    pub(crate) answer: Answer,
    /// The answer has what must not be lost.
    pub(crate) carries: bool,
    /// Bodies leave in parts, so many microseconds apart; at once if zero.
    pub(crate) pace: u64,
    /// The parts of its body that have not left.
    pub(crate) upload: Option<Parts>,
}

/// How far an exchange is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// The request is on its way.
    Travelling,
    /// Its head has arrived, its body has not.
    Body,
    /// The server has it.
    Held,
    /// The answer is on its way, or is being written.
    Answered { status: u16, body: Bytes },
    /// There is nothing more to come.
    Done,
}

/// How far an answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// There is none, or nothing to report of it any more.
    Idle,
    /// It is being written.
    Writing(Parts),
    /// It is written; when that is reported.
    Written(Instant),
}

/// What leaves in parts, because the network takes no more at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Parts {
    /// So many must wait for the network to take more, and then the last one.
    pub(crate) left: u32,
    /// When the next one leaves.
    pub(crate) at: Instant,
}

/// What leaves slowly leaves in so many parts, and the last one.
pub(crate) const PARTS: u32 = 4;

/// What is wrong with a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spoilt {
    /// Its end never comes.
    Slow,
    Large,
}

impl Exchange {
    /// A request that is about to leave.
    pub(crate) fn new(client: usize, server: usize, target: String, body: Option<Bytes>, due: Instant) -> Self {
        Self {
            client,
            sender: None,
            attempt: None,
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

    /// Whether it can be forgotten.
    pub(crate) fn is_over(&self) -> bool {
        let is_known = self.client_learns.is_none() && self.server_learns.is_none();
        self.stage == Stage::Done && self.answer == Answer::Idle && is_known
    }

    /// Whether its answer is not written to its end.
    pub(crate) fn is_stuck(&self) -> bool {
        matches!(self.answer, Answer::Writing(parts) if parts.left > 0)
    }

    /// The connection is gone, and the answer with it. A server does not hear of that when it has seen that all was written.
    pub(crate) fn lose_answer(&mut self) {
        self.stage = Stage::Done;
        if self.carries && self.answer == Answer::Idle {
            self.server_learns = None;
        }
    }

    /// Whether a session has it and owes an answer.
    pub(crate) fn is_open_at(&self, slot: usize) -> bool {
        let is_open = matches!(self.stage, Stage::Body | Stage::Held);
        is_open && self.at_server.is_some_and(|(_, own)| own == slot)
    }

    /// Whether its body is on its way and will come to its end.
    pub(crate) fn is_receiving(&self) -> bool {
        self.stage == Stage::Body && self.spoilt != Some(Spoilt::Slow)
    }
}

/// A channel, from the moment when a client asks for it until both sides have heard of its end.
#[derive(Clone, Debug)]
pub(crate) struct Channel {
    /// The client that it concerns.
    pub(crate) client: usize,
    /// The attempt of the client that opened it; nobody, if a stranger did.
    pub(crate) opener: Option<(usize, ChannelId)>,
    pub(crate) target: String,
    pub(crate) server: usize,
    pub(crate) at_server: Option<(ChannelId, usize)>,
    pub(crate) opening: Opening,
    /// When a session heard of it.
    pub(crate) heard_at: Option<Instant>,
    /// The client has not closed its end, and was not told that the other one was.
    pub(crate) client_open: bool,
    pub(crate) server_open: bool,
    pub(crate) up: Pipe,
    pub(crate) down: Pipe,
    /// The connection is torn: what is written to it goes nowhere.
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

/// How far the opening of a channel is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Opening {
    /// The server will hear of it.
    Asked(Instant),
    /// The client will hear that it is open.
    Accepted(Instant),
    /// The client will hear that it is not.
    Refused(Instant, Option<Details>),
    Open,
}

/// One direction of a channel.
#[derive(Clone, Debug)]
pub(crate) struct Pipe {
    /// Frames that were pulled and that the network did not take.
    pub(crate) held: VecDeque<Held>,
    /// What the network took and what has not arrived.
    pub(crate) pieces: VecDeque<(Instant, Piece)>,
    /// So much of the network's room is taken by what goes nowhere.
    pub(crate) sunk: usize,
    /// The writer has frames to pull; when that is done at the latest.
    pub(crate) ready: Option<Instant>,
    /// The writer wrote until the network took no more.
    pub(crate) blocked: bool,
    /// The writer closes the channel behind what it holds.
    pub(crate) closing: bool,
    /// The message of the session up to which the writer knows that all is written, if it did not report it.
    pub(crate) written: Option<u64>,
    /// When it reports it.
    pub(crate) report: Option<Instant>,
    /// The network lets frames arrive so many microseconds apart.
    pub(crate) pace: u64,
    /// Before that, it lets none arrive.
    pub(crate) next_at: Instant,
    /// The reader reads.
    pub(crate) reads: bool,
    /// Frames were written to it.
    pub(crate) used: bool,
}

/// A frame that was pulled.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    pub(crate) frame: Frame,
    /// So many messages of the session were pulled with it.
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
    /// What is on its way is lost, but for the first pieces. The network does not take more for that.
    pub(crate) fn sink(&mut self, arrives: usize) {
        let before = self.pieces.len();
        self.pieces.truncate(arrives);
        self.sunk += before - self.pieces.len();
    }

    /// The same, and what is held is lost too.
    pub(crate) fn cut(&mut self, arrives: usize) {
        self.sink(arrives);
        self.held.clear();
        self.closing = false;
    }

    /// The end comes behind what is on its way, at this time or later.
    pub(crate) fn end(&mut self, at: Instant, end: ChannelEnd) {
        let at = self.pieces.back().map_or(at, |&(last, _)| last.max(at));
        self.pieces.push_back((at, Piece::End(end)));
    }

    /// The next piece arrives.
    pub(crate) fn next(&mut self, now: Instant) -> Option<Piece> {
        let (_, piece) = self.pieces.pop_front()?;
        self.next_at = now + Duration::from_micros(self.pace);
        Some(piece)
    }

    /// Whether the network takes another frame.
    pub(crate) fn has_room(&self, window: usize) -> bool {
        self.pieces.len() + self.sunk < window.max(1)
    }

    /// Whether the writer has something to write.
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

    /// Whether somebody is there to read what is written.
    pub(crate) fn has_reader(&self, way: Way) -> bool {
        let is_open = match way {
            Way::Up => self.server_open || matches!(self.opening, Opening::Asked(_)),
            Way::Down => self.client_open,
        };
        is_open && !self.torn
    }

    /// Whether this attempt of a client opened it.
    pub(crate) fn is_of(&self, attempt: usize) -> bool {
        self.opener.is_some_and(|(owner, _)| owner == attempt)
    }

    /// Whether it can be forgotten.
    pub(crate) fn is_over(&self) -> bool {
        let is_waiting =
            matches!(self.opening, Opening::Asked(_)) || (self.opener.is_some() && self.opening != Opening::Open);
        !self.client_open && !self.server_open && !is_waiting && self.up.pieces.is_empty()
    }
}

/// A frame as it arrives: in one piece.
pub(crate) fn received(frame: Frame) -> Frame {
    match frame {
        Frame::Text { head, data } => Frame::received(format!("{head}{}", data.as_str()).into()),
        binary @ Frame::Binary(_) => binary,
    }
}

/// The bytes of a frame.
pub(crate) fn bytes_of(frame: &Frame) -> Bytes {
    match frame {
        Frame::Text { head: "", data } => data.as_bytes().clone(),
        Frame::Text { head, data } => format!("{head}{}", data.as_str()).into(),
        Frame::Binary(bytes) => bytes.clone(),
    }
}
