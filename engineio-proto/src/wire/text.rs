//! Text in a shared buffer.

use alloc::string::String;
use core::fmt;
use core::ops::Deref;
use core::str;

use bytes::{Buf as _, Bytes};
use bytestring::ByteString;

/// UTF-8 text in a shared buffer.
///
/// Clones and slices share the buffer, which is reference-counted. The encoding is checked once.
///
/// ```
/// use engineio_proto::Text;
///
/// let text = Text::from("4hello");
/// assert_eq!(&*text, "4hello");
/// assert_eq!(text.clone().into_bytes().as_ptr(), text.as_bytes().as_ptr());
/// ```
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Text(ByteString);

/// Text of at most this many bytes is copied or checked again where that saves a second reference to its buffer: the
/// first one takes an allocation.
const SHORT: usize = 64;

/// Text of at least this many bytes is checked with SIMD instructions. ASCII takes as long with and without them, and
/// other text a seventh of the time; text of fewer bytes is usually ASCII, and takes less time without them.
#[cfg(feature = "std")]
const CHECKED_BY_SIMD: usize = 128;

impl Text {
    /// Creates an empty text.
    pub const fn new() -> Self {
        Self(ByteString::new())
    }

    /// Creates a text from a static string, without allocation.
    pub const fn from_static(text: &'static str) -> Self {
        Self(ByteString::from_static(text))
    }

    /// Converts bytes that should be UTF-8. Invalid sequences are replaced with U+FFFD. Copies only if it must replace.
    pub fn from_utf8_lossy(bytes: Bytes) -> Self {
        let mut copy = [0; SHORT];
        let copied = copy.get_mut(..bytes.len()).map(|copy| {
            copy.copy_from_slice(&bytes);
            &*copy
        });
        let shared = copied.is_none().then(|| bytes.clone());
        match ByteString::try_from(bytes) {
            Ok(text) => Self(text),
            Err(_) => Self::replace(copied.or(shared.as_deref()).unwrap_or_default()),
        }
    }

    /// Copies bytes that should be UTF-8. Invalid sequences are replaced with U+FFFD.
    #[inline]
    pub(crate) fn copy_lossy(bytes: &[u8]) -> Self {
        Self::copy(bytes).unwrap_or_else(|| Self::replace(bytes))
    }

    /// Copies bytes if they are UTF-8.
    #[inline]
    pub(crate) fn copy(bytes: &[u8]) -> Option<Self> {
        #[cfg(feature = "std")]
        if bytes.len() >= CHECKED_BY_SIMD {
            return simdutf8::basic::from_utf8(bytes).ok().map(Self::from);
        }
        str::from_utf8(bytes).ok().map(Self::from)
    }

    /// Returns a part of the text, which shares its buffer. `None` if the range is not one of the text.
    pub(crate) fn part(&self, range: core::ops::Range<usize>) -> Option<Self> {
        self.0.get(range).map(|part| Self(self.0.slice_ref(part)))
    }

    #[cold]
    fn replace(bytes: &[u8]) -> Self {
        String::from_utf8_lossy(bytes).into_owned().into()
    }

    /// Returns the text as `str`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the bytes of the text.
    pub fn as_bytes(&self) -> &Bytes {
        self.0.as_bytes()
    }

    /// Converts the text to bytes, without copying.
    pub fn into_bytes(self) -> Bytes {
        self.0.into_bytes()
    }

    /// Returns the text after its first byte, which must be ASCII, without copying.
    pub(crate) fn into_tail(self) -> Self {
        if self.len() > SHORT {
            return self.0.get(1..).map_or_else(Self::new, |rest| Self(self.0.slice_ref(rest)));
        }
        let mut bytes = self.into_bytes();
        bytes.advance(bytes.len().min(1));
        ByteString::try_from(bytes).map_or_else(|_| Self::new(), Self)
    }
}

impl Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for Text {
    fn as_ref(&self) -> &str {
        self
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

/// Copies the text. For literals, [`Text::from_static`] does not copy.
impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

/// Returns an error if the bytes are not UTF-8.
impl TryFrom<Bytes> for Text {
    type Error = str::Utf8Error;

    fn try_from(bytes: Bytes) -> Result<Self, Self::Error> {
        ByteString::try_from(bytes).map(Self)
    }
}

impl PartialEq<str> for Text {
    fn eq(&self, other: &str) -> bool {
        self.as_str() == other
    }
}

impl PartialEq<&str> for Text {
    fn eq(&self, other: &&str) -> bool {
        self.as_str() == *other
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;
    use alloc::string::ToString;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    /// Pieces of text of one to four bytes a character, and of bytes that may be anything.
    fn bytes() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            6 => "[a-z ]{0,70}".prop_map(String::into_bytes),
            2 => "[éЖ€🙂]{1,20}".prop_map(String::into_bytes),
            1 => prop::collection::vec(any::<u8>(), 1..4),
        ];
        prop::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn every_way_to_text_is_that_of_the_standard_library(bytes in bytes()) {
            let expected = String::from_utf8_lossy(&bytes);
            let (copied, converted) = (Text::copy_lossy(&bytes), Text::from_utf8_lossy(bytes.clone().into()));
            prop_assert_eq!(copied, &*expected);
            prop_assert_eq!(converted, &*expected);
        }
    }

    #[test]
    fn broken_utf8_is_replaced() {
        let text = Text::from_utf8_lossy(Bytes::from_static(b"a\xffb"));
        assert_eq!(text, "a\u{fffd}b");
        assert!(Text::try_from(Bytes::from_static(b"a\xffb")).is_err());
    }

    #[test]
    fn slicing_shares() {
        let text = Text::from("4héé");
        let rest = text.clone().into_tail();
        assert_eq!(rest, "héé");
        assert_eq!(rest.as_bytes().as_ptr(), text.as_bytes()[1..].as_ptr());
        assert_eq!(Text::new().into_tail(), "");
        for len in SHORT - 1..SHORT + 3 {
            let text = Text::from("é".repeat(len / 2) + &"x".repeat(len % 2)).into_bytes();
            let text = Text::try_from(Bytes::from([b"4", &text[..]].concat())).unwrap();
            let place = text.as_bytes()[1..].as_ptr();
            let rest = text.into_tail();
            assert_eq!((rest.len(), rest.as_bytes().as_ptr()), (len, place));
        }
    }

    #[test]
    fn text_is_what_it_says() {
        let text = Text::from("a\"b");
        assert_eq!((text.as_ref(), text.to_string(), format!("{text:?}")), ("a\"b", "a\"b".into(), r#""a\"b""#.into()));
        assert_eq!(text.clone().into_bytes(), "a\"b");
        assert!(text == *"a\"b" && text != *"a" && text != "a");
    }
}
