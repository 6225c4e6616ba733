//! Which paths are ours.

use alloc::string::String;

/// The path under which a server is mounted.
///
/// The reference compares by prefix, so that `/engine.iofoo` and `/engine.io/foo` are its own. Here a path is ours
/// exactly, or, where asked for, with anything behind a slash.
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
    /// Mounts at a path. A slash at its end says nothing.
    pub fn new(path: &str) -> Self {
        let path = path.strip_suffix('/').unwrap_or(path);
        Self { path: path.into(), trailing_slash: true, sub_paths: false }
    }

    /// Whether requests must have a slash behind the path; when not, they may. Default: they must.
    #[must_use]
    pub const fn trailing_slash(mut self, required: bool) -> Self {
        self.trailing_slash = required;
        self
    }

    /// Whether whatever stands behind the path and a slash is ours too, as in the reference. Default: no.
    #[must_use]
    pub const fn sub_paths(mut self, ours: bool) -> Self {
        self.sub_paths = ours;
        self
    }

    /// Whether a path, without its query, is ours.
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
