//! The parts of the machines that were reached: transitions, pairs of a state and an input, and situations that are
//! neither.

use std::collections::BTreeMap;
use std::fmt;

use engineio_proto::client;
use engineio_proto::server::{Row, State, TRANSITIONS, Trigger};

/// An input or a call of a session or a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A GET arrives at a session.
    Poll,
    /// The head of a POST arrives.
    PostHead,
    /// The body of a POST arrives.
    PostBody,
    /// The body of a POST is refused.
    NoBody,
    /// The peer of an exchange is gone.
    ExchangeLost,
    /// A request of a client was answered with 200.
    Answered,
    /// A request of a client was answered with an error.
    Refused,
    /// A request of a client got no answer.
    Failed,
    /// A channel is open.
    ChannelOpened,
    /// `2probe`, or its answer.
    Probe,
    /// `5`, which only a session should receive.
    Upgrade,
    /// Another frame.
    Frame,
    /// The channel ended, or could not be opened.
    ChannelClosed,
    /// A timer is due.
    Timeout,
    /// The application sends.
    Send,
    /// The application takes a message.
    Recv,
    /// A frame is pulled.
    Pull,
    /// The application closes in order.
    Close,
    /// The application aborts.
    Abort,
    /// The application discards what arrives.
    Discard,
    /// The application waits until messages are written.
    Await,
    /// An answer, or what was pulled, is reported as written.
    Written,
    /// A connection that was blocked takes bytes again.
    Unblocked,
}

impl Kind {
    /// The inputs and calls of a session.
    pub const SESSION: [Self; 20] = {
        use Kind::*;
        [
            Poll,
            PostHead,
            PostBody,
            NoBody,
            ExchangeLost,
            ChannelOpened,
            Probe,
            Upgrade,
            Frame,
            ChannelClosed,
            Timeout,
            Send,
            Recv,
            Pull,
            Close,
            Abort,
            Discard,
            Await,
            Written,
            Unblocked,
        ]
    };
    /// The inputs and calls of a client.
    pub const CLIENT: [Self; 18] = {
        use Kind::*;
        [
            Answered,
            Refused,
            Failed,
            ChannelOpened,
            Probe,
            Upgrade,
            Frame,
            ChannelClosed,
            Timeout,
            Send,
            Recv,
            Pull,
            Close,
            Abort,
            Discard,
            Await,
            Written,
            Unblocked,
        ]
    };
}

const STATES: [State; 5] = [State::Polling, State::Probing, State::Probed, State::Channel, State::Closed];
const CLIENT_STATES: [client::State; 6] = [
    client::State::Opening,
    client::State::Polling,
    client::State::Probing,
    client::State::Pausing,
    client::State::Channel,
    client::State::Closed,
];
const KINDS: usize = Kind::Unblocked as usize + 1;

/// A situation that takes several calls, or concerns data that a machine has handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Situation {
    /// A poll is answered while an earlier answer is under way.
    SeveralAnswers,
    /// A poll waits because too many answers are under way.
    HeldPoll,
    /// An answer is reported as written before an earlier one is.
    ReportedOutOfOrder,
    /// An answer with messages is lost.
    LostWithMessages,
    /// An answer without messages is lost.
    LostWithoutMessages,
    /// An answer is lost, and a later one was written.
    LostBehindWritten,
    /// The network takes some of the frames that were pulled, and not all.
    WrittenInParts,
    /// The network takes more of an answer after it was blocked.
    AnswerUnblocked,
    /// The network takes more of a client's body after it was blocked.
    UploadUnblocked,
    /// The network takes more frames of a client after it was blocked.
    UpUnblocked,
    /// The network takes more frames of a server after it was blocked.
    DownUnblocked,
    /// A session that was closed in order ends with messages that were not written.
    ClosedWithLoss,
    /// A frame waits for the body of a POST.
    FrameBehindBody,
    /// The body of a POST is late.
    BodyTimeout,
}

impl Situation {
    /// All situations.
    pub const ALL: [Self; 14] = {
        use Situation::*;
        [
            SeveralAnswers,
            HeldPoll,
            ReportedOutOfOrder,
            LostWithMessages,
            LostWithoutMessages,
            LostBehindWritten,
            WrittenInParts,
            AnswerUnblocked,
            UploadUnblocked,
            UpUnblocked,
            DownUnblocked,
            ClosedWithLoss,
            FrameBehindBody,
            BodyTimeout,
        ]
    };
}

/// Pairs of a state and an input that do not occur in worlds of this crate, with the reasons. Peers that violate the
/// protocol can cause most of them; the tests of the core simulate such peers.
pub const UNREACHED: &[(&str, &str)] = &[
    ("session Probing × Pull", "nothing is announced before a probe was heard"),
    ("session Channel × Poll", "the server refuses it: the session is on another transport"),
    ("session Channel × PostHead", "the server refuses it: the session is on another transport"),
    ("session Closed × Poll", "the server refuses it: the id is unknown"),
    ("session Closed × PostHead", "the server refuses it: the id is unknown"),
    ("session Closed × ChannelOpened", "the server refuses it: the id is unknown"),
    ("session Closed × Timeout", "a session that is over has no timer"),
    ("client Opening × Upgrade", "servers do not send it"),
    ("client Opening × Recv", "nothing is announced before the session is open"),
    ("client Opening × Pull", "nothing is announced before the session is open"),
    ("client Opening × Written", "nothing is pulled before the session is open"),
    ("client Opening × Unblocked", "nothing leaves in parts before the session is open"),
    ("client Polling × Upgrade", "servers do not send it"),
    ("client Probing × Upgrade", "servers do not send it"),
    ("client Pausing × ChannelOpened", "the channel is open already"),
    ("client Pausing × Upgrade", "servers do not send it"),
    ("client Pausing × Written", "a report comes before the answer to the probe, and nothing more is pulled"),
    ("client Channel × Answered", "nothing is under way by polling"),
    ("client Channel × Refused", "nothing is under way by polling"),
    ("client Channel × Failed", "nothing is under way by polling"),
    ("client Channel × ChannelOpened", "the channel is open already"),
    ("client Channel × Upgrade", "servers do not send it"),
    ("client Closed × Upgrade", "servers do not send it"),
    ("client Closed × Timeout", "a client that is over has no timer"),
];

/// How often each part of the machines was reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Coverage {
    rows: BTreeMap<Row, u64>,
    client_rows: BTreeMap<client::Row, u64>,
    pairs: [[u64; KINDS]; STATES.len()],
    client_pairs: [[u64; KINDS]; CLIENT_STATES.len()],
    situations: [u64; Situation::ALL.len()],
}

impl Default for Coverage {
    fn default() -> Self {
        Self {
            rows: BTreeMap::new(),
            client_rows: BTreeMap::new(),
            pairs: [[0; KINDS]; STATES.len()],
            client_pairs: [[0; KINDS]; CLIENT_STATES.len()],
            situations: [0; Situation::ALL.len()],
        }
    }
}

impl Coverage {
    /// A session was in one state, something was done, and it is in another.
    pub(crate) fn session(&mut self, before: State, kind: Kind, after: State) {
        self.pairs[before as usize][kind as usize] += 1;
        let trigger = match kind {
            Kind::ChannelOpened => Trigger::ProbeOpened,
            Kind::Probe => Trigger::ProbePinged,
            Kind::Upgrade => Trigger::UpgradeReceived,
            _ => Trigger::ProbeFailed,
        };
        // A second probe changes nothing that could be seen. A session that closes may switch and end in one step.
        let probed_again = trigger == Trigger::ProbePinged && before == State::Probed;
        let leads = |to: &State| *to == after || (trigger == Trigger::UpgradeReceived && after == State::Closed);
        let taken = before.next(trigger).filter(|to| leads(to) && (before != after || probed_again));
        if let Some(to) = taken {
            *self.rows.entry(Row(before, trigger, to)).or_default() += 1;
        }
        let at = taken.unwrap_or(before);
        if at != after {
            *self.rows.entry(Row(at, Trigger::Ended, after)).or_default() += 1;
        }
    }

    /// The same of a client.
    pub(crate) fn client(&mut self, before: client::State, kind: Kind, after: client::State, retried: bool) {
        self.client_pairs[before as usize][kind as usize] += 1;
        if retried {
            *self.client_rows.entry(client::Row(before, client::Trigger::Retried, before)).or_default() += 1;
        }
        self.client_walk(before, after, 3);
    }

    /// The way between two states. There is only one short way between any two in the table of a client.
    fn client_walk(&mut self, before: client::State, after: client::State, depth: usize) -> bool {
        if before == after {
            return true;
        }
        let direct = client::TRANSITIONS.iter().find(|row| row.0 == before && row.2 == after);
        if let Some(&row) = direct {
            *self.client_rows.entry(row).or_default() += 1;
            return true;
        }
        depth > 0
            && client::TRANSITIONS.iter().filter(|row| row.0 == before && row.2 != before).any(|&row| {
                let found = self.client_walk(row.2, after, depth - 1);
                if found {
                    *self.client_rows.entry(row).or_default() += 1;
                }
                found
            })
    }

    pub(crate) fn situation(&mut self, situation: Situation) {
        self.situations[situation as usize] += 1;
    }

    pub(crate) fn situation_if(&mut self, situation: Situation, occurs: bool) {
        self.situations[situation as usize] += u64::from(occurs);
    }

    /// Adds the coverage of another world.
    pub fn merge(&mut self, other: &Self) {
        for (&row, count) in &other.rows {
            *self.rows.entry(row).or_default() += count;
        }
        for (&row, count) in &other.client_rows {
            *self.client_rows.entry(row).or_default() += count;
        }
        let pairs = self.pairs.iter_mut().chain(&mut self.client_pairs).flatten();
        for (count, more) in pairs.zip(other.pairs.iter().chain(&other.client_pairs).flatten()) {
            *count += more;
        }
        for (count, more) in self.situations.iter_mut().zip(other.situations) {
            *count += more;
        }
    }

    /// Returns whether a situation occurred.
    pub fn reached(&self, situation: Situation) -> bool {
        self.situations[situation as usize] > 0
    }

    /// Returns the situations that did not occur.
    pub fn missing_situations(&self) -> Vec<String> {
        let missing = Situation::ALL.iter().filter(|&&situation| !self.reached(situation));
        missing.map(|situation| format!("{situation:?}")).collect()
    }

    /// Returns the transitions of both tables that were not taken.
    pub fn missing_rows(&self) -> Vec<String> {
        let missing =
            TRANSITIONS.iter().filter(|row| !self.rows.contains_key(row)).map(|row| format!("session {row:?}"));
        let client = client::TRANSITIONS.iter().filter(|row| !self.client_rows.contains_key(row));
        missing.chain(client.map(|row| format!("client {row:?}"))).collect()
    }

    /// Returns the pairs of a state and an input that did not occur.
    pub fn missing_pairs(&self) -> Vec<String> {
        let session = STATES.iter().flat_map(|&state| Kind::SESSION.map(|kind| (state, kind)));
        let session = session.filter(|&(state, kind)| self.pairs[state as usize][kind as usize] == 0);
        let client = CLIENT_STATES.iter().flat_map(|&state| Kind::CLIENT.map(|kind| (state, kind)));
        let client = client.filter(|&(state, kind)| self.client_pairs[state as usize][kind as usize] == 0);
        session
            .map(|(state, kind)| format!("session {state:?} × {kind:?}"))
            .chain(client.map(|(state, kind)| format!("client {state:?} × {kind:?}")))
            .collect()
    }
}

/// The whole coverage, as tables.
impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "transitions of a session")?;
        for row in TRANSITIONS {
            writeln!(f, "{:>14}  {row:?}", self.rows.get(row).copied().unwrap_or_default())?;
        }
        writeln!(f, "transitions of a client")?;
        for row in client::TRANSITIONS {
            writeln!(f, "{:>14}  {row:?}", self.client_rows.get(row).copied().unwrap_or_default())?;
        }
        write!(f, "{:<14}", "session")?;
        STATES.iter().try_for_each(|state| write!(f, "{:>13}", format!("{state:?}")))?;
        for kind in Kind::SESSION {
            write!(f, "\n{:<14}", format!("{kind:?}"))?;
            self.pairs.iter().try_for_each(|counts| write!(f, "{:>13}", counts[kind as usize]))?;
        }
        write!(f, "\n{:<14}", "client")?;
        CLIENT_STATES.iter().try_for_each(|state| write!(f, "{:>13}", format!("{state:?}")))?;
        for kind in Kind::CLIENT {
            write!(f, "\n{:<14}", format!("{kind:?}"))?;
            self.client_pairs.iter().try_for_each(|counts| write!(f, "{:>13}", counts[kind as usize]))?;
        }
        writeln!(f, "\nsituations")?;
        Situation::ALL
            .iter()
            .try_for_each(|&situation| writeln!(f, "{:>14}  {situation:?}", self.situations[situation as usize]))
    }
}
