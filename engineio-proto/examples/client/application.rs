//! The applications: one for lines of the standard input, and a test with an echo server.

use std::collections::VecDeque;
use std::io::{self, BufRead, Write};
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use engineio_proto::{Client, Event, Instant, Message, SendError, TransportKind};
use serde_json::{Value, json};

use crate::session::{Report, Reporter};

pub(crate) trait Application {
    /// Handles an event of a session.
    fn event(&mut self, client: &mut Client, now: Instant, event: Event);

    /// Sends what can be sent. Called after everything that happens.
    fn drive(&mut self, client: &mut Client, now: Instant);

    /// Handles a line of the standard input, or its end.
    fn line(&mut self, line: Option<String>);

    /// Returns whether no other session is wanted.
    fn is_done(&self) -> bool;

    /// Returns whether everything was as expected.
    fn is_content(&self) -> bool;
}

/// Prints a line, and flushes it.
pub(crate) fn print(line: &Value) {
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush()); // If nobody reads it, nobody needs it.
}

/// Prints an event, in the form that all applications share.
fn print_event(client: &Client, event: Event) {
    let millis = |duration: Option<Duration>| duration.map(|duration| duration.as_millis() as u64);
    match event {
        Event::Opened => print(&json!({
            "event": "open",
            "sid": client.sid().map(|sid| sid.as_str()),
            "transport": client.transport().name(),
            "upgrades": client.upgrades().map(|all| all.iter().map(TransportKind::name).collect::<Vec<_>>()),
            "pingInterval": millis(client.ping_interval()),
            "pingTimeout": millis(client.ping_timeout()),
            "maxPayload": client.max_payload(),
        })),
        Event::Upgraded(transport) => print(&json!({ "event": "upgrade", "transport": transport.name() })),
        Event::UpgradeFailed(error) => print(&json!({ "event": "upgrade_error", "message": error.to_string() })),
        _ => (),
    }
}

/// Sends each line of the standard input, and prints what arrives.
pub(crate) struct Lines {
    /// Messages that no session has accepted.
    queue: VecDeque<Message>,
    /// Asks for the next line, so that a slow server slows down the standard input.
    next_line: Sender<()>,
    /// The input has ended.
    has_ended: bool,
}

impl Lines {
    /// Starts a thread that reads the lines.
    pub(crate) fn read(reporter: Reporter) -> Self {
        let (next_line, asked) = channel();
        thread::spawn(move || {
            for line in io::stdin().lock().lines().map_while(Result::ok) {
                reporter.send(Report::Line(Some(line)));
                if asked.recv().is_err() {
                    return;
                }
            }
            reporter.send(Report::Line(None));
        });
        Self { queue: VecDeque::new(), next_line, has_ended: false }
    }
}

impl Application for Lines {
    fn event(&mut self, client: &mut Client, now: Instant, event: Event) {
        print_event(client, event);
        while let Some(message) = client.recv(now) {
            print(&match message {
                Message::Text(text) => json!({ "event": "message", "kind": "text", "data": text.as_str() }),
                Message::Binary(bytes) => {
                    json!({ "event": "message", "kind": "binary", "base64": STANDARD.encode(bytes) })
                }
            });
        }
        if let Event::Closed(_) = event {
            // Messages that were not handed to a transport have not arrived. The next session sends them.
            let unsent: Vec<_> = client.unsent().cloned().collect();
            unsent.into_iter().rev().for_each(|message| self.queue.push_front(message));
        }
    }

    fn drive(&mut self, client: &mut Client, now: Instant) {
        while let Some(message) = self.queue.pop_front() {
            match client.send(now, message) {
                Ok(()) => (),
                // `Writable` follows, or another session.
                Err(SendError::Full(message) | SendError::Closed(message)) => {
                    self.queue.push_front(message);
                    return;
                }
                Err(error) => print(&json!({ "event": "send_error", "message": error.to_string() })),
            }
            let _ = self.next_line.send(()); // The thread may have read the last line.
        }
        if self.has_ended {
            client.close(now);
        }
    }

    fn line(&mut self, line: Option<String>) {
        let Some(line) = line else {
            self.has_ended = true;
            return;
        };
        let bytes = line.strip_prefix("base64:").and_then(|text| STANDARD.decode(text).ok());
        self.queue.push_back(bytes.map_or_else(|| line.into(), Message::from));
    }

    fn is_done(&self) -> bool {
        self.has_ended
    }

    fn is_content(&self) -> bool {
        true
    }
}

/// The maximum number of messages without an echo while the transport changes.
const MAX_AHEAD: usize = 16;

/// Sends messages of all kinds and sizes to an echo server, and checks that each comes back, in order. If there is an
/// upgrade, it waits for that before it closes the session.
pub(crate) struct SelfTest {
    count: usize,
    /// The size of the largest message, in bytes, once the session is open.
    limit: Option<usize>,
    sent: usize,
    received: usize,
    mismatches: usize,
    is_upgrading: bool,
}

impl SelfTest {
    pub(crate) fn new(count: usize) -> Self {
        Self { count, limit: None, sent: 0, received: 0, mismatches: 0, is_upgrading: false }
    }
}

impl Application for SelfTest {
    fn event(&mut self, client: &mut Client, now: Instant, event: Event) {
        print_event(client, event);
        match event {
            Event::Opened => {
                // On polling, three bytes become four characters of base64.
                let limit = client.max_payload().unwrap_or(usize::MAX);
                self.limit = Some((limit.saturating_sub(1) / 4 * 3).min(500_000));
                let is_offered = client.upgrades().is_some_and(|all| all.contains(TransportKind::WebSocket));
                let is_allowed = client.config().transports.contains(&TransportKind::WebSocket);
                self.is_upgrading = client.config().upgrade && is_offered && is_allowed;
            }
            Event::Upgraded(_) | Event::UpgradeFailed(_) => self.is_upgrading = false,
            _ => (),
        }
        while let Some(message) = client.recv(now) {
            let expected = sample(self.received, self.limit.unwrap_or_default());
            self.mismatches += usize::from(message != expected);
            self.received += 1;
        }
        if let Event::Closed(_) = event {
            print(&json!({
                "event": "self_test",
                "sent": self.sent,
                "received": self.received,
                "mismatches": self.mismatches,
                "upgraded": client.upgraded(),
            }));
        }
    }

    fn drive(&mut self, client: &mut Client, now: Instant) {
        let Some(limit) = self.limit else { return };
        // A server whose buffers are full of echoes does not accept a POST, and the upgrade waits for the answer to the
        // last one.
        let ahead = if self.is_upgrading { MAX_AHEAD } else { usize::MAX };
        while self.sent < self.count && self.sent - self.received < ahead {
            // If there is no room, `Writable` follows.
            if client.send(now, sample(self.sent, limit)).is_err() {
                return;
            }
            self.sent += 1;
        }
        if self.received >= self.count && !self.is_upgrading {
            client.close(now);
        }
    }

    fn line(&mut self, _: Option<String>) {}

    fn is_done(&self) -> bool {
        true
    }

    fn is_content(&self) -> bool {
        self.sent == self.count && self.received == self.count && self.mismatches == 0
    }
}

/// Returns the message with this number: text and binary alternate, with all sizes and all lengths of UTF-8 sequences.
fn sample(number: usize, limit: usize) -> Message {
    const SIZES: [usize; 13] = [0, 1, 2, 125, 126, 127, 1000, 1023, 1024, 4096, 16_383, 65_535, 65_536];
    const LETTERS: [char; 8] = ['a', 'é', '漢', '😀', '\n', '\u{0}', '\u{2028}', '\u{10ffff}'];
    // Large messages are rare.
    let size = if number % 50 == 49 { 500_000 } else { SIZES[number % SIZES.len()] };
    let size = size.min(limit);
    if number % 2 == 1 {
        let bytes = (0..size).map(|at| (number.wrapping_mul(31) ^ at.wrapping_mul(7)) as u8);
        return bytes.collect::<Vec<_>>().into();
    }
    let mut text = format!("{number} ");
    text.truncate(size);
    for letter in LETTERS.iter().cycle().skip(number) {
        if text.len() + letter.len_utf8() > size {
            break;
        }
        text.push(*letter);
    }
    text.into()
}
