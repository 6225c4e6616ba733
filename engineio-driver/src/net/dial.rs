//! Opens connections to the address of a server.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::connect::{BoxIo, Connector, Encryptor};
use super::fair::Fair;
use super::proxy::Proxy;
use super::url::Endpoint;
use crate::runtime::Runtime;

/// Opens connections to a server, and to those that it redirects to: directly or through a proxy, encrypted if the URL asks
/// for it.
pub(crate) struct Dialer {
    pub(crate) runtime: Runtime,
    pub(crate) endpoint: Endpoint,
    pub(crate) connector: Arc<dyn Connector>,
    pub(crate) encryptor: Option<Arc<dyn Encryptor>>,
    pub(crate) proxy: Option<Proxy>,
    pub(crate) timeout: Duration,
}

impl Dialer {
    pub(crate) async fn dial(&self, endpoint: &Endpoint) -> io::Result<BoxIo> {
        let dialed = self.runtime.within(self.timeout, self.dial_on(endpoint)).await;
        dialed.unwrap_or_else(|| Err(io::ErrorKind::TimedOut.into()))
    }

    async fn connect(&self, host: &str, port: u16) -> io::Result<BoxIo> {
        Ok(Box::new(Fair::new(self.connector.connect(host, port).await?)))
    }

    async fn dial_on(&self, endpoint: &Endpoint) -> io::Result<BoxIo> {
        let (host, port) = (endpoint.host(), endpoint.port());
        let io = match &self.proxy {
            Some(proxy) => {
                let io = self.connect(proxy.host(), proxy.port()).await?;
                proxy.tunnel(io, host, port, &self.runtime).await?
            }
            None => self.connect(host, port).await?,
        };
        match &self.encryptor {
            _ if !endpoint.secure() => Ok(io),
            Some(encryptor) => encryptor.encrypt(io, host).await,
            // The builder rejects this. An unencrypted connection is not an alternative.
            None => Err(io::ErrorKind::Unsupported.into()),
        }
    }
}
