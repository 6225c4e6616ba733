//! A client and a server, and the simplest network between them.
//!
//! What the client asks for is routed and admitted as an adapter would do it, by the public API alone. Everything on its
//! way waits in a lane: one for every request, every answer, and each way of a channel. Within a lane the order is kept;
//! between lanes it is the test's: [`Pair::run`] delivers everything, [`Pair::step`] one thing that is chosen.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use engineio_proto::client;
use engineio_proto::http::{Method, Reply, Request, Response};
use engineio_proto::server::{Admission, BodyError, Config, Entry, Input, NotAdmitted, Output, SessionKey};
use engineio_proto::wire::{Frame, SEPARATOR};
use engineio_proto::{
    ChannelEnd, ChannelId, Client, Event, ExchangeId, Instant, Message, RequestError, SendError, Server, Session, Sid,
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
    lanes: BTreeMap<Lane, VecDeque<Parcel>>,
    /// Channels from which there is something to pull, at the side that goes this way.
    ready: BTreeSet<(Way, u64)>,
    /// Do not deliver answers to polls.
    pub(crate) hold: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Way {
    ToServer,
    ToClient,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Lane {
    Request(u64),
    Answer { to_get: bool, exchange: u64 },
    Channel(Way, u64),
}

#[derive(Debug)]
enum Parcel {
    Request(client::Request),
    /// The client went away.
    Lost,
    Answer(Reply),
    /// The server ended the exchange without an answer.
    Failed,
    /// A channel is asked for.
    Open(String),
    Opened,
    Frame(Frame),
    Closed(ChannelEnd),
}

/// What may happen next.
#[derive(Clone, Copy, Debug)]
enum Move {
    Deliver(Lane),
    Pull(Way, u64),
}

impl Pair {
    /// Both have met, as far as that goes without time.
    pub(crate) fn new(client: client::Config, server: Config) -> Self {
        let mut pair = Self::waiting(client, server);
        pair.run();
        pair
    }

    /// The client's first request has not left yet.
    pub(crate) fn waiting(client: client::Config, server: Config) -> Self {
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
            lanes: BTreeMap::new(),
            ready: BTreeSet::new(),
            hold: false,
        }
    }

    // The network.

    /// Delivers whatever is on its way until nothing moves.
    pub(crate) fn run(&mut self) {
        while self.step(0) {}
    }

    /// Delivers, or pulls, one thing of those that may be next. Whether there was one.
    pub(crate) fn step(&mut self, choice: usize) -> bool {
        self.collect();
        let moves = self.moves();
        if moves.is_empty() {
            return false;
        }
        match moves[choice % moves.len()] {
            Move::Deliver(lane) => {
                let parcels = self.lanes.get_mut(&lane).unwrap();
                let parcel = parcels.pop_front().unwrap();
                if parcels.is_empty() {
                    self.lanes.remove(&lane);
                }
                self.deliver(lane, parcel);
            }
            Move::Pull(way, channel) => self.pull(way, channel),
        }
        self.collect();
        true
    }

    fn moves(&self) -> Vec<Move> {
        let held = |lane: &Lane| self.hold && matches!(lane, Lane::Answer { to_get: true, .. });
        let lanes = self.lanes.keys().filter(|lane| !held(lane)).map(|&lane| Move::Deliver(lane));
        lanes.chain(self.ready.iter().map(|&(way, channel)| Move::Pull(way, channel))).collect()
    }

    fn put(&mut self, lane: Lane, parcel: Parcel) {
        self.lanes.entry(lane).or_default().push_back(parcel);
    }

    /// Takes what both sides want to be done.
    fn collect(&mut self) {
        while let Some(output) = self.client.poll_output() {
            self.obey_client(output);
        }
        while let Some((_, output)) = self.server.poll_output() {
            self.obey_server(output);
        }
        self.client.check().unwrap();
        self.server.check().unwrap();
    }

    fn obey_client(&mut self, output: client::Output) {
        match output {
            client::Output::Request { exchange, request } => {
                self.put(Lane::Request(exchange.0), Parcel::Request(request));
            }
            client::Output::Cancel { exchange } => {
                self.lanes.retain(|lane, _| !matches!(lane, Lane::Answer { exchange: of, .. } if *of == exchange.0));
                self.put(Lane::Request(exchange.0), Parcel::Lost);
            }
            client::Output::ChannelOpen { channel, target } => {
                self.put(Lane::Channel(Way::ToServer, channel.0), Parcel::Open(target));
            }
            client::Output::ChannelReady { channel } => _ = self.ready.insert((Way::ToServer, channel.0)),
            client::Output::ChannelRead { .. } => (),
            client::Output::ChannelClose { channel } => {
                self.ready.remove(&(Way::ToServer, channel.0));
                self.put(Lane::Channel(Way::ToServer, channel.0), Parcel::Closed(ChannelEnd::Closed));
            }
            client::Output::Event(event) => self.client_events.push(event),
        }
    }

    fn obey_server(&mut self, output: Output) {
        match output {
            Output::Respond { exchange, response } => self.respond(exchange, response),
            Output::Abort { exchange } => {
                if let Some(to_get) = self.requests.remove(&exchange.0) {
                    self.put(Lane::Answer { to_get, exchange: exchange.0 }, Parcel::Failed);
                }
            }
            Output::ChannelReady { channel } => _ = self.ready.insert((Way::ToClient, channel.0)),
            Output::ChannelRead { .. } => (),
            Output::ChannelClose { channel } => {
                self.ready.remove(&(Way::ToClient, channel.0));
                self.put(Lane::Channel(Way::ToClient, channel.0), Parcel::Closed(ChannelEnd::Closed));
            }
            Output::Event(event) => self.server_events.push(event),
        }
    }

    fn respond(&mut self, exchange: ExchangeId, response: Response) {
        if let Some(to_get) = self.requests.remove(&exchange.0) {
            self.put(Lane::Answer { to_get, exchange: exchange.0 }, Parcel::Answer(response.into_reply()));
            // Here whatever is on its way arrives.
            self.input(Input::AnswerWritten { exchange });
        }
    }

    fn pull(&mut self, way: Way, number: u64) {
        let channel = ChannelId(number);
        let now = self.now;
        let frame = match way {
            Way::ToServer => self.client.next_frame(now, channel),
            Way::ToClient => self.with_session(|session| session.next_frame(now, channel)).flatten(),
        };
        match frame {
            Some(frame) => {
                self.put(Lane::Channel(way, number), Parcel::Frame(received(frame)));
                self.frame_written(way, channel);
            }
            None => _ = self.ready.remove(&(way, number)),
        }
    }

    fn frame_written(&mut self, way: Way, channel: ChannelId) {
        let now = self.now;
        match way {
            Way::ToServer => {
                let messages = self.client.stats().messages_sent;
                self.client.handle_input(now, client::Input::ChannelWritten { channel, messages });
            }
            Way::ToClient => {
                _ = self.with_session(|session| {
                    let messages = session.stats().messages_sent;
                    session.handle_input(now, Input::ChannelWritten { channel, messages });
                });
            }
        }
    }

    fn deliver(&mut self, lane: Lane, parcel: Parcel) {
        match lane {
            Lane::Request(number) => {
                let exchange = ExchangeId(number);
                match parcel {
                    Parcel::Request(request) => self.request(exchange, request),
                    _ if self.requests.remove(&number).is_some() => self.input(Input::ExchangeLost { exchange }),
                    _ => (),
                }
            }
            Lane::Answer { exchange, .. } => self.answer(ExchangeId(exchange), parcel),
            Lane::Channel(Way::ToServer, number) => {
                let channel = ChannelId(number);
                match parcel {
                    Parcel::Open(target) => self.open_channel(channel, &target),
                    Parcel::Frame(frame) => {
                        assert!(frame.len() <= self.server.config().max_payload, "the server would not take {frame:?}");
                        self.input(Input::ChannelFrame { channel, frame });
                    }
                    _ => self.input(Input::ChannelClosed { channel, end: ChannelEnd::Closed }),
                }
            }
            Lane::Channel(Way::ToClient, number) => {
                let channel = ChannelId(number);
                let input = match parcel {
                    Parcel::Opened => client::Input::ChannelOpened { channel },
                    Parcel::Frame(frame) => client::Input::ChannelFrame { channel, frame },
                    Parcel::Closed(end) => client::Input::ChannelClosed { channel, end, details: None },
                    other => unreachable!("{other:?} does not travel here"),
                };
                self.client.handle_input(self.now, input);
            }
        }
    }

    fn answer(&mut self, exchange: ExchangeId, parcel: Parcel) {
        let input = match parcel {
            Parcel::Answer(Reply { status, body, .. }) => client::Input::Answered { exchange, status, body },
            _ => client::Input::Failed { exchange, error: RequestError::Lost },
        };
        self.client.handle_input(self.now, input);
    }

    // The server's adapter.

    fn with_session<T>(&mut self, call: impl FnOnce(&mut Session) -> T) -> Option<T> {
        let mut session = self.server.session_mut(self.key?)?;
        Some(call(&mut session))
    }

    fn input(&mut self, input: Input) {
        let now = self.now;
        self.with_session(|session| session.handle_input(now, input));
    }

    /// Brings a request to the server's session.
    fn admit(&mut self, target: &str, method: Method, entry: Entry<'_>) -> Result<(), NotAdmitted> {
        let query = target.split_once('?').unwrap().1;
        let upgrade = matches!(entry, Entry::Channel { .. });
        let request = Request { method, query, origin: None, upgrade };
        let admission = Admission::begin(&request, self.server.config())?;
        self.key = Some(self.server.admit(self.now, admission, entry, Some(Sid::from_entropy([9; 15])))?);
        Ok(())
    }

    fn request(&mut self, exchange: ExchangeId, request: client::Request) {
        let method = if request.body.is_some() { Method::Post } else { Method::Get };
        let limit = self.server.config().max_payload;
        let body = request.body.map(|payload| payload.into_bytes());
        if let Some(body) = &body {
            let alone = !body.contains(&SEPARATOR);
            assert!(body.len() <= limit || alone, "{} bytes of {limit} in {body:?}", body.len());
            self.posts.push(String::from_utf8(body.to_vec()).unwrap());
        }
        self.requests.insert(exchange.0, method == Method::Get);
        match self.admit(&request.target, method, Entry::Exchange { exchange, octet_stream: false }) {
            Ok(()) => {
                if let Some(body) = body {
                    let body = if body.len() > limit { Err(BodyError::TooLarge) } else { Ok(body) };
                    self.input(Input::PostBody { exchange, body });
                }
            }
            Err(NotAdmitted::Rejected(rejection)) => self.respond(exchange, Response::Rejected(rejection)),
            Err(other) => panic!("a client is refused: {other}"),
        }
    }

    fn open_channel(&mut self, channel: ChannelId, target: &str) {
        let opened = self.admit(target, Method::Get, Entry::Channel { channel, head: None }).is_ok();
        let parcel = if opened { Parcel::Opened } else { Parcel::Closed(ChannelEnd::Unopened) };
        self.put(Lane::Channel(Way::ToClient, channel.0), parcel);
    }

    // The applications.

    pub(crate) fn client_send(&mut self, message: impl Into<Message>) -> Result<(), SendError> {
        self.client.send(self.now, message)
    }

    /// The server's application sends, if its session is there and takes it.
    pub(crate) fn server_send(&mut self, message: impl Into<Message>) -> bool {
        self.with_session(|session| session.send(message)).is_some_and(|result| result.is_ok())
    }

    pub(crate) fn server_close(&mut self) {
        let now = self.now;
        self.with_session(|session| session.close(now));
    }

    pub(crate) fn client_received(&mut self) -> Vec<Message> {
        std::iter::from_fn(|| self.client.recv(self.now)).collect()
    }

    /// The server's application takes one message.
    pub(crate) fn server_receive(&mut self) -> Option<Message> {
        let now = self.now;
        self.with_session(|session| session.recv(now)).flatten()
    }

    pub(crate) fn server_received(&mut self) -> Vec<Message> {
        let now = self.now;
        self.with_session(|session| std::iter::from_fn(|| session.recv(now)).collect()).unwrap_or_default()
    }

    // Time, and answers that are held back.

    /// Jumps to the next moment at which something is due.
    pub(crate) fn tick(&mut self) -> bool {
        let next = [self.client.next_timeout(), self.server.next_timeout()].into_iter().flatten().min();
        let Some(next) = next else { return false };
        self.now = self.now.max(next);
        self.wake();
        self.run();
        true
    }

    /// Lets a little time pass, without delivering anything.
    pub(crate) fn pass(&mut self, millis: u64) {
        self.now += Duration::from_millis(millis);
        self.wake();
    }

    fn wake(&mut self) {
        self.client.handle_timeout(self.now);
        self.server.handle_timeout(self.now);
    }

    /// The session opens, and no later poll is answered: an upgrade gets as far as it can without.
    pub(crate) fn hold_polls_behind_the_handshake(&mut self) {
        while self.client.sid().is_none() && self.step(0) {}
        self.hold = true;
        self.run();
    }

    /// Delivers the answers that were held back.
    pub(crate) fn release(&mut self) {
        self.hold = false;
        self.run();
    }
}

/// A frame as it arrives: in one piece.
fn received(frame: Frame) -> Frame {
    match frame {
        Frame::Text { head, data } => Frame::received(format!("{head}{data}").into()),
        binary @ Frame::Binary(_) => binary,
    }
}
