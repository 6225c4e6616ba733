//! `engineio_fuzz::server` for libFuzzer.
#![cfg_attr(fuzzing, no_main)]

engineio_fuzz::target!(server);
