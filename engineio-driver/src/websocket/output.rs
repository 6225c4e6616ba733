//! Bytes on their way to the connection.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use hyper::rt::Write;

/// The maximum number of pieces in one write.
const PIECES: usize = 16;

/// A queue of bytes: small frames one after the other in one buffer, and between them large payloads, which are shared
/// with whoever sends them.
#[derive(Debug, Default)]
pub(super) struct Output {
    bytes: Vec<u8>,
    /// How many of `bytes` the connection took.
    written: usize,
    /// Large payloads, each with its place: where it is between the bytes of `bytes`.
    shared: VecDeque<(usize, Bytes)>,
    /// The bytes in `shared`.
    shared_len: usize,
    /// The connection took bytes and was not flushed since.
    unflushed: bool,
    /// The number of bytes that the connection took so far.
    total: u64,
    /// Where a frame ends, in bytes that the connection takes in total, and how many messages of the session that makes.
    mark: Option<(u64, u64)>,
    /// So many messages of the session the connection took: those up to the last mark that it passed.
    taken: u64,
}

impl Output {
    /// Bytes that the connection has not taken.
    pub(super) fn left(&self) -> usize {
        self.bytes.len() - self.written + self.shared_len
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
            self.shared_len += payload.len();
            self.shared.push_back((self.bytes.len(), payload));
        }
    }

    /// What is there ends with this message of the session. One mark at a time is enough: the next one follows when the
    /// connection has passed it.
    pub(super) fn mark(&mut self, messages: u64) {
        if self.mark.is_none() && self.left() > 0 {
            self.mark = Some((self.total + self.left() as u64, messages));
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
        if self.shared.is_empty() {
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
        let shared = self.shared.iter().flat_map(move |(place, payload)| {
            let between = self.bytes.get(std::mem::replace(&mut start, *place)..*place);
            [between.unwrap_or_default(), payload]
        });
        let last = self.shared.back().map_or(self.written, |(place, _)| *place);
        let pieces = shared.chain([self.bytes.get(last..).unwrap_or_default()]);
        pieces.filter(|piece| !piece.is_empty())
    }

    /// Removes what the connection took.
    fn remove(&mut self, mut len: usize) {
        self.unflushed = true;
        self.total += len as u64;
        if let Some((_, messages)) = self.mark.take_if(|(end, _)| *end <= self.total) {
            self.taken = messages;
        }
        while let Some((place, payload)) = self.shared.front_mut() {
            let between = len.min(*place - self.written);
            self.written += between;
            len -= between;
            let of_payload = len.min(payload.len());
            payload.advance(of_payload);
            self.shared_len -= of_payload;
            len -= of_payload;
            if !payload.is_empty() {
                return;
            }
            self.shared.pop_front();
        }
        self.shared = VecDeque::new();
        self.written += len;
    }

    /// Drops what was written, once that is more than what is left: a connection that never takes everything would let it
    /// grow. So no byte is moved more than once on average.
    fn drop_written(&mut self) {
        if self.written > self.bytes.len() - self.written {
            self.bytes.drain(..self.written);
            for (place, _) in &mut self.shared {
                *place -= self.written;
            }
            self.written = 0;
        }
    }

    /// Takes over an empty buffer, if it has none.
    pub(super) fn lend(&mut self, buffer: &mut Vec<u8>) {
        if self.bytes.capacity() == 0 {
            std::mem::swap(&mut self.bytes, buffer);
        }
    }

    /// Gives its buffer back if nothing is left in it. Otherwise keeps not much more than what is left.
    pub(super) fn give_back(&mut self, buffer: &mut Vec<u8>) {
        if self.left() == 0 {
            self.bytes.clear();
            self.written = 0;
            *buffer = std::mem::take(&mut self.bytes);
        } else {
            self.bytes.shrink_to(2 * self.bytes.len());
        }
    }
}

#[cfg(test)]
mod tests;
