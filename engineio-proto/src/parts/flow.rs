//! The plumbing of one session, the same on both sides: received messages, messages to send, what the embedder and the
//! application were told, counters, and how the session ended.
//!
//! Nothing here decides about the protocol. A machine changes the flow; at the end of each call, the flow announces
//! what has changed.

use crate::parts::buffer::Room;
use crate::parts::event::{ChannelId, CloseReason, Event, TransportError};
use crate::parts::inbox::Inbox;
use crate::parts::outbox::Outbox;
use crate::parts::outputs::Outputs;
use crate::parts::stats::Stats;
use crate::wire::message::Message;
use crate::wire::packet::Packet;
use crate::wire::payload::Payload;

/// The outputs that both sides have.
pub(crate) trait Output: Clone {
    fn channel_ready(channel: ChannelId) -> Self;
    fn channel_read(channel: ChannelId, enabled: bool) -> Self;
    fn channel_close(channel: ChannelId) -> Self;
    fn event(event: Event) -> Self;
}

/// The limits of a session in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// At this size, no more messages to send are accepted.
    pub(crate) send: usize,
    /// A full send buffer has room again once it has emptied to this size.
    pub(crate) send_low: usize,
    /// At this size, nothing more is decoded.
    pub(crate) receive: usize,
}

/// The plumbing of one session. What a message on a channel needs is together, so that it touches little memory.
#[derive(Clone, Debug, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct Flow<O: Output> {
    /// Frames were announced, and not all of them were pulled since.
    frames_announced: bool,
    /// The embedder was asked to stop reading from the channel.
    reading_stopped: bool,
    /// A heartbeat was announced during the current round of handling input.
    heartbeat_announced: bool,
    /// [`Event::Flush`] and [`Event::Drain`] are not announced.
    ignores_writes: bool,
    end: End,
    sent_bytes: u64,
    outputs: Outputs<O>,
    pub(crate) outbox: Outbox,
    pub(crate) inbox: Inbox,
    heartbeats_sent: u32,
    heartbeats_received: u32,
}

/// Whether a session has ended, and what was announced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// It has not ended.
    Open,
    /// It has ended; nothing was announced.
    New(CloseReason),
    /// [`Event::Ended`] was announced. Messages can still be taken.
    Ended(CloseReason),
    /// [`Event::Closed`] was announced.
    Closed(CloseReason),
}

impl<O: Output> Flow<O> {
    pub(crate) fn new() -> Self {
        Self {
            frames_announced: false,
            reading_stopped: false,
            heartbeat_announced: false,
            ignores_writes: false,
            end: End::Open,
            sent_bytes: 0,
            outputs: Outputs::new(),
            outbox: Outbox::default(),
            inbox: Inbox::default(),
            heartbeats_sent: 0,
            heartbeats_received: 0,
        }
    }

    // Outputs.

    pub(crate) fn output(&mut self, output: O) {
        self.outputs.push(output);
    }

    pub(crate) fn emit(&mut self, event: Event) {
        self.outputs.event(event);
    }

    /// Announces packets that are handed over, unless nobody wants to know.
    pub(crate) fn emit_flush(&mut self, packets: usize) {
        if !self.ignores_writes {
            self.emit(Event::Flush { packets });
        }
    }

    /// Announces that the packets of the last `Flush` are handed over, unless nobody wants to know.
    pub(crate) fn emit_drain(&mut self) {
        if !self.ignores_writes {
            self.emit(Event::Drain);
        }
    }

    /// From now on, [`Event::Flush`] and [`Event::Drain`] are announced, or not.
    pub(crate) const fn observe_writes(&mut self, observes: bool) {
        self.ignores_writes = !observes;
    }

    #[inline]
    pub(crate) fn poll_output(&mut self) -> Option<O> {
        self.outputs.pop()
    }

    pub(crate) fn has_output(&self) -> bool {
        !self.outputs.is_empty()
    }

    // Messages to send.

    /// Returns whether these messages may be accepted now. If not, and if there can be room later, the application now
    /// waits for it.
    pub(crate) fn room_for(&mut self, messages: &[Message], limits: Limits) -> Room {
        let room = self.outbox.room_for(messages, limits.send);
        if room == Room::Later {
            self.outbox.wait_for_room();
        }
        room
    }

    /// Accepts messages. The caller has checked that there is room.
    pub(crate) fn accept(&mut self, messages: impl IntoIterator<Item = Message>) {
        messages.into_iter().for_each(|message| self.outbox.accept(message));
    }

    /// Hands over the next message.
    #[inline]
    pub(crate) fn hand_over(&mut self) -> Option<Message> {
        let message = self.outbox.hand_over()?;
        self.sent_bytes += message.len() as u64;
        Some(message)
    }

    /// Adds messages to a payload while it stays within `max_len` bytes and `max_packets` packets. A packet above the
    /// limit goes alone.
    pub(crate) fn fill(&mut self, payload: &mut Payload, max_len: usize, max_packets: usize) {
        let codec = payload.codec();
        let (mut len, mut packets) = (payload.encoded_len(), payload.packets().len());
        let (mut count, mut bytes) = (0, 0);
        for message in self.outbox.iter() {
            let is_first = packets == 0;
            let more = len.saturating_add(usize::from(!is_first)).saturating_add(codec.message_len(message));
            if !is_first && (more > max_len || packets >= max_packets) {
                break;
            }
            len = more;
            packets += 1;
            count += 1;
            bytes += message.len() as u64;
        }
        self.outbox.hand_over_many(count, |message| payload.push(Packet::from(message)));
        self.sent_bytes += bytes;
    }

    /// Returns the next message for a channel. `batch` counts the packets that are still to be pulled since
    /// [`Event::Flush`] was announced.
    #[inline(always)]
    pub(crate) fn next_message(&mut self, batch: &mut usize) -> Option<Message> {
        let message = self.hand_over()?;
        if self.ignores_writes {
            *batch = 0;
            return Some(message);
        }
        if *batch == 0 {
            self.start_batch(batch);
        }
        self.count_pulled(batch);
        Some(message)
    }

    /// Notes that a heartbeat goes out on a channel, before all messages. `batch` counts packets as above.
    pub(crate) fn heartbeat_pulled(&mut self, batch: &mut usize) {
        if self.ignores_writes {
            *batch = 0;
            return;
        }
        if *batch == 0 {
            self.start_batch(batch);
        } else {
            *batch = batch.saturating_add(1);
        }
        self.count_pulled(batch);
    }

    /// Announces one packet more than those that wait.
    fn start_batch(&mut self, batch: &mut usize) {
        *batch = self.outbox.len().saturating_add(1);
        self.emit(Event::Flush { packets: *batch });
    }

    #[inline]
    fn count_pulled(&mut self, batch: &mut usize) {
        *batch = batch.saturating_sub(1);
        if *batch == 0 {
            self.emit(Event::Drain);
        }
    }

    /// Returns whether this many messages are written. If not, and if the session has not ended, that will be
    /// announced.
    pub(crate) fn poll_written(&mut self, messages: u64) -> bool {
        match self.end {
            End::Open => self.outbox.poll_written(messages),
            End::New(_) | End::Ended(_) | End::Closed(_) => self.outbox.written() >= messages,
        }
    }

    /// Counts a heartbeat that was handed over.
    pub(crate) fn count_heartbeat_sent(&mut self) {
        self.heartbeats_sent = self.heartbeats_sent.saturating_add(1);
    }

    // Received messages.

    /// Handles a heartbeat. Heartbeats that are handled together are announced once, and only if they are `news`.
    pub(crate) fn heartbeat_received(&mut self, news: bool) {
        self.heartbeats_received = self.heartbeats_received.saturating_add(1);
        if news && !core::mem::replace(&mut self.heartbeat_announced, true) {
            self.emit(Event::Heartbeat);
        }
    }

    // The end.

    /// Ends the session. Only the first reason counts.
    pub(crate) fn finish(&mut self, reason: CloseReason) {
        if self.end == End::Open {
            self.end = End::New(reason);
        }
        self.outbox.stop_waiting();
        self.frames_announced = false;
    }

    pub(crate) const fn close_reason(&self) -> Option<CloseReason> {
        match self.end {
            End::Open => None,
            End::New(reason) | End::Ended(reason) | End::Closed(reason) => Some(reason),
        }
    }

    /// Returns whether [`Event::Closed`] and everything before it was pulled.
    pub(crate) fn is_finished(&self) -> bool {
        matches!(self.end, End::Closed(_)) && self.outputs.is_empty()
    }

    /// Returns the true reason for an end while the session is `closing` in order: the one that the application asked
    /// for if everything is written, else the loss.
    pub(crate) const fn reason_for(&self, reason: CloseReason, closing: bool) -> CloseReason {
        use TransportError::{PollLost, PostLost};
        match reason {
            reason if !closing => reason,
            _ if self.outbox.is_written() => CloseReason::ForcedClose,
            CloseReason::TransportClose
            | CloseReason::TransportLost
            | CloseReason::TransportError(PollLost | PostLost)
            | CloseReason::ForcedClose => CloseReason::TransportLost,
            reason => reason,
        }
    }

    // Announcements: each is made once, when its condition becomes true.

    /// Announces that there are frames to pull from a channel.
    pub(crate) fn announce_frames(&mut self, channel: ChannelId) {
        if !core::mem::replace(&mut self.frames_announced, true) {
            self.outputs.channel_ready(channel);
        }
    }

    /// Notes that all frames were pulled, so that the next ones are announced.
    pub(crate) fn frames_pulled(&mut self) {
        self.frames_announced = false;
    }

    /// Announces whether the channel should be read.
    pub(crate) fn announce_reading(&mut self, channel: ChannelId, enabled: bool) {
        if self.reading_stopped == enabled {
            self.reading_stopped = !enabled;
            self.output(O::channel_read(channel, enabled));
        }
    }

    /// Returns whether the embedder should read from the channel.
    pub(crate) const fn is_reading(&self) -> bool {
        !self.reading_stopped
    }

    /// Announces what concerns the application.
    #[inline]
    pub(crate) fn announce(&mut self, limits: Limits) {
        self.heartbeat_announced = false;
        if let Some(event) = self.inbox.take_event() {
            self.emit(event);
        }
        if self.outbox.take_writable(limits.send_low) {
            self.emit(Event::Writable);
        }
        if self.outbox.take_awaited() {
            self.emit(Event::Written);
        }
        match self.end {
            End::New(reason) | End::Ended(reason) if self.inbox.is_empty() => {
                self.end = End::Closed(reason);
                self.emit(Event::Closed(reason));
            }
            End::New(reason) => {
                self.end = End::Ended(reason);
                self.emit(Event::Ended(reason));
            }
            End::Open | End::Ended(_) | End::Closed(_) => (),
        }
    }

    // State.

    pub(crate) fn stats(&self) -> Stats {
        Stats {
            messages_received: self.inbox.received(),
            bytes_received: self.inbox.received_bytes(),
            messages_accepted: self.outbox.accepted(),
            messages_sent: self.outbox.handed_over(),
            messages_written: self.outbox.written(),
            bytes_sent: self.sent_bytes,
            heartbeats_sent: self.heartbeats_sent,
            heartbeats_received: self.heartbeats_received,
        }
    }

    /// The laws of the flow.
    pub(crate) fn laws(&self, limits: Limits) -> [(&'static str, bool); 5] {
        [
            ("byte counts are exact, cursors in order", self.inbox.is_exact() && self.outbox.is_exact()),
            ("the send buffer is within its limit plus one message", self.outbox.is_within(limits.send)),
            ("the receive buffer is within its limit plus one message", self.inbox.is_within(limits.receive)),
            ("messages are announced", !self.inbox.is_untold()),
            ("what the application waits for is announced", !self.outbox.owes_event(limits.send_low)),
        ]
    }

    /// Returns whether frames were announced and not all of them were pulled.
    pub(crate) const fn are_frames_announced(&self) -> bool {
        self.frames_announced
    }

    /// Returns the capacities of all queues, for tests of memory.
    #[cfg(test)]
    pub(crate) fn capacities(&self) -> [usize; 4] {
        let [messages, frames] = self.inbox.capacities();
        [messages, frames, self.outbox.capacity(), self.outputs.capacity()]
    }

    /// Returns the number of messages that wait on both sides.
    #[cfg(debug_assertions)]
    pub(crate) fn len(&self) -> usize {
        self.inbox.len().saturating_add(self.outbox.len())
    }
}
