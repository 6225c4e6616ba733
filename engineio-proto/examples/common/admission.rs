//! From the head of a request to its session.

use engineio_proto::http::{Mount, Reply, Request, is_octet_stream};
use engineio_proto::server::{Admission, Entry, SessionKey};
use engineio_proto::{ChannelId, ExchangeId, Instant, Server, Sid};
use tungstenite::handshake::server::create_response;
use tungstenite::http;
use tungstenite::http::header::{CONTENT_TYPE, ORIGIN};

use crate::http::{Head, refusal};

/// A request that was passed to its session.
pub(crate) enum Admitted {
    /// The session answers, at once or later.
    Exchange { key: SessionKey, exchange: ExchangeId },
    /// The request becomes a WebSocket. First, `accept`, a 101, must be written.
    Channel { key: SessionKey, channel: ChannelId, accept: http::Response<()> },
}

/// Opens the session of a handshake, or finds the session of another request, and passes the request as its first
/// input. `number` must be new: it becomes the number of the exchange or the channel.
///
/// # Errors
/// Returns the answer to a request that reaches no session.
pub(crate) fn admit(server: &mut Server, now: Instant, head: &Head, number: u64) -> Result<Admitted, Reply> {
    if !Mount::default().matches(head.path()) {
        return Err(refusal(404));
    }
    let request =
        Request { method: head.method(), query: head.query(), origin: head.value(ORIGIN), upgrade: head.is_upgrade() };
    let is_upgrade = request.is_upgrade(server.config());
    let admission =
        Admission::begin(&request, server.config()).map_err(|rejection| rejection.into_reply(is_upgrade))?;
    // The library checks the version and the key, and computes the value for the answer.
    let accept = is_upgrade.then(|| create_response(head.request())).transpose().map_err(|_| refusal(400))?;
    let (exchange, channel) = (ExchangeId(number), ChannelId(number));
    let entry = if is_upgrade {
        Entry::Channel { channel, head: None }
    } else {
        Entry::Exchange { exchange, octet_stream: head.value(CONTENT_TYPE).is_some_and(is_octet_stream) }
    };
    let mut entropy = [0; 15];
    getrandom::fill(&mut entropy).map_err(|_| refusal(500))?;
    let sid = Sid::from_entropy(entropy);
    let admitted = server.admit(now, admission, entry, Some(sid));
    let key = admitted.map_err(|refused| refused.into_reply(is_upgrade))?;
    Ok(match accept {
        Some(accept) => Admitted::Channel { key, channel, accept },
        None => Admitted::Exchange { key, exchange },
    })
}
