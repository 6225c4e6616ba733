//! What can be wrong with options.

/// What is wrong with a configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A time is zero that must not be.
    #[error("{0} must not be zero")]
    Zero(&'static str),
    /// No transport is enabled.
    #[error("at least one transport must be enabled")]
    NoTransport,
    /// The low mark of the send buffer is above its limit.
    #[error("send_low must not be above send_limit")]
    Marks,
    /// The initial message has the character 0x1E, which cannot be sent by polling.
    #[error("the initial message has a record separator (0x1E), which cannot be sent by polling")]
    Separator,
    /// The longest delay is shorter than the first one, or is spread by more than itself.
    #[error("max_delay must not be below delay, nor jitter_percent above 100")]
    Delays,
    /// The path of a client does not begin with a slash, or has characters that a URL does not have there.
    #[error("the path must begin with a slash and be encoded")]
    Path,
    /// The query of a client has characters that a URL does not have there, or its stamp has no name.
    #[error("the query must be encoded, and the stamp named")]
    Query,
}

pub(crate) fn refuse_zero<T: Copy>(
    options: impl IntoIterator<Item = (&'static str, T)>,
    is_zero: impl Fn(T) -> bool,
) -> Result<(), ConfigError> {
    match options.into_iter().find(|&(_, value)| is_zero(value)) {
        Some((name, _)) => Err(ConfigError::Zero(name)),
        None => Ok(()),
    }
}
