//! An echo server on engineioxide, the counterpart of the client under test. Takes some of the options of the project's own
//! echo server, obeys the same messages and prints lines of JSON like it.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use engineioxide::config::EngineIoConfig;
use engineioxide::handler::EngineIoHandler;
use engineioxide::service::EngineIoService;
use engineioxide::{DisconnectReason, Socket, Str, TransportType};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::json;
use tokio::net::TcpListener;

const USAGE: &str = "engineioxide-echo [--port N] [--path P] [--transports polling,websocket] [--ping-interval MS] \
                     [--ping-timeout MS] [--upgrade-timeout MS] [--max-payload BYTES]";

struct Args {
    port: u16,
    config: EngineIoConfig,
}

fn arguments() -> Option<Args> {
    // Packets that do not fit the buffer would be refused: an echo server has no use for that.
    let mut config = EngineIoConfig { max_payload: 1_000_000, max_buffer_size: 1 << 20, ..EngineIoConfig::default() };
    let mut port = 0;
    let mut words = std::env::args().skip(1);
    while let Some(flag) = words.next() {
        let value = words.next()?;
        let millis = || value.parse().ok().map(Duration::from_millis);
        match flag.as_str() {
            "--port" => port = value.parse().ok()?,
            "--path" => config.req_path = value.into(),
            "--transports" => {
                let bit = |name: &str| name.parse::<TransportType>().ok().map(|transport| transport as u8);
                config.transports = value.split(',').try_fold(0, |bits, name| Some(bits | bit(name)?))?;
            }
            "--ping-interval" => config.ping_interval = millis()?,
            "--ping-timeout" => config.ping_timeout = millis()?,
            "--upgrade-timeout" => config.upgrade_timeout = millis()?,
            "--max-payload" => config.max_payload = value.parse().ok()?,
            _ => return None,
        }
    }
    Some(Args { port, config })
}

#[derive(Debug)]
struct Echo;

impl EngineIoHandler for Echo {
    type Data = ();

    fn on_connect(self: Arc<Self>, socket: Arc<Socket<()>>) {
        let transport = name(socket.transport_type());
        println!("{}", json!({ "event": "connection", "sid": socket.id, "transport": transport, "protocol": 4 }));
    }

    fn on_disconnect(&self, socket: Arc<Socket<()>>, reason: DisconnectReason) {
        println!("{}", json!({ "event": "close", "sid": socket.id, "reason": format!("{reason:?}") }));
    }

    fn on_message(self: &Arc<Self>, message: Str, socket: Arc<Socket<()>>) {
        println!("{}", json!({ "event": "message", "sid": socket.id, "kind": "text", "size": message.len() }));
        if obey(&socket, &message).is_none() {
            send(&socket, message);
        }
    }

    fn on_binary(self: &Arc<Self>, data: Bytes, socket: Arc<Socket<()>>) {
        println!("{}", json!({ "event": "message", "sid": socket.id, "kind": "binary", "size": data.len() }));
        // A session that is over has no use for an answer.
        let _ = socket.emit_binary(data);
    }
}

fn send(socket: &Socket<()>, message: impl Into<Str>) {
    let _ = socket.emit(message);
}

fn name(transport: TransportType) -> &'static str {
    match transport {
        TransportType::Polling => "polling",
        TransportType::Websocket => "websocket",
    }
}

/// Does what a message asks for, if it is a command.
fn obey(socket: &Socket<()>, message: &str) -> Option<()> {
    let words: Vec<&str> = message.split(':').collect();
    let texts = |count: &str, size: &str| {
        let (count, size) = (count.parse::<usize>().ok()?, size.parse::<usize>().ok()?);
        Some((0..count).map(move |index| {
            let head = format!("{index}:");
            let head = &head[..size.min(head.len())];
            format!("{head}{}", "x".repeat(size - head.len()))
        }))
    };
    match words.as_slice() {
        ["cmd", "close"] => socket.close(DisconnectReason::ClosingServer),
        ["cmd", "burst", count, size] => texts(count, size)?.for_each(|text| send(socket, text)),
        ["cmd", "burst-binary", count, size] => texts(count, size)?.for_each(|text| {
            let _ = socket.emit_binary(text);
        }),
        ["cmd", "burst-close", count, size] => {
            texts(count, size)?.for_each(|text| send(socket, text));
            socket.close(DisconnectReason::ClosingServer);
        }
        ["cmd", "info"] => {
            let transport = name(socket.transport_type());
            send(socket, json!({ "transport": transport, "readyState": "open", "protocol": 4 }).to_string());
        }
        _ => return None,
    }
    Some(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let Some(args) = arguments() else {
        eprintln!("usage: {USAGE}");
        return ExitCode::from(2);
    };
    let result = tokio::select! {
        result = serve(args) => result,
        _ = tokio::signal::ctrl_c() => Ok(()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(Args { port, config }: Args) -> std::io::Result<()> {
    let service = EngineIoService::with_config(Arc::new(Echo), config);
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    println!("{}", json!({ "event": "listening", "port": listener.local_addr()?.port() }));
    loop {
        let (stream, _) = listener.accept().await?;
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .serve_connection(TokioIo::new(stream), service.clone())
            .with_upgrades();
        // Whatever ends a connection, the engine has its own word for.
        tokio::spawn(async { connection.await.ok() });
    }
}
