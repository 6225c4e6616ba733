//! Base64: bytes as text.

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
pub(crate) fn encode(bytes: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    out.resize(start + encoded_len(bytes.len()), 0);
    // The space is exact, so this cannot fail; if it did, the output would be truncated, not wrong.
    let space = out.get_mut(start..).unwrap_or_default();
    let written = STANDARD.encode_slice(bytes, space).unwrap_or(0);
    out.truncate(start + written);
}

/// Decodes base64, standard or URL-safe, with or without padding. White space is skipped: CR, LF, space and tab.
///
/// Source: RFC 2045, section 6.8. The official Java client sends lines of 76 characters, each with a line end.
///
/// # Errors
/// Returns an error for any other text.
pub(crate) fn decode(text: &[u8]) -> Result<Bytes, PacketError> {
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
