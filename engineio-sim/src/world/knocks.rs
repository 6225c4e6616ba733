//! Requests that reach no session: the server must reject each of them, with this status and this body.
//!
//! Source: the reference's `verify` and `handshake`; `docs/conformance.md` has the order of the checks.

use engineio_proto::http::{HttpVersion, Method, Request, WebSocketHead};
use engineio_proto::server::{Admission, Entry, NotAdmitted};
use engineio_proto::{ChannelId, ExchangeId, Phase, Sid, TransportKind};

use super::core::{Core, Outcome};
use crate::foreign::Knock;
use crate::oracle::{Law, broken};

/// The bodies of rejections.
const UNKNOWN_TRANSPORT: &str = r#"{"code":0,"message":"Transport unknown"}"#;
const UNKNOWN_SID: &str = r#"{"code":1,"message":"Session ID unknown"}"#;
const BAD_METHOD: &str = r#"{"code":2,"message":"Bad handshake method"}"#;
const BAD_REQUEST: &str = r#"{"code":3,"message":"Bad request"}"#;
const REVISION: &str = r#"{"code":5,"message":"Unsupported protocol version"}"#;

/// A request, as far as it counts.
struct Asked {
    method: Method,
    query: String,
    origin: Option<&'static [u8]>,
    upgrade: bool,
    head: WebSocketHead<'static>,
}

const HEAD: WebSocketHead<'static> = WebSocketHead {
    method: Method::Get,
    key: Some(b"dGhlIHNhbXBsZSBub25jZQ=="),
    version: Some(b"13"),
    protocols: None,
    has_body: false,
    http: HttpVersion::Http11,
    can_switch: true,
};

const OLD_HTTP: &str = "Bad request: HTTP/1.0 cannot be upgraded to a WebSocket. A proxy must use HTTP/1.1 \
                        (nginx: proxy_http_version 1.1)";
const NO_SWITCH: &str = "Bad request: this connection cannot be upgraded to a WebSocket. The host or a layer in front of this \
                         server does not support upgrades";

impl Core {
    /// Someone sends a request that must be rejected.
    pub(crate) fn knock(&mut self, client: usize, knock: Knock) -> Outcome {
        let server = client % self.servers.len();
        let slot = self.servers[server].sessions.values().copied().find(|&slot| {
            let is_open = |session: &engineio_proto::Session| session.phase() != Phase::Closed;
            self.session(slot).is_some_and(is_open)
        });
        let Some((asked, status, body)) = self.rejection(knock, slot) else { return Ok(()) };
        let request =
            Request { method: asked.method, query: &asked.query, origin: asked.origin, upgrade: asked.upgrade };
        let number = self.next_number();
        let entry = match asked.upgrade {
            true => Entry::Channel { channel: ChannelId(number), head: Some(asked.head) },
            false => Entry::Exchange { exchange: ExchangeId(number), octet_stream: false },
        };
        let node = &mut self.servers[server];
        let admission = Admission::begin(&request, &node.config).map_err(NotAdmitted::from);
        let sid = Some(Sid::from_entropy([number as u8; 15]));
        let now = self.now;
        let admitted = admission.and_then(|admission| node.machine.admit(now, admission, entry, sid));
        let seen = match admitted {
            Ok(_) => return broken(Law::Admission, format!("{knock:?} was admitted")),
            Err(refused) => refused.into_reply(asked.upgrade),
        };
        if (seen.status, &*seen.body) == (status, body.as_bytes()) {
            return Ok(());
        }
        let text = String::from_utf8_lossy(&seen.body);
        broken(Law::Admission, format!("{knock:?} is answered with {} {text}, expected {status} {body}", seen.status))
    }

    /// Returns a request and its answer, unless there is no session for it.
    fn rejection(&self, knock: Knock, slot: Option<usize>) -> Option<(Asked, u16, &'static str)> {
        let asked =
            |method, query: &str, upgrade| Asked { method, query: query.to_owned(), origin: None, upgrade, head: HEAD };
        let get = |query: &str| asked(Method::Get, query, false);
        let channel = |query: &str| asked(Method::Get, query, true);
        let opening = |head| Asked { head, ..channel("EIO=4&transport=websocket") };
        let session = |slot: usize| {
            let slot = &self.sessions[slot];
            (slot.sid.clone(), slot.expected.transport())
        };
        let unknown = "EIO=4&transport=polling&sid=AAAAAAAAAAAAAAAAAAAA";
        Some(match knock {
            Knock::Bare => (get(""), 400, UNKNOWN_TRANSPORT),
            Knock::Transport => (get("EIO=4&transport=constructor"), 400, UNKNOWN_TRANSPORT),
            Knock::Origin => {
                (Asked { origin: Some(b"http://a\0b"), ..get("EIO=4&transport=polling") }, 400, BAD_REQUEST)
            }
            Knock::Sid => (get(unknown), 400, UNKNOWN_SID),
            Knock::PostSid => (asked(Method::Post, unknown, false), 400, UNKNOWN_SID),
            Knock::ChannelSid => {
                (channel("EIO=4&transport=websocket&sid=AAAAAAAAAAAAAAAAAAAA"), 400, "Session ID unknown")
            }
            Knock::PostHandshake => (asked(Method::Post, "EIO=4&transport=polling", false), 400, BAD_METHOD),
            Knock::NoUpgrade => (get("EIO=4&transport=websocket"), 400, BAD_REQUEST),
            Knock::Upgrade => (channel("EIO=4&transport=polling"), 400, "Bad request"),
            Knock::Revision => (get("EIO=3&transport=polling"), 400, REVISION),
            Knock::ChannelRevision => (channel("transport=websocket"), 400, "Unsupported protocol version"),
            Knock::Key => {
                let head = WebSocketHead { key: Some(b"dGhlIHNhbXBsZSBub25jZQ="), ..HEAD };
                (opening(head), 400, "Missing or invalid Sec-WebSocket-Key header")
            }
            Knock::Version => {
                let head = WebSocketHead { version: Some(b"12"), ..HEAD };
                (opening(head), 400, "Missing or invalid Sec-WebSocket-Version header")
            }
            Knock::OldHttp => (opening(WebSocketHead { http: HttpVersion::Http10, ..HEAD }), 400, OLD_HTTP),
            Knock::NoSwitch => (opening(WebSocketHead { can_switch: false, ..HEAD }), 400, NO_SWITCH),
            Knock::Body => {
                let head = WebSocketHead { has_body: true, ..HEAD };
                (opening(head), 400, "Invalid body: a WebSocket handshake must not have one")
            }
            Knock::Protocols => {
                let head = WebSocketHead { protocols: Some(b"a, b, a"), ..HEAD };
                (opening(head), 400, "Invalid Sec-WebSocket-Protocol header")
            }
            Knock::SessionRevision => {
                let (sid, transport) = session(slot?);
                (get(&format!("EIO=3&transport={}&sid={sid}", transport.name())), 400, BAD_REQUEST)
            }
            Knock::SessionTransport => {
                let (sid, transport) = session(slot?);
                let other = match transport {
                    TransportKind::Polling => TransportKind::WebSocket,
                    _ => TransportKind::Polling,
                };
                (asked(Method::Post, &format!("EIO=4&transport={}&sid={sid}", other.name()), false), 400, BAD_REQUEST)
            }
            Knock::SessionMethod => {
                let (sid, transport) = session(slot?);
                let query = format!("EIO=4&transport={}&sid={sid}", transport.name());
                match transport {
                    TransportKind::Polling => (asked(Method::Other, &query, false), 500, ""),
                    _ => (asked(Method::Other, &query, false), 400, BAD_REQUEST),
                }
            }
            Knock::SessionKey => {
                let (sid, _) = session(slot?);
                let head = WebSocketHead { key: None, ..HEAD };
                let query = format!("EIO=4&transport=websocket&sid={sid}");
                let text = match self.settings.allow_upgrades {
                    true => "Missing or invalid Sec-WebSocket-Key header",
                    false => "Bad request",
                };
                (Asked { head, ..channel(&query) }, 400, text)
            }
        })
    }
}
