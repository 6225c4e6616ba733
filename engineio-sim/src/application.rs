//! What lives on the sessions: the logic of an application, on either side.
//!
//! It is written against [`Sockets`] alone, so that it can run in a simulated world and on real sockets unchanged.

use engineio_proto::{CloseReason, Message, SendError};

/// A session, as its application knows it. Numbers are not used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Peer(pub u64);

/// What an application can do with its sessions.
pub trait Sockets {
    /// Sends a message.
    ///
    /// # Errors
    /// Gives the message back when it cannot be taken; after [`SendError::Full`], [`Application::on_writable`] follows.
    fn send(&mut self, peer: Peer, message: Message) -> Result<(), SendError>;

    /// Closes a session in order.
    fn close(&mut self, peer: Peer);
}

/// The logic of an application: of a server, with any number of sessions, or of a client, with one after the other.
///
/// `()` is one that does nothing.
pub trait Application {
    /// A session is open.
    fn on_open(&mut self, sockets: &mut dyn Sockets, peer: Peer) {
        let _ = (sockets, peer);
    }

    /// A message arrived.
    fn on_message(&mut self, sockets: &mut dyn Sockets, peer: Peer, message: Message) {
        let _ = (sockets, peer, message);
    }

    /// After a message was refused as too much: there is room again.
    fn on_writable(&mut self, sockets: &mut dyn Sockets, peer: Peer) {
        let _ = (sockets, peer);
    }

    /// A session is over. Nothing more is heard of it.
    fn on_close(&mut self, sockets: &mut dyn Sockets, peer: Peer, reason: CloseReason) {
        let _ = (sockets, peer, reason);
    }

    /// Something happens that only the application knows: a key is pressed, a price changes. What it is, is up to the
    /// number, which may be any.
    fn on_impulse(&mut self, sockets: &mut dyn Sockets, impulse: u32) {
        let _ = (sockets, impulse);
    }
}

impl Application for () {}
