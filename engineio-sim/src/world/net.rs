//! What is on its way.
//!
//! Every request and every answer travels on its own and may overtake any other; the frames of a channel keep their
//! order in each direction. Everything takes the same time, unless an operation lets it arrive earlier or later.

use std::collections::VecDeque;

use bytes::Bytes;
use engineio_proto::client::Details;
use engineio_proto::wire::Frame;
use engineio_proto::{ChannelEnd, ChannelId, ExchangeId, Instant};

/// A request by HTTP, from the moment when a client asks for it until nobody waits for anything.
#[derive(Clone, Debug)]
pub(crate) struct Exchange {
    /// The client that it concerns.
    pub(crate) client: usize,
    /// The life of the client that sent it; nobody, if a proxy or a stranger did.
    pub(crate) sender: Option<(usize, ExchangeId)>,
    /// The life whose session it opens, if it opens one.
    pub(crate) life: Option<usize>,
    pub(crate) target: String,
    /// The body of a POST.
    pub(crate) body: Option<Bytes>,
    pub(crate) server: usize,
    /// Its number at the server, and the session that it was given to.
    pub(crate) at_server: Option<(ExchangeId, usize)>,
    pub(crate) stage: Stage,
    /// When the stage comes to its end by itself.
    pub(crate) due: Instant,
    /// When the client learns that the connection is lost.
    pub(crate) client_learns: Option<Instant>,
    /// When the server does.
    pub(crate) server_learns: Option<Instant>,
    /// The client does not wait for it any more.
    pub(crate) dropped: bool,
    pub(crate) spoilt: Option<Spoilt>,
    /// The answer has what must not be lost.
    pub(crate) carries: bool,
    /// The answer was written; when the server hears of it.
    pub(crate) report: Option<Instant>,
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
    /// The answer is on its way.
    Answered { status: u16, body: Bytes },
    /// There is nothing more to come.
    Done,
}

/// What is wrong with a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spoilt {
    Slow,
    Large,
}

impl Exchange {
    /// Whether it can be forgotten.
    pub(crate) fn is_over(&self) -> bool {
        let learns = [self.client_learns, self.server_learns, self.report];
        self.stage == Stage::Done && learns.iter().all(Option::is_none)
    }
}

/// A channel, from the moment when a client asks for it until both sides have heard of its end.
#[derive(Clone, Debug)]
pub(crate) struct Channel {
    /// The client that it concerns.
    pub(crate) client: usize,
    /// The life of the client that opened it; nobody, if a stranger did.
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
    pub(crate) pieces: VecDeque<(Instant, Piece)>,
    /// The writer has frames to pull; when that is done at the latest.
    pub(crate) ready: Option<Instant>,
    /// The reader reads.
    pub(crate) reads: bool,
    /// Frames were written to it.
    pub(crate) used: bool,
}

#[derive(Clone, Debug)]
pub(crate) enum Piece {
    Frame(Frame),
    End(ChannelEnd),
}

impl Default for Pipe {
    fn default() -> Self {
        Self { pieces: VecDeque::new(), ready: None, reads: true, used: false }
    }
}

impl Pipe {
    /// Forgets what is on its way; the end comes.
    pub(crate) fn cut(&mut self, at: Option<Instant>) {
        self.pieces.clear();
        self.pieces.extend(at.map(|at| (at, Piece::End(ChannelEnd::Lost))));
    }

    /// How many frames are on their way.
    pub(crate) fn len(&self) -> usize {
        self.pieces.len()
    }
}

impl Channel {
    /// Whether this life of a client opened it.
    pub(crate) fn is_of(&self, life: usize) -> bool {
        self.opener.is_some_and(|(owner, _)| owner == life)
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
