//! The client: its behaviours, known races, and hostile servers.
//!
//! Most tests speak with a client in a [`world`] of its own; some let a client and a server of ours meet, as a [`pair`].
//! Every test is named after its row in `docs/conformance.md`, but for those of [`surface`].

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod behaviours;
#[path = "../properties/cases.rs"]
mod cases;
mod closing;
mod extras;
mod heartbeat;
mod hostile;
mod messages;
mod pair;
mod polling;
mod regressions;
mod smoke;
mod surface;
mod upgrade;
mod world;
