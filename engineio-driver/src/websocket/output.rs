//! Bytes on their way to the connection.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::num::NonZeroUsize;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use hyper::rt::Write;

/// The maximum number of pieces in one write.
const PIECES: usize = 16;

/// A queue of bytes: small frames one after the other in one buffer, and between them large payloads, which are not
/// copied: they share the memory of the message.
#[derive(Debug, Default)]
pub(super) struct Output {
    bytes: Vec<u8>,
    /// How many of `bytes` the connection took.
    written: usize,
    /// Large payloads. Hardly ever there, so they are boxed.
    shared: Option<Box<Shared>>,
    /// The connection took bytes and was not flushed since.
    unflushed: bool,
    /// How many bytes the connection has to take until the end of a frame, and how many messages of the session that
    /// makes.
    mark: Option<(NonZeroUsize, u64)>,
    /// So many messages of the session the connection took: those up to the last mark that it passed.
    taken: u64,
}

#[derive(Debug, Default)]
struct Shared {
    /// Each with its place: where it is between the bytes of [`Output::bytes`].
    payloads: VecDeque<(usize, Bytes)>,
    /// Their bytes.
    len: usize,
}

impl Output {
    /// Bytes that the connection has not taken.
    pub(super) fn left(&self) -> usize {
        self.bytes.len() - self.written + self.shared.as_ref().map_or(0, |shared| shared.len)
    }

    /// So many messages of the session the connection took, at least.
    pub(super) const fn taken(&self) -> u64 {
        self.taken
    }

    /// The buffer to which frames are appended.
    pub(super) const fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Appends a payload without copying it.
    pub(super) fn share(&mut self, payload: Bytes) {
        if !payload.is_empty() {
            let shared = self.shared.get_or_insert_default();
            shared.len += payload.len();
            shared.payloads.push_back((self.bytes.len(), payload));
        }
    }

    /// What is there ends with this message of the session. One mark at a time is enough: the next one follows when the
    /// connection has passed it.
    pub(super) fn mark(&mut self, messages: u64) {
        if self.mark.is_none() {
            self.mark = NonZeroUsize::new(self.left()).map(|left| (left, messages));
        }
    }

    /// Writes everything. Ready when the connection took every byte and is flushed.
    pub(super) fn poll_write(&mut self, io: &mut (impl Write + Unpin), cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.left() > 0 {
            match self.poll_write_some(io, cx)? {
                Poll::Ready(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(len) => self.remove(len),
                Poll::Pending => {
                    self.drop_written();
                    return Poll::Pending;
                }
            }
        }
        self.bytes.clear();
        self.written = 0;
        if self.unflushed {
            ready!(Pin::new(io).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_write_some(&self, io: &mut (impl Write + Unpin), cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.shared.is_none() {
            return Pin::new(io).poll_write(cx, self.bytes.get(self.written..).unwrap_or_default());
        }
        let mut pieces = [IoSlice::new(&[]); PIECES];
        let mut count = 0;
        for (piece, slot) in self.pieces().zip(&mut pieces) {
            *slot = IoSlice::new(piece);
            count += 1;
        }
        Pin::new(io).poll_write_vectored(cx, pieces.get(..count).unwrap_or_default())
    }

    /// The bytes that are left, in order. No piece is empty.
    fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        let mut start = self.written;
        let payloads = || self.shared.iter().flat_map(|shared| &shared.payloads);
        let shared = payloads().flat_map(move |(place, payload)| {
            let between = self.bytes.get(std::mem::replace(&mut start, *place)..*place);
            [between.unwrap_or_default(), payload]
        });
        let last = payloads().next_back().map_or(self.written, |(place, _)| *place);
        let pieces = shared.chain([self.bytes.get(last..).unwrap_or_default()]);
        pieces.filter(|piece| !piece.is_empty())
    }

    /// Removes what the connection took.
    fn remove(&mut self, mut len: usize) {
        self.unflushed = true;
        if let Some((left, messages)) = self.mark {
            let left = NonZeroUsize::new(left.get().saturating_sub(len));
            self.mark = left.map(|left| (left, messages));
            if left.is_none() {
                self.taken = messages;
            }
        }
        if let Some(shared) = &mut self.shared {
            while let Some((place, payload)) = shared.payloads.front_mut() {
                let between = len.min(*place - self.written);
                self.written += between;
                len -= between;
                let of_payload = len.min(payload.len());
                payload.advance(of_payload);
                shared.len -= of_payload;
                len -= of_payload;
                if !payload.is_empty() {
                    return;
                }
                shared.payloads.pop_front();
            }
            self.shared = None;
        }
        self.written += len;
    }

    /// Drops what was written, once that is more than what is left: a connection that never takes everything would let it
    /// grow. So no byte is moved more than once on average.
    fn drop_written(&mut self) {
        if self.written > self.bytes.len() - self.written {
            self.bytes.drain(..self.written);
            for (place, _) in self.shared.iter_mut().flat_map(|shared| &mut shared.payloads) {
                *place -= self.written;
            }
            self.written = 0;
        }
    }

    /// Returns whether the connection took every byte, and was flushed.
    pub(super) fn is_done(&self) -> bool {
        self.left() == 0 && !self.unflushed
    }

    /// Keeps not much more memory than for what is left.
    pub(super) fn shrink(&mut self) {
        self.bytes.shrink_to(2 * self.bytes.len());
    }

    /// Becomes an empty queue, for another connection. Keeps its memory up to a limit.
    pub(super) fn recycle(&mut self, kept: usize) {
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes.clear();
        bytes.shrink_to(kept);
        *self = Self { bytes, ..Self::default() };
    }
}

#[cfg(test)]
mod tests;
