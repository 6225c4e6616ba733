//! WebSockets, of either side: how one is opened, its codec, and the task that serves it.

pub(crate) mod accept;
pub(crate) mod frames;
pub(crate) mod open;
mod task;

pub(crate) use task::ChannelTask;
