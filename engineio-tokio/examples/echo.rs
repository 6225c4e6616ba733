//! Echoes every message, executes those that begin with `cmd:`, and prints events as lines of JSON: a counterpart for
//! clients, test suites and load generators. `--help` lists the options.
//!
//! The program is the same on every runtime; this file has what depends on this one.
#![allow(missing_docs)]

use std::io;
use std::net::SocketAddr;
use std::process::ExitCode;

use engineio_suites::programs::echo::{self, Echo};
use engineio_tokio::{Builder, Server};
use tokio::net::TcpListener;

mod runtime;

use runtime::Tokio;

impl Echo for Tokio {
    fn builder() -> Builder {
        engineio_tokio::builder()
    }

    type Listener = TcpListener;

    async fn listen(addr: SocketAddr) -> io::Result<(TcpListener, SocketAddr)> {
        let listener = TcpListener::bind(addr).await?;
        let addr = listener.local_addr()?;
        Ok((listener, addr))
    }

    async fn serve(server: Server, listener: TcpListener) {
        engineio_tokio::serve(server, listener).await;
    }
}

fn main() -> ExitCode {
    echo::main::<Tokio>()
}
