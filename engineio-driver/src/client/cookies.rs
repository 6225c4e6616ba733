//! The cookies of one client for its server.

use std::fmt;
use std::time::{Duration, SystemTime};

use http::header::{COOKIE, HeaderMap, HeaderValue, SET_COOKIE};

/// The maximum number of cookies. Above it, the cookie that was set first is dropped.
const MAX_COOKIES: usize = 64;

/// The maximum size of a cookie's name and value together, in bytes. A larger cookie is ignored.
const MAX_LEN: usize = 4096;

/// Stores the cookies that a server sets, and returns them for later requests.
///
/// A client talks to one server only, so all attributes are ignored except those that set the lifetime. If a cookie has
/// both `Expires` and `Max-Age`, the later one in the header counts, as in the reference. At most 64 cookies are kept,
/// each of at most 4096 bytes.
///
/// The `cookie` crate is not used because it does not tell which of the two attributes came later.
#[derive(Clone, Default)]
pub(crate) struct Jar {
    /// In the order in which they were set.
    cookies: Vec<Cookie>,
}

/// Name and value are bytes: they are copied from one header to another, and never interpreted.
#[derive(Clone)]
struct Cookie {
    name: Vec<u8>,
    value: Vec<u8>,
    /// `None`: until the jar is dropped.
    expires: Option<SystemTime>,
}

impl Jar {
    /// Stores the cookies that an answer sets.
    pub(crate) fn store(&mut self, headers: &HeaderMap, now: SystemTime) {
        for cookie in headers.get_all(SET_COOKIE) {
            let Some(cookie) = Cookie::parse(cookie.as_bytes(), now) else { continue };
            self.cookies.retain(|old| old.name != cookie.name);
            if !cookie.is_over(now) {
                if self.cookies.len() == MAX_COOKIES {
                    self.cookies.remove(0);
                }
                self.cookies.push(cookie);
            }
        }
    }

    /// Returns the header `Cookie` for a request, if there is a cookie. Expired cookies are dropped.
    pub(crate) fn header(&mut self, now: SystemTime) -> Option<HeaderValue> {
        self.cookies.retain(|cookie| !cookie.is_over(now));
        let pairs = self.cookies.iter().map(|cookie| [&cookie.name[..], &cookie.value[..]].join(&b'='));
        to_header(pairs.collect())
    }

    /// Adds the cookies to the headers of a request, after those that the application has set.
    pub(crate) fn add_to(&mut self, headers: &mut HeaderMap, now: SystemTime) {
        let Some(cookies) = self.header(now) else { return };
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
    /// Parses a header `Set-Cookie`. Returns `None` if the name is missing, or if the cookie is too large.
    fn parse(header: &[u8], now: SystemTime) -> Option<Self> {
        let mut parts = header.split(|&byte| byte == b';');
        let (name, value) = split_pair(parts.next()?)?;
        let value = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\"")).unwrap_or(value);
        if name.is_empty() || name.len() + value.len() > MAX_LEN {
            return None;
        }
        let mut expires = None;
        for (name, value) in parts.filter_map(split_pair) {
            // Invalid attributes are ignored.
            if name.eq_ignore_ascii_case(b"expires") {
                expires = parse_date(value).or(expires);
            } else if name.eq_ignore_ascii_case(b"max-age") {
                expires = parse_age(value, now).unwrap_or(expires);
            }
        }
        Some(Self { name: name.to_vec(), value: value.to_vec(), expires })
    }

    fn is_over(&self, now: SystemTime) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
    }
}

/// Splits at the first equals sign.
fn split_pair(part: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = part.iter().position(|&byte| byte == b'=')?;
    Some((part[..at].trim_ascii(), part[at + 1..].trim_ascii()))
}

fn parse_date(date: &[u8]) -> Option<SystemTime> {
    let date = std::str::from_utf8(date).ok()?;
    // Many servers write the RFC 1123 form with the hyphens of the older form.
    httpdate::parse_http_date(date).or_else(|_| httpdate::parse_http_date(&date.replace('-', " "))).ok()
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
        jar.store(&headers, now());
    }

    fn sent(jar: &mut Jar, now: SystemTime) -> Option<String> {
        jar.header(now).map(|header| String::from_utf8(header.as_bytes().to_vec()).unwrap())
    }

    /// Returns when a cookie with these attributes expires.
    fn expiry(attributes: &str) -> Option<SystemTime> {
        Cookie::parse(format!("a=b; {attributes}").as_bytes(), now()).unwrap().expires
    }

    #[test]
    fn c074_what_lives_is_sent_back() {
        let mut jar = jar(&[
            "1=1; Path=/; HttpOnly",
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
        assert_eq!(sent(&mut jar, now()).unwrap(), "b=1; a=2");
        set(&mut jar, &["b=; Max-Age=0", "A=3", "c=; Path=/"]);
        assert_eq!(sent(&mut jar, now()).unwrap(), "a=2; A=3; c=");
        jar.store(&HeaderMap::new(), now());
        assert_eq!(jar.cookies.len(), 3);
    }

    #[test]
    fn c075_without_cookies_there_is_no_header() {
        assert_eq!(Jar::default().header(now()), None);
        let mut headers = HeaderMap::new();
        Jar::default().add_to(&mut headers, now());
        assert!(headers.is_empty());
        headers.insert(COOKIE, HeaderValue::from_static("own=1"));
        Jar::default().add_to(&mut headers, now());
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
    fn c077_the_later_attribute_wins() {
        let date = "Expires=Wed, 21 Oct 2015 07:28:00 GMT";
        assert_eq!(expiry(&format!("Path=/; {date}; Max-Age=60; Secure; SameSite=Lax")), Some(later(60)));
        assert_eq!(expiry(&format!("Max-Age=60; HttpOnly; {date}")), Some(later(28 * 60)));
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
        ] {
            assert_eq!(expiry(&format!("expires={date}")), Some(later(28 * 60)), "{date}");
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

    #[test]
    fn a_users_own_cookies_come_first() {
        let mut headers = HeaderMap::new();
        headers.append(COOKIE, HeaderValue::from_static("own=1; other=2"));
        headers.append(COOKIE, HeaderValue::from_static("third=3"));
        headers.append(COOKIE, HeaderValue::from_static(""));
        jar(&["a=b", "c=d"]).add_to(&mut headers, now());
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
        assert!(sent.starts_with("3=x; 4=x; ") && sent.ends_with("; 65=x; 2=y"), "{sent}");
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
