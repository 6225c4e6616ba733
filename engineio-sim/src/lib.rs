//! Deterministic simulation of Engine.IO.

mod application;
mod choose;
mod coverage;
#[cfg(feature = "cli")]
pub mod cli;
pub mod decoder;
mod diagram;
mod explore;
mod journal;
mod op;
mod oracle;
mod settings;
mod shrink;
mod simulation;
mod world;

pub use application::{Application, Peer, Sockets};
pub use choose::{Chooser, Enumerated, FromBytes, Seeded};
pub use coverage::{Coverage, Kind, UNREACHED};
pub use diagram::{sequence_diagram, sequence_svg};
pub use explore::Scope;
pub use journal::{Entry, Journal, Place};
pub use op::{Intrusion, Line, Node, Op, Side};
pub use oracle::{Law, Violation};
pub use settings::{Settings, Start};
pub use simulation::{Failure, Report, Simulation};
pub use world::{Class, Ending, Totals, World};
