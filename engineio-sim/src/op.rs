//! Everything that can happen in a world, as data.
//!
//! Operations name what they mean by the part it plays ("the POST of client 1"), not by a number that other operations
//! have used up, so that a list of them keeps its meaning when some are taken out. One that has no meaning at its turn
//! does nothing.

use std::fmt;

use crate::Start;

/// One thing that happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// Time passes, in microseconds. Whatever is due meanwhile happens.
    Wait(u64),
    /// Time passes until something happens.
    Next,
    /// A client without a session begins one with a server.
    Connect {
        /// The client.
        client: usize,
        /// The server.
        server: usize,
        /// How it begins.
        start: Start,
    },
    /// What is on its way arrives now.
    Arrive(Line),

    /// An application sends a message of so many bytes, or of a few more. Messages differ, unless they are empty.
    Send {
        /// Whose application.
        side: Side,
        /// How long the message is.
        size: usize,
        /// It is bytes, not text.
        binary: bool,
    },
    /// An application sends several messages that stay together.
    SendTogether {
        /// Whose application.
        side: Side,
        /// How many messages.
        count: usize,
    },
    /// An application sends until nothing more is taken, and waits for room.
    Flood(Side),
    /// An application takes one message.
    Take(Side),
    /// An application reads what arrives, or does not any more.
    Read(Side, bool),
    /// An application does not want what arrives any more.
    Discard(Side),
    /// An application waits until all but so many of the messages that it sent are written.
    Await(Side, u64),
    /// An application closes its session in order.
    Close(Side),
    /// An application closes its session at once.
    Abort(Side),
    /// Something of an application's own happens, see [`Application::on_impulse`](crate::Application::on_impulse).
    Impulse(Node, u32),

    /// An embedder reports now something that it has written: of what it did not report, oldest first, the one with this
    /// number.
    Report(Side, usize),

    /// A connection is torn. What is on its way is lost; the client learns of it after so many microseconds, the
    /// server too, or never.
    Tear {
        /// Which one; of a channel either direction means both.
        line: Line,
        /// When the client learns of it.
        client: u64,
        /// When the server does.
        server: Option<u64>,
    },
    /// A connection is reset while something is being written. Of what is on its way on a channel, so many frames of each
    /// direction arrive; the rest is lost, and so is what was pulled and not written.
    Reset {
        /// Which one; of a channel either direction means both.
        line: Line,
        /// How many frames arrive.
        arrives: usize,
        /// When the client learns of it.
        client: u64,
        /// When the server does.
        server: Option<u64>,
    },
    /// A server hears that a connection broke before it saw that an answer to this client was written to its end: of the
    /// answers that it did not report, oldest first, the one with this number. It may have arrived.
    Lose(usize, usize),
    /// From now on something leaves in parts, as over a slow link: the answer to a GET, or the body of a POST, in a few
    /// parts that are so many microseconds apart; of a channel the frames, so many microseconds apart.
    Throttle(Line, u64),
    /// An embedder reports what it has written so many microseconds late.
    Withhold(Side, u64),
    /// What is on its way takes so many microseconds more, as through a proxy that buffers.
    Delay(Line, u64),
    /// A request is repeated by a proxy that thinks it was lost.
    Repeat(Line),
    /// The end of the body of a POST never comes.
    SlowBody(usize),
    /// The body of a POST is larger than the server takes.
    LargeBody(usize),
    /// A proxy refuses the channel that a client opens.
    Refuse(usize),
    /// Nothing reaches or leaves a client any more, and nobody is told.
    Silence(usize),
    /// It does again.
    Restore(usize),
    /// A stranger who knows the session id of a client does something with it.
    Intrude(usize, Intrusion),

    /// A client sleeps for so many microseconds: it does nothing, and time passes for it all the same.
    Suspend(usize, u64),
    /// The timers of a machine come late, by so many microseconds.
    Late(Node, u64),
    /// A machine is called without need.
    Spurious(Node),
    /// At the next call the clock of a machine is back by so many microseconds.
    Backwards(Node, u64),

    /// A server aborts all its sessions.
    Shutdown(usize),
    /// A server is killed and begins anew, with no sessions.
    Crash(usize),
}

/// As an expression where `Op::*`, `Line::*`, `Side::*`, `Start::*`, `Intrusion` and `Node` are in scope.
impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Two of the names are taken.
        match self {
            Self::Intrude(client, what) => write!(f, "Intrude({client}, Intrusion::{what:?})"),
            Self::Impulse(node, value) => write!(f, "Impulse(Node::{node:?}, {value})"),
            Self::Late(node, micros) => write!(f, "Late(Node::{node:?}, {micros})"),
            Self::Spurious(node) => write!(f, "Spurious(Node::{node:?})"),
            Self::Backwards(node, micros) => write!(f, "Backwards(Node::{node:?}, {micros})"),
            op => write!(f, "{op:?}"),
        }
    }
}

impl Op {
    /// The same for other clients and servers.
    pub(crate) fn renumbered(self, client: impl Fn(usize) -> usize, server: impl Fn(usize) -> usize) -> Self {
        let side = |side| match side {
            Side::Client(index) => Side::Client(client(index)),
            Side::Server(index) => Side::Server(client(index)),
        };
        let line = |line| match line {
            Line::Get(index) => Line::Get(client(index)),
            Line::Post(index) => Line::Post(client(index)),
            Line::Up(index) => Line::Up(client(index)),
            Line::Down(index) => Line::Down(client(index)),
        };
        let node = |node| match node {
            Node::Client(index) => Node::Client(client(index)),
            Node::Server(index) => Node::Server(server(index)),
        };
        match self {
            Self::Wait(_) | Self::Next => self,
            Self::Connect { client: index, server: other, start } => {
                Self::Connect { client: client(index), server: server(other), start }
            }
            Self::Arrive(on) => Self::Arrive(line(on)),
            Self::Send { side: of, size, binary } => Self::Send { side: side(of), size, binary },
            Self::SendTogether { side: of, count } => Self::SendTogether { side: side(of), count },
            Self::Flood(of) => Self::Flood(side(of)),
            Self::Take(of) => Self::Take(side(of)),
            Self::Read(of, reads) => Self::Read(side(of), reads),
            Self::Discard(of) => Self::Discard(side(of)),
            Self::Await(of, behind) => Self::Await(side(of), behind),
            Self::Report(of, which) => Self::Report(side(of), which),
            Self::Reset { line: on, arrives, client, server } => {
                Self::Reset { line: line(on), arrives, client, server }
            }
            Self::Lose(index, which) => Self::Lose(client(index), which),
            Self::Throttle(on, micros) => Self::Throttle(line(on), micros),
            Self::Withhold(of, micros) => Self::Withhold(side(of), micros),
            Self::Close(of) => Self::Close(side(of)),
            Self::Abort(of) => Self::Abort(side(of)),
            Self::Impulse(of, value) => Self::Impulse(node(of), value),
            Self::Tear { line: on, client, server } => Self::Tear { line: line(on), client, server },
            Self::Delay(on, micros) => Self::Delay(line(on), micros),
            Self::Repeat(on) => Self::Repeat(line(on)),
            Self::SlowBody(index) => Self::SlowBody(client(index)),
            Self::LargeBody(index) => Self::LargeBody(client(index)),
            Self::Refuse(index) => Self::Refuse(client(index)),
            Self::Silence(index) => Self::Silence(client(index)),
            Self::Restore(index) => Self::Restore(client(index)),
            Self::Intrude(index, what) => Self::Intrude(client(index), what),
            Self::Suspend(index, micros) => Self::Suspend(client(index), micros),
            Self::Late(of, micros) => Self::Late(node(of), micros),
            Self::Spurious(of) => Self::Spurious(node(of)),
            Self::Backwards(of, micros) => Self::Backwards(node(of), micros),
            Self::Shutdown(index) => Self::Shutdown(server(index)),
            Self::Crash(index) => Self::Crash(server(index)),
        }
    }
}

/// One side of a session, by the client that has it or had it last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    /// The client itself.
    Client(usize),
    /// Its session at the server.
    Server(usize),
}

impl Side {
    /// The client.
    pub const fn client(self) -> usize {
        match self {
            Self::Client(client) | Self::Server(client) => client,
        }
    }
}

/// A machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Node {
    /// A client.
    Client(usize),
    /// A server.
    Server(usize),
}

/// A connection of a client that can carry something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Line {
    /// Its GET: the request, or the answer.
    Get(usize),
    /// Its POST: head, body, or answer.
    Post(usize),
    /// Its channel, from the client to the server.
    Up(usize),
    /// Its channel, from the server to the client.
    Down(usize),
}

impl Line {
    /// The client.
    pub const fn client(self) -> usize {
        match self {
            Self::Get(client) | Self::Post(client) | Self::Up(client) | Self::Down(client) => client,
        }
    }
}

/// What a stranger does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Intrusion {
    /// Sends a GET.
    Get,
    /// Sends a POST with a pong, which nobody asked for.
    Post,
    /// Sends a POST that is no payload.
    Junk,
    /// Sends a GET for a WebSocket without asking for an upgrade, as behind a proxy that knows none.
    PlainUpgrade,
    /// Opens a channel and says nothing.
    Channel,
    /// Opens a channel and probes.
    Probe,
    /// Opens a channel and leaves again.
    Leave,
    /// Opens a channel, probes, and leaves again.
    ProbeAndLeave,
    /// Opens a channel and says what is no probe.
    Babble,
    /// Opens a channel and probes twice.
    ProbeTwice,
    /// Opens a channel and takes the session over, without a probe.
    Hijack,
    /// Does the same while the body of a POST is on its way, and sends a message behind it.
    Overtake,
}

impl Intrusion {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::Get,
        Self::Post,
        Self::Junk,
        Self::PlainUpgrade,
        Self::Channel,
        Self::Probe,
        Self::Leave,
        Self::ProbeAndLeave,
        Self::Babble,
        Self::ProbeTwice,
        Self::Hijack,
        Self::Overtake,
    ];
}
