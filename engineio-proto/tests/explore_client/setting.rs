//! The configurations.

use std::sync::Arc;
use std::time::Duration;

use engineio_proto::client;
use engineio_proto::{Instant, TransportKind};

pub const START: Instant = Instant::from_millis(1000);
pub const INTERVAL: Duration = Duration::from_millis(250);
pub const TIMEOUT: Duration = Duration::from_millis(200);
/// How long a server may be silent.
pub const PATIENCE: Duration = Duration::from_millis(450);
pub const OPEN_TIMEOUT: Duration = Duration::from_millis(300);
pub const UPGRADE_TIMEOUT: Duration = Duration::from_millis(350);
pub const CLOSE_TIMEOUT: Duration = Duration::from_millis(325);
/// A while that is shorter than all of these.
pub const WAIT: Duration = Duration::from_millis(120);
/// Three small messages are taken, a fourth is not.
pub const SEND_LIMIT: usize = 120;
pub const SEND_LOW: usize = 50;
/// Any message fills the receive buffer.
pub const RECEIVE_LIMIT: usize = 1;
/// What the client takes in one answer: any that is meant to be taken, and not many bytes more.
pub const MAX_ANSWER: usize = 150;
/// What the server takes in one body: a pong and a text, or a text and bytes, but not all three, nor those two and a
/// close packet.
pub const MAX_PAYLOAD: usize = 9;

/// Which client it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Kind {
    pub transports: &'static [TransportKind],
    /// Whether it may upgrade.
    pub upgrade: bool,
    /// Whether it tries all its transports.
    pub all: bool,
    /// Whether a WebSocket worked before.
    pub worked: bool,
}

const BOTH: &[TransportKind] = &[TransportKind::Polling, TransportKind::WebSocket];

/// The one that everybody has.
pub const USUAL: Kind = Kind { transports: BOTH, upgrade: true, all: false, worked: false };
/// It tries polling, then a WebSocket.
pub const PERSISTENT: Kind = Kind { all: true, ..USUAL };
/// It stays on polling.
pub const POLLING: Kind = Kind { upgrade: false, ..USUAL };
/// It knows nothing but WebSockets.
pub const WEBSOCKET: Kind = Kind { transports: &[TransportKind::WebSocket], ..USUAL };
/// It begins on a WebSocket because one worked before, and tries polling when it does not.
pub const REMEMBERING: Kind = Kind { all: true, worked: true, ..USUAL };

impl Kind {
    pub fn config(self) -> Arc<client::Config> {
        let mut config = client::Config::default();
        config.transports = self.transports.to_vec();
        config.upgrade = self.upgrade;
        config.try_all_transports = self.all;
        config.websocket_worked = self.worked;
        config.open_timeout = OPEN_TIMEOUT;
        config.upgrade_timeout = UPGRADE_TIMEOUT;
        config.close_timeout = CLOSE_TIMEOUT;
        config.max_payload = MAX_ANSWER;
        config.send_limit = SEND_LIMIT;
        config.send_low = SEND_LOW;
        config.receive_limit = RECEIVE_LIMIT;
        config.validate().unwrap();
        config.into()
    }
}

/// The open packet.
pub fn open_packet() -> String {
    format!(
        r#"0{{"sid":"S","upgrades":["websocket"],"pingInterval":{},"pingTimeout":{},"maxPayload":{MAX_PAYLOAD}}}"#,
        INTERVAL.as_millis(),
        TIMEOUT.as_millis()
    )
}
