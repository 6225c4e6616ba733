//! A connection that lets other tasks run.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper::rt::{Read, ReadBufCursor, Write};

/// Reads that find bytes, one after the other, before other tasks run.
const READS: u32 = 32;

/// A connection whose peer may always have bytes.
///
/// hyper, a TLS handshake and others read until a connection has nothing more. Not every runtime interrupts them: on smol,
/// a server that sends interim answers without an end would keep a thread of the executor busy, and no timeout would end
/// that. So after some reads, a connection claims to have nothing, and wakes its task.
pub(crate) struct Fair<T> {
    io: T,
    left: u32,
}

impl<T> Fair<T> {
    pub(crate) const fn new(io: T) -> Self {
        Self { io, left: READS }
    }
}

impl<T: Read + Unpin> Read for Fair<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        if self.left == 0 {
            self.left = READS;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let read = Pin::new(&mut self.io).poll_read(cx, buf);
        self.left = if read.is_pending() { READS } else { self.left - 1 };
        read
    }
}

impl<T: Write + Unpin> Write for Fair<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::rt::ReadBuf;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Wake, Waker};

    /// A connection that always has bytes, except in every `pause`-th read.
    struct Endless {
        reads: usize,
        pause: usize,
    }

    impl Read for Endless {
        fn poll_read(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            mut buf: ReadBufCursor<'_>,
        ) -> Poll<io::Result<()>> {
            self.reads += 1;
            if self.reads % self.pause == 0 {
                return Poll::Pending;
            }
            buf.put_slice(b"x");
            Poll::Ready(Ok(()))
        }
    }

    #[derive(Default)]
    struct Counter(AtomicUsize);

    impl Wake for Counter {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_peer_that_always_has_bytes_lets_other_tasks_run() {
        for (pause, woken) in [(usize::MAX, 10), (READS as usize, 0)] {
            let mut io = Fair::new(Endless { reads: 0, pause });
            let counter = Arc::new(Counter::default());
            let waker = Waker::from(Arc::clone(&counter));
            for _ in 0..10 {
                let mut reads = 0;
                loop {
                    let mut bytes = [0; 8];
                    let mut buf = ReadBuf::new(&mut bytes);
                    if Pin::new(&mut io).poll_read(&mut Context::from_waker(&waker), buf.unfilled()).is_pending() {
                        break;
                    }
                    reads += 1;
                }
                assert!(reads <= READS && reads > 0, "{reads}");
            }
            // Once for each pause that the connection did not make by itself.
            assert_eq!(counter.0.load(Ordering::Relaxed), woken, "{pause}");
        }
    }
}
