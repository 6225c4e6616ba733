//! The task of one WebSocket: reads and writes. The session makes all decisions.
//!
//! In one turn, the task reads what has arrived; then, in one visit to the session, it passes on the frames that arrived
//! and pulls those to send; then it writes. An idle task has neither a read nor a write buffer: both belong to
//! the thread, and a task keeps what could not be decoded or written.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use engineio_proto::{ChannelEnd, ChannelId};
use hyper::rt::{Read, ReadBuf, Sleep, Write};
use hyper::upgrade::{OnUpgrade, Upgraded};

use super::frames::Codec;
use super::scratch::{Frames, READ, READ_LARGE, Rest, Scratch};
use crate::session::AnySession;
use crate::tasks::Guard;

/// Frames are pulled while less than this waits to be written, in bytes.
const WRITE_AHEAD: usize = 32 * 1024;
/// The maximum number of frames that are passed on in one visit.
const FRAMES: usize = 256;
/// Data of at least this size is not copied into the write buffer, if the connection can write several pieces at once.
/// Up to this size, the copy costs no more than the second piece.
const SHARE: usize = 16 * 1024;
/// The number of turns in one poll. The session's task may poll several times before other tasks run.
const BUDGET: usize = 8;

/// Serves one WebSocket, from its 101 to its end.
pub(crate) struct ChannelTask {
    session: AnySession,
    channel: ChannelId,
    /// On a server, which waits for the task when it shuts down.
    under_way: Option<Guard>,
    stage: Stage,
    codec: Codec,
    /// What could not be decoded or written. Hardly ever there, so it is boxed: a message then touches less memory.
    rest: Option<Box<Rest>>,
    /// The number of messages that were pulled: those that wait to be written, and all before.
    pulled: u64,
    /// The number of messages that are written.
    flushed: u64,
    /// The number of messages that were reported as written.
    reported: u64,
    /// The session wants prompt reports of what is written.
    wants_written: bool,
    /// The connection took no more bytes at the last attempt.
    blocked: bool,
    /// The connection has taken more bytes since, and the session has not been told.
    unblocked: bool,
    /// The session accepts frames.
    reading: bool,
    /// The peer's close frame has arrived.
    goodbye: bool,
}

enum Stage {
    /// The 101 is being sent or awaited.
    Accepting(OnUpgrade),
    Open(Upgraded),
    /// The session no longer uses the channel. What waits to be written is still written, and the peer's close frame is
    /// awaited.
    Closing(Box<(Upgraded, Pin<Box<dyn Sleep>>)>),
    Done,
}

/// The result of a visit to the session.
#[derive(Debug, Default)]
struct Visit {
    /// There is nothing more to pull at the moment.
    drained: bool,
    /// The session accepts frames.
    reading: bool,
    /// The session wants prompt reports of what is written.
    wants_written: bool,
    /// The session no longer uses the channel, or is gone.
    close: bool,
}

impl ChannelTask {
    /// Creates the task of a WebSocket that a client opens. The 101 is on its way.
    pub(crate) fn accept(session: AnySession, channel: ChannelId, upgrade: OnUpgrade) -> Self {
        let codec = Codec::server(session.environment().max_payload);
        Self::new(session, channel, Stage::Accepting(upgrade), codec)
    }

    /// Creates the task of a WebSocket that was opened to a server.
    pub(crate) fn opened(session: AnySession, channel: ChannelId, io: Upgraded) -> Self {
        let codec = Codec::client(session.environment().max_payload);
        Self::new(session, channel, Stage::Open(io), codec)
    }

    fn new(session: AnySession, channel: ChannelId, stage: Stage, codec: Codec) -> Self {
        Self {
            channel,
            under_way: session.environment().guard(),
            session,
            stage,
            codec,
            rest: None,
            pulled: 0,
            flushed: 0,
            reported: 0,
            wants_written: false,
            blocked: false,
            unblocked: false,
            reading: true,
            goodbye: false,
        }
    }

    /// Passes on frames that arrived, and pulls frames to send while there is `room` for their bytes.
    fn visit(
        &mut self,
        cx: &Context<'_>,
        frames: &mut Frames,
        room: Option<usize>,
        end: Option<ChannelEnd>,
        error: Option<io::Error>,
    ) -> Visit {
        let channel = self.channel;
        let details = end.and_then(|_| self.codec.close_frame());
        let (flushed, unblocked, mut pulled) = (self.flushed, std::mem::take(&mut self.unblocked), self.pulled);
        let has_written = self.reported < flushed;
        let visit = self.session.visit(|visit| {
            let mut done = Visit::default();
            if let Some(error) = error {
                visit.side.note_cause(error.into());
            }
            let is_stream = frames.incoming.is_empty() && end.is_none() && !unblocked;
            let timed = if is_stream { visit.streamed() } else { visit.timed() };
            let Some((machine, now)) = timed else {
                return Visit { close: true, ..done };
            };
            if has_written {
                machine.channel_written(now, channel, flushed);
            }
            if unblocked {
                machine.unblocked(now);
            }
            if !frames.incoming.is_empty() {
                machine.channel_frames(now, channel, &mut frames.incoming.drain(..));
            }
            if let Some(end) = end {
                machine.channel_closed(now, channel, end, details);
            }
            if let Some(room) = room {
                done.drained = machine.next_frames(now, channel, room, &mut |frame| frames.outgoing.push(frame));
            }
            done.reading = machine.wants_frames(channel);
            pulled = machine.messages_sent();
            done.wants_written = machine.wants_written();
            // Set before this task is registered, or the task would wake itself.
            visit.attached.set_reports(done.wants_written);
            visit.settle();
            done.close = visit.attached.await_channel(channel, cx, visit.deferred);
            done
        });
        self.reported = self.flushed;
        self.wants_written = visit.wants_written;
        self.reading = visit.reading;
        self.pulled = pulled;
        visit
    }

    /// Takes turns, with the memory of the thread. Ready in another stage.
    fn poll_open(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut scratch = Scratch::take();
        scratch.resume(&mut self.rest);
        let polled = self.poll_turns(cx, &mut scratch);
        self.rest = scratch.suspend();
        scratch.give_back();
        polled
    }

    /// Takes turns until there is only waiting to do: reads, visits the session, writes. The session is visited only for a
    /// reason: the task was woken, frames arrived, there is room for more frames, or a report of what is written is awaited.
    fn poll_turns(&mut self, cx: &mut Context<'_>, scratch: &mut Scratch) -> Poll<()> {
        let mut must_visit = true;
        // Only a read that finds nothing leads to a wakeup later.
        let mut may_read = true;
        for _ in 0..BUDGET {
            let Stage::Open(io) = &mut self.stage else { return Poll::Ready(()) };
            // A client that does not take the answers to its pings is not read any further.
            let reading = self.reading && scratch.rest.answers < WRITE_AHEAD;
            if reading && scratch.input.is_empty() && !scratch.rest.kept.is_empty() {
                scratch.restore();
            } else if reading && scratch.input.is_empty() && may_read {
                let size = if self.codec.left() > READ { READ_LARGE } else { READ };
                match poll_read(io, cx, scratch.chunk.get_mut(..size).unwrap_or_default()) {
                    Poll::Pending => may_read = false,
                    Poll::Ready(Err(error)) => return self.end(cx, ChannelEnd::Lost, Some(error)),
                    Poll::Ready(Ok(0)) => return self.end(cx, ChannelEnd::Lost, None),
                    Poll::Ready(Ok(len)) => scratch.input = 0..len,
                }
            }
            let end = if reading { self.decode(scratch) } else { None };
            let passes_on = !scratch.frames.incoming.is_empty();
            // If the application goes next, what it answers is pulled together with what waits now.
            let yields = passes_on && end.is_none() && !scratch.has_input();
            let mut drained = true;
            if must_visit || passes_on || end.is_some() {
                let room = (!yields).then(|| WRITE_AHEAD.saturating_sub(scratch.rest.output.left()));
                let visit = self.visit(cx, &mut scratch.frames, room, end, None);
                self.send(scratch);
                if visit.close || end.is_some() {
                    self.goodbye = end == Some(ChannelEnd::Closed);
                    self.start_closing(scratch);
                    return Poll::Ready(());
                }
                drained = yields || visit.drained;
            }
            if let Poll::Ready(Err(error)) = self.poll_write(cx, &mut scratch.rest) {
                return self.end(cx, ChannelEnd::Lost, Some(error));
            }
            let must_report = self.unblocked || (self.wants_written && self.reported < self.flushed);
            must_visit = must_report || (!self.blocked && !drained);
            if yields && !must_visit {
                // The answers leave in the next turn.
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            let readable = self.reading && scratch.rest.answers < WRITE_AHEAD && (may_read || scratch.has_input());
            if !readable && !must_visit {
                return Poll::Pending;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Writes what is ready, and notes what the connection took.
    fn poll_write(&mut self, cx: &mut Context<'_>, rest: &mut Rest) -> Poll<io::Result<()>> {
        let Stage::Open(io) = &mut self.stage else { return Poll::Ready(Ok(())) };
        let Rest { output, answers, .. } = rest;
        let before = output.left();
        let blocked = output.poll_write(io, cx)?.is_pending();
        self.unblocked |= self.blocked && (!blocked || output.left() < before);
        self.blocked = blocked;
        *answers = (*answers).min(output.left());
        // While more is sent, a slow connection may never take everything at once.
        self.flushed = if blocked { self.flushed.max(output.taken()) } else { self.pulled };
        output.mark(self.pulled);
        Poll::Ready(Ok(()))
    }

    /// Decodes as many frames as one visit passes on.
    fn decode(&mut self, scratch: &mut Scratch) -> Option<ChannelEnd> {
        let Scratch { chunk, input, frames, rest: Rest { output, answers, .. } } = scratch;
        let mut bytes = chunk.get_mut(input.clone()).unwrap_or_default();
        let mut end = None;
        while end.is_none() && !bytes.is_empty() && frames.incoming.len() < FRAMES {
            let len = output.left();
            let next = self.codec.decode(&mut bytes, output.buffer());
            *answers += output.left() - len;
            match next {
                Some(Ok(frame)) => frames.incoming.push(frame),
                Some(Err(how)) => end = Some(how),
                None => break,
            }
        }
        input.start = input.end - bytes.len();
        end
    }

    /// Encodes the frames that were pulled.
    fn send(&mut self, scratch: &mut Scratch) {
        let Scratch { frames, rest: Rest { output, .. }, .. } = scratch;
        if frames.outgoing.is_empty() {
            return;
        }
        let Stage::Open(io) = &self.stage else { return };
        let share_from = if io.is_write_vectored() { SHARE } else { usize::MAX };
        for frame in frames.outgoing.drain(..) {
            if let Some(payload) = self.codec.send(frame, share_from, output.buffer()) {
                output.share(payload);
            }
        }
        output.mark(self.pulled);
    }

    /// Ends the channel after its connection is lost.
    fn end(&mut self, cx: &Context<'_>, end: ChannelEnd, error: Option<io::Error>) -> Poll<()> {
        self.visit(cx, &mut Frames::default(), None, Some(end), error);
        self.stage = Stage::Done;
        Poll::Ready(())
    }

    /// Begins the orderly close. The peer's close frame may be in what was read and not decoded.
    fn start_closing(&mut self, scratch: &mut Scratch) {
        self.codec.close(scratch.rest.output.buffer());
        let mut kept = std::mem::take(&mut scratch.rest.kept);
        let Scratch { chunk, input, rest: Rest { output, .. }, .. } = scratch;
        let read = chunk.get_mut(std::mem::take(input)).unwrap_or_default();
        for bytes in [&mut kept, read] {
            self.goodbye |= self.codec.receive_goodbye(bytes, output.buffer());
        }
        let sleep = {
            let environment = self.session.environment();
            environment.runtime().sleep(environment.close_timeout)
        };
        if let Stage::Open(io) = std::mem::replace(&mut self.stage, Stage::Done) {
            self.stage = Stage::Closing(Box::new((io, sleep)));
        }
    }

    /// Writes the rest, and waits for the peer to close, up to the time limit. What can be done at once is done even if the
    /// time is over, because the host may have stood still.
    fn poll_closing(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.poll_goodbye(cx).is_ready() {
            return Poll::Ready(());
        }
        let Stage::Closing(closing) = &mut self.stage else { return Poll::Ready(()) };
        let is_over = closing.1.as_mut().poll(cx).is_ready();
        let is_overdue = |guard: &Guard| guard.poll_overdue(cx).is_ready();
        if is_over || self.under_way.as_ref().is_some_and(is_overdue) { Poll::Ready(()) } else { Poll::Pending }
    }

    fn poll_goodbye(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut scratch = Scratch::take();
        scratch.resume(&mut self.rest);
        let polled = self.poll_goodbye_with(cx, &mut scratch);
        self.rest = scratch.suspend();
        scratch.give_back();
        polled
    }

    fn poll_goodbye_with(&mut self, cx: &mut Context<'_>, scratch: &mut Scratch) -> Poll<()> {
        let Stage::Closing(closing) = &mut self.stage else { return Poll::Ready(()) };
        let io = &mut closing.0;
        let Scratch { chunk, rest: Rest { output, .. }, .. } = scratch;
        let chunk = chunk.get_mut(..READ).unwrap_or_default();
        if ready!(output.poll_write(io, cx)).is_err() {
            return Poll::Ready(());
        }
        for _ in 0..BUDGET {
            if self.codec.is_over() {
                // The server closes the connection first.
                let _ = ready!(Pin::new(&mut *io).poll_shutdown(cx));
            }
            if self.goodbye {
                return Poll::Ready(());
            }
            // A peer that broke the rules may still be sending, and could not read the reason if the connection broke.
            match ready!(poll_read(io, cx, chunk)) {
                Err(_) | Ok(0) => return Poll::Ready(()),
                Ok(len) => {
                    let bytes = chunk.get_mut(..len).unwrap_or_default();
                    self.goodbye = self.codec.receive_goodbye(bytes, output.buffer());
                }
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl Future for ChannelTask {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        loop {
            match &mut this.stage {
                Stage::Accepting(upgrade) => match ready!(Pin::new(upgrade).poll(cx)) {
                    Ok(io) => this.stage = Stage::Open(io),
                    Err(_) => return this.end(cx, ChannelEnd::Closed, None),
                },
                Stage::Open(_) => ready!(this.poll_open(cx)),
                Stage::Closing(_) => {
                    ready!(this.poll_closing(cx));
                    this.stage = Stage::Done;
                }
                Stage::Done => return Poll::Ready(()),
            }
        }
    }
}

impl Drop for ChannelTask {
    fn drop(&mut self) {
        self.session.leave_channel(self.channel);
    }
}

fn poll_read(io: &mut Upgraded, cx: &mut Context<'_>, chunk: &mut [u8]) -> Poll<io::Result<usize>> {
    let mut buf = ReadBuf::new(chunk);
    ready!(Pin::new(io).poll_read(cx, buf.unfilled()))?;
    Poll::Ready(Ok(buf.filled().len()))
}
