//! The heartbeat by role: one side pings, and the other one listens. Side and protocol revision decide the role.

pub(crate) mod listener;
pub(crate) mod pinger;
