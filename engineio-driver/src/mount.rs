//! How requests come to a server and answers leave it: with connections of one's own, as a hyper service, as a tower service or
//! layer. The runtime crates listen by TCP without any of this.

mod hyper;
mod serve;
#[cfg(feature = "tower")]
mod tower;

pub use self::hyper::{HyperService, not_found};
pub use self::serve::Listener;
#[cfg(feature = "tower")]
pub use self::tower::{EngineBody, EngineLayer, EngineService, NotFound};
pub use crate::body::{ReplyBody, ReplyData};
pub use crate::server::{Aborted, RemoteAddr};
pub use crate::tasks::Guard;
