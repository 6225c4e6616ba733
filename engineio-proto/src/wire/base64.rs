//! Base64: bytes as text.

use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use base64::Engine as _;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;

use crate::wire::packet::PacketError;

/// Returns the length of `len` bytes in base64.
pub(crate) const fn encoded_len(len: usize) -> usize {
    len.div_ceil(3).saturating_mul(4)
}

/// Lenient about padding and trailing bits, strict about the alphabet.
const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_padding_mode(DecodePaddingMode::Indifferent)
    .with_decode_allow_trailing_bits(true);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&base64::alphabet::STANDARD, LENIENT);
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&base64::alphabet::URL_SAFE, LENIENT);

/// Appends bytes in base64.
#[cfg(feature = "std")]
pub(crate) fn encode(bytes: &[u8], out: &mut Vec<u8>) {
    base64_simd::STANDARD.encode_append(bytes, out);
}

/// Appends bytes in base64.
#[cfg(not(feature = "std"))]
pub(crate) use self::portable::encode;

/// Returns bytes in base64.
pub(crate) fn encode_string(bytes: &[u8]) -> String {
    #[cfg(feature = "std")]
    return base64_simd::STANDARD.encode_to_string(bytes);
    #[cfg(not(feature = "std"))]
    return STANDARD.encode(bytes);
}

/// Decodes base64, standard or URL-safe, with or without padding. White space is skipped: CR, LF, space and tab.
///
/// Source: RFC 2045, section 6.8. The official Java client sends lines of 76 characters, each with a line end.
///
/// # Errors
/// Returns an error for any other text.
pub(crate) fn decode(text: &[u8]) -> Result<Bytes, PacketError> {
    #[cfg(feature = "std")]
    if let Some(bytes) = simd::decode(text) {
        return Ok(bytes);
    }
    portable::decode(text)
}

/// What most senders write, decoded with SIMD instructions: as fast as text can be read, where the other decoder takes
/// three times as long.
#[cfg(feature = "std")]
mod simd {
    use alloc::boxed::Box;

    use base64_simd::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
    use bytes::Bytes;

    /// Decodes base64 without white space, with correct padding or none, and with trailing bits of zero. Returns `None`
    /// for any other text, which may be valid too.
    pub(super) fn decode(text: &[u8]) -> Option<Bytes> {
        let digits = match text {
            [digits @ .., b'=', b'='] if text.len() % 4 == 0 => digits,
            [digits @ .., b'='] if text.len() % 4 == 0 => digits,
            digits => digits,
        };
        // Either decoder stops at the first character that its alphabet does not have.
        let bytes = STANDARD_NO_PAD.decode_type::<Box<[u8]>>(digits);
        bytes.or_else(|_| URL_SAFE_NO_PAD.decode_type(digits)).ok().map(Bytes::from)
    }
}

/// All that is accepted, without SIMD instructions.
mod portable {
    use super::*;

    /// Appends bytes in base64.
    #[cfg(any(test, not(feature = "std")))]
    pub(crate) fn encode(bytes: &[u8], out: &mut Vec<u8>) {
        let start = out.len();
        out.resize(start + encoded_len(bytes.len()), 0);
        // The space is exact, so this cannot fail; if it did, the output would be truncated, not wrong.
        let space = out.get_mut(start..).unwrap_or_default();
        let written = STANDARD.encode_slice(bytes, space).unwrap_or(0);
        out.truncate(start + written);
    }

    /// See [`decode`](super::decode).
    pub(super) fn decode(text: &[u8]) -> Result<Bytes, PacketError> {
        // Only text that is not valid is searched for white space, so valid text costs nothing more.
        decode_dense(text).or_else(|error| decode_spaced(text).ok_or(error))
    }

    /// Decodes base64 with white space. Returns `None` if it has none, or is not valid.
    #[cold]
    fn decode_spaced(text: &[u8]) -> Option<Bytes> {
        let mut dense = Vec::with_capacity(text.len());
        dense.extend(text.iter().filter(|byte| !is_white_space(byte)));
        (dense.len() < text.len()).then(|| decode_dense(&dense).ok()).flatten()
    }

    const fn is_white_space(byte: &u8) -> bool {
        matches!(byte, b'\r' | b'\n' | b' ' | b'\t')
    }

    /// Decodes base64 without white space.
    fn decode_dense(text: &[u8]) -> Result<Bytes, PacketError> {
        let digits = match text {
            [digits @ .., b'=', b'='] | [digits @ .., b'='] => digits,
            digits => digits,
        };
        // Exact, so that the result needs no second allocation.
        let mut out = vec![0; digits.len() / 4 * 3 + (digits.len() % 4).saturating_sub(1)];
        let engine = if memchr::memchr2(b'-', b'_', digits).is_some() { &URL_SAFE } else { &STANDARD };
        let len = engine.decode_slice(text, &mut out).map_err(|_| PacketError::Base64)?;
        out.truncate(len);
        Ok(out.into())
    }
}

#[cfg(all(test, feature = "std"))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Text that is valid, or nearly so.
    fn texts() -> impl Strategy<Value = Vec<u8>> {
        let byte = prop_oneof![
            60 => prop::sample::select(&b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"[..]),
            1 => prop::sample::select(&b"-_"[..]),
            1 => prop::sample::select(&b"= \r\n\t!"[..]),
            1 => any::<u8>(),
        ];
        let junk = prop::collection::vec(byte, 0..200);
        let valid = (prop::collection::vec(any::<u8>(), 0..200), any::<[bool; 3]>(), 1..90_usize).prop_map(
            |(bytes, [padded, url_safe, lines], line)| {
                let mut text = STANDARD.encode(bytes);
                if !padded {
                    text.truncate(text.trim_end_matches('=').len());
                }
                if url_safe {
                    text = text.replace('+', "-").replace('/', "_");
                }
                let text = text.into_bytes();
                if lines { text.chunks(line).collect::<Vec<_>>().join(&b"\r\n"[..]) } else { text }
            },
        );
        let spoiled = (valid.clone(), any::<prop::sample::Index>(), any::<u8>()).prop_map(|(mut text, place, byte)| {
            if let Some(place) = (!text.is_empty()).then(|| place.index(text.len())) {
                text[place] = byte;
            }
            text
        });
        let shortened = (valid.clone(), 0..4_usize).prop_map(|(mut text, less)| {
            text.truncate(text.len().saturating_sub(less));
            text
        });
        prop_oneof![junk, valid, spoiled, shortened]
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 4000, ..ProptestConfig::default() })]

        #[test]
        fn both_decoders_accept_the_same(text in texts()) {
            let portable = portable::decode(&text);
            prop_assert_eq!(&decode(&text), &portable);
            if let Some(bytes) = simd::decode(&text) {
                prop_assert_eq!(Ok(bytes), portable);
            }
        }

        #[test]
        fn both_encoders_write_the_same(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let mut texts = [b"b".to_vec(), b"b".to_vec()];
            encode(&bytes, &mut texts[0]);
            portable::encode(&bytes, &mut texts[1]);
            prop_assert_eq!(&texts[0], &texts[1]);
            let text = encode_string(&bytes);
            prop_assert_eq!(text.as_bytes(), &texts[0][1..]);
            prop_assert_eq!(simd::decode(&texts[0][1..]), Some(Bytes::from(bytes)));
        }
    }

    /// Every text of up to four characters of a small alphabet that has one of each kind.
    #[test]
    fn both_decoders_accept_the_same_short_texts() {
        let alphabet = b"AQg/+-_=\n \x0b!\xff";
        let mut texts = vec![vec![]];
        for _ in 0..5 {
            for text in &texts {
                assert_eq!(decode(text), portable::decode(text), "{text:?}");
            }
            let longer = |text: &Vec<u8>| alphabet.map(|byte| [&text[..], &[byte]].concat());
            texts = texts.iter().flat_map(longer).collect();
        }
    }

    /// What is usual must not depend on the slow decoder.
    #[test]
    fn the_fast_decoder_takes_what_is_usual() {
        for (text, bytes) in [("", &[][..]), ("AQ==", &[1]), ("AQI=", &[1, 2]), ("AQID", &[1, 2, 3]), ("AQ", &[1])] {
            assert_eq!(simd::decode(text.as_bytes()), Some(Bytes::from_static(bytes)), "{text}");
        }
        assert_eq!(simd::decode(b"-_-_"), portable::decode(b"+/+/").ok());
        for text in ["AQI==", "AQ=", "AR==", "AQ ID", "+-AA", "A"] {
            assert_eq!(simd::decode(text.as_bytes()), None, "{text}");
        }
    }
}
