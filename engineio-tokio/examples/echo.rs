//! Sends every message back, obeys a few that begin with `cmd:`, and prints what happens as lines of JSON: a counterpart
//! for clients, test suites and load generators. `--help` lists the options.
//!
//! The program is the same on every runtime; it knows this crate as `adapter`.
#![allow(missing_docs)]

use std::process::ExitCode;

use engineio_tokio as adapter;

#[path = "../../engineio-driver/programs/echo.rs"]
mod program;
#[allow(dead_code)] // The other program needs the rest.
mod runtime;

fn main() -> ExitCode {
    program::main()
}
