//! Messages that arrived, and what waits undecoded behind them.
//!
//! Nothing is decoded before there is room for it, so that memory does not grow when the application is slow.

use alloc::boxed::Box;
use alloc::collections::VecDeque;

use crate::parts::buffer::Buffer;
use crate::parts::event::Event;
use crate::wire::codec::{Codec, PayloadDecoder};
use crate::wire::frame::Frame;
use crate::wire::message::Message;
use crate::wire::packet::{Packet, PacketError, PacketKind};

/// What was received: messages that the application has not taken, and what is not decoded yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Inbox {
    messages: Buffer,
    /// An HTTP body, decoded up to where there was room.
    body: Option<Body>,
    /// Frames that wait, for the body before them or for room. There are some only when the application is slow.
    #[allow(clippy::box_collection)] // Hardly ever there, and small where it is not.
    frames: Option<Box<VecDeque<Frame>>>,
    /// The application wants what arrives.
    wanted: bool,
    /// The application was told that there are messages.
    told: bool,
    received: u64,
    received_bytes: u64,
}

/// An HTTP body under decoding.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Body {
    packets: PayloadDecoder,
    /// How many more of its packets may be no messages.
    idle: u32,
}

impl Default for Inbox {
    fn default() -> Self {
        Self {
            messages: Buffer::default(),
            body: None,
            frames: None,
            wanted: true,
            told: false,
            received: 0,
            received_bytes: 0,
        }
    }
}

/// What can be decoded next.
pub(crate) enum Next {
    Packet(Result<Packet, PacketError>),
    /// The body was decoded to its end.
    BodyDone,
}

impl Inbox {
    /// A body arrived. The one before it is done. At most `idle` of its packets may be no messages.
    pub(crate) fn push_body(&mut self, packets: PayloadDecoder, idle: u32) {
        self.body = Some(Body { packets, idle });
    }

    /// A frame arrived that must wait.
    pub(crate) fn push_frame(&mut self, frame: Frame) {
        self.frames.get_or_insert_default().push_back(frame);
    }

    /// Decodes the next packet, if there is room for a message: of the body first, then of the frames unless they are
    /// held back.
    pub(crate) fn next(&mut self, limit: usize, hold_frames: bool, codec: Codec) -> Option<Next> {
        if !self.has_room(limit) {
            return None;
        }
        if let Some(body) = &mut self.body {
            let Some(packet) = body.packets.next() else {
                self.body = None;
                return Some(Next::BodyDone);
            };
            return Some(Next::Packet(packet.and_then(|packet| body.count_idle(packet))));
        }
        if hold_frames {
            return None;
        }
        let frame = self.frames.as_mut()?.pop_front()?;
        self.frames.take_if(|frames| frames.is_empty());
        Some(Next::Packet(codec.decode_frame(frame)))
    }

    /// Puts a message up for the application, unless that wants none.
    pub(crate) fn deliver(&mut self, message: Message) {
        if self.wanted {
            self.received += 1;
            self.received_bytes += message.len() as u64;
            self.messages.push(message);
        }
    }

    /// The application takes a message.
    pub(crate) fn take(&mut self) -> Option<Message> {
        let message = self.messages.pop();
        self.told &= message.is_some();
        message
    }

    /// The application wants nothing of what arrived or will arrive.
    pub(crate) fn discard(&mut self) {
        self.wanted = false;
        self.messages.clear();
    }

    /// Drops the messages that were not taken.
    pub(crate) fn drop_messages(&mut self) {
        self.messages.clear();
    }

    /// Drops what is not decoded.
    pub(crate) fn drop_undecoded(&mut self) {
        self.body = None;
        self.drop_frames();
    }

    /// Drops the frames that are not decoded.
    pub(crate) fn drop_frames(&mut self) {
        self.frames = None;
    }

    /// Whether one more message may be decoded.
    pub(crate) fn has_room(&self, limit: usize) -> bool {
        self.messages.cost() < limit
    }

    /// Whether a body waits for room.
    pub(crate) const fn has_body(&self) -> bool {
        self.body.is_some()
    }

    /// Whether frames wait.
    pub(crate) const fn has_frames(&self) -> bool {
        self.frames.is_some()
    }

    /// Whether nothing is left, neither messages nor what is not decoded.
    pub(crate) fn is_empty(&self) -> bool {
        self.messages.is_empty() && self.body.is_none() && self.frames.is_none()
    }

    /// Whether the application must be told that there are messages. Said once until it has taken all of them.
    pub(crate) fn take_event(&mut self) -> Option<Event> {
        let news = !self.told && !self.messages.is_empty();
        self.told |= news;
        news.then_some(Event::Readable)
    }

    /// Messages that were not taken.
    #[cfg(debug_assertions)]
    pub(crate) fn len(&self) -> usize {
        self.messages.len()
    }

    /// Bytes that the messages which were not taken count for.
    pub(crate) const fn cost(&self) -> usize {
        self.messages.cost()
    }

    /// Messages put up for the application so far.
    pub(crate) const fn received(&self) -> u64 {
        self.received
    }

    /// Bytes of data in them.
    pub(crate) const fn received_bytes(&self) -> u64 {
        self.received_bytes
    }

    /// Whether the limit is kept, apart from the last message.
    pub(crate) fn is_within(&self, limit: usize) -> bool {
        self.messages.is_within(limit)
    }

    /// Whether the byte count is exact.
    pub(crate) fn is_exact(&self) -> bool {
        self.messages.is_exact()
    }

    /// Whether messages wait of which the application knows nothing.
    pub(crate) fn is_untold(&self) -> bool {
        !self.told && !self.messages.is_empty()
    }

    /// Puts a message up past every rule, for the tests of the laws.
    #[cfg(test)]
    pub(crate) fn push_unseen(&mut self, message: Message) {
        self.messages.push(message);
    }

    /// The capacities of both queues, for the tests of memory.
    #[cfg(test)]
    pub(crate) fn capacities(&self) -> [usize; 2] {
        [self.messages.capacity(), self.frames.as_ref().map_or(0, |frames| frames.capacity())]
    }

    /// Counts one byte too many, for the tests of the laws.
    #[cfg(test)]
    pub(crate) fn miscount(&mut self) {
        self.messages.miscount();
    }
}

impl Body {
    /// A body has a few packets that are no messages. Millions of them would only keep the machine busy.
    fn count_idle(&mut self, packet: Packet) -> Result<Packet, PacketError> {
        if packet.kind() != PacketKind::Message {
            self.idle = self.idle.checked_sub(1).ok_or(PacketError::TooMany)?;
        }
        Ok(packet)
    }
}
