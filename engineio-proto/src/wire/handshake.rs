//! The open packet: encoding and decoding.

use alloc::string::String;
use core::fmt;
use core::fmt::Write as _;

use alloc::vec::Vec;
use core::time::Duration;

use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

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

    /// Decodes the data of an open packet. Unknown keys are ignored. `maxPayload` is optional because older servers do not
    /// send it, and so is `upgrades`. Returns `None` if the data is not valid.
    ///
    /// Numbers are those of JavaScript, as other clients read them: `10000/3` is 3333.333, and some servers send text.
    /// They are cut to whole milliseconds or bytes.
    pub(crate) fn parse(data: &Text) -> Option<Self> {
        /// Far longer than any valid packet. Lists in JSON need several times their length in memory when they are
        /// parsed.
        const MAX_LEN: usize = 64 << 10;

        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Json {
            sid: String,
            #[serde(default)]
            upgrades: Option<Vec<String>>,
            ping_interval: Number,
            ping_timeout: Number,
            #[serde(default)]
            max_payload: Number,
        }

        if data.len() > MAX_LEN {
            return None;
        }
        let json: Json = serde_json::from_str(data).ok()?;
        // The conversions cut fractions, and saturate.
        let millis = |number: Number| number.0.map(|number| Duration::from_millis(number as u64));
        let (ping_interval, ping_timeout) = (millis(json.ping_interval)?, millis(json.ping_timeout)?);
        if ping_interval.is_zero() && ping_timeout.is_zero() {
            return None;
        }
        let upgrades = json.upgrades.unwrap_or_default();
        Some(Self {
            sid: Sid::from_peer(&json.sid)?,
            upgrades: upgrades.iter().filter_map(|name| TransportKind::from_name(name)).collect(),
            ping_interval,
            ping_timeout,
            max_payload: json.max_payload.0.map(|limit| limit as usize).filter(|&limit| limit > 0),
        })
    }
}

/// A finite number, or its text. `None` for every other value.
#[derive(Clone, Copy, Default)]
struct Number(Option<f64>);

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NumberVisitor)
    }
}

struct NumberVisitor;

impl<'de> Visitor<'de> for NumberVisitor {
    type Value = Number;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_u64<E>(self, number: u64) -> Result<Number, E> {
        Ok(Number(Some(number as f64)))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Number, E> {
        Ok(Number(Some(number as f64)))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Number, E> {
        Ok(Number(Some(number)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Number, E> {
        Ok(Number(text.trim().parse().ok().filter(|number: &f64| number.is_finite())))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Number, E> {
        Ok(Number(None))
    }

    fn visit_unit<E>(self) -> Result<Number, E> {
        Ok(Number(None))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Number, A::Error> {
        IgnoredAny.visit_seq(seq).map(|_| Number(None))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Number, A::Error> {
        IgnoredAny.visit_map(map).map(|_| Number(None))
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

    /// Servers that compute their times, or that read them from text.
    #[test]
    fn y032_numbers_are_those_of_javascript() {
        let opened = |interval: &str, limit: &str| {
            let limit = if limit.is_empty() { String::new() } else { alloc::format!(r#","maxPayload":{limit}"#) };
            let json = alloc::format!(r#"{{"sid":"a","pingInterval":{interval},"pingTimeout":20000{limit}}}"#);
            Opened::parse(&json.into())
        };
        for (interval, millis) in [
            ("15000", 15_000),
            (r#""15000""#, 15_000),
            (r#"" 15000.5\n""#, 15_000),
            ("25000.0", 25_000),
            ("2.5e4", 25_000),
            ("3333.3333333333335", 3333),
            ("0.9", 0),
            ("-0", 0),
            ("-1", 0),
            ("-1e300", 0),
            ("9007199254740993", 9_007_199_254_740_992),
            ("18446744073709551616", u64::MAX),
            ("1e21", u64::MAX),
            ("-18446744073709551616", 0),
        ] {
            let opened = opened(interval, "").unwrap_or_else(|| panic!("{interval} is a number"));
            assert_eq!(opened.ping_interval, Duration::from_millis(millis), "{interval}");
            assert_eq!((opened.upgrades, opened.max_payload), (Transports::NONE, None));
        }
        for interval in ["null", "true", "[1]", r#"{"a":1}"#, r#""""#, r#""x""#, r#""NaN""#, r#""inf""#, "1e999", "NaN"]
        {
            assert_eq!(opened(interval, ""), None, "{interval}");
        }
        for (limit, expected) in [
            ("1000000.7", Some(1_000_000)),
            (r#""1000000""#, Some(1_000_000)),
            ("1e300", Some(usize::MAX)),
            ("0", None),
            ("0.5", None),
            ("-1", None),
            ("null", None),
            ("false", None),
            ("[[1],2]", None),
            (r#"{"a":{}}"#, None),
            (r#""unlimited""#, None),
        ] {
            let opened = opened("1", limit).unwrap_or_else(|| panic!("{limit} is no reason to refuse"));
            assert_eq!(opened.max_payload, expected, "{limit}");
        }
        let no_upgrades = r#"{"sid":"a","upgrades":null,"pingInterval":1,"pingTimeout":1}"#;
        assert_eq!(Opened::parse(&no_upgrades.into()).unwrap().upgrades, Transports::NONE);
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
            r#"{"sid":"a","upgrades":[],"pingInterval":0,"pingTimeout":0}"#,
            r#"{"sid":"a","upgrades":"websocket","pingInterval":1,"pingTimeout":1}"#,
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
