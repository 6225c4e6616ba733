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
    _under_way: Option<Guard>,
    stage: Stage,
    codec: Codec,
    output: Vec<u8>,
    written: usize,
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
            _under_way: session.environment().guard(),
            session,
            stage,
            codec,
            output: Vec::new(),
            written: 0,
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
        let mut room = WRITE_AHEAD.saturating_sub(self.output.len() - self.written);
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
            let before = self.written;
            let blocked = match poll_write(io, cx, &mut self.output, &mut self.written) {
                Poll::Ready(Ok(())) => false,
                Poll::Ready(Err(_)) => return self.end(cx, ChannelEnd::Lost),
                Poll::Pending => true,
            };
            self.unblocked |= self.blocked && (!blocked || before < self.written);
            self.blocked = blocked;
            if !blocked {
                self.answers = 0;
                self.flushed = self.pulled;
            }
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
                    self.codec.send(frame, &mut self.output);
                }
                if visit.close || end.is_some() {
                    self.goodbye = end == Some(ChannelEnd::Closed);
                    return self.start_closing(cx);
                }
                worth_a_visit = !blocked && !visit.drained;
            }
            let writable = !blocked && !self.output.is_empty();
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
            let len = self.output.len();
            let next = self.codec.next(&mut self.output);
            self.answers += self.output.len() - len;
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
        self.codec.close(&mut self.output);
        // The peer's close frame may be among the bytes that were read before.
        self.goodbye |= self.codec.receive_goodbye(&[], &mut self.output);
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

    /// Writes the rest, and waits for the peer to close, up to the time limit.
    fn poll_closing(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Stage::Closing(io, sleep) = &mut self.stage else { return Poll::Ready(()) };
        if sleep.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        if ready!(poll_write(io, cx, &mut self.output, &mut self.written)).is_err() {
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
                    self.goodbye = self.codec.receive_goodbye(bytes, &mut self.output);
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

fn poll_write(
    io: &mut Upgraded,
    cx: &mut Context<'_>,
    output: &mut Vec<u8>,
    written: &mut usize,
) -> Poll<std::io::Result<()>> {
    if output.is_empty() {
        return Poll::Ready(Ok(()));
    }
    while *written < output.len() {
        let rest = output.get(*written..).unwrap_or_default();
        match ready!(Pin::new(&mut *io).poll_write(cx, rest))? {
            0 => return Poll::Ready(Err(std::io::ErrorKind::WriteZero.into())),
            len => *written += len,
        }
    }
    ready!(Pin::new(&mut *io).poll_flush(cx))?;
    *output = Vec::new();
    *written = 0;
    Poll::Ready(Ok(()))
}

fn poll_read(io: &mut Upgraded, cx: &mut Context<'_>, chunk: &mut [u8]) -> Poll<std::io::Result<usize>> {
    let mut buf = ReadBuf::new(chunk);
    ready!(Pin::new(io).poll_read(cx, buf.unfilled()))?;
    Poll::Ready(Ok(buf.filled().len()))
}
