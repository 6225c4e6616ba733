//! Everything about a world in one number, which is the same for worlds that are the same but for names.
//!
//! Which numbers exchanges have depends on how many there were before, and in what order. That makes no difference to
//! what can happen: they are only ever compared with each other. Nor do the stamps in URLs, and what was counted.

use std::collections::hash_map::DefaultHasher;
use std::fmt::{Debug, Write as _};
use std::hash::{Hash, Hasher as _};

use engineio_proto::{Client, ExchangeId, Server};

use crate::network::{Item, Network};

pub fn fingerprint(client: &Client, server: &Server, network: &Network, seen: impl Hash) -> u64 {
    let mut names = Names { known: Vec::new(), text: String::new(), hasher: DefaultHasher::new() };
    names.hash_machine(client);
    names.hash_machine(server);
    names.hash_network(network);
    seen.hash(&mut names.hasher);
    names.hasher.finish()
}

struct Names {
    /// Numbers in the order in which they were met.
    known: Vec<u64>,
    text: String,
    hasher: DefaultHasher,
}

impl Names {
    fn name(&mut self, number: u64) -> usize {
        self.known.iter().position(|known| *known == number).unwrap_or_else(|| {
            self.known.push(number);
            self.known.len() - 1
        })
    }

    /// A machine can hide nothing from its debug form.
    fn hash_machine(&mut self, machine: &dyn Debug) {
        let mut text = std::mem::take(&mut self.text);
        text.clear();
        let _ = write!(text, "{machine:?}");
        let mut rest = text.as_str();
        while let Some((before, marker, behind)) = next_marker(rest) {
            self.hasher.write(before.as_bytes());
            rest = match marker {
                Marker::Exchange => {
                    let (number, behind) = split_number(behind);
                    let name = self.name(number);
                    self.hasher.write_usize(name);
                    behind
                }
                Marker::Number => split_number(behind).1,
            };
        }
        self.hasher.write(rest.as_bytes());
        self.text = text;
    }

    fn hash_network(&mut self, network: &Network) {
        let Network { items, held, torn, wire, silent_loss } = network;
        let mut items: Vec<_> = items.iter().map(|(id, item)| (*id, kind(item), item)).collect();
        // Those that a machine knows have their names; of the others it matters only what they are.
        items.sort_by_key(|&(id, kind, _)| (self.known.iter().position(|known| *known == id), kind, id));
        for (id, kind, item) in items {
            (self.name(id), kind).hash(&mut self.hasher);
            match item {
                Item::Request { body, .. } => body.hash(&mut self.hasher),
                Item::Answer { status, body } => (status, body).hash(&mut self.hasher),
                Item::Report | Item::ClientLearns | Item::ServerLearns => (),
            }
        }
        for set in [held, torn] {
            let mut names: Vec<_> = set.iter().map(|id| self.name(*id)).collect();
            names.sort_unstable();
            names.hash(&mut self.hasher);
        }
        self.hash_machine(wire);
        silent_loss.hash(&mut self.hasher);
    }
}

fn kind(item: &Item) -> u8 {
    match item {
        Item::Request { body: None, .. } => 0,
        Item::Request { .. } => 1,
        Item::Answer { .. } => 2,
        Item::ClientLearns => 3,
        Item::ServerLearns => 4,
        Item::Report => 5,
    }
}

/// What follows is a number of an exchange, or a number that does not matter.
enum Marker {
    Exchange,
    Number,
}

/// Fields with numbers that do not matter: names, and what is only counted.
const NUMBERS: [&str; 7] = [
    " Numbers { last:",
    " stamp:",
    " received:",
    " received_bytes:",
    " sent_bytes:",
    " heartbeats_sent:",
    " heartbeats_received:",
];

/// The next marker, with what stands before it and behind. Each ends with a letter of its own.
fn next_marker(text: &str) -> Option<(&str, Marker, &str)> {
    let mut from = 0;
    loop {
        let at = from + text.as_bytes()[from..].iter().position(|letter| b"(:".contains(letter))? + 1;
        let (head, behind) = text.split_at(at);
        let (marker, behind) = match head.as_bytes()[at - 1] {
            b'(' if head.ends_with("ExchangeId(") => (Marker::Exchange, behind),
            b':' if NUMBERS.iter().any(|name| head.ends_with(name)) => (Marker::Number, &behind[1..]),
            _ => {
                from = at;
                continue;
            }
        };
        return Some((head, marker, behind));
    }
}

fn split_number(text: &str) -> (u64, &str) {
    let end = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    (text[..end].parse().unwrap_or_else(|_| panic!("a number was expected in {text}")), &text[end..])
}

#[test]
fn the_markers_are_those_of_the_machines() {
    let text = format!("{:?}", (ExchangeId(12), 7));
    let (before, marker, behind) = next_marker(&text).expect("a marker");
    assert!(matches!(marker, Marker::Exchange) && before == "(ExchangeId(");
    assert_eq!(split_number(behind), (12, "), 7)"));
    let config = engineio_proto::client::Config::default();
    let client = Client::new(engineio_proto::Instant::ZERO, config.into(), 5).unwrap();
    for marker in NUMBERS.iter().chain(&["ExchangeId("]) {
        assert!(format!("{client:?}").contains(marker), "{marker}");
    }
}
