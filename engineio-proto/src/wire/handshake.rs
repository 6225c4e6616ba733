//! The open packet: encoding and decoding.

use alloc::string::String;
use core::fmt::Write as _;

use alloc::vec::Vec;
use core::time::Duration;

use serde::Deserialize;

use crate::parts::sid::Sid;
use crate::parts::transport::{TransportKind, Transports};
use crate::wire::packet::{Packet, PacketKind};
use crate::wire::text::Text;

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
    /// Encodes the open packet.
    ///
    /// Source: protocol revision 4, "Handshake". The ids of our own servers need no escaping, see [`Sid`], so plain
    /// formatting is enough.
    pub(crate) fn to_packet(&self) -> Packet {
        let Self { sid, upgrades, ping_interval, ping_timeout, max_payload } = self;
        let (interval, timeout) = (ping_interval.as_millis(), ping_timeout.as_millis());
        let mut json = String::with_capacity(128);
        // Writing to a string cannot fail.
        let _ = write!(json, r#"{{"sid":"{sid}","upgrades":["#);
        let mut comma = "";
        for upgrade in upgrades.iter() {
            let _ = write!(json, r#"{comma}"{upgrade}""#);
            comma = ",";
        }
        let _ = write!(json, r#"],"pingInterval":{interval},"pingTimeout":{timeout}"#);
        if let Some(limit) = max_payload {
            let _ = write!(json, r#","maxPayload":{limit}"#);
        }
        json.push('}');
        Packet::Text { kind: PacketKind::Open, data: json.into() }
    }

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

    #[test]
    fn what_is_encoded_can_be_decoded() {
        let mut opened = Opened {
            sid: Sid::new("abc").unwrap(),
            upgrades: Transports::from_iter([TransportKind::WebSocket]),
            ping_interval: Duration::from_secs(25),
            ping_timeout: Duration::from_secs(20),
            max_payload: Some(1_000_000),
        };
        let encoded = |opened: &Opened| match opened.to_packet() {
            Packet::Text { kind: PacketKind::Open, data } => data,
            other => panic!("{other:?} is no open packet"),
        };
        let expected =
            r#"{"sid":"abc","upgrades":["websocket"],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}"#;
        assert_eq!(encoded(&opened), expected);
        assert_eq!(Opened::parse(&encoded(&opened)), Some(opened.clone()));

        (opened.upgrades, opened.max_payload) = (Transports::NONE, None);
        assert_eq!(encoded(&opened), r#"{"sid":"abc","upgrades":[],"pingInterval":25000,"pingTimeout":20000}"#);
        assert_eq!(Opened::parse(&encoded(&opened)), Some(opened.clone()));

        opened.upgrades = Transports::from_iter([TransportKind::Polling, TransportKind::WebSocket]);
        assert!(encoded(&opened).contains(r#""upgrades":["polling","websocket"]"#));
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
