//! Bodies: those that arrive, with a limit, and those of answers, which report what becomes of them.

mod delivery;
mod pieces;
mod receive;
mod reply;

pub(crate) use delivery::{Answered, Delivery};
pub(crate) use receive::{ReadError, discard, read};
pub use reply::{ReplyBody, ReplyData};
