//! What must hold for any bytes.
//!
//! Each module is one fuzz target: a function of bytes that panics when something is wrong. libFuzzer calls it with what
//! it makes up (`cargo fuzz run NAME`), every test run with the committed corpora and with what was ever found, and its
//! program, built without a fuzzer, with the files it is given (`cargo run -p engineio-fuzz --bin NAME -- FILE...`).
//!
//! Seeds are named for what they do; those named `found` a fuzzer came upon, and they reach what the others do not.
//!
//! To add a target: a function, its line in [`TARGETS`], a file of three lines in `fuzz_targets`, its `[[bin]]` in
//! `Cargo.toml`, and a few seeds in `corpus/NAME`.

mod calls;
mod client;
mod packet;
mod payload;
mod reader;
mod route;
mod server;
mod session;
mod websocket;
mod wire;
mod world;
mod written;

pub use client::client;
pub use packet::packet;
pub use payload::payload;
pub use route::route;
pub use server::server;
pub use session::session;
pub use websocket::websocket;
pub use world::world;

/// A function of bytes that panics when something is wrong.
pub type Target = fn(&[u8]);

/// All targets, by name.
pub const TARGETS: &[(&str, Target)] = &[
    ("payload", payload),
    ("packet", packet),
    ("route", route),
    ("websocket", websocket),
    ("session", session),
    ("client", client),
    ("server", server),
    ("world", world),
];

/// The program of a target: libFuzzer's, or one that replays files.
#[macro_export]
macro_rules! target {
    ($name:ident) => {
        #[cfg(fuzzing)]
        libfuzzer_sys::fuzz_target!(|data: &[u8]| $crate::$name(data));

        #[cfg(not(fuzzing))]
        fn main() -> std::io::Result<()> {
            $crate::replay_arguments($crate::$name)
        }
    };
}

/// Gives the files that the program was called with to a target.
///
/// # Errors
/// When one of them cannot be read.
pub fn replay_arguments(target: Target) -> std::io::Result<()> {
    for path in std::env::args_os().skip(1).map(std::path::PathBuf::from) {
        println!("{}", path.display());
        target(&std::fs::read(path)?);
    }
    Ok(())
}
