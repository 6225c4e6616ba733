//! The WebSocket. It has its own thread, which gets commands.

use std::io::{self, ErrorKind};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use engineio_proto::client::{Details, Input};
use engineio_proto::wire::Frame;
use engineio_proto::{ChannelEnd, ChannelId};
use tungstenite::client::{IntoClientRequest, client_with_config};
use tungstenite::handshake::HandshakeError;
use tungstenite::protocol::{CloseFrame, WebSocket};
use tungstenite::{Error, Message};

use crate::request::{CONNECT_TIMEOUT, Host};
use crate::session::Reporter;
use crate::watched::Watched;
use crate::websocket::{self, Received, received};

/// How long the thread waits for the socket before it checks for commands, and the other way round.
const TICK: Duration = Duration::from_millis(10);

/// Frames are pulled while fewer bytes than this wait to be written, and one frame more. Frames that are not pulled
/// count against the session's send buffer, which slows its application down.
const WRITE_AHEAD: usize = 64 * 1024;

/// How long the server may take to close the WebSocket as well.
const FAREWELL: Duration = Duration::from_secs(1);

/// A WebSocket to open.
pub(crate) struct Opening {
    pub(crate) channel: ChannelId,
    pub(crate) target: String,
    pub(crate) host: Host,
    /// The maximum size of a message, in bytes.
    pub(crate) max_payload: usize,
    pub(crate) reporter: Reporter,
}

/// The main thread's end of a WebSocket. Dropping it closes the WebSocket.
pub(crate) struct Channel {
    id: ChannelId,
    commands: Sender<Command>,
    shared: Arc<Shared>,
}

enum Command {
    /// Write a frame. The number is that of the messages that are handed over with it.
    Write(Frame, u64),
    /// Start or stop reading.
    Read(bool),
    /// Close the WebSocket after everything is written.
    Close,
}

/// State that both threads use.
#[derive(Default)]
struct Shared {
    /// The number of bytes in frames that wait to be written.
    waiting: AtomicUsize,
    is_closed: AtomicBool,
}

impl Channel {
    pub(crate) fn open(opening: Opening) -> Self {
        let (commands, receiver) = channel();
        let shared = Arc::new(Shared::default());
        let own = Self { id: opening.channel, commands, shared: Arc::clone(&shared) };
        thread::spawn(move || {
            let (channel, reporter) = (opening.channel, opening.reporter.clone());
            let (end, details) = run(opening, receiver, shared);
            reporter.input(Input::ChannelClosed { channel, end, details });
        });
        own
    }

    pub(crate) fn id(&self) -> ChannelId {
        self.id
    }

    pub(crate) fn has_room(&self) -> bool {
        self.shared.waiting.load(Ordering::Relaxed) < WRITE_AHEAD
    }

    pub(crate) fn write(&self, frame: Frame, messages: u64) {
        self.shared.waiting.fetch_add(frame.len(), Ordering::Relaxed);
        self.command(Command::Write(frame, messages));
    }

    pub(crate) fn set_reading(&self, enabled: bool) {
        self.command(Command::Read(enabled));
    }

    pub(crate) fn close(&self) {
        self.command(Command::Close);
        self.shared.is_closed.store(true, Ordering::Relaxed);
    }

    fn command(&self, command: Command) {
        let _ = self.commands.send(command); // A thread that has ended has reported that.
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        self.close();
    }
}

type Ended = (ChannelEnd, Option<Details>);

/// Opens the WebSocket, and serves it to its end.
fn run(opening: Opening, commands: Receiver<Command>, shared: Arc<Shared>) -> Ended {
    let socket = match connect(&opening, &shared) {
        Ok(socket) => socket,
        Err(details) => return (ChannelEnd::Unopened, details),
    };
    let Opening { channel, reporter, .. } = opening;
    reporter.input(Input::ChannelOpened { channel });
    let mut open = Open { channel, reporter, commands, shared, socket };
    // If a write fails, the connection is lost.
    open.serve().unwrap_or((ChannelEnd::Lost, None))
}

type Socket = WebSocket<Watched<TcpStream>>;

/// Opens the WebSocket. The error is the answer of a server that rejects it.
fn connect(Opening { target, host, max_payload, .. }: &Opening, shared: &Shared) -> Result<Socket, Option<Details>> {
    let request = format!("ws://{}{target}", host.name).into_client_request().map_err(|_| None)?;
    let stream = tcp(host).map_err(|_| None)?;
    let mut handshake = client_with_config(request, Watched::new(stream), Some(websocket::config(*max_payload)));
    loop {
        match handshake {
            Ok((socket, _)) => return Ok(socket),
            // Nothing has arrived within a tick. The session decides how long to wait.
            Err(HandshakeError::Interrupted(_)) if shared.is_closed.load(Ordering::Relaxed) => return Err(None),
            Err(HandshakeError::Interrupted(unfinished)) => handshake = unfinished.handshake(),
            Err(HandshakeError::Failure(Error::Http(answer))) => {
                let status = answer.status().as_u16();
                let body = answer.into_body().unwrap_or_default().into();
                return Err(Some(Details::answer(status, &body)));
            }
            Err(HandshakeError::Failure(_)) => return Err(None),
        }
    }
}

fn tcp(host: &Host) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&host.address, CONNECT_TIMEOUT)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(TICK))?;
    stream.set_write_timeout(Some(TICK))?;
    Ok(stream)
}

/// An open WebSocket.
struct Open {
    channel: ChannelId,
    reporter: Reporter,
    commands: Receiver<Command>,
    shared: Arc<Shared>,
    socket: Socket,
}

impl Open {
    fn serve(&mut self) -> Result<Ended, Error> {
        let mut is_reading = true;
        loop {
            // Frames are written before frames are read.
            let patience = if is_reading { Duration::ZERO } else { TICK };
            match self.commands.recv_timeout(patience) {
                Ok(Command::Write(frame, messages)) => self.write(frame, messages)?,
                Ok(Command::Read(enabled)) => is_reading = enabled,
                Ok(Command::Close) | Err(RecvTimeoutError::Disconnected) => return self.close(),
                Err(RecvTimeoutError::Timeout) => {
                    if is_reading {
                        if let Some(ended) = self.read()? {
                            return Ok(ended);
                        }
                    }
                }
            }
        }
    }

    /// Writes a complete frame, and reports it.
    fn write(&mut self, frame: Frame, messages: u64) -> Result<(), Error> {
        let len = frame.len();
        let begun = self.socket.write(websocket::encode(frame));
        self.finish(begun)?;
        self.shared.waiting.fetch_sub(len, Ordering::Relaxed);
        self.reporter.input(Input::ChannelWritten { channel: self.channel, messages });
        Ok(())
    }

    /// Reads what arrives within a tick. Returns how the WebSocket ended, if it did.
    fn read(&mut self) -> Result<Option<Ended>, Error> {
        let read = self.socket.read();
        self.report_unblocked(); // A read answers pings.
        let details = match &read {
            Ok(Message::Close(Some(frame))) => {
                Some(Details::CloseFrame { code: frame.code.into(), reason: frame.reason.to_string() })
            }
            _ => None,
        };
        match received(read) {
            Received::Frame(frame) => {
                self.reporter.input(Input::ChannelFrame { channel: self.channel, frame });
                Ok(None)
            }
            Received::Control | Received::Nothing => Ok(None),
            Received::End { end, blame } => {
                let _ = self.close_with(blame); // The end is known, whatever becomes of this.
                Ok(Some((end, details)))
            }
        }
    }

    /// Closes the WebSocket, and waits until the server has closed it too.
    fn close(&mut self) -> Result<Ended, Error> {
        self.close_with(None)?;
        let deadline = Instant::now() + FAREWELL;
        while Instant::now() < deadline {
            if let Received::End { .. } = received(self.socket.read()) {
                break;
            }
        }
        Ok((ChannelEnd::Closed, None))
    }

    fn close_with(&mut self, frame: Option<CloseFrame>) -> Result<(), Error> {
        let begun = self.socket.close(frame);
        self.finish(begun)
    }

    /// Writes what the server has not taken yet. While the session lives, it decides how long that may take.
    fn finish(&mut self, begun: Result<(), Error>) -> Result<(), Error> {
        let mut closed = None;
        let mut result = begun.and_then(|()| self.socket.flush());
        loop {
            self.report_unblocked();
            match result {
                Err(Error::Io(error)) if error.kind() == ErrorKind::WouldBlock => {
                    if self.shared.is_closed.load(Ordering::Relaxed)
                        && closed.get_or_insert_with(Instant::now).elapsed() > FAREWELL
                    {
                        return Err(error.into());
                    }
                }
                Err(Error::ConnectionClosed) => return Ok(()),
                result => return result,
            }
            result = self.socket.flush();
        }
    }

    fn report_unblocked(&mut self) {
        if self.socket.get_mut().take_unblocked() {
            self.reporter.input(Input::Unblocked);
        }
    }
}
