//! HTTP requests, prepared, and the answers to them.

use std::net::SocketAddr;

use tokio::net::TcpStream;

use crate::Result;
use crate::client::{ENDED, connect, read, write};

/// What a browser sends with every request, but `Accept-Encoding`: Node's server would compress its answers.
pub(crate) const BROWSER: &str = "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36\r\n\
     Accept: */*\r\nAccept-Language: en\r\nCache-Control: no-cache\r\n";

/// A GET of a session, or the handshake without `sid`.
pub(crate) fn get(addr: SocketAddr, sid: Option<&str>) -> Vec<u8> {
    let sid = sid.map(|sid| format!("&sid={sid}")).unwrap_or_default();
    format!("GET /engine.io/?EIO=4&transport=polling{sid} HTTP/1.1\r\nHost: {addr}\r\n{BROWSER}\r\n").into_bytes()
}

/// A POST of a session.
pub(crate) fn post(addr: SocketAddr, sid: &str, body: &[u8]) -> Vec<u8> {
    let mut request = format!(
        "POST /engine.io/?EIO=4&transport=polling&sid={sid} HTTP/1.1\r\nHost: {addr}\r\n{BROWSER}\
         Content-Type: text/plain;charset=UTF-8\r\nContent-Length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    request.extend_from_slice(body);
    request
}

/// The head of an answer.
struct Head {
    status: u16,
    len: usize,
    body: usize,
}

fn head(bytes: &[u8]) -> Result<Option<Head>> {
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut answer = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(len) = answer.parse(bytes)? else { return Ok(None) };
    let status = answer.code.ok_or("no status")?;
    let header = answer.headers.iter().find(|header| header.name.eq_ignore_ascii_case("content-length"));
    let body = match header {
        Some(header) => std::str::from_utf8(header.value)?.trim().parse()?,
        None if status == 101 => 0,
        None => return Err(format!("an answer {status} without content-length").into()),
    };
    Ok(Some(Head { status, len, body }))
}

/// Reads a 101. Returns what came after it.
pub(crate) async fn switching_protocols(stream: &TcpStream) -> Result<Vec<u8>> {
    let mut received = Vec::new();
    loop {
        read(stream, |bytes| {
            received.extend_from_slice(bytes);
            if bytes.is_empty() { Err(ENDED) } else { Ok(()) }
        })
        .await??;
        if let Some(head) = head(&received)? {
            if head.status != 101 {
                return Err(format!("the handshake was answered with {}", head.status).into());
            }
            return Ok(received.split_off(head.len));
        }
    }
}

/// A kept connection.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) stream: TcpStream,
}

impl Connection {
    pub(crate) async fn open(addr: SocketAddr) -> Result<Self> {
        Ok(Self { stream: connect(addr).await? })
    }

    /// Sends a request. Returns the result of `examine`, which gets the body of the answer.
    pub(crate) async fn ask<T>(&mut self, request: &[u8], examine: impl FnOnce(&[u8]) -> T) -> Result<T> {
        write(&self.stream, request).await?;
        self.answer(examine).await
    }

    /// Waits for the answer to a request.
    pub(crate) async fn answer<T>(&mut self, examine: impl FnOnce(&[u8]) -> T) -> Result<T> {
        /// Returns the body if the answer is complete.
        fn complete(bytes: &[u8]) -> Result<Option<&[u8]>> {
            match head(bytes)? {
                Some(head) if head.status != 200 => Err(format!("a request was answered with {}", head.status).into()),
                Some(head) if bytes.len() > head.len + head.body => Err("an answer that nobody has asked for".into()),
                Some(head) if bytes.len() == head.len + head.body => Ok(Some(&bytes[head.len..])),
                _ => Ok(None),
            }
        }
        let mut examine = Some(examine);
        let mut received = Vec::new();
        loop {
            let examined: Result<Option<T>> = read(&self.stream, |bytes| {
                if bytes.is_empty() {
                    return Err(ENDED.into());
                }
                // Most answers arrive in one piece, and are examined where they are.
                let all = if received.is_empty() {
                    bytes
                } else {
                    received.extend_from_slice(bytes);
                    &received
                };
                match complete(all)? {
                    Some(body) => Ok(examine.take().map(|examine| examine(body))),
                    None => {
                        if received.is_empty() {
                            received.extend_from_slice(bytes);
                        }
                        Ok(None)
                    }
                }
            })
            .await?;
            if let Some(result) = examined? {
                return Ok(result);
            }
        }
    }
}

/// One session on polling, on one connection.
#[derive(Debug)]
pub(crate) struct Polling {
    pub(crate) connection: Connection,
    pub(crate) sid: String,
    /// The poll, prepared.
    pub(crate) get: Vec<u8>,
}

impl Polling {
    /// Opens a session.
    pub(crate) async fn open(addr: SocketAddr) -> Result<Self> {
        let mut connection = Connection::open(addr).await?;
        let sid = connection.ask(&get(addr, None), sid).await??;
        Ok(Self { connection, get: get(addr, Some(&sid)), sid })
    }

    /// Sends a POST, and waits for its answer.
    pub(crate) async fn post(&mut self, request: &[u8]) -> Result<()> {
        match self.connection.ask(request, |body| body == b"ok").await? {
            true => Ok(()),
            false => Err("a POST was not answered with ok".into()),
        }
    }

    /// Polls, and waits for the answer.
    pub(crate) async fn poll<T>(&mut self, examine: impl FnOnce(&[u8]) -> T) -> Result<T> {
        self.connection.ask(&self.get, examine).await
    }
}

/// Finds the session id in an open packet.
fn sid(open: &[u8]) -> Result<String> {
    let open: serde_json::Value = serde_json::from_slice(open.strip_prefix(b"0").ok_or("not an open packet")?)?;
    Ok(open["sid"].as_str().ok_or("an open packet without sid")?.to_owned())
}
