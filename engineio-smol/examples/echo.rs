//! Echoes every message, executes those that begin with `cmd:`, and prints events as lines of JSON: a counterpart for
//! clients, test suites and load generators. `--help` lists the options.
//!
//! The program is the same on every runtime; this file has what depends on this one.
#![allow(missing_docs)]

use std::io;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;

use engineio_smol::rt::{Runtime, SmolExecutor, SmolTimer};
use engineio_smol::{Builder, Server};
use engineio_suites::programs::echo::{self, Echo};
use smol::net::TcpListener;

mod runtime;

use runtime::{EXECUTOR, Smol};

impl Echo for Smol {
    fn builder() -> Builder {
        Builder::new(Runtime::new(SmolExecutor::new(Arc::clone(&EXECUTOR)), SmolTimer::new()))
    }

    type Listener = TcpListener;

    async fn listen(addr: SocketAddr) -> io::Result<(TcpListener, SocketAddr)> {
        let listener = TcpListener::bind(addr).await?;
        let addr = listener.local_addr()?;
        Ok((listener, addr))
    }

    async fn serve(server: Server, listener: TcpListener) {
        engineio_smol::serve(server, listener).await;
    }
}

fn main() -> ExitCode {
    echo::main::<Smol>()
}
