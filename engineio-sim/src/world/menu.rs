//! The operations that are possible now, and their probabilities.

use super::core::Core;
use crate::Chooser;
use crate::foreign::{Deed, Load};
use crate::op::{Intrusion, Line, Node, Op, Side};
use crate::settings::Start;

/// A kind of operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// Time passes.
    Wait,
    /// Time passes until something happens.
    Next,
    /// A client starts a session.
    Connect,
    /// Something arrives early.
    Arrive,
    /// A message is sent.
    Send,
    /// Several messages are sent together.
    SendTogether,
    /// A buffer is filled.
    Flood,
    /// A message is taken.
    Take,
    /// An application stops or resumes reading.
    Read,
    /// An application discards what arrives.
    Discard,
    /// An application waits until its messages are written.
    Await,
    /// An application asks for room.
    Ready,
    /// An application closes in order.
    Close,
    /// An application aborts.
    Abort,
    /// An application gets an impulse.
    Impulse,
    /// What is written is reported early.
    Report,
    /// A client of another project does something.
    Foreign,
    /// What arrives at a client is forged.
    Forge,
    /// A connection breaks.
    Tear,
    /// A connection is reset while data is being written.
    Reset,
    /// A connection breaks before it is known that an answer was written.
    Lose,
    /// Data leaves slowly.
    Throttle,
    /// What is written is reported late.
    Withhold,
    /// Data is delayed.
    Delay,
    /// A request is repeated.
    Repeat,
    /// A body never ends.
    SlowBody,
    /// A body is too large.
    LargeBody,
    /// A channel is refused.
    Refuse,
    /// A client is cut off, or connected again.
    Silence,
    /// A stranger uses a session.
    Intrude,
    /// A stranger takes a session over while a body is in transit.
    Overtake,
    /// A client sleeps.
    Suspend,
    /// Timers are late.
    Late,
    /// A host stands still.
    Stand,
    /// A machine gets redundant calls.
    Spurious,
    /// A clock goes backwards.
    Backwards,
    /// A server aborts its sessions.
    Shutdown,
    /// A server is killed.
    Crash,
}

impl Class {
    /// All kinds.
    pub const ALL: [Self; 38] = {
        use Class::*;
        [
            Wait,
            Next,
            Connect,
            Arrive,
            Send,
            SendTogether,
            Flood,
            Take,
            Read,
            Discard,
            Await,
            Ready,
            Close,
            Abort,
            Impulse,
            Report,
            Foreign,
            Forge,
            Tear,
            Reset,
            Lose,
            Throttle,
            Withhold,
            Delay,
            Repeat,
            SlowBody,
            LargeBody,
            Refuse,
            Silence,
            Intrude,
            Overtake,
            Suspend,
            Late,
            Stand,
            Spurious,
            Backwards,
            Shutdown,
            Crash,
        ]
    };

    /// The weight of the kind if it occurs.
    const fn weight(self) -> u64 {
        match self {
            Self::Wait => 20,
            Self::Next => 25,
            Self::Connect => 8,
            Self::Arrive => 60,
            Self::Send => 20,
            Self::SendTogether => 3,
            Self::Take | Self::Lose => 4,
            Self::Report => 6,
            Self::Close | Self::Await | Self::Throttle | Self::Overtake => 2,
            Self::Impulse => 20,
            Self::Foreign => 40,
            Self::Flood | Self::Read | Self::Tear | Self::Delay | Self::Intrude | Self::Spurious | Self::Backwards => 2,
            _ => 1,
        }
    }

    /// Returns whether it is a fault of a network, a stranger, or a clock.
    pub const fn is_fault(self) -> bool {
        self as usize >= Self::Forge as usize
    }

    /// Returns the kind of an operation.
    pub const fn of(op: &Op) -> Self {
        match op {
            Op::Wait(_) => Self::Wait,
            Op::Next => Self::Next,
            Op::Connect { .. } => Self::Connect,
            Op::Arrive(_) => Self::Arrive,
            Op::Send { .. } => Self::Send,
            Op::SendTogether { .. } => Self::SendTogether,
            Op::Flood(_) => Self::Flood,
            Op::Take(_) => Self::Take,
            Op::Read(..) => Self::Read,
            Op::Discard(_) => Self::Discard,
            Op::Await(..) => Self::Await,
            Op::Report(..) => Self::Report,
            Op::Foreign(..) => Self::Foreign,
            Op::Forge(..) => Self::Forge,
            Op::Ready(_) => Self::Ready,
            Op::Reset { .. } => Self::Reset,
            Op::Lose(..) => Self::Lose,
            Op::Throttle(..) => Self::Throttle,
            Op::Withhold(..) => Self::Withhold,
            Op::Close(_) => Self::Close,
            Op::Abort(_) => Self::Abort,
            Op::Impulse(..) => Self::Impulse,
            Op::Tear { .. } => Self::Tear,
            Op::Delay(..) => Self::Delay,
            Op::Repeat(_) => Self::Repeat,
            Op::SlowBody(_) => Self::SlowBody,
            Op::LargeBody(_) => Self::LargeBody,
            Op::Refuse(_) => Self::Refuse,
            Op::Silence(_) | Op::Restore(_) => Self::Silence,
            Op::Intrude(_, Intrusion::Overtake) => Self::Overtake,
            Op::Intrude(..) => Self::Intrude,
            Op::Suspend(..) => Self::Suspend,
            Op::Late(..) => Self::Late,
            Op::Stand(..) => Self::Stand,
            Op::Spurious(_) => Self::Spurious,
            Op::Backwards(..) => Self::Backwards,
            Op::Shutdown(_) => Self::Shutdown,
            Op::Crash(_) => Self::Crash,
        }
    }
}

/// How likely each kind of operation is in one world.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Weights([u64; Class::ALL.len()]);

impl Weights {
    /// Draws weights. Some kinds do not occur at all, because they would hide others. One world in four has no faults,
    /// and in one in five sessions are short.
    pub(crate) fn draw(chooser: &mut impl Chooser, own_applications: bool) -> Self {
        let quiet = chooser.chance(1, 4);
        // In some worlds all sessions are short, so that ends coincide with everything else.
        let hasty = chooser.chance(1, 5);
        let mut weights = [0; Class::ALL.len()];
        for class in Class::ALL {
            let is_vital = class <= Class::Send || class == Class::Impulse;
            let factors: &[u64] = if is_vital { &[1, 1, 2, 4] } else { &[0, 0, 1, 2, 5] };
            let factor = chooser.pick(factors).copied().unwrap_or_default();
            let barred = match class {
                Class::Impulse => !own_applications,
                // User-defined applications would not know messages that they have not sent, or miss messages that were
                // discarded.
                Class::Send | Class::SendTogether | Class::Flood | Class::Ready | Class::Discard | Class::Foreign => {
                    own_applications
                }
                Class::Forge | Class::Overtake => own_applications || quiet,
                class => quiet && (class.is_fault() || matches!(class, Class::Read)),
            };
            let haste = match class {
                Class::Connect | Class::Close if hasty => 6,
                Class::Abort if hasty => 2,
                _ => 1,
            };
            weights[class as usize] = if barred { 0 } else { class.weight() * factor * haste };
        }
        Self(weights)
    }
}

/// What is forged.
const FORGED: [Load; 14] = [
    Load::Noop,
    Load::Noop,
    Load::Noop,
    Load::Text,
    Load::Binary,
    Load::Lines,
    Load::Pong,
    Load::Ping,
    Load::BehindClose,
    Load::ProbeAnswer,
    Load::Large,
    Load::Open,
    Load::Junk,
    Load::JunkBehind,
];

impl Core {
    /// Draws the next operation.
    pub(crate) fn draw(&self, chooser: &mut impl Chooser, weights: &Weights) -> Op {
        let class = chooser.weighted(weights.0.iter().copied()).map_or(Class::Next, |index| Class::ALL[index]);
        let mut candidates = Vec::with_capacity(16);
        self.candidates(class, &mut candidates);
        match chooser.pick(&candidates) {
            Some(&op) => self.detail(op, chooser).renumbered(|client| self.name_for_ops(client), |server| server),
            // If a fault has no subject, the world continues.
            None => Op::Next,
        }
    }

    /// Returns every operation of a kind that has a meaning now, without its details.
    pub(crate) fn candidates(&self, class: Class, out: &mut Vec<Op>) {
        let (clients, foreign) = (0..self.own_clients(), self.own_clients()..self.clients.len());
        let has_attempt =
            |client: &usize| self.attempt_of(*client).is_some_and(|attempt| !self.attempts[attempt].is_over());
        let alive = clients.clone().filter(has_attempt);
        let servers = 0..self.servers.len();
        let has_session = |side: &Side| match side {
            Side::Client(client) => has_attempt(client),
            Side::Server(client) => self.slot_of(*client).is_some_and(|slot| !self.sessions[slot].is_over()),
        };
        let sides = clients.clone().flat_map(|client| [Side::Client(client), Side::Server(client)]);
        let sides = sides.chain(foreign.clone().map(Side::Server)).filter(has_session);
        let lines = clients
            .clone()
            .flat_map(|client| [Line::Get(client), Line::Post(client), Line::Up(client), Line::Down(client)]);
        let nodes = clients.clone().map(Node::Client).chain(servers.clone().map(Node::Server));
        let now = self.now;
        match class {
            Class::Wait => out.push(Op::Wait(0)),
            Class::Next => out.push(Op::Next),
            Class::Connect => {
                for client in clients.filter(|client| !has_attempt(client)) {
                    out.extend(servers.clone().map(|server| Op::Connect { client, server, start: Start::Upgrade }));
                }
            }
            Class::Arrive => out.extend(lines.filter(|&line| self.arrives(line).is_some()).map(Op::Arrive)),
            Class::Send => out.extend(sides.map(|side| Op::Send { side, size: 0, binary: false })),
            Class::SendTogether => out.extend(sides.map(|side| Op::SendTogether { side, count: 2 })),
            Class::Flood => out.extend(sides.map(Op::Flood)),
            Class::Take => out.extend(sides.map(Op::Take)),
            Class::Read => out.extend(sides.map(|side| Op::Read(side, !self.reads(side)))),
            Class::Discard => out.extend(sides.map(Op::Discard)),
            Class::Await => out.extend(sides.map(|side| Op::Await(side, 0))),
            Class::Report => out
                .extend(sides.flat_map(|side| (0..self.reports(side).len()).map(move |which| Op::Report(side, which)))),
            Class::Foreign => out.extend(foreign.map(|client| Op::Foreign(client, Deed::Poll))),
            Class::Forge => {
                let down = lines.filter(|&line| !matches!(line, Line::Up(_)) && self.carrier(line).is_some());
                out.extend(down.map(|line| Op::Forge(line, Load::Noop)));
            }
            Class::Ready => out.extend(sides.map(Op::Ready)),
            Class::Close => out.extend(sides.map(Op::Close)),
            Class::Abort => out.extend(sides.map(Op::Abort)),
            Class::Impulse => out.extend(nodes.map(|node| Op::Impulse(node, 0))),
            Class::Tear => {
                let carried = lines.filter(|&line| self.carrier(line).is_some() && !matches!(line, Line::Down(_)));
                out.extend(carried.map(|line| Op::Tear { line, client: 0, server: Some(0) }));
            }
            Class::Reset => {
                let carried = lines.filter(|&line| self.carrier(line).is_some() && !matches!(line, Line::Down(_)));
                out.extend(carried.map(|line| Op::Reset { line, arrives: 0, client: 0, server: Some(0) }));
            }
            Class::Lose => {
                for client in clients {
                    let answers = self.slot_of(client).map_or(0, |slot| self.unreported(slot).len());
                    out.extend((0..answers).map(|which| Op::Lose(client, which)));
                }
            }
            Class::Throttle => {
                out.extend(lines.filter(|&line| self.carrier(line).is_some()).map(|line| Op::Throttle(line, 0)));
            }
            Class::Withhold => out.extend(sides.map(|side| Op::Withhold(side, 0))),
            Class::Overtake => {
                let receiving = alive.filter(|&client| self.can_overtake(client));
                out.extend(receiving.map(|client| Op::Intrude(client, Intrusion::Overtake)));
            }
            Class::Delay => {
                out.extend(lines.filter(|&line| self.arrives(line).is_some()).map(|line| Op::Delay(line, 0)));
            }
            Class::Repeat => {
                let requests = lines.filter(|line| matches!(line, Line::Get(_) | Line::Post(_)));
                out.extend(requests.filter(|&line| self.with_server(line).is_some()).map(Op::Repeat));
            }
            Class::SlowBody => {
                out.extend(alive.filter(|&client| self.carrier(Line::Post(client)).is_some()).map(Op::SlowBody));
            }
            Class::LargeBody => {
                out.extend(alive.filter(|&client| self.carrier(Line::Post(client)).is_some()).map(Op::LargeBody));
            }
            Class::Refuse => out.extend(alive.filter(|&client| self.is_opening_channel(client)).map(Op::Refuse)),
            Class::Silence => out.extend(clients.map(|client| match self.clients[client].silent {
                true => Op::Restore(client),
                false => Op::Silence(client),
            })),
            Class::Intrude => {
                let known = alive.filter(|&client| self.slot_of(client).is_some());
                out.extend(known.map(|client| Op::Intrude(client, Intrusion::Get)));
            }
            Class::Suspend => out.extend(
                alive.filter(|&client| self.clients[client].asleep <= now).map(|client| Op::Suspend(client, 0)),
            ),
            Class::Late => out.extend(nodes.map(|node| Op::Late(node, 0))),
            Class::Stand if self.settings.standstill == 0 => (),
            Class::Stand => out.extend(nodes.map(|node| Op::Stand(node, 0))),
            Class::Spurious => out.extend(nodes.map(Op::Spurious)),
            Class::Backwards => out.extend(nodes.map(|node| Op::Backwards(node, 0))),
            Class::Shutdown => out.extend(servers.map(Op::Shutdown)),
            Class::Crash => out.extend(servers.map(Op::Crash)),
        }
    }

    fn reads(&self, side: Side) -> bool {
        match self.end_of(side) {
            Some(super::apps::End::Attempt(attempt)) => self.attempts[attempt].app.reads,
            Some(super::apps::End::Slot(slot)) => self.sessions[slot].app.reads,
            None => true,
        }
    }

    /// Draws the details of an operation.
    fn detail(&self, op: Op, chooser: &mut impl Chooser) -> Op {
        let latency = self.settings.latency.max(1);
        if let Op::Foreign(client, _) = op {
            return Op::Foreign(client, self.draw_deed(client, chooser));
        }
        if let Op::Forge(line, _) = op {
            return Op::Forge(line, chooser.pick(&FORGED).copied().unwrap_or(Load::Noop));
        }
        let mut of = |choices: &[u64]| chooser.pick(choices).copied().unwrap_or_default();
        match op {
            Op::Wait(_) => Op::Wait(of(&[latency / 2, latency, latency, 3 * latency, 100_000, 1_000_000, 30_000_000])),
            Op::Connect { client, server, .. } => {
                let start = of(&[0, 0, 0, 0, 1, 1, 2, 2, 3]);
                let start = Start::ALL.get(start as usize).copied().unwrap_or(Start::Upgrade);
                Op::Connect { client, server, start }
            }
            Op::Send { side, .. } => {
                let whole = self.settings.max_payload as u64;
                let size = of(&[0, 1, 3, 10, 10, whole / 3, whole / 2, whole.saturating_sub(2)]) as usize;
                // Base64 needs a third more.
                let binary = of(&[0, 0, 1]) == 1;
                let size = if binary { size * 3 / 4 } else { size };
                // Occasionally one that is larger than allowed.
                let size = if chooser.chance(1, 60) { size + 2 * whole as usize } else { size };
                Op::Send { side, size, binary }
            }
            Op::SendTogether { side, .. } => Op::SendTogether { side, count: of(&[2, 3, 4]) as usize },
            Op::Impulse(node, _) => Op::Impulse(node, chooser.below(1 << 20) as u32),
            Op::Tear { line, .. } => {
                let soon = [0, 1, latency, 3 * latency, 1_000_000];
                let client = of(&soon);
                let server = (of(&[0, 1, 1, 1]) == 1).then(|| of(&soon));
                Op::Tear { line, client, server }
            }
            Op::Reset { line, .. } => {
                let soon = [0, 1, latency, 3 * latency, 1_000_000];
                let client = of(&soon);
                let server = (of(&[0, 1, 1, 1]) == 1).then(|| of(&soon));
                Op::Reset { line, arrives: of(&[0, 1, 1, 2, 5]) as usize, client, server }
            }
            Op::Throttle(line, _) => {
                let (interval, timeout) = (1000 * self.settings.ping_interval, 1000 * self.settings.ping_timeout);
                let window = self.settings.window.max(1) as u64;
                // So slow that a heartbeat would detect it, but not so slow that nothing arrives in time.
                let micros = match line {
                    Line::Get(_) => of(&[timeout / 2, timeout / 2, timeout / 4]),
                    Line::Post(_) => {
                        let most = (1000 * self.settings.body_timeout / 8).min((interval + timeout) / 2);
                        most - chooser.below(most)
                    }
                    Line::Up(_) | Line::Down(_) => of(&[2 * timeout / 3 / window, timeout / 3 / window, 0]),
                };
                Op::Throttle(line, micros)
            }
            Op::Withhold(side, _) => Op::Withhold(side, of(&[10 * latency, 1_000_000, 15_000_000])),
            Op::Await(side, _) => Op::Await(side, of(&[0, 0, 1, 3])),
            Op::Delay(line, _) => Op::Delay(line, of(&[2 * latency, 10 * latency, 1_000_000, 15_000_000])),
            Op::Intrude(client, what) if what != Intrusion::Overtake => {
                let what = Intrusion::ALL.get(of(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]) as usize).copied();
                Op::Intrude(client, what.unwrap_or(Intrusion::Get))
            }
            Op::Suspend(client, _) => Op::Suspend(client, of(&[1_000_000, 10_000_000, 60_000_000, 3_600_000_000])),
            Op::Late(node, _) => Op::Late(node, of(&[10_000, 1_000_000, 30_000_000])),
            Op::Stand(node, _) => {
                let (longest, timeout) = (1000 * self.settings.standstill, 1000 * self.settings.ping_timeout);
                Op::Stand(node, of(&[timeout / 2, timeout, longest / 2, longest]).min(longest))
            }
            Op::Backwards(node, _) => Op::Backwards(node, of(&[1, 1_000_000, 3_600_000_000])),
            op => op,
        }
    }
}
