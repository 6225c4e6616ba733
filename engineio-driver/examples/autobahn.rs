//! Echoes what it receives on bare WebSockets, without Engine.IO: for Autobahn's cases, which test the WebSocket codec.
//!
//! `autobahn server` listens on a free port, which it prints. `autobahn client ADDRESS` connects to a fuzzing server for
//! each of its cases. The opening handshake, which the runtime crates test, is only as good as needed.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use engineio_driver::fuzz::Codec;
use engineio_proto::ChannelEnd;
use engineio_proto::wire::Frame;
use tungstenite::handshake::{client::generate_key, derive_accept_key};

/// The largest message of the cases has 16 MiB.
const MAX_MESSAGE: usize = 64 * 1024 * 1024;
/// The largest number of fragments is 65,536: case 9.3.1.
const MAX_FRAGMENTS: u32 = 100_000;
const CHUNK: usize = 64 * 1024;
/// How long the peer may take to close its connection.
const GOODBYE: Duration = Duration::from_secs(1);

fn main() -> io::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["server"] => serve(),
        ["client", address] => connect(address),
        _ => Err(io::Error::other("usage: autobahn server | autobahn client ADDRESS")),
    }
}

fn serve() -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("{}", listener.local_addr()?.port());
    for io in listener.incoming() {
        let io = io?;
        thread::spawn(move || {
            // The driver judges a connection that fails.
            let _ = accept(io);
        });
    }
    Ok(())
}

fn accept(mut io: TcpStream) -> io::Result<()> {
    io.set_nodelay(true)?;
    let (head, rest) = read_head(&io)?;
    let key = header(&head, "sec-websocket-key").ok_or(io::ErrorKind::InvalidData)?;
    let accept = derive_accept_key(key.as_bytes());
    let switch = "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n";
    io.write_all(format!("{switch}sec-websocket-accept: {accept}\r\n\r\n").as_bytes())?;
    echo(io, rest, Codec::server(MAX_MESSAGE), |_| ())
}

/// Runs the cases of a fuzzing server, which counts them, and wants to know when all were run.
fn connect(address: &str) -> io::Result<()> {
    let mut count = String::new();
    open(address, "/getCaseCount", |text| count.push_str(text))?;
    let count: u32 = count.trim().parse().map_err(io::Error::other)?;
    for case in 1..=count {
        // The server judges a connection that fails.
        let _ = open(address, &format!("/runCase?case={case}&agent=engineio"), |_| ());
    }
    open(address, "/updateReports?agent=engineio", |_| ())
}

fn open(address: &str, target: &str, seen: impl FnMut(&str)) -> io::Result<()> {
    let mut io = TcpStream::connect(address)?;
    io.set_nodelay(true)?;
    let key = generate_key();
    let upgrade = "connection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n";
    let head = format!("GET {target} HTTP/1.1\r\nhost: {address}\r\n{upgrade}sec-websocket-key: {key}\r\n\r\n");
    io.write_all(head.as_bytes())?;
    let (head, rest) = read_head(&io)?;
    if header(&head, "sec-websocket-accept") != Some(&derive_accept_key(key.as_bytes())) {
        return Err(io::ErrorKind::InvalidData.into());
    }
    echo(io, rest, Codec::client(MAX_MESSAGE), seen)
}

/// Reads the head of a request or an answer, in lines. Returns also what was read of what follows.
fn read_head(io: &TcpStream) -> io::Result<(Vec<String>, Vec<u8>)> {
    let mut reader = BufReader::new(io);
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if line == "\r\n" {
            return Ok((lines, reader.buffer().to_vec()));
        }
        lines.push(line);
    }
}

fn header<'a>(head: &'a [String], name: &str) -> Option<&'a str> {
    let mut fields = head.iter().filter_map(|line| line.split_once(':'));
    fields.find(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
}

/// Sends every message back, up to the end of the channel.
fn echo(mut io: TcpStream, rest: Vec<u8>, mut codec: Codec, mut seen: impl FnMut(&str)) -> io::Result<()> {
    codec = codec.allow_fragments(MAX_FRAGMENTS);
    let mut chunk = vec![0; CHUNK];
    let mut output = Vec::new();
    let mut len = rest.len().min(CHUNK);
    chunk[..len].copy_from_slice(&rest[..len]);
    loop {
        let mut input = &mut chunk[..len];
        while let Some(next) = codec.decode(&mut input, &mut output) {
            match next {
                Ok(frame) => {
                    if let Frame::Text { head, data } = &frame {
                        seen(&format!("{head}{data}"));
                    }
                    codec.send(frame, &mut output);
                }
                Err(end) => return say_goodbye(io, end, &output),
            }
        }
        io.write_all(&output)?;
        output.clear();
        len = io.read(&mut chunk)?;
        if len == 0 {
            return Ok(());
        }
    }
}

/// Writes the rest and closes the connection: at once if the peer's close frame was answered. A peer that broke a rule may
/// still be sending, and could not read the close frame if the connection broke.
fn say_goodbye(mut io: TcpStream, end: ChannelEnd, output: &[u8]) -> io::Result<()> {
    io.write_all(output)?;
    // The peer may have been faster.
    let _ = io.shutdown(std::net::Shutdown::Write);
    if end != ChannelEnd::Closed {
        io.set_read_timeout(Some(GOODBYE))?;
        io::copy(&mut io, &mut io::sink())?;
    }
    Ok(())
}
