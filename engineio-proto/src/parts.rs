//! What both sides are made of.
//!
//! `flow` is the plumbing of one session: what arrived and what is to leave, what was announced, how it ended.
//! `heartbeat` holds both roles of the heartbeat, `wait` the arithmetic that they share. The rest is vocabulary.

pub(crate) mod buffer;
pub(crate) mod config;
pub(crate) mod event;
pub(crate) mod flow;
pub(crate) mod heartbeat;
pub(crate) mod inbox;
pub(crate) mod outbox;
pub(crate) mod phase;
pub(crate) mod send;
pub(crate) mod stats;
pub(crate) mod time;
pub(crate) mod transport;
pub(crate) mod wait;
