//! A large answer in pieces. The last piece is sent after the others were written.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;

/// The maximum size of an answer in one piece, and of each piece of a longer answer, in bytes.
pub(super) const PIECE: usize = 16 * 1024;

/// The size of the last piece of a longer answer, in bytes. It is longer than two TCP segments on Ethernet: without
/// `TCP_NODELAY`, a shorter piece would wait for a delayed acknowledgement. On the loopback interface, where a segment
/// has 64 KiB, it does wait if the pieces before it fill no segment. No other size would help: the last write must come
/// after the others were written, because that is what it shows, and it cannot be as long as any segment.
pub(super) const LAST: usize = 4 * 1024;

/// The part of an answer before its last piece. It decides when the last piece may follow.
#[derive(Debug)]
pub(super) struct Front {
    /// What was not taken.
    rest: Bytes,
    state: Arc<Mutex<FrontState>>,
    /// A piece was taken without asking for the length or the end. The layer that took it may keep all pieces.
    unasked: bool,
    /// An earlier poll found that all pieces were dropped.
    seen: bool,
}

#[derive(Debug, Default)]
struct FrontState {
    dropped: bool,
    waker: Option<Waker>,
}

impl Front {
    pub(super) fn new(bytes: Bytes) -> Self {
        let state = Arc::<Mutex<FrontState>>::default();
        let rest = Bytes::from_owner(Taken { bytes, state: Arc::clone(&state) });
        Self { rest, state, unasked: false, seen: false }
    }

    /// Bytes that were not taken.
    pub(super) fn len(&self) -> usize {
        self.rest.len()
    }

    /// Returns the next piece, or `None` when the last piece may follow. `asked`: the length was asked for, and, since
    /// the last piece, the end.
    ///
    /// The front is dropped when it was written, but also when its connection broke. So the last piece may follow one
    /// poll after the front was found to be dropped: if the connection broke, the body is dropped before that poll. A
    /// layer that copied the front can write it in between.
    pub(super) fn poll(&mut self, asked: bool, cx: &Context<'_>) -> Poll<Option<Bytes>> {
        self.unasked |= !asked;
        if !self.rest.is_empty() {
            // No reference to the piece may stay here, or the piece would never count as dropped.
            let len = self.rest.len();
            let piece = if len > PIECE { self.rest.split_to(PIECE) } else { std::mem::take(&mut self.rest) };
            return Poll::Ready(Some(piece));
        }
        if self.unasked || self.seen {
            return Poll::Ready(None);
        }
        let waker = Some(cx.waker().clone());
        let (dropped, _replaced) = {
            // A replaced waker is dropped without the lock: its task may be dropped with it, and the front with the
            // task.
            let mut state = lock(&self.state);
            (state.dropped, std::mem::replace(&mut state.waker, waker))
        };
        if dropped {
            self.seen = true;
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }
}

/// The bytes of the front, until the last piece of it is dropped.
struct Taken {
    bytes: Bytes,
    state: Arc<Mutex<FrontState>>,
}

impl AsRef<[u8]> for Taken {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        let waker = {
            let mut state = lock(&self.state);
            state.dropped = true;
            state.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

fn lock(state: &Mutex<FrontState>) -> MutexGuard<'_, FrontState> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
