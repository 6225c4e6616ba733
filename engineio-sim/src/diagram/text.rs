//! Sequence diagrams as text.

use std::fmt;

use super::{Lanes, Mark, clock, columns_of, label, name_width, shorten, timed, width};
use crate::journal::Entry;

/// Returns a journal, or a part of one, as a sequence diagram in plain text: one row for each entry.
///
/// From left to right there is the time in seconds, where it changes, and a lifeline for each place: the clients, the
/// network, the servers. An arrow connects two places, with its label at its origin; a note to the right of a lifeline
/// concerns one place. Long texts are shortened, except for faults and ends, which may cross the next lifelines. On a
/// lifeline, `╳` marks a fault or its detection, `○` the end of a fault, `■` the end of a session, and `•` what an
/// application sends or receives. Arrows of faults are dashed. A row of `┊` stands for a second or more in which
/// nothing happens.
///
/// With one client and one server the diagram is about 130 columns wide; notes of the last server may be longer.
///
/// ```
/// use engineio_sim::{Simulation, sequence_diagram};
///
/// # fn main() -> Result<(), Box<engineio_sim::Failure>> {
/// let report = Simulation::new().run_with_journal(2)?;
/// let beginning = &report.journal[..report.journal.len().min(20)];
/// println!("{}", sequence_diagram(beginning));
/// # Ok(())
/// # }
/// ```
pub fn sequence_diagram(entries: &[Entry]) -> String {
    if entries.is_empty() {
        return "nothing happened\n".to_owned();
    }
    Diagram::new(entries).to_string()
}

struct Diagram<'a> {
    entries: &'a [Entry],
    lanes: Lanes,
    /// How wide the column of the times is.
    times: usize,
    /// The column of the first lifeline.
    first: usize,
}

impl<'a> Diagram<'a> {
    fn new(entries: &'a [Entry]) -> Self {
        let lanes = Lanes::of(entries);
        let times = entries.iter().map(|entry| clock(entry.at).len()).max().unwrap_or_default();
        let header = lanes.places.first().map_or(0, name_width) / 2 + 2;
        Self { entries, first: times + 1 + header, times, lanes }
    }

    fn column(&self, lane: usize) -> usize {
        self.first + self.lanes.columns[lane]
    }

    /// A row with nothing but lifelines.
    fn lifelines(&self, line: char) -> Row {
        let mut row = Row::default();
        for lane in 0..self.lanes.places.len() {
            row.set(self.column(lane), line);
        }
        row
    }

    /// The boxes with the names, their lifelines beginning below or ending above.
    fn names(&self, below: bool) -> [Row; 3] {
        let mut rows = [Row::default(), Row::default(), Row::default()];
        for (lane, place) in self.lanes.places.iter().enumerate() {
            let name = place.to_string();
            let inner = width(&name) + 2;
            let left = self.column(lane) - inner / 2 - 1;
            let line = "─".repeat(inner);
            rows[0].put(left, &format!("┌{line}┐"));
            rows[1].put(left, &format!("│ {name} │"));
            rows[2].put(left, &format!("└{line}┘"));
            let (edge, joint) = if below { (2, '┬') } else { (0, '┴') };
            rows[edge].set(self.column(lane), joint);
        }
        rows
    }

    fn entry(&self, entry: &Entry) -> Row {
        let mut row = self.lifelines('│');
        if entry.from == entry.to {
            self.note(&mut row, entry);
        } else {
            self.arrow(&mut row, entry);
        }
        row
    }

    fn note(&self, row: &mut Row, entry: &Entry) {
        let column = self.column(self.lanes.index(entry.from));
        match Mark::of(entry) {
            Mark::Plain => (),
            Mark::Message => row.set(column, '•'),
            Mark::Fault => row.set(column, '╳'),
            Mark::Relief => row.set(column, '○'),
            Mark::End => row.set(column, '■'),
        }
        row.put(column + 2, &shorten(&label(entry), self.lanes.room(entry).unwrap_or(usize::MAX)));
    }

    fn arrow(&self, row: &mut Row, entry: &Entry) {
        let (from, to) = (self.lanes.index(entry.from), self.lanes.index(entry.to));
        let (start, end) = (self.column(from), self.column(to));
        let line = if Mark::of(entry) == Mark::Fault { '╌' } else { '─' };
        for column in start.min(end) + 1..start.max(end) {
            row.set(column, line);
        }
        for lane in from.min(to) + 1..from.max(to) {
            row.set(self.column(lane), '┼');
        }
        let gap = self.lanes.gap_of(entry).and_then(|gap| self.lanes.gap(gap)).unwrap_or_default();
        let text = format!(" {} ", shorten(&label(entry), gap.saturating_sub(Lanes::ARROW)));
        if start < end {
            row.set(start, '├');
            row.set(end - 1, '►');
            row.put(start + 2, &text);
        } else {
            row.set(start, '┤');
            row.set(end + 1, '◄');
            row.put(start - 1 - width(&text), &text);
        }
    }
}

impl fmt::Display for Diagram<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.names(true).iter().try_for_each(|row| writeln!(f, "{row}"))?;
        for (entry, is_new, pauses) in timed(self.entries) {
            if pauses {
                writeln!(f, "{}", self.lifelines('┊'))?;
            }
            let mut row = self.entry(entry);
            if is_new {
                row.put(0, &format!("{:>1$}", clock(entry.at), self.times));
            }
            writeln!(f, "{row}")?;
        }
        self.names(false).iter().try_for_each(|row| writeln!(f, "{row}"))
    }
}

/// A row of characters. Behind a wide one there is nothing: a zero.
#[derive(Default)]
struct Row {
    cells: Vec<char>,
}

impl Row {
    fn set(&mut self, column: usize, character: char) {
        if self.cells.len() <= column {
            self.cells.resize(column + 1, ' ');
        }
        self.cells[column] = character;
    }

    fn put(&mut self, mut column: usize, text: &str) {
        for character in text.chars() {
            self.set(column, character);
            column += 1;
            for _ in 1..columns_of(character) {
                self.set(column, '\0');
                column += 1;
            }
        }
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text: String = self.cells.iter().filter(|cell| **cell != '\0').collect();
        f.write_str(text.trim_end())
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{crowd, journal};
    use super::*;
    use crate::journal::Place;

    const CLIENT: Place = Place::Client(0);
    const NETWORK: Place = Place::Network;
    const SERVER: Place = Place::Server(0);

    #[test]
    fn a_session_as_it_looks() {
        let entries = journal(&[
            (0, CLIENT, CLIENT, "asks to GET", 1, ""),
            (20, CLIENT, SERVER, "GET", 1, ""),
            (20, SERVER, SERVER, "opens session", 1, ""),
            (
                40,
                SERVER,
                CLIENT,
                "200",
                1,
                "0{\"sid\":\"XgAAAAAAAAIAAAAAAAAA\",\"upgrades\":[\"websocket\"],\"pin… (114 bytes)",
            ),
            (40, CLIENT, CLIENT, "sends", 0, "hello"),
            (12_345, NETWORK, NETWORK, "tears a connection of client", 1, ""),
            (12_345, CLIENT, CLIENT, "hears of a lost connection", 2, ""),
            (12_345, SERVER, CLIENT, "the channel is lost", 2, ""),
            (12_345, CLIENT, CLIENT, "closed:", 0, "transport error: poll connection closed prematurely"),
            (12_400, NETWORK, NETWORK, "heals", 0, ""),
            (12_400, SERVER, NETWORK, "frame", 3, "4hello"),
            (12_400, SERVER, SERVER, "closed:", 0, "ping timeout"),
        ]);
        let expected = r#"
          ┌──────────┐                                  ┌─────────┐                                 ┌──────────┐
          │ client 0 │                                  │ network │                                 │ server 0 │
          └─────┬────┘                                  └────┬────┘                                 └─────┬────┘
 0.000000       │ asks to GET #1                             │                                            │
 0.020000       ├─ GET #1 ───────────────────────────────────┼───────────────────────────────────────────►│
                │                                            │                                            │ opens session #1
 0.040000       │◄───────────────────────────────────────────┼── 200 #1 0{"sid":"XgAAAAAAAAIAAAAAAAAA",… ─┤
                • sends hello                                │                                            │
                ┊                                            ┊                                            ┊
12.345000       │                                            ╳ tears a connection of client #1            │
                ╳ hears of a lost connection #2              │                                            │
                │◄╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌┼╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌ the channel is lost #2 ╌┤
                ■ closed: transport error: poll connection closed prematurely                             │
12.400000       │                                            ○ heals                                      │
                │                                            │◄╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌ frame #3 4hello ╌┤
                │                                            │                                            ■ closed: ping timeout
          ┌─────┴────┐                                  ┌────┴────┐                                 ┌─────┴────┐
          │ client 0 │                                  │ network │                                 │ server 0 │
          └──────────┘                                  └─────────┘                                 └──────────┘
"#;
        let diagram = sequence_diagram(&entries);
        assert_eq!(diagram, &expected[1..], "\n{diagram}");
    }

    #[test]
    fn two_lanes_alone() {
        let entries = journal(&[
            (5, CLIENT, SERVER, "frame", 1, "2probe"),
            (5, SERVER, CLIENT, "frame", 1, "3probe"),
            (5, SERVER, SERVER, "receives", 0, "你好"),
            (5, CLIENT, CLIENT, "receives", 0, "你好"),
        ]);
        let expected = r#"
         ┌──────────┐         ┌──────────┐
         │ client 0 │         │ server 0 │
         └─────┬────┘         └─────┬────┘
0.005000       ├─ frame #1 2probe ─►│
               │◄─ frame #1 3probe ─┤
               │                    • receives 你好
               • receives 你好      │
         ┌─────┴────┐         ┌─────┴────┐
         │ client 0 │         │ server 0 │
         └──────────┘         └──────────┘
"#;
        let diagram = sequence_diagram(&entries);
        assert_eq!(diagram, &expected[1..], "\n{diagram}");
    }

    #[test]
    fn every_entry_is_a_row_whatever_the_number_of_lanes() {
        assert_eq!(sequence_diagram(&[]), "nothing happened\n");
        for size in 1..=5 {
            let entries = crowd(size);
            for len in 1..=entries.len() {
                let diagram = sequence_diagram(&entries[..len]);
                let pauses = diagram.lines().filter(|row| row.contains('┊')).count();
                assert_eq!(diagram.lines().count(), 3 + len + pauses + 3, "\n{diagram}");
            }
        }
    }

    #[test]
    fn what_happens_can_be_read_where_what_it_carries_is_cut() {
        for entry in crowd(5) {
            let diagram = sequence_diagram(&crowd(5));
            let bare = Entry { data: String::new(), ..entry }.label();
            assert!(diagram.contains(&bare), "{bare}\n{diagram}");
        }
    }
}
