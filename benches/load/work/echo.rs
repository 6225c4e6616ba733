//! Sessions that get messages: echoes on both transports, and broadcasts.

use std::mem;
use std::net::SocketAddr;
use std::rc::Rc;

use futures_util::future::try_join_all;

use super::{Over, together};
use crate::client::{open_all, patiently, write};
use crate::http::{self, Polling};
use crate::rows::Echo;
use crate::websocket::{BINARY, TEXT, WebSocket, frame, unmasked};
use crate::{Options, Result};

/// Messages of each session that are compared byte by byte before something is measured, for each one in flight.
const CHECKS: usize = 2;

/// Returns the content of a message, so that no two messages that follow each other are the same.
fn content(number: usize, size: usize, binary: bool) -> Vec<u8> {
    let range = if binary { 256 } else { 26 };
    let first = if binary { 0 } else { b'a' };
    (0..size).map(|place| first.wrapping_add(((number * 7 + place) % range) as u8)).collect()
}

/// Sessions on WebSockets, in groups. In each group one session at a time has messages in flight.
pub(super) struct WebSockets {
    groups: Vec<Group>,
    echo: Echo,
    /// All messages that are in flight at a time.
    batch: Rc<[u8]>,
}

struct Group {
    sockets: Vec<WebSocket>,
    next: usize,
}

impl WebSockets {
    pub(super) async fn open(options: &Options, echo: Echo, addr: SocketAddr) -> Result<Self> {
        let (sessions, active) = (options.sessions(echo.sessions), options.sessions(echo.active));
        let mut groups: Vec<_> = (0..active).map(|_| Group { sockets: Vec::new(), next: 0 }).collect();
        let open = || async move {
            let mut socket = WebSocket::open(addr).await?;
            check(&mut socket, &echo).await?;
            Ok(socket)
        };
        for (number, socket) in open_all(sessions, open).await?.into_iter().enumerate() {
            groups[number % active].sockets.push(socket);
        }
        let batch = (0..echo.flight).flat_map(|number| packet(number, &echo)).collect();
        Ok(Self { groups, echo, batch })
    }

    pub(super) async fn round(&mut self, over: Over) -> Result<u64> {
        let (batch, echo) = (Rc::clone(&self.batch), self.echo);
        let task = |mut group: Group| {
            let (over, batch) = (over.clone(), Rc::clone(&batch));
            let (first, len) = if echo.binary { (BINARY, echo.size) } else { (TEXT, echo.size + 1) };
            async move {
                let mut operations = 0;
                while !over.is_over() {
                    let socket = &mut group.sockets[group.next];
                    write(&socket.stream, &batch).await?;
                    socket.expect(echo.flight, first, len).await?;
                    operations += echo.flight as u64;
                    group.next = (group.next + 1) % group.sockets.len();
                }
                Ok((group, operations))
            }
        };
        let groups = mem::take(&mut self.groups);
        let (groups, operations) = patiently("echo", together(groups, task)).await?;
        self.groups = groups;
        Ok(operations)
    }
}

/// The payload of the frame of a message, with its first byte.
fn payload(number: usize, echo: &Echo) -> (u8, Vec<u8>) {
    let mut payload = content(number, echo.size, echo.binary);
    if echo.binary {
        return (BINARY, payload);
    }
    payload.insert(0, b'4');
    (TEXT, payload)
}

fn packet(number: usize, echo: &Echo) -> Vec<u8> {
    let (first, payload) = payload(number, echo);
    frame(first, &payload)
}

/// Checks that messages come back, in order, byte by byte.
async fn check(socket: &mut WebSocket, echo: &Echo) -> Result<()> {
    for round in 0..CHECKS {
        let numbers = || (0..echo.flight).map(|number| round * echo.flight + number);
        let sent: Vec<u8> = numbers().flat_map(|number| packet(number, echo)).collect();
        let echoed = numbers().map(|number| payload(number, echo));
        let expected: Vec<u8> = echoed.flat_map(|(first, payload)| unmasked(first, &payload)).collect();
        write(&socket.stream, &sent).await?;
        socket.expect_bytes(&expected).await?;
    }
    Ok(())
}

/// Opens a session, and checks that one short message comes back.
pub(super) async fn open_and_check(addr: SocketAddr) -> Result<WebSocket> {
    let mut socket = WebSocket::open(addr).await?;
    write(&socket.stream, &frame(TEXT, b"4hello")).await?;
    socket.expect_bytes(&unmasked(TEXT, b"4hello")).await?;
    Ok(socket)
}

/// Sessions on polling.
pub(super) struct PollingSessions {
    sessions: Vec<Session>,
    echo: Echo,
}

struct Session {
    polling: Polling,
    /// One request with all messages that are in flight at a time.
    post: Vec<u8>,
    pong: Vec<u8>,
}

impl PollingSessions {
    pub(super) async fn open(options: &Options, echo: Echo, addr: SocketAddr) -> Result<Self> {
        let open = || async move {
            let mut polling = Polling::open(addr).await?;
            for round in 0..CHECKS {
                check_body(&mut polling, addr, &body(round, &echo)).await?;
            }
            let post = http::post(addr, &polling.sid, &body(0, &echo));
            let pong = http::post(addr, &polling.sid, b"3");
            Ok(Session { polling, post, pong })
        };
        Ok(Self { sessions: open_all(options.sessions(echo.sessions), open).await?, echo })
    }

    pub(super) async fn round(&mut self, over: Over) -> Result<u64> {
        let echo = self.echo;
        let len = body(0, &Echo { flight: 1, ..echo }).len();
        let task = |mut session: Session| {
            let over = over.clone();
            async move {
                let mut operations = 0;
                while !over.is_over() {
                    session.polling.post(&session.post).await?;
                    let mut answered = 0;
                    while answered < echo.flight {
                        let (echoes, pings) = session.polling.poll(|body| echoes(body, len)).await??;
                        answered += echoes;
                        for _ in 0..pings {
                            session.polling.post(&session.pong).await?;
                        }
                    }
                    if answered > echo.flight {
                        return Err(format!("{answered} echoes of {} messages", echo.flight).into());
                    }
                    operations += echo.flight as u64;
                }
                Ok((session, operations))
            }
        };
        let sessions = mem::take(&mut self.sessions);
        let (sessions, operations) = patiently("echo", together(sessions, task)).await?;
        self.sessions = sessions;
        Ok(operations)
    }
}

/// Counts the packets of this length in the body of an answer, and pings. Fails if there are others.
fn echoes(body: &[u8], len: usize) -> Result<(usize, usize)> {
    // Only echoes, with separators between them: they were compared byte by byte before.
    if (body.len() + 1) % (len + 1) == 0 {
        return Ok(((body.len() + 1) / (len + 1), 0));
    }
    let (mut echoes, mut pings) = (0, 0);
    for packet in body.split(|byte| *byte == 0x1e) {
        match packet {
            b"2" => pings += 1,
            packet if packet.len() == len => echoes += 1,
            packet => return Err(format!("a packet of {} bytes", packet.len()).into()),
        }
    }
    Ok((echoes, pings))
}

/// The body of a request with all messages that are in flight at a time.
fn body(round: usize, echo: &Echo) -> Vec<u8> {
    let packet = |number| {
        let content = content(round * echo.flight + number, echo.size, echo.binary);
        if echo.binary { [b"b", base64(&content).as_bytes()].concat() } else { [b"4", content.as_slice()].concat() }
    };
    let packets: Vec<_> = (0..echo.flight).map(packet).collect();
    packets.join(&0x1e)
}

/// Checks that messages come back, in order, byte by byte. Pings are answered, and do not count.
pub(super) async fn check_body(polling: &mut Polling, addr: SocketAddr, body: &[u8]) -> Result<()> {
    polling.post(&http::post(addr, &polling.sid, body)).await?;
    let mut received = Vec::new();
    while received.len() < body.len() {
        let packets = |answer: &[u8]| answer.split(|byte| *byte == 0x1e).map(<[u8]>::to_vec).collect::<Vec<_>>();
        for packet in polling.poll(packets).await? {
            if packet == b"2" {
                polling.post(&http::post(addr, &polling.sid, b"3")).await?;
                continue;
            }
            if !received.is_empty() {
                received.push(0x1e);
            }
            received.extend_from_slice(&packet);
        }
    }
    if received == body { Ok(()) } else { Err("an echo differs".into()) }
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let word = chunk.iter().fold(0_u32, |word, byte| word << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for place in 0..4 {
            let digit = DIGITS[(word >> (18 - 6 * place) & 63) as usize];
            text.push(if place <= chunk.len() { digit.into() } else { '=' });
        }
    }
    text
}

/// Sessions on WebSockets that get broadcasts; the first one asks for them.
pub(super) struct Listeners {
    sockets: Vec<WebSocket>,
    size: usize,
    burst: usize,
    command: Vec<u8>,
}

impl Listeners {
    pub(super) async fn open(sessions: usize, size: usize, burst: usize, addr: SocketAddr) -> Result<Self> {
        let mut sockets = open_all(sessions, || open_and_check(addr)).await?;
        let command = frame(TEXT, format!("4bcast:{burst}:{size}").as_bytes());
        let expected = unmasked(TEXT, format!("4{}", "x".repeat(size)).as_bytes()).repeat(burst);
        write(&sockets[0].stream, &command).await?;
        let deliveries = try_join_all(sockets.iter_mut().map(|socket| socket.expect_bytes(&expected)));
        patiently("check", deliveries).await?;
        Ok(Self { sockets, size, burst, command })
    }

    pub(super) async fn round(&mut self, over: &Over) -> Result<u64> {
        let mut operations = 0;
        while !over.is_over() {
            write(&self.sockets[0].stream, &self.command).await?;
            let (burst, len) = (self.burst, self.size + 1);
            let deliveries = try_join_all(self.sockets.iter_mut().map(|socket| socket.expect(burst, TEXT, len)));
            patiently("broadcast", deliveries).await?;
            operations += (self.burst * self.sockets.len()) as u64;
        }
        Ok(operations)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_padded() {
        let encoded = ["", "f", "fo", "foo", "foob"].map(|text| base64(text.as_bytes()));
        assert_eq!(encoded, ["", "Zg==", "Zm8=", "Zm9v", "Zm9vYg=="]);
    }

    #[test]
    fn echoes_and_pings_are_counted() {
        let count = |body: &str| echoes(body.as_bytes(), 3).map_err(|error| error.to_string());
        assert_eq!(count("4ab\x1e4cd"), Ok((2, 0)));
        assert_eq!(count("2\x1e4ab\x1e4cd"), Ok((2, 1)));
        assert_eq!(count("2"), Ok((0, 1)));
        assert_eq!(count("4abc"), Err("a packet of 4 bytes".into()));
    }
}
