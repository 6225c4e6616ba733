//! What a runtime crate must pass. Each includes these suites in its tests, where `crate::adapter` is the crate itself, and
//! `crate::runtime` the little that the suites need of its runtime.
//!
//! The tests themselves run on tokio, whatever is tested: they are the peer at the other end of a socket. The names of
//! tests begin with the number of the rule in the conformance table, where it has one.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod api;
mod client;
mod connectors;
mod counting;
mod host;
mod raw;
mod regressions;
mod size;
#[cfg(feature = "tls")]
mod tls;
mod wire;
