//! Access to the private WebSocket codec, for fuzz targets, measurements and the program that runs Autobahn's cases.

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

    /// Changes the maximum number of fragments in a message.
    #[must_use]
    pub const fn allow_fragments(mut self, most: u32) -> Self {
        self.0.codec.allow_fragments(most);
        self
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

    /// As [`Codec::next`], from bytes that the codec takes where they are, without those of [`Codec::receive`].
    pub fn decode(&mut self, input: &mut &mut [u8], output: &mut Vec<u8>) -> Option<Result<Frame, ChannelEnd>> {
        self.0.codec.decode(input, output)
    }

    /// Appends a frame to `output`.
    pub fn send(&mut self, frame: Frame, output: &mut Vec<u8>) {
        // Nothing is shared.
        let _ = self.0.codec.send(frame, usize::MAX, output);
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
