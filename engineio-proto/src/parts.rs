//! The parts that both machines have in common.
//!
//! `flow` is the plumbing of one session: received messages, messages to send, announcements, and the end. `heartbeat`
//! has both roles of the heartbeat, and `wait` the arithmetic that they share. The other modules define the vocabulary.

pub(crate) mod buffer;
pub(crate) mod config;
pub(crate) mod event;
pub(crate) mod flow;
pub(crate) mod heartbeat;
pub(crate) mod inbox;
pub(crate) mod outbox;
pub(crate) mod outputs;
pub(crate) mod phase;
pub(crate) mod send;
pub(crate) mod sid;
pub(crate) mod stats;
pub(crate) mod time;
pub(crate) mod transport;
pub(crate) mod wait;
