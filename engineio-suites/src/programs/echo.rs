//! Echoes every message, executes those that begin with `cmd:`, and prints events as lines of JSON: a counterpart for
//! clients, test suites and load generators. `--help` lists the options.

use std::future::Future;
use std::io::{self, Write as _};
use std::marker::PhantomData;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use engineio_driver::error::ConnectionError;
use engineio_driver::{Builder, CloseReason, Handle, Handler, Message, Mount, Refusal, Server, TransportKind};
use serde_json::{Value, json};

use super::Program;

/// What this program needs from a runtime and a runtime crate.
pub trait Echo: Program {
    /// Starts the configuration of a server whose tasks run on the program's executor.
    fn builder() -> Builder;

    /// The listener that `serve` of the crate takes.
    type Listener: Send + 'static;

    /// Listens on an address. Returns the local address too.
    ///
    /// # Errors
    /// Returns an error if the address cannot be bound.
    fn listen(addr: SocketAddr) -> impl Future<Output = io::Result<(Self::Listener, SocketAddr)>>;

    /// Calls `serve` of the crate.
    fn serve(server: Server, listener: Self::Listener) -> impl Future<Output = ()> + Send + 'static;
}

#[derive(Clone, Debug, Parser)]
#[command(about = "An Engine.IO echo server on 127.0.0.1")]
struct Args {
    /// The port; 0 for any free port.
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// Milliseconds from the handshake, or from a pong, to the next ping.
    #[arg(long, default_value_t = 25_000)]
    ping_interval: u64,
    /// Milliseconds that a pong may take.
    #[arg(long, default_value_t = 20_000)]
    ping_timeout: u64,
    /// Milliseconds that an upgrade may take.
    #[arg(long, default_value_t = 10_000)]
    upgrade_timeout: u64,
    /// Maximum size of a request body or WebSocket message, in bytes.
    #[arg(long, default_value_t = 1_000_000)]
    max_payload: usize,
    /// The enabled transports, separated by commas.
    #[arg(long, default_value = "polling,websocket", value_delimiter = ',', value_parser = transport)]
    transports: Vec<TransportKind>,
    /// Neither offer nor accept upgrades.
    #[arg(long)]
    no_upgrades: bool,
    /// A message that is sent right after the open packet.
    #[arg(long)]
    initial_packet: Option<String>,
    /// The path at which the server is mounted.
    #[arg(long, default_value = "/engine.io")]
    path: String,
    /// Make the slash after the path optional.
    #[arg(long)]
    no_trailing_slash: bool,
    /// Refuse every handshake.
    #[arg(long)]
    deny: bool,
    /// The message for refused clients.
    #[arg(long)]
    deny_message: Option<String>,
    /// Print no events except `listening`.
    #[arg(long)]
    quiet: bool,
    /// Execute `bcast:N:SIZE`: send N text messages of SIZE bytes to every session.
    #[arg(long)]
    broadcast: bool,
    /// Worker threads; 0: one for each processor, 1: one thread for everything.
    #[arg(long, default_value_t = 0)]
    workers: usize,

    /// Protocol revision 3: not supported yet.
    #[arg(long)]
    allow_eio3: bool,
    /// A cookie with the session id: not supported yet.
    #[arg(long)]
    cookie: Option<String>,
    /// CORS headers: not supported yet.
    #[arg(long)]
    cors: Option<String>,
    /// Compression of polling responses: not supported yet, only `off`.
    #[arg(long)]
    http_compression: Option<Switch>,
    /// Compression of WebSocket messages: not supported yet, only `off`.
    #[arg(long)]
    per_message_deflate: Option<Switch>,
    /// The reference client's own suite: not supported yet.
    #[arg(long)]
    client_suite: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Switch {
    On,
    Off,
}

fn transport(name: &str) -> Result<TransportKind, String> {
    TransportKind::from_name(name).ok_or_else(|| format!("unknown transport {name:?}"))
}

impl Args {
    fn unsupported(&self) -> Option<&'static str> {
        let flags = [
            ("--allow-eio3", self.allow_eio3),
            ("--cookie", self.cookie.is_some()),
            ("--cors", self.cors.is_some()),
            ("--http-compression on", self.http_compression == Some(Switch::On)),
            ("--per-message-deflate on", self.per_message_deflate == Some(Switch::On)),
            ("--client-suite", self.client_suite),
        ];
        flags.into_iter().find(|(_, given)| *given).map(|(flag, _)| flag)
    }

    fn builder<P: Echo>(&self) -> Builder {
        let millis = Duration::from_millis;
        let mut builder = P::builder()
            .ping_interval(millis(self.ping_interval))
            .ping_timeout(millis(self.ping_timeout))
            .upgrade_timeout(millis(self.upgrade_timeout))
            .max_payload(self.max_payload)
            .transports(self.transports.iter().copied())
            .allow_upgrades(!self.no_upgrades)
            .mount(Mount::new(&self.path).trailing_slash(!self.no_trailing_slash));
        if let Some(initial) = &self.initial_packet {
            builder = builder.initial_message(initial.clone());
        }
        if self.deny {
            let refusal = self.deny_message.clone().map_or_else(Refusal::new, Refusal::with_message);
            builder = builder.allow_request(move |_| {
                let refusal = refusal.clone();
                async move { Err(refusal) }
            });
        }
        builder
    }
}

/// Prints one event, and flushes it.
#[derive(Clone)]
struct Reporter {
    quiet: bool,
}

impl Reporter {
    fn line(&self, line: impl FnOnce() -> Value) {
        if !self.quiet {
            print_line(&line());
        }
    }

    fn refused(&self, error: &ConnectionError<'_>) {
        self.line(|| {
            json!({
                "event": "connection_error",
                "code": error.code() as u8,
                "message": error.message(),
                "context": error.rejection.to_string(),
            })
        });
    }
}

fn print_line(line: &Value) {
    let mut out = io::stdout().lock();
    // The reader of the output may be gone.
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

/// One session.
struct Session<P> {
    report: Reporter,
    /// The server, if clients may ask it to broadcast.
    broadcast: Option<Server>,
    program: PhantomData<fn() -> P>,
}

impl<P: Echo> Handler for Session<P> {
    async fn message(&mut self, socket: &Handle, message: Message) {
        self.report.line(|| {
            let kind = if matches!(message, Message::Text(_)) { "text" } else { "binary" };
            json!({ "event": "message", "sid": socket.id().as_str(), "kind": kind, "size": message.len() })
        });
        let command = match &message {
            Message::Text(text) => Command::parse(text),
            Message::Binary(_) => None,
        };
        match command {
            Some(Command::Broadcast { count, size }) if self.broadcast.is_some() => {
                for index in 0..count {
                    let message = filled(index, size);
                    self.broadcast.iter().for_each(|server| {
                        server.broadcast(message.clone());
                    });
                }
            }
            Some(Command::Broadcast { .. }) | None => {
                // If the session has ended, no answer is needed.
                let _ = socket.send(message).await;
            }
            Some(command) => self.obey(socket, command).await,
        }
    }

    async fn upgrading(&mut self, socket: &Handle, transport: TransportKind) {
        self.report
            .line(|| json!({ "event": "upgrading", "sid": socket.id().as_str(), "transport": transport.name() }));
    }

    async fn upgraded(&mut self, socket: &Handle, transport: TransportKind) {
        self.report.line(|| json!({ "event": "upgrade", "sid": socket.id().as_str(), "transport": transport.name() }));
    }

    async fn flush(&mut self, socket: &Handle, packets: usize) {
        self.report.line(|| json!({ "event": "flush", "sid": socket.id().as_str(), "packets": packets }));
    }

    async fn drain(&mut self, socket: &Handle) {
        self.report.line(|| json!({ "event": "drain", "sid": socket.id().as_str() }));
    }

    async fn heartbeat(&mut self, socket: &Handle) {
        self.report.line(|| json!({ "event": "heartbeat", "sid": socket.id().as_str() }));
    }

    async fn close(&mut self, socket: &Handle, reason: CloseReason) {
        self.report.line(|| json!({ "event": "close", "sid": socket.id().as_str(), "reason": reason.as_str() }));
    }
}

impl<P: Echo> Session<P> {
    async fn obey(&self, socket: &Handle, command: Command) {
        match command {
            Command::Close { after } => later::<P, _>(socket, after, |socket| async move { socket.close() }).await,
            Command::Discard { after } => later::<P, _>(socket, after, |socket| async move { socket.abort() }).await,
            Command::Burst { after, count, size, binary, close } => {
                later::<P, _>(socket, after, move |socket| async move {
                    for index in 0..count {
                        let text = filled(index, size);
                        let message = if binary { Message::Binary(text.into_bytes().into()) } else { text.into() };
                        if socket.send(message).await.is_err() {
                            return;
                        }
                    }
                    if close {
                        socket.close();
                    }
                })
                .await;
            }
            Command::Info => {
                let info = json!({
                    "transport": socket.transport().name(),
                    "upgraded": socket.is_upgraded(),
                    "readyState": if socket.is_open() { "open" } else { "closing" },
                    "protocol": socket.protocol(),
                });
                let _ = socket.send(info.to_string()).await;
            }
            Command::Broadcast { .. } => (),
        }
    }
}

/// Does something now, or later without blocking the session.
async fn later<P: Echo, F>(socket: &Handle, after: Option<u64>, work: impl FnOnce(Handle) -> F + Send + 'static)
where
    F: Future<Output = ()> + Send,
{
    let socket = socket.clone();
    match after {
        None => work(socket).await,
        Some(millis) => P::spawn(async move {
            P::sleep(Duration::from_millis(millis)).await;
            work(socket).await;
        }),
    }
}

/// Returns the message with this number in a burst.
fn filled(index: usize, size: usize) -> String {
    let mut text = format!("{index}:");
    text.truncate(size);
    text.push_str(&"x".repeat(size - text.len()));
    text
}

/// The commands of a client.
enum Command {
    Close { after: Option<u64> },
    Discard { after: Option<u64> },
    Burst { after: Option<u64>, count: usize, size: usize, binary: bool, close: bool },
    Info,
    Broadcast { count: usize, size: usize },
}

impl Command {
    fn parse(text: &str) -> Option<Self> {
        /// The maximum size of a message, whatever a client asks for.
        const LARGEST: usize = 64 << 20;
        let words: Vec<&str> = text.split(':').collect();
        let size = |size: &str| size.parse().ok().filter(|&size| size <= LARGEST);
        let burst = |after, count: &str, bytes: &str, binary, close| {
            Some(Self::Burst { after, count: count.parse().ok()?, size: size(bytes)?, binary, close })
        };
        match words.as_slice() {
            ["cmd", "close"] => Some(Self::Close { after: None }),
            ["cmd", "close-discard"] => Some(Self::Discard { after: None }),
            ["cmd", "close-after", millis] => Some(Self::Close { after: Some(millis.parse().ok()?) }),
            ["cmd", "close-discard-after", millis] => Some(Self::Discard { after: Some(millis.parse().ok()?) }),
            ["cmd", "burst" | "burst-plain", count, size] => burst(None, count, size, false, false),
            ["cmd", "burst-binary", count, size] => burst(None, count, size, true, false),
            ["cmd", "burst-after", millis, count, size] => burst(Some(millis.parse().ok()?), count, size, false, false),
            ["cmd", "burst-close", count, size] => burst(None, count, size, false, true),
            ["cmd", "info"] => Some(Self::Info),
            ["bcast", count, bytes] => Some(Self::Broadcast { count: count.parse().ok()?, size: size(bytes)? }),
            _ => None,
        }
    }
}

pub fn main<P: Echo>() -> ExitCode {
    let args = Args::parse();
    if let Some(flag) = args.unsupported() {
        eprintln!("{flag}: not supported yet");
        return ExitCode::from(2);
    }
    match P::run(args.workers, run::<P>(args)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn run<P: Echo>(args: Args) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let report = Reporter { quiet: args.quiet };
    let refused = report.clone();
    let server = args.builder::<P>().on_connection_error(move |error| refused.refused(error)).build()?;
    let (listener, addr) = P::listen((Ipv4Addr::LOCALHOST, args.port).into()).await?;
    print_line(&json!({ "event": "listening", "port": addr.port() }));

    P::spawn(P::serve(server.clone(), listener));
    let (serving, broadcast) = (server.clone(), args.broadcast.then(|| server.clone()));
    P::spawn(async move {
        serving
            .run(|socket| {
                report.line(|| {
                    json!({
                        "event": "connection",
                        "sid": socket.id().as_str(),
                        "transport": socket.transport().name(),
                        "protocol": socket.protocol(),
                    })
                });
                Session::<P> { report: report.clone(), broadcast: broadcast.clone(), program: PhantomData }
            })
            .await;
    });
    P::stop().await?;
    server.shutdown().await;
    Ok(())
}
