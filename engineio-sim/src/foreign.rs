//! What clients of other projects do, as data.
//!
//! A foreign client is not a machine of this project. It has a few habits, and does otherwise what an operation says, at
//! any time: also what no correct client does. The oracle knows what the server must make of it.

use std::sync::LazyLock;

use crate::encoder::Base64;

/// How a foreign client behaves between operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Habit {
    /// As engine.io-client: it polls, answers pings at once, pauses after `3probe`, and then sends `5`.
    JavaScript,
    /// As engine.io-client-java: the same, with line ends in base64, and a `5` without a pause.
    Java,
    /// It polls, and never answers a ping.
    Mute,
    /// It answers pings, and polls only when an operation says so.
    Idle,
    /// It does nothing by itself.
    Dead,
}

impl Habit {
    /// All habits.
    pub const ALL: [Self; 5] = [Self::JavaScript, Self::Java, Self::Mute, Self::Idle, Self::Dead];

    pub(crate) const fn polls(self) -> bool {
        matches!(self, Self::JavaScript | Self::Java | Self::Mute)
    }

    pub(crate) const fn answers(self) -> bool {
        matches!(self, Self::JavaScript | Self::Java | Self::Idle)
    }

    pub(crate) const fn upgrades(self) -> bool {
        matches!(self, Self::JavaScript | Self::Java | Self::Mute)
    }

    /// Whether it waits for its requests before it sends `5`.
    pub(crate) const fn pauses(self) -> bool {
        matches!(self, Self::JavaScript | Self::Mute)
    }
}

/// What a foreign client does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Deed {
    /// Opens a session by polling. An earlier one is left to itself.
    Open(Habit),
    /// Opens a session on a channel. `base64`: it takes no binary frames.
    OpenChannel {
        /// What it does from now on.
        habit: Habit,
        /// Whether it takes no binary frames.
        base64: bool,
    },
    /// Sends a GET, whether another one is under way or not.
    Poll,
    /// Sends a GET whose answer it reads slowly.
    PollSlowly,
    /// Sends a POST, whether another one is under way or not.
    Post(Load),
    /// Sends a POST whose body leaves slowly.
    PostSlowly(Load),
    /// Sends a POST with the content type of revision 3.
    PostBinary,
    /// Opens another channel for its session.
    Channel {
        /// Whether it takes no binary frames on it.
        base64: bool,
    },
    /// Sends something on its channel.
    Frame(Load),
    /// Closes its channel, or loses it.
    Leave {
        /// Whether it sends a close frame.
        closes: bool,
    },
    /// Gives up its GET.
    DropPoll,
    /// Gives up its POST.
    DropPost,
    /// Sends a request that the server must reject.
    Knock(Knock),
}

impl Deed {
    /// Everything that a foreign client may do, each with its weight.
    pub(crate) fn all() -> &'static [(Self, u64)] {
        static ALL: LazyLock<Vec<(Deed, u64)>> = LazyLock::new(|| {
            let mut all = vec![
                (Deed::Poll, 20),
                (Deed::PollSlowly, 4),
                (Deed::PostBinary, 1),
                (Deed::Channel { base64: false }, 10),
                (Deed::Channel { base64: true }, 3),
                (Deed::Leave { closes: true }, 2),
                (Deed::Leave { closes: false }, 2),
                (Deed::DropPoll, 1),
                (Deed::DropPost, 1),
            ];
            for habit in Habit::ALL {
                all.push((Deed::Open(habit), 8));
                all.push((Deed::OpenChannel { habit, base64: false }, 3));
                all.push((Deed::OpenChannel { habit, base64: true }, 1));
            }
            for load in Load::ALL {
                all.push((Deed::Post(load), load.weight()));
                all.push((Deed::PostSlowly(load), load.weight().div_ceil(4)));
                all.push((Deed::Frame(load), load.weight()));
            }
            all.extend(Knock::ALL.map(|knock| (Deed::Knock(knock), 1)));
            all
        });
        &ALL
    }
}

/// What a foreign client sends in a body or a frame. A frame takes the first packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Load {
    /// A message of text.
    Text,
    /// A binary message, in plain base64 where it needs it.
    Binary,
    /// A binary message in lines of base64.
    Lines,
    /// A binary message in base64 for URLs.
    Url,
    /// A binary message in base64 without padding.
    Bare,
    /// Text, binary data, and text.
    Several,
    /// As many messages of one byte as engine.io-client takes for one body: in base64, they exceed the limit.
    Batch,
    /// One message more than that.
    Overfull,
    /// Far more than that.
    Large,
    /// Many messages, beyond any buffer.
    Many,
    /// A pong.
    Pong,
    /// A pong behind a message.
    LatePong,
    /// A noop.
    Noop,
    /// Only noops, as many as fit.
    Noops,
    /// `2probe`.
    Probe,
    /// `3probe`, which only servers send.
    ProbeAnswer,
    /// `2prob`, which is no probe.
    OddProbe,
    /// `5`.
    Upgrade,
    /// A close packet.
    Close,
    /// A close packet between two messages.
    BehindClose,
    /// A ping, which only servers send.
    Ping,
    /// An open packet, which only servers send.
    Open,
    /// Nothing at all.
    Empty,
    /// No packet.
    Junk,
    /// A message, and then no packet.
    JunkBehind,
}

impl Load {
    /// All of them.
    pub const ALL: [Self; 25] = {
        use Load::*;
        [
            Text,
            Binary,
            Lines,
            Url,
            Bare,
            Several,
            Batch,
            Overfull,
            Large,
            Many,
            Pong,
            LatePong,
            Noop,
            Noops,
            Probe,
            OddProbe,
            ProbeAnswer,
            Upgrade,
            Close,
            BehindClose,
            Ping,
            Open,
            Empty,
            Junk,
            JunkBehind,
        ]
    };

    /// How it writes binary data.
    pub(crate) const fn form(self) -> Base64 {
        match self {
            Self::Lines => Base64::Lines,
            Self::Url => Base64::Url,
            Self::Bare => Base64::Bare,
            _ => Base64::Plain,
        }
    }

    /// Makes a body invalid, if it is meant to be.
    pub(crate) fn spoil(self, body: &mut Vec<u8>) {
        match self {
            Self::Junk => *body = b"junk".to_vec(),
            Self::Empty => body.clear(),
            Self::JunkBehind => body.extend_from_slice(b"\x1ejunk"),
            _ => (),
        }
    }

    const fn weight(self) -> u64 {
        match self {
            Self::Text | Self::Binary | Self::Several | Self::Pong => 8,
            Self::Probe | Self::Upgrade => 10,
            Self::Lines | Self::Url | Self::Bare | Self::Batch | Self::Overfull | Self::Many | Self::LatePong => 5,
            Self::Noop | Self::Close | Self::BehindClose => 2,
            _ => 1,
        }
    }
}

/// A request that the server must reject.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Knock {
    /// No query at all.
    Bare,
    /// A transport that does not exist.
    Transport,
    /// A header `Origin` with an illegal character.
    Origin,
    /// A session that does not exist.
    Sid,
    /// The same, by POST.
    PostSid,
    /// The same, on a WebSocket.
    ChannelSid,
    /// A handshake by POST.
    PostHandshake,
    /// A WebSocket without an upgrade.
    NoUpgrade,
    /// Polling with an upgrade.
    Upgrade,
    /// Another revision.
    Revision,
    /// Another revision, on a WebSocket.
    ChannelRevision,
    /// A WebSocket without a key.
    Key,
    /// A WebSocket of another version.
    Version,
    /// A WebSocket in HTTP/1.0.
    OldHttp,
    /// A WebSocket on a connection that its host cannot hand over.
    NoSwitch,
    /// A WebSocket with a body.
    Body,
    /// A WebSocket with the same subprotocol twice.
    Protocols,
    /// Its session, with another revision.
    SessionRevision,
    /// Its session, on the other transport, without an upgrade.
    SessionTransport,
    /// Its session, with a method that no transport has.
    SessionMethod,
    /// Its session, and a WebSocket without a key.
    SessionKey,
}

impl Knock {
    /// All of them.
    pub const ALL: [Self; 21] = {
        use Knock::*;
        [
            Bare,
            Transport,
            Origin,
            Sid,
            PostSid,
            ChannelSid,
            PostHandshake,
            NoUpgrade,
            Upgrade,
            Revision,
            ChannelRevision,
            Key,
            Version,
            OldHttp,
            NoSwitch,
            Body,
            Protocols,
            SessionRevision,
            SessionTransport,
            SessionMethod,
            SessionKey,
        ]
    };
}
