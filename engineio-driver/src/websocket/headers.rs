//! The headers of WebSocket frames: RFC 6455, section 5. No I/O, and no payload.
//!
//! A rule is checked with the first byte that shows whether it is kept. So a frame that must not arrive ends the channel
//! before its payload does, and a length that is announced only costs nothing.

use std::num::NonZeroU32;

/// The maximum length of a header: two bytes, eight of length, four of mask.
const MAX_HEADER: usize = 14;

/// The maximum length of a control frame's payload. The message limit does not apply to control frames.
const MAX_CONTROL: u8 = 125;

/// The maximum number of fragments in one message, because a fragment can be empty. The reference's library has the
/// same limit.
const MAX_FRAGMENTS: u32 = 16_384;

const FINAL: u8 = 0x80;
/// The reserved bits. An extension that uses one of them allows it in [`Headers::check_first`], and nowhere else.
const RESERVED: u8 = 0x70;
const OPCODE: u8 = 0x0f;
const MASKED: u8 = 0x80;

pub(super) const CONTINUATION: u8 = 0;
pub(super) const TEXT: u8 = 1;
pub(super) const BINARY: u8 = 2;
/// The first control opcode. All that follow are control opcodes too.
pub(super) const CLOSE: u8 = 8;
pub(super) const PING: u8 = 9;
pub(super) const PONG: u8 = 10;

/// A rule that a header breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Broken {
    /// A rule of the WebSocket protocol.
    Protocol,
    /// The limit of a message's size.
    Size,
    /// The limit of a message's fragments.
    Fragments,
}

/// The header of a frame that keeps the rules.
#[derive(Clone, Copy, Debug)]
pub(super) struct Header {
    pub(super) opcode: u8,
    pub(super) is_final: bool,
    /// Zero if the frame is not masked.
    pub(super) mask: [u8; 4],
    /// The length of the payload, in bytes.
    pub(super) len: usize,
}

impl Header {
    pub(super) const fn is_control(&self) -> bool {
        self.opcode >= CLOSE
    }
}

/// Parses the headers of one peer, and follows its fragments.
#[derive(Debug)]
pub(super) struct Headers {
    /// Whether the peer masks its frames: a client does.
    masked: bool,
    /// The first bytes of a header that is not complete.
    partial: [u8; MAX_HEADER],
    have: u8,
    /// The maximum size of a message, in bytes.
    max_message: usize,
    max_fragments: u32,
    /// The message whose last fragment has not begun.
    message: Option<Fragments>,
}

/// The fragments of a message.
#[derive(Clone, Copy, Debug)]
struct Fragments {
    count: NonZeroU32,
    bytes: usize,
}

impl Headers {
    pub(super) const fn new(masked: bool, max_message: usize) -> Self {
        let max_fragments = MAX_FRAGMENTS;
        Self { masked, partial: [0; MAX_HEADER], have: 0, max_message, max_fragments, message: None }
    }

    /// Takes the next header from the input, which begins where the last frame ended. If the header is not complete, it
    /// takes what there is and returns `None`. What follows a broken rule is not a frame.
    #[inline]
    pub(super) fn next(&mut self, input: &mut &mut [u8]) -> Option<Result<Header, Broken>> {
        if self.have > 0 {
            return self.next_partial(input);
        }
        match self.parse(input) {
            Ok(Some((header, end))) => {
                skip(input, end);
                self.begin(&header);
                Some(Ok(header))
            }
            Ok(None) => self.next_partial(input),
            Err(broken) => Some(Err(broken)),
        }
    }

    /// As [`Headers::next`], for a header that arrives in pieces.
    #[cold]
    fn next_partial(&mut self, input: &mut &mut [u8]) -> Option<Result<Header, Broken>> {
        let have = usize::from(self.have);
        // What follows the header is looked at again.
        let room = self.partial.get_mut(have..).unwrap_or_default();
        let more = room.len().min(input.len());
        room.get_mut(..more)?.copy_from_slice(input.get(..more)?);
        match self.parse(self.partial.get(..have + more)?) {
            Ok(Some((header, end))) => {
                skip(input, end - have);
                self.have = 0;
                self.begin(&header);
                Some(Ok(header))
            }
            Ok(None) => {
                self.have += more as u8;
                *input = &mut [];
                None
            }
            Err(broken) => Some(Err(broken)),
        }
    }

    /// Parses a header, and returns it with its length. Returns `None` if it is not complete.
    #[inline(always)]
    fn parse(&self, bytes: &[u8]) -> Result<Option<(Header, usize)>, Broken> {
        let Some((&first, rest)) = bytes.split_first() else { return Ok(None) };
        self.check_first(first)?;
        let Some((&second, rest)) = rest.split_first() else { return Ok(None) };
        self.check_second(first, second)?;
        let (len, end) = match second & !MASKED {
            126 => {
                let Some(len) = rest.first_chunk() else { return Ok(None) };
                (u64::from(u16::from_be_bytes(*len)), 4)
            }
            127 => {
                let Some(len) = rest.first_chunk() else { return Ok(None) };
                (u64::from_be_bytes(*len), 10)
            }
            len => (u64::from(len), 2),
        };
        let len = self.check_length(first, len)?;
        let (mask, end) = if self.masked {
            let Some(mask) = bytes.get(end..).and_then(<[u8]>::first_chunk) else { return Ok(None) };
            (*mask, end + 4)
        } else {
            ([0; 4], end)
        };
        Ok(Some((Header { opcode: first & OPCODE, is_final: first & FINAL != 0, mask, len }, end)))
    }

    /// The first byte: reserved bits, the opcode, and the order of fragments.
    const fn check_first(&self, first: u8) -> Result<(), Broken> {
        let allowed = match first & OPCODE {
            CONTINUATION => self.message.is_some(),
            TEXT | BINARY => self.message.is_none(),
            CLOSE..=PONG => first & FINAL != 0,
            _ => false,
        };
        if allowed && first & RESERVED == 0 { Ok(()) } else { Err(Broken::Protocol) }
    }

    /// The second byte: the mask, and the length of a control frame.
    const fn check_second(&self, first: u8, second: u8) -> Result<(), Broken> {
        let too_long = is_control(first) && second & !MASKED > MAX_CONTROL;
        if (second & MASKED != 0) == self.masked && !too_long { Ok(()) } else { Err(Broken::Protocol) }
    }

    /// The length of a message, and the number of its fragments.
    fn check_length(&self, first: u8, len: u64) -> Result<usize, Broken> {
        // A frame that is longer than any memory is above the limit, whatever that is.
        let len = usize::try_from(len).map_err(|_| Broken::Size)?;
        if is_control(first) {
            return Ok(len);
        }
        let (count, bytes) = self.message.map_or((0, 0), |before| (before.count.get(), before.bytes));
        if len > self.max_message.saturating_sub(bytes) {
            return Err(Broken::Size);
        }
        if first & FINAL == 0 && count >= self.max_fragments {
            return Err(Broken::Fragments);
        }
        Ok(len)
    }

    /// A frame begins.
    const fn begin(&mut self, header: &Header) {
        if header.is_control() {
            return;
        }
        self.message = match self.message {
            _ if header.is_final => None,
            None => Some(Fragments { count: NonZeroU32::MIN, bytes: header.len }),
            Some(before) => Some(Fragments { count: before.count.saturating_add(1), bytes: before.bytes + header.len }),
        };
    }

    /// Autobahn has messages of more fragments.
    #[cfg(feature = "__fuzz")]
    pub(super) const fn allow_fragments(&mut self, most: u32) {
        self.max_fragments = most;
    }

    /// Returns whether a header has arrived in part.
    #[cfg(test)]
    pub(super) const fn is_partial(&self) -> bool {
        self.have > 0
    }
}

const fn is_control(first: u8) -> bool {
    first & OPCODE >= CLOSE
}

/// Removes bytes from the beginning of the input.
fn skip(input: &mut &mut [u8], len: usize) {
    let bytes = std::mem::take(input);
    *input = bytes.get_mut(len..).unwrap_or_default();
}

/// Appends the header of a frame that is not a fragment.
pub(super) fn write(opcode: u8, mask: Option<[u8; 4]>, len: usize, output: &mut Vec<u8>) {
    let masked = if mask.is_some() { MASKED } else { 0 };
    let first = FINAL | opcode;
    match (u8::try_from(len), u16::try_from(len)) {
        (Ok(len @ ..126), _) => output.extend_from_slice(&[first, masked | len]),
        (_, Ok(len)) => {
            let [high, low] = len.to_be_bytes();
            output.extend_from_slice(&[first, masked | 126, high, low]);
        }
        _ => {
            output.extend_from_slice(&[first, masked | 127]);
            output.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
    if let Some(mask) = mask {
        output.extend_from_slice(&mask);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tungstenite::protocol::frame::FrameHeader;

    const LIMIT: usize = 1000;

    /// Follows frames that arrive in pieces. Returns where the last complete frame ends, and after how many bytes a rule
    /// is broken, up to the size of a piece.
    fn follow_pieces(masked: bool, bytes: &[u8], size: usize) -> (usize, Option<(usize, Broken)>) {
        let mut headers = Headers::new(masked, LIMIT);
        let (mut at, mut whole, mut payload) = (0, 0, 0);
        for piece in bytes.chunks(size) {
            let mut piece = piece.to_vec();
            let mut input = &mut piece[..];
            at += input.len();
            loop {
                let skipped = payload.min(input.len());
                skip(&mut input, skipped);
                payload -= skipped;
                if payload > 0 {
                    break;
                }
                // The end of a payload, or of a header without one.
                if skipped > 0 {
                    whole = at - input.len();
                }
                match headers.next(&mut input) {
                    Some(Ok(header)) => payload = header.len,
                    Some(Err(broken)) => return (whole, Some((at, broken))),
                    None => break,
                }
                if payload == 0 {
                    whole = at - input.len();
                }
            }
        }
        (whole, None)
    }

    /// Follows bytes one at a time. Returns where the last complete frame ends, and after how many bytes a rule is
    /// broken.
    fn follow(masked: bool, bytes: &[u8]) -> (usize, Option<(usize, Broken)>) {
        let result = follow_pieces(masked, bytes, 1);
        // In larger pieces it is the same.
        for size in [2, 3, 7, bytes.len().max(1)] {
            let (whole, broken) = follow_pieces(masked, bytes, size);
            assert_eq!((whole, broken.map(|(_, broken)| broken)), (result.0, result.1.map(|(_, broken)| broken)));
        }
        result
    }

    #[test]
    fn sec38_a_rule_is_checked_with_the_first_byte_that_shows_it() {
        use Broken::{Protocol, Size};
        for (rule, bytes, after, broken) in [
            ("rsv1", &[0xc1][..], 1, Protocol),
            ("rsv2", &[0xa1], 1, Protocol),
            ("rsv3", &[0x91], 1, Protocol),
            ("a reserved data opcode", &[0x83], 1, Protocol),
            ("the last reserved data opcode", &[0x87], 1, Protocol),
            ("a reserved control opcode", &[0x8b], 1, Protocol),
            ("the last opcode", &[0x8f], 1, Protocol),
            ("a ping in fragments", &[0x09], 1, Protocol),
            ("a continuation of nothing", &[0x80], 1, Protocol),
            ("a continuation behind a message", &[0x81, 0x80, 0, 0, 0, 0, 0x80], 7, Protocol),
            ("a message in a message", &[0x01, 0x80, 0, 0, 0, 0, 0x81], 7, Protocol),
            ("not masked", &[0x81, 0x05], 2, Protocol),
            ("a large ping", &[0x89, 0xfe], 2, Protocol),
            ("a larger ping", &[0x89, 0xff], 2, Protocol),
            ("a large message", &[0x82, 0xfe, 0x03, 0xe9], 4, Size),
            ("a larger message", &[0x82, 0xff, 0, 0, 0, 0, 0, 0, 0x03, 0xe9], 10, Size),
            ("the largest message", &[0x82, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], 10, Size),
            ("fragments that add up", &[0x02, 0x81, 0, 0, 0, 0, 7, 0x00, 0xfe, 0x03, 0xe8], 11, Size),
        ] {
            assert_eq!(follow(true, bytes).1, Some((after, broken)), "{rule}");
            let (last, before) = bytes.split_last().unwrap();
            assert_eq!(follow(true, before).1, None, "{rule} without {last}");
        }
        assert_eq!(follow(false, &[0x81, 0x80]).1, Some((2, Protocol)), "a server does not mask");
    }

    #[test]
    fn what_keeps_the_rules_is_followed() {
        let large = [&[0x82, 0x7e, 0x03, 0xe8][..], &[0; 1000]].concat();
        let not_shortest = [&[0x82, 0x7f, 0, 0, 0, 0, 0, 0, 0, 1][..], &[0; 1]].concat();
        for (bytes, whole) in [
            (&[][..], 0),
            (&[0x81], 0),
            (&[0x81, 0], 2),
            (&[0x81, 3, 1, 2], 0),
            (&[0x81, 3, 1, 2, 3], 5),
            (&[0x81, 3, 1, 2, 3, 0x8a, 1], 5),
            (&[0x01, 1, 1, 0x89, 1, 1, 0x00, 0, 0x80, 1, 1, 0x88, 0, 0x82], 13),
            (&large, 1004),
            (&not_shortest, 11),
        ] {
            assert_eq!(follow(false, bytes), (whole, None), "{bytes:?}");
        }
        assert_eq!(follow(true, &[0x81, 0x81, 1, 2, 3, 4, 5, 0x89, 0x80, 1, 2, 3]), (7, None));
    }

    #[test]
    fn the_headers_that_are_written() {
        let mask = [1, 2, 3, 4];
        for len in [0, 1, 125, 126, 127, 255, 256, 0xffff, 0x1_0000, 1 << 24] {
            for (opcode, mask) in [(TEXT, None), (BINARY, Some(mask)), (PONG, None)] {
                let mut ours = Vec::new();
                write(opcode, mask, len, &mut ours);
                let mut theirs = Vec::new();
                let header = FrameHeader { opcode: opcode.into(), mask, ..FrameHeader::default() };
                header.format(len as u64, &mut theirs).unwrap();
                assert_eq!(ours, theirs, "{len}");
            }
        }
    }
}
