//! Connects to a server, sends each line of its input as a message, and prints events as lines of JSON: the counterpart
//! of `echo`. A line that begins with `base64:` is sent as binary data. The end of the input closes the session in
//! order. `--help` lists the options.

use std::fs;
use std::future::{Future, pending};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::pin::{Pin, pin};
use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Parser;
use engineio_driver::error::UrlError;
use engineio_driver::net::rustls::ClientConfig;
use engineio_driver::net::{Connector, Encryptor, Proxy, TlsConfig};
use engineio_driver::{
    Client, ClientBuilder, CloseReason, ConnectError, Details, Event, Events, Handle, Message, ReconnectConfig,
    ReconnectEvent, SendError, TransportKind,
};
use futures_util::future::{Either, select};
use serde_json::{Value, json};

use super::Program;

mod soak;

/// What this program needs from a runtime and a runtime crate.
pub trait Connect: Program {
    /// Calls `client` of the crate.
    ///
    /// # Errors
    /// Returns the error of `client`.
    fn client(url: &str) -> Result<ClientBuilder, UrlError>;

    /// Creates a `UnixConnector` of the crate.
    fn unix_connector(path: &Path) -> impl Connector;

    /// Creates a `TlsEncryptor` of the crate.
    fn tls_encryptor(config: Arc<ClientConfig>) -> impl Encryptor;

    /// The lines of the standard input.
    type Lines: Send;

    fn lines() -> Self::Lines;

    /// Waits for the next line; `None` at the end. Cancel safe.
    fn next_line(lines: &mut Self::Lines) -> impl Future<Output = Option<String>> + Send;
}

type Error = Box<dyn std::error::Error + Send + Sync>;

#[derive(Clone, Debug, Parser)]
#[command(about = "An Engine.IO client for the command line")]
struct Args {
    /// The URL of the server: http, https, ws or wss.
    url: String,
    /// The transports that may be used, separated by commas. The first one opens the session.
    #[arg(long, default_value = "polling,websocket", value_delimiter = ',', value_parser = transport)]
    transports: Vec<TransportKind>,
    /// Stay on the first transport.
    #[arg(long)]
    no_upgrade: bool,
    /// Try the next transport if one fails before the session is open.
    #[arg(long)]
    try_all_transports: bool,
    /// Send and receive binary data as base64.
    #[arg(long)]
    force_base64: bool,
    /// A header for every request: `name: value`.
    #[arg(long = "header", value_parser = header)]
    headers: Vec<(String, String)>,
    /// Send the server's cookies back.
    #[arg(long, default_value = "on")]
    cookies: Switch,
    /// The path at which the server is mounted.
    #[arg(long, default_value = "/engine.io")]
    path: String,
    /// A parameter for the query of every request: `name=value`.
    #[arg(long = "query", value_parser = pair)]
    query: Vec<(String, String)>,
    /// The revision of the protocol.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u8).range(4..=4))]
    eio: u8,
    /// Milliseconds for one HTTP request, polls included.
    #[arg(long)]
    request_timeout: Option<u64>,
    /// Use an HTTP proxy.
    #[arg(long)]
    proxy: Option<String>,
    /// Connect to a Unix socket instead of host and port.
    #[arg(long)]
    unix: Option<PathBuf>,
    /// DANGER: accept any certificate. An attacker on the network can read and change all data.
    #[arg(long, conflicts_with = "ca")]
    insecure_tls: bool,
    /// Trust only the certificates of this authority, a PEM file.
    #[arg(long)]
    ca: Option<PathBuf>,
    /// Present this certificate, a PEM file.
    #[arg(long, requires = "client_key")]
    client_cert: Option<PathBuf>,
    /// The key of the certificate, a PEM file.
    #[arg(long, requires = "client_cert")]
    client_key: Option<PathBuf>,
    /// Open another session when one is lost.
    #[arg(long)]
    reconnect: bool,
    /// Send this many messages to an echo server, and check the echoes.
    #[arg(long, conflicts_with = "reconnect")]
    self_test: Option<usize>,
    /// Keep this many sessions to an echo server until the input ends, and check the echoes. They use every transport,
    /// and each opens again after some exchanges.
    #[arg(long, conflicts_with = "reconnect")]
    soak: Option<usize>,
    /// Milliseconds between two exchanges of a session of `--soak`.
    #[arg(long, default_value_t = 500)]
    period: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Switch {
    On,
    Off,
}

fn transport(name: &str) -> Result<TransportKind, String> {
    TransportKind::from_name(name).ok_or_else(|| format!("unknown transport {name:?}"))
}

fn header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once(':').ok_or("a header is `name: value`")?;
    Ok((name.trim().to_owned(), value.trim().to_owned()))
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("a parameter is `name=value`")?;
    Ok((name.to_owned(), value.to_owned()))
}

impl Args {
    fn client<P: Connect>(&self) -> Result<Client, Error> {
        let mut builder = P::client(&self.url)?
            .transports(self.transports.iter().copied())
            .upgrade(!self.no_upgrade)
            .try_all_transports(self.try_all_transports)
            .base64(self.force_base64)
            .cookies(self.cookies == Switch::On)
            .path(&self.path);
        for (name, value) in &self.headers {
            builder = builder.header(name, value);
        }
        for (name, value) in &self.query {
            builder = builder.query(name, value);
        }
        if let Some(millis) = self.request_timeout {
            builder = builder.request_timeout(Duration::from_millis(millis));
        }
        if let Some(proxy) = &self.proxy {
            builder = builder.proxy(Proxy::parse(proxy)?);
        }
        if let Some(path) = &self.unix {
            builder = builder.connector(P::unix_connector(path));
        }
        if self.insecure_tls || self.ca.is_some() || self.client_cert.is_some() {
            builder = builder.encryptor(P::tls_encryptor(self.tls()?.build()?));
        }
        Ok(builder.build()?)
    }

    /// Whether the session was closed in order.
    async fn run<P: Connect>(&self) -> Result<bool, Error> {
        if let Some(sessions) = self.soak {
            return soak::run::<P>(self, sessions).await;
        }
        let client = self.client::<P>()?;
        match self.self_test {
            Some(count) => Ok(self_test::<P>(&client, count).await),
            None if self.reconnect => talk_on::<P>(&client).await,
            None => Ok(talk::<P>(&client).await),
        }
    }

    fn tls(&self) -> Result<TlsConfig, Error> {
        let mut tls = TlsConfig::new();
        if let Some(authority) = &self.ca {
            tls = tls.add_root_pem(fs::read(authority)?)?.only_added_roots();
        }
        if let (Some(chain), Some(key)) = (&self.client_cert, &self.client_key) {
            tls = tls.client_certificate_pem(fs::read(chain)?, fs::read(key)?)?;
        }
        Ok(if self.insecure_tls { tls.dangerously_accept_any_certificate() } else { tls })
    }
}

/// Prints one event, and flushes it.
fn print_line(line: &Value) {
    let mut out = io::stdout().lock();
    // The reader of the output may be gone.
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

fn print_open(socket: &Handle) {
    let offer = socket.offer();
    let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    print_line(&json!({
        "event": "open",
        "sid": socket.id().as_str(),
        "transport": offer.map_or(socket.transport(), |offer| offer.transport).name(),
        "upgrades": offer.iter().flat_map(|offer| offer.upgrades.iter()).map(TransportKind::name).collect::<Vec<_>>(),
        "pingInterval": offer.map(|offer| millis(offer.ping_interval)),
        "pingTimeout": offer.map(|offer| millis(offer.ping_timeout)),
        "maxPayload": offer.and_then(|offer| offer.max_payload),
    }));
}

fn print_message(message: &Message) {
    print_line(&match message {
        Message::Text(text) => json!({ "event": "message", "kind": "text", "data": text.as_str() }),
        Message::Binary(bytes) => json!({ "event": "message", "kind": "binary", "base64": STANDARD.encode(bytes) }),
    });
}

/// Prints the end. Returns whether the session was closed in order.
fn print_close(reason: CloseReason, details: Option<&Details>, error: Option<&io::Error>) -> bool {
    let mut line = json!({ "event": "close", "reason": reason.as_str(), "cause": reason.to_string() });
    match details {
        Some(Details::Answer { status, body }) => {
            line["status"] = (*status).into();
            line["body"] = String::from_utf8_lossy(body).into();
        }
        Some(Details::Handshake { data }) => line["body"] = String::from_utf8_lossy(data).into(),
        Some(Details::CloseFrame { code, reason }) => line["code"] = json!([code, reason]),
        _ => (),
    }
    if let Some(error) = error {
        line["error"] = error.to_string().into();
    }
    print_line(&line);
    matches!(reason, CloseReason::ForcedClose | CloseReason::TransportClose)
}

fn print_failure(error: &ConnectError) -> bool {
    print_close(error.reason(), error.details(), error.io_error());
    false
}

/// The messages that arrive by the input.
struct Input<P: Connect> {
    lines: Option<P::Lines>,
}

impl<P: Connect> Input<P> {
    fn new() -> Self {
        Self { lines: Some(P::lines()) }
    }

    /// Waits for the next message; `None` at the end, once. Cancel safe.
    async fn next(&mut self) -> Option<Message> {
        let Some(lines) = &mut self.lines else { return pending().await };
        let Some(line) = P::next_line(lines).await else {
            self.lines = None;
            return None;
        };
        Some(match line.strip_prefix("base64:").map(|text| STANDARD.decode(text)) {
            Some(Ok(bytes)) => bytes.into(),
            _ => line.into(),
        })
    }
}

/// A signal to stop; reported once.
struct Stop {
    signal: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl Stop {
    fn new<P: Program>() -> Self {
        let stopped = async {
            if P::stop().await.is_err() {
                pending::<()>().await;
            }
        };
        Self { signal: Some(Box::pin(stopped)) }
    }

    /// Cancel safe.
    async fn told(&mut self) {
        let Some(signal) = &mut self.signal else { return pending().await };
        signal.await;
        self.signal = None;
    }
}

/// Sends the input as messages and prints events, until the end. Returns whether the session was closed in order.
async fn talk<P: Connect>(client: &Client) -> bool {
    let mut events = match client.connect_observed().await {
        Ok(events) => events,
        Err(error) => return print_failure(&error),
    };
    let socket = events.handle().clone();
    print_open(&socket);
    P::spawn(send_input::<P>(socket.clone()));
    let mut stop = Stop::new::<P>();
    loop {
        let event = match select(pin!(events.next()), pin!(stop.told())).await {
            Either::Left((event, _)) => event,
            Either::Right(((), _)) => {
                socket.close();
                continue;
            }
        };
        match event {
            Some(Event::Message(message)) => print_message(&message),
            Some(Event::Upgraded(transport)) => {
                print_line(&json!({ "event": "upgrade", "transport": transport.name() }));
            }
            Some(Event::UpgradeFailed(error)) => {
                print_line(&json!({ "event": "upgrade_error", "message": error.to_string() }));
            }
            Some(Event::Close(reason)) => {
                return print_close(reason, socket.close_details().as_ref(), None);
            }
            Some(_) => (),
            None => return false,
        }
    }
}

/// Sends the input, no faster than the server takes it.
async fn send_input<P: Connect>(socket: Handle) {
    let mut input = Input::<P>::new();
    while let Some(message) = input.next().await {
        if let Err(error) = socket.send(message).await {
            print_line(&json!({ "event": "send_error", "message": error.to_string() }));
        }
    }
    socket.close();
}

/// As [`talk`], with as many sessions as needed.
async fn talk_on<P: Connect>(client: &Client) -> Result<bool, Error> {
    let mut config = ReconnectConfig::default();
    (config.delay, config.max_delay) = (Duration::from_millis(100), Duration::from_secs(1));
    let mut sessions = client.reconnecting(config)?;
    let (mut input, mut stop) = (Input::<P>::new(), Stop::new::<P>());
    let mut orderly = false;
    loop {
        let happened = {
            let asked = async {
                match select(pin!(input.next()), pin!(stop.told())).await {
                    Either::Left((message, _)) => message.map_or(Happened::Stop, Happened::Line),
                    Either::Right(_) => Happened::Stop,
                }
            };
            match select(pin!(sessions.next()), pin!(asked)).await {
                Either::Left((event, _)) => Happened::Event(event),
                Either::Right((asked, _)) => asked,
            }
        };
        match happened {
            Happened::Event(None) => return Ok(orderly),
            Happened::Event(Some(event)) => {
                let retry = print_event(event, &mut orderly);
                if let Some(delay) = retry {
                    let (attempt, delay) = (sessions.attempts(), u64::try_from(delay.as_millis()).unwrap_or(u64::MAX));
                    print_line(&json!({ "event": "reconnecting", "attempt": attempt, "delay": delay }));
                }
            }
            Happened::Line(message) => {
                let sent = match sessions.session() {
                    Some(socket) => socket.try_send(message),
                    None => Err(SendError::Closed(message)),
                };
                if let Err(error) = sent {
                    print_line(&json!({ "event": "send_error", "message": error.to_string() }));
                }
            }
            Happened::Stop => sessions.close(),
        }
    }
}

enum Happened {
    Event(Option<ReconnectEvent>),
    Line(Message),
    Stop,
}

/// Prints an event. Returns the delay before the next attempt, if there is one.
fn print_event(event: ReconnectEvent, orderly: &mut bool) -> Option<Duration> {
    match event {
        ReconnectEvent::Opened(socket) => print_open(&socket),
        ReconnectEvent::Message(message) => print_message(&message),
        ReconnectEvent::Closed { reason, retry } => {
            *orderly = print_close(reason, None, None);
            return retry;
        }
        ReconnectEvent::Failed { retry, .. } => return retry,
        _ => (),
    }
    None
}

/// Sends messages of all kinds and sizes, and checks that each comes back, in order.
async fn self_test<P: Program>(client: &Client, count: usize) -> bool {
    let events = match client.connect_observed().await {
        Ok(events) => events,
        Err(error) => return print_failure(&error),
    };
    let socket = events.handle().clone();
    print_open(&socket);
    // The maximum that the server accepts in one piece, as base64 on polling.
    let limit = socket.offer().and_then(|offer| offer.max_payload).unwrap_or(usize::MAX);
    let limit = (limit.saturating_sub(1) / 4 * 3).min(500_000);
    let sent = Arc::new(AtomicUsize::new(0));
    P::spawn({
        let (socket, sent) = (socket.clone(), Arc::clone(&sent));
        async move {
            while sent.load(Ordering::Relaxed) < count {
                if socket.send(sample(sent.load(Ordering::Relaxed), limit)).await.is_err() {
                    return;
                }
                sent.fetch_add(1, Ordering::Relaxed);
            }
        }
    });
    let mut check = Check { events, received: 0, mismatches: 0, upgrading: client.config().upgrade };
    check.upgrading &= socket.offer().is_some_and(|offer| offer.upgrades.contains(TransportKind::WebSocket))
        && client.config().transports.contains(&TransportKind::WebSocket)
        && !socket.is_upgraded();
    let mut closed = check.run(count, limit).await;
    socket.close();
    while closed.is_none() {
        closed = match check.events.next().await {
            Some(Event::Close(reason)) => Some(reason),
            Some(Event::Message(_)) => {
                check.mismatches += 1;
                None
            }
            Some(_) => None,
            None => break,
        };
    }
    let sent = sent.load(Ordering::Relaxed);
    let Check { received, mismatches, .. } = check;
    let upgraded = socket.is_upgraded();
    print_line(&json!({
        "event": "self_test",
        "sent": sent,
        "received": received,
        "mismatches": mismatches,
        "upgraded": upgraded,
    }));
    let orderly = closed.is_some_and(|reason| print_close(reason, socket.close_details().as_ref(), None));
    orderly && mismatches == 0 && sent == count && received == count
}

struct Check {
    events: Events,
    received: usize,
    mismatches: usize,
    /// The upgrade has not happened yet.
    upgrading: bool,
}

impl Check {
    /// Waits until every echo has arrived, and the upgrade if there is one; or until the end. Returns its reason.
    async fn run(&mut self, count: usize, limit: usize) -> Option<CloseReason> {
        while self.received < count || self.upgrading {
            match self.events.next().await? {
                Event::Message(message) => {
                    self.mismatches += usize::from(message != sample(self.received, limit));
                    self.received += 1;
                }
                Event::Upgraded(_) | Event::UpgradeFailed(_) => self.upgrading = false,
                Event::Close(reason) => return Some(reason),
                _ => (),
            }
        }
        None
    }
}

/// Returns the message with this number: text and binary alternate, with all sizes and all lengths of UTF-8 sequences.
fn sample(index: usize, limit: usize) -> Message {
    const SIZES: [usize; 14] = [0, 1, 2, 125, 126, 127, 1000, 1023, 1024, 4096, 16_383, 65_535, 65_536, 500_000];
    const LETTERS: [char; 8] = ['a', 'é', '漢', '😀', '\n', '\u{0}', '\u{2028}', '\u{10ffff}'];
    // Large messages are rare.
    let size = SIZES[if index % 50 == 49 { 13 } else { index % 13 }].min(limit);
    if index % 2 == 1 {
        return (0..size)
            .map(|at| (index.wrapping_mul(31) ^ at.wrapping_mul(7)).to_le_bytes()[0])
            .collect::<Vec<_>>()
            .into();
    }
    let mut text = format!("{index} ");
    text.truncate(size);
    let letters = LETTERS.iter().cycle().skip(index);
    for letter in letters {
        if text.len() + letter.len_utf8() > size {
            break;
        }
        text.push(*letter);
    }
    text.into()
}

pub fn main<P: Connect>() {
    let args = Args::parse();
    let result: Result<(), Error> = P::run(0, async move {
        let orderly = args.run::<P>().await.unwrap_or_else(|error| {
            eprintln!("{error}");
            false
        });
        // Exits here: a runtime that ends in order would wait for the input, and reading from a terminal cannot be
        // interrupted.
        process::exit(i32::from(!orderly))
    });
    if let Err(error) = result {
        eprintln!("{error}");
        process::exit(1);
    }
}
