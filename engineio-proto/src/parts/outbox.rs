//! Messages on their way to the peer.
//!
//! Messages are numbered from 1 in the order in which they were accepted. Two cursors divide them: *handed over* to a
//! transport, and *written* by it. Written never exceeds handed over, and handed over never exceeds accepted.

use alloc::boxed::Box;
use alloc::collections::VecDeque;

use crate::parts::buffer::{Buffer, Room};
use crate::parts::event::ExchangeId;
use crate::wire::message::Message;

/// The maximum number of answers under way. Further polls wait until an answer is written.
const MAX_ANSWERS: usize = 8;

/// Messages that were accepted and not handed over, and the cursors of the others.
///
/// The answers are last because a message on a channel does not need them.
#[derive(Clone, Debug, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct Outbox {
    room: Awaited,
    accepted: u64,
    queue: Buffer,
    written: u64,
    /// The number of messages for which the application waits until they are written; [`NOTHING`] if it does not wait.
    awaited: u64,
    /// The number of messages that a channel has written. They count once no answer is under way any more.
    written_on_channel: u64,
    /// The HTTP answers that were given to the embedder and not reported as written: the first one here, the others in
    /// `more_answers`.
    answer: Option<Answer>,
    #[allow(clippy::box_collection)] // Hardly ever there, and small where it is not.
    more_answers: Option<Box<VecDeque<Answer>>>,
}

/// Whether the application waits for room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Awaited {
    No,
    /// It waits, and nothing was handed over since.
    Yes,
    /// It waits, and something was handed over since.
    Coming,
}

/// No number of messages.
const NOTHING: u64 = u64::MAX;

/// An HTTP answer under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Answer {
    exchange: ExchangeId,
    /// The number of the last message in it; if it has none, of the last message before it.
    last: u64,
    is_written: bool,
}

impl Default for Outbox {
    fn default() -> Self {
        Self {
            room: Awaited::No,
            accepted: 0,
            queue: Buffer::default(),
            written: 0,
            awaited: NOTHING,
            written_on_channel: 0,
            answer: None,
            more_answers: None,
        }
    }
}

impl Outbox {
    /// Returns whether these messages may be accepted now.
    #[inline]
    pub(crate) fn room_for(&self, messages: &[Message], limit: usize) -> Room {
        self.queue.room_for(messages, limit)
    }

    /// Appends a message. The caller has checked that there is room.
    #[inline]
    pub(crate) fn accept(&mut self, message: Message) {
        self.accepted += 1;
        self.queue.push(message);
    }

    /// Hands over the next message.
    #[inline]
    pub(crate) fn hand_over(&mut self) -> Option<Message> {
        let message = self.queue.pop()?;
        if self.room == Awaited::Yes {
            self.room = Awaited::Coming;
        }
        Some(message)
    }

    /// Hands over the next messages: no more than there are.
    pub(crate) fn hand_over_many(&mut self, count: usize, take: impl FnMut(Message)) {
        if count > 0 && self.room == Awaited::Yes {
            self.room = Awaited::Coming;
        }
        self.queue.pop_many(count, take);
    }

    /// Returns whether every accepted message was handed over.
    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Returns the number of messages that were not handed over.
    pub(crate) fn len(&self) -> usize {
        self.queue.len()
    }

    /// Returns the size that those messages count for, in bytes.
    pub(crate) const fn cost(&self) -> usize {
        self.queue.cost()
    }

    /// Returns the messages that were not handed over.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Message> {
        self.queue.iter()
    }

    /// Returns the number of messages accepted so far.
    pub(crate) const fn accepted(&self) -> u64 {
        self.accepted
    }

    /// Returns the number of messages handed over so far.
    pub(crate) fn handed_over(&self) -> u64 {
        self.accepted - self.queue.len() as u64
    }

    /// Returns the number of messages written so far.
    pub(crate) const fn written(&self) -> u64 {
        self.written
    }

    /// Returns whether every accepted message is written.
    pub(crate) const fn is_written(&self) -> bool {
        self.written == self.accepted
    }

    /// Moves the cursor: messages up to this number are written. It never passes what was handed over, and never goes
    /// back. Returns whether it has moved.
    pub(crate) fn set_written(&mut self, messages: u64) -> bool {
        let written = messages.min(self.handed_over()).max(self.written);
        let news = written > self.written;
        self.written = written;
        news
    }

    /// Notes that a channel has written messages up to this number. Returns whether the cursor has moved.
    pub(crate) fn set_written_on_channel(&mut self, messages: u64) -> bool {
        self.written_on_channel = self.written_on_channel.max(messages.min(self.handed_over()));
        self.answer.is_none() && self.set_written(self.written_on_channel)
    }

    /// Notes that an answer with everything that was handed over up to now is given to the embedder.
    pub(crate) fn answer_given(&mut self, exchange: ExchangeId) {
        let answer = Answer { exchange, last: self.handed_over(), is_written: false };
        match &self.answer {
            None => self.answer = Some(answer),
            Some(_) => self.more_answers.get_or_insert_default().push_back(answer),
        }
    }

    /// Returns whether another answer may be given.
    pub(crate) fn may_answer(&self) -> bool {
        self.more_answers.as_ref().is_none_or(|more| more.len() < MAX_ANSWERS - 1)
    }

    /// Notes that an answer is written. Its messages count once the answers before it are written too. Returns whether
    /// the cursor has moved.
    pub(crate) fn answer_written(&mut self, exchange: ExchangeId) -> bool {
        let more = self.more_answers.iter_mut().flat_map(|more| more.iter_mut());
        let mut answers = self.answer.iter_mut().chain(more);
        let Some(answer) = answers.find(|answer| answer.exchange == exchange) else { return false };
        answer.is_written = true;
        let mut news = false;
        while let Some(first) = self.answer.take_if(|first| first.is_written) {
            news |= self.set_written(first.last);
            self.answer = self.more_answers.as_mut().and_then(|more| more.pop_front());
        }
        self.more_answers.take_if(|more| more.is_empty());
        if self.answer.is_none() {
            news |= self.set_written(self.written_on_channel);
        }
        news
    }

    /// Returns whether an answer is under way: given, and not reported as written.
    pub(crate) fn is_under_way(&self, exchange: ExchangeId) -> bool {
        let more = self.more_answers.iter().flat_map(|more| more.iter());
        self.answer.iter().chain(more).any(|answer| answer.exchange == exchange && !answer.is_written)
    }

    /// Returns whether any answer is under way.
    pub(crate) const fn has_answers(&self) -> bool {
        self.answer.is_some()
    }

    /// Notes that the application waits for room.
    pub(crate) fn wait_for_room(&mut self) {
        if self.room == Awaited::No {
            self.room = Awaited::Yes;
        }
    }

    /// Returns whether the application waits for room.
    pub(crate) const fn is_full(&self) -> bool {
        !matches!(self.room, Awaited::No)
    }

    /// Returns whether there is now more room than when the application began to wait: something was handed over, and
    /// at most `low` bytes are queued. Returns `true` once.
    pub(crate) fn take_writable(&mut self, low: usize) -> bool {
        let writable = self.room == Awaited::Coming && self.queue.cost() <= low;
        if writable {
            self.room = Awaited::No;
        }
        writable
    }

    /// Returns whether this many messages are written. If not, the application now waits for that.
    pub(crate) fn poll_written(&mut self, messages: u64) -> bool {
        let written = self.written >= messages;
        if !written {
            self.awaited = self.awaited.min(messages);
        }
        written
    }

    /// Returns whether the application waits until something is written.
    pub(crate) const fn is_awaited(&self) -> bool {
        self.awaited != NOTHING
    }

    /// Returns whether the messages that the application waits for are written. Returns `true` once.
    pub(crate) fn take_awaited(&mut self) -> bool {
        let news = self.awaited <= self.written;
        if news {
            self.awaited = NOTHING;
        }
        news
    }

    /// Returns whether an event is owed that [`Outbox::take_writable`] or [`Outbox::take_awaited`] announces.
    pub(crate) fn owes_event(&self, low: usize) -> bool {
        let writable = self.room == Awaited::Coming && self.queue.cost() <= low;
        writable || self.awaited <= self.written
    }

    /// Returns whether the application waits for something that may have come.
    #[inline]
    pub(crate) const fn is_due(&self) -> bool {
        matches!(self.room, Awaited::Coming) || self.awaited <= self.written
    }

    /// Ends all waiting, at the end of the session.
    pub(crate) fn stop_waiting(&mut self) {
        self.room = Awaited::No;
        self.awaited = NOTHING;
    }

    /// Returns whether the limit is kept, except for the last message.
    pub(crate) fn is_within(&self, limit: usize) -> bool {
        self.queue.is_within(limit)
    }

    /// Returns whether the byte count is exact and the cursors are in order.
    pub(crate) fn is_exact(&self) -> bool {
        self.queue.is_exact() && self.written.saturating_add(self.queue.len() as u64) <= self.accepted
    }

    /// Returns the capacity of the queue, for tests of memory.
    #[cfg(test)]
    pub(crate) fn capacity(&self) -> usize {
        self.queue.capacity()
    }

    /// Counts one byte too many, for tests of the laws.
    #[cfg(test)]
    pub(crate) fn miscount(&mut self) {
        self.queue.miscount();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn handed_over(messages: u64) -> Outbox {
        let mut outbox = Outbox::default();
        for _ in 0..messages {
            outbox.accept("a".into());
            outbox.hand_over();
        }
        outbox
    }

    #[test]
    fn written_is_a_prefix_of_handed_over() {
        let mut outbox = handed_over(2);
        outbox.accept("a".into());
        assert!(outbox.set_written(7));
        assert_eq!((outbox.written(), outbox.is_written()), (2, false));
        assert!(!outbox.set_written(1), "nothing is unwritten again");
        assert_eq!(outbox.written(), 2);
        assert!(outbox.is_exact());
    }

    #[test]
    fn r116_a_later_answer_that_is_written_says_nothing_of_an_earlier_one() {
        let mut outbox = handed_over(1);
        outbox.answer_given(ExchangeId(1));
        outbox.accept("b".into());
        outbox.hand_over();
        outbox.answer_given(ExchangeId(2));
        assert!(!outbox.answer_written(ExchangeId(2)));
        assert_eq!((outbox.written(), outbox.is_under_way(ExchangeId(1))), (0, true));
        assert!(!outbox.is_under_way(ExchangeId(2)), "it was reported");
        assert!(outbox.answer_written(ExchangeId(1)));
        assert_eq!(outbox.written(), 2);
        assert!(!outbox.answer_written(ExchangeId(1)), "a second report says nothing");
    }

    #[test]
    fn a_channel_that_has_written_more_waits_for_the_answers_before_it() {
        let mut outbox = handed_over(1);
        outbox.answer_given(ExchangeId(1));
        outbox.accept("b".into());
        outbox.hand_over();
        assert!(!outbox.set_written_on_channel(2));
        assert_eq!(outbox.written(), 0);
        assert!(outbox.answer_written(ExchangeId(1)));
        assert_eq!(outbox.written(), 2);
    }

    #[test]
    fn answers_under_way_are_bounded() {
        let mut outbox = handed_over(1);
        for number in 0..MAX_ANSWERS as u64 {
            assert!(outbox.may_answer());
            outbox.answer_given(ExchangeId(number));
        }
        assert!(!outbox.may_answer());
        outbox.answer_written(ExchangeId(3));
        assert!(!outbox.may_answer(), "the ones before it are still under way");
        outbox.answer_written(ExchangeId(0));
        assert!(outbox.may_answer());
    }

    #[test]
    fn the_nearest_of_several_waiters_is_told() {
        let mut outbox = handed_over(3);
        assert!(!outbox.poll_written(3));
        assert!(!outbox.poll_written(2));
        outbox.set_written(1);
        assert!(!outbox.take_awaited());
        outbox.set_written(2);
        assert!(outbox.take_awaited() && !outbox.take_awaited());
        assert!(outbox.poll_written(2) && !outbox.is_awaited());
    }
}
