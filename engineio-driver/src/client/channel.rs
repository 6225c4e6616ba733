//! Opening a WebSocket to a server.

use std::sync::Weak;

use engineio_proto::client::Details;
use http::header::SEC_WEBSOCKET_PROTOCOL;
use http::{Method, StatusCode};
use hyper::upgrade::Upgraded;

use super::failure::{self, no_websocket};
use super::http::{Http, first_words};
use super::redirect;
use crate::session::Cause;
use crate::websocket::open::Opening;

/// Why a WebSocket was not opened.
#[derive(Debug, Default)]
pub(super) struct Unopened {
    /// The server's answer, if it answered with anything but a 101.
    pub(super) details: Option<Details>,
    pub(super) cause: Cause,
}

impl From<std::io::Error> for Unopened {
    fn from(error: std::io::Error) -> Self {
        Self { details: None, cause: error.into() }
    }
}

/// Opens a WebSocket on a new connection.
///
/// # Errors
/// Returns the server's answer, if it answered with anything but a 101.
pub(super) async fn open(http: &Http, target: &str) -> Result<Upgraded, Unopened> {
    let opening = Opening::new();
    let place = http.place(target);
    let request = http.request(Method::GET, &place, opening.headers()).ok_or_else(Unopened::default)?;
    let offered = request.headers().contains_key(SEC_WEBSOCKET_PROTOCOL);
    let mut connection = http.connect(&place.endpoint, Weak::new()).await?;
    let response = connection.ask(request).await.map_err(|unsent| unsent.error)?;
    http.keep_cookies(&place, response.headers());
    let status = response.status().as_u16();
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        let (parts, body) = response.into_parts();
        let body = first_words(http.runtime(), body).await;
        let hint = redirect::not_followed(status, &parts.headers);
        let hint = hint.or_else(|| no_websocket(status, &parts.headers, &body));
        let cause = hint.map(Cause::hint).unwrap_or_default();
        return Err(Unopened { details: Some(Details::answer(status, &body)), cause });
    }
    if !opening.is_accepted(response.headers(), offered) {
        let cause = no_websocket(status, response.headers(), b"").map(Cause::hint).unwrap_or_default();
        return Err(Unopened { details: None, cause });
    }
    Ok(hyper::upgrade::on(response).await.map_err(|error| failure::lost(error, &connection.received))?)
}
