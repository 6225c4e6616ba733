//! Connections of a client: addresses, connectors, proxies, encryption.

pub(crate) mod connect;
pub(crate) mod dial;
mod fair;
pub(crate) mod proxy;
#[cfg(feature = "tls")]
pub(crate) mod tls;
pub(crate) mod url;

#[cfg(feature = "tls")]
pub use rustls;

pub use self::connect::{BoxIo, Connecting, Connector, Encryptor, Io, connect_any};
pub use self::proxy::{Proxy, ProxyError};
#[cfg(feature = "tls")]
pub use self::tls::{TlsConfig, TlsEncryptor, TlsError, TlsHandshake};
pub use self::url::Endpoint;
