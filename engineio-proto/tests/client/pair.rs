//! A client and a server, and the simplest network between them.
//!
//! What the client asks for is routed and admitted as an adapter would do it, by the public API alone. Everything on its
//! way is delivered at once and in order, unless a test holds it back.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use engineio_proto::{
    BodyError, ChannelEnd, ChannelId, Client, ClientConfig, ClientInput, ClientOutput, ClientRequest, Config, Event,
    ExchangeId, Frame, Input, Instant, Message, Method, Operation, Output, Reply, Request, Response, Route, Server,
    SessionKey, Sid,
};

/// Both sides and what is between them. The server's numbers of exchanges and channels are those of the client.
pub(crate) struct Pair {
    pub(crate) now: Instant,
    pub(crate) client: Client,
    pub(crate) server: Server,
    pub(crate) key: Option<SessionKey>,
    pub(crate) client_events: Vec<Event>,
    pub(crate) server_events: Vec<Event>,
    /// Bodies of POSTs, in the order in which they were sent.
    pub(crate) posts: Vec<String>,
    /// Requests that the server has, by number, with whether they are GETs.
    requests: BTreeMap<u64, bool>,
    channel: Option<u64>,
    /// Do not deliver answers to polls.
    pub(crate) hold: bool,
    pub(crate) held: VecDeque<(u64, Reply)>,
}

impl Pair {
    /// Both have met, as far as that goes without time.
    pub(crate) fn new(client: ClientConfig, server: Config) -> Self {
        let mut pair = Self::waiting(client, server);
        pair.run();
        pair
    }

    /// The client's first request has not left yet.
    pub(crate) fn waiting(client: ClientConfig, server: Config) -> Self {
        let now = Instant::from_millis(1000);
        Self {
            now,
            client: Client::new(now, Arc::new(client), 7).unwrap(),
            server: Server::new(server).unwrap(),
            key: None,
            client_events: Vec::new(),
            server_events: Vec::new(),
            posts: Vec::new(),
            requests: BTreeMap::new(),
            channel: None,
            hold: false,
            held: VecDeque::new(),
        }
    }

    /// Delivers whatever is on its way until nothing moves.
    pub(crate) fn run(&mut self) {
        loop {
            let mut moved = false;
            while let Some(output) = self.client.poll_output() {
                self.obey_client(output);
                moved = true;
            }
            while let Some((_, output)) = self.server.poll_output() {
                self.obey_server(output);
                moved = true;
            }
            self.client.check().unwrap();
            self.server.check().unwrap();
            if !moved {
                break;
            }
        }
    }

    fn input(&mut self, input: Input) {
        if let Some(mut session) = self.key.and_then(|key| self.server.session_mut(key)) {
            session.handle_input(self.now, input);
        }
    }

    fn obey_client(&mut self, output: ClientOutput) {
        match output {
            ClientOutput::Request { exchange, request } => self.request(exchange, request),
            ClientOutput::Cancel { exchange } => {
                if self.requests.remove(&exchange.0).is_some() {
                    self.input(Input::ExchangeLost { exchange });
                }
            }
            ClientOutput::ChannelOpen { channel, target } => self.open_channel(channel, &target),
            ClientOutput::ChannelReady { channel } => {
                while let Some(frame) = self.client.next_frame(self.now, channel) {
                    let frame = received(frame);
                    self.input(Input::ChannelFrame { channel, frame });
                }
            }
            ClientOutput::ChannelRead { .. } => (),
            ClientOutput::ChannelClose { channel } => {
                self.channel = None;
                self.input(Input::ChannelClosed { channel, end: ChannelEnd::Closed });
            }
            ClientOutput::Event(event) => self.client_events.push(event),
        }
    }

    fn obey_server(&mut self, output: Output) {
        match output {
            Output::Respond { exchange, response } => {
                let Some(is_get) = self.requests.remove(&exchange.0) else { return };
                let reply = response.into_reply();
                if self.hold && is_get {
                    self.held.push_back((exchange.0, reply));
                } else {
                    self.answer(exchange, reply);
                }
            }
            Output::Abort { exchange } => {
                self.requests.remove(&exchange.0);
                let error = engineio_proto::RequestError::Lost;
                self.client.handle_input(self.now, ClientInput::Failed { exchange, error });
            }
            Output::ChannelReady { channel } => loop {
                let Some(mut session) = self.key.and_then(|key| self.server.session_mut(key)) else { break };
                let Some(frame) = session.next_frame(self.now, channel) else { break };
                drop(session);
                let frame = received(frame);
                self.client.handle_input(self.now, ClientInput::ChannelFrame { channel, frame });
            },
            Output::ChannelRead { .. } => (),
            Output::ChannelClose { channel } => {
                let (end, details) = (ChannelEnd::Closed, None);
                self.client.handle_input(self.now, ClientInput::ChannelClosed { channel, end, details });
            }
            Output::Event(event) => self.server_events.push(event),
        }
    }

    fn answer(&mut self, exchange: ExchangeId, reply: Reply) {
        let Reply { status, body, .. } = reply;
        self.client.handle_input(self.now, ClientInput::Answered { exchange, status, body });
    }

    /// The session opens, and no later poll is answered: an upgrade gets as far as it can without.
    pub(crate) fn hold_polls_behind_the_handshake(&mut self) {
        self.hold = true;
        self.run();
        if let Some((exchange, reply)) = self.held.pop_front() {
            self.answer(ExchangeId(exchange), reply);
        }
        self.run();
    }

    /// Delivers the answers that were held back.
    pub(crate) fn release(&mut self) {
        self.hold = false;
        while let Some((exchange, reply)) = self.held.pop_front() {
            self.answer(ExchangeId(exchange), reply);
        }
        self.run();
    }

    fn route(&self, target: &str, method: Method, upgrade: bool) -> Result<Route, engineio_proto::Rejection> {
        let query = target.split_once('?').unwrap().1;
        Route::parse(&Request { method, query, origin: None, upgrade }, self.server.config())
    }

    fn request(&mut self, exchange: ExchangeId, request: ClientRequest) {
        let method = if request.body.is_some() { Method::Post } else { Method::Get };
        let body = request.body.map(|payload| payload.into_bytes());
        if let Some(body) = &body {
            self.posts.push(String::from_utf8(body.to_vec()).unwrap());
        }
        self.requests.insert(exchange.0, method == Method::Get);
        let operation = match self.route(&request.target, method, false) {
            Ok(Route::Handshake(handshake)) => {
                let sid = Sid::from_entropy([9; 15]);
                self.key = Some(self.server.open(self.now, sid, &handshake, None).unwrap());
                Operation::Poll
            }
            Ok(Route::Session(request)) => match self.server.admit(&request) {
                Ok(_) => request.operation,
                Err(rejection) => return self.reject(exchange, Response::Rejected(rejection)),
            },
            Err(rejection) => return self.reject(exchange, Response::Rejected(rejection)),
        };
        match operation {
            Operation::Post => {
                self.input(Input::PostHead { exchange, octet_stream: false });
                let body = body.unwrap();
                let limit = self.server.config().max_payload;
                let body = if body.len() > limit { Err(BodyError::TooLarge) } else { Ok(body) };
                self.input(Input::PostBody { exchange, body });
            }
            _ => self.input(Input::Poll { exchange }),
        }
    }

    fn reject(&mut self, exchange: ExchangeId, response: Response) {
        self.requests.remove(&exchange.0);
        self.answer(exchange, response.into_reply());
    }

    fn open_channel(&mut self, channel: ChannelId, target: &str) {
        self.channel = Some(channel.0);
        let opened = match self.route(target, Method::Get, true) {
            Ok(Route::Handshake(handshake)) => {
                let sid = Sid::from_entropy([9; 15]);
                let opened = self.server.open(self.now, sid, &handshake, Some(channel));
                self.key = opened.as_ref().ok().copied();
                opened.is_ok()
            }
            Ok(Route::Session(request)) if self.server.admit(&request).is_ok() => {
                self.input(Input::ChannelOpened { channel, base64: request.base64 });
                true
            }
            _ => false,
        };
        let input = if opened {
            ClientInput::ChannelOpened { channel }
        } else {
            ClientInput::ChannelClosed { channel, end: ChannelEnd::Unopened, details: None }
        };
        self.client.handle_input(self.now, input);
    }

    /// The server's application sends, if its session is there and takes it.
    pub(crate) fn server_send(&mut self, message: impl Into<Message>) -> bool {
        let sent = self
            .key
            .and_then(|key| self.server.session_mut(key))
            .is_some_and(|mut session| session.send(message).is_ok());
        self.run();
        sent
    }

    pub(crate) fn client_received(&mut self) -> Vec<Message> {
        let messages = std::iter::from_fn(|| self.client.recv(self.now)).collect();
        self.run();
        messages
    }

    pub(crate) fn server_received(&mut self) -> Vec<Message> {
        let Some(key) = self.key else { return Vec::new() };
        let now = self.now;
        let messages = match self.server.session_mut(key) {
            Some(mut session) => std::iter::from_fn(|| session.recv(now)).collect(),
            None => Vec::new(),
        };
        self.run();
        messages
    }

    /// Jumps to the next moment at which something is due.
    pub(crate) fn tick(&mut self) -> bool {
        let next = [self.client.next_timeout(), self.server.next_timeout()].into_iter().flatten().min();
        let Some(next) = next else { return false };
        self.now = self.now.max(next);
        self.client.handle_timeout(self.now);
        self.server.handle_timeout(self.now);
        self.run();
        true
    }
}

/// A frame as it arrives: in one piece.
fn received(frame: Frame) -> Frame {
    match frame {
        Frame::Text { head, data } => Frame::received(format!("{head}{data}").into()),
        binary @ Frame::Binary(_) => binary,
    }
}
