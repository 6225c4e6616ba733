//! The servers, and how they are started.

use std::path::Path;
use std::process::Command;

use crate::Result;
use crate::rows::{Kind, Work};

/// A column of the tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Target {
    Hand,
    Bare,
    Engineioxide,
    Node,
    Tokio,
    TokioRecv,
    BareSmol,
    Smol,
    SmolRecv,
}

impl Target {
    pub(crate) const ALL: [Self; 9] = [
        Self::Hand,
        Self::Bare,
        Self::Engineioxide,
        Self::Node,
        Self::Tokio,
        Self::TokioRecv,
        Self::BareSmol,
        Self::Smol,
        Self::SmolRecv,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Hand => "hand",
            Self::Bare => "bare",
            Self::Engineioxide => "engineioxide",
            Self::Node => "node",
            Self::Tokio => "tokio",
            Self::TokioRecv => "tokio-recv",
            Self::BareSmol => "bare-smol",
            Self::Smol => "smol",
            Self::SmolRecv => "smol-recv",
        }
    }

    /// The head of the column.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Hand => "by hand",
            Self::Bare => "bare server",
            Self::Engineioxide => "engineioxide",
            Self::Node => "Node's engine.io",
            Self::Tokio => "ours, tokio",
            Self::TokioRecv => "ours, tokio, `recv`",
            Self::BareSmol => "bare smol server",
            Self::Smol => "ours, smol",
            Self::SmolRecv => "ours, smol, `recv`",
        }
    }

    /// Whether it is measured unless others are named.
    pub(crate) fn is_default(self) -> bool {
        !matches!(self, Self::TokioRecv | Self::SmolRecv)
    }

    /// Whether it needs nothing but this workspace.
    pub(crate) fn is_in_workspace(self) -> bool {
        !matches!(self, Self::Engineioxide | Self::Node)
    }

    /// Whether it can do this work. The bare servers fake one transport each; none of them upgrades, and of them only the
    /// one by hand broadcasts.
    pub(crate) fn can(self, work: &Work) -> bool {
        match self {
            Self::Hand => work.kind() == Kind::WebSocket,
            Self::Bare | Self::BareSmol => {
                !matches!(work, Work::Broadcast { .. } | Work::Upgrade | Work::OfficialUpgrade)
            }
            Self::Engineioxide => true,
            Self::Node => !matches!(work, Work::Workers { .. }),
            Self::Tokio | Self::TokioRecv | Self::Smol | Self::SmolRecv => true,
        }
    }

    /// The command that starts it.
    pub(crate) fn command(self, work: &Work, peers: &Path) -> Result<Command> {
        let ours = std::env::current_exe()?;
        let ours = |name: &str| Command::new(ours.with_file_name(name));
        let polling = work.kind() == Kind::Polling;
        let mut command = match self {
            Self::Hand => ours("server-by-hand"),
            Self::Bare if polling => ours("server-bare-polling"),
            Self::Bare => ours("server-bare-websocket"),
            Self::BareSmol if polling => ours("server-bare-smol-polling"),
            Self::BareSmol => ours("server-bare-smol-websocket"),
            Self::Engineioxide => Command::new(peers.join("engineioxide/target/release/server-engineioxide")),
            Self::Node => {
                let mut command = Command::new("node");
                command.arg(peers.join("node/server.js"));
                command
            }
            Self::Tokio | Self::TokioRecv => ours("server-tokio"),
            Self::Smol | Self::SmolRecv => ours("server-smol"),
        };
        if matches!(self, Self::TokioRecv | Self::SmolRecv) {
            command.arg("--recv");
        }
        // What is better for them: their default of 128 KiB suits large messages only, and 4 KiB is what tungstenite's
        // documentation advises for many connections.
        let large = matches!(work, Work::WebSocketEcho(echo) if echo.size >= 4096);
        if matches!(self, Self::Bare | Self::BareSmol) && !polling && !large {
            command.args(["--read-buffer", "4096"]);
        }
        if let Work::Workers { workers, .. } = work {
            command.args(["--workers", &workers.to_string()]);
        }
        Ok(command)
    }
}
