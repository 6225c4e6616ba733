//! Connects to a server, sends each line of its input as a message, and prints events as lines of JSON: the counterpart
//! of `echo`. `--help` lists the options.
//!
//! The program is the same on every runtime; this file has what depends on this one.
#![allow(missing_docs)]

use std::path::Path;
use std::sync::Arc;

use engineio_suites::programs::connect::{self, Connect};
use engineio_tokio::ClientBuilder;
use engineio_tokio::error::UrlError;
use engineio_tokio::net::rustls::ClientConfig;
use engineio_tokio::net::{Connector, Encryptor, TlsEncryptor, UnixConnector};
use tokio::io::{AsyncBufReadExt as _, BufReader, Stdin};

mod runtime;

use runtime::Tokio;

impl Connect for Tokio {
    fn client(url: &str) -> Result<ClientBuilder, UrlError> {
        engineio_tokio::client(url)
    }

    fn unix_connector(path: &Path) -> impl Connector {
        UnixConnector::new(path)
    }

    fn tls_encryptor(config: Arc<ClientConfig>) -> impl Encryptor {
        TlsEncryptor::new(config)
    }

    type Lines = tokio::io::Lines<BufReader<Stdin>>;

    fn lines() -> Self::Lines {
        BufReader::new(tokio::io::stdin()).lines()
    }

    async fn next_line(lines: &mut Self::Lines) -> Option<String> {
        lines.next_line().await.ok().flatten()
    }
}

fn main() {
    connect::main::<Tokio>();
}
