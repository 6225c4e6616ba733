//! The headers of an answer.

use alloc::borrow::Cow;
use alloc::vec::Vec;
use core::fmt;

/// The headers of a [`Reply`](crate::http::Reply): those that are constant for its kind, and added ones. Names are in
/// lower case. Without added headers nothing is allocated.
#[derive(Clone, Default)]
pub struct Headers {
    fixed: &'static [(&'static str, &'static str)],
    added: Vec<(&'static str, Cow<'static, str>)>,
}

impl Headers {
    pub(crate) const fn fixed(fixed: &'static [(&'static str, &'static str)]) -> Self {
        Self { fixed, added: Vec::new() }
    }

    /// Appends a header. `name` is in lower case.
    pub fn push(&mut self, name: &'static str, value: impl Into<Cow<'static, str>>) {
        self.added.push((name, value.into()));
    }

    /// Returns names and values, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &str)> + '_ {
        let fixed = self.fixed.iter().copied();
        fixed.chain(self.added.iter().map(|(name, value)| (*name, value.as_ref())))
    }

    /// Returns names and values, in order. Constant values are borrowed.
    pub fn into_pairs(self) -> impl Iterator<Item = (&'static str, Cow<'static, str>)> {
        let fixed = self.fixed.iter().map(|&(name, value)| (name, Cow::Borrowed(value)));
        fixed.chain(self.added)
    }

    /// Returns the value of the first header with this name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter().find(|header| header.0 == name).map(|header| header.1)
    }

    /// Returns the number of headers.
    pub fn len(&self) -> usize {
        self.fixed.len() + self.added.len()
    }

    /// Returns whether there are no headers.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl PartialEq for Headers {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Headers {}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;

    #[test]
    fn what_is_added_comes_behind_what_is_fixed() {
        let mut headers = Headers::fixed(&[("content-type", "text/html")]);
        assert!(Headers::default().is_empty() && !headers.is_empty());
        headers.push("x-xss-protection", "0");
        headers.push("set-cookie", format!("io={}", 7));
        let all = [("content-type", "text/html"), ("x-xss-protection", "0"), ("set-cookie", "io=7")];
        assert!(headers.iter().eq(all));
        assert_eq!((headers.len(), headers.get("set-cookie"), headers.get("x")), (3, Some("io=7"), None));
        assert_ne!(headers, Headers::fixed(&[("content-type", "text/html")]));
        assert_eq!(format!("{headers:?}"), format!("{all:?}"));
        assert!(headers.into_pairs().eq(all.map(|(name, value)| (name, Cow::Borrowed(value)))));
    }
}
