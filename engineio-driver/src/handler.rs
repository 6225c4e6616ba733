//! Callbacks of a session.

use std::future::Future;

use engineio_proto::{CloseReason, Message, TransportKind};

use crate::session::Event;
use crate::socket::{Events, Handle};
use crate::tasks::Guard;

/// Callbacks of one session.
///
/// Callbacks run one at a time, in the order of the [`Event`]s. A slow callback slows down the client of its own
/// session only.
///
/// Callbacks run on the task that also serves the session's WebSocket, so that no other task is woken between a message
/// and its answer. While a callback waits, the WebSocket is served. A callback that blocks its thread also blocks the
/// WebSocket: do such work elsewhere.
///
/// Every callback has a default that does nothing. [`Server::run`](crate::Server::run) makes a handler for every new
/// session; that call corresponds to the `connection` event of the reference.
pub trait Handler: Send + 'static {
    /// Whether [`flush`](Handler::flush) and [`drain`](Handler::drain) are called.
    ///
    /// They follow every write, so that a handler which leaves them to their defaults does better without them: for an
    /// answer to a single message, it saves a tenth of the instructions.
    const OBSERVES_WRITES: bool = true;

    /// Called when a message arrives.
    fn message(&mut self, socket: &Handle, message: Message) -> impl Future<Output = ()> + Send {
        let _ = (socket, message);
        async {}
    }

    /// Called when a probe was answered: the client is about to change to this transport.
    fn upgrading(&mut self, socket: &Handle, transport: TransportKind) -> impl Future<Output = ()> + Send {
        let _ = (socket, transport);
        async {}
    }

    /// Called when the session has changed to this transport.
    fn upgraded(&mut self, socket: &Handle, transport: TransportKind) -> impl Future<Output = ()> + Send {
        let _ = (socket, transport);
        async {}
    }

    /// Called when packets are handed to the transport, if [`OBSERVES_WRITES`](Handler::OBSERVES_WRITES).
    fn flush(&mut self, socket: &Handle, packets: usize) -> impl Future<Output = ()> + Send {
        let _ = (socket, packets);
        async {}
    }

    /// Called when the transport has taken the packets of the last flush, if
    /// [`OBSERVES_WRITES`](Handler::OBSERVES_WRITES).
    fn drain(&mut self, socket: &Handle) -> impl Future<Output = ()> + Send {
        let _ = socket;
        async {}
    }

    /// Called when a pong arrives.
    fn heartbeat(&mut self, socket: &Handle) -> impl Future<Output = ()> + Send {
        let _ = socket;
        async {}
    }

    /// Called when the session has ended. No other callback follows.
    fn close(&mut self, socket: &Handle, reason: CloseReason) -> impl Future<Output = ()> + Send {
        let _ = (socket, reason);
        async {}
    }
}

/// Calls a handler for each event, until the session ends.
///
/// Not an `async fn`, which would have room for its arguments twice.
pub(crate) fn serve<H: Handler>(
    mut events: Events,
    mut handler: H,
    under_way: Guard,
) -> impl Future<Output = ()> + Send {
    if !H::OBSERVES_WRITES {
        events.ignore_writes();
    }
    async move {
        let _under_way = &under_way;
        loop {
            // Nothing of the event is kept while its message is handled, which would make every session larger.
            let message = match events.next_taken() {
                Some(message) => message,
                None => loop {
                    let Some(event) = events.next().await else { return };
                    let socket = events.handle();
                    match event {
                        Event::Message(message) => break message,
                        Event::Flush { packets } => handler.flush(socket, packets).await,
                        Event::Drain => handler.drain(socket).await,
                        Event::Upgrading(transport) => handler.upgrading(socket, transport).await,
                        Event::Upgraded(transport) => handler.upgraded(socket, transport).await,
                        Event::Heartbeat => handler.heartbeat(socket).await,
                        // These do not concern a server: an upgrade that fails there only ends its probe.
                        Event::UpgradeFailed(_) | Event::Lagged { .. } => (),
                        Event::Close(reason) => handler.close(socket, reason).await,
                    }
                },
            };
            handler.message(events.handle(), message).await;
        }
    }
}
