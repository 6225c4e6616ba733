//! `engineio_fuzz::client` for libFuzzer.
#![cfg_attr(fuzzing, no_main)]

engineio_fuzz::target!(client);
