//! Where a session lives: among those of a server, or with its client. Whoever works with a session visits it there.

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use engineio_proto as proto;
use engineio_proto::client::Details;
use engineio_proto::server::{Input, SessionKey, SessionMut};
use engineio_proto::wire::Frame;
use engineio_proto::{ChannelEnd, ChannelId, CloseReason, Instant, Message, SendError, Stats, TransportKind};

use crate::hands::{Hands, Later, Wakes, set};
use crate::runtime::Runtime;
use crate::tasks::Guard;
use crate::{client, server};

#[derive(Clone)]
pub(crate) enum Home {
    Server { inner: Arc<server::Inner>, shard: usize, key: SessionKey },
    Client(Arc<client::Inner>),
}

impl Home {
    /// Works with the session under its lock, then does what it asks for. There is no place for a session that is gone.
    pub(crate) fn visit<T>(&self, work: impl FnOnce(Option<Place<'_>>, Instant) -> T) -> T {
        self.visit_later(&mut Later::default(), work)
    }

    /// The same for whoever holds another lock: what must not be done under it is left for later.
    pub(crate) fn visit_later<T>(&self, later: &mut Later, work: impl FnOnce(Option<Place<'_>>, Instant) -> T) -> T {
        match self {
            Self::Server { inner, shard, key } => {
                inner.with_later(*shard, later, |core, now| work(core.place(*key), now))
            }
            Self::Client(inner) => inner.with_later(later, |core, now| work(core.place(), now)),
        }
    }

    /// Looks at the session under its lock.
    pub(crate) fn look<T>(&self, work: impl FnOnce(View<'_>) -> T) -> Option<T> {
        match self {
            Self::Server { inner, shard, key } => {
                inner.look(*shard, |core| core.server.session(*key).map(|session| work(View::Session(session))))
            }
            Self::Client(inner) => inner.look(|core| core.view().map(|client| work(View::Client(client)))),
        }
    }

    /// Why the session is over, if it is, for those who wait for that.
    pub(crate) fn over(&self) -> Option<CloseReason> {
        match self {
            Self::Server { inner, shard, key } => {
                inner.look(*shard, |core| core.server.session(*key).and_then(proto::Session::close_reason))
            }
            Self::Client(inner) => inner.look(client::Core::over),
        }
    }

    /// Works with the session as the task of one of its channels, which is woken from now on when there is something
    /// for it to do. Whether the session is done with the channel.
    pub(crate) fn visit_channel<T>(
        &self,
        channel: ChannelId,
        cx: &Context<'_>,
        work: impl FnOnce(Option<Place<'_>>, Instant) -> T,
    ) -> (T, bool) {
        let keep = |place: Option<&mut ChannelPlace>| {
            place.is_some_and(|place| {
                set(&mut place.waker, cx);
                place.close
            })
        };
        match self {
            Self::Server { inner, shard, key } => {
                inner.with(*shard, |core, now| (work(core.place(*key), now), keep(core.channel(channel))))
            }
            Self::Client(inner) => inner.with(|core, now| (work(core.place(), now), keep(core.channel(channel)))),
        }
    }

    /// The task of a channel is over.
    pub(crate) fn leave_channel(&self, channel: ChannelId) {
        match self {
            Self::Server { inner, shard, .. } => inner.with(*shard, |core, _| drop(core.close_channel(channel))),
            Self::Client(inner) => inner.with(|core, _| core.close_channel(channel)),
        }
        self.visit(|place, now| {
            if let Some(mut place) = place {
                place.machine.channel_closed(now, channel, ChannelEnd::Lost, None);
            }
        });
    }

    /// Something for the shutdown of the session's server to wait for.
    pub(crate) fn guard(&self) -> Option<Guard> {
        match self {
            Self::Server { inner, .. } => Some(Guard::new(&inner.tasks)),
            Self::Client(_) => None,
        }
    }

    pub(crate) fn runtime(&self) -> &Runtime {
        match self {
            Self::Server { inner, .. } => inner.runtime(),
            Self::Client(inner) => inner.runtime(),
        }
    }

    /// How long the orderly end of a channel may take.
    pub(crate) fn close_timeout(&self) -> Duration {
        match self {
            Self::Server { inner, .. } => inner.config().close_timeout,
            Self::Client(inner) => inner.config().close_timeout,
        }
    }

    /// Bytes of one message to us.
    pub(crate) fn max_payload(&self) -> usize {
        match self {
            Self::Server { inner, .. } => inner.config().max_payload,
            Self::Client(inner) => inner.config().max_payload,
        }
    }
}

impl fmt::Debug for Home {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Server { key, .. } => f.debug_tuple("Server").field(key).finish(),
            Self::Client(_) => f.write_str("Client"),
        }
    }
}

/// A session under its lock, with all that hangs on it.
#[derive(Debug)]
pub(crate) struct Place<'a> {
    pub(crate) machine: Machine<'a>,
    pub(crate) hands: &'a mut Hands,
    /// The channel that the session is on, or that probes.
    pub(crate) channel: Option<&'a mut ChannelPlace>,
    pub(crate) wakes: &'a mut Wakes,
    /// The session is over, and whoever waited for that need not wait any longer. Messages may still be there.
    pub(crate) over: Option<CloseReason>,
}

impl Place<'_> {
    /// The task of the channel should look.
    pub(crate) fn wake_channel(&mut self) {
        self.wakes.extend(self.channel.as_mut().and_then(|channel| channel.waker.take()));
    }
}

/// A message channel and the task that serves it.
#[derive(Debug, Default)]
pub(crate) struct ChannelPlace {
    /// The session is done with it.
    pub(crate) close: bool,
    pub(crate) waker: Option<Waker>,
}

/// A session, to look at.
#[derive(Clone, Copy, Debug)]
pub(crate) enum View<'a> {
    Session(&'a proto::Session),
    Client(&'a proto::Client),
}

/// A session, to work with: the machine of either side. Everything here is passed on, nothing decided.
#[derive(Debug)]
pub(crate) enum Machine<'a> {
    Session(SessionMut<'a>),
    Client(&'a mut proto::Client),
}

macro_rules! either {
    ($self:expr, $machine:ident => $call:expr) => {
        match $self {
            Self::Session($machine) => $call,
            Self::Client($machine) => $call,
        }
    };
}

impl View<'_> {
    pub(crate) fn phase(self) -> proto::Phase {
        either!(self, machine => machine.phase())
    }

    pub(crate) fn transport(self) -> TransportKind {
        either!(self, machine => machine.transport())
    }

    pub(crate) fn upgraded(self) -> bool {
        either!(self, machine => machine.upgraded())
    }

    pub(crate) fn stats(self) -> Stats {
        either!(self, machine => machine.stats())
    }

    /// How many messages have left, or were handed to a channel. What a client has posted has not left before its answer.
    pub(crate) fn handed_over(self) -> u64 {
        match self {
            Self::Session(session) => session.stats().messages_sent,
            Self::Client(client) => client.stats().messages_written,
        }
    }

    pub(crate) fn details(&self) -> Option<&Details> {
        match self {
            Self::Session(_) => None,
            Self::Client(client) => client.details(),
        }
    }

    pub(crate) fn send_buffered(self) -> usize {
        either!(self, machine => machine.send_buffered())
    }

    pub(crate) fn receive_buffered(self) -> usize {
        either!(self, machine => machine.receive_buffered())
    }
}

impl Machine<'_> {
    pub(crate) fn view(&self) -> View<'_> {
        match self {
            Self::Session(session) => View::Session(session),
            Self::Client(client) => View::Client(client),
        }
    }

    pub(crate) fn send(&mut self, now: Instant, message: Message) -> Result<(), SendError> {
        match self {
            Self::Session(session) => session.send(message),
            Self::Client(client) => client.send(now, message),
        }
    }

    pub(crate) fn send_all(&mut self, now: Instant, messages: Vec<Message>) -> Result<(), SendError<Vec<Message>>> {
        match self {
            Self::Session(session) => session.send_all(messages),
            Self::Client(client) => client.send_all(now, messages),
        }
    }

    pub(crate) fn poll_ready(&mut self) -> bool {
        either!(self, machine => machine.poll_ready())
    }

    pub(crate) fn recv(&mut self, now: Instant) -> Option<Message> {
        either!(self, machine => machine.recv(now))
    }

    pub(crate) fn close(&mut self, now: Instant) {
        either!(self, machine => machine.close(now));
    }

    pub(crate) fn abort(&mut self, now: Instant) {
        either!(self, machine => machine.abort(now));
    }

    pub(crate) fn discard_incoming(&mut self) {
        either!(self, machine => machine.discard_incoming());
    }

    pub(crate) fn next_frame(&mut self, now: Instant, channel: ChannelId) -> Option<Frame> {
        either!(self, machine => machine.next_frame(now, channel))
    }

    pub(crate) fn wants_frames(&self, channel: ChannelId) -> bool {
        either!(self, machine => machine.wants_frames(channel))
    }

    pub(crate) fn channel_frame(&mut self, now: Instant, channel: ChannelId, frame: Frame) {
        match self {
            Self::Session(session) => session.handle_input(now, Input::ChannelFrame { channel, frame }),
            Self::Client(client) => client.handle_input(now, proto::client::Input::ChannelFrame { channel, frame }),
        }
    }

    pub(crate) fn channel_closed(
        &mut self,
        now: Instant,
        channel: ChannelId,
        end: ChannelEnd,
        details: Option<Details>,
    ) {
        match self {
            Self::Session(session) => session.handle_input(now, Input::ChannelClosed { channel, end }),
            Self::Client(client) => {
                client.handle_input(now, proto::client::Input::ChannelClosed { channel, end, details });
            }
        }
    }
}
