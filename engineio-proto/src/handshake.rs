//! The open packet.

use alloc::string::String;
use core::fmt::Write as _;

use crate::{Config, Packet, PacketKind, Sid, TransportKind};

/// The packet that opens a session: its id, where it may upgrade to, the heartbeat and the limit for payloads.
///
/// Source: protocol revision 4, "Handshake". An id needs no escaping, see [`Sid`], so this is plain formatting.
pub(crate) fn open_packet(sid: &Sid, transport: TransportKind, config: &Config) -> Packet {
    let mut json = String::with_capacity(128);
    let interval = config.ping_interval.as_millis();
    let timeout = config.ping_timeout.as_millis();
    // Writing to a string does not fail.
    let _ = write!(json, r#"{{"sid":"{sid}","upgrades":["#);
    for (index, upgrade) in config.upgrades(transport).iter().enumerate() {
        let comma = if index > 0 { "," } else { "" };
        let _ = write!(json, r#"{comma}"{upgrade}""#);
    }
    let limit = config.max_payload;
    let _ = write!(json, r#"],"pingInterval":{interval},"pingTimeout":{timeout},"maxPayload":{limit}}}"#);
    Packet::Text { kind: PacketKind::Open, data: json.into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Transports;

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
}
