//! The suites of the driver, on smol.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use engineio_smol as adapter;

mod runtime;
#[path = "../../engineio-driver/suites/mod.rs"]
mod suites;
