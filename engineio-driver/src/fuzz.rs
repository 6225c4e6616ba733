//! The WebSocket codec for fuzzers: it is private, and so is what it must withstand.

use engineio_proto::ChannelEnd;
use engineio_proto::client::Details;
use engineio_proto::wire::Frame;

use crate::websocket::frames;

/// One side of one WebSocket, as the tasks of connections use it.
#[derive(Debug)]
pub struct Codec(frames::Codec);

impl Codec {
    /// The server's side.
    pub fn server(max_message: usize) -> Self {
        Self(frames::Codec::server(max_message))
    }

    /// The client's side.
    pub fn client(max_message: usize) -> Self {
        Self(frames::Codec::client(max_message))
    }

    /// Takes bytes from the connection.
    pub fn receive(&mut self, bytes: &[u8]) {
        self.0.receive(bytes);
    }

    /// The next whole message, or how the channel ended; `None` when more bytes are needed.
    #[allow(clippy::should_implement_trait)] // It has an argument.
    pub fn next(&mut self, output: &mut Vec<u8>) -> Option<Result<Frame, ChannelEnd>> {
        self.0.next(output)
    }

    /// Appends a frame.
    pub fn send(&mut self, frame: &Frame, output: &mut Vec<u8>) {
        self.0.send(frame, output);
    }

    /// Appends a close frame, unless the peer was the first.
    pub fn close(&mut self, output: &mut Vec<u8>) {
        self.0.close(output);
    }

    /// Takes bytes behind [`Codec::close`]; whether the peer's close frame came.
    pub fn receive_goodbye(&mut self, bytes: &[u8], output: &mut Vec<u8>) -> bool {
        self.0.receive_goodbye(bytes, output)
    }

    /// What the peer said in its close frame.
    pub fn close_frame(&self) -> Option<Details> {
        self.0.close_frame()
    }

    /// Whether there may be more messages in what was received.
    pub fn has_input(&self) -> bool {
        self.0.has_input()
    }

    /// Whether nothing that the peer still sends matters.
    pub fn is_over(&self) -> bool {
        self.0.is_over()
    }
}
