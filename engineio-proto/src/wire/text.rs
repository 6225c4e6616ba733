//! Text in a shared buffer.

use alloc::string::String;
use core::fmt;
use core::ops::Deref;

use bytes::Bytes;
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
        match ByteString::try_from(bytes.clone()) {
            Ok(text) => Self(text),
            Err(_) => Self(ByteString::from(String::from_utf8_lossy(&bytes).into_owned())),
        }
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
    pub(crate) fn behind_first(&self) -> Self {
        self.0.get(1..).map_or_else(Self::new, |rest| Self(self.0.slice_ref(rest)))
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
    type Error = core::str::Utf8Error;

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

    #[test]
    fn broken_utf8_is_replaced() {
        let text = Text::from_utf8_lossy(Bytes::from_static(b"a\xffb"));
        assert_eq!(text, "a\u{fffd}b");
        assert!(Text::try_from(Bytes::from_static(b"a\xffb")).is_err());
    }

    #[test]
    fn slicing_shares() {
        let text = Text::from("4héé");
        let rest = text.behind_first();
        assert_eq!(rest, "héé");
        assert_eq!(rest.as_bytes().as_ptr(), text.as_bytes()[1..].as_ptr());
        assert_eq!(Text::new().behind_first(), "");
    }

    #[test]
    fn text_is_what_it_says() {
        let text = Text::from("a\"b");
        assert_eq!((text.as_ref(), text.to_string(), format!("{text:?}")), ("a\"b", "a\"b".into(), r#""a\"b""#.into()));
        assert_eq!(text.clone().into_bytes(), "a\"b");
        assert!(text == *"a\"b" && text != *"a" && text != "a");
    }
}
