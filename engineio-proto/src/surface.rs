//! The methods that [`Session`](crate::Session) and [`Client`](crate::Client) have in common, word for word: the
//! interface for the embedder and the application, and the mechanics below it. Each machine contains its own decisions.

/// What a machine has done. Most steps are those of messages that stream through a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// A message arrived, and was delivered.
    Received,
    /// The application took a message, or there was none to take.
    Taken,
    /// A message to send was accepted, or refused.
    Accepted,
    /// A channel pulled a frame, or there was none to pull.
    HandedOver,
    /// A channel has written frames, or an answer is written.
    Written,
    /// The head of a POST arrived, or was refused.
    Announced,
    /// Anything else.
    Other,
}

/// The methods that both machines have. `$output` is the type of the machine's outputs.
///
/// A machine provides `config`, `now`, `stage`, `closing`, `transport`, `upgraded` and `flow`; the functions `converge`,
/// `state`, `phase`, `accepts_messages`, `current_channel`, `channel_frame`, `has_frames`,
/// `heartbeat_wants_written`, `is_reading`, `note_written`, `pull` and `check`; and the types `Stage` and `Trigger`.
macro_rules! surface {
    ($machine:ident, $output:ty) => {
        impl $machine {
            // Outputs.

            /// Returns the next output, in order. Pull until it returns `None`.
            #[inline]
            pub fn poll_output(&mut self) -> Option<$output> {
                self.flow.poll_output()
            }

            /// Returns whether [`poll_output`](Self::poll_output) has an output.
            #[inline]
            pub fn has_output(&self) -> bool {
                self.flow.has_output()
            }

            /// Returns whether nothing is left to do: [`Event::Closed`](crate::Event::Closed) and everything before it
            /// was pulled.
            pub fn is_finished(&self) -> bool {
                self.flow.is_finished()
            }

            /// Sets whether [`Event::Flush`](crate::Event::Flush) and [`Event::Drain`](crate::Event::Drain) are outputs,
            /// which they are at first. An embedder whose application does not want them saves their cost.
            pub fn observe_writes(&mut self, observes: bool) {
                self.flow.observe_writes(observes);
            }

            // The channel.

            /// Returns the next frame to write to a channel. After the output `ChannelReady`, pull while there is room,
            /// until it returns `None`.
            pub fn next_frame(
                &mut self,
                now: crate::Instant,
                channel: crate::ChannelId,
            ) -> Option<crate::wire::Frame> {
                self.hand_over(now, channel)
            }

            /// Passes frames to `take` while fewer than `room` bytes were taken; an empty frame counts as one byte. Returns
            /// whether all frames were taken; if not, another call is needed when there is room again.
            ///
            /// The same as a call of [`next_frame`](Self::next_frame) for each frame.
            pub fn next_frames(
                &mut self,
                now: crate::Instant,
                channel: crate::ChannelId,
                room: usize,
                mut take: impl FnMut(crate::wire::Frame),
            ) -> bool {
                let mut room = room;
                while room > 0 {
                    let Some(frame) = self.hand_over(now, channel) else { return true };
                    room = room.saturating_sub(frame.len().max(1));
                    take(frame);
                }
                false
            }

            /// Reports complete messages of a channel, in order. The same as one input `ChannelFrame` for each.
            pub fn channel_frames(
                &mut self,
                now: crate::Instant,
                channel: crate::ChannelId,
                frames: impl IntoIterator<Item = crate::wire::Frame>,
            ) {
                for frame in frames {
                    self.advance(now);
                    let step = self.channel_frame(channel, frame);
                    self.settle_after(step);
                }
            }

            /// Reports that a channel has written messages. The same as the input `ChannelWritten`.
            pub fn channel_written(&mut self, now: crate::Instant, channel: crate::ChannelId, messages: u64) {
                self.advance(now);
                let counts = self.stage.carrier() == Some(channel);
                if counts && self.flow.outbox.set_written_on_channel(messages) {
                    self.note_written();
                }
                self.settle_after(Step::Written);
            }

            /// Returns whether another frame of this channel may be passed to the session. Further frames are kept all
            /// the same, but then memory grows.
            pub fn wants_frames(&self, channel: crate::ChannelId) -> bool {
                self.current_channel() == Some(channel) && self.flow.is_reading()
            }

            /// Returns whether frames that were pulled should be reported as written as soon as they are. If not, the
            /// report may wait for the next input of the channel.
            pub fn wants_written(&self) -> bool {
                let outbox = &self.flow.outbox;
                let urgent = outbox.is_awaited() || self.closing.is_some() || self.heartbeat_wants_written();
                self.state() == State::Channel && urgent && outbox.written() < outbox.handed_over()
            }

            // The application.

            /// Returns whether a message would be accepted now. If not, [`Event::Writable`](crate::Event::Writable)
            /// follows when there is room. A session that accepts no more messages returns `true`, so that nothing
            /// waits for it.
            pub fn poll_ready(&mut self) -> bool {
                let ready = !self.accepts_messages() || self.flow.outbox.cost() < self.config.send_limit;
                if !ready {
                    self.flow.outbox.wait_for_room();
                }
                ready
            }

            /// Returns whether the first `messages` messages of the session are written; see
            /// [`Stats::messages_accepted`](crate::Stats::messages_accepted) and
            /// [`Stats::messages_written`](crate::Stats::messages_written). If not, and if the session has not ended,
            /// [`Event::Written`](crate::Event::Written) follows when they are.
            pub fn poll_written(&mut self, messages: u64) -> bool {
                self.flow.poll_written(messages)
            }

            /// Takes the next received message. After [`Event::Readable`](crate::Event::Readable), call this until it
            /// returns `None`.
            pub fn recv(&mut self, now: crate::Instant) -> Option<crate::Message> {
                self.advance(now);
                let message = self.flow.inbox.take();
                self.settle_after(Step::Taken);
                message
            }

            /// Passes received messages to `take` while fewer than `messages` were taken and they have fewer than `bytes`
            /// bytes of data. Returns whether all messages were taken; if not, the others can be taken later, and
            /// [`Event::Readable`](crate::Event::Readable) is not repeated for them.
            ///
            /// The same as a call of [`recv`](Self::recv) for each message.
            pub fn recv_many(
                &mut self,
                now: crate::Instant,
                messages: usize,
                bytes: usize,
                mut take: impl FnMut(crate::Message),
            ) -> bool {
                self.advance(now);
                if self.is_settled_after(Step::Taken) {
                    let is_last = self.flow.inbox.take_many(messages, bytes, take);
                    self.settle_after(Step::Taken);
                    return is_last;
                }
                // More data may be decoded into the room of every message.
                let (mut count, mut len) = (0, 0_usize);
                let mut is_last = false;
                while count < messages && len < bytes && !is_last {
                    match self.flow.inbox.take() {
                        Some(message) => {
                            count += 1;
                            len = len.saturating_add(message.len());
                            take(message);
                        }
                        None => is_last = true,
                    }
                    self.settle();
                }
                self.settle_after(Step::Taken);
                is_last
            }

            /// Returns whether received data waits to be decoded until there is room for its messages.
            pub fn has_undecoded(&self) -> bool {
                self.flow.inbox.has_undecoded()
            }

            /// Drops the messages that have arrived, and those that will arrive. Call this if [`recv`](Self::recv) will
            /// not be called any more; the session then ends without waiting for its messages to be taken.
            pub fn discard_incoming(&mut self) {
                self.flow.inbox.discard();
                self.settle();
            }

            // State.

            /// Returns the messages that were not handed to a transport. They are kept after the end of the session,
            /// until the machine is dropped. Messages that were handed over and not written are not included: they may
            /// have arrived.
            pub fn unsent(&self) -> impl Iterator<Item = &crate::Message> {
                self.flow.outbox.iter()
            }

            /// Returns the current transport, or the one on which a client tries to open the session. After the end,
            /// the last one.
            pub fn transport(&self) -> crate::TransportKind {
                self.transport
            }

            /// Returns whether the session has changed its transport.
            pub fn upgraded(&self) -> bool {
                self.upgraded
            }

            /// Returns why the session has ended, if it has.
            pub fn close_reason(&self) -> Option<crate::CloseReason> {
                self.flow.close_reason()
            }

            /// Returns the counters of the session.
            pub fn stats(&self) -> crate::Stats {
                self.flow.stats()
            }

            /// Returns the number of messages that were handed over; see
            /// [`Stats::messages_sent`](crate::Stats::messages_sent).
            #[inline]
            pub fn messages_sent(&self) -> u64 {
                self.flow.outbox.handed_over()
            }

            /// Returns the size of the messages that wait to be handed over, in bytes; see
            /// [`Message::cost`](crate::Message::cost).
            pub fn send_buffered(&self) -> usize {
                self.flow.outbox.cost()
            }

            /// Returns the size of the messages that wait to be taken, in bytes; see
            /// [`Message::cost`](crate::Message::cost).
            pub fn receive_buffered(&self) -> usize {
                self.flow.inbox.cost()
            }

            // The mechanics.

            #[inline(always)]
            fn hand_over(&mut self, now: crate::Instant, channel: crate::ChannelId) -> Option<crate::wire::Frame> {
                self.advance(now);
                let is_current = self.current_channel() == Some(channel);
                let frame = if is_current { self.pull() } else { None };
                if is_current && frame.is_none() {
                    self.flow.frames_pulled();
                }
                self.settle_after(Step::HandedOver);
                frame
            }

            /// Clamps and stores the time.
            #[inline]
            fn advance(&mut self, now: crate::Instant) -> crate::Instant {
                self.now = self.now.max(now);
                self.now
            }

            /// Follows a transition of the table, to a stage made from the previous one. Without a transition nothing
            /// happens.
            fn shift(&mut self, trigger: Trigger, enter: impl FnOnce(Stage) -> Stage) -> bool {
                let from = self.state();
                let Some(to) = from.next(trigger) else { return false };
                #[cfg(feature = "tracing")]
                tracing::trace!(sid = ?self.sid(), ?from, ?trigger, ?to);
                self.stage = enter(core::mem::replace(&mut self.stage, Stage::Closed { last: None }));
                debug_assert_eq!(self.state(), to);
                true
            }

            /// Returns whether the peer's packets cannot reach this side because the application is slow.
            fn reading_paused(&self) -> bool {
                let inbox = &self.flow.inbox;
                !inbox.has_room(self.config.receive_limit) && (inbox.has_body() || self.state() == State::Channel)
            }

            /// Brings the machine to its fixed point, and announces what has changed. Every call ends here, or with
            /// `settle_after`.
            #[inline(never)]
            fn settle(&mut self) {
                self.converge();
                self.announce();
                self.debug_check();
            }

            /// Settles after a step. While messages stream through a channel, nothing follows from most of them.
            #[inline(always)]
            fn settle_after(&mut self, step: Step) {
                if self.is_settled_after(step) {
                    self.debug_check_settled();
                } else if self.is_streaming() {
                    self.announce();
                    self.debug_check_settled();
                } else {
                    self.settle();
                }
            }

            /// Returns whether `settle` has nothing to do after this step. The answer `false` is always right: it costs
            /// time only.
            ///
            /// Every call leaves the machine settled, so that only what follows from the step itself needs a look.
            #[inline]
            fn is_settled_after(&self, step: Step) -> bool {
                let flow = &self.flow;
                if self.is_resting() {
                    return match step {
                        Step::Taken | Step::Announced => true,
                        Step::Accepted | Step::Written => !self.is_asked(),
                        Step::Received | Step::HandedOver | Step::Other => false,
                    };
                }
                matches!(self.stage, Stage::Channel(_))
                    && self.closing.is_none()
                    && match step {
                        Step::Received => {
                            let is_full = !flow.inbox.has_room(self.config.receive_limit);
                            // A client in doubt about its server hands messages over again.
                            let may_resume = !flow.are_frames_announced() && !flow.outbox.is_empty();
                            !is_full && !may_resume && !flow.inbox.is_untold()
                        }
                        Step::Taken => flow.is_reading() && !flow.inbox.has_undecoded(),
                        Step::Accepted => flow.are_frames_announced(),
                        Step::HandedOver | Step::Written => !flow.outbox.is_due(),
                        Step::Announced | Step::Other => false,
                    }
            }

            /// Returns whether `converge` has nothing to do: the machine is on a channel, nothing waits to be decoded, there is
            /// room for more, and the application has not closed the session.
            fn is_streaming(&self) -> bool {
                let inbox = &self.flow.inbox;
                let has_room = inbox.has_room(self.config.receive_limit) && !inbox.has_undecoded();
                matches!(self.stage, Stage::Channel(_)) && self.closing.is_none() && has_room
            }

            /// Checks that the early exit has left nothing undone: in debug builds by the laws, in the tests of this crate also
            /// by comparison with the whole of `settle`.
            #[inline]
            fn debug_check_settled(&self) {
                #[cfg(test)]
                {
                    let mut settled = self.clone();
                    settled.settle();
                    assert_eq!(*self, settled, "there is more to settle");
                }
                self.debug_check();
            }

            /// Announces what has changed: the last step of `settle`.
            #[inline(never)]
            fn announce(&mut self) {
                if let Some(channel) = self.current_channel() {
                    if self.has_frames() {
                        self.flow.announce_frames(channel);
                    }
                    if self.state() == State::Channel {
                        let reading = self.is_reading();
                        self.flow.announce_reading(channel, reading);
                    }
                }
                self.flow.announce(self.config.limits());
            }

            /// Checks the laws after every call in debug builds, unless long queues would make that slow.
            fn debug_check(&self) {
                #[cfg(debug_assertions)]
                if self.flow.len() <= 256 {
                    let result = self.check();
                    debug_assert!(result.is_ok(), "{result:?} in {self:#?}");
                }
            }
        }

        impl Stage {
            /// The channel that carries messages. After the end, the last one: its last frames may be written then.
            const fn carrier(&self) -> Option<crate::ChannelId> {
                match self {
                    Self::Channel(line) => Some(line.channel()),
                    Self::Closed { last } => *last,
                    _ => None,
                }
            }
        }
    };
}

pub(crate) use surface;
