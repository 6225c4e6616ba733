//! The common interface of both machines, for drivers that work with either side.

use alloc::vec::Vec;

use crate::client::Client;
use crate::client::event::Details;
use crate::parts::event::{ChannelEnd, ChannelId, CloseReason};
use crate::parts::phase::Phase;
use crate::parts::send::SendError;
use crate::parts::stats::Stats;
use crate::parts::time::Instant;
use crate::parts::transport::TransportKind;
use crate::session::Session;
use crate::wire::frame::Frame;
use crate::wire::message::Message;
use crate::{client, server};

mod sealed {
    pub trait Sealed {}
    impl Sealed for crate::Session {}
    impl Sealed for crate::Client {}
}

/// One session, of either side: a server's [`Session`] or a [`Client`].
///
/// The machines document the methods. What only one side has, such as requests, goes through [`Session::handle_input`]
/// and [`Client::handle_input`].
///
/// ```
/// use engineio_proto::{Instant, Machine, Message};
///
/// /// Sends back everything that arrived.
/// fn echo(machine: &mut dyn Machine, now: Instant) {
///     while let Some(message) = machine.recv(now) {
///         if machine.send(now, message).is_err() {
///             machine.abort(now);
///         }
///     }
/// }
/// ```
pub trait Machine: sealed::Sealed {
    /// See [`Session::phase`].
    fn phase(&self) -> Phase;
    /// See [`Session::transport`].
    fn transport(&self) -> TransportKind;
    /// See [`Session::upgraded`].
    fn upgraded(&self) -> bool;
    /// See [`Session::current_channel`].
    fn current_channel(&self) -> Option<ChannelId>;
    /// See [`Session::stats`].
    fn stats(&self) -> Stats;
    /// See [`Session::messages_sent`].
    fn messages_sent(&self) -> u64;
    /// See [`Session::close_reason`].
    fn close_reason(&self) -> Option<CloseReason>;
    /// See [`Client::details`]. `None` for a server's session.
    fn details(&self) -> Option<&Details>;
    /// See [`Session::send_buffered`].
    fn send_buffered(&self) -> usize;
    /// See [`Session::receive_buffered`].
    fn receive_buffered(&self) -> usize;
    /// See [`Session::is_finished`].
    fn is_finished(&self) -> bool;

    /// See [`Session::send`].
    ///
    /// # Errors
    /// See there.
    fn send(&mut self, now: Instant, message: Message) -> Result<(), SendError>;
    /// See [`Session::send_all`].
    ///
    /// # Errors
    /// See there.
    fn send_all(&mut self, now: Instant, messages: Vec<Message>) -> Result<(), SendError<Vec<Message>>>;
    /// See [`Session::poll_ready`].
    fn poll_ready(&mut self) -> bool;
    /// See [`Session::poll_written`].
    fn poll_written(&mut self, messages: u64) -> bool;
    /// See [`Session::recv`].
    fn recv(&mut self, now: Instant) -> Option<Message>;
    /// See [`Session::recv_many`].
    fn recv_many(&mut self, now: Instant, messages: usize, bytes: usize, take: &mut dyn FnMut(Message)) -> bool;
    /// See [`Session::has_undecoded`].
    fn has_undecoded(&self) -> bool;
    /// Returns whether [`close`](Self::close) would drop the received messages that were not taken. A server's session
    /// drops them if it is open; a client keeps them.
    fn close_drops_messages(&self) -> bool;
    /// See [`Session::close`].
    fn close(&mut self, now: Instant);
    /// See [`Session::abort`].
    fn abort(&mut self, now: Instant);
    /// See [`Session::discard_incoming`].
    fn discard_incoming(&mut self);

    /// See [`Session::has_output`].
    fn has_output(&self) -> bool;
    /// See [`Session::observe_writes`].
    fn observe_writes(&mut self, observes: bool);
    /// Returns whether [`send`](Self::send), [`recv`](Self::recv), [`next_frame`](Self::next_frame) and
    /// [`channel_written`](Self::channel_written) depend on the time. If not, a driver need not read its clock for them:
    /// any `now` will do. See [`Session::needs_time`].
    fn needs_time(&self) -> bool;

    /// See [`Session::next_frame`].
    fn next_frame(&mut self, now: Instant, channel: ChannelId) -> Option<Frame>;
    /// See [`Session::next_frames`].
    fn next_frames(&mut self, now: Instant, channel: ChannelId, room: usize, take: &mut dyn FnMut(Frame)) -> bool;
    /// See [`Session::wants_frames`].
    fn wants_frames(&self, channel: ChannelId) -> bool;
    /// See [`Session::wants_written`].
    fn wants_written(&self) -> bool;
    /// Reports a complete message on a channel.
    fn channel_frame(&mut self, now: Instant, channel: ChannelId, frame: Frame);
    /// See [`Session::channel_frames`].
    fn channel_frames(&mut self, now: Instant, channel: ChannelId, frames: &mut dyn Iterator<Item = Frame>);
    /// Reports that a channel has written frames; see [`server::Input::ChannelWritten`].
    fn channel_written(&mut self, now: Instant, channel: ChannelId, messages: u64);
    /// Reports the end of a channel. A server's session ignores the details.
    fn channel_closed(&mut self, now: Instant, channel: ChannelId, end: ChannelEnd, details: Option<Details>);
    /// Reports that a blocked connection takes bytes again; see [`server::Input::Unblocked`].
    fn unblocked(&mut self, now: Instant);

    /// See [`Session::next_timeout`].
    fn next_timeout(&self) -> Option<Instant>;
    /// See [`Session::handle_timeout`].
    fn handle_timeout(&mut self, now: Instant);
}

/// The methods that both machines have with the same name and the same arguments.
macro_rules! same {
    ($machine:ty) => {
        fn phase(&self) -> Phase {
            <$machine>::phase(self)
        }

        fn transport(&self) -> TransportKind {
            <$machine>::transport(self)
        }

        fn upgraded(&self) -> bool {
            <$machine>::upgraded(self)
        }

        fn current_channel(&self) -> Option<ChannelId> {
            <$machine>::current_channel(self)
        }

        fn stats(&self) -> Stats {
            <$machine>::stats(self)
        }

        fn messages_sent(&self) -> u64 {
            <$machine>::messages_sent(self)
        }

        fn close_reason(&self) -> Option<CloseReason> {
            <$machine>::close_reason(self)
        }

        fn send_buffered(&self) -> usize {
            <$machine>::send_buffered(self)
        }

        fn receive_buffered(&self) -> usize {
            <$machine>::receive_buffered(self)
        }

        fn is_finished(&self) -> bool {
            <$machine>::is_finished(self)
        }
        fn has_output(&self) -> bool {
            <$machine>::has_output(self)
        }
        fn observe_writes(&mut self, observes: bool) {
            <$machine>::observe_writes(self, observes);
        }

        fn poll_ready(&mut self) -> bool {
            <$machine>::poll_ready(self)
        }

        fn poll_written(&mut self, messages: u64) -> bool {
            <$machine>::poll_written(self, messages)
        }

        fn recv(&mut self, now: Instant) -> Option<Message> {
            <$machine>::recv(self, now)
        }

        fn recv_many(&mut self, now: Instant, messages: usize, bytes: usize, take: &mut dyn FnMut(Message)) -> bool {
            <$machine>::recv_many(self, now, messages, bytes, take)
        }

        fn has_undecoded(&self) -> bool {
            <$machine>::has_undecoded(self)
        }

        fn close(&mut self, now: Instant) {
            <$machine>::close(self, now);
        }

        fn abort(&mut self, now: Instant) {
            <$machine>::abort(self, now);
        }

        fn discard_incoming(&mut self) {
            <$machine>::discard_incoming(self);
        }

        fn next_frame(&mut self, now: Instant, channel: ChannelId) -> Option<Frame> {
            <$machine>::next_frame(self, now, channel)
        }

        fn next_frames(&mut self, now: Instant, channel: ChannelId, room: usize, take: &mut dyn FnMut(Frame)) -> bool {
            <$machine>::next_frames(self, now, channel, room, take)
        }

        fn channel_frame(&mut self, now: Instant, channel: ChannelId, frame: Frame) {
            <$machine>::channel_frames(self, now, channel, [frame]);
        }

        fn channel_frames(&mut self, now: Instant, channel: ChannelId, frames: &mut dyn Iterator<Item = Frame>) {
            <$machine>::channel_frames(self, now, channel, frames);
        }

        fn channel_written(&mut self, now: Instant, channel: ChannelId, messages: u64) {
            <$machine>::channel_written(self, now, channel, messages);
        }

        fn wants_frames(&self, channel: ChannelId) -> bool {
            <$machine>::wants_frames(self, channel)
        }

        fn wants_written(&self) -> bool {
            <$machine>::wants_written(self)
        }

        fn next_timeout(&self) -> Option<Instant> {
            <$machine>::next_timeout(self)
        }

        fn handle_timeout(&mut self, now: Instant) {
            <$machine>::handle_timeout(self, now);
        }
    };
}

impl Machine for Session {
    fn close_drops_messages(&self) -> bool {
        Self::close_drops_messages(self)
    }

    fn needs_time(&self) -> bool {
        Self::needs_time(self)
    }

    same!(Session);

    fn details(&self) -> Option<&Details> {
        None
    }

    fn send(&mut self, _: Instant, message: Message) -> Result<(), SendError> {
        Self::send(self, message)
    }

    fn send_all(&mut self, _: Instant, messages: Vec<Message>) -> Result<(), SendError<Vec<Message>>> {
        Self::send_all(self, messages)
    }

    fn channel_closed(&mut self, now: Instant, channel: ChannelId, end: ChannelEnd, _: Option<Details>) {
        self.handle_input(now, server::Input::ChannelClosed { channel, end });
    }

    fn unblocked(&mut self, now: Instant) {
        self.handle_input(now, server::Input::Unblocked);
    }
}

impl Machine for Client {
    fn close_drops_messages(&self) -> bool {
        false
    }

    /// A client watches its server with every message.
    fn needs_time(&self) -> bool {
        true
    }

    same!(Client);

    fn details(&self) -> Option<&Details> {
        Self::details(self)
    }

    fn send(&mut self, now: Instant, message: Message) -> Result<(), SendError> {
        Self::send(self, now, message)
    }

    fn send_all(&mut self, now: Instant, messages: Vec<Message>) -> Result<(), SendError<Vec<Message>>> {
        Self::send_all(self, now, messages)
    }

    fn channel_closed(&mut self, now: Instant, channel: ChannelId, end: ChannelEnd, details: Option<Details>) {
        self.handle_input(now, client::Input::ChannelClosed { channel, end, details });
    }

    fn unblocked(&mut self, now: Instant) {
        self.handle_input(now, client::Input::Unblocked);
    }
}

#[cfg(test)]
mod tests;
