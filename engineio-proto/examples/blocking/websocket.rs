//! A WebSocket: one thread reads, another one writes.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::mpsc::Receiver;
use std::sync::{Mutex, PoisonError};
use std::thread;

use engineio_proto::{ChannelEnd, ChannelId, Frame, Input, SessionKey, Text};
use tungstenite::Utf8Bytes;
use tungstenite::error::{Error, ProtocolError};
use tungstenite::handshake::server::{Response as Accepted, write_response};
use tungstenite::protocol::frame::coding::{CloseCode, Data, OpCode};
use tungstenite::protocol::frame::{CloseFrame, FrameHeader};
use tungstenite::protocol::{Message, Role, WebSocket, WebSocketConfig};

use crate::connection::is_timeout;
use crate::{Channel, Shared};

/// Frames are pulled while less than this waits to be written.
const WRITE_AHEAD: usize = 32 * 1024;
/// The first byte of a close frame.
const CLOSE: u8 = 0x88;

/// Serves a WebSocket from its 101 to its end. `input` is what was received already.
pub(crate) fn serve(shared: &Shared, channel: Channel, accepted: &Accepted, socket: &TcpStream, input: Vec<u8>) {
    let Channel { key, id: channel, ready } = channel;
    let mut wire = Wire { socket, pen: &Mutex::new(()) };
    let writer = move || {
        let written = write_frames(shared, key, channel, &ready, wire);
        if written.is_err_and(|error| is_timeout(&error)) {
            // The client takes nothing. If the connection broke, the reading thread knows.
            let _ = socket.shutdown(Shutdown::Both);
        }
        shared.visit(|core, _| core.channels.remove(&channel));
    };
    thread::scope(|scope| {
        let mut hello = Vec::new();
        let is_open = write_response(&mut hello, accepted).is_ok()
            && wire.write_all(&hello).is_ok()
            && thread::Builder::new().spawn_scoped(scope, writer).is_ok();
        let end = if is_open { read_frames(shared, key, channel, input, wire) } else { ChannelEnd::Lost };
        shared.visit(|core, now| {
            core.channels.remove(&channel);
            core.tell(now, key, Input::ChannelClosed { channel, end });
        });
        let _ = socket.shutdown(Shutdown::Write);
    });
}

/// Pulls and writes until the session, or the reading thread, is done with the channel.
fn write_frames(
    shared: &Shared,
    key: SessionKey,
    channel: ChannelId,
    ready: &Receiver<()>,
    mut wire: Wire<'_>,
) -> io::Result<()> {
    let mut out = Vec::new();
    while ready.recv().is_ok() {
        loop {
            shared.visit(|core, now| {
                let Some(mut session) = core.server.session_mut(key) else { return };
                while out.len() < WRITE_AHEAD {
                    match session.next_frame(now, channel) {
                        Some(Frame::Text { head, data }) => encode(Data::Text, head, data.as_bytes(), &mut out),
                        Some(Frame::Binary(bytes)) => encode(Data::Binary, "", &bytes, &mut out),
                        None => break,
                    }
                }
            });
            if out.is_empty() {
                break;
            }
            wire.write_all(&out)?;
            out.clear();
        }
    }
    wire.write_all(&[CLOSE, 0])
}

fn encode(kind: Data, head: &str, data: &[u8], out: &mut Vec<u8>) {
    let header = FrameHeader { opcode: OpCode::Data(kind), ..FrameHeader::default() };
    let _ = header.format((head.len() + data.len()) as u64, out); // A vector takes everything.
    out.extend_from_slice(head.as_bytes());
    out.extend_from_slice(data);
}

/// Reads until the client has closed, even if we were the first.
fn read_frames(shared: &Shared, key: SessionKey, channel: ChannelId, input: Vec<u8>, wire: Wire<'_>) -> ChannelEnd {
    if wire.socket.set_read_timeout(Some(shared.patience())).is_err() {
        return ChannelEnd::Lost;
    }
    let limit = shared.config.max_payload;
    let config = WebSocketConfig::default().read_buffer_size(4096).write_buffer_size(0);
    // A control frame has up to 125 bytes. The limit is for messages.
    let config = config.max_message_size(Some(limit)).max_frame_size(Some(limit.max(125)));
    let mut socket = WebSocket::from_partially_read(wire, input, Role::Server, Some(config));
    let (end, code) = loop {
        let frame = match socket.read() {
            Ok(Message::Text(text)) => Frame::received(Text::from_utf8_lossy(text.into())),
            Ok(Message::Binary(bytes)) => Frame::Binary(bytes),
            Ok(Message::Close(_)) => break (ChannelEnd::Closed, None),
            Ok(_) => continue,
            Err(Error::Capacity(_)) => break (ChannelEnd::TooLarge, Some(CloseCode::Size)),
            Err(Error::Utf8(_)) => break (ChannelEnd::Violation, Some(CloseCode::Invalid)),
            Err(Error::Protocol(error)) if error != ProtocolError::ResetWithoutClosingHandshake => {
                break (ChannelEnd::Violation, Some(CloseCode::Protocol));
            }
            Err(_) => break (ChannelEnd::Lost, None),
        };
        shared.visit(|core, now| core.tell(now, key, Input::ChannelFrame { channel, frame }));
        shared.wait_to_read(key, channel);
    };
    // The client's close frame is answered; otherwise it is told what was wrong.
    let _ = socket.close(code.map(|code| CloseFrame { code, reason: Utf8Bytes::default() }));
    end
}

/// The connection as both threads have it. The reader writes too: answers to pings, and to a close frame.
#[derive(Clone, Copy)]
struct Wire<'a> {
    socket: &'a TcpStream,
    pen: &'a Mutex<()>,
}

impl Read for Wire<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.socket.read(buf)
    }
}

/// Whole frames are written at once, so that those of the two threads do not mix, and nothing behind a close frame.
impl Write for Wire<'_> {
    fn write(&mut self, frames: &[u8]) -> io::Result<usize> {
        let _pen = self.pen.lock().unwrap_or_else(PoisonError::into_inner);
        self.socket.write_all(frames)?;
        if frames.first() == Some(&CLOSE) {
            self.socket.shutdown(Shutdown::Write)?;
        }
        Ok(frames.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
