//! The laws of the machines, which hold between any two calls.

/// A law that does not hold. This is a bug in this crate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("broken law: {0}")]
pub struct Violation(pub(crate) &'static str);
