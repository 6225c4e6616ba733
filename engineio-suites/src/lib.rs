//! The tests that every runtime crate must pass, and the example programs that are the same on every runtime. Not
//! published.
//!
//! # The suites
//!
//! A runtime crate implements [`Adapter`] in its `tests/suites.rs` and calls [`suites!`], which makes a test from every
//! case:
//!
//! ```text
//! struct Tokio;
//!
//! impl Adapter for Tokio { ... }
//!
//! engineio_suites::suites!(Tokio);
//! ```
//!
//! A case is a function without arguments in a public module, `pub async fn name() {` or `pub fn name() {`; `build.rs`
//! finds it. The names of cases begin with the number of their rule in the conformance table, if there is one. The
//! cases use the runtime crate through two modules: `adapter` has its API, and `runtime` the services of its runtime.
//!
//! The cases themselves always run on tokio: they are the peer at the other end of a socket.
//!
//! # The programs
//!
//! The examples `echo`, `connect` and `chat` of the runtime crates use [`programs`].
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod adapter;
pub mod api;
mod app;
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
pub mod tower;
pub mod wire;

pub use adapter::{Adapter, run, run_blocking};
pub use app::App;
pub use counting::Counting;
/// A boxed future.
pub use futures_util::future::BoxFuture;
pub use runtime::{EndingRuntime, Listening};

include!(concat!(env!("OUT_DIR"), "/suites.rs"));
