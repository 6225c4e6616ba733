//! Packets that were received: handled in order, as far as there is room for messages.

use std::collections::VecDeque;

use engineio_proto::Message;
use engineio_proto::wire::Frame;

use crate::decoder::{Decoded, decode_frame, decode_payload};

/// A packet, or `None` for data that is none.
pub(super) type Packet = Option<Decoded>;

/// The maximum number of packets in one body that are no messages.
const MAX_OTHERS: usize = 1000;

/// What is handled next.
#[derive(Debug)]
pub(super) enum Next {
    Packet(Packet),
    /// The body was handled to its end.
    BodyEnd,
}

#[derive(Clone, Debug)]
pub(super) struct Incoming {
    unread: VecDeque<Message>,
    cost: usize,
    body: Option<VecDeque<Packet>>,
    frames: VecDeque<Packet>,
    /// The application takes messages.
    wanted: bool,
    /// The application knows that there are messages.
    told: bool,
    pub(super) received: u64,
    pub(super) bytes: u64,
}

impl Incoming {
    pub(super) fn new() -> Self {
        Self {
            unread: VecDeque::new(),
            cost: 0,
            body: None,
            frames: VecDeque::new(),
            wanted: true,
            told: false,
            received: 0,
            bytes: 0,
        }
    }

    pub(super) fn body(&mut self, bytes: &[u8]) {
        let (packets, is_complete) = decode_payload(bytes);
        let mut others = 0;
        let mut body = VecDeque::new();
        for packet in packets {
            others += usize::from(!is_message(&packet));
            if others > MAX_OTHERS {
                body.push_back(None);
                self.body = Some(body);
                return;
            }
            body.push_back(Some(packet));
        }
        if !is_complete {
            body.push_back(None);
        }
        self.body = Some(body);
    }

    pub(super) fn frame(&mut self, frame: &Frame) {
        self.frames.push_back(decode_frame(frame));
    }

    /// Takes what is next, if there is room for a message. Frames come after the body, and after one that is awaited.
    pub(super) fn next(&mut self, limit: usize, awaits_body: bool) -> Option<Next> {
        if !self.has_room(limit) {
            return None;
        }
        if let Some(body) = &mut self.body {
            return Some(match body.pop_front() {
                Some(packet) => Next::Packet(packet),
                None => {
                    self.body = None;
                    Next::BodyEnd
                }
            });
        }
        if awaits_body { None } else { self.frames.pop_front().map(Next::Packet) }
    }

    pub(super) fn deliver(&mut self, packet: Decoded) {
        let message = match packet {
            Decoded::Text(_, data) => Message::from(data),
            Decoded::Binary(bytes) => Message::from(bytes),
        };
        if self.wanted {
            self.received += 1;
            self.bytes += message.len() as u64;
            self.cost += cost(&message);
            self.unread.push_back(message);
        }
    }

    pub(super) fn take(&mut self) -> Option<Message> {
        let message = self.unread.pop_front();
        match &message {
            Some(message) => self.cost -= cost(message),
            None => self.told = false,
        }
        message
    }

    /// The messages that were not taken are dropped.
    pub(super) fn drop_messages(&mut self) {
        self.unread.clear();
        self.cost = 0;
    }

    /// And no more are wanted.
    pub(super) fn discard(&mut self) {
        self.wanted = false;
        self.drop_messages();
    }

    pub(super) fn drop_rest(&mut self) {
        self.body = None;
        self.frames.clear();
    }

    pub(super) fn drop_frames(&mut self) {
        self.frames.clear();
    }

    pub(super) fn has_room(&self, limit: usize) -> bool {
        self.cost < limit
    }

    pub(super) fn has_body(&self) -> bool {
        self.body.is_some()
    }

    pub(super) fn has_frames(&self) -> bool {
        !self.frames.is_empty()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.unread.is_empty() && self.body.is_none() && self.frames.is_empty()
    }

    pub(super) fn cost(&self) -> usize {
        self.cost
    }

    /// Returns whether the application must be told that there are messages. It is told once until it finds none.
    pub(super) fn tell(&mut self) -> bool {
        let news = !self.told && !self.unread.is_empty();
        self.told |= news;
        news
    }
}

/// The size that a message counts for: its data, and 48 bytes.
pub(super) fn cost(message: &Message) -> usize {
    message.len() + 48
}

pub(super) fn is_message(packet: &Decoded) -> bool {
    matches!(packet, Decoded::Binary(_) | Decoded::Text('4', _))
}
