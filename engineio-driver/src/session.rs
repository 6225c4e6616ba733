//! A session with its own lock, and the tasks that wait for it.
//!
//! All code that works with a session visits its [`Cell`]: it locks, works, carries out the outputs of the machine,
//! unlocks, and then wakes tasks and drops values. This module does not distinguish the sessions of a server from those
//! of a client; a [`Side`] does.

mod attached;
mod cause;
mod cell;
mod deferred;
mod event;
mod head;
mod link;
mod parts;

pub(crate) use attached::{Attached, Wakers, set};
pub(crate) use cause::Cause;
pub(crate) use cell::{AnySession, Cell, Environment, Side, Visit};
pub(crate) use deferred::{Deferred, Owner};
pub use event::Event;
pub(crate) use event::Observed;
pub use head::RemoteAddr;
pub(crate) use head::{RequestHead, is_secret};
pub use link::Offer;
pub(crate) use link::{End, Link, Snapshot};
pub(crate) use parts::PartKind;
