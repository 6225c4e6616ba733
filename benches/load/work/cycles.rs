//! Sessions that open, do little and close.

use std::net::SocketAddr;

use super::{Over, together};
use crate::Result;
use crate::client::{patiently, write};
use crate::http::{self, Polling};
use crate::websocket::{TEXT, WebSocket, frame, unmasked};

/// How many at a time.
const AT_ONCE: usize = 16;

#[derive(Clone, Copy, Debug)]
pub(super) enum Cycle {
    WebSocket,
    Polling,
    Upgrade,
}

pub(super) struct Cycles {
    cycle: Cycle,
    addr: SocketAddr,
}

impl Cycles {
    pub(super) fn new(cycle: Cycle, addr: SocketAddr) -> Self {
        Self { cycle, addr }
    }

    pub(super) async fn round(&self, over: Over) -> Result<u64> {
        let Self { cycle, addr } = *self;
        let task = |()| {
            let over = over.clone();
            async move {
                let mut operations = 0;
                while !over.is_over() {
                    match cycle {
                        Cycle::WebSocket => WebSocket::open(addr).await?.close().await?,
                        Cycle::Polling => polling(addr).await?,
                        Cycle::Upgrade => upgrade(addr).await?,
                    }
                    operations += 1;
                }
                Ok(((), operations))
            }
        };
        let (_, operations) = patiently("sessions", together(vec![(); AT_ONCE], task)).await?;
        Ok(operations)
    }
}

/// A handshake, and the close packet in a POST.
async fn polling(addr: SocketAddr) -> Result<()> {
    let mut session = Polling::open(addr).await?;
    let close = http::post(addr, &session.sid, b"1");
    session.post(&close).await
}

/// What the official client does: a poll is held while the WebSocket is probed.
async fn upgrade(addr: SocketAddr) -> Result<()> {
    let mut session = Polling::open(addr).await?;
    write(&session.connection.stream, &session.get).await?;
    let mut socket = WebSocket::connect(addr, Some(&session.sid)).await?;
    write(&socket.stream, &frame(TEXT, b"2probe")).await?;
    socket.expect_bytes(&unmasked(TEXT, b"3probe")).await?;
    loop {
        match session.connection.answer(|body| body.first().copied()).await? {
            Some(b'6') => break,
            // A server may ping at once.
            Some(b'2') => {
                session.post(&http::post(addr, &session.sid, b"3")).await?;
                write(&session.connection.stream, &session.get).await?;
            }
            other => return Err(format!("a poll got a packet {other:?}").into()),
        }
    }
    write(&socket.stream, &frame(TEXT, b"5")).await?;
    write(&socket.stream, &frame(TEXT, b"4hello")).await?;
    socket.expect_bytes(&unmasked(TEXT, b"4hello")).await?;
    socket.close().await
}
