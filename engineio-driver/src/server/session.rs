//! The server's side of a session: its machine, its exchanges, and what of it concerns the server.

use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker};

use engineio_proto as proto;
use engineio_proto::http::Response;
use engineio_proto::server::{Input, Output, SessionKey};
use engineio_proto::{ChannelId, CloseReason, ExchangeId, Instant, Machine, Phase, Session};

use super::state::Inner;
use crate::body::Answered;
use crate::session::{Attached, Cell, Deferred, End, Side, set};

pub(crate) struct Served {
    /// Until it has ended and everything was taken from it.
    session: Option<Session>,
    /// Those that wait for their answer, few at any time.
    exchanges: Vec<Exchange>,
    /// The last number that was given to an exchange or a channel.
    number: u64,
    key: SessionKey,
    server: Weak<Inner>,
    /// When the server's timer will look at the session.
    queued: Option<Instant>,
    /// It can be found by its id.
    listed: bool,
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

    /// A session with its first input.
    pub(crate) const fn new(session: Option<Session>, key: SessionKey, server: Weak<Inner>) -> Self {
        let exchanges = Vec::new();
        Self { session, exchanges, number: 1, key, server, queued: None, listed: true }
    }

    pub(crate) fn session_mut(&mut self) -> Option<&mut Session> {
        self.session.as_mut()
    }

    pub(crate) fn next_number(&mut self) -> u64 {
        self.number += 1;
        self.number
    }

    /// An exchange waits for its answer from now on.
    pub(crate) fn open_exchange(&mut self, id: ExchangeId) {
        // There is hardly ever a second one.
        self.exchanges.reserve_exact(1);
        self.exchanges.push(Exchange { id, answer: None, waker: None });
    }

    /// The answer to an exchange, which is over then.
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

    /// Nobody waits for the answer to an exchange any more.
    pub(crate) fn close_exchange(&mut self, id: ExchangeId, deferred: &mut Deferred) {
        if let Some(index) = self.exchanges.iter().position(|exchange| exchange.id == id) {
            let Exchange { answer, waker, .. } = self.exchanges.swap_remove(index);
            deferred.release(waker);
            if let Some(answer) = answer {
                deferred.drop_value(answer);
            }
        }
    }

    /// The session is not queued for the server's timer any more. It is queued anew at the end of the visit.
    pub(crate) fn requeue(&mut self) {
        self.queued = None;
    }

    /// The server's timer looks at the session, which is not queued any more.
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
            self.listed = false;
            if let Some(server) = self.server.upgrade() {
                server.sessions.forget(self.key);
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
    /// The session leaves the server: who still holds it finds how it ended.
    fn leave(&mut self, reason: CloseReason, attached: &mut Attached, deferred: &mut Deferred) {
        let Some(session) = self.session.take() else { return };
        attached.set_end(End::of(&session, reason), deferred);
        // What was not sent is the application's.
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
}

impl Cell<Served> {
    fn input(&self, input: Input) {
        self.visit(|visit| {
            let now = visit.now();
            if let Some(session) = visit.side.session_mut() {
                session.handle_input(now, input);
            }
        });
    }
}

/// As what an answer on its way is watched for.
pub(crate) fn answered(cell: &Arc<Cell<Served>>) -> Arc<dyn Answered> {
    Arc::clone(cell) as Arc<dyn Answered>
}
