//! What the programs `event_loop` and `completion` have in common, which is all but the I/O: a [`Connection`] has bytes on
//! its one side and the [`Core`] on the other.
//!
//! Whoever moves the bytes reads while [`Connection::wants_input`], tells [`Connection::receive`] what came and
//! [`Connection::written`] when `output` is written, and [`Connection::lose`] when the client is gone. Nothing grows with
//! what a client sends, or does not take: it is read only while there is use for it, and frames are pulled only while few
//! bytes wait to be written.

mod core;
mod http;
mod websocket;

use std::mem;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use engineio_proto::*;

pub(crate) use self::core::{Core, Flags};
use http::{Head, MAX_HEAD, plain};
use websocket::Codec;

/// Frames are pulled while less than this waits to be written.
const WRITE_AHEAD: usize = 32 * 1024;
/// How long a client may take for what is due from it: a request, a body, to take an answer, to say goodbye.
const PATIENCE: Duration = Duration::from_secs(30);

/// A connection without its socket.
pub(crate) struct Connection {
    index: usize,
    stage: Stage,
    /// The session that was told of an exchange or a channel with this number, and is not done with it.
    told: Option<(SessionKey, u64)>,
    input: BytesMut,
    /// To be written.
    pub(crate) output: BytesMut,
    /// Bytes in `output` that answer pings of the client. One that does not take them is not read.
    pongs: usize,
    /// There is no use for further frames at the moment.
    paused: bool,
    /// Another request may follow this one.
    keep: bool,
    deadline: Option<Instant>,
}

/// What a connection is busy with.
enum Stage {
    /// A request is on its way.
    Head,
    /// The body of a POST is on its way, of so many bytes.
    Body(usize),
    /// The session has the word. Until it answers, the client is only watched.
    Held,
    /// The answer is being written.
    Answering,
    /// Messages. Once the session is done with the channel, only the client's goodbye is awaited.
    WebSocket(Codec),
    /// What there is is written, and what comes is thrown away until the client closes: the last words might not reach it
    /// if its connection was closed while it sends.
    Lingering,
}

impl Connection {
    /// `index` is below 2³², and no other connection has it at the same time.
    pub(crate) fn new(core: &mut Core, index: usize) -> Self {
        let mut new = Self {
            index,
            stage: Stage::Head,
            told: None,
            input: BytesMut::new(),
            output: BytesMut::new(),
            pongs: 0,
            paused: false,
            keep: true,
            deadline: None,
        };
        new.enter(core, Stage::Head);
        new
    }

    /// The index of the connection that an exchange or a channel belongs to, or did.
    pub(crate) fn index_of(number: u64) -> usize {
        (number & u64::from(u32::MAX)) as usize
    }

    /// Whether an exchange or a channel is here, and the session not done with it.
    pub(crate) fn serves(&self, number: u64) -> bool {
        self.told.is_some_and(|(_, told)| told == number)
    }

    /// Whether to read: because something is due, or to notice that the client is gone.
    pub(crate) fn wants_input(&self) -> bool {
        match self.stage {
            Stage::Body(_) | Stage::Lingering => true,
            Stage::WebSocket(_) => !self.paused,
            Stage::Head | Stage::Held | Stage::Answering => self.input.len() < MAX_HEAD,
        }
    }

    /// Bytes arrived.
    pub(crate) fn receive(&mut self, core: &mut Core, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
        self.advance(core);
    }

    /// Everything in `output` is written.
    pub(crate) fn written(&mut self, core: &mut Core) {
        self.pongs = 0;
        if let Stage::Answering = self.stage {
            self.told = None;
            self.enter(core, if self.keep { Stage::Head } else { Stage::Lingering });
        }
        self.advance(core);
    }

    /// Whether nothing will be added to `output` any more. When that is written, so is everything.
    pub(crate) fn is_lingering(&self) -> bool {
        matches!(self.stage, Stage::Lingering)
    }

    /// Answers the request.
    pub(crate) fn answer(&mut self, core: &mut Core, reply: &Reply) {
        // What is not read of its body must not be taken for another request.
        self.keep &= !matches!(self.stage, Stage::Body(_)) && !reply.headers.contains(&("connection", "close"));
        http::write(reply, self.keep, &mut self.output);
        self.enter(core, Stage::Answering);
    }

    /// Closes the WebSocket behind what was pulled.
    pub(crate) fn say_goodbye(&mut self, core: &mut Core) {
        if let Stage::WebSocket(codec) = &mut self.stage {
            codec.close(&mut self.output);
        }
        self.told = None;
        self.set_deadline(core, Some(core.now() + PATIENCE));
        self.advance(core);
    }

    /// The deadline has passed. Whether the connection stays all the same, to be told why.
    pub(crate) fn expire(&mut self, core: &mut Core) -> bool {
        self.deadline = None;
        let (Stage::Body(_), Some((key, number))) = (&self.stage, self.told) else { return false };
        core.tell(key, Input::PostBody { exchange: ExchangeId(number), body: Err(BodyError::Timeout) });
        true
    }

    /// The client is gone, or dropped.
    pub(crate) fn lose(&mut self, core: &mut Core) {
        self.set_deadline(core, None);
        let Some((key, number)) = self.told.take() else { return };
        let input = match self.stage {
            Stage::WebSocket(_) => Input::ChannelClosed { channel: ChannelId(number), end: ChannelEnd::Lost },
            _ => Input::ExchangeLost { exchange: ExchangeId(number) },
        };
        core.tell(key, input);
    }

    /// Goes on as far as possible. To be called when there are frames to pull, or frames are wanted again.
    pub(crate) fn advance(&mut self, core: &mut Core) {
        match self.stage {
            Stage::Head => match Head::parse(&self.input) {
                Ok(None) => (),
                Ok(Some((head, len))) => {
                    self.input.advance(len);
                    self.begin(core, &head).unwrap_or_else(|reply| self.answer(core, &reply));
                    self.advance(core);
                }
                Err(status) => {
                    self.keep = false;
                    self.answer(core, &plain(status, ""));
                }
            },
            Stage::Body(length) => {
                let body = if length > core.server.config().max_payload {
                    self.keep = false;
                    Err(BodyError::TooLarge)
                } else if length <= self.input.len() {
                    Ok(self.input.split_to(length).freeze())
                } else {
                    return;
                };
                self.enter(core, Stage::Held);
                if let Some((key, number)) = self.told {
                    core.tell(key, Input::PostBody { exchange: ExchangeId(number), body });
                }
            }
            Stage::WebSocket(_) => {
                self.receive_frames(core);
                self.pull_frames(core);
            }
            Stage::Held | Stage::Answering => (),
            Stage::Lingering => self.input.clear(),
        }
        if self.input.is_empty() {
            self.input = BytesMut::new(); // Most connections are idle, and need no buffer.
        }
    }

    /// Brings a request to its session.
    fn begin(&mut self, core: &mut Core, head: &Head) -> Result<(), Reply> {
        self.keep = head.keep && head.length == 0;
        if !core.mount.matches(&head.path) {
            return Err(plain(404, "Not found"));
        }
        let upgrade = head.upgrade;
        let refuse = |rejection: Rejection| match upgrade {
            true => rejection.into_upgrade_reply(),
            false => Response::Rejected(rejection).into_reply(),
        };
        let request = Request { method: head.method, query: &head.query, origin: head.origin.as_deref(), upgrade };
        let number = core.number(self.index);
        let (exchange, channel) = (ExchangeId(number), ChannelId(number));
        match Route::parse(&request, core.server.config()).map_err(refuse)? {
            Route::Handshake(handshake) => {
                let accept = if upgrade { Some(head.accept()?) } else { None };
                let mut entropy = [0; 15];
                getrandom::fill(&mut entropy).map_err(|_| refuse(Rejection::NoSid))?;
                let (now, sid, channel) = (core.now(), Sid::from_entropy(entropy), upgrade.then_some(channel));
                let key = core.server.open(now, sid, &handshake, channel).map_err(refuse)?;
                self.told = Some((key, number));
                match accept {
                    Some(accept) => self.switch(core, &accept),
                    None => {
                        self.enter(core, Stage::Held);
                        core.tell(key, Input::Poll { exchange });
                    }
                }
            }
            Route::Session(request) => {
                let key = core.server.admit(&request).map_err(refuse)?;
                let input = match request.operation {
                    Operation::Poll => {
                        self.enter(core, Stage::Held);
                        Input::Poll { exchange }
                    }
                    Operation::Post => {
                        self.keep = head.keep;
                        self.enter(core, Stage::Body(head.length));
                        Input::PostHead { exchange, octet_stream: head.octet_stream }
                    }
                    Operation::Upgrade => {
                        self.switch(core, &head.accept()?);
                        Input::ChannelOpened { channel, base64: request.base64 }
                    }
                    Operation::Unsupported => return Err(Response::Unsupported.into_reply()),
                };
                self.told = Some((key, number));
                core.tell(key, input);
            }
        }
        Ok(())
    }

    /// From here on, the connection is a WebSocket.
    fn switch(&mut self, core: &mut Core, accept: &str) {
        self.output.extend_from_slice(accept.as_bytes());
        self.enter(core, Stage::WebSocket(Codec::new(core.server.config().max_payload)));
    }

    /// Hands over the frames that arrived, as long as there is use for them.
    fn receive_frames(&mut self, core: &mut Core) {
        while let Stage::WebSocket(codec) = &mut self.stage {
            let told = self.told.map(|(key, number)| (key, ChannelId(number)));
            let wanted = told.is_none_or(|(key, channel)| core.wants_frames(key, channel));
            self.paused = !wanted || self.pongs >= WRITE_AHEAD;
            if self.paused {
                return;
            }
            let before = self.output.len();
            let next = codec.next(&mut self.input, &mut self.output);
            self.pongs += self.output.len() - before;
            match next {
                Ok(None) => return,
                Ok(Some(frame)) => {
                    if let Some((key, channel)) = told {
                        core.tell(key, Input::ChannelFrame { channel, frame });
                    }
                }
                Err(end) => {
                    if let Some((key, channel)) = told {
                        core.tell(key, Input::ChannelClosed { channel, end });
                    }
                    self.told = None;
                    self.enter(core, Stage::Lingering);
                }
            }
        }
    }

    /// Pulls frames while there is room for them.
    fn pull_frames(&mut self, core: &mut Core) {
        let (Stage::WebSocket(codec), Some((key, number))) = (&mut self.stage, self.told) else { return };
        let now = core.now();
        let Some(mut session) = core.server.session_mut(key) else { return };
        while self.output.len() < WRITE_AHEAD {
            let Some(frame) = session.next_frame(now, ChannelId(number)) else { return };
            codec.send(frame, &mut self.output);
        }
    }

    fn enter(&mut self, core: &mut Core, stage: Stage) {
        self.stage = stage;
        let waits_for_client = !matches!(self.stage, Stage::Held | Stage::WebSocket(_));
        self.set_deadline(core, waits_for_client.then(|| core.now() + PATIENCE));
    }

    fn set_deadline(&mut self, core: &mut Core, deadline: Option<Instant>) {
        if let Some(at) = mem::replace(&mut self.deadline, deadline) {
            core.deadlines.remove(&(at, self.index));
        }
        core.deadlines.extend(deadline.map(|at| (at, self.index)));
    }
}
