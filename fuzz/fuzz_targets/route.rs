//! `engineio_fuzz::route` for libFuzzer.
#![cfg_attr(fuzzing, no_main)]

engineio_fuzz::target!(route);
