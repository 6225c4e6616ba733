//! A session under a lock of its own, with those who wait for something of it.
//!
//! Everything that works with a session visits its [`Cell`]: lock, work, carry out what the machine asks for, unlock, then
//! wake and drop. Nothing here knows whether the session is a server's or a client's: that is a [`Side`].

mod attached;
mod cell;
mod deferred;
mod event;
mod head;
mod link;

pub(crate) use attached::{Attached, Wakers, register, set};
pub(crate) use cell::{AnySession, Cell, Environment, Side, Visit};
pub(crate) use deferred::{Deferred, Owner};
pub use event::Event;
pub(crate) use event::Observed;
pub(crate) use head::{RequestHead, is_secret};
pub use link::Offer;
pub(crate) use link::{End, Link, Snapshot};
