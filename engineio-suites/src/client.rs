//! The client over real sockets: against a scripted server (`script`), and against our own.

pub mod connections;
pub mod exchange;
pub mod flow;
pub mod leaks;
pub mod life;
pub mod opening;
pub mod ours;
pub mod reconnecting;
pub mod regressions;
mod script;
pub mod target;
pub mod trouble;
pub mod upgrade;
