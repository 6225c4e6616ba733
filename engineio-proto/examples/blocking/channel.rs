//! A connection that has become a WebSocket.

use std::io::ErrorKind;
use std::mem;
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use engineio_proto::server::{Input, SessionKey};
use engineio_proto::wire::Frame;
use engineio_proto::{ChannelEnd, ChannelId};
use tungstenite::handshake::server::write_response;
use tungstenite::http::Response;
use tungstenite::protocol::{CloseFrame, Role, WebSocket};
use tungstenite::{Error, Message};

use crate::connection::{Connection, Patience, TICK};
use crate::shared::Shared;
use crate::watched::Watched;
use crate::websocket::{self, Received, received};

/// Accepts a WebSocket, and serves it until the client or the session has closed it.
pub(crate) fn serve(connection: &mut Connection, key: SessionKey, channel: ChannelId, accept: &Response<()>) {
    let shared = connection.shared;
    if accept_and_run(connection, key, channel, accept).is_err() {
        shared.input(key, Input::ChannelClosed { channel, end: ChannelEnd::Lost });
    }
    shared.wait_for_ending(channel.0, Duration::ZERO); // Otherwise it would stay in the table.
}

fn accept_and_run(
    connection: &mut Connection,
    key: SessionKey,
    channel: ChannelId,
    accept: &Response<()>,
) -> Result<(), Error> {
    let mut head = Vec::new();
    write_response(&mut head, accept)?;
    connection.write_all(Some(key), &head)?;
    // Bytes after the request are the beginning of the first frame.
    let input = mem::take(&mut connection.input);
    let shared = connection.shared;
    let config = websocket::config(shared.config().max_payload);
    let socket = WebSocket::from_partially_read(&mut connection.stream, input, Role::Server, Some(config));
    Channel { shared, key, channel, socket, written: None }.run()
}

struct Channel<'a> {
    shared: &'static Shared,
    key: SessionKey,
    channel: ChannelId,
    socket: WebSocket<&'a mut Watched<TcpStream>>,
    /// The number of written messages, which is reported at the next visit to the session, without delay.
    written: Option<u64>,
}

/// What the session requires of the channel.
enum Task {
    /// Write a frame. The number is that of the messages that are handed over with it.
    Write(Frame, u64),
    Read,
    /// Do not read, because the application is slow.
    Pause,
    Close,
}

impl Channel<'_> {
    fn run(mut self) -> Result<(), Error> {
        loop {
            match self.next_task() {
                Task::Write(frame, messages) => {
                    self.write(websocket::encode(frame))?;
                    self.written = Some(messages);
                }
                Task::Read => {
                    let read = self.socket.read();
                    self.report_unblocked(); // A read answers pings.
                    match received(read) {
                        Received::Frame(frame) => self.input(Input::ChannelFrame { channel: self.channel, frame }),
                        Received::Control | Received::Nothing => (),
                        Received::End { end, blame } => {
                            self.input(Input::ChannelClosed { channel: self.channel, end });
                            return self.close(blame);
                        }
                    }
                }
                Task::Pause => thread::sleep(TICK),
                Task::Close => return self.close(None),
            }
        }
    }

    fn next_task(&mut self) -> Task {
        let (key, channel, written) = (self.key, self.channel, self.written.take());
        self.shared.visit(|core| {
            let (now, is_closed) = (core.now, core.has_ended(channel.0));
            let Some(mut session) = core.server.session_mut(key) else { return Task::Close };
            if let Some(messages) = written {
                session.handle_input(now, Input::ChannelWritten { channel, messages });
            }
            if is_closed {
                return Task::Close;
            }
            match session.next_frame(now, channel) {
                Some(frame) => Task::Write(frame, session.stats().messages_sent),
                None if session.wants_frames(channel) => Task::Read,
                None => Task::Pause,
            }
        })
    }

    fn input(&self, input: Input) {
        self.shared.input(self.key, input);
    }

    fn report_unblocked(&mut self) {
        if self.socket.get_mut().take_unblocked() {
            self.input(Input::Unblocked);
        }
    }

    /// Writes a complete message.
    fn write(&mut self, message: Message) -> Result<(), Error> {
        let begun = self.socket.write(message);
        self.finish(begun)
    }

    /// Closes the WebSocket. Without a close frame there is no status code.
    fn close(&mut self, frame: Option<CloseFrame>) -> Result<(), Error> {
        let begun = self.socket.close(frame);
        self.finish(begun)
    }

    /// Writes what the client has not taken yet.
    fn finish(&mut self, begun: Result<(), Error>) -> Result<(), Error> {
        let mut patience = Patience::new(self.shared, Some(self.key));
        let mut result = begun.and_then(|()| self.socket.flush());
        loop {
            self.report_unblocked();
            match result {
                Err(Error::Io(error)) if error.kind() == ErrorKind::WouldBlock => patience.wait()?,
                // Both sides have closed the WebSocket.
                Err(Error::ConnectionClosed) => return Ok(()),
                result => return result,
            }
            result = self.socket.flush();
        }
    }
}
