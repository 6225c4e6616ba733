//! WebSocket frames: prepared, and counted by their headers.

use std::net::SocketAddr;

use futures_util::FutureExt as _;
use tokio::net::TcpStream;

use crate::Result;
use crate::client::{ENDED, connect, read, read_to_end, write};
use crate::http::{self, BROWSER};

/// Any mask but zero, so that servers have to unmask.
const MASK: [u8; 4] = [0x5a, 0x17, 0xc3, 0x2e];

pub(crate) const TEXT: u8 = 0x81;
pub(crate) const BINARY: u8 = 0x82;
pub(crate) const CLOSE: u8 = 0x88;

/// Returns a masked frame. `first` is the first byte: FIN and the opcode.
pub(crate) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        len @ ..126 => frame.push(0x80 | len as u8),
        len @ 126..0x1_0000 => {
            frame.push(0x80 | 126);
            frame.extend_from_slice(&(len as u16).to_be_bytes());
        }
        len => {
            frame.push(0x80 | 127);
            frame.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(&MASK);
    frame.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

/// Returns the frame that a server answers with.
pub(crate) fn unmasked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = frame(first, payload);
    let header = frame.len() - payload.len() - MASK.len();
    frame.truncate(header);
    frame[1] &= 0x7f;
    frame.extend_from_slice(payload);
    frame
}

/// Finds the frames of a server in its bytes, by their headers; payloads are skipped.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    /// The beginning of a header that is not complete.
    header: [u8; 10],
    header_len: usize,
    /// The frame whose payload is not complete: its first byte, its length, and how much of it is missing.
    frame: Option<(u8, u64, u64)>,
}

impl Frames {
    /// Calls `found` with the first byte and the length of the payload of every frame that is complete now.
    pub(crate) fn feed(&mut self, mut bytes: &[u8], mut found: impl FnMut(u8, u64) -> Result<()>) -> Result<()> {
        while let Some((&byte, rest)) = bytes.split_first() {
            let (first, len, missing) = match self.frame {
                Some(frame) => frame,
                None => {
                    self.header[self.header_len] = byte;
                    self.header_len += 1;
                    bytes = rest;
                    let Some(len) = payload_len(&self.header[..self.header_len])? else { continue };
                    self.header_len = 0;
                    (self.header[0], len, len)
                }
            };
            let part = missing.min(bytes.len() as u64);
            bytes = &bytes[part as usize..];
            self.frame = (part < missing).then_some((first, len, missing - part));
            if self.frame.is_none() {
                found(first, len)?;
            }
        }
        Ok(())
    }
}

/// Removes the pings from the frames that were received. Returns how many there were.
fn remove_pings(received: &mut Vec<u8>) -> Result<usize> {
    let (mut start, mut pings) = (0, 0);
    while start < received.len() {
        if received[start..].starts_with(&unmasked(TEXT, b"2")) {
            received.drain(start..start + 3);
            pings += 1;
            continue;
        }
        let rest = &received[start..];
        let mut headers = [2, 4, 10].into_iter().filter(|len| *len <= rest.len());
        let len =
            headers.find_map(|len| Some(payload_len(&rest[..len]).transpose()?.map(|payload| len + payload as usize)));
        let Some(len) = len else { break };
        start += len?;
    }
    Ok(pings)
}

/// Returns the length of the payload if the header of an unmasked frame is complete.
fn payload_len(header: &[u8]) -> Result<Option<u64>> {
    Ok(match header {
        [_, len, ..] if len & 0x80 != 0 => return Err("a masked frame".into()),
        [_, 126, a, b] => Some(u64::from(u16::from_be_bytes([*a, *b]))),
        [_, 127, a, b, c, d, e, f, g, h] => Some(u64::from_be_bytes([*a, *b, *c, *d, *e, *f, *g, *h])),
        [_, len] if *len < 126 => Some(u64::from(*len)),
        _ => None,
    })
}

/// One WebSocket of a client.
#[derive(Debug)]
pub(crate) struct WebSocket {
    pub(crate) stream: TcpStream,
    frames: Frames,
    /// What came right after the answer to the handshake.
    early: Vec<u8>,
}

impl WebSocket {
    /// Opens a session, and waits for the open packet.
    pub(crate) async fn open(addr: SocketAddr) -> Result<Self> {
        let mut socket = Self::connect(addr, None).await?;
        socket.receive(1, TEXT, None).await?;
        Ok(socket)
    }

    /// Opens a WebSocket for a new session, or for an existing one.
    pub(crate) async fn connect(addr: SocketAddr, sid: Option<&str>) -> Result<Self> {
        let stream = connect(addr).await?;
        let sid = sid.map(|sid| format!("&sid={sid}")).unwrap_or_default();
        let request = format!(
            "GET /engine.io/?EIO=4&transport=websocket{sid} HTTP/1.1\r\nHost: {addr}\r\nConnection: Upgrade\r\n\
             Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             Origin: http://{addr}\r\n{BROWSER}\r\n"
        );
        write(&stream, request.as_bytes()).await?;
        let early = http::switching_protocols(&stream).await?;
        Ok(Self { stream, frames: Frames::default(), early })
    }

    /// Waits for a number of frames with the same first byte and length. Pings are answered. Fails if any other frame arrives.
    pub(crate) async fn expect(&mut self, count: usize, first: u8, len: usize) -> Result<()> {
        self.receive(count, first, Some(len as u64)).await
    }

    async fn receive(&mut self, count: usize, expected: u8, expected_len: Option<u64>) -> Result<()> {
        let (mut received, mut pings) = (0, 0);
        let mut feed = |bytes: &[u8]| -> Result<(usize, usize)> {
            self.frames.feed(bytes, |first, len| {
                if (first, len) == (TEXT, 1) && expected_len != Some(1) {
                    pings += 1;
                } else if first == expected && expected_len.is_none_or(|expected| expected == len) {
                    received += 1;
                } else {
                    return Err(format!("a frame {first:#x} of {len} bytes").into());
                }
                Ok(())
            })?;
            Ok((received, std::mem::take(&mut pings)))
        };
        let (mut complete, mut pings) = feed(&std::mem::take(&mut self.early))?;
        loop {
            for _ in 0..pings {
                write(&self.stream, &frame(TEXT, b"3")).await?;
            }
            if complete >= count {
                break;
            }
            let fed = read(&self.stream, |bytes| if bytes.is_empty() { Err(ENDED.into()) } else { feed(bytes) });
            (complete, pings) = fed.await??;
        }
        if complete > count { Err(format!("{complete} frames instead of {count}").into()) } else { Ok(()) }
    }

    /// Waits for exactly these bytes of whole frames. Pings are answered, and do not count.
    pub(crate) async fn expect_bytes(&mut self, expected: &[u8]) -> Result<()> {
        let mut received = std::mem::take(&mut self.early);
        loop {
            for _ in 0..remove_pings(&mut received)? {
                write(&self.stream, &frame(TEXT, b"3")).await?;
            }
            if received.len() >= expected.len() {
                break;
            }
            read(&self.stream, |bytes| {
                received.extend_from_slice(bytes);
                if bytes.is_empty() { Err(ENDED) } else { Ok(()) }
            })
            .await??;
        }
        let differs = received.iter().zip(expected).position(|(received, expected)| received != expected);
        match differs {
            None if received.len() == expected.len() => Ok(()),
            place => Err(format!("an echo differs, at byte {}", place.unwrap_or(expected.len())).into()),
        }
    }

    /// Answers pings that have arrived, and returns how many there were. Fails if anything else has arrived.
    pub(crate) async fn answer_pings(&mut self) -> Result<usize> {
        let mut pings = 0;
        let frames = &mut self.frames;
        let fed = read(&self.stream, |bytes| {
            if bytes.is_empty() {
                return Err(ENDED.into());
            }
            frames.feed(bytes, |first, len| {
                pings += 1;
                if (first, len) == (TEXT, 1) { Ok(()) } else { Err("a session is not idle".into()) }
            })
        });
        if let Some(fed) = fed.now_or_never() {
            fed??;
        }
        for _ in 0..pings {
            write(&self.stream, &frame(TEXT, b"3")).await?;
        }
        Ok(pings)
    }

    /// Closes as browsers do, and waits until the server has closed.
    pub(crate) async fn close(self) -> Result<()> {
        write(&self.stream, &frame(CLOSE, &1000_u16.to_be_bytes())).await?;
        read_to_end(&self.stream).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames() -> (Vec<u8>, Vec<(u8, u64)>) {
        let lens = [0, 1, 125, 126, 300, 0xffff, 0x1_0000];
        let bytes = lens.iter().flat_map(|len| unmasked(BINARY, &vec![b'x'; *len])).collect();
        (bytes, lens.iter().map(|len| (BINARY, *len as u64)).collect())
    }

    #[test]
    fn frames_are_found_in_pieces_of_any_size() {
        let (bytes, expected) = frames();
        for size in [1, 2, 3, 7, 1000, bytes.len()] {
            let (mut frames, mut found) = (Frames::default(), Vec::new());
            for piece in bytes.chunks(size) {
                let fed = frames.feed(piece, |first, len| {
                    found.push((first, len));
                    Ok(())
                });
                assert!(fed.is_ok());
            }
            assert_eq!(found, expected, "in pieces of {size}");
        }
    }

    #[test]
    fn a_masked_frame_is_refused() {
        let fed = Frames::default().feed(&frame(TEXT, b"4hello"), |_, _| Ok(()));
        assert!(fed.is_err_and(|error| error.to_string() == "a masked frame"));
    }

    #[test]
    fn pings_are_removed() {
        let (ping, echo) = (unmasked(TEXT, b"2"), unmasked(TEXT, &[b'4'; 200]));
        let mut received = [ping.clone(), echo.clone(), ping, echo[..100].to_vec()].concat();
        assert!(remove_pings(&mut received).is_ok_and(|pings| pings == 2));
        assert_eq!(received, [echo.clone(), echo[..100].to_vec()].concat());
    }
}
