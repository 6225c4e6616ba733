//! Sessions by callbacks.

use std::future::Future;

use engineio_proto::{CloseReason, Message, TransportKind};

use crate::session::Event;
use crate::socket::{Events, Handle};
use crate::tasks::Guard;

/// What handles one session, by callbacks. Each is called when the one before has returned, in the order of [`Event`]s; a
/// slow one slows down the client of this session, and nobody else.
///
/// Every callback has a default that does nothing. [`Server::run`](crate::Server::run) makes a handler for every new
/// session, which is the callback for a connection.
pub trait Handler: Send + 'static {
    /// A message arrived.
    fn message(&mut self, socket: &Handle, message: Message) -> impl Future<Output = ()> + Send {
        let _ = (socket, message);
        async {}
    }

    /// A probe was answered: the client is about to change to this transport.
    fn upgrading(&mut self, socket: &Handle, transport: TransportKind) -> impl Future<Output = ()> + Send {
        let _ = (socket, transport);
        async {}
    }

    /// The session changed to this transport.
    fn upgraded(&mut self, socket: &Handle, transport: TransportKind) -> impl Future<Output = ()> + Send {
        let _ = (socket, transport);
        async {}
    }

    /// Packets are handed to the transport.
    fn flush(&mut self, socket: &Handle, packets: usize) -> impl Future<Output = ()> + Send {
        let _ = (socket, packets);
        async {}
    }

    /// The transport took the packets of the last flush.
    fn drain(&mut self, socket: &Handle) -> impl Future<Output = ()> + Send {
        let _ = socket;
        async {}
    }

    /// A pong arrived.
    fn heartbeat(&mut self, socket: &Handle) -> impl Future<Output = ()> + Send {
        let _ = socket;
        async {}
    }

    /// The session is over. The last callback.
    fn close(&mut self, socket: &Handle, reason: CloseReason) -> impl Future<Output = ()> + Send {
        let _ = (socket, reason);
        async {}
    }
}

/// Calls a handler for whatever happens, until the end.
pub(crate) async fn serve<H: Handler>(mut events: Events, mut handler: H, _under_way: Guard) {
    let socket = events.handle().clone();
    while let Some(event) = events.next().await {
        match event {
            Event::Message(message) => handler.message(&socket, message).await,
            Event::Flush { packets } => handler.flush(&socket, packets).await,
            Event::Drain => handler.drain(&socket).await,
            Event::Upgrading(transport) => handler.upgrading(&socket, transport).await,
            Event::Upgraded(transport) => handler.upgraded(&socket, transport).await,
            Event::Heartbeat => handler.heartbeat(&socket).await,
            // A server's sessions do not fail to upgrade; their probes just end.
            Event::UpgradeFailed(_) | Event::Lagged { .. } => (),
            Event::Close(reason) => handler.close(&socket, reason).await,
        }
    }
}
