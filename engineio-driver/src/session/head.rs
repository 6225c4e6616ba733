//! The first request of a session, in a compact form.

use std::borrow::Cow;
use std::net::SocketAddr;

use http::header::{AUTHORIZATION, COOKIE, PROXY_AUTHORIZATION};
use http::{Extensions, HeaderName, HeaderValue, Request, Uri, request};
use smallvec::SmallVec;

/// The address from which a request comes, as an extension of the request.
///
/// [`Handle::remote_addr`](crate::Handle::remote_addr) returns it. Connections that the server accepts have it, and code
/// that accepts connections itself adds it. It is that of a proxy if there is one.
///
/// [`Server::serve_with`](crate::Server::serve_with) adds it to the requests for the other service too. Handlers of axum
/// can read it as an `Extension<RemoteAddr>`. For those that read `ConnectInfo`, add this layer:
///
/// ```
/// # use std::net::SocketAddr;
/// use axum::Router;
/// use axum::extract::{ConnectInfo, Request};
/// use axum::middleware::map_request;
/// use axum::routing::get;
/// use engineio_driver::mount::RemoteAddr;
///
/// async fn connect_info(mut request: Request) -> Request {
///     if let Some(&RemoteAddr(addr)) = request.extensions().get() {
///         request.extensions_mut().insert(ConnectInfo(addr));
///     }
///     request
/// }
///
/// async fn show(ConnectInfo(addr): ConnectInfo<SocketAddr>) -> String {
///     addr.to_string()
/// }
///
/// let app: Router = Router::new().route("/", get(show)).layer(map_request(connect_info));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RemoteAddr(pub SocketAddr);

/// Target and headers in one allocation. Headers as hyper parses them would keep its whole read buffer alive.
#[derive(Debug)]
pub(crate) struct RequestHead {
    /// The target, then one line for each header.
    text: Box<[u8]>,
    extensions: Extensions,
}

impl RequestHead {
    /// Keeps at most `limit` bytes: headers that do not fit are left out. Of a target that does not fit, only the path is
    /// kept.
    pub(crate) fn new(parts: &request::Parts, limit: usize) -> Self {
        let mut target = match (parts.uri.authority(), parts.uri.path_and_query()) {
            // As most clients send it.
            (None, Some(target)) => Cow::Borrowed(target.as_str()),
            _ => Cow::Owned(parts.uri.to_string()),
        };
        if target.len() > limit {
            target = Some(parts.uri.path()).filter(|path| path.len() <= limit).unwrap_or("/").into();
        }
        let mut len = target.len();
        let fits = |(name, value): &(&HeaderName, &HeaderValue)| {
            let more = name.as_str().len() + value.len() + 2;
            let fits = len + more <= limit;
            len += if fits { more } else { 0 };
            fits
        };
        let headers: SmallVec<[_; 32]> = parts.headers.iter().filter(fits).collect();
        let mut text = Vec::with_capacity(len);
        text.extend_from_slice(target.as_bytes());
        for (name, value) in headers {
            text.push(b'\n');
            text.extend_from_slice(name.as_str().as_bytes());
            text.push(b':');
            text.extend_from_slice(value.as_bytes());
        }
        // The session has the address anyway; see `Link::request`. Even a single extension takes 200 bytes.
        let address = usize::from(parts.extensions.get::<RemoteAddr>().is_some());
        let extensions = if parts.extensions.len() == address { Extensions::new() } else { parts.extensions.clone() };
        Self { text: text.into(), extensions }
    }

    /// The address of the client is missing if it was the only extension.
    pub(crate) fn to_request(&self) -> Request<()> {
        let mut request = Request::new(());
        let mut lines = self.text.split(|&byte| byte == b'\n');
        if let Some(target) = lines.next().and_then(|target| Uri::try_from(target).ok()) {
            *request.uri_mut() = target;
        }
        for line in lines {
            let mut halves = line.splitn(2, |&byte| byte == b':');
            let name = halves.next().and_then(|name| HeaderName::from_bytes(name).ok());
            let value = halves.next().and_then(|value| HeaderValue::from_bytes(value).ok());
            if let (Some(name), Some(mut value)) = (name, value) {
                value.set_sensitive(is_secret(&name));
                request.headers_mut().append(name, value);
            }
        }
        *request.extensions_mut() = self.extensions.clone();
        request
    }
}

/// Returns whether the value of a header must not appear in logs.
pub(crate) fn is_secret(name: &HeaderName) -> bool {
    [AUTHORIZATION, COOKIE, PROXY_AUTHORIZATION].contains(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_survives() {
        let (mut parts, ()) = Request::builder()
            .uri("/engine.io/?EIO=4&transport=polling&token=a%20b")
            .header("cookie", "a=b:c; d=e")
            .header("x-two", "1")
            .header("x-two", "2")
            .header("x-bytes", HeaderValue::from_bytes(b"\xff\xfe").unwrap())
            .extension(7_u8)
            .body(())
            .unwrap()
            .into_parts();
        let request = RequestHead::new(&parts, usize::MAX).to_request();
        assert_eq!(request.uri(), &parts.uri);
        assert_eq!(request.headers(), &parts.headers);
        assert_eq!(request.extensions().get(), Some(&7_u8));
        parts.extensions = Extensions::new();
        assert!(RequestHead::new(&parts, usize::MAX).to_request().extensions().is_empty());
    }

    #[test]
    fn sec70_what_is_kept_of_a_request_is_bounded() {
        let (parts, ()) = Request::builder()
            .uri(format!("/engine.io/?{}", "x".repeat(100)))
            .header("x-one", "1")
            .header("x-long", "y".repeat(1000))
            .header("x-two", "2")
            .body(())
            .unwrap()
            .into_parts();
        for (limit, target, names) in [
            (10_000, parts.uri.to_string(), &["x-one", "x-long", "x-two"][..]),
            (1000, parts.uri.to_string(), &["x-one", "x-two"]),
            (parts.uri.to_string().len() + 8, parts.uri.to_string(), &["x-one"]),
            (parts.uri.to_string().len(), parts.uri.to_string(), &[]),
            (50, "/engine.io/".into(), &["x-one", "x-two"]),
            (1, "/".into(), &[]),
        ] {
            let head = RequestHead::new(&parts, limit);
            assert!(head.text.len() <= limit, "{limit}");
            let request = head.to_request();
            let kept: Vec<_> = request.headers().keys().map(HeaderName::as_str).collect();
            assert_eq!((request.uri().to_string(), &kept[..]), (target, names), "{limit}");
        }
    }
}
