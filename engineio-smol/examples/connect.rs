//! Connects to a server, sends each line of its input as a message, and prints events as lines of JSON: the counterpart
//! of `echo`. `--help` lists the options.
//!
//! The program is the same on every runtime; this file has what depends on this one.
#![allow(missing_docs)]

use std::io;
use std::path::Path;
use std::sync::Arc;

use engineio_smol::ClientBuilder;
use engineio_smol::error::UrlError;
use engineio_smol::net::rustls::ClientConfig;
use engineio_smol::net::{Connector, Encryptor, TlsEncryptor, UnixConnector};
use engineio_suites::programs::connect::{self, Connect};
use smol::Unblock;
use smol::io::{AsyncBufReadExt as _, BufReader};
use smol::stream::StreamExt as _;

mod runtime;

use runtime::Smol;

impl Connect for Smol {
    fn client(url: &str) -> Result<ClientBuilder, UrlError> {
        engineio_smol::client(url)
    }

    fn unix_connector(path: &Path) -> impl Connector {
        UnixConnector::new(path)
    }

    fn tls_encryptor(config: Arc<ClientConfig>) -> impl Encryptor {
        TlsEncryptor::new(config)
    }

    type Lines = smol::io::Lines<BufReader<Unblock<io::Stdin>>>;

    fn lines() -> Self::Lines {
        BufReader::new(Unblock::new(io::stdin())).lines()
    }

    async fn next_line(lines: &mut Self::Lines) -> Option<String> {
        lines.next().await?.ok()
    }
}

fn main() {
    connect::main::<Smol>();
}
