//! What the explorations share: the search itself, and bytes read and written without the crate under test.

#![allow(dead_code)] // Each test binary uses a part of this.

pub mod said;
pub mod search;
pub mod wire;

use std::collections::hash_map::DefaultHasher;
use std::fmt::Debug;
use std::hash::{Hash, Hasher as _};

/// Whatever these values consist of, in one number.
pub fn fingerprint(machines: &[&dyn Debug], rest: impl Hash) -> u64 {
    struct Sink(DefaultHasher);

    impl std::fmt::Write for Sink {
        fn write_str(&mut self, text: &str) -> std::fmt::Result {
            self.0.write(text.as_bytes());
            Ok(())
        }
    }

    let mut sink = Sink(DefaultHasher::new());
    for machine in machines {
        // A machine can hide nothing from its debug form.
        let _ = std::fmt::write(&mut sink, format_args!("{machine:?}"));
    }
    rest.hash(&mut sink.0);
    sink.0.finish()
}
