//! The requests of a client: targets and headers.

use std::collections::BTreeSet;

use super::script::{Request, Script, WEBSOCKET, open};
use crate::adapter::net::{BoxIo, Connecting, Encryptor};
use crate::adapter::{ClientBuilder, Stamps, TransportKind};
use crate::raw::{Frame, within};

/// The target without its stamp, which must be the only one and in its place.
fn unstamped(request: &Request) -> String {
    let stamp = request.query("t").expect("there is a stamp");
    assert!(stamp.len() == 8 && stamp.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)));
    assert!(request.target.ends_with(&format!("&t={stamp}")), "{}", request.target);
    request.target.replace(&format!("&t={stamp}"), "")
}

/// Covers: C-032, C-035, C-037, C-045
pub async fn c032_the_requests_of_a_session() {
    let mut script = Script::start().await;
    let client = script.client().build().unwrap();
    let answer = async {
        let get = script.next().await;
        assert_eq!((&*get.method, unstamped(&get)), ("GET", "/engine.io/?EIO=4&transport=polling".into()));
        assert_eq!(get.header("accept"), Some("*/*"));
        assert_eq!(get.header("host"), Some(&*script.addr.to_string()));
        // A GET has no body, and announces none.
        assert_eq!((get.header("content-type"), get.header("content-length"), get.text()), (None, None, ""));
        // No unnecessary headers.
        let names: Vec<&str> = get.headers.iter().map(|header| &*header.0).collect();
        assert_eq!(names, ["accept", "host"]);
        get.ok(open("S1", WEBSOCKET)).await;
    };
    let (socket, ()) = within(async { tokio::join!(client.connect(), answer) }).await;
    let socket = socket.unwrap();

    let get = script.get().await;
    assert_eq!(unstamped(&get), "/engine.io/?EIO=4&transport=polling&sid=S1");
    assert_eq!(get.header("accept"), Some("*/*"));

    socket.try_send("hello").unwrap();
    let post = script.post().await;
    assert_eq!(unstamped(&post), "/engine.io/?EIO=4&transport=polling&sid=S1");
    assert_eq!(post.header("content-type"), Some("text/plain;charset=UTF-8"));
    assert_eq!(post.header("accept"), Some("*/*"));
    assert_eq!(post.header("content-length"), Some("6"));
    assert_eq!(post.header("transfer-encoding"), None);
    assert_eq!(post.text(), "4hello");

    let websocket = script.websocket().await;
    assert_eq!(websocket.target, "/engine.io/?EIO=4&transport=websocket&sid=S1");
}

pub async fn c013_no_two_requests_have_the_same_target() {
    let mut script = Script::start().await;
    let client = script.polling();
    let mut seen = BTreeSet::new();
    for _ in 0..3 {
        let socket = script.open(&client, "S", "").await;
        for _ in 0..20 {
            let get = script.get().await;
            assert!(seen.insert(get.query("t").unwrap().to_owned()));
            get.ok("6").await;
            socket.try_send("").unwrap();
            let post = script.post().await;
            assert!(seen.insert(post.query("t").unwrap().to_owned()));
            post.ok("ok").await;
            within(socket.flush()).await.unwrap();
        }
        socket.abort();
        drop(socket);
        let last = script.post().await;
        assert_eq!(last.text(), "1");
        script.cut_pending();
    }
}

/// Covers: C-038
pub async fn c035_stamps_where_they_are_asked_for() {
    for (stamps, polling, websocket) in
        [(Stamps::Never, false, false), (Stamps::Polling, true, false), (Stamps::Always, true, true)]
    {
        let mut script = Script::start().await;
        let client = script.client().stamps(stamps, "now").build().unwrap();
        let _socket = script.open(&client, "S", WEBSOCKET).await;
        let get = script.get().await;
        assert_eq!((get.query("t"), get.query("now").is_some()), (None, polling));
        let handshake = script.websocket().await;
        assert_eq!((handshake.query("t"), handshake.query("now").is_some()), (None, websocket));
    }
}

async fn first_target(builder: ClientBuilder, script: &mut Script) -> String {
    let client = builder.stamps(Stamps::Never, "t").build().unwrap();
    let connecting = tokio::spawn(async move { client.connect().await.map(drop) });
    let request = script.next().await;
    let target = request.target.clone();
    drop(request);
    within(connecting).await.unwrap().unwrap_err();
    target
}

pub async fn c008_paths_and_slashes() {
    let mut script = Script::start().await;
    for (path, slash, expected) in [
        ("/engine.io", true, "/engine.io/"),
        ("/engine.io/", true, "/engine.io/"),
        ("/engine.io", false, "/engine.io"),
        ("/engine.io/", false, "/engine.io"),
        ("/a/b", true, "/a/b/"),
        ("/", true, "/"),
        ("", true, "/"),
        ("/", false, "/"),
    ] {
        let builder = script.client().path(path).trailing_slash(slash);
        assert_eq!(first_target(builder, &mut script).await, format!("{expected}?EIO=4&transport=polling"), "{path}");
        let builder = script.client().path(path).trailing_slash(slash).transports([TransportKind::WebSocket]);
        assert_eq!(first_target(builder, &mut script).await, format!("{expected}?EIO=4&transport=websocket"), "{path}");
    }
    // A path in the URL is not used.
    let builder = crate::adapter::client(&format!("{}/chat/room", script.url)).unwrap();
    assert_eq!(first_target(builder, &mut script).await, "/engine.io/?EIO=4&transport=polling");
}

/// Covers: C-037
pub async fn c032_the_query_of_the_user_goes_first() {
    let mut script = Script::start().await;
    let builder = script.client().query("token", "a b&c").query("x", "é");
    assert_eq!(first_target(builder, &mut script).await, "/engine.io/?token=a+b%26c&x=%C3%A9&EIO=4&transport=polling");
    // If the URL has a query, only that counts.
    let builder = crate::adapter::client(&format!("{}/?y=1&z", script.url)).unwrap().query("token", "no");
    let builder = builder.transports([TransportKind::WebSocket]);
    assert_eq!(first_target(builder, &mut script).await, "/engine.io/?y=1&z&EIO=4&transport=websocket");
    let builder = script.client().base64(true);
    assert_eq!(first_target(builder, &mut script).await, "/engine.io/?EIO=4&transport=polling&b64=1");
}

/// Maps every address to that of the script, without encryption.
struct Pretender;

impl Encryptor for Pretender {
    fn encrypt(&self, io: BoxIo, _host: &str) -> Connecting {
        Box::pin(async { Ok(io) })
    }
}

fn pretend(script: &Script, url: &str) -> ClientBuilder {
    let addr = script.addr;
    let connector = move |_: &str, _: u16| crate::runtime::connect(addr);
    crate::adapter::client(url).unwrap().connector(connector).encryptor(Pretender)
}

/// Covers: C-034, C-036, C-039
pub async fn c033_the_host_header_leaves_out_the_port_of_the_scheme() {
    let mut script = Script::start().await;
    for (url, host) in [
        ("http://localhost:80", "localhost"),
        ("ws://example.com", "example.com"),
        ("http://localhost:3000", "localhost:3000"),
        ("https://localhost:443", "localhost"),
        ("wss://localhost:8443", "localhost:8443"),
        ("https://localhost:80", "localhost:80"),
        ("http://[::1]", "[::1]"),
        ("http://[::1]:8080", "[::1]:8080"),
    ] {
        for transport in [TransportKind::Polling, TransportKind::WebSocket] {
            let client = pretend(&script, url).transports([transport]).build().unwrap();
            let connecting = tokio::spawn(async move { client.connect().await.map(drop) });
            let request = script.next().await;
            assert_eq!(request.header("host"), Some(host), "{url}");
            drop(request);
            within(connecting).await.unwrap().unwrap_err();
        }
    }
}

pub async fn c042_headers_go_with_every_request() {
    let mut script = Script::start().await;
    let builder = script.client().header("authorization", "Bearer 7");
    let client = builder.header("User-Agent", "me/1").header("HOST", "elsewhere").header("accept", "text/plain");
    let client = client.build().unwrap();
    let connecting = tokio::spawn({
        let client = client.clone();
        async move { client.connect().await.unwrap() }
    });
    let check = |request: &Request| {
        assert_eq!(request.header("authorization"), Some("Bearer 7"));
        assert_eq!(request.header("user-agent"), Some("me/1"));
        assert_eq!(request.header("host"), Some("elsewhere"));
        assert_eq!(request.header("accept"), Some("text/plain"));
    };
    let get = script.next().await;
    check(&get);
    get.ok(open("S", WEBSOCKET)).await;
    let socket = within(connecting).await.unwrap();
    check(&script.websocket().await);
    let get = script.get().await;
    check(&get);
    socket.try_send("").unwrap();
    check(&script.post().await);
}

pub async fn c042_several_headers_of_one_name() {
    let mut script = Script::start().await;
    let builder = script.client().header("x-many", "1").header("accept", "a/b").header("x-many", "2");
    let client = builder.header("accept", "c/d").build().unwrap();
    let connecting = tokio::spawn(async move { client.connect().await.map(drop) });
    let get = script.next().await;
    assert_eq!((get.all("x-many"), get.all("accept")), (vec!["1", "2"], vec!["a/b", "c/d"]));
    drop(get);
    within(connecting).await.unwrap().unwrap_err();
}

/// RFC 6455, section 4.1.
pub async fn c037_the_handshake_of_a_websocket() {
    let mut script = Script::start().await;
    let client = script.client().transports([TransportKind::WebSocket]).build().unwrap();
    let mut keys = BTreeSet::new();
    for _ in 0..3 {
        let connecting = tokio::spawn({
            let client = client.clone();
            async move { client.connect().await }
        });
        let request = script.next().await;
        assert_eq!((&*request.method, &*request.target), ("GET", "/engine.io/?EIO=4&transport=websocket"));
        assert_eq!(request.header("connection"), Some("Upgrade"));
        assert_eq!(request.header("upgrade"), Some("websocket"));
        assert_eq!(request.header("sec-websocket-version"), Some("13"));
        assert_eq!(request.header("host"), Some(&*script.addr.to_string()));
        // Nothing is offered, so a server cannot accept it.
        assert_eq!(request.header("sec-websocket-extensions"), None);
        assert_eq!(request.header("sec-websocket-protocol"), None);
        let key = request.header("sec-websocket-key").unwrap();
        // Sixteen bytes.
        assert!(key.len() == 24 && key.ends_with("=="), "{key}");
        assert!(keys.insert(key.to_owned()));
        let mut websocket = request.accept().await;
        websocket.text(&open("S", "")).await;
        let socket = within(connecting).await.unwrap().unwrap();
        socket.close();
        websocket.closed().await;
    }
}

///
pub async fn c046_the_open_packet_in_the_segment_of_the_101() {
    let mut script = Script::start().await;
    let client = script.client().transports([TransportKind::WebSocket]).build().unwrap();
    let connecting = tokio::spawn(async move { client.connect().await });
    let behind = [crate::raw::unmasked(crate::raw::TEXT, open("S", "")), crate::raw::unmasked(crate::raw::TEXT, "4hi")];
    let mut websocket = script.next().await.accept_with("", behind.concat()).await;
    let mut socket = within(connecting).await.unwrap().unwrap();
    assert_eq!(within(socket.recv()).await, Some("hi".into()));
    socket.try_send("there").unwrap();
    assert_eq!(websocket.next().await, Frame::text("4there"));
}

const SET: &str = "set-cookie: 1=1; Max-Age=86400\r\nset-cookie: 2=2; Path=/; HttpOnly; SameSite=Strict\r\n\
    set-cookie: 3=3; Max-Age=0\r\nset-cookie: 4=4; Expires=Thu, 01 Jan 1970 00:00:00 GMT\r\n";

/// Covers: Y-034
pub async fn c074_cookies_are_sent_back() {
    for own in [None, Some("mine=0")] {
        let mut script = Script::start().await;
        let builder = script.client();
        let client = match own {
            Some(own) => builder.header("cookie", own).build().unwrap(),
            None => builder.build().unwrap(),
        };
        let answer = async {
            let get = script.next().await;
            assert_eq!(get.header("cookie"), own);
            get.answer(200, SET, open("S", WEBSOCKET)).await;
        };
        let (socket, ()) = within(async { tokio::join!(client.connect(), answer) }).await;
        let socket = socket.unwrap();
        let with = |cookies: &str| own.map_or(cookies.to_owned(), |own| format!("{own}; {cookies}"));
        let get = script.get().await;
        assert_eq!(get.header("cookie"), Some(&*with("1=1; 2=2")));
        assert_eq!(script.websocket().await.header("cookie"), Some(&*with("1=1; 2=2")));
        // Every answer counts. Cookies with longer paths come first.
        get.answer(200, "set-cookie: 5=5\r\nset-cookie: 1=\r\n", "6").await;
        let get = script.get().await;
        assert_eq!(get.header("cookie"), Some(&*with("1=; 5=5; 2=2")));
        socket.try_send("").unwrap();
        let post = script.post().await;
        assert_eq!(post.header("cookie"), Some(&*with("1=; 5=5; 2=2")));
        post.answer(200, "set-cookie: 2=3; Max-Age=0; Path=/\r\n", "ok").await;
        within(socket.flush()).await.unwrap();
        socket.try_send("").unwrap();
        assert_eq!(script.post().await.header("cookie"), Some(&*with("1=; 5=5")));
        // They belong to one session.
        let other = tokio::spawn(async move { client.connect().await.map(drop) });
        drop(get);
        let get = script.get().await;
        assert_eq!((get.query("sid"), get.header("cookie")), (None, own));
        drop(get);
        within(other).await.unwrap().unwrap_err();
    }
}

pub async fn c074_cookies_of_a_websocket_s_handshake() {
    let mut script = Script::start().await;
    let client = script.client().build().unwrap();
    let _socket = script.open(&client, "S", WEBSOCKET).await;
    let get = script.get().await;
    script.websocket().await.answer(400, "set-cookie: a=b\r\n", "").await;
    get.ok("6").await;
    loop {
        let get = script.get().await;
        if get.header("cookie") == Some("a=b") {
            break;
        }
        get.ok("6").await;
    }
}

pub async fn c075_cookies_can_be_ignored() {
    for own in [None, Some("mine=0")] {
        let mut script = Script::start().await;
        let builder = script.client().cookies(false);
        let client = match own {
            Some(own) => builder.header("cookie", own).build().unwrap(),
            None => builder.build().unwrap(),
        };
        let answer = async { script.next().await.answer(200, SET, open("S", WEBSOCKET)).await };
        let (socket, ()) = within(async { tokio::join!(client.connect(), answer) }).await;
        let _socket = socket.unwrap();
        // Held, or the session would end before the next request.
        let get = script.get().await;
        assert_eq!(get.header("cookie"), own);
        assert_eq!(script.websocket().await.header("cookie"), own);
    }
}
