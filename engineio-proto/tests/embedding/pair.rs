//! The page's client and the page's server, and what is between them.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use engineio_proto::client;
use engineio_proto::http::{Method, Reply, Request};
use engineio_proto::server::Config;
use engineio_proto::wire::Frame;
use engineio_proto::{
    ChannelEnd, ChannelId, Client, CloseReason, ExchangeId, Instant, Message, RequestError, Server, TransportKind,
};

use crate::{Answer, Begun, ClientHands, Hands, serve};

#[test]
fn its_client_and_its_server_get_on() {
    for transports in [&[TransportKind::Polling, TransportKind::WebSocket][..], &[TransportKind::WebSocket]] {
        let mut config = client::Config::default();
        config.transports = transports.to_vec();
        let mut pair = Pair::new(config);
        pair.client.client.send(pair.now, "early").unwrap();
        pair.run();
        assert_eq!(pair.client.client.transport(), TransportKind::WebSocket);
        assert_eq!(pair.client.client.upgraded(), transports.len() > 1);

        pair.client.client.send(pair.now, vec![7; 100_000]).unwrap();
        pair.client.client.send(pair.now, "late").unwrap();
        pair.run();
        assert_eq!(pair.client.messages, [Message::from("early"), vec![7; 100_000].into(), "late".into()]);

        pair.pass(120_000);
        assert!(pair.client.client.stats().heartbeats_received >= 4);
        assert_eq!((pair.client.end, &pair.server.ends[..]), (None, &[][..]));

        pair.client.client.close(pair.now);
        pair.run();
        assert_eq!(pair.client.end, Some(CloseReason::ForcedClose));
        pair.is_over(CloseReason::TransportClose);
    }
}

#[test]
fn by_polling_alone() {
    let mut config = client::Config::default();
    config.upgrade = false;
    let mut pair = Pair::new(config);
    pair.run();
    for message in ["a", "b", "c"] {
        pair.client.client.send(pair.now, message).unwrap();
        pair.run();
    }
    assert_eq!(pair.client.messages, ["a", "b", "c"].map(Message::from));
    pair.pass(60_000);

    let key = pair.server.server.keys().next().unwrap();
    pair.server.server.session_mut(key).unwrap().close(pair.now);
    pair.run();
    assert_eq!(pair.client.end, Some(CloseReason::TransportClose));
    pair.is_over(CloseReason::ForcedClose);
}

/// The hands of both sides, and what is between them.
struct Pair {
    now: Instant,
    client: ClientHands,
    server: Hands,
    /// The server's number of a request, by the client's.
    sent: BTreeMap<ExchangeId, ExchangeId>,
    /// The client's and the server's number of the WebSocket that is open.
    channel: Option<(ChannelId, ChannelId)>,
}

impl Pair {
    fn new(config: client::Config) -> Self {
        let now = Instant::ZERO;
        Self {
            now,
            client: ClientHands {
                client: Client::new(now, Arc::new(config), 7).unwrap(),
                requests: Vec::new(),
                opening: None,
                outgoing: VecDeque::new(),
                reading: true,
                closing: false,
                messages: Vec::new(),
                end: None,
            },
            server: Hands {
                server: Server::new(Config::default()).unwrap(),
                number: 0,
                exchanges: BTreeMap::new(),
                channels: BTreeMap::new(),
                ends: Vec::new(),
            },
            sent: BTreeMap::new(),
            channel: None,
        }
    }

    /// Carries everything, until nothing is on its way.
    fn run(&mut self) {
        loop {
            self.client.obey(self.now);
            self.server.obey(self.now);
            self.server.server.check().unwrap();
            let carried = self.request() | self.answer() | self.cancel() | self.open() | self.frame() | self.close();
            if !carried && !self.client.client.has_output() {
                return;
            }
        }
    }

    fn pass(&mut self, millis: u64) {
        let end = Instant::from_millis(millis);
        loop {
            self.run();
            let next = [self.client.client.next_timeout(), self.server.tick(self.now)].into_iter().flatten().min();
            let Some(next) = next.filter(|&next| next <= end) else { break };
            self.now = next;
            self.client.client.handle_timeout(next);
            self.server.tick(next);
        }
        self.now = end;
    }

    fn is_over(&self, reason: CloseReason) {
        assert_eq!(self.server.ends, [reason]);
        assert!(self.server.server.is_empty() && self.server.exchanges.is_empty() && self.server.channels.is_empty());
        assert!(self.client.requests.is_empty() && self.sent.is_empty() && self.channel.is_none());
        assert!(self.client.client.is_finished());
    }

    fn serve(&mut self, method: Method, target: &str, upgrade: bool) -> Result<Begun, Reply> {
        let (_, query) = target.split_once('?').unwrap();
        serve(&mut self.server, self.now, &Request { method, query, origin: None, upgrade })
    }

    fn request(&mut self) -> bool {
        let new = self.client.requests.iter().find(|(exchange, _)| !self.sent.contains_key(exchange));
        let Some((exchange, request)) = new.cloned() else { return false };
        let method = if request.body.is_some() { Method::Post } else { Method::Get };
        match self.serve(method, &request.target, false) {
            Ok(Begun::Get(number)) => {
                self.sent.insert(exchange, number);
            }
            Ok(Begun::Post(number)) => {
                self.sent.insert(exchange, number);
                let body = request.body.map(|body| body.into_bytes()).unwrap_or_default();
                self.server.posted(self.now, number, Ok(body));
            }
            Err(reply) => self.answered(exchange, reply.status, reply.body),
            Ok(Begun::Channel(_)) => panic!("a WebSocket that nobody asked for"),
        }
        true
    }

    fn answered(&mut self, exchange: ExchangeId, status: u16, body: Bytes) {
        self.client.requests.retain(|(other, _)| *other != exchange);
        self.client.tell(self.now, client::Input::Answered { exchange, status, body });
    }

    fn answer(&mut self) -> bool {
        let has_answer = |number| !matches!(self.server.exchanges[number].answer, Answer::Awaited);
        let Some((&exchange, &number)) = self.sent.iter().find(|(_, number)| has_answer(number)) else { return false };
        self.sent.remove(&exchange);
        let reply = self.server.reply(number).cloned();
        self.server.written(self.now, number);
        match reply {
            Some(reply) => self.answered(exchange, reply.status, reply.body),
            None => {
                self.client.requests.retain(|(other, _)| *other != exchange);
                self.client.tell(self.now, client::Input::Failed { exchange, error: RequestError::Lost });
            }
        }
        true
    }

    fn cancel(&mut self) -> bool {
        let is_wanted = |exchange: &ExchangeId| self.client.requests.iter().any(|(other, _)| other == exchange);
        let Some((&exchange, &number)) = self.sent.iter().find(|(exchange, _)| !is_wanted(exchange)) else {
            return false;
        };
        self.sent.remove(&exchange);
        self.server.lost(self.now, number);
        true
    }

    fn open(&mut self) -> bool {
        let Some((channel, target)) = self.client.opening.take() else { return false };
        match self.serve(Method::Get, &target, true) {
            Ok(Begun::Channel(number)) => {
                self.channel = Some((channel, number));
                self.client.tell(self.now, client::Input::ChannelOpened { channel });
            }
            Err(_) => {
                let end = ChannelEnd::Unopened;
                self.client.tell(self.now, client::Input::ChannelClosed { channel, end, details: None });
            }
            Ok(_) => panic!("not a WebSocket"),
        }
        true
    }

    fn frame(&mut self) -> bool {
        let Some((channel, number)) = self.channel else { return false };
        let mut carried = false;
        if self.server.channels[&number].reading {
            if let Some((frame, messages)) = self.client.outgoing.pop_front() {
                self.client.tell(self.now, client::Input::ChannelWritten { channel, messages });
                self.server.read(self.now, number, received(frame));
                carried = true;
            }
        }
        if self.client.reading {
            if let Some(frame) = self.server.write(self.now, number) {
                self.client.tell(self.now, client::Input::ChannelFrame { channel, frame: received(frame) });
                carried = true;
            }
        }
        carried
    }

    fn close(&mut self) -> bool {
        let Some((channel, number)) = self.channel else { return false };
        let own = &self.server.channels[&number];
        let by_client = self.client.closing && self.client.outgoing.is_empty();
        let by_server = own.closing && own.outgoing.is_empty();
        if by_client || by_server {
            self.channel = None;
            self.server.gone(self.now, number, ChannelEnd::Closed);
            let end = ChannelEnd::Closed;
            self.client.tell(self.now, client::Input::ChannelClosed { channel, end, details: None });
        }
        by_client || by_server
    }
}

/// A frame as it is read at the other end.
fn received(frame: Frame) -> Frame {
    match frame {
        Frame::Text { head, data } => Frame::received([head, &data].concat().into()),
        Frame::Binary(bytes) => Frame::Binary(bytes),
    }
}
