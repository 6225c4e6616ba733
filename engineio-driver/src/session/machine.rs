//! What the machines of both sides have in common. Everything here is passed on, nothing decided.

use engineio_proto as proto;
use engineio_proto::client::Details;
use engineio_proto::server::Input;
use engineio_proto::wire::Frame;
use engineio_proto::{
    ChannelEnd, ChannelId, Client, Instant, Message, Phase, SendError, Session, Stats, TransportKind,
};

/// A session of a server, or of a client.
pub(crate) trait Machine {
    fn phase(&self) -> Phase;
    fn transport(&self) -> TransportKind;
    fn upgraded(&self) -> bool;
    fn stats(&self) -> Stats;
    /// How many messages have left, or were handed to a channel. What a client has posted has not left before its answer.
    fn handed_over(&self) -> u64;
    fn details(&self) -> Option<&Details>;
    fn send_buffered(&self) -> usize;
    fn receive_buffered(&self) -> usize;
    fn current_channel(&self) -> Option<ChannelId>;
    fn wants_frames(&self, channel: ChannelId) -> bool;
    fn send(&mut self, now: Instant, message: Message) -> Result<(), SendError>;
    fn send_all(&mut self, now: Instant, messages: Vec<Message>) -> Result<(), SendError<Vec<Message>>>;
    fn poll_ready(&mut self) -> bool;
    fn recv(&mut self, now: Instant) -> Option<Message>;
    fn close(&mut self, now: Instant);
    fn abort(&mut self, now: Instant);
    fn discard_incoming(&mut self);
    fn next_frame(&mut self, now: Instant, channel: ChannelId) -> Option<Frame>;
    fn channel_frame(&mut self, now: Instant, channel: ChannelId, frame: Frame);
    fn channel_closed(&mut self, now: Instant, channel: ChannelId, end: ChannelEnd, details: Option<Details>);
}

macro_rules! common {
    () => {
        fn phase(&self) -> Phase {
            self.phase()
        }

        fn transport(&self) -> TransportKind {
            self.transport()
        }

        fn upgraded(&self) -> bool {
            self.upgraded()
        }

        fn stats(&self) -> Stats {
            self.stats()
        }

        fn send_buffered(&self) -> usize {
            self.send_buffered()
        }

        fn receive_buffered(&self) -> usize {
            self.receive_buffered()
        }

        fn current_channel(&self) -> Option<ChannelId> {
            self.current_channel()
        }

        fn wants_frames(&self, channel: ChannelId) -> bool {
            self.wants_frames(channel)
        }

        fn poll_ready(&mut self) -> bool {
            self.poll_ready()
        }

        fn recv(&mut self, now: Instant) -> Option<Message> {
            self.recv(now)
        }

        fn close(&mut self, now: Instant) {
            self.close(now);
        }

        fn abort(&mut self, now: Instant) {
            self.abort(now);
        }

        fn discard_incoming(&mut self) {
            self.discard_incoming();
        }

        fn next_frame(&mut self, now: Instant, channel: ChannelId) -> Option<Frame> {
            self.next_frame(now, channel)
        }
    };
}

impl Machine for Session {
    common!();

    fn handed_over(&self) -> u64 {
        self.stats().messages_sent
    }

    fn details(&self) -> Option<&Details> {
        None
    }

    fn send(&mut self, _: Instant, message: Message) -> Result<(), SendError> {
        self.send(message)
    }

    fn send_all(&mut self, _: Instant, messages: Vec<Message>) -> Result<(), SendError<Vec<Message>>> {
        self.send_all(messages)
    }

    fn channel_frame(&mut self, now: Instant, channel: ChannelId, frame: Frame) {
        self.handle_input(now, Input::ChannelFrame { channel, frame });
    }

    fn channel_closed(&mut self, now: Instant, channel: ChannelId, end: ChannelEnd, _: Option<Details>) {
        self.handle_input(now, Input::ChannelClosed { channel, end });
    }
}

impl Machine for Client {
    common!();

    fn handed_over(&self) -> u64 {
        self.messages_posted()
    }

    fn details(&self) -> Option<&Details> {
        self.details()
    }

    fn send(&mut self, now: Instant, message: Message) -> Result<(), SendError> {
        self.send(now, message)
    }

    fn send_all(&mut self, now: Instant, messages: Vec<Message>) -> Result<(), SendError<Vec<Message>>> {
        self.send_all(now, messages)
    }

    fn channel_frame(&mut self, now: Instant, channel: ChannelId, frame: Frame) {
        self.handle_input(now, proto::client::Input::ChannelFrame { channel, frame });
    }

    fn channel_closed(&mut self, now: Instant, channel: ChannelId, end: ChannelEnd, details: Option<Details>) {
        self.handle_input(now, proto::client::Input::ChannelClosed { channel, end, details });
    }
}
