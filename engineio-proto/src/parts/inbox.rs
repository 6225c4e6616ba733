//! Received messages, and undecoded data behind them.
//!
//! Nothing is decoded before there is room for it, so memory does not grow when the application is slow.

use alloc::boxed::Box;
use alloc::collections::VecDeque;

use crate::parts::buffer::Buffer;
use crate::parts::event::Event;
use crate::wire::codec::{Codec, Excerpt, PayloadDecoder};
use crate::wire::frame::Frame;
use crate::wire::message::Message;
use crate::wire::packet::{Packet, PacketError, PacketKind};

/// Received messages that the application has not taken, and data that is not decoded yet. The body is last because a
/// message on a channel does not need it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct Inbox {
    messages: Buffer,
    received: u64,
    received_bytes: u64,
    /// The application still takes messages.
    wanted: bool,
    /// The application was told that there are messages.
    told: bool,
    /// Frames that wait for the body before them, or for room. They exist only when the application is slow.
    #[allow(clippy::box_collection)] // Hardly ever there, and small where it is not.
    frames: Option<Box<VecDeque<Frame>>>,
    /// An HTTP body, decoded as far as there was room.
    body: Option<Body>,
}

/// An HTTP body that is being decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Body {
    packets: PayloadDecoder,
    /// How many of its packets were other than messages.
    idle: u32,
    /// How many of its messages were dropped.
    dropped: u32,
}

/// The maximum number of packets in one body that are no messages. A correct peer sends few. Millions would fit, and
/// all of them are handled in one call.
const MAX_IDLE: u32 = 1000;

/// Once this many messages of one body were dropped, the others are skipped without being decoded. They need no room,
/// so all of them are handled in one call.
const MAX_DROPPED: u32 = 1000;

impl Default for Inbox {
    fn default() -> Self {
        Self {
            messages: Buffer::default(),
            received: 0,
            received_bytes: 0,
            wanted: true,
            told: false,
            frames: None,
            body: None,
        }
    }
}

/// What can be decoded next.
pub(crate) enum Next {
    Packet(Result<Packet, PacketError>),
    /// The body was decoded completely.
    BodyDone,
}

impl Inbox {
    /// Adds a body. The previous one is finished.
    pub(crate) fn push_body(&mut self, packets: PayloadDecoder) {
        self.body = Some(Body { packets, idle: 0, dropped: 0 });
    }

    /// Adds a frame that must wait.
    pub(crate) fn push_frame(&mut self, frame: Frame) {
        self.frames.get_or_insert_default().push_back(frame);
    }

    /// Decodes the next packet if there is room for a message: from the body first, then from the frames unless they
    /// are held back. `excerpt` is the default one for the first call of several.
    #[inline(always)]
    pub(crate) fn next(
        &mut self,
        limit: usize,
        hold_frames: bool,
        codec: Codec,
        excerpt: &mut Excerpt,
    ) -> Option<Next> {
        if !self.has_room(limit) {
            return None;
        }
        if let Some(body) = &mut self.body {
            if body.dropped >= MAX_DROPPED {
                body.packets.skip_messages();
                *excerpt = Excerpt::default();
            }
            let Some(packet) = body.packets.next_with(excerpt) else {
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

    /// Adds a message for the application, unless it takes no more.
    #[inline]
    pub(crate) fn deliver(&mut self, message: Message) {
        if self.wanted {
            self.received += 1;
            self.received_bytes += message.len() as u64;
            self.messages.push(message);
        } else {
            self.drop_message();
        }
    }

    /// Notes that a message was dropped.
    pub(crate) fn drop_message(&mut self) {
        if let Some(body) = &mut self.body {
            body.dropped = body.dropped.saturating_add(1);
        }
    }

    /// Takes a message for the application.
    #[inline]
    pub(crate) fn take(&mut self) -> Option<Message> {
        let message = self.messages.pop();
        self.told &= message.is_some();
        message
    }

    /// Passes messages to `take` while fewer than `count` were taken and they have fewer than `bytes` bytes of data. Returns
    /// whether all were taken.
    pub(crate) fn take_many(&mut self, count: usize, bytes: usize, take: impl FnMut(Message)) -> bool {
        let (mut taken, mut len) = (0, 0_usize);
        for message in self.messages.iter() {
            if taken == count || len >= bytes {
                break;
            }
            taken += 1;
            len = len.saturating_add(message.len());
        }
        self.messages.pop_many(taken, take);
        let all = taken < count && len < bytes;
        self.told &= !all;
        all
    }

    /// The application takes no more messages: drops those that have arrived, and those that will.
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

    /// Returns whether another message may be decoded.
    pub(crate) fn has_room(&self, limit: usize) -> bool {
        self.messages.cost() < limit
    }

    /// Returns whether a body waits for room.
    pub(crate) const fn has_body(&self) -> bool {
        self.body.is_some()
    }

    /// Returns whether frames wait.
    pub(crate) const fn has_frames(&self) -> bool {
        self.frames.is_some()
    }

    /// Returns whether data waits that is not decoded yet.
    pub(crate) const fn has_undecoded(&self) -> bool {
        self.body.is_some() || self.frames.is_some()
    }

    /// Returns whether there are neither messages nor undecoded data.
    pub(crate) fn is_empty(&self) -> bool {
        self.messages.is_empty() && !self.has_undecoded()
    }

    /// Returns the event for new messages. It is announced once until the application has taken all of them.
    pub(crate) fn take_event(&mut self) -> Option<Event> {
        let news = !self.told && !self.messages.is_empty();
        self.told |= news;
        news.then_some(Event::Readable)
    }

    /// Returns the number of messages that were not taken.
    #[cfg(debug_assertions)]
    pub(crate) fn len(&self) -> usize {
        self.messages.len()
    }

    /// Returns the size that the messages count for, in bytes.
    pub(crate) const fn cost(&self) -> usize {
        self.messages.cost()
    }

    /// Returns the number of messages received so far.
    pub(crate) const fn received(&self) -> u64 {
        self.received
    }

    /// Returns the number of bytes in those messages.
    pub(crate) const fn received_bytes(&self) -> u64 {
        self.received_bytes
    }

    /// Returns whether the limit is kept, except for the last message.
    pub(crate) fn is_within(&self, limit: usize) -> bool {
        self.messages.is_within(limit)
    }

    /// Returns whether the byte count is exact.
    pub(crate) fn is_exact(&self) -> bool {
        self.messages.is_exact()
    }

    /// Returns whether messages wait that were not announced.
    #[inline]
    pub(crate) fn is_untold(&self) -> bool {
        !self.told && !self.messages.is_empty()
    }

    /// Adds a message against all rules, for tests of the laws.
    #[cfg(test)]
    pub(crate) fn push_unseen(&mut self, message: Message) {
        self.messages.push(message);
    }

    /// Returns the capacities of both queues, for tests of memory.
    #[cfg(test)]
    pub(crate) fn capacities(&self) -> [usize; 2] {
        [self.messages.capacity(), self.frames.as_ref().map_or(0, |frames| frames.capacity())]
    }

    /// Counts one byte too many, for tests of the laws.
    #[cfg(test)]
    pub(crate) fn miscount(&mut self) {
        self.messages.miscount();
    }
}

impl Body {
    /// Counts a packet that is not a message.
    fn count_idle(&mut self, packet: Packet) -> Result<Packet, PacketError> {
        if packet.kind() != PacketKind::Message {
            self.idle = self.idle.saturating_add(1);
        }
        if self.idle > MAX_IDLE { Err(PacketError::TooMany) } else { Ok(packet) }
    }
}
