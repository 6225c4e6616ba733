//! Sequence diagrams as images.

use std::fmt;

use super::{Lanes, Mark, clock, label, name_width, shorten, timed, width};
use crate::journal::{Entry, Place};

/// Returns a journal, or a part of one, as a sequence diagram in an image: an SVG without external fonts or scripts,
/// with its own background.
///
/// It shows the same as [`sequence_diagram`](crate::sequence_diagram). Faults and their detection are red, with dashed
/// arrows; the ends of faults are green, the ends of sessions violet, and what applications send and receive is blue. A
/// viewer shows the full text of a shortened label when the pointer rests on it.
///
/// ```
/// use engineio_sim::{Simulation, sequence_svg};
///
/// # fn main() -> Result<(), Box<engineio_sim::Failure>> {
/// let report = Simulation::new().run_with_journal(2)?;
/// let picture = sequence_svg(&report.journal);
/// // std::fs::write("seed-2.svg", picture)
/// assert!(picture.starts_with("<svg "));
/// # Ok(())
/// # }
/// ```
pub fn sequence_svg(entries: &[Entry]) -> String {
    Picture::new(entries).to_string()
}

// All lengths are whole pixels, so that the same journal is the same picture everywhere.

/// The width of a character. The usual fonts of this size have it, or a little less.
const CHARACTER: usize = 7;
const MARGIN: usize = 20;
const NAME_HEIGHT: usize = 28;
/// Between names and the first or the last row.
const SPACE: usize = 12;
const NOTE_HEIGHT: usize = 21;
/// An arrow has its label above it.
const ARROW_HEIGHT: usize = 32;
const PAUSE_HEIGHT: usize = 26;
/// Before what happens at another time.
const STEP: usize = 5;
/// Notes that have no end elsewhere have one here, in characters.
const LONGEST: usize = 110;

/// Classes rather than variables, which not every viewer knows; below the class of the root, so that a page that includes
/// the picture is left alone.
const STYLE: &str = include_str!("style.css");

struct Picture<'a> {
    lanes: Lanes,
    rows: Vec<Placed<'a>>,
    /// Where lifelines are broken.
    pauses: Vec<usize>,
    /// Where the times end.
    times: usize,
    width: usize,
    height: usize,
}

/// An entry, and how far down its row begins.
struct Placed<'a> {
    entry: &'a Entry,
    top: usize,
    is_new: bool,
}

impl<'a> Picture<'a> {
    fn new(entries: &'a [Entry]) -> Self {
        let lanes = Lanes::of(entries);
        let times = entries.iter().map(|entry| clock(entry.at).len()).max().unwrap_or_default();
        let mut picture = Self {
            lanes,
            rows: Vec::with_capacity(entries.len()),
            pauses: Vec::new(),
            times: MARGIN + times * CHARACTER,
            width: 0,
            height: MARGIN + NAME_HEIGHT + SPACE,
        };
        for (entry, is_new, pauses) in timed(entries) {
            if pauses {
                picture.pauses.push(picture.height);
                picture.height += PAUSE_HEIGHT;
            } else if is_new && !picture.rows.is_empty() {
                picture.height += STEP;
            }
            picture.rows.push(Placed { entry, top: picture.height, is_new });
            picture.height += if entry.from == entry.to { NOTE_HEIGHT } else { ARROW_HEIGHT };
        }
        picture.height += SPACE + NAME_HEIGHT + MARGIN;
        picture.width = picture.right_edge() + MARGIN;
        picture
    }

    fn right_edge(&self) -> usize {
        let Some(last) = self.lanes.places.len().checked_sub(1) else { return self.times + 20 * CHARACTER };
        let names = self.x(last) + self.name_half(last);
        let notes = self.rows.iter().map(|row| row.entry).filter(|entry| entry.from == entry.to);
        let edge = |entry: &Entry| self.x(self.lanes.index(entry.from)) + 22 + width(&self.fitting(entry)) * CHARACTER;
        notes.map(edge).fold(names, usize::max)
    }

    /// Where the lifeline of a lane is.
    fn x(&self, lane: usize) -> usize {
        let first = self.times + 14 + self.name_half(0);
        first + self.lanes.columns.get(lane).copied().unwrap_or_default() * CHARACTER
    }

    fn name_half(&self, lane: usize) -> usize {
        self.lanes.places.get(lane).map_or(0, name_width) * CHARACTER / 2 + 14
    }

    /// The label of an entry as it fits: a note before the next lifeline, an arrow's between its ends.
    fn fitting(&self, entry: &Entry) -> String {
        let (from, to) = (self.lanes.index(entry.from), self.lanes.index(entry.to));
        let room = if from == to {
            self.lanes.room(entry).unwrap_or(LONGEST)
        } else {
            self.lanes.columns[from].abs_diff(self.lanes.columns[to]).saturating_sub(4)
        };
        // Few fonts have the symbol that stands for the separator of packets.
        shorten(&label(entry), room).replace('␞', "¦")
    }

    fn names(&self, f: &mut fmt::Formatter<'_>, top: usize) -> fmt::Result {
        for (lane, place) in self.lanes.places.iter().enumerate() {
            let kind = match place {
                Place::Client(_) => "client",
                Place::Network => "network",
                Place::Server(_) => "server",
            };
            let (x, half) = (self.x(lane), self.name_half(lane));
            writeln!(
                f,
                "<g class=\"name {kind}\"><rect x=\"{}\" y=\"{top}\" width=\"{}\" height=\"{NAME_HEIGHT}\" rx=\"6\"/>\
                 <text x=\"{x}\" y=\"{}\">{place}</text></g>",
                x - half,
                2 * half,
                top + 18
            )?;
        }
        Ok(())
    }

    /// Lifelines, dotted where there is a pause.
    fn lifelines(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for lane in 0..self.lanes.places.len() {
            let x = self.x(lane);
            write!(f, "<path class=\"life\" d=\"M{x} {}", MARGIN + NAME_HEIGHT)?;
            for top in &self.pauses {
                write!(f, "V{}M{x} {}", top + 4, top + PAUSE_HEIGHT - 2)?;
            }
            writeln!(f, "V{}\"/>", self.height - MARGIN - NAME_HEIGHT)?;
            for top in &self.pauses {
                writeln!(f, "<path class=\"pause\" d=\"M{x} {}V{}\"/>", top + 8, top + PAUSE_HEIGHT - 4)?;
            }
        }
        Ok(())
    }

    fn row(&self, f: &mut fmt::Formatter<'_>, row: &Placed<'_>) -> fmt::Result {
        let Placed { entry, top, is_new } = *row;
        let is_note = entry.from == entry.to;
        if is_new {
            let right = self.width - MARGIN;
            let y = if is_note { top + 15 } else { top + 25 };
            writeln!(f, "<line class=\"rule\" x1=\"{MARGIN}\" y1=\"{top}\" x2=\"{right}\" y2=\"{top}\"/>")?;
            writeln!(f, "<text class=\"time\" x=\"{}\" y=\"{y}\">{}</text>", self.times, clock(entry.at))?;
        }
        let mark = match Mark::of(entry) {
            Mark::Plain => "plain",
            Mark::Message => "message",
            Mark::Fault => "fault",
            Mark::Relief => "relief",
            Mark::End => "end",
        };
        let form = if is_note { "note" } else { "arrow" };
        write!(f, "<g class=\"entry {form} {mark}\"><title>{}</title>", Escaped(&label(entry)))?;
        if is_note {
            self.note(f, entry, top)?;
        } else {
            self.arrow(f, entry, top)?;
        }
        writeln!(f, "</g>")
    }

    fn note(&self, f: &mut fmt::Formatter<'_>, entry: &Entry, top: usize) -> fmt::Result {
        let x = self.x(self.lanes.index(entry.from));
        let y = top + NOTE_HEIGHT / 2 + 1;
        let text = self.fitting(entry);
        write!(
            f,
            "<rect class=\"pill\" x=\"{}\" y=\"{}\" width=\"{}\" height=\"18\" rx=\"4\"/>",
            x + 8,
            y - 9,
            width(&text) * CHARACTER + 10
        )?;
        match Mark::of(entry) {
            Mark::Fault => {
                let (left, right, above, below) = (x - 4, x + 4, y - 4, y + 4);
                write!(
                    f,
                    "<path class=\"cross\" d=\"M{left} {above}L{right} {below}M{right} {above}L{left} {below}\"/>"
                )?;
            }
            Mark::End => {
                write!(f, "<rect class=\"dot\" x=\"{}\" y=\"{}\" width=\"9\" height=\"9\" rx=\"1\"/>", x - 4, y - 4)?;
            }
            Mark::Plain => write!(f, "<circle class=\"dot\" cx=\"{x}\" cy=\"{y}\" r=\"2\"/>")?,
            Mark::Message | Mark::Relief => write!(f, "<circle class=\"dot\" cx=\"{x}\" cy=\"{y}\" r=\"4\"/>")?,
        }
        write!(f, "<text x=\"{}\" y=\"{}\">{}</text>", x + 13, y + 4, Escaped(&text))
    }

    fn arrow(&self, f: &mut fmt::Formatter<'_>, entry: &Entry, top: usize) -> fmt::Result {
        let (start, end) = (self.x(self.lanes.index(entry.from)), self.x(self.lanes.index(entry.to)));
        let y = top + 22;
        // The line ends within the head, so that its end is not seen beside the point.
        let (back, label_x, anchor) =
            if start < end { (end - 8, start + 10, "start") } else { (end + 8, start - 10, "end") };
        write!(f, "<line class=\"dashed\" x1=\"{start}\" y1=\"{y}\" x2=\"{back}\" y2=\"{y}\"/>")?;
        write!(f, "<path class=\"head\" d=\"M{end} {y}L{back} {}V{}Z\"/>", y - 4, y + 4)?;
        let text = self.fitting(entry);
        write!(f, "<text x=\"{label_x}\" y=\"{}\" text-anchor=\"{anchor}\">{}</text>", y - 7, Escaped(&text))
    }
}

impl fmt::Display for Picture<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (width, height) = (self.width, self.height);
        writeln!(
            f,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"engineio\" role=\"img\" width=\"{width}\" height=\"{height}\" \
             viewBox=\"0 0 {width} {height}\">"
        )?;
        write!(f, "<title>Sequence diagram")?;
        for (index, place) in self.lanes.places.iter().enumerate() {
            write!(f, "{} {place}", if index == 0 { ":" } else { "," })?;
        }
        if let (Some(first), Some(last)) = (self.rows.first(), self.rows.last()) {
            write!(f, "; from {} to {} seconds", clock(first.entry.at), clock(last.entry.at))?;
        }
        writeln!(f, "</title>")?;
        writeln!(f, "<style>\n{STYLE}</style>")?;
        writeln!(f, "<rect class=\"back\" width=\"{width}\" height=\"{height}\" rx=\"8\"/>")?;
        if self.rows.is_empty() {
            writeln!(f, "<text x=\"{MARGIN}\" y=\"{}\">nothing happened</text>", height / 2 + 4)?;
        }
        self.lifelines(f)?;
        self.names(f, MARGIN)?;
        self.rows.iter().try_for_each(|row| self.row(f, row))?;
        self.names(f, height - MARGIN - NAME_HEIGHT)?;
        writeln!(f, "</svg>")
    }
}

/// A text in XML. What XML does not allow is not in labels.
struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in self.0.chars() {
            match character {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                _ => write!(f, "{character}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use engineio_proto::Instant;

    use super::super::tests::{crowd, journal};
    use super::*;
    use crate::Simulation;

    /// Panics unless tags are balanced and text has neither bare `<` nor bare `&`. Gives the names of all elements.
    fn elements(xml: &str) -> Vec<&str> {
        let (mut open, mut all) = (Vec::new(), Vec::new());
        let mut pieces = xml.split('<');
        assert_eq!(pieces.next(), Some(""), "text before the root");
        for piece in pieces {
            let (tag, text) = piece.split_once('>').expect("a tag ends");
            assert!(!text.contains('>'), "{piece}");
            for entity in piece.split('&').skip(1) {
                let name = entity.split_once(';').map(|(name, _)| name);
                assert!(matches!(name, Some("amp" | "lt" | "gt" | "quot" | "#39")), "{piece}");
            }
            if let Some(name) = tag.strip_prefix('/') {
                assert_eq!(open.pop(), Some(name), "{xml}");
            } else {
                assert_eq!(tag.matches('"').count() % 2, 0, "{tag}");
                let name = tag.split([' ', '/']).next().unwrap_or_default();
                all.push(name);
                if !tag.ends_with('/') {
                    open.push(name);
                }
            }
            assert!(!open.is_empty() || text.trim().is_empty(), "text behind the root");
        }
        assert!(open.is_empty(), "{open:?} are left open");
        all
    }

    #[test]
    fn labels_are_escaped() {
        let (client, server) = (Place::Client(0), Place::Server(0));
        let data = "</text><script>alert('1' & \"2\")</script>\u{0}\u{1b}\u{ffff}";
        let entries = journal(&[(1, client, server, "frame", 1, data), (1, server, server, "receives", 0, data)]);
        let svg = sequence_svg(&entries);
        assert!(!elements(&svg).contains(&"script"));
        assert!(
            svg.contains("frame #1 &lt;/text&gt;&lt;script&gt;alert(&#39;1&#39; &amp; &quot;2&quot;)&lt;/script&gt;"),
            "{svg}"
        );
        assert!(!svg.contains(['\u{0}', '\u{1b}', '\u{ffff}']));
    }

    #[test]
    fn every_entry_is_there_whatever_the_number_of_lanes() {
        let empty = sequence_svg(&[]);
        assert_eq!(elements(&empty), ["svg", "title", "style", "rect", "text"]);
        assert!(empty.contains(">nothing happened<"));
        for size in 1..=5 {
            let entries = crowd(size);
            for len in 1..=entries.len() {
                let svg = sequence_svg(&entries[..len]);
                elements(&svg);
                assert_eq!(svg.matches("<g class=\"entry ").count(), len, "{svg}");
            }
        }
    }

    #[test]
    fn what_is_cut_is_whole_in_the_title() {
        let entries = crowd(5);
        let svg = sequence_svg(&entries);
        for entry in &entries {
            assert!(svg.contains(&format!("<title>{}</title>", entry.label())));
        }
    }

    #[test]
    fn marks_are_classes() {
        let svg = sequence_svg(&journal(&[
            (1, Place::Network, Place::Network, "tears a connection of client", 1, ""),
            (2, Place::Server(0), Place::Client(0), "the channel is lost", 1, ""),
            (3, Place::Client(0), Place::Client(0), "closed:", 0, "transport close"),
            (4, Place::Network, Place::Network, "heals", 0, ""),
            (5, Place::Client(0), Place::Client(0), "sends", 0, ""),
            (6, Place::Client(0), Place::Client(0), "opened", 0, ""),
        ]));
        let classes: Vec<_> =
            svg.split("<g class=\"entry ").skip(1).filter_map(|rest| rest.split('"').next()).collect();
        assert_eq!(classes, ["note fault", "arrow fault", "note end", "note relief", "note message", "note plain"]);
    }

    #[test]
    fn real_journals_are_well_formed_and_the_same_each_time() {
        for seed in 0..20 {
            let journal = Simulation::new().run_with_journal(seed).unwrap().journal;
            let svg = sequence_svg(&journal);
            elements(&svg);
            assert_eq!(svg.matches("<g class=\"entry ").count(), journal.len());
            assert_eq!(svg, sequence_svg(&journal));
        }
    }

    #[test]
    fn times_at_the_end_of_the_world_are_drawn() {
        let mut entries = crowd(1);
        entries[1].at = Instant::from_micros(u64::MAX);
        elements(&sequence_svg(&entries));
    }
}
