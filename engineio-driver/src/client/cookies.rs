//! The cookies of one session of a client.
//!
//! The rules are those of RFC 6265, and of its successor (draft-ietf-httpbis-rfc6265bis) for `Secure` and the prefixes of
//! names. They are implemented here because they are short, while the crates for it, `cookie_store` and its `cookie`, `time`,
//! `url`, `idna` and `serde`, would add more than 30 crates to every client. Without a list of public suffixes, a cookie can be
//! set for all hosts below a suffix such as `co.uk`, but not for a top-level domain; a client sends cookies to its own
//! server and to servers that it redirects to, no others.

use std::fmt;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use http::header::{COOKIE, HeaderMap, HeaderValue, SET_COOKIE};

use super::redirect::Place;

/// The maximum number of cookies. Above it, the cookie that was set first is dropped.
const MAX_COOKIES: usize = 64;

/// The maximum size of a cookie's name and value together, in bytes. A larger cookie is ignored.
const MAX_LEN: usize = 4096;

/// The maximum size of an attribute's value, in bytes. A larger attribute is ignored.
const MAX_ATTRIBUTE: usize = 1024;

/// The maximum size of all cookies together, in bytes: servers do not take longer headers. Above it, cookies that were set
/// first are dropped.
const MAX_BYTES: usize = 16 * 1024;

/// Stores the cookies that servers set, and returns them for later requests to the same servers.
///
/// Names and values are not interpreted, except that quotes around a value are removed, as in the reference. At most 64
/// cookies are kept, each of at most 4096 bytes, and of 16 KiB together.
#[derive(Clone, Default)]
pub(crate) struct Jar {
    /// In the order in which they were set first.
    cookies: Vec<Cookie>,
}

#[derive(Clone)]
struct Cookie {
    name: Vec<u8>,
    value: Vec<u8>,
    /// In lower case.
    domain: String,
    /// It is for this host only, not for those below it.
    host_only: bool,
    path: Vec<u8>,
    secure: bool,
    /// `None`: until the jar is dropped.
    expires: Option<SystemTime>,
}

impl Jar {
    /// Stores the cookies that an answer sets.
    pub(crate) fn store(&mut self, headers: &HeaderMap, place: &Place, now: SystemTime) {
        for cookie in headers.get_all(SET_COOKIE) {
            let Some(cookie) = Cookie::parse(cookie.as_bytes(), place, now) else { continue };
            let old = self.cookies.iter().position(|old| old.is_replaced_by(&cookie));
            match old.and_then(|index| self.cookies.get_mut(index).map(|old| (index, old))) {
                Some((index, _)) if cookie.is_over(now) => drop(self.cookies.remove(index)),
                // It keeps its place in the order.
                Some((_, old)) => *old = cookie,
                None if cookie.is_over(now) => (),
                None => self.cookies.push(cookie),
            }
            if self.is_too_large() {
                self.cookies.retain(|cookie| !cookie.is_over(now));
            }
            while self.is_too_large() {
                self.cookies.remove(0);
            }
        }
    }

    fn is_too_large(&self) -> bool {
        self.cookies.len() > MAX_COOKIES || self.cookies.iter().map(Cookie::len).sum::<usize>() > MAX_BYTES
    }

    /// Returns the header `Cookie` for a request, if there is a cookie for it. Expired cookies are dropped.
    pub(crate) fn header(&mut self, place: &Place, now: SystemTime) -> Option<HeaderValue> {
        self.cookies.retain(|cookie| !cookie.is_over(now));
        let mut cookies: Vec<_> = self.cookies.iter().filter(|cookie| cookie.is_for(place)).collect();
        // Those with longer paths first. The sort is stable.
        cookies.sort_by_key(|cookie| std::cmp::Reverse(cookie.path.len()));
        let pairs = cookies.into_iter().map(|cookie| [&cookie.name[..], &cookie.value[..]].join(&b'='));
        to_header(pairs.collect())
    }

    /// Adds the cookies to the headers of a request, after those that the application has set.
    pub(crate) fn add_to(&mut self, headers: &mut HeaderMap, place: &Place, now: SystemTime) {
        let Some(cookies) = self.header(place, now) else { return };
        let mut parts: Vec<_> = headers.get_all(COOKIE).iter().map(|own| own.as_bytes().to_vec()).collect();
        parts.retain(|part| !part.is_empty());
        parts.push(cookies.as_bytes().to_vec());
        if let Some(cookies) = to_header(parts) {
            // A request has at most one such header: RFC 6265, section 5.4.
            headers.insert(COOKIE, cookies);
        }
    }
}

fn to_header(parts: Vec<Vec<u8>>) -> Option<HeaderValue> {
    if parts.is_empty() {
        return None;
    }
    let mut header = HeaderValue::from_maybe_shared(bytes::Bytes::from(parts.join(&b"; "[..]))).ok()?;
    header.set_sensitive(true);
    Some(header)
}

impl Cookie {
    /// Parses a header `Set-Cookie` of an answer to a request: sections 5.2 and 5.3. Returns `None` if the cookie must be
    /// ignored.
    fn parse(header: &[u8], place: &Place, now: SystemTime) -> Option<Self> {
        let mut parts = header.split(|&byte| byte == b';');
        let (name, value) = split_pair(parts.next()?)?;
        let value = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\"")).unwrap_or(value);
        if name.is_empty() || name.len() + value.len() > MAX_LEN {
            return None;
        }
        let (mut date, mut age, mut domain, mut path, mut secure) = (None, None, None, None, false);
        for part in parts {
            let (name, value) = split_pair(part).unwrap_or((part.trim_ascii(), b""));
            let is = |known: &[u8]| name.eq_ignore_ascii_case(known);
            if value.len() > MAX_ATTRIBUTE {
                continue;
            }
            // Of several with one name, the last valid one counts.
            if is(b"expires") {
                date = parse_date(value).or(date);
            } else if is(b"max-age") {
                age = parse_age(value, now).or(age);
            } else if is(b"domain") {
                domain = Some(value.strip_prefix(b".").unwrap_or(value));
            } else if is(b"path") {
                path = Some(value);
            } else if is(b"secure") {
                secure = true;
            }
        }
        let host = place.endpoint.host();
        let (domain, host_only) = match domain.filter(|domain| !domain.is_empty()) {
            None => (host.to_owned(), true),
            Some(domain) => {
                let domain = std::str::from_utf8(domain).ok()?.to_ascii_lowercase();
                if !is_in_domain(host, &domain) {
                    return None;
                }
                let host_only = !domain.contains('.') || is_address(host);
                if host_only && domain != host {
                    return None;
                }
                (domain, host_only)
            }
        };
        let has_root_path = path == Some(b"/");
        let path = path.filter(|path| path.starts_with(b"/")).unwrap_or_else(|| default_path(place)).to_vec();
        let has_prefix = |prefix: &[u8]| name.get(..prefix.len()).is_some_and(|it| it.eq_ignore_ascii_case(prefix));
        let is_allowed = if has_prefix(b"__host-") {
            secure && host_only && has_root_path
        } else {
            secure || !has_prefix(b"__secure-")
        };
        // A server without encryption cannot prove that it may set such a cookie.
        if !is_allowed || (secure && !place.endpoint.secure()) {
            return None;
        }
        // `Max-Age` counts more than `Expires`.
        let expires = age.unwrap_or(date);
        Some(Self { name: name.to_vec(), value: value.to_vec(), domain, host_only, path, secure, expires })
    }

    /// The size in memory, about.
    fn len(&self) -> usize {
        self.name.len() + self.value.len() + self.domain.len() + self.path.len()
    }

    fn is_over(&self, now: SystemTime) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
    }

    fn is_replaced_by(&self, new: &Self) -> bool {
        (&self.name, &self.domain, self.host_only, &self.path) == (&new.name, &new.domain, new.host_only, &new.path)
    }

    /// Returns whether a request gets this cookie: section 5.4.
    fn is_for(&self, place: &Place) -> bool {
        let host = place.endpoint.host();
        let host = if self.host_only { host == self.domain } else { is_in_domain(host, &self.domain) };
        host && is_below(path(place), &self.path) && (!self.secure || place.endpoint.secure())
    }
}

/// Splits at the first equals sign.
fn split_pair(part: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut halves = part.splitn(2, |&byte| byte == b'=');
    Some((halves.next()?.trim_ascii(), halves.next()?.trim_ascii()))
}

fn is_address(host: &str) -> bool {
    host.parse::<IpAddr>().is_ok()
}

/// Section 5.1.3. Both are in lower case.
fn is_in_domain(host: &str, domain: &str) -> bool {
    let above = host.strip_suffix(domain);
    above.is_some_and(|above| above.is_empty() || (above.ends_with('.') && !is_address(host)))
}

/// Returns the path of a request.
fn path(place: &Place) -> &[u8] {
    let target = place.target.as_bytes();
    target.split(|&byte| byte == b'?').next().unwrap_or_default()
}

/// Returns the path of a cookie that has none: section 5.1.4.
fn default_path(place: &Place) -> &[u8] {
    let path = path(place);
    match path.iter().rposition(|&byte| byte == b'/') {
        Some(at @ 1..) if path.starts_with(b"/") => path.get(..at).unwrap_or_default(),
        _ => b"/",
    }
}

/// Section 5.1.4.
fn is_below(path: &[u8], cookie: &[u8]) -> bool {
    let rest = path.strip_prefix(cookie);
    rest.is_some_and(|rest| rest.is_empty() || cookie.ends_with(b"/") || rest.starts_with(b"/"))
}

/// Parses a date in any of the forms that servers use: section 5.1.1.
fn parse_date(date: &[u8]) -> Option<SystemTime> {
    const MONTHS: [&[u8]; 12] =
        [b"jan", b"feb", b"mar", b"apr", b"may", b"jun", b"jul", b"aug", b"sep", b"oct", b"nov", b"dec"];
    let is_delimiter = |byte: &u8| matches!(byte, b'\t' | b' '..=b'/' | b';'..=b'@' | b'['..=b'`' | b'{'..=b'~');
    let (mut time, mut day, mut month, mut year) = (None, None, None, None);
    for token in date.split(is_delimiter) {
        let (number, digits) = leading_number(token);
        if time.is_none() {
            time = parse_time(token);
            if time.is_some() {
                continue;
            }
        }
        if day.is_none() && matches!(digits, 1 | 2) {
            day = Some(number);
        } else if month.is_none() && token.len() >= 3 && digits == 0 {
            let is_month = |name: &&[u8]| token.get(..3).is_some_and(|token| token.eq_ignore_ascii_case(name));
            month = MONTHS.iter().position(is_month);
        } else if year.is_none() && (2..=4).contains(&digits) {
            year = Some(match number {
                70..=99 if digits == 2 => number + 1900,
                0..=69 if digits == 2 => number + 2000,
                _ => number,
            });
        }
    }
    let (time, day, month, year) = (time?, day?, u64::try_from(month?).ok()?, year?);
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let last = match month {
        1 if is_leap => 29,
        1 => 28,
        3 | 5 | 8 | 10 => 30,
        _ => 31,
    };
    if year < 1601 || day < 1 || day > last {
        return None;
    }
    let days = days(year, month, day).saturating_sub(days(1970, 0, 1));
    // A date before 1970 has passed as well.
    Some(SystemTime::UNIX_EPOCH + Duration::from_secs(days * 86_400 + time))
}

/// Returns the days since some day, by the Gregorian calendar. The month begins with 0, the day with 1.
fn days(year: u64, month: u64, day: u64) -> u64 {
    // Years begin with March, so that the leap day is the last one.
    let year = if month < 2 { year - 1 } else { year };
    let month = (month + 10) % 12;
    year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + day
}

/// Returns the number that a token begins with, and how many digits it has. Longer numbers are no numbers.
fn leading_number(token: &[u8]) -> (u64, usize) {
    let digits = token.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let number = token.iter().take(digits.min(5)).fold(0, |number, &digit| number * 10 + u64::from(digit - b'0'));
    (number, digits)
}

/// Parses `hours:minutes:seconds`, as seconds.
fn parse_time(token: &[u8]) -> Option<u64> {
    let mut seconds = 0;
    let mut parts = token.splitn(3, |&byte| byte == b':');
    for (last, limit) in [(false, 24), (false, 60), (true, 60)] {
        let part = parts.next()?;
        let (number, digits) = leading_number(part);
        // Behind the seconds, anything but a digit may follow.
        if !(1..=2).contains(&digits) || (!last && part.len() > digits) || number >= limit {
            return None;
        }
        seconds = seconds * 60 + number;
    }
    Some(seconds)
}

/// Returns when a cookie with this `Max-Age` expires: never, if the time is beyond the range of the clock. Returns
/// `None` if the value is not a number.
fn parse_age(age: &[u8], now: SystemTime) -> Option<Option<SystemTime>> {
    let (negative, digits) = age.strip_prefix(b"-").map_or((false, age), |digits| (true, digits));
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    if negative {
        return Some(Some(now));
    }
    // At this point only a number that is too large fails to parse.
    let seconds = std::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok());
    Some(seconds.and_then(|seconds| now.checked_add(Duration::from_secs(seconds))))
}

/// Cookies are secrets, so only their number is shown.
impl fmt::Debug for Jar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Jar").field("cookies", &self.cookies.len()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::Endpoint;

    fn place(url: &str) -> Place {
        let target = url.splitn(4, '/').nth(3).unwrap_or_default();
        Place { endpoint: Endpoint::parse(url).unwrap(), target: format!("/{target}") }
    }

    /// An encrypted server, so that all cookies are taken.
    fn home() -> Place {
        place("https://www.example.com/engine.io/?EIO=4")
    }

    /// 21 October 2015, 07:00:00 GMT.
    fn now() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_445_410_800)
    }

    fn later(seconds: u64) -> SystemTime {
        now() + Duration::from_secs(seconds)
    }

    fn jar(cookies: &[&str]) -> Jar {
        let mut jar = Jar::default();
        set(&mut jar, cookies);
        jar
    }

    fn set(jar: &mut Jar, cookies: &[&str]) {
        let mut headers = HeaderMap::new();
        for cookie in cookies {
            headers.append(SET_COOKIE, HeaderValue::from_bytes(cookie.as_bytes()).unwrap());
        }
        jar.store(&headers, &home(), now());
    }

    fn sent(jar: &mut Jar, now: SystemTime) -> Option<String> {
        jar.header(&home(), now).map(|header| String::from_utf8(header.as_bytes().to_vec()).unwrap())
    }

    /// Returns when a cookie with these attributes expires.
    fn expiry(attributes: &str) -> Option<SystemTime> {
        Cookie::parse(format!("a=b; {attributes}").as_bytes(), &home(), now()).unwrap().expires
    }

    #[test]
    fn c074_what_lives_is_sent_back() {
        let mut jar = jar(&[
            "1=1; HttpOnly",
            "2=2; Max-Age=1",
            "3=3; Max-Age=0",
            "4=4; Expires=Thu, 01 Jan 1970 00:00:00 GMT",
            "5=5; Max-Age=-1",
        ]);
        assert_eq!(jar.cookies.len(), 2);
        assert_eq!(sent(&mut jar, now()).unwrap(), "1=1; 2=2");
        assert_eq!(sent(&mut jar, later(1)).unwrap(), "1=1");
        assert_eq!(jar.cookies.len(), 1);
    }

    #[test]
    fn c074_a_later_answer_changes_and_removes() {
        let mut jar = jar(&["a=1", "b=1"]);
        set(&mut jar, &["a=2"]);
        // It keeps its place: RFC 6265, section 5.3.
        assert_eq!(sent(&mut jar, now()).unwrap(), "a=2; b=1");
        set(&mut jar, &["b=; Max-Age=0", "A=3", "c=; Path=/"]);
        assert_eq!(sent(&mut jar, now()).unwrap(), "a=2; A=3; c=");
        jar.store(&HeaderMap::new(), &home(), now());
        assert_eq!(jar.cookies.len(), 3);
    }

    #[test]
    fn c075_without_cookies_there_is_no_header() {
        assert_eq!(Jar::default().header(&home(), now()), None);
        let mut headers = HeaderMap::new();
        Jar::default().add_to(&mut headers, &home(), now());
        assert!(headers.is_empty());
        headers.insert(COOKIE, HeaderValue::from_static("own=1"));
        Jar::default().add_to(&mut headers, &home(), now());
        assert_eq!(headers[COOKIE], "own=1");
    }

    #[test]
    fn c076_a_simple_pair() {
        assert_eq!(sent(&mut jar(&["foo=bar"]), now()).unwrap(), "foo=bar");
        assert_eq!(sent(&mut jar(&["  foo = bar ;"]), now()).unwrap(), "foo=bar");
        assert_eq!(sent(&mut jar(&["foo=\"b r\"; Secure"]), now()).unwrap(), "foo=b r");
        assert_eq!(sent(&mut jar(&["foo=\"", "b=\"x", "c=\"\""]), now()).unwrap(), "foo=\"; b=\"x; c=");
        assert_eq!(sent(&mut jar(&["foo=ä"]), now()).unwrap(), "foo=ä");
        assert_eq!(sent(&mut jar(&["", "foo", "=bar", " = bar", ";foo=bar", "; Max-Age=1"]), now()), None);
    }

    #[test]
    fn c077_max_age_counts_more_than_a_date() {
        let date = "Expires=Wed, 21 Oct 2015 07:28:00 GMT";
        assert_eq!(expiry(&format!("Path=/; {date}; Max-Age=60; Secure; SameSite=Lax")), Some(later(60)));
        assert_eq!(expiry(&format!("Max-Age=60; HttpOnly; {date}")), Some(later(60)));
        assert_eq!(expiry(&format!("HttpOnly; {date}; {date}; Expires=soon")), Some(later(28 * 60)));
        assert_eq!(expiry("Max-Age=60; MAX-AGE = 70 ;Domain=.example.com"), Some(later(70)));
        assert_eq!(expiry("Path=/; Secure; HttpOnly; Partitioned"), None);
    }

    #[test]
    fn c077_dates_in_all_their_forms() {
        for date in [
            "Wed, 21 Oct 2015 07:28:00 GMT",
            "Wed, 21-Oct-2015 07:28:00 GMT",
            "Wednesday, 21-Oct-15 07:28:00 GMT",
            "Wed Oct 21 07:28:00 2015",
            "21 October 2015 7:28:0",
            "07:28:00 21-oct-15",
            "2015 21 Octopus 07:28:00xyz",
            "Mon, 21-Oct-2015 07:28:00 UTC",
        ] {
            assert_eq!(expiry(&format!("expires={date}")), Some(later(28 * 60)), "{date}");
        }
        for (date, seconds) in [
            ("Thu, 01 Jan 1970 00:00:01 GMT", 1),
            ("Tue, 29 Feb 2000 12:00:00 GMT", 951_825_600),
            ("Fri, 01 Jan 2100 00:00:00 GMT", 4_102_444_800),
            ("Mon, 01 Mar 2100 00:00:00 GMT", 4_107_542_400),
            ("Fri, 31 Dec 9999 23:59:59 GMT", 253_402_300_799),
            ("Sun, 06 Nov 94 08:49:37 GMT", 784_111_777),
        ] {
            assert_eq!(
                parse_date(date.as_bytes()),
                Some(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)),
                "{date}"
            );
        }
        // It has passed.
        assert_eq!(parse_date(b"01 Jan 1601 00:00:00"), Some(SystemTime::UNIX_EPOCH));
        for date in [
            "",
            "21 Oct 2015",
            "21 07:28:00 2015",
            "Oct 07:28:00 2015",
            "21 Oct 07:28:00",
            "21 Oct 1600 07:28:00",
            "29 Feb 2100 07:28:00",
            "31 Apr 2015 07:28:00",
            "0 Oct 2015 07:28:00",
            "32 Oct 2015 07:28:00",
            "21 Oct 2015 24:00:00",
            "21 Oct 2015 07:60:00",
            "21 Oct 2015 07:28",
            "21 Oct 20155 07:28:00",
        ] {
            assert_eq!(parse_date(date.as_bytes()), None, "{date}");
        }
    }

    #[test]
    fn c077_an_attribute_without_sense_is_ignored() {
        for attribute in ["Max-Age=", "Max-Age=x", "Max-Age=-", "Max-Age=1.5", "Expires=", "Expires=soon", "Max-Age"] {
            assert_eq!(expiry(attribute), None, "{attribute}");
            assert_eq!(expiry(&format!("Max-Age=60; {attribute}")), Some(later(60)), "{attribute}");
        }
        // Beyond the range of the clock.
        assert_eq!(expiry("Max-Age=99999999999999999999"), None);
        assert_eq!(expiry(&format!("Max-Age=60; Max-Age={}", u64::MAX)), None);
    }

    #[test]
    fn c078_a_value_with_signs_in_it() {
        let cookie = "sessionId=a=b&c==d; Path=/; Max-Age=60";
        assert_eq!(sent(&mut jar(&[cookie]), now()).unwrap(), "sessionId=a=b&c==d");
    }

    /// Returns the names that a request gets after an answer set these cookies.
    fn names(from: &str, cookies: &[&str], to: &str) -> String {
        let mut headers = HeaderMap::new();
        for cookie in cookies {
            headers.append(SET_COOKIE, HeaderValue::from_str(cookie).unwrap());
        }
        let mut jar = Jar::default();
        jar.store(&headers, &place(from), now());
        let header = jar.header(&place(to), now());
        header.map_or_else(String::new, |header| header.to_str().unwrap().replace("=1", ""))
    }

    #[test]
    fn c074_a_cookie_is_for_its_host() {
        let set = |host: &str| {
            let cookies = [
                "host=1",
                "all=1; Domain=.Example.COM",
                "other=1; Domain=example.org",
                "sub=1; Domain=www.example.com",
            ];
            names(
                "https://www.example.com/",
                &[&cookies[..], &["tld=1; Domain=com", "empty=1; Domain="]].concat(),
                host,
            )
        };
        for (host, expected) in [
            ("https://www.example.com/", "host; all; sub; empty"),
            ("https://www.example.com:81/", "host; all; sub; empty"),
            ("https://a.www.example.com/", "all; sub"),
            ("https://example.com/", "all"),
            ("https://other.example.com/", "all"),
            ("https://notexample.com/", ""),
            ("https://example.org/", ""),
            ("https://com/", ""),
        ] {
            assert_eq!(set(host), expected, "{host}");
        }
        // An address is in no domain, and a name of one part is for itself only.
        for (host, domain, expected) in [
            ("10.0.0.1", "10.0.0.1", "x"),
            ("10.0.0.1", "0.0.1", ""),
            ("[::1]", "::1", "x"),
            ("localhost", "localhost", "x"),
            ("a.localhost", "localhost", ""),
            ("a.b.test", "\u{fc}.b.test", ""),
        ] {
            let url = format!("https://{host}/");
            assert_eq!(names(&url, &[&format!("x=1; Domain={domain}")], &url), expected, "{host} {domain}");
        }
        assert_eq!(names("https://localhost/", &["x=1; Domain=localhost"], "https://a.localhost/"), "");
    }

    #[test]
    fn c074_a_cookie_is_for_its_path() {
        for (from, path, to, is_sent) in [
            ("/engine.io/?a=/b/", "", "/engine.io/", true),
            ("/engine.io/", "", "/engine.io", true),
            ("/engine.io/", "", "/engine.io/sub/x?y", true),
            ("/engine.io/", "", "/engine.iox", false),
            ("/engine.io/", "", "/", false),
            ("/engine.io", "", "/x", true),
            ("/", "", "/x", true),
            ("/a/", "; Path=/", "/x", true),
            ("/a/", "; Path=/x", "/x/y", true),
            ("/a/", "; Path=/x/", "/x/y", true),
            ("/a/", "; Path=/x/", "/x", false),
            ("/a/", "; Path=/x", "/xy", false),
            ("/a/", "; Path=x", "/a/", true),
            ("/a/", "; Path=", "/x", false),
            ("/a/", "; Path=/b; Path=/c", "/c", true),
        ] {
            let host = "https://example.com";
            let sent = names(&format!("{host}{from}"), &[&format!("x=1{path}")], &format!("{host}{to}"));
            assert_eq!(sent, if is_sent { "x" } else { "" }, "{from}{path} {to}");
        }
        // Longer paths come first.
        let cookies = ["a=1; Path=/", "b=1; Path=/x", "c=1; Path=/x/y", "d=1; Path=/x"];
        assert_eq!(names("https://a.test/", &cookies, "https://a.test/x/y"), "c; b; d; a");
        // A cookie with another path is another cookie.
        assert_eq!(names("https://a.test/", &["a=1; Path=/", "a=1; Path=/x"], "https://a.test/x"), "a; a");
    }

    #[test]
    fn c074_secure_cookies_and_prefixes() {
        let cookies = [
            "plain=1",
            "secure=1; SECURE",
            "__Secure-a=1",
            "__Secure-b=1; Secure",
            "__Host-a=1; Path=/",
            "__Host-b=1; Secure",
            "__Host-c=1; Secure; Path=/; Domain=example.com",
            "__host-d=1; Secure; Path=/x",
            "__Host-e=1; Secure; Path=/",
        ];
        let (secure, plain) = ("https://example.com/", "http://example.com/");
        assert_eq!(names(secure, &cookies, secure), "plain; secure; __Secure-b; __Host-e");
        assert_eq!(names(secure, &cookies, plain), "plain");
        assert_eq!(names(plain, &cookies, secure), "plain");
        assert_eq!(names(plain, &cookies, plain), "plain");
    }

    #[test]
    fn all_cookies_together_are_bounded() {
        let mut jar = Jar::default();
        let path = format!("/{}", "p".repeat(MAX_ATTRIBUTE - 1));
        for number in 0..100 {
            set(&mut jar, &[&format!("{number}={}; Path={path}", "x".repeat(number * 30))]);
            assert!(jar.cookies.iter().map(Cookie::len).sum::<usize>() <= MAX_BYTES);
        }
        let last = jar.cookies.last().map(|cookie| cookie.name.clone());
        assert_eq!((last.as_deref(), jar.cookies.len()), (Some(&b"99"[..]), 4));
        // An attribute that is too long is ignored.
        set(&mut jar, &[&format!("a=b; Path={path}x; Max-Age=60")]);
        assert_eq!(sent(&mut jar, now()).unwrap(), "a=b");
        // What has expired goes first.
        let mut jar = Jar::default();
        set(&mut jar, &[&format!("first={}", "x".repeat(4000))]);
        set(&mut jar, &[&format!("second={}; Max-Age=1", "x".repeat(4000))]);
        let mut headers = HeaderMap::new();
        for name in ["third", "fourth", "fifth"] {
            headers.append(SET_COOKIE, HeaderValue::from_str(&format!("{name}={}", "x".repeat(3900))).unwrap());
        }
        jar.store(&headers, &home(), later(2));
        let names: Vec<_> = jar.cookies.iter().map(|cookie| String::from_utf8_lossy(&cookie.name)).collect();
        assert_eq!(names, ["first", "third", "fourth", "fifth"]);
    }

    #[test]
    fn a_users_own_cookies_come_first() {
        let mut headers = HeaderMap::new();
        headers.append(COOKIE, HeaderValue::from_static("own=1; other=2"));
        headers.append(COOKIE, HeaderValue::from_static("third=3"));
        headers.append(COOKIE, HeaderValue::from_static(""));
        jar(&["a=b", "c=d"]).add_to(&mut headers, &home(), now());
        assert_eq!(headers.get_all(COOKIE).iter().collect::<Vec<_>>(), ["own=1; other=2; third=3; a=b; c=d"]);
        assert!(headers[COOKIE].is_sensitive());
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let cookies: Vec<_> = (0..MAX_COOKIES + 2).map(|number| format!("{number}=x")).collect();
        let mut jar = Jar::default();
        for cookie in &cookies {
            set(&mut jar, &[cookie]);
        }
        // Replacing a cookie needs no room.
        set(&mut jar, &["2=y"]);
        assert_eq!(jar.cookies.len(), MAX_COOKIES);
        let sent = sent(&mut jar, now()).unwrap();
        assert!(sent.starts_with("2=y; 3=x; ") && sent.ends_with("; 64=x; 65=x"), "{sent}");
        assert_eq!(format!("{jar:?}"), "Jar { cookies: 64 }");
    }

    #[test]
    fn a_cookie_that_is_too_large_is_ignored() {
        let mut jar = jar(&[&format!("a={}", "x".repeat(MAX_LEN - 1))]);
        assert_eq!(sent(&mut jar, now()).unwrap().len(), MAX_LEN + 1);
        set(&mut jar, &[&format!("b={}", "x".repeat(MAX_LEN)), &format!("{}=", "x".repeat(MAX_LEN + 1))]);
        assert_eq!(jar.cookies.len(), 1);
    }
}
