//! The client of the guide and the server of the guide, and the network between them.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use engineio_proto::client;
use engineio_proto::http::{Method, Reply, Request};
use engineio_proto::server::Config;
use engineio_proto::wire::Frame;
use engineio_proto::{
    ChannelEnd, ChannelId, Client, CloseReason, ExchangeId, Instant, Message, RequestError,
    TransportKind,
};

use crate::{Admitted, Answer, ClientEmbedder, Embedder, embedder};

#[test]
fn they_talk_to_each_other() {
    for transports in
        [&[TransportKind::Polling, TransportKind::WebSocket][..], &[TransportKind::WebSocket]]
    {
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
        assert_eq!(
            pair.client.messages,
            [Message::from("early"), vec![7; 100_000].into(), "late".into()]
        );

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
fn they_talk_by_polling_alone() {
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
    assert!(pair.server.flush(key), "all answers were reported as written");
    pair.server.server.session_mut(key).unwrap().close(pair.now);
    pair.run();
    assert_eq!(pair.client.end, Some(CloseReason::TransportClose));
    pair.is_over(CloseReason::ForcedClose);
}

/// What both sides have in common is written once.
#[test]
fn one_function_pulls_from_either_side() {
    let mut pair = Pair::new(client::Config::default());
    pair.run();
    let (channel, number) = pair.channel.unwrap();
    let key = pair.server.server.keys().next().unwrap();
    pair.client.client.send(pair.now, "a").unwrap();
    let mut session = pair.server.server.session_mut(key).unwrap();
    session.send("b").unwrap();
    let (mut to_server, mut to_client) = (VecDeque::new(), VecDeque::new());
    crate::pull(&mut pair.client.client, pair.now, channel, &mut to_server);
    crate::pull(&mut *session, pair.now, number, &mut to_client);
    assert_eq!(to_server, [(Frame::Text { head: "4", data: "a".into() }, 1)]);
    assert_eq!(to_client, [(Frame::Text { head: "4", data: "b".into() }, 1)]);
}

/// Both sides, and what is between them.
struct Pair {
    now: Instant,
    client: ClientEmbedder,
    server: Embedder,
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
            client: ClientEmbedder {
                client: Client::new(now, Arc::new(config), 7).unwrap(),
                requests: Vec::new(),
                opening: None,
                unwritten: VecDeque::new(),
                reading: true,
                closing: false,
                messages: Vec::new(),
                end: None,
            },
            server: embedder(Config::default()),
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
            let carried = self.request()
                | self.answer()
                | self.cancel()
                | self.open()
                | self.frame()
                | self.close();
            if !carried && !self.client.client.has_output() {
                return;
            }
        }
    }

    fn pass(&mut self, millis: u64) {
        let end = Instant::from_millis(millis);
        loop {
            self.run();
            let server = self.server.tick(self.now).map(|wait| self.now + wait);
            let next = [self.client.client.next_timeout(), server].into_iter().flatten().min();
            let Some(next) = next.filter(|&next| next <= end) else { break };
            self.now = next;
            self.client.client.handle_timeout(next);
            self.server.tick(next);
        }
        self.now = end;
    }

    fn is_over(&self, reason: CloseReason) {
        assert_eq!(self.server.ends, [reason]);
        assert!(
            self.server.server.is_empty()
                && self.server.exchanges.is_empty()
                && self.server.channels.is_empty()
        );
        assert!(self.client.requests.is_empty() && self.sent.is_empty() && self.channel.is_none());
        assert!(self.client.client.is_finished());
    }

    fn admit(&mut self, method: Method, target: &str, upgrade: bool) -> Result<Admitted, Reply> {
        let (path, query) = target.split_once('?').unwrap();
        let request = Request { method, query, origin: None, upgrade };
        self.server.admit(self.now, path, &request, false, [7; 15])
    }

    /// A request reaches the server.
    fn request(&mut self) -> bool {
        let new =
            self.client.requests.iter().find(|(exchange, _)| !self.sent.contains_key(exchange));
        let Some((exchange, request)) = new.cloned() else { return false };
        let method = if request.body.is_some() { Method::Post } else { Method::Get };
        match self.admit(method, &request.target, false) {
            Ok(Admitted::Poll(number)) => {
                self.sent.insert(exchange, number);
            }
            Ok(Admitted::Post(number)) => {
                self.sent.insert(exchange, number);
                let body = request.body.map(|body| body.into_bytes()).unwrap_or_default();
                self.server.body(self.now, number, Ok(body));
            }
            Ok(Admitted::Channel(_)) => panic!("a WebSocket was not asked for"),
            Err(reply) => self.answered(exchange, reply.status, reply.body),
        }
        true
    }

    fn answered(&mut self, exchange: ExchangeId, status: u16, body: Bytes) {
        self.client.requests.retain(|(other, _)| *other != exchange);
        self.client.input(self.now, client::Input::Answered { exchange, status, body });
    }

    /// An answer reaches the client.
    fn answer(&mut self) -> bool {
        let has_answer = |number| self.server.exchanges[number].answer.is_some();
        let Some((&exchange, &number)) = self.sent.iter().find(|(_, number)| has_answer(number))
        else {
            return false;
        };
        self.sent.remove(&exchange);
        let reply = match &self.server.exchanges[&number].answer {
            Some(Answer::Reply(reply)) => Some(reply.clone()),
            _ => None,
        };
        self.server.written(self.now, number);
        match reply {
            Some(reply) => self.answered(exchange, reply.status, reply.body),
            None => {
                self.client.requests.retain(|(other, _)| *other != exchange);
                self.client
                    .input(self.now, client::Input::Failed { exchange, error: RequestError::Lost });
            }
        }
        true
    }

    /// The client drops a request that it has cancelled.
    fn cancel(&mut self) -> bool {
        let is_wanted =
            |exchange: &ExchangeId| self.client.requests.iter().any(|(other, _)| other == exchange);
        let Some((&exchange, &number)) =
            self.sent.iter().find(|(exchange, _)| !is_wanted(exchange))
        else {
            return false;
        };
        self.sent.remove(&exchange);
        self.server.lost(self.now, number);
        true
    }

    /// A WebSocket opens.
    fn open(&mut self) -> bool {
        let Some((channel, target)) = self.client.opening.take() else { return false };
        match self.admit(Method::Get, &target, true) {
            Ok(Admitted::Channel(number)) => {
                self.channel = Some((channel, number));
                self.client.input(self.now, client::Input::ChannelOpened { channel });
            }
            Err(_) => {
                let end = ChannelEnd::Unopened;
                self.client
                    .input(self.now, client::Input::ChannelClosed { channel, end, details: None });
            }
            Ok(_) => panic!("not a WebSocket"),
        }
        true
    }

    /// A frame in each direction reaches the other side.
    fn frame(&mut self) -> bool {
        let Some((channel, number)) = self.channel else { return false };
        let mut carried = false;
        if self.server.channels[&number].reading {
            if let Some(frame) = self.client.frame_written(self.now, channel) {
                self.server.frame(self.now, number, received(frame));
                carried = true;
            }
        }
        if self.client.reading {
            if let Some(frame) = self.server.frame_written(self.now, number) {
                self.client.input(
                    self.now,
                    client::Input::ChannelFrame { channel, frame: received(frame) },
                );
                carried = true;
            }
        }
        carried
    }

    /// The WebSocket closes behind what was pulled.
    fn close(&mut self) -> bool {
        let Some((channel, number)) = self.channel else { return false };
        let own = &self.server.channels[&number];
        let by_client = self.client.closing && self.client.unwritten.is_empty();
        let by_server = own.closing && own.unwritten.is_empty();
        if by_client || by_server {
            self.channel = None;
            let end = ChannelEnd::Closed;
            self.server.channel_ended(self.now, number, end);
            self.client
                .input(self.now, client::Input::ChannelClosed { channel, end, details: None });
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
