//! The client over real sockets: against a server that does what the test says (`script`), and against our own.

mod connections;
mod exchange;
mod flow;
mod leaks;
mod life;
mod opening;
mod ours;
mod reconnecting;
mod regressions;
mod script;
mod target;
mod upgrade;
