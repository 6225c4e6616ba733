//! What every runtime crate must pass, and the programs that are the same on each of them. This crate is not published.
//!
//! # The suites
//!
//! A runtime crate implements [`Adapter`] in its `tests/suites.rs` and calls [`suites!`], which makes a test of every case:
//!
//! ```text
//! struct Tokio;
//!
//! impl Adapter for Tokio { ... }
//!
//! engineio_suites::suites!(Tokio);
//! ```
//!
//! A case is a function without arguments in a public module, `pub async fn name() {` or `pub fn name() {`; `build.rs` finds
//! it. The names of cases begin with the number of the rule in the conformance table, where it has one. The cases reach the
//! runtime crate through two modules: `adapter` has what it offers, `runtime` what they need of its runtime.
//!
//! The cases themselves run on tokio, whatever is tested: they are the peer at the other end of a socket.
//!
//! # The programs
//!
//! The examples `echo`, `connect` and `chat` of the runtime crates are made of [`programs`].
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod adapter;
pub mod api;
pub mod client;
pub mod connectors;
mod counting;
mod host;
pub mod programs;
pub mod raw;
pub mod regressions;
mod runtime;
pub mod size;
pub mod tls;
pub mod wire;

pub use adapter::{Adapter, run, run_blocking};
pub use counting::Counting;
/// A future in a box.
pub use futures_util::future::BoxFuture;
pub use runtime::{EndingRuntime, Listening};

include!(concat!(env!("OUT_DIR"), "/suites.rs"));
