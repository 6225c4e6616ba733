//! The behaviours of a server.
//!
//! Every test is named after its row in `docs/conformance.md`. Rows that the known races or unit tests cover already are
//! not repeated here; the table there names the test of each.

#[path = "../common/mod.rs"]
mod common;

mod extras;
mod measured;
mod official;
mod security;
mod server;
