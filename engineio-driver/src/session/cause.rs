//! The cause of an end.

use std::io;
use std::sync::Arc;

/// What is known about a failure that ends a session, besides the reason. Only clients keep it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cause {
    /// The error of the connection.
    pub(crate) error: Option<Arc<io::Error>>,
    /// What a person should look at, if the server's answer shows it.
    pub(crate) hint: Option<String>,
}

impl Cause {
    pub(crate) fn hint(hint: String) -> Self {
        Self { error: None, hint: Some(hint) }
    }
}

impl From<io::Error> for Cause {
    fn from(error: io::Error) -> Self {
        Self { error: Some(Arc::new(error)), hint: None }
    }
}
