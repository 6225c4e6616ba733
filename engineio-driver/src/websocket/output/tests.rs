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
