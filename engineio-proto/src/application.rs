//! Application logic without I/O, for servers and clients.

use crate::parts::event::CloseReason;
use crate::parts::send::SendError;
use crate::parts::time::Instant;
use crate::wire::message::Message;

/// The number of a session, for its application. Numbers are not reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Peer(pub u64);

/// The sessions of an application, and the operations on them.
pub trait Sockets {
    /// Sends a message.
    ///
    /// # Errors
    /// Returns the message if it is refused. After [`SendError::Full`], [`Application::on_writable`] follows.
    fn send(&mut self, peer: Peer, message: Message) -> Result<(), SendError>;

    /// Closes a session in order: messages that were sent before are written first. Until [`Application::on_close`],
    /// [`Application::on_message`] may still be called for messages that have arrived; at a client, also for messages
    /// that arrive while the session closes.
    fn close(&mut self, peer: Peer);

    /// Closes a session at once. Messages that were not handed over are dropped, and so are received messages that were
    /// not delivered. Only [`Application::on_close`] follows.
    fn abort(&mut self, peer: Peer);

    /// Returns the current time, counted from a moment before the first call. It never goes backwards.
    fn now(&self) -> Instant;
}

/// The logic of an application: of a server, with any number of sessions, or of a client, with one session after another.
///
/// It does no I/O, and its only clock is [`Sockets::now`]. So the same code runs on real sockets (`Host` of the runtime
/// crates) and in simulated worlds (`engineio-sim`). `()` is an application that does nothing.
///
/// ```
/// use core::time::Duration;
/// use std::collections::BTreeMap;
/// use engineio_proto::app::{Application, Peer, Sockets};
/// use engineio_proto::{CloseReason, Instant, Message};
///
/// /// An echo that closes sessions which are silent for a minute.
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
///             sockets.abort(peer); // The client does not read its answers.
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
/// # Guarantees
///
/// The following holds in a simulated world and on real sockets:
///
/// * The methods are called one at a time: never during another call, nor during a call of [`Sockets`].
/// * For each session, [`on_open`](Application::on_open) is called first, and [`on_close`](Application::on_close) last. Each is
///   called once, also if the application itself closed the session. For an attempt that opened no session, neither is called.
///   If the process ends, [`on_close`](Application::on_close) is not called.
/// * In between, [`on_message`](Application::on_message) is called for each message, in the order in which they were
///   sent. No message is repeated, and none is missing unless the session ends before.
/// * However many messages were refused with [`SendError::Full`], [`on_writable`](Application::on_writable) is called
///   once, when there is room again. If the session closes before, it is not called.
/// * [`on_timeout`](Application::on_timeout) is called when the time of [`next_timeout`](Application::next_timeout) has
///   come: not earlier, and later only by the precision of the host's timers.
#[allow(unused_variables)] // The documentation shows the names.
pub trait Application {
    /// Called when a session has opened.
    fn on_open(&mut self, sockets: &mut dyn Sockets, peer: Peer) {}

    /// Called when a message has arrived.
    fn on_message(&mut self, sockets: &mut dyn Sockets, peer: Peer, message: Message) {}

    /// Called when there is room for messages again, after one was refused with [`SendError::Full`]. A message that is
    /// sent now may be refused again.
    fn on_writable(&mut self, sockets: &mut dyn Sockets, peer: Peer) {}

    /// Called when a session has ended. No other call for it follows.
    fn on_close(&mut self, sockets: &mut dyn Sockets, peer: Peer, reason: CloseReason) {}

    /// Called for an event outside the sessions, such as a key press. The application defines the meaning of the
    /// number.
    fn on_impulse(&mut self, sockets: &mut dyn Sockets, impulse: u32) {}

    /// Returns when [`on_timeout`](Application::on_timeout) is to be called, if at all. The host asks after every call,
    /// so the time may change with every call.
    fn next_timeout(&self) -> Option<Instant> {
        None
    }

    /// Called when the time of [`next_timeout`](Application::next_timeout) has come. Afterwards, that time must be
    /// `None` or later than [`Sockets::now`]; otherwise this is called again at once, without end.
    fn on_timeout(&mut self, sockets: &mut dyn Sockets) {}
}

impl Application for () {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_application_that_does_nothing_waits_for_no_time() {
        assert_eq!(().next_timeout(), None);
    }
}
