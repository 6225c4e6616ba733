//! Applications on sockets: they are called as documented, whatever the peer does. Servers and clients are connected in
//! memory, and the clock is paused: if something does not happen, time jumps, and the test fails at once.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod life;
mod sessions;
mod standstill;
mod time;

use std::collections::BTreeMap;
use std::future::Future;
use std::time::Duration;

use engineio_driver::app::{Application, Host, Peer, Sockets};
use engineio_driver::mount::HyperService;
use engineio_driver::net::{BoxIo, Connecting, Connector, Endpoint};
use engineio_driver::rt::Runtime;
use engineio_driver::{Builder, Client, ClientBuilder, CloseReason, Message, SendError, Server, TransportKind};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};

const HOUR: Duration = Duration::from_secs(3600);
const POLLING: &[TransportKind] = &[TransportKind::Polling];
const WEBSOCKET: &[TransportKind] = &[TransportKind::WebSocket];
const UPGRADE: &[TransportKind] = &[TransportKind::Polling, TransportKind::WebSocket];

/// Connects to a server in the same process, over a buffer of this size.
struct Memory {
    server: Server,
    bytes: usize,
}

impl Connector for Memory {
    fn connect(&self, _: &str, _: u16) -> Connecting {
        let (ours, theirs) = tokio::io::duplex(self.bytes);
        let service = HyperService::new(self.server.clone(), None);
        let connection = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(theirs), service);
        tokio::spawn(connection.with_upgrades());
        Box::pin(async { Ok(Box::new(TokioIo::new(ours)) as BoxIo) })
    }
}

fn runtime() -> Runtime {
    Runtime::new(TokioExecutor::new(), TokioTimer::new())
}

/// A server whose intervals are longer than any test, unless it waits for them.
fn builder() -> Builder {
    Builder::new(runtime()).ping_interval(100 * HOUR).ping_timeout(HOUR).upgrade_timeout(HOUR)
}

fn client(server: &Server, transports: &[TransportKind]) -> Client {
    client_over(server, transports, 64 * 1024)
}

fn client_over(server: &Server, transports: &[TransportKind], bytes: usize) -> Client {
    let memory = Memory { server: server.clone(), bytes };
    let endpoint = Endpoint::parse("http://memory").unwrap();
    let builder: ClientBuilder = ClientBuilder::new(runtime(), endpoint, memory);
    builder.transports(transports.iter().copied()).receive_buffer(1000).build().unwrap()
}

/// Everything must happen by then; nothing else is due for a day.
async fn within<F: Future>(work: F) -> F::Output {
    tokio::time::timeout(24 * HOUR, work).await.expect("it does not happen")
}

/// Waits until a condition of an application holds, as a result of what is under way.
async fn until<A: Application + Send>(host: &Host<A>, mut is_true: impl FnMut(&A) -> bool) {
    let polled = async {
        while !host.with(|application| is_true(application)) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    within(polled).await;
}

fn serve<A: Application + Send>(server: &Server, application: A) -> Host<A> {
    let host = Host::new(runtime(), application);
    let (serving, server) = (host.clone(), server.clone());
    tokio::spawn(async move { serving.serve(&server).await });
    host
}

/// The calls of an application for one session.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Told {
    Open,
    Message(Message),
    Writable,
    Close(CloseReason),
}

type Act = fn(&mut Notes, &mut dyn Sockets, u32);

/// Records its calls, and at an impulse does what the test wants.
struct Notes {
    told: BTreeMap<Peer, Vec<Told>>,
    act: Act,
    /// Echoes every message.
    echoes: bool,
    /// Aborts the session that sends this.
    taboo: Option<Message>,
    /// The rest of a flood, which was not accepted yet.
    flood: Vec<u64>,
    refused: usize,
}

impl Notes {
    fn new(act: Act) -> Self {
        Self { told: BTreeMap::new(), act, echoes: false, taboo: None, flood: Vec::new(), refused: 0 }
    }

    fn quiet() -> Self {
        Self::new(|_, _, _| ())
    }

    fn note(&mut self, peer: Peer, what: Told) {
        let told = self.told.entry(peer).or_default();
        assert_eq!(told.is_empty(), what == Told::Open, "{told:?}, then {what:?}");
        assert!(!matches!(told.last(), Some(Told::Close(_))), "{told:?}, then {what:?}");
        told.push(what);
    }

    fn of(&self, peer: u64) -> &[Told] {
        self.told.get(&Peer(peer)).map_or(&[], Vec::as_slice)
    }

    fn messages(&self, peer: u64) -> Vec<Message> {
        let messages = self.of(peer).iter();
        messages
            .filter_map(|told| if let Told::Message(message) = told { Some(message.clone()) } else { None })
            .collect()
    }

    fn end(&self, peer: u64) -> Option<CloseReason> {
        match self.of(peer).last() {
            Some(Told::Close(reason)) => Some(*reason),
            _ => None,
        }
    }

    fn writables(&self, peer: u64) -> usize {
        self.of(peer).iter().filter(|told| **told == Told::Writable).count()
    }

    /// Sends the rest of the flood, as far as it is accepted.
    fn pour(&mut self, sockets: &mut dyn Sockets, peer: Peer) {
        while let Some(next) = self.flood.pop() {
            match sockets.send(peer, number(next)) {
                Ok(()) => (),
                Err(SendError::Full(_)) => {
                    self.refused += 1;
                    return self.flood.push(next);
                }
                Err(error) => panic!("{error}"),
            }
        }
    }
}

/// A message of this size.
fn number(number: u64) -> Message {
    format!("{number:0100}").into()
}

fn numbers(count: u64) -> Vec<Message> {
    (0..count).map(number).collect()
}

impl Application for Notes {
    fn on_open(&mut self, _: &mut dyn Sockets, peer: Peer) {
        self.note(peer, Told::Open);
    }

    fn on_message(&mut self, sockets: &mut dyn Sockets, peer: Peer, message: Message) {
        self.note(peer, Told::Message(message.clone()));
        if self.taboo.as_ref() == Some(&message) {
            sockets.abort(peer);
            assert!(matches!(sockets.send(peer, message), Err(SendError::Closed(_))));
        } else if self.echoes {
            sockets.send(peer, message).unwrap();
        }
    }

    fn on_writable(&mut self, sockets: &mut dyn Sockets, peer: Peer) {
        self.note(peer, Told::Writable);
        self.pour(sockets, peer);
    }

    fn on_close(&mut self, _: &mut dyn Sockets, peer: Peer, reason: CloseReason) {
        self.note(peer, Told::Close(reason));
    }

    fn on_impulse(&mut self, sockets: &mut dyn Sockets, impulse: u32) {
        (self.act)(self, sockets, impulse);
    }
}
