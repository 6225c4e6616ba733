//! `engineio_fuzz::payload` for libFuzzer.
#![cfg_attr(fuzzing, no_main)]

engineio_fuzz::target!(payload);
