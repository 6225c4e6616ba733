//! The heartbeat, by role: one side pings, the other one listens. Side and revision choose the role.

pub(crate) mod listener;
pub(crate) mod pinger;
