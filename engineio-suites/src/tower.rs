//! A server and another service on the connections of one listener.

use std::net::SocketAddr;

use crate::adapter::Server;
use crate::app::App;
use crate::host::{builder, echo};
use crate::raw::{Connection, Frame, POLLING, Polling, WebSocket, ask, get, sid_of, within};
use crate::runtime;

async fn start(server: &Server, app: &App) -> (SocketAddr, tokio::task::JoinHandle<()>) {
    let (listener, addr) = runtime::bind().await;
    (addr, tokio::spawn(listener.serve_with(server.clone(), app.clone())))
}

/// Both transports, the upgrade, and the other service, also on the same connection.
pub async fn s168_a_server_shares_its_listener() {
    let server = builder().build().unwrap();
    let (addr, _serving) = start(&server, &App::new()).await;
    tokio::spawn(echo(server));
    let session = Polling::open(addr).await;
    assert_eq!(session.post("4hello").await.brief(), (200, "ok"));
    assert_eq!(session.get().await.brief(), (200, "4hello"));
    let mut upgraded = WebSocket::upgrade(&session).await;
    let (mut direct, _) = WebSocket::open(addr).await;
    for client in [&mut upgraded, &mut direct] {
        client.send("4hello").await;
        assert_eq!(client.next().await, Frame::text("4hello"));
    }
    let mut connection = Connection::open(addr).await;
    let own = connection.local_addr().to_string();
    for _ in 0..3 {
        connection.get("/").await;
        assert_eq!(connection.response().await.brief(), (200, own.as_str()));
        connection.get(POLLING).await;
        sid_of(connection.response().await.text());
    }
    for target in ["/other", "/engine.io", "/engine.iofoo/?EIO=4&transport=polling"] {
        assert_eq!(get(addr, target).await.brief(), (404, "not here"), "{target}");
    }
    assert_eq!(ask(addr, "POST", "/other", "", vec![b'x'; 100_000]).await.brief(), (404, "not here"));
}

pub async fn s162_the_address_of_the_client() {
    let server = builder().build().unwrap();
    let (addr, _serving) = start(&server, &App::new()).await;
    let mut connection = Connection::open(addr).await;
    connection.get(POLLING).await;
    assert_eq!(connection.response().await.status, 200);
    assert_eq!(within(server.accept()).await.remote_addr(), Some(connection.local_addr()));
}

/// The other service upgrades its connections itself.
pub async fn s173_an_upgrade_of_the_other_service_is_left_alone() {
    let server = builder().build().unwrap();
    let (addr, _serving) = start(&server, &App::new()).await;
    let mut other = WebSocket::at(addr, "/echo").await.connection;
    let (mut ours, _) = WebSocket::open(addr).await;
    other.write("hello").await;
    other.finish().await;
    assert_eq!(other.rest().await, b"hello");
    within(server.accept()).await.try_send("hello").unwrap();
    assert_eq!(ours.next().await, Frame::text("4hello"));
}

/// Sessions end first, with all their messages; then requests of the other service are answered; then it is over.
pub async fn a_shutdown_answers_everything() {
    let server = builder().build().unwrap();
    let app = App::new();
    let (addr, serving) = start(&server, &app).await;
    let client = Polling::open(addr).await;
    let socket = within(server.accept()).await;
    let mut late = Connection::open(addr).await;
    late.get("/late").await;
    app.is_asked().await;
    socket.try_send("bye").unwrap();
    let ending = tokio::spawn(server.shutdown_on(async {}));
    // New connections of clients on polling are served.
    let mut messages = Vec::new();
    while messages.last().is_none_or(|last: &String| !last.ends_with('1')) {
        messages.push(client.get().await.text().to_owned());
    }
    assert!(messages[0].starts_with("4bye"), "{messages:?}");
    within(socket.closed()).await;
    app.answer();
    let response = late.response().await;
    assert_eq!(response.brief(), (200, "late"));
    late.ended().await;
    within(ending).await.unwrap();
    within(serving).await.unwrap();
    runtime::TcpListener::bind(addr).await.unwrap();
}
