//! Choices, read from bytes.
//!
//! Everything is read from the front, and small numbers are written as digits, so that seeds can be written by hand and
//! findings can be read.

/// A source of choices.
#[derive(Debug)]
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the next byte; zero after the end.
    pub(crate) fn byte(&mut self) -> u8 {
        let Some((&byte, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        byte
    }

    /// Returns a number below `end`. A digit stands for itself.
    pub(crate) fn below(&mut self, end: u8) -> u8 {
        let byte = self.byte();
        let number = if byte.is_ascii_digit() { byte - b'0' } else { byte };
        number % end
    }

    /// Returns one of these letters. Any other byte stands for one of them too.
    pub(crate) fn letter(&mut self, letters: &[u8]) -> u8 {
        let byte = self.byte();
        if letters.contains(&byte) { byte } else { letters[usize::from(byte) % letters.len()] }
    }

    /// Returns at most `len` bytes.
    pub(crate) fn bytes(&mut self, len: usize) -> &'a [u8] {
        let (bytes, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        bytes
    }

    /// Returns everything up to the next line end, or the rest.
    pub(crate) fn line(&mut self) -> &'a [u8] {
        let end = self.0.iter().position(|&byte| byte == b'\n').unwrap_or(self.0.len());
        let line = self.bytes(end);
        self.bytes(1);
        line
    }
}
