//! Reconnecting: a client that opens a new session when one is lost.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use engineio_proto::client::{Reconnect, ReconnectConfig};
use engineio_proto::{CloseReason, ConfigError, Message, SendError};
use futures_core::Stream;
use hyper::rt::Sleep;

use super::session::entropy;
use super::{Client, ConnectError};
use crate::runtime::Clock;
use crate::socket::{Handle, Socket};

/// A client that opens a new session when one is lost.
///
/// See [`Client::reconnecting`].
///
/// Nothing is carried over from one session to the next. Messages that were not delivered are lost with their session;
/// [`ReconnectEvent::Closed`] reports its end, and the application must send again what has to arrive. After a session
/// that the application closes, no other one is opened.
///
/// It only makes progress while [`next`](Reconnecting::next) is polled. Dropping it closes the session in order.
#[must_use = "a reconnecting client does nothing unless `next` is polled"]
pub struct Reconnecting {
    client: Client,
    machine: Reconnect,
    clock: Clock,
    stage: Stage,
}

enum Stage {
    Connecting(Pin<Box<dyn Future<Output = Result<Socket, ConnectError>> + Send>>),
    Open(Socket),
    Waiting(Pin<Box<dyn Sleep>>),
    Over,
}

/// An event of a client that reconnects.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum ReconnectEvent {
    /// A session is open. Messages are sent to this session.
    Opened(Handle),
    /// A message arrived.
    Message(Message),
    /// The session has ended.
    Closed {
        /// Why it ended.
        reason: CloseReason,
        /// The delay before the next attempt. `None` if no attempt follows, and this is the last event.
        retry: Option<Duration>,
    },
    /// An attempt to open a session failed.
    Failed {
        /// Why it failed.
        error: ConnectError,
        /// The delay before the next attempt. `None` if no attempt follows, and this is the last event.
        retry: Option<Duration>,
    },
}

impl Reconnecting {
    pub(super) fn new(client: Client, config: ReconnectConfig) -> Result<Self, ConfigError> {
        let machine = Reconnect::new(config)?;
        let clock = Clock::new(client.runtime().clone());
        let stage = Stage::Connecting(connect(&client));
        Ok(Self { client, machine, clock, stage })
    }

    /// Waits for the next event. Returns `None` if no more events follow.
    ///
    /// Cancel safe: an event is taken only by a call that returns it.
    pub async fn next(&mut self) -> Option<ReconnectEvent> {
        poll_fn(|cx| self.poll_event(cx)).await
    }

    /// Returns the open session, if there is one.
    pub fn session(&self) -> Option<&Handle> {
        match &self.stage {
            Stage::Open(socket) => Some(socket),
            _ => None,
        }
    }

    /// Sends a message on the open session, and waits for room.
    ///
    /// # Errors
    /// The same as [`Handle::send`]. Without an open session, the message is returned in [`SendError::Closed`].
    pub fn send<M: Into<Message>>(
        &self,
        message: M,
    ) -> impl Future<Output = Result<(), SendError>> + Send + 'static + use<M> {
        let (session, message) = (self.session().cloned(), message.into());
        async move {
            match session {
                Some(session) => session.send(message).await,
                None => Err(SendError::Closed(message)),
            }
        }
    }

    /// Returns how many attempts in a row were announced. The count restarts when a session that opened is lost.
    pub fn attempts(&self) -> u32 {
        self.machine.attempts()
    }

    /// Tries at once if the client is waiting for its next attempt, and resets the delays. For use when the network is
    /// known to be available again.
    pub fn retry_now(&mut self) {
        if let Stage::Waiting(_) = self.stage {
            self.machine.reset();
            self.stage = Stage::Connecting(connect(&self.client));
        }
    }

    /// Closes the session in order, and opens no other one.
    ///
    /// If a session is open, its events continue until [`ReconnectEvent::Closed`]. Otherwise no more events follow.
    pub fn close(&mut self) {
        match &self.stage {
            Stage::Open(socket) => socket.close(),
            _ => self.stage = Stage::Over,
        }
    }

    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Option<ReconnectEvent>> {
        loop {
            match &mut self.stage {
                Stage::Connecting(connecting) => match ready!(connecting.as_mut().poll(cx)) {
                    Ok(socket) => {
                        self.machine.opened(self.clock.now());
                        let handle = socket.handle();
                        self.stage = Stage::Open(socket);
                        return Poll::Ready(Some(ReconnectEvent::Opened(handle)));
                    }
                    Err(error) => {
                        let retry = self.wait();
                        return Poll::Ready(Some(ReconnectEvent::Failed { error, retry }));
                    }
                },
                Stage::Open(socket) => {
                    if let Some(message) = ready!(Pin::new(&mut *socket).poll_next(cx)) {
                        return Poll::Ready(Some(ReconnectEvent::Message(message)));
                    }
                    let reason = socket.close_reason().unwrap_or(CloseReason::TransportClose);
                    let retry = if socket.is_unwanted() {
                        self.stage = Stage::Over;
                        None
                    } else {
                        self.wait()
                    };
                    return Poll::Ready(Some(ReconnectEvent::Closed { reason, retry }));
                }
                Stage::Waiting(sleep) => {
                    ready!(sleep.as_mut().poll(cx));
                    self.machine.handle_timeout(self.clock.now());
                    self.stage = Stage::Connecting(connect(&self.client));
                }
                Stage::Over => return Poll::Ready(None),
            }
        }
    }

    /// Waits for the next attempt, if there is one.
    fn wait(&mut self) -> Option<Duration> {
        let now = self.clock.now();
        let delay = self.machine.lost(now, entropy()).map(|at| at.saturating_since(now));
        self.stage = delay.map_or(Stage::Over, |delay| Stage::Waiting(self.client.runtime().sleep(delay)));
        delay
    }
}

impl Stream for Reconnecting {
    type Item = ReconnectEvent;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<ReconnectEvent>> {
        self.poll_event(cx)
    }
}

impl fmt::Debug for Reconnecting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reconnecting").field("client", &self.client).field("machine", &self.machine).finish()
    }
}

fn connect(client: &Client) -> Pin<Box<dyn Future<Output = Result<Socket, ConnectError>> + Send>> {
    let client = client.clone();
    Box::pin(async move { client.connect().await })
}
