//! Session ids.

use alloc::string::String;
use alloc::sync::Arc;
use core::borrow::Borrow;
use core::fmt::{self, Write as _};
use core::ops::Deref;

use base64::Engine as _;

/// The id of a session.
///
/// An id is a secret: anyone who knows it can poll, post and upgrade.
///
/// Ids of our own servers need no escaping in URLs or in JSON. A client accepts any id from its server.
///
/// `Display` and `as_str` return the whole id. `Debug` shows only its first characters, so that it does not get into
/// logs.
///
/// ```
/// use engineio_proto::Sid;
///
/// let sid = Sid::from_entropy([7; 15]);
/// assert_eq!(sid.len(), 20);
/// assert!(Sid::new("room/1").is_err());
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sid(Arc<str>);

/// Why a text is not a valid session id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SidError {
    /// It is empty, or longer than [`Sid::MAX_LEN`] bytes.
    #[error("invalid length of a session id: expected 1 to {} bytes", Sid::MAX_LEN)]
    Length,
    /// It has a character that would have to be escaped in a URL or in JSON.
    #[error("invalid character in a session id: expected ASCII letters, digits or one of - _ . ~")]
    Character,
}

impl Sid {
    /// The maximum length of an id, in bytes.
    pub const MAX_LEN: usize = 128;

    /// Creates an id in the default form: 20 URL-safe characters from 120 random bits.
    pub fn from_entropy(entropy: [u8; 15]) -> Self {
        let mut text = [0; 20];
        // 15 bytes are exactly 20 characters.
        let len = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode_slice(entropy, &mut text).unwrap_or(0);
        Self(String::from_utf8_lossy(text.get(..len).unwrap_or_default()).into())
    }

    /// Creates an id of the application's choice. It should have at least 96 random bits.
    ///
    /// # Errors
    /// Returns an error if the text is empty, too long, or has a character that must be escaped in a URL or in JSON.
    pub fn new(sid: &str) -> Result<Self, SidError> {
        if sid.is_empty() || sid.len() > Self::MAX_LEN {
            return Err(SidError::Length);
        }
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
        if sid.bytes().all(legal) { Ok(Self(sid.into())) } else { Err(SidError::Character) }
    }

    /// Creates an id that a server gave to its client: any text that is not too long.
    pub(crate) fn from_peer(sid: &str) -> Option<Self> {
        /// Some servers use a signed token.
        const MAX_PEER_LEN: usize = 4096;
        (1..=MAX_PEER_LEN).contains(&sid.len()).then(|| Self(sid.into()))
    }

    /// Returns the id as `str`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns which of `shards` containers a session belongs to. The result is the same on every machine.
    pub fn shard(sid: &str, shards: usize) -> usize {
        // FNV-1a: ids are random already, so any hash function will do.
        let hash = sid
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
        usize::try_from(hash % (shards.max(1) as u64)).unwrap_or(0)
    }
}

impl Deref for Sid {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for Sid {
    fn borrow(&self) -> &str {
        self
    }
}

impl fmt::Display for Sid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}

impl fmt::Debug for Sid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = (self.chars().count() / 2).min(4);
        f.write_str("Sid(")?;
        self.chars().take(shown).try_for_each(|character| f.write_char(character))?;
        f.write_str("…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;

    #[test]
    fn default_form_is_twenty_url_safe_characters() {
        let sid = Sid::from_entropy([0xff; 15]);
        assert_eq!(sid.as_str(), "____________________");
        assert_eq!(Sid::new(&sid), Ok(sid));
    }

    #[test]
    fn own_ids_are_checked() {
        assert_eq!(Sid::new(""), Err(SidError::Length));
        assert_eq!(Sid::new(&"x".repeat(129)), Err(SidError::Length));
        for sid in ["a b", "a\"", "a\\", "é", "a/b", "a\n"] {
            assert_eq!(Sid::new(sid), Err(SidError::Character), "{sid}");
        }
        assert!(Sid::new("constructor").is_ok());
    }

    #[test]
    fn debug_does_not_betray_the_secret() {
        assert_eq!(format!("{:?}", Sid::from_entropy([0; 15])), "Sid(AAAA…)");
    }

    // Regression: an id whose fifth byte is inside a character was printed completely.
    #[test]
    fn debug_does_not_betray_the_id_of_a_peer() {
        for (sid, shown) in
            [("abcéfghi", "Sid(abcé…)"), ("ab€secret", "Sid(ab€s…)"), ("short", "Sid(sh…)"), ("x", "Sid(…)")]
        {
            assert_eq!(format!("{:?}", Sid::from_peer(sid).unwrap()), shown);
        }
    }

    #[test]
    fn shards_spread() {
        let mut counts = [0; 4];
        for n in 0..1000_u32 {
            let mut entropy = [0; 15];
            entropy[..4].copy_from_slice(&n.to_le_bytes());
            counts[Sid::shard(&Sid::from_entropy(entropy), 4)] += 1;
        }
        assert!(counts.iter().all(|&count| count > 150), "{counts:?}");
        assert_eq!(Sid::shard("x", 0), 0);
    }
}
