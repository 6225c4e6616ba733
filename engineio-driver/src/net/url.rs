//! The address of a server, parsed from a URL.

use std::fmt::{self, Write as _};
use std::net::Ipv6Addr;
use std::str::FromStr;

use http::uri::Authority;
use thiserror::Error;

/// Longer URLs are rejected.
const MAX_LEN: usize = 8000;

/// The address of a server, with the query that every request to it starts with.
///
/// It is parsed from a URL such as `https://example.com:8443/?token=1`, by the rules of the JavaScript client:
///
/// * The scheme is `http`, `https`, `ws` or `wss`. `ws` means the same as `http`, and `wss` the same as `https`: the
///   scheme does not choose the transport. The default is `http`.
/// * The default port is 80, or 443 for encrypted connections.
/// * **The path is ignored.** `http://example.com/chat` is the same server as `http://example.com`. The path of
///   Engine.IO is an option of the client, so that all URLs of an application can share it.
/// * A user name, a password and a fragment are ignored.
/// * An IPv6 address is written in brackets: `http://[::1]:3000`. Only an address alone, `::1`, needs no brackets.
///
/// Host names are ASCII. Names in other scripts must be given in their `xn--` form.
#[derive(Clone, Eq, Hash, PartialEq)]
pub struct Endpoint {
    secure: bool,
    /// In lower case. An IPv6 address is in its short form, without brackets.
    host: String,
    port: u16,
    /// Without the question mark, and encoded for a request.
    query: String,
}

/// Why a URL is not the address of a server.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum UrlError {
    /// The URL has more than 8000 bytes.
    #[error("URL too long: expected at most {MAX_LEN} bytes")]
    TooLong,
    /// The URL has white space, a control character or a backslash.
    #[error("invalid character in URL: {0:?}")]
    Character(char),
    /// The scheme is not `http`, `https`, `ws` or `wss`.
    #[error("invalid scheme in URL: expected http, https, ws or wss")]
    Scheme,
    /// The host is missing, or is neither a name nor an address.
    #[error("invalid host in URL: expected a name or an address")]
    Host,
    /// The port is not a number from 1 to 65535.
    #[error("invalid port in URL: expected 1–65535")]
    Port,
}

impl Endpoint {
    /// Parses a URL. The time is linear in its length.
    ///
    /// # Errors
    /// See [`UrlError`].
    pub fn parse(url: &str) -> Result<Self, UrlError> {
        if url.len() > MAX_LEN {
            return Err(UrlError::TooLong);
        }
        if let Some(found) = url.chars().find(|char| char.is_whitespace() || char.is_control()) {
            return Err(UrlError::Character(found));
        }
        let (secure, rest) = split_scheme(url)?;
        let (rest, _fragment) = rest.split_once('#').unwrap_or((rest, ""));
        // The query is split off first, then the path, then the user: an @ in a query belongs to the query.
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, _path) = rest.split_once('/').unwrap_or((rest, ""));
        if authority.contains('\\') {
            // Some parsers take it for a slash, and would find another host.
            return Err(UrlError::Character('\\'));
        }
        let (_user, authority) = authority.rsplit_once('@').unwrap_or(("", authority));
        let (host, port) = split_authority(authority)?;
        let port = port.unwrap_or_else(|| default_port(secure));
        Ok(Self { secure, host, port, query: encode(query) })
    }

    /// Returns whether connections are encrypted.
    pub const fn secure(&self) -> bool {
        self.secure
    }

    /// Returns the host, a name or an address. An IPv6 address has no brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Returns the port, which is that of the scheme if the URL had none.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Returns the query without its question mark, or an empty string. Characters that are not allowed in a request
    /// are percent-encoded; the rest is unchanged.
    pub fn query(&self) -> &str {
        &self.query
    }

    /// Returns whether another address is the same server: host, port and encryption are the same.
    pub(crate) fn is_same_server(&self, other: &Self) -> bool {
        (self.secure, &self.host, self.port) == (other.secure, &other.host, other.port)
    }

    /// Returns host and port as in a URL or in the header `Host`: an IPv6 address has brackets, and the default port of
    /// the scheme is left out.
    pub fn authority(&self) -> String {
        let host = bracketed(&self.host);
        if self.port == default_port(self.secure) { host } else { format!("{host}:{}", self.port) }
    }
}

/// Does not show the query, which may have a secret.
impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint").field("secure", &self.secure).field("authority", &self.authority()).finish()
    }
}

/// Returns an address in the form of a URL.
pub(crate) fn bracketed(host: &str) -> String {
    if host.contains(':') { format!("[{host}]") } else { host.to_owned() }
}

const fn default_port(secure: bool) -> u16 {
    if secure { 443 } else { 80 }
}

/// Splits off the scheme. Returns whether it is encrypted, and the rest.
fn split_scheme(url: &str) -> Result<(bool, &str), UrlError> {
    // A scheme comes before everything else: a `://` inside the query does not count.
    let end = url.find([':', '/', '?', '#', '@', '[']).unwrap_or(url.len());
    let (scheme, rest) = url.split_at(end);
    let Some(rest) = rest.strip_prefix("://") else {
        return Ok((false, url.strip_prefix("//").unwrap_or(url)));
    };
    let is = |name: &str| scheme.eq_ignore_ascii_case(name);
    if is("https") || is("wss") {
        Ok((true, rest))
    } else if is("http") || is("ws") {
        Ok((false, rest))
    } else {
        Err(UrlError::Scheme)
    }
}

/// Splits host and port. The crate `http` checks the characters of the host.
fn split_authority(text: &str) -> Result<(String, Option<u16>), UrlError> {
    if let Ok(address) = text.parse::<Ipv6Addr>() {
        return Ok((address.to_string(), None));
    }
    let (host, port) = match text.find(']') {
        Some(end) => text.split_at(end + 1),
        None => text.split_at(text.find(':').unwrap_or(text.len())),
    };
    let port = match port.strip_prefix(':') {
        // `parse` alone would accept a sign.
        Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            Some(digits.parse().ok().filter(|&port| port != 0).ok_or(UrlError::Port)?)
        }
        None if port.is_empty() => None,
        _ => return Err(UrlError::Port),
    };
    let host = match host.strip_prefix('[') {
        Some(address) => address
            .strip_suffix(']')
            .and_then(|address| address.parse::<Ipv6Addr>().ok())
            .ok_or(UrlError::Host)?
            .to_string(),
        None => Authority::from_str(host)
            .ok()
            .filter(|authority| authority.host() == host)
            .ok_or(UrlError::Host)?
            .host()
            .to_ascii_lowercase(),
    };
    Ok((host, port))
}

/// Percent-encodes what is not allowed in a request, as browsers do. Encoded characters are left as they are.
fn encode(query: &str) -> String {
    let mut encoded = String::with_capacity(query.len());
    for char in query.chars() {
        if char.is_ascii() && !matches!(char, '"' | '<' | '>') {
            encoded.push(char);
        } else {
            for byte in char.encode_utf8(&mut [0; 4]).bytes() {
                // Writing to a string never fails.
                let _ = write!(encoded, "%{byte:02X}");
            }
        }
    }
    encoded
}

impl FromStr for Endpoint {
    type Err = UrlError;

    fn from_str(url: &str) -> Result<Self, UrlError> {
        Self::parse(url)
    }
}

/// As a URL with the scheme `http` or `https`. Includes the query, which may have a secret: take care with logs.
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}/", if self.secure { "https" } else { "http" }, self.authority())?;
        if self.query.is_empty() { Ok(()) } else { write!(f, "?{}", self.query) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::uri::PathAndQuery;

    /// Returns whether the URL is encrypted, the host, the port and the authority.
    fn parsed(url: &str) -> (bool, String, u16, String) {
        let endpoint = Endpoint::parse(url).unwrap_or_else(|error| panic!("{url}: {error}"));
        (endpoint.secure, endpoint.host.clone(), endpoint.port, endpoint.authority())
    }

    fn expect(url: &str, secure: bool, host: &str, port: u16, authority: &str) {
        assert_eq!(parsed(url), (secure, host.to_owned(), port, authority.to_owned()), "{url}");
    }

    fn refused(url: &str) -> UrlError {
        Endpoint::parse(url).expect_err(url)
    }

    #[test]
    fn c002_c003_c004_the_port_of_the_scheme() {
        expect("http://localhost", false, "localhost", 80, "localhost");
        expect("https://localhost", true, "localhost", 443, "localhost");
        expect("ws://localhost", false, "localhost", 80, "localhost");
        expect("wss://localhost", true, "localhost", 443, "localhost");
        expect("WSS://LocalHost/", true, "localhost", 443, "localhost");
    }

    #[test]
    fn c005_a_port_of_ones_own() {
        expect("wss://localhost:2020", true, "localhost", 2020, "localhost:2020");
        for port in ["", "0", "65536", "99999999999999999999", "+80", "-1", "8o", "80:80", "٣"] {
            assert_eq!(refused(&format!("ws://localhost:{port}/")), UrlError::Port, "{port}");
        }
        assert_eq!(refused("http:/localhost"), UrlError::Port);
    }

    #[test]
    fn c006_c007_a_host_without_a_scheme() {
        expect("localhost", false, "localhost", 80, "localhost");
        expect("localhost:3000", false, "localhost", 3000, "localhost:3000");
        expect("//localhost:3000/x", false, "localhost", 3000, "localhost:3000");
        expect("localhost/?from=https://example.com:1", false, "localhost", 80, "localhost");
        expect("localhost?from=https://example.com:1", false, "localhost", 80, "localhost");
        expect("127.0.0.1:443", false, "127.0.0.1", 443, "127.0.0.1:443");
    }

    #[test]
    fn c009_c010_ipv6() {
        expect("http://[::1]", false, "::1", 80, "[::1]");
        expect("http://[::1]:8080/", false, "::1", 8080, "[::1]:8080");
    }

    #[test]
    fn c011_c012_a_host_with_brackets_or_without() {
        expect("[::1]", false, "::1", 80, "[::1]");
        expect("[::1]:8080", false, "::1", 8080, "[::1]:8080");
        expect("wss://[::1]", true, "::1", 443, "[::1]");
        expect("::1", false, "::1", 80, "[::1]");
        expect("https://::1", true, "::1", 443, "[::1]");
    }

    #[test]
    fn c014_the_usual_forms() {
        let paths = ["", "/", "/engine.io/", "/a/b:c", "/a;b=c", "//", "#top", "/x#top?y=1"];
        for (path, query) in paths.iter().flat_map(|path| [(path, ""), (path, "a=1&b=%20&c=x%26y")]) {
            if path.contains('#') && !query.is_empty() {
                continue;
            }
            let url = format!("http://example.com:81{path}{}{query}", if query.is_empty() { "" } else { "?" });
            expect(&url, false, "example.com", 81, "example.com:81");
            assert_eq!(Endpoint::parse(&url).unwrap().query(), query, "{url}");
        }
        assert_eq!(Endpoint::parse("http://x/?a=1#b?c").unwrap().query(), "a=1");
        assert_eq!(Endpoint::parse("http://x?a=1/2?3").unwrap().query(), "a=1/2?3");
        for url in ["", "http://", "//", "/engine.io/", "?a=b", "#x", "http://:80", "ws:///path", "http://@"] {
            assert_eq!(refused(url), UrlError::Host, "{url}");
        }
        for url in ["ftp://x", "socks5://x", "file:///etc", "://x", "httpss://x", "unix://x"] {
            assert_eq!(refused(url), UrlError::Scheme, "{url}");
        }
        for host in ["exämple.com", "a%20b", "a\"b", "<x>", "a{b"] {
            assert_eq!(refused(&format!("http://{host}/")), UrlError::Host, "{host}");
        }
        for url in ["http://a\\b/", "http://good.com\\@evil.com"] {
            assert_eq!(refused(url), UrlError::Character('\\'), "{url}");
        }
    }

    #[test]
    fn c015_ipv6_full_and_short() {
        let full = "2001:0db8:85a3:0042:1000:8a2e:0370:7334";
        let short = "2001:db8:85a3:42:1000:8a2e:370:7334";
        expect(&format!("http://[{full}]"), false, short, 80, &format!("[{short}]"));
        expect(&format!("https://[{full}]:80/"), true, short, 80, &format!("[{short}]:80"));
        expect("wss://[2001:db8:85a3:42:1000:8a2e::]:443", true, "2001:db8:85a3:42:1000:8a2e::", 443, {
            "[2001:db8:85a3:42:1000:8a2e::]"
        });
        let endpoint = Endpoint::parse("http://[::1]/foo/bar?foo=bar&baz=[1]").unwrap();
        assert_eq!((endpoint.host(), endpoint.query()), ("::1", "foo=bar&baz=[1]"));
        for host in ["[", "]", "[]", "::1]", "[1.2.3.4]", "[fe80::1%25eth0]", "[v1.x]"] {
            assert_eq!(refused(&format!("http://{host}/")), UrlError::Host, "{host}");
        }
        for host in ["[::1", "[::1]]", "[[::1]]", "[::1]x", "[::1]:", "[::1]80", "1:2"] {
            assert!(Endpoint::parse(&format!("http://{host}:1/")).is_err(), "{host}");
        }
    }

    #[test]
    fn c016_user_info_is_ignored() {
        for user in ["u", "u:p", "", ":", "u:p@q", "a%40b:%ff", "ü", "[::1]", "x://y"] {
            let url = format!("https://{user}@example.com:81/?a");
            match user {
                // A slash ends the authority, wherever it is.
                "x://y" => assert_eq!(refused(&url), UrlError::Port),
                _ => expect(&url, true, "example.com", 81, "example.com:81"),
            }
        }
        expect("u:p@localhost:3000", false, "localhost", 3000, "localhost:3000");
        expect("u@[::1]:3000", false, "::1", 3000, "[::1]:3000");
    }

    #[test]
    fn c017_no_user_in_a_query() {
        assert_eq!(refused("/foo?bar=@example.com"), UrlError::Host);
        assert_eq!(refused("?bar=u:p@example.com"), UrlError::Host);
        let endpoint = Endpoint::parse("http://localhost?a=u@example.com").unwrap();
        assert_eq!((endpoint.host(), endpoint.query()), ("localhost", "a=u@example.com"));
        let endpoint = Endpoint::parse("localhost/@example.com").unwrap();
        assert_eq!(endpoint.host(), "localhost");
    }

    #[test]
    fn c018_sec46_a_long_url_is_refused() {
        let longest = format!("http://localhost/?{}", "a".repeat(MAX_LEN - 18));
        assert_eq!(Endpoint::parse(&longest).unwrap().query().len(), MAX_LEN - 18);
        assert_eq!(refused(&format!("{longest}a")), UrlError::TooLong);
        assert_eq!(refused(&"@".repeat(1 << 20)), UrlError::TooLong);
    }

    #[test]
    fn sec46_repetitions_are_no_trouble() {
        for part in ["@", ":", "/", "?", "#", "[", "]", "[:", "%", "a.", "\\", "a@b:"] {
            for begin in ["", "http://", "http://x", "http://[::1]"] {
                let url = format!("{begin}{}", part.repeat((MAX_LEN - begin.len()) / part.len()));
                let _ = Endpoint::parse(&url);
            }
        }
    }

    #[test]
    fn c033_c034_c036_c039_the_port_of_the_scheme_is_left_out() {
        expect("http://localhost:80", false, "localhost", 80, "localhost");
        expect("http://localhost:3000", false, "localhost", 3000, "localhost:3000");
        expect("https://localhost:443", true, "localhost", 443, "localhost");
        expect("https://localhost:8443", true, "localhost", 8443, "localhost:8443");
        expect("https://localhost:80", true, "localhost", 80, "localhost:80");
        expect("ws://[::1]:80", false, "::1", 80, "[::1]");
        expect("ws://[::1]:8080", false, "::1", 8080, "[::1]:8080");
    }

    #[test]
    fn c037_display_is_a_url_again() {
        for (url, shown) in [
            ("ws://localhost", "http://localhost/"),
            ("wss://u:p@LOCALHOST:2020/x?a=1#y", "https://localhost:2020/?a=1"),
            ("::1", "http://[::1]/"),
        ] {
            let endpoint: Endpoint = url.parse().unwrap();
            assert_eq!(endpoint.to_string(), shown);
            assert_eq!(shown.parse(), Ok(endpoint));
        }
    }

    #[test]
    fn no_control_characters_and_no_white_space() {
        for char in ['\r', '\n', '\t', ' ', '\0', '\x7f', '\u{85}', '\u{a0}', '\u{2028}'] {
            for url in [format!("http://local{char}host/"), format!("{char}localhost"), format!("http://x/?a={char}")] {
                assert_eq!(refused(&url), UrlError::Character(char));
            }
        }
    }

    #[test]
    fn every_query_can_be_sent() {
        let endpoint = Endpoint::parse("localhost?a=ü€😀\"<>%20%zz'[]{}|\\^`").unwrap();
        assert_eq!(endpoint.query(), "a=%C3%BC%E2%82%AC%F0%9F%98%80%22%3C%3E%20%zz'[]{}|\\^`");
        for char in (0..=0x17f).filter_map(char::from_u32) {
            if let Ok(endpoint) = Endpoint::parse(&format!("localhost?{char}")) {
                let target = format!("/?{}", endpoint.query());
                let sent = PathAndQuery::from_str(&target).unwrap();
                assert_eq!(sent.as_str(), target);
            }
        }
    }
}
