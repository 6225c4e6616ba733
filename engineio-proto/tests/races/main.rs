//! The known races: interleavings that have caused bugs in servers and clients of this protocol.
//!
//! Every test is named after its row in `docs/conformance.md`, and the comment above it says what triggers it. The rows
//! that have no test here, because a server of revision 4 over polling and WebSocket has no part in them:
//!
//! * revision 3.
//! * the client's side,
//!   in `tests/client`. What of them concerns a server too is in, and in M-027.
//! * several tasks send at once. A session has one owner; whoever shares it orders the sends.
//! * compression.
//! * one lazy deadline per session. It cannot be seen from outside; a unit test of the container does.
//! * a payload owns its packets, so that nothing can be added while it is encoded. What a client counts as a batch
//!   is tested there.
//! * there are no callbacks per message, but one flush and one drain per batch: R-15.
//! * clusters.
//! * ids are values here; whoever makes them slowly asks afterwards whether the client is still there.

#[path = "../common/mod.rs"]
mod common;

mod closing;
mod concurrency;
mod heartbeat;
mod upgrade;
