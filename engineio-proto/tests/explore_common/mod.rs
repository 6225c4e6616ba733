//! Shared by the explorations: the search, and bytes read and written without the crate under test.

#![allow(dead_code)] // Each test binary uses a part of this.

pub mod batches;
pub mod by;
pub mod ledger;
pub mod said;
pub mod search;
pub mod streams;
pub mod wire;

use std::collections::hash_map::DefaultHasher;
use std::fmt::Debug;
use std::hash::{Hash, Hasher as _};

/// Whatever these values consist of, in one number, but for what was counted.
pub fn fingerprint(machines: &[&dyn Debug], rest: impl Hash) -> u64 {
    let mut sink = Sink { hasher: DefaultHasher::new(), value_in: None };
    for machine in machines {
        // A machine can hide nothing from its debug form.
        let _ = std::fmt::write(&mut sink, format_args!("{machine:?}"));
    }
    rest.hash(&mut sink.hasher);
    sink.hasher.finish()
}

/// What a machine only counts: nothing that happens depends on it. (How many messages there were is known besides.)
const COUNTS: [&str; 5] = ["received", "received_bytes", "sent_bytes", "heartbeats_sent", "heartbeats_received"];

/// Hashes a debug form without the values of [`COUNTS`].
struct Sink {
    hasher: DefaultHasher,
    /// In so many pieces of text the value of a count follows.
    value_in: Option<u8>,
}

impl std::fmt::Write for Sink {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        // The name of a field is a piece, and so are what stands behind it and its value.
        self.value_in = match self.value_in {
            Some(0) => {
                assert!(text.bytes().all(|byte| byte.is_ascii_digit()), "{text} is not what was counted");
                self.value_in = None;
                return Ok(());
            }
            Some(pieces) => Some(pieces - 1),
            None => COUNTS.contains(&text).then_some(1),
        };
        self.hasher.write(text.as_bytes());
        Ok(())
    }
}

#[test]
fn a_fingerprint_knows_everything_but_counts() {
    #[derive(Debug)]
    struct Machine {
        other: u64,
        heartbeats_sent: u64,
        last: u64,
    }

    let of = |other, heartbeats_sent, last| fingerprint(&[&Machine { other, heartbeats_sent, last }], ());
    assert_eq!(of(1, 2, 3), of(1, 99, 3));
    assert_ne!(of(1, 2, 3), of(2, 2, 3));
    assert_ne!(of(1, 2, 3), of(1, 2, 4));
    assert_ne!(fingerprint(&[&1], 2), fingerprint(&[&1], 3));
}
