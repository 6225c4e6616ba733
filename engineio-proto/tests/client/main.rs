//! The client: its behaviours, the races that have hurt others, and what a hostile server can do.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod pair;
mod smoke;
