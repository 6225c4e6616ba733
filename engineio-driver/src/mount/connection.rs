//! A connection of a client, with its deadlines, and the request that is served on it.
//!
//! All rules for the time that a client may take are here, except those of a session. While the connection carries HTTP:
//!
//! * The head of a request, and the time without a request, have deadlines.
//! * A connection that takes no byte, or not all bytes of an answer in time, fails. An answer of another service than ours
//!   may take any time, as long as bytes are taken.
//! * If the client ends its side behind a request, an answer that is ready is written first. A request that waits for its
//!   answer is lost at once, also if other bytes stand between it and the end: they are read ahead, up to a limit.
//! * A client that always has bytes does not keep other tasks from running.
//!
//! On a WebSocket, the session decides all this, and the connection only passes bytes on.

use std::io::{self, ErrorKind, IoSlice};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use hyper::rt::{Read, ReadBuf, ReadBufCursor, Sleep, Timer, Write};

use crate::body::Answered;
use crate::runtime::Runtime;
use crate::server::{Server, Slot};

/// The size of one read, in bytes. The buffer is on the stack.
const CHUNK: usize = 16 * 1024;
/// Bytes that are read before other tasks run. A small read counts as [`SMALL`].
const BUDGET: usize = 128 * 1024;
const SMALL: usize = 2 * 1024;
/// How much of a request that hyper rejects is still read after the answer, in bytes, and for how long. Otherwise the
/// connection would be reset before a client that is still sending reads the answer.
const LINGER: usize = 1 << 20;
const LINGER_TIME: Duration = Duration::from_secs(5);
/// A deadline that is met later than this was missed because the host stood still. It is put off once, by a quarter of the
/// time for a byte and at most by this, so that what the client has taken meanwhile is seen first.
const LATE: Duration = Duration::from_millis(10);
const PUT_OFF: Duration = Duration::from_secs(5);
/// Bytes that are read ahead behind a request that waits for its answer.
const AHEAD: usize = 16 * 1024;

/// The request that is being served on a connection. Its service and the connection share this.
#[derive(Default)]
pub(crate) struct Current {
    stage: AtomicU8,
    /// The answer is that of another service, which may send without end: only its progress has a deadline.
    foreign: AtomicBool,
    /// The session whose answer is being written.
    answering: Mutex<Option<Weak<dyn Answered>>>,
}

/// What a connection is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Stage {
    /// There is no request, or its head is being received.
    Idle,
    /// A request has arrived, and the service has not said whether its answer is ready.
    Asked,
    /// A request waits for its answer.
    Held,
    /// An answer is being written, and its body is not complete.
    Streaming,
    /// An answer is being written.
    Answered,
    /// The 101 is being written.
    Switching,
    /// The connection is a WebSocket.
    Switched,
}

impl Current {
    pub(crate) fn set(&self, stage: Stage) {
        self.stage.store(stage as u8, Ordering::Release);
    }

    /// An answer is being written, of this session if it is one of a session.
    pub(crate) fn answered(&self, session: Option<Arc<dyn Answered>>) {
        *self.answering() = session.as_ref().map(Arc::downgrade);
        self.foreign.store(false, Ordering::Relaxed);
        self.set(Stage::Answered);
    }

    /// An answer is being written whose body goes on until [`Current::complete`]. It is that of another service, or, if
    /// it passed through one, of this session.
    #[cfg(feature = "tower")]
    pub(crate) fn streams(&self, session: Option<Weak<dyn Answered>>) {
        self.foreign.store(session.is_none(), Ordering::Relaxed);
        *self.answering() = session;
        self.set(Stage::Streaming);
    }

    /// The body of the answer is complete.
    #[cfg(feature = "tower")]
    pub(crate) fn complete(&self) {
        if self.stage() == Stage::Streaming {
            self.set(Stage::Answered);
        }
    }

    fn stage(&self) -> Stage {
        use Stage::{Answered, Asked, Held, Idle, Streaming, Switched, Switching};
        match self.stage.load(Ordering::Acquire) {
            1 => Asked,
            2 => Held,
            3 => Streaming,
            4 => Answered,
            5 => Switching,
            6 => Switched,
            _ => Idle,
        }
    }

    fn is_foreign(&self) -> bool {
        self.foreign.load(Ordering::Relaxed)
    }

    /// Everything is written.
    fn written(&self) {
        *self.answering() = None;
        self.set(Stage::Idle);
    }

    /// Returns whether the session whose answer is being written has ended.
    fn is_over(&self) -> bool {
        let session = self.answering().clone();
        session.is_some_and(|session| session.upgrade().is_none_or(|session| session.is_over()))
    }

    fn answering(&self) -> MutexGuard<'_, Option<Weak<dyn Answered>>> {
        self.answering.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection of a client.
pub(crate) struct Connection<T> {
    io: T,
    /// What it has while it carries HTTP.
    http: Option<Box<Http>>,
    /// It counts as a connection of the server.
    _slot: Slot,
}

struct Http {
    /// Its runtime and its options.
    server: Server,
    current: Arc<Current>,
    /// Bytes that were read ahead.
    ahead: Vec<u8>,
    /// The client has ended its side.
    ended: bool,
    /// The last read found nothing, so the arrival of bytes wakes the task.
    waiting: bool,
    budget: usize,
    /// The connection is new, or some bytes of a head have arrived.
    in_head: bool,
    /// Some bytes of a head have arrived, or of a body whose request is answered.
    partial: bool,
    /// Bytes that may still be read after the last answer.
    linger: usize,
    /// When the head, or the time without a request, takes too long.
    read_until: Option<Instant>,
    read_alarm: Alarm,
    /// Bytes wait to be written. Hardly ever there, so it is boxed.
    blocked: Option<Box<Blocked>>,
}

/// Since when bytes wait to be written.
struct Blocked {
    since: Instant,
    /// Since when no byte was taken; `None` if one was taken after the last look at the clock.
    stuck: Option<Instant>,
    /// When it was found that the session is over.
    over: Option<Instant>,
    /// A deadline was met late, so none holds before this time.
    put_off: Option<Instant>,
    alarm: Alarm,
}

impl<T: Read + Write + Unpin> Connection<T> {
    pub(crate) fn new(io: T, server: Server, current: Arc<Current>, slot: Slot) -> Self {
        let http = Http {
            server,
            current,
            ahead: Vec::new(),
            ended: false,
            waiting: false,
            budget: BUDGET,
            in_head: true,
            partial: false,
            linger: LINGER,
            read_until: None,
            read_alarm: Alarm::default(),
            blocked: None,
        };
        Self { io, http: Some(Box::new(http)), _slot: slot }
    }
}

impl<T: Read + Write + Unpin> Read for Connection<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        let Self { io, http, .. } = &mut *self;
        let Some(state) = http else { return Pin::new(io).poll_read(cx, buf) };
        if state.current.stage() == Stage::Switched && state.ahead.is_empty() && !state.ended {
            *http = None;
            return Pin::new(io).poll_read(cx, buf);
        }
        state.poll_read(io, cx, buf)
    }
}

impl<T: Read + Write + Unpin> Write for Connection<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let Self { io, http, .. } = &mut *self;
        let written = Pin::new(io).poll_write(cx, buf);
        match http {
            Some(http) => http.limit(cx, written),
            None => written,
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let Self { io, http, .. } = &mut *self;
        let written = Pin::new(io).poll_write_vectored(cx, bufs);
        match http {
            Some(http) => http.limit(cx, written),
            None => written,
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    /// hyper calls this in each turn, when it has nothing to write.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { io, http, .. } = &mut *self;
        let flushed = Pin::new(&mut *io).poll_flush(cx);
        let Some(http) = http else { return flushed };
        ready!(http.limit(cx, flushed.map_ok(|()| 0)))?;
        http.blocked = None;
        match http.current.stage() {
            Stage::Held => http.look_ahead(io, cx)?,
            Stage::Answered => http.turn_idle(cx),
            Stage::Switching => http.current.set(Stage::Switched),
            Stage::Idle | Stage::Asked | Stage::Streaming | Stage::Switched => (),
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { io, http, .. } = &mut *self;
        let shut = Pin::new(&mut *io).poll_shutdown(cx);
        let Some(http) = http else { return shut };
        ready!(http.limit(cx, shut.map_ok(|()| 0)))?;
        http.poll_linger(io, cx)
    }
}

impl Http {
    fn poll_read(
        &mut self,
        io: &mut (impl Read + Unpin),
        cx: &mut Context<'_>,
        mut buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        self.waiting = false;
        if !self.ahead.is_empty() {
            let len = self.ahead.len().min(buf.remaining());
            buf.put_slice(self.ahead.get(..len).unwrap_or_default());
            self.ahead.drain(..len);
            if self.ahead.is_empty() {
                self.ahead = Vec::new();
            }
            self.note_bytes();
            return Poll::Ready(Ok(()));
        }
        if !self.ended {
            if self.budget == 0 {
                self.budget = BUDGET;
                self.waiting = true;
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            let mut chunk = [const { MaybeUninit::uninit() }; CHUNK];
            let room = buf.remaining().min(CHUNK);
            let mut read = ReadBuf::uninit(chunk.get_mut(..room).unwrap_or_default());
            if Pin::new(io).poll_read(cx, read.unfilled())?.is_pending() {
                self.budget = BUDGET;
                self.waiting = true;
                return self.limit_read(cx);
            }
            let bytes = read.filled();
            if !bytes.is_empty() || room == 0 {
                self.budget = self.budget.saturating_sub(bytes.len().max(SMALL));
                buf.put_slice(bytes);
                self.note_bytes();
                return Poll::Ready(Ok(()));
            }
            self.ended = true;
        }
        match self.current.stage() {
            // The next flush decides what the end means, and wakes the task if it must be read.
            Stage::Asked | Stage::Answered | Stage::Switching => Poll::Pending,
            Stage::Idle | Stage::Held | Stage::Streaming | Stage::Switched => Poll::Ready(Ok(())),
        }
    }

    /// The deadline of a head runs from its first bytes.
    fn note_bytes(&mut self) {
        if self.current.stage() == Stage::Idle {
            self.partial = true;
            if !self.in_head {
                self.in_head = true;
                self.read_until = None;
            }
        }
    }

    /// No bytes arrive. Ends the connection if that takes too long.
    fn limit_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.current.stage() != Stage::Idle {
            return Poll::Pending;
        }
        let (runtime, options) = (self.server.runtime(), self.server.options());
        let time = if self.in_head { options.header_timeout } else { options.idle_timeout };
        let until = *self.read_until.get_or_insert_with(|| runtime.now() + time);
        ready!(self.read_alarm.poll(runtime, until, cx));
        if self.in_head {
            return Poll::Ready(Err(ErrorKind::TimedOut.into()));
        }
        // hyper closes an idle connection in order when the client ends its side.
        self.ended = true;
        Poll::Ready(Ok(()))
    }

    /// Everything is written: the next request may come.
    fn turn_idle(&mut self, cx: &mut Context<'_>) {
        self.current.written();
        self.in_head = false;
        self.partial = false;
        self.read_until = None;
        // hyper does not read again if its last read, while there was a request, found nothing.
        if self.ended || (self.waiting && self.limit_read(cx).is_ready()) {
            cx.waker().wake_by_ref();
        }
    }

    /// Reads the rest of a request that was rejected, up to a limit.
    fn poll_linger(&mut self, io: &mut (impl Read + Unpin), cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.current.stage() != Stage::Idle || !self.partial || self.ended {
            return Poll::Ready(Ok(()));
        }
        let until = match self.read_until {
            Some(until) if self.linger < LINGER => until,
            _ => *self.read_until.insert(self.server.runtime().now() + LINGER_TIME),
        };
        loop {
            let mut chunk = [const { MaybeUninit::uninit() }; CHUNK];
            let mut read = ReadBuf::uninit(&mut chunk);
            let pending = Pin::new(&mut *io).poll_read(cx, read.unfilled())?.is_pending();
            let len = read.filled().len();
            self.linger = self.linger.saturating_sub(len.max(1));
            if pending {
                return self.read_alarm.poll(self.server.runtime(), until, cx).map(Ok);
            }
            if len == 0 || self.linger == 0 {
                return Poll::Ready(Ok(()));
            }
        }
    }

    /// A request waits for its answer. If hyper does not read, its client could leave unnoticed.
    ///
    /// # Errors
    /// Returns an error if the client has ended its side, or the connection is broken.
    fn look_ahead(&mut self, io: &mut (impl Read + Unpin), cx: &mut Context<'_>) -> io::Result<()> {
        while !self.ended && !self.waiting && self.ahead.len() < AHEAD {
            let mut chunk = [const { MaybeUninit::uninit() }; CHUNK];
            let mut read = ReadBuf::uninit(chunk.get_mut(..AHEAD - self.ahead.len()).unwrap_or_default());
            if Pin::new(&mut *io).poll_read(cx, read.unfilled())?.is_pending() {
                break;
            }
            self.ahead.extend_from_slice(read.filled());
            self.ended = read.filled().is_empty();
        }
        if self.ended { Err(ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
    }

    /// Turns a write that blocks for too long into an error.
    fn limit(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if self.current.stage() == Stage::Switched {
            return written;
        }
        let Poll::Ready(written) = written else {
            ready!(self.poll_late(cx));
            return Poll::Ready(Err(ErrorKind::TimedOut.into()));
        };
        if let (Ok(1..), Some(blocked)) = (&written, &mut self.blocked) {
            blocked.stuck = None;
        }
        Poll::Ready(written)
    }

    /// Ready when the client is too late to take what waits to be written.
    fn poll_late(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let (runtime, options) = (self.server.runtime(), self.server.options());
        let now = runtime.now();
        let blocked = self.blocked.get_or_insert_with(|| {
            Box::new(Blocked { since: now, stuck: None, over: None, put_off: None, alarm: Alarm::default() })
        });
        let stuck = *blocked.stuck.get_or_insert(now);
        let mut until = stuck + options.write_timeout;
        if !self.current.is_foreign() {
            until = until.min(blocked.since + options.answer_timeout);
        }
        if blocked.over.is_none() && self.current.is_over() {
            blocked.over = Some(now);
        }
        if let Some(over) = blocked.over {
            // It may be too long for the clock. The limit of the whole answer is not, and began earlier.
            until = until.min(over + self.server.config().close_timeout.min(options.answer_timeout));
        }
        if now > until + LATE {
            until = *blocked.put_off.get_or_insert(now + PUT_OFF.min(options.write_timeout / 4));
        }
        blocked.alarm.poll(runtime, until, cx)
    }
}

/// Wakes a task at a time that may move. A time that moves to later costs nothing until the earlier one is reached.
#[derive(Default)]
struct Alarm(Option<(Instant, Pin<Box<dyn Sleep>>)>);

impl Alarm {
    fn poll(&mut self, runtime: &Runtime, until: Instant, cx: &mut Context<'_>) -> Poll<()> {
        let (armed, sleep) = self.0.get_or_insert_with(|| (until, runtime.sleep_until(until)));
        loop {
            if until < *armed {
                *armed = until;
                runtime.reset(sleep, until);
            }
            ready!(sleep.as_mut().poll(cx));
            if until <= *armed {
                self.0 = None;
                return Poll::Ready(());
            }
            *armed = until;
            runtime.reset(sleep, until);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::{Future as _, poll_fn};
    use std::pin::pin;
    use std::task::Waker;

    use hyper_util::rt::{TokioExecutor, TokioTimer};

    use crate::Builder;
    use crate::server::Connections;

    /// A peer that always has bytes, so many at a time, up to a number.
    struct Bytes {
        step: usize,
        left: usize,
    }

    impl Read for Bytes {
        fn poll_read(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            mut buf: ReadBufCursor<'_>,
        ) -> Poll<io::Result<()>> {
            let len = self.step.min(buf.remaining()).min(self.left);
            self.left -= len;
            buf.put_slice(&vec![b'0'; len]);
            Poll::Ready(Ok(()))
        }
    }

    impl Write for Bytes {
        fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
            Poll::Ready(Ok(buf.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    fn connection(io: Bytes) -> (Connection<Bytes>, Arc<Current>) {
        let current = Arc::<Current>::default();
        let slot = Arc::new(Connections::new(1)).open().unwrap();
        let server = Builder::new(Runtime::new(TokioExecutor::new(), TokioTimer::new())).build().unwrap();
        (Connection::new(io, server, Arc::clone(&current), slot), current)
    }

    /// Reads up to so many bytes. Returns how many there are.
    fn read(connection: &mut Connection<Bytes>, len: usize) -> Poll<usize> {
        let mut chunk = vec![0; len];
        let mut buf = ReadBuf::new(&mut chunk);
        let read = Pin::new(connection).poll_read(&mut Context::from_waker(Waker::noop()), buf.unfilled());
        read.map(|read| read.map(|()| buf.filled().len()).unwrap())
    }

    fn flush(connection: &mut Connection<Bytes>) -> io::Result<()> {
        match Pin::new(connection).poll_flush(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(flushed) => flushed,
            Poll::Pending => panic!("nothing blocks"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn sec71_a_client_that_always_has_bytes_lets_others_run() {
        for step in [1, 1000, usize::MAX] {
            let (mut connection, _) = connection(Bytes { step, left: usize::MAX });
            for _ in 0..3 {
                let (mut bytes, mut reads) = (0, 0);
                while let Poll::Ready(len) = read(&mut connection, 100_000) {
                    bytes += len;
                    reads += 1;
                }
                assert!(bytes <= BUDGET && reads <= BUDGET / SMALL, "{bytes} in {reads} reads");
                assert!(bytes >= BUDGET / SMALL);
            }
        }
    }

    /// What is read ahead arrives in order, whatever becomes of the connection.
    #[tokio::test(start_paused = true)]
    async fn r122_bytes_that_were_read_ahead_are_not_lost() {
        for next in [Stage::Idle, Stage::Switched] {
            let (mut connection, current) = connection(Bytes { step: 10, left: AHEAD + 100 });
            current.set(Stage::Held);
            flush(&mut connection).unwrap();
            assert_eq!(connection.io.left, 100);
            current.set(next);
            let mut bytes = 0;
            while bytes < AHEAD + 100 {
                match read(&mut connection, 1000) {
                    Poll::Ready(len) => bytes += len,
                    Poll::Pending => assert!(next != Stage::Switched || bytes < AHEAD),
                }
            }
            assert_eq!(bytes, AHEAD + 100);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn r123_the_end_is_read_when_the_answer_is_written() {
        let (mut connection, current) = connection(Bytes { step: 1, left: 0 });
        current.set(Stage::Asked);
        assert!(read(&mut connection, 10).is_pending());
        flush(&mut connection).unwrap();
        assert!(read(&mut connection, 10).is_pending());
        current.answered(None);
        assert!(read(&mut connection, 10).is_pending());
        flush(&mut connection).unwrap();
        assert_eq!(read(&mut connection, 10), Poll::Ready(0));
        // A request that waits is lost.
        current.set(Stage::Held);
        assert_eq!(flush(&mut connection).unwrap_err().kind(), ErrorKind::UnexpectedEof);
    }

    /// A sleep of tokio returns `Pending` without having registered a waker if the task has used up its budget. An alarm
    /// that was not polled again after that never rang.
    #[tokio::test(start_paused = true)]
    async fn a_connection_whose_task_has_used_up_its_budget_keeps_its_deadline() {
        let server = Builder::new(Runtime::new(TokioExecutor::new(), TokioTimer::new())).build().unwrap();
        let (client, io) = tokio::io::duplex(1000);
        let service = crate::mount::HyperService::new(server.clone(), None);
        let mut connection = pin!(server.serve_connection(hyper_util::rt::TokioIo::new(io), service));
        let mut is_first = true;
        let served = poll_fn(|cx| {
            while is_first && pin!(tokio::task::consume_budget()).poll(cx).is_ready() {}
            is_first = false;
            connection.as_mut().poll(cx)
        });
        // The timer of this test wakes the task too, so it comes much later.
        let (begin, header_timeout) = (tokio::time::Instant::now(), server.header_timeout());
        let _ = tokio::time::timeout(10 * header_timeout, served).await;
        assert!(begin.elapsed() < 2 * header_timeout, "{:?}", begin.elapsed());
        drop(client);
    }
}
