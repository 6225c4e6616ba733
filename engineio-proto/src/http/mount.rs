//! The path of a server.

use alloc::string::String;

/// The path at which a server is mounted.
///
/// The reference compares prefixes, so it also accepts `/engine.iofoo` and `/engine.io/foo`. Here the path must be
/// equal, or, with [`sub_paths`](Mount::sub_paths), followed by a slash and anything else.
///
/// ```
/// use engineio_proto::http::Mount;
///
/// let mount = Mount::default();
/// assert!(mount.matches("/engine.io/"));
/// assert!(!mount.matches("/engine.io"));
/// assert!(!mount.matches("/engine.iofoo"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    path: String,
    trailing_slash: bool,
    sub_paths: bool,
}

impl Default for Mount {
    fn default() -> Self {
        Self::new("/engine.io")
    }
}

impl Mount {
    /// Mounts a server at a path. A slash at its end is ignored.
    pub fn new(path: &str) -> Self {
        let path = path.strip_suffix('/').unwrap_or(path);
        Self { path: path.into(), trailing_slash: true, sub_paths: false }
    }

    /// Sets whether requests must have a slash after the path. If not, the slash is optional. Default: they must.
    #[must_use]
    pub const fn trailing_slash(mut self, required: bool) -> Self {
        self.trailing_slash = required;
        self
    }

    /// Sets whether paths below this one, after a slash, belong to the server too, as in the reference. Default: no.
    #[must_use]
    pub const fn sub_paths(mut self, ours: bool) -> Self {
        self.sub_paths = ours;
        self
    }

    /// Returns whether a path, without its query, belongs to the server.
    pub fn matches(&self, path: &str) -> bool {
        match path.strip_prefix(self.path.as_str()) {
            Some("") => !self.trailing_slash,
            Some("/") => true,
            Some(rest) => self.sub_paths && rest.starts_with('/'),
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn engine_iofoo_is_not_ours() {
        let all = Mount::default().trailing_slash(false).sub_paths(true);
        for path in ["/engine.iofoo", "/engine.iofoo/", "/engine", "/", "", "/x/engine.io/", "/ENGINE.IO/"] {
            assert!(!Mount::default().matches(path), "{path}");
            assert!(!all.matches(path), "{path}");
        }
    }

    #[test]
    fn slashes() {
        let mount = Mount::new("/engine.io/");
        assert_eq!(mount, Mount::default());
        assert!(mount.matches("/engine.io/") && !mount.matches("/engine.io"));
        let mount = mount.trailing_slash(false);
        assert!(mount.matches("/engine.io/") && mount.matches("/engine.io"));
        assert!(!mount.matches("/engine.io/foo/bar/"));
        assert!(mount.sub_paths(true).matches("/engine.io/foo/bar/"));
    }
}
