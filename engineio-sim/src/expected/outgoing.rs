//! Messages to send. Those that have left were accepted first, and those that are written have left.

use std::collections::VecDeque;

use engineio_proto::{ExchangeId, Message, SendError};

use super::Limits;
use super::incoming::cost;
use crate::encoder::packet_len;
use crate::oracle::MAX_ANSWERS;

#[derive(Clone, Debug)]
pub(super) struct Outgoing {
    queue: VecDeque<Message>,
    cost: usize,
    pub(super) accepted: u64,
    pub(super) written: u64,
    pub(super) bytes: u64,
    /// Answers that were not reported as written, or that come after one.
    answers: VecDeque<Answer>,
    /// A channel has written all messages up to this one.
    by_channel: u64,
    room: Room,
    /// The application waits until this many messages are written.
    awaited: Option<u64>,
}

#[derive(Clone, Copy, Debug)]
struct Answer {
    exchange: ExchangeId,
    /// The number of the last message that had left with it.
    last: u64,
    is_written: bool,
}

/// Whether the application waits for room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Room {
    NotAwaited,
    Awaited,
    /// And something has left since.
    Coming,
}

/// Why messages are refused.
pub(super) type Refusal = fn(Vec<Message>) -> SendError<Vec<Message>>;

impl Outgoing {
    pub(super) fn new() -> Self {
        Self {
            queue: VecDeque::new(),
            cost: 0,
            accepted: 0,
            written: 0,
            bytes: 0,
            answers: VecDeque::new(),
            by_channel: 0,
            room: Room::NotAwaited,
            awaited: None,
        }
    }

    pub(super) fn accept(&mut self, messages: Vec<Message>) {
        for message in messages {
            self.accepted += 1;
            self.cost += cost(&message);
            self.queue.push_back(message);
        }
    }

    /// A single message is accepted below the limit, and may exceed it. Several messages must fit.
    pub(super) fn room_for(&mut self, messages: &[Message], limits: Limits) -> Result<(), Refusal> {
        let (more, several) = (messages.iter().map(cost).sum::<usize>(), messages.len() > 1);
        if messages.is_empty() {
            return Ok(());
        }
        if several && more > limits.send {
            return Err(SendError::TooLarge);
        }
        if self.cost >= limits.send || (several && self.cost + more > limits.send) {
            self.wait_for_room();
            return Err(SendError::Full);
        }
        Ok(())
    }

    pub(super) fn wait_for_room(&mut self) {
        if self.room == Room::NotAwaited {
            self.room = Room::Awaited;
        }
    }

    pub(super) fn is_room_awaited(&self) -> bool {
        self.room != Room::NotAwaited
    }

    /// Returns whether the application must be told that there is room: something has left, and not much is left.
    pub(super) fn tell_room(&mut self, limits: Limits) -> bool {
        let tells = self.room == Room::Coming && self.cost <= limits.send_low;
        if tells {
            self.room = Room::NotAwaited;
        }
        tells
    }

    pub(super) fn leave(&mut self) -> Option<Message> {
        let message = self.queue.pop_front()?;
        self.cost -= cost(&message);
        self.bytes += message.len() as u64;
        if self.room == Room::Awaited {
            self.room = Room::Coming;
        }
        Some(message)
    }

    /// Takes as many messages as fit into a body that has this many packets and bytes. The first packet always fits.
    pub(super) fn leave_together(&mut self, packets: usize, bytes: usize, limits: (usize, usize)) -> Vec<Message> {
        let mut all = Vec::new();
        let mut len = bytes;
        while let Some(message) = self.queue.front() {
            let before = packets + all.len();
            let with = len + usize::from(before > 0) + packet_len(message);
            if before > 0 && (with > limits.0 || before >= limits.1) {
                break;
            }
            len = with;
            all.extend(self.leave());
        }
        all
    }

    /// Returns whether any answer was not reported as written.
    pub(super) fn has_answers(&self) -> bool {
        !self.answers.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    pub(super) fn cost(&self) -> usize {
        self.cost
    }

    pub(super) fn left(&self) -> u64 {
        self.accepted - self.queue.len() as u64
    }

    pub(super) fn is_written(&self) -> bool {
        self.written == self.accepted
    }

    // What is written.

    pub(super) fn answer(&mut self, exchange: ExchangeId) {
        self.answers.push_back(Answer { exchange, last: self.left(), is_written: false });
    }

    pub(super) fn may_answer(&self) -> bool {
        self.answers.len() < MAX_ANSWERS
    }

    pub(super) fn is_under_way(&self, exchange: ExchangeId) -> bool {
        self.answers.iter().any(|answer| answer.exchange == exchange && !answer.is_written)
    }

    /// Returns whether more messages are written than before.
    pub(super) fn answer_written(&mut self, exchange: ExchangeId) -> bool {
        let Some(answer) = self.answers.iter_mut().find(|answer| answer.exchange == exchange) else { return false };
        answer.is_written = true;
        let before = self.written;
        while let Some(first) = self.answers.front().copied().filter(|first| first.is_written) {
            self.answers.pop_front();
            self.written_up_to(first.last);
        }
        if self.answers.is_empty() {
            self.written_up_to(self.by_channel);
        }
        self.written > before
    }

    /// Returns whether more messages are written than before. Messages on a channel come after all answers.
    pub(super) fn channel_written(&mut self, messages: u64) -> bool {
        self.by_channel = self.by_channel.max(messages.min(self.left()));
        self.answers.is_empty() && self.written_up_to(self.by_channel)
    }

    pub(super) fn written_up_to(&mut self, messages: u64) -> bool {
        let written = messages.min(self.left()).max(self.written);
        std::mem::replace(&mut self.written, written) < written
    }

    pub(super) fn wait_until_written(&mut self, messages: u64) -> bool {
        let is_written = self.written >= messages;
        if !is_written {
            self.awaited = Some(self.awaited.map_or(messages, |awaited| awaited.min(messages)));
        }
        is_written
    }

    pub(super) fn is_awaited(&self) -> bool {
        self.awaited.is_some()
    }

    /// Returns whether the application must be told that what it waits for is written.
    pub(super) fn tell_written(&mut self) -> bool {
        self.awaited.take_if(|awaited| *awaited <= self.written).is_some()
    }

    pub(super) fn stop_waiting(&mut self) {
        (self.room, self.awaited) = (Room::NotAwaited, None);
    }
}
