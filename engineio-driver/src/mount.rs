//! How requests come to a server and answers leave it: connections of one's own, hyper services, routers.

pub(crate) mod hyper;
pub(crate) mod serve;
#[cfg(feature = "tower")]
pub(crate) mod tower;
