//! The task of one WebSocket: reads and writes. The session makes all decisions.
//!
//! In one turn, the task writes what is ready and reads what has arrived; then, in one visit to the session, it passes
//! on the frames that arrived and pulls those to send. An idle task has neither a read nor a write buffer.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use engineio_proto::wire::Frame;
use engineio_proto::{ChannelEnd, ChannelId};
use hyper::rt::{Read, ReadBuf, Sleep, Write};
use hyper::upgrade::{OnUpgrade, Upgraded};
use smallvec::SmallVec;

use super::frames::Codec;
use crate::session::AnySession;
use crate::tasks::Guard;

/// Frames are pulled while less than this waits to be written, in bytes.
const WRITE_AHEAD: usize = 32 * 1024;
/// The size of one read, in bytes. The buffer is on the stack, not in the task.
const READ_CHUNK: usize = 16 * 1024;
/// The number of frames that are passed on in one visit.
const FRAMES: usize = 8;
/// The number of turns before other tasks run.
const BUDGET: usize = 32;

/// Serves one WebSocket, from its 101 to its end.
pub(crate) struct ChannelTask {
    session: AnySession,
    channel: ChannelId,
    /// On a server, which waits for the task when it shuts down.
    under_way: Option<Guard>,
    stage: Stage,
    codec: Codec,
    output: Output,
    /// The number of messages that were pulled: those in `output`, and all before.
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
    /// The maximum number of bytes in `output` that answer the peer's pings.
    answers: usize,
    /// The session accepts frames.
    reading: bool,
    /// The peer's close frame has arrived.
    goodbye: bool,
}

enum Stage {
    /// The 101 is being sent or awaited.
    Accepting(OnUpgrade),
    Open(Upgraded),
    /// The session no longer uses the channel. What is in `output` is still written, and the peer's close frame is
    /// awaited.
    Closing(Upgraded, Pin<Box<dyn Sleep>>),
    Done,
}

/// The result of a visit to the session.
#[derive(Debug, Default)]
struct Visit {
    frames: SmallVec<[Frame; FRAMES]>,
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
            output: Output::default(),
            pulled: 0,
            flushed: 0,
            reported: 0,
            wants_written: false,
            blocked: false,
            unblocked: false,
            answers: 0,
            reading: true,
            goodbye: false,
        }
    }

    /// Passes on frames that arrived, and pulls frames to send.
    fn visit(&mut self, cx: &Context<'_>, incoming: SmallVec<[Frame; FRAMES]>, end: Option<ChannelEnd>) -> Visit {
        let channel = self.channel;
        let mut room = WRITE_AHEAD.saturating_sub(self.output.left());
        let details = end.and_then(|_| self.codec.close_frame());
        let (flushed, unblocked, mut pulled) = (self.flushed, std::mem::take(&mut self.unblocked), self.pulled);
        let news = self.reported < flushed;
        let visit = self.session.visit(|visit| {
            let mut done = Visit::default();
            let now = visit.now();
            let Some(machine) = visit.machine() else {
                return Visit { close: true, ..done };
            };
            if news {
                machine.channel_written(now, channel, flushed);
            }
            if unblocked {
                machine.unblocked(now);
            }
            for frame in incoming {
                machine.channel_frame(now, channel, frame);
            }
            if let Some(end) = end {
                machine.channel_closed(now, channel, end, details);
            }
            while room > 0 && !done.drained {
                match machine.next_frame(now, channel) {
                    Some(frame) => {
                        room = room.saturating_sub(frame.len());
                        done.frames.push(frame);
                    }
                    None => done.drained = true,
                }
            }
            done.reading = machine.wants_frames(channel);
            pulled = machine.stats().messages_sent;
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

    /// Takes turns until there is only waiting to do. The session is visited only for a reason: the task was woken,
    /// frames arrived, there is room for more frames, or a report of what is written is awaited.
    fn poll_open(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut worth_a_visit = true;
        for _ in 0..BUDGET {
            let Stage::Open(io) = &mut self.stage else { return Poll::Ready(()) };
            let before = self.output.left();
            let blocked = match self.output.poll_write(io, cx) {
                Poll::Ready(Ok(())) => false,
                Poll::Ready(Err(_)) => return self.end(cx, ChannelEnd::Lost),
                Poll::Pending => true,
            };
            self.unblocked |= self.blocked && (!blocked || self.output.left() < before);
            self.blocked = blocked;
            self.answers = self.answers.min(self.output.left());
            // While more is sent, a slow connection may never take everything at once.
            self.flushed = if blocked { self.flushed.max(self.output.taken) } else { self.pulled };
            self.output.mark(self.pulled);
            // A client that does not take the answers to its pings is not read any further.
            let reading = self.reading && self.answers < WRITE_AHEAD;
            // Only a read that finds nothing leads to a wakeup later.
            let mut unread = true;
            if reading && !self.codec.has_input() {
                let mut chunk = [0; READ_CHUNK];
                match poll_read(io, cx, &mut chunk) {
                    Poll::Pending => unread = false,
                    Poll::Ready(Err(_) | Ok(0)) => return self.end(cx, ChannelEnd::Lost),
                    Poll::Ready(Ok(len)) => self.codec.receive(chunk.get(..len).unwrap_or_default()),
                }
            }
            let mut incoming = SmallVec::new();
            let end = if reading { self.decode(&mut incoming) } else { None };
            let news = self.unblocked || (self.wants_written && self.reported < self.flushed);
            if worth_a_visit || news || !incoming.is_empty() || end.is_some() {
                let visit = self.visit(cx, incoming, end);
                for frame in &visit.frames {
                    self.codec.send(frame, &mut self.output.bytes);
                }
                self.output.mark(self.pulled);
                if visit.close || end.is_some() {
                    self.goodbye = end == Some(ChannelEnd::Closed);
                    return self.start_closing(cx);
                }
                worth_a_visit = !blocked && !visit.drained;
            }
            let writable = !blocked && self.output.left() > 0;
            let readable = self.reading && self.answers < WRITE_AHEAD && (unread || self.codec.has_input());
            if !writable && !readable && !worth_a_visit {
                return Poll::Pending;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Decodes as many frames as one visit passes on.
    fn decode(&mut self, frames: &mut SmallVec<[Frame; FRAMES]>) -> Option<ChannelEnd> {
        while frames.len() < FRAMES {
            let len = self.output.left();
            let next = self.codec.next(&mut self.output.bytes);
            self.answers += self.output.left() - len;
            match next? {
                Ok(frame) => frames.push(frame),
                Err(end) => return Some(end),
            }
        }
        None
    }

    /// Ends the channel after its connection is lost.
    fn end(&mut self, cx: &Context<'_>, end: ChannelEnd) -> Poll<()> {
        self.visit(cx, SmallVec::new(), Some(end));
        self.stage = Stage::Done;
        Poll::Ready(())
    }

    fn start_closing(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.codec.close(&mut self.output.bytes);
        // The peer's close frame may be among the bytes that were read before.
        self.goodbye |= self.codec.receive_goodbye(&[], &mut self.output.bytes);
        let sleep = {
            let environment = self.session.environment();
            environment.runtime().sleep(environment.close_timeout)
        };
        match std::mem::replace(&mut self.stage, Stage::Done) {
            Stage::Open(io) => self.stage = Stage::Closing(io, sleep),
            _ => return Poll::Ready(()),
        }
        self.poll_closing(cx)
    }

    /// Writes the rest, and waits for the peer to close, up to the time limit. What can be done at once is done even if the
    /// time is over, because the host may have stood still.
    fn poll_closing(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.poll_goodbye(cx).is_ready() {
            return Poll::Ready(());
        }
        let Stage::Closing(_, sleep) = &mut self.stage else { return Poll::Ready(()) };
        let is_over = sleep.as_mut().poll(cx).is_ready();
        let is_overdue = |guard: &Guard| guard.poll_overdue(cx).is_ready();
        if is_over || self.under_way.as_ref().is_some_and(is_overdue) { Poll::Ready(()) } else { Poll::Pending }
    }

    fn poll_goodbye(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Stage::Closing(io, _) = &mut self.stage else { return Poll::Ready(()) };
        if ready!(self.output.poll_write(io, cx)).is_err() {
            return Poll::Ready(());
        }
        let mut chunk = [0; READ_CHUNK];
        for _ in 0..BUDGET {
            if self.codec.is_over() {
                // The server closes the connection first.
                let _ = ready!(Pin::new(&mut *io).poll_shutdown(cx));
            }
            if self.goodbye {
                return Poll::Ready(());
            }
            // A peer that broke the rules may still be sending, and could not read the reason if the connection broke.
            match ready!(poll_read(io, cx, &mut chunk)) {
                Err(_) | Ok(0) => return Poll::Ready(()),
                Ok(len) => {
                    let bytes = chunk.get(..len).unwrap_or_default();
                    self.goodbye = self.codec.receive_goodbye(bytes, &mut self.output.bytes);
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
                    Err(_) => return this.end(cx, ChannelEnd::Closed),
                },
                Stage::Open(_) => {
                    ready!(this.poll_open(cx));
                    this.stage = Stage::Done;
                }
                Stage::Closing(..) => {
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

/// Bytes on their way to the connection.
#[derive(Debug, Default)]
struct Output {
    bytes: Vec<u8>,
    /// How many of them the connection took.
    written: usize,
    /// The connection took bytes and was not flushed since.
    unflushed: bool,
    /// Where in `bytes` a frame ends, and how many messages of the session that makes.
    mark: Option<(usize, u64)>,
    /// So many messages of the session the connection took: those up to the last mark that it passed.
    taken: u64,
}

impl Output {
    /// Bytes that the connection has not taken.
    fn left(&self) -> usize {
        self.bytes.len() - self.written
    }

    /// What is there ends with this message of the session. One mark at a time is enough: the next one follows when the
    /// connection has passed it.
    fn mark(&mut self, messages: u64) {
        if self.mark.is_none() && self.left() > 0 {
            self.mark = Some((self.bytes.len(), messages));
        }
    }

    /// Writes everything. Ready when the connection took every byte and is flushed.
    fn poll_write(&mut self, io: &mut (impl Write + Unpin), cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        while self.left() > 0 {
            let rest = self.bytes.get(self.written..).unwrap_or_default();
            match Pin::new(&mut *io).poll_write(cx, rest)? {
                Poll::Ready(0) => return Poll::Ready(Err(std::io::ErrorKind::WriteZero.into())),
                Poll::Ready(len) => {
                    self.written += len;
                    self.unflushed = true;
                    if let Some((_, messages)) = self.mark.take_if(|(end, _)| *end <= self.written) {
                        self.taken = messages;
                    }
                }
                Poll::Pending => {
                    self.drop_written();
                    return Poll::Pending;
                }
            }
        }
        self.bytes = Vec::new();
        self.written = 0;
        if self.unflushed {
            ready!(Pin::new(io).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    /// Drops what was written, once that is more than what is left: a connection that never takes everything would let it
    /// grow. So no byte is moved more than once on average.
    fn drop_written(&mut self) {
        if self.written > self.left() {
            self.bytes.drain(..self.written);
            self.mark = self.mark.map(|(end, messages)| (end - self.written, messages));
            self.written = 0;
        }
    }
}

fn poll_read(io: &mut Upgraded, cx: &mut Context<'_>, chunk: &mut [u8]) -> Poll<std::io::Result<usize>> {
    let mut buf = ReadBuf::new(chunk);
    ready!(Pin::new(io).poll_read(cx, buf.unfilled()))?;
    Poll::Ready(Ok(buf.filled().len()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::Waker;

    /// A connection that takes a little at a time.
    #[derive(Default)]
    struct Slow {
        taken: Vec<u8>,
        room: usize,
        flushed: usize,
        flushes: bool,
    }

    impl Write for Slow {
        fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
            let len = bytes.len().min(self.room);
            if len == 0 {
                return Poll::Pending;
            }
            self.room -= len;
            self.taken.extend_from_slice(&bytes[..len]);
            Poll::Ready(Ok(len))
        }

        fn poll_flush(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
            if !self.flushes {
                return Poll::Pending;
            }
            self.flushed = self.taken.len();
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    /// Sends on a connection that takes so much a turn, while so much waits. Gives the most that was kept.
    fn most_kept(mut io: Slow, waits: usize, turns: usize) -> usize {
        let mut cx = Context::from_waker(Waker::noop());
        let (mut output, mut sent, mut most) = (Output::default(), Vec::new(), 0);
        for turn in 0..turns {
            let more: Vec<u8> = (0..waits - output.left()).map(|byte| (turn + byte) as u8).collect();
            output.bytes.extend_from_slice(&more);
            sent.extend(more);
            most = most.max(output.bytes.len());
            io.room = 100;
            assert!(output.poll_write(&mut io, &mut cx).is_pending());
        }
        (io.room, io.flushes) = (usize::MAX, true);
        assert!(output.poll_write(&mut io, &mut cx).is_ready());
        assert!(io.taken == sent && io.flushed == sent.len(), "everything arrives, in order");
        most
    }

    #[test]
    fn what_is_written_is_not_kept_by_a_connection_that_is_never_done() {
        assert!(most_kept(Slow::default(), 1000, 1000) < 3000);
        assert!(most_kept(Slow { flushes: true, ..Slow::default() }, 101, 1000) < 3000);
    }

    #[test]
    fn what_is_written_is_not_kept_by_a_connection_that_is_never_flushed() {
        assert_eq!(most_kept(Slow::default(), 100, 1000), 100);
    }
}
