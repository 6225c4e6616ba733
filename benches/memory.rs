//! Memory of idle WebSocket sessions: `cargo bench -p engineio-benches --bench memory`.
//!
//! For each kind of server, a separate process serves 10,000 connections from this one. Each is opened, used for one
//! echo, and then idle. The result is the growth of the server's resident memory. `--connections N` changes the number.
#![allow(missing_docs)]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

const KINDS: [&str; 2] = ["engineio-tokio", "bare tungstenite"];

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let Some(kind) = value(&args, "--serve") {
        return serve(kind);
    }
    let connections = value(&args, "--connections").map_or(Ok(10_000), str::parse)?;
    println!("{connections} idle WebSocket sessions, resident memory of the server for each:");
    for kind in KINDS {
        let bytes = measure(kind, connections)?;
        println!("{kind:>18}: {:.2} kB", bytes / 1000.0);
    }
    Ok(())
}

fn value<'a>(args: &'a [String], flag: &str) -> Option<&'a str> {
    let place = args.iter().position(|arg| arg == flag)?;
    args.get(place + 1).map(String::as_str)
}

// ---- the measuring process ----

struct Server {
    process: Child,
    addr: SocketAddr,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn measure(kind: &str, connections: usize) -> Result<f64> {
    let mut process = Command::new(std::env::current_exe()?).args(["--serve", kind]).stdout(Stdio::piped()).spawn()?;
    let stdout = process.stdout.take().ok_or("no output")?;
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line)?;
    let server = Server { process, addr: line.trim().parse()? };

    // What every server needs once does not count.
    let mut clients = vec![open(server.addr)?];
    let before = resident(&server.process)?;
    for _ in 0..connections {
        clients.push(open(server.addr)?);
    }
    let after = resident(&server.process)?;
    Ok((after - before) / connections as f64)
}

/// A connection that was opened and used once.
fn open(addr: SocketAddr) -> Result<TcpStream> {
    let mut stream = TcpStream::connect(addr)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.set_nodelay(true)?;
    let request = format!(
        "GET /engine.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: {addr}\r\nConnection: Upgrade\r\n\
         Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         Origin: http://{addr}\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) \
         Chrome/130.0.0.0 Safari/537.36\r\nAccept-Language: en\r\nCache-Control: no-cache\r\n\r\n"
    );
    stream.write_all(request.as_bytes())?;
    read_until(&mut stream, |seen| seen.windows(4).any(|end| end == b"\r\n\r\n"))?;
    // Masked with zeros, the frame shows its text: 4hello.
    stream.write_all(b"\x81\x86\0\0\0\x004hello")?;
    read_until(&mut stream, |seen| seen.ends_with(b"\x81\x064hello"))?;
    Ok(stream)
}

fn read_until(stream: &mut TcpStream, done: impl Fn(&[u8]) -> bool) -> Result<()> {
    let mut seen = Vec::new();
    let mut chunk = [0; 1024];
    while !done(&seen) {
        match stream.read(&mut chunk)? {
            0 => return Err(format!("closed after {:?}", String::from_utf8_lossy(&seen)).into()),
            len => seen.extend_from_slice(&chunk[..len]),
        }
    }
    Ok(())
}

/// Resident memory, in bytes.
fn resident(process: &Child) -> Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.id()))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
    let kib: f64 = line.trim().trim_end_matches("kB").trim().parse()?;
    Ok(kib * 1024.0)
}

// ---- the serving process ----

#[tokio::main(worker_threads = 2)]
async fn serve(kind: &str) -> Result<()> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?);
    if kind == KINDS[0] { serve_engine(listener).await } else { serve_bare(listener).await }
}

async fn serve_engine(listener: tokio::net::TcpListener) -> Result<()> {
    let server = engineio_tokio::builder().build()?;
    tokio::spawn(engineio_tokio::serve(server.clone(), listener));
    loop {
        let mut socket = server.accept().await;
        tokio::spawn(async move {
            while let Some(message) = socket.recv().await {
                if socket.send(message).await.is_err() {
                    break;
                }
            }
        });
    }
}

/// No HTTP server, no sessions, no heartbeat: the minimum of a WebSocket server.
async fn serve_bare(listener: tokio::net::TcpListener) -> Result<()> {
    use futures_util::{SinkExt as _, StreamExt as _};
    loop {
        let (stream, _) = listener.accept().await?;
        tokio::spawn(async move {
            let config = tokio_tungstenite::tungstenite::protocol::WebSocketConfig::default().read_buffer_size(4096);
            let Ok(mut socket) = tokio_tungstenite::accept_async_with_config(stream, Some(config)).await else {
                return;
            };
            while let Some(Ok(message)) = socket.next().await {
                if !(message.is_text() || message.is_binary()) {
                    continue;
                }
                if socket.send(message).await.is_err() {
                    break;
                }
            }
        });
    }
}
