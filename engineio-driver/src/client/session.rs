//! The client's side of a session: its machine, and the work for its task.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};

use engineio_proto::client::{Config, Details, Input, Output};
use engineio_proto::{Client, CloseReason, ConfigError, Event, Instant, Machine, TransportKind};

use crate::runtime::{Clock, Runtime};
use crate::session::{Attached, Cause, Cell, Deferred, End, Environment, Link, Offer, RequestHead, Side, Visit, set};

pub(super) struct Opened {
    /// `None` once the session has ended and everything was taken from it.
    client: Option<Client>,
    /// `None` until the session opens.
    link: Option<Arc<Link>>,
    /// The head of the first request, until it moves into the link.
    head: Option<RequestHead>,
    /// The outputs that the task has to carry out.
    actions: VecDeque<Output>,
    task: Option<Waker>,
    /// The deadline for which the task's timer is armed.
    armed: Option<Instant>,
    /// Whether a WebSocket worked, as the machine last reported it. It is passed to the next session.
    websocket_worked: bool,
    memory: Arc<AtomicBool>,
    /// The cause of the end; before it, of the input that is being handled.
    cause: Option<Cause>,
    /// The task has carried out everything and has ended.
    done: bool,
    /// The machine has reported its end.
    closed: bool,
}

/// Why a session was not opened, the server's answer, and the cause.
pub(super) type Unopened = (CloseReason, Option<Details>, Option<Cause>);

/// Creates a session that is about to open.
///
/// # Errors
/// Returns an error if the options are not valid.
pub(super) fn begin(
    runtime: &Runtime,
    config: Arc<Config>,
    head: RequestHead,
    memory: Arc<AtomicBool>,
    observed: bool,
) -> Result<Arc<Cell<Opened>>, ConfigError> {
    let environment = Environment {
        clock: Clock::new(runtime.clone()),
        close_timeout: config.close_timeout,
        max_payload: config.max_payload,
        tasks: None,
    };
    let websocket_worked = config.websocket_worked;
    let side = Opened {
        client: Some(Client::new(environment.clock.now(), config, entropy())?),
        link: None,
        head: Some(head),
        actions: VecDeque::new(),
        task: None,
        armed: None,
        websocket_worked,
        memory,
        cause: None,
        done: false,
        closed: false,
    };
    Ok(Arc::new(Cell::new(Arc::new(environment), side, Attached::new(observed))))
}

impl Cell<Opened> {
    /// Waits until the session is open, or has ended before that.
    pub(super) fn poll_opened(&self, cx: &Context<'_>) -> Poll<Result<Arc<Link>, Unopened>> {
        self.visit(|visit| {
            if let Some(link) = &visit.side.link {
                return Poll::Ready(Ok(Arc::clone(link)));
            }
            if let Some(reason) = visit.side.client.as_ref().and_then(Client::close_reason) {
                let details = visit.side.client.as_ref().and_then(Client::details).cloned();
                return Poll::Ready(Err((reason, details, visit.side.cause.clone())));
            }
            if let Some(end) = &visit.attached.end {
                return Poll::Ready(Err((end.reason, end.details.clone(), end.cause.clone())));
            }
            visit.attached.waiters.register(cx);
            Poll::Pending
        })
    }

    /// Ends a session that is no longer wanted.
    pub(super) fn give_up(&self) {
        self.visit(|visit| {
            if let Some((machine, now)) = visit.timed() {
                machine.discard_incoming();
                machine.close(now);
            }
        });
    }

    /// Reports what has happened on a transport. The cause is kept if that ends the session.
    pub(super) fn input(&self, input: Input, cause: Option<Cause>) {
        self.visit(|visit| {
            if let Some(cause) = cause {
                visit.side.note_cause(cause);
            }
            visit.input(input);
        });
    }

    /// Returns the next work for the task.
    pub(super) fn next_work(&self, cx: &Context<'_>) -> Work {
        self.visit(|visit| {
            let now = visit.now();
            if let Some(client) = &mut visit.side.client {
                client.handle_timeout(now);
            }
            visit.settle();
            let side = &mut *visit.side;
            set(&mut side.task, cx, visit.deferred);
            side.armed = side.client.as_ref().and_then(Client::next_timeout);
            let over = match (&side.client, &visit.attached.end) {
                (Some(client), _) => client.close_reason().map(|_| client.transport()),
                (None, end) => Some(end.as_ref().map_or(TransportKind::Polling, |end| end.last.transport)),
            };
            Work { actions: std::mem::take(&mut side.actions), next: side.armed, over }
        })
    }

    /// Marks the task as ended.
    pub(super) fn finish(&self, inputs: impl IntoIterator<Item = Input>) {
        self.visit(|visit| {
            inputs.into_iter().for_each(|input| visit.input(input));
            let now = visit.now();
            if let Some(client) = visit.side.client.as_mut().filter(|client| client.close_reason().is_none()) {
                client.abort(now);
            }
            visit.side.done = true;
            visit.attached.wake_all(visit.deferred);
            visit.settle();
            // The remaining outputs may hold messages of the application.
            visit.deferred.drop_value(std::mem::take(&mut visit.side.actions));
        });
    }
}

/// Work for the task of a session.
pub(super) struct Work {
    pub(super) actions: VecDeque<Output>,
    /// The deadline until which the task may sleep afterwards.
    pub(super) next: Option<Instant>,
    /// The transport of the session, if it has ended.
    pub(super) over: Option<TransportKind>,
}

impl Visit<'_, Opened> {
    pub(super) fn input(&mut self, input: Input) {
        let now = self.now();
        if let Some(client) = &mut self.side.client {
            client.handle_input(now, input);
        }
    }
}

impl Side for Opened {
    fn machine(&self) -> Option<&dyn Machine> {
        self.client.as_ref().map(|client| client as &dyn Machine)
    }

    fn machine_mut(&mut self) -> Option<&mut dyn Machine> {
        self.client.as_mut().map(|client| client as &mut dyn Machine)
    }

    /// A session that was closed in order has ended once the task has told the server. Only then may a program exit.
    fn over(&self, attached: &Attached) -> Option<CloseReason> {
        let client = self.client.as_ref()?;
        let reason = client.close_reason()?;
        (reason != CloseReason::ForcedClose || attached.aborted || self.done).then_some(reason)
    }

    fn note_cause(&mut self, cause: Cause) {
        if self.client.as_ref().is_some_and(|client| client.close_reason().is_none()) {
            self.cause = Some(cause);
        }
    }

    fn cause(&self) -> Option<&Cause> {
        self.cause.as_ref()
    }

    fn settle(&mut self, attached: &mut Attached, deferred: &mut Deferred) {
        let Some(client) = &mut self.client else { return };
        while let Some(output) = client.poll_output() {
            match output {
                Output::ChannelReady { channel } | Output::ChannelRead { channel, .. } => {
                    attached.wake_channel(channel, deferred);
                }
                Output::ChannelClose { channel } => {
                    attached.close_channel(channel, deferred);
                    self.actions.push_back(output);
                }
                Output::Event(Event::Closed(_)) => self.closed = true,
                Output::Event(event) => {
                    if event == Event::Opened {
                        if let (Some(sid), Some(head)) = (client.sid().cloned(), self.head.take()) {
                            self.link = Some(Arc::new(Link::new(sid, None, head, Offer::of(client).map(Box::new))));
                        }
                        deferred.wake_all(attached.waiters.take());
                    }
                    attached.notify(event, deferred);
                }
                Output::Request { .. } | Output::Cancel { .. } | Output::ChannelOpen { .. } => {
                    self.actions.push_back(output);
                }
            }
        }
        if client.close_reason().is_none() {
            self.cause = None;
        }
        if self.websocket_worked != client.websocket_worked() {
            // Only a change is stored: another session may have stored something newer.
            self.websocket_worked = client.websocket_worked();
            self.memory.store(self.websocket_worked, Ordering::Relaxed);
        }
        let next = client.next_timeout();
        let earlier = next.is_some_and(|next| self.armed.is_none_or(|armed| next < armed));
        if earlier || !self.actions.is_empty() {
            deferred.wake(self.task.take());
        }
        if let (true, Some(reason)) = (self.closed, self.over(attached)) {
            if let Some(client) = self.client.take() {
                let end = End { cause: self.cause.take(), ..End::of(&client, reason) };
                attached.set_end(end, deferred);
                // Messages that were not sent belong to the application.
                deferred.drop_value(client);
            }
        }
    }
}

impl fmt::Debug for Opened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.client.fmt(f)
    }
}

/// Returns a value that differs between sessions. If the system has no random numbers, it is constant.
pub(super) fn entropy() -> u64 {
    let mut bytes = [0; 8];
    let _ = getrandom::fill(&mut bytes);
    u64::from_ne_bytes(bytes)
}
