//! The configuration.

use std::sync::Arc;
use std::time::Duration;

use engineio_proto::Instant;
use engineio_proto::server::Config;

pub const START: Instant = Instant::from_millis(1000);
pub const INTERVAL: Duration = Duration::from_millis(250);
pub const TIMEOUT: Duration = Duration::from_millis(200);
pub const UPGRADE_TIMEOUT: Duration = Duration::from_millis(350);
pub const CLOSE_TIMEOUT: Duration = Duration::from_millis(325);
/// Later than the first ping, and earlier than the end of the wait for its pong.
pub const CONFIRM_TIMEOUT: Duration = Duration::from_millis(400);
/// Longer than a pong may take: a body that is on its way excuses it.
pub const BODY_TIMEOUT: Duration = Duration::from_millis(300);
/// So many answers may be under way, written or not, from the first one that is not written.
pub const MAX_ANSWERS: usize = 8;
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
    config.body_timeout = BODY_TIMEOUT;
    config.confirm_timeout = CONFIRM_TIMEOUT;
    config.max_payload = MAX_PAYLOAD;
    config.send_limit = SEND_LIMIT;
    config.send_low = SEND_LOW;
    config.receive_limit = RECEIVE_LIMIT;
    config.validate().unwrap();
    config.into()
}

/// The data of the open packet.
pub fn open_packet(upgrades: &[&str]) -> String {
    let upgrades: Vec<_> = upgrades.iter().map(|name| format!("{name:?}")).collect();
    format!(
        r#"{{"sid":"AAAAAAAAAAAAAAAAAAAA","upgrades":[{}],"pingInterval":250,"pingTimeout":200,"maxPayload":9}}"#,
        upgrades.join(",")
    )
}
