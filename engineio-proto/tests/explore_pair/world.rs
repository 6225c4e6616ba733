//! A client, a server and a network, and one step of all of them.

use bytes::Bytes;
use engineio_proto::client;
use engineio_proto::http::{Method, Operation, Rejection, Reply, Request, Response};
use engineio_proto::server::{Admission, Entry, Input, NotAdmitted, Output, SessionKey, SessionMut};
use engineio_proto::{
    ChannelEnd, ChannelId, Client, CloseReason, Event, ExchangeId, Instant, Message, RequestError, Server, Session,
    Sid, Stats, TransportError,
};

use crate::epilogue;
use crate::explore_common::ledger::Ledger;
use crate::explore_common::said::Said;
use crate::explore_common::search::Explored;
use crate::explore_common::wire;
use crate::fingerprint::fingerprint;
use crate::network::{Down, End, Item, Network, Up, is_message, messages, received};
use crate::setting::{Closer, Fault, INTERVAL, Impatient, START, Scene};

/// One thing that happens. The numbers are those of exchanges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Letter {
    /// A request arrives.
    Request(u64),
    /// A request that was dropped on its way does not arrive.
    Vanish(u64),
    /// An answer arrives.
    Answer(u64),
    /// The client, or the server, learns that a connection is lost.
    ClientLearns(u64),
    ServerLearns(u64),
    /// An answer is written.
    Written(u64),
    /// What is next on the channel arrives at the server, or at the client.
    Up,
    Down,
    /// A frame is pulled from the client, or from the server.
    PullUp,
    PullDown,
    /// What was pulled from the client, or from the server, is written.
    WrittenUp,
    WrittenDown,
    ClientSends,
    ServerSends,
    ClientTakes,
    ServerTakes,
    ClientCloses,
    ServerCloses,
    /// Time passes until something is due.
    Tick,
    /// Something goes wrong with a request, or with the channel.
    Fault(Fault, u64),
}

/// What a machine has asked for; it is shown on the way to a failure.
#[derive(Clone, Debug)]
#[allow(dead_code)] // Read by its debug form.
pub enum Asked {
    Client(client::Output),
    Server(Output),
}

/// What one side has done and seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Side {
    /// How many messages it has sent, and how many of the other side it has received.
    pub sent: u8,
    pub received: u8,
    /// There are messages to take.
    pub readable: bool,
    pub closed: Option<CloseReason>,
    /// Whether everything that it sent was written when its session ended.
    pub complete: Option<bool>,
}

#[derive(Clone)]
pub struct World {
    pub scene: Scene,
    pub now: Instant,
    pub client: Client,
    pub server: Server,
    pub key: Option<SessionKey>,
    pub network: Network,
    pub at_client: Side,
    pub at_server: Side,
    /// What became of the messages of either side, as their embedders know it.
    pub by_client: Ledger,
    pub by_server: Ledger,
    /// How many messages of the one who closed were sent before.
    pub promised: Option<u8>,
    ticks: u8,
    pub faulty: bool,
    /// Something may be lost thereby.
    pub lossy: bool,
    /// What came out in the step under way.
    outputs: Vec<Asked>,
}

impl World {
    pub fn new(scene: Scene) -> Self {
        let client = Client::new(START, scene.client().into(), 0).unwrap();
        let mut world = Self {
            scene,
            now: START,
            client,
            server: Server::new(scene.server()).unwrap(),
            key: None,
            network: Network::default(),
            at_client: Side::default(),
            at_server: Side::default(),
            by_client: Ledger::default(),
            by_server: Ledger::default(),
            promised: None,
            ticks: 0,
            faulty: false,
            lossy: false,
            outputs: Vec::new(),
        };
        world.obey();
        world
    }

    pub fn session(&self) -> Option<&Session> {
        self.key.and_then(|key| self.server.session(key))
    }

    fn session_mut(&mut self) -> Option<SessionMut<'_>> {
        self.key.and_then(|key| self.server.session_mut(key))
    }

    fn tell_client(&mut self, input: client::Input) {
        self.client.handle_input(self.now, input);
    }

    fn tell_server(&mut self, input: Input) {
        let now = self.now;
        if let Some(mut session) = self.session_mut() {
            session.handle_input(now, input);
        }
    }

    /// Plays one letter, lets all do what they are asked for, and tests the laws.
    pub fn step(&mut self, letter: Letter) -> Vec<Asked> {
        match letter {
            Letter::Request(id) => {
                if let Some(Item::Request { target, body }) = self.network.take(id, is_request) {
                    self.request(id, &target, body);
                }
            }
            Letter::Vanish(id) => _ = self.network.take(id, is_request),
            Letter::Answer(id) => {
                if let Some(Item::Answer { status, body }) = self.network.take(id, is_answer) {
                    if (200..300).contains(&status) {
                        // Of a POST: it was taken.
                        self.by_client.exchange_written(id);
                    }
                    self.tell_client(client::Input::Answered { exchange: ExchangeId(id), status, body });
                }
            }
            Letter::ClientLearns(id) => {
                self.network.take(id, |item| *item == Item::ClientLearns);
                self.tell_client(client::Input::Failed { exchange: ExchangeId(id), error: RequestError::Lost });
            }
            Letter::ServerLearns(id) => {
                self.network.take(id, |item| *item == Item::ServerLearns);
                self.network.held.remove(&id);
                self.tell_server(Input::ExchangeLost { exchange: ExchangeId(id) });
            }
            Letter::Written(id) => {
                self.network.take(id, |item| *item == Item::Report);
                self.answer_written(id);
            }
            Letter::Up => self.up(),
            Letter::Down => self.down(),
            Letter::PullUp => self.pull_up(),
            Letter::PullDown => self.pull_down(),
            Letter::WrittenUp => self.written_up(),
            Letter::WrittenDown => self.written_down(),
            Letter::ClientSends => {
                self.at_client.sent += 1;
                let said = Said(b'c', self.at_client.sent);
                self.client.send(self.now, said.message()).expect("there is room");
            }
            Letter::ServerSends => {
                self.at_server.sent += 1;
                let said = Said(b's', self.at_server.sent);
                let sent = self.session_mut().map(|mut session| session.send(said.message()));
                sent.expect("there is a session").expect("there is room");
            }
            Letter::ClientTakes => self.client_takes(),
            Letter::ServerTakes => self.server_takes(),
            Letter::ClientCloses => {
                self.promised = Some(self.at_client.sent);
                self.client.close(self.now);
            }
            Letter::ServerCloses => {
                self.promised = Some(self.at_server.sent);
                let now = self.now;
                if let Some(mut session) = self.session_mut() {
                    session.close(now);
                }
            }
            Letter::Tick => {
                self.ticks += 1;
                self.tick();
            }
            Letter::Fault(fault, id) => self.fault(fault, id),
        }
        self.obey();
        self.note_ends();
        self.network.tidy();
        // A channel that is torn before the client has changed to it is none that is needed.
        self.lossy |= self.faulty && self.client.upgraded();
        self.check();
        std::mem::take(&mut self.outputs)
    }

    fn note_ends(&mut self) {
        let session_over = self.at_server.closed.is_some() || self.session().is_some_and(is_session_over);
        let Self { client, at_client, at_server, by_client, by_server, .. } = self;
        let note = |side: &mut Side, ledger: &Ledger, over: bool| {
            let complete = ledger.written == u64::from(side.sent);
            side.complete = side.complete.or(over.then_some(complete));
        };
        note(at_client, by_client, client.close_reason().is_some());
        note(at_server, by_server, session_over);
    }

    fn next_timeout(&self) -> Option<Instant> {
        [self.client.next_timeout(), self.server.next_timeout()].into_iter().flatten().min()
    }

    /// Time passes until somebody wants to be woken.
    pub fn tick(&mut self) {
        let before = self.now;
        self.now = self.now.max(self.next_timeout().unwrap_or(self.now));
        self.client.handle_timeout(self.now);
        self.server.handle_timeout(self.now);
        let later = |next: Option<Instant>| next.is_none_or(|next| next > self.now);
        assert!(later(self.client.next_timeout()), "law 5: the client");
        assert!(later(self.session().and_then(Session::next_timeout)), "law 5: the session");
        assert!(self.now > before || self.server.is_empty() || self.client.close_reason().is_some(), "time stands");
    }

    fn fault(&mut self, fault: Fault, id: u64) {
        self.faulty = true;
        self.lossy = fault != Fault::Channel;
        match fault {
            Fault::Request | Fault::Held | Fault::Answer => self.network.tear(id),
            Fault::Body => {
                if let Some(Item::Request { target, .. }) = self.network.take(id, is_request) {
                    if self.admit(id, &target, Method::Post).is_some() {
                        self.network.tear(id);
                    }
                }
            }
            Fault::Channel => {
                self.network.tear_channel((self.by_client.on_channel(), self.by_server.on_channel()));
            }
        }
    }

    // What arrives at the server.

    /// What a request wants; its head is told to the session. A request that is refused is answered.
    fn admit(&mut self, id: u64, target: &str, method: Method) -> Option<Operation> {
        self.network.held.insert(id);
        let query = target.split_once('?').unwrap().1;
        let request = Request { method, query, origin: None, upgrade: false };
        let admission = Admission::begin(&request, self.server.config()).unwrap();
        let operation = match &admission {
            Admission::Session(request) => request.operation,
            _ => {
                assert!(self.key.is_none(), "one client opens two sessions");
                Operation::Poll
            }
        };
        let entry = Entry::Exchange { exchange: ExchangeId(id), octet_stream: false };
        match self.server.admit(self.now, admission, entry, Some(Sid::from_entropy([0; 15]))) {
            Ok(key) => {
                self.key = Some(key);
                Some(operation)
            }
            Err(NotAdmitted::Rejected(rejection)) => {
                self.answer(id, Response::Rejected(rejection));
                None
            }
            Err(other) => panic!("a client is refused: {other}"),
        }
    }

    fn request(&mut self, id: u64, target: &str, body: Option<Bytes>) {
        let exchange = ExchangeId(id);
        if self.network.torn.contains(&id) {
            // The client has dropped it: nobody will take the answer.
            self.network.put(id, Item::ServerLearns);
        }
        let method = if body.is_some() { Method::Post } else { Method::Get };
        match self.admit(id, target, method) {
            Some(Operation::Poll) => (),
            Some(Operation::Post) => {
                let body = body.unwrap();
                assert!(body.len() <= self.server.config().max_payload, "law 11: a body is too large");
                self.tell_server(Input::PostBody { exchange, body: Ok(body) });
            }
            Some(other) => panic!("a client wants {other:?}"),
            None => (),
        }
    }

    fn answer(&mut self, id: u64, response: Response) {
        assert!(self.network.held.remove(&id), "law 1: {id} is answered without being there");
        let over = self.session().is_none_or(|session| session.close_reason().is_some());
        match &response {
            Response::Payload(_) | Response::Accepted => (),
            Response::Rejected(Rejection::UnknownSid) if over => (),
            // Foreign to a network that loses nothing: overlaps, and requests on the wrong transport.
            other => assert!(self.lossy, "{id} is refused: {other:?}"),
        }
        let is_payload = matches!(response, Response::Payload(_));
        let Reply { status, body, .. } = response.into_reply();
        if is_payload {
            let packets = wire::payload(&body).expect("law 11: everything emitted decodes");
            // A farewell or a noop says nothing that must not be lost.
            if packets.iter().any(|packet| !matches!(packet.kind, b'1' | b'6')) {
                self.by_server.give(id, messages(&body));
            }
        }
        if self.network.torn.contains(&id) {
            // Whoever learns that it is lost says so.
            return;
        }
        self.network.put(id, Item::Answer { status, body });
        if is_payload && self.scene.late_reports {
            self.network.put(id, Item::Report);
        } else if is_payload {
            self.answer_written(id);
        }
    }

    fn answer_written(&mut self, id: u64) {
        self.by_server.exchange_written(id);
        self.tell_server(Input::AnswerWritten { exchange: ExchangeId(id) });
    }

    fn up(&mut self) {
        let Some(wire) = &mut self.network.wire else { return };
        let channel = ChannelId(wire.id);
        match wire.up.pop_front() {
            Some(Up::Open(target)) => self.open_channel(channel, &target),
            Some(Up::Frame(frame)) => self.tell_server(Input::ChannelFrame { channel, frame }),
            Some(Up::Closed) if wire.server.open => {
                wire.server = End { open: false, unwritten: None, ..wire.server };
                self.tell_server(Input::ChannelClosed { channel, end: ChannelEnd::Closed });
            }
            Some(Up::Closed) | None => (),
        }
    }

    fn open_channel(&mut self, channel: ChannelId, target: &str) {
        let query = target.split_once('?').unwrap().1;
        let request = Request { method: Method::Get, query, origin: None, upgrade: true };
        let admission = Admission::begin(&request, self.server.config()).unwrap();
        assert!(matches!(admission, Admission::Session(_)), "a client begins twice: {admission:?}");
        let admitted = self.server.admit(self.now, admission, Entry::Channel { channel, head: None }, None);
        let Some(wire) = &mut self.network.wire else { return };
        if wire.client.open {
            wire.down.push_back(if admitted.is_ok() { Down::Opened } else { Down::Refused });
        }
        match admitted {
            Ok(_) => (),
            Err(_) => wire.server.open = false,
        }
    }

    // What arrives at the client.

    fn down(&mut self) {
        let Some(wire) = &mut self.network.wire else { return };
        let channel = ChannelId(wire.id);
        let mut closed = |end| {
            wire.client = End { open: false, unwritten: None, ..wire.client };
            client::Input::ChannelClosed { channel, end, details: None }
        };
        let input = match wire.down.pop_front() {
            Some(Down::Opened) => client::Input::ChannelOpened { channel },
            Some(Down::Frame(frame)) => client::Input::ChannelFrame { channel, frame },
            Some(Down::Refused) => closed(ChannelEnd::Unopened),
            Some(Down::Closed) => closed(ChannelEnd::Closed),
            Some(Down::Lost) => closed(ChannelEnd::Lost),
            None => return,
        };
        self.tell_client(input);
    }

    fn pull_up(&mut self) {
        let Some(wire) = &mut self.network.wire else { return };
        let Some(frame) = self.client.next_frame(self.now, ChannelId(wire.id)) else {
            wire.client.ready = false;
            return;
        };
        if is_message(&frame) {
            self.by_client.give_to_channel();
        }
        if wire.server.open {
            wire.up.extend((!wire.torn).then(|| Up::Frame(received(frame))));
            wire.client.unwritten = Some(self.client.stats().messages_sent);
            if !self.scene.late_reports {
                self.written_up();
            }
        }
    }

    fn written_up(&mut self) {
        let Some(wire) = &mut self.network.wire else { return };
        if let Some(messages) = wire.client.unwritten.take() {
            let channel = ChannelId(wire.id);
            let news = self.by_client.channel_written(messages);
            self.network.silent_loss |= news && wire.torn;
            self.tell_client(client::Input::ChannelWritten { channel, messages });
        }
    }

    fn pull_down(&mut self) {
        let now = self.now;
        let Some(id) = self.network.wire.as_ref().map(|wire| wire.id) else { return };
        let frame = self.session_mut().and_then(|mut session| {
            let frame = session.next_frame(now, ChannelId(id))?;
            Some((frame, session.stats().messages_sent))
        });
        let Some(wire) = &mut self.network.wire else { return };
        let Some((frame, messages)) = frame else {
            wire.server.ready = false;
            return;
        };
        if is_message(&frame) {
            self.by_server.give_to_channel();
        }
        if wire.client.open {
            wire.down.extend((!wire.torn).then(|| Down::Frame(received(frame))));
            wire.server.unwritten = Some(messages);
            if !self.scene.late_reports {
                self.written_down();
            }
        }
    }

    fn written_down(&mut self) {
        let Some(wire) = &mut self.network.wire else { return };
        if let Some(messages) = wire.server.unwritten.take() {
            let channel = ChannelId(wire.id);
            let news = self.by_server.channel_written(messages);
            self.network.silent_loss |= news && wire.torn;
            self.tell_server(Input::ChannelWritten { channel, messages });
        }
    }

    // What the applications take.

    fn client_takes(&mut self) {
        match self.client.recv(self.now) {
            Some(message) => check_next(&mut self.at_client.received, b's', self.at_server.sent, &message),
            None => self.at_client.readable = false,
        }
    }

    fn server_takes(&mut self) {
        let now = self.now;
        match self.session_mut().and_then(|mut session| session.recv(now)) {
            Some(message) => check_next(&mut self.at_server.received, b'c', self.at_client.sent, &message),
            None => self.at_server.readable = false,
        }
    }

    // What the machines ask for.

    /// Does all that is asked for, until nothing is.
    fn obey(&mut self) {
        loop {
            if let Some(output) = self.client.poll_output() {
                self.outputs.push(Asked::Client(output.clone()));
                self.obey_client(output);
            } else if let Some((key, output)) = self.server.poll_output() {
                assert_eq!(self.key, Some(key));
                self.outputs.push(Asked::Server(output.clone()));
                self.obey_server(output);
            } else if !self.pull_and_take() {
                return;
            }
        }
    }

    /// What those do who are not slow; whether there was something to do.
    fn pull_and_take(&mut self) -> bool {
        let (up, down) = self.ready();
        let (client, server) = (self.at_client.readable, self.at_server.readable);
        if !self.scene.slow_channel && up {
            self.pull_up();
        } else if !self.scene.slow_channel && down {
            self.pull_down();
        } else if !self.scene.slow_applications && client {
            self.client_takes();
        } else if !self.scene.slow_applications && server {
            self.server_takes();
        } else {
            return false;
        }
        true
    }

    /// Whether there are frames to pull from the client, and from the server.
    fn ready(&self) -> (bool, bool) {
        self.network.wire.as_ref().map_or((false, false), |wire| (wire.client.ready, wire.server.ready))
    }

    fn obey_client(&mut self, output: client::Output) {
        let Network { wire, .. } = &mut self.network;
        match output {
            client::Output::Request { exchange, request } => {
                let body = request.body.map(engineio_proto::wire::Payload::into_bytes);
                if let Some(body) = &body {
                    self.by_client.give(exchange.0, messages(body));
                }
                self.network.put(exchange.0, Item::Request { target: request.target, body });
            }
            client::Output::Cancel { exchange } => self.network.cancel(exchange.0),
            client::Output::ChannelOpen { channel, target } => {
                assert!(wire.is_none(), "a second channel");
                let up = [Up::Open(target)].into();
                self.network.wire = Some(crate::network::Wire { id: channel.0, up, ..Default::default() });
            }
            client::Output::ChannelReady { .. } => wire.iter_mut().for_each(|wire| wire.client.ready = true),
            client::Output::ChannelRead { enabled, .. } => {
                wire.iter_mut().for_each(|wire| wire.client.reads = enabled);
            }
            client::Output::ChannelClose { .. } => self.network.client_closes(self.by_server.on_channel()),
            client::Output::Event(event) => hear(&mut self.at_client, event),
        }
    }

    fn obey_server(&mut self, output: Output) {
        let Network { wire, .. } = &mut self.network;
        match output {
            Output::Respond { exchange, response } => self.answer(exchange.0, response),
            Output::Abort { exchange } => {
                assert!(self.network.held.remove(&exchange.0), "law 1: an exchange that is not there is aborted");
                if !self.network.torn.contains(&exchange.0) {
                    self.network.put(exchange.0, Item::ClientLearns);
                }
            }
            Output::ChannelReady { .. } => wire.iter_mut().for_each(|wire| wire.server.ready = true),
            Output::ChannelRead { enabled, .. } => wire.iter_mut().for_each(|wire| wire.server.reads = enabled),
            Output::ChannelClose { .. } => self.network.server_closes(self.by_client.on_channel()),
            Output::Event(event) => hear(&mut self.at_server, event),
        }
    }

    /// The laws that can be tested in any world.
    fn check(&self) {
        self.client.check().unwrap_or_else(|violation| panic!("the client: {violation}"));
        self.server.check().unwrap_or_else(|violation| panic!("the server: {violation}"));
        self.check_cursors();
        let gets = |item: &&(u64, Item)| matches!(item.1, Item::Request { body: None, .. }) && self.is_wanted(item.0);
        let posts =
            |item: &&(u64, Item)| matches!(item.1, Item::Request { body: Some(_), .. }) && self.is_wanted(item.0);
        let items = &self.network.items;
        assert!(items.iter().filter(gets).count() <= 1, "law 1: two GETs");
        // The farewell is not waited for.
        let over = self.client.close_reason().is_some();
        assert!(items.iter().filter(posts).count() <= 1 + usize::from(over), "law 1: two POSTs");
        let early = self.at_client.closed.is_some() && self.client.receive_buffered() > 0;
        assert!(!early, "law 3: Closed before the last message was taken");
        if !self.lossy && !self.may_lose_by_haste() {
            self.check_reasons();
        }
    }

    /// Law 14: nothing is written that no embedder has reported.
    fn check_cursors(&self) {
        let cursors = |stats: Stats| [stats.messages_written, stats.messages_sent, stats.messages_accepted];
        let expected = |ledger: &Ledger, side: &Side| [ledger.written, ledger.handed, u64::from(side.sent)];
        assert_eq!(cursors(self.client.stats()), expected(&self.by_client, &self.at_client), "law 14: the client");
        if let Some(session) = self.session() {
            assert_eq!(cursors(session.stats()), expected(&self.by_server, &self.at_server), "law 14: the session");
        }
    }

    fn is_wanted(&self, id: u64) -> bool {
        !self.network.torn.contains(&id)
    }

    /// Law 3: if nothing is lost, who closed says so, and the other one says that it was the other one. A client whose
    /// request crosses with the close of the server may be refused, because requests may overtake each other.
    fn check_reasons(&self) {
        let refused = |reason| {
            let status = RequestError::Status(400);
            let errors = [TransportError::Poll(status), TransportError::Post(status)];
            matches!(reason, CloseReason::TransportError(error) if errors.contains(&error))
        };
        let (by_client, by_server) = (self.client.close_reason(), self.at_server.closed);
        let asked = |closer| self.scene.closer == closer && self.promised.is_some();
        if let Some(reason) = by_client {
            let told = asked(Closer::Server) && (reason == CloseReason::TransportClose || refused(reason));
            let own = asked(Closer::Client) && reason == CloseReason::ForcedClose;
            assert!(told || own, "law 3: the client ends for {reason:?}");
        }
        if let Some(reason) = by_server {
            let told = asked(Closer::Client) && reason == CloseReason::TransportClose;
            let own = asked(Closer::Server) && reason == CloseReason::ForcedClose;
            assert!(told || own, "law 3: the session ends for {reason:?}");
        }
    }

    fn exchange_letters(&self, letters: &mut Vec<Letter>) {
        for (id, item) in &self.network.items {
            match item {
                Item::Request { .. } => {
                    letters.push(Letter::Request(*id));
                    if !self.is_wanted(*id) {
                        letters.push(Letter::Vanish(*id));
                    }
                }
                Item::Answer { .. } => letters.push(Letter::Answer(*id)),
                Item::Report => letters.push(Letter::Written(*id)),
                Item::ClientLearns => letters.push(Letter::ClientLearns(*id)),
                Item::ServerLearns => letters.push(Letter::ServerLearns(*id)),
            }
        }
    }

    /// What is on its way, and what those do who are slow.
    pub fn deliveries(&self) -> Vec<Letter> {
        let mut letters = Vec::new();
        self.exchange_letters(&mut letters);
        if let Some(wire) = &self.network.wire {
            let up = matches!(wire.up.front(), Some(Up::Open(_) | Up::Closed)) || wire.server.reads;
            letters.extend((up && !wire.up.is_empty()).then_some(Letter::Up));
            let down = matches!(wire.down.front(), Some(Down::Closed | Down::Lost)) || wire.client.reads;
            letters.extend((down && !wire.down.is_empty()).then_some(Letter::Down));
            letters.extend(wire.client.unwritten.map(|_| Letter::WrittenUp));
            letters.extend(wire.server.unwritten.map(|_| Letter::WrittenDown));
        }
        let (up, down) = self.ready();
        letters.extend(up.then_some(Letter::PullUp));
        letters.extend(down.then_some(Letter::PullDown));
        letters.extend(self.at_client.readable.then_some(Letter::ClientTakes));
        letters.extend(self.at_server.readable.then_some(Letter::ServerTakes));
        letters
    }

    fn fault_letters(&self, letters: &mut Vec<Letter>) {
        for &fault in self.scene.faults {
            if fault == Fault::Channel {
                let alive = |wire: &crate::network::Wire| wire.client.open && wire.server.open;
                let wire = self.network.wire.as_ref().filter(|wire| alive(wire));
                letters.extend(wire.map(|wire| Letter::Fault(fault, wire.id)));
            }
            let held = self.network.held.iter().filter(|id| self.is_wanted(**id));
            letters.extend(held.filter(|_| fault == Fault::Held).map(|id| Letter::Fault(fault, *id)));
            for (id, item) in self.network.items.iter().filter(|(id, _)| self.is_wanted(*id)) {
                let fits = match item {
                    Item::Request { body, .. } => fault == Fault::Request || (fault == Fault::Body && body.is_some()),
                    Item::Answer { .. } => fault == Fault::Answer,
                    _ => false,
                };
                letters.extend(fits.then_some(Letter::Fault(fault, *id)));
            }
        }
    }
}

impl Explored for World {
    type Letter = Letter;
    type Output = Asked;
    type Row = ();

    fn now(&self) -> Instant {
        self.now
    }

    fn letters(&self) -> Vec<Letter> {
        let mut letters = self.deliveries();
        let Scene { client_sends, server_sends, closer, ticks, .. } = self.scene;
        let client_open = self.client.close_reason().is_none();
        let may_send = |closes| self.promised.is_none() || closer != closes;
        if client_open && may_send(Closer::Client) && self.at_client.sent < client_sends {
            letters.push(Letter::ClientSends);
        }
        let server_open = self.session().is_some_and(|session| session.close_reason().is_none());
        if server_open && may_send(Closer::Server) && self.at_server.sent < server_sends {
            letters.push(Letter::ServerSends);
        }
        if self.promised.is_none() {
            letters.extend((closer == Closer::Client && client_open).then_some(Letter::ClientCloses));
            letters.extend((closer == Closer::Server && server_open).then_some(Letter::ServerCloses));
        }
        // Only as long as nobody is given up thereby.
        let soon = self.next_timeout().is_some_and(|next| next <= self.now + INTERVAL);
        letters.extend((self.ticks < ticks && soon).then_some(Letter::Tick));
        if !self.faulty {
            self.fault_letters(&mut letters);
        }
        letters
    }

    fn play(&mut self, letter: Letter) -> Vec<Asked> {
        self.step(letter)
    }

    fn rows(&self, _before: &Self, _outputs: &[Asked]) -> Vec<()> {
        Vec::new()
    }

    fn is_unchanged(&self, _before: &Self) -> bool {
        false
    }

    fn fingerprint(&self) -> u64 {
        let seen = (self.at_client, self.at_server, self.promised, self.ticks, self.faulty, self.lossy);
        fingerprint(&self.client, &self.server, &self.network, seen)
    }

    fn play_ends(&self) -> u64 {
        epilogue::play_all(self)
    }
}

fn is_session_over(session: &Session) -> bool {
    session.close_reason().is_some()
}

fn is_request(item: &Item) -> bool {
    matches!(item, Item::Request { .. })
}

fn is_answer(item: &Item) -> bool {
    matches!(item, Item::Answer { .. })
}

/// Law 2: what is received is a prefix of what is sent.
fn check_next(received: &mut u8, who: u8, sent: u8, message: &Message) {
    *received += 1;
    assert_eq!(*message, Said(who, *received).message(), "law 2");
    assert!(*received <= sent, "law 2: something is received that was not sent");
}

/// Law 3: nothing is told behind the end.
fn hear(side: &mut Side, event: Event) {
    assert_eq!(side.closed, None, "law 3: {event:?} behind Closed");
    match event {
        Event::Readable => side.readable = true,
        Event::Closed(reason) => side.closed = Some(reason),
        _ => (),
    }
}

impl World {
    /// Whether somebody may give up the upgrade.
    pub fn is_hurried(&self) -> bool {
        self.scene.impatient != Impatient::Nobody
    }

    /// Whether that may come when the client has changed already.
    pub fn may_lose_by_haste(&self) -> bool {
        self.scene.impatient == Impatient::Server
    }
}
