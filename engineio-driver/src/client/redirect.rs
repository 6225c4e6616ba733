//! Redirects of polling requests.
//!
//! The reference's client on Node (`xmlhttprequest-ssl` 2.1.2) follows 302, 303 and 307 without a limit, to absolute URLs,
//! sends all headers to them, also those with secrets, and loses the body of a POST; in a browser, the browser follows them.
//! Here 301 and 308 are followed too, since servers use them for the same purpose; but a POST only by 307 and 308, which
//! keep its body. Each request goes to the client's own server first. A WebSocket follows none, as in the reference.

use std::fmt;

use http::header::{HeaderMap, LOCATION};
use http::{Method, Uri};

use crate::net::Endpoint;

/// Where a request goes.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) endpoint: Endpoint,
    /// Path and query.
    pub(super) target: String,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.endpoint.secure() { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.endpoint.authority(), self.target)
    }
}

/// Where an answer leads.
#[derive(Debug)]
pub(super) enum Redirect {
    /// It is not a redirect.
    None,
    Follow(Place),
    /// The redirect must not be followed. This says why, and where it leads.
    Refused(String),
}

/// Returns where the answer to a request leads. `left`: how many redirects may still be followed.
pub(super) fn next(from: &Place, method: &Method, status: u16, headers: &HeaderMap, left: usize) -> Redirect {
    let (true, Some(location)) = (matches!(status, 301 | 302 | 303 | 307 | 308), headers.get(LOCATION)) else {
        return Redirect::None;
    };
    let location = String::from_utf8_lossy(location.as_bytes());
    let refused = |why: &str| Redirect::Refused(format!("the server redirects to {location}, {why}"));
    let Some(place) = parse(&location) else {
        return refused("which is not an address of a server: expected an absolute URL with http or https");
    };
    if place.endpoint.secure() != from.endpoint.secure() {
        return refused("which is not followed because its scheme is another one");
    }
    if *method != Method::GET && status < 307 {
        return refused("which is not followed because the POST would become a GET");
    }
    if left == 0 {
        return refused("which is not followed because there were too many redirects, or they are off");
    }
    Redirect::Follow(place)
}

/// Says where an answer to the handshake of a WebSocket leads.
pub(super) fn not_followed(status: u16, headers: &HeaderMap) -> Option<String> {
    let location = headers.get(LOCATION).filter(|_| (300..400).contains(&status))?;
    let location = String::from_utf8_lossy(location.as_bytes());
    Some(format!("the server redirects to {location}, which a WebSocket does not follow"))
}

/// Parses an absolute URL.
fn parse(url: &str) -> Option<Place> {
    let (url, _fragment) = url.split_once('#').unwrap_or((url, ""));
    let (scheme, rest) = url.split_once("://")?;
    if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
        return None;
    }
    let path = rest.find(['/', '?']).and_then(|at| rest.get(at..)).unwrap_or_default();
    let slash = if path.starts_with('/') { "" } else { "/" };
    let (endpoint, target) = (Endpoint::parse(url).ok()?, format!("{slash}{path}"));
    // It must be possible to send it.
    Uri::try_from(&target).ok().filter(|uri| uri.authority().is_none())?;
    Some(Place { endpoint, target })
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn lead(from: &str, method: Method, status: u16, location: &str, left: usize) -> Result<String, String> {
        let from = Place { endpoint: Endpoint::parse(from).unwrap(), target: "/engine.io/?EIO=4".into() };
        let mut headers = HeaderMap::new();
        headers.insert(LOCATION, HeaderValue::from_str(location).unwrap());
        match next(&from, &method, status, &headers, left) {
            Redirect::None => Err(String::new()),
            Redirect::Follow(place) => Ok(place.to_string()),
            Redirect::Refused(why) => Err(why),
        }
    }

    #[test]
    fn a_redirect_is_followed_to_a_server_of_the_same_kind() {
        for (location, expected) in [
            ("http://b/x?y=z#top", "http://b/x?y=z"),
            ("http://b", "http://b/"),
            ("http://b?x", "http://b/?x"),
            ("HTTP://user:pass@B:81/x", "http://b:81/x"),
            ("http://[::1]:81/", "http://[::1]:81/"),
        ] {
            assert_eq!(lead("http://a", Method::GET, 302, location, 1).as_deref(), Ok(expected));
        }
        for status in [301, 302, 303, 307, 308] {
            assert_eq!(lead("https://a", Method::GET, status, "https://b/", 1).as_deref(), Ok("https://b/"));
            let post = lead("https://a", Method::POST, status, "https://b/", 1);
            assert_eq!(post.is_ok(), status >= 307, "{status}");
        }
    }

    #[test]
    fn a_redirect_that_is_not_followed_tells_its_target() {
        for (from, location) in [
            // Encryption is never given up, and an address that the application has not chosen is not encrypted for it.
            ("https://a", "http://a/"),
            ("http://a", "https://a/"),
            ("http://a", "ftp://a/"),
            ("http://a", "ws://a/"),
            // Often to a page that asks for a password.
            ("http://a", "/login"),
            ("http://a", "//b/x"),
            ("http://a", "x?y"),
            ("http://a", "http://"),
            ("http://a", "http://a/ b"),
            ("http://a", ""),
        ] {
            let why = lead(from, Method::GET, 302, location, 1).unwrap_err();
            assert!(why.contains(&format!("redirects to {location}, which")), "{location}: {why}");
        }
        assert!(lead("http://a", Method::GET, 302, "http://b/", 0).unwrap_err().contains("too many"));
        for status in [200, 300, 304, 305, 306, 309, 400] {
            assert_eq!(lead("http://a", Method::GET, status, "http://b/", 1), Err(String::new()), "{status}");
        }
    }
}
