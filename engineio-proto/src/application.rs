//! What lives on sessions: the logic of an application, on either side.

use crate::parts::event::CloseReason;
use crate::parts::send::SendError;
use crate::parts::time::Instant;
use crate::wire::message::Message;

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

    /// Closes a session in order: what was sent before is delivered first. Until [`Application::on_close`] says that it is
    /// over, messages that had arrived may still be told; at a client, those that arrive meanwhile too.
    fn close(&mut self, peer: Peer);

    /// Closes a session at once. What was not handed over is dropped, and so is what arrived and was not told: of this
    /// session, nothing but [`Application::on_close`] follows.
    fn abort(&mut self, peer: Peer);

    /// The time, counted from a moment before the first call. It never goes backwards.
    fn now(&self) -> Instant;
}

/// The logic of an application: of a server, with any number of sessions, or of a client, with one after the other.
///
/// It does no I/O and asks no clock but [`Sockets::now`], so that the same code runs on real sockets (`Host` of the runtime
/// crates) and in simulated worlds (`engineio-sim`). `()` is one that does nothing.
///
/// ```
/// use core::time::Duration;
/// use std::collections::BTreeMap;
/// use engineio_proto::app::{Application, Peer, Sockets};
/// use engineio_proto::{CloseReason, Instant, Message};
///
/// /// An echo that closes whoever says nothing for a minute.
/// #[derive(Default)]
/// struct Echo {
///     deadlines: BTreeMap<Peer, Instant>,
/// }
///
/// impl Echo {
///     fn heard(&mut self, sockets: &dyn Sockets, peer: Peer) {
///         self.deadlines.insert(peer, sockets.now() + Duration::from_secs(60));
///     }
/// }
///
/// impl Application for Echo {
///     fn on_open(&mut self, sockets: &mut dyn Sockets, peer: Peer) {
///         self.heard(sockets, peer);
///     }
///
///     fn on_message(&mut self, sockets: &mut dyn Sockets, peer: Peer, message: Message) {
///         self.heard(sockets, peer);
///         if sockets.send(peer, message).is_err() {
///             sockets.abort(peer); // It does not read its answers.
///         }
///     }
///
///     fn on_close(&mut self, _: &mut dyn Sockets, peer: Peer, _: CloseReason) {
///         self.deadlines.remove(&peer);
///     }
///
///     fn next_timeout(&self) -> Option<Instant> {
///         self.deadlines.values().min().copied()
///     }
///
///     fn on_timeout(&mut self, sockets: &mut dyn Sockets) {
///         let now = sockets.now();
///         let idle: Vec<Peer> = self.deadlines.iter().filter(|(_, at)| **at <= now).map(|(peer, _)| *peer).collect();
///         for peer in idle {
///             self.deadlines.remove(&peer);
///             sockets.close(peer);
///         }
///     }
/// }
/// ```
///
/// # What is promised
///
/// It is the same in a simulated world and on real sockets:
///
/// * Calls come one after the other. None comes within another one, nor within a call of [`Sockets`].
/// * Of each session, [`on_open`](Application::on_open) is told first, and [`on_close`](Application::on_close) last: each
///   once, also where the application itself asked for the end. An attempt that opened no session is not told. Only an
///   application that ends with its process hears of no end.
/// * Between them messages are told in the order in which they were sent, none twice, and none left out unless the session
///   ends before.
/// * However often a message was refused as too much, [`on_writable`](Application::on_writable) is told once, when there is
///   room again; not at all if the session is closed before.
/// * [`on_timeout`](Application::on_timeout) is told when the time of [`next_timeout`](Application::next_timeout) has come:
///   never before, and no later than the timers of the host allow.
pub trait Application {
    /// A session is open.
    fn on_open(&mut self, sockets: &mut dyn Sockets, peer: Peer) {
        let _ = (sockets, peer);
    }

    /// A message arrived.
    fn on_message(&mut self, sockets: &mut dyn Sockets, peer: Peer, message: Message) {
        let _ = (sockets, peer, message);
    }

    /// After a message was refused as too much: there is room again. What was refused can be sent now, and may be refused
    /// again.
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

    /// When [`on_timeout`](Application::on_timeout) is to be called, if at all. It is asked after every call, and may change
    /// with every call.
    fn next_timeout(&self) -> Option<Instant> {
        None
    }

    /// The time of [`next_timeout`](Application::next_timeout) has come. Afterwards that must be none, or later than
    /// [`Sockets::now`]: an application that has still something to do would be called again and again.
    fn on_timeout(&mut self, sockets: &mut dyn Sockets) {
        let _ = sockets;
    }
}

impl Application for () {}
