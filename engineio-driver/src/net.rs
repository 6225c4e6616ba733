//! From the address of a server to a connection.

pub(crate) mod connect;
pub(crate) mod dial;
pub(crate) mod proxy;
#[cfg(feature = "tls")]
pub(crate) mod tls;
pub(crate) mod url;
