//! A large answer in pieces. The last one follows when those before it were written.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;

/// The longest answer that is one piece, and the longest piece of another, in bytes.
pub(super) const PIECE: usize = 16 * 1024;

/// The last piece of an answer of several, in bytes. It is longer than two TCP segments of an Ethernet: without `TCP_NODELAY`,
/// a shorter one would wait for a delayed acknowledgement. With the segments of the loopback interface, 64 KiB long, it does
/// wait if those before it are no full segment. No cut avoids that: the last write must come after the others were written, for
/// that is what it shows, and it can never be as long as any segment.
pub(super) const LAST: usize = 4 * 1024;

/// What comes before the last piece of an answer, and decides when the last piece may follow.
#[derive(Debug)]
pub(super) struct Front {
    /// What was not taken.
    rest: Bytes,
    state: Arc<Mutex<FrontState>>,
    /// A piece was taken without asking. The layer that took it may keep all of them.
    unasked: bool,
    /// An earlier poll has seen that all was dropped.
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

    /// The next piece; none when the last piece of the answer may follow. `asked`: for the length, and since the last piece for
    /// the end.
    ///
    /// The front is dropped when it was written, and also when its connection broke. So the last piece may follow one poll
    /// after the front was seen to be dropped: if the connection broke, the body is dropped before that. A layer that copied
    /// the front gets the chance to write it in between.
    pub(super) fn poll(&mut self, asked: bool, cx: &Context<'_>) -> Poll<Option<Bytes>> {
        self.unasked |= !asked;
        if !self.rest.is_empty() {
            // Nothing of it stays here, or it would never be dropped.
            let len = self.rest.len();
            let piece = if len > PIECE { self.rest.split_to(PIECE) } else { std::mem::take(&mut self.rest) };
            return Poll::Ready(Some(piece));
        }
        if self.unasked || self.seen {
            return Poll::Ready(None);
        }
        let waker = Some(cx.waker().clone());
        let (dropped, _replaced) = {
            // A waker that is replaced is dropped outside of the lock: its task may go with it, and the front with that.
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
