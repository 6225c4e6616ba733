//! The headers of a peer's WebSocket frames, checked as they arrive: RFC 6455, section 5. No I/O, and no payload.
//!
//! A rule is checked with the first byte that shows whether it is kept. So a frame that must not arrive ends the channel
//! before its payload does, and a length that is announced only costs nothing.

/// The maximum length of a header: two bytes, eight of length, four of mask.
const MAX_HEADER: usize = 14;

/// The maximum length of a control frame's payload. The message limit does not apply to control frames.
pub(super) const MAX_CONTROL: u64 = 125;

/// The maximum number of fragments in one message, because a fragment can be empty. The reference's library has the
/// same limit.
const MAX_FRAGMENTS: u32 = 16_384;

const FINAL: u8 = 0x80;
const RESERVED: u8 = 0x70;
const OPCODE: u8 = 0x0f;
const CONTINUATION: u8 = 0;
/// The first control opcode. All that follow are control opcodes too.
const CLOSE: u8 = 8;
const PONG: u8 = 10;
const MASKED: u8 = 0x80;

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

/// Follows the frames of one peer.
#[derive(Debug)]
pub(super) struct Headers {
    /// Whether the peer masks its frames: a client does.
    masked: bool,
    /// The maximum size of a message, in bytes.
    max_message: u64,
    /// The bytes of the header that is arriving, or of the current frame.
    header: [u8; MAX_HEADER],
    have: usize,
    /// The length of the current frame's payload.
    len: u64,
    /// The bytes of it that have not arrived.
    left: u64,
    /// The message whose last fragment has not arrived.
    message: Option<Fragments>,
    /// The length of the largest complete frame since [`Headers::forget_largest`].
    largest: u64,
    broken: Option<Broken>,
}

/// The fragments of a message that have arrived.
#[derive(Clone, Copy, Debug)]
struct Fragments {
    count: u32,
    bytes: u64,
}

impl Headers {
    pub(super) const fn new(masked: bool, max_message: usize) -> Self {
        let header = [0; MAX_HEADER];
        let max_message = max_message as u64;
        Self { masked, max_message, header, have: 0, len: 0, left: 0, message: None, largest: 0, broken: None }
    }

    /// Follows more bytes. Returns where the last frame that is complete ends in them, if there is one. Nothing behind a
    /// broken rule is followed.
    pub(super) fn follow(&mut self, bytes: &[u8]) -> Option<usize> {
        let (mut at, mut whole) = (0, None);
        while self.broken.is_none() {
            let rest = bytes.get(at..).unwrap_or_default();
            if rest.is_empty() {
                break;
            }
            if self.left == 0 {
                at += self.take_header(rest);
                if self.broken.is_some() || self.have < self.header_len() {
                    continue;
                }
                self.left = self.len;
            } else {
                let skip = usize::try_from(self.left).unwrap_or(usize::MAX).min(rest.len());
                self.left -= skip as u64;
                at += skip;
            }
            if self.left == 0 {
                self.complete();
                whole = Some(at);
            }
        }
        whole
    }

    /// Returns the rule that the peer has broken, if it has. What follows is not a frame.
    pub(super) const fn broken(&self) -> Option<Broken> {
        self.broken
    }

    /// Returns whether fragments of a message have arrived, but not its last one.
    pub(super) const fn in_message(&self) -> bool {
        self.message.is_some()
    }

    /// Returns the length of the largest complete frame, in bytes.
    pub(super) const fn largest(&self) -> u64 {
        self.largest
    }

    pub(super) const fn forget_largest(&mut self) {
        self.largest = 0;
    }

    /// Takes the next bytes of a header, up to those that a rule depends on, and checks the rule. Returns their number.
    fn take_header(&mut self, bytes: &[u8]) -> usize {
        let length = 2 + self.length_len();
        let end = match self.have {
            0 => 1,
            1 => 2,
            have if have < length => length,
            _ => self.header_len(),
        };
        let taken = bytes.get(..end - self.have).unwrap_or(bytes);
        if let Some(room) = self.header.get_mut(self.have..self.have + taken.len()) {
            room.copy_from_slice(taken);
        }
        self.have += taken.len();
        self.broken = match self.have {
            1 => self.check_first(),
            2 => self.check_second(),
            _ => None,
        };
        if self.broken.is_none() && self.have >= 2 && self.have == 2 + self.length_len() {
            self.len = self.length();
            self.broken = self.check_length();
        }
        taken.len()
    }

    /// The first byte: reserved bits, the opcode, and the order of fragments.
    fn check_first(&self) -> Option<Broken> {
        let [first, ..] = self.header;
        let allowed = match first & OPCODE {
            CONTINUATION => self.in_message(),
            1 | 2 => !self.in_message(),
            CLOSE..=PONG => first & FINAL != 0,
            _ => false,
        };
        (!allowed || first & RESERVED != 0).then_some(Broken::Protocol)
    }

    /// The second byte: the mask, and the length of a control frame.
    fn check_second(&self) -> Option<Broken> {
        let [_, second, ..] = self.header;
        let masked = second & MASKED != 0;
        let too_long = self.is_control() && u64::from(second & !MASKED) > MAX_CONTROL;
        (masked != self.masked || too_long).then_some(Broken::Protocol)
    }

    /// The length of a fragment, and their number.
    fn check_length(&self) -> Option<Broken> {
        if self.is_control() {
            return None;
        }
        let before = self.message.unwrap_or(Fragments { count: 0, bytes: 0 });
        if before.bytes.saturating_add(self.len) > self.max_message {
            return Some(Broken::Size);
        }
        (!self.is_final() && before.count >= MAX_FRAGMENTS).then_some(Broken::Fragments)
    }

    /// A frame has arrived.
    fn complete(&mut self) {
        self.have = 0;
        self.largest = self.largest.max(self.len);
        if self.is_control() {
            return;
        }
        let before = match self.message {
            Some(before) => before,
            None => Fragments { count: 0, bytes: 0 },
        };
        self.message = if self.is_final() {
            None
        } else {
            Some(Fragments { count: before.count + 1, bytes: before.bytes + self.len })
        };
    }

    const fn is_final(&self) -> bool {
        self.header[0] & FINAL != 0
    }

    const fn is_control(&self) -> bool {
        self.header[0] & OPCODE >= CLOSE
    }

    /// The bytes of the length behind the second byte, once that has arrived.
    const fn length_len(&self) -> usize {
        match self.header[1] & !MASKED {
            126 => 2,
            127 => 8,
            _ => 0,
        }
    }

    const fn header_len(&self) -> usize {
        2 + self.length_len() + if self.header[1] & MASKED != 0 { 4 } else { 0 }
    }

    fn length(&self) -> u64 {
        let long = self.header.get(2..2 + self.length_len()).unwrap_or_default();
        match self.header[1] & !MASKED {
            126 | 127 => long.iter().fold(0, |length, &byte| length << 8 | u64::from(byte)),
            short => u64::from(short),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: usize = 1000;

    /// Follows bytes one at a time. Returns where the last complete frame ends, and after how many bytes a rule is
    /// broken.
    fn follow(masked: bool, bytes: &[u8]) -> (usize, Option<(usize, Broken)>) {
        let mut headers = Headers::new(masked, LIMIT);
        let mut whole = 0;
        for (at, byte) in bytes.iter().enumerate() {
            if headers.follow(&[*byte]).is_some() {
                whole = at + 1;
            }
            if let Some(broken) = headers.broken() {
                // In one piece it is the same.
                let mut at_once = Headers::new(masked, LIMIT);
                assert_eq!((at_once.follow(bytes).unwrap_or(0), at_once.broken()), (whole, Some(broken)));
                return (whole, Some((at + 1, broken)));
            }
        }
        let mut at_once = Headers::new(masked, LIMIT);
        assert_eq!((at_once.follow(bytes).unwrap_or(0), at_once.broken()), (whole, None));
        (whole, None)
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
    fn a_message_is_under_way_from_its_first_fragment_to_the_end_of_its_last() {
        let mut headers = Headers::new(false, LIMIT);
        for (bytes, in_message) in [
            (&[0x01, 1][..], false),
            (b"a", true),
            (&[0x89, 0], true),
            (&[0x80, 1], true),
            (b"b", false),
            (&[0x81, 0], false),
        ] {
            headers.follow(bytes);
            assert_eq!((headers.in_message(), headers.broken()), (in_message, None), "{bytes:?}");
        }
        assert_eq!(headers.largest(), 1);
    }
}
