//! A stream that detects when its peer takes bytes again.

use std::io::{ErrorKind, Read, Result, Write};

/// A stream that did not take all bytes is blocked. When it takes bytes again, its peer reads: `Input::Unblocked`
/// reports this to the core.
pub(crate) struct Watched<S> {
    stream: S,
    blocked: bool,
    unblocked: bool,
}

impl<S> Watched<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self { stream, blocked: false, unblocked: false }
    }

    pub(crate) fn get_ref(&self) -> &S {
        &self.stream
    }

    /// Returns whether the stream was blocked and has taken bytes since. Returns `true` once.
    pub(crate) fn take_unblocked(&mut self) -> bool {
        std::mem::take(&mut self.unblocked)
    }
}

/// With a timeout, Windows returns `TimedOut` where other systems return `WouldBlock`.
fn unify<T>(result: Result<T>) -> Result<T> {
    result.map_err(|error| match error.kind() {
        ErrorKind::TimedOut if cfg!(windows) => ErrorKind::WouldBlock.into(),
        _ => error,
    })
}

impl<S: Read> Read for Watched<S> {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        unify(self.stream.read(buffer))
    }
}

impl<S: Write> Write for Watched<S> {
    fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        let written = unify(self.stream.write(bytes));
        match &written {
            Ok(0) => (),
            Ok(len) => {
                self.unblocked |= self.blocked;
                self.blocked = *len < bytes.len();
            }
            Err(error) => self.blocked |= error.kind() == ErrorKind::WouldBlock,
        }
        written
    }

    fn flush(&mut self) -> Result<()> {
        self.stream.flush()
    }
}
