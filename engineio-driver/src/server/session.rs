//! The server's side of a session: its machine, its exchanges, and what it reports to the server.

use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker};

use engineio_proto as proto;
use engineio_proto::http::Response;
use engineio_proto::server::{Input, Output, SessionKey};
use engineio_proto::{ChannelId, CloseReason, ExchangeId, Instant, Machine, Phase, Session};

use super::state::Inner;
use crate::body::Answered;
use crate::session::{Attached, Cell, Deferred, End, Side, set};

/// What a message needs comes first, so that it touches little memory.
#[repr(C)]
pub(crate) struct Served {
    /// The session can be looked up by its id.
    listed: bool,
    /// The session may be evicted.
    evictable: bool,
    /// The time for which the session is queued in the server's timer.
    queued: Option<Instant>,
    /// `None` once the session has ended and everything was taken from it.
    session: Option<Session>,
    server: Weak<Inner>,
    key: SessionKey,
    /// The last number that was given to an exchange or a channel.
    number: u64,
    /// The exchanges that wait for their answer. There are few at any time.
    exchanges: Vec<Exchange>,
}

/// One HTTP request that waits for its answer.
struct Exchange {
    id: ExchangeId,
    answer: Option<Answer>,
    waker: Option<Waker>,
}

#[derive(Debug)]
pub(crate) enum Answer {
    Response(Response),
    Abort,
}

impl Served {
    /// The number of the exchange that opens a session.
    pub(crate) const FIRST_EXCHANGE: ExchangeId = ExchangeId(1);
    /// The number of the channel that opens a session.
    pub(crate) const FIRST_CHANNEL: ChannelId = ChannelId(1);

    /// Creates a session that has had its first input.
    pub(crate) fn new(session: Option<Session>, key: SessionKey, server: Weak<Inner>) -> Self {
        let exchanges = Vec::new();
        let evictable = session.as_ref().is_some_and(Session::is_unconfirmed);
        Self { session, exchanges, number: 1, key, server, queued: None, listed: true, evictable }
    }

    pub(crate) fn session_mut(&mut self) -> Option<&mut Session> {
        self.session.as_mut()
    }

    pub(crate) fn next_number(&mut self) -> u64 {
        self.number += 1;
        self.number
    }

    /// Adds an exchange, which waits for its answer.
    pub(crate) fn open_exchange(&mut self, id: ExchangeId) {
        // A second one is rare.
        self.exchanges.reserve_exact(1);
        self.exchanges.push(Exchange { id, answer: None, waker: None });
    }

    /// Takes the answer to an exchange, which ends with it.
    pub(crate) fn take_answer(&mut self, id: ExchangeId) -> Option<Answer> {
        let index = self.exchanges.iter().position(|exchange| exchange.id == id && exchange.answer.is_some())?;
        self.exchanges.swap_remove(index).answer
    }

    pub(crate) fn poll_answer(&mut self, id: ExchangeId, cx: &Context<'_>, deferred: &mut Deferred) -> Poll<Answer> {
        if let Some(answer) = self.take_answer(id) {
            return Poll::Ready(answer);
        }
        if let Some(exchange) = self.exchanges.iter_mut().find(|exchange| exchange.id == id) {
            set(&mut exchange.waker, cx, deferred);
        }
        Poll::Pending
    }

    /// Removes an exchange whose answer is no longer waited for.
    pub(crate) fn close_exchange(&mut self, id: ExchangeId, deferred: &mut Deferred) {
        if let Some(index) = self.exchanges.iter().position(|exchange| exchange.id == id) {
            let Exchange { answer, waker, .. } = self.exchanges.swap_remove(index);
            deferred.release(waker);
            if let Some(answer) = answer {
                deferred.drop_value(answer);
            }
        }
    }

    /// Marks the session as not queued in the server's timer. The end of the visit queues it again.
    pub(crate) fn requeue(&mut self) {
        self.queued = None;
    }

    /// Called by the server's timer, which no longer has the session in its queue.
    pub(crate) fn wake(&mut self, now: Instant) {
        self.requeue();
        if let Some(session) = &mut self.session {
            session.handle_timeout(now);
        }
    }

    fn answer(exchanges: &mut [Exchange], id: ExchangeId, answer: Answer, deferred: &mut Deferred) {
        match exchanges.iter_mut().find(|exchange| exchange.id == id) {
            Some(exchange) => {
                deferred.wake(exchange.waker.take());
                if let Some(other) = exchange.answer.replace(answer) {
                    deferred.drop_value(other);
                }
            }
            None => deferred.drop_value(answer),
        }
    }
}

impl Side for Served {
    fn machine(&self) -> Option<&dyn Machine> {
        self.session.as_ref().map(|session| session as &dyn Machine)
    }

    fn machine_mut(&mut self) -> Option<&mut dyn Machine> {
        self.session.as_mut().map(|session| session as &mut dyn Machine)
    }

    fn over(&self, _: &Attached) -> Option<CloseReason> {
        self.session.as_ref()?.close_reason()
    }

    fn settle(&mut self, attached: &mut Attached, deferred: &mut Deferred) {
        let Some(session) = &mut self.session else { return };
        let mut closed = None;
        while let Some(output) = session.poll_output() {
            match output {
                Output::Respond { exchange, response } => {
                    Self::answer(&mut self.exchanges, exchange, Answer::Response(response), deferred);
                }
                Output::Abort { exchange } => {
                    Self::answer(&mut self.exchanges, exchange, Answer::Abort, deferred);
                }
                Output::ChannelReady { channel } | Output::ChannelRead { channel, .. } => {
                    attached.wake_channel(channel, deferred);
                }
                Output::ChannelClose { channel } => attached.close_channel(channel, deferred),
                Output::Event(proto::Event::Closed(reason)) => closed = Some(reason),
                Output::Event(event) => attached.notify(event, deferred),
            }
        }
        if self.listed && session.phase() == Phase::Closed {
            (self.listed, self.evictable) = (false, false);
            if let Some(server) = self.server.upgrade() {
                server.sessions.forget(self.key);
                deferred.release_owner(server);
            }
        }
        if self.evictable && !session.is_unconfirmed() {
            self.evictable = false;
            if let Some(server) = self.server.upgrade() {
                server.sessions.confirm(self.key);
                deferred.release_owner(server);
            }
        }
        if let Some(reason) = closed {
            return self.leave(reason, attached, deferred);
        }
        let next = session.next_timeout();
        let earlier = match (self.queued, next) {
            (Some(queued), Some(next)) => next < queued,
            (queued, next) => queued.is_some() != next.is_some(),
        };
        if earlier {
            if let Some(server) = self.server.upgrade() {
                self.queued = server.sessions.schedule(self.key, next, deferred);
                deferred.release_owner(server);
            }
        }
    }
}

impl Served {
    /// Removes the session from the server. Those who still hold it can see how it ended.
    fn leave(&mut self, reason: CloseReason, attached: &mut Attached, deferred: &mut Deferred) {
        let Some(session) = self.session.take() else { return };
        attached.set_end(End::of(&session, reason), deferred);
        // Messages that were not sent belong to the application.
        deferred.drop_value(session);
        if let Some(server) = self.server.upgrade() {
            if let Some(entry) = server.sessions.remove(self.key) {
                deferred.drop_value(entry);
            }
            deferred.release_owner(server);
        }
    }
}

impl Answered for Cell<Served> {
    fn written(&self, exchange: ExchangeId) {
        self.input(Input::AnswerWritten { exchange });
    }

    fn unblocked(&self) {
        self.input(Input::Unblocked);
    }

    fn lost(&self, exchange: ExchangeId) {
        self.input(Input::ExchangeLost { exchange });
    }

    fn is_over(&self) -> bool {
        self.visit(|visit| visit.over().is_some())
    }
}

impl Cell<Served> {
    /// Ends a session that must make room for another one.
    pub(crate) fn evict(&self) {
        self.visit(|visit| {
            let now = visit.now();
            if let Some(session) = visit.side.session_mut() {
                session.evict(now);
            }
        });
    }

    fn input(&self, input: Input) {
        self.visit(|visit| {
            let now = visit.now();
            if let Some(session) = visit.side.session_mut() {
                session.handle_input(now, input);
            }
        });
    }
}

/// Returns the session as the observer of an answer.
pub(crate) fn answered(cell: &Arc<Cell<Served>>) -> Arc<dyn Answered> {
    Arc::clone(cell) as Arc<dyn Answered>
}
