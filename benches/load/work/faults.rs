//! A server that loses, changes or repeats messages is noticed, so that it cannot look fast.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use clap::Parser as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::Load;
use crate::rows::{Echo, Work};
use crate::websocket::{TEXT, unmasked};
use crate::{Options, Result};

const ECHO: Echo = Echo { sessions: 2, active: 2, size: 64, flight: 16, binary: false };

#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    None,
    /// Another content of the same length.
    Content,
    Shorter,
    Twice,
    /// The connection ends instead.
    Lost,
}

/// Loads an echo server with a fault in one message, by its number on its connection.
async fn load(fault: Fault, at: usize) -> Result<u64> {
    let local = tokio::task::LocalSet::new();
    local
        .run_until(async {
            let listener = TcpListener::bind("127.0.0.1:0").await?;
            let addr = listener.local_addr()?;
            let served = Rc::new(Cell::new(0));
            let count = Rc::clone(&served);
            tokio::task::spawn_local(async move {
                while let Ok((stream, _)) = listener.accept().await {
                    tokio::task::spawn_local(serve(stream, fault, at, Rc::clone(&count)));
                }
            });
            let options = Options::parse_from(["load", "--smoke"]);
            let mut load = Load::open(&options, &Work::WebSocketEcho(ECHO), addr).await?;
            served.set(0);
            let mut operations = 0;
            while operations < 1000 {
                operations += load.round(Duration::from_millis(5)).await?;
            }
            assert_eq!(operations, served.get(), "every message was counted once");
            Ok(operations)
        })
        .await
}

async fn serve(mut stream: TcpStream, fault: Fault, at: usize, served: Rc<Cell<u64>>) -> std::io::Result<()> {
    let mut received = Vec::new();
    while !received.ends_with(b"\r\n\r\n") {
        stream.read_buf(&mut received).await?;
    }
    received.clear();
    stream.write_all(b"HTTP/1.1 101 Switching Protocols\r\n\r\n").await?;
    stream.write_all(&unmasked(TEXT, b"0{}")).await?;
    let mut number = 0;
    while stream.read_buf(&mut received).await? > 0 {
        let mut answer = Vec::new();
        while received.len() >= 6 + 65 {
            let frame: Vec<u8> = received.drain(..6 + 65).collect();
            let mask = frame[2..6].iter().cycle();
            let mut payload: Vec<u8> = frame[6..].iter().zip(mask).map(|(byte, mask)| byte ^ mask).collect();
            let faulty = number == at;
            match fault {
                Fault::Content if faulty => payload[30] ^= 1,
                Fault::Shorter if faulty => payload.truncate(64),
                Fault::Twice if faulty => answer.extend(unmasked(TEXT, &payload)),
                Fault::Lost if faulty => {
                    stream.write_all(&answer).await?;
                    stream.shutdown().await?;
                    // With unread data, the connection would be reset.
                    while stream.read_buf(&mut received).await? > 0 {}
                    return Ok(());
                }
                _ => (),
            }
            answer.extend(unmasked(TEXT, &payload));
            number += 1;
            served.set(served.get() + 1);
        }
        stream.write_all(&answer).await?;
    }
    Ok(())
}

/// The error for a fault in this message.
async fn error(fault: Fault, at: usize) -> String {
    load(fault, at).await.map_or_else(|error| error.to_string(), |operations| format!("{operations} operations"))
}

#[tokio::test(flavor = "current_thread")]
async fn faults_are_noticed() {
    assert!(load(Fault::None, 0).await.is_ok_and(|operations| operations > 0));
    // Among the first messages, which are compared
    assert_eq!(error(Fault::Content, 20).await, "first messages: an echo differs, at byte 300");
    assert_eq!(error(Fault::Lost, 20).await, "first messages: the server has closed the connection");
    // Later
    assert_eq!(error(Fault::Shorter, 100).await, "echo: a frame 0x81 of 64 bytes");
    assert_eq!(error(Fault::Twice, 100).await, "echo: 17 frames instead of 16");
    assert_eq!(error(Fault::Lost, 100).await, "echo: the server has closed the connection");
}
