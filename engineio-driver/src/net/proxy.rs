//! Connections through an HTTP proxy.

use std::io;

use http::header::{HOST, HeaderValue, PROXY_AUTHORIZATION};
use http::uri::Authority;
use http::{Method, Request, Uri};
use hyper::client::conn::http1;
use hyper_util::client::proxy::matcher::Matcher;
use thiserror::Error;

use super::connect::BoxIo;
use super::url::{Endpoint, UrlError, bracketed};
use crate::runtime::Runtime;

/// The maximum size of the head of a proxy's answer, in bytes.
const MAX_HEAD: usize = 16 * 1024;

/// An HTTP proxy, which opens tunnels to a server with `CONNECT`.
///
/// All connections use a tunnel, including unencrypted ones, because a proxy that changes requests would break
/// WebSockets. Some proxies allow tunnels to port 443 only.
#[derive(Clone, Debug)]
pub struct Proxy {
    host: String,
    port: u16,
    /// Marked as sensitive, so `Debug` does not show it.
    authorization: Option<HeaderValue>,
}

/// Why a proxy's URL cannot be used. The error does not have the URL, which may have a password.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum ProxyError {
    /// The URL is not valid.
    #[error("invalid URL of a proxy: {0}")]
    Url(#[from] UrlError),
    /// The scheme is not `http`. Proxies that use TLS or SOCKS need their own [`Connector`](crate::net::Connector).
    #[error("invalid scheme of a proxy's URL: expected http")]
    Scheme,
    /// The user name or the password has a character that must be percent-encoded.
    #[error("invalid user name or password in a proxy's URL: special characters must be percent-encoded")]
    Credentials,
}

impl Proxy {
    /// Parses `http://[user[:password]@]host[:port]`.
    ///
    /// The scheme is optional, and the default port is 80. In the user name and the password, all characters except
    /// letters, digits and `-._~` should be percent-encoded.
    ///
    /// # Errors
    /// See [`ProxyError`].
    pub fn parse(url: &str) -> Result<Self, ProxyError> {
        // `ws` is not allowed either, although a server's URL may have it.
        if url.split_once("://").is_some_and(|(scheme, _)| !scheme.eq_ignore_ascii_case("http")) {
            return Err(ProxyError::Scheme);
        }
        let endpoint = Endpoint::parse(url)?;
        Ok(Self { host: endpoint.host().to_owned(), port: endpoint.port(), authorization: authorization(url)? })
    }

    /// Returns the proxy that the environment sets for connections to a host, if it sets one. The host is a name, or an
    /// address without brackets.
    ///
    /// * `https_proxy` applies to encrypted connections, `http_proxy` to the others, and `all_proxy` where that
    ///   variable is not set. Names in lower case take precedence over names in upper case. An empty variable counts as
    ///   not set.
    /// * `HTTP_PROXY` in upper case is ignored if `REQUEST_METHOD` is set: in a CGI program its value comes from a
    ///   header of the request, so anyone can choose it.
    /// * `no_proxy`, or `NO_PROXY`, lists exceptions, separated by commas: names, which include all their subdomains;
    ///   addresses; networks such as `10.0.0.0/8`; or `*` for all hosts.
    ///
    /// # Errors
    /// Returns an error if the environment sets a proxy that cannot be used. A direct connection is not tried instead.
    pub fn from_env(secure: bool, host: &str) -> Result<Option<Self>, ProxyError> {
        // A value that is not Unicode is not a valid URL either: it causes an error, and is not ignored.
        let lookup = |name: &str| std::env::var_os(name).map(|value| value.to_string_lossy().into_owned());
        Self::from_lookup(secure, host, lookup)
    }

    fn from_lookup(
        secure: bool,
        host: &str,
        lookup: impl Fn(&str) -> Option<String>,
    ) -> Result<Option<Self>, ProxyError> {
        let lookup = |name: &str| lookup(name).filter(|value| !value.is_empty());
        let proxy = if secure {
            lookup("https_proxy").or_else(|| lookup("HTTPS_PROXY"))
        } else {
            let cgi = lookup("REQUEST_METHOD").is_some();
            lookup("http_proxy").or_else(|| lookup("HTTP_PROXY").filter(|_| !cgi))
        };
        let Some(proxy) = proxy.or_else(|| lookup("all_proxy")).or_else(|| lookup("ALL_PROXY")) else {
            return Ok(None);
        };
        let exceptions = lookup("no_proxy").or_else(|| lookup("NO_PROXY"));
        if exceptions.is_some_and(|exceptions| is_exception(&exceptions, host)) {
            return Ok(None);
        }
        Self::parse(&proxy).map(Some)
    }

    /// Returns the host of the proxy, a name or an address. An IPv6 address has no brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Returns the port of the proxy.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Turns a connection to this proxy into a connection to a server. The host is a name, or an address without
    /// brackets.
    ///
    /// # Errors
    /// Returns an error if the proxy refuses, does not speak HTTP, or closes the connection.
    pub(crate) async fn tunnel(&self, io: BoxIo, host: &str, port: u16, runtime: &Runtime) -> io::Result<BoxIo> {
        let host = bracketed(host);
        let server = Authority::try_from(format!("{host}:{port}")).map_err(invalid)?;
        if host.is_empty() || server.host() != host {
            return Err(invalid("invalid host: it cannot be written into a request"));
        }
        let mut request = Request::new(String::new());
        *request.method_mut() = Method::CONNECT;
        request.headers_mut().insert(HOST, HeaderValue::from_str(server.as_str()).map_err(invalid)?);
        *request.uri_mut() = Uri::from(server);
        if let Some(authorization) = &self.authorization {
            request.headers_mut().insert(PROXY_AUTHORIZATION, authorization.clone());
        }

        let mut proxy = http1::Builder::new();
        let handshake = proxy.max_buf_size(MAX_HEAD).handshake(io).await;
        let (mut sender, connection) = handshake.map_err(io::Error::other)?;
        runtime.spawn(async {
            // The request learns how the connection ends.
            let _ = connection.with_upgrades().await;
        });
        let response = sender.send_request(request).await.map_err(io::Error::other)?;
        if !response.status().is_success() {
            return Err(io::Error::other(format!("the proxy answered {}", response.status())));
        }
        // This includes bytes that arrived right after the answer.
        let tunnel = hyper::upgrade::on(response).await.map_err(io::Error::other)?;
        Ok(Box::new(tunnel))
    }
}

fn invalid(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, error)
}

/// Returns the header for the user name and the password of a URL.
fn authorization(url: &str) -> Result<Option<HeaderValue>, ProxyError> {
    let everything = Matcher::builder().all(url).build();
    let proxy = everything.intercept(&Uri::from_static("http://localhost")).ok_or(ProxyError::Credentials)?;
    Ok(proxy.basic_auth().cloned())
}

fn is_exception(exceptions: &str, host: &str) -> bool {
    // The matcher applies an asterisk to names only.
    if exceptions.split(',').any(|exception| exception.trim() == "*") {
        return true;
    }
    let everything = Matcher::builder().all("http://proxy").no(exceptions).build();
    let uri = Uri::builder().scheme("http").authority(bracketed(host)).path_and_query("/").build();
    uri.is_ok_and(|uri| everything.intercept(&uri).is_none())
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
    use std::future::Future;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

    fn parsed(url: &str) -> (String, u16, Option<String>) {
        let proxy = Proxy::parse(url).unwrap_or_else(|error| panic!("{url}: {error}"));
        let authorization = proxy.authorization.map(|header| header.to_str().unwrap().to_owned());
        (proxy.host, proxy.port, authorization)
    }

    #[test]
    fn addresses_of_proxies() {
        let none = |host: &str, port| (host.to_owned(), port, None);
        for url in ["http://proxy:3128", "http://proxy:3128/", "proxy:3128", "HTTP://Proxy:3128/x?y"] {
            assert_eq!(parsed(url), none("proxy", 3128), "{url}");
        }
        assert_eq!(parsed("proxy"), none("proxy", 80));
        assert_eq!(parsed("http://[::1]:8080"), none("::1", 8080));
        let (_, _, authorization) = parsed("http://Aladdin:open%20sesame@proxy:1");
        assert_eq!(authorization.unwrap(), "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
        let (host, _, authorization) = parsed("Aladdin@proxy:1");
        assert_eq!((host.as_str(), authorization.unwrap().as_str()), ("proxy", "Basic QWxhZGRpbjo="));
        for (url, error) in [
            ("https://proxy", ProxyError::Scheme),
            ("wss://proxy", ProxyError::Scheme),
            ("ws://proxy", ProxyError::Scheme),
            ("socks5://proxy", ProxyError::Scheme),
            ("gopher://proxy", ProxyError::Scheme),
            ("", ProxyError::Url(UrlError::Host)),
            ("http://proxy:x", ProxyError::Url(UrlError::Port)),
            ("http://us\"er@proxy", ProxyError::Credentials),
        ] {
            assert_eq!(Proxy::parse(url).unwrap_err(), error, "{url}");
        }
    }

    #[test]
    fn no_password_in_debug_output() {
        let proxy = Proxy::parse("http://user:geheim@proxy:1").unwrap();
        let shown = format!("{proxy:?}");
        let secret = proxy.authorization.unwrap().to_str().unwrap().to_owned();
        assert!(shown.contains("proxy") && !shown.contains("geheim") && !shown.contains(&secret[6..]), "{shown}");
    }

    /// Returns the host of the proxy that an environment sets for a host.
    fn demanded(secure: bool, host: &str, environment: &[(&str, &str)]) -> Option<String> {
        let lookup =
            |name: &str| environment.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        Proxy::from_lookup(secure, host, lookup).unwrap().map(|proxy| proxy.host)
    }

    #[test]
    fn which_variable_counts() {
        let http = ("http_proxy", "lower");
        let upper = ("HTTP_PROXY", "upper");
        assert_eq!(demanded(false, "x", &[]), None);
        assert_eq!(demanded(false, "x", &[upper]).unwrap(), "upper");
        assert_eq!(demanded(false, "x", &[upper, http]).unwrap(), "lower");
        assert_eq!(demanded(false, "x", &[upper, ("http_proxy", "")]).unwrap(), "upper");
        assert_eq!(demanded(true, "x", &[upper, http]), None);
        assert_eq!(demanded(true, "x", &[upper, ("HTTPS_PROXY", "https")]).unwrap(), "https");
        assert_eq!(demanded(true, "x", &[("https_proxy", "a"), ("HTTPS_PROXY", "b")]).unwrap(), "a");
        assert_eq!(demanded(true, "x", &[upper, ("ALL_PROXY", "all")]).unwrap(), "all");
        assert_eq!(demanded(false, "x", &[http, ("all_proxy", "all")]).unwrap(), "lower");
        assert_eq!(demanded(false, "x", &[("ALL_PROXY", "b"), ("all_proxy", "a")]).unwrap(), "a");
    }

    #[test]
    fn in_a_cgi_program_a_header_is_no_proxy() {
        let cgi = ("REQUEST_METHOD", "GET");
        let upper = ("HTTP_PROXY", "evil");
        assert_eq!(demanded(false, "x", &[cgi, upper]), None);
        assert_eq!(demanded(false, "x", &[cgi, upper, ("http_proxy", "good")]).unwrap(), "good");
        assert_eq!(demanded(false, "x", &[cgi, upper, ("all_proxy", "good")]).unwrap(), "good");
        assert_eq!(demanded(true, "x", &[cgi, ("HTTPS_PROXY", "good")]).unwrap(), "good");
    }

    #[test]
    fn exceptions() {
        let exceptions = "example.com, .inner.org,192.168.1.7,10.0.0.0/8 , ::1,fd00::/8";
        let goes_direct =
            |host: &str, exceptions| demanded(true, host, &[("ALL_PROXY", "p"), ("NO_PROXY", exceptions)]).is_none();
        for host in [
            "example.com",
            "EXAMPLE.com",
            "www.example.com",
            "inner.org",
            "a.inner.org",
            "192.168.1.7",
            "10.255.0.1",
            "::1",
            "fd12::1",
        ] {
            assert!(goes_direct(host, exceptions), "{host}");
        }
        for host in ["notexample.com", "example.com.evil", "com", "192.168.1.8", "11.0.0.1", "::2", "fe80::1", ""] {
            assert!(!goes_direct(host, exceptions), "{host}");
        }
        for host in ["example.com", "127.0.0.1", "::1"] {
            assert!(goes_direct(host, "*") && goes_direct(host, "a, *"), "{host}");
            assert!(!goes_direct(host, "") && !goes_direct(host, ","), "{host}");
        }
        assert_eq!(demanded(true, "x", &[("all_proxy", "p"), ("no_proxy", "y"), ("NO_PROXY", "x")]).unwrap(), "p");
    }

    #[test]
    fn a_proxy_that_cannot_be_used_is_not_passed_over() {
        let lookup = |name: &str| (name == "https_proxy").then(|| "socks5://proxy".to_owned());
        assert_eq!(Proxy::from_lookup(true, "x", lookup).unwrap_err(), ProxyError::Scheme);
        assert!(Proxy::from_lookup(false, "x", lookup).unwrap().is_none());
    }

    /// Asks a proxy for a tunnel. Returns the proxy's end of the connection too.
    fn ask(url: &str, host: &'static str) -> (impl Future<Output = io::Result<BoxIo>>, DuplexStream) {
        let (ours, theirs) = tokio::io::duplex(1024);
        let proxy = Proxy::parse(url).unwrap();
        let runtime = Runtime::new(TokioExecutor::new(), TokioTimer::new());
        (async move { proxy.tunnel(Box::new(TokioIo::new(ours)), host, 443, &runtime).await }, theirs)
    }

    async fn head(proxy: &mut DuplexStream) -> String {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(proxy.read_u8().await.unwrap());
        }
        String::from_utf8(head).unwrap()
    }

    #[tokio::test]
    async fn a_tunnel_loses_no_bytes() {
        let (tunnel, mut proxy) = ask("http://user:pass@proxy", "example.com");
        let tunnel = tokio::spawn(tunnel);
        let asked = head(&mut proxy).await.to_ascii_lowercase();
        assert!(asked.starts_with("connect example.com:443 http/1.1\r\n"), "{asked}");
        assert!(asked.contains("\r\nhost: example.com:443\r\n"), "{asked}");
        assert!(asked.contains("\r\nproxy-authorization: basic dxnlcjpwyxnz\r\n"), "{asked}");
        assert!(!asked.contains("content-length") && !asked.contains("transfer-encoding"), "{asked}");

        // A server that sends first, and a proxy whose answer has a content length, which means nothing here.
        proxy.write_all(b"HTTP/1.1 200 Established\r\nContent-Length: 3\r\n\r\nhello").await.unwrap();
        let mut tunnel = TokioIo::new(tunnel.await.unwrap().unwrap());
        let mut bytes = [0; 5];
        tunnel.read_exact(&mut bytes).await.unwrap();
        assert_eq!(&bytes, b"hello");

        tunnel.write_all(b"there").await.unwrap();
        tunnel.flush().await.unwrap();
        proxy.read_exact(&mut bytes).await.unwrap();
        assert_eq!(&bytes, b"there");
        drop(proxy);
        assert_eq!(tunnel.read(&mut bytes).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn an_ipv6_server_without_a_user() {
        let (tunnel, mut proxy) = ask("proxy", "::1");
        let tunnel = tokio::spawn(tunnel);
        let asked = head(&mut proxy).await.to_ascii_lowercase();
        assert!(asked.starts_with("connect [::1]:443 http/1.1\r\nhost: [::1]:443\r\n"), "{asked}");
        assert!(!asked.contains("authorization"), "{asked}");
        proxy.write_all(b"HTTP/1.0 200 Connection established\r\n\r\n").await.unwrap();
        assert!(tunnel.await.unwrap().is_ok());
    }

    #[tokio::test]
    async fn a_refusal_says_the_status() {
        for (answer, status) in [
            ("HTTP/1.1 407 X\r\nContent-Length: 2\r\n\r\nno", "407 Proxy Authentication Required"),
            ("HTTP/1.1 502 X\r\n\r\n", "502 Bad Gateway"),
            ("HTTP/1.1 302 X\r\nLocation: http://evil/\r\n\r\n", "302 Found"),
            ("HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n", "101 Switching Protocols"),
        ] {
            let (tunnel, mut proxy) = ask("proxy", "example.com");
            let tunnel = tokio::spawn(tunnel);
            head(&mut proxy).await;
            proxy.write_all(answer.as_bytes()).await.unwrap();
            let error = tunnel.await.unwrap().map(drop).unwrap_err();
            assert_eq!(error.to_string(), format!("the proxy answered {status}"));
            // The connection is closed.
            let mut rest = Vec::new();
            proxy.read_to_end(&mut rest).await.unwrap();
            assert_eq!(rest, b"");
        }
    }

    #[tokio::test]
    async fn what_is_no_answer() {
        let endless = format!("HTTP/1.1 200 OK\r\nX: {}", "x".repeat(2 * MAX_HEAD));
        for answer in ["", "HTTP/1.1 200 OK\r\nX", "SSH-2.0-OpenSSH_9.9\r\n", &endless] {
            let (tunnel, mut proxy) = ask("proxy", "example.com");
            let tunnel = tokio::spawn(tunnel);
            head(&mut proxy).await;
            // The peer need not read it to the end.
            let _ = proxy.write_all(answer.as_bytes()).await;
            drop(proxy);
            assert!(tunnel.await.unwrap().is_err(), "{answer:.20}");
        }
    }

    #[tokio::test]
    async fn a_tunnel_that_is_given_up_closes_the_connection() {
        let (tunnel, mut proxy) = ask("proxy", "example.com");
        let tunnel = tokio::spawn(tunnel);
        head(&mut proxy).await;
        tunnel.abort();
        let mut rest = Vec::new();
        proxy.read_to_end(&mut rest).await.unwrap();
    }

    #[tokio::test]
    async fn a_host_that_no_request_can_name() {
        for host in ["", "a b", "a\r\nx: y", "a/b", "a@b"] {
            let (tunnel, mut proxy) = ask("proxy", host);
            let error = tunnel.await.map(drop).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{host}");
            let mut sent = Vec::new();
            proxy.read_to_end(&mut sent).await.unwrap();
            assert_eq!(sent, b"", "{host}");
        }
    }
}
