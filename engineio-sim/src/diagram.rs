//! Journals as sequence diagrams: as text for a terminal, and as an image.
//!
//! This file has what both share: the lanes and their distances, the classification of entries, and labels that fit.

mod svg;
mod text;

use std::collections::BTreeSet;
use std::time::Duration;

use engineio_proto::Instant;

pub use self::svg::sequence_svg;
pub use self::text::sequence_diagram;
use crate::journal::{Entry, Place};

/// Where nothing happens for so long, the diagram shows a break: distances do not tell it, as every entry takes one row.
const PAUSE: Duration = Duration::from_secs(1);

/// What an entry is to who reads a diagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mark {
    /// The machines' own work.
    Plain,
    /// An application sends or receives.
    Message,
    /// A fault, or what somebody notices of one.
    Fault,
    /// The end of a fault.
    Relief,
    /// The end of a session.
    End,
}

impl Mark {
    fn of(entry: &Entry) -> Self {
        const RELIEF: [&str; 2] = ["heals", "restores"];
        const END: [&str; 2] = ["ended", "closed"];
        const MESSAGE: [&str; 2] = ["sends", "receives"];
        const FAULT: [&str; 14] = [
            "tears",
            "dies",
            "silences",
            "sleeps",
            "refuses",
            "hears of a lost",
            "the channel is lost",
            "upgrade failed",
            "400",
            "408",
            "413",
            "503",
            "holds up",
            "makes a body",
        ];
        let begins = |with: &[&str]| with.iter().any(|with| entry.what.starts_with(with));
        if begins(&RELIEF) {
            Self::Relief
        } else if [entry.from, entry.to].contains(&Place::Network) || begins(&FAULT) {
            Self::Fault
        } else if begins(&END) {
            Self::End
        } else if begins(&MESSAGE) {
            Self::Message
        } else {
            Self::Plain
        }
    }
}

/// The places that occur, from left to right, and the columns of their lifelines, from 0.
#[derive(Debug)]
struct Lanes {
    places: Vec<Place>,
    columns: Vec<usize>,
}

impl Lanes {
    /// So far is the last lifeline from the first, unless what must be readable needs more: about 130 columns are then
    /// enough for the times before it and the notes behind it too.
    const WIDTH: usize = 90;
    /// Two lanes alone are not further apart than this.
    const WIDEST: usize = 60;
    /// What an arrow needs beside its label.
    const ARROW: usize = 6;

    fn of(entries: &[Entry]) -> Self {
        let places: BTreeSet<_> = entries.iter().flat_map(|entry| [entry.from, entry.to]).collect();
        let mut lanes = Self { places: places.into_iter().collect(), columns: Vec::new() };
        // Between two lanes there is at least room for their names, and for what happens without what it carries.
        let mut least: Vec<_> =
            lanes.places.windows(2).map(|pair| pair.iter().map(name_width).sum::<usize>() / 2 + 6).collect();
        let mut wanted = least.clone();
        for entry in entries {
            if let Some(gap) = lanes.gap_of(entry).filter(|gap| *gap < least.len()) {
                wanted[gap] = wanted[gap].max(width(&label(entry)) + Self::ARROW);
                if entry.from != entry.to || is_cut(entry) {
                    let carries = if entry.data.is_empty() { 0 } else { " …".chars().count() };
                    let bare = Entry { data: String::new(), ..entry.clone() };
                    least[gap] = least[gap].max(width(&bare.label()) + carries + Self::ARROW);
                }
            }
        }
        // The modest first: what they leave is for the others.
        let mut order: Vec<_> = (0..wanted.len()).collect();
        order.sort_by_key(|&gap| wanted[gap]);
        let mut left = Self::WIDTH;
        let mut gaps = least;
        for (done, &gap) in order.iter().enumerate() {
            let share = (left / (order.len() - done)).min(Self::WIDEST);
            gaps[gap] = gaps[gap].max(wanted[gap].min(share));
            left = left.saturating_sub(gaps[gap]);
        }
        let columns = gaps.iter().scan(0, |column, gap| {
            *column += gap;
            Some(*column)
        });
        lanes.columns = lanes.places.first().map(|_| 0).into_iter().chain(columns).collect();
        lanes
    }

    /// Which lane is that of a place.
    fn index(&self, place: Place) -> usize {
        self.places.binary_search(&place).unwrap_or_default()
    }

    /// Between which lane and the next one the label of an entry is: an arrow's next to where it comes from, so that it
    /// is plain who says it. The last lane has no next one, and thus no limit.
    fn gap_of(&self, entry: &Entry) -> Option<usize> {
        let (from, to) = (self.index(entry.from), self.index(entry.to));
        if to < from { from.checked_sub(1) } else { Some(from) }
    }

    /// How many columns a note may take, if there is an end to it.
    fn room(&self, entry: &Entry) -> Option<usize> {
        self.gap(self.index(entry.from)).filter(|_| is_cut(entry)).map(|gap| gap.saturating_sub(3))
    }

    /// How far the lane behind is from this one.
    fn gap(&self, lane: usize) -> Option<usize> {
        Some(self.columns.get(lane + 1)? - self.columns.get(lane)?)
    }
}

/// Whether a note ends before the next lifeline. That of a fault or an end may go over it: the reason is what a reader looks
/// for.
fn is_cut(entry: &Entry) -> bool {
    matches!(Mark::of(entry), Mark::Plain | Mark::Message)
}

fn name_width(place: &Place) -> usize {
    width(&place.to_string())
}

/// The label of an entry without what could disturb a terminal or is not allowed in a picture.
fn label(entry: &Entry) -> String {
    let disturbs = |c: char| {
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}')
    };
    entry.label().chars().map(|c| if disturbs(c) { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

/// So many columns a character takes: most East Asian ones and emoji are as wide as two others.
fn columns_of(character: char) -> usize {
    match u32::from(character) {
        0x1100..=0x115f
        | 0x2e80..=0xa4cf
        | 0xac00..=0xd7a3
        | 0xf900..=0xfaff
        | 0xfe30..=0xfe6f
        | 0xff00..=0xff60
        | 0xffe0..=0xffe6
        | 0x1f300..=0x1faff
        | 0x20000..=0x3fffd => 2,
        _ => 1,
    }
}

fn width(text: &str) -> usize {
    text.chars().map(columns_of).sum()
}

/// A text in so many columns.
fn shorten(text: &str, room: usize) -> String {
    if width(text) <= room {
        return text.to_owned();
    }
    let mut short = String::new();
    let mut used = 1;
    for character in text.chars() {
        used += columns_of(character);
        if used > room {
            break;
        }
        short.push(character);
    }
    short.push('…');
    short
}

/// The time in seconds, as in a journal.
fn clock(at: Instant) -> String {
    let micros = at.as_micros();
    format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000)
}

/// Each entry, with whether its time differs from the one before, and whether there is a pause between the two.
fn timed(entries: &[Entry]) -> impl Iterator<Item = (&Entry, bool, bool)> {
    let mut before: Option<Instant> = None;
    entries.iter().map(move |entry| {
        let is_new = before != Some(entry.at);
        let pauses = before.is_some_and(|before| entry.at.saturating_since(before) >= PAUSE);
        before = Some(entry.at);
        (entry, is_new, pauses)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Entries made by hand: milliseconds, from, to, what, number, data.
    pub(super) fn journal(entries: &[(u64, Place, Place, &'static str, u64, &str)]) -> Vec<Entry> {
        let entry = |&(at, from, to, what, number, data): &(_, _, _, _, _, &str)| Entry {
            at: Instant::from_millis(at),
            from,
            to,
            what,
            number,
            data: data.to_owned(),
        };
        entries.iter().map(entry).collect()
    }

    /// A journal with so many clients, as many servers and a network, in which everybody does something.
    pub(super) fn crowd(size: usize) -> Vec<Entry> {
        let mut all = Vec::new();
        for index in 0..size {
            let (client, server) = (Place::Client(index), Place::Server(size - 1 - index));
            all.extend(journal(&[
                (1, client, server, "frame", 7, &"long ".repeat(40)),
                (1, server, client, "frame", 0, "4hello"),
                (2000, client, client, "sends", 0, &"x".repeat(200)),
                (2000, Place::Network, Place::Network, "lets a stranger use the session of client", 1, ""),
                (2001, server, Place::Network, "frame", 0, ""),
                (2001, server, server, "closed:", 0, "it was time"),
            ]));
        }
        all
    }

    #[test]
    fn marks_tell_faults_and_ends_from_the_rest() {
        let (client, network) = (Place::Client(0), Place::Network);
        let marks = |what, place| Mark::of(&journal(&[(0, place, place, what, 0, "")])[0]);
        assert_eq!(marks("tears a connection of client", network), Mark::Fault);
        assert_eq!(marks("repeats a request of client", network), Mark::Fault);
        assert_eq!(marks("dies", Place::Server(0)), Mark::Fault);
        assert_eq!(marks("heals", network), Mark::Relief);
        assert_eq!(marks("closed:", client), Mark::End);
        assert_eq!(marks("sends", client), Mark::Message);
        assert_eq!(marks("closes the channel", client), Mark::Plain);
    }

    #[test]
    fn lanes_are_in_order_and_leave_room_for_what_happens() {
        let entries = crowd(3);
        let lanes = Lanes::of(&entries);
        assert_eq!(lanes.places.len(), 7);
        assert!(lanes.places.is_sorted());
        assert_eq!(lanes.columns.len(), 7);
        let gap = lanes.gap(lanes.index(Place::Client(0))).unwrap_or_default();
        assert!(gap > "frame #7 …".chars().count());
    }

    #[test]
    fn lanes_that_are_few_do_not_take_the_room_of_many() {
        for size in 1..=2 {
            let lanes = Lanes::of(&crowd(size));
            assert!(lanes.columns.iter().all(|column| *column <= 110), "{lanes:?}");
        }
    }

    #[test]
    fn a_shortened_text_fits() {
        assert_eq!(shorten("hello", 5), "hello");
        assert_eq!(shorten("hello", 4), "hel…");
        assert_eq!(shorten("你好吗", 5), "你好…");
        assert_eq!(shorten("你好吗", 4), "你…");
        assert_eq!(shorten("hello", 0), "…");
    }

    #[test]
    fn labels_do_not_disturb() {
        let entries = journal(&[(0, Place::Network, Place::Network, "frame", 0, "\u{7f}\u{9b}31m\u{202e}\u{ffff}")]);
        assert_eq!(label(&entries[0]), "frame \u{fffd}\u{fffd}31m\u{fffd}\u{fffd}");
    }
}
