use super::*;
use crate::http::rejection::ErrorCode;
use crate::parts::transport::Transports;

fn plain(method: Method, query: &str) -> Result<Route, Rejection> {
    Route::parse(&Request { method, query, origin: None, upgrade: false }, &Config::default())
}

fn upgrade(query: &str) -> Result<Route, Rejection> {
    Route::parse(&Request { method: Method::Get, query, origin: None, upgrade: true }, &Config::default())
}

fn code(result: &Result<Route, Rejection>) -> Option<ErrorCode> {
    result.as_ref().err().map(Rejection::code)
}

fn handshake(result: Result<Route, Rejection>) -> Handshake {
    match result {
        Ok(Route::Handshake(handshake)) => handshake,
        other => panic!("{other:?}"),
    }
}

fn session(result: Result<Route, Rejection>) -> SessionRequest {
    match result {
        Ok(Route::Session(session)) => session,
        other => panic!("{other:?}"),
    }
}

#[test]
fn transports_are_checked_first() {
    for name in ["", "__proto__", "constructor", "hasOwnProperty", "webtransport", "%5f", "abc"] {
        let query = alloc::format!("EIO=4&transport={name}&sid=x");
        assert_eq!(code(&plain(Method::Post, &query)), Some(ErrorCode::UnknownTransport), "{name}");
        assert_eq!(code(&upgrade(&query)), Some(ErrorCode::UnknownTransport), "{name}");
    }
    assert_eq!(code(&plain(Method::Get, "")), Some(ErrorCode::UnknownTransport));
}

#[test]
fn a_very_long_transport_name_is_cut() {
    let query = alloc::format!("transport={}", "x".repeat(1 << 20));
    let Err(Rejection::UnknownTransport { transport }) = plain(Method::Get, &query) else { panic!() };
    assert_eq!(transport.len(), 64);
}

#[test]
fn a_disabled_transport_is_unknown() {
    let only = |kind| Config { transports: Transports::NONE.with(kind), ..Config::default() };
    let config = only(TransportKind::WebSocket);
    let request = Request { method: Method::Get, query: "EIO=4&transport=polling", origin: None, upgrade: false };
    assert_eq!(code(&Route::parse(&request, &config)), Some(ErrorCode::UnknownTransport));

    let config = only(TransportKind::Polling);
    let request = Request { upgrade: true, ..request };
    assert_eq!(handshake(Route::parse(&request, &config)).transport, TransportKind::Polling);
}

#[test]
fn illegal_origins_are_refused() {
    for byte in (0..=8).chain(10..=31).chain([127]) {
        let origin = [b'a', byte];
        let request =
            Request { method: Method::Get, query: "EIO=4&transport=polling", origin: Some(&origin), upgrade: false };
        assert_eq!(Route::parse(&request, &Config::default()), Err(Rejection::InvalidOrigin), "{byte}");
    }
    for byte in [9, 32, 126, 128, 255] {
        let origin = [b'a', byte];
        let request =
            Request { method: Method::Get, query: "EIO=4&transport=polling", origin: Some(&origin), upgrade: false };
        assert!(Route::parse(&request, &Config::default()).is_ok(), "{byte}");
    }
}

#[test]
fn s164_only_exactly_four_is_revision_four() {
    assert_eq!(PROTOCOL, 4);
    for (query, protocol) in [
        ("transport=polling", 3),
        ("EIO=abc&transport=polling", 3),
        ("EIO=04&transport=polling", 3),
        ("EIO=4&EIO=3&transport=polling", 3),
        ("EIO=3&EIO=4&transport=polling", 4),
        ("transport=polling&EIO=%34", 4),
    ] {
        assert_eq!(handshake(plain(Method::Get, query)).protocol, protocol, "{query}");
    }
}

#[test]
fn an_empty_sid_is_none() {
    assert!(matches!(plain(Method::Get, "EIO=4&transport=polling&sid="), Ok(Route::Handshake(_))));
    assert!(matches!(plain(Method::Get, "EIO=4&transport=polling&sid=x&sid="), Ok(Route::Handshake(_))));
    assert_eq!(session(plain(Method::Get, "EIO=4&transport=polling&sid=a+b")).sid, "a b");
}

#[test]
fn a_handshake_is_a_get() {
    for method in [Method::Post, Method::Other] {
        assert_eq!(code(&plain(method, "EIO=4&transport=polling")), Some(ErrorCode::BadHandshakeMethod));
        // The method comes before the missing upgrade.
        assert_eq!(code(&plain(method, "EIO=4&transport=websocket")), Some(ErrorCode::BadHandshakeMethod));
    }
}

#[test]
fn websockets_open_by_upgrade_and_polling_does_not() {
    assert_eq!(
        plain(Method::Get, "EIO=4&transport=websocket"),
        Err(Rejection::WrongHandshake { transport: TransportKind::WebSocket })
    );
    assert_eq!(
        upgrade("EIO=4&transport=polling"),
        Err(Rejection::WrongHandshake { transport: TransportKind::Polling })
    );
    assert_eq!(handshake(upgrade("EIO=4&transport=websocket")).transport, TransportKind::WebSocket);
}

#[test]
fn operations() {
    let query = "EIO=4&transport=polling&sid=x";
    assert_eq!(session(plain(Method::Get, query)).operation, Operation::Poll);
    assert_eq!(session(plain(Method::Post, query)).operation, Operation::Post);
    assert_eq!(session(plain(Method::Other, query)).operation, Operation::Unsupported);
    assert_eq!(session(upgrade(query)).operation, Operation::Upgrade);
}

#[test]
fn base64_is_not_asked_for_by_no() {
    for (value, base64) in [("1", true), ("true", true), ("yes", true), ("0", false), ("false", false), ("", false)] {
        let query = alloc::format!("EIO=4&transport=polling&b64={value}");
        assert_eq!(handshake(plain(Method::Get, &query)).base64, base64, "{value}");
    }
}

#[test]
fn errors_are_json_with_a_number() {
    assert_eq!(Rejection::UnknownSid.to_json(), r#"{"code":1,"message":"Session ID unknown"}"#);
    let own = Rejection::Forbidden { message: Some("say \"please\"\n\u{1}é".into()) };
    assert_eq!(own.to_json(), r#"{"code":4,"message":"say \"please\"\n\u0001é"}"#);
    assert_eq!(own.status(), 403);
    assert_eq!(Rejection::Forbidden { message: Some(String::new()) }.message(), "Forbidden");
    assert_eq!(Rejection::Full.status(), 503);
}

#[test]
fn a_rejection_says_what_of_the_request_matters() {
    use alloc::string::ToString;
    for (rejection, text) in [
        (Rejection::UnknownSid, "Session ID unknown"),
        (Rejection::UnsupportedProtocol { protocol: 3 }, "Unsupported protocol version: 3"),
        (
            Rejection::TransportMismatch { requested: TransportKind::Polling, current: TransportKind::WebSocket },
            "Bad request: polling is asked for, the session is on websocket",
        ),
        (Rejection::Forbidden { message: Some("no".into()) }, r#"Forbidden: "no""#),
    ] {
        assert_eq!(rejection.to_string(), text);
    }
}

#[test]
fn where_websockets_are_disabled_nobody_asks_for_one() {
    let mut config = Config::default();
    let request = Request { method: Method::Get, query: "EIO=4&transport=polling", origin: None, upgrade: true };
    assert!(request.is_upgrade(&config));
    assert!(!Request { upgrade: false, ..request }.is_upgrade(&config));
    assert!(matches!(Route::parse(&request, &config), Err(Rejection::WrongHandshake { .. })));
    config.transports = [TransportKind::Polling].into_iter().collect();
    assert!(!request.is_upgrade(&config));
    assert!(matches!(Route::parse(&request, &config), Ok(Route::Handshake(_))));
}

/// Queries without escapes are split without the decoder of forms.
#[test]
fn a_query_means_the_same_whether_something_is_escaped_or_not() {
    for query in [
        "",
        "&",
        "=",
        "&&=&",
        "EIO",
        "EIO=4",
        "EIO=4&transport=polling&sid=a-b_c",
        "&EIO=4=5&&transport==&sid&b64=",
        "b64=1&sid=\u{e9}\u{20ac}&b64=false",
        "b64&sid=1&sid=2",
        "=4&EIO==4&transport=websocket&",
    ] {
        let parts = |query| {
            let Query { transport, sid, eio, base64 } = Query::parse(query);
            (transport.into_owned(), sid.into_owned(), eio.into_owned(), base64)
        };
        assert_eq!(parts(query), parts(&alloc::format!("{query}&x=%20")), "{query}");
    }
}
