//! Sockets of smol as streams of hyper.

use std::cell::Cell;
use std::io::{self, ErrorKind, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use hyper::rt::{Read, ReadBufCursor, Write};
use rustix::fd::AsFd;
use rustix::net::Shutdown;
use smol::Async;
use smol::io::AsyncWrite as _;

/// The maximum size of one read, in bytes.
const CHUNK: usize = 64 * 1024;

thread_local! {
    /// Where bytes are read. The buffers of hyper are not initialized, and to fill them with zeros before each read costs
    /// more than to copy what was read.
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Turns a `TcpStream` or a `UnixStream` of smol into an [`Io`](crate::net::Io), for use in a
/// [`Connector`](crate::net::Connector) or a [`Listener`](crate::mount::Listener).
///
/// [`FuturesIo`](crate::net::FuturesIo) does so for streams that are not sockets.
#[derive(Debug)]
pub struct SmolIo<S> {
    socket: Arc<Async<S>>,
    state: State,
    arrival: Arc<Arrival>,
}

/// What is known about bytes to read. It saves system calls that would find none.
#[derive(Debug)]
enum State {
    Unknown,
    /// The last read took everything.
    Drained,
    /// There were none. `arrival` is woken when there are.
    Waiting,
}

/// Wakes a task when bytes arrive. Without a task, they have arrived: a task may be woken for other reasons.
#[derive(Debug, Default)]
struct Arrival(Mutex<Option<Waker>>);

impl Arrival {
    fn task(&self) -> MutexGuard<'_, Option<Waker>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes this task instead. Returns whether bytes are still awaited.
    fn is_awaited(&self, cx: &Context<'_>) -> bool {
        let mut task = cx.waker().clone();
        match &mut *self.task() {
            Some(other) => std::mem::swap(other, &mut task),
            None => return false,
        }
        true
    }
}

impl Wake for Arrival {
    fn wake(self: Arc<Self>) {
        let task = self.task().take();
        task.into_iter().for_each(Waker::wake);
    }
}

impl<S> SmolIo<S> {
    /// Takes a stream of smol, or the [`Async`] socket in it.
    pub fn new(socket: impl Into<Arc<Async<S>>>) -> Self {
        Self { socket: socket.into(), state: State::Unknown, arrival: Arc::default() }
    }

    /// Returns the socket.
    pub fn get_ref(&self) -> &S {
        Async::get_ref(&self.socket)
    }

    /// Waits for bytes to arrive, or to be there already.
    fn wait(&mut self, cx: &Context<'_>) -> Poll<io::Result<()>> {
        let _none = self.arrival.task().replace(cx.waker().clone());
        self.state = State::Waiting;
        let waker = Waker::from(Arc::clone(&self.arrival));
        // It may be ready at first because of bytes that were read since.
        while let Poll::Ready(ready) = self.socket.poll_readable(&mut Context::from_waker(&waker)) {
            ready?;
        }
        Poll::Pending
    }
}

impl<S> Read for SmolIo<S>
where
    for<'a> &'a S: io::Read,
{
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, mut buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        match self.state {
            State::Drained => return self.wait(cx),
            State::Waiting if self.arrival.is_awaited(cx) => return Poll::Pending,
            State::Waiting | State::Unknown => self.state = State::Unknown,
        }
        let mut scratch = SCRATCH.take();
        scratch.resize(CHUNK, 0);
        let chunk = scratch.get_mut(..buf.remaining().min(CHUNK)).unwrap_or_default();
        let read = io::Read::read(&mut self.socket.get_ref(), chunk);
        if let Ok(len) = read {
            buf.put_slice(chunk.get(..len).unwrap_or_default());
            if (1..chunk.len()).contains(&len) {
                self.state = State::Drained;
            }
        }
        SCRATCH.set(scratch);
        match read {
            Err(error) if error.kind() == ErrorKind::WouldBlock => self.wait(cx),
            read => Poll::Ready(read.map(drop)),
        }
    }
}

impl<S> Write for SmolIo<S>
where
    for<'a> &'a S: io::Write,
    Async<S>: AsFd,
{
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut &*self.socket).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut &*self.socket).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(rustix::net::shutdown(&*self.socket, Shutdown::Write)?))
    }
}
