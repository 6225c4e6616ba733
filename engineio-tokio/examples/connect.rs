//! Connects to a server, sends each line of its input as a message, and prints what happens as lines of JSON: the
//! counterpart of `echo`. `--help` lists the options.
//!
//! The program is the same on every runtime; it knows this crate as `adapter`.
#![allow(missing_docs)]

use engineio_tokio as adapter;

#[path = "../../engineio-driver/programs/connect.rs"]
mod program;
#[allow(dead_code)] // The other program needs the rest.
mod runtime;

fn main() {
    program::main();
}
