//! What happened, in order, with the time.
//!
//! Every run has a hash of everything that happened. The entries themselves are kept only on request.

use core::fmt;
use core::hash::Hasher as _;

use engineio_proto::Instant;
use siphasher::sip::SipHasher13;

/// Where something happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// A client.
    Client(usize),
    /// The network, or the world as a whole.
    Network,
    /// A server.
    Server(usize),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Client(index) => write!(f, "client {index}"),
            Self::Network => f.write_str("network"),
            Self::Server(index) => write!(f, "server {index}"),
        }
    }
}

/// An event at one place, or one that goes from one place to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The time.
    pub at: Instant,
    /// The place, or the origin.
    pub from: Place,
    /// The destination. The same as `from` for an event at one place.
    pub to: Place,
    /// The kind of the event.
    pub what: &'static str,
    /// A number that distinguishes it from others.
    pub number: u64,
    /// The data, shortened.
    pub data: String,
}

/// A line of a timeline.
impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = self.at.as_micros();
        let time = format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000);
        let who = if self.from == self.to { self.from.to_string() } else { format!("{} -> {}", self.from, self.to) };
        write!(f, "{time:>12}  {who:<22}  {}", self.label())
    }
}

impl Entry {
    /// Returns what happened, without time and place.
    pub fn label(&self) -> String {
        let mut label = self.what.to_owned();
        if self.number > 0 {
            label.push_str(&format!(" #{}", self.number));
        }
        if !self.data.is_empty() {
            label.push(' ');
            label.push_str(&self.data);
        }
        label
    }
}

/// The journal of one world.
#[derive(Clone)]
pub struct Journal {
    hash: SipHasher13,
    len: u64,
    entries: Option<Vec<Entry>>,
}

impl fmt::Debug for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Journal").field("len", &self.len).field("hash", &self.hash()).finish_non_exhaustive()
    }
}

/// So much of what an entry carries is kept, in characters.
const EXCERPT: usize = 60;

impl Journal {
    /// With `keep` the entries can be read afterwards.
    pub(crate) fn new(keep: bool) -> Self {
        Self { hash: SipHasher13::new(), len: 0, entries: keep.then(Vec::new) }
    }

    /// Something goes from one place to another.
    pub(crate) fn arrow(&mut self, at: Instant, ends: (Place, Place), what: &'static str, number: u64, data: &[u8]) {
        let (from, to) = ends;
        self.len += 1;
        for place in [from, to] {
            let (kind, index) = match place {
                Place::Client(index) => (1, index),
                Place::Network => (2, 0),
                Place::Server(index) => (3, index),
            };
            self.word(kind << 32 | index as u64);
        }
        self.word(at.as_micros());
        self.word(number);
        self.word(what.len() as u64);
        self.hash.write(what.as_bytes());
        self.word(data.len() as u64);
        self.hash.write(data);
        if let Some(entries) = &mut self.entries {
            entries.push(Entry { at, from, to, what, number, data: excerpt(data) });
        }
    }

    /// Something happens at one place.
    pub(crate) fn note(&mut self, at: Instant, place: Place, what: &'static str, number: u64, data: &[u8]) {
        self.arrow(at, (place, place), what, number, data);
    }

    fn word(&mut self, word: u64) {
        // Not `write_u64`, which depends on the machine's order of bytes.
        self.hash.write(&word.to_le_bytes());
    }

    /// Returns a hash of everything that happened. Runs with the same hash are the same, except for collisions.
    pub fn hash(&self) -> u64 {
        self.hash.finish()
    }

    /// Returns the number of events.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Returns whether nothing happened.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Returns the events, if they were kept.
    pub fn entries(&self) -> &[Entry] {
        self.entries.as_deref().unwrap_or_default()
    }
}

fn excerpt(data: &[u8]) -> String {
    let text = String::from_utf8_lossy(data);
    let mut short: String = text.chars().take(EXCERPT).flat_map(visible).collect();
    if text.chars().nth(EXCERPT).is_some() {
        short.push_str(&format!("… ({} bytes)", data.len()));
    }
    short
}

/// Control characters as those that stand for them: the separator of packets as `␞`.
fn visible(character: char) -> Option<char> {
    match u32::from(character) {
        code @ 0..0x20 => char::from_u32(0x2400 + code),
        _ => Some(character),
    }
}
