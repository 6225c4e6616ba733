//! The task of one session: carries out the outputs of its machine, and reports the results.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use engineio_proto::client::{Input, Output, Request};
use engineio_proto::{ChannelEnd, ChannelId, ExchangeId, Instant, RequestError, TransportKind};
use hyper::rt::Sleep;
use hyper::upgrade::Upgraded;

use super::channel::{self, Unopened};
use super::http::{Answer, Failed, Http};
use super::session::{Opened, Work};
use crate::session::{AnySession, Cause, Cell};
use crate::websocket::ChannelTask;

type Exchange = Pin<Box<dyn Future<Output = (Input, Option<Cause>)> + Send>>;
type Opening = Pin<Box<dyn Future<Output = Result<Upgraded, Unopened>> + Send>>;

/// The task of one session: one GET, one POST, one channel, and the timer.
pub(super) struct SessionTask {
    session: Arc<Cell<Opened>>,
    http: Arc<Http>,
    exchanges: Vec<(ExchangeId, Exchange)>,
    channel: Option<(ChannelId, Channel)>,
    sleep: Option<Pin<Box<dyn Sleep>>>,
    armed: Option<Instant>,
    /// How long requests that are under way at the end may take. Their answers do not matter, but the server may learn
    /// from them that the session has ended.
    farewell_timeout: Duration,
    farewell: Option<Pin<Box<dyn Sleep>>>,
}

enum Channel {
    Opening(Opening),
    Open(Box<ChannelTask>),
}

impl SessionTask {
    pub(super) fn new(session: Arc<Cell<Opened>>, http: Arc<Http>, farewell_timeout: Duration) -> Self {
        let exchanges = Vec::new();
        Self { session, http, exchanges, channel: None, sleep: None, armed: None, farewell_timeout, farewell: None }
    }

    fn act(&mut self, actions: VecDeque<Output>) {
        for action in actions {
            match action {
                Output::Request { exchange, request } => {
                    let (http, session) = (Arc::clone(&self.http), Arc::downgrade(&self.session));
                    self.exchanges.push((exchange, Box::pin(run_exchange(http, session, exchange, request))));
                }
                Output::Cancel { exchange } => self.exchanges.retain(|(other, _)| *other != exchange),
                Output::ChannelOpen { channel, target } => {
                    let http = Arc::clone(&self.http);
                    let opening = Box::pin(async move { channel::open(&http, &target).await });
                    self.channel = Some((channel, Channel::Opening(opening)));
                }
                // An open channel first writes its remaining frames, and then ends by itself.
                Output::ChannelClose { channel } => {
                    let opening = |open: &mut (ChannelId, Channel)| matches!(open.1, Channel::Opening(_));
                    self.channel.take_if(|open| open.0 == channel && opening(open));
                }
                // The tasks concerned were already told.
                Output::ChannelReady { .. } | Output::ChannelRead { .. } | Output::Event(_) => (),
            }
        }
    }

    /// Returns whether a request has finished.
    fn poll_exchanges(&mut self, cx: &mut Context<'_>) -> bool {
        let mut inputs = Vec::new();
        self.exchanges.retain_mut(|(_, exchange)| match exchange.as_mut().poll(cx) {
            Poll::Ready(input) => {
                inputs.push(input);
                false
            }
            Poll::Pending => true,
        });
        let some = !inputs.is_empty();
        for input in inputs {
            // One at a time: after each answer, the machine must know what was written before the next POST is
            // reported.
            let (input, cause) = input;
            self.session.input(input, cause);
        }
        some
    }

    /// Returns whether a channel has opened or ended.
    fn poll_channel(&mut self, cx: &mut Context<'_>) -> bool {
        let Some((channel, stage)) = &mut self.channel else { return false };
        let channel = *channel;
        match stage {
            Channel::Opening(opening) => match opening.as_mut().poll(cx) {
                Poll::Pending => return false,
                Poll::Ready(Ok(io)) => {
                    self.session.visit(|visit| {
                        visit.attached.open_channel(channel);
                        visit.input(Input::ChannelOpened { channel });
                    });
                    let session = AnySession::new(Arc::clone(&self.session), None);
                    *stage = Channel::Open(Box::new(ChannelTask::opened(session, channel, io)));
                }
                Poll::Ready(Err(Unopened { details, cause })) => {
                    self.channel = None;
                    let input = Input::ChannelClosed { channel, end: ChannelEnd::Unopened, details };
                    self.session.input(input, Some(cause));
                }
            },
            Channel::Open(task) => {
                if self.exchanges.is_empty() {
                    // Either no channel follows, or it gets a new connection.
                    self.http.close_idle();
                }
                if Pin::new(task).poll(cx).is_pending() {
                    return false;
                }
                self.channel = None;
            }
        }
        true
    }

    /// Returns whether a session that has ended leaves nothing that should be waited for.
    fn poll_farewell(&mut self, cx: &mut Context<'_>, transport: TransportKind) -> bool {
        if !self.exchanges.is_empty() {
            let runtime = self.session.environment().runtime();
            let farewell = self.farewell.get_or_insert_with(|| runtime.sleep(self.farewell_timeout));
            if farewell.as_mut().poll(cx).is_ready() {
                self.exchanges.clear();
            }
        }
        // An open channel has its own time limit. A channel that was only probed does not matter.
        self.exchanges.is_empty() && (self.channel.is_none() || transport == TransportKind::Polling)
    }

    /// Returns whether a deadline has passed.
    fn poll_sleep(&mut self, cx: &mut Context<'_>, next: Option<Instant>) -> bool {
        let Some(next) = next else { return false };
        if self.armed != Some(next) {
            self.session.environment().clock.arm(&mut self.sleep, next);
            self.armed = Some(next);
        }
        let due = self.sleep.as_mut().is_some_and(|sleep| sleep.as_mut().poll(cx).is_ready());
        if due {
            self.armed = None;
        }
        due
    }
}

impl Future for SessionTask {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        loop {
            let Work { actions, next, over } = this.session.next_work(cx);
            this.act(actions);
            let exchanged = this.poll_exchanges(cx);
            let channelled = this.poll_channel(cx);
            if over.is_some_and(|transport| this.poll_farewell(cx, transport)) {
                return Poll::Ready(());
            }
            if !exchanged && !channelled && !this.poll_sleep(cx, next) {
                return Poll::Pending;
            }
        }
    }
}

/// The task ends when everything is done, when the runtime ends, or when a connector panics. What was under way is
/// lost.
impl Drop for SessionTask {
    fn drop(&mut self) {
        let opening = self.channel.take().map(|(channel, _)| channel);
        let failed = std::mem::take(&mut self.exchanges).into_iter().map(|(exchange, future)| {
            drop(future);
            Input::Failed { exchange, error: RequestError::Lost }
        });
        let failed: Vec<_> = failed.collect();
        let lost = opening.map(|channel| Input::ChannelClosed { channel, end: ChannelEnd::Lost, details: None });
        self.session.finish(failed.into_iter().chain(lost));
    }
}

async fn run_exchange(
    http: Arc<Http>,
    session: Weak<Cell<Opened>>,
    exchange: ExchangeId,
    request: Request,
) -> (Input, Option<Cause>) {
    match http.exchange(&session, request).await {
        Ok(Answer { status, body, cause }) => (Input::Answered { exchange, status, body }, cause),
        Err(Failed { error, cause }) => (Input::Failed { exchange, error }, cause),
    }
}
