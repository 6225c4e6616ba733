//! The rows: workloads, and what must become of them.

use crate::targets::Target;

/// One workload.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    /// For `--rows`.
    pub(crate) name: String,
    pub(crate) title: String,
    pub(crate) table: Table,
    pub(crate) work: Work,
    /// The cost of ours on tokio must be at most this many times that of another server.
    pub(crate) goal: Option<(f64, Target)>,
    /// The cost of ours on smol must be at most this many times that of the bare smol server.
    pub(crate) smol_goal: Option<f64>,
}

/// The tables, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Table {
    Cpu,
    Memory,
    Growth,
    Workers,
    Upgrade,
}

impl Table {
    /// Whether its rows are one server in several sizes.
    pub(crate) fn is_growth(self) -> bool {
        matches!(self, Self::Growth | Self::Workers)
    }
}

/// What is done.
#[derive(Clone, Debug)]
pub(crate) enum Work {
    /// Echoes on WebSockets.
    WebSocketEcho(Echo),
    /// Echoes on polling: one POST for all messages in flight, and GETs until all answers are there.
    PollingEcho(Echo),
    /// The first row, with worker threads.
    Workers { echo: Echo, workers: usize },
    /// A WebSocket is opened and closed.
    WebSocketCycle,
    /// A session on polling is opened and closed.
    PollingCycle,
    /// A session on polling is opened and upgraded, echoes one message and closes.
    Upgrade,
    /// Every session gets `burst` messages in a row.
    Broadcast { sessions: usize, size: usize, burst: usize },
    /// Sessions that have echoed once. On polling, each has a poll under way.
    Idle(Kind),
    /// Upgrades with the official client, from its first request to its event `upgrade`.
    OfficialUpgrade,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    WebSocket,
    Polling,
    Both,
}

/// Messages that come back.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Echo {
    pub(crate) sessions: usize,
    /// How many sessions have messages in flight at a time. They take turns.
    pub(crate) active: usize,
    /// The length of the message, without the packet type and before base64.
    pub(crate) size: usize,
    /// Messages of a session that are sent at once. The next ones are sent when all have come back.
    pub(crate) flight: usize,
    pub(crate) binary: bool,
}

impl Work {
    /// The transport.
    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::WebSocketEcho(_) | Self::Workers { .. } | Self::WebSocketCycle | Self::Broadcast { .. } => {
                Kind::WebSocket
            }
            Self::PollingEcho(_) | Self::PollingCycle => Kind::Polling,
            Self::Upgrade | Self::OfficialUpgrade => Kind::Both,
            Self::Idle(kind) => *kind,
        }
    }
}

impl Row {
    fn new(name: &str, title: &str, work: Work) -> Self {
        let table = match work {
            Work::Idle(_) => Table::Memory,
            Work::OfficialUpgrade => Table::Upgrade,
            Work::Workers { .. } => Table::Workers,
            _ => Table::Cpu,
        };
        Self { name: name.into(), title: title.into(), table, work, goal: None, smol_goal: None }
    }

    fn in_table(self, table: Table) -> Self {
        Self { table, ..self }
    }

    /// Ours on tokio may cost this many times the other one.
    fn at_most(self, factor: f64, target: Target) -> Self {
        Self { goal: Some((factor, target)), ..self }
    }

    /// Ours on smol may cost this many times the bare smol server.
    fn smol_at_most(self, factor: f64) -> Self {
        Self { smol_goal: Some(factor), ..self }
    }
}

const fn echo(sessions: usize, size: usize, flight: usize) -> Echo {
    Echo { sessions, active: sessions, size, flight, binary: false }
}

/// All rows, in their order.
pub(crate) fn all() -> Vec<Row> {
    use Target::{Bare, Engineioxide, Node};
    let websocket = |echo| Work::WebSocketEcho(echo);
    let polling = |echo| Work::PollingEcho(echo);
    let binary = |echo| Echo { binary: true, ..echo };
    let mut rows = vec![
        Row::new("ws-64-16", "WebSocket echo 64 B, 64 sessions, 16 in flight", websocket(echo(64, 64, 16)))
            .at_most(1.0, Bare)
            .smol_at_most(1.15),
        Row::new("ws-64-1", "WebSocket echo 64 B, 64 sessions, 1 in flight", websocket(echo(64, 64, 1)))
            .at_most(1.03, Bare)
            .smol_at_most(1.15),
        Row::new("ws-64-1-of-1000", "WebSocket echo 64 B, 1000 sessions, 1 in flight", websocket(echo(1000, 64, 1)))
            .at_most(1.05, Bare)
            .smol_at_most(1.15),
        Row::new("ws-4k", "WebSocket echo 4 KiB, 64 sessions, 4 in flight", websocket(echo(64, 4096, 4)))
            .at_most(1.0, Bare)
            .smol_at_most(1.15),
        Row::new(
            "ws-64k-binary",
            "WebSocket echo 64 KiB binary, 64 sessions, 1 in flight",
            websocket(binary(echo(64, 64 * 1024, 1))),
        )
        .at_most(0.8, Bare)
        .smol_at_most(1.15),
        Row::new("polling-64-1", "polling echo 64 B, 64 sessions, 1 in flight", polling(echo(64, 64, 1)))
            .at_most(1.08, Bare)
            .smol_at_most(1.15),
        Row::new("polling-64-32", "polling echo 64 B, 64 sessions, 32 in flight", polling(echo(64, 64, 32)))
            .at_most(1.3, Bare)
            .smol_at_most(1.15),
        Row::new(
            "polling-10k-binary",
            "polling echo 10 KiB binary, 64 sessions, 1 in flight",
            polling(binary(echo(64, 10 * 1024, 1))),
        )
        .at_most(1.5, Bare)
        .smol_at_most(1.15),
        Row::new("ws-cycle", "WebSocket handshake and close", Work::WebSocketCycle)
            .at_most(1.1, Bare)
            .smol_at_most(1.15),
        Row::new("polling-cycle", "polling handshake and close", Work::PollingCycle)
            .at_most(1.1, Bare)
            .smol_at_most(1.15),
        Row::new("upgrade", "polling, upgrade, one echo, close", Work::Upgrade).at_most(0.7, Engineioxide),
        Row::new(
            "broadcast-64",
            "broadcast 64 B to 1000 sessions, 16 in a row, per delivery",
            Work::Broadcast { sessions: 1000, size: 64, burst: 16 },
        )
        .at_most(0.5, Engineioxide),
        Row::new(
            "broadcast-4k",
            "broadcast 4 KiB to 1000 sessions, 4 in a row, per delivery",
            Work::Broadcast { sessions: 1000, size: 4096, burst: 4 },
        )
        .at_most(0.6, Engineioxide),
        Row::new("idle-ws", "idle WebSocket session", Work::Idle(Kind::WebSocket))
            .at_most(0.52, Bare)
            .smol_at_most(1.15),
        Row::new("idle-polling", "idle polling session", Work::Idle(Kind::Polling))
            .at_most(1.06, Bare)
            .smol_at_most(1.1),
    ];
    for sessions in [100, 1000, 10_000] {
        let echo = Echo { active: 100, ..echo(sessions, 64, 1) };
        let title = format!("WebSocket echo 64 B, {sessions} sessions, 100 messages in flight in all");
        rows.push(Row::new(&format!("growth-{sessions}"), &title, websocket(echo)).in_table(Table::Growth));
    }
    for workers in [1, 2] {
        let work = Work::Workers { echo: echo(64, 64, 16), workers };
        let title = format!("WebSocket echo 64 B, 64 sessions, 16 in flight; workers: {workers}");
        rows.push(Row::new(&format!("workers-{workers}"), &title, work));
    }
    rows.push(
        Row::new("official-upgrade", "official client, first request to `upgrade`", Work::OfficialUpgrade)
            .at_most(0.1, Node),
    );
    rows
}
