//! What [`Session`](crate::Session) and [`Client`](crate::Client) have in common, word for word: their surface towards the
//! embedder and the application, and the mechanics below. Each decision stands with the machine that takes it.

/// The methods that both machines have. `$output` is what the machine asks of its embedder.
///
/// A machine brings `config`, `now`, `stage`, `transport`, `upgraded` and `flow`; the functions `settle`, `state`, `phase`,
/// `accepts_messages`, `current_channel`, `has_frames`, `is_reading`, `note_written`, `pull` and `check`; and the types `Stage` and
/// `Trigger`.
macro_rules! surface {
    ($machine:ident, $output:ty) => {
        impl $machine {
            // Outputs.

            /// The next thing to do, in order. Pull until there is nothing.
            pub fn poll_output(&mut self) -> Option<$output> {
                self.flow.poll_output()
            }

            /// Whether [`poll_output`](Self::poll_output) has something.
            pub fn has_output(&self) -> bool {
                self.flow.has_output()
            }

            /// Whether nothing is left to do: [`Event::Closed`](crate::Event::Closed) and everything before it was
            /// pulled.
            pub fn is_finished(&self) -> bool {
                self.flow.is_finished()
            }

            // The channel.

            /// The next frame to write to a channel. After the output `ChannelReady`, pull while there is room, until
            /// `None`.
            pub fn next_frame(
                &mut self,
                now: crate::Instant,
                channel: crate::ChannelId,
            ) -> Option<crate::wire::Frame> {
                self.advance(now);
                if self.current_channel() != Some(channel) {
                    return None;
                }
                let frame = self.pull();
                if frame.is_none() {
                    self.flow.frames_pulled();
                }
                self.settle();
                frame
            }

            /// Whether another frame of this channel may be given to the session. A frame that comes all the same is
            /// kept, but then the embedder lets memory grow.
            pub fn wants_frames(&self, channel: crate::ChannelId) -> bool {
                self.current_channel() == Some(channel) && self.flow.is_reading()
            }

            // The application.

            /// Whether a message would be accepted now. If not, [`Event::Writable`](crate::Event::Writable) follows when
            /// there is room. A session that accepts no messages any more says yes, so that nobody waits.
            pub fn poll_ready(&mut self) -> bool {
                let ready = !self.accepts_messages() || self.flow.outbox.cost() < self.config.send_limit;
                if !ready {
                    self.flow.outbox.wait_for_room();
                }
                ready
            }

            /// Whether the first `messages` messages of the session are written; see
            /// [`Stats::messages_accepted`](crate::Stats::messages_accepted) and
            /// [`Stats::messages_written`](crate::Stats::messages_written). If not, and if the session is not over,
            /// [`Event::Written`](crate::Event::Written) follows when they are.
            pub fn poll_written(&mut self, messages: u64) -> bool {
                self.flow.poll_written(messages)
            }

            /// Takes the next message that arrived. After [`Event::Readable`](crate::Event::Readable), take until there
            /// is none.
            pub fn recv(&mut self, now: crate::Instant) -> Option<crate::Message> {
                self.advance(now);
                let message = self.flow.inbox.take();
                self.settle();
                message
            }

            /// Drops the messages that arrived, and those that will. The embedder calls this when nobody is left to call
            /// [`recv`](Self::recv); the session then ends without waiting for its messages to be taken.
            pub fn discard_incoming(&mut self) {
                self.flow.inbox.discard();
                self.settle();
            }

            // What can be looked at.

            /// The messages that were not handed to a transport. They stay after the end of the session, until the
            /// machine is dropped. A message that was handed over and not written is not among them: it may have
            /// arrived.
            pub fn unsent(&self) -> impl Iterator<Item = &crate::Message> {
                self.flow.outbox.iter()
            }

            /// The transport that the session is on, or on which a client tries to open it. After the end, the last one.
            pub fn transport(&self) -> crate::TransportKind {
                self.transport
            }

            /// Whether the session changed its transport.
            pub fn upgraded(&self) -> bool {
                self.upgraded
            }

            /// Why the session is over, if it is.
            pub fn close_reason(&self) -> Option<crate::CloseReason> {
                self.flow.close_reason()
            }

            /// What was counted so far.
            pub fn stats(&self) -> crate::Stats {
                self.flow.stats()
            }

            /// Bytes (see [`Message::cost`](crate::Message::cost)) that wait to be handed to a transport.
            pub fn send_buffered(&self) -> usize {
                self.flow.outbox.cost()
            }

            /// Bytes (see [`Message::cost`](crate::Message::cost)) that wait to be taken by the application.
            pub fn receive_buffered(&self) -> usize {
                self.flow.inbox.cost()
            }

            // The mechanics.

            /// Clamps and keeps the time.
            fn advance(&mut self, now: crate::Instant) -> crate::Instant {
                self.now = self.now.max(now);
                self.now
            }

            /// Moves along the table of transitions, to a stage made of the one before. Without a row nothing happens.
            fn shift(&mut self, trigger: Trigger, enter: impl FnOnce(Stage) -> Stage) -> bool {
                let from = self.state();
                let Some(to) = from.next(trigger) else { return false };
                #[cfg(feature = "tracing")]
                tracing::trace!(sid = ?self.sid(), ?from, ?trigger, ?to);
                self.stage = enter(core::mem::replace(&mut self.stage, Stage::Closed { last: None }));
                debug_assert_eq!(self.state(), to);
                true
            }

            /// The connection of a channel took frames.
            fn channel_written(&mut self, channel: crate::ChannelId, messages: u64) {
                let counts = self.stage.carrier() == Some(channel);
                if counts && self.flow.outbox.set_written_on_channel(messages) {
                    self.note_written();
                }
            }

            /// Announces what has become true. The last step of `settle`.
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
                self.debug_check();
            }

            /// In debug builds every call ends with a check, unless long queues would make that slow.
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
