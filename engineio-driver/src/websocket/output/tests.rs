use super::*;
use crate::websocket::scratch::Scratch;
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
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let len = bytes.len().min(self.room);
        if len == 0 {
            return Poll::Pending;
        }
        self.room -= len;
        self.taken.extend_from_slice(&bytes[..len]);
        Poll::Ready(Ok(len))
    }

    fn poll_flush(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.flushes {
            return Poll::Pending;
        }
        self.flushed = self.taken.len();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Sends on a connection that takes so much a turn, while so much waits. Gives the most that was kept.
fn most_kept(mut io: Slow, waits: usize, turns: usize) -> usize {
    let mut cx = Context::from_waker(Waker::noop());
    let (mut output, mut sent, mut most) = (Output::default(), Vec::new(), 0);
    for turn in 0..turns {
        let more: Vec<u8> = (0..waits - output.left()).map(|byte| (turn + byte) as u8).collect();
        output.buffer().extend_from_slice(&more);
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

/// A connection that takes pieces, and notes where they are in memory.
#[derive(Default)]
struct Pieces {
    taken: Vec<u8>,
    room: usize,
    places: Vec<*const u8>,
}

impl Write for Pieces {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let before = self.taken.len();
        for piece in pieces {
            assert!(!piece.is_empty());
            let len = piece.len().min(self.room);
            if len == piece.len() {
                self.places.push(piece.as_ptr());
            }
            self.room -= len;
            self.taken.extend_from_slice(&piece[..len]);
        }
        match self.taken.len() - before {
            0 => Poll::Pending,
            len => Poll::Ready(Ok(len)),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Messages of several sizes: a byte is copied, more are shared. In every size of write, they arrive in order, and those
/// that count as taken are those that the connection took.
#[test]
fn law14_what_is_shared_is_written_in_order_and_counted() {
    let sizes = [1, 1, 30, 1, 40, 50, 1, 1, 1, 20, 60].repeat(3);
    for room in 1..300 {
        let mut cx = Context::from_waker(Waker::noop());
        let (mut io, mut output) = (Pieces::default(), Output::default());
        let (mut sent, mut ends) = (Vec::new(), vec![0]);
        let mut left = sizes.iter().enumerate();
        loop {
            // Some are added in each turn.
            for (number, &size) in left.by_ref().take(4) {
                let message = vec![number as u8; size];
                sent.extend_from_slice(&message);
                ends.push(sent.len());
                if size == 1 {
                    output.buffer().extend(message);
                } else {
                    output.share(message.into());
                }
                output.mark(ends.len() as u64 - 1);
            }
            assert_eq!(output.left(), sent.len() - io.taken.len());
            io.room = room;
            let polled = output.poll_write(&mut io, &mut cx);
            assert_eq!(polled.is_ready(), output.left() == 0);
            assert_eq!(output.left(), sent.len() - io.taken.len());
            assert!(ends[output.taken() as usize] <= io.taken.len(), "what is left does not count");
            if polled.is_ready() && left.len() == 0 {
                break;
            }
        }
        assert_eq!(io.taken, sent, "{room}");
        assert!(output.shared.is_none() && output.taken() > 0);
    }
}

#[test]
fn what_is_shared_is_not_copied() {
    let mut cx = Context::from_waker(Waker::noop());
    let (mut io, mut output) = (Pieces { room: usize::MAX, ..Pieces::default() }, Output::default());
    let payloads = [Bytes::from(vec![1; 100]), Bytes::from(vec![2; 100])];
    for payload in &payloads {
        output.buffer().extend([0, 0]);
        output.share(payload.clone());
    }
    output.buffer().push(3);
    assert!(output.poll_write(&mut io, &mut cx).is_ready());
    assert_eq!([io.places[1], io.places[3]], [payloads[0].as_ptr(), payloads[1].as_ptr()]);
    assert_eq!((io.places.len(), io.taken.len()), (5, 205));
    assert!(payloads.iter().all(Bytes::is_unique), "nothing is kept");
}

/// The buffer of the thread stays there, unless bytes are left in it.
#[test]
fn an_output_without_bytes_owns_nothing() {
    let mut cx = Context::from_waker(Waker::noop());
    let (mut io, mut scratch) = (Pieces::default(), Scratch::take());
    scratch.rest.output.buffer().reserve(10_000);
    scratch.rest.output.buffer().extend([1; 100]);
    assert!(scratch.rest.output.poll_write(&mut io, &mut cx).is_pending());
    let mut rest = scratch.suspend();
    let kept = rest.as_ref().unwrap().output.bytes.capacity();
    assert!(scratch.rest.output.bytes.capacity() == 0 && kept <= 200, "{kept}");
    io.room = usize::MAX;
    scratch.resume(&mut rest);
    assert!(rest.is_none());
    assert!(scratch.rest.output.poll_write(&mut io, &mut cx).is_ready());
    assert!(scratch.suspend().is_none());
    assert!(scratch.rest.output.bytes.capacity() >= 100);
}
