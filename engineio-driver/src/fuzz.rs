//! Access to the private WebSocket codec, for fuzz targets.

use engineio_proto::ChannelEnd;
use engineio_proto::client::Details;
use engineio_proto::wire::Frame;

use crate::websocket::buffered::Buffered;

/// One side of a WebSocket, as the tasks of connections use it.
#[derive(Debug)]
pub struct Codec(Buffered);

impl Codec {
    /// Creates the codec of a server.
    pub fn server(max_message: usize) -> Self {
        Self(Buffered::server(max_message))
    }

    /// Creates the codec of a client.
    pub fn client(max_message: usize) -> Self {
        Self(Buffered::client(max_message))
    }

    /// Appends bytes that were read from the connection.
    pub fn receive(&mut self, bytes: &[u8]) {
        self.0.receive(bytes);
    }

    /// Returns the next complete message, or how the channel ended. Returns `None` if more bytes are needed.
    #[allow(clippy::should_implement_trait)] // It has an argument.
    pub fn next(&mut self, output: &mut Vec<u8>) -> Option<Result<Frame, ChannelEnd>> {
        self.0.next(output)
    }

    /// Appends a frame to `output`.
    pub fn send(&mut self, frame: &Frame, output: &mut Vec<u8>) {
        self.0.send(frame, output);
    }

    /// Appends a close frame, unless the peer has sent one first.
    pub fn close(&mut self, output: &mut Vec<u8>) {
        self.0.close(output);
    }

    /// Takes bytes that arrive after [`Codec::close`]. Returns whether the peer's close frame has arrived.
    pub fn receive_goodbye(&mut self, bytes: &[u8], output: &mut Vec<u8>) -> bool {
        self.0.receive_goodbye(bytes, output)
    }

    /// Returns the peer's close frame, if one has arrived.
    pub fn close_frame(&self) -> Option<Details> {
        self.0.close_frame()
    }

    /// Returns whether the received bytes may contain more messages.
    pub fn has_input(&self) -> bool {
        self.0.has_input()
    }

    /// Returns whether the rest of the peer's bytes can be ignored.
    pub fn is_over(&self) -> bool {
        self.0.is_over()
    }
}
