//! The client over real sockets: against a server that does what the test says (`script`), and against our own.
//!
//! The names of tests begin with the number of the rule in the conformance table, where it has one.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod connections;
mod exchange;
mod flow;
mod leaks;
mod life;
mod opening;
mod ours;
#[allow(dead_code)] // The tests of the server need more of it.
#[path = "../wire/raw.rs"]
mod raw;
mod reconnecting;
mod regressions;
mod script;
mod target;
mod upgrade;
