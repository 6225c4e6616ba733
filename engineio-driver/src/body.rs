//! The bodies of requests, with a limit, and of answers, which report whether they were written.

mod delivery;
mod pieces;
mod receive;
mod reply;

pub(crate) use delivery::{Answered, Delivery};
pub(crate) use receive::{ReadError, Receive, discard, read};
pub use reply::{ReplyBody, ReplyData};
