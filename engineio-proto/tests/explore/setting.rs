//! The configuration, and who says what.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use engineio_proto::{Config, Frame, Instant, Message};

use crate::wire::{Heard, base64_encode};

pub const START: Instant = Instant::from_millis(1000);
pub const INTERVAL: Duration = Duration::from_millis(250);
pub const TIMEOUT: Duration = Duration::from_millis(200);
pub const UPGRADE_TIMEOUT: Duration = Duration::from_millis(350);
pub const CLOSE_TIMEOUT: Duration = Duration::from_millis(325);
/// A while that is shorter than all of these.
pub const WAIT: Duration = Duration::from_millis(120);
/// Two small messages fit, a third does not.
pub const SEND_LIMIT: usize = 100;
pub const SEND_LOW: usize = 50;
/// Any message fills the receive buffer.
pub const RECEIVE_LIMIT: usize = 1;
/// A ping and a text, or a text and bytes, but not all three.
pub const MAX_PAYLOAD: usize = 9;
/// How long a poll may be held at most while a probe was answered, and how soon the next one may be released.
pub const RELEASE: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(100));

pub fn config() -> Arc<Config> {
    let mut config = Config::default();
    config.ping_interval = INTERVAL;
    config.ping_timeout = TIMEOUT;
    config.upgrade_timeout = UPGRADE_TIMEOUT;
    config.close_timeout = CLOSE_TIMEOUT;
    config.max_payload = MAX_PAYLOAD;
    config.send_limit = SEND_LIMIT;
    config.send_low = SEND_LOW;
    config.receive_limit = RECEIVE_LIMIT;
    config.validate().unwrap();
    config.into()
}

/// A message, by who sent it and as which of theirs. Odd ones are text, even ones are bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Said(pub u8, pub u8);

impl Said {
    /// What it counts for in a buffer.
    pub const COST: usize = 2 + Message::OVERHEAD;

    fn is_text(self) -> bool {
        self.1 % 2 == 1
    }

    fn bytes(self) -> [u8; 2] {
        [self.0, b'0' + self.1]
    }

    pub fn message(self) -> Message {
        match self.bytes() {
            bytes if self.is_text() => Message::from(std::str::from_utf8(&bytes).unwrap()),
            bytes => Message::from(bytes.to_vec()),
        }
    }

    pub fn heard(self) -> Heard {
        Heard::new(if self.is_text() { b'4' } else { b'b' }, self.bytes())
    }

    /// The packet in the form that is always text.
    pub fn text(self) -> String {
        match self.bytes() {
            bytes if self.is_text() => format!("4{}", std::str::from_utf8(&bytes).unwrap()),
            bytes => format!("b{}", base64_encode(&bytes)),
        }
    }

    /// The frame of a WebSocket: bytes as they are.
    pub fn frame(self) -> Frame {
        if self.is_text() {
            Frame::received(self.text().as_str().into())
        } else {
            Frame::Binary(Bytes::copy_from_slice(&self.bytes()))
        }
    }
}

/// The data of the open packet.
pub fn open_packet(upgrades: &[&str]) -> String {
    let upgrades: Vec<_> = upgrades.iter().map(|name| format!("{name:?}")).collect();
    format!(
        r#"{{"sid":"AAAAAAAAAAAAAAAAAAAA","upgrades":[{}],"pingInterval":250,"pingTimeout":200,"maxPayload":9}}"#,
        upgrades.join(",")
    )
}
