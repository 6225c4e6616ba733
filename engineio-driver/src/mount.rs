//! Ways to serve the requests of a server: listeners, a hyper service, a tower service and layer.
//!
//! The `bind` and `serve` functions of the runtime crates listen on TCP without any of these.

mod connection;
mod hyper;
mod listening;
#[cfg(feature = "tower")]
mod mixed;
mod observed;
mod serve;
#[cfg(feature = "tower")]
mod tower;
#[cfg(feature = "tower")]
mod with;

pub use self::hyper::{HyperService, not_found};
pub use self::listening::Listening;
pub use self::serve::Listener;
#[cfg(feature = "tower")]
pub use self::tower::{EngineBody, EngineLayer, EngineService, NotFound};
#[cfg(feature = "tower")]
pub use self::with::HttpService;
pub use crate::body::{ReplyBody, ReplyData};
pub use crate::server::{Aborted, RemoteAddr};
pub use crate::tasks::Guard;
