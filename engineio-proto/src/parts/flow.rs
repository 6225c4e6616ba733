//! The plumbing of one session, the same on both sides: what arrived and what is to leave, what the embedder and the
//! application were told, what was counted, and how the session ended.
//!
//! Nothing here decides about the protocol. A machine changes the flow, and at the end of each call announces what has
//! become true of it.

use alloc::collections::VecDeque;

use crate::parts::buffer::{Room, pop_and_shrink};
use crate::parts::event::{ChannelId, CloseReason, Event, TransportError};
use crate::parts::inbox::Inbox;
use crate::parts::outbox::Outbox;
use crate::parts::stats::Stats;
use crate::wire::message::Message;

/// What both sides ask of an embedder.
pub(crate) trait Output {
    fn channel_ready(channel: ChannelId) -> Self;
    fn channel_read(channel: ChannelId, enabled: bool) -> Self;
    fn channel_close(channel: ChannelId) -> Self;
    fn event(event: Event) -> Self;
}

/// The limits of a session in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Above it no more messages to send are accepted.
    pub(crate) send: usize,
    /// Down to it a full send buffer must empty before there is room again.
    pub(crate) send_low: usize,
    /// Above it nothing more is decoded.
    pub(crate) receive: usize,
}

/// The plumbing of one session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Flow<O> {
    pub(crate) inbox: Inbox,
    pub(crate) outbox: Outbox,
    outputs: VecDeque<O>,
    /// That there are frames to pull was announced, and they were not all pulled since.
    frames_announced: bool,
    /// The embedder was asked to stop reading from the channel.
    reading_stopped: bool,
    /// A heartbeat was announced while what waits is being handled.
    heartbeat_announced: bool,
    end: End,
    sent_bytes: u64,
    heartbeats_sent: u32,
    heartbeats_received: u32,
}

/// Whether a session is over, and who knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// It is not over.
    Open,
    /// It is over; nothing was announced.
    New(CloseReason),
    /// [`Event::Ended`] was announced. Messages are still to be taken.
    Ended(CloseReason),
    /// [`Event::Closed`] was announced.
    Closed(CloseReason),
}

/// An output queue that grew beyond this gives its memory back when it is empty.
const KEEP_OUTPUTS: usize = 8;

impl<O: Output> Flow<O> {
    pub(crate) fn new() -> Self {
        Self {
            inbox: Inbox::default(),
            outbox: Outbox::default(),
            outputs: VecDeque::new(),
            frames_announced: false,
            reading_stopped: false,
            heartbeat_announced: false,
            end: End::Open,
            sent_bytes: 0,
            heartbeats_sent: 0,
            heartbeats_received: 0,
        }
    }

    // Outputs.

    pub(crate) fn output(&mut self, output: O) {
        self.outputs.push_back(output);
    }

    pub(crate) fn emit(&mut self, event: Event) {
        self.outputs.push_back(O::event(event));
    }

    pub(crate) fn poll_output(&mut self) -> Option<O> {
        pop_and_shrink(&mut self.outputs, KEEP_OUTPUTS)
    }

    pub(crate) fn has_output(&self) -> bool {
        !self.outputs.is_empty()
    }

    // What is to leave.

    /// Whether these messages may be accepted now. If not, and if there will be room later, the application waits for it
    /// from here on.
    pub(crate) fn room_for(&mut self, messages: &[Message], limits: Limits) -> Room {
        let room = self.outbox.room_for(messages, limits.send);
        if room == Room::Later {
            self.outbox.wait_for_room();
        }
        room
    }

    /// Accepts messages for which there is room.
    pub(crate) fn accept(&mut self, messages: impl IntoIterator<Item = Message>) {
        messages.into_iter().for_each(|message| self.outbox.accept(message));
    }

    /// Hands the next message over.
    pub(crate) fn hand_over(&mut self) -> Option<Message> {
        let message = self.outbox.hand_over()?;
        self.sent_bytes += message.len() as u64;
        Some(message)
    }

    /// Whether so many messages are written. If not, and if the session is not over, that will be announced.
    pub(crate) fn poll_written(&mut self, messages: u64) -> bool {
        match self.end {
            End::Open => self.outbox.poll_written(messages),
            End::New(_) | End::Ended(_) | End::Closed(_) => self.outbox.written() >= messages,
        }
    }

    /// Hands a heartbeat over.
    pub(crate) fn count_heartbeat_sent(&mut self) {
        self.heartbeats_sent = self.heartbeats_sent.saturating_add(1);
    }

    // What arrived.

    /// A heartbeat arrived. Very many that are handled together are announced once, and only if they are `news`.
    pub(crate) fn heartbeat_received(&mut self, news: bool) {
        self.heartbeats_received = self.heartbeats_received.saturating_add(1);
        if news && !core::mem::replace(&mut self.heartbeat_announced, true) {
            self.emit(Event::Heartbeat);
        }
    }

    // The end.

    /// The session is over. The first reason counts.
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

    /// Whether [`Event::Closed`] and everything before it was pulled.
    pub(crate) fn is_finished(&self) -> bool {
        matches!(self.end, End::Closed(_)) && self.outputs.is_empty()
    }

    /// The true reason of an end that comes while the session is `closing` in order: the end that the application asked
    /// for, if everything that it sent is written; else the loss.
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

    // Announcements: each is made once, when it has become true.

    /// There are frames to pull from a channel.
    pub(crate) fn announce_frames(&mut self, channel: ChannelId) {
        if !core::mem::replace(&mut self.frames_announced, true) {
            self.output(O::channel_ready(channel));
        }
    }

    /// All frames were pulled: the next ones are announced again.
    pub(crate) fn frames_pulled(&mut self) {
        self.frames_announced = false;
    }

    /// The channel should be read, or should not.
    pub(crate) fn announce_reading(&mut self, channel: ChannelId, enabled: bool) {
        if self.reading_stopped == enabled {
            self.reading_stopped = !enabled;
            self.output(O::channel_read(channel, enabled));
        }
    }

    /// Whether the embedder is to read from the channel.
    pub(crate) const fn is_reading(&self) -> bool {
        !self.reading_stopped
    }

    /// Announces what concerns the application.
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

    // What can be looked at.

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
    pub(crate) fn laws(&self, limits: Limits) -> [(&'static str, bool); 4] {
        [
            ("byte counts are exact, cursors in order", self.inbox.is_exact() && self.outbox.is_exact()),
            ("the send buffer is within its limit plus one message", self.outbox.is_within(limits.send)),
            ("the receive buffer is within its limit plus one message", self.inbox.is_within(limits.receive)),
            ("messages are announced", !self.inbox.is_untold()),
        ]
    }

    /// Whether frames were announced that were not all pulled.
    pub(crate) const fn are_frames_announced(&self) -> bool {
        self.frames_announced
    }

    /// The capacities of all queues, for the tests of memory.
    #[cfg(test)]
    pub(crate) fn capacities(&self) -> [usize; 4] {
        let [messages, frames] = self.inbox.capacities();
        [messages, frames, self.outbox.capacity(), self.outputs.capacity()]
    }

    /// How many messages wait on both sides.
    #[cfg(debug_assertions)]
    pub(crate) fn len(&self) -> usize {
        self.inbox.len().saturating_add(self.outbox.len())
    }
}
