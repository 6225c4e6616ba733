//! Any request is classified as by a second implementation of the table, including the answer to the client.

use engineio_proto::http::{Handshake, Method, Mount, Operation, Rejection, Request, Response, Route, SessionRequest};
use engineio_proto::server::{Admission, Config, Entry, NotAdmitted};
use engineio_proto::{ChannelId, ExchangeId, Instant, Server, Sid, TransportKind, Transports};

use crate::reader::Reader;

/// `data` is three lines, of which the last may contain more: flags, an origin, a query. The flags are letters: `P` a
/// POST, `D` another method, `u` an upgrade, `o` with an origin, `p` and `w` no polling and no WebSockets, `n` no
/// upgrades.
pub fn route(data: &[u8]) {
    let mut reader = Reader(data);
    let flags = reader.line();
    let has = |flag| flags.contains(&flag);
    let origin = reader.line();
    let query = String::from_utf8_lossy(reader.0);

    let mut config = Config::default();
    if has(b'p') {
        config.transports = config.transports.without(TransportKind::Polling);
    } else if has(b'w') {
        config.transports = config.transports.without(TransportKind::WebSocket);
    }
    config.allow_upgrades = !has(b'n');
    let method = if has(b'P') {
        Method::Post
    } else if has(b'D') {
        Method::Other
    } else {
        Method::Get
    };
    let origin = has(b'o').then_some(origin);
    let request = Request { method, query: &query, origin, upgrade: has(b'u') };

    let result = Route::parse(&request, &config);
    assert_eq!(told(&result), expected(&request, config.transports));
    if let Some(rejection) = judge(&request, result, &config) {
        check_answer(&rejection);
    }
    // The text of the application is escaped.
    let own = Rejection::Forbidden { message: Some(query.clone().into_owned()) };
    check_answer(&own);

    check_names(&query, has(b'n'), has(b'w'), std::str::from_utf8(origin.unwrap_or_default()).unwrap_or("/x"));
}

/// The result, in terms that the model has too.
#[derive(Debug, PartialEq)]
enum Told {
    Refused { code: u8, transport: Option<String> },
    Handshake { transport: &'static str, protocol: u8, base64: bool },
    Session { sid: String, operation: Operation, transport: &'static str, protocol: u8, base64: bool },
}

fn told(result: &Result<Route, Rejection>) -> Told {
    match result {
        Ok(Route::Handshake(Handshake { transport, protocol, base64 })) => {
            Told::Handshake { transport: transport.name(), protocol: *protocol, base64: *base64 }
        }
        Ok(Route::Session(SessionRequest { sid, operation, transport, protocol, base64 })) => Told::Session {
            sid: sid.clone(),
            operation: *operation,
            transport: transport.name(),
            protocol: *protocol,
            base64: *base64,
        },
        Err(rejection) => {
            let transport = match rejection {
                Rejection::UnknownTransport { transport } => Some(transport.clone()),
                _ => None,
            };
            Told::Refused { code: rejection.code() as u8, transport }
        }
    }
}

/// A second implementation of the table of `route.rs`.
fn expected(request: &Request<'_>, enabled: Transports) -> Told {
    let pairs = pairs(request.query);
    let last = |name: &str| pairs.iter().rev().find(|pair| pair.0 == name).map_or("", |pair| &pair.1);
    let refused = |code| Told::Refused { code, transport: None };

    let polling = enabled.contains(TransportKind::Polling);
    let websocket = enabled.contains(TransportKind::WebSocket);
    let transport = match last("transport") {
        "polling" if polling => "polling",
        "websocket" if websocket => "websocket",
        other => return Told::Refused { code: 0, transport: Some(other.chars().take(64).collect()) },
    };
    if let Some(origin) = request.origin {
        if origin.iter().any(|&byte| (byte < 32 && byte != 9) || byte == 127) {
            return refused(3);
        }
    }
    let protocol = if last("EIO") == "4" { 4 } else { 3 };
    let base64 = !["", "0", "false"].contains(&last("b64"));
    let upgrade = request.upgrade && websocket;
    let sid = last("sid").to_owned();
    if !sid.is_empty() {
        let operation = match (upgrade, request.method) {
            (true, _) => Operation::Upgrade,
            (false, Method::Get) => Operation::Poll,
            (false, Method::Post) => Operation::Post,
            (false, Method::Other) => Operation::Unsupported,
        };
        return Told::Session { sid, operation, transport, protocol, base64 };
    }
    match (request.method, upgrade, transport) {
        (Method::Post | Method::Other, ..) => refused(2),
        (Method::Get, true, "polling") | (Method::Get, false, "websocket") => refused(3),
        _ => Told::Handshake { transport, protocol, base64 },
    }
}

/// Names and values of a query, by the rules of forms.
fn pairs(query: &str) -> Vec<(String, String)> {
    let pieces = query.split('&').filter(|piece| !piece.is_empty());
    let pair = |piece: &str| {
        let (name, value) = piece.split_once('=').unwrap_or((piece, ""));
        (unescape(name), unescape(value))
    };
    pieces.map(pair).collect()
}

fn unescape(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&first, behind)) = rest.split_first() {
        let digit = |index: usize| char::from(*behind.get(index)?).to_digit(16);
        if let (b'%', Some(high), Some(low)) = (first, digit(0), digit(1)) {
            bytes.push((high * 16 + low) as u8);
            rest = &behind[2..];
        } else {
            bytes.push(if first == b'+' { b' ' } else { first });
            rest = behind;
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Checks 4 to 13: a server with a session on each transport either accepts the request or rejects it with a reason.
fn judge(request: &Request<'_>, result: Result<Route, Rejection>, config: &Config) -> Option<Rejection> {
    let mut config = config.clone();
    config.max_sessions = 2;
    let transports = config.transports;
    let upgrades = config.allow_upgrades && transports.contains(TransportKind::WebSocket);
    let mut server = Server::new(config).expect("the options make sense");
    let now = Instant::ZERO;
    let sid = |text: &str| Sid::new(text).expect("a legal id");
    let exchange = Entry::Exchange { exchange: ExchangeId(1), octet_stream: false };
    let channel = Entry::Channel { channel: ChannelId(1), head: None };
    let [polling, websocket] = [("polls", false), ("flows", true)].map(|(id, upgrade)| {
        let query = if upgrade { "EIO=4&transport=websocket" } else { "EIO=4&transport=polling" };
        let request = Request { method: Method::Get, query, origin: None, upgrade };
        let admission = Admission::begin(&request, server.config()).ok()?;
        server.admit(now, admission, if upgrade { channel } else { exchange }, Some(sid(id))).ok()
    });
    let (polling, websocket) = (polling?, websocket?);
    let wanted = match result {
        Err(rejection) => return Some(rejection),
        Ok(Route::Handshake(handshake)) => {
            let is_channel = handshake.transport == TransportKind::WebSocket;
            let id = |taken| sid(if taken { "polls" } else { "new" });
            for taken in [true, false] {
                let admission = Admission::begin(request, server.config()).expect("it was sorted before");
                let entry = if is_channel { channel } else { exchange };
                let refused = server.admit(now, admission, entry, Some(id(taken))).expect_err("there is no room");
                let NotAdmitted::Rejected(refused) = refused else { panic!("{refused}") };
                let expected = match (handshake.protocol, taken) {
                    (3, _) => (5, 400),
                    (_, true) => (3, 400),
                    (_, false) => (3, 503),
                };
                assert_eq!((refused.code() as u8, refused.status()), expected, "{refused}");
                check_answer(&refused);
            }
            server.check().expect("nothing came of it");
            return None;
        }
        Ok(Route::Session(request)) => request,
    };
    let admitted = server.find(&wanted.sid).ok_or(Rejection::UnknownSid).and_then(|key| {
        let session = server.session(key).expect("what is found is there");
        wanted.fits(session, server.config()).map(|()| key)
    });
    let is_upgrade = wanted.operation == Operation::Upgrade;
    let (key, is_polling) = match wanted.sid.as_str() {
        "polls" => (polling, true),
        "flows" => (websocket, false),
        _ => {
            assert_eq!(admitted, Err(Rejection::UnknownSid));
            return admitted.err();
        }
    };
    let same = (wanted.transport == TransportKind::Polling) == is_polling;
    let taken = wanted.protocol == 4
        && if is_upgrade { upgrades && wanted.transport == TransportKind::WebSocket } else { same && is_polling };
    assert_eq!(admitted.clone().ok(), taken.then_some(key), "{wanted:?}: {admitted:?}");
    let rejection = admitted.err()?;
    assert_eq!(rejection.code() as u8, 3);
    Some(rejection)
}

/// The answer to the client is JSON with the code and the text; for a rejected upgrade it is bare text.
fn check_answer(rejection: &Rejection) {
    let reply = Response::Rejected(rejection.clone()).into_reply();
    assert!((400..600).contains(&reply.status));
    let json: serde_json::Value = serde_json::from_slice(&reply.body).expect("the body is JSON");
    assert_eq!(json["code"], rejection.code() as u8);
    assert_eq!(json["message"], rejection.message());
    assert_eq!(json.as_object().map(serde_json::Map::len), Some(2));
    assert!(!rejection.to_string().is_empty());
    let upgrade = rejection.clone().into_reply(true);
    assert_eq!(upgrade.body, rejection.message());
}

/// Any text as a session id, and as a path.
fn check_names(text: &str, trailing_slash: bool, sub_paths: bool, mounted: &str) {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    let is_legal = (1..=128).contains(&text.len()) && text.bytes().all(legal);
    match Sid::new(text) {
        Ok(sid) => assert!(is_legal && sid.as_str() == text),
        Err(_) => assert!(!is_legal),
    }
    for shards in [0, 1, 7] {
        assert!(Sid::shard(text, shards) < shards.max(1));
    }

    let mount = Mount::new(mounted).trailing_slash(trailing_slash).sub_paths(sub_paths);
    let base = mounted.strip_suffix('/').unwrap_or(mounted);
    for path in [text, mounted, &format!("{base}/"), &format!("{base}/{text}"), &format!("{base}{text}")] {
        let ours = match path.get(..base.len()).filter(|start| *start == base).map(|_| &path[base.len()..]) {
            None => false,
            Some("") => !trailing_slash,
            Some("/") => true,
            Some(rest) => sub_paths && rest.as_bytes()[0] == b'/',
        };
        assert_eq!(mount.matches(path), ours, "{path:?} at {mounted:?}");
    }
}
