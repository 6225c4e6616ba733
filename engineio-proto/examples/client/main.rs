//! An Engine.IO client on plain threads and blocking sockets. It starts on polling, changes to a WebSocket, and, if
//! requested, opens another session when one is lost.
//!
//! The machine has one owner: the main thread, which waits for reports. Each request has a thread, and the WebSocket
//! has one, because a thread can wait for only one socket. These threads contain no protocol logic: they carry out
//! their task, and report the result.
//!
//! | file | subject |
//! |---|---|
//! | `main.rs` | the command line; one session after the other |
//! | `session.rs` | a session: the machine, how its outputs are carried out, and the loop |
//! | `request.rs` | one HTTP request, on a connection that is kept for the next one |
//! | `channel.rs` | the WebSocket |
//! | `application.rs` | the applications: lines of the standard input, or a test with an echo server |
//! | `../common` | shared by the examples: WebSocket messages |
//!
//! Not included: TLS, proxies, cookies, redirects, compression, chunked answers, and the time of a suspended computer,
//! which the clock of the standard library does not count on every system.
//!
//! `cargo run -p engineio-proto --example client -- http://127.0.0.1:3000`
//!
//! Each line of the standard input is a message. The end of the input closes the session in order. Events are printed
//! as lines of JSON. The options:
//!
//! * `--transports LIST`: the transports that may be used, separated by commas. The first one opens the session.
//! * `--no-upgrade`: stay on the first transport.
//! * `--reconnect`: open another session when one is lost, after a growing delay.
//! * `--self-test N`: instead of lines, send N messages to an echo server, and check the echoes.
#![allow(clippy::disallowed_types, clippy::disallowed_methods)] // The core has no clock, thread or socket. This has.

use std::env;
use std::error::Error;
use std::net::ToSocketAddrs;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use engineio_proto::client::{Config, Reconnect, ReconnectConfig};
use engineio_proto::{CloseReason, Instant, TransportKind};
use serde_json::json;

mod application;
mod channel;
mod request;
mod session;
#[path = "../common/watched.rs"]
mod watched;
#[path = "../common/websocket.rs"]
mod websocket;

use application::{Application, Lines, SelfTest, print};
use request::Host;
use session::{Report, Reports, Session};

/// The options of the command line.
struct Options {
    host: Host,
    config: Config,
    reconnect: bool,
    self_test: Option<usize>,
}

impl Options {
    fn parse() -> Result<Self, Box<dyn Error>> {
        let (mut url, mut config, mut reconnect, mut self_test) = (None, Config::default(), false, None);
        let mut args = env::args().skip(1);
        while let Some(argument) = args.next() {
            let mut value = || args.next().ok_or_else(|| format!("{argument}: a value is missing"));
            match argument.as_str() {
                "--transports" => config.transports = value()?.split(',').map(transport).collect::<Result<_, _>>()?,
                "--no-upgrade" => config.upgrade = false,
                "--reconnect" => reconnect = true,
                "--self-test" => self_test = Some(value()?.parse()?),
                _ if url.is_none() && !argument.starts_with("--") => url = Some(argument),
                _ => return Err(format!("unknown argument: {argument}").into()),
            }
        }
        let url = url.ok_or("a URL is missing, such as http://127.0.0.1:3000")?;
        let name =
            url.strip_prefix("http://").ok_or_else(|| format!("{url}: expected a URL that begins with http://"))?;
        let name = name.trim_end_matches('/').to_owned();
        let address = name.to_socket_addrs()?.next().ok_or_else(|| format!("{name}: this host has no address"))?;
        Ok(Self { host: Host { name, address }, config, reconnect, self_test })
    }
}

fn transport(name: &str) -> Result<TransportKind, String> {
    TransportKind::from_name(name).ok_or_else(|| format!("{name}: expected polling or websocket"))
}

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let options = Options::parse()?;
    let reports = Reports::new();
    let mut application: Box<dyn Application> = match options.self_test {
        Some(count) => Box::new(SelfTest::new(count)),
        None => Box::new(Lines::read(reports.sender())),
    };
    let reason = run(&options, reports, &mut *application)?;
    let is_orderly = matches!(reason, CloseReason::ForcedClose | CloseReason::TransportClose);
    Ok(if is_orderly && application.is_content() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Opens one session after the other, until one is closed in order or no other one is to follow. Returns the last close
/// reason.
fn run(
    Options { host, config, reconnect, .. }: &Options,
    mut reports: Reports,
    application: &mut dyn Application,
) -> Result<CloseReason, Box<dyn Error>> {
    let start = std::time::Instant::now();
    let now = || Instant::ZERO + start.elapsed();
    let mut delays = ReconnectConfig::default();
    (delays.delay, delays.max_delay) = (Duration::from_millis(100), Duration::from_secs(1));
    let mut delays = Reconnect::new(delays)?;
    let mut config = config.clone();
    loop {
        reports.next_session();
        let mut session = Session::open(host.clone(), Arc::new(config.clone()), &reports, start)?;
        let reason = session.run(application, &mut delays);
        config.websocket_worked = session.websocket_worked();
        session.finish(application);
        print(&json!({ "event": "close", "reason": reason.as_str(), "cause": reason.to_string() }));
        if !reconnect || application.is_done() {
            return Ok(reason);
        }
        let Some(next) = delays.lost(now(), getrandom::u64()?) else { return Ok(reason) };
        let delay = next - now();
        print(&json!({ "event": "reconnecting", "attempt": delays.attempts(), "delay": delay.as_millis() as u64 }));
        wait(next, now, &reports, application);
        if application.is_done() {
            return Ok(reason);
        }
    }
}

/// Waits until `next`. Between two sessions, only the application sends reports.
fn wait(next: Instant, now: impl Fn() -> Instant, reports: &Reports, application: &mut dyn Application) {
    loop {
        match reports.wait(Some(next - now())) {
            Ok(Report::Line(line)) => application.line(line),
            Ok(_) => (),
            Err(mpsc::RecvTimeoutError::Timeout | mpsc::RecvTimeoutError::Disconnected) => return,
        }
        if application.is_done() {
            return;
        }
    }
}
