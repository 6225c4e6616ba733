//! The payload of a message that arrives in pieces: parts of a frame, or fragments.
//!
//! No memory is reserved for bytes that are only announced. It grows with what arrived, to at most twice of that, and a
//! complete message has exactly its own size.
//!
//! A payload that an extension has changed would be collected as bytes, and restored in [`Payload::finish`].

use engineio_proto::Text;
use engineio_proto::wire::Frame;

/// Text that is not UTF-8.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NotText;

/// The payload of a message, as far as it has arrived.
#[derive(Debug)]
pub(super) enum Payload {
    Text(Utf8),
    Binary(Vec<u8>),
}

/// How much of a message is to come, as far as that is known.
#[derive(Clone, Copy, Debug)]
pub(super) struct Expected {
    /// The bytes of the current frame that have not arrived.
    pub(super) left: usize,
    /// The current frame is the last of the message.
    pub(super) is_final: bool,
}

impl Payload {
    pub(super) const fn new(is_text: bool) -> Self {
        if is_text { Self::Text(Utf8::new()) } else { Self::Binary(Vec::new()) }
    }

    /// Appends a piece. Text is checked as far as it has arrived.
    pub(super) fn push(&mut self, piece: &[u8], expected: Expected) -> Result<(), NotText> {
        match self {
            Self::Text(text) => text.push(piece, expected),
            Self::Binary(bytes) => {
                bytes.reserve_exact(room(bytes.len(), bytes.capacity(), piece.len(), expected));
                bytes.extend_from_slice(piece);
                Ok(())
            }
        }
    }

    /// Returns the complete message.
    pub(super) fn finish(self) -> Result<Frame, NotText> {
        match self {
            Self::Text(Utf8 { tail_len: 1.., .. }) => Err(NotText),
            Self::Text(Utf8 { mut text, .. }) => {
                text.shrink_to_fit();
                Ok(Frame::received(Text::from(text)))
            }
            Self::Binary(mut bytes) => {
                bytes.shrink_to_fit();
                Ok(Frame::Binary(bytes.into()))
            }
        }
    }

    /// Returns how much memory is held, in bytes.
    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        match self {
            Self::Text(text) => text.text.capacity(),
            Self::Binary(bytes) => bytes.capacity(),
        }
    }
}

/// Returns the message of a payload that arrived in one piece, copied into an allocation of its size.
pub(super) fn whole(is_text: bool, payload: &[u8]) -> Result<Frame, NotText> {
    if is_text {
        let text = simdutf8::basic::from_utf8(payload).map_err(|_| NotText)?;
        Ok(Frame::copy_text(text))
    } else {
        Ok(Frame::Binary(bytes::Bytes::copy_from_slice(payload)))
    }
}

/// Text, checked as far as it has arrived. A character at its end may be incomplete.
#[derive(Debug)]
pub(super) struct Utf8 {
    text: String,
    /// The first bytes of an incomplete character.
    tail: [u8; 4],
    tail_len: u8,
}

impl Utf8 {
    const fn new() -> Self {
        Self { text: String::new(), tail: [0; 4], tail_len: 0 }
    }

    fn push(&mut self, piece: &[u8], expected: Expected) -> Result<(), NotText> {
        let more = usize::from(self.tail_len) + piece.len();
        self.text.reserve_exact(room(self.text.len(), self.text.capacity(), more, expected));
        let rest = self.push_tail(piece)?;
        match simdutf8::compat::from_utf8(rest) {
            Ok(text) => self.text.push_str(text),
            Err(error) if error.error_len().is_some() => return Err(NotText),
            Err(error) => {
                let (valid, tail) = rest.split_at_checked(error.valid_up_to()).ok_or(NotText)?;
                self.text.push_str(std::str::from_utf8(valid).map_err(|_| NotText)?);
                self.tail.get_mut(..tail.len()).ok_or(NotText)?.copy_from_slice(tail);
                self.tail_len = tail.len() as u8;
            }
        }
        Ok(())
    }

    /// Completes the character that is incomplete, as far as possible. Returns the rest of the piece.
    fn push_tail<'a>(&mut self, mut piece: &'a [u8]) -> Result<&'a [u8], NotText> {
        while self.tail_len > 0 {
            let Some((&byte, rest)) = piece.split_first() else { break };
            let len = usize::from(self.tail_len);
            *self.tail.get_mut(len).ok_or(NotText)? = byte;
            piece = rest;
            match std::str::from_utf8(self.tail.get(..=len).unwrap_or_default()) {
                Ok(character) => {
                    self.text.push_str(character);
                    self.tail_len = 0;
                }
                Err(error) if error.error_len().is_some() => return Err(NotText),
                Err(_) => self.tail_len += 1,
            }
        }
        Ok(piece)
    }
}

/// Returns how much to reserve for `more` bytes: the double of what there is, but not more than is announced.
fn room(len: usize, capacity: usize, more: usize, expected: Expected) -> usize {
    let needed = len + more;
    if needed <= capacity {
        return 0;
    }
    let announced = if expected.is_final { needed.saturating_add(expected.left) } else { usize::MAX };
    needed.max(capacity.saturating_mul(2)).min(announced) - len
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pushes the pieces of one frame. Returns the message, or the number of pieces with the first invalid one.
    fn push<'a>(is_text: bool, pieces: impl IntoIterator<Item = &'a [u8]>) -> Result<Frame, usize> {
        let pieces: Vec<&[u8]> = pieces.into_iter().collect();
        let mut left: usize = pieces.iter().map(|piece| piece.len()).sum();
        let mut payload = Payload::new(is_text);
        for (at, piece) in pieces.iter().enumerate() {
            left -= piece.len();
            payload.push(piece, Expected { left, is_final: true }).map_err(|_| at + 1)?;
        }
        payload.finish().map_err(|_| pieces.len())
    }

    /// Compares with the standard library: which bytes are valid UTF-8, and which byte is the first invalid one.
    #[test]
    fn text_is_checked_byte_by_byte() {
        let rows: &[&[u8]] = &[
            b"",
            b"4hello",
            "4h\u{e9}\u{20ac}\u{1f980}!".as_bytes(),
            b"\xff",
            b"a\xc3(",
            b"\xc0\xaf",
            b"\xe0\x80\x80",
            b"\xed\xa0\x80",
            b"\xf0\x9f\xa6",
            b"\xf0\x8f\xbf\xbf",
            b"\xf4\x90\x80\x80",
            b"\xf8\x88\x80\x80\x80",
            b"abc\xe2\x82",
        ];
        for row in rows {
            let end = (1..=row.len()).find(|&len| {
                let error = std::str::from_utf8(&row[..len]).err();
                error.is_some_and(|error| error.error_len().is_some() || len == row.len())
            });
            let whole = std::str::from_utf8(row).map(|text| Frame::received(text.into()));
            assert_eq!(push(true, row.chunks(1)), whole.clone().map_err(|_| end.unwrap()), "{row:?}");
            assert_eq!(super::whole(true, row), whole.clone().map_err(|_| NotText), "{row:?}");
            for cut in 0..=row.len() {
                let (first, second) = row.split_at(cut);
                assert_eq!(push(true, [first, second]).ok(), whole.clone().ok(), "{row:?}, cut at {cut}");
            }
        }
    }

    #[test]
    fn long_text_of_every_kind() {
        for character in ["x", "\u{e9}", "\u{20ac}", "\u{1f980}"] {
            let text = character.repeat(5000);
            let whole = Frame::received(text.as_str().into());
            assert_eq!(super::whole(true, text.as_bytes()), Ok(whole.clone()));
            for size in [1, 2, 3, 5, 64, 1000, 4097] {
                assert_eq!(push(true, text.as_bytes().chunks(size)), Ok(whole.clone()), "{size}");
            }
            let broken = [text.as_bytes(), b"\xff", text.as_bytes()].concat();
            assert_eq!(super::whole(true, &broken), Err(NotText));
            assert_eq!(push(true, broken.chunks(100)), Err(text.len() / 100 + 1));
        }
    }

    /// At most the double of what arrived, and at the end exactly the message.
    #[test]
    fn sec1_memory_grows_with_what_arrives() {
        for is_text in [false, true] {
            for size in [1, 100, 4096] {
                let mut payload = Payload::new(is_text);
                let mut left = 100_000;
                while left > 0 {
                    let piece = vec![b'x'; size.min(left)];
                    left -= piece.len();
                    payload.push(&piece, Expected { left, is_final: true }).unwrap();
                    let capacity = payload.capacity();
                    let arrived = 100_000 - left;
                    assert!(capacity <= 2 * arrived && capacity <= 100_000, "{capacity} for {arrived}");
                }
                assert_eq!(payload.finish().unwrap().len(), 100_000);
            }
        }
    }
}
