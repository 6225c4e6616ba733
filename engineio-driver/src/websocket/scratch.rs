//! Memory that the WebSockets of a thread share, while one of them is being served.
//!
//! A thread serves one WebSocket at a time, so an idle WebSocket owns no buffers, and a busy one allocates none. The
//! memory of a thread is bounded: see [`Scratch::give_back`].

use std::cell::Cell;
use std::ops::Range;

use engineio_proto::wire::Frame;

use super::output::Output;

/// The maximum size of one read, in bytes.
pub(super) const READ: usize = 32 * 1024;
/// The same while a large frame arrives.
pub(super) const READ_LARGE: usize = 64 * 1024;
/// The maximum number of bytes and of frames for which a thread keeps memory.
const KEPT_BYTES: usize = 64 * 1024;
const KEPT_FRAMES: usize = 256;

thread_local! {
    static SCRATCH: Cell<Option<Box<Scratch>>> = const { Cell::new(None) };
}

#[derive(Debug)]
pub(super) struct Scratch {
    /// Bytes that were read. It has the size of the largest read.
    pub(super) chunk: Vec<u8>,
    /// The bytes in `chunk` that are not decoded.
    pub(super) input: Range<usize>,
    pub(super) frames: Frames,
    pub(super) rest: Rest,
}

/// What a WebSocket keeps between the polls of its task, if there is anything.
#[derive(Debug, Default)]
pub(super) struct Rest {
    /// Bytes to send.
    pub(super) output: Output,
    /// Bytes that were read and not decoded, while the session does not read.
    pub(super) kept: Vec<u8>,
    /// The maximum number of bytes in `output` that answer the peer's pings.
    pub(super) answers: usize,
}

/// Frames on their way to the session, and from it.
#[derive(Debug, Default)]
pub(super) struct Frames {
    /// Frames that have arrived.
    pub(super) incoming: Vec<Frame>,
    /// Frames to send.
    pub(super) outgoing: Vec<Frame>,
}

impl Scratch {
    /// Takes the memory of this thread. A WebSocket that is served inside of another one gets its own.
    pub(super) fn take() -> Box<Self> {
        let kept = SCRATCH.try_with(Cell::take).ok().flatten();
        kept.unwrap_or_else(|| {
            Box::new(Self { chunk: vec![0; READ_LARGE], input: 0..0, frames: Frames::default(), rest: Rest::default() })
        })
    }

    /// Takes over what a WebSocket has kept.
    pub(super) fn resume(&mut self, rest: &mut Option<Box<Rest>>) {
        if let Some(mut rest) = rest.take() {
            std::mem::swap(&mut self.rest, &mut rest);
        }
    }

    /// Returns what a WebSocket must keep.
    pub(super) fn suspend(&mut self) -> Option<Box<Rest>> {
        if !self.input.is_empty() {
            self.rest.kept = self.input().to_vec();
            self.input = 0..0;
        }
        let Rest { output, kept, .. } = &mut self.rest;
        if output.is_done() && kept.is_empty() {
            return None;
        }
        output.shrink();
        Some(Box::new(std::mem::take(&mut self.rest)))
    }

    /// Keeps the memory for the next WebSocket of this thread, except for buffers that have become large.
    pub(super) fn give_back(mut self: Box<Self>) {
        for frames in [&mut self.frames.incoming, &mut self.frames.outgoing] {
            frames.clear();
            frames.shrink_to(KEPT_FRAMES);
        }
        self.rest.output.recycle(KEPT_BYTES);
        self.rest.answers = 0;
        let _ = SCRATCH.try_with(|kept| kept.set(Some(self)));
    }

    /// The bytes that are not decoded.
    pub(super) fn input(&mut self) -> &mut [u8] {
        self.chunk.get_mut(self.input.clone()).unwrap_or_default()
    }

    /// Returns whether there are bytes that are not decoded.
    pub(super) fn has_input(&self) -> bool {
        !self.input.is_empty() || !self.rest.kept.is_empty()
    }

    /// Puts bytes back that were kept.
    pub(super) fn restore(&mut self) {
        let bytes = std::mem::take(&mut self.rest.kept);
        self.input = 0..bytes.len();
        match self.chunk.get_mut(..bytes.len()) {
            Some(chunk) => chunk.copy_from_slice(&bytes),
            None => self.chunk.clone_from(&bytes),
        }
    }
}
