//! What both sides are made of.

pub(crate) mod buffer;
pub(crate) mod config;
pub(crate) mod event;
pub(crate) mod phase;
pub(crate) mod send;
pub(crate) mod stats;
pub(crate) mod time;
pub(crate) mod transport;
pub(crate) mod wait;
