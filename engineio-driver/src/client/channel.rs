//! Opening a WebSocket to a server.

use engineio_proto::client::Details;
use http::header::SEC_WEBSOCKET_PROTOCOL;
use http::{Method, StatusCode};
use hyper::upgrade::Upgraded;

use super::http::{Http, first_words};
use crate::websocket::open::Opening;

/// Opens a WebSocket on a new connection.
///
/// # Errors
/// Returns the server's answer, if it answered with anything but a 101.
pub(super) async fn open(http: &Http, target: &str) -> Result<Upgraded, Option<Details>> {
    let opening = Opening::new();
    let request = http.request(Method::GET, target, opening.headers()).ok_or(None)?;
    let offered = request.headers().contains_key(SEC_WEBSOCKET_PROTOCOL);
    let mut sender = http.connect(|io| io).await.map_err(|error| {
        http.keep_error(error);
        None
    })?;
    let response = sender.send_request(request).await.map_err(|_| None)?;
    http.keep_cookies(response.headers());
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        let status = response.status().as_u16();
        let body = first_words(http.runtime(), response.into_body()).await;
        return Err(Some(Details::answer(status, &body)));
    }
    if !opening.is_accepted(response.headers(), offered) {
        return Err(None);
    }
    hyper::upgrade::on(response).await.map_err(|_| None)
}
