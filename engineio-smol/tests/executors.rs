//! Executors of the application.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::net::TcpListener;
use std::sync::Arc;

use engineio_smol::Builder;
use engineio_smol::rt::{Runtime, SmolTimer, WeakExecutor};
use smol::Executor;

/// Tasks own the server, which must not own the executor: otherwise the executor would never be dropped, nor what its
/// tasks own.
#[test]
fn an_executor_that_is_dropped_takes_its_tasks_with_it() {
    let executor = Arc::new(Executor::new());
    let runtime = Runtime::new(WeakExecutor::new(&executor), SmolTimer::new());
    let (addr, server, socket) = smol::block_on(executor.run(async {
        let server = Builder::new(runtime).build().unwrap();
        let addr = engineio_smol::bind(&server, "127.0.0.1:0").await.unwrap().detach();
        let client = engineio_smol::client(&format!("http://{addr}")).unwrap().build().unwrap();
        let _client = client.connect().await.unwrap();
        let socket = server.accept().await;
        (addr, server, socket)
    }));
    let left = Arc::downgrade(&executor);
    drop(executor);
    assert!(left.upgrade().is_none());
    // The server does not listen any more, although a handle still exists.
    TcpListener::bind(addr).unwrap();
    drop((server, socket));
}
