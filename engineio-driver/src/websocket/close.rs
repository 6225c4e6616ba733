//! The payload of close frames: RFC 6455, sections 5.5.1 and 7.4.

use engineio_proto::client::Details;

/// A rule of the WebSocket protocol was broken.
pub(super) const PROTOCOL: u16 = 1002;
/// Text that is not UTF-8.
pub(super) const NOT_TEXT: u16 = 1007;
/// A rule that no other status names.
pub(super) const POLICY: u16 = 1008;
/// A message above the limit.
pub(super) const TOO_LARGE: u16 = 1009;

/// Returns what the payload of a close frame says, if anything, or the status that refuses it.
pub(super) fn read(payload: &[u8]) -> Result<Option<Details>, u16> {
    let Some((code, reason)) = payload.split_first_chunk() else {
        return if payload.is_empty() { Ok(None) } else { Err(PROTOCOL) };
    };
    let code = u16::from_be_bytes(*code);
    if !may_be_sent(code) {
        return Err(PROTOCOL);
    }
    let reason = std::str::from_utf8(reason).map_err(|_| NOT_TEXT)?.to_owned();
    Ok(Some(Details::CloseFrame { code, reason }))
}

/// Returns whether a peer may send this status. Others are reserved, or describe ends without a close frame.
const fn may_be_sent(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}
