//! The floor for WebSockets: no library but tokio for readiness. A read, the frames unmasked and shortened in place, and one
//! write for all of them. Text is not checked, fragments and control frames but `close` are not known, nothing is limited.

use std::cell::RefCell;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use engineio_benches::{ADDR, Options, announce, broadcast, open_packet};
use slab::Slab;
use tokio::net::{TcpListener, TcpStream};
use tungstenite::handshake::derive_accept_key;

/// Larger than any frame of the load generator.
const BUFFER: usize = 128 * 1024;

/// All connections, for broadcasts.
type Connections = Arc<Mutex<Slab<Arc<TcpStream>>>>;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let options = Options::of_program();
    options.tokio()?.block_on(async {
        let listener = TcpListener::bind(ADDR).await?;
        announce(listener.local_addr()?);
        tokio::spawn(accept(listener)).await??;
        Ok(())
    })
}

async fn accept(listener: TcpListener) -> io::Result<()> {
    let connections = Connections::default();
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let connections = Arc::clone(&connections);
        tokio::spawn(async move {
            let stream = Arc::new(stream);
            let key = with(&connections, |all| all.insert(Arc::clone(&stream)));
            // A connection that breaks concerns nobody else.
            let _ = serve(&stream, &connections).await;
            with(&connections, |all| all.remove(key));
        });
    }
}

fn with<T>(connections: &Connections, work: impl FnOnce(&mut Slab<Arc<TcpStream>>) -> T) -> T {
    work(&mut connections.lock().unwrap_or_else(PoisonError::into_inner))
}

async fn serve(stream: &TcpStream, connections: &Connections) -> io::Result<()> {
    // What was read and is not complete.
    let mut kept = None;
    handshake(stream).await?;
    loop {
        stream.readable().await?;
        let mut buffer = kept.take().unwrap_or_else(Buffer::take);
        match stream.try_read(&mut buffer.bytes[buffer.filled..]) {
            Ok(0) => return Ok(()),
            Ok(len) => buffer.filled += len,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => (),
            Err(error) => return Err(error),
        }
        let answer = buffer.echo();
        if let Some((count, text)) = answer.broadcast {
            deliver(connections, count, &text).await?;
        }
        write_all(stream, &buffer.bytes[..answer.len]).await?;
        if answer.closes {
            return Ok(());
        }
        buffer.bytes.copy_within(answer.consumed..buffer.filled, 0);
        buffer.filled -= answer.consumed;
        if buffer.filled == 0 { buffer.give_back() } else { kept = Some(buffer) }
    }
}

/// Reads the request, and answers it with a 101 and the open packet in one write.
async fn handshake(stream: &TcpStream) -> io::Result<()> {
    let mut buffer = Buffer::take();
    let key = loop {
        stream.readable().await?;
        match stream.try_read(&mut buffer.bytes[buffer.filled..]) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(len) => buffer.filled += len,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            Err(error) => return Err(error),
        }
        let mut headers = [httparse::EMPTY_HEADER; 32];
        let mut request = httparse::Request::new(&mut headers);
        if request.parse(&buffer.bytes[..buffer.filled]).map_err(io::Error::other)?.is_complete() {
            let key = request.headers.iter().find(|header| header.name.eq_ignore_ascii_case("sec-websocket-key"));
            break derive_accept_key(key.ok_or(io::ErrorKind::InvalidData)?.value);
        }
    };
    buffer.give_back();
    let open = open_packet(0);
    let mut answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: {key}\r\n\r\n"
    )
    .into_bytes();
    answer.extend_from_slice(&header(0x81, open.len())[..2]);
    answer.extend_from_slice(open.as_bytes());
    write_all(stream, &answer).await
}

/// Writes the same frames to every connection, all of them in one write.
async fn deliver(connections: &Connections, count: usize, text: &str) -> io::Result<()> {
    let len = text.len() + 1;
    let mut frame = header(0x81, len)[..header_len(len)].to_vec();
    frame.push(b'4');
    frame.extend_from_slice(text.as_bytes());
    let frames = frame.repeat(count);
    let all: Vec<_> = with(connections, |all| all.iter().map(|(_, stream)| Arc::clone(stream)).collect());
    for stream in all {
        write_all(&stream, &frames).await?;
    }
    Ok(())
}

async fn write_all(stream: &TcpStream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match stream.try_write(bytes) {
            Ok(len) => bytes = &bytes[len..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => stream.writable().await?,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Returns the header of an unmasked frame; the first [`header_len`] bytes count.
fn header(first: u8, len: usize) -> [u8; 10] {
    let mut header = [0; 10];
    header[0] = first;
    match header_len(len) {
        2 => header[1] = len as u8,
        4 => {
            header[1] = 126;
            header[2..4].copy_from_slice(&(len as u16).to_be_bytes());
        }
        _ => {
            header[1] = 127;
            header[2..].copy_from_slice(&(len as u64).to_be_bytes());
        }
    }
    header
}

fn header_len(len: usize) -> usize {
    match len {
        ..126 => 2,
        126..0x1_0000 => 4,
        _ => 10,
    }
}

/// A read buffer. A connection has one only while bytes of it are there.
struct Buffer {
    bytes: Vec<u8>,
    filled: usize,
}

thread_local! {
    static UNUSED: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// What [`Buffer::echo`] made of the bytes.
#[derive(Default)]
struct Answer {
    /// The answer is in the first bytes of the buffer.
    len: usize,
    /// The bytes that were read and are answered.
    consumed: usize,
    closes: bool,
    broadcast: Option<(usize, String)>,
}

impl Buffer {
    fn take() -> Self {
        let bytes = UNUSED.with_borrow_mut(Vec::pop).unwrap_or_else(|| vec![0; BUFFER]);
        Self { bytes, filled: 0 }
    }

    fn give_back(self) {
        UNUSED.with_borrow_mut(|unused| unused.push(self.bytes));
    }

    /// Turns the complete frames into their answers, in place: these are shorter, because they have no mask.
    fn echo(&mut self) -> Answer {
        let mut answer = Answer::default();
        loop {
            let frame = &self.bytes[answer.consumed..self.filled];
            let (header_in, len) = match frame {
                [_, len, ..] if len & 0x7f < 126 => (2, usize::from(len & 0x7f)),
                [_, len, a, b, ..] if len & 0x7f == 126 => (4, usize::from(u16::from_be_bytes([*a, *b]))),
                [_, len, a, b, c, d, e, f, g, h, ..] if len & 0x7f == 127 => {
                    (10, u64::from_be_bytes([*a, *b, *c, *d, *e, *f, *g, *h]) as usize)
                }
                _ => return answer,
            };
            let Some(mask) = frame.get(header_in..header_in + 4) else { return answer };
            if frame.len() < header_in + 4 + len {
                return answer;
            }
            let (first, mask) = (frame[0], [mask[0], mask[1], mask[2], mask[3]]);
            let payload = answer.consumed + header_in + 4;
            let (start, header_out) = (answer.len, header_len(len));
            self.bytes[start..start + header_out].copy_from_slice(&header(first, len)[..header_out]);
            self.bytes.copy_within(payload..payload + len, start + header_out);
            let text = &mut self.bytes[start + header_out..][..len];
            unmask(text, mask);
            answer.consumed = payload + len;
            if text.starts_with(b"4b") && len < 32 {
                answer.broadcast = std::str::from_utf8(&text[1..]).ok().and_then(broadcast);
                if answer.broadcast.is_some() {
                    continue;
                }
            }
            answer.closes = first == 0x88;
            answer.len = start + header_out + len;
        }
    }
}

fn unmask(payload: &mut [u8], mask: [u8; 4]) {
    let wide = u64::from_ne_bytes([mask[0], mask[1], mask[2], mask[3], mask[0], mask[1], mask[2], mask[3]]);
    let (chunks, rest) = payload.split_at_mut(payload.len() / 8 * 8);
    for chunk in chunks.chunks_exact_mut(8) {
        let mut word = [0; 8];
        word.copy_from_slice(chunk);
        chunk.copy_from_slice(&(u64::from_ne_bytes(word) ^ wide).to_ne_bytes());
    }
    for (byte, mask) in rest.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= mask;
    }
}
