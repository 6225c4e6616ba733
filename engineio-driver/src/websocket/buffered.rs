//! The codec over a buffer of its own, for tests and fuzz targets: what arrives can be decoded later.

use engineio_proto::ChannelEnd;
use engineio_proto::client::Details;
use engineio_proto::wire::Frame;

use super::frames::Codec;

/// One side of a WebSocket.
#[derive(Debug)]
pub(crate) struct Buffered {
    pub(crate) codec: Codec,
    input: Vec<u8>,
    /// How many bytes of `input` are decoded.
    decoded: usize,
}

impl Buffered {
    pub(crate) fn server(max_message: usize) -> Self {
        Self::new(Codec::server(max_message))
    }

    pub(crate) fn client(max_message: usize) -> Self {
        Self::new(Codec::client(max_message))
    }

    const fn new(codec: Codec) -> Self {
        Self { codec, input: Vec::new(), decoded: 0 }
    }

    /// Appends bytes that were read from the connection.
    pub(crate) fn receive(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
    }

    /// Returns the next complete message, or how the channel ended. Returns `None` if more bytes are needed.
    pub(crate) fn next(&mut self, output: &mut Vec<u8>) -> Option<Result<Frame, ChannelEnd>> {
        let mut rest = self.input.get_mut(self.decoded..).unwrap_or_default();
        let result = self.codec.decode(&mut rest, output);
        let left = rest.len();
        self.decoded = self.input.len() - left;
        if left == 0 || self.codec.is_over() {
            (self.input, self.decoded) = (Vec::new(), 0);
        }
        result
    }

    #[cfg(test)]
    pub(crate) fn send(&mut self, frame: &Frame, output: &mut Vec<u8>) {
        let shared = self.codec.send(frame.clone(), usize::MAX, output);
        debug_assert_eq!(shared, None);
    }

    pub(crate) fn close(&mut self, output: &mut Vec<u8>) {
        self.codec.close(output);
    }

    /// Takes bytes that arrive after `close`. Returns whether the peer's close frame has arrived.
    pub(crate) fn receive_goodbye(&mut self, bytes: &[u8], output: &mut Vec<u8>) -> bool {
        self.receive(bytes);
        let mut input = std::mem::take(&mut self.input);
        let decoded = std::mem::take(&mut self.decoded);
        self.codec.receive_goodbye(input.get_mut(decoded..).unwrap_or_default(), output)
    }

    pub(crate) fn close_frame(&self) -> Option<Details> {
        self.codec.close_frame()
    }

    /// Returns whether there are bytes that are not decoded.
    pub(crate) fn has_input(&self) -> bool {
        self.decoded < self.input.len()
    }

    pub(crate) const fn is_over(&self) -> bool {
        self.codec.is_over()
    }
}
