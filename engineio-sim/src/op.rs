//! Everything that can happen in a world, as data.
//!
//! Operations name their subject by its role ("the POST of client 1"), not by a number that depends on earlier
//! operations. So a list of operations keeps its meaning when some are left out. An operation that has no meaning at
//! its turn does nothing.

use std::fmt;

use crate::{Deed, Load, Start};

/// An operation: something that happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// Time passes, in microseconds. Everything that is due meanwhile happens.
    Wait(u64),
    /// Time passes until something happens.
    Next,
    /// A client without a session starts one with a server.
    Connect {
        /// The client.
        client: usize,
        /// The server.
        server: usize,
        /// How the client starts.
        start: Start,
    },
    /// Data in transit arrives now.
    Arrive(Line),

    /// An application sends a message of `size` bytes, or a few more. Messages differ, unless they are empty.
    Send {
        /// The side of the application.
        side: Side,
        /// The length of the message.
        size: usize,
        /// Whether it is binary.
        binary: bool,
    },
    /// An application sends several messages together.
    SendTogether {
        /// The side of the application.
        side: Side,
        /// The number of messages.
        count: usize,
    },
    /// An application sends until no more messages are accepted, and waits for room.
    Flood(Side),
    /// An application takes one message.
    Take(Side),
    /// An application starts or stops reading what arrives.
    Read(Side, bool),
    /// An application discards what arrives from now on.
    Discard(Side),
    /// An application waits until all but this many of its messages are written.
    Await(Side, u64),
    /// An application asks whether a message would be accepted, and waits for room if not.
    Ready(Side),
    /// An application closes its session in order.
    Close(Side),
    /// An application closes its session at once.
    Abort(Side),
    /// An application gets an impulse; see [`Application::on_impulse`](crate::Application::on_impulse).
    Impulse(Node, u32),

    /// An embedder now reports something that is written: of the items that it has not reported, oldest first, the one
    /// with this index.
    Report(Side, usize),

    /// A client of another project does something. Such clients are numbered from [`Op::FIRST_FOREIGN`].
    Foreign(usize, Deed),

    /// Something forges what arrives at a client: it adds packets to the answer to its GET, or to its channel; makes the
    /// answer to its POST an error; or answers a GET that has not arrived.
    Forge(Line, Load),

    /// A connection breaks. Data in transit is lost. The client learns of it after some microseconds; the server too,
    /// or never.
    Tear {
        /// The connection; for a channel, either direction means both.
        line: Line,
        /// When the client learns of it, in microseconds.
        client: u64,
        /// When the server learns of it, in microseconds.
        server: Option<u64>,
    },
    /// A connection is reset while data is being written. On a channel, some frames in transit arrive in each
    /// direction; the rest is lost, and so is what was pulled and not written.
    Reset {
        /// The connection; for a channel, either direction means both.
        line: Line,
        /// The number of frames that arrive.
        arrives: usize,
        /// When the client learns of it, in microseconds.
        client: u64,
        /// When the server learns of it, in microseconds.
        server: Option<u64>,
    },
    /// A server learns that a connection broke before the server knew that an answer to this client was completely
    /// written: of the answers that it has not reported, oldest first, the one with this index. The answer may have
    /// arrived.
    Lose(usize, usize),
    /// From now on data leaves in parts, as over a slow link: the answer to a GET or the body of a POST in a few parts,
    /// and the frames of a channel one by one, with this many microseconds between them.
    Throttle(Line, u64),
    /// An embedder reports what it has written with a delay, in microseconds.
    Withhold(Side, u64),
    /// Data in transit takes some microseconds more, as through a proxy that buffers.
    Delay(Line, u64),
    /// A proxy repeats a request that it takes for lost.
    Repeat(Line),
    /// The end of the body of a POST never comes.
    SlowBody(usize),
    /// The body of a POST is larger than the server accepts.
    LargeBody(usize),
    /// A proxy refuses the channel that a client opens.
    Refuse(usize),
    /// Nothing reaches or leaves a client any more, and neither side is told.
    Silence(usize),
    /// Data reaches and leaves the client again.
    Restore(usize),
    /// A stranger who knows the session id of a client uses it.
    Intrude(usize, Intrusion),

    /// A client sleeps for some microseconds: it does nothing, while time passes.
    Suspend(usize, u64),
    /// The timers of a machine are late, by some microseconds.
    Late(Node, u64),
    /// A host stands still for some microseconds, or a little longer: its machine, its embedder and its applications do
    /// nothing, and what arrives waits. Then all its timers are late, and go off before anything is read.
    Stand(Node, u64),
    /// A machine gets redundant calls.
    Spurious(Node),
    /// At its next call, the clock of a machine has gone back by some microseconds.
    Backwards(Node, u64),

    /// A server aborts all its sessions.
    Shutdown(usize),
    /// A server is killed and restarts, without sessions.
    Crash(usize),
}

/// An expression, for use where `Op::*`, `Line::*`, `Side::*`, `Start::*`, `Intrusion` and `Node` are in scope.
impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Two of the names are taken.
        match self {
            Self::Intrude(client, what) => write!(f, "Intrude({client}, Intrusion::{what:?})"),
            Self::Foreign(client, deed) => write_foreign(f, *client, deed),
            Self::Forge(line, load) => write!(f, "Forge({line:?}, Load::{load:?})"),
            Self::Impulse(node, value) => write!(f, "Impulse(Node::{node:?}, {value})"),
            Self::Late(node, micros) => write!(f, "Late(Node::{node:?}, {micros})"),
            Self::Stand(node, micros) => write!(f, "Stand(Node::{node:?}, {micros})"),
            Self::Spurious(node) => write!(f, "Spurious(Node::{node:?})"),
            Self::Backwards(node, micros) => write!(f, "Backwards(Node::{node:?}, {micros})"),
            op => write!(f, "{op:?}"),
        }
    }
}

fn write_foreign(f: &mut fmt::Formatter<'_>, client: usize, deed: &Deed) -> fmt::Result {
    match deed {
        Deed::Open(habit) => write!(f, "Foreign({client}, Deed::Open(Habit::{habit:?}))"),
        Deed::OpenChannel { habit, base64 } => {
            write!(f, "Foreign({client}, Deed::OpenChannel {{ habit: Habit::{habit:?}, base64: {base64} }})")
        }
        Deed::Post(load) => write!(f, "Foreign({client}, Deed::Post(Load::{load:?}))"),
        Deed::PostSlowly(load) => write!(f, "Foreign({client}, Deed::PostSlowly(Load::{load:?}))"),
        Deed::Frame(load) => write!(f, "Foreign({client}, Deed::Frame(Load::{load:?}))"),
        Deed::Knock(knock) => write!(f, "Foreign({client}, Deed::Knock(Knock::{knock:?}))"),
        deed => write!(f, "Foreign({client}, Deed::{deed:?})"),
    }
}

impl Op {
    /// The number of the first foreign client. Its session at the server is `Side::Server(FIRST_FOREIGN)`.
    pub const FIRST_FOREIGN: usize = 1000;

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
            Self::Foreign(index, deed) => Self::Foreign(client(index), deed),
            Self::Forge(on, load) => Self::Forge(line(on), load),
            Self::Ready(of) => Self::Ready(side(of)),
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
            Self::Stand(of, micros) => Self::Stand(node(of), micros),
            Self::Spurious(of) => Self::Spurious(node(of)),
            Self::Backwards(of, micros) => Self::Backwards(node(of), micros),
            Self::Shutdown(index) => Self::Shutdown(server(index)),
            Self::Crash(index) => Self::Crash(server(index)),
        }
    }
}

/// One side of a session, named by the client that has it or had it last.
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

/// An action of a stranger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Intrusion {
    /// Sends a GET.
    Get,
    /// Sends a POST with an unsolicited pong.
    Post,
    /// Sends a POST with an invalid payload.
    Junk,
    /// Sends a GET for a WebSocket without an upgrade, as behind a proxy that removes it.
    PlainUpgrade,
    /// Opens a channel and is silent.
    Channel,
    /// Opens a channel and probes.
    Probe,
    /// Opens a channel and closes it.
    Leave,
    /// Opens a channel, probes, and closes it.
    ProbeAndLeave,
    /// Opens a channel and sends something other than a probe.
    Babble,
    /// Opens a channel and probes twice.
    ProbeTwice,
    /// Opens a channel and takes the session over, without a probe.
    Hijack,
    /// Does the same while the body of a POST is in transit, and sends a message after it.
    Overtake,
}

impl Intrusion {
    /// All actions.
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
