//! HTTP requests and answers as values: which requests are for the server, what they ask for, and how they are
//! answered.

pub(crate) mod headers;
pub(crate) mod mount;
pub(crate) mod rejection;
pub(crate) mod response;
pub(crate) mod route;
pub(crate) mod websocket;

pub use headers::Headers;
pub use mount::Mount;
pub use rejection::{ErrorCode, Rejection};
pub use response::{Reply, Response, is_octet_stream, needs_xss_header};
pub use route::{Handshake, Method, Operation, Request, Route, SessionRequest};
pub use websocket::{HeadError, HttpVersion, WebSocketHead, has_token};
