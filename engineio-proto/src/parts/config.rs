//! Errors of configurations.

/// Why a configuration is not valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The named option is zero, or a time that is too short.
    #[error("{0} must be greater than zero (at least 1 ms, if it is a time)")]
    Zero(&'static str),
    /// `ping_interval` and `ping_timeout` are together longer than 2,147,483,647 ms. Clients in JavaScript wait that long
    /// for a ping. Their timers cannot be set to more, and end the session at once.
    #[error("ping_interval and ping_timeout must not be longer than 2147483647 ms (24 days) together")]
    Heartbeat,
    /// No transport is enabled.
    #[error("no transport is enabled: expected at least one")]
    NoTransport,
    /// `send_low` is above `send_limit`.
    #[error("send_low must not be greater than send_limit")]
    Marks,
    /// The initial message is text with the character 0x1E, which polling cannot carry.
    #[error("the initial message must not contain a record separator (0x1E), which polling cannot carry")]
    Separator,
    /// `max_delay` is shorter than `delay`, or `jitter_percent` is above 100.
    #[error("max_delay must not be shorter than delay, and jitter_percent must not be greater than 100")]
    Delays,
    /// The path of a client does not begin with a slash, or has a character that must be percent-encoded.
    #[error("path must begin with a slash and be percent-encoded")]
    Path,
    /// The query of a client has a character that must be percent-encoded, or `stamp_name` is empty or has a character
    /// that is not allowed.
    #[error("query must be percent-encoded; stamp_name must consist of letters, digits and - _ . ~")]
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
