//! The open packet: encoding and decoding.

use alloc::string::String;
use core::fmt::Write as _;

use alloc::vec::Vec;
use core::time::Duration;

use serde::Deserialize;

use crate::config::Config;
use crate::parts::transport::{TransportKind, Transports};
use crate::server::sid::Sid;
use crate::wire::packet::{Packet, PacketKind};
use crate::wire::text::Text;

/// Encodes the packet that opens a session: its id, its possible upgrades, the heartbeat, and the limit for payloads.
///
/// Source: protocol revision 4, "Handshake". A session id needs no escaping, see [`Sid`], so plain formatting is
/// enough.
pub(crate) fn open_packet(sid: &Sid, transport: TransportKind, config: &Config) -> Packet {
    let mut json = String::with_capacity(128);
    let interval = config.ping_interval.as_millis();
    let timeout = config.ping_timeout.as_millis();
    // Writing to a string cannot fail.
    let _ = write!(json, r#"{{"sid":"{sid}","upgrades":["#);
    let mut comma = "";
    for upgrade in config.upgrades(transport).iter() {
        let _ = write!(json, r#"{comma}"{upgrade}""#);
        comma = ",";
    }
    let limit = config.max_payload;
    let _ = write!(json, r#"],"pingInterval":{interval},"pingTimeout":{timeout},"maxPayload":{limit}}}"#);
    Packet::Text { kind: PacketKind::Open, data: json.into() }
}

/// The contents of an open packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Opened {
    pub(crate) sid: Sid,
    /// The transports that the server offers for an upgrade. Unknown ones are left out.
    pub(crate) upgrades: Transports,
    pub(crate) ping_interval: Duration,
    pub(crate) ping_timeout: Duration,
    /// The maximum size of a request body or a message that the server accepts, in bytes, if it announced one.
    pub(crate) max_payload: Option<usize>,
}

impl Opened {
    /// Decodes the data of an open packet. Unknown keys are ignored, and `maxPayload` is optional because older servers
    /// do not send it. Returns `None` if the data is not valid.
    pub(crate) fn parse(data: &Text) -> Option<Self> {
        /// Far longer than any valid packet. Lists in JSON need several times their length in memory when they are
        /// parsed.
        const MAX_LEN: usize = 64 << 10;

        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Json {
            sid: String,
            upgrades: Vec<String>,
            ping_interval: u64,
            ping_timeout: u64,
            #[serde(default)]
            max_payload: Option<u64>,
        }

        if data.len() > MAX_LEN {
            return None;
        }
        let json: Json = serde_json::from_str(data).ok()?;
        if json.ping_interval == 0 && json.ping_timeout == 0 {
            return None;
        }
        Some(Self {
            sid: Sid::from_peer(&json.sid)?,
            upgrades: json.upgrades.iter().filter_map(|name| TransportKind::from_name(name)).collect(),
            ping_interval: Duration::from_millis(json.ping_interval),
            ping_timeout: Duration::from_millis(json.ping_timeout),
            max_payload: json.max_payload.and_then(|limit| usize::try_from(limit).ok()).filter(|&limit| limit > 0),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(transport: TransportKind, config: &Config) -> String {
        let Packet::Text { data, .. } = open_packet(&Sid::new("abc").unwrap(), transport, config) else {
            panic!("open is text");
        };
        data.as_str().into()
    }

    #[test]
    fn offers_what_is_enabled_and_reachable() {
        let mut config = Config::default();
        assert_eq!(
            open(TransportKind::Polling, &config),
            r#"{"sid":"abc","upgrades":["websocket"],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}"#
        );
        assert!(open(TransportKind::WebSocket, &config).contains(r#""upgrades":[]"#));
        config.allow_upgrades = false;
        assert!(open(TransportKind::Polling, &config).contains(r#""upgrades":[]"#));
        config.allow_upgrades = true;
        config.transports = Transports::NONE.with(TransportKind::Polling);
        assert!(open(TransportKind::Polling, &config).contains(r#""upgrades":[]"#));
    }

    #[test]
    fn what_we_write_we_can_read() {
        let Packet::Text { data, .. } =
            open_packet(&Sid::new("abc").unwrap(), TransportKind::Polling, &Config::default())
        else {
            panic!("open is text");
        };
        let opened = Opened::parse(&data).unwrap();
        assert_eq!((&*opened.sid, opened.upgrades), ("abc", Transports::from_iter([TransportKind::WebSocket])));
        assert_eq!((opened.ping_interval.as_secs(), opened.ping_timeout.as_secs()), (25, 20));
        assert_eq!(opened.max_payload, Some(1_000_000));
    }

    #[test]
    fn other_servers_say_more_or_less() {
        let parse = |text: &str| Opened::parse(&text.into());
        let more =
            r#"{"sid":"a\u002fb","upgrades":["webtransport","x"],"pingInterval":1,"pingTimeout":0,"x":{"y":[1]}}"#;
        let opened = parse(more).unwrap();
        assert_eq!((&*opened.sid, opened.upgrades, opened.max_payload), ("a/b", Transports::NONE, None));
        let unlimited = r#"{"sid":"a","upgrades":[],"pingInterval":1,"pingTimeout":1,"maxPayload":0}"#;
        assert_eq!(parse(unlimited).unwrap().max_payload, None);
        for broken in [
            "",
            "{",
            "{}",
            "[]",
            "null",
            r#"{"sid":"","upgrades":[],"pingInterval":1,"pingTimeout":1}"#,
            r#"{"sid":7,"upgrades":[],"pingInterval":1,"pingTimeout":1}"#,
            r#"{"sid":"a","pingInterval":1,"pingTimeout":1}"#,
            r#"{"sid":"a","upgrades":[],"pingInterval":0,"pingTimeout":0}"#,
            r#"{"sid":"a","upgrades":[],"pingInterval":-1,"pingTimeout":1}"#,
            r#"{"sid":"a","upgrades":[],"pingTimeout":1}"#,
        ] {
            assert_eq!(parse(broken), None, "{broken}");
        }
        assert_eq!(parse(&"[".repeat(100_000)), None);
        let long = |len: usize| parse(&alloc::format!("{more}{}", " ".repeat(len - more.len())));
        assert_eq!((long(65_536).is_some(), long(65_537)), (true, None));
        let many = |count: usize| {
            let upgrades = [r#""x""#].repeat(count).join(",");
            parse(&alloc::format!(r#"{{"sid":"a","upgrades":[{upgrades}],"pingInterval":1,"pingTimeout":1}}"#))
        };
        assert!(many(10_000).is_some());
        assert_eq!(many(1_000_000), None);
    }
}
